/* regex_set.c: sets of code points for regular expressions: ranges, classes by name, case folding. Classes are RE2's: \d \s
 * \w and [:name:] are ASCII, \p{name} are Unicode's general categories and scripts (tables: regex_category.def and
 * regex_script.def). */
#include "ir/ops/regex.h"
#include <stdlib.h>
#include <string.h>

enum { LAST = 0x10ffff };

typedef struct Step { int32_t first, last, step, delta; } Step;   /* delta: of folding */

static const Step FOLDS[] = {
#define CLASS(name)
#define R(f, l, s)
#define FOLD(f, l, s, d) {f, l, s, d},
#include "ir/ops/regex_category.def"
#undef CLASS
#undef R
#undef FOLD
};

/* Names stand among the ranges: last is -1 there, and step the number of the name. */
#define FOLD(f, l, s, d)
#define CLASS(name) {-1, -1, 0, 0},
#define R(f, l, s) {f, l, s, 0},
static const Step CLASSES[] = {
#include "ir/ops/regex_category.def"
#include "ir/ops/regex_script.def"
    {-1, -1, 0, 0}
};
#undef CLASS
#undef R
#define CLASS(name) #name,
#define R(f, l, s)
static const char *const NAMES[] = {
#include "ir/ops/regex_category.def"
#include "ir/ops/regex_script.def"
    NULL
};

void set_add(Arena *a, ReSet *s, int32_t lo, int32_t hi)
{
    if (lo > hi) return;
    if (s->n == s->cap) {
        uint32_t cap = s->cap ? 2 * s->cap : 8;
        ReRange *p = arena_array(a, ReRange, cap);
        if (s->n) memcpy(p, s->p, s->n * sizeof *p);
        s->p = p, s->cap = cap;
    }
    s->p[s->n++] = (ReRange){lo, hi};
}

void set_join(Arena *a, ReSet *s, const ReSet *more)
{
    for (uint32_t k = 0; k < more->n; k++) set_add(a, s, more->p[k].lo, more->p[k].hi);
}

static int by_lo(const void *a, const void *b)
{
    const ReRange *x = a, *y = b;
    return x->lo != y->lo ? (x->lo > y->lo) - (x->lo < y->lo) : (x->hi > y->hi) - (x->hi < y->hi);
}

void set_tidy(ReSet *s)
{
    uint32_t n = 0;
    if (s->n) qsort(s->p, s->n, sizeof *s->p, by_lo);
    for (uint32_t k = 0; k < s->n; k++) {
        if (n && s->p[k].lo <= s->p[n - 1].hi + 1) {
            if (s->p[k].hi > s->p[n - 1].hi) s->p[n - 1].hi = s->p[k].hi;
        } else s->p[n++] = s->p[k];
    }
    s->n = n;
}

void set_negate(Arena *a, ReSet *s)
{
    ReSet out = {0};
    int32_t next = 0;
    set_tidy(s);
    for (uint32_t k = 0; k < s->n; k++) {
        set_add(a, &out, next, s->p[k].lo - 1);
        next = s->p[k].hi + 1;
    }
    set_add(a, &out, next, LAST);
    *s = out;
}

bool set_has(const ReSet *s, int32_t c)
{
    uint32_t lo = 0, hi = s->n;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        if (s->p[mid].hi < c) lo = mid + 1;
        else hi = mid;
    }
    return lo < s->n && s->p[lo].lo <= c;
}

/* Letters fold to one of them, the head of their circle: whoever is in pulls in the head, the head all others. */
void set_fold(Arena *a, ReSet *s)
{
    for (int pass = 0; pass < 2; pass++) {
        ReSet more = {0};
        set_tidy(s);
        for (size_t k = 0; k < sizeof FOLDS / sizeof *FOLDS; k++)
            for (int32_t c = FOLDS[k].first; c <= FOLDS[k].last; c += FOLDS[k].step) {
                int32_t head = c + FOLDS[k].delta;
                if (pass == 0 && set_has(s, c)) set_add(a, &more, head, head);
                if (pass == 1 && set_has(s, head)) set_add(a, &more, c, c);
            }
        set_join(a, s, &more);
    }
    set_tidy(s);
}

bool set_named(Arena *a, ReSet *s, const char *name, size_t n)
{
    bool found = false;
    if (n == 3 && !memcmp(name, "Any", 3)) return set_add(a, s, 0, LAST), true;
    for (size_t k = 0, at = 0; NAMES[k]; k++) {
        bool this_one = (strlen(NAMES[k]) == n || (n == 1 && k < 29)) && !memcmp(NAMES[k], name, n);   /* L: Lu, Ll, ... */
        found |= this_one;
        for (at++; CLASSES[at].last >= 0; at++)
            for (int32_t c = CLASSES[at].first; this_one && c <= CLASSES[at].last; c += CLASSES[at].step) {
                int32_t last = CLASSES[at].step == 1 ? CLASSES[at].last : c;
                set_add(a, s, c, last);
                c = last;
            }
    }
    return found;
}

/* Pairs of bytes, first and last. */
static void pairs(Arena *a, ReSet *s, const char *p)
{
    for (; *p; p += 2) set_add(a, s, p[0], p[1]);
}

void set_perl(Arena *a, ReSet *s, char letter)
{
    pairs(a, s, letter == 'd' ? "09" : letter == 's' ? "\t\n\f\r  " : "09AZaz__");
}

bool set_posix(Arena *a, ReSet *s, const char *name, size_t n)
{
    static const struct { const char *name, *of; } POSIX[] = {
        {"alnum", "09AZaz"}, {"alpha", "AZaz"}, {"ascii", "\x01\x7f"}, {"blank", "\t\t  "}, {"cntrl", "\x01\x1f\x7f\x7f"},
        {"digit", "09"}, {"graph", "!~"}, {"lower", "az"}, {"print", " ~"}, {"punct", "!/:@[`{~"},
        {"space", "\t\r  "}, {"upper", "AZ"}, {"word", "09AZaz__"}, {"xdigit", "09AFaf"}};
    for (size_t k = 0; k < sizeof POSIX / sizeof *POSIX; k++) {
        if (strlen(POSIX[k].name) != n || memcmp(POSIX[k].name, name, n)) continue;
        pairs(a, s, POSIX[k].of);
        if (!strcmp(POSIX[k].name, "ascii") || !strcmp(POSIX[k].name, "cntrl")) set_add(a, s, 0, 0);
        return true;
    }
    return false;
}
