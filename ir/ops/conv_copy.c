/* conv_copy.c: copies of a convolution's input: channels brought together, zeros around the image. What costs less than
 * addresses that jump, or than a question at every tap. */
#include "ir/ops/conv.h"

enum {
    FEW_STORED = 8, /* so many channels are stored one after the other */
    LAST_GROUP = 4  /* bytes behind the copy that a group of four may reach */
};

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

/* Bytes to be multiplied (ByteConv) are copied as u8, i8 with another sign bit; around the image stands operand 2, else 0. */
static bool is_bytes(Lw *l) { return dtype_info(lw_elem(l, 0))->bits == 8 && dtype_is_int(lw_elem(l, 0)); }

static KVal around(Lw *l)
{
    Kb *b = l->b;
    if (!is_bytes(l)) return kb_const_f(b, dtype_compute(lw_elem(l, 0)), 0);
    return lw_has(l, 2) ? lw_at(l, 2, (KVal[]){kb_i(b, 0)}) : kb_const_i(b, lw_elem(l, 0), 0);
}

static KVal as_stored(Lw *l, KVal v)
{
    Kb *b = l->b;
    return kb_type(b, v) == DT_I8 ? kb_bin(b, KOP_XOR, kb_bitcast(b, DT_U8, v), kb_const_i(b, DT_U8, 128)) : v;
}

/* Lines of pixels side by side, each with `left` elements of zeros in front of it and zeros behind it: the innermost
 * axis. Axes outside it have zeros of their own. */
typedef struct Lines {
    int n; /* axes outside the lines */
    Dim extent[RANK_MAX], before[RANK_MAX], behind[RANK_MAX];
    Dim left, run, wide; /* elements of a line: zeros, what is copied, all */
    Dim stride[RANK_MAX], length;
} Lines;

/* Copies lines and their zeros from `src`, whose axes are strides[n] apart, to `out`, dense. Without a source: the zeros
 * alone. */
static void copy_lines(Lw *l, const Lines *x, KBuf src, KBuf out)
{
    Kb *b = l->b;
    Dims *d = &l->m->dims;
    Dim dim[RANK_MAX], stride[RANK_MAX], all[RANK_MAX];
    KVal to[RANK_MAX], from[RANK_MAX], inside = {0}, empty = around(l), zero = as_stored(l, empty);
    for (int i = 0; i < x->n; i++) {
        dim[i] = x->extent[i], stride[i] = x->stride[i];
        all[i] = x->before[i].i
                     ? dim_max(d, dim_const(d, 0), dim_add(d, dim[i], dim_add(d, x->before[i], x->behind[i])))
                     : dim[i];
    }
    dim[x->n] = x->length, stride[x->n] = dim_const(d, 1), all[x->n] = x->wide;
    uint32_t p = 0,
             q = kb_param(b, kbuf_view(l->k, out, (Name){0}, x->n + 1, all, NULL, dim_const(d, 0), l->loc), true);
    if (src.i) {
        KBufRec r = *kbuf(l->k, src);
        bool view = r.space == KS_VIEW && kbuf(l->k, r.base)->elem == r.elem;   /* BitCast reads another type */
        p = kb_param(b,
                     kbuf_view(l->k, view ? r.base : src, (Name){0}, x->n + 1, dim, stride,
                               view ? r.offset : dim_const(d, 0), l->loc),
                     false);
    }
    lw_nest(l, x->n, all, to);
    for (int i = 0; i < x->n; i++)
        from[i] = x->before[i].i ? unpadded(b, to[i], x->before[i], x->behind[i], x->extent[i], &inside) : to[i];
    Dim at = dim_const(d, 0), part[3] = {x->left, x->run, dim_sub(d, x->wide, dim_add(d, x->left, x->run))};
    for (int i = 0; i < 3; at = dim_add(d, at, part[i++])) {
        if (dim_is(d, part[i], 0) || (i == 1 && !src.i && !inside.i)) continue;
        KVal j = from[x->n] = kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_dim(b, part[i]));
        to[x->n] = kb_add(b, j, kb_dim(b, at));
        if (i != 1) kb_store(b, q, to, zero);
        else if (!src.i) kb_store_if(b, q, to, zero, kb_un(b, KOP_NOT, inside));
        else kb_store(b, q, to, as_stored(l, inside.i ? kb_load_if(b, p, from, inside, is_bytes(l) ? empty : (KVal){0}) : kb_load(b, p, from)));
        kb_end(b);
    }
    lw_end_nest(l, x->n);
}

/* Do lines of `wide` elements surely hold `left` zeros in front, and are there no fewer than none? */
static bool lines_hold(Dims *d, Dim left, Dim wide)
{
    return at_least(d, left, 0) && at_least(d, dim_sub(d, wide, left), 0);
}

/* Zeros around an image whose rows are runs of pixels with their channels: rows are copied whole. */
static void copy_rows(Lw *l, KBuf src, KBuf out, const Dim *mem, const Dim *before, const Dim *behind)
{
    Dims *d = &l->m->dims;
    int n = lw_rank(l, 0) - 2;
    Dim c = mem[n + 1], wide = mem[n], left = before[n - 1],
        cols = dim_min(d, lw_dim(l, 0, 1 + n), dim_sub(d, wide, left));
    Lines x = {.n = n,
               .left = dim_mul(d, left, c),
               .run = dim_mul(d, cols, c),
               .wide = dim_mul(d, wide, c),
               .length = dim_mul(d, lw_dim(l, 0, 1 + n), c)};
    for (int i = 0; i < n; i++) { /* batch, spatial axes but the last */
        int a = i ? i + 1 : 0;
        x.extent[i] = lw_dim(l, 0, a), x.stride[i] = kbuf_stride(l->k, kbuf(l->k, src), a);
        if (i) x.before[i] = before[i - 1], x.behind[i] = behind[i - 1];
    }
    copy_lines(l, &x, src, out);
}

/* Operand 0 with channels innermost and nothing around: a plain nest, which goes in blocks. */
static KBuf channels_together(Lw *l, KBuf src)
{
    Dims *d = &l->m->dims;
    int rank = lw_rank(l, 0);
    Dim mem[RANK_MAX], dim[RANK_MAX], stride[RANK_MAX], step = lw_dim(l, 0, 1);
    KVal i[RANK_MAX], at[RANK_MAX];
    for (int a = 0; a < rank; a++) dim[a] = lw_dim(l, 0, a), mem[!a ? 0 : a == 1 ? rank - 1 : a - 1] = dim[a];
    stride[1] = dim_const(d, 1);
    for (int a = rank - 1; a > 1; a--) stride[a] = step, step = dim_mul(d, step, dim[a]);
    stride[0] = step;
    KBuf out = lw_temp(l, lw_elem(l, 0), rank, mem);
    KBuf view = kbuf_view(l->k, out, (Name){0}, rank, dim, stride, dim_const(d, 0), l->loc);
    Kb *b = lw_kernel(l, "conv_nhwc");
    uint32_t p = kb_param(b, src, false), q = kb_param(b, view, true);
    lw_nest(l, rank, mem, i);
    for (int a = 0; a < rank; a++) at[a] = i[!a ? 0 : a == 1 ? rank - 1 : a - 1];
    kb_store(b, q, at, kb_load(b, p, at));
    lw_end_nest(l, rank);
    lw_kernel_end(l);
    return view;
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
    KBuf src = lw_in_strided(l, 0), out;
    if (is_bytes(l)) {   /* groups of four may begin with the last byte */
        Dim count = mem[0];
        for (int i = 1; i < rank; i++) count = dim_mul(d, count, mem[i]);
        count = dim_add(d, count, dim_const(d, LAST_GROUP));
        out = lw_temp(l, DT_U8, 1, &count);
        lw_prepare_in(l);
        int64_t few;
        bool apart = !dim_is(d, kbuf_stride(l->k, kbuf(l->k, src), 1), 1), some = dim_is_const(d, dim[1], &few) && few <= FEW_STORED;
        if (before && apart && !some && lines_hold(d, before[n - 1], mem[n])) src = channels_together(l, src);
    } else out = lw_temp(l, lw_elem(l, 0), rank, mem);
    KBuf view = kbuf_view(l->k, out, (Name){0}, rank, dim, stride, dim_const(d, 0), l->loc);
    Kb *b = lw_kernel(l, before ? "conv_pad" : "conv_nhwc");
    if (before && dim_is(d, kbuf_stride(l->k, kbuf(l->k, src), 1), 1) &&
        dim_same(kbuf_stride(l->k, kbuf(l->k, src), rank - 1), mem[rank - 1]) && lines_hold(d, before[n - 1], mem[n])) {
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
    KVal empty = is_bytes(l) && inside.i ? around(l) : (KVal){0};
    int64_t each = rows ? channels : 1;
    KVal pixel[FEW_STORED];
    for (int64_t c = 0; c < each; c++) { /* loads first: stores side by side are made together */
        from[1] = rows ? kb_i(b, c) : i[rank - 1];
        pixel[c] = as_stored(l, inside.i ? kb_load_if(b, p, from, inside, empty) : kb_load(b, p, from));
    }
    for (int64_t c = 0; c < each; c++) {
        to[1] = rows ? kb_i(b, c) : i[rank - 1];
        kb_store(b, q, to, pixel[c]);
    }
    if (rows) kb_end(b);
    lw_end_nest(l, loops);
    lw_kernel_end(l);
    return view;
}

bool conv_planes_fit(Lw *l, const Dim *before, const Dim *behind)
{
    Dims *d = &l->m->dims;
    int n = lw_rank(l, 0) - 2;
    for (int i = 0; i < n; i++)
        if (!at_least(d, before[i], 0) || !at_least(d, behind[i], 0)) return false;
    return true;
}

KBuf conv_planes(Lw *l, const Dim *before, const Dim *behind)
{
    Dims *d = &l->m->dims;
    int rank = lw_rank(l, 0), last = rank - 1;
    KBuf src = lw_in_strided(l, 0);
    Dim dim[RANK_MAX], at[RANK_MAX], offset = dim_const(d, 0);
    Lines x = {.n = last, .left = before[last - 2], .run = lw_dim(l, 0, last), .length = lw_dim(l, 0, last)};
    bool padded = false, lines = dim_is(d, kbuf_stride(l->k, kbuf(l->k, src), last), 1);
    for (int i = 0; i < rank; i++) {
        dim[i] = x.extent[i] = lw_dim(l, 0, i), x.stride[i] = kbuf_stride(l->k, kbuf(l->k, src), i);
        if (i < 2) continue;
        x.before[i] = before[i - 2], x.behind[i] = behind[i - 2];
        dim[i] = dim_add(d, dim[i], dim_add(d, x.before[i], x.behind[i]));
        padded |= !dim_is(d, x.before[i], 0) || !dim_is(d, x.behind[i], 0);
    }
    x.wide = dim[last];
    if (lines && !padded) return src;
    KBuf out = lw_temp(l, lw_elem(l, 0), rank, dim);
    if (padded) {
        lw_kernel(l, "conv_pad");
        copy_lines(l, &x, lines ? src : (KBuf){0}, out);
        lw_kernel_end(l);
    }
    if (lines) return out;
    /* channels and pixels change places: a plain nest, which goes in blocks */
    Dim step = dim_const(d, 1), mem[RANK_MAX];
    for (int i = last; i >= 0; i--) {
        mem[i] = step;
        if (i >= 2) offset = dim_add(d, offset, dim_mul(d, x.before[i], step));
        step = dim_mul(d, step, dim[i]);
        at[i] = lw_dim(l, 0, i);
    }
    KBuf inner = kbuf_view(l->k, out, (Name){0}, rank, at, mem, offset, l->loc);
    KVal i[RANK_MAX];
    Kb *b = lw_kernel(l, "conv_planes");
    uint32_t q = kb_param(b, inner, true);
    lw_nest(l, rank, at, i);
    kb_store(b, q, i, kb_load(b, kb_param(b, src, false), i));
    lw_end_nest(l, rank);
    lw_kernel_end(l);
    return out;
}
