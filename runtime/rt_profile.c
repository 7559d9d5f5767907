/* rt_profile: the counters of a model that was compiled to be profiled (bmc_profile.h). Every thread counts for itself, in
 * memory that thread 0 gets when the first run begins; what the others do before they see it is not counted. The clock
 * is the system's: reading it takes some 20 ns, and it counts nanoseconds on every machine. */
#include "runtime/rt_internal.h"
#include <string.h>
#include <time.h>

typedef struct Line { /* of one thread */
    uint64_t last, cpu; /* 0: has not begun to count */
    uint64_t pad[6];
} Line;
struct rt_ticks {
    uint32_t cpu;           /* count processor time, too */
    uint32_t n, stride, nt; /* steps; from the counters of a thread to those of the next */
    bmc_profile_step *step;
    _Alignas(64) Line line[];
};

static uint64_t now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static struct rt_ticks *ticks_new(rt_private *p, uint32_t n)
{
    uint32_t stride = (n + 7) / 8 * 8, nt = (uint32_t)p->nt; /* whole lines: threads do not share any */
    size_t head = sizeof(struct rt_ticks) + nt * sizeof(Line);
    size_t bytes = head + (size_t)nt * stride * sizeof(bmc_profile_step);
    struct rt_ticks *t = rt_heap_alloc(&p->heap, bytes, NULL);
    if (!t) return NULL; /* no memory: nothing is counted */
    memset(t, 0, bytes);
    t->n = n;
    t->stride = stride;
    t->nt = nt;
    t->step = (bmc_profile_step *)((char *)t + head);
    return t;
}

void rt_tick_start(bmc_ctx *x, int32_t tid, int32_t n)
{
    rt_private *p = x->rt;
    struct rt_ticks *t = atomic_load_explicit(&p->ticks, memory_order_acquire);
    if (!t && tid == 0) atomic_store_explicit(&p->ticks, t = ticks_new(p, (uint32_t)n), memory_order_release);
    if (!t) return;
    if (t->cpu) t->line[tid].cpu = now(CLOCK_THREAD_CPUTIME_ID);
    t->line[tid].last = now(CLOCK_MONOTONIC);
}

void rt_tick(bmc_ctx *x, int32_t tid, int32_t step)
{
    struct rt_ticks *t = atomic_load_explicit(&x->rt->ticks, memory_order_acquire);
    if (!t || !t->line[tid].last) return;
    uint64_t at = now(CLOCK_MONOTONIC);
    bmc_profile_step *s = &t->step[(size_t)tid * t->stride + (size_t)step];
    s->ns += at - t->line[tid].last;
    s->times++;
    t->line[tid].last = at;
    if (!t->cpu) return;
    at = now(CLOCK_THREAD_CPUTIME_ID);
    s->cpu += at - t->line[tid].cpu;
    t->line[tid].cpu = at;
    t->line[tid].last = now(CLOCK_MONOTONIC); /* without the time of the call */
}

void rt_profile(bmc_ctx *x, bmc_profile_data *out)
{
    struct rt_ticks *t = atomic_load_explicit(&x->rt->ticks, memory_order_acquire);
    uint32_t cpu = out->cpu;
    *out = (bmc_profile_data){.step = t ? t->step : NULL, .sym = x->sym, .cpu = cpu};
    if (!t) return;
    t->cpu = cpu;
    out->n_step = t->n;
    out->n_thread = t->nt;
    out->stride = t->stride;
}
