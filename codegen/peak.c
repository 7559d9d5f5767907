/* peak: two loops, compiled for this machine and timed.
 *
 * Multiply-add: enough independent accumulators to cover the latency on every core we know (24 with 32 registers, 12 with 16), factor and addend from
 * memory, no load in the loop. Starting values differ and are no fixed point of a*x+y, or LLVM would fold a chain away and the peak would read too high.
 * Reading: through eight accumulators; from half the second-level cache to 512 MB (less on small machines).
 * Best of several rounds by the thread's processor time, which does not count what other work on the machine takes away; how much that is shows beside it. */
#include "codegen/peak.h"

#include "base/bug.h"

#include <llvm-c/Core.h>
#include <llvm-c/LLJIT.h>
#include <llvm-c/Target.h>
#include <llvm-c/TargetMachine.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

typedef float FmaFn(int64_t steps, const float *xy);
typedef float ReadFn(const void *from, int64_t bytes);
enum { READ_ACCS = 8, READ_BYTES = 512 << 20, READ_LEAST = 32 << 20, ROUNDS = 12 };

struct PeakLoop { LLVMOrcLLJITRef jit; FmaFn *fma; ReadFn *read; double flops_per_step; };

static double now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

typedef struct Gen { LLVMContextRef cx; LLVMModuleRef mod; LLVMBuilderRef b; LLVMTypeRef f32, i64, ptr, vec; unsigned lanes; const KTarget *t; } Gen;

static LLVMValueRef fn_new(const Gen *g, const char *name, LLVMTypeRef a, LLVMTypeRef b, const char *width)
{
    LLVMTypeRef args[2] = {a, b};
    LLVMValueRef fn = LLVMAddFunction(g->mod, name, LLVMFunctionType(g->f32, args, 2, 0));
    const char *attr[3][2] = {{"target-cpu", g->t->cpu}, {"target-features", g->t->features}, {"prefer-vector-width", width}};
    for (int i = 0; i < 3; i++)
        LLVMAddAttributeAtIndex(fn, LLVMAttributeFunctionIndex,
                                LLVMCreateStringAttribute(g->cx, attr[i][0], (unsigned)strlen(attr[i][0]), attr[i][1], (unsigned)strlen(attr[i][1])));
    LLVMPositionBuilderAtEnd(g->b, LLVMAppendBasicBlockInContext(g->cx, fn, "entry"));
    return fn;
}

static LLVMValueRef lanes_of(const Gen *g, LLVMValueRef x)
{
    LLVMTypeRef i32 = LLVMInt32TypeInContext(g->cx);
    LLVMValueRef v = LLVMBuildInsertElement(g->b, LLVMGetPoison(g->vec), x, LLVMConstInt(i32, 0, 0), "");
    return LLVMBuildShuffleVector(g->b, v, LLVMGetPoison(g->vec), LLVMConstNull(LLVMVectorType(i32, g->lanes)), "");
}

static LLVMValueRef mac(const Gen *g, LLVMValueRef a, LLVMValueRef x, LLVMValueRef y)
{
    if (!g->t->fma) return LLVMBuildFAdd(g->b, LLVMBuildFMul(g->b, a, x, ""), y, "");
    unsigned id = LLVMLookupIntrinsicID("llvm.fma", 8);
    LLVMTypeRef over[1] = {g->vec};
    LLVMValueRef arg[3] = {a, x, y};
    return LLVMBuildCall2(g->b, LLVMIntrinsicGetType(g->cx, id, over, 1), LLVMGetIntrinsicDeclaration(g->mod, id, over, 1), arg, 3, "");
}

/* Loop of n accumulators; `step` gives the next value of accumulator i. Ends the function with a sum that keeps them all alive. */
static void loop_emit(const Gen *g, LLVMValueRef fn, unsigned n, LLVMValueRef bound, int64_t stride, LLVMValueRef (*step)(const Gen *, LLVMValueRef acc, unsigned i, LLVMValueRef k, LLVMValueRef *env), LLVMValueRef *env)
{
    LLVMBasicBlockRef entry = LLVMGetInsertBlock(g->b), loop = LLVMAppendBasicBlockInContext(g->cx, fn, "loop"), end = LLVMAppendBasicBlockInContext(g->cx, fn, "end");
    LLVMValueRef start[32], acc[32], next[32], zero = LLVMConstInt(g->i64, 0, 0);
    assert(n <= 32);
    for (unsigned i = 0; i < n; i++) start[i] = lanes_of(g, LLVMConstReal(g->f32, 0.25 + i * 0.125));
    LLVMBuildBr(g->b, loop);
    LLVMPositionBuilderAtEnd(g->b, loop);
    LLVMValueRef k = LLVMBuildPhi(g->b, g->i64, "");
    for (unsigned i = 0; i < n; i++) acc[i] = LLVMBuildPhi(g->b, g->vec, "");
    for (unsigned i = 0; i < n; i++) next[i] = step(g, acc[i], i, k, env);
    LLVMValueRef k_next = LLVMBuildAdd(g->b, k, LLVMConstInt(g->i64, (uint64_t)stride, 0), "");
    LLVMBuildCondBr(g->b, LLVMBuildICmp(g->b, LLVMIntSLT, k_next, bound, ""), loop, end);
    LLVMAddIncoming(k, &zero, &entry, 1);
    LLVMAddIncoming(k, &k_next, &loop, 1);
    for (unsigned i = 0; i < n; i++) {
        LLVMAddIncoming(acc[i], &start[i], &entry, 1);
        LLVMAddIncoming(acc[i], &next[i], &loop, 1);
    }
    LLVMPositionBuilderAtEnd(g->b, end);
    LLVMValueRef v = next[0];
    for (unsigned i = 1; i < n; i++) v = LLVMBuildFAdd(g->b, v, next[i], "");
    LLVMValueRef r = LLVMBuildExtractElement(g->b, v, zero, "");
    for (unsigned l = 1; l < g->lanes; l++) r = LLVMBuildFAdd(g->b, r, LLVMBuildExtractElement(g->b, v, LLVMConstInt(g->i64, l, 0), ""), "");
    LLVMBuildRet(g->b, r);
}

static LLVMValueRef step_fma(const Gen *g, LLVMValueRef acc, unsigned i, LLVMValueRef k, LLVMValueRef *env)
{
    (void)i, (void)k;
    return mac(g, acc, env[0], env[1]);
}
static LLVMValueRef step_read(const Gen *g, LLVMValueRef acc, unsigned i, LLVMValueRef k, LLVMValueRef *env)
{
    LLVMValueRef at = LLVMBuildAdd(g->b, k, LLVMConstInt(g->i64, (uint64_t)i * g->lanes * 4, 0), "");
    LLVMValueRef v = LLVMBuildLoad2(g->b, g->vec, LLVMBuildGEP2(g->b, LLVMInt8TypeInContext(g->cx), env[0], &at, 1, ""), "");
    LLVMSetAlignment(v, 4);
    return LLVMBuildFAdd(g->b, acc, v, "");
}

/* Can this process execute the target's code? */
static bool target_is_here(const KTarget *t)
{
#if defined __x86_64__
    if (strncmp(t->triple, "x86_64", 6)) return false;
    __builtin_cpu_init();
    if (t->vec_bits >= 512 && !(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl"))) return false;
    if (t->vec_bits >= 256 && !__builtin_cpu_supports("avx2")) return false;
    return !t->fma || __builtin_cpu_supports("fma");
#elif defined __aarch64__
    return !strncmp(t->triple, "aarch64", 7) && t->vec_bits <= 128;
#else
    (void)t;
    return false;
#endif
}

static LLVMErrorRef jit_object(PeakLoop *p, LLVMTargetMachineRef tm, LLVMModuleRef mod)
{
    LLVMMemoryBufferRef object;
    char *why = NULL;
    if (LLVMTargetMachineEmitToMemoryBuffer(tm, mod, LLVMObjectFile, &why, &object)) BUG("peak loops: %s", why);
    LLVMErrorRef err = LLVMOrcCreateLLJIT(&p->jit, NULL);
    if (err) { LLVMDisposeMemoryBuffer(object); return err; }
    if ((err = LLVMOrcLLJITAddObjectFile(p->jit, LLVMOrcLLJITGetMainJITDylib(p->jit), object))) return err;
    LLVMOrcExecutorAddress at;
    if ((err = LLVMOrcLLJITLookup(p->jit, &at, "peak_fma"))) return err;
    p->fma = (FmaFn *)(uintptr_t)at;
    if ((err = LLVMOrcLLJITLookup(p->jit, &at, "peak_read"))) return err;
    p->read = (ReadFn *)(uintptr_t)at;
    return NULL;
}

PeakLoop *peak_loop_new(const KTarget *t, unsigned bits)
{
    LLVMTargetRef target;
    char *why = NULL;
    LLVMInitializeNativeTarget();
    LLVMInitializeNativeAsmPrinter();
    if (!target_is_here(t) || bits > t->vec_bits) return NULL;
    if (LLVMGetTargetFromTriple(t->triple, &target, &why)) {
        LLVMDisposeMessage(why);
        return NULL;
    }
    LLVMTargetMachineRef tm = LLVMCreateTargetMachine(target, t->triple, t->cpu, t->features, LLVMCodeGenLevelDefault, LLVMRelocPIC, LLVMCodeModelDefault);
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(tm);
    Gen g = {.cx = LLVMContextCreate(), .t = t, .lanes = bits / 32};
    g.mod = LLVMModuleCreateWithNameInContext("peak", g.cx);
    LLVMSetModuleDataLayout(g.mod, layout);
    LLVMSetTarget(g.mod, t->triple);
    g.b = LLVMCreateBuilderInContext(g.cx);
    g.f32 = LLVMFloatTypeInContext(g.cx);
    g.i64 = LLVMInt64TypeInContext(g.cx);
    g.ptr = LLVMPointerTypeInContext(g.cx, 0);
    g.vec = LLVMVectorType(g.f32, g.lanes);
    char width[8];
    snprintf(width, sizeof width, "%u", bits);

    unsigned n = t->vec_regs >= 32 ? 24 : 12;
    LLVMValueRef fn = fn_new(&g, "peak_fma", g.i64, g.ptr, width), env[2], one = LLVMConstInt(g.i64, 1, 0);
    env[0] = lanes_of(&g, LLVMBuildLoad2(g.b, g.f32, LLVMGetParam(fn, 1), ""));
    env[1] = lanes_of(&g, LLVMBuildLoad2(g.b, g.f32, LLVMBuildGEP2(g.b, g.f32, LLVMGetParam(fn, 1), &one, 1, ""), ""));
    loop_emit(&g, fn, n, LLVMGetParam(fn, 0), 1, step_fma, env);
    fn = fn_new(&g, "peak_read", g.ptr, g.i64, width);
    env[0] = LLVMGetParam(fn, 0);
    loop_emit(&g, fn, READ_ACCS, LLVMGetParam(fn, 1), READ_ACCS * g.lanes * 4, step_read, env);

    PeakLoop *p = calloc(1, sizeof *p);
    if (!p) BUG("out of memory");
    p->flops_per_step = 2.0 * n * g.lanes;
    LLVMErrorRef err = jit_object(p, tm, g.mod);
    LLVMDisposeBuilder(g.b);
    LLVMDisposeModule(g.mod);
    LLVMContextDispose(g.cx);
    LLVMDisposeTargetData(layout);
    LLVMDisposeTargetMachine(tm);
    if (!err) return p;
    LLVMConsumeError(err);
    peak_loop_free(p);
    return NULL;
}

double peak_loop_run(PeakLoop *p, double flops)
{
    volatile float xy[2] = {0.9991f, 0.0007f}, sink;
    float in[2] = {xy[0], xy[1]};
    int64_t steps = (int64_t)(flops / p->flops_per_step) + 1;
    double t0 = now(CLOCK_THREAD_CPUTIME_ID);
    sink = p->fma(steps, in);
    double dt = now(CLOCK_THREAD_CPUTIME_ID) - t0;
    (void)sink;
    return dt * 1e9 / ((double)steps * p->flops_per_step);
}

void peak_loop_free(PeakLoop *p)
{
    if (!p) return;
    if (p->jit) LLVMConsumeError(LLVMOrcDisposeLLJIT(p->jit));
    free(p);
}

/* ---- both loops on several threads at once ---- */
typedef struct Work { PeakLoop *p; pthread_barrier_t *start; const char *from; const int64_t *bytes; double fma, read[PEAK_SIZES], wall, cpu; } Work;

static void *work_run(void *arg)
{
    Work *w = arg;
    volatile float sink;
    w->fma = 1e9;
    for (int r = 0; r < ROUNDS; r++) {
        pthread_barrier_wait(w->start);
        double wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_THREAD_CPUTIME_ID), s = peak_loop_run(w->p, 2e8);
        w->cpu += now(CLOCK_THREAD_CPUTIME_ID) - cpu;
        w->wall += now(CLOCK_MONOTONIC) - wall;
        if (s < w->fma) w->fma = s;
    }
    for (int k = 0; k < PEAK_SIZES && w->bytes; k++) {
        int64_t times = w->bytes[k] < READ_LEAST ? READ_LEAST / w->bytes[k] : 1;
        w->read[k] = 1e9;
        for (int r = 0; r < 5; r++) {
            pthread_barrier_wait(w->start);
            double wall = now(CLOCK_MONOTONIC), cpu = now(CLOCK_THREAD_CPUTIME_ID);
            for (int64_t i = 0; i < times; i++) sink = w->p->read(w->from, w->bytes[k]);
            cpu = now(CLOCK_THREAD_CPUTIME_ID) - cpu;
            w->cpu += cpu;
            w->wall += now(CLOCK_MONOTONIC) - wall;
            double s = cpu * 1e9 / (double)(times * w->bytes[k]);
            if (s < w->read[k]) w->read[k] = s;
            (void)sink;
        }
    }
    return NULL;
}

/* bytes: that many in all, by size; NULL: only the multiply-adds. The smallest is a thread's own. Lowers *share to the
 * share of the time for which the thread with the least had a processor. */
static void team_run(PeakLoop *p, int threads, const char *mem, int64_t room, const int64_t *bytes, double *gflops,
                     double *gbytes, double *share)
{
    Work *w = calloc((size_t)threads, sizeof *w);
    pthread_t *id = calloc((size_t)threads, sizeof *id);
    pthread_barrier_t start;
    if (!w || !id) BUG("out of memory");
    pthread_barrier_init(&start, NULL, (unsigned)threads);
    int64_t each = room / threads / 4096 * 4096, part[PEAK_SIZES];
    for (int k = 0; k < PEAK_SIZES && bytes; k++) {
        part[k] = k ? bytes[k] / threads / 4096 * 4096 : bytes[k];
        if (part[k] > each) part[k] = each;
    }
    for (int i = 0; i < threads; i++) {
        w[i] = (Work){.p = p, .start = &start, .from = mem + each * i, .bytes = bytes ? part : NULL};
        if (i && pthread_create(&id[i], NULL, work_run, &w[i])) BUG("cannot start a thread");
    }
    work_run(&w[0]);
    *gflops = 0;
    for (int i = 0; i < threads; i++) {
        if (i) pthread_join(id[i], NULL);
        *gflops += 1 / w[i].fma;
        if (w[i].cpu < *share * w[i].wall) *share = w[i].cpu / w[i].wall;
        for (int k = 0; k < PEAK_SIZES && bytes; k++) gbytes[k] += 1 / w[i].read[k];
    }
    pthread_barrier_destroy(&start);
    free(w);
    free(id);
}

bool peak_measure(const KTarget *t, int threads, PeakResult *r)
{
    static const char *const x86[PEAK_WIDTHS] = {"sse", "avx2", "avx512"}, *const arm[PEAK_WIDTHS] = {"neon", "", ""};
    const char *const *names = strncmp(t->triple, "aarch64", 7) ? x86 : arm;
    *r = (PeakResult){.threads = threads, .share_1 = 1, .share_n = 1};
    int64_t bytes = READ_BYTES;
    long pages = sysconf(_SC_AVPHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    if (pages > 0 && bytes > (int64_t)pages * page / 4) bytes = (int64_t)pages * page / 4;
    char *mem = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mem == MAP_FAILED) return false;
    memset(mem, 0, (size_t)bytes);
    r->bytes[0] = t->l2_bytes >= 8192 ? t->l2_bytes / 2 : 131072;
    for (int k = 3; k < PEAK_SIZES; k++) r->bytes[k] = bytes >> 2 * (PEAK_SIZES - 1 - k);
    for (int k = 1; k < 3; k++) r->bytes[k] = 2 * r->bytes[k - 1] < r->bytes[3] ? 2 * r->bytes[k - 1] : r->bytes[3];
    for (unsigned bits = 128; bits <= t->vec_bits && r->n < PEAK_WIDTHS; bits *= 2) {
        PeakLoop *p = peak_loop_new(t, bits);
        if (!p) break;
        const int64_t *sizes = bits * 2 > t->vec_bits ? r->bytes : NULL;
        r->width[r->n].bits = bits;
        r->width[r->n].name = names[r->n];
        team_run(p, 1, mem, bytes, sizes, &r->width[r->n].gflops_1, r->read_1, &r->share_1);
        team_run(p, threads, mem, bytes, sizes, &r->width[r->n].gflops_n, r->read_n, &r->share_n);
        r->n++;
        peak_loop_free(p);
    }
    munmap(mem, (size_t)bytes);
    return r->n > 0;
}

double peak_read(const PeakResult *r, double bytes)
{
    int k = 0;
    while (k + 1 < PEAK_SIZES && (double)r->bytes[k + 1] <= bytes) k++;
    return r->threads > 1 ? r->read_n[k] : r->read_1[k];
}
