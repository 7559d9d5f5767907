/* target.c: what a target can do. The C API has no question for it, so LLVM's own answer is used: a function may be inlined into another only when the
 * features that it was compiled for are there. For every feature of runtime/rt_cpu.h one tiny callee is made and inlined into a caller for the cpu in
 * question; the features whose call is gone are the cpu's. This covers every cpu name and feature string with no table of ours. */
#include "codegen/cg.h"
#include "runtime/rt_cpu.h"

#include <llvm-c/Error.h>
#include <llvm-c/Target.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <string.h>
#include <unistd.h>

typedef enum Arch { ARCH_NONE, ARCH_X86, ARCH_ARM } Arch;
typedef struct Feature { int bit; const char *name; } Feature;

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
    return !strncmp(triple, "x86_64", 6) ? ARCH_X86 : !strncmp(triple, "aarch64", 7) || !strncmp(triple, "arm64", 5) ? ARCH_ARM : ARCH_NONE;
}

void target_init_llvm(void)
{
    LLVMInitializeX86TargetInfo(), LLVMInitializeX86Target(), LLVMInitializeX86TargetMC(), LLVMInitializeX86AsmPrinter();
    LLVMInitializeAArch64TargetInfo(), LLVMInitializeAArch64Target(), LLVMInitializeAArch64TargetMC(), LLVMInitializeAArch64AsmPrinter();
}

/* ---- asking LLVM ---- */
static void string_attribute(LLVMContextRef cx, LV fn, const char *name, const char *value)
{
    LLVMAddAttributeAtIndex(fn, LLVMAttributeFunctionIndex, LLVMCreateStringAttribute(cx, name, (unsigned)strlen(name), value, (unsigned)strlen(value)));
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

/* Bits of the features in the list that cpu + features have. */
static bool features_of(const KTarget *t, uint64_t have[RT_CPU_WORDS])
{
    Arch arch = arch_of(t->triple);
    const Feature *list = arch == ARCH_X86 ? x86_features : arm_features;
    size_t n = arch == ARCH_X86 ? sizeof x86_features / sizeof *list : sizeof arm_features / sizeof *list;
    LLVMTargetRef target;
    char *error = NULL;
    memset(have, 0, RT_CPU_WORDS * sizeof *have);
    if (arch == ARCH_NONE) return false;
    target_init_llvm();
    if (LLVMGetTargetFromTriple(t->triple, &target, &error)) {
        LLVMDisposeMessage(error);
        return false;
    }
    const char *base = arch == ARCH_X86 ? "x86-64" : "generic";
    LLVMTargetMachineRef tm = LLVMCreateTargetMachine(target, t->triple, base, "", LLVMCodeGenLevelLess, LLVMRelocPIC, LLVMCodeModelDefault);
    LLVMContextRef cx = LLVMContextCreate();
    LLVMModuleRef mod = LLVMModuleCreateWithNameInContext("features", cx);
    LLVMBuilderRef b = LLVMCreateBuilderInContext(cx);
    LLVMSetTarget(mod, t->triple);
    LT i32 = LLVMInt32TypeInContext(cx), type = LLVMFunctionType(i32, NULL, 0, false);
    LV caller[64];
    assert(n <= 64);
    for (size_t i = 0; i < n; i++) {
        char plus[64] = "+";
        strncat(plus, list[i].name, sizeof plus - 2);
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
    if (e) LLVMConsumeError(e);
    for (size_t i = 0; i < n; i++) {
        LV ret = LLVMGetBasicBlockTerminator(LLVMGetEntryBasicBlock(caller[i]));
        if (LLVMIsAConstantInt(LLVMGetOperand(ret, 0))) have[list[i].bit / 64] |= 1ull << list[i].bit % 64;
    }
    LLVMDisposePassBuilderOptions(o);
    LLVMDisposeBuilder(b);
    LLVMDisposeModule(mod);
    LLVMContextDispose(cx);
    LLVMDisposeTargetMachine(tm);
    return !e;
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

void target_cpu_need(const KTarget *t, uint64_t need[2])
{
    features_of(t, need);
}

CgIsa target_isa(const KTarget *t)
{
    uint64_t have[RT_CPU_WORDS];
    CgIsa isa = {.x86 = arch_of(t->triple) == ARCH_X86, .arm = arch_of(t->triple) == ARCH_ARM};
    features_of(t, have);
    if (isa.arm) {
        isa.f16c = isa.fma = true;      /* base ISA */
        return isa;
    }
    isa.sse41 = has(t->triple, have, "sse4.1");
    isa.avx = has(t->triple, have, "avx");
    isa.avx2 = has(t->triple, have, "avx2");
    isa.f16c = has(t->triple, have, "f16c");
    isa.fma = has(t->triple, have, "fma");
    isa.avx512 = has(t->triple, have, "avx512f") && has(t->triple, have, "avx512vl") && has(t->triple, have, "avx512bw") && has(t->triple, have, "avx512dq");
    return isa;
}

/* ---- names ---- */
typedef struct CpuName { Arch arch; const char *name; } CpuName;
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
    if (arch == ARCH_NONE) return diag(d, diag_file(NULL), E_BAD_TARGET, triple ? triple : t, "bmc makes code for x86_64 and aarch64");
    if (!strstr(t, "linux") && !strstr(t, "elf")) return diag(d, diag_file(NULL), E_BAD_TARGET, triple ? triple : t, "bmc writes ELF files; no such system");
    bool here = arch == arch_of(host_name), native = !cpu || !strcmp(cpu, "native");
    if (native && cpu && !here) return diag(d, diag_file(NULL), E_BAD_CPU, cpu, t);
    *out = (KTarget){.triple = t, .cpu = cpu, .features = ""};
    if (native && here) {
        char *name = LLVMGetHostCPUName(), *features = LLVMGetHostCPUFeatures();
        out->cpu = arena_strdup(a, name);
        out->features = arena_strdup(a, features);    /* a virtual machine may lack what the cpu has */
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
    bool measured = here && native;
    out->l1_bytes = measured ? cache_bytes(_SC_LEVEL1_DCACHE_SIZE, 32 << 10) : 32 << 10;
    out->l2_bytes = measured ? cache_bytes(_SC_LEVEL2_CACHE_SIZE, 512 << 10) : isa.avx512 ? 1 << 20 : 512 << 10;
    return true;
}
