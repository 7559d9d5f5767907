/* lanes.c: how many lanes of a VEC loop go at once, the mask of those that are left at its end, and what lanes that were
 * combined apart give together.
 *   16          as in the Kernel IR
 *   fewer       a register's worth of f32 or f64, where much arithmetic on 16 would not fit into registers
 *   32, 64      a register's worth, where all that differs between lanes is bytes or 16 bits wide, as in maps of bool: 16
 *               of them would be stores of 16 bytes, as many as there are of 64 */
#include "codegen/cg.h"

enum { PARTS_SIZE = 48 /* instructions on floats */, PARTS_MIN = 4 /* lanes */, WIDE_SIZE = 24 /* instructions */ };

/* Bits of the widest value that differs between lanes, indices aside; 0: something is wide, or not good for lanes as
 * they come. */
static unsigned narrow_bits(CgFn *f, KBlock body, KVal iv)
{
    const Kernel *k = f->k;
    Dims *dims = f->g->m->dims;
    unsigned bits = 0, n = 0;
    for (KInst i = kblock(k, body)->first; i.i; i = kinst(k, i)->next) {
        const KInstRec *r = kinst(k, i);
        int64_t stride;
        unsigned own;
        if (r->op == KOP_YIELD) continue;
        if (++n > WIDE_SIZE) return 0;
        if (r->op == KOP_LOAD || r->op == KOP_STORE) {
            const KBufRec *p = &k->param.p[r->param];
            bool whole = kx_access_stride(k, dims, i, iv, &stride) && (stride == 1 || (stride == 0 && r->op == KOP_LOAD));
            if (!whole || !access_whole(p->elem) || dtype_is_float(dtype_compute(p->elem)) || r->n_arg != p->rank + (r->op == KOP_STORE ? 1u : 0u)) return 0;
            if (stride == 0) continue;
            own = p->elem == DT_BOOL ? 8 : dtype_info(p->elem)->bits;
        } else {
            uint32_t flags = kop_info(r->op)->flags;
            bool divides = r->op == KOP_DIV || r->op == KOP_MOD || r->op == KOP_REM || r->op == KOP_FLOORDIV || r->op == KOP_POW;
            if (!(flags & KF_PURE) || flags & KF_MATH) return 0;
            if (!kx_depends(k, (KVal){r->res}, iv) || (r->type == DT_I64 && kx_affine(k, dims, (KVal){r->res}, iv, &stride))) continue;
            if (divides || dtype_is_float(r->type)) return 0;
            for (uint32_t a = 0; a < r->n_arg; a++) /* an index that is computed with */
                if (kval(k, karg(k, r, a))->type == DT_I64) return 0;
            own = r->type == DT_BOOL ? 8 : dtype_info(r->type)->bits;
        }
        if (own > 16) return 0;
        if (own > bits) bits = own;
    }
    return bits;
}

/* Otherwise: where a vector of 16 takes several registers, many values at once would not fit into them, and nothing is
 * gained by their number; what has a function of its own for 16 lanes stays there. */
unsigned lanes_at_once(CgFn *f, KBlock body, KVal iv, int64_t trips)
{
    unsigned count = 0, bits = f->g->opt->opt_level ? narrow_bits(f, body, iv) : 0, lanes;
    if (bits) {
        for (lanes = (unsigned)f->g->m->target.vec_bits / bits; lanes > LANES && trips >= 0 && trips < lanes;) lanes /= 2;
        return lanes < LANES ? LANES : lanes > LANES_MAX ? LANES_MAX : lanes;
    }
    for (KInst i = kblock(f->k, body)->first; i.i; i = kinst(f->k, i)->next) {
        const KInstRec *r = kinst(f->k, i);
        uint32_t flags = kop_info(r->op)->flags;
        if (r->op == KOP_LOAD || r->op == KOP_STORE) {
            if (!access_whole(f->k->param.p[r->param].elem)) return LANES;
        } else if (r->op != KOP_YIELD && (!(flags & KF_PURE) || flags & (KF_MATH | KF_REGION))) return LANES;
        if (!r->n_res || !(flags & KF_PURE) || !dtype_is_float(r->type)) continue;
        count++;
        if (dtype_info(r->type)->bits > bits) bits = dtype_info(r->type)->bits;
    }
    if (count < PARTS_SIZE) return LANES;
    lanes = (unsigned)f->g->m->target.vec_bits / bits;
    return lanes < PARTS_MIN ? PARTS_MIN : lanes > LANES ? LANES : lanes;
}


LV lanes_mask(CgFn *f, LV rest)
{
    Cg *g = f->g;
    int64_t k;
    if (cg_const(rest, &k)) {
        LV m[LANES_MAX];
        for (unsigned i = 0; i < g->lanes; i++) m[i] = LLVMConstInt(g->i1, i < (uint64_t)k, false);
        return LLVMConstVector(m, g->lanes);
    }
    if (g->lanes > LANES && g->isa.avx512) { /* all ones but for those, as the bits of an integer: one instruction, and no lanes of 32 bits */
        LT bits = LLVMIntTypeInContext(g->cx, g->lanes);
        LV ones = LLVMBuildShl(g->b, cg_i64(g, -1), rest, "");
        return LLVMBuildBitCast(g->b, LLVMBuildTrunc(g->b, LLVMBuildNot(g->b, ones, ""), bits, ""), LLVMVectorType(g->i1, g->lanes), "");
    }
    LV n = cg_splat(g, LLVMBuildTrunc(g->b, rest, g->i32, ""));
    return LLVMBuildICmp(g->b, LLVMIntULT, cg_iota(g, g->i32), n, "");
}

/* Lanes l and l+8, then +4, +2, +1, of up to 16 vectors at once: a step combines two vectors into one that holds twice
 * as many sums of half as many lanes. The same operations on the same values as one by one. v[] becomes the scalars. */
void lanes_combine(CgFn *f, KOp op, DType t, LV *v, unsigned n)
{
    Cg *g = f->g;
    LV x[LANES], none = LLVMGetPoison(g->i32);
    unsigned count = n, held = 1; /* vectors; sums in each of them, of `span` lanes */
    assert(n >= 1 && n <= LANES);
    for (unsigned c = 0; c < n; c++) x[c] = v[c];
    for (unsigned span = LANES; span > 1; span /= 2) {
        unsigned of_pair = count > 1 ? 2 : 1;
        for (unsigned p = 0; p < count; p += 2) {
            LV low[LANES], high[LANES], other = p + 1 < count ? x[p + 1] : x[p];
            unsigned lane = 0;
            for (unsigned from = 0; from < of_pair * held * span; from += span)
                for (unsigned i = from; i < from + span / 2; i++, lane++) {
                    bool there = i < held * span || p + 1 < count;
                    low[lane] = there ? cg_i32(g, i) : none;
                    high[lane] = there ? cg_i32(g, i + span / 2) : none;
                }
            LV a = LLVMBuildShuffleVector(g->b, x[p], other, LLVMConstVector(low, lane), ""),
               b = LLVMBuildShuffleVector(g->b, x[p], other, LLVMConstVector(high, lane), "");
            x[p / 2] = scalar_combine(f, op, t, a, b);
        }
        held *= of_pair;
        count = (count + 1) / 2;
    }
    for (unsigned c = 0; c < n; c++) v[c] = LLVMBuildExtractElement(g->b, x[0], cg_i32(g, c), "");
}
