/* regex_parse.c: patterns in RE2's syntax (github.com/google/re2/wiki/Syntax) into trees, by recursive descent.
 *   alternatives  cat | cat ...           cat  atoms, each perhaps repeated        atom  ( ), [ ], ., \x, a character
 * Flags (?imsU) hold up to the end of their group. What RE2 turns down is turned down here: look-around, back references,
 * repetitions of repetitions (a**), counts above 1000 also when nested. */
#include "ir/ops/regex.h"
#include "runtime/rt_case.h"
#include <string.h>

enum { FOLD_CASE = 1, MANY_LINES = 2, DOT_ALL = 4 };
enum { COUNT_MAX = 1000, DEPTH_MAX = 1000, LAST = 0x10ffff };

typedef struct Parser {
    Arena *arena;
    const char *p;      /* pattern; valid UTF-8 */
    size_t at, n;
    int flags, depth;
    const char *why;
} Parser;

static Re *fail(Parser *x, const char *why) { return x->why = why, NULL; }
static Re *fail_at(Parser *x, const char *why, size_t from)
{
    return fail(x, arena_printf(x->arena, "%s: %.*s", why, (int)(x->at - from), x->p + from));
}

static bool more(const Parser *x) { return x->at < x->n; }
static bool looking(const Parser *x, const char *text)
{
    size_t len = strlen(text);
    return x->n - x->at >= len && !memcmp(x->p + x->at, text, len);
}
static bool skip(Parser *x, const char *text) { return looking(x, text) && (x->at += strlen(text), true); }
static int32_t next_char(Parser *x) { return rt_utf8_get(x->p, x->n, &x->at); }
static int peek(const Parser *x, size_t ahead) { return x->at + ahead < x->n ? (uint8_t)x->p[x->at + ahead] : -1; }
static bool is_digit(int c) { return c >= '0' && c <= '9'; }
static bool is_alnum(int c) { return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
static int hex(int32_t c) { return is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; }

static Re *re_new(Parser *x, ReKind kind)
{
    Re *r = arena_new(x->arena, Re);
    *r = (Re){.kind = kind};
    return r;
}

static void re_add(Parser *x, Re *r, Re *sub)
{
    if ((r->n & (r->n - 1)) == 0) {   /* a power of two: full */
        Re **p = arena_array(x->arena, Re *, r->n ? 2 * r->n : 1);
        if (r->n) memcpy(p, r->sub, r->n * sizeof *p);
        r->sub = p;
    }
    r->sub[r->n++] = sub;
}

static Re *re_test(Parser *x, int test)
{
    Re *r = re_new(x, RE_TEST);
    return r->test = test, r;
}

static Re *re_set(Parser *x, ReSet s, bool negated)
{
    Re *r = re_new(x, RE_SET);
    r->set = s;
    if (x->flags & FOLD_CASE) set_fold(x->arena, &r->set);
    if (negated) set_negate(x->arena, &r->set);
    else set_tidy(&r->set);
    return r;
}

static Re *re_char(Parser *x, int32_t c)
{
    ReSet s = {0};
    set_add(x->arena, &s, c, c);
    return re_set(x, s, false);
}

/* ---- escapes and classes ---- */

/* One character behind a backslash; -1: diagnosed. */
static int32_t escape(Parser *x)
{
    size_t from = x->at++;
    if (!more(x)) return fail(x, "a backslash at the end"), -1;
    int32_t c = next_char(x), code = 0;
    int count = 0;
    if (c < 0x80 && !is_alnum(c)) return c;
    switch (c) {
    case 'a': return 7;
    case 'f': return '\f';
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'v': return 11;
    case '1': case '2': case '3': case '4': case '5': case '6': case '7':
        if (peek(x, 0) < '0' || peek(x, 0) > '7') break;   /* a back reference */
        /* fall through */
    case '0':
        for (code = c - '0'; count < 2 && peek(x, 0) >= '0' && peek(x, 0) <= '7'; count++) code = code * 8 + next_char(x) - '0';
        return code;
    case 'x':
        if (skip(x, "{")) {
            for (; more(x) && hex(peek(x, 0)) >= 0 && code <= LAST; count++) code = code * 16 + hex(next_char(x));
            if (count && code <= LAST && skip(x, "}")) return code;
        } else {
            for (; count < 2 && hex(peek(x, 0)) >= 0; count++) code = code * 16 + hex(next_char(x));
            if (count == 2) return code;
        }
        break;
    default: break;
    }
    return fail_at(x, "an escape that is not known", from), -1;
}

/* \d \s \w \p{..} and their opposites, added to s; 0: something else stands here, -1: diagnosed. */
static int class_escape(Parser *x, ReSet *s)
{
    ReSet own = {0};
    size_t from = x->at;
    int c = peek(x, 1);
    bool negated = c == 'D' || c == 'S' || c == 'W' || c == 'P';
    if (peek(x, 0) != '\\' || c < 0 || !strchr("dswpDSWP", c)) return 0;
    x->at += 2;
    if (c != 'p' && c != 'P') set_perl(x->arena, &own, (char)(c | 0x20));
    else {
        const char *name = x->p + x->at;
        size_t len = 0;
        if (!more(x)) return fail_at(x, "a class without a name", from), -1;
        if (*name == '{') {
            const char *end = memchr(name, '}', x->n - x->at);
            if (!end) return x->at = x->n, fail_at(x, "a class without its }", from), -1;
            len = (size_t)(end - ++name);
            x->at += len + 2;
        } else next_char(x), len = (size_t)(x->p + x->at - name);
        if (len && *name == '^') negated = !negated, name++, len--;
        if (!set_named(x->arena, &own, name, len)) return fail_at(x, "a class that is not known", from), -1;
    }
    if (x->flags & FOLD_CASE) set_fold(x->arena, &own);
    if (negated) set_negate(x->arena, &own);
    set_join(x->arena, s, &own);
    return 1;
}

/* [:name:] inside brackets. */
static int posix_class(Parser *x, ReSet *s)
{
    ReSet own = {0};
    size_t from = x->at, end = x->at + 2;
    if (!looking(x, "[:")) return 0;
    while (end + 1 < x->n && memcmp(x->p + end, ":]", 2)) end++;
    if (end + 1 >= x->n) return 0;
    bool negated = x->p[from + 2] == '^';
    size_t name = from + 2 + negated;
    x->at = end + 2;
    if (end < name || !set_posix(x->arena, &own, x->p + name, end - name)) return fail_at(x, "a class that is not known", from), -1;
    if (x->flags & FOLD_CASE) set_fold(x->arena, &own);
    if (negated) set_negate(x->arena, &own);
    set_join(x->arena, s, &own);
    return 1;
}

static int32_t class_char(Parser *x) { return peek(x, 0) == '\\' ? escape(x) : next_char(x); }

static Re *brackets(Parser *x)
{
    ReSet s = {0};
    size_t from = x->at++;
    bool negated = skip(x, "^"), first = true;
    for (; !more(x) || peek(x, 0) != ']' || first; first = false) {
        if (!more(x)) return fail_at(x, "a [ without its ]", from);
        int known = posix_class(x, &s);
        if (!known) known = class_escape(x, &s);
        if (known < 0) return NULL;
        if (known) continue;
        size_t range = x->at;
        int32_t lo = class_char(x), hi = lo;
        if (lo < 0) return NULL;
        if (peek(x, 0) == '-' && peek(x, 1) >= 0 && peek(x, 1) != ']') {
            x->at++;
            if ((hi = class_char(x)) < 0) return NULL;
            if (hi < lo) return fail_at(x, "a range that runs backwards", range);
        }
        set_add(x->arena, &s, lo, hi);
    }
    x->at++;
    return re_set(x, s, negated);
}

/* ---- groups ---- */

static Re *alternatives(Parser *x);

/* Up to the >: letters, marks, digits and connectors. */
static bool group_name(Parser *x, size_t from)
{
    ReSet s = {0};
    size_t begin = x->at;
    bool fine = set_named(x->arena, &s, "L", 1) && set_named(x->arena, &s, "M", 1) && set_named(x->arena, &s, "N", 1) &&
                set_named(x->arena, &s, "Pc", 2);
    set_tidy(&s);
    while (fine && more(x) && peek(x, 0) != '>') fine = set_has(&s, next_char(x));
    fine = fine && x->at > begin && skip(x, ">");
    return fine || fail_at(x, "a group's name is not well formed", from);
}

/* What stands behind "(?" up to ':' or ')'. *group: it opens one. */
static bool group_flags(Parser *x, size_t from, bool *group)
{
    int flags = x->flags;
    bool off = false, any = false;
    while (more(x)) {
        int32_t c = next_char(x);
        int bit = c == 'i' ? FOLD_CASE : c == 'm' ? MANY_LINES : c == 's' ? DOT_ALL : 0;
        if (bit || c == 'U') any = true, flags = off ? flags & ~bit : flags | bit;
        else if (c == '-' && !off) off = true, any = false;
        else if ((c == ':' || c == ')') && !(off && !any)) return x->flags = flags, *group = c == ':', true;
        else break;
    }
    return fail_at(x, "flags that are not known", from);
}

/* At "(": the group, or NULL; *only_flags: it was (?flags). */
static Re *group(Parser *x, bool *only_flags)
{
    size_t from = x->at++;
    int flags = x->flags;
    bool opens = true;
    *only_flags = false;
    if (skip(x, "?P<") || (looking(x, "?<") && peek(x, 2) != '=' && peek(x, 2) != '!' && skip(x, "?<"))) {
        if (!group_name(x, from)) return NULL;
    } else if (skip(x, "?") && !group_flags(x, from, &opens)) return NULL;
    if (!opens) return *only_flags = true, NULL;
    if (++x->depth > DEPTH_MAX) return fail(x, "groups are nested too deeply");
    Re *r = alternatives(x);
    if (!r) return NULL;
    if (!skip(x, ")")) return fail_at(x, "a ( without its )", from);
    x->depth--;
    x->flags = flags;
    return r;
}

/* ---- repetitions ---- */

/* A number without leading zeros; -1: none stands here, or one beyond nine digits. */
static int number(Parser *x)
{
    int n = 0;
    if (!is_digit(peek(x, 0)) || (peek(x, 0) == '0' && is_digit(peek(x, 1)))) return -1;
    for (; is_digit(peek(x, 0)); x->at++) {
        if (n >= 100000000) return -1;
        n = n * 10 + peek(x, 0) - '0';
    }
    return n;
}

/* * + ? {n} {n,} {n,m}, and a ? behind. A { that begins none of these is a character. */
static bool repetition(Parser *x, int *lo, int *hi)
{
    size_t from = x->at;
    int c = peek(x, 0);
    if (c != '*' && c != '+' && c != '?' && c != '{') return false;
    x->at++;
    if (c != '{') *lo = c == '+', *hi = c == '?' ? 1 : -1;
    else {
        bool fine = (*hi = *lo = number(x)) >= 0;
        if (fine && skip(x, ",")) {
            *hi = peek(x, 0) == '}' ? -1 : number(x);
            fine = *hi >= 0 || peek(x, 0) == '}';
        }
        if (!fine || !skip(x, "}")) return x->at = from, false;
    }
    skip(x, "?");
    return true;
}

/* How often the counts inside may still be multiplied to stay within COUNT_MAX. */
static int counts_left(const Re *r, int left)
{
    int most = r->hi < 0 ? r->lo : r->hi, least;
    if (r->kind == RE_REPEAT && most > 0) left /= most;
    least = left;
    for (uint32_t k = 0; k < r->n; k++) {
        int below = counts_left(r->sub[k], left);
        if (below < least) least = below;
    }
    return least;
}

static Re *repeat(Parser *x, Re *of, int lo, int hi, size_t from)
{
    if (!of) return fail_at(x, "nothing to repeat", from);
    if (lo > COUNT_MAX || hi > COUNT_MAX || (hi >= 0 && hi < lo)) return fail_at(x, "a repetition out of range", from);
    Re *r = re_new(x, RE_REPEAT);
    r->lo = lo, r->hi = hi;
    re_add(x, r, of);
    if ((lo >= 2 || hi >= 2) && counts_left(r, COUNT_MAX) < 1) return fail_at(x, "repetitions of repetitions beyond 1000", from);
    return r;
}

/* ---- sequences ---- */

/* \b \A \z \C and the like; NULL: something else stands here. */
static Re *special(Parser *x)
{
    static const struct { char letter; int test; } TESTS[] = {{'b', RE_WORD}, {'B', RE_NO_WORD}, {'A', RE_BEGIN_TEXT}, {'z', RE_END_TEXT}};
    int c = peek(x, 0);
    if (c == '^' && ++x->at) return re_test(x, x->flags & MANY_LINES ? RE_BEGIN_LINE : RE_BEGIN_TEXT);
    if (c == '$' && ++x->at) return re_test(x, x->flags & MANY_LINES ? RE_END_LINE : RE_END_TEXT);
    if (c == '.' && ++x->at) {
        Re *r = re_new(x, RE_SET);
        if (!(x->flags & DOT_ALL)) set_add(x->arena, &r->set, '\n', '\n');
        set_negate(x->arena, &r->set);
        return r;
    }
    for (size_t k = 0; c == '\\' && k < sizeof TESTS / sizeof *TESTS; k++)
        if (peek(x, 1) == TESTS[k].letter) return x->at += 2, re_test(x, TESTS[k].test);
    return skip(x, "\\C") ? re_new(x, RE_BYTE) : NULL;
}

static Re *atom(Parser *x)
{
    ReSet s = {0};
    Re *r = special(x);
    if (r) return r;
    if (peek(x, 0) == '[') return brackets(x);
    int known = class_escape(x, &s);
    if (known < 0) return NULL;
    if (known) {   /* folded already */
        r = re_new(x, RE_SET);
        r->set = s;
        set_tidy(&r->set);
        return r;
    }
    int32_t c = class_char(x);
    return c < 0 ? NULL : re_char(x, c);
}

static Re *sequence(Parser *x)
{
    Re *cat = re_new(x, RE_CAT), *r = NULL;
    bool repeated = false, quoted = false, only_flags;
    while (more(x) && (quoted || (peek(x, 0) != '|' && peek(x, 0) != ')'))) {
        size_t from = x->at;
        int lo, hi;
        if (quoted ? skip(x, "\\E") : skip(x, "\\Q")) {
            quoted = !quoted, repeated = false;
            continue;
        }
        if (!quoted && repetition(x, &lo, &hi)) {
            if (repeated) return fail_at(x, "a repetition of a repetition", from);
            if (!(r = repeat(x, cat->n ? cat->sub[cat->n - 1] : NULL, lo, hi, from))) return NULL;
            cat->sub[cat->n - 1] = r;
            repeated = true;
            continue;
        }
        repeated = false;
        if (quoted) r = re_char(x, next_char(x));
        else if (peek(x, 0) == '(') {
            r = group(x, &only_flags);
            if (!r && only_flags) continue;
        } else r = atom(x);
        if (!r) return NULL;
        re_add(x, cat, r);
    }
    return cat;
}

static Re *alternatives(Parser *x)
{
    Re *alt = re_new(x, RE_ALT), *r = NULL;
    do {
        if (!(r = sequence(x))) return NULL;
        re_add(x, alt, r);
    } while (skip(x, "|"));
    return alt->n == 1 ? r : alt;
}

Re *regex_parse(Arena *a, const char *pattern, size_t n, const char **why)
{
    Parser x = {.arena = a, .p = pattern, .n = n};
    for (size_t at = 0; at < n;)
        if (rt_utf8_get(pattern, n, &at) < 0) return *why = "it is not valid UTF-8", NULL;
    Re *r = alternatives(&x);
    if (r && more(&x)) r = fail(&x, "a ) without its (");
    if (!r) *why = x.why;
    return r;
}
