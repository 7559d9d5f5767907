/* plan_place: where in the arena the items of plan-memory lie.
 *   lanes     the size of an item is coef * form, where form has no constant divisor: 3072*batch*seq and 768*batch*seq
 *             are 4 and 1 units of 768*batch*seq. All items of a form are packed in whole units, by numbers alone, in a
 *             lane of their own; constants are the form 1 with units of 64 bytes. Lanes lie one after the other.
 *   packing   into the smallest gap that the items living at the same time leave (best fit), in three orders: by size,
 *             by breadth (first what lives when most lives), by first step (Pisarchyk, Lee: Efficient Memory Management
 *             for Deep Neural Net Inference, 2020), then again with what ended highest taken first. The best is kept.
 *   guests    an item may lie in a gap of a larger lane when it provably fits for all values of the symbols.
 * All orders end in the buffer's number: the plan depends on the program only. */
#include "passes/kernel/plan.h"
#include <stdlib.h>

typedef struct Spot {
    PlanItem *item;
    int64_t at, len; /* units of the lane */
    int64_t breadth;
} Spot;
typedef struct Lane {
    Dim form, unit;
    int64_t gcd, sample; /* of the coefficients; bytes of a unit */
    bool exact;          /* coefficients are multiples of 64, so units are */
    int64_t peak;
    VEC(Spot) spot;
} Lane;
typedef struct Place {
    KModule *m;
    Arena *a;
    PlanItem *item;
    uint32_t n, steps;
    int64_t *value;
    VEC(Lane) lane;
} Place;

int64_t *plan_sample(const KModule *m, Arena *a)
{
    int64_t *value = arena_array(a, int64_t, m->dims->sym.n + 1);
    for (uint32_t i = 1; i < m->dims->sym.n; i++) {
        const SymRec *s = &m->dims->sym.p[i];
        value[i] = s->hi <= 1 << 20 ? s->hi : s->lo > 1024 ? s->lo : 1024;
    }
    return value;
}

/* ---- packing ---- */
static int by_number(const Spot *a, const Spot *b)
{
    return a->item->buf.i < b->item->buf.i ? -1 : a->item->buf.i > b->item->buf.i;
}

static int by_size(const void *x, const void *y)
{
    const Spot *a = x, *b = y;
    if (a->len != b->len) return a->len > b->len ? -1 : 1;
    return by_number(a, b);
}

static int by_breadth(const void *x, const void *y)
{
    const Spot *a = x, *b = y;
    if (a->breadth != b->breadth) return a->breadth > b->breadth ? -1 : 1;
    return by_size(x, y);
}

static int by_first(const void *x, const void *y)
{
    const Spot *a = x, *b = y;
    if (a->item->first != b->item->first) return a->item->first < b->item->first ? -1 : 1;
    return by_size(x, y);
}

static int by_place(const void *x, const void *y)
{
    const Spot *a = *(Spot *const *)x, *b = *(Spot *const *)y;
    return a->at < b->at ? -1 : a->at > b->at;
}

/* Those of the first n that live together with `item`, by place. */
static uint32_t neighbours(const PlanItem *item, Spot *all, uint32_t n, Spot **tmp)
{
    uint32_t k = 0;
    for (uint32_t i = 0; i < n; i++)
        if (all[i].len && item_together(all[i].item, item)) tmp[k++] = &all[i];
    if (k > 1) qsort(tmp, k, sizeof *tmp, by_place);
    return k;
}

static int64_t pack(Spot *all, uint32_t n, Spot **tmp)
{
    int64_t peak = 0;
    for (uint32_t i = 0; i < n; i++) {
        Spot *me = &all[i];
        int64_t end = 0, best = INT64_MAX;
        uint32_t k = neighbours(me->item, all, i, tmp);
        me->at = -1;
        for (uint32_t j = 0; j < k; j++) {
            int64_t gap = tmp[j]->at - end;
            if (gap >= me->len && gap < best) {
                best = gap;
                me->at = end;
            }
            if (tmp[j]->at + tmp[j]->len > end) end = tmp[j]->at + tmp[j]->len;
        }
        if (me->at < 0) me->at = end;
        if (me->at + me->len > peak) peak = me->at + me->len;
    }
    return peak;
}

/* Fills in the breadths; returns the greatest: no packing needs less. */
static int64_t find_breadth(const Place *p, Lane *l)
{
    int64_t *live = arena_array(p->a, int64_t, p->steps + 2), most = 0;
    for (uint32_t i = 0; i < l->spot.n; i++)
        for (uint32_t s = l->spot.p[i].item->first; s <= l->spot.p[i].item->last; s++) live[s] += l->spot.p[i].len;
    for (uint32_t i = 0; i < l->spot.n; i++) {
        Spot *x = &l->spot.p[i];
        for (uint32_t s = x->item->first; s <= x->item->last; s++)
            if (live[s] > x->breadth) x->breadth = live[s];
        if (x->breadth > most) most = x->breadth;
    }
    return most;
}

#define ORDERS_MAX 4096 /* beyond that many items one order has to do */
#define BUMPS_MAX 1024  /* up to that many items, the search below */
#define BUMPS 64

/* What ends highest comes first the next time, again and again: it has the worst place of all. */
static void bump(Lane *l, Spot **tmp, Spot *best, int64_t bound)
{
    uint32_t n = l->spot.n;
    for (int round = 0; round < BUMPS && l->peak > bound; round++) {
        uint32_t worst = 0;
        for (uint32_t i = 1; i < n; i++)
            if (l->spot.p[i].at + l->spot.p[i].len > l->spot.p[worst].at + l->spot.p[worst].len) worst = i;
        Spot x = l->spot.p[worst];
        for (uint32_t i = worst; i > 0; i--) l->spot.p[i] = l->spot.p[i - 1];
        l->spot.p[0] = x;
        int64_t peak = pack(l->spot.p, n, tmp);
        if (peak >= l->peak) continue;
        l->peak = peak;
        for (uint32_t i = 0; i < n; i++) best[i] = l->spot.p[i];
    }
}

static void pack_lane(const Place *p, Lane *l)
{
    static int (*const order[])(const void *, const void *) = {by_size, by_breadth, by_first};
    uint32_t n = l->spot.n;
    if (!n) return;
    Spot **tmp = arena_array(p->a, Spot *, n), *best = arena_array(p->a, Spot, n);
    int64_t bound = find_breadth(p, l);
    for (uint32_t o = 0; o < (n > ORDERS_MAX ? 1 : 3); o++) {
        if (o && l->peak == bound) break;
        qsort(l->spot.p, n, sizeof *l->spot.p, order[o]);
        int64_t peak = pack(l->spot.p, n, tmp);
        if (o && peak >= l->peak) continue;
        l->peak = peak;
        for (uint32_t i = 0; i < n; i++) best[i] = l->spot.p[i];
    }
    if (n <= BUMPS_MAX) bump(l, tmp, best, bound);
    for (uint32_t i = 0; i < n; i++) l->spot.p[i] = best[i];
}

/* ---- lanes ---- */
static int64_t gcd(int64_t a, int64_t b)
{
    while (b) {
        int64_t r = a % b;
        a = b;
        b = r;
    }
    return a;
}

static Dim round64(Dims *d, Dim bytes)
{
    if (dim_multiple_of(d, bytes, 64)) return bytes;
    return dim_mul(d, dim_ceildiv(d, bytes, dim_const(d, 64)), dim_const(d, 64));
}

#define PADDED 2048 /* larger coefficients are rounded up to multiples of 64, which costs 3 %, rather than every unit */

static void add(Place *p, PlanItem *it)
{
    int64_t coef;
    Dim form = dim_factor(p->m->dims, it->raw, &coef);
    bool exact = !dim_is(p->m->dims, form, 1) && (coef % 64 == 0 || coef >= PADDED);
    if (exact && coef <= INT64_MAX - 64) coef = (coef + 63) / 64 * 64;
    Lane *l = NULL;
    for (uint32_t i = 0; i < p->lane.n && !l; i++)
        if (dim_same(p->lane.p[i].form, form) && p->lane.p[i].exact == exact) l = &p->lane.p[i];
    if (!l) {
        vec_push(p->a, &p->lane, (Lane){.form = form, .exact = exact});
        l = &p->lane.p[p->lane.n - 1];
    }
    l->gcd = gcd(coef, l->gcd);
    vec_push(p->a, &l->spot, (Spot){.item = it, .len = coef});
}

static int64_t value_of(const Place *p, Dim d)
{
    int64_t v;
    return d.i && dim_eval(p->m->dims, d, p->value, &v) ? v : INT64_MAX;
}

static bool unit_of(Place *p, Lane *l)
{
    Dims *d = p->m->dims;
    bool constant = dim_is(d, l->form, 1);
    l->unit = constant ? dim_const(d, 64) : round64(d, dim_mul(d, l->form, dim_const(d, l->gcd)));
    if (!l->unit.i) return false;
    l->sample = value_of(p, l->unit);
    for (uint32_t i = 0; i < l->spot.n; i++)
        l->spot.p[i].len = constant ? (l->spot.p[i].len + 63) / 64 : l->spot.p[i].len / l->gcd;
    return true;
}

/* Larger lanes first: by what their items would take together. */
static double weight(const Lane *l)
{
    double w = 0;
    for (uint32_t i = 0; i < l->spot.n; i++) w += (double)l->spot.p[i].len;
    return w * (double)l->sample;
}

static int by_weight(const void *x, const void *y)
{
    const Lane *a = x, *b = y;
    double u = weight(a), v = weight(b);
    if (u != v) return u > v ? -1 : 1;
    uint32_t i = a->spot.p[0].item->buf.i, j = b->spot.p[0].item->buf.i;
    return i < j ? -1 : i > j;
}

/* The widest gap of a packed lane while `it` lives. */
static int64_t widest(const Lane *l, const PlanItem *it, Spot **tmp, int64_t *at)
{
    uint32_t k = neighbours(it, l->spot.p, l->spot.n, tmp);
    int64_t end = 0, best = 0;
    for (uint32_t j = 0; j <= k; j++) {
        int64_t next = j < k ? tmp[j]->at : l->peak;
        if (next - end > best) {
            best = next - end;
            *at = end;
        }
        if (j < k && tmp[j]->at + tmp[j]->len > end) end = tmp[j]->at + tmp[j]->len;
    }
    return best;
}

static bool lodge(Place *p, uint32_t hosts, PlanItem *it, Spot **tmp)
{
    Dims *d = p->m->dims;
    for (uint32_t h = 0; h < hosts; h++) {
        Lane *l = &p->lane.p[h];
        int64_t at = 0, room = widest(l, it, tmp, &at), need;
        if (!room || l->sample <= 0 || it->sample / l->sample >= room) continue;
        need = it->sample / l->sample + 1;
        if (dim_le(d, it->raw, dim_mul(d, l->unit, dim_const(d, need))) != TRI_YES) {
            need = room;
            if (dim_le(d, it->raw, dim_mul(d, l->unit, dim_const(d, need))) != TRI_YES) continue;
        }
        vec_push(p->a, &l->spot, (Spot){.item = it, .at = at, .len = need});
        return true;
    }
    return false;
}

static void lodge_guests(Place *p, uint32_t lane, Spot **tmp)
{
    uint32_t kept = 0;
    Lane *l = &p->lane.p[lane];
    qsort(l->spot.p, l->spot.n, sizeof *l->spot.p, by_size);
    for (uint32_t i = 0; i < l->spot.n; i++)
        if (!lodge(p, lane, l->spot.p[i].item, tmp)) l->spot.p[kept++] = l->spot.p[i];
    l->spot.n = kept;
}

Dim plan_place(KModule *m, Arena *a, PlanItem *item, uint32_t n, uint32_t steps)
{
    Place p = {.m = m, .a = a, .item = item, .n = n, .steps = steps, .value = plan_sample(m, a)};
    Spot **tmp = arena_array(a, Spot *, n + 1);
    Dims *d = m->dims;
    Dim end = dim_const(d, 0);
    for (uint32_t i = 0; i < n; i++) add(&p, &item[i]);
    for (uint32_t l = 0; l < p.lane.n; l++)
        if (!unit_of(&p, &p.lane.p[l])) return DIM_NONE;
    if (p.lane.n) qsort(p.lane.p, p.lane.n, sizeof *p.lane.p, by_weight);
    for (uint32_t i = 0; i < p.lane.n && end.i; i++) {
        lodge_guests(&p, i, tmp);
        pack_lane(&p, &p.lane.p[i]);
    }
    for (uint32_t i = 0; i < 2 * p.lane.n && end.i;
         i++) { /* that of the constants first: their places are numbers then */
        Lane *l = &p.lane.p[i % p.lane.n];
        if (dim_is(d, l->form, 1) != (i < p.lane.n)) continue;
        for (uint32_t s = 0; s < l->spot.n; s++) {
            PlanItem *it = l->spot.p[s].item;
            it->offset = dim_add(d, end, dim_mul(d, l->unit, dim_const(d, l->spot.p[s].at)));
            it->bytes = dim_mul(d, l->unit, dim_const(d, l->spot.p[s].len));
            if (!it->offset.i || !it->bytes.i) return DIM_NONE;
        }
        end = dim_add(d, end, dim_mul(d, l->unit, dim_const(d, l->peak)));
    }
    return end;
}
