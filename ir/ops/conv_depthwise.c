/* conv_depthwise.c: convolutions with one input channel per group: no contraction, but a window nest (window_nest.h)
 * whose step is a multiply-add.
 *   y[n, c, o] = bias[c] + sum over taps t of  x[n, c / per, o*stride - begin + t*dilation] * w[t][c]
 * The weights lie as [taps][channels], so that lanes over channels read whole vectors: constants are written that way
 * (the packed form with K = 1), others are brought into it by a kernel first. */
#include "ir/ops/conv.h"
#include "ir/ops/window_rows.h"

#define GROUPS_CODE 32 /* columns of a window times channels of a group: code of their own */

bool conv_by_planes(const Graph *g, Node n)
{
    Dims *d = &g->m->dims;
    Window w;
    const char *why;
    int64_t width, ics;
    OpCode op = node_rec(g, n)->op;
    if (op != OP_Conv && op != OP_ConvTranspose) return false;
    const TypeRec *tx = value_trec(g, node_in(g, n, 0)), *tw = value_trec(g, node_in(g, n, 1));
    if (tw->rank < 3 || tw->rank > 4) return false;
    if (op == OP_ConvTranspose) {
        Dim ic = dim_resolve(d, tw->dim[0]), oc = dim_resolve(d, value_trec(g, node_out(g, n, 0))->dim[1]);
        if (!dim_is_const(d, ic, &ics) || ics < 2 || dim_eq(d, oc, dim_mul(d, ic, dim_resolve(d, tw->dim[1]))) != TRI_YES)
            return false; /* so many groups as input channels */
        if (!conv_transpose_resolve(g, n, &w, &why)) return false;
    } else {
        const Conv *a = ATTRS(g, n, Conv);
        if (a->group < 2 || !dim_is(d, dim_resolve(d, tw->dim[1]), 1) || !conv_resolve(d, a, tx, tw, &w, &why)) return false;
    }
    return w.taps <= WINDOW_ROWS_TAPS && (!dim_is_const(d, w.out[w.n - 1], &width) || width >= K_LANES / 2);
}

typedef struct Dw {
    Lw *l;
    uint32_t weights;
    DType acc;
} Dw;

static KVal dw_init(void *arg, KVal channel)
{
    const Dw *x = arg;
    return lw_has(x->l, 2) ? lw_at(x->l, 2, &channel) : kb_const_f(x->l->b, x->acc, 0);
}

static KVal dw_shared(void *arg, KVal tap, KVal channel)
{
    const Dw *x = arg;
    return kb_load(x->l->b, x->weights, (KVal[]){tap, channel});
}

static KVal dw_step(void *arg, KVal acc, KVal x, KVal shared) { return kb_fma(((const Dw *)arg)->l->b, x, shared, acc); }

static void dw_put(void *arg, const KVal *out, KVal acc, KVal factor)
{
    (void)factor;
    lw_put(((const Dw *)arg)->l, 0, out, acc);
}

KBuf conv_depthwise_weights(Lw *l, int64_t taps, Dim channels)
{
    Dims *d = &l->m->dims;
    int64_t oc;
    Blob blob;
    Dim dim[2] = {dim_const(d, taps), channels};
    const BlobRec *r = lw_const(l, 1, &blob) ? blob_rec(&l->m->blobs, blob) : NULL;
    if (!r || !dim_is_const(d, channels, &oc) || (r->kind == BLOB_DERIVED && r->recipe->kind != RECIPE_GRAPH))
        return contraction_transposed(l, lw_in(l, 1), dim[0], dim[1]);
    int64_t wide = (oc + K_LANES - 1) / K_LANES * K_LANES;
    Recipe pack = {.kind = RECIPE_PACK, .src = {blob}, .n_src = 1, .batch = taps, .K = 1, .N = oc, .kc = 1, .g = 1,
                   .stride_t = 1, .stride_n = taps};
    dim[1] = dim_const(d, wide);
    return lw_const_buf(l, blob_derived(&l->m->blobs, r->elem, taps * wide, &pack), "taps", 2, dim);
}

/* Small groups: of two, four or eight channels a vector holds several, where a strip of a tile would be mostly empty. A vector of the input is loaded once for
 * each place of a group and shuffled: every lane gets the channel at that place of its own group. */
bool conv_lower_groups(Lw *l, const ConvCase *c)
{
    int64_t icg, oc, in;
    Dims *d = &l->m->dims;
    int last = c->w.n - 1;
    if (c->w.n < 1 || !dim_same(c->icg, c->ocg) || !dim_is_const(d, c->icg, &icg) || (icg != 2 && icg != 4 && icg != 8)) return false;
    if (!dim_is_const(d, c->oc, &oc) || oc < 1 || oc % K_LANES || c->w.kernel[last] * icg > GROUPS_CODE) return false;
    KBuf x = lw_in_strided(l, 0);
    Dim along = kbuf_stride(l->k, kbuf(l->k, x), 1);
    if (!along.i || !dim_is_const(d, along, &in) || in != 1) x = conv_channels_last(l, NULL, NULL);
    KBuf w = conv_depthwise_weights(l, icg * c->w.taps, c->oc);
    Dw dw = {.l = l, .acc = dtype_compute(lw_elem(l, 0))};
    WindowNest n = {.l = l, .w = &c->w, .in = x, .channels = c->oc, .per = 1, .group = icg, .arg = &dw, .init = dw_init, .shared = dw_shared,
                    .step = dw_step, .put = dw_put};
    lw_prepare_out(l);
    lw_kernel(l, "conv_groups");
    dw.weights = kb_param(l->b, w, false);
    window_nest(&n);
    lw_kernel_end(l);
    return true;
}

bool conv_lower_depthwise(Lw *l, const ConvCase *c)
{
    int64_t per, oc;
    Dims *d = &l->m->dims;
    if (!dim_is_const(d, c->ocg, &per) || per < 1 || c->w.n < 1 || (dim_is_const(d, c->oc, &oc) && oc < 1)) return false;
    KBuf w = conv_depthwise_weights(l, c->w.taps, c->oc);
    Dw x = {.l = l, .acc = dtype_compute(lw_elem(l, 0))};
    WindowNest n = {.l = l, .w = &c->w, .in = lw_in_strided(l, 0), .channels = c->oc, .per = per, .arg = &x,
                    .init = dw_init, .shared = dw_shared, .step = dw_step, .put = dw_put};
    lw_prepare_out(l);
    lw_kernel(l, "conv_depthwise");
    x.weights = kb_param(l->b, w, false);
    if (!window_rows_sum(&n)) window_nest(&n);
    lw_kernel_end(l);
    return true;
}
