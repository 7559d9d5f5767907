/* quant_small.c: conversion to the 8-bit floats and to E8M0, with what ONNX's Cast and QuantizeLinear say about the
 * edges.
 *   saturate      beyond the largest finite value, infinities included: that value with its sign
 *   otherwise     infinity in e5m2, NaN in the others
 * "Beyond" is after rounding: halfway to the next value goes to the even one of the two. NaN stays NaN.
 *   packed ints   truncated, then the low bits: what integers do
 *   E8M0          2^(code - 127): the mantissa is rounded up, down or to nearest (halves up), the sign is lost;
 *                 beyond the range: its end, or without saturate NaN */
#include "ir/ops/quant.h"
#include <math.h>
#include <string.h>

/* The largest value, the distance of values there, and whether the value halfway to the next one rounds away from it.
 * */
typedef struct Edge {
    double max, unit;
    bool up;
} Edge;
static Edge edge(DType t)
{
    switch (t) {
    case DT_F8E4M3FN: return (Edge){448, 32, false};
    case DT_F8E4M3FNUZ: return (Edge){240, 16, true};
    case DT_F8E5M2:
    case DT_F8E5M2FNUZ: return (Edge){57344, 8192, true};
    default: return (Edge){0};
    }
}

static KVal to_scale(Kb *b, KVal x, bool saturate, const char *mode)
{
    DType u = DT_U32;
    KVal all = kb_and(b, kb_bitcast(b, u, kb_cast(b, DT_F32, x)), kb_const_i(b, u, 0x7fffffff)),
         up = kb_const_i(b, u, 23);
    KVal more = kb_const_i(b, u,
                           !strcmp(mode, "up")        ? 0x7fffff
                           : !strcmp(mode, "nearest") ? 0x400000
                                                      : 0),
         last = kb_const_i(b, u, 254);
    KVal code = kb_bin(b, KOP_SHR, kb_add(b, all, more), up), nan = kb_const_i(b, u, 0x7fc00000);
    KVal bits = kb_bin(b, KOP_SHL, kb_min(b, code, last), up);
    bits = kb_select(b, kb_eq(b, code, kb_const_i(b, u, 0)), kb_const_i(b, u, 0x400000), bits);
    KVal bad = kb_bin(b, KOP_GT, all, kb_const_i(b, u, 0x7f800000));
    if (!saturate) {
        KVal beyond = kb_bin(b, KOP_OR, kb_bin(b, KOP_GT, code, last), kb_lt(b, all, kb_const_i(b, u, 0x400000)));
        bad = kb_bin(b, KOP_OR, bad, beyond);
    }
    return kb_cast(b, DT_F8E8M0, kb_bitcast(b, DT_F32, kb_select(b, bad, nan, bits)));
}

KVal small_cast(Kb *b, DType to, KVal x, bool saturate, const char *mode)
{
    DType t = kb_type(b, x);
    if (to == DT_F8E8M0) return to_scale(b, x, saturate, mode);
    Edge e = edge(to);
    if (dtype_is_int(to) && dtype_info(to)->bits < 8) return kb_cast(b, to, kb_cast(b, DT_I32, x));
    if (!e.max) return kb_cast(b, to, x);
    if (!dtype_is_float(t)) x = kb_cast(b, t = dtype_info(t)->bits < 32 ? DT_F32 : DT_F64, x);
    KVal max = kb_const_f(b, t, e.max), min = kb_const_f(b, t, -e.max);
    if (saturate) return kb_cast(b, to, kb_max(b, kb_min(b, x, max), min));
    if (to == DT_F8E5M2) return kb_cast(b, to, x); /* infinity by itself */
    KVal beyond = kb_bin(b, e.up ? KOP_GE : KOP_GT, kb_un(b, KOP_ABS, x), kb_const_f(b, t, e.max + e.unit / 2));
    KVal nan = kb_const_f(b, t, NAN);
    return kb_cast(b, to, kb_select(b, beyond, nan, x));
}

void small_eval(Tensor *y, int64_t k, double v, bool saturate, const char *mode)
{
    if (y->elem == DT_F8E8M0) {
        int e = 0;
        double f = frexp(fabs((double)(float)v), &e); /* |v| = f * 2^e, 0.5 <= f < 1 */
        int code = e - 1 + 127 + (!strcmp(mode, "up") ? f > 0.5 : !strcmp(mode, "nearest") && f >= 0.75);
        bool low = v == 0 || code < 0, high = isinf(v) || code > 254;
        if (isnan(v) || (!saturate && (low || high))) ev_set_f(y, k, NAN);
        else ev_set_f(y, k, ldexp(1, low ? -127 : high ? 127 : code - 127));
        return;
    }
    Edge e = edge(y->elem);
    if (e.max && !isnan(v)) {
        bool beyond = isinf(v) || (fabs(v) > e.max && nearbyint(fabs(v) / e.unit) * e.unit > e.max);
        if (beyond) v = saturate ? copysign(e.max, v) : y->elem == DT_F8E5M2 ? copysign(INFINITY, v) : NAN;
    }
    ev_set_f(y, k, v);
}
