/* attention_group.c: lowers a Group of kind attention: Softmax(f(Q*K')) between two products, a block of rows at a time.
 *   for every batch and head z, chunk of rows par {
 *     strips of K'                                       only where its columns are no neighbours; all blocks use them
 *     strips of V                                        only where its rows are pages apart
 *     for blocks of rows {
 *       scores[i, j] = f(sum over k of Q[i, k] * K'[k, j])          macc; f: what stands in front of the softmax
 *       scores[i, j] = exp(scores[i, j] - max over j), factor[i] = 1 / sum over j
 *       Y[i, n] = factor[i] * sum over j of scores[i, j] * V[j, n]  macc
 *     } }
 * A row of scores is computed whole, so the softmax is the ordinary one; a block of them stays in cache. What stands
 * between softmax and the second product is applied to the finished probabilities. Causal groups compute, per block,
 * the columns that its last row may see.
 * Few rows (decoding): scores are dot products over contiguous k, K is read once where it lies. How many rows there are
 * may be known while running only: both forms are made then.
 * Where all z along the last batch axis share keys and values, its rows are put one behind the other: they are rows of one
 * product, and K and V are read once for all of them.
 * The parts depend on shapes alone, not on the number of threads. */
#include "ir/ops/contraction.h"
#include <assert.h>
#include <math.h>

enum {
    FEW = 4,     /* so few rows are dot products */
    BLOCK = 48,  /* rows of a block of scores when they do not all fit */
    PAGE = 4096,
    ROWS_WORTH = 24, /* rows that are worth a copy of V */
    CHUNK = 192, /* rows that share strips of K' */
    JAM = 4      /* rows, or columns of the dot form, computed side by side */
};

/* A right side: where it lies, or strips of it in scratch. */
typedef struct Right {
    KBuf buf;
    uint32_t param, strips; /* strips 0: in place */
    Dim K, N;
} Right;

typedef struct At {
    Lw l; /* inside the group */
    Kb *b;
    Node qk, pv;
    Value score, soft_in, soft, prob;
    int rank;
    Dim M, N, past;
    bool fold; /* M counts the rows of all z along the last batch axis, `each` of each */
    Dim each, fold_of;
    DType t;
    KBuf q;
    uint32_t pq;
    Right k, v;
    uint32_t scores, factor;
    int64_t ld;      /* of a row of scores; 0: not known */
    Dim row_len;
    KVal z[RANK_MAX];
} At;

static int64_t known(const At *x, Dim d)
{
    int64_t k;
    return dim_is_const(&x->l.m->dims, d, &k) ? k : -1;
}

static Dim stride(At *x, KBuf buf, int from_end)
{
    KBufRec r = *kbuf(x->l.k, buf); /* a copy: asking for a stride may add a buffer */
    return kbuf_stride(x->l.k, &r, r.rank - 1 - from_end);
}

/* Indices of an operand of a product: batch axes of extent 1 stay at 0. */
static void index_of(At *x, KBuf buf, KVal row, KVal col, KVal *idx)
{
    const KBufRec *r = kbuf(x->l.k, buf);
    int rank = r->rank;
    for (int i = 0; i < rank - 2; i++)
        idx[i] = known(x, r->dim[i]) == 1 ? kb_i(x->b, 0) : x->z[x->rank - rank + i];
    idx[rank - 2] = row;
    idx[rank - 1] = col;
}

/* The element offset of the matrix of z. */
static KVal matrix_at(At *x, KBuf buf)
{
    KVal off = kb_i(x->b, 0), idx[RANK_MAX];
    index_of(x, buf, off, off, idx);
    int rank = kbuf(x->l.k, buf)->rank;
    for (int i = 0; i < rank - 2; i++)
        off = kb_add(x->b, off, kb_mul(x->b, idx[i], kb_dim(x->b, stride(x, buf, rank - 1 - i))));
    return off;
}

/* Which z a row is of, where several share rows; the row in it. */
static KVal row_in_z(At *x, KVal row)
{
    Kb *b = x->b;
    if (!x->fold) return row;
    KVal each = kb_dim(b, x->each);
    bool one = known(x, x->each) == 1;
    x->z[x->rank - 3] = one ? row : kb_bin(b, KOP_FLOORDIV, row, each);
    return one ? kb_i(b, 0) : kb_sub(b, row, kb_mul(b, x->z[x->rank - 3], each));
}

static void out_index(At *x, KVal row, KVal col, KVal *idx)
{
    row = row_in_z(x, row);
    for (int i = 0; i < x->rank - 2; i++) idx[i] = x->z[i];
    idx[x->rank - 2] = row;
    idx[x->rank - 1] = col;
}

/* f of a sum of products, into the block of scores. */
static void put_score(At *x, KVal row0, KVal i, KVal j, KVal sum)
{
    KVal idx[RANK_MAX];
    out_index(x, kb_add(x->b, row0, i), j, idx);
    kb_store(x->b, x->scores, (KVal[]){i, j}, lw_value_from(&x->l, x->score, sum, x->soft_in, idx));
}

/* ---- softmax of a block ---- */

/* rows i .. i+n of the block */
static void softmax_rows(At *x, KVal row0, KVal i, uint32_t n, KVal cols)
{
    Kb *b = x->b;
    KVal init[JAM], max[JAM], next[JAM], row[JAM], zero = kb_i(b, 0);
    KOp all[JAM];
    KbLoop l;
    for (uint32_t j = 0; j < n; j++) {
        row[j] = kb_add(b, i, kb_i(b, j));
        init[j] = kb_const_f(b, x->t, -INFINITY);
        all[j] = KOP_MAX;
    }
    kb_loop(b, &l, KLOOP_VEC, zero, cols, n, init, all);
    for (uint32_t j = 0; j < n; j++) { /* a NaN may be lost here: its exponential is one anyway */
        KVal s = kb_load(b, x->scores, (KVal[]){row[j], l.iv});
        next[j] = kb_select(b, kb_bin(b, KOP_GT, s, l.carry[j]), s, l.carry[j]);
    }
    kb_loop_end(b, &l, next);
    for (uint32_t j = 0; j < n; j++) {
        max[j] = l.result[j];
        init[j] = kb_const_f(b, x->t, 0);
        all[j] = KOP_ADD;
    }
    kb_loop(b, &l, KLOOP_VEC, zero, cols, n, init, all);
    for (uint32_t j = 0; j < n; j++) {
        KVal at[2] = {row[j], l.iv}, e = kb_un(b, KOP_EXP, kb_sub(b, kb_load(b, x->scores, at), max[j]));
        kb_store(b, x->scores, at, e);
        next[j] = kb_add(b, l.carry[j], e);
    }
    kb_loop_end(b, &l, next);
    for (uint32_t j = 0; j < n; j++) {
        KVal f = kb_div(b, kb_const_f(b, x->t, 1), l.result[j]), idx[RANK_MAX];
        if (x->prob.i == x->soft.i) {
            kb_store(b, x->factor, &row[j], f);
            continue;
        }
        KVal c = kb_for(b, KLOOP_VEC, zero, cols), at[2] = {row[j], c};
        out_index(x, kb_add(b, row0, row[j]), c, idx);
        KVal p = kb_mul(b, kb_load(b, x->scores, at), f);
        kb_store(b, x->scores, at, lw_value_from(&x->l, x->soft, p, x->prob, idx));
        kb_end(b);
    }
}

static void softmax_block(At *x, KVal row0, KVal rows, KVal cols)
{
    Kb *b = x->b;
    KVal groups = kb_bin(b, KOP_FLOORDIV, rows, kb_i(b, JAM)), g = kb_for(b, KLOOP_SEQ, kb_i(b, 0), groups);
    softmax_rows(x, row0, kb_mul(b, g, kb_i(b, JAM)), JAM, cols);
    kb_end(b);
    KVal i = kb_for(b, KLOOP_SEQ, kb_mul(b, groups, kb_i(b, JAM)), rows);
    softmax_rows(x, row0, i, 1, cols);
    kb_end(b);
}

/* ---- products ---- */

/* strips[s][k][j] = B[k][16*s + j], zeros behind the last column */
static void make_strips(At *x, Right *r, const char *name)
{
    Kb *b = x->b;
    Dims *d = &x->l.m->dims;
    Dim lanes = dim_const(d, K_LANES), size[3] = {dim_ceildiv(d, r->N, lanes), r->K, lanes};
    KVal idx[RANK_MAX];
    r->strips = kb_local(b, name, x->t, 3, size);
    KVal s = kb_for(b, KLOOP_SEQ, kb_i(b, 0), kb_dim(b, size[0])), k = kb_for(b, KLOOP_SEQ, kb_i(b, 0), kb_dim(b, r->K));
    KVal first = kb_mul(b, s, kb_i(b, K_LANES)), j = kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_i(b, K_LANES));
    KVal n = kb_add(b, first, j);
    index_of(x, r->buf, k, n, idx);
    bool whole = dim_multiple_of(d, r->N, K_LANES);
    kb_store(b, r->strips, (KVal[]){s, k, j},
             whole ? kb_load(b, r->param, idx) : kb_load_if(b, r->param, idx, kb_lt(b, n, kb_dim(b, r->N)), (KVal){0}));
    kb_end(b);
    kb_end(b);
    kb_end(b);
}

/* Opens a macc of rows of A (first at `a_at`, a_row apart, k a_k apart) with a right side; in the epilogue then. */
static void open_macc(At *x, KbMacc *m, uint32_t a, KVal a_at, KVal a_row, KVal a_k, const Right *r, int64_t M, KVal rows,
                      KVal cols, KVal depth)
{
    Kb *b = x->b;
    TileProblem p = {.acc = x->t,
                     .a_type = x->t,
                     .b_type = x->t,
                     .M = M,
                     .N = known(x, r->N),
                     .K = known(x, r->K),
                     .T = 1,
                     .a_plain = true,
                     .b_packed = r->strips != 0,
                     .pack_kc = known(x, r->K) > 0 ? known(x, r->K) : INT64_MAX};
    int64_t row;
    if (kx_const_i(kb_kernel(b), &x->l.m->dims, a_row, &row)) p.a_row_bytes = row * dtype_info(x->t)->bits / 8;
    TileChoice c = contract_choose(&x->l.k->target, &p);
    KMacc spec = {.a = a,
                  .b = r->strips ? r->strips : r->param,
                  .mr = (uint8_t)c.mr,
                  .nv = (uint8_t)c.nv,
                  .m_inner = true,
                  .b_packed = r->strips != 0,
                  .acc = x->t};
    KVal args[KM_ARGS];
    args[KM_ROWS] = rows;
    args[KM_COLS] = cols;
    args[KM_K] = depth;
    args[KM_T] = kb_i(b, 1);
    args[KM_AK] = a_k;
    args[KM_BK] = r->strips ? kb_i(b, K_LANES) : kb_dim(b, stride(x, r->buf, 1));
    args[KM_BSTRIP] = r->strips ? kb_mul(b, kb_dim(b, r->K), kb_i(b, K_LANES)) : kb_i(b, K_LANES);
    KVal b_at = r->strips ? kb_i(b, 0) : matrix_at(x, r->buf);
    kb_macc(b, m, &spec, args);
    kb_macc_addr(b, m, kb_add(b, a_at, kb_mul(b, m->i, a_row)), (KVal){0}, b_at);
    kb_macc_epilogue(b, m);
}

/* Y of a block whose probabilities are there. */
static void put_rows(At *x, KVal row0, int64_t M, KVal rows, KVal depth)
{
    Kb *b = x->b;
    KbMacc m;
    KVal idx[RANK_MAX];
    open_macc(x, &m, x->scores, kb_i(b, 0), kb_dim(b, x->row_len), kb_i(b, 1), &x->v, M, rows, kb_dim(b, x->v.N), depth);
    out_index(x, kb_add(b, row0, m.i), m.j, idx);
    KVal y = x->prob.i == x->soft.i ? kb_mul(b, m.acc, kb_load(b, x->factor, &m.i)) : m.acc;
    lw_group_store(&x->l, 0, idx, y);
    kb_macc_end(b, &m);
}

/* ---- kernels ---- */

/* Opens the kernel and its loops over z; scratch for so many rows of scores. */
static int open_kernel(At *x, int64_t rows)
{
    int loops = x->rank - 2 - x->fold;
    Dims *d = &x->l.m->dims;
    Kb *b = x->b = lw_kernel(&x->l, "attention");
    Dim size[2] = {dim_const(d, rows), x->row_len};
    x->pq = kb_param(b, x->q, false);
    x->k.param = kb_param(b, x->k.buf, false);
    x->v.param = kb_param(b, x->v.buf, false);
    x->scores = kb_local(b, "scores", x->t, 2, size);
    if (x->prob.i == x->soft.i) x->factor = kb_local(b, "factor", x->t, 1, size);
    x->k.strips = x->v.strips = 0;
    x->l.n = x->pv;
    for (int i = 0; i < loops; i++) x->z[i] = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, lw_out_dim(&x->l, 0, i)));
    if (x->fold) x->z[loops] = kb_i(b, 0);
    return loops;
}

/* How many columns the rows of a block may see, at most. */
static KVal columns_seen(At *x, KVal row0, KVal rows, KVal cols)
{
    Kb *b = x->b;
    KVal end = kb_add(b, row0, rows);
    if (x->fold) { /* those of a whole z when the block ends in another than it begins */
        KVal each = kb_dim(b, x->each), z = kb_bin(b, KOP_FLOORDIV, row0, each), in = kb_sub(b, end, kb_mul(b, z, each));
        end = kb_min(b, in, each);
    }
    return kb_min(b, cols, kb_add(b, end, kb_dim(b, x->past)));
}

/* Each row lies in a page of its own: every tile of rows would walk through all of them. */
static bool far_apart(At *x, const Right *r)
{
    int64_t M = known(x, x->M), row = known(x, stride(x, r->buf, 1));
    return (M < 0 || M >= ROWS_WORTH) && (row < 0 || row * dtype_info(x->t)->bits / 8 >= PAGE);
}

static void blocks(At *x)
{
    Dims *d = &x->l.m->dims;
    int64_t M = known(x, x->M), block = BLOCK, chunk = CHUNK, l2 = x->l.k->target.l2_bytes, bytes = dtype_info(x->t)->bits / 8;
    if (M >= 0 && x->ld && M * x->ld * bytes <= (l2 > 1 << 18 ? l2 : 1 << 18) / 8) block = M > 1 ? M : 1;
    if (chunk < block || (M >= 0 && M <= 2 * CHUNK)) chunk = (M > block ? M + block - 1 : block) / block * block;
    Dim chunks = dim_ceildiv(d, x->M, dim_const(d, chunk));
    bool one_chunk = dim_is(d, chunks, 1), one_block = one_chunk && block == M;
    int loops = open_kernel(x, block);
    Kb *b = x->b;
    KVal first = kb_i(b, 0), end = kb_dim(b, x->M), row0 = first, rows = end, cols = kb_dim(b, x->N);
    if (!one_chunk) {
        first = kb_mul(b, kb_for(b, KLOOP_PAR, first, kb_dim(b, chunks)), kb_i(b, chunk));
        end = kb_min(b, end, kb_add(b, first, kb_i(b, chunk)));
        loops++;
    }
    if (!dim_is(d, stride(x, x->k.buf, 0), 1)) make_strips(x, &x->k, "keys");
    if (!dim_is(d, stride(x, x->v.buf, 0), 1) || far_apart(x, &x->v)) make_strips(x, &x->v, "values");
    if (!one_block) {
        KVal n = kb_bin(b, KOP_FLOORDIV, kb_add(b, kb_sub(b, end, first), kb_i(b, block - 1)), kb_i(b, block));
        row0 = kb_add(b, first, kb_mul(b, kb_for(b, KLOOP_SEQ, kb_i(b, 0), n), kb_i(b, block)));
        rows = dim_multiple_of(d, x->M, block) ? kb_i(b, block) : kb_min(b, kb_i(b, block), kb_sub(b, end, row0));
        if (x->past.i) cols = columns_seen(x, row0, rows, cols);
    }
    KVal a_row = kb_dim(b, stride(x, x->q, 1)), a_at = kb_add(b, matrix_at(x, x->q), kb_mul(b, row0, a_row));
    KbMacc m;
    open_macc(x, &m, x->pq, a_at, a_row, kb_dim(b, stride(x, x->q, 0)), &x->k, block, rows, cols, kb_dim(b, x->k.K));
    put_score(x, row0, m.i, m.j, m.acc);
    kb_macc_end(b, &m);
    softmax_block(x, row0, rows, cols);
    put_rows(x, row0, block, rows, cols);
    if (!one_block) kb_end(b);
    lw_end_nest(&x->l, loops);
    lw_kernel_end(&x->l);
}

/* Scores i, j .. j+n by one loop over k. */
static void dots(At *x, KVal i, KVal j, uint32_t n)
{
    Kb *b = x->b;
    KVal init[JAM], next[JAM], idx[RANK_MAX];
    KOp sum[JAM];
    KbLoop l;
    for (uint32_t c = 0; c < n; c++) init[c] = kb_const_f(b, x->t, 0), sum[c] = KOP_ADD;
    kb_loop(b, &l, KLOOP_VEC, kb_i(b, 0), kb_dim(b, x->k.K), n, init, sum);
    index_of(x, x->q, row_in_z(x, i), l.iv, idx);
    KVal q = kb_load(b, x->pq, idx);
    for (uint32_t c = 0; c < n; c++) {
        index_of(x, x->k.buf, l.iv, kb_add(b, j, kb_i(b, c)), idx);
        next[c] = kb_fma(b, q, kb_load(b, x->k.param, idx), l.carry[c]);
    }
    kb_loop_end(b, &l, next);
    for (uint32_t c = 0; c < n; c++) put_score(x, kb_i(b, 0), i, kb_add(b, j, kb_i(b, c)), l.result[c]);
}

static void few_rows(At *x)
{
    int64_t M = known(x, x->M);
    int loops = open_kernel(x, FEW);
    Kb *b = x->b;
    KVal zero = kb_i(b, 0), rows = kb_dim(b, x->M), cols = kb_dim(b, x->N), jam = kb_i(b, JAM);
    if (!dim_is(&x->l.m->dims, stride(x, x->v.buf, 0), 1)) make_strips(x, &x->v, "values");
    KVal groups = kb_bin(b, KOP_FLOORDIV, cols, jam), i = kb_for(b, KLOOP_SEQ, zero, rows);
    dots(x, i, kb_mul(b, kb_for(b, KLOOP_SEQ, zero, groups), jam), JAM);
    kb_end(b);
    dots(x, i, kb_for(b, KLOOP_SEQ, kb_mul(b, groups, jam), cols), 1);
    kb_end(b);
    softmax_rows(x, zero, i, 1, cols);
    kb_end(b);
    put_rows(x, zero, M < 0 ? 1 : M, rows, cols);
    lw_end_nest(&x->l, loops);
    lw_kernel_end(&x->l);
}

static void find_members(At *x)
{
    const Graph *g = x->l.g;
    Node soft = NODE_NONE;
    for (Node n = graph_first(g); n.i; n = node_next(g, n)) {
        if (node_rec(g, n)->op == OP_MatMul) *(x->qk.i ? &x->pv : &x->qk) = n;
        else if (node_rec(g, n)->op == OP_Softmax) soft = n;
    }
    assert(x->pv.i && soft.i && g->out.n == 1 && g->out.p[0].i == node_out(g, x->pv, 0).i);
    x->score = node_out(g, x->qk, 0);
    x->soft_in = node_in(g, soft, 0);
    x->soft = node_out(g, soft, 0);
    x->prob = node_in(g, x->pv, 0);
}

/* Along the last batch axis K and V do not change, and Q lies as if its rows were rows of one z. */
static bool rows_fold(At *x)
{
    Dims *d = &x->l.m->dims;
    const KBuf side[2] = {x->k.buf, x->v.buf};
    int64_t others = 1, rows = known(x, dim_mul(d, x->M, x->fold_of));
    if (x->rank < 3 || known(x, x->fold_of) < 2) return false;
    for (int i = 0; i < x->rank - 3; i++) others *= known(x, lw_out_dim(&x->l, 0, i));
    if (others == 1 && rows >= 0 && rows <= 2 * CHUNK) return false; /* one chunk in all: nothing to share among threads */
    for (int i = 0; i < 2; i++) {
        const KBufRec *r = kbuf(x->l.k, side[i]);
        if (r->rank >= 3 && known(x, r->dim[r->rank - 3]) != 1) return false;
    }
    return kbuf(x->l.k, x->q)->rank == x->rank && dim_eq(d, kbuf(x->l.k, x->q)->dim[x->rank - 3], x->fold_of) == TRI_YES &&
           dim_eq(d, stride(x, x->q, 2), dim_mul(d, x->M, stride(x, x->q, 1))) == TRI_YES;
}

bool attention_lower(Lw *l, Dim past)
{
    Dims *d = &l->m->dims;
    At x = {.past = past.i ? dim_resolve(d, past) : past};
    lw_group_enter(l, &x.l);
    find_members(&x);
    x.l.n = x.qk;
    x.rank = lw_out_rank(&x.l, 0);
    x.t = dtype_compute(lw_out_elem(&x.l, 0));
    x.M = lw_out_dim(&x.l, 0, x.rank - 2);
    x.N = lw_out_dim(&x.l, 0, x.rank - 1);
    if (x.rank >= 3) x.fold_of = lw_out_dim(&x.l, 0, x.rank - 3);
    x.q = lw_in_strided(&x.l, 0);
    x.k = (Right){.buf = lw_in_strided(&x.l, 1), .K = lw_dim(&x.l, 0, lw_rank(&x.l, 0) - 1), .N = x.N};
    x.l.n = x.pv;
    x.v = (Right){.buf = lw_in_strided(&x.l, 1), .K = x.N, .N = lw_out_dim(&x.l, 0, x.rank - 1)};
    x.fold = rows_fold(&x);
    x.each = x.M;
    if (x.fold) x.M = dim_mul(d, x.M, x.fold_of);
    /* rows of scores are whole vectors, and not a power of two apart */
    x.row_len = dim_add(d, dim_mul(d, dim_ceildiv(d, x.N, dim_const(d, K_LANES)), dim_const(d, K_LANES)), dim_const(d, K_LANES));
    if (!dim_is_const(d, x.row_len, &x.ld)) x.ld = 0;
    bool k_runs = dim_is(d, stride(&x, x.q, 0), 1) && dim_is(d, stride(&x, x.k.buf, 1), 1);
    bool columns = dim_is(d, stride(&x, x.k.buf, 0), 1);
    int64_t M = known(&x, x.M);
    if (M >= 0 || !k_runs || columns) {
        if (M >= 0 && M <= FEW && k_runs && !columns) few_rows(&x);
        else blocks(&x);
    } else {
        KStep *s = lw_step(&x.l, KST_IF); /* the number of rows decides while running */
        KSteps *outer = x.l.steps;
        s->a = dim_max(d, dim_sub(d, dim_const(d, FEW + 1), x.M), dim_const(d, 0));
        s->body = arena_new(l->k->arena, KSteps);
        s->other = arena_new(l->k->arena, KSteps);
        x.l.steps = s->body;
        few_rows(&x);
        x.l.steps = s->other;
        blocks(&x);
        x.l.steps = outer;
    }
    lw_group_leave(l);
    return true;
}
