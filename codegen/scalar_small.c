/* scalar_small.c: floats of 8 and 4 bits as LLVM IR, scalars and <16 x T> alike, driven by a row of facts per type.
 * The code of an element (an i8; of 4-bit floats its low half) becomes a float and back with integer arithmetic that
 * gives the bits of ir/elem.c: to nearest even, what has no infinity saturates. Formats: OCP 8-bit floats and E8M0
 * scale, the FNUZ variants (no infinity, no -0, one nan), OCP FP4. */
#include "codegen/cg.h"
#include "ir/elem.h"

static LT lanes_like(LV like, LT s)
{
    return LLVMGetTypeKind(LLVMTypeOf(like)) == LLVMVectorTypeKind ? LLVMVectorType(s, LLVMGetVectorSize(LLVMTypeOf(like))) : s;
}
static LV k(LV like, int64_t v) { return cg_int_like(LLVMTypeOf(like), v); }
static LV pick(Cg *g, LV c, LV a, LV b) { return LLVMBuildSelect(g->b, c, a, b, ""); }
static LV cmp(Cg *g, LLVMIntPredicate p, LV a, int64_t b) { return LLVMBuildICmp(g->b, p, a, k(a, b), ""); }

bool small_float(DType t) { return t == DT_F8E8M0 || (t != DT_F16 && t != DT_BF16 && elem_format(t)->mbits); }

static LV scale_from(Cg *g, LV x) /* E8M0: a power of two, 2^-127 is subnormal */
{
    LV r = LLVMBuildShl(g->b, x, k(x, 23), "");
    r = pick(g, cmp(g, LLVMIntEQ, x, 0), k(x, 0x400000), r);
    return pick(g, cmp(g, LLVMIntEQ, x, 0xff), k(x, 0x7fc00000), r);
}

LV small_from_mem(Cg *g, DType t, LV raw)
{
    LLVMBuilderRef b = g->b;
    const ElemFormat *f = elem_format(t);
    LT i32 = lanes_like(raw, g->i32), f32 = lanes_like(raw, g->f32);
    LV x = LLVMBuildZExt(b, raw, i32, "");
    if (t == DT_F8E8M0) return LLVMBuildBitCast(b, scale_from(g, x), f32, "");
    int bits = f->ebits + f->mbits, up = 23 - f->mbits;
    LV sign = LLVMBuildShl(b, LLVMBuildAnd(b, x, k(x, 1 << bits), ""), k(x, 31 - bits), "");
    LV em = LLVMBuildAnd(b, x, k(x, (1 << bits) - 1), "");
    LV normal = LLVMBuildAdd(b, LLVMBuildShl(b, em, k(x, up), ""), k(x, (int64_t)(127 - f->bias) << 23), "");
    LV unit = cg_real_like(f32, 1.0 / (double)(1 << (f->bias + f->mbits - 1)));
    LV tiny = LLVMBuildBitCast(b, LLVMBuildFMul(b, LLVMBuildUIToFP(b, em, f32, ""), unit, ""), i32, "");
    LV r = pick(g, cmp(g, LLVMIntULT, em, 1 << f->mbits), tiny, normal);
    if (f->max < (1u << bits) - 1) r = pick(g, cmp(g, LLVMIntUGT, em, f->max), k(x, 0x7fc00000), r);
    if (f->inf) r = pick(g, cmp(g, LLVMIntEQ, em, f->inf), k(x, 0x7f800000), r);
    r = LLVMBuildOr(b, r, sign, "");
    if (f->fnuz) r = pick(g, cmp(g, LLVMIntEQ, x, f->nan), k(x, 0x7fc00000), r);
    return LLVMBuildBitCast(b, r, f32, "");
}

static LV scale_to(Cg *g, LV v, LV x)
{
    LLVMBuilderRef b = g->b;
    LV odd = LLVMBuildAnd(b, LLVMBuildLShr(b, x, k(x, 23), ""), k(x, 1), "");
    LV code = LLVMBuildLShr(b, LLVMBuildAdd(b, x, LLVMBuildAdd(b, odd, k(x, 0x3fffff), ""), ""), k(x, 23), "");
    LV one = LLVMBuildZExt(b, cmp(g, LLVMIntUGT, x, 0x600000), LLVMTypeOf(x), "");
    code = pick(g, cmp(g, LLVMIntULT, x, 0x800000), one, code);
    code = pick(g, cmp(g, LLVMIntUGT, code, 254), k(x, 254), code);
    LV zero = LLVMConstNull(LLVMTypeOf(v));
    code = pick(g, LLVMBuildFCmp(b, LLVMRealOEQ, v, zero, ""), k(x, 0), code);
    return pick(g, LLVMBuildFCmp(b, LLVMRealULT, v, zero, ""), k(x, 0xff), code);
}

LV small_to_mem(Cg *g, DType t, LV v)
{
    LLVMBuilderRef b = g->b;
    const ElemFormat *f = elem_format(t);
    LT i32 = lanes_like(v, g->i32), i8 = lanes_like(v, g->i8), f32 = lanes_like(v, g->f32);
    LV x = LLVMBuildBitCast(b, v, i32, "");
    if (t == DT_F8E8M0) return LLVMBuildTrunc(b, scale_to(g, v, x), i8, "");
    int bits = f->ebits + f->mbits, down = 23 - f->mbits;
    LV sign = LLVMBuildAnd(b, LLVMBuildLShr(b, x, k(x, 31 - bits), ""), k(x, 1 << bits), "");
    LV a = LLVMBuildAnd(b, x, k(x, 0x7fffffff), "");
    LV odd = LLVMBuildAnd(b, LLVMBuildLShr(b, a, k(x, down), ""), k(x, 1), "");
    LV half = LLVMBuildAdd(b, odd, k(x, ((int64_t)1 << (down - 1)) - 1), "");
    LV normal = LLVMBuildSub(b, LLVMBuildAdd(b, a, half, ""), k(x, (int64_t)(127 - f->bias) << 23), "");
    normal = LLVMBuildLShr(b, normal, k(x, down), "");
    /* below the least normal value: adding 2^23 units rounds to whole units */
    int64_t magic = (int64_t)(127 + 23 + 1 - f->bias - f->mbits) << 23;
    LV sum = LLVMBuildFAdd(b, LLVMBuildBitCast(b, a, f32, ""), LLVMBuildBitCast(b, k(x, magic), f32, ""), "");
    LV tiny = LLVMBuildSub(b, LLVMBuildBitCast(b, sum, i32, ""), k(x, magic), "");
    LV r = pick(g, cmp(g, LLVMIntULT, a, (int64_t)(128 - f->bias) << 23), tiny, normal);
    r = pick(g, cmp(g, LLVMIntUGT, r, f->max), k(x, f->inf ? f->inf : f->max), r);
    if (f->fnuz) sign = pick(g, cmp(g, LLVMIntEQ, r, 0), k(x, 0), sign);
    LV nan = cmp(g, LLVMIntUGT, a, 0x7f800000);
    r = f->fnuz ? LLVMBuildOr(b, r, sign, "") : LLVMBuildOr(b, pick(g, nan, k(x, f->nan), r), sign, "");
    if (f->fnuz) r = pick(g, nan, k(x, f->nan), r);
    return LLVMBuildTrunc(b, r, i8, "");
}
