/* ms_attention.c: Attention of com.microsoft: one product gives Q, K and V, the rest is ONNX's Attention.
 *   q, k, v = Split(input * weights + bias)
 *   y = Attention(q, k, v, mask, past[0], past[1])
 *   present = [present key, present value]
 * mask_index: [batch, total] or [batch, length, total], 0 where a key must not be seen; or [batch], how many keys of
 * each row count; or [2 * batch], behind those the first key of each row that counts. [batch, 1] and [1, 1] hide nothing,
 * however many keys there are: exported decoders that have no mask feed that. attention_bias is added. */
#include "ir/graph/eval.h"
#include "ir/ops/compose.h"
#include <float.h>
#include <math.h>

enum { INPUT, WEIGHTS, BIAS, MASK, PAST, ATTENTION_BIAS, PAST_LENGTH };
typedef struct Att {
    uint64_t set;
    int64_t num_heads, unidirectional, do_rotary, past_present_share_buffer, rotary_embedding_dim;
    AttrInts qkv_hidden_sizes;
    double scale, mask_filter_value;
} Att;
static const AttrSpec ATTRS_[] = {
    {.name = "num_heads", .kind = ATTR_INT, .offset = offsetof(Att, num_heads), .required = true},
    A_INT(Att, unidirectional, 0),
    A_INTS(Att, qkv_hidden_sizes),
    A_FLOAT(Att, scale, 0),
    A_FLOAT(Att, mask_filter_value, -10000),
    A_INT(Att, do_rotary, 0),
    A_INT(Att, past_present_share_buffer, 0),
    A_INT(Att, rotary_embedding_dim, 0),
    A_END};
#define SCALE_GIVEN 8 /* bit of `set` */

/* Widths of Q, K, V. */
static bool widths(Infer *c, int64_t *w)
{
    const Att *a = ATTRS(c->g, c->n, Att);
    int64_t all;
    if (!dim_is_const(c->d, infer_dim(c, WEIGHTS, 1), &all)) return infer_fail(c, "the weights' shape must be known");
    for (int k = 0; k < 3; k++) w[k] = a->qkv_hidden_sizes.n == 3 ? a->qkv_hidden_sizes.p[k] : all / 3;
    if (w[0] < 1 || w[2] < 1 || w[0] != w[1] || w[0] + w[1] + w[2] != all)
        return infer_fail(c, "the weights do not divide into Q, K and V");
    if (a->num_heads < 1 || w[0] % a->num_heads || w[2] % a->num_heads)
        return infer_fail(c, "%lld heads", (long long)a->num_heads);
    return true;
}

/* mask_index fits B rows of `total` keys. */
static bool mask_fits(Infer *c, Dim B, Dim total)
{
    Dim got = infer_dim(c, MASK, infer_rank(c, MASK) - 1);
    if (infer_rank(c, MASK) == 1)
        return dim_eq(c->d, got, dim_mul(c->d, dim_const(c->d, 2), B)) == TRI_YES ||
               infer_must_eq(c, got, B, "length of mask_index");
    if (infer_rank(c, MASK) == 2) return infer_broadcasts_to(c, got, total, "keys of mask_index");
    return infer_must_eq(c, got, total, "keys of mask_index");
}

static bool infer(Infer *c)
{
    const Att *a = ATTRS(c->g, c->n, Att);
    int64_t w[3];
    if (!infer_need_rank(c, INPUT, 3, 3) || !infer_need_rank(c, WEIGHTS, 2, 2) || !widths(c, w)) return false;
    if (!infer_must_eq(c, infer_dim(c, INPUT, 2), infer_dim(c, WEIGHTS, 0), "inner dimension")) return false;
    if (infer_has(c, BIAS) &&
        (!infer_need_rank(c, BIAS, 1, 1) ||
         !infer_must_eq(c, infer_dim(c, BIAS, 0), infer_dim(c, WEIGHTS, 1), "length of the bias")))
        return false;
    if (infer_has(c, MASK) && !infer_need_rank(c, MASK, 1, 3)) return false;
    if (infer_has(c, PAST) && (!infer_need_rank(c, PAST, 5, 5) || w[0] != w[2]))
        return infer_fail(c, "past states need keys and values of one width");
    if (infer_has(c, ATTENTION_BIAS) && !infer_need_rank(c, ATTENTION_BIAS, 4, 4)) return false;
    if (a->do_rotary || a->past_present_share_buffer || infer_has(c, PAST_LENGTH))
        return infer_fail(c, "rotary embeddings and shared buffers are not supported");
    Dim S = infer_dim(c, INPUT, 1), total = infer_has(c, PAST) ? dim_add(c->d, infer_dim(c, PAST, 3), S) : S;
    if (infer_has(c, MASK) && !mask_fits(c, infer_dim(c, INPUT, 0), total)) return false;
    Dim y[3] = {infer_dim(c, INPUT, 0), S, dim_const(c->d, w[2])};
    Dim present[5] = {dim_const(c->d, 2), infer_dim(c, INPUT, 0), dim_const(c->d, a->num_heads), total,
                      dim_const(c->d, w[0] / a->num_heads)};
    return infer_set(c, 0, infer_elem(c, INPUT), 3, y) &&
           (w[0] != w[2] || infer_set(c, 1, infer_elem(c, INPUT), 5, present));
}

static Value unsqueezed(Ex *x, Value v, const int64_t *axes, uint32_t n)
{
    return ex2(x, OP_Unsqueeze, v, ex_ints(x, axes, n));
}

static Value length(Ex *x, Value v, int64_t axis)
{
    return ex2(x, OP_Gather, ex1(x, OP_Shape, v), ex_i(x, DT_I64, axis));
}

/* Which keys count, [B, total], by mask_index of rank 1. */
static Value counted(Ex *x, Value m)
{
    static const int64_t LAST[] = {1};
    Dims *d = &x->g->m->dims;
    Value row[2] = {m, VALUE_NONE}, see[2], total = length(x, ex_in(x, INPUT), 1);   /* row: ends, starts */
    if (ex_in(x, PAST).i) total = ex2(x, OP_Add, total, length(x, ex_in(x, PAST), 3));
    if (dim_eq(d, ex_type(x, m)->dim[0], dim_mul(d, dim_const(d, 2), ex_type(x, ex_in(x, INPUT))->dim[0])) == TRI_YES &&
        !ex_ops(x, OP_Split, &m, 1, ex_set(x, OP_Split, NULL, "num_outputs", 2), row, 2))
        return VALUE_NONE;
    Value at = ex3(x, OP_Range, ex_i(x, DT_I64, 0), total, ex_i(x, DT_I64, 1));
    for (int k = 0; k < 2 && row[k].i; k++)
        see[k] = ex2(x, k ? OP_GreaterOrEqual : OP_Less, at, unsqueezed(x, ex_cast(x, row[k], DT_I64), LAST, 1));
    return row[1].i ? ex2(x, OP_And, see[0], see[1]) : see[0];
}

/* What is added to the scores: [B, 1, 1 or S, total]; none. */
static Value mask(Ex *x, const Att *a, DType t)
{
    Value m = ex_in(x, MASK), bias = ex_in(x, ATTENTION_BIAS);
    static const int64_t TWO[] = {1, 2};
    int rank = ex_rank(x, m);
    Dims *d = &x->g->m->dims;
    if (!m.i || (rank == 2 && dim_is(d, ex_type(x, m)->dim[1], 1))) return bias;
    Value see = rank == 1 ? counted(x, m) : ex_cast(x, m, DT_BOOL);
    Dim total = ex_type(x, ex_in(x, INPUT))->dim[1];
    if (ex_in(x, PAST).i) total = dim_add(d, total, ex_type(x, ex_in(x, PAST))->dim[3]);
    bool open = rank == 2 && dim_eq(d, ex_type(x, m)->dim[1], total) != TRI_YES;   /* the run says whether it hides anything */
    if (open) see = ex2(x, OP_Or, see, ex2(x, OP_Equal, length(x, m, 1), ex_i(x, DT_I64, 1)));
    m = ex3(x, OP_Where, unsqueezed(x, see, TWO, rank == 3 ? 1 : 2), ex_f(x, t, 0), ex_f(x, t, a->mask_filter_value));
    Dim all[4] = {dim_const(d, 1), dim_const(d, 1), dim_const(d, 1), total};
    if (open) m = ex2(x, OP_Expand, m, ex_dims(x, all, 4));
    return bias.i ? ex2(x, OP_Add, m, bias) : m;
}

static bool expand(Graph *g, Node n)
{
    Ex x = ex_begin(g, n);
    const Att *a = ATTRS(g, n, Att);
    Infer c = {.m = g->m, .g = g, .n = n, .op = node_desc(g, n), .d = &g->m->dims};
    int64_t w[3], zero[1] = {0};
    if (!widths(&c, w)) return false;
    Value qkv = ex2(&x, OP_MatMul, ex_in(&x, INPUT), ex_in(&x, WEIGHTS)), part[3], y[3],
          past[2] = {VALUE_NONE, VALUE_NONE}, present = VALUE_NONE;
    if (ex_in(&x, BIAS).i) qkv = ex2(&x, OP_Add, qkv, ex_in(&x, BIAS));
    ex_ops(&x, OP_Split, (Value[]){qkv, ex_ints(&x, w, 3)}, 2, ex_set(&x, OP_Split, NULL, "axis", 2), part, 3);
    void *attrs = ex_set(&x, OP_Attention, NULL, "q_num_heads", a->num_heads);
    ex_set(&x, OP_Attention, attrs, "kv_num_heads", a->num_heads);
    ex_set(&x, OP_Attention, attrs, "is_causal", a->unidirectional != 0);
    if ((a->set & SCALE_GIVEN) && a->scale != 0) ex_set_f(&x, OP_Attention, attrs, "scale", a->scale);
    for (int k = 0; k < 2 && ex_in(&x, PAST).i; k++)
        past[k] = ex2(&x, OP_Gather, ex_in(&x, PAST), ex_i(&x, DT_I64, k));
    Value in[6] = {part[0], part[1], part[2], mask(&x, a, ex_elem(&x, ex_in(&x, INPUT))), past[0], past[1]};
    ex_ops(&x, OP_Attention, in, 6, attrs, y, 3);
    if (node_n_out(g, n) > 1 && value_used(g, node_out(g, n, 1)))
        present = ex_axis(&x, OP_Concat, (Value[]){unsqueezed(&x, y[1], zero, 1), unsqueezed(&x, y[2], zero, 1)}, 2, 0);
    return ex_end(&x, (Value[]){y[0], present}, 2);
}

/* ---- reference ---- */

static double masked(Eval *e, int64_t b, int64_t s, int64_t S, int64_t j, int64_t total)
{
    const Tensor *m = e->in[MASK];
    int64_t B = e->in[INPUT]->dim[0];
    bool see;
    if (m->rank == 1) see = j < ev_i(m, b) && (m->dim[0] == B || j >= ev_i(m, B + b));
    else if (m->rank == 2) see = m->dim[1] == 1 || ev_i(m, (m->dim[0] == 1 ? 0 : b) * total + j) != 0;
    else see = ev_i(m, (b * S + s) * total + j) != 0;
    return see ? 0 : ATTRS(e->g, e->n, Att)->mask_filter_value;
}

static bool eval(Eval *e)
{
    const Att *a = ATTRS(e->g, e->n, Att);
    const Tensor *x = e->in[INPUT], *w = e->in[WEIGHTS], *past = ev_has(e, PAST) ? e->in[PAST] : NULL;
    int64_t B = x->dim[0], S = x->dim[1], D = x->dim[2], all = w->dim[1],
            Hq = a->qkv_hidden_sizes.n == 3 ? a->qkv_hidden_sizes.p[0] : all / 3, Hv = all - 2 * Hq, N = a->num_heads;
    int64_t h = Hq / N, hv = Hv / N, P = past ? past->dim[3] : 0, T = P + S, dim[3] = {B, S, Hv},
            kept[5] = {2, B, N, T, h};
    double *q = arena_array(e->arena, double, B *S *all), *score = arena_array(e->arena, double, T),
           scale = (a->set & SCALE_GIVEN) && a->scale != 0 ? a->scale : 1 / sqrt((double)h);
    Tensor *y = ev_out(e, 0, x->elem, 3, dim), *present = Hq == Hv ? ev_out(e, 1, x->elem, 5, kept) : NULL;
    if (!y || (Hq == Hv && !present)) return false;
    for (int64_t k = 0; k < B * S * all; k++) {
        q[k] = ev_has(e, BIAS) ? ev_f(e->in[BIAS], k % all) : 0;
        for (int64_t i = 0; i < D; i++) q[k] += ev_f(x, k / all * D + i) * ev_f(w, i * all + k % all);
    }
    for (int64_t k = 0; present && k < present->count; k++) {
        int64_t i = k % h, t = k / h % T, n = k / h / T % N, b = k / h / T / N % B, kv = k / h / T / N / B;
        ev_set_f(present, k,
                 t < P ? ev_f(past, (((kv * B + b) * N + n) * P + t) * h + i)
                       : q[(b * S + t - P) * all + Hq * (1 + kv) + n * h + i]);
    }
    for (int64_t r = 0; r < B * S * N; r++) {
        int64_t n = r % N, s = r / N % S, b = r / N / S;
        double max = -INFINITY, sum = 0;
        for (int64_t t = 0; t < T; t++) {
            score[t] = 0;
            for (int64_t i = 0; i < h; i++) {
                double key =
                    t < P ? ev_f(past, ((b * N + n) * P + t) * h + i) : q[(b * S + t - P) * all + Hq + n * h + i];
                score[t] += q[(b * S + s) * all + n * h + i] * key * scale;
            }
            if (ev_has(e, MASK)) score[t] += masked(e, b, s, S, t, T);
            if (ev_has(e, ATTENTION_BIAS)) {
                const Tensor *m = e->in[ATTENTION_BIAS];
                score[t] +=
                    ev_f(m, (((m->dim[0] == 1 ? 0 : b) * m->dim[1] + (m->dim[1] == 1 ? 0 : n)) * S + s) * T + t);
            }
            if (a->unidirectional && t > P + s) score[t] = -INFINITY;
            max = fmax(max, score[t]);
        }
        for (int64_t t = 0; t < T; t++) sum += score[t] = exp(score[t] - max);
        for (int64_t i = 0; i < hv; i++) {
            double v = 0;
            for (int64_t t = 0; t < T; t++)
                v += score[t] / sum *
                     (t < P ? ev_f(past, (((B + b) * N + n) * P + t) * h + i)
                            : q[(b * S + t - P) * all + 2 * Hq + n * hv + i]);
            ev_set_f(y, (b * S + s) * Hv + n * hv + i, v);
        }
    }
    return true;
}

static const Port P_IN[] = {{"input", DTS_FLOAT, 0, 1},
                            {"weights", DTS_FLOAT, 0, 1},
                            {"bias", DTS_FLOAT, PORT_OPTIONAL, 1},
                            {"mask_index", DTS(DT_I32), PORT_OPTIONAL, 0},
                            {"past", DTS_FLOAT, PORT_OPTIONAL, 1},
                            {"attention_bias", DTS_FLOAT, PORT_OPTIONAL, 1},
                            {"past_sequence_length", DTS(DT_I32), PORT_OPTIONAL, 0},
                            PORT_END};
static const Port P_OUT[] = {{"output", DTS_FLOAT, 0, 1}, {"present", DTS_FLOAT, PORT_OPTIONAL, 1}, PORT_END};
const OpDesc op_ms_Attention = {.name = "Attention",
                                .domain = "com.microsoft",
                                .since = 1,
                                .cls = CLS_ROW,
                                .in = P_IN,
                                .out = P_OUT,
                                .attrs = ATTRS_,
                                .attrs_size = sizeof(Att),
                                .infer = infer,
                                .expand = expand,
                                .eval = eval};
