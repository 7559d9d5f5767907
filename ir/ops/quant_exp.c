/* quant_exp.c: quantisation in expansions: scales brought into a form that broadcasts, and the steps between integers
 * and real numbers. */
#include "ir/ops/quant.h"

Value quant_along(Ex *e, Value p, int rank, int64_t axis)
{
    int64_t dim[RANK_MAX];
    if (e->failed || !p.i) return p;
    const TypeRec *t = ex_type(e, p);
    if (axis < 0) axis += rank;
    Dims *d = &e->g->m->dims;
    bool single = t->rank == 1 && (dim_is(d, dim_resolve(d, t->dim[0]), 1) || axis >= rank); /* inference has seen to it that it is one */
    if (single && rank == 0) return ex_reshape(e, p, dim, 0);
    if (t->rank != 1 || single || axis == rank - 1) return p;
    dim[0] = -1;
    for (int i = 1; i < rank - axis; i++) dim[i] = 1;
    return ex_reshape(e, p, dim, (uint32_t)(rank - axis));
}

Value quant_to_real(Ex *e, Value x, Value scale, Value zero, int64_t axis)
{
    if (e->failed) return VALUE_NONE;
    int rank = ex_type(e, x)->rank;
    DType to = ex_type(e, scale)->elem;
    QuantAttrs a = {.set = 1, .to = DTS(to) & DTS_FLOAT ? to : DT_F32, .saturate = 1};
    return ex_op(e, OP_Dequantize, (Value[]){x, quant_along(e, scale, rank, axis), quant_along(e, zero, rank, axis)}, 3, &a);
}

Value quant_from_real(Ex *e, Value x, Value scale, Value zero, int64_t axis, DType to)
{
    if (e->failed) return VALUE_NONE;
    int rank = ex_type(e, x)->rank;
    QuantAttrs a = {.set = 1, .to = to, .saturate = 1};
    return ex_op(e, OP_Quantize, (Value[]){x, quant_along(e, scale, rank, axis), quant_along(e, zero, rank, axis)}, 3, &a);
}
