/* dft.h: what DFT and its internal operator share. */
#ifndef BMC_IR_OPS_DFT_H
#define BMC_IR_OPS_DFT_H
#include "ir/graph/eval.h"
#include "ir/graph/lower.h"

typedef struct Dft {
    uint64_t set;
    int64_t axis, inverse, onesided;
} Dft;

/* The sums of the definition, in double, as e's result 0: `n` points along `axis` of operand 0. */
bool dft_reference(Eval *, int64_t n, int64_t axis);

/* Lowers the node at hand to transforms of n points of its operand 0 [batch, signal, parts]: of frames `step` apart,
 * multiplied by operand `window` (0: none), into result [batch, frames, bins, 2]. */
void fourier_frames(Lw *, int64_t n, int64_t step, uint32_t window, bool onesided);

#endif
