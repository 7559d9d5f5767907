/* gather_nd.c: GatherND: slices at index tuples, with leading batch axes in common.
 *   out[b..., t..., s...] = data[b..., indices[b..., t..., 0..k-1], s...]
 * An index out of range is recorded and reported by run; nothing is read outside the operand. */
#include "ir/ops/grad.h"
#include "ir/ops/index.h"

static const Port P_IN[] = {{"data", DTS_MOVE, 0, 1}, {"indices", DTS(DT_I64), 0, 0}, PORT_END};
static const Port P_OUT[] = {{"output", DTS_MOVE, 0, 1}, PORT_END};
typedef struct GatherNd { uint64_t set; int64_t batch_dims; } GatherNd;
static const AttrSpec ATTRS_[] = {A_INT(GatherNd, batch_dims, 0), A_END};

static bool infer(Infer *c)
{
    int64_t batch = ATTRS(c->g, c->n, GatherNd)->batch_dims, k;
    if (!infer_need_rank(c, 0, 1, -1) || !infer_need_rank(c, 1, 1, -1)) return false;
    int r = infer_rank(c, 0), q = infer_rank(c, 1), rank = 0;
    if (batch < 0 || batch >= r || batch >= q) return infer_fail(c, "batch_dims=%lld for ranks %d and %d", (long long)batch, r, q);
    if (!dim_is_const(c->d, infer_dim(c, 1, q - 1), &k)) return infer_fail(c, "the last dimension of the indices must be known at compile time");
    if (k < 1 || k > r - batch) return infer_fail(c, "index tuples of %lld for data of rank %d", (long long)k, r);
    if (q - 1 + r - batch - k > RANK_MAX) return infer_fail(c, "the result would have rank %d", (int)(q - 1 + r - batch - k));
    Dim dim[2 * RANK_MAX];
    for (int i = 0; i < q - 1; i++) {
        if (i < batch && !infer_must_eq(c, infer_dim(c, 1, i), infer_dim(c, 0, i), "batch dimension")) return false;
        dim[rank++] = infer_dim(c, 1, i);
    }
    for (int i = (int)(batch + k); i < r; i++) dim[rank++] = infer_dim(c, 0, i);
    return infer_set(c, 0, infer_elem(c, 0), rank, dim);
}

/* Is there an element 0 to read where an index is out of range (what index_checked makes of it)? */
static bool never_empty(Lw *l, int batch, int64_t k)
{
    bool some = true;
    for (int j = 0; j < k; j++) {
        int64_t lo, hi;
        dim_bounds(&l->m->dims, lw_dim(l, 0, batch + j), &lo, &hi);
        some = some && lo > 0;
    }
    return some;
}

static bool lower(Lw *l, Node n)
{
    int batch = (int)ATTRS(l->g, n, GatherNd)->batch_dims, q = lw_rank(l, 1), rank = lw_out_rank(l, 0);
    int64_t k;
    KVal out[RANK_MAX], tuple[RANK_MAX], at[RANK_MAX], ok, each;
    if (!dim_is_const(&l->m->dims, lw_dim(l, 1, q - 1), &k)) return lw_fail(l, "index tuples of unknown length");
    lw_prepare_in(l);
    KBuf src = lw_in_strided(l, 0);
    lw_in_strided(l, 1);
    lw_out(l, 0);
    Kb *b = lw_kernel(l, "gather_nd");
    /* the tuple is looked up once for each slice */
    for (int i = 0; i < q - 1; i++) out[i] = tuple[i] = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, lw_out_dim(l, 0, i)));
    for (int i = 0; i < batch; i++) at[i] = out[i];
    ok = kb_const_i(b, DT_BOOL, 1);
    for (int j = 0; j < k; j++) {
        tuple[q - 1] = kb_i(b, j);
        at[batch + j] = index_checked(l, lw_at(l, 1, tuple), lw_dim(l, 0, batch + j), &each);
        ok = kb_and(b, ok, each);
    }
    for (int i = q - 1; i < rank; i++) out[i] = at[batch + k + i - (q - 1)] = kb_for(b, KLOOP_SEQ, kb_i(b, 0), kb_dim(b, lw_out_dim(l, 0, i)));
    lw_put(l, 0, out, never_empty(l, batch, k) ? lw_at(l, 0, at) : kb_load_if(b, kb_param(b, src, false), at, ok, (KVal){0}));
    lw_end_nest(l, rank);
    lw_kernel_end(l);
    return true;
}

static bool eval(Eval *e)
{
    const Tensor *x = e->in[0], *t = e->in[1];
    int batch = (int)ATTRS(e->g, e->n, GatherNd)->batch_dims, rank = 0;
    int64_t k = t->dim[t->rank - 1], dim[2 * RANK_MAX], o[RANK_MAX], i[RANK_MAX], at[RANK_MAX];
    for (int a = 0; a < t->rank - 1; a++) dim[rank++] = t->dim[a];
    for (int a = batch + (int)k; a < x->rank; a++) dim[rank++] = x->dim[a];
    Tensor *y = ev_out(e, 0, x->elem, rank, dim);
    for (int64_t j = 0; y && j < y->count; j++) {
        unflatten(y, j, o);
        for (int a = 0; a < t->rank - 1; a++) at[a] = o[a];
        for (int a = 0; a < x->rank; a++) {
            if (a < batch) i[a] = o[a];
            else if (a < batch + k) {
                at[t->rank - 1] = a - batch;
                i[a] = ev_i(t, flat_index(t, at));
                if (!index_eval(e, &i[a], x->dim[a])) return false;
            } else i[a] = o[t->rank - 1 + a - batch - (int)k];
        }
        ev_copy(y, j, x, flat_index(x, i));
    }
    return y != NULL;
}

static bool has_result(const Graph *g, Node n, const Tensor *index) { return index_within(g, n, index, ATTRS(g, n, GatherNd)->batch_dims, true); }

const OpDesc op_GatherND = {.name = "GatherND", .since = 13, .cls = CLS_OPAQUE, .flags = OPF_STRIDED_OUT, .knows = 2, .in = P_IN, .out = P_OUT, .attrs = ATTRS_,
                            .attrs_size = sizeof(GatherNd), .infer = infer, .lower = lower, .grad = grad_gather_nd, .has_result = has_result, .eval = eval};
