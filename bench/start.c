/* A process that starts one engine with one model and says how long that took, without Python around it.
 *
 *   start wall|cpu bmc|onnxruntime|openvino|none LIBRARY MODEL THREADS {in NAME DTYPE RANK DIM... FILE | out NAME}...
 *
 * The process starts itself anew with the same words (posix_spawn) and prints what it hears from the new one, a line:
 *   "first-output engine load first second": nanoseconds from the start of the process to its first output, to load the
 *   engine's library and make its environment, to load the model (dlopen and create; a session), of the first run, of
 *   the second; then the most kilobytes that the process held resident. "none" only reads the inputs: a bare process.
 * wall is elapsed time; cpu is processor time of the process, on all of its threads, for machines that others use too.
 * DTYPE is ONNX's number; FILE holds the elements and nothing else. A failure prints its reason on stderr, status 1.
 *
 * The peers are called by their C interfaces, bound at run time so that nothing of theirs is needed to compile this:
 * OrtApi is a table of functions whose order never changes, OpenVINO's are exported names. */
#define _GNU_SOURCE
#include "../runtime/bmc.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MOST 64 /* inputs, outputs */

typedef struct Input {
    const char *name;
    int dtype, rank;
    int64_t dim[BMC_MAX_RANK];
    void *data;
    size_t bytes;
} Input;

typedef struct Job {
    clockid_t clock;
    const char *engine, *library, *model;
    int threads;
    Input in[MOST];
    const char *out[MOST];
    int n_in, n_out;
} Job;

typedef struct Times {
    int64_t engine, load, first, second, output; /* output: the process' own clock at its first output */
} Times;

static _Noreturn void fail(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why ? why : "failed");
    _exit(1);
}

static int64_t now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void *symbol(void *library, const char *name)
{
    void *s = dlsym(library, name);
    if (!s) fail(name, dlerror());
    return s;
}

static void *library(const char *path)
{
    void *l = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!l) fail(path, dlerror());
    return l;
}

static void read_input(Input *in, const char *path)
{
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END)) fail(path, "cannot be read");
    in->bytes = (size_t)ftell(f);
    rewind(f);
    in->data = aligned_alloc(64, (in->bytes + 64) / 64 * 64);
    if (!in->data || fread(in->data, 1, in->bytes, f) != in->bytes) fail(path, "cannot be read");
    fclose(f);
}

static Job parse(int argc, char **argv)
{
    if (argc < 6) fail("start", "wrong usage: see the head of start.c");
    Job j = {.clock = strcmp(argv[1], "cpu") ? CLOCK_MONOTONIC : CLOCK_PROCESS_CPUTIME_ID,
             .engine = argv[2], .library = argv[3], .model = argv[4], .threads = atoi(argv[5])};
    for (int i = 6; i < argc;) {
        if (!strcmp(argv[i], "out") && i + 1 < argc && j.n_out < MOST) {
            j.out[j.n_out++] = argv[i + 1];
            i += 2;
        } else if (!strcmp(argv[i], "in") && i + 4 < argc && j.n_in < MOST) {
            Input *in = &j.in[j.n_in++];
            in->name = argv[i + 1];
            in->dtype = atoi(argv[i + 2]);
            in->rank = atoi(argv[i + 3]);
            i += 4;
            if (in->rank < 0 || in->rank > BMC_MAX_RANK || i + in->rank >= argc) fail(in->name, "wrong rank");
            for (int d = 0; d < in->rank; d++) in->dim[d] = atoll(argv[i++]);
            read_input(in, argv[i++]);
        } else
            fail(argv[i], "not understood");
    }
    return j;
}

/* One run of either engine: what it is called with, prepared before. */
typedef struct Run {
    void (*call)(struct Run *);
    void **api, *session, *value[MOST], *result[MOST];
    const char *in_name[MOST];
    const Job *job;
    const bmc_model *bmc;
    bmc_ctx *ctx;
    bmc_value in[MOST], out[MOST];
    int (*infer)(void *);
} Run;

/* --- bmc */

static void bmc_call(Run *r)
{
    if (r->bmc->run(r->ctx, r->in, r->out)) fail("run", r->bmc->message(r->ctx));
}

static void bmc_start(const Job *j, Run *r, Times *t)
{
    int64_t start = now(j->clock);
    r->bmc = symbol(library(j->model), "bmc_model");
    bmc_config config = {.size = sizeof config, .threads = j->threads};
    if (r->bmc->create(&config, NULL, 0, &r->ctx)) fail("create", r->bmc->message(NULL));
    t->load = now(j->clock) - start;
    if (r->bmc->info->n_input > MOST || r->bmc->info->n_output > MOST) fail(j->model, "too many inputs or outputs");
    for (uint32_t k = 0; k < r->bmc->info->n_input; k++) {
        const Input *in = NULL;
        for (int i = 0; i < j->n_in; i++)
            if (!strcmp(j->in[i].name, r->bmc->info->input[k].name)) in = &j->in[i];
        if (!in) fail(r->bmc->info->input[k].name, "no such input was given");
        r->in[k] = (bmc_value){.size = sizeof(bmc_value), .kind = BMC_TENSOR, .dtype = (uint8_t)in->dtype,
                               .rank = (uint8_t)in->rank, .data = in->data, .bytes = in->bytes};
        memcpy(r->in[k].dim, in->dim, sizeof in->dim);
    }
    for (uint32_t k = 0; k < r->bmc->info->n_output; k++) r->out[k] = (bmc_value){.size = sizeof(bmc_value)};
    r->call = bmc_call;
}

/* --- ONNX Runtime: places in OrtApi */

enum {
    ORT_ERROR_MESSAGE = 2, ORT_CREATE_ENV = 3, ORT_CREATE_SESSION = 7, ORT_RUN = 9, ORT_CREATE_OPTIONS = 10,
    ORT_OPTIMIZATION_LEVEL = 23, ORT_INTRA_THREADS = 24, ORT_INTER_THREADS = 25, ORT_TENSOR_OF_DATA = 49,
    ORT_CPU_MEMORY = 69, ORT_VERSION = 17, ORT_ENABLE_ALL = 99, ORT_LOG_ERROR = 3
};

static void ort_check(void **api, void *status)
{
    if (status) fail("onnxruntime", ((const char *(*)(void *))api[ORT_ERROR_MESSAGE])(status));
}

static void ort_call(Run *r)
{
    typedef void *Fn(void *, void *, const char *const *, void *const *, size_t, const char *const *, size_t, void **);
    memset(r->result, 0, sizeof r->result); /* a fresh process: what it allocates first is part of its start */
    ort_check(r->api, ((Fn *)r->api[ORT_RUN])(r->session, NULL, r->in_name, r->value, (size_t)r->job->n_in, r->job->out,
                                             (size_t)r->job->n_out, r->result));
}

static void ort_start(const Job *j, Run *r, Times *t)
{
    typedef struct { void **(*api)(uint32_t); const char *(*version)(void); } Base;
    int64_t start = now(j->clock);
    void *env, *options, *memory;
    const Base *base = ((const Base *(*)(void))symbol(library(j->library), "OrtGetApiBase"))();
    void **api = r->api = base->api(ORT_VERSION);
    if (!api) fail("onnxruntime", base->version());
    ort_check(api, ((void *(*)(int, const char *, void **))api[ORT_CREATE_ENV])(ORT_LOG_ERROR, "start", &env));
    int64_t made = now(j->clock);
    t->engine = made - start;
    ort_check(api, ((void *(*)(void **))api[ORT_CREATE_OPTIONS])(&options));
    ort_check(api, ((void *(*)(void *, int))api[ORT_OPTIMIZATION_LEVEL])(options, ORT_ENABLE_ALL));
    ort_check(api, ((void *(*)(void *, int))api[ORT_INTRA_THREADS])(options, j->threads));
    ort_check(api, ((void *(*)(void *, int))api[ORT_INTER_THREADS])(options, 1));
    ort_check(api, ((void *(*)(void *, const char *, void *, void **))api[ORT_CREATE_SESSION])(env, j->model, options,
                                                                                              &r->session));
    t->load = now(j->clock) - made;
    ort_check(api, ((void *(*)(int, int, void **))api[ORT_CPU_MEMORY])(0, 0, &memory));
    typedef void *Tensor(void *, void *, size_t, const int64_t *, size_t, int, void **);
    for (int i = 0; i < j->n_in; i++) {
        const Input *in = &j->in[i];
        r->in_name[i] = in->name;
        ort_check(api, ((Tensor *)api[ORT_TENSOR_OF_DATA])(memory, in->data, in->bytes, in->dim, (size_t)in->rank,
                                                           in->dtype, &r->value[i]));
    }
    r->call = ort_call;
}

/* --- OpenVINO */

static void *ov;

static void ov_check(int status)
{
    if (status) fail("openvino", ((const char *(*)(void))symbol(ov, "ov_get_last_err_msg"))());
}

static void ov_call(Run *r)
{
    ov_check(r->infer(r->session));
}

static void ov_start(const Job *j, Run *r, Times *t)
{
    typedef struct { int64_t rank, *dims; } Shape;
    typedef int Read(void *, const char *, const char *, void **);
    typedef int Compile(void *, void *, const char *, size_t, void **, ...);
    typedef int Port(void *, const char *, void **);
    typedef int Type(void *, int *);
    typedef int Tensor(int, Shape, void *, void **);
    typedef int Set(void *, void *, void *);
    int64_t start = now(j->clock);
    void *core, *model, *compiled;
    char threads[16];
    ov = library(j->library);
    ov_check(((int (*)(void **))symbol(ov, "ov_core_create"))(&core));
    int64_t made = now(j->clock);
    t->engine = made - start;
    snprintf(threads, sizeof threads, "%d", j->threads);
    ov_check(((Read *)symbol(ov, "ov_core_read_model"))(core, j->model, NULL, &model));
    ov_check(((Compile *)symbol(ov, "ov_core_compile_model"))(
        core, model, "CPU", 8, &compiled, "INFERENCE_PRECISION_HINT", "f32", "PERFORMANCE_HINT", "LATENCY",
        "NUM_STREAMS", "1", "INFERENCE_NUM_THREADS", threads));
    ov_check(((int (*)(void *, void **))symbol(ov, "ov_compiled_model_create_infer_request"))(compiled, &r->session));
    t->load = now(j->clock) - made;
    for (int i = 0; i < j->n_in; i++) { /* by name: the order of the file need not be OpenVINO's */
        const Input *in = &j->in[i];
        Shape shape = {in->rank, (int64_t *)in->dim};
        void *port, *tensor;
        int type;
        ov_check(((Port *)symbol(ov, "ov_compiled_model_input_by_name"))(compiled, in->name, &port));
        ov_check(((Type *)symbol(ov, "ov_port_get_element_type"))(port, &type));
        ov_check(((Tensor *)symbol(ov, "ov_tensor_create_from_host_ptr"))(type, shape, in->data, &tensor));
        ov_check(((Set *)symbol(ov, "ov_infer_request_set_tensor_by_const_port"))(r->session, port, tensor));
    }
    r->infer = (int (*)(void *))symbol(ov, "ov_infer_request_infer");
    r->call = ov_call;
}

/* --- both processes */

static long peak_kb(void)
{
    char text[256];
    long kb = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(text, sizeof text, f))
        if (!strncmp(text, "VmHWM:", 6)) kb = atol(text + 6);
    return kb;
}

/* The new process: `to` hears one byte at the first output, then the rest. */
static void child(int argc, char **argv, int to)
{
    Job j = parse(argc, argv);
    Run r = {.job = &j};
    Times t = {0};
    if (!strcmp(j.engine, "bmc")) bmc_start(&j, &r, &t);
    else if (!strcmp(j.engine, "onnxruntime")) ort_start(&j, &r, &t);
    else if (!strcmp(j.engine, "openvino")) ov_start(&j, &r, &t);
    else if (strcmp(j.engine, "none")) fail(j.engine, "no such engine");
    int64_t ran = now(j.clock);
    if (r.call) r.call(&r);
    t.first = now(j.clock) - ran;
    t.output = now(CLOCK_PROCESS_CPUTIME_ID);
    if (write(to, "!", 1) != 1) _exit(1);
    ran = now(j.clock);
    if (r.call) r.call(&r);
    t.second = now(j.clock) - ran;
    dprintf(to, "%lld %lld %lld %lld %lld %ld\n", (long long)t.output, (long long)t.engine, (long long)t.load,
            (long long)t.first, (long long)t.second, peak_kb());
    _exit(0); /* thread pools end with the process */
}

int main(int argc, char **argv)
{
    const char *to = getenv("BENCH_START_TO");
    if (to) child(argc, argv, atoi(to));
    int hears[2], status;
    char text[256] = "";
    extern char **environ;
    if (pipe(hears) || fcntl(hears[0], F_SETFD, FD_CLOEXEC)) fail("pipe", NULL);
    snprintf(text, sizeof text, "%d", hears[1]);
    setenv("BENCH_START_TO", text, 1);
    pid_t pid;
    int64_t start = now(CLOCK_MONOTONIC);
    if (posix_spawn(&pid, "/proc/self/exe", NULL, NULL, argv, environ)) fail("spawn", NULL);
    close(hears[1]);
    if (read(hears[0], text, 1) != 1) {
        waitpid(pid, &status, 0);
        return 1;
    }
    int64_t wall = now(CLOCK_MONOTONIC) - start;
    size_t n = 0;
    for (ssize_t got; n < sizeof text - 1 && (got = read(hears[0], text + n, sizeof text - 1 - n)) > 0;)
        n += (size_t)got;
    text[n] = 0;
    if (waitpid(pid, &status, 0) != pid || status) return 1;
    char *rest;
    long long cpu = strtoll(text, &rest, 10);
    printf("%lld%s", argc > 1 && !strcmp(argv[1], "cpu") ? cpu : (long long)wall, rest);
    return 0;
}
