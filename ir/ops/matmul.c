/* matmul.c: MatMul (numpy's, any ranks, batch broadcasting) and Gemm (alpha*A'*B' + beta*C), through macc.
 * Both operands are read where they lie, by strides: slices, split heads, transposed left sides. What differs is B:
 *   constant                    packed into strips when compiling, with all its batches
 *   columns are neighbours      in place
 *   else (a transposed B)       each block of the product brings its part into strips in scratch first
 *   a few rows or columns and k contiguous on both sides: dot products; a number of rows that only the run knows
 *   chooses there
 * Rows of batches that share their right side form one tall product. Results are stored by logical index, as whoever
 * reads them wants them to lie. */
#include "ir/graph/eval.h"
#include "ir/graph/infer.h"
#include "ir/ops/contraction.h"
#include "ir/ops/grad.h"
#include "ir/ops/internal.h"
#include <string.h>

#define DTS_MATMUL (DTS_FLOAT | DTS(DT_I32) | DTS(DT_I64) | DTS(DT_U32) | DTS(DT_U64))
static const Port P_MATMUL[] = {{"A", DTS_MATMUL, 0, 1}, {"B", DTS_MATMUL, 0, 1}, PORT_END};
static const Port P_OUT[] = {{"Y", DTS_MATMUL, 0, 1}, PORT_END};
static const Port P_GEMM[] = {
    {"A", DTS_MATMUL, 0, 1}, {"B", DTS_MATMUL, 0, 1}, {"C", DTS_MATMUL, PORT_OPTIONAL, 1}, PORT_END};

/* ---- MatMul ---- */

bool contraction_dims(Infer *c, const Dim *a, int ra, const Dim *b, int rb, Dim *dim, int *rank)
{
    int ba = ra > 2 ? ra - 2 : 0, bb = rb > 2 ? rb - 2 : 0, batch = ba > bb ? ba : bb;
    if (!infer_must_eq(c, a[ra - 1], b[rb == 1 ? 0 : rb - 2], "inner dimension")) return false;
    for (int i = 0; i < batch; i++) {
        int ia = i - (batch - ba), ib = i - (batch - bb);
        Dim x = ia < 0 ? dim_const(c->d, 1) : a[ia], y = ib < 0 ? dim_const(c->d, 1) : b[ib];
        int64_t p, q;
        if (dim_is_const(c->d, x, &p) && dim_is_const(c->d, y, &q) && p != q && p != 1 && q != 1)
            return infer_fail(c, "batch dimensions %lld and %lld do not broadcast", (long long)p, (long long)q);
        bool one = dim_is(c->d, x, 1) || dim_is(c->d, y, 1);
        Tri same = dim_eq(c->d, x, y);
        if (!one && same == TRI_UNKNOWN && !infer_may_broadcast(c, x, y)) return false;
        dim[i] = dim_is(c->d, x, 1) ? y : one || same == TRI_YES ? x : dim_bcast(c->d, x, y);
    }
    *rank = batch;
    if (ra > 1) dim[(*rank)++] = a[ra - 2];
    if (rb > 1) dim[(*rank)++] = b[rb - 1];
    return true;
}

static bool matmul_infer(Infer *c)
{
    Dim dim[RANK_MAX + 2];
    int rank;
    if (!infer_need_rank(c, 0, 1, -1) || !infer_need_rank(c, 1, 1, -1)) return false;
    const TypeRec *a = infer_in(c, 0), *b = infer_in(c, 1);
    return contraction_dims(c, a->dim, a->rank, b->dim, b->rank, dim, &rank) &&
           infer_set(c, 0, infer_elem(c, 0), rank, dim);
}

/* ---- lowering of both ---- */

/* An axis of the product's batch or rows, with its extent in the result and the distances in the operands. */
typedef struct Axis {
    Dim dim;
    int out, a, b;          /* axis of the result, of the operands; -1: none */
    Dim a_stride, b_stride; /* elements; not counting that an extent of 1 is broadcast */
    KVal a_step, b_step;    /* in the open kernel: 0 where broadcast */
} Axis;

typedef struct Mm {
    Lw *l;
    int a_row, a_k, b_k, b_n; /* axes of the operands; -1: none (vectors) */
    KBuf a, b;
    RightSide right;               /* B is constant and packed */
    Axis z[RANK_MAX], m[RANK_MAX]; /* the outer batch and what M counts, outermost first */
    int nz, nm;
    bool affine;         /* rows lie at equal distances: all of m is one run */
    Dim Z, M, N, K, row; /* row: that distance */
    uint32_t pa, pb;
    double alpha, beta;
    bool bias;
    bool bytes;          /* ByteMatMul: groups of four, sums in i32 */
} Mm;

static DType sum_type(const Mm *x) { return x->bytes ? DT_I32 : dtype_compute(lw_elem(x->l, 0)); }

static Dim stride_of(Lw *l, KBuf buf, int axis)
{
    KBufRec r = *kbuf(l->k, buf); /* a copy: asking for a stride may add a buffer's dims */
    return kbuf_stride(l->k, &r, axis);
}

static void split(Kb *b, const Axis *axis, int n, KVal at, KVal *idx)
{
    for (int i = n - 1; i >= 0; i--) {
        KVal d = kb_dim(b, axis[i].dim);
        idx[i] = i ? kb_bin(b, KOP_REM, at, d) : at;
        if (i) at = kb_div(b, at, d);
    }
}

static KVal offset(Kb *b, const Axis *axis, int n, KVal at, bool right)
{
    KVal idx[RANK_MAX], off = kb_i(b, 0);
    split(b, axis, n, at, idx);
    for (int i = 0; i < n; i++) off = kb_add(b, off, kb_mul(b, idx[i], right ? axis[i].b_step : axis[i].a_step));
    return off;
}

static void mm_a(void *arg, Kb *b, KVal z, KVal t, KVal m, KVal k0, KVal *off, KVal *pred)
{
    const Mm *x = arg;
    (void)t, (void)pred;
    KVal row = x->affine ? kb_mul(b, m, kb_dim(b, x->row)) : offset(b, x->m, x->nm, m, false);
    KVal k = kb_mul(b, k0, kb_dim(b, stride_of(x->l, x->a, x->a_k)));
    *off = kb_add(b, offset(b, x->z, x->nz, z, false), kb_add(b, row, k));
}

static KVal mm_b(void *arg, Kb *b, KVal z, KVal t, KVal k0)
{
    const Mm *x = arg;
    (void)t;
    KVal off = offset(b, x->z, x->nz, z, true);
    if (x->right.packed) return off;
    return kb_add(b, off, kb_mul(b, k0, kb_dim(b, stride_of(x->l, x->b, x->b_k))));
}

/* The same elements by their logical indices. */
static void batch_index(const Mm *x, Kb *b, const Axis *axis, const KVal *at, int n, bool right, KVal *idx)
{
    for (int i = 0; i < n; i++) {
        int k = right ? axis[i].b : axis[i].a;
        if (k < 0) continue;
        Dim e = lw_dim(x->l, right, k);
        if (dim_same(e, axis[i].dim)) idx[k] = at[i];
        else idx[k] = kb_mul(b, at[i], kb_cast(b, DT_I64, kb_bin(b, KOP_NE, kb_dim(b, e), kb_i(b, 1))));
    }
}

static KVal mm_a_load(void *arg, Kb *b, KVal z, KVal m, KVal k)
{
    const Mm *x = arg;
    KVal zi[RANK_MAX], mi[RANK_MAX], idx[RANK_MAX];
    split(b, x->z, x->nz, z, zi);
    split(b, x->m, x->nm, m, mi);
    batch_index(x, b, x->z, zi, x->nz, false, idx);
    batch_index(x, b, x->m, mi, x->nm, false, idx);
    idx[x->a_k] = k;
    return kb_load(b, x->pa, idx);
}

static KVal mm_b_load(void *arg, Kb *b, KVal z, KVal t, KVal k, KVal n, KVal pred)
{
    const Mm *x = arg;
    KVal zi[RANK_MAX], idx[RANK_MAX];
    (void)t;
    split(b, x->z, x->nz, z, zi);
    batch_index(x, b, x->z, zi, x->nz, true, idx);
    for (int i = 0; i < x->nm; i++)
        if (x->m[i].b >= 0) idx[x->m[i].b] = kb_i(b, 0); /* of extent 1 */
    idx[x->b_k] = k;
    if (x->b_n >= 0) idx[x->b_n] = n;
    bool flip = x->bytes && lw_elem(x->l, 1) == DT_U8;
    KVal half = flip ? kb_const_i(b, DT_U8, 128) : (KVal){0};
    KVal v = pred.i ? kb_load_if(b, x->pb, idx, pred, half) : kb_load(b, x->pb, idx);
    return flip ? kb_bitcast(b, DT_I8, kb_bin(b, KOP_XOR, v, half)) : v;
}

/* An element of A as products of bytes want it: unsigned. */
static KVal mm_a_byte(void *arg, Kb *b, KVal z, KVal t, KVal m, KVal k)
{
    (void)t;
    KVal v = mm_a_load(arg, b, z, m, k);
    return kb_type(b, v) == DT_U8 ? v : kb_bin(b, KOP_XOR, kb_bitcast(b, DT_U8, v), kb_const_i(b, DT_U8, 128));
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
    KVal idx[RANK_MAX], zi[RANK_MAX], mi[RANK_MAX];
    split(b, x->z, x->nz, z, zi);
    split(b, x->m, x->nm, m, mi);
    for (int i = 0; i < x->nz; i++) idx[x->z[i].out] = zi[i];
    for (int i = 0; i < x->nm; i++) idx[x->m[i].out] = mi[i];
    if (x->b_n >= 0) idx[lw_out_rank(l, 0) - 1] = n;
    KVal v = scaled(b, acc, x->alpha);
    if (x->bias) {
        Dim dim[2] = {lw_out_dim(l, 0, 0), lw_out_dim(l, 0, 1)};
        v = kb_add(b, v, scaled(b, lw_at_broadcast(l, 2, idx, 2, dim), x->beta));
    }
    lw_put(l, 0, idx, v);
}

/* The longest run of axes that lie at equal distances with axis `first` innermost, as out[], innermost first; returns
 * their number. */
static int run_from(Dims *d, const Axis *may, int n, int first, int *out, Dim *M)
{
    bool used[RANK_MAX] = {0};
    int k = 0;
    *M = dim_const(d, 1);
    for (int next = first; next >= 0;) {
        used[out[k++] = next] = true;
        *M = dim_mul(d, *M, may[next].dim);
        Dim want = dim_mul(d, *M, may[first].a_stride);
        next = -1;
        for (int i = 0; i < n && next < 0; i++)
            if (!used[i] && want.i && dim_same(may[i].a_stride, want)) next = i;
    }
    return k;
}

/* Rows of batches that share their right side are rows of one product, counted in the order they lie in memory where
 * they lie at equal distances; a few rows
 * go on beyond that, each with an address of its own. What is left is the outer batch. */
static void rows_and_batch(Mm *x, const Axis *batch, int n, const Axis *row)
{
    enum { FEW = 24 };
    Dims *d = &x->l->m->dims;
    Dim one = dim_const(d, 1);
    Axis may[RANK_MAX]; /* what M can count */
    bool in_m[RANK_MAX] = {0};
    int from[RANK_MAX], best[RANK_MAX], order[RANK_MAX], k = 0, run = 0;
    int64_t count;
    x->Z = x->M = x->row = one;
    x->affine = true;
    for (int i = 0; i < n; i++)
        if (!dim_is(d, batch[i].dim, 1) && (batch[i].b < 0 || dim_is(d, lw_dim(x->l, 1, batch[i].b), 1))) {
            from[k] = i;
            may[k++] = batch[i];
        }
    if (row && !dim_is(d, row->dim, 1)) {
        from[k] = n;
        may[k++] = *row;
    }
    for (int i = k - 1; i >= 0; i--) {
        Dim M;
        int len = run_from(d, may, k, i, order, &M);
        if (len <= run) continue;
        run = len;
        x->M = M;
        x->row = may[i].a_stride;
        memcpy(best, order, sizeof *best * (size_t)len);
    }
    for (int i = 0; i < run; i++) in_m[from[best[i]]] = true;
    for (int i = k - 1; i >= 0; i--) {
        if (in_m[from[i]] || !dim_is_const(d, x->M, &count) || count >= FEW) continue;
        best[run++] = i;
        in_m[from[i]] = true;
        x->affine = false;
        x->M = dim_mul(d, x->M, may[i].dim);
    }
    for (int i = run - 1; i >= 0; i--) x->m[x->nm++] = may[best[i]];
    for (int i = 0; i < n; i++)
        if (!in_m[i]) x->z[x->nz++] = batch[i];
    if (row && !in_m[n]) x->z[x->nz++] = *row;
    for (int i = 0; i < x->nz; i++) x->Z = dim_mul(d, x->Z, x->z[i].dim);
}

/* The right side as a constant in strips: all its matrices, [batch][K/kc][N/16][kc][16]. */
static bool pack(Mm *x, DType acc)
{
    Lw *l = x->l;
    Dims *d = &l->m->dims;
    int64_t K, N, T = 1, e, sk, sn;
    Blob blob;
    if (!dim_is_const(d, x->K, &K) || !dim_is_const(d, x->N, &N) || !lw_const(l, 1, &blob)) return false;
    int rank = lw_rank(l, 1);
    x->right.rows = contraction_rows(l, x->M);
    x->right.rows_most = contraction_rows_most(l, x->M);
    x->right.may_pair = true;
    if (!dim_is_const(d, x->M, &x->right.panel_rows)) x->right.panel_rows = x->right.rows_most == 1 ? -1 : 0;
    for (int i = 0; i < rank; i++)
        if (i != x->b_k && i != x->b_n) {
            if (!dim_is_const(d, lw_dim(l, 1, i), &e)) return false;
            T *= e;
        }
    sk = x->b_k == rank - 1 ? 1 : N;
    sn = x->b_n == rank - 1 ? 1 : K;
    if (x->bytes) return lw_elem(l, 1) == DT_I8 && contraction_pack_quads(l, blob, T, K, N, K * N, sk, sn, &x->right);
    bool dots = T == 1 && dim_is(d, stride_of(l, x->a, x->a_k), 1) && lw_row_major(l, x->a);
    if (dots) return contraction_pack_matrix(l, blob, acc, K, N, sk, sn, &x->right);
    return contraction_pack(l, blob, acc, T, K, N, 0, K * N, sk, sn, &x->right);
}

/* A right side of few columns that are neighbours, made while running, as dot products want it: [N][K rounded up]. */
static bool transpose_few(Mm *x, int64_t M, int64_t N, int64_t K)
{
    enum { ROWS = 16 }; /* so many are worth another kernel */
    Lw *l = x->l;
    Dims *d = &l->m->dims;
    DType t = dtype_compute(lw_elem(l, 0));
    if (x->bytes || x->nz || M < ROWS || N < 2 || !contract_is_dot(&l->k->target, t, N, K) || !lw_row_major(l, x->a) ||
        !dim_is(d, stride_of(l, x->a, x->a_k), 1))
        return false;
    int64_t row = (K + K_LANES - 1) / K_LANES * K_LANES;
    Dim size = dim_const(d, N * row);
    KVal i[2];
    KBuf out = lw_temp(l, t, 1, &size);
    Kb *b = lw_kernel(l, "columns");
    x->pb = kb_param(b, x->b, false);
    uint32_t p = kb_param(b, out, true);
    lw_nest(l, 2, (Dim[]){x->N, x->K}, i);
    KVal to = kb_add(b, kb_mul(b, i[0], kb_i(b, row)), i[1]);
    kb_store(b, p, &to, kb_cast(b, t, mm_b_load(x, b, kb_i(b, 0), kb_i(b, 0), i[1], i[0], (KVal){0})));
    lw_end_nest(l, 2);
    lw_kernel_end(l);
    x->right = (RightSide){.packed = true, .dot = true, .buf = out};
    return true;
}

/* Steps of the z axes, in the open kernel. */
static void steps(Mm *x, Kb *b)
{
    int64_t per = x->right.batch;
    for (int r = 0; r < 2; r++) {
        Axis *axis = r ? x->m : x->z;
        KVal batch = kb_i(b, per);
        for (int i = (r ? x->nm : x->nz) - 1; i >= 0; i--) {
            Axis *a = &axis[i];
            a->a_step = a->b_step = kb_i(b, 0);
            if (a->a >= 0) {
                Dim e = lw_dim(x->l, 0, a->a);
                a->a_step = kb_dim(b, a->a_stride);
                if (!dim_same(e, a->dim))
                    a->a_step = kb_mul(b, a->a_step, kb_cast(b, DT_I64, kb_bin(b, KOP_NE, kb_dim(b, e), kb_i(b, 1))));
            }
            if (a->b >= 0 && !r) { /* what M counts is not in B, or of extent 1 there */
                Dim e = lw_dim(x->l, 1, a->b);
                a->b_step = x->right.packed ? batch : kb_dim(b, a->b_stride);
                if (!dim_same(e, a->dim))
                    a->b_step = kb_mul(b, a->b_step, kb_cast(b, DT_I64, kb_bin(b, KOP_NE, kb_dim(b, e), kb_i(b, 1))));
                batch = kb_mul(b, batch, kb_dim(b, e));
            }
        }
    }
}

/* Which kernel: the tile, B in place or in strips made on the way, or dot products. */
typedef enum Form { TILE, STRIPS, STRIPS_OF_ROWS, DOTS, DOTS_BY_ROWS } Form;

static void mm_kernel(Mm *x, Form form, const char *stem)
{
    Lw *l = x->l;
    Dims *d = &l->m->dims;
    Kb *b = lw_kernel(l, stem);
    Dim ak = stride_of(l, x->a, x->a_k);
    int64_t row;
    x->pa = kb_param(b, x->a, false);
    x->pb = kb_param(b, x->right.packed ? x->right.buf : x->b, false);
    steps(x, b);
    Contract c = {.Z = x->Z,
                  .M = x->M,
                  .N = x->N,
                  .K = x->K,
                  .T = dim_const(d, 1),
                  .a = x->pa,
                  .b = x->pb,
                  .acc = sum_type(x),
                  .quads = x->bytes,
                  .a_load = mm_a_byte,
                  .b_packed = x->right.packed,
                  .b_pairs = x->right.pairs,
                  .pack_kc = x->right.kc,
                  .b_panel = x->right.panel,
                  .b_dot = x->right.dot,
                  .a_buf = x->a,
                  .a_k = kb_dim(b, ak),
                  .arg = x,
                  .a_addr = mm_a,
                  .b_addr = mm_b,
                  .store = mm_store,
                  .a_plain = x->affine};
    if (!x->right.packed) c.b_k = kb_dim(b, stride_of(l, x->b, x->b_k));
    if (x->affine && dim_is(d, ak, 1) && dim_is_const(d, x->row, &row))
        c.a_row_bytes = row * dtype_info(lw_elem(l, 0))->bits / 8;
    if (form != TILE) c.b_load = mm_b_load;
    c.b_rows = form == STRIPS_OF_ROWS;
    if (form >= DOTS) contract_build_dots(b, &c, mm_a_load, form == DOTS_BY_ROWS);
    else contract_build(b, &c);
    lw_kernel_end(l);
}

static bool mm_lower(Mm *x, const Axis *batch, int n, const char *stem)
{
    enum { FEW = 4 }; /* so few rows or columns are dot products, if k is contiguous */
    Lw *l = x->l;
    Dims *d = &l->m->dims;
    Axis row = {.out = n, .a = x->a_row, .b = -1};
    if (x->a_row >= 0) {
        row.dim = lw_dim(l, 0, x->a_row);
        row.a_stride = stride_of(l, x->a, x->a_row);
    }
    rows_and_batch(x, batch, n, x->a_row >= 0 ? &row : NULL);
    x->K = lw_dim(l, 0, x->a_k);
    x->N = x->b_n < 0 ? dim_const(d, 1) : lw_dim(l, 1, x->b_n);
    Form form = TILE;
    int64_t m, nn;
    bool few_rows = false;
    x->b = (KBuf){0};
    if (!pack(x, sum_type(x))) {
        x->b = lw_in_strided(l, 1);
        for (int i = 0; i < x->nz; i++)
            if (x->z[i].b >= 0) x->z[i].b_stride = stride_of(l, x->b, x->z[i].b);
        bool k_runs = dim_is(d, stride_of(l, x->b, x->b_k), 1) && dim_is(d, stride_of(l, x->a, x->a_k), 1);
        bool n_runs = x->b_n < 0 || dim_is(d, x->N, 1) || dim_is(d, stride_of(l, x->b, x->b_n), 1);
        int64_t extent[3] = {-1, -1, -1};
        (void)dim_is_const(d, x->M, &extent[0]);
        (void)dim_is_const(d, x->N, &extent[1]);
        (void)dim_is_const(d, x->K, &extent[2]);
        bool foreign = kbuf(l->k, kbuf_root(l->k, x->b))->space == KS_IN;
        if (x->bytes) form = n_runs ? STRIPS_OF_ROWS : STRIPS, k_runs = false;
        else if (!n_runs) form = STRIPS;
        else if (contract_copies_b(&l->k->target, dtype_compute(lw_elem(l, 0)), foreign, extent[0], extent[1], extent[2]))
            form = STRIPS_OF_ROWS;
        if (k_runs && dim_is_const(d, x->N, &nn) && nn <= FEW) form = DOTS_BY_ROWS;
        else if (k_runs && !n_runs && dim_is_const(d, x->M, &m) && m <= FEW) form = DOTS;
        else few_rows = k_runs && !n_runs && !dim_is_const(d, x->M, &m);
        if (form <= STRIPS_OF_ROWS && n_runs && transpose_few(x, extent[0], extent[1], extent[2])) {
            form = TILE;
            x->b = x->right.buf;
        }
    } else x->b = x->right.buf;
    lw_prepare_in(l);
    lw_prepare_out(l);
    if (!few_rows) {
        mm_kernel(x, form, stem);
        return true;
    }
    KStep *s = lw_step(l, KST_IF); /* the number of rows decides while running */
    KSteps *outer = l->steps;
    s->a = dim_max(d, dim_sub(d, dim_const(d, FEW + 1), x->M), dim_const(d, 0));
    s->body = arena_new(l->k->arena, KSteps);
    s->other = arena_new(l->k->arena, KSteps);
    l->steps = s->body;
    mm_kernel(x, DOTS, stem);
    l->steps = s->other;
    mm_kernel(x, form, stem);
    l->steps = outer;
    return true;
}

bool contraction_matmul(Lw *l, Node n)
{
    (void)n;
    int ra = lw_rank(l, 0), rb = lw_rank(l, 1), ba = ra > 2 ? ra - 2 : 0, bb = rb > 2 ? rb - 2 : 0,
        batch = ba > bb ? ba : bb;
    Mm x = {.l = l,
            .alpha = 1,
            .bytes = dtype_info(lw_elem(l, 0))->bits == 8,
            .a_row = ra == 1 ? -1 : ra - 2,
            .a_k = ra - 1,
            .b_k = rb == 1 ? 0 : rb - 2,
            .b_n = rb == 1 ? -1 : rb - 1};
    x.a = lw_in_strided(l, 0);
    Axis axis[RANK_MAX];
    for (int i = 0; i < batch; i++) {
        int ia = i - (batch - ba), ib = i - (batch - bb);
        axis[i] = (Axis){.dim = lw_out_dim(l, 0, i), .out = i, .a = ia < 0 ? -1 : ia, .b = ib < 0 ? -1 : ib};
        if (ia >= 0) axis[i].a_stride = stride_of(l, x.a, ia);
    }
    return mm_lower(&x, axis, batch, "matmul");
}

static bool matmul_eval(Eval *e)
{
    const Tensor *a = e->in[0], *b = e->in[1];
    int ba = a->rank > 2 ? a->rank - 2 : 0, bb = b->rank > 2 ? b->rank - 2 : 0, batch = ba > bb ? ba : bb, rank = batch;
    int64_t M = a->rank > 1 ? a->dim[a->rank - 2] : 1, K = a->dim[a->rank - 1],
            N = b->rank > 1 ? b->dim[b->rank - 1] : 1, dim[RANK_MAX + 2];
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

static bool matmul_rewrite(Graph *g, Node n) { return dequantized_matmul(g, n) || matmul_one_hot(g, n); }

const OpDesc op_MatMul = {.name = "MatMul",
                          .since = 13,
                          .cls = CLS_CONTRACT,
                          .flags = OPF_STRIDED_OUT,
                          .batch = 1 << 0 | 1 << 1,
                          .in = P_MATMUL,
                          .out = P_OUT,
                          .infer = matmul_infer,
                          .rewrite = matmul_rewrite,
                          .lower = contraction_matmul,
                          .grad = grad_matmul, .eval = matmul_eval,
                          .cost = matmul_cost};

/* ---- Gemm ---- */

typedef struct Gemm {
    uint64_t set;
    double alpha, beta;
    int64_t transA, transB, broadcast;
} Gemm;
static const AttrSpec GEMM_ATTRS[] = {A_FLOAT(Gemm, alpha, 1), A_FLOAT(Gemm, beta, 1),    A_INT(Gemm, transA, 0),
                                      A_INT(Gemm, transB, 0),  A_INT(Gemm, broadcast, 0), A_END};

static bool gemm_infer(Infer *c)
{
    const Gemm *a = ATTRS(c->g, c->n, Gemm);
    if (!infer_need_rank(c, 0, 2, 2) || !infer_need_rank(c, 1, 2, 2)) return false;
    Dim dim[2] = {infer_dim(c, 0, a->transA ? 1 : 0), infer_dim(c, 1, a->transB ? 0 : 1)};
    if (!infer_must_eq(c, infer_dim(c, 0, a->transA ? 0 : 1), infer_dim(c, 1, a->transB ? 1 : 0), "inner dimension"))
        return false;
    if (infer_has(c, 2)) {
        if (!operand_without_lead(c, 2, 2)) return false;
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
    Mm x = {.l = l,
            .alpha = at->alpha,
            .beta = at->beta,
            .bias = lw_has(l, 2) && at->beta != 0,
            .a_row = at->transA ? 1 : 0,
            .a_k = at->transA ? 0 : 1,
            .b_k = at->transB ? 1 : 0,
            .b_n = at->transB ? 0 : 1};
    x.a = lw_in_strided(l, 0);
    return mm_lower(&x, NULL, 0, "gemm");
}

static bool gemm_eval(Eval *e)
{
    const Gemm *at = ATTRS(e->g, e->n, Gemm);
    const Tensor *a = e->in[0], *b = e->in[1];
    int64_t M = a->dim[at->transA ? 1 : 0], K = a->dim[at->transA ? 0 : 1], dim[2] = {M, b->dim[at->transB ? 0 : 1]},
            N = dim[1];
    if (K != b->dim[at->transB ? 1 : 0]) return ev_fail(e, "inner dimensions differ");
    Tensor *y = ev_out(e, 0, a->elem, 2, dim);
    for (int64_t o = 0; y && o < y->count; o++) {
        int64_t m = o / N, n = o % N;
        double s = 0;
        for (int64_t k = 0; k < K; k++)
            s += ev_f(a, at->transA ? k * M + m : m * K + k) * ev_f(b, at->transB ? n * K + k : k * N + n);
        s *= at->alpha;
        if (ev_has(e, 2) && at->beta != 0) s += at->beta * ev_f(e->in[2], ev_broadcast_index(e->in[2], y, o));
        ev_set_f(y, o, s);
    }
    return y != NULL;
}

const OpDesc op_Gemm = {.name = "Gemm",
                        .since = 13,
                        .cls = CLS_CONTRACT,
                        .flags = OPF_STRIDED_OUT,
                        .lead = 1 << 2,
                        .in = P_GEMM,
                        .out = P_OUT,
                        .attrs = GEMM_ATTRS,
                        .attrs_size = sizeof(Gemm),
                        .infer = gemm_infer,
                        .rewrite = dequantized_gemm,
                        .lower = gemm_lower,
                        .grad = grad_gemm, .eval = gemm_eval,
                        .cost = matmul_cost};
