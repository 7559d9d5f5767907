/* plan_place: where in the arena the items of plan-memory lie.
 *   lanes     the size of an item is coef * form, where form has no constant divisor: 3072*batch*seq and 768*batch*seq
 *             are 4 and 1 units of 768*batch*seq. All items of a form are packed in whole units, by numbers alone, in a
 *             lane of their own (plan_pack.c); constants are the form 1 with units of 64 bytes. Lanes lie one after the other.
 *   guests    an item may lie in a gap of a larger lane when it provably fits for all values of the symbols. */
#include "passes/kernel/plan.h"
#include "base/num.h"
#include <stdlib.h>

typedef struct Lane {
    Dim form, unit;
    int64_t gcd, sample; /* of the coefficients; bytes of a unit */
    bool exact;          /* coefficients are multiples of 64, so units are */
    int64_t peak;
    VEC(PlanSpot) spot;
} Lane;
typedef struct Place {
    KModule *m;
    Arena *a;
    PlanItem *item;
    uint32_t n, steps, proofs; /* proofs: so many may still fail */
    int64_t *value;
    VEC(Lane) lane;
} Place;

/* ---- lanes ---- */
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
    l->gcd = (int64_t)gcd64((uint64_t)coef, (uint64_t)l->gcd);
    vec_push(p->a, &l->spot, (PlanSpot){.item = it, .len = coef});
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
    l->unit = constant ? dim_const(d, 64) : plan_round64(d, dim_mul(d, l->form, dim_const(d, l->gcd)));
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
static int64_t widest(const Lane *l, const PlanItem *it, PlanSpot **tmp, int64_t *at)
{
    uint32_t k = plan_neighbours(it, l->spot.p, l->spot.n, tmp);
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

/* Sizes of models without ranks are hundreds of forms, which do not compare, and each proof that fails is dear. */
#define PROOFS_MAX 4096

static bool fits(Place *p, const PlanItem *it, const Lane *l, int64_t units)
{
    Dims *d = p->m->dims;
    bool yes = p->proofs && dim_le(d, it->raw, dim_mul(d, l->unit, dim_const(d, units))) == TRI_YES;
    if (!yes && p->proofs) p->proofs--;
    return yes;
}

static bool lodge(Place *p, uint32_t hosts, PlanItem *it, PlanSpot **tmp)
{
    for (uint32_t h = 0; h < hosts && p->proofs; h++) {
        Lane *l = &p->lane.p[h];
        int64_t at = 0, room = widest(l, it, tmp, &at), need;
        if (!room || l->sample <= 0 || it->sample / l->sample >= room) continue;
        need = it->sample / l->sample + 1;
        if (!fits(p, it, l, need)) {
            need = room;
            if (!fits(p, it, l, need)) continue;
        }
        vec_push(p->a, &l->spot, (PlanSpot){.item = it, .at = at, .len = need});
        return true;
    }
    return false;
}

static void lodge_guests(Place *p, uint32_t lane, PlanSpot **tmp)
{
    uint32_t kept = 0;
    Lane *l = &p->lane.p[lane];
    qsort(l->spot.p, l->spot.n, sizeof *l->spot.p, plan_by_size);
    for (uint32_t i = 0; i < l->spot.n; i++)
        if (!lodge(p, lane, l->spot.p[i].item, tmp)) l->spot.p[kept++] = l->spot.p[i];
    l->spot.n = kept;
}

Dim plan_place(KModule *m, Arena *a, PlanItem *item, uint32_t n, uint32_t steps)
{
    Place p = {.m = m, .a = a, .item = item, .n = n, .steps = steps, .proofs = PROOFS_MAX, .value = plan_sample(m, a, PLAN_USUAL)};
    PlanSpot **tmp = arena_array(a, PlanSpot *, n + 1);
    Dims *d = m->dims;
    Dim end = dim_const(d, 0);
    for (uint32_t i = 0; i < n; i++) add(&p, &item[i]);
    for (uint32_t l = 0; l < p.lane.n; l++)
        if (!unit_of(&p, &p.lane.p[l])) return DIM_NONE;
    if (p.lane.n) qsort(p.lane.p, p.lane.n, sizeof *p.lane.p, by_weight);
    for (uint32_t i = 0; i < p.lane.n && end.i; i++) {
        lodge_guests(&p, i, tmp);
        Lane *l = &p.lane.p[i];
        l->peak = plan_pack(a, l->spot.p, l->spot.n, steps);
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
