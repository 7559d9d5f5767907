/* where.c: Where: cond ? x : y, all three broadcast. */
#include "ir/graph/eval.h"
#include "ir/graph/infer.h"
#include "ir/graph/lower.h"
#include "ir/ops/grad.h"

static const Port P_IN[] = {{"condition", DTS_BOOL, 0, 0}, {"X", DTS_MOVE, 0, 1}, {"Y", DTS_MOVE, 0, 1}, PORT_END};
static const Port P_OUT[] = {{"output", DTS_MOVE, 0, 1}, PORT_END};

static KVal scalar(Lw *l, Node n, const KVal *x, const DType *in) { return (void)n, (void)in, kb_select(l->b, x[0], x[1], x[2]); }

/* Exporters choose between -1 and a dim with Where(Equal(shape, -1), ...). */
static bool propagate(Infer *c)
{
    const Dim *p, *x, *y;
    uint32_t np, nx, ny;
    if (!dtype_is_int(infer_elem(c, 1)) || !infer_content(c, 0, &p, &np) || !infer_content(c, 1, &x, &nx) || !infer_content(c, 2, &y, &ny)) return true;
    uint32_t n = np > nx ? np : nx;
    n = n > ny ? n : ny;
    Dim o[CONTENT_MAX];
    for (int k = 0; k < 3; k++)
        if (infer_rank(c, (uint32_t)k) > 1) return true;
    if ((np != n && np != 1) || (nx != n && nx != 1) || (ny != n && ny != 1)) return true;
    for (uint32_t i = 0; i < n; i++) {
        int64_t k;
        if (!dim_is_const(c->d, p[np == 1 ? 0 : i], &k)) return true;
        o[i] = k ? x[nx == 1 ? 0 : i] : y[ny == 1 ? 0 : i];
    }
    infer_set_content(c, 0, o, n);
    return true;
}

static bool eval(Eval *e)
{
    int64_t dim[RANK_MAX];
    int rank;
    if (!ev_broadcast_dims(e, (uint32_t[]){0, 1, 2}, 3, dim, &rank)) return false;
    Tensor *o = ev_out(e, 0, e->in[1]->elem, rank, dim);
    for (int64_t k = 0; o && k < o->count; k++) {
        const Tensor *from = ev_i(e->in[0], ev_broadcast_index(e->in[0], o, k)) ? e->in[1] : e->in[2];
        ev_copy(o, k, from, ev_broadcast_index(from, o, k));
    }
    return o != NULL;
}

const OpDesc op_Where = {.name = "Where", .since = 16, .cls = CLS_ELTWISE, .in = P_IN, .out = P_OUT, .propagate = propagate, .scalar = scalar, .grad = grad_where, .eval = eval};
