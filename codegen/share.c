/* share.c: which part of a parallel loop a thread runs.
 *   a short launch      [n*tid/nt, n*(tid+1)/nt), once
 *   a long one          whatever rt_part gives it next (rt_share.c), until nothing is left
 * How long a launch takes is estimated (ir/kernel/cycles.h): when compiling where sizes are fixed, else by a formula
 * that the launch evaluates.
 * And in which direction: where most constants of a model are one kernel's, and they are somewhat more than L2 holds,
 * it walks through them forwards and backwards in turn, run by run. In one direction each part has just been replaced
 * when its time comes; so what the last run read last is still there, up to L2's size. */
#include "codegen/cg.h"
#include "ir/kernel/cycles.h"
#include "runtime/rt.h"

/* A launch that takes one thread fewer cycles is split once and for all: asking for pieces takes some hundred. */
#define DEALT_CYCLES 30000
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

/* Constants of so many L2 caches: more of them, and what is still there hardly matters. */
#define TURN_MOST 4
/* Bytes of constants for each cycle of arithmetic: with fewer, the kernel does not wait for them. */
#define TURN_BYTES 6

typedef struct Constants {
    Cg *g;
    const Kernel *k;
    int64_t bytes;
} Constants;

static void add_constants(void *arg, KStep *s)
{
    Constants *c = arg;
    if (s->kind != KST_LAUNCH || s->kernel != c->k) return;
    for (uint32_t a = 0; a < s->n_buf_arg; a++) {
        const KModule *m = c->g->m;
        const KBufRec *b = kbuf(m, s->buf_arg[a]);
        while (b->space == KS_VIEW) b = kbuf(m, b->base);
        if (b->space == KS_CONST) c->bytes += blob_bytes(m->blobs, b->blob);
    }
}

LV share_turn(CgFn *f)
{
    Cg *g = f->g;
    LLVMBuilderRef b = g->b;
    int64_t all = g->data->bytes, l2 = g->m->target.l2_bytes, cycles;
    if (all <= l2 / 2 || all > TURN_MOST * l2) return NULL;
    Constants c = {g, f->k, 0};
    kstep_each(&g->m->program, add_constants, &c);
    Dim work = kernel_cycles(g->m, f->k);
    if (c.bytes <= l2 / 2 || c.bytes <= all / 2 || !work.i) return NULL;
    bool known = dim_is_const(g->m->dims, work, &cycles);
    if (known && cycles > c.bytes / TURN_BYTES) return NULL;
    LV turn = cg_load(g, g->i32, cg_ptr_add(g, f->ctx, cg_i64(g, offsetof(struct bmc_ctx, turn))), 4);
    LV odd = LLVMBuildTrunc(b, turn, g->i1, "");
    if (known) return odd;
    LV few = LLVMBuildICmp(b, LLVMIntSLE, access_dim(f, work), cg_i64(g, c.bytes / TURN_BYTES), "");
    return LLVMBuildAnd(b, odd, few, "");
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
