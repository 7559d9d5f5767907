/* math_wide: f32 functions of the exponential and logarithm family that would lose bits in single precision.
 *
 * The argument is widened, the kernel works on <L x double> (LLVM splits that into as many registers as it needs) to a
 * relative error of about 2^-32, and the result is rounded once, so it is within 0.51 ULP. That costs about twice what
 * the functions of math_f32.c do and needs no further thought: nothing overflows or gets denormal on the way,
 * 1 + x keeps the bits of any x that matter, and powers of ten or two come out exact.
 *
 * Only zero, infinity, NaN and the ends of the domain are looked at. Odd functions get the sign bit of the argument
 * at the end, which also keeps -0.
 *
 * Coefficients: own minimax fits (Remez exchange, 40 digits), of the relative error of the whole function. */
#include "codegen/math_emit.h"

/* Adding MAGIC to |t| < 2^51 rounds t to an integer, which then sits in the low bits of the sum. */
static const double MAGIC = 0x1.8p52;

static const double LN2 = 0x1.62e42fefa39efp-1, LOG2E = 0x1.71547652b82fep0;
static const double LOG10E = 0x1.bcb7b1526e50ep-2, LOG10_2 = 0x1.34413509f79ffp-2;

/* (exp r - 1 - r) / r^2 on |r| < ln(2)/2, 2^-31 of exp r - 1 */
static const double EXPM1[] = {0.00019962330053429567, 0.0013943307860815283, 0.0083332196686100642,
                               0.04166632575641812,    0.1666666690365558,    0.50000000533422984};

/* exp x - 1 = 2^n (exp r - 1) + (2^n - 1), for |x| < 700 */
static V expm1_wide(Em *e, V x)
{
    V t = em_fmak(e, x, LOG2E, em_f64(e, MAGIC));
    V r = em_fmak(e, em_sub(e, t, em_f64(e, MAGIC)), -LN2, x);
    V p = em_fma(e, em_mul(e, r, r), EM_POLY(e, r, EXPM1), r), s = em_pow2(e, t);
    return em_fma(e, s, p, em_sub(e, s, em_f64(e, 1)));
}

/* 2^r on |r| < 1/2, 2^-39 */
static const double EXP2[] = {1.3344327160457624e-06, 1.5314237053386048e-05, 0.00015403097493314047,
                              0.0013333434044640218,  0.0096181295599922587,  0.05550410959353725,
                              0.24022650694738781,    0.69314718054120383,    1};

/* 2^x for |x| < 1000 */
static V exp2_wide(Em *e, V x)
{
    V t = em_add(e, x, em_f64(e, MAGIC));
    V r = em_sub(e, x, em_sub(e, t, em_f64(e, MAGIC)));
    return em_mul(e, EM_POLY(e, r, EXP2), em_pow2(e, t));
}

/* (log(1 + f) - f) / f^2 on sqrt(1/2) < 1 + f < sqrt(2), relative to log(1 + f): 2^-32 */
static const double LOG[] = {-0.06721567257705606, 0.1132353669557308,  -0.10849487805379672, 0.10904344910935568,
                             -0.12398859896972317, 0.14293528142319023, -0.16671568869579018, 0.19999889608451635,
                             -0.24999904775916368, 0.33333333704839579, -0.50000000515799503};
/* the same, 2^-37, for pow */
static const double LOG_LONG[] = {
    -0.063159386970493531, 0.10496852818388901,  -0.092727822125300785, 0.087142547351409139, -0.098372751027003047,
    0.11133596810843477,   -0.12511939338586012, 0.14285104172661217,   -0.16666257682501065, 0.20000006502748918,
    -0.25000005916621859,  0.33333333316313302,  -0.49999999975663079};

static V log1p_near(Em *e, V f, const double *c, size_t n)
{
    return em_fma(e, em_mul(e, f, f), em_poly(e, f, c, n), f);
}
#define LOG1P_NEAR(e, f, table) log1p_near(e, f, table, sizeof(table) / sizeof *(table))

/* log x to a base whose ln is 1/scale; log2 is the log of 2 to it. x > 0 as in split. */
static V log_wide(Em *e, V x, double log2, double scale)
{
    V k, f;
    em_split(e, x, &k, &f);
    return em_fmak(e, k, log2, em_mul(e, LOG1P_NEAR(e, f, LOG), em_f64(e, scale)));
}

/* log(1 + x) for x > -1, relative error 2^-32 also near 0 */
static V log1p_wide(Em *e, V x)
{
    V k, f;
    em_split(e, em_add(e, x, em_f64(e, 1)), &k, &f);
    f = em_select(e, em_cmpk(e, LLVMRealOEQ, k, 0), x, f);
    return em_fmak(e, k, LN2, LOG1P_NEAR(e, f, LOG));
}

V math_log2_f32(Em *e, const V *a)
{
    return em_log_domain(e, a[0], 0, em_narrow(e, log_wide(e, em_wide(e, a[0]), 1, LOG2E)));
}

V math_log10_f32(Em *e, const V *a)
{
    return em_log_domain(e, a[0], 0, em_narrow(e, log_wide(e, em_wide(e, a[0]), LOG10_2, LOG10E)));
}

V math_log1p_f32(Em *e, const V *a)
{
    V y = em_log_domain(e, a[0], -1, em_narrow(e, log1p_wide(e, em_wide(e, a[0]))));
    return em_put_sign(e, y, em_sign(e, a[0]));
}

V math_expm1_f32(Em *e, const V *a)
{
    V y = expm1_wide(e, em_wide(e, em_min(e, em_max(e, a[0], -40), 90)));
    return em_put_sign(e, em_narrow(e, y), em_sign(e, a[0]));
}

/* exp |x| - 1 up to where both hyperbolic functions are beyond float */
static V expm1_abs(Em *e, V x) { return expm1_wide(e, em_wide(e, em_min(e, em_abs(e, x), 100))); }

/* sinh x = (q + q / (q + 1)) / 2, q = exp(x) - 1 */
V math_sinh_f32(Em *e, const V *a)
{
    V q = expm1_abs(e, a[0]), p = em_div(e, q, em_add(e, q, em_f64(e, 1)));
    return em_put_sign(e, em_narrow(e, em_mul(e, em_add(e, q, p), em_f64(e, 0.5))), em_sign(e, a[0]));
}

V math_cosh_f32(Em *e, const V *a)
{
    V p = em_add(e, expm1_abs(e, a[0]), em_f64(e, 1)), half = em_f64(e, 0.5);
    return em_narrow(e, em_fma(e, p, half, em_div(e, half, p)));
}

/* asinh x = log(1 + x + x^2 / (1 + sqrt(1 + x^2))) */
V math_asinh_f32(Em *e, const V *a)
{
    V ax = em_abs(e, a[0]), x = em_wide(e, ax), one = em_f64(e, 1), x2 = em_mul(e, x, x);
    V rest = em_div(e, x2, em_add(e, one, em_sqrt(e, em_add(e, x2, one))));
    V y = em_narrow(e, log1p_wide(e, em_add(e, x, rest)));
    return em_put_sign(e, em_keep_inf_nan(e, ax, y), em_sign(e, a[0]));
}

/* acosh x = log(1 + v + sqrt(v (x + 1))), v = x - 1 */
V math_acosh_f32(Em *e, const V *a)
{
    V x = em_wide(e, a[0]), one = em_f64(e, 1), v = em_sub(e, x, one);
    V y = log1p_wide(e, em_add(e, v, em_sqrt(e, em_mul(e, v, em_add(e, x, one)))));
    y = em_keep_inf_nan(e, a[0], em_narrow(e, y));
    return em_select(e, em_cmpk(e, LLVMRealOLT, a[0], 1), em_nan(e, y), y);
}

/* atanh x = log(1 + 2x / (1 - x)) / 2 */
V math_atanh_f32(Em *e, const V *a)
{
    V ax = em_abs(e, a[0]), x = em_wide(e, ax);
    V y = log1p_wide(e, em_div(e, em_add(e, x, x), em_sub(e, em_f64(e, 1), x)));
    y = em_narrow(e, em_mul(e, y, em_f64(e, 0.5)));
    V end = em_select(e, em_cmpk(e, LLVMRealOEQ, ax, 1), em_inf(e, ax), em_nan(e, ax));
    y = em_select(e, em_cmpk(e, LLVMRealOLT, ax, 1), y, end);
    return em_put_sign(e, y, em_sign(e, a[0]));
}

/* x^y = 2^(y log2 |x|), with the special cases of C's Annex F.
 * The exponent reaches 150, so log2 needs a relative error below 2^-33: hence the longer polynomial. */
V math_pow_f32(Em *e, const V *a)
{
    V x = a[0], y = a[1], ax = em_abs(e, x), inf = em_inf(e, x), k, f;

    em_split(e, em_wide(e, ax), &k, &f);
    V l = em_fmak(e, LOG1P_NEAR(e, f, LOG_LONG), LOG2E, k);
    /* 0, inf and NaN, for the product with y; float's -inf to inf become double's */
    V odd_ends = em_select(e, em_cmpk(e, LLVMRealOEQ, ax, 0), LLVMBuildFNeg(e->b, inf, ""), ax);
    V regular = LLVMBuildAnd(e->b, em_cmpk(e, LLVMRealOGT, ax, 0), em_cmp(e, LLVMRealOLT, ax, inf), "");
    l = em_select(e, regular, l, em_wide(e, odd_ends));
    V t = em_mul(e, em_wide(e, y), l);
    V r = em_narrow(e, exp2_wide(e, em_min(e, em_max(e, t, -300), 300)));

    /* y integer, odd? From 2^24 on every float is an even integer (2^23 <= |y| < 2^24 has odd ones). */
    V small = em_cmpk(e, LLVMRealOLT, em_abs(e, y), 0x1p24);
    V whole = LLVMBuildFPToSI(e->b, em_select(e, small, y, em_f32(e, 0)), e->i32, "");
    V fraction = em_cmp(e, LLVMRealONE, LLVMBuildSIToFP(e->b, whole, e->f32, ""), y);
    fraction = LLVMBuildAnd(e->b, fraction, small, "");
    V odd = LLVMBuildICmp(e->b, LLVMIntNE, em_and(e, whole, em_i32(e, 1)), em_i32(e, 0), "");
    odd = LLVMBuildAnd(e->b, odd, em_not(e, fraction), "");

    return em_pow_ends(e, x, y, r, fraction, odd);
}
