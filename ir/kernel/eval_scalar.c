/* eval_scalar.c: see eval_scalar.h. f32 operations are done in float so that each rounds once; transcendental functions of f32 are computed in
 * double and rounded, which makes them right to the last bit in nearly all cases: the oracle that generated math is measured against.
 * Narrow float formats go through one encoder and one decoder driven by a table of their parameters. */
#include "ir/kernel/eval_scalar.h"
#include "base/bug.h"
#include "runtime/bmc.h"
#include <float.h>
#include <math.h>
#include <string.h>

int64_t kscalar_wrap(DType t, int64_t v)
{
    switch (t) {
    case DT_I8: return (int8_t)v;
    case DT_I16: return (int16_t)v;
    case DT_I32: return (int32_t)v;
    case DT_U8: return (uint8_t)v;
    case DT_U16: return (uint16_t)v;
    case DT_U32: return (uint32_t)v;
    case DT_BOOL: return v & 1;
    default: return v;
    }
}

/* ---- narrow floats ---- */
typedef struct Narrow { DType t; int ebits, mbits, bias; bool has_inf, saturates, uz /* no -0, NaN is 0x80 */; } Narrow;
static const Narrow narrow[] = {
    {DT_F16, 5, 10, 15, true, false, false},      {DT_BF16, 8, 7, 127, true, false, false},
    {DT_F8E4M3FN, 4, 3, 7, false, true, false},   {DT_F8E4M3FNUZ, 4, 3, 8, false, true, true},
    {DT_F8E5M2, 5, 2, 15, true, true, false},     {DT_F8E5M2FNUZ, 5, 2, 16, false, true, true},
    {DT_F4E2M1, 2, 1, 1, false, true, false},
};

static const Narrow *narrow_of(DType t)
{
    for (size_t i = 0; i < sizeof narrow / sizeof *narrow; i++)
        if (narrow[i].t == t) return &narrow[i];
    return NULL;
}

static uint32_t narrow_nan(const Narrow *n)
{
    uint32_t ones = (1u << n->ebits) - 1;
    if (n->uz) return 1u << (n->ebits + n->mbits);
    if (n->t == DT_F4E2M1) return 0;   /* the format has no NaN */
    return n->has_inf ? ones << n->mbits | 1u << (n->mbits - 1) : (1u << (n->ebits + n->mbits)) - 1;
}

/* Largest finite magnitude, as bits. */
static uint32_t narrow_max(const Narrow *n)
{
    uint32_t all = (1u << (n->ebits + n->mbits)) - 1;
    if (n->has_inf) return all - (1u << n->mbits);
    return n->t == DT_F8E4M3FN ? all - 1 : all;
}

static double narrow_decode(const Narrow *n, uint32_t bits)
{
    uint32_t ones = (1u << n->ebits) - 1, e = bits >> n->mbits & ones, m = bits & ((1u << n->mbits) - 1);
    bool neg = bits >> (n->ebits + n->mbits) & 1;
    double v;
    if (n->uz && bits == narrow_nan(n)) return NAN;
    if (n->t == DT_F8E4M3FN && (bits & 0x7f) == 0x7f) return NAN;
    if (n->has_inf && e == ones) return m ? NAN : neg ? -INFINITY : INFINITY;
    v = e ? ldexp(1.0 + ldexp(m, -n->mbits), (int)e - n->bias) : ldexp(m, 1 - n->bias - n->mbits);
    return neg ? -v : v;
}

/* To nearest, ties to even, in one rounding. */
static uint32_t narrow_encode(const Narrow *n, double x)
{
    uint32_t sign = (signbit(x) ? 1u : 0u) << (n->ebits + n->mbits), mag;
    double a = fabs(x), scaled;
    int e;
    if (isnan(x)) return n->uz || n->t == DT_F4E2M1 ? narrow_nan(n) : sign | narrow_nan(n);
    if (a == 0) return n->uz ? 0 : sign;
    if (isinf(a)) mag = UINT32_MAX;
    else {
        frexp(a, &e);
        e -= 1;
        if (e < 1 - n->bias) e = 1 - n->bias;              /* denormal: fixed exponent */
        scaled = nearbyint(ldexp(a, n->mbits - e));        /* exact scaling, one rounding */
        if (scaled >= ldexp(1, n->mbits + 1)) { scaled /= 2; e++; }
        if (e + n->bias > 1 << n->ebits) mag = UINT32_MAX;
        else if (scaled < ldexp(1, n->mbits)) mag = (uint32_t)scaled;
        else mag = (uint32_t)(e + n->bias) << n->mbits | ((uint32_t)scaled - (1u << n->mbits));
    }
    if (mag > narrow_max(n)) mag = n->saturates ? narrow_max(n) : narrow_max(n) + 1;   /* the next pattern is infinity */
    return n->uz && mag == 0 ? 0 : sign | mag;
}

static double round_to(DType t, double x)
{
    const Narrow *n = narrow_of(t);
    if (t == DT_F32) return (float)x;
    if (n) return narrow_decode(n, narrow_encode(n, x));
    if (t == DT_F8E8M0) return isnan(x) || x <= 0 ? NAN : exp2(fmin(127, fmax(-127, rint(log2(x)))));
    return x;
}

/* ---- memory ---- */
static int64_t bits_signed(DType t) { return t == DT_I4 || t == DT_I2; }

KScalar kscalar_load(DType elem, const void *base, int64_t k)
{
    const uint8_t *p = base;
    unsigned bits = dtype_info(elem)->bits;
    KScalar r = {.i = 0};
    const Narrow *n = narrow_of(elem);
    if (bits < 8) {
        unsigned per = 8 / bits, shift = (unsigned)(k % per) * bits;
        uint32_t raw = (uint32_t)(p[k / per] >> shift) & ((1u << bits) - 1);
        if (n) r.f = narrow_decode(n, raw);
        else r.i = bits_signed(elem) && raw >> (bits - 1) ? (int64_t)raw - (1 << bits) : (int64_t)raw;
        return r;
    }
    p += k * (int64_t)(bits / 8);
    switch (elem) {
    case DT_F32: { float v; memcpy(&v, p, 4); r.f = v; break; }
    case DT_F64: memcpy(&r.f, p, 8); break;
    case DT_I64: case DT_U64: memcpy(&r.i, p, 8); break;
    case DT_I32: { int32_t v; memcpy(&v, p, 4); r.i = v; break; }
    case DT_U32: { uint32_t v; memcpy(&v, p, 4); r.i = v; break; }
    case DT_I16: { int16_t v; memcpy(&v, p, 2); r.i = v; break; }
    case DT_U16: { uint16_t v; memcpy(&v, p, 2); r.i = v; break; }
    case DT_I8: r.i = (int8_t)*p; break;
    case DT_U8: r.i = *p; break;
    case DT_BOOL: r.i = *p != 0; break;
    case DT_F16: case DT_BF16: { uint16_t v; memcpy(&v, p, 2); r.f = narrow_decode(n, v); break; }
    case DT_F8E8M0: r.f = *p == 255 ? NAN : ldexp(1, *p - 127); break;
    case DT_STR: { bmc_string s; memcpy(&s, p, sizeof s); r.ptr = s.ptr; r.len = s.len; break; }
    default:
        if (!n) BUG("no load of %s", dtype_name(elem));
        r.f = narrow_decode(n, *p);
    }
    return r;
}

void kscalar_store(DType elem, void *base, int64_t k, KScalar v)
{
    uint8_t *p = base;
    unsigned bits = dtype_info(elem)->bits;
    const Narrow *n = narrow_of(elem);
    if (bits < 8) {
        unsigned per = 8 / bits, shift = (unsigned)(k % per) * bits, mask = (1u << bits) - 1;
        uint32_t raw = n ? narrow_encode(n, v.f) : (uint32_t)v.i & mask;
        p[k / per] = (uint8_t)((p[k / per] & ~(mask << shift)) | raw << shift);
        return;
    }
    p += k * (int64_t)(bits / 8);
    switch (elem) {
    case DT_F32: { float f = (float)v.f; memcpy(p, &f, 4); break; }
    case DT_F64: memcpy(p, &v.f, 8); break;
    case DT_I64: case DT_U64: memcpy(p, &v.i, 8); break;
    case DT_I32: case DT_U32: { uint32_t w = (uint32_t)v.i; memcpy(p, &w, 4); break; }
    case DT_I16: case DT_U16: { uint16_t w = (uint16_t)v.i; memcpy(p, &w, 2); break; }
    case DT_I8: case DT_U8: *p = (uint8_t)v.i; break;
    case DT_BOOL: *p = v.i != 0; break;
    case DT_F16: case DT_BF16: { uint16_t w = (uint16_t)narrow_encode(n, v.f); memcpy(p, &w, 2); break; }
    case DT_F8E8M0: { double r = round_to(elem, v.f); *p = isnan(r) ? 255 : (uint8_t)(ilogb(r) + 127); break; }
    case DT_STR: { bmc_string s = {v.ptr, v.len}; memcpy(p, &s, sizeof s); break; }
    default:
        if (!n) BUG("no store of %s", dtype_name(elem));
        *p = (uint8_t)narrow_encode(n, v.f);
    }
}

/* ---- conversions ---- */
static bool is_unsigned(DType t) { return dtype_info(t)->cls == DC_UINT || t == DT_BOOL; }

static int64_t float_to_int(double f, DType t)
{
    unsigned bits = dtype_info(t)->bits;
    if (isnan(f)) return 0;
    if (is_unsigned(t)) {
        if (f <= -1.0) return 0;
        if (f >= ldexp(1, (int)bits)) return bits == 64 ? -1 : (int64_t)((1ull << bits) - 1);
        return (int64_t)(f < 0 ? 0 : (uint64_t)f);
    }
    if (f >= ldexp(1, (int)bits - 1)) return (int64_t)((1ull << (bits - 1)) - 1);
    if (f < -ldexp(1, (int)bits - 1)) return -(int64_t)((1ull << (bits - 1)) - 1) - 1;
    return (int64_t)f;
}

KScalar kscalar_cast(DType from, DType to, KScalar v)
{
    KScalar r = {.i = 0};
    bool f = dtype_is_float(from);
    if (to == DT_STR) return v;
    if (to == DT_BOOL) r.i = f ? v.f != 0 : v.i != 0;
    else if (dtype_is_float(to)) {
        if (f) r.f = round_to(to, v.f);
        else if (from == DT_U64) r.f = to == DT_F32 ? (double)(float)(uint64_t)v.i : round_to(to, (double)(uint64_t)v.i);
        else r.f = to == DT_F32 ? (double)(float)v.i : round_to(to, (double)v.i);
    } else if (f) r.i = float_to_int(v.f, to);
    else if (dtype_info(to)->bits < 8) {
        unsigned bits = dtype_info(to)->bits;
        uint32_t raw = (uint32_t)v.i & ((1u << bits) - 1);
        r.i = bits_signed(to) && raw >> (bits - 1) ? (int64_t)raw - (1 << bits) : (int64_t)raw;
    } else r.i = kscalar_wrap(to, v.i);
    return r;
}

KScalar kscalar_bitcast(DType from, DType to, KScalar v)
{
    uint8_t mem[16] = {0};
    kscalar_store(from, mem, 0, v);
    return kscalar_load(to, mem, 0);
}

/* ---- arithmetic ---- */
static double fmod_floor(double a, double b)
{
    double r = fmod(a, b);
    return r != 0 && (r < 0) != (b < 0) ? r + b : r == 0 ? copysign(0, b) : r;
}

static double fmin_nan(double a, double b) { return isnan(a) || isnan(b) ? NAN : a < b ? a : b < a ? b : signbit(a) ? a : b; }
static double fmax_nan(double a, double b) { return isnan(a) || isnan(b) ? NAN : a > b ? a : b > a ? b : signbit(a) ? b : a; }
static double sigmoid(double x) { return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x)); }
static double rint_even(double x)
{
    double r = floor(x + 0.5);
    if (!(fabs(x) < 4503599627370496.0)) return x;
    if (r - x == 0.5 && fmod(r, 2) != 0) r -= 1;
    return copysign(r, x);
}

static bool float_un(KOp op, bool f32, double a, double *r)
{
    switch (op) {
    case KOP_NEG: *r = -a; return true;
    case KOP_ABS: *r = fabs(a); return true;
    case KOP_SIGN: *r = a > 0 ? 1 : a < 0 ? -1 : a; return true;   /* keeps NaN and the zero's sign */
    case KOP_FLOOR: *r = floor(a); return true;
    case KOP_CEIL: *r = ceil(a); return true;
    case KOP_RINT: *r = rint_even(a); return true;
    case KOP_TRUNC: *r = trunc(a); return true;
    case KOP_SQRT: *r = f32 ? sqrtf((float)a) : sqrt(a); return true;
    case KOP_EXP: *r = exp(a); break;
    case KOP_LOG: *r = log(a); break;
    case KOP_TANH: *r = tanh(a); break;
    case KOP_ERF: *r = erf(a); break;
    case KOP_SIGMOID: *r = sigmoid(a); break;
    case KOP_SIN: *r = sin(a); break;
    case KOP_COS: *r = cos(a); break;
    case KOP_TAN: *r = tan(a); break;
    case KOP_ASIN: *r = asin(a); break;
    case KOP_ACOS: *r = acos(a); break;
    case KOP_ATAN: *r = atan(a); break;
    case KOP_SINH: *r = sinh(a); break;
    case KOP_COSH: *r = cosh(a); break;
    case KOP_ASINH: *r = asinh(a); break;
    case KOP_ACOSH: *r = acosh(a); break;
    case KOP_ATANH: *r = atanh(a); break;
    case KOP_LOG1P: *r = log1p(a); break;
    case KOP_EXPM1: *r = expm1(a); break;
    default: return false;
    }
    if (f32) *r = (float)*r;
    return true;
}

static bool float_bin(KOp op, bool f32, double a, double b, double *r)
{
    float x = (float)a, y = (float)b;
    switch (op) {
    case KOP_ADD: *r = f32 ? (double)(x + y) : a + b; return true;
    case KOP_SUB: *r = f32 ? (double)(x - y) : a - b; return true;
    case KOP_MUL: *r = f32 ? (double)(x * y) : a * b; return true;
    case KOP_DIV: *r = f32 ? (double)(x / y) : a / b; return true;
    case KOP_MOD: *r = f32 ? (double)(float)fmod_floor(a, b) : fmod_floor(a, b); return true;
    case KOP_REM: *r = fmod(a, b); return true;
    case KOP_MIN: *r = fmin_nan(a, b); return true;
    case KOP_MAX: *r = fmax_nan(a, b); return true;
    case KOP_POW: *r = f32 ? (double)(float)pow(a, b) : pow(a, b); return true;
    default: return false;
    }
}

static bool float_cmp(KOp op, double a, double b, int64_t *r)
{
    switch (op) {
    case KOP_EQ: *r = a == b; return true;
    case KOP_NE: *r = a != b; return true;
    case KOP_LT: *r = a < b; return true;
    case KOP_LE: *r = a <= b; return true;
    case KOP_GT: *r = a > b; return true;
    case KOP_GE: *r = a >= b; return true;
    default: return false;
    }
}

static int64_t int_min(DType t) { return is_unsigned(t) ? 0 : -(int64_t)((1ull << (dtype_info(t)->bits - 1)) - 1) - 1; }
static int64_t int_max(DType t)
{
    unsigned bits = dtype_info(t)->bits;
    if (t == DT_BOOL) return 1;
    return is_unsigned(t) ? (int64_t)(bits == 64 ? UINT64_MAX : (1ull << bits) - 1) : (int64_t)((1ull << (bits - 1)) - 1);
}

static bool int_less(DType t, int64_t a, int64_t b) { return t == DT_U64 ? (uint64_t)a < (uint64_t)b : a < b; }

/* Wrapping power by squaring; a negative exponent truncates 1/a^n: nonzero only for a = 1, -1, and 0 (infinity saturates). */
static int64_t int_pow(DType t, int64_t a, int64_t n)
{
    uint64_t r = 1, base = (uint64_t)a, e = (uint64_t)n;
    if (!is_unsigned(t) && n < 0) return a == 1 ? 1 : a == -1 ? (n & 1 ? -1 : 1) : a == 0 ? int_max(t) : 0;
    for (; e; e >>= 1, base *= base)
        if (e & 1) r *= base;
    return (int64_t)r;
}

static int64_t int_div(DType t, int64_t a, int64_t b)
{
    if (b == 0) return 0;
    if (is_unsigned(t)) return (int64_t)((uint64_t)a / (uint64_t)b);
    return b == -1 ? (int64_t)(0 - (uint64_t)a) : a / b;
}

static int64_t int_rem(DType t, int64_t a, int64_t b)
{
    if (b == 0) return 0;
    if (is_unsigned(t)) return (int64_t)((uint64_t)a % (uint64_t)b);
    return b == -1 ? 0 : a % b;
}

static int64_t int_shift(DType t, bool left, int64_t a, int64_t n)
{
    unsigned bits = dtype_info(t)->bits;
    bool far = (uint64_t)n >= bits;
    if (left) return far ? 0 : (int64_t)((uint64_t)a << n);
    if (far) return is_unsigned(t) || a >= 0 ? 0 : -1;
    return is_unsigned(t) ? (int64_t)((uint64_t)a >> n) : a >> n;
}

static bool int_bin(KOp op, DType t, int64_t a, int64_t b, int64_t *r)
{
    uint64_t x = (uint64_t)a, y = (uint64_t)b;
    int64_t m;
    switch (op) {
    case KOP_ADD: *r = (int64_t)(x + y); break;
    case KOP_SUB: *r = (int64_t)(x - y); break;
    case KOP_MUL: *r = (int64_t)(x * y); break;
    case KOP_DIV: *r = int_div(t, a, b); break;
    case KOP_REM: *r = int_rem(t, a, b); break;
    case KOP_MOD: m = int_rem(t, a, b); *r = m && !is_unsigned(t) && (m < 0) != (b < 0) ? m + b : m; break;
    case KOP_FLOORDIV:
        if (b <= 0) return false;
        *r = a / b - (a % b < 0);
        break;
    case KOP_MIN: *r = int_less(t, b, a) ? b : a; break;
    case KOP_MAX: *r = int_less(t, a, b) ? b : a; break;
    case KOP_POW: *r = int_pow(t, a, b); break;
    case KOP_AND: *r = a & b; break;
    case KOP_OR: *r = a | b; break;
    case KOP_XOR: *r = a ^ b; break;
    case KOP_SHL: case KOP_SHR: *r = int_shift(t, op == KOP_SHL, a, b); break;
    default: return false;
    }
    *r = kscalar_wrap(t, *r);
    return true;
}

static bool int_un(KOp op, DType t, int64_t a, int64_t *r)
{
    switch (op) {
    case KOP_NEG: *r = (int64_t)(0 - (uint64_t)a); break;
    case KOP_ABS: *r = !is_unsigned(t) && a < 0 ? (int64_t)(0 - (uint64_t)a) : a; break;
    case KOP_SIGN: *r = a == 0 ? 0 : !is_unsigned(t) && a < 0 ? -1 : 1; break;
    case KOP_NOT: *r = t == DT_BOOL ? !a : ~a; break;
    case KOP_FLOOR: case KOP_CEIL: case KOP_RINT: case KOP_TRUNC: *r = a; break;
    default: return false;
    }
    *r = kscalar_wrap(t, *r);
    return true;
}

static bool int_cmp(KOp op, DType t, int64_t a, int64_t b, int64_t *r)
{
    switch (op) {
    case KOP_EQ: *r = a == b; return true;
    case KOP_NE: *r = a != b; return true;
    case KOP_LT: *r = int_less(t, a, b); return true;
    case KOP_LE: *r = !int_less(t, b, a); return true;
    case KOP_GT: *r = int_less(t, b, a); return true;
    case KOP_GE: *r = !int_less(t, a, b); return true;
    default: return false;
    }
}

bool kscalar_op(KOp op, DType type, const KScalar *a, KScalar *out)
{
    bool f = dtype_is_float(type), f32 = type == DT_F32;
    *out = (KScalar){.i = 0};
    if (op == KOP_SELECT) { *out = a[0].i ? a[1] : a[2]; return true; }
    if (type == DT_STR) {
        bool same = a[0].len == a[1].len && (a[0].len == 0 || !memcmp(a[0].ptr, a[1].ptr, a[0].len));
        out->i = op == KOP_EQ ? same : !same;
        return op == KOP_EQ || op == KOP_NE;
    }
    if (kop_info(op)->flags & KF_CMP) return f ? float_cmp(op, a[0].f, a[1].f, &out->i) : int_cmp(op, type, a[0].i, a[1].i, &out->i);
    if (op == KOP_ISNAN) { out->i = f && isnan(a[0].f); return true; }
    if (op == KOP_ISINF) { out->i = f && isinf(a[0].f); return true; }
    if (op == KOP_FMA) {
        if (!f) out->i = kscalar_wrap(type, (int64_t)((uint64_t)a[0].i * (uint64_t)a[1].i + (uint64_t)a[2].i));
        else out->f = f32 ? (double)fmaf((float)a[0].f, (float)a[1].f, (float)a[2].f) : fma(a[0].f, a[1].f, a[2].f);
        return true;
    }
    if (kop_info(op)->n_args == 1) return f ? float_un(op, f32, a[0].f, &out->f) : int_un(op, type, a[0].i, &out->i);
    if (kop_info(op)->n_args == 2) return f ? float_bin(op, f32, a[0].f, a[1].f, &out->f) : int_bin(op, type, a[0].i, a[1].i, &out->i);
    return false;
}

bool kscalar_identity(KOp combine, DType type, KScalar *out)
{
    bool f = dtype_is_float(type);
    *out = (KScalar){.i = 0};
    if (type == DT_STR) return false;
    switch (combine) {
    case KOP_ADD: return true;
    case KOP_OR: case KOP_XOR: return !f;
    case KOP_MUL: if (f) out->f = 1; else out->i = 1; return true;
    case KOP_MIN: if (f) out->f = INFINITY; else out->i = int_max(type); return true;
    case KOP_MAX: if (f) out->f = -INFINITY; else out->i = int_min(type); return true;
    case KOP_AND: out->i = type == DT_BOOL ? 1 : kscalar_wrap(type, -1); return !f;
    default: return false;
    }
}
