/* target.c: what a target can do. The C API has no question for it, so LLVM's own answer is used: a function may be
 * inlined into another only when the features that it was compiled for are there. For every feature of
 * runtime/rt_cpu.h one tiny callee is made and inlined into a caller for the cpu in question; the features whose
 * call is gone are the cpu's. This covers every cpu name and feature string with no table of ours. */
#include "codegen/cg.h"
#include "runtime/rt_cpu.h"

#include <llvm-c/Error.h>
#include <llvm-c/Target.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <string.h>
#include <unistd.h>

typedef enum Arch { ARCH_NONE, ARCH_X86, ARCH_ARM } Arch;
typedef struct Feature {
    int bit;
    const char *name;
} Feature;

static const Feature x86_features[] = {
#define X(bit, name, leaf, sub, reg, at, state) {bit, name},
    RT_CPU_X86(X)
#undef X
};
static const Feature arm_features[] = {
#define X(bit, name, word, at) {bit, name},
    RT_CPU_ARM(X)
#undef X
};

static Arch arch_of(const char *triple)
{
    return !strncmp(triple, "x86_64", 6)                                    ? ARCH_X86
           : !strncmp(triple, "aarch64", 7) || !strncmp(triple, "arm64", 5) ? ARCH_ARM
                                                                            : ARCH_NONE;
}

void target_init_llvm(void)
{
    LLVMInitializeX86TargetInfo(), LLVMInitializeX86Target(), LLVMInitializeX86TargetMC(),
        LLVMInitializeX86AsmPrinter();
    LLVMInitializeAArch64TargetInfo(), LLVMInitializeAArch64Target(), LLVMInitializeAArch64TargetMC(),
        LLVMInitializeAArch64AsmPrinter();
}

/* ---- asking LLVM ---- */
static void string_attribute(LLVMContextRef cx, LV fn, const char *name, const char *value)
{
    LLVMAddAttributeAtIndex(
        fn, LLVMAttributeFunctionIndex,
        LLVMCreateStringAttribute(cx, name, (unsigned)strlen(name), value, (unsigned)strlen(value)));
}

static LV constant_function(LLVMContextRef cx, LLVMModuleRef mod, LLVMBuilderRef b, int k)
{
    LT i32 = LLVMInt32TypeInContext(cx);
    LV fn = LLVMAddFunction(mod, "", LLVMFunctionType(i32, NULL, 0, false));
    LLVMSetLinkage(fn, LLVMInternalLinkage);
    LLVMPositionBuilderAtEnd(b, LLVMAppendBasicBlockInContext(cx, fn, ""));
    LLVMBuildRet(b, LLVMConstInt(i32, (unsigned)k, false));
    return fn;
}

typedef struct FeatureList {
    const Feature *p;
    size_t n;
} FeatureList;
static FeatureList features_list(Arch arch)
{
    if (arch == ARCH_X86) return (FeatureList){x86_features, sizeof x86_features / sizeof *x86_features};
    return (FeatureList){arm_features, sizeof arm_features / sizeof *arm_features};
}

/* What the feature string itself says: 1 there, 0 not there, -1 nothing. The last word counts. */
static int said(const char *features, const char *name)
{
    size_t n = strlen(name);
    int r = -1;
    for (const char *p = features; p && *p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
        if ((*p == '+' || *p == '-') && !strncmp(p + 1, name, n) && (p[n + 1] == ',' || !p[n + 1])) r = *p == '+';
    return r;
}

/* Sets the bits of those features in `ask` that cpu + features have. One subtarget is made per feature asked: about
 * half a millisecond each. */
static bool ask_llvm(const KTarget *t, const bool ask[64], uint64_t have[RT_CPU_WORDS])
{
    Arch arch = arch_of(t->triple);
    FeatureList list = features_list(arch);
    LLVMTargetRef target;
    char *error = NULL;
    target_init_llvm();
    if (LLVMGetTargetFromTriple(t->triple, &target, &error)) {
        LLVMDisposeMessage(error);
        return false;
    }
    const char *base = arch == ARCH_X86 ? "x86-64" : "generic";
    LLVMTargetMachineRef tm =
        LLVMCreateTargetMachine(target, t->triple, base, "", LLVMCodeGenLevelLess, LLVMRelocPIC, LLVMCodeModelDefault);
    LLVMContextRef cx = LLVMContextCreate();
    LLVMModuleRef mod = LLVMModuleCreateWithNameInContext("features", cx);
    LLVMBuilderRef b = LLVMCreateBuilderInContext(cx);
    LLVMSetTarget(mod, t->triple);
    LT i32 = LLVMInt32TypeInContext(cx), type = LLVMFunctionType(i32, NULL, 0, false);
    LV caller[64];
    for (size_t i = 0; i < list.n; i++) {
        if (!ask[i]) continue;
        char plus[64] = "+";
        strncat(plus, list.p[i].name, sizeof plus - 2);
        LV callee = constant_function(cx, mod, b, (int)i);
        string_attribute(cx, callee, "target-cpu", base);
        string_attribute(cx, callee, "target-features", plus);
        caller[i] = LLVMAddFunction(mod, "caller", type);
        string_attribute(cx, caller[i], "target-cpu", t->cpu);
        if (t->features && *t->features) string_attribute(cx, caller[i], "target-features", t->features);
        LLVMPositionBuilderAtEnd(b, LLVMAppendBasicBlockInContext(cx, caller[i], ""));
        LLVMBuildRet(b, LLVMBuildCall2(b, type, callee, NULL, 0, ""));
    }
    LLVMPassBuilderOptionsRef o = LLVMCreatePassBuilderOptions();
    LLVMErrorRef e = LLVMRunPasses(mod, "cgscc(inline)", tm, o);
    bool ok = !e;
    if (e) LLVMConsumeError(e);
    for (size_t i = 0; i < list.n; i++) {
        if (!ask[i]) continue;
        LV ret = LLVMGetBasicBlockTerminator(LLVMGetEntryBasicBlock(caller[i]));
        if (LLVMIsAConstantInt(LLVMGetOperand(ret, 0))) have[list.p[i].bit / 64] |= 1ull << list.p[i].bit % 64;
    }
    LLVMDisposePassBuilderOptions(o);
    LLVMDisposeBuilder(b);
    LLVMDisposeModule(mod);
    LLVMContextDispose(cx);
    LLVMDisposeTargetMachine(tm);
    return ok;
}

/* The levels of the x86-64 psABI, so that the common names need no question. */
static bool known_level(const char *cpu, uint64_t have[RT_CPU_WORDS])
{
    static const char *const level[] = {"", "popcnt sse3 sse4.1 sse4.2 ssse3 ",
                                        "avx avx2 bmi bmi2 f16c fma lzcnt movbe ",
                                        "avx512f avx512bw avx512cd avx512dq avx512vl "};
    static const char *const name[] = {"x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4"};
    for (int l = 0; l < 4; l++) {
        if (strcmp(cpu, name[l])) continue;
        for (int k = 1; k <= l; k++)
            for (size_t i = 0; i < sizeof x86_features / sizeof *x86_features; i++) {
                const char *at = strstr(level[k], x86_features[i].name);
                size_t n = strlen(x86_features[i].name);
                while (at && !(at[n] == ' ' && (at == level[k] || at[-1] == ' ')))
                    at = strstr(at + 1, x86_features[i].name);
                if (at) have[x86_features[i].bit / 64] |= 1ull << x86_features[i].bit % 64;
            }
        return true;
    }
    return false;
}

/* Bits of the features in the list that cpu + features have. `anew`: LLVM is asked even where we know. */
static bool features_of(const KTarget *t, bool anew, uint64_t have[RT_CPU_WORDS])
{
    Arch arch = arch_of(t->triple);
    FeatureList list = features_list(arch);
    bool ask[64], any = false;
    memset(have, 0, RT_CPU_WORDS * sizeof *have);
    if (arch == ARCH_NONE) return false;
    assert(list.n <= 64);
    bool level = !anew && arch == ARCH_X86 && known_level(t->cpu, have);
    for (size_t i = 0; i < list.n; i++) {
        int s = anew ? -1 : said(t->features, list.p[i].name);
        uint64_t bit = 1ull << list.p[i].bit % 64, *word = &have[list.p[i].bit / 64];
        if (s == 1) *word |= bit;
        if (s == 0) *word &= ~bit;
        any |= ask[i] = s < 0 && !level && strcmp(list.p[i].name, "cx16") &&
                        strcmp(list.p[i].name, "sahf"); /* no obstacle to inlining: unknown */
    }
    return !any || ask_llvm(t, ask, have);
}

static bool has(const char *triple, const uint64_t have[RT_CPU_WORDS], const char *name)
{
    Arch arch = arch_of(triple);
    const Feature *list = arch == ARCH_X86 ? x86_features : arm_features;
    size_t n = arch == ARCH_X86 ? sizeof x86_features / sizeof *list : sizeof arm_features / sizeof *list;
    for (size_t i = 0; i < n; i++)
        if (!strcmp(list[i].name, name)) return have[list[i].bit / 64] >> list[i].bit % 64 & 1;
    return false;
}

void target_cpu_need(const KTarget *t, uint64_t need[2]) { features_of(t, false, need); }

void target_cpu_need_asked(const KTarget *t, uint64_t need[2]) { features_of(t, true, need); }

CgIsa target_isa(const KTarget *t)
{
    uint64_t have[RT_CPU_WORDS];
    CgIsa isa = {.x86 = arch_of(t->triple) == ARCH_X86, .arm = arch_of(t->triple) == ARCH_ARM};
    features_of(t, false, have);
    if (isa.arm) {
        isa.f16c = isa.fma = true; /* base ISA */
        return isa;
    }
    isa.sse41 = has(t->triple, have, "sse4.1");
    isa.avx = has(t->triple, have, "avx");
    isa.avx2 = has(t->triple, have, "avx2");
    isa.f16c = has(t->triple, have, "f16c");
    isa.fma = has(t->triple, have, "fma");
    isa.bf16 = has(t->triple, have, "avx512bf16");
    isa.avx512_vnni = has(t->triple, have, "avx512vnni");
    isa.avx_vnni = has(t->triple, have, "avxvnni");
    isa.amx_bf16 = has(t->triple, have, "amx-tile") && has(t->triple, have, "amx-bf16");
    isa.avx512 = has(t->triple, have, "avx512f") && has(t->triple, have, "avx512vl") &&
                 has(t->triple, have, "avx512bw") && has(t->triple, have, "avx512dq");
    return isa;
}

/* ---- names ---- */
typedef struct CpuName {
    Arch arch;
    const char *name;
} CpuName;
static const CpuName cpus[] = {
#define CPU(arch, name) {ARCH_##arch, name},
#include "codegen/cpus.def"
#undef CPU
};

const char *const *codegen_cpus(Arena *a, const char *triple)
{
    size_t n = 0, total = sizeof cpus / sizeof *cpus;
    Arch arch = arch_of(triple);
    const char **list = arena_array(a, const char *, total + 1);
    for (size_t i = 0; i < total; i++)
        if (cpus[i].arch == arch) list[n++] = cpus[i].name;
    return list;
}

static bool cpu_known(Arch arch, const char *name)
{
    for (size_t i = 0; i < sizeof cpus / sizeof *cpus; i++)
        if (cpus[i].arch == arch && !strcmp(cpus[i].name, name)) return true;
    return false;
}

/* KTarget.far_rate of those cores that do better than the least, by the beginning of their name. A core complex of Zen has its L3 beside it: 27 bytes a
 * cycle by a bare loop on Zen 5 (32 is what the bus carries). Behind the mesh of Intel's servers it is 9 to 10. */
static uint16_t far_rate(const char *cpu)
{
    static const struct { const char *name; uint16_t rate; } far[] = {{"znver", 24}};
    for (size_t i = 0; i < sizeof far / sizeof *far; i++)
        if (!strncmp(cpu, far[i].name, strlen(far[i].name))) return far[i].rate;
    return 0;
}

static uint32_t cache_bytes(int which, uint32_t otherwise)
{
    long n = sysconf(which);
    return n > 0 && n < (1l << 30) ? (uint32_t)n : otherwise;
}

bool codegen_target(Arena *a, Diag *d, const char *triple, const char *cpu, KTarget *out)
{
    target_init_llvm();
    char *host = LLVMGetDefaultTargetTriple();
    char *host_name = arena_strdup(a, host);
    LLVMDisposeMessage(host);
    char *normal = LLVMNormalizeTargetTriple(triple ? triple : host_name);
    const char *t = triple ? arena_strdup(a, normal) : host_name;
    LLVMDisposeMessage(normal);
    Arch arch = arch_of(t);
    if (arch == ARCH_NONE)
        return diag(d, diag_file(NULL), E_BAD_TARGET, triple ? triple : t, "bmc makes code for x86_64 and aarch64");
    if (!strstr(t, "linux") && !strstr(t, "elf"))
        return diag(d, diag_file(NULL), E_BAD_TARGET, triple ? triple : t, "bmc writes ELF files; no such system");
    bool here = arch == arch_of(host_name), native = !cpu || !strcmp(cpu, "native");
    if (native && cpu && !here) return diag(d, diag_file(NULL), E_BAD_CPU, cpu, t);
    *out = (KTarget){.triple = t, .cpu = cpu, .features = ""};
    if (native && here) {
        char *name = LLVMGetHostCPUName(), *features = LLVMGetHostCPUFeatures();
        out->cpu = arena_strdup(a, name);
        out->features = arena_strdup(a, features); /* a virtual machine may lack what the cpu has */
        LLVMDisposeMessage(name);
        LLVMDisposeMessage(features);
    } else if (native) {
        out->cpu = arch == ARCH_X86 ? "x86-64-v3" : "generic";
    } else if (!cpu_known(arch, cpu)) {
        return diag(d, diag_file(NULL), E_BAD_CPU, cpu, t);
    }
    CgIsa isa = target_isa(out);
    out->fma = isa.fma;
    out->vec_bits = isa.avx512 ? 512 : isa.avx ? 256 : 128;
    out->vec_regs = isa.avx512 || isa.arm ? 32 : 16;
    if (isa.avx512 && isa.amx_bf16) out->bf16 = KDOTS_TILES;
    else if (isa.avx512 && isa.bf16 && !strncmp(out->cpu, "znver", 5)) out->bf16 = KDOTS_PAIRS; /* Intel's is half as fast as fp32 (docs/PERFORMANCE.md) */
    out->bytes = isa.avx512 ? (isa.avx512_vnni ? KBYTES_FOURS : KBYTES_TWOS) : isa.avx2 ? (isa.avx_vnni ? KBYTES_FOURS : KBYTES_TWOS) : isa.avx ? KBYTES_ONES : isa.x86 ? KBYTES_TWOS : KBYTES_ONES;
    bool measured = here && native;
    out->l1_bytes = measured ? cache_bytes(_SC_LEVEL1_DCACHE_SIZE, 32 << 10) : 32 << 10;
    out->l2_bytes = measured ? cache_bytes(_SC_LEVEL2_CACHE_SIZE, 512 << 10) : isa.avx512 ? 1 << 20 : 512 << 10;
    out->far_rate = far_rate(out->cpu);
    return true;
}
