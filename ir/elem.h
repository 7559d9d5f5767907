/* elem.h: single elements of dense data of any number type, read and written as double or int64. Little-endian, no
 * alignment asked for, sub-byte types packed as in ONNX (first element in the low bits). For constants and reference
 * evaluation; compiled code has its own conversions. */
#ifndef BMC_IR_ELEM_H
#define BMC_IR_ELEM_H
#include "ir/type.h"

/* A float of at most 16 bits: sign, ebits, mbits. Codes without the sign bit: max, the largest finite value; inf, 0 if there is none (values
 * saturate); nan, a quiet one. fnuz: nan is the code of -0. mbits 0: the type is none of these (E8M0 is all exponent and stands alone). */
typedef struct ElemFormat {
    uint8_t ebits, mbits;
    int bias;
    uint32_t max, inf, nan;
    bool fnuz;
} ElemFormat;
const ElemFormat *elem_format(DType);

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
