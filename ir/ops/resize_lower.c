/* resize_lower.c: the loops of Resize and Upsample.
 * Few taps (nearest, linear, cubic in two dimensions): one nest over the result; positions and weights of each axis come
 * from tables (resize_table.c; none where elements are repeated) and are loaded outside the loop over channels, when those lie innermost:
 *   y[n, c, oh, ow] = sum over i, j of  x[n, c, index_h[i][oh], index_w[j][ow]] * weight_h[i][oh] * weight_w[j][ow]
 * Where the innermost axis is resized, too, its lanes come from many places: the other axes go first, into a row of
 * scratch of the input's length, so that an element takes its own axis' taps from there and not all of them:
 *   row[w] = sum over i of  x[n, c, index_h[i][oh], w] * weight_h[i][oh]      y[n, c, oh, ow] = sum over j of  row[..] * ..
 * Many (antialias, three dimensions): one axis after the other, through memory in the type of the sums. */
#include "ir/ops/resize.h"
#include <math.h>

#define TAPS_AT_ONCE 16
#define TAPS_STRAIGHT 4 /* of an axis, without a loop */

typedef struct Rl {
    Lw *l;
    ResizeCase c;
    DType acc;
    KBuf in, roi, scales;        /* in memory */
    Dim taps[RANK_MAX];
    ResizeTable table[RANK_MAX];
} Rl;

/* ---- extents that only the run knows ---- */

static int axis_of_slot(const ResizeCase *c, int slot)
{
    for (int i = 0; i < c->rank; i++)
        if (c->axis[i].slot == slot) return i;
    return -1;
}

static KVal ceil_reach(Kb *b, const ResizeCase *c, KVal scale)
{
    KVal one = kb_const_f(b, DT_F64, 1), s = kb_min(b, scale, one), reach = kb_const_f(b, DT_F64, RESIZE_REACH(c));
    KVal n = kb_un(b, KOP_CEIL, kb_sub(b, kb_div(b, reach, s), kb_const_f(b, DT_F64, 1e-9)));
    return kb_mul(b, kb_i(b, 2), kb_cast(b, DT_I64, n));
}

/* One thread computes extents and window lengths into `ext`: extents first, then lengths. With a policy the common scale
 * goes to x->scales. */
static void extents_kernel(Rl *x, KBuf ext, const Dim *size)
{
    Lw *l = x->l;
    ResizeCase *c = &x->c;
    bool policy = c->by == BY_SIZES;
    KVal best = {0};
    Kb *b = lw_kernel(l, "resize_extents");
    uint32_t to = kb_param(b, ext, true);
    for (int k = 0; policy && k < c->n_slot; k++) {
        KVal in = kb_dim(b, c->axis[axis_of_slot(c, k)].in), s = kb_div(b, kb_cast(b, DT_F64, kb_dim(b, size[k])), kb_cast(b, DT_F64, in));
        best = !best.i ? s : c->keep == KEEP_NOT_LARGER ? kb_min(b, best, s) : kb_max(b, best, s);
    }
    for (int k = 0; k < c->n_slot; k++) {
        KVal at = kb_i(b, k), len = kb_i(b, c->n_slot + k), in = kb_dim(b, c->axis[axis_of_slot(c, k)].in), scale = best, e;
        if (policy) {
            kb_store(b, kb_param(b, x->scales, true), &at, best);
            e = kb_un(b, KOP_FLOOR, kb_add(b, kb_mul(b, best, kb_cast(b, DT_F64, in)), kb_const_f(b, DT_F64, 0.5)));
        } else { /* in the type of the scales, so that a third of 3 is 1 */
            KVal s = kb_load(b, kb_param(b, x->scales, false), &at), wide = kb_mul(b, kb_cast(b, DT_F32, in), s);
            if (c->coord == COORD_CROP && c->roi_at >= 0) {
                KVal start = kb_load(b, kb_param(b, x->roi, false), &at), end = kb_load(b, kb_param(b, x->roi, false), &len);
                wide = kb_mul(b, wide, kb_cast(b, DT_F32, kb_sub(b, end, start)));
            }
            e = kb_un(b, KOP_FLOOR, kb_select(b, kb_bin(b, KOP_GT, wide, kb_const_f(b, DT_F32, 0)), wide, kb_const_f(b, DT_F32, 0)));
            scale = kb_cast(b, DT_F64, s);
        }
        kb_store(b, to, &at, kb_cast(b, DT_I64, e));
        kb_store(b, to, &len, c->a->antialias ? ceil_reach(b, c, scale) : kb_i(b, 2 * RESIZE_REACH(c)));
    }
    lw_kernel_end(l);
}

static bool extents(Rl *x)
{
    Lw *l = x->l;
    ResizeCase *c = &x->c;
    Dims *d = &l->m->dims;
    Dim out[RANK_MAX], size[RANK_MAX], twice = dim_const(d, 2 * c->n_slot);
    bool unknown = false, lengths = false;
    for (int i = 0; i < c->rank; i++) {
        unknown |= !c->axis[i].out.i;
        lengths |= c->a->antialias && !c->axis[i].same && !c->axis[i].known;
        out[i] = c->axis[i].out;
    }
    bool stretch = c->by == BY_SIZES && c->keep == KEEP_STRETCH;
    if (stretch && unknown) {
        if (!lw_values_n(l, (uint32_t)c->sizes_at, size, (uint32_t)c->n_slot)) return false;
        for (int i = 0; i < c->rank; i++)
            if (c->axis[i].slot >= 0) out[i] = size[c->axis[i].slot];
        lw_bind_dims(l, 0, out);
    } else if (!stretch && (unknown || lengths)) {
        if (c->by == BY_SIZES && !lw_values_n(l, (uint32_t)c->sizes_at, size, (uint32_t)c->n_slot)) return false;
        if (c->by == BY_SIZES) x->scales = lw_temp(l, DT_F64, 1, (Dim[]){dim_const(d, c->n_slot)});
        KBuf ext = lw_temp(l, DT_I64, 1, &twice);
        extents_kernel(x, ext, size);
        for (int i = 0; i < c->rank; i++) {
            int k = c->axis[i].slot;
            if (k < 0) continue;
            if (unknown) out[i] = dim_sym(d, lw_load_sym(l, ext, dim_const(d, k), "size", 0, INT64_MAX));
            if (lengths) x->taps[i] = dim_sym(d, lw_load_sym(l, ext, dim_const(d, c->n_slot + k), "taps", 2, INT64_MAX));
        }
        if (unknown) lw_bind_dims(l, 0, out);
    }
    for (int i = 0; i < c->rank; i++) {
        int64_t lo, hi;
        c->axis[i].out = lw_out_dim(l, 0, i);
        dim_bounds(d, c->axis[i].in, &lo, &hi);
        if (c->axis[i].same || lo > 0) continue;
        KStep *s = lw_step(l, KST_CHECK);
        s->a = dim_min(d, dim_const(d, 1), c->axis[i].out), s->b = c->axis[i].in, s->rel = KREL_LE, s->msg = "Resize: an empty axis cannot grow";
    }
    return true;
}

/* Elements of a window along axis i. */
static Dim taps_of(Rl *x, int i)
{
    Dims *d = &x->l->m->dims;
    const ResizeAxis *a = &x->c.axis[i];
    int reach = RESIZE_REACH(&x->c);
    if (x->c.mode == RESIZE_NEAREST) return dim_const(d, 1);
    if (!x->c.a->antialias) return dim_const(d, 2 * reach);
    if (a->known) return dim_const(d, a->scale >= 1 ? 2 * reach : 2 * (int64_t)ceil(reach / a->scale - 1e-9));
    if (x->taps[i].i) return x->taps[i];
    Dim one = dim_const(d, 1), k = dim_const(d, reach);
    Dim n = dim_max(d, k, dim_ceildiv(d, dim_mul(d, k, a->in), dim_max(d, one, a->out)));
    return dim_mul(d, dim_const(d, 2), n);
}

/* ---- one nest ---- */

typedef struct Nest {
    Rl *x;
    Kb *b;
    uint32_t src;
    const bool *axis;       /* those that are resized now */
    const KVal *out;
    KVal idx[RANK_MAX], acc, outside;
    int row;                /* not -1: src is a row along that axis */
    bool started;
} Nest;

static KVal table_at(Nest *n, KBuf table, int i, KVal t) { return kb_load(n->b, kb_param(n->b, table, false), (KVal[]){t, n->out[i]}); }

/* Adds what the taps of axes i.. give, times w. */
static void terms(Nest *n, int i, KVal w)
{
    Kb *b = n->b;
    Rl *x = n->x;
    while (i < x->c.rank && !n->axis[i]) i++;
    if (i == x->c.rank) {
        KVal v = kb_load(b, n->src, n->row < 0 ? n->idx : &n->idx[n->row]);
        if (x->c.mode == RESIZE_NEAREST) n->acc = v;
        else if (!w.i) n->acc = kb_cast(b, x->acc, v);
        else {
            v = kb_cast(b, x->acc, v);
            n->acc = n->started ? kb_fma(b, v, w, n->acc) : kb_mul(b, v, w);
        }
        n->started = true;
        return;
    }
    const ResizeTable *t = &x->table[i];
    bool loop = !t->n_taps || t->n_taps > TAPS_STRAIGHT;
    KbLoop l;
    if (loop) {
        if (!n->started) n->acc = kb_const_f(b, x->acc, 0);
        n->started = true;
        kb_loop(b, &l, KLOOP_SEQ, kb_i(b, 0), kb_dim(b, t->taps), 1, &n->acc, NULL);
        n->acc = l.carry[0];
    }
    for (int64_t k = 0; k < (loop ? 1 : t->n_taps); k++) {
        KVal tap = loop ? l.iv : kb_i(b, k), f = w, at;
        if (t->times) at = kb_bin(b, KOP_FLOORDIV, n->out[i], kb_i(b, t->times));
        else at = kb_cast(b, DT_I64, table_at(n, t->index, i, tap));
        if (t->crop) {
            KVal off = kb_lt(b, at, kb_i(b, 0));
            if (!loop && k == 0) n->outside = n->outside.i ? kb_bin(b, KOP_OR, n->outside, off) : off;
            at = kb_max(b, kb_i(b, 0), at);
        }
        n->idx[i] = at;
        if (x->c.mode != RESIZE_NEAREST) {
            f = table_at(n, t->weight, i, tap);
            if (w.i) f = kb_mul(b, w, f);
        }
        terms(n, i + 1, f);
    }
    if (!loop) return;
    KVal next = n->acc;
    kb_loop_end(b, &l, &next);
    n->acc = l.result[0];
    if (t->crop) { /* the first position says it for all */
        KVal off = kb_lt(b, kb_cast(b, DT_I64, table_at(n, t->index, i, kb_i(b, 0))), kb_i(b, 0));
        n->outside = n->outside.i ? kb_bin(b, KOP_OR, n->outside, off) : off;
    }
}

/* A sum as an element of type e: to the nearest whole number that the type holds, as the definition's reference does. */
static KVal to_elem(Kb *b, DType e, KVal v)
{
    DType t = kb_type(b, v);
    if (dtype_is_float(e)) return kb_cast(b, dtype_compute(e), v);
    bool sign = dtype_is_signed(e);
    int bits = dtype_info(e)->bits;
    double top = ldexp(1, bits - sign) - 1, low = sign ? -ldexp(1, bits - 1) : 0;
    if (bits == 64) top = ldexp(1, 64 - sign) - ldexp(1, 11 - sign); /* the largest double below */
    return kb_cast(b, e, kb_min(b, kb_const_f(b, t, top), kb_max(b, kb_const_f(b, t, low), kb_un(b, KOP_RINT, v))));
}

/* The axes from the outermost in memory to the innermost, as the input lies: the result mostly follows it. */
static void memory_order(Rl *x, int *order)
{
    Lw *l = x->l;
    int rank = x->c.rank;
    Value in = node_in(l->g, l->n, 0), out = node_out(l->g, l->n, 0);
    const TypeRec *t = value_trec(l->g, value_trec(l->g, out)->layout.i ? out : in);
    const Layout *lay = &l->m->types.layout.p[t->layout.i];
    Dim s = rank > 2 ? kbuf_stride(l->k, kbuf(l->k, x->in), 1) : DIM_NONE;
    bool last = s.i && dim_is(&l->m->dims, s, 1) && !dim_is(&l->m->dims, lw_dim(l, 0, 1), 1);
    for (int i = 0; i < rank; i++) {
        order[i] = t->layout.i ? lay->perm[i] : i;
        if (last) order[i] = i == 0 ? 0 : i < rank - 1 ? i + 1 : 1;
    }
}

/* Should the other axes go first, into a row along axis `last`? Not where most of it would not be looked at. */
static bool by_rows(Rl *x, const bool *axis, int last)
{
    enum { LOOKED_AT = 4 /* of so many elements one makes a result */ };
    const ResizeAxis *a = &x->c.axis[last];
    bool others = false;
    for (int i = 0; i < x->c.rank; i++) {
        others |= axis[i] && i != last;
        if (axis[i] && x->table[i].crop) return false; /* what lies outside is known only with all axes */
    }
    return others && x->c.mode != RESIZE_NEAREST && a->known && a->scale * LOOKED_AT >= 1;
}

/* The axes but `last` into scratch, which src is then. */
static void make_row(Nest *n, const bool *axis, int last)
{
    Kb *b = n->b;
    Dim len = n->x->c.axis[last].in;
    bool others[RANK_MAX];
    KVal none = {0};
    for (int i = 0; i < n->x->c.rank; i++) others[i] = axis[i] && i != last;
    uint32_t row = kb_local(b, "row", n->x->acc, 1, &len);
    n->idx[last] = kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_dim(b, len));
    n->axis = others;
    terms(n, 0, none);
    kb_store(b, row, &n->idx[last], n->acc);
    kb_end(b);
    n->src = row, n->row = last, n->started = false;
}

/* dst: 0: the node's result. */
static void pass(Rl *x, KBuf src, KBuf dst, const bool *axis)
{
    Lw *l = x->l;
    DType e = lw_out_elem(l, 0);
    int rank = x->c.rank, order[RANK_MAX];
    KVal out[RANK_MAX], none = {0};
    memory_order(x, order);
    Kb *b = lw_kernel(l, "resize");
    Nest n = {.x = x, .b = b, .src = kb_param(b, src, false), .axis = axis, .out = out, .row = -1};
    bool own[RANK_MAX] = {false};
    for (int i = 0; i < rank; i++) {
        bool gather = i == rank - 1 && axis[order[i]] && dtype_compute(e) != DT_STR && dtype_info(e)->bits >= 8;
        if (gather && by_rows(x, axis, order[i])) {
            for (int k = 0; k < i; k++) n.idx[order[k]] = out[order[k]];
            make_row(&n, axis, order[i]);
            own[order[i]] = true;
            n.axis = own;
        }
        out[order[i]] = kb_for(b, gather ? KLOOP_VEC : KLOOP_PAR, kb_i(b, 0), kb_dim(b, dst.i ? kbuf(l->k, dst)->dim[order[i]] : lw_out_dim(l, 0, order[i])));
    }
    for (int i = 0; i < rank; i++) n.idx[i] = out[i];
    terms(&n, 0, none);
    KVal v = n.acc;
    bool nearest = x->c.mode == RESIZE_NEAREST;
    if (n.outside.i) {
        double f = x->c.a->extrapolation_value;
        DType t = kb_type(b, v);
        v = kb_select(b, n.outside, dtype_is_float(t) ? kb_const_f(b, t, f) : kb_const_i(b, t, (int64_t)f), v);
    }
    if (dst.i) kb_store(b, kb_param(b, dst, true), out, v);
    else lw_put(l, 0, out, nearest ? v : to_elem(b, e, v));
    lw_end_nest(l, rank);
    lw_kernel_end(l);
}

/* Memory for what one axis gives, in the order of the input. */
static KBuf between(Rl *x, const Dim *dim)
{
    Lw *l = x->l;
    int order[RANK_MAX], rank = x->c.rank;
    Dim in_order[RANK_MAX], stride[RANK_MAX], step = dim_const(&l->m->dims, 1);
    memory_order(x, order);
    for (int i = rank - 1; i >= 0; i--) {
        in_order[i] = dim[order[i]];
        stride[order[i]] = step;
        step = dim_mul(&l->m->dims, step, in_order[i]);
    }
    KBuf b = lw_temp(l, x->acc, rank, in_order);
    return kbuf_view(l->k, b, (Name){0}, rank, dim, stride, (Dim){0}, l->loc);
}

bool resize_lower(Lw *l, Node n)
{
    Rl x = {.l = l};
    const char *why;
    ResizeCase *c = &x.c;
    if (!resize_resolve(l->g, n, c, &why)) return lw_fail(l, "%s", why);
    DType e = lw_elem(l, 0);
    x.acc = dtype_is_float(e) ? dtype_compute(e) : dtype_info(e)->bits <= 16 ? DT_F32 : DT_F64;
    if (c->roi_at >= 0) x.roi = lw_in(l, (uint32_t)c->roi_at);
    if (c->scales_at >= 0) x.scales = lw_in(l, (uint32_t)c->scales_at);
    if (!extents(&x)) return false;
    bool now[RANK_MAX] = {false}, all = true;
    int64_t together = 1;
    int last = -1;
    for (int i = 0; i < c->rank; i++) {
        if (c->axis[i].same) continue;
        if (!resize_table(l, c, i, x.acc, x.roi, x.scales, taps_of(&x, i), &x.table[i])) return false;
        now[i] = true;
        last = i;
        together = x.table[i].n_taps && together <= TAPS_AT_ONCE ? together * x.table[i].n_taps : INT32_MAX;
    }
    all = together <= TAPS_AT_ONCE || last < 0;
    KBuf src = x.in = lw_in_strided(l, 0);
    lw_prepare_out(l);
    if (all) {
        pass(&x, src, (KBuf){0}, now);
        return true;
    }
    Dim dim[RANK_MAX];
    for (int i = 0; i < c->rank; i++) dim[i] = c->axis[i].in;
    for (int i = 0; i <= last; i++) {
        bool one[RANK_MAX] = {false};
        if (!now[i]) continue;
        one[i] = true;
        dim[i] = c->axis[i].out;
        KBuf to = i == last ? (KBuf){0} : between(&x, dim);
        pass(&x, src, to, one);
        src = to;
    }
    return true;
}
