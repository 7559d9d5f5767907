/* math_rem: C's fmod in lanes, the exact remainder of a quotient rounded towards zero.
 *
 * With n the whole number nearest to |x| / |y|, as divided, r = |x| - n |y| is exact: a multiple of y's last place (for
 * |x| >= |y|) that is not above |y|. So r, or r + |y| where it is negative, is the remainder. Floats do it in double,
 * where n |y| has 24 + 28 bits; doubles with a fused multiply-add.
 * The C library is asked, for all of a vector, where a quotient is larger, and with denormals flushed where y is so
 * small that the remainder may be one. A denormal y is 0 then, for the library, too. */
#include "codegen/math_emit.h"

static const double MAGIC = 0x1.8p52; /* rounds |t| < 2^51 to an integer */

/* y where no lane is in `rare`, else x rem y by the C library. Ends in a new block. */
static V rare_by_libm(Em *e, V rare, const V *a, V y)
{
    V any = e->lanes == 1 ? rare : em_intrinsic(e, "llvm.vector.reduce.or", &rare, 1);
    LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b);
    LLVMBasicBlockRef slow = LLVMAppendBasicBlockInContext(e->m->cx, e->fn, "rare");
    LLVMBasicBlockRef after = LLVMAppendBasicBlockInContext(e->m->cx, e->fn, "done");
    LLVMBuildCondBr(e->b, any, slow, after);
    LLVMPositionBuilderAtEnd(e->b, slow);
    V other = LLVMBuildFRem(e->b, a[0], a[1], "");
    LLVMBuildBr(e->b, after);
    LLVMPositionBuilderAtEnd(e->b, after);
    V result = LLVMBuildPhi(e->b, LLVMTypeOf(y), "");
    LLVMAddIncoming(result, (V[]){y, other}, (LLVMBasicBlockRef[]){before, slow}, 2);
    return result;
}

/* ax rem ay, both not negative; NaN for an infinite ax, for NaN and for ay = 0 */
static V remainder_of(Em *e, V ax, V ay, V quotient)
{
    V n = em_sub(e, em_add(e, quotient, em_f64(e, MAGIC)), em_f64(e, MAGIC));
    V r = em_fma(e, LLVMBuildFNeg(e->b, n, ""), ay, ax);
    return em_select(e, em_cmpk(e, LLVMRealOLT, r, 0), em_add(e, r, ay), r);
}

/* Where the C library is asked: ax is finite, ay is not 0, and the quotient reaches `limit` or, with denormals flushed,
 * ay is `small`; not where ax < ay, which is the result as it is. */
static V is_rare(Em *e, V ax, V ay, V quotient, double limit, V small)
{
    V rare = em_cmpk(e, LLVMRealOGE, quotient, limit);
    if (e->m->flush) rare = LLVMBuildOr(e->b, rare, small, "");
    rare = LLVMBuildAnd(e->b, rare, em_cmp(e, LLVMRealOLT, ax, em_inf(e, ax)), "");
    rare = LLVMBuildAnd(e->b, rare, em_cmpk(e, LLVMRealONE, ay, 0), "");
    return LLVMBuildAnd(e->b, rare, em_cmp(e, LLVMRealUGE, ax, ay), "");
}

V math_fmod_f32(Em *e, const V *a)
{
    V ax = em_abs(e, a[0]), ay = em_abs(e, a[1]), x = em_wide(e, ax), y = em_wide(e, ay), q = em_div(e, x, y);
    V small = LLVMBuildICmp(e->b, LLVMIntULT, em_bits(e, ay), em_i32(e, UINT32_C(24) << 23), "");
    V r = em_select(e, em_cmp(e, LLVMRealOLT, ax, ay), ax, em_narrow(e, remainder_of(e, x, y, q)));
    V rare = is_rare(e, ax, ay, q, 0x1p28, small);
    return rare_by_libm(e, rare, a, em_put_sign(e, r, em_sign(e, a[0])));
}

V math_fmod_f64(Em *e, const V *a)
{
    if (!e->m->has_fma) return LLVMBuildFRem(e->b, a[0], a[1], "");
    V x = em_abs(e, a[0]), y = em_abs(e, a[1]), q = em_div(e, x, y);
    V small = LLVMBuildICmp(e->b, LLVMIntULT, em_bits(e, y), em_i64(e, UINT64_C(53) << 52), "");
    V r = em_select(e, em_cmp(e, LLVMRealOLT, x, y), x, remainder_of(e, x, y, q));
    V rare = is_rare(e, x, y, q, 0x1p51, small);
    return rare_by_libm(e, rare, a, em_put_sign(e, r, em_sign(e, a[0])));
}
