/* cumsum.c: CumSum, CumProd: running sums or products along one axis; exclusive starts at 0 (1) and leaves the last element out; reverse runs from the end.
 * Along an axis that is not the innermost one rows are read as they lie, and the row before comes from the result:
 *   par run of columns { y[0, j] = x[0, j] in lanes;  for i = 1.. { for j in the run, in lanes: y[i, j] = y[i-1, j] + x[i, j] } }
 * What was stored last cannot be loaded at once, so sums of rows of a few vectors stay in registers, a carry each. In
 * reverse the other axes go backwards, too: one stream downwards, which hardware follows, not blocks of them.
 * The axis is an operand: known at compile time as a rule; else the kernel exists once per axis and the program chooses. */
#include "base/bug.h"
#include "ir/ops/axes.h"
#include "ir/ops/compose.h"
#include "ir/ops/grad.h"
#include <string.h>

static const Port P_IN[] = {{"x", DTS_FLOAT | DTS_INT, 0, 1}, {"axis", DTS_INDEX, PORT_SHAPE, 0}, PORT_END};
static const Port P_OUT[] = {{"y", DTS_FLOAT | DTS_INT, 0, 1}, PORT_END};
typedef struct CumSum { uint64_t set; int64_t exclusive, reverse; } CumSum;
static const AttrSpec ATTRS_[] = {A_INT(CumSum, exclusive, 0), A_INT(CumSum, reverse, 0), A_END};

static bool infer(Infer *c)
{
    int64_t axis;
    uint32_t n;
    if (!infer_need_rank(c, 0, 1, -1) || !infer_need_rank(c, 1, 0, 1)) return false;
    if (infer_ints(c, 1, &axis, 1, &n) && !infer_axis(c, &axis, infer_rank(c, 0))) return false;
    return infer_like(c, 0, 0);
}

enum {
    RUN = 1024,   /* columns that share a sweep, at least */
    PARTS = 8,    /* threads have so many sweeps to share, or the shortest runs */
    VECTORS = 4   /* of a row whose sums stay in registers */
};

/* Columns that share a sweep. Beyond L2 each row of a run is a stream of its own that starts anew, so runs are long there:
 * a row of operands, of results and of those before fit into L2 nevertheless. */
static int64_t run_length(Lw *l, int axis, int64_t n)
{
    const Dims *d = &l->m->dims;
    int64_t bytes = dtype_info(lw_elem(l, 0))->bits / 8, l2 = l->k->target.l2_bytes, parts = PARTS, sweep, many;
    for (int i = 0; i + 1 < lw_rank(l, 0); i++)
        if (i != axis) parts = dim_is_const(d, lw_dim(l, 0, i), &many) && many > 0 ? (parts + many - 1) / many : 1;
    if (!dim_is_const(d, lw_dim(l, 0, axis), &sweep) || __builtin_mul_overflow(sweep, n * bytes, &sweep) || sweep <= l2) return RUN;
    many = (n + parts - 1) / parts;
    if (many > l2 / 8 / bytes) many = l2 / 8 / bytes;
    return many < RUN ? RUN : many / RUN * RUN;
}

/* The loops along all axes in front of `end` but this one. */
static void others(Lw *l, int axis, int end, KVal *idx)
{
    Kb *b = l->b;
    for (int i = 0; i < end; i++) {
        if (i == axis) continue;
        KVal many = kb_dim(b, lw_dim(l, 0, i));
        idx[i] = kb_for(b, KLOOP_PAR, kb_i(b, 0), many);
        if (ATTRS(l->g, l->n, CumSum)->reverse) idx[i] = kb_sub(b, kb_sub(b, many, kb_i(b, 1)), idx[i]);
    }
}

/* One step of the running result. */
static void step(Lw *l, const CumSum *a, bool product, const KVal *idx, KVal *sum)
{
    KVal before = *sum;
    *sum = kb_bin(l->b, product ? KOP_MUL : KOP_ADD, before, lw_at(l, 0, idx));
    lw_put(l, 0, idx, a->exclusive ? before : *sum);
}

/* The innermost axis is long, another one is summed along, and what is stored is what was computed. */
static bool by_runs(Lw *l, int axis)
{
    int last = lw_rank(l, 0) - 1;
    int64_t n;
    DType e = lw_elem(l, 0);
    const TypeRec *y = value_trec(l->g, node_out(l->g, l->n, 0));
    if (axis == last || y->layout.i || dtype_compute(e) != e) return false;
    return dim_is_const(&l->m->dims, lw_dim(l, 0, last), &n) && n >= 2 * K_LANES;
}

/* The sums of `carries` vectors of columns, from column `lo` to `hi` those of the first one, all along the axis. */
static void in_registers(Lw *l, int axis, KVal *idx, int64_t lo, int64_t hi, int carries)
{
    const CumSum *a = ATTRS(l->g, l->n, CumSum);
    DType t = lw_elem(l, 0);
    bool product = node_rec(l->g, l->n)->op == OP_CumProd;
    Kb *b = l->b;
    int last = lw_rank(l, 0) - 1;
    KVal len = kb_dim(b, lw_dim(l, 0, axis)), sum[VECTORS], column = kb_for(b, KLOOP_VEC, kb_i(b, lo), kb_i(b, hi));
    for (int c = 0; c < carries; c++) sum[c] = dtype_is_float(t) ? kb_const_f(b, t, product) : kb_const_i(b, t, product);
    KbLoop loop;
    kb_loop(b, &loop, KLOOP_SEQ, kb_i(b, 0), len, (uint32_t)carries, sum, NULL);
    idx[axis] = a->reverse ? kb_sub(b, kb_sub(b, len, kb_i(b, 1)), loop.iv) : loop.iv;
    for (int c = 0; c < carries; c++) {
        idx[last] = kb_add(b, column, kb_i(b, (int64_t)c * K_LANES));
        sum[c] = loop.carry[c];
        step(l, a, product, idx, &sum[c]);
    }
    kb_loop_end(b, &loop, sum);
    kb_end(b);
}

static void along_runs(Lw *l, int axis)
{
    const CumSum *a = ATTRS(l->g, l->n, CumSum);
    Dims *d = &l->m->dims;
    int rank = lw_rank(l, 0), last = rank - 1;
    DType t = lw_elem(l, 0);
    bool product = node_rec(l->g, l->n)->op == OP_CumProd;
    Kb *b = lw_kernel(l, product ? "cumprod" : "cumsum");
    KVal idx[RANK_MAX], from[RANK_MAX], zero = kb_i(b, 0), one = kb_i(b, 1), n = kb_dim(b, lw_dim(l, 0, last));
    int64_t width;
    if (!dim_is_const(d, lw_dim(l, 0, last), &width)) BUG("columns of a running sum are not counted"); /* by_runs */
    others(l, axis, last, idx);
    if (width / K_LANES <= VECTORS) {
        int64_t whole = width / K_LANES * K_LANES;
        in_registers(l, axis, idx, 0, K_LANES, (int)(width / K_LANES));
        if (whole < width) in_registers(l, axis, idx, whole, width, 1);
        lw_end_nest(l, rank - 2);
        lw_kernel_end(l);
        return;
    }
    int64_t run = run_length(l, axis, width);
    KVal q = kb_for(b, KLOOP_PAR, zero, kb_dim(b, dim_ceildiv(d, lw_dim(l, 0, last), dim_const(d, run))));
    KVal lo = kb_mul(b, q, kb_i(b, run)), hi = kb_min(b, n, kb_add(b, lo, kb_i(b, run)));
    KVal len = kb_dim(b, lw_dim(l, 0, axis)), start = dtype_is_float(t) ? kb_const_f(b, t, product) : kb_const_i(b, t, product);
    uint32_t y = kb_param(b, lw_out(l, 0), true);
    /* the first row, where there is one */
    kb_for(b, KLOOP_SEQ, zero, kb_min(b, len, one));
    idx[axis] = a->reverse ? kb_sub(b, len, one) : zero;
    idx[last] = kb_for(b, KLOOP_VEC, lo, hi);
    KVal sum = start;
    step(l, a, product, idx, &sum);
    kb_end(b);
    kb_end(b);
    KVal i = kb_for(b, KLOOP_SEQ, one, len);
    idx[axis] = a->reverse ? kb_sub(b, kb_sub(b, len, one), i) : i;
    idx[last] = kb_for(b, KLOOP_VEC, lo, hi);
    memcpy(from, idx, sizeof from);
    from[axis] = a->reverse ? kb_add(b, idx[axis], one) : kb_sub(b, i, one);
    KVal x = lw_at(l, 0, a->exclusive ? from : idx), before = kb_load(b, y, from);
    lw_put(l, 0, idx, kb_bin(b, product ? KOP_MUL : KOP_ADD, before, x));
    lw_end_nest(l, rank + 1);
    lw_kernel_end(l);
}

static void along(Lw *l, int axis)
{
    if (by_runs(l, axis)) {
        along_runs(l, axis);
        return;
    }
    const CumSum *a = ATTRS(l->g, l->n, CumSum);
    int rank = lw_rank(l, 0);
    DType t = dtype_compute(lw_elem(l, 0));
    bool product = node_rec(l->g, l->n)->op == OP_CumProd;
    Kb *b = lw_kernel(l, product ? "cumprod" : "cumsum");
    KVal idx[RANK_MAX];
    others(l, axis, rank, idx);
    KVal len = kb_dim(b, lw_dim(l, 0, axis)), start = dtype_is_float(t) ? kb_const_f(b, t, product) : kb_const_i(b, t, product);
    KbLoop loop;
    kb_loop(b, &loop, KLOOP_SEQ, kb_i(b, 0), len, 1, &start, NULL);
    idx[axis] = a->reverse ? kb_sub(b, kb_sub(b, len, kb_i(b, 1)), loop.iv) : loop.iv;
    KVal next = loop.carry[0];
    step(l, a, product, idx, &next);
    kb_loop_end(b, &loop, &next);
    lw_end_nest(l, rank - 1);
    lw_kernel_end(l);
}

static bool lower(Lw *l, Node n)
{
    (void)n;
    Dims *d = &l->m->dims;
    Dim axis;
    int64_t k;
    int rank = lw_rank(l, 0);
    if (!lw_values_n(l, 1, &axis, 1)) return false;
    lw_prepare_in(l);
    lw_in(l, 0);
    lw_out(l, 0);
    if (dim_is_const(d, axis, &k)) {
        along(l, (int)(k < 0 ? k + rank : k));
        return true;
    }
    KStep *c = lw_step(l, KST_CHECK);
    c->a = dim_const(d, -rank), c->b = axis, c->rel = KREL_LE, c->msg = "axis {want} is out of range, {got} is the first";
    c = lw_step(l, KST_CHECK);
    c->a = axis, c->b = dim_const(d, rank - 1), c->rel = KREL_LE, c->msg = "axis {got} is out of range, {want} is the last";
    KSteps *outer = l->steps;
    for (int i = 0; i < rank; i++) {   /* if axis mod rank == i */
        l->steps = outer;
        Dim off = dim_sub(d, dim_mod(d, axis, dim_const(d, rank)), dim_const(d, i)), abs = dim_max(d, off, dim_sub(d, dim_const(d, 0), off));
        KStep *s = lw_step(l, KST_IF);
        s->a = dim_sub(d, dim_const(d, 1), dim_min(d, dim_const(d, 1), abs));
        s->body = arena_new(l->k->arena, KSteps);
        s->other = arena_new(l->k->arena, KSteps);
        l->steps = s->body;
        along(l, i);
    }
    l->steps = outer;
    return true;
}

static bool eval(Eval *e)
{
    const Tensor *x = e->in[0];
    const CumSum *a = ATTRS(e->g, e->n, CumSum);
    bool product = node_rec(e->g, e->n)->op == OP_CumProd;
    int64_t axis = ev_i(e->in[1], 0), i[RANK_MAX], j[RANK_MAX];
    if (axis < -x->rank || axis >= x->rank) return ev_fail(e, "axis %lld is out of range", (long long)axis);
    if (axis < 0) axis += x->rank;
    Tensor *y = ev_out(e, 0, x->elem, x->rank, x->dim);
    for (int64_t k = 0; y && k < y->count; k++) {
        double s = product;
        int64_t si = product;
        unflatten(y, k, i);
        memcpy(j, i, sizeof j);
        for (j[axis] = 0; j[axis] < x->dim[axis]; j[axis]++) {
            bool before = a->reverse ? j[axis] > i[axis] : j[axis] < i[axis];
            if (!before && !(j[axis] == i[axis] && !a->exclusive)) continue;
            double v = ev_f(x, flat_index(x, j));
            s = product ? s * v : s + v;
            if (dtype_is_float(x->elem)) continue;
            if (product) si = (int64_t)((uint64_t)si * (uint64_t)ev_i(x, flat_index(x, j)));
            else si = (int64_t)((uint64_t)si + (uint64_t)ev_i(x, flat_index(x, j)));
        }
        if (dtype_is_float(x->elem)) ev_set_f(y, k, s);
        else ev_set_i(y, k, si);
    }
    return y != NULL;
}

/* CumProd as a Scan of products, which is differentiated at zeros, too, any number of times. It is lowered by itself. */
static bool cumprod_expand(Graph *g, Node n)
{
    const CumSum *a = ATTRS(g, n, CumSum);
    Ex e = ex_begin(g, n), *x = &e;
    Value in = ex_in(x, 0), part[2];
    const Content *known = infer_value_content(g, ex_in(x, 1));
    TypeRec t = *ex_type(x, in);
    int64_t axis, reverse = a->reverse;
    if (!known || known->n != 1 || !dim_is_const(&g->m->dims, dim_resolve(&g->m->dims, known->d[0]), &axis)) return false;
    if (axis < 0) axis += t.rank;
    part[0] = ex_shape_part(x, in, 0, axis), part[1] = ex_shape_part(x, in, axis + 1, t.rank);
    Value one = ex2(x, OP_Expand, ex_f(x, t.elem, 1), ex_axis(x, OP_Concat, part, 2, 0));
    for (int i = (int)axis; i + 1 < t.rank; i++) t.dim[i] = t.dim[i + 1];
    TypeId slice = type_tensor(&g->m->types, t.elem, t.rank - 1, t.dim);
    Graph *b = graph_new(g->m, "products");
    Ex y = {.g = b, .loc = x->loc};
    Value before = graph_input(b, slice, (Name){0}), here = graph_input(b, slice, (Name){0}), after = ex2(&y, OP_Mul, before, here);
    if (x->failed || y.failed) return false;
    graph_set_outputs(b, (Value[]){after, a->exclusive ? before : after}, 2);
    static const char *const AXES[] = {"scan_input_axes", "scan_output_axes"}, *const DIRS[] = {"scan_input_directions", "scan_output_directions"};
    void *attrs = ex_set(x, OP_Scan, NULL, "num_scan_inputs", 1);
    for (int k = 0; k < 2; k++) attrs = ex_set_ints(x, OP_Scan, ex_set_ints(x, OP_Scan, attrs, AXES[k], &axis, 1), DIRS[k], &reverse, 1);
    Node scan = graph_add(g, OP_Scan, (Value[]){one, in}, 2, 2, attrs, x->loc, x->n);
    graph_set_region(g, scan, (const Graph *const[]){b}, 1);
    if (!infer_node(g, scan)) return false;
    Value all = node_out(g, scan, 1);
    return ex_end(x, &all, 1);
}

const OpDesc op_CumSum = {.name = "CumSum", .since = 14, .cls = CLS_ROW, .in = P_IN, .out = P_OUT, .attrs = ATTRS_, .attrs_size = sizeof(CumSum),
                          .infer = infer, .lower = lower, .grad = grad_cumsum, .eval = eval};
const OpDesc op_CumProd = {.name = "CumProd", .since = 26, .cls = CLS_ROW, .in = P_IN, .out = P_OUT, .attrs = ATTRS_, .attrs_size = sizeof(CumSum),
                           .infer = infer, .lower = lower, .expand = cumprod_expand, .eval = eval};
