/* conformance: the ONNX project's backend cases, as tests/conformance/export.py writes them, through libbmc.
 *   bmc-conformance --cases DIR --expected FILE --report FILE [--jobs N] [--filter TEXT] [--every N] [--config 0..3]
 * Each case runs in a process of its own with a limit of processor time, so that a crash or a hang is a verdict like any other: it compiles
 * CASE/model.onnx to a temporary .so, loads it, runs every test_data_set_K and compares with the stored outputs under the
 * tolerances of DIR/manifest.txt. The report has one line per case: name, verdict (pass refuse differs wrong crash timeout), message,
 * seconds of processor time, with a tab between. `refuse` means: a message at compile time; `differs`: the right types and dims, other values. A case passes here when its verdict is the one that the
 * expected list has for it; the last line is "N passed, N failed".
 * A configuration is a level, a CPU and a number of threads: any two settings of any two of them meet in one of the four. Without
 * --config each case gets one by the hash of its name. --every takes the Nth part of the cases, by another hash of their names. */
#include <getopt.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include "base/map.h"
#include "driver/compare.h"
#include "driver/model.h"

enum { SECONDS = 60, PATIENCE = 10, JOBS_MAX = 64, TEXT_MAX = 3000 };   /* a result fits into a pipe: the parent reads it after the end */

typedef struct Config { const char *opt_level, *cpu, *threads; } Config;
static const Config CONFIG[] = {{"2", "native", "2"}, {"0", "native", "1"}, {"2", "x86-64-v3", "1"}, {"0", "x86-64-v3", "2"}};
enum { CONFIGS = sizeof CONFIG / sizeof *CONFIG };

typedef struct Case { const char *name; double rtol, atol; const char *verdict, *message; double seconds; } Case;   /* seconds: of processor time */
typedef struct Runner {
    Arena arena;
    const char *cases, *expected, *report, *filter, *temp;
    int jobs, config, every;   /* config: < 0 by hash */
    VEC(Case) c;
} Runner;

static int fail(const char *what)
{
    perror(what);
    printf("0 passed, 1 failed\n");
    return 1;
}

/* ---- one case, in its own process ---- */

typedef struct Child { Session s; int pipe; const char *verdict; const char *error, *differs; } Child;

static void keep_error(void *arg, const DiagMessage *m)
{
    Child *c = arg;
    if (m->level == DIAG_ERROR && !c->error) c->error = arena_strdup(&c->s.arena, m->text);
}

static void verdict(Child *c, const char *what, const char *message)
{
    char text[TEXT_MAX];
    int n = snprintf(text, sizeof text, "%s\t%s", what, message ? message : "");
    if (n >= (int)sizeof text) n = sizeof text - 1;
    for (int k = (int)strlen(what) + 1; k < n; k++)
        if ((unsigned char)text[k] < 32) text[k] = ' ';
    if (write(c->pipe, text, (size_t)n) != n) _exit(2);
    _exit(0);
}

static bool same_form(const bmc_value *x, const bmc_value *y)
{
    return x->kind == y->kind && x->dtype == y->dtype && x->rank == y->rank && !memcmp(x->dim, y->dim, sizeof *x->dim * x->rank);
}

static void check_data(Child *c, const Case *x, Loaded *l)
{
    Session *s = &c->s;
    if (!model_inputs(s, l) || !model_run(s, l)) verdict(c, "wrong", c->error);
    const bmc_info *info = l->model->info;
    for (uint32_t k = 0; k < info->n_output; k++) {
        const bmc_port *p = &info->output[k];
        const char *path = data_file(s, "output", k), *why;
        bmc_value want;
        if (!path) verdict(c, "wrong", "a stored output is missing");
        if (!onnx_read_value(&s->arena, &s->diag, path, port_proto(p), &want, NULL)) verdict(c, "wrong", c->error);
        double rtol = p->dtype == BMC_BF16 ? fmax(x->rtol, 0x1p-6) : x->rtol;
        if (!value_agrees(&s->arena, p->name, &l->out[k], &want, rtol, x->atol, &why)) {
            if (!same_form(&l->out[k], &want)) verdict(c, "wrong", why);
            c->differs = why;
        }
    }
}

static uint32_t hash_of(const char *name)
{
    uint32_t h = 2166136261u;   /* FNV-1a */
    for (const char *p = name; *p; p++) h = (h ^ (unsigned char)*p) * 16777619u;
    return h ^ h >> 16;
}

static const Config *config_of(const Runner *r, const Case *x)
{
    return &CONFIG[r->config >= 0 ? (uint32_t)r->config : hash_of(x->name) % CONFIGS];
}

static void run_case(const Runner *r, const Case *x, int to)
{
    Child *c = calloc(1, sizeof *c);
    if (!c) _exit(2);
    session_init(&c->s);
    c->pipe = to;
    c->s.diag.sink = keep_error;
    c->s.diag.sink_arg = c;
    Session *s = &c->s;
    if (setjmp(s->out_of_memory)) verdict(c, "crash", "out of memory");
    const char *folder = arena_printf(&s->arena, "%s/%s", r->cases, x->name);
    const char *so = arena_printf(&s->arena, "%s/%d.so", r->temp, (int)getpid());
    const Config *f = config_of(r, x);
    char *args[] = {"bmc", "run", arena_printf(&s->arena, "%s/model.onnx", folder), "-O", (char *)f->opt_level, "--cpu",
                    (char *)f->cpu, "--threads", (char *)f->threads};
    int n = sizeof args / sizeof *args;
    if (!options_parse(&s->arena, &s->diag, n, args, &s->opt)) verdict(c, "crash", c->error);
    if (!session_compile(s, so)) verdict(c, c->error ? "refuse" : "wrong", c->error ? c->error : "failed without a message");
    Loaded l;
    s->opt.file = so;
    bool loaded = model_load(s, &l);
    unlink(so);
    if (!loaded) verdict(c, "wrong", c->error);
    for (int k = 0;; k++) {
        s->opt.data = arena_printf(&s->arena, "%s/test_data_set_%d", folder, k);
        if (access(s->opt.data, R_OK) != 0) verdict(c, !k ? "wrong" : c->differs ? "differs" : "pass", k ? c->differs : "there is no test_data_set_0");
        check_data(c, x, &l);
    }
}

/* ---- all cases ---- */

typedef struct Job { pid_t pid; int from; uint32_t c; } Job;

static bool start(Runner *r, Job *j, uint32_t c)
{
    int ends[2];
    if (pipe(ends) != 0) return false;
    fflush(NULL);
    j->pid = fork();
    if (j->pid < 0) return false;
    if (!j->pid) {
        close(ends[0]);
        char path[4096];
        snprintf(path, sizeof path, "%s/%d.err", r->temp, (int)getpid());   /* the last words of an abort */
        if (!freopen(path, "w", stderr)) _exit(2);
        setitimer(ITIMER_PROF, &(struct itimerval){.it_value.tv_sec = SECONDS}, NULL);   /* processor time: others may be at work */
        alarm(SECONDS * PATIENCE);                                                       /* a hang that waits */
        run_case(r, &r->c.p[c], ends[1]);
        _exit(2);
    }
    close(ends[1]);
    j->from = ends[0];
    j->c = c;
    return true;
}

static double seconds_of(struct timeval t) { return (double)t.tv_sec + 1e-6 * (double)t.tv_usec; }

static void finish(Runner *r, Job *j, int status, const struct rusage *used)
{
    Case *c = &r->c.p[j->c];
    c->seconds = seconds_of(used->ru_utime) + seconds_of(used->ru_stime);
    char text[TEXT_MAX + 1], path[4096], *tab;
    ssize_t n = read(j->from, text, TEXT_MAX);
    text[n > 0 ? n : 0] = 0;
    close(j->from);
    snprintf(path, sizeof path, "%s/%d.err", r->temp, (int)j->pid);
    if (WIFEXITED(status) && !WEXITSTATUS(status) && (tab = strchr(text, '\t'))) {
        *tab = 0;
        c->verdict = arena_strdup(&r->arena, text);
        c->message = arena_strdup(&r->arena, tab + 1);
    } else {
        int signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
        FILE *f = fopen(path, "r");
        n = f ? (ssize_t)fread(text, 1, TEXT_MAX, f) : 0;
        if (f) fclose(f);
        text[n] = 0;
        for (char *p = text; *p; p++)
            if ((unsigned char)*p < 32) *p = ' ';
        c->verdict = signal == SIGALRM || signal == SIGPROF ? "timeout" : "crash";
        c->message = signal ? arena_printf(&r->arena, "%s: %s", strsignal(signal), text)
                            : arena_printf(&r->arena, "exit status %d: %s", WEXITSTATUS(status), text);
    }
    unlink(path);
    snprintf(path, sizeof path, "%s/%d.so", r->temp, (int)j->pid);
    unlink(path);
    j->pid = 0;
}

static bool run_all(Runner *r)
{
    Job job[JOBS_MAX] = {{0}};
    uint32_t next = 0, running = 0;
    while (next < r->c.n || running) {
        for (int k = 0; k < r->jobs && next < r->c.n; k++) {
            if (job[k].pid) continue;
            if (!start(r, &job[k], next++)) return false;
            running++;
        }
        int status;
        struct rusage used;
        pid_t pid = wait4(-1, &status, 0, &used);
        if (pid < 0) return false;
        for (int k = 0; k < r->jobs; k++)
            if (job[k].pid == pid) finish(r, &job[k], status, &used), running--;
    }
    return true;
}

/* ---- lists ---- */

static bool read_cases(Runner *r)
{
    char line[1 << 16], name[512];
    double rtol, atol;
    FILE *f = fopen(arena_printf(&r->arena, "%s/manifest.txt", r->cases), "r");
    if (!f) return false;
    while (fgets(line, sizeof line, f)) {
        if (sscanf(line, "%511[^\t]\t%lf\t%lf", name, &rtol, &atol) != 3) continue;
        if ((r->filter && !strstr(name, r->filter)) || hash_of(name) / CONFIGS % (uint32_t)r->every) continue;
        vec_push(&r->arena, &r->c, (Case){.name = arena_strdup(&r->arena, name), .rtol = rtol, .atol = atol});
    }
    fclose(f);
    return r->c.n > 0;
}

/* Compares verdicts with the list; every difference is a line. */
static bool judge(Runner *r, uint32_t *passed, uint32_t *failed)
{
    char line[4096], name[512], want[16];
    FILE *f = fopen(r->expected, "r");
    if (!f) return false;
    const char **expected = arena_array(&r->arena, const char *, r->c.n);
    while (fgets(line, sizeof line, f)) {
        if (*line == '#' || sscanf(line, "%511s %15s", name, want) != 2) continue;
        uint32_t lo = 0, hi = r->c.n;   /* the manifest is sorted */
        while (lo < hi) {
            uint32_t mid = (lo + hi) / 2;
            if (strcmp(r->c.p[mid].name, name) < 0) lo = mid + 1;
            else hi = mid;
        }
        if (lo < r->c.n && !strcmp(r->c.p[lo].name, name)) expected[lo] = arena_strdup(&r->arena, want);
    }
    fclose(f);
    for (uint32_t k = 0; k < r->c.n; k++) {
        const Case *c = &r->c.p[k];
        bool ok = expected[k] && !strcmp(expected[k], c->verdict);
        ++*(ok ? passed : failed);
        if (!ok)
            printf("FAIL %s: %s, expected %s: %s\n", c->name, c->verdict, expected[k] ? expected[k] : "(not in the list)",
                   c->message);
    }
    return true;
}

static bool write_report(const Runner *r)
{
    FILE *f = fopen(r->report, "w");
    if (!f) return false;
    for (uint32_t k = 0; k < r->c.n; k++) {
        const Case *c = &r->c.p[k];
        fprintf(f, "%s\t%s\t%s\t%.2f\n", c->name, c->verdict, c->message, c->seconds);
    }
    return fclose(f) == 0;
}

int main(int argc, char **argv)
{
    static const struct option LONG[] = {
        {"cases", required_argument, NULL, 'c'}, {"expected", required_argument, NULL, 'e'},
        {"report", required_argument, NULL, 'r'}, {"jobs", required_argument, NULL, 'j'},
        {"filter", required_argument, NULL, 'f'}, {"config", required_argument, NULL, 'g'},
        {"every", required_argument, NULL, 'v'}, {NULL, 0, NULL, 0},
    };
    char temp[] = "/tmp/bmc-conformance-XXXXXX";
    Runner r = {.jobs = 2, .config = -1, .every = 1, .temp = temp};
    arena_init(&r.arena, "conformance", NULL);
    for (int c; (c = getopt_long(argc, argv, "", LONG, NULL)) != -1;) {
        switch (c) {
        case 'c': r.cases = optarg; break;
        case 'e': r.expected = optarg; break;
        case 'r': r.report = optarg; break;
        case 'j': r.jobs = atoi(optarg); break;
        case 'f': r.filter = optarg; break;
        case 'g': r.config = atoi(optarg); break;
        case 'v': r.every = atoi(optarg); break;
        default: printf("0 passed, 1 failed\n"); return 2;
        }
    }
    if (!r.cases || !r.expected || !r.report || r.jobs < 1 || r.jobs > JOBS_MAX || r.config >= CONFIGS || r.every < 1) {
        fprintf(stderr, "usage: bmc-conformance --cases DIR --expected FILE --report FILE [--jobs N] [--filter TEXT] "
                        "[--every N] [--config 0..3]\n0 passed, 1 failed\n");
        return 2;
    }
    if (!read_cases(&r)) return fail(r.cases);
    if (!mkdtemp(temp)) return fail(temp);
    bool ran = run_all(&r);
    rmdir(temp);
    if (!ran) return fail("fork");
    if (!write_report(&r)) return fail(r.report);
    uint32_t passed = 0, failed = 0;
    if (!judge(&r, &passed, &failed)) return fail(r.expected);
    printf("%u passed, %u failed\n", passed, failed);
    arena_free(&r.arena);
    return failed != 0;
}
