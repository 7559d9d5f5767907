/* pool_global.c: pools whose window is the whole input.
 *
 * Where the spatial axes lie one behind the other they are one axis of pixels. Channels side by side: lanes are channels;
 * 8 carries are U vectors of channels times 8/U neighbouring pixels, so that additions do not wait for each other:
 *   par n, chunk of 16*U channels { vec 16 { for pixels, 8/U at a time carry(8) {..} rest one by one; join the carries } }
 * Many pixels are summed in parts, of 1/8 or 1/16 of them, and the parts then: threads share pixels like the steps before
 * and behind, so each reads what it has itself written (a thread for some channels of all pixels reads half of the
 * lines from the other's cache, and takes them away from it: what scales the image then waits again).
 * Else pixels are lanes (a sum over a vec loop), or, as they lie, loops. The order of the sums depends on shapes alone. */
#include "ir/ops/pool.h"

enum {
    CARRIES = 8,
    PIXELS_PARTS = 128,   /* fewer are one sum */
    PIXELS_MANY = 1024,   /* from here on 16 parts, not 8 */
    ELEMENTS_PARTS = 1 << 14
};

typedef struct Gp {
    Lw *l;
    Kb *b;
    const PoolSum *sum;
    uint32_t src;
    int n;                    /* axes to go over */
    Dim dim[RANK_MAX];
    bool flat, whole;         /* one axis of pixels; no pixel at all is possible */
    Dim pixels;
    uint32_t parts;           /* not 0: sums go there, [batch, channels, part] */
    bool again;               /* what is summed are sums */
} Gp;

/* The input as [batch, channels, pixels], when strides allow it; else as it is. */
static KBuf pixels_of(Gp *x, KBuf in)
{
    Lw *l = x->l;
    Dims *d = &l->m->dims;
    KBufRec r = *kbuf(l->k, in);
    Dim stride[RANK_MAX], dim[3] = {r.dim[0], r.dim[1], dim_const(d, 1)};
    int last = r.rank - 1;
    x->n = r.rank - 2;
    for (int i = 0; i < r.rank; i++) stride[i] = kbuf_stride(l->k, &r, i), x->dim[i] = r.dim[i];
    for (int i = 2; i < r.rank; i++) dim[2] = dim_mul(d, dim[2], r.dim[i]);
    x->pixels = dim[2];
    for (int i = 2; i < last; i++) {
        Dim want = dim_mul(d, stride[i + 1], r.dim[i + 1]);
        if (!want.i || !dim_same(want, stride[i])) return in;
    }
    x->n = 1;
    x->flat = true;
    x->dim[2] = dim[2];
    bool view = r.space == KS_VIEW && kbuf(l->k, r.base)->elem == r.elem;   /* BitCast reads another type */
    return kbuf_view(l->k, view ? r.base : in, r.name, 3, dim, (Dim[]){stride[0], stride[1], stride[last]}, view ? r.offset : (Dim){0}, l->loc);
}

static KVal element(Gp *x, const KVal *idx)
{
    KVal v = kb_load(x->b, x->src, idx);
    return x->again ? v : pool_power(x->b, x->sum, v);
}

/* Any strides: loops over the axes from `i` on. */
static KVal loops(Gp *x, int i, KVal *idx, KVal acc)
{
    Kb *b = x->b;
    if (i == x->n) return pool_join(b, x->sum, acc, element(x, idx));
    KbLoop loop;
    KOp combine = x->sum->kind == POOL_MAX ? KOP_MAX : KOP_ADD;
    kb_loop(b, &loop, KLOOP_SEQ, kb_i(b, 0), kb_dim(b, x->dim[2 + i]), 1, &acc, &combine);
    idx[2 + i] = loop.iv;
    KVal next = loops(x, i + 1, idx, loop.carry[0]);
    kb_loop_end(b, &loop, &next);
    return loop.result[0];
}

static void finish(Gp *x, KVal *out, KVal acc)
{
    Kb *b = x->b;
    if (x->parts) {
        kb_store(b, x->parts, out, acc);
        return;
    }
    if (x->sum->kind == POOL_AVERAGE) acc = kb_div(b, acc, kb_cast(b, x->sum->type, kb_dim(b, x->pixels)));
    for (int a = 2; a < lw_out_rank(x->l, 0); a++) out[a] = kb_i(b, 0);
    lw_put(x->l, 0, out, pool_root(b, x->sum, acc));
}

/* `units` vectors of channels from `chan` on (of lane 0), `pixels` from `first` on. */
static void vectors(Gp *x, KVal *out, KVal chan, int units, KVal first, KVal pixels)
{
    Kb *b = x->b;
    KVal acc[CARRIES], next[CARRIES], idx[RANK_MAX], start = pool_start(b, x->sum);
    int side = CARRIES / units, n = units * side;
    KVal blocks = kb_bin(b, KOP_FLOORDIV, pixels, kb_i(b, side));
    KbLoop loop;
    idx[0] = out[0];
    for (int i = 0; i < n; i++) acc[i] = start;
    kb_loop(b, &loop, KLOOP_SEQ, kb_i(b, 0), blocks, (uint32_t)n, acc, NULL);
    for (int i = 0; i < n; i++) {
        idx[1] = kb_add(b, chan, kb_i(b, i % units * K_LANES));
        idx[2] = kb_add(b, first, kb_add(b, kb_mul(b, loop.iv, kb_i(b, side)), kb_i(b, i / units)));
        next[i] = pool_join(b, x->sum, loop.carry[i], element(x, idx));
    }
    kb_loop_end(b, &loop, next);
    for (int i = 0; i < n; i++) acc[i] = loop.result[i];
    for (int half = side / 2; half; half /= 2)
        for (int i = 0; i < half * units; i++) acc[i] = pool_join(b, x->sum, acc[i], acc[i + half * units]);
    kb_loop(b, &loop, KLOOP_SEQ, kb_mul(b, blocks, kb_i(b, side)), pixels, (uint32_t)units, acc, NULL);
    idx[2] = kb_add(b, first, loop.iv);
    for (int i = 0; i < units; i++) {
        idx[1] = kb_add(b, chan, kb_i(b, i * K_LANES));
        next[i] = pool_join(b, x->sum, loop.carry[i], element(x, idx));
    }
    kb_loop_end(b, &loop, next);
    for (int i = 0; i < units; i++) {
        out[1] = kb_add(b, chan, kb_i(b, i * K_LANES));
        finish(x, out, loop.result[i]);
    }
}

static bool is_one(Lw *l, KBuf buf, int axis)
{
    int64_t s;
    Dim d = kbuf_stride(l->k, kbuf(l->k, buf), axis);
    return d.i && dim_is_const(&l->m->dims, d, &s) && s == 1;
}

/* Channels side by side: chunks of them, each in vectors. `loop`: par or seq. */
static void channels(Gp *x, KVal *out, KLoop kind, KVal first, KVal pixels)
{
    Dims *d = &x->l->m->dims;
    Kb *b = x->b;
    int64_t c;
    int units = 0;
    if (dim_is_const(d, x->dim[1], &c) && c % K_LANES == 0) units = c % (4 * K_LANES) == 0 ? 4 : c % (2 * K_LANES) == 0 ? 2 : 1;
    Dim chunk = units ? dim_const(d, units * K_LANES) : x->dim[1];
    KVal q = kb_for(b, kind, kb_i(b, 0), kb_dim(b, units ? dim_div(d, x->dim[1], chunk) : dim_const(d, 1)));
    KVal lane = kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_dim(b, units ? dim_const(d, K_LANES) : chunk));
    vectors(x, out, kb_add(b, kb_mul(b, q, kb_dim(b, chunk)), lane), units ? units : 1, first, pixels);
    kb_end(b);
    kb_end(b);
}

/* How many parts pixels are summed in; 0: none. Unknown sizes are those of large images. */
static int64_t parts_of(const Gp *x)
{
    const Dims *d = &x->l->m->dims;
    int64_t c, pixels;
    if (!dim_is_const(d, x->dim[1], &c)) return 0;
    if (!dim_is_const(d, x->dim[2], &pixels)) return c < K_LANES ? 0 : 16;
    return pixels < PIXELS_PARTS || pixels * c < ELEMENTS_PARTS ? 0 : pixels < PIXELS_MANY ? 8 : 16;
}

/* Sums of `n` runs of pixels each, the last ones perhaps empty: the input of what is left. */
static KBuf sums_of_parts(Gp *x, KBuf src, int64_t n)
{
    Lw *l = x->l;
    Dims *d = &l->m->dims;
    Dim zero = dim_const(d, 0), parts = dim_const(d, n), dim[3] = {x->dim[0], parts, x->dim[1]},
        as[3] = {dim[0], dim[2], dim[1]}, stride[3] = {dim_mul(d, parts, x->dim[1]), dim_const(d, 1), x->dim[1]};
    KBuf sums = kbuf_view(l->k, lw_temp(l, x->sum->type, 3, dim), (Name){0}, 3, as, stride, zero, l->loc);
    KVal out[RANK_MAX], each;
    Kb *b = x->b = lw_kernel(l, "pool_parts");
    x->src = kb_param(b, src, false);
    x->parts = kb_param(b, sums, true);
    out[0] = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, x->dim[0]));
    out[2] = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_i(b, n));
    each = kb_dim(b, dim_ceildiv(d, x->dim[2], parts));
    KVal all = kb_dim(b, x->dim[2]), first = kb_min(b, all, kb_mul(b, out[2], each));
    channels(x, out, KLOOP_SEQ, first, kb_min(b, each, kb_sub(b, all, first)));
    kb_end(b);
    kb_end(b);
    lw_kernel_end(l);
    x->parts = 0;
    x->again = true;
    x->dim[2] = parts;
    return sums;
}

bool pool_lower_global(Lw *l, const PoolSum *sum)
{
    Gp x = {.l = l, .sum = sum};
    Dims *d = &l->m->dims;
    KBuf src = pixels_of(&x, lw_in_strided(l, 0));
    KVal out[RANK_MAX], idx[RANK_MAX];
    bool beside = x.flat && is_one(l, src, 1) && !dim_is(d, x.dim[1], 1);
    int64_t parts = beside ? parts_of(&x) : 0;
    if (parts) src = sums_of_parts(&x, src, parts);
    lw_prepare_out(l);
    Kb *b = x.b = lw_kernel(l, "pool_global");
    x.src = kb_param(b, src, false);
    out[0] = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, x.dim[0]));
    if (beside) {
        channels(&x, out, KLOOP_PAR, kb_i(b, 0), kb_dim(b, x.dim[2]));
    } else {
        out[1] = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, x.dim[1]));
        idx[0] = out[0];
        idx[1] = out[1];
        finish(&x, out, loops(&x, 0, idx, pool_start(b, sum)));
        kb_end(b);
    }
    kb_end(b);
    lw_kernel_end(l);
    return true;
}
