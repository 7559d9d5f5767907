/* schedule: which loops run on threads and which in vector lanes.
 *   0. a kernel for each case of extents that broadcast if they are 1 (schedule_versions.c)
 *   1. neighbouring par loops over contiguous memory become one (schedule_collapse.c); transposing copies go in blocks,
 *      short innermost loops inside a longer one (schedule_lanes.c); short rows of several results, or of operands that
 *      come again (schedule_maps.c)
 *   2. the innermost par loop becomes a vec loop when its stores have stride 1 in its variable and its loads a small
 *      one, or come from where other loads say (512-bit vectors gather them, 256-bit ones those of 32 bits by indices of 64); seq loops may stand in it. A sum over rows, lanes are columns:
 *        for %j = 0..64 par { for %i = 0..N seq carry(%a = 0.0) { yield add(%a, load %x[%i, %j]) } ... }
 *      unless the seq loops in it can be vec loops themselves, which is better (a row uses whole cache lines); rows far
 *      apart that no first cache holds are read as they lie (schedule_rows.c)
 *   3. a seq loop with nothing inside becomes a vec loop when likewise, every carry has a combine, and what it stores
 *      no other iteration touches
 *   4. with threads: where 2. leaves too few par iterations, the vec loop is cut into chunks under a par loop:
 *        for %i = 0..N par {...}
 *      =>
 *        for %c = 0..(N+1023)//1024 par { for %i = 1024*c..min(1024*c+1024, N) vec {...} }
 *      and a kernel of little constant work keeps no par loop: thread 0 does it alone, which is cheaper than a barrier
 * Chunks depend on sizes alone, never on the number of threads. Loops of fewer than 8 iterations stay as they are. */
#include "passes/kernel/kpasses.h"
#include "passes/kernel/schedule_collapse.h"
#include "passes/kernel/schedule_lanes.h"
#include "passes/kernel/schedule_maps.h"
#include "passes/kernel/schedule_rows.h"
#include "passes/kernel/schedule_versions.h"
#include "passes/pass.h"

/* Of loads: a gather of so few cache lines is worth its arithmetic (pools of stride 2 gain on AVX-512 and AVX2). */
#define STRIDE_MAX 4
#define TRIP_MIN 8       /* iterations that are worth lanes */
#define WORK_ALONE 16384 /* scalar operations that one thread does before a second one pays */
#define CHUNK_MAX 1024
#define ROWS_SHARED 512  /* columns that read long enough pieces of rows, where there are few for threads to share */
#define GATHER_DEPTH 64  /* operations that an index is made of, one of the other */
#define PAR_ENOUGH 64 /* iterations of outer par loops that share well among threads */

typedef struct Choice {
    bool lanes, seq;
    int64_t chunk;
    bool rows;
} Choice; /* of a loop: becomes vec; becomes seq; cut into chunks of that many; these inside loops over rows */
typedef struct S {
    KModule *m;
    const Kernel *k;
    KLaunches *launches;
    Choice *choice; /* by instruction */
    bool any;
    bool apart;     /* asks once more: may lanes be elements apart? */
    uint32_t *seen; /* by value: the question about an access in which it was found fit for an index; */
    uint32_t asked; /* how many of these there were */
} S;
typedef struct R {
    KModule *m;
    Kb *b;
    const Kernel *from;
    KVal *map;
    const Choice *choice;
} R;

/* ---- sizes ---- */
static bool trip(S *s, const KInstRec *r, int64_t *n)
{
    int64_t lo, hi;
    if (!kx_const_i(s->k, s->m->dims, karg(s->k, r, 0), &lo) || !kx_const_i(s->k, s->m->dims, karg(s->k, r, 1), &hi))
        return false;
    *n = hi > lo ? hi - lo : 0;
    return true;
}

static int64_t times(int64_t a, int64_t b)
{
    int64_t r;
    return __builtin_mul_overflow(a, b, &r) ? INT64_MAX / 4 : r < INT64_MAX / 4 ? r : INT64_MAX / 4;
}

/* Scalar operations of one run of the block; *known: all trip counts are constants (unknown ones count as 64). */
static int64_t work(S *s, KBlock b, bool *known)
{
    int64_t sum = 1, n;
    for (KInst i = kblock(s->k, b)->first; i.i; i = kinst(s->k, i)->next) {
        const KInstRec *r = kinst(s->k, i);
        int64_t one = r->op == KOP_CONST || r->op == KOP_DIM || r->op == KOP_YIELD ? 0
                      : kop_info(r->op)->flags & KF_MATH                           ? 16
                      : r->op == KOP_DIV || r->op == KOP_SQRT                      ? 4
                                                                                   : 1;
        if (r->op == KOP_MACC) {
            *known = false;
            one = INT64_MAX / 8;
        } else if (r->op == KOP_FOR) {
            if (!trip(s, r, &n)) {
                *known = false;
                n = 64;
            }
            one = times(n, work(s, r->body, known));
        }
        sum = sum + one < INT64_MAX / 4 ? sum + one : INT64_MAX / 4;
    }
    return sum;
}

/* ---- may a loop run in lanes? ---- */
static bool lane_type(DType t) { return dtype_compute(t) != DT_STR && (t == DT_BOOL || dtype_info(t)->bits >= 8); }

/* Arithmetic that lanes do well. */
static bool easy(const KInstRec *r)
{
    switch (r->op) {
    case KOP_ADD:
    case KOP_SUB:
    case KOP_MUL:
    case KOP_MIN:
    case KOP_MAX:
    case KOP_SELECT:
    case KOP_CAST:
    case KOP_AND:
    case KOP_OR:
    case KOP_FLOOR: /* places in an image */
    case KOP_TRUNC:
    case KOP_RINT: return true;
    case KOP_DIV: return dtype_is_float(r->type);
    default: return kop_info(r->op)->flags & KF_CMP;
    }
}

/* An index made of what was loaded and of easy arithmetic, each value looked at once. *loads: something was loaded for it. */
static bool index_from_memory(S *s, KVal v, KVal iv, bool *loads, int depth)
{
    KInst def = kval(s->k, v)->def;
    int64_t coef;
    if (s->seen[v.i] == s->asked) return true;
    if (kx_affine(s->k, s->m->dims, v, iv, &coef)) return true;
    if (!def.i) return *loads = true; /* carried by a loop inside */
    if (!depth) return false;
    const KInstRec *r = kinst(s->k, def);
    if (r->op == KOP_LOAD && s->m->target.vec_bits < 512 && dtype_info(s->k->param.p[r->param].elem)->bits < 64)
        return false; /* widened in lanes, they cost more than their checks save (x86-64-v3: 1.2) */
    if (r->op == KOP_LOAD || r->op == KOP_FOR) return *loads = true; /* looked at where it stands in the loop */
    if (!easy(r)) return false;
    for (uint32_t n = 0; n < r->n_arg; n++)
        if (!index_from_memory(s, karg(s->k, r, n), iv, loads, depth - 1)) return false;
    s->seen[v.i] = s->asked;
    return true;
}

/* A load whose lanes are gathered from where other loads say: where the target does that for elements of the size. */
static bool gathered(S *s, const KInstRec *r, KVal iv)
{
    const KBufRec *p = &s->k->param.p[r->param];
    unsigned bits = dtype_info(p->elem)->bits;
    bool loads = false;
    if (r->op != KOP_LOAD || p->space == KS_LOCAL) return false;
    /* AVX2 loads lanes one by one, but indices are checked in lanes, two to three times as fast; those of 64 bits are not */
    if (bits == 32 ? s->m->target.vec_bits < 256 : bits != 64 || s->m->target.vec_bits < 512) return false;
    s->asked++;
    for (uint32_t n = 0; n < p->rank; n++)
        if (!index_from_memory(s, karg(s->k, r, n), iv, &loads, GATHER_DEPTH)) return false;
    return loads;
}

static bool holds_math(const Kernel *k, KBlock b)
{
    for (KInst i = kblock(k, b)->first; i.i; i = kinst(k, i)->next)
        if (kop_info(kinst(k, i)->op)->flags & KF_MATH) return true;
    return false;
}

/* Elements that are a stride apart cost an access each, but what is computed of them goes 16 at a time: that pays where
 * it is an exponential or the like, and where a reduction would wait for itself in each step and the target gathers. */
static bool apart_pays(S *s, const KInstRec *r, bool math)
{
    unsigned bits = dtype_info(s->k->param.p[r->param].elem)->bits;
    return s->apart && (bits == 32 || bits == 64) && (math || (r->op == KOP_LOAD && s->m->target.vec_bits >= 512));
}

/* Stores in the block have stride 1 in iv, loads 0, a small one, or -1. *unit: something has stride 1. */
static bool strides_fit(S *s, KBlock b, KVal iv, bool *unit)
{
    bool math = s->apart && holds_math(s->k, b);
    for (KInst i = kblock(s->k, b)->first; i.i; i = kinst(s->k, i)->next) {
        const KInstRec *r = kinst(s->k, i);
        int64_t stride;
        if (r->op == KOP_MACC || (r->n_res && r->type == DT_STR)) return false;
        if (r->op == KOP_FOR) {
            if (r->loop != KLOOP_SEQ || kx_depends(s->k, karg(s->k, r, 0), iv) ||
                kx_depends(s->k, karg(s->k, r, 1), iv))
                return false;
            if (!strides_fit(s, r->body, iv, unit)) return false;
        }
        if (r->op != KOP_LOAD && r->op != KOP_STORE) continue;
        if (!lane_type(s->k->param.p[r->param].elem)) return false;
        if (!kx_access_stride(s->k, s->m->dims, i, iv, &stride)) {
            if (!gathered(s, r, iv)) return false;
            continue;
        }
        if (stride && apart_pays(s, r, math)) {
            *unit = true;
            continue;
        }
        if (stride < (r->op == KOP_LOAD ? -1 : 0) || stride > (r->op == KOP_LOAD ? STRIDE_MAX : 1)) return false;
        if (r->op == KOP_STORE && stride != 1) return false;
        *unit |= stride == 1;
    }
    return true;
}

static bool touches_local(const Kernel *k, KBlock b)
{
    for (KInst i = kblock(k, b)->first; i.i; i = kinst(k, i)->next) {
        const KInstRec *r = kinst(k, i);
        if ((r->op == KOP_LOAD || r->op == KOP_STORE) && k->param.p[r->param].space == KS_LOCAL) return true;
        if (r->op == KOP_FOR && touches_local(k, r->body)) return true;
    }
    return false;
}

static bool holds_region(const Kernel *k, KBlock b)
{
    for (KInst i = kblock(k, b)->first; i.i; i = kinst(k, i)->next)
        if (kop_info(kinst(k, i)->op)->flags & KF_REGION) return true;
    return false;
}

static bool holds(const Kernel *k, KBlock b, KLoop kind)
{
    for (KInst i = kblock(k, b)->first; i.i; i = kinst(k, i)->next) {
        const KInstRec *r = kinst(k, i);
        if (r->op == KOP_FOR && (r->loop == kind || holds(k, r->body, kind))) return true;
    }
    return false;
}

/* Iterations of a par loop are independent, but lanes share the thread's locals. */
static bool par_in_lanes(S *s, KInst i)
{
    const KInstRec *r = kinst(s->k, i);
    int64_t n;
    bool unit = false;
    if (trip(s, r, &n) && n < TRIP_MIN) return false;
    return !touches_local(s->k, r->body) && strides_fit(s, r->body, (KVal){kblock(s->k, r->body)->param}, &unit) &&
           unit;
}

/* ---- seq loops with stores: does another iteration touch what one stores? ---- */
/* What a launch passes for a parameter. */
static KBuf passed(const Kernel *k, const KStep *launch, uint32_t param)
{
    uint32_t n = 0;
    for (uint32_t i = 1; i < param; i++) n += k->param.p[i].space == KS_PARAM;
    return launch->buf_arg[n];
}

static bool may_alias(S *s, uint32_t p, uint32_t q)
{
    if (p == q) return true;
    if (s->k->param.p[p].space == KS_LOCAL || s->k->param.p[q].space == KS_LOCAL) return false;
    const KLaunchList *l = klaunches_of(s->launches, s->k);
    for (uint32_t i = 0; i < l->step.n; i++)
        if (kbuf_overlap(s->m, passed(s->k, l->step.p[i], p), passed(s->k, l->step.p[i], q))) return true;
    return false;
}

static bool same_index(const Kernel *k, const KInstRec *x, const KInstRec *y)
{
    for (uint32_t n = 0; n < k->param.p[x->param].rank; n++)
        if (karg(k, x, n).i != karg(k, y, n).i) return false;
    return true;
}

static bool stores_apart(S *s, KBlock b)
{
    const Kernel *k = s->k;
    for (KInst i = kblock(k, b)->first; i.i; i = kinst(k, i)->next) {
        const KInstRec *x = kinst(k, i);
        if (x->op != KOP_STORE) continue;
        for (KInst j = kblock(k, b)->first; j.i; j = kinst(k, j)->next) {
            const KInstRec *y = kinst(k, j);
            if (y->op != KOP_LOAD && y->op != KOP_STORE) continue;
            if (y->param == x->param ? !same_index(k, x, y) : may_alias(s, x->param, y->param)) return false;
        }
    }
    return true;
}

static bool seq_in_lanes(S *s, KInst i)
{
    const KInstRec *r = kinst(s->k, i);
    int64_t n;
    bool unit = false;
    if (r->loop != KLOOP_SEQ || holds_region(s->k, r->body) || (trip(s, r, &n) && n < TRIP_MIN)) return false;
    for (uint32_t c = 0; c < r->n_res; c++)
        if (!r->combine[c]) return false;
    return strides_fit(s, r->body, (KVal){kblock(s->k, r->body)->param}, &unit) && unit && stores_apart(s, r->body);
}

/* All innermost seq loops of the block can run in lanes (there is at least one). */
static bool rows_in_lanes(S *s, KBlock b, bool *some)
{
    for (KInst i = kblock(s->k, b)->first; i.i; i = kinst(s->k, i)->next) {
        const KInstRec *r = kinst(s->k, i);
        if (r->op != KOP_FOR) continue;
        if (holds_region(s->k, r->body) ? !rows_in_lanes(s, r->body, some) : !seq_in_lanes(s, i)) return false;
        *some = true;
    }
    return true;
}

/* ---- choices ---- */
/* Where nothing better is found. */
static bool apart(S *s, KInst i, bool (*in_lanes)(S *, KInst))
{
    s->apart = true;
    bool fits = in_lanes(s, i);
    s->apart = false;
    return fits;
}

static void choose_seq(S *s, KBlock b)
{
    for (KInst i = kblock(s->k, b)->first; i.i; i = kinst(s->k, i)->next) {
        const KInstRec *r = kinst(s->k, i);
        if (r->op != KOP_FOR || r->loop == KLOOP_VEC) continue;
        if (seq_in_lanes(s, i) || apart(s, i, seq_in_lanes)) s->any = s->choice[i.i].lanes = true;
        else choose_seq(s, r->body);
    }
}

static int64_t chunk_of(S *s, const KInstRec *r)
{
    bool known = true;
    int64_t c = WORK_ALONE / work(s, r->body, &known) / K_LANES * K_LANES;
    return c < K_LANES ? K_LANES : c > CHUNK_MAX ? CHUNK_MAX : c;
}

/* outer: iterations of the par loops around it. */
static void choose_par(S *s, KInst i, int64_t outer)
{
    const KInstRec *r = kinst(s->k, i);
    bool rows = false;
    int64_t n;
    if (holds(s->k, r->body, KLOOP_PAR)) {
        if (!trip(s, r, &n)) n = PAR_ENOUGH;
        for (KInst j = kblock(s->k, r->body)->first; j.i; j = kinst(s->k, j)->next) {
            if (kinst(s->k, j)->op != KOP_FOR) continue;
            if (kinst(s->k, j)->loop == KLOOP_PAR) choose_par(s, j, times(outer, n));
            else if (seq_in_lanes(s, j)) s->any = s->choice[j.i].lanes = true;
            else choose_seq(s, kinst(s->k, j)->body);
        }
        return;
    }
    if ((rows_in_lanes(s, r->body, &rows) && rows) || (!par_in_lanes(s, i) && (holds_region(s->k, r->body) || !apart(s, i, par_in_lanes)))) {
        choose_seq(s, r->body);
        return;
    }
    Choice *c = &s->choice[i.i];
    s->any = c->lanes = true;
    c->chunk = schedule_rows_width(s->m, s->k, i);
    c->rows = c->chunk > 0;
    if (c->rows) {
        bool share = s->m->threads && outer < PAR_ENOUGH;
        if (trip(s, r, &n) && share && n < 8 * CHUNK_MAX && c->chunk > ROWS_SHARED) c->chunk = ROWS_SHARED;
        return;
    }
    if (!s->m->threads || outer >= PAR_ENOUGH) return;
    c->chunk = chunk_of(s, r);
    if (trip(s, r, &n) && n <= c->chunk) c->chunk = 0;
}

static void choose(S *s)
{
    for (KInst i = kblock(s->k, s->k->top)->first; i.i; i = kinst(s->k, i)->next) {
        const KInstRec *r = kinst(s->k, i);
        bool known = true;
        int64_t n;
        if (r->op != KOP_FOR || r->loop == KLOOP_VEC) continue;
        if (r->loop == KLOOP_SEQ) {
            if (seq_in_lanes(s, i)) s->any = s->choice[i.i].lanes = true;
            else choose_seq(s, r->body);
            continue;
        }
        choose_par(s, i, 1);
        if (!s->m->threads || !trip(s, r, &n) || times(n, work(s, r->body, &known)) > WORK_ALONE || !known) continue;
        for (uint32_t j = 1; j < s->k->inst.n; j++) { /* little work: no par loop at all */
            const KInstRec *p = &s->k->inst.p[j];
            if (!p->block.i || p->op != KOP_FOR || p->loop != KLOOP_PAR || s->choice[j].rows) continue;
            s->any = true;
            s->choice[j].chunk = 0;
            s->choice[j].seq = !s->choice[j].lanes;
        }
    }
}

/* ---- the rebuilt kernel ---- */
static void block(R *s, KBlock b);

static void body_of(R *s, const KInstRec *r, KLoop kind, KVal lo, KVal hi)
{
    const KBlockRec *body = kblock(s->from, r->body);
    Kernel *k = kb_kernel(s->b);
    KVal init[K_CARRIES], out[K_CARRIES];
    KbLoop l;
    for (uint32_t c = 0; c < r->n_res; c++) init[c] = s->map[karg(s->from, r, 2 + c).i];
    kb_loop(s->b, &l, kind, lo, hi, r->n_res, init, r->combine);
    kinst(kb_kernel(s->b), l.inst)->down = kind == KLOOP_PAR && r->down;
    s->map[body->param] = l.iv;
    for (uint32_t c = 0; c < r->n_res; c++) s->map[body->param + 1 + c] = l.carry[c];
    for (uint32_t c = 0; c <= r->n_res; c++)
        kval(k, s->map[body->param + c])->name = kval(s->from, (KVal){body->param + c})->name;
    block(s, r->body);
    for (uint32_t c = 0; c < r->n_res; c++) out[c] = s->map[karg(s->from, kinst(s->from, body->last), c).i];
    kb_loop_end(s->b, &l, out);
    for (uint32_t c = 0; c < r->n_res; c++) {
        s->map[r->res + c] = l.result[c];
        kval(k, l.result[c])->name = kval(s->from, (KVal){r->res + c})->name;
    }
}

static void loop(R *s, KInst i)
{
    const KInstRec *r = kinst(s->from, i);
    const Choice *c = &s->choice[i.i];
    KVal lo = s->map[karg(s->from, r, 0).i], hi = s->map[karg(s->from, r, 1).i];
    if (!c->chunk) {
        body_of(s, r, c->lanes ? KLOOP_VEC : c->seq ? KLOOP_SEQ : r->loop, lo, hi);
        return;
    }
    Kb *b = s->b;
    int64_t from_k, to_k, chunk = c->chunk;
    bool known = kx_const_i(kb_kernel(b), s->m->dims, lo, &from_k) && kx_const_i(kb_kernel(b), s->m->dims, hi, &to_k);
    if (c->rows && known && to_k - from_k <= chunk) {
        schedule_rows_emit(b, s->from, s->map, i, lo, hi, (to_k - from_k + K_LANES - 1) / K_LANES * K_LANES);
        return;
    }
    KVal n = kb_sub(b, hi, lo), size = kb_i(b, c->chunk),
         count = kb_bin(b, KOP_FLOORDIV, kb_add(b, n, kb_i(b, c->chunk - 1)), size);
    KVal q = kb_for(b, KLOOP_PAR, kb_i(b, 0), count);
    kval(kb_kernel(b), q)->name = name_of(s->m->names, "c");
    KVal from = kb_add(b, kb_mul(b, q, size), lo), to = kb_min(b, kb_add(b, from, size), hi);
    if (c->rows) schedule_rows_emit(b, s->from, s->map, i, from, to, c->chunk);
    else body_of(s, r, KLOOP_VEC, from, to);
    kb_end(b);
}

static void block(R *s, KBlock b)
{
    for (KInst i = kblock(s->from, b)->first; i.i; i = kinst(s->from, i)->next) {
        const KInstRec *r = kinst(s->from, i);
        if (r->op == KOP_FOR) loop(s, i);
        else if (r->op != KOP_YIELD) kb_copy(s->b, s->from, i, s->map);
    }
}

static bool schedule(KModule *m, Kernel *k, KLaunches *launches)
{
    Arena a;
    arena_init(&a, "pass", m->arena->oom);
    S s = {.m = m, .k = k, .launches = launches, .choice = arena_array(&a, Choice, k->inst.n), .seen = arena_array(&a, uint32_t, k->val.n)};
    choose(&s);
    if (s.any) {
        Kernel old = *k;
        R r = {.m = m, .b = kb_reopen(m, k), .from = &old, .map = arena_array(&a, KVal, k->val.n), .choice = s.choice};
        block(&r, old.top);
        kb_replace(r.b, k);
    }
    arena_free(&a);
    return s.any;
}

bool kpass_schedule(KModule *m)
{
    bool changed = false;
    Arena a;
    KLaunches l;
    arena_init(&a, "pass", m->arena->oom);
    klaunches_init(&l, &a, m);
    for (uint32_t i = 0; i < m->kernel.n; i++) {
        changed |= schedule_versions(m, m->kernel.p[i], &l);
        changed |= schedule_collapse(m, m->kernel.p[i], &l);
        changed |= schedule_lanes(m, m->kernel.p[i]);
        changed |= schedule_maps(m, m->kernel.p[i]);
        changed |= schedule(m, m->kernel.p[i], &l);
    }
    arena_free(&a);
    return changed;
}

static PassResult run(PassCtx *c) { return kpass_schedule(c->k) ? PASS_CHANGED : PASS_UNCHANGED; }
const Pass pass_schedule = {.name = "schedule",
                            .brief = "collapse parallel loops, make innermost loops vector loops",
                            .kernel = true,
                            .run = run};
