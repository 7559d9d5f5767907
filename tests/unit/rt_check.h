/* rt_check: what the tests of the runtime share: counting checks, an aligned_alloc that counts and can be told to fail,
 * a team of pthreads (ThreadSanitizer does not know libgomp), values and arguments. Included once per program. */
#ifndef RT_CHECK_H
#define RT_CHECK_H
#include "runtime/rt_cpu.h"
#include "runtime/rt_internal.h"
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int failed, checks;
static inline void check_at(bool ok, int line, const char *what)
{
    checks++;
    if (ok) return;
    failed++;
    printf("FAIL line %d: %s\n", line, what);
}
#define CHECK(x) check_at((x), __LINE__, #x)

/* The text must be exactly this; prints what it was. */
static inline void text_at(int line, const char *got, const char *want)
{
    checks++;
    if (!strcmp(got, want)) return;
    failed++;
    printf("FAIL line %d: message\n   got: %s\n  want: %s\n", line, got, want);
}
#define TEXT(x, want) text_at(__LINE__, rt_message(x), want)

/* ---- memory under observation ---- */
static _Atomic long alloc_calls;
static long alloc_fail_at; /* 0: never; else the call that fails, counted from alloc_calls */
void *aligned_alloc(size_t align, size_t n)
{
    void *p;
    long call = ++alloc_calls;
    if (alloc_fail_at && call >= alloc_fail_at) return NULL;
    return posix_memalign(&p, align, n) ? NULL : p;
}

/* ---- a team of pthreads, made per run ---- */
typedef struct Job {
    void (*fn)(void *, int, int);
    void *arg;
    int tid, nt;
} Job;
static inline void *job_main(void *p)
{
    Job *j = p;
    j->fn(j->arg, j->tid, j->nt);
    return NULL;
}
static inline void team_of(void (*fn)(void *, int, int), void *arg, int nt)
{
    pthread_t thread[64];
    Job job[64];
    for (int t = 1; t < nt; t++) {
        job[t] = (Job){fn, arg, t, nt};
        if (pthread_create(&thread[t], NULL, job_main, &job[t])) abort();
    }
    fn(arg, 0, nt);
    for (int t = 1; t < nt; t++) pthread_join(thread[t], NULL);
}
static inline void team(void *pool, void (*fn)(void *, int, int), void *arg, int nt)
{
    int *most = pool; /* delivers fewer threads than asked for when told so */
    team_of(fn, arg, most && *most < nt ? *most : nt);
}

static inline bmc_config config_of(int threads)
{
    return (bmc_config){.size = sizeof(bmc_config), .threads = threads, .team = team};
}

static inline bmc_value tensor(int dtype, void *data, size_t bytes, int rank, const int64_t *dim)
{
    bmc_value v = {.size = sizeof v,
                   .kind = BMC_TENSOR,
                   .dtype = (uint8_t)dtype,
                   .rank = (uint8_t)rank,
                   .data = data,
                   .bytes = bytes};
    memcpy(v.dim, dim, (size_t)rank * sizeof *dim);
    return v;
}
#define DIMS(...)                                                                                                      \
    (const int64_t[]) { __VA_ARGS__ }
static inline bmc_value no_value(void) { return (bmc_value){.size = sizeof(bmc_value)}; }

/* For descriptors of models without symbols. */
static inline void no_plan(int64_t *sym, rt_need *need) { (void)sym, (void)need; }

/* The last line of a test program is its count; the exit status of main. */
static inline int check_summary(void)
{
    printf("%d passed, %d failed\n", checks - failed, failed);
    return failed != 0;
}

#endif
