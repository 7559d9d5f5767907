/* scalar.c: every pure instruction of kop.def as LLVM IR. The same text serves scalars and <16 x T>: types are read
 * off the operands, constants are made to fit. Integer division, shifts and conversions are total (no trap, no
 * poison); floats carry no fast-math flag.
 * Narrow floats live in memory only: f16 and bf16 are i16 there; f16 uses the target's conversions where it has
 * them, else integer arithmetic that gives the same bits (bf16 always does: it is three instructions). */
#include "codegen/cg.h"

#include <math.h>

static LT type_like(Cg *g, LV like, DType t) /* type t with as many lanes as `like` */
{
    LT s = cg_type(g, t);
    return LLVMGetTypeKind(LLVMTypeOf(like)) == LLVMVectorTypeKind ? cg_vec_type(g, s) : s;
}

static LT lanes_like(LV like, LT s)
{
    return LLVMGetTypeKind(LLVMTypeOf(like)) == LLVMVectorTypeKind ? LLVMVectorType(s, LLVMGetVectorSize(LLVMTypeOf(like))) : s;
}
static LV int_k(LV like, int64_t k) { return cg_int_like(LLVMTypeOf(like), k); }
static LV real_k(LV like, double k) { return cg_real_like(LLVMTypeOf(like), k); }
static LV pick(Cg *g, LV c, LV a, LV b) { return LLVMBuildSelect(g->b, c, a, b, ""); }
static LV icmp(Cg *g, LLVMIntPredicate p, LV a, LV b) { return LLVMBuildICmp(g->b, p, a, b, ""); }
static LV fcmp(Cg *g, LLVMRealPredicate p, LV a, LV b) { return LLVMBuildFCmp(g->b, p, a, b, ""); }
static bool is_real(DType t) { return dtype_is_float(t); }
static bool is_signed(DType t) { return dtype_info(t)->cls == DC_INT; }

static LV unary_intrinsic(Cg *g, const char *name, LV x) { return cg_intrinsic(g, name, LLVMTypeOf(x), &x, 1); }

/* ---- memory forms ---- */
/* IEEE half -> float with integers, for targets without a conversion: subnormals become exact floats, so flushing
 * cannot touch them. */
static LV half_to_float(Cg *g, LV h)
{
    LLVMBuilderRef b = g->b;
    LT i32 = lanes_like(h, g->i32), f32 = lanes_like(h, g->f32);
    LV x = LLVMBuildZExt(b, h, i32, "");
    LV sign = LLVMBuildShl(b, LLVMBuildAnd(b, x, int_k(x, 0x8000), ""), int_k(x, 16), "");
    LV em = LLVMBuildAnd(b, x, int_k(x, 0x7fff), "");
    LV normal = LLVMBuildAdd(b, LLVMBuildShl(b, em, int_k(x, 13), ""), int_k(x, (127 - 15) << 23), "");
    LV special = LLVMBuildOr(b, LLVMBuildShl(b, em, int_k(x, 13), ""), int_k(x, 0xff << 23), "");
    LV small =
        LLVMBuildBitCast(b, LLVMBuildFMul(b, LLVMBuildUIToFP(b, em, f32, ""), cg_real_like(f32, 0x1p-24), ""), i32, "");
    LV r = pick(g, icmp(g, LLVMIntUGE, em, int_k(x, 0x7c00)), special, normal);
    r = pick(g, icmp(g, LLVMIntULT, em, int_k(x, 0x400)), small, r);
    return LLVMBuildBitCast(b, LLVMBuildOr(b, r, sign, ""), f32, "");
}

/* float -> IEEE half, to nearest even, NaN stays NaN. */
static LV float_to_half(Cg *g, LV f)
{
    LLVMBuilderRef b = g->b;
    LT i32 = lanes_like(f, g->i32), i16 = lanes_like(f, g->i16);
    LV x = LLVMBuildBitCast(b, f, i32, "");
    LV sign = LLVMBuildLShr(b, LLVMBuildAnd(b, x, int_k(x, 0x80000000), ""), int_k(x, 16), "");
    LV a = LLVMBuildAnd(b, x, int_k(x, 0x7fffffff), "");
    /* normal halves: rebias, then add 0xfff and the lowest kept bit */
    LV odd = LLVMBuildAnd(b, LLVMBuildLShr(b, a, int_k(x, 13), ""), int_k(x, 1), "");
    LV rebased = LLVMBuildAdd(b, LLVMBuildSub(b, a, int_k(x, (127 - 15) << 23), ""),
                              LLVMBuildAdd(b, odd, int_k(x, 0xfff), ""), "");
    LV normal = LLVMBuildLShr(b, rebased, int_k(x, 13), "");
    /* subnormal halves: the mantissa with its hidden bit, shifted right by 126 - exponent, rounded by the remainder */
    LV e = LLVMBuildLShr(b, a, int_k(x, 23), "");
    LV man = LLVMBuildOr(b, LLVMBuildAnd(b, a, int_k(x, 0x7fffff), ""), int_k(x, 0x800000), "");
    LV shift = LLVMBuildSub(b, int_k(x, 126), e, "");
    shift = pick(g, icmp(g, LLVMIntUGT, shift, int_k(x, 25)), int_k(x, 25), shift);
    LV kept = LLVMBuildLShr(b, man, shift, "");
    LV rest = LLVMBuildSub(b, man, LLVMBuildShl(b, kept, shift, ""), "");
    LV half = LLVMBuildShl(b, int_k(x, 1), LLVMBuildSub(b, shift, int_k(x, 1), ""), "");
    LV up = LLVMBuildOr(b, icmp(g, LLVMIntUGT, rest, half),
                        LLVMBuildAnd(b, icmp(g, LLVMIntEQ, rest, half),
                                     icmp(g, LLVMIntNE, LLVMBuildAnd(b, kept, int_k(x, 1), ""), int_k(x, 0)), ""),
                        "");
    LV small = LLVMBuildAdd(b, kept, LLVMBuildZExt(b, up, i32, ""), "");
    LV r = pick(g, icmp(g, LLVMIntULT, a, int_k(x, 113 << 23)), small, normal);
    r = pick(g, icmp(g, LLVMIntUGE, a, int_k(x, 0x477ff000)), int_k(x, 0x7c00), r); /* 65520 and up round to infinity */
    r = pick(g, icmp(g, LLVMIntUGT, a, int_k(x, 0x7f800000)), int_k(x, 0x7e00), r);
    return LLVMBuildTrunc(b, LLVMBuildOr(b, r, sign, ""), i16, "");
}

static LV float_to_bf16(Cg *g, LV f)
{
    LLVMBuilderRef b = g->b;
    LT i32 = lanes_like(f, g->i32), i16 = lanes_like(f, g->i16);
    LV x = LLVMBuildBitCast(b, f, i32, "");
    LV odd = LLVMBuildAnd(b, LLVMBuildLShr(b, x, int_k(x, 16), ""), int_k(x, 1), "");
    LV r = LLVMBuildAdd(b, x, LLVMBuildAdd(b, odd, int_k(x, 0x7fff), ""), "");
    LV nan = LLVMBuildOr(b, x, int_k(x, 0x400000), "");
    r = pick(g, fcmp(g, LLVMRealUNO, f, f), nan, r);
    return LLVMBuildTrunc(b, LLVMBuildLShr(b, r, int_k(x, 16), ""), i16, "");
}

LV scalar_from_mem(Cg *g, DType t, LV raw)
{
    switch (t) {
    case DT_BOOL: return icmp(g, LLVMIntNE, raw, int_k(raw, 0));
    case DT_BF16: {
        LV x = LLVMBuildShl(g->b, LLVMBuildZExt(g->b, raw, lanes_like(raw, g->i32), ""),
                            cg_int_like(lanes_like(raw, g->i32), 16), "");
        return LLVMBuildBitCast(g->b, x, lanes_like(raw, g->f32), "");
    }
    case DT_F16:
        if (!g->isa.f16c) return half_to_float(g, raw);
        return LLVMBuildFPExt(g->b, LLVMBuildBitCast(g->b, raw, lanes_like(raw, g->f16), ""), lanes_like(raw, g->f32),
                              "");
    default: return small_float(t) ? small_from_mem(g, t, raw) : raw;
    }
}

LV scalar_to_mem(Cg *g, DType t, LV v)
{
    switch (t) {
    case DT_BOOL: return LLVMBuildZExt(g->b, v, lanes_like(v, g->i8), "");
    case DT_BF16: return float_to_bf16(g, v);
    case DT_F16:
        if (!g->isa.f16c) return float_to_half(g, v);
        return LLVMBuildBitCast(g->b, LLVMBuildFPTrunc(g->b, v, lanes_like(v, g->f16), ""), lanes_like(v, g->i16), "");
    default: return small_float(t) ? small_to_mem(g, t, v) : v;
    }
}

LV scalar_round_to(Cg *g, DType t, LV v)
{
    if (t == DT_F16 || t == DT_BF16 || small_float(t)) return scalar_from_mem(g, t, scalar_to_mem(g, t, v));
    if (t == DT_I4 || t == DT_I2) {
        LV n = int_k(v, 8 - dtype_info(t)->bits);
        return LLVMBuildAShr(g->b, LLVMBuildShl(g->b, v, n, ""), n, "");
    }
    if (t == DT_U4 || t == DT_U2) return LLVMBuildAnd(g->b, v, int_k(v, (1 << dtype_info(t)->bits) - 1), "");
    return v;
}

/* ---- conversions ---- */
static LV real_round(Cg *g, KOp op, LV x);

/* float -> int of 64 bits in lanes, truncated and saturating, NaN gives 0, for any value. Doubles hold the upper and the
 * lower 32 bits exactly; added to 2^52 + 2^51, either one stands in the low bits of the sum. */
static LV real_to_wide_int(Cg *g, bool sign, LV x)
{
    LLVMBuilderRef b = g->b;
    x = pick(g, fcmp(g, LLVMRealUNO, x, x), real_k(x, 0), x);
    LV lo = real_k(x, sign ? -0x1p63 : 0), t = pick(g, fcmp(g, LLVMRealOLT, x, lo), lo, real_round(g, KOP_TRUNC, x));
    LT real = type_like(g, x, DT_F64), wide = type_like(g, x, DT_I64);
    if (LLVMTypeOf(t) != real) t = LLVMBuildFPExt(b, t, real, "");
    LV over = fcmp(g, LLVMRealOGE, t, real_k(t, sign ? 0x1p63 : 0x1p64)), magic = real_k(t, 0x1.8p52);
    LV high = real_round(g, KOP_FLOOR, LLVMBuildFMul(b, t, real_k(t, 0x1p-32), ""));
    LV low = LLVMBuildFSub(b, t, LLVMBuildFMul(b, high, real_k(t, 0x1p32), ""), "");
    high = LLVMBuildShl(b, LLVMBuildBitCast(b, LLVMBuildFAdd(b, high, magic, ""), wide, ""), cg_int_like(wide, 32), "");
    low = LLVMBuildAnd(b, LLVMBuildBitCast(b, LLVMBuildFAdd(b, low, magic, ""), wide, ""), cg_int_like(wide, UINT32_MAX), "");
    return pick(g, over, cg_int_like(wide, sign ? INT64_MAX : -1), LLVMBuildOr(b, high, low, ""));
}

/* The same where x86 has no instruction for it (AVX-512 has), and LLVM would convert lane by lane: lanes that all fit
 * into 31 bits, as most do, are converted to those. */
static LV real_to_long(Cg *g, bool sign, LV x)
{
    LLVMBuilderRef b = g->b;
    LT wide = type_like(g, x, DT_I64), bits = LLVMIntTypeInContext(g->cx, LLVMGetVectorSize(LLVMTypeOf(x)));
    LV small = fcmp(g, LLVMRealOLT, sign ? unary_intrinsic(g, "llvm.fabs", x) : x, real_k(x, 0x1p31));
    if (!sign) small = LLVMBuildAnd(b, small, fcmp(g, LLVMRealOGE, x, real_k(x, 0)), "");
    LV all = icmp(g, LLVMIntEQ, LLVMBuildBitCast(b, small, bits, ""), LLVMConstAllOnes(bits)), r[2];
    LV fn = LLVMGetBasicBlockParent(cg_here(g));
    LLVMBasicBlockRef way[] = {cg_block(g, fn, "fits"), cg_block(g, fn, "any")}, done = cg_block(g, fn, "long");
    LLVMBuildCondBr(b, all, way[0], way[1]);
    LLVMPositionBuilderAtEnd(b, way[0]);
    r[0] = LLVMBuildSExt(b, LLVMBuildFPToSI(b, x, type_like(g, x, DT_I32), ""), wide, "");
    LLVMBuildBr(b, done);
    LLVMPositionBuilderAtEnd(b, way[1]);
    r[1] = real_to_wide_int(g, sign, x);
    LLVMBuildBr(b, done);
    LLVMPositionBuilderAtEnd(b, done);
    LV v = LLVMBuildPhi(b, wide, "");
    LLVMAddIncoming(v, r, way, 2);
    return v;
}

/* float -> int: truncates, saturates, NaN gives 0. The conversion's own result is used only where it is in range. */
static LV real_to_int(Cg *g, DType from, DType to, LV x)
{
    LLVMBuilderRef b = g->b;
    int bits = dtype_info(to)->bits;
    bool sign = is_signed(to);
    LT result = type_like(g, x, dtype_compute(to));
    double hi = ldexp(1, sign ? bits - 1 : bits),
           lo = sign ? -ldexp(1, bits - 1) : 0; /* lo <= x < hi is convertible (lo - 1 < x, to be exact) */
    /* small integers go through i32: clamp first, one exact conversion after */
    if (bits < 32) {
        LV c = pick(g, fcmp(g, LLVMRealOGT, x, real_k(x, hi - 1)), real_k(x, hi - 1), x);
        c = pick(g, fcmp(g, LLVMRealOLT, c, real_k(x, lo)), real_k(x, lo), c);
        c = pick(g, fcmp(g, LLVMRealUNO, x, x), real_k(x, 0), c);
        return LLVMBuildTrunc(b, LLVMBuildFPToSI(b, c, type_like(g, x, DT_I32), ""), result, "");
    }
    (void)from;
    bool lanes = LLVMGetTypeKind(LLVMTypeOf(x)) == LLVMVectorTypeKind;
    if (bits == 64 && lanes && g->isa.x86 && g->isa.sse41 && !g->isa.avx512) return real_to_long(g, sign, x);
    int64_t max = sign ? (bits == 64 ? INT64_MAX : INT32_MAX) : -1,
            min = sign ? (bits == 64 ? INT64_MIN : INT32_MIN) : 0;
    LV r = sign ? LLVMBuildFPToSI(b, x, result, "") : LLVMBuildFPToUI(b, x, result, "");
    r = pick(g, fcmp(g, LLVMRealOGE, x, real_k(x, hi)), cg_int_like(result, max), r);
    r = pick(g, fcmp(g, LLVMRealOLT, x, real_k(x, lo)), cg_int_like(result, min), r);
    return pick(g, fcmp(g, LLVMRealUNO, x, x), cg_int_like(result, 0), r);
}

/* The same for a float that the kernel has clamped to the type's range, or that is NaN. */
static bool clamped_to_int(CgFn *f, KVal from, DType to, LV x, LV *out)
{
    Cg *g = f->g;
    int bits = dtype_info(to)->bits;
    bool sign = is_signed(to);
    double hi = ldexp(1, sign ? bits - 1 : bits) - (bits == 32 ? 128 : 1); /* 128: between floats of 31 bits */
    if (!dtype_is_int(to) || bits < 8 || bits > 32 || to == DT_U32) return false;
    if (!kx_within(f->k, from, sign ? -ldexp(1, bits - 1) : 0, hi)) return false;
    *out = LLVMBuildFPToSI(g->b, x, type_like(g, x, DT_I32), "");
    *out = pick(g, fcmp(g, LLVMRealUNO, x, x), int_k(*out, 0), *out);
    if (bits < 32) *out = LLVMBuildTrunc(g->b, *out, type_like(g, x, dtype_compute(to)), "");
    return true;
}

static LV convert(Cg *g, DType from, DType to, LV x)
{
    LLVMBuilderRef b = g->b;
    LT result = type_like(g, x, to);
    if (from == to) return x;
    if (to == DT_BOOL)
        return is_real(from) ? fcmp(g, LLVMRealUNE, x, real_k(x, 0)) : icmp(g, LLVMIntNE, x, int_k(x, 0));
    if (is_real(from) && is_real(to))
        return to == DT_F64 ? LLVMBuildFPExt(b, x, result, "") : LLVMBuildFPTrunc(b, x, result, "");
    if (is_real(from)) return real_to_int(g, from, to, x);
    if (is_real(to)) return is_signed(from) ? LLVMBuildSIToFP(b, x, result, "") : LLVMBuildUIToFP(b, x, result, "");
    int have = from == DT_BOOL ? 1 : dtype_info(from)->bits, want = dtype_info(to)->bits;
    if (want < have) return LLVMBuildTrunc(b, x, result, "");
    if (want == have) return x;
    return is_signed(from) ? LLVMBuildSExt(b, x, result, "") : LLVMBuildZExt(b, x, result, "");
}

/* f64 -> f32 such that a second rounding to fewer bits gives what one rounding would: inexact results get an odd
 * last bit. */
static LV round_to_odd(Cg *g, LV x)
{
    LLVMBuilderRef b = g->b;
    LV f = LLVMBuildFPTrunc(b, x, type_like(g, x, DT_F32), ""), back = LLVMBuildFPExt(b, f, LLVMTypeOf(x), "");
    LT i32 = type_like(g, x, DT_I32);
    LV beyond = fcmp(g, LLVMRealOGT, unary_intrinsic(g, "llvm.fabs", back), unary_intrinsic(g, "llvm.fabs", x));
    LV inexact = fcmp(g, LLVMRealONE, back, x);
    LV i = LLVMBuildSub(b, LLVMBuildBitCast(b, f, i32, ""), LLVMBuildZExt(b, beyond, i32, ""), "");
    i = LLVMBuildOr(b, i, LLVMBuildZExt(b, inexact, i32, ""), "");
    return LLVMBuildBitCast(b, i, LLVMTypeOf(f), "");
}

/* ---- integers ---- */
/* x / d in lanes, d not 0 and not -1. x86 has no vector division of integers, and LLVM would divide lane by lane: but
 * the quotient of two floats that hold them exactly, rounded, lies on the same side of every whole number as their
 * true quotient, which is at least 1/d from those that it is not (a part of 1/x, more than the rounding). */
static LV int_quotient(Cg *g, bool sign, LV x, LV d)
{
    LLVMBuilderRef b = g->b;
    LT t = LLVMTypeOf(x);
    unsigned bits = LLVMGetTypeKind(t) == LLVMVectorTypeKind ? LLVMGetIntTypeWidth(LLVMGetElementType(t)) : 64;
    if (bits > 32 || !g->isa.x86 || LLVMIsConstant(d))
        return sign ? LLVMBuildSDiv(b, x, d, "") : LLVMBuildUDiv(b, x, d, "");
    LT real = type_like(g, x, bits > 16 ? DT_F64 : DT_F32);
    LV p = sign ? LLVMBuildSIToFP(b, x, real, "") : LLVMBuildUIToFP(b, x, real, "");
    LV q = LLVMBuildFDiv(b, p, sign ? LLVMBuildSIToFP(b, d, real, "") : LLVMBuildUIToFP(b, d, real, ""), "");
    return sign ? LLVMBuildFPToSI(b, q, t, "") : LLVMBuildFPToUI(b, q, t, "");
}

/* q and r of a truncating division that never traps: x/0 = 0 (r = 0), MIN/-1 = MIN (r = 0). The divisors 0 and -1
 * become 1 by addition: LLVM 19's instcombine takes x / select(c, 1, <0, 2, ...>) for x, as if one zero lane made
 * all lanes undefined. */
static void int_div(Cg *g, bool sign, LV x, LV d, LV *q, LV *r)
{
    LLVMBuilderRef b = g->b;
    LV zero = int_k(x, 0), bad = icmp(g, LLVMIntEQ, d, zero), by_minus = NULL;
    LV safe = LLVMBuildAdd(b, d, LLVMBuildZExt(b, bad, LLVMTypeOf(d), ""), "");
    if (sign) {
        by_minus = icmp(g, LLVMIntEQ, d, int_k(x, -1));
        LV up = LLVMBuildZExt(b, by_minus, LLVMTypeOf(d), "");
        safe = LLVMBuildAdd(b, safe, LLVMBuildAdd(b, up, up, ""), "");
    }
    LV quot = int_quotient(g, sign, x, safe);
    if (r) {
        LV rest = LLVMBuildSub(b, x, LLVMBuildMul(b, quot, safe, ""), "");
        *r = pick(g, bad, zero, rest); /* d = -1: safe is 1, the rest is 0 */
    }
    if (q) {
        if (sign) quot = pick(g, by_minus, LLVMBuildNeg(b, x, ""), quot);
        *q = pick(g, bad, zero, quot);
    }
}

static LV shift(Cg *g, bool left, bool sign, int bits, LV x, LV n)
{
    LLVMBuilderRef b = g->b;
    LV big = icmp(g, LLVMIntUGE, n, int_k(n, bits));
    if (!left && sign) return LLVMBuildAShr(b, x, pick(g, big, int_k(n, bits - 1), n), "");
    LV safe = pick(g, big, int_k(n, 0), n);
    LV r = left ? LLVMBuildShl(b, x, safe, "") : LLVMBuildLShr(b, x, safe, "");
    return pick(g, big, int_k(x, 0), r);
}

/* Wrapping power by squaring, all bits of the exponent, as a function of its own; a negative exponent gives 1/x^n
 * truncated. */
static LV int_pow(CgFn *f, DType t, LV x, LV n)
{
    Cg *g = f->g;
    LT type = LLVMTypeOf(x);
    bool vec = LLVMGetTypeKind(type) == LLVMVectorTypeKind, sign = is_signed(t);
    int bits = dtype_info(t)->bits;
    const char *name = arena_printf(&g->arena, "bmc.ipow.%s%s", dtype_name(t), vec ? "x16" : "");
    LV fn = LLVMGetNamedFunction(g->mod, name);
    if (!fn) {
        LLVMBasicBlockRef from = cg_here(g);
        fn = cg_fn(g, name, type, (LT[]){type, type}, 2, true);
        LLVMBasicBlockRef entry = cg_block(g, fn, "entry"), loop = cg_block(g, fn, "loop"),
                          end = cg_block(g, fn, "end");
        LV base = LLVMGetParam(fn, 0), e = LLVMGetParam(fn, 1), one = cg_int_like(type, 1), zero = cg_int_like(type, 0);
        LLVMPositionBuilderAtEnd(g->b, entry);
        LLVMBuildBr(g->b, loop);
        LLVMPositionBuilderAtEnd(g->b, loop);
        LV k = LLVMBuildPhi(g->b, g->i32, ""), p = LLVMBuildPhi(g->b, type, ""), q = LLVMBuildPhi(g->b, type, ""),
           m = LLVMBuildPhi(g->b, type, "");
        LV odd = icmp(g, LLVMIntNE, LLVMBuildAnd(g->b, m, one, ""), zero);
        LV p2 = pick(g, odd, LLVMBuildMul(g->b, p, q, ""), p), q2 = LLVMBuildMul(g->b, q, q, ""),
           m2 = LLVMBuildLShr(g->b, m, one, "");
        LV k2 = LLVMBuildAdd(g->b, k, cg_i32(g, 1), "");
        LLVMBuildCondBr(g->b, icmp(g, LLVMIntULT, k2, cg_i32(g, bits)), loop, end);
        LLVMAddIncoming(k, (LV[]){cg_i32(g, 0), k2}, (LLVMBasicBlockRef[]){entry, loop}, 2);
        LLVMAddIncoming(p, (LV[]){one, p2}, (LLVMBasicBlockRef[]){entry, loop}, 2);
        LLVMAddIncoming(q, (LV[]){base, q2}, (LLVMBasicBlockRef[]){entry, loop}, 2);
        LLVMAddIncoming(m, (LV[]){e, m2}, (LLVMBasicBlockRef[]){entry, loop}, 2);
        LLVMPositionBuilderAtEnd(g->b, end);
        LV r = p2;
        if (sign) {
            LV minus = cg_int_like(type, -1), even = icmp(g, LLVMIntEQ, LLVMBuildAnd(g->b, e, one, ""), zero);
            LV inv = pick(g, icmp(g, LLVMIntEQ, base, one), one, zero);
            inv = pick(g, icmp(g, LLVMIntEQ, base, minus), pick(g, even, one, minus), inv);
            LV max = LLVMBuildLShr(g->b, minus, one, ""); /* 1/0: infinity, saturated */
            inv = pick(g, icmp(g, LLVMIntEQ, base, zero), max, inv);
            r = pick(g, icmp(g, LLVMIntSLT, e, zero), inv, r);
        }
        LLVMBuildRet(g->b, r);
        LLVMPositionBuilderAtEnd(g->b, from);
        debug_function(g, f->fn, NULL, f->k->loc);
    }
    return cg_call(g, fn, (LV[]){x, n}, 2, "");
}

/* ---- floats ---- */
/* NaN if either is NaN; which zero wins is left open, so that x86 needs three instructions (one, when an operand is
 * a constant, or of another is known that it is a `number`), Arm one. */
static LV real_minmax(Cg *g, bool max, LV a, LV b, bool number)
{
    if (number && g->isa.x86) return pick(g, fcmp(g, max ? LLVMRealOGT : LLVMRealOLT, b, a), b, a); /* what VMINPS b, a does */
    LV r = cg_intrinsic(g, max ? "llvm.maximum" : "llvm.minimum", LLVMTypeOf(a), (LV[]){a, b}, 2);
    LLVMSetFastMathFlags(r, LLVMFastMathNoSignedZeros);
    return r;
}

/* Rounding for x86 without SSE4.1, where LLVM would call libm lane by lane. Beyond 2^23 (2^52) every value is an
 * integer. */
static LV real_rint_plain(Cg *g, LV x)
{
    LLVMBuilderRef b = g->b;
    bool wide = LLVMGetTypeKind(LLVMTypeOf(x)) == LLVMDoubleTypeKind ||
                (LLVMGetTypeKind(LLVMTypeOf(x)) == LLVMVectorTypeKind &&
                 LLVMGetTypeKind(LLVMGetElementType(LLVMTypeOf(x))) == LLVMDoubleTypeKind);
    LV magic = real_k(x, wide ? 0x1p52 : 0x1p23), a = unary_intrinsic(g, "llvm.fabs", x);
    LV r = LLVMBuildFSub(b, LLVMBuildFAdd(b, a, magic, ""), magic, "");
    r = cg_intrinsic(g, "llvm.copysign", LLVMTypeOf(x), (LV[]){r, x}, 2);
    return pick(g, fcmp(g, LLVMRealOLT, a, magic), r, x);
}

static LV real_round(Cg *g, KOp op, LV x)
{
    if (!g->isa.x86 || g->isa.sse41)
        return unary_intrinsic(g,
                               op == KOP_FLOOR   ? "llvm.floor"
                               : op == KOP_CEIL  ? "llvm.ceil"
                               : op == KOP_TRUNC ? "llvm.trunc"
                                                 : "llvm.rint",
                               x);
    LLVMBuilderRef b = g->b;
    LV zero = real_k(x, 0), one = real_k(x, 1), a = op == KOP_TRUNC ? unary_intrinsic(g, "llvm.fabs", x) : x,
       r = real_rint_plain(g, a);
    if (op == KOP_CEIL) r = LLVMBuildFAdd(b, r, pick(g, fcmp(g, LLVMRealOLT, r, x), one, zero), "");
    else if (op != KOP_RINT) r = LLVMBuildFSub(b, r, pick(g, fcmp(g, LLVMRealOGT, r, a), one, zero), "");
    return cg_intrinsic(g, "llvm.copysign", LLVMTypeOf(x), (LV[]){r, x}, 2);
}

static LV math_call(CgFn *f, const char *name, LV *x, unsigned n)
{
    Cg *g = f->g;
    LT t = LLVMTypeOf(x[0]);
    bool vec = LLVMGetTypeKind(t) == LLVMVectorTypeKind;
    LV fn = math_function(&g->math, name, vec ? LLVMGetElementType(t) : t, vec ? g->lanes : 1, f->fn);
    if (!fn) {
        if (!g->failed++)
            diag(g->m->diag, kloc_diag(g->m, f->k->loc), E_LLVM,
                 arena_printf(&g->arena, "no code for the function %s", name));
        return x[0];
    }
    return cg_call(g, fn, x, n, "");
}

/* fmod's result is moved into the interval of the divisor's sign. */
static LV real_mod(CgFn *f, LV a, LV d)
{
    Cg *g = f->g;
    LLVMBuilderRef b = g->b;
    LV r = math_call(f, "fmod", (LV[]){a, d}, 2), zero = real_k(a, 0);
    LV other = LLVMBuildXor(b, fcmp(g, LLVMRealOLT, r, zero), fcmp(g, LLVMRealOLT, d, zero), "");
    LV fix = LLVMBuildAnd(b, other, fcmp(g, LLVMRealONE, r, zero), "");
    LV signed_zero = cg_intrinsic(g, "llvm.copysign", LLVMTypeOf(a), (LV[]){zero, d}, 2);
    return pick(g, fcmp(g, LLVMRealOEQ, r, zero), signed_zero, pick(g, fix, LLVMBuildFAdd(b, r, d, ""), r));
}

/* ---- strings ---- */
static LV string_equal(CgFn *f, LV a, LV c)
{
    Cg *g = f->g;
    LLVMBuilderRef b = g->b;
    LV fn = cg_extern(g, "memcmp", g->i32, (LT[]){g->ptr, g->ptr, g->i64}, 3);
    LV n = LLVMBuildExtractValue(b, a, 1, ""), same = icmp(g, LLVMIntEQ, n, LLVMBuildExtractValue(b, c, 1, ""));
    LLVMBasicBlockRef here = cg_here(g), compare = cg_block(g, f->fn, "str"), done = cg_block(g, f->fn, "str.end");
    LLVMBuildCondBr(b, same, compare, done);
    LLVMPositionBuilderAtEnd(b, compare);
    LV r = cg_call(g, fn, (LV[]){LLVMBuildExtractValue(b, a, 0, ""), LLVMBuildExtractValue(b, c, 0, ""), n}, 3, "");
    LV eq = icmp(g, LLVMIntEQ, r, cg_i32(g, 0));
    LLVMBuildBr(b, done);
    LLVMPositionBuilderAtEnd(b, done);
    LV phi = LLVMBuildPhi(b, g->i1, "");
    LLVMAddIncoming(phi, (LV[]){LLVMConstInt(g->i1, 0, false), eq}, (LLVMBasicBlockRef[]){here, compare}, 2);
    return phi;
}

/* ---- the table of carries ---- */
LV scalar_identity(CgFn *f, KOp op, DType t)
{
    Cg *g = f->g;
    LT v = cg_type(g, t);
    bool real = is_real(t), sign = is_signed(t);
    int bits = t == DT_BOOL ? 1 : dtype_info(t)->bits;
    uint64_t all = bits == 64 ? UINT64_MAX : ((uint64_t)1 << bits) - 1, top = (uint64_t)1 << (bits - 1);
    switch (op) {
    case KOP_ADD:
    case KOP_OR:
    case KOP_XOR: return LLVMConstNull(v);
    case KOP_MUL: return real ? LLVMConstReal(v, 1) : LLVMConstInt(v, 1, false);
    case KOP_AND: return LLVMConstInt(v, all, false);
    case KOP_MIN: return real ? LLVMConstReal(v, INFINITY) : LLVMConstInt(v, sign ? all ^ top : all, false);
    case KOP_MAX: return real ? LLVMConstReal(v, -INFINITY) : LLVMConstInt(v, sign ? top : 0, false);
    default: BUG("no combine: %s", kop_info(op)->text);
    }
}

LV scalar_combine(CgFn *f, KOp op, DType t, LV a, LV b)
{
    KInstRec in = {.op = op, .type = t};
    return scalar_op(f, &in, (LV[]){a, b}, t, false);
}

LV scalar_op(CgFn *f, const KInstRec *in, LV *a, DType t, bool vec)
{
    Cg *g = f->g;
    LLVMBuilderRef b = g->b;
    bool real = is_real(t), sign = is_signed(t);
    int bits = dtype_info(t)->bits;
    (void)vec;
    switch (in->op) {
    case KOP_CONST: {
        LT type = cg_type(g, in->type);
        if (in->type == DT_STR) return LLVMConstNull(type);
        return is_real(in->type) ? LLVMConstReal(type, in->imm.f) : LLVMConstInt(type, (uint64_t)in->imm.i, true);
    }
    case KOP_DIM: return access_dim(f, in->imm.dim);
    case KOP_ADD: return real ? LLVMBuildFAdd(b, a[0], a[1], "") : LLVMBuildAdd(b, a[0], a[1], "");
    case KOP_SUB: return real ? LLVMBuildFSub(b, a[0], a[1], "") : LLVMBuildSub(b, a[0], a[1], "");
    case KOP_MUL: return real ? LLVMBuildFMul(b, a[0], a[1], "") : LLVMBuildMul(b, a[0], a[1], "");
    case KOP_DIV:
    case KOP_REM: {
        if (real) return in->op == KOP_DIV ? LLVMBuildFDiv(b, a[0], a[1], "") : math_call(f, "fmod", a, 2);
        LV q = NULL, r = NULL;
        int_div(g, sign, a[0], a[1], in->op == KOP_DIV ? &q : NULL, in->op == KOP_REM ? &r : NULL);
        return q ? q : r;
    }
    case KOP_MOD: {
        if (real) return real_mod(f, a[0], a[1]);
        LV r;
        int_div(g, sign, a[0], a[1], NULL, &r);
        if (!sign) return r;
        LV other = icmp(g, LLVMIntSLT, LLVMBuildXor(b, r, a[1], ""), int_k(r, 0));
        LV fix = LLVMBuildAnd(b, other, icmp(g, LLVMIntNE, r, int_k(r, 0)), "");
        return pick(g, fix, LLVMBuildAdd(b, r, a[1], ""), r);
    }
    case KOP_FLOORDIV: {
        int64_t k;
        if (cg_const(a[1], &k) && k > 0 && (k & (k - 1)) == 0)
            return LLVMBuildAShr(b, a[0], int_k(a[0], __builtin_ctzll((uint64_t)k)), "");
        LV q, r;
        int_div(g, true, a[0], a[1], &q, &r);
        return LLVMBuildSub(b, q, LLVMBuildZExt(b, icmp(g, LLVMIntSLT, r, int_k(r, 0)), LLVMTypeOf(r), ""), "");
    }
    case KOP_MIN:
    case KOP_MAX: {
        bool max = in->op == KOP_MAX;
        bool known = real && in->n_arg == 2 && !LLVMIsConstant(a[1]);
        if (known && kx_number(f->k, karg(f->k, in, 1))) return real_minmax(g, max, a[0], a[1], true);
        bool carried = real && in->n_arg == 2 && !kval(f->k, karg(f->k, in, 0))->def.i; /* from the turn before: used last */
        if (real) return carried ? real_minmax(g, max, a[1], a[0], false) : real_minmax(g, max, a[0], a[1], false);
        LLVMIntPredicate p = sign ? (max ? LLVMIntSGT : LLVMIntSLT) : (max ? LLVMIntUGT : LLVMIntULT);
        return pick(g, icmp(g, p, a[0], a[1]), a[0], a[1]);
    }
    case KOP_POW: return real ? math_call(f, "pow", a, 2) : int_pow(f, t, a[0], a[1]);
    case KOP_FMA:
        if (!real) return LLVMBuildAdd(b, LLVMBuildMul(b, a[0], a[1], ""), a[2], "");
        if (!g->m->target.fma) return LLVMBuildFAdd(b, LLVMBuildFMul(b, a[0], a[1], ""), a[2], "");
        return cg_intrinsic(g, "llvm.fma", LLVMTypeOf(a[0]), a, 3);
    case KOP_NEG: return real ? LLVMBuildFNeg(b, a[0], "") : LLVMBuildNeg(b, a[0], "");
    case KOP_ABS:
        if (real) return unary_intrinsic(g, "llvm.fabs", a[0]);
        return sign ? pick(g, icmp(g, LLVMIntSLT, a[0], int_k(a[0], 0)), LLVMBuildNeg(b, a[0], ""), a[0]) : a[0];
    case KOP_SIGN: {
        if (!real) {
            LV pos =
                pick(g, icmp(g, sign ? LLVMIntSGT : LLVMIntUGT, a[0], int_k(a[0], 0)), int_k(a[0], 1), int_k(a[0], 0));
            return sign ? pick(g, icmp(g, LLVMIntSLT, a[0], int_k(a[0], 0)), int_k(a[0], -1), pos) : pos;
        }
        LV r = pick(g, fcmp(g, LLVMRealOGT, a[0], real_k(a[0], 0)), real_k(a[0], 1), a[0]); /* NaN and zeros stay */
        return pick(g, fcmp(g, LLVMRealOLT, a[0], real_k(a[0], 0)), real_k(a[0], -1), r);
    }
    case KOP_FLOOR:
    case KOP_CEIL:
    case KOP_RINT:
    case KOP_TRUNC: return real ? real_round(g, in->op, a[0]) : a[0];
    case KOP_SQRT: return unary_intrinsic(g, "llvm.sqrt", a[0]);
    case KOP_AND: return LLVMBuildAnd(b, a[0], a[1], "");
    case KOP_OR: return LLVMBuildOr(b, a[0], a[1], "");
    case KOP_XOR: return LLVMBuildXor(b, a[0], a[1], "");
    case KOP_NOT: return LLVMBuildNot(b, a[0], "");
    case KOP_SHL: return shift(g, true, sign, bits, a[0], a[1]);
    case KOP_SHR: return shift(g, false, sign, bits, a[0], a[1]);
    case KOP_EQ:
    case KOP_NE:
        if (t == DT_STR) {
            LV eq = string_equal(f, a[0], a[1]);
            return in->op == KOP_EQ ? eq : LLVMBuildNot(b, eq, "");
        }
        if (real) return fcmp(g, in->op == KOP_EQ ? LLVMRealOEQ : LLVMRealUNE, a[0], a[1]);
        return icmp(g, in->op == KOP_EQ ? LLVMIntEQ : LLVMIntNE, a[0], a[1]);
    case KOP_LT: return real ? fcmp(g, LLVMRealOLT, a[0], a[1]) : icmp(g, sign ? LLVMIntSLT : LLVMIntULT, a[0], a[1]);
    case KOP_LE: return real ? fcmp(g, LLVMRealOLE, a[0], a[1]) : icmp(g, sign ? LLVMIntSLE : LLVMIntULE, a[0], a[1]);
    case KOP_GT: return real ? fcmp(g, LLVMRealOGT, a[0], a[1]) : icmp(g, sign ? LLVMIntSGT : LLVMIntUGT, a[0], a[1]);
    case KOP_GE: return real ? fcmp(g, LLVMRealOGE, a[0], a[1]) : icmp(g, sign ? LLVMIntSGE : LLVMIntUGE, a[0], a[1]);
    case KOP_ISNAN:
    case KOP_ISINF:
        if (!real) return LLVMConstNull(lanes_like(a[0], g->i1));
        if (in->op == KOP_ISINF)
            return fcmp(g, LLVMRealOEQ, unary_intrinsic(g, "llvm.fabs", a[0]), real_k(a[0], INFINITY));
        return fcmp(g, LLVMRealUNO, a[0], a[0]);
    case KOP_SELECT: return pick(g, a[0], a[1], a[2]);
    case KOP_CAST: {
        DType to = in->imm.dtype;
        LV fits;
        if (t == DT_F32 && clamped_to_int(f, karg(f->k, in, 0), to, a[0], &fits)) return fits;
        if ((to == DT_F16 || to == DT_BF16 || small_float(to)) && bits >= 32 && t != DT_F32)
            return scalar_round_to(g, to, round_to_odd(g, convert(g, t, DT_F64, a[0])));
        if (real && dtype_info(to)->bits < 8 && dtype_is_int(to)) return real_to_int(g, t, to, a[0]);
        return scalar_round_to(g, to, convert(g, t, dtype_compute(to), a[0]));
    }
    case KOP_BITCAST: return LLVMBuildBitCast(b, a[0], type_like(g, a[0], dtype_compute(in->imm.dtype)), "");
    default:
        if (kop_info(in->op)->flags & KF_MATH) return math_call(f, kop_info(in->op)->text, a, 1);
        BUG("no code for %s", kop_info(in->op)->text);
    }
}
