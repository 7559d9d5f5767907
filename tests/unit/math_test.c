/* math_test: the vector functions of codegen/math against the C library in double precision.
 *
 *   math_test [--full] [--bench] [--dump] [NAME...]
 *
 * Every function is compiled for this CPU, for x86-64-v3 and for baseline x86-64 (no fused multiply-add), and for the
 * first and the last once more with denormals flushed. It runs over a strided part of all floats, or all of them
 * (--full), and the largest error is printed in units in the last place of the correct result, with the input that
 * made it. pow runs over random pairs and all pairs of special values. Functions of doubles run over random and special
 * ones, against long double.
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

/* ---- other lane counts */

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

/* ---- double precision */

typedef struct Case64 {
    const char *name;
    long double (*ref)(long double);
    double bar, lo, hi; /* ULP; where most of the arguments lie, the others are any doubles */
} Case64;

static long double ref_sigmoidl(long double x) { return 1 / (1 + expl(-x)); }
static long double ref_softplusl(long double x) { return (x > 0 ? x : 0) + log1pl(expl(-fabsl(x))); }

static const Case64 cases64[] = {
    {"exp", expl, 1, -746, 710}, {"exp2", exp2l, 3, -1076, 1025}, {"expm1", expm1l, 3, -40, 4},
    {"tanh", tanhl, 3, -4, 4}, {"sinh", sinhl, 3, -4, 4}, {"cosh", coshl, 3, -4, 4}, {"log", logl, 3, 0, 4},
    {"log1p", log1pl, 3, -1, 4}, {"sigmoid", ref_sigmoidl, 3, -40, 40}, {"softplus", ref_softplusl, 3, -40, 40},
    {"asinh", asinhl, 3, -4, 4}, {"acosh", acoshl, 3, 1, 4}, {"atanh", atanhl, 3, -1, 1}, {"sin", sinl, 3, -40, 40},
    {"cos", cosl, 3, -40, 40}, {"tan", tanl, 3, -40, 40}, {"asin", asinl, 3, -1, 1}, {"acos", acosl, 3, -1, 1},
    {"atan", atanl, 3, -4, 4}, {"erf", erfl, 3, -4, 4}, {"log2", log2l, 3, 0, 4}, {"log10", log10l, 3, 0, 4},
};
enum { N_CASES64 = sizeof cases64 / sizeof *cases64 };

static const double edge64[] = {
    0, INFINITY, NAN, 0x1p-1074, 0x1.8p-1060, 0x1p-1022, 0x1.fffffffffffffp-1023, 0x1p-60, 0x1p-54, 0x1p-53, 0x1p-29,
    0x1p-28, 0x1.fffffffffffffp-29, 0.5, 0x1.fffffffffffffp-2, 0x1.fffffffffffffp-1, 1, 0x1.0000000000001p0, 1.5, 2,
    3, 20, 40, 709.78271289338397, 709.78271289338409, 710.4758600739439, 710.47586007394398, 710.7, 708.39641853226408,
    708.4, 745.13321910194111, 745.13321910194122, 745.2, 1023.99, 1024, 1074.9, 1075.1, 0x1p26, 0x1.fffffffffffffp25,
    0x1p27, 0x1p28, 0x1p52, 0x1p53, 0x1p512, 0x1.fffffffffffffp1023, 0x1.921fb54442d18p+0, 0x1.921fb54442d18p+1,
    0x1.921fb54442d18p+2, 0x1.2d97c7f3321d2p+2, 0x1.4442d18p+20, 0x1.6a09e667f3bcdp-1, 0x1.6a09e667f3bccp-1,
    0x1.6a09e667f3bcdp0, 0x1.a827999fcef32p-2, 0x1.3504f333f9de6p1, 52707178.461, 0x1.6ac5b262ca1ffp+24, 1e300,
};
enum { N_EDGE64 = sizeof edge64 / sizeof *edge64 };

typedef struct Worst64 {
    double ulp, at[2];
    bool ends; /* right where the result is no finite number but 0 */
} Worst64;

static void note64(Worst64 *w, const double *x, double got, long double r, bool flush)
{
    double near = (double)r;
    if (flush && fabs(near) < 0x1.0001p-1022) return;
    if (isnan(near) || isinf(near) || near == 0) {
        /* a zero has its sign; what is about to overflow may */
        bool same = isnan(near) ? isnan(got) : got == near && !signbit(got) == !signbit(near);
        if (isinf(near) && !isinf(r) && fabs(got) >= 0x1.ffffffffffffep1023) same = true;
        if (!same && w->ends) w->at[0] = x[0], w->at[1] = x[1];
        w->ends &= same;
        return;
    }
    int k;
    frexp(near, &k);
    double ulp = (double)(fabsl((long double)got - r) / ldexpl(1, k - 53 < -1074 ? -1074 : k - 53));
    if (!(ulp <= w->ulp)) w->ulp = ulp, w->at[0] = x[0], w->at[1] = x[1];
}

static double any_double(uint64_t *seed)
{
    uint64_t u = next_random(seed);
    double x;
    memcpy(&x, &u, 8);
    return x;
}

static double between(uint64_t *seed, double lo, double hi)
{
    return lo + (hi - lo) * ((double)(next_random(seed) >> 11) * 0x1p-53);
}

static void report64(Test *t, const char *name, const char *target, const Worst64 *w, double bar)
{
    char what[64];
    snprintf(what, sizeof what, "%s in double, %s", name, target);
    printf("%-9s %-9s max %.3f ULP at (%a, %a), in double\n", name, target, w->ulp, w->at[0], w->at[1]);
    check(t, w->ulp < bar, what, "is wrong by more than its bar");
    check(t, w->ends, what, "is wrong at infinity, zero or NaN");
}

/* Lanes in double precision against long double, on every target; one, two and four lanes give the same bits. */
static void test_f64(Test *t, const Case64 *c)
{
    static double x[CHUNK], y[CHUNK], z[CHUNK];
    for (int k = 0; k < t->n_targets; k++) {
        Worst64 w = {.ends = true};
        uint64_t seed = 7;
        bool flush = t->target[k].flush, same = true;
        Loop loop[4];
        for (unsigned l = k < 2 ? 0 : 3; l < 4; l++)
            loop[l] = compile(t, &t->target[k], c->name, true, l == 3 ? LANES : 1u << l, 1);
        if (!loop[3]) {
            check(t, false, c->name, "math_function gives no such function in double");
            continue;
        }
        for (int chunk = 0; chunk < (t->full ? 2000 : 16); chunk++) {
            for (int i = 0; i < CHUNK; i++)
                x[i] = chunk % 4 == 3   ? any_double(&seed)
                       : chunk % 4 == 2 ? ldexp(between(&seed, -2, 2), (int)(i % 80) - 70)
                                        : between(&seed, c->lo, c->hi);
            for (int i = 0; i < N_EDGE64 && chunk == 0; i++) x[2 * i] = edge64[i], x[2 * i + 1] = -edge64[i];
            if (flush) set_flush(true);
            loop[3](x, y, CHUNK);
            for (int l = 0; l < 3 && k < 2 && chunk < 4; l++) {
                loop[l](x, z, CHUNK);
                for (int i = 0; i < CHUNK; i++) same &= memcmp(&y[i], &z[i], 8) == 0 || (y[i] != y[i] && z[i] != z[i]);
            }
            if (flush) set_flush(false);
            for (int i = 0; i < CHUNK; i++) {
                long double r = c->ref((long double)x[i]);
                /* a denormal is zero, or what it is: the C library looks at bits */
                if (flush && fpclassify(x[i]) == FP_SUBNORMAL && y[i] != (double)r) r = c->ref(copysignl(0, x[i]));
                note64(&w, (double[]){x[i], 0}, y[i], r, flush);
            }
        }
        report64(t, c->name, t->target[k].name, &w, c->bar);
        check(t, same, c->name, "has other bits with fewer lanes, in double");
    }
}

static void test_pow_f64(Test *t)
{
    static double x[2][CHUNK], y[CHUNK];
    for (int k = 0; k < t->n_targets; k++) {
        Worst64 w = {.ends = true};
        uint64_t seed = 9;
        bool flush = t->target[k].flush;
        Loop2 loop = (Loop2)(void (*)(void))compile(t, &t->target[k], "pow", true, LANES, 2);
        for (int chunk = 0; chunk < (t->full ? 2000 : 20) + N_EDGE64; chunk++) {
            for (int i = 0; i < CHUNK; i++) {
                double a = any_double(&seed), b = any_double(&seed), r = between(&seed, -1080, 1030);
                if (chunk < N_EDGE64) {
                    a = chunk % 2 ? -edge64[chunk] : edge64[chunk];
                    b = i < 2 * N_EDGE64 ? edge64[i / 2] : i < 4 * N_EDGE64 ? (double)(i / 4) : i / 8.0;
                    if (i % 2) b = -b;
                } else if (chunk % 4 == 1) a = fabs(a), b = r / log2(a);
                else if (chunk % 4 == 2) a = 1 + ldexp(between(&seed, -1, 1), -i % 20), b = r / log2(a);
                else if (chunk % 4 == 3) a = between(&seed, -8, 8), b = i % 41 - 20;
                x[0][i] = a, x[1][i] = b;
            }
            if (flush) set_flush(true);
            loop(x[0], x[1], y, CHUNK);
            if (flush) set_flush(false);
            for (int i = 0; i < CHUNK; i++) {
                double a = x[0][i], b = x[1][i];
                long double r = powl((long double)a, (long double)b);
                if (flush && y[i] != (double)r) {
                    if (fpclassify(a) == FP_SUBNORMAL) a = copysign(0, a);
                    if (fpclassify(b) == FP_SUBNORMAL) b = copysign(0, b);
                    r = powl((long double)a, (long double)b);
                }
                note64(&w, (double[]){a, b}, y[i], r, flush);
            }
        }
        report64(t, "pow", t->target[k].name, &w, 3);
    }
}

/* fmod: the bits of C's, but that a NaN is any; with denormals flushed those are zeros. */
static void test_fmod(Test *t, bool wide)
{
    static float x[2][CHUNK], y[CHUNK];
    static double x64[2][CHUNK], y64[CHUNK];
    for (int k = 0; k < t->n_targets; k++) {
        uint64_t seed = 5;
        bool flush = t->target[k].flush;
        long wrong = 0;
        char what[160] = "fmod";
        for (unsigned lanes = LANES; lanes; lanes = lanes == LANES ? 1 : 0) {
            Loop2 loop = (Loop2)(void (*)(void))compile(t, &t->target[k], "fmod", wide, lanes, 2);
            for (int chunk = 0; chunk < (t->full ? 2000 : 24) + N_EDGE64; chunk++) {
                for (int i = 0; i < CHUNK; i++) {
                    double a = any_double(&seed), b = any_double(&seed);
                    if (!wide) a = (double)of_bits((uint32_t)(next_random(&seed) >> 9));
                    if (!wide) b = (double)of_bits((uint32_t)(next_random(&seed) >> 9));
                    if (chunk < N_EDGE64) a = edge64[chunk] * (i % 2 ? -1 : 1), b = edge64[i / 2 % N_EDGE64];
                    else if (chunk % 4 == 1) a = between(&seed, -9, 9), b = between(&seed, -2, 2);
                    else if (chunk % 4 == 2) b = ldexp(a, -(i / LANES % 70)) * (i % 3 ? between(&seed, 0.5, 1) : 1);
                    else if (chunk % 4 == 3) b = i % 40 - 20, a = b * (double)(next_random(&seed) % 100000 >> i % 16);
                    x64[0][i] = a, x64[1][i] = b, x[0][i] = (float)a, x[1][i] = (float)b;
                }
                if (flush) set_flush(true);
                if (wide) loop(x64[0], x64[1], y64, CHUNK);
                else loop(x[0], x[1], y, CHUNK);
                if (flush) set_flush(false);
                for (int i = 0; i < CHUNK; i++) {
                    double a = wide ? x64[0][i] : (double)x[0][i], b = wide ? x64[1][i] : (double)x[1][i];
                    double got = wide ? y64[i] : (double)y[i], least = wide ? 0x1p-1022 : 0x1p-126;
                    double want = fmod(a, flush && fabs(b) < least ? 0 : b);
                    bool same = memcmp(&want, &got, 8) == 0 || (isnan(want) && isnan(got));
                    if (flush && fabs(want) < least) same |= got == 0;
                    if (!same && !wrong++)
                        snprintf(what, sizeof what, "fmod(%a, %a) = %a, got %a, %s", a, b, want, got, t->target[k].name);
                }
            }
        }
        check(t, !wrong, what, "is not C's");
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
    }
    for (int i = 0; i < N_CASES64; i++)
        if (wanted(argc, argv, cases64[i].name) && !t.bench) test_f64(&t, &cases64[i]);
    if (wanted(argc, argv, "pow")) {
        test_pow(&t);
        if (!t.bench) test_lanes(&t, "pow", 2), test_pow_f64(&t);
    }
    if (wanted(argc, argv, "fmod") && !t.bench) test_fmod(&t, false), test_fmod(&t, true);
    for (int k = 0; k < t.n_targets; k++) LLVMDisposeTargetMachine(t.target[k].tm);
    LLVMDisposeMessage(cpu);
    LLVMDisposeMessage(features);
    die_on(LLVMOrcDisposeLLJIT(t.jit));
    printf("%d passed, %d failed\n", t.passed, t.failed);
    return t.failed != 0;
}
