/* gemm_peer: one compiled MatMul model against OpenBLAS in one process, one thread each, in interleaved batches.
 *
 *   gemm_peer OPENBLAS.so PREFIX ROUNDS <<EOF
 *   model.so weights.bin M N K
 *   EOF
 *
 * PREFIX stands before cblas_sgemm and openblas_set_num_threads in the library ("scipy_" in PyPI's build, "" in
 * Debian's). Every line of input is one shape; the model has an output [M,N] and an input [M,K], and holds weights.bin
 * (K*N floats, row-major) or takes it as its second input. Prints per shape: M N K ns_bmc ns_openblas error peak, the
 * times being processor time, the mean of the fastest batch of each side, error the largest |difference| relative to
 * OpenBLAS's result, peak the GFLOP/s of a loop of multiply-adds between the batches (0: not known for this CPU).
 * Built and fed by bench/gemm.py. */
#include "bmc.h"
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef void Sgemm(int order, int ta, int tb, int m, int n, int k, float alpha, const float *a, int lda,
                   const float *b, int ldb, float beta, float *c, int ldc);
enum { ROW_MAJOR = 101, NO_TRANS = 111 };

typedef struct Shape {
    const bmc_model *model;
    bmc_ctx *ctx;
    Sgemm *sgemm;
    int m, n, k;
    float *a, *b, *ours, *theirs;
    bmc_value in[2], out;
} Shape;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void die(const char *what, const char *why) {
    fprintf(stderr, "gemm_peer: %s: %s\n", what, why ? why : "?");
    exit(1);
}

static void run_ours(Shape *s) {
    if (s->model->run(s->ctx, s->in, &s->out) != BMC_OK) die("run", s->model->message(s->ctx));
}

static void run_theirs(Shape *s) {
    s->sgemm(ROW_MAJOR, NO_TRANS, NO_TRANS, s->m, s->n, s->k, 1.0f, s->a, s->k, s->b, s->n, 0.0f, s->theirs, s->n);
}

static double batch(Shape *s, void (*side)(Shape *), int runs) {
    double start = now();
    for (int i = 0; i < runs; i++) side(s);
    return (now() - start) / runs;
}

/* As many runs as take about 5 ms; at least one. */
static int batch_size(Shape *s, void (*side)(Shape *)) {
    double once = batch(s, side, 2);
    int runs = (int)(5e6 / (once + 1));
    return runs < 1 ? 1 : runs > 20000 ? 20000 : runs;
}

#ifdef __x86_64__
/* GFLOP/s of twenty-four independent chains of multiply-adds in 512-bit registers. */
__attribute__((noinline)) static double fma_peak(void) {
    if (!__builtin_cpu_supports("avx512f")) return 0;
    enum { ROUNDS = 10000, CHAINS = 24, FLOPS = 32 };
    double start = now();
    long n = ROUNDS;
#define FMA(r) "vfmadd231ps %%zmm30,%%zmm30,%%zmm" #r "\n"
#define FMA4(a, b, c, d) FMA(a) FMA(b) FMA(c) FMA(d)
    __asm__ volatile("vpxord %%zmm30,%%zmm30,%%zmm30\n1:\n" FMA4(0, 1, 2, 3) FMA4(4, 5, 6, 7) FMA4(8, 9, 10, 11)
                         FMA4(12, 13, 14, 15) FMA4(16, 17, 18, 19) FMA4(20, 21, 22, 23) "dec %0\njnz 1b\nvzeroupper\n"
                     : "+r"(n)
                     :
                     : "cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10",
                       "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
#undef FMA4
#undef FMA
    return (double)ROUNDS * CHAINS * FLOPS / (now() - start);
}
#else
static double fma_peak(void) { return 0; }
#endif

static bmc_value value_of(float *data, int64_t rows, int64_t cols) {
    bmc_value v = {.size = sizeof v, .kind = BMC_TENSOR, .dtype = BMC_F32, .rank = 2, .data = data};
    v.dim[0] = rows, v.dim[1] = cols;
    v.bytes = (size_t)(rows * cols) * sizeof(float);
    return v;
}

static float *floats(size_t count) {
    float *p = aligned_alloc(64, (count * sizeof(float) + 63) / 64 * 64);
    if (!p) die("memory", "none left");
    return p;
}

static void load(Shape *s, const char *model, const char *weights) {
    void *library = dlopen(model, RTLD_NOW | RTLD_LOCAL);
    if (!library) die(model, dlerror());
    s->model = dlsym(library, "bmc_model");
    if (!s->model || s->model->abi != BMC_ABI) die(model, "no bmc_model of this ABI");
    bmc_config config = {.size = sizeof config, .threads = 1};
    if (s->model->create(&config, NULL, 0, &s->ctx) != BMC_OK) die(model, s->model->message(NULL));
    s->a = floats((size_t)s->m * s->k), s->b = floats((size_t)s->k * s->n);
    s->ours = floats((size_t)s->m * s->n), s->theirs = floats((size_t)s->m * s->n);
    FILE *f = fopen(weights, "rb");
    if (!f || fread(s->b, sizeof(float), (size_t)s->k * s->n, f) != (size_t)s->k * s->n) die(weights, "cannot read");
    fclose(f);
    for (size_t i = 0; i < (size_t)s->m * s->k; i++) s->a[i] = (float)rand() / (float)RAND_MAX - 0.5f;
    s->in[0] = value_of(s->a, s->m, s->k);
    s->in[1] = value_of(s->b, s->k, s->n);
    s->out = value_of(s->ours, s->m, s->n);
}

/* Largest difference over the range of the result, or over its largest magnitude when it has fewer than 8 elements. */
static double difference(const Shape *s) {
    size_t count = (size_t)s->m * s->n;
    double low = s->theirs[0], high = low, worst = 0;
    for (size_t i = 0; i < count; i++) {
        double t = s->theirs[i], d = s->ours[i] - t;
        low = t < low ? t : low, high = t > high ? t : high;
        d = d < 0 ? -d : d;
        worst = !(d <= worst) ? d : worst;
    }
    if (count < 8) high = -low > high ? -low : high, low = 0;
    return worst > 0 ? worst / (high - low) : 0;
}

int main(int argc, char **argv) {
    if (argc != 4) die("usage", "gemm_peer OPENBLAS.so PREFIX ROUNDS");
    void *blas = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
    if (!blas) die(argv[1], dlerror());
    char name[128];
    snprintf(name, sizeof name, "%scblas_sgemm", argv[2]);
    Sgemm *sgemm = (Sgemm *)dlsym(blas, name);
    snprintf(name, sizeof name, "%sopenblas_set_num_threads", argv[2]);
    void (*set_threads)(int) = (void (*)(int))dlsym(blas, name);
    if (!sgemm || !set_threads) die(argv[1], "no cblas_sgemm or openblas_set_num_threads with this prefix");
    set_threads(1);
    int rounds = atoi(argv[3]);
    char model[2048], weights[2048];
    Shape s = {.sgemm = sgemm};
    while (scanf("%2047s %2047s %d %d %d", model, weights, &s.m, &s.n, &s.k) == 5) {
        load(&s, model, weights);
        run_ours(&s), run_theirs(&s);
        double error = difference(&s), ours = 1e300, theirs = 1e300, peak = 0;
        int mine = batch_size(&s, run_ours), yours = batch_size(&s, run_theirs);
        for (int r = 0; r < rounds; r++) {
            double t = batch(&s, run_ours, mine);
            ours = t < ours ? t : ours;
            t = batch(&s, run_theirs, yours);
            theirs = t < theirs ? t : theirs;
            t = fma_peak();
            peak = t > peak ? t : peak;
        }
        printf("%d %d %d %.1f %.1f %.3g %.1f\n", s.m, s.n, s.k, ours, theirs, error, peak);
        fflush(stdout);
        s.model->destroy(s.ctx);
        free(s.a), free(s.b), free(s.ours), free(s.theirs);
    }
    return 0;
}
