/* tile: the contraction node as LLVM IR.
 *
 *   for each tile of h rows x w vectors that covers rows x cols:           (cover_emit: loops over a few tile sizes)
 *       acc[h][w][sums] = init                                             (tile_body)
 *       for t < T: a[i] = row pointers, b = strip pointer
 *           for k < K: acc[i][s] = fma(splat a[i][k], b[s][k], acc[i][s])  (k_loop: one block that branches to itself; s: strips, w * sums)
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

/* ---- which tiles cover an extent ---- */
static unsigned regs_per_strip(const Tile *t)
{
    unsigned r = 16u * dtype_info(t->e->acc)->bits / (t->e->target->vec_bits ? t->e->target->vec_bits : 128);
    return r ? r : 1;
}

/* Issue slots of one k step of an h x w tile: two FMA and two load ports, FMA latency 4 (so at least 8 accumulators in flight). */
static int64_t tile_cost(const Tile *t, unsigned h, unsigned w)
{
    unsigned per_strip = regs_per_strip(t) * t->e->sums;
    int64_t fma = (int64_t)h * w * per_strip, loads = h + w * per_strip;
    int64_t c = fma > loads ? fma : loads;
    return c > 8 ? c : 8;
}

/* Sizes for a known extent of n units by tiles of at most `max`: whole tiles and a rest, or near-equal tiles, whichever takes fewer slots.
 * size[0]*count[0] + size[1]*count[1] = n. */
static void split_known(const Tile *t, int64_t n, unsigned max, bool rows, unsigned other, unsigned size[2], int64_t count[2])
{
    int64_t tiles = (n + max - 1) / max, rest = n % max;
    unsigned even = (unsigned)((n + tiles - 1) / tiles);
    int64_t n_even = n - tiles * (even - 1);
#define COST(s) ((s) == 0 ? 0 : rows ? tile_cost(t, (unsigned)(s), other) : tile_cost(t, other, (unsigned)(s)))
    int64_t with_rest = n / max * COST(max) + COST(rest), near_equal = n_even * COST(even) + (tiles - n_even) * COST(even - 1);
#undef COST
    if (near_equal <= with_rest) {
        size[0] = even; count[0] = n_even;
        size[1] = even - 1; count[1] = tiles - n_even;
    } else {
        size[0] = max; count[0] = n / max;
        size[1] = (unsigned)rest; count[1] = rest != 0;
    }
}

static void cover_add(Cover *c, unsigned size, int64_t lo, int64_t count, PartMask mask)
{
    if (!count) return;
    assert(c->n < PARTS_MAX);
    c->part[c->n++] = (Part){.size = size, .lo = lo, .count = count, .mask = mask};
}

static void cover_rows(Tile *t)
{
    const TileEmit *e = t->e;
    Cover *c = &t->rows;
    int64_t n;
    *c = (Cover){.unit = 1, .end = e->rows};
    if (!is_const(e->rows, &n)) {
        for (unsigned h = t->mr;; h = h > 6 ? (h + 1) / 2 : h - 1) {   /* a rest of up to mr-1 rows takes a tile or two, code stays small */
            cover_add(c, h, 0, -1, PART_FULL);
            if (h == 1) return;
        }
    }
    if (n <= 0) return;
    unsigned size[2]; int64_t count[2];
    split_known(t, n, t->mr, true, t->nv, size, count);
    cover_add(c, size[0], 0, count[0], PART_FULL);
    cover_add(c, size[1], size[0] * count[0], count[1], PART_FULL);
}

static void cover_cols(Tile *t)
{
    const TileEmit *e = t->e;
    Cover *c = &t->cols;
    int64_t n, rows;
    *c = (Cover){.unit = 16, .end = e->cols};
    if (!is_const(e->cols, &n)) {
        if (t->nv > 1 || !e->b_packed) cover_add(c, t->nv, 0, -1, PART_FULL);
        cover_add(c, 1, 0, -1, e->b_packed ? PART_EITHER : PART_MASKED);
        return;
    }
    if (n <= 0) return;
    unsigned size[2]; int64_t count[2];
    unsigned h = is_const(e->rows, &rows) && rows < t->mr ? (unsigned)(rows > 0 ? rows : 1) : t->mr;
    split_known(t, (n + 15) / 16, t->nv, false, h, size, count);
    bool ragged = n % 16 != 0;
    int64_t lo = 0;
    for (unsigned p = 0; p < 2; p++) {
        if (!count[p]) continue;
        bool last = p == 1 || !count[1];
        if (!(ragged && last)) cover_add(c, size[p], lo, count[p], PART_FULL);
        else if (count[p] == 1) cover_add(c, size[p], lo, 1, PART_MASKED);
        else if (e->b_packed) cover_add(c, size[p], lo, count[p], PART_EITHER);
        else {   /* in place, the loads of the last tile must not run past the row: a body of its own */
            cover_add(c, size[p], lo, count[p] - 1, PART_FULL);
            cover_add(c, size[p], lo + (count[p] - 1) * size[p] * 16, 1, PART_MASKED);
        }
        lo += count[p] * size[p] * 16;
    }
}

/* Emits the loops of a cover; body is called with the builder inside, once per part. */
static void cover_emit(Tile *t, const Cover *c, void (*body)(Tile *, const Part *, V pos))
{
    V pos = k64(t, 0);
    for (unsigned p = 0; p < c->n; p++) {
        const Part *part = &c->part[p];
        int64_t step = (int64_t)part->size * c->unit;
        if (part->count == 1) {
            body(t, part, k64(t, part->lo));
            continue;
        }
        V first = part->count < 0 ? pos : k64(t, part->lo);
        Block before = here(t), head = block_new(t, "tiles"), inside = block_new(t, "tile"), after = block_new(t, "tiles.end");
        LLVMBuildBr(t->b, head);
        at(t, head);
        V iv = phi(t, t->i64, first, before);
        V more;
        if (part->count >= 0) more = LLVMBuildICmp(t->b, LLVMIntSLT, iv, k64(t, part->lo + part->count * step), "");
        else more = LLVMBuildICmp(t->b, LLVMIntSLE, add_k(t, iv, part->mask == PART_FULL ? step : 1), c->end, "");
        LLVMBuildCondBr(t->b, more, inside, after);
        at(t, inside);
        body(t, part, iv);
        phi_add(iv, add_k(t, iv, step), here(t));
        tile_leave_alone(t, LLVMBuildBr(t->b, head));
        at(t, after);
        pos = iv;
    }
}

/* ---- the K loop ---- */
typedef struct Ahead { V ptr; /* at k = 0 */ int64_t step; V steps; /* bytes per step of k: `steps` if not NULL */ int64_t row; /* if not 0: a line in turn of rows at this distance */ } Ahead;
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
    Ahead ahead[2];
    unsigned n_ahead;
} Operands;

static V load_a(const Tile *t, V ptr)
{
    const TileEmit *e = t->e;
    if (e->a_type != e->acc) return e->load_scalar(e->arg, e->a_type, ptr);
    V v = LLVMBuildLoad2(t->b, t->elem, ptr, "");
    LLVMSetAlignment(v, dtype_info(e->a_type)->bits / 8);
    return v;
}

static V call_intrinsic(const Tile *t, const char *name, const LLVMTypeRef *overload, unsigned n_over, V *arg, unsigned n)
{
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    assert(id);
    LLVMTypeRef over[2] = {overload[0], n_over > 1 ? overload[1] : NULL};
    V f = LLVMGetIntrinsicDeclaration(t->e->mod, id, over, n_over);
    return LLVMBuildCall2(t->b, LLVMIntrinsicGetType(t->e->cx, id, over, n_over), f, arg, n, "");
}

static V load_b(const Tile *t, V ptr, V mask)
{
    const TileEmit *e = t->e;
    if (e->b_type != e->acc) return e->load_vector(e->arg, e->b_type, ptr, mask);
    unsigned align = dtype_info(e->b_type)->bits / 8;
    if (mask) {
        if (LLVMGetIntTypeWidth(LLVMGetElementType(LLVMTypeOf(mask))) > 1) mask = LLVMBuildICmp(t->b, LLVMIntSLT, mask, LLVMConstNull(LLVMTypeOf(mask)), "");
        LLVMTypeRef over[2] = {t->vec, t->ptr};
        V arg[4] = {ptr, LLVMConstInt(t->i32, align, 0), mask, LLVMConstNull(t->vec)};
        return call_intrinsic(t, "llvm.masked.load", over, 2, arg, 4);
    }
    V v = LLVMBuildLoad2(t->b, t->vec, ptr, "");
    LLVMSetAlignment(v, align);
    return v;
}

static V splat(const Tile *t, V x)
{
    V v = LLVMBuildInsertElement(t->b, LLVMGetPoison(t->vec), x, LLVMConstInt(t->i32, 0, 0), "");
    return LLVMBuildShuffleVector(t->b, v, LLVMGetPoison(t->vec), LLVMConstNull(LLVMVectorType(t->i32, 16)), "");
}

static V mac(const Tile *t, V a, V b, V acc)
{
    const TileEmit *e = t->e;
    if (!dtype_is_float(e->acc)) return LLVMBuildAdd(t->b, LLVMBuildMul(t->b, a, b, ""), acc, "");
    if (!e->target->fma) return LLVMBuildFAdd(t->b, LLVMBuildFMul(t->b, a, b, ""), acc, "");
    V arg[3] = {a, b, acc};
    return call_intrinsic(t, "llvm.fma", &t->vec, 1, arg, 3);
}

/* The even or odd ones of sixteen pairs of bf16, as f32: the upper half of a register lane. */
static V load_half(const Tile *t, V ptr, unsigned odd)
{
    LLVMTypeRef pairs = LLVMVectorType(t->i32, 16);
    V v = LLVMBuildLoad2(t->b, pairs, ptr, ""), k[16];
    LLVMSetAlignment(v, 4);
    for (unsigned l = 0; l < 16; l++) k[l] = LLVMConstInt(t->i32, odd ? 0xffff0000 : 16, 0);
    v = odd ? LLVMBuildAnd(t->b, v, LLVMConstVector(k, 16), "") : LLVMBuildShl(t->b, v, LLVMConstVector(k, 16), "");
    return LLVMBuildBitCast(t->b, v, t->vec, "");
}

/* The same address, opaque. */
static V hidden(const Tile *t, V ptr)
{
    LLVMTypeRef p = t->ptr, type = LLVMFunctionType(p, &p, 1, 0);
    V same = LLVMGetInlineAsm(type, "", 0, "=r,0", 4, 0, 0, LLVMInlineAsmDialectATT, 0);
    return LLVMBuildCall2(t->b, type, same, &ptr, 1, "");
}

/* One step of k: a_off[i] and b_off are the element offsets from the operand pointers; odd: the second one of a pair. */
static void k_step(const Tile *t, const Operands *o, V *a_ptr, V b_off, unsigned odd, V *acc)
{
    V b[TILE_MAX];
    unsigned sums = t->e->sums, n = o->w * sums;
    for (unsigned s = 0; s < n; s++) {
        V off = b_off;
        if (s / sums) off = add(t, off, mul(t, t->e->b_strip, k64(t, s / sums)));
        if (s % sums) off = add(t, off, mul(t, t->e->b_sum, k64(t, s % sums)));
        if (t->e->b_pairs) b[s] = load_half(t, gep(t, t->b_mem, odd ? o->b_odd : o->b, off), odd);
        else b[s] = load_b(t, gep(t, t->b_mem, o->b, off), s / sums + 1 == o->w ? o->b_mask : NULL);
    }
    for (unsigned i = 0; i < o->h; i++) {
        V a = splat(t, load_a(t, a_ptr[i]));
        for (unsigned s = 0; s < n; s++) acc[i * n + s] = mac(t, a, b[s], acc[i * n + s]);
    }
}

/* Are operands bf16 pairs on both sides, and does the target multiply those? */
static bool is_dots(const Tile *t)
{
    const TileEmit *e = t->e;
    return e->b_pairs && e->a_type == DT_BF16 && e->a_always && is_k(e->a_k, 1) && e->target->bf16 == KDOTS_PAIRS;
}

/* Two steps of k: acc += pair * pair, the second of them first (as the instruction has it). */
static void k_dots(const Tile *t, const Operands *o, V *a_ptr, V b_off, V *acc)
{
    static const char name[] = "llvm.x86.avx512bf16.dpbf16ps.512";
    LLVMTypeRef pairs = LLVMVectorType(t->i32, 16), halves = LLVMVectorType(LLVMBFloatTypeInContext(t->e->cx), 32);
    unsigned id = LLVMLookupIntrinsicID(name, sizeof name - 1);
    V f = LLVMGetIntrinsicDeclaration(t->e->mod, id, NULL, 0), b[TILE_MAX];
    assert(id && t->e->sums == 1);
    for (unsigned s = 0; s < o->w; s++) {
        V off = s ? add(t, b_off, mul(t, t->e->b_strip, k64(t, s))) : b_off;
        b[s] = LLVMBuildLoad2(t->b, pairs, gep(t, t->b_mem, o->b, off), "");
        LLVMSetAlignment(b[s], 4);
        b[s] = LLVMBuildBitCast(t->b, b[s], halves, "");
    }
    for (unsigned i = 0; i < o->h; i++) {
        V a = LLVMBuildLoad2(t->b, t->i32, a_ptr[i], "");
        LLVMSetAlignment(a, 2);
        a = LLVMBuildInsertElement(t->b, LLVMGetPoison(pairs), a, LLVMConstInt(t->i32, 0, 0), "");
        a = LLVMBuildBitCast(t->b, LLVMBuildShuffleVector(t->b, a, LLVMGetPoison(pairs), LLVMConstNull(pairs), ""), halves, "");
        for (unsigned s = 0; s < o->w; s++) {
            V arg[3] = {acc[i * o->w + s], a, b[s]};
            acc[i * o->w + s] = LLVMBuildCall2(t->b, LLVMIntrinsicGetType(t->e->cx, id, NULL, 0), f, arg, 3, "");
        }
    }
}

/* ---- quads: groups of four bytes (KMacc) ---- */
static V load_quads(const Tile *t, LLVMTypeRef type, V ptr, unsigned align)
{
    V v = LLVMBuildLoad2(t->b, type, ptr, "");
    LLVMSetAlignment(v, align);
    return v;
}

static V same(const Tile *t, int64_t x)
{
    V k[16];
    for (unsigned l = 0; l < 16; l++) k[l] = LLVMConstInt(t->i32, (uint64_t)x, 1);
    return LLVMConstVector(k, 16);
}

/* f(acc, x, y), or f(x, y) of pairs of 16 bits, on parts of the sixteen lanes as the target's registers have them. */
static V in_parts(const Tile *t, const char *name, unsigned lanes, V acc, V x, V y)
{
    V part[4];
    LLVMTypeRef halves = LLVMVectorType(LLVMInt16TypeInContext(t->e->cx), 2 * lanes);
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name)), n = 16 / lanes;
    assert(id);
    V f = LLVMGetIntrinsicDeclaration(t->e->mod, id, NULL, 0), in[3] = {acc, x, y};
    for (unsigned p = 0; p < n; p++) {
        V lane[16], arg[3];
        unsigned args = 0;
        for (unsigned l = 0; l < lanes; l++) lane[l] = LLVMConstInt(t->i32, p * lanes + l, 0);
        for (unsigned i = acc ? 0 : 1; i < 3; i++) {
            V v = n == 1 ? in[i] : LLVMBuildShuffleVector(t->b, in[i], LLVMGetPoison(t->vec), LLVMConstVector(lane, lanes), "");
            arg[args++] = acc ? v : LLVMBuildBitCast(t->b, v, halves, "");
        }
        part[p] = LLVMBuildCall2(t->b, LLVMIntrinsicGetType(t->e->cx, id, NULL, 0), f, arg, args, "");
    }
    for (unsigned width = lanes; n > 1; width *= 2, n /= 2)
        for (unsigned p = 0; p < n / 2; p++) {
            V lane[16];
            for (unsigned l = 0; l < 2 * width; l++) lane[l] = LLVMConstInt(t->i32, l, 0);
            part[p] = LLVMBuildShuffleVector(t->b, part[2 * p], part[2 * p + 1], LLVMConstVector(lane, 2 * width), "");
        }
    return part[0];
}

/* What one of `turns` passes over the bytes of a group multiplies: all four; those at even or odd places, widened to 16 bits; one of them, to 32. Of A zeros, of B its
 * sign stand above. */
static V quad_part(const Tile *t, V v, unsigned turn, unsigned turns, bool sign)
{
    if (turns == 1) return v;
    if (turns == 4) {
        if (!sign) return LLVMBuildAnd(t->b, LLVMBuildLShr(t->b, v, LLVMConstInt(LLVMTypeOf(v), 8 * turn, 0), ""), LLVMConstInt(LLVMTypeOf(v), 255, 0), "");
        return LLVMBuildAShr(t->b, LLVMBuildShl(t->b, v, same(t, 24 - 8 * (int64_t)turn), ""), same(t, 24), "");
    }
    LLVMTypeRef halves = LLVMVectorType(LLVMInt16TypeInContext(t->e->cx), 32);
    V eight[32];
    for (unsigned l = 0; l < 32; l++) eight[l] = LLVMConstInt(LLVMInt16TypeInContext(t->e->cx), 8, 0);
    V by = LLVMConstVector(eight, 32), h;
    if (!sign && !turn) return LLVMBuildAnd(t->b, v, same(t, 0x00ff00ff), "");
    h = LLVMBuildBitCast(t->b, v, halves, "");
    if (!sign) h = LLVMBuildLShr(t->b, h, by, "");
    else h = LLVMBuildAShr(t->b, turn ? h : LLVMBuildShl(t->b, h, by, ""), by, "");
    return LLVMBuildBitCast(t->b, h, t->vec, "");
}

/* One group of k: acc += four products each. */
static void k_quads(const Tile *t, const Operands *o, V *a_ptr, V b_off, V *acc)
{
    const TileEmit *e = t->e;
    unsigned turns = e->target->bytes == KBYTES_FOURS ? 1 : e->target->bytes == KBYTES_TWOS ? 2 : 4, lanes = e->target->vec_bits >= 512 ? 16 : e->target->vec_bits == 256 ? 8 : 4;
    const char *name = turns == 1 ? (lanes == 16 ? "llvm.x86.avx512.vpdpbusd.512" : "llvm.x86.avx512.vpdpbusd.256")
                                  : lanes == 16 ? "llvm.x86.avx512.pmaddw.d.512" : lanes == 8 ? "llvm.x86.avx2.pmadd.wd" : "llvm.x86.sse2.pmadd.wd";
    assert(e->sums == 1 && (turns > 1 || lanes > 4) && (e->a_type == DT_U8 || e->a_always));
    unsigned at_once = turns == 2 ? 2 : 1;   /* both halves of B stay in registers, so that those of A need not; of four parts one at a time */
    for (unsigned first = 0; first < turns; first += at_once) {
        V b[2][TILE_MAX];
        for (unsigned s = 0; s < o->w; s++) {
            V off = s ? add(t, b_off, mul(t, e->b_strip, k64(t, s))) : b_off;
            V v = load_quads(t, t->vec, gep(t, t->b_mem, first ? o->b_odd : o->b, off), dtype_info(e->b_type)->bits / 8);
            for (unsigned h = 0; h < at_once; h++) b[h][s] = quad_part(t, v, first + h, turns, true);
        }
        for (unsigned i = 0; i < o->h; i++) {
            V a = load_quads(t, t->i32, a_ptr[i], 1);
            if (e->a_type == DT_I8 && turns == 4) a = LLVMBuildXor(t->b, a, LLVMConstInt(t->i32, 0x80808080, 0), "");
            if (turns < 4) a = splat(t, a);
            if (e->a_type == DT_I8 && turns < 4) a = LLVMBuildXor(t->b, a, same(t, 0x80808080), "");
            for (unsigned h = 0; h < at_once; h++) {
                V part = quad_part(t, a, first + h, turns, false);
                if (turns == 4) part = splat(t, part);
                for (unsigned s = 0; s < o->w; s++) {
                    V *to = &acc[i * o->w + s];
                    if (turns == 1) *to = in_parts(t, name, lanes, *to, part, b[h][s]);
                    else *to = LLVMBuildAdd(t->b, *to, turns == 2 ? in_parts(t, name, lanes, NULL, part, b[h][s]) : LLVMBuildMul(t->b, part, b[h][s], ""), "");
                }
            }
        }
    }
}

/* level 3: L1, 2: L2 */
static void prefetch(const Tile *t, V ptr, unsigned level)
{
    LLVMTypeRef over[1] = {t->ptr};
    V arg[4] = {ptr, LLVMConstInt(t->i32, 0, 0), LLVMConstInt(t->i32, level, 0), LLVMConstInt(t->i32, 1, 0)};   /* read, data */
    call_intrinsic(t, "llvm.prefetch", over, 1, arg, 4);
}

/* Packed f16 that few rows meet: with twice the instructions of f32 a byte, fewer loads are in flight (14 GB/s; fetched a kilobyte ahead 16.4, f32 17). */
static bool is_half_stream(const Tile *t, const Operands *o) { return t->e->b_packed && t->e->b_type == DT_F16 && t->e->acc == DT_F32 && o->h <= 4 && !o->own_stride; }

/* for k = lo; k < hi; k += step (hi - lo a multiple of step, k_step emitted `step` times); acc is updated in place. */
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
    if (known) LLVMBuildBr(t->b, loop);
    else LLVMBuildCondBr(t->b, LLVMBuildICmp(t->b, LLVMIntSLT, lo, hi, ""), loop, after);

    at(t, loop);
    V k = phi(t, t->i64, lo, before), b_off = phi(t, t->i64, b_first, before), in[TILE_MAX], out[TILE_MAX], ptr[ROWS_MAX];
    V a_off = o->own_stride ? NULL : phi(t, t->i64, a_first, before);
    for (unsigned i = 0; i < o->h && o->own_stride; i++) ptr[i] = phi(t, t->ptr, a_start[i], before);
    for (unsigned i = 0; i < n; i++) out[i] = in[i] = phi(t, t->vec, acc[i], before);
    V a_next = a_off, b_next = b_off, p[ROWS_MAX];
    for (unsigned i = 0; i < o->h; i++) p[i] = o->own_stride ? ptr[i] : NULL;
    for (unsigned i = 0; i < o->n_ahead; i++) {
        const Ahead *x = &o->ahead[i];
        V off = mul(t, k, x->steps ? x->steps : k64(t, x->step));
        if (x->row) {   /* a line is `line` steps long: so many rows can take turns */
            int64_t line = LINE / x->step;
            V turn = LLVMBuildAnd(t->b, k, k64(t, line - 1), "");
            off = add(t, mul(t, LLVMBuildNSWSub(t->b, k, turn, ""), k64(t, x->step)), mul(t, turn, k64(t, x->row)));
        }
        int64_t bytes = x->steps ? LINE : x->step;
        for (int64_t line = 0; line < bytes; line += LINE)   /* few rows: a step is longer than a line */
            prefetch(t, gep(t, LLVMInt8TypeInContext(e->cx), x->ptr, add_k(t, off, line)), 2);
    }
    for (unsigned s = 0; step > 1 && s < o->w && is_half_stream(t, o); s++)   /* two steps are a line */
        prefetch(t, gep(t, t->b_mem, o->b, add_k(t, add(t, b_off, mul(t, e->b_strip, k64(t, s))), 512)), 3);
    for (unsigned u = 0; u < step; u++) {
        for (unsigned i = 0; i < o->h && !o->own_stride; i++) p[i] = gep(t, t->a_mem, o->a[i], a_next);
        if (e->quads) k_quads(t, o, p, b_next, out);
        else if (step == 1 || !is_dots(t)) k_step(t, o, p, b_next, e->b_pairs && u % 2, out);
        else if (u % 2 == 0) k_dots(t, o, p, b_next, out);
        if (!e->b_pairs || step == 1) b_next = add(t, b_next, e->b_k);
        else if (u % 2) b_next = add(t, b_next, mul(t, e->b_k, k64(t, 2)));
        if (!o->own_stride) a_next = add(t, a_next, e->a_k);
        else for (unsigned i = 0; i < o->h; i++) p[i] = gep(t, t->a_mem, p[i], o->a_k[i]);
    }
    V next = add_k(t, k, step);
    Block end = here(t);   /* a narrow type's load callback may have made blocks */
    phi_add(k, next, end);
    phi_add(b_off, b_next, end);
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
    bool known = is_const(e->rows, &rows);
    if (!e->m_inner || (known ? rows <= o->h : o->h < t->mr)) return;   /* few rows are a stream, which hardware sees; a rest of rows has little time */
    bool few_cols = is_const(e->cols, &cols) && cols <= 16 * AHEAD_COLS * (int64_t)t->nv;
    if (e->b_packed && (e->b_next || !few_cols || cols > 16 * (int64_t)t->nv)) {
        Ahead *b = &o->ahead[o->n_ahead++];
        int64_t share_bytes = o->w * strip_bytes * o->h;
        V whole = e->rows;
        if (known) b->step = share_bytes / rows + 1;
        else {   /* whole tiles share it; one alone is a stream again */
            whole = LLVMBuildNSWSub(t->b, whole, LLVMBuildURem(t->b, whole, k64(t, o->h), ""), "");
            V some = add_k(t, LLVMBuildUDiv(t->b, k64(t, share_bytes), whole, ""), 1);
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
    cover_emit(t, t->e->m_inner ? &t->rows : &t->cols, inner_body);
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
    unsigned strip = regs_per_strip(&t) * e->sums;
    if (!e->b_packed && e->target->vec_regs <= 16 && !(is_const(e->cols, &cols) && cols % 16 == 0))   /* the mask of the last strip's loads takes registers too */
        while (t.mr > 1 && (t.mr + 1) * t.nv * strip + 1 + strip > e->target->vec_regs) t.mr--;
    cover_rows(&t);
    cover_cols(&t);
    cover_emit(&t, e->m_inner ? &t.cols : &t.rows, outer_body);
    return tile_is_amx(&t);
}
