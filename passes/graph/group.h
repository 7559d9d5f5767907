/* group.h: what both grouping passes ask about a node. */
#ifndef BMC_PASSES_GRAPH_GROUP_H
#define BMC_PASSES_GRAPH_GROUP_H
#include "passes/pass.h"

/* One tensor result of known rank that is computed element by element (`scalar` or one kernel instruction); not known at compile time. */
bool group_is_eltwise(const Graph *, Node);
/* The same for a move with a route: each element of the result is one of an operand's. */
bool group_is_move(const Graph *, Node);
/* Same rank and provably equal dims. */
bool group_same_dims(Graph *, Value, Value);
/* The nodes (ascending in list order) become one Group. */
Node group_make(Graph *, const char *kind, const Node *, uint32_t n);

#endif
