/* elem.c: one decoder and one encoder for all floats of at most 16 bits, driven by a row of facts per type. The
 * formats: IEEE 754 binary16; bfloat16; the OCP 8-bit floats and E8M0 scale, the FNUZ variants (no infinity, no -0,
 * one nan), OCP FP6 and FP4. */
#include "ir/elem.h"
#include "base/bug.h"
#include <math.h>
#include <string.h>

static const ElemFormat small[DT_COUNT] = {
    [DT_F16] = {5, 10, 15, 0x7bff, 0x7c00, 0x7e00, false},
    [DT_BF16] = {8, 7, 127, 0x7f7f, 0x7f80, 0x7fc0, false},
    [DT_F8E4M3FN] = {4, 3, 7, 0x7e, 0, 0x7f, false},
    [DT_F8E4M3FNUZ] = {4, 3, 8, 0x7f, 0, 0x80, true},
    [DT_F8E5M2] = {5, 2, 15, 0x7b, 0x7c, 0x7e, false},
    [DT_F8E5M2FNUZ] = {5, 2, 16, 0x7f, 0, 0x80, true},
    [DT_F4E2M1] = {2, 1, 1, 0x7, 0, 0, false},
    [DT_F6E2M3] = {2, 3, 1, 0x1f, 0, 0, false},
    [DT_F6E3M2] = {3, 2, 3, 0x1f, 0, 0, false},
};

const ElemFormat *elem_format(DType t) { return &small[t]; }

static double decode(DType t, uint32_t code)
{
    if (t == DT_F8E8M0) return code == 0xff ? NAN : ldexp(1, (int)code - 127);
    const ElemFormat *f = &small[t];
    uint32_t sign = 1u << (f->ebits + f->mbits), c = code & (sign - 1), e = c >> f->mbits,
             m = c & ((1u << f->mbits) - 1);
    double s = code & sign ? -1 : 1;
    if (f->fnuz && code == sign) return NAN;
    if (c > f->max) return f->inf && c == f->inf ? s * INFINITY : NAN;
    return s * (e ? ldexp(m + (1u << f->mbits), (int)e - f->bias - f->mbits) : ldexp(m, 1 - f->bias - f->mbits));
}

static uint32_t encode(DType t, double x)
{
    if (t == DT_F8E8M0) { /* unsigned powers of two: nearest, between them to the even code */
        if (isnan(x) || x < 0) return 0xff;
        if (x <= ldexp(1, -127)) return 0;
        int e;
        double f = frexp(x, &e); /* x = f * 2^e = (2f) * 2^(e-1) */
        int code = isinf(x) ? 255 : e - 1 + 127;
        if (f > 0.75 || (f == 0.75 && (code & 1))) code++;
        return code > 254 ? 254 : (uint32_t)code;
    }
    const ElemFormat *f = &small[t];
    uint32_t sign = 1u << (f->ebits + f->mbits), s = signbit(x) ? sign : 0, code;
    if (isnan(x)) return f->fnuz ? f->nan : f->nan | s;
    double a = fabs(x);
    if (isinf(a)) code = f->max + 1;
    else {
        int e;
        frexp(a, &e);
        e = a == 0 || e - 1 < 1 - f->bias ? 1 - f->bias : e - 1;
        if (e > f->bias + 2) code = f->max + 1;
        else
            code = ((uint32_t)(e - (1 - f->bias)) << f->mbits) +
                   (uint32_t)nearbyint(ldexp(a, f->mbits - e)); /* a carry moves up the exponent */
    }
    if (code > f->max) code = f->inf ? f->inf : f->max;
    return f->fnuz && code == 0 ? 0 : code | s;
}

static uint32_t bits_get(const uint8_t *p, int64_t k, int bits)
{
    int per = 8 / bits;
    return (uint32_t)p[k / per] >> (k % per * bits) & ((1u << bits) - 1);
}

static void bits_put(uint8_t *p, int64_t k, int bits, uint32_t x)
{
    int per = 8 / bits, shift = (int)(k % per) * bits;
    uint32_t mask = ((1u << bits) - 1) << shift;
    p[k / per] = (uint8_t)((p[k / per] & ~mask) | (x << shift & mask));
}

static int64_t clamp_i(double x)
{
    if (isnan(x)) return 0;
    if (x >= 9223372036854775808.0) return INT64_MAX;
    return x < -9223372036854775808.0 ? INT64_MIN : (int64_t)x;
}

static uint32_t code_get(DType t, const uint8_t *p, int64_t k)
{
    uint16_t h;
    int bits = dtype_info(t)->bits;
    if (bits < 8) return bits_get(p, k, bits);
    if (bits == 8) return p[k];
    memcpy(&h, p + 2 * k, 2);
    return h;
}

static void code_put(DType t, uint8_t *p, int64_t k, uint32_t code)
{
    uint16_t h = (uint16_t)code;
    int bits = dtype_info(t)->bits;
    if (bits < 8) bits_put(p, k, bits, code);
    else if (bits == 8) p[k] = (uint8_t)code;
    else memcpy(p + 2 * k, &h, 2);
}

double elem_get_f(DType t, const void *data, int64_t k)
{
    const uint8_t *p = data;
    float f;
    double d;
    switch (t) {
    case DT_F32: memcpy(&f, p + 4 * k, 4); return f;
    case DT_C64: memcpy(&f, p + 8 * k, 4); return f;
    case DT_F64: memcpy(&d, p + 8 * k, 8); return d;
    case DT_C128: memcpy(&d, p + 16 * k, 8); return d;
    case DT_U64: return (double)(uint64_t)elem_get_i(t, data, k);
    default: return dtype_is_float(t) ? decode(t, code_get(t, p, k)) : (double)elem_get_i(t, data, k);
    }
}

int64_t elem_get_i(DType t, const void *data, int64_t k)
{
    const uint8_t *p = data;
    uint32_t u;
    uint64_t w;
    switch (t) {
    case DT_BOOL: return p[k] != 0;
    case DT_U8: return p[k];
    case DT_I8: return (int8_t)p[k];
    case DT_U16: return (uint16_t)code_get(t, p, k);
    case DT_I16: return (int16_t)code_get(t, p, k);
    case DT_U32: memcpy(&u, p + 4 * k, 4); return u;
    case DT_I32: memcpy(&u, p + 4 * k, 4); return (int32_t)u;
    case DT_U64:
    case DT_I64: memcpy(&w, p + 8 * k, 8); return (int64_t)w;
    case DT_U4:
    case DT_U2: return bits_get(p, k, dtype_info(t)->bits);
    case DT_I4: return (int64_t)(bits_get(p, k, 4) ^ 8) - 8;
    case DT_I2: return (int64_t)(bits_get(p, k, 2) ^ 2) - 2;
    case DT_NONE:
    case DT_STR: BUG("elem_get of %s", dtype_name(t));
    default: return clamp_i(elem_get_f(t, data, k));
    }
}

void elem_put_i(DType t, void *data, int64_t k, int64_t x)
{
    uint8_t *p = data;
    uint32_t u = (uint32_t)x;
    float f = (float)x;
    switch (t) {
    case DT_BOOL: p[k] = x != 0; return;
    case DT_U8:
    case DT_I8: p[k] = (uint8_t)x; return;
    case DT_U16:
    case DT_I16: code_put(t, p, k, (uint16_t)x); return;
    case DT_U32:
    case DT_I32: memcpy(p + 4 * k, &u, 4); return;
    case DT_U64:
    case DT_I64: memcpy(p + 8 * k, &x, 8); return;
    case DT_U4:
    case DT_I4:
    case DT_U2:
    case DT_I2: bits_put(p, k, dtype_info(t)->bits, u); return;
    case DT_F32: memcpy(p + 4 * k, &f, 4); return;
    default: elem_put_f(t, data, k, (double)x); return;
    }
}

void elem_put_f(DType t, void *data, int64_t k, double x)
{
    uint8_t *p = data;
    float f[2] = {(float)x, 0};
    double d[2] = {x, 0};
    switch (t) {
    case DT_F32: memcpy(p + 4 * k, f, 4); return;
    case DT_C64: memcpy(p + 8 * k, f, 8); return;
    case DT_F64: memcpy(p + 8 * k, d, 8); return;
    case DT_C128: memcpy(p + 16 * k, d, 16); return;
    case DT_BOOL: p[k] = x != 0; return;
    case DT_NONE:
    case DT_STR: BUG("elem_put of %s", dtype_name(t));
    default: break;
    }
    if (dtype_is_float(t)) {
        code_put(t, p, k, encode(t, x));
        return;
    }
    int bits = dtype_info(t)->bits;
    if (t == DT_U64) {
        uint64_t w = x >= 18446744073709551616.0 ? UINT64_MAX : x >= 1 ? (uint64_t)x : 0;
        memcpy(p + 8 * k, &w, 8);
        return;
    }
    bool is_signed = dtype_info(t)->cls == DC_INT;
    int64_t hi = bits == 64 ? INT64_MAX : ((int64_t)1 << (is_signed ? bits - 1 : bits)) - 1,
            lo = is_signed ? -hi - 1 : 0, i = clamp_i(x);
    elem_put_i(t, data, k, i < lo ? lo : i > hi ? hi : i);
}
