/* loop_box.h: what a Loop or a Scan carries or collects in sequences, because only the run decides its rank. */
#ifndef BMC_IR_GRAPH_LOOP_BOX_H
#define BMC_IR_GRAPH_LOOP_BOX_H
#include "ir/graph/graph.h"

/* Operand k of a Loop, a carried value or a capture, becomes a sequence of one that holds it. The result becomes one, too,
 * where it is carried. Returns the node that makes the sequence; no new node is inferred yet, and the types of what is
 * carried now are gone. */
Node loop_box(Graph *, Node loop, uint32_t k);

/* Result r of a Loop or Scan with so many carried values, a scan output: its iterations go into a sequence that is carried
 * as one more value, which is concatenated along a new axis behind the node: in reverse, if asked for. Without an
 * iteration there is no rank: f[0]. Nothing new is inferred yet. */
void loop_collect(Graph *, Node, uint32_t carried, uint32_t r, int64_t axis, bool reverse);

#endif
