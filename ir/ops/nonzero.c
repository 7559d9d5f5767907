/* nonzero.c: NonZero: the indices of the elements that are not zero, one column each, in row-major order: [rank, count]. The count is known only while running:
 * one kernel counts, its result becomes the node's symbol, a second kernel stores. A string is zero when it is empty, a complex
 * number when both its parts are. */
#include "ir/ops/axes.h"
#include "ir/ops/complex.h"
#include "ir/ops/compose.h"

static const Port P_IN[] = {{"X", DTS_MOVE, 0, 0}, PORT_END};
static const Port P_OUT[] = {{"Y", DTS(DT_I64), 0, 0}, PORT_END};

static bool infer(Infer *c)
{
    if (!infer_need_rank(c, 0, 0, -1)) return false;
    int64_t lo, hi;
    dim_bounds(c->d, type_count(&c->m->types, value_type(c->g, node_in(c->g, c->n, 0))), &lo, &hi);
    Dim dim[2] = {dim_const(c->d, infer_rank(c, 0)), infer_node_dim(c, 0, 1, 0, hi)};
    return infer_set(c, 0, DT_I64, 2, dim);
}

static KVal is_nonzero(Lw *l, const KVal *idx)
{
    KVal x = lw_at(l, 0, idx);
    DType t = kb_type(l->b, x);
    if (t == DT_BOOL) return x;
    return kb_bin(l->b, KOP_NE, x, dtype_is_float(t) ? kb_const_f(l->b, t, 0) : kb_const_i(l->b, t, 0));
}

static bool must_expand(const Graph *g, Node n)
{
    return value_trec(g, node_in(g, n, 0))->elem == DT_STR || complex_first(g, n);
}

/* Of strings and complex numbers: NonZero of what tells whether they are zero. */
static bool expand(Graph *g, Node n)
{
    Ex x = ex_begin(g, n);
    if (complex_first(g, n)) {
        Value part[2], zero = ex_f(&x, dtype_part(ex_elem(&x, ex_in(&x, 0))), 0);
        for (int k = 0; k < 2; k++) part[k] = ex1(&x, OP_Not, ex2(&x, OP_Equal, complex_part(&x, ex_in(&x, 0), k), zero));
        Value any = ex1(&x, OP_NonZero, ex2(&x, OP_Or, part[0], part[1]));
        return ex_end(&x, &any, 1);
    }
    Value empty = ex2(&x, OP_Squeeze, ex_strings(&x, (const char *const[]){""}, 1), ex_int1(&x, 0));
    Value y = ex1(&x, OP_NonZero, ex1(&x, OP_Not, ex2(&x, OP_Equal, ex_in(&x, 0), empty)));
    return ex_end(&x, &y, 1);
}

/* Sequential loops over all axes with the running count. With `store`, every position is stored at the place of the next
 * hit until one that hits stays there: no branch that depends on data, but for those behind the last hit. */
static KVal walk(Lw *l, int axis, KVal *idx, KVal n, uint32_t to, Dim many, bool store)
{
    Kb *b = l->b;
    int rank = lw_rank(l, 0);
    if (axis == rank) {
        KVal hit = is_nonzero(l, idx);
        KVal room = store ? kb_lt(b, n, kb_dim(b, many)) : hit;
        for (int i = 0; store && i < rank; i++) kb_store_if(b, to, (KVal[]){kb_i(b, i), n}, idx[i], room);
        return kb_add(b, n, kb_cast(b, DT_I64, hit));
    }
    KbLoop loop;
    KOp add = KOP_ADD;   /* counting alone may go in any order */
    kb_loop(b, &loop, KLOOP_SEQ, kb_i(b, 0), kb_dim(b, lw_dim(l, 0, axis)), 1, &n, store ? NULL : &add);
    idx[axis] = loop.iv;
    KVal next = walk(l, axis + 1, idx, loop.carry[0], to, many, store);
    kb_loop_end(b, &loop, &next);
    return loop.result[0];
}

static bool lower(Lw *l, Node n)
{
    (void)n;
    Dims *d = &l->m->dims;
    KVal idx[RANK_MAX];
    lw_prepare_in(l);
    KBuf count = lw_temp(l, DT_I64, 0, NULL);
    Kb *b = lw_kernel(l, "nonzero_count");
    kb_store(b, kb_param(b, count, true), NULL, walk(l, 0, idx, kb_i(b, 0), 0, (Dim){0}, false));
    lw_kernel_end(l);
    Dim dim[2] = {dim_const(d, lw_rank(l, 0)), dim_sym(d, lw_load_sym(l, count, dim_const(d, 0), "nonzero", 0, INT64_MAX))};
    lw_bind_dims(l, 0, dim);
    KBuf o = lw_out(l, 0);
    if (lw_rank(l, 0) == 0) return true;   /* [0, count]: nothing to store */
    b = lw_kernel(l, "nonzero");
    walk(l, 0, idx, kb_i(b, 0), kb_param(b, o, true), dim[1], true);
    lw_kernel_end(l);
    return true;
}

static bool eval_zero(const Tensor *x, int64_t k)
{
    if (x->elem == DT_C64) return ((const float *)x->data)[2 * k] == 0 && ((const float *)x->data)[2 * k + 1] == 0;
    if (x->elem == DT_C128) return ((const double *)x->data)[2 * k] == 0 && ((const double *)x->data)[2 * k + 1] == 0;
    return x->elem == DT_STR ? !((const bmc_string *)x->data)[k].len : ev_f(x, k) == 0;
}

static bool eval(Eval *e)
{
    const Tensor *x = e->in[0];
    int64_t dim[2] = {x->rank, 0}, i[RANK_MAX], at = 0;
    for (int64_t k = 0; k < x->count; k++) dim[1] += !eval_zero(x, k);
    Tensor *y = ev_out(e, 0, DT_I64, 2, dim);
    for (int64_t k = 0; y && k < x->count; k++) {
        if (eval_zero(x, k)) continue;
        unflatten(x, k, i);
        for (int a = 0; a < x->rank; a++) ev_set_i(y, a * dim[1] + at, i[a]);
        at++;
    }
    return y != NULL;
}

const OpDesc op_NonZero = {.name = "NonZero", .since = 13, .cls = CLS_OPAQUE, .in = P_IN, .out = P_OUT, .infer = infer, .lower = lower,
                           .expand = expand, .must_expand = must_expand, .eval = eval};
