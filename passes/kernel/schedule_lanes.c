/* schedule_lanes: nests whose innermost par loop is no good for lanes, as it stands. Par loops may be exchanged freely.
 *
 * 1. Copies that transpose: stores have stride 1 in the innermost loop j, loads in another loop i. Blocks of 16 x 16 keep
 *    the cache lines that a block touches, and code generation turns a whole block round in registers:
 *      for %i = 0..N par {                         for %q = 0..(M+15)//16 par { for %p = 0..(N+15)//16 par {
 *        for %j = 0..M par {                         for %z = 0..whole { for %i = 0..16 { for %j = 0..16 vec {
 *          store %y[%i, %j] = load %x[%j, %i]   =>       store %y[16*%p+%i, 16*%q+%j] = load %x[16*%q+%j, 16*%p+%i] }}}
 *                                                    for %z = 0..1-whole { the same, for what is left of the block }
 * 2. Short innermost loops (three channels): the first loop further out that is long takes the lanes, the short ones run
 *    inside it:
 *      for %i = 0..N par { for %c = 0..3 par {..} }     =>      for %i = 0..N vec { for %c = 0..3 seq {..} }
 *    in chunks, where nothing else is left for threads. */
#include "passes/kernel/schedule_lanes.h"

enum { NEST_MAX = 8, SHORT = 8 /* iterations that are no use as lanes */, APART_MAX = 4 /* of loads: few vectors and shuffles */,
       CHUNK = 1024, CHUNK_AT = 4096 };

typedef struct Nest {
    KModule *m;
    const Kernel *k;
    int n;
    KInst loop[NEST_MAX];
    int64_t trip[NEST_MAX]; /* -1: not known */
} Nest;

typedef struct Out {
    Nest *s;
    Kb *b;
    KVal *map;
} Out;

/* ---- the nest ---- */

static bool literal(const Kernel *k, KInst i)
{
    KOp op = kinst(k, i)->op;
    return op == KOP_CONST || op == KOP_DIM;
}

static KVal variable(const Nest *s, int l) { return (KVal){kblock(s->k, kinst(s->k, s->loop[l])->body)->param}; }

/* The par loops from the kernel's top down, each all that the one around it holds. */
static void find_nest(Nest *s, KBlock b)
{
    for (;;) {
        KInst found = {0};
        int64_t lo, hi;
        for (KInst i = kblock(s->k, b)->first; i.i; i = kinst(s->k, i)->next) {
            if (literal(s->k, i) || kinst(s->k, i)->op == KOP_YIELD) continue;
            if (kinst(s->k, i)->op != KOP_FOR || found.i) return;
            found = i;
        }
        if (!found.i || s->n == NEST_MAX) return;
        const KInstRec *r = kinst(s->k, found);
        if (r->loop != KLOOP_PAR || r->n_res || !kx_const_i(s->k, s->m->dims, karg(s->k, r, 0), &lo) || lo != 0) return;
        s->trip[s->n] = kx_const_i(s->k, s->m->dims, karg(s->k, r, 1), &hi) ? hi : -1;
        s->loop[s->n++] = found;
        b = r->body;
    }
}

static KBlock innermost(const Nest *s) { return kinst(s->k, s->loop[s->n - 1])->body; }

/* Straight code on elements that lanes can hold. */
static bool plain(const Nest *s)
{
    for (KInst i = kblock(s->k, innermost(s))->first; i.i; i = kinst(s->k, i)->next) {
        const KInstRec *r = kinst(s->k, i);
        if (kop_info(r->op)->flags & KF_REGION || r->op == KOP_RECORD || (r->n_res && r->type == DT_STR)) return false;
        if (r->op != KOP_LOAD && r->op != KOP_STORE) continue;
        const KBufRec *p = &s->k->param.p[r->param];
        if (dtype_compute(p->elem) == DT_STR || p->space == KS_LOCAL || (p->elem != DT_BOOL && dtype_info(p->elem)->bits < 8)) return false;
    }
    return true;
}

/* Distance of neighbours along loop l; -1: not a number that is known. */
static int64_t stride(const Nest *s, KInst access, int l)
{
    int64_t d;
    return kx_access_stride(s->k, s->m->dims, access, variable(s, l), &d) && d >= 0 ? d : -1;
}

/* ---- which loops ---- */

/* A loop in which loads have stride 1 that the innermost one reads far apart; -1: none. All stores have stride 1 in the
 * innermost loop. */
static int transposed(const Nest *s)
{
    int in = s->n - 1, votes[NEST_MAX] = {0}, best = -1;
    if (in < 1 || (s->trip[in] >= 0 && s->trip[in] < SHORT)) return -1;
    for (KInst i = kblock(s->k, innermost(s))->first; i.i; i = kinst(s->k, i)->next) {
        const KInstRec *r = kinst(s->k, i);
        if (r->op != KOP_LOAD && r->op != KOP_STORE) continue;
        int64_t d = stride(s, i, in);
        if (r->op == KOP_STORE && d != 1) return -1;
        if (r->op == KOP_STORE || (d >= 0 && d <= APART_MAX)) continue;
        for (int l = 0; l < in; l++) votes[l] += stride(s, i, l) == 1;
    }
    for (int l = 0; l < in; l++)
        if (votes[l] && (best < 0 || votes[l] >= votes[best]) && (s->trip[l] < 0 || s->trip[l] >= SHORT)) best = l;
    return best;
}

/* The loop outside the short innermost ones, when lanes do well there; -1: none. */
static int beyond_short(const Nest *s)
{
    int l = s->n - 1;
    int64_t inside = 1;
    while (l >= 0 && s->trip[l] >= 0 && inside * s->trip[l] < SHORT) inside *= s->trip[l--];
    if (l < 0 || l == s->n - 1 || (s->trip[l] >= 0 && s->trip[l] < SHORT)) return -1;
    bool good = s->m->target.vec_bits >= 512; /* the rest is gathered and scattered */
    for (KInst i = kblock(s->k, innermost(s))->first; i.i; i = kinst(s->k, i)->next) {
        const KInstRec *r = kinst(s->k, i);
        if (r->op != KOP_LOAD && r->op != KOP_STORE) continue;
        int64_t d = stride(s, i, l);
        if (d < 0 || (r->op == KOP_STORE && d == 0)) return -1;
        good |= r->op == KOP_LOAD && d == 1;
    }
    return good ? l : -1;
}

/* ---- the rebuilt kernel ---- */

static KVal bound(Out *o, int l) { return o->map[karg(o->s->k, kinst(o->s->k, o->s->loop[l]), 1).i]; }

static void set(Out *o, int l, KVal v)
{
    Name name = kval(o->s->k, variable(o->s, l))->name;
    o->map[variable(o->s, l).i] = v;
    if (name.i && !kval(kb_kernel(o->b), v)->name.i && kval(kb_kernel(o->b), v)->def.i == 0) kval(kb_kernel(o->b), v)->name = name;
}

static void open(Out *o, int l, KLoop kind, KVal lo, KVal hi) { set(o, l, kb_for(o->b, kind, lo, hi)); }

/* What stands beside the loops: bounds, and constants of the body. */
static void copy_literals(Out *o)
{
    const Kernel *k = o->s->k;
    KBlock b = k->top;
    for (int l = 0; l <= o->s->n; l++) {
        for (KInst i = kblock(k, b)->first; i.i; i = kinst(k, i)->next)
            if (literal(k, i)) kb_copy(o->b, k, i, o->map);
        if (l < o->s->n) b = kinst(k, o->s->loop[l])->body;
    }
}

static void copy_body(Out *o)
{
    for (KInst i = kblock(o->s->k, innermost(o->s))->first; i.i; i = kinst(o->s->k, i)->next)
        if (kinst(o->s->k, i)->op != KOP_YIELD) kb_copy(o->b, o->s->k, i, o->map);
}

/* Rows or columns of a block. Fewer than 16 where there are no more, and, with mask registers, where that leaves nothing
 * over: what is left of blocks is gathered, smaller ones are turned in registers, too. */
static int64_t block_size(const Nest *s, int l)
{
    int64_t n = s->trip[l], size = K_LANES;
    bool masks = s->m->target.vec_bits >= 512;
    if (n < 0 || n % K_LANES == 0) return K_LANES;
    if (n < K_LANES) return n;
    while (masks && size >= SHORT && n % size) size--;
    return masks && size >= SHORT ? size : K_LANES;
}

static KVal blocks(Out *o, int l, int64_t size)
{
    Kb *b = o->b;
    return kb_bin(b, KOP_FLOORDIV, kb_add(b, bound(o, l), kb_i(b, size - 1)), kb_i(b, size));
}

/* Loops over a block whose first elements are i0, j0. */
static void tile(Out *o, int i, int j, KVal i0, KVal j0, bool whole)
{
    Kb *b = o->b;
    KVal rows = kb_i(b, block_size(o->s, i)), cols = kb_i(b, block_size(o->s, j)), zero = kb_i(b, 0);
    if (whole) {
        KVal vi = kb_for(b, KLOOP_SEQ, zero, rows), vj = kb_for(b, KLOOP_VEC, zero, cols);
        o->map[variable(o->s, i).i] = kb_add(b, i0, vi);
        o->map[variable(o->s, j).i] = kb_add(b, j0, vj);
    } else {
        KVal ie = kb_min(b, bound(o, i), kb_add(b, i0, rows)), je = kb_min(b, bound(o, j), kb_add(b, j0, cols));
        open(o, i, KLOOP_SEQ, i0, ie);
        open(o, j, KLOOP_VEC, j0, je);
    }
    copy_body(o);
    kb_end(b);
    kb_end(b);
}

/* Do rows that are stored lie as far apart as those that are loaded, or farther? Then the next block goes on in the same
 * rows of the result, whose lines it completes: a caller's memory lies across lines, and those of rows 4 KB apart meet in
 * one set of the cache and are gone when the rows come round again. */
static bool stores_farther(const Nest *s, int i)
{
    int64_t stored = 0, loaded = 0;
    for (KInst k = kblock(s->k, innermost(s))->first; k.i; k = kinst(s->k, k)->next) {
        KOp op = kinst(s->k, k)->op;
        if (op != KOP_LOAD && op != KOP_STORE) continue;
        int64_t *most = op == KOP_STORE ? &stored : &loaded, d = stride(s, k, op == KOP_STORE ? i : s->n - 1);
        if (d < 0) return false;
        if (d > *most) *most = d;
    }
    return stored >= loaded;
}

static void transpose(Out *o, int i)
{
    Kb *b = o->b;
    int j = o->s->n - 1;
    KVal zero = kb_i(b, 0), one = kb_i(b, 1);
    for (int l = 0; l < j; l++)
        if (l != i) open(o, l, KLOOP_PAR, zero, bound(o, l));
    int64_t rows = block_size(o->s, i), cols = block_size(o->s, j);
    KVal q, p;
    if (stores_farther(o->s, i)) p = kb_for(b, KLOOP_PAR, zero, blocks(o, i, rows)), q = kb_for(b, KLOOP_PAR, zero, blocks(o, j, cols));
    else q = kb_for(b, KLOOP_PAR, zero, blocks(o, j, cols)), p = kb_for(b, KLOOP_PAR, zero, blocks(o, i, rows));
    KVal i0 = kb_mul(b, p, kb_i(b, rows)), j0 = kb_mul(b, q, kb_i(b, cols)), fits = {0};
    if (o->s->trip[i] < 0 || o->s->trip[i] % rows) fits = kb_bin(b, KOP_LE, kb_add(b, i0, kb_i(b, rows)), bound(o, i));
    if (o->s->trip[j] < 0 || o->s->trip[j] % cols) {
        KVal also = kb_bin(b, KOP_LE, kb_add(b, j0, kb_i(b, cols)), bound(o, j));
        fits = fits.i ? kb_and(b, fits, also) : also;
    }
    if (fits.i) {
        KVal whole = kb_cast(b, DT_I64, fits);
        kb_for(b, KLOOP_SEQ, zero, whole);
        tile(o, i, j, i0, j0, true);
        kb_end(b);
        kb_for(b, KLOOP_SEQ, zero, kb_sub(b, one, whole));
        tile(o, i, j, i0, j0, false);
        kb_end(b);
    } else tile(o, i, j, i0, j0, true);
    for (int l = 0; l < o->s->n; l++) kb_end(b);
}

static void long_outside(Out *o, int at)
{
    Kb *b = o->b;
    int depth = o->s->n;
    KVal zero = kb_i(b, 0), lo = zero, hi = bound(o, at);
    for (int l = 0; l < at; l++) open(o, l, KLOOP_PAR, zero, bound(o, l));
    int64_t n = o->s->trip[at];
    if (o->s->m->threads && (n < 0 || n > CHUNK_AT)) {
        KVal size = kb_i(b, CHUNK), q = kb_for(b, KLOOP_PAR, zero, kb_bin(b, KOP_FLOORDIV, kb_add(b, hi, kb_i(b, CHUNK - 1)), size));
        lo = kb_mul(b, q, size);
        hi = kb_min(b, hi, kb_add(b, lo, size));
        depth++;
    }
    open(o, at, KLOOP_VEC, lo, hi);
    for (int l = at + 1; l < o->s->n; l++) open(o, l, KLOOP_SEQ, zero, bound(o, l));
    copy_body(o);
    for (; depth; depth--) kb_end(b);
}

bool schedule_lanes(KModule *m, Kernel *k)
{
    Nest s = {.m = m, .k = k};
    find_nest(&s, k->top);
    if (s.n < 2 || !plain(&s)) return false;
    int i = transposed(&s), l = i < 0 ? beyond_short(&s) : -1;
    if (i < 0 && l < 0) return false;
    Arena a;
    arena_init(&a, "pass", m->arena->oom);
    Kernel old = *k;
    s.k = &old;
    Out o = {.s = &s, .b = kb_reopen(m, k), .map = arena_array(&a, KVal, k->val.n)};
    copy_literals(&o);
    if (i >= 0) transpose(&o, i);
    else long_outside(&o, l);
    kb_replace(o.b, k);
    arena_free(&a);
    return true;
}
