/* tile_internal.h: what the parts of the tile generator share: the vector tile (tile.c), its steps of k
 * (tile_step.c), the loops over tiles (tile_cover.c) and matrix registers (tile_amx.c). */
#ifndef BMC_CODEGEN_TILE_INTERNAL_H
#define BMC_CODEGEN_TILE_INTERNAL_H
#include "codegen/tile.h"

typedef LLVMValueRef V;
typedef LLVMBasicBlockRef Block;

enum { TILE_MAX = 64, ROWS_MAX = 32, PARTS_MAX = 8, LINE = 64 /* bytes of a cache line */ };

/* Part of the rows or columns of a macc: positions lo, lo+size, ... while pos + need <= end. */
typedef enum PartMask { PART_FULL, PART_MASKED, PART_EITHER } PartMask;   /* is the last strip cut by `cols`? never, always, decided while running */
typedef struct Part {
    unsigned size;      /* rows, or vectors of 16 columns: `sums` strips each */
    int64_t lo, count;  /* known extents: first position and number of tiles; count -1: while room, from where the part before ended, */
    V tiles;            /* or so many from there */
    PartMask mask;
} Part;
typedef struct Cover { Part part[PARTS_MAX]; unsigned n; unsigned unit; /* positions per size: 1 or 16 */ V end; } Cover;

typedef struct Tile {
    const TileEmit *e;
    LLVMBuilderRef b;
    LLVMTypeRef i1, i32, i64, ptr, elem, vec, a_mem, b_mem;
    Cover rows, cols;
    unsigned k_unroll, mr, nv;   /* nv: vectors of columns, of `sums` strips each */
    bool zero_row;      /* absent rows read a zero array; else, when rows can be absent, each row has a stride of its own */
    V scratch;          /* accumulators of a heavy epilogue; NULL until needed */
    const Part *outer;  /* the part and position of the loop outside */
    V outer_pos;
} Tile;

enum { AHEAD_MAX = 2 };   /* B of the next tile column, A of the next rows */
typedef struct Ahead { V ptr; /* at k = 0 */ int64_t step; V steps; /* bytes per step of k: `steps` if not NULL, then `step` at most as a rule */ int64_t row; /* if not 0: a line in turn of rows at this distance */ } Ahead;
typedef struct Operands {
    unsigned h, w;         /* rows, vectors of columns */
    V row[ROWS_MAX];
    V a[ROWS_MAX];         /* row pointers at k = 0 */
    V a_k[ROWS_MAX];       /* their strides; only when `own_stride` */
    bool own_stride;
    V b;                   /* first strip at k = 0 */
    V b_odd;               /* pairs: the same, but the compiler does not see that: what is loaded twice must not stay in registers in between */
    V b_mask;              /* of the last strip's loads; NULL: none. Whole elements, sign bit set where loaded (vector units without mask registers
                              would rebuild them from single bits at every step), or <16 x i1> */
    Ahead ahead[AHEAD_MAX];
    unsigned n_ahead;
} Operands;

/* ---- small helpers ---- */
static inline V k64(const Tile *t, int64_t x) { return LLVMConstInt(t->i64, (uint64_t)x, 1); }
static inline V add(const Tile *t, V a, V b) { return LLVMBuildNSWAdd(t->b, a, b, ""); }
static inline V add_k(const Tile *t, V a, int64_t k) { return k ? add(t, a, k64(t, k)) : a; }
static inline V mul(const Tile *t, V a, V b) { return LLVMBuildNSWMul(t->b, a, b, ""); }
static inline V gep(const Tile *t, LLVMTypeRef elem, V base, V off) { return LLVMBuildInBoundsGEP2(t->b, elem, base, &off, 1, ""); }
static inline Block block_new(const Tile *t, const char *name) { return LLVMAppendBasicBlockInContext(t->e->cx, t->e->fn, name); }
static inline Block here(const Tile *t) { return LLVMGetInsertBlock(t->b); }
static inline void at(const Tile *t, Block b) { LLVMPositionBuilderAtEnd(t->b, b); }
static inline V phi(const Tile *t, LLVMTypeRef ty, V v, Block from)
{
    V p = LLVMBuildPhi(t->b, ty, "");
    LLVMAddIncoming(p, &v, &from, 1);
    return p;
}
static inline void phi_add(V p, V v, Block from) { LLVMAddIncoming(p, &v, &from, 1); }
static inline bool is_const(V v, int64_t *k)
{
    if (!LLVMIsAConstantInt(v)) return false;
    *k = LLVMConstIntGetSExtValue(v);
    return true;
}
static inline bool is_k(V v, int64_t k) { int64_t x; return is_const(v, &x) && x == k; }

/* Keeps later passes from unrolling or vectorising the loop that this branch closes: both only add spills here. */
void tile_leave_alone(const Tile *t, V branch);
/* <16 x i1>: lane < left. */
V tile_lane_mask(const Tile *t, V left);
/* An array in the frame, made at the function's entry. */
V tile_frame(const Tile *t, LLVMTypeRef elem, unsigned n, const char *name);

/* ---- tile_cover.c ---- */
unsigned tile_strip_regs(const Tile *t);   /* registers of 16 elements of acc */
/* Decides t->rows and t->cols. */
void tile_cover(Tile *t);
/* Emits the loops of a cover; body is called with the builder inside, once per part. */
void tile_cover_emit(Tile *t, const Cover *c, void (*body)(Tile *, const Part *, V pos));

/* ---- tile_step.c ---- */
/* Step u of `of` unrolled ones: acc[rows][strips] += a * b; a_ptr: where each row is at this k, b_off: elements from o->b. */
void tile_step(const Tile *t, const Operands *o, V *a_ptr, V b_off, unsigned u, unsigned of, V *acc);
V tile_intrinsic(const Tile *t, const char *name, const LLVMTypeRef *overload, unsigned n_over, V *arg, unsigned n);

/* ---- tile_amx.c ---- */
/* Are products of bf16 pairs in matrix registers possible for this macc? Then its tiles are made by tile_amx. */
bool tile_is_amx(const Tile *t);
/* One tile of h <= 32 rows and w <= 2 strips at (row, col). `left`: columns of the last strip that exist; NULL: all. */
void tile_amx(Tile *t, unsigned h, unsigned w, V row, V col, V left);

#endif
