/* recurrent.c: LSTM, GRU and RNN: X [T, B, I] (layout 1: [B, T, I]), weights [D, gates*H, ..], D directions, through
 * two kernels.
 *
 *   xw[d, m, :] = X[m, :] * W[d]' + Wb[d] + Rb[d]             all steps and sequences in one product (contract_build)
 *   for each direction and block of sequences par {           states h, c stay in scratch of the thread
 *     for t seq {
 *       for blocks of hidden units, upwards and downwards in turn {
 *         macc: sums of all gates of these units, h * R[d]'   R is packed when compiling, strips of the gates in turn
 *           epilogue: gates from xw + sums, new c and h, Y    in registers; h lies in two places, old and new
 *       }
 *     }
 *     Y_h, Y_c
 *   }
 * Going to and fro, a step finds the part of R in the cache that the one before read last: of an R beyond a cache only
 * what exceeds it is fetched. Threads never wait for each other inside a sequence. GRU without linear_before_reset has
 * a second product per step, of r times h. Only one direction with a large R is shared by units: its steps are launches
 * then, and the state is in memory (lower_shared). Padded steps (sequence_lens) leave the state alone and give zeros; a
 * backward direction starts at the end of each sequence.
 * Meaning: the ONNX specification. Where it is silent, what ONNX Runtime does: alpha and beta are consumed by the
 * functions that have them, clip is not applied to h's input, a sequence of length 0 ends in zeros. */
#include "ir/ops/recurrent.h"
#include "ir/graph/infer.h"
#include "ir/ops/contraction.h"

static const Port P_LSTM[] = {{"X", DTS_FLOAT, 0, 1},
                              {"W", DTS_FLOAT, 0, 1},
                              {"R", DTS_FLOAT, 0, 1},
                              {"B", DTS_FLOAT, PORT_OPTIONAL, 1},
                              {"sequence_lens", DTS(DT_I32), PORT_OPTIONAL, 0},
                              {"initial_h", DTS_FLOAT, PORT_OPTIONAL, 1},
                              {"initial_c", DTS_FLOAT, PORT_OPTIONAL, 1},
                              {"P", DTS_FLOAT, PORT_OPTIONAL, 1},
                              PORT_END};
static const Port P_GRU[] = {{"X", DTS_FLOAT, 0, 1},
                             {"W", DTS_FLOAT, 0, 1},
                             {"R", DTS_FLOAT, 0, 1},
                             {"B", DTS_FLOAT, PORT_OPTIONAL, 1},
                             {"sequence_lens", DTS(DT_I32), PORT_OPTIONAL, 0},
                             {"initial_h", DTS_FLOAT, PORT_OPTIONAL, 1},
                             PORT_END};
static const Port P_OUT[] = {{"Y", DTS_FLOAT, PORT_OPTIONAL, 1}, {"Y_h", DTS_FLOAT, PORT_OPTIONAL, 1}, PORT_END};
static const Port P_OUT_LSTM[] = {{"Y", DTS_FLOAT, PORT_OPTIONAL, 1},
                                  {"Y_h", DTS_FLOAT, PORT_OPTIONAL, 1},
                                  {"Y_c", DTS_FLOAT, PORT_OPTIONAL, 1},
                                  PORT_END};

#define COMMON                                                                                                         \
    A_STRINGS(Rnn, activations), A_FLOATS(Rnn, activation_alpha), A_FLOATS(Rnn, activation_beta),                      \
        A_STRING(Rnn, direction, "forward"), A_FLOAT(Rnn, clip, 0), A_INT(Rnn, hidden_size, 0), A_INT(Rnn, layout, 0), \
        A_INT(Rnn, output_sequence, 0)
static const AttrSpec LSTM_ATTRS[] = {COMMON, A_INT(Rnn, input_forget, 0), A_END};
static const AttrSpec GRU_ATTRS[] = {COMMON, A_INT(Rnn, linear_before_reset, 0), A_END};
static const AttrSpec RNN_ATTRS[] = {COMMON, A_END};

/* ---- inference ---- */

static bool want_dims(Infer *c, uint32_t k, int rank, const Dim *dim, const char *what)
{
    if (!infer_has(c, k)) return true;
    if (!infer_need_rank(c, k, rank, rank)) return false;
    for (int i = 0; i < rank; i++)
        if (!infer_must_eq(c, infer_dim(c, k, i), dim[i], what)) return false;
    return true;
}

static bool infer(Infer *c)
{
    const Rnn *a = ATTRS(c->g, c->n, Rnn);
    const char *why;
    RnnForm f;
    if (!rnn_form(node_rec(c->g, c->n)->op, a, &f, &why)) return infer_fail(c, "%s", why);
    for (uint32_t k = RNN_X; k <= RNN_R; k++)
        if (!infer_need_rank(c, k, 3, 3)) return false;
    Dim D = dim_const(c->d, f.dirs), T = infer_dim(c, RNN_X, a->layout ? 1 : 0),
        B = infer_dim(c, RNN_X, a->layout ? 0 : 1), I = infer_dim(c, RNN_X, 2);
    Dim H = infer_dim(c, RNN_R, 2), rows = dim_mul(c->d, dim_const(c->d, f.gates), H), two = dim_const(c->d, 2);
    if (a->hidden_size && !infer_must_eq(c, H, dim_const(c->d, a->hidden_size), "hidden_size")) return false;
    Dim state[3] = {a->layout ? B : D, a->layout ? D : B, H};
    if (!want_dims(c, RNN_W, 3, (Dim[]){D, rows, I}, "dimension of W") ||
        !want_dims(c, RNN_R, 3, (Dim[]){D, rows, H}, "dimension of R") ||
        !want_dims(c, RNN_B, 2, (Dim[]){D, dim_mul(c->d, two, rows)}, "dimension of B") ||
        !want_dims(c, RNN_LENS, 1, &B, "number of sequence_lens") ||
        !want_dims(c, RNN_H0, 3, state, "dimension of initial_h") ||
        !want_dims(c, RNN_C0, 3, state, "dimension of initial_c") ||
        !want_dims(c, RNN_P, 2, (Dim[]){D, dim_mul(c->d, dim_const(c->d, 3), H)}, "dimension of P"))
        return false;
    if (!infer_set(c, 0, infer_elem(c, 0), 4, a->layout ? (Dim[]){B, T, D, H} : (Dim[]){T, D, B, H})) return false;
    return infer_set(c, 1, infer_elem(c, 0), 3, state) && infer_set(c, 2, infer_elem(c, 0), 3, state);
}

/* ---- lowering ---- */

/* W' of all directions: [D][I, gates*H]. */
typedef struct Side {
    RightSide r;
    Dim batch;
} Side;

/* Some gates of R' of all directions, always packed: [D][H/16][gates][H][16]. */
typedef struct State {
    KBuf buf;
    uint32_t param;
    int gates;
    Dim strip, batch; /* elements of a strip, of a direction */
} State;

typedef struct Ctx {
    Lw *l;
    OpCode op;
    const Rnn *a;
    RnnForm f;
    DType t;
    Dim T, B, I, H, rows;     /* rows: gates*H */
    Dim wide;                 /* H rounded up to whole vectors: rows of the locals, so that they are stored unmasked */
    bool rest;                /* H may not be whole vectors */
    bool both;                /* one task takes both directions, step by step */
    int64_t block;            /* sequences per task */
    Side w;
    State r[2];               /* all gates, or z and r, then h */
    uint32_t xw, h, c, z, rh; /* parameters and locals of the step kernel */
    KVal d, b0, n, step;      /* direction, first sequence, number of them, step */
    KVal place, old, new;     /* which of h and c: of the direction; and of h: read and written in this step */
    bool split, down;         /* threads share the units of a step; from the last block to the first */
} Ctx;

static KBuf transposed(Ctx *x, uint32_t operand)
{
    Lw *l = x->l;
    Dim to[3] = {dim_const(&l->m->dims, x->f.dirs), lw_dim(l, operand, 2), x->rows};
    KBuf src = lw_in(l, operand), buf = lw_temp(l, lw_elem(l, operand), 3, to);
    Kb *b = lw_kernel(l, "transpose_weights");
    KVal i[3];
    lw_nest(l, 3, to, i);
    kb_store(b, kb_param(b, buf, true), i, kb_load(b, kb_param(b, src, false), (KVal[]){i[0], i[2], i[1]}));
    lw_end_nest(l, 3);
    lw_kernel_end(l);
    return buf;
}

static void input_side(Ctx *x)
{
    Lw *l = x->l;
    Dims *d = &l->m->dims;
    int64_t k, all;
    Blob blob;
    Side *s = &x->w;
    s->r.may_pair = true;
    s->r.rows = contraction_rows(l, dim_mul(d, x->T, x->B));
    if (lw_const(l, RNN_W, &blob) && dim_is_const(d, x->I, &k) && dim_is_const(d, x->rows, &all) &&
        contraction_pack(l, blob, x->t, x->f.dirs, k, all, 0, all * k, 1, k, &s->r)) {
        s->batch = dim_const(d, s->r.batch);
        return;
    }
    s->r.buf = transposed(x, RNN_W);
    s->batch = dim_mul(d, x->I, x->rows);
}

/* Gates [from, from + gates) of R. */
static void state_side(Ctx *x, int from, int gates, State *s)
{
    Lw *l = x->l;
    Dims *d = &l->m->dims;
    int64_t h;
    Blob blob;
    RightSide r = {0};
    Dim G = dim_const(d, gates), lanes = dim_const(d, K_LANES), strips = dim_mul(d, dim_ceildiv(d, x->H, lanes), G);
    s->gates = gates;
    s->strip = dim_mul(d, x->H, lanes);
    s->batch = dim_mul(d, strips, s->strip);
    if (lw_const(l, RNN_R, &blob) && dim_is_const(d, x->H, &h) && h > 0) {
        Recipe shape = {.batch = x->f.dirs, .K = h, .N = h, .kc = h, .src_off = from * h * h, .stride_k = 1,
                        .stride_t = x->f.gates * h * h, .stride_n = h, .sides = gates > 1 ? gates : 0,
                        .stride_side = gates > 1 ? h * h : 0};
        r.rows = contraction_rows(l, x->B);
        if (contraction_pack_as(l, blob, &shape, &r)) {
            s->buf = r.buf;
            return;
        }
    }
    Dim to[4] = {dim_const(d, x->f.dirs), strips, x->H, lanes};
    KBuf src = lw_in(l, RNN_R);
    s->buf = lw_temp(l, lw_elem(l, RNN_R), 4, to);
    Kb *b = lw_kernel(l, "pack_weights");
    KVal i[4];
    lw_nest(l, 4, to, i);
    KVal unit = kb_add(b, kb_mul(b, kb_bin(b, KOP_FLOORDIV, i[1], kb_dim(b, G)), kb_i(b, K_LANES)), i[3]),
         gate = kb_add(b, kb_i(b, from), kb_bin(b, KOP_MOD, i[1], kb_dim(b, G))), H = kb_dim(b, x->H);
    kb_store(b, kb_param(b, s->buf, true), i,
             kb_load_if(b, kb_param(b, src, false), (KVal[]){i[0], kb_add(b, kb_mul(b, gate, H), unit), i[2]},
                        kb_lt(b, unit, H), (KVal){0}));
    lw_end_nest(l, 4);
    lw_kernel_end(l);
}

static void in_a(void *arg, Kb *b, KVal z, KVal t, KVal m, KVal k0, KVal *off, KVal *pred)
{
    const Ctx *x = arg;
    (void)z, (void)t, (void)pred;
    *off = kb_add(b, kb_mul(b, m, kb_dim(b, x->I)), k0);
}

static KVal in_b(void *arg, Kb *b, KVal z, KVal t, KVal k0)
{
    const Ctx *x = arg;
    (void)t;
    KVal off = kb_mul(b, z, kb_dim(b, x->w.batch));
    return x->w.r.packed ? off : kb_add(b, off, kb_mul(b, k0, kb_dim(b, x->rows)));
}

/* GRU with linear_before_reset scales R*h + Rb of the last gate: that Rb is left for the step. */
static bool late_bias(const Ctx *x) { return x->op == OP_GRU && x->a->linear_before_reset && lw_has(x->l, RNN_B); }

static void in_store(void *arg, Kb *b, KVal z, KVal m, KVal n, KVal acc)
{
    const Ctx *x = arg;
    Lw *l = x->l;
    if (lw_has(l, RNN_B)) {
        KVal rb = lw_at(l, RNN_B, (KVal[]){z, kb_add(b, n, kb_dim(b, x->rows))});
        if (late_bias(x)) {
            Dim last = dim_mul(&l->m->dims, dim_const(&l->m->dims, 2), x->H);
            rb = kb_select(b, kb_lt(b, n, kb_dim(b, last)), rb, kb_const_f(b, x->t, 0));
        }
        acc = kb_add(b, acc, kb_add(b, lw_at(l, RNN_B, (KVal[]){z, n}), rb));
    }
    kb_store(b, x->xw, (KVal[]){z, m, n}, acc);
}

/* Input times W for all steps, with biases: [D, T*B, gates*H] in the type of the computation. */
static KBuf input_product(Ctx *x)
{
    Lw *l = x->l;
    Dims *d = &l->m->dims;
    Dim D = dim_const(d, x->f.dirs), M = dim_mul(d, x->T, x->B), dim[3] = {D, M, x->rows};
    input_side(x);
    KBuf in = lw_in(l, RNN_X), out = lw_temp(l, x->t, 3, dim);
    lw_prepare_in(l);
    int64_t k;
    Kb *b = lw_kernel(l, "rnn_input");
    x->xw = kb_param(b, out, true);
    Contract c = {.Z = D,
                  .M = M,
                  .N = x->rows,
                  .K = x->I,
                  .T = dim_const(d, 1),
                  .a = kb_param(b, in, false),
                  .b = kb_param(b, x->w.r.buf, false),
                  .acc = x->t,
                  .b_packed = x->w.r.packed,
                  .b_pairs = x->w.r.pairs,
                  .pack_kc = x->w.r.kc,
                  .a_buf = in,
                  .arg = x,
                  .a_addr = in_a,
                  .b_addr = in_b,
                  .store = in_store,
                  .a_plain = true,
                  .a_row_bytes = dim_is_const(d, x->I, &k) ? k * dtype_info(lw_elem(l, 0))->bits / 8 : 0};
    contract_build(b, &c);
    lw_kernel_end(l);
    return out;
}

/* ---- one step ---- */

static KVal cf(const Ctx *x, double v) { return kb_const_f(x->l->b, x->t, v); }

static KVal function(const Ctx *x, const RnnAct *a, KVal v)
{
    Kb *b = x->l->b;
    KVal zero = cf(x, 0), one = cf(x, 1), alpha = cf(x, a->alpha), beta = cf(x, a->beta), y;
    switch (a->fn) {
    case RNN_SIGMOID: return kb_un(b, KOP_SIGMOID, v);
    case RNN_TANH: return kb_un(b, KOP_TANH, v);
    case RNN_RELU: return kb_max(b, v, zero);
    case RNN_AFFINE: return kb_add(b, kb_mul(b, alpha, v), beta);
    case RNN_LEAKY: return kb_select(b, kb_lt(b, v, zero), kb_mul(b, alpha, v), v);
    case RNN_THRESHOLDED: return kb_select(b, kb_lt(b, v, alpha), zero, v);
    case RNN_SCALED_TANH: return kb_mul(b, alpha, kb_un(b, KOP_TANH, kb_mul(b, beta, v)));
    case RNN_HARD_SIGMOID: return kb_min(b, kb_max(b, kb_add(b, kb_mul(b, alpha, v), beta), zero), one);
    case RNN_ELU: return kb_select(b, kb_lt(b, v, zero), kb_mul(b, alpha, kb_un(b, KOP_EXPM1, v)), v);
    case RNN_SOFTSIGN: return kb_div(b, v, kb_add(b, one, kb_un(b, KOP_ABS, v)));
    case RNN_SOFTPLUS:
        y = kb_un(b, KOP_EXP, kb_un(b, KOP_NEG, kb_un(b, KOP_ABS, v)));
        return kb_add(b, kb_max(b, v, zero), kb_un(b, KOP_LOG1P, y));
    }
    return v;
}

/* Function k of the direction, of a sum that `clip` limits first. */
static KVal activate(const Ctx *x, int k, KVal v, bool clip)
{
    Kb *b = x->l->b;
    if (clip && x->f.clip > 0) v = kb_min(b, kb_max(b, v, cf(x, -x->f.clip)), cf(x, x->f.clip));
    const RnnAct *p = &x->f.act[0][k], *q = &x->f.act[1][k];
    KVal y = function(x, p, v);
    if (x->f.dirs == 1 || (p->fn == q->fn && p->alpha == q->alpha && p->beta == q->beta)) return y;
    return kb_select(b, kb_eq(b, x->d, kb_i(b, 0)), y, function(x, q, v));
}

/* Where a sequence stands in a step. */
typedef struct Place {
    KVal i, b, t, live;    /* row in the block, sequence, time, is it within its length (0: always) */
    KVal sum[KM_SUMS_MAX]; /* of the product of the state, by gate */
} Place;

static KVal length_of(const Ctx *x, KVal b)
{
    Kb *k = x->l->b;
    KVal T = kb_dim(k, x->T), len = kb_cast(k, DT_I64, lw_at(x->l, RNN_LENS, &b));
    return kb_min(k, kb_max(k, len, kb_i(k, 0)), T);
}

static Place place(const Ctx *x, KVal i)
{
    Kb *b = x->l->b;
    Place p = {.i = i, .b = kb_add(b, x->b0, i), .t = x->step};
    KVal len = kb_dim(b, x->T);
    if (lw_has(x->l, RNN_LENS)) {
        len = length_of(x, p.b);
        p.live = kb_lt(b, x->step, len);
    }
    KVal back = kb_sub(b, kb_sub(b, len, kb_i(b, 1)), x->step);
    if (p.live.i) back = kb_select(b, p.live, back, x->step);
    if (x->f.dirs == 2) p.t = kb_select(b, kb_eq(b, x->d, kb_i(b, 0)), x->step, back);
    else if (x->f.reverse) p.t = back;
    return p;
}

/* Is there a hidden unit j? 0: always. */
static KVal unit_exists(const Ctx *x, KVal j) { return x->rest ? kb_lt(x->l->b, j, kb_dim(x->l->b, x->H)) : (KVal){0}; }

static KVal load_unit(const Ctx *x, uint32_t param, const KVal *idx, KVal j)
{
    Kb *b = x->l->b;
    KVal there = unit_exists(x, j);
    return there.i ? kb_load_if(b, param, idx, there, (KVal){0}) : kb_load(b, param, idx);
}

/* The element of an operand that belongs to gate k of unit j. */
static KVal operand_unit(const Ctx *x, uint32_t operand, int k, KVal j)
{
    Lw *l = x->l;
    Kb *b = l->b;
    KVal idx[2] = {x->d, kb_add(b, j, kb_dim(b, dim_mul(&l->m->dims, dim_const(&l->m->dims, k), x->H)))};
    return x->rest ? load_unit(x, kb_param(b, lw_in_strided(l, operand), false), idx, j) : lw_at(l, operand, idx);
}

/* xw of gate `k` and hidden unit j; and with the sum of the state's product */
static KVal from_input(const Ctx *x, const Place *p, int k, KVal j)
{
    Kb *b = x->l->b;
    Dims *d = &x->l->m->dims;
    KVal row = x->a->layout ? kb_add(b, kb_mul(b, p->b, kb_dim(b, x->T)), p->t)
                            : kb_add(b, kb_mul(b, p->t, kb_dim(b, x->B)), p->b);
    return load_unit(x, x->xw, (KVal[]){x->d, row, kb_add(b, j, kb_dim(b, dim_mul(d, dim_const(d, k), x->H)))}, j);
}
static KVal gate(const Ctx *x, const Place *p, int k, KVal j)
{
    return kb_add(x->l->b, from_input(x, p, k, j), p->sum[k]);
}
static KVal old_c(const Ctx *x, const Place *p, KVal j)
{
    return kb_load(x->l->b, x->c, (KVal[]){x->place, p->i, j});
}
static KVal old_h(const Ctx *x, const Place *p, KVal j)
{
    return kb_load(x->l->b, x->h, (KVal[]){x->place, x->old, p->i, j});
}

static KVal peep(const Ctx *x, int k, KVal j, KVal c, KVal sum)
{
    if (x->op != OP_LSTM || !lw_has(x->l, RNN_P)) return sum;
    return kb_fma(x->l->b, operand_unit(x, RNN_P, k, j), c, sum);
}

/* The new state and the step's output. */
static void finish(Ctx *x, const Place *p, KVal j, KVal h, KVal c)
{
    Lw *l = x->l;
    Kb *b = l->b;
    KVal y = h, there = unit_exists(x, j);
    if (p->live.i) {
        y = kb_select(b, p->live, h, cf(x, 0));
        h = kb_select(b, p->live, h, old_h(x, p, j));
        if (c.i) c = kb_select(b, p->live, c, old_c(x, p, j));
    }
    kb_store(b, x->h, (KVal[]){x->place, x->new, p->i, j}, h);
    if (c.i) kb_store(b, x->c, (KVal[]){x->place, p->i, j}, c);
    if (!value_used(l->g, node_out(l->g, l->n, 0))) return;
    KVal idx[2][4] = {{p->t, x->d, p->b, j}, {p->b, p->t, x->d, j}};
    if (there.i) kb_store_if(b, kb_param(b, lw_out(l, 0), true), idx[x->a->layout], y, there);
    else lw_put(l, 0, idx[x->a->layout], y);
}

static void lstm(Ctx *x, const Place *p, KVal j)
{
    Kb *b = x->l->b;
    KVal c = old_c(x, p, j), i = activate(x, 0, peep(x, 0, j, c, gate(x, p, 0, j)), true), f;
    if (x->a->input_forget) f = kb_sub(b, cf(x, 1), i);
    else f = activate(x, 0, peep(x, 2, j, c, gate(x, p, 2, j)), true);
    c = kb_fma(b, f, c, kb_mul(b, i, activate(x, 1, gate(x, p, 3, j), true)));
    KVal o = activate(x, 0, peep(x, 1, j, c, gate(x, p, 1, j)), true);
    finish(x, p, j, kb_mul(b, o, activate(x, 2, c, false)), c);
}

/* (1-z)*n + z*h */
static void gru_state(Ctx *x, const Place *p, KVal j, KVal z, KVal n)
{
    Kb *b = x->l->b;
    finish(x, p, j, kb_fma(b, z, old_h(x, p, j), kb_mul(b, kb_sub(b, cf(x, 1), z), n)), (KVal){0});
}

static void gru_linear(Ctx *x, const Place *p, KVal j)
{
    Kb *b = x->l->b;
    KVal z = activate(x, 0, gate(x, p, 0, j), true), r = activate(x, 0, gate(x, p, 1, j), true), s = p->sum[2];
    if (late_bias(x)) s = kb_add(b, s, operand_unit(x, RNN_B, 5, j));
    gru_state(x, p, j, z, activate(x, 1, kb_fma(b, r, s, from_input(x, p, 2, j)), true));
}

/* The first half: z waits, r*h goes to the second product. */
static void gru_reset(Ctx *x, const Place *p, KVal j)
{
    Kb *b = x->l->b;
    KVal at[2] = {p->i, j}, z = activate(x, 0, gate(x, p, 0, j), true), r = activate(x, 0, gate(x, p, 1, j), true);
    kb_store(b, x->rh, at, kb_mul(b, r, old_h(x, p, j)));
    kb_store(b, x->z, at, z);
}
static void gru_last(Ctx *x, const Place *p, KVal j)
{
    Kb *b = x->l->b;
    KVal n = kb_add(b, from_input(x, p, 2, j), p->sum[0]);
    gru_state(x, p, j, kb_load(b, x->z, (KVal[]){p->i, j}), activate(x, 1, n, true));
}
static void rnn(Ctx *x, const Place *p, KVal j) { finish(x, p, j, activate(x, 0, gate(x, p, 0, j), true), (KVal){0}); }

/* Issue slots of one row and 16 units with a tile of m rows and v vectors of units, in eighths; 0: too large. With one
 * row the strips need no registers, they are operands in memory. */
static int64_t state_slots(const KTarget *t, DType type, int gates, int64_t m, int64_t v)
{
    int64_t regs = 16 * dtype_info(type)->bits / (t->vec_bits ? t->vec_bits : 128),
            w = gates * v * (regs < 1 ? 1 : regs);
    if ((m == 1 ? w : (m + 1) * w) + 1 + !t->fma > t->vec_regs && (m > 1 || v > 1)) return 0;
    int64_t slots = m * w > m + w ? m * w : m + w;
    return 8 * (slots > 8 ? slots : 8) / (m * v);
}

/* Rows and vectors of units of the register tile. Vectors: as many as the latency of one row's sums asks for, where
 * they divide the units; one row is the common case. Rows: as many as there are, or as fit. */
static void state_tile(const Ctx *x, const State *s, int64_t *rows, int64_t *vectors)
{
    const KTarget *t = &x->l->k->target;
    int64_t h = 0, best = 0;
    bool known = dim_is_const(&x->l->m->dims, x->H, &h),
         few = x->block <= 2 || !dim_is_const(&x->l->m->dims, x->B, &(int64_t){0});
    *rows = *vectors = 1;
    for (int64_t v = 1; v <= 2; v++) {
        if (v == 2 && !(few && known && (h + K_LANES - 1) / K_LANES % 2 == 0)) continue;
        int64_t slots = state_slots(t, x->t, s->gates, 1, v);
        if (!slots || (best && slots * 10 > best * 9)) continue;
        best = slots;
        *vectors = v;
    }
    best = INT64_MAX;
    for (int64_t m = 1; m <= x->block; m++) {
        int64_t slots = state_slots(t, x->t, s->gates, m, *vectors), tiles = (x->block + m - 1) / m;
        if (!slots || slots * m * tiles > best) continue;
        best = slots * m * tiles;
        *rows = m;
    }
}

/* One product of a step: rows of `a` from element `first` on times the gates of `s`, and f with their sums for each
 * unit. */
static void product(Ctx *x, const State *s, uint32_t a, KVal first, void (*f)(Ctx *, const Place *, KVal j))
{
    Lw *l = x->l;
    Kb *b = l->b;
    Dims *d = &l->m->dims;
    int64_t mr, nv;
    state_tile(x, s, &mr, &nv);
    Dim width = dim_const(d, nv * K_LANES), blocks = dim_div(d, x->wide, width);
    bool one = dim_is(d, blocks, 1);
    KVal q = kb_i(b, 0), last = kb_dim(b, dim_sub(d, blocks, dim_const(d, 1))), args[KM_ARGS];
    if (x->split) q = kb_for_par(b, kb_i(b, 0), kb_dim(b, blocks), x->down);
    else if (!one) {
        q = kb_for(b, KLOOP_SEQ, kb_i(b, 0), kb_dim(b, blocks));
        q = kb_select(b, kb_eq(b, x->new, kb_i(b, 0)), kb_sub(b, last, q), q);
    }
    args[KM_ROWS] = x->n;
    args[KM_COLS] = kb_dim(b, width);
    args[KM_K] = kb_dim(b, x->H);
    args[KM_T] = args[KM_AK] = kb_i(b, 1);
    args[KM_BK] = kb_i(b, K_LANES);
    args[KM_BSUM] = kb_dim(b, s->strip);
    args[KM_BSTRIP] = kb_mul(b, kb_dim(b, s->strip), kb_i(b, s->gates));
    KVal b_off = kb_add(b, kb_mul(b, x->d, kb_dim(b, s->batch)),
                        kb_mul(b, q, kb_mul(b, args[KM_BSTRIP], kb_i(b, nv))));
    KMacc spec = {.a = a, .b = s->param, .mr = (uint8_t)mr, .nv = (uint8_t)(nv * s->gates), .sums = (uint8_t)s->gates,
                  .m_inner = true, .b_packed = true, .acc = x->t};
    KbMacc m;
    kb_macc(b, &m, &spec, args);
    kb_macc_addr(b, &m, kb_add(b, first, kb_mul(b, m.i, kb_dim(b, x->wide))), (KVal){0}, b_off);
    kb_macc_epilogue(b, &m);
    Place p = place(x, m.i);
    for (int k = 0; k < s->gates; k++) p.sum[k] = m.sum[k];
    f(x, &p, kb_add(b, kb_mul(b, q, kb_dim(b, width)), m.j));
    kb_macc_end(b, &m);
    if (x->split || !one) kb_end(b);
}

static bool result_used(Lw *l, uint32_t r)
{
    return r < node_n_out(l->g, l->n) && value_used(l->g, node_out(l->g, l->n, r));
}

/* Initial states into the locals, and the last ones out of them. */
static void state_io(Ctx *x, bool out)
{
    Lw *l = x->l;
    Kb *b = l->b;
    KVal i = kb_for(b, KLOOP_SEQ, kb_i(b, 0), x->n), at_b = kb_add(b, x->b0, i), some = {0};
    if (out && lw_has(l, RNN_LENS)) some = kb_bin(b, KOP_GT, length_of(x, at_b), kb_i(b, 0));
    else if (lw_has(l, RNN_LENS)) {
        KVal len = kb_cast(b, DT_I64, lw_at(l, RNN_LENS, &at_b));
        kb_record(b, kb_eq(b, len, length_of(x, at_b)), "sequence length {got} is out of range for {want} steps", len, kb_dim(b, x->T));
    }
    KVal half = out ? kb_bin(b, KOP_MOD, kb_dim(b, x->T), kb_i(b, 2)) : kb_i(b, 0);
    KVal j = kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_dim(b, out ? x->H : x->wide));
    KVal idx[2][3] = {{x->d, at_b, j}, {at_b, x->d, j}}, *at = idx[x->a->layout];
    for (uint32_t k = 0; k < (x->op == OP_LSTM ? 2u : 1u); k++) {
        KVal h[] = {x->place, half, i, j}, c[] = {x->place, i, j}, *local = k ? c : h, v;
        uint32_t param = k ? x->c : x->h;
        if (!out) {
            if (!lw_has(l, RNN_H0 + k)) v = cf(x, 0);
            else v = x->rest ? load_unit(x, kb_param(b, lw_in_strided(l, RNN_H0 + k), false), at, j)
                             : lw_at(l, RNN_H0 + k, at);
            kb_store(b, param, local, v);
        } else if (result_used(l, 1 + k)) {
            v = kb_load(b, param, local);
            lw_put(l, 1 + k, at, some.i ? kb_select(b, some, v, cf(x, 0)) : v);
        }
    }
    kb_end(b);
    kb_end(b);
}

/* Opens and closes the loop over directions inside a task that takes both. */
static void each_direction(Ctx *x)
{
    if (x->both) x->d = x->place = kb_for(x->l->b, KLOOP_SEQ, kb_i(x->l->b, 0), kb_i(x->l->b, x->f.dirs));
}
static void directions_end(Ctx *x)
{
    if (x->both) kb_end(x->l->b);
}

/* A step of few units waits for results all the time: two directions in turn fill the gaps, as long as R of both is
 * near. Else they are work for two threads. */
static bool both_together(const Ctx *x)
{
    const KTarget *t = &x->l->k->target;
    int64_t h, n, bytes = dtype_info(x->t)->bits / 8;
    if (x->f.dirs != 2 || !dim_is_const(&x->l->m->dims, x->H, &h) || h > 1024) return false;
    bool few = !dim_is_const(&x->l->m->dims, x->B, &n) || n <= 2;
    return few && 2 * x->f.gates * h * ((h + K_LANES - 1) / K_LANES * K_LANES) * bytes <= t->l1_bytes * 2 / 3;
}

/* Sequences per task: rows for the tile, and something for every thread; no result depends on it. */
static int64_t block_of(const Dims *d, Dim B)
{
    enum { MOST = 12 };
    int64_t n;
    if (!dim_is_const(d, B, &n)) return MOST;
    int64_t blocks = (n + MOST - 1) / MOST;
    return n > 0 ? (n + blocks - 1) / blocks : 1;
}

/* One direction and an R that takes long to read: threads share the units of a step, and wait for each other behind it.
 * (Two directions have a thread each, without waiting; many sequences are shared as such.) */
static bool units_shared(const Ctx *x)
{
    enum { ENOUGH = 1 << 20 /* bytes of R: several microseconds a step from any cache */ };
    int64_t h, n;
    if (x->f.dirs != 1 || !dim_is_const(&x->l->m->dims, x->H, &h) || h > 1 << 20) return false;
    bool few = !dim_is_const(&x->l->m->dims, x->B, &n) || n <= x->block;
    return few && x->f.gates * h * h * (dtype_info(x->t)->bits / 8) >= ENOUGH;
}

/* The buffers of the state, as parameters of the open kernel. */
typedef struct Shared { KBuf xw, h, c, z, rh; } Shared;
static void shared_params(Ctx *x, const Shared *s)
{
    Kb *b = x->l->b;
    if (s->xw.i) x->xw = kb_param(b, s->xw, false);
    x->h = kb_param(b, s->h, true);
    if (s->c.i) x->c = kb_param(b, s->c, true);
    if (s->z.i) x->z = kb_param(b, s->z, true);
    if (s->rh.i) x->rh = kb_param(b, s->rh, true);
    x->d = x->place = x->b0 = kb_i(b, 0);
    x->n = kb_dim(b, x->B);
}

/* A kernel of its own for each product of step `at`, `old` its half of h. */
static void shared_step(Ctx *x, const Shared *s, Dim at, Dim old, bool twice)
{
    Dims *d = &x->l->m->dims;
    Dim size = dim_mul(d, old, dim_mul(d, x->B, x->wide));
    for (int k = 0; k <= twice; k++) {
        Kb *b = lw_kernel(x->l, node_desc(x->l->g, x->l->n)->name);
        shared_params(x, s);
        x->r[k].param = kb_param(b, x->r[k].buf, false);
        x->step = kb_dim(b, at);
        x->old = kb_dim(b, old);
        x->new = kb_sub(b, kb_i(b, 1), x->old);
        if (twice) product(x, &x->r[k], k ? x->rh : x->h, k ? kb_i(b, 0) : kb_dim(b, size), k ? gru_last : gru_reset);
        else product(x, &x->r[0], x->h, kb_dim(b, size), x->op == OP_LSTM ? lstm : x->op == OP_GRU ? gru_linear : rnn);
        lw_kernel_end(x->l);
    }
}

/*   initial states;  while step < T { if step is odd { units downwards } else { units upwards } };  last states */
static bool lower_shared(Ctx *x, KBuf xw, bool twice)
{
    Lw *l = x->l;
    Dims *d = &l->m->dims;
    KSteps *outer = l->steps;
    Dim one = dim_const(d, 1), rows[4] = {one, x->B, x->wide}, both[4] = {one, dim_const(d, 2), x->B, x->wide};
    Shared s = {.h = lw_temp(l, x->t, 4, both)};
    if (x->op == OP_LSTM) s.c = lw_temp(l, x->t, 3, rows);
    if (twice) s.z = lw_temp(l, x->t, 2, rows + 1), s.rh = lw_temp(l, x->t, 2, rows + 1);
    Shared states = s;
    states.z = states.rh = (KBuf){0};
    s.xw = xw;
    lw_kernel(l, "rnn_begin");
    shared_params(x, &states);
    state_io(x, false);
    lw_kernel_end(l);

    Sym sym = sym_new(d, module_fresh_name(l->m, "step"), SYM_NODE, 0, INT64_MAX);
    Dim step = dim_sym(d, sym);
    KStep *w = lw_step(l, KST_WHILE);
    w->a = dim_sub(d, x->T, step);
    w->body = arena_new(l->k->arena, KSteps);
    w->n_carry = 1;
    w->carry = arena_memdup(l->k->arena, &sym, sizeof sym);
    w->init = arena_array(l->k->arena, Dim, 1);
    w->next_val = arena_array(l->k->arena, Dim, 1);
    w->init[0] = dim_const(d, 0);
    w->next_val[0] = dim_add(d, step, one);
    l->steps = w->body;
    KStep *odd = lw_step(l, KST_IF);
    odd->a = dim_mod(d, step, dim_const(d, 2));
    odd->body = arena_new(l->k->arena, KSteps);
    odd->other = arena_new(l->k->arena, KSteps);
    x->split = true;
    for (int k = 0; k < 2; k++) {
        l->steps = k ? odd->body : odd->other;
        x->down = k;
        shared_step(x, &s, step, dim_const(d, k), twice);
    }
    l->steps = outer;

    if (!result_used(l, 1) && !result_used(l, 2)) return true;
    lw_kernel(l, "rnn_end");
    shared_params(x, &states);
    state_io(x, true);
    lw_kernel_end(l);
    return true;
}

static bool lower(Lw *l, Node n)
{
    Dims *d = &l->m->dims;
    Ctx x = {.l = l, .op = node_rec(l->g, n)->op, .a = ATTRS(l->g, n, Rnn), .t = dtype_compute(lw_elem(l, 0))};
    const char *why;
    if (!rnn_form(x.op, x.a, &x.f, &why)) return lw_fail(l, "%s", why);
    x.T = lw_dim(l, RNN_X, x.a->layout ? 1 : 0);
    x.B = lw_dim(l, RNN_X, x.a->layout ? 0 : 1);
    x.I = lw_dim(l, RNN_X, 2);
    x.H = lw_dim(l, RNN_R, 2);
    x.rows = dim_mul(d, dim_const(d, x.f.gates), x.H);
    x.wide = dim_mul(d, dim_ceildiv(d, x.H, dim_const(d, K_LANES)), dim_const(d, K_LANES));
    x.rest = dim_eq(d, x.wide, x.H) != TRI_YES;
    x.block = block_of(d, x.B);
    bool twice = x.op == OP_GRU && !x.a->linear_before_reset;
    state_side(&x, 0, twice ? 2 : x.f.gates, &x.r[0]);
    if (twice) state_side(&x, 2, 1, &x.r[1]);
    KBuf xw = input_product(&x);
    lw_prepare_in(l);
    for (uint32_t r = 0; r < node_n_out(l->g, n); r++)
        if (value_used(l->g, node_out(l->g, n, r))) lw_out(l, r);
    if (units_shared(&x)) return lower_shared(&x, xw, twice);

    Kb *b = lw_kernel(l, node_desc(l->g, n)->name);
    Dim block = dim_const(d, x.block), blocks = dim_ceildiv(d, x.B, block);
    x.xw = kb_param(b, xw, false);
    for (int k = 0; k <= twice; k++) x.r[k].param = kb_param(b, x.r[k].buf, false);
    x.both = both_together(&x);
    int apart = x.both ? 1 : x.f.dirs;
    KVal q = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, dim_mul(d, dim_const(d, apart), blocks)));
    bool one = dim_is(d, blocks, 1);
    x.d = apart == 1 ? kb_i(b, 0) : one ? q : kb_bin(b, KOP_FLOORDIV, q, kb_dim(b, blocks));
    x.place = kb_i(b, 0);
    x.b0 = one ? kb_i(b, 0) : kb_mul(b, apart == 1 ? q : kb_bin(b, KOP_MOD, q, kb_dim(b, blocks)), kb_i(b, x.block));
    x.n = one ? kb_dim(b, x.B) : kb_min(b, kb_i(b, x.block), kb_sub(b, kb_dim(b, x.B), x.b0));
    Dim places = dim_const(d, x.both ? 2 : 1), size = dim_mul(d, block, x.wide);
    x.h = kb_local(b, "h", x.t, 4, (Dim[]){places, dim_const(d, 2), block, x.wide});
    if (x.op == OP_LSTM) x.c = kb_local(b, "c", x.t, 3, (Dim[]){places, block, x.wide});
    if (twice) x.z = kb_local(b, "z", x.t, 2, (Dim[]){block, x.wide});
    if (twice) x.rh = kb_local(b, "rh", x.t, 2, (Dim[]){block, x.wide});
    each_direction(&x);
    state_io(&x, false);
    directions_end(&x);
    x.step = kb_for(b, KLOOP_SEQ, kb_i(b, 0), kb_dim(b, x.T));
    x.old = kb_bin(b, KOP_MOD, x.step, kb_i(b, 2));
    x.new = kb_sub(b, kb_i(b, 1), x.old);
    each_direction(&x);
    KVal first = kb_mul(b, kb_add(b, kb_mul(b, x.place, kb_i(b, 2)), x.old), kb_dim(b, size));
    if (twice) {
        product(&x, &x.r[0], x.h, first, gru_reset);
        product(&x, &x.r[1], x.rh, kb_i(b, 0), gru_last);
    } else product(&x, &x.r[0], x.h, first, x.op == OP_LSTM ? lstm : x.op == OP_GRU ? gru_linear : rnn);
    directions_end(&x);
    kb_end(b);
    if (result_used(l, 1) || result_used(l, 2)) {
        each_direction(&x);
        state_io(&x, true);
        directions_end(&x);
    }
    kb_end(b);
    lw_kernel_end(l);
    return true;
}

static Cost cost(const Graph *g, Node n)
{
    const TypeRec *w = value_trec(g, node_in(g, n, RNN_W)), *r = value_trec(g, node_in(g, n, RNN_R)),
                  *x = value_trec(g, node_in(g, n, RNN_X));
    double rows = 1;
    int64_t lo, hi[5];
    dim_bounds(&g->m->dims, w->dim[2], &lo, &hi[0]);
    dim_bounds(&g->m->dims, r->dim[2], &lo, &hi[1]);
    dim_bounds(&g->m->dims, r->dim[1], &lo, &hi[2]);
    dim_bounds(&g->m->dims, x->dim[0], &lo, &hi[3]);
    dim_bounds(&g->m->dims, x->dim[1], &lo, &hi[4]);
    rows = (double)hi[3] * (double)hi[4];
    return (Cost){.flops = 2 * rows * (double)hi[2] * ((double)hi[0] + (double)hi[1]),
                  .bytes = 4 * (double)hi[2] * ((double)hi[0] + (double)hi[1])};
}

static bool has_result(const Graph *g, Node n, const struct Tensor *index) /* the lengths of sequences may be longer than these */
{
    (void)index;
    return node_n_in(g, n) <= 4 || !node_in(g, n, 4).i;
}

#define ROW                                                                                                            \
    .cls = CLS_OPAQUE, .by = BY_TILE, .flags = OPF_STRIDED_OUT, .attrs_size = sizeof(Rnn), .infer = infer, .lower = lower,            \
    .expand = rnn_expand,                                                                                              \
    .has_result = has_result, .eval = rnn_eval, .cost = cost

const OpDesc op_LSTM = {.name = "LSTM", .since = 22, .in = P_LSTM, .out = P_OUT_LSTM, .attrs = LSTM_ATTRS, ROW};
const OpDesc op_GRU = {.name = "GRU", .since = 22, .in = P_GRU, .out = P_OUT, .attrs = GRU_ATTRS, ROW};
const OpDesc op_RNN = {.name = "RNN", .since = 22, .in = P_GRU, .out = P_OUT, .attrs = RNN_ATTRS, ROW};
