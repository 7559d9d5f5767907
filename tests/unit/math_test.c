/* math_test: the vector functions of codegen/math against the C library in double precision.
 *
 *   math_test [--full] [--bench] [--dump] [NAME...]
 *
 * Every function is compiled for this CPU, for x86-64-v3 and for baseline x86-64 (no fused multiply-add), and for the
 * first and the last once more with denormals flushed. It runs over a strided part of all floats, or all of them
 * (--full), and the largest error is printed in units in the last place of the correct result, with the input that
 * made it. pow runs over random pairs and all pairs of special values.
 * --bench prints speed on a buffer in L1 instead, --dump the IR, and writes the object code into the current folder.
 * Exit code 0 when everything is within its bar. */
#include "codegen/math.h"

#include <llvm-c/Analysis.h>
#include <llvm-c/LLJIT.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined __x86_64__
#include <immintrin.h>
#endif

enum { LANES = 16, CHUNK = 4096, MAX_TARGETS = 5 };

typedef double (*Ref)(double);
typedef void (*Loop)(const void *x, void *y, long n);
typedef void (*Loop2)(const void *x0, const void *x1, void *y, long n);

static double ref_sigmoid(double x) { return 1 / (1 + exp(-x)); }
static double ref_softplus(double x) { return (x > 0 ? x : 0) + log1p(exp(-fabs(x))); }

typedef struct Case {
    const char *name;
    Ref ref;
    double bar; /* ULP */
} Case;

/* in double precision inside: rounded once */
#define WIDE 0.52

static const Case cases[] = {
    {"exp", exp, 3}, {"log", log, 3}, {"tanh", tanh, 3}, {"erf", erf, 3}, {"sigmoid", ref_sigmoid, 3},
    {"sin", sin, 3}, {"cos", cos, 3}, {"tan", tan, WIDE}, {"exp2", exp2, 3}, {"log2", log2, WIDE},
    {"log10", log10, WIDE}, {"log1p", log1p, WIDE}, {"expm1", expm1, WIDE}, {"asin", asin, WIDE},
    {"acos", acos, WIDE}, {"atan", atan, WIDE}, {"sinh", sinh, WIDE}, {"cosh", cosh, WIDE},
    {"asinh", asinh, WIDE}, {"acosh", acosh, WIDE}, {"atanh", atanh, WIDE}, {"softplus", ref_softplus, 3},
};
enum { N_CASES = sizeof cases / sizeof *cases };

typedef struct Target {
    const char *name, *cpu, *features;
    bool has_fma, flush, scalef;
    LLVMTargetMachineRef tm;
} Target;

typedef struct Test {
    LLVMOrcLLJITRef jit;
    Target target[MAX_TARGETS];
    int n_targets, n_modules, passed, failed;
    bool full, bench, dump;
} Test;

static void check(Test *t, bool ok, const char *what, const char *why)
{
    if (ok) t->passed++;
    else {
        t->failed++;
        printf("FAILED %s: %s\n", what, why);
    }
}

static void die_on(LLVMErrorRef err)
{
    if (!err) return;
    fprintf(stderr, "math_test: %s\n", LLVMGetErrorMessage(err));
    exit(2);
}

/* ---- compiling: void NAME(const T *x0[, const T *x1], T *y, long n), n a multiple of `lanes` */

static LLVMValueRef build_loop(LLVMModuleRef mod, const Target *g, const char *symbol, const char *name,
                               LLVMTypeRef elem, unsigned lanes, unsigned n_args)
{
    LLVMContextRef cx = LLVMGetModuleContext(mod);
    LLVMTypeRef ptr = LLVMPointerTypeInContext(cx, 0), i64 = LLVMInt64TypeInContext(cx);
    LLVMTypeRef param[4] = {ptr, ptr, ptr, ptr};
    param[n_args + 1] = i64;
    LLVMTypeRef sig = LLVMFunctionType(LLVMVoidTypeInContext(cx), param, n_args + 2, false);
    LLVMValueRef fn = LLVMAddFunction(mod, symbol, sig);
    LLVMAddTargetDependentFunctionAttr(fn, "target-cpu", g->cpu);
    LLVMAddTargetDependentFunctionAttr(fn, "target-features", g->features);
    LLVMAddTargetDependentFunctionAttr(fn, "prefer-vector-width", "512");

    MathCtx m = {.cx = cx, .mod = mod, .has_fma = g->has_fma, .scalef = g->scalef, .flush = g->flush};
    LLVMValueRef callee = math_function(&m, name, elem, lanes, fn);
    if (!callee) return NULL;
    LLVMTypeRef vec = lanes == 1 ? elem : LLVMVectorType(elem, lanes);
    LLVMTypeRef callee_sig = LLVMFunctionType(vec, (LLVMTypeRef[]){vec, vec}, n_args, false);
    unsigned align = LLVMGetTypeKind(elem) == LLVMDoubleTypeKind ? 8 : 4;

    LLVMBuilderRef b = LLVMCreateBuilderInContext(cx);
    LLVMBasicBlockRef entry = LLVMAppendBasicBlockInContext(cx, fn, "entry");
    LLVMBasicBlockRef body = LLVMAppendBasicBlockInContext(cx, fn, "body");
    LLVMBasicBlockRef done = LLVMAppendBasicBlockInContext(cx, fn, "done");
    LLVMPositionBuilderAtEnd(b, entry);
    LLVMBuildBr(b, body);
    LLVMPositionBuilderAtEnd(b, body);
    LLVMValueRef i = LLVMBuildPhi(b, i64, "i"), x[2], p;
    for (unsigned a = 0; a < n_args; a++) {
        p = LLVMBuildGEP2(b, elem, LLVMGetParam(fn, a), &i, 1, "");
        x[a] = LLVMBuildLoad2(b, vec, p, "");
        LLVMSetAlignment(x[a], align);
    }
    LLVMValueRef y = LLVMBuildCall2(b, callee_sig, callee, x, n_args, "");
    p = LLVMBuildGEP2(b, elem, LLVMGetParam(fn, n_args), &i, 1, "");
    LLVMSetAlignment(LLVMBuildStore(b, y, p), align);
    LLVMValueRef next = LLVMBuildAdd(b, i, LLVMConstInt(i64, lanes, false), "");
    LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSLT, next, LLVMGetParam(fn, n_args + 1), ""), body, done);
    LLVMAddIncoming(i, (LLVMValueRef[]){LLVMConstInt(i64, 0, false), next}, (LLVMBasicBlockRef[]){entry, body}, 2);
    LLVMPositionBuilderAtEnd(b, done);
    LLVMBuildRetVoid(b);
    LLVMDisposeBuilder(b);
    return fn;
}

/* The address of the loop over `name`, or NULL when math_function does not know it. */
static Loop compile(Test *t, const Target *g, const char *name, bool wide, unsigned lanes, unsigned n_args)
{
    char symbol[96];
    snprintf(symbol, sizeof symbol, "loop%d_%s_%s_%s_%u", t->n_modules++, name, g->name, wide ? "f64" : "f32", lanes);
    LLVMContextRef cx = LLVMContextCreate();
    LLVMModuleRef mod = LLVMModuleCreateWithNameInContext(symbol, cx);
    char *triple = LLVMGetTargetMachineTriple(g->tm), *msg = NULL;
    LLVMSetTarget(mod, triple);
    LLVMDisposeMessage(triple);
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(g->tm);
    LLVMSetModuleDataLayout(mod, layout);
    LLVMDisposeTargetData(layout);
    LLVMTypeRef elem = wide ? LLVMDoubleTypeInContext(cx) : LLVMFloatTypeInContext(cx);
    LLVMOrcExecutorAddress at = 0;
    if (build_loop(mod, g, symbol, name, elem, lanes, n_args)) {
        if (LLVMVerifyModule(mod, LLVMPrintMessageAction, &msg)) exit(2);
        LLVMDisposeMessage(msg);
        LLVMPassBuilderOptionsRef opt = LLVMCreatePassBuilderOptions();
        die_on(LLVMRunPasses(mod, "always-inline,function(early-cse,instcombine<no-verify-fixpoint>,simplifycfg)",
                             g->tm, opt));
        LLVMDisposePassBuilderOptions(opt);
        if (t->dump) LLVMDumpModule(mod);
        LLVMMemoryBufferRef obj;
        if (LLVMTargetMachineEmitToMemoryBuffer(g->tm, mod, LLVMObjectFile, &msg, &obj)) {
            fprintf(stderr, "math_test: %s\n", msg);
            exit(2);
        }
        if (t->dump) {
            FILE *f = fopen(symbol, "wb");
            if (f) fwrite(LLVMGetBufferStart(obj), 1, LLVMGetBufferSize(obj), f), fclose(f);
        }
        die_on(LLVMOrcLLJITAddObjectFile(t->jit, LLVMOrcLLJITGetMainJITDylib(t->jit), obj));
        die_on(LLVMOrcLLJITLookup(t->jit, &at, symbol));
    }
    LLVMDisposeModule(mod);
    LLVMContextDispose(cx);
    return (Loop)(uintptr_t)at;
}

static void set_flush(bool on)
{
#if defined __x86_64__
    _mm_setcsr(on ? _mm_getcsr() | 0x8040 : _mm_getcsr() & ~0x8040u);
#else
    (void)on;
#endif
}

static void add_target(Test *t, const char *name, const char *cpu, const char *features, bool fma, bool flush)
{
    char *triple = LLVMGetDefaultTargetTriple(), *msg = NULL;
    LLVMTargetRef target;
    if (LLVMGetTargetFromTriple(triple, &target, &msg)) {
        fprintf(stderr, "math_test: %s\n", msg);
        exit(2);
    }
    LLVMTargetMachineRef tm = LLVMCreateTargetMachine(target, triple, cpu, features, LLVMCodeGenLevelDefault,
                                                      LLVMRelocPIC, LLVMCodeModelDefault);
    t->target[t->n_targets++] = (Target){name, cpu, features, fma, flush, false, tm};
#if defined __x86_64__
    t->target[t->n_targets - 1].scalef = !strncmp(name, "host", 4) && __builtin_cpu_supports("avx512f");
#endif
    LLVMDisposeMessage(triple);
}

/* ---- measuring */

static uint32_t bits_of(float x)
{
    uint32_t u;
    memcpy(&u, &x, 4);
    return u;
}
static float of_bits(uint32_t u)
{
    float x;
    memcpy(&x, &u, 4);
    return x;
}

/* 1 / ulp of the float nearest r; the spacing of denormals below 2^-126. */
static double inverse_ulp(double r)
{
    uint64_t u;
    memcpy(&u, &r, 8);
    int k = (int)(u >> 52 & 2047) - 1023;
    k = k < -126 ? -126 : k > 127 ? 127 : k;
    u = (uint64_t)(1023 + 23 - k) << 52;
    memcpy(&r, &u, 8);
    return r;
}

typedef struct Worst {
    double ulp;
    float x, x1, got;
    double want;
} Worst;

/* The error of `got` for the correct result r, in ULP: overflow counts as 2^128, a NaN, a missing NaN and a wrongly
 * signed zero as infinite. `flush`: results below the normal range may be zero. */
static double ulp_error(float got, double r, bool flush)
{
    if (isnan(r)) return isnan(got) ? 0 : INFINITY;
    if (isnan(got) || (r == 0 && (got != 0 || !signbit(r) != !signbit(got)))) return INFINITY;
    double g = isinf(got) ? copysign(0x1p128, got) : (double)got;
    if (fabs(r) > 0x1p128) r = copysign(0x1p128, r);
    if (flush && fabs(r) < 0x1.0001p-126 && fabs(g) < 0x1.0001p-126) return 0;
    return fabs(g - r) * inverse_ulp(r);
}

static void note(Worst *w, float x, float x1, float got, double want, bool flush)
{
    double err = ulp_error(got, want, flush);
    if (!(err <= w->ulp)) *w = (Worst){err, x, x1, got, want};
}

typedef struct Run {
    Test *t;
    const char *name;
    Loop loop[MAX_TARGETS];
    Worst worst[MAX_TARGETS];
} Run;

static void run_chunk(Run *r, Ref ref, const float *x, long n)
{
    static double want[CHUNK], inv[CHUNK];
    static float near[CHUNK], y[CHUNK];
    for (long i = 0; i < n; i++) {
        want[i] = ref((double)x[i]);
        near[i] = (float)want[i];
        inv[i] = inverse_ulp(want[i]);
    }
    double zero[2] = {ref(0.0), ref(-0.0)};
    for (int k = 0; k < r->t->n_targets; k++) {
        if (!r->loop[k]) continue;
        bool flush = r->t->target[k].flush;
        Worst *w = &r->worst[k];
        if (flush) set_flush(true);
        r->loop[k](x, y, n);
        if (flush) set_flush(false);
        for (long i = 0; i < n; i++) {
            /* Leave to note() what may be the worst so far; zeros always, for their sign. */
            if (y[i] == near[i] && near[i] != 0 && w->ulp > 0.5) continue;
            if (near[i] != near[i] && y[i] != y[i]) continue;
            if (fabs((double)y[i] - want[i]) * inv[i] < w->ulp && near[i] != 0) continue;
            bool to_zero = flush && fpclassify(x[i]) == FP_SUBNORMAL;
            note(w, x[i], 0, y[i], to_zero ? zero[signbit(x[i]) != 0] : want[i], flush);
        }
    }
}

static void report(Run *r, double bar, int n_args)
{
    for (int k = 0; k < r->t->n_targets; k++) {
        Worst *w = &r->worst[k];
        char what[64], at[96];
        snprintf(what, sizeof what, "%s on %s", r->name, r->t->target[k].name);
        if (!r->loop[k]) {
            check(r->t, false, what, "math_function gives no such function");
            continue;
        }
        snprintf(at, sizeof at, n_args > 1 ? "(%a, %a)" : "(%a)", (double)w->x, (double)w->x1);
        printf("%-9s %-9s max %.3f ULP at %s = %a, got %a\n", r->name, r->t->target[k].name, w->ulp, at, w->want,
               (double)w->got);
        check(r->t, w->ulp <= bar, what, "over its bar");
    }
}

static void bench(Run *r, int n_args)
{
    static float x[2048], y[2048];
    for (int i = 0; i < 2048; i++) x[i] = (float)(i % 1999) / 1999 * 8 - (r->name[0] == 'l' ? 0 : 4);
    for (int k = 0; k < r->t->n_targets; k++) {
        if (!r->loop[k]) continue;
        double best = 1e9;
        for (int rep = 0; rep < 40; rep++) {
            struct timespec a, b;
            timespec_get(&a, TIME_UTC);
            for (int i = 0; i < 50; i++)
                if (n_args == 1) r->loop[k](x, y, 2048);
                else ((Loop2)(void (*)(void))r->loop[k])(x, x, y, 2048);
            timespec_get(&b, TIME_UTC);
            double s = (double)(b.tv_sec - a.tv_sec) + 1e-9 * (double)(b.tv_nsec - a.tv_nsec);
            if (s < best) best = s;
        }
        printf("%-9s %-9s %.2f Gelem/s\n", r->name, r->t->target[k].name, 50 * 2048 / best * 1e-9);
    }
}

static void test_unary(Test *t, const Case *c)
{
    Run r = {.t = t, .name = c->name};
    for (int k = 0; k < t->n_targets; k++) r.loop[k] = compile(t, &t->target[k], c->name, false, LANES, 1);
    if (t->bench) {
        bench(&r, 1);
        return;
    }
    static float x[CHUNK];
    uint64_t stride = t->full ? 1 : 1021;
    long n = 0;
    for (uint64_t u = 0; u < UINT64_C(1) << 32; u += stride) {
        x[n++] = of_bits((uint32_t)u);
        if (n == CHUNK) run_chunk(&r, c->ref, x, n), n = 0;
    }
    /* The neighbourhood of every binade's ends and middle, which holds all special values. */
    for (uint32_t top = 0; top < 1024; top++)
        for (int d = -8; d < 8; d++) {
            x[n++] = of_bits((top << 22) + (uint32_t)d);
            if (n == CHUNK) run_chunk(&r, c->ref, x, n), n = 0;
        }
    while (n % LANES) x[n++] = 1;
    run_chunk(&r, c->ref, x, n);
    report(&r, c->bar, 1);
}

/* ---- pow */

/* xorshift64* */
static uint64_t next_random(uint64_t *s)
{
    *s ^= *s >> 12, *s ^= *s << 25, *s ^= *s >> 27;
    return *s * UINT64_C(2685821657736338717);
}

static void run_pairs(Run *r, const float *x0, const float *x1, long n)
{
    static float y[CHUNK];
    for (int k = 0; k < r->t->n_targets; k++) {
        if (!r->loop[k]) continue;
        bool flush = r->t->target[k].flush;
        if (flush) set_flush(true);
        ((Loop2)(void (*)(void))r->loop[k])(x0, x1, y, n);
        if (flush) set_flush(false);
        for (long i = 0; i < n; i++) {
            float a = x0[i], b = x1[i];
            if (flush && fpclassify(a) == FP_SUBNORMAL) a = copysignf(0, a);
            if (flush && fpclassify(b) == FP_SUBNORMAL) b = copysignf(0, b);
            note(&r->worst[k], x0[i], x1[i], y[i], pow((double)a, (double)b), flush);
        }
    }
}

static void test_pow(Test *t)
{
    Run r = {.t = t, .name = "pow"};
    for (int k = 0; k < t->n_targets; k++) r.loop[k] = compile(t, &t->target[k], "pow", false, LANES, 2);
    if (t->bench) {
        bench(&r, 2);
        return;
    }
    static float x[CHUNK], y[CHUNK];
    static const float special[] = {
        0, 0x1p-149f, 0x1.8p-140f, 0x1p-126f, 0x1.fffffcp-127f, 0x1p-24f, 0.25f, 0.5f, 0x1.fffffep-1f, 1, 1.5f, 2,
        3, 4, 5, 0.1f, 127, 128, 149, 150, 8388607, 8388609, 8388607.5f, 16777215, 16777216, 16777218, 33554430,
        0x1p31f, 0x1p32f, 0x1p64f, 0x1p127f, 1e30f, 0x1.fffffep127f, INFINITY, NAN, 0x1.000002p0f, 1e-30f,
        2147483648.0f, 4194303.5f, 7.000001f,
    };
    enum { N = sizeof special / sizeof *special };
    long n = 0;
    for (int i = 0; i < 2 * N; i++)
        for (int j = 0; j < 2 * N; j++) {
            x[n] = i < N ? special[i] : -special[i - N];
            y[n++] = j < N ? special[j] : -special[j - N];
            if (n == CHUNK) run_pairs(&r, x, y, n), n = 0;
        }
    while (n % LANES) x[n] = y[n] = 1, n++;
    run_pairs(&r, x, y, n);
    uint64_t seed = 88172645463325252u, chunks = t->full ? 50000 : 250;
    for (uint64_t c = 0; c < chunks; c++) {
        for (n = 0; n < CHUNK; n++) {
            uint64_t a = next_random(&seed), b = next_random(&seed);
            double u = (double)(b >> 11) * 0x1p-53;
            double spread = (double)(a >> 11) * 0x1p-53, power = u * 300 - 160;
            switch (c % 5) {
            case 0: /* anything */ x[n] = of_bits((uint32_t)a), y[n] = of_bits((uint32_t)b); break;
            case 1: /* any base, any result */
                x[n] = of_bits((uint32_t)a & 0x7fffffff), y[n] = (float)(power / log2((double)x[n]));
                break;
            case 2: /* a base near one, any result */
                x[n] = (float)(1 + (spread - 0.5) * 0x1p-6), y[n] = (float)(power / log2((double)x[n]));
                break;
            case 3: /* whole exponents */ x[n] = (float)(spread * 8 - 4), y[n] = (float)(int)(b % 41) - 20; break;
            default: /* everyday */ x[n] = (float)(spread * 32), y[n] = (float)(u * 8 - 4);
            }
        }
        run_pairs(&r, x, y, CHUNK);
    }
    report(&r, WIDE, 2);
}

/* ---- other lane counts, double precision */

static void call(Loop loop, unsigned n_args, const void *x0, const void *x1, void *y)
{
    if (n_args == 1) loop(x0, y, CHUNK);
    else ((Loop2)(void (*)(void))loop)(x0, x1, y, CHUNK);
}

/* One, two and eight lanes give the bits that sixteen give. */
static void test_lanes(Test *t, const char *name, unsigned n_args)
{
    static float x[2][CHUNK], y[CHUNK], z[CHUNK];
    for (uint32_t i = 0; i < CHUNK; i++) x[0][i] = of_bits(i * 1048573u), x[1][i] = (float)(i % 37) / 2 - 9;
    Loop all = compile(t, &t->target[0], name, false, 16, n_args);
    if (!all) return;
    call(all, n_args, x[0], x[1], y);
    for (unsigned lanes = 1; lanes < 16; lanes = lanes == 1 ? 2 : lanes * 4) {
        char what[64];
        snprintf(what, sizeof what, "%s with %u lanes", name, lanes);
        call(compile(t, &t->target[0], name, false, lanes, n_args), n_args, x[0], x[1], z);
        bool same = true;
        for (int i = 0; i < CHUNK; i++) same &= bits_of(y[i]) == bits_of(z[i]) || (isnan(y[i]) && isnan(z[i]));
        check(t, same, what, "differs from 16 lanes");
    }
}

/* `ref` NULL: pow */
static void test_f64(Test *t, const char *name, Ref ref)
{
    static double x[2][CHUNK], y[CHUNK];
    uint64_t seed = 42;
    for (int i = 0; i < CHUNK; i++) {
        uint64_t u = next_random(&seed);
        if (i % 2) x[0][i] = (double)(int64_t)u * 0x1p-60;
        else memcpy(&x[0][i], &u, 8);
        x[1][i] = i % 37 / 2.0 - 9;
    }
    char what[64];
    snprintf(what, sizeof what, "%s in double", name);
    Loop loop = compile(t, &t->target[0], name, true, 4, ref ? 1 : 2);
    if (!loop) {
        check(t, false, what, "math_function gives no such function");
        return;
    }
    call(loop, ref ? 1 : 2, x[0], x[1], y);
    bool ok = true;
    for (int i = 0; i < CHUNK; i++) {
        double r = ref ? ref(x[0][i]) : pow(x[0][i], x[1][i]);
        ok &= isnan(r) ? isnan(y[i]) : y[i] == r || fabs(y[i] - r) <= 4 * 0x1p-53 * fabs(r) + 0x1p-1074;
    }
    check(t, ok, what, "differs from libm");
}

/* Lanes in double precision: the largest error in ULP over the range of exp, for every target, against long double. */
static void test_exp_f64(Test *t)
{
    static double x[CHUNK], y[CHUNK];
    static const double edge[] = {0, -0.0, INFINITY, -INFINITY, NAN, 0x1p-60, 0x1p-1074, 1e300, -1e300,
                                  709.78271289338397, 709.78271289338409, -708.39641853226408, -708.4,
                                  -745.13321910194111, -745.13321910194122, -745.2};
    enum { N_EDGE = sizeof edge / sizeof *edge };
    for (int k = 0; k < t->n_targets; k++) {
        char what[64];
        double worst = 0, at = 0;
        uint64_t seed = 7;
        bool ends = true;
        Loop loop = compile(t, &t->target[k], "exp", true, LANES, 1);
        if (!loop) {
            check(t, false, "exp in double", "math_function gives no such function");
            continue;
        }
        for (int chunk = 0; chunk < (t->full ? 4096 : 64); chunk++) {
            double span = chunk % 2 ? 0x1p-63 * 746 : 0x1p-61;
            for (int i = 0; i < CHUNK; i++) x[i] = (double)(int64_t)next_random(&seed) * span;
            for (int i = 0; i < N_EDGE && !chunk; i++) x[i] = edge[i];
            call(loop, 1, x, NULL, y);
            for (int i = 0; i < CHUNK; i++) {
                long double r = expl((long double)x[i]);
                double near = (double)r;
                if (isnan(near) || isinf(near) || near == 0) {
                    ends &= isnan(near) ? isnan(y[i]) : y[i] == near;
                    continue;
                }
                if (near < 0x1p-1022 && t->target[k].flush) continue;
                int e;
                frexp(near, &e);
                double ulp = (double)(fabsl((long double)y[i] - r) / ldexpl(1, e - 53 < -1074 ? -1074 : e - 53));
                if (!(ulp <= worst)) worst = ulp, at = x[i];
            }
        }
        snprintf(what, sizeof what, "exp in double, %s", t->target[k].name);
        printf("%-9s %-9s max %.3f ULP at (%a), in double\n", "exp", t->target[k].name, worst, at);
        check(t, worst < 1, what, "is wrong by more than its bar");
        check(t, ends, what, "is wrong at infinity, zero or NaN");
    }
}

static bool wanted(int argc, char **argv, const char *name)
{
    bool any = false, hit = false;
    for (int i = 1; i < argc; i++)
        if (argv[i][0] != '-') any = true, hit |= strcmp(argv[i], name) == 0;
    return hit || !any;
}

int main(int argc, char **argv)
{
    Test t = {0};
    for (int i = 1; i < argc; i++) {
        t.full |= strcmp(argv[i], "--full") == 0;
        t.bench |= strcmp(argv[i], "--bench") == 0;
        t.dump |= strcmp(argv[i], "--dump") == 0;
    }
    LLVMInitializeNativeTarget();
    LLVMInitializeNativeAsmPrinter();
    die_on(LLVMOrcCreateLLJIT(&t.jit, NULL));
    LLVMOrcDefinitionGeneratorRef process;
    die_on(
        LLVMOrcCreateDynamicLibrarySearchGeneratorForProcess(&process, LLVMOrcLLJITGetGlobalPrefix(t.jit), NULL, NULL));
    LLVMOrcJITDylibAddGenerator(LLVMOrcLLJITGetMainJITDylib(t.jit), process);

    char *cpu = LLVMGetHostCPUName(), *features = LLVMGetHostCPUFeatures();
    bool fma = true;
#if defined __x86_64__
    fma = __builtin_cpu_supports("fma");
    add_target(&t, "host", cpu, features, fma, false);
    if (fma && __builtin_cpu_supports("avx2")) add_target(&t, "v3", "x86-64-v3", "", true, false);
    add_target(&t, "baseline", "x86-64", "", false, false);
    add_target(&t, "host-ftz", cpu, features, fma, true);
    add_target(&t, "base-ftz", "x86-64", "", false, true);
#else
    add_target(&t, "host", cpu, features, fma, false);
#endif

    check(&t, !compile(&t, &t.target[0], "nonsense", false, LANES, 1), "an unknown name", "gives a function");
    for (int i = 0; i < N_CASES; i++) {
        if (!wanted(argc, argv, cases[i].name)) continue;
        test_unary(&t, &cases[i]);
        fflush(stdout);
        if (t.bench) continue;
        test_lanes(&t, cases[i].name, 1);
        test_f64(&t, cases[i].name, cases[i].ref);
    }
    if (wanted(argc, argv, "exp") && !t.bench) test_exp_f64(&t);
    if (wanted(argc, argv, "pow")) {
        test_pow(&t);
        if (!t.bench) test_lanes(&t, "pow", 2), test_f64(&t, "pow", NULL);
    }
    for (int k = 0; k < t.n_targets; k++) LLVMDisposeTargetMachine(t.target[k].tm);
    LLVMDisposeMessage(cpu);
    LLVMDisposeMessage(features);
    die_on(LLVMOrcDisposeLLJIT(t.jit));
    printf("%d passed, %d failed\n", t.passed, t.failed);
    return t.failed != 0;
}
