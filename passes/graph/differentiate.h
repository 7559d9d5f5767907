/* differentiate.h: asking for gradients of a model from outside: `--grad`. */
#ifndef BMC_PASSES_GRAPH_DIFFERENTIATE_H
#define BMC_PASSES_GRAPH_DIFFERENTIATE_H
#include "ir/graph/graph.h"

/* y, and the inputs and initializers whose gradients are wanted; n 0: all of floats that the entry graph has. */
typedef struct GradOption { const char *y; const char *const *x; uint32_t n; } GradOption;

/* Adds an output `NAME.grad` for each: the derivative of the sum of y's elements, of the shape of NAME. Values are found by their names, so before passes run.
 * false: diagnosed. */
bool differentiate_request(Module *, const GradOption *);

#endif
