/* complex.h: complex elements as pairs of reals: what operators compute complex results with. A complex tensor is memory of real and imaginary parts in turn,
 * so that either can be viewed as the other:   c64[dims] is f32[dims, 2],   c128[dims] is f64[dims, 2]. */
#ifndef BMC_IR_OPS_COMPLEX_H
#define BMC_IR_OPS_COMPLEX_H
#include "ir/graph/eval.h"
#include "ir/graph/lower.h"
#include "ir/ops/compose.h"

static inline bool dtype_is_complex(DType t) { return dtype_info(t)->cls == DC_COMPLEX; }
static inline DType dtype_part(DType complex) { return complex == DT_C64 ? DT_F32 : DT_F64; }

/* Operand 0 is complex: for `must_expand`. */
bool complex_first(const Graph *, Node);
/* The real (0) or imaginary (1) part. */
Value complex_part(Ex *, Value, int which);
/* Expands an operator that is linear in its complex operands (bit k of `mask`: operand k), with one result: the operator itself on real and on imaginary parts.
 * `imaginary`: the attributes for the imaginary parts, NULL: the node's. */
bool complex_expand(Graph *, Node, uint32_t mask, const void *imaginary);
/* The same for the reference: `real` runs with the operands' parts, which = 0 and 1. */
bool complex_eval(Eval *, uint32_t mask, bool (*real)(Eval *, int which));
/* A buffer of complex elements as one of reals with an axis of two at the end, wherever it lies. */
KBuf complex_view(Lw *, KBuf);
#endif
