/* rt_profile: the counters of a model that was compiled to be profiled (bmc_profile.h). Only thread 0 comes here. The
 * clock is the system's: reading it takes some 20 ns, and it counts nanoseconds on every machine. */
#include "runtime/rt_internal.h"
#include <string.h>
#include <time.h>

struct rt_ticks {
    uint64_t last;
    uint32_t n;
    bmc_profile_step step[];
};

static uint64_t now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void rt_tick_start(bmc_ctx *x, int32_t n)
{
    rt_private *p = x->rt;
    if (!p->ticks) {
        size_t bytes = sizeof *p->ticks + (size_t)n * sizeof p->ticks->step[0];
        p->ticks = rt_heap_alloc(&p->heap, bytes, NULL);
        if (!p->ticks) return; /* no memory: nothing is counted */
        memset(p->ticks, 0, bytes);
        p->ticks->n = (uint32_t)n;
    }
    p->ticks->last = now();
}

void rt_tick(bmc_ctx *x, int32_t step)
{
    struct rt_ticks *t = x->rt->ticks;
    if (!t) return;
    uint64_t at = now();
    t->step[step].ns += at - t->last;
    t->step[step].times++;
    t->last = at;
}

void rt_profile(bmc_ctx *x, bmc_profile_data *out)
{
    const struct rt_ticks *t = x->rt->ticks;
    *out = (bmc_profile_data){t ? t->step : NULL, t ? t->n : 0, x->sym};
}
