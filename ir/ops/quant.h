/* quant.h: what the quantising operators share: conversion to the 8-bit floats, steps of expansions. */
#ifndef BMC_IR_OPS_QUANT_H
#define BMC_IR_OPS_QUANT_H
#include "ir/graph/eval.h"
#include "ir/graph/infer.h"
#include "ir/graph/lower.h"
#include "ir/ops/compose.h"

/* ---- quant_small.c ---- */
/* Cast of any number to any type, with ONNX's attributes for the 8-bit floats and E8M0. */
KVal small_cast(Kb *, DType to, KVal, bool saturate, const char *round_mode);
/* The same for one element of a reference result of such a type. */
void small_eval(Tensor *, int64_t k, double, bool saturate, const char *round_mode);

/* ---- quant_exp.c ---- */
/* Quantisation parameters of rank 0, [1] or [n] in a form that broadcasts against a value of `rank` axes along
 * `axis`. */
Value quant_along(Ex *, Value param, int rank, int64_t axis);
/* x in real numbers, and back: (x - zero) * scale and saturate(round(x / scale) + zero), per tensor or along an axis.
 * zero may be none. */
Value quant_to_real(Ex *, Value x, Value scale, Value zero, int64_t axis);
Value quant_from_real(Ex *, Value x, Value scale, Value zero, int64_t axis, DType to);

/* Attributes of the internal Quantize, Dequantize. */
typedef struct QuantAttrs {
    uint64_t set;
    int64_t to, saturate, precision;
} QuantAttrs;

#endif
