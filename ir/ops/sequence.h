/* sequence.h: elements of sequences and optionals while lowering. An element is a tensor, or a sequence or optional of
 * its own, in a slot. */
#ifndef BMC_IR_OPS_SEQUENCE_H
#define BMC_IR_OPS_SEQUENCE_H
#include "ir/graph/lower.h"

/* A copy of v, whose type that is, becomes element `pos` of q (negative: from the end). */
void sequence_put(Lw *, KBuf q, Dim pos, KBuf v, TypeId);
/* Result 0 of the node is a copy of element `pos` of q: dims that are not known are bound. false: diagnosed. */
bool sequence_get(Lw *, KBuf q, Dim pos);

#endif
