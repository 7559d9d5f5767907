/* dim_poly.c: arithmetic on the normal form. 3*N*M + N - 2 is the terms {3,[M,N]} {1,[N]} {-2,[]}. */
#include "ir/dim_poly.h"
#include "base/num.h"
#include <assert.h>
#include <string.h>

int dim_order(const Dims *d, Dim x, Dim y)
{
    if (x.i == y.i) return 0;
    const DimRec *a = &d->rec.p[x.i], *b = &d->rec.p[y.i];
    if (a->kind != b->kind) return a->kind < b->kind ? -1 : 1;
    switch (a->kind) {
    case DIM_CONST: return a->k < b->k ? -1 : 1;
    case DIM_SYM:
        return strcmp(name_str(d->names, d->sym.p[a->sym.i].name), name_str(d->names, d->sym.p[b->sym.i].name));
    default: break;
    }
    int c = dim_order(d, a->a, b->a);
    return c ? c : dim_order(d, a->b, b->b);
}

/* Monomials: < 0 when s comes first. */
static int term_order(const Dims *d, const Term *s, const Term *t)
{
    if (s->n != t->n) return s->n > t->n ? -1 : 1;
    for (uint32_t i = 0; i < s->n; i++) {
        int c = dim_order(d, s->f[i], t->f[i]);
        if (c) return c;
    }
    return 0;
}

static void term_copy(Term *to, const Term *from)
{
    to->c = from->c;
    to->n = from->n;
    for (uint32_t i = 0; i < from->n; i++) to->f[i] = from->f[i];
}

void poly_copy(Poly *to, const Poly *from)
{
    to->n = from->n;
    for (uint32_t i = 0; i < from->n; i++) term_copy(&to->t[i], &from->t[i]);
}

void poly_remove(Poly *p, uint32_t term)
{
    p->n--;
    for (uint32_t i = term; i < p->n; i++) term_copy(&p->t[i], &p->t[i + 1]);
}

static PolyStatus add_term(const Dims *d, Poly *p, const Term *t)
{
    if (t->c == 0) return POLY_OK;
    uint32_t lo = 0, hi = p->n;
    while (lo < hi) {
        uint32_t mid = (lo + hi) / 2;
        int c = term_order(d, &p->t[mid], t);
        if (c == 0) {
            if (__builtin_add_overflow(p->t[mid].c, t->c, &p->t[mid].c)) return POLY_OVERFLOW;
            if (p->t[mid].c == 0) poly_remove(p, mid);
            return POLY_OK;
        }
        if (c < 0) lo = mid + 1;
        else hi = mid;
    }
    if (p->n == POLY_TERMS) return POLY_BIG;
    for (uint32_t i = p->n; i > lo; i--) term_copy(&p->t[i], &p->t[i - 1]);
    term_copy(&p->t[lo], t);
    p->n++;
    return POLY_OK;
}

/* t *= x, for x a product of constants and atoms. */
static PolyStatus term_times(const Dims *d, Term *t, Dim x)
{
    const DimRec *r = &d->rec.p[x.i];
    if (r->kind == DIM_CONST) return __builtin_mul_overflow(t->c, r->k, &t->c) ? POLY_OVERFLOW : POLY_OK;
    if (r->kind == DIM_MUL) {
        PolyStatus s = term_times(d, t, r->a);
        return s ? s : term_times(d, t, r->b);
    }
    if (t->n == POLY_DEGREE) return POLY_BIG;
    uint32_t i = t->n++;
    for (; i > 0 && dim_order(d, x, t->f[i - 1]) < 0; i--) t->f[i] = t->f[i - 1];
    t->f[i] = x;
    return POLY_OK;
}

PolyStatus poly_add_dim(const Dims *d, Poly *p, int64_t c, Dim x)
{
    const DimRec *r = &d->rec.p[x.i];
    if (r->kind == DIM_ADD) {
        PolyStatus s = poly_add_dim(d, p, c, r->a);
        return s ? s : poly_add_dim(d, p, c, r->b);
    }
    Term t;
    t.c = c;
    t.n = 0;
    PolyStatus s = term_times(d, &t, x);
    return s ? s : add_term(d, p, &t);
}

PolyStatus poly_add_const(const Dims *d, Poly *p, int64_t c)
{
    Term t;
    t.c = c;
    t.n = 0;
    return add_term(d, p, &t);
}

PolyStatus poly_add_poly(const Dims *d, Poly *p, int64_t c, const Poly *q)
{
    for (uint32_t i = 0; i < q->n; i++) {
        Term t;
        term_copy(&t, &q->t[i]);
        if (__builtin_mul_overflow(t.c, c, &t.c)) return POLY_OVERFLOW;
        PolyStatus s = add_term(d, p, &t);
        if (s) return s;
    }
    return POLY_OK;
}

static PolyStatus term_mul(const Dims *d, const Term *s, const Term *t, Term *out)
{
    if (__builtin_mul_overflow(s->c, t->c, &out->c)) return POLY_OVERFLOW;
    out->n = 0;
    if (s->n + t->n > POLY_DEGREE) return POLY_BIG;
    uint32_t i = 0, j = 0;
    while (i < s->n || j < t->n) {
        bool first = j == t->n || (i < s->n && dim_order(d, s->f[i], t->f[j]) <= 0);
        out->f[out->n++] = first ? s->f[i++] : t->f[j++];
    }
    return POLY_OK;
}

/* p += t * q */
static PolyStatus add_product(const Dims *d, Poly *p, const Term *t, const Poly *q)
{
    for (uint32_t i = 0; i < q->n; i++) {
        Term u;
        PolyStatus s = term_mul(d, t, &q->t[i], &u);
        if (!s) s = add_term(d, p, &u);
        if (s) return s;
    }
    return POLY_OK;
}

PolyStatus poly_mul(const Dims *d, const Poly *a, const Poly *b, Poly *out)
{
    assert(out != a && out != b);
    poly_zero(out);
    if (a->n * b->n > POLY_TERMS) return POLY_BIG;
    for (uint32_t i = 0; i < a->n; i++) {
        PolyStatus s = add_product(d, out, &a->t[i], b);
        if (s) return s;
    }
    return POLY_OK;
}

/* out = s / t as monomials with an integer coefficient; false: not divisible. */
static bool term_div(const Dims *d, const Term *s, const Term *t, Term *out)
{
    if (t->c == -1 ? s->c == INT64_MIN : s->c % t->c != 0) return false;
    out->c = s->c / t->c;
    out->n = 0;
    uint32_t j = 0;
    for (uint32_t i = 0; i < s->n; i++)
        if (j < t->n && dim_order(d, s->f[i], t->f[j]) == 0) j++;
        else out->f[out->n++] = s->f[i];
    return j == t->n;
}

bool poly_div_exact(const Dims *d, const Poly *a, const Poly *b, Poly *q)
{
    poly_zero(q);
    if (b->n == 0) return false;
    Poly rest;
    poly_copy(&rest, a);
    while (rest.n) {
        Term t, minus;
        if (!term_div(d, &rest.t[0], &b->t[0], &t) || t.c == INT64_MIN) return false;
        if (add_term(d, q, &t)) return false;
        term_copy(&minus, &t);
        minus.c = -t.c;
        if (add_product(d, &rest, &minus, b)) return false;
    }
    return true;
}

bool poly_is_const(const Poly *p, int64_t *k)
{
    if (p->n > 1 || (p->n == 1 && p->t[0].n)) return false;
    *k = poly_constant(p);
    return true;
}

int64_t poly_constant(const Poly *p) { return p->n && p->t[p->n - 1].n == 0 ? p->t[p->n - 1].c : 0; }

bool poly_cancel(const Dims *d, Poly *a, Poly *b)
{
    if (!a->n || !b->n) return false;
    Term common;
    term_copy(&common, &a->t[0]);
    uint64_t g = 0;
    Poly *both[2] = {a, b};
    for (int w = 0; w < 2; w++)
        for (uint32_t i = 0; i < both[w]->n; i++) {
            const Term *t = &both[w]->t[i];
            g = gcd64(g, dim_abs(t->c));
            uint32_t kept = 0;
            for (uint32_t x = 0, y = 0; x < common.n; x++) { /* both lists are sorted */
                while (y < t->n && dim_order(d, t->f[y], common.f[x]) < 0) y++;
                if (y < t->n && dim_order(d, t->f[y], common.f[x]) == 0) {
                    common.f[kept++] = common.f[x];
                    y++;
                }
            }
            common.n = kept;
        }
    if (g > INT64_MAX) g = 1;
    common.c = (int64_t)g;
    if (common.c == 1 && common.n == 0) return false;
    for (int w = 0; w < 2; w++)
        for (uint32_t i = 0; i < both[w]->n; i++) {
            Term t;
            bool ok = term_div(d, &both[w]->t[i], &common, &t);
            assert(ok);
            (void)ok;
            term_copy(&both[w]->t[i], &t); /* dividing all by one monomial keeps their order */
        }
    return true;
}

Dim dim_cons(Dims *d, DimKind kind, Dim a, Dim b)
{
    if (!a.i || !b.i) return DIM_NONE;
    assert(a.i < 1u << 29 && b.i < 1u << 29); /* 4 G records of 40 bytes do not fit anyway */
    uint64_t key = (uint64_t)kind << 58 | (uint64_t)a.i << 29 | b.i, found;
    if (map_get(&d->by_hash, key, &found)) return (Dim){(uint32_t)found};
    uint32_t size = d->rec.p[a.i].size + d->rec.p[b.i].size + 1;
    if (size > DIM_SIZE_MAX) {
        d->overflow = true;
        return DIM_NONE;
    }
    Dim x = {d->rec.n};
    vec_push(d->arena, &d->rec, (DimRec){.kind = kind, .a = a, .b = b, .size = size});
    map_put(&d->by_hash, key, x.i);
    return x;
}

Dim poly_build(Dims *d, const Poly *p)
{
    if (p->n == 0) return dim_const(d, 0);
    Dim sum = DIM_NONE;
    for (uint32_t i = 0; i < p->n; i++) {
        const Term *t = &p->t[i];
        Dim x = t->n ? t->f[0] : dim_const(d, t->c);
        for (uint32_t j = 1; j < t->n; j++) x = dim_cons(d, DIM_MUL, x, t->f[j]);
        if (t->n && t->c != 1) x = dim_cons(d, DIM_MUL, dim_const(d, t->c), x);
        sum = i ? dim_cons(d, DIM_ADD, sum, x) : x;
    }
    return sum;
}
