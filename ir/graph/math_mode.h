/* math_mode.h: how exact arithmetic has to be: a module's mode, and nodes with a mode of their own.
 *
 *   strict     direct algorithms, denormals kept
 *   default    the accuracy contract; algorithms that are no less exact than direct ones (Winograd, tiles of 2 x 2)
 *   fast       1e-3 of the largest magnitude: F(4x4,3x3), sums in another order, weights that memory bounds as f16
 *   bf16       products of bfloat16 operands, sums in f32
 *
 * Input: `--math=MODE` and `--math NODE=MODE` (driver), `math MODE` and `math "node" = MODE` (.bir). A pass asks
 * graph_math(g, n); a lowering hook asks lw_math(l) (ir/graph/lower.h), which is graph_math of the node that it
 * lowers, members of groups included. Nodes are named as in the model: what rewrites make of a node keeps its name, and
 * with it its mode. The Kernel IR knows no modes: a hook writes what it chose (element types, contractions, loops);
 * `option flush_denormals` is all that is left. Whether a node may do something is asked as math_allows(mode, what). */
#ifndef BMC_IR_GRAPH_MATH_MODE_H
#define BMC_IR_GRAPH_MATH_MODE_H
#include "ir/graph/ir.h"

typedef enum MathRight {
    MATH_WINOGRAD_2 = 1,  /* tiles of 2 x 2 outputs: products of sums of inputs, error not above direct's */
    MATH_WINOGRAD_4 = 2,  /* larger ones: F(4x4,3x3), F(3x3,2x2) */
    MATH_REASSOCIATE = 4, /* sums in any order */
    MATH_BF16_PRODUCTS = 8,
    MATH_HALF_WEIGHTS = 32, /* constant right sides rounded to f16 where few rows meet them */
    MATH_FLUSH = 16       /* denormals are zero; asked of the module, it is one switch for all nodes */
} MathRight;

bool math_allows(MathMode, MathRight);
const char *math_mode_name(MathMode);
bool math_mode_find(const char *name, MathMode *);   /* false: no such mode */
MathMode graph_math(const Graph *, Node);            /* the node's own mode, or the module's */
/* Gives the nodes of that name (in any graph) a mode of their own, over one given before. */
void module_set_node_math(Module *, Name node, MathMode);

#endif
