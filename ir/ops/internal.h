/* internal.h: making nodes of operators that only passes make (internal.c, rank.c). Unless it says otherwise, the new nodes stand at the end of the graph, with types. */
#ifndef BMC_IR_OPS_INTERNAL_H
#define BMC_IR_OPS_INTERNAL_H
#include "ir/graph/graph.h"

/* A Dims node: n extents as i64[n]. 0: inference failed, diagnosed (the same for those below). */
Value dims_list(Graph *, const Dim *, uint32_t n, Loc);
/* One expression as a scalar of an integer type or bool. */
Value dims_scalar(Graph *, Dim, DType, Loc);
/* The elements of x under other dims of the same count. */
Value dims_called(Graph *, Value x, const Dim *, uint32_t rank, Loc);

/* y, whose axes stand at that axis of x in the old forms of broadcasting: with axes of 1 behind its own, or, where the
 * ranks are not known yet, a StandAt (rank.c). Before a node, not inferred. */
Value rank_stand_at(Graph *, Node before, Value y, Value x, int64_t axis, bool list);

#endif
