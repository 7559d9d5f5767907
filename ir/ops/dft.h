/* dft.h: what DFT and its internal operator share. */
#ifndef BMC_IR_OPS_DFT_H
#define BMC_IR_OPS_DFT_H
#include "ir/graph/eval.h"

typedef struct Dft {
    uint64_t set;
    int64_t axis, inverse, onesided;
} Dft;

/* The sums of the definition, in double, as e's result 0: `n` points along `axis` of operand 0. */
bool dft_reference(Eval *, int64_t n, int64_t axis);

#endif
