/* cost.c: counts what a kernel does by walking its loops with numbers for all symbols. A loop is entered once and what
 * it holds is counted as often as it runs; only where bounds inside depend on the loop's variable (the rest of a grid
 * of blocks, triangles) every iteration is walked.
 *   for %q = 0..blocks par { macc rows = min(mb, M - %q*mb) ... }     walked: M*N*K multiply-adds, not blocks*mb*N*K
 * Where there is a choice the larger number is taken: predicates count as true, a loop whose bound is loaded from memory
 * counts with what else is known of it. Index arithmetic is no work. */
#include "ir/kernel/cost.h"

#include "ir/kernel/eval_scalar.h"

enum { WALK_MAX = 2000000 }; /* loop iterations; some 50 ms */

typedef struct Num {
    int64_t v;
    uint32_t stamp; /* computed in this generation */
    bool known;
} Num;

typedef struct Walk {
    const Kernel *k;
    const Dims *dims;
    const int64_t *sym;
    Num *num;       /* by KVal */
    uint32_t stamp; /* moves on when a loop variable does */
    int64_t walked;
    double flops, *touch; /* elements accessed, by param */
    bool exact;
} Walk;

/* ---- integers ---- */
static bool value(Walk *w, KVal v, int64_t *out);

static bool compute(Walk *w, const KInstRec *r, int64_t *out)
{
    KScalar a[3], y;
    if (r->op == KOP_DIM) return dim_eval(w->dims, r->imm.dim, w->sym, out);
    if (r->op == KOP_CONST) return *out = r->imm.i, !dtype_is_float(r->type) && r->type != DT_STR;
    if (!(kop_info(r->op)->flags & KF_PURE) || r->n_arg > 3 || r->n_res != 1) return false;
    bool known = true;
    uint32_t got = 0;
    for (uint32_t n = 0; n < r->n_arg; n++) {
        KVal v = karg(w->k, r, n);
        if (dtype_is_float(kval(w->k, v)->type)) return false;
        if (value(w, v, &a[n].i)) got = n;
        else known = false;
    }
    if (!known) { /* min(N, loaded): at most N */
        if (r->op != KOP_MIN || !value(w, karg(w->k, r, got), out)) return false;
        w->exact = false;
        return true;
    }
    DType t = kval(w->k, karg(w->k, r, r->n_arg > 1 ? 1 : 0))->type;
    if (r->op == KOP_CAST) y = kscalar_cast(t, r->imm.dtype, a[0]);
    else if (r->op == KOP_BITCAST || !kscalar_op(r->op, t, a, &y)) return false;
    *out = y.i;
    return true;
}

static bool value(Walk *w, KVal v, int64_t *out)
{
    const KValRec *r = kval(w->k, v);
    Num *n = &w->num[v.i];
    if (r->def.i && n->stamp != w->stamp) {
        const KInstRec *d = kinst(w->k, r->def);
        n->known = d->n_arg <= 3 && compute(w, d, &n->v);
        n->stamp = w->stamp;
    }
    *out = n->v;
    return n->known;
}

static void set(Walk *w, KVal v, bool known, int64_t x)
{
    w->num[v.i] = (Num){.v = x, .known = known};
    w->stamp++;
}

/* ---- loops ---- */
/* Some extent inside the block depends on `on`. */
static bool extent_depends(const Kernel *k, KBlock b, KVal on)
{
    for (KInst i = kblock(k, b)->first; i.i; i = kinst(k, i)->next) {
        const KInstRec *r = kinst(k, i);
        uint32_t n = r->op == KOP_FOR ? 2 : r->op == KOP_MACC ? KM_T + 1 : 0;
        for (uint32_t a = 0; a < n; a++)
            if (kx_depends(k, karg(k, r, a), on)) return true;
        if (r->op == KOP_FOR && extent_depends(k, r->body, on)) return true;
    }
    return false;
}

static void walk(Walk *w, KBlock b, double times);

static void walk_for(Walk *w, const KInstRec *r, double times)
{
    const KBlockRec *body = kblock(w->k, r->body);
    KVal iv = {body->param};
    int64_t lo = 0, hi = 0;
    for (uint32_t c = 1; c < body->n_param; c++) set(w, (KVal){body->param + c}, false, 0);
    if (!value(w, karg(w->k, r, 0), &lo) || !value(w, karg(w->k, r, 1), &hi)) {
        w->exact = false;
        set(w, iv, false, 0);
        walk(w, r->body, times);
        return;
    }
    if (hi <= lo) return;
    bool varies = extent_depends(w->k, r->body, iv);
    if (varies && w->walked + (hi - lo) > WALK_MAX) varies = w->exact = false;
    if (!varies) {
        set(w, iv, true, lo);
        walk(w, r->body, times * (double)(hi - lo));
        return;
    }
    for (int64_t i = lo; i < hi; i++) {
        w->walked++;
        set(w, iv, true, i);
        walk(w, r->body, times);
    }
}

static void walk_macc(Walk *w, const KInstRec *r, double times)
{
    int64_t x[KM_T + 1];
    for (int a = 0; a <= KM_T; a++)
        if (!value(w, karg(w->k, r, (uint32_t)a), &x[a])) {
            w->exact = false;
            return;
        }
    double rows = (double)x[KM_ROWS], cols = (double)x[KM_COLS], depth = (double)x[KM_K] * (double)x[KM_T];
    if (rows <= 0 || cols <= 0) return;
    double group = r->macc->quads ? 4 : 1, of_b = w->k->param.p[r->macc->b].elem == DT_I32 ? 1 : group;
    w->flops += times * 2 * rows * cols * depth * group * r->macc->sums;
    w->touch[r->macc->a] += times * rows * depth * group;
    w->touch[r->macc->b] += times * cols * depth * of_b * r->macc->sums;
    if (r->macc->init.i) walk(w, r->macc->init, times * rows * cols);
    walk(w, r->macc->epi, times * rows * cols);
}

static double flops_of(const KInstRec *r)
{
    switch (r->op) {
    case KOP_CONST:
    case KOP_DIM:
    case KOP_SELECT:
    case KOP_CAST:
    case KOP_BITCAST:
    case KOP_NEG:
    case KOP_ABS: return 0;
    case KOP_FMA: return 2;
    default: return (kop_info(r->op)->flags & KF_PURE) != 0;
    }
}

static void walk(Walk *w, KBlock b, double times)
{
    for (KInst i = kblock(w->k, b)->first; i.i; i = kinst(w->k, i)->next) {
        const KInstRec *r = kinst(w->k, i);
        if (r->op == KOP_FOR) walk_for(w, r, times);
        else if (r->op == KOP_MACC) walk_macc(w, r, times);
        else if (r->op == KOP_LOAD || r->op == KOP_STORE) w->touch[r->param] += times;
        else if (dtype_is_float(r->type)) w->flops += times * flops_of(r);
    }
}

/* ---- a launch ---- */
double kbuf_cost(KModule *m, KBuf b, const int64_t *sym)
{
    const KBufRec *r = kbuf(m, b);
    double n = 1;
    if (r->space == KS_SEQ) return 0;
    for (int a = 0; a < r->rank; a++) {
        int64_t d;
        if (!dim_eval(m->dims, r->dim[a], sym, &d) || d < 0) return 0;
        n *= (double)d;
    }
    return n * (r->elem == DT_STR ? 16 : dtype_info(r->elem)->bits / 8.0);
}

KCost kernel_cost(KModule *m, const KStep *s, const int64_t *sym)
{
    const Kernel *k = s->kernel;
    KCost c = {0};
    Arena a;
    arena_init(&a, "cost", m->arena->oom);
    Walk w = {.k = k, .dims = m->dims, .sym = sym, .exact = true, .stamp = 1};
    w.num = arena_array(&a, Num, k->val.n + 1);
    w.touch = arena_array(&a, double, k->param.n + 1);
    walk(&w, k->top, 1);
    c.flops = w.flops;
    c.exact = w.exact;
    uint32_t at = 0;
    for (uint32_t p = 1; p < k->param.n; p++) {
        if (k->param.p[p].space != KS_PARAM) continue;
        KBuf b = s->buf_arg[at++];
        double all = kbuf_cost(m, b, sym), each = dtype_info(k->param.p[p].elem)->bits / 8.0;
        double bytes = w.touch[p] * each < all ? w.touch[p] * each : all;
        c.bytes += bytes;
        if (kbuf(m, kbuf_root(m, b))->space == KS_CONST) c.constant += bytes;
    }
    arena_free(&a);
    return c;
}
