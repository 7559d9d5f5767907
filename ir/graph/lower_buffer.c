/* lower_buffer.c: where values lie in memory, and views of them.
 *
 * Every buffer has the axes of its value; strides say how it lies. A result whose type has a layout gets memory in that order (a dense buffer with permuted dims)
 * and a view of it with logical axes. Moves that strides can express (Transpose, Slice, Reshape that keeps runs together, ...) are views of their operand, operands
 * of a Concat are stored straight into its result (`lw_reserve`). Whoever needs row-major memory asks with lw_in and gets a copy, made once, when it lies otherwise. */
#include "base/bug.h"
#include "ir/graph/lower_state.h"
#include <string.h>

static bool entry_dims(Lw *l, const TypeRec *t)
{
    for (int i = 0; i < t->rank; i++)
        if (dim_has_kind(&l->m->dims, lw_res(l, t->dim[i]), SYM_NODE)) return false;
    return true;
}

/* A pair with a capacity: v is what the input holds and something behind it, so that storing v leaves that alone. */
static bool appends(Lw *l, Value v, const KPort *out)
{
    Node n = value_rec(l->g, v)->def;
    return out->alias_axis >= 0 && n.i && node_desc(l->g, n)->joins && node_desc(l->g, n)->joins(l->g, n) == out->alias_axis &&
           node_in(l->g, n, 0).i == l->g->in.p[out->alias].i;
}

static int entry_output(Lw *l, Value v)
{
    if (!l->s->frame->entry) return -1;
    for (uint32_t k = 0; k < l->k->output.n; k++)
        if (l->g->out.p[k].i == v.i && !l->s->out_claimed[k] && (l->k->output.p[k].alias < 0 || appends(l, v, &l->k->output.p[k]))) return (int)k;
    return -1;
}

void lw_lies_as_port(Lw *l, KBuf b, const KPort *p)
{
    KBufRec *r = kbuf(l->k, b);
    Dims *d = &l->m->dims;
    Dim step = dim_const(d, 1);
    if (p->alias_axis < 1) return; /* along the outermost axis there is nothing to step over */
    r->dense = false;
    for (int i = r->rank; i-- > 0;) {
        r->stride[i] = step;
        step = dim_mul(d, step, i == p->alias_axis ? dim_const(d, p->alias_cap) : r->dim[i]);
    }
}

/* ---- how buffers lie ---- */

void lw_lies(Lw *l, KBuf b, LwView *v)
{
    KBufRec r = *kbuf(l->k, b);
    Dims *d = &l->m->dims;
    *v = (LwView){.base = b, .at = {.rank = r.rank, .offset = dim_const(d, 0)}};
    for (int i = 0; i < r.rank; i++) {
        v->at.dim[i] = r.dim[i];
        v->at.stride[i] = kbuf_stride(l->k, &r, i);
    }
    while (kbuf(l->k, v->base)->space == KS_VIEW && kbuf(l->k, kbuf(l->k, v->base)->base)->elem == r.elem) {   /* BitCast reads another type */
        v->at.offset = dim_add(d, v->at.offset, kbuf(l->k, v->base)->offset);
        v->base = kbuf(l->k, v->base)->base;
    }
}

bool lw_row_major(Lw *l, KBuf b)
{
    LwView v;
    if (kbuf(l->k, b)->dense) return true;
    lw_lies(l, b, &v);
    return strides_row_major(&l->m->dims, &v.at);
}

static KBuf make_view(Lw *l, const LwView *v, Name name)
{
    bool dense = strides_row_major(&l->m->dims, &v->at);
    return kbuf_view(l->k, v->base, name, v->at.rank, v->at.dim, dense ? NULL : v->at.stride, v->at.offset, l->loc);
}

static void result_dims(Lw *l, Value v, Strided *y)
{
    const TypeRec *t = value_trec(l->g, v);
    *y = (Strided){.rank = t->rank};
    for (int i = 0; i < t->rank; i++) y->dim[i] = lw_res(l, t->dim[i]);
}

/* No product left 64 bits. */
static bool representable(const Strided *y)
{
    for (int i = 0; i < y->rank; i++)
        if (!y->stride[i].i) return false;
    return y->offset.i;
}

bool lw_set_view(Lw *l, uint32_t r, const LwView *v)
{
    Value out = node_out(l->g, l->n, r);
    LwView w = *v;
    if (!representable(&w.at)) return false;
    result_dims(l, out, &w.at);
    memcpy(w.at.stride, v->at.stride, sizeof w.at.stride);
    w.at.offset = v->at.offset;
    lw_set_out(l, r, make_view(l, &w, value_rec(l->g, out)->name));
    return true;
}

bool lw_views(Lw *l)
{
    const OpDesc *op = node_desc(l->g, l->n);
    uint32_t n_out = node_n_out(l->g, l->n);
    if (value_trec(l->g, node_in(l->g, l->n, 0))->kind != TY_TENSOR || dtype_info(lw_elem(l, 0))->bits < 8) return false;
    LwView x, *y = arena_array(l->m->arena, LwView, n_out);
    lw_lies(l, lw_in_strided(l, 0), &x);
    for (uint32_t r = 0; r < n_out; r++) {
        y[r].base = x.base;
        result_dims(l, node_out(l->g, l->n, r), &y[r].at);
        if (!op->view(l->g, l->n, r, &x.at, &y[r].at) || !representable(&y[r].at)) return false;
    }
    for (uint32_t r = 0; r < n_out; r++) lw_set_out(l, r, make_view(l, &y[r], value_rec(l->g, node_out(l->g, l->n, r))->name));
    return true;
}

/* An output of the model that would be a view of a row-major copy of operand k: the copy is made where the caller wants it. */
static bool brought_to_output(Lw *l, uint32_t r, uint32_t k)
{
    Value v = node_out(l->g, l->n, r);
    const TypeRec *t = value_trec(l->g, v);
    KBuf in = lw_in_strided(l, k);
    if (kbuf(l->k, in)->space == KS_SEQ || lw_row_major(l, in) || l->s->frame->buf[v.i].i || t->kind != TY_TENSOR || t->layout.i ||
        !entry_dims(l, t) || entry_output(l, v) < 0)
        return false;
    for (uint32_t i = 0; i < l->s->dense.n; i++)
        if (l->s->dense.p[i].from.i == in.i) return false;
    KBuf out = lw_out(l, r);
    LwView y, x;
    lw_lies(l, out, &y);
    lw_lies(l, in, &x);
    x.base = y.base;
    strides_of_layout(&l->m->dims, NULL, &x.at);
    x.at.offset = y.at.offset;
    lw_copy(l, l->steps, make_view(l, &x, (Name){0}), in);
    return true;
}

void lw_view(Lw *l, uint32_t r, uint32_t k)
{
    Value v = node_out(l->g, l->n, r);
    LwView x, y;
    lw_lies(l, lw_in_strided(l, k), &x);
    y.base = x.base;
    result_dims(l, v, &y.at);
    if (strides_row_major(&l->m->dims, &x.at) || !strides_reshape(&l->m->dims, &x.at, &y.at) || !representable(&y.at)) {
        if (brought_to_output(l, r, k)) return;
        lw_lies(l, lw_in(l, k), &x);
        y.base = x.base;
        strides_of_layout(&l->m->dims, NULL, &y.at);
        y.at.offset = x.at.offset;
    }
    lw_set_out(l, r, make_view(l, &y, value_rec(l->g, v)->name));
}

/* ---- memory ---- */

KBuf lw_place(Lw *l, TypeId type, Name name, int output)
{
    const TypeRec *t = type_rec(&l->m->types, type);
    if (t->kind != TY_TENSOR) {
        KBuf b = kbuf_new(l->k, KS_SEQ, name, DT_NONE, 0, NULL, l->loc);
        kbuf(l->k, b)->seq = type;
        if (output >= 0) kbuf(l->k, b)->port = output;
        return b;
    }
    assert(t->rank != RANK_UNKNOWN);
    bool laid = t->layout.i && output < 0;
    const Layout *lay = &l->m->types.layout.p[t->layout.i];
    Dim dim[RANK_MAX];
    for (int i = 0; i < t->rank; i++) dim[i] = lw_res(l, t->dim[laid ? lay->perm[i] : i]);
    bool planned = entry_dims(l, t);
    KSpace space = !planned ? KS_BOX : output >= 0 ? KS_OUT : KS_ARENA;
    KBuf b = kbuf_new(l->k, space, name, t->elem, t->rank, dim, l->loc);
    if (output >= 0) {
        kbuf(l->k, b)->port = output;
        if (planned) lw_lies_as_port(l, b, &l->k->output.p[output]);
    }
    if (!planned) lw_step(l, KST_ALLOC)->buf = b;
    if (!laid) return b;
    LwView v = {.base = b, .at.rank = t->rank};
    for (int i = 0; i < t->rank; i++) v.at.dim[lay->perm[i]] = dim[i];
    strides_of_layout(&l->m->dims, lay, &v.at);
    return make_view(l, &v, name);
}

void lw_realloc(Lw *l, KBuf box)
{
    box = kbuf_root(l->k, box);
    assert(kbuf(l->k, box)->space == KS_BOX);
    lw_step(l, KST_ALLOC)->buf = box;
}

KBuf lw_temp(Lw *l, DType elem, int rank, const Dim *dim)
{
    return lw_place(l, type_tensor(&l->m->types, elem, rank, dim), (Name){0}, -1);
}

bool lw_has(Lw *l, uint32_t k) { return node_in(l->g, l->n, k).i != 0; }

KBuf lw_in_strided(Lw *l, uint32_t k) { return lw_value_buf(l, node_in(l->g, l->n, k)); }

KBuf lw_in(Lw *l, uint32_t k) { return lw_row_major_of(l, lw_in_strided(l, k)); }

KBuf lw_row_major_of(Lw *l, KBuf b)
{
    struct LwState *s = l->s;
    if (kbuf(l->k, b)->space == KS_SEQ || lw_row_major(l, b)) return b;
    for (uint32_t i = 0; i < s->dense.n; i++)
        if (s->dense.p[i].from.i == b.i) return s->dense.p[i].to;
    if (l->b) BUG("a row-major copy inside an open kernel");
    KBufRec r = *kbuf(l->k, b);
    KBuf to = lw_temp(l, r.elem, r.rank, r.dim);
    lw_copy(l, l->steps, to, b);
    vec_push(l->m->arena, &s->dense, (LwDense){b, to});
    return to;
}

/* The output that v is under another shape: Reshapes and the like lead from it there, in memory the same elements. -1: none. */
static int output_of_views(Lw *l, Value v)
{
    Graph *g = l->g;
    Dims *d = &l->m->dims;
    if (!l->s->frame->entry || value_rec(g, v)->n_out_use || dtype_info(value_trec(g, v)->elem)->bits < 8) return -1;
    for (uint32_t u = value_rec(g, v)->first_use; u; u = g->operand.p[u - 1].next_use) {
        const OperandRec *use = &g->operand.p[u - 1];
        const OpDesc *op = node_desc(g, use->user);
        if (!op->view || use->index) continue;
        Value w = node_out(g, use->user, 0);
        const TypeRec *t = value_trec(g, w);
        Strided x, y;
        if (t->kind != TY_TENSOR || t->layout.i || t->elem != value_trec(g, v)->elem || !entry_dims(l, t)) continue;
        result_dims(l, v, &x);
        strides_of_layout(d, NULL, &x);
        x.offset = dim_const(d, 0);
        result_dims(l, w, &y);
        if (!op->view(g, use->user, 0, &x, &y) || !representable(&y) || !strides_row_major(d, &y) || !dim_is(d, y.offset, 0)) continue;
        if (dim_eq(d, lw_res(l, type_count(&l->m->types, value_type(g, v))), lw_res(l, type_count(&l->m->types, value_type(g, w)))) != TRI_YES) continue;
        int output = entry_output(l, w);
        if (output < 0) output = output_of_views(l, w);
        if (output >= 0) return l->k->output.p[output].alias < 0 ? output : -1;
    }
    return -1;
}

/* Memory for v in that of an output of another shape. */
static KBuf place_shaped(Lw *l, Value v, int output)
{
    Value whole = l->g->out.p[output];
    LwView w = {.at.offset = dim_const(&l->m->dims, 0)};
    l->s->out_claimed[output] = true;
    w.base = lw_place(l, value_type(l->g, whole), value_rec(l->g, whole)->name, output);
    result_dims(l, v, &w.at);
    strides_of_layout(&l->m->dims, NULL, &w.at);
    return make_view(l, &w, value_rec(l->g, v)->name);
}

KBuf lw_out(Lw *l, uint32_t r)
{
    Value v = node_out(l->g, l->n, r);
    KBuf slot = l->s->frame->buf[v.i];
    if (slot.i) return slot;
    slot = lw_reserved(l, v);
    if (!slot.i) {
        const TypeRec *t = value_trec(l->g, v);
        int output = t->kind == TY_TENSOR && t->layout.i ? -1 : entry_output(l, v);   /* the caller's memory is row-major */
        int shaped = output < 0 && t->kind == TY_TENSOR && !t->layout.i && entry_dims(l, t) ? output_of_views(l, v) : -1;
        if (output >= 0) l->s->out_claimed[output] = true;
        if (shaped >= 0) slot = place_shaped(l, v, shaped);
        else slot = lw_place(l, value_type(l->g, v), value_rec(l->g, v)->name, output);
    }
    return l->s->frame->buf[v.i] = slot;
}

void lw_set_out(Lw *l, uint32_t r, KBuf b) { l->s->frame->buf[node_out(l->g, l->n, r).i] = b; }

/* Short runs of a tensor beyond the caches whose two axes before them change places, as of heads: runs of 16 of the
 * inner one at a time, so that both sides stay within a few pages. axis[]: of dst, from the outermost in. false: not so. */
static bool copy_blocks(Lw *l, KSteps *to, KBuf dst, KBuf src, const int *axis)
{
    enum { BLOCK = 16, RUN = 4096 /* bytes: longer ones need no help */ };
    Dims *d = &l->m->dims;
    KBufRec r = *kbuf(l->k, dst);
    int n = r.rank, run = n < 3 ? 0 : axis[n - 1], inner = n < 3 ? 0 : axis[n - 2], outer = n < 3 ? 0 : axis[n - 3];
    int64_t bytes = dtype_bytes(r.elem, 1), all, len, many, apart[2], step[2];
    if (n < 3 || dtype_info(r.elem)->bits < 8 || !dim_is_const(d, kbuf_count(l->k, dst), &all)) return false;
    if (!dim_is_const(d, r.dim[run], &len) || !dim_is_const(d, r.dim[inner], &many)) return false;
    if (all <= l->k->target.l2_bytes / bytes || len * bytes > RUN || len < 16 || many % BLOCK || many < 4 * BLOCK) return false;
    if (!dim_is_const(d, kbuf_stride(l->k, kbuf(l->k, dst), run), &step[0]) || step[0] != 1) return false;
    if (!dim_is_const(d, kbuf_stride(l->k, kbuf(l->k, src), run), &step[1]) || step[1] != 1) return false;
    if (!dim_is_const(d, kbuf_stride(l->k, kbuf(l->k, src), inner), &apart[0])) return false;
    if (!dim_is_const(d, kbuf_stride(l->k, kbuf(l->k, src), outer), &apart[1]) || apart[1] >= apart[0]) return false;
    Kb *b = kb_new(l->k, "relayout", l->loc);
    uint32_t pd = kb_param(b, dst, true), ps = kb_param(b, src, false);
    KVal idx[RANK_MAX];
    for (int i = 0; i < n - 3; i++) idx[axis[i]] = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, r.dim[axis[i]]));
    KVal first = kb_mul(b, kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_i(b, many / BLOCK)), kb_i(b, BLOCK));
    idx[outer] = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, r.dim[outer]));
    idx[inner] = kb_add(b, first, kb_for(b, KLOOP_SEQ, kb_i(b, 0), kb_i(b, BLOCK)));
    idx[run] = kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_dim(b, r.dim[run]));
    kb_store(b, pd, idx, kb_load(b, ps, idx));
    for (int i = 0; i < n + 1; i++) kb_end(b);
    kb_finish(b, to);
    return true;
}

/* dst = src. Both row-major: element by element in memory order, shapes may differ in form, not in count; else they have the same axes. */
void lw_copy(Lw *l, KSteps *to, KBuf dst, KBuf src)
{
    assert(!l->b);
    const KBufRec *d = kbuf(l->k, dst);
    if (d->space == KS_SEQ) {
        lw_call(l, to, "rt_seq_copy", 2, (KArg[]){{.kind = KA_BUF, .buf = src}, {.kind = KA_BUF, .buf = dst}});
        return;
    }
    if (!lw_row_major(l, dst) || !lw_row_major(l, src)) {
        assert(d->rank == kbuf(l->k, src)->rank);
        KBufRec r = *d;
        int axis[RANK_MAX];
        KVal idx[RANK_MAX];
        LwView v;
        lw_lies(l, dst, &v);
        strides_order(&l->m->dims, &v.at, axis);
        if (copy_blocks(l, to, dst, src, axis)) return;
        Kb *b = kb_new(l->k, "relayout", l->loc);
        for (int i = 0; i < r.rank; i++) idx[axis[i]] = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, r.dim[axis[i]]));
        kb_store(b, kb_param(b, dst, true), idx, kb_load(b, kb_param(b, src, false), idx));
        for (int i = 0; i < r.rank; i++) kb_end(b);
        kb_finish(b, to);
        return;
    }
    Dim n = kbuf_count(l->k, dst);
    KBuf flat[2] = {dst, src};
    for (int i = 0; i < 2; i++) {
        const KBufRec *r = kbuf(l->k, flat[i]);
        if (r->rank == 1 && dim_same(r->dim[0], n)) continue;
        LwView at;
        lw_lies(l, flat[i], &at);
        flat[i] = kbuf_view(l->k, at.base, (Name){0}, 1, &n, NULL, at.at.offset, l->loc);
    }
    Kb *b = kb_new(l->k, "copy", l->loc);
    uint32_t pd = kb_param(b, flat[0], true), ps = kb_param(b, flat[1], false);
    KVal i = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, n));
    kb_store(b, pd, &i, kb_load(b, ps, &i));
    kb_end(b);
    kb_finish(b, to);
}

/* ---- places inside a Concat's result ---- */

static bool writes_strided(const Graph *g, Node n)
{
    const OpDesc *d = node_desc(g, n);
    if (d->view) return false;   /* has no memory of its own */
    return (d->flags & OPF_STRIDED_OUT) || (!d->lower && (d->cls == CLS_ELTWISE || d->route));
}

static bool may_live_inside(Lw *l, Node concat, uint32_t k)
{
    Graph *g = l->g;
    Value v = node_in(g, concat, k), whole = node_out(g, concat, 0);
    const ValueRec *r = value_rec(g, v);
    const TypeRec *t = value_trec(g, v);
    if (!r->def.i || r->n_out_use || r->content || dtype_compute(t->elem) == DT_STR || t->layout.i != value_trec(g, whole)->layout.i) return false;
    if (node_rec(g, r->def)->n_out != 1 || !writes_strided(g, r->def) || !entry_dims(l, t)) return false;
    for (uint32_t i = 0; i < node_n_in(g, concat); i++)
        if (i != k && node_in(g, concat, i).i == v.i) return false;
    return true;
}

void lw_reserve(Lw *l)
{
    Graph *g = l->g;
    Frame *f = l->s->frame;
    f->inside = arena_array(l->m->arena, LwInside, g->value.n + 1);
    for (Node n = graph_last(g); n.i; n = node_prev(g, n)) {   /* the last one holds the most in a chain of growing ones */
        if (!node_desc(g, n)->joins) continue;
        const TypeRec *t = value_trec(g, node_out(g, n, 0));
        if (!entry_dims(l, t) || value_rec(g, node_out(g, n, 0))->content || dtype_info(t->elem)->bits < 8) continue;
        for (uint32_t k = 0; k < node_n_in(g, n); k++) {
            Value v = node_in(g, n, k);
            if (!f->inside[v.i].concat.i && may_live_inside(l, n, k)) f->inside[v.i] = (LwInside){n, k};
        }
    }
}

KBuf lw_reserved(Lw *l, Value v)
{
    Frame *f = l->s->frame;
    if (!f->inside || !f->inside[v.i].concat.i) return (KBuf){0};
    LwInside at = f->inside[v.i];
    Lw outer = *l;
    Dims *d = &l->m->dims;
    outer.n = at.concat;
    KBuf whole = lw_out(&outer, 0);
    LwView w;
    lw_lies(l, whole, &w);
    int axis = node_desc(l->g, at.concat)->joins(l->g, at.concat);
    Dim before = dim_const(d, 0);
    for (uint32_t k = 0; k < at.operand; k++) before = dim_add(d, before, lw_dim(&outer, k, axis));
    Dim offset = dim_add(d, w.at.offset, dim_mul(d, before, w.at.stride[axis]));
    Strided y;
    result_dims(l, v, &y);
    memcpy(y.stride, w.at.stride, sizeof y.stride);
    y.offset = offset;
    w.at = y;
    if (!offset.i) BUG("an offset inside '%s' left 64 bits", value_name(l->g, v));
    return make_view(l, &w, value_rec(l->g, v)->name);
}

bool lw_is_inside(Lw *l, uint32_t k)
{
    const LwInside *in = l->s->frame->inside;
    Value v = node_in(l->g, l->n, k);
    KBuf y = l->s->frame->buf[node_out(l->g, l->n, 0).i];
    if (!k && y.i && kbuf(l->k, y)->space == KS_OUT && l->s->frame->entry) {
        const KPort *p = &l->k->output.p[kbuf(l->k, y)->port];
        if (p->alias >= 0 && l->g->in.p[p->alias].i == v.i && appends(l, node_out(l->g, l->n, 0), p)) return true;
    }
    return in && in[v.i].concat.i == l->n.i && in[v.i].operand == k && l->s->frame->buf[v.i].i;
}

bool lw_side_by_side(Lw *l, int axis, LwView *whole)
{
    Dims *d = &l->m->dims;
    if (l->s->frame->buf[node_out(l->g, l->n, 0).i].i) return false;   /* it has a place, and some operands are there */
    for (uint32_t k = 0; k < node_n_in(l->g, l->n); k++) {
        KBuf b = l->s->frame->buf[node_in(l->g, l->n, k).i];
        LwView v;
        if (!b.i || kbuf(l->k, b)->space != KS_VIEW) return false;
        lw_lies(l, b, &v);
        if (k == 0) {
            *whole = v;
            continue;
        }
        Strided *w = &whole->at;
        Dim end = dim_add(d, w->offset, dim_mul(d, w->dim[axis], w->stride[axis]));
        if (v.base.i != whole->base.i || !end.i || !dim_same(v.at.offset, end)) return false;
        for (int i = 0; i < w->rank; i++)
            if (!dim_same(v.at.stride[i], w->stride[i])) return false;
        w->dim[axis] = dim_add(d, w->dim[axis], v.at.dim[axis]);
    }
    return true;
}
