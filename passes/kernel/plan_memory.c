/* plan_memory: gives every arena buffer a place.
 *   live range   from the first to the last step that mentions it, in program order. A buffer of a `while` body that is
 *                also used outside, or that may carry a value from one round to the next (the first mention in the
 *                body is not a write that every other one follows), lives through the whole loop
 *   in place     a launch may write its result over an operand that dies there, when the kernel allows it
 *                (plan_inplace.c): both are one item
 *   places       plan_place.c; plan_stack.c where formulas of the symbols are too loose
 *   locals       one after the other per kernel; the scratch of a thread is the largest kernel's. A kernel whose locals
 *                have no bound at entry, or a large one, asks for room when it is launched (Kernel.room)
 * Offsets are multiples of 64. Sizes that mention node symbols are reserved at their upper bound; without one the
 * buffer should have been a box (diagnosed). But for results in place, a step's inputs and outputs live together. Views
 * keep what they show alive.
 * kplan_check proves the result. */
#include "base/bug.h"
#include "base/map.h"
#include "passes/kernel/plan.h"
#include "passes/pass.h"
#include <stdlib.h>
#include <string.h>

typedef struct Touch {
    KBuf buf;
    uint32_t pos;
    bool write_only;
    const KSteps *list;
} Touch;
typedef struct Loop {
    uint32_t first, last;
} Loop; /* positions of the steps of a body */
typedef struct Parent {
    const KSteps *list, *parent;
} Parent;
typedef struct Live {
    uint32_t first, last;
    bool used;
} Live;
typedef struct Plan {
    KModule *m;
    Arena a;
    uint32_t pos;
    VEC(Touch) touch;
    VEC(Loop) loop; /* inner ones before outer ones */
    VEC(Parent) parent;
    Live *live;              /* by buffer */
    Dim *raw;                /* by arena buffer: its size before rounding, which is easier to compare */
    VEC(const KStep *) step; /* by position */
    KBuf *over;              /* by buffer: the one whose memory it takes over where both are touched */
    PlanStat stat;
    bool failed;
} Plan;

/* ---- live ranges ---- */
static void touch(Plan *p, const KSteps *l, KBuf b, bool write_only)
{
    KBuf root = b.i ? kbuf_root(p->m, b) : b;
    if (root.i && kbuf(p->m, root)->space == KS_ARENA) vec_push(&p->a, &p->touch, (Touch){root, p->pos, write_only, l});
}

static void walk(Plan *p, const KSteps *l, const KSteps *parent)
{
    vec_push(&p->a, &p->parent, (Parent){l, parent});
    for (const KStep *s = l->first; s; s = s->next) {
        uint32_t n = 0, first;
        p->pos++;
        vec_push(&p->a, &p->step, s);
        touch(p, l, s->buf, false);
        touch(p, l, s->src, false);
        for (uint32_t i = 0; i < s->n_arg; i++)
            if (s->arg[i].kind == KA_BUF) touch(p, l, s->arg[i].buf, s->call->args[i] == 'o');
        for (uint32_t i = 1; s->kind == KST_LAUNCH && i < s->kernel->param.n; i++)
            if (s->kernel->param.p[i].space == KS_PARAM)
                touch(p, l, s->buf_arg[n++], s->kernel->param.p[i].out && !kx_param_read(s->kernel, i));
        first = p->pos;
        if (s->body) walk(p, s->body, l);
        if (s->other) walk(p, s->other, l);
        if (s->kind == KST_WHILE) vec_push(&p->a, &p->loop, (Loop){first, p->pos});
    }
}

static bool list_inside(const Plan *p, const KSteps *l, const KSteps *outer)
{
    while (l && l != outer) {
        uint32_t i = 0;
        while (p->parent.p[i].list != l) i++;
        l = p->parent.p[i].parent;
    }
    return l == outer;
}

/* Touches of one buffer are neighbours after sorting, in program order. */
static int by_buffer(const void *x, const void *y)
{
    const Touch *a = x, *b = y;
    if (a->buf.i != b->buf.i) return a->buf.i < b->buf.i ? -1 : 1;
    if (a->pos != b->pos) return a->pos < b->pos ? -1 : 1;
    return (a->write_only ? 1 : 0) - (b->write_only ? 1 : 0);
}

static void live_range(Plan *p, const Touch *t, uint32_t n)
{
    Live *v = &p->live[t->buf.i];
    *v = (Live){t[0].pos, t[n - 1].pos, true};
    for (uint32_t l = 0; l < p->loop.n; l++) {
        Loop o = p->loop.p[l];
        uint32_t inside = 0;
        bool carried = false;
        const Touch *head = NULL;
        for (uint32_t i = 0; i < n; i++) {
            if (t[i].pos <= o.first || t[i].pos > o.last) continue;
            inside++;
            if (!head) head = &t[i];
            carried |= !head->write_only || !list_inside(p, t[i].list, head->list);
        }
        if (!inside || (inside == n && !carried)) continue;
        if (v->first > o.first) v->first = o.first;
        if (v->last < o.last) v->last = o.last;
    }
}

static void live_ranges(Plan *p)
{
    vec_push(&p->a, &p->step, NULL); /* positions begin at 1 */
    walk(p, &p->m->program, NULL);
    p->live = arena_array(&p->a, Live, p->m->buf.n);
    if (p->touch.n) qsort(p->touch.p, p->touch.n, sizeof *p->touch.p, by_buffer);
    for (uint32_t i = 0, n; i < p->touch.n; i += n) {
        for (n = 1; i + n < p->touch.n && p->touch.p[i + n].buf.i == p->touch.p[i].buf.i; n++) continue;
        live_range(p, &p->touch.p[i], n);
    }
}

/* Do they live at the same time? Not when one takes over from the other, directly or by others between. */
static bool together(const Plan *p, KBuf a, KBuf b)
{
    const Live *x = &p->live[a.i], *y = &p->live[b.i];
    if (p->over[a.i].i == b.i || p->over[b.i].i == a.i) return false;
    return x->used && y->used && x->first <= y->last && y->first <= x->last;
}

/* ---- sizes ---- */
static Dim size_of(Plan *p, const KBufRec *r, Dim *raw)
{
    KModule *m = p->m;
    Dim bytes = kbuf_bytes(m, r);
    int64_t lo, hi;
    if (bytes.i) bytes = dim_resolve(m->dims, bytes);
    if (bytes.i && dim_has_kind(m->dims, bytes, SYM_NODE)) {
        dim_bounds(m->dims, bytes, &lo, &hi);
        bytes = hi == INT64_MAX ? DIM_NONE : dim_const(m->dims, hi);
    }
    if (bytes.i) { /* no size is negative; said where it cannot be proven, so that sums of sizes compare */
        dim_bounds(m->dims, bytes, &lo, &hi);
        if (lo < 0) bytes = dim_max(m->dims, bytes, dim_const(m->dims, 0));
    }
    *raw = bytes;
    if (bytes.i) bytes = plan_round64(m->dims, bytes);
    if (bytes.i) return bytes;
    p->failed = true;
    diag(m->diag, kloc_diag(m, r->loc), E_LOWER,
         arena_printf(m->arena, "the size of '%s' has no bound when the run starts", name_str(m->names, r->name)));
    return dim_const(m->dims, 0);
}

/* ---- in place ---- */

/* The step of a launch that is the last to touch `in` and the first to touch `out`; NULL: none. */
static const KStep *handover(const Plan *p, KBuf in, KBuf out)
{
    const Live *x = &p->live[in.i], *y = &p->live[out.i];
    return x->last == y->first && p->step.p[x->last] && p->step.p[x->last]->kind == KST_LAUNCH ? p->step.p[x->last]
                                                                                               : NULL;
}

/* Results of a launch take the memory of operands that die there, the smallest that is large enough. p->over[out]: what
 * it lies over; a chain of those is one item. */
static void find_in_place(Plan *p, const Dim *bytes)
{
    KModule *m = p->m;
    bool *taken = arena_array(&p->a, bool, m->buf.n);
    p->over = arena_array(&p->a, KBuf, m->buf.n);
    for (uint32_t pos = 1; pos <= p->pos; pos++) {
        const KStep *s = p->step.p[pos];
        for (uint32_t i = 0; s && s->kind == KST_LAUNCH && i < s->n_buf_arg; i++) {
            KBuf out = kbuf_root(m, s->buf_arg[i]), best = {0};
            if (!bytes[out.i].i || p->over[out.i].i || p->live[out.i].first != pos) continue;
            for (uint32_t j = 0; j < s->n_buf_arg; j++) {
                KBuf in = kbuf_root(m, s->buf_arg[j]);
                if (in.i == out.i || !bytes[in.i].i || taken[in.i] || handover(p, in, out) != s ||
                    p->live[in.i].first == pos || dim_le(m->dims, p->raw[out.i], p->raw[in.i]) != TRI_YES ||
                    !kinplace_launch(m, s, in, out))
                    continue;
                if (!best.i || dim_le(m->dims, p->raw[in.i], p->raw[best.i]) == TRI_YES) best = in;
            }
            if (!best.i) continue;
            taken[best.i] = true;
            p->over[out.i] = best;
            p->stat.in_place++;
        }
    }
}

/* ---- places ---- */
static KBuf first_of(const Plan *p, KBuf b)
{
    while (p->over[b.i].i) b = p->over[b.i];
    return b;
}

/* Items of the planner: one for each buffer, but for those that lie over another. */
static uint32_t make_items(Plan *p, const Dim *bytes, PlanItem *item, uint32_t *of)
{
    KModule *m = p->m;
    int64_t *value = plan_sample(m, &p->a, PLAN_USUAL);
    uint32_t n = 0;
    for (uint32_t i = 1; i < m->buf.n; i++) {
        if (!bytes[i].i || !p->live[i].used || p->over[i].i) continue;
        PlanItem *it = &item[n];
        *it = (PlanItem){.buf = {i}, .raw = p->raw[i], .first = p->live[i].first, .last = p->live[i].last};
        if (!dim_eval(m->dims, it->raw, value, &it->sample)) it->sample = INT64_MAX;
        of[i] = ++n;
    }
    for (uint32_t i = 1; i < m->buf.n; i++) {
        if (!bytes[i].i || !p->live[i].used || !p->over[i].i) continue;
        of[i] = of[first_of(p, (KBuf){i}).i];
        if (item[of[i] - 1].last < p->live[i].last) item[of[i] - 1].last = p->live[i].last;
    }
    return n;
}

/* The greatest ratio of the arena's end to what lives at once, in thousandths, and the bytes of both there; INT64_MAX: nobody
 * knows, as at none of the points all sizes are numbers. */
static int64_t measure(Plan *p, const PlanItem *item, uint32_t n, Dim end, PlanStat *stat)
{
    KModule *m = p->m;
    int64_t worst = 0, *len = arena_array(&p->a, int64_t, n + 1);
    bool known = !n;
    for (uint32_t k = 0; k < PLAN_POINTS; k++) {
        int64_t *value = plan_sample(m, &p->a, k), arena;
        bool fits = plan_values(m, value) && dim_eval(m->dims, end, value, &arena);
        for (uint32_t i = 0; i < n && fits; i++) {
            fits = dim_eval(m->dims, item[i].raw, value, &len[i]) && len[i] < INT64_MAX / 1024;
            len[i] = fits && len[i] > 0 ? (len[i] + 63) / 64 : 0;
        }
        if (!fits) continue;
        known = true;
        int64_t live = 64 * plan_live(&p->a, item, n, p->pos, len);
        int64_t ratio = live ? (int64_t)(1000.0 * (double)arena / (double)live + 0.5) : 1000;
        if (ratio < worst || (ratio == worst && k > PLAN_USUAL)) continue;
        worst = ratio;
        stat->live = live;
        stat->arena = arena;
    }
    return known ? worst : INT64_MAX;
}

#define TIGHT 1050 /* thousandths of what lives at once: with that, formulas of the symbols are good enough */

static Dim plan_arena(Plan *p, const Dim *bytes, const PlanSyms *old)
{
    KModule *m = p->m;
    PlanItem *item = arena_array(&p->a, PlanItem, m->buf.n);
    uint32_t *of = arena_array(&p->a, uint32_t, m->buf.n);
    uint32_t n = make_items(p, bytes, item, of);
    Dim zero = dim_const(m->dims, 0), end = plan_place(m, &p->a, item, n, p->pos);
    int64_t ratio = end.i ? measure(p, item, n, end, &p->stat) : INT64_MAX; /* a sum over hundreds of symbols is no formula */
    Dim stacked = ratio > TIGHT ? plan_stack(m, &p->a, item, n, p->pos, ratio, old) : DIM_NONE;
    if (stacked.i) {
        end = stacked;
        p->stat.stacked = true;
        measure(p, item, n, end, &p->stat);
    } else if (!end.i) {
        p->failed = true;
        diag(m->diag, diag_file(m->source), E_LOWER, "the memory for intermediate values leaves 64 bits");
        end = zero;
    }
    for (uint32_t i = 1; i < m->buf.n; i++) {
        if (!bytes[i].i) continue;
        KBufRec *r = kbuf(m, (KBuf){i});
        r->offset = of[i] && !p->failed ? item[of[i] - 1].offset : zero;
        r->bytes = of[i] && !p->failed ? item[of[i] - 1].bytes : zero;
    }
    p->stat.items = n;
    return end;
}

/* Is the local's size a formula of the entry symbols, or small whatever nodes decide? */
static bool is_bounded(KModule *m, const KBufRec *r)
{
    enum { MOST = 1 << 20 };
    Dim bytes = kbuf_bytes(m, r);
    int64_t lo, hi;
    if (bytes.i) bytes = dim_resolve(m->dims, bytes);
    if (!bytes.i || !dim_has_kind(m->dims, bytes, SYM_NODE)) return true;
    dim_bounds(m->dims, bytes, &lo, &hi);
    return hi <= MOST;
}

/* As large as the run finds it. */
static Dim exact_size(KModule *m, const KBufRec *r)
{
    Dim bytes = kbuf_bytes(m, r);
    return bytes.i ? plan_round64(m->dims, dim_max(m->dims, dim_resolve(m->dims, bytes), dim_const(m->dims, 0))) : bytes;
}

/* Puts the kernel's locals one after the other; returns where they end, DIM_NONE where that is no formula. */
static Dim stack_locals(Plan *p, Kernel *k, bool exact)
{
    KModule *m = p->m;
    Dim end = dim_const(m->dims, 0), raw;
    for (uint32_t n = 1; n < k->param.n && end.i; n++) {
        KBufRec *r = &k->param.p[n];
        if (r->space != KS_LOCAL) continue;
        r->bytes = exact ? exact_size(m, r) : size_of(p, r, &raw);
        r->offset = end;
        end = r->bytes.i ? dim_add(m->dims, end, r->bytes) : DIM_NONE;
    }
    return end;
}

static Dim plan_locals(Plan *p)
{
    KModule *m = p->m;
    Dim most = dim_const(m->dims, 0);
    for (uint32_t i = 0; i < m->kernel.n; i++) {
        Kernel *k = m->kernel.p[i];
        bool bounded = true;
        for (uint32_t n = 1; n < k->param.n; n++)
            bounded &= k->param.p[n].space != KS_LOCAL || is_bounded(m, &k->param.p[n]);
        k->room = DIM_NONE;
        Dim end = stack_locals(p, k, !bounded), all = bounded && end.i ? dim_max(m->dims, most, end) : DIM_NONE;
        if (all.i) most = all;
        else k->room = end; /* sizes that only the run knows, or a maximum that is no formula any more */
        if (!end.i) {
            p->failed = true;
            diag(m->diag, kloc_diag(m, k->loc), E_LOWER, "the scratch memory of a kernel leaves 64 bits");
            return dim_const(m->dims, 0);
        }
    }
    return most;
}

/* ---- the checker ---- */
/* false: not for all values of the symbols. */
static bool may_be_le(const Dims *d, Dim a, Dim b)
{
    enum { MANY = 256 };
    int64_t value[MANY], x, y;
    if (d->sym.n > MANY) return true;
    for (uint32_t i = 1; i < d->sym.n; i++) {
        const SymRec *s = &d->sym.p[i];
        int64_t k = s->multiple > 1 && s->multiple < 1 << 20 ? s->multiple : 1;
        value[i] = s->lo > 5 ? s->lo : s->hi < 5 * k ? s->hi : 5 * k;
    }
    return !dim_eval(d, a, value, &x) || !dim_eval(d, b, value, &y) || x <= y;
}

bool kbuf_overlap(KModule *m, KBuf a, KBuf b)
{
    KBuf x = kbuf_root(m, a), y = kbuf_root(m, b);
    const KBufRec *p = kbuf(m, x), *q = kbuf(m, y);
    Dims *d = m->dims;
    if (x.i == y.i) return true;
    if (p->space == KS_OUT && q->space == KS_IN) {
        const KBufRec *t = p;
        p = q;
        q = t;
    }
    if (p->space == KS_IN && q->space == KS_OUT) return m->input.p[p->port].alias == q->port;
    if (p->space != KS_ARENA || q->space != KS_ARENA || !p->offset.i || !q->offset.i) return false;
    if (dim_is(d, p->bytes, 0) || dim_is(d, q->bytes, 0)) return false;
    if (dim_same(p->offset, q->offset)) return true;
    Dim pe = dim_add(d, p->offset, p->bytes), qe = dim_add(d, q->offset, q->bytes);
    if (pe.i && qe.i && plan_apart(m, p->offset, pe, q->offset, qe)) return false;
    /* a proof that fails is dear: only the order that holds for some numbers is tried */
    return !(pe.i && may_be_le(d, pe, q->offset) && dim_le(d, pe, q->offset) == TRI_YES) &&
           !(qe.i && may_be_le(d, qe, p->offset) && dim_le(d, qe, p->offset) == TRI_YES);
}

/* Places that are sums of hundreds of forms, as those of models without ranks, do not always compare: what cannot be proven
 * apart must at least be so for some sizes. Small ones: products of a dozen axes shall fit 64 bits. */
enum { SIZES = 3 };

static int64_t *small_sizes(const KModule *m, Arena *a, int64_t size)
{
    const Dims *d = m->dims;
    int64_t *value = arena_array(a, int64_t, d->sym.n + 1);
    for (uint32_t i = 1; i < d->sym.n; i++) {
        const SymRec *s = &d->sym.p[i];
        int64_t v = s->multiple > 1 && s->multiple < 1 << 20 ? size * s->multiple : size;
        value[i] = v < s->lo ? s->lo : v > s->hi ? s->hi : v;
    }
    return value;
}

static bool apart_for_some(const KModule *m, int64_t *const *value, const KBufRec *a, const KBufRec *b)
{
    const Dims *d = m->dims;
    int64_t from[2], bytes[2];
    for (int k = 0; k < SIZES; k++)
        if (dim_eval(d, a->offset, value[k], &from[0]) && dim_eval(d, a->bytes, value[k], &bytes[0]) && dim_eval(d, b->offset, value[k], &from[1]) &&
            dim_eval(d, b->bytes, value[k], &bytes[1]) && (from[0] + bytes[0] <= from[1] || from[1] + bytes[1] <= from[0]))
            return true;
    return false;
}

/* For use in asserts: no two buffers that live at the same time share bytes; all lie inside the arena. */
static bool kplan_check(Plan *p)
{
    KModule *m = p->m;
    int64_t *value[SIZES];
    for (int k = 0; k < SIZES; k++) value[k] = small_sizes(m, &p->a, k + 1);
    for (uint32_t i = 1; i < m->buf.n; i++) {
        const KBufRec *r = kbuf(m, (KBuf){i});
        if (r->space != KS_ARENA) continue;
        Dim end = dim_add(m->dims, r->offset, r->bytes);
        if (!end.i || !dim_multiple_of(m->dims, r->offset, 64) || dim_le(m->dims, end, m->arena_bytes) == TRI_NO)
            BUG("plan-memory: %s lies outside the arena", name_str(m->names, r->name));
        for (uint32_t j = 1; j < i; j++)
            if (kbuf(m, (KBuf){j})->space == KS_ARENA && together(p, (KBuf){i}, (KBuf){j}) &&
                kbuf_overlap(m, (KBuf){i}, (KBuf){j}) && !apart_for_some(m, value, r, kbuf(m, (KBuf){j})))
                BUG("plan-memory: %s and %s live at the same time and share bytes", name_str(m->names, r->name),
                    name_str(m->names, kbuf(m, (KBuf){j})->name));
    }
    return true;
}

/* What the pass may change. (Not the text: printing hashes the weights.) */
static uint64_t fingerprint(const KModule *m)
{
    uint64_t h = hash_mix(hash_mix(m->planned, m->arena_bytes.i), m->scratch_bytes.i);
    for (uint32_t i = 1; i < m->buf.n; i++) h = hash_mix(hash_mix(h, m->buf.p[i].offset.i), m->buf.p[i].bytes.i);
    for (const KStep *s = m->program.first; s; s = s->next)
        if (s->kind == KST_BIND) h = hash_mix(hash_mix(h, s->sym.i), s->a.i);
    for (uint32_t k = 0; k < m->kernel.n; k++) {
        h = hash_mix(h, m->kernel.p[k]->room.i);
        for (uint32_t i = 1; i < m->kernel.p[k]->param.n; i++) {
            const KBufRec *r = &m->kernel.p[k]->param.p[i];
            h = hash_mix(hash_mix(h, r->offset.i), r->bytes.i);
        }
    }
    return h;
}

bool kpass_plan_memory(KModule *m, bool *failed) { return kpass_plan_memory_stat(m, failed, &(PlanStat){0}); }

bool kpass_plan_memory_stat(KModule *m, bool *failed, PlanStat *stat)
{
    Plan p = {.m = m};
    arena_init(&p.a, "pass", m->arena->oom);
    uint64_t before = fingerprint(m);
    Dim *bytes = arena_array(&p.a, Dim, m->buf.n);
    p.raw = arena_array(&p.a, Dim, m->buf.n);
    PlanSyms old = {0};
    plan_stack_undo(m, &p.a, &old);
    live_ranges(&p);
    for (uint32_t i = 1; i < m->buf.n; i++)
        if (m->buf.p[i].space == KS_ARENA) bytes[i] = size_of(&p, &m->buf.p[i], &p.raw[i]);
    find_in_place(&p, bytes);
    m->arena_bytes = plan_arena(&p, bytes, &old);
    m->places = NULL;
    m->scratch_bytes = plan_locals(&p);
    m->planned = !p.failed;
    assert(p.failed || kplan_check(&p));
    bool changed = fingerprint(m) != before;
    *failed = p.failed;
    *stat = p.stat;
    arena_free(&p.a);
    return changed;
}

static PassResult run(PassCtx *c)
{
    PlanStat stat;
    bool failed, changed = kpass_plan_memory_stat(c->k, &failed, &stat);
    pass_count(c, "places", stat.items);
    pass_count(c, "results in place of an operand", stat.in_place);
    if (stat.stacked) pass_count(c, "places that are computed when a run begins", stat.items);
    pass_count(c, "bytes of the arena (at the sizes of inputs where it is worst)", stat.arena);
    pass_count(c, "bytes that live at the same time at most", stat.live);
    if (stat.live > 0)
        pass_count(c, "arena in percent of that", (int64_t)(100.0 * (double)stat.arena / (double)stat.live + 0.5));
    return failed ? PASS_FAILED : changed ? PASS_CHANGED : PASS_UNCHANGED;
}
const Pass pass_plan_memory = {.name = "plan-memory",
                               .brief = "place intermediate buffers in one arena, reusing bytes whose buffers are dead",
                               .kernel = true,
                               .run = run};
