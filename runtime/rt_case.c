/* rt_case: full case mapping as Unicode defines it (The Unicode Standard, 3.13, "Default Case Conversion"): one letter
 * may become several (German sharp s), and a capital sigma at the end of a word becomes the final small one. Of the
 * rules for single languages those for the dotless i of Turkish and Azerbaijani are there. Tables: rt_case.def. */
#include "runtime/rt_case.h"
#include <string.h>

typedef struct Map {
    uint32_t first, last;
    int32_t step, delta;
} Map;
typedef struct Span {
    uint32_t first, last;
} Span;

#define UPPER(f, l, s, d)
#define LOWER(f, l, s, d)
#define WIDE(c, x, y, z)
#define CASED(f, l)
#define IGNORABLE(f, l)
static const Map upper[] = {
#undef UPPER
#define UPPER(f, l, s, d) {f, l, s, d},
#include "runtime/rt_case.def"
#undef UPPER
#define UPPER(f, l, s, d)
};
static const Map lower[] = {
#undef LOWER
#define LOWER(f, l, s, d) {f, l, s, d},
#include "runtime/rt_case.def"
#undef LOWER
#define LOWER(f, l, s, d)
};
static const uint32_t wide[][4] = {
#undef WIDE
#define WIDE(c, x, y, z) {c, x, y, z},
#include "runtime/rt_case.def"
#undef WIDE
#define WIDE(c, x, y, z)
};
static const Span cased[] = {
#undef CASED
#define CASED(f, l) {f, l},
#include "runtime/rt_case.def"
#undef CASED
#define CASED(f, l)
};
static const Span ignorable[] = {
#undef IGNORABLE
#define IGNORABLE(f, l) {f, l},
#include "runtime/rt_case.def"
};
#define COUNT(a) (sizeof(a) / sizeof *(a))

enum { SIGMA = 0x3a3, SIGMA_FINAL = 0x3c2, DOTTED_I = 0x130, DOTLESS_I = 0x131, DOT_ABOVE = 0x307 };

static uint32_t simple(const Map *map, size_t n, uint32_t c)
{
    size_t lo = 0, hi = n;
    while (lo < hi) { /* the first that ends at or behind c */
        size_t mid = (lo + hi) / 2;
        if (map[mid].last < c) lo = mid + 1;
        else hi = mid;
    }
    if (lo < n && map[lo].first <= c && (c - map[lo].first) % (uint32_t)map[lo].step == 0)
        return (uint32_t)((int32_t)c + map[lo].delta);
    return c;
}

static bool within(const Span *span, size_t n, uint32_t c)
{
    size_t lo = 0, hi = n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (span[mid].last < c) lo = mid + 1;
        else hi = mid;
    }
    return lo < n && span[lo].first <= c;
}

/* Up to three code points; returns how many. */
static size_t to_upper(uint32_t c, bool turkic, uint32_t *to)
{
    if (turkic && c == 'i') return to[0] = DOTTED_I, 1;
    if (c >= 0x80)
        for (size_t k = 0; k < COUNT(wide); k++)
            if (wide[k][0] == c) {
                memcpy(to, wide[k] + 1, 3 * sizeof *to);
                return wide[k][3] ? 3 : 2;
            }
    return to[0] = simple(upper, COUNT(upper), c), 1;
}

static size_t to_lower(uint32_t c, bool turkic, uint32_t *to)
{
    if (turkic && (c == 'I' || c == DOTTED_I)) return to[0] = c == 'I' ? DOTLESS_I : 'i', 1;
    if (c == DOTTED_I) return to[0] = 'i', to[1] = DOT_ABOVE, 2;
    return to[0] = simple(lower, COUNT(lower), c), 1;
}

/* Lower, upper, and lower again: texts that differ in case only meet. The dotless i stays away from i. */
static size_t to_fold(uint32_t c, bool turkic, uint32_t *to)
{
    uint32_t low[3], up[3], last[3];
    size_t n = 0;
    if (c == DOTLESS_I) return to[0] = c, 1;
    for (size_t i = 0, nl = to_lower(c, turkic, low); i < nl; i++)
        for (size_t j = 0, nu = to_upper(low[i], turkic, up); j < nu; j++) {
            size_t nf = to_lower(up[j], turkic, last);
            for (size_t k = 0; k < nf && n < 3; k++) to[n++] = last[k];
        }
    return n;
}

/* The nearest letter that is not to be ignored, before `at` or from it on, has a case. */
static bool cased_before(const char *p, size_t at)
{
    while (at) {
        size_t begin = at - 1;
        while (begin && (p[begin] & 0xc0) == 0x80) begin--;
        size_t next = begin;
        uint32_t c = (uint32_t)rt_utf8_get(p, at, &next);
        if (!within(ignorable, COUNT(ignorable), c)) return within(cased, COUNT(cased), c);
        at = begin;
    }
    return false;
}

static bool cased_behind(const char *p, size_t n, size_t at)
{
    while (at < n) {
        int32_t c = rt_utf8_get(p, n, &at);
        if (c < 0) return false;
        if (!within(ignorable, COUNT(ignorable), (uint32_t)c)) return within(cased, COUNT(cased), (uint32_t)c);
    }
    return false;
}

/* A letter of ASCII, but the i of a language that has two. */
static char ascii(rt_case how, char c)
{
    char first = how == RT_CASE_UPPER ? 'a' : 'A';
    return how != RT_CASE_NONE && c >= first && c <= first + 25 ? (char)(c ^ 0x20) : c;
}

bool rt_case_text(rt_case how, bool turkic, const char *p, size_t n, char *to, size_t *len)
{
    *len = 0;
    for (size_t at = 0; at < n;) {
        if (!(p[at] & 0x80) && !(turkic && (p[at] | 0x20) == 'i')) {
            if (to) to[*len] = ascii(how, p[at]);
            at++, ++*len;
            continue;
        }
        size_t from = at;
        int32_t c = rt_utf8_get(p, n, &at);
        uint32_t out[3];
        size_t m;
        if (c < 0) return false;
        if (how == RT_CASE_UPPER) m = to_upper((uint32_t)c, turkic, out);
        else if (how == RT_CASE_FOLD) m = to_fold((uint32_t)c, turkic, out);
        else if (how == RT_CASE_LOWER) m = to_lower((uint32_t)c, turkic, out);
        else m = 1, out[0] = (uint32_t)c;
        if (how == RT_CASE_LOWER && c == SIGMA && cased_before(p, from) && !cased_behind(p, n, at))
            out[0] = SIGMA_FINAL;
        for (size_t k = 0; k < m; k++) *len += rt_utf8_put(to ? to + *len : NULL, out[k]);
    }
    return true;
}

bool rt_case_turkic(const char *locale, size_t n)
{
    return n >= 2 && (!memcmp(locale, "tr", 2) || !memcmp(locale, "az", 2)) &&
           (n == 2 || locale[2] == '_' || locale[2] == '-' || locale[2] == '.' || locale[2] == '@');
}
