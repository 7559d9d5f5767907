/* math_f64: the exponential in double precision, in lanes. What is not here calls the C library lane by lane (math.c).
 *
 * exp x = 2^n exp r with n = x / ln 2 to nearest and |r| < ln(2)/2, as math_f32.c does it; exp r = 1 + (r + r^2 p(r)).
 * The largest error over 2^24 random arguments is 0.91 ULP.
 * Coefficients: own minimax fit (Remez exchange, 40 digits), of the relative error of exp r. */
#include "codegen/math_emit.h"

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

/* p * 2^n, rounded once: n is -1077..1025, so half of it is a power of its own, and the first product is exact. */
static V scale(Em *e, V p, V n)
{
    if (em_has_scale(e)) return em_scale(e, p, n);
    V half = em_fmak(e, n, 0.5, em_f64(e, MAGIC)), rest = em_sub(e, n, em_sub(e, half, em_f64(e, MAGIC)));
    return em_mul(e, em_mul(e, p, em_pow2(e, half)), em_pow2(e, em_add(e, rest, em_f64(e, MAGIC))));
}

V math_exp_f64(Em *e, const V *a)
{
    V x = em_max(e, em_min(e, a[0], 710), -746); /* infinity, zero; a NaN passes */
    V n = em_sub(e, em_fmak(e, x, LOG2E, em_f64(e, MAGIC)), em_f64(e, MAGIC));
    V most = em_fmak(e, n, -LN2_HI, x), little = em_mul(e, n, em_f64(e, LN2_LO)), r = em_sub(e, most, little);
    V lost = em_sub(e, em_sub(e, most, r), little); /* in rounding r */
    V p = em_add(e, r, em_fma(e, em_mul(e, r, r), EM_POLY(e, r, EXP), lost));
    return scale(e, em_add(e, em_f64(e, 1), p), n);
}
