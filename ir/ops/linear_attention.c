/* linear_attention.c: LinearAttention: a recurrence over time with a state S [d_k, d_v] for each key/value head.
 *   S = exp(g_t) * S                                (gated: decay, for the head or for each key dimension)
 *   S = S + k_t x (beta_t * (v_t - S^T k_t))        (delta; otherwise S + k_t x v_t)
 *   o_t = scale * S^T q_t                           (for each query head that shares the state)
 * Columns of S do not meet: one kernel, parallel over batch, heads and d_v, sequential over time. The state is kept in
 * the compute type in present_state itself, or in a temporary when that is stored narrower. */
#include "ir/graph/eval.h"
#include "ir/graph/infer.h"
#include "ir/graph/lower.h"
#include "ir/ops/grad.h"
#include <math.h>
#include <string.h>

enum { QUERY, KEY, VALUE_, PAST, DECAY, BETA };
static const Port P_IN[] = {{"query", DTS_FLOAT, 0, 1},
                            {"key", DTS_FLOAT, 0, 1},
                            {"value", DTS_FLOAT, 0, 1},
                            {"past_state", DTS_FLOAT, PORT_OPTIONAL, 2},
                            {"decay", DTS_FLOAT, PORT_OPTIONAL, 1},
                            {"beta", DTS_FLOAT, PORT_OPTIONAL, 1},
                            PORT_END};
static const Port P_OUT[] = {{"output", DTS_FLOAT, 0, 1}, {"present_state", DTS_FLOAT, PORT_OPTIONAL, 2}, PORT_END};
typedef struct Linear {
    uint64_t set;
    int64_t chunk_size, kv_num_heads, q_num_heads;
    double scale;
    const char *update_rule;
} Linear;
static const AttrSpec ATTRS_[] = {A_INT(Linear, chunk_size, 64), A_INT(Linear, kv_num_heads, 0),
                                  A_INT(Linear, q_num_heads, 0), A_FLOAT(Linear, scale, 0),
                                  A_STRING(Linear, update_rule, "gated_delta"), A_END};

static bool is_gated(const Linear *a) { return !strncmp(a->update_rule, "gated", 5); }
static bool is_delta(const Linear *a) { return strstr(a->update_rule, "delta") != NULL; }
static bool is_known(const Linear *a)
{
    static const char *const RULE[] = {"linear", "gated", "delta", "gated_delta"};
    for (int k = 0; k < 4; k++)
        if (!strcmp(a->update_rule, RULE[k])) return true;
    return false;
}

static bool optional_fits(Infer *c, uint32_t k, bool wanted)
{
    const char *rule = ATTRS(c->g, c->n, Linear)->update_rule;
    if (infer_has(c, k) != wanted)
        return infer_fail(c, "update_rule '%s' %s input '%s'", rule, wanted ? "needs" : "has no", P_IN[k].name);
    return !wanted || (infer_need_rank(c, k, 3, 3) && infer_must_eq(c, infer_dim(c, k, 0), infer_dim(c, QUERY, 0), "batch") &&
                       infer_must_eq(c, infer_dim(c, k, 1), infer_dim(c, QUERY, 1), "length"));
}

/* x is p or q: an error, or (x - p) * (x - q) == 0 for the run to check. */
static bool one_of(Infer *c, Dim x, Dim p, Dim q, const char *what)
{
    Tri by[2] = {dim_eq(c->d, x, p), dim_eq(c->d, x, q)};
    if (by[0] == TRI_YES || by[1] == TRI_YES) return true;
    if (by[0] == TRI_NO && by[1] == TRI_NO) return infer_fail(c, "%s", what);
    if (by[0] == TRI_NO || by[1] == TRI_NO) return infer_must_eq(c, x, by[0] == TRI_NO ? q : p, what);
    return infer_must_eq(c, dim_mul(c->d, dim_sub(c->d, x, p), dim_sub(c->d, x, q)), dim_const(c->d, 0), what);
}

static bool infer(Infer *c)
{
    const Linear *a = ATTRS(c->g, c->n, Linear);
    if (!is_known(a)) return infer_fail(c, "update_rule '%s' is unknown", a->update_rule);
    if (a->kv_num_heads < 1 || a->q_num_heads < 1 || a->q_num_heads % a->kv_num_heads)
        return infer_fail(c, "q_num_heads = %lld is no positive multiple of kv_num_heads = %lld", (long long)a->q_num_heads,
                          (long long)a->kv_num_heads);
    for (uint32_t k = QUERY; k <= VALUE_; k++)
        if (!infer_need_rank(c, k, 3, 3)) return false;
    Dim kv = dim_const(c->d, a->kv_num_heads), dq = dim_div(c->d, infer_dim(c, QUERY, 2), dim_const(c->d, a->q_num_heads)),
        dv = dim_div(c->d, infer_dim(c, VALUE_, 2), kv), batch = infer_dim(c, QUERY, 0), length = infer_dim(c, QUERY, 1);
    for (uint32_t k = KEY; k <= VALUE_; k++)
        if (!infer_must_eq(c, infer_dim(c, k, 0), batch, "batch") || !infer_must_eq(c, infer_dim(c, k, 1), length, "length"))
            return false;
    if (!infer_must_eq(c, infer_dim(c, KEY, 2), dim_mul(c->d, kv, dq), "width of the keys") ||
        !infer_must_eq(c, infer_dim(c, QUERY, 2), dim_mul(c->d, dim_const(c->d, a->q_num_heads), dq), "width of the queries") ||
        !infer_must_eq(c, infer_dim(c, VALUE_, 2), dim_mul(c->d, kv, dv), "width of the values"))
        return false;
    if (!optional_fits(c, DECAY, is_gated(a)) || !optional_fits(c, BETA, is_delta(a))) return false;
    if (is_gated(a)) {
        Dim all = dim_mul(c->d, kv, dq);
        if (!one_of(c, infer_dim(c, DECAY, 2), kv, all, "decay must have a value for each head or for each key dimension")) return false;
    }
    if (is_delta(a) && !one_of(c, infer_dim(c, BETA, 2), dim_const(c->d, 1), kv, "beta must have one value, or one for each head")) return false;
    Dim state[4] = {batch, kv, dq, dv}, out[3] = {batch, length, dim_mul(c->d, dim_const(c->d, a->q_num_heads), dv)};
    if (infer_has(c, PAST)) {
        if (!infer_need_rank(c, PAST, 4, 4)) return false;
        for (int i = 0; i < 4; i++)
            if (!infer_must_eq(c, infer_dim(c, PAST, i), state[i], "extent of past_state")) return false;
    }
    return infer_set(c, 0, infer_elem(c, QUERY), 3, out) &&
           (node_n_out(c->g, c->n) < 2 || infer_set(c, 1, infer_elem(c, infer_has(c, PAST) ? PAST : QUERY), 4, state));
}

static bool lower(Lw *l, Node n)
{
    const Linear *a = ATTRS(l->g, n, Linear);
    Dims *d = &l->m->dims;
    DType t = dtype_compute(lw_elem(l, QUERY));
    bool keeps = node_n_out(l->g, n) > 1, gated = is_gated(a), delta = is_delta(a), narrow = !keeps || lw_out_elem(l, 1) != t;
    int64_t share = a->q_num_heads / a->kv_num_heads;
    Dim kv = dim_const(d, a->kv_num_heads), dk = dim_div(d, lw_dim(l, QUERY, 2), dim_const(d, a->q_num_heads)),
        dv = dim_div(d, lw_dim(l, VALUE_, 2), kv), state_dim[4] = {lw_dim(l, QUERY, 0), kv, dk, dv};
    lw_prepare_in(l);
    for (uint32_t k = 0; k <= BETA; k++)
        if (lw_has(l, k)) lw_in_strided(l, k);
    lw_prepare_out(l);
    KBuf state = narrow ? lw_temp(l, t, 4, state_dim) : lw_out(l, 1);
    Kb *b = lw_kernel(l, "linear_attention");
    uint32_t s = kb_param(b, state, true);
    KVal bat = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, state_dim[0])), h = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, kv)),
         j = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, dv)), zero = kb_const_f(b, t, 0), kd = kb_dim(b, dk);
    KVal at[4] = {bat, h, zero, j}, i = at[2] = kb_for(b, KLOOP_SEQ, kb_i(b, 0), kd);
    kb_store(b, s, at, lw_has(l, PAST) ? kb_cast(b, t, lw_at(l, PAST, at)) : zero);
    kb_end(b);

    KVal time = kb_for(b, KLOOP_SEQ, kb_i(b, 0), kb_dim(b, lw_dim(l, QUERY, 1)));
    KVal first = kb_mul(b, h, kd), v = lw_at(l, VALUE_, (KVal[]){bat, time, kb_add(b, kb_mul(b, h, kb_dim(b, dv)), j)});
    bool each = gated && dim_eq(d, lw_dim(l, DECAY, 2), kv) != TRI_YES; /* a decay for each key dimension */
    KVal whole = gated && !each ? kb_un(b, KOP_EXP, lw_at(l, DECAY, (KVal[]){bat, time, h})) : kb_const_f(b, t, 1);
    if (gated || delta) { /* S decays; what it says of this key */
        KbLoop loop;
        KOp add = KOP_ADD;
        kb_loop(b, &loop, KLOOP_SEQ, kb_i(b, 0), kd, 1, &zero, &add);
        at[2] = loop.iv;
        KVal place[3] = {bat, time, kb_add(b, first, loop.iv)}, old = kb_load(b, s, at);
        if (gated) {
            Dim per = each ? dim_div(d, lw_dim(l, DECAY, 2), kv) : dim_const(d, 1);
            KVal own[3] = {bat, time, place[2]};
            if (each && dim_eq(d, per, dk) != TRI_YES) /* per is dk or 1 */
                own[2] = kb_add(b, kb_mul(b, h, kb_dim(b, per)), kb_min(b, loop.iv, kb_dim(b, dim_sub(d, per, dim_const(d, 1)))));
            old = kb_mul(b, old, each ? kb_un(b, KOP_EXP, lw_at(l, DECAY, own)) : whole);
            kb_store(b, s, at, old);
        }
        KVal said = kb_add(b, loop.carry[0], kb_mul(b, old, lw_at(l, KEY, place)));
        kb_loop_end(b, &loop, &said);
        if (delta) {
            Dim width = lw_dim(l, BETA, 2);
            KVal mine = dim_eq(d, width, kv) == TRI_YES ? h : kb_min(b, h, kb_dim(b, dim_sub(d, width, dim_const(d, 1))));
            v = kb_mul(b, lw_at(l, BETA, (KVal[]){bat, time, mine}), kb_sub(b, v, loop.result[0]));
        }
    }
    i = at[2] = kb_for(b, KLOOP_SEQ, kb_i(b, 0), kd);
    kb_store(b, s, at, kb_add(b, kb_load(b, s, at), kb_mul(b, lw_at(l, KEY, (KVal[]){bat, time, kb_add(b, first, i)}), v)));
    kb_end(b);
    KVal scale = a->scale != 0 ? kb_const_f(b, t, a->scale) : kb_div(b, kb_const_f(b, t, 1), kb_un(b, KOP_SQRT, kb_cast(b, t, kd)));
    KVal g = kb_for(b, KLOOP_SEQ, kb_i(b, 0), kb_i(b, share)), head = kb_add(b, kb_mul(b, h, kb_i(b, share)), g);
    KbLoop loop;
    KOp add = KOP_ADD;
    kb_loop(b, &loop, KLOOP_SEQ, kb_i(b, 0), kd, 1, &zero, &add);
    at[2] = loop.iv;
    KVal q = lw_at(l, QUERY, (KVal[]){bat, time, kb_add(b, kb_mul(b, head, kd), loop.iv)});
    KVal sum = kb_add(b, loop.carry[0], kb_mul(b, q, kb_load(b, s, at)));
    kb_loop_end(b, &loop, &sum);
    lw_put(l, 0, (KVal[]){bat, time, kb_add(b, kb_mul(b, head, kb_dim(b, dv)), j)}, kb_mul(b, scale, loop.result[0]));
    kb_end(b);
    kb_end(b); /* time */
    if (narrow && keeps) {
        at[2] = kb_for(b, KLOOP_SEQ, kb_i(b, 0), kd);
        lw_put(l, 1, at, kb_load(b, s, at));
        kb_end(b);
    }
    lw_end_nest(l, 3);
    lw_kernel_end(l);
    return true;
}

static bool eval(Eval *e)
{
    const Linear *a = ATTRS(e->g, e->n, Linear);
    const Tensor *q = e->in[QUERY], *k = e->in[KEY], *v = e->in[VALUE_], *decay = is_gated(a) ? e->in[DECAY] : NULL,
                 *beta = is_delta(a) ? e->in[BETA] : NULL;
    int64_t B = q->dim[0], T = q->dim[1], H = a->kv_num_heads, Q = a->q_num_heads, K = q->dim[2] / Q, V = v->dim[2] / H,
            out_dim[3] = {B, T, Q * V}, state_dim[4] = {B, H, K, V};
    Tensor *y = ev_out(e, 0, q->elem, 3, out_dim), *last = ev_out(e, 1, ev_has(e, PAST) ? e->in[PAST]->elem : q->elem, 4, state_dim);
    if (!y || !last) return false;
    double *S = arena_array(e->arena, double, (size_t)(K * V + 1)), *said = arena_array(e->arena, double, (size_t)(V + 1));
    for (int64_t bh = 0; bh < B * H; bh++) {
        int64_t b = bh / H, h = bh % H;
        for (int64_t i = 0; i < K * V; i++) S[i] = ev_has(e, PAST) ? ev_f(e->in[PAST], bh * K * V + i) : 0;
        for (int64_t t = 0; t < T; t++) {
            int64_t row = b * T + t;
            for (int64_t i = 0; decay && i < K; i++) {
                double g = exp(decay->dim[2] == H ? ev_f(decay, row * H + h) : ev_f(decay, row * H * K + h * K + i));
                for (int64_t j = 0; j < V; j++) S[i * V + j] *= g;
            }
            for (int64_t j = 0; j < V; j++) {
                said[j] = ev_f(v, (row * H + h) * V + j);
                for (int64_t i = 0; beta && i < K; i++) said[j] -= S[i * V + j] * ev_f(k, (row * H + h) * K + i);
                if (beta) said[j] *= ev_f(beta, beta->dim[2] == 1 ? row : row * H + h);
            }
            for (int64_t i = 0; i < K; i++)
                for (int64_t j = 0; j < V; j++) S[i * V + j] += ev_f(k, (row * H + h) * K + i) * said[j];
            for (int64_t r = h * (Q / H); r < (h + 1) * (Q / H); r++)
                for (int64_t j = 0; j < V; j++) {
                    double s = 0;
                    for (int64_t i = 0; i < K; i++) s += ev_f(q, (row * Q + r) * K + i) * S[i * V + j];
                    ev_set_f(y, (row * Q + r) * V + j, s * (a->scale != 0 ? a->scale : 1 / sqrt((double)K)));
                }
        }
        for (int64_t i = 0; i < K * V; i++) ev_set_f(last, bh * K * V + i, S[i]);
    }
    return true;
}

const OpDesc op_LinearAttention = {.name = "LinearAttention", .since = 27, .cls = CLS_OPAQUE, .flags = OPF_STRIDED_OUT, .in = P_IN, .out = P_OUT, .attrs = ATTRS_,
                                   .attrs_size = sizeof(Linear), .infer = infer, .lower = lower, .eval = eval, .grad = grad_linear_attention};
