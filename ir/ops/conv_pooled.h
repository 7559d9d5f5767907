/* conv_pooled.h: Group{kind="pool"}: a convolution by minimal filtering, what follows it element by element, and a
 * MaxPool of 2 x 2 windows side by side, which never cross a tile's edge. */
#ifndef BMC_IR_OPS_CONV_POOLED_H
#define BMC_IR_OPS_CONV_POOLED_H
#include "ir/ops/conv.h"

/* May `pool`, a node of `after`, end the group of that convolution: a MaxPool of such windows with one result, and a
 * convolution that takes tiles? What the pool reads is the caller's question. */
bool conv_pooled_fits(const Graph *, Node conv, const Graph *after, Node pool);
/* Lowers the group l->n: one kernel, or node by node where the convolution's mode has become another one. */
bool conv_lower_pooled(Lw *);

#endif
