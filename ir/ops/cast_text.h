/* cast_text.h: numbers to strings and back, as Cast and CastMap have it. */
#ifndef BMC_IR_OPS_CAST_TEXT_H
#define BMC_IR_OPS_CAST_TEXT_H
#include "ir/graph/eval.h"
#include "ir/ops/compose.h"

/* x of any type, one of both types being a string, as nodes. */
Value cast_text_nodes(Ex *, Value x, DType to);
/* Reference: element k of y becomes element j of x. false: it is no number. */
bool cast_text_eval(Eval *, Tensor *y, int64_t k, const Tensor *x, int64_t j);

#endif
