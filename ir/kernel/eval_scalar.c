/* eval_scalar.c: see eval_scalar.h. f32 operations are done in float so that each rounds once; transcendental
 * functions of f32 are computed in double and rounded, which makes them right to the last bit in nearly all cases:
 * the oracle that generated math is measured against. Formats in memory are ir/elem.c's. */
#include "ir/kernel/eval_scalar.h"
#include "base/bug.h"
#include "ir/elem.h"
#include "runtime/bmc.h"
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

/* ---- memory ---- */
KScalar kscalar_load(DType elem, const void *base, int64_t k)
{
    KScalar r = {.i = 0};
    if (elem == DT_C64) memcpy(&r.i, (const char *)base + 8 * k, 8);
    else if (dtype_compute(elem) == DT_STR) {
        bmc_string s;
        memcpy(&s, (const char *)base + k * (int64_t)sizeof s, sizeof s);
        r.ptr = s.ptr;
        r.len = s.len;
    } else if (dtype_is_float(elem)) r.f = elem_get_f(elem, base, k);
    else r.i = elem_get_i(elem, base, k);
    return r;
}

void kscalar_store(DType elem, void *base, int64_t k, KScalar v)
{
    if (elem == DT_C64) memcpy((char *)base + 8 * k, &v.i, 8);
    else if (dtype_compute(elem) == DT_STR) {
        bmc_string s = {v.ptr, v.len};
        memcpy((char *)base + k * (int64_t)sizeof s, &s, sizeof s);
    } else if (dtype_is_float(elem)) elem_put_f(elem, base, k, v.f);
    else elem_put_i(elem, base, k, v.i);
}

/* ---- conversions ---- */
/* By way of memory, which rounds once. */
static double round_to(DType t, double x)
{
    double mem = 0;
    elem_put_f(t, &mem, 0, x);
    return elem_get_f(t, &mem, 0);
}

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
        else if (from == DT_U64)
            r.f = to == DT_F32 ? (double)(float)(uint64_t)v.i : round_to(to, (double)(uint64_t)v.i);
        else r.f = to == DT_F32 ? (double)(float)v.i : round_to(to, (double)v.i);
    } else if (f) r.i = float_to_int(v.f, to);
    else if (dtype_info(to)->bits < 8) {
        uint8_t mem = 0;
        elem_put_i(to, &mem, 0, v.i);
        r.i = elem_get_i(to, &mem, 0);
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

static double fmin_nan(double a, double b)
{
    return isnan(a) || isnan(b) ? NAN : a < b ? a : b < a ? b : signbit(a) ? a : b;
}
static double fmax_nan(double a, double b)
{
    return isnan(a) || isnan(b) ? NAN : a > b ? a : b > a ? b : signbit(a) ? b : a;
}
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
    case KOP_SIGN: *r = a > 0 ? 1 : a < 0 ? -1 : a; return true; /* keeps NaN and the zero's sign */
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
    return is_unsigned(t) ? (int64_t)(bits == 64 ? UINT64_MAX : (1ull << bits) - 1)
                          : (int64_t)((1ull << (bits - 1)) - 1);
}

static bool int_less(DType t, int64_t a, int64_t b) { return t == DT_U64 ? (uint64_t)a < (uint64_t)b : a < b; }

/* Wrapping power by squaring; a negative exponent truncates 1/a^n: nonzero only for a = 1, -1, and 0 (infinity
 * saturates). */
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
    case KOP_MOD:
        m = int_rem(t, a, b);
        *r = m && !is_unsigned(t) && (m < 0) != (b < 0) ? m + b : m;
        break;
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
    case KOP_SHL:
    case KOP_SHR: *r = int_shift(t, op == KOP_SHL, a, b); break;
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
    case KOP_FLOOR:
    case KOP_CEIL:
    case KOP_RINT:
    case KOP_TRUNC: *r = a; break;
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
    if (op == KOP_SELECT) {
        *out = a[0].i ? a[1] : a[2];
        return true;
    }
    if (type == DT_STR) {
        bool same = a[0].len == a[1].len && (a[0].len == 0 || !memcmp(a[0].ptr, a[1].ptr, a[0].len));
        out->i = op == KOP_EQ ? same : !same;
        return op == KOP_EQ || op == KOP_NE;
    }
    if (kop_info(op)->flags & KF_CMP)
        return f ? float_cmp(op, a[0].f, a[1].f, &out->i) : int_cmp(op, type, a[0].i, a[1].i, &out->i);
    if (op == KOP_ISNAN) {
        out->i = f && isnan(a[0].f);
        return true;
    }
    if (op == KOP_ISINF) {
        out->i = f && isinf(a[0].f);
        return true;
    }
    if (op == KOP_FMA) {
        if (!f) out->i = kscalar_wrap(type, (int64_t)((uint64_t)a[0].i * (uint64_t)a[1].i + (uint64_t)a[2].i));
        else out->f = f32 ? (double)fmaf((float)a[0].f, (float)a[1].f, (float)a[2].f) : fma(a[0].f, a[1].f, a[2].f);
        return true;
    }
    if (kop_info(op)->n_args == 1) return f ? float_un(op, f32, a[0].f, &out->f) : int_un(op, type, a[0].i, &out->i);
    if (kop_info(op)->n_args == 2)
        return f ? float_bin(op, f32, a[0].f, a[1].f, &out->f) : int_bin(op, type, a[0].i, a[1].i, &out->i);
    return false;
}

bool kscalar_identity(KOp combine, DType type, KScalar *out)
{
    bool f = dtype_is_float(type);
    *out = (KScalar){.i = 0};
    if (type == DT_STR) return false;
    switch (combine) {
    case KOP_ADD: return true;
    case KOP_OR:
    case KOP_XOR: return !f;
    case KOP_MUL:
        if (f) out->f = 1;
        else out->i = 1;
        return true;
    case KOP_MIN:
        if (f) out->f = INFINITY;
        else out->i = int_max(type);
        return true;
    case KOP_MAX:
        if (f) out->f = -INFINITY;
        else out->i = int_min(type);
        return true;
    case KOP_AND: out->i = type == DT_BOOL ? 1 : kscalar_wrap(type, -1); return !f;
    default: return false;
    }
}
