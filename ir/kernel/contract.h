/* contract.h: schedules a contraction as blocks of `macc`: which register tile, K blocking, whether A is copied into scratch, how blocks are shared among threads. */
#ifndef BMC_IR_KERNEL_CONTRACT_H
#define BMC_IR_KERNEL_CONTRACT_H
#include "ir/kernel/build.h"

/* C[z, m, n] = epilogue(sum over t, k of A[...] * B[...]): a batch of matrix products or a convolution. Everything symbolic is allowed but K of a packed B. */
typedef struct Contract {
    Dim Z, M, N, K, T;                 /* outer batch (1 when none), rows, columns, inner length, reduction batches (kh*kw of a convolution; 1) */
    uint32_t a, b;                     /* kernel parameters */
    DType acc;
    bool b_packed;                     /* B is in strips, [T][K/kc][N/16][kc][16] with kc = pack_kc (RECIPE_PACK; K and N padded with zeros); else row-major in place */
    bool b_pairs;                      /* with b_packed: bf16, two k side by side (KMacc); pack_kc is contract_pairs_kc's */
    bool quads;                        /* bytes, sums in i32 that wrap (KMacc): a product of A as u8 (i8: + 128) and B as i8. B packed as groups of four, pack_kc is
                                          contract_quads_kc's; or by b_load, which gives i8. A stays where it lies if its rows are whole groups, or a_padded: what stands behind them may be read; else a_load */
    bool a_padded;
    int64_t pack_kc;                   /* length of a K block of packed B: contract_pack_kc's */
    int64_t b_panel;                   /* with b_packed: B lies in panels of so many columns instead, [N/b_panel][K][b_panel] (contract_panel; T is 1); 0: in strips */
    bool b_dot;                        /* B is [N][K rounded up to 16] instead (contract_is_dot; packed, T is 1, A without predicate); needs a_buf */
    KBuf a_buf;                        /* the buffer behind parameter `a`; with b_pairs, too: A is rounded to bf16 if the target multiplies pairs */
    KVal a_k, b_k;                     /* element strides of k in A, and of k in B when in place (0 values: 1 and N) */
    /* B lies so that its columns are not neighbours, or far apart: each block brings its part into strips in scratch first. An element of B for (z, t), where `pred` holds. */
    KVal (*b_load)(void *arg, Kb *, KVal z, KVal t, KVal k, KVal n, KVal pred);
    bool b_rows;                       /* with b_load: columns are neighbours after all, copied for the sake of speed (contract_copies_b) */
    void *arg;
    KVal (*a_load)(void *arg, Kb *, KVal z, KVal t, KVal m, KVal k);   /* quads: an element of A as u8, whatever stands for absent ones; always given */
    /* element offset of A for (z, t, row m, first k = k0) and whether it exists (0: always); of B for (z, t): in place for (k0, column 0), packed
     * the start of batch t (k0 and columns are added here) */
    void (*a_addr)(void *arg, Kb *, KVal z, KVal t, KVal m, KVal k0, KVal *off, KVal *pred);
    KVal (*b_addr)(void *arg, Kb *, KVal z, KVal t, KVal k0);
    void (*store)(void *arg, Kb *, KVal z, KVal m, KVal n, KVal acc);   /* applies the epilogue and stores */
    bool a_plain;                      /* A rows are affine in m with no predicate: packing A is legal */
    int64_t a_row_bytes;               /* stride of A rows in bytes when constant, else 0: decides packing */
} Contract;

int64_t contract_pack_kc(const KTarget *, DType acc, int64_t K);   /* K block for packed B of that K: the same rule for weight writer and code */

/* Columns of a panel (Contract.b_panel), if M rows (-1: a batch of any size, probably of one) are better off with those than with strips; 0: strips. weights: bytes that a run reads. */
int64_t contract_panel(const KTarget *, DType acc, int64_t M, int64_t N, int64_t K, int64_t weights);
/* The same for strips that each block makes of a B in place (M, N, K known or -1). */
int64_t contract_strips_kc(const KTarget *, DType acc, int64_t M, int64_t N, int64_t K);
/* K block for B packed as bf16 pairs, from the one for f32: whole pairs; whole rows of matrix registers where the target has them. */
int64_t contract_pairs_kc(const KTarget *, int64_t kc);
/* K block, in elements, for B packed as groups of four bytes. */
int64_t contract_quads_kc(const KTarget *, int64_t K);
/* How many times as many products of bf16 pairs as f32 multiply-adds the target does in the same time (its tables' figure: 1, 2 or 16). */
int64_t contract_pairs_gain(const KTarget *);

/* Few columns and a long reduction: dot products along k, no strips of 16 columns mostly padding. Constant B is then packed as contract.b_dot says. */
bool contract_is_dot(const KTarget *, DType acc, int64_t N, int64_t K);

/* The schedule for extents that are known, or -1: of one output batch. */
typedef struct TileChoice {
    unsigned mr, nv;         /* register tile: rows, strips of 16 columns */
    bool m_inner;            /* rows run inside columns */
    int64_t kc, tc, mb, nb;  /* K, reduction batches, rows, columns per macc; kc, tc 0: all */
} TileChoice;
typedef struct TileProblem { DType acc, a_type, b_type; int64_t M, N, K, T, a_row_bytes; bool a_plain, b_packed, tiles /* in matrix registers */; int64_t pack_kc; bool quads /* types are i32, K and pack_kc count groups */, a_signed /* i8 there */; } TileProblem;
TileChoice contract_choose(const KTarget *, const TileProblem *);
/* Issue slots (half cycles) of one output batch with the tile that is chosen for it: to compare ways of posing a problem. M, N, K, T known. */
int64_t contract_cost(const KTarget *, const TileProblem *);
/* Blocks for a B whose strips each block makes itself: they stay in L2, and the rows of a block are worth them. */
void contract_choose_strips(const KTarget *, const TileProblem *, TileChoice *);
/* Is it worth copying a B with neighbouring columns into such strips? Extents that are not known: -1. foreign: a caller's,
 * aligned to an element. */
bool contract_copies_b(const KTarget *, DType acc, bool foreign, int64_t M, int64_t N, int64_t K);
/* Bytes a cycle that a core which multiplies meanwhile gets from the cache behind L2 (KTarget.far_rate, 9 if that is not known), and of what a run reads
 * once, from memory or that cache: 6, or half of the former (Zen 5: 8 from memory alone, 15 of 118 MB over and over). */
double contract_far_rate(const KTarget *);
double contract_memory_rate(const KTarget *);
bool contract_far_is_fast(const KTarget *);   /* the former is about what a row's multiply-adds want */
/* Cuts the blocks of `c` more finely where threads could not share them evenly (M known or -1, Z batches or -1). */
void contract_share(const KTarget *, const TileProblem *, int64_t Z, TileChoice *c);
/* Issue slots of a step of k for rows x strips covered by tiles of at most mr x nv. */
int64_t contract_slots(const KTarget *, DType acc, int64_t rows, int64_t strips, int64_t mr, int64_t nv);
int64_t contract_dot_chains(const KTarget *, DType acc);       /* rows times columns per loop over k of that form */
int64_t contract_dot_rows(int64_t M, int64_t N, int64_t K);   /* rows per block of that form; M may be -1 */

/* Emits the loops and macc nodes into the open kernel `b` (which must hold nothing else that loops). When K is blocked, sums between blocks wait in
 * scratch of the thread; `store` sees each element once. */
void contract_build(Kb *, const Contract *);

/* A few rows (or columns): dot products along k, for operands in place with k contiguous in both. Uses Z, M, N, K, acc, arg, store, and b_load with `a_load`, its
 * twin for A at (z, row, k). Blocks are shared among threads along the rows if `by_rows`, else along the columns. */
typedef KVal ContractLoad(void *arg, Kb *, KVal z, KVal m, KVal k);
void contract_build_dots(Kb *, const Contract *, ContractLoad *a_load, bool by_rows);

#endif
