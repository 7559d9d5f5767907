/* tile_step: one step of k of a tile as instructions: what the element types, their layout and the target decide.
 *   elements    acc += splat a[k] * b[k]; narrow types through the caller's loads
 *   pairs       bf16 two by two: halves of each lane, or both at once where the target multiplies them
 *   quads       bytes four by four, in the widest of the forms that the target has */
#include "codegen/tile_internal.h"

#include "base/bug.h"

#include <string.h>

static V load_a(const Tile *t, V ptr)
{
    const TileEmit *e = t->e;
    if (e->a_type != e->acc) return e->load_scalar(e->arg, e->a_type, ptr);
    V v = LLVMBuildLoad2(t->b, t->elem, ptr, "");
    LLVMSetAlignment(v, dtype_info(e->a_type)->bits / 8);
    return v;
}

V tile_intrinsic(const Tile *t, const char *name, const LLVMTypeRef *overload, unsigned n_over, V *arg, unsigned n)
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
        return tile_intrinsic(t, "llvm.masked.load", over, 2, arg, 4);
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
    return tile_intrinsic(t, "llvm.fma", &t->vec, 1, arg, 3);
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

void tile_step(const Tile *t, const Operands *o, V *a_ptr, V b_off, unsigned u, unsigned of, V *acc)
{
    if (t->e->quads) k_quads(t, o, a_ptr, b_off, acc);
    else if (of == 1 || !is_dots(t)) k_step(t, o, a_ptr, b_off, t->e->b_pairs && u % 2, acc);
    else if (u % 2 == 0) k_dots(t, o, a_ptr, b_off, acc);
}
