/* plan_sample: sizes of inputs that plans of memory are compared at. Nobody says how large inputs will be, but their
 * shape says what an axis is: the first one counts samples, the last two or three of a tensor of rank 4 or 5 are the
 * sides of an image, another one is a length. Any choice is right; it decides only how tight arenas are for which
 * inputs. */
#include "passes/kernel/plan.h"

typedef enum Role { SAMPLES, SIDE, LENGTH, ROLES } Role;

static Role role_of(const KModule *m, const SymRec *s)
{
    if (s->input < 0 || (uint32_t)s->input >= m->input.n) return LENGTH;
    const TypeRec *t = type_rec(m->types, m->input.p[s->input].type);
    if (t->kind != TY_TENSOR || t->rank < 2) return LENGTH;
    return s->axis == 0 ? SAMPLES : t->rank >= 4 ? SIDE : LENGTH;
}

int64_t *plan_sample(const KModule *m, Arena *a, uint32_t k)
{
    static const int64_t size[ROLES][3] = {[SAMPLES] = {1, 1, 8}, [SIDE] = {96, 640, 1280}, [LENGTH] = {16, 128, 512}};
    int64_t *value = arena_array(a, int64_t, m->dims->sym.n + 1);
    uint32_t seen[ROLES] = {0};
    for (uint32_t i = 1; i < m->dims->sym.n; i++) {
        const SymRec *s = &m->dims->sym.p[i];
        Role r = role_of(m, s);
        /* the last two points: every other one of a role is small, the rest large, and the other way round */
        uint32_t at = k < 3 ? k : (seen[r]++ + k) % 2 * 2;
        int64_t v = size[r][at], by = s->multiple > 1 && s->multiple < 1 << 16 ? s->multiple : 1;
        v = (v + by - 1) / by * by;
        value[i] = v < s->lo ? s->lo : v > s->hi ? s->hi : v;
    }
    return value;
}

int64_t plan_live(Arena *a, const PlanItem *item, uint32_t n, uint32_t steps, const int64_t *len)
{
    int64_t *live = arena_array(a, int64_t, steps + 2), most = 0;
    for (uint32_t i = 0; i < n; i++) { /* changes first, sums afterwards */
        live[item[i].first] += len[i];
        live[item[i].last + 1] -= len[i];
    }
    for (uint32_t s = 0; s <= steps; s++) {
        if (s) live[s] += live[s - 1];
        if (live[s] > most) most = live[s];
    }
    return most;
}

Dim plan_round64(Dims *d, Dim bytes)
{
    if (dim_multiple_of(d, bytes, 64)) return bytes;
    return dim_mul(d, dim_ceildiv(d, bytes, dim_const(d, 64)), dim_const(d, 64));
}
