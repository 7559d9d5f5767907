/* rt_cpu: which instruction sets CPU and operating system offer. x86: cpuid, and xgetbv for the register state that the
 * system saves (an AVX-512 CPU under a kernel that does not save zmm registers dies of SIGILL all the same). AArch64:
 * the auxiliary vector. */
#include "runtime/rt_cpu.h"
#include <stdio.h>
#include <string.h>
#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#if __has_include(<sys/platform/x86.h>)
#include <sys/platform/x86.h>
#define LEAVES_OF_LIBC 1
#endif
#elif defined(__aarch64__)
#include <sys/auxv.h>
#endif

typedef struct CpuName {
    int bit;
    const char *name;
} CpuName;

#define ROW(bit, name, ...) {bit, name},
static const CpuName X86_NAMES[] = {RT_CPU_X86(ROW)};
static const CpuName ARM_NAMES[] = {RT_CPU_ARM(ROW)};
#undef ROW
#define COUNT(a) (sizeof(a) / sizeof *(a))

#if defined(__aarch64__)
#define OWN_NAMES ARM_NAMES
#else
#define OWN_NAMES X86_NAMES
#endif

static int name_find(const CpuName *row, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(row[i].name, name)) return row[i].bit;
    return -1;
}

int rt_cpu_bit(const char *arch, const char *name)
{
    if (!strcmp(arch, "x86_64")) return name_find(X86_NAMES, COUNT(X86_NAMES), name);
    if (!strcmp(arch, "aarch64")) return name_find(ARM_NAMES, COUNT(ARM_NAMES), name);
    return -1;
}

#if defined(__x86_64__)
/* What cpuid says; zeros: there is no such leaf. */
typedef struct Leaves {
    unsigned one[4], seven[2][4], extended[4];
} Leaves;

#if LEAVES_OF_LIBC
/* The loader has asked already. Asking costs some 13 us an instruction where a hypervisor answers. */
static Leaves leaves_read(void)
{
    Leaves l;
    memcpy(l.one, __x86_get_cpuid_feature_leaf(CPUID_INDEX_1)->cpuid_array, sizeof l.one);
    memcpy(l.seven[0], __x86_get_cpuid_feature_leaf(CPUID_INDEX_7)->cpuid_array, sizeof l.seven[0]);
    memcpy(l.seven[1], __x86_get_cpuid_feature_leaf(CPUID_INDEX_7_ECX_1)->cpuid_array, sizeof l.seven[1]);
    memcpy(l.extended, __x86_get_cpuid_feature_leaf(CPUID_INDEX_80000001)->cpuid_array, sizeof l.extended);
    return l;
}
#else
static Leaves leaves_read(void)
{
    Leaves l = {0};
    unsigned most, b, c, d;
    __cpuid(0, most, b, c, d);
    if (most >= 1) __cpuid(1, l.one[0], l.one[1], l.one[2], l.one[3]);
    if (most >= 7) __cpuid_count(7, 0, l.seven[0][0], l.seven[0][1], l.seven[0][2], l.seven[0][3]);
    if (l.seven[0][0] >= 1) /* eax of leaf 7: the highest subleaf */
        __cpuid_count(7, 1, l.seven[1][0], l.seven[1][1], l.seven[1][2], l.seven[1][3]);
    __cpuid(0x80000000u, most, b, c, d);
    if (most >= 0x80000001u) __cpuid(0x80000001u, l.extended[0], l.extended[1], l.extended[2], l.extended[3]);
    return l;
}
#endif

/* Bit s: the operating system saves the registers of state s (1 AVX, 2 AVX-512, 3 AMX). */
static unsigned states_saved(const Leaves *l)
{
    unsigned lo, hi;
    if (!(l->one[2] >> 27 & 1)) return 1;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    unsigned saved = 1;
    if ((lo & 0x6) == 0x6) saved |= 1u << 1;
    if ((lo & 0xe6) == 0xe6) saved |= 1u << 2;
    if ((lo & 0x60000) == 0x60000) saved |= 1u << 3;
    return saved;
}

#define ROW(bit, name, leaf, sub, ...)                                                                                 \
    _Static_assert((leaf) == 7 ? (sub) < 2 : !(sub) && ((leaf) == 1 || (leaf) == 0x80000001u), "Leaves lacks one");
RT_CPU_X86(ROW)
#undef ROW

static int has_bit(const Leaves *l, unsigned leaf, unsigned sub, int reg, int bit)
{
    const unsigned *r = leaf == 1 ? l->one : leaf == 7 ? l->seven[sub] : l->extended;
    return r[reg] >> bit & 1;
}
#endif

void rt_cpu_have(uint64_t have[RT_CPU_WORDS], uint64_t cpu_only[RT_CPU_WORDS])
{
    uint64_t cpu[RT_CPU_WORDS] = {0}, both[RT_CPU_WORDS] = {0};
#if defined(__x86_64__)
    const Leaves leaves = leaves_read();
    unsigned saved = states_saved(&leaves);
#define ROW(bit, name, leaf, sub, reg, pos, state)                                                                     \
    if (has_bit(&leaves, leaf, sub, reg, pos)) {                                                                       \
        cpu[(bit) / 64] |= 1ull << (bit) % 64;                                                                         \
        if (saved >> (state)&1) both[(bit) / 64] |= 1ull << (bit) % 64;                                                \
    }
    RT_CPU_X86(ROW)
#undef ROW
#elif defined(__aarch64__)
    const uint64_t cap[2] = {getauxval(AT_HWCAP), getauxval(AT_HWCAP2)};
#define ROW(bit, name, word, pos)                                                                                      \
    if (cap[word] >> (pos)&1) cpu[(bit) / 64] |= 1ull << (bit) % 64;
    RT_CPU_ARM(ROW)
#undef ROW
    memcpy(both, cpu, sizeof both);
#endif
    if (have) memcpy(have, both, sizeof both);
    if (cpu_only) memcpy(cpu_only, cpu, sizeof cpu);
}

/* arch_prctl(2): from Linux 5.16 on a process asks before it uses registers this large. */
int rt_cpu_ask_tiles(void)
{
#if defined(__x86_64__) && defined(__linux__)
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
#else
    return 0;
#endif
}

void rt_cpu_tile_bits(uint64_t bits[RT_CPU_WORDS])
{
    memset(bits, 0, RT_CPU_WORDS * sizeof *bits);
#define ROW(bit, name, leaf, sub, reg, pos, state)                                                                     \
    if ((state) == 3) bits[(bit) / 64] |= 1ull << (bit) % 64;
    RT_CPU_X86(ROW)
#undef ROW
}

int rt_cpu_check(const uint64_t need[RT_CPU_WORDS], char *text, size_t n)
{
    uint64_t have[RT_CPU_WORDS], cpu[RT_CPU_WORDS];
    if (!(need[0] | need[1])) return 1;
    rt_cpu_have(have, cpu);
    int ok = 1, disabled = 0;
    size_t at = 0;
    if (n) text[0] = 0;
    for (int bit = 0; bit < 64 * RT_CPU_WORDS; bit++) {
        uint64_t mask = 1ull << bit % 64;
        if (!(need[bit / 64] & mask) || (have[bit / 64] & mask)) continue;
        ok = 0;
        disabled |= (cpu[bit / 64] & mask) != 0;
        const char *name = "(unknown feature)";
        for (size_t i = 0; i < COUNT(OWN_NAMES); i++)
            if (OWN_NAMES[i].bit == bit) name = OWN_NAMES[i].name;
        int w = at < n ? snprintf(text + at, n - at, "%s%s", at ? " " : "", name) : 0;
        at += w > 0 ? (size_t)w : 0;
    }
    if (disabled && at < n)
        snprintf(text + at, n - at, " (the CPU has some of it, but the operating system does not enable it)");
    return ok;
}
