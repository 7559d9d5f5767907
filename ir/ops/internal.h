/* internal.h: making nodes of operators that only passes make (internal.c, rank.c). Unless it says otherwise, the new nodes stand at the end of the graph, with types. */
#ifndef BMC_IR_OPS_INTERNAL_H
#define BMC_IR_OPS_INTERNAL_H
#include "ir/graph/op.h"

/* A Dims node: n extents as i64[n]. 0: inference failed, diagnosed (the same for those below). */
Value dims_list(Graph *, const Dim *, uint32_t n, Loc);
/* One expression as a scalar of an integer type or bool. */
Value dims_scalar(Graph *, Dim, DType, Loc);
/* The elements of x under other dims of the same count. */
Value dims_called(Graph *, Value x, const Dim *, uint32_t rank, Loc);
/* In an infer hook: operand k becomes the Reshape of it to `dim`, in new nodes before this one. */
bool operand_called(Infer *, uint32_t k, const Dim *dim, int rank);
/* The same for an operand that broadcasts to a shape of `rank` axes (OpDesc.lead): where it has more, they are 1 in front, which
 * the run checks where it alone knows, and the others stay. */
bool operand_without_lead(Infer *, uint32_t k, int rank);

/* y, whose axes stand at that axis of x in the old forms of broadcasting: with axes of 1 behind its own, or, where the
 * ranks are not known yet, a StandAt (rank.c). Before a node, not inferred. */
Value rank_stand_at(Graph *, Node before, Value y, Value x, int64_t axis, bool list);

#endif
