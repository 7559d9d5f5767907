/* tile.h: the MACC tile generator: emits the contraction of KMacc (ir/kernel/kir.h states its meaning) as LLVM IR at the builder's position.
 * One generator for every GEMM-like operator, dtype and ISA: register tile of mr rows x nv strips of 16 columns, accumulators in SSA phis,
 * A by scalar broadcast, B by vector loads, tails by smaller tile instances (rows) and masks (columns beyond `cols`).
 * Which tile, and how a contraction is cut into macc blocks, is decided in ir/kernel/contract.c. */
#ifndef BMC_CODEGEN_TILE_H
#define BMC_CODEGEN_TILE_H
#include <llvm-c/Core.h>
#include <stdbool.h>
#include "ir/kernel/kir.h"

typedef struct TileEmit {
    LLVMContextRef cx; LLVMModuleRef mod; LLVMBuilderRef b; LLVMValueRef fn;
    const KTarget *target;
    DType a_type, b_type, acc;          /* element types in memory; acc: f32, f64, i32, i64... */
    unsigned mr, nv;                    /* rows, strips */
    unsigned sums;                      /* strips that make one element: as many sums; nv is rounded to whole elements */
    bool m_inner;                       /* rows run inside columns (B strip stays), else the other way */
    bool b_packed;                      /* strips are zero-padded to 16 columns: no masks on B */
    bool a_always;                      /* addr never yields a false predicate */
    bool a_near;                        /* A is scratch of the thread: it is in a near cache */
    bool b_pairs, quads;                /* as in KMacc */
    int64_t b_next;                     /* as in KMacc */
    LLVMValueRef b_ahead;               /* each step asks for what lies so many elements further on in its B, of a tile of few rows; NULL: for nothing */
    int64_t a_row;                      /* elements from a row of A to the next, the same for all rows; 0: not known */
    bool heavy_epilogue;                /* the epilogue is long (transcendentals): emit it once per tile in a loop over stored accumulators, not mr*nv times */
    LLVMValueRef rows, cols, K, T, a_k, b_k, b_strip, b_sum;   /* i64 */
    int64_t row_counts[2], col_counts[2];   /* the numbers of rows and of columns that there can be, beside none; 0, 0: not known */
    LLVMValueRef a_base, b_base;        /* ptr to element 0 */
    void *arg;
    /* Emit at the builder's position, from i64 values; *pred is i1 or NULL for always. */
    void (*addr)(void *arg, LLVMValueRef t, LLVMValueRef row, LLVMValueRef *a_off, LLVMValueRef *pred, LLVMValueRef *b_off);
    /* Before a loop over t: the rows that addr will be asked for, as the very values. May be NULL. */
    void (*rows_of_tile)(void *arg, const LLVMValueRef *row, unsigned n);
    /* acc: for each sum <16 x acc> for columns col..col+15 of that row; mask <16 x i1> or NULL (all). NULL function: zero. */
    void (*init)(void *arg, LLVMValueRef row, LLVMValueRef col, LLVMValueRef mask, LLVMValueRef *acc);
    void (*epilogue)(void *arg, const LLVMValueRef *acc, LLVMValueRef row, LLVMValueRef col, LLVMValueRef mask);
    /* Memory that the epilogue reads from column `col` on, row by row, and that is better on its way before: address of that column's element. */
    unsigned n_touch;
    LLVMValueRef (*touch)(void *arg, unsigned n, LLVMValueRef row, LLVMValueRef col, unsigned *elem_bytes);
    /* Conversions of narrow element types: load one element / 16 consecutive ones as acc type; not called (may be NULL) where the memory type is acc. */
    LLVMValueRef (*load_scalar)(void *arg, DType from, LLVMValueRef ptr);
    LLVMValueRef (*load_vector)(void *arg, DType from, LLVMValueRef ptr, LLVMValueRef mask);
} TileEmit;

/* Leaves the builder at the end of the emitted code (a fresh block). The callbacks may make blocks of their own, but not in addr. True: it uses matrix
 * registers, which a program must ask the system for. */
bool tile_emit(const TileEmit *);

#endif
