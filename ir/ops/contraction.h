/* contraction.h: what MatMul, Gemm and Conv share on the way to macc: constant right operands packed into strips, others brought into row-major form. */
#ifndef BMC_IR_OPS_CONTRACTION_H
#define BMC_IR_OPS_CONTRACTION_H
#include "ir/graph/infer.h"
#include "ir/graph/lower.h"

/* The right operand B[t][k][n] of a contraction. */
typedef struct RightSide {
    KBuf buf;
    bool packed;
    int64_t kc;          /* packed: length of a K block */
    int64_t batch;       /* packed: elements of one batch t */
    bool dot;            /* packed for dot products: Contract.b_dot */
    bool pairs;          /* packed as bf16, two k side by side: Contract.b_pairs */
    bool quads;          /* packed as groups of four bytes: Contract.quads */
    bool may_pair;       /* said by the caller: `pairs` will do */
    int64_t panel;       /* packed in panels of so many columns: Contract.b_panel */
    int64_t panel_rows;  /* said by the caller where panels will do: how many rows of A meet it, -1: a batch of any size; 0: not known */
    int64_t rows;        /* said by the caller: at least so many rows of A meet it */
    int64_t rows_most;   /* and at most; 0: not said */
} RightSide;

int64_t contraction_rows(Lw *, Dim rows);   /* for RightSide.rows */
/* For RightSide.rows_most: a batch of any size, an input's first axis, counts as the smallest. */
int64_t contraction_rows_most(Lw *, Dim rows);
/* Packs a constant: element (t, k, n) of `blob` stands at off + t*stride_t + k*stride_k + n*stride_n. false: not constant data (pack while running instead). */
bool contraction_pack(Lw *, Blob, DType acc, int64_t T, int64_t K, int64_t N, int64_t off, int64_t stride_t, int64_t stride_k, int64_t stride_n, RightSide *);
/* The same with K blocks of a given length. */
bool contraction_pack_kc(Lw *, Blob, int64_t kc, int64_t T, int64_t K, int64_t N, int64_t off, int64_t stride_t, int64_t stride_k, int64_t stride_n, RightSide *);
/* The same with all of the source's shape in a PACK recipe: batch, K, N, kc, src_off, strides, k_in, stride_q, sides. */
bool contraction_pack_as(Lw *, Blob, const Recipe *shape, RightSide *);
/* The same of i8, as groups of four. */
bool contraction_pack_quads(Lw *, Blob, int64_t T, int64_t K, int64_t N, int64_t stride_t, int64_t stride_k, int64_t stride_n, RightSide *);
/* The same for a single matrix whose left side has rows of contiguous k: packs few columns for dot products. */
bool contraction_pack_matrix(Lw *, Blob, DType acc, int64_t K, int64_t N, int64_t stride_k, int64_t stride_n, RightSide *);
/* A copy of operand-like buffer `src` as [K, N] row-major from its transposed form [N, K] (extents symbolic), made by a kernel now. */
KBuf contraction_transposed(Lw *, KBuf src, Dim K, Dim N);

/* Dims of a matrix product as numpy has it, from the operands' dims (ranks at least 1, batch dims broadcast); matmul.c. false: they do not fit, said. */
bool contraction_dims(Infer *, const Dim *a, int rank_a, const Dim *b, int rank_b, Dim *dim, int *rank);
/* Lowers MatMul and ByteMatMul (matmul.c). */
bool contraction_matmul(Lw *, Node);
/* Lowers the open Group node of kind attention (attention_group.c). past: causal, else DIM_NONE. */
bool attention_lower(Lw *, Dim past);

/* Rewrite hooks: a product of dequantised operands is one of integers (dequantized.c). */
bool dequantized_matmul(Graph *, Node);
bool dequantized_gemm(Graph *, Node);
bool dequantized_conv(Graph *, Node);
/* MatMul's rewrite hook, too: rows with a single one times a constant matrix are a Gather (matmul_one_hot.c). */
bool matmul_one_hot(Graph *, Node);

#endif
