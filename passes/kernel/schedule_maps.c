/* schedule_maps: see schedule_maps.h. A nest of par loops around loads, pure instructions and stores, whose innermost loop
 * is a short row:
 *   for %i = 0..8 par { for %j = 0..8192 par { for %k = 0..32 par {
 *     store %a[%i, %j, %k] = mul(load %t[%j, %k], load %x[%i, %j, %k])   store %b[%i, %j, %k] = ... }}}
 * 1. What the outermost loop does not change (%t) and no second cache holds from one iteration to the next comes from
 *    memory each time; a few iterations go inside instead, next to the row: for %j { for %i { for %k }}.
 * 2. Several results: vectors of a row go to one of them after the other, not in turns. Lines of a caller's memory, where
 *    vectors lie across two, are then completed by the next store (RotaryEmbedding of 16 MB: 2.09 -> 1.74 ms; with 1.
 *    1.34). */
#include "passes/kernel/schedule_maps.h"
#include "passes/kernel/map_nest.h"

enum { INSIDE = 8 /* iterations that go inside */, STREAMS = 32, RUN = 128 /* bytes of a row */, JAM = 4 /* vectors of a row */ };

typedef struct Nest {
    KModule *m;
    MapNest at;
    bool inside; /* loop 0 goes next to the row */
    int64_t jam; /* vectors of a row side by side; 1: as it stands */
} Nest;

/* A map whose bounds are known in front of its loops. */
static bool find_nest(Nest *s, const Kernel *k)
{
    if (!map_nest_find(k, &s->at)) return false;
    for (int i = 0; i < s->at.n; i++)
        for (uint32_t e = 0; e < 2; e++) {
            KVal v = karg(k, kinst(k, s->at.loop[i]), e);
            int64_t c;
            if (kx_const_i(k, s->m->dims, v, &c)) continue;
            if (!kval(k, v)->def.i || kinst(k, kval(k, v)->def)->block.i != k->top.i) return false;
        }
    return true;
}

/* Iterations from 0 on; -1: not known. */
static int64_t trip(const Nest *s, int i)
{
    int64_t lo, hi;
    const KInstRec *r = kinst(s->at.k, s->at.loop[i]);
    if (!kx_const_i(s->at.k, s->m->dims, karg(s->at.k, r, 0), &lo) || lo || !kx_const_i(s->at.k, s->m->dims, karg(s->at.k, r, 1), &hi)) return -1;
    return hi;
}

static KVal index_of(const Nest *s, int i) { return (KVal){kblock(s->at.k, s->at.block[i + 1])->param}; }

static void decide(Nest *s)
{
    const KTarget *t = &s->m->target;
    int64_t row = trip(s, s->at.n - 1), few = trip(s, 0), across, down, count, again = 0, streams = 0, stores = 0, touched = 0;
    bool unit = true, known = true;
    for (KInst i = kblock(s->at.k, s->at.block[s->at.n])->first; i.i; i = kinst(s->at.k, i)->next) {
        const KInstRec *r = kinst(s->at.k, i);
        if (r->op != KOP_LOAD && r->op != KOP_STORE) continue;
        const KBufRec *b = &s->at.k->param.p[r->param];
        int64_t bytes = dtype_info(b->elem)->bits / 8;
        if (!kx_access_stride(s->at.k, s->m->dims, i, index_of(s, s->at.n - 1), &across) || (across != 1 && (across || r->op == KOP_STORE))) unit = false;
        stores += r->op == KOP_STORE;
        touched++;
        Dim all = dim_const(s->m->dims, bytes);
        for (int a = 0; a < b->rank && all.i; a++) all = dim_mul(s->m->dims, all, b->dim[a]);
        if (!kx_access_stride(s->at.k, s->m->dims, i, index_of(s, 0), &down) || !all.i || !dim_is_const(s->m->dims, all, &count)) known = false;
        else if (down) streams++;
        else if (r->op == KOP_LOAD) again += count;
        else known = false;
        if (row > 0 && row * bytes < RUN) known = false;
    }
    s->inside = unit && known && s->at.n > 2 && few > 1 && few <= INSIDE && few * streams <= STREAMS && row > 0 && t->l2_bytes && again >= t->l2_bytes / 2;
    s->jam = unit && stores > 1 && row > K_LANES && row % K_LANES == 0 && row / K_LANES <= JAM ? row / K_LANES : 1;
    if (s->jam * touched * K_LANES * 32 > 2 * t->vec_regs * t->vec_bits) s->jam = 1; /* loads wait in registers for the stores */
}

/* ---- the rebuilt kernel ---- */

static void copy_pure(Kb *b, const Nest *s, int depth, KVal *map)
{
    for (KInst i = kblock(s->at.k, s->at.block[depth])->first; i.i; i = kinst(s->at.k, i)->next)
        if (map_pure(kinst(s->at.k, i))) kb_copy(b, s->at.k, i, map);
}

/* A constant, or known at the top. */
static KVal bound(Kb *b, const Nest *s, KVal v, KVal *map)
{
    int64_t c;
    return kx_const_i(s->at.k, s->m->dims, v, &c) ? kb_i(b, c) : map[v.i];
}

static void open(Kb *b, const Nest *s, int i, KVal *map)
{
    const KInstRec *r = kinst(s->at.k, s->at.loop[i]);
    KVal lo = bound(b, s, karg(s->at.k, r, 0), map), hi = bound(b, s, karg(s->at.k, r, 1), map), iv = index_of(s, i);
    if (i == s->at.n - 1 && s->jam > 1) hi = kb_i(b, K_LANES);
    map[iv.i] = kb_for(b, KLOOP_PAR, lo, hi);
    kval(kb_kernel(b), map[iv.i])->name = kval(s->at.k, iv)->name;
}

static void body(Kb *b, const Nest *s, KVal *map, Arena *a)
{
    KVal *at[JAM], iv = index_of(s, s->at.n - 1);
    KInst first = kblock(s->at.k, s->at.block[s->at.n])->first;
    for (int64_t c = 0; c < s->jam; c++) {
        at[c] = arena_memdup(a, map, s->at.k->val.n * sizeof *map);
        if (c) at[c][iv.i] = kb_add(b, map[iv.i], kb_i(b, c * K_LANES));
        for (KInst i = first; i.i; i = kinst(s->at.k, i)->next)
            if (kinst(s->at.k, i)->op != KOP_STORE && kinst(s->at.k, i)->op != KOP_YIELD) kb_copy(b, s->at.k, i, at[c]);
    }
    for (KInst i = first; i.i; i = kinst(s->at.k, i)->next)
        for (int64_t c = 0; c < s->jam && kinst(s->at.k, i)->op == KOP_STORE; c++) kb_copy(b, s->at.k, i, at[c]);
}

bool schedule_maps(KModule *m, Kernel *k)
{
    Nest s = {.m = m};
    if (!find_nest(&s, k)) return false;
    decide(&s);
    if (!s.inside && s.jam == 1) return false;
    Arena a;
    arena_init(&a, "pass", m->arena->oom);
    Kernel old = *k;
    KVal *map = arena_array(&a, KVal, k->val.n);
    Kb *b = kb_reopen(m, k);
    s.at.k = &old;
    copy_pure(b, &s, 0, map);
    for (int i = s.inside; i < s.at.n - 1; i++) open(b, &s, i, map);
    if (s.inside) open(b, &s, 0, map);
    for (int i = 1; i < s.at.n; i++) copy_pure(b, &s, i, map);
    open(b, &s, s.at.n - 1, map);
    body(b, &s, map, &a);
    for (int i = 0; i < s.at.n; i++) kb_end(b);
    kb_replace(b, k);
    arena_free(&a);
    return true;
}
