/* grad_window.c: derivatives of convolutions and pools. With the window's taps t, input positions i = o stride + t dilation - begin:
 *   convolution:  dX = the transposed convolution of dY with W, in X's place;   dW[m, c, t] = sum over n, o of dY[n, m, o] X[n, c, i(o, t)]
 *   transposed:   dX = the convolution of dY with W;                            dW[c, m, t] = sum over n, o of X[n, c, o] dY[n, m, i(o, t)]
 * The sums over n and o are one product per tap, of the small side [M, N O] with the slice that the tap sees of the large one [C, N O]: extents may be
 * symbolic, the kernel's are known. Averages and power sums go back through a transposed convolution with ones, maxima to the places that they came from. */
#include "ir/ops/conv.h"
#include "ir/ops/grad.h"
#include "ir/ops/pool.h"
#include <string.h>

#define X gr_in(c, 0)

static Value extent(Grad *c, Dim d)
{
    int64_t k;
    return dim_is_const(&c->g->m->dims, d, &k) ? ex_int1(&c->x, k) : ex_dims(&c->x, &d, 1);
}

/* v[.., .., spatial] with `front` and `back` elements more (fewer) around each spatial axis. */
static Value padded(Grad *c, Value v, int n, const Value *front, const Value *back, Value fill)
{
    Ex *x = &c->x;
    Value pads[2 * (WINDOW_MAX + 2)];
    for (int i = 0; i < n + 2; i++) {
        pads[i] = i < 2 ? ex_int1(x, 0) : front[i - 2];
        pads[n + 2 + i] = i < 2 ? ex_int1(x, 0) : back[i - 2];
    }
    return ex3(x, OP_Pad, v, ex_axis(x, OP_Concat, pads, 2 * (uint32_t)n + 4, 0), fill);
}

/* The input positions that any window sees: (out - 1) stride + (kernel - 1) dilation + 1, along axis i of a value of the window's output. */
static Value reach(Grad *c, const Window *w, Value out, int i)
{
    Ex *x = &c->x;
    Value steps = ex2(x, OP_Sub, ex_shape_part(x, out, i + 2, i + 3), ex_int1(x, 1));
    return ex2(x, OP_Add, ex2(x, OP_Mul, steps, ex_int1(x, w->stride[i])), ex_int1(x, (w->kernel[i] - 1) * w->dilation[i] + 1));
}

/* v[.., .., in] as windows see it: `begin` in front, cut or filled behind so that the last window ends with it. */
static Value seen(Grad *c, const Window *w, Value v, Value out)
{
    Ex *x = &c->x;
    Value front[WINDOW_MAX], back[WINDOW_MAX];
    for (int i = 0; i < w->n; i++) {
        front[i] = extent(c, w->begin[i]);
        back[i] = ex2(x, OP_Sub, ex2(x, OP_Sub, reach(c, w, out, i), front[i]), ex_shape_part(x, v, i + 2, i + 3));
    }
    return padded(c, v, w->n, front, back, VALUE_NONE);
}

/* The inverse: of all that windows see, what lies in `like`. */
static Value unseen(Grad *c, const Window *w, Value full, Value like)
{
    Ex *x = &c->x;
    Value front[WINDOW_MAX], back[WINDOW_MAX];
    for (int i = 0; i < w->n; i++) {
        front[i] = ex1(x, OP_Neg, extent(c, w->begin[i]));
        back[i] = ex2(x, OP_Sub, ex2(x, OP_Sub, ex_shape_part(x, like, i + 2, i + 3), front[i]), ex_shape_part(x, full, i + 2, i + 3));
    }
    return padded(c, full, w->n, front, back, VALUE_NONE);
}

static void *window_attrs(Grad *c, OpCode op, const Window *w, int64_t group)
{
    void *attrs = ex_set_ints(&c->x, op, NULL, "strides", w->stride, (uint32_t)w->n);
    attrs = ex_set_ints(&c->x, op, attrs, "dilations", w->dilation, (uint32_t)w->n);
    return ex_set(&c->x, op, attrs, "group", group);
}

static Value convolve(Grad *c, OpCode op, const Window *w, Value v, Value weights, int64_t group)
{
    return ex_op(&c->x, op, (Value[]){v, weights}, 2, window_attrs(c, op, w, group));
}

/* v[N, C, spatial] as [C, N, spatial] */
static Value channels_first(Grad *c, Value v)
{
    int64_t perm[WINDOW_MAX + 2] = {1, 0};
    for (int i = 2; i < ex_rank(&c->x, v); i++) perm[i] = i;
    return c->x.failed ? VALUE_NONE : ex_transpose(&c->x, v, perm, (uint32_t)ex_rank(&c->x, v));
}

/* [C, N, spatial] as [group, C/group, N spatial] */
static Value grouped(Grad *c, Value v, int64_t group)
{
    Ex *x = &c->x;
    if (group == 1) return ex2(x, OP_Reshape, v, ex_axis(x, OP_Concat, (Value[]){ex_shape_part(x, v, 0, 1), ex_int1(x, -1)}, 2, 0));
    Value part[3] = {ex_int1(x, group), ex2(x, OP_Div, ex_shape_part(x, v, 0, 1), ex_int1(x, group)), ex_int1(x, -1)};
    return ex2(x, OP_Reshape, v, ex_axis(x, OP_Concat, part, 3, 0));
}

/* a b' of each group. */
static Value product(Grad *c, Value a, Value b, int64_t group)
{
    int64_t turn[3] = {0, 2, 1};
    return c->x.failed ? VALUE_NONE : ex2(&c->x, OP_MatMul, a, ex_transpose(&c->x, b, group == 1 ? (int64_t[]){1, 0} : turn, group == 1 ? 2 : 3));
}

enum { NARROW = 16 }; /* channels of a group: with fewer the taps stand side by side in one product, or each would read the small side for a few columns */

/* sum over n, o of small[n, m, o] large[n, c, o stride + t dilation], as weights [m, c/group, t..] */
static Value taps(Grad *c, const Window *w, Value small, Value large, int64_t group, Value weights)
{
    Ex *x = &c->x;
    Value *tap = arena_array(c->g->m->arena, Value, w->taps), rows = grouped(c, channels_first(c, small), group), all = channels_first(c, large);
    int64_t at[WINDOW_MAX] = {0}, axes[WINDOW_MAX], lo, channels;
    dim_bounds(&c->g->m->dims, gr_dim(c, weights, 1), &lo, &channels);
    bool together = channels < NARROW && w->taps > 1;
    for (int i = 0; i < w->n; i++) axes[i] = i + 2;
    for (int64_t t = 0; t < w->taps && !x->failed; t++) {
        int64_t start[WINDOW_MAX];
        Value end[WINDOW_MAX];
        for (int i = 0; i < w->n; i++) {
            start[i] = at[i] * w->dilation[i];
            Value steps = ex2(x, OP_Sub, ex_shape_part(x, small, i + 2, i + 3), ex_int1(x, 1));
            end[i] = ex2(x, OP_Add, ex2(x, OP_Mul, steps, ex_int1(x, w->stride[i])), ex_int1(x, start[i] + 1));
        }
        Value in[5] = {all, ex_ints(x, start, (uint32_t)w->n), ex_axis(x, OP_Concat, end, (uint32_t)w->n, 0), ex_ints(x, axes, (uint32_t)w->n),
                       ex_ints(x, w->stride, (uint32_t)w->n)};
        tap[t] = grouped(c, ex_op(x, OP_Slice, in, 5, NULL), group);
        if (!together) tap[t] = ex2(x, OP_Unsqueeze, product(c, rows, tap[t], group), ex_int1(x, -1));
        for (int i = w->n - 1; i >= 0 && ++at[i] == w->kernel[i]; i--) at[i] = 0;
    }
    Value dw = w->taps == 1 ? tap[0] : ex_axis(x, OP_Concat, tap, (uint32_t)w->taps, together ? -2 : -1);
    if (!together) return gr_reshape(c, dw, weights);
    Value part[3] = {ex_shape_part(x, weights, 0, 1), ex_int1(x, w->taps), ex_shape_part(x, weights, 1, 2)};
    dw = ex2(x, OP_Reshape, product(c, rows, dw, group), ex_axis(x, OP_Concat, part, 3, 0)); /* [m, tap, c] */
    return x->failed ? VALUE_NONE : gr_reshape(c, ex_transpose(x, dw, (int64_t[]){0, 2, 1}, 3), weights);
}

static void set_bias(Grad *c)
{
    int64_t axes[RANK_MAX];
    uint32_t n = 0;
    for (int i = 0; i < gr_rank(c, X); i++)
        if (i != 1) axes[n++] = i;
    if (gr_need(c, 2)) gr_set(c, 2, gr_sum(c, gr_dy(c), axes, n, false));
}

static int64_t n_taps(const Window *w)
{
    int64_t n = 1;
    for (int i = 0; i < w->n; i++) n *= w->kernel[i];
    return n;
}

bool grad_conv(Grad *c)
{
    Window w;
    const char *why;
    Value dy = gr_dy(c), weights = gr_in(c, 1);
    int64_t group = gr_int(c, "group");
    if (!conv_resolve(&c->g->m->dims, ATTRS(c->g, c->n, Conv), gr_type(c, X), gr_type(c, weights), &w, &why)) return gr_refuse(c, "%s", why);
    w.taps = n_taps(&w);
    if (gr_need(c, 0)) gr_set(c, 0, unseen(c, &w, convolve(c, OP_ConvTranspose, &w, dy, weights, group), X));
    if (gr_need(c, 1)) gr_set(c, 1, taps(c, &w, dy, seen(c, &w, X, dy), group, weights));
    set_bias(c);
    return true;
}

bool grad_conv_transpose(Grad *c)
{
    Window w;
    const char *why;
    Value weights = gr_in(c, 1);
    int64_t group = gr_int(c, "group");
    if (!conv_transpose_resolve(c->g, c->n, &w, &why)) return gr_refuse(c, "%s", why);
    w.taps = n_taps(&w);
    Value dy = gr_need(c, 0) || gr_need(c, 1) ? seen(c, &w, gr_dy(c), X) : VALUE_NONE;
    if (gr_need(c, 0)) gr_set(c, 0, convolve(c, OP_Conv, &w, dy, weights, group));
    if (gr_need(c, 1)) gr_set(c, 1, taps(c, &w, X, dy, group, weights));
    set_bias(c);
    return true;
}

/* ---- pools ---- */

/* Planes: v[N, C, spatial] as [N C, 1, spatial]. */
static Value planes(Grad *c, Value v)
{
    Ex *x = &c->x;
    Value part[3] = {ex_int1(x, -1), ex_int1(x, 1), ex_shape_part(x, v, 2, INT64_MAX)};
    return ex2(x, OP_Reshape, v, ex_axis(x, OP_Concat, part, 3, 0));
}

static Value ones(Grad *c, const Window *w)
{
    Ex *x = &c->x;
    int64_t dim[WINDOW_MAX + 2] = {1, 1};
    for (int i = 0; i < w->n; i++) dim[2 + i] = w->kernel[i];
    return ex2(x, OP_Expand, gr_num(c, 1, X), ex_ints(x, dim, (uint32_t)w->n + 2));
}

/* Each element of v[N, C, out] added to all that its window sees. */
static Value spread(Grad *c, const Window *w, Value v)
{
    Value full = convolve(c, OP_ConvTranspose, w, planes(c, v), ones(c, w), 1);
    return gr_reshape(c, unseen(c, w, full, X), X);
}

/* How many elements each window counts, [1, 1, out]: those inside, and the padding's when it counts. */
static Value counts(Grad *c, const Window *w, bool padding)
{
    Ex *x = &c->x;
    Value one = gr_num(c, 1, X), front[WINDOW_MAX], back[WINDOW_MAX];
    Value parts[2] = {ex_ints(x, (int64_t[]){1, 1}, 2), ex_shape_part(x, X, 2, INT64_MAX)};
    Value v = ex2(x, OP_Expand, one, ex_axis(x, OP_Concat, parts, 2, 0));
    Window rest = *w;
    for (int i = 0; i < w->n; i++) {
        front[i] = extent(c, w->begin[i]);
        back[i] = extent(c, w->end[i]);
        if (padding) rest.begin[i] = dim_const(&c->g->m->dims, 0);
    }
    if (padding) v = padded(c, v, w->n, front, back, one);
    return convolve(c, OP_Conv, w, seen(c, &rest, v, gr_dy(c)), ones(c, w), 1);
}

static bool pool_window(Grad *c, Window *w)
{
    const char *why;
    if (!pool_resolve(c->g, c->n, w, &why)) return gr_refuse(c, "%s", why);
    w->taps = n_taps(w);
    return true;
}

bool grad_average_pool(Grad *c)
{
    Window w;
    if (!pool_window(c, &w)) return false;
    bool padding = gr_int(c, "count_include_pad"), all = padding && !gr_int(c, "ceil_mode");
    Value n = all ? gr_num(c, (double)w.taps, X) : counts(c, &w, padding);
    return gr_set(c, 0, spread(c, &w, gr_div(c, gr_dy(c), n))), true;
}

/* x |x|^(p-2) sums to y^p: dx = sign(x) |x|^(p-1) spread(dy y^(1-p)); 0 where all are. */
static Value power_slope(Grad *c, Value *share)
{
    double p = gr_float(c, "p");
    Value y = gr_out(c, 0), nil = gr_test(c, OP_Equal, y, 0), safe = gr_where(c, nil, gr_num(c, 1, y), y);
    *share = gr_mul(c, gr_dy(c), ex2(&c->x, OP_Pow, safe, gr_num(c, 1 - p, y)));
    return gr_mul(c, ex1(&c->x, OP_Sign, X), ex2(&c->x, OP_Pow, ex1(&c->x, OP_Abs, X), gr_num(c, p - 1, X)));
}

bool grad_lp_pool(Grad *c)
{
    Window w;
    Value share, slope = power_slope(c, &share);
    return pool_window(c, &w) && (gr_set(c, 0, gr_mul(c, slope, spread(c, &w, share))), true);
}

bool grad_global_lp_pool(Grad *c)
{
    Value share, slope = power_slope(c, &share);
    return gr_set(c, 0, gr_mul(c, slope, share)), true;
}

/* To the places that Indices names, plane by plane: in row-major order they count over the whole tensor. */
bool grad_max_pool(Grad *c)
{
    Ex *x = &c->x;
    if (!c->dy[0].i) return true;
    void *attrs = arena_memdup(c->g->m->arena, node_attrs(c->g, c->n), node_desc(c->g, c->n)->attrs_size);
    Value in = X, y[2], zeros, flat[3];
    if (!ex_ops(x, OP_MaxPool, &in, 1, ex_set(x, OP_MaxPool, attrs, "storage_order", 0), y, 2)) return false;
    Value part[3] = {ex_shape_part(x, X, 0, 2), ex_int1(x, -1), VALUE_NONE}, plane = ex_axis(x, OP_Concat, part, 2, 0);
    flat[0] = ex2(x, OP_Reshape, gr_zeros(c, X), plane);
    flat[1] = ex2(x, OP_Reshape, y[1], plane);
    flat[2] = ex2(x, OP_Reshape, gr_dy(c), plane);
    flat[1] = ex2(x, OP_Mod, flat[1], ex_shape_part(x, flat[0], 2, 3));
    void *add = ex_set(x, OP_ScatterElements, ex_set_s(x, OP_ScatterElements, NULL, "reduction", "add"), "axis", 2);
    zeros = ex_op(x, OP_ScatterElements, flat, 3, add);
    return gr_set(c, 0, gr_reshape(c, zeros, X)), true;
}

bool grad_global_average_pool(Grad *c)
{
    Ex *x = &c->x;
    Value per = ex2(x, OP_Div, ex1(x, OP_Size, X), ex2(x, OP_Max, ex1(x, OP_Size, gr_dy(c)), ex_i(x, DT_I64, 1)));
    return gr_set(c, 0, gr_expand(c, gr_div(c, gr_dy(c), ex_cast(x, per, gr_elem(c, X))), X)), true;
}

/* Equal ones share. */
bool grad_global_max_pool(Grad *c)
{
    Value hit = ex2(&c->x, OP_Equal, X, gr_out(c, 0)), one = ex_cast(&c->x, hit, gr_elem(c, X));
    if (c->x.failed) return false;
    return gr_set(c, 0, gr_where(c, hit, gr_div(c, gr_dy(c), gr_fit(c, one, gr_out(c, 0))), gr_num(c, 0, X))), true;
}
