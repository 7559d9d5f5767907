/* sequence.h: elements of sequences and optionals while lowering. An element is a tensor, or a sequence or optional of
 * its own, in a slot. */
#ifndef BMC_IR_OPS_SEQUENCE_H
#define BMC_IR_OPS_SEQUENCE_H
#include "ir/graph/infer.h"
#include "ir/graph/lower.h"

/* The tensors in operand 0 need a rank: says so, and how to give it where that is an input of the model. false: not known. */
bool sequence_need_rank(Infer *, const TypeRec *of);

/* A copy of v, whose type that is, becomes element `pos` of q (negative: from the end). */
void sequence_put(Lw *, KBuf q, Dim pos, KBuf v, TypeId);
/* Result 0 of the node is a copy of element `pos` of q: dims that are not known are bound. false: diagnosed. */
bool sequence_get(Lw *, KBuf q, Dim pos);

/* The type of what a SequenceEmpty with elements of no type yet (dtype NONE: scan.c makes it) is a sequence of. */
void sequence_empty_of(Graph *, Node, DType);

#endif
