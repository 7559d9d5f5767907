/* quant.c: QuantizeLinear and DequantizeLinear, per tensor, per axis or in blocks.
 *   y = saturate(round(x / scale) + zero)         round to nearest, ties to even, before zero is added
 *   y = (x - zero) * scale
 * (also under com.microsoft). Both expand into internal element-wise ops whose scale and zero point broadcast as
 * numpy's do, so that they join groups:
 *   QuantizeLinear(x[N,C,H], s[C], z[C]) {axis=1}     =>   Quantize(x, Reshape(s, [C,1]), Reshape(z, [C,1])) {to=..}
 *   DequantizeLinear(x[N,70], s[N,3]) {block_size=32} =>   Dequantize(x, Repeat(s) {axis=1, block=32, size=[70]})
 * Quantize without a scale only rounds. Repeat is a route: element i of its axis comes from i / block. The division
 * is done in the type of `scale` (or `precision`). */
#include "ir/ops/grad.h"
#include "ir/ops/internal.h"
#include "ir/ops/quant.h"
#include <math.h>
#include <string.h>

#define DTS_SCALE (DTS(DT_F32) | DTS(DT_F16) | DTS(DT_BF16) | DTS(DT_F8E8M0))
#define DTS_QSCALE (DTS_SCALE | DTS(DT_I32))
#define DTS_QINT                                                                                                       \
    (DTS(DT_I8) | DTS(DT_U8) | DTS(DT_I16) | DTS(DT_U16) | DTS(DT_I4) | DTS(DT_U4) | DTS(DT_I2) | DTS(DT_U2))
#define DTS_Q (DTS_QINT | DTS_FLOAT8 | DTS_FLOAT6 | DTS(DT_F4E2M1))
#define DTS_X (DTS(DT_F32) | DTS(DT_F16) | DTS(DT_BF16) | DTS(DT_I32))
static const Port P_Q_IN[] = {
    {"x", DTS_X, 0, 0}, {"y_scale", DTS_QSCALE, 0, 0}, {"y_zero_point", DTS_Q, PORT_OPTIONAL, 0}, PORT_END};
static const Port P_Q_OUT[] = {{"y", DTS_Q, 0, 0}, PORT_END};
static const Port P_Q1_IN[] = {
    {"x", DTS_X, 0, 0}, {"y_scale", DTS_QSCALE, PORT_OPTIONAL, 0}, {"y_zero_point", DTS_Q, PORT_OPTIONAL, 0}, PORT_END};
static const Port P_D_IN[] = {{"x", DTS_Q | DTS(DT_I32), 0, 1},
                              {"x_scale", DTS_SCALE, 0, 0},
                              {"x_zero_point", DTS_Q | DTS(DT_I32), PORT_OPTIONAL, 1},
                              PORT_END};
static const Port P_D_OUT[] = {{"y", DTS_FLOAT, 0, 0}, PORT_END};
static const Port P_R_IN[] = {{"x", DTS_ANY | DTS_SMALL, 0, 1}, PORT_END};
static const Port P_R_OUT[] = {{"y", DTS_ANY | DTS_SMALL, 0, 1}, PORT_END};

typedef struct Linear {
    uint64_t set;
    int64_t axis, saturate, block_size, output_dtype, precision;
} Linear;
static const AttrSpec Q_ATTRS[] = {A_INT(Linear, axis, 1),       A_INT(Linear, saturate, 1),
                                   A_INT(Linear, block_size, 0), A_TYPE(Linear, output_dtype, 0),
                                   A_TYPE(Linear, precision, 0), A_END};
static const AttrSpec D_ATTRS[] = {A_INT(Linear, axis, 1), A_INT(Linear, block_size, 0),
                                   A_TYPE(Linear, output_dtype, 0), A_END};
static const AttrSpec Q1_ATTRS[] = {A_TYPE(QuantAttrs, to, DT_U8), A_INT(QuantAttrs, saturate, 1),
                                    A_TYPE(QuantAttrs, precision, 0), A_END};
static const AttrSpec D1_ATTRS[] = {A_TYPE(QuantAttrs, to, DT_F32), A_END};

/* ---- arithmetic of one element ---- */

static int bits_of(DType t) { return dtype_info(t)->bits; }
static double lowest(DType t) { return dtype_is_signed(t) ? -ldexp(1, bits_of(t) - 1) : 0; }
static double highest(DType t) { return ldexp(1, dtype_is_signed(t) ? bits_of(t) - 1 : bits_of(t)) - 1; }

static DType division_type(const QuantAttrs *a, DType scale)
{
    return a->precision ? (DType)a->precision : DTS(scale) & DTS_FLOAT ? scale : DT_F32;
}

static KVal quantize(Lw *l, Node n, const KVal *x, const DType *in)
{
    const QuantAttrs *a = ATTRS(l->g, n, QuantAttrs);
    Kb *b = l->b;
    DType to = (DType)a->to, p = division_type(a, in[1]), f = dtype_compute(p);
    bool zero = node_n_in(l->g, n) > 2;
    KVal q = kb_cast(b, p, x[0]);
    if (node_in(l->g, n, 1).i) q = kb_cast(b, p, kb_div(b, q, kb_cast(b, p, x[1])));
    if (!dtype_is_int(to))
        return small_cast(b, to, zero ? kb_add(b, q, kb_cast(b, f, x[2])) : q, a->saturate != 0, "up");
    q = kb_un(b, KOP_RINT, q);
    KVal lo = kb_const_f(b, f, lowest(to)), hi = kb_const_f(b, f, highest(to));
    if (!zero) return kb_cast(b, to, kb_max(b, kb_min(b, q, hi), lo));
    KVal z = kb_cast(b, f, x[2]);
    q = kb_max(b, kb_min(b, q, kb_sub(b, hi, z)), kb_sub(b, lo, z));
    return kb_cast(b, to, kb_add(b, kb_cast(b, DT_I32, q), kb_cast(b, DT_I32, x[2])));
}

static KVal dequantize(Lw *l, Node n, const KVal *x, const DType *in)
{
    Kb *b = l->b;
    DType to = (DType)ATTRS(l->g, n, QuantAttrs)->to, f = dtype_compute(to);
    KVal v = x[0];
    if (node_n_in(l->g, n) > 2)
        v = dtype_is_int(in[0]) ? kb_sub(b, kb_cast(b, DT_I32, v), kb_cast(b, DT_I32, x[2])) : kb_sub(b, v, x[2]);
    return kb_cast(b, to, kb_mul(b, kb_cast(b, f, v), kb_cast(b, f, x[1])));
}

/* ---- reference ---- */

/* v rounded to type t. */
static double rounded(Eval *e, DType t, double v)
{
    Tensor *one = tensor_new(e->arena, t, 0, NULL);
    ev_set_f(one, 0, v);
    return ev_f(one, 0);
}

static void quantize_one(Eval *e, const QuantAttrs *a, Tensor *y, int64_t k, double x, double s, double zero, DType p)
{
    double q = p == DT_F32 ? (double)((float)x / (float)s) : rounded(e, p, rounded(e, p, x) / rounded(e, p, s));
    if (!dtype_is_int(y->elem)) {
        small_eval(y, k, q + zero, a->saturate != 0, "up");
        return;
    }
    double r = isnan(q) ? zero : nearbyint(q) + zero;
    ev_set_i(y, k, (int64_t)(r < lowest(y->elem) ? lowest(y->elem) : r > highest(y->elem) ? highest(y->elem) : r));
}

/* Where the parameters of element k stand: a->axis and block as ONNX has them; block 0: per tensor or axis. */
static int64_t param_at(const Tensor *x, const Tensor *s, int64_t axis, int64_t block, int64_t k)
{
    int64_t at = 0, step = 1;
    if (s->count == 1) return 0;
    if (axis < 0) axis += x->rank;
    if (x->rank == 1) axis = 0;
    for (int i = x->rank - 1; i >= 0; i--) {
        int64_t c = k % x->dim[i];
        k /= x->dim[i];
        if (block) at += (i == axis ? c / block : c) * step, step *= s->dim[i];
        else if (i == axis) return c;
    }
    return at;
}

static bool q_eval(Eval *e)
{
    const Linear *a = ATTRS(e->g, e->n, Linear);
    QuantAttrs q = {
        .to = value_trec(e->g, node_out(e->g, e->n, 0))->elem, .saturate = a->saturate, .precision = a->precision};
    const Tensor *x = e->in[0], *s = e->in[1];
    Tensor *y = ev_out(e, 0, (DType)q.to, x->rank, x->dim);
    for (int64_t k = 0; y && k < y->count; k++) {
        int64_t at = param_at(x, s, a->axis, a->block_size, k);
        quantize_one(e, &q, y, k, ev_f(x, k), ev_f(s, at), ev_has(e, 2) ? ev_f(e->in[2], at) : 0,
                     division_type(&q, s->elem));
    }
    return y != NULL;
}

static bool d_eval(Eval *e)
{
    const Linear *a = ATTRS(e->g, e->n, Linear);
    const Tensor *x = e->in[0], *s = e->in[1];
    Tensor *y = ev_out(e, 0, value_trec(e->g, node_out(e->g, e->n, 0))->elem, x->rank, x->dim);
    for (int64_t k = 0; y && k < y->count; k++) {
        int64_t at = param_at(x, s, a->axis, a->block_size, k);
        ev_set_f(y, k, (double)(float)(ev_f(x, k) - (ev_has(e, 2) ? ev_f(e->in[2], at) : 0)) * ev_f(s, at));
    }
    return y != NULL;
}

static bool q1_eval(Eval *e)
{
    const QuantAttrs *a = ATTRS(e->g, e->n, QuantAttrs);
    const Tensor *x = e->in[0], *s = ev_has(e, 1) ? e->in[1] : NULL;
    Tensor *y = ev_out(e, 0, (DType)a->to, x->rank, x->dim);
    for (int64_t k = 0; y && k < y->count; k++) {
        double zero = ev_has(e, 2) ? ev_f(e->in[2], ev_broadcast_index(e->in[2], y, k)) : 0;
        quantize_one(e, a, y, k, ev_f(x, k), s ? ev_f(s, ev_broadcast_index(s, y, k)) : 1, zero,
                     division_type(a, s ? s->elem : DT_F32));
    }
    return y != NULL;
}

static bool d1_eval(Eval *e)
{
    const Tensor *x = e->in[0], *s = e->in[1];
    Tensor *y = ev_out(e, 0, (DType)ATTRS(e->g, e->n, QuantAttrs)->to, x->rank, x->dim);
    for (int64_t k = 0; y && k < y->count; k++) {
        double zero = ev_has(e, 2) ? ev_f(e->in[2], ev_broadcast_index(e->in[2], y, k)) : 0;
        ev_set_f(y, k, (double)(float)(ev_f(x, k) - zero) * ev_f(s, ev_broadcast_index(s, y, k)));
    }
    return y != NULL;
}

/* ---- ONNX's two ---- */

/* Do scale (operand 1) and zero point (2) fit operand 0? A vector of which only the run knows whether it is one value broadcasts. */
static bool params_fit(Infer *c, int64_t axis, int64_t block)
{
    if (!infer_need_rank(c, 0, 0, -1)) return false;
    int rank = infer_rank(c, 0);
    if (block < 0) return infer_fail(c, "block_size is %lld", (long long)block);
    for (uint32_t k = 1; k < 3 && infer_has(c, k); k++)
        if (!operand_without_lead(c, k, block ? rank : 1)) return false;
    if (!infer_need_rank(c, 1, block ? rank : 0, block ? rank : 1)) return false;
    Dim one = dim_const(c->d, 1), length = infer_rank(c, 1) == 1 ? infer_dim(c, 1, 0) : one;
    bool single = infer_rank(c, 1) < 2 && dim_is(c->d, length, 1);
    if (rank == 1 && !block) axis = 0;
    bool must = axis < -(int64_t)rank || axis >= rank || (infer_has(c, 2) && infer_rank(c, 2) == 0);   /* no axis, or no vector */
    if (!block && must && dim_eq(c->d, length, one) == TRI_UNKNOWN) {
        if (!infer_one_element(c, 1, 1)) return false;   /* may make a node */
        single = true;
    }
    if ((block || !single) && !infer_axis(c, &axis, rank)) return false;
    for (int i = 0; block && i < rank; i++) {
        Dim d = infer_dim(c, 0, i), want = i == axis ? dim_ceildiv(c->d, d, dim_const(c->d, block)) : d;
        if (!infer_must_eq(c, infer_dim(c, 1, i), want, "dimension of the scale")) return false;
    }
    if (!block && !single && !infer_broadcasts_to(c, length, infer_dim(c, 0, (int)axis), "length of the scale")) return false;
    if (!infer_has(c, 2)) return true;
    if (single && infer_rank(c, 2) == 0) return true;
    if (single && infer_rank(c, 2) == 1) return infer_one_element(c, 2, 1);   /* may make a node */
    if (!infer_need_rank(c, 2, infer_rank(c, 1), infer_rank(c, 1))) return false;
    for (int i = 0; i < infer_rank(c, 1); i++)
        if (!infer_must_eq(c, infer_dim(c, 2, i), infer_dim(c, 1, i), "dimension of the zero point")) return false;
    return true;
}

static bool result(Infer *c, DType to)
{
    return infer_set_type(c, 0, type_with_elem(&c->m->types, value_type(c->g, node_in(c->g, c->n, 0)), to));
}

static bool q_infer(Infer *c)
{
    const Linear *a = ATTRS(c->g, c->n, Linear);
    DType to = (DType)a->output_dtype, zero = infer_has(c, 2) ? infer_elem(c, 2) : DT_NONE;
    if (to && zero && to != zero)
        return infer_fail(c, "output_dtype is %s, the zero point %s", dtype_info(to)->onnx, dtype_info(zero)->onnx);
    if (!to) to = zero ? zero : DT_U8;
    if (to >= DT_COUNT || !(DTS(to) & DTS_Q))
        return infer_fail(c, "quantising to %s is not supported", dtype_info(to)->onnx);
    if (a->precision && !(a->precision < DT_COUNT && DTS(a->precision) & DTS_FLOAT))
        return infer_fail(c, "precision is %s", dtype_info((DType)a->precision)->onnx);
    return params_fit(c, a->axis, a->block_size) && result(c, to);
}

static bool d_infer(Infer *c)
{
    const Linear *a = ATTRS(c->g, c->n, Linear);
    DType s = infer_elem(c, 1), to = a->output_dtype ? (DType)a->output_dtype : s == DT_F8E8M0 ? DT_F32 : s;
    if (to >= DT_COUNT || !(DTS(to) & DTS_FLOAT))
        return infer_fail(c, "dequantising to %s is not supported", dtype_info(to)->onnx);
    return params_fit(c, a->axis, a->block_size) && result(c, to);
}

typedef struct Repeat {
    uint64_t set;
    int64_t axis, block;
    AttrDims size;
} Repeat;
static const AttrSpec R_ATTRS[] = {A_INT(Repeat, axis, 0), A_INT(Repeat, block, 1), A_DIMS(Repeat, size), A_END};

/* The parameter in a form that broadcasts against operand 0. */
static Value param(Ex *e, uint32_t k, const Linear *a)
{
    const TypeRec *x = value_trec(e->g, node_in(e->g, e->n, 0));
    Value p = node_in(e->g, e->n, k);
    int64_t axis = x->rank == 1 ? 0 : a->axis < 0 ? a->axis + x->rank : a->axis;
    if (!p.i || !a->block_size) return quant_along(e, p, x->rank, axis);
    Dim *size = arena_array(e->g->m->arena, Dim, 1);
    *size = x->dim[axis];
    Repeat r = {.set = 7, .axis = axis, .block = a->block_size, .size = {size, 1}};
    return ex_op(e, OP_Repeat, &p, 1, &r);
}

static bool linear_expand(Graph *g, Node n)
{
    const Linear *a = ATTRS(g, n, Linear);
    bool to_int = node_desc(g, n)->attrs == Q_ATTRS;
    Ex e = ex_begin(g, n);
    QuantAttrs q = {
        .set = 1, .to = value_trec(g, node_out(g, n, 0))->elem, .saturate = a->saturate, .precision = a->precision};
    if (!to_int) q.saturate = 1, q.precision = 0;
    if (!q.saturate) q.set |= 2;
    if (q.precision) q.set |= 4;
    Value s = param(&e, 1, a), z = param(&e, 2, a);
    Value y = ex_op(&e, to_int ? OP_Quantize : OP_Dequantize, (Value[]){node_in(g, n, 0), s, z}, 3, &q);
    ex_result(&e, 0, y);
    return !e.failed;
}

/* com.microsoft's are the same ones */
#define QUANTIZE(from, version)                                                                                                     \
    {.name = "QuantizeLinear", .domain = from, .since = version, .cls = CLS_ROW, .lead = 1 << 1 | 1 << 2, .in = P_Q_IN, .out = P_Q_OUT, .attrs = Q_ATTRS,    \
     .attrs_size = sizeof(Linear), .infer = q_infer, .expand = linear_expand, .eval = q_eval}
#define DEQUANTIZE(from, version)                                                                                                   \
    {.name = "DequantizeLinear", .domain = from, .since = version, .cls = CLS_ROW, .lead = 1 << 1 | 1 << 2, .in = P_D_IN, .out = P_D_OUT, .attrs = D_ATTRS,  \
     .attrs_size = sizeof(Linear), .infer = d_infer, .expand = linear_expand, .eval = d_eval}
const OpDesc op_QuantizeLinear = QUANTIZE(NULL, 25);
const OpDesc op_DequantizeLinear = DEQUANTIZE(NULL, 25);
const OpDesc op_ms_QuantizeLinear = QUANTIZE("com.microsoft", 1);
const OpDesc op_ms_DequantizeLinear = DEQUANTIZE("com.microsoft", 1);

/* ---- the internal ones ---- */

/* The parameters broadcast to operand 0, never the other way round. */
static bool element_infer(Infer *c)
{
    if (!infer_need_rank(c, 0, 0, -1)) return false;
    int rank = infer_rank(c, 0);
    for (uint32_t k = 1; k < 3; k++) {
        if (!infer_has(c, k)) continue;
        if (!infer_need_rank(c, k, 0, rank)) return false;
        for (int i = 0; i < infer_rank(c, k); i++) {
            Dim p = infer_dim(c, k, i), d = infer_dim(c, 0, rank - infer_rank(c, k) + i);
            if (!infer_broadcasts_to(c, p, d, "dimension of a quantisation parameter")) return false;
        }
    }
    return result(c, (DType)ATTRS(c->g, c->n, QuantAttrs)->to);
}

const OpDesc op_Quantize = {.name = "Quantize",
                            .since = 1,
                            .cls = CLS_ELTWISE,
                            .flags = OPF_INTERNAL,
                            .in = P_Q1_IN,
                            .out = P_Q_OUT,
                            .attrs = Q1_ATTRS,
                            .attrs_size = sizeof(QuantAttrs),
                            .infer = element_infer,
                            .scalar = quantize,
                            .eval = q1_eval};
const OpDesc op_Dequantize = {.name = "Dequantize",
                              .since = 1,
                              .cls = CLS_ELTWISE,
                              .flags = OPF_INTERNAL | OPF_CHEAP,
                              .in = P_D_IN,
                              .out = P_D_OUT,
                              .attrs = D1_ATTRS,
                              .attrs_size = sizeof(QuantAttrs),
                              .infer = element_infer,
                              .scalar = dequantize,
                              .eval = d1_eval, .grad = grad_dequantize};

static bool repeat_infer(Infer *c)
{
    const Repeat *a = ATTRS(c->g, c->n, Repeat);
    if (!infer_need_rank(c, 0, 1, -1)) return false;
    int rank = infer_rank(c, 0);
    Dim dim[RANK_MAX];
    if (a->axis < 0 || a->axis >= rank || a->block < 1 || a->size.n != 1)
        return infer_fail(c, "Repeat of axis %lld", (long long)a->axis);
    for (int i = 0; i < rank; i++) dim[i] = i == a->axis ? a->size.p[0] : infer_dim(c, 0, i);
    return infer_set(c, 0, infer_elem(c, 0), rank, dim);
}

static bool repeat_route(Lw *l, Node n, const KVal *out, Route *r)
{
    const Repeat *a = ATTRS(l->g, n, Repeat);
    for (int i = 0; i < value_trec(l->g, node_in(l->g, n, 0))->rank; i++)
        r->idx[i] = i == a->axis ? kb_bin(l->b, KOP_FLOORDIV, out[i], kb_i(l->b, a->block)) : out[i];
    return true;
}

static bool repeat_eval(Eval *e)
{
    const Repeat *a = ATTRS(e->g, e->n, Repeat);
    const Tensor *x = e->in[0];
    int64_t dim[RANK_MAX];
    for (int i = 0; i < x->rank; i++) dim[i] = x->dim[i];
    if (!dim_is_const(&e->g->m->dims, dim_resolve(&e->g->m->dims, a->size.p[0]), &dim[a->axis]))
        return ev_fail(e, "a symbol has no value here");
    Tensor *y = ev_out(e, 0, x->elem, x->rank, dim);
    for (int64_t k = 0; y && k < y->count; k++) {
        int64_t rest = k, at = 0, step = 1;
        for (int i = x->rank - 1; i >= 0; i--) {
            int64_t c = rest % dim[i];
            rest /= dim[i];
            at += (i == a->axis ? c / a->block : c) * step;
            step *= x->dim[i];
        }
        ev_copy(y, k, x, at);
    }
    return y != NULL;
}

const OpDesc op_Repeat = {.name = "Repeat",
                          .since = 1,
                          .cls = CLS_MOVE,
                          .flags = OPF_INTERNAL,
                          .in = P_R_IN,
                          .out = P_R_OUT,
                          .attrs = R_ATTRS,
                          .attrs_size = sizeof(Repeat),
                          .infer = repeat_infer,
                          .route = repeat_route,
                          .eval = repeat_eval, .grad = grad_repeat};
