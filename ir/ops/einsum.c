/* einsum.c: Einsum, any legal equation, in terms of Transpose, Reshape, MatMul, Mul and ReduceSum.
 *   "bij,bjk->bik"   letters name axes; letters that the result does not have are summed over. Without "->" the
 *   result has, in alphabetical
 *                    order, the letters that occur once. "..." stands for any number of axes, which broadcast, first
 *                    when nothing is said.
 * Each operand is brought into simple form (a letter twice is a diagonal, letters that nobody else has are summed),
 * then operands are joined from
 * the left, two at a time: letters of both that are needed later are the batch of a product, letters of both that are
 * not are its K, the others M and N.
 * Where there is no K, the join is an element-wise product. */
#include "ir/graph/eval.h"
#include "ir/ops/compose.h"
#include "base/bug.h"
#include <string.h>

#define DTS_EINSUM DTS_NUM
static const Port P_IN[] = {{"Inputs", DTS_EINSUM, PORT_VARIADIC, 1}, PORT_END};
static const Port P_OUT[] = {{"Output", DTS_EINSUM, 0, 1}, PORT_END};
typedef struct Einsum {
    uint64_t set;
    const char *equation;
} Einsum;
static const AttrSpec ATTRS_[] = {
    {.name = "equation", .kind = ATTR_STRING, .offset = offsetof(Einsum, equation), .required = true}, A_END};

/* ---- the equation ---- */

enum { LETTERS = 52, LABELS = LETTERS + RANK_MAX }; /* A-Z a-z, then the axes of "...", the last one last */
typedef struct Term {
    int n;
    int label[2 * RANK_MAX];
} Term;
typedef struct Equation {
    uint32_t n;
    Term *in, out;
} Equation;

static int letter(char c) { return c >= 'A' && c <= 'Z' ? c - 'A' : c >= 'a' && c <= 'z' ? c - 'a' + 26 : -1; }

/* Reads one term up to a comma, "->" or the end. dots: how many axes its "..." has; -1: not known yet, *rest counts
 * its letters. */
static bool term(const char **p, Term *t, int dots, bool *has_dots, const char **why)
{
    *t = (Term){0};
    *has_dots = false;
    for (; **p && **p != ',' && !(**p == '-' && (*p)[1] == '>'); ++*p) {
        int l = letter(**p);
        if (**p == ' ') continue;
        if (t->n + (l < 0 ? dots : 1) > RANK_MAX) return *why = "a term of the equation has too many axes", false;
        if (l >= 0) t->label[t->n++] = l;
        else if (!strncmp(*p, "...", 3) && !*has_dots) {
            *has_dots = true;
            for (int i = 0; i < dots; i++) t->label[t->n++] = LABELS - dots + i;
            *p += 2;
        } else return *why = "the equation has a character that means nothing there", false;
    }
    return true;
}

static bool parse(Arena *a, const char *s, uint32_t n, const int *rank, Equation *q, const char **why)
{
    const char *p = s;
    int most = -1, count[LABELS] = {0};
    bool dots;
    *q = (Equation){.n = n, .in = arena_array(a, Term, n + 1)};
    for (uint32_t k = 0; k < n; k++) {
        const char *again = p;
        Term *t = &q->in[k];
        if (!term(&p, t, 0, &dots, why)) return false;
        if (dots ? t->n > rank[k] : t->n != rank[k])
            return *why = "a term of the equation does not fit the rank of its operand", false;
        if (dots && rank[k] - t->n > most) most = rank[k] - t->n;
        if (dots && !term(&again, t, rank[k] - t->n, &dots, why)) return false;
        for (int i = 0; i < t->n; i++) count[t->label[i]]++;
        if (*p == ',' ? k + 1 == n : k + 1 < n)
            return *why = "the equation does not have a term for each operand", false;
        if (*p == ',') p++;
    }
    if (*p) {
        p += 2;
        if (!term(&p, &q->out, most < 0 ? 0 : most, &dots, why)) return false;
        if (*p) return *why = "the equation goes on after its result", false;
        if (most > 0 && !dots) return *why = "the result of the equation lacks the axes of '...'", false;
        if (most < 0 && dots) return *why = "only the result of the equation has '...'", false;
    } else {
        for (int i = 0; i < most; i++) q->out.label[q->out.n++] = LABELS - most + i;
        for (int l = 0; l < LETTERS; l++) {
            if (count[l] != 1) continue;
            if (q->out.n == RANK_MAX) return *why = "the result of the equation has too many axes", false;
            q->out.label[q->out.n++] = l;
        }
    }
    bool seen[LABELS] = {0};
    for (int i = 0; i < q->out.n; i++) {
        int l = q->out.label[i];
        if (!count[l] && l < LETTERS)
            return *why = "the result of the equation has a letter that no operand has", false;
        if (seen[l]) return *why = "the result of the equation has a letter twice", false;
        seen[l] = true;
    }
    return true;
}

static bool infer(Infer *c)
{
    uint32_t n = node_n_in(c->g, c->n);
    int *rank = arena_array(c->m->arena, int, n + 1);
    Equation q;
    const char *why;
    for (uint32_t k = 0; k < n; k++) {
        if (!infer_need_rank(c, k, 0, -1)) return false;
        rank[k] = infer_rank(c, k);
    }
    if (!parse(c->m->arena, ATTRS(c->g, c->n, Einsum)->equation, n, rank, &q, &why)) return infer_fail(c, "%s", why);
    Dim extent[LABELS] = {{0}}, dim[RANK_MAX];
    for (uint32_t k = 0; k < n; k++)
        for (int i = 0; i < q.in[k].n; i++) {
            Dim d = infer_dim(c, k, i), *e = &extent[q.in[k].label[i]];
            int64_t x, y;
            if (!e->i || dim_is(c->d, *e, 1)) *e = d;
            else if (dim_is(c->d, d, 1) || dim_eq(c->d, *e, d) == TRI_YES) continue;
            else if (q.in[k].label[i] < LETTERS || (dim_is_const(c->d, *e, &x) && dim_is_const(c->d, d, &y))) {
                if (!infer_must_eq(c, *e, d, "axis of the equation")) return false;
            } else if (!infer_may_broadcast(c, *e, d)) return false;
            else *e = dim_bcast(c->d, *e, d);
        }
    for (int i = 0; i < q.out.n; i++) dim[i] = extent[q.out.label[i]];
    return infer_set(c, 0, infer_elem(c, 0), q.out.n, dim);
}

/* ---- in terms of others ---- */

typedef struct Part {
    Value v;
    Term t;
} Part; /* a value and what its axes are called */

static Dim dim_at(Ex *x, const Part *p, int axis) { return dim_resolve(&x->g->m->dims, ex_type(x, p->v)->dim[axis]); }

static int find(const Term *t, int label)
{
    for (int i = 0; i < t->n; i++)
        if (t->label[i] == label) return i;
    return -1;
}

static void drop(Term *t, int axis)
{
    memmove(&t->label[axis], &t->label[axis + 1], sizeof *t->label * (size_t)(t->n - axis - 1));
    t->n--;
}

/* Axes in this order; perm[i] is the axis that becomes the i-th. */
static void reorder(Ex *x, Part *p, const int *perm)
{
    int64_t at[RANK_MAX];
    Term old = p->t;
    bool same = true;
    for (int i = 0; i < old.n; i++) {
        at[i] = perm[i];
        same &= perm[i] == i;
        p->t.label[i] = old.label[perm[i]];
    }
    if (!same && !x->failed) p->v = ex_transpose(x, p->v, at, (uint32_t)old.n);
}

/* Axes i < j have the same letter: both go to the end, and their diagonal stays. A known extent n: every (n+1)th
 * element of the square; else
 * what is beside the diagonal is left out of a sum over the last axis. */
static void diagonal(Ex *x, Part *p, int i, int j)
{
    int perm[RANK_MAX], n = 0, rank = p->t.n;
    int64_t e, last = rank - 2;
    Dims *d = &x->g->m->dims;
    for (int k = 0; k < rank; k++)
        if (k != i && k != j) perm[n++] = k;
    perm[n++] = i;
    perm[n++] = j;
    reorder(x, p, perm);
    if (x->failed) return;
    Dim dim[RANK_MAX], side = dim_at(x, p, rank - 1), other = dim_at(x, p, rank - 2);
    for (int k = 0; k < rank; k++) dim[k] = dim_at(x, p, k);
    p->t.n--;
    if (dim_is(d, side, 1) || dim_is(d, other, 1)) { /* broadcast: the one element belongs to all */
        dim[rank - 2] = dim_is(d, other, 1) ? side : other;
        p->v = ex_shaped(x, p->v, dim, rank - 1);
    } else if (dim_is_const(d, side, &e)) {
        dim[rank - 2] = dim_const(d, e * e);
        Value flat = ex_shaped(x, p->v, dim, rank - 1), axis = ex_int1(x, last);
        p->v = ex_op(x, OP_Slice, (Value[]){flat, ex_int1(x, 0), ex_int1(x, e * e), axis, ex_int1(x, e + 1)}, 5, NULL);
    } else {
        Value end = ex_op(x, OP_Squeeze, (Value[]){ex_shape_part(x, p->v, rank - 1, rank)}, 1, NULL);
        Value at = ex3(x, OP_Range, ex_i(x, DT_I64, 0), end, ex_i(x, DT_I64, 1));
        Value on = x->failed ? at
                             : ex2(x, OP_Equal, ex2(x, OP_Unsqueeze, at, ex_int1(x, 0)),
                                   ex2(x, OP_Unsqueeze, at, ex_int1(x, 1)));
        if (!x->failed)
            p->v = ex_reduce(x, OP_ReduceSum, ex3(x, OP_Where, on, p->v, ex_i(x, ex_type(x, p->v)->elem, 0)),
                             (int64_t[]){last}, 1, false);
    }
}

/* No letter twice, none that nobody needs. */
static void simplify(Ex *x, Part *p, const bool *needed)
{
    int64_t axes[RANK_MAX];
    uint32_t n = 0;
    for (int j = 0; j < p->t.n && !x->failed; j++)
        for (int i = 0; i < j && !x->failed; i++)
            if (p->t.label[i] == p->t.label[j]) {
                diagonal(x, p, i, j);
                j = 0;
                break;
            }
    if (x->failed) return;
    Term old = p->t;
    p->t.n = 0;
    for (int i = 0; i < old.n; i++)
        if (needed[old.label[i]]) p->t.label[p->t.n++] = old.label[i];
        else axes[n++] = i;
    if (n) p->v = ex_reduce(x, OP_ReduceSum, p->v, axes, n, false);
}

/* An axis of one element that the other operand has longer needs no name: it broadcasts. */
static void drop_ones(Ex *x, Part *p, const Part *other)
{
    Dims *d = &x->g->m->dims;
    Dim dim[RANK_MAX];
    int n = 0;
    Term old = p->t;
    if (x->failed) return;
    for (int i = 0; i < old.n; i++) {
        int j = find(&other->t, old.label[i]);
        bool one = dim_is(d, dim_at(x, p, i), 1) && j >= 0 && !dim_is(d, dim_at(x, other, j), 1);
        if (one) {
            drop(&p->t, n);
            continue;
        }
        dim[n++] = dim_at(x, p, i);
    }
    if (n < old.n) p->v = ex_shaped(x, p->v, dim, n);
}

/* Axes ordered as batch, then `second`, then `third`, the latter two each as one axis if `merge`. */
static void arrange(Ex *x, Part *p, const Term *batch, const Term *second, const Term *third)
{
    int perm[RANK_MAX], n = 0, k = 0;
    Dim dim[RANK_MAX + 2];
    const Term *part[3] = {batch, second, third};
    for (int t = 0; t < 3; t++)
        for (int i = 0; i < part[t]->n; i++) perm[n++] = find(&p->t, part[t]->label[i]);
    reorder(x, p, perm);
    if (x->failed) return;
    for (int i = 0; i < batch->n; i++) dim[k++] = dim_at(x, p, i);
    for (int t = 1; t < 3; t++) {
        Dim d = dim_const(&x->g->m->dims, 1);
        for (int i = 0; i < part[t]->n; i++)
            d = dim_mul(&x->g->m->dims, d, dim_at(x, p, batch->n + (t == 2 ? second->n : 0) + i));
        dim[k++] = d;
    }
    if (second->n != 1 || third->n != 1) p->v = ex_shaped(x, p->v, dim, k);
}

static DType product_type(DType t)
{
    return t == DT_I8 || t == DT_I16 ? DT_I32 : t == DT_U8 || t == DT_U16 ? DT_U32 : t;
}

static void join(Ex *x, Part *a, Part *b, const bool *needed)
{
    Term batch = {0}, K = {0}, M = {0}, N = {0}, out = {0};
    Dim dim[2 * RANK_MAX];
    DType type = ex_type(x, a->v)->elem, wide = product_type(type);
    drop_ones(x, a, b);
    drop_ones(x, b, a);
    if (x->failed) return;
    for (int i = 0; i < a->t.n; i++) {
        int l = a->t.label[i], at = find(&b->t, l);
        Term *to = at < 0 ? &M : needed[l] ? &batch : &K;
        to->label[to->n++] = l;
    }
    for (int i = 0; i < b->t.n; i++)
        if (find(&a->t, b->t.label[i]) < 0) N.label[N.n++] = b->t.label[i];
    int rank = batch.n + M.n + N.n;
    if (rank > RANK_MAX || batch.n + 2 > RANK_MAX) {
        x->failed = true;
        diag(x->g->m->diag, graph_loc(x->g, x->n), E_LOWER, "an intermediate product has too many axes");
        return;
    }
    const Term *list[3] = {&batch, &M, &N};
    for (int t = 0; t < 3; t++)
        for (int i = 0; i < list[t]->n; i++) {
            int l = list[t]->label[i], ia = find(&a->t, l), ib = find(&b->t, l);
            dim[out.n] = ia < 0 ? dim_at(x, b, ib) : dim_at(x, a, ia);
            if (ia >= 0 && ib >= 0 && dim_eq(&x->g->m->dims, dim[out.n], dim_at(x, b, ib)) != TRI_YES)
                dim[out.n] = dim_bcast(&x->g->m->dims, dim[out.n], dim_at(x, b, ib));
            out.label[out.n++] = l;
        }
    if (!K.n) { /* a[batch, M, 1..] * b[batch, 1.., N] */
        Dim to[RANK_MAX], one = dim_const(&x->g->m->dims, 1);
        int perm[RANK_MAX];
        for (int i = 0; i < a->t.n; i++) perm[i] = find(&a->t, i < batch.n ? batch.label[i] : M.label[i - batch.n]);
        reorder(x, a, perm);
        for (int i = 0; i < b->t.n; i++) perm[i] = find(&b->t, i < batch.n ? batch.label[i] : N.label[i - batch.n]);
        reorder(x, b, perm);
        if (x->failed) return;
        for (int i = 0; i < rank; i++) to[i] = i < a->t.n ? dim_at(x, a, i) : one;
        if (N.n) a->v = ex_shaped(x, a->v, to, rank);
        for (int i = 0; i < rank; i++)
            to[i] = i < batch.n ? dim_at(x, b, i) : i < batch.n + M.n ? one : dim_at(x, b, i - M.n);
        if (M.n && N.n + batch.n) b->v = ex_shaped(x, b->v, to, rank);
        a->v = x->failed ? a->v : ex2(x, OP_Mul, a->v, b->v);
        a->t = out;
        return;
    }
    arrange(x, a, &batch, &M, &K);
    arrange(x, b, &batch, &K, &N);
    if (x->failed) return;
    a->v = ex2(x, OP_MatMul, ex_cast(x, a->v, wide), ex_cast(x, b->v, wide));
    a->t = out;
    if (M.n != 1 || N.n != 1) a->v = x->failed ? a->v : ex_shaped(x, a->v, dim, rank);
    if (!x->failed) a->v = ex_cast(x, a->v, type);
}

static bool expand(Graph *g, Node n)
{
    Ex x = ex_begin(g, n);
    uint32_t n_in = node_n_in(g, n);
    int *rank = arena_array(g->m->arena, int, n_in + 1), perm[RANK_MAX];
    Equation q;
    const char *why;
    for (uint32_t k = 0; k < n_in; k++) rank[k] = value_trec(g, node_in(g, n, k))->rank;
    if (!parse(g->m->arena, ATTRS(g, n, Einsum)->equation, n_in, rank, &q, &why)) BUG("Einsum was inferred: %s", why);
    Part left = {0};
    for (uint32_t k = 0; k < n_in; k++) {
        bool later[LABELS] = {0}, others[LABELS];
        for (int i = 0; i < q.out.n; i++) later[q.out.label[i]] = true;
        for (uint32_t j = k + 1; j < n_in; j++)
            for (int i = 0; i < q.in[j].n; i++) later[q.in[j].label[i]] = true;
        memcpy(others, later, sizeof others);
        for (int i = 0; k && i < left.t.n; i++) others[left.t.label[i]] = true;
        Part p = {node_in(g, n, k), q.in[k]};
        simplify(&x, &p, others);
        if (k == 0) left = p;
        else if (!x.failed) join(&x, &left, &p, later);
        if (!x.failed) simplify(&x, &left, later);
    }
    if (x.failed) return false;
    for (int i = 0; i < q.out.n; i++) perm[i] = find(&left.t, q.out.label[i]);
    reorder(&x, &left, perm);
    if (left.v.i == node_in(g, n, 0).i) left.v = ex1(&x, OP_Identity, left.v);
    return ex_end(&x, &left.v, 1);
}

/* ---- reference ---- */

static bool eval(Eval *e)
{
    int *rank = arena_array(e->arena, int, e->n_in + 1);
    Equation q;
    const char *why;
    for (uint32_t k = 0; k < e->n_in; k++) rank[k] = e->in[k]->rank;
    if (!parse(e->arena, ATTRS(e->g, e->n, Einsum)->equation, e->n_in, rank, &q, &why)) return ev_fail(e, "%s", why);
    int64_t extent[LABELS], at[LABELS] = {0}, dim[RANK_MAX];
    int sum[LABELS], n_sum = 0;
    for (int l = 0; l < LABELS; l++) extent[l] = -1;
    for (uint32_t k = 0; k < e->n_in; k++)
        for (int i = 0; i < q.in[k].n; i++) {
            int64_t d = e->in[k]->dim[i], *x = &extent[q.in[k].label[i]];
            if (*x == -1 || *x == 1) *x = d;
            else if (d != 1 && d != *x) return ev_fail(e, "axes of the equation differ");
        }
    for (int i = 0; i < q.out.n; i++) dim[i] = extent[q.out.label[i]];
    for (int l = 0; l < LABELS; l++)
        if (extent[l] >= 0 && find(&q.out, l) < 0) sum[n_sum++] = l;
    Tensor *y = ev_out(e, 0, e->in[0]->elem, q.out.n, dim);
    bool real = y && dtype_is_float(y->elem);
    for (int64_t o = 0; y && o < y->count; o++) {
        int64_t rest = o;
        for (int i = q.out.n - 1; i >= 0; i--) at[q.out.label[i]] = rest % dim[i], rest /= dim[i];
        bool more = true;
        for (int i = 0; i < n_sum; i++) {
            at[sum[i]] = 0;
            if (!extent[sum[i]]) more = false;
        }
        double s = 0;
        uint64_t si = 0;
        while (more) {
            double p = 1;
            uint64_t pi = 1;
            for (uint32_t k = 0; k < e->n_in; k++) {
                int64_t flat = 0;
                for (int i = 0; i < q.in[k].n; i++)
                    flat = flat * e->in[k]->dim[i] + (e->in[k]->dim[i] == 1 ? 0 : at[q.in[k].label[i]]);
                if (real) p *= ev_f(e->in[k], flat);
                else pi *= (uint64_t)ev_i(e->in[k], flat);
            }
            s += p;
            si += pi;
            int i = n_sum - 1;
            for (; i >= 0; i--) {
                if (++at[sum[i]] < extent[sum[i]]) break;
                at[sum[i]] = 0;
            }
            more = i >= 0;
        }
        if (real) ev_set_f(y, o, s);
        else ev_set_i(y, o, (int64_t)si);
    }
    return y != NULL;
}

const OpDesc op_Einsum = {.name = "Einsum",
                          .since = 12,
                          .cls = CLS_OPAQUE,
                          .in = P_IN,
                          .out = P_OUT,
                          .attrs = ATTRS_,
                          .attrs_size = sizeof(Einsum),
                          .infer = infer,
                          .expand = expand,
                          .eval = eval};
