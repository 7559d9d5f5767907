/* gather.c: Gather (slices along an axis) and GatherElements (one element per index). Negative indices count from the end; an index out of range is recorded and
 * reported by run with the node's name (nothing is read outside the operand). */
#include "ir/ops/grad.h"
#include "ir/ops/index.h"
#include <string.h>

static const Port P_IN[] = {{"data", DTS_MOVE | DTS_SMALL, 0, 1}, {"indices", DTS_INDEX, 0, 0}, PORT_END};
static const Port P_OUT[] = {{"output", DTS_MOVE | DTS_SMALL, 0, 1}, PORT_END};
typedef struct Gather { uint64_t set; int64_t axis; } Gather;
static const AttrSpec ATTRS_[] = {A_INT(Gather, axis, 0), A_END};

static bool gather_infer(Infer *c)
{
    int64_t axis = ATTRS(c->g, c->n, Gather)->axis;
    if (!infer_need_rank(c, 0, 1, -1) || !infer_need_rank(c, 1, 0, -1) || !infer_axis(c, &axis, infer_rank(c, 0))) return false;
    int rank = 0;
    if (infer_rank(c, 0) + infer_rank(c, 1) - 1 > RANK_MAX) return infer_fail(c, "the result would have rank %d", infer_rank(c, 0) + infer_rank(c, 1) - 1);
    Dim dim[2 * RANK_MAX];
    for (int i = 0; i < axis; i++) dim[rank++] = infer_dim(c, 0, i);
    for (int i = 0; i < infer_rank(c, 1); i++) dim[rank++] = infer_dim(c, 1, i);
    for (int i = (int)axis + 1; i < infer_rank(c, 0); i++) dim[rank++] = infer_dim(c, 0, i);
    return infer_set(c, 0, infer_elem(c, 0), rank, dim);
}

static bool gather_propagate(Infer *c)
{
    const Dim *x;
    uint32_t nx, ni;
    int64_t idx[CONTENT_MAX];
    Dim o[CONTENT_MAX];
    if (infer_rank(c, 0) != 1 || !infer_content(c, 0, &x, &nx) || !infer_ints(c, 1, idx, CONTENT_MAX, &ni)) return true;
    for (uint32_t i = 0; i < ni; i++) {
        if (idx[i] < 0) idx[i] += nx;
        if (idx[i] < 0 || idx[i] >= nx) return infer_fail(c, "index %lld is out of range for %u elements", (long long)idx[i], nx);
        o[i] = x[idx[i]];
    }
    infer_set_content(c, 0, o, ni);
    return true;
}

/* The index made positive and checked; out of range becomes 0 after a record. */
static KVal checked(Lw *l, KVal raw, Dim extent)
{
    KVal ok;
    return index_checked(l, raw, extent, &ok);
}

/* A guarded read of a tensor that may be empty: index 0 exists only when the axis does. */
static KVal read_at(Lw *l, const KVal *idx, Dim extent)
{
    int64_t lo, hi;
    dim_bounds(&l->m->dims, extent, &lo, &hi);
    if (lo > 0) return lw_at(l, 0, idx);
    Kb *b = l->b;
    KBuf src = lw_in_strided(l, 0);
    return kb_load_if(b, kb_param(b, src, false), idx, kb_bin(b, KOP_GT, kb_dim(b, extent), kb_i(b, 0)), (KVal){0});
}

/* Elements of each row at the same few places: they are checked once for ROWS rows, then a row is loads and stores. No lanes: a gather is no faster than
 * loads, on Zen slower; but for rows that lie in registers (codegen/pick.c). */
enum { ROWS = 64, ROWS_FEWEST = 4, PLACES_MOST = 1024, SIDE_BY_SIDE = 4, ROW_IN_REGISTERS = 128, PLACES_IN_LANES = 8 };
static bool in_registers(Lw *l, Dim extent, int64_t places)
{
    int64_t n;
    return places >= PLACES_IN_LANES && l->k->target.vec_bits >= 512 && dtype_info(lw_elem(l, 0))->bits == 32 && dim_is_const(&l->m->dims, extent, &n) && n >= 1 && n <= ROW_IN_REGISTERS;
}

static bool same_places(Lw *l, int64_t axis, int64_t *places)
{
    int64_t lo, hi;
    if (!axis || axis != lw_rank(l, 0) - 1 || lw_rank(l, 1) != 1 || dtype_info(lw_elem(l, 0))->bits < 8) return false;
    dim_bounds(&l->m->dims, lw_dim(l, 0, (int)axis - 1), &lo, &hi);
    return hi >= ROWS_FEWEST && dim_is_const(&l->m->dims, lw_dim(l, 1, 0), places) && *places > 0 && *places <= PLACES_MOST;
}

static void lower_rows(Lw *l, int axis, int64_t places)
{
    Dims *d = &l->m->dims;
    Kb *b = lw_kernel(l, "gather_rows");
    Dim rows = lw_out_dim(l, 0, axis - 1), extent = lw_dim(l, 0, axis);
    KVal out[RANK_MAX], idx[RANK_MAX], zero = kb_i(b, 0), all = kb_dim(b, rows);
    uint32_t at = kb_local(b, "at", DT_I64, 1, (Dim[]){dim_const(d, places)});
    for (int i = 0; i < axis - 1; i++) out[i] = kb_for(b, KLOOP_PAR, zero, kb_dim(b, lw_out_dim(l, 0, i)));
    KVal first = kb_mul(b, kb_for(b, KLOOP_PAR, zero, kb_dim(b, dim_ceildiv(d, rows, dim_const(d, ROWS)))), kb_i(b, ROWS));
    KVal j = kb_for(b, KLOOP_VEC, zero, kb_i(b, places));
    kb_store(b, at, &j, checked(l, lw_at(l, 1, &j), extent));
    kb_end(b);
    bool lanes = in_registers(l, extent, places);
    int each = lanes || places % SIDE_BY_SIDE ? 1 : SIDE_BY_SIDE;
    out[axis - 1] = kb_for(b, KLOOP_SEQ, first, kb_min(b, kb_add(b, first, kb_i(b, ROWS)), all));
    KVal group = kb_mul(b, kb_for(b, lanes ? KLOOP_VEC : KLOOP_SEQ, zero, kb_i(b, places / each)), kb_i(b, each));
    memcpy(idx, out, sizeof idx);
    for (int k = 0; k < each; k++) {
        out[axis] = kb_add(b, group, kb_i(b, k));
        idx[axis] = kb_load(b, at, &out[axis]);
        lw_put(l, 0, out, read_at(l, idx, extent));
    }
    kb_end(b);
    lw_end_nest(l, axis + 1);
    lw_kernel_end(l);
}

static bool gather_lower(Lw *l, Node n)
{
    int64_t axis = ATTRS(l->g, n, Gather)->axis, places;
    int r0 = lw_rank(l, 0), r1 = lw_rank(l, 1);
    if (axis < 0) axis += r0;
    lw_prepare_in(l);
    lw_in_strided(l, 0);
    lw_out(l, 0);
    if (same_places(l, axis, &places)) return lower_rows(l, (int)axis, places), true;
    Kb *b = lw_kernel(l, "gather");
    KVal out[RANK_MAX], idx[RANK_MAX];
    /* the index is looked up once for each slice: loops before the index, the check, then the rest */
    for (int i = 0; i < axis + r1; i++) out[i] = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, lw_out_dim(l, 0, i)));
    for (int i = 0; i < axis; i++) idx[i] = out[i];
    if (axis + r1) idx[axis] = checked(l, lw_at(l, 1, out + axis), lw_dim(l, 0, (int)axis));
    for (int i = (int)axis + r1; i < lw_out_rank(l, 0); i++) out[i] = kb_for(b, axis + r1 ? KLOOP_SEQ : KLOOP_PAR, kb_i(b, 0), kb_dim(b, lw_out_dim(l, 0, i)));
    /* one index for all: beside a par loop every thread would record it */
    if (!(axis + r1)) idx[axis] = checked(l, lw_at(l, 1, out), lw_dim(l, 0, (int)axis));
    for (int i = (int)axis + 1; i < r0; i++) idx[i] = out[i + r1 - 1];
    lw_put(l, 0, out, read_at(l, idx, lw_dim(l, 0, (int)axis)));
    lw_end_nest(l, lw_out_rank(l, 0));
    lw_kernel_end(l);
    return true;
}

/* Indices that are known to be in range and lie equally far apart, upwards, along one of their axes: a view. */
static bool gather_view(const Graph *g, Node n, uint32_t r, const Strided *x, Strided *y)
{
    Infer c = {.m = g->m, .g = (Graph *)g, .n = n, .op = node_desc(g, n), .d = &g->m->dims};
    int64_t axis = ATTRS(g, n, Gather)->axis, i, first = 0, step = 1, extent;
    const TypeRec *t = value_trec(g, node_in(g, n, 1));
    const Dim *at;
    uint32_t count;
    (void)r;
    if (axis < 0) axis += x->rank;
    if (t->rank == RANK_UNKNOWN || !infer_content(&c, 1, &at, &count) || !count || !dim_is_const(c.d, x->dim[axis], &extent)) return false;
    for (uint32_t k = 0; k < count; k++) {
        if (!dim_is_const(c.d, dim_resolve(c.d, at[k]), &i) || i < -extent || i >= extent) return false;
        if (i < 0) i += extent;
        if (k == 0) first = i;
        if (k == 1) step = i - first;
        if (step < 1 || i != first + step * k) return false;
    }
    int along = 0;   /* axes of the indices that are longer than 1 */
    for (int a = 0; a < t->rank; a++) along += !dim_is(c.d, dim_resolve(c.d, t->dim[a]), 1);
    if (along > 1) return false;
    y->offset = dim_add(c.d, x->offset, dim_mul(c.d, dim_const(c.d, first), x->stride[axis]));
    for (int a = 0; a < y->rank; a++)
        y->stride[a] = a < axis ? x->stride[a] : a < axis + t->rank ? dim_mul(c.d, x->stride[axis], dim_const(c.d, step)) : x->stride[a - t->rank + 1];
    return true;
}

static bool ev_index(Eval *e, int64_t *i, int64_t d)
{
    if (*i < -d || *i >= d) return ev_fail(e, "index %lld is out of range for %lld", (long long)*i, (long long)d);
    if (*i < 0) *i += d;
    return true;
}

static bool gather_eval(Eval *e)
{
    const Tensor *x = e->in[0], *t = e->in[1];
    int64_t axis = ATTRS(e->g, e->n, Gather)->axis, dim[2 * RANK_MAX], o[2 * RANK_MAX], i[RANK_MAX];
    int rank = 0;
    if (axis < 0) axis += x->rank;
    for (int a = 0; a < axis; a++) dim[rank++] = x->dim[a];
    for (int a = 0; a < t->rank; a++) dim[rank++] = t->dim[a];
    for (int a = (int)axis + 1; a < x->rank; a++) dim[rank++] = x->dim[a];
    Tensor *y = ev_out(e, 0, x->elem, rank, dim);
    for (int64_t k = 0; y && k < y->count; k++) {
        unflatten(y, k, o);
        for (int a = 0; a < axis; a++) i[a] = o[a];
        int64_t at = ev_i(t, flat_index(t, o + axis));
        if (!ev_index(e, &at, x->dim[axis])) return false;
        i[axis] = at;
        for (int a = (int)axis + 1; a < x->rank; a++) i[a] = o[a + t->rank - 1];
        ev_copy(y, k, x, flat_index(x, i));
    }
    return y != NULL;
}

static bool has_result(const Graph *g, Node n, const Tensor *index) { return index_within(g, n, index, ATTRS(g, n, Gather)->axis, false); }

const OpDesc op_Gather = {.name = "Gather", .since = 13, .cls = CLS_OPAQUE, .flags = OPF_STRIDED_OUT, .in = P_IN, .out = P_OUT, .attrs = ATTRS_, .attrs_size = sizeof(Gather),
                          .infer = gather_infer, .propagate = gather_propagate, .view = gather_view, .lower = gather_lower, .grad = grad_gather, .has_result = has_result, .eval = gather_eval};

/* ---- GatherElements ---- */

static bool elements_infer(Infer *c)
{
    int64_t axis = ATTRS(c->g, c->n, Gather)->axis;
    if (!infer_need_rank(c, 0, 1, -1) || !infer_need_rank(c, 1, infer_rank(c, 0), infer_rank(c, 0)) || !infer_axis(c, &axis, infer_rank(c, 0))) return false;
    Dim dim[RANK_MAX];
    for (int i = 0; i < infer_rank(c, 1); i++) {
        dim[i] = infer_dim(c, 1, i);
        if (i != axis && dim_le(c->d, dim[i], infer_dim(c, 0, i)) == TRI_NO) return infer_fail(c, "the indices are longer than the data along axis %d", i);
    }
    return infer_set(c, 0, infer_elem(c, 0), infer_rank(c, 1), dim);
}

static bool elements_lower(Lw *l, Node n)
{
    int64_t axis = ATTRS(l->g, n, Gather)->axis;
    int rank = lw_rank(l, 0);
    if (axis < 0) axis += rank;
    lw_prepare_in(l);
    lw_in_strided(l, 0);
    lw_out(l, 0);
    for (int i = 0; i < rank; i++)
        if (i != axis && dim_le(&l->m->dims, lw_dim(l, 1, i), lw_dim(l, 0, i)) != TRI_YES) {
            KStep *s = lw_step(l, KST_CHECK);
            s->a = lw_dim(l, 1, i), s->b = lw_dim(l, 0, i), s->rel = KREL_LE, s->msg = "the indices are {got} long, the data {want}";
        }
    lw_kernel(l, "gather_elements");
    KVal out[RANK_MAX], idx[RANK_MAX];
    lw_nest_over(l, 0, out);
    memcpy(idx, out, sizeof idx);
    idx[axis] = checked(l, lw_at(l, 1, out), lw_dim(l, 0, (int)axis));
    lw_put(l, 0, out, read_at(l, idx, lw_dim(l, 0, (int)axis)));
    lw_end_nest(l, rank);
    lw_kernel_end(l);
    return true;
}

static bool elements_eval(Eval *e)
{
    const Tensor *x = e->in[0], *t = e->in[1];
    int64_t axis = ATTRS(e->g, e->n, Gather)->axis, i[RANK_MAX];
    if (axis < 0) axis += x->rank;
    Tensor *y = ev_out(e, 0, x->elem, t->rank, t->dim);
    for (int64_t k = 0; y && k < y->count; k++) {
        unflatten(y, k, i);
        i[axis] = ev_i(t, k);
        if (!ev_index(e, &i[axis], x->dim[axis])) return false;
        for (int a = 0; a < x->rank; a++)
            if (i[a] >= x->dim[a]) return ev_fail(e, "the indices are longer than the data");
        ev_copy(y, k, x, flat_index(x, i));
    }
    return y != NULL;
}

const OpDesc op_GatherElements = {.name = "GatherElements", .since = 13, .cls = CLS_OPAQUE, .in = P_IN, .out = P_OUT, .attrs = ATTRS_, .attrs_size = sizeof(Gather),
                                  .infer = elements_infer, .lower = elements_lower, .grad = grad_gather_elements, .has_result = has_result, .eval = elements_eval};
