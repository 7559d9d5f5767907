/* differentiate.h: asking for gradients of a model from outside: `--grad`. */
#ifndef BMC_PASSES_GRAPH_DIFFERENTIATE_H
#define BMC_PASSES_GRAPH_DIFFERENTIATE_H
#include "ir/graph/graph.h"

/* `wish`: Y or Y:X,X,...: a tensor, and the inputs and initializers by which it is differentiated (none: all of floats that the entry graph has). Names may
 * hold colons: Y is the shortest beginning that is a tensor's name. Adds an output `X.grad` for each: the derivative of the sum of Y's elements, of X's shape
 * (X.grad.2 and so on where there is one already: Y may be a gradient). Values are found by their names, so before passes run. false: diagnosed. */
bool differentiate_request(Module *, const char *wish);

#endif
