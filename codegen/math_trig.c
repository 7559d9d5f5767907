/* math_trig: sine, cosine, tangent of any float, and the inverse functions.
 *
 * Sine, cosine, tangent: |x| = q pi/2 + r with |r| <= pi/4, then polynomials in r, swapped and signed by q mod 4.
 *   below 2^26   r = |x| - q pi/2 in double precision, pi/2 in pieces such that the large products are exact;
 *   above        |x| 2/pi in fixed point, from just those bits of 2/pi that matter for the exponent of x
 *                (Payne and Hanek, "Radian reduction for trigonometric functions", 1983); all lanes take this branch
 *                when one needs it.
 * The float nearest to a multiple of pi/2 is 2^-29 or so away from it; both ways leave r a relative error below 2^-27.
 *
 * Inverse functions: wholly in double precision, as in math_wide.c.
 *
 * Coefficients: own minimax fits (Remez exchange, 40 digits), of the relative error of the whole function. */
#include "codegen/math_emit.h"

static const double MAGIC = 0x1.8p52; /* as in math_wide.c */
static const double HALF_PI = 0x1.921fb54442d18p+0, HALF_PI_TAIL = 0x1.1a62633145c07p-54;
static const double TWO_OVER_PI = 0x1.45f306dc9c883p-1;
/* pi/2 in three: 27 bits, 27 bits, the rest */
static const double HALF_PI_3[] = {0x1.921fb54p+0, 0x1.10b461p-30, 0x1.a62633145c06ep-58};

enum { HUGE_EXPONENT = 127 + 26 }; /* of 2^26, biased */

/* 2/pi: word i holds the 32 bits from bit 8i on (bit 0 weighs 1/2). */
static const uint32_t TWO_OVER_PI_BITS[] = {
    0xa2f9836e, 0xf9836e4e, 0x836e4e44, 0x6e4e4415, 0x4e441529, 0x441529fc, 0x1529fc27,
    0x29fc2757, 0xfc2757d1, 0x2757d1f5, 0x57d1f534, 0xd1f534dd, 0xf534ddc0, 0x34ddc0db,
    0xddc0db62, 0xc0db6295, 0xdb629599, 0x6295993c, 0x95993c43, 0x993c4390, 0x3c439041,
};

static V bits_table(Em *e)
{
    const char *name = "bmc.two_over_pi";
    LLVMValueRef table = LLVMGetNamedGlobal(e->m->mod, name);
    if (table) return table;
    enum { N = sizeof TWO_OVER_PI_BITS / sizeof *TWO_OVER_PI_BITS };
    LLVMTypeRef i32 = LLVMInt32TypeInContext(e->m->cx);
    V word[N];
    for (unsigned i = 0; i < N; i++) word[i] = LLVMConstInt(i32, TWO_OVER_PI_BITS[i], false);
    table = LLVMAddGlobal(e->m->mod, LLVMArrayType2(i32, N), name);
    LLVMSetInitializer(table, LLVMConstArray2(i32, word, N));
    LLVMSetLinkage(table, LLVMInternalLinkage);
    LLVMSetGlobalConstant(table, true);
    LLVMSetUnnamedAddress(table, LLVMGlobalUnnamedAddr);
    return table;
}

/* table[index + step], as i64 */
static V look_up(Em *e, V table, V index, unsigned step)
{
    LLVMTypeRef i32 = LLVMInt32TypeInContext(e->m->cx);
    index = em_iadd(e, index, em_i32(e, step));
    V word;
    if (e->lanes == 1) {
        word = LLVMBuildLoad2(e->b, i32, LLVMBuildInBoundsGEP2(e->b, i32, table, &index, 1, ""), "");
    } else {
        word = LLVMGetUndef(e->i32);
        for (unsigned i = 0; i < e->lanes; i++) {
            V lane = LLVMConstInt(i32, i, false), at = LLVMBuildExtractElement(e->b, index, lane, "");
            V one = LLVMBuildLoad2(e->b, i32, LLVMBuildInBoundsGEP2(e->b, i32, table, &at, 1, ""), "");
            word = LLVMBuildInsertElement(e->b, word, one, lane, "");
        }
    }
    return LLVMBuildZExt(e->b, word, e->i64, "");
}

/* q and r of the lanes of `ax` in `huge`. x = m 2^(E-150) with a 24-bit m. Of m 2^(E-150) 2/pi we want the two bits
 * above the point and 62 below: a window of 96 bits of 2/pi times m, in fixed point modulo 2^64. The window starts at
 * a multiple of 8 bits and m is shifted by the rest, so that one table of overlapping words does. */
static void reduce_huge(Em *e, V ax, V huge, V *q, V *r)
{
    V bits = em_bits(e, ax), table = bits_table(e);
    V m = em_or(e, em_and(e, bits, em_i32(e, 0x7fffff)), em_i32(e, 0x800000));
    V start = em_isub(e, em_lshr(e, bits, 23), em_i32(e, 152));
    start = em_select(e, huge, start, em_i32(e, 0));
    m = LLVMBuildShl(e->b, m, em_and(e, start, em_i32(e, 7)), "");
    m = LLVMBuildZExt(e->b, m, e->i64, "");
    V index = em_lshr(e, start, 3);
    V high = em_shl(e, em_imul(e, m, look_up(e, table, index, 0)), 32);
    V middle = em_imul(e, m, look_up(e, table, index, 4));
    V low = em_lshr(e, em_imul(e, m, look_up(e, table, index, 8)), 32);
    V turn = em_iadd(e, em_iadd(e, high, middle), low);

    V n = em_lshr(e, em_iadd(e, turn, em_i64(e, UINT64_C(1) << 61)), 62);
    V part = em_isub(e, turn, em_shl(e, n, 62));
    *q = LLVMBuildTrunc(e->b, n, e->i32, "");
    *r = em_mul(e, LLVMBuildSIToFP(e->b, part, e->f64, ""), em_f64(e, HALF_PI * 0x1p-62));
}

static V any_lane(Em *e, V cond) { return e->lanes == 1 ? cond : em_intrinsic(e, "llvm.vector.reduce.or", &cond, 1); }

/* ax = q pi/2 + r, ax >= 0; q is right modulo 4. r is NaN when ax is infinite or NaN. Ends in a new block. */
static void reduce(Em *e, V ax, V *q, V *r)
{
    V x = em_wide(e, ax);
    V t = em_fmak(e, x, TWO_OVER_PI, em_f64(e, MAGIC)), n = em_sub(e, t, em_f64(e, MAGIC));
    V q0 = LLVMBuildTrunc(e->b, em_bits(e, t), e->i32, ""), r0 = x;
    if (e->m->has_fma) r0 = em_fmak(e, n, -HALF_PI_TAIL, em_fmak(e, n, -HALF_PI, x));
    else
        for (int i = 0; i < 3; i++) r0 = em_fmak(e, n, -HALF_PI_3[i], r0);

    V field = em_bits(e, ax);
    V huge = LLVMBuildAnd(e->b, LLVMBuildICmp(e->b, LLVMIntUGE, field, em_i32(e, (uint32_t)HUGE_EXPONENT << 23), ""),
                          LLVMBuildICmp(e->b, LLVMIntULT, field, em_i32(e, UINT32_C(255) << 23), ""), "");
    LLVMBasicBlockRef before = LLVMGetInsertBlock(e->b);
    LLVMBasicBlockRef rare = LLVMAppendBasicBlockInContext(e->m->cx, e->fn, "huge");
    LLVMBasicBlockRef after = LLVMAppendBasicBlockInContext(e->m->cx, e->fn, "reduced");
    LLVMBuildCondBr(e->b, any_lane(e, huge), rare, after);

    LLVMPositionBuilderAtEnd(e->b, rare);
    V q1, r1;
    reduce_huge(e, ax, huge, &q1, &r1);
    q1 = em_select(e, huge, q1, q0);
    r1 = em_select(e, huge, r1, r0);
    LLVMBuildBr(e->b, after);

    LLVMPositionBuilderAtEnd(e->b, after);
    LLVMBasicBlockRef from[] = {before, rare};
    *q = LLVMBuildPhi(e->b, e->i32, "q");
    LLVMAddIncoming(*q, (V[]){q0, q1}, from, 2);
    *r = LLVMBuildPhi(e->b, e->f64, "r");
    LLVMAddIncoming(*r, (V[]){r0, r1}, from, 2);
}

static V is_odd(Em *e, V q) { return LLVMBuildICmp(e->b, LLVMIntNE, em_and(e, q, em_i32(e, 1)), em_i32(e, 0), ""); }

/* (sin r - r) / r^3 and (cos r - 1 + r^2/2) / r^4 in r^2, |r| < pi/4: 2^-37, 2^-33 */
static const double SIN[] = {2.7181145e-06, -0.000198393114, 0.00833332911, -0.166666672};
static const double COS[] = {2.44330913e-05, -0.00138873153, 0.0416666456};

/* sin(q pi/2 + r), with the sign bit `sign` flipped in */
static V sin_quarter(Em *e, V q, V r, V sign)
{
    V z = em_mul(e, r, r);
    V s = em_fma(e, em_mul(e, z, EM_POLY(e, z, SIN)), r, r);
    V c = em_fma(e, em_mul(e, z, z), EM_POLY(e, z, COS), em_fmak(e, z, -0.5, em_f32(e, 1)));
    V y = em_select(e, is_odd(e, q), c, s);
    V flip = em_shl(e, em_and(e, q, em_i32(e, 2)), 30);
    return em_float(e, em_xor(e, em_bits(e, y), em_xor(e, flip, sign)));
}

V math_sin_f32(Em *e, const V *a)
{
    V q, r;
    reduce(e, em_abs(e, a[0]), &q, &r);
    return sin_quarter(e, q, em_narrow(e, r), em_sign(e, a[0]));
}

V math_cos_f32(Em *e, const V *a)
{
    V q, r;
    reduce(e, em_abs(e, a[0]), &q, &r);
    return sin_quarter(e, em_iadd(e, q, em_i32(e, 1)), em_narrow(e, r), em_i32(e, 0));
}

/* as SIN, and (cos r - 1) / r^2: 2^-37, 2^-33 */
static const double SIN_WIDE[] = {2.7181128177201166e-06, -0.00019839311354015056, 0.008333329302031409,
                                  -0.16666666640773367};
static const double COS_WIDE[] = {2.4383463820721177e-05, -0.0013886680553127926, 0.041666620322849887,
                                  -0.49999999694181796, 1};

/* tan = sin / cos, or -cos / sin when q is odd */
V math_tan_f32(Em *e, const V *a)
{
    V q, r;
    reduce(e, em_abs(e, a[0]), &q, &r);
    V z = em_mul(e, r, r), odd = is_odd(e, q);
    V s = em_fma(e, em_mul(e, z, EM_POLY(e, z, SIN_WIDE)), r, r), c = EM_POLY(e, z, COS_WIDE);
    V y = em_div(e, em_select(e, odd, c, s), em_select(e, odd, s, c));
    V flip = em_shl(e, em_and(e, q, em_i32(e, 1)), 31);
    return em_float(e, em_xor(e, em_bits(e, em_narrow(e, y)), em_xor(e, flip, em_sign(e, a[0]))));
}

/* (asin s - s) / s^3 in s^2, |s| < 1/2: 2^-31 */
static const double ASIN[] = {0.037516983088040294, 0.014438298294232451, 0.031807767492040839,
                              0.044516955605563832, 0.075005041303933789, 0.16666659993224697};

/* w with asin x = w for x <= 1/2, pi/2 - w above: asin s or 2 asin s, s = x or sqrt((1 - x) / 2) */
static V asin_part(Em *e, V x, V big)
{
    V half = em_f64(e, 0.5);
    V z = em_select(e, big, em_fmak(e, x, -0.5, half), em_mul(e, x, x));
    V s = em_select(e, big, em_sqrt(e, z), x);
    V p = em_fma(e, em_mul(e, s, z), EM_POLY(e, z, ASIN), s);
    return em_select(e, big, em_add(e, p, p), p);
}

V math_asin_f32(Em *e, const V *a)
{
    V ax = em_abs(e, a[0]), big = em_cmpk(e, LLVMRealOGT, ax, 0.5);
    V w = asin_part(e, em_wide(e, ax), big);
    V y = em_select(e, big, em_sub(e, em_f64(e, HALF_PI), w), w);
    return em_put_sign(e, em_narrow(e, y), em_sign(e, a[0]));
}

/* acos x = w, pi - w (x big: above 1/2, below -1/2), pi/2 -+ w between */
V math_acos_f32(Em *e, const V *a)
{
    V ax = em_abs(e, a[0]), big = em_cmpk(e, LLVMRealOGT, ax, 0.5), left = em_cmpk(e, LLVMRealOLT, a[0], 0);
    V w = asin_part(e, em_wide(e, ax), big);
    V from = em_select(e, left, em_f64(e, 2 * HALF_PI), em_f64(e, 0));
    from = em_select(e, big, from, em_f64(e, HALF_PI));
    V minus = LLVMBuildXor(e->b, big, em_not(e, left), "");
    return em_narrow(e, em_add(e, from, em_select(e, minus, LLVMBuildFNeg(e->b, w, ""), w)));
}

/* (atan t - t) / t^3 in t^2, |t| < 1: 2^-31 */
static const double ATAN[] = {
    0.0011138207977325041, -0.0073181226171978057, 0.022540231368944157, -0.044690381328177133, 0.067416288853806808,
    -0.088111053676114992, 0.11058227361341495,    -0.14279833590418584, 0.19999671160873483,   -0.3333332690045045};

V math_atan_f32(Em *e, const V *a)
{
    V ax = em_abs(e, a[0]), x = em_wide(e, ax), one = em_f64(e, 1), big = em_cmpk(e, LLVMRealOGT, ax, 1);
    V t = em_div(e, em_select(e, big, one, x), em_select(e, big, x, one)), z = em_mul(e, t, t);
    V p = em_fma(e, em_mul(e, t, z), EM_POLY(e, z, ATAN), t);
    V y = em_select(e, big, em_sub(e, em_f64(e, HALF_PI), p), p);
    return em_put_sign(e, em_narrow(e, y), em_sign(e, a[0]));
}
