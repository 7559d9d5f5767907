/* cost.h: how much work a kernel does for given sizes: floating-point operations and bytes that it must move at least. */
#ifndef BMC_IR_KERNEL_COST_H
#define BMC_IR_KERNEL_COST_H
#include "ir/kernel/kir.h"

typedef struct KCost {
    double flops;    /* of floats, and of contractions of any type: a multiply-add is two, an elementary function one */
    double bytes;    /* every buffer once, no more of it than is accessed */
    double constant; /* those of `bytes` that are weights */
    bool exact; /* false: a loop's bound is data, or there were too many loops to walk; what is known was counted */
} KCost;

/* Of one launch, with sym[s.i] the value of every symbol. */
KCost kernel_cost(KModule *, const KStep *launch, const int64_t *sym);
/* Bytes of a dense buffer; 0 when its dims cannot be computed. */
double kbuf_cost(KModule *, KBuf, const int64_t *sym);

#endif
