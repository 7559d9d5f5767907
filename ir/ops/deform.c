/* deform.c: DeformConv (Dai et al., arXiv 1703.06211; mask: Zhu et al., arXiv 1811.11168): a convolution whose taps
 * are moved by offsets that a network computes, and read linearly between the pixels.
 *   DeformConv(X, W, offset, B, mask)  =>  W[group, OC/group, K] * Columns[N, group, K, pixels] + B      K = IC/group * taps
 * Columns is an operator of its own, so that the product is any other product:
 *   column[n, g, c * taps + t, p] = mask * sum over the 2^d corners of X[n, g * IC/group + c, corner] * weight
 * at place o*stride - begin + tap*dilation + offset; corners outside of X count as 0. */
#include "ir/graph/eval.h"
#include "ir/ops/compose.h"
#include "ir/ops/axes.h"
#include "ir/ops/window.h"
#include <math.h>
#include <string.h>

enum { X, W, OFFSET, BIAS, MASK };
static const Port P_IN[] = {{"X", DTS_FLOAT, 0, 1},
                            {"W", DTS_FLOAT, 0, 1},
                            {"offset", DTS_FLOAT, 0, 1},
                            {"B", DTS_FLOAT, PORT_OPTIONAL, 1},
                            {"mask", DTS_FLOAT, PORT_OPTIONAL, 1},
                            PORT_END};
static const Port P_OUT[] = {{"Y", DTS_FLOAT, 0, 1}, PORT_END};
typedef struct Deform {
    uint64_t set;
    int64_t group, offset_group;
    AttrInts kernel_shape, strides, dilations, pads;
} Deform;
static const AttrSpec ATTRS_[] = {A_INT(Deform, group, 1),      A_INT(Deform, offset_group, 1),
                                  A_INTS(Deform, kernel_shape), A_INTS(Deform, strides),
                                  A_INTS(Deform, dilations),    A_INTS(Deform, pads),
                                  A_END};

/* The kernel's extents: the attribute, or those of the weights (`w` may be NULL). */
static bool resolve(Dims *d, const Deform *a, const TypeRec *x, const TypeRec *w, Window *win, const char **why)
{
    int n = x->rank - 2;
    int64_t kernel[WINDOW_MAX];
    Dim in[WINDOW_MAX];
    WindowAttrs wa = {.strides = a->strides, .dilations = a->dilations, .pads = a->pads};
    if (n < 1 || n > WINDOW_MAX) return *why = "the rank is not supported", false;
    if (a->kernel_shape.n && a->kernel_shape.n != (uint32_t)n) return *why = "kernel_shape does not have an entry for each spatial axis", false;
    for (int i = 0; i < n; i++) {
        in[i] = dim_resolve(d, x->dim[2 + i]);
        if (a->kernel_shape.n) kernel[i] = a->kernel_shape.p[i];
        else if (!w || !dim_is_const(d, dim_resolve(d, w->dim[2 + i]), &kernel[i]))
            return *why = "the kernel's extents must be known at compile time", false;
    }
    return window_resolve(d, n, in, kernel, &wa, win, why);
}

/* Input k is [N, groups * per_group, out]. */
static bool per_pixel(Infer *c, uint32_t k, const Window *w, int64_t channels)
{
    if (!infer_need_rank(c, k, w->n + 2, w->n + 2) || !infer_must_eq(c, infer_dim(c, k, 0), infer_dim(c, X, 0), "batch") ||
        !infer_must_eq(c, infer_dim(c, k, 1), dim_const(c->d, channels), "number of offsets or factors for each pixel"))
        return false;
    for (int i = 0; i < w->n; i++)
        if (!infer_must_eq(c, infer_dim(c, k, 2 + i), w->out[i], "extent of offset or mask")) return false;
    return true;
}

static bool infer(Infer *c)
{
    const Deform *a = ATTRS(c->g, c->n, Deform);
    Window w;
    const char *why;
    int64_t k;
    Dim dim[RANK_MAX];
    if (!infer_need_rank(c, X, 3, -1)) return false;
    int rank = infer_rank(c, X);
    if (!infer_need_rank(c, W, rank, rank)) return false;
    if (a->group < 1 || a->offset_group < 1) return infer_fail(c, "group and offset_group must be positive");
    if (!resolve(c->d, a, infer_in(c, X), infer_in(c, W), &w, &why)) return infer_fail(c, "%s", why);
    for (int i = 0; i < w.n; i++)
        if (!infer_must_eq(c, infer_dim(c, W, 2 + i), dim_const(c->d, w.kernel[i]), "kernel_shape")) return false;
    if (!infer_must_eq(c, infer_dim(c, X, 1), dim_mul(c->d, infer_dim(c, W, 1), dim_const(c->d, a->group)), "input channels"))
        return false;
    if (!dim_is_const(c->d, infer_dim(c, X, 1), &k)) return infer_fail(c, "the number of channels must be known at compile time");
    if (k % a->offset_group) return infer_fail(c, "%lld channels in %lld groups of offsets", (long long)k, (long long)a->offset_group);
    if (dim_is_const(c->d, infer_dim(c, W, 0), &k) && k % a->group)
        return infer_fail(c, "%lld output channels in %lld groups", (long long)k, (long long)a->group);
    if (!per_pixel(c, OFFSET, &w, a->offset_group * w.taps * w.n)) return false;
    if (infer_has(c, MASK) && !per_pixel(c, MASK, &w, a->offset_group * w.taps)) return false;
    if (infer_has(c, BIAS) &&
        (!infer_need_rank(c, BIAS, 1, 1) || !infer_must_eq(c, infer_dim(c, BIAS, 0), infer_dim(c, W, 0), "length of the bias")))
        return false;
    dim[0] = infer_dim(c, X, 0);
    dim[1] = infer_dim(c, W, 0);
    for (int i = 0; i < w.n; i++) dim[2 + i] = w.out[i];
    return infer_set(c, 0, infer_elem(c, X), rank, dim);
}

static bool expand(Graph *g, Node n)
{
    const Deform *a = ATTRS(g, n, Deform);
    Dims *d = &g->m->dims;
    Ex x = ex_begin(g, n);
    const TypeRec *tw = ex_type(&x, ex_in(&x, W)), *ty = ex_type(&x, node_out(g, n, 0));
    Dim group = dim_const(d, a->group), k = dim_resolve(d, tw->dim[1]), out[RANK_MAX];
    int rank = tw->rank;
    int64_t kernel[WINDOW_MAX], bias_axes[WINDOW_MAX];
    for (int i = 2; i < rank; i++) {
        dim_is_const(d, dim_resolve(d, tw->dim[i]), &kernel[i - 2]);
        k = dim_mul(d, k, dim_resolve(d, tw->dim[i]));
        bias_axes[i - 2] = i - 1;
    }
    for (int i = 0; i < rank; i++) out[i] = dim_resolve(d, ty->dim[i]);
    void *attrs = ex_set_ints(&x, OP_DeformColumns, ex_inherit(&x, OP_DeformColumns), "kernel_shape", kernel, (uint32_t)rank - 2);
    Value columns = ex_op(&x, OP_DeformColumns, (Value[]){ex_in(&x, X), ex_in(&x, OFFSET), ex_in(&x, MASK)}, 3, attrs);
    Value w = ex_shaped(&x, ex_in(&x, W), (Dim[]){group, dim_div(d, dim_resolve(d, tw->dim[0]), group), k}, 3);
    Value y = ex_shaped(&x, ex2(&x, OP_MatMul, w, columns), out, rank);
    if (ex_in(&x, BIAS).i)
        y = ex2(&x, OP_Add, y, ex2(&x, OP_Unsqueeze, ex_in(&x, BIAS), ex_ints(&x, bias_axes, (uint32_t)rank - 2)));
    return ex_end(&x, &y, 1);
}

/* Where tap `tap` (one index per axis) of output o lies, by the arithmetic of the paper; for the references. */
static double place(const Window *w, const Tensor *offset, const int64_t *o, int64_t b, int64_t og, int64_t t, const int64_t *tap, int axis,
                    const int64_t *begin)
{
    int64_t idx[RANK_MAX] = {b, (og * w->taps + t) * w->n + axis};
    for (int i = 0; i < w->n; i++) idx[2 + i] = o[i];
    return (double)(o[axis] * w->stride[axis] - begin[axis] + tap[axis] * w->dilation[axis]) + ev_f(offset, flat_index(offset, idx));
}

/* Channel c of picture b of x, linearly between its pixels, 0 outside. */
static double sample(const Tensor *x, int64_t b, int64_t c, int n, const double *at)
{
    double sum = 0;
    for (int corner = 0; corner < 1 << n; corner++) {
        double weight = 1;
        int64_t idx[RANK_MAX] = {b, c};
        bool inside = true;
        for (int i = 0; i < n; i++) {
            double low = floor(at[i]), high = at[i] - low;
            int64_t p = (int64_t)low + (corner >> i & 1);
            weight *= corner >> i & 1 ? high : 1 - high;
            inside = inside && p >= 0 && p < x->dim[2 + i];
            idx[2 + i] = p;
        }
        if (inside) sum += weight * ev_f(x, flat_index(x, idx));
    }
    return sum;
}

/* What the evaluators know: extents as numbers. */
typedef struct Known {
    Window w;
    int64_t begin[WINDOW_MAX], out[WINDOW_MAX], pixels;
} Known;

static bool known(Eval *e, const Deform *a, const Tensor *x, const Tensor *w, const Tensor *offset, Known *k)
{
    k->w = (Window){.n = x->rank - 2, .taps = 1};
    k->pixels = 1;
    for (int i = 0; i < k->w.n; i++) {
        k->w.kernel[i] = a->kernel_shape.n ? a->kernel_shape.p[i] : w->dim[2 + i];
        k->w.stride[i] = a->strides.n ? a->strides.p[i] : 1;
        k->w.dilation[i] = a->dilations.n ? a->dilations.p[i] : 1;
        k->begin[i] = a->pads.n ? a->pads.p[i] : 0;
        k->w.taps *= k->w.kernel[i];
        k->pixels *= k->out[i] = offset->dim[2 + i];
    }
    return offset->dim[1] == a->offset_group * k->w.taps * k->w.n || ev_fail(e, "the offsets do not fit the kernel");
}

static void digits(int n, const int64_t *extent, int64_t k, int64_t *digit)
{
    for (int i = n - 1; i >= 0; i--) digit[i] = k % extent[i], k /= extent[i];
}

/* The masked value that tap t of channel c reads for pixel p of picture b. */
static double tap_value(const Known *k, const Deform *a, const Tensor *x, const Tensor *offset, const Tensor *mask, int64_t b, int64_t c, int64_t t,
                        int64_t p)
{
    int64_t tap[WINDOW_MAX], o[WINDOW_MAX], og = c / (x->dim[1] / a->offset_group), idx[RANK_MAX] = {b, og * k->w.taps + t};
    double at[WINDOW_MAX];
    digits(k->w.n, k->w.kernel, t, tap);
    digits(k->w.n, k->out, p, o);
    for (int i = 0; i < k->w.n; i++) {
        at[i] = place(&k->w, offset, o, b, og, t, tap, i, k->begin);
        idx[2 + i] = o[i];
    }
    return sample(x, b, c, k->w.n, at) * (mask ? ev_f(mask, flat_index(mask, idx)) : 1);
}

static bool eval(Eval *e)
{
    const Deform *a = ATTRS(e->g, e->n, Deform);
    const Tensor *x = e->in[X], *w = e->in[W], *mask = ev_has(e, MASK) ? e->in[MASK] : NULL;
    Known k;
    if (!known(e, a, x, w, e->in[OFFSET], &k)) return false;
    int64_t dim[RANK_MAX] = {x->dim[0], w->dim[0]}, icg = w->dim[1], ocg = w->dim[0] / a->group;
    memcpy(dim + 2, k.out, sizeof *dim * (size_t)k.w.n);
    Tensor *y = ev_out(e, 0, x->elem, x->rank, dim);
    for (int64_t at = 0; y && at < y->count; at++) {
        int64_t p = at % k.pixels, oc = at / k.pixels % w->dim[0], b = at / k.pixels / w->dim[0];
        double s = ev_has(e, BIAS) ? ev_f(e->in[BIAS], oc) : 0;
        for (int64_t c = 0; c < icg; c++)
            for (int64_t t = 0; t < k.w.taps; t++)
                s += ev_f(w, (oc * icg + c) * k.w.taps + t) * tap_value(&k, a, x, e->in[OFFSET], mask, b, oc / ocg * icg + c, t, p);
        ev_set_f(y, at, s);
    }
    return y != NULL;
}

const OpDesc op_DeformConv = {.name = "DeformConv", .since = 22, .cls = CLS_OPAQUE, .in = P_IN, .out = P_OUT, .attrs = ATTRS_, .attrs_size = sizeof(Deform),
                              .infer = infer, .expand = expand, .eval = eval};

/* ---- DeformColumns(X, offset, mask) ---- */

enum { COL_X, COL_OFFSET, COL_MASK };
static const Port P_COLUMNS[] = {{"X", DTS_FLOAT, 0, 1}, {"offset", DTS_FLOAT, 0, 1}, {"mask", DTS_FLOAT, PORT_OPTIONAL, 1}, PORT_END};

static bool columns_infer(Infer *c)
{
    const Deform *a = ATTRS(c->g, c->n, Deform);
    Window w;
    const char *why;
    if (!infer_need_rank(c, COL_X, 3, -1)) return false;
    if (!resolve(c->d, a, infer_in(c, COL_X), NULL, &w, &why)) return infer_fail(c, "%s", why);
    Dim group = dim_const(c->d, a->group), pixels = dim_const(c->d, 1);
    for (int i = 0; i < w.n; i++) pixels = dim_mul(c->d, pixels, w.out[i]);
    Dim k = dim_mul(c->d, dim_div(c->d, infer_dim(c, COL_X, 1), group), dim_const(c->d, w.taps));
    return infer_set(c, 0, infer_elem(c, COL_X), 4, (Dim[]){infer_dim(c, COL_X, 0), group, k, pixels});
}

static bool columns_lower(Lw *l, Node n)
{
    const Deform *a = ATTRS(l->g, n, Deform);
    Dims *d = &l->m->dims;
    DType t = dtype_compute(lw_elem(l, COL_X));
    Window w;
    const char *why;
    if (!resolve(d, a, value_trec(l->g, node_in(l->g, n, COL_X)), NULL, &w, &why)) return lw_fail(l, "%s", why);
    KBuf x = lw_in_strided(l, COL_X);
    lw_prepare_in(l);
    lw_prepare_out(l);
    Kb *b = lw_kernel(l, "deform");
    uint32_t px = kb_param(b, x, false);
    Dim channels = lw_dim(l, COL_X, 1);
    KVal idx[4], o[WINDOW_MAX], tap[WINDOW_MAX], low[WINDOW_MAX], part[WINDOW_MAX], one = kb_const_f(b, t, 1), sum = kb_const_f(b, t, 0);
    lw_nest_over(l, 0, idx);
    KVal taps = kb_i(b, w.taps), c = kb_div(b, idx[2], taps), at_tap = kb_bin(b, KOP_REM, idx[2], taps), rest = idx[3], tap_rest = at_tap;
    c = kb_add(b, kb_mul(b, idx[1], kb_dim(b, dim_div(d, channels, dim_const(d, a->group)))), c);
    KVal og = kb_div(b, c, kb_dim(b, dim_div(d, channels, dim_const(d, a->offset_group)))), factor = one;
    for (int i = w.n - 1; i >= 0; i--) {
        KVal extent = kb_dim(b, w.out[i]), kernel = kb_i(b, w.kernel[i]);
        o[i] = i ? kb_bin(b, KOP_REM, rest, extent) : rest;
        tap[i] = i ? kb_bin(b, KOP_REM, tap_rest, kernel) : tap_rest;
        rest = kb_div(b, rest, extent);
        tap_rest = kb_div(b, tap_rest, kernel);
    }
    KVal place_at[RANK_MAX] = {idx[0], kb_add(b, kb_mul(b, og, taps), at_tap)};
    for (int i = 0; i < w.n; i++) place_at[2 + i] = o[i];
    if (lw_has(l, COL_MASK)) factor = lw_at(l, COL_MASK, place_at);
    KVal slot = kb_mul(b, place_at[1], kb_i(b, w.n));
    for (int i = 0; i < w.n; i++) {
        place_at[1] = kb_add(b, slot, kb_i(b, i));
        KVal p = kb_add(b, kb_cast(b, t, window_at(b, &w, i, o[i], tap[i])), lw_at(l, COL_OFFSET, place_at));
        KVal floor = kb_un(b, KOP_FLOOR, p);
        part[i] = kb_sub(b, p, floor);
        low[i] = kb_cast(b, DT_I64, floor);
    }
    for (int corner = 0; corner < 1 << w.n; corner++) {
        KVal from[RANK_MAX] = {idx[0], c}, weight = factor, inside = {0};
        for (int i = 0; i < w.n; i++) {
            bool upper = corner >> i & 1;
            from[2 + i] = upper ? kb_add(b, low[i], kb_i(b, 1)) : low[i];
            weight = kb_mul(b, weight, upper ? part[i] : kb_sub(b, one, part[i]));
            KVal in = kb_and(b, kb_ge(b, from[2 + i], kb_i(b, 0)), kb_lt(b, from[2 + i], kb_dim(b, w.in[i])));
            inside = inside.i ? kb_and(b, inside, in) : in;
        }
        sum = kb_add(b, sum, kb_mul(b, weight, kb_load_if(b, px, from, inside, (KVal){0})));
    }
    lw_put(l, 0, idx, sum);
    lw_end_nest(l, 4);
    lw_kernel_end(l);
    return true;
}

static bool columns_eval(Eval *e)
{
    const Deform *a = ATTRS(e->g, e->n, Deform);
    const Tensor *x = e->in[COL_X], *mask = ev_has(e, COL_MASK) ? e->in[COL_MASK] : NULL;
    Known k;
    if (!known(e, a, x, NULL, e->in[COL_OFFSET], &k)) return false;
    int64_t icg = x->dim[1] / a->group, dim[4] = {x->dim[0], a->group, icg * k.w.taps, k.pixels}, i[4];
    Tensor *y = ev_out(e, 0, x->elem, 4, dim);
    for (int64_t at = 0; y && at < y->count; at++) {
        unflatten(y, at, i);
        ev_set_f(y, at, tap_value(&k, a, x, e->in[COL_OFFSET], mask, i[0], i[1] * icg + i[2] / k.w.taps, i[2] % k.w.taps, i[3]));
    }
    return y != NULL;
}

const OpDesc op_DeformColumns = {.name = "DeformColumns", .since = 1, .cls = CLS_WINDOW, .flags = OPF_INTERNAL | OPF_STRIDED_OUT, .in = P_COLUMNS, .out = P_OUT,
                                 .attrs = ATTRS_, .attrs_size = sizeof(Deform), .infer = columns_infer, .lower = columns_lower, .eval = columns_eval};
