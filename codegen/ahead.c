/* ahead.c: where a caller's memory lies. Buffers of callers are aligned to an element; a vector stored across two lines
 * of the cache costs two stores. So a loop that stores rows into such a buffer does some elements first, under a mask,
 * as many as are missing to the next whole vector; the rest is aligned. Memory of the arena is aligned anyway.
 * Input: a VEC loop whose index is not bound yet. Output: how many elements, or that it would not help. */
#include "codegen/cg.h"

static KSpace root_space(const KModule *m, KBuf b)
{
    while (kbuf(m, b)->space == KS_VIEW) b = kbuf(m, b)->base;
    return kbuf(m, b)->space;
}

/* For each kernel the parameters (bit p: parameter p, of the first 63) that some launch gives memory of a caller. */
static void find_foreign(void *arg, KStep *s)
{
    Cg *g = arg;
    if (s->kind != KST_LAUNCH) return;
    uint64_t bits = 0;
    map_get(&g->foreign, (uint64_t)(uintptr_t)s->kernel, &bits);
    for (uint32_t p = 1, a = 0; p < s->kernel->param.n && p < 64; p++) {
        if (s->kernel->param.p[p].space == KS_LOCAL) continue; /* locals stand between parameters */
        KSpace space = root_space(g->m, s->buf_arg[a++]);
        if (space == KS_IN || space == KS_OUT || space == KS_BOX) bits |= 1ull << p;
    }
    map_put(&g->foreign, (uint64_t)(uintptr_t)s->kernel, bits);
}

void ahead_find(Cg *g)
{
    map_init(&g->foreign, &g->arena);
    kstep_each(&g->m->program, find_foreign, g);
}

/* Emitted already: outside of the loop, or moved in front of it. */
static bool emitted(CgFn *f, KInst def, KBlock body)
{
    if (!def.i || f->hoisted[def.i]) return true;
    KBlock b = kinst(f->k, def)->block;
    while (b.i && b.i != body.i) {
        KInst owner = kblock(f->k, b)->owner;
        b = owner.i ? kinst(f->k, owner)->block : (KBlock){0};
    }
    return b.i == 0;
}

/* The value of an index where iv is `at`; NULL: not to be had before the loop. */
static LV value_at(CgFn *f, KVal v, KBlock body, KVal iv, LV at)
{
    LLVMBuilderRef b = f->g->b;
    if (v.i == iv.i) return at;
    KInst def = kval(f->k, v)->def;
    if (!kx_depends(f->k, v, iv)) {
        Cv c = f->val[v.i];
        return emitted(f, def, body) && c.kind == CV_UNI ? c.v : NULL;
    }
    if (!def.i) return NULL;
    const KInstRec *in = kinst(f->k, def);
    if (in->n_arg != 2 || (in->op != KOP_ADD && in->op != KOP_SUB && in->op != KOP_MUL)) return NULL;
    LV x = value_at(f, karg(f->k, in, 0), body, iv, at), y = value_at(f, karg(f->k, in, 1), body, iv, at);
    if (!x || !y) return NULL;
    if (in->op == KOP_MUL) return LLVMBuildMul(b, x, y, "");
    return in->op == KOP_ADD ? LLVMBuildAdd(b, x, y, "") : LLVMBuildSub(b, x, y, "");
}

LV ahead_elements(CgFn *f, KBlock body, KVal iv, LV lo)
{
    Cg *g = f->g;
    LLVMBuilderRef b = g->b;
    uint64_t foreign = 0;
    map_get(&g->foreign, (uint64_t)(uintptr_t)f->k, &foreign);
    if (!foreign || g->m->target.vec_bits < 256) return NULL;
    const KInstRec *store = NULL;
    int size = 0;
    for (KInst i = kblock(f->k, body)->first; i.i; i = kinst(f->k, i)->next) {
        const KInstRec *in = kinst(f->k, i);
        if (in->op == KOP_FLOORDIV && karg(f->k, in, 0).i == iv.i) return NULL; /* elements repeated in whole vectors */
        if (in->op == KOP_DIV) return NULL; /* takes longer than any store */
        if (in->op == KOP_FOR || in->op == KOP_MACC || kop_info(in->op)->flags & KF_MATH || ++size > AHEAD_SIZE) return NULL;
        if (in->op != KOP_STORE || store || in->param >= 64 || !(foreign >> in->param & 1)) continue;
        int64_t stride;
        if (kx_access_stride(f->k, g->m->dims, i, iv, &stride) && stride == 1) store = in;
    }
    if (!store) return NULL;
    const KBufRec *buf = &f->k->param.p[store->param];
    unsigned bits = dtype_info(buf->elem)->bits, bytes = buf->elem == DT_BOOL ? 1 : bits / 8, whole = bytes * g->lanes;
    if (whole > g->m->target.vec_bits / 8u) whole = g->m->target.vec_bits / 8u;
    if (bits < 8 && buf->elem != DT_BOOL) return NULL;
    if (bytes > 8 || whole < 32) return NULL; /* of 16 bytes one in four crosses a line */
    KVal idx[RANK_MAX];
    Dim stride[RANK_MAX];
    LV off = cg_i64(g, 0);
    for (int n = kx_access_terms(f->k, g->m->dims, store, idx, stride); n-- > 0;) {
        LV v = value_at(f, idx[n], body, iv, lo);
        if (!v) return NULL;
        off = LLVMBuildAdd(b, off, LLVMBuildMul(b, v, access_dim(f, stride[n]), ""), "");
    }
    LV p = LLVMBuildGEP2(b, cg_mem_type(g, buf->elem), f->param[store->param], &off, 1, "");
    LV missing = LLVMBuildAnd(b, LLVMBuildNeg(b, LLVMBuildPtrToInt(b, p, g->i64, ""), ""), cg_i64(g, whole - 1), "");
    return LLVMBuildLShr(b, missing, cg_i64(g, __builtin_ctz(bytes)), "");
}
