/* contract.h: schedules a contraction as blocks of `macc`: which register tile, K blocking, whether A is copied into scratch, how blocks are shared among threads. */
#ifndef BMC_IR_KERNEL_CONTRACT_H
#define BMC_IR_KERNEL_CONTRACT_H
#include "ir/kernel/build.h"

/* C[z, m, n] = epilogue(init + sum over t, k of A[...] * B[...]): a batch of matrix products or a convolution. Everything symbolic is allowed but `kc` of a packed B. */
typedef struct Contract {
    Dim Z, M, N, K, T;                 /* outer batch (1 when none), rows, columns, inner length, reduction batches (kh*kw of a convolution; 1) */
    uint32_t a, b;                     /* kernel parameters */
    DType acc;
    bool b_packed;                     /* B is in strips (RECIPE_PACK layout with kc = K rounded up to pack_kc); else row-major in place */
    int64_t pack_kc;                   /* length of a K block of packed B (contract_pack_kc) */
    KVal a_k, b_k;                     /* element strides of k in A, and of k in B when in place (0 values: 1 and N) */
    void *arg;
    /* element offset of A for (z, t, row m, first k = k0) and whether it exists (0: always); of B for (z, t, k0, column 0 in place / start of batch t packed) */
    void (*a_addr)(void *arg, Kb *, KVal z, KVal t, KVal m, KVal k0, KVal *off, KVal *pred);
    KVal (*b_addr)(void *arg, Kb *, KVal z, KVal t, KVal k0);
    void (*store)(void *arg, Kb *, KVal z, KVal m, KVal n, KVal acc);   /* applies the epilogue and stores */
    bool a_plain;                      /* A rows are affine in m with no predicate: packing A is legal */
    int64_t a_row_bytes;               /* stride of A rows in bytes when constant, else 0: decides packing */
} Contract;

int64_t contract_pack_kc(const KTarget *, DType, int64_t K);   /* K block for packed B of that K: the same rule for weight writer and code */
/* Emits the loops and macc nodes into the open kernel `b` (which must hold nothing else that loops). C partial sums between K blocks go through `partial`,
 * a kernel parameter or local of acc type addressed by the callbacks; needed only when K is blocked. */
void contract_build(Kb *, const Contract *);

#endif
