/* attention.c: Attention in terms of products, masks and Softmax.
 *   Y = Softmax(softcap(scale * Q * K') + bias) * V       per batch and head; K and V behind past_key and past_value;
 *   several heads of Q may share one of K
 * The bias is -inf where a key must not be seen: by attn_mask (bool; a float mask is added), is_causal, the windows,
 * nonpad_kv_seqlen. Query i stands at position
 * p = offset + i, offset = length of the past, or nonpad_kv_seqlen - length of Q, or 0. A row that sees no key gives
 * zeros.
 * 3-D operands have their heads side by side in the last axis: split and merged by views. Shared heads are a batch
 * axis that K and V do not have. */
#include "ir/ops/attention.h"
#include "ir/graph/eval.h"
#include <math.h>

enum { AT_Q, AT_K, AT_V, AT_MASK, AT_PAST_K, AT_PAST_V, AT_NONPAD };

#define DTS_ATTENTION (DTS_FLOAT)
static const Port P_IN[] = {{"Q", DTS_ATTENTION, 0, 1},
                            {"K", DTS_ATTENTION, 0, 1},
                            {"V", DTS_ATTENTION, 0, 2},
                            {"attn_mask", DTS_NUM | DTS_BOOL, PORT_OPTIONAL, 0},
                            {"past_key", DTS_ATTENTION, PORT_OPTIONAL, 1},
                            {"past_value", DTS_ATTENTION, PORT_OPTIONAL, 2},
                            {"nonpad_kv_seqlen", DTS(DT_I64), PORT_OPTIONAL, 0},
                            PORT_END};
static const Port P_OUT[] = {{"Y", DTS_ATTENTION, 0, 1},
                             {"present_key", DTS_ATTENTION, PORT_OPTIONAL, 1},
                             {"present_value", DTS_ATTENTION, PORT_OPTIONAL, 2},
                             {"qk_matmul_output", DTS_ATTENTION, PORT_OPTIONAL, 1},
                             PORT_END};

typedef struct Attention {
    uint64_t set;
    double scale, softcap;
    int64_t is_causal, q_num_heads, kv_num_heads, softmax_precision, qk_matmul_output_mode, left_window_size,
        right_window_size;
} Attention;
static const AttrSpec ATTRS_[] = {A_FLOAT(Attention, scale, 0),
                                  A_FLOAT(Attention, softcap, 0),
                                  A_INT(Attention, is_causal, 0),
                                  A_INT(Attention, q_num_heads, 0),
                                  A_INT(Attention, kv_num_heads, 0),
                                  A_INT(Attention, softmax_precision, 0),
                                  A_INT(Attention, qk_matmul_output_mode, 0),
                                  A_INT(Attention, left_window_size, -1),
                                  A_INT(Attention, right_window_size, -1),
                                  A_END};
static bool has_scale(const Attention *a) { return a->set & 1; }
static bool has_window(const Attention *a) { return a->left_window_size >= 0 || a->right_window_size >= 0; }

/* The extents of an operand as [batch, heads, length, size]. */
static void as_4d(Dims *d, const TypeRec *t, int64_t heads, Dim *out)
{
    for (int i = 0; i < 4 && t->rank == 4; i++) out[i] = dim_resolve(d, t->dim[i]);
    if (t->rank == 4) return;
    out[0] = dim_resolve(d, t->dim[0]);
    out[1] = dim_const(d, heads);
    out[2] = dim_resolve(d, t->dim[1]);
    out[3] = dim_div(d, dim_resolve(d, t->dim[2]), out[1]);
}

/* A divisor that is never 0. */
static Dim shared(Dims *d, Dim hq, Dim hk)
{
    Dim one = dim_const(d, 1);
    return dim_eq(d, hq, hk) == TRI_YES ? one : dim_div(d, hq, dim_max(d, one, hk));
}

bool attention_heads(Infer *c, Dim hq, Dim hk)
{
    int64_t q, k;
    if (dim_eq(c->d, hq, hk) == TRI_YES) return true;
    if (dim_is_const(c->d, hq, &q) && dim_is_const(c->d, hk, &k) && (!k || q % k))
        return infer_fail(c, "%lld heads of Q do not share %lld heads of K evenly", (long long)q, (long long)k);
    return infer_must_eq(c, dim_mul(c->d, hk, shared(c->d, hq, hk)), hq, "number of heads");
}

static bool infer(Infer *c)
{
    const Attention *a = ATTRS(c->g, c->n, Attention);
    Dim q[4], k[4], v[4], total, y[4];
    for (uint32_t i = 0; i < 3; i++) {
        if (!infer_need_rank(c, i, 3, 4)) return false;
        if (infer_rank(c, i) != infer_rank(c, 0)) return infer_fail(c, "Q, K and V differ in rank");
    }
    bool split = infer_rank(c, 0) == 3;
    if (split && (a->q_num_heads < 1 || a->kv_num_heads < 1))
        return infer_fail(c, "operands of rank 3 need q_num_heads and kv_num_heads");
    if (a->left_window_size < -1 || a->right_window_size < -1) return infer_fail(c, "a window size is below -1");
    if (a->qk_matmul_output_mode < 0 || a->qk_matmul_output_mode > 3)
        return infer_fail(c, "qk_matmul_output_mode is not 0, 1, 2 or 3");
    if (a->softmax_precision && !(DTS((DType)a->softmax_precision) & DTS_FLOAT))
        return infer_fail(c, "softmax_precision is not a float type");
    if (infer_has(c, AT_PAST_K) != infer_has(c, AT_PAST_V))
        return infer_fail(c, "past_key and past_value come together");
    if (infer_has(c, AT_PAST_K) && infer_has(c, AT_NONPAD))
        return infer_fail(c, "nonpad_kv_seqlen is for a cache outside, not for past_key");
    as_4d(c->d, infer_in(c, AT_Q), a->q_num_heads, q);
    as_4d(c->d, infer_in(c, AT_K), a->kv_num_heads, k);
    as_4d(c->d, infer_in(c, AT_V), a->kv_num_heads, v);
    const char *what[2] = {"dimension of K", "dimension of V"};
    if (!infer_must_eq(c, k[0], q[0], what[0]) || !infer_must_eq(c, v[0], q[0], what[1]) ||
        !infer_must_eq(c, k[3], q[3], what[0]) || !infer_must_eq(c, v[1], k[1], what[1]) ||
        !infer_must_eq(c, v[2], k[2], what[1]))
        return false;
    if (!attention_heads(c, q[1], k[1])) return false;
    total = k[2];
    if (infer_has(c, AT_PAST_K)) {
        Dim *other[2] = {k, v};
        for (uint32_t i = 0; i < 2; i++) {
            if (!infer_need_rank(c, AT_PAST_K + i, 4, 4)) return false;
            for (int ax = 0; ax < 4; ax++)
                if (ax != 2 &&
                    !infer_must_eq(c, infer_dim(c, AT_PAST_K + i, ax), other[i][ax], "dimension of the past"))
                    return false;
        }
        if (!infer_must_eq(c, infer_dim(c, AT_PAST_V, 2), infer_dim(c, AT_PAST_K, 2), "length of the past"))
            return false;
        total = dim_add(c->d, infer_dim(c, AT_PAST_K, 2), total);
    }
    if (infer_has(c, AT_MASK) && !infer_need_rank(c, AT_MASK, 1, 4)) return false;
    if (infer_has(c, AT_NONPAD) && (!infer_need_rank(c, AT_NONPAD, 1, 1) ||
                                    !infer_must_eq(c, infer_dim(c, AT_NONPAD, 0), q[0], "length of nonpad_kv_seqlen")))
        return false;
    if (split) y[0] = q[0], y[1] = q[2], y[2] = dim_mul(c->d, q[1], v[3]);
    else y[0] = q[0], y[1] = q[1], y[2] = q[2], y[3] = v[3];
    k[2] = v[2] = total;
    return infer_set(c, 0, infer_elem(c, AT_Q), split ? 3 : 4, y) && infer_set(c, 1, infer_elem(c, AT_K), 4, k) &&
           infer_set(c, 2, infer_elem(c, AT_V), 4, v) &&
           infer_set(c, 3, infer_elem(c, AT_Q), 4, (Dim[]){q[0], q[1], q[2], total});
}

/* ---- in terms of others ---- */

static Dim dim_of(Ex *x, Value v, int axis) { return dim_resolve(&x->g->m->dims, ex_type(x, v)->dim[axis]); }

static Value heads_first(Ex *x, Value v, int64_t heads)
{
    Dim d[4];
    if (x->failed || ex_type(x, v)->rank == 4) return v;
    as_4d(&x->g->m->dims, ex_type(x, v), heads, d);
    Value s = ex_shaped(x, v, (Dim[]){d[0], d[2], d[1], d[3]}, 4);
    return ex_transpose(x, s, (int64_t[]){0, 2, 1, 3}, 4);
}

/* 0, 1, .. of the extent as i64 with that many axes of one element behind it. */
static Value positions(Ex *x, Value of, int axis, int64_t behind)
{
    Value end = ex1(x, OP_Squeeze, ex_shape_part(x, of, axis, axis + 1)),
          at = ex3(x, OP_Range, ex_i(x, DT_I64, 0), end, ex_i(x, DT_I64, 1));
    return behind ? ex2(x, OP_Unsqueeze, at, ex_int1(x, 1)) : at;
}

static Value both(Ex *x, Value a, Value b) { return a.i ? ex2(x, OP_And, a, b) : b; }

/* What keys each query may see by its position; none: no restriction. */
static Value visible(Ex *x, const Attention *a, Value q, Value k, Value past, Value nonpad)
{
    Value ok = VALUE_NONE;
    if (!a->is_causal && !has_window(a) && !nonpad.i) return ok;
    Value j = positions(x, k, 2, 0);
    if (nonpad.i) nonpad = ex2(x, OP_Unsqueeze, nonpad, ex_ints(x, (int64_t[]){1, 2, 3}, 3));
    if (a->is_causal || has_window(a)) {
        Value p = positions(x, q, 2, 1);
        if (past.i) p = ex2(x, OP_Add, p, ex1(x, OP_Squeeze, ex_shape_part(x, past, 2, 3)));
        else if (nonpad.i) p = ex2(x, OP_Add, p, ex2(x, OP_Sub, nonpad, ex1(x, OP_Squeeze, ex_shape_part(x, q, 2, 3))));
        if (a->is_causal) ok = ex2(x, OP_LessOrEqual, j, p);
        if (a->left_window_size >= 0)
            ok = both(x, ok, ex2(x, OP_GreaterOrEqual, j, ex2(x, OP_Sub, p, ex_i(x, DT_I64, a->left_window_size))));
        if (a->right_window_size >= 0)
            ok = both(x, ok, ex2(x, OP_LessOrEqual, j, ex2(x, OP_Add, p, ex_i(x, DT_I64, a->right_window_size))));
    }
    if (nonpad.i) ok = both(x, ok, ex2(x, OP_Less, j, nonpad));
    return ok;
}

/* A mask that ends before the keys do hides the rest. */
static Value whole_mask(Ex *x, Value mask, Value k)
{
    Dims *d = &x->g->m->dims;
    if (x->failed) return mask;
    int last = ex_type(x, mask)->rank - 1;
    int64_t zero[8] = {0};
    if (dim_eq(d, dim_of(x, mask, last), dim_of(x, k, 2)) == TRI_YES) return mask;
    DType t = ex_type(x, mask)->elem;
    Value more = ex2(x, OP_Sub, ex_shape_part(x, k, 2, 3), ex_shape_part(x, mask, last, last + 1));
    Value pads = ex_axis(x, OP_Concat, (Value[]){ex_ints(x, zero, (uint32_t)(2 * last + 1)), more}, 2, 0);
    return ex3(x, OP_Pad, mask, pads, dtype_is_float(t) ? ex_f(x, t, -INFINITY) : ex_i(x, t, 0));
}

static Value scaled(Ex *x, Value v, double by) { return ex2(x, OP_Mul, v, ex_f(x, ex_type(x, v)->elem, by)); }

Value attention_grouped(Ex *x, Value v, Dim rep, Dim heads)
{
    if (dim_is(&x->g->m->dims, rep, 1) || x->failed) return v;
    if (!heads.i) return ex2(x, OP_Unsqueeze, v, ex_int1(x, 2));
    return ex_shaped(x, v, (Dim[]){dim_of(x, v, 0), heads, rep, dim_of(x, v, 2), dim_of(x, v, 3)}, 5);
}

Value attention_ungrouped(Ex *x, Value v, Dim rep)
{
    Dims *d = &x->g->m->dims;
    if (dim_is(d, rep, 1) || x->failed) return v;
    return ex_shaped(
        x, v, (Dim[]){dim_of(x, v, 0), dim_mul(d, dim_of(x, v, 1), dim_of(x, v, 2)), dim_of(x, v, 3), dim_of(x, v, 4)},
        4);
}

Dim attention_shared(Ex *x, Value q, Value k)
{
    Dims *d = &x->g->m->dims;
    return x->failed ? dim_const(d, 1) : shared(d, dim_of(x, q, 1), dim_of(x, k, 1));
}

Value attention_scores(Ex *x, Value q, Value k, const double *given)
{
    if (x->failed) return VALUE_NONE;
    DType t = ex_type(x, q)->elem;
    bool narrow = dtype_compute(t) != t; /* both operands are scaled before, lest the products overflow */
    int64_t size;
    Dim rep = attention_shared(x, q, k);
    Value scale = VALUE_NONE, kt = ex_transpose(x, k, (int64_t[]){0, 1, 3, 2}, 4);
    double factor = given ? *given : 1;
    if (!given) {
        if (dim_is_const(&x->g->m->dims, dim_of(x, q, 3), &size)) factor = 1 / sqrt((double)size);
        else {
            Value len = ex_cast(x, ex1(x, OP_Squeeze, ex_shape_part(x, q, 3, 4)), t);
            scale = ex1(x, OP_Reciprocal, ex1(x, OP_Sqrt, len));
        }
    }
    if (narrow) {
        Value root = scale.i ? ex1(x, OP_Sqrt, scale) : ex_f(x, t, sqrt(factor));
        q = ex2(x, OP_Mul, q, root);
        kt = ex2(x, OP_Mul, kt, root);
    }
    Value s = ex2(x, OP_MatMul, attention_grouped(x, q, rep, dim_of(x, k, 1)), attention_grouped(x, kt, rep, DIM_NONE));
    if (!narrow) s = scale.i ? ex2(x, OP_Mul, s, scale) : scaled(x, s, factor);
    return attention_ungrouped(x, s, rep);
}

static bool expand(Graph *g, Node n)
{
    const Attention *a = ATTRS(g, n, Attention);
    Dims *d = &g->m->dims;
    Ex x = ex_begin(g, n);
    Value in[7], out[4] = {{0}};
    for (uint32_t k = 0; k < 7; k++) in[k] = node_in(g, n, k);
    bool split = value_trec(g, in[AT_Q])->rank == 3;
    Value q = heads_first(&x, in[AT_Q], a->q_num_heads), k = heads_first(&x, in[AT_K], a->kv_num_heads),
          v = heads_first(&x, in[AT_V], a->kv_num_heads);
    if (in[AT_PAST_K].i) {
        k = ex_axis(&x, OP_Concat, (Value[]){in[AT_PAST_K], k}, 2, 2);
        v = ex_axis(&x, OP_Concat, (Value[]){in[AT_PAST_V], v}, 2, 2);
    }
    if (x.failed) return false;
    out[1] = k.i == in[AT_K].i && value_used(g, node_out(g, n, 1)) ? ex1(&x, OP_Identity, k) : k;
    out[2] = v.i == in[AT_V].i && value_used(g, node_out(g, n, 2)) ? ex1(&x, OP_Identity, v) : v;
    DType t = ex_type(&x, q)->elem, soft = a->softmax_precision ? (DType)a->softmax_precision : t;
    Dim rep = attention_shared(&x, q, k);

    Value s = attention_scores(&x, q, k, has_scale(a) ? &a->scale : NULL);
    if (a->qk_matmul_output_mode == 0) out[3] = s;
    if (a->softcap > 0) s = scaled(&x, ex1(&x, OP_Tanh, scaled(&x, s, 1 / a->softcap)), a->softcap);
    if (a->qk_matmul_output_mode == 1) out[3] = s;

    Value mask = in[AT_MASK].i ? whole_mask(&x, in[AT_MASK], k) : VALUE_NONE,
          ok = visible(&x, a, q, k, in[AT_PAST_K], in[AT_NONPAD]), bias = VALUE_NONE;
    if (x.failed) return false;
    bool may_be_empty = mask.i || has_window(a) || in[AT_NONPAD].i;
    Value zero = ex_f(&x, t, 0), never = ex_f(&x, t, -INFINITY);
    if (mask.i && ex_type(&x, mask)->elem == DT_BOOL) ok = both(&x, ok, mask), mask = VALUE_NONE;
    if (ok.i) bias = ex3(&x, OP_Where, ok, zero, never);
    if (mask.i) mask = ex_cast(&x, mask, t), bias = bias.i ? ex2(&x, OP_Add, bias, mask) : mask;
    if (bias.i) s = ex2(&x, OP_Add, s, bias);
    if (a->qk_matmul_output_mode == 2) out[3] = s;

    Value p = ex_axis(&x, OP_Softmax, (Value[]){ex_cast(&x, s, soft)}, 1, -1);
    p = ex_cast(&x, p, t);
    if (bias.i && may_be_empty) {
        Value top = ex_reduce(&x, OP_ReduceMax, bias, (int64_t[]){-1}, 1, true);
        p = ex3(&x, OP_Where, ex2(&x, OP_Equal, top, never), zero, p);
    }
    if (a->qk_matmul_output_mode == 3) out[3] = p;
    if (x.failed) return false;
    Value each = attention_grouped(&x, p, rep, dim_of(&x, k, 1)), y = ex2(&x, OP_MatMul, each, attention_grouped(&x, ex_cast(&x, v, t), rep, DIM_NONE));
    y = attention_ungrouped(&x, y, rep);
    if (split) {
        y = ex_transpose(&x, y, (int64_t[]){0, 2, 1, 3}, 4);
        if (!x.failed)
            y = ex_shaped(
                &x, y, (Dim[]){dim_of(&x, y, 0), dim_of(&x, y, 1), dim_mul(d, dim_of(&x, y, 2), dim_of(&x, y, 3))}, 3);
    }
    out[0] = y;
    return ex_end(&x, out, 4);
}

/* ---- reference ---- */

typedef struct Side {
    const Tensor *t, *past;
    int64_t heads, len, size, before;
} Side;

static void side(Side *s, const Tensor *t, const Tensor *past, int64_t heads)
{
    s->t = t;
    s->past = past;
    s->heads = t->rank == 4 ? t->dim[1] : heads;
    s->len = t->rank == 4 ? t->dim[2] : t->dim[1];
    s->size = t->rank == 4 ? t->dim[3] : t->dim[2] / heads;
    s->before = past ? past->dim[2] : 0;
}

static double element(const Side *s, int64_t b, int64_t h, int64_t i, int64_t k)
{
    if (i < s->before) return ev_f(s->past, ((b * s->heads + h) * s->before + i) * s->size + k);
    i -= s->before;
    return ev_f(s->t, s->t->rank == 4 ? ((b * s->heads + h) * s->len + i) * s->size + k
                                      : ((b * s->len + i) * s->heads + h) * s->size + k);
}

static double bias_at(const Eval *e, const Attention *a, int64_t b, int64_t h, int64_t i, int64_t j, int64_t q_len,
                      int64_t past)
{
    const Tensor *m = ev_has(e, AT_MASK) ? e->in[AT_MASK] : NULL;
    double v = 0;
    int64_t pos = i + past;
    if (ev_has(e, AT_NONPAD)) {
        int64_t len = ev_i(e->in[AT_NONPAD], b);
        pos += len - q_len;
        if (j >= len) return -INFINITY;
    }
    if (a->is_causal && j > pos) return -INFINITY;
    if (a->left_window_size >= 0 && j < pos - a->left_window_size) return -INFINITY;
    if (a->right_window_size >= 0 && j > pos + a->right_window_size) return -INFINITY;
    if (m) {
        int64_t at[4] = {b, h, i, j}, flat = 0;
        if (j >= m->dim[m->rank - 1]) return -INFINITY;
        for (int x = 0; x < m->rank; x++) flat = flat * m->dim[x] + (m->dim[x] == 1 ? 0 : at[4 - m->rank + x]);
        if (m->elem != DT_BOOL) v = dtype_is_float(m->elem) ? ev_f(m, flat) : (double)ev_i(m, flat);
        else if (!ev_i(m, flat)) v = -INFINITY;
    }
    return v;
}

static bool eval(Eval *e)
{
    const Attention *a = ATTRS(e->g, e->n, Attention);
    Side q, k, v;
    side(&q, e->in[AT_Q], NULL, a->q_num_heads);
    side(&k, e->in[AT_K], ev_has(e, AT_PAST_K) ? e->in[AT_PAST_K] : NULL, a->kv_num_heads);
    side(&v, e->in[AT_V], ev_has(e, AT_PAST_V) ? e->in[AT_PAST_V] : NULL, a->kv_num_heads);
    int64_t B = q.t->dim[0], total = k.before + k.len, split = q.t->rank == 3, rep = q.heads / k.heads;
    int64_t y3[3] = {B, q.len, q.heads * v.size}, y4[4] = {B, q.heads, q.len, v.size},
            pk[4] = {B, k.heads, total, k.size}, pv[4] = {B, k.heads, total, v.size};
    int64_t qk[4] = {B, q.heads, q.len, total};
    Tensor *y = ev_out(e, 0, q.t->elem, split ? 3 : 4, split ? y3 : y4), *out[4] = {NULL};
    for (uint32_t r = 1; y && r < e->n_out && r < 4; r++)
        if (!(out[r] = ev_out(e, r, r == 2 ? v.t->elem : q.t->elem, 4, r == 1 ? pk : r == 2 ? pv : qk))) return false;
    double *s = arena_array(e->arena, double, total + 1), scale = has_scale(a) ? a->scale : 1 / sqrt((double)q.size);
    for (int64_t at = 0; y && at < B * q.heads * q.len; at++) {
        int64_t i = at % q.len, h = at / q.len % q.heads, b = at / q.len / q.heads, hk = h / rep;
        double top = -INFINITY, most = -INFINITY, sum = 0;
        for (int64_t j = 0; j < total; j++) {
            double dot = 0, bias = bias_at(e, a, b, h, i, j, q.len, k.before);
            for (int64_t c = 0; c < q.size; c++) dot += element(&q, b, h, i, c) * element(&k, b, hk, j, c);
            dot *= scale;
            if (out[3] && a->qk_matmul_output_mode == 0) ev_set_f(out[3], at * total + j, dot);
            if (a->softcap > 0) dot = a->softcap * tanh(dot / a->softcap);
            if (out[3] && a->qk_matmul_output_mode == 1) ev_set_f(out[3], at * total + j, dot);
            s[j] = dot + bias;
            if (out[3] && a->qk_matmul_output_mode == 2) ev_set_f(out[3], at * total + j, s[j]);
            most = fmax(most, bias);
            top = fmax(top, s[j]);
        }
        for (int64_t j = 0; j < total; j++) sum += s[j] = exp(s[j] - top);
        for (int64_t j = 0; j < total; j++) {
            s[j] = most == -INFINITY ? 0 : s[j] / sum;
            if (out[3] && a->qk_matmul_output_mode == 3) ev_set_f(out[3], at * total + j, s[j]);
        }
        for (int64_t c = 0; c < v.size; c++) {
            double r = 0;
            for (int64_t j = 0; j < total; j++) r += s[j] * element(&v, b, hk, j, c);
            ev_set_f(y, split ? ((b * q.len + i) * q.heads + h) * v.size + c : at * v.size + c, r);
        }
    }
    for (uint32_t r = 1; y && r < 3; r++) {
        const Side *x = r == 1 ? &k : &v;
        for (int64_t o = 0; out[r] && o < out[r]->count; o++)
            ev_set_f(out[r], o,
                     element(x, o / x->size / total / x->heads, o / x->size / total % x->heads, o / x->size % total,
                             o % x->size));
    }
    return y != NULL;
}

const OpDesc op_Attention = {.name = "Attention",
                             .since = 25,
                             .cls = CLS_OPAQUE,
                             .in = P_IN,
                             .out = P_OUT,
                             .attrs = ATTRS_,
                             .attrs_size = sizeof(Attention),
                             .infer = infer,
                             .expand = expand,
                             .eval = eval};
