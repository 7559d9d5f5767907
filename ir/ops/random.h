/* random.h: random numbers for operators that are written in terms of others (random.c). */
#ifndef BMC_IR_OPS_RANDOM_H
#define BMC_IR_OPS_RANDOM_H
#include "ir/ops/compose.h"

/* Numbers of that shape (i64[rank]), a draw of their own in each run: uniform in [0, 1), or standard normal; f64 for
 * DT_F64, else f32. seeded: the node's seed instead of the context's. */
Value random_uniform(Ex *, Value shape, DType, bool normal, bool seeded, double seed);
/* The same number by another way: element `element` of draw 0 under a 64-bit key. */
double random_reference(uint64_t key, uint64_t element, bool normal, bool wide);

#endif
