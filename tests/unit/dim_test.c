/* dim_test: symbolic dims. Random expressions are built twice, as a tree evaluated naively in 128 bits and as a Dim;
 * whatever the Dim claims is held against the tree's values. */
#include "base/diag.h"
#include "ir/dim.h"
#include "ir/lex.h"
#include "tests/unit/check.h"

#define N_SYM 6
#define TREES 20000
#define TRIALS 8

typedef struct Fix {
    Arena arena;
    Names names;
    Dims dims;
    Diag diag;
    Sym sym[N_SYM];
} Fix;

static void fix_init(Fix *f)
{
    static const struct {
        const char *name;
        int64_t lo, hi, multiple;
    } given[N_SYM] = {{"N", 0, INT64_MAX, 1}, {"M", 1, INT64_MAX, 1}, {"K", 0, INT64_MAX, 8},
                      {"batch", 1, 7, 1},     {"seq.1", 2, 512, 1},   {"z", -5, 5, 1}};
    arena_init(&f->arena, "test", NULL);
    names_init(&f->names, &f->arena);
    dims_init(&f->dims, &f->arena, &f->names);
    diag_init(&f->diag, &f->arena);
    for (int i = 0; i < N_SYM; i++) {
        f->sym[i] = sym_new(&f->dims, name_of(&f->names, given[i].name), i % 2 ? SYM_NODE : SYM_ENTRY, given[i].lo,
                            given[i].hi);
        f->dims.sym.p[f->sym[i].i].multiple = given[i].multiple;
    }
}

static void values(Fix *f, Rng *r, int64_t *v)
{
    for (int i = 0; i < N_SYM; i++) {
        const SymRec *s = &f->dims.sym.p[f->sym[i].i];
        int64_t most = rng_in(r, 0, 3) ? 12 : 1000, hi = s->hi < most ? s->hi : most;
        int64_t x = rng_in(r, s->lo, hi);
        v[f->sym[i].i] = x / s->multiple * s->multiple;
    }
}

/* --- the naive twin --- */

typedef struct Tree {
    int op;
    int64_t k;
    int sym;
    struct Tree *a, *b;
    Dim dim;
} Tree; /* op: 0 const, 1 sym, else a character */

static Tree *tree_random(Fix *f, Rng *r, int depth)
{
    Dims *d = &f->dims;
    Tree *t = arena_new(&f->arena, Tree);
    if (depth == 0 || rng_in(r, 0, 6) == 0) {
        t->op = rng_in(r, 0, 2) != 0;
        t->sym = (int)rng_in(r, 0, N_SYM - 1);
        t->k = rng_in(r, 0, 3) ? rng_in(r, 0, 9) : rng_in(r, -20, 64);
        t->dim = t->op ? dim_sym(d, f->sym[t->sym]) : dim_const(d, t->k);
        return t;
    }
    t->op = "++++-**//c%<>b"[rng_in(r, 0, 13)];
    t->a = tree_random(f, r, depth - 1);
    t->b = tree_random(f, r, depth - 1);
    if ((t->op == '/' || t->op == '%' || t->op == 'c') &&
        rng_in(r, 0, 2)) { /* mostly by a positive constant, as in models */
        *t->b = (Tree){.op = 0, .k = rng_in(r, 1, 9)};
        t->b->dim = dim_const(d, t->b->k);
    }
    Dim a = t->a->dim, b = t->b->dim;
    switch (t->op) {
    case '+': t->dim = dim_add(d, a, b); break;
    case '-': t->dim = dim_sub(d, a, b); break;
    case '*': t->dim = dim_mul(d, a, b); break;
    case '/': t->dim = dim_div(d, a, b); break;
    case 'c': t->dim = dim_ceildiv(d, a, b); break;
    case '%': t->dim = dim_mod(d, a, b); break;
    case '<': t->dim = dim_min(d, a, b); break;
    case '>': t->dim = dim_max(d, a, b); break;
    case 'b': t->dim = dim_bcast(d, a, b); break;
    }
    return t;
}

static void tree_print(Str *s, const Fix *f, const Tree *t)
{
    if (t->op == 0) str_printf(s, "%lld", (long long)t->k);
    else if (t->op == 1) str_add(s, name_str(&f->names, f->dims.sym.p[f->sym[t->sym].i].name));
    else {
        str_char(s, '(');
        tree_print(s, f, t->a);
        str_printf(s, " %c ", t->op);
        tree_print(s, f, t->b);
        str_char(s, ')');
    }
}

static const char *tree_text(Fix *f, const Tree *t)
{
    Str s;
    str_init(&s, &f->arena);
    tree_print(&s, f, t);
    return str_get(&s);
}

typedef __int128 Wide;
static Wide floor_of(Wide a, Wide b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }

/* false: undefined (division by zero, shapes that do not broadcast, a value above 2^40 on the way). */
static bool tree_value(const Fix *f, const Tree *t, const int64_t *v, Wide *out)
{
    Wide a, b, limit = (Wide)1 << 40;
    if (t->op == 0) *out = t->k;
    else if (t->op == 1) *out = v[f->sym[t->sym].i];
    else {
        if (!tree_value(f, t->a, v, &a) || !tree_value(f, t->b, v, &b)) return false;
        if ((t->op == '/' || t->op == '%' || t->op == 'c') && b == 0) return false;
        if (t->op == 'b' && a != b && a != 1 && b != 1) return false;
        switch (t->op) {
        case '+': *out = a + b; break;
        case '-': *out = a - b; break;
        case '*': *out = a * b; break;
        case '/': *out = floor_of(a, b); break;
        case 'c': *out = floor_of(a + b - 1, b); break;
        case '%': *out = a - b * floor_of(a, b); break;
        case '<': *out = a < b ? a : b; break;
        case '>': *out = a > b ? a : b; break;
        case 'b': *out = a == 1 ? b : a; break;
        }
    }
    return *out<limit && * out> - limit;
}

static const char *text_of(Fix *f, Dim x)
{
    Str s;
    str_init(&s, &f->arena);
    dim_print(&s, &f->dims, x);
    return str_get(&s);
}

static Dim parse(Fix *f, const char *text)
{
    Lex x;
    Dim d = DIM_NONE;
    lex_init(&x, &f->arena, &f->diag, "test", text, strlen(text));
    if (!lex_dim(&x, &f->dims, false, &d) || x.tok.kind != TK_EOF) {
        printf("    cannot parse %s: %s\n", text, f->diag.first_error ? f->diag.first_error : "text is left");
        return DIM_NONE;
    }
    return d;
}

static void random_trees(void)
{
    Fix f;
    Rng r = {1};
    int64_t v[N_SYM + 1] = {0};
    long compared = 0, skipped = 0, decided = 0;
    fix_init(&f);
    for (int n = 0; n < TREES; n++) {
        if (n % 500 == 499) { /* small id spaces now and then: fresh memos */
            arena_free(&f.arena);
            fix_init(&f);
        }
        int depth = (int)rng_in(&r, 1, 4);
        f.dims.overflow = false;
        Tree *t = tree_random(&f, &r, depth), *u = tree_random(&f, &r, rng_in(&r, 0, 1) ? depth : 1);
        bool too_large = f.dims.overflow;
        f.dims.overflow = false;
        Dim x = t->dim, y = u->dim;
        if (!x.i || !y.i) {
            CHECK(too_large);
            skipped++;
            continue;
        }
        Tri eq = dim_eq(&f.dims, x, y), le = dim_le(&f.dims, x, y), qe = dim_eq(&f.dims, y, x);
        decided += eq != TRI_UNKNOWN || le != TRI_UNKNOWN;
        CHECK(eq == qe);
        int64_t lo, hi;
        dim_bounds(&f.dims, x, &lo, &hi);
        Dim sum = dim_add(&f.dims, x, y), mus = dim_add(&f.dims, y, x), least = dim_min(&f.dims, x, y),
            tsael = dim_min(&f.dims, y, x);
        Dim prod = dim_mul(&f.dims, x, y), dorp = dim_mul(&f.dims, y, x);
        CHECK(dim_same(sum, mus) && dim_same(prod, dorp));
        CHECK(dim_same(least, tsael) || dim_eq(&f.dims, x, y) == TRI_YES);
        if (!CHECK(dim_same(parse(&f, text_of(&f, x)), x)))
            printf("    %s -> %s\n", text_of(&f, x), text_of(&f, parse(&f, text_of(&f, x))));
        f.dims.overflow = false;
        Dim again = dim_resolve(&f.dims, x);
        for (int k = 0; k < TRIALS; k++) {
            Wide a, b;
            int64_t got, other;
            values(&f, &r, v);
            if (!tree_value(&f, t, v, &a)) continue;
            if (!dim_eval(&f.dims, x, v, &got)) { /* products multiplied out may pass 2^63 where the tree stays below */
                skipped++;
                continue;
            }
            compared++;
            if (!CHECK(got == a))
                printf("    %s = %s is %lld, expected %lld\n", tree_text(&f, t), text_of(&f, x), (long long)got,
                       (long long)a);
            if (!CHECK(lo <= a && a <= hi))
                printf("    %s is %lld outside %lld..%lld\n", text_of(&f, x), (long long)a, (long long)lo,
                       (long long)hi);
            for (int64_t m = 2; m <= 16; m++)
                if (dim_multiple_of(&f.dims, x, m) && !CHECK(a % m == 0))
                    printf("    %s is %lld, no multiple of %lld\n", text_of(&f, x), (long long)a, (long long)m);
            if (again.i && dim_eval(&f.dims, again, v, &other)) CHECK(other == got);
            if (!tree_value(&f, u, v, &b)) continue;
            bool ok = (eq != TRI_YES || a == b) && (eq != TRI_NO || a != b) && (le != TRI_YES || a <= b) &&
                      (le != TRI_NO || a > b);
            if (!CHECK(ok))
                printf("    %s (%lld) and %s (%lld): eq %d le %d\n", text_of(&f, x), (long long)a, text_of(&f, y),
                       (long long)b, (int)eq, (int)le);
        }
    }
    CHECK(compared > TREES && skipped < compared / 20 && decided > TREES / 10);
    arena_free(&f.arena);
}

/* Assumed equalities: wherever they hold, a resolved expression has the value of the original. */
static void random_assumptions(void)
{
    Rng r = {2};
    int64_t v[N_SYM + 1] = {0};
    long held = 0;
    for (int n = 0; n < 3000; n++) {
        Fix f;
        fix_init(&f);
        Tree *a = tree_random(&f, &r, (int)rng_in(&r, 0, 2)), *b = tree_random(&f, &r, (int)rng_in(&r, 0, 2));
        Tree *c = tree_random(&f, &r, 1), *e = tree_random(&f, &r, 1), *x = tree_random(&f, &r, 3);
        bool first = dim_assume_eq(&f.dims, a->dim, b->dim), both = first && dim_assume_eq(&f.dims, c->dim, e->dim);
        f.dims.overflow = false;
        Dim y = dim_resolve(&f.dims, x->dim);
        CHECK(!y.i || dim_same(dim_resolve(&f.dims, y), y) || f.dims.overflow ||
              dim_eq(&f.dims, dim_resolve(&f.dims, y), y) != TRI_NO);
        for (int k = 0; k < 200; k++) {
            Wide p, q, s, t, w;
            int64_t got;
            for (int i = 0; i < N_SYM; i++)
                v[f.sym[i].i] = i == 2 ? 8 * rng_in(&r, 0, 1) : rng_in(&r, i == 5 ? -2 : i == 4 ? 2 : i & 1, 4);
            if (!tree_value(&f, a, v, &p) || !tree_value(&f, b, v, &q) || p != q) continue;
            if (!CHECK(first)) printf("    %s == %s was refused\n", tree_text(&f, a), tree_text(&f, b));
            if (!first || !tree_value(&f, c, v, &s) || !tree_value(&f, e, v, &t) || s != t) continue;
            CHECK(both);
            if (!both || !y.i || !tree_value(&f, x, v, &w) || !dim_eval(&f.dims, y, v, &got)) continue;
            held++;
            if (!CHECK(got == w)) printf("    %s resolved to %s\n", text_of(&f, x->dim), text_of(&f, y));
        }
        arena_free(&f.arena);
    }
    CHECK(held > 1000);
}

/* --- what is promised by example --- */

static void forms(void)
{
    static const char *const same[][2] = {{"N+N", "2*N"},
                                          {"N+1-1", "N"},
                                          {"M+N", "M+N"},
                                          {"N+M", "M+N"},
                                          {"2*(N+3)", "2*N+6"},
                                          {"(N+1)*(M+2)", "M*N+M+2*N+2"},
                                          {"N*M*N", "M*N*N"},
                                          {"N-N", "0"},
                                          {"(N*4)//4", "N"},
                                          {"(4*N+M+9)//4", "N+(M+1)//4+2"},
                                          {"(4*N+M+9)%4", "(M+1)%4"},
                                          {"(N//2+3)//4", "(N+6)//8"},
                                          {"((N+1)//2+1)//2", "(N+3)//4"},
                                          {"64*N*M//(64*N)", "M"},
                                          {"(64*N*M+64*N)//(M+1)", "64*N"},
                                          {"(6*N)//(4*M)", "(3*N)//(2*M)"},
                                          {"K%8", "0"},
                                          {"K%4", "0"},
                                          {"(K+3)//4", "K//4"},
                                          {"(K+9)//8", "K//8+1"},
                                          {"(K+3)%8", "3"},
                                          {"min(N,N+1)", "N"},
                                          {"max(N,N+1)", "N+1"},
                                          {"min(N,0)", "0"},
                                          {"max(N,0)", "N"},
                                          {"min(batch,8)", "batch"},
                                          {"max(seq.1,batch)", "max(batch,seq.1)"},
                                          {"min(min(N,M),min(M,4))", "min(min(M,N),4)"},
                                          {"bcast(N,1)", "N"},
                                          {"bcast(1,N)", "N"},
                                          {"bcast(N,N)", "N"},
                                          {"bcast(N,5)", "5"},
                                          {"bcast(N,M)", "bcast(M,N)"},
                                          {"bcast(N,seq.1)", "seq.1"},
                                          {"bcast(bcast(N,M),N)", "bcast(M,N)"},
                                          {"(5*N)//4", "N+N//4"},
                                          {"batch//8", "0"},
                                          {"batch%8", "batch"},
                                          {"(N%8)%4", "N%4"},
                                          {"(N+M*N)//N", "M+1"},
                                          {"(-N)//3", "(-N)//3"},
                                          {"-(N//3)", "-(N//3)"},
                                          {"N-2*M", "-2*M+N"},
                                          {"min(N-N//2,N)", "N-N//2"},
                                          {"max(N//2,N)", "N"},
                                          {"min(min(N,M),N)", "min(M,N)"},
                                          {"max(min(N,M),N)", "N"},
                                          {"N//1", "N"},
                                          {"N%1", "0"},
                                          {"N//N", "1"},
                                          {"7//2", "3"},
                                          {"-7//2", "-4"},
                                          {"-7%3", "2"},
                                          {"7//-2", "-4"},
                                          {"(2*N//3)*M", "2*N//3*M"},
                                          {"N % 4 * 2", "2*(N%4)"},
                                          {"-9223372036854775808", "-9223372036854775807-1"}};
    Fix f;
    fix_init(&f);
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        Dim a = parse(&f, same[i][0]), b = parse(&f, same[i][1]);
        if (!CHECK(a.i && dim_same(a, b)))
            printf("    %s gives %s, %s gives %s\n", same[i][0], text_of(&f, a), same[i][1], text_of(&f, b));
    }
    static const char *const stable[] = {"64",           "N",        "N+1",      "2*N",        "(N+3)//2",
                                         "N%4",          "min(N,4)", "max(M,N)", "bcast(M,N)", "-N+1",
                                         "N-1",          "M*N+2*N",  "-(N//3)",  "2*(N//3)",   "M*(N//3)",
                                         "(M+1)//(N+1)", "M-(N%5)",  "0",        "-3"};
    for (size_t i = 0; i < sizeof stable / sizeof *stable; i++) {
        const char *again = text_of(&f, parse(&f, stable[i]));
        CHECK(dim_same(parse(&f, again), parse(&f, stable[i])));
    }
    CHECK_STR(text_of(&f, parse(&f, "N+1")), "N+1");
    CHECK_STR(text_of(&f, parse(&f, "(N+3)//2")), "(N+1)//2+1");
    CHECK_STR(text_of(&f, parse(&f, "N*2")), "2*N");
    CHECK_STR(text_of(&f, parse(&f, "1-N")), "-N+1");
    CHECK_STR(text_of(&f, parse(&f, "-(N//3)*2")), "-2*(N//3)");
    arena_free(&f.arena);
}

static void answers(void)
{
    Fix f;
    fix_init(&f);
    static const struct {
        const char *a, *b;
        Tri eq, le;
    } row[] = {{"N", "N", TRI_YES, TRI_YES},
               {"N", "N+1", TRI_NO, TRI_YES},
               {"N+1", "N", TRI_NO, TRI_NO},
               {"N", "M", TRI_UNKNOWN, TRI_UNKNOWN},
               {"N//2", "N", TRI_UNKNOWN, TRI_YES},
               {"N", "2*N", TRI_UNKNOWN, TRI_YES},
               {"2*N", "2*M+1", TRI_NO, TRI_UNKNOWN},
               {"K+1", "K//8*8", TRI_NO, TRI_NO},
               {"batch", "8", TRI_NO, TRI_YES},
               {"seq.1", "1", TRI_NO, TRI_NO},
               {"min(N,M)", "N", TRI_UNKNOWN, TRI_YES},
               {"N", "max(N,M)", TRI_UNKNOWN, TRI_YES},
               {"N%4", "3", TRI_UNKNOWN, TRI_YES},
               {"N%4", "N", TRI_UNKNOWN, TRI_YES},
               {"(N+3)//4*4", "N", TRI_UNKNOWN, TRI_UNKNOWN},
               {"N", "(N+3)//4*4", TRI_UNKNOWN, TRI_YES},
               {"(N+3)//4*4", "N+3", TRI_UNKNOWN, TRI_YES},
               {"N*M", "N", TRI_UNKNOWN, TRI_UNKNOWN},
               {"min(N,5)", "6", TRI_NO, TRI_YES},
               {"2*N//3", "N", TRI_UNKNOWN, TRI_YES}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        Dim a = parse(&f, row[i].a), b = parse(&f, row[i].b);
        Tri eq = dim_eq(&f.dims, a, b), le = dim_le(&f.dims, a, b);
        if (!CHECK(eq == row[i].eq && le == row[i].le))
            printf("    %s and %s: eq %d le %d\n", row[i].a, row[i].b, (int)eq, (int)le);
    }
    int64_t lo, hi;
    dim_bounds(&f.dims, parse(&f, "batch+1"), &lo, &hi);
    CHECK(lo == 2 && hi == 8);
    dim_bounds(&f.dims, parse(&f, "(N+3)//2"), &lo, &hi);
    CHECK(lo == 1 && hi == INT64_MAX);
    dim_bounds(&f.dims, parse(&f, "N-N//2"), &lo, &hi);
    CHECK(lo == 0 && hi == INT64_MAX);
    CHECK(dim_multiple_of(&f.dims, parse(&f, "K*3"), 24) && !dim_multiple_of(&f.dims, parse(&f, "K+4"), 8));
    arena_free(&f.arena);
}

static void overflow(void)
{
    Fix f;
    fix_init(&f);
    Dims *d = &f.dims;
    int64_t big = (int64_t)1 << 62, v[N_SYM + 1] = {0}, got;
    Dim k = dim_const(d, big), n = dim_sym(d, f.sym[0]), two = dim_const(d, 2);
    CHECK(dim_add(d, k, dim_const(d, big - 1)).i && !d->overflow);
#define OVERFLOWS(e) (d->overflow = false, !(e).i && d->overflow)
    CHECK(OVERFLOWS(dim_add(d, k, k)));
    CHECK(OVERFLOWS(dim_mul(d, k, two)));
    CHECK(OVERFLOWS(dim_mul(d, dim_mul(d, k, n), two)));
    CHECK(OVERFLOWS(dim_add(d, dim_mul(d, k, n), dim_mul(d, k, n))));
    CHECK(OVERFLOWS(dim_sub(d, dim_const(d, -2), dim_const(d, INT64_MAX))));
    CHECK(OVERFLOWS(dim_mul(d, dim_const(d, INT64_MIN), dim_const(d, -1))));
    CHECK(OVERFLOWS(dim_div(d, dim_const(d, INT64_MIN), dim_const(d, -1))));
    CHECK(OVERFLOWS(dim_div(d, n, dim_const(d, 0))));
    CHECK(OVERFLOWS(dim_mod(d, n, dim_const(d, 0))));
    d->overflow = false;
    CHECK(!dim_add(d, DIM_NONE, n).i && !dim_mul(d, n, DIM_NONE).i && !dim_min(d, n, DIM_NONE).i &&
          !dim_bcast(d, DIM_NONE, n).i);
    CHECK(!d->overflow);
    v[f.sym[0].i] = big;
    CHECK(!dim_eval(d, dim_mul(d, n, two), v, &got) && !dim_eval(d, dim_mul(d, n, n), v, &got));
    v[f.sym[0].i] = 0;
    CHECK(!dim_eval(d, dim_div(d, two, n), v, &got));
    CHECK(dim_mod(d, dim_const(d, INT64_MIN), dim_const(d, -1)).i == dim_const(d, 0).i);
    CHECK(dim_is(d, dim_ceildiv(d, dim_const(d, INT64_MAX), two), big));
    /* Expressions stop growing instead of filling the stack of those who walk them. */
    Dim x = n;
    d->overflow = false;
    for (int i = 0; i < 3000 && x.i; i++)
        x = dim_max(d, dim_div(d, x, dim_sym(d, f.sym[1])), dim_sym(d, sym_new(d, (Name){0}, SYM_NODE, 0, INT64_MAX)));
    CHECK(!x.i && d->overflow);
    x = n;
    d->overflow = false;
    for (int i = 0; i < 300; i++) x = dim_add(d, x, dim_sym(d, sym_new(d, (Name){0}, SYM_NODE, 0, INT64_MAX)));
    CHECK(x.i && !d->overflow && dim_le(d, n, x) != TRI_NO); /* beyond the normal form's room, still an expression */
    if (!CHECK(dim_same(parse(&f, text_of(&f, x)), x) || dim_eq(d, parse(&f, text_of(&f, x)), x) != TRI_NO))
        printf("    %s\n", text_of(&f, x));
    arena_free(&f.arena);
}

static void count_sym(void *arg, Sym s)
{
    (void)s;
    ++*(int *)arg;
}

static void symbols(void)
{
    Fix f;
    fix_init(&f);
    Dims *d = &f.dims;
    Sym again = sym_new(d, name_of(&f.names, "N"), SYM_NODE, 0, 9), fresh = sym_new(d, (Name){0}, SYM_NODE, 0, 9),
        found;
    CHECK(again.i != f.sym[0].i && strcmp(name_str(&f.names, d->sym.p[again.i].name), "N") != 0);
    CHECK(sym_find(d, d->sym.p[fresh.i].name, &found) && found.i == fresh.i);
    CHECK(!sym_find(d, name_of(&f.names, "nobody"), &found));
    int n = 0;
    dim_each_sym(d, parse(&f, "N*N+M//K"), count_sym, &n);
    CHECK(n == 4);
    CHECK(dim_has_kind(d, parse(&f, "N+M"), SYM_NODE) && !dim_has_kind(d, parse(&f, "N+K"), SYM_NODE));
    /* N (entry) == 4, M (node) == K (entry) + 1. */
    CHECK(dim_assume_eq(d, parse(&f, "2*N+1"), dim_const(d, 9)));
    CHECK(dim_is(d, dim_resolve(d, parse(&f, "N*3")), 12));
    CHECK(dim_eq(d, parse(&f, "N"), dim_const(d, 4)) == TRI_YES);
    CHECK(dim_assume_eq(d, parse(&f, "M"), parse(&f, "K+1")));
    CHECK_STR(text_of(&f, dim_resolve(d, parse(&f, "M+N"))), "K+5");
    CHECK(!dim_assume_eq(d, parse(&f, "M"), parse(&f, "K+2")));
    CHECK(!dim_assume_eq(d, parse(&f, "N"), dim_const(d, 5)));
    /* An entry symbol is never replaced by what only a node knows. */
    CHECK(dim_assume_eq(d, parse(&f, "seq.1"), parse(&f, "batch+1")));
    CHECK_STR(text_of(&f, dim_resolve(d, parse(&f, "seq.1"))), "seq.1");
    CHECK_STR(text_of(&f, dim_resolve(d, parse(&f, "batch"))), "seq.1-1");
    int64_t lo, hi;
    dim_bounds(d, dim_sym(d, f.sym[3]), &lo, &hi);
    CHECK(lo >= 1 && hi == 7);
    arena_free(&f.arena);
}

/* Classes of very many symbols, merged in the order that makes the longest chains. */
static void long_chains(void)
{
    enum { N = 200000 };
    static Sym s[N];
    Fix f;
    fix_init(&f);
    Dims *d = &f.dims;
    for (int i = 0; i < N; i++) s[i] = sym_new(d, (Name){0}, SYM_NODE, 0, INT64_MAX);
    d->sym.p[s[0].i].multiple = 6;
    bool right = true;
    for (int i = N - 1; i > 0; i--) right = dim_assume_eq(d, dim_sym(d, s[i]), dim_sym(d, s[i - 1])) && right;
    CHECK(right && dim_multiple_of(d, dim_sym(d, s[N - 1]), 6));
    CHECK(dim_same(dim_resolve(d, dim_sym(d, s[N - 1])), dim_sym(d, s[0])));
    CHECK(dim_assume_eq(d, dim_sym(d, s[N / 2]), dim_const(d, 12)));
    for (int i = 0; i < N; i += 1000) right = right && dim_is(d, dim_resolve(d, dim_sym(d, s[i])), 12);
    CHECK(right && !dim_assume_eq(d, dim_sym(d, s[7]), dim_const(d, 18)));
    int64_t lo, hi;
    dim_bounds(d, dim_sym(d, s[N - 1]), &lo, &hi);
    CHECK(lo == 12 && hi == 12);
    arena_free(&f.arena);
}

/* Nests whose operands are shared, once something was merged: every question resolves both sides, and the rules of min
 * and max ask further ones. What took exponential time is done at once. */
static void nests(void)
{
    Fix f;
    fix_init(&f);
    Dims *d = &f.dims;
    Dim n = parse(&f, "N"), m = parse(&f, "M"), k = parse(&f, "K"), x = n, y;
    CHECK(dim_assume_eq(d, parse(&f, "batch"), dim_add(d, m, dim_const(d, 1))) && d->merged);
    for (int i = 0; i < 5; i++) {
        Dim half = dim_max(d, dim_div(d, x, dim_const(d, 2)), m);
        x = dim_min(d, dim_bcast(d, dim_div(d, x, k), half), dim_add(d, half, dim_const(d, i)));
        CHECK(x.i);
    }
    y = dim_resolve(d, x);
    CHECK(y.i && dim_eq(d, x, y) != TRI_NO && d->rec.n < 100000);
    arena_free(&f.arena);
}

int main(void)
{
    forms();
    long_chains();
    nests();
    answers();
    symbols();
    overflow();
    random_trees();
    random_assumptions();
    return check_done();
}
