/* cmd_bench.c: `bmc bench`: times a model (best, median, 99th percentile), or with --machine what this machine can do at most. */
#include "codegen/codegen.h"
#include "codegen/peak.h"
#include "driver/model.h"
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static void show(Session *s, cJSON *j)
{
    if (s->opt.json) {
        char *text = cJSON_PrintUnformatted(j);
        printf("%s\n", text ? text : "{}");
        cJSON_free(text);
    } else
        for (cJSON *e = j->child; e; e = e->next) {
            char *v = cJSON_PrintUnformatted(e);
            printf("%-18s %s\n", e->string, v ? v : "");
            cJSON_free(v);
        }
    cJSON_Delete(j);
}

static int bench_machine(Session *s)
{
    KTarget t;
    PeakResult p;
    int nt = s->opt.threads > 0 ? s->opt.threads : (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (!codegen_target(&s->arena, &s->diag, NULL, s->opt.cpu, &t)) return EXIT_INPUT;
    if (!peak_measure(&t, nt, &p)) return diag(&s->diag, diag_file(NULL), E_RUN, "this machine cannot run code for that cpu"), EXIT_INPUT;
    cJSON *j = cJSON_CreateObject(), *fma = cJSON_AddObjectToObject(j, "fma_peak");
    cJSON *read = cJSON_AddObjectToObject(j, "read_bandwidth"), *cache = cJSON_AddObjectToObject(j, "cache_bandwidth");
    cJSON *by_size = cJSON_AddObjectToObject(j, "bandwidth_by_size"), *bytes = cJSON_AddArrayToObject(by_size, "bytes");
    cJSON *share = cJSON_AddObjectToObject(j, "processor_share");
    char n[16];
    cJSON_AddStringToObject(j, "cpu", t.cpu);
    cJSON_AddStringToObject(j, "target", t.triple);
    cJSON_AddNumberToObject(j, "threads", p.threads);
    cJSON_AddNumberToObject(j, "cache_bytes", t.l2_bytes);
    cJSON_AddStringToObject(j, "units", "GF/s of f32 (a multiply-add is two), GB/s, of processor time; by number of threads");
    for (int k = 0; k < PEAK_SIZES; k++) cJSON_AddItemToArray(bytes, cJSON_CreateNumber((double)p.bytes[k]));
    for (int many = 0; many <= (p.threads > 1); many++) {
        const double *gbytes = many ? p.read_n : p.read_1;
        snprintf(n, sizeof n, "%d", many ? p.threads : 1);
        for (unsigned k = 0; k < p.n; k++) {
            cJSON *w = many ? cJSON_GetObjectItem(fma, p.width[k].name) : cJSON_AddObjectToObject(fma, p.width[k].name);
            cJSON_AddNumberToObject(w, n, many ? p.width[k].gflops_n : p.width[k].gflops_1);
        }
        cJSON_AddNumberToObject(share, n, many ? p.share_n : p.share_1);
        cJSON_AddNumberToObject(read, n, gbytes[PEAK_SIZES - 1]);
        cJSON_AddNumberToObject(cache, n, gbytes[0]);
        cJSON_AddItemToObject(by_size, n, cJSON_CreateDoubleArray(gbytes, PEAK_SIZES));
    }
    show(s, j);
    return 0;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The model once more with its checks, for what they cost: false when it cannot be (an artifact is what it is). */
static bool load_checked(Session *s, Loaded *l)
{
    s->opt.unchecked = false;
    bool ok = model_load(s, l) && model_inputs(s, l) && model_run(s, l);
    s->opt.unchecked = true;
    return ok;
}

enum { BLOCK_NS = 20000000, BLOCK_RUNS = 3 };

/* Runs of a block, long enough for threads that slept to be awake; the quickest, 0: diagnosed. */
static uint64_t block(Session *s, Loaded *l)
{
    uint64_t start = clock_ns(), least = UINT64_MAX;
    for (uint32_t n = 0; n < BLOCK_RUNS || clock_ns() - start < BLOCK_NS; n++) {
        uint64_t t = clock_ns();
        if (!model_run(s, l)) return 0;
        t = clock_ns() - t;
        least = t < least ? t : least;
    }
    return least ? least : 1;
}

static int by_ratio(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Threads and one thread in turn: the quickest run of each, and the median of the ratios of neighbouring blocks. */
static bool gain(Session *s, Loaded *l, cJSON *j)
{
    Loaded alone;
    VEC(double) ratio = {0};
    uint64_t least[2] = {UINT64_MAX, UINT64_MAX}, end = clock_ns() + (uint64_t)(s->opt.seconds * 1e9);
    if (!model_alone(s, l, &alone) || !block(s, l) || !block(s, &alone)) return false;
    do {
        uint64_t all = block(s, l), one = all ? block(s, &alone) : 0;
        if (!one) return false;
        least[0] = all < least[0] ? all : least[0];
        least[1] = one < least[1] ? one : least[1];
        vec_push(&s->arena, &ratio, (double)one / (double)all);
    } while (clock_ns() < end);
    qsort(ratio.p, ratio.n, sizeof *ratio.p, by_ratio);
    cJSON_AddNumberToObject(j, "threads_min_ns", (double)least[0]);
    cJSON_AddNumberToObject(j, "one_thread_min_ns", (double)least[1]);
    cJSON_AddNumberToObject(j, "gain", (double)least[1] / (double)least[0]);
    cJSON_AddNumberToObject(j, "gain_median", ratio.p[ratio.n / 2]);
    model_unload(&alone);
    return true;
}

int cmd_bench(Session *s)
{
    if (s->opt.machine) return bench_machine(s);
    Loaded l, with;
    bool compare = s->opt.unchecked;
    if (!model_load(s, &l) || !model_inputs(s, &l)) return EXIT_INPUT;
    uint64_t t = clock_ns();
    if (!model_run(s, &l)) return EXIT_INPUT;
    uint64_t first = clock_ns() - t;
    compare &= l.compiled;
    if (compare && !load_checked(s, &with)) return EXIT_INPUT;
    uint64_t end = clock_ns() + (uint64_t)(s->opt.seconds * 1e9);
    VEC(uint64_t) runs = {0}, checked = {0};
    do {   /* in turn, so that both meet the same machine */
        t = clock_ns();
        if (l.model->run(l.ctx, l.in, l.out) != BMC_OK) return model_run(s, &l), EXIT_INPUT;
        vec_push(&s->arena, &runs, clock_ns() - t);
        if (!compare) continue;
        t = clock_ns();
        if (with.model->run(with.ctx, with.in, with.out) != BMC_OK) return model_run(s, &with), EXIT_INPUT;
        vec_push(&s->arena, &checked, clock_ns() - t);
    } while (clock_ns() < end && runs.n < 10000000);
    qsort(runs.p, runs.n, sizeof *runs.p, by_value);
    if (compare) qsort(checked.p, checked.n, sizeof *checked.p, by_value);
    const bmc_info *info = l.model->info;
    int64_t *sym = arena_array(&s->arena, int64_t, info->n_symbol + 1);
    for (uint32_t k = 0; k < info->n_symbol; k++)
        sym[k] = symbol_extent(info, k, l.in);
    bmc_sizes sizes = {0};
    l.model->sizes(sym, s->opt.threads > 0 ? s->opt.threads : 1, &sizes);
    struct rusage ru;
    getrusage(RUSAGE_SELF, &ru);
    cJSON *j = cJSON_CreateObject();
    cJSON_AddStringToObject(j, "model", s->opt.file);
    cJSON_AddNumberToObject(j, "min_ns", (double)runs.p[0]);
    cJSON_AddNumberToObject(j, "median_ns", (double)runs.p[runs.n / 2]);
    cJSON_AddNumberToObject(j, "p99_ns", (double)runs.p[runs.n - 1 - runs.n / 100]);
    cJSON_AddNumberToObject(j, "max_ns", (double)runs.p[runs.n - 1]);
    cJSON_AddNumberToObject(j, "runs", runs.n);
    if (compare) {
        double median = (double)checked.p[checked.n / 2];
        cJSON_AddNumberToObject(j, "checked_min_ns", (double)checked.p[0]);
        cJSON_AddNumberToObject(j, "checked_median_ns", median);
        cJSON_AddNumberToObject(j, "checks_percent", 100 * (median / (double)runs.p[runs.n / 2] - 1));
    }
    cJSON_AddNumberToObject(j, "threads", !info->threaded ? 1 : s->opt.threads > 0 ? s->opt.threads : (double)sysconf(_SC_NPROCESSORS_ONLN));
    cJSON_AddNumberToObject(j, "load_ns", (double)l.load_ns);
    cJSON_AddNumberToObject(j, "first_run_ns", (double)first);
    cJSON_AddNumberToObject(j, "arena_bytes", (double)sizes.arena);
    cJSON_AddNumberToObject(j, "scratch_bytes", (double)sizes.scratch_per_thread);
    cJSON_AddNumberToObject(j, "weights_bytes", (double)info->weights_bytes);
    cJSON_AddNumberToObject(j, "file_bytes", (double)l.file_bytes);
    cJSON_AddNumberToObject(j, "peak_rss_bytes", (double)ru.ru_maxrss * 1024);
    if (s->opt.gain && !gain(s, &l, j)) return EXIT_INPUT;
    show(s, j);
    model_unload(&l);
    if (compare) model_unload(&with);
    return 0;
}
