/* grid.c: AffineGrid (places of a regular grid under an affine map) and GridSample (an image sampled at given places), over two or three spatial axes and more.
 *   AffineGrid:  grid[n, y, x, k] = theta[n, k, :] . (x', y', 1)          x' runs over -1..1, at pixel centres or (align_corners) from edge to edge
 *   GridSample:  Y[n, c, o...] = sum over taps of X[n, c, place...] * weight;  places come last coordinate first
 * Each axis of a sample has 1 (nearest), 2 (linear) or 4 (cubic, a = -0.75) taps; a sample has their product. Places and weights are computed once
 * for all channels whose images fit into the second cache together. */
#include "ir/ops/axes.h"
#include "ir/ops/complex.h"
#include "ir/ops/grad.h"
#include <math.h>
#include <string.h>

/* ---- AffineGrid ---- */

static const Port P_AFFINE[] = {{"theta", DTS_FLOAT, 0, 1}, {"size", DTS(DT_I64), PORT_SHAPE, 0}, PORT_END};
static const Port P_GRID[] = {{"grid", DTS_FLOAT, 0, 1}, PORT_END};
typedef struct Affine { uint64_t set; int64_t align_corners; } Affine;
static const AttrSpec AFFINE_ATTRS[] = {A_INT(Affine, align_corners, 0), A_END};

static bool affine_infer(Infer *c)
{
    const Dim *size = NULL;
    uint32_t n;
    int64_t len, k;
    Dim dim[5];
    if (!infer_need_rank(c, 0, 3, 3) || !infer_need_rank(c, 1, 1, 1)) return false;
    if (!dim_is_const(c->d, infer_dim(c, 1, 0), &len) || (len != 4 && len != 5)) return infer_fail(c, "the size must have 4 or 5 entries");
    int r = (int)len - 2;
    if (!infer_must_eq(c, infer_dim(c, 0, 1), dim_const(c->d, r), "rows of theta") || !infer_must_eq(c, infer_dim(c, 0, 2), dim_const(c->d, r + 1), "columns of theta")) return false;
    bool known = infer_content(c, 1, &size, &n) && n == len;
    dim[0] = infer_dim(c, 0, 0);
    if (known && !infer_must_eq(c, dim_resolve(c->d, size[0]), dim[0], "batch")) return false;
    for (int i = 0; i < r; i++) dim[1 + i] = known ? dim_resolve(c->d, size[2 + i]) : infer_node_dim(c, 0, 1 + i, 0, INT64_MAX);
    for (int i = 0; i < r; i++)
        if (dim_is_const(c->d, dim[1 + i], &k) && k < 0) return infer_fail(c, "a size is negative");
    dim[r + 1] = dim_const(c->d, r);
    return infer_set(c, 0, infer_elem(c, 0), r + 2, dim);
}

static bool affine_lower(Lw *l, Node n)
{
    bool align = ATTRS(l->g, n, Affine)->align_corners != 0;
    int r = lw_out_rank(l, 0) - 2;
    DType t = dtype_compute(lw_elem(l, 0));
    Dim size[8], dim[5];
    uint32_t count;
    KVal i[RANK_MAX];
    if (!lw_values(l, 1, size, 8, &count)) return false;
    for (int a = 0; a < r + 2; a++) dim[a] = a > 0 && a <= r ? size[1 + a] : lw_out_dim(l, 0, a);
    lw_bind_dims(l, 0, dim);
    lw_prepare_in(l);
    lw_in_strided(l, 0);
    lw_out(l, 0);
    Kb *b = lw_kernel(l, "affine_grid");
    KVal zero = kb_i(b, 0), one = kb_const_f(b, t, 1), two = kb_const_f(b, t, 2), p[3];
    for (int a = 0; a <= r; a++) i[a] = kb_for(b, a < r ? KLOOP_PAR : KLOOP_VEC, zero, kb_dim(b, lw_out_dim(l, 0, a)));
    for (int a = 0; a < r; a++) { /* coordinate a of theta's columns is x: the last axis */
        Dim extent = lw_out_dim(l, 0, r - a);
        KVal at = i[r - a], len = kb_cast(b, t, kb_dim(b, extent));
        int64_t lo, hi;
        dim_bounds(&l->m->dims, extent, &lo, &hi);
        if (hi <= INT32_MAX) at = kb_cast(b, DT_I32, at); /* AVX2 converts those in lanes */
        at = kb_cast(b, t, at);
        p[a] = align ? kb_sub(b, kb_div(b, kb_mul(b, two, at), kb_max(b, kb_sub(b, len, one), one)), one)
                     : kb_sub(b, kb_div(b, kb_add(b, kb_mul(b, two, at), one), len), one);
    }
    for (int k = 0; k < r; k++) { /* coordinates side by side: their stores are woven */
        i[r + 1] = kb_i(b, k);
        KVal sum = lw_at(l, 0, (KVal[]){i[0], i[r + 1], kb_i(b, r)});
        for (int a = 0; a < r; a++)
            sum = kb_add(b, sum, kb_mul(b, lw_at(l, 0, (KVal[]){i[0], i[r + 1], kb_i(b, a)}), p[a]));
        lw_put(l, 0, i, sum);
    }
    lw_end_nest(l, r + 1);
    lw_kernel_end(l);
    return true;
}

static bool affine_eval(Eval *e)
{
    const Tensor *theta = e->in[0];
    bool align = ATTRS(e->g, e->n, Affine)->align_corners != 0;
    int r = (int)e->in[1]->count - 2;
    int64_t dim[5] = {theta->dim[0]}, i[5];
    for (int a = 0; a < r; a++) dim[1 + a] = ev_i(e->in[1], 2 + a);
    dim[r + 1] = r;
    Tensor *y = ev_out(e, 0, theta->elem, r + 2, dim);
    for (int64_t k = 0; y && k < y->count; k++) {
        unflatten(y, k, i);
        int64_t row = (i[0] * r + i[r + 1]) * (r + 1);
        double v = ev_f(theta, row + r);
        for (int a = 0; a < r; a++) {
            double len = (double)dim[r - a], step = align ? 2 / (len > 1 ? len - 1 : 1) : 2 / len;
            v += ev_f(theta, row + a) * (-1 + step * ((double)i[r - a] + (align ? 0 : 0.5)));
        }
        ev_set_f(y, k, v);
    }
    return y != NULL;
}

const OpDesc op_AffineGrid = {.name = "AffineGrid", .since = 20, .cls = CLS_OPAQUE, .flags = OPF_STRIDED_OUT, .knows = 2, .in = P_AFFINE, .out = P_GRID, .attrs = AFFINE_ATTRS,
                              .attrs_size = sizeof(Affine), .infer = affine_infer, .lower = affine_lower, .grad = grad_affine_grid, .eval = affine_eval};

/* ---- GridSample ---- */

static const Port P_IN[] = {{"X", DTS_MOVE, 0, 1}, {"grid", DTS_FLOAT, 0, 2}, PORT_END};
static const Port P_OUT[] = {{"Y", DTS_MOVE, 0, 1}, PORT_END};
typedef struct Sample { uint64_t set; int64_t align_corners; const char *mode, *padding_mode; } Sample;
static const AttrSpec ATTRS_[] = {A_INT(Sample, align_corners, 0), A_STRING(Sample, mode, "linear"), A_STRING(Sample, padding_mode, "zeros"), A_END};

/* Taps along one axis; 0: unknown mode. Opset 16 spoke of bilinear and bicubic. */
static int taps_of(const Sample *a)
{
    if (!strcmp(a->mode, "nearest")) return 1;
    if (!strcmp(a->mode, "linear") || !strcmp(a->mode, "bilinear")) return 2;
    return !strcmp(a->mode, "cubic") || !strcmp(a->mode, "bicubic") ? 4 : 0;
}

typedef enum Padding { ZEROS, BORDER, REFLECTION, UNKNOWN } Padding;
static Padding padding_of(const Sample *a)
{
    return !strcmp(a->padding_mode, "zeros") ? ZEROS : !strcmp(a->padding_mode, "border") ? BORDER : !strcmp(a->padding_mode, "reflection") ? REFLECTION : UNKNOWN;
}

static bool infer(Infer *c)
{
    const Sample *a = ATTRS(c->g, c->n, Sample);
    int taps = taps_of(a), rank;
    Dim dim[RANK_MAX];
    if (!taps) return infer_fail(c, "mode '%s' is unknown", a->mode);
    if (padding_of(a) == UNKNOWN) return infer_fail(c, "padding_mode '%s' is unknown", a->padding_mode);
    if (!infer_need_rank(c, 0, 3, -1)) return false;
    rank = infer_rank(c, 0);
    if (taps > 1 && !(DTS(infer_elem(c, 0)) & (DTS_NUM | DTS_BOOL | DTS_COMPLEX))) return infer_fail(c, "mode '%s' of %s is not supported", a->mode, dtype_info(infer_elem(c, 0))->onnx);
    if (!infer_need_rank(c, 1, rank, rank) || !infer_must_eq(c, infer_dim(c, 1, 0), infer_dim(c, 0, 0), "batch") ||
        !infer_must_eq(c, infer_dim(c, 1, rank - 1), dim_const(c->d, rank - 2), "coordinates of a place"))
        return false;
    for (int i = 0; i < rank; i++) dim[i] = i < 2 ? infer_dim(c, 0, i) : infer_dim(c, 1, i - 1);
    return infer_set(c, 0, infer_elem(c, 0), rank, dim);
}

typedef struct Axis1 { KVal at[4], weight[4], inside[4]; } Axis1;

static KVal f(Lw *l, KVal like, double v) { return kb_const_f(l->b, kb_type(l->b, like), v); }

/* Reflected at lo and hi till it lies between them. */
static KVal reflect(Lw *l, KVal v, KVal lo, KVal hi)
{
    Kb *b = l->b;
    KVal below = kb_lt(b, v, lo), above = kb_bin(b, KOP_GT, v, hi), range = kb_sub(b, hi, lo);
    KVal d = kb_select(b, below, kb_sub(b, lo, v), kb_sub(b, v, hi)), n = kb_un(b, KOP_TRUNC, kb_div(b, d, range)), r = kb_sub(b, d, kb_mul(b, n, range));
    KVal odd = kb_bin(b, KOP_NE, kb_mul(b, f(l, v, 2), kb_un(b, KOP_FLOOR, kb_div(b, n, f(l, v, 2)))), n);
    KVal from_lo = kb_bin(b, KOP_NE, below, odd), back = kb_select(b, from_lo, kb_add(b, lo, r), kb_sub(b, hi, r));
    return kb_select(b, kb_bin(b, KOP_LE, range, f(l, v, 0)), f(l, v, 0), kb_select(b, kb_bin(b, KOP_OR, below, above), back, v));
}

static void cubic_weights(Lw *l, KVal x, KVal *w)
{
    Kb *b = l->b;
    for (int k = 0; k < 4; k++) {   /* distances x + 1, x, 1 - x, 2 - x */
        KVal d = k == 0 ? kb_add(b, x, f(l, x, 1)) : k == 1 ? x : kb_sub(b, f(l, x, k - 1), x);
        double p = k == 1 || k == 2 ? 1.25 : -0.75, q = k == 1 || k == 2 ? -2.25 : 3.75, r = k == 1 || k == 2 ? 0 : -6, s = k == 1 || k == 2 ? 1 : 3;
        KVal h = kb_add(b, kb_mul(b, f(l, x, p), d), f(l, x, q));
        w[k] = kb_add(b, kb_mul(b, kb_add(b, kb_mul(b, h, d), f(l, x, r)), d), f(l, x, s));
    }
}

static Axis1 axis_taps(Lw *l, const Sample *a, KVal g, Dim extent)
{
    Kb *b = l->b;
    Axis1 r = {.weight = {{0}}};
    int taps = taps_of(a);
    Padding pad = padding_of(a);
    DType t = kb_type(b, g);
    KVal n = kb_dim(b, extent), len = kb_cast(b, t, n), one = f(l, g, 1), half = f(l, g, 0.5), up = kb_add(b, g, one), zero = kb_i(b, 0), last = kb_sub(b, n, kb_i(b, 1));
    KVal v = a->align_corners ? kb_mul(b, kb_mul(b, up, half), kb_sub(b, len, one)) : kb_mul(b, kb_sub(b, kb_mul(b, up, len), one), half);
    KVal lo = f(l, g, a->align_corners ? 0 : -0.5), hi = kb_sub(b, len, a->align_corners ? one : half);
    if (taps == 1) v = kb_un(b, KOP_RINT, v);
    if (pad == BORDER) {   /* only what lies outside the image, which reaches half an element beyond the middles when corners are not aligned */
        KVal outside = kb_bin(b, KOP_OR, kb_lt(b, v, lo), kb_bin(b, KOP_GT, v, hi));
        v = kb_select(b, outside, kb_max(b, kb_min(b, v, kb_sub(b, len, one)), f(l, g, 0)), v);
    }
    if (pad == REFLECTION) v = reflect(l, v, lo, hi);
    KVal floor = kb_un(b, KOP_FLOOR, v), first = kb_sub(b, kb_cast(b, DT_I64, floor), kb_i(b, taps == 4)), x = kb_sub(b, v, floor);
    if (taps == 2) r.weight[0] = kb_sub(b, one, x), r.weight[1] = x;
    if (taps == 4) cubic_weights(l, x, r.weight);
    for (int k = 0; k < taps; k++) {
        KVal i = kb_add(b, first, kb_i(b, k));
        if (pad == BORDER) i = kb_max(b, kb_min(b, i, last), zero);
        if (pad == REFLECTION) i = kb_max(b, kb_min(b, kb_cast(b, DT_I64, reflect(l, kb_cast(b, t, i), lo, hi)), last), zero);
        r.at[k] = i;
        r.inside[k] = kb_and(b, kb_ge(b, i, zero), kb_lt(b, i, n));
    }
    return r;
}

/* How many of the last axes' taps are written out; loops go over those of the axes before. */
enum { WRITTEN_MAX = 64 };

/* Tap `at` of an axis, which only the run knows. */
static KVal chosen(Kb *b, const KVal *of, int taps, KVal at)
{
    KVal v = of[taps - 1];
    for (int k = taps - 1; k-- > 0;) v = kb_select(b, kb_bin(b, KOP_EQ, at, kb_i(b, k)), of[k], v);
    return v;
}

/* weight, inside: of the taps that are written out, once for all channels (weights: none for the nearest element). */
typedef struct Taps { Lw *l; Axis1 axis[RANK_MAX]; int r, taps, written, total; uint32_t x; DType sum; KVal at[RANK_MAX], weight[WRITTEN_MAX], inside[WRITTEN_MAX]; } Taps;

static void prepare_taps(Taps *x)
{
    Kb *b = x->l->b;
    for (int t = 0; t < x->total; t++) {
        KVal in = {0}, w = {0};
        for (int i = x->r - x->written, rest = t; i < x->r; i++, rest /= x->taps) {
            const Axis1 *a = &x->axis[i];
            int q = rest % x->taps;
            in = in.i ? kb_and(b, in, a->inside[q]) : a->inside[q];
            if (x->taps > 1) w = w.i ? kb_mul(b, w, a->weight[q]) : a->weight[q];
        }
        x->inside[t] = in;
        x->weight[t] = w.i ? kb_cast(b, x->sum, w) : w;
    }
}

/* The sum over the taps of axes k.. of r: what the axes before chose stands in at[2..], weight and inside (0: all). */
static KVal written_taps(Taps *x, KVal weight, KVal inside, KVal sum)
{
    Kb *b = x->l->b;
    for (int t = 0; t < x->total; t++) {
        for (int i = x->r - x->written, rest = t; i < x->r; i++, rest /= x->taps) x->at[2 + i] = x->axis[i].at[rest % x->taps];
        KVal in = x->inside[t];
        KVal v = kb_load_if(b, x->x, x->at, inside.i ? kb_and(b, inside, in) : in, (KVal){0});
        if (x->taps > 1) v = kb_mul(b, kb_cast(b, x->sum, v), x->weight[t]);
        if (weight.i) v = kb_mul(b, v, kb_cast(b, x->sum, weight));
        sum = sum.i ? kb_add(b, sum, v) : v;
    }
    return sum;
}

static KVal all_taps(Taps *x, int k, KVal weight, KVal inside, KVal sum)
{
    Kb *b = x->l->b;
    if (k == x->r - x->written) return written_taps(x, weight, inside, sum);
    const Axis1 *a = &x->axis[k];
    KbLoop loop;
    KVal init = sum.i ? sum : kb_const_f(b, x->sum, 0);
    kb_loop(b, &loop, KLOOP_SEQ, kb_i(b, 0), kb_i(b, x->taps), 1, &init, NULL);
    KVal w = chosen(b, a->weight, x->taps, loop.iv), in = chosen(b, a->inside, x->taps, loop.iv);
    x->at[2 + k] = chosen(b, a->at, x->taps, loop.iv);
    sum = all_taps(x, k + 1, weight.i ? kb_mul(b, weight, w) : w, inside.i ? kb_and(b, inside, in) : in, loop.carry[0]);
    kb_loop_end(b, &loop, &sum);
    return loop.result[0];
}

enum { CHANNELS = 4, FAR_CHANNELS = 2, FAR_TAPS = 4 }; /* places and weights of a sample take as long as it takes in one channel or so, four without lanes */
/* How many channels go together, at least so many: their taps lie in as many lines, which share sets of the first cache
 * where images are a power of two large. Fewer where not even one image lies in the second cache, and of several less of
 * each: unless places take long beside few taps. All where sizes are not known. */
static Dim channels_at_once(Lw *l, int taps, bool reflected)
{
    Dims *d = &l->m->dims;
    int64_t bytes = dtype_info(lw_elem(l, 0))->bits / 8, extent, cache = l->k->target.l2_bytes;
    for (int i = 2; i < lw_rank(l, 0); i++) {
        if (!dim_is_const(d, lw_dim(l, 0, i), &extent) || !extent) return lw_dim(l, 0, 1);
        bytes = bytes < cache ? bytes * (extent < cache ? extent : cache) : bytes;
    }
    if (bytes >= cache && taps >= FAR_TAPS && !reflected) return dim_const(d, FAR_CHANNELS);
    return dim_const(d, cache / bytes > CHANNELS ? cache / bytes : CHANNELS);
}

static bool lower(Lw *l, Node n)
{
    const Sample *a = ATTRS(l->g, n, Sample);
    int rank = lw_rank(l, 0), r = rank - 2, taps = taps_of(a);
    DType t = dtype_compute(lw_elem(l, 1)), e = dtype_compute(lw_elem(l, 0));
    Taps x = {.l = l, .r = r, .taps = taps, .sum = dtype_is_float(e) ? e : DT_F64}; /* sums of integers, truncated */
    KVal out[RANK_MAX], place[RANK_MAX];
    for (x.total = 1; x.written < r && x.total * taps <= WRITTEN_MAX; x.written++) x.total *= taps;
    lw_prepare_in(l);
    KBuf src = lw_in_strided(l, 0);
    lw_in_strided(l, 1);
    lw_out(l, 0);
    Kb *b = lw_kernel(l, "grid_sample");
    KVal zero = kb_i(b, 0);
    Dims *d = &l->m->dims;
    Dim channels = lw_dim(l, 0, 1), once = channels_at_once(l, x.total, padding_of(a) == REFLECTION);
    bool all = dim_le(d, channels, once) != TRI_NO;
    KVal first = zero, end = kb_dim(b, channels);
    for (int i = 0; i < rank; i++) {
        if (i == 1 && all) continue;
        out[i] = kb_for(b, KLOOP_PAR, zero, kb_dim(b, i == 1 ? dim_ceildiv(d, channels, once) : lw_out_dim(l, 0, i)));
    }
    if (!all) {
        first = kb_mul(b, out[1], kb_dim(b, once));
        end = kb_min(b, kb_add(b, first, kb_dim(b, once)), end);
    }
    place[0] = out[0];
    for (int i = 2; i < rank; i++) place[i - 1] = out[i];
    for (int i = 0; i < r; i++) {
        place[rank - 1] = kb_i(b, r - 1 - i);
        x.axis[i] = axis_taps(l, a, kb_cast(b, e == DT_F64 ? DT_F64 : t, lw_at(l, 1, place)), lw_dim(l, 0, 2 + i));
    }
    prepare_taps(&x);
    x.at[0] = out[0], x.at[1] = out[1] = kb_for(b, KLOOP_SEQ, first, end);
    x.x = kb_param(b, src, false);
    KVal sum = all_taps(&x, 0, (KVal){0}, (KVal){0}, (KVal){0});
    lw_put(l, 0, out, taps > 1 ? kb_cast(b, e, sum) : sum);
    lw_end_nest(l, all ? rank : rank + 1);
    lw_kernel_end(l);
    return true;
}

/* ---- eval: axis by axis, as the reference does ---- */

static double ev_reflect(double v, double lo, double hi)
{
    double range = hi - lo;
    if (range <= 0) return 0;
    while (v < lo || v > hi) v = v < lo ? 2 * lo - v : 2 * hi - v;
    return v;
}

typedef struct Walk { const Tensor *x; const Sample *a; const double *place; } Walk;
static double walk(const Walk *w, int axis, int64_t base)
{
    const Tensor *x = w->x;
    if (axis == x->rank) return ev_f(x, base);
    int taps = taps_of(w->a);
    int64_t n = x->dim[axis];
    double v = w->place[axis - 2], sum = 0, start = floor(v), lo = w->a->align_corners ? 0 : -0.5, hi = (double)n - (w->a->align_corners ? 1 : 0.5);
    for (int k = 0; k < taps; k++) {
        double i = start + k - (taps == 4), d = fabs(v - i);
        double c = taps == 1 ? 1 : taps == 2 ? 1 - d : d <= 1 ? 1.25 * d * d * d - 2.25 * d * d + 1 : -0.75 * d * d * d + 3.75 * d * d - 6 * d + 3;
        if (padding_of(w->a) == BORDER) i = i < 0 ? 0 : i > (double)n - 1 ? (double)n - 1 : i;
        if (padding_of(w->a) == REFLECTION) i = trunc(ev_reflect(i, lo, hi));
        if (i >= 0 && i < (double)n) sum += c * walk(w, axis + 1, base * n + (int64_t)i);
    }
    return sum;
}

/* The element that the place is in; -1: none. */
static int64_t nearest(const Walk *w, int64_t base)
{
    for (int axis = 2; axis < w->x->rank; axis++) {
        double v = w->place[axis - 2], n = (double)w->x->dim[axis], edge = w->a->align_corners ? 0 : 0.5;
        if (padding_of(w->a) == BORDER) v = v < 0 ? 0 : v > n - 1 ? n - 1 : v;
        if (padding_of(w->a) == REFLECTION) v = trunc(ev_reflect(v, -edge, n - 1 + edge));
        if (!(v >= 0 && v < n)) return -1;
        base = base * w->x->dim[axis] + (int64_t)v;
    }
    return base;
}

static bool eval_real(Eval *e, int which)
{
    (void)which;
    const Sample *a = ATTRS(e->g, e->n, Sample);
    const Tensor *x = e->in[0], *grid = e->in[1];
    int64_t dim[RANK_MAX], i[RANK_MAX], p[RANK_MAX];
    int r = x->rank - 2;
    for (int k = 0; k < x->rank; k++) dim[k] = k < 2 ? x->dim[k] : grid->dim[k - 1];
    Tensor *y = ev_out(e, 0, x->elem, x->rank, dim);
    for (int64_t k = 0; y && k < y->count; k++) {
        double place[RANK_MAX];
        unflatten(y, k, i);
        p[0] = i[0];
        for (int d = 2; d < x->rank; d++) p[d - 1] = i[d];
        for (int d = 0; d < r; d++) {
            p[x->rank - 1] = r - 1 - d;
            double g = ev_f(grid, flat_index(grid, p)), n = (double)x->dim[2 + d], v = a->align_corners ? (g + 1) / 2 * (n - 1) : ((g + 1) * n - 1) / 2;
            if (taps_of(a) == 1) v = rint(v);
            double edge = a->align_corners ? 0 : 0.5;
            if (padding_of(a) == BORDER && (v < -edge || v > n - 1 + edge)) v = v < 0 ? 0 : n - 1;
            if (padding_of(a) == REFLECTION) v = ev_reflect(v, a->align_corners ? 0 : -0.5, n - (a->align_corners ? 1 : 0.5));
            place[d] = v;
        }
        Walk w = {x, a, place};
        int64_t channel = i[0] * x->dim[1] + i[1], from = taps_of(a) == 1 ? nearest(&w, channel) : 0;
        if (taps_of(a) > 1) ev_set_f(y, k, walk(&w, 2, channel));
        else if (from >= 0) ev_copy(y, k, x, from);
    }
    return y != NULL;
}

static bool eval(Eval *e) { return dtype_is_complex(e->in[0]->elem) ? complex_eval(e, 1, eval_real) : eval_real(e, 0); }

/* Weights are real: the parts of complex numbers are sampled as two images. The nearest element is moved. */
static bool must_expand(const Graph *g, Node n) { return complex_first(g, n) && taps_of(ATTRS(g, n, Sample)) > 1; }
static bool expand(Graph *g, Node n) { return complex_expand(g, n, 1, NULL); }

const OpDesc op_GridSample = {.name = "GridSample", .since = 22, .cls = CLS_OPAQUE, .flags = OPF_STRIDED_OUT, .in = P_IN, .out = P_OUT, .attrs = ATTRS_,
                              .attrs_size = sizeof(Sample), .infer = infer, .lower = lower, .expand = expand, .must_expand = must_expand,
                              .grad = grad_grid_sample, .eval = eval};
