/* dropout.c: Dropout as inference sees it: the data as they are; the mask, where somebody asks for it, is all true.
 * With training_mode elements fall away at random: refused unless the ratio is 0.
 * Before opset 7 the mode was an attribute (is_test), before 12 there was none: inference then. */
#include "ir/graph/eval.h"
#include "ir/ops/compose.h"

static const Port P_IN[] = {{"data", DTS_FLOAT, 0, 1},
                            {"ratio", DTS_FLOAT, PORT_OPTIONAL, 0},
                            {"training_mode", DTS_BOOL, PORT_OPTIONAL, 0},
                            PORT_END};
static const Port P_OUT[] = {{"output", DTS_FLOAT, 0, 1}, {"mask", DTS_BOOL, PORT_OPTIONAL, 0}, PORT_END};
typedef struct Dropout {
    uint64_t set;
    int64_t seed, is_test;
    double ratio;
} Dropout;
static const AttrSpec ATTRS_[] = {A_INT(Dropout, seed, 0), A_INT(Dropout, is_test, 1), A_FLOAT(Dropout, ratio, 0.5),
                                  A_END};

static bool upgrade(Graph *g, Node n, int64_t opset)
{
    Dropout *a = node_rec(g, n)->attrs;
    if (opset >= 12) return true;
    if (opset < 7 && a->set & 2 && !a->is_test)
        return diag(g->m->diag, graph_loc(g, n), E_OP_FORM, "Dropout in training");
    a->set = 0;
    return true;
}

/* The element of a constant of one element; false: it is not known. */
static bool number(const Graph *g, Value v, double *x)
{
    if (!value_is_const(g, v)) return false;
    const BlobRec *b = blob_rec(&g->m->blobs, value_rec(g, v)->data);
    if (b->kind == BLOB_DERIVED || b->count != 1) return false;
    *x = dtype_is_float(b->elem) ? blob_get_f(&g->m->blobs, value_rec(g, v)->data, 0)
                                 : (double)blob_get_i(&g->m->blobs, value_rec(g, v)->data, 0);
    return true;
}

static bool infer(Infer *c)
{
    double training = 0, ratio = 0.5;
    if (infer_has(c, 2) && !number(c->g, node_in(c->g, c->n, 2), &training))
        return infer_fail(c, "training_mode must be known at compile time");
    if (training && infer_has(c, 1) && !number(c->g, node_in(c->g, c->n, 1), &ratio))
        return infer_fail(c, "the ratio must be known at compile time");
    if (training && ratio) return infer_fail(c, "training_mode with a ratio of %g is not supported", ratio);
    if (!infer_like(c, 0, 0)) return false;
    const TypeRec *x = infer_in(c, 0);
    return node_n_out(c->g, c->n) < 2 || infer_set(c, 1, DT_BOOL, x->rank == RANK_UNKNOWN ? -1 : x->rank, x->dim);
}

static Value equivalent(Graph *g, Node n, uint32_t r) { return r == 0 ? node_in(g, n, 0) : VALUE_NONE; }

/* output  =>  Identity(data);   mask  =>  Expand(true, Shape(data)) */
static bool expand(Graph *g, Node n)
{
    Ex x = ex_begin(g, n);
    if (node_n_out(g, n) > 1 && value_used(g, node_out(g, n, 1)))
        ex_result(&x, 1, ex2(&x, OP_Expand, ex_i(&x, DT_BOOL, 1), ex1(&x, OP_Shape, ex_in(&x, 0))));
    ex_result(&x, 0, ex1(&x, OP_Identity, ex_in(&x, 0)));
    return !x.failed;
}

static bool eval(Eval *e)
{
    const Tensor *x = e->in[0];
    e->out[0] = e->in[0];
    Tensor *mask = e->n_out > 1 ? ev_out(e, 1, DT_BOOL, x->rank, x->dim) : NULL;
    for (int64_t k = 0; mask && k < mask->count; k++) ev_set_i(mask, k, 1);
    return e->n_out < 2 || mask;
}

const OpDesc op_Dropout = {.name = "Dropout",
                           .since = 22,
                           .cls = CLS_OPAQUE,
                           .in = P_IN,
                           .out = P_OUT,
                           .attrs = ATTRS_,
                           .attrs_size = sizeof(Dropout),
                           .upgrade = upgrade,
                           .infer = infer,
                           .equivalent = equivalent,
                           .expand = expand,
                           .eval = eval};
