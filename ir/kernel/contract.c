/* contract: a contraction as a grid of blocks, each a few macc nodes.
 *
 *   for q = 0..Z*blocks(M)*blocks(N) par {            each thread takes a run of neighbours
 *     z, m0, n0 = position of q
 *     for k0 = 0..K step kc {                          only when K is blocked: sums wait in %sum
 *       macc rows = min(mb, M-m0), cols = min(nb, N-n0), K = min(kc, K-k0)
 *     }
 *     store every element of %sum                      (not blocked: the macc's epilogue stores)
 *   }
 *
 * Block sizes follow from the caches in KTarget, the register tile from its vector registers; why and how fast: docs/PERFORMANCE.md, "GEMM".
 * No size depends on the number of threads, so neither do the results. */
#include "ir/kernel/contract.h"

#include "base/bug.h"

#define TILE_NV_MAX 4

static int64_t min64(int64_t a, int64_t b) { return a < b ? a : b; }
static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t round_up(int64_t a, int64_t b) { return ceil_div(a, b) * b; }
/* The least block length with the same number of blocks as `block`: near-equal blocks. */
static int64_t even_block(int64_t n, int64_t block, int64_t multiple)
{
    return min64(round_up(ceil_div(n, ceil_div(n, block)), multiple), round_up(n, multiple));
}

/* ---- the register tile ---- */
static unsigned regs_per_strip(const KTarget *t, DType acc)
{
    unsigned r = 16u * dtype_info(acc)->bits / (t->vec_bits ? t->vec_bits : 128);
    return r ? r : 1;
}

/* Accumulators, one row of B, the broadcast element of A, and a product where multiply and add are two instructions. */
static bool tile_fits(const KTarget *t, DType acc, unsigned mr, unsigned nv)
{
    unsigned s = regs_per_strip(t, acc), product = !t->fma || !dtype_is_float(acc);
    return (mr + 1) * nv * s + 1 + product <= t->vec_regs;
}

/* Issue slots of a k step: two multiply-add and two load ports, latency 4 of a multiply-add. */
static int64_t tile_slots(const KTarget *t, DType acc, int64_t h, int64_t w)
{
    int64_t s = regs_per_strip(t, acc), macs = h * w * s, loads = h + w * s, c = macs > loads ? macs : loads;
    return c > 8 ? c : 8;
}

static int64_t cover_slots(const KTarget *t, DType acc, int64_t rows, int64_t strips, int64_t mr, int64_t nv)
{
    int64_t r[2] = {rows % mr, rows / mr}, s[2] = {strips % nv, strips / nv}, sum = 0;
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) {
            int64_t h = i ? mr : r[0], w = j ? nv : s[0], n = (i ? r[1] : r[0] != 0) * (j ? s[1] : s[0] != 0);
            if (n) sum += n * tile_slots(t, acc, h, w);
        }
    return sum;
}

static void choose_tile(const KTarget *t, const TileProblem *p, TileChoice *c)
{
    int64_t rows = p->M < 0 ? 240 : min64(p->M, 240), strips = p->N < 0 ? 12 : min64(ceil_div(p->N, 16), 24), best = INT64_MAX;
    c->mr = c->nv = 1;
    for (unsigned nv = 1; nv <= TILE_NV_MAX && nv <= (strips > 1 ? strips : 1); nv++)
        for (unsigned mr = 1; mr <= 6 && mr <= (rows > 1 ? rows : 1); mr++) {
            if (!tile_fits(t, p->acc, mr, nv)) continue;
            int64_t slots = cover_slots(t, p->acc, rows, strips, mr, nv);
            if (slots < best || (slots == best && mr * nv > c->mr * c->nv)) {
                best = slots;
                c->mr = mr;
                c->nv = nv;
            }
        }
}

/* ---- blocks ---- */
int64_t contract_pack_kc(const KTarget *t, DType acc, int64_t K)
{
    (void)t;
    int64_t most = 1024 / (dtype_info(acc)->bits / 8);
    return K <= most + most / 2 ? (K > 0 ? K : 1) : even_block(K, most, 1);
}

TileChoice contract_choose(const KTarget *t, const TileProblem *p)
{
    TileChoice c = {0};
    choose_tile(t, p, &c);
    c.kc = p->b_packed ? p->pack_kc : 0;
    c.mb = p->M >= 0 ? even_block(p->M > 0 ? p->M : 1, 120, c.mr) : round_up(120, c.mr);
    c.nb = p->N >= 0 ? even_block(p->N > 0 ? p->N : 1, 256, 16 * c.nv) : round_up(256, 16 * c.nv);
    return c;
}

/* ---- the kernel ---- */
typedef struct Build { const Contract *c; TileChoice choice; uint32_t sum; /* local; 0: K is not blocked */ bool packed_a; KVal z, m0, n0, k0; } Build;

static bool is_const(Kb *b, Dim d, int64_t *k) { return dim_is_const(kb_module(b)->dims, d, k); }
static int64_t known(Kb *b, Dim d) { int64_t k; return is_const(b, d, &k) ? k : -1; }

static int64_t b_columns(Kb *b, const Contract *c) { return round_up(known(b, c->N), 16); }

static void build_macc(Kb *b, Build *x, KVal rows, KVal cols, KVal klen)
{
    const Contract *c = x->c;
    KMacc spec = {.a = c->a, .b = c->b, .mr = (uint8_t)x->choice.mr, .nv = (uint8_t)x->choice.nv, .m_inner = x->choice.m_inner, .b_packed = c->b_packed, .acc = c->acc};
    KVal args[KM_ARGS];
    args[KM_ROWS] = rows;
    args[KM_COLS] = cols;
    args[KM_K] = klen;
    args[KM_T] = kb_dim(b, c->T);
    args[KM_AK] = c->a_k.i ? c->a_k : kb_i(b, 1);
    args[KM_BK] = c->b_packed ? kb_i(b, 16) : c->b_k.i ? c->b_k : kb_dim(b, c->N);
    args[KM_BSTRIP] = kb_i(b, c->b_packed ? c->pack_kc * 16 : 16);
    KbMacc m;
    kb_macc(b, &m, &spec, args);
    KVal a_off, pred = {0};
    c->a_addr(c->arg, b, x->z, m.t, kb_add(b, x->m0, m.i), x->k0, &a_off, &pred);
    KVal b_off = c->b_addr(c->arg, b, x->z, m.t, x->k0);
    if (c->b_packed) {   /* whole K blocks before this one, then whole strips of this one */
        b_off = kb_add(b, b_off, kb_mul(b, x->k0, kb_i(b, b_columns(b, c))));
        b_off = kb_add(b, b_off, kb_mul(b, x->n0, kb_i(b, c->pack_kc)));
    } else b_off = kb_add(b, b_off, x->n0);
    kb_macc_addr(b, &m, a_off, pred, b_off);
    if (x->sum) {
        kb_macc_init_begin(b, &m);
        KVal at[2] = {m.i, m.j};
        kb_macc_init_end(b, &m, kb_load(b, x->sum, at));
    }
    kb_macc_epilogue(b, &m);
    if (x->sum) {
        KVal at[2] = {m.i, m.j};
        kb_store(b, x->sum, at, m.acc);
    } else c->store(c->arg, b, x->z, kb_add(b, x->m0, m.i), kb_add(b, x->n0, m.j), m.acc);
    kb_macc_end(b, &m);
}

/* for i < rows, j < cols: sum[i, j] = 0, or store it. */
static void build_sum_nest(Kb *b, Build *x, KVal rows, KVal cols, bool store)
{
    KVal i = kb_for(b, KLOOP_SEQ, kb_i(b, 0), rows), j = kb_for(b, KLOOP_VEC, kb_i(b, 0), cols), at[2] = {i, j};
    if (store) x->c->store(x->c->arg, b, x->z, kb_add(b, x->m0, i), kb_add(b, x->n0, j), kb_load(b, x->sum, at));
    else kb_store(b, x->sum, at, dtype_is_float(x->c->acc) ? kb_const_f(b, x->c->acc, 0) : kb_const_i(b, x->c->acc, 0));
    kb_end(b);
    kb_end(b);
}

void contract_build(Kb *b, const Contract *c)
{
    KModule *m = kb_module(b);
    Dims *d = m->dims;
    int64_t K = known(b, c->K);
    assert(!c->b_packed || (K >= 0 && known(b, c->N) >= 0 && c->pack_kc > 0));
    DType a_type = kb_kernel(b)->param.p[c->a].elem;
    TileProblem p = {.acc = c->acc, .a_type = a_type, .M = known(b, c->M), .N = known(b, c->N), .K = K, .T = known(b, c->T),
                     .a_row_bytes = c->a_row_bytes, .a_plain = c->a_plain, .b_packed = c->b_packed, .pack_kc = c->pack_kc};
    Build x = {.c = c, .choice = contract_choose(&m->target, &p)};
    const TileChoice *t = &x.choice;
    Dim blocks_m = dim_ceildiv(d, c->M, dim_const(d, t->mb)), blocks_n = dim_ceildiv(d, c->N, dim_const(d, t->nb));
    bool one_m = dim_is(d, blocks_m, 1), one_n = dim_is(d, blocks_n, 1);

    KVal q = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, dim_mul(d, c->Z, dim_mul(d, blocks_m, blocks_n))));
    KVal nm = kb_dim(b, blocks_m), nn = kb_dim(b, blocks_n), zero = kb_i(b, 0);
    KVal mi = one_m ? zero : kb_bin(b, KOP_MOD, q, nm), rest = one_m ? q : kb_bin(b, KOP_FLOORDIV, q, nm);   /* rows run fastest: B stays in cache */
    KVal ni = one_n ? zero : kb_bin(b, KOP_MOD, rest, nn);
    x.z = dim_is(d, c->Z, 1) ? zero : one_n ? rest : kb_bin(b, KOP_FLOORDIV, rest, nn);
    x.m0 = kb_mul(b, mi, kb_i(b, t->mb));
    x.n0 = kb_mul(b, ni, kb_i(b, t->nb));
    KVal rows = one_m ? kb_dim(b, c->M) : dim_multiple_of(d, c->M, t->mb) ? kb_i(b, t->mb) : kb_min(b, kb_i(b, t->mb), kb_sub(b, kb_dim(b, c->M), x.m0));
    KVal cols = one_n ? kb_dim(b, c->N) : dim_multiple_of(d, c->N, t->nb) ? kb_i(b, t->nb) : kb_min(b, kb_i(b, t->nb), kb_sub(b, kb_dim(b, c->N), x.n0));
    if (!t->kc || (K >= 0 && t->kc >= K)) {
        x.k0 = zero;
        build_macc(b, &x, rows, cols, kb_dim(b, c->K));
    } else {
        assert(K >= 0);
        Dim size[2] = {dim_const(d, t->mb), dim_const(d, t->nb)};
        x.sum = kb_local(b, "sum", c->acc, 2, size);
        build_sum_nest(b, &x, rows, cols, false);
        KVal kb = kb_for(b, KLOOP_SEQ, zero, kb_i(b, ceil_div(K, t->kc)));
        x.k0 = kb_mul(b, kb, kb_i(b, t->kc));
        build_macc(b, &x, rows, cols, K % t->kc == 0 ? kb_i(b, t->kc) : kb_min(b, kb_i(b, t->kc), kb_sub(b, kb_i(b, K), x.k0)));
        kb_end(b);
        build_sum_nest(b, &x, rows, cols, true);
    }
    kb_end(b);
}
