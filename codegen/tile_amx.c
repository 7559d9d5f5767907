/* tile_amx: a tile of the contraction in matrix registers (AMX: eight of 16 rows x 64 bytes).
 *
 *   sum[2][2] = 0                                       (16 x 16 f32 each)
 *   for t < T, for k < K step 32:
 *       a[2] = 16 rows x 32 bf16, b[2] = 16 pairs of k x 16 columns          (a strip of packed pairs is such a register as it lies)
 *       sum[r][s] += a[r] * b[s]
 *   for each r: sum[r][*] -> frame, then the epilogue row by row
 *
 * All registers have one shape, since LLVM 19 configures them once for a function and gives registers of several shapes to one name when it runs out of
 * names. So the last rows of a tile may be any memory behind A's block (contract.c reserves it); their sums are not used. Columns and k have padding: B's
 * strips hold zeros, A is scratch that contract.c filled, and must be, where k ends. Denormal operands
 * count as zeros and sums round to nearest, whatever MXCSR says. The registers belong to the thread; LLVM configures them (they need no place in the frame,
 * but a call between would lose them: the loops here have none). Reference: Intel, "Architecture Instruction Set Extensions Programming Reference", AMX. */
#include "codegen/tile_internal.h"

#include "base/bug.h"

#include <string.h>

enum { ROW_BYTES = 64, REG_ROWS = 2, REG_STRIPS = 2 };
_Static_assert(AMX_K / 2 == AMX_ROWS, "a register of B has the shape of one of A");

bool tile_is_amx(const Tile *t)
{
    const TileEmit *e = t->e;
    int64_t k;
    return e->target->bf16 == KDOTS_TILES && e->b_pairs && e->a_type == DT_BF16 && e->acc == DT_F32 && e->sums == 1 && !e->init && e->a_always && e->a_row &&
           is_k(e->a_k, 1) && is_k(e->b_k, K_LANES) && is_const(e->K, &k) && k % AMX_K == 0 && t->mr <= REG_ROWS * AMX_ROWS && t->nv <= REG_STRIPS;
}

static V k16(const Tile *t, unsigned x) { return LLVMConstInt(LLVMInt16TypeInContext(t->e->cx), x, 0); }

static V intrinsic(const Tile *t, const char *name, V *arg, unsigned n)
{
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    assert(id);
    V f = LLVMGetIntrinsicDeclaration(t->e->mod, id, NULL, 0);
    return LLVMBuildCall2(t->b, LLVMIntrinsicGetType(t->e->cx, id, NULL, 0), f, arg, n, "");
}

static V load(const Tile *t, V p, int64_t stride)
{
    return intrinsic(t, "llvm.x86.tileloadd64.internal", (V[]){k16(t, AMX_ROWS), k16(t, ROW_BYTES), p, k64(t, stride)}, 4);
}

typedef struct Sums { V v[REG_ROWS * REG_STRIPS]; unsigned rows[REG_ROWS], n_row, n_strip; } Sums;

/* for k < K: sums += A * B, from the pointers of the first row and strip. */
static void k_loop(const Tile *t, Sums *x, V a, V b)
{
    const TileEmit *e = t->e;
    unsigned n = x->n_row * x->n_strip;
    int64_t K;
    if (is_const(e->K, &K) && K == 0) return;
    Block before = here(t), loop = block_new(t, "k"), after = block_new(t, "k.end");
    LLVMBuildBr(t->b, loop);
    at(t, loop);
    V k = phi(t, t->i64, k64(t, 0), before), sum[REG_ROWS * REG_STRIPS], ra[REG_ROWS], rb[REG_STRIPS];
    for (unsigned i = 0; i < n; i++) sum[i] = phi(t, LLVMX86AMXTypeInContext(e->cx), x->v[i], before);
    for (unsigned r = 0; r < x->n_row; r++)
        ra[r] = load(t, gep(t, t->a_mem, a, add_k(t, k, r * AMX_ROWS * e->a_row)), 2 * e->a_row);
    for (unsigned s = 0; s < x->n_strip; s++)
        rb[s] = load(t, gep(t, t->b_mem, b, add(t, mul(t, k, k64(t, K_LANES)), mul(t, e->b_strip, k64(t, s)))), ROW_BYTES);
    for (unsigned r = 0; r < x->n_row; r++)
        for (unsigned s = 0; s < x->n_strip; s++) {
            V *to = &x->v[r * x->n_strip + s], old = sum[r * x->n_strip + s];
            *to = intrinsic(t, "llvm.x86.tdpbf16ps.internal", (V[]){k16(t, AMX_ROWS), k16(t, ROW_BYTES), k16(t, ROW_BYTES), old, ra[r], rb[s]}, 6);
        }
    V next = add_k(t, k, AMX_K);
    phi_add(k, next, loop);
    for (unsigned i = 0; i < n; i++) phi_add(sum[i], x->v[i], loop);
    tile_leave_alone(t, LLVMBuildCondBr(t->b, LLVMBuildICmp(t->b, LLVMIntSLT, next, e->K, ""), loop, after));
    at(t, after);
}

static void tap(const Tile *t, Sums *x, V tt, V row, V col)
{
    const TileEmit *e = t->e;
    V a_off, pred = NULL, b_off;
    e->addr(e->arg, tt, row, &a_off, &pred, &b_off);
    assert(!pred);
    V strip = LLVMBuildAShr(t->b, col, k64(t, 4), "");
    k_loop(t, x, gep(t, t->a_mem, e->a_base, a_off), gep(t, t->b_mem, e->b_base, add(t, b_off, mul(t, strip, e->b_strip))));
}

static void t_loop(const Tile *t, Sums *x, V row, V col)
{
    const TileEmit *e = t->e;
    if (is_k(e->T, 1)) {
        tap(t, x, k64(t, 0), row, col);
        return;
    }
    unsigned n = x->n_row * x->n_strip;
    if (e->rows_of_tile) e->rows_of_tile(e->arg, &row, 1);
    Block before = here(t), head = block_new(t, "taps"), inside = block_new(t, "tap"), after = block_new(t, "taps.end");
    LLVMBuildBr(t->b, head);
    at(t, head);
    V tt = phi(t, t->i64, k64(t, 0), before), sum[REG_ROWS * REG_STRIPS];
    for (unsigned i = 0; i < n; i++) sum[i] = phi(t, LLVMX86AMXTypeInContext(e->cx), x->v[i], before);
    LLVMBuildCondBr(t->b, LLVMBuildICmp(t->b, LLVMIntSLT, tt, e->T, ""), inside, after);
    at(t, inside);
    memcpy(x->v, sum, sizeof sum);
    tap(t, x, tt, row, col);
    Block end = here(t);
    phi_add(tt, add_k(t, tt, 1), end);
    for (unsigned i = 0; i < n; i++) phi_add(sum[i], x->v[i], end);
    tile_leave_alone(t, LLVMBuildBr(t->b, head));
    at(t, after);
    memcpy(x->v, sum, sizeof sum);
}

/* Rows of one row of registers, through the frame. */
static void store(Tile *t, const Sums *x, unsigned r, V row, V col, V left)
{
    const TileEmit *e = t->e;
    if (!t->scratch) t->scratch = tile_frame(t, t->vec, AMX_ROWS * REG_STRIPS, "acc");
    for (unsigned s = 0; s < x->n_strip; s++)
        intrinsic(t, "llvm.x86.tilestored64.internal",
                  (V[]){k16(t, AMX_ROWS), k16(t, ROW_BYTES), gep(t, t->vec, t->scratch, k64(t, s * AMX_ROWS)), k64(t, ROW_BYTES), x->v[r * x->n_strip + s]}, 5);
    V mask = left ? tile_lane_mask(t, left) : NULL;
    Block before = here(t), loop = block_new(t, "epilogue"), after = block_new(t, "epilogue.end");
    LLVMBuildBr(t->b, loop);
    at(t, loop);
    V i = phi(t, t->i64, k64(t, 0), before), at_row = add(t, row, i);
    for (unsigned s = 0; s < x->n_strip; s++) {
        V acc = LLVMBuildLoad2(t->b, t->vec, gep(t, t->vec, t->scratch, add_k(t, i, s * AMX_ROWS)), "");
        e->epilogue(e->arg, &acc, at_row, add_k(t, col, 16 * s), s + 1 == x->n_strip ? mask : NULL);
    }
    V next = add_k(t, i, 1);
    phi_add(i, next, here(t));
    tile_leave_alone(t, LLVMBuildCondBr(t->b, LLVMBuildICmp(t->b, LLVMIntSLT, next, k64(t, x->rows[r]), ""), loop, after));
    at(t, after);
}

void tile_amx(Tile *t, unsigned h, unsigned w, V row, V col, V left)
{
    Sums x = {.n_row = (h + AMX_ROWS - 1) / AMX_ROWS, .n_strip = w};
    assert(x.n_row <= REG_ROWS && w <= REG_STRIPS);
    for (unsigned r = 0; r < x.n_row; r++) {
        x.rows[r] = r + 1 < x.n_row ? AMX_ROWS : h - r * AMX_ROWS;
        for (unsigned s = 0; s < w; s++)
            x.v[r * w + s] = intrinsic(t, "llvm.x86.tilezero.internal", (V[]){k16(t, AMX_ROWS), k16(t, ROW_BYTES)}, 2);
    }
    t_loop(t, &x, row, col);
    for (unsigned r = 0; r < x.n_row; r++) store(t, &x, r, add_k(t, row, r * AMX_ROWS), col, left);
}
