/* plan_stack: places for items whose sizes are different formulas of the symbols, such as the maps of a net over images
 * of any height and width. Which of two items is larger depends on the sizes of a run, so no formula of the symbols is
 * a tight place; but who lies on whom can be decided once:
 *   order    the items are packed by numbers (plan_pack.c) for several sizes of the inputs (plan_sample); of each
 *            packing only the order is kept: an item lies above those that live while it does and begin lower
 *   places   the program computes them when a run begins: a place is where the highest of the items below ends,
 *                bind $place_3 = max(place_1+size_1, place_2+size_4)
 *            for those directly below: what they lie on, ends lower. Sizes that are no numbers are symbols, too
 *   choice   the order whose arena is smallest against what lives at once, at the worst of all sizes
 * plan_apart proves from these steps alone that two items share no byte. */
#include "base/bug.h"
#include "passes/kernel/plan.h"
#include <stdlib.h>
#include <string.h>

#define TERMS_MAX 8 /* of one maximum: longer ones become several steps */

typedef struct Stack {
    KModule *m;
    Arena *a;
    PlanItem *item;
    uint32_t n, steps, points;
    int64_t *len[PLAN_POINTS]; /* by item: units of 64 bytes at that point */
    int64_t live[PLAN_POINTS];
    uint32_t *order; /* items from the bottom up */
    uint32_t used;   /* symbols taken from those of an earlier plan */
    KStep *before;   /* where the steps go */
} Stack;

/* ---- choosing an order ---- */

/* Sizes at each point where all of them are numbers; with `most`: at every point, those that are too large are that. */
static bool find_sizes_to(Stack *p, int64_t most)
{
    for (uint32_t k = 0; k < PLAN_POINTS; k++) {
        int64_t *value = plan_sample(p->m, p->a, k), *len = arena_array(p->a, int64_t, p->n + 1), bytes;
        bool fits = true;
        for (uint32_t i = 0; i < p->n && fits; i++) {
            fits = dim_eval(p->m->dims, p->item[i].raw, value, &bytes) && bytes < INT64_MAX / 1024;
            if (most && (!fits || bytes > most)) fits = true, bytes = most;
            len[i] = fits && bytes > 0 ? (bytes + 63) / 64 : 0;
        }
        if (!fits) continue;
        p->live[p->points] = plan_live(p->a, p->item, p->n, p->steps, len);
        p->len[p->points++] = len;
    }
    return p->points > 0;
}

/* Of tensors of many axes without a bound (inputs whose rank is not known) none of the points may have sizes that are numbers. */
static bool find_sizes(Stack *p) { return find_sizes_to(p, 0) || find_sizes_to(p, (int64_t)1 << 40); }

/* The greatest ratio of the arena to what lives at once, in thousandths, when items lie in that order. */
static int64_t worst_ratio(Stack *p, const uint32_t *order)
{
    int64_t *at = arena_array(p->a, int64_t, p->n + 1), worst = 0;
    for (uint32_t k = 0; k < p->points; k++) {
        const int64_t *len = p->len[k];
        int64_t peak = 0;
        for (uint32_t x = 0; x < p->n; x++) {
            uint32_t i = order[x];
            at[i] = 0;
            for (uint32_t y = 0; y < x; y++) {
                uint32_t j = order[y];
                if (at[j] + len[j] > at[i] && item_together(&p->item[i], &p->item[j])) at[i] = at[j] + len[j];
            }
            if (at[i] + len[i] > peak) peak = at[i] + len[i];
        }
        int64_t ratio = p->live[k] ? (int64_t)(1000.0 * (double)peak / (double)p->live[k] + 0.5) : 1000;
        if (ratio > worst) worst = ratio;
    }
    return worst;
}

static int by_at(const void *x, const void *y)
{
    const PlanSpot *a = x, *b = y;
    if (a->at != b->at) return a->at < b->at ? -1 : 1;
    if ((a->len == 0) != (b->len == 0)) return a->len == 0 ? -1 : 1;
    return a->item->buf.i < b->item->buf.i ? -1 : a->item->buf.i > b->item->buf.i;
}

#define MANY 1500 /* items: one order is tried */

/* The size of an item for packing number k: at point k; behind those, its greatest and its mean share of what lives at
 * once. */
static int64_t pack_length(const Stack *p, uint32_t k, uint32_t i)
{
    enum { WHOLE = 1 << 20 };
    double most = 0, sum = 0;
    if (k < p->points) return p->len[k][i];
    for (uint32_t x = 0; x < p->points; x++) {
        double share = p->live[x] ? (double)p->len[x][i] / (double)p->live[x] : 0;
        if (share > most) most = share;
        sum += share / p->points;
    }
    return (int64_t)((k == p->points ? most : sum) * WHOLE);
}

static int64_t choose_order(Stack *p)
{
    PlanSpot *spot = arena_array(p->a, PlanSpot, p->n + 1);
    uint32_t *order = arena_array(p->a, uint32_t, p->n + 1);
    int64_t best = INT64_MAX;
    for (uint32_t k = p->n > MANY ? p->points + 1 : 0; k < p->points + 2; k++) {
        for (uint32_t i = 0; i < p->n; i++) spot[i] = (PlanSpot){.item = &p->item[i], .len = pack_length(p, k, i)};
        plan_pack(p->a, spot, p->n, p->steps);
        qsort(spot, p->n, sizeof *spot, by_at);
        for (uint32_t i = 0; i < p->n; i++) order[i] = (uint32_t)(spot[i].item - p->item);
        int64_t ratio = worst_ratio(p, order);
        if (ratio >= best) continue;
        best = ratio;
        memcpy(p->order, order, p->n * sizeof *order);
    }
    return best;
}

/* ---- steps ---- */

static bool is_place(const Dims *d, Dim x, Sym *s)
{
    const DimRec *r = &d->rec.p[x.i];
    if (!x.i || r->kind != DIM_SYM || d->sym.p[r->sym.i].kind != SYM_ENTRY || d->sym.p[r->sym.i].input >= 0) return false;
    *s = r->sym;
    return !d->sym.p[s->i].same_as.i;
}

static bool among_names(const KModule *m, Sym s)
{
    const char *name = name_str(m->names, m->dims->sym.p[s.i].name);
    return !strncmp(name, "place_", 6);
}

void plan_stack_undo(KModule *m, Arena *a, PlanSyms *old)
{
    Dims *d = m->dims;
    for (KStep *s = m->program.first, *next; s; s = next) {
        Sym at;
        next = s->next;
        if (s->kind != KST_BIND || !is_place(d, dim_sym(d, s->sym), &at) || !among_names(m, at)) continue;
        vec_push(a, old, at);
        kstep_remove(&m->program, s);
    }
}

/* A symbol for the value, by a step of the program. */
static Dim bound(Stack *p, const PlanSyms *old, Dim value)
{
    KModule *m = p->m;
    Dims *d = m->dims;
    Sym s;
    if (!value.i) return DIM_NONE;
    if (dim_is_const(d, value, &(int64_t){0}) || is_place(d, value, &s)) return value;
    for (KStep *k = m->program.first; k != p->before; k = k->next)
        if (k->kind == KST_BIND && dim_same(k->a, value)) return dim_sym(d, k->sym);
    if (p->used < old->n) s = old->p[p->used++];
    else s = sym_new(d, name_of(m->names, arena_printf(m->arena, "place_%u", ++p->used)), SYM_ENTRY, 0, INT64_MAX);
    d->sym.p[s.i].multiple = 64;
    KStep *k = kstep_new(m, KST_BIND, (KLoc){0});
    k->sym = s;
    k->a = value;
    kstep_insert(&m->program, p->before, k);
    return dim_sym(d, s);
}

/* The maximum of the ends of those items. */
static Dim highest(Stack *p, const PlanSyms *old, const uint32_t *below, uint32_t n)
{
    Dims *d = p->m->dims;
    Dim most = dim_const(d, 0);
    for (uint32_t k = 0, terms = 0; k < n && most.i; k++, terms++) {
        if (terms == TERMS_MAX) {
            most = bound(p, old, most);
            terms = 1;
        }
        most = dim_max(d, most, dim_add(d, p->item[below[k]].offset, p->item[below[k]].bytes));
    }
    return bound(p, old, most);
}

/* Items in the order that was chosen, each above the ones directly below it. reach[x]: what lies below x, as bits. */
static Dim emit(Stack *p, const PlanSyms *old)
{
    Dims *d = p->m->dims;
    size_t words = (p->n + 63) / 64;
    uint64_t *reach = arena_array(p->a, uint64_t, words * p->n + 1);
    uint32_t *below = arena_array(p->a, uint32_t, p->n + 1), n;
    bool *covered = arena_array(p->a, bool, p->n + 1);
    for (uint32_t x = 0; x < p->n; x++) {
        PlanItem *it = &p->item[p->order[x]];
        uint64_t *mine = &reach[words * x];
        it->bytes = bound(p, old, plan_round64(d, it->raw));
        n = 0;
        for (uint32_t y = x; y-- > 0;) {
            if (!item_together(it, &p->item[p->order[y]]) || (mine[y / 64] >> (y % 64) & 1)) continue;
            below[n++] = p->order[y];
            mine[y / 64] |= 1ull << (y % 64);
            for (size_t w = 0; w < words; w++) mine[w] |= reach[words * y + w];
        }
        it->offset = highest(p, old, below, n);
        if (!it->offset.i || !it->bytes.i) return DIM_NONE;
        for (uint32_t k = 0; k < n; k++) covered[below[k]] = true;
    }
    n = 0;
    for (uint32_t x = 0; x < p->n; x++)
        if (!covered[p->order[x]]) below[n++] = p->order[x];
    return highest(p, old, below, n);
}

Dim plan_stack(KModule *m, Arena *a, PlanItem *item, uint32_t n, uint32_t steps, int64_t ratio, const PlanSyms *old)
{
    Stack p = {.m = m, .a = a, .item = item, .n = n, .steps = steps, .order = arena_array(a, uint32_t, n + 1)};
    if (!n || !find_sizes(&p) || choose_order(&p) >= ratio) return DIM_NONE;
    p.before = m->program.first;
    for (KStep *s = m->program.first; s; s = s->next) /* behind whatever else is computed from the sizes of inputs */
        if (s->kind == KST_BIND && m->dims->sym.p[s->sym.i].kind == SYM_ENTRY) p.before = s->next;
    return emit(&p, old);
}

bool plan_values(const KModule *m, int64_t *value)
{
    Sym at;
    for (const KStep *s = m->program.first; s; s = s->next)
        if (s->kind == KST_BIND && is_place(m->dims, dim_sym(m->dims, s->sym), &at) &&
            !dim_eval(m->dims, s->a, value, &value[at.i]))
            return false;
    return true;
}

/* ---- proofs ---- */

/* What symbols are bound to by plan_stack's steps. Built when asked for, thrown away by planning. */
typedef struct KPlaces {
    uint32_t n, asked;
    Dim *def;       /* by symbol; 0: none */
    uint32_t *seen; /* == asked: looked at for this question */
} KPlaces;

static KPlaces *places(KModule *m)
{
    Dims *d = m->dims;
    Sym s;
    if (m->places && m->places->n == d->sym.n) return m->places;
    KPlaces *p = arena_new(m->arena, KPlaces);
    p->n = d->sym.n;
    p->def = arena_array(m->arena, Dim, p->n);
    p->seen = arena_array(m->arena, uint32_t, p->n);
    for (const KStep *k = m->program.first; k; k = k->next)
        if (k->kind == KST_BIND && is_place(d, dim_sym(d, k->sym), &s)) p->def[s.i] = k->a;
    return m->places = p;
}

/* Is x >= low, seen from the definitions of symbols that are never negative? `prove`: sums are compared, too: a maximum
 * has lost the operands that another one made superfluous. */
static bool at_least(const KModule *m, KPlaces *p, Dim x, Dim low, bool prove)
{
    const DimRec *r = &m->dims->rec.p[x.i];
    if (dim_same(x, low)) return true;
    if (r->kind == DIM_MAX) return at_least(m, p, r->a, low, prove) || at_least(m, p, r->b, low, prove);
    if (prove && dim_le(m->dims, low, x) == TRI_YES) return true;
    if (r->kind == DIM_ADD) {
        int64_t lo, other, hi;
        dim_bounds(m->dims, r->a, &lo, &hi);
        dim_bounds(m->dims, r->b, &other, &hi);
        return (other >= 0 && at_least(m, p, r->a, low, prove)) || (lo >= 0 && at_least(m, p, r->b, low, prove));
    }
    if (r->kind != DIM_SYM || !p->def[r->sym.i].i || p->seen[r->sym.i] == p->asked) return false;
    p->seen[r->sym.i] = p->asked;
    return at_least(m, p, p->def[r->sym.i], low, prove);
}

bool plan_apart(KModule *m, Dim offset, Dim end, Dim offset2, Dim end2)
{
    Sym s;
    KPlaces *p = places(m);
    bool first = is_place(m->dims, offset, &s), second = is_place(m->dims, offset2, &s);
    for (int prove = 0; prove < 2; prove++) {
        if (second && (p->asked++, at_least(m, p, offset2, end, prove))) return true;
        if (first && (p->asked++, at_least(m, p, offset, end2, prove))) return true;
    }
    return false;
}
