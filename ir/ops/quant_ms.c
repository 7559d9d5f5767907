/* quant_ms.c: quantised operators of com.microsoft, as quantisation tools write them: each dequantises its operands,
 * computes in f32 and quantises the result,
 *   QLinearAdd(a, sa, za, b, sb, zb, sy, zy)  =>  Quantize(Add(Dequantize(a, sa, za), Dequantize(b, sb, zb)), sy, zy)
 * which fuses into one nest; products of matrices go by MatMulInteger (quant_int.c). An absent zero point is 0. */
#include "ir/ops/quant.h"
#include "ir/ops/window.h"
#include <math.h>
#include <string.h>

#define MS .domain = "com.microsoft", .since = 1
#define DTS_8 (DTS(DT_I8) | DTS(DT_U8))
#define DTS_16 (DTS_8 | DTS(DT_I16) | DTS(DT_U16))
#define P_S(n)                                                                                                         \
    {                                                                                                                  \
        n, DTS(DT_F32), 0, 0                                                                                           \
    }
#define P_Z(n)                                                                                                         \
    {                                                                                                                  \
        n, DTS_16, PORT_OPTIONAL, 1                                                                                    \
    }

static const Port P_OUT[] = {{"Y", DTS_16, 0, 1}, PORT_END};
static const Port P_BIN[] = {{"A", DTS_16, 0, 1}, P_S("A_scale"),      P_Z("A_zero_point"),
                             {"B", DTS_16, 0, 1}, P_S("B_scale"),      P_Z("B_zero_point"),
                             P_S("C_scale"),      P_Z("C_zero_point"), PORT_END};
static const Port P_UN[] = {{"X", DTS_16, 0, 1}, P_S("X_scale"),      P_Z("X_zero_point"),
                            P_S("Y_scale"),      P_Z("Y_zero_point"), PORT_END};

typedef struct Ms {
    uint64_t set;
    const char *auto_pad;
    int64_t channels_last, axis, opset, ceil_mode, count_include_pad;
    AttrInts kernel_shape, strides, pads;
    double alpha;
} Ms;
static const AttrSpec POOL_ATTRS[] = {
    A_STRING(Ms, auto_pad, "NOTSET"),
    A_INT(Ms, channels_last, 0),
    A_INT(Ms, ceil_mode, 0),
    A_INT(Ms, count_include_pad, 0),
    {.name = "kernel_shape", .kind = ATTR_INTS, .offset = offsetof(Ms, kernel_shape), .required = true},
    A_INTS(Ms, strides),
    A_INTS(Ms, pads),
    A_END};
static const AttrSpec GLOBAL_ATTRS[] = {A_INT(Ms, channels_last, 0), A_END};
static const AttrSpec SOFTMAX_ATTRS[] = {A_INT(Ms, axis, -1), A_INT(Ms, opset, 13), A_END};
static const AttrSpec LEAKY_ATTRS[] = {A_FLOAT(Ms, alpha, 0.01), A_END};
static const AttrSpec CONCAT_ATTRS[] = {
    {.name = "axis", .kind = ATTR_INT, .offset = offsetof(Ms, axis), .required = true}, A_END};

/* ---- reference: operands as real numbers, the result back ---- */

static double real(Eval *e, uint32_t x, int64_t k)
{
    return (double)(float)((ev_f(e->in[x], k) - (ev_has(e, x + 2) ? ev_f(e->in[x + 2], 0) : 0)) *
                           ev_f(e->in[x + 1], 0));
}

static void put_at(Eval *e, Tensor *y, int64_t k, uint32_t scale, double v, bool zero_first)
{
    int bits = dtype_info(y->elem)->bits;
    double lo = dtype_is_signed(y->elem) ? -ldexp(1, bits - 1) : 0, hi = lo + ldexp(1, bits) - 1,
           zero = ev_has(e, scale + 1) ? ev_f(e->in[scale + 1], 0) : 0;
    float r = (float)v / (float)ev_f(e->in[scale], 0);
    double q = zero_first ? nearbyint((double)(r + (float)zero)) : nearbyint((double)r) + zero;
    ev_set_i(y, k, (int64_t)(q < lo ? lo : q > hi ? hi : q));
}

static void put(Eval *e, Tensor *y, int64_t k, uint32_t scale, double v) { put_at(e, y, k, scale, v, false); }

static bool one_value(Infer *c, const uint32_t *k, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (!infer_has(c, k[i])) continue;
        if (!infer_need_rank(c, k[i], 0, 1)) return false;
        if (infer_rank(c, k[i]) == 1 &&
            !infer_must_eq(c, infer_dim(c, k[i], 0), dim_const(c->d, 1), "length of a quantisation parameter"))
            return false;
    }
    return true;
}

static Value operand(Ex *e, uint32_t k)
{
    return quant_to_real(e, ex_in(e, k), ex_in(e, k + 1), ex_in(e, k + 2), -1);
}
static bool finish(Ex *e, Value v, uint32_t scale)
{
    DType to = value_trec(e->g, node_out(e->g, e->n, 0))->elem;
    ex_result(e, 0, quant_from_real(e, v, ex_in(e, scale), ex_in(e, scale + 1), -1, to));
    return !e->failed;
}

/* ---- element-wise ---- */

static bool bin_infer(Infer *c)
{
    Dim dim[RANK_MAX];
    int rank;
    if (!one_value(c, (uint32_t[]){1, 2, 4, 5, 6, 7}, 6) || !infer_broadcast(c, (uint32_t[]){0, 3}, 2, dim, &rank))
        return false;
    return infer_set(c, 0, infer_elem(c, 0), rank, dim);
}

static bool is(const Graph *g, Node n, OpCode op) { return node_rec(g, n)->op == op; }

static bool bin_expand(Graph *g, Node n)
{
    Ex e = ex_begin(g, n);
    Value a = operand(&e, 0), b = operand(&e, 3);
    return finish(&e, ex2(&e, is(g, n, OP_ms_QLinearMul) ? OP_Mul : OP_Add, a, b), 6);
}

static bool bin_eval(Eval *e)
{
    int64_t dim[RANK_MAX];
    int rank;
    if (!ev_broadcast_dims(e, (const uint32_t[]){0, 3}, 2, dim, &rank)) return false;
    Tensor *y = ev_out(e, 0, e->in[0]->elem, rank, dim);
    for (int64_t k = 0; y && k < y->count; k++) {
        double a = real(e, 0, ev_broadcast_index(e->in[0], y, k)), b = real(e, 3, ev_broadcast_index(e->in[3], y, k));
        put(e, y, k, 6, is(e->g, e->n, OP_ms_QLinearMul) ? a * b : a + b);
    }
    return y != NULL;
}

static bool un_infer(Infer *c) { return one_value(c, (uint32_t[]){1, 2, 3, 4}, 4) && infer_like(c, 0, 0); }

static bool un_expand(Graph *g, Node n)
{
    Ex e = ex_begin(g, n);
    OpCode op = is(g, n, OP_ms_QLinearSigmoid) ? OP_Sigmoid : OP_LeakyRelu;
    Value x = operand(&e, 0);
    return finish(&e, ex_op(&e, op, &x, 1, op == OP_LeakyRelu ? ex_inherit(&e, op) : NULL), 3);
}

static bool un_eval(Eval *e)
{
    const Tensor *x = e->in[0];
    Tensor *y = ev_out(e, 0, x->elem, x->rank, x->dim);
    bool sigmoid = is(e->g, e->n, OP_ms_QLinearSigmoid);
    for (int64_t k = 0; y && k < y->count; k++) {
        double v = real(e, 0, k);
        put(e, y, k, 3, sigmoid ? 1 / (1 + exp(-v)) : v < 0 ? v * ATTRS(e->g, e->n, Ms)->alpha : v);
    }
    return y != NULL;
}

/* ---- QLinearSoftmax: before opset 13 the axes from `axis` on are one ---- */

static bool softmax_infer(Infer *c)
{
    int64_t axis = ATTRS(c->g, c->n, Ms)->axis;
    return infer_need_rank(c, 0, 1, -1) && infer_axis(c, &axis, infer_rank(c, 0)) && un_infer(c);
}

static bool softmax_expand(Graph *g, Node n)
{
    Ex e = ex_begin(g, n);
    const Ms *a = ATTRS(g, n, Ms);
    Value x = operand(&e, 0), flat = x, shape = VALUE_NONE;
    void *attrs = ex_inherit(&e, OP_Softmax);
    if (a->opset < 13) {
        void *f = ex_inherit(&e, OP_Flatten);
        shape = ex1(&e, OP_Shape, x);
        flat = ex_op(&e, OP_Flatten, &x, 1, f);
        ex_set(&e, OP_Softmax, attrs, "axis", -1);
    }
    Value y = ex_op(&e, OP_Softmax, &flat, 1, attrs);
    return finish(&e, shape.i ? ex2(&e, OP_Reshape, y, shape) : y, 3);
}

static bool softmax_eval(Eval *e)
{
    const Ms *a = ATTRS(e->g, e->n, Ms);
    const Tensor *x = e->in[0];
    int axis = (int)(a->axis < 0 ? a->axis + x->rank : a->axis);
    int64_t len = 1, step = 1;
    for (int i = axis; i < x->rank; i++) {
        if (i == axis || a->opset < 13) len *= x->dim[i];
        else step *= x->dim[i];
    }
    Tensor *y = ev_out(e, 0, x->elem, x->rank, x->dim);
    for (int64_t k = 0; y && k < y->count; k++) {
        int64_t base = k - k / step % len * step;
        double m = -INFINITY, s = 0;
        for (int64_t j = 0; j < len; j++) m = fmax(m, real(e, 0, base + j * step));
        for (int64_t j = 0; j < len; j++) s += exp(real(e, 0, base + j * step) - m);
        put(e, y, k, 3, exp(real(e, 0, k) - m) / s);
    }
    return y != NULL;
}

/* ---- pools ---- */

static bool is_global(const OpDesc *op) { return op->attrs == GLOBAL_ATTRS; }

static int channel_axis(const Ms *a, int rank) { return a->channels_last ? rank - 1 : 1; }

static bool pool_resolve(Dims *d, const OpDesc *op, const Ms *a, const TypeRec *x, Window *w, const char **why)
{
    int n = x->rank - 2, first = a->channels_last ? 1 : 2;
    Dim in[WINDOW_MAX];
    if (n < 1 || n > WINDOW_MAX) return *why = "the number of spatial axes is not supported", false;
    for (int i = 0; i < n; i++) in[i] = dim_resolve(d, x->dim[first + i]);
    if (is_global(op)) {
        for (int i = 0; i < n; i++) w->out[i] = dim_const(d, 1);
        return true;
    }
    if ((int)a->kernel_shape.n != n) return *why = "kernel_shape does not fit the number of spatial axes", false;
    WindowAttrs wa = {.strides = a->strides, .pads = a->pads, .auto_pad = a->auto_pad, .ceil_mode = a->ceil_mode != 0};
    return window_resolve(d, n, in, a->kernel_shape.p, &wa, w, why);
}

static bool pool_infer(Infer *c)
{
    const Ms *a = ATTRS(c->g, c->n, Ms);
    Window w = {0};
    const char *why;
    Dim dim[RANK_MAX];
    if (!infer_need_rank(c, 0, 3, -1) || !one_value(c, (uint32_t[]){1, 2, 3, 4}, 4)) return false;
    int rank = infer_rank(c, 0), at = 0;
    if (!pool_resolve(c->d, c->op, a, infer_in(c, 0), &w, &why)) return infer_fail(c, "%s", why);
    for (int i = 0; i < rank; i++) dim[i] = i == 0 || i == channel_axis(a, rank) ? infer_dim(c, 0, i) : w.out[at++];
    return infer_set(c, 0, infer_elem(c, 0), rank, dim);
}

static bool pool_expand(Graph *g, Node n)
{
    Ex e = ex_begin(g, n);
    const Ms *a = ATTRS(g, n, Ms);
    bool global = is_global(node_desc(g, n));
    OpCode op = global ? OP_GlobalAveragePool : OP_AveragePool;
    Value x = operand(&e, 0);
    int64_t in[RANK_MAX], out[RANK_MAX];
    int rank = ex_rank(&e, x);
    for (int i = 0; i < rank; i++) { /* channels to axis 1 and back */
        in[i] = i == 0 ? 0 : i == 1 ? rank - 1 : i - 1;
        out[i] = i == 0 ? 0 : i == rank - 1 ? 1 : i + 1;
    }
    if (a->channels_last) x = ex_transpose(&e, x, in, (uint32_t)rank);
    Value y = ex_op(&e, op, &x, 1, global ? NULL : ex_inherit(&e, op));
    if (a->channels_last) y = ex_transpose(&e, y, out, (uint32_t)rank);
    if (global) return finish(&e, y, 3);
    y = ex2(&e, OP_Div, y, quant_along(&e, ex_in(&e, 3), 0, 0)); /* this one rounds with the zero point added */
    if (ex_in(&e, 4).i) y = ex2(&e, OP_Add, y, ex_cast(&e, quant_along(&e, ex_in(&e, 4), 0, 0), DT_F32));
    ex_result(&e, 0, quant_from_real(&e, y, VALUE_NONE, VALUE_NONE, -1, value_trec(g, node_out(g, n, 0))->elem));
    return !e.failed;
}

static bool pool_eval(Eval *e)
{
    const Ms *a = ATTRS(e->g, e->n, Ms);
    const Tensor *x = e->in[0];
    const OpDesc *op = node_desc(e->g, e->n);
    Names names;
    Dims dims;
    names_init(&names, e->arena);
    dims_init(&dims, e->arena, &names);
    TypeRec t = {.rank = (uint8_t)x->rank};
    for (int i = 0; i < x->rank; i++) t.dim[i] = dim_const(&dims, x->dim[i]);
    Window w = {0};
    const char *why;
    if (!pool_resolve(&dims, op, a, &t, &w, &why)) return ev_fail(e, "%s", why);
    int64_t dim[RANK_MAX], begin[WINDOW_MAX] = {0}, end[WINDOW_MAX] = {0};
    int ch = channel_axis(a, x->rank), n = x->rank - 2, first = a->channels_last ? 1 : 2;
    for (int i = 0; i < x->rank; i++) dim[i] = x->dim[i];
    for (int i = 0; i < n; i++) {
        dim_is_const(&dims, w.out[i], &dim[first + i]);
        if (is_global(op)) w.kernel[i] = x->dim[first + i], w.stride[i] = 1;
        else dim_is_const(&dims, w.begin[i], &begin[i]), dim_is_const(&dims, w.end[i], &end[i]);
    }
    Tensor *y = ev_out(e, 0, x->elem, x->rank, dim);
    for (int64_t k = 0; y && k < y->count; k++) {
        int64_t idx[RANK_MAX], taps = 1, counted = 0, rest = k;
        float s = 0;
        for (int i = x->rank - 1; i >= 0; i--) idx[i] = rest % dim[i], rest /= dim[i];
        for (int i = 0; i < n; i++) taps *= w.kernel[i];
        for (int64_t tap = 0; tap < taps; tap++) {
            int64_t at[RANK_MAX] = {[0] = idx[0]}, r = tap, flat = 0;
            bool inside = true, pad = true;
            at[ch] = idx[ch];
            for (int i = n - 1; i >= 0; i--) {
                at[first + i] = idx[first + i] * w.stride[i] - begin[i] + r % w.kernel[i];
                r /= w.kernel[i];
                inside &= at[first + i] >= 0 && at[first + i] < x->dim[first + i];
                pad &= at[first + i] < x->dim[first + i] + end[i];
            }
            counted += inside || (pad && a->count_include_pad);
            for (int i = 0; i < x->rank; i++) flat = flat * x->dim[i] + at[i];
            if (inside) s += (float)real(e, 0, flat);
        }
        put_at(e, y, k, 3, s / (float)counted, !is_global(op));
    }
    return y != NULL;
}

/* ---- QLinearConcat: result's scale and zero point, then (x, scale, zero) for each part ---- */

static const Port P_CONCAT[] = {
    P_S("Y_scale"), {"Y_zero_point", DTS_16, 0, 1}, {"inputs", DTS_16 | DTS(DT_F32), PORT_VARIADIC, 0}, PORT_END};

static bool concat_infer(Infer *c)
{
    int64_t axis = ATTRS(c->g, c->n, Ms)->axis;
    uint32_t n = node_n_in(c->g, c->n);
    Dim dim[RANK_MAX];
    if (n < 5 || (n - 2) % 3)
        return infer_fail(c, "%u operands: scale, zero point, and three for each part are expected", n);
    if (!infer_need_rank(c, 2, 1, -1)) return false;
    int rank = infer_rank(c, 2);
    if (!infer_axis(c, &axis, rank) || !one_value(c, (uint32_t[]){0, 1}, 2)) return false;
    for (int i = 0; i < rank; i++) dim[i] = infer_dim(c, 2, i);
    for (uint32_t k = 2; k < n; k += 3) {
        if (!infer_need_rank(c, k, rank, rank) || !one_value(c, (uint32_t[]){k + 1, k + 2}, 2)) return false;
        if (infer_elem(c, k) != infer_elem(c, 1) || infer_elem(c, k + 1) != DT_F32 ||
            (infer_has(c, k + 2) && infer_elem(c, k + 2) != infer_elem(c, k)))
            return infer_fail(c, "part %u has other types than the result", (k - 2) / 3);
        for (int i = 0; i < rank; i++)
            if (i != axis && !infer_must_eq(c, infer_dim(c, k, i), dim[i], "dimension of a part")) return false;
        if (k > 2) dim[axis] = dim_add(c->d, dim[axis], infer_dim(c, k, (int)axis));
    }
    return infer_set(c, 0, infer_elem(c, 1), rank, dim);
}

static bool concat_expand(Graph *g, Node n)
{
    Ex e = ex_begin(g, n);
    uint32_t parts = (node_n_in(g, n) - 2) / 3;
    Value *v = arena_array(g->m->arena, Value, parts);
    DType to = ex_elem(&e, ex_in(&e, 1));
    for (uint32_t k = 0; k < parts; k++) {
        Value x = operand(&e, 2 + 3 * k);
        v[k] = quant_from_real(&e, x, ex_in(&e, 0), ex_in(&e, 1), -1, to);
    }
    ex_result(&e, 0, ex_op(&e, OP_Concat, v, parts, ex_inherit(&e, OP_Concat)));
    return !e.failed;
}

static bool concat_eval(Eval *e)
{
    int axis = (int)ATTRS(e->g, e->n, Ms)->axis;
    const Tensor *x = e->in[2];
    if (axis < 0) axis += x->rank;
    int64_t dim[RANK_MAX], inner = 1, done = 0;
    for (int i = 0; i < x->rank; i++) dim[i] = x->dim[i];
    for (uint32_t k = 5; k < e->n_in; k += 3) dim[axis] += e->in[k]->dim[axis];
    for (int i = axis + 1; i < x->rank; i++) inner *= dim[i];
    Tensor *y = ev_out(e, 0, x->elem, x->rank, dim);
    for (uint32_t k = 2; y && k < e->n_in; k += 3) {
        int64_t len = e->in[k]->dim[axis];
        for (int64_t j = 0; j < e->in[k]->count; j++)
            put(e, y, ((j / inner / len) * dim[axis] + done + j / inner % len) * inner + j % inner, 0, real(e, k, j));
        done += len;
    }
    return y != NULL;
}

#define BIN MS, .cls = CLS_ROW, .in = P_BIN, .out = P_OUT, .infer = bin_infer, .expand = bin_expand, .eval = bin_eval
#define UN MS, .cls = CLS_ROW, .in = P_UN, .out = P_OUT, .infer = un_infer, .expand = un_expand, .eval = un_eval
#define POOL                                                                                                           \
    MS, .cls = CLS_WINDOW, .in = P_UN, .out = P_OUT, .attrs_size = sizeof(Ms), .infer = pool_infer,                    \
        .expand = pool_expand, .eval = pool_eval
const OpDesc op_ms_QLinearAdd = {.name = "QLinearAdd", BIN};
const OpDesc op_ms_QLinearMul = {.name = "QLinearMul", BIN};
const OpDesc op_ms_QLinearSigmoid = {.name = "QLinearSigmoid", UN};
const OpDesc op_ms_QLinearLeakyRelu = {.name = "QLinearLeakyRelu", UN, .attrs = LEAKY_ATTRS, .attrs_size = sizeof(Ms)};
const OpDesc op_ms_QLinearAveragePool = {.name = "QLinearAveragePool", POOL, .attrs = POOL_ATTRS};
const OpDesc op_ms_QLinearGlobalAveragePool = {.name = "QLinearGlobalAveragePool", POOL, .attrs = GLOBAL_ATTRS};
const OpDesc op_ms_QLinearSoftmax = {.name = "QLinearSoftmax",
                                     MS,
                                     .cls = CLS_ROW,
                                     .in = P_UN,
                                     .out = P_OUT,
                                     .attrs = SOFTMAX_ATTRS,
                                     .attrs_size = sizeof(Ms),
                                     .infer = softmax_infer,
                                     .expand = softmax_expand,
                                     .eval = softmax_eval};
const OpDesc op_ms_QLinearConcat = {.name = "QLinearConcat",
                                    MS,
                                    .cls = CLS_ROW,
                                    .in = P_CONCAT,
                                    .out = P_OUT,
                                    .attrs = CONCAT_ATTRS,
                                    .attrs_size = sizeof(Ms),
                                    .infer = concat_infer,
                                    .expand = concat_expand,
                                    .eval = concat_eval};
