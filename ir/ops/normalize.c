/* normalize.c: normalisations in terms of others: InstanceNormalization and GroupNormalization are LayerNormalization of other rows, LpNormalization divides by a norm,
 * MeanVarianceNormalization by a deviation; LRN has a nest of its own.
 *   InstanceNormalization(x[N,C,...])  =  LayerNormalization(x, scale[C,1..], bias[C,1..]) {axis=2}
 *   GroupNormalization(x[N,C,...])     =  Reshape(LayerNormalization(Reshape(x, [N,G,-1]), 1) {axis=2}, Shape(x)) * scale[C,1..] + bias[C,1..] */
#include "ir/ops/axes.h"
#include "ir/ops/compose.h"
#include "ir/ops/grad.h"
#include <math.h>
#include <string.h>

static const Port P_SCALED[] = {{"input", DTS_FLOAT, 0, 1}, {"scale", DTS_FLOAT, 0, 1}, {"B", DTS_FLOAT, 0, 1}, PORT_END};
static const Port P_X[] = {{"X", DTS_FLOAT, 0, 1}, PORT_END};
static const Port P_Y[] = {{"Y", DTS_FLOAT, 0, 1}, PORT_END};
typedef struct Scaled { uint64_t set; double epsilon; int64_t num_groups, stash_type; } Scaled;
static const AttrSpec INSTANCE_ATTRS[] = {A_FLOAT(Scaled, epsilon, 1e-5), A_END};
static const AttrSpec GROUP_ATTRS[] = {A_FLOAT(Scaled, epsilon, 1e-5), A_INT(Scaled, num_groups, 0), A_INT(Scaled, stash_type, 1), A_END};

/* [C] against [N,C,...]: ones behind. */
static Value per_channel(Ex *x, Value v, int rank)
{
    int64_t axes[RANK_MAX];
    for (int i = 0; i < rank - 2; i++) axes[i] = 1 + i;
    return rank > 2 ? ex2(x, OP_Unsqueeze, v, ex_ints(x, axes, (uint32_t)rank - 2)) : v;
}

static bool instance_infer(Infer *c)
{
    if (!infer_need_rank(c, 0, 3, -1)) return false;
    for (uint32_t k = 1; k < 3; k++)
        if (!infer_need_rank(c, k, 1, 1) || !infer_must_eq(c, infer_dim(c, k, 0), infer_dim(c, 0, 1), "number of channels")) return false;
    return infer_like(c, 0, 0);
}

static bool instance_expand(Graph *g, Node n)
{
    Ex x = ex_begin(g, n);
    int rank = value_trec(g, node_in(g, n, 0))->rank;
    void *a = ex_set(&x, OP_LayerNormalization, NULL, "axis", 2);
    ex_set_f(&x, OP_LayerNormalization, a, "epsilon", ATTRS(g, n, Scaled)->epsilon);
    Value in[3] = {node_in(g, n, 0), per_channel(&x, node_in(g, n, 1), rank), per_channel(&x, node_in(g, n, 2), rank)};
    Value y = ex_op(&x, OP_LayerNormalization, in, 3, a);
    return ex_end(&x, &y, 1);
}

static bool group_infer(Infer *c)
{
    const Scaled *a = ATTRS(c->g, c->n, Scaled);
    if (!infer_need_rank(c, 0, 2, -1)) return false;
    if (a->num_groups < 1) return infer_fail(c, "num_groups must be positive");
    int64_t channels;
    if (dim_is_const(c->d, infer_dim(c, 0, 1), &channels) && channels % a->num_groups)
        return infer_fail(c, "%lld channels cannot be divided into %lld groups", (long long)channels, (long long)a->num_groups);
    Dim groups = dim_const(c->d, a->num_groups), many = infer_dim(c, 0, 1);
    if (!infer_must_eq(c, dim_mul(c->d, groups, dim_div(c->d, many, groups)), many, "number of channels in whole groups")) return false;
    many = infer_dim(c, 0, 1);
    for (uint32_t k = 1; k < 3; k++) {   /* before opset 21: one value per group */
        if (!infer_need_rank(c, k, 1, 1)) return false;
        Dim s = infer_dim(c, k, 0);
        int64_t given;
        if (dim_is(c->d, s, a->num_groups)) continue;
        if (dim_is_const(c->d, s, &given) || dim_is(c->d, many, a->num_groups) || dim_eq(c->d, s, many) == TRI_YES) {
            if (!infer_must_eq(c, s, many, "number of scales")) return false;
            continue;
        }
        Dim either = dim_mul(c->d, dim_sub(c->d, s, groups), dim_sub(c->d, s, many));
        if (!infer_must_eq(c, either, dim_const(c->d, 0), "scales: (scales - groups) * (scales - channels)")) return false;
    }
    return infer_must_eq(c, infer_dim(c, 1, 0), infer_dim(c, 2, 0), "number of scales") && infer_like(c, 0, 0);
}

/* Scales as many as channels: where only the run knows whether there is one for each or one for each group, the latter are
 * repeated. */
static Value all_channels(Ex *x, Value v, Dim channels)
{
    Dims *d = &x->g->m->dims;
    Dim one = dim_const(d, 1), have = dim_resolve(d, ex_type(x, v)->dim[0]);
    if (dim_eq(d, have, channels) == TRI_YES) return v;
    Dim per = dim_div(d, channels, dim_max(d, one, have));
    v = ex2(x, OP_Expand, ex2(x, OP_Unsqueeze, v, ex_int1(x, 1)), ex_dims(x, (Dim[]){have, per}, 2));
    return ex_shaped(x, v, &channels, 1);
}

static bool group_expand(Graph *g, Node n)
{
    const Scaled *a = ATTRS(g, n, Scaled);
    Ex x = ex_begin(g, n);
    Value in = node_in(g, n, 0);
    int rank = ex_type(&x, in)->rank;
    bool by_group = dim_is(&g->m->dims, ex_type(&x, node_in(g, n, 1))->dim[0], a->num_groups);   /* then either meaning is the same */
    Dim channels = dim_resolve(&g->m->dims, ex_type(&x, in)->dim[1]);
    void *attrs = ex_set(&x, OP_LayerNormalization, NULL, "axis", 2);
    ex_set_f(&x, OP_LayerNormalization, attrs, "epsilon", a->epsilon);
    ex_set(&x, OP_LayerNormalization, attrs, "stash_type", a->stash_type);
    Value rows = ex2(&x, OP_Reshape, in, ex_ints(&x, (int64_t[]){0, a->num_groups, -1}, 3)), s[2];
    for (uint32_t k = 0; k < 2; k++) s[k] = by_group ? ex2(&x, OP_Unsqueeze, node_in(g, n, 1 + k), ex_int1(&x, 1)) : per_channel(&x, all_channels(&x, node_in(g, n, 1 + k), channels), rank);
    if (by_group) {
        Value y = ex2(&x, OP_Reshape, ex_op(&x, OP_LayerNormalization, (Value[]){rows, s[0], s[1]}, 3, attrs), ex1(&x, OP_Shape, in));
        return ex_end(&x, &y, 1);
    }
    Value norm = ex_op(&x, OP_LayerNormalization, (Value[]){rows, ex_f(&x, ex_type(&x, in)->elem, 1)}, 2, attrs);
    Value y = ex2(&x, OP_Add, ex2(&x, OP_Mul, ex2(&x, OP_Reshape, norm, ex1(&x, OP_Shape, in)), s[0]), s[1]);
    return ex_end(&x, &y, 1);
}

/* Both: rows of `per` channels; the scale of a channel, or of its group. */
static bool scaled_eval(Eval *e)
{
    const Scaled *a = ATTRS(e->g, e->n, Scaled);
    const Tensor *x = e->in[0];
    int64_t channels = x->dim[1], groups = a->num_groups ? a->num_groups : channels, plane = 1, per = groups ? channels / groups : 0;
    for (int i = 2; i < x->rank; i++) plane *= x->dim[i];
    Tensor *y = ev_out(e, 0, x->elem, x->rank, x->dim);
    int64_t row = per * plane;
    double mean = 0, var = 0;
    for (int64_t k = 0; y && k < x->count; k++) {
        if (k % row == 0) {
            mean = var = 0;
            for (int64_t i = k; i < k + row; i++) mean += ev_f(x, i) / (double)row;
            for (int64_t i = k; i < k + row; i++) var += (ev_f(x, i) - mean) * (ev_f(x, i) - mean) / (double)row;
        }
        int64_t c = k / plane % channels, s = e->in[1]->count == channels ? c : c / per;
        ev_set_f(y, k, (ev_f(x, k) - mean) / sqrt(var + (double)(float)a->epsilon) * ev_f(e->in[1], s) + ev_f(e->in[2], s));
    }
    return y != NULL;
}

const OpDesc op_InstanceNormalization = {.name = "InstanceNormalization", .since = 22, .cls = CLS_ROW, .in = P_SCALED, .out = P_Y, .attrs = INSTANCE_ATTRS,
                                         .attrs_size = sizeof(Scaled), .infer = instance_infer, .expand = instance_expand, .eval = scaled_eval};
const OpDesc op_GroupNormalization = {.name = "GroupNormalization", .since = 21, .cls = CLS_ROW, .in = P_SCALED, .out = P_Y, .attrs = GROUP_ATTRS,
                                      .attrs_size = sizeof(Scaled), .infer = group_infer, .expand = group_expand, .eval = scaled_eval};

/* ---- LpNormalization: x / |x|_p along an axis; 0 where the norm is 0 ---- */

typedef struct Lp { uint64_t set; int64_t axis, p; } Lp;
static const AttrSpec LP_ATTRS[] = {A_INT(Lp, axis, -1), A_INT(Lp, p, 2), A_END};

static bool lp_infer(Infer *c)
{
    const Lp *a = ATTRS(c->g, c->n, Lp);
    int64_t axis = a->axis;
    if (a->p != 1 && a->p != 2) return infer_fail(c, "p=%lld: 1 and 2 are supported", (long long)a->p);
    return infer_need_rank(c, 0, 1, -1) && infer_axis(c, &axis, infer_rank(c, 0)) && infer_like(c, 0, 0);
}

static bool lp_expand(Graph *g, Node n)
{
    const Lp *a = ATTRS(g, n, Lp);
    Ex x = ex_begin(g, n);
    Value in = node_in(g, n, 0);
    DType t = ex_type(&x, in)->elem;
    Value norm = ex_reduce(&x, a->p == 1 ? OP_ReduceL1 : OP_ReduceL2, in, &a->axis, 1, true);
    norm = ex3(&x, OP_Where, ex2(&x, OP_Equal, norm, ex_f(&x, t, 0)), ex_f(&x, t, 1), norm);
    Value y = ex2(&x, OP_Div, in, norm);
    return ex_end(&x, &y, 1);
}

static bool lp_eval(Eval *e)
{
    const Lp *a = ATTRS(e->g, e->n, Lp);
    const Tensor *x = e->in[0];
    int axis = (int)(a->axis < 0 ? a->axis + x->rank : a->axis);
    int64_t inner = 1, len = x->dim[axis];
    for (int i = axis + 1; i < x->rank; i++) inner *= x->dim[i];
    Tensor *y = ev_out(e, 0, x->elem, x->rank, x->dim);
    for (int64_t row = 0; y && x->count && row < x->count / len; row++) {
        double sum = 0;
        int64_t base = row / inner * len * inner + row % inner;
        for (int64_t i = 0; i < len; i++) {
            double v = ev_f(x, base + i * inner);
            sum += a->p == 1 ? fabs(v) : v * v;
        }
        if (a->p == 2) sum = sqrt(sum);
        for (int64_t i = 0; i < len; i++) ev_set_f(y, base + i * inner, sum == 0 ? ev_f(x, base + i * inner) : ev_f(x, base + i * inner) / sum);
    }
    return y != NULL;
}

const OpDesc op_LpNormalization = {.name = "LpNormalization", .since = 22, .cls = CLS_ROW, .in = P_X, .out = P_Y, .attrs = LP_ATTRS, .attrs_size = sizeof(Lp),
                                   .infer = lp_infer, .expand = lp_expand, .eval = lp_eval};

/* ---- MeanVarianceNormalization: (x - mean) / (deviation + 1e-9) over axes ---- */

typedef struct Mvn { uint64_t set; AttrInts axes; } Mvn;
static const AttrSpec MVN_ATTRS[] = {A_INTS(Mvn, axes), A_END};
static const int64_t MVN_AXES[3] = {0, 2, 3};

static uint32_t mvn_axes(const Mvn *a, const int64_t **p)
{
    *p = a->set & 1 ? a->axes.p : MVN_AXES;
    return a->set & 1 ? a->axes.n : 3;
}

static bool mvn_infer(Infer *c)
{
    const int64_t *axes;
    bool mark[RANK_MAX];
    int64_t bad;
    uint32_t n = mvn_axes(ATTRS(c->g, c->n, Mvn), &axes);
    if (!infer_need_rank(c, 0, 0, -1)) return false;
    if (!axes_mark(axes, n, infer_rank(c, 0), mark, &bad)) return infer_fail(c, "axis %lld is out of range, or given twice", (long long)bad);
    return infer_like(c, 0, 0);
}

static bool mvn_expand(Graph *g, Node n)
{
    const int64_t *axes;
    uint32_t count = mvn_axes(ATTRS(g, n, Mvn), &axes);
    Ex x = ex_begin(g, n);
    Value in = node_in(g, n, 0);
    DType t = ex_type(&x, in)->elem;
    Value d = ex2(&x, OP_Sub, in, ex_reduce(&x, OP_ReduceMean, in, axes, count, true));
    Value deviation = ex1(&x, OP_Sqrt, ex_reduce(&x, OP_ReduceMean, ex2(&x, OP_Mul, d, d), axes, count, true));
    Value y = ex2(&x, OP_Div, d, ex2(&x, OP_Add, deviation, ex_f(&x, t, 1e-9)));
    return ex_end(&x, &y, 1);
}

static bool mvn_eval(Eval *e)
{
    const Tensor *x = e->in[0];
    const int64_t *axes;
    bool mark[RANK_MAX];
    int64_t bad;
    uint32_t n = mvn_axes(ATTRS(e->g, e->n, Mvn), &axes);
    if (!axes_mark(axes, n, x->rank, mark, &bad)) return ev_fail(e, "axis %lld is out of range", (long long)bad);
    Tensor *y = ev_out(e, 0, x->elem, x->rank, x->dim);
    int64_t each = 1;
    for (int r = 0; r < x->rank; r++)
        if (mark[r]) each *= x->dim[r];
    for (int64_t o = 0; y && x->count && o < x->count / each; o++) {
        double sum = 0, square = 0;
        for (int64_t q = 0; q < each; q++) sum += ev_f(x, group_place(x, mark, o, q));
        double mean = sum / (double)each;
        for (int64_t q = 0; q < each; q++) square += pow(ev_f(x, group_place(x, mark, o, q)) - mean, 2);
        for (int64_t q = 0; q < each; q++) {
            int64_t at = group_place(x, mark, o, q);
            ev_set_f(y, at, (ev_f(x, at) - mean) / (sqrt(square / (double)each) + 1e-9));
        }
    }
    return y != NULL;
}

const OpDesc op_MeanVarianceNormalization = {.name = "MeanVarianceNormalization", .since = 13, .cls = CLS_ROW, .in = P_X, .out = P_Y, .attrs = MVN_ATTRS,
                                             .attrs_size = sizeof(Mvn), .infer = mvn_infer, .expand = mvn_expand, .eval = mvn_eval};

/* ---- LRN: y[n,c,...] = x / (bias + alpha / size * sum over the window of channels of x^2) ^ beta ---- */

typedef struct Lrn { uint64_t set; double alpha, beta, bias; int64_t size; } Lrn;
static const AttrSpec LRN_ATTRS[] = {A_FLOAT(Lrn, alpha, 1e-4), A_FLOAT(Lrn, beta, 0.75), A_FLOAT(Lrn, bias, 1), A_INT(Lrn, size, 0), A_END};

static bool lrn_infer(Infer *c)
{
    if (ATTRS(c->g, c->n, Lrn)->size < 1) return infer_fail(c, "size must be positive");
    return infer_need_rank(c, 0, 2, -1) && infer_like(c, 0, 0);
}

static bool lrn_lower(Lw *l, Node n)
{
    const Lrn *a = ATTRS(l->g, n, Lrn);
    DType t = dtype_compute(lw_elem(l, 0));
    KVal idx[RANK_MAX], at[RANK_MAX];
    lw_prepare_in(l);
    lw_in_strided(l, 0);
    lw_out(l, 0);
    Kb *b = lw_kernel(l, "lrn");
    lw_nest_over(l, 0, idx);
    memcpy(at, idx, sizeof at);
    KVal zero = kb_const_f(b, t, 0), lo = kb_max(b, kb_sub(b, idx[1], kb_i(b, (a->size - 1) / 2)), kb_i(b, 0));
    KVal hi = kb_min(b, kb_add(b, idx[1], kb_i(b, a->size / 2 + 1)), kb_dim(b, lw_dim(l, 0, 1)));
    KbLoop loop;
    kb_loop(b, &loop, KLOOP_SEQ, lo, hi, 1, &zero, NULL);
    at[1] = loop.iv;
    KVal v = lw_at(l, 0, at), next = kb_add(b, loop.carry[0], kb_mul(b, v, v));
    kb_loop_end(b, &loop, &next);
    KVal base = kb_add(b, kb_const_f(b, t, (double)(float)a->bias), kb_mul(b, kb_const_f(b, t, (double)(float)a->alpha / (double)a->size), loop.result[0]));
    lw_put(l, 0, idx, kb_div(b, lw_at(l, 0, idx), kb_bin(b, KOP_POW, base, kb_const_f(b, t, (double)(float)a->beta))));
    lw_end_nest(l, lw_out_rank(l, 0));
    lw_kernel_end(l);
    return true;
}

static bool lrn_eval(Eval *e)
{
    const Lrn *a = ATTRS(e->g, e->n, Lrn);
    const Tensor *x = e->in[0];
    int64_t plane = 1, channels = x->dim[1];
    for (int i = 2; i < x->rank; i++) plane *= x->dim[i];
    Tensor *y = ev_out(e, 0, x->elem, x->rank, x->dim);
    for (int64_t k = 0; y && k < x->count; k++) {
        double sum = 0;
        int64_t c = k / plane % channels;
        for (int64_t i = 0; i < channels; i++)
            if (i >= c - (a->size - 1) / 2 && i <= c + a->size / 2) sum += pow(ev_f(x, k + (i - c) * plane), 2);
        ev_set_f(y, k, ev_f(x, k) / pow((double)(float)a->bias + (double)(float)a->alpha / (double)a->size * sum, (double)(float)a->beta));
    }
    return y != NULL;
}

const OpDesc op_LRN = {.name = "LRN", .since = 13, .cls = CLS_WINDOW, .flags = OPF_STRIDED_OUT, .in = P_X, .out = P_Y, .attrs = LRN_ATTRS, .attrs_size = sizeof(Lrn),
                       .infer = lrn_infer, .lower = lrn_lower, .grad = grad_lrn, .eval = lrn_eval};
