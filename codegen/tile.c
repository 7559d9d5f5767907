/* tile: the contraction node as LLVM IR.
 *
 *   for each tile of h rows x w vectors that covers rows x cols:           (tile_cover.c: loops over a few tile sizes)
 *       acc[h][w][sums] = init                                             (tile_body)
 *       for t < T: a[i] = row pointers, b = strip pointer
 *           for k < K: acc[i][s] = fma(splat a[i][k], b[s][k], acc[i][s])  (k_loop: one block that branches to itself; s: strips, w * sums; tile_step.c)
 *       epilogue(acc)
 *
 * Requirements that the code is built around:
 * - Nothing in the K loop may live on the stack. So the accumulators are phis from the start (no alloca for SROA to miss), rows keep at most one
 *   pointer each, and `mr`, `nv` must satisfy contract_tile's register count.
 * - Each distinct (h, w, masked) body is emitted once per macc: code size and compile time follow the number of bodies, not of tiles.
 *   Known extents need at most two row heights and two strip widths; unknown ones a chain of halving heights.
 * - The sum of one output element runs over k ascending within t ascending with one accumulator, whatever the tile: results do not depend on the schedule.
 * - A row whose predicate is false reads zeros: from a zero array where k is contiguous and K is known and short, else from one zero at stride 0.
 *
 * Register tiles and the unrolling of k: measurements in docs/PERFORMANCE.md, "GEMM". */
#include "codegen/tile_internal.h"

#include "base/bug.h"

#include <llvm-c/DebugInfo.h>
#include <stdio.h>
#include <string.h>

enum { AHEAD_COLS = 4 };         /* so many tile columns at most for A's rows to be prefetched: with more, the first one's misses do not count */
enum { FEW = 4 };                /* rows of a tile that waits for B rather than for its sums */
enum { ROWS_STRIDED = 3 };       /* rows of a tile when each needs two registers, pointer and stride */
enum { ZERO_ROW_MAX = 32768 };   /* bytes of the zero array a guarded row may point to */

/* ---- small helpers ---- */
static LLVMTypeRef type_mem(const Tile *t, DType d)
{
    switch (d) {
    case DT_F32: return LLVMFloatTypeInContext(t->e->cx);
    case DT_F64: return LLVMDoubleTypeInContext(t->e->cx);
    default:
        assert(dtype_info(d)->bits % 8 == 0 && dtype_info(d)->bits <= 64 && "macc operands are whole bytes");
        return LLVMIntTypeInContext(t->e->cx, dtype_info(d)->bits);
    }
}

void tile_leave_alone(const Tile *t, V branch)
{
    LLVMContextRef cx = t->e->cx;
    LLVMMetadataRef no_unroll = LLVMMDStringInContext2(cx, "llvm.loop.unroll.disable", strlen("llvm.loop.unroll.disable"));
    LLVMMetadataRef name = LLVMMDStringInContext2(cx, "llvm.loop.vectorize.enable", strlen("llvm.loop.vectorize.enable"));
    LLVMMetadataRef off[2] = {name, LLVMValueAsMetadata(LLVMConstInt(t->i1, 0, 0))};
    LLVMMetadataRef self = LLVMTemporaryMDNode(cx, NULL, 0);
    LLVMMetadataRef op[3] = {self, LLVMMDNodeInContext2(cx, &no_unroll, 1), LLVMMDNodeInContext2(cx, off, 2)};
    LLVMMetadataRef loop = LLVMMDNodeInContext2(cx, op, 3);
    LLVMMetadataReplaceAllUsesWith(self, loop);   /* a loop's node names itself first, which also makes it distinct */
    LLVMSetMetadata(branch, LLVMGetMDKindIDInContext(cx, "llvm.loop", 9), LLVMMetadataAsValue(cx, loop));
}

/* ---- the K loop ---- */
/* The same address, opaque. */
static V hidden(const Tile *t, V ptr)
{
    LLVMTypeRef p = t->ptr, type = LLVMFunctionType(p, &p, 1, 0);
    V same = LLVMGetInlineAsm(type, "", 0, "=r,0", 4, 0, 0, LLVMInlineAsmDialectATT, 0);
    return LLVMBuildCall2(t->b, type, same, &ptr, 1, "");
}

/* level 3: L1, 2: L2 */
static void prefetch(const Tile *t, V ptr, unsigned level)
{
    LLVMTypeRef over[1] = {t->ptr};
    V arg[4] = {ptr, LLVMConstInt(t->i32, 0, 0), LLVMConstInt(t->i32, level, 0), LLVMConstInt(t->i32, 1, 0)};   /* read, data */
    tile_intrinsic(t, "llvm.prefetch", over, 1, arg, 4);
}

/* Packed f16 that few rows meet: with twice the instructions of f32 a byte, fewer loads are in flight (14 GB/s; fetched a kilobyte ahead 16.4, f32 17). */
static bool is_half_stream(const Tile *t, const Operands *o) { return t->e->b_packed && t->e->b_type == DT_F16 && t->e->acc == DT_F32 && o->h <= 4 && !o->own_stride; }

/* for k = lo; k < hi; k += step (hi - lo a multiple of step, tile_step emitted `step` times); acc is updated in place. */
static void k_range(const Tile *t, const Operands *o, V lo, V hi, unsigned step, V *acc)
{
    const TileEmit *e = t->e;
    unsigned n = o->h * o->w * e->sums;
    int64_t l, h;
    bool known = is_const(lo, &l) && is_const(hi, &h);
    if (known && l >= h) return;
    Block before = here(t), loop = block_new(t, "k"), after = block_new(t, "k.end");
    V a_first = mul(t, lo, e->a_k), b_first = mul(t, lo, e->b_k), a_start[ROWS_MAX];
    for (unsigned i = 0; i < o->h && o->own_stride; i++) a_start[i] = gep(t, t->a_mem, o->a[i], mul(t, lo, o->a_k[i]));
    V fetch[AHEAD_MAX] = {NULL};   /* where the distance of a step is known to the run alone, a pointer that moves: a product each step costs more */
    for (unsigned i = 0; i < o->n_ahead; i++)
        if (o->ahead[i].steps) fetch[i] = gep(t, LLVMInt8TypeInContext(e->cx), o->ahead[i].ptr, mul(t, lo, o->ahead[i].steps));
    if (known) LLVMBuildBr(t->b, loop);
    else LLVMBuildCondBr(t->b, LLVMBuildICmp(t->b, LLVMIntSLT, lo, hi, ""), loop, after);

    at(t, loop);
    for (unsigned i = 0; i < o->n_ahead; i++)
        if (fetch[i]) fetch[i] = phi(t, t->ptr, fetch[i], before);
    V k = phi(t, t->i64, lo, before), b_off = phi(t, t->i64, b_first, before), in[TILE_MAX], out[TILE_MAX], ptr[ROWS_MAX];
    V a_off = o->own_stride ? NULL : phi(t, t->i64, a_first, before);
    for (unsigned i = 0; i < o->h && o->own_stride; i++) ptr[i] = phi(t, t->ptr, a_start[i], before);
    for (unsigned i = 0; i < n; i++) out[i] = in[i] = phi(t, t->vec, acc[i], before);
    V a_next = a_off, b_next = b_off, p[ROWS_MAX];
    for (unsigned i = 0; i < o->h; i++) p[i] = o->own_stride ? ptr[i] : NULL;
    for (unsigned i = 0; i < o->n_ahead; i++) {
        const Ahead *x = &o->ahead[i];
        V off = fetch[i] ? k64(t, 0) : mul(t, k, k64(t, x->step)), p0 = fetch[i] ? fetch[i] : x->ptr;
        if (x->row) {   /* a line is `line` steps long: so many rows can take turns */
            int64_t line = LINE / x->step;
            V turn = LLVMBuildAnd(t->b, k, k64(t, line - 1), "");
            off = add(t, mul(t, LLVMBuildNSWSub(t->b, k, turn, ""), k64(t, x->step)), mul(t, turn, k64(t, x->row)));
        }
        int64_t bytes = x->step;
        for (int64_t line = 0; line < bytes; line += LINE)   /* few rows: a step is longer than a line */
            prefetch(t, gep(t, LLVMInt8TypeInContext(e->cx), p0, add_k(t, off, line)), 2);
    }
    for (unsigned s = 0; step > 1 && s < o->w && is_half_stream(t, o); s++)   /* two steps are a line */
        prefetch(t, gep(t, t->b_mem, o->b, add_k(t, add(t, b_off, mul(t, e->b_strip, k64(t, s))), 512)), 3);
    for (unsigned s = 0; s < o->w && e->b_ahead && o->h <= FEW; s++)
        prefetch(t, gep(t, t->b_mem, o->b, add(t, add(t, b_off, e->b_ahead), mul(t, e->b_strip, k64(t, s)))), 3);
    for (unsigned u = 0; u < step; u++) {
        for (unsigned i = 0; i < o->h && !o->own_stride; i++) p[i] = gep(t, t->a_mem, o->a[i], a_next);
        tile_step(t, o, p, b_next, u, step, out);
        if (!e->b_pairs || step == 1) b_next = add(t, b_next, e->b_k);
        else if (u % 2) b_next = add(t, b_next, mul(t, e->b_k, k64(t, 2)));
        if (!o->own_stride) a_next = add(t, a_next, e->a_k);
        else for (unsigned i = 0; i < o->h; i++) p[i] = gep(t, t->a_mem, p[i], o->a_k[i]);
    }
    V next = add_k(t, k, step);
    Block end = here(t);   /* a narrow type's load callback may have made blocks */
    phi_add(k, next, end);
    phi_add(b_off, b_next, end);
    for (unsigned i = 0; i < o->n_ahead; i++)
        if (fetch[i]) phi_add(fetch[i], gep(t, LLVMInt8TypeInContext(e->cx), fetch[i], mul(t, o->ahead[i].steps, k64(t, step))), end);
    if (a_off) phi_add(a_off, a_next, end);
    for (unsigned i = 0; i < o->h && o->own_stride; i++) phi_add(ptr[i], p[i], end);
    for (unsigned i = 0; i < n; i++) phi_add(in[i], out[i], end);
    tile_leave_alone(t, LLVMBuildCondBr(t->b, LLVMBuildICmp(t->b, LLVMIntSLT, next, hi, ""), loop, after));

    at(t, after);
    for (unsigned i = 0; i < n; i++) {
        V r = phi(t, t->vec, out[i], end);
        if (!known) phi_add(r, acc[i], before);
        acc[i] = r;
    }
}

static void k_loop(const Tile *t, const Operands *o, V *acc)
{
    const TileEmit *e = t->e;
    unsigned u = is_half_stream(t, o) ? 2 : t->k_unroll;
    int64_t K;
    V zero = k64(t, 0), main_end;
    if (u == 1) {
        k_range(t, o, zero, e->K, 1, acc);
        return;
    }
    if (is_const(e->K, &K)) main_end = k64(t, K / u * u);
    else main_end = LLVMBuildAnd(t->b, e->K, k64(t, -(int64_t)u), "");   /* u is a power of two */
    k_range(t, o, zero, main_end, u, acc);
    k_range(t, o, main_end, e->K, 1, acc);
}

/* ---- row pointers and the loop over reduction batches ---- */
/* A constant array of zeros of at least that many bytes. */
static V zero_array(const Tile *t, uint64_t bytes)
{
    uint64_t size = 64;
    while (size < bytes) size *= 2;
    char name[40];
    snprintf(name, sizeof name, "bmc.zeros.%u", (unsigned)size);
    V g = LLVMGetNamedGlobal(t->e->mod, name);
    if (g) return g;
    LLVMTypeRef ty = LLVMArrayType2(LLVMInt8TypeInContext(t->e->cx), size);
    g = LLVMAddGlobal(t->e->mod, ty, name);
    LLVMSetInitializer(g, LLVMConstNull(ty));
    LLVMSetGlobalConstant(g, 1);
    LLVMSetLinkage(g, LLVMInternalLinkage);
    LLVMSetAlignment(g, 64);
    return g;
}

static void operands_at(const Tile *t, Operands *o, V tt, V col)
{
    const TileEmit *e = t->e;
    unsigned a_bytes = dtype_info(e->a_type)->bits / 8;
    o->own_stride = !e->a_always && !t->zero_row;
    for (unsigned i = 0; i < o->h; i++) {
        V a_off, pred = NULL, b_off;
        if (i && e->a_always && e->a_row) {   /* one pointer and constant distances, for the address operands of loads */
            o->a[i] = gep(t, t->a_mem, o->a[0], k64(t, i * e->a_row));
            continue;
        }
        e->addr(e->arg, tt, o->row[i], &a_off, &pred, &b_off);
        o->a[i] = gep(t, t->a_mem, e->a_base, a_off);
        o->a_k[i] = e->a_k;
        if (e->a_always) assert(!pred);
        else if (pred) {
            V zeros = zero_array(t, t->zero_row ? (uint64_t)(LLVMConstIntGetSExtValue(e->K) * a_bytes) : 64);
            o->a[i] = LLVMBuildSelect(t->b, pred, o->a[i], zeros, "");
            if (o->own_stride) o->a_k[i] = LLVMBuildSelect(t->b, pred, e->a_k, k64(t, 0), "");
        }
        if (i == 0) {
            V strip = LLVMBuildAShr(t->b, col, k64(t, 4), "");
            o->b = gep(t, t->b_mem, e->b_base, add(t, b_off, mul(t, strip, e->b_strip)));
            o->b_odd = e->b_pairs || (e->quads && e->target->bytes == KBYTES_ONES) ? hidden(t, o->b) : NULL;
        }
    }
}

/* Data that the tiles after this one will read is brought into L2 meanwhile; the core would otherwise stall on it at the start of each of them.
 * B: while the rows of one tile column pass, the strips of the next column, each tile of rows its share of them.
 * A: where only few tile columns share its rows, the rows of the next tile.
 * Every step prefetches at an address that moves by less than a line, so most hit a line that is on its way already: a load slot is cheaper than the
 * unrolling that would save it. */
static void prefetch_plan(const Tile *t, Operands *o, V row, V col)
{
    const TileEmit *e = t->e;
    int64_t rows, cols, group = e->quads ? 4 : 1, a_bytes = dtype_info(e->a_type)->bits / 8;
    int64_t strip_bytes = e->quads ? 64 : 16 * (dtype_info(e->b_type)->bits / 8) * e->sums;   /* of an element's sums, side by side */
    if (o->own_stride) return;   /* no register left for another address */
    bool known = is_const(e->rows, &rows), two = !known && e->row_counts[1];
    unsigned least = !two ? t->mr : e->a_row ? 1 : t->rows.part[0].size;   /* with a pointer for each row the largest tiles only: another loop would spill */
    if (!e->m_inner || (known ? rows <= o->h : o->h < least)) return;   /* few rows are a stream, which hardware sees; a rest of rows has little time */
    bool few_cols = is_const(e->cols, &cols) && cols <= 16 * AHEAD_COLS * (int64_t)t->nv;
    if (e->b_packed && (e->b_next || !few_cols || cols > 16 * (int64_t)t->nv)) {
        Ahead *b = &o->ahead[o->n_ahead++];
        int64_t share_bytes = o->w * strip_bytes * o->h;
        V whole = e->rows;
        if (known) b->step = share_bytes / rows + 1;
        else if (two) {
            V step[2];
            for (int i = 0; i < 2; i++) {
                int64_t bytes = e->row_counts[i] > o->h ? share_bytes / e->row_counts[i] + 1 : 0;
                step[i] = k64(t, bytes);
                b->step = bytes > b->step ? bytes : b->step;
            }
            b->steps = LLVMBuildSelect(t->b, LLVMBuildICmp(t->b, LLVMIntEQ, whole, k64(t, e->row_counts[0]), ""), step[0], step[1], "");
        } else {   /* whole tiles share it; one alone is a stream again */
            whole = LLVMBuildNSWSub(t->b, whole, LLVMBuildURem(t->b, whole, k64(t, o->h), ""), "");
            V some = add_k(t, LLVMBuildUDiv(t->b, k64(t, share_bytes), whole, ""), 1);
            b->step = share_bytes / (2 * o->h); /* of two tiles; half of the lines are missed where it is one and a rest */
            b->steps = LLVMBuildSelect(t->b, LLVMBuildICmp(t->b, LLVMIntSLE, e->rows, k64(t, o->h), ""), k64(t, 0), some, "");
        }
        V next = mul(t, e->b_strip, k64(t, o->w));
        if (e->b_next) {   /* behind the last tile column something else follows */
            V back = mul(t, LLVMBuildAShr(t->b, col, k64(t, 4), ""), e->b_strip), last = LLVMBuildICmp(t->b, LLVMIntSGE, add_k(t, col, 16 * o->w), e->cols, "");
            next = LLVMBuildSelect(t->b, last, LLVMBuildNSWSub(t->b, k64(t, e->b_next), back, ""), next, "");
        }
        b->ptr = gep(t, t->b_mem, o->b, next);
        V share = LLVMBuildUDiv(t->b, mul(t, row, mul(t, e->K, k64(t, o->w * strip_bytes))), whole, "");
        b->ptr = gep(t, LLVMInt8TypeInContext(e->cx), b->ptr, share);
    }
    int64_t K;
    if (!e->a_near && few_cols && is_k(e->T, 1) && is_const(e->K, &K) && e->a_row && is_k(e->a_k, group)) {   /* windows of several taps overlap: the next rows are there */
        Ahead *a = &o->ahead[o->n_ahead++];
        bool dense = e->a_row == K * group;   /* rows back to back: one stream */
        a->step = (dense ? o->h : 1) * a_bytes * group;
        a->row = dense ? 0 : e->a_row * a_bytes;
        a->ptr = gep(t, t->a_mem, o->a[0], k64(t, o->h * e->a_row));
    }
}

static void t_loop(const Tile *t, Operands *o, V row, V col, V *acc)
{
    const TileEmit *e = t->e;
    unsigned n = o->h * o->w * e->sums;
    int64_t T;
    bool known = is_const(e->T, &T);
    for (unsigned i = 0; i < o->h; i++) o->row[i] = add_k(t, row, i);
    if (known && T == 1) {
        operands_at(t, o, k64(t, 0), col);
        prefetch_plan(t, o, row, col);
        k_loop(t, o, acc);
        return;
    }
    if (e->rows_of_tile) e->rows_of_tile(e->arg, o->row, o->h);
    Block before = here(t), head = block_new(t, "taps"), inside = block_new(t, "tap"), after = block_new(t, "taps.end");
    LLVMBuildBr(t->b, head);
    at(t, head);
    V tt = phi(t, t->i64, k64(t, 0), before), in[TILE_MAX];
    for (unsigned i = 0; i < n; i++) in[i] = phi(t, t->vec, acc[i], before);
    LLVMBuildCondBr(t->b, LLVMBuildICmp(t->b, LLVMIntSLT, tt, e->T, ""), inside, after);
    at(t, inside);
    for (unsigned i = 0; i < n; i++) acc[i] = in[i];
    operands_at(t, o, tt, col);
    prefetch_plan(t, o, row, col);
    k_loop(t, o, acc);
    Block end = here(t);
    phi_add(tt, add_k(t, tt, 1), end);
    for (unsigned i = 0; i < n; i++) phi_add(in[i], acc[i], end);
    tile_leave_alone(t, LLVMBuildBr(t->b, head));
    at(t, after);
    for (unsigned i = 0; i < n; i++) acc[i] = in[i];
}

/* ---- one tile ---- */
/* The lines that the epilogue reads are fetched while the sums are made: of a residual larger than the cache it would otherwise wait for each. (Stores wait in
 * the store buffer anyway; fetching their lines gained nothing.) */
static void touch_emit(const Tile *t, unsigned h, unsigned w, V row, V col)
{
    enum { SHORT = 16 /* steps of a reduction that hides nothing */ };
    const TileEmit *e = t->e;
    int64_t K, T;
    if (is_const(e->K, &K) && is_const(e->T, &T) && K * T < SHORT) return;
    for (unsigned n = 0; n < e->n_touch; n++)
        for (unsigned i = 0; i < h; i++) {
            unsigned bytes;
            V p = e->touch(e->arg, n, add_k(t, row, i), col, &bytes);
            for (unsigned at = 0; at < w * 16 * bytes; at += LINE) prefetch(t, gep(t, LLVMInt8TypeInContext(e->cx), p, k64(t, at)), 3);
        }
}

V tile_lane_mask(const Tile *t, V left)
{
    V lane[16];
    int64_t n;
    if (is_const(left, &n)) {
        for (unsigned l = 0; l < 16; l++) lane[l] = LLVMConstInt(t->i1, (int64_t)l < n, 0);
        return LLVMConstVector(lane, 16);
    }
    for (unsigned l = 0; l < 16; l++) lane[l] = LLVMConstInt(t->i32, l, 0);
    LLVMTypeRef v16 = LLVMVectorType(t->i32, 16);
    V few = LLVMBuildICmp(t->b, LLVMIntSLT, left, k64(t, 16), "");
    V n32 = LLVMBuildTrunc(t->b, LLVMBuildSelect(t->b, few, left, k64(t, 16), ""), t->i32, "");
    V v = LLVMBuildInsertElement(t->b, LLVMGetPoison(v16), n32, LLVMConstInt(t->i32, 0, 0), "");
    v = LLVMBuildShuffleVector(t->b, v, LLVMGetPoison(v16), LLVMConstNull(v16), "");
    return LLVMBuildICmp(t->b, LLVMIntULT, LLVMConstVector(lane, 16), v, "");
}

static void init_emit(const Tile *t, unsigned h, unsigned w, V row, V col, V mask, V *acc)
{
    const TileEmit *e = t->e;
    for (unsigned i = 0; i < h; i++)
        for (unsigned s = 0; s < w; s++)
            e->init(e->arg, add_k(t, row, i), add_k(t, col, 16 * s), s + 1 == w ? mask : NULL, acc + (i * w + s) * e->sums);
}

V tile_frame(const Tile *t, LLVMTypeRef elem, unsigned n, const char *name)
{
    Block entry = LLVMGetEntryBasicBlock(t->e->fn), now = here(t);
    V first = LLVMGetFirstInstruction(entry);
    if (first) LLVMPositionBuilderBefore(t->b, first);
    else at(t, entry);
    V p = LLVMBuildAlloca(t->b, LLVMArrayType2(elem, n), name);
    at(t, now);
    return p;
}

/* Stores the accumulators and emits the epilogue once, in a loop over them. */
static void epilogue_heavy(Tile *t, unsigned h, unsigned w, V row, V col, V mask, V *acc)
{
    const TileEmit *e = t->e;
    if (!t->scratch) t->scratch = tile_frame(t, t->vec, t->mr * t->nv * e->sums, "acc");
    V buf = t->scratch;
    for (unsigned i = 0; i < h * w * e->sums; i++) LLVMBuildStore(t->b, acc[i], gep(t, t->vec, buf, k64(t, i)));
    V left = mask ? LLVMBuildNSWSub(t->b, e->cols, col, "") : NULL;
    Block before = here(t), loop = block_new(t, "epilogue"), after = block_new(t, "epilogue.end");
    LLVMBuildBr(t->b, loop);
    at(t, loop);
    V j = phi(t, t->i64, k64(t, 0), before);
    V i = LLVMBuildUDiv(t->b, j, k64(t, w), ""), off = mul(t, LLVMBuildURem(t->b, j, k64(t, w), ""), k64(t, 16));
    V m = left ? tile_lane_mask(t, LLVMBuildNSWSub(t->b, left, off, "")) : NULL;
    V x[KM_SUMS_MAX], first = mul(t, j, k64(t, e->sums));
    for (unsigned g = 0; g < e->sums; g++) x[g] = LLVMBuildLoad2(t->b, t->vec, gep(t, t->vec, buf, add_k(t, first, g)), "");
    e->epilogue(e->arg, x, add(t, row, i), add(t, col, off), m);
    V next = add_k(t, j, 1);
    phi_add(j, next, here(t));
    tile_leave_alone(t, LLVMBuildCondBr(t->b, LLVMBuildICmp(t->b, LLVMIntSLT, next, k64(t, h * w), ""), loop, after));
    at(t, after);
}

static void epilogue_emit(Tile *t, unsigned h, unsigned w, V row, V col, V mask, V *acc)
{
    const TileEmit *e = t->e;
    if (e->heavy_epilogue && h * w > 1) {
        epilogue_heavy(t, h, w, row, col, mask, acc);
        return;
    }
    for (unsigned i = 0; i < h; i++)
        for (unsigned s = 0; s < w; s++)
            e->epilogue(e->arg, acc + (i * w + s) * e->sums, add_k(t, row, i), add_k(t, col, 16 * s), s + 1 == w ? mask : NULL);
}

static void tile_body(Tile *t, unsigned h, unsigned w, PartMask kind, V row, V col)
{
    const TileEmit *e = t->e;
    if (tile_is_amx(t)) {
        tile_amx(t, h, w, row, col, kind == PART_FULL ? NULL : LLVMBuildNSWSub(t->b, e->cols, add_k(t, col, 16 * (w - 1)), ""));
        return;
    }
    V acc[TILE_MAX], other[TILE_MAX], mask = NULL, full = NULL;
    unsigned n = h * w * e->sums;
    Block yes, no, join;
    if (kind != PART_FULL) {
        V left = LLVMBuildNSWSub(t->b, e->cols, add_k(t, col, 16 * (w - 1)), "");
        mask = tile_lane_mask(t, left);
        if (kind == PART_EITHER) full = LLVMBuildICmp(t->b, LLVMIntSGE, left, k64(t, 16), "");
    }
    if (!e->init) {
        for (unsigned i = 0; i < n; i++) acc[i] = LLVMConstNull(t->vec);
    } else if (full) {
        yes = block_new(t, "init.full"), no = block_new(t, "init.part"), join = block_new(t, "init.end");
        LLVMBuildCondBr(t->b, full, yes, no);
        at(t, yes);
        init_emit(t, h, w, row, col, NULL, acc);
        yes = here(t);
        LLVMBuildBr(t->b, join);
        at(t, no);
        init_emit(t, h, w, row, col, mask, other);
        no = here(t);
        LLVMBuildBr(t->b, join);
        at(t, join);
        for (unsigned i = 0; i < n; i++) phi_add(acc[i] = phi(t, t->vec, acc[i], yes), other[i], no);
    } else init_emit(t, h, w, row, col, mask, acc);

    touch_emit(t, h, w, row, col);
    Operands o = {.h = h, .w = w, .b_mask = e->b_packed ? NULL : mask};
    if (o.b_mask && e->b_type == e->acc && e->target->vec_bits < 512)
        o.b_mask = LLVMBuildSExt(t->b, mask, LLVMVectorType(LLVMIntTypeInContext(e->cx, dtype_info(e->acc)->bits), 16), "");
    t_loop(t, &o, row, col, acc);

    if (full && !e->heavy_epilogue) {
        yes = block_new(t, "end.full"), no = block_new(t, "end.part"), join = block_new(t, "end");
        LLVMBuildCondBr(t->b, full, yes, no);
        at(t, yes);
        epilogue_emit(t, h, w, row, col, NULL, acc);
        LLVMBuildBr(t->b, join);
        at(t, no);
        epilogue_emit(t, h, w, row, col, mask, acc);
        LLVMBuildBr(t->b, join);
        at(t, join);
    } else epilogue_emit(t, h, w, row, col, mask, acc);
}

static void inner_body(Tile *t, const Part *p, V pos)
{
    if (t->e->m_inner) tile_body(t, p->size, t->outer->size, t->outer->mask, pos, t->outer_pos);
    else tile_body(t, t->outer->size, p->size, p->mask, t->outer_pos, pos);
}

static void outer_body(Tile *t, const Part *p, V pos)
{
    t->outer = p;
    t->outer_pos = pos;
    tile_cover_emit(t, t->e->m_inner ? &t->rows : &t->cols, inner_body);
}

bool tile_emit(const TileEmit *e)
{
    assert(e->mr >= 1 && e->nv >= 1 && e->sums >= 1 && e->sums <= KM_SUMS_MAX);
    Tile t = {.e = e, .b = e->b, .k_unroll = e->b_pairs ? 2 : 1};
    unsigned most = TILE_MAX / e->sums < ROWS_MAX ? TILE_MAX / e->sums : ROWS_MAX;   /* a tile is a wish: anything may stand in a .kir */
    t.mr = e->mr < most ? e->mr : most;
    t.nv = e->nv < TILE_MAX / t.mr ? e->nv / e->sums : TILE_MAX / t.mr / e->sums;
    if (!t.nv) t.nv = 1;
    t.i1 = LLVMInt1TypeInContext(e->cx);
    t.i32 = LLVMInt32TypeInContext(e->cx);
    t.i64 = LLVMInt64TypeInContext(e->cx);
    t.ptr = LLVMPointerTypeInContext(e->cx, 0);
    t.elem = type_mem(&t, e->acc);
    t.vec = LLVMVectorType(t.elem, 16);
    t.a_mem = type_mem(&t, e->a_type);
    t.b_mem = type_mem(&t, e->b_type);
    int64_t K;
    t.zero_row = !e->a_always && is_k(e->a_k, 1) && !e->quads && is_const(e->K, &K) && K * (dtype_info(e->a_type)->bits / 8) <= ZERO_ROW_MAX;
    if (!e->a_always && !t.zero_row && t.mr > ROWS_STRIDED) t.mr = ROWS_STRIDED;
    int64_t cols;
    unsigned strip = tile_strip_regs(&t) * e->sums;
    if (!e->b_packed && e->target->vec_regs <= 16 && !(is_const(e->cols, &cols) && cols % 16 == 0))   /* the mask of the last strip's loads takes registers too */
        while (t.mr > 1 && (t.mr + 1) * t.nv * strip + 1 + strip > e->target->vec_regs) t.mr--;
    tile_cover(&t);
    tile_cover_emit(&t, e->m_inner ? &t.cols : &t.rows, outer_body);
    return tile_is_amx(&t);
}
