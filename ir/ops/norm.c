/* norm.c: LayerNormalization and RMSNormalization (over the axes from `axis` on), BatchNormalization.
 *   y = (x - mean) / sqrt(var + epsilon) * scale + bias
 * A row is swept three times: mean, centred variance (exact where the one-pass formula cancels), result. BatchNormalization is element-wise over per-channel values,
 * those of the batch itself with training_mode. */
#include "ir/ops/axes.h"
#include "ir/ops/grad.h"
#include "ir/ops/internal.h"
#include "ir/ops/rows.h"
#include <math.h>
#include <string.h>

static const Port P_LN[] = {{"X", DTS_FLOAT, 0, 1}, {"Scale", DTS_FLOAT, 0, 1}, {"B", DTS_FLOAT, PORT_OPTIONAL, 1}, PORT_END};
static const Port P_LN_OUT[] = {{"Y", DTS_FLOAT, 0, 1}, {"Mean", DTS_FLOAT, PORT_OPTIONAL, 2}, {"InvStdDev", DTS_FLOAT, PORT_OPTIONAL, 2}, PORT_END};
static const Port P_RMS[] = {{"X", DTS_FLOAT, 0, 1}, {"scale", DTS_FLOAT, 0, 2}, PORT_END};
static const Port P_RMS_OUT[] = {{"Y", DTS_FLOAT, 0, 2}, PORT_END};

typedef struct Norm { uint64_t set; int64_t axis, stash_type; double epsilon; } Norm;
static const AttrSpec ATTRS_[] = {A_INT(Norm, axis, -1), A_INT(Norm, stash_type, 1), A_FLOAT(Norm, epsilon, 1e-5), A_END};

static bool infer(Infer *c)
{
    const Norm *a = ATTRS(c->g, c->n, Norm);
    int64_t axis = a->axis;
    if (!infer_need_rank(c, 0, 1, -1) || !infer_axis(c, &axis, infer_rank(c, 0))) return false;
    int rank = infer_rank(c, 0);
    for (uint32_t k = 1; k < 3 && infer_has(c, k); k++) {   /* scale and bias broadcast to the row */
        if (!operand_without_lead(c, k, rank)) return false;
        for (int i = 0; i < infer_rank(c, k); i++) {
            Dim e = infer_dim(c, k, i), x = infer_dim(c, 0, rank - infer_rank(c, k) + i);
            if (!infer_broadcasts_to(c, e, x, "dimension of the scale or bias")) return false;
        }
    }
    Dim dim[RANK_MAX];
    for (int i = 0; i < rank; i++) dim[i] = i < axis ? infer_dim(c, 0, i) : dim_const(c->d, 1);
    DType stash = (DType)a->stash_type;
    if (a->stash_type < 0 || a->stash_type >= DT_COUNT || !(DTS_FLOAT & DTS(stash)))
        return infer_fail(c, "stash_type %lld is not supported", (long long)a->stash_type);
    if (infer_elem(c, 0) == DT_F64) stash = a->set & 2 ? stash : DT_F32;
    const TypeRec *x = infer_in(c, 0);
    if (!infer_set(c, 0, c->op->since >= 23 ? infer_elem(c, 1) : x->elem, rank, x->dim)) return false;
    return infer_set(c, 1, stash, rank, dim) && infer_set(c, 2, stash, rank, dim);
}

/* The state of a row's sweeps. */
typedef struct Sweep {
    DType t;
    bool rms, bias, keep;                /* keep: elements stand in scratch */
    KVal mean[ROWS_JAM], inv[ROWS_JAM];  /* inv: the sum of squares first */
} Sweep;

static KVal element(Rows *r, const Sweep *s, uint32_t j, KVal at) { return s->keep ? rows_get(r, j, at) : lw_at(r->l, 0, r->idx[j]); }

static void sweep_sum(Rows *r, uint32_t j, KVal at, KVal *carry, void *arg)
{
    KVal x = lw_at(r->l, 0, r->idx[j]);
    if (((Sweep *)arg)->keep) rows_set(r, j, at, x);
    *carry = kb_add(r->l->b, *carry, x);
}

static void sweep_squares(Rows *r, uint32_t j, KVal at, KVal *carry, void *arg)
{
    const Sweep *s = arg;
    Kb *b = r->l->b;
    KVal x = s->rms ? lw_at(r->l, 0, r->idx[j]) : kb_sub(b, element(r, s, j, at), s->mean[j]);
    if (s->rms && s->keep) rows_set(r, j, at, x);
    *carry = kb_fma(b, x, x, *carry);
}

static void sweep_result(Rows *r, uint32_t j, KVal at, KVal *carry, void *arg)
{
    const Sweep *s = arg;
    Lw *l = r->l;
    Kb *b = l->b;
    Dim dim[RANK_MAX];
    (void)carry;
    for (int i = 0; i < r->rank; i++) dim[i] = lw_dim(l, 0, i);
    KVal x = element(r, s, j, at), y = kb_mul(b, s->rms ? x : kb_sub(b, x, s->mean[j]), s->inv[j]);
    if (lw_elem(l, 0) != s->t) y = kb_cast(b, lw_elem(l, 0), y);   /* the specification scales the value rounded to the input's type */
    DType o = dtype_compute(lw_out_elem(l, 0));
    y = kb_mul(b, kb_cast(b, o, y), kb_cast(b, o, lw_at_broadcast(l, 1, r->idx[j], r->rank, dim)));
    if (s->bias) y = kb_add(b, y, lw_at_broadcast(l, 2, r->idx[j], r->rank, dim));
    lw_put(l, 0, r->idx[j], y);
}

static bool lower(Lw *l, Node n)
{
    const Norm *a = ATTRS(l->g, n, Norm);
    int rank = lw_rank(l, 0), axis = (int)(a->axis < 0 ? a->axis + rank : a->axis);
    Sweep s = {.t = dtype_compute(lw_elem(l, 0)), .rms = node_rec(l->g, n)->op == OP_RMSNormalization};
    Rows r;
    s.bias = !s.rms && lw_has(l, 2);
    lw_prepare_in(l);
    lw_prepare_out(l);
    Kb *b = lw_kernel(l, node_desc(l->g, n)->name);
    KVal zero = kb_const_f(b, s.t, 0);
    rows_open(&r, l, ((1u << rank) - 1) - ((1u << axis) - 1));
    s.keep = lw_computed(l, 0) && rows_keep(&r, s.t);
    KVal len = kb_cast(b, s.t, kb_dim(b, rows_length(&r)));
    if (!s.rms) rows_sweep(&r, 1, &zero, (KOp[]){KOP_ADD}, sweep_sum, &s, s.mean);
    for (uint32_t j = 0; j < r.n; j++) s.mean[j] = s.rms ? zero : kb_div(b, s.mean[j], len);
    rows_sweep(&r, 1, &zero, (KOp[]){KOP_ADD}, sweep_squares, &s, s.inv);
    for (uint32_t j = 0; j < r.n; j++) {
        KVal var = kb_add(b, kb_div(b, s.inv[j], len), kb_const_f(b, s.t, (double)(float)a->epsilon));
        s.inv[j] = kb_div(b, kb_const_f(b, s.t, 1), kb_un(b, KOP_SQRT, var));
        for (uint32_t o = 1; o < node_n_out(l->g, n); o++) {
            KVal to[RANK_MAX];
            for (int i = 0; i < rank; i++) to[i] = i < axis ? r.idx[j][i] : kb_i(b, 0);
            lw_put(l, o, to, kb_cast(b, dtype_compute(lw_out_elem(l, o)), o == 1 ? s.mean[j] : s.inv[j]));
        }
    }
    rows_sweep(&r, 0, NULL, NULL, sweep_result, &s, NULL);
    rows_close(&r);
    lw_kernel_end(l);
    return true;
}

static bool eval(Eval *e)
{
    const Norm *a = ATTRS(e->g, e->n, Norm);
    bool rms = node_rec(e->g, e->n)->op == OP_RMSNormalization;
    const Tensor *x = e->in[0];
    int axis = (int)(a->axis < 0 ? a->axis + x->rank : a->axis);
    int64_t len = 1, dim[RANK_MAX];
    for (int i = 0; i < x->rank; i++) {
        dim[i] = i < axis ? x->dim[i] : 1;
        if (i >= axis) len *= x->dim[i];
    }
    Tensor *y = ev_out(e, 0, rms ? e->in[1]->elem : x->elem, x->rank, x->dim), *stat[2] = {NULL, NULL};
    for (uint32_t r = 1; r < e->n_out; r++) stat[r - 1] = ev_out(e, r, value_trec(e->g, node_out(e->g, e->n, r))->elem, x->rank, dim);
    for (int64_t k = 0; y && k < x->count; k += len) {
        double m = 0, v = 0;
        for (int64_t i = 0; i < len; i++) m += ev_f(x, k + i) / (double)len;
        if (rms) m = 0;
        for (int64_t i = 0; i < len; i++) v += (ev_f(x, k + i) - m) * (ev_f(x, k + i) - m) / (double)len;
        double inv = 1 / sqrt(v + (double)(float)a->epsilon);
        if (stat[0]) ev_set_f(stat[0], k / len, m);
        if (stat[1]) ev_set_f(stat[1], k / len, inv);
        for (int64_t i = 0; i < len; i++) {
            double q = (ev_f(x, k + i) - m) * inv * ev_f(e->in[1], ev_broadcast_index(e->in[1], y, k + i));
            if (!rms && ev_has(e, 2)) q += ev_f(e->in[2], ev_broadcast_index(e->in[2], y, k + i));
            ev_set_f(y, k + i, q);
        }
    }
    return y != NULL;
}

const OpDesc op_LayerNormalization = {.name = "LayerNormalization", .since = 17, .cls = CLS_ROW, .lead = 1 << 1 | 1 << 2, .flags = OPF_DEFAULTS | OPF_STRIDED_OUT | OPF_ROW_GROUP, .in = P_LN, .out = P_LN_OUT, .attrs = ATTRS_, .attrs_size = sizeof(Norm),
                                      .infer = infer, .lower = lower, .grad = grad_layer_norm, .eval = eval};
const OpDesc op_RMSNormalization = {.name = "RMSNormalization", .since = 23, .cls = CLS_ROW, .lead = 1 << 1, .flags = OPF_STRIDED_OUT | OPF_ROW_GROUP, .in = P_RMS, .out = P_RMS_OUT, .attrs = ATTRS_, .attrs_size = sizeof(Norm),
                                    .infer = infer, .lower = lower, .grad = grad_rms_norm, .eval = eval};

/* ---- BatchNormalization ---- */

static const Port P_BN[] = {{"X", DTS_FLOAT, 0, 1}, {"scale", DTS_FLOAT, 0, 2}, {"B", DTS_FLOAT, 0, 2}, {"input_mean", DTS_FLOAT, 0, 3}, {"input_var", DTS_FLOAT, 0, 3}, PORT_END};
static const Port P_BN_OUT[] = {{"Y", DTS_FLOAT, 0, 1}, {"running_mean", DTS_FLOAT, PORT_OPTIONAL, 3}, {"running_var", DTS_FLOAT, PORT_OPTIONAL, 3},
                                {"saved_mean", DTS_FLOAT, PORT_OPTIONAL, 3}, {"saved_var", DTS_FLOAT, PORT_OPTIONAL, 3}, PORT_END};
typedef struct Bn { uint64_t set; double epsilon, momentum; int64_t training_mode, is_test, spatial; } Bn;
static const AttrSpec BN_ATTRS[] = {A_FLOAT(Bn, epsilon, 1e-5), A_FLOAT(Bn, momentum, 0.9), A_INT(Bn, training_mode, 0), A_INT(Bn, is_test, 1), A_INT(Bn, spatial, 1), A_END};

static Value bn_plain(Ex *x, OpCode op, Value a, Value b)
{
    return node_out(x->g, graph_add(x->g, op, (Value[]){a, b}, b.i ? 2 : 1, 1, NULL, x->loc, x->n), 0);
}

/* Below opset 14 more than one result asks for training: Y, running mean and variance, and those of the batch, which are
 * running ones that keep nothing of the given ones. spatial=0: each place of a channel is a channel, the batch rows of them. */
static bool bn_upgrade(Graph *g, Node n, int64_t opset)
{
    const Bn *a = ATTRS(g, n, Bn);
    uint32_t n_out = node_n_out(g, n);
    if (opset >= 14 || n_out < 2 || a->training_mode || (opset < 7 && a->set & 8 && a->is_test)) return true;
    Ex x = ex_begin(g, n);
    Bn now = {.set = 7, .epsilon = a->epsilon, .momentum = a->momentum, .training_mode = 1, .is_test = 1, .spatial = 1}, kept = now;
    Value in[5], of_x = VALUE_NONE, of_mean = VALUE_NONE;
    for (uint32_t k = 0; k < 5; k++) in[k] = node_in(g, n, k);
    if (!a->spatial) {
        of_x = bn_plain(&x, OP_Shape, in[0], VALUE_NONE);
        of_mean = bn_plain(&x, OP_Shape, in[3], VALUE_NONE);
        for (uint32_t k = 0; k < 5; k++) in[k] = bn_plain(&x, OP_Reshape, in[k], k ? ex_int1(&x, -1) : ex_ints(&x, (int64_t[]){0, -1}, 2));
    }
    kept.momentum = 0;
    Node y = graph_add(g, OP_BatchNormalization, in, 5, n_out < 3 ? n_out : 3, &now, x.loc, n), s = y;
    if (n_out > 3) s = graph_add(g, OP_BatchNormalization, in, 5, n_out - 2, &kept, x.loc, n);
    for (uint32_t r = 0; r < n_out; r++) {
        Value v = r < 3 ? node_out(g, y, r) : node_out(g, s, r - 2);
        if (!a->spatial) v = bn_plain(&x, OP_Reshape, v, r ? of_mean : of_x);
        graph_replace_uses(g, node_out(g, n, r), v);
    }
    graph_erase(g, n);
    return true;
}

static bool bn_infer(Infer *c)
{
    const Bn *a = ATTRS(c->g, c->n, Bn);
    uint32_t n_out = node_n_out(c->g, c->n);
    if (n_out > (a->training_mode ? 3 : 1)) return infer_fail(c, "BatchNormalization has %u results with training_mode=%d", n_out, (int)a->training_mode);
    if (!infer_need_rank(c, 0, 1, -1)) return false;
    int rank = infer_rank(c, 0);   /* "also accepts single dimension input of size N in which case C is assumed to be 1" */
    /* spatial=0 (opset below 9): a mean and a variance for each place of a channel, too */
    if (!a->spatial && a->training_mode) return infer_fail(c, "BatchNormalization with spatial=0 is for inference only");
    if (!a->spatial && rank < 2) return infer_fail(c, "BatchNormalization with spatial=0 needs two axes");
    int n = a->spatial ? 1 : rank - 1;
    for (uint32_t k = 1; k < 5; k++) {
        if (!infer_need_rank(c, k, n, n)) return false;
        for (int i = 0; i < n; i++)
            if (!infer_must_eq(c, infer_dim(c, k, i), rank > 1 ? infer_dim(c, 0, 1 + i) : dim_const(c->d, 1), i ? "extent" : "number of channels")) return false;
    }
    return infer_like(c, 0, 0) && infer_like(c, 1, 3) && infer_like(c, 2, 4);
}

static Dim bn_channels(Lw *l) { return lw_rank(l, 0) > 1 ? lw_dim(l, 0, 1) : dim_const(&l->m->dims, 1); }

/* training_mode: mean and variance of each channel of x, over all other axes, take the place of the given ones, which they are mixed into:
 *   running = given * momentum + new * (1 - momentum) */
static void bn_statistics(Lw *l, KBuf stat)
{
    int rank = lw_rank(l, 0);
    DType t = dtype_compute(lw_elem(l, 0));
    Kb *b = lw_kernel(l, "batch_statistics");
    uint32_t to = kb_param(b, stat, true);
    KVal channel = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, bn_channels(l))), count = kb_const_f(b, t, 1), s[2] = {{0}};
    for (int i = 0; i < rank; i++)
        if (i != 1) count = kb_mul(b, count, kb_cast(b, t, kb_dim(b, lw_dim(l, 0, i))));
    for (uint32_t k = 0; k < 2; k++) {
        KbLoop loop[RANK_MAX];
        KVal idx[RANK_MAX], acc = kb_const_f(b, t, 0);
        KOp add = KOP_ADD;
        if (rank > 1) idx[1] = channel;
        for (int i = 0; i < rank; i++) {
            if (i == 1) continue;
            kb_loop(b, &loop[i], KLOOP_SEQ, kb_i(b, 0), kb_dim(b, lw_dim(l, 0, i)), 1, &acc, &add);
            acc = loop[i].carry[0];
            idx[i] = loop[i].iv;
        }
        KVal x = lw_at(l, 0, idx), d = k ? kb_sub(b, x, s[0]) : x;
        acc = kb_add(b, acc, k ? kb_mul(b, d, d) : d);
        for (int i = rank - 1; i >= 0; i--) {
            if (i == 1) continue;
            kb_loop_end(b, &loop[i], &acc);
            acc = loop[i].result[0];
        }
        s[k] = kb_div(b, acc, count);
        kb_store(b, to, (KVal[]){kb_i(b, k), channel}, s[k]);
    }
    for (uint32_t k = 0; k < 2 && k + 1 < node_n_out(l->g, l->n); k++) {
        double m = (double)(float)ATTRS(l->g, l->n, Bn)->momentum;
        DType o = dtype_compute(lw_out_elem(l, k + 1));
        KVal given = kb_mul(b, lw_at(l, 3 + k, &channel), kb_const_f(b, o, m)), new = kb_mul(b, kb_cast(b, o, s[k]), kb_const_f(b, o, 1 - m));
        lw_put(l, k + 1, &channel, kb_add(b, given, new));
    }
    kb_end(b);
    lw_kernel_end(l);
}

static bool bn_lower(Lw *l, Node n)
{
    DType t = dtype_compute(lw_elem(l, 0));
    bool training = ATTRS(l->g, n, Bn)->training_mode;
    KBuf stat = {0};
    lw_prepare_out(l);
    if (training) {
        lw_prepare_in(l);
        stat = lw_temp(l, t, 2, (Dim[]){dim_const(&l->m->dims, 2), bn_channels(l)});
        bn_statistics(l, stat);
    }
    Kb *b = lw_kernel(l, "batch_norm");
    KVal idx[RANK_MAX];
    lw_nest_over(l, 0, idx);
    KVal p[5];
    if (lw_rank(l, 0) < 2) idx[1] = kb_i(b, 0);
    for (uint32_t k = 1; k < 5; k++)
        p[k] = training && k > 2 ? kb_load(b, kb_param(b, stat, false), (KVal[]){kb_i(b, k - 3), idx[1]}) : kb_cast(b, t, lw_at(l, k, &idx[1]));
    KVal inv = kb_div(b, p[1], kb_un(b, KOP_SQRT, kb_add(b, p[4], kb_const_f(b, t, (double)(float)ATTRS(l->g, n, Bn)->epsilon))));
    lw_put(l, 0, idx, kb_add(b, kb_mul(b, kb_sub(b, lw_at(l, 0, idx), p[3]), inv), p[2]));
    lw_end_nest(l, lw_out_rank(l, 0));
    lw_kernel_end(l);
    return true;
}

/* The constant of shape [C,1,...] that holds f(channel). */
static Value bn_channel_const(Graph *g, DType t, int rank, int64_t channels, const double *v)
{
    Module *m = g->m;
    uint8_t *bytes = arena_alloc(m->arena, (size_t)dtype_bytes(t, channels));
    Dim dim[RANK_MAX];
    for (int64_t c = 0; c < channels; c++) {
        if (t == DT_F64) ((double *)bytes)[c] = v[c];
        else ((float *)bytes)[c] = (float)v[c];
    }
    for (int k = 0; k < rank - 1; k++) dim[k] = dim_const(&m->dims, k ? 1 : channels);
    return graph_const(g, blob_inline(&m->blobs, t, channels, bytes), type_tensor(&m->types, t, rank - 1, dim), (Name){0});
}

/* BatchNormalization(x, scale, B, mean, var)  =>  Add(Mul(x, a), b)  with constant a = scale/sqrt(var + epsilon), b = B - mean*a, of shape [C,1,...]
 * when all four are constants: two element-wise ops, which a convolution before takes into its epilogue. */
static bool bn_rewrite(Graph *g, Node n)
{
    Blobs *bl = &g->m->blobs;
    const TypeRec *t = value_trec(g, node_in(g, n, 0));
    Blob p[5] = {{0}};
    DType e = t->elem;
    int rank = t->rank;
    if (ATTRS(g, n, Bn)->training_mode || !ATTRS(g, n, Bn)->spatial) return false;
    for (uint32_t k = 1; k < 5; k++) {
        Value v = node_in(g, n, k);
        if (!value_is_const(g, v)) return false;
        p[k] = value_rec(g, v)->data;
        if (blob_rec(bl, p[k])->kind == BLOB_DERIVED || blob_rec(bl, p[k])->elem != e || blob_rec(bl, p[k])->count != blob_rec(bl, p[1])->count) return false;
    }
    int64_t channels = blob_rec(bl, p[1])->count;
    if ((e != DT_F32 && e != DT_F64) || rank == RANK_UNKNOWN || dtype_bytes(e, channels) > BLOB_INLINE_MAX) return false;
    double *a = arena_array(g->m->arena, double, channels + 1), *b = arena_array(g->m->arena, double, channels + 1);
    for (int64_t c = 0; c < channels; c++) {
        a[c] = blob_get_f(bl, p[1], c) / sqrt(blob_get_f(bl, p[4], c) + ATTRS(g, n, Bn)->epsilon);
        b[c] = blob_get_f(bl, p[2], c) - blob_get_f(bl, p[3], c) * a[c];
    }
    Loc loc = node_rec(g, n)->loc;
    Node mul = graph_add(g, OP_Mul, (Value[]){node_in(g, n, 0), bn_channel_const(g, e, rank, channels, a)}, 2, 1, NULL, loc, n);
    Node add = graph_add(g, OP_Add, (Value[]){node_out(g, mul, 0), bn_channel_const(g, e, rank, channels, b)}, 2, 1, NULL, loc, n);
    graph_replace_uses(g, node_out(g, n, 0), node_out(g, add, 0));
    return true;
}

static bool bn_eval_training(Eval *e, Tensor *y, int64_t plane)
{
    const Tensor *x = e->in[0];
    const Bn *a = ATTRS(e->g, e->n, Bn);
    Tensor *stat[2] = {NULL, NULL};
    for (uint32_t r = 1; r < e->n_out; r++) stat[r - 1] = ev_out(e, r, e->in[2 + r]->elem, 1, e->in[2 + r]->dim);
    const int64_t channels = x->rank > 1 ? x->dim[1] : 1, step = channels * plane, end = plane ? x->count : 0; /* from one batch element to the next */
    double count = channels ? (double)(x->count / channels) : 0;
    for (int64_t c = 0; c < channels; c++) {
        double s[2] = {0, 0};
        for (int pass = 0; pass < 2; pass++)
            for (int64_t at = c * plane; at < end; at += step)
                for (int64_t k = at; k < at + plane; k++) s[pass] += (pass ? pow(ev_f(x, k) - s[0], 2) : ev_f(x, k)) / count;
        for (int64_t at = c * plane; at < end; at += step)
            for (int64_t k = at; k < at + plane; k++)
                ev_set_f(y, k, (ev_f(x, k) - s[0]) * ev_f(e->in[1], c) / sqrt(s[1] + (double)(float)a->epsilon) + ev_f(e->in[2], c));
        for (int r = 0; r < 2; r++)
            if (stat[r]) ev_set_f(stat[r], c, ev_f(e->in[3 + r], c) * (double)(float)a->momentum + s[r] * (1 - (double)(float)a->momentum));
    }
    return true;
}

static bool bn_eval(Eval *e)
{
    const Tensor *x = e->in[0];
    int64_t plane = 1;
    for (int i = 2; i < x->rank; i++) plane *= x->dim[i];
    int64_t width = ATTRS(e->g, e->n, Bn)->spatial ? plane : 1, params = plane / (width ? width : 1) * (x->rank > 1 ? x->dim[1] : 1);
    Tensor *y = ev_out(e, 0, x->elem, x->rank, x->dim);
    if (ATTRS(e->g, e->n, Bn)->training_mode) return y && bn_eval_training(e, y, plane);
    for (int64_t k = 0; y && k < y->count; k++) {
        int64_t c = k / width % params;
        double inv = ev_f(e->in[1], c) / sqrt(ev_f(e->in[4], c) + (double)(float)ATTRS(e->g, e->n, Bn)->epsilon);
        ev_set_f(y, k, (ev_f(x, k) - ev_f(e->in[3], c)) * inv + ev_f(e->in[2], c));
    }
    return y != NULL;
}

const OpDesc op_BatchNormalization = {.name = "BatchNormalization", .since = 15, .cls = CLS_ROW, .flags = OPF_STRIDED_OUT, .in = P_BN, .out = P_BN_OUT, .attrs = BN_ATTRS, .attrs_size = sizeof(Bn), .upgrade = bn_upgrade,
                                      .infer = bn_infer, .rewrite = bn_rewrite, .lower = bn_lower, .grad = grad_batch_norm, .eval = bn_eval};
