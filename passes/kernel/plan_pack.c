/* plan_pack: packs spots, lengths that live from one step to another, into a line as short as can be found: into the
 * smallest gap that the spots living at the same time leave (best fit), in three orders: by size, by breadth (first what
 * lives when most lives), by first step (Pisarchyk, Lee: Efficient Memory Management for Deep Neural Net Inference,
 * 2020), then again with what ended highest taken first. The best is kept.
 * All orders end in the buffer's number: the result depends on the program only. */
#include "passes/kernel/plan.h"
#include <stdlib.h>

static int by_number(const PlanSpot *a, const PlanSpot *b)
{
    return a->item->buf.i < b->item->buf.i ? -1 : a->item->buf.i > b->item->buf.i;
}

int plan_by_size(const void *x, const void *y)
{
    const PlanSpot *a = x, *b = y;
    if (a->len != b->len) return a->len > b->len ? -1 : 1;
    return by_number(a, b);
}

static int by_breadth(const void *x, const void *y)
{
    const PlanSpot *a = x, *b = y;
    if (a->breadth != b->breadth) return a->breadth > b->breadth ? -1 : 1;
    return plan_by_size(x, y);
}

static int by_first(const void *x, const void *y)
{
    const PlanSpot *a = x, *b = y;
    if (a->item->first != b->item->first) return a->item->first < b->item->first ? -1 : 1;
    return plan_by_size(x, y);
}

static int by_place(const void *x, const void *y)
{
    const PlanSpot *a = *(PlanSpot *const *)x, *b = *(PlanSpot *const *)y;
    return a->at < b->at ? -1 : a->at > b->at;
}

/* Those of the first n that live together with `item`, by place. */
uint32_t plan_neighbours(const PlanItem *item, PlanSpot *all, uint32_t n, PlanSpot **tmp)
{
    uint32_t k = 0;
    for (uint32_t i = 0; i < n; i++)
        if (all[i].len && item_together(all[i].item, item)) tmp[k++] = &all[i];
    if (k > 1) qsort(tmp, k, sizeof *tmp, by_place);
    return k;
}

static int64_t pack(PlanSpot *all, uint32_t n, PlanSpot **tmp)
{
    int64_t peak = 0;
    for (uint32_t i = 0; i < n; i++) {
        PlanSpot *me = &all[i];
        int64_t end = 0, best = INT64_MAX;
        uint32_t k = plan_neighbours(me->item, all, i, tmp);
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
static int64_t find_breadth(Arena *a, PlanSpot *all, uint32_t n, uint32_t steps)
{
    int64_t *live = arena_array(a, int64_t, steps + 2), most = 0;
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t s = all[i].item->first; s <= all[i].item->last; s++) live[s] += all[i].len;
    for (uint32_t i = 0; i < n; i++) {
        PlanSpot *x = &all[i];
        x->breadth = 0;
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
static void bump(PlanSpot *all, uint32_t n, PlanSpot **tmp, PlanSpot *best, int64_t *peak, int64_t bound)
{
    for (int round = 0; round < BUMPS && *peak > bound; round++) {
        uint32_t worst = 0;
        for (uint32_t i = 1; i < n; i++)
            if (all[i].at + all[i].len > all[worst].at + all[worst].len) worst = i;
        PlanSpot x = all[worst];
        for (uint32_t i = worst; i > 0; i--) all[i] = all[i - 1];
        all[0] = x;
        int64_t now = pack(all, n, tmp);
        if (now >= *peak) continue;
        *peak = now;
        for (uint32_t i = 0; i < n; i++) best[i] = all[i];
    }
}

int64_t plan_pack(Arena *a, PlanSpot *all, uint32_t n, uint32_t steps)
{
    static int (*const order[])(const void *, const void *) = {plan_by_size, by_breadth, by_first};
    if (!n) return 0;
    PlanSpot **tmp = arena_array(a, PlanSpot *, n), *best = arena_array(a, PlanSpot, n);
    int64_t bound = find_breadth(a, all, n, steps), peak = 0;
    for (uint32_t o = 0; o < (n > ORDERS_MAX ? 1 : 3); o++) {
        if (o && peak == bound) break;
        qsort(all, n, sizeof *all, order[o]);
        int64_t now = pack(all, n, tmp);
        if (o && now >= peak) continue;
        peak = now;
        for (uint32_t i = 0; i < n; i++) best[i] = all[i];
    }
    if (n <= BUMPS_MAX) bump(all, n, tmp, best, &peak, bound);
    for (uint32_t i = 0; i < n; i++) all[i] = best[i];
    return peak;
}
