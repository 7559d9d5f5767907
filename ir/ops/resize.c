/* resize.c: Resize, and Upsample, which is Resize with asymmetric coordinates rounded down: what they mean; the loops are in
 * resize_lower.c.
 *   y[o] = sum over the taps of every axis of  x[index of o, tap] * weight of o, tap
 * Resize before opset 11 had the coordinates of Upsample; Upsample before 9 its scales as an attribute. */
#include "ir/ops/complex.h"
#include "ir/ops/grad.h"
#include "ir/ops/resize.h"
#include <math.h>
#include <string.h>

#define DTS_REAL DTS_FLOAT
static const Port P_RESIZE[] = {{"X", DTS_MOVE, 0, 1}, {"roi", DTS_REAL, PORT_OPTIONAL, 0}, {"scales", DTS(DT_F32), PORT_OPTIONAL | PORT_SHAPE, 0},
                                {"sizes", DTS(DT_I64), PORT_OPTIONAL | PORT_SHAPE, 0}, PORT_END};
static const Port P_UPSAMPLE[] = {{"X", DTS_MOVE, 0, 1}, {"scales", DTS(DT_F32), PORT_SHAPE, 0}, PORT_END};
static const Port P_OUT[] = {{"Y", DTS_MOVE, 0, 1}, PORT_END};
static const AttrSpec ATTRS_[] = {A_STRING(Resize, mode, "nearest"), A_STRING(Resize, coordinate_transformation_mode, "half_pixel"),
                                  A_STRING(Resize, nearest_mode, "round_prefer_floor"), A_STRING(Resize, keep_aspect_ratio_policy, "stretch"),
                                  A_FLOAT(Resize, cubic_coeff_a, -0.75), A_FLOAT(Resize, extrapolation_value, 0), A_INT(Resize, exclude_outside, 0),
                                  A_INT(Resize, antialias, 0), A_INTS(Resize, axes), A_END};
static const AttrSpec UPSAMPLE_ATTRS[] = {A_STRING(Resize, mode, "nearest"), A_FLOATS(Resize, scales), A_FLOAT(Resize, height_scale, 1), A_FLOAT(Resize, width_scale, 1), A_END};
extern const OpDesc op_Upsample;

/* ---- floats that are known ---- */

static bool known_floats(Graph *g, Value v, double *out, uint32_t n)
{
    const ValueRec *r = value_rec(g, v);
    const Blobs *bl = &g->m->blobs;
    bool blob = r->data.i && blob_rec(bl, r->data)->kind != BLOB_DERIVED;
    if (r->known ? r->known->count != n : !blob || blob_rec(bl, r->data)->count != n) return false;
    for (uint32_t k = 0; k < n; k++) out[k] = r->known ? ev_f(r->known, k) : blob_get_f(bl, r->data, k);
    return true;
}

bool resize_fraction(double scale, int64_t *p, int64_t *q)
{
    /* convergents p/q of the continued fraction, until one rounds to the scale */
    int64_t p0 = 1, q0 = 0, p1 = 0, q1 = 1;
    double rest = scale;
    if (!(scale > 0x1p-20) || scale > 0x1p20) return false;
    for (int i = 0; i < 32; i++) {
        int64_t a = (int64_t)floor(rest);
        int64_t pn = a * p0 + p1, qn = a * q0 + q1;
        if (qn > 1 << 24 || pn >= (int64_t)1 << 44) break;
        p1 = p0, q1 = q0, p0 = pn, q0 = qn;
        if ((float)((double)p0 / (double)q0) == (float)scale) {
            *p = p0, *q = q0;
            return true;
        }
        if (rest == (double)a) break;
        rest = 1 / (rest - (double)a);
    }
    *p = llround(scale * 0x1p20), *q = (int64_t)1 << 20;
    return *p > 0;
}

/* ---- attributes and operands ---- */

static bool choose(const char *text, const char *const *names, int n, int *out)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(text, names[i])) return *out = i, true;
    return false;
}

static bool words(ResizeCase *c, const char **why)
{
    static const char *const modes[] = {"nearest", "linear", "cubic"};
    static const char *const coords[] = {"half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric", "tf_crop_and_resize", "tf_half_pixel_for_nn"};
    static const char *const rounds[] = {"round_prefer_floor", "round_prefer_ceil", "floor", "ceil", "opset10"};
    static const char *const keeps[] = {"stretch", "not_larger", "not_smaller"};
    const Resize *a = c->a;
    int m, o, r, k;
    if (!choose(a->mode, modes, 3, &m)) return *why = "mode is unknown", false;
    if (!choose(a->coordinate_transformation_mode, coords, 7, &o)) return *why = "coordinate_transformation_mode is unknown", false;
    if (!choose(a->nearest_mode, rounds, 5, &r)) return *why = "nearest_mode is unknown", false;
    if (!choose(a->keep_aspect_ratio_policy, keeps, 3, &k)) return *why = "keep_aspect_ratio_policy is unknown", false;
    c->mode = (ResizeMode)m, c->coord = (ResizeCoord)o, c->round = (ResizeRound)r, c->keep = (ResizeKeep)k;
    return true;
}

static bool one_of(Graph *g, Node n, int k)
{
    if ((uint32_t)k >= node_n_in(g, n) || !node_in(g, n, (uint32_t)k).i) return false;
    const TypeRec *t = value_trec(g, node_in(g, n, (uint32_t)k));
    return !(t->kind == TY_TENSOR && t->rank == 1 && dim_is(&g->m->dims, dim_resolve(&g->m->dims, t->dim[0]), 0));   /* empty: absent */
}

/* Is operand k known to be a vector of some elements? */
static bool one_long(Graph *g, Node n, int k)
{
    int64_t len;
    const TypeRec *t = value_trec(g, node_in(g, n, (uint32_t)k));
    return t->kind == TY_TENSOR && t->rank == 1 && dim_is_const(&g->m->dims, dim_resolve(&g->m->dims, t->dim[0]), &len) && len;
}

/* Is operand k a vector of one element (or `twice`: two) per slot? */
static bool fits(Graph *g, Node n, int k, int n_slot)
{
    const TypeRec *t = value_trec(g, node_in(g, n, (uint32_t)k));
    return k < 0 || (t->kind == TY_TENSOR && t->rank == 1 && dim_eq(&g->m->dims, dim_resolve(&g->m->dims, t->dim[0]), dim_const(&g->m->dims, n_slot)) != TRI_NO);
}

/* The extent of an axis by the common scale of a policy, halves upwards; false where no integer is one. */
static bool extent_by(double scale, int64_t in, int64_t *out)
{
    double extent = floor(scale * (double)in + 0.5);
    if (!(extent >= 0 && extent < 0x1p63)) return false;
    *out = (int64_t)extent;
    return true;
}

/* Sizes are known: extents and, where those of the input are, scales. */
static bool by_sizes(Graph *g, Node n, ResizeCase *c, const char **why)
{
    Dims *d = &g->m->dims;
    Value v = node_in(g, n, (uint32_t)c->sizes_at);
    const Content *known = infer_value_content(g, v);
    double best = 0;
    bool all = known != NULL;
    if (known && (int)known->n != c->n_slot) return *why = "sizes does not fit the number of axes", false;
    for (int i = 0; i < c->rank && known; i++) {
        ResizeAxis *a = &c->axis[i];
        int64_t in, out;
        if (a->slot < 0) continue;
        a->out = dim_resolve(d, known->d[a->slot]);
        a->same = c->keep == KEEP_STRETCH && dim_eq(d, a->in, a->out) == TRI_YES;
        bool have = dim_is_const(d, a->in, &in) && dim_is_const(d, a->out, &out);
        if (have && out < 0) return *why = "a size is negative", false;
        if (have && in == 0 && out > 0) return *why = "an empty axis cannot grow", false;
        a->known = have && in > 0 && out > 0;
        all &= a->known;
        if (!a->known) continue;
        a->scale = (double)out / (double)in;
        if (best == 0 || (c->keep == KEEP_NOT_LARGER ? a->scale < best : a->scale > best)) best = a->scale;
    }
    for (int i = 0; i < c->rank && c->keep != KEEP_STRETCH; i++) {
        ResizeAxis *a = &c->axis[i];
        int64_t in, out;
        if (a->slot < 0) continue;
        a->known = all;
        a->scale = best;
        a->out = (Dim){0};
        if (all && dim_is_const(d, a->in, &in)) {
            if (!extent_by(best, in, &out)) return *why = "a size is out of range", false;
            a->out = dim_const(d, out);
        }
        a->same = a->out.i && best == 1;
    }
    return true;
}

static bool by_scales(Graph *g, Node n, ResizeCase *c, const char **why)
{
    Dims *d = &g->m->dims;
    double s[RANK_MAX];
    if (!known_floats(g, node_in(g, n, (uint32_t)c->scales_at), s, (uint32_t)c->n_slot)) return true;
    for (int i = 0; i < c->rank; i++) {
        ResizeAxis *a = &c->axis[i];
        int64_t p, q, pr, qr;
        if (a->slot < 0) continue;
        if (!resize_fraction(s[a->slot], &p, &q)) return *why = "a scale is not positive, or out of range", false;
        a->known = true;
        a->scale = (double)p / (double)q;
        a->out = dim_div(d, dim_mul(d, a->in, dim_const(d, p)), dim_const(d, q));
        if (c->coord == COORD_CROP) {
            bool part = a->roi_known && (a->start != 0 || a->end != 1);
            if (!a->roi_known) a->out = (Dim){0};
            else if (part && !resize_fraction(a->scale * (a->end - a->start), &pr, &qr)) return *why = "the region of interest is empty", false;
            else if (part) a->out = dim_div(d, dim_mul(d, a->in, dim_const(d, pr)), dim_const(d, qr));
        }
        a->same = p == q;
    }
    return true;
}

bool resize_resolve(Graph *g, Node n, ResizeCase *c, const char **why)
{
    bool up = node_desc(g, n) == &op_Upsample;
    const TypeRec *x = value_trec(g, node_in(g, n, 0));
    Resize *a = arena_memdup(g->m->arena, node_attrs(g, n), sizeof(Resize));
    if (up) { /* fields that Upsample has not */
        a->coordinate_transformation_mode = "asymmetric", a->nearest_mode = "floor", a->keep_aspect_ratio_policy = "stretch";
        a->cubic_coeff_a = -0.75;
    }
    *c = (ResizeCase){.a = a, .rank = x->rank, .roi_at = -1, .scales_at = -1, .sizes_at = -1};
    if (!words(c, why)) return false;
    bool mark[RANK_MAX];
    int64_t bad;
    bool axes = a->axes.n > 0;
    if (axes && !axes_mark(a->axes.p, a->axes.n, x->rank, mark, &bad)) return *why = "an axis is out of range, or given twice", false;
    c->n_slot = axes ? (int)a->axes.n : x->rank;
    if (up) c->scales_at = 1;
    else {
        if (one_of(g, n, 2)) c->scales_at = 2;
        if (one_of(g, n, 3)) c->sizes_at = 3;
        if (one_of(g, n, 1) && c->coord == COORD_CROP) c->roi_at = 1;
    }
    if (c->scales_at >= 0 && c->sizes_at >= 0) { /* before opset 13 one is there, and empty; none known to be: by its length (OpDesc.knows) */
        bool scales = one_long(g, n, c->scales_at);
        if (scales != one_long(g, n, c->sizes_at)) *(scales ? &c->sizes_at : &c->scales_at) = -1;
    }
    if ((c->scales_at < 0) == (c->sizes_at < 0)) return *why = "one of scales and sizes must be given", false;
    c->by = c->sizes_at >= 0 ? BY_SIZES : BY_SCALES;
    if (c->mode != RESIZE_NEAREST && !(DTS(x->elem) & (DTS_NUM | DTS_COMPLEX))) return *why = "only the nearest element can be taken of this type", false;
    if (a->antialias && c->mode == RESIZE_NEAREST) return *why = "antialias needs mode linear or cubic", false;
    if (!fits(g, n, c->scales_at, c->n_slot) || !fits(g, n, c->sizes_at, c->n_slot) || !fits(g, n, c->roi_at, 2 * c->n_slot))
        return *why = "scales, sizes or roi do not fit the number of axes", false;
    double roi[2 * RANK_MAX];
    bool region = c->roi_at >= 0 && known_floats(g, node_in(g, n, (uint32_t)c->roi_at), roi, 2 * (uint32_t)c->n_slot);
    if (c->coord == COORD_CROP && c->roi_at < 0) return *why = "tf_crop_and_resize needs roi", false;
    for (int i = 0; i < c->rank; i++) {
        ResizeAxis *q = &c->axis[i];
        *q = (ResizeAxis){.slot = axes ? -1 : i, .in = dim_resolve(&g->m->dims, x->dim[i]), .roi_known = c->roi_at < 0 || region, .end = 1};
        for (uint32_t k = 0; k < a->axes.n; k++)
            if ((a->axes.p[k] < 0 ? a->axes.p[k] + c->rank : a->axes.p[k]) == i) q->slot = (int)k;
        if (q->slot < 0) q->same = q->roi_known = q->known = true, q->scale = 1, q->out = q->in;
        else if (region) q->start = roi[q->slot], q->end = roi[c->n_slot + q->slot];
    }
    if (!(c->by == BY_SIZES ? by_sizes(g, n, c, why) : by_scales(g, n, c, why))) return false;
    for (int i = 0; i < c->rank; i++) { /* a region that is not everything moves elements */
        ResizeAxis *q = &c->axis[i];
        if (c->coord == COORD_CROP && q->slot >= 0 && (!q->roi_known || q->start != 0 || q->end != 1)) q->same = false;
    }
    return true;
}

static bool infer(Infer *c)
{
    ResizeCase r;
    const char *why;
    Dim dim[RANK_MAX];
    if (!infer_need_rank(c, 0, 0, -1)) return false;
    for (uint32_t k = 1; k < node_n_in(c->g, c->n); k++)
        if (infer_has(c, k) && !infer_need_rank(c, k, 1, 1)) return false;
    if (!resize_resolve(c->g, c->n, &r, &why)) return infer_fail(c, "%s", why);
    bool up = node_desc(c->g, c->n) == &op_Upsample;
    for (uint32_t k = 2; k < 4 && !up; k++)
        if (infer_has(c, k) && (int)k != r.scales_at && (int)k != r.sizes_at && !infer_must_eq(c, infer_dim(c, k, 0), dim_const(c->d, 0), "length of what is not given"))
            return false;
    int given[] = {r.scales_at, r.sizes_at, r.roi_at};
    for (int k = 0; k < 3; k++)
        if (given[k] >= 0 && !infer_must_eq(c, infer_dim(c, (uint32_t)given[k], 0), dim_const(c->d, k == 2 ? 2 * r.n_slot : r.n_slot), "a number for each axis"))
            return false;
    for (int i = 0; i < r.rank; i++) dim[i] = r.axis[i].out.i ? r.axis[i].out : infer_node_dim(c, 0, i, 0, INT64_MAX);
    return infer_set(c, 0, infer_elem(c, 0), r.rank, dim);
}

/* Nothing moves. */
static Value equivalent(Graph *g, Node n, uint32_t r)
{
    ResizeCase c;
    const char *why;
    (void)r;
    if (!resize_resolve(g, n, &c, &why)) return VALUE_NONE;
    for (int i = 0; i < c.rank; i++)
        if (!c.axis[i].same) return VALUE_NONE;
    return node_in(g, n, 0);
}

static bool upgrade(Graph *g, Node n, int64_t opset)
{
    Resize *a = node_rec(g, n)->attrs;
    double s[RANK_MAX];
    if (opset >= 11) return true;
    Value scales = node_in(g, n, 1);
    const TypeRec *t = scales.i && value_type(g, scales).i ? value_trec(g, scales) : NULL;
    int64_t k;
    bool down = false, up = false, known = false;
    if (t && t->kind == TY_TENSOR && t->rank == 1 && dim_is_const(&g->m->dims, t->dim[0], &k) && k <= RANK_MAX && known_floats(g, scales, s, (uint32_t)k))
        for (int64_t i = 0; i < k; i++) down |= s[i] < 1, up |= s[i] > 1, known = true;
    graph_set_input(g, n, 1, VALUE_NONE);
    graph_add_input(g, n, scales);
    a->coordinate_transformation_mode = "asymmetric";
    a->nearest_mode = !known || (up && down) ? "opset10" : down ? "ceil" : "floor";
    a->set |= 2 | 4;
    return true;
}

static bool upsample_upgrade(Graph *g, Node n, int64_t opset)
{
    Resize *a = node_rec(g, n)->attrs;
    Module *m = g->m;
    if (!strcmp(a->mode, "bilinear") || !strcmp(a->mode, "trilinear")) a->mode = "linear";
    if (opset >= 9 || node_n_in(g, n) > 1) return true;
    if (opset < 7 && a->set & (4 | 8)) {   /* of images, batch and channels in front */
        double *four = arena_array(m->arena, double, 4);
        four[0] = four[1] = 1, four[2] = a->height_scale, four[3] = a->width_scale;
        a->scales = (AttrFloats){four, 4};
        a->height_scale = a->width_scale = 1;
        a->set &= ~(uint64_t)(4 | 8);
    }
    if (!a->scales.n || a->scales.n > RANK_MAX) return diag(m->diag, graph_loc(g, n), E_ATTR_MISSING, "scales");
    float s[RANK_MAX];
    for (uint32_t k = 0; k < a->scales.n; k++) s[k] = (float)a->scales.p[k];
    Dim count = dim_const(&m->dims, a->scales.n);
    graph_add_input(g, n, graph_const(g, blob_inline(&m->blobs, DT_F32, a->scales.n, s), type_tensor(&m->types, DT_F32, 1, &count), (Name){0}));
    a->set &= ~(uint64_t)2;
    a->scales = (AttrFloats){0};
    return true;
}

/* ---- reference: per axis the definition's window, then all products ---- */

typedef struct Line { int taps; int64_t *at; double *w; bool *outside; } Line;

static double cubic(double x, double a)
{
    x = fabs(x);
    if (x <= 1) return (a + 2) * x * x * x - (a + 3) * x * x + 1;
    return x < 2 ? a * x * x * x - 5 * a * x * x + 8 * a * x - 4 * a : 0;
}

static double source(const ResizeCase *c, double scale, int64_t in, int64_t out, int64_t o, double start, double end)
{
    double width = scale * (double)in, x = (double)o;
    switch (c->coord) {
    case COORD_CORNERS: return width == 1 ? 0 : x * (double)(in - 1) / (width - 1);
    case COORD_ASYMMETRIC: return x / scale;
    case COORD_CROP:
        if (out > 1) return start * (double)(in - 1) + x * (end - start) * (double)(in - 1) / (double)(out - 1);
        return 0.5 * (start + end) * (double)(in - 1);
    case COORD_HALF_NN: return scale == 1 ? x : (x + 0.5) / scale;
    case COORD_PYTORCH: return out > 1 ? (x + 0.5) / scale - 0.5 : 0;
    case COORD_SYMMETRIC: return (double)in / 2 * (1 - (double)out / width) + (x + 0.5) / scale - 0.5;
    default: return (x + 0.5) / scale - 0.5;
    }
}

static int64_t nearest(const ResizeCase *c, double x, double scale)
{
    double low = floor(x), part = x - low;
    switch (c->round) {
    case ROUND_FLOOR: return (int64_t)low;
    case ROUND_CEIL: return (int64_t)ceil(x);
    case ROUND_OUTWARD: return (int64_t)(scale < 1 ? ceil(x) : low);
    case ROUND_PREFER_CEIL: return (int64_t)(part >= 0.5 ? low + 1 : low);
    default: return (int64_t)(part > 0.5 ? low + 1 : low);
    }
}

/* The window of o: neighbours of x, at or left of it as many as right of it, the left one closer when x is a pixel. */
static void window(const ResizeCase *c, double x, double scale, int64_t in, Line *l, int64_t o)
{
    double low = floor(x), ratio = x == low ? 1 : x - low, sum = 0, s = c->a->antialias && scale < 1 ? scale : 1;
    int64_t left = x == low ? (int64_t)low - 1 : (int64_t)low, *at = l->at + o * l->taps;
    double *w = l->w + o * l->taps;
    for (int t = 0; t < l->taps; t++) {
        int64_t i = t + 1 - l->taps / 2, p = left + i;
        double d = ((double)i - ratio) * s;
        w[t] = c->mode == RESIZE_LINEAR ? fmax(0, 1 - fabs(d)) : cubic(d, c->a->cubic_coeff_a);
        if (c->a->exclude_outside && (p < 0 || p >= in)) w[t] = 0;
        at[t] = p < 0 ? 0 : p >= in ? in - 1 : p;
        sum += w[t];
    }
    for (int t = 0; t < l->taps && (c->a->antialias || c->a->exclude_outside); t++) w[t] /= sum;
}

static bool eval_part(Eval *e, int which)
{
    const Tensor *x = e->in[0];
    bool up = node_desc(e->g, e->n) == &op_Upsample;
    ResizeCase c = {.a = ATTRS(e->g, e->n, Resize), .rank = x->rank};
    Resize plain = *c.a;
    const char *why;
    int n = x->rank, k_scales = up ? 1 : 2;
    if (up) plain.coordinate_transformation_mode = "asymmetric", plain.nearest_mode = "floor", plain.keep_aspect_ratio_policy = "stretch", plain.cubic_coeff_a = -0.75;
    if (which) plain.extrapolation_value = 0;   /* a real number: nothing of it is imaginary */
    c.a = &plain;
    if (!words(&c, &why)) return ev_fail(e, "%s", why);
    const Tensor *scales = ev_has(e, (uint32_t)k_scales) && e->in[k_scales]->count ? e->in[k_scales] : NULL, *sizes = !up && ev_has(e, 3) && e->in[3]->count ? e->in[3] : NULL;
    const Tensor *roi = c.coord == COORD_CROP && ev_has(e, 1) ? e->in[1] : NULL;
    int64_t out[RANK_MAX];
    double scale[RANK_MAX], start[RANK_MAX], end[RANK_MAX], best = 0;
    bool listed[RANK_MAX];
    int n_slot = plain.axes.n ? (int)plain.axes.n : n;
    if (!scales == !sizes || (scales ? scales : sizes)->count != n_slot || (roi && roi->count != 2 * n_slot)) return ev_fail(e, "scales, sizes or roi do not fit");
    for (int i = 0; i < n; i++) listed[i] = false, out[i] = x->dim[i], scale[i] = 1, start[i] = 0, end[i] = 1;
    for (int k = 0; k < n_slot; k++) {
        int i = plain.axes.n ? (int)(plain.axes.p[k] < 0 ? plain.axes.p[k] + n : plain.axes.p[k]) : k;
        int64_t p = 1, q = 1;
        if (i < 0 || i >= n) return ev_fail(e, "an axis is out of range");
        listed[i] = true;
        if (roi) start[i] = ev_f(roi, k), end[i] = ev_f(roi, n_slot + k);
        if (scales) {
            double part = roi ? end[i] - start[i] : 1;
            if (!resize_fraction(ev_f(scales, k), &p, &q)) return ev_fail(e, "a scale is not positive, or out of range");
            scale[i] = (double)p / (double)q;
            if (part != 1 && !resize_fraction(scale[i] * part, &p, &q)) return ev_fail(e, "the region of interest is empty");
            out[i] = x->dim[i] * p / q;
        } else {
            out[i] = ev_i(sizes, k);
            scale[i] = (double)out[i] / (double)x->dim[i];
        }
        if (best == 0 || (c.keep == KEEP_NOT_LARGER ? scale[i] < best : scale[i] > best)) best = scale[i];
    }
    Line line[RANK_MAX];
    for (int i = 0; i < n; i++) {
        if (sizes && listed[i] && c.keep != KEEP_STRETCH) {
            scale[i] = best;
            if (!extent_by(best, x->dim[i], &out[i])) out[i] = -1;
        }
        if (out[i] < 0 || (out[i] > 0 && !x->dim[i])) return ev_fail(e, "a size is out of range");
        bool still = !listed[i] || (scale[i] == 1 && out[i] == x->dim[i] && start[i] == 0 && end[i] == 1);
        int reach = c.mode == RESIZE_CUBIC ? 2 : 1;
        double wide = plain.antialias && out[i] && scale[i] < 1 ? ceil(reach / scale[i] - 1e-9) : reach;
        Line *l = &line[i];
        l->taps = still || c.mode == RESIZE_NEAREST ? 1 : 2 * (int)wide;
        l->at = arena_array(e->arena, int64_t, out[i] * l->taps + 1);
        l->w = arena_array(e->arena, double, out[i] * l->taps + 1);
        l->outside = arena_array(e->arena, bool, out[i] + 1);
        for (int64_t o = 0; o < out[i]; o++) {
            double at = still ? (double)o : source(&c, scale[i], x->dim[i], out[i], o, start[i], end[i]);
            l->outside[o] = c.coord == COORD_CROP && !still && (at < 0 || at > (double)(x->dim[i] - 1));
            if (l->outside[o] || isnan(at)) at = 0; /* as a region is given, it may be beyond every integer */
            if (l->taps > 1) {
                window(&c, at, scale[i], x->dim[i], l, o);
                continue;
            }
            int64_t p = still ? o : nearest(&c, at, scale[i]);
            l->at[o] = p < 0 ? 0 : p >= x->dim[i] ? x->dim[i] - 1 : p;
            l->w[o] = 1;
        }
    }
    Tensor *y = ev_out(e, 0, x->elem, n, out);
    int64_t o[RANK_MAX], from[RANK_MAX];
    for (int64_t k = 0; y && k < y->count; k++) {
        int64_t all = 1;
        bool outside = false;
        double sum = 0;
        unflatten(y, k, o);
        for (int i = 0; i < n; i++) all *= line[i].taps, outside |= line[i].outside[o[i]];
        for (int64_t t = 0; t < all; t++) {
            int64_t rest = t;
            double w = 1;
            for (int i = n - 1; i >= 0; i--) {
                int64_t at = o[i] * line[i].taps + rest % line[i].taps;
                rest /= line[i].taps;
                from[i] = line[i].at[at];
                w *= line[i].w[at];
            }
            if (c.mode == RESIZE_NEAREST && !outside) ev_copy(y, k, x, flat_index(x, from));
            else if (c.mode != RESIZE_NEAREST) sum += w * ev_f(x, flat_index(x, from));
        }
        if (outside) sum = plain.extrapolation_value;
        if (c.mode == RESIZE_NEAREST && !outside) continue;
        if (dtype_is_float(x->elem)) ev_set_f(y, k, sum);
        else {
            bool sign = dtype_is_signed(x->elem);
            int bits = dtype_info(x->elem)->bits;
            double top = ldexp(1, bits - sign) - 1, low = sign ? -ldexp(1, bits - 1) : 0;
            ev_set_i(y, k, (int64_t)fmin(top, fmax(low, rint(sum))));
        }
    }
    return y != NULL;
}

static bool eval(Eval *e) { return dtype_is_complex(e->in[0]->elem) ? complex_eval(e, 1, eval_part) : eval_part(e, 0); }

/* Weights are real: the parts of complex numbers are resized one by one, where they do not only move. */
static bool must_expand(const Graph *g, Node n)
{
    const Resize *a = ATTRS(g, n, Resize);
    bool crop = node_desc(g, n) == &op_Resize && !strcmp(a->coordinate_transformation_mode, "tf_crop_and_resize");
    return complex_first(g, n) && (crop || strcmp(a->mode, "nearest") != 0);
}

static bool expand(Graph *g, Node n)
{
    Resize *a = arena_memdup(g->m->arena, node_attrs(g, n), sizeof *a);
    if (node_desc(g, n) == &op_Resize) a->extrapolation_value = 0;
    return complex_expand(g, n, 1, a);
}

bool resize_lower(Lw *, Node);
#define COMMON .cls = CLS_WINDOW, .flags = OPF_STRIDED_OUT | OPF_FOLLOWED, .out = P_OUT, .attrs_size = sizeof(Resize), .infer = infer, .equivalent = equivalent, .lower = resize_lower, .eval = eval, \
               .expand = expand, .must_expand = must_expand
const OpDesc op_Resize = {.name = "Resize", .since = 19, COMMON, .knows = 4, .in = P_RESIZE, .attrs = ATTRS_, .upgrade = upgrade, .grad = grad_resize};
const OpDesc op_Upsample = {.name = "Upsample", .since = 10, COMMON, .in = P_UPSAMPLE, .attrs = UPSAMPLE_ATTRS, .upgrade = upsample_upgrade, .grad = grad_resize};
