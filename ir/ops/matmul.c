/* matmul.c: MatMul (numpy's, any ranks, batch broadcasting) and Gemm (alpha*A'*B' + beta*C), through macc.
 * A constant right operand is packed when compiling. With one matrix on the right, the rows of all batches form one tall product. */
#include "ir/graph/eval.h"
#include "ir/graph/infer.h"
#include "ir/ops/contraction.h"
#include <string.h>

#define DTS_MATMUL (DTS_FLOAT | DTS(DT_I32) | DTS(DT_I64) | DTS(DT_U32) | DTS(DT_U64))
static const Port P_MATMUL[] = {{"A", DTS_MATMUL, 0, 1}, {"B", DTS_MATMUL, 0, 1}, PORT_END};
static const Port P_OUT[] = {{"Y", DTS_MATMUL, 0, 1}, PORT_END};
static const Port P_GEMM[] = {{"A", DTS_MATMUL, 0, 1}, {"B", DTS_MATMUL, 0, 1}, {"C", DTS_MATMUL, PORT_OPTIONAL, 1}, PORT_END};

/* ---- MatMul ---- */

static bool matmul_infer(Infer *c)
{
    if (!infer_need_rank(c, 0, 1, -1) || !infer_need_rank(c, 1, 1, -1)) return false;
    int ra = infer_rank(c, 0), rb = infer_rank(c, 1), ba = ra > 2 ? ra - 2 : 0, bb = rb > 2 ? rb - 2 : 0, batch = ba > bb ? ba : bb, rank = batch;
    Dim dim[RANK_MAX + 2];
    if (!infer_must_eq(c, infer_dim(c, 0, ra - 1), infer_dim(c, 1, rb == 1 ? 0 : rb - 2), "inner dimension")) return false;
    for (int i = 0; i < batch; i++) {
        int a = i - (batch - ba), b = i - (batch - bb);
        Dim x = a < 0 ? dim_const(c->d, 1) : infer_dim(c, 0, a), y = b < 0 ? dim_const(c->d, 1) : infer_dim(c, 1, b);
        int64_t p, q;
        if (dim_is_const(c->d, x, &p) && dim_is_const(c->d, y, &q) && p != q && p != 1 && q != 1)
            return infer_fail(c, "batch dimensions %lld and %lld do not broadcast", (long long)p, (long long)q);
        dim[i] = dim_is(c->d, x, 1) ? y : dim_is(c->d, y, 1) || dim_eq(c->d, x, y) == TRI_YES ? x : dim_bcast(c->d, x, y);
        if (!dim_is(c->d, x, 1) && !dim_is(c->d, y, 1) && dim_eq(c->d, x, y) == TRI_UNKNOWN && !infer_may_broadcast(c, x, y)) return false;
    }
    if (ra > 1) dim[rank++] = infer_dim(c, 0, ra - 2);
    if (rb > 1) dim[rank++] = infer_dim(c, 1, rb - 1);
    return infer_set(c, 0, infer_elem(c, 0), rank, dim);
}

typedef struct Mm {
    Lw *l;
    int batch;                       /* batch axes of the result (0 when they are part of M) */
    Dim dim[RANK_MAX];               /* their extents */
    KVal a_step[RANK_MAX], b_step[RANK_MAX];   /* elements per step of each batch axis, 0 when broadcast */
    Dim K, N, rows;                  /* rows: M of one matrix */
    bool a_vec, b_vec, tall, b_packed;
    KVal row, col;                   /* element strides of A: next row, next k */
    /* Gemm */
    double alpha, beta;
    bool bias;
} Mm;

static void split_batch(const Mm *x, Kb *b, KVal z, KVal *idx)
{
    for (int i = x->batch - 1; i >= 0; i--) {
        if (i == 0) idx[0] = z;
        else {
            KVal d = kb_dim(b, x->dim[i]);
            idx[i] = kb_bin(b, KOP_REM, z, d);
            z = kb_div(b, z, d);
        }
    }
}

static KVal batch_offset(const Mm *x, Kb *b, KVal z, const KVal *step)
{
    KVal idx[RANK_MAX], off = kb_i(b, 0);
    split_batch(x, b, z, idx);
    for (int i = 0; i < x->batch; i++) off = kb_add(b, off, kb_mul(b, idx[i], step[i]));
    return off;
}

static void mm_a(void *arg, Kb *b, KVal z, KVal t, KVal m, KVal k0, KVal *off, KVal *pred)
{
    const Mm *x = arg;
    (void)t, (void)pred;
    *off = kb_add(b, batch_offset(x, b, z, x->a_step), kb_add(b, kb_mul(b, m, x->row), kb_mul(b, k0, x->col)));
}

static KVal mm_b(void *arg, Kb *b, KVal z, KVal t, KVal k0)
{
    const Mm *x = arg;
    (void)t;
    if (x->b_packed) return kb_i(b, 0);
    return kb_add(b, batch_offset(x, b, z, x->b_step), kb_mul(b, k0, kb_dim(b, x->N)));
}

static KVal scaled(Kb *b, KVal v, double k)
{
    DType t = kb_type(b, v);
    if (k == 1) return v;
    if (dtype_is_float(t)) return kb_mul(b, v, kb_const_f(b, t, k));
    return kb_cast(b, t, kb_mul(b, kb_cast(b, DT_F64, v), kb_const_f(b, DT_F64, k)));
}

static void mm_store(void *arg, Kb *b, KVal z, KVal m, KVal n, KVal acc)
{
    Mm *x = arg;
    Lw *l = x->l;
    KVal idx[RANK_MAX];
    int rank = lw_out_rank(l, 0), lead = rank - !x->a_vec - !x->b_vec;
    if (x->tall) {
        for (int i = lead; i >= 0; i--) {   /* m counts rows of all batches */
            if (x->a_vec) break;
            KVal d = kb_dim(b, lw_out_dim(l, 0, i));
            if (i == 0) idx[0] = m;
            else {
                idx[i] = kb_bin(b, KOP_REM, m, d);
                m = kb_div(b, m, d);
            }
        }
    } else {
        split_batch(x, b, z, idx);
        if (!x->a_vec) idx[lead] = m;
    }
    if (!x->b_vec) idx[rank - 1] = n;
    KVal v = scaled(b, acc, x->alpha);
    if (x->bias) {
        Dim dim[2] = {lw_out_dim(l, 0, 0), lw_out_dim(l, 0, 1)};
        v = kb_add(b, v, scaled(b, lw_at_broadcast(l, 2, idx, 2, dim), x->beta));
    }
    lw_put(l, 0, idx, v);
}

static bool matmul_lower(Lw *l, Node n)
{
    (void)n;
    Dims *d = &l->m->dims;
    DType acc = dtype_compute(lw_elem(l, 0));
    int ra = lw_rank(l, 0), rb = lw_rank(l, 1), ba = ra > 2 ? ra - 2 : 0, bb = rb > 2 ? rb - 2 : 0, batch = ba > bb ? ba : bb;
    Mm x = {.l = l, .alpha = 1, .a_vec = ra == 1, .b_vec = rb == 1};
    Dim one = dim_const(d, 1);
    x.K = lw_dim(l, 0, ra - 1);
    x.N = rb == 1 ? one : lw_dim(l, 1, rb - 1);
    x.rows = ra == 1 ? one : lw_dim(l, 0, ra - 2);
    Dim M = x.rows, Z = one;
    bool single = true;   /* one matrix on the right */
    for (int i = 0; i < bb; i++) single &= dim_is(d, lw_dim(l, 1, i), 1);
    x.tall = single && ba == batch;
    for (int i = 0; i < batch; i++) {
        if (x.tall) M = dim_mul(d, M, lw_dim(l, 0, i));
        else {
            x.dim[i] = lw_out_dim(l, 0, i);
            Z = dim_mul(d, Z, x.dim[i]);
        }
    }
    x.batch = x.tall ? 0 : batch;
    int64_t K, N;
    Blob blob;
    RightSide right = {0};
    if (single && dim_is_const(d, x.K, &K) && dim_is_const(d, x.N, &N) && lw_const(l, 1, &blob) &&
        contraction_pack_matrix(l, blob, acc, K, N, N, 1, &right)) x.b_packed = true;
    else right.buf = lw_in(l, 1);
    KBuf a = lw_in(l, 0);
    lw_prepare_out(l);
    Kb *b = lw_kernel(l, "matmul");
    x.row = kb_dim(b, x.K);
    x.col = kb_i(b, 1);
    KVal sa = kb_mul(b, kb_dim(b, x.rows), kb_dim(b, x.K)), sb = kb_mul(b, kb_dim(b, x.K), kb_dim(b, x.N));
    for (int i = x.batch - 1; i >= 0; i--) {
        int ia = i - (batch - ba), ib = i - (batch - bb);
        Dim ea = ia < 0 ? one : lw_dim(l, 0, ia), eb = ib < 0 ? one : lw_dim(l, 1, ib);
        x.a_step[i] = kb_mul(b, sa, kb_cast(b, DT_I64, kb_bin(b, KOP_NE, kb_dim(b, ea), kb_i(b, 1))));
        x.b_step[i] = kb_mul(b, sb, kb_cast(b, DT_I64, kb_bin(b, KOP_NE, kb_dim(b, eb), kb_i(b, 1))));
        sa = kb_mul(b, sa, kb_dim(b, ea));
        sb = kb_mul(b, sb, kb_dim(b, eb));
    }
    int64_t row_bytes = dim_is_const(d, x.K, &K) ? K * dtype_info(lw_elem(l, 0))->bits / 8 : 0;
    Contract c = {.Z = Z, .M = M, .N = x.N, .K = x.K, .T = one, .a = kb_param(b, a, false), .b = kb_param(b, right.buf, false), .acc = acc, .b_packed = x.b_packed,
                  .pack_kc = right.kc, .b_dot = right.dot, .a_buf = a, .arg = &x, .a_addr = mm_a, .b_addr = mm_b, .store = mm_store, .a_plain = true, .a_row_bytes = row_bytes};
    contract_build(b, &c);
    lw_kernel_end(l);
    return true;
}

static bool matmul_eval(Eval *e)
{
    const Tensor *a = e->in[0], *b = e->in[1];
    int ba = a->rank > 2 ? a->rank - 2 : 0, bb = b->rank > 2 ? b->rank - 2 : 0, batch = ba > bb ? ba : bb, rank = batch;
    int64_t M = a->rank > 1 ? a->dim[a->rank - 2] : 1, K = a->dim[a->rank - 1], N = b->rank > 1 ? b->dim[b->rank - 1] : 1, dim[RANK_MAX + 2];
    if (K != (b->rank > 1 ? b->dim[b->rank - 2] : b->dim[0])) return ev_fail(e, "inner dimensions differ");
    for (int i = 0; i < batch; i++) {
        int64_t x = i < batch - ba ? 1 : a->dim[i - (batch - ba)], y = i < batch - bb ? 1 : b->dim[i - (batch - bb)];
        if (x != y && x != 1 && y != 1) return ev_fail(e, "batch dimensions do not broadcast");
        dim[i] = x == 1 ? y : x;
    }
    if (a->rank > 1) dim[rank++] = M;
    if (b->rank > 1) dim[rank++] = N;
    Tensor *y = ev_out(e, 0, a->elem, rank, dim);
    for (int64_t o = 0; y && o < y->count; o++) {
        int64_t n = o % N, m = o / N % M, z = o / N / M, za = 0, zb = 0, sa = 1, sb = 1;
        for (int i = batch - 1; i >= 0; i--) {
            int64_t at = z % dim[i];
            z /= dim[i];
            if (i >= batch - ba) za += (a->dim[i - (batch - ba)] == 1 ? 0 : at) * sa, sa *= a->dim[i - (batch - ba)];
            if (i >= batch - bb) zb += (b->dim[i - (batch - bb)] == 1 ? 0 : at) * sb, sb *= b->dim[i - (batch - bb)];
        }
        double s = 0;
        uint64_t si = 0;
        for (int64_t k = 0; k < K; k++) {
            int64_t i = (za * M + m) * K + k, j = (zb * K + k) * N + n;
            if (dtype_is_float(a->elem)) s += ev_f(a, i) * ev_f(b, j);
            else si += (uint64_t)ev_i(a, i) * (uint64_t)ev_i(b, j);
        }
        if (dtype_is_float(a->elem)) ev_set_f(y, o, s);
        else ev_set_i(y, o, (int64_t)si);
    }
    return y != NULL;
}

static Cost matmul_cost(const Graph *g, Node n)
{
    const TypeRec *a = value_trec(g, node_in(g, n, 0)), *y = value_trec(g, node_out(g, n, 0));
    int64_t k = 1, lo;
    double out = 1;
    dim_bounds(&g->m->dims, a->dim[a->rank - 1], &lo, &k);
    for (int i = 0; i < y->rank; i++) {
        int64_t hi;
        dim_bounds(&g->m->dims, y->dim[i], &lo, &hi);
        out *= (double)hi;
    }
    return (Cost){.flops = 2 * out * (double)k, .bytes = 4 * out};
}

const OpDesc op_MatMul = {.name = "MatMul", .since = 13, .cls = CLS_CONTRACT, .flags = OPF_STRIDED_OUT, .in = P_MATMUL, .out = P_OUT, .infer = matmul_infer, .lower = matmul_lower, .eval = matmul_eval,
                          .cost = matmul_cost};

/* ---- Gemm ---- */

typedef struct Gemm { uint64_t set; double alpha, beta; int64_t transA, transB, broadcast; } Gemm;
static const AttrSpec GEMM_ATTRS[] = {A_FLOAT(Gemm, alpha, 1), A_FLOAT(Gemm, beta, 1), A_INT(Gemm, transA, 0), A_INT(Gemm, transB, 0), A_INT(Gemm, broadcast, 0), A_END};

static bool gemm_infer(Infer *c)
{
    const Gemm *a = ATTRS(c->g, c->n, Gemm);
    if (!infer_need_rank(c, 0, 2, 2) || !infer_need_rank(c, 1, 2, 2)) return false;
    Dim dim[2] = {infer_dim(c, 0, a->transA ? 1 : 0), infer_dim(c, 1, a->transB ? 0 : 1)};
    if (!infer_must_eq(c, infer_dim(c, 0, a->transA ? 0 : 1), infer_dim(c, 1, a->transB ? 1 : 0), "inner dimension")) return false;
    if (infer_has(c, 2)) {
        if (!infer_need_rank(c, 2, 0, 2)) return false;
        for (int i = 0; i < infer_rank(c, 2); i++) {
            Dim e = infer_dim(c, 2, i), o = dim[2 - infer_rank(c, 2) + i];
            if (dim_is(c->d, e, 1)) continue;
            if (dim_eq(c->d, e, o) == TRI_UNKNOWN) {
                if (!infer_may_broadcast(c, e, o)) return false;
            } else if (!infer_must_eq(c, e, o, "dimension of C")) return false;
        }
    }
    return infer_set(c, 0, infer_elem(c, 0), 2, dim);
}

static bool gemm_lower(Lw *l, Node n)
{
    const Gemm *at = ATTRS(l->g, n, Gemm);
    Dims *d = &l->m->dims;
    DType acc = dtype_compute(lw_elem(l, 0));
    Mm x = {.l = l, .alpha = at->alpha, .beta = at->beta, .bias = lw_has(l, 2) && at->beta != 0};
    Dim one = dim_const(d, 1), M = lw_out_dim(l, 0, 0);
    x.rows = M;
    x.K = lw_dim(l, 0, at->transA ? 0 : 1);
    x.N = lw_out_dim(l, 0, 1);
    int64_t K, N;
    Blob blob;
    RightSide right = {0};
    if (dim_is_const(d, x.K, &K) && dim_is_const(d, x.N, &N) && lw_const(l, 1, &blob) &&
        (at->transA ? contraction_pack(l, blob, acc, 1, K, N, 0, 0, at->transB ? 1 : N, at->transB ? K : 1, &right)
                    : contraction_pack_matrix(l, blob, acc, K, N, at->transB ? 1 : N, at->transB ? K : 1, &right))) x.b_packed = true;
    else right.buf = at->transB ? contraction_transposed(l, lw_in(l, 1), x.K, x.N) : lw_in(l, 1);
    KBuf a = lw_in(l, 0);
    lw_prepare_in(l);
    lw_prepare_out(l);
    Kb *b = lw_kernel(l, "gemm");
    x.row = at->transA ? kb_i(b, 1) : kb_dim(b, x.K);
    x.col = at->transA ? kb_dim(b, M) : kb_i(b, 1);
    int64_t row_bytes = !at->transA && dim_is_const(d, x.K, &K) ? K * dtype_info(lw_elem(l, 0))->bits / 8 : 0;
    Contract c = {.Z = one, .M = M, .N = x.N, .K = x.K, .T = one, .a = kb_param(b, a, false), .b = kb_param(b, right.buf, false), .acc = acc, .b_packed = x.b_packed,
                  .pack_kc = right.kc, .b_dot = right.dot, .a_buf = a, .a_k = at->transA ? kb_dim(b, M) : (KVal){0}, .arg = &x, .a_addr = mm_a, .b_addr = mm_b, .store = mm_store,
                  .a_plain = true, .a_row_bytes = row_bytes};
    contract_build(b, &c);
    lw_kernel_end(l);
    return true;
}

static bool gemm_eval(Eval *e)
{
    const Gemm *at = ATTRS(e->g, e->n, Gemm);
    const Tensor *a = e->in[0], *b = e->in[1];
    int64_t M = a->dim[at->transA ? 1 : 0], K = a->dim[at->transA ? 0 : 1], dim[2] = {M, b->dim[at->transB ? 0 : 1]}, N = dim[1];
    if (K != b->dim[at->transB ? 1 : 0]) return ev_fail(e, "inner dimensions differ");
    Tensor *y = ev_out(e, 0, a->elem, 2, dim);
    for (int64_t o = 0; y && o < y->count; o++) {
        int64_t m = o / N, n = o % N;
        double s = 0;
        for (int64_t k = 0; k < K; k++) s += ev_f(a, at->transA ? k * M + m : m * K + k) * ev_f(b, at->transB ? n * K + k : k * N + n);
        s *= at->alpha;
        if (ev_has(e, 2) && at->beta != 0) s += at->beta * ev_f(e->in[2], ev_broadcast_index(e->in[2], y, o));
        ev_set_f(y, o, s);
    }
    return y != NULL;
}

const OpDesc op_Gemm = {.name = "Gemm", .since = 13, .cls = CLS_CONTRACT, .flags = OPF_STRIDED_OUT, .in = P_GEMM, .out = P_OUT, .attrs = GEMM_ATTRS, .attrs_size = sizeof(Gemm),
                        .infer = gemm_infer, .lower = gemm_lower, .eval = gemm_eval, .cost = matmul_cost};
