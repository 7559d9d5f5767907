/* fetch.c: memory ahead of accesses that hardware does not see coming. Loads and stores under a mask and gathers do
 * not set off what fetches the next lines of a stream (measured on a Zen 5: 32 MB read under a full mask 2.4 ms, plain
 * 1.0, with a prefetch 2 KB ahead 0.8; written 2.6, 1.0 and 0.7; gathered from neighbouring lines 8.0, and 2.7), so a
 * loop all of whose vectors are such asks for them. Where some vectors of each row are plain, hardware does; in buffers
 * that L2 holds, nothing is gained. */
#include "codegen/cg.h"

enum {
    LINE = 64,
    AHEAD = 2048,   /* bytes; what memory delivers in the time it takes, about */
    LINES_MAX = 8,  /* of one access; with more, its lanes lie too far apart to be a stream */
};

/* Does the buffer reach over more than L2 holds, for all that is known? */
static bool large(CgFn *f, const KBufRec *p)
{
    int64_t sum = 1, lo, hi, by, bits = dtype_info(p->elem)->bits;
    for (uint32_t a = 0; a < p->rank; a++) {
        dim_bounds(f->g->m->dims, p->dim[a], &lo, &hi);
        if (lo < 1) return false;
        Dim stride = kbuf_stride(f->g->m, p, a);
        if (!stride.i || !dim_is_const(f->g->m->dims, stride, &by)) {
            dim_bounds(f->g->m->dims, stride, &by, &hi);
            if (by < 0) return false;
        }
        if (__builtin_mul_overflow(lo - 1, by < 0 ? -by : by, &by) || __builtin_add_overflow(sum, by, &sum)) return true;
    }
    return sum > f->g->m->target.l2_bytes * 8 / bits;
}

/* An access of the same buffer stands before this one in its block: that one asks for the lines of both. */
static bool seconded(const CgFn *f, const KInstRec *in)
{
    for (KInst i = in->prev; i.i; i = kinst(f->k, i)->prev) {
        const KInstRec *r = kinst(f->k, i);
        if (r->op == in->op && r->param == in->param) return true;
    }
    return false;
}

/* How many bytes further the lines lie that are wanted in a while, where an access takes `run` bytes: along the lanes, or
 * where these are all of a row, along the rows, which may be further apart than they are long. 0: not known. */
static int64_t ahead(CgFn *f, const KInstRec *in, int64_t bytes, int64_t run, bool down)
{
    KInst self = {(uint32_t)(in - f->k->inst.p)};
    bool outside = false;
    if (!f->short_rows) return down ? -AHEAD : AHEAD;
    for (KInst o = kblock(f->k, in->block)->owner; o.i; o = kblock(f->k, kinst(f->k, o)->block)->owner) {
        const KInstRec *loop = kinst(f->k, o);
        int64_t step, many = AHEAD / ((run + LINE - 1) / LINE * LINE);
        if (outside && kx_access_stride(f->k, f->g->m->dims, self, (KVal){kblock(f->k, loop->body)->param}, &step) && step) {
            if (__builtin_mul_overflow(step, bytes, &step)) return 0;
            if (step >= -2 * run && step <= 2 * run) return step < 0 ? -AHEAD : AHEAD;
            return __builtin_mul_overflow(step, many, &step) ? 0 : step;
        }
        outside = outside || loop->loop == KLOOP_VEC;
    }
    return 0;
}

void fetch_lanes(CgFn *f, const KInstRec *in, LV base, Cv off)
{
    Cg *g = f->g;
    const KBufRec *p = &f->k->param.p[in->param];
    int64_t bytes = dtype_info(p->elem)->bits / 8, run;
    if (!g->opt->opt_level || off.kind != CV_LIN || !bytes || !large(f, p) || seconded(f, in)) return;
    if (__builtin_mul_overflow(off.coef * bytes, (int64_t)g->lanes, &run)) return;
    int64_t first = run < 0 ? run : 0;
    if (run < 0) run = -run;
    int64_t by = run <= LINES_MAX * LINE ? ahead(f, in, bytes, run, first < 0) : 0;
    if (!by) return;
    LV at = LLVMBuildGEP2(g->b, cg_mem_type(g, p->elem), base, &off.v, 1, ""), store = cg_i32(g, in->op == KOP_STORE);
    unsigned id = LLVMLookupIntrinsicID("llvm.prefetch", sizeof "llvm.prefetch" - 1);
    LV fn = LLVMGetIntrinsicDeclaration(g->mod, id, &g->ptr, 1);
    for (int64_t line = 0; line < run; line += LINE)
        cg_call(g, fn, (LV[]){cg_ptr_add(g, at, cg_i64(g, first + line + by)), store, cg_i32(g, 3), cg_i32(g, 1)}, 4, "");
}
