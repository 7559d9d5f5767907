/* pick.c: lanes that lie anywhere in a short row, a small table among them: the whole row goes into registers, which are
 * permuted by the lanes' places. Up to eight loads instead of sixteen, with AVX-512:
 *   16 elements: vpermd      32: vpermi2d      64, 128: two and four of these, of which bits 5 and 6 of a place choose */
#include "codegen/cg.h"

enum { REGISTERS = 8 };

unsigned pick_row(const Cg *g, DType t, int64_t extent)
{
    bool fits = extent >= 1 && extent <= REGISTERS * LANES && g->isa.avx512 && g->lanes == LANES;
    return fits && access_whole(t) && t != DT_BOOL && dtype_info(t)->bits == 32 ? (unsigned)extent : 0;
}

LV pick_load(CgFn *f, DType t, LV p, unsigned row, LV at)
{
    Cg *g = f->g;
    LLVMBuilderRef b = g->b;
    LT places = cg_vec_type(g, g->i32), vt = cg_vec_type(g, cg_mem_type(g, t));
    LV part[REGISTERS];
    unsigned n = (row + LANES - 1) / LANES;
    if (LLVMTypeOf(at) != places) at = LLVMBuildTrunc(b, at, places, "");
    for (unsigned k = 0; k < n; k++) {
        LV from = cg_i64(g, k * LANES), q = LLVMBuildGEP2(b, cg_mem_type(g, t), p, &from, 1, "");
        unsigned left = row - k * LANES;
        part[k] = left >= LANES ? cg_load(g, vt, q, access_align(t)) : access_masked(g, t, vt, q, lanes_mask(f, cg_i64(g, left)));
        part[k] = LLVMBuildBitCast(b, part[k], places, "");
    }
    for (unsigned k = 0; k < n; k += 2)
        part[k / 2] = k + 1 < n ? cg_intrinsic(g, "llvm.x86.avx512.vpermi2var.d.512", NULL, (LV[]){part[k], at, part[k + 1]}, 3)
                                : cg_intrinsic(g, "llvm.x86.avx512.permvar.si.512", NULL, (LV[]){part[k], at}, 2);
    n = (n + 1) / 2;
    for (unsigned bit = 2 * LANES; n > 1; bit *= 2, n = (n + 1) / 2) { /* one of each two, by that bit */
        LV high = LLVMBuildICmp(b, LLVMIntNE, LLVMBuildAnd(b, at, cg_int_like(places, bit), ""), LLVMConstNull(places), "");
        for (unsigned k = 0; k < n; k += 2) part[k / 2] = k + 1 < n ? LLVMBuildSelect(b, high, part[k + 1], part[k], "") : part[k];
    }
    return LLVMBuildBitCast(b, part[0], vt, "");
}
