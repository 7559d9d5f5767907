/* str.c: growing strings; numbers and quoted text in the forms that lex.c reads back. */
#include "base/str.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void str_init(Str *s, Arena *a) { *s = (Str){.arena = a}; }

/* Room for n bytes more and the NUL. */
static void reserve(Str *s, size_t n)
{
    if (s->n + n + 1 <= s->cap) return;
    size_t cap = s->cap ? s->cap * 2 : 64;
    while (cap < s->n + n + 1) cap *= 2;
    s->p = arena_grow(s->arena, s->p, s->cap, cap);
    s->cap = cap;
}

void str_add_n(Str *s, const char *t, size_t n)
{
    reserve(s, n);
    if (n) memcpy(s->p + s->n, t, n);
    s->n += n;
    s->p[s->n] = 0;
}

void str_add(Str *s, const char *t) { str_add_n(s, t, strlen(t)); }
void str_char(Str *s, char c) { str_add_n(s, &c, 1); }
const char *str_get(Str *s) { return s->p ? s->p : ""; }

void str_printf(Str *s, const char *fmt, ...)
{
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    reserve(s, 31);
    int n = vsnprintf(s->p + s->n, s->cap - s->n, fmt, ap);
    if (n > 0 && s->n + (size_t)n >= s->cap) {
        reserve(s, (size_t)n);
        vsnprintf(s->p + s->n, (size_t)n + 1, fmt, again);
    }
    if (n > 0) s->n += (size_t)n;
    va_end(again);
    va_end(ap);
}

/* Length of the valid UTF-8 sequence at t (at most n bytes), 0: there is none. */
static size_t utf8_length(const unsigned char *t, size_t n)
{
    size_t len = t[0] < 0x80                    ? 1
                 : t[0] >= 0xc2 && t[0] <= 0xdf ? 2
                 : (t[0] & 0xf0) == 0xe0        ? 3
                 : t[0] >= 0xf0 && t[0] <= 0xf4 ? 4
                                                : 0;
    if (!len || len > n) return 0;
    for (size_t i = 1; i < len; i++)
        if ((t[i] & 0xc0) != 0x80) return 0;
    if (len == 3 && ((t[0] == 0xe0 && t[1] < 0xa0) || (t[0] == 0xed && t[1] > 0x9f)))
        return 0; /* overlong, surrogate */
    if (len == 4 && ((t[0] == 0xf0 && t[1] < 0x90) || (t[0] == 0xf4 && t[1] > 0x8f))) return 0; /* overlong, > 10FFFF */
    return len;
}

void str_quote(Str *s, const char *t, size_t n)
{
    str_char(s, '"');
    for (size_t i = 0; i < n;) {
        unsigned char c = (unsigned char)t[i];
        size_t len = utf8_length((const unsigned char *)t + i, n - i);
        if (c == '"' || c == '\\') {
            str_char(s, '\\');
            str_char(s, (char)c);
        } else if (c == '\n') str_add(s, "\\n");
        else if (c == '\t') str_add(s, "\\t");
        else if (len == 0 || c < 0x20 || c == 0x7f) {
            str_printf(s, "\\x%02x", c);
            len = 1;
        } else str_add_n(s, t + i, len);
        i += len;
    }
    str_char(s, '"');
}

void str_double(Str *s, double x, bool is_f32)
{
    if (isnan(x)) {
        str_add(s, "nan");
        return;
    }
    if (isinf(x)) {
        str_add(s, x < 0 ? "-inf" : "inf");
        return;
    }
    if (is_f32) x = (float)x;
    /* Where the type has its full precision, 15 (6) digits without trailing zeros are the shortest if they suffice. */
    bool full = fabs(x) >= (is_f32 ? 1.17549435e-38 : 2.2250738585072014e-308) || x == 0;
    int first = !full ? 1 : is_f32 ? 6 : 15, last = is_f32 ? 9 : 17;
    char text[40];
    for (int digits = first; digits <= last; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, x);
        if (is_f32 ? strtof(text, NULL) == (float)x : strtod(text, NULL) == x) break;
    }
    str_add(s, text);
}
