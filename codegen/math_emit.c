/* math_emit: the helpers of math_emit.h. */
#include "codegen/math_emit.h"

#include <assert.h>
#include <string.h>

static V splat(Em *e, LLVMTypeRef type, V scalar)
{
    if (LLVMGetTypeKind(type) != LLVMVectorTypeKind) return scalar;
    enum { MAX_LANES = 64 };
    V lane[MAX_LANES];
    assert(e->lanes <= MAX_LANES);
    for (unsigned i = 0; i < e->lanes; i++) lane[i] = scalar;
    return LLVMConstVector(lane, e->lanes);
}

static LLVMTypeRef scalar_type(LLVMTypeRef t)
{
    return LLVMGetTypeKind(t) == LLVMVectorTypeKind ? LLVMGetElementType(t) : t;
}

static bool is_double(V x) { return LLVMGetTypeKind(scalar_type(LLVMTypeOf(x))) == LLVMDoubleTypeKind; }

static bool is_i64(V x) { return LLVMGetIntTypeWidth(scalar_type(LLVMTypeOf(x))) == 64; }

V em_f32(Em *e, double c) { return splat(e, e->f32, LLVMConstReal(scalar_type(e->f32), c)); }
V em_f64(Em *e, double c) { return splat(e, e->f64, LLVMConstReal(scalar_type(e->f64), c)); }
V em_i32(Em *e, uint32_t c) { return splat(e, e->i32, LLVMConstInt(scalar_type(e->i32), c, false)); }
V em_i64(Em *e, uint64_t c) { return splat(e, e->i64, LLVMConstInt(scalar_type(e->i64), c, false)); }
V em_like(Em *e, V x, double c) { return is_double(x) ? em_f64(e, c) : em_f32(e, c); }
V em_inf(Em *e, V x)
{
    return em_float(e, is_double(x) ? em_i64(e, UINT64_C(0x7ff) << 52) : em_i32(e, UINT32_C(0xff) << 23));
}
V em_nan(Em *e, V x)
{
    return em_float(e, is_double(x) ? em_i64(e, UINT64_C(0xfff) << 51) : em_i32(e, UINT32_C(0x1ff) << 22));
}

V em_intrinsic(Em *e, const char *name, const V *a, unsigned n)
{
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    assert(id != 0 && n <= 4);
    LLVMTypeRef over[1] = {LLVMTypeOf(a[0])};
    V args[4];
    for (unsigned i = 0; i < n; i++) args[i] = a[i];
    V fn = LLVMGetIntrinsicDeclaration(e->m->mod, id, over, 1);
    return LLVMBuildCall2(e->b, LLVMIntrinsicGetType(e->m->cx, id, over, 1), fn, args, n, "");
}

bool em_has_scale(const Em *e) { return e->m->scalef && e->lanes == 16; }

/* The instruction on one register. */
static V scale_register(Em *e, const char *name, V x, V n, LLVMTypeRef mask)
{
    enum { ROUND_AS_SET = 4 };
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    assert(id != 0 && em_has_scale(e));
    V fn = LLVMGetIntrinsicDeclaration(e->m->mod, id, NULL, 0);
    LLVMTypeRef i32 = LLVMInt32TypeInContext(e->m->cx);
    V arg[5] = {x, n, LLVMConstNull(LLVMTypeOf(x)), LLVMConstAllOnes(mask), LLVMConstInt(i32, ROUND_AS_SET, false)};
    return LLVMBuildCall2(e->b, LLVMIntrinsicGetType(e->m->cx, id, NULL, 0), fn, arg, 5, "");
}

/* Lanes first .. first+n-1 of a, then of b. */
static V lanes_from(Em *e, V a, V b, unsigned first, unsigned n)
{
    V pick[16];
    for (unsigned i = 0; i < n; i++) pick[i] = LLVMConstInt(LLVMInt32TypeInContext(e->m->cx), first + i, false);
    return LLVMBuildShuffleVector(e->b, a, b, LLVMConstVector(pick, n), "");
}

V em_scale(Em *e, V x, V n)
{
    LLVMTypeRef i8 = LLVMInt8TypeInContext(e->m->cx), i16 = LLVMInt16TypeInContext(e->m->cx);
    if (!is_double(x)) return scale_register(e, "llvm.x86.avx512.mask.scalef.ps.512", x, n, i16);
    V half[2], none = LLVMGetPoison(LLVMTypeOf(x));
    for (unsigned i = 0; i < 2; i++)
        half[i] = scale_register(e, "llvm.x86.avx512.mask.scalef.pd.512", lanes_from(e, x, none, 8 * i, 8),
                                 lanes_from(e, n, none, 8 * i, 8), i8);
    return lanes_from(e, half[0], half[1], 0, 16);
}

V em_add(Em *e, V a, V b) { return LLVMBuildFAdd(e->b, a, b, ""); }
V em_sub(Em *e, V a, V b) { return LLVMBuildFSub(e->b, a, b, ""); }
V em_mul(Em *e, V a, V b) { return LLVMBuildFMul(e->b, a, b, ""); }
V em_div(Em *e, V a, V b) { return LLVMBuildFDiv(e->b, a, b, ""); }

V em_fma(Em *e, V a, V b, V c)
{
    if (!e->m->has_fma) return em_add(e, em_mul(e, a, b), c);
    return em_intrinsic(e, "llvm.fma", (V[]){a, b, c}, 3);
}

V em_fmak(Em *e, V a, double b, V c) { return em_fma(e, a, em_like(e, a, b), c); }

V em_sqrt(Em *e, V a) { return em_intrinsic(e, "llvm.sqrt", &a, 1); }

V em_min(Em *e, V x, double c)
{
    V k = em_like(e, x, c);
    return em_select(e, em_cmp(e, LLVMRealOLT, k, x), k, x);
}

V em_max(Em *e, V x, double c)
{
    V k = em_like(e, x, c);
    return em_select(e, em_cmp(e, LLVMRealOGT, k, x), k, x);
}

V em_poly(Em *e, V x, const double *c, size_t n)
{
    V p = em_like(e, x, c[0]);
    for (size_t i = 1; i < n; i++) p = em_fma(e, p, x, em_like(e, x, c[i]));
    return p;
}

V em_cmp(Em *e, LLVMRealPredicate p, V a, V b) { return LLVMBuildFCmp(e->b, p, a, b, ""); }
V em_cmpk(Em *e, LLVMRealPredicate p, V a, double c) { return em_cmp(e, p, a, em_like(e, a, c)); }
V em_select(Em *e, V cond, V yes, V no) { return LLVMBuildSelect(e->b, cond, yes, no, ""); }
V em_not(Em *e, V cond) { return LLVMBuildNot(e->b, cond, ""); }

V em_iadd(Em *e, V a, V b) { return LLVMBuildAdd(e->b, a, b, ""); }
V em_isub(Em *e, V a, V b) { return LLVMBuildSub(e->b, a, b, ""); }
V em_imul(Em *e, V a, V b) { return LLVMBuildMul(e->b, a, b, ""); }
V em_and(Em *e, V a, V b) { return LLVMBuildAnd(e->b, a, b, ""); }
V em_or(Em *e, V a, V b) { return LLVMBuildOr(e->b, a, b, ""); }
V em_xor(Em *e, V a, V b) { return LLVMBuildXor(e->b, a, b, ""); }

static V count(Em *e, V a, unsigned n) { return is_i64(a) ? em_i64(e, n) : em_i32(e, n); }
V em_shl(Em *e, V a, unsigned n) { return LLVMBuildShl(e->b, a, count(e, a, n), ""); }
V em_lshr(Em *e, V a, unsigned n) { return LLVMBuildLShr(e->b, a, count(e, a, n), ""); }
V em_ashr(Em *e, V a, unsigned n) { return LLVMBuildAShr(e->b, a, count(e, a, n), ""); }

V em_bits(Em *e, V x) { return LLVMBuildBitCast(e->b, x, is_double(x) ? e->i64 : e->i32, ""); }
V em_float(Em *e, V bits) { return LLVMBuildBitCast(e->b, bits, is_i64(bits) ? e->f64 : e->f32, ""); }
V em_wide(Em *e, V x) { return LLVMBuildFPExt(e->b, x, e->f64, ""); }
V em_narrow(Em *e, V x) { return LLVMBuildFPTrunc(e->b, x, e->f32, ""); }

V em_abs(Em *e, V x) { return em_intrinsic(e, "llvm.fabs", &x, 1); }

V em_sign(Em *e, V x)
{
    return em_and(e, em_bits(e, x), is_double(x) ? em_i64(e, UINT64_C(1) << 63) : em_i32(e, UINT32_C(1) << 31));
}

V em_put_sign(Em *e, V x, V s) { return em_float(e, em_or(e, em_bits(e, x), s)); }

V em_pow2(Em *e, V t)
{
    return em_float(e, em_iadd(e, em_shl(e, em_bits(e, t), 52), em_i64(e, UINT64_C(1023) << 52)));
}

/* k is made a double by putting it into the low bits of 2^52. */
void em_split(Em *e, V x, V *k, V *f)
{
    const uint64_t one = UINT64_C(1023) << 52, half_root = UINT64_C(0x3fe6a09e667f3bcd);
    V bits = em_bits(e, x), shifted = em_iadd(e, bits, em_i64(e, one - half_root));
    V field = em_or(e, em_lshr(e, shifted, 52), em_i64(e, UINT64_C(0x433) << 52));
    *k = em_sub(e, em_float(e, field), em_f64(e, 0x1p52 + 1023));
    V power = em_isub(e, em_and(e, shifted, em_i64(e, UINT64_C(0xfff) << 52)), em_i64(e, one));
    *f = em_sub(e, em_float(e, em_isub(e, bits, power)), em_f64(e, 1));
}

V em_keep_inf_nan(Em *e, V x, V y) { return em_select(e, em_cmp(e, LLVMRealOLT, x, em_inf(e, x)), y, x); }

V em_log_domain(Em *e, V x, double pole, V y)
{
    V out = em_select(e, em_cmpk(e, LLVMRealOEQ, x, pole), LLVMBuildFNeg(e->b, em_inf(e, x), ""), em_nan(e, x));
    return em_select(e, em_cmpk(e, LLVMRealOLE, x, pole), out, em_keep_inf_nan(e, x, y));
}

V em_pow_ends(Em *e, V x, V y, V r, V fraction, V odd)
{
    V ax = em_abs(e, x), inf = em_inf(e, x), none = LLVMConstNull(is_double(x) ? e->i64 : e->i32);
    V negative = LLVMBuildAnd(e->b, em_cmpk(e, LLVMRealOLT, x, 0), em_cmp(e, LLVMRealOLT, ax, inf), "");
    r = em_select(e, LLVMBuildAnd(e->b, negative, fraction, ""), em_nan(e, r), r);
    r = em_put_sign(e, r, em_select(e, odd, em_sign(e, x), none));

    /* 1 for x = 1 and for y = 0, even with a NaN, and for (-1)^inf */
    V one = LLVMBuildAnd(e->b, em_cmpk(e, LLVMRealOEQ, ax, 1), em_cmp(e, LLVMRealOEQ, em_abs(e, y), inf), "");
    one = LLVMBuildOr(e->b, one, em_cmpk(e, LLVMRealOEQ, x, 1), "");
    one = LLVMBuildOr(e->b, one, em_cmpk(e, LLVMRealOEQ, y, 0), "");
    return em_select(e, one, em_like(e, r, 1), r);
}

void em_add_attribute(LLVMContextRef cx, LLVMValueRef fn, const char *name)
{
    unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));
    assert(kind != 0);
    LLVMAddAttributeAtIndex(fn, LLVMAttributeFunctionIndex, LLVMCreateEnumAttribute(cx, kind, 0));
}

/* The value 0 of `memory` is memory(none). */
void em_mark_pure(LLVMContextRef cx, LLVMValueRef fn)
{
    em_add_attribute(cx, fn, "nounwind");
    em_add_attribute(cx, fn, "willreturn");
    em_add_attribute(cx, fn, "memory");
}

V em_libm(Em *e, const char *name, const V *given, unsigned n)
{
    V arg[2];
    assert(n <= 2);
    for (unsigned i = 0; i < n; i++) {
        arg[i] = given[i];
        if (!e->m->flush) continue;
        V tiny = em_cmpk(e, LLVMRealOLT, em_abs(e, arg[i]), 0x1p-1022);
        arg[i] = em_select(e, tiny, em_float(e, em_sign(e, arg[i])), arg[i]);
    }
    LLVMTypeRef type = LLVMGetTypeKind(e->f64) == LLVMVectorTypeKind ? LLVMGetElementType(e->f64) : e->f64;
    LLVMTypeRef sig = LLVMFunctionType(type, (LLVMTypeRef[]){type, type}, n, false);
    LLVMValueRef fn = LLVMGetNamedFunction(e->m->mod, name);
    if (!fn) {
        fn = LLVMAddFunction(e->m->mod, name, sig);
        em_mark_pure(e->m->cx, fn);
    }
    if (e->lanes == 1) return LLVMBuildCall2(e->b, sig, fn, arg, n, "");
    V y = LLVMGetUndef(e->f64);
    for (unsigned i = 0; i < e->lanes; i++) {
        V at = LLVMConstInt(LLVMInt32TypeInContext(e->m->cx), i, false), x[2];
        for (unsigned j = 0; j < n; j++) x[j] = LLVMBuildExtractElement(e->b, arg[j], at, "");
        y = LLVMBuildInsertElement(e->b, y, LLVMBuildCall2(e->b, sig, fn, x, n, ""), at, "");
    }
    return y;
}
