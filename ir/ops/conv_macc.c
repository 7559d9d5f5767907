/* conv_macc.c: convolutions as contractions: output pixels are rows, output channels columns, input channels K, the
 * kernel's taps reduction batches T.
 *   C[pixel, oc] = sum over taps t, channels k of  x[n, k, pixel*stride - pad + t*dilation] * w[oc, k, t]
 * There is no im2col buffer: a row of A is the address of an input pixel, absent when the tap lies in the padding (the
 * tile reads zeros then). With channels innermost in memory k is contiguous. What varies:
 *   1x1, stride 1     pixels are one run of equal distances: a matrix product
 *   k x k             an address for each (tap, pixel); tiles cross image rows
 *   K = kernel row    where no window leaves the last spatial axis and it is not dilated, its taps and the channels are
 *                     one contiguous run: T is smaller, K longer. For few channels the input is copied with its padding
 *                     to get there (stems)
 *   groups            outer batches of the contraction; in packed B the k of all groups follow each other, so each
 *                     group has strips of its own
 * An input that lies otherwise (channels apart) is copied to channels-last first. Constant weights are packed when
 * compiling, others are reordered by a kernel. */
#include "base/bug.h"
#include "ir/ops/conv.h"

enum {
    FEW_CHANNELS = 16,  /* below, the overhead of a tap is worth a copy of the input */
    UNKNOWN_LINES = 64, /* so many positions of an axis whose extent is not known */
    COPY_SLOTS = 6,     /* half cycles that copying a vector takes */
    GROUP_OC = 4        /* output channels of a group that are worth a contraction of their own */
};

/* ---- addresses of input pixels ---- */

Dim conv_rows_count(Dims *d, const ConvRows *r)
{
    Dim n = dim_const(d, 1);
    for (int i = 0; i < r->n; i++) n = dim_mul(d, n, r->out[i]);
    return n;
}

void conv_rows_lie(Lw *l, ConvRows *r, KBuf input)
{
    KBufRec *b = kbuf(l->k, input);
    r->lie_batch = kbuf_stride(l->k, b, 0);
    r->lie_channel = kbuf_stride(l->k, b, 1);
    for (int i = 0; i < r->n; i++) r->lie[i] = kbuf_stride(l->k, b, 2 + i);
}

void conv_rows_pixel(Kb *b, const ConvRows *r, KVal m, KVal *o)
{
    for (int i = r->n - 1; i > 0; i--) {
        KVal d = kb_dim(b, r->out[i]);
        o[i] = kb_bin(b, KOP_REM, m, d);
        m = kb_div(b, m, d);
    }
    o[0] = m;
}

/* Elements from an output position to the next along axis i. */
static Dim pixel_step(Dims *d, const ConvRows *r, int i) { return dim_mul(d, r->lie[i], dim_const(d, r->stride[i])); }

/* The first axis of the run that ends with axis i: positions that follow each other in m lie at equal distances all
 * through. Sets its extent. */
static int run_of(Dims *d, const ConvRows *r, int i, Dim *extent)
{
    Dim step = pixel_step(d, r, i);
    *extent = r->out[i];
    while (i > 0 && (dim_is(d, r->out[i - 1], 1) || dim_same(pixel_step(d, r, i - 1), dim_mul(d, *extent, step))))
        *extent = dim_mul(d, *extent, r->out[--i]);
    return i;
}

bool conv_rows_affine(Kb *b, const ConvRows *r, int64_t *distance)
{
    Dims *d = kb_module(b)->dims;
    Dim extent;
    for (int i = 0; i < r->n; i++)
        if (r->below[i] || r->above[i]) return false;
    if (!dim_is_const(d, pixel_step(d, r, r->n - 1), distance)) *distance = 0;
    return run_of(d, r, r->n - 1, &extent) == 0;
}

KVal conv_rows_tap(Kb *b, const ConvRows *r, const KVal *o, KVal t, KVal *pred)
{
    KVal same = kb_i(b, 0);
    for (int i = r->n - 1; i >= 0; i--) {
        KVal tap = t;
        if (r->taps[i] == 1) tap = kb_i(b, 0);
        else {
            for (int j = 0; j < i; j++)
                if (r->taps[j] > 1) { /* not the outermost axis with taps */
                    tap = kb_bin(b, KOP_REM, t, kb_i(b, r->taps[i]));
                    t = kb_div(b, t, kb_i(b, r->taps[i]));
                    break;
                }
        }
        KVal from = kb_add(b, kb_mul(b, tap, kb_i(b, r->step[i])), kb_dim(b, r->first[i]));
        same = kb_add(b, same, kb_mul(b, from, kb_dim(b, r->lie[i])));
        if (!r->below[i] && !r->above[i]) continue;
        KVal at = kb_add(b, kb_mul(b, o[i], kb_i(b, r->stride[i])), from), in = {0};
        if (r->below[i] && r->above[i])
            in = kb_lt(b, kb_cast(b, DT_U64, at),
                       kb_cast(b, DT_U64, kb_dim(b, r->in[i]))); /* one comparison: negative is large */
        else in = r->below[i] ? kb_ge(b, at, kb_i(b, 0)) : kb_lt(b, at, kb_dim(b, r->in[i]));
        *pred = pred->i ? kb_and(b, *pred, in) : in;
    }
    return same;
}

void conv_rows_addr(Kb *b, const ConvRows *r, KVal m, KVal t, KVal *off, KVal *pred)
{
    Dims *d = kb_module(b)->dims;
    KVal o[WINDOW_MAX], rest = m, sum = kb_i(b, 0);
    for (int i = r->n - 1; i >= 0; i--) {
        Dim extent, step = pixel_step(d, r, i);
        int first = run_of(d, r, i, &extent);
        KVal at = rest;
        if (first > 0) {
            at = kb_bin(b, KOP_REM, rest, kb_dim(b, extent));
            rest = kb_div(b, rest, kb_dim(b, extent));
        }
        sum = kb_add(b, sum, kb_mul(b, at, kb_dim(b, step)));
        i = first;
    }
    conv_rows_pixel(b, r, m, o);
    *off = kb_add(b, sum, conv_rows_tap(b, r, o, t, pred));
}

/* ---- the contraction ---- */

typedef struct Cm {
    Lw *l;
    const ConvCase *c;
    ConvRows rows;
    int64_t tap_elems; /* packed: elements of one reduction batch */
    KVal b_t, b_k;     /* in place: elements from a tap, a k to the next */
    KVal b_group;      /* elements of B from a group to the next */
    bool packed;
    bool bytes;       /* ByteConv */
    uint32_t flat, w; /* its operands where weights are not constant: the copy as one row, [OC, IC, taps] */
    bool by_line;     /* outer batches are lines of pixels along the last axis: z = image, line */
    Dim lines;    /* of an image */
} Cm;

static KVal image(const Cm *x, Kb *b, KVal z)
{
    if (x->by_line) return dim_is(kb_module(b)->dims, x->c->batch, 1) ? kb_i(b, 0) : kb_div(b, z, kb_dim(b, x->lines));
    return x->c->group == 1 ? z : kb_div(b, z, kb_i(b, x->c->group));
}
static KVal group(const Cm *x, Kb *b, KVal z)
{
    return x->c->group == 1 ? kb_i(b, 0) : kb_bin(b, KOP_REM, z, kb_i(b, x->c->group));
}

/* Output position of row m of outer batch z. */
static void position(const Cm *x, Kb *b, KVal z, KVal m, KVal *o)
{
    ConvRows outer = x->rows;
    if (!x->by_line) {
        conv_rows_pixel(b, &x->rows, m, o);
        return;
    }
    outer.n--;
    o[outer.n] = m;
    if (!outer.n) return;
    if (!dim_is(kb_module(b)->dims, x->c->batch, 1)) z = kb_bin(b, KOP_REM, z, kb_dim(b, x->lines));
    conv_rows_pixel(b, &outer, z, o);
}

/* A line lies in equal distances, and no tap is absent: one address serves a whole tile. */
static void line_addr(const Cm *x, Kb *b, KVal z, KVal t, KVal m, KVal *off, KVal *pred)
{
    const ConvRows *r = &x->rows;
    KVal o[WINDOW_MAX];
    position(x, b, z, m, o);
    *off = conv_rows_tap(b, r, o, t, pred);
    for (int i = 0; i < r->n; i++)
        *off = kb_add(b, *off, kb_mul(b, o[i], kb_dim(b, pixel_step(kb_module(b)->dims, r, i))));
}

static void on_a(void *arg, Kb *b, KVal z, KVal t, KVal m, KVal k0, KVal *off, KVal *pred)
{
    const Cm *x = arg;
    if (x->by_line) line_addr(x, b, z, t, m, off, pred);
    else conv_rows_addr(b, &x->rows, m, t, off, pred);
    KVal k = kb_add(b, kb_mul(b, group(x, b, z), kb_dim(b, x->c->icg)), k0);
    *off = kb_add(b, *off, kb_mul(b, k, kb_dim(b, x->rows.lie_channel)));
    *off = kb_add(b, *off, kb_mul(b, image(x, b, z), kb_dim(b, x->rows.lie_batch)));
}

static KVal on_b(void *arg, Kb *b, KVal z, KVal t, KVal k0)
{
    const Cm *x = arg;
    KVal at = kb_mul(b, t, x->packed ? kb_i(b, x->tap_elems) : x->b_t);
    if (x->c->group > 1) at = kb_add(b, at, kb_mul(b, group(x, b, z), x->b_group));
    return x->packed ? at : kb_add(b, at, kb_mul(b, k0, x->b_k));
}

static void on_store(void *arg, Kb *b, KVal z, KVal m, KVal n, KVal acc)
{
    const Cm *x = arg;
    KVal idx[RANK_MAX];
    idx[0] = image(x, b, z);
    idx[1] = x->c->group == 1 ? n : kb_add(b, kb_mul(b, group(x, b, z), kb_dim(b, x->c->ocg)), n);
    position(x, b, z, m, idx + 2);
    if (!x->bytes && lw_has(x->l, 2)) acc = kb_add(b, acc, lw_at(x->l, 2, &idx[1]));
    lw_put(x->l, 0, idx, acc);
}

/* w[oc, icg, taps] -> [taps, icg, oc] */
static KBuf reorder(Lw *l, const ConvCase *c)
{
    Dims *d = &l->m->dims;
    Dim to[3] = {dim_const(d, c->w.taps), c->icg, c->oc}, from[3] = {c->oc, c->icg, to[0]};
    KBuf src = lw_in(l, 1), view = kbuf_view(l->k, src, (Name){0}, 3, from, NULL, dim_const(d, 0), l->loc),
         out = lw_temp(l, kbuf(l->k, src)->elem, 3, to);
    Kb *b = lw_kernel(l, "conv_weights");
    KVal i[3];
    lw_nest(l, 3, to, i);
    kb_store(b, kb_param(b, out, true), i, kb_load(b, kb_param(b, view, false), (KVal[]){i[2], i[1], i[0]}));
    lw_end_nest(l, 3);
    lw_kernel_end(l);
    return out;
}

/* What of the case is known when compiling. */
typedef struct Known {
    bool all;
    int64_t ic, icg, oc, ocg;
    Blob weights;
} Known;

static Known known(Lw *l, const ConvCase *c)
{
    Known k = {0};
    Dims *d = &l->m->dims;
    k.all = dim_is_const(d, c->ic, &k.ic) && dim_is_const(d, c->icg, &k.icg) && dim_is_const(d, c->oc, &k.oc) &&
            dim_is_const(d, c->ocg, &k.ocg) && lw_const(l, 1, &k.weights);
    return k;
}

/* May the last axis' taps and the channels be one run of k? */
static bool may_merge(const ConvCase *c, const Known *k)
{
    int last = c->w.n - 1;
    return k->all && c->group == 1 && c->w.kernel[last] > 1 && c->w.dilation[last] == 1;
}

/* Is it faster line by line? Rows of a tile are then neighbours of one line, a constant distance apart, so that tiles of
 * few columns may be high (their speed is that of loading A), taps and channels of a kernel row are one run of k, and
 * no tap asks where it is; for that zeros must stand around the image, and the ends of lines cost tiles that are not
 * full. `merged`: the other way has whole kernel rows, too; `copied`: and its zeros. */
static bool lines_pay(Lw *l, const ConvCase *c, const Known *k, bool merged, bool copied)
{
    const Window *w = &c->w;
    Dims *d = &l->m->dims;
    const KTarget *t = &l->k->target;
    DType e = lw_elem(l, 0);
    int last = w->n - 1;
    bool quads = dtype_info(e)->bits == 8;
    int64_t out = 1, line, in = 1, width = w->kernel[last];
    if (!k->all || c->group > 1 || !dim_is_const(d, w->out[last], &line) || line < 1) return false;
    for (int i = 0; i < w->n; i++) {
        int64_t n, x;
        if (!dim_is_const(d, w->out[i], &n) || !dim_is_const(d, w->in[i], &x)) n = x = UNKNOWN_LINES;
        out *= n;
        in *= x + w->kernel[i];
    }
    TileProblem p = {.acc = dtype_compute(e),
                     .a_type = e,
                     .b_type = blob_rec(&l->m->blobs, k->weights)->elem,
                     .M = out,
                     .N = k->ocg,
                     .K = k->icg * (merged ? width : 1),
                     .T = w->taps / (merged ? width : 1),
                     .b_packed = true,
                     .quads = quads};
    if (quads) p.acc = p.a_type = p.b_type = DT_I32, p.K = (p.K + 3) / 4;
    bool padded = w->padded && !copied, merge = w->dilation[last] == 1;
    int64_t bytes = quads ? 1 : dtype_info(p.acc)->bits / 8;
    if (k->ocg * k->icg * w->taps * bytes > t->l2_bytes / 4) return false; /* every line reads them all */
    p.a_plain = !w->padded && w->n == 1;
    p.a_row_bytes = w->stride[last] * k->icg * bytes;
    int64_t now = contract_cost(t, &p);
    p.a_plain = true;
    p.M = line;
    p.K = k->icg * (merge ? width : 1);
    if (quads) p.K = (p.K + 3) / 4;
    p.T = w->taps / (merge ? width : 1);
    int64_t then = contract_cost(t, &p) * (out / line) + (padded ? in * k->ic / K_LANES * COPY_SLOTS : 0);
    return then < now - now / 10;
}

/* The zeros that windows reach behind the input, no more; negative where they do not reach its end. */
static Dim reach_behind(Dims *d, const Window *w, int i)
{
    Dim reach = dim_add(d, dim_mul(d, dim_sub(d, w->out[i], dim_const(d, 1)), dim_const(d, w->stride[i])),
                        dim_const(d, (w->kernel[i] - 1) * w->dilation[i] + 1));
    return dim_sub(d, dim_sub(d, reach, w->begin[i]), w->in[i]);
}

static void rows_of_window(Dims *d, const Window *w, ConvRows *r)
{
    r->n = w->n;
    for (int i = 0; i < w->n; i++) {
        r->out[i] = w->out[i], r->in[i] = w->in[i], r->taps[i] = w->kernel[i], r->stride[i] = w->stride[i];
        r->step[i] = w->dilation[i], r->first[i] = dim_sub(d, dim_const(d, 0), w->begin[i]);
        r->below[i] = w->below[i], r->above[i] = w->above[i];
    }
}

/* The input with its padding, channels innermost; nothing is absent in it. */
static KBuf padded_copy(Lw *l, const Window *w, ConvRows *r)
{
    Dims *d = &l->m->dims;
    Dim behind[WINDOW_MAX];
    for (int i = 0; i < w->n; i++) behind[i] = reach_behind(d, w, i);
    KBuf src = conv_channels_last(l, w->begin, behind);
    for (int i = 0; i < w->n; i++)
        r->first[i] = dim_const(d, 0), r->below[i] = r->above[i] = false, r->in[i] = kbuf(l->k, src)->dim[2 + i];
    conv_rows_lie(l, r, src);
    return src;
}

static void put_pixel(void *arg, Kb *b, KVal n, const KVal *o, KVal oc, KVal acc)
{
    const Cm *x = arg;
    KVal idx[RANK_MAX] = {n, oc};
    for (int i = 0; i < x->c->w.n; i++) idx[2 + i] = o[i];
    if (lw_has(x->l, 2)) acc = kb_add(b, acc, lw_at(x->l, 2, &idx[1]));
    lw_put(x->l, 0, idx, acc);
}

/* Few output channels: pixels as columns (conv_pixels.c), if that is faster. */
static bool lower_pixels(Lw *l, Cm *x, const Known *k)
{
    Dims *d = &l->m->dims;
    const ConvCase *c = x->c;
    const Window *w = &c->w;
    DType e = lw_elem(l, 0);
    Dim zero = dim_const(d, 0), behind[WINDOW_MAX];
    ConvPixels p = {.l = l,
                    .name = "conv",
                    .batch = c->batch,
                    .ic = k->ic,
                    .oc = k->oc,
                    .arg = x,
                    .rows = x->rows,
                    .store = put_pixel};
    if (!k->all || c->group != 1 || k->ic < 1) return false;
    TileProblem t = {.acc = dtype_compute(e),
                     .a_type = e,
                     .b_type = blob_rec(&l->m->blobs, k->weights)->elem,
                     .N = k->oc,
                     .K = k->ic,
                     .T = w->taps,
                     .a_plain = true,
                     .a_row_bytes = k->ic,
                     .b_packed = true};
    if (!dim_is_const(d, conv_rows_count(d, &x->rows), &t.M)) t.M = 1 << 14;
    for (int i = 0; i < w->n; i++) behind[i] = dim_max(d, zero, reach_behind(d, w, i));
    if (!conv_pixels_pay(l, &p.rows, k->ic, k->oc, 1, w->padded, contract_cost(&l->k->target, &t)) ||
        !conv_planes_fit(l, w->begin, behind))
        return false;
    Recipe shape = {.batch = w->taps,
                    .K = k->ic,
                    .N = k->oc,
                    .kc = k->ic,
                    .stride_t = 1,
                    .stride_k = w->taps,
                    .stride_n = k->ic * w->taps};
    if (!contraction_pack_as(l, k->weights, &shape, &p.right)) return false;
    p.planes = conv_planes(l, w->begin, behind);
    for (int i = 0; i < w->n; i++) {
        p.rows.first[i] = zero, p.rows.below[i] = p.rows.above[i] = false;
        p.rows.in[i] = kbuf(l->k, p.planes)->dim[2 + i];
    }
    conv_rows_lie(l, &p.rows, p.planes);
    lw_prepare_out(l);
    conv_pixels(&p);
    return true;
}

bool conv_lower_macc(Lw *l, const ConvCase *c)
{
    Dims *d = &l->m->dims;
    const Window *w = &c->w;
    DType acc = dtype_compute(lw_elem(l, 0));
    Known k = known(l, c);
    int last = w->n - 1;
    if (c->group > 1 && !(k.all && k.ocg >= GROUP_OC)) return false;
    Cm x = {.l = l, .c = c};
    ConvRows *r = &x.rows;
    rows_of_window(d, w, r);
    if (lower_pixels(l, &x, &k)) return true;

    /* The input: as it lies, with channels brought together, or padded too. */
    KBuf src = lw_in_strided(l, 0);
    bool merge = may_merge(c, &k), few = merge && k.ic < FEW_CHANNELS;
    conv_rows_lie(l, r, src);
    bool apart = !dim_is(d, r->lie_channel, 1) && !dim_is(d, c->ic, 1), run = !apart && dim_same(r->lie[last], c->ic);
    bool merged = merge && (few || apart || run) && (few || (!r->below[last] && !r->above[last]));
    x.by_line = lines_pay(l, c, &k, merged, few);
    if ((few && (w->padded || !run)) || (x.by_line && w->padded)) {
        src = padded_copy(l, w, r);
    } else {
        if (apart) {
            src = conv_channels_last(l, NULL, NULL);
            conv_rows_lie(l, r, src);
            run = true;
        }
        merge = merge && run && !r->below[last] && !r->above[last];
    }
    x.lines = dim_const(d, 1);
    for (int i = 0; i < last; i++) x.lines = dim_mul(d, x.lines, r->out[i]);

    /* The weights. */
    RightSide right = {.may_pair = c->group == 1, .rows = contraction_rows(l, x.by_line ? r->out[last] : conv_rows_count(d, r))};
    int64_t width = merge ? w->kernel[last] : 1, T = w->taps / width, K = width * k.icg;
    Recipe shape = {.batch = T,
                    .K = K * c->group,
                    .N = k.ocg,
                    .kc = c->group == 1 ? contract_pack_kc(&l->k->target, acc, K) : K * c->group,
                    .stride_t = width,
                    .stride_k = w->taps,
                    .stride_n = k.icg * w->taps};
    if (merge) shape.k_in = k.icg, shape.stride_q = 1;
    if (T > 1 || c->group > 1 || x.by_line || !dim_is_const(d, conv_rows_count(d, r), &right.panel_rows)) right.panel_rows = 0;
    if (c->group > 1) shape.k_in = k.icg, shape.stride_q = k.ocg * k.icg * w->taps;
    x.packed = k.all && contraction_pack_as(l, k.weights, &shape, &right);
    if (!x.packed) {
        if (merge) merge = false, T = w->taps, K = k.icg; /* taps are batches after all */
        right.buf = reorder(l, c);
    }
    if (merge) r->taps[last] = 1;

    lw_prepare_out(l);
    Kb *b = lw_kernel(l, "conv");
    if (x.packed) {
        x.tap_elems = right.batch;
        x.b_group = kb_i(b, K * K_LANES);
    } else {
        x.b_group = kb_dim(b, c->ocg);
        x.b_k = kb_dim(b, c->oc);
        x.b_t = kb_mul(b, x.b_k, kb_dim(b, c->icg));
    }
    int64_t distance = 0;
    bool affine = conv_rows_affine(b, r, &distance);
    if (x.by_line && !dim_is_const(d, pixel_step(d, r, last), &distance)) distance = 0;
    Contract con = {.Z = dim_mul(d, c->batch, x.by_line ? x.lines : dim_const(d, c->group)),
                    .M = x.by_line ? r->out[last] : conv_rows_count(d, r),
                    .N = c->ocg,
                    .K = k.all ? dim_const(d, K) : c->icg,
                    .T = dim_const(d, T),
                    .a = kb_param(b, src, false),
                    .b = kb_param(b, right.buf, false),
                    .acc = acc,
                    .b_packed = x.packed,
                    .b_pairs = right.pairs,
                    .a_buf = src,
                    .pack_kc = right.kc,
                    .b_panel = right.panel,
                    .a_k = merge || dim_is(d, c->icg, 1) ? kb_i(b, 1) : kb_dim(b, r->lie_channel),
                    .b_k = x.b_k,
                    .arg = &x,
                    .a_addr = on_a,
                    .b_addr = on_b,
                    .store = on_store,
                    .a_plain = x.by_line || (affine && T == 1),
                    .a_row_bytes = x.by_line || affine ? distance * dtype_bytes(lw_elem(l, 0), 1) : 0};
    contract_build(b, &con);
    lw_kernel_end(l);
    return true;
}

/* ---- bytes ---- */

static KVal byte_a(void *arg, Kb *b, KVal z, KVal t, KVal m, KVal k)
{
    const Cm *x = arg;
    KVal off, pred = {0};
    on_a(arg, b, z, t, m, k, &off, &pred);
    assert(!pred.i);
    return kb_load(b, x->flat, &off);
}

static KVal byte_b(void *arg, Kb *b, KVal z, KVal t, KVal k, KVal n, KVal pred)
{
    const Cm *x = arg;
    (void)z, (void)t;
    bool flip = lw_elem(x->l, 1) == DT_U8;
    KVal half = flip ? kb_const_i(b, DT_U8, 128) : (KVal){0}, ic = kb_dim(b, x->c->icg);
    KVal idx[3] = {n, kb_bin(b, KOP_REM, k, ic), kb_div(b, k, ic)};
    KVal v = pred.i ? kb_load_if(b, x->w, idx, pred, half) : kb_load(b, x->w, idx);
    return flip ? kb_bitcast(b, DT_I8, kb_bin(b, KOP_XOR, v, half)) : v;
}

bool conv_lower_bytes(Lw *l, const ConvCase *c)
{
    Dims *d = &l->m->dims;
    const Window *w = &c->w;
    Known k = known(l, c);
    int last = w->n - 1;
    Cm x = {.l = l, .c = c, .bytes = true};
    ConvRows *r = &x.rows;
    assert(c->group == 1);
    rows_of_window(d, w, r);
    k.all &= lw_elem(l, 1) == DT_I8;

    /* The input: where it lies, if every row of a tile is whole groups; else with its padding and something behind. */
    KBuf src = lw_in_strided(l, 0);
    conv_rows_lie(l, r, src);
    bool merge = may_merge(c, &k), absent = false, together = dim_is(d, r->lie_channel, 1);
    bool run = together && dim_same(r->lie[last], c->ic);
    for (int i = 0; i < w->n; i++) absent |= w->below[i] || w->above[i];
    bool copied = !k.all || absent || !together || k.icg * (merge && run ? w->kernel[last] : 1) % 4;
    if (copied) src = padded_copy(l, w, r);
    else merge = merge && run;
    x.by_line = lines_pay(l, c, &k, merge, true);
    x.lines = dim_const(d, 1);
    for (int i = 0; i < last; i++) x.lines = dim_mul(d, x.lines, r->out[i]);

    RightSide right = {.quads = true};
    int64_t width = merge ? w->kernel[last] : 1, T = w->taps / width, K = width * k.icg;
    Recipe shape = {.batch = T,
                    .K = K,
                    .N = k.oc,
                    .kc = contract_quads_kc(&l->k->target, K),
                    .stride_t = width,
                    .stride_k = w->taps,
                    .stride_n = k.icg * w->taps};
    if (merge) shape.k_in = k.icg, shape.stride_q = 1;
    x.packed = k.all && contraction_pack_as(l, k.weights, &shape, &right);
    KBuf weights = x.packed ? right.buf : lw_in(l, 1), flat = {0};
    if (!x.packed) {
        if (!copied) src = padded_copy(l, w, r);
        x.by_line = merge = false;
        T = w->taps;
        weights = kbuf_view(l->k, weights, (Name){0}, 3, (Dim[]){c->oc, c->icg, dim_const(d, T)}, NULL, dim_const(d, 0), l->loc);
        KBuf root = kbuf_root(l->k, src);
        Dim count = kbuf_count(l->k, root);
        flat = kbuf_view(l->k, root, (Name){0}, 1, &count, NULL, dim_const(d, 0), l->loc);
    }
    if (merge) r->taps[last] = 1;

    lw_prepare_in(l);
    lw_prepare_out(l);
    Kb *b = lw_kernel(l, "conv");
    if (x.packed) x.tap_elems = right.batch;
    else x.flat = kb_param(b, flat, false);
    int64_t distance = 0;
    bool affine = conv_rows_affine(b, r, &distance);
    if (x.by_line && !dim_is_const(d, pixel_step(d, r, last), &distance)) distance = 0;
    Contract con = {.Z = dim_mul(d, c->batch, x.by_line ? x.lines : dim_const(d, 1)),
                    .M = x.by_line ? r->out[last] : conv_rows_count(d, r),
                    .N = c->oc,
                    .K = x.packed ? dim_const(d, K) : c->icg,
                    .T = dim_const(d, T),
                    .a = x.packed ? kb_param(b, src, false) : x.flat,
                    .b = x.w = kb_param(b, weights, false),
                    .acc = DT_I32,
                    .quads = true,
                    .a_padded = x.packed,
                    .a_load = byte_a,
                    .b_load = x.packed ? NULL : byte_b,
                    .b_packed = x.packed,
                    .pack_kc = right.kc,
                    .arg = &x,
                    .a_addr = on_a,
                    .b_addr = on_b,
                    .store = on_store,
                    .a_plain = x.by_line || (affine && T == 1),
                    .a_row_bytes = x.by_line || affine ? distance : 0};
    contract_build(b, &con);
    lw_kernel_end(l);
    return true;
}
