/* ml_coupling.c: Coupling, what a classifier of pairs needs for the probabilities of its classes.   Wu, Lin, Weng:
 * "Probability Estimates for Multi-class Classification by Pairwise Coupling", JMLR 5 (2004), algorithm 2.
 *   r(i,j) = p(i | i or j)    Q(t,t) = sum over j of r(j,t)^2, Q(t,j) = -r(j,t) r(t,j)    minimise p^T Q p, sum p = 1
 *   sweeps over t:  p(t) += (p^T Q p - (Q p)(t)) / Q(t,t), then all divided by the sum
 * at most 100 sweeps (or as many as classes), none after every |(Q p)(t) - p^T Q p| is below 0.005 / classes. That is a
 * coarse end, so sweeps are counted exactly as libsvm does.
 *
 * Input [N, n (n-1) / 2], the pairs i < j row by row; a row of it is one iteration of a parallel loop. */
#include "ir/graph/lower.h"
#include "ir/ops/ml.h"
#include <math.h>

typedef struct Coupling {
    uint64_t set;
    int64_t classes;
} Coupling;
static const AttrSpec ATTRS_[] = {A_INT(Coupling, classes, 2), A_END};
#define DTS_R (DTS(DT_F32) | DTS(DT_F64))
static const Port P_R[] = {{"r", DTS_R, 0, 1}, PORT_END};
static const Port P_P[] = {{"p", DTS_R, 0, 1}, PORT_END};

static bool infer(Infer *c)
{
    int64_t n = ATTRS(c->g, c->n, Coupling)->classes;
    if (!infer_need_rank(c, 0, 2, 2)) return false;
    if (n < 2 || !infer_must_eq(c, infer_dim(c, 0, 1), dim_const(c->d, n * (n - 1) / 2), "pairs of classes"))
        return infer_fail(c, "it needs a probability for each pair of classes");
    return infer_set(c, 0, infer_elem(c, 0), 2, (Dim[]){infer_dim(c, 0, 0), dim_const(c->d, n)});
}

typedef struct Cw {
    Kb *b;
    DType t;
    KVal zero, n;
    uint32_t q, qp, p; /* Q [n, n], Q p, p */
} Cw;

static KVal real(const Cw *w, double v) { return kb_const_f(w->b, w->t, v); }

/* sum over j of term(j) */
typedef KVal Term(const Cw *, KVal i, KVal j);
static KVal sum(const Cw *w, KVal i, Term *term)
{
    KbLoop loop;
    KVal init = real(w, 0), next;
    kb_loop(w->b, &loop, KLOOP_SEQ, w->zero, w->n, 1, &init, NULL);
    next = kb_add(w->b, loop.carry[0], term(w, i, loop.iv));
    kb_loop_end(w->b, &loop, &next);
    return loop.result[0];
}
static KVal row_times_p(const Cw *w, KVal i, KVal j)
{
    return kb_mul(w->b, kb_load(w->b, w->q, (KVal[]){i, j}), kb_load(w->b, w->p, &j));
}
static KVal p_times_qp(const Cw *w, KVal i, KVal j)
{
    (void)i;
    return kb_mul(w->b, kb_load(w->b, w->p, &j), kb_load(w->b, w->qp, &j));
}
static KVal column_square(const Cw *w, KVal i, KVal j) /* of r, which still stands in q; its diagonal is 0 */
{
    KVal r = kb_load(w->b, w->q, (KVal[]){j, i});
    return kb_mul(w->b, r, r);
}

/* r into q as [n, n], then Q in its place: the diagonal first, by way of qp. */
static void make_q(const Cw *w, Lw *l, KVal row)
{
    Kb *b = w->b;
    KVal one = kb_i(b, 1), i = kb_for(b, KLOOP_SEQ, w->zero, w->n);
    kb_store(b, w->q, (KVal[]){i, i}, real(w, 0));
    /* pairs in front of row i: i n - i (i + 1) / 2 */
    KVal first = kb_sub(b, kb_mul(b, i, w->n), kb_bin(b, KOP_FLOORDIV, kb_mul(b, i, kb_add(b, i, one)), kb_i(b, 2)));
    KVal j = kb_for(b, KLOOP_SEQ, kb_add(b, i, one), w->n);
    KVal r = lw_at(l, 0, (KVal[]){row, kb_add(b, first, kb_sub(b, j, kb_add(b, i, one)))});
    kb_store(b, w->q, (KVal[]){i, j}, r);
    kb_store(b, w->q, (KVal[]){j, i}, kb_sub(b, real(w, 1), r));
    kb_end(b);
    kb_end(b);
    i = kb_for(b, KLOOP_SEQ, w->zero, w->n);
    kb_store(b, w->qp, &i, sum(w, i, column_square));
    kb_store(b, w->p, &i, kb_div(b, real(w, 1), kb_cast(b, w->t, w->n)));
    kb_end(b);
    i = kb_for(b, KLOOP_SEQ, w->zero, w->n);
    kb_store(b, w->q, (KVal[]){i, i}, kb_load(b, w->qp, &i));
    j = kb_for(b, KLOOP_SEQ, kb_add(b, i, one), w->n);
    KVal both = kb_un(b, KOP_NEG, kb_mul(b, kb_load(b, w->q, (KVal[]){i, j}), kb_load(b, w->q, (KVal[]){j, i})));
    kb_store(b, w->q, (KVal[]){i, j}, both);
    kb_store(b, w->q, (KVal[]){j, i}, both);
    kb_end(b);
    kb_end(b);
}

/* One sweep; n: how many classes are left to do, 0 after the end. */
static void sweep(const Cw *w, KVal n, KVal pqp)
{
    Kb *b = w->b;
    KbLoop loop;
    kb_loop(b, &loop, KLOOP_SEQ, w->zero, n, 1, &pqp, NULL);
    KVal t = loop.iv, q = kb_load(b, w->q, (KVal[]){t, t}), qp = kb_load(b, w->qp, &t);
    KVal diff = kb_div(b, kb_sub(b, loop.carry[0], qp), q), whole = kb_add(b, real(w, 1), diff);
    kb_store(b, w->p, &t, kb_add(b, kb_load(b, w->p, &t), diff));
    KVal more = kb_mul(b, diff, kb_add(b, kb_mul(b, diff, q), kb_mul(b, real(w, 2), qp)));
    KVal next = kb_div(b, kb_add(b, loop.carry[0], more), kb_mul(b, whole, whole));
    KVal j = kb_for(b, KLOOP_SEQ, w->zero, n);
    kb_store(b, w->qp, &j,
             kb_div(b, kb_add(b, kb_load(b, w->qp, &j), kb_mul(b, diff, kb_load(b, w->q, (KVal[]){t, j}))), whole));
    kb_store(b, w->p, &j, kb_div(b, kb_load(b, w->p, &j), whole));
    kb_end(b);
    kb_loop_end(b, &loop, &next);
}

static bool lower(Lw *l, Node n)
{
    int64_t classes = ATTRS(l->g, n, Coupling)->classes, sweeps = classes > 100 ? classes : 100;
    Dim dim[2] = {dim_const(&l->m->dims, classes), dim_const(&l->m->dims, classes)};
    lw_prepare_in(l);
    lw_prepare_out(l);
    Kb *b = lw_kernel(l, "coupling");
    Cw w = {.b = b, .t = lw_elem(l, 0), .zero = kb_i(b, 0), .n = kb_i(b, classes)};
    KVal row = kb_for(b, KLOOP_PAR, w.zero, kb_dim(b, lw_dim(l, 0, 0)));
    w.q = kb_local(b, "q", w.t, 2, dim);
    w.qp = kb_local(b, "qp", w.t, 1, dim);
    w.p = kb_local(b, "p", w.t, 1, dim);
    make_q(&w, l, row);
    KbLoop loop;
    kb_loop(b, &loop, KLOOP_SEQ, w.zero, kb_i(b, sweeps), 1, &w.n, NULL);
    KVal left = loop.carry[0]; /* 0: the end was reached in an earlier sweep, all loops are empty */
    KVal i = kb_for(b, KLOOP_SEQ, w.zero, left);
    kb_store(b, w.qp, &i, sum(&w, i, row_times_p));
    kb_end(b);
    KVal pqp = sum(&w, w.zero, p_times_qp), init = real(&w, 0);
    KbLoop far;
    kb_loop(b, &far, KLOOP_SEQ, w.zero, left, 1, &init, NULL);
    KVal off = kb_max(b, far.carry[0], kb_un(b, KOP_ABS, kb_sub(b, kb_load(b, w.qp, &far.iv), pqp)));
    kb_loop_end(b, &far, &off);
    KVal go = kb_select(b, kb_lt(b, far.result[0], real(&w, 0.005 / (double)classes)), w.zero, left);
    sweep(&w, go, pqp);
    kb_loop_end(b, &loop, &go);
    i = kb_for(b, KLOOP_SEQ, w.zero, w.n);
    lw_put(l, 0, (KVal[]){row, i}, kb_load(b, w.p, &i));
    kb_end(b);
    kb_end(b);
    lw_kernel_end(l);
    return true;
}

/* ---- reference ---- */

void ml_coupling_eval(Arena *a, const double *r, int64_t n, double *p)
{
    double *q = arena_array(a, double, n *n), *qp = arena_array(a, double, n);
    for (int64_t t = 0; t < n; t++) {
        p[t] = 1.0 / (double)n;
        for (int64_t j = 0; j < n; j++) {
            if (j == t) continue;
            q[t * n + t] += r[j * n + t] * r[j * n + t];
            q[t * n + j] = -r[j * n + t] * r[t * n + j];
        }
    }
    for (int64_t k = 0; k < (n > 100 ? n : 100); k++) {
        double pqp = 0, far = 0;
        for (int64_t t = 0; t < n; t++) {
            qp[t] = 0;
            for (int64_t j = 0; j < n; j++) qp[t] += q[t * n + j] * p[j];
            pqp += p[t] * qp[t];
        }
        for (int64_t t = 0; t < n; t++) far = fmax(far, fabs(qp[t] - pqp));
        if (far < 0.005 / (double)n) break;
        for (int64_t t = 0; t < n; t++) {
            double diff = (pqp - qp[t]) / q[t * n + t], whole = 1 + diff;
            p[t] += diff;
            pqp = (pqp + diff * (diff * q[t * n + t] + 2 * qp[t])) / (whole * whole);
            for (int64_t j = 0; j < n; j++) qp[j] = (qp[j] + diff * q[t * n + j]) / whole, p[j] /= whole;
        }
    }
}

static bool eval(Eval *e)
{
    int64_t n = ATTRS(e->g, e->n, Coupling)->classes, P = n * (n - 1) / 2, dim[2] = {e->in[0]->dim[0], n};
    Tensor *y = ev_out(e, 0, e->in[0]->elem, 2, dim);
    double *r = arena_array(e->arena, double, n *n), *p = arena_array(e->arena, double, n);
    for (int64_t row = 0; y && row < dim[0]; row++) {
        int64_t k = row * P;
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = i + 1; j < n; j++, k++) r[i * n + j] = ev_f(e->in[0], k), r[j * n + i] = 1 - r[i * n + j];
        ml_coupling_eval(e->arena, r, n, p);
        for (int64_t c = 0; c < n; c++) ev_set_f(y, row * n + c, p[c]);
    }
    return y != NULL;
}

const OpDesc op_Coupling = {.name = "Coupling",
                            .since = 1,
                            .cls = CLS_OPAQUE,
                            .flags = OPF_INTERNAL | OPF_STRIDED_OUT,
                            .in = P_R,
                            .out = P_P,
                            .attrs = ATTRS_,
                            .attrs_size = sizeof(Coupling),
                            .infer = infer,
                            .lower = lower,
                            .eval = eval};
