/* dim.c: building symbolic dimensions. Sums and products go through the polynomial normal form (dim_poly.h); the other
 * operations take out what is exact, and keep a record of their own for the rest:
 *   (4*N + M + 9) // 4   ->  N + (M + 1)//4 + 2        (N//2 + 3) // 4  ->  (N + 6)//8          64*N*M // (64*N)  ->  M
 *   (4*N + M + 9) % 4    ->  (M + 1) % 4               min(N, N + 1)    ->  N                   bcast(N, 1)       ->  N
 * What a symbol's bounds and multiple prove is used when an expression is built; dim_resolve builds it again when more
 * has become known. */
#include "ir/dim_poly.h"
#include "base/num.h"
#include <assert.h>

/* Keys of results already computed, beside the records' own in by_hash; only what depends on no symbol's bounds. */
#define MEMO_ADD 16
#define MEMO_MUL 17
#define SIDES_MAX 16 /* operands that min, max and bcast sort and compare; longer ones stay as they are */

void dims_init(Dims *d, Arena *a, Names *names)
{
    *d = (Dims){.arena = a, .names = names};
    map_init(&d->by_hash, a);
    map_init(&d->by_const, a);
    map_init(&d->by_name, a);
    vec_push(a, &d->rec, (DimRec){.size = 1});
    vec_push(a, &d->sym, (SymRec){.input = -1, .axis = -1, .multiple = 1});
    vec_push(a, &d->of_sym, DIM_NONE);
}

static Dim overflow(Dims *d)
{
    d->overflow = true;
    return DIM_NONE;
}

Dim dim_const(Dims *d, int64_t k)
{
    uint64_t found;
    if (map_get(&d->by_const, (uint64_t)k, &found)) return (Dim){(uint32_t)found};
    Dim x = {d->rec.n};
    vec_push(d->arena, &d->rec, (DimRec){.kind = DIM_CONST, .k = k, .size = 1});
    map_put(&d->by_const, (uint64_t)k, x.i);
    return x;
}

bool sym_find(const Dims *d, Name name, Sym *s)
{
    uint64_t found;
    if (!name.i || !map_get(&d->by_name, name.i, &found)) return false;
    s->i = (uint32_t)found;
    return true;
}

Sym sym_new(Dims *d, Name name, SymKind kind, int64_t lo, int64_t hi)
{
    Sym taken;
    const char *base = name.i ? name_str(d->names, name) : NULL;
    while (!name.i || sym_find(d, name, &taken)) {
        const char *text =
            base ? arena_printf(d->arena, "%s_%u", base, ++d->fresh) : arena_printf(d->arena, "s%u", ++d->fresh);
        name = name_of(d->names, text);
    }
    Sym s = {d->sym.n};
    vec_push(d->arena, &d->sym,
             (SymRec){.name = name, .kind = kind, .input = -1, .axis = -1, .lo = lo, .hi = hi, .multiple = 1});
    vec_push(d->arena, &d->of_sym, DIM_NONE);
    map_put(&d->by_name, name.i, s.i);
    return s;
}

Dim dim_sym(Dims *d, Sym s)
{
    assert(s.i && s.i < d->sym.n);
    if (!d->of_sym.p[s.i].i) {
        d->of_sym.p[s.i] = (Dim){d->rec.n};
        vec_push(d->arena, &d->rec, (DimRec){.kind = DIM_SYM, .sym = s, .size = 1});
    }
    return d->of_sym.p[s.i];
}

bool dim_is_const(const Dims *d, Dim x, int64_t *k)
{
    if (!x.i || d->rec.p[x.i].kind != DIM_CONST) return false;
    *k = d->rec.p[x.i].k;
    return true;
}

/* A record of its own, unless its bounds leave one value. */
static Dim opaque(Dims *d, DimKind kind, Dim a, Dim b)
{
    Dim x = dim_cons(d, kind, a, b);
    int64_t lo, hi;
    dim_bounds(d, x, &lo, &hi);
    return x.i && lo == hi ? dim_const(d, lo) : x;
}

/* --- sums and products --- */

/* What does not fit the normal form. A long sum stays on the left, so that its text nests no parentheses. */
static Dim in_order(Dims *d, DimKind kind, Dim a, Dim b)
{
    bool nest_a = d->rec.p[a.i].kind == kind, nest_b = d->rec.p[b.i].kind == kind;
    return (nest_a != nest_b ? nest_a : dim_order(d, a, b) <= 0) ? dim_cons(d, kind, a, b) : dim_cons(d, kind, b, a);
}

Dim dim_add(Dims *d, Dim a, Dim b)
{
    int64_t x, y;
    if (!a.i || !b.i) return DIM_NONE;
    bool ka = dim_is_const(d, a, &x), kb = dim_is_const(d, b, &y);
    if (ka && kb) return __builtin_add_overflow(x, y, &x) ? overflow(d) : dim_const(d, x);
    if ((ka && x == 0) || (kb && y == 0)) return ka && x == 0 ? b : a;
    if (a.i > b.i) {
        Dim t = a;
        a = b;
        b = t;
    }
    uint64_t key = (uint64_t)MEMO_ADD << 58 | (uint64_t)a.i << 29 | b.i, found;
    if (map_get(&d->by_hash, key, &found)) return (Dim){(uint32_t)found};
    Poly p;
    poly_zero(&p);
    PolyStatus s = poly_add_dim(d, &p, 1, a);
    if (!s) s = poly_add_dim(d, &p, 1, b);
    if (s == POLY_OVERFLOW) return overflow(d);
    Dim sum = s == POLY_BIG ? in_order(d, DIM_ADD, a, b) : poly_build(d, &p);
    if (sum.i) map_put(&d->by_hash, key, sum.i);
    return sum;
}

Dim dim_mul(Dims *d, Dim a, Dim b)
{
    int64_t x, y;
    if (!a.i || !b.i) return DIM_NONE;
    bool ka = dim_is_const(d, a, &x), kb = dim_is_const(d, b, &y);
    if (ka && kb) return __builtin_mul_overflow(x, y, &x) ? overflow(d) : dim_const(d, x);
    if (ka && x == 1) return b;
    if (kb && y == 1) return a;
    if (a.i > b.i) {
        Dim t = a;
        a = b;
        b = t;
    }
    uint64_t key = (uint64_t)MEMO_MUL << 58 | (uint64_t)a.i << 29 | b.i, found;
    if (map_get(&d->by_hash, key, &found)) return (Dim){(uint32_t)found};
    Poly p, q, r;
    poly_zero(&p);
    poly_zero(&q);
    PolyStatus s = poly_add_dim(d, &p, 1, a);
    if (!s) s = poly_add_dim(d, &q, 1, b);
    if (!s) s = poly_mul(d, &p, &q, &r);
    if (s == POLY_OVERFLOW) return overflow(d);
    Dim product = s == POLY_BIG ? in_order(d, DIM_MUL, a, b) : poly_build(d, &r);
    if (product.i) map_put(&d->by_hash, key, product.i);
    return product;
}

Dim dim_sub(Dims *d, Dim a, Dim b)
{
    int64_t x, y;
    if (dim_is_const(d, a, &x) && dim_is_const(d, b, &y))
        return __builtin_sub_overflow(x, y, &x) ? overflow(d) : dim_const(d, x);
    return dim_add(d, a, dim_mul(d, b, dim_const(d, -1)));
}

/* --- division --- */

/* Moves each term that is a multiple of c, by its coefficient or by a factor's known multiple: to `whole` already
 * divided, or to `facts` as it is; of other coefficients the part beyond c goes to `whole`. `p` keeps the rest, its
 * constant in [0, c). false: out of room. */
static bool split_multiples(Dims *d, Poly *p, int64_t c, Poly *whole, Poly *facts)
{
    poly_zero(whole);
    poly_zero(facts);
    Poly rest;
    poly_zero(&rest);
    for (uint32_t i = 0; i < p->n; i++) {
        Term *t = &p->t[i];
        int64_t q = t->n ? t->c / c : floor_div(t->c, c), r = t->n ? t->c % c : floor_mod(t->c, c);
        uint64_t g = dim_abs(r);
        for (uint32_t j = 0; j < t->n && c <= INT32_MAX; j++) /* so that g * gcd fits */
            g = gcd64(g * gcd64((uint64_t)dim_divisor(d, t->f[j]), (uint64_t)c), (uint64_t)c);
        Poly part;
        poly_zero(&part);
        part.n = 1;
        part.t[0] = *t;
        part.t[0].c = 1;
        if (q && poly_add_poly(d, whole, q, &part)) return false;
        if (r && poly_add_poly(d, t->n && g % (uint64_t)c == 0 ? facts : &rest, r, &part)) return false;
    }
    poly_copy(p, &rest);
    return true;
}

/* floor((x//k + s) / c) = floor((x + k*s) / (k*c)): rewrites p and *c when p has one term that is x//k. */
static bool merge_nested(Dims *d, Poly *p, int64_t *c)
{
    for (uint32_t i = 0; i < p->n; i++) {
        const DimRec *r = p->t[i].n == 1 && p->t[i].c == 1 ? &d->rec.p[p->t[i].f[0].i] : NULL;
        int64_t k, kc;
        if (!r || r->kind != DIM_FLOORDIV || !dim_is_const(d, r->b, &k) || k <= 0 || __builtin_mul_overflow(k, *c, &kc))
            continue;
        Poly rest, all;
        poly_copy(&rest, p);
        poly_remove(&rest, i);
        poly_zero(&all);
        if (poly_add_dim(d, &all, 1, r->a) || poly_add_poly(d, &all, k, &rest)) continue;
        poly_copy(p, &all);
        *c = kc;
        return true;
    }
    return false;
}

static Dim div_const(Dims *d, Dim a, Poly *p, int64_t c)
{
    Poly whole, facts;
    if (c < 0) {
        Poly minus;
        poly_zero(&minus);
        if (c == INT64_MIN || poly_add_poly(d, &minus, -1, p)) return opaque(d, DIM_FLOORDIV, a, dim_const(d, c));
        return div_const(d, poly_build(d, &minus), &minus, -c);
    }
    if (c == 1) return a;
    if (!split_multiples(d, p, c, &whole, &facts)) return opaque(d, DIM_FLOORDIV, a, dim_const(d, c));
    Dim sum = poly_build(d, &whole);
    if (facts.n) {
        Poly f, g;
        poly_zero(&f);
        poly_zero(&g);
        poly_add_const(d, &g, c);
        poly_copy(&f, &facts);
        poly_cancel(d, &f, &g); /* 12*N // 8 with N even: 3*N // 2 */
        int64_t k = g.t[0].c;
        Dim part = poly_build(d, &f);
        if (k > 1 && merge_nested(d, &f, &k)) part = div_const(d, poly_build(d, &f), &f, k);
        else if (k > 1) part = opaque(d, DIM_FLOORDIV, part, dim_const(d, k));
        sum = dim_add(d, sum, part);
    }
    if (!p->n) return sum;
    Poly k;
    poly_zero(&k);
    poly_add_const(d, &k, c);
    if (poly_cancel(d, p, &k)) return dim_add(d, sum, div_const(d, poly_build(d, p), p, k.t[0].c));
    if (merge_nested(d, p, &c)) return dim_add(d, sum, div_const(d, poly_build(d, p), p, c));
    Dim rest = poly_build(d, p);
    int64_t lo, hi;
    dim_bounds(d, rest, &lo, &hi);
    if (lo != INT64_MIN && hi != INT64_MAX && floor_div(lo, c) == floor_div(hi, c))
        return dim_add(d, sum, dim_const(d, floor_div(lo, c)));
    return dim_add(d, sum, opaque(d, DIM_FLOORDIV, rest, dim_const(d, c)));
}

/* Takes the terms of p that b divides, one term each, to q. */
static bool split_by_term(Dims *d, Poly *p, const Poly *b, Poly *q)
{
    poly_zero(q);
    for (uint32_t i = 0; i < p->n;) {
        Poly one, part;
        poly_zero(&one);
        one.n = 1;
        one.t[0] = p->t[i];
        if (poly_div_exact(d, &one, b, &part)) {
            if (poly_add_poly(d, q, 1, &part)) return false;
            poly_remove(p, i);
        } else i++;
    }
    return true;
}

Dim dim_div(Dims *d, Dim a, Dim b)
{
    int64_t x, y;
    if (!a.i || !b.i) return DIM_NONE;
    bool ka = dim_is_const(d, a, &x), kb = dim_is_const(d, b, &y);
    if (kb && y == 0) return overflow(d);
    if (ka && kb) return x == INT64_MIN && y == -1 ? overflow(d) : dim_const(d, floor_div(x, y));
    if ((ka && x == 0) || (kb && y == 1)) return a;
    if (a.i == b.i) return dim_const(d, 1);
    Poly p, q, r;
    poly_zero(&p);
    poly_zero(&q);
    if (poly_add_dim(d, &p, 1, a) || poly_add_dim(d, &q, 1, b)) return opaque(d, DIM_FLOORDIV, a, b);
    if (poly_div_exact(d, &p, &q, &r)) return poly_build(d, &r);
    if (poly_cancel(d, &p, &q)) {
        a = poly_build(d, &p);
        b = poly_build(d, &q);
    }
    if (poly_is_const(&q, &y)) return div_const(d, a, &p, y);
    if (q.n == 1 && split_by_term(d, &p, &q, &r) && r.n)
        return dim_add(d, poly_build(d, &r), dim_div(d, poly_build(d, &p), b));
    if (dim_le(d, dim_const(d, 0), a) == TRI_YES && dim_le(d, b, a) == TRI_NO) return dim_const(d, 0);
    return opaque(d, DIM_FLOORDIV, a, b);
}

Dim dim_ceildiv(Dims *d, Dim a, Dim b)
{
    int64_t x, y;
    if (dim_is_const(d, a, &x) && dim_is_const(d, b, &y) && y > 0) /* a + b - 1 could overflow */
        return dim_const(d, floor_div(x, y) + (floor_mod(x, y) != 0));
    return dim_div(d, dim_add(d, a, dim_sub(d, b, dim_const(d, 1))), b);
}

static Dim mod_const(Dims *d, Dim a, Poly *p, int64_t c)
{
    if (c == 1) return dim_const(d, 0);
    Poly whole, facts;
    if (!split_multiples(d, p, c, &whole, &facts)) return opaque(d, DIM_MOD, a, dim_const(d, c));
    for (uint32_t i = 0; i < p->n; i++) { /* (x % kc + s) % c = (x + s) % c */
        const DimRec *r = p->t[i].n == 1 ? &d->rec.p[p->t[i].f[0].i] : NULL;
        int64_t k;
        if (!r || r->kind != DIM_MOD || !dim_is_const(d, r->b, &k) || k % c) continue;
        int64_t times = p->t[i].c;
        Poly rest;
        poly_copy(&rest, p);
        poly_remove(&rest, i);
        if (poly_add_dim(d, &rest, times, r->a)) continue;
        return mod_const(d, poly_build(d, &rest), &rest, c);
    }
    Dim rest = poly_build(d, p);
    int64_t lo, hi;
    dim_bounds(d, rest, &lo, &hi);
    return lo >= 0 && hi < c ? rest : opaque(d, DIM_MOD, rest, dim_const(d, c));
}

Dim dim_mod(Dims *d, Dim a, Dim b)
{
    int64_t x, y;
    if (!a.i || !b.i) return DIM_NONE;
    bool ka = dim_is_const(d, a, &x), kb = dim_is_const(d, b, &y);
    if (kb && y == 0) return overflow(d);
    if (ka && kb) return dim_const(d, y == -1 ? 0 : floor_mod(x, y));
    if ((ka && x == 0) || a.i == b.i) return dim_const(d, 0);
    Poly p, q, r;
    poly_zero(&p);
    poly_zero(&q);
    if (poly_add_dim(d, &p, 1, a) || poly_add_dim(d, &q, 1, b)) return opaque(d, DIM_MOD, a, b);
    if (poly_div_exact(d, &p, &q, &r)) return dim_const(d, 0);
    if (kb) return y > 0 ? mod_const(d, a, &p, y) : opaque(d, DIM_MOD, a, b);
    if (q.n == 1 && split_by_term(d, &p, &q, &r) && r.n) return dim_mod(d, poly_build(d, &p), b);
    if (dim_le(d, dim_const(d, 0), a) == TRI_YES && dim_le(d, b, a) == TRI_NO) return a;
    return opaque(d, DIM_MOD, a, b);
}

/* --- min, max, bcast --- */

/* Adds the operands of a nest of one kind; false: too many. */
static bool collect(const Dims *d, DimKind kind, Dim x, Dim *side, uint32_t *n)
{
    const DimRec *r = &d->rec.p[x.i];
    if (r->kind == kind) return collect(d, kind, r->a, side, n) && collect(d, kind, r->b, side, n);
    for (uint32_t i = 0; i < *n; i++)
        if (side[i].i == x.i) return true;
    if (*n == SIDES_MAX) return false;
    side[(*n)++] = x;
    return true;
}

static Dim fold_sides(Dims *d, DimKind kind, Dim *side, uint32_t n)
{
    for (uint32_t i = 1; i < n; i++)
        for (uint32_t j = i; j > 0 && dim_order(d, side[j], side[j - 1]) < 0; j--) {
            Dim t = side[j];
            side[j] = side[j - 1];
            side[j - 1] = t;
        }
    Dim x = side[0];
    for (uint32_t i = 1; i < n; i++) x = dim_cons(d, kind, x, side[i]);
    return x;
}

static Dim extreme(Dims *d, DimKind kind, Dim a, Dim b)
{
    if (!a.i || !b.i) return DIM_NONE;
    Dim side[SIDES_MAX];
    uint32_t n = 0;
    if (!collect(d, kind, a, side, &n) || !collect(d, kind, b, side, &n)) return in_order(d, kind, a, b);
    for (uint32_t i = 0; i < n; i++) /* drop what another operand makes superfluous */
        for (uint32_t j = 0; j < n; j++)
            if (i != j &&
                dim_le(d, kind == DIM_MIN ? side[j] : side[i], kind == DIM_MIN ? side[i] : side[j]) == TRI_YES) {
                side[i--] = side[--n];
                break;
            }
    Dim x = fold_sides(d, kind, side, n);
    int64_t lo, hi;
    dim_bounds(d, x, &lo, &hi);
    return x.i && lo == hi ? dim_const(d, lo) : x;
}

Dim dim_min(Dims *d, Dim a, Dim b) { return extreme(d, DIM_MIN, a, b); }
Dim dim_max(Dims *d, Dim a, Dim b) { return extreme(d, DIM_MAX, a, b); }

Dim dim_bcast(Dims *d, Dim a, Dim b)
{
    if (!a.i || !b.i) return DIM_NONE;
    Dim side[SIDES_MAX], one = dim_const(d, 1), sure = DIM_NONE;
    uint32_t n = 0, kept = 0;
    if (a.i == b.i || b.i == one.i) return a;
    if (a.i == one.i) return b;
    if (!collect(d, DIM_BCAST, a, side, &n) || !collect(d, DIM_BCAST, b, side, &n)) return in_order(d, DIM_BCAST, a, b);
    for (uint32_t i = 0; i < n; i++) {
        int64_t k;
        Tri is_one = dim_eq(d, side[i], one);
        if (is_one == TRI_YES) continue;
        if (is_one == TRI_NO && (!sure.i || dim_is_const(d, side[i], &k) ||
                                 (!dim_is_const(d, sure, &k) && dim_order(d, side[i], sure) < 0)))
            sure = side[i];
        bool again = false;
        for (uint32_t j = 0; j < kept; j++) again = again || dim_eq(d, side[i], side[j]) == TRI_YES;
        if (!again) side[kept++] = side[i];
    }
    return sure.i ? sure : kept == 0 ? one : fold_sides(d, DIM_BCAST, side, kept);
}

/* --- what has become known --- */

static Dim binary(Dims *d, DimKind kind, Dim a, Dim b)
{
    switch (kind) {
    case DIM_ADD: return dim_add(d, a, b);
    case DIM_MUL: return dim_mul(d, a, b);
    case DIM_FLOORDIV: return dim_div(d, a, b);
    case DIM_MOD: return dim_mod(d, a, b);
    case DIM_MIN: return dim_min(d, a, b);
    case DIM_MAX: return dim_max(d, a, b);
    case DIM_BCAST: return dim_bcast(d, a, b);
    default: return DIM_NONE;
    }
}

static Dim resolve_symbol(Dims *d, Dim x)
{
    const DimRec r = d->rec.p[x.i];
    /* Chains of symbols may be long: walk to the last one, then point all of them at its value. */
    Sym last = r.sym;
    for (Dim to = d->sym.p[last.i].same_as; to.i && d->rec.p[to.i].kind == DIM_SYM; to = d->sym.p[last.i].same_as)
        last = d->rec.p[to.i].sym;
    const SymRec *s = &d->sym.p[last.i];
    Dim root = s->lo == s->hi ? dim_const(d, s->lo) : s->same_as.i ? dim_resolve(d, s->same_as) : dim_sym(d, last);
    if (!root.i) return x;
    if (s->same_as.i) d->sym.p[last.i].same_as = root;
    for (Sym at = r.sym; at.i != last.i;) {
        Dim to = d->sym.p[at.i].same_as;
        d->sym.p[at.i].same_as = root;
        at = d->rec.p[to.i].sym;
    }
    s = &d->sym.p[r.sym.i];
    return s->lo == s->hi ? dim_const(d, s->lo) : root;
}

/* Operands are shared and the rules of dim_min and the like ask dim_le, which resolves again: without the memo, time
 * would be exponential in the depth of x. It lives for one outermost call, in which no symbol's facts change. */
Dim dim_resolve(Dims *d, Dim x)
{
    if (!x.i) return x;
    const DimRec r = d->rec.p[x.i];
    if (r.kind == DIM_CONST) return x;
    if (r.kind == DIM_SYM) return resolve_symbol(d, x);
    if (!d->nested) d->stamp++;
    if (x.i < d->memo.n && d->memo.p[x.i].stamp == d->stamp) return d->memo.p[x.i].to;
    d->nested++;
    Dim a = dim_resolve(d, r.a), b = dim_resolve(d, r.b), y = binary(d, r.kind, a, b);
    d->nested--;
    if (!y.i) return y; /* every asker has to hear of an overflow */
    while (d->memo.n <= x.i) vec_push(d->arena, &d->memo, ((DimMemo){0}));
    d->memo.p[x.i] = (DimMemo){d->stamp, y};
    return y;
}

static bool mentions(const Dims *d, Dim x, Sym s)
{
    const DimRec *r = &d->rec.p[x.i];
    return r->kind == DIM_SYM ? r->sym.i == s.i
                              : r->kind != DIM_CONST && (mentions(d, r->a, s) || mentions(d, r->b, s));
}

/* Narrows s to what x can be; false: nothing is left. */
static bool narrow(Dims *d, Sym s, Dim x)
{
    int64_t lo, hi, k = dim_divisor(d, x), lcm;
    dim_bounds(d, x, &lo, &hi);
    SymRec *r = &d->sym.p[s.i];
    if (lo > r->lo) r->lo = lo;
    if (hi < r->hi) r->hi = hi;
    if (k > 1 && !__builtin_mul_overflow(r->multiple / (int64_t)gcd64((uint64_t)r->multiple, (uint64_t)k), k, &lcm))
        r->multiple = lcm;
    return r->lo <= r->hi;
}

/* The youngest symbol of x that a node binds; 0: none. */
static uint32_t youngest_of_nodes(const Dims *d, Dim x)
{
    const DimRec *r = &d->rec.p[x.i];
    if (r->kind == DIM_CONST) return 0;
    if (r->kind == DIM_SYM) return d->sym.p[r->sym.i].kind == SYM_NODE ? r->sym.i : 0;
    uint32_t a = youngest_of_nodes(d, r->a), b = youngest_of_nodes(d, r->b);
    return a > b ? a : b;
}

/* May symbol s give way to x? Not when x is known later than s: of symbols the later bound, then the younger, goes. */
static bool may_replace(const Dims *d, Sym s, Dim x)
{
    const DimRec *r = &d->rec.p[x.i];
    if (mentions(d, x, s)) return false;
    if (d->sym.p[s.i].kind == SYM_ENTRY) return !dim_has_kind(d, x, SYM_NODE) && (r->kind != DIM_SYM || r->sym.i < s.i);
    return youngest_of_nodes(d, x) < s.i;
}

/* x <= most, x being a symbol or a sum of symbols with positive coefficients: each alone cannot be more than what the
 * others leave at least. false: nothing is left. */
static bool assume_at_most(Dims *d, Dim x, int64_t most)
{
    Poly p;
    poly_zero(&p);
    if (poly_add_dim(d, &p, 1, x)) return true;
    for (uint32_t i = 0; i < p.n; i++) {
        const Term *t = &p.t[i];
        if (t->n != 1 || t->c < 1 || d->rec.p[t->f[0].i].kind != DIM_SYM) continue;
        Poly rest;
        int64_t least, room;
        poly_copy(&rest, &p);
        poly_remove(&rest, i);
        least = poly_lower(d, &rest, INT64_MAX, 1);
        if (least == INT64_MIN || __builtin_sub_overflow(most, least, &room)) continue;
        SymRec *s = &d->sym.p[d->rec.p[t->f[0].i].sym.i];
        room = floor_div(room, t->c);
        if (room < s->hi) s->hi = room, d->narrowed++;
        if (s->hi < s->lo) return false;
    }
    return true;
}

/* An assumed x == min(x, k): nothing can be merged, but x is bounded now. */
static bool assume_min(Dims *d, Dim x, Dim min)
{
    Dim side[SIDES_MAX];
    uint32_t n = 0;
    bool has = false;
    int64_t k;
    if (d->rec.p[min.i].kind != DIM_MIN || !collect(d, DIM_MIN, min, side, &n)) return true;
    for (uint32_t i = 0; i < n; i++) has |= side[i].i == x.i;
    for (uint32_t i = 0; has && i < n; i++)
        if (dim_is_const(d, side[i], &k) && !assume_at_most(d, x, k)) return false;
    return true;
}

bool dim_assume_eq(Dims *d, Dim a, Dim b)
{
    if (!a.i || !b.i) return true;
    if (!assume_min(d, a, b) || !assume_min(d, b, a)) return false;
    bool had = d->overflow;
    a = dim_resolve(d, a);
    b = dim_resolve(d, b);
    d->overflow = had;
    if (!a.i || !b.i) return true;
    Tri known = dim_eq(d, a, b);
    if (known != TRI_UNKNOWN) return known == TRI_YES;
    /* a - b = 0: a symbol alone in one term, with coefficient 1 or -1 after division by the common one, equals the
     * rest. */
    Poly p;
    poly_zero(&p);
    if (poly_add_dim(d, &p, 1, a) || poly_add_dim(d, &p, -1, b)) return true;
    uint64_t g = 0;
    for (uint32_t i = 0; i < p.n; i++) g = gcd64(g, dim_abs(p.t[i].c));
    for (uint32_t i = 0; i < p.n && g <= INT64_MAX; i++) p.t[i].c /= (int64_t)g;
    for (int pass = 0; pass < 2; pass++) /* prefer to replace what a node binds */
        for (uint32_t i = 0; i < p.n; i++) {
            const Term *t = &p.t[i];
            if (t->n != 1 || (t->c != 1 && t->c != -1) || d->rec.p[t->f[0].i].kind != DIM_SYM) continue;
            Sym s = d->rec.p[t->f[0].i].sym;
            if ((d->sym.p[s.i].kind == SYM_ENTRY) != (pass == 1)) continue;
            Poly rest, value;
            poly_copy(&rest, &p);
            poly_remove(&rest, i);
            poly_zero(&value);
            if (poly_add_poly(d, &value, -t->c, &rest)) continue;
            Dim x = poly_build(d, &value);
            if (!x.i || !may_replace(d, s, x)) continue;
            if (!narrow(d, s, x)) return false;
            const DimRec *r = &d->rec.p[x.i];
            if (r->kind == DIM_SYM && !narrow(d, r->sym, t->f[0])) return false;
            d->sym.p[s.i].same_as = x;
            d->merged = true;
            return true;
        }
    return true;
}

/* --- questions --- */

Dim dim_factor(Dims *d, Dim x, int64_t *coef)
{
    Poly p;
    uint64_t g = 0;
    *coef = 1;
    poly_zero(&p);
    if (!x.i || poly_add_dim(d, &p, 1, x)) return x;
    for (uint32_t i = 0; i < p.n; i++) g = gcd64(g, dim_abs(p.t[i].c));
    if (g < 2 || g > INT64_MAX) return x;
    for (uint32_t i = 0; i < p.n; i++) p.t[i].c /= (int64_t)g;
    Dim rest = poly_build(d, &p);
    if (!rest.i) return x;
    *coef = (int64_t)g;
    return rest;
}

bool dim_eval(const Dims *d, Dim x, const int64_t *value, int64_t *out)
{
    if (!x.i) return false;
    const DimRec *r = &d->rec.p[x.i];
    int64_t a, b;
    if (r->kind == DIM_CONST) {
        *out = r->k;
        return true;
    }
    if (r->kind == DIM_SYM) {
        *out = value[r->sym.i];
        return true;
    }
    if (!dim_eval(d, r->a, value, &a) || !dim_eval(d, r->b, value, &b)) return false;
    switch (r->kind) {
    case DIM_ADD: return !__builtin_add_overflow(a, b, out);
    case DIM_MUL: return !__builtin_mul_overflow(a, b, out);
    case DIM_FLOORDIV:
    case DIM_MOD:
        if (b == 0 || (a == INT64_MIN && b == -1)) return false;
        *out = r->kind == DIM_MOD ? floor_mod(a, b) : floor_div(a, b);
        return true;
    case DIM_MIN: *out = a < b ? a : b; return true;
    case DIM_MAX: *out = a > b ? a : b; return true;
    case DIM_BCAST: *out = a == 1 ? b : a; return true;
    default: return false;
    }
}

void dim_each_sym(const Dims *d, Dim x, void (*f)(void *arg, Sym), void *arg)
{
    if (!x.i) return;
    DimRec r = d->rec.p[x.i];
    if (r.kind == DIM_SYM) f(arg, r.sym);
    else if (r.kind != DIM_CONST) {
        dim_each_sym(d, r.a, f, arg);
        dim_each_sym(d, r.b, f, arg);
    }
}

bool dim_has_kind(const Dims *d, Dim x, SymKind kind)
{
    if (!x.i) return false;
    const DimRec *r = &d->rec.p[x.i];
    if (r->kind == DIM_SYM) return d->sym.p[r->sym.i].kind == kind;
    return r->kind != DIM_CONST && (dim_has_kind(d, r->a, kind) || dim_has_kind(d, r->b, kind));
}

/* --- text --- */

static void print_sum(Str *s, const Dims *d, Dim x);

/* Binds tightest: a symbol, a number that is not negative, a call, or parentheses. */
static void print_atom(Str *s, const Dims *d, Dim x)
{
    static const char *const call[] = {[DIM_MIN] = "min", [DIM_MAX] = "max", [DIM_BCAST] = "bcast"};
    const DimRec *r = &d->rec.p[x.i];
    switch (r->kind) {
    case DIM_SYM: str_add(s, name_str(d->names, d->sym.p[r->sym.i].name)); return;
    case DIM_MIN:
    case DIM_MAX:
    case DIM_BCAST:
        str_printf(s, "%s(", call[r->kind]);
        print_sum(s, d, r->a);
        str_char(s, ',');
        print_sum(s, d, r->b);
        str_char(s, ')');
        return;
    case DIM_CONST:
        if (r->k >= 0) {
            str_printf(s, "%lld", (long long)r->k);
            return;
        }
        break;
    default: break;
    }
    str_char(s, '(');
    print_sum(s, d, x);
    str_char(s, ')');
}

/* Products, // and % associate to the left; so only a factor that nothing stands in front of may be a bare x//y. */
static void print_product(Str *s, const Dims *d, Dim x, bool first)
{
    const DimRec *r = &d->rec.p[x.i];
    if (r->kind == DIM_MUL) {
        print_product(s, d, r->a, first);
        str_char(s, '*');
        print_atom(s, d, r->b);
    } else if ((r->kind == DIM_FLOORDIV || r->kind == DIM_MOD) && first) {
        print_atom(s, d, r->a);
        str_add(s, r->kind == DIM_MOD ? "%" : "//");
        print_atom(s, d, r->b);
    } else print_atom(s, d, x);
}

/* A term of a sum; `sign` wants a plus in front of what is not negative. */
static void print_term(Str *s, const Dims *d, Dim x, bool sign)
{
    const DimRec *r = &d->rec.p[x.i];
    if (r->kind == DIM_CONST) {
        str_printf(s, sign ? "%+lld" : "%lld", (long long)r->k);
        return;
    }
    int64_t c = 1;
    if (r->kind == DIM_MUL && dim_is_const(d, r->a, &c)) x = r->b;
    if (c < 0 || sign) str_char(s, c < 0 ? '-' : '+');
    if (c != 1 && c != -1) str_printf(s, "%llu*", (unsigned long long)dim_abs(c));
    print_product(s, d, x, c == 1);
}

static void print_sum(Str *s, const Dims *d, Dim x)
{
    const DimRec *r = &d->rec.p[x.i];
    if (r->kind != DIM_ADD) {
        print_term(s, d, x, false);
        return;
    }
    print_sum(s, d, r->a);
    if (d->rec.p[r->b.i].kind == DIM_ADD) {
        str_char(s, '+');
        print_atom(s, d, r->b);
    } else print_term(s, d, r->b, true);
}

void dim_print(Str *s, const Dims *d, Dim x)
{
    if (x.i) print_sum(s, d, x);
    else str_char(s, '?');
}
