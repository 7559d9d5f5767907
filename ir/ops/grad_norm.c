/* grad_norm.c: derivatives of softmax and normalisations.
 *   normalised over a set of axes, u = (x - mean) inv, inv = 1/sqrt(var + epsilon), y = u scale + bias:
 *     g = dy scale,   dx = inv (g - mean(g) - u mean(g u)),   dscale = sum dy u,   dbias = sum dy
 * Computed in float32 at least, as the operators themselves are. */
#include "ir/ops/grad.h"

#define X gr_in(c, 0)

/* ---- Softmax, LogSoftmax ---- */

static Value along_axis(Grad *c, Value v)
{
    int64_t axis = gr_int(c, "axis");
    return gr_sum(c, v, &axis, 1, true);
}

bool grad_softmax(Grad *c)
{
    Value y = gr_out(c, 0), weighted = gr_mul(c, gr_dy(c), y);
    return gr_set(c, 0, gr_sub(c, weighted, gr_mul(c, y, along_axis(c, weighted)))), true;
}

bool grad_log_softmax(Grad *c)
{
    Value dy = gr_dy(c), p = ex1(&c->x, OP_Exp, gr_out(c, 0));
    return gr_set(c, 0, gr_sub(c, dy, gr_mul(c, p, along_axis(c, dy)))), true;
}

/* ---- what normalisations share ---- */

typedef struct Stat { int64_t axes[RANK_MAX]; uint32_t n; Value centred, inv, u; } Stat;

static Value mean(Grad *c, Value v, const Stat *s) { return s->n ? ex_reduce(&c->x, OP_ReduceMean, v, s->axes, s->n, true) : v; }

static Value inverse_root(Grad *c, Value var) { return ex1(&c->x, OP_Reciprocal, ex1(&c->x, OP_Sqrt, gr_plus(c, var, gr_float(c, "epsilon")))); }

static void statistics(Grad *c, Value x, bool centre, Stat *s)
{
    s->centred = centre ? gr_sub(c, x, mean(c, x, s)) : x;
    s->inv = inverse_root(c, mean(c, gr_square(c, s->centred), s));
    s->u = gr_mul(c, s->centred, s->inv);
}

/* dx of u, whose adjoint is g. */
static Value through(Grad *c, const Stat *s, Value g, bool centre)
{
    Value rest = gr_sub(c, g, gr_mul(c, s->u, mean(c, gr_mul(c, g, s->u), s)));
    return gr_mul(c, s->inv, centre ? gr_sub(c, rest, mean(c, g, s)) : rest);
}

static DType wide(DType t) { return t == DT_F64 ? DT_F64 : DT_F32; }

/* ---- LayerNormalization, RMSNormalization ---- */

static bool row_norm(Grad *c, bool centre)
{
    int rank = gr_rank(c, X), axis = (int)gr_int(c, "axis");
    Stat s = {.n = 0};
    DType t = wide(gr_elem(c, X));
    Value x = ex_cast(&c->x, X, t), scale = ex_cast(&c->x, gr_in(c, 1), t), dx = VALUE_NONE;
    for (int i = axis < 0 ? axis + rank : axis; i < rank; i++) s.axes[s.n++] = i;
    statistics(c, x, centre, &s);
    if (c->dy[0].i) {
        Value dy = ex_cast(&c->x, c->dy[0], t);
        dx = through(c, &s, gr_mul(c, dy, scale), centre);
        if (gr_need(c, 1)) gr_set(c, 1, gr_mul(c, dy, s.u));
        if (gr_need(c, 2)) gr_set(c, 2, dy);
    }
    for (uint32_t r = 1; r < node_n_out(c->g, c->n); r++) { /* Mean: 1/n of it each; InvStdDev: -inv^2 u / n */
        if (!c->dy[r].i) continue;
        Value dy = ex_cast(&c->x, c->dy[r], t), each = gr_div(c, dy, gr_div(c, gr_count(c, x, t), gr_count(c, dy, t)));
        Value more = r == 1 ? gr_expand(c, each, x) : gr_neg(c, gr_mul(c, gr_mul(c, each, gr_square(c, s.inv)), s.u));
        dx = dx.i ? gr_add(c, dx, more) : more;
    }
    return gr_set(c, 0, dx), true;
}

bool grad_layer_norm(Grad *c) { return row_norm(c, true); }
bool grad_rms_norm(Grad *c) { return row_norm(c, false); }

/* ---- BatchNormalization ---- */

/* Values per channel beside x[N, C, ...]. */
static Value channels(Grad *c, Value v)
{
    int64_t axes[RANK_MAX];
    int n = gr_rank(c, X) - 2;
    for (int i = 0; i < n; i++) axes[i] = i + 1;
    v = ex_cast(&c->x, v, wide(gr_elem(c, X)));
    return n ? ex2(&c->x, OP_Unsqueeze, v, ex_ints(&c->x, axes, (uint32_t)n)) : v;
}

/* Handed over per channel: summed over everything else. */
static void set_channels(Grad *c, uint32_t k, Value v)
{
    int64_t axes[RANK_MAX];
    uint32_t n = 0;
    for (int i = 0; i < gr_rank(c, X); i++)
        if (i != 1) axes[n++] = i;
    if (gr_need(c, k)) gr_set(c, k, gr_sum(c, v, axes, n, false));
}

/* The mean and the variance of the batch go into results of their own, too:  running = given momentum + the batch's (1 - momentum) */
static bool batch_training(Grad *c)
{
    Stat s = {.n = 0};
    DType t = wide(gr_elem(c, X));
    double momentum = gr_float(c, "momentum");
    Value x = ex_cast(&c->x, X, t), dx = VALUE_NONE;
    for (int i = 0; i < gr_rank(c, X); i++)
        if (i != 1) s.axes[s.n++] = i;
    statistics(c, x, true, &s);
    if (c->dy[0].i) {
        Value dy = ex_cast(&c->x, c->dy[0], t);
        dx = through(c, &s, gr_mul(c, dy, channels(c, gr_in(c, 1))), true);
        if (gr_need(c, 1)) set_channels(c, 1, gr_mul(c, dy, s.u));
        set_channels(c, 2, dy);
    }
    for (uint32_t r = 1; r < node_n_out(c->g, c->n); r++) {
        if (!c->dy[r].i) continue;
        Value dy = ex_cast(&c->x, c->dy[r], t), per = gr_div(c, gr_count(c, x, t), gr_count(c, dy, t));
        Value each = channels(c, gr_div(c, gr_times(c, dy, 1 - momentum), per));
        Value more = r == 1 ? gr_expand(c, each, x) : gr_mul(c, gr_times(c, each, 2), s.centred);
        dx = dx.i ? gr_add(c, dx, more) : more;
        if (gr_need(c, 2 + r)) gr_set(c, 2 + r, gr_times(c, dy, momentum));
    }
    return gr_set(c, 0, dx), true;
}

bool grad_batch_norm(Grad *c)
{
    if (gr_int(c, "training_mode")) return batch_training(c);
    if (!gr_int(c, "spatial")) { /* a factor for each element of a picture: they broadcast as they are */
        Ex *x = &c->x;
        DType t = wide(gr_elem(c, X));
        Value part[5];
        for (uint32_t k = 0; k < 5; k++) part[k] = ex_cast(x, gr_in(c, k), t);
        Value y = gr_mul(c, gr_sub(c, part[0], part[3]), gr_mul(c, part[1], inverse_root(c, part[4])));
        y = ex_cast(x, gr_add(c, y, part[2]), gr_elem(c, gr_out(c, 0)));
        return gr_written_out(c, &y, 1);
    }
    Value dy = ex_cast(&c->x, gr_dy(c), wide(gr_elem(c, X))), x = ex_cast(&c->x, X, wide(gr_elem(c, X)));
    Value inv = inverse_root(c, channels(c, gr_in(c, 4))), slope = gr_mul(c, channels(c, gr_in(c, 1)), inv);
    Value centred = gr_need(c, 1) || gr_need(c, 4) ? gr_sub(c, x, channels(c, gr_in(c, 3))) : VALUE_NONE;
    if (gr_need(c, 0)) gr_set(c, 0, gr_mul(c, dy, slope));
    if (gr_need(c, 1)) set_channels(c, 1, gr_mul(c, dy, gr_mul(c, centred, inv)));
    set_channels(c, 2, dy);
    if (gr_need(c, 3)) set_channels(c, 3, gr_neg(c, gr_mul(c, dy, slope)));
    if (gr_need(c, 4)) set_channels(c, 4, gr_times(c, gr_mul(c, gr_mul(c, dy, slope), gr_mul(c, centred, gr_square(c, inv))), -0.5));
    return true;
}

/* ---- LRN ---- */

/* Sums over `size` neighbouring channels, `before` of them in front: v[N, C, rest] as an image of one channel, averaged over windows of [size, 1]. */
static Value neighbours(Grad *c, Value v, int64_t size, int64_t before)
{
    Ex *x = &c->x;
    int64_t kernel[2] = {size, 1}, pads[4] = {before, 0, size - 1 - before, 0};
    Value part[4] = {ex_shape_part(x, v, 0, 1), ex_int1(x, 1), ex_shape_part(x, v, 1, 2), ex_int1(x, -1)};
    Value image = ex2(x, OP_Reshape, v, ex_axis(x, OP_Concat, part, 4, 0));
    void *attrs = ex_set_ints(x, OP_AveragePool, ex_set_ints(x, OP_AveragePool, NULL, "kernel_shape", kernel, 2), "pads", pads, 4);
    Value m = ex_op(x, OP_AveragePool, &image, 1, ex_set(x, OP_AveragePool, attrs, "count_include_pad", 1));
    return gr_reshape(c, gr_times(c, m, (double)size), v);
}

/* y = x s^-beta, s = bias + alpha/size sum of squares around:  dx = dy s^-beta - 2 alpha beta / size x sum around (dy y / s) */
bool grad_lrn(Grad *c)
{
    int64_t size = gr_int(c, "size"), before = (size - 1) / 2;
    double alpha = gr_float(c, "alpha") / (double)size, beta = gr_float(c, "beta");
    Value s = gr_plus(c, gr_times(c, neighbours(c, gr_square(c, X), size, before), alpha), gr_float(c, "bias"));
    Value direct = gr_mul(c, gr_dy(c), ex2(&c->x, OP_Pow, s, gr_num(c, -beta, s)));
    Value around = neighbours(c, gr_div(c, gr_mul(c, gr_dy(c), gr_out(c, 0)), s), size, size - 1 - before);
    return gr_set(c, 0, gr_sub(c, direct, gr_mul(c, gr_times(c, X, 2 * alpha * beta), around))), true;
}
