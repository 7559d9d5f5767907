/* bmc-spill-scan FILE.o...: fails when a contraction loop of an object has a stack operand (spill_scan.h says what counts as one).
 *   --min N      loops with fewer multiply-adds are not looked at (default 8: smaller ones need not be tiles)
 *   --triple T   of the object (default: this machine's)
 *   --verbose    lists every loop with its instructions
 * Exit status: 0 no spill, 1 a spill or an unreadable file, 2 usage. Without any loop found the status is 1 as well: a scan that saw nothing proves nothing. */
#include "tests/tools/spill_scan.h"

#include <llvm-c/Core.h>
#include <llvm-c/TargetMachine.h>

int main(int argc, char **argv)
{
    unsigned min_fma = 8, loops = 0;
    const char *triple = NULL;
    bool verbose = false, bad = false;
    LLVMInitializeAllTargetInfos();
    LLVMInitializeAllTargetMCs();
    LLVMInitializeAllDisassemblers();
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--verbose")) verbose = true;
        else if (!strcmp(argv[i], "--min") && i + 1 < argc) min_fma = (unsigned)strtoul(argv[++i], NULL, 10);
        else if (!strcmp(argv[i], "--triple") && i + 1 < argc) triple = argv[++i];
        else if (argv[i][0] == '-') {
            fprintf(stderr, "usage: bmc-spill-scan [--min N] [--triple T] [--verbose] FILE.o...\n");
            return 2;
        } else {
            LLVMMemoryBufferRef mem;
            char *why = NULL;
            if (LLVMCreateMemoryBufferWithContentsOfFile(argv[i], &mem, &why)) {
                fprintf(stderr, "%s: %s\n", argv[i], why);
                LLVMDisposeMessage(why);
                return 1;
            }
            char *host = LLVMGetDefaultTargetTriple();
            SpillReport r = spill_scan(mem, triple ? triple : host, min_fma, verbose);
            LLVMDisposeMessage(host);
            LLVMDisposeMemoryBuffer(mem);
            printf("%s: %u contraction loops, %u with stack operands (%u), %u instructions, %u multiply-adds\n", argv[i],
                   r.loops, r.spilled, r.stack_refs, r.instructions, r.multiply_adds);
            bad |= !r.ok || r.spilled;
            loops += r.loops;
        }
    }
    return bad || !loops;
}
