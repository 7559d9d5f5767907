/* pool.c: MaxPool (with indices), AveragePool, LpPool and the global pools: a window nest over the spatial axes. A global pool is a window as large as the input.
 * Elements outside the input do not take part: they are the maximum's neutral element, or zero; AveragePool divides by the elements that count
 * (count_include_pad: those inside input and padding). */
#include "ir/graph/eval.h"
#include "ir/ops/window.h"
#include <float.h>
#include <math.h>
#include <string.h>

#define DTS_MAXPOOL (DTS_FLOAT | DTS(DT_I8) | DTS(DT_U8))
static const Port P_MAX[] = {{"X", DTS_MAXPOOL, 0, 1}, PORT_END};
static const Port P_MAX_OUT[] = {{"Y", DTS_MAXPOOL, 0, 1}, {"Indices", DTS(DT_I64), PORT_OPTIONAL, 0}, PORT_END};
static const Port P_FLOAT[] = {{"X", DTS_FLOAT, 0, 1}, PORT_END};

typedef struct Pool { uint64_t set; const char *auto_pad; int64_t ceil_mode, storage_order, count_include_pad, p; AttrInts kernel_shape, strides, dilations, pads; } Pool;
static const AttrSpec POOL_ATTRS[] = {A_STRING(Pool, auto_pad, "NOTSET"), A_INT(Pool, ceil_mode, 0), A_INT(Pool, storage_order, 0), A_INT(Pool, count_include_pad, 0),
                                      A_INT(Pool, p, 2), {.name = "kernel_shape", .kind = ATTR_INTS, .offset = offsetof(Pool, kernel_shape), .required = true},
                                      A_INTS(Pool, strides), A_INTS(Pool, dilations), A_INTS(Pool, pads), A_END};

static bool is_global(const OpDesc *op) { return op->attrs == NULL; }

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

/* ---- lowering: one window, an accumulator (and the index of the maximum) ---- */

typedef enum PoolKind { MAX, AVERAGE, LP } PoolKind;
typedef struct Pl { Lw *l; PoolKind kind; Window w; const Pool *a; bool global, indices, column_major; uint32_t src; double p; } Pl;

static KVal flat_position(Pl *x, const KVal *idx)
{
    Kb *b = x->l->b;
    KVal f = kb_add(b, kb_mul(b, idx[0], kb_dim(b, lw_dim(x->l, 0, 1))), idx[1]);
    for (int k = 0; k < x->w.n; k++) {
        KVal d = kb_i(b, 1);
        if (!x->column_major) f = kb_add(b, kb_mul(b, f, kb_dim(b, x->w.in[k])), idx[2 + k]);
        else {
            if (k == 0)
                for (int i = 0; i < x->w.n; i++) f = kb_mul(b, f, kb_dim(b, x->w.in[i]));
            for (int i = 0; i < k; i++) d = kb_mul(b, d, kb_dim(b, x->w.in[i]));
            f = kb_add(b, f, kb_mul(b, idx[2 + k], d));
        }
    }
    return f;
}

static void sweep(Pl *x, int i, const KVal *out, KVal *idx, KVal pred, KVal *acc)
{
    Kb *b = x->l->b;
    DType t = dtype_compute(lw_elem(x->l, 0));
    if (i == x->w.n) {
        bool f = dtype_is_float(t);
        KVal low = f ? kb_const_f(b, t, -INFINITY) : kb_const_i(b, t, dtype_is_signed(t) ? -128 : 0);
        KVal v = pred.i ? kb_load_if(b, x->src, idx, pred, x->kind == MAX ? low : (KVal){0}) : kb_load(b, x->src, idx);
        if (x->kind == MAX && x->indices) {
            KVal first = kb_bin(b, KOP_EQ, acc[1], kb_i(b, -1));
            KVal better = kb_bin(b, KOP_OR, kb_bin(b, KOP_GT, v, acc[0]), first);
            if (f) better = kb_bin(b, KOP_OR, better, kb_un(b, KOP_ISNAN, v));
            if (pred.i) better = kb_and(b, better, pred);
            acc[0] = kb_select(b, better, v, acc[0]);
            acc[1] = kb_select(b, better, flat_position(x, idx), acc[1]);
        } else if (x->kind == MAX) acc[0] = kb_max(b, acc[0], v);
        else if (x->kind == AVERAGE) acc[0] = kb_add(b, acc[0], v);
        else {
            KVal m = kb_un(b, KOP_ABS, v);
            acc[0] = kb_add(b, acc[0], x->p == 1 ? m : x->p == 2 ? kb_mul(b, m, m) : kb_bin(b, KOP_POW, m, kb_const_f(b, t, x->p)));
        }
        return;
    }
    KbLoop loop;
    uint32_t n = x->indices ? 2 : 1;
    KOp combine[2] = {x->kind == MAX ? KOP_MAX : KOP_ADD, KOP_NONE};
    kb_loop(b, &loop, KLOOP_SEQ, kb_i(b, 0), x->global ? kb_dim(b, x->w.in[i]) : kb_i(b, x->w.kernel[i]), n, acc, x->indices ? NULL : combine);
    idx[2 + i] = x->global ? loop.iv : window_at(b, &x->w, i, out[2 + i], loop.iv);
    KVal inside = pred, next[2] = {loop.carry[0], n > 1 ? loop.carry[1] : (KVal){0}};
    if (!x->global) window_inside(b, &x->w, i, idx[2 + i], &inside);
    sweep(x, i + 1, out, idx, inside, next);
    kb_loop_end(b, &loop, next);
    acc[0] = loop.result[0];
    if (n > 1) acc[1] = loop.result[1];
}

/* Elements that an average divides by: per axis, taps with lo <= o*stride - begin + k*dilation < hi, in closed form. */
static KVal counted(Pl *x, const KVal *out)
{
    Kb *b = x->l->b;
    KVal n = kb_i(b, 1), zero = kb_i(b, 0), one = kb_i(b, 1);
    for (int i = 0; i < x->w.n; i++) {
        if (x->global) {
            n = kb_mul(b, n, kb_dim(b, x->w.in[i]));
            continue;
        }
        KVal k = kb_i(b, x->w.kernel[i]);
        if (x->w.padded) {
            bool pad = x->a->count_include_pad;
            KVal start = window_at(b, &x->w, i, out[2 + i], zero), dil = kb_i(b, x->w.dilation[i]);
            KVal lo = pad ? kb_sub(b, zero, kb_dim(b, x->w.begin[i])) : zero, hi = kb_dim(b, x->w.in[i]);
            if (pad) hi = kb_add(b, hi, kb_dim(b, x->w.end[i]));
            /* first k with start + k*dil >= lo, and first with >= hi */
            KVal a = kb_bin(b, KOP_FLOORDIV, kb_add(b, kb_sub(b, lo, start), kb_sub(b, dil, one)), dil);
            KVal e = kb_bin(b, KOP_FLOORDIV, kb_add(b, kb_sub(b, hi, start), kb_sub(b, dil, one)), dil);
            k = kb_max(b, zero, kb_sub(b, kb_min(b, e, k), kb_max(b, a, zero)));
        }
        n = kb_mul(b, n, k);
    }
    return n;
}

static bool lower(Lw *l, Node n)
{
    const OpDesc *op = node_desc(l->g, n);
    OpCode code = node_rec(l->g, n)->op;
    Pl x = {.l = l, .a = ATTRS(l->g, n, Pool), .global = is_global(op), .kind = code == OP_MaxPool || code == OP_GlobalMaxPool ? MAX : code == OP_LpPool ? LP : AVERAGE};
    const char *why;
    if (!resolve(&l->m->dims, op, x.a, value_trec(l->g, node_in(l->g, n, 0)), &x.w, &why)) return lw_fail(l, "%s", why);
    x.indices = x.kind == MAX && node_n_out(l->g, n) > 1 && value_used(l->g, node_out(l->g, n, 1));
    x.column_major = !x.global && x.a->storage_order;
    x.p = x.kind == LP ? (double)x.a->p : 0;
    DType t = dtype_compute(lw_elem(l, 0));
    KBuf src = lw_in(l, 0);
    lw_out(l, 0);
    if (x.indices) lw_out(l, 1);
    Kb *b = lw_kernel(l, op->name);
    x.src = kb_param(b, src, false);
    KVal out[RANK_MAX], idx[RANK_MAX], acc[2];
    lw_nest_over(l, 0, out);
    idx[0] = out[0];
    idx[1] = out[1];
    if (x.kind == MAX) acc[0] = dtype_is_float(t) ? kb_const_f(b, t, -INFINITY) : kb_const_i(b, t, dtype_is_signed(t) ? -128 : 0);
    else acc[0] = kb_const_f(b, t, 0);
    acc[1] = kb_i(b, -1);
    sweep(&x, 0, out, idx, (KVal){0}, acc);
    KVal y = acc[0];
    if (x.kind == AVERAGE) y = kb_div(b, y, kb_cast(b, t, counted(&x, out)));
    if (x.kind == LP) y = x.p == 1 ? y : x.p == 2 ? kb_un(b, KOP_SQRT, y) : kb_bin(b, KOP_POW, y, kb_const_f(b, t, 1 / x.p));
    lw_put(l, 0, out, y);
    if (x.indices) lw_put(l, 1, out, acc[1]);
    lw_end_nest(l, lw_out_rank(l, 0));
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
    bool global = is_global(op), max = code == OP_MaxPool || code == OP_GlobalMaxPool;
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
            if (!max) s += code == OP_LpPool ? pow(fabs(v), (double)a->p) : v;
        }
        if (max && best < 0 && !dtype_is_float(x->elem)) ev_set_i(y, o, dtype_is_signed(x->elem) ? -128 : 0);
        else ev_set_f(y, o, max ? s : code == OP_LpPool ? pow(s, 1.0 / (double)a->p) : s / (double)count);
        if (at_out) ev_set_i(at_out, o, best);
    }
    return y != NULL;
}

#define WINDOWED .cls = CLS_WINDOW, .infer = infer, .lower = lower, .eval = eval
#define WITH_ATTRS .attrs = POOL_ATTRS, .attrs_size = sizeof(Pool)
const OpDesc op_MaxPool = {.name = "MaxPool", .since = 22, WINDOWED, WITH_ATTRS, .in = P_MAX, .out = P_MAX_OUT};
const OpDesc op_AveragePool = {.name = "AveragePool", .since = 22, WINDOWED, WITH_ATTRS, .in = P_FLOAT, .out = P_FLOAT};
const OpDesc op_LpPool = {.name = "LpPool", .since = 22, WINDOWED, WITH_ATTRS, .in = P_FLOAT, .out = P_FLOAT};
const OpDesc op_GlobalAveragePool = {.name = "GlobalAveragePool", .since = 22, WINDOWED, .in = P_FLOAT, .out = P_FLOAT};
const OpDesc op_GlobalMaxPool = {.name = "GlobalMaxPool", .since = 22, WINDOWED, .in = P_FLOAT, .out = P_FLOAT};
