/* compare.h: a computed value against a stored one, as ONNX's own test suite does it. */
#ifndef BMC_DRIVER_COMPARE_H
#define BMC_DRIVER_COMPARE_H
#include "base/arena.h"
#include "runtime/bmc.h"

/* Kind, number of elements, element type and shape must be equal; numbers may differ by |got - want| <= atol + rtol * |want|; NaN equals NaN, infinities and
 * strings must be equal. false: *why (in the arena) says what differs and where most; `name` stands in it. */
bool value_agrees(Arena *, const char *name, const bmc_value *got, const bmc_value *want, double rtol, double atol, const char **why);

#endif
