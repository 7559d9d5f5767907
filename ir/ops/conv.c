/* conv.c: Conv in any number of spatial axes, with strides, dilations, pads, groups.
 *
 * One group: through macc, with the output pixels as rows, the output channels as columns, the input channels as K and the kernel's taps as T (no im2col buffer):
 *   C[pixel, oc] = sum over taps t, channels k of  x[n, k, pixel*stride - pad + tap*dilation] * w[oc, k, tap]
 * Rows whose tap lies in the padding are guarded. Constant weights are packed as [tap][ic][oc] when compiling; others are brought into that order by a kernel first.
 * Few input channels (no more than the kernel is wide): K is a row of the kernel and T counts (channel, kernel row), over a copy of the input with its padding.
 * Several groups: a plain nest, one output element at a time. */
#include "ir/graph/eval.h"
#include "ir/ops/conv.h"
#include <string.h>

static const Port P_IN[] = {{"X", DTS_FLOAT, 0, 1}, {"W", DTS_FLOAT, 0, 1}, {"B", DTS_FLOAT, PORT_OPTIONAL, 1}, PORT_END};
static const Port P_OUT[] = {{"Y", DTS_FLOAT, 0, 1}, PORT_END};
static const AttrSpec ATTRS_[] = {A_INT(Conv, group, 1), A_STRING(Conv, auto_pad, "NOTSET"), A_INTS(Conv, kernel_shape), A_INTS(Conv, strides), A_INTS(Conv, dilations),
                                  A_INTS(Conv, pads), A_END};

/* The weights' shape fixes the kernel: it must be known. */
static bool resolve(Dims *d, const Conv *a, const TypeRec *x, const TypeRec *w, Window *win, const char **why)
{
    int n = x->rank - 2;
    int64_t kernel[WINDOW_MAX];
    if (n > WINDOW_MAX) return *why = "too many spatial axes", false;
    if (a->kernel_shape.n && (int)a->kernel_shape.n != n) return *why = "kernel_shape does not fit the number of spatial axes", false;
    for (int i = 0; i < n; i++) {
        if (!dim_is_const(d, dim_resolve(d, w->dim[2 + i]), &kernel[i])) {
            if (!a->kernel_shape.n) return *why = "the kernel's size must be known at compile time", false;
            kernel[i] = a->kernel_shape.p[i];
        } else if (a->kernel_shape.n && a->kernel_shape.p[i] != kernel[i]) return *why = "kernel_shape differs from the weights' shape", false;
    }
    WindowAttrs wa = {.strides = a->strides, .dilations = a->dilations, .pads = a->pads, .auto_pad = a->auto_pad};
    Dim in[WINDOW_MAX];
    for (int i = 0; i < n; i++) in[i] = dim_resolve(d, x->dim[2 + i]);
    return window_resolve(d, n, in, kernel, &wa, win, why);
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
    if (!resolve(c->d, a, infer_in(c, 0), infer_in(c, 1), &w, &why)) return infer_fail(c, "%s", why);
    if (!infer_must_eq(c, infer_dim(c, 0, 1), dim_mul(c->d, infer_dim(c, 1, 1), dim_const(c->d, a->group)), "input channels")) return false;
    int64_t oc;
    if (dim_is_const(c->d, infer_dim(c, 1, 0), &oc) && oc % a->group) return infer_fail(c, "%lld output channels in %lld groups", (long long)oc, (long long)a->group);
    if (infer_has(c, 2) && (!infer_need_rank(c, 2, 1, 1) || !infer_must_eq(c, infer_dim(c, 2, 0), infer_dim(c, 1, 0), "length of the bias"))) return false;
    dim[0] = infer_dim(c, 0, 0);
    dim[1] = infer_dim(c, 1, 0);
    for (int i = 0; i < w.n; i++) dim[2 + i] = w.out[i];
    return infer_set(c, 0, infer_elem(c, 0), rank, dim);
}

/* ---- through macc ---- */

typedef struct Cv { Lw *l; Window w; Dim ic, oc; bool packed; int64_t batch; /* elements of one tap's weights */ KVal plane; } Cv;

static void pixel(const Cv *x, Kb *b, KVal m, KVal *o)
{
    for (int i = x->w.n - 1; i >= 0; i--) {
        if (i == 0) o[0] = m;
        else {
            KVal d = kb_dim(b, x->w.out[i]);
            o[i] = kb_bin(b, KOP_REM, m, d);
            m = kb_div(b, m, d);
        }
    }
}

static void cv_a(void *arg, Kb *b, KVal z, KVal t, KVal m, KVal k0, KVal *off, KVal *pred)
{
    const Cv *x = arg;
    KVal o[WINDOW_MAX], tap[WINDOW_MAX], flat = kb_i(b, 0);
    pixel(x, b, m, o);
    for (int i = x->w.n - 1; i >= 0; i--) {
        if (i == 0) tap[0] = t;
        else {
            tap[i] = kb_bin(b, KOP_REM, t, kb_i(b, x->w.kernel[i]));
            t = kb_div(b, t, kb_i(b, x->w.kernel[i]));
        }
    }
    for (int i = 0; i < x->w.n; i++) {
        KVal at = window_at(b, &x->w, i, o[i], x->w.kernel[i] == 1 ? kb_i(b, 0) : tap[i]);
        window_inside(b, &x->w, i, at, pred);
        flat = kb_add(b, kb_mul(b, flat, kb_dim(b, x->w.in[i])), at);
    }
    *off = kb_add(b, kb_mul(b, kb_add(b, kb_mul(b, z, kb_dim(b, x->ic)), k0), x->plane), flat);
}

static KVal cv_b(void *arg, Kb *b, KVal z, KVal t, KVal k0)
{
    const Cv *x = arg;
    (void)z;
    if (x->packed) return kb_mul(b, t, kb_i(b, x->batch));
    return kb_mul(b, kb_add(b, kb_mul(b, t, kb_dim(b, x->ic)), k0), kb_dim(b, x->oc));
}

static void cv_store(void *arg, Kb *b, KVal z, KVal m, KVal n, KVal acc)
{
    const Cv *x = arg;
    KVal idx[RANK_MAX];
    idx[0] = z;
    idx[1] = n;
    pixel(x, b, m, idx + 2);
    if (lw_has(x->l, 2)) acc = kb_add(b, acc, lw_at(x->l, 2, &n));
    lw_put(x->l, 0, idx, acc);
}

/* w[oc, ic, taps] -> [taps, ic, oc] */
static KBuf reorder(Lw *l, const Cv *x)
{
    Dims *d = &l->m->dims;
    Dim to[3] = {dim_const(d, x->w.taps), x->ic, x->oc}, from[3] = {x->oc, x->ic, to[0]};
    KBuf src = lw_in(l, 1), view = kbuf_new(l->k, KS_VIEW, (Name){0}, kbuf(l->k, src)->elem, 3, from, l->loc), out;
    kbuf(l->k, view)->base = src;
    kbuf(l->k, view)->offset = dim_const(d, 0);
    out = lw_temp(l, kbuf(l->k, src)->elem, 3, to);
    Kb *b = lw_kernel(l, "conv_weights");
    KVal i[3];
    lw_nest(l, 3, to, i);
    kb_store(b, kb_param(b, out, true), i, kb_load(b, kb_param(b, view, false), (KVal[]){i[2], i[1], i[0]}));
    lw_end_nest(l, 3);
    lw_kernel_end(l);
    return out;
}

/* ---- few input channels ---- */

typedef struct Rows { Cv x; /* first: cv_store takes it */ Dim dim[WINDOW_MAX]; /* spatial extents of what is read: the input, or its padded copy */ } Rows;

/* Row t = (channel, kernel row) of the window at output pixel m. */
static void rows_a(void *arg, Kb *b, KVal z, KVal t, KVal m, KVal k0, KVal *off, KVal *pred)
{
    const Rows *r = arg;
    const Window *w = &r->x.w;
    KVal o[WINDOW_MAX], tap[WINDOW_MAX];
    (void)pred;
    pixel(&r->x, b, m, o);
    for (int i = w->n - 2; i >= 0; i--) {
        tap[i] = kb_bin(b, KOP_REM, t, kb_i(b, w->kernel[i]));
        t = kb_div(b, t, kb_i(b, w->kernel[i]));
    }
    KVal flat = kb_add(b, kb_mul(b, z, kb_dim(b, r->x.ic)), t);
    for (int i = 0; i < w->n; i++) {
        KVal at = kb_mul(b, o[i], kb_i(b, w->stride[i]));
        if (i < w->n - 1) at = kb_add(b, at, kb_mul(b, tap[i], kb_i(b, w->dilation[i])));
        flat = kb_add(b, kb_mul(b, flat, kb_dim(b, r->dim[i])), at);
    }
    *off = kb_add(b, flat, kb_mul(b, k0, kb_i(b, w->dilation[w->n - 1])));
}

/* The input with as much padding as windows reach into; sets r->dim. */
static KBuf padded(Lw *l, Rows *r)
{
    Dims *d = &l->m->dims;
    const Window *w = &r->x.w;
    Dim dim[RANK_MAX] = {lw_dim(l, 0, 0), r->x.ic}, one = dim_const(d, 1);
    for (int i = 0; i < w->n; i++) {
        Dim reach = dim_add(d, dim_mul(d, dim_sub(d, w->out[i], one), dim_const(d, w->stride[i])), dim_const(d, (w->kernel[i] - 1) * w->dilation[i] + 1));
        dim[2 + i] = r->dim[i] = dim_max(d, reach, dim_const(d, 0));
    }
    KBuf src = lw_in(l, 0), out = lw_temp(l, lw_elem(l, 0), 2 + w->n, dim);
    Kb *b = lw_kernel(l, "conv_pad");
    KVal i[RANK_MAX], at[RANK_MAX], inside = {0};
    lw_nest(l, 2 + w->n, dim, i);
    at[0] = i[0];
    at[1] = i[1];
    for (int k = 0; k < w->n; k++) {
        at[2 + k] = kb_sub(b, i[2 + k], kb_dim(b, w->begin[k]));
        KVal low = kb_ge(b, at[2 + k], kb_i(b, 0)), both = kb_and(b, low, kb_lt(b, at[2 + k], kb_dim(b, w->in[k])));
        inside = inside.i ? kb_and(b, inside, both) : both;
    }
    kb_store(b, kb_param(b, out, true), i, kb_load_if(b, kb_param(b, src, false), at, inside, (KVal){0}));
    lw_end_nest(l, 2 + w->n);
    lw_kernel_end(l);
    return out;
}

/* false: the weights cannot be packed; nothing was done. */
static bool lower_rows(Lw *l, const Cv *x, Blob blob, int64_t ic, int64_t oc)
{
    Dims *d = &l->m->dims;
    Rows r = {.x = *x};
    const Window *w = &r.x.w;
    int64_t width = w->kernel[w->n - 1], T = ic * (w->taps / width);
    DType acc = dtype_compute(lw_elem(l, 0));
    RightSide right = {0};
    if (!contraction_pack(l, blob, acc, T, width, oc, 0, width, 1, ic * w->taps, &right)) return false;
    r.x.packed = true;
    r.x.batch = right.batch;
    r.x.ic = dim_const(d, ic);
    KBuf src;
    if (w->padded) src = padded(l, &r);
    else {
        src = lw_in(l, 0);
        for (int i = 0; i < w->n; i++) r.dim[i] = w->in[i];
    }
    Dim pixels = dim_const(d, 1);
    for (int i = 0; i < w->n; i++) pixels = dim_mul(d, pixels, w->out[i]);
    lw_prepare_out(l);
    Kb *b = lw_kernel(l, "conv_rows");
    Contract c = {.Z = lw_dim(l, 0, 0), .M = pixels, .N = r.x.oc, .K = dim_const(d, width), .T = dim_const(d, T), .a = kb_param(b, src, false),
                  .b = kb_param(b, right.buf, false), .acc = acc, .b_packed = true, .pack_kc = right.kc, .a_k = kb_i(b, w->dilation[w->n - 1]), .arg = &r,
                  .a_addr = rows_a, .b_addr = cv_b, .store = cv_store};
    contract_build(b, &c);
    lw_kernel_end(l);
    return true;
}

/* ---- several groups ---- */

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
    kb_loop(b, &loop, KLOOP_SEQ, kb_i(b, 0), kb_i(b, w->kernel[i]), 1, &acc, &add);
    wi[2 + i] = loop.iv;
    xi[2 + i] = window_at(b, w, i, out[2 + i], loop.iv);
    KVal inside = pred;
    window_inside(b, w, i, xi[2 + i], &inside);
    KVal next = taps(l, w, i + 1, out, xi, wi, inside, px, loop.carry[0]);
    kb_loop_end(b, &loop, &next);
    return loop.result[0];
}

static bool lower_groups(Lw *l, const Cv *x, int64_t group)
{
    KBuf src = lw_in(l, 0);
    Dims *d = &l->m->dims;
    Dim icg = lw_dim(l, 1, 1);
    lw_prepare_out(l);
    Kb *b = lw_kernel(l, "conv_group");
    KVal out[RANK_MAX], xi[RANK_MAX], wi[RANK_MAX];
    lw_nest_over(l, 0, out);
    DType t = dtype_compute(lw_elem(l, 0));
    KVal acc = kb_const_f(b, t, 0), g = kb_div(b, out[1], kb_dim(b, dim_div(d, x->oc, dim_const(d, group))));
    KbLoop loop;
    KOp add = KOP_ADD;
    xi[0] = out[0];
    wi[0] = out[1];
    kb_loop(b, &loop, KLOOP_SEQ, kb_i(b, 0), kb_dim(b, icg), 1, &acc, &add);
    wi[1] = loop.iv;
    xi[1] = kb_add(b, kb_mul(b, g, kb_dim(b, icg)), loop.iv);
    KVal next = taps(l, &x->w, 0, out, xi, wi, (KVal){0}, kb_param(b, src, false), loop.carry[0]);
    kb_loop_end(b, &loop, &next);
    KVal v = loop.result[0];
    if (lw_has(l, 2)) v = kb_add(b, v, lw_at(l, 2, &out[1]));
    lw_put(l, 0, out, v);
    lw_end_nest(l, lw_out_rank(l, 0));
    lw_kernel_end(l);
    return true;
}

static bool lower(Lw *l, Node n)
{
    const Conv *a = ATTRS(l->g, n, Conv);
    Dims *d = &l->m->dims;
    Cv x = {.l = l};
    const char *why;
    if (!resolve(d, a, value_trec(l->g, node_in(l->g, n, 0)), value_trec(l->g, node_in(l->g, n, 1)), &x.w, &why)) return lw_fail(l, "%s", why);
    x.ic = lw_dim(l, 0, 1);
    x.oc = lw_dim(l, 1, 0);
    ConvCase cc = {.w = x.w, .group = a->group, .batch = lw_dim(l, 0, 0), .ic = x.ic, .oc = x.oc, .icg = lw_dim(l, 1, 1)};
    cc.ocg = dim_div(d, x.oc, dim_const(d, a->group));
    if (a->group > 1 && dim_is(d, cc.icg, 1) && conv_lower_depthwise(l, &cc)) return true;
    if (a->group != 1) return lower_groups(l, &x, a->group);
    DType acc = dtype_compute(lw_elem(l, 0));
    int64_t ic, oc;
    Blob blob;
    RightSide right = {0};
    bool known = dim_is_const(d, lw_dim(l, 1, 1), &ic) && dim_is_const(d, x.oc, &oc) && lw_const(l, 1, &blob);
    if (known && x.w.n > 0 && x.w.kernel[x.w.n - 1] > 1 && ic <= x.w.kernel[x.w.n - 1] && lower_rows(l, &x, blob, ic, oc)) return true;
    if (known && contraction_pack(l, blob, acc, x.w.taps, ic, oc, 0, 1, x.w.taps, ic * x.w.taps, &right)) {
        x.packed = true;
        x.batch = right.batch;
        x.ic = dim_const(d, ic);
    } else right.buf = reorder(l, &x);
    KBuf src = lw_in(l, 0);
    Dim pixels = dim_const(d, 1);
    for (int i = 0; i < x.w.n; i++) pixels = dim_mul(d, pixels, x.w.out[i]);
    lw_prepare_out(l);
    Kb *b = lw_kernel(l, "conv");
    x.plane = kb_i(b, 1);
    for (int i = 0; i < x.w.n; i++) x.plane = kb_mul(b, x.plane, kb_dim(b, x.w.in[i]));
    Contract c = {.Z = lw_dim(l, 0, 0), .M = pixels, .N = x.oc, .K = x.ic, .T = dim_const(d, x.w.taps), .a = kb_param(b, src, false), .b = kb_param(b, right.buf, false),
                  .acc = acc, .b_packed = x.packed, .pack_kc = right.kc, .a_k = x.plane, .arg = &x, .a_addr = cv_a, .b_addr = cv_b, .store = cv_store};
    contract_build(b, &c);
    lw_kernel_end(l);
    return true;
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
    if (!resolve(&dims, a, &tx, &tw, &w, &why)) return ev_fail(e, "%s", why);
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

const OpDesc op_Conv = {.name = "Conv", .since = 22, .cls = CLS_CONTRACT, .in = P_IN, .out = P_OUT, .attrs = ATTRS_, .attrs_size = sizeof(Conv),
                        .infer = infer, .lower = lower, .eval = eval};
