/* barriers: all threads walk the same steps; a barrier stands where a step touches memory that threads which may not
 * be there yet write, or writes memory that such threads touch, since the last barrier.
 *   launch @a(%x, %t)          launch @a(%x, %t)
 *   launch @b(%t, %y)     =>   barrier
 *                              launch @b(%t, %y)
 * Who does what: kernels with a par loop and team calls run on all threads; kernels without one, launches and calls that are single, scalar
 * loads, alloc, free and move on thread 0 alone: among those the order of steps suffices. Two buffers are the same
 * memory when their bytes overlap, which after planning may be so for different buffers. A symbol that thread 0 reads
 * (bind = load, call) is seen by all after a barrier, which stands before the next step that is not thread 0's;
 * within a loop also before it is read anew while others may still use its old value. Every thread does the other
 * binds, with the same value; the second bind of a symbol waits for those who use the first. A loop body that leaves
 * anything open ends with a barrier, so a round need not look at the one before. Existing barriers are dropped first:
 * they are always derived. */
#include "base/map.h"
#include "passes/kernel/kpasses.h"
#include "passes/pass.h"
#include <string.h>

typedef enum Who { THREAD_0, ALL } Who;
typedef struct Access {
    KBuf buf;
    bool write;
    Who who;
    int loops; /* loops around the latest step that does it */
} Access;
/* Since the last barrier: what was touched; a symbol was read by thread 0 only; symbols were used by all. bound:
 * symbols that have a value. */
typedef struct State {
    VEC(Access) open;
    bool sym_open, sym_used;
    uint64_t *bound; /* a bit each; NULL: none yet */
} State;
typedef struct B {
    KModule *m;
    Arena a;
    State s;
    int in_while;
} B;

/* What the step itself touches (not its bodies). */
static void accesses(B *b, const KStep *s, State *out)
{
    uint32_t n = 0;
    switch (s->kind) {
    case KST_LOAD: vec_push(&b->a, &out->open, (Access){s->buf, false, THREAD_0, 0}); break;
    case KST_ALLOC:
    case KST_FREE: vec_push(&b->a, &out->open, (Access){s->buf, true, THREAD_0, 0}); break;
    case KST_MOVE:
        vec_push(&b->a, &out->open, (Access){s->buf, true, THREAD_0, 0});
        vec_push(&b->a, &out->open, (Access){s->src, true, THREAD_0, 0});
        break;
    case KST_CALL:
        for (uint32_t i = 0; i < s->n_arg; i++)
            if (s->arg[i].kind == KA_BUF)
                vec_push(&b->a, &out->open,
                         (Access){s->arg[i].buf, s->call->args[i] != 'b', s->call->team ? ALL : THREAD_0, 0});
        break;
    case KST_LAUNCH:
        for (uint32_t p = 1; p < s->kernel->param.n; p++) {
            const KBufRec *r = &s->kernel->param.p[p];
            Who who = kstep_shared(s) ? ALL : THREAD_0;
            if (r->space != KS_PARAM) continue;
            KBuf arg = s->buf_arg[n++];
            if (kx_param_read(s->kernel, p)) vec_push(&b->a, &out->open, (Access){arg, false, who, 0});
            if (r->out) vec_push(&b->a, &out->open, (Access){arg, true, who, 0});
        }
        break;
    default: break;
    }
}

static bool binds_by_thread_0(const KStep *s)
{
    if (s->kind == KST_LOAD) return true;
    for (uint32_t i = 0; s->kind == KST_CALL && i < s->n_arg; i++)
        if (s->arg[i].kind == KA_SYM) return true;
    return false;
}

/* Steps that only thread 0 takes. */
static bool thread_0_only(const KStep *s)
{
    switch (s->kind) {
    case KST_LOAD:
    case KST_ALLOC:
    case KST_FREE:
    case KST_MOVE: return true;
    case KST_CALL: return !s->call->team;
    case KST_LAUNCH: return !kstep_shared(s);
    default: return false;
    }
}

static bool conflict(B *b, const Access *x, const Access *y)
{
    if (!x->write && !y->write) return false;
    if (x->who == THREAD_0 && y->who == THREAD_0) return false;
    return kbuf_overlap(b->m, x->buf, y->buf);
}

static size_t words(const B *b) { return b->m->dims->sym.n / 64 + 1; }

static void bind(B *b, Sym sym)
{
    if (!b->s.bound) b->s.bound = arena_array(&b->a, uint64_t, words(b));
    b->s.bound[sym.i / 64] |= UINT64_C(1) << sym.i % 64;
}

static bool is_bound(const State *s, Sym sym)
{
    return s->bound && s->bound[sym.i / 64] >> sym.i % 64 & 1;
}

/* Symbols that the step binds (not those of loops, which code generation keeps apart by itself). */
static uint32_t binds(const KStep *s, uint32_t n, Sym *out)
{
    if ((s->kind == KST_BIND || s->kind == KST_LOAD) && n == 0) *out = s->sym;
    else if (s->kind == KST_CALL && n < s->n_arg) *out = s->arg[n].kind == KA_SYM ? s->arg[n].sym : (Sym){0};
    else return 0;
    return 1;
}

static bool needs_barrier(B *b, const KStep *s, const State *mine)
{
    Sym sym;
    if (b->s.sym_open && !thread_0_only(s)) return true;
    if (b->in_while && b->s.sym_used && binds_by_thread_0(s)) return true;
    for (uint32_t n = 0; b->s.sym_used && binds(s, n, &sym); n++)
        if (sym.i && is_bound(&b->s, sym)) return true;
    for (uint32_t i = 0; i < b->s.open.n; i++)
        for (uint32_t n = 0; n < mine->open.n; n++)
            if (conflict(b, &b->s.open.p[i], &mine->open.p[n])) return true;
    return false;
}

static void barrier(B *b, KSteps *l, KStep *before)
{
    kstep_insert(l, before, kstep_new(b->m, KST_BARRIER, (KLoc){0}));
    b->s.open.n = 0;
    b->s.sym_open = b->s.sym_used = false;
}

static void add(B *b, const Access *x)
{
    for (uint32_t i = 0; i < b->s.open.n; i++) {
        Access *o = &b->s.open.p[i];
        if (o->buf.i != x->buf.i || o->write != x->write || o->who != x->who) continue;
        if (o->loops < x->loops) o->loops = x->loops;
        return;
    }
    vec_push(&b->a, &b->s.open, *x);
}

static State copy(B *b)
{
    State s = {.sym_open = b->s.sym_open, .sym_used = b->s.sym_used};
    for (uint32_t i = 0; i < b->s.open.n; i++) vec_push(&b->a, &s.open, b->s.open.p[i]);
    if (b->s.bound) s.bound = arena_memdup(&b->a, b->s.bound, words(b) * sizeof *s.bound);
    return s;
}

/* What is open on either way. */
static void merge(B *b, const State *other)
{
    for (uint32_t i = 0; i < other->open.n; i++) add(b, &other->open.p[i]);
    if (!b->s.bound) b->s.bound = other->bound;
    else if (other->bound)
        for (size_t i = 0; i < words(b); i++) b->s.bound[i] |= other->bound[i];
    b->s.sym_open |= other->sym_open;
    b->s.sym_used |= other->sym_used;
}

static bool any_bind_by_thread_0(const KSteps *l)
{
    for (const KStep *s = l->first; s; s = s->next)
        if (binds_by_thread_0(s) || (s->body && any_bind_by_thread_0(s->body)) ||
            (s->other && any_bind_by_thread_0(s->other)))
            return true;
    return false;
}

/* Does the body of the innermost loop leave anything that the next round or what follows might meet? */
static bool body_open(const B *b, const KSteps *body)
{
    for (uint32_t i = 0; i < b->s.open.n; i++)
        if (b->s.open.p[i].loops >= b->in_while) return true;
    return b->s.sym_open || (b->s.sym_used && any_bind_by_thread_0(body));
}

static void steps(B *b, KSteps *l)
{
    for (KStep *s = l->first; s; s = s->next) {
        State mine = {.sym_open = false};
        accesses(b, s, &mine);
        if (needs_barrier(b, s, &mine)) barrier(b, l, s);
        for (uint32_t i = 0; i < mine.open.n; i++) {
            mine.open.p[i].loops = b->in_while;
            add(b, &mine.open.p[i]);
        }
        Sym sym;
        for (uint32_t n = 0; binds(s, n, &sym); n++)
            if (sym.i) bind(b, sym);
        if (binds_by_thread_0(s)) b->s.sym_open = true;
        if (!thread_0_only(s)) b->s.sym_used = true;
        if (s->kind == KST_IF) {
            State start = copy(b), then;
            steps(b, s->body);
            then = b->s;
            b->s = start;
            steps(b, s->other);
            merge(b, &then);
        } else if (s->kind == KST_WHILE) {
            State start = copy(b);
            b->in_while++;
            steps(b, s->body);
            if (body_open(b, s->body)) barrier(b, s->body, NULL);
            b->in_while--;
            merge(b, &start);
        }
    }
}

static void drop(KSteps *l)
{
    for (KStep *s = l->first, *next; s; s = next) {
        next = s->next;
        if (s->kind == KST_BARRIER) kstep_remove(l, s);
        if (s->body) drop(s->body);
        if (s->other) drop(s->other);
    }
}

/* Steps in order, and where lists end. (Not the text: printing hashes the weights.) */
static void mix_step(void *h, KStep *s)
{
    *(uint64_t *)h = hash_mix(*(uint64_t *)h, 2 * (uint64_t)s->kind + (s->next != NULL));
}

bool kpass_barriers(KModule *m)
{
    uint64_t before = 0, after = 0;
    B b = {.m = m};
    arena_init(&b.a, "pass", m->arena->oom);
    kstep_each(&m->program, mix_step, &before);
    drop(&m->program);
    steps(&b, &m->program);
    kstep_each(&m->program, mix_step, &after);
    bool changed = after != before;
    arena_free(&b.a);
    return changed;
}

static PassResult run(PassCtx *c) { return kpass_barriers(c->k) ? PASS_CHANGED : PASS_UNCHANGED; }
const Pass pass_barriers = {
    .name = "barriers",
    .brief = "let threads wait for each other where a step needs another's results, and nowhere else",
    .kernel = true,
    .run = run};
