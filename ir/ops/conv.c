/* conv.c: Conv in any number of spatial axes, with strides, dilations, pads, groups: what it is, and which way it is lowered.
 *   y[n, oc, o] = b[oc] + sum over channels k of oc's group, taps t of  x[n, k, o*stride - pad + t*dilation] * w[oc, k, t]
 * Depthwise: conv_depthwise.c; contractions by the tile: conv_macc.c; what is left (small groups): conv_nest.c. */
#include "ir/ops/conv.h"
#include "ir/graph/eval.h"
#include "ir/ops/grad.h"
#include <string.h>

static const Port P_IN[] = {{"X", DTS_FLOAT, 0, 1}, {"W", DTS_FLOAT, 0, 1}, {"B", DTS_FLOAT, PORT_OPTIONAL, 1}, PORT_END};
static const Port P_OUT[] = {{"Y", DTS_FLOAT, 0, 1}, PORT_END};
static const AttrSpec ATTRS_[] = {A_INT(Conv, group, 1), A_STRING(Conv, auto_pad, "NOTSET"), A_INTS(Conv, kernel_shape), A_INTS(Conv, strides), A_INTS(Conv, dilations),
                                  A_INTS(Conv, pads), {.name = "winograd", .kind = ATTR_INT, .offset = offsetof(Conv, winograd), .internal = true}, A_END};

bool conv_extents(Dims *d, const Conv *a, const TypeRec *x, const TypeRec *w, Window *win, const char **why)
{
    int n = x->rank - 2;
    int64_t extent;
    Dim kernel[WINDOW_MAX];
    if (n > WINDOW_MAX) return *why = "too many spatial axes", false;
    if (a->kernel_shape.n && (int)a->kernel_shape.n != n) return *why = "kernel_shape does not fit the number of spatial axes", false;
    for (int i = 0; i < n; i++) {
        kernel[i] = dim_resolve(d, w->dim[2 + i]);
        if (!a->kernel_shape.n) continue;
        if (dim_is_const(d, kernel[i], &extent) && a->kernel_shape.p[i] != extent) return *why = "kernel_shape differs from the weights' shape", false;
        kernel[i] = dim_const(d, a->kernel_shape.p[i]);
    }
    WindowAttrs wa = {.strides = a->strides, .dilations = a->dilations, .pads = a->pads, .auto_pad = a->auto_pad};
    Dim in[WINDOW_MAX];
    for (int i = 0; i < n; i++) in[i] = dim_resolve(d, x->dim[2 + i]);
    return window_extents(d, n, in, kernel, &wa, win, why);
}

bool conv_resolve(Dims *d, const Conv *a, const TypeRec *x, const TypeRec *w, Window *win, const char **why)
{
    return conv_extents(d, a, x, w, win, why) && (win->taps || (*why = "the kernel's size must be known at compile time", false));
}

static bool infer(Infer *c)
{
    const Conv *a = ATTRS(c->g, c->n, Conv);
    if (!infer_need_rank(c, 0, 3, -1)) return false;
    int rank = infer_rank(c, 0);
    Window w;
    const char *why;
    Dim dim[RANK_MAX];
    if (!infer_need_rank(c, 1, rank, rank)) return false;
    if (a->group < 1) return infer_fail(c, "group is %lld", (long long)a->group);
    if (!conv_extents(c->d, a, infer_in(c, 0), infer_in(c, 1), &w, &why)) return infer_fail(c, "%s", why);
    if (!infer_must_eq(c, infer_dim(c, 0, 1), dim_mul(c->d, infer_dim(c, 1, 1), dim_const(c->d, a->group)), "input channels")) return false;
    for (int i = 0; i < w.n; i++)
        if (!infer_must_eq(c, infer_dim(c, 1, 2 + i), w.extent[i], "kernel_shape")) return false;
    int64_t oc;
    if (dim_is_const(c->d, infer_dim(c, 1, 0), &oc) && oc % a->group) return infer_fail(c, "%lld output channels in %lld groups", (long long)oc, (long long)a->group);
    Dim groups = dim_const(c->d, a->group), outs = infer_dim(c, 1, 0);
    if (a->group > 1 && !infer_must_eq(c, dim_mul(c->d, dim_div(c->d, outs, groups), groups), outs, "output channels in groups")) return false;
    if (infer_has(c, 2) && (!infer_need_rank(c, 2, 1, 1) || !infer_must_eq(c, infer_dim(c, 2, 0), infer_dim(c, 1, 0), "length of the bias"))) return false;
    dim[0] = infer_dim(c, 0, 0);
    dim[1] = infer_dim(c, 1, 0);
    for (int i = 0; i < w.n; i++) dim[2 + i] = w.out[i];
    return infer_set(c, 0, infer_elem(c, 0), rank, dim);
}

/* ---- lowering ---- */

bool conv_case(Lw *l, ConvCase *c)
{
    const Conv *a = ATTRS(l->g, l->n, Conv);
    Dims *d = &l->m->dims;
    *c = (ConvCase){.group = a->group, .batch = lw_dim(l, 0, 0), .ic = lw_dim(l, 0, 1), .oc = lw_dim(l, 1, 0), .icg = lw_dim(l, 1, 1)};
    const char *why;
    if (!conv_extents(d, a, value_trec(l->g, node_in(l->g, l->n, 0)), value_trec(l->g, node_in(l->g, l->n, 1)), &c->w, &why)) return lw_fail(l, "%s", why);
    c->ocg = dim_div(d, c->oc, dim_const(d, a->group));
    return true;
}

static bool lower(Lw *l, Node n)
{
    const Conv *a = ATTRS(l->g, n, Conv);
    Dims *d = &l->m->dims;
    ConvCase c;
    if (!conv_case(l, &c)) return false;
    if (!c.w.taps) return conv_lower_nest(l, &c); /* a kernel whose size only the run knows */
    if (a->group > 1 && dim_is(d, c.icg, 1) && conv_lower_depthwise(l, &c)) return true;
    if (a->group > 1 && conv_lower_groups(l, &c)) return true;
    if (a->winograd > 0 && conv_lower_winograd(l, &c, (int)a->winograd, NODE_NONE)) return true;
    return conv_lower_macc(l, &c) || conv_lower_nest(l, &c);
}

/* ---- reference ---- */

static bool eval(Eval *e)
{
    const Conv *a = ATTRS(e->g, e->n, Conv);
    const Tensor *x = e->in[0], *k = e->in[1];
    Arena *ar = e->arena;
    Names names;
    Dims dims;
    names_init(&names, ar);
    dims_init(&dims, ar, &names);
    TypeRec tx = {.rank = (uint8_t)x->rank}, tw = {.rank = (uint8_t)k->rank};
    for (int i = 0; i < x->rank; i++) tx.dim[i] = dim_const(&dims, x->dim[i]), tw.dim[i] = dim_const(&dims, k->dim[i]);
    Window w;
    const char *why;
    if (!conv_resolve(&dims, a, &tx, &tw, &w, &why)) return ev_fail(e, "%s", why);
    int64_t dim[RANK_MAX] = {x->dim[0], k->dim[0]}, begin[WINDOW_MAX], in = 1, out = 1, icg = k->dim[1], ocg = k->dim[0] / a->group;
    for (int i = 0; i < w.n; i++) {
        dim_is_const(&dims, w.out[i], &dim[2 + i]);
        dim_is_const(&dims, w.begin[i], &begin[i]);
        in *= x->dim[2 + i];
        out *= dim[2 + i];
    }
    Tensor *y = ev_out(e, 0, x->elem, x->rank, dim);
    for (int64_t o = 0; y && o < y->count; o++) {
        int64_t p = o % out, oc = o / out % dim[1], n = o / out / dim[1], g = oc / ocg, pos[WINDOW_MAX];
        for (int i = w.n - 1; i >= 0; i--) pos[i] = p % dim[2 + i], p /= dim[2 + i];
        double s = ev_has(e, 2) ? ev_f(e->in[2], oc) : 0;
        for (int64_t t = 0; t < w.taps; t++) {
            int64_t rest = t, at = 0, tap[WINDOW_MAX];
            bool inside = true;
            for (int i = w.n - 1; i >= 0; i--) tap[i] = rest % w.kernel[i], rest /= w.kernel[i];
            for (int i = 0; i < w.n; i++) {
                int64_t v = pos[i] * w.stride[i] - begin[i] + tap[i] * w.dilation[i];
                inside &= v >= 0 && v < x->dim[2 + i];
                at = at * x->dim[2 + i] + v;
            }
            for (int64_t c = 0; inside && c < icg; c++) s += ev_f(x, (n * x->dim[1] + g * icg + c) * in + at) * ev_f(k, (oc * icg + c) * w.taps + t);
        }
        ev_set_f(y, o, s);
    }
    return y != NULL;
}

const OpDesc op_Conv = {.name = "Conv", .since = 22, .cls = CLS_CONTRACT, .flags = OPF_STRIDED_OUT | OPF_CHANNELS_LAST, .in = P_IN, .out = P_OUT, .attrs = ATTRS_, .attrs_size = sizeof(Conv),
                        .infer = infer, .rewrite = dequantized_conv, .lower = lower, .grad = grad_conv, .eval = eval};
