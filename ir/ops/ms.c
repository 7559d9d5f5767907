/* ms.c: operators of com.microsoft that optimisers of exported transformers write, by expansion:
 *   Gelu(x), BiasGelu(x, b)   0.5 v (1 + erf(v / sqrt 2)) of v = x + b
 *   FastGelu(x, b)            the same by tanh
 *   QuickGelu(x)              x sigmoid(alpha x)
 *   SkipLayerNormalization    LayerNormalization(x + skip + bias); the sum is its fourth result
 *   SkipSimplified..          RMSNormalization(x + skip + bias)
 *   EmbedLayerNormalization   rows of two or three tables, added up and normalised */
#include "ir/graph/eval.h"
#include "ir/ops/compose.h"
#include <math.h>

#define MS .domain = "com.microsoft", .since = 1
#define DTS_IDS (DTS(DT_I32) | DTS(DT_I64))
typedef struct Ms {
    uint64_t set;
    double alpha, epsilon;
    int64_t mask_index_type;
} Ms;
static const AttrSpec QUICK[] = {A_FLOAT(Ms, alpha, 1.702), A_END};
static const AttrSpec SKIP[] = {A_FLOAT(Ms, epsilon, 1e-12), A_END};
static const AttrSpec EMBED[] = {A_FLOAT(Ms, epsilon, 1e-12), A_INT(Ms, mask_index_type, 0), A_END};

/* ---- Gelu and its like ---- */

static bool gelu_infer(Infer *c)
{
    Dim dim[RANK_MAX];
    int rank;
    if (!infer_has(c, 1)) return infer_like(c, 0, 0);
    if (!infer_need_rank(c, 0, 1, -1) || !infer_need_rank(c, 1, 1, 1)) return false;
    return infer_broadcast(c, (uint32_t[]){0, 1}, 2, dim, &rank) && infer_set(c, 0, infer_elem(c, 0), rank, dim);
}

static bool gelu_expand(Graph *g, Node n)
{
    Ex x = ex_begin(g, n);
    OpCode op = node_rec(g, n)->op;
    Value v = ex_in(&x, 0);
    if (ex_in(&x, 1).i) v = ex2(&x, OP_Add, v, ex_in(&x, 1));
    if (op == OP_ms_QuickGelu) {
        Value alpha = ex_f(&x, ex_elem(&x, v), ATTRS(g, n, Ms)->alpha);
        v = ex2(&x, OP_Mul, v, ex1(&x, OP_Sigmoid, ex2(&x, OP_Mul, v, alpha)));
    } else
        v = ex_op(&x, OP_Gelu, &v, 1, op == OP_ms_FastGelu ? ex_set_s(&x, OP_Gelu, NULL, "approximate", "tanh") : NULL);
    return ex_end(&x, &v, 1);
}

static bool gelu_eval(Eval *e)
{
    OpCode op = node_rec(e->g, e->n)->op;
    const Tensor *x = e->in[0];
    Tensor *y = ev_out(e, 0, x->elem, x->rank, x->dim);
    for (int64_t k = 0; y && k < y->count; k++) {
        double v = ev_f(x, k) + (ev_has(e, 1) ? ev_f(e->in[1], ev_broadcast_index(e->in[1], y, k)) : 0);
        double half = op == OP_ms_FastGelu ? tanh(sqrt(2 / acos(-1)) * (v + 0.044715 * v * v * v)) : erf(v / sqrt(2));
        ev_set_f(y, k, op == OP_ms_QuickGelu ? v / (1 + exp(-ATTRS(e->g, e->n, Ms)->alpha * v)) : 0.5 * v * (1 + half));
    }
    return y != NULL;
}

/* ---- SkipLayerNormalization ---- */

static bool simplified(const OpDesc *op) { return op == op_desc(OP_ms_SkipSimplifiedLayerNormalization); }

/* Operand k is a vector as long as the last axis of operand 0. */
static bool vector_fits(Infer *c, uint32_t k, uint32_t of)
{
    if (!infer_has(c, k)) return true;
    return infer_need_rank(c, k, 1, 1) &&
           infer_must_eq(c, infer_dim(c, k, 0), infer_dim(c, of, infer_rank(c, of) - 1), "length of a vector");
}

static bool skip_infer(Infer *c)
{
    Dim dim[RANK_MAX], sum[RANK_MAX];
    int rank;
    uint32_t bias = simplified(c->op) ? 3 : 4;
    if (!infer_need_rank(c, 0, 2, 3) || !infer_need_rank(c, 1, 1, infer_rank(c, 0)) ||
        !infer_broadcast(c, (uint32_t[]){0, 1}, 2, sum, &rank))
        return false;
    for (uint32_t k = 2; k <= bias; k++)
        if (!vector_fits(c, k, 0)) return false;
    for (int i = 0; i < rank; i++) dim[i] = i == rank - 1 ? dim_const(c->d, 1) : infer_dim(c, 0, i);
    return infer_like(c, 0, 0) && infer_set(c, 1, DT_F32, rank, dim) && infer_set(c, 2, DT_F32, rank, dim) &&
           infer_like(c, 3, 0);
}

static bool skip_expand(Graph *g, Node n)
{
    Ex x = ex_begin(g, n);
    bool rms = simplified(node_desc(g, n));
    Value bias = ex_in(&x, rms ? 3 : 4), s = ex2(&x, OP_Add, ex_in(&x, 0), ex_in(&x, 1)), out[4] = {{0}};
    if (bias.i) s = ex2(&x, OP_Add, s, bias);
    if (rms) {
        out[0] = ex_op(&x, OP_RMSNormalization, (Value[]){s, ex_in(&x, 2)}, 2, ex_inherit(&x, OP_RMSNormalization));
        for (uint32_t r = 1; r < 3; r++) /* nobody has them */
            if (r < node_n_out(g, n) && value_used(g, node_out(g, n, r))) return false;
    } else
        ex_ops(&x, OP_LayerNormalization, (Value[]){s, ex_in(&x, 2), ex_in(&x, 3)}, 3,
               ex_inherit(&x, OP_LayerNormalization), out, 3);
    out[3] = s;
    return ex_end(&x, out, 4);
}

static bool skip_eval(Eval *e)
{
    bool rms = simplified(node_desc(e->g, e->n));
    const Tensor *x = e->in[0], *z = e->in[1];
    uint32_t bias = rms ? 3 : 4;
    int64_t F = x->dim[x->rank - 1], dim[RANK_MAX];
    for (int i = 0; i < x->rank; i++) dim[i] = i == x->rank - 1 ? 1 : x->dim[i];
    Tensor *y = ev_out(e, 0, x->elem, x->rank, x->dim), *m = ev_out(e, 1, DT_F32, x->rank, dim),
           *v = ev_out(e, 2, DT_F32, x->rank, dim), *s = ev_out(e, 3, x->elem, x->rank, x->dim);
    if (!y || !m || !v || !s) return false;
    for (int64_t k = 0; k < x->count; k++)
        ev_set_f(s, k,
                 ev_f(x, k) + ev_f(z, ev_broadcast_index(z, x, k)) + (ev_has(e, bias) ? ev_f(e->in[bias], k % F) : 0));
    for (int64_t r = 0; r < x->count / (F ? F : 1); r++) {
        double mean = 0, var = 0;
        for (int64_t k = 0; k < F && !rms; k++) mean += ev_f(s, r * F + k) / (double)F;
        for (int64_t k = 0; k < F; k++) var += (ev_f(s, r * F + k) - mean) * (ev_f(s, r * F + k) - mean) / (double)F;
        double inv = 1 / sqrt(var + ATTRS(e->g, e->n, Ms)->epsilon);
        ev_set_f(m, r, mean);
        ev_set_f(v, r, inv);
        for (int64_t k = 0; k < F; k++)
            ev_set_f(y, r * F + k,
                     (ev_f(s, r * F + k) - mean) * inv * ev_f(e->in[2], k) +
                         (!rms && ev_has(e, 3) ? ev_f(e->in[3], k) : 0));
    }
    return true;
}

/* ---- EmbedLayerNormalization ---- */

enum { IDS, SEGMENTS, WORD, POSITION, SEGMENT, GAMMA, BETA, MASK, POSITION_IDS };

static bool embed_infer(Infer *c)
{
    if (!infer_need_rank(c, IDS, 2, 2) || !infer_need_rank(c, WORD, 2, 2) || !infer_need_rank(c, POSITION, 2, 2))
        return false;
    Dim H = infer_dim(c, WORD, 1), dim[3] = {infer_dim(c, IDS, 0), infer_dim(c, IDS, 1), H};
    if (!infer_must_eq(c, infer_dim(c, POSITION, 1), H, "width of the position table") ||
        infer_has(c, SEGMENTS) != infer_has(c, SEGMENT))
        return infer_fail(c, "the tables do not fit together");
    if (infer_has(c, SEGMENT) && (!infer_need_rank(c, SEGMENT, 2, 2) || !infer_need_rank(c, SEGMENTS, 2, 2)))
        return false;
    if (infer_has(c, MASK) && !infer_need_rank(c, MASK, 2, 2)) return false;
    if (infer_has(c, POSITION_IDS) && !infer_need_rank(c, POSITION_IDS, 2, 2)) return false;
    if (!vector_fits(c, GAMMA, WORD) || !vector_fits(c, BETA, WORD)) return false;
    return infer_set(c, 0, infer_elem(c, WORD), 3, dim) && infer_set(c, 1, DT_I32, 1, dim) &&
           infer_set(c, 2, infer_elem(c, WORD), 3, dim);
}

static Value axis_length(Ex *x, Value v, int64_t axis) /* i64[1] */
{
    return ex2(x, OP_Gather, ex1(x, OP_Shape, v), ex_int1(x, axis));
}

static bool embed_expand(Graph *g, Node n)
{
    Ex x = ex_begin(g, n);
    Value ids = ex_in(&x, IDS), rows, count = VALUE_NONE, s = ex2(&x, OP_Gather, ex_in(&x, WORD), ids), y;
    if (ex_in(&x, POSITION_IDS).i) rows = ex2(&x, OP_Gather, ex_in(&x, POSITION), ex_in(&x, POSITION_IDS));
    else {
        Value zero = ex_int1(&x, 0);
        rows = ex_op(&x, OP_Slice, (Value[]){ex_in(&x, POSITION), zero, axis_length(&x, ids, 1), zero}, 4, NULL);
    }
    s = ex2(&x, OP_Add, s, rows);
    if (ex_in(&x, SEGMENT).i) s = ex2(&x, OP_Add, s, ex2(&x, OP_Gather, ex_in(&x, SEGMENT), ex_in(&x, SEGMENTS)));
    y = ex_op(&x, OP_LayerNormalization, (Value[]){s, ex_in(&x, GAMMA), ex_in(&x, BETA)}, 3,
              ex_inherit(&x, OP_LayerNormalization));
    if (node_n_out(g, n) > 1 && value_used(g, node_out(g, n, 1))) { /* how many keys of each row count */
        Value mask = ex_in(&x, MASK);
        count = mask.i ? ex_reduce(&x, OP_ReduceSum, ex_cast(&x, mask, DT_I32), (int64_t[]){1}, 1, false)
                       : ex2(&x, OP_Expand, ex_i(&x, DT_I32, 0), axis_length(&x, ids, 0));
    }
    return ex_end(&x, (Value[]){y, count, s}, 3);
}

static bool embed_eval(Eval *e)
{
    const Tensor *ids = e->in[IDS], *word = e->in[WORD], *pos = e->in[POSITION];
    int64_t B = ids->dim[0], S = ids->dim[1], H = word->dim[1], dim[3] = {B, S, H};
    Tensor *y = ev_out(e, 0, word->elem, 3, dim), *count = ev_out(e, 1, DT_I32, 1, dim),
           *s = ev_out(e, 2, word->elem, 3, dim);
    if (!y || !count || !s) return false;
    for (int64_t r = 0; r < B * S; r++) {
        int64_t id = ev_i(ids, r), p = ev_has(e, POSITION_IDS)
                                           ? ev_i(e->in[POSITION_IDS], e->in[POSITION_IDS]->dim[0] == 1 ? r % S : r)
                                           : r % S;
        int64_t seg = ev_has(e, SEGMENT) ? ev_i(e->in[SEGMENTS], r) : 0;
        double mean = 0, var = 0;
        if (id < 0 || id >= word->dim[0] || p < 0 || p >= pos->dim[0] || seg < 0 ||
            (ev_has(e, SEGMENT) && seg >= e->in[SEGMENT]->dim[0]))
            return ev_fail(e, "an index is out of range");
        for (int64_t k = 0; k < H; k++) {
            ev_set_f(s, r * H + k,
                     ev_f(word, id * H + k) + ev_f(pos, p * H + k) +
                         (ev_has(e, SEGMENT) ? ev_f(e->in[SEGMENT], seg * H + k) : 0));
            mean += ev_f(s, r * H + k) / (double)H;
        }
        for (int64_t k = 0; k < H; k++) var += (ev_f(s, r * H + k) - mean) * (ev_f(s, r * H + k) - mean) / (double)H;
        for (int64_t k = 0; k < H; k++)
            ev_set_f(y, r * H + k,
                     (ev_f(s, r * H + k) - mean) / sqrt(var + ATTRS(e->g, e->n, Ms)->epsilon) * ev_f(e->in[GAMMA], k) +
                         ev_f(e->in[BETA], k));
        if (ev_has(e, MASK)) ev_set_i(count, r / S, ev_i(count, r / S) + ev_i(e->in[MASK], r));
    }
    return true;
}

static const Port P_X[] = {{"X", DTS_FLOAT, 0, 1}, PORT_END};
static const Port P_Y[] = {{"Y", DTS_FLOAT, 0, 1}, PORT_END};
static const Port P_BIASED[] = {{"X", DTS_FLOAT, 0, 1}, {"bias", DTS_FLOAT, PORT_OPTIONAL, 1}, PORT_END};
static const Port P_AB[] = {{"A", DTS_FLOAT, 0, 1}, {"B", DTS_FLOAT, 0, 1}, PORT_END};
#define GELU MS, .cls = CLS_ROW, .out = P_Y, .infer = gelu_infer, .expand = gelu_expand, .eval = gelu_eval
const OpDesc op_ms_Gelu = {.name = "Gelu", GELU, .in = P_X};
const OpDesc op_ms_FastGelu = {.name = "FastGelu", GELU, .in = P_BIASED};
const OpDesc op_ms_BiasGelu = {.name = "BiasGelu", GELU, .in = P_AB};
const OpDesc op_ms_QuickGelu = {.name = "QuickGelu", GELU, .in = P_X, .attrs = QUICK, .attrs_size = sizeof(Ms)};

static const Port P_SKIP[] = {{"input", DTS_FLOAT, 0, 1},
                              {"skip", DTS_FLOAT, 0, 1},
                              {"gamma", DTS_FLOAT, 0, 1},
                              {"beta", DTS_FLOAT, PORT_OPTIONAL, 1},
                              {"bias", DTS_FLOAT, PORT_OPTIONAL, 1},
                              PORT_END};
static const Port P_SKIP_RMS[] = {{"input", DTS_FLOAT, 0, 1},
                                  {"skip", DTS_FLOAT, 0, 1},
                                  {"gamma", DTS_FLOAT, 0, 1},
                                  {"bias", DTS_FLOAT, PORT_OPTIONAL, 1},
                                  PORT_END};
static const Port P_SKIP_OUT[] = {{"output", DTS_FLOAT, 0, 1},
                                  {"mean", DTS(DT_F32), PORT_OPTIONAL, 0},
                                  {"inv_std_var", DTS(DT_F32), PORT_OPTIONAL, 0},
                                  {"input_skip_bias_sum", DTS_FLOAT, PORT_OPTIONAL, 1},
                                  PORT_END};
#define SKIP_LN                                                                                                        \
    MS, .cls = CLS_ROW, .out = P_SKIP_OUT, .attrs = SKIP, .attrs_size = sizeof(Ms), .infer = skip_infer,               \
        .expand = skip_expand, .eval = skip_eval
const OpDesc op_ms_SkipLayerNormalization = {.name = "SkipLayerNormalization", SKIP_LN, .in = P_SKIP};
const OpDesc op_ms_SkipSimplifiedLayerNormalization = {
    .name = "SkipSimplifiedLayerNormalization", SKIP_LN, .in = P_SKIP_RMS};

static const Port P_EMBED[] = {{"input_ids", DTS_IDS, 0, 0},
                               {"segment_ids", DTS_IDS, PORT_OPTIONAL, 0},
                               {"word_embedding", DTS_FLOAT, 0, 1},
                               {"position_embedding", DTS_FLOAT, 0, 1},
                               {"segment_embedding", DTS_FLOAT, PORT_OPTIONAL, 1},
                               {"gamma", DTS_FLOAT, 0, 1},
                               {"beta", DTS_FLOAT, 0, 1},
                               {"mask", DTS_IDS, PORT_OPTIONAL, 0},
                               {"position_ids", DTS_IDS, PORT_OPTIONAL, 0},
                               PORT_END};
static const Port P_EMBED_OUT[] = {{"output", DTS_FLOAT, 0, 1},
                                   {"mask_index", DTS(DT_I32), PORT_OPTIONAL, 0},
                                   {"embedding_sum", DTS_FLOAT, PORT_OPTIONAL, 1},
                                   PORT_END};
const OpDesc op_ms_EmbedLayerNormalization = {.name = "EmbedLayerNormalization",
                                              MS,
                                              .cls = CLS_ROW,
                                              .in = P_EMBED,
                                              .out = P_EMBED_OUT,
                                              .attrs = EMBED,
                                              .attrs_size = sizeof(Ms),
                                              .infer = embed_infer,
                                              .expand = embed_expand,
                                              .eval = embed_eval};
