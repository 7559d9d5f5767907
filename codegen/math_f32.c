/* math_f32: the functions that models spend their time in, in single precision throughout.
 *
 * Each is 15 to 30 vector instructions: reduce the argument, one or two polynomials in Horner form, put the result
 * together. Neighbouring iterations overlap, so the length of the Horner chain does not matter, the count does.
 *
 * Coefficients: own minimax fits (Remez exchange, 40 digits, then rounded to float), of the relative error of the
 * function named beside the table, on the interval named there. "2^-28" is the error of the unrounded fit.
 * Cody-Waite constants: the high part has so few bits that n * HIGH is exact for every n that occurs, hence a
 * multiply and an add do as well as a fused multiply-add. */
#include "codegen/math_emit.h"

/* Adding MAGIC to |t| < 2^22 rounds t to an integer, which then sits in the low bits of the sum. */
static const double MAGIC = 12582912.0; /* 1.5 * 2^23 */

static const double LOG2E = 1.44269504088896340736;
static const double LN2_HI = 0x1.62e4p-1; /* 15 bits */
static const double LN2_LO = 0x1.7f7d1cf79abcap-20;

/* p * 2^n, n the low bits of t (see MAGIC) in -127..128: with 1 <= p <= 2 that is all finite normal results, 0 and
 * infinity. Without `flush` n goes down to -190: where `tiny`, the way is over 2^64, so that a denormal is rounded
 * once. */
static V scale(Em *e, V p, V t, V tiny)
{
    if (em_has_scale(e)) return em_scale(e, p, em_sub(e, t, em_f32(e, MAGIC)));
    V n = em_shl(e, em_bits(e, t), 23), bias = em_i32(e, 127u << 23);
    if (e->m->flush) return em_mul(e, p, em_float(e, em_iadd(e, n, bias)));
    V s = em_float(e, em_iadd(e, n, em_select(e, tiny, em_i32(e, (127u + 64) << 23), bias)));
    return em_mul(e, em_mul(e, p, s), em_select(e, tiny, em_f32(e, 0x1p-64), em_f32(e, 1)));
}

/* exp r on 0 < r < ln 2, 2^-28; on |r| < ln(2)/2, 2^-28 */
static const double EXP[] = {0.0019488635, 0.0077921031, 0.0419151038, 0.166610092, 0.500005841, 0.999999821, 1};
static const double EXP_NEAR[] = {0.00138144661, 0.00836878084, 0.0416683927, 0.166665196, 0.49999994, 1, 1};
enum { EXP_TERMS = 7 };

/* where the result is rounded to zero; with `flush`, where n = -127 makes zero */
static V clamp_below(Em *e, V x) { return em_max(e, x, e->m->flush ? -88 : -104); }

/* exp x = 2^n exp r, r = x - n ln 2, n in the low bits of t */
static V exp_rest(Em *e, V x, V t, const double c[EXP_TERMS])
{
    V n = em_sub(e, t, em_f32(e, MAGIC));
    V r = em_fmak(e, n, -LN2_LO, em_fmak(e, n, -LN2_HI, x));
    return scale(e, em_poly(e, r, c, EXP_TERMS), t, em_cmpk(e, LLVMRealOLT, x, -87));
}

/* n = floor(x / ln 2), because rounding to nearest would need a 2^128. */
V math_exp_f32(Em *e, const V *a)
{
    V x = clamp_below(e, em_min(e, a[0], 89));
    V t = em_add(e, em_fmak(e, x, LOG2E, em_f32(e, -0.5)), em_f32(e, MAGIC));
    return exp_rest(e, x, t, EXP);
}

/* exp -|x|, with n to nearest, which loses less in rounding r */
static V exp_minus_abs(Em *e, V x)
{
    x = clamp_below(e, LLVMBuildFNeg(e->b, em_abs(e, x), ""));
    return exp_rest(e, x, em_fmak(e, x, LOG2E, em_f32(e, MAGIC)), EXP_NEAR);
}

/* 2^r on 0 < r < 1, 2^-28 */
static const double EXP2[] = {0.000216129803, 0.00124678307, 0.00967545342, 0.0554852784, 0.240229309, 0.693147063, 1};

V math_exp2_f32(Em *e, const V *a)
{
    V x = em_min(e, em_max(e, a[0], e->m->flush ? -126.6 : -151), 128.6);
    V t = em_add(e, em_add(e, x, em_f32(e, -0.5)), em_f32(e, MAGIC));
    V r = em_sub(e, x, em_sub(e, t, em_f32(e, MAGIC)));
    return scale(e, EM_POLY(e, r, EXP2), t, em_cmpk(e, LLVMRealOLT, x, -126));
}

/* 1 / (1 + exp -x), as {x < 0: z / (1 + z), else 1 / (1 + z)} with z = exp -|x|: no overflow, and a small result
 * keeps the relative accuracy of z. */
V math_sigmoid_f32(Em *e, const V *a)
{
    V z = exp_minus_abs(e, a[0]);
    V one = em_f32(e, 1);
    V top = em_select(e, em_cmpk(e, LLVMRealOLT, a[0], 0), z, one);
    return em_div(e, top, em_add(e, one, z));
}

/* (log(1 + z) - z) / z^2 on 0 < z < 1, relative to log(1 + z), 2^-30 */
static const double LOG1P[] = {0.00207296549, -0.0136315804, 0.0419815965, -0.083074376, 0.124671467,
                               -0.161293477,  0.198979348,   -0.249885798, 0.333326906,  -0.499999881};

/* log(1 + exp x) = max(x, 0) + log(1 + z), z = exp -|x| */
V math_softplus_f32(Em *e, const V *a)
{
    V z = exp_minus_abs(e, a[0]);
    V y = em_fma(e, em_mul(e, z, z), EM_POLY(e, z, LOG1P), z);
    return em_add(e, em_max(e, a[0], 0), y);
}

/* tanh x = q / (q + 1), q = (exp(2x) - 1) / 2 = 2^n h + (2^n - 1) / 2, h = (exp(2r) - 1) / 2, r = x - n ln(2) / 2.
 * Small x has n = 0 and q = h = r + r^2 Q(r): one formula serves the whole line, down to denormals. */
static const double TANH_Q[] = {0.0127758915, 0.0446185842, 0.133331507, 0.333330601, 0.666666687, 1}; /* 2^-31 */

V math_tanh_f32(Em *e, const V *a)
{
    V x = em_min(e, em_abs(e, a[0]), 10); /* from 9.02 on the result is 1 */
    V t = em_fmak(e, x, 2 * LOG2E, em_f32(e, MAGIC));
    V n = em_sub(e, t, em_f32(e, MAGIC));
    V r = em_fmak(e, n, -LN2_LO / 2, em_fmak(e, n, -LN2_HI / 2, x));
    V h = em_fma(e, em_mul(e, r, r), EM_POLY(e, r, TANH_Q), r);
    V s = em_float(e, em_iadd(e, em_shl(e, em_bits(e, t), 23), em_i32(e, 127u << 23)));
    V q = em_fma(e, s, h, em_fmak(e, s, 0.5, em_f32(e, -0.5)));
    return em_put_sign(e, em_div(e, q, em_add(e, q, em_f32(e, 1))), em_sign(e, a[0]));
}

/* (erf x - x) / x in x^2 on |x| < 1.1, 2^-27 */
static const double ERF_NEAR[] = {7.18803058e-05, -0.000780580507, 0.00516486494, -0.026841443,
                                  0.112832919,    -0.376125991,    0.128379166};
/* erf(2.5 + u) on x = 1.1 .. 3.93, absolute error 2^-26; rounds to 1 at the upper end */
static const double ERF_FAR[] = {8.22858681e-07, -9.54243569e-06, 1.57887916e-05, 6.42744781e-05, -0.000266056333,
                                 0.000281432789, 0.000555361563,  -0.00281325332, 0.0061117243,   -0.00861744769,
                                 0.0083511984,   -0.00544632133,  0.00217821891,  0.999593079};

V math_erf_f32(Em *e, const V *a)
{
    V x = em_abs(e, a[0]);
    /* x (1 + p), not x + x p: that product might be flushed where x is not */
    V near = em_mul(e, x, em_add(e, EM_POLY(e, em_mul(e, x, x), ERF_NEAR), em_f32(e, 1)));
    V far = EM_POLY(e, em_sub(e, em_min(e, x, 3.925), em_f32(e, 2.5)), ERF_FAR);
    V y = em_select(e, em_cmpk(e, LLVMRealOLT, x, 1.1), near, far);
    return em_put_sign(e, y, em_sign(e, a[0]));
}

/* (log(1 + f) - f + f^2/2) / f^3 on sqrt(1/2) < 1 + f < sqrt(2), 2^-30 relative to log(1 + f) */
static const double LOG[] = {0.0674676001, -0.116758317, 0.11888203,   -0.124055587, 0.142195418,
                             -0.166679978, 0.200021192,  -0.250000089, 0.333333135};

/* log x = k ln 2 + log(1 + f), x = 2^k (1 + f). */
V math_log_f32(Em *e, const V *a)
{
    V x = a[0], bias = em_f32(e, 0);
    if (!e->m->flush) {
        V tiny = em_cmpk(e, LLVMRealOLT, x, 0x1p-126);
        x = em_select(e, tiny, em_mul(e, x, em_f32(e, 0x1p23)), x);
        bias = em_select(e, tiny, em_f32(e, -23), bias);
    }
    V bits = em_bits(e, x);
    V above = em_isub(e, bits, em_i32(e, 0x3f3504f3)); /* sqrt(1/2): the exponent field now is k, rounded our way */
    V k = LLVMBuildSIToFP(e->b, em_ashr(e, above, 23), e->f32, "");
    if (!e->m->flush) k = em_add(e, k, bias);
    V mant = em_float(e, em_isub(e, bits, em_and(e, above, em_i32(e, 0xff800000))));
    V f = em_sub(e, mant, em_f32(e, 1)), f2 = em_mul(e, f, f);
    V y = em_fma(e, em_mul(e, f2, f), EM_POLY(e, f, LOG), em_mul(e, k, em_f32(e, LN2_LO)));
    y = em_add(e, f, em_fmak(e, f2, -0.5, y));
    y = em_fmak(e, k, LN2_HI, y);
    y = em_select(e, em_cmp(e, LLVMRealOLT, a[0], em_inf(e, a[0])), y, a[0]); /* inf and NaN are their own logarithm */
    V pole = em_select(e, em_cmpk(e, LLVMRealOEQ, a[0], 0), LLVMBuildFNeg(e->b, em_inf(e, y), ""), em_nan(e, y));
    return em_select(e, em_cmpk(e, LLVMRealOLE, a[0], 0), pole, y);
}
