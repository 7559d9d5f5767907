/* contract: a contraction as a grid of blocks, each a few macc nodes.
 *
 *   for q = 0..Z*blocks(M)*blocks(N) par {            each thread takes a run of neighbours
 *     z, m0, n0 = position of q
 *     for (t0, k0) = blocks of T x K {                 only when the reduction is blocked: sums wait in %sum
 *       macc rows = min(mb, M-m0), cols = min(nb, N-n0), T and K of the block
 *     }
 *     store every element of %sum                      (not blocked: the macc's epilogue stores)
 *   }
 *
 * A product of few columns is dot products along k instead (contract_is_dot, contract_build_dots). Where the columns of B are no neighbours, each block first brings
 * its part of B into strips (b_load).
 * The sizes are contract_choose's. No size depends on the number of threads, so neither do the results. */
#include "ir/kernel/contract.h"

#include "base/bug.h"
#include "base/num.h"

typedef struct Build {
    const Contract *c;
    TileChoice choice;
    uint32_t sum;     /* local; 0: the reduction is not blocked */
    uint32_t strips;  /* local: this block's columns of B; 0: B is read where it lies */
    KVal strip_k;     /* rows that a strip has room for */
    uint32_t a16, a;  /* local: this block's rows of A as bf16, narrow ones as f32; 0: A is read where it lies. All of A as one row of elements */
    int64_t a16_row, a16_tap;   /* elements */
    uint32_t a8;                /* local: this block's rows of A as u8, all taps side by side, rounded up to groups of four; 0: A is read where it lies */
    Dim elements;               /* quads: the length of k in elements */
    int64_t group;              /* elements per step of k: 4 of quads, else 1 */
    bool tiles;                 /* products in matrix registers: a block's K is rounded up to a16_tap, with zeros in a16 */
    KVal z, m0, n0, t0, k0;
} Build;

static bool is_const(Kb *b, Dim d, int64_t *k) { return dim_is_const(kb_module(b)->dims, d, k); }
static int64_t known(Kb *b, Dim d) { int64_t k; return is_const(b, d, &k) ? k : -1; }

/* Elements from the first strip of a macc to the first of the next one in this order: the next block of the reduction (of K, or as many taps further),
 * else the next columns. */
static int64_t next_strips(Kb *b, const Build *x)
{
    const Contract *c = x->c;
    if (c->b_panel) return c->b_panel * (x->choice.kc ? x->choice.kc : known(b, c->K));   /* blocks of a panel, and panels, one behind the other */
    if (c->b_packed && x->sum) return max64(x->choice.tc, 1) * c->pack_kc * x->group * round_up(known(b, c->N), 16);
    return c->b_packed && !c->b_dot && known(b, c->T) == 1 && known(b, c->N) > x->choice.nb ? x->choice.nb * c->pack_kc * x->group : 0;
}

static void build_macc(Kb *b, Build *x, KVal rows, KVal cols, KVal taps, KVal klen)
{
    const Contract *c = x->c;
    bool packed = c->b_packed || x->strips;
    int64_t strip_row = 16 * (c->b_packed ? x->group : 1);   /* elements of a strip's k; B in strips made here is whole groups */
    KMacc spec = {.a = x->a16 ? x->a16 : x->a8 ? x->a8 : c->a, .b = x->strips ? x->strips : c->b, .mr = (uint8_t)x->choice.mr, .nv = (uint8_t)x->choice.nv, .m_inner = x->choice.m_inner,
                  .b_packed = packed, .b_pairs = packed && !x->strips && c->b_pairs, .quads = c->quads, .acc = c->acc, .b_next = next_strips(b, x)};
    KVal args[KM_ARGS];
    args[KM_ROWS] = rows;
    args[KM_COLS] = cols;
    args[KM_K] = x->tiles ? kb_i(b, x->a16_tap) : klen;
    args[KM_T] = taps;
    args[KM_AK] = c->a_k.i && !x->a16 && !c->quads ? c->a_k : kb_i(b, x->group);
    args[KM_BK] = packed ? kb_i(b, c->b_panel ? c->b_panel : strip_row) : c->b_k.i ? c->b_k : kb_dim(b, c->N);
    args[KM_BSTRIP] = x->strips ? kb_mul(b, x->strip_k, kb_i(b, 16)) : kb_i(b, packed && !c->b_panel ? c->pack_kc * strip_row : 16);
    KbMacc m;
    kb_macc(b, &m, &spec, args);
    KVal a_off, pred = {0}, t = kb_add(b, x->t0, m.t);
    if (x->a16) a_off = kb_add(b, kb_mul(b, m.i, kb_i(b, x->a16_row)), kb_mul(b, m.t, kb_i(b, x->a16_tap)));
    else if (x->a8) a_off = kb_add(b, kb_mul(b, m.i, kb_mul(b, kb_dim(b, c->K), kb_i(b, x->group))), kb_mul(b, x->k0, kb_i(b, x->group)));
    else c->a_addr(c->arg, b, x->z, t, kb_add(b, x->m0, m.i), kb_mul(b, x->k0, kb_i(b, x->group)), &a_off, &pred);
    KVal b_off = kb_i(b, 0);
    if (c->b_panel) {
        b_off = kb_add(b, c->b_addr(c->arg, b, x->z, t, x->k0), kb_add(b, kb_mul(b, x->n0, kb_dim(b, c->K)), kb_mul(b, x->k0, kb_i(b, c->b_panel))));
    } else if (c->b_packed) {   /* whole K blocks before this one, then whole strips of this one */
        b_off = kb_add(b, c->b_addr(c->arg, b, x->z, t, x->k0), kb_mul(b, x->k0, kb_i(b, x->group * round_up(known(b, c->N), 16))));
        b_off = kb_add(b, b_off, kb_mul(b, x->n0, kb_i(b, c->pack_kc * x->group)));
    } else if (!x->strips) b_off = kb_add(b, c->b_addr(c->arg, b, x->z, t, x->k0), x->n0);
    kb_macc_addr(b, &m, a_off, pred, b_off);
    kb_macc_epilogue(b, &m);
    if (x->sum) {
        KVal at[2] = {m.i, m.j};   /* added here, not passed in as init: the next tile starts without waiting for a load */
        kb_store(b, x->sum, at, kb_add(b, kb_load(b, x->sum, at), m.acc));
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

/* A as one row of elements, as macc reads it. */
static uint32_t flat_a(Kb *b, const Contract *c)
{
    KModule *m = kb_module(b);
    Dims *d = m->dims;
    Dim count = kbuf_count(m, c->a_buf);
    KBufRec a = *kbuf(m, c->a_buf);   /* a copy: asking for a stride may add dims */
    for (int n = 0; !a.dense && n < a.rank; n++) {
        Dim last = dim_mul(d, dim_max(d, dim_sub(d, a.dim[n], dim_const(d, 1)), dim_const(d, 0)), kbuf_stride(m, &a, n));
        count = dim_add(d, n ? count : dim_const(d, 1), last);
    }
    KBuf flat = kbuf_new(m, KS_VIEW, (Name){0}, a.elem, 1, &count, a.loc);
    kbuf(m, flat)->base = c->a_buf;
    kbuf(m, flat)->offset = dim_const(d, 0);
    return kb_param(b, flat, false);
}

/* a16[i][t][k] = A of this block, rounded to bf16 or widened to f32; zeros where a row is absent, and behind K. */
static void build_a16(Kb *b, Build *x, KVal rows, KVal taps, KVal klen)
{
    const Contract *c = x->c;
    KVal i = kb_for(b, KLOOP_SEQ, kb_i(b, 0), rows), t = kb_for(b, KLOOP_SEQ, kb_i(b, 0), taps), off, pred = {0};
    c->a_addr(c->arg, b, x->z, kb_add(b, x->t0, t), kb_add(b, x->m0, i), x->k0, &off, &pred);
    bool behind = x->tiles && known(b, c->K) % x->a16_tap;
    KVal k = kb_for(b, KLOOP_VEC, kb_i(b, 0), behind ? kb_i(b, x->a16_tap) : klen), from = kb_add(b, off, c->a_k.i ? kb_mul(b, k, c->a_k) : k);
    if (behind) pred = pred.i ? kb_and(b, pred, kb_lt(b, k, klen)) : kb_lt(b, k, klen);
    KVal v = pred.i ? kb_load_if(b, x->a, &from, pred, (KVal){0}) : kb_load(b, x->a, &from);
    kb_store(b, x->a16, (KVal[]){i, t, k}, v);
    kb_end(b);
    kb_end(b);
    kb_end(b);
}

/* Room for A as `type`: a quarter of L2. The columns of a block are many enough for what that costs: 1 % at 256. */
static void a16_blocks(Kb *b, Build *x, const TileProblem *p, DType type)
{
    enum { COLUMNS_LEAST = 256 };
    const KTarget *target = &kb_module(b)->target;
    TileChoice *t = &x->choice;
    int64_t taps = t->tc ? t->tc : p->T, most = (target->l2_bytes > 256 << 10 ? target->l2_bytes : 256 << 10) / 4;
    x->tiles = p->tiles;
    x->a16_tap = type == DT_BF16 ? contract_pairs_kc(target, t->kc ? t->kc : p->K) : t->kc ? t->kc : p->K;
    x->a16_row = taps * x->a16_tap;
    while (t->mb > t->mr && t->mb * x->a16_row * (dtype_info(type)->bits / 8) > most) t->mb = round_up(t->mb / 2, t->mr);
    if (p->N > t->nb && t->nb < COLUMNS_LEAST && !t->kc && !t->tc) t->nb = COLUMNS_LEAST;
    Dims *d = kb_module(b)->dims;
    int64_t rows = t->mb + (p->tiles ? AMX_ROWS - 1 : 0);   /* a register reads all its rows, of which the last tile needs a part */
    x->a16 = kb_local(b, type == DT_BF16 ? "a16" : "a32", type, 3, (Dim[]){dim_const(d, rows), dim_const(d, taps), dim_const(d, x->a16_tap)});
    x->a = flat_a(b, x->c);
}

/* Is A made f32 before it is multiplied? A narrow element that is read for each tile costs three instructions there, a row of them a thirtieth. */
static bool widens_a(Kb *b, const Contract *c, DType a_type, const TileProblem *p)
{
    enum { COLUMNS_LEAST = 96, ROWS_LEAST = 4 };
    bool narrow = a_type == DT_F16 || a_type == DT_BF16, many = p->N >= COLUMNS_LEAST && (p->M < 0 || p->M >= ROWS_LEAST);
    return narrow && many && c->acc == DT_F32 && c->a_buf.i && !c->b_pairs && !c->quads && p->K > 0 && dim_is(kb_module(b)->dims, c->T, 1);
}

/* a8[i][t*K + k] = A of this block as u8; zeros behind the last. K: elements of a tap. */
static void build_a8(Kb *b, Build *x, KVal rows, Dim taps, Dim K)
{
    const Contract *c = x->c;
    KVal i = kb_for(b, KLOOP_SEQ, kb_i(b, 0), rows), len = kb_dim(b, K);
    KVal t = kb_for(b, KLOOP_SEQ, kb_i(b, 0), kb_dim(b, taps)), k = kb_for(b, KLOOP_VEC, kb_i(b, 0), len);
    kb_store(b, x->a8, (KVal[]){i, kb_add(b, kb_mul(b, t, len), k)}, c->a_load(c->arg, b, x->z, t, kb_add(b, x->m0, i), k));
    kb_end(b);
    kb_end(b);
    Dims *d = kb_module(b)->dims;
    Dim all = dim_mul(d, taps, K);
    if (!dim_multiple_of(d, all, 4)) {
        k = kb_for(b, KLOOP_SEQ, kb_dim(b, all), kb_dim(b, dim_mul(d, c->K, dim_const(d, 4))));
        kb_store(b, x->a8, (KVal[]){i, k}, kb_const_i(b, DT_U8, 0));
        kb_end(b);
    }
    kb_end(b);
}

/* Room for A as bytes that fit the dots: a quarter of L2; the columns of a block are worth the copy. */
static void a8_blocks(Kb *b, Build *x, const TileProblem *p)
{
    enum { COLUMNS_LEAST = 512, LONG = 4096 /* groups of a row of unknown length */ };
    const KTarget *target = &kb_module(b)->target;
    Dims *d = kb_module(b)->dims;
    TileChoice *t = &x->choice;
    int64_t most = (target->l2_bytes > 256 << 10 ? target->l2_bytes : 256 << 10) / 4, row = 4 * (p->K < 0 ? LONG : p->K);
    while (t->mb > t->mr && t->mb * row > most) t->mb = round_up(t->mb / 2, t->mr);
    if (p->N > t->nb && t->nb < COLUMNS_LEAST && !t->kc) t->nb = COLUMNS_LEAST;
    x->a8 = kb_local(b, "a8", DT_U8, 2, (Dim[]){dim_const(d, t->mb), dim_mul(d, x->c->K, dim_const(d, 4))});
}

/* Four elements of column n from row 4*k on, the first in the lowest byte; `pred`: the column exists, 0: always. */
static KVal strip_quad(Kb *b, Build *x, KVal k, KVal n, KVal pred)
{
    const Contract *c = x->c;
    KVal sum = {0};
    bool whole = dim_multiple_of(kb_module(b)->dims, x->elements, 4);
    for (int64_t j = 0; j < 4; j++) {
        KVal at = kb_add(b, kb_mul(b, kb_add(b, x->k0, k), kb_i(b, 4)), kb_i(b, j)), there = pred;
        if (!whole && j) {
            KVal in = kb_lt(b, at, kb_dim(b, x->elements));
            there = pred.i ? kb_and(b, pred, in) : in;
        }
        KVal v = kb_cast(b, DT_I32, kb_bitcast(b, DT_U8, c->b_load(c->arg, b, x->z, kb_i(b, 0), at, n, there)));
        if (j) v = kb_bin(b, KOP_SHL, v, kb_const_i(b, DT_I32, 8 * j));
        sum = sum.i ? kb_bin(b, KOP_OR, sum, v) : v;
    }
    return sum;
}

/* Row k of `count` strips from s on: strips[s][k][j] = B[k0 + k][n0 + 16*s + j], zeros behind the last column */
static void build_strip_rows(Kb *b, Build *x, KVal cols, KVal s, KVal k, int64_t count)
{
    const Contract *c = x->c;
    bool whole = dim_multiple_of(kb_module(b)->dims, c->N, K_LANES);   /* blocks are whole strips: no strip is cut */
    for (int64_t u = 0; u < count; u++) {
        KVal at = kb_add(b, s, kb_i(b, u)), first = kb_mul(b, at, kb_i(b, K_LANES)), j = kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_i(b, K_LANES)), n = kb_add(b, first, j);
        if (c->quads) {
            kb_store(b, x->strips, (KVal[]){at, k, j}, strip_quad(b, x, k, kb_add(b, x->n0, n), whole ? (KVal){0} : kb_lt(b, n, cols)));
            kb_end(b);
            continue;
        }
        kb_store(b, x->strips, (KVal[]){at, k, j},
                 c->b_load(c->arg, b, x->z, kb_i(b, 0), kb_add(b, x->k0, k), kb_add(b, x->n0, n), whole ? (KVal){0} : kb_lt(b, n, cols)));
        kb_end(b);
    }
}

/* Columns that are neighbours are copied a tile column at a time, so that a row's lines are used while its page is at hand; others strip by strip. */
static void build_strips(Kb *b, Build *x, KVal cols, KVal klen)
{
    int64_t group = x->c->b_rows ? x->choice.nv : 1;
    KVal strips = kb_bin(b, KOP_FLOORDIV, kb_add(b, cols, kb_i(b, K_LANES - 1)), kb_i(b, K_LANES)), groups = kb_bin(b, KOP_FLOORDIV, strips, kb_i(b, group));
    KVal g = kb_for(b, KLOOP_SEQ, kb_i(b, 0), groups), k = kb_for(b, KLOOP_SEQ, kb_i(b, 0), klen);
    build_strip_rows(b, x, cols, kb_mul(b, g, kb_i(b, group)), k, group);
    kb_end(b);
    kb_end(b);
    if (group == 1 || (dim_multiple_of(kb_module(b)->dims, x->c->N, group * K_LANES) && x->choice.nb % (group * K_LANES) == 0)) return;
    KVal s = kb_for(b, KLOOP_SEQ, kb_mul(b, groups, kb_i(b, group)), strips);
    k = kb_for(b, KLOOP_SEQ, kb_i(b, 0), klen);
    build_strip_rows(b, x, cols, s, k, 1);
    kb_end(b);
    kb_end(b);
}

/* ---- dot products: B is [N][K16] ---- */
enum { CHAINS = 16, COLUMNS = 8 };

/* C[m .. m+rows) by one loop over k for all of them and all columns. */
static void dot_rows(Kb *b, const Contract *c, uint32_t a, KVal z, KVal m, int64_t rows)
{
    int64_t N = known(b, c->N), row = round_up(known(b, c->K), 16);
    bool real = dtype_is_float(c->acc);
    KVal zero = real ? kb_const_f(b, c->acc, 0) : kb_const_i(b, c->acc, 0), at[CHAINS], init[CHAINS], next[CHAINS], i0 = kb_i(b, 0), y[COLUMNS];
    KOp sum[CHAINS];
    assert(rows * N <= CHAINS && N <= COLUMNS);
    for (int64_t r = 0; r < rows; r++) {
        KVal pred = {0};
        c->a_addr(c->arg, b, z, i0, kb_add(b, m, kb_i(b, r)), i0, &at[r], &pred);
        assert(!pred.i && "dot products have no absent rows");
    }
    for (int64_t n = 0; n < rows * N; n++) init[n] = zero, sum[n] = KOP_ADD;
    KVal b0 = c->b_addr(c->arg, b, z, i0, i0);
    KbLoop l;
    kb_loop(b, &l, KLOOP_VEC, i0, kb_dim(b, c->K), (uint32_t)(rows * N), init, sum);
    for (int64_t n = 0; n < N; n++) {
        KVal j = kb_add(b, kb_add(b, b0, kb_i(b, n * row)), l.iv);
        y[n] = kb_cast(b, c->acc, kb_load(b, c->b, &j));
    }
    for (int64_t r = 0; r < rows; r++) {
        KVal k = kb_add(b, at[r], c->a_k.i ? kb_mul(b, l.iv, c->a_k) : l.iv), x = kb_cast(b, c->acc, kb_load(b, a, &k));
        for (int64_t n = 0; n < N; n++) {
            KVal old = l.carry[r * N + n];
            next[r * N + n] = real ? kb_fma(b, x, y[n], old) : kb_add(b, kb_mul(b, x, y[n]), old);
        }
    }
    kb_loop_end(b, &l, next);
    for (int64_t r = 0; r < rows; r++)
        for (int64_t n = 0; n < N; n++) c->store(c->arg, b, z, kb_add(b, m, kb_i(b, r)), kb_i(b, n), l.result[r * N + n]);
}

static void build_dot(Kb *b, const Contract *c)
{
    KModule *m = kb_module(b);
    Dims *d = m->dims;
    uint32_t a = flat_a(b, c);
    int64_t chains = contract_dot_chains(&m->target, c->acc), group = chains > known(b, c->N) ? chains / known(b, c->N) : 1, block = round_up(contract_dot_rows(known(b, c->M), known(b, c->N), known(b, c->K)), group);
    Dim blocks = dim_ceildiv(d, c->M, dim_const(d, block));
    KVal q = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, dim_mul(d, c->Z, blocks))), nm = kb_dim(b, blocks);
    bool one_z = dim_is(d, c->Z, 1);
    KVal z = one_z ? kb_i(b, 0) : kb_bin(b, KOP_FLOORDIV, q, nm), m0 = kb_mul(b, one_z ? q : kb_bin(b, KOP_MOD, q, nm), kb_i(b, block));
    KVal rows = kb_min(b, kb_i(b, block), kb_sub(b, kb_dim(b, c->M), m0)), groups = kb_bin(b, KOP_FLOORDIV, rows, kb_i(b, group));
    KVal g = kb_for(b, KLOOP_SEQ, kb_i(b, 0), groups);
    dot_rows(b, c, a, z, kb_add(b, m0, kb_mul(b, g, kb_i(b, group))), group);
    kb_end(b);
    KVal i = kb_for(b, KLOOP_SEQ, kb_mul(b, groups, kb_i(b, group)), rows);
    dot_rows(b, c, a, z, kb_add(b, m0, i), 1);
    kb_end(b);
    kb_end(b);
}

/* ---- dot products of operands in place ---- */

/* `n` neighbours along the blocked axis from position `at`, times one position of the other axis. */
static void dots(Kb *b, const Contract *c, ContractLoad *a_load, bool by_rows, KVal z, KVal at, KVal other, int64_t n)
{
    bool real = dtype_is_float(c->acc);
    KVal zero = real ? kb_const_f(b, c->acc, 0) : kb_const_i(b, c->acc, 0), i0 = kb_i(b, 0), init[CHAINS], next[CHAINS];
    KOp sum[CHAINS];
    for (int64_t i = 0; i < n; i++) init[i] = zero, sum[i] = KOP_ADD;
    KbLoop l;
    kb_loop(b, &l, KLOOP_VEC, i0, kb_dim(b, c->K), (uint32_t)n, init, sum);
    KVal same = by_rows ? c->b_load(c->arg, b, z, i0, l.iv, other, (KVal){0}) : a_load(c->arg, b, z, other, l.iv);
    for (int64_t i = 0; i < n; i++) {
        KVal p = kb_add(b, at, kb_i(b, i)), v = by_rows ? a_load(c->arg, b, z, p, l.iv) : c->b_load(c->arg, b, z, i0, l.iv, p, (KVal){0});
        next[i] = real ? kb_fma(b, v, same, l.carry[i]) : kb_add(b, kb_mul(b, v, same), l.carry[i]);
    }
    kb_loop_end(b, &l, next);
    for (int64_t i = 0; i < n; i++) {
        KVal p = kb_add(b, at, kb_i(b, i));
        c->store(c->arg, b, z, by_rows ? p : other, by_rows ? other : p, l.result[i]);
    }
}

void contract_build_dots(Kb *b, const Contract *c, ContractLoad *a_load, bool by_rows)
{
    enum { BLOCK = 64 };
    KModule *m = kb_module(b);
    Dims *d = m->dims;
    int64_t group = contract_dot_chains(&m->target, c->acc) >= 4 ? 4 : 1;
    Dim extent = by_rows ? c->M : c->N, others = by_rows ? c->N : c->M, blocks = dim_ceildiv(d, extent, dim_const(d, BLOCK));
    KVal q = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, dim_mul(d, c->Z, blocks))), nb = kb_dim(b, blocks);
    bool one_z = dim_is(d, c->Z, 1);
    KVal z = one_z ? kb_i(b, 0) : kb_bin(b, KOP_FLOORDIV, q, nb), first = kb_mul(b, one_z ? q : kb_bin(b, KOP_MOD, q, nb), kb_i(b, BLOCK));
    KVal end = kb_min(b, kb_add(b, first, kb_i(b, BLOCK)), kb_dim(b, extent)), groups = kb_bin(b, KOP_FLOORDIV, kb_sub(b, end, first), kb_i(b, group));
    KVal g = kb_for(b, KLOOP_SEQ, kb_i(b, 0), groups), o = kb_for(b, KLOOP_SEQ, kb_i(b, 0), kb_dim(b, others));
    dots(b, c, a_load, by_rows, z, kb_add(b, first, kb_mul(b, g, kb_i(b, group))), o, group);
    kb_end(b);
    kb_end(b);
    KVal rest = kb_add(b, first, kb_mul(b, groups, kb_i(b, group))), p = kb_for(b, KLOOP_SEQ, rest, end);
    o = kb_for(b, KLOOP_SEQ, kb_i(b, 0), kb_dim(b, others));
    dots(b, c, a_load, by_rows, z, p, o, 1);
    kb_end(b);
    kb_end(b);
    kb_end(b);
}

/* Rows of a block. Where M is not known: near-equal ones, whole tiles, as many as there would be of mb rows; the last one
 * is never empty. (197 rows in blocks of 174 and 23 are nothing that two threads can share.) */
static Dim block_rows(Dims *d, const Contract *c, const TileChoice *t, Dim blocks)
{
    int64_t m;
    if (t->mb % t->mr || dim_is_const(d, c->M, &m) || dim_multiple_of(d, c->M, t->mb)) return dim_const(d, t->mb);
    Dim even = dim_ceildiv(d, c->M, dim_max(d, blocks, dim_const(d, 1))), mr = dim_const(d, t->mr);
    return dim_mul(d, dim_ceildiv(d, even, mr), mr);
}

/* Blocks of rows. Where M is not known and there are no other blocks: 3, 5 or 7 become 4, 6 or 8, which two threads share
 * evenly, and half a block's rows make two. Never so many that one is empty: rows are dealt out in whole tiles. */
static Dim row_blocks(Dims *d, const Contract *c, const TileChoice *t, bool alone)
{
    enum { TILES = 10, MOST = 7 };
    int64_t m;
    Dim n = dim_ceildiv(d, c->M, dim_const(d, t->mb)), two = dim_const(d, 2);
    if (!alone || t->mb % t->mr || t->mb < TILES * (int64_t)t->mr || dim_is_const(d, c->M, &m) || dim_multiple_of(d, c->M, t->mb)) return n;
    Dim few = dim_min(d, n, dim_const(d, MOST)), even = dim_mul(d, two, dim_div(d, dim_add(d, few, dim_const(d, 1)), two));
    Dim half = dim_min(d, two, dim_mul(d, two, dim_div(d, c->M, dim_const(d, t->mb / 2)))); /* 0 or 2 */
    return dim_max(d, n, dim_min(d, even, dim_max(d, half, dim_mul(d, dim_const(d, 4), dim_sub(d, n, dim_const(d, 1))))));
}

/* Can quads of A be read where they lie? */
static bool quads_in_place(Kb *b, const Contract *c)
{
    Dims *d = kb_module(b)->dims;
    int64_t ak = 1;
    if (c->a_k.i && (!kx_const_i(kb_kernel(b), d, c->a_k, &ak) || ak != 1)) return false;
    return c->a_padded || (c->a_plain && dim_is(d, c->T, 1) && dim_multiple_of(d, c->K, 4));
}

void contract_build(Kb *b, const Contract *c)
{
    KModule *m = kb_module(b);
    Dims *d = m->dims;
    if (c->b_dot) {
        build_dot(b, c);
        return;
    }
    Contract groups;
    Dim taps = c->T, tap = c->K;
    bool a8 = c->quads && !quads_in_place(b, c);
    if (c->quads) {   /* from here on K counts groups of four; of all taps where these are brought together */
        assert(c->acc == DT_I32 && !c->b_pairs && c->a_load && (c->b_packed ? c->pack_kc % 4 == 0 : c->b_load != NULL));
        groups = *c;
        if (a8) groups.T = dim_const(d, 1);
        groups.K = dim_ceildiv(d, a8 ? dim_mul(d, taps, tap) : tap, dim_const(d, 4));
        groups.pack_kc /= 4;
        c = &groups;
    }
    int64_t K = known(b, c->K);
    assert(!c->b_packed || (K >= 0 && known(b, c->N) >= 0 && c->pack_kc > 0));
    DType a_type = kb_kernel(b)->param.p[c->a].elem, b_type = kb_kernel(b)->param.p[c->b].elem;
    TileProblem p = {.acc = c->acc, .a_type = a_type, .b_type = b_type, .M = known(b, c->M), .N = known(b, c->N), .K = K, .T = known(b, c->T),
                     .a_row_bytes = c->a_row_bytes, .a_plain = c->a_plain, .b_packed = c->b_packed, .pack_kc = c->pack_kc};
    if (c->quads) p.a_type = p.b_type = DT_I32, p.quads = true;
    if (c->b_load) {
        assert(!c->b_packed && dim_is(d, c->T, 1));
        p.b_type = c->acc;
        p.b_packed = true;
        p.pack_kc = contract_strips_kc(&m->target, c->acc, p.M, p.N, K);
    }
    bool a16 = c->b_pairs && c->a_buf.i && m->target.bf16 && a_type == DT_F32 && K > 0 && p.T > 0;
    bool a32 = widens_a(b, c, a_type, &p);
    if (a16) p.a_type = DT_BF16, p.a_plain = true, p.a_row_bytes = 2, p.tiles = m->target.bf16 == KDOTS_TILES;
    if (a32) p.a_type = DT_F32, p.a_plain = true, p.a_row_bytes = 4 * K;
    p.a_signed = c->quads && !a8 && a_type == DT_I8;
    if (a8) p.a_plain = true, p.a_row_bytes = K > 0 ? 4 * K : 0;
    Build x = {.c = c, .choice = contract_choose(&m->target, &p), .group = c->quads ? 4 : 1, .elements = dim_mul(d, taps, tap)};
    if (c->b_load) contract_choose_strips(&m->target, &p, &x.choice);
    else if (c->b_panel) x.choice.nb = c->b_panel;   /* one at a time, and enough of them for threads */
    else contract_share(&m->target, &p, known(b, c->Z), &x.choice);
    if (dim_is(d, c->T, 0)) x.choice.kc = x.choice.tc = 0; /* a sum of nothing has no blocks */
    if (a16 || a32) a16_blocks(b, &x, &p, p.a_type);
    if (a8) a8_blocks(b, &x, &p);
    const TileChoice *t = &x.choice;
    Dim blocks_n = dim_ceildiv(d, c->N, dim_const(d, t->nb)), blocks_m = row_blocks(d, c, t, dim_is(d, blocks_n, 1));
    bool one_m = dim_is(d, blocks_m, 1), one_n = dim_is(d, blocks_n, 1);

    KVal q = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, dim_mul(d, c->Z, dim_mul(d, blocks_m, blocks_n))));
    KVal nm = kb_dim(b, blocks_m), nn = kb_dim(b, blocks_n), zero = kb_i(b, 0);   /* columns run fastest: the block of A stays in cache */
    KVal ni = one_n ? zero : kb_bin(b, KOP_MOD, q, nn), rest = one_n ? q : kb_bin(b, KOP_FLOORDIV, q, nn);
    bool one_z = dim_is(d, c->Z, 1);
    KVal mi = one_m ? zero : one_z ? rest : kb_bin(b, KOP_MOD, rest, nm);
    x.z = one_z ? zero : one_m ? rest : kb_bin(b, KOP_FLOORDIV, rest, nm);
    Dim mb = block_rows(d, c, t, blocks_m);
    x.m0 = kb_mul(b, mi, kb_dim(b, mb));
    x.n0 = kb_mul(b, ni, kb_i(b, t->nb));
    KVal rows = one_m ? kb_dim(b, c->M) : dim_multiple_of(d, c->M, t->mb) ? kb_i(b, t->mb) : kb_min(b, kb_dim(b, mb), kb_sub(b, kb_dim(b, c->M), x.m0));
    KVal cols = one_n ? kb_dim(b, c->N) : dim_multiple_of(d, c->N, t->nb) ? kb_i(b, t->nb) : kb_min(b, kb_i(b, t->nb), kb_sub(b, kb_dim(b, c->N), x.n0));
    x.t0 = x.k0 = zero;
    if (a8) build_a8(b, &x, rows, taps, tap);
    if (c->b_load) {
        Dim size[3] = {dim_const(d, ceil_div(t->nb, K_LANES)), t->kc ? dim_const(d, t->kc) : c->K, dim_const(d, K_LANES)};
        assert(t->nb % K_LANES == 0);
        x.strips = kb_local(b, "strips", c->acc, 3, size);
        x.strip_k = kb_dim(b, size[1]);
    }
    if (!t->kc && !t->tc) {
        if (x.strips) build_strips(b, &x, cols, kb_dim(b, c->K));
        if (x.a16) build_a16(b, &x, rows, kb_dim(b, c->T), kb_dim(b, c->K));
        build_macc(b, &x, rows, cols, kb_dim(b, c->T), kb_dim(b, c->K));
    } else {
        int64_t T = p.T, kc = t->kc ? t->kc : K, tc = t->tc ? t->tc : T, k_blocks = ceil_div(K, kc);
        assert(K > 0 && T > 0 && T % tc == 0);
        Dim size[2] = {dim_const(d, t->mb), dim_const(d, t->nb)};
        x.sum = kb_local(b, "sum", c->acc, 2, size);
        build_sum_nest(b, &x, rows, cols, false);
        KVal r = kb_for(b, KLOOP_SEQ, zero, kb_i(b, T / tc * k_blocks));
        if (T > tc) x.t0 = kb_mul(b, k_blocks > 1 ? kb_bin(b, KOP_FLOORDIV, r, kb_i(b, k_blocks)) : r, kb_i(b, tc));
        if (k_blocks > 1) x.k0 = kb_mul(b, T > tc ? kb_bin(b, KOP_MOD, r, kb_i(b, k_blocks)) : r, kb_i(b, kc));
        KVal klen = K % kc == 0 ? kb_i(b, kc) : kb_min(b, kb_i(b, kc), kb_sub(b, kb_i(b, K), x.k0));
        if (x.strips) build_strips(b, &x, cols, klen);
        if (x.a16) build_a16(b, &x, rows, kb_i(b, tc), klen);
        build_macc(b, &x, rows, cols, kb_i(b, tc), klen);
        kb_end(b);
        build_sum_nest(b, &x, rows, cols, true);
    }
    kb_end(b);
}
