/* cycles.h: about how long a launch takes one thread, in cycles, as a formula over the symbols: what decides how many threads it is worth. Not for choosing code. */
#ifndef BMC_IR_KERNEL_CYCLES_H
#define BMC_IR_KERNEL_CYCLES_H
#include "ir/kernel/kir.h"

/* DIM_NONE: it cannot be said. Symbols that a node binds count with their upper bound when that is small, else with 256. */
Dim kernel_cycles(KModule *, const Kernel *);
/* The cycles are sum * times (at least 1); sum DIM_NONE: nobody knows. */
typedef struct KCycles {
    Dim sum;
    double times;
    int64_t barriers;
} KCycles;
/* All shared launches of the program, those that one formula has no room for in proportion; the body of a `while` counts 16 times, of an `if` both ways. Barriers: as many as stand there, counted likewise. */
KCycles program_cycles(KModule *);
/* Bytes of the constants that shared launches read, each once, whole even where a part of it is read. */
int64_t program_constants(const KModule *);

#endif
