/* rt_number: numbers to text and back, the same whatever the locale of the process.
 *
 * Both ways scale by a power of ten in long double, whose error is known. Where it might decide, on one number in
 * hundreds (on all, where long double is double), the C library prints or reads, rounded exactly. */
#include "runtime/rt_internal.h"
#include <float.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FINE = 27, COARSE = 12 }; /* 5^27 is exact in 64 bits */
#define ERROR (4 * LDBL_EPSILON) /* of scaled, as a part: three roundings and those of v (1 +- ERROR) are 2.5 */

/* v * 10^k, |k| < FINE * (COARSE + 1) */
static long double scaled(long double v, int k)
{
    static const long double fine[FINE] = {
        1e0L,  1e1L,  1e2L,  1e3L,  1e4L,  1e5L,  1e6L,  1e7L,  1e8L,  1e9L,  1e10L, 1e11L, 1e12L, 1e13L,
        1e14L, 1e15L, 1e16L, 1e17L, 1e18L, 1e19L, 1e20L, 1e21L, 1e22L, 1e23L, 1e24L, 1e25L, 1e26L,
    };
#if LDBL_MAX_10_EXP >= 324
    static const long double coarse[COARSE + 1] = {
        1e0L, 1e27L, 1e54L, 1e81L, 1e108L, 1e135L, 1e162L, 1e189L, 1e216L, 1e243L, 1e270L, 1e297L, 1e324L,
    };
    int a = abs(k);
    return k < 0 ? v / coarse[a / FINE] / fine[a % FINE] : v * coarse[a / FINE] * fine[a % FINE];
#else
    return abs(k) >= FINE ? (long double)NAN : k < 0 ? v / fine[-k] : v * fine[k];
#endif
}

/* ---- numbers to text ---- */

/* Does the text read back as v (in float when `single`)? Bits are compared: denormals may count as zero here. */
static bool reads_back(const char *text, double v, bool single)
{
    float f = single ? strtof(text, NULL) : 0, g = (float)v;
    double d = single ? 0 : strtod(text, NULL);
    return single ? !memcmp(&f, &g, sizeof f) : !memcmp(&d, &v, sizeof d);
}

/* Two digits at a time would not pay: most numbers are short. */
static size_t put_whole(char *to, uint64_t v, bool negative)
{
    char digit[20], *p = to;
    int n = 0;
    do digit[n++] = (char)('0' + v % 10);
    while (v /= 10);
    if (negative) *p++ = '-';
    while (n) *p++ = digit[--n];
    return (size_t)(p - to);
}

/* As digits_of, 0 where the error of long double might decide. The digits of v are a whole number and a rest; shortened
 * to n of them, to nearest, they read back when they are less than half a place of v away, below a power of two a
 * quarter: what is above may, then, where what is nearer does not. */
static int quick_digits(double v, bool single, char *digit, int *exponent)
{
    const int most = single ? 9 : 17, bits = single ? FLT_MANT_DIG : DBL_MANT_DIG;
    const double least = single ? (double)FLT_MIN : DBL_MIN;
    const long double end = single ? 1e9L : 1e17L;
    int e2;
    double m = frexp(v, &e2);
    if (v < least || !(v <= DBL_MAX)) return 0;
    int e10 = (int)((e2 - 1) * 0.30102999566398119521 + 400) - 400; /* floor(log10 2^(e2-1)), this or one more is v's */
    long double s = scaled(v, most - 1 - e10);
    if (s >= end) s = scaled(v, most - 1 - ++e10);
    if (!(s >= end / 10 && s < end)) return 0;
    long double error = s * ERROR, half = s * (ldexp(0.5, -bits) / m), below = m == 0.5 && v > least ? half / 2 : half;
    uint64_t whole = (uint64_t)s, unit = single ? 1000 : 100;
    long double rest = s - (long double)whole;
    for (;; unit /= 10) {
        uint64_t low = whole % unit;
        long double down = (long double)low + rest, up = (long double)unit - down;
        long double off = up < down ? up : down, reach = up < down ? half : below;
        if (fabsl(up - down) <= 2 * error) return 0;
        if (off < reach - error) {
            whole = whole - low + (up < down ? unit : 0);
            break;
        }
        if (off <= reach + error) return 0;
        if (up < half - error) {
            whole = whole - low + unit;
            break;
        }
        if (up <= half + error || unit == 1) return 0;
    }
    char all[24];
    int n = (int)put_whole(all, whole, false);
    *exponent = e10 + n - most;
    while (n > 1 && all[n - 1] == '0') n--;
    memcpy(digit, all, (size_t)n);
    return n;
}

/* One more in the last place of d.ddde+xx; false where all are 9. */
static bool next_up(char *text)
{
    char *p = strchr(text, 'e');
    while (p-- > text) {
        if (*p < '0' || *p > '9') continue;
        if (*p != '9') return ++*p, true;
        *p = '0';
    }
    return false;
}

/* Digits of v > 0 without the zeros at their end, at most 17; *exponent: of the first. They are the nearest to v of the
 * fewest that read back. */
static int digits_of(double v, bool single, char *digit, int *exponent)
{
    char text[64];
    int quick = quick_digits(v, single, digit, exponent);
    if (quick) return quick;
    /* as many digits come back from every normal number: with the zeros dropped, the fewest */
    int precision = v < (single ? 0x1p-126 : 0x1p-1022) ? 0 : single ? 5 : 14, n = 0;
    for (bool found = false; !found && precision < 17; precision++) {
        snprintf(text, sizeof text, "%.*e", precision, v);
        found = reads_back(text, v, single) || (next_up(text) && reads_back(text, v, single));
    }
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
        *p++ = 'e';
        *p++ = exponent < 0 ? '-' : '+';
        if (abs(exponent) < 10) *p++ = '0';
        return (size_t)(p - to) + put_whole(p, (uint64_t)abs(exponent), false);
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
        case BMC_U64: len = put_whole(text, ((const uint64_t *)from)[i], false); break;
        default: {
            uint64_t v = ((const uint64_t *)from)[i];
            len = put_whole(text, v >> 63 ? 0 - v : v, v >> 63);
            break;
        }
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
    double f;       /* unless dtype is f32, or a whole number that is_whole */
    float single;   /* for f32: rounded once */
    uint64_t whole; /* its absolute value, when is_whole: it has digits only and fits */
    bool negative, is_whole;
} Parsed;

static bool add_digit(uint64_t *v, char c)
{
    unsigned d = (unsigned)(c - '0');
    if (*v > (UINT64_MAX - d) / 10) return false;
    *v = *v * 10 + d;
    return true;
}

/* digits * 10^k rounded once; false where the error of long double might decide, or where the result is not normal. */
static bool quick_value(uint64_t digits, int k, bool to_single, double *f, float *single)
{
    if (!digits) return *f = 0, *single = 0, true;
    if (k < -300 || k > 300) return false;
    long double v = scaled((long double)digits, k), low = v * (1 - ERROR), high = v * (1 + ERROR);
    if (to_single) {
        *single = (float)v;
        return low > (long double)FLT_MIN && high < (long double)FLT_MAX && (float)low == (float)high;
    }
    *f = (double)v;
    return low > (long double)DBL_MIN && high < (long double)DBL_MAX && (double)low == (double)high;
}

/* false: no number; *no_room: no memory for a long one. */
static bool parse(bmc_ctx *x, bmc_string s, int dtype, Parsed *out, bool *no_room)
{
    bool boolean = dtype == BMC_BOOL;
    const char *p = s.ptr;
    size_t n = s.len, at = 0, digits = 0;
    int tens = 0; /* value = out->whole * 10^tens, while every digit has found room there */
    bool all = true;
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
    for (; at < n && is_digit(p[at]); at++, digits++) out->is_whole = all = all && add_digit(&out->whole, p[at]);
    size_t point = at;
    if (at < n && p[at] == '.') {
        out->is_whole = false;
        for (at++; at < n && is_digit(p[at]); at++, digits++, tens--) all = all && add_digit(&out->whole, p[at]);
    }
    if (!digits) return false;
    if (at < n && (p[at] | 32) == 'e') {
        size_t sign_at = at + 1 < n && (p[at + 1] == '+' || p[at + 1] == '-') ? at + 2 : at + 1;
        out->is_whole = false;
        int power = 0;
        for (at = sign_at; at < n && is_digit(p[at]); at++) power = power > 9999 ? power : power * 10 + (p[at] - '0');
        if (at == sign_at) return false;
        tens += p[sign_at - 1] == '-' ? -power : power;
    }
    if (at != n) return false;
    bool whole_number = dtype != BMC_F32 && dtype != BMC_F64 && dtype != BMC_BOOL;
    if (out->is_whole && whole_number) return true;
    if (all && n < 1000 && quick_value(out->whole, tens, dtype == BMC_F32, &out->f, &out->single)) {
        out->f *= sign, out->single *= (float)sign;
        return true;
    }
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
        if (!parse(x, from[i], dtype, &v, &no_room)) {
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
