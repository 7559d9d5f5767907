/* deform.c: DeformConv (Dai et al., arXiv 1703.06211; mask: Zhu et al., arXiv 1811.11168): a convolution whose taps
 * are moved by offsets that a network computes, and read linearly between the pixels.
 *   DeformConv(X, W, offset, B, mask)  =>  Columns[N, group, pixels, K] * W[group, K, OC/group] + B      K = taps * IC/group
 * Columns is an operator of its own, so that the product is any other product:
 *   column[n, g, p, t * IC/group + c] = mask * sum over the 2^d corners of X[n, corner, g * IC/group + c] * weight
 * at place o*stride - begin + tap*dilation + offset; corners outside of X count as 0. Channels are innermost in X and in
 * the columns, because all channels of a group of offsets read the same corners with the same weights. */
#include "base/num.h"
#include "ir/graph/eval.h"
#include "ir/ops/compose.h"
#include "ir/ops/axes.h"
#include "ir/ops/grad.h"
#include "ir/ops/window.h"
#include <assert.h>
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

/* The kernel's extents: the attribute, or those of the weights (of type `w`). x: spatial axes from `first` on. */
static bool resolve(Dims *d, const Deform *a, const TypeRec *x, int first, const TypeRec *w, Window *win, const char **why)
{
    int n = x->rank - 2;
    Dim in[WINDOW_MAX], kernel[WINDOW_MAX];
    WindowAttrs wa = {.strides = a->strides, .dilations = a->dilations, .pads = a->pads};
    if (n < 1 || n > WINDOW_MAX) return *why = "the rank is not supported", false;
    if (a->kernel_shape.n && a->kernel_shape.n != (uint32_t)n) return *why = "kernel_shape does not have an entry for each spatial axis", false;
    for (int i = 0; i < n; i++) {
        in[i] = dim_resolve(d, x->dim[first + i]);
        kernel[i] = a->kernel_shape.n ? dim_const(d, a->kernel_shape.p[i]) : dim_resolve(d, w->dim[2 + i]);
    }
    return window_extents(d, n, in, kernel, &wa, win, why);
}

/* The product of the kernel's extents. */
static Dim all_taps(Dims *d, const Window *w)
{
    Dim taps = dim_const(d, 1);
    for (int i = 0; i < w->n; i++) taps = dim_mul(d, taps, dim_resolve(d, w->extent[i]));
    return taps;
}

/* Input k is [N, channels, out]. */
static bool per_pixel(Infer *c, uint32_t k, const Window *w, Dim channels)
{
    if (!infer_need_rank(c, k, w->n + 2, w->n + 2) || !infer_must_eq(c, infer_dim(c, k, 0), infer_dim(c, X, 0), "batch") ||
        !infer_must_eq(c, infer_dim(c, k, 1), channels, "number of offsets or factors for each pixel"))
        return false;
    for (int i = 0; i < w->n; i++)
        if (!infer_must_eq(c, infer_dim(c, k, 2 + i), w->out[i], "extent of offset or mask")) return false;
    return true;
}

/* An extent of operand k is a multiple of `part`. */
static bool whole(Infer *c, uint32_t k, int axis, Dim part, const char *what)
{
    Dim all = infer_dim(c, k, axis);
    return infer_must_eq(c, dim_mul(c->d, part, dim_div(c->d, all, part)), all, what);
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
    if (!resolve(c->d, a, infer_in(c, X), 2, infer_in(c, W), &w, &why)) return infer_fail(c, "%s", why);
    Dim one = dim_const(c->d, 1), og = dim_const(c->d, a->offset_group), group = dim_const(c->d, a->group);
    for (int i = 0; i < w.n; i++) {
        if (!infer_must_eq(c, infer_dim(c, W, 2 + i), w.extent[i], "kernel_shape")) return false;
        if (!w.kernel[i] && !infer_must_eq(c, dim_min(c->d, w.extent[i], one), one, "extent of the kernel, at most 1")) return false;
    }
    if (!infer_must_eq(c, infer_dim(c, X, 1), dim_mul(c->d, infer_dim(c, W, 1), dim_const(c->d, a->group)), "input channels"))
        return false;
    if (dim_is_const(c->d, infer_dim(c, X, 1), &k) && k % a->offset_group)
        return infer_fail(c, "%lld channels in %lld groups of offsets", (long long)k, (long long)a->offset_group);
    if (dim_is_const(c->d, infer_dim(c, W, 0), &k) && k % a->group)
        return infer_fail(c, "%lld output channels in %lld groups", (long long)k, (long long)a->group);
    if (!whole(c, X, 1, og, "channels in whole groups of offsets") || !whole(c, W, 0, group, "output channels in whole groups")) return false;
    Dim factors = dim_mul(c->d, og, all_taps(c->d, &w));
    if (!per_pixel(c, OFFSET, &w, dim_mul(c->d, factors, dim_const(c->d, w.n)))) return false;
    if (infer_has(c, MASK) && !per_pixel(c, MASK, &w, factors)) return false;
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
    int rank = tw->rank, axes = rank - 2;
    bool grouped = a->group > 1, known = true;
    Dim group = dim_const(d, a->group), oc = dim_resolve(d, tw->dim[0]), ocg = dim_div(d, oc, group), icg = dim_resolve(d, tw->dim[1]);
    Dim taps = dim_const(d, 1), batch = dim_resolve(d, ty->dim[0]), pixels = dim_const(d, 1), out[RANK_MAX];
    int64_t kernel[WINDOW_MAX] = {0}, bias_axes[WINDOW_MAX], last[RANK_MAX] = {0}, first[RANK_MAX] = {0, rank - 1};
    for (int i = 0; i < axes; i++) {
        known &= dim_is_const(d, dim_resolve(d, tw->dim[2 + i]), &kernel[i]);
        taps = dim_mul(d, taps, dim_resolve(d, tw->dim[2 + i]));
        pixels = dim_mul(d, pixels, dim_resolve(d, ty->dim[2 + i]));
        bias_axes[i] = i + 1;
        last[1 + i] = 2 + i;
        first[2 + i] = 1 + i;
    }
    last[rank - 1] = 1;
    for (int i = 0; i < rank; i++) out[i] = dim_resolve(d, ty->dim[i]);
    void *attrs = ex_inherit(&x, OP_DeformColumns);
    if (known) ex_set_ints(&x, OP_DeformColumns, attrs, "kernel_shape", kernel, (uint32_t)axes);
    Value near = ex_transpose(&x, ex_in(&x, X), last, (uint32_t)rank);
    Value columns = ex_op(&x, OP_DeformColumns, (Value[]){near, ex_in(&x, OFFSET), ex_in(&x, MASK), known ? VALUE_NONE : ex_in(&x, W)}, 4, attrs);
    Value w = ex_shaped(&x, ex_in(&x, W), (Dim[]){group, ocg, icg, taps}, 4);
    Dim k = dim_mul(d, taps, icg);
    w = ex_transpose(&x, w, (int64_t[]){0, 3, 2, 1}, 4);
    if (grouped) { /* [N, group, pixels, ocg], then as the result lies */
        Value y = ex2(&x, OP_MatMul, columns, ex_shaped(&x, w, (Dim[]){group, k, ocg}, 3));
        y = ex_shaped(&x, ex_transpose(&x, y, (int64_t[]){0, 1, 3, 2}, 4), out, rank);
        if (ex_in(&x, BIAS).i)
            y = ex2(&x, OP_Add, y, ex2(&x, OP_Unsqueeze, ex_in(&x, BIAS), ex_ints(&x, bias_axes, (uint32_t)axes)));
        return ex_end(&x, &y, 1);
    }
    columns = ex_shaped(&x, columns, (Dim[]){batch, pixels, k}, 3);
    Value y = ex2(&x, OP_MatMul, columns, ex_shaped(&x, w, (Dim[]){k, oc}, 2));
    if (ex_in(&x, BIAS).i) y = ex2(&x, OP_Add, y, ex_in(&x, BIAS));
    Dim near_out[RANK_MAX] = {batch};
    for (int i = 0; i < axes; i++) near_out[1 + i] = out[2 + i];
    near_out[rank - 1] = oc;
    y = ex_transpose(&x, ex_shaped(&x, y, near_out, rank), first, (uint32_t)rank);
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

/* Channel c of picture b of x, whose spatial axes begin at `first`, linearly between its pixels, 0 outside. */
static double sample(const Tensor *x, int first, int64_t b, int64_t c, int n, const double *at)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        if (!(at[i] > -1 && at[i] < (double)x->dim[first + i])) return 0;
    for (int corner = 0; corner < 1 << n; corner++) {
        double weight = 1;
        int64_t idx[RANK_MAX] = {b};
        bool inside = true;
        idx[first == 1 ? n + 1 : 1] = c;
        for (int i = 0; i < n; i++) {
            double low = floor(at[i]), high = at[i] - low;
            int64_t p = (int64_t)low + (corner >> i & 1);
            weight *= corner >> i & 1 ? high : 1 - high;
            inside = inside && p >= 0 && p < x->dim[first + i];
            idx[first + i] = p;
        }
        if (inside) sum += weight * ev_f(x, flat_index(x, idx));
    }
    return sum;
}

/* What the evaluators know: extents as numbers. */
typedef struct Known {
    Window w;
    int first; /* spatial axis of x; channels lie in front of them or behind */
    int64_t channels;
    int64_t begin[WINDOW_MAX], out[WINDOW_MAX], pixels;
} Known;

/* w: weights that the kernel's extents are read from, where kernel_shape does not say them. */
static bool known(Eval *e, const Deform *a, const Tensor *x, int first, const Tensor *w, const Tensor *offset, Known *k)
{
    k->w = (Window){.n = x->rank - 2, .taps = 1};
    k->first = first;
    k->channels = x->dim[first == 2 ? 1 : x->rank - 1];
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
    int64_t tap[WINDOW_MAX], o[WINDOW_MAX], og = c / (k->channels / a->offset_group), idx[RANK_MAX] = {b, og * k->w.taps + t};
    double at[WINDOW_MAX];
    digits(k->w.n, k->w.kernel, t, tap);
    digits(k->w.n, k->out, p, o);
    for (int i = 0; i < k->w.n; i++) {
        at[i] = place(&k->w, offset, o, b, og, t, tap, i, k->begin);
        idx[2 + i] = o[i];
    }
    return sample(x, k->first, b, c, k->w.n, at) * (mask ? ev_f(mask, flat_index(mask, idx)) : 1);
}

static bool eval(Eval *e)
{
    const Deform *a = ATTRS(e->g, e->n, Deform);
    const Tensor *x = e->in[X], *w = e->in[W], *mask = ev_has(e, MASK) ? e->in[MASK] : NULL;
    Known k;
    if (!known(e, a, x, 2, w, e->in[OFFSET], &k)) return false;
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

/* ---- DeformColumns(X, offset, mask, W): X with channels innermost; the kernel's extents are W's, or kernel_shape ---- */

enum { COL_X, COL_OFFSET, COL_MASK, COL_W };
static const Port P_COLUMNS[] = {{"X", DTS_FLOAT, 0, 1}, {"offset", DTS_FLOAT, 0, 1}, {"mask", DTS_FLOAT, PORT_OPTIONAL, 1},
                                 {"W", DTS_FLOAT, PORT_OPTIONAL, 1}, PORT_END};

static bool columns_infer(Infer *c)
{
    const Deform *a = ATTRS(c->g, c->n, Deform);
    Window w;
    const char *why;
    if (!infer_need_rank(c, COL_X, 3, -1)) return false;
    if (!a->kernel_shape.n && !infer_need_rank(c, COL_W, infer_rank(c, COL_X), infer_rank(c, COL_X))) return false;
    if (!resolve(c->d, a, infer_in(c, COL_X), 1, infer_in(c, COL_W), &w, &why)) return infer_fail(c, "%s", why);
    Dim group = dim_const(c->d, a->group), pixels = dim_const(c->d, 1);
    for (int i = 0; i < w.n; i++) pixels = dim_mul(c->d, pixels, w.out[i]);
    Dim k = dim_mul(c->d, dim_div(c->d, infer_dim(c, COL_X, w.n + 1), group), all_taps(c->d, &w));
    return infer_set(c, 0, infer_elem(c, COL_X), 4, (Dim[]){infer_dim(c, COL_X, 0), group, pixels, k});
}

#define COL_BLOCK 32 /* neighbouring pixels whose corners are worked out together */

/*   par n, output line, block of pixels
 *     for group of offsets:
 *       for tap:  vec pixel  corner[tap][2^d][pixel] = its place in the picture, or the nearest one;
 *                            weight[..] = what it counts, 0 outside;  reads[tap][pixel] = is any of them inside?
 *       for pixel, run of channels, tap:  vec channel  column = reads ? sum of weight * X[corner] : 0
 * Whoever reads at all sees elements of its own corners only: an infinity elsewhere does no harm. A kernel of a size that
 * only the run knows: the loop over taps stands around both, the tables are of one tap. */
typedef struct Col {
    Lw *l;
    Kb *b;
    const Deform *a;
    Window w;
    DType t, place;                /* of computation; of a place in the picture */
    uint32_t src;                  /* X as [N, pixels, channels] */
    uint32_t corner, weight, reads; /* scratch */
    Dim taps;
    bool one_tap;                   /* of which the scratch has room */
    KVal out[RANK_MAX], first, n;  /* batch at [0], spatial axes from [2] on but for the last; pixels first.. of the line */
} Col;

static KVal place_const(const Col *x, Dim d)
{
    int64_t k;
    if (x->place == DT_I64) return kb_dim(x->b, d);
    bool known = dim_is_const(&x->l->m->dims, d, &k); /* else places have 64 bits */
    assert(known);
    (void)known;
    return kb_const_i(x->b, x->place, k);
}

/* The corners of tap `tap` (number `t`) of all pixels of the block, for offsets of group `og`. */
static void corners(Col *x, KVal og, KVal t, const KVal *tap)
{
    Kb *b = x->b;
    const Window *w = &x->w;
    KVal px = kb_for(b, KLOOP_VEC, kb_i(b, 0), x->n), at[RANK_MAX] = {x->out[0]}, where[WINDOW_MAX][2], part[WINDOW_MAX][2];
    for (int i = 0; i < w->n; i++) at[2 + i] = i < w->n - 1 ? x->out[2 + i] : kb_add(b, x->first, px);
    KVal slot = kb_add(b, kb_mul(b, og, kb_dim(b, x->taps)), t), place = x->one_tap ? kb_i(b, 0) : t, zero = kb_const_f(b, x->t, 0), one = kb_const_f(b, x->t, 1);
    KVal factor = {0}, reads = {0};
    at[1] = slot;
    if (lw_has(x->l, COL_MASK)) factor = lw_at(x->l, COL_MASK, at);
    for (int i = 0; i < w->n; i++) {
        at[1] = kb_add(b, kb_mul(b, slot, kb_i(b, w->n)), kb_i(b, i));
        KVal p = kb_add(b, kb_cast(b, x->t, window_at(b, w, i, at[2 + i], tap[i])), lw_at(x->l, COL_OFFSET, at));
        KVal low = kb_un(b, KOP_FLOOR, p), end = kb_cast(b, x->t, kb_dim(b, w->in[i])), fraction = kb_sub(b, p, low);
        KVal inside[2], counts[2], half[2];
        for (int k = 0; k < 2; k++) {
            KVal q = k ? kb_add(b, low, one) : low;
            KVal nearest = kb_max(b, kb_min(b, q, kb_sub(b, end, one)), zero); /* NaN becomes 0 when converted */
            where[i][k] = kb_cast(b, x->place, nearest);
            inside[k] = kb_and(b, kb_ge(b, q, zero), kb_lt(b, q, end));
            counts[k] = k ? fraction : kb_sub(b, one, fraction);
            half[k] = kb_mul(b, counts[k], kb_const_f(b, x->t, 0.5));
        }
        /* The place nearest to a corner outside is the other corner's: each counts half of what that one does, since 0 times an infinity there
         * would be NaN. */
        for (int k = 0; k < 2; k++)
            part[i][k] = kb_select(b, inside[k], kb_select(b, inside[!k], counts[k], half[k]), kb_select(b, inside[!k], half[!k], zero));
        KVal any = kb_and(b, kb_bin(b, KOP_GT, p, kb_const_f(b, x->t, -1)), kb_lt(b, p, end));
        reads = i ? kb_and(b, reads, any) : any;
    }
    for (int c = 0; c < 1 << w->n; c++) {
        KVal pixel = {0}, weight = factor, idx[3] = {place, kb_i(b, c), px};
        for (int i = 0; i < w->n; i++) {
            KVal k = where[i][c >> i & 1], v = part[i][c >> i & 1];
            pixel = pixel.i ? kb_add(b, kb_mul(b, pixel, place_const(x, w->in[i])), k) : k;
            weight = weight.i ? kb_mul(b, weight, v) : v;
        }
        kb_store(b, x->corner, idx, pixel);
        kb_store(b, x->weight, idx, weight);
    }
    kb_store(b, x->reads, (KVal[]){place, px}, kb_cast(b, DT_I32, reads));
    kb_end(b);
}

/* The columns of the block's pixels, for channels of group `og` of offsets; tap: the one at hand, or none. */
static void interpolate(Col *x, KVal og, KVal tap, Dim channels, KVal pixel0)
{
    Kb *b = x->b;
    Dims *d = &x->l->m->dims;
    int64_t g1 = x->a->group, g2 = x->a->offset_group, parts = g1 / (int64_t)gcd64((uint64_t)g1, (uint64_t)g2);
    Dim icg = dim_div(d, channels, dim_const(d, g1)), per = dim_div(d, channels, dim_const(d, g2));
    KVal run = kb_dim(b, dim_div(d, per, dim_const(d, parts))); /* channels of one group and one group of offsets */
    KVal zero = kb_i(b, 0), px = kb_for(b, KLOOP_SEQ, zero, x->n), part = kb_for(b, KLOOP_SEQ, kb_i(b, 0), kb_i(b, parts));
    KVal t = tap.i ? tap : kb_for(b, KLOOP_SEQ, kb_i(b, 0), kb_dim(b, x->taps)), slot = tap.i ? zero : t;
    KVal c0 = kb_add(b, kb_mul(b, og, kb_dim(b, per)), kb_mul(b, part, run)), g, in_group = c0;
    if (g1 == 1) g = zero;
    else g = kb_div(b, c0, kb_max(b, kb_i(b, 1), kb_dim(b, icg))), in_group = kb_sub(b, c0, kb_mul(b, g, kb_dim(b, icg)));
    KVal reads = kb_cast(b, DT_I64, kb_load(b, x->reads, (KVal[]){slot, px})), sum = {0};
    KVal idx[4] = {x->out[0], g, kb_add(b, pixel0, px)}, column = kb_add(b, kb_mul(b, t, kb_dim(b, icg)), in_group);
    kb_for(b, KLOOP_SEQ, zero, reads);
    KVal c = kb_for(b, KLOOP_VEC, zero, run);
    for (int k = 0; k < 1 << x->w.n; k++) {
        KVal at[3] = {slot, kb_i(b, k), px}, weight = kb_load(b, x->weight, at), pixel = kb_load(b, x->corner, at);
        KVal v = kb_load(b, x->src, (KVal[]){x->out[0], kb_cast(b, DT_I64, pixel), kb_add(b, c0, c)});
        sum = sum.i ? kb_fma(b, weight, v, sum) : kb_mul(b, weight, v);
    }
    idx[3] = kb_add(b, column, c);
    lw_put(x->l, 0, idx, sum);
    lw_end_nest(x->l, 2);
    kb_for(b, KLOOP_SEQ, reads, kb_i(b, 1));
    idx[3] = kb_add(b, column, kb_for(b, KLOOP_VEC, zero, run));
    lw_put(x->l, 0, idx, kb_const_f(b, x->t, 0));
    lw_end_nest(x->l, tap.i ? 4 : 5);
}

static bool columns_lower(Lw *l, Node n)
{
    const Deform *a = ATTRS(l->g, n, Deform);
    Dims *d = &l->m->dims;
    Col x = {.l = l, .a = a, .t = dtype_compute(lw_elem(l, COL_X))};
    const char *why;
    int64_t known;
    const TypeRec *weights = lw_has(l, COL_W) ? value_trec(l->g, node_in(l->g, n, COL_W)) : NULL;
    if (!resolve(d, a, value_trec(l->g, node_in(l->g, n, COL_X)), 1, weights, &x.w, &why)) return lw_fail(l, "%s", why);
    const Window *w = &x.w;
    Dim depth = lw_dim(l, COL_X, w->n + 1), batch = lw_dim(l, COL_X, 0), pixels = dim_const(d, 1), line = w->out[w->n - 1];
    for (int i = 0; i < w->n; i++) pixels = dim_mul(d, pixels, w->in[i]);
    x.place = dim_is_const(d, pixels, &known) && known < INT32_MAX ? DT_I32 : DT_I64;
    KBuf src = kbuf_view(l->k, lw_in(l, COL_X), (Name){0}, 3, (Dim[]){batch, pixels, depth}, NULL, dim_const(d, 0), l->loc);
    lw_prepare_in(l);
    lw_prepare_out(l);
    Kb *b = x.b = lw_kernel(l, "deform");
    x.taps = all_taps(d, w);
    x.one_tap = !w->taps;
    Dim size[3] = {dim_const(d, x.one_tap ? 1 : w->taps), dim_const(d, 1 << w->n), dim_const(d, COL_BLOCK)};
    x.src = kb_param(b, src, false);
    x.corner = kb_local(b, "corner", x.place, 3, size);
    x.weight = kb_local(b, "weight", x.t, 3, size);
    x.reads = kb_local(b, "reads", DT_I32, 2, (Dim[]){size[0], size[2]});
    KVal zero = kb_i(b, 0), pixel0 = zero, tap[WINDOW_MAX], t = zero;
    x.out[0] = kb_for(b, KLOOP_PAR, zero, kb_dim(b, batch));
    for (int i = 0; i < w->n - 1; i++) x.out[2 + i] = kb_for(b, KLOOP_PAR, zero, kb_dim(b, w->out[i]));
    KVal block = kb_for(b, KLOOP_PAR, zero, kb_dim(b, dim_ceildiv(d, line, dim_const(d, COL_BLOCK))));
    x.first = kb_mul(b, block, kb_i(b, COL_BLOCK));
    x.n = kb_min(b, kb_i(b, COL_BLOCK), kb_sub(b, kb_dim(b, line), x.first));
    for (int i = 0; i < w->n - 1; i++) pixel0 = kb_add(b, kb_mul(b, pixel0, kb_dim(b, w->out[i])), x.out[2 + i]);
    pixel0 = kb_add(b, kb_mul(b, pixel0, kb_dim(b, line)), x.first);
    KVal og = kb_for(b, KLOOP_SEQ, zero, kb_i(b, a->offset_group));
    for (int i = 0; i < w->n; i++) {
        KVal extent = kb_dim(b, w->extent[i]);
        tap[i] = kb_for(b, KLOOP_SEQ, zero, extent);
        t = i ? kb_add(b, kb_mul(b, t, extent), tap[i]) : tap[i];
    }
    corners(&x, og, t, tap);
    for (int i = 0; i < w->n && !x.one_tap; i++) kb_end(b);
    interpolate(&x, og, x.one_tap ? t : (KVal){0}, depth, pixel0);
    for (int i = 0; i < w->n && x.one_tap; i++) kb_end(b);
    lw_end_nest(l, w->n + 2);
    lw_kernel_end(l);
    return true;
}

static bool columns_eval(Eval *e)
{
    const Deform *a = ATTRS(e->g, e->n, Deform);
    const Tensor *x = e->in[COL_X], *mask = ev_has(e, COL_MASK) ? e->in[COL_MASK] : NULL;
    Known k;
    if (!known(e, a, x, 1, ev_has(e, COL_W) ? e->in[COL_W] : NULL, e->in[COL_OFFSET], &k)) return false;
    int64_t icg = k.channels / a->group, dim[4] = {x->dim[0], a->group, k.pixels, icg * k.w.taps}, i[4];
    Tensor *y = ev_out(e, 0, x->elem, 4, dim);
    for (int64_t at = 0; y && at < y->count; at++) {
        unflatten(y, at, i);
        ev_set_f(y, at, tap_value(&k, a, x, e->in[COL_OFFSET], mask, i[0], i[1] * icg + i[3] % icg, i[3] / icg, i[2]));
    }
    return y != NULL;
}

const OpDesc op_DeformColumns = {.name = "DeformColumns", .since = 1, .cls = CLS_WINDOW, .flags = OPF_INTERNAL | OPF_STRIDED_OUT, .in = P_COLUMNS, .out = P_OUT,
                                 .attrs = ATTRS_, .attrs_size = sizeof(Deform), .infer = columns_infer, .lower = columns_lower, .eval = columns_eval, .grad = grad_deform_columns};
