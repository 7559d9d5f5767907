/* pad.c: Pad: constant, edge, reflect, wrap; negative pads crop. Pads were attributes before opset 11.
 *   out[o] = in[o - begin] inside; outside: the value, or the index folded back:
 *   edge: clamp(i, 0, d-1)   wrap: i mod d   reflect: period 2(d-1): j = i mod p, j < d ? j : p - j
 * What a negative pad removes is gone before wrap and reflect repeat the rest (the text leaves it open; ONNX Runtime has it so). */
#include "ir/ops/axes.h"
#include "ir/ops/compose.h"
#include "ir/ops/grad.h"
#include "ir/ops/index.h"
#include "ir/ops/internal.h"
#include <string.h>

static const Port P_IN[] = {{"data", DTS_MOVE | DTS_SMALL, 0, 1}, {"pads", DTS(DT_I64), PORT_SHAPE, 0}, {"constant_value", DTS_MOVE | DTS_SMALL, PORT_OPTIONAL, 1},
                            {"axes", DTS_INDEX, PORT_SHAPE | PORT_OPTIONAL, 0}, PORT_END};
static const Port P_OUT[] = {{"output", DTS_MOVE | DTS_SMALL, 0, 1}, PORT_END};
typedef struct Pad { uint64_t set; const char *mode; AttrInts pads, paddings; double value; } Pad;
static const AttrSpec ATTRS_[] = {A_STRING(Pad, mode, "constant"), A_INTS(Pad, pads), A_INTS(Pad, paddings), A_FLOAT(Pad, value, 0), A_END};

static bool upgrade(Graph *g, Node n, int64_t opset)
{
    Pad *a = node_rec(g, n)->attrs;
    Module *m = g->m;
    if (opset >= 11) return true;
    AttrInts p = a->set & 2 ? a->pads : a->paddings;
    if (!(a->set & 6)) return diag(m->diag, graph_loc(g, n), E_ATTR_MISSING, "pads");
    Dim count = dim_const(&m->dims, p.n);
    graph_add_input(g, n, graph_const(g, blob_inline(&m->blobs, DT_I64, p.n, p.p), type_tensor(&m->types, DT_I64, 1, &count), (Name){0}));
    TypeId t = value_type(g, node_in(g, n, 0));
    DType e = t.i && type_rec(&m->types, t)->elem ? type_rec(&m->types, t)->elem : DT_F32;
    if (a->set & 8) graph_add_input(g, n, graph_const(g, blob_splat_f(&m->blobs, e, 1, a->value), type_tensor(&m->types, e, 0, NULL), (Name){0}));
    a->set &= 1;
    return true;
}

static bool length(const Infer *c, uint32_t k, int64_t *n) { return dim_is_const(c->d, infer_dim(c, k, 0), n); }

/* The lists are as long as the run says, but for all axes pads are twice as many as there are axes: those that a list names
 * are put there. false: diagnosed.
 *   Pad(x, pads, v, axes)  =>  Pad(x, Reshape(ScatterElements(zeros [2,rank], Expand(axes, [2,1]), Reshape(pads, [2,-1])) {axis=1}, [2*rank]), v) */
static bool known_lengths(Infer *c, int rank)
{
    int64_t n_pads, n_axes = rank;
    Dim want;
    if (!infer_need_rank(c, 1, 1, 1) || (infer_has(c, 3) && !infer_need_rank(c, 3, 1, 1))) return false;
    bool open = !length(c, 1, &n_pads);
    if (infer_has(c, 3) && !length(c, 3, &n_axes)) {
        if (!open) {
            want = dim_const(c->d, n_pads / 2);
            return n_pads <= 2 * rank ? operand_called(c, 3, &want, 1) : infer_fail(c, "%lld pads for rank %d", (long long)n_pads, rank);
        }
        Ex e = ex_begin(c->g, c->n);
        Value axes = ex2(&e, OP_Expand, node_in(c->g, c->n, 3), ex_ints(&e, (int64_t[]){2, 1}, 2));
        Value pads = ex2(&e, OP_Reshape, node_in(c->g, c->n, 1), ex_ints(&e, (int64_t[]){2, -1}, 2));
        Value none = ex2(&e, OP_Expand, ex_i(&e, DT_I64, 0), ex_ints(&e, (int64_t[]){2, rank}, 2));
        void *along = ex_set(&e, OP_ScatterElements, NULL, "axis", 1);
        Value all = ex_op(&e, OP_ScatterElements, (Value[]){none, axes, pads}, 3, along);
        all = ex2(&e, OP_Reshape, all, ex_ints(&e, (int64_t[]){2 * rank}, 1));
        if (e.failed) return false;
        graph_set_input(c->g, c->n, 1, all);
        graph_set_input(c->g, c->n, 3, VALUE_NONE);
        return true;
    }
    want = dim_const(c->d, 2 * n_axes);
    return !open || operand_called(c, 1, &want, 1);
}

/* *run: only the run knows which axes. */
static bool pad_axes(Infer *c, int rank, uint32_t n, int64_t *axes, uint32_t *k, bool *run)
{
    *k = (uint32_t)rank;
    *run = false;
    for (int i = 0; i < rank; i++) axes[i] = i;
    if (infer_has(c, 3)) {
        bool mark[RANK_MAX];
        int64_t bad, count;
        if (!infer_ints(c, 3, axes, RANK_MAX, k)) {
            if (!infer_need_rank(c, 3, 1, 1)) return false;
            if (!dim_is_const(c->d, infer_dim(c, 3, 0), &count)) return infer_fail(c, "the number of axes must be known at compile time");
            *run = true;
            if (count > rank) return infer_fail(c, "%lld axes for rank %d", (long long)count, rank);
            return 2 * count == n || infer_fail(c, "%u pads for %lld axes", n, (long long)count);
        }
        if (!axes_mark(axes, *k, rank, mark, &bad)) return infer_fail(c, "axis %lld is out of range, or given twice", (long long)bad);
        for (uint32_t i = 0; i < *k; i++)
            if (axes[i] < 0) axes[i] += rank;
    }
    return n == 2 * *k || infer_fail(c, "%u pads for %u axes", n, *k);
}

static bool infer(Infer *c)
{
    const Dim *p;
    uint32_t n, k;
    int64_t axes[RANK_MAX], count;
    Dim dim[RANK_MAX];
    if (!infer_need_rank(c, 0, 0, -1) || (infer_has(c, 2) && !infer_one_element(c, 2, 1)) || !known_lengths(c, infer_rank(c, 0))) return false;
    const char *mode = ATTRS(c->g, c->n, Pad)->mode;
    if (strcmp(mode, "constant") && strcmp(mode, "edge") && strcmp(mode, "reflect") && strcmp(mode, "wrap")) return infer_fail(c, "mode '%s' is unknown", mode);
    int rank = infer_rank(c, 0);
    for (int i = 0; i < rank; i++) dim[i] = infer_dim(c, 0, i);
    if (!dim_is_const(c->d, infer_dim(c, 1, 0), &count) || count > 2 * RANK_MAX) return infer_fail(c, "the number of pads must be known at compile time");
    bool run;
    if (!pad_axes(c, rank, (uint32_t)count, axes, &k, &run)) return false;
    bool known = !run && infer_content(c, 1, &p, &n);
    for (uint32_t i = 0; i < k; i++)
        dim[axes[i]] = known ? dim_add(c->d, dim[axes[i]], dim_add(c->d, p[i], p[i + k])) : infer_node_dim(c, 0, (int)axes[i], 0, INT64_MAX);
    return infer_set(c, 0, infer_elem(c, 0), rank, dim);
}

/* The innermost axis in memory that is padded, -1: none; *all: no other one lies inside it. */
static int last_moved(Lw *l, const Dim *begin, bool *all)
{
    const TypeRec *t = value_trec(l->g, node_out(l->g, l->n, 0));
    Dims *d = &l->m->dims;
    for (int i = t->rank; i-- > 0;) {
        int a = t->layout.i ? l->m->types.layout.p[t->layout.i].perm[i] : i;
        *all = i + 1 == t->rank;
        if (!dim_is(d, begin[a], 0) || dim_eq(d, lw_dim(l, 0, a), lw_out_dim(l, 0, a)) != TRI_YES) return a;
    }
    return -1;
}

/* Stores the result, along axis `part` (-1: none) from lo to hi only; `plain`: that part lies inside the operand. */
static bool pad_nest(Lw *l, const char *mode, const Dim *begin, int part, Dim lo, Dim hi, bool plain)
{
    Dims *d = &l->m->dims;
    int rank = lw_rank(l, 0);
    Dim dim[RANK_MAX];
    Kb *b = lw_kernel(l, "pad");
    KVal out[RANK_MAX], idx[RANK_MAX], zero[1] = {kb_i(b, 0)}, inside = {0}, fill = {0};
    for (int i = 0; i < rank; i++) dim[i] = i == part ? dim_sub(d, hi, lo) : lw_out_dim(l, 0, i);
    lw_nest_as(l, 0, dim, out);
    if (part >= 0) out[part] = kb_add(b, out[part], kb_dim(b, lo));
    bool constant = !strcmp(mode, "constant");
    for (int i = 0; i < rank; i++) {
        KVal at = kb_sub(b, out[i], kb_dim(b, begin[i])), len = kb_dim(b, lw_dim(l, 0, i)), one = kb_i(b, 1);
        bool untouched = dim_is(d, begin[i], 0) && dim_eq(d, lw_dim(l, 0, i), lw_out_dim(l, 0, i)) == TRI_YES;
        if (untouched) idx[i] = out[i];
        else if (i == part && plain) idx[i] = at;
        else if (constant) {
            KVal ok = kb_and(b, kb_ge(b, at, kb_i(b, 0)), kb_lt(b, at, len));
            inside = inside.i ? kb_and(b, inside, ok) : ok;
            idx[i] = at;
        } else if (!strcmp(mode, "edge")) idx[i] = kb_max(b, kb_i(b, 0), kb_min(b, at, kb_sub(b, len, one)));
        else {
            Dim none = dim_const(d, 0), front = dim_min(d, none, begin[i]), back = dim_min(d, none, dim_sub(d, lw_out_dim(l, 0, i), dim_add(d, lw_dim(l, 0, i), begin[i])));
            KVal gone = kb_dim(b, dim_sub(d, none, front)), j;
            at = kb_sub(b, at, gone), len = kb_max(b, one, kb_dim(b, dim_add(d, lw_dim(l, 0, i), dim_add(d, front, back))));
            /* no more than the axis has to repeat, as nearly always: no division */
            Dim kept = dim_add(d, lw_dim(l, 0, i), dim_add(d, front, back)), least = !strcmp(mode, "wrap") ? kept : dim_sub(d, kept, dim_const(d, 1));
            Dim before = dim_sub(d, begin[i], front), behind = dim_sub(d, dim_sub(d, lw_out_dim(l, 0, i), kept), before);
            bool once = dim_le(d, before, least) == TRI_YES && dim_le(d, behind, least) == TRI_YES;
            if (!strcmp(mode, "wrap")) {
                j = once ? kb_select(b, kb_lt(b, at, kb_i(b, 0)), kb_add(b, at, len), at) : kb_bin(b, KOP_MOD, at, len);
                if (once) j = kb_select(b, kb_lt(b, j, len), j, kb_sub(b, j, len));
            } else if (once) {
                j = kb_max(b, at, kb_sub(b, kb_i(b, 0), at));
                j = kb_min(b, j, kb_sub(b, kb_mul(b, kb_i(b, 2), kb_sub(b, len, one)), j));
            } else {
                KVal period = kb_max(b, one, kb_mul(b, kb_i(b, 2), kb_sub(b, len, one)));
                j = kb_bin(b, KOP_MOD, at, period);
                j = kb_select(b, kb_lt(b, j, len), j, kb_sub(b, period, j));
            }
            idx[i] = kb_add(b, j, gone);
        }
    }
    if (inside.i) {
        KBuf src = lw_in_strided(l, 0);
        if (lw_has(l, 2)) fill = lw_at(l, 2, zero);
        lw_put(l, 0, out, kb_load_if(b, kb_param(b, src, false), idx, inside, fill));
    } else lw_put(l, 0, out, lw_at(l, 0, idx));
    lw_end_nest(l, rank);
    lw_kernel_end(l);
    return true;
}

static bool lower(Lw *l, Node n)
{
    Infer c = {.m = l->m, .g = l->g, .n = n, .op = node_desc(l->g, n), .d = &l->m->dims};
    const char *mode = ATTRS(l->g, n, Pad)->mode;
    Dim p[2 * RANK_MAX], dim[RANK_MAX], begin[RANK_MAX];
    int64_t axes[RANK_MAX];
    uint32_t np, k;
    int rank = lw_rank(l, 0);
    bool run;
    if (!lw_values(l, 1, p, 2 * RANK_MAX, &np) || !pad_axes(&c, rank, np, axes, &k, &run)) return false;
    for (int i = 0; i < rank; i++) dim[i] = lw_dim(l, 0, i), begin[i] = dim_const(c.d, 0);
    if (run) {   /* pads of all axes from those of the axes given */
        RunAxes x;
        Dim all[2 * RANK_MAX];
        if (!axes_read(l, 3, rank, &x)) return false;
        for (int i = 0; i < 2 * rank; i++) all[i] = axes_bind(l, axes_pick(l, &x, i % rank, p + (i < rank ? 0 : np / 2), dim_const(c.d, 0)), INT64_MIN, INT64_MAX);
        memcpy(p, all, sizeof all);
    }
    for (uint32_t i = 0; i < k; i++) {
        begin[axes[i]] = p[i];
        dim[axes[i]] = dim_add(c.d, dim[axes[i]], dim_add(c.d, p[i], p[i + k]));
    }
    lw_bind_dims(l, 0, dim);
    lw_prepare_in(l);
    lw_out(l, 0);
    bool constant = !strcmp(mode, "constant");
    for (uint32_t i = 0; i < k && !constant; i++) /* no element to repeat */
        index_check(l, dim_min(c.d, dim_const(c.d, 1), dim[axes[i]]), KREL_LE, lw_dim(l, 0, (int)axes[i]), "an empty axis is padded with its elements");
    bool inner = false;
    int last = last_moved(l, begin, &inner);
    Dim from[4] = {dim_const(c.d, 0)};
    if ((constant && inner) || last < 0) return pad_nest(l, mode, begin, -1, dim_const(c.d, 0), dim_const(c.d, 0), false);
    /* Three parts along that axis: what stands before, the operand itself, whose rows are copied whole, what stands
     * behind. A constant next to elements of the innermost axis is part of the same vectors, under masks. */
    from[1] = dim_max(c.d, from[0], dim_min(c.d, begin[last], dim[last]));
    from[2] = dim_max(c.d, from[1], dim_min(c.d, dim_add(c.d, begin[last], lw_dim(l, 0, last)), dim[last]));
    from[3] = dim[last];
    for (int i = 0; i < 3; i++)
        if (!dim_is(c.d, dim_sub(c.d, from[i + 1], from[i]), 0) && !pad_nest(l, mode, begin, last, from[i], from[i + 1], i == 1)) return false;
    return true;
}

static bool eval(Eval *e)
{
    const Tensor *x = e->in[0];
    const char *mode = ATTRS(e->g, e->n, Pad)->mode;
    int64_t begin[RANK_MAX] = {0}, dim[RANK_MAX], o[RANK_MAX], k = e->in[1]->count / 2;
    memcpy(dim, x->dim, sizeof dim);
    for (int64_t i = 0; i < k; i++) {
        int64_t a = ev_has(e, 3) ? ev_i(e->in[3], i) : i;
        if (a < 0) a += x->rank;
        begin[a] = ev_i(e->in[1], i);
        dim[a] += begin[a] + ev_i(e->in[1], i + k);
    }
    Tensor *y = ev_out(e, 0, x->elem, x->rank, dim);
    bool repeats = !strcmp(mode, "wrap") || !strcmp(mode, "reflect");
    for (int64_t j = 0; y && j < y->count; j++) {
        bool in = true;
        unflatten(y, j, o);
        for (int a = 0; a < x->rank; a++) {
            int64_t end = y->dim[a] - x->dim[a] - begin[a], gone = begin[a] < 0 && repeats ? -begin[a] : 0;
            int64_t d = x->dim[a] - gone + (end < 0 && repeats ? end : 0), i = o[a] - begin[a] - gone;
            if (!strcmp(mode, "edge")) i = i < 0 ? 0 : i >= d ? d - 1 : i;
            else if (!strcmp(mode, "wrap")) i = ((i % d) + d) % d;
            else if (!strcmp(mode, "reflect"))
                while (d > 1 && (i < 0 || i >= d)) i = i < 0 ? -i : 2 * (d - 1) - i;
            if (d == 1 && !strcmp(mode, "reflect")) i = 0;
            in &= i >= 0 && i < d;
            o[a] = i + gone;
        }
        if (in) ev_copy(y, j, x, flat_index(x, o));
        else if (ev_has(e, 2)) ev_copy(y, j, e->in[2], 0);
    }
    return y != NULL;
}

/* Nothing is put anywhere: the operand. */
static Value equivalent(Graph *g, Node n, uint32_t r)
{
    const Content *c = infer_value_content(g, node_in(g, n, 1));
    (void)r;
    for (uint32_t i = 0; c && i < c->n; i++)
        if (!dim_is(&g->m->dims, dim_resolve(&g->m->dims, c->d[i]), 0)) return VALUE_NONE;
    return c ? node_in(g, n, 0) : VALUE_NONE;
}

const OpDesc op_Pad = {.name = "Pad", .since = 25, .cls = CLS_MOVE, .flags = OPF_STRIDED_OUT, .one = 4, .in = P_IN, .out = P_OUT, .attrs = ATTRS_, .attrs_size = sizeof(Pad), .upgrade = upgrade,
                       .infer = infer, .equivalent = equivalent, .lower = lower, .grad = grad_pad, .eval = eval};
