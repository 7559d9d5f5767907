/* repeat.c: lanes that hold the same element several times: floor(i / times), as in the nearest element by a whole factor.
 * Vectors of a loop that begin at multiples of 16 and groups of 2, 4 or 8: the same lanes share an element in each vector,
 * a short vector is loaded and shuffled. Other groups begin at any lane. The vector's first lane is `phase` behind the
 * beginning of its group, which is divided once a vector; with groups of three:
 *   phase 1:   a a b b b c c c d d d e e e f f      memory: a b c d e f      shuffle: floor((1 + lane) / 3)
 * The elements are loaded under a mask, as many as lanes need, and permuted by what is computed from the phase. */
#include "codegen/cg.h"

enum { TIMES_MAX = 1 << 24, MAGIC_BITS = 16 };

/* n lanes of v from `first` on, those behind its end undefined. */
static LV lanes_of(Cg *g, LV v, unsigned first, unsigned n)
{
    LV pick[LANES_MAX];
    unsigned have = LLVMGetVectorSize(LLVMTypeOf(v));
    for (unsigned i = 0; i < n; i++) pick[i] = first + i < have ? cg_i32(g, first + i) : LLVMGetPoison(g->i32);
    return LLVMBuildShuffleVector(g->b, v, LLVMGetPoison(LLVMTypeOf(v)), LLVMConstVector(pick, n), "");
}

static LV joined(Cg *g, LV low, LV high)
{
    LV pick[LANES];
    for (unsigned i = 0; i < LANES; i++) pick[i] = cg_i32(g, i);
    return LLVMBuildShuffleVector(g->b, low, high, LLVMConstVector(pick, LANES), "");
}

bool repeat_value(CgFn *f, KVal iv, Cv at, Cv by, Cv *out)
{
    Cg *g = f->g;
    LLVMBuilderRef b = g->b;
    int64_t d;
    if (at.kind != CV_LIN || at.coef != 1 || !g->isa.avx2 || g->lanes != LANES) return false;
    if (by.kind != CV_UNI || !cg_const(by.v, &d) || d < 2 || d > TIMES_MAX) return false;
    bool whole = f->whole.i && iv.i == f->whole.i, power = (d & (d - 1)) == 0;
    LV zero = cg_i64(g, 0), k = cg_i64(g, d), q, r, below;
    if (whole && power && d < LANES) {
        *out = (Cv){LLVMBuildAShr(b, at.v, cg_i64(g, __builtin_ctzll((uint64_t)d)), ""), 1, CV_REP, (unsigned)d, NULL};
        return true;
    }
    q = LLVMBuildSDiv(b, at.v, k, "");
    r = LLVMBuildSub(b, at.v, LLVMBuildMul(b, q, k, ""), "");
    below = LLVMBuildICmp(b, LLVMIntSLT, r, zero, "");
    q = LLVMBuildSub(b, q, LLVMBuildZExt(b, below, g->i64, ""), "");
    r = LLVMBuildAdd(b, r, LLVMBuildSelect(b, below, k, zero, ""), "");
    *out = whole && d % LANES == 0 ? cv_uni(q) : (Cv){q, 1, CV_REP, (unsigned)d, r}; /* whole vectors in a group */
    return true;
}

/* floor((phase + i) / times) as <16 x i32>. A product is exact: phase + i < times + 16 < 32, times * 32 < 2^16. */
static LV steps(Cg *g, Cv c)
{
    LLVMBuilderRef b = g->b;
    LV step[LANES];
    for (unsigned i = 0; i < LANES; i++) step[i] = cg_i32(g, c.phase ? i : i / c.times);
    LV lane = LLVMConstVector(step, LANES);
    if (!c.phase) return lane;
    LV at = LLVMBuildAdd(b, cg_splat(g, LLVMBuildTrunc(b, c.phase, g->i32, "")), lane, "");
    LT v = LLVMTypeOf(at);
    if (c.times >= LANES) return LLVMBuildZExt(b, LLVMBuildICmp(b, LLVMIntUGE, at, cg_int_like(v, c.times), ""), v, "");
    LV product = LLVMBuildMul(b, at, cg_int_like(v, (1 << MAGIC_BITS) / c.times + 1), "");
    return LLVMBuildLShr(b, product, cg_int_like(v, MAGIC_BITS), "");
}

LV repeat_lanes(Cg *g, Cv c)
{
    LV step = LLVMBuildZExt(g->b, steps(g, c), cg_vec_type(g, g->i64), "");
    if (c.coef != 1) step = LLVMBuildMul(g->b, step, cg_int_like(LLVMTypeOf(step), c.coef), "");
    return LLVMBuildAdd(g->b, cg_splat(g, c.v), step, "");
}

bool repeat_read(const Cg *g, DType t, Cv off)
{
    if (!access_whole(t)) return false;
    if (!off.phase) return off.coef == 1 || off.coef == off.times;
    if (off.coef != 1 || t == DT_C64 || t == DT_C128) return false;
    unsigned bits = t == DT_BOOL ? 8 : dtype_info(t)->bits;
    return g->isa.avx512 ? bits <= 32 || off.times > 2 : bits == 32 && off.times > 2; /* elements of 16 lanes: up to 9, of groups of three up to 6 */
}

/* The elements of a vector, of which the first lanes are wanted that the mask says, one at least, under a mask. */
static LV load_phased(CgFn *f, DType t, LV p, Cv off, LV mask)
{
    Cg *g = f->g;
    LLVMBuilderRef b = g->b;
    unsigned bits = t == DT_BOOL ? 8 : dtype_info(t)->bits, n = g->isa.avx512 && bits < 64 ? LANES : LANES / 2;
    LT vt = LLVMVectorType(cg_mem_type(g, t), n);
    LV lanes = cg_i32(g, LANES), phase = LLVMBuildTrunc(b, off.phase, g->i32, "");
    if (mask) {
        LV on = LLVMBuildZExt(b, LLVMBuildBitCast(b, mask, g->i16, ""), g->i32, "");
        LV above = cg_intrinsic(g, "llvm.ctlz", g->i32, (LV[]){on, LLVMConstInt(g->i1, 0, false)}, 2);
        lanes = LLVMBuildSub(b, cg_i32(g, 32), above, "");
    }
    LV last = LLVMBuildAdd(b, phase, LLVMBuildSub(b, lanes, cg_i32(g, 1), ""), "");
    last = LLVMBuildUDiv(b, last, cg_i32(g, off.times), "");
    LV wanted = LLVMBuildICmp(b, LLVMIntULE, lanes_of(g, cg_iota(g, g->i32), 0, n), lanes_of(g, cg_splat(g, last), 0, n), "");
    LV raw = access_masked(g, t, vt, p, wanted), at = steps(g, off);
    LT code = bits == 64 ? g->i64 : bits == 32 ? g->i32 : bits == 16 ? g->i16 : g->i8, all = LLVMVectorType(cg_mem_type(g, t), LANES);
    raw = LLVMBuildBitCast(b, raw, LLVMVectorType(code, n), "");
    if (bits == 64) {
        LV half[2];
        for (unsigned h = 0; h < 2; h++) {
            LV pick = LLVMBuildZExt(b, lanes_of(g, at, h * n, n), LLVMVectorType(g->i64, n), "");
            half[h] = cg_intrinsic(g, "llvm.x86.avx512.permvar.di.512", NULL, (LV[]){raw, pick}, 2);
        }
        return LLVMBuildBitCast(b, joined(g, half[0], half[1]), all, "");
    }
    raw = LLVMBuildZExtOrBitCast(b, raw, LLVMVectorType(g->i32, n), "");
    if (g->isa.avx512) raw = cg_intrinsic(g, "llvm.x86.avx512.permvar.si.512", NULL, (LV[]){raw, at}, 2);
    else raw = joined(g, cg_intrinsic(g, "llvm.x86.avx2.permd", NULL, (LV[]){raw, lanes_of(g, at, 0, n)}, 2), cg_intrinsic(g, "llvm.x86.avx2.permd", NULL, (LV[]){raw, lanes_of(g, at, n, n)}, 2));
    return LLVMBuildBitCast(b, LLVMBuildTruncOrBitCast(b, raw, LLVMVectorType(code, LANES), ""), all, "");
}

LV repeat_load(CgFn *f, DType t, LV p, Cv off, LV mask)
{
    Cg *g = f->g;
    if (off.phase) return load_phased(f, t, p, off, mask);
    unsigned times = off.times, n = LANES / times;
    LT vt = LLVMVectorType(cg_mem_type(g, t), n);
    LV pick[LANES], some = NULL, raw, none = LLVMGetPoison(cg_vec_type(g, g->i1));
    for (unsigned r = 0; mask && r < times; r++) { /* an element that some lane wants */
        for (unsigned i = 0; i < n; i++) pick[i] = cg_i32(g, i * times + r);
        LV lanes = LLVMBuildShuffleVector(g->b, mask, none, LLVMConstVector(pick, n), "");
        some = some ? LLVMBuildOr(g->b, some, lanes, "") : lanes;
    }
    raw = some ? access_masked(g, t, vt, p, some) : cg_load(g, vt, p, access_align(t));
    for (unsigned i = 0; i < LANES; i++) pick[i] = cg_i32(g, i / times);
    return LLVMBuildShuffleVector(g->b, raw, LLVMGetPoison(vt), LLVMConstVector(pick, LANES), "");
}

LV repeat_one_of(Cg *g, DType t, LV p, unsigned times, int64_t phase)
{
    LT vt = cg_vec_type(g, cg_mem_type(g, t));
    LV pick[LANES], raw = cg_load(g, vt, p, access_align(t));
    for (unsigned i = 0; i < LANES; i++) pick[i] = cg_i32(g, i / times * times + phase);
    return LLVMBuildShuffleVector(g->b, raw, LLVMGetPoison(vt), LLVMConstVector(pick, LANES), "");
}
