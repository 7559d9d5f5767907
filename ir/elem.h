/* elem.h: single elements of dense data of any number type, read and written as double or int64. Little-endian, no
 * alignment asked for, sub-byte types packed as in ONNX (first element in the low bits). For constants and reference
 * evaluation; compiled code has its own conversions. */
#ifndef BMC_IR_ELEM_H
#define BMC_IR_ELEM_H
#include "ir/type.h"

/* Floats truncate, beyond int64 they clamp, nan is 0; u64 keeps its bits; bool is 0 or 1; complex gives its real part.
 * Not for strings. */
int64_t elem_get_i(DType, const void *data, int64_t k);
double elem_get_f(DType, const void *data, int64_t k);
/* Integers wrap to the type's width; floats round to nearest even, 8- and 4-bit floats without infinity saturate; bool
 * is x != 0; complex gets a real value. */
void elem_put_i(DType, void *data, int64_t k, int64_t x);
/* As put_i for floats; integer types truncate and clamp, nan is 0. */
void elem_put_f(DType, void *data, int64_t k, double x);

#endif
