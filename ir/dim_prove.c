/* dim_prove.c: what can be known about a dimension: bounds by intervals, known divisors, and comparisons. A comparison
 * asks for the sign of a difference. Intervals alone cannot see that N - N//2 >= 0, because both ends move together;
 * poly_lower therefore replaces one atom at a time by the sides that bound it and lets the polynomial cancel:
 *   c * (x // k)     k*D  >=  k*rest + c*x            (c < 0)       k*D  >=  k*rest + c*(x - k + 1)       (c > 0)
 *   c * (x % k)      D    >=  rest + c*x              (c < 0, x >= 0)
 *   c * min(a, b)    D    >=  rest + c*a, rest + c*b  (c < 0)       the smaller of both                   (c > 0)
 *   c * max(a, b)    the other way round
 *   c * bcast(a, b)  the smaller of both; as max when both sides are at least 1
 * Infinite ends are INT64_MIN and INT64_MAX; finite results that leave int64 become infinite. */
#include "ir/dim_poly.h"
#include "base/num.h"

#define MINF INT64_MIN
#define PINF INT64_MAX
#define RELAX_DEPTH 3

typedef struct Range {
    int64_t lo, hi;
} Range;
static const Range anything = {MINF, PINF};

static int64_t sat_add(int64_t x, int64_t y, int64_t infinity) /* `infinity`: which end is being computed */
{
    int64_t r;
    if (x == infinity || y == infinity) return infinity;
    if (__builtin_add_overflow(x, y, &r)) return x < 0 ? MINF : PINF;
    return r;
}

static int64_t sat_mul(int64_t x, int64_t y)
{
    int64_t r;
    if (x == 0 || y == 0) return 0;
    bool infinite = x == MINF || x == PINF || y == MINF || y == PINF;
    if (infinite || __builtin_mul_overflow(x, y, &r)) return (x < 0) != (y < 0) ? MINF : PINF;
    return r;
}

static Range range_mul(Range x, Range y)
{
    int64_t p = sat_mul(x.lo, y.lo), q = sat_mul(x.lo, y.hi), r = sat_mul(x.hi, y.lo), s = sat_mul(x.hi, y.hi);
    return (Range){min64(min64(p, q), min64(r, s)), max64(max64(p, q), max64(r, s))};
}

static int64_t end_div(int64_t x, int64_t y)
{
    return x == MINF || x == PINF ? x : y == PINF ? (x < 0 ? -1 : 0) : floor_div(x, y);
}

static Range range_div(Range x, Range y)
{
    if (y.lo < 1) { /* |x // y| <= max(|x|, 1) whatever y is */
        int64_t m = x.lo == MINF || x.hi == PINF ? PINF : max64(x.hi, -x.lo);
        if (m == PINF) return anything;
        return x.lo >= 0 && y.lo >= 0 ? (Range){0, m} : (Range){-max64(m, 1), max64(m, 0)};
    }
    return (Range){min64(end_div(x.lo, y.lo), end_div(x.lo, y.hi)), max64(end_div(x.hi, y.lo), end_div(x.hi, y.hi))};
}

static Range range_mod(Range x, Range y)
{
    if (y.lo >= 0) { /* a divisor is not 0 */
        int64_t hi = y.hi == PINF ? PINF : max64(y.hi - 1, 0);
        return (Range){0, x.lo >= 0 ? min64(hi, x.hi) : hi};
    }
    return (Range){y.lo == MINF ? MINF : y.lo + 1, y.hi == PINF ? PINF : max64(y.hi - 1, 0)};
}

static Range range_of(const Dims *d, Dim x)
{
    const DimRec *r = &d->rec.p[x.i];
    if (r->kind == DIM_CONST) return (Range){r->k, r->k};
    if (r->kind == DIM_SYM) {
        const SymRec *s = &d->sym.p[r->sym.i];
        Range own = {s->lo, s->hi};
        for (; s->same_as.i; s = &d->sym.p[r->sym.i]) { /* all of the class are bounds of its value */
            r = &d->rec.p[s->same_as.i];
            Range other =
                r->kind == DIM_SYM ? (Range){d->sym.p[r->sym.i].lo, d->sym.p[r->sym.i].hi} : range_of(d, s->same_as);
            own = (Range){max64(own.lo, other.lo), min64(own.hi, other.hi)};
            if (r->kind != DIM_SYM) break;
        }
        return own;
    }
    Range a = range_of(d, r->a), b = range_of(d, r->b);
    switch (r->kind) {
    case DIM_ADD: return (Range){sat_add(a.lo, b.lo, MINF), sat_add(a.hi, b.hi, PINF)};
    case DIM_MUL: return range_mul(a, b);
    case DIM_FLOORDIV: return range_div(a, b);
    case DIM_MOD: return range_mod(a, b);
    case DIM_MIN: return (Range){min64(a.lo, b.lo), min64(a.hi, b.hi)};
    case DIM_MAX: return (Range){max64(a.lo, b.lo), max64(a.hi, b.hi)};
    case DIM_BCAST: return (Range){a.lo >= 1 && b.lo >= 1 ? max64(a.lo, b.lo) : min64(a.lo, b.lo), max64(a.hi, b.hi)};
    default: return anything;
    }
}

static Range term_range(const Dims *d, const Term *t)
{
    Range r = {t->c, t->c};
    for (uint32_t i = 0; i < t->n; i++) r = range_mul(r, range_of(d, t->f[i]));
    return r;
}

/* The lower bound of p without term `skip`, times k, plus c*x: what poly_lower's replacements come down to. */
static int64_t lower_with(const Dims *d, const Poly *p, uint32_t skip, int64_t k, int64_t c, Dim x, int64_t more,
                          int64_t want, int depth)
{
    Poly rest, all;
    poly_copy(&rest, p);
    poly_remove(&rest, skip);
    poly_zero(&all);
    if (poly_add_poly(d, &all, k, &rest) || poly_add_dim(d, &all, c, x) || poly_add_const(d, &all, more)) return MINF;
    return poly_lower(d, &all, want, depth - 1);
}

static int64_t relax(const Dims *d, const Poly *p, uint32_t i, int64_t want, int depth)
{
    const Term *t = &p->t[i];
    const DimRec *r = &d->rec.p[t->f[0].i];
    int64_t c = t->c, k, more = 0, low;
    switch (r->kind) {
    case DIM_FLOORDIV:
        if (!dim_is_const(d, r->b, &k) || k <= 0) return MINF;
        if (c > 0 && __builtin_mul_overflow(c, 1 - k, &more)) return MINF;
        if (__builtin_mul_overflow(want, k, &want)) want = PINF;
        low = lower_with(d, p, i, k, c, r->a, more, want, depth);
        return low == MINF || low == PINF ? low : floor_div(low, k) + (low % k != 0);
    case DIM_MOD:
        if (c > 0 || range_of(d, r->a).lo < 0 || range_of(d, r->b).lo < 0) return MINF;
        return lower_with(d, p, i, 1, c, r->a, 0, want, depth);
    case DIM_MIN:
    case DIM_MAX:
    case DIM_BCAST: {
        int64_t x = lower_with(d, p, i, 1, c, r->a, 0, want, depth),
                y = lower_with(d, p, i, 1, c, r->b, 0, want, depth);
        bool as_max =
            r->kind == DIM_MAX || (r->kind == DIM_BCAST && range_of(d, r->a).lo >= 1 && range_of(d, r->b).lo >= 1);
        bool either = (r->kind == DIM_MIN && c < 0) || (as_max && c > 0);
        return either ? max64(x, y) : min64(x, y);
    }
    default: return MINF;
    }
}

int64_t poly_lower(const Dims *d, const Poly *p, int64_t want, int depth)
{
    int64_t best = 0;
    if (p->n > 8 && depth > 1) depth = 1; /* the search grows with terms to the power of depth */
    for (uint32_t i = 0; i < p->n; i++) best = sat_add(best, term_range(d, &p->t[i]).lo, MINF);
    for (uint32_t i = 0; i < p->n && depth > 0 && best < want; i++)
        if (p->t[i].n == 1) best = max64(best, relax(d, p, i, want, depth));
    return best;
}

/* p = a - b; false: it does not fit. */
static bool difference(const Dims *d, Dim a, Dim b, Poly *p)
{
    poly_zero(p);
    return !poly_add_dim(d, p, 1, a) && !poly_add_dim(d, p, -1, b);
}

void dim_bounds(const Dims *d, Dim x, int64_t *lo, int64_t *hi)
{
    *lo = MINF;
    *hi = PINF;
    if (!x.i) return;
    Range r = range_of(d, x);
    *lo = r.lo;
    *hi = r.hi;
    if (d->rec.p[x.i].kind != DIM_ADD) return;
    Poly up, down;
    poly_zero(&up);
    poly_zero(&down);
    if (!poly_add_dim(d, &up, 1, x)) *lo = max64(*lo, poly_lower(d, &up, PINF, 2));
    if (!poly_add_dim(d, &down, -1, x)) {
        int64_t low = poly_lower(d, &down, PINF, 2);
        if (low != MINF) *hi = min64(*hi, -low);
    }
}

int64_t dim_divisor(const Dims *d, Dim x)
{
    const DimRec *r = &d->rec.p[x.i];
    int64_t k, g;
    if (r->kind == DIM_CONST) return r->k == MINF ? 1 : (int64_t)dim_abs(r->k);
    if (r->kind == DIM_SYM) {
        const SymRec *s = &d->sym.p[r->sym.i];
        for (g = max64(s->multiple, 1); s->same_as.i; s = &d->sym.p[r->sym.i]) { /* all of the class divide its value */
            r = &d->rec.p[s->same_as.i];
            k = r->kind == DIM_SYM ? max64(d->sym.p[r->sym.i].multiple, 1) : dim_divisor(d, s->same_as);
            if (k == 0) return 0;
            int64_t lcm = g / (int64_t)gcd64((uint64_t)g, (uint64_t)k);
            if (!__builtin_mul_overflow(lcm, k, &lcm)) g = lcm;
            if (r->kind != DIM_SYM) return g;
        }
        return s->lo == 0 && s->hi == 0 ? 0 : g;
    }
    int64_t a = dim_divisor(d, r->a);
    if (r->kind == DIM_FLOORDIV) return dim_is_const(d, r->b, &k) && k > 0 && a % k == 0 ? a / k : 1;
    int64_t b = dim_divisor(d, r->b);
    if (r->kind == DIM_MUL) return __builtin_mul_overflow(a, b, &g) ? max64(a, b) : g;
    return (int64_t)gcd64((uint64_t)a, (uint64_t)b);
}

bool dim_multiple_of(const Dims *d, Dim x, int64_t k)
{
    if (!x.i || k == 0 || k == MINF) return false;
    if (k == 1 || k == -1) return true;
    if (dim_divisor(d, x) % k == 0) return true;
    int64_t lo, hi;
    dim_bounds(d, x, &lo, &hi);
    return lo == hi && lo != MINF && lo % k == 0;
}

/* With symbols replaced by what they were assumed equal to. Hash-consing new records does not change what the caller
 * can see of *d. */
static Dim settled(const Dims *d, Dim x)
{
    if (!d->merged) return x;
    Dims *cache = (Dims *)d;
    bool overflow = d->overflow;
    Dim y = dim_resolve(cache, x);
    cache->overflow = overflow;
    return y.i ? y : x;
}

/* a <= b where both have factors in common that cannot be negative: 48*B*S*S <= 24576*B*S when S <= 512. */
static bool le_divided(const Dims *d, Dim a, Dim b)
{
    Poly p, q, diff;
    poly_zero(&p);
    poly_zero(&q);
    if (poly_add_dim(d, &p, 1, a) || poly_add_dim(d, &q, 1, b) || !p.n || !q.n) return false;
    for (uint32_t i = 0; i < p.n; i++)
        for (uint32_t j = 0; j < p.t[i].n; j++)
            if (range_of(d, p.t[i].f[j]).lo < 0) return false;
    if (!poly_cancel(d, &p, &q)) return false;
    poly_copy(&diff, &q);
    return !poly_add_poly(d, &diff, -1, &p) && poly_lower(d, &diff, 0, RELAX_DEPTH) >= 0;
}

Tri dim_le(const Dims *d, Dim a, Dim b)
{
    if (!a.i || !b.i) return TRI_UNKNOWN;
    if (a.i == b.i) return TRI_YES;
    a = settled(d, a);
    b = settled(d, b);
    Range x = range_of(d, a), y = range_of(d, b);
    if (x.hi <= y.lo) return TRI_YES;
    if (x.lo > y.hi) return TRI_NO;
    Poly p;
    if (difference(d, b, a, &p) && poly_lower(d, &p, 0, RELAX_DEPTH) >= 0) return TRI_YES;
    if (difference(d, a, b, &p) && poly_lower(d, &p, 1, RELAX_DEPTH) >= 1) return TRI_NO;
    return le_divided(d, a, b) ? TRI_YES : TRI_UNKNOWN;
}

/* Every value of p leaves the same nonzero rest by some number. */
static bool never_zero(const Dims *d, const Poly *p)
{
    int64_t k = poly_constant(p);
    uint64_t g = 0;
    for (uint32_t i = 0; i < p->n; i++) {
        const Term *t = &p->t[i];
        if (!t->n) continue;
        uint64_t part = dim_abs(t->c);
        for (uint32_t j = 0; j < t->n; j++)
            if (__builtin_mul_overflow(part, (uint64_t)dim_divisor(d, t->f[j]), &part)) part = dim_abs(t->c), j = t->n;
        g = gcd64(g, part);
    }
    return g == 0 ? k != 0 : dim_abs(k) % g != 0;
}

Tri dim_eq(const Dims *d, Dim a, Dim b)
{
    if (!a.i || !b.i) return TRI_UNKNOWN;
    if (a.i == b.i) return TRI_YES;
    a = settled(d, a);
    b = settled(d, b);
    if (a.i == b.i) return TRI_YES;
    Range x = range_of(d, a), y = range_of(d, b);
    if (x.lo > y.hi || y.lo > x.hi) return TRI_NO;
    if (x.lo == x.hi && y.lo == y.hi && x.lo == y.lo) return TRI_YES;
    Poly p, q;
    if (!difference(d, a, b, &p) || !difference(d, b, a, &q)) return TRI_UNKNOWN;
    if (p.n == 0) return TRI_YES;
    if (never_zero(d, &p)) return TRI_NO;
    int64_t up = poly_lower(d, &p, 1, RELAX_DEPTH), down = poly_lower(d, &q, 1, RELAX_DEPTH);
    if (up >= 1 || down >= 1) return TRI_NO;
    return up >= 0 && down >= 0 ? TRI_YES : TRI_UNKNOWN;
}
