/* cmd_profile.c: `bmc profile MODEL`: where a model's time goes, by step of its program, worst first. The model is
 * compiled with counters (runtime/bmc_profile.h), run for a while, and the quickest tenth of each step's runs is set
 * against what the machine could do at most, measured just before: roof is the larger of flops/peak and
 * bytes/bandwidth, lost the time beyond it. Beside the time on the wall stands the processor time of all threads, which
 * other work on the machine does not lengthen; GF/s, GB/s, roof and lost go by the slowest thread's, on one thread by the
 * shorter of both. On several threads another context runs the same on one thread, in turn, and for each
 * step the median of every thread's processor time is kept. Gain is that of one thread over the slowest of several; what
 * stays on thread 0 has gain 1. Flops and bytes come from the kernels (ir/kernel/cost.h), with the sizes of the run.
 * Bandwidth is that of reading over and over as many bytes as weights and arena have; what one step leaves in a
 * nearer cache for the next may exceed it. */
#include "codegen/codegen.h"
#include "codegen/peak.h"
#include "driver/model.h"
#include "ir/kernel/cost.h"
#include "runtime/bmc_profile.h"

#include <cjson/cJSON.h>
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { RUNS_MAX = 301 };

typedef struct Row {
    const KStep *step;
    const char *what, *node, *op; /* kernel or call; the node's name and operator */
    double ns, wait, lost;        /* a run; wait: at the barriers behind it */
    double used;                  /* used_ns() */
    double times;                 /* a run */
    double alone, slowest;        /* ns of processor time a run: on one thread; of the slowest of several */
    double *cpu, all;             /* of each; of all together */
    KCost cost;                   /* of all its times in a run */
    double share;                 /* of the roofline; 0: nothing to compare with */
} Row;

typedef struct Profile {
    Session *s;
    Row *row; /* by number of the step; 0: the rest */
    uint32_t n;
    double gflops, gbytes; /* at most */
    double bytes;          /* weights and arena: what a run goes over */
    double run_ns, used; /* of a run; of its steps, by used_ns() */
    double all;         /* ns of processor time a run, of all threads, without waiting */
    double alone, team; /* ns of processor time a run: one thread; all threads, waiting for each other at barriers */
    double look; /* ns that a look at a thread's processor time adds to it */
    int nt;
} Profile;

/* What the runs of one context counted: for each thread and step the time of every run. */
typedef struct Counts {
    Loaded l;
    bmc_profile_data d;
    uint64_t *was, *took, *cpu; /* [thread][step] twice; [thread][step][run]; the same, processor time */
    uint64_t run[RUNS_MAX];
} Counts;

/* ---- running ---- */
static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* The time that a tenth of the runs reach: other work on the machine only ever adds. */
static double quick(uint64_t *v, uint32_t n)
{
    qsort(v, n, sizeof *v, by_size);
    return (double)v[n / 10];
}

static double median(uint64_t *v, uint32_t n)
{
    qsort(v, n, sizeof *v, by_size);
    return n % 2 ? (double)v[n / 2] : ((double)v[n / 2 - 1] + (double)v[n / 2]) / 2;
}

/* What looking at the thread's clock costs in its own figure: a system call, unlike the wall's clock. */
static double look_ns(void)
{
    struct timespec t;
    uint64_t was = 0, least = UINT64_MAX;
    for (int k = 0; k < 1000; k++) {
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
        uint64_t at = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
        if (was && at - was < least) least = at - was;
        was = at;
    }
    return (double)least;
}

/* The time that a step took of a run, whatever else the machine did. Of several threads the wall's time says nothing
 * then: what one is kept from computing the others take over. */
static double used_ns(const Profile *p, const Row *r)
{
    return r->slowest > 0 && (p->nt > 1 || r->slowest < r->ns) ? r->slowest : r->ns + r->wait;
}

static void count_step(void *arg, KStep *s)
{
    Profile *p = arg;
    KModule *m = &p->s->k;
    Row *r = &p->row[++p->n];
    *r = (Row){.step = s, .what = "", .node = "", .op = ""};
    if (s->kind == KST_LAUNCH) r->what = name_str(m->names, s->kernel->name);
    if (s->kind == KST_CALL) r->what = s->call->name;
    if (!s->loc.i) return;
    const KLocRec *l = &m->loc.p[s->loc.i];
    r->op = name_str(m->names, l->op);
    r->node = name_str(m->names, l->node_name);
    if (!*r->node) r->node = l->node >= 0 ? arena_printf(&p->s->arena, "node %d", (int)l->node) : r->op;
}

static void number_steps(void *arg, KStep *s)
{
    (void)s;
    ++*(uint32_t *)arg;
}

typedef void CountersFn(bmc_ctx *, bmc_profile_data *);

static bool counts_init(Profile *p, Counts *c, CountersFn *counters)
{
    Session *s = p->s;
    if (!model_run(s, &c->l) || !model_run(s, &c->l)) return false; /* twice: now all threads count */
    c->d.cpu = 1;
    counters(c->l.ctx, &c->d);
    if (c->d.n_step != p->n + 1)
        return diag(&s->diag, diag_file(s->opt.file), E_RUN, "the model has other steps than its program");
    size_t n = (size_t)c->d.n_thread * c->d.n_step;
    c->was = arena_array(&s->arena, uint64_t, 2 * n);
    c->cpu = arena_array(&s->arena, uint64_t, n * RUNS_MAX);
    c->took = arena_array(&s->arena, uint64_t, n * RUNS_MAX);
    return true;
}

static const bmc_profile_step *counted(const Counts *c, uint32_t t, uint32_t k)
{
    return &c->d.step[(size_t)t * c->d.stride + k];
}

static size_t place(const Counts *c, uint32_t t, uint32_t k) { return (size_t)t * c->d.n_step + k; }
static uint64_t *took(const Counts *c, uint32_t t, uint32_t k) { return c->took + place(c, t, k) * RUNS_MAX; }

static bool counts_run(Session *s, Counts *c, uint32_t number)
{
    for (uint32_t t = 0; t < c->d.n_thread; t++)
        for (uint32_t k = 0; k < c->d.n_step; k++) {
            c->was[2 * place(c, t, k)] = counted(c, t, k)->ns;
            c->was[2 * place(c, t, k) + 1] = counted(c, t, k)->cpu;
        }
    uint64_t at = clock_ns();
    if (!model_run(s, &c->l)) return false;
    c->run[number] = clock_ns() - at;
    for (uint32_t t = 0; t < c->d.n_thread; t++)
        for (uint32_t k = 0; k < c->d.n_step; k++) {
            took(c, t, k)[number] = counted(c, t, k)->ns - c->was[2 * place(c, t, k)];
            c->cpu[place(c, t, k) * RUNS_MAX + number] = counted(c, t, k)->cpu - c->was[2 * place(c, t, k) + 1];
        }
    return true;
}

/* Processor time, step by step; of the run: between two barriers all wait for the slowest. */
static void cpu_times(Profile *p, const Counts *c, uint32_t runs, bool alone)
{
    double *phase = arena_array(&p->s->arena, double, c->d.n_thread), sum = 0;
    for (uint32_t k = 1; k <= p->n + 1; k++) {
        bool end = k > p->n || p->row[k].step->kind == KST_BARRIER;
        double most = 0, in_phase = 0;
        for (uint32_t t = 0; t < c->d.n_thread; t++) {
            uint64_t *v = c->cpu + place(c, t, k) * RUNS_MAX;
            double ns = end ? 0 : (p->nt > 1 ? median(v, runs) : quick(v, runs)) - p->look * p->row[k].times;
            ns = ns > 0 ? ns : 0;
            most = ns > most ? ns : most;
            if (!end && !alone) p->row[k].cpu[t] = ns, p->row[k].all += ns, p->all += ns;
            phase[t] += ns;
            in_phase = phase[t] > in_phase ? phase[t] : in_phase;
            if (end) phase[t] = 0;
        }
        if (end) sum += in_phase;
        else *(alone ? &p->row[k].alone : &p->row[k].slowest) = most;
    }
    *(alone ? &p->alone : &p->team) = sum;
}

/* one: the same on one thread; NULL: the model has only one. */
static bool measure(Profile *p, Counts *c, Counts *one, CountersFn *counters)
{
    Session *s = p->s;
    if (!counts_init(p, c, counters) || (one && !counts_init(p, one, counters))) return false;
    const bmc_profile_data d = c->d;
    uint64_t end = clock_ns() + (uint64_t)(s->opt.seconds * 1e9);
    uint32_t runs = 0;
    for (uint32_t k = 0; k < d.n_step; k++) {
        p->row[k].times = (double)d.step[k].times / 2;
        p->row[k].cpu = arena_array(&s->arena, double, d.n_thread);
    }
    do {
        if (!counts_run(s, c, runs) || (one && !counts_run(s, one, runs))) return false;
    } while (++runs < RUNS_MAX && clock_ns() < end);
    cpu_times(p, c, runs, false);
    if (one) cpu_times(p, one, runs, true);
    for (uint32_t k = 0; k < d.n_step; k++) p->row[k].ns = quick(took(c, 0, k), runs);
    p->run_ns = quick(c->run, runs);
    for (uint32_t k = 1, before = 0; k < d.n_step; k++) { /* waiting belongs to what was waited for */
        const KStep *x = p->row[k].step;
        if (x->kind == KST_LAUNCH || x->kind == KST_CALL) before = k;
        if (x->kind == KST_BARRIER) p->row[before].wait += p->row[k].ns;
    }
    for (uint32_t k = 1; k < d.n_step; k++) {
        Row *r = &p->row[k];
        if (r->step->kind == KST_LAUNCH && r->times > 0) r->cost = kernel_cost(&s->k, r->step, d.sym);
        for (uint32_t a = 0; r->step->kind == KST_CALL && a < r->step->n_arg; a++)
            if (r->step->arg[a].kind == KA_BUF) r->cost.bytes += kbuf_cost(&s->k, r->step->arg[a].buf, d.sym);
        r->cost.flops *= r->times;
        r->cost.bytes *= r->times;
        r->cost.constant *= r->times;
        double roof = r->cost.flops / p->gflops, mem = r->cost.bytes / p->gbytes, all = used_ns(p, r);
        if (mem > roof) roof = mem;
        r->used = all;
        r->share = all > 0 ? roof / all : 0;
        r->lost = all > roof ? all - roof : 0;
    }
    return true;
}

/* ---- showing ---- */
static int by_lost(const void *a, const void *b)
{
    double x = (*(Row *const *)a)->lost, y = (*(Row *const *)b)->lost;
    return x > y ? -1 : x < y;
}

static uint32_t shown(const Row *r)
{
    return r->step && r->times > 0 && (r->step->kind == KST_LAUNCH || r->step->kind == KST_CALL);
}

/* What a step does, without its number: k12_conv is conv. */
static const char *family(const Row *r)
{
    const char *w = r->what;
    size_t n = *w == 'k' ? strspn(w + 1, "0123456789") : 0;
    return n && w[n + 1] == '_' ? w + n + 2 : w;
}

/* Rows of one family added up. */
static uint32_t by_family(Arena *a, Row *const *row, uint32_t n, Row **out)
{
    uint32_t m = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t k = 0;
        while (k < m && strcmp(out[k]->what, family(row[i]))) k++;
        if (k == m) {
            out[m] = arena_new(a, Row);
            *out[m++] = (Row){.op = "", .what = family(row[i]), .node = ""};
        }
        Row *r = out[k];
        r->ns += row[i]->ns;
        r->wait += row[i]->wait;
        r->lost += row[i]->lost;
        r->alone += row[i]->alone;
        r->slowest += row[i]->slowest;
        r->times += row[i]->times;
        r->cost.flops += row[i]->cost.flops;
        r->cost.bytes += row[i]->cost.bytes;
        r->all += row[i]->all;
        r->share += row[i]->share * row[i]->used;
        r->used += row[i]->used;
    }
    for (uint32_t k = 0; k < m; k++) out[k]->share /= out[k]->used > 0 ? out[k]->used : 1;
    qsort(out, m, sizeof *out, by_lost);
    return m;
}

static void line(const Profile *p, const Row *r, bool step)
{
    double ns = r->ns + r->wait, unit = r->used > 0 ? r->used : 1;
    printf("%10.1f %6.1f %9.1f %10.1f %9.1f %8.1f %6.0f%% %9.1f %6.0f  ", ns / 1e3, 100 * r->used / p->used,
           r->wait / 1e3, r->all / 1e3, r->cost.flops / unit, r->cost.bytes / unit, 100 * r->share, r->lost / 1e3, r->times);
    if (p->nt > 1)
        printf("%9.1f %9.1f %5.2f  ", r->alone / 1e3, r->slowest / 1e3,
               r->slowest > 0 ? r->alone / r->slowest : 1);
    if (step)
        printf("%s (%s) %s%s\n", r->node, r->op, r->what,
               r->cost.exact || r->step->kind == KST_CALL ? "" : " at least");
    else printf("%s\n", r->what);
}

static void json_row(cJSON *list, const Profile *p, const Row *r, bool step)
{
    cJSON *j = cJSON_CreateObject();
    if (step) {
        cJSON_AddStringToObject(j, "node", r->node);
        cJSON_AddStringToObject(j, "op", r->op);
        cJSON_AddBoolToObject(j, "exact", r->cost.exact);
    }
    cJSON_AddStringToObject(j, "kernel", r->what);
    cJSON_AddNumberToObject(j, "ns", r->ns);
    cJSON_AddNumberToObject(j, "wait_ns", r->wait);
    cJSON_AddNumberToObject(j, "cpu_ns", r->all);
    cJSON_AddNumberToObject(j, "lost_ns", r->lost);
    if (p->nt > 1) {
        cJSON_AddNumberToObject(j, "alone_ns", r->alone);
        cJSON_AddNumberToObject(j, "slowest_ns", r->slowest);
        if (r->cpu) cJSON_AddItemToObject(j, "thread_ns", cJSON_CreateDoubleArray(r->cpu, p->nt));
    }
    cJSON_AddNumberToObject(j, "times", r->times);
    cJSON_AddNumberToObject(j, "flops", r->cost.flops);
    cJSON_AddNumberToObject(j, "bytes", r->cost.bytes);
    cJSON_AddNumberToObject(j, "roofline", r->share);
    cJSON_AddItemToArray(list, j);
}

static void show(Profile *p, Row **row, uint32_t n)
{
    int threads = p->nt;
    Row **op = arena_array(&p->s->arena, Row *, n + 1);
    uint32_t n_op = by_family(&p->s->arena, row, n, op);
    double flops = 0, in_steps = 0, lost = 0, weights = 0;
    for (uint32_t k = 0; k < n; k++) {
        flops += row[k]->cost.flops;
        weights += row[k]->cost.constant;
        in_steps += row[k]->ns + row[k]->wait;
        lost += row[k]->lost;
        p->used += row[k]->used;
    }
    qsort(row, n, sizeof *row, by_lost);
    if (p->s->opt.json) {
        cJSON *j = cJSON_CreateObject();
        cJSON_AddStringToObject(j, "model", p->s->opt.file);
        cJSON_AddNumberToObject(j, "threads", threads);
        cJSON_AddNumberToObject(j, "run_ns", p->run_ns);
        cJSON_AddNumberToObject(j, "cpu_ns", p->all);
        if (threads > 1) {
            cJSON_AddNumberToObject(j, "alone_ns", p->alone);
            cJSON_AddNumberToObject(j, "team_ns", p->team);
        }
        cJSON_AddNumberToObject(j, "flops", flops);
        cJSON_AddNumberToObject(j, "peak_gflops", p->gflops);
        cJSON_AddNumberToObject(j, "read_gbytes", p->gbytes);
        cJSON_AddNumberToObject(j, "working_set_bytes", p->bytes);
        cJSON_AddNumberToObject(j, "weights_read_bytes", weights);
        cJSON *kinds = cJSON_AddArrayToObject(j, "kinds"), *steps = cJSON_AddArrayToObject(j, "steps");
        for (uint32_t k = 0; k < n_op; k++) json_row(kinds, p, op[k], false);
        for (uint32_t k = 0; k < n; k++) json_row(steps, p, row[k], true);
        char *text = cJSON_PrintUnformatted(j);
        printf("%s\n", text ? text : "{}");
        cJSON_free(text);
        cJSON_Delete(j);
        return;
    }
    printf("%s: %.3f ms a run on %d thread%s, %.3g GF at %.1f GF/s; this machine: %.1f GF/s, reads %.1f GB/s (%.3g MB "
           "over and over)\n",
           p->s->opt.file, p->run_ns / 1e6, threads, threads > 1 ? "s" : "", flops / 1e9, flops / p->run_ns, p->gflops,
           p->gbytes, p->bytes / 1e6);
    printf("%u steps take %.3f ms, %.3f ms of processor time, %.3f ms beyond the roofline; outside of them %.3f ms\n", n,
           in_steps / 1e6, p->all / 1e6, lost / 1e6, (p->run_ns - in_steps) / 1e6);
    if (threads > 1)
        printf("processor time: one thread %.3f ms, %d threads %.3f ms, gain %.2f\n", p->alone / 1e6, threads,
               p->team / 1e6, p->team > 0 ? p->alone / p->team : 1);
    static const char HEAD[] = "\n   time us      %%   wait us     cpu us      GF/s     GB/s   roof   lost us  times  ";
    const char *more = threads > 1 ? " alone us  slowest   gain  " : "";
    printf(HEAD), printf("%skind of kernel\n", more);
    for (uint32_t k = 0; k < n_op; k++) line(p, op[k], false);
    printf(HEAD), printf("%snode (operator) kernel\n", more);
    for (uint32_t k = 0; k < n; k++) line(p, row[k], true);
}

/* Bytes of weights and arena for the inputs of this run. */
static double working_set(const KModule *m, const Loaded *l)
{
    const bmc_info *info = l->model->info;
    bmc_sizes sizes = {0};
    int64_t *sym = arena_array(m->arena, int64_t, info->n_symbol + 1);
    for (uint32_t k = 0; k < info->n_symbol; k++)
        sym[k] = symbol_extent(info, k, l->in);
    l->model->sizes(sym, 1, &sizes);
    return (double)info->weights_bytes + (double)sizes.arena;
}

int cmd_profile(Session *s)
{
    Counts *c = arena_array(&s->arena, Counts, 2);
    Loaded *l = &c[0].l;
    Profile p = {.s = s};
    p.nt = s->opt.threads > 0 ? s->opt.threads : (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (!model_load(s, l) || !model_inputs(s, l)) return EXIT_INPUT;
    CountersFn *counters;
    *(void **)&counters = dlsym(l->handle, "bmc_profile");
    if (!s->k.program.first || !counters)
        return diag(&s->diag, diag_file(s->opt.file), E_RUN,
                    "bmc profile compiles the model itself: give the .onnx, .bir or .kir"),
               EXIT_INPUT;
    if (!l->model->info->threaded) p.nt = 1;
    PeakResult peak;
    if (!peak_measure(&s->k.target, p.nt, &peak))
        return diag(&s->diag, diag_file(NULL), E_RUN, "this machine cannot run code for that cpu"), EXIT_INPUT;
    p.gflops = p.nt > 1 ? peak.width[peak.n - 1].gflops_n : peak.width[peak.n - 1].gflops_1;
    p.look = look_ns();
    p.bytes = working_set(&s->k, l);
    p.gbytes = peak_read(&peak, p.bytes);
    if (p.nt > 1 && !model_alone(s, l, &c[1].l)) return EXIT_INPUT;
    uint32_t n = 0;
    kstep_each(&s->k.program, number_steps, &n);
    p.row = arena_array(&s->arena, Row, n + 1);
    kstep_each(&s->k.program, count_step, &p);
    if (!measure(&p, &c[0], p.nt > 1 ? &c[1] : NULL, counters)) return EXIT_INPUT;
    Row **row = arena_array(&s->arena, Row *, n + 1);
    uint32_t used = 0;
    for (uint32_t k = 1; k <= n; k++)
        if (shown(&p.row[k])) row[used++] = &p.row[k];
    show(&p, row, used);
    if (p.nt > 1) model_unload(&c[1].l);
    model_unload(l);
    return 0;
}
