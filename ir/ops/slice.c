/* slice.c: Slice and Split: routes: out[i] = in[start + i*step] per axis. Bounds of Slice were attributes before opset 10, those of Split before 13.
 * Starts and ends may be symbolic or computed while running: they are clamped to the axis as numpy does, by the same formula everywhere:
 *   clamp(v) = min(max(v < 0 ? v + d : v, low), high), low/high = 0, d (step > 0) or -1/0, d-1 (step < 0). */
#include "ir/ops/compose.h"
#include "base/bug.h"
#include "ir/ops/axes.h"
#include "ir/ops/grad.h"
#include "ir/ops/internal.h"
#include <string.h>

static const Port P_SLICE[] = {{"data", DTS_MOVE, 0, 1}, {"starts", DTS_INDEX, PORT_SHAPE, 2}, {"ends", DTS_INDEX, PORT_SHAPE, 2},
                               {"axes", DTS_INDEX, PORT_SHAPE | PORT_OPTIONAL, 2}, {"steps", DTS_INDEX, PORT_SHAPE | PORT_OPTIONAL, 2}, PORT_END};
static const Port P_OUT[] = {{"output", DTS_MOVE, 0, 1}, PORT_END};

typedef struct Slice { uint64_t set; AttrInts starts, ends, axes; } Slice;
static const AttrSpec SLICE_ATTRS[] = {A_INTS(Slice, starts), A_INTS(Slice, ends), A_INTS(Slice, axes), A_END};

static Value ints(Graph *g, AttrInts a)
{
    Dim count = dim_const(&g->m->dims, a.n);
    return graph_const(g, blob_inline(&g->m->blobs, DT_I64, a.n, a.p), type_tensor(&g->m->types, DT_I64, 1, &count), (Name){0});
}

/* starts=[..], ends=[..], axes=[..] (attributes)  =>  operands */
static bool slice_upgrade(Graph *g, Node n, int64_t opset)
{
    Slice *a = node_rec(g, n)->attrs;
    if (opset >= 10) return true;
    if (!(a->set & 1) || !(a->set & 2)) return diag(g->m->diag, graph_loc(g, n), E_ATTR_MISSING, a->set & 1 ? "ends" : "starts");
    graph_add_input(g, n, ints(g, a->starts));
    graph_add_input(g, n, ints(g, a->ends));
    if (a->set & 4) graph_add_input(g, n, ints(g, a->axes));
    a->set = 0;
    return true;
}

/* v < 0 ? v + d : v, clamped to lo..hi; v >= 0 or < 0 is often provable. The specification recommends INT_MAX and INT_MIN for "to the end" of axes of unknown
 * extent: no min() with them is left in shapes. */
static Dim clamp(Dims *d, Dim v, Dim len, Dim lo, Dim hi)
{
    int64_t l, h, k;
    if (dim_is_const(d, v, &k) && !dim_is_const(d, len, &h) && (k >= INT32_MAX || k <= -INT32_MAX)) return dim_max(d, lo, k > 0 ? hi : lo);
    dim_bounds(d, v, &l, &h);
    if (h < 0) v = dim_add(d, v, len);
    else if (l < 0) {
        Dim neg = dim_min(d, dim_const(d, 1), dim_max(d, dim_const(d, 0), dim_sub(d, dim_const(d, 0), dim_max(d, v, dim_const(d, -2)))));   /* 1 when v < 0 */
        v = dim_add(d, v, dim_mul(d, neg, len));
    }
    return dim_max(d, lo, dim_min(d, v, hi));
}

/* First index and count along one axis. INT64 extremes mean "to the end". */
static void bounds(Dims *d, Dim start, Dim end, int64_t step, Dim len, Dim *first, Dim *count)
{
    Dim zero = dim_const(d, 0), one = dim_const(d, 1), minus = dim_const(d, -1);
    Dim big[2] = {dim_const(d, -((int64_t)1 << 40)), dim_const(d, (int64_t)1 << 40)};   /* beyond any extent: keeps v + d from overflowing */
    Dim v[2] = {start, end};
    for (int k = 0; k < 2; k++) /* formulas over the inputs' dims are checked for overflow where they are bound */
        if (dim_is_const(d, v[k], &(int64_t){0}) || dim_has_kind(d, v[k], SYM_NODE)) v[k] = dim_min(d, big[1], dim_max(d, big[0], v[k]));
    if (step > 0) {
        *first = clamp(d, v[0], len, zero, len);
        Dim last = clamp(d, v[1], len, zero, len);
        *count = dim_max(d, zero, dim_ceildiv(d, dim_sub(d, last, *first), dim_const(d, step)));
    } else {
        Dim top = dim_sub(d, len, one);
        int64_t k;
        bool from_end = dim_is_const(d, v[0], &k) && (k == -1 || k >= (int64_t)1 << 40);
        *first = from_end ? top : clamp(d, v[0], len, dim_min(d, zero, top), top);   /* -1 when there are none */
        Dim last = clamp(d, v[1], len, minus, top);
        *count = dim_max(d, zero, dim_ceildiv(d, dim_sub(d, *first, last), dim_const(d, -step)));
    }
}

typedef struct Cut { bool cut[RANK_MAX]; Dim first[RANK_MAX], count[RANK_MAX]; int64_t step[RANK_MAX]; } Cut;

/* Axes and steps must be constant. false: *why. */
static bool make_cut(Dims *d, int rank, const Dim *len, uint32_t n, const Dim *start, const Dim *end, const int64_t *axes, const int64_t *steps, Cut *cut, const char **why)
{
    for (int i = 0; i < rank; i++) cut->cut[i] = false;
    for (uint32_t k = 0; k < n; k++) {
        int64_t a = axes ? axes[k] : k, s = steps ? steps[k] : 1;
        if (a < 0) a += rank;
        if (a < 0 || a >= rank || cut->cut[a]) return *why = "an axis is out of range or given twice", false;
        if (s == 0) return *why = "a step is 0", false;
        cut->cut[a] = true;
        cut->step[a] = s;
        bounds(d, start[k], end[k], s, len[a], &cut->first[a], &cut->count[a]);
    }
    return true;
}

static bool steps_and_axes(Infer *c, uint32_t n, int64_t *axes, int64_t *steps)
{
    uint32_t k;
    for (uint32_t i = 0; i < n; i++) axes[i] = i, steps[i] = 1;
    if (infer_has(c, 3) && (!infer_ints(c, 3, axes, RANK_MAX, &k) || k != n)) return infer_fail(c, "the axes must be known at compile time, one for each start");
    if (infer_has(c, 4) && (!infer_ints(c, 4, steps, RANK_MAX, &k) || k != n)) return infer_fail(c, "the steps must be known at compile time, one for each start");
    return true;
}

/* Axes or steps that only the run knows. */
static bool cut_at_run(const Infer *c)
{
    int64_t v[RANK_MAX];
    uint32_t n;
    return (infer_has(c, 3) && !infer_ints(c, 3, v, RANK_MAX, &n)) || (infer_has(c, 4) && !infer_ints(c, 4, v, RANK_MAX, &n));
}

static bool infer_cut_at_run(Infer *c, int64_t n)
{
    int64_t k, hi;
    Dim dim[RANK_MAX];
    for (uint32_t i = 3; i < 5; i++)
        if (infer_has(c, i) && (!infer_need_rank(c, i, 1, 1) || !dim_is_const(c->d, infer_dim(c, i, 0), &k) || k != n))
            return infer_fail(c, "there must be one %s for each start", i == 3 ? "axis" : "step");
    if (n > infer_rank(c, 0)) return infer_fail(c, "%lld starts for rank %d", (long long)n, infer_rank(c, 0));
    for (int i = 0; i < infer_rank(c, 0); i++) {
        dim_bounds(c->d, infer_dim(c, 0, i), &(int64_t){0}, &hi);
        dim[i] = infer_node_dim(c, 0, i, 0, hi);
    }
    return infer_set(c, 0, infer_elem(c, 0), infer_rank(c, 0), dim);
}

static bool slice_infer(Infer *c)
{
    const Dim *s, *e;
    uint32_t n, ne;
    int64_t k, axes[RANK_MAX], steps[RANK_MAX];
    Dim len[RANK_MAX], dim[RANK_MAX];
    Cut cut;
    const char *why;
    if (!infer_need_rank(c, 0, 0, -1) || !infer_need_rank(c, 1, 1, 1) || !infer_need_rank(c, 2, 1, 1)) return false;
    int rank = infer_rank(c, 0);
    for (int i = 0; i < rank; i++) len[i] = dim[i] = infer_dim(c, 0, i);
    if (!dim_is_const(c->d, infer_dim(c, 1, 0), &k) || k > RANK_MAX) return infer_fail(c, "the number of starts must be known at compile time");
    n = (uint32_t)k;
    if (!dim_is_const(c->d, infer_dim(c, 2, 0), &k) || k != n) return infer_fail(c, "there must be one end for each start");
    if (cut_at_run(c)) return infer_cut_at_run(c, k);
    if (!steps_and_axes(c, n, axes, steps)) return false;
    if (infer_content(c, 1, &s, &n) && infer_content(c, 2, &e, &ne)) {
        if (n != ne) return infer_fail(c, "%u starts and %u ends", n, ne);
        if (!make_cut(c->d, rank, len, n, s, e, axes, steps, &cut, &why)) return infer_fail(c, "%s", why);
        for (int i = 0; i < rank; i++)
            if (cut.cut[i]) dim[i] = cut.count[i];
    } else
        for (uint32_t i = 0; i < n; i++) {
            int64_t a = axes[i] < 0 ? axes[i] + rank : axes[i];
            if (a < 0 || a >= rank) return infer_fail(c, "axis %lld is out of range", (long long)axes[i]);
            int64_t lo, hi;
            dim_bounds(c->d, len[a], &lo, &hi);
            dim[a] = infer_node_dim(c, 0, (int)a, 0, hi);
        }
    return infer_set(c, 0, infer_elem(c, 0), rank, dim);
}

static bool slice_propagate(Infer *c)
{
    const Dim *x, *s, *e;
    uint32_t nx, n, ne;
    int64_t axes[RANK_MAX], steps[RANK_MAX], first, count;
    Dim len, o[CONTENT_MAX];
    Cut cut;
    const char *why;
    if (cut_at_run(c) || infer_rank(c, 0) != 1 || !infer_content(c, 0, &x, &nx) || !infer_content(c, 1, &s, &n) || !infer_content(c, 2, &e, &ne) || n != 1 || ne != 1) return true;
    len = dim_const(c->d, nx);
    if (!steps_and_axes(c, n, axes, steps) || !make_cut(c->d, 1, &len, 1, s, e, axes, steps, &cut, &why)) return true;
    if (!dim_is_const(c->d, cut.first[0], &first) || !dim_is_const(c->d, cut.count[0], &count)) return true;
    for (int64_t i = 0; i < count; i++) o[i] = x[first + i * cut.step[0]];
    infer_set_content(c, 0, o, (uint32_t)count);
    return true;
}

/* out[o] = in[first + o*step]; step[i] 0 (none): the axis is not cut */
static bool slice_nest(Lw *l, const Dim *first, const Dim *step)
{
    int rank = lw_rank(l, 0);
    lw_prepare_in(l);
    lw_out(l, 0);
    Kb *b = lw_kernel(l, "slice");
    KVal out[RANK_MAX], idx[RANK_MAX];
    lw_nest_over(l, 0, out);
    for (int i = 0; i < rank; i++) idx[i] = step[i].i ? kb_add(b, kb_dim(b, first[i]), kb_mul(b, out[i], kb_dim(b, step[i]))) : out[i];
    lw_put(l, 0, out, lw_at(l, 0, idx));
    lw_end_nest(l, rank);
    lw_kernel_end(l);
    return true;
}

/* Each axis gets a start, an end and a step, those of its entry among the axes or 0, its extent and 1; both directions are computed and the step's sign chooses. */
static bool slice_lower_run(Lw *l, const Dim *s, const Dim *e, uint32_t n)
{
    Dims *d = &l->m->dims;
    Dim one = dim_const(d, 1), zero = dim_const(d, 0), big = dim_const(d, (int64_t)1 << 40), small = dim_const(d, -((int64_t)1 << 40));
    Dim step[RANK_MAX], first[RANK_MAX], count[RANK_MAX], at[RANK_MAX], v[3][RANK_MAX];
    uint32_t k = n;
    int rank = lw_rank(l, 0);
    RunAxes x;
    for (uint32_t i = 0; i < n; i++) v[2][i] = one;
    if (lw_has(l, 4) && (!lw_values(l, 4, v[2], RANK_MAX, &k) || k != n)) return false;
    if (lw_has(l, 3)) {
        if (!axes_read(l, 3, rank, &x)) return false;
    } else {
        x = (RunAxes){.rank = rank, .n = n};
        for (int i = 0; i < rank; i++) {
            for (uint32_t j = 0; j < n; j++) x.hit[i][j] = dim_const(d, i == (int)j);
            x.mark[i] = dim_const(d, i < (int)n);
        }
    }
    for (uint32_t i = 0; i < n; i++) {   /* beyond any extent: keeps sums from overflowing */
        v[0][i] = axes_bind(l, dim_min(d, big, dim_max(d, small, s[i])), INT64_MIN, INT64_MAX);
        v[1][i] = axes_bind(l, dim_min(d, big, dim_max(d, small, e[i])), INT64_MIN, INT64_MAX);
        v[2][i] = axes_bind(l, dim_min(d, big, dim_max(d, small, v[2][i])), INT64_MIN, INT64_MAX);
    }
    for (int i = 0; i < rank; i++) {
        Dim len = lw_dim(l, 0, i), begin = axes_bind(l, axes_pick(l, &x, i, v[0], zero), INT64_MIN, INT64_MAX), end = axes_bind(l, axes_pick(l, &x, i, v[1], len), INT64_MIN, INT64_MAX);
        step[i] = axes_bind(l, axes_pick(l, &x, i, v[2], one), INT64_MIN, INT64_MAX);
        Dim minus = dim_sub(d, zero, step[i]), abs = axes_bind(l, dim_max(d, step[i], minus), 0, INT64_MAX), up = axes_bind(l, dim_min(d, one, dim_max(d, zero, step[i])), 0, 1);
        KStep *c = lw_step(l, KST_CHECK);
        c->a = one, c->b = abs, c->rel = KREL_LE, c->msg = "a step of Slice is {want}";
        Dim span[2], from[2];
        bounds(d, begin, end, 1, len, &from[1], &span[1]);
        bounds(d, begin, end, -1, len, &from[0], &span[0]);
        first[i] = axes_bind(l, axes_either(l, up, axes_bind(l, from[1], INT64_MIN, INT64_MAX), axes_bind(l, from[0], INT64_MIN, INT64_MAX)), INT64_MIN, INT64_MAX);
        at[i] = axes_bind(l, axes_either(l, up, axes_bind(l, span[1], 0, INT64_MAX), axes_bind(l, span[0], 0, INT64_MAX)), 0, INT64_MAX);
        count[i] = dim_ceildiv(d, at[i], dim_max(d, one, abs));
    }
    lw_bind_dims(l, 0, count);
    return slice_nest(l, first, step);
}

static bool slice_lower(Lw *l, Node n)
{
    Infer c = {.m = l->m, .g = l->g, .n = n, .op = node_desc(l->g, n), .d = &l->m->dims};
    Dim s[RANK_MAX], e[RANK_MAX], len[RANK_MAX] = {{0}}, dim[RANK_MAX];
    int64_t axes[RANK_MAX], steps[RANK_MAX];
    uint32_t ns, ne;
    Cut cut;
    const char *why;
    int rank = lw_rank(l, 0);
    if (!lw_values(l, 1, s, RANK_MAX, &ns) || !lw_values(l, 2, e, RANK_MAX, &ne)) return false;
    if (ns != ne) return lw_fail(l, "starts and ends do not fit");
    if (cut_at_run(&c)) return slice_lower_run(l, s, e, ns);
    if (!steps_and_axes(&c, ns, axes, steps)) return false;
    Dim step[RANK_MAX] = {{0}};
    for (int i = 0; i < rank; i++) len[i] = dim[i] = lw_dim(l, 0, i);
    if (!make_cut(c.d, rank, len, ns, s, e, axes, steps, &cut, &why)) return lw_fail(l, "%s", why);
    for (int i = 0; i < rank; i++)
        if (cut.cut[i]) dim[i] = cut.count[i], step[i] = dim_const(c.d, cut.step[i]);
    lw_bind_dims(l, 0, dim);
    return slice_nest(l, cut.first, step);
}

/* Starts, ends and axes known, steps that go forward. */
static bool slice_view(const Graph *g, Node n, uint32_t r, const Strided *x, Strided *y)
{
    Infer c = {.m = g->m, .g = (Graph *)g, .n = n, .op = node_desc(g, n), .d = &g->m->dims};
    const Dim *s, *e;
    uint32_t ns, ne;
    int64_t axes[RANK_MAX], steps[RANK_MAX];
    Cut cut;
    const char *why;
    (void)r;
    if (cut_at_run(&c) || !infer_content(&c, 1, &s, &ns) || !infer_content(&c, 2, &e, &ne) || ns != ne || ns > RANK_MAX) return false;
    if (!steps_and_axes(&c, ns, axes, steps) || !make_cut(c.d, x->rank, x->dim, ns, s, e, axes, steps, &cut, &why)) return false;
    y->offset = x->offset;
    for (int i = 0; i < x->rank; i++) {
        y->stride[i] = x->stride[i];
        if (!cut.cut[i]) continue;
        if (cut.step[i] < 1) return false;
        y->offset = dim_add(c.d, y->offset, dim_mul(c.d, cut.first[i], x->stride[i]));
        y->stride[i] = dim_mul(c.d, x->stride[i], dim_const(c.d, cut.step[i]));
    }
    return true;
}

static int64_t numpy_clamp(int64_t v, int64_t d, int64_t lo, int64_t hi)
{
    if (v < 0) v = v < -d ? -1 - d : v + d;
    return v < lo ? lo : v > hi ? hi : v;
}

static bool slice_eval(Eval *e)
{
    const Tensor *x = e->in[0];
    int64_t first[RANK_MAX] = {0}, step[RANK_MAX], dim[RANK_MAX], o[RANK_MAX], i[RANK_MAX];
    for (int a = 0; a < x->rank; a++) dim[a] = x->dim[a], step[a] = 1;
    for (int64_t k = 0; k < e->in[1]->count; k++) {
        int64_t a = ev_has(e, 3) ? ev_i(e->in[3], k) : k, s = ev_has(e, 4) ? ev_i(e->in[4], k) : 1, b = ev_i(e->in[1], k), t = ev_i(e->in[2], k);
        if (a < 0) a += x->rank;
        if (a < 0 || a >= x->rank || s == 0) return ev_fail(e, "bad axis or step");
        int64_t d = x->dim[a], count;
        if (s > 0) {
            b = numpy_clamp(b, d, 0, d), t = numpy_clamp(t, d, 0, d);
            count = t > b ? (t - b - 1) / s + 1 : 0;
        } else {
            b = numpy_clamp(b, d, 0, d - 1), t = numpy_clamp(t, d, -1, d - 1);
            count = b > t ? (b - t - 1) / -s + 1 : 0;
        }
        first[a] = b, step[a] = s, dim[a] = d ? count : 0;
    }
    Tensor *y = ev_out(e, 0, x->elem, x->rank, dim);
    for (int64_t k = 0; y && k < y->count; k++) {
        unflatten(y, k, o);
        for (int a = 0; a < x->rank; a++) i[a] = first[a] + o[a] * step[a];
        ev_copy(y, k, x, flat_index(x, i));
    }
    return y != NULL;
}

/* A Slice that lies in one operand of a Concat: which one, and where in it (*whole: all of it). */
static Value inside_concat(const Graph *g, Node n, int *axis, int64_t *first, int64_t *count, bool *whole)
{
    Node p = value_rec(g, node_in(g, n, 0))->def;
    Dims *d = &g->m->dims;
    Strided x = {.rank = 0}, y;
    int64_t len, from, at = 0;
    if (!p.i || node_rec(g, p)->op != OP_Concat) return VALUE_NONE;
    const TypeRec *t = value_trec(g, node_in(g, n, 0)), *r = value_trec(g, node_out(g, n, 0));
    *axis = node_desc(g, p)->joins(g, p);
    if (t->rank == RANK_UNKNOWN || r->rank != t->rank) return VALUE_NONE;
    x.rank = t->rank;
    x.offset = dim_const(d, 0);
    for (int i = 0; i < t->rank; i++) {   /* strides that show how far the view goes along the axis, and its step */
        x.dim[i] = dim_resolve(d, t->dim[i]);
        x.stride[i] = dim_const(d, i == *axis);
        if (i != *axis && dim_eq(d, x.dim[i], dim_resolve(d, r->dim[i])) != TRI_YES) return VALUE_NONE;
    }
    y = x;
    if (!slice_view(g, n, 0, &x, &y) || !dim_is(d, y.stride[*axis], 1) || !dim_is_const(d, y.offset, &from) ||
        !dim_is_const(d, dim_resolve(d, r->dim[*axis]), count))
        return VALUE_NONE;
    for (uint32_t k = 0; k < node_n_in(g, p); k++, at += len) {
        if (!dim_is_const(d, dim_resolve(d, value_trec(g, node_in(g, p, k))->dim[*axis]), &len)) return VALUE_NONE;
        if (from < at || from + *count > at + len) continue;
        *first = from - at;
        *whole = *count == len;
        return node_in(g, p, k);
    }
    return VALUE_NONE;
}

/* Slice(Concat(.., a, ..)) with part of a  =>  Slice(a) */
static bool slice_rewrite(Graph *g, Node n)
{
    int axis;
    int64_t first, count, along;
    bool whole;
    Value a = inside_concat(g, n, &axis, &first, &count, &whole);
    if (!a.i || whole) return false;
    int64_t end = first + count;
    along = axis;
    Value in[4] = {a, ints(g, (AttrInts){&first, 1}), ints(g, (AttrInts){&end, 1}), ints(g, (AttrInts){&along, 1})};
    Node s = graph_add(g, OP_Slice, in, 4, 1, NULL, node_rec(g, n)->loc, n);
    value_rec(g, node_out(g, s, 0))->type = value_type(g, node_out(g, n, 0));
    graph_replace_uses(g, node_out(g, n, 0), node_out(g, s, 0));
    return true;
}

/* The whole: all steps are 1 and no dim changes; or a whole operand of a Concat. */
static Value slice_equivalent(Graph *g, Node n, uint32_t r)
{
    Value steps = node_in(g, n, 4);
    const Content *c = steps.i ? infer_value_content(g, steps) : NULL;
    int axis;
    int64_t first, count;
    bool whole = false;
    Value part = inside_concat(g, n, &axis, &first, &count, &whole);
    (void)r;
    if (part.i && whole) return part;
    if (steps.i && !c) return VALUE_NONE;
    for (uint32_t k = 0; c && k < c->n; k++)
        if (!dim_is(&g->m->dims, dim_resolve(&g->m->dims, c->d[k]), 1)) return VALUE_NONE;
    return axes_unmoved(g, n);
}

const OpDesc op_Slice = {.name = "Slice", .since = 13, .cls = CLS_MOVE, .flags = OPF_STRIDED_OUT, .knows = 2 | 4 | 8 | 16, .alike = 2 | 4 | 8 | 16, .in = P_SLICE, .out = P_OUT, .attrs = SLICE_ATTRS, .attrs_size = sizeof(Slice), .upgrade = slice_upgrade,
                         .infer = slice_infer, .propagate = slice_propagate, .equivalent = slice_equivalent, .rewrite = slice_rewrite, .view = slice_view, .lower = slice_lower, .grad = grad_slice, .eval = slice_eval};

/* ---- Split ---- */

static const Port P_SPLIT[] = {{"input", DTS_MOVE, 0, 1}, {"split", DTS(DT_I64) | DTS_FLOAT /* opset 1: the data's */, PORT_SHAPE | PORT_OPTIONAL, 0}, PORT_END};
static const Port P_PARTS[] = {{"outputs", DTS_MOVE, PORT_VARIADIC, 1}, PORT_END};
typedef struct Split { uint64_t set; int64_t axis, num_outputs; AttrInts split; } Split;
static const AttrSpec SPLIT_ATTRS[] = {A_INT(Split, axis, 0), A_INT(Split, num_outputs, 0), A_INTS(Split, split), A_END};

static bool split_upgrade(Graph *g, Node n, int64_t opset)
{
    Split *a = node_rec(g, n)->attrs;
    Value v = opset < 2 && node_n_in(g, n) > 1 ? node_in(g, n, 1) : VALUE_NONE;
    if (v.i && value_type(g, v).i && dtype_is_float(value_trec(g, v)->elem)) {
        Ex x = ex_begin(g, n);
        graph_set_input(g, n, 1, ex_cast(&x, v, DT_I64));
        if (x.failed) return false;
    }
    if (opset >= 13 || !(a->set & 4)) return true;
    if (node_n_in(g, n) < 2) graph_add_input(g, n, ints(g, a->split));
    a->set &= ~(uint64_t)4;
    return true;
}

static bool split_infer(Infer *c)
{
    int64_t axis = ATTRS(c->g, c->n, Split)->axis;
    const Dim *given;
    uint32_t n, parts = node_n_out(c->g, c->n);
    if (!infer_need_rank(c, 0, 1, -1) || !infer_axis(c, &axis, infer_rank(c, 0))) return false;
    Dim dim[RANK_MAX], len = infer_dim(c, 0, (int)axis), rest = len, chunk = dim_ceildiv(c->d, len, dim_const(c->d, parts));
    for (int i = 0; i < infer_rank(c, 0); i++) dim[i] = infer_dim(c, 0, i);
    bool known = !infer_has(c, 1) || infer_content(c, 1, &given, &n);
    if (infer_has(c, 1) && known && n != parts) return infer_fail(c, "%u sizes for %u results", n, parts);
    if (!known) {
        int64_t have;
        if (!infer_need_rank(c, 1, 1, 1)) return false;
        bool fixed = dim_is_const(c->d, infer_dim(c, 1, 0), &have);
        if (fixed && have != parts) return infer_fail(c, "%lld sizes for %u results", (long long)have, parts);
        if (!fixed && !operand_called(c, 1, (Dim[]){dim_const(c->d, parts)}, 1)) return false;
    }
    Dim sum = dim_const(c->d, 0);
    for (uint32_t r = 0; r < parts; r++) {
        if (!known) dim[axis] = infer_node_dim(c, r, (int)axis, 0, INT64_MAX);
        else if (infer_has(c, 1)) dim[axis] = given[r];
        else {   /* equal parts, the last one smaller */
            dim[axis] = r + 1 < parts ? dim_min(c->d, chunk, dim_max(c->d, rest, dim_const(c->d, 0))) : dim_max(c->d, rest, dim_const(c->d, 0));
            rest = dim_sub(c->d, rest, chunk);
        }
        sum = dim_add(c->d, sum, dim[axis]);
        if (!infer_set(c, r, infer_elem(c, 0), infer_rank(c, 0), dim)) return false;
    }
    return !known || !infer_has(c, 1) || infer_must_eq(c, sum, len, "sum of the sizes of Split");
}

static bool split_propagate(Infer *c)
{
    const Dim *x;
    uint32_t nx, at = 0;
    int64_t k;
    if (infer_rank(c, 0) != 1 || !infer_content(c, 0, &x, &nx)) return true;
    for (uint32_t r = 0; r < node_n_out(c->g, c->n); r++) {
        if (!dim_is_const(c->d, value_trec(c->g, node_out(c->g, c->n, r))->dim[0], &k) || at + k > nx) return true;
        infer_set_content(c, r, x + at, (uint32_t)k);
        at += (uint32_t)k;
    }
    return true;
}

static bool split_lower(Lw *l, Node n)
{
    Dims *d = &l->m->dims;
    int rank = lw_rank(l, 0);
    int64_t axis = ATTRS(l->g, n, Split)->axis;
    uint32_t parts = node_n_out(l->g, n);
    if (axis < 0) axis += rank;
    Dim from = dim_const(d, 0), *size = arena_array(l->m->arena, Dim, parts);
    bool given = lw_has(l, 1) && !value_rec(l->g, node_in(l->g, n, 1))->content && !value_is_const(l->g, node_in(l->g, n, 1));
    if (given && !lw_values_n(l, 1, size, parts)) return false;
    lw_prepare_in(l);
    for (uint32_t r = 0; given && r < parts; r++) {
        Dim dim[RANK_MAX];
        for (int i = 0; i < rank; i++) dim[i] = i == axis ? size[r] : lw_dim(l, 0, i);
        lw_bind_dims(l, r, dim);
        from = dim_add(d, from, lw_out_dim(l, r, (int)axis));
    }
    if (given) {   /* before anything is read by them */
        KStep *s = lw_step(l, KST_CHECK);
        s->a = from, s->b = lw_dim(l, 0, (int)axis), s->rel = KREL_EQ, s->msg = "the sizes of Split make {got}, the axis has {want}";
        from = dim_const(d, 0);
    }
    for (uint32_t r = 0; r < parts; r++) {
        if (value_used(l->g, node_out(l->g, n, r))) {
            lw_out(l, r);
            Kb *b = lw_kernel(l, "split");
            KVal out[RANK_MAX], idx[RANK_MAX];
            lw_nest_over(l, r, out);
            for (int i = 0; i < rank; i++) idx[i] = i == axis ? kb_add(b, out[i], kb_dim(b, from)) : out[i];
            lw_put(l, r, out, lw_at(l, 0, idx));
            lw_end_nest(l, rank);
            lw_kernel_end(l);
        }
        from = dim_add(d, from, lw_out_dim(l, r, (int)axis));
    }
    return true;
}

/* Sizes known: each part is a view. */
static bool split_view(const Graph *g, Node n, uint32_t r, const Strided *x, Strided *y)
{
    Dims *d = &g->m->dims;
    int64_t axis = ATTRS(g, n, Split)->axis;
    Value size = node_n_in(g, n) > 1 ? node_in(g, n, 1) : VALUE_NONE;
    if (size.i && !value_rec(g, size)->content && !value_is_const(g, size)) return false;
    if (axis < 0) axis += x->rank;
    Dim from = dim_const(d, 0);
    for (uint32_t k = 0; k < r; k++) from = dim_add(d, from, dim_resolve(d, value_trec(g, node_out(g, n, k))->dim[axis]));
    for (int i = 0; i < x->rank; i++) y->stride[i] = x->stride[i];
    y->offset = dim_add(d, x->offset, dim_mul(d, from, x->stride[axis]));
    return true;
}

static bool split_eval(Eval *e)
{
    const Tensor *x = e->in[0];
    int64_t axis = ATTRS(e->g, e->n, Split)->axis, from = 0, dim[RANK_MAX], o[RANK_MAX];
    if (axis < 0) axis += x->rank;
    int64_t len = x->dim[axis], chunk = (len + e->n_out - 1) / e->n_out;
    for (uint32_t r = 0; r < e->n_out; r++) {
        memcpy(dim, x->dim, sizeof dim);
        dim[axis] = ev_has(e, 1) ? ev_i(e->in[1], r) : from + chunk < len ? chunk : len - from;
        if (dim[axis] < 0 || from + dim[axis] > len) return ev_fail(e, "the sizes do not fit");
        Tensor *y = ev_out(e, r, x->elem, x->rank, dim);
        for (int64_t k = 0; y && k < y->count; k++) {
            unflatten(y, k, o);
            o[axis] += from;
            ev_copy(y, k, x, flat_index(x, o));
        }
        if (!y) return false;
        from += dim[axis];
    }
    return true;
}

const OpDesc op_Split = {.name = "Split", .since = 18, .cls = CLS_MOVE, .flags = OPF_STRIDED_OUT, .in = P_SPLIT, .out = P_PARTS, .attrs = SPLIT_ATTRS, .attrs_size = sizeof(Split), .upgrade = split_upgrade,
                         .infer = split_infer, .propagate = split_propagate, .view = split_view, .lower = split_lower, .grad = grad_split, .eval = split_eval};
