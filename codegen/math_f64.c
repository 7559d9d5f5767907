/* math_f64: the exponential and what is made of it, logarithms, powers, in double precision, in lanes. Sine and its
 * kin: math_trig_f64.c. What is in neither (log2, log10) calls the C library lane by lane (math.c).
 *
 * exp x = 2^n exp r with n = x / ln 2 to nearest and |r| < ln(2)/2, as math_f32.c does it; exp r = 1 + (r + r^2 p(r)).
 * The largest error over 2^24 random arguments is 0.91 ULP.
 * log x = k ln 2 + log(1 + f) with x = 2^k (1 + f), and log(1 + f) = 2 artanh s with s = f / (2 + f): f - f^2/2 is
 * taken as it is, so that what is rounded is small.
 * pow has the logarithm as the sum of two doubles: y log x reaches 1024 and must be known to 2^-53.
 *
 * Measured errors: docs/NUMERICS.md; the bar is 3 ULP.
 * Coefficients: own minimax fits (Remez exchange, 50 digits), of the relative error of the function named beside the
 * table. */
#include "codegen/math_emit.h"

#include <math.h>

/* Adding MAGIC to |t| < 2^51 rounds t to an integer, which then sits in the low bits of the sum. */
static const double MAGIC = 0x1.8p52;

static const double LOG2E = 0x1.71547652b82fep0;
static const double LN2_HI = 0x1.62e42fefa2p-1; /* 40 bits: n * HIGH is exact */
static const double LN2_LO = 0x1.9ef35793c7673p-41;

/* (exp r - 1 - r) / r^2 on |r| < ln(2)/2, 2^-57 of exp r */
static const double EXP[] = {2.5000042896524453e-08, 2.7630248066541834e-07, 2.7557586430346135e-06,
                             2.4801493099877013e-05, 0.00019841269506519688, 0.0013888888943629077,
                             0.0083333333334944856,  0.041666666666530162,   0.16666666666666413,
                             0.50000000000000111};

/* (exp r - 1 - r) / r^2 on |r| < ln(2)/2, 2^-56 of exp r - 1 */
static const double EXPM1[] = {1.7687775836242506e-09, 2.5105194508975396e-08, 2.7567927070535127e-07,
                               2.7557255461577737e-06, 2.480157453825888e-05,  0.00019841269874764576,
                               0.001388888889559692,   0.008333333333326155,   0.041666666666652294,
                               0.1666666666666667,     0.5000000000000001};

/* 2^r on |r| < 1/2, 2^-57 */
static const double EXP2[] = {4.436303516792322e-10,  7.073578311654424e-09, 1.0178184644684638e-07,
                              1.3215436614883954e-06, 1.5252733546914689e-05, 0.0001540353045405534,
                              0.0013333558146686052,  0.009618129107596992,  0.05550410866482074,
                              0.24022650695910122,    0x1.62e42fefa39efp-1,  1};

/* (log(1 + f) - 2 s) / s^3 in s^2, s = f / (2 + f), sqrt(1/2) < 1 + f < sqrt(2): 2^-59 */
static const double LOG[] = {0.14795619742718805, 0.15314085096413246, 0.18183562914581355, 0.22222198601499552,
                             0.28571428742101207, 0.39999999999416,    0.6666666666666734};

/* p * 2^n, rounded once: n is -1077..1025, so half of it is a power of its own, and the first product is exact. */
static V scale(Em *e, V p, V n)
{
    if (em_has_scale(e)) return em_scale(e, p, n);
    V half = em_fmak(e, n, 0.5, em_f64(e, MAGIC)), rest = em_sub(e, n, em_sub(e, half, em_f64(e, MAGIC)));
    return em_mul(e, em_mul(e, p, em_pow2(e, half)), em_pow2(e, em_add(e, rest, em_f64(e, MAGIC))));
}

/* x = n ln 2 + r + lost, |r| < ln(2)/2; lost is what rounding r left */
static void reduce(Em *e, V x, V *n, V *r, V *lost)
{
    *n = em_sub(e, em_fmak(e, x, LOG2E, em_f64(e, MAGIC)), em_f64(e, MAGIC));
    V most = em_fmak(e, *n, -LN2_HI, x), little = em_mul(e, *n, em_f64(e, LN2_LO));
    *r = em_sub(e, most, little);
    *lost = em_sub(e, em_sub(e, most, *r), little);
}

V math_exp_f64(Em *e, const V *a)
{
    V x = em_max(e, em_min(e, a[0], 710), -746), n, r, lost; /* infinity, zero; a NaN passes */
    reduce(e, x, &n, &r, &lost);
    V p = em_add(e, r, em_fma(e, em_mul(e, r, r), EM_POLY(e, r, EXP), lost));
    return scale(e, em_add(e, em_f64(e, 1), p), n);
}

V math_exp2_f64(Em *e, const V *a)
{
    V x = em_max(e, em_min(e, a[0], 1025), -1076);
    V n = em_sub(e, em_add(e, x, em_f64(e, MAGIC)), em_f64(e, MAGIC));
    return scale(e, EM_POLY(e, em_sub(e, x, n), EXP2), n);
}

/* 2^-down (exp x - 1) and 2^-down itself times exp x, |n - down| < 1023 */
static V expm1_down(Em *e, V x, int down)
{
    V n, r, lost;
    reduce(e, x, &n, &r, &lost);
    V p = em_add(e, r, em_fma(e, em_mul(e, r, r), EM_POLY(e, r, EXPM1), lost));
    V s = em_pow2(e, em_add(e, n, em_f64(e, MAGIC - down)));
    return em_fma(e, s, p, em_sub(e, s, em_f64(e, ldexp(1, -down))));
}

/* Where |x| is so small that f(x) = x: x itself, which may be denormal. */
static V keep_small(Em *e, double below, V ax, V y) { return em_select(e, em_cmpk(e, LLVMRealOLT, ax, below), ax, y); }

V math_expm1_f64(Em *e, const V *a)
{
    V half = expm1_down(e, em_max(e, em_min(e, a[0], 709.9), -40), 1);
    V tiny = em_cmpk(e, LLVMRealOLT, em_abs(e, a[0]), 0x1p-54);
    return em_select(e, tiny, a[0], em_add(e, half, half));
}

/* tanh x = q / (q + 2), q = exp(2|x|) - 1 */
V math_tanh_f64(Em *e, const V *a)
{
    V x = em_min(e, em_abs(e, a[0]), 20), q = expm1_down(e, em_add(e, x, x), 0); /* from 19.1 on the result is 1 */
    return em_put_sign(e, em_div(e, q, em_add(e, q, em_f64(e, 2))), em_sign(e, a[0]));
}

enum { BEYOND = 2 }; /* exp 710.6, where both hyperbolic functions are infinite, is finite times 2^-2 */
static const double HYPERBOLIC_END = 710.6;

/* sinh x = (q + q / (q + 1)) / 2, q = exp|x| - 1 = 4t; where 4t is infinite its quotient is 0 */
V math_sinh_f64(Em *e, const V *a)
{
    V x = em_abs(e, a[0]), t = expm1_down(e, em_min(e, x, HYPERBOLIC_END), BEYOND);
    V y = em_add(e, t, em_div(e, t, em_fmak(e, t, 4, em_f64(e, 1))));
    return em_put_sign(e, keep_small(e, 0x1p-28, x, em_add(e, y, y)), em_sign(e, a[0]));
}

V math_cosh_f64(Em *e, const V *a)
{
    V n, r, lost;
    reduce(e, em_min(e, em_abs(e, a[0]), HYPERBOLIC_END), &n, &r, &lost);
    V p = em_add(e, r, em_fma(e, em_mul(e, r, r), EM_POLY(e, r, EXP), lost));
    V s = em_pow2(e, em_add(e, n, em_f64(e, MAGIC - BEYOND))), quarter = em_fma(e, s, p, s);
    V y = em_add(e, quarter, em_div(e, em_f64(e, 1.0 / 16), quarter));
    return em_add(e, y, y);
}

/* k ln 2 + log(1 + f) + c, c small */
static V log_sum(Em *e, V k, V f, V c)
{
    V s = em_div(e, f, em_add(e, f, em_f64(e, 2))), z = em_mul(e, s, s);
    V half = em_mul(e, em_mul(e, f, f), em_f64(e, 0.5));
    V rest = em_fma(e, z, EM_POLY(e, z, LOG), half);
    rest = em_fma(e, s, rest, em_fmak(e, k, LN2_LO, c));
    return em_fmak(e, k, LN2_HI, em_sub(e, f, em_sub(e, half, rest)));
}

/* em_split of x > 0, denormal or not */
static void split_any(Em *e, V x, V *k, V *f)
{
    if (e->m->flush) {
        em_split(e, x, k, f);
        return;
    }
    V tiny = em_cmpk(e, LLVMRealOLT, x, 0x1p-1022);
    em_split(e, em_select(e, tiny, em_mul(e, x, em_f64(e, 0x1p54)), x), k, f);
    *k = em_sub(e, *k, em_select(e, tiny, em_f64(e, 54), em_f64(e, 0)));
}

V math_log_f64(Em *e, const V *a)
{
    V k, f;
    split_any(e, a[0], &k, &f);
    return em_log_domain(e, a[0], 0, log_sum(e, k, f, em_f64(e, 0)));
}

/* log(1 + x), x > -1; where `big` (NULL: nowhere) log(2x). The sum 1 + x is split; what its rounding lost is added to
 * the logarithm, divided by the sum. */
static V log1p_or_log2x(Em *e, V x, V big)
{
    V one = em_f64(e, 1), zero = em_f64(e, 0), k, f;
    V u = em_add(e, x, one), b = em_sub(e, u, one);
    V lost = em_add(e, em_sub(e, x, b), em_sub(e, one, em_sub(e, u, b)));
    V c = em_div(e, lost, u);
    if (big) u = em_select(e, big, x, u), c = em_select(e, big, zero, c);
    em_split(e, u, &k, &f);
    V near = em_cmpk(e, LLVMRealOEQ, k, 0);
    f = em_select(e, near, x, f);
    c = em_select(e, near, zero, c);
    if (big) k = em_add(e, k, em_select(e, big, one, zero));
    return log_sum(e, k, f, c);
}

V math_log1p_f64(Em *e, const V *a)
{
    return em_put_sign(e, em_log_domain(e, a[0], -1, log1p_or_log2x(e, a[0], NULL)), em_sign(e, a[0]));
}

/* exp -|x| */
static V exp_minus_abs(Em *e, V x)
{
    V minus = LLVMBuildFNeg(e->b, em_abs(e, x), "");
    return math_exp_f64(e, &minus);
}

/* as math_sigmoid_f32 */
V math_sigmoid_f64(Em *e, const V *a)
{
    V z = exp_minus_abs(e, a[0]), one = em_f64(e, 1);
    V top = em_select(e, em_cmpk(e, LLVMRealOLT, a[0], 0), z, one);
    return em_div(e, top, em_add(e, one, z));
}

/* as math_softplus_f32 */
V math_softplus_f64(Em *e, const V *a)
{
    return em_add(e, em_max(e, a[0], 0), log1p_or_log2x(e, exp_minus_abs(e, a[0]), NULL));
}

static const double BIG = 0x1p28; /* from here on 1 + x^2 = x^2 */

/* asinh x = log(1 + x + x^2 / (1 + sqrt(1 + x^2))) */
V math_asinh_f64(Em *e, const V *a)
{
    V x = em_abs(e, a[0]), one = em_f64(e, 1), big = em_cmpk(e, LLVMRealOGE, x, BIG), x2 = em_mul(e, x, x);
    V rest = em_div(e, x2, em_add(e, one, em_sqrt(e, em_add(e, x2, one))));
    V y = log1p_or_log2x(e, em_select(e, big, x, em_add(e, x, rest)), big);
    return em_put_sign(e, em_keep_inf_nan(e, x, y), em_sign(e, a[0]));
}

/* acosh x = log(1 + v + sqrt(2v + v^2)), v = x - 1 */
V math_acosh_f64(Em *e, const V *a)
{
    V x = a[0], v = em_sub(e, x, em_f64(e, 1)), big = em_cmpk(e, LLVMRealOGE, x, BIG);
    V near = em_add(e, v, em_sqrt(e, em_fma(e, v, v, em_add(e, v, v))));
    V y = em_keep_inf_nan(e, x, log1p_or_log2x(e, em_select(e, big, x, near), big));
    return em_select(e, em_cmpk(e, LLVMRealOLT, x, 1), em_nan(e, y), y);
}

/* atanh x = log(1 + 2x / (1 - x)) / 2 */
V math_atanh_f64(Em *e, const V *a)
{
    V x = em_abs(e, a[0]), half = em_f64(e, 0.5);
    V y = log1p_or_log2x(e, em_div(e, em_add(e, x, x), em_sub(e, em_f64(e, 1), x)), NULL);
    V end = em_select(e, em_cmpk(e, LLVMRealOEQ, x, 1), em_inf(e, x), em_nan(e, x));
    y = em_select(e, em_cmpk(e, LLVMRealOLT, x, 1), em_mul(e, y, half), end);
    return em_put_sign(e, keep_small(e, 0x1p-28, x, y), em_sign(e, a[0]));
}

/* (erf x - x) / x in x^2 on |x| < 1: 2^-56 */
static const double ERF_NEAR[] = {5.94526225159797e-11,   -1.1365666072117798e-09, 1.465787981216289e-08,
                                  -1.6350025207652195e-07, 1.6460972814410657e-06,  -1.4925593506637e-05,
                                  0.00012055331036884541,  -0.0008548326978741641,  0.005223977624780854,
                                  -0.026866170645072893,   0.11283791670954857,     -0.3761263890318375,
                                  0.1283791670955126};
/* exp(x^2) (1 - erf x) in (x - 2) / (x + 2) on 1 < x < 6, absolute error in erf x 2^-56 */
static const double ERF_FAR[] = {-1.260234513658605e-05, -2.6573253746332642e-05, 2.7626673096041526e-05,
                                 0.0001742817813133747,  4.353394444121704e-05,   -0.000981976402263582,
                                 -0.0008471424631724194, 0.006997461799054191,    0.0037328923970490016,
                                 -0.07897858101671394,   0.24165819424246315,     -0.427185847413956,
                                 0.2553956763105058};

V math_erf_f64(Em *e, const V *a)
{
    V x = em_min(e, em_abs(e, a[0]), 6), x2 = em_mul(e, x, x), two = em_f64(e, 2), one = em_f64(e, 1); /* erf 6 is 1 */
    V near = em_mul(e, x, em_add(e, EM_POLY(e, x2, ERF_NEAR), one)); /* no product that is flushed where x is not */
    V t = em_div(e, em_sub(e, x, two), em_add(e, x, two)), minus = LLVMBuildFNeg(e->b, x2, "");
    V rest = em_mul(e, math_exp_f64(e, &minus), EM_POLY(e, t, ERF_FAR));
    V y = em_select(e, em_cmpk(e, LLVMRealOLT, x, 1), near, em_sub(e, one, rest));
    return em_put_sign(e, y, em_sign(e, a[0]));
}

/* ---- pow: sums hi + lo of two doubles */
typedef struct Two {
    V hi, lo;
} Two;

/* a + b for |a| >= |b| or a = 0; the last of both goes with it */
static Two two_sum(Em *e, V a, V b, V lo)
{
    V hi = em_add(e, a, b);
    return (Two){hi, em_add(e, em_add(e, em_sub(e, a, hi), b), lo)};
}

/* a * b, the target has a fused multiply-add */
static Two two_product(Em *e, Two a, Two b)
{
    V hi = em_mul(e, a.hi, b.hi), lost = em_fma(e, a.hi, b.hi, LLVMBuildFNeg(e->b, hi, ""));
    return (Two){hi, em_fma(e, a.hi, b.lo, em_fma(e, a.lo, b.hi, lost))};
}

/* log2(1 + f) / s = LOG2_0 + z (LOG2_1 + z p(z)), z = s^2; 2/ln 2 and a third of it in two doubles, p: 2^-65 */
static const double LOG2_0[] = {0x1.71547652b82fep+1, 0x1.777d0ffda0d24p-55};
static const double LOG2_1[] = {0x1.ec709dc3a03fdp-1, 0x1.d27f05548af0cp-55};
static const double LOG2[] = {0.19037760014731028, 0.19125602978425707, 0.22198395928374604, 0.2623077019874219,
                              0.32059890226339366, 0.41219858309199875, 0.5770780163556178};

/* log2 x to 2^-64, x = 2^k (1 + f) */
static Two log2_two(Em *e, V k, V f)
{
    V two = em_f64(e, 2), d = em_add(e, f, two), d_lo = em_sub(e, f, em_sub(e, d, two));
    V inverse = em_div(e, em_f64(e, 1), d), hi = em_mul(e, f, inverse), minus = LLVMBuildFNeg(e->b, hi, "");
    Two s = {hi, em_mul(e, em_fma(e, minus, d_lo, em_fma(e, minus, d, f)), inverse)};
    Two z = two_product(e, s, s);
    Two y = two_sum(e, em_f64(e, LOG2_1[0]), em_mul(e, z.hi, EM_POLY(e, z.hi, LOG2)), em_f64(e, LOG2_1[1]));
    y = two_product(e, z, y);
    y = two_sum(e, em_f64(e, LOG2_0[0]), y.hi, em_add(e, y.lo, em_f64(e, LOG2_0[1])));
    y = two_product(e, s, y);
    return two_sum(e, k, y.hi, y.lo);
}

V math_pow_f64(Em *e, const V *a)
{
    V x = a[0], y = a[1], ax = em_abs(e, x), inf = em_inf(e, x), zero = em_f64(e, 0), k, f;
    if (!e->m->has_fma) return em_libm(e, "pow", a, 2);

    split_any(e, ax, &k, &f);
    Two l = log2_two(e, k, f);
    /* 0, inf and NaN, for the product with y */
    V odd_ends = em_select(e, em_cmpk(e, LLVMRealOEQ, ax, 0), LLVMBuildFNeg(e->b, inf, ""), ax);
    V regular = LLVMBuildAnd(e->b, em_cmpk(e, LLVMRealOGT, ax, 0), em_cmp(e, LLVMRealOLT, ax, inf), "");
    l.hi = em_select(e, regular, l.hi, odd_ends);
    V t = em_mul(e, y, l.hi), lost = em_fma(e, y, l.hi, LLVMBuildFNeg(e->b, t, ""));
    lost = em_fma(e, y, l.lo, lost);
    V within = LLVMBuildAnd(e->b, regular, em_cmpk(e, LLVMRealOLT, em_abs(e, t), 1100), "");
    lost = em_select(e, within, lost, zero);
    t = em_max(e, em_min(e, t, 1025), -1076);
    V n = em_sub(e, em_add(e, t, em_f64(e, MAGIC)), em_f64(e, MAGIC));
    V r = scale(e, EM_POLY(e, em_add(e, em_sub(e, t, n), lost), EXP2), n);

    V half = em_mul(e, y, em_f64(e, 0.5));
    V fraction = em_cmp(e, LLVMRealONE, em_intrinsic(e, "llvm.rint", &y, 1), y);
    V odd = em_cmp(e, LLVMRealONE, em_intrinsic(e, "llvm.rint", &half, 1), half);
    return em_pow_ends(e, x, y, r, fraction, LLVMBuildAnd(e->b, odd, em_not(e, fraction), ""));
}
