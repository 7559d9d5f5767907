/* recipe.h: blobs that are computed from other blobs by a graph (RECIPE_GRAPH): making and evaluating them. */
#ifndef BMC_IR_GRAPH_RECIPE_H
#define BMC_IR_GRAPH_RECIPE_H
#include "ir/graph/eval.h"

/* The blob that result k of a node gives, a tensor of constant dims; its operands are constant, at most RECIPE_SRC_MAX
 * of them distinct. Adds a graph to the module. `operand`: a blob for each operand, of its type; NULL: they are constants
 * of the graph. 0: it does not fit into a recipe. */
Blob recipe_of_node(Graph *, Node, uint32_t k, const Blob *operand);
/* The whole tensor of a blob of any kind but PACK, sources that are recipes included. NULL: *why says what went wrong. */
Tensor *recipe_eval(Arena *, Module *, Blob, TypeId, const char **why);

#endif
