/* cmd_profile.c: `bmc profile MODEL`: where a model's time goes, by step of its program, worst first. The model is
 * compiled with counters (runtime/bmc_profile.h), run for a while, and the median of each step over the runs is set
 * against what the machine could do at most, measured just before: roof is the larger of flops/peak and
 * bytes/bandwidth, lost the time beyond it. Flops and bytes come from the kernels (ir/kernel/cost.h), with the sizes of
 * the run. Bandwidth is that of reading over and over as many bytes as weights and arena have; what one step leaves in a
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
#include <unistd.h>

enum { RUNS_MAX = 301 };

typedef struct Row {
    const KStep *step;
    const char *what, *node, *op; /* kernel or call; the node's name and operator */
    double ns, wait, lost;        /* a run; wait: at the barriers behind it */
    double times;                 /* a run */
    KCost cost;                   /* of all its times in a run */
    double share;                 /* of the roofline; 0: nothing to compare with */
} Row;

typedef struct Profile {
    Session *s;
    Row *row; /* by number of the step; 0: the rest */
    uint32_t n;
    double gflops, gbytes; /* at most */
    double bytes;          /* weights and arena: what a run goes over */
    double run_ns;
} Profile;

/* ---- running ---- */
static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static double median(uint64_t *v, uint32_t n)
{
    qsort(v, n, sizeof *v, by_size);
    return n % 2 ? (double)v[n / 2] : ((double)v[n / 2 - 1] + (double)v[n / 2]) / 2;
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

static bool measure(Profile *p, Loaded *l, void (*counters)(bmc_ctx *, bmc_profile_data *))
{
    Session *s = p->s;
    bmc_profile_data d;
    if (!model_run(s, l)) return false;
    counters(l->ctx, &d);
    if (d.n_step != p->n + 1)
        return diag(&s->diag, diag_file(s->opt.file), E_RUN, "the model has other steps than its program");
    uint64_t *was = arena_array(&s->arena, uint64_t, d.n_step),
             *took = arena_array(&s->arena, uint64_t, (size_t)RUNS_MAX * d.n_step);
    uint64_t run[RUNS_MAX], end = clock_ns() + (uint64_t)(s->opt.seconds * 1e9);
    uint32_t runs = 0;
    for (uint32_t k = 0; k < d.n_step; k++) p->row[k].times = (double)d.step[k].times;
    do {
        for (uint32_t k = 0; k < d.n_step; k++) was[k] = d.step[k].ns;
        uint64_t t = clock_ns();
        if (!model_run(s, l)) return false;
        run[runs] = clock_ns() - t;
        for (uint32_t k = 0; k < d.n_step; k++) took[(size_t)k * RUNS_MAX + runs] = d.step[k].ns - was[k];
    } while (++runs < RUNS_MAX && clock_ns() < end);
    for (uint32_t k = 0; k < d.n_step; k++) p->row[k].ns = median(took + (size_t)k * RUNS_MAX, runs);
    p->run_ns = median(run, runs);
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
        double roof = r->cost.flops / p->gflops, mem = r->cost.bytes / p->gbytes, all = r->ns + r->wait;
        if (mem > roof) roof = mem;
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
        r->times += row[i]->times;
        r->cost.flops += row[i]->cost.flops;
        r->cost.bytes += row[i]->cost.bytes;
        r->share += row[i]->share * (row[i]->ns + row[i]->wait);
    }
    for (uint32_t k = 0; k < m; k++) out[k]->share /= out[k]->ns + out[k]->wait > 0 ? out[k]->ns + out[k]->wait : 1;
    qsort(out, m, sizeof *out, by_lost);
    return m;
}

static void line(const Profile *p, const Row *r, bool step)
{
    double ns = r->ns + r->wait, unit = ns > 0 ? ns : 1;
    printf("%10.1f %6.1f %9.1f %9.1f %8.1f %6.0f%% %9.1f %6.0f  ", ns / 1e3, 100 * ns / p->run_ns, r->wait / 1e3,
           r->cost.flops / unit, r->cost.bytes / unit, 100 * r->share, r->lost / 1e3, r->times);
    if (step)
        printf("%s (%s) %s%s\n", r->node, r->op, r->what,
               r->cost.exact || r->step->kind == KST_CALL ? "" : " at least");
    else printf("%s\n", r->what);
}

static void json_row(cJSON *list, const Row *r, bool step)
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
    cJSON_AddNumberToObject(j, "lost_ns", r->lost);
    cJSON_AddNumberToObject(j, "times", r->times);
    cJSON_AddNumberToObject(j, "flops", r->cost.flops);
    cJSON_AddNumberToObject(j, "bytes", r->cost.bytes);
    cJSON_AddNumberToObject(j, "roofline", r->share);
    cJSON_AddItemToArray(list, j);
}

static void show(const Profile *p, Row **row, uint32_t n, int threads)
{
    Row **op = arena_array(&p->s->arena, Row *, n + 1);
    uint32_t n_op = by_family(&p->s->arena, row, n, op);
    double flops = 0, in_steps = 0, lost = 0, weights = 0;
    for (uint32_t k = 0; k < n; k++) {
        flops += row[k]->cost.flops;
        weights += row[k]->cost.constant;
        in_steps += row[k]->ns + row[k]->wait;
        lost += row[k]->lost;
    }
    qsort(row, n, sizeof *row, by_lost);
    if (p->s->opt.json) {
        cJSON *j = cJSON_CreateObject();
        cJSON_AddStringToObject(j, "model", p->s->opt.file);
        cJSON_AddNumberToObject(j, "threads", threads);
        cJSON_AddNumberToObject(j, "run_ns", p->run_ns);
        cJSON_AddNumberToObject(j, "flops", flops);
        cJSON_AddNumberToObject(j, "peak_gflops", p->gflops);
        cJSON_AddNumberToObject(j, "read_gbytes", p->gbytes);
        cJSON_AddNumberToObject(j, "working_set_bytes", p->bytes);
        cJSON_AddNumberToObject(j, "weights_read_bytes", weights);
        cJSON *kinds = cJSON_AddArrayToObject(j, "kinds"), *steps = cJSON_AddArrayToObject(j, "steps");
        for (uint32_t k = 0; k < n_op; k++) json_row(kinds, op[k], false);
        for (uint32_t k = 0; k < n; k++) json_row(steps, row[k], true);
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
    printf("%u steps take %.3f ms, %.3f ms of it beyond the roofline; outside of them %.3f ms\n", n, in_steps / 1e6,
           lost / 1e6, (p->run_ns - in_steps) / 1e6);
    static const char HEAD[] = "\n   time us  %% run   wait us      GF/s     GB/s   roof   lost us  times  ";
    printf(HEAD), printf("kind of kernel\n");
    for (uint32_t k = 0; k < n_op; k++) line(p, op[k], false);
    printf(HEAD), printf("node (operator) kernel\n");
    for (uint32_t k = 0; k < n; k++) line(p, row[k], true);
}

/* Bytes of weights and arena for the inputs of this run. */
static double working_set(const KModule *m, const Loaded *l)
{
    const bmc_info *info = l->model->info;
    bmc_sizes sizes = {0};
    int64_t *sym = arena_array(m->arena, int64_t, info->n_symbol + 1);
    for (uint32_t k = 0; k < info->n_symbol; k++)
        sym[k] =
            info->symbol[k].input >= 0 ? l->in[info->symbol[k].input].dim[info->symbol[k].axis] : info->symbol[k].lo;
    l->model->sizes(sym, 1, &sizes);
    return (double)info->weights_bytes + (double)sizes.arena;
}

int cmd_profile(Session *s)
{
    Loaded l;
    Profile p = {.s = s};
    int nt = s->opt.threads > 0 ? s->opt.threads : (int)sysconf(_SC_NPROCESSORS_ONLN);
    if (!model_load(s, &l) || !model_inputs(s, &l)) return EXIT_INPUT;
    void (*counters)(bmc_ctx *, bmc_profile_data *);
    *(void **)&counters = dlsym(l.handle, "bmc_profile");
    if (!s->k.program.first || !counters)
        return diag(&s->diag, diag_file(s->opt.file), E_RUN,
                    "bmc profile compiles the model itself: give the .onnx, .bir or .kir"),
               EXIT_INPUT;
    if (!l.model->info->threaded) nt = 1;
    PeakResult peak;
    if (!peak_measure(&s->k.target, nt, &peak))
        return diag(&s->diag, diag_file(NULL), E_RUN, "this machine cannot run code for that cpu"), EXIT_INPUT;
    p.gflops = nt > 1 ? peak.width[peak.n - 1].gflops_n : peak.width[peak.n - 1].gflops_1;
    p.bytes = working_set(&s->k, &l);
    p.gbytes = peak_read(&peak, p.bytes);
    uint32_t n = 0;
    kstep_each(&s->k.program, number_steps, &n);
    p.row = arena_array(&s->arena, Row, n + 1);
    kstep_each(&s->k.program, count_step, &p);
    if (!measure(&p, &l, counters)) return EXIT_INPUT;
    Row **row = arena_array(&s->arena, Row *, n + 1);
    uint32_t used = 0;
    for (uint32_t k = 1; k <= n; k++)
        if (shown(&p.row[k])) row[used++] = &p.row[k];
    show(&p, row, used, nt);
    model_unload(&l);
    return 0;
}
