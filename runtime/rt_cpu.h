/* rt_cpu.h: CPU features that compiled code may need, by LLVM's names. Codegen sets bits of rt_desc.cpu_need from this
 * list, the runtime compares them with what CPU and operating system offer. Bit numbers are part of compiled artifacts:
 * append, never reorder. */
#ifndef BMC_RT_CPU_H
#define BMC_RT_CPU_H
#include <stddef.h>
#include <stdint.h>

#define RT_CPU_HIDDEN __attribute__((visibility("hidden")))

/* clang-format off */
/* X(bit, LLVM name, cpuid leaf, subleaf, register 0..3 = eax ebx ecx edx, bit there,
 *   registers that the system must save: 0 none, 1 AVX, 2 AVX-512, 3 AMX) */
#define RT_CPU_X86(X) \
    X(0, "cx16", 1, 0, 2, 13, 0) X(1, "sse3", 1, 0, 2, 0, 0) X(2, "ssse3", 1, 0, 2, 9, 0) \
    X(3, "sse4.1", 1, 0, 2, 19, 0) X(4, "sse4.2", 1, 0, 2, 20, 0) X(5, "popcnt", 1, 0, 2, 23, 0) \
    X(6, "movbe", 1, 0, 2, 22, 0) X(7, "aes", 1, 0, 2, 25, 0) X(8, "pclmul", 1, 0, 2, 1, 0) \
    X(9, "avx", 1, 0, 2, 28, 1) X(10, "f16c", 1, 0, 2, 29, 1) X(11, "fma", 1, 0, 2, 12, 1) \
    X(12, "bmi", 7, 0, 1, 3, 0) X(13, "avx2", 7, 0, 1, 5, 1) X(14, "bmi2", 7, 0, 1, 8, 0) \
    X(15, "adx", 7, 0, 1, 19, 0) X(16, "avx512f", 7, 0, 1, 16, 2) X(17, "avx512dq", 7, 0, 1, 17, 2) \
    X(18, "avx512ifma", 7, 0, 1, 21, 2) X(19, "avx512cd", 7, 0, 1, 28, 2) X(20, "avx512bw", 7, 0, 1, 30, 2) \
    X(21, "avx512vl", 7, 0, 1, 31, 2) X(22, "avx512vbmi", 7, 0, 2, 1, 2) X(23, "avx512vbmi2", 7, 0, 2, 6, 2) \
    X(24, "gfni", 7, 0, 2, 8, 0) X(25, "vaes", 7, 0, 2, 9, 1) X(26, "vpclmulqdq", 7, 0, 2, 10, 1) \
    X(27, "avx512vnni", 7, 0, 2, 11, 2) X(28, "avx512bitalg", 7, 0, 2, 12, 2) \
    X(29, "avx512vpopcntdq", 7, 0, 2, 14, 2) X(30, "avx512vp2intersect", 7, 0, 3, 8, 2) \
    X(31, "avx512fp16", 7, 0, 3, 23, 2) X(32, "amx-bf16", 7, 0, 3, 22, 3) X(33, "amx-tile", 7, 0, 3, 24, 3) \
    X(34, "amx-int8", 7, 0, 3, 25, 3) X(35, "avxvnni", 7, 1, 0, 4, 1) X(36, "avx512bf16", 7, 1, 0, 5, 2) \
    X(37, "avxifma", 7, 1, 0, 23, 1) X(38, "avxvnniint8", 7, 1, 3, 4, 1) X(39, "avxneconvert", 7, 1, 3, 5, 1) \
    X(40, "avxvnniint16", 7, 1, 3, 10, 1) X(41, "sahf", 0x80000001u, 0, 2, 0, 0) \
    X(42, "lzcnt", 0x80000001u, 0, 2, 5, 0) X(43, "sse4a", 0x80000001u, 0, 2, 6, 0) \
    X(44, "prfchw", 0x80000001u, 0, 2, 8, 0) X(45, "xop", 0x80000001u, 0, 2, 11, 1) \
    X(46, "fma4", 0x80000001u, 0, 2, 16, 1) X(47, "tbm", 0x80000001u, 0, 2, 21, 0) X(48, "sha", 7, 0, 1, 29, 0) \
    X(49, "rdrnd", 1, 0, 2, 30, 0) X(50, "rdseed", 7, 0, 1, 18, 0) X(51, "amx-fp16", 7, 1, 0, 21, 3) \
    X(52, "movdiri", 7, 0, 2, 27, 0) X(53, "rdpid", 7, 0, 2, 22, 0)

/* X(bit, LLVM name, word 0 = AT_HWCAP or 1 = AT_HWCAP2, bit there) */
#define RT_CPU_ARM(X) \
    X(0, "fp-armv8", 0, 0) X(1, "neon", 0, 1) X(2, "aes", 0, 3) X(3, "sha2", 0, 6) X(4, "crc", 0, 7) \
    X(5, "lse", 0, 8) X(6, "fullfp16", 0, 10) X(7, "rdm", 0, 12) X(8, "jsconv", 0, 13) X(9, "complxnum", 0, 14) \
    X(10, "rcpc", 0, 15) X(11, "sha3", 0, 17) X(12, "dotprod", 0, 20) X(13, "sve", 0, 22) X(14, "fp16fml", 0, 23) \
    X(15, "sve2", 1, 1) X(16, "i8mm", 1, 13) X(17, "bf16", 1, 14)

/* clang-format on */

#define RT_CPU_WORDS 2
/* The bit of LLVM's feature `name` for architecture "x86_64" or "aarch64"; -1: not in the list (code cannot depend on
 * it being checked). */
RT_CPU_HIDDEN int rt_cpu_bit(const char *arch, const char *name);
/* What this machine offers: CPU and operating system together; `cpu_only` what the CPU alone has. Either may be NULL.
 */
RT_CPU_HIDDEN void rt_cpu_have(uint64_t have[RT_CPU_WORDS], uint64_t cpu_only[RT_CPU_WORDS]);
/* 1: everything in `need` is there. 0: the names of what is missing are in text, separated by blanks. */
RT_CPU_HIDDEN int rt_cpu_check(const uint64_t need[RT_CPU_WORDS], char *text, size_t n);
/* Asks the system for matrix registers (AMX), for the whole process; 0: CPU or system have none. Their bits are not in
 * `need`: most code for a CPU that has them does without. */
RT_CPU_HIDDEN int rt_cpu_ask_tiles(void);
/* Bits of features that are asked for this way. */
RT_CPU_HIDDEN void rt_cpu_tile_bits(uint64_t bits[RT_CPU_WORDS]);

#endif
