/* conv_copy.c: copies of a convolution's input: channels brought together, zeros around the image. What costs less than
 * addresses that jump, or than a question at every tap. */
#include "ir/ops/conv.h"

enum { FEW_STORED = 8 /* so many channels are stored one after the other */ };

/* Position `at` of an axis of extent n, shifted by the zeros before it; what of the bounds is not provable goes to
 * *inside. */
static KVal unpadded(Kb *b, KVal at, Dim before, Dim behind, Dim n, KVal *inside)
{
    Dims *d = kb_module(b)->dims;
    int64_t lo, hi;
    KVal from = kb_sub(b, at, kb_dim(b, before)), ok = {0};
    dim_bounds(d, before, &lo, &hi);
    if (hi > 0) ok = kb_ge(b, from, kb_i(b, 0));
    dim_bounds(d, behind, &lo, &hi);
    if (hi > 0) ok = ok.i ? kb_and(b, ok, kb_lt(b, from, kb_dim(b, n))) : kb_lt(b, from, kb_dim(b, n));
    if (ok.i) *inside = inside->i ? kb_and(b, *inside, ok) : ok;
    return from;
}

static bool at_least(Dims *d, Dim x, int64_t least)
{
    int64_t lo, hi;
    dim_bounds(d, x, &lo, &hi);
    return lo >= least;
}

/* Zeros around an image whose rows are runs of pixels with their channels: rows are copied whole. */
static void copy_rows(Lw *l, KBuf src, KBuf out, const Dim *mem, const Dim *before, const Dim *behind)
{
    Kb *b = l->b;
    Dims *d = &l->m->dims;
    int rank = lw_rank(l, 0), last = rank - 2; /* axes: batch, spatial ones but the last, runs */
    KBufRec r = *kbuf(l->k, src);
    Dim c = mem[rank - 1], wide = mem[rank - 2], left = before[last - 1], dim[2][RANK_MAX], stride[RANK_MAX];
    Dim cols = dim_min(d, lw_dim(l, 0, rank - 1), dim_sub(d, wide, left)), run = dim_mul(d, cols, c);
    for (int i = 0; i < last; i++) {
        int a = i ? i + 1 : 0; /* behind the batch, channels */
        dim[0][i] = r.dim[a], dim[1][i] = mem[i], stride[i] = kbuf_stride(l->k, &r, a);
    }
    dim[0][last] = dim_mul(d, lw_dim(l, 0, rank - 1), c);
    dim[1][last] = dim_mul(d, wide, c);
    stride[last] = dim_const(d, 1);
    bool view = r.space == KS_VIEW;
    KBuf rows = kbuf_view(l->k, view ? r.base : src, (Name){0}, last + 1, dim[0], stride,
                          view ? r.offset : dim_const(d, 0), l->loc);
    uint32_t p = kb_param(b, rows, false);
    rows = kbuf_view(l->k, out, (Name){0}, last + 1, dim[1], NULL, dim_const(d, 0), l->loc);
    uint32_t q = kb_param(b, rows, true);
    KVal to[RANK_MAX], from[RANK_MAX], inside = {0}, zero = kb_const_f(b, dtype_compute(lw_elem(l, 0)), 0);
    lw_nest(l, last, mem, to);
    from[0] = to[0];
    for (int i = 1; i < last; i++)
        from[i] = unpadded(b, to[i], before[i - 1], behind[i - 1], lw_dim(l, 0, 1 + i), &inside);
    Dim at = dim_const(d, 0), part[3] = {dim_mul(d, left, c), run};
    part[2] = dim_sub(d, dim[1][last], dim_add(d, part[0], run));
    for (int i = 0; i < 3; at = dim_add(d, at, part[i++])) {
        if (dim_is(d, part[i], 0)) continue;
        KVal j = from[last] = kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_dim(b, part[i]));
        to[last] = kb_add(b, j, kb_dim(b, at));
        KVal x = i != 1 ? zero : inside.i ? kb_load_if(b, p, from, inside, (KVal){0}) : kb_load(b, p, from);
        kb_store(b, q, to, x);
        kb_end(b);
    }
    lw_end_nest(l, last);
}

KBuf conv_channels_last(Lw *l, const Dim *before, const Dim *behind)
{
    Dims *d = &l->m->dims;
    int rank = lw_rank(l, 0), n = rank - 2;
    Dim mem[RANK_MAX], dim[RANK_MAX], stride[RANK_MAX];
    dim[0] = mem[0] = lw_dim(l, 0, 0);
    dim[1] = mem[rank - 1] = lw_dim(l, 0, 1);
    for (int i = 0; i < n; i++) {
        Dim x = lw_dim(l, 0, 2 + i);
        if (before) x = dim_max(d, dim_const(d, 0), dim_add(d, x, dim_add(d, before[i], behind[i])));
        dim[2 + i] = mem[1 + i] = x;
    }
    stride[1] = dim_const(d, 1);
    Dim at = mem[rank - 1];
    for (int i = n - 1; i >= 0; i--) stride[2 + i] = at, at = dim_mul(d, at, mem[1 + i]);
    stride[0] = at;
    KBuf src = lw_in_strided(l, 0), out = lw_temp(l, lw_elem(l, 0), rank, mem);
    KBuf view = kbuf_view(l->k, out, (Name){0}, rank, dim, stride, dim_const(d, 0), l->loc);
    Kb *b = lw_kernel(l, before ? "conv_pad" : "conv_nhwc");
    if (before && dim_is(d, kbuf_stride(l->k, kbuf(l->k, src), 1), 1) &&
        dim_same(kbuf_stride(l->k, kbuf(l->k, src), rank - 1), mem[rank - 1]) && at_least(d, before[n - 1], 0) &&
        at_least(d, dim_sub(d, mem[rank - 2], before[n - 1]), 0)) {
        copy_rows(l, src, out, mem, before, behind);
        lw_kernel_end(l);
        return view;
    }
    KVal i[RANK_MAX], to[RANK_MAX], from[RANK_MAX], inside = {0};
    int64_t channels;
    /* few channels apart: lanes along an image row, one channel after the other; else channels innermost, as stored */
    bool rows = dim_is_const(d, dim[1], &channels) && channels <= FEW_STORED &&
                dim_is(d, kbuf_stride(l->k, kbuf(l->k, src), rank - 1), 1);
    int loops = rows ? rank - 2 : rank;
    lw_nest(l, loops, mem, i);
    if (rows) i[rank - 2] = kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_dim(b, mem[rank - 2]));
    from[0] = to[0] = i[0];
    for (int k = 0; k < n; k++) {
        to[2 + k] = i[1 + k];
        from[2 + k] = before ? unpadded(b, to[2 + k], before[k], behind[k], lw_dim(l, 0, 2 + k), &inside) : to[2 + k];
    }
    uint32_t p = kb_param(b, src, false), q = kb_param(b, view, true);
    for (int64_t c = 0; c < (rows ? channels : 1); c++) {
        from[1] = to[1] = rows ? kb_i(b, c) : i[rank - 1];
        kb_store(b, q, to, inside.i ? kb_load_if(b, p, from, inside, (KVal){0}) : kb_load(b, p, from));
    }
    if (rows) kb_end(b);
    lw_end_nest(l, loops);
    lw_kernel_end(l);
    return view;
}
