/* rt_step: steps of the program that are data (rt_step). A model of unknown ranks has thousands of them, each in an arm that
 * few runs take: as code they would be most of what is compiled. They do what codegen/program.c writes elsewhere. */
#include "runtime/rt_internal.h"
#include <string.h>

/* a / b or a % b, rounded down for positive b, as all divisors of sizes are; 0 where b is 0 or the quotient does not fit. */
static int64_t divided(int64_t a, int64_t b, bool mod)
{
    if (!b || (a == INT64_MIN && b == -1)) return 0;
    int64_t q = a / b, r = a % b;
    return mod ? (int64_t)((uint64_t)r + (r < 0 ? (uint64_t)b : 0)) : q - (r < 0); /* wraps for negative b, as the code does */
}

/* Every entry into v. true: a sum or product does not fit into 64 bits. */
static bool evaluate(const int64_t *sym, const rt_step *s, int64_t *v)
{
    bool over = false;
    for (uint32_t k = 0; k < s->n; k++) {
        const rt_dim *d = &s->dim[k];
        if (d->kind == RT_D_CONST || d->kind == RT_D_SYM) {
            v[k] = d->kind == RT_D_SYM ? sym[d->a] : (int64_t)((uint64_t)(uint32_t)d->a | (uint64_t)(uint32_t)d->b << 32);
            continue;
        }
        int64_t a = v[d->a], b = v[d->b];
        switch (d->kind) {
        case RT_D_ADD: over |= __builtin_add_overflow(a, b, &v[k]); break;
        case RT_D_MUL: over |= __builtin_mul_overflow(a, b, &v[k]); break;
        case RT_D_DIV: v[k] = divided(a, b, false); break;
        case RT_D_MOD: v[k] = divided(a, b, true); break;
        case RT_D_MIN: v[k] = a < b ? a : b; break;
        case RT_D_MAX: v[k] = a > b ? a : b; break;
        default: v[k] = a == 1 ? b : a;
        }
    }
    return over;
}

static int32_t failed(bmc_ctx *x, int32_t tid, int32_t nt, uint32_t step, uint32_t msg, int64_t got, int64_t want)
{
    return rt_stop(x, tid, nt, step, msg, BMC_E_SHAPE, got, want);
}

int32_t rt_bind(bmc_ctx *x, int32_t tid, int32_t nt, const rt_step *s)
{
    int64_t v[RT_DIMS_MAX];
    bool over = evaluate(x->sym, s, v);
    int64_t to = v[s->a];
    if (over) return failed(x, tid, nt, s->step, s->msg_over, to, to);
    if (to < s->lo || to > s->hi) return failed(x, tid, nt, s->step, s->msg, to, to < s->lo ? s->lo : s->hi);
    __atomic_store_n(&x->sym[s->sym], to, __ATOMIC_RELAXED); /* every thread stores the same */
    return 0;
}

int32_t rt_check(bmc_ctx *x, int32_t tid, int32_t nt, const rt_step *s)
{
    int64_t v[RT_DIMS_MAX];
    bool over = evaluate(x->sym, s, v), ok;
    int64_t a = v[s->a], b = v[s->b];
    switch ((rt_relation)s->what) {
    case RT_EQ: ok = a == b; break;
    case RT_NE: ok = a != b; break;
    case RT_LE: ok = a <= b; break;
    case RT_LT: ok = a < b; break;
    default: ok = a == b || a == 1 || b == 1;
    }
    return ok && !over ? 0 : failed(x, tid, nt, s->step, s->msg, a, b);
}

static int64_t element(const void *from, int64_t at, int32_t what)
{
    switch (what) {
    case 0: return ((const uint8_t *)from)[at] != 0;
    case 1: return ((const uint8_t *)from)[at];
    case 2: return ((const uint16_t *)from)[at];
    case 4: return ((const uint32_t *)from)[at];
    case -1: return ((const int8_t *)from)[at];
    case -2: return ((const int16_t *)from)[at];
    case -4: return ((const int32_t *)from)[at];
    default: return ((const int64_t *)from)[at];
    }
}

void rt_load(bmc_ctx *x, int32_t tid, const rt_step *s, const void *from)
{
    int64_t v[RT_DIMS_MAX];
    if (tid || x->thread[0].err_step) return;
    evaluate(x->sym, s, v);
    int64_t e = element(from, v[s->a], s->what), bound = e < s->lo ? s->lo : s->hi;
    if (e < s->lo || e > s->hi) { /* kept inside, so that serial steps up to the next barrier meet nothing worse */
        rt_fail(x, tid, s->step, s->msg, BMC_E_SHAPE, e, bound);
        e = bound;
    }
    x->sym[s->sym] = e;
}

void rt_alloc(bmc_ctx *x, int32_t tid, const rt_step *s)
{
    int64_t v[RT_DIMS_MAX];
    if (tid) return;
    bool over = evaluate(x->sym, s, v);
    if (!rt_box_alloc(x, s->sym, over ? -1 : v[s->a], 0)) rt_fail(x, tid, s->step, UINT32_MAX, BMC_E_MEMORY, 0, 0);
}

/* The arguments as code would make them: sizes wrap. A frame of its own. */
static __attribute__((noinline)) void give(bmc_ctx *x, const rt_step *s, rt_arg *arg)
{
    int64_t v[RT_DIMS_MAX];
    const rt_arg_code *given = (const rt_arg_code *)(s->dim + s->n);
    evaluate(x->sym, s, v);
    for (int32_t k = 0; k < s->what; k++) {
        const rt_arg_code *from = &given[k];
        arg[k] = (rt_arg){.kind = from->kind, .dtype = from->dtype, .rank = from->rank};
        switch ((rt_arg_kind)from->kind) {
        case RT_SYM: arg[k].sym = &x->sym[from->from]; break;
        case RT_SEQ: arg[k].value = from->slot; break;
        case RT_BUF: {
            char *base = from->where == RT_AT_SLOT ? x->slot[from->from] : from->where == RT_AT_ARENA ? (void *)x->arena : (void *)(uintptr_t)x->weights;
            arg[k].value = from->slot;
            arg[k].data = (void *)((uintptr_t)base + (uintptr_t)v[from->at]);
            memcpy(arg[k].dim, v + from->dim, sizeof *v * from->rank);
            break;
        }
        default: arg[k].value = v[from->at];
        }
    }
}

void rt_call_given(bmc_ctx *x, int32_t tid, int32_t nt, rt_call_fn *fn, const rt_step *s)
{
    rt_arg arg[RT_GIVEN_MAX];
    if (!s->sym && (tid || x->thread[0].err_step)) return;
    give(x, s, arg);
    int32_t status = fn(x, arg, s->what, tid, nt);
    if (status) rt_fail(x, tid, s->step, UINT32_MAX, status, 0, 0);
}
