/* math_emit: what the files math_*.c share; nobody else includes it.
 *
 * A kernel is a C function that emits its body with the em_* helpers below. Values are LLVM vectors of `lanes` lanes,
 * or scalars when lanes = 1; the helpers read the type off their operands, so one kernel text serves both. No
 * fast-math flag is ever set: the kernels rely on exact cancellations and on NaN. */
#ifndef BMC_CODEGEN_MATH_EMIT_H
#define BMC_CODEGEN_MATH_EMIT_H

#include "codegen/math.h"

#include <stddef.h>
#include <stdint.h>

typedef LLVMValueRef V;

typedef struct Em {
    const MathCtx *m;
    LLVMBuilderRef b;
    LLVMValueRef fn; /* the function being filled: for new basic blocks */
    unsigned lanes;
    LLVMTypeRef f32, f64, i32, i64; /* of `lanes` lanes */
} Em;

typedef V (*MathKernel)(Em *e, const V *arg);

/* Constants, the same in every lane. */
V em_f32(Em *e, double c);
V em_f64(Em *e, double c);
V em_i32(Em *e, uint32_t c);
V em_i64(Em *e, uint64_t c);
V em_like(Em *e, V x, double c); /* floating constant of x's type */
V em_inf(Em *e, V x);
V em_nan(Em *e, V x);

V em_add(Em *e, V a, V b);
V em_sub(Em *e, V a, V b);
V em_mul(Em *e, V a, V b);
V em_div(Em *e, V a, V b);
V em_fma(Em *e, V a, V b, V c);       /* a*b + c: fused where the target can, else two roundings */
V em_fmak(Em *e, V a, double b, V c); /* the same with a constant factor */
V em_sqrt(Em *e, V a);
V em_min(Em *e, V x, double c); /* c < x ? c : x: a NaN passes through */
V em_max(Em *e, V x, double c);
V em_poly(Em *e, V x, const double *c, size_t n); /* c[0] x^(n-1) + ... + c[n-1], Horner */
#define EM_POLY(e, x, table) em_poly(e, x, table, sizeof(table) / sizeof *(table))

V em_cmp(Em *e, LLVMRealPredicate p, V a, V b);
V em_cmpk(Em *e, LLVMRealPredicate p, V a, double c);
V em_select(Em *e, V cond, V yes, V no);
V em_not(Em *e, V cond);

V em_iadd(Em *e, V a, V b);
V em_isub(Em *e, V a, V b);
V em_imul(Em *e, V a, V b);
V em_and(Em *e, V a, V b);
V em_or(Em *e, V a, V b);
V em_xor(Em *e, V a, V b);
V em_shl(Em *e, V a, unsigned n);
V em_lshr(Em *e, V a, unsigned n);
V em_ashr(Em *e, V a, unsigned n);

V em_bits(Em *e, V x);     /* float/double -> i32/i64 of the same bits */
V em_float(Em *e, V bits); /* and back */
V em_wide(Em *e, V x);     /* f32 -> f64 */
V em_narrow(Em *e, V x);   /* f64 -> f32 */
V em_abs(Em *e, V x);
V em_sign(Em *e, V x);          /* the sign bit of x, as integer */
V em_put_sign(Em *e, V x, V s); /* x with the sign bit s or-ed in */

bool em_has_scale(const Em *e); /* x * 2^n in one instruction */
V em_scale(Em *e, V x, V n);    /* that: rounded once, n a whole float; floats or doubles */
/* A call of the intrinsic `name` overloaded on the type of a[0]. */
V em_intrinsic(Em *e, const char *name, const V *a, unsigned n);

/* The C library's `name` of n doubles, lane by lane. With `flush` denormal arguments are zeros there: the library
 * scales what its bits say is denormal, and would get 0 where a logarithm's argument is normal. */
V em_libm(Em *e, const char *name, const V *given, unsigned n);

/* For doubles: 2^n of the n in t = n + 1.5 * 2^52, -1023 < n < 1024; and a normal x > 0 as 2^k (1 + f),
 * sqrt(1/2) < 1 + f < sqrt(2). */
V em_pow2(Em *e, V t);
void em_split(Em *e, V x, V *k, V *f);

V em_keep_inf_nan(Em *e, V x, V y); /* y, but where x is infinite or NaN: x */
/* y = log(x - pole) where x > pole; -inf at the pole, NaN below it; inf and NaN themselves. */
V em_log_domain(Em *e, V x, double pole, V y);
/* r = |x|^y with the signs and special cases of C's Annex F; whether y is no integer, whether it is an odd one. */
V em_pow_ends(Em *e, V x, V y, V r, V fraction, V odd);

void em_add_attribute(LLVMContextRef cx, LLVMValueRef fn, const char *name); /* an enum attribute with the value 0 */
void em_mark_pure(LLVMContextRef cx, LLVMValueRef fn);                       /* neither reads nor writes, returns */

/* The kernels, by file. */
V math_exp_f64(Em *e, const V *a); /* math_f64.c */
V math_exp2_f64(Em *e, const V *a);
V math_expm1_f64(Em *e, const V *a);
V math_tanh_f64(Em *e, const V *a);
V math_sinh_f64(Em *e, const V *a);
V math_cosh_f64(Em *e, const V *a);
V math_log_f64(Em *e, const V *a);
V math_log1p_f64(Em *e, const V *a);
V math_sigmoid_f64(Em *e, const V *a);
V math_softplus_f64(Em *e, const V *a);
V math_asinh_f64(Em *e, const V *a);
V math_acosh_f64(Em *e, const V *a);
V math_atanh_f64(Em *e, const V *a);
V math_erf_f64(Em *e, const V *a);
V math_pow_f64(Em *e, const V *a);

V math_sin_f64(Em *e, const V *a); /* math_trig_f64.c */
V math_cos_f64(Em *e, const V *a);
V math_tan_f64(Em *e, const V *a);
V math_asin_f64(Em *e, const V *a);
V math_acos_f64(Em *e, const V *a);
V math_atan_f64(Em *e, const V *a);

V math_exp_f32(Em *e, const V *a); /* math_f32.c: single precision throughout */
V math_exp2_f32(Em *e, const V *a);
V math_log_f32(Em *e, const V *a);
V math_tanh_f32(Em *e, const V *a);
V math_sigmoid_f32(Em *e, const V *a);
V math_softplus_f32(Em *e, const V *a);
V math_erf_f32(Em *e, const V *a);

V math_log2_f32(Em *e, const V *a); /* math_wide.c: in double precision */
V math_log10_f32(Em *e, const V *a);
V math_log1p_f32(Em *e, const V *a);
V math_expm1_f32(Em *e, const V *a);
V math_sinh_f32(Em *e, const V *a);
V math_cosh_f32(Em *e, const V *a);
V math_asinh_f32(Em *e, const V *a);
V math_acosh_f32(Em *e, const V *a);
V math_atanh_f32(Em *e, const V *a);
V math_pow_f32(Em *e, const V *a);

V math_fmod_f32(Em *e, const V *a); /* math_rem.c: exact */
V math_fmod_f64(Em *e, const V *a);

V math_sin_f32(Em *e, const V *a); /* math_trig.c */
V math_cos_f32(Em *e, const V *a);
V math_tan_f32(Em *e, const V *a);
V math_asin_f32(Em *e, const V *a);
V math_acos_f32(Em *e, const V *a);
V math_atan_f32(Em *e, const V *a);

#endif
