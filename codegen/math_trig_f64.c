/* math_trig_f64: sine, cosine, tangent and the inverse functions in double precision, in lanes.
 *
 * Sine, cosine, tangent: |x| = q pi/2 + r + lo with |r| <= pi/4, for |x| < 2^26, pi/2 as the sum of three doubles; then
 * polynomials in r, swapped and signed by q mod 4. A double below 2^26 is at least 2^-62 or so away from a multiple of
 * pi/2, and r + lo is known to 2^-140. Lanes with more than 2^26 take the C library's result: all of a vector go
 * there when one needs it, and each keeps what is its own, so that a result depends on its argument alone.
 * This wants a fused multiply-add; targets without one call the C library.
 *
 * Inverse functions: the argument is halved in angle until a polynomial does: asin over a square root from 1/2 on, atan
 * over pi/8 and 3 pi/8; multiples of pi/4 are added as two doubles.
 *
 * Measured errors: docs/NUMERICS.md; the bar is 3 ULP.
 * Coefficients: own minimax fits (Remez exchange, 50 digits), of the relative error of the whole function. */
#include "codegen/math_emit.h"

static const double MAGIC = 0x1.8p52; /* as in math_f64.c */
static const double TWO_OVER_PI = 0x1.45f306dc9c883p-1;
static const double HALF_PI[] = {0x1.921fb54442d18p+0, 0x1.1a62633145c07p-54, -0x1.f1976b7ed8fbcp-110};
static const double HUGE_ANGLE = 0x1p26;

/* (sin r - r) / r^3 and (cos r - 1 + r^2/2) / r^4 in r^2, |r| < pi/4: 2^-56, 2^-59 */
static const double SIN[] = {1.5896214046788198e-10, -2.5050747494461514e-08, 2.755731361974035e-06,
                             -0.0001984126982958503, 0.008333333333322113,    -0.1666666666666663};
static const double COS[] = {-1.1358525189522452e-11, 2.0875700627424254e-09,  -2.7557314177749375e-07,
                             2.4801587288846452e-05,  -0.001388888888887305,   0.041666666666666595};

typedef struct Angle {
    V q, r, lo; /* q: of 64 bits, right modulo 4 */
} Angle;

/* r is NaN when ax is infinite or NaN. */
static Angle reduce(Em *e, V ax)
{
    V t = em_fmak(e, ax, TWO_OVER_PI, em_f64(e, MAGIC)), n = em_sub(e, t, em_f64(e, MAGIC));
    V most = em_fmak(e, n, -HALF_PI[0], ax); /* exact */
    V p = em_mul(e, n, em_f64(e, HALF_PI[1])), r = em_sub(e, most, p), b = em_sub(e, r, most);
    V lost = em_sub(e, em_sub(e, most, em_sub(e, r, b)), em_add(e, p, b)); /* of most - p in rounding r */
    V p_lost = em_fmak(e, n, HALF_PI[1], LLVMBuildFNeg(e->b, p, ""));
    V lo = em_fmak(e, n, -HALF_PI[2], em_sub(e, lost, p_lost));
    return (Angle){em_bits(e, t), r, lo};
}

static V sin_near(Em *e, Angle a)
{
    V z = em_mul(e, a.r, a.r), tail = em_fma(e, em_mul(e, a.lo, em_f64(e, -0.5)), z, a.lo);
    return em_add(e, a.r, em_fma(e, em_mul(e, z, a.r), EM_POLY(e, z, SIN), tail));
}

static V cos_near(Em *e, Angle a)
{
    V one = em_f64(e, 1), z = em_mul(e, a.r, a.r), half = em_mul(e, z, em_f64(e, 0.5)), w = em_sub(e, one, half);
    V tail = em_fma(e, LLVMBuildFNeg(e->b, a.r, ""), a.lo, em_sub(e, em_sub(e, one, w), half));
    return em_add(e, w, em_fma(e, em_mul(e, z, z), EM_POLY(e, z, COS), tail));
}

static V is_odd(Em *e, V q) { return LLVMBuildICmp(e->b, LLVMIntNE, em_and(e, q, em_i64(e, 1)), em_i64(e, 0), ""); }

/* Flips the sign of y where bit `bit` of q is set. */
static V flip(Em *e, V y, V q, unsigned bit)
{
    return em_float(e, em_xor(e, em_bits(e, y), em_shl(e, em_and(e, q, em_i64(e, UINT64_C(1) << bit)), 63 - bit)));
}

/* y, but for huge finite x what the C library's `name` says. Ends in a new block. */
static V huge_by_libm(Em *e, const char *name, V x, V y)
{
    V ax = em_abs(e, x), huge = LLVMBuildAnd(e->b, em_cmpk(e, LLVMRealOGE, ax, HUGE_ANGLE),
                                             em_cmp(e, LLVMRealOLT, ax, em_inf(e, x)), "");
    V any = e->lanes == 1 ? huge : em_intrinsic(e, "llvm.vector.reduce.or", &huge, 1);
    LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b);
    LLVMBasicBlockRef rare = LLVMAppendBasicBlockInContext(e->m->cx, e->fn, "huge");
    LLVMBasicBlockRef after = LLVMAppendBasicBlockInContext(e->m->cx, e->fn, "done");
    LLVMBuildCondBr(e->b, any, rare, after);
    LLVMPositionBuilderAtEnd(e->b, rare);
    V other = em_select(e, huge, em_libm(e, name, &x, 1), y);
    LLVMBuildBr(e->b, after);
    LLVMPositionBuilderAtEnd(e->b, after);
    V result = LLVMBuildPhi(e->b, e->f64, "");
    LLVMAddIncoming(result, (V[]){y, other}, (LLVMBasicBlockRef[]){before, rare}, 2);
    return result;
}

V math_sin_f64(Em *e, const V *a)
{
    if (!e->m->has_fma) return em_libm(e, "sin", a, 1);
    Angle t = reduce(e, em_abs(e, a[0]));
    V y = flip(e, em_select(e, is_odd(e, t.q), cos_near(e, t), sin_near(e, t)), t.q, 1);
    return huge_by_libm(e, "sin", a[0], em_float(e, em_xor(e, em_bits(e, y), em_sign(e, a[0]))));
}

V math_cos_f64(Em *e, const V *a)
{
    if (!e->m->has_fma) return em_libm(e, "cos", a, 1);
    Angle t = reduce(e, em_abs(e, a[0]));
    V y = em_select(e, is_odd(e, t.q), sin_near(e, t), cos_near(e, t));
    return huge_by_libm(e, "cos", a[0], flip(e, y, em_iadd(e, t.q, em_i64(e, 1)), 1));
}

/* tan = sin / cos, or -cos / sin when q is odd */
V math_tan_f64(Em *e, const V *a)
{
    if (!e->m->has_fma) return em_libm(e, "tan", a, 1);
    Angle t = reduce(e, em_abs(e, a[0]));
    V s = sin_near(e, t), c = cos_near(e, t), odd = is_odd(e, t.q);
    V y = flip(e, em_div(e, em_select(e, odd, c, s), em_select(e, odd, s, c)), t.q, 0);
    return huge_by_libm(e, "tan", a[0], em_float(e, em_xor(e, em_bits(e, y), em_sign(e, a[0]))));
}

/* (asin s - s) / s^3 in s^2, |s| < 1/2: 2^-59 */
static const double ASIN[] = {0.03262868318509101,  -0.020999186375118835, 0.021707558884958525, 0.003706350830024628,
                              0.010780271960369214, 0.011398907960368038,  0.013980821195846871, 0.017351611946738316,
                              0.02237221499220836,  0.03038194270758755,   0.04464285717461677,  0.07499999999970794,
                              0.1666666666666676};

/* asin |x| = s + t, or pi/2 - 2 (s + t) where `big`, above 1/2: s = |x| or sqrt((1 - |x|) / 2). Both times 2 there. */
static void asin_parts(Em *e, V ax, V *big, V *s, V *t)
{
    *big = em_cmpk(e, LLVMRealOGT, ax, 0.5);
    V z = em_select(e, *big, em_fmak(e, ax, -0.5, em_f64(e, 0.5)), em_mul(e, ax, ax));
    *s = em_select(e, *big, em_sqrt(e, z), ax);
    *t = em_mul(e, em_mul(e, *s, z), EM_POLY(e, z, ASIN));
    *s = em_select(e, *big, em_add(e, *s, *s), *s);
    *t = em_select(e, *big, em_add(e, *t, *t), *t);
}

/* turns * pi/2, turns 0, 1 or 2, and s + t on top of it */
static V on_top(Em *e, V turns, V s, V t)
{
    return em_add(e, em_fmak(e, turns, HALF_PI[0], s), em_fmak(e, turns, HALF_PI[1], t));
}

V math_asin_f64(Em *e, const V *a)
{
    V ax = em_abs(e, a[0]), big, s, t;
    asin_parts(e, ax, &big, &s, &t);
    V minus = em_select(e, big, em_f64(e, -1), em_f64(e, 1)), turns = em_select(e, big, em_f64(e, 1), em_f64(e, 0));
    return em_put_sign(e, on_top(e, turns, em_mul(e, s, minus), em_mul(e, t, minus)), em_sign(e, a[0]));
}

/* acos x = 2 (s + t), pi - 2 (s + t) (x big: above 1/2, below -1/2), pi/2 -+ (s + t) between */
V math_acos_f64(Em *e, const V *a)
{
    V ax = em_abs(e, a[0]), left = em_cmpk(e, LLVMRealOLT, a[0], 0), one = em_f64(e, 1), big, s, t;
    asin_parts(e, ax, &big, &s, &t);
    V turns = em_select(e, big, em_select(e, left, em_f64(e, 2), em_f64(e, 0)), one);
    V minus = em_select(e, LLVMBuildXor(e->b, big, left, ""), one, em_f64(e, -1));
    return on_top(e, turns, em_mul(e, s, minus), em_mul(e, t, minus));
}

/* (atan t - t) / t^3 in t^2, |t| < tan(pi/8): 2^-57 */
static const double ATAN[] = {-0.017903583101991388, 0.03806083558517355,  -0.050391401449582617, 0.05847848360234524,
                              -0.06663097739502527,  0.07692059591906482,  -0.09090897718389876,  0.11111110781923475,
                              -0.14285714280162076,  0.19999999999953205,  -0.333333333333332};

/* atan x = h pi/4 + atan t: x itself below tan(pi/8), (x - 1) / (x + 1) up to tan(3 pi/8), -1 / x above */
V math_atan_f64(Em *e, const V *a)
{
    V x = em_abs(e, a[0]), one = em_f64(e, 1), zero = em_f64(e, 0);
    V some = em_cmpk(e, LLVMRealOGT, x, 0.41421356237309503), most = em_cmpk(e, LLVMRealOGT, x, 2.414213562373095);
    V top = em_select(e, most, em_f64(e, -1), em_select(e, some, em_sub(e, x, one), x));
    V bottom = em_select(e, most, x, em_select(e, some, em_add(e, x, one), one));
    V t = em_div(e, top, bottom), z = em_mul(e, t, t), tail = em_mul(e, em_mul(e, t, z), EM_POLY(e, z, ATAN));
    V turns = em_select(e, most, one, em_select(e, some, em_f64(e, 0.5), zero));
    return em_put_sign(e, on_top(e, turns, t, tail), em_sign(e, a[0]));
}
