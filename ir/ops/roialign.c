/* roialign.c: RoiAlign: for each region of interest a grid of bins, each the mean (or maximum) of bilinear samples of the feature map.
 *   bin (ph, pw) of region r: samples at y = y0 + (ph + (iy + 0.5) / gy) * bin_h, likewise x; gy = sampling_ratio, or ceil(bin_h) where that is 0
 * A sample is  w00*X[yl,xl] + w01*X[yl,xh] + w10*X[yh,xl] + w11*X[yh,xh],  0 beyond a border of one pixel; "max" takes the maximum over the four weighted neighbours
 * of all samples, which is what the standard's reference does. half_pixel shifts by -0.5; before opset 16 (output_half_pixel) nothing is shifted and regions are at
 * least one pixel large.
 *
 * Loops: par over (r, ph, pw), the samples, and innermost the channels, which share places and weights: sums live in scratch, X in channels-last order reads rows. */
#include "ir/ops/grad.h"
#include "ir/ops/index.h"
#include <math.h>
#include <string.h>

static const Port P_IN[] = {{"X", DTS_FLOAT, 0, 1}, {"rois", DTS_FLOAT, 0, 1}, {"batch_indices", DTS(DT_I64), 0, 0}, PORT_END};
static const Port P_OUT[] = {{"Y", DTS_FLOAT, 0, 1}, PORT_END};
typedef struct Roi { uint64_t set; const char *mode, *coordinate_transformation_mode; int64_t output_height, output_width, sampling_ratio; double spatial_scale; } Roi;
static const AttrSpec ATTRS_[] = {A_STRING(Roi, mode, "avg"), A_STRING(Roi, coordinate_transformation_mode, "half_pixel"), A_INT(Roi, output_height, 1),
                                  A_INT(Roi, output_width, 1), A_INT(Roi, sampling_ratio, 0), A_FLOAT(Roi, spatial_scale, 1), A_END};

static bool upgrade(Graph *g, Node n, int64_t opset)
{
    Roi *a = node_rec(g, n)->attrs;
    if (opset < 16) a->coordinate_transformation_mode = "output_half_pixel", a->set |= 2;
    return true;
}

static bool infer(Infer *c)
{
    const Roi *a = ATTRS(c->g, c->n, Roi);
    if (strcmp(a->mode, "avg") && strcmp(a->mode, "max")) return infer_fail(c, "mode '%s' is unknown", a->mode);
    if (strcmp(a->coordinate_transformation_mode, "half_pixel") && strcmp(a->coordinate_transformation_mode, "output_half_pixel"))
        return infer_fail(c, "coordinate_transformation_mode '%s' is unknown", a->coordinate_transformation_mode);
    if (a->output_height < 1 || a->output_width < 1 || a->sampling_ratio < 0) return infer_fail(c, "output_height, output_width must be positive, sampling_ratio not negative");
    if (!infer_need_rank(c, 0, 4, 4) || !infer_need_rank(c, 1, 2, 2) || !infer_need_rank(c, 2, 1, 1)) return false;
    if (!infer_must_eq(c, infer_dim(c, 1, 1), dim_const(c->d, 4), "coordinates of a region") || !infer_must_eq(c, infer_dim(c, 2, 0), infer_dim(c, 1, 0), "number of regions"))
        return false;
    return infer_set(c, 0, infer_elem(c, 0), 4, (Dim[]){infer_dim(c, 1, 0), infer_dim(c, 0, 1), dim_const(c->d, a->output_height), dim_const(c->d, a->output_width)});
}

typedef struct Axis1 { KVal start, bin, samples; } Axis1;   /* of a region along y or x */
typedef struct Tap { KVal lo, hi, wlo, whi, inside; } Tap;  /* of a sample */

static KVal f(Lw *l, DType t, double v) { return kb_const_f(l->b, t, v); }

/* Places of a region: operand 1 holds x1 y1 x2 y2. */
static Axis1 region_axis(Lw *l, const Roi *a, DType t, KVal roi, int axis)
{
    Kb *b = l->b;
    bool half = !strcmp(a->coordinate_transformation_mode, "half_pixel");
    KVal scale = f(l, t, (double)(float)a->spatial_scale), from = kb_mul(b, lw_at(l, 1, (KVal[]){roi, kb_i(b, axis)}), scale);
    KVal to = kb_mul(b, lw_at(l, 1, (KVal[]){roi, kb_i(b, axis + 2)}), scale);
    Axis1 r = {.start = half ? kb_sub(b, from, f(l, t, 0.5)) : from};
    KVal len = half ? kb_sub(b, kb_sub(b, to, f(l, t, 0.5)), r.start) : kb_max(b, kb_sub(b, to, from), f(l, t, 1));
    r.bin = kb_div(b, len, f(l, t, (double)(axis ? a->output_height : a->output_width)));
    r.samples = a->sampling_ratio ? kb_i(b, a->sampling_ratio) : kb_cast(b, DT_I64, kb_un(b, KOP_CEIL, r.bin));
    return r;
}

static Tap tap(Lw *l, DType t, const Axis1 *r, KVal bin, KVal sample, KVal extent)
{
    Kb *b = l->b;
    KVal n = kb_cast(b, t, r->samples), step = kb_div(b, kb_mul(b, kb_add(b, kb_cast(b, t, sample), f(l, t, 0.5)), r->bin), n);
    KVal at = kb_add(b, kb_add(b, r->start, kb_mul(b, kb_cast(b, t, bin), r->bin)), step);
    Tap p = {.inside = kb_and(b, kb_ge(b, at, f(l, t, -1)), kb_bin(b, KOP_LE, at, kb_cast(b, t, extent)))};
    at = kb_max(b, at, f(l, t, 0));
    KVal last = kb_sub(b, extent, kb_i(b, 1)), low = kb_cast(b, DT_I64, at), over = kb_ge(b, low, last);
    p.lo = kb_max(b, kb_min(b, low, last), kb_i(b, 0));
    p.hi = kb_min(b, kb_add(b, p.lo, kb_i(b, 1)), kb_max(b, last, kb_i(b, 0)));
    p.whi = kb_select(b, over, f(l, t, 0), kb_sub(b, at, kb_cast(b, t, p.lo)));
    p.wlo = kb_sub(b, f(l, t, 1), p.whi);
    return p;
}

static KVal weighted(Lw *l, KVal w, uint32_t x, const KVal at[4], KVal inside)
{
    return kb_mul(l->b, w, kb_load_if(l->b, x, at, inside, (KVal){0}));
}

static bool lower(Lw *l, Node n)
{
    const Roi *a = ATTRS(l->g, n, Roi);
    bool max = !strcmp(a->mode, "max");
    DType t = dtype_compute(lw_elem(l, 0));
    Dim channels = lw_dim(l, 0, 1);
    lw_prepare_in(l);
    KBuf src = lw_in_strided(l, 0);
    lw_in_strided(l, 1), lw_in_strided(l, 2);
    lw_out(l, 0);
    Dims *d = &l->m->dims;
    for (int i = 2; i < 4; i++) index_check(l, dim_min(d, dim_const(d, 1), lw_dim(l, 1, 0)), KREL_LE, lw_dim(l, 0, i), "the image is empty");
    Kb *b = lw_kernel(l, "roi_align");
    KVal zero = kb_i(b, 0), hi[4] = {kb_dim(b, lw_out_dim(l, 0, 0)), kb_dim(b, channels), kb_i(b, a->output_height), kb_i(b, a->output_width)}, ok;
    uint32_t x = kb_param(b, src, false), acc = kb_local(b, "acc", t, 1, &channels);
    KVal roi = kb_for(b, KLOOP_PAR, zero, hi[0]), ph = kb_for(b, KLOOP_PAR, zero, hi[2]), pw = kb_for(b, KLOOP_PAR, zero, hi[3]);
    KVal batch = index_checked(l, lw_at(l, 2, &roi), lw_dim(l, 0, 0), &ok);
    Axis1 y = region_axis(l, a, t, roi, 1), xx = region_axis(l, a, t, roi, 0);
    KVal c = kb_for(b, KLOOP_VEC, zero, hi[1]);
    kb_store(b, acc, &c, f(l, t, max ? -INFINITY : 0));
    kb_end(b);
    KVal iy = kb_for(b, KLOOP_SEQ, zero, y.samples), ix = kb_for(b, KLOOP_SEQ, zero, xx.samples);
    Tap ty = tap(l, t, &y, ph, iy, kb_dim(b, lw_dim(l, 0, 2))), tx = tap(l, t, &xx, pw, ix, kb_dim(b, lw_dim(l, 0, 3)));
    KVal inside = kb_and(b, ok, kb_and(b, ty.inside, tx.inside)), w[4] = {kb_mul(b, ty.wlo, tx.wlo), kb_mul(b, ty.wlo, tx.whi), kb_mul(b, ty.whi, tx.wlo), kb_mul(b, ty.whi, tx.whi)};
    c = kb_for(b, KLOOP_VEC, zero, hi[1]);
    KVal v[4], sum;
    for (int k = 0; k < 4; k++) v[k] = weighted(l, w[k], x, (KVal[]){batch, c, k & 2 ? ty.hi : ty.lo, k & 1 ? tx.hi : tx.lo}, inside);
    sum = max ? kb_max(b, kb_max(b, v[0], v[1]), kb_max(b, v[2], v[3])) : kb_add(b, kb_add(b, v[0], v[1]), kb_add(b, v[2], v[3]));
    kb_store(b, acc, &c, kb_bin(b, max ? KOP_MAX : KOP_ADD, kb_load(b, acc, &c), sum));
    kb_end(b);
    lw_end_nest(l, 2);
    KVal count = kb_mul(b, kb_max(b, y.samples, zero), kb_max(b, xx.samples, zero));
    c = kb_for(b, KLOOP_VEC, zero, hi[1]);
    KVal r = kb_load(b, acc, &c), at[4] = {roi, c, ph, pw};
    lw_put(l, 0, at, max ? kb_select(b, kb_bin(b, KOP_GT, count, zero), r, f(l, t, 0)) : kb_div(b, r, kb_cast(b, t, kb_max(b, count, kb_i(b, 1)))));
    kb_end(b);
    lw_end_nest(l, 3);
    lw_kernel_end(l);
    return true;
}

/* ---- eval ---- */

/* The four neighbours of a sample and their weights; false: it lies outside. */
static bool neighbours(double y, double x, int64_t h, int64_t w, int64_t at[4], double weight[4])
{
    if (y < -1 || y > (double)h || x < -1 || x > (double)w) return false;
    double p[2] = {y < 0 ? 0 : y, x < 0 ? 0 : x};
    int64_t e[2] = {h, w}, lo[2], hi[2];
    double frac[2];
    for (int a = 0; a < 2; a++) {
        lo[a] = (int64_t)floor(p[a]);
        if (lo[a] >= e[a] - 1) lo[a] = hi[a] = e[a] - 1, frac[a] = 0;
        else hi[a] = lo[a] + 1, frac[a] = p[a] - (double)lo[a];
    }
    for (int k = 0; k < 4; k++) {
        at[k] = (k & 2 ? hi[0] : lo[0]) * w + (k & 1 ? hi[1] : lo[1]);
        weight[k] = (k & 2 ? frac[0] : 1 - frac[0]) * (k & 1 ? frac[1] : 1 - frac[1]);
    }
    return true;
}

static bool eval(Eval *e)
{
    const Roi *a = ATTRS(e->g, e->n, Roi);
    const Tensor *x = e->in[0], *rois = e->in[1];
    bool half = !strcmp(a->coordinate_transformation_mode, "half_pixel"), max = !strcmp(a->mode, "max");
    int64_t h = x->dim[2], w = x->dim[3], oh = a->output_height, ow = a->output_width, i[4];
    Tensor *y = ev_out(e, 0, x->elem, 4, (int64_t[]){rois->dim[0], x->dim[1], oh, ow});
    for (int64_t k = 0; y && k < y->count; k++) {
        unflatten(y, k, i);
        double box[4], sum = 0;
        for (int c = 0; c < 4; c++) box[c] = ev_f(rois, 4 * i[0] + c) * (double)(float)a->spatial_scale - (half ? 0.5 : 0);
        double rw = box[2] - box[0], rh = box[3] - box[1];
        if (!half) rw = rw < 1 ? 1 : rw, rh = rh < 1 ? 1 : rh;
        double bh = rh / (double)oh, bw = rw / (double)ow;
        int64_t gh = a->sampling_ratio ? a->sampling_ratio : (int64_t)ceil(bh), gw = a->sampling_ratio ? a->sampling_ratio : (int64_t)ceil(bw), b = ev_i(e->in[2], i[0]);
        bool any = false;
        if (!index_eval(e, &b, x->dim[0])) return false;
        for (int64_t iy = 0; iy < gh; iy++)
            for (int64_t ix = 0; ix < gw; ix++) {
                double sy = box[1] + bh * ((double)i[2] + ((double)iy + 0.5) / (double)gh), sx = box[0] + bw * ((double)i[3] + ((double)ix + 0.5) / (double)gw), wt[4];
                int64_t at[4];
                bool in = neighbours(sy, sx, h, w, at, wt);
                for (int n = 0; n < 4; n++) {
                    double v = in ? wt[n] * ev_f(x, (b * x->dim[1] + i[1]) * h * w + at[n]) : 0;
                    sum = !max ? sum + v : any ? fmax(sum, v) : v;
                    any = true;
                }
            }
        ev_set_f(y, k, max ? sum : sum / (double)(gh > 0 && gw > 0 ? gh * gw : 1));
    }
    return y != NULL;
}

const OpDesc op_RoiAlign = {.name = "RoiAlign", .since = 22, .cls = CLS_OPAQUE, .flags = OPF_STRIDED_OUT, .in = P_IN, .out = P_OUT, .attrs = ATTRS_, .attrs_size = sizeof(Roi),
                            .upgrade = upgrade, .infer = infer, .lower = lower, .has_result = op_result_unsure, .eval = eval, .grad = grad_roi_align};
