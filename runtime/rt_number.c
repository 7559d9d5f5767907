/* rt_number: numbers to text and back, the same whatever the locale of the process. */
#include "runtime/rt_internal.h"
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- numbers to text ---- */

/* Does the text read back as v (in float when `single`)? Bits are compared: denormals may count as zero here. */
static bool reads_back(const char *text, double v, bool single)
{
    float f = single ? strtof(text, NULL) : 0, g = (float)v;
    double d = single ? 0 : strtod(text, NULL);
    return single ? !memcmp(&f, &g, sizeof f) : !memcmp(&d, &v, sizeof d);
}

/* Digits of v > 0 without the zeros at their end, at most 17; *exponent: of the first. */
static int digits_of(double v, bool single, char *digit, int *exponent)
{
    char text[64];
    /* as many digits come back from every normal number: with the zeros dropped, the fewest */
    int precision = v < (single ? 0x1p-126 : 0x1p-1022) ? 0 : single ? 5 : 14, n = 0;
    do snprintf(text, sizeof text, "%.*e", precision, v);
    while (!reads_back(text, v, single) && ++precision < 17);
    const char *p = text;
    for (; *p && *p != 'e'; p++)
        if (*p >= '0' && *p <= '9') digit[n++] = *p; /* the point of a locale falls away */
    *exponent = atoi(p + 1);
    while (n > 1 && digit[n - 1] == '0') n--;
    return n;
}

static size_t put_float(char *to, double v, bool single)
{
    char digit[24], *p = to;
    int exponent = 0, n = 1;
    if (isnan(v)) return memcpy(to, "NaN", 3), 3;
    if (signbit(v)) *p++ = '-', v = -v;
    if (isinf(v)) return memcpy(p, "INF", 3), (size_t)(p - to) + 3;
    digit[0] = '0';
    if (v != 0) n = digits_of(v, single, digit, &exponent);
    if (exponent < -4 || exponent >= 16) {
        *p++ = digit[0];
        if (n > 1) *p++ = '.';
        for (int k = 1; k < n; k++) *p++ = digit[k];
        return (size_t)(p - to) + (size_t)sprintf(p, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
    }
    int last = n - 1 > exponent + 1 ? n - 1 : exponent + 1; /* one place behind the point at least */
    for (int k = exponent < 0 ? exponent : 0; k <= last; k++) {
        *p++ = k >= 0 && k < n ? digit[k] : '0';
        if (k == exponent) *p++ = '.';
    }
    return (size_t)(p - to);
}

int32_t rt_text_of(bmc_ctx *x, rt_arg *arg, int32_t n_arg, int32_t tid, int32_t nt)
{
    (void)n_arg, (void)tid, (void)nt;
    int64_t n = rt_elements(&arg[0]);
    bmc_string *to = arg[1].data;
    const void *from = arg[0].data;
    if (n && !(to && from)) return rt_no_memory(x, "strings");
    if (n) memset(to, 0, (size_t)n * sizeof *to);
    for (int64_t i = 0; i < n; i++) {
        char text[64];
        size_t len = 0;
        switch (arg[0].dtype) {
        case BMC_F32: len = put_float(text, ((const float *)from)[i], true); break;
        case BMC_F64: len = put_float(text, ((const double *)from)[i], false); break;
        case BMC_U64: len = (size_t)sprintf(text, "%llu", (unsigned long long)((const uint64_t *)from)[i]); break;
        default: len = (size_t)sprintf(text, "%lld", (long long)((const int64_t *)from)[i]); break;
        }
        char *p = rt_text_alloc(x, len);
        if (!p) return rt_no_memory(x, "strings");
        memcpy(p, text, len);
        to[i] = (bmc_string){p, len};
    }
    return BMC_OK;
}

/* ---- text to numbers ---- */

static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* Is it this word, written in small letters here? */
static bool word(const char *p, size_t n, const char *small)
{
    if (strlen(small) != n) return false;
    for (size_t k = 0; k < n; k++)
        if ((p[k] | 32) != small[k]) return false;
    return true;
}

typedef struct Parsed {
    double f;
    float single; /* rounded once */
    uint64_t whole; /* its absolute value, when it has digits only and fits */
    bool negative, is_whole;
} Parsed;

/* false: no number; *no_room: no memory for a long one. */
static bool parse(bmc_ctx *x, bmc_string s, bool boolean, Parsed *out, bool *no_room)
{
    const char *p = s.ptr;
    size_t n = s.len, at = 0, digits = 0;
    char room[256], *copy = room;
    *out = (Parsed){.is_whole = true};
    while (n && is_space(*p)) p++, n--;
    while (n && is_space(p[n - 1])) n--;
    if (boolean && (word(p, n, "true") || word(p, n, "false"))) return out->f = (p[0] | 32) == 't', true;
    out->negative = n && *p == '-';
    if (n && (*p == '-' || *p == '+')) p++, n--;
    double sign = out->negative ? -1 : 1;
    if (word(p, n, "nan")) return out->f = out->single = NAN, out->is_whole = false, true;
    if (word(p, n, "inf") || word(p, n, "infinity")) return out->f = out->single = sign * INFINITY, out->is_whole = false, true;
    for (; at < n && is_digit(p[at]); at++, digits++) {
        unsigned d = (unsigned)(p[at] - '0');
        if (out->whole > (UINT64_MAX - d) / 10) out->is_whole = false;
        else out->whole = out->whole * 10 + d;
    }
    size_t point = at;
    if (at < n && p[at] == '.') {
        out->is_whole = false;
        for (at++; at < n && is_digit(p[at]); at++) digits++;
    }
    if (!digits) return false;
    if (at < n && (p[at] | 32) == 'e') {
        size_t sign_at = at + 1 < n && (p[at + 1] == '+' || p[at + 1] == '-') ? at + 2 : at + 1;
        out->is_whole = false;
        for (at = sign_at; at < n && is_digit(p[at]);) at++;
        if (at == sign_at) return false;
    }
    if (at != n) return false;
    const char *decimal = localeconv()->decimal_point;
    size_t wide = strlen(decimal);
    if (n + wide >= sizeof room && !(copy = rt_text_alloc(x, n + wide + 1))) return *no_room = true, false;
    bool has_point = point < n && p[point] == '.';
    memcpy(copy, p, point);
    if (has_point) memcpy(copy + point, decimal, wide), memcpy(copy + point + wide, p + point + 1, n - point - 1);
    else memcpy(copy + point, p + point, n - point);
    copy[n + (has_point ? wide - 1 : 0)] = 0;
    out->f = sign * strtod(copy, NULL);
    out->single = (float)sign * strtof(copy, NULL);
    return true;
}

static bool to_int(const Parsed *v, bool is_unsigned, int64_t *to)
{
    uint64_t most = is_unsigned ? v->negative ? 0 : UINT64_MAX : (uint64_t)INT64_MAX + v->negative;
    if (v->is_whole) return *to = (int64_t)(v->negative ? 0 - v->whole : v->whole), v->whole <= most;
    if (is_unsigned ? !(v->f > -1 && v->f < 0x1p64) : !(v->f >= -0x1p63 && v->f < 0x1p63)) return false;
    *to = is_unsigned ? (int64_t)(uint64_t)v->f : (int64_t)v->f;
    return true;
}

int32_t rt_number_of(bmc_ctx *x, rt_arg *arg, int32_t n_arg, int32_t tid, int32_t nt)
{
    (void)n_arg, (void)tid, (void)nt;
    int64_t n = rt_elements(&arg[0]);
    int dtype = arg[1].dtype;
    const bmc_string *from = arg[0].data;
    void *to = arg[1].data;
    if (n && !(to && from)) return rt_no_memory(x, "strings");
    if (n) memset(to, 0, (size_t)n * (size_t)rt_dtype_bits(dtype) / 8);
    for (int64_t i = 0; i < n; i++) {
        Parsed v;
        bool no_room = false, fits = true;
        if (!parse(x, from[i], dtype == BMC_BOOL, &v, &no_room)) {
            if (no_room) return rt_no_memory(x, "strings");
            rt_detail(x, "element %lld is not a number: '%.*s'", (long long)i, from[i].len < 40 ? (int)from[i].len : 40, from[i].ptr ? from[i].ptr : "");
            return BMC_E_FAIL;
        }
        switch (dtype) {
        case BMC_F32: ((float *)to)[i] = v.single; break;
        case BMC_F64: ((double *)to)[i] = v.f; break;
        case BMC_BOOL: ((uint8_t *)to)[i] = v.f != 0; break;
        default: fits = to_int(&v, dtype == BMC_U64, (int64_t *)to + i); break;
        }
        if (!fits) {
            rt_detail(x, "element %lld is out of range: '%.*s'", (long long)i, (int)(from[i].len < 40 ? from[i].len : 40), from[i].ptr);
            return BMC_E_FAIL;
        }
    }
    return BMC_OK;
}
