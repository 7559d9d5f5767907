/* share.c: which part of a parallel loop a thread runs.
 *   a short launch      [n*tid/nt, n*(tid+1)/nt), once
 *   a long one          whatever rt_part gives it next (rt_share.c), until nothing is left
 * How long a launch takes is estimated (ir/kernel/cycles.h): when compiling where sizes are fixed, else by a formula
 * that the launch evaluates. */
#include "codegen/cg.h"
#include "ir/kernel/cycles.h"

/* A launch that takes one thread fewer cycles is split once and for all: asking for pieces takes some hundred. */
#define DEALT_CYCLES 100000
/* Pieces are worth asking for where each thread has some. */
#define DEALT_ITEMS 4

/* NULL: never. i1, the same on every thread: this launch is dealt out in pieces. */
static LV dealt_out(CgFn *f, LV total)
{
    Cg *g = f->g;
    LLVMBuilderRef b = g->b;
    int64_t cycles;
    Dim work = g->m->threads ? kernel_cycles(g->m, f->k) : DIM_NONE;
    if (!work.i || (dim_is_const(g->m->dims, work, &cycles) && cycles < DEALT_CYCLES)) return NULL;
    LV nt = LLVMBuildSExt(b, f->nt, g->i64, ""), is[4] = {
        LLVMBuildICmp(b, LLVMIntSGT, nt, cg_i64(g, 1), ""),
        LLVMBuildICmp(b, LLVMIntSGE, access_dim(f, work), cg_i64(g, DEALT_CYCLES), ""),
        LLVMBuildICmp(b, LLVMIntSGE, total, LLVMBuildMul(b, nt, cg_i64(g, DEALT_ITEMS), ""), ""),
        LLVMBuildICmp(b, LLVMIntSLT, total, cg_i64(g, INT32_MAX), ""),
    };
    LV all = is[0];
    for (int i = 1; i < 4; i++) all = LLVMBuildAnd(b, all, is[i], "");
    return all;
}

LV share_range(CgFn *f, LV total, LV *to, LLVMBasicBlockRef *again)
{
    Cg *g = f->g;
    LLVMBuilderRef b = g->b;
    LV tid = LLVMBuildSExt(b, f->tid, g->i64, ""), nt = LLVMBuildSExt(b, f->nt, g->i64, "");
    LV dealt = dealt_out(f, total);
    LLVMBasicBlockRef fixed = NULL, piece = NULL, next = NULL, found = NULL;
    if (dealt) {
        fixed = cg_block(g, f->fn, "par.fixed");
        piece = cg_block(g, f->fn, "par.piece");
        next = cg_block(g, f->fn, "par.next");
        found = cg_block(g, f->fn, "par.range");
        LLVMBuildCondBr(b, dealt, piece, fixed);
        LLVMPositionBuilderAtEnd(b, fixed);
    }
    LV from = LLVMBuildUDiv(b, LLVMBuildMul(b, total, tid, ""), nt, "");
    *to = LLVMBuildUDiv(b, LLVMBuildMul(b, total, LLVMBuildAdd(b, tid, cg_i64(g, 1), ""), ""), nt, "");
    if (!dealt) return from;
    LLVMBuildBr(b, found);
    LLVMPositionBuilderAtEnd(b, piece);
    LV fn = cg_extern(g, "rt_part", g->i64, (LT[]){g->ptr, g->i32, g->i32, g->i64}, 4);
    LV part = cg_call(g, fn, (LV[]){f->ctx, f->tid, f->nt, total}, 4, "");
    LV low = LLVMBuildAnd(b, part, cg_i64(g, UINT32_MAX), ""), high = LLVMBuildLShr(b, part, cg_i64(g, 32), "");
    LLVMBuildBr(b, found);
    LLVMPositionBuilderAtEnd(b, next);
    LLVMBuildCondBr(b, dealt, piece, *again);
    *again = next;
    LLVMPositionBuilderAtEnd(b, found);
    LV begin = LLVMBuildPhi(b, g->i64, ""), end = LLVMBuildPhi(b, g->i64, "");
    LLVMAddIncoming(begin, (LV[]){from, high}, (LLVMBasicBlockRef[]){fixed, piece}, 2);
    LLVMAddIncoming(end, (LV[]){*to, low}, (LLVMBasicBlockRef[]){fixed, piece}, 2);
    *to = end;
    return begin;
}
