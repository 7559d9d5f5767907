/* single: launches that are too small to share among threads run on thread 0 alone.
 *   launch @bias(%t, %b, %y)      =>      launch @bias(%t, %b, %y) single          when it takes some thousand cycles
 * Waking others for a microsecond's work costs more than it gives: a barrier in front and behind, and lines that change
 * caches. Between launches that are single no barrier is needed. Only work whose bound is known at compile time is
 * judged here; for the rest, the run decides how many threads it starts (rt_run.c). Before barriers. */
#include "ir/kernel/cycles.h"
#include "passes/kernel/kpasses.h"
#include "passes/pass.h"

enum { OPT_CYCLES };
static const OptSpec opts[] = {{"cycles", 5000, "a launch estimated to take fewer runs on thread 0; 0: none"}, {0}};

typedef struct Single {
    KModule *m;
    Arena a;
    Map of; /* kernel -> 1: small, 2: not */
    int64_t limit, n;
} Single;

static bool is_small(Single *x, const Kernel *k)
{
    uint64_t known, key = (uint64_t)(uintptr_t)k;
    if (!map_get(&x->of, key, &known)) {
        int64_t lo, hi = INT64_MAX;
        Dim c = kernel_cycles(x->m, k);
        if (c.i) dim_bounds(x->m->dims, c, &lo, &hi);
        map_put(&x->of, key, known = hi < x->limit ? 1 : 2);
    }
    return known == 1;
}

static void mark(void *arg, KStep *s)
{
    Single *x = arg;
    if (s->kind != KST_LAUNCH || !s->kernel->parallel || s->single || !is_small(x, s->kernel)) return;
    s->single = true;
    x->n++;
}

int64_t kpass_single(KModule *m, int64_t cycles)
{
    Single x = {.m = m, .limit = cycles};
    if (!m->threads) return 0;
    arena_init(&x.a, "pass", m->arena->oom);
    map_init(&x.of, &x.a);
    kstep_each(&m->program, mark, &x);
    arena_free(&x.a);
    return x.n;
}

static PassResult run(PassCtx *c)
{
    int64_t n = kpass_single(c->k, c->opt[OPT_CYCLES]);
    pass_count(c, "launches that stay on thread 0", n);
    return n ? PASS_CHANGED : PASS_UNCHANGED;
}

const Pass pass_single = {
    .name = "single", .brief = "launches too small to share run on thread 0", .kernel = true, .opts = opts, .run = run};
