/* cycles.c: an estimate of a kernel's time from its text: each instruction has a weight, loops multiply. The lanes of a
 * `vec` loop share three quarters of the two vectors a cycle that a core can do; a contraction comes nearer to them, less
 * what is lost around it. Good to a factor of two, which is what its users need: is this worth waking another thread?
 * Counts of iterations that only an outer loop or memory knows are replaced by the smallest bound that is known; of two
 * branches each counts. */
#include "ir/kernel/cycles.h"

#define SCALAR 0.4 /* cycles of an instruction by itself: some run side by side */
#define READ 16    /* bytes a cycle of a B that is too large for the first cache */

enum { UNKNOWN_TRIPS = 16, WHILE_ROUNDS = 16, NODE_SYMBOL = 256, ENTRY_SYMBOL = 256, UNIT = 1024, MOST_MORE = 100 };

typedef struct Part {
    Dim times;
    double weight;
} Part;
typedef struct Count {
    KModule *m;
    const Kernel *k;
    double lanes; /* of 32 bits in a vector */
    Arena a;
    VEC(Part) part; /* sum of weight * times */
    int64_t *at;    /* an example of sizes, made when one is asked for: a model without ranks has ten thousand symbols */
    bool failed;
} Count;

static void part(Count *c, Dim times, double weight)
{
    if (!times.i) c->failed = true;
    for (uint32_t i = 0; i < c->part.n; i++)
        if (dim_same(c->part.p[i].times, times)) {
            c->part.p[i].weight += weight;
            return;
        }
    vec_push(&c->a, &c->part, (Part){times, weight});
}

/* Values of all symbols: NODE_SYMBOL where their bounds allow it, for those that inputs bind `typical` there. */
static int64_t *example(Dims *d, Arena *a, int64_t typical)
{
    int64_t *at = arena_array(a, int64_t, d->sym.n + 1);
    for (uint32_t s = 1; s < d->sym.n; s++) {
        const SymRec *r = &d->sym.p[s];
        int64_t x = r->kind == SYM_ENTRY ? typical : NODE_SYMBOL;
        at[s] = r->lo > x ? r->lo : r->hi < x ? r->hi : x;
    }
    return at;
}

/* An extent that a node decides. */
static Dim guess(Count *c, Dim x)
{
    Dims *d = c->m->dims;
    int64_t n;
    if (!c->at) c->at = example(d, &c->a, 0);
    return dim_const(d, dim_eval(d, x, c->at, &n) && n > 0 ? n : NODE_SYMBOL);
}

/* The value as a dim; of a minimum with something unknown the known side, which is no less. DIM_NONE: not known. */
static Dim value(Count *c, KVal v)
{
    Dims *d = c->m->dims;
    const KValRec *r = kval(c->k, v);
    if (!r->def.i) return DIM_NONE;
    const KInstRec *i = kinst(c->k, r->def);
    if (i->op == KOP_CONST && !dtype_is_float(i->type) && i->type != DT_STR) return dim_const(d, i->imm.i);
    if (i->op == KOP_DIM) {
        Dim x = dim_resolve(d, i->imm.dim);
        return dim_has_kind(d, x, SYM_NODE) ? guess(c, x) : x;
    }
    if (i->n_arg != 2 || i->type != DT_I64) return DIM_NONE;
    Dim a = value(c, karg(c->k, i, 0)), b = value(c, karg(c->k, i, 1));
    int64_t k;
    switch (i->op) {
    case KOP_MIN: return a.i && b.i ? dim_min(d, a, b) : a.i ? a : b;
    case KOP_MAX: return dim_max(d, a, b);
    case KOP_ADD: return dim_add(d, a, b);
    case KOP_SUB: return a.i && !b.i ? a : dim_sub(d, a, b); /* what is left of an extent behind an index */
    case KOP_MUL: return dim_mul(d, a, b);
    case KOP_FLOORDIV:
    case KOP_DIV: return b.i && dim_is_const(d, b, &k) && k > 0 ? dim_div(d, a, b) : DIM_NONE;
    default: return DIM_NONE;
    }
}

/* An extent that says whether: a branch. */
static bool is_flag(Count *c, KVal v)
{
    const KValRec *r = kval(c->k, v);
    if (!r->def.i) return false;
    const KInstRec *i = kinst(c->k, r->def);
    if (i->op == KOP_CAST) return kval(c->k, karg(c->k, i, 0))->type == DT_BOOL;
    int64_t x, y;
    return i->op == KOP_SELECT && dim_is_const(c->m->dims, value(c, karg(c->k, i, 1)), &x) &&
           dim_is_const(c->m->dims, value(c, karg(c->k, i, 2)), &y) && x + y == 1 && x * y == 0;
}

static Dim trips(Count *c, KVal lo, KVal hi)
{
    Dims *d = c->m->dims;
    if (is_flag(c, hi)) return dim_const(d, 1);
    Dim a = value(c, lo), b = value(c, hi);
    bool had = d->overflow;
    Dim n = a.i && b.i ? dim_sub(d, b, a) : b;
    d->overflow = had;
    return n.i ? n : dim_const(d, UNKNOWN_TRIPS);
}

static double weight(const Count *c, const KInstRec *r, bool lanes)
{
    double w = kop_info(r->op)->flags & KF_MATH ? 20 : 1;
    if (r->op == KOP_CONST || r->op == KOP_DIM || r->op == KOP_YIELD) return 0;
    if (r->op == KOP_DIV || r->op == KOP_MOD || r->op == KOP_REM || r->op == KOP_FLOORDIV || r->op == KOP_SQRT) w = 4;
    if (r->op == KOP_POW) w = 40;
    return lanes ? w / (1.5 * c->lanes) : w * SCALAR;
}

/* Multiply-adds a cycle. */
static double products(const Count *c, const KMacc *x)
{
    const KTarget *t = &c->m->target;
    double n = 1.6 * c->lanes;
    if (x->quads) return t->bytes == KBYTES_FOURS ? 4 * n : n;
    return x->b_pairs ? 2 * n : t->fma ? n : n / 2;
}

/* Of an element of B, which each contraction reads once more; a group of four counts as one. */
static double b_bytes(const Count *c, const KMacc *x)
{
    if (x->quads) return 4;
    DType t = c->k->param.p[x->b].elem;
    return (double)dtype_bytes(t, 8) / 8;
}

static void block(Count *c, KBlock b, Dim times, bool lanes)
{
    Dims *d = c->m->dims;
    for (KInst i = kblock(c->k, b)->first; i.i && !c->failed; i = kinst(c->k, i)->next) {
        const KInstRec *r = kinst(c->k, i);
        if (r->op == KOP_FOR) {
            Dim n = dim_mul(d, times, trips(c, karg(c->k, r, 0), karg(c->k, r, 1)));
            part(c, times, 2);
            if (!lanes && r->loop != KLOOP_VEC) part(c, n, SCALAR);
            block(c, r->body, n, lanes || r->loop == KLOOP_VEC);
        } else if (r->op == KOP_MACC) {
            Dim rows = value(c, karg(c->k, r, KM_ROWS)), cols = value(c, karg(c->k, r, KM_COLS)),
                depth = dim_mul(d, value(c, karg(c->k, r, KM_K)), value(c, karg(c->k, r, KM_T)));
            Dim n = dim_mul(d, times, dim_mul(d, rows, cols));
            part(c, times, 20);
            part(c, n, 2 / c->lanes);
            part(c, dim_mul(d, n, depth), r->macc->sums / products(c, r->macc));
            Dim read = dim_mul(d, cols, depth);
            double bytes = b_bytes(c, r->macc);
            int64_t known;
            bool near = dim_is_const(d, read, &known) && (double)known * bytes <= c->m->target.l1_bytes / 2;
            if (!near) part(c, dim_mul(d, times, read), bytes / READ);
            block(c, r->macc->epi, n, true);
        } else part(c, times, weight(c, r, lanes));
    }
}

Dim kernel_cycles(KModule *m, const Kernel *k)
{
    Count c = {.m = m, .k = k, .lanes = m->target.vec_bits / 32};
    Dims *d = m->dims;
    bool had = d->overflow;
    arena_init(&c.a, "cycles", m->arena->oom);
    block(&c, k->top, dim_const(d, 1), false);
    Dim sum = dim_const(d, 0), unit = dim_const(d, UNIT);
    for (uint32_t i = 0; i < c.part.n && sum.i && !c.failed; i++) { /* in parts of a cycle */
        double w = c.part.p[i].weight * UNIT;
        sum = w < 1e15 ? dim_add(d, sum, dim_mul(d, c.part.p[i].times, dim_const(d, (int64_t)w + 1))) : DIM_NONE;
    }
    if (c.failed) sum = DIM_NONE;
    if (sum.i) sum = dim_div(d, sum, unit);
    d->overflow = had;
    arena_free(&c.a);
    return sum;
}

typedef struct All {
    KModule *m;
    Arena a;
    Map of; /* kernel -> its cycles */
    Dim sum;
    int64_t *at;        /* an example of sizes, */
    double fits, rest;  /* and the cycles there of the launches in `sum`, and of those that one formula has no room for */
    int64_t barriers;
} All;

static double cycles_at(const All *a, Dim x)
{
    int64_t n;
    return dim_eval(a->m->dims, x, a->at, &n) ? (double)n : 0;
}

static void add_cycles(All *a, Dim more)
{
    Dims *d = a->m->dims;
    Dim sum = a->sum.i && more.i ? dim_add(d, a->sum, more) : DIM_NONE;
    if (more.i) *(sum.i ? &a->fits : &a->rest) += cycles_at(a, more);
    if (sum.i || !more.i) a->sum = sum;
}

static void list(All *a, const KSteps *l, int64_t times)
{
    Dims *d = a->m->dims;
    for (const KStep *s = l->first; s; s = s->next) {
        uint64_t known;
        if (s->kind == KST_BARRIER) a->barriers += times;
        if (s->kind == KST_LAUNCH && kstep_shared(s)) {
            uint64_t key = (uint64_t)(uintptr_t)s->kernel;
            if (!map_get(&a->of, key, &known)) map_put(&a->of, key, known = kernel_cycles(a->m, s->kernel).i);
            add_cycles(a, dim_mul(d, (Dim){(uint32_t)known}, dim_const(d, times)));
        }
        if (s->kind == KST_CALL && s->call->team) a->sum = DIM_NONE; /* nobody knows */
        int64_t inside = s->kind == KST_WHILE && times < 1 << 20 ? times * WHILE_ROUNDS : times;
        if (s->body) list(a, s->body, inside);
        if (s->other) list(a, s->other, inside);
    }
}

typedef struct Constants {
    const KModule *m;
    Map seen; /* blobs */
    int64_t bytes;
} Constants;

static void constants_of(void *arg, KStep *s)
{
    Constants *c = arg;
    if (s->kind != KST_LAUNCH || !kstep_shared(s)) return;
    for (uint32_t a = 0; a < s->n_buf_arg; a++) {
        const KBufRec *b = kbuf(c->m, kbuf_root(c->m, s->buf_arg[a]));
        uint64_t known;
        if (b->space != KS_CONST || map_get(&c->seen, b->blob.i, &known)) continue;
        map_put(&c->seen, b->blob.i, 1);
        c->bytes += blob_bytes(c->m->blobs, b->blob);
    }
}

int64_t program_constants(const KModule *m)
{
    Constants c = {.m = m};
    Arena a;
    arena_init(&a, "constants", m->arena->oom);
    map_init(&c.seen, &a);
    kstep_each((KSteps *)&m->program, constants_of, &c);
    arena_free(&a);
    return c.bytes;
}

KCycles program_cycles(KModule *m)
{
    All a = {.m = m};
    bool had = m->dims->overflow;
    arena_init(&a.a, "cycles", m->arena->oom);
    map_init(&a.of, &a.a);
    a.sum = dim_const(m->dims, 0);
    a.at = example(m->dims, &a.a, ENTRY_SYMBOL);
    list(&a, &m->program, 1);
    bool fits = a.rest == 0 || (a.fits > 0 && a.rest < MOST_MORE * a.fits);
    KCycles c = {fits ? a.sum : DIM_NONE, fits && a.rest > 0 ? 1 + a.rest / a.fits : 1, a.barriers};
    m->dims->overflow = had;
    arena_free(&a.a);
    return c;
}
