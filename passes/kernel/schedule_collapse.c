/* schedule_collapse: two par loops, the inner one all that the outer one holds, become one over the product when
 * in every access each is one index and the inner one's axis lies right inside the outer one's in memory:
 *   for %i = 0..N par {                                   for %i = 0..64*N par {
 *     for %j = 0..64 par {                      =>          store %y[%i] = max(load %x[%i], 0.0)
 *       store %y[%i, %j] = max(load %x[%i, %j], 0.0)      }
 * The parameters lose a dim, so each launch passes views of its buffers instead. Neither variable may be used for
 * anything else, and a parameter is changed only when all its accesses fit. A vec loop without carries counts as the
 * inner loop, too, since schedule makes vector loops anew afterwards: unless its stores are some elements apart, which
 * schedule would not choose (channels brought together, codegen/weave.c). */
#include "passes/kernel/schedule_collapse.h"
#include <string.h>

typedef struct Pair {
    KInst outer, inner;
    KVal i, j;
    struct Axes {
        int i, j; /* i: -1: unchanged */
    } *at;        /* by parameter: axes of the two variables */
    Dim trip;
} Pair;
typedef struct C {
    KModule *m;
    Kb *b;
    const Kernel *from;
    KVal *map;
    const Pair *pair;
} C;

static bool plain_zero(const KModule *m, const Kernel *k, KVal v)
{
    int64_t x;
    return kx_const_i(k, m->dims, v, &x) && x == 0;
}

/* The bound as a dim: a constant or a dim instruction. */
static bool as_dim(const KModule *m, const Kernel *k, KVal v, Dim *d)
{
    KInst def = kval(k, v)->def;
    if (!def.i) return false;
    if (kinst(k, def)->op == KOP_DIM) *d = kinst(k, def)->imm.dim;
    else if (kinst(k, def)->op == KOP_CONST) *d = dim_const(m->dims, kinst(k, def)->imm.i);
    else return false;
    return true;
}

/* The one loop in the block, when nothing but literals stands beside it. */
static KInst only_loop(const Kernel *k, KBlock b)
{
    KInst found = {0};
    for (KInst i = kblock(k, b)->first; i.i; i = kinst(k, i)->next) {
        KOp op = kinst(k, i)->op;
        if (op == KOP_CONST || op == KOP_DIM) continue;
        if (op != KOP_FOR || found.i) return (KInst){0};
        found = i;
    }
    return found;
}

static bool uses(const Kernel *k, const KInstRec *r, KVal v)
{
    for (uint32_t n = 0; n < r->n_arg; n++)
        if (karg(k, r, n).i == v.i) return true;
    return false;
}

static int axis_of(const Kernel *k, const KInstRec *r, KVal v)
{
    int found = -1;
    for (int n = 0; n < (int)k->param.p[r->param].rank; n++)
        if (karg(k, r, (uint32_t)n).i == v.i) {
            if (found >= 0) return -1;
            found = n;
        }
    return found;
}

/* The access fits: i and j are one axis each, j's lies right inside i's in memory. */
static bool access_fits(KModule *m, const Kernel *k, const KInstRec *r, const Pair *q, Dim extent)
{
    const KBufRec *b = &k->param.p[r->param];
    int i = axis_of(k, r, q->i), j = axis_of(k, r, q->j);
    for (uint32_t n = b->rank; n < r->n_arg; n++) /* the stored value, a predicate */
        if (karg(k, r, n).i == q->i.i || karg(k, r, n).i == q->j.i) return false;
    if (i < 0 || j < 0 || !dim_same(b->dim[j], extent)) return false;
    if (b->dense) return j == i + 1;
    Dim step = dim_mul(m->dims, b->stride[j], b->dim[j]);
    return step.i && dim_same(step, b->stride[i]);
}

static bool fits(KModule *m, const Kernel *k, Pair *q, Arena *a)
{
    const KInstRec *o = kinst(k, q->outer), *in = kinst(k, q->inner);
    Dim rows, extent;
    q->i = (KVal){kblock(k, o->body)->param};
    q->j = (KVal){kblock(k, in->body)->param};
    if (!plain_zero(m, k, karg(k, o, 0)) || !plain_zero(m, k, karg(k, in, 0))) return false;
    if (!as_dim(m, k, karg(k, o, 1), &rows) || !as_dim(m, k, karg(k, in, 1), &extent)) return false;
    q->trip = dim_mul(m->dims, rows, extent);
    if (!q->trip.i) return false;
    q->at = arena_array(a, struct Axes, k->param.n);
    for (uint32_t p = 0; p < k->param.n; p++) q->at[p].i = -1;
    for (uint32_t n = 1; n < k->inst.n; n++) {
        const KInstRec *r = &k->inst.p[n];
        if (!r->block.i || (!uses(k, r, q->i) && !uses(k, r, q->j))) continue;
        if (r->op != KOP_LOAD && r->op != KOP_STORE) return false;
        if (!access_fits(m, k, r, q, extent)) return false;
        struct Axes at = {axis_of(k, r, q->i), axis_of(k, r, q->j)}, *had = &q->at[r->param];
        if (had->i >= 0 && (had->i != at.i || had->j != at.j)) return false;
        *had = at;
    }
    for (uint32_t n = 1; n < k->inst.n; n++) { /* all accesses of a changed parameter */
        const KInstRec *r = &k->inst.p[n];
        if (!r->block.i || (r->op != KOP_LOAD && r->op != KOP_STORE) || q->at[r->param].i < 0) continue;
        if (!uses(k, r, q->i)) return false;
    }
    return true;
}

/* Is it a vec loop with a store that schedule has no lanes for? */
static bool lanes_apart(const KModule *m, const Kernel *k, KInst loop)
{
    const KInstRec *r = kinst(k, loop);
    KVal j = {kblock(k, r->body)->param};
    int64_t stride;
    for (KInst i = kblock(k, r->body)->first; r->loop == KLOOP_VEC && i.i; i = kinst(k, i)->next)
        if (kinst(k, i)->op == KOP_STORE && (!kx_access_stride(k, m->dims, i, j, &stride) || stride != 1)) return true;
    return false;
}

static bool find(KModule *m, const Kernel *k, Pair *q, Arena *a)
{
    for (uint32_t i = k->inst.n; i-- > 1;) { /* inner pairs first */
        const KInstRec *r = &k->inst.p[i];
        if (!r->block.i || r->op != KOP_FOR || r->loop != KLOOP_PAR) continue;
        *q = (Pair){.outer = {i}, .inner = only_loop(k, r->body)};
        if (!q->inner.i || kinst(k, q->inner)->loop == KLOOP_SEQ || kinst(k, q->inner)->n_res || lanes_apart(m, k, q->inner)) continue;
        if (fits(m, k, q, a)) return true;
    }
    return false;
}

/* ---- the rebuilt kernel ---- */
static void block(C *c, KBlock b);

static void access(C *c, const KInstRec *r)
{
    KVal a[RANK_MAX + 2];
    uint32_t n = 0;
    for (uint32_t i = 0; i < r->n_arg; i++)
        if (c->pair->at[r->param].i < 0 || i != (uint32_t)c->pair->at[r->param].i)
            a[n++] = c->map[karg(c->from, r, i).i];
    KVal v = kb_raw(c->b, r, n, a);
    if (r->n_res) c->map[r->res] = v;
}

static void loop(C *c, KInst i)
{
    const KInstRec *r = kinst(c->from, i), *in = kinst(c->from, c->pair->inner);
    const KBlockRec *body = kblock(c->from, r->body);
    KVal init[K_CARRIES], out[K_CARRIES];
    KbLoop l;
    for (uint32_t n = 0; n < r->n_res; n++) init[n] = c->map[karg(c->from, r, 2 + n).i];
    bool merged = i.i == c->pair->outer.i;
    KVal hi = merged ? kb_dim(c->b, c->pair->trip) : c->map[karg(c->from, r, 1).i];
    kb_loop(c->b, &l, r->loop, merged ? kb_i(c->b, 0) : c->map[karg(c->from, r, 0).i], hi, r->n_res, init, r->combine);
    kinst(kb_kernel(c->b), l.inst)->down = r->down;
    c->map[body->param] = l.iv;
    kval(kb_kernel(c->b), l.iv)->name = kval(c->from, (KVal){body->param})->name;
    for (uint32_t n = 0; n < r->n_res; n++) c->map[body->param + 1 + n] = l.carry[n];
    if (merged) {
        for (KInst x = body->first; x.i; x = kinst(c->from, x)->next) /* literals beside the inner loop */
            if (x.i != c->pair->inner.i) kb_copy(c->b, c->from, x, c->map);
        c->map[kblock(c->from, in->body)->param] = l.iv;
        block(c, in->body);
    } else block(c, r->body);
    for (uint32_t n = 0; n < r->n_res; n++) out[n] = c->map[karg(c->from, kinst(c->from, body->last), n).i];
    kb_loop_end(c->b, &l, out);
    for (uint32_t n = 0; n < r->n_res; n++) c->map[r->res + n] = l.result[n];
}

static void block(C *c, KBlock b)
{
    for (KInst i = kblock(c->from, b)->first; i.i; i = kinst(c->from, i)->next) {
        const KInstRec *r = kinst(c->from, i);
        if (r->op == KOP_YIELD) continue;
        if (r->op == KOP_FOR) loop(c, i);
        else if (r->op == KOP_LOAD || r->op == KOP_STORE) access(c, r);
        else kb_copy(c->b, c->from, i, c->map);
    }
}

/* The dim of i goes into that of j. */
static void merge_dims(KModule *m, KBufRec *r, struct Axes at)
{
    r->dim[at.j] = dim_mul(m->dims, r->dim[at.i], r->dim[at.j]);
    for (int i = at.i; i + 1 < r->rank; i++) {
        r->dim[i] = r->dim[i + 1];
        r->stride[i] = r->stride[i + 1];
    }
    r->rank--;
}

/* ---- launches ---- */
static KBuf view_like(KModule *m, KBuf b, const KBufRec *want)
{
    const KBufRec *r = kbuf(m, b);
    bool through = r->space == KS_VIEW && kbuf(m, r->base)->elem == r->elem;   /* BitCast's views read another type */
    KBuf base = through ? r->base : b;
    Dim offset = through ? r->offset : dim_const(m->dims, 0);
    for (uint32_t i = 1; i < m->buf.n; i++) {
        const KBufRec *v = &m->buf.p[i];
        bool same = v->space == KS_VIEW && v->base.i == base.i && v->elem == r->elem && dim_same(v->offset, offset) &&
                    v->rank == want->rank && v->dense == want->dense;
        for (int n = 0; n < want->rank && same; n++)
            same = dim_same(v->dim[n], want->dim[n]) && (v->dense || dim_same(v->stride[n], want->stride[n]));
        if (same) return (KBuf){i};
    }
    return kbuf_view(m, base, kbuf(m, base)->name, want->rank, want->dim, want->dense ? NULL : want->stride, offset,
                     kbuf(m, b)->loc);
}

typedef struct Launches {
    KModule *m;
    const Kernel *k;
    VEC(struct Merge {
        uint32_t param;
        struct Axes axes;
    })
    merge;
} Launches;

static void launch(Launches *l, KStep *s)
{
    uint32_t n = 0;
    for (uint32_t p = 1; p < l->k->param.n; p++) {
        if (l->k->param.p[p].space != KS_PARAM) continue;
        KBufRec r = *kbuf(l->m, s->buf_arg[n]);
        bool changed = false;
        for (uint32_t i = 0; i < l->merge.n; i++)
            if (l->merge.p[i].param == p) {
                merge_dims(l->m, &r, l->merge.p[i].axes);
                changed = true;
            }
        if (changed) s->buf_arg[n] = view_like(l->m, s->buf_arg[n], &r);
        n++;
    }
}

bool schedule_collapse(KModule *m, Kernel *k, KLaunches *launches)
{
    Launches l = {.m = m, .k = k};
    Arena a;
    Pair q;
    arena_init(&a, "pass", m->arena->oom);
    bool changed = false;
    for (; find(m, k, &q, &a); changed = true) {
        Kernel old = *k;
        C c = {.m = m, .b = kb_reopen(m, k), .from = &old, .map = arena_array(&a, KVal, k->val.n), .pair = &q};
        for (uint32_t p = 1; p < old.param.n; p++)
            if (q.at[p].i >= 0) {
                merge_dims(m, &kb_kernel(c.b)->param.p[p], q.at[p]);
                if (old.param.p[p].space == KS_PARAM) vec_push(&a, &l.merge, (struct Merge){p, q.at[p]});
            }
        block(&c, old.top);
        kb_replace(c.b, k);
    }
    const KLaunchList *of = klaunches_of(launches, k);
    for (uint32_t i = 0; changed && i < of->step.n; i++) launch(&l, of->step.p[i]);
    arena_free(&a);
    return changed;
}
