/* rt_tune: all threads or one, by watching. A plan says how many threads have enough to do; whether they get a processor
 * each only the run shows: where another process keeps the CPUs busy, a thread that waits for a descheduled one loses
 * whole time slices, and one thread alone would be several times faster. So the runs of one size are timed:
 *   - each way has an estimate: the last run if it was faster, else a quarter of the way towards it (towards three times
 *     the estimate at most)
 *   - the way in use is left when its estimate was above the other's for some runs in a row: one hiccup is no reason
 *   - the other way is tried when the time spent since the last trial is `patience` times what that took; each trial in
 *     vain doubles that, so trials take a few hundredths of the time at most. A trial is some runs, ended by the first
 *     that is faster: waking a thread that slept, and caches that are cold for it, are no part of what follows
 * The first runs, cold ones, decide nothing; where there is little work they have one thread, since starting a team for
 * the first time takes longer. Where there is so much that threads pay for sure, one is tried once, and then only when
 * runs have become half as slow again as the best.
 * Results do not depend on the number of threads, so nothing but time does. */
#include "runtime/rt_internal.h"
#include <time.h>

enum {
    PATIENCE_FIRST = 8,
    PATIENCE_MOST = 64,
    WARM_RUNS = 4,      /* before the other way is tried */
    WARM_RUNS_SURE = 16, /* or WARM_RUNS, where they are erratic */
    RISE_MOST = 3,
    LATE_RUNS = 3,      /* in a row, and the other way is taken */
    LONG_RUNS = 100,    /* what has been right for so long may soon be right again */
    TRIAL_TEAM = 4,     /* runs of a trial */
    TRIAL_ALONE = 2,
    TRIAL_COST = 6      /* times a run of the way in use: enough of a trial */
};

uint64_t rt_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void rt_tune_reset(rt_tune *t, rt_work work)
{
    *t = (rt_tune){.patience = PATIENCE_FIRST, .sure = work == RT_SURE, .alone = work == RT_SMALL};
}

bool rt_tune_alone(rt_tune *t)
{
    if (!t->trying && t->runs >= WARM_RUNS) {
        bool fine = t->sure && !t->alone && (t->est[1] || t->runs < WARM_RUNS_SURE) && t->est[0] < t->best + t->best / 2;
        t->trying = !fine && t->spent / t->patience >= t->cost;
        t->tried = 0;
        if (t->trying) t->cost = 0;
    }
    return t->alone != t->trying;
}

static void change(rt_tune *t, uint32_t patience)
{
    t->alone = !t->alone;
    t->trying = false;
    t->late = 0;
    t->since = 0;
    t->spent = 0;
    t->cost = t->est[!t->alone];
    t->patience = patience > PATIENCE_MOST ? PATIENCE_MOST : patience < PATIENCE_FIRST ? PATIENCE_FIRST : patience;
}

void rt_tune_ran(rt_tune *t, uint64_t ns)
{
    bool way = t->alone != t->trying;
    uint64_t *e = &t->est[way], now = t->est[t->alone], other = t->est[!t->alone];
    uint64_t rise = *e && ns > RISE_MOST * *e ? RISE_MOST * *e : ns;
    bool first = !*e;
    *e = !*e || ns < *e ? ns : *e + (rise - *e) / 4;
    if (!way && (!t->best || ns < t->best)) t->best = ns;
    if (t->runs < WARM_RUNS_SURE) t->runs++;
    if (t->trying) {
        if (ns < now) { /* what an earlier trial said is of no interest */
            *e = ns;
            change(t, t->patience / 2);
            return;
        }
        if (first && !way) return; /* opened the OpenMP library and made threads: no cost of the trials to come */
        t->tried++;
        t->cost += ns;
        if (t->tried >= (t->alone ? TRIAL_TEAM : TRIAL_ALONE) || t->cost > TRIAL_COST * now) {
            t->trying = false;
            t->spent = 0;
            t->patience = 2 * t->patience < PATIENCE_MOST ? 2 * t->patience : PATIENCE_MOST;
        }
        return;
    }
    t->spent += rise;
    t->since++;
    t->late = other && *e > other ? t->late + 1 : 0;
    if (t->late >= LATE_RUNS) change(t, t->since < LONG_RUNS ? 2 * t->patience : PATIENCE_FIRST);
}
