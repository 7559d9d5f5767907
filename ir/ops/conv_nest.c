/* conv_nest.c: a convolution as a plain nest, one output element at a time: groups too small for a tile, and what is
 * not depthwise. */
#include "ir/ops/conv.h"

/* Loops over the taps of axis i.., accumulating x*w. */
static KVal taps(Lw *l, const Window *w, int i, const KVal *out, KVal *xi, KVal *wi, KVal pred, uint32_t px, KVal acc)
{
    Kb *b = l->b;
    if (i == w->n) {
        KVal v = pred.i ? kb_load_if(b, px, xi, pred, (KVal){0}) : kb_load(b, px, xi);
        return kb_fma(b, v, lw_at(l, 1, wi), acc);
    }
    KbLoop loop;
    KOp add = KOP_ADD;
    kb_loop(b, &loop, KLOOP_SEQ, kb_i(b, 0), kb_dim(b, w->extent[i]), 1, &acc, &add);
    wi[2 + i] = loop.iv;
    xi[2 + i] = window_at(b, w, i, out[2 + i], loop.iv);
    KVal inside = pred;
    window_inside(b, w, i, xi[2 + i], &inside);
    KVal next = taps(l, w, i + 1, out, xi, wi, inside, px, loop.carry[0]);
    kb_loop_end(b, &loop, &next);
    return loop.result[0];
}

bool conv_lower_nest(Lw *l, const ConvCase *c)
{
    KBuf src = lw_in_strided(l, 0);
    Dim icg = c->icg;
    lw_prepare_out(l);
    Kb *b = lw_kernel(l, "conv_group");
    KVal out[RANK_MAX], xi[RANK_MAX], wi[RANK_MAX];
    lw_nest_over(l, 0, out);
    DType t = dtype_compute(lw_elem(l, 0));
    KVal acc = kb_const_f(b, t, 0), g = kb_div(b, out[1], kb_dim(b, c->ocg));
    KbLoop loop;
    KOp add = KOP_ADD;
    xi[0] = out[0];
    wi[0] = out[1];
    kb_loop(b, &loop, KLOOP_SEQ, kb_i(b, 0), kb_dim(b, icg), 1, &acc, &add);
    wi[1] = loop.iv;
    xi[1] = kb_add(b, kb_mul(b, g, kb_dim(b, icg)), loop.iv);
    KVal next = taps(l, &c->w, 0, out, xi, wi, (KVal){0}, kb_param(b, src, false), loop.carry[0]);
    kb_loop_end(b, &loop, &next);
    KVal v = loop.result[0];
    if (lw_has(l, 2)) v = kb_add(b, v, lw_at(l, 2, &out[1]));
    lw_put(l, 0, out, v);
    lw_end_nest(l, lw_out_rank(l, 0));
    lw_kernel_end(l);
    return true;
}
