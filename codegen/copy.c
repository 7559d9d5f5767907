/* copy.c: copies of whole buffers, and zeros. A kernel that is nothing but
 *   for %c = 0..N par { for %j = %c*K..min(%c*K + K, M) vec { store %y[%j] = load %x[%j] } }
 * (or stores 0, beyond L2) and copies more than a sixteenth of L2 goes to the C library, each thread its part at once: it knows
 * instructions that write whole lines without reading them first (rep movsb), which gain nothing in small pieces, and
 * moves whole lines to where they are aligned (512 KB in L2 at 97 GB/s, read and written, instead of 78). */
#include "codegen/cg.h"
#include <math.h>

typedef struct Copy {
    const KInstRec *load, *store; /* load NULL: zeros */
    int64_t chunks, chunk, all;
} Copy;

/* The one instruction that v is the result of, if it is of that kind. */
static const KInstRec *made_by(const CgFn *f, KVal v, KOp op)
{
    KInst def = kval(f->k, v)->def;
    return def.i && kinst(f->k, def)->op == op ? kinst(f->k, def) : NULL;
}

static bool number(const CgFn *f, KVal v, int64_t *n) { return kx_const_i(f->k, f->g->m->dims, v, n); }

/* v is iv*K. */
static bool times(const CgFn *f, KVal v, KVal iv, int64_t *n)
{
    const KInstRec *r = made_by(f, v, KOP_MUL);
    return r && karg(f->k, r, 0).i == iv.i && number(f, karg(f->k, r, 1), n);
}

static bool flat(const CgFn *f, const KInstRec *r, KVal iv)
{
    const KBufRec *p = &f->k->param.p[r->param];
    int64_t stride;
    return p->rank == 1 && p->space == KS_PARAM && karg(f->k, r, 0).i == iv.i && dtype_compute(p->elem) != DT_STR &&
           dtype_info(p->elem)->bits % 8 == 0 && dim_is_const(f->g->m->dims, kbuf_stride(f->g->m, p, 0), &stride) && stride == 1;
}

/* 0 whose bytes are all 0, too. */
static bool is_zero(const CgFn *f, KVal v)
{
    const KInstRec *r = made_by(f, v, KOP_CONST);
    return r && (dtype_is_float(r->type) ? r->imm.f == 0 && !signbit(r->imm.f) : r->type != DT_STR && r->imm.i == 0);
}

static bool is_copy(const CgFn *f, KInst loop, Copy *c)
{
    const Kernel *k = f->k;
    const KInstRec *par = kinst(k, loop), *vec = NULL;
    int64_t lo, n;
    if (par->n_arg != 2 || !number(f, karg(k, par, 0), &lo) || lo || !number(f, karg(k, par, 1), &c->chunks)) return false;
    for (KInst i = kblock(k, par->body)->first; i.i; i = kinst(k, i)->next) {
        const KInstRec *r = kinst(k, i);
        if (r->op == KOP_FOR && !vec && r->loop == KLOOP_VEC && r->n_arg == 2) vec = r;
        else if (r->op != KOP_YIELD && !(kop_info(r->op)->flags & KF_PURE)) return false;
    }
    if (!vec) return false;
    KVal chunk = {kblock(k, par->body)->param}, at = {kblock(k, vec->body)->param};
    const KInstRec *end = made_by(f, karg(k, vec, 1), KOP_MIN), *next;
    if (!times(f, karg(k, vec, 0), chunk, &c->chunk) || !end || !number(f, karg(k, end, 1), &c->all)) return false;
    next = made_by(f, karg(k, end, 0), KOP_ADD);
    if (!next || karg(k, next, 0).i != karg(k, vec, 0).i || !number(f, karg(k, next, 1), &n) || n != c->chunk) return false;
    for (KInst i = kblock(k, vec->body)->first; i.i; i = kinst(k, i)->next) {
        const KInstRec *r = kinst(k, i);
        if (r->op == KOP_LOAD && !c->load) c->load = r;
        else if (r->op == KOP_STORE && !c->store) c->store = r;
        else if (r->op != KOP_YIELD && !(kop_info(r->op)->flags & KF_PURE)) return false;
    }
    if (!c->store || c->store->n_arg != 2 || !flat(f, c->store, at)) return false;
    const KBufRec *y = &k->param.p[c->store->param], *x = c->load ? &k->param.p[c->load->param] : y;
    if (!c->load && !is_zero(f, karg(k, c->store, 1))) return false;
    if (c->load && (c->load->n_arg != 1 || karg(k, c->store, 1).i != c->load->res || !flat(f, c->load, at))) return false;
    if (x->elem != y->elem || c->chunk < 1 || c->chunks != (c->all + c->chunk - 1) / c->chunk) return false;
    int64_t least = c->load ? f->g->m->target.l2_bytes / 16 : f->g->m->target.l2_bytes;
    return c->all > least / (dtype_info(x->elem)->bits / 8);
}

bool copy_emit(CgFn *f, KInst loop)
{
    Cg *g = f->g;
    LLVMBuilderRef b = g->b;
    Copy c = {0};
    if (!g->opt->opt_level || !is_copy(f, loop, &c)) return false;
    LV tid = LLVMBuildSExt(b, f->tid, g->i64, ""), nt = LLVMBuildSExt(b, f->nt, g->i64, ""), n = cg_i64(g, c.chunks), end[2];
    for (int e = 0; e < 2; e++) {
        LV part = LLVMBuildUDiv(b, LLVMBuildMul(b, n, e ? LLVMBuildAdd(b, tid, cg_i64(g, 1), "") : tid, ""), nt, "");
        end[e] = LLVMBuildMul(b, part, cg_i64(g, c.chunk), "");
        end[e] = cg_intrinsic(g, "llvm.umin", g->i64, (LV[]){end[e], cg_i64(g, c.all)}, 2);
        end[e] = LLVMBuildMul(b, end[e], cg_i64(g, dtype_info(f->k->param.p[c.store->param].elem)->bits / 8), "");
    }
    if (!c.load) {
        LLVMBuildMemSet(b, cg_ptr_add(g, f->param[c.store->param], end[0]), LLVMConstInt(g->i8, 0, false), LLVMBuildSub(b, end[1], end[0], ""), 1);
        return true;
    }
    LLVMBuildMemMove(b, cg_ptr_add(g, f->param[c.store->param], end[0]), 1, cg_ptr_add(g, f->param[c.load->param], end[0]), 1,
                     LLVMBuildSub(b, end[1], end[0], ""));
    return true;
}
