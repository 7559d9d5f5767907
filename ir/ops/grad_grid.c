/* grad_grid.c: derivatives of GridSample by X and by the places: the sample is written out in ordinary operators, those are differentiated, and of what was
 * written out only what the derivative reads stays.
 *   X[N, C, D..] as rows of channels [N, S, C];  places [N, P, r]
 *   y[n, p, :] = sum over taps of weight[n, p] * row[n, index[n, p]],  one GatherND for each combination of taps along the axes
 * Weights depend on the places, indices (rounded) do not. Formulas and edges are those of grid.c. */
#include "ir/ops/grad.h"
#include <string.h>

#define X gr_in(c, 0)

typedef enum Padding { ZEROS, BORDER, REFLECTION } Padding;
typedef struct Taps { Value at[4], weight[4], inside[4]; } Taps; /* along one axis, each [N, P] */

static Value both(Grad *c, OpCode op, Value a, Value b) { return ex2(&c->x, op, a, b); }
static Value floor_of(Grad *c, Value v) { return ex1(&c->x, OP_Floor, v); }

/* Reflected at lo and hi, which are of one element, till it lies between them. */
static Value reflect(Grad *c, Value v, Value lo, Value hi)
{
    Value below = both(c, OP_Less, v, lo), above = both(c, OP_Greater, v, hi), range = gr_sub(c, hi, lo);
    if (c->x.failed) return VALUE_NONE;
    Value flat = gr_test(c, OP_LessOrEqual, range, 0), wide = gr_where(c, flat, gr_num(c, 1, v), range);
    Value d = gr_where(c, below, gr_sub(c, lo, v), gr_sub(c, v, hi)), n = floor_of(c, gr_div(c, d, wide)), rest = gr_sub(c, d, gr_mul(c, n, wide));
    Value odd = gr_test(c, OP_Greater, gr_sub(c, n, gr_times(c, floor_of(c, gr_times(c, n, 0.5)), 2)), 0.5);
    Value back = gr_where(c, both(c, OP_Xor, below, odd), gr_add(c, lo, rest), gr_sub(c, hi, rest));
    return gr_where(c, flat, gr_num(c, 0, v), gr_where(c, both(c, OP_Or, below, above), back, v));
}

static void cubic_weights(Grad *c, Value x, Value *w)
{
    for (int k = 0; k < 4; k++) { /* distances x + 1, x, 1 - x, 2 - x */
        Value d = k == 0 ? gr_plus(c, x, 1) : k == 1 ? x : gr_sub(c, gr_num(c, k - 1, x), x);
        bool near = k == 1 || k == 2;
        Value h = gr_plus(c, gr_times(c, d, near ? 1.25 : -0.75), near ? -2.25 : 3.75);
        w[k] = gr_plus(c, gr_mul(c, gr_plus(c, gr_mul(c, h, d), near ? 0 : -6), d), near ? 1 : 3);
    }
}

static Taps taps_along(Grad *c, Value g, int axis, int taps, Padding pad)
{
    Ex *x = &c->x;
    Taps r = {.weight = {{0}}};
    bool align = gr_int(c, "align_corners");
    Value n = ex_shape_part(x, X, axis, axis + 1), len = ex_cast(x, n, gr_elem(c, g)), last = both(c, OP_Sub, n, ex_i(x, DT_I64, 1)), zero = ex_i(x, DT_I64, 0);
    if (x->failed) return r;
    Value end = gr_plus(c, len, -1), up = gr_plus(c, g, 1), lo = gr_num(c, align ? 0 : -0.5, g), hi = align ? end : gr_plus(c, len, -0.5);
    Value v = gr_times(c, align ? gr_mul(c, up, end) : gr_plus(c, gr_mul(c, up, len), -1), 0.5);
    if (taps == 1) v = ex1(x, OP_Round, v);
    if (x->failed) return r;
    if (pad == BORDER) {
        Value outside = both(c, OP_Or, both(c, OP_Less, v, lo), both(c, OP_Greater, v, hi));
        v = gr_where(c, outside, both(c, OP_Max, both(c, OP_Min, v, end), gr_num(c, 0, v)), v);
    }
    if (pad == REFLECTION) v = reflect(c, v, lo, hi);
    Value floor = floor_of(c, v), first = ex_cast(x, floor, DT_I64), part = gr_sub(c, v, floor);
    if (x->failed) return r;
    if (taps == 2) r.weight[0] = gr_sub(c, gr_num(c, 1, part), part), r.weight[1] = part;
    if (taps == 4) cubic_weights(c, part, r.weight);
    for (int k = 0; k < taps && !x->failed; k++) {
        Value i = both(c, OP_Add, first, ex_i(x, DT_I64, k - (taps == 4)));
        if (pad == REFLECTION) i = ex_cast(x, reflect(c, ex_cast(x, i, gr_elem(c, g)), lo, hi), DT_I64);
        if (pad != ZEROS) i = both(c, OP_Max, both(c, OP_Min, i, last), zero);
        r.at[k] = i;
        r.inside[k] = both(c, OP_And, both(c, OP_GreaterOrEqual, i, zero), both(c, OP_Less, i, n));
    }
    return r;
}

/* The samples, [N, C, O..], of the node's operands. */
static Value sample(Grad *c)
{
    Ex *x = &c->x;
    Dims *d = &c->g->m->dims;
    const char *mode = gr_string(c, "mode"), *padding = gr_string(c, "padding_mode");
    int taps = !strcmp(mode, "nearest") ? 1 : strstr(mode, "linear") ? 2 : 4, rank = gr_rank(c, X), r = rank - 2, total = 1;
    Padding pad = !strcmp(padding, "zeros") ? ZEROS : !strcmp(padding, "border") ? BORDER : REFLECTION;
    Dim batch = gr_dim(c, X, 0), channels = gr_dim(c, X, 1), pixels = dim_const(d, 1), places = dim_const(d, 1), out[RANK_MAX];
    out[0] = batch, out[1] = channels;
    for (int i = 0; i < r; i++) {
        pixels = dim_mul(d, pixels, gr_dim(c, X, 2 + i));
        places = dim_mul(d, places, out[2 + i] = gr_dim(c, gr_in(c, 1), 1 + i));
        total *= taps;
    }
    Value rows = ex_transpose(x, ex_shaped(x, X, (Dim[]){batch, channels, pixels}, 3), (int64_t[]){0, 2, 1}, 3);
    Value grid = ex_shaped(x, gr_in(c, 1), (Dim[]){batch, places, dim_const(d, r)}, 3), sum = VALUE_NONE, last = ex_int1(x, -1);
    if (x->failed) return VALUE_NONE;
    if (gr_elem(c, X) == DT_F64) grid = ex_cast(x, grid, DT_F64);
    Taps axis[4];
    for (int i = 0; i < r; i++) axis[i] = taps_along(c, ex_axis(x, OP_Gather, (Value[]){grid, ex_i(x, DT_I64, r - 1 - i)}, 2, 2), 2 + i, taps, pad);
    for (int k = 0; k < total && !x->failed; k++) {
        Value at = VALUE_NONE, in = VALUE_NONE, weight = VALUE_NONE;
        for (int i = 0, rest = k; i < r; i++, rest /= taps) {
            const Taps *t = &axis[i];
            int q = rest % taps;
            at = at.i ? both(c, OP_Add, both(c, OP_Mul, at, ex_shape_part(x, X, 2 + i, 3 + i)), t->at[q]) : t->at[q];
            in = in.i ? both(c, OP_And, in, t->inside[q]) : t->inside[q];
            if (taps > 1) weight = weight.i ? gr_mul(c, weight, t->weight[q]) : t->weight[q];
        }
        if (x->failed) return VALUE_NONE;
        weight = taps > 1 ? ex_cast(x, weight, gr_elem(c, X)) : ex_cast(x, in, gr_elem(c, X));
        if (x->failed) return VALUE_NONE;
        weight = gr_where(c, in, weight, gr_num(c, 0, X));
        at = gr_where(c, in, at, ex_i(x, DT_I64, 0));
        Value row = ex_op(x, OP_GatherND, (Value[]){rows, ex2(x, OP_Unsqueeze, at, last)}, 2, ex_set(x, OP_GatherND, NULL, "batch_dims", 1));
        Value part = gr_mul(c, row, ex2(x, OP_Unsqueeze, weight, last));
        sum = sum.i ? gr_add(c, sum, part) : part;
    }
    return ex_shaped(x, ex_transpose(x, sum, (int64_t[]){0, 2, 1}, 3), out, rank);
}

bool grad_grid_sample(Grad *c)
{
    Value y = sample(c);
    return gr_written_out(c, &y, 1);
}
