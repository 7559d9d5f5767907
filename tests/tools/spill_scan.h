/* spill_scan: does any contraction loop of an object touch the stack? Reads machine code, not IR, so that the register allocator is judged.
 *
 * A K loop is a run of instructions that ends in a branch back to its first one, holds no other branch, stores nothing (but to the stack), divides,
 * rounds and compares nothing (those are loops over elements with elementary functions), and has at least `min_fma` multiply-adds (fused ones, or multiplies
 * that an add follows). An operand is on the stack when it is addressed by the stack pointer, or by a register that the
 * function has copied the stack pointer to. x86-64 and AArch64. */
#ifndef SPILL_SCAN_H
#define SPILL_SCAN_H
#include <llvm-c/Core.h>
#include <llvm-c/Disassembler.h>
#include <llvm-c/Object.h>
#include <llvm-c/Target.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct SpillReport {
    unsigned loops, spilled, stack_refs;
    unsigned instructions, multiply_adds; /* of all loops together */
    bool ok;                              /* the object could be read */
} SpillReport;
typedef struct SpillInst { uint64_t at, target; bool branch, fma, mul, stack, store, other; char text[96]; } SpillInst;

static inline bool spill_word(const char *text, const char *const *words)
{
    for (; *words; words++)
        if (strstr(text, *words)) return true;
    return false;
}

/* Marks in frame[] the registers that hold a copy of the stack pointer: x86 rbp, rbx; arm x29. */
static inline void spill_decode(SpillInst *i, const char *text, bool arm, bool frame[2])
{
    static const char *const fma86[] = {"vfmadd", "vfmsub", "vfnmadd", "vdpbf16", "vpdpbusd", "pmaddwd", NULL}, *const mul86[] = {"mulps", "mulpd", NULL};
    static const char *const fma_arm[] = {"fmla", NULL}, *const mul_arm[] = {"\tfmul\t", NULL};
    static const char *const math86[] = {"div", "sqrt", "round", "rndscale", "scalef", "maxp", "minp", NULL}, *const math_arm[] = {"fdiv", "fsqrt", "frint", "fmax", "fmin", NULL};
    snprintf(i->text, sizeof i->text, "%.95s", text);
    i->fma = spill_word(text, arm ? fma_arm : fma86);
    i->mul = spill_word(text, arm ? mul_arm : mul86);
    if (arm) {
        if (strstr(text, "\tmov\tx29, sp") || strstr(text, "\tadd\tx29, sp")) frame[0] = true;
        i->stack = strstr(text, "[sp") || (frame[0] && strstr(text, "[x29"));
    } else {
        if (strstr(text, "%rsp, %rbp")) frame[0] = true;
        if (strstr(text, "%rsp, %rbx")) frame[1] = true;
        i->stack = strstr(text, "(%rsp") || (frame[0] && strstr(text, "(%rbp")) || (frame[1] && strstr(text, "(%rbx"));
    }
    size_t len = strlen(text);
    i->store = arm ? strstr(text, "\tst") != NULL : strstr(text, "mov") && len && (text[len - 1] == ')' || strstr(text, ") {%k"));
    i->other = spill_word(text, arm ? math_arm : math86);
    const char *op = text + strspn(text, " \t");
    i->branch = arm ? (op[0] == 'b' && (op[1] == '.' || op[1] == '\t' || op[1] == 'r' || op[1] == 'l')) || !strncmp(op, "cb", 2) || !strncmp(op, "tb", 2) || !strncmp(op, "ret", 3)
                    : op[0] == 'j' || !strncmp(op, "call", 4) || !strncmp(op, "ret", 3);
    i->target = UINT64_MAX;
    if (i->branch) {   /* the printed immediate is the distance: from this instruction on AArch64, from the next one on x86 */
        const char *arg = strrchr(op, arm ? '#' : '\t');
        if (arg && (arm || arg[1] == '-' || (arg[1] >= '0' && arg[1] <= '9'))) i->target = (uint64_t)strtoll(arg + 1, NULL, 0);
    }
}

static inline void spill_loop(const SpillInst *in, size_t first, size_t last, unsigned min_fma, const char *where, bool verbose, SpillReport *r)
{
    unsigned fma = 0, stack = 0;
    for (size_t k = first; k <= last; k++) {
        fma += in[k].fma || in[k].mul;
        stack += in[k].stack;
        if ((in[k].branch && k != last) || (in[k].store && !in[k].stack) || in[k].other) return;
    }
    if (fma < min_fma) return;
    r->loops++;
    r->spilled += stack != 0;
    r->stack_refs += stack;
    r->instructions += (unsigned)(last - first + 1);
    r->multiply_adds += fma;
    if (!verbose && !stack) return;
    printf("%s+0x%llx: %u instructions, %u multiply-adds, %u stack operands\n", where, (unsigned long long)in[first].at, (unsigned)(last - first + 1), fma, stack);
    for (size_t k = first; k <= last && verbose; k++) printf("  %s%s\n", in[k].stack ? "*" : " ", in[k].text);
}

/* One section or function body. */
static inline void spill_code(LLVMDisasmContextRef dis, bool arm, const uint8_t *code, uint64_t size, unsigned min_fma, const char *where, bool verbose, SpillReport *r)
{
    SpillInst *in = malloc((size + 1) * sizeof *in);
    size_t n = 0;
    bool frame[2] = {false, false};
    for (uint64_t at = 0; at < size;) {
        char text[256];
        size_t len = LLVMDisasmInstruction(dis, (uint8_t *)code + at, size - at, at, text, sizeof text);
        if (!len) { at += arm ? 4 : 1; continue; }   /* data or padding */
        in[n] = (SpillInst){.at = at};
        spill_decode(&in[n], text, arm, frame);
        if (in[n].target != UINT64_MAX) in[n].target += arm ? at : at + len;
        n++;
        at += len;
    }
    for (size_t k = 0; k < n; k++) {
        if (!in[k].branch || in[k].target > in[k].at) continue;
        size_t lo = 0, hi = k;
        while (lo < hi) {
            size_t mid = (lo + hi) / 2;
            if (in[mid].at < in[k].target) lo = mid + 1;
            else hi = mid;
        }
        if (in[lo].at == in[k].target) spill_loop(in, lo, k, min_fma, where, verbose, r);
    }
    free(in);
}

/* Scans all functions of an object held in `mem` (kept by the caller). The target of the triple must have been initialised with its disassembler. */
static inline SpillReport spill_scan(LLVMMemoryBufferRef mem, const char *triple, unsigned min_fma, bool verbose)
{
    SpillReport r = {0};
    bool arm = !strncmp(triple, "aarch64", 7);
    char *why = NULL;
    LLVMBinaryRef obj = LLVMCreateBinary(mem, NULL, &why);
    LLVMDisasmContextRef dis = LLVMCreateDisasmCPUFeatures(triple, "", arm ? "+all" : "", NULL, 0, NULL, NULL);
    if (!obj || !dis) {
        fprintf(stderr, "spill-scan: %s\n", why ? why : "no disassembler for this target");
        LLVMDisposeMessage(why);
        return r;
    }
    r.ok = true;
    LLVMSymbolIteratorRef s = LLVMObjectFileCopySymbolIterator(obj);
    for (; !LLVMObjectFileIsSymbolIteratorAtEnd(obj, s); LLVMMoveToNextSymbol(s)) {
        uint64_t size = LLVMGetSymbolSize(s);
        LLVMSectionIteratorRef sec = LLVMObjectFileCopySectionIterator(obj);
        LLVMMoveToContainingSection(sec, s);
        if (size && !LLVMObjectFileIsSectionIteratorAtEnd(obj, sec)) {
            const char *name = LLVMGetSectionName(sec);
            uint64_t off = LLVMGetSymbolAddress(s) - LLVMGetSectionAddress(sec);
            if (name && !strncmp(name, ".text", 5) && off + size <= LLVMGetSectionSize(sec))
                spill_code(dis, arm, (const uint8_t *)LLVMGetSectionContents(sec) + off, size, min_fma, LLVMGetSymbolName(s), verbose, &r);
        }
        LLVMDisposeSectionIterator(sec);
    }
    LLVMDisposeSymbolIterator(s);
    LLVMDisasmDispose(dis);
    LLVMDisposeBinary(obj);
    return r;
}
#endif
