/* resize_table.c: tables of Resize: for each position o of the result along an axis the positions of the input that it
 * is made of, clamped to the input, and their weights.
 *   c = coordinate of o in the input      first = floor(c) + 1 - taps/2      index[t][o] = clamp(first + t)
 *   weight[t][o] = K(|first + t - c| * s)       K: the hat 1-x, or the cubic kernel; s < 1 where antialias stretches it
 * Kernel IR's builder folds constants: where all is known, the same code that makes the kernel gives the tables' numbers. */
#include "ir/ops/resize.h"
#include <assert.h>
#include <math.h>

#define TABLE_MAX 4096 /* elements that are worth computing now */

typedef struct Rt {
    Lw *l;
    Kb *b;
    const ResizeCase *c;
    const ResizeAxis *a;
    DType acc;
    KVal scale, start, end;
} Rt;

static KVal real(Rt *x, double v) { return kb_const_f(x->b, DT_F64, v); }
static KVal to_real(Rt *x, KVal v) { return kb_cast(x->b, DT_F64, v); }
static KVal to_int(Rt *x, KVal v) { return kb_cast(x->b, DT_I64, v); }

KVal resize_scale(Lw *l, const ResizeCase *c, int i, KBuf scales)
{
    Kb *b = l->b;
    const ResizeAxis *a = &c->axis[i];
    if (a->known) return kb_const_f(b, DT_F64, a->scale);
    if (c->by == BY_SIZES && c->keep == KEEP_STRETCH)
        return kb_div(b, kb_cast(b, DT_F64, kb_dim(b, lw_out_dim(l, 0, i))), kb_cast(b, DT_F64, kb_dim(b, a->in)));
    KVal k = kb_i(b, a->slot);
    return kb_cast(b, DT_F64, kb_load(b, kb_param(b, scales, false), &k));
}

/* v / scale. A scale that only the run knows is the float32 next to what is meant: so is the quotient, or 8 / 1.6f would lie below 5
 * and be rounded down to 4 (a known one stands for its fraction: resize.c). */
static KVal over_scale(Rt *x, KVal v)
{
    KVal q = kb_div(x->b, v, x->scale);
    return x->c->mode == RESIZE_NEAREST && !x->a->known && x->c->by == BY_SCALES ? kb_cast(x->b, DT_F64, kb_cast(x->b, DT_F32, q)) : q;
}

/* Where element o of the result lies in the input, as f64. */
static KVal coordinate(Rt *x, KVal o)
{
    Kb *b = x->b;
    Dim to = x->a->out;
    KVal at = to_real(x, o), in = to_real(x, kb_dim(b, x->a->in)), out = to_real(x, kb_dim(b, to)), half = real(x, 0.5), one = real(x, 1), zero = real(x, 0);
    KVal centre = over_scale(x, kb_add(b, at, half)), pixel = kb_sub(b, centre, half), last = kb_sub(b, in, one), wide = kb_mul(b, x->scale, in);
    switch (x->c->coord) {
    case COORD_HALF_PIXEL: return pixel;
    case COORD_ASYMMETRIC: return over_scale(x, at);
    case COORD_HALF_NN: return kb_select(b, kb_eq(b, x->scale, one), at, centre);
    case COORD_PYTORCH: return kb_select(b, kb_bin(b, KOP_GT, out, one), pixel, zero);
    case COORD_SYMMETRIC: /* the centres of both lie on each other */
        return kb_add(b, kb_mul(b, kb_mul(b, in, half), kb_sub(b, one, kb_div(b, out, wide))), pixel);
    case COORD_CORNERS: {
        KVal flat = kb_eq(b, wide, one);
        return kb_select(b, flat, zero, kb_div(b, kb_mul(b, at, last), kb_select(b, flat, one, kb_sub(b, wide, one))));
    }
    default: { /* COORD_CROP: the quotient last, as the definition has it, so that the last element lies on the edge, not behind it */
        KVal part = kb_sub(b, x->end, x->start), many = kb_bin(b, KOP_GT, out, one);
        KVal far = kb_div(b, kb_mul(b, kb_mul(b, at, part), last), kb_select(b, many, kb_sub(b, out, one), one));
        KVal spread = kb_add(b, kb_mul(b, x->start, last), far);
        return kb_select(b, many, spread, kb_mul(b, kb_mul(b, half, kb_add(b, x->start, x->end)), last));
    }
    }
}

static KVal rounded(Rt *x, KVal c)
{
    Kb *b = x->b;
    switch (x->c->round) {
    case ROUND_FLOOR: return kb_un(b, KOP_FLOOR, c);
    case ROUND_CEIL: return kb_un(b, KOP_CEIL, c);
    case ROUND_OUTWARD: return kb_select(b, kb_lt(b, x->scale, real(x, 1)), kb_un(b, KOP_CEIL, c), kb_un(b, KOP_FLOOR, c));
    case ROUND_PREFER_CEIL: return kb_un(b, KOP_FLOOR, kb_add(b, c, real(x, 0.5)));
    default: return kb_un(b, KOP_CEIL, kb_sub(b, c, real(x, 0.5)));
    }
}

/* K(d), d >= 0. */
static KVal kernel_at(Rt *x, KVal d)
{
    Kb *b = x->b;
    KVal one = real(x, 1), zero = real(x, 0);
    if (x->c->mode == RESIZE_LINEAR) return kb_max(b, zero, kb_sub(b, one, d));
    double a = x->c->a->cubic_coeff_a;
    KVal dd = kb_mul(b, d, d);
    KVal near = kb_add(b, kb_mul(b, dd, kb_sub(b, kb_mul(b, real(x, a + 2), d), real(x, a + 3))), one);
    KVal far = kb_mul(b, real(x, a), kb_sub(b, kb_mul(b, kb_add(b, kb_mul(b, kb_sub(b, d, real(x, 5)), d), real(x, 8)), d), real(x, 4)));
    return kb_select(b, kb_bin(b, KOP_LE, d, one), near, kb_select(b, kb_lt(b, d, real(x, 2)), far, zero));
}

typedef struct Place { KVal c, first, stretch, out; } Place; /* of one o; out: outside the input (crop), or 0 */

static Place place(Rt *x, KVal o, KVal taps)
{
    Kb *b = x->b;
    Place p = {.c = coordinate(x, o)};
    if (x->c->coord == COORD_CROP) {
        KVal last = to_real(x, kb_sub(b, kb_dim(b, x->a->in), kb_i(b, 1)));
        p.out = kb_bin(b, KOP_OR, kb_lt(b, p.c, real(x, 0)), kb_bin(b, KOP_GT, p.c, last));
    }
    if (x->c->mode == RESIZE_NEAREST) {
        p.first = to_int(x, rounded(x, p.c));
        return p;
    }
    KVal floor = kb_un(b, KOP_FLOOR, p.c), half = kb_bin(b, KOP_FLOORDIV, taps, kb_i(b, 2));
    if (x->c->a->antialias) /* as many on the left of a position that is a pixel as the definition takes */
        floor = kb_select(b, kb_eq(b, floor, p.c), kb_sub(b, floor, real(x, 1)), floor);
    p.first = kb_sub(b, kb_add(b, to_int(x, floor), kb_i(b, 1)), half);
    p.stretch = x->c->a->antialias ? kb_min(b, x->scale, real(x, 1)) : real(x, 1);
    return p;
}

static KVal index_at(Rt *x, const Place *p, KVal t)
{
    Kb *b = x->b;
    KVal last = kb_sub(b, kb_dim(b, x->a->in), kb_i(b, 1)), i = kb_max(b, kb_i(b, 0), kb_min(b, last, kb_add(b, p->first, t)));
    return p->out.i ? kb_select(b, p->out, kb_i(b, -1), i) : i;
}

static KVal weight_at(Rt *x, const Place *p, KVal t)
{
    Kb *b = x->b;
    KVal at = kb_add(b, p->first, t), d = kb_un(b, KOP_ABS, kb_sub(b, to_real(x, at), p->c)), w = kernel_at(x, kb_mul(b, d, p->stretch));
    if (!x->c->a->exclude_outside) return w;
    KVal inside = kb_and(b, kb_ge(b, at, kb_i(b, 0)), kb_lt(b, at, kb_dim(b, x->a->in)));
    return kb_select(b, inside, w, real(x, 0));
}

static bool weights_sum_to_one(const ResizeCase *c) { return !c->a->antialias && !c->a->exclude_outside; }

/* ---- numbers now ---- */

static double number(Kb *b, KVal v)
{
    const Kernel *k = kb_kernel(b);
    const KInstRec *r = kinst(k, kval(k, v)->def);
    assert(r->op == KOP_CONST);
    return dtype_is_float(r->type) ? r->imm.f : (double)r->imm.i;
}

/* Each of `in` elements so many times in a row; 0: something else. */
static int64_t repeated(const int32_t *index, int64_t in, int64_t out)
{
    if (out % in) return 0;
    for (int64_t o = 0; o < out; o++)
        if (index[o] != o / (out / in)) return 0;
    return out / in;
}

static bool constants(Rt *x, ResizeTable *t)
{
    Lw *l = x->l;
    int64_t in, out, n = t->n_taps;
    Dims *d = &l->m->dims;
    if (!n || !x->a->known || !x->a->roi_known || !dim_is_const(d, x->a->in, &in) || !dim_is_const(d, x->a->out, &out)) return false;
    if (out < 1 || out > TABLE_MAX / n) return false;
    int32_t *index = arena_array(l->m->arena, int32_t, out * n);
    float *w32 = arena_array(l->m->arena, float, out * n);
    double *w64 = arena_array(l->m->arena, double, out * n);
    Kb *b = x->b = l->b = kb_new(l->k, "table", l->loc); /* never finished: its instructions fold */
    x->scale = resize_scale(l, x->c, (int)(x->a - x->c->axis), (KBuf){0});
    x->start = real(x, x->a->start);
    x->end = real(x, x->a->end);
    for (int64_t o = 0; o < out; o++) {
        Place p = place(x, kb_i(b, o), kb_i(b, n));
        double sum = 0;
        for (int64_t k = 0; k < n; k++) {
            index[k * out + o] = (int32_t)number(b, index_at(x, &p, kb_i(b, k)));
            if (x->c->mode != RESIZE_NEAREST) sum += w64[k * out + o] = number(b, weight_at(x, &p, kb_i(b, k)));
        }
        for (int64_t k = 0; k < n; k++) {
            if (!weights_sum_to_one(x->c)) w64[k * out + o] /= sum;
            w32[k * out + o] = (float)w64[k * out + o];
        }
    }
    l->b = NULL;
    if (x->c->mode == RESIZE_NEAREST && n == 1 && (t->times = repeated(index, in, out))) return true;
    Dim dim[2] = {t->taps, x->a->out}; /* lanes are positions */
    t->index = lw_const_buf(l, blob_inline(&l->m->blobs, DT_I32, out * n, index), "index", 2, dim);
    if (x->c->mode == RESIZE_NEAREST) return true;
    bool wide = x->acc == DT_F64;
    t->weight = lw_const_buf(l, blob_inline(&l->m->blobs, x->acc, out * n, wide ? (void *)w64 : (void *)w32), "weight", 2, dim);
    return true;
}

/* ---- numbers while running ---- */

bool resize_table(Lw *l, const ResizeCase *c, int i, DType acc, KBuf roi, KBuf scales, Dim taps, ResizeTable *t)
{
    Rt x = {.l = l, .c = c, .a = &c->axis[i], .acc = acc};
    *t = (ResizeTable){.taps = taps, .crop = c->coord == COORD_CROP};
    if (!dim_is_const(&l->m->dims, taps, &t->n_taps)) t->n_taps = 0;
    if (constants(&x, t)) return true;
    Dim dim[2] = {taps, x.a->out};
    t->index = lw_temp(l, DT_I32, 2, dim);
    bool nearest = c->mode == RESIZE_NEAREST;
    if (!nearest) t->weight = lw_temp(l, acc, 2, dim);
    Kb *b = x.b = lw_kernel(l, "resize_table");
    KVal to[2], n = kb_dim(b, taps), zero = kb_i(b, 0), sum = real(&x, 0), inverse = real(&x, 1);
    x.scale = resize_scale(l, c, i, scales);
    x.start = real(&x, x.a->start);
    x.end = real(&x, x.a->end);
    if (c->coord == COORD_CROP && !x.a->roi_known) {
        KVal s = kb_i(b, x.a->slot), e = kb_i(b, c->n_slot + x.a->slot);
        x.start = to_real(&x, kb_load(b, kb_param(b, roi, false), &s));
        x.end = to_real(&x, kb_load(b, kb_param(b, roi, false), &e));
    }
    to[1] = kb_for(b, KLOOP_PAR, zero, kb_dim(b, dim[1]));
    Place p = place(&x, to[1], n);
    if (!nearest && !weights_sum_to_one(c)) {
        KbLoop loop;
        kb_loop(b, &loop, KLOOP_SEQ, zero, n, 1, &sum, NULL);
        KVal next = kb_add(b, loop.carry[0], weight_at(&x, &p, loop.iv));
        kb_loop_end(b, &loop, &next);
        inverse = kb_div(b, real(&x, 1), loop.result[0]);
    }
    to[0] = kb_for(b, KLOOP_SEQ, zero, n);
    kb_store(b, kb_param(b, t->index, true), to, kb_cast(b, DT_I32, index_at(&x, &p, to[0])));
    if (!nearest) kb_store(b, kb_param(b, t->weight, true), to, kb_cast(b, acc, kb_mul(b, weight_at(&x, &p, to[0]), inverse)));
    kb_end(b);
    kb_end(b);
    lw_kernel_end(l);
    return true;
}
