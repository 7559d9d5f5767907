/* rt_tune: all threads or one, by watching. A plan says how many threads have enough to do; whether they get a processor
 * each only the run shows: where another process keeps the CPUs busy, a thread that waits for a descheduled one loses
 * whole time slices, and one thread alone would be several times faster. So the runs of one size are timed:
 *   - the way that is in use has an estimate: the last run if it was faster, else a quarter of the way towards it
 *     (towards three times the estimate at most: one hiccup is no reason to change)
 *   - the other way is tried when the time spent since it was last tried is `patience` times what it took; each trial
 *     in vain doubles that, so trials take a few hundredths of the time at most
 *   - the faster one is used
 * Where the plan is `sure` that threads pay, one is tried once, and then only when runs have become half as slow again
 * as the best.
 * Results do not depend on the number of threads, so nothing but time does. */
#include "runtime/rt_internal.h"
#include <time.h>

enum { PATIENCE_FIRST = 8, PATIENCE_MOST = 64, WARM_RUNS = 2, RISE_MOST = 3 };

uint64_t rt_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void rt_tune_reset(rt_tune *t, bool sure) { *t = (rt_tune){.patience = PATIENCE_FIRST, .sure = sure}; }

bool rt_tune_alone(rt_tune *t)
{
    uint64_t other = t->est[!t->alone];
    if (t->runs < WARM_RUNS) t->trying = false;
    else if (t->sure && !t->alone && other && t->est[0] < t->best + t->best / 2) t->trying = false;
    else t->trying = t->spent / t->patience >= other; /* not known: 0 */
    return t->alone != t->trying;
}

void rt_tune_ran(rt_tune *t, uint64_t ns)
{
    bool way = t->alone != t->trying;
    uint64_t *e = &t->est[way];
    if (*e && ns > RISE_MOST * *e) ns = RISE_MOST * *e;
    *e = !*e || ns < *e ? ns : *e + (ns - *e) / 4;
    if (!way && (!t->best || ns < t->best)) t->best = ns;
    t->runs += t->runs < WARM_RUNS;
    t->spent += ns;
    if (t->trying) {
        t->spent = 0;
        t->patience = 2 * t->patience < PATIENCE_MOST ? 2 * t->patience : PATIENCE_MOST;
    }
    if (!t->est[!t->alone] || t->est[!t->alone] >= t->est[t->alone]) return;
    t->alone = !t->alone;
    t->spent = 0;
    t->patience = PATIENCE_FIRST;
}
