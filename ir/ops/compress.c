/* compress.c: Compress: the slices along an axis (or the elements of the flattened input) whose condition holds:
 *   Compress(x, c) {axis=a}  =>  Gather(x, Squeeze(NonZero(c), [0])) {axis=a}        without an axis: of Reshape(x, [-1]).
 * Then the condition may have the shape of the input, as exporters of masks write it: it is flattened, too. */
#include "ir/ops/axes.h"
#include "ir/ops/compose.h"

static const Port P_IN[] = {{"input", DTS_MOVE, 0, 1}, {"condition", DTS_BOOL, 0, 0}, PORT_END};
static const Port P_OUT[] = {{"output", DTS_MOVE, 0, 1}, PORT_END};
typedef struct Compress { uint64_t set; int64_t axis; } Compress;
static const AttrSpec ATTRS_[] = {A_INT(Compress, axis, 0), A_END};

static bool infer(Infer *c)
{
    const Compress *a = ATTRS(c->g, c->n, Compress);
    int64_t axis = a->axis, lo, hi;
    bool flat = !(a->set & 1);
    Dim dim[RANK_MAX];
    if (!infer_need_rank(c, 0, flat ? 0 : 1, -1) || !infer_need_rank(c, 1, 1, flat && infer_rank(c, 1) > 1 ? -1 : 1)) return false;
    if (flat) axis = 0;
    else if (!infer_axis(c, &axis, infer_rank(c, 0))) return false;
    int rank = flat ? 1 : infer_rank(c, 0);
    for (int i = 0; !flat && i < rank; i++) dim[i] = infer_dim(c, 0, i);
    dim_bounds(c->d, type_count(&c->m->types, value_type(c->g, node_in(c->g, c->n, 1))), &lo, &hi);
    dim[axis] = infer_node_dim(c, 0, (int)axis, 0, hi);
    return infer_set(c, 0, infer_elem(c, 0), rank, dim);
}

static bool expand(Graph *g, Node n)
{
    const Compress *a = ATTRS(g, n, Compress);
    Ex x = ex_begin(g, n);
    Value in = node_in(g, n, 0), cond = node_in(g, n, 1);
    if (!(a->set & 1)) in = ex2(&x, OP_Reshape, in, ex_int1(&x, -1));
    if (ex_rank(&x, cond) != 1) cond = ex2(&x, OP_Reshape, cond, ex_int1(&x, -1));
    Value at = ex2(&x, OP_Squeeze, ex1(&x, OP_NonZero, cond), ex_int1(&x, 0));
    Value y = ex_axis(&x, OP_Gather, (Value[]){in, at}, 2, a->set & 1 ? a->axis : 0);
    return ex_end(&x, &y, 1);
}

static bool eval(Eval *e)
{
    const Compress *a = ATTRS(e->g, e->n, Compress);
    const Tensor *x = e->in[0], *c = e->in[1];
    bool flat = !(a->set & 1);
    int rank = flat ? 1 : x->rank, axis = flat ? 0 : (int)(a->axis < 0 ? a->axis + x->rank : a->axis);
    int64_t dim[RANK_MAX], inner = 1, len = flat ? x->count : x->dim[axis], kept = 0, to = 0;
    for (int i = 0; i < rank && !flat; i++) dim[i] = x->dim[i];
    for (int i = axis + 1; i < x->rank && !flat; i++) inner *= x->dim[i];
    for (int64_t k = 0; k < c->count; k++) kept += ev_i(c, k) != 0;
    for (int64_t k = len; k < c->count; k++)
        if (ev_i(c, k)) return ev_fail(e, "the condition is longer than the axis");
    dim[axis] = kept;
    Tensor *y = ev_out(e, 0, x->elem, rank, dim);
    for (int64_t k = 0; y && k < x->count; k++) {
        int64_t i = k / inner % len;
        if (i < c->count && ev_i(c, i)) ev_copy(y, to++, x, k);
    }
    return y != NULL;
}

const OpDesc op_Compress = {.name = "Compress", .since = 28, .cls = CLS_OPAQUE, .in = P_IN, .out = P_OUT, .attrs = ATTRS_, .attrs_size = sizeof(Compress),
                            .infer = infer, .expand = expand, .eval = eval};
