/* dropout.c: Dropout. In inference the data as they are, and a mask that is all true; with training_mode (which the run
 * may decide) elements fall away at random:
 *   mask = !training | u >= ratio;   output = mask ? data * (training ? 1 / (1 - ratio) : 1) : 0
 * Before opset 7 the mode was an attribute (is_test, 0 by default: training), before 12 there was none: inference then. */
#include "ir/graph/eval.h"
#include "ir/ops/compose.h"
#include "ir/ops/random.h"
#include <string.h>

static const Port P_IN[] = {{"data", DTS_FLOAT | DTS_FLOAT8, 0, 1},
                            {"ratio", DTS_FLOAT | DTS_FLOAT8, PORT_OPTIONAL, 0},
                            {"training_mode", DTS_BOOL, PORT_OPTIONAL, 0},
                            PORT_END};
static const Port P_OUT[] = {{"output", DTS_FLOAT | DTS_FLOAT8, 0, 1}, {"mask", DTS_BOOL, PORT_OPTIONAL, 0}, PORT_END};
typedef struct Dropout {
    uint64_t set;
    int64_t seed, is_test;
    double ratio;
} Dropout;
static const AttrSpec ATTRS_[] = {A_INT(Dropout, seed, 0), A_INT(Dropout, is_test, 0), A_FLOAT(Dropout, ratio, 0.5),
                                  A_END};

static bool upgrade(Graph *g, Node n, int64_t opset)
{
    Dropout *a = node_rec(g, n)->attrs;
    if (opset >= 12) return true;
    if (opset < 7 && !a->is_test && node_n_in(g, n) == 1) {
        Ex x = ex_begin(g, n);
        if (!(a->set & 2)) diag(g->m->diag, graph_loc(g, n), E_DROPS, (long long)opset);
        graph_add_input(g, n, ex_f(&x, DT_F32, (float)a->ratio));
        graph_add_input(g, n, ex_i(&x, DT_BOOL, 1));
    }
    a->set = 0;
    Value data = node_in(g, n, 0);
    DType t = value_type(g, data).i ? value_trec(g, data)->elem : DT_NONE;
    if (opset >= 10 || node_n_out(g, n) < 2 || !t) return true;
    /* the mask was of the data's type */
    struct { uint64_t set; int64_t to; } cast = {1, t};
    Node c = graph_add(g, OP_Cast, (Value[]){node_out(g, n, 1)}, 1, 1, attrs_new(g->m->arena, &op_Cast), node_rec(g, n)->loc, node_next(g, n));
    memcpy(node_rec(g, c)->attrs, &cast, sizeof cast);
    graph_replace_uses(g, node_out(g, n, 1), node_out(g, c, 0));
    graph_set_input(g, c, 0, node_out(g, n, 1));
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

/* Does it certainly leave the data as they are? */
static bool is_still(const Graph *g, Node n)
{
    double training = 0, ratio = 0.5;
    bool mode = node_n_in(g, n) > 2 && node_in(g, n, 2).i, known = !mode || number(g, node_in(g, n, 2), &training);
    if (known && !training) return true;
    return node_n_in(g, n) > 1 && node_in(g, n, 1).i && number(g, node_in(g, n, 1), &ratio) && ratio == 0;
}

static bool infer(Infer *c)
{
    double ratio;
    if (infer_has(c, 1) && number(c->g, node_in(c->g, c->n, 1), &ratio) && !(ratio >= 0 && ratio <= 1))
        return infer_fail(c, "the ratio is %g", ratio);
    for (uint32_t k = 1; k < 3; k++)
        if (infer_has(c, k) && !infer_need_rank(c, k, 0, 1)) return false;
    if (!infer_like(c, 0, 0)) return false;
    const TypeRec *x = infer_in(c, 0);
    return node_n_out(c->g, c->n) < 2 || infer_set(c, 1, DT_BOOL, x->rank == RANK_UNKNOWN ? -1 : x->rank, x->dim);
}

static Value equivalent(Graph *g, Node n, uint32_t r) { return r == 0 && is_still(g, n) ? node_in(g, n, 0) : VALUE_NONE; }

static bool expand(Graph *g, Node n)
{
    const Dropout *a = ATTRS(g, n, Dropout);
    Ex x = ex_begin(g, n);
    Value data = ex_in(&x, 0), out[2];
    if (is_still(g, n)) {
        bool used = node_n_out(g, n) > 1 && value_used(g, node_out(g, n, 1));
        out[1] = used ? ex2(&x, OP_Expand, ex_i(&x, DT_BOOL, 1), ex1(&x, OP_Shape, data)) : VALUE_NONE;
        out[0] = ex1(&x, OP_Identity, data);
        return ex_end(&x, out, 2);
    }
    DType t = ex_elem(&x, data), compute = t == DT_F64 ? DT_F64 : DT_F32, drawn = DTS(t) & DTS_FLOAT ? t : compute;
    Value ratio = ex_in(&x, 1).i ? ex_scalar(&x, ex_in(&x, 1), compute) : ex_f(&x, compute, 0.5), one = ex_f(&x, compute, 1);
    Value training = ex_scalar(&x, ex_in(&x, 2), DT_BOOL), zero = ex_f(&x, compute, 0);
    Value u = random_uniform(&x, ex1(&x, OP_Shape, data), drawn, false, attr_given(node_desc(g, n), a, 0), (double)a->seed);
    out[1] = ex2(&x, OP_Or, ex1(&x, OP_Not, training), ex2(&x, OP_GreaterOrEqual, u, ratio));
    Value scale = ex3(&x, OP_Where, training, ex2(&x, OP_Div, one, ex2(&x, OP_Sub, one, ratio)), one);
    Value kept = ex2(&x, OP_Mul, ex_cast(&x, data, compute), scale);
    out[0] = ex_cast(&x, ex3(&x, OP_Where, out[1], kept, zero), t);
    return ex_end(&x, out, 2);
}

static bool eval(Eval *e)
{
    const Tensor *x = e->in[0];
    const Dropout *a = ATTRS(e->g, e->n, Dropout);
    bool training = ev_has(e, 2) && ev_i(e->in[2], 0), wide = x->elem == DT_F64;
    double ratio = ev_has(e, 1) ? ev_f(e->in[1], 0) : 0.5;
    float f = (float)a->seed;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    uint64_t key = attr_given(node_desc(e->g, e->n), a, 0) ? (uint64_t)1 << 32 | bits : 0;
    Tensor *y = ev_out(e, 0, x->elem, x->rank, x->dim), *mask = e->n_out > 1 ? ev_out(e, 1, DT_BOOL, x->rank, x->dim) : NULL;
    for (int64_t k = 0; y && k < x->count; k++) {
        bool keep = !training || random_reference(key, (uint64_t)k, false, wide) >= ratio;
        ev_set_f(y, k, !keep ? 0 : training ? ev_f(x, k) / (1 - ratio) : ev_f(x, k));
        if (mask) ev_set_i(mask, k, keep);
    }
    return y && (e->n_out < 2 || mask);
}

const OpDesc op_Dropout = {.name = "Dropout",
                           .since = 22,
                           .cls = CLS_OPAQUE,
                           .flags = OPF_RANDOM,
                           .in = P_IN,
                           .out = P_OUT,
                           .attrs = ATTRS_,
                           .attrs_size = sizeof(Dropout),
                           .upgrade = upgrade,
                           .infer = infer,
                           .equivalent = equivalent,
                           .expand = expand,
                           .eval = eval};
