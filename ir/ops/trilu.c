/* trilu.c: Trilu: the upper or lower triangle of each matrix, zeros elsewhere: a route with a predicate.
 *   upper: out[..., i, j] = j >= i + k ? in[..., i, j] : 0        lower: out[..., i, j] = j <= i + k ? in[..., i, j] : 0
 * Beyond the triangle nothing is loaded. k may be computed while the model runs. */
#include "ir/ops/axes.h"
#include "ir/ops/grad.h"

static const Port P_IN[] = {{"input", DTS_MOVE, 0, 1}, {"k", DTS(DT_I64), PORT_OPTIONAL, 0}, PORT_END};
static const Port P_OUT[] = {{"output", DTS_MOVE, 0, 1}, PORT_END};
typedef struct Trilu { uint64_t set; int64_t upper; } Trilu;
static const AttrSpec ATTRS_[] = {A_INT(Trilu, upper, 1), A_END};

static bool infer(Infer *c)
{
    if (!infer_need_rank(c, 0, 2, -1) || (infer_has(c, 1) && !infer_need_rank(c, 1, 0, 0))) return false;
    return infer_like(c, 0, 0);
}

static bool route(Lw *l, Node n, const KVal *out, Route *r)
{
    Kb *b = l->b;
    int rank = value_trec(l->g, node_in(l->g, n, 0))->rank;
    for (int a = 0; a < rank; a++) r->idx[a] = out[a];
    KVal above = kb_sub(b, out[rank - 1], out[rank - 2]), k = lw_has(l, 1) ? lw_at(l, 1, &(KVal){0}) : kb_i(b, 0);
    *r->pred = kb_bin(b, ATTRS(l->g, n, Trilu)->upper ? KOP_GE : KOP_LE, above, k);
    return true;
}

static bool eval(Eval *e)
{
    const Tensor *x = e->in[0];
    int64_t k = ev_has(e, 1) ? ev_i(e->in[1], 0) : 0, at[RANK_MAX];
    bool upper = ATTRS(e->g, e->n, Trilu)->upper != 0;
    Tensor *y = ev_out(e, 0, x->elem, x->rank, x->dim);
    for (int64_t i = 0; y && i < y->count; i++) {   /* y is zeroed */
        unflatten(y, i, at);
        int64_t above = at[x->rank - 1] - at[x->rank - 2];
        if (upper ? above >= k : above <= k) ev_copy(y, i, x, i);
    }
    return y != NULL;
}

const OpDesc op_Trilu = {.name = "Trilu", .since = 14, .cls = CLS_MOVE, .in = P_IN, .out = P_OUT, .attrs = ATTRS_, .attrs_size = sizeof(Trilu),
                         .infer = infer, .route = route, .grad = grad_self, .eval = eval};
