/* plan_memory: gives every arena buffer a place.
 *   live range   from the first to the last step that mentions it, in program order. A buffer of a `while` body that is
 *                also used outside, or that may carry a value from one round to the next (the first mention in the
 *                body is not a write that every other one follows), lives through the whole loop
 *   constants    largest first, each into the smallest gap that its live range leaves (best fit), else behind all
 *   symbolic     large ones first (as for a likely value of each symbol), each into a free slot of the same size
 *                expression, else of a provably larger one, else a new slot; slots lie behind the constants, one
 *                after the other, at formulas
 *   locals       one after the other per kernel; the scratch of a thread is the largest kernel's
 * Offsets are multiples of 64. Sizes that mention node symbols are reserved at their upper bound; without one the
 * buffer should have been a box (diagnosed). Nothing is shared in place: a step's inputs and outputs live together.
 * kplan_check proves the result. */
#include "base/bug.h"
#include "passes/kernel/kpasses.h"
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
    Live *live; /* by buffer */
    Dim *raw;   /* by arena buffer: its size before rounding, which is easier to compare */
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
    walk(p, &p->m->program, NULL);
    p->live = arena_array(&p->a, Live, p->m->buf.n);
    if (p->touch.n) qsort(p->touch.p, p->touch.n, sizeof *p->touch.p, by_buffer);
    for (uint32_t i = 0, n; i < p->touch.n; i += n) {
        for (n = 1; i + n < p->touch.n && p->touch.p[i + n].buf.i == p->touch.p[i].buf.i; n++) continue;
        live_range(p, &p->touch.p[i], n);
    }
}

static bool together(const Plan *p, KBuf a, KBuf b)
{
    const Live *x = &p->live[a.i], *y = &p->live[b.i];
    return x->used && y->used && x->first <= y->last && y->first <= x->last;
}

/* ---- sizes ---- */
static Dim round64(KModule *m, Dim bytes)
{
    Dims *d = m->dims;
    if (dim_multiple_of(d, bytes, 64)) return bytes;
    return dim_mul(d, dim_ceildiv(d, bytes, dim_const(d, 64)), dim_const(d, 64));
}

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
    if (bytes.i) bytes = round64(m, bytes);
    if (bytes.i) return bytes;
    p->failed = true;
    diag(m->diag, kloc_diag(m, r->loc), E_LOWER,
         arena_printf(m->arena, "the size of '%s' has no bound when the run starts", name_str(m->names, r->name)));
    return dim_const(m->dims, 0);
}

/* ---- places ---- */
typedef struct Fixed {
    KBuf buf;
    int64_t bytes, offset;
} Fixed;

static int by_size(const void *x, const void *y)
{
    const Fixed *a = x, *b = y;
    if (a->bytes != b->bytes) return a->bytes > b->bytes ? -1 : 1;
    return a->buf.i < b->buf.i ? -1 : a->buf.i > b->buf.i;
}

static int by_offset(const void *x, const void *y)
{
    const Fixed *a = *(Fixed *const *)x, *b = *(Fixed *const *)y;
    return a->offset < b->offset ? -1 : a->offset > b->offset;
}

/* The smallest gap between placed buffers that live at the same time. */
static void place(const Plan *p, Fixed *all, uint32_t n, Fixed **tmp)
{
    Fixed *me = &all[n];
    uint32_t k = 0;
    int64_t end = 0, best = INT64_MAX;
    for (uint32_t i = 0; i < n; i++)
        if (together(p, all[i].buf, me->buf) && all[i].bytes) tmp[k++] = &all[i];
    if (k) qsort(tmp, k, sizeof *tmp, by_offset);
    me->offset = -1;
    for (uint32_t i = 0; i < k; i++) {
        int64_t gap = tmp[i]->offset - end;
        if (gap >= me->bytes && gap < best) {
            best = gap;
            me->offset = end;
        }
        if (tmp[i]->offset + tmp[i]->bytes > end) end = tmp[i]->offset + tmp[i]->bytes;
    }
    if (me->offset < 0) me->offset = end;
}

static Dim plan_fixed(Plan *p, Dim *bytes)
{
    KModule *m = p->m;
    VEC(Fixed) all = {0};
    int64_t n, end = 0;
    for (uint32_t i = 1; i < m->buf.n; i++)
        if (bytes[i].i && dim_is_const(m->dims, bytes[i], &n))
            vec_push(&p->a, &all, (Fixed){{i}, p->live[i].used ? n : 0, 0});
    if (all.n) qsort(all.p, all.n, sizeof *all.p, by_size);
    Fixed **tmp = arena_array(&p->a, Fixed *, all.n);
    for (uint32_t i = 0; i < all.n; i++) {
        place(p, all.p, i, tmp);
        KBufRec *r = kbuf(m, all.p[i].buf);
        r->offset = dim_const(m->dims, all.p[i].offset);
        r->bytes = dim_const(m->dims, all.p[i].bytes);
        if (all.p[i].offset + all.p[i].bytes > end) end = all.p[i].offset + all.p[i].bytes;
    }
    return dim_const(m->dims, end);
}

typedef struct Slot {
    Dim bytes, raw;
    VEC(KBuf) in;
} Slot;
typedef struct Guess {
    KBuf buf;
    int64_t bytes;
    uint32_t first;
} Guess;

static int by_guess(const void *x, const void *y)
{
    const Guess *a = x, *b = y;
    if (a->bytes != b->bytes) return a->bytes > b->bytes ? -1 : 1;
    if (a->first != b->first) return a->first < b->first ? -1 : 1;
    return a->buf.i < b->buf.i ? -1 : a->buf.i > b->buf.i;
}

/* Sizes for sorting: symbols at their upper bound when that is small, else at a thousand or their lower bound. */
static Guess *guesses(Plan *p, const Dim *bytes, uint32_t *n)
{
    KModule *m = p->m;
    int64_t *value = arena_array(&p->a, int64_t, m->dims->sym.n + 1), k;
    VEC(Guess) all = {0};
    for (uint32_t i = 1; i < m->dims->sym.n; i++) {
        const SymRec *s = &m->dims->sym.p[i];
        value[i] = s->hi <= 1 << 20 ? s->hi : s->lo > 1024 ? s->lo : 1024;
    }
    for (uint32_t i = 1; i < m->buf.n; i++)
        if (bytes[i].i && !dim_is_const(m->dims, bytes[i], &k)) {
            if (!dim_eval(m->dims, bytes[i], value, &k)) k = INT64_MAX;
            vec_push(&p->a, &all, (Guess){{i}, k, p->live[i].first});
        }
    if (all.n) qsort(all.p, all.n, sizeof *all.p, by_guess);
    *n = all.n;
    return all.p;
}

static bool slot_free(const Plan *p, const Slot *s, KBuf b)
{
    for (uint32_t k = 0; k < s->in.n; k++)
        if (together(p, s->in.p[k], b)) return false;
    return true;
}

static Dim plan_symbolic(Plan *p, Dim *bytes, Dim end)
{
    KModule *m = p->m;
    VEC(Slot) slot = {0};
    uint32_t n;
    Guess *all = guesses(p, bytes, &n);
    uint32_t *in = arena_array(&p->a, uint32_t, n);
    for (uint32_t i = 0; i < n; i++) {
        KBuf me = all[i].buf;
        uint32_t found = slot.n;
        for (uint32_t s = 0; s < slot.n; s++) {
            bool same = dim_same(slot.p[s].bytes, bytes[me.i]);
            if ((!same && (found < slot.n || dim_le(m->dims, p->raw[me.i], slot.p[s].raw) != TRI_YES)) ||
                !slot_free(p, &slot.p[s], me))
                continue;
            found = s;
            if (same) break;
        }
        if (found == slot.n) vec_push(&p->a, &slot, (Slot){.bytes = bytes[me.i], .raw = p->raw[me.i]});
        vec_push(&p->a, &slot.p[found].in, me);
        in[i] = found;
    }
    for (uint32_t s = 0; s < slot.n; s++) {
        for (uint32_t i = 0; i < n; i++)
            if (in[i] == s) {
                kbuf(m, all[i].buf)->offset = end;
                kbuf(m, all[i].buf)->bytes = slot.p[s].bytes;
            }
        end = dim_add(m->dims, end, slot.p[s].bytes);
        if (!end.i) {
            p->failed = true;
            diag(m->diag, diag_file(m->source), E_LOWER, "the memory for intermediate values leaves 64 bits");
            return dim_const(m->dims, 0);
        }
    }
    return end;
}

static Dim plan_locals(Plan *p)
{
    KModule *m = p->m;
    Dim most = dim_const(m->dims, 0), raw;
    for (uint32_t i = 0; i < m->kernel.n; i++) {
        Kernel *k = m->kernel.p[i];
        Dim end = dim_const(m->dims, 0);
        for (uint32_t n = 1; n < k->param.n && end.i; n++) {
            KBufRec *r = &k->param.p[n];
            if (r->space != KS_LOCAL) continue;
            r->bytes = size_of(p, r, &raw);
            r->offset = end;
            end = dim_add(m->dims, end, r->bytes);
        }
        if (end.i) most = dim_max(m->dims, most, end);
        if (!end.i || !most.i) {
            p->failed = true;
            diag(m->diag, kloc_diag(m, k->loc), E_LOWER, "the scratch memory of a kernel leaves 64 bits");
            return dim_const(m->dims, 0);
        }
    }
    return most;
}

/* ---- the checker ---- */
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
    return !(pe.i && dim_le(d, pe, q->offset) == TRI_YES) && !(qe.i && dim_le(d, qe, p->offset) == TRI_YES);
}

/* For use in asserts: no two buffers that live at the same time share bytes; all lie inside the arena. */
static bool kplan_check(Plan *p)
{
    KModule *m = p->m;
    for (uint32_t i = 1; i < m->buf.n; i++) {
        const KBufRec *r = kbuf(m, (KBuf){i});
        if (r->space != KS_ARENA) continue;
        Dim end = dim_add(m->dims, r->offset, r->bytes);
        if (!end.i || !dim_multiple_of(m->dims, r->offset, 64) || dim_le(m->dims, end, m->arena_bytes) == TRI_NO)
            BUG("plan-memory: %s lies outside the arena", name_str(m->names, r->name));
        for (uint32_t j = 1; j < i; j++)
            if (kbuf(m, (KBuf){j})->space == KS_ARENA && together(p, (KBuf){i}, (KBuf){j}) &&
                kbuf_overlap(m, (KBuf){i}, (KBuf){j}))
                BUG("plan-memory: %s and %s live at the same time and share bytes", name_str(m->names, r->name),
                    name_str(m->names, kbuf(m, (KBuf){j})->name));
    }
    return true;
}

bool kpass_plan_memory(KModule *m, bool *failed)
{
    Plan p = {.m = m};
    arena_init(&p.a, "pass", m->arena->oom);
    const char *before = kir_text(m, &p.a);
    Dim *bytes = arena_array(&p.a, Dim, m->buf.n);
    p.raw = arena_array(&p.a, Dim, m->buf.n);
    live_ranges(&p);
    for (uint32_t i = 1; i < m->buf.n; i++)
        if (m->buf.p[i].space == KS_ARENA) bytes[i] = size_of(&p, &m->buf.p[i], &p.raw[i]);
    m->arena_bytes = plan_symbolic(&p, bytes, plan_fixed(&p, bytes));
    m->scratch_bytes = plan_locals(&p);
    m->planned = !p.failed;
    assert(p.failed || kplan_check(&p));
    bool changed = strcmp(before, kir_text(m, &p.a)) != 0;
    *failed = p.failed;
    arena_free(&p.a);
    return changed;
}

static PassResult run(PassCtx *c)
{
    bool failed, changed = kpass_plan_memory(c->k, &failed);
    return failed ? PASS_FAILED : changed ? PASS_CHANGED : PASS_UNCHANGED;
}
const Pass pass_plan_memory = {.name = "plan-memory",
                               .brief = "place intermediate buffers in one arena, reusing bytes whose buffers are dead",
                               .kernel = true,
                               .run = run};
