/* lower_access.c: elements of values inside an open kernel: loads, stores, and the splicing of element-wise producers and consumers (groups).
 *
 * lw_value_at answers "the element of v at idx" by, in this order: the value that the group's root has just computed, a memo, a constant, a load from memory,
 * or computing it from the producer's operands (`scalar` and `route` hooks), recursively. A route with a predicate guards every load below it.
 * lw_put stores, and for the root of a group first runs the rest of the group on the element. */
#include "ir/graph/lower_state.h"
#include "base/bug.h"
#include <string.h>

/* ---- kernels ---- */

Kb *lw_kernel(Lw *l, const char *stem)
{
    assert(!l->b);
    return l->b = kb_new(l->k, stem, l->loc);
}

void lw_kernel_end(Lw *l)
{
    Kb *b = l->b;
    l->b = NULL;
    kb_finish(b, l->steps);
}

void lw_nest(Lw *l, int rank, const Dim *dim, KVal *idx)
{
    for (int a = 0; a < rank; a++) idx[a] = kb_for(l->b, KLOOP_PAR, kb_i(l->b, 0), kb_dim(l->b, dim[a]));
}

void lw_nest_as(Lw *l, uint32_t r, const Dim *dim, KVal *idx)
{
    const TypeRec *t = value_trec(l->g, node_out(l->g, l->n, r));
    const Layout *lay = &l->m->types.layout.p[t->layout.i];
    for (int i = 0; i < t->rank; i++) {
        int a = t->layout.i ? lay->perm[i] : i;
        idx[a] = kb_for(l->b, KLOOP_PAR, kb_i(l->b, 0), kb_dim(l->b, dim[a]));
    }
}

void lw_nest_over(Lw *l, uint32_t r, KVal *idx)
{
    Dim dim[RANK_MAX];
    for (int i = 0; i < lw_out_rank(l, r); i++) dim[i] = lw_out_dim(l, r, i);
    lw_nest_as(l, r, dim, idx);
}

void lw_end_nest(Lw *l, int rank)
{
    for (int a = 0; a < rank; a++) kb_end(l->b);
}

/* ---- reading ---- */

static KVal load(Lw *l, KBuf buf, const KVal *idx)
{
    uint32_t p = kb_param(l->b, buf, false);
    return l->s->pred.i ? kb_load_if(l->b, p, idx, l->s->pred, (KVal){0}) : kb_load(l->b, p, idx);
}

/* Constants of one value need no memory. */
static bool constant(Lw *l, Value v, KVal *out)
{
    ValueRec *r = value_rec(l->g, v);
    const TypeRec *t = type_rec(&l->m->types, r->type);
    DType c = dtype_compute(t->elem);
    if (r->data.i) {
        const BlobRec *b = blob_rec(&l->m->blobs, r->data);
        if (b->elem == DT_STR || dtype_info(b->elem)->cls == DC_COMPLEX || b->kind == BLOB_DERIVED || (b->kind != BLOB_SPLAT && b->count != 1)) return false;
        *out = dtype_is_float(c) ? kb_const_f(l->b, c, blob_get_f(&l->m->blobs, r->data, 0)) : kb_const_i(l->b, c, blob_get_i(&l->m->blobs, r->data, 0));
        return b->count > 0;
    }
    if (r->content && r->content->n == 1) {
        *out = kb_cast(l->b, t->elem, kb_dim(l->b, lw_res(l, r->content->d[0])));
        return true;
    }
    return false;
}

static int region_input(const Graph *g, Value v)
{
    if (value_rec(g, v)->def.i || value_rec(g, v)->data.i) return -1;
    for (uint32_t k = 0; k < g->in.n; k++)
        if (g->in.p[k].i == v.i) return (int)k;
    return -1;
}

/* In a group's region, an input stands for an operand of the group: `outer` becomes the surrounding graph's view. */
static bool group_operand(Lw *l, Value v, Lw *outer, Value *operand)
{
    struct LwState *s = l->s;
    int k = s->group.i && s->frame != s->group_outer ? region_input(l->g, v) : -1;
    if (k < 0) return false;
    *outer = *l;
    outer->g = s->group_outer->g;
    outer->n = s->group;
    *operand = node_in(outer->g, s->group, (uint32_t)k);
    return true;
}

KBuf lw_group_buf(Lw *l, Value v)
{
    Lw outer;
    Value operand;
    if (!group_operand(l, v, &outer, &operand)) return (KBuf){0};
    Frame *keep = l->s->frame;
    l->s->frame = l->s->group_outer;
    KBuf b = lw_value_buf(&outer, operand);
    l->s->frame = keep;
    return b;
}

bool lw_const(Lw *l, uint32_t k, Blob *out)
{
    Value v = node_in(l->g, l->n, k), operand;
    Lw outer;
    Graph *g = l->g;
    if (v.i && group_operand(l, v, &outer, &operand)) g = outer.g, v = operand;
    if (!v.i || !value_is_const(g, v)) return false;
    *out = value_rec(g, v)->data;
    return true;
}

KVal lw_value_at(Lw *l, Value v, const KVal *idx)
{
    struct LwState *s = l->s;
    const TypeRec *t = value_trec(l->g, v);
    if (!s->depth) s->memo.n = 0;
    if (s->root.i && s->group.i && s->root_value.i == v.i && s->root_val.i && s->frame->g == l->g) return s->root_val;   /* group 0: an operand, read outside */
    for (uint32_t i = s->memo.n; i-- > 0;) {
        const Memo *m = &s->memo.p[i];
        if (m->g == l->g && m->v.i == v.i && m->rank == t->rank && !memcmp(m->idx, idx, sizeof(KVal) * (size_t)t->rank)) return m->val;
    }
    KVal x;
    Lw outer;
    Value operand;
    if (constant(l, v, &x)) return x;
    if (s->frame->buf[v.i].i || value_rec(l->g, v)->data.i) x = load(l, lw_value_buf(l, v), idx);
    else if (group_operand(l, v, &outer, &operand)) {   /* read in the surrounding graph */
        Frame *keep = s->frame;
        Node group = s->group;
        s->frame = s->group_outer;
        s->group = NODE_NONE;
        x = lw_value_at(&outer, operand, idx);
        s->frame = keep;
        s->group = group;
    } else if (value_rec(l->g, v)->content) x = load(l, lw_value_buf(l, v), idx);
    else if (value_rec(l->g, v)->def.i) {
        x = lw_inline(l, value_rec(l->g, v)->def, value_rec(l->g, v)->result, idx);
        if (!s->depth && dtype_compute(t->elem) != t->elem) x = kb_cast(l->b, t->elem, x);   /* read by the group's root: as if it had been stored */
    } else BUG("value '%s' cannot be read", value_name(l->g, v));
    if (!s->pred.i) {
        Memo m = {.g = l->g, .v = v, .rank = t->rank, .val = x};
        memcpy(m.idx, idx, sizeof(KVal) * (size_t)t->rank);
        vec_push(l->m->arena, &s->memo, m);
    }
    return x;
}

/* The operand's index for an element of the broadcast result: extent 1 stays at 0; an extent that may be 1 decides at run time. */
static KVal broadcast_at(Lw *l, Value v, const KVal *out_idx, int out_rank, const Dim *out_dim)
{
    const TypeRec *t = value_trec(l->g, v);
    Dims *d = &l->m->dims;
    KVal idx[RANK_MAX];
    for (int a = 0; a < t->rank; a++) {
        int o = a + out_rank - t->rank;
        Dim e = lw_res(l, t->dim[a]);
        int64_t lo, hi;
        dim_bounds(d, e, &lo, &hi);
        if (dim_is(d, e, 1)) idx[a] = kb_i(l->b, 0);
        else if (lo > 1 || dim_same(e, out_dim[o]) || dim_eq(d, e, out_dim[o]) == TRI_YES) idx[a] = out_idx[o];
        else idx[a] = kb_mul(l->b, out_idx[o], kb_cast(l->b, DT_I64, kb_bin(l->b, KOP_NE, kb_dim(l->b, e), kb_i(l->b, 1))));
    }
    return lw_value_at(l, v, idx);
}

KVal lw_at(Lw *l, uint32_t k, const KVal *idx) { return lw_value_at(l, node_in(l->g, l->n, k), idx); }

KVal lw_at_broadcast(Lw *l, uint32_t k, const KVal *out_idx, int out_rank, const Dim *out_dim)
{
    return broadcast_at(l, node_in(l->g, l->n, k), out_idx, out_rank, out_dim);
}

KVal lw_inline(Lw *l, Node n, uint32_t r, const KVal *idx)
{
    const OpDesc *op = node_desc(l->g, n);
    Lw at = *l;
    at.n = n;
    if (!l->s->depth) l->s->memo.n = 0;
    l->s->depth++;
    KVal y = {0};
    if (op->cls == CLS_ELTWISE && (op->scalar || op->kop)) {
        assert(r == 0);
        uint32_t n_in = node_n_in(l->g, n);
        KVal *x = arena_array(l->m->arena, KVal, n_in + 1);
        DType *in = arena_array(l->m->arena, DType, n_in + 1);
        Dim dim[RANK_MAX];
        int rank = lw_out_rank(&at, 0);
        for (int a = 0; a < rank; a++) dim[a] = lw_out_dim(&at, 0, a);
        for (uint32_t k = 0; k < n_in; k++) {
            if (!lw_has(&at, k)) continue;
            in[k] = lw_elem(&at, k);
            x[k] = lw_at_broadcast(&at, k, idx, rank, dim);
        }
        y = op->scalar ? op->scalar(&at, n, x, in) : kop_info((KOp)op->kop)->n_args == 1 ? kb_un(l->b, (KOp)op->kop, x[0]) : kb_bin(l->b, (KOp)op->kop, x[0], x[1]);
        DType e = lw_out_elem(&at, 0);
        assert(kb_type(l->b, y) == dtype_compute(e));
        if (l->s->depth > 1 && dtype_compute(e) != e) y = kb_cast(l->b, e, y);   /* handed on in a group as if it had been stored */
    } else if (op->route) {
        KVal to[RANK_MAX];
        Route route = {.idx = to, .pred = &(KVal){0}, .fill = &(KVal){0}};
        if (!op->route(&at, n, idx, &route)) BUG("%s: no route", op->name);
        KVal keep = l->s->pred;
        if (route.pred->i) l->s->pred = keep.i ? kb_and(l->b, keep, *route.pred) : *route.pred;
        y = lw_value_at(&at, node_in(l->g, n, route.operand), to);
        l->s->pred = keep;
        if (route.pred->i) y = kb_select(l->b, *route.pred, y, route.fill->i ? *route.fill : kb_const_i(l->b, kb_type(l->b, y), 0));
    } else BUG("%s cannot be computed element by element", op->name);
    l->s->depth--;
    return y;
}

void lw_prepare(Lw *l, Node n)
{
    for (uint32_t k = 0; k < node_n_in(l->g, n); k++) {
        Value v = node_in(l->g, n, k);
        if (!v.i || l->s->frame->buf[v.i].i || value_rec(l->g, v)->data.i) continue;
        const Content *c = value_rec(l->g, v)->content;
        if (c && c->n != 1) lw_value_buf(l, v);
    }
}

void lw_prepare_in(Lw *l) { lw_prepare(l, l->n); }

/* A group's results have their memory already (lw_group). */
void lw_prepare_out(Lw *l)
{
    if (l->s->root.i && l->s->root.i == l->n.i && l->s->frame->g == l->g) return;
    for (uint32_t r = 0; r < node_n_out(l->g, l->n); r++) lw_out(l, r);
}

/* ---- writing ---- */

static void store(Lw *l, uint32_t r, const KVal *idx, KVal v)
{
    kb_store(l->b, kb_param(l->b, lw_out(l, r), true), idx, v);
}

void lw_group_store(Lw *l, uint32_t o, const KVal *idx, KVal v)
{
    struct LwState *s = l->s;
    Lw outer = *l;
    Frame *keep = s->frame;
    outer.g = s->group_outer->g;
    outer.n = s->group;
    s->frame = s->group_outer;
    store(&outer, o, idx, v);
    s->frame = keep;
}

void lw_put(Lw *l, uint32_t r, const KVal *idx, KVal v)
{
    struct LwState *s = l->s;
    if (!s->root.i || s->root.i != l->n.i || s->frame->g != l->g) {
        store(l, r, idx, v);
        return;
    }
    /* the rest of the group on this element; what the root would have stored is rounded as if it had been */
    DType e = lw_out_elem(l, 0);
    s->root_value = node_out(l->g, l->n, 0);
    s->root_val = dtype_compute(e) == e ? v : kb_cast(l->b, e, v);
    KVal *y = arena_array(l->m->arena, KVal, l->g->out.n);
    s->memo.n = 0;
    s->depth++;
    for (uint32_t o = 0; o < l->g->out.n; o++)
        y[o] = l->g->out.p[o].i == s->root_value.i ? v : lw_value_at(l, l->g->out.p[o], idx);
    s->depth--;
    for (uint32_t o = 0; o < l->g->out.n; o++) lw_group_store(l, o, idx, y[o]);   /* behind all loads: a result may take the memory of an operand */
    s->root_val = (KVal){0};
}

KBuf lw_put_buf(Lw *l, uint32_t r)
{
    struct LwState *s = l->s;
    if (!s->root.i || s->root.i != l->n.i || s->frame->g != l->g) return lw_out(l, r);
    Lw outer = *l;
    Frame *keep = s->frame;
    outer.g = s->group_outer->g;
    outer.n = s->group;
    s->frame = s->group_outer;
    KBuf b = lw_out(&outer, 0);
    s->frame = keep;
    return b;
}

bool lw_computed(Lw *l, uint32_t k)
{
    Value v = node_in(l->g, l->n, k);
    const ValueRec *r = value_rec(l->g, v);
    return r->def.i && !l->s->frame->buf[v.i].i && !r->data.i && !r->content;
}

/* ---- groups ---- */

static bool same_dims(Lw *l, uint32_t a, uint32_t b)
{
    if (lw_out_rank(l, a) != lw_out_rank(l, b)) return false;
    for (int i = 0; i < lw_out_rank(l, a); i++)
        if (dim_eq(&l->m->dims, lw_out_dim(l, a, i), lw_out_dim(l, b, i)) != TRI_YES) return false;
    return true;
}

/* Somebody reads the value's elements: it is more than a shape that was looked at when compiling. */
static bool read_as_data(const Graph *g, Value v)
{
    for (uint32_t u = value_rec(g, v)->first_use; u; u = g->operand.p[u - 1].next_use) {
        Node n = g->operand.p[u - 1].user;
        const Port *p = node_desc(g, n)->in;
        for (uint32_t k = 0; k < node_n_in(g, n); k++) {
            if (node_in(g, n, k).i == v.i && !(p->name && p->flags & PORT_SHAPE)) return true;
            if (p->name && !(p->flags & PORT_VARIADIC)) p++;
        }
    }
    return false;
}

void lw_group_enter(Lw *l, Lw *inner)
{
    struct LwState *s = l->s;
    Frame *f = arena_new(l->m->arena, Frame);
    *inner = *l;
    inner->g = node_rec(l->g, l->n)->region[0];
    *f = (Frame){.g = inner->g, .buf = arena_array(l->m->arena, KBuf, inner->g->value.n + 1)};
    assert(!s->group.i && "groups do not nest");
    for (uint32_t k = 0; k < inner->g->in.n; k++) {
        Value v = node_in(l->g, l->n, k);
        const Content *c = value_rec(l->g, v)->content;
        if (c && c->n != 1 && read_as_data(inner->g, inner->g->in.p[k])) lw_value_buf(l, v);
    }
    for (uint32_t o = 0; o < inner->g->out.n; o++) lw_out(l, o);
    s->group_outer = s->frame;
    s->group = l->n;
    s->frame = f;
}

void lw_group_leave(Lw *l)
{
    l->s->frame = l->s->group_outer;
    l->s->group = NODE_NONE;
}

KVal lw_value_from(Lw *l, Value from, KVal x, Value to, const KVal *idx)
{
    struct LwState *s = l->s;
    if (from.i == to.i) return x;
    assert(s->group.i && !s->root.i);
    s->root = value_rec(l->g, from)->def;
    s->root_value = from;
    s->root_val = x;
    s->memo.n = 0;
    s->depth++;
    KVal y = lw_value_at(l, to, idx);
    s->depth--;
    s->root_val = (KVal){0};
    s->root = NODE_NONE;
    return y;
}

bool lw_group(Lw *l, bool rooted)
{
    struct LwState *s = l->s;
    Graph *region = node_rec(l->g, l->n)->region[0];
    Frame *outer_frame = s->frame;
    Frame f = {.g = region, .buf = arena_array(l->m->arena, KBuf, region->value.n + 1)};
    bool ok = true;
    lw_prepare(l, l->n);
    assert(!s->group.i && "groups do not nest");
    if (rooted) {
        for (Node n = graph_first(region); n.i && !s->root.i; n = node_next(region, n)) {
            OpClass c = node_desc(region, n)->cls;
            if (c == CLS_CONTRACT || c == CLS_ROW || c == CLS_REDUCE || c == CLS_WINDOW) s->root = n;
        }
        assert(s->root.i && node_desc(region, s->root)->lower);
        for (uint32_t o = 0; o < region->out.n; o++) lw_out(l, o);       /* memory before the kernel opens */
        Lw inner = *l;
        inner.g = region;
        inner.n = s->root;
        s->group_outer = outer_frame;
        s->group = l->n;
        s->frame = &f;
        ok = node_desc(region, s->root)->lower(&inner, s->root);
    } else {
        bool *done = arena_array(l->m->arena, bool, region->out.n);
        KVal *y = arena_array(l->m->arena, KVal, region->out.n);
        for (uint32_t o = 0; o < region->out.n; o++) lw_out(l, o);
        for (uint32_t o = 0; o < region->out.n; o++) {   /* results of equal dims share a nest */
            if (done[o]) continue;
            KVal idx[RANK_MAX];
            lw_kernel(l, "map");
            lw_nest_over(l, o, idx);
            Lw inner = *l;
            inner.g = region;
            s->group_outer = outer_frame;
            s->group = l->n;
            s->frame = &f;
            s->memo.n = 0;
            s->depth++;
            for (uint32_t p = o; p < region->out.n; p++)
                if (!done[p] && same_dims(l, o, p)) y[p] = lw_value_at(&inner, region->out.p[p], idx);
            s->depth--;
            s->frame = outer_frame;
            s->group = NODE_NONE;
            for (uint32_t p = o; p < region->out.n; p++) {   /* behind all loads: a result may take the memory of an operand */
                if (!y[p].i || done[p]) continue;
                store(l, p, idx, y[p]);
                done[p] = true;
            }
            lw_end_nest(l, lw_out_rank(l, o));
            lw_kernel_end(l);
        }
    }
    s->frame = outer_frame;
    s->group = NODE_NONE;
    s->root = NODE_NONE;
    return ok;
}
