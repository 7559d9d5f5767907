/* merge-launches: neighbours that go over the same nest and read the same elements become one.
 *   launch @k1(%x, %a)      for i, j par { store %a[i,j] = f(load %x[i,j]) }
 *   launch @k2(%x, %b)      for i, j par { store %b[i,j] = g(load %x[i,j]) }
 *     =>  launch @k3(%x, %a, %b)   for i, j par { v = load %x[i,j]   store %a[i,j] = f(v)   store %b[i,j] = g(v) }
 * Both halves of a rotation read both halves of the vector; two adjoints of a product read the same gradient; results of
 * one step of an optimizer read the same state: what is beyond the caches is read once, and lines that two launches
 * store to in turns are written once. Only nests of par loops around loads, pure instructions and stores, of which
 * neither stores what the other one touches: interleaved iterations give the same elements. All loads come before the
 * stores, as plan-memory wants where a result takes an operand's place. Before schedule. */
#include "passes/kernel/kpasses.h"
#include "passes/kernel/map_nest.h"
#include "passes/pass.h"
#include <string.h>

enum { SIZE = 64 /* instructions of both */, STREAMS = 10 /* parameters */ };

typedef struct Side {
    MapNest at;
    const KStep *step;
    uint32_t *param; /* of the new kernel, by parameter */
    KVal *map;
} Side;

/* A constant or a dim: what bounds of lowered nests are. */
static Dim bound(KModule *m, const Kernel *k, KVal v)
{
    int64_t c;
    KInst def = kval(k, v)->def;
    if (kx_const_i(k, m->dims, v, &c)) return dim_const(m->dims, c);
    return def.i && kinst(k, def)->op == KOP_DIM ? kinst(k, def)->imm.dim : (Dim){0};
}

/* The same loops, from 0 on; *count: iterations. */
static bool same_nest(KModule *m, const Side *a, const Side *b, Dim *count)
{
    *count = dim_const(m->dims, 1);
    if (a->at.n != b->at.n) return false;
    for (int i = 0; i < a->at.n; i++) {
        const KInstRec *x = kinst(a->at.k, a->at.loop[i]), *y = kinst(b->at.k, b->at.loop[i]);
        Dim hi = bound(m, a->at.k, karg(a->at.k, x, 1)), lo = bound(m, a->at.k, karg(a->at.k, x, 0));
        if (!hi.i || !lo.i || !dim_is(m->dims, lo, 0) || !dim_same(lo, bound(m, b->at.k, karg(b->at.k, y, 0))) ||
            !dim_same(hi, bound(m, b->at.k, karg(b->at.k, y, 1))))
            return false;
        *count = dim_mul(m->dims, *count, hi);
    }
    return count->i;
}

static void lies(KModule *m, KBuf b, KBufRec *r, Dim *offset)
{
    *r = *kbuf(m, b);
    *offset = dim_const(m->dims, 0);
    for (int i = 0; i < r->rank; i++) r->stride[i] = kbuf_stride(m, r, i);
    for (KBuf v = b; kbuf(m, v)->space == KS_VIEW; v = kbuf(m, v)->base)
        if (kbuf(m, v)->offset.i) *offset = dim_add(m->dims, *offset, kbuf(m, v)->offset);
}

/* Two parts of one buffer without a common element: of the same form, their innermost `n` axes side by side within what
 * the other axes step over, or, one axis, in each other's gaps. */
static bool apart(KModule *m, KBuf a, KBuf b)
{
    Dims *d = m->dims;
    KBufRec x, y;
    Dim xo, yo;
    int64_t far, span = 1, step = 0;
    lies(m, a, &x, &xo);
    lies(m, b, &y, &yo);
    if (x.elem != y.elem || x.rank != y.rank || kbuf_root(m, a).i != kbuf_root(m, b).i) return false;
    for (int i = 0; i < x.rank; i++)
        if (!x.stride[i].i || !dim_same(x.dim[i], y.dim[i]) || !dim_same(x.stride[i], y.stride[i])) return false;
    if (!xo.i || !yo.i || !dim_is_const(d, dim_sub(d, yo, xo), &far) || far == INT64_MIN) return false;
    far = far < 0 ? -far : far;
    for (int i = x.rank - 1; i >= 0; i--) {
        int64_t n, s, pitch = INT64_MAX;
        if (!dim_is_const(d, x.dim[i], &n) || !dim_is_const(d, x.stride[i], &s) || n < 1 || s < 0 || n > INT32_MAX || s > INT32_MAX) return false;
        span += (n - 1) * s;
        if (span > INT32_MAX || far > INT32_MAX) return false;
        if (n > 1 && !step) step = s;
        else if (n > 1) step = -1;
        bool steps = true;
        for (int o = 0; o < i; o++) {
            int64_t p;
            if (dim_is(d, x.dim[o], 1)) continue;
            if (dim_is_const(d, x.stride[o], &p) && p < pitch) pitch = p;
        }
        for (int o = 0; o < i; o++) steps &= dim_is(d, x.dim[o], 1) || (pitch < INT64_MAX && dim_multiple_of(d, x.stride[o], pitch));
        if (!steps || pitch < far + span) continue;
        if (far >= span || (step > 1 && far % step)) return true;
    }
    return false;
}

/* Neither stores what the other one loads or stores; some buffer of all elements is loaded by both. */
static bool independent(KModule *m, const Side *a, const Side *b, Dim count)
{
    bool shared = false;
    for (uint32_t p = 1; p < a->at.k->param.n; p++)
        for (uint32_t q = 1; q < b->at.k->param.n; q++) {
            bool stores = a->at.k->param.p[p].out, also = b->at.k->param.p[q].out;
            KBuf x = a->step->buf_arg[p - 1], y = b->step->buf_arg[q - 1];
            if (!stores && !also) {
                shared |= x.i == y.i && dim_same(kbuf_count(m, x), count);
                continue;
            }
            if (kbuf_overlap(m, x, y) && !(stores && also && apart(m, x, y))) return false;
        }
    return shared;
}

/* ---- the kernel of both ---- */

typedef struct Loads {
    KVal got[SIZE];
    KInstRec was[SIZE];
    KVal arg[SIZE][RANK_MAX + 2];
    uint32_t n;
} Loads;

static void copy_load(Kb *b, Side *s, KInst i, Loads *seen)
{
    const KInstRec *r = kinst(s->at.k, i);
    KInstRec like = *r;
    KVal arg[RANK_MAX + 2];
    like.param = s->param[r->param];
    for (uint32_t n = 0; n < r->n_arg; n++) arg[n] = s->map[karg(s->at.k, r, n).i];
    for (uint32_t k = 0; k < seen->n; k++)
        if (seen->was[k].param == like.param && seen->was[k].n_arg == r->n_arg && !memcmp(seen->arg[k], arg, r->n_arg * sizeof *arg)) {
            s->map[r->res] = seen->got[k];
            return;
        }
    s->map[r->res] = kb_raw(b, &like, r->n_arg, arg);
    memcpy(seen->arg[seen->n], arg, r->n_arg * sizeof *arg);
    seen->was[seen->n] = like;
    seen->got[seen->n++] = s->map[r->res];
}

static void copy_stores(Kb *b, Side *s)
{
    for (KInst i = kblock(s->at.k, s->at.block[s->at.n])->first; i.i; i = kinst(s->at.k, i)->next) {
        const KInstRec *r = kinst(s->at.k, i);
        KVal arg[RANK_MAX + 2];
        if (r->op != KOP_STORE) continue;
        KInstRec like = *r;
        like.param = s->param[r->param];
        for (uint32_t n = 0; n < r->n_arg; n++) arg[n] = s->map[karg(s->at.k, r, n).i];
        kb_raw(b, &like, r->n_arg, arg);
    }
}

static void copy_values(Kb *b, Side *s, int depth, Loads *seen)
{
    for (KInst i = kblock(s->at.k, s->at.block[depth])->first; i.i; i = kinst(s->at.k, i)->next) {
        if (kinst(s->at.k, i)->op == KOP_LOAD) copy_load(b, s, i, seen);
        else if (map_pure(kinst(s->at.k, i))) kb_copy(b, s->at.k, i, s->map);
    }
}

static const char *label(const KModule *m, const Kernel *k)
{
    const char *name = name_str(m->names, k->name), *rest = strchr(name, '_');
    return rest ? rest + 1 : name; /* k3_map */
}

static KStep *merged(KModule *m, Side *side, Arena *a)
{
    KSteps to = {0};
    Loads *seen = arena_new(a, Loads);
    Kb *b = kb_new(m, label(m, side[0].at.k), side[0].step->loc);
    for (int s = 0; s < 2; s++) {
        const Kernel *k = side[s].at.k;
        side[s].param = arena_array(a, uint32_t, k->param.n);
        side[s].map = arena_array(a, KVal, k->val.n);
        for (uint32_t p = 1; p < k->param.n; p++) side[s].param[p] = kb_param(b, side[s].step->buf_arg[p - 1], k->param.p[p].out);
    }
    for (int i = 0; i <= side[0].at.n; i++) {
        KVal iv = {0};
        for (int s = 0; s < 2; s++) copy_values(b, &side[s], i, seen);
        if (i == side[0].at.n) break;
        const KInstRec *r = kinst(side[0].at.k, side[0].at.loop[i]);
        iv = kb_for(b, KLOOP_PAR, side[0].map[karg(side[0].at.k, r, 0).i], side[0].map[karg(side[0].at.k, r, 1).i]);
        for (int s = 0; s < 2; s++) side[s].map[kblock(side[s].at.k, side[s].at.block[i + 1])->param] = iv;
    }
    for (int s = 0; s < 2; s++) copy_stores(b, &side[s]);
    for (int i = 0; i < side[0].at.n; i++) kb_end(b);
    kb_finish(b, &to);
    KStep *step = to.first;
    kstep_remove(&to, step);
    return step;
}

static bool merge(KModule *m, KSteps *list, KStep *x, KStep **next)
{
    KStep *y = x->next;
    Dim count;
    bool done = false;
    if (!y || x->kind != KST_LAUNCH || y->kind != KST_LAUNCH || x->single || y->single) return false;
    Arena a;
    arena_init(&a, "pass", m->arena->oom);
    Side side[2] = {{.step = x}, {.step = y}};
    if (x->n_buf_arg + y->n_buf_arg <= STREAMS && map_nest_find(x->kernel, &side[0].at) &&
        map_nest_find(y->kernel, &side[1].at) && side[0].at.size + side[1].at.size <= SIZE &&
        same_nest(m, &side[0], &side[1], &count) && independent(m, &side[0], &side[1], count)) {
        KStep *both = merged(m, side, &a);
        kstep_insert(list, x, both);
        kstep_remove(list, x);
        kstep_remove(list, y);
        *next = both;
        done = true;
    }
    arena_free(&a);
    return done;
}

static int64_t merge_list(KModule *m, KSteps *list)
{
    int64_t n = 0;
    for (KStep *s = list->first, *both; s;) {
        if (s->body) n += merge_list(m, s->body);
        if (s->other) n += merge_list(m, s->other);
        if (merge(m, list, s, &both)) s = both, n++;
        else s = s->next;
    }
    return n;
}

int64_t kpass_merge_launches(KModule *m) { return merge_list(m, &m->program); }

static PassResult run(PassCtx *c)
{
    int64_t n = kpass_merge_launches(c->k);
    pass_count(c, "launches merged into another", n);
    return n ? PASS_CHANGED : PASS_UNCHANGED;
}

const Pass pass_merge_launches = {.name = "merge-launches",
                                  .brief = "launches over the same nest that read the same elements become one",
                                  .kernel = true,
                                  .run = run};
