/* rt_tune: all threads or one, by watching. A plan says how many threads have enough to do; whether they get a
 * processor each only the run shows: where another process keeps the CPUs busy, a thread that waits for a descheduled one loses
 * whole time slices, and one thread alone would be several times faster. And nets of small steps lose more by handing
 * lines from core to core than two cores compute faster. So the runs of one size are timed:
 *   - each way has an estimate, the mean of its last runs (of one, three times the mean at most counts); the way in use
 *     has a second one that remembers longer
 *   - the way in use is in doubt when what it lost against the other's estimate sums up to some runs (a cumulative sum
 *     that begins anew at 0): one hiccup is no reason, a small loss that lasts is one. That estimate is from an earlier
 *     hour, and what made runs slow may slow the other way as much, so it is tried, four times as soon as else, and
 *     compared with the last runs
 *   - threads are left, too, when several hiccups in a row, counted in full, took more than was won in between: time
 *     slices that a thread waits for the other are rare and a hundred times as long as a small run
 *   - the other way is tried when the time spent since the last trial is `patience` times what that lost, or what the
 *     hiccups took it was left for; each loss doubles that, so trials take a hundredth of the time or less. A trial is
 *     some runs whose mean must be less than both estimates of the way in use. Its first runs are left out when they
 *     are slow: waking a thread that slept, and caches that are cold for it, are no part of what follows
 * The first runs, cold ones, decide nothing; where there is little work they have one thread, since starting a team for
 * the first time takes longer; where threads pay but a run is shorter than that, the very first one. Where there is so
 * much that threads pay for sure, one is tried once, and then only when runs have become half as slow again as the best.
 * Results do not depend on the number of threads, so nothing but time does. */
#include "runtime/rt_internal.h"
#include <time.h>

enum {
    PATIENCE_FIRST = 8,
    PATIENCE_MOST = 64,
    PATIENCE_CLEAR = 256, /* where no run of the trials was faster, and none a hiccup */
    WARM_RUNS = 4,        /* before the other way is tried */
    WARM_RUNS_SURE = 16,  /* or WARM_RUNS, where they are erratic */
    RISE_MOST = 3,        /* longer is a hiccup */
    FEW_RUNS = 8,         /* of an estimate */
    MANY_RUNS = 64,       /* of the one that remembers longer */
    LATE_RUNS = 4,        /* lost, and the way is in doubt */
    HICCUPS = 4,          /* in a row, and they are no accident */
    HICCUP_MOST = 256,    /* runs that one counts as: the process may have been stopped */
    HICCUPS_LOST = 128,   /* runs that they must have taken */
    HICCUPS_PAID = 512,   /* runs that were won make a new row */
    LONG_RUNS = 100,      /* what has been right for so long may soon be right again */
    TRIAL_SLOW = 2,       /* first runs of a trial that do not count when they are slow */
    TRIAL_TEAM = 3,       /* runs that do */
    TRIAL_ALONE = 2,
    DOUBT = 4,            /* so much sooner is the next trial */
    TRIAL_GAIN = 32,      /* a part of a run by which a trial must be faster */
    TRIAL_COST = 6        /* times a run of the way in use, enough of a trial with threads; without, one */
};

#define LONGEST (UINT64_C(1) << 50) /* sums of some hundreds stay far below the limit */

uint64_t rt_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void rt_tune_reset(rt_tune *t, rt_work work)
{
    *t = (rt_tune){.patience = {PATIENCE_FIRST, PATIENCE_FIRST}, .sure = work >= RT_SURE, .alone = work == RT_SMALL,
                   .first_alone = work == RT_SOON};
}

bool rt_tune_alone(rt_tune *t)
{
    if (t->first_alone) return true;
    if (!t->trying && t->runs >= WARM_RUNS) {
        bool known = t->est[1] || t->runs < WARM_RUNS_SURE;
        bool fine = t->sure && !t->alone && known && !t->doubt && t->est[0] < t->best + t->best / 2;
        t->trying = !fine && t->spent / (t->patience[!t->alone] / (t->doubt ? DOUBT : 1)) >= t->cost;
        if (t->trying) {
            t->tried = t->n[!t->alone] = 0;
            t->cost = 0;
            t->clear = true;
        }
    }
    return t->alone != t->trying;
}

/* The mean of the last runs, at most `most`, of which this is number *n. */
static void average(uint64_t *mean, uint32_t *n, uint32_t most, uint64_t ns)
{
    if (*n < most) ++*n;
    *mean = ns >= *mean ? *mean + (ns - *mean) / *n : *mean - (*mean - ns) / *n;
}

/* A trial in vain; where the limit was higher before, it comes back step by step. */
static void lose(uint32_t *patience, uint32_t most)
{
    if (*patience < most) *patience *= 2;
    else if (*patience > most) *patience /= 2;
}

/* From here on the other way; `cost`: what has to be made good before this one is tried again. */
static void change(rt_tune *t, uint64_t cost)
{
    t->alone = !t->alone;
    t->trying = t->doubt = false;
    t->slow = t->est[t->alone];
    t->n_slow = t->n[t->alone];
    t->late = t->won = 0;
    t->hiccups = t->since = 0;
    t->spent = 0;
    t->cost = cost;
}

/* The way in use lost a trial that it was in doubt for: what has to be made good before it is tried. */
static uint64_t doubt_cost(rt_tune *t, uint64_t now)
{
    if (t->since >= LONG_RUNS) t->patience[t->alone] = PATIENCE_FIRST;
    else lose(&t->patience[t->alone], PATIENCE_MOST);
    return t->since >= LONG_RUNS ? now : LATE_RUNS * now;
}

static void trial_ran(rt_tune *t, uint64_t ns, bool first)
{
    bool way = !t->alone;
    uint64_t now = t->est[t->alone] < t->slow || t->doubt ? t->est[t->alone] : t->slow;
    if (ns < now || ns / TRIAL_COST > now) t->clear = false;
    if (first && !way) { /* opened the OpenMP library and made threads: no cost of the trials to come */
        t->n[way] = 0;
        return;
    }
    t->tried++;
    if (ns > now) t->cost += ns - now;
    if (ns >= now && t->tried <= TRIAL_SLOW && t->n[way] == 1) {
        t->n[way] = 0;
    } else if (t->n[way] >= (way ? TRIAL_ALONE : TRIAL_TEAM)) {
        if (t->est[way] < now - now / TRIAL_GAIN) {
            change(t, t->doubt ? doubt_cost(t, now) : t->est[t->alone]);
            return;
        }
    }
    if (t->cost > (way ? 1 : TRIAL_COST) * now || t->n[way] >= (way ? TRIAL_ALONE : TRIAL_TEAM)) {
        t->trying = t->doubt = false;
        t->spent = 0;
        t->late = 0;
        if (t->cost < now) t->cost = now;
        if (way && t->cost > TRIAL_COST * now) t->cost = TRIAL_COST * now; /* a hiccup on one thread is no fault of it */
        lose(&t->patience[way], t->clear ? PATIENCE_CLEAR : PATIENCE_MOST);
    }
}

void rt_tune_ran(rt_tune *t, uint64_t ns)
{
    if (t->first_alone) {
        t->first_alone = false;
        return;
    }
    if (ns > LONGEST) ns = LONGEST;
    bool way = t->alone != t->trying, first = !t->est[way];
    uint64_t *e = &t->est[way], other = t->est[!t->alone];
    bool hiccup = t->n[way] && *e && ns / RISE_MOST > *e;
    uint64_t rise = hiccup ? RISE_MOST * *e : ns;
    if (t->runs < WARM_RUNS && ns < *e) t->n[way] = 0;
    average(e, &t->n[way], FEW_RUNS, rise);
    if (!way && (!t->best || ns < t->best)) t->best = ns;
    if (t->runs < WARM_RUNS_SURE) t->runs++;
    if (t->trying) {
        trial_ran(t, ns, first);
        return;
    }
    average(&t->slow, &t->n_slow, MANY_RUNS, rise);
    t->spent += rise;
    t->since++;
    if (!other) return;
    t->late += (int64_t)rise - (int64_t)other;
    if (t->late < 0) t->late = 0;
    int64_t least = -(int64_t)other * HICCUPS_PAID;
    t->won += (int64_t)(ns / HICCUP_MOST < other ? ns : HICCUP_MOST * other) - (int64_t)other;
    t->hiccups += hiccup;
    if (t->won < least) {
        t->won = least;
        t->hiccups = 0;
    }
    t->doubt = t->late > (t->doubt ? 0 : (int64_t)other * LATE_RUNS);
    if (t->alone || t->hiccups < HICCUPS || t->won <= (int64_t)other * HICCUPS_LOST) return;
    if (*e < other + other / 4) *e = other + other / 4; /* all in all */
    lose(&t->patience[way], PATIENCE_MOST);
    change(t, (uint64_t)t->won);
}
