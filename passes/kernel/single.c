/* single: launches that are too small to share among threads run on thread 0 alone.
 *   launch @bias(%t, %b, %y)      =>      launch @bias(%t, %b, %y) single          when it takes some thousand cycles
 * Waking others for a microsecond's work costs more than it gives: a barrier in front and behind, and lines that change
 * caches. Between launches that are single no barrier is needed. But what shared launches have written lies in the caches
 * of all threads, and thread 0 would have to fetch most of it from there, and the others what it makes of it:
 *   18 KB in and out between two shared products: 2.2 us by itself, 0.6 among other single launches, 0.5 shared
 * so lines that shared launches write or read, too, count with the cycles. Only work whose bound is known at compile time is
 * judged here; for the rest, the run decides how many threads it starts (rt_run.c). Before barriers. */
#include "ir/kernel/cycles.h"
#include "passes/kernel/kpasses.h"
#include "passes/pass.h"

enum { OPT_CYCLES };
enum { LINE_BYTES = 64, LINE_CYCLES = 12 };
static const OptSpec opts[] = {{"cycles", 5000, "a launch estimated to take fewer runs on thread 0; 0: none"}, {0}};

typedef struct Single {
    KModule *m;
    Arena a;
    Map of; /* kernel -> its cycles at most; `limit`: or more */
    Map touched; /* buffers that shared launches write or read -> 1 */
    int64_t limit, n;
} Single;

static int64_t cycles_of(Single *x, const Kernel *k)
{
    uint64_t known, key = (uint64_t)(uintptr_t)k;
    if (!map_get(&x->of, key, &known)) {
        int64_t lo, hi = INT64_MAX;
        Dim c = kernel_cycles(x->m, k);
        if (c.i) dim_bounds(x->m->dims, c, &lo, &hi);
        map_put(&x->of, key, known = (uint64_t)(hi < x->limit ? hi : x->limit));
    }
    return (int64_t)known;
}

/* Memory that threads make and read while running; not a constant, nor what the caller brings. */
static bool made_here(const KModule *m, KBuf root)
{
    return kbuf(m, root)->space == KS_ARENA || kbuf(m, root)->space == KS_BOX;
}

static bool may_be_single(Single *x, const KStep *s)
{
    return s->kind == KST_LAUNCH && s->kernel->parallel && !s->single && cycles_of(x, s->kernel) < x->limit;
}

static void touch(void *arg, KStep *s)
{
    Single *x = arg;
    if (s->kind != KST_LAUNCH || !kstep_shared(s) || may_be_single(x, s)) return;
    for (uint32_t a = 0; a < s->n_buf_arg; a++) {
        KBuf root = kbuf_root(x->m, s->buf_arg[a]);
        if (made_here(x->m, root)) map_put(&x->touched, root.i, 1);
    }
}

static void mark(void *arg, KStep *s)
{
    Single *x = arg;
    if (!may_be_single(x, s)) return;
    int64_t cycles = cycles_of(x, s->kernel);
    for (uint32_t a = 0; a < s->n_buf_arg; a++) {
        uint64_t known;
        int64_t bytes;
        if (!map_get(&x->touched, kbuf_root(x->m, s->buf_arg[a]).i, &known)) continue;
        Dim all = kbuf_bytes(x->m, kbuf(x->m, s->buf_arg[a]));
        if (all.i && dim_is_const(x->m->dims, all, &bytes) && bytes > 0) cycles += bytes / LINE_BYTES * LINE_CYCLES;
    }
    if (cycles >= x->limit) return;
    s->single = true;
    x->n++;
}

int64_t kpass_single(KModule *m, int64_t cycles)
{
    Single x = {.m = m, .limit = cycles};
    if (!m->threads) return 0;
    arena_init(&x.a, "pass", m->arena->oom);
    map_init(&x.of, &x.a);
    map_init(&x.touched, &x.a);
    kstep_each(&m->program, touch, &x);
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
