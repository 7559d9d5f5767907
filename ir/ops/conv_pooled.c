/* conv_pooled.c: Group{kind="pool"} (conv_pooled.h): the convolution's kernel keeps the four outputs of a window in
 * registers and stores their maximum, a quarter of the bytes that would be written and read again.
 *   graph @pool(%x) -> (%y) { %1 = Conv(%x, %w, %b) {winograd=2}  %2 = Relu(%1)  %y = MaxPool(%2) {kernel_shape=[2,2], strides=[2,2]} } */
#include "ir/ops/conv_pooled.h"
#include "ir/ops/pool.h"

bool conv_pooled_fits(const Graph *g, Node conv, const Graph *after, Node pool)
{
    Dims *d = &g->m->dims;
    const NodeRec *c = node_rec(g, conv), *p = node_rec(after, pool);
    Window w;
    const char *why;
    if (c->op != OP_Conv || p->op != OP_MaxPool || p->n_out != 1) return false;
    if ((ATTRS(g, conv, Conv)->winograd != 2 && ATTRS(g, conv, Conv)->winograd != 4) || value_trec(after, node_out(after, pool, 0))->elem != DT_F32 ||
        !pool_resolve(after, pool, &w, &why) || w.n != 2)
        return false;
    Dim one = dim_const(d, 1), two = dim_const(d, 2);
    for (int i = 0; i < w.n; i++) /* whole windows only */
        if (w.kernel[i] != 2 || w.stride[i] != 2 || w.dilation[i] != 1 || !dim_is(d, w.begin[i], 0) ||
            dim_eq(d, w.out[i], dim_add(d, dim_div(d, dim_sub(d, w.in[i], two), two), one)) != TRI_YES)
            return false;
    return true;
}

static Node last_of(const Graph *g, OpCode op)
{
    Node last = NODE_NONE;
    for (Node n = graph_first(g); n.i; n = node_next(g, n))
        if (node_rec(g, n)->op == op) last = n;
    return last;
}

static bool one_kernel(Lw *l)
{
    Lw inner;
    ConvCase c;
    lw_group_enter(l, &inner);
    Node pool = last_of(inner.g, OP_MaxPool);
    inner.n = last_of(inner.g, OP_Conv);
    bool ok = inner.n.i && pool.i && conv_pooled_fits(inner.g, inner.n, inner.g, pool) && conv_case(&inner, &c) &&
              conv_lower_winograd(&inner, &c, (int)ATTRS(inner.g, inner.n, Conv)->winograd, pool);
    lw_group_leave(l);
    return ok;
}

bool conv_lower_pooled(Lw *l)
{
    if (one_kernel(l)) return true;
    uint32_t n_in = node_n_in(l->g, l->n);
    KBuf *in = arena_array(l->m->arena, KBuf, n_in + 1), out = lw_out(l, 0), made = out;
    for (uint32_t k = 0; k < n_in; k++) in[k] = lw_in_strided(l, k);
    if (!lw_region(l, 0, l->steps, in, n_in, &made)) return false;
    if (made.i != out.i) lw_copy(l, l->steps, out, made);
    return true;
}
