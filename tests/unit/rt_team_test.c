/* rt_team_test: how many threads a run starts, and how the first team comes to be. Compiled with the form of
 * rt_parallel.c that calls OpenMP; the library is one that only counts. */
#include "tests/unit/rt_check.h"

static const bmc_info none_info = {.name = "none", .producer = "test"};

/* ================= constants that one second cache does not hold, but those of all threads do */
static rt_need near_need;
static void near_plan(int64_t *sym, rt_need *need)
{
    (void)sym;
    *need = near_need;
}

static int32_t near_body(bmc_ctx *x, int32_t tid, int32_t nt)
{
    (void)x, (void)tid, (void)nt;
    return BMC_OK;
}

static void test_near(void)
{
    rt_desc d = {.abi = BMC_ABI, .info = &none_info, .plan = near_plan, .body = near_body, .flags = RT_THREADED};
    static const struct {
        int64_t l2, constants, threads, near, use; /* of four threads */
    } row[] = {
        {1000, 1500, 1, 2, 2}, {1000, 2000, 1, 2, 2}, {1000, 2001, 1, 2, 1}, {1000, 1000, 1, 2, 1}, {1000, 2500, 1, 3, 3},
        {1000, 3999, 1, 9, 4}, {1000, 4001, 1, 9, 1}, {1000, 4001, 2, 3, 2}, {1000, 1500, 9, 15, 4}, {1000, 1500, 0, 0, 4},
        {-1, 1500, 1, 2, 1},   {1000, 0, 1, 2, 1},
    };
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        bmc_config c = config_of(4);
        bmc_ctx *x;
        near_need = (rt_need){.threads = row[i].threads, .work = 100000};
        CHECK(rt_create(&d, &c, NULL, 0, &x) == BMC_OK && rt_reset(x) == BMC_OK);
        near_need.threads_near = row[i].near;
        near_need.constants = row[i].constants;
        x->rt->l2 = row[i].l2;
        CHECK(rt_run(x, NULL, NULL) == BMC_OK && x->rt->nt_plan == row[i].use);
        rt_destroy(x);
    }
    int64_t l2 = rt_l2_bytes(), told = rt_l2_told();
    CHECK(l2 == -1 || l2 >= 1 << 10);
    CHECK(told == 0 || told >= 1 << 10);
    for (int larger = 0; larger < 2 && told; larger++) { /* the system is asked only about what that may not hold */
        bmc_config c = config_of(2);
        bmc_ctx *x;
        near_need = (rt_need){.threads = 1, .work = 100000, .threads_near = 2, .constants = told + larger};
        CHECK(rt_create(&d, &c, NULL, 0, &x) == BMC_OK && rt_run(x, NULL, NULL) == BMC_OK);
        CHECK(x->rt->l2 == (larger ? l2 : 0));
        rt_destroy(x);
    }
}

/* ================= the first team: one thread more than there are CPUs, once; and not for little work */
static int omp_asked[8], omp_regions, omp_thread, omp_threads;
static void omp_parallel_here(void (*fn)(void *), void *arg, unsigned threads, unsigned flags)
{
    (void)flags;
    if (omp_regions < 8) omp_asked[omp_regions++] = (int)threads;
    omp_threads = (int)threads;
    for (omp_thread = 0; omp_thread < omp_threads; omp_thread++) fn(arg);
}
static int omp_thread_here(void)
{
    return omp_thread;
}
static int omp_threads_here(void)
{
    return omp_threads;
}

static void test_first_team(void)
{
    rt_desc d = {.abi = BMC_ABI, .info = &none_info, .plan = near_plan, .body = near_body, .flags = RT_THREADED};
    int cpus = rt_usable_cpus();
    if (cpus < 2) return;
    for (int other = 0; other < 2; other++) { /* a library that does not spin that way */
        bmc_config c = {.size = sizeof c, .threads = cpus};
        bmc_ctx *x;
        near_need = (rt_need){.threads = 100 * cpus, .work = 10000000};
        CHECK(rt_create(&d, &c, NULL, 0, &x) == BMC_OK && rt_team_exists(x->rt));
        x->rt->omp = (rt_omp){omp_parallel_here, omp_thread_here, omp_threads_here, other ? &d : NULL};
        omp_regions = 0;
        CHECK(rt_run(x, NULL, NULL) == BMC_OK && rt_run(x, NULL, NULL) == BMC_OK && omp_regions == 3 - other);
        CHECK(omp_asked[0] == cpus + !other && omp_asked[1] == cpus && (other || omp_asked[2] == cpus));
        rt_destroy(x);
        near_need.work = 1000000;
        CHECK(rt_create(&d, &c, NULL, 0, &x) == BMC_OK);
        x->rt->omp = (rt_omp){omp_parallel_here, omp_thread_here, omp_threads_here, NULL};
        omp_regions = 0;
        CHECK(rt_run(x, NULL, NULL) == BMC_OK && omp_regions == 0);
        CHECK(rt_run(x, NULL, NULL) == BMC_OK && omp_regions == 2 && omp_asked[0] == cpus + 1 && omp_asked[1] == cpus);
        rt_destroy(x);
    }
}

int main(void)
{
    test_near();
    test_first_team();
    return check_summary();
}
