/* rt_tune_test: how the runtime chooses between all threads and one, on machines that are modelled: quiet ones, with
 * others on the processors, with hiccups, slow for a while. */
#include "runtime/rt_internal.h"
#include <stdio.h>

static int failed, checks;
static void check_at(bool ok, int line, const char *what)
{
    checks++;
    if (ok) return;
    failed++;
    printf("FAIL line %d: %s\n", line, what);
}
#define CHECK(x) check_at((x), __LINE__, #x)

/* A machine that takes `team` and `alone` ns for a run, and `wake` for the first `sleepy` runs of a team
 * behind runs on one thread. */
typedef struct Machine {
    rt_tune t;
    uint64_t spent, alone_runs, wake;
    int sleepy, asleep;
} Machine;

static void machine_run(Machine *m, int runs, uint64_t team, uint64_t alone)
{
    m->spent = m->alone_runs = 0;
    for (int i = 0; i < runs; i++) {
        bool one = rt_tune_alone(&m->t);
        uint64_t ns = one ? alone : m->asleep ? m->wake : team;
        m->asleep = one ? m->sleepy : m->asleep - (m->asleep > 0);
        m->alone_runs += one;
        m->spent += ns;
        rt_tune_ran(&m->t, ns);
    }
}

static void test_tune(void)
{
    for (int work = RT_UNKNOWN; work <= RT_SOON; work++) {
        bool sure = work >= RT_SURE;
        Machine m = {.wake = 0};
        rt_tune_reset(&m.t, (rt_work)work);
        machine_run(&m, 10000, 100, 190); /* a quiet machine: threads, hardly a trial */
        CHECK(m.spent < 10000 * 100 * 1.02 && m.alone_runs < 200 && (!sure || m.alone_runs == 2 + (work == RT_SOON)));
        for (int hiccups = 1; hiccups <= 2; hiccups++) {
            for (int i = 0; i < hiccups; i++) {
                (void)rt_tune_alone(&m.t);
                rt_tune_ran(&m.t, 40000);
            }
            machine_run(&m, 200, 100, 190);
            CHECK(m.alone_runs < 5);
        }
        machine_run(&m, 20000, 4000, 190); /* somebody else takes a processor: one thread, and few trials */
        CHECK(m.spent < 20000 * 190 * 1.15 && m.alone_runs > 19500);
        machine_run(&m, 3000, 100, 190); /* he is gone */
        CHECK(m.alone_runs < 1500);
        machine_run(&m, 3000, 100, 190);
        CHECK(m.spent < 3000 * 100 * 1.02);
        rt_tune_reset(&m.t, (rt_work)work);
        machine_run(&m, 10000, 220, 190); /* threads do not pay */
        CHECK(m.spent < 10000 * 190 * 1.02);
        rt_tune_reset(&m.t, (rt_work)work);
        machine_run(&m, 10000, 0, 0); /* a clock that stands still */
        CHECK(m.t.patience[0] <= 256 && m.t.patience[1] <= 256);
    }
}

/* The first team of a process opens a library and makes threads, which takes as long as many runs of a small model. */
static void test_tune_begins(void)
{
    Machine m = {.wake = 300, .sleepy = 1};
    rt_tune_reset(&m.t, RT_SMALL);
    machine_run(&m, 4, 9999, 300);
    CHECK(m.alone_runs == 4 && !rt_tune_alone(&m.t));
    rt_tune_ran(&m.t, 20000);
    m.asleep = 0;
    machine_run(&m, 20, 170, 300);
    CHECK(m.alone_runs <= 2);
    rt_tune_reset(&m.t, RT_SOON);
    machine_run(&m, 1, 9999, 300);
    CHECK(m.alone_runs == 1 && !rt_tune_alone(&m.t));
}

/* What kept a model of 2.1 ms on one thread, 4.2 ms, in a quiet hour. */
static void test_tune_recovers(void)
{
    for (int work = RT_UNKNOWN; work <= RT_SOON; work++) {
        Machine m = {.wake = 5000, .sleepy = 2};
        rt_tune_reset(&m.t, (rt_work)work);
        machine_run(&m, 1, 40000, 50000); /* the first runs are cold: they say nothing */
        machine_run(&m, 2, 6000, 4200);
        machine_run(&m, 40, 2100, 4200);
        CHECK(m.alone_runs <= 6);
        machine_run(&m, 300, 30000, 4200); /* another process for a while: one thread */
        CHECK(m.alone_runs > 280);
        machine_run(&m, 600, 2100, 4200); /* it goes: trials begin with threads that sleep */
        CHECK(m.alone_runs < 500);
        machine_run(&m, 100, 2100, 4200);
        CHECK(m.alone_runs <= 2);
        machine_run(&m, 1000, 2100, 4200);
        machine_run(&m, 8, 9000, 4200); /* a moment that stops one thread again and again: soon as before */
        machine_run(&m, 40, 2100, 4200);
        CHECK(m.alone_runs <= 25);
        machine_run(&m, 40, 2100, 4200);
        CHECK(m.alone_runs <= 2);
    }
}

/* Spells in which the whole machine is slow: one thread was and stays the better way, although in a spell it takes longer
 * than threads took before. */
static void test_tune_spells(void)
{
    for (int work = RT_UNKNOWN; work <= RT_SMALL; work++) {
        Machine m = {.wake = 0};
        rt_tune_reset(&m.t, (rt_work)work);
        machine_run(&m, 1000, 105, 68);
        uint64_t alone = 0, spent = 0;
        for (int i = 0; i < 20; i++) {
            machine_run(&m, 40, 240, 170);
            alone += m.alone_runs, spent += m.spent;
            machine_run(&m, 160, 105, 68);
            alone += m.alone_runs, spent += m.spent;
        }
        CHECK(alone > 20 * 200 * 0.97 && spent < 20 * (40 * 170 + 160 * 68) * 1.02);
    }
}

/* The machine is slow while the first runs are timed, so threads win a trial that they should not, and the hiccups of the
 * trials to come are none of one thread's: it is soon back. */
static void test_tune_slow_begin(void)
{
    uint64_t state = 1;
    double worst = 1;
    for (int process = 0; process < 300; process++) {
        rt_tune t;
        rt_tune_reset(&t, RT_SMALL);
        double spent = 0, least = 0;
        for (int i = 0; i < 2000; i++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            uint64_t r = state >> 33, slow = i < 6 ? 150 + r % 100 : 100, hiccup = (r >> 9) % 270 ? 0 : 4000000;
            uint64_t one = 680 * (95 + r / 128 % 11) * slow / 100, team = 1000 * (95 + r / 2048 % 11) * slow / 100;
            uint64_t ns = (rt_tune_alone(&t) ? one : team) + hiccup;
            rt_tune_ran(&t, ns);
            spent += (double)ns;
            least += (double)(one + hiccup);
        }
        if (least / spent < worst) worst = least / spent;
    }
    CHECK(worst > 0.95);
}

/* Runs of +-10 % around a mean; one of `every` takes `hiccup` more, which hides in no mean but the true one. */
typedef struct Noisy {
    uint64_t mean, hiccup, every;
} Noisy;

static uint64_t noisy_ns(const Noisy *n, uint64_t *state)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    uint64_t r = *state >> 33;
    return n->mean * (900 + r % 201) / 1000 + (n->every && (r >> 8) % n->every == 0 ? n->hiccup : 0);
}

/* Share of what the better way takes; *alone: part of the runs on one thread. */
static double noisy_run(rt_work work, Noisy team, Noisy one, int runs, double *alone)
{
    rt_tune t;
    rt_tune_reset(&t, work);
    uint64_t state = 1, spent = 0, alone_runs = 0;
    for (int i = 0; i < runs; i++) {
        bool way = rt_tune_alone(&t);
        uint64_t ns = noisy_ns(way ? &one : &team, &state);
        alone_runs += way;
        spent += ns;
        rt_tune_ran(&t, ns);
    }
    double a = (double)team.mean + (team.every ? (double)team.hiccup / (double)team.every : 0);
    double b = (double)one.mean + (one.every ? (double)one.hiccup / (double)one.every : 0);
    *alone = (double)alone_runs / runs;
    return (a < b ? a : b) * runs / (double)spent;
}

/* Means decide, not the best run; a small loss that lasts is seen, and so are rare long ones. */
static void test_tune_noisy(void)
{
    double alone;
    for (int work = RT_UNKNOWN; work <= RT_SMALL; work++) {
        rt_work w = (rt_work)work;
        CHECK(noisy_run(w, (Noisy){131000, 0, 0}, (Noisy){105000, 0, 0}, 20000, &alone) > 0.99 && alone > 0.95);
        CHECK(noisy_run(w, (Noisy){108000, 0, 0}, (Noisy){100000, 0, 0}, 20000, &alone) > 0.98 && alone > 0.8);
        CHECK(noisy_run(w, (Noisy){137000, 0, 0}, (Noisy){215000, 0, 0}, 20000, &alone) > 0.99 && alone < 0.02);
        CHECK(noisy_run(w, (Noisy){11700, 0, 0}, (Noisy){14500, 0, 0}, 100000, &alone) > 0.98 && alone < 0.03);
        /* faster but for time slices that the threads wait for each other */
        CHECK(noisy_run(w, (Noisy){11700, 5000000, 1000}, (Noisy){14500, 0, 0}, 200000, &alone) > 0.95 && alone > 0.7);
        CHECK(noisy_run(w, (Noisy){11700, 8000000, 100}, (Noisy){14500, 0, 0}, 200000, &alone) > 0.93 && alone > 0.9);
        /* rare enough to be worth it */
        CHECK(noisy_run(w, (Noisy){137000, 1000000, 2000}, (Noisy){215000, 0, 0}, 50000, &alone) > 0.98);
        CHECK(alone < 0.05);
    }
}

int main(void)
{
    test_tune();
    test_tune_begins();
    test_tune_recovers();
    test_tune_spells();
    test_tune_slow_begin();
    test_tune_noisy();
    printf("%d passed, %d failed\n", checks - failed, failed);
    return failed != 0;
}
