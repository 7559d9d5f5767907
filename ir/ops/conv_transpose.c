/* conv_transpose.c: ConvTranspose in any number of spatial axes: y[n, oc, o] = b[oc] + sum over channels k of oc's
 * group, taps t with o + begin - t*dilation = i*stride for an input position i:  x[n, k, i] * w[k, oc, t].
 *
 * Never a scatter. Outputs o = stride*q + r with the same phase r use the same taps, t0, t0+step, ..., and read x at
 * q + first - j*dilation': each phase is an ordinary convolution of stride 1 with a part of the kernel, a contraction
 * like conv_macc.c's, whose results lie `stride` apart. All phases read one packed constant, [tap][k of all groups][oc
 * of a group]. An input of one pixel gives every tap its own matrix. One input channel per group: a window nest each
 * (window_nest.h). Many phases, small groups, pads that are not known: a plain nest. */
#include "ir/ops/conv.h"
#include "base/bug.h"
#include "base/num.h"
#include "ir/graph/eval.h"
#include "ir/ops/grad.h"
#include "ir/ops/window_nest.h"
#include <string.h>

static const Port P_IN[] = {
    {"X", DTS_FLOAT, 0, 1}, {"W", DTS_FLOAT, 0, 1}, {"B", DTS_FLOAT, PORT_OPTIONAL, 1}, PORT_END};
static const Port P_OUT[] = {{"Y", DTS_FLOAT, 0, 1}, PORT_END};
typedef struct ConvT {
    uint64_t set;
    int64_t group;
    const char *auto_pad;
    AttrInts kernel_shape, strides, dilations, pads, output_padding, output_shape;
} ConvT;
static const AttrSpec ATTRS_[] = {A_INT(ConvT, group, 1),
                                  A_STRING(ConvT, auto_pad, "NOTSET"),
                                  A_INTS(ConvT, kernel_shape),
                                  A_INTS(ConvT, strides),
                                  A_INTS(ConvT, dilations),
                                  A_INTS(ConvT, pads),
                                  A_INTS(ConvT, output_padding),
                                  A_INTS(ConvT, output_shape),
                                  A_END};

enum {
    PHASES_MAX = 16, /* kernels that one node may become */
    GROUP_OC = 4     /* output channels of a group that are worth a contraction of their own */
};

/* Resolved against the operands' shapes; `w` as for a convolution the other way: w.in, w.out are x's and y's extents,
 * begin what is cut off y's front. */
typedef struct Case {
    Window w;
    int64_t group;
    Dim batch, ic, oc, icg, ocg;
} Case;

static int64_t attr_at(AttrInts a, int i, int64_t absent) { return a.n ? a.p[i] : absent; }

static bool resolve(Dims *d, const ConvT *a, const TypeRec *x, const TypeRec *wt, Window *w, const char **why)
{
    int n = x->rank - 2;
    bool upper = !strcmp(a->auto_pad, "SAME_UPPER"), same = upper || !strcmp(a->auto_pad, "SAME_LOWER"),
         valid = !strcmp(a->auto_pad, "VALID");
    AttrInts shape = a->output_shape;
    *w = (Window){.n = n, .taps = 1};
    if (n < 1 || n > WINDOW_MAX) return *why = "the number of spatial axes is not supported", false;
    if (!same && !valid && a->auto_pad[0] && strcmp(a->auto_pad, "NOTSET")) return *why = "auto_pad is unknown", false;
    if ((int)shape.n == n + 2) shape = (AttrInts){shape.p + 2, (uint32_t)n}; /* batch and channels may stand before */
    AttrInts each[] = {a->strides, a->dilations, a->kernel_shape, a->output_padding, shape};
    for (int k = 0; k < 5; k++)
        if (each[k].n && (int)each[k].n != n)
            return *why = "an attribute does not fit the number of spatial axes", false;
    if (a->pads.n && (int)a->pads.n != 2 * n) return *why = "pads do not fit the number of spatial axes", false;
    Dim zero = dim_const(d, 0), one = dim_const(d, 1);
    bool free = false;
    for (int i = 0; i < n; i++) {
        int64_t k = 1, s = attr_at(a->strides, i, 1), l = attr_at(a->dilations, i, 1),
                   extra = attr_at(a->output_padding, i, 0), reach;
        Dim extent = dim_resolve(d, wt->dim[2 + i]);
        bool known = dim_is_const(d, extent, &k);
        if (known && a->kernel_shape.n && a->kernel_shape.p[i] != k) return *why = "kernel_shape differs from the weights' shape", false;
        if (!known && a->kernel_shape.n) extent = dim_const(d, k = a->kernel_shape.p[i]), known = true;
        if (s < 1 || l < 1 || k < 1) return *why = "kernel, strides and dilations must be positive", false;
        if (extra < 0 || extra > INT64_MAX / 8) return *why = "output_padding is out of range", false;
        if (__builtin_mul_overflow(k - 1, l, &reach) || reach > INT64_MAX / 8 || s > INT64_MAX / 8 ||
            __builtin_mul_overflow(w->taps, k, &w->taps))
            return *why = "the kernel is too large", false;
        w->kernel[i] = known ? k : 0, w->stride[i] = s, w->dilation[i] = l, w->in[i] = dim_resolve(d, x->dim[2 + i]), w->extent[i] = extent;
        free |= !known;
        Dim st = dim_const(d, s), reached = dim_add(d, window_eff(d, w, i), dim_const(d, extra)),
            full = dim_add(d, dim_mul(d, dim_sub(d, w->in[i], one), st), reached);
        if (shape.n || same) {
            w->out[i] = shape.n ? dim_const(d, shape.p[i]) : dim_mul(d, w->in[i], st);
            if (shape.n && shape.p[i] < 0) return *why = "output_shape is negative", false;
            Dim total = dim_max(d, zero, dim_sub(d, full, w->out[i])), half = dim_div(d, total, dim_const(d, 2));
            w->begin[i] = upper ? half : dim_sub(d, total, half);
        } else {
            int64_t b = valid ? 0 : attr_at(a->pads, i, 0), e = valid ? 0 : attr_at(a->pads, a->pads.n ? i + n : 0, 0);
            if (b > INT64_MAX / 8 || e > INT64_MAX / 8 || b < -(INT64_MAX / 8) || e < -(INT64_MAX / 8))
                return *why = "the padding is too large", false;
            w->begin[i] = dim_const(d, b);
            w->out[i] = dim_max(d, zero, dim_sub(d, full, dim_const(d, b + e)));
        }
    }
    if (free) w->taps = 0;
    return true;
}

bool conv_transpose_resolve(const Graph *g, Node n, Window *w, const char **why)
{
    return resolve(&g->m->dims, ATTRS(g, n, ConvT), value_trec(g, node_in(g, n, 0)), value_trec(g, node_in(g, n, 1)), w, why) &&
           (w->taps || (*why = "the kernel's size must be known at compile time", false));
}

static bool infer(Infer *c)
{
    const ConvT *a = ATTRS(c->g, c->n, ConvT);
    if (!infer_need_rank(c, 0, 3, -1)) return false;
    int rank = infer_rank(c, 0);
    Window w;
    const char *why;
    Dim dim[RANK_MAX], oc;
    if (!infer_need_rank(c, 1, rank, rank)) return false;
    if (a->group < 1) return infer_fail(c, "group is %lld", (long long)a->group);
    if (!resolve(c->d, a, infer_in(c, 0), infer_in(c, 1), &w, &why)) return infer_fail(c, "%s", why);
    if (!infer_must_eq(c, infer_dim(c, 0, 1), infer_dim(c, 1, 0), "input channels")) return false;
    for (int i = 0; i < w.n; i++)
        if (!infer_must_eq(c, infer_dim(c, 1, 2 + i), w.extent[i], "kernel_shape")) return false;
    int64_t ic;
    if (dim_is_const(c->d, infer_dim(c, 0, 1), &ic) && ic % a->group)
        return infer_fail(c, "%lld input channels in %lld groups", (long long)ic, (long long)a->group);
    Dim groups = dim_const(c->d, a->group), ins = infer_dim(c, 0, 1);
    if (a->group > 1 && !infer_must_eq(c, dim_mul(c->d, dim_div(c->d, ins, groups), groups), ins, "input channels in groups")) return false;
    oc = dim_mul(c->d, infer_dim(c, 1, 1), dim_const(c->d, a->group));
    if (infer_has(c, 2) &&
        (!infer_need_rank(c, 2, 1, 1) || !infer_must_eq(c, infer_dim(c, 2, 0), oc, "length of the bias")))
        return false;
    dim[0] = infer_dim(c, 0, 0);
    dim[1] = oc;
    for (int i = 0; i < w.n; i++) dim[2 + i] = w.out[i];
    return infer_set(c, 0, infer_elem(c, 0), rank, dim);
}

/* ---- contractions ---- */

typedef struct Phase {
    Lw *l;
    const Case *c;
    ConvRows rows;
    int64_t r[WINDOW_MAX], t0[WINDOW_MAX], step[WINDOW_MAX]; /* outputs stride*q + r use taps t0 + j*step */
    int64_t tap_elems;
    bool each_tap; /* the input is one pixel: the outer batch counts taps, too */
} Phase;

static KVal part(Kb *b, KVal z, int64_t n, KVal *rest) /* z % n, and z / n */
{
    *rest = n == 1 ? z : kb_div(b, z, kb_i(b, n));
    return n == 1 ? kb_i(b, 0) : kb_bin(b, KOP_REM, z, kb_i(b, n));
}

static void phase_a(void *arg, Kb *b, KVal z, KVal t, KVal m, KVal k0, KVal *off, KVal *pred)
{
    const Phase *p = arg;
    KVal rest, g;
    if (p->each_tap) {
        *off = kb_add(b, kb_mul(b, m, kb_dim(b, p->rows.lie_batch)), kb_mul(b, k0, kb_dim(b, p->rows.lie_channel)));
        return;
    }
    g = part(b, z, p->c->group, &rest);
    conv_rows_addr(b, &p->rows, m, t, off, pred);
    KVal k = kb_add(b, kb_mul(b, g, kb_dim(b, p->c->icg)), k0);
    *off =
        kb_add(b, *off,
               kb_add(b, kb_mul(b, k, kb_dim(b, p->rows.lie_channel)), kb_mul(b, rest, kb_dim(b, p->rows.lie_batch))));
}

/* The kernel's tap that is the phase's tap t. */
static KVal phase_tap(void *arg, Kb *b, KVal t)
{
    const Phase *p = arg;
    KVal tap = kb_i(b, 0);
    int64_t to_next = 1; /* taps from a tap of this axis to the next */
    for (int i = p->rows.n - 1; i >= 0; i--) {
        KVal j = part(b, t, p->rows.taps[i], &t);
        KVal at = kb_add(b, kb_mul(b, j, kb_i(b, p->step[i])), kb_i(b, p->t0[i]));
        tap = kb_add(b, tap, kb_mul(b, at, kb_i(b, to_next)));
        to_next *= p->c->w.kernel[i];
    }
    return tap;
}

static KVal phase_b(void *arg, Kb *b, KVal z, KVal t, KVal k0)
{
    const Phase *p = arg;
    KVal tap, rest;
    (void)k0;
    if (p->each_tap) return kb_mul(b, z, kb_i(b, p->tap_elems));
    tap = phase_tap(arg, b, t);
    int64_t icg = 0;
    KVal g = part(b, z, p->c->group, &rest);
    if (p->c->group > 1 && !dim_is_const(kb_module(b)->dims, p->c->icg, &icg))
        return tap; /* not reached: groups are known */
    return kb_add(b, kb_mul(b, tap, kb_i(b, p->tap_elems)), kb_mul(b, g, kb_i(b, icg * K_LANES)));
}

static void put(const Phase *p, Kb *b, const KVal *idx, KVal acc)
{
    if (lw_has(p->l, 2)) acc = kb_add(b, acc, lw_at(p->l, 2, &idx[1]));
    lw_put(p->l, 0, idx, acc);
}

/* Stores channel oc of an image for position q of the phase. */
static void put_phase(void *arg, Kb *b, KVal image, const KVal *q, KVal oc, KVal acc)
{
    const Phase *p = arg;
    KVal idx[RANK_MAX] = {image, oc};
    for (int i = 0; i < p->rows.n; i++)
        idx[2 + i] = kb_add(b, kb_mul(b, q[i], kb_i(b, p->c->w.stride[i])), kb_i(b, p->r[i]));
    put(p, b, idx, acc);
}

static void phase_store(void *arg, Kb *b, KVal z, KVal m, KVal n, KVal acc)
{
    const Phase *p = arg;
    KVal idx[RANK_MAX] = {m, n}, q[WINDOW_MAX], rest;
    if (p->each_tap) {
        for (int i = p->rows.n - 1; i >= 0; i--) idx[2 + i] = i ? part(b, z, p->c->w.kernel[i], &z) : z;
        put(p, b, idx, acc);
        return;
    }
    KVal g = part(b, z, p->c->group, &rest);
    conv_rows_pixel(b, &p->rows, m, q);
    put_phase(arg, b, rest, q, p->c->group == 1 ? n : kb_add(b, kb_mul(b, g, kb_dim(b, p->c->ocg)), n), acc);
}

static int64_t floor_mod(int64_t a, int64_t b) { return (a % b + b) % b; }

/* Which taps outputs stride*q + r of axis i use, and where they read. */
static void phase_axis(Dims *d, Phase *p, int i, int64_t begin)
{
    const Window *w = &p->c->w;
    ConvRows *r = &p->rows;
    int64_t s = w->stride[i], l = w->dilation[i], t = 0, nt = 0;
    p->step[i] = s / (int64_t)gcd64((uint64_t)s, (uint64_t)l);
    while (t < w->kernel[i] && t < p->step[i] && floor_mod(t * l - p->r[i] - begin, s)) t++;
    if (t < w->kernel[i] && t < p->step[i]) nt = (w->kernel[i] - 1 - t) / p->step[i] + 1;
    p->t0[i] = nt ? t : 0;
    int64_t first = nt ? (p->r[i] + begin - t * l) / s : 0, step = -(p->step[i] * l / s), lo, hi;
    r->in[i] = w->in[i];
    r->taps[i] = nt;
    r->stride[i] = 1;
    r->step[i] = step;
    r->first[i] = dim_const(d, first);
    r->out[i] =
        dim_max(d, dim_const(d, 0), dim_ceildiv(d, dim_sub(d, w->out[i], dim_const(d, p->r[i])), dim_const(d, s)));
    r->below[i] = nt && first + step * (nt - 1) < 0;
    Dim behind = dim_sub(d, dim_add(d, r->out[i], dim_const(d, first)), w->in[i]);
    dim_bounds(d, behind, &lo, &hi);
    r->above[i] = nt && hi > 0;
}

static void contract(Lw *l, Phase *p, KBuf src, const RightSide *right, int64_t icg, Dim Z, Dim M, int64_t T)
{
    DType acc = dtype_compute(lw_elem(l, 0));
    Dims *d = &l->m->dims;
    int64_t distance = 0;
    Kb *b = lw_kernel(l, "conv_transpose");
    bool affine = !p->each_tap && conv_rows_affine(b, &p->rows, &distance);
    Contract con = {.Z = Z,
                    .M = M,
                    .N = p->c->ocg,
                    .K = dim_const(d, icg),
                    .T = dim_const(d, T),
                    .a = kb_param(b, src, false),
                    .b = kb_param(b, right->buf, false),
                    .acc = acc,
                    .b_packed = true,
                    .pack_kc = right->kc,
                    .a_k = icg == 1 ? kb_i(b, 1) : kb_dim(b, p->rows.lie_channel),
                    .arg = p,
                    .a_addr = phase_a,
                    .b_addr = phase_b,
                    .store = phase_store,
                    .a_plain = affine && T == 1,
                    .a_row_bytes = affine ? distance * dtype_bytes(lw_elem(l, 0), 1) : 0};
    contract_build(b, &con);
    lw_kernel_end(l);
}

/* Sets the phase's number; the taps that it uses. */
static int64_t phase_set(Dims *d, Phase *p, int64_t q, const int64_t *begin)
{
    const Window *w = &p->c->w;
    int64_t T = 1;
    for (int i = w->n - 1; i >= 0; i--) {
        p->r[i] = q % w->stride[i];
        q /= w->stride[i];
        phase_axis(d, p, i, begin[i]);
        T *= p->rows.taps[i];
    }
    return T;
}

/* Few output channels: all phases read one copy of the image (conv_pixels.c). */
static bool lower_pixels(Lw *l, Phase *p, const RightSide *right, const int64_t *begin, int64_t phases, int64_t ic,
                         int64_t oc)
{
    Dims *d = &l->m->dims;
    const Window *w = &p->c->w;
    DType e = lw_elem(l, 0);
    int64_t lo[WINDOW_MAX], hi[WINDOW_MAX], now = 0, M;
    Dim before[WINDOW_MAX], behind[WINDOW_MAX];
    bool padded = false;
    if (p->c->group != 1 || right->kc != ic) return false;
    for (int64_t q = 0; q < phases; q++) {
        int64_t T = phase_set(d, p, q, begin);
        if (!T) return false;
        if (!dim_is_const(d, conv_rows_count(d, &p->rows), &M)) M = 1 << 14;
        TileProblem t = {
            .acc = dtype_compute(e), .a_type = e, .b_type = e, .M = M, .N = oc, .K = ic, .T = T, .b_packed = true};
        t.a_plain = T == 1, t.a_row_bytes = ic; /* or thereabouts */
        now += contract_cost(&l->k->target, &t);
        for (int i = 0; i < w->n; i++) {
            int64_t first = 0;
            if (!dim_is_const(d, p->rows.first[i], &first)) return false;
            int64_t least = first + p->rows.step[i] * (p->rows.taps[i] - 1);
            if (!q || least < lo[i]) lo[i] = least;
            if (!q || first > hi[i]) hi[i] = first;
        }
    }
    phase_set(d, p, 0, begin); /* whose extents are the longest */
    for (int i = 0; i < w->n; i++) {
        before[i] = dim_const(d, lo[i] < 0 ? -lo[i] : 0);
        behind[i] = dim_max(d, dim_const(d, 0), dim_sub(d, dim_add(d, p->rows.out[i], dim_const(d, hi[i])), w->in[i]));
        padded |= !dim_is(d, before[i], 0) || !dim_is(d, behind[i], 0);
    }
    if (!conv_pixels_pay(l, &p->rows, ic, oc, phases, padded, now) || !conv_planes_fit(l, before, behind)) return false;
    KBuf planes = conv_planes(l, before, behind);
    lw_prepare_out(l);
    for (int64_t q = 0; q < phases; q++) {
        phase_set(d, p, q, begin);
        ConvPixels x = {.l = l,
                        .name = "conv_transpose",
                        .planes = planes,
                        .batch = p->c->batch,
                        .ic = ic,
                        .oc = oc,
                        .right = *right,
                        .arg = p,
                        .matrix = phase_tap,
                        .store = put_phase};
        for (int i = 0; i < w->n; i++) {
            p->rows.first[i] = dim_add(d, p->rows.first[i], before[i]);
            p->rows.in[i] = dim_add(d, p->rows.in[i], dim_add(d, before[i], behind[i]));
            p->rows.below[i] = p->rows.above[i] = false;
        }
        conv_rows_lie(l, &p->rows, planes);
        x.rows = p->rows;
        conv_pixels(&x);
    }
    return true;
}

static bool lower_macc(Lw *l, const Case *c)
{
    Dims *d = &l->m->dims;
    const Window *w = &c->w;
    int64_t ic, icg, ocg, phases = 1, begin[WINDOW_MAX];
    Blob weights;
    bool pixel = c->group == 1; /* one pixel to a whole kernel */
    if (!dim_is_const(d, c->ic, &ic) || !dim_is_const(d, c->icg, &icg) || !dim_is_const(d, c->ocg, &ocg) ||
        !lw_const(l, 1, &weights))
        return false;
    if (c->group > 1 && ocg < GROUP_OC) return false;
    for (int i = 0; i < w->n; i++) {
        if (!dim_is_const(d, w->begin[i], &begin[i]) || w->stride[i] > PHASES_MAX ||
            (phases *= w->stride[i]) > PHASES_MAX)
            return false;
        pixel &= dim_is(d, w->in[i], 1) && w->dilation[i] == 1 && begin[i] == 0 && dim_is(d, w->out[i], w->kernel[i]);
    }
    /* w[ic, ocg, taps] as [tap][ic][ocg]: the k of a group lie one after another */
    Dim pixels = lw_dim(l, 0, 0);
    for (int i = 0; i < w->n; i++) pixels = dim_mul(d, pixels, w->in[i]);
    RightSide right = {.rows = contraction_rows(l, pixels)};
    Recipe shape = {.batch = w->taps, .K = ic, .N = ocg, .stride_t = 1, .stride_k = ocg * w->taps, .stride_n = w->taps};
    shape.kc = c->group == 1 ? contract_pack_kc(&l->k->target, dtype_compute(lw_elem(l, 0)), ic) : ic;
    if (!contraction_pack_as(l, weights, &shape, &right)) return false;
    Phase p = {.l = l, .c = c, .rows = {.n = w->n}, .tap_elems = right.batch, .each_tap = pixel};
    if (!pixel && lower_pixels(l, &p, &right, begin, phases, ic, ocg)) return true;
    KBuf src = lw_in_strided(l, 0);
    conv_rows_lie(l, &p.rows, src);
    if (!pixel && !dim_is(d, p.rows.lie_channel, 1) && ic > 1) {
        src = conv_channels_last(l, NULL, NULL);
        conv_rows_lie(l, &p.rows, src);
    }
    lw_prepare_out(l);
    if (pixel) {
        contract(l, &p, src, &right, icg, dim_const(d, w->taps), c->batch, 1);
        return true;
    }
    for (int64_t q = 0; q < phases; q++) {
        int64_t T = phase_set(d, &p, q, begin);
        for (int i = 0; i < w->n && !T; i++)
            p.rows.taps[i] = 1, p.rows.below[i] = p.rows.above[i] = false; /* the bias alone */
        contract(l, &p, src, &right, icg, dim_mul(d, c->batch, dim_const(d, c->group)), conv_rows_count(d, &p.rows), T);
    }
    return true;
}

/* ---- one input channel per group ---- */

/* Phases as depthwise convolutions (window_nest.h): no contraction, lanes are channels or columns. */
typedef struct Deep {
    Phase p;
    uint32_t weights;
} Deep;

static KVal deep_init(void *arg, KVal channel)
{
    const Phase *p = arg;
    return lw_has(p->l, 2) ? lw_at(p->l, 2, &channel) : kb_const_f(p->l->b, dtype_compute(lw_elem(p->l, 0)), 0);
}

/* The window's taps go through the input upwards, the phase's downwards. */
static KVal deep_shared(void *arg, KVal t, KVal channel)
{
    const Deep *x = arg;
    Kb *b = x->p.l->b;
    KVal tap = kb_i(b, 0);
    int64_t to_next = 1;
    for (int i = x->p.rows.n - 1; i >= 0; i--) {
        KVal j = kb_sub(b, kb_i(b, x->p.rows.taps[i] - 1), part(b, t, x->p.rows.taps[i], &t));
        KVal at = kb_add(b, kb_mul(b, j, kb_i(b, x->p.step[i])), kb_i(b, x->p.t0[i]));
        tap = kb_add(b, tap, kb_mul(b, at, kb_i(b, to_next)));
        to_next *= x->p.c->w.kernel[i];
    }
    return kb_load(b, x->weights, (KVal[]){tap, channel});
}

static KVal deep_step(void *arg, KVal acc, KVal x, KVal w) { return kb_fma(((const Phase *)arg)->l->b, x, w, acc); }

static void deep_put(void *arg, const KVal *q, KVal acc, KVal factor)
{
    const Phase *p = arg;
    KVal idx[RANK_MAX] = {q[0], q[1]};
    (void)factor;
    for (int i = 0; i < p->rows.n; i++)
        idx[2 + i] = kb_add(p->l->b, kb_mul(p->l->b, q[2 + i], kb_i(p->l->b, p->c->w.stride[i])), kb_i(p->l->b, p->r[i]));
    lw_put(p->l, 0, idx, acc);
}

static bool lower_deep(Lw *l, const Case *c)
{
    Dims *d = &l->m->dims;
    int64_t per, oc, phases = 1, begin[WINDOW_MAX], first;
    if (!dim_is(d, c->icg, 1) || !dim_is_const(d, c->ocg, &per) || per < 1) return false;
    if (!c->w.taps || (dim_is_const(d, c->oc, &oc) && oc < 1)) return false;
    for (int i = 0; i < c->w.n; i++)
        if (!dim_is_const(d, c->w.begin[i], &begin[i]) || c->w.stride[i] > PHASES_MAX ||
            (phases *= c->w.stride[i]) > PHASES_MAX)
            return false;
    Deep x = {.p = {.l = l, .c = c, .rows = {.n = c->w.n}}};
    for (int64_t q = 0; q < phases; q++)
        if (!phase_set(d, &x.p, q, begin)) return false; /* outputs that no tap reaches */
    KBuf weights = conv_depthwise_weights(l, c->w.taps, c->oc), src = lw_in_strided(l, 0);
    lw_prepare_out(l);
    for (int64_t q = 0; q < phases; q++) {
        Window w = {.n = c->w.n, .taps = phase_set(d, &x.p, q, begin)};
        for (int i = 0; i < w.n; i++) {
            const ConvRows *r = &x.p.rows;
            if (!dim_is_const(d, r->first[i], &first)) BUG("a phase begins nowhere");
            w.kernel[i] = r->taps[i], w.extent[i] = dim_const(d, r->taps[i]);
            w.stride[i] = 1, w.dilation[i] = -r->step[i], w.in[i] = r->in[i], w.out[i] = r->out[i];
            w.begin[i] = dim_const(d, -(first + r->step[i] * (r->taps[i] - 1)));
            window_reach(d, &w, i);
        }
        WindowNest n = {.l = l, .w = &w, .in = src, .channels = c->oc, .per = per, .arg = &x, .init = deep_init,
                        .shared = deep_shared, .step = deep_step, .put = deep_put};
        Kb *b = lw_kernel(l, "conv_transpose");
        x.weights = kb_param(b, weights, false);
        window_nest(&n);
        lw_kernel_end(l);
    }
    return true;
}

/* ---- a plain nest ---- */

/* Loops over the taps of axis i.. that reach output position out, accumulating x*w. */
static KVal taps(Lw *l, const Window *w, int i, const KVal *out, KVal *xi, KVal *wi, KVal pred, uint32_t px, KVal acc)
{
    Kb *b = l->b;
    if (i == w->n) return kb_fma(b, kb_load_if(b, px, xi, pred, (KVal){0}), lw_at(l, 1, wi), acc);
    KbLoop loop;
    KOp add = KOP_ADD;
    kb_loop(b, &loop, KLOOP_SEQ, kb_i(b, 0), kb_dim(b, w->extent[i]), 1, &acc, &add);
    KVal s = kb_i(b, w->stride[i]),
         at = kb_sub(b, kb_add(b, out[2 + i], kb_dim(b, w->begin[i])), kb_mul(b, loop.iv, kb_i(b, w->dilation[i]))),
         zero = kb_i(b, 0);
    wi[2 + i] = loop.iv;
    xi[2 + i] = kb_bin(b, KOP_FLOORDIV, at, s);
    KVal in = kb_and(b, kb_and(b, kb_ge(b, at, zero), kb_lt(b, xi[2 + i], kb_dim(b, w->in[i]))),
                     kb_eq(b, kb_bin(b, KOP_MOD, at, s), zero));
    KVal next = taps(l, w, i + 1, out, xi, wi, pred.i ? kb_and(b, pred, in) : in, px, loop.carry[0]);
    kb_loop_end(b, &loop, &next);
    return loop.result[0];
}

static void lower_nest(Lw *l, const Case *c)
{
    KBuf src = lw_in_strided(l, 0);
    lw_prepare_in(l);
    lw_prepare_out(l);
    Kb *b = lw_kernel(l, "conv_transpose");
    KVal out[RANK_MAX], xi[RANK_MAX], wi[RANK_MAX];
    lw_nest_over(l, 0, out);
    KVal acc = kb_const_f(b, dtype_compute(lw_elem(l, 0)), 0), ocg = kb_dim(b, c->ocg);
    KVal g = c->group == 1 ? kb_i(b, 0) : kb_div(b, out[1], ocg), first = kb_mul(b, g, kb_dim(b, c->icg));
    KbLoop loop;
    KOp add = KOP_ADD;
    kb_loop(b, &loop, KLOOP_SEQ, kb_i(b, 0), kb_dim(b, c->icg), 1, &acc, &add);
    xi[0] = out[0];
    xi[1] = wi[0] = kb_add(b, first, loop.iv);
    wi[1] = c->group == 1 ? out[1] : kb_bin(b, KOP_REM, out[1], ocg);
    KVal next = taps(l, &c->w, 0, out, xi, wi, (KVal){0}, kb_param(b, src, false), loop.carry[0]);
    kb_loop_end(b, &loop, &next);
    KVal v = loop.result[0];
    if (lw_has(l, 2)) v = kb_add(b, v, lw_at(l, 2, &out[1]));
    lw_put(l, 0, out, v);
    lw_end_nest(l, lw_out_rank(l, 0));
    lw_kernel_end(l);
}

static bool lower(Lw *l, Node n)
{
    const ConvT *a = ATTRS(l->g, n, ConvT);
    Dims *d = &l->m->dims;
    Case c = {.group = a->group, .batch = lw_dim(l, 0, 0), .ic = lw_dim(l, 0, 1), .ocg = lw_dim(l, 1, 1)};
    const char *why;
    if (!resolve(d, a, value_trec(l->g, node_in(l->g, n, 0)), value_trec(l->g, node_in(l->g, n, 1)), &c.w, &why))
        return lw_fail(l, "%s", why);
    c.icg = dim_div(d, c.ic, dim_const(d, a->group));
    c.oc = dim_mul(d, c.ocg, dim_const(d, a->group));
    if (!lower_macc(l, &c) && !lower_deep(l, &c)) lower_nest(l, &c);
    return true;
}

/* ---- reference: every input element adds to the outputs that it reaches ---- */

static bool eval(Eval *e)
{
    const ConvT *a = ATTRS(e->g, e->n, ConvT);
    const Tensor *x = e->in[0], *k = e->in[1];
    Names names;
    Dims dims;
    names_init(&names, e->arena);
    dims_init(&dims, e->arena, &names);
    TypeRec tx = {.rank = (uint8_t)x->rank}, tw = {.rank = (uint8_t)k->rank};
    for (int i = 0; i < x->rank; i++) tx.dim[i] = dim_const(&dims, x->dim[i]), tw.dim[i] = dim_const(&dims, k->dim[i]);
    Window w;
    const char *why;
    if (!resolve(&dims, a, &tx, &tw, &w, &why)) return ev_fail(e, "%s", why);
    int64_t ocg = k->dim[1], icg = x->dim[1] / a->group, dim[RANK_MAX] = {x->dim[0], ocg * a->group}, begin[WINDOW_MAX],
            out = 1, in = 1;
    for (int i = 0; i < w.n; i++) {
        dim_is_const(&dims, w.out[i], &dim[2 + i]);
        dim_is_const(&dims, w.begin[i], &begin[i]);
        out *= dim[2 + i];
        in *= x->dim[2 + i];
    }
    Tensor *y = ev_out(e, 0, x->elem, x->rank, dim);
    if (!y) return false;
    double *sum = arena_array(e->arena, double, (size_t)y->count + 1);
    for (int64_t p = 0; p < y->count; p++) sum[p] = ev_has(e, 2) ? ev_f(e->in[2], p / out % dim[1]) : 0;
    for (int64_t p = 0; p < x->count; p++) {
        int64_t c = p / in % x->dim[1], n = p / in / x->dim[1], pos[WINDOW_MAX], rest = p % in;
        for (int i = w.n - 1; i >= 0; i--) pos[i] = rest % x->dim[2 + i], rest /= x->dim[2 + i];
        for (int64_t t = 0; t < w.taps; t++) {
            int64_t at = 0, tap[WINDOW_MAX];
            bool inside = true;
            rest = t;
            for (int i = w.n - 1; i >= 0; i--) tap[i] = rest % w.kernel[i], rest /= w.kernel[i];
            for (int i = 0; i < w.n; i++) {
                int64_t o = pos[i] * w.stride[i] + tap[i] * w.dilation[i] - begin[i];
                inside &= o >= 0 && o < dim[2 + i];
                at = at * dim[2 + i] + o;
            }
            for (int64_t oc = 0; inside && oc < ocg; oc++)
                sum[(n * dim[1] + c / icg * ocg + oc) * out + at] += ev_f(x, p) * ev_f(k, (c * ocg + oc) * w.taps + t);
        }
    }
    for (int64_t p = 0; p < y->count; p++) ev_set_f(y, p, sum[p]);
    return true;
}

const OpDesc op_ConvTranspose = {.name = "ConvTranspose",
                                 .since = 22,
                                 .cls = CLS_CONTRACT,
                                 .flags = OPF_STRIDED_OUT | OPF_CHANNELS_LAST,
                                 .in = P_IN,
                                 .out = P_OUT,
                                 .attrs = ATTRS_,
                                 .attrs_size = sizeof(ConvT),
                                 .infer = infer,
                                 .lower = lower,
                                 .grad = grad_conv_transpose, .eval = eval};
