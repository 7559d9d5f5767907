/* pool.c: MaxPool (with indices), AveragePool, LpPool: window nests (window_nest.h); the global pools: pool_global.c.
 * Elements outside the input do not take part: they are the maximum's neutral element, or zero; AveragePool divides by the elements that count
 * (count_include_pad: those inside input and padding). */
#include "ir/graph/eval.h"
#include "ir/ops/grad.h"
#include "ir/ops/pool.h"
#include "ir/ops/window_rows.h"
#include <float.h>
#include <math.h>
#include <string.h>

#define DTS_MAXPOOL (DTS_FLOAT | DTS(DT_I8) | DTS(DT_U8))
static const Port P_MAX[] = {{"X", DTS_MAXPOOL, 0, 1}, PORT_END};
static const Port P_MAX_OUT[] = {{"Y", DTS_MAXPOOL, 0, 1}, {"Indices", DTS(DT_I64), PORT_OPTIONAL, 0}, PORT_END};
static const Port P_FLOAT[] = {{"X", DTS_FLOAT, 0, 1}, PORT_END};

typedef struct Pool { uint64_t set; const char *auto_pad; int64_t ceil_mode, storage_order, count_include_pad; double p; AttrInts kernel_shape, strides, dilations, pads; } Pool;
static const AttrSpec POOL_ATTRS[] = {A_STRING(Pool, auto_pad, "NOTSET"), A_INT(Pool, ceil_mode, 0), A_INT(Pool, storage_order, 0), A_INT(Pool, count_include_pad, 0),
                                      {.name = "p", .kind = ATTR_FLOAT, .offset = offsetof(Pool, p), .def_f = 2, .whole = true}, {.name = "kernel_shape", .kind = ATTR_INTS, .offset = offsetof(Pool, kernel_shape), .required = true},
                                      A_INTS(Pool, strides), A_INTS(Pool, dilations), A_INTS(Pool, pads), A_END};

static const AttrSpec LP_ATTRS[] = {{.name = "p", .kind = ATTR_FLOAT, .offset = offsetof(Pool, p), .def_f = 2, .whole = true}, A_END};

static bool is_global(const OpDesc *op) { return op->attrs != POOL_ATTRS; }

static bool resolve(Dims *d, const OpDesc *op, const Pool *a, const TypeRec *x, Window *w, const char **why)
{
    Dim in[WINDOW_MAX];
    int n = x->rank - 2;
    if (n < 1 || n > WINDOW_MAX) return *why = "the number of spatial axes is not supported", false;
    for (int i = 0; i < n; i++) in[i] = dim_resolve(d, x->dim[2 + i]);
    if (is_global(op)) {
        *w = (Window){.n = n};
        for (int i = 0; i < n; i++) w->in[i] = in[i], w->out[i] = dim_const(d, 1), w->begin[i] = w->end[i] = dim_const(d, 0), w->stride[i] = w->dilation[i] = 1;
        return true;
    }
    if ((int)a->kernel_shape.n != n) return *why = "kernel_shape does not fit the number of spatial axes", false;
    WindowAttrs wa = {.strides = a->strides, .dilations = a->dilations, .pads = a->pads, .auto_pad = a->auto_pad, .ceil_mode = a->ceil_mode != 0};
    return window_resolve(d, n, in, a->kernel_shape.p, &wa, w, why);
}

bool pool_resolve(const Graph *g, Node n, Window *w, const char **why)
{
    return resolve(&g->m->dims, node_desc(g, n), ATTRS(g, n, Pool), value_trec(g, node_in(g, n, 0)), w, why);
}

static bool infer(Infer *c)
{
    Window w;
    const char *why;
    Dim dim[RANK_MAX];
    if (!infer_need_rank(c, 0, 3, -1)) return false;
    if (!resolve(c->d, c->op, ATTRS(c->g, c->n, Pool), infer_in(c, 0), &w, &why)) return infer_fail(c, "%s", why);
    dim[0] = infer_dim(c, 0, 0);
    dim[1] = infer_dim(c, 0, 1);
    for (int i = 0; i < w.n; i++) dim[2 + i] = w.out[i];
    return infer_set(c, 0, infer_elem(c, 0), 2 + w.n, dim) && infer_set(c, 1, DT_I64, 2 + w.n, dim);
}

/* ---- what is done with an element ---- */

KVal pool_start(Kb *b, const PoolSum *s)
{
    if (s->kind != POOL_MAX) return kb_const_f(b, s->type, 0);
    if (dtype_is_float(s->type)) return kb_const_f(b, s->type, -INFINITY);
    return kb_const_i(b, s->type, dtype_is_signed(s->type) ? -128 : 0);
}

KVal pool_power(Kb *b, const PoolSum *s, KVal x)
{
    if (s->kind != POOL_LP) return x;
    KVal m = kb_un(b, KOP_ABS, x);
    return s->p == 1 ? m : s->p == 2 ? kb_mul(b, m, m) : kb_bin(b, KOP_POW, m, kb_const_f(b, s->type, s->p));
}

KVal pool_join(Kb *b, const PoolSum *s, KVal acc, KVal power) { return s->kind == POOL_MAX ? kb_max(b, acc, power) : kb_add(b, acc, power); }

KVal pool_root(Kb *b, const PoolSum *s, KVal acc)
{
    if (s->kind != POOL_LP || s->p == 1) return acc;
    return s->p == 2 ? kb_un(b, KOP_SQRT, acc) : kb_bin(b, KOP_POW, acc, kb_const_f(b, s->type, 1 / s->p));
}

/* ---- lowering: a window nest ---- */

typedef struct Pl { Lw *l; PoolSum sum; Window w; const Pool *a; uint32_t src; } Pl;

/* Taps of axis i whose position lies in input or padding: lo <= start + k*dilation < hi in closed form. */
static KVal padded_taps(Pl *x, int i, KVal o)
{
    Kb *b = x->l->b;
    const Window *w = &x->w;
    bool fits = !x->a->ceil_mode || (x->a->auto_pad && !strncmp(x->a->auto_pad, "SAME", 4));
    if (fits) return kb_i(b, w->kernel[i]); /* the last window ends where the padding does, or before */
    KVal zero = kb_i(b, 0), dil = kb_i(b, w->dilation[i]), round = kb_i(b, w->dilation[i] - 1), start = window_at(b, w, i, o, zero);
    KVal lo = kb_sub(b, zero, kb_dim(b, w->begin[i])), hi = kb_add(b, kb_dim(b, w->in[i]), kb_dim(b, w->end[i]));
    KVal first = kb_bin(b, KOP_FLOORDIV, kb_add(b, kb_sub(b, lo, start), round), dil);
    KVal last = kb_bin(b, KOP_FLOORDIV, kb_add(b, kb_sub(b, hi, start), round), dil);
    return kb_max(b, zero, kb_sub(b, kb_min(b, last, kb_i(b, w->kernel[i])), kb_max(b, first, zero)));
}

static KVal pl_init(void *arg, KVal channel)
{
    Pl *x = arg;
    (void)channel;
    return pool_start(x->l->b, &x->sum);
}

static KVal pl_step(void *arg, KVal acc, KVal v, KVal shared)
{
    Pl *x = arg;
    (void)shared;
    return pool_join(x->l->b, &x->sum, acc, pool_power(x->l->b, &x->sum, v));
}

/* One over the elements that an average divides by: one division for all channels. */
static KVal pl_factor(void *arg, const KVal *out, const KVal *count)
{
    Pl *x = arg;
    Kb *b = x->l->b;
    KVal n = kb_i(b, 1);
    for (int i = 0; i < x->w.n; i++) n = kb_mul(b, n, x->a->count_include_pad && x->w.padded ? padded_taps(x, i, out[2 + i]) : count[i]);
    return kb_div(b, kb_const_f(b, x->sum.type, 1), kb_cast(b, x->sum.type, n));
}

static void pl_put(void *arg, const KVal *out, KVal acc, KVal factor)
{
    Pl *x = arg;
    lw_put(x->l, 0, out, factor.i ? kb_mul(x->l->b, acc, factor) : pool_root(x->l->b, &x->sum, acc));
}

/* ---- the maximum and where it is: one window after the other ---- */

static KVal flat_position(Pl *x, const KVal *idx)
{
    Kb *b = x->l->b;
    KVal f = kb_add(b, kb_mul(b, idx[0], kb_dim(b, lw_dim(x->l, 0, 1))), idx[1]);
    for (int k = 0; k < x->w.n; k++) {
        KVal d = kb_i(b, 1);
        if (!x->a->storage_order) {
            f = kb_add(b, kb_mul(b, f, kb_dim(b, x->w.in[k])), idx[2 + k]);
            continue;
        }
        for (int i = 0; i < x->w.n && k == 0; i++) f = kb_mul(b, f, kb_dim(b, x->w.in[i]));
        for (int i = 0; i < k; i++) d = kb_mul(b, d, kb_dim(b, x->w.in[i]));
        f = kb_add(b, f, kb_mul(b, idx[2 + k], d));
    }
    return f;
}

/* acc: the maximum so far and its position, -1 at first. */
static void sweep(Pl *x, int i, const KVal *out, KVal *idx, KVal pred, KVal *acc)
{
    Kb *b = x->l->b;
    if (i == x->w.n) {
        KVal v = pred.i ? kb_load_if(b, x->src, idx, pred, pool_start(b, &x->sum)) : kb_load(b, x->src, idx);
        KVal better = kb_bin(b, KOP_OR, kb_bin(b, KOP_GT, v, acc[0]), kb_bin(b, KOP_EQ, acc[1], kb_i(b, -1)));
        if (dtype_is_float(x->sum.type)) better = kb_bin(b, KOP_OR, better, kb_un(b, KOP_ISNAN, v));
        if (pred.i) better = kb_and(b, better, pred);
        acc[0] = kb_select(b, better, v, acc[0]);
        acc[1] = kb_select(b, better, flat_position(x, idx), acc[1]);
        return;
    }
    KbLoop loop;
    kb_loop(b, &loop, KLOOP_SEQ, kb_i(b, 0), kb_i(b, x->w.kernel[i]), 2, acc, NULL);
    idx[2 + i] = window_at(b, &x->w, i, out[2 + i], loop.iv);
    KVal inside = pred, next[2] = {loop.carry[0], loop.carry[1]};
    window_inside(b, &x->w, i, idx[2 + i], &inside);
    sweep(x, i + 1, out, idx, inside, next);
    kb_loop_end(b, &loop, next);
    acc[0] = loop.result[0];
    acc[1] = loop.result[1];
}

static void lower_indices(Pl *x)
{
    Lw *l = x->l;
    Kb *b = l->b;
    KVal out[RANK_MAX], idx[RANK_MAX], acc[2];
    lw_nest_over(l, 0, out);
    idx[0] = out[0];
    idx[1] = out[1];
    acc[0] = pool_start(b, &x->sum);
    acc[1] = kb_i(b, -1);
    sweep(x, 0, out, idx, (KVal){0}, acc);
    lw_put(l, 0, out, acc[0]);
    lw_put(l, 1, out, acc[1]);
    lw_end_nest(l, lw_out_rank(l, 0));
}

static bool lower(Lw *l, Node n)
{
    const OpDesc *op = node_desc(l->g, n);
    OpCode code = node_rec(l->g, n)->op;
    Pl x = {.l = l, .a = ATTRS(l->g, n, Pool)};
    const char *why;
    x.sum.kind = code == OP_MaxPool || code == OP_GlobalMaxPool ? POOL_MAX : code == OP_LpPool || code == OP_GlobalLpPool ? POOL_LP : POOL_AVERAGE;
    x.sum.type = dtype_compute(lw_elem(l, 0));
    if (x.sum.kind == POOL_LP) x.sum.p = x.a->p;
    if (is_global(op)) return pool_lower_global(l, &x.sum);
    if (!resolve(&l->m->dims, op, x.a, value_trec(l->g, node_in(l->g, n, 0)), &x.w, &why)) return lw_fail(l, "%s", why);
    bool indices = code == OP_MaxPool && node_n_out(l->g, n) > 1 && value_used(l->g, node_out(l->g, n, 1));
    WindowNest nest = {.l = l, .w = &x.w, .in = lw_in_strided(l, 0), .channels = lw_dim(l, 0, 1), .per = 1, .arg = &x, .init = pl_init, .step = pl_step,
                       .factor = x.sum.kind == POOL_AVERAGE ? pl_factor : NULL, .put = pl_put};
    if (indices) lw_out(l, 0), lw_out(l, 1);
    else lw_prepare_out(l);
    Kb *b = lw_kernel(l, op->name);
    x.src = kb_param(b, nest.in, false);
    if (indices) lower_indices(&x);
    else if (x.sum.kind == POOL_MAX ? !window_rows_max(&nest, x.sum.type) : !window_rows_even(&nest, x.sum.type)) window_nest(&nest);
    lw_kernel_end(l);
    return true;
}

/* ---- reference ---- */

static bool eval(Eval *e)
{
    const OpDesc *op = node_desc(e->g, e->n);
    OpCode code = node_rec(e->g, e->n)->op;
    const Pool *a = ATTRS(e->g, e->n, Pool);
    const Tensor *x = e->in[0];
    bool global = is_global(op), max = code == OP_MaxPool || code == OP_GlobalMaxPool, lp = code == OP_LpPool || code == OP_GlobalLpPool;
    Names names;
    Dims d;
    names_init(&names, e->arena);
    dims_init(&d, e->arena, &names);
    TypeRec tx = {.rank = (uint8_t)x->rank};
    for (int i = 0; i < x->rank; i++) tx.dim[i] = dim_const(&d, x->dim[i]);
    Window w;
    const char *why;
    if (!resolve(&d, op, a, &tx, &w, &why)) return ev_fail(e, "%s", why);
    int64_t dim[RANK_MAX] = {x->dim[0], x->dim[1]}, begin[WINDOW_MAX], end[WINDOW_MAX], in = 1, out = 1, taps = 1;
    for (int i = 0; i < w.n; i++) {
        dim_is_const(&d, w.out[i], &dim[2 + i]);
        dim_is_const(&d, w.begin[i], &begin[i]);
        dim_is_const(&d, w.end[i], &end[i]);
        if (global) w.kernel[i] = x->dim[2 + i];
        in *= x->dim[2 + i], out *= dim[2 + i], taps *= w.kernel[i];
    }
    Tensor *y = ev_out(e, 0, x->elem, x->rank, dim), *at_out = e->n_out > 1 ? ev_out(e, 1, DT_I64, x->rank, dim) : NULL;
    for (int64_t o = 0; y && o < y->count; o++) {
        int64_t p = o % out, plane = o / out, pos[WINDOW_MAX], best = -1, count = 0;
        double s = max ? -INFINITY : 0;
        for (int i = w.n - 1; i >= 0; i--) pos[i] = p % dim[2 + i], p /= dim[2 + i];
        for (int64_t t = 0; t < taps; t++) {
            int64_t rest = t, at = 0, col = 0, step = 1, tap[WINDOW_MAX];
            bool inside = true, counts = true;
            for (int i = w.n - 1; i >= 0; i--) tap[i] = rest % w.kernel[i], rest /= w.kernel[i];
            for (int i = 0; i < w.n; i++) {
                int64_t v = pos[i] * w.stride[i] - begin[i] + tap[i] * w.dilation[i];
                inside &= v >= 0 && v < x->dim[2 + i];
                counts &= v < x->dim[2 + i] + end[i];
                at = at * x->dim[2 + i] + v;
                col += v * step, step *= x->dim[2 + i];
            }
            if (inside || (counts && !global && a->count_include_pad)) count++;
            if (!inside) continue;
            double v = ev_f(x, plane * in + at);
            if (max && (v > s || isnan(v) || best < 0)) s = v, best = plane * in + (!global && a->storage_order ? col : at);
            if (!max) s += lp ? pow(fabs(v), a->p) : v;
        }
        if (max && best < 0 && !dtype_is_float(x->elem)) ev_set_i(y, o, dtype_is_signed(x->elem) ? -128 : 0);
        else ev_set_f(y, o, max ? s : lp ? pow(s, 1.0 / a->p) : s / (double)count);
        if (at_out) ev_set_i(at_out, o, best);
    }
    return y != NULL;
}

#define WINDOWED .cls = CLS_WINDOW, .flags = OPF_STRIDED_OUT | OPF_CHANNELS_LAST | OPF_FOLLOWED, .infer = infer, .lower = lower, .eval = eval
#define WITH_ATTRS .attrs = POOL_ATTRS, .attrs_size = sizeof(Pool)
const OpDesc op_MaxPool = {.name = "MaxPool", .since = 22, WINDOWED, WITH_ATTRS, .in = P_MAX, .out = P_MAX_OUT, .grad = grad_max_pool};
const OpDesc op_AveragePool = {.name = "AveragePool", .since = 22, WINDOWED, WITH_ATTRS, .in = P_FLOAT, .out = P_FLOAT, .grad = grad_average_pool};
const OpDesc op_LpPool = {.name = "LpPool", .since = 22, WINDOWED, WITH_ATTRS, .in = P_FLOAT, .out = P_FLOAT, .grad = grad_lp_pool};
const OpDesc op_GlobalAveragePool = {.name = "GlobalAveragePool", .since = 22, WINDOWED, .in = P_FLOAT, .out = P_FLOAT, .grad = grad_global_average_pool};
const OpDesc op_GlobalMaxPool = {.name = "GlobalMaxPool", .since = 22, WINDOWED, .in = P_FLOAT, .out = P_FLOAT, .grad = grad_global_max_pool};
const OpDesc op_GlobalLpPool = {.name = "GlobalLpPool", .since = 22, WINDOWED, .attrs = LP_ATTRS, .attrs_size = sizeof(Pool), .in = P_FLOAT, .out = P_FLOAT, .grad = grad_global_lp_pool};
