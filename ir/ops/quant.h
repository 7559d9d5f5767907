/* quant.h: what the quantising operators share: conversion to the 8-bit floats, nodes and constants for expansions. */
#ifndef BMC_IR_OPS_QUANT_H
#define BMC_IR_OPS_QUANT_H
#include "ir/graph/eval.h"
#include "ir/graph/infer.h"
#include "ir/graph/lower.h"

/* ---- quant_small.c ---- */
/* Cast of any number to any type, with ONNX's attributes for the 8-bit floats and E8M0. */
KVal small_cast(Kb *, DType to, KVal, bool saturate, const char *round_mode);
/* The same for one element of a reference result of such a type. */
void small_eval(Tensor *, int64_t k, double, bool saturate, const char *round_mode);

/* ---- writing expansions ---- */
/* What an expansion writes before node n; types of all it makes are inferred on the way. ok: false once something failed. */
typedef struct Exp { Graph *g; Node n; bool ok; } Exp;
Value exp_node(Exp *, OpCode, const void *attrs, uint32_t n_in, const Value *in);
Value exp_nodes(Exp *, OpCode, const void *attrs, uint32_t n_in, const Value *in, uint32_t n_out, Value *out);
static inline Value exp_1(Exp *e, OpCode op, Value a) { return exp_node(e, op, NULL, 1, &a); }
static inline Value exp_2(Exp *e, OpCode op, Value a, Value b) { return exp_node(e, op, NULL, 2, (Value[]){a, b}); }
Value exp_cast(Exp *, Value, DType);                          /* itself when it is of that type */
Value exp_f(Exp *, DType, double);                            /* scalar constants */
Value exp_i(Exp *, DType, int64_t);
Value exp_ints(Exp *, const int64_t *, uint32_t n);           /* i64[n] */
Value exp_reshape(Exp *, Value, const int64_t *dim, uint32_t rank);
static inline const TypeRec *exp_type(const Exp *e, Value v) { return value_trec(e->g, v); }
/* The node's result r is v from now on. */
void exp_result(Exp *, uint32_t r, Value v);

/* Quantisation parameters of rank 0, [1] or [n] in a form that broadcasts against a value of `rank` axes along `axis`. */
Value quant_along(Exp *, Value param, int rank, int64_t axis);
/* x in real numbers, and back: (x - zero) * scale and saturate(round(x / scale) + zero), per tensor or along an axis. zero may be none. */
Value quant_to_real(Exp *, Value x, Value scale, Value zero, int64_t axis);
Value quant_from_real(Exp *, Value x, Value scale, Value zero, int64_t axis, DType to);

/* Attributes of the internal Quantize, Dequantize. */
typedef struct QuantAttrs { uint64_t set; int64_t to, saturate, precision; } QuantAttrs;

#endif
