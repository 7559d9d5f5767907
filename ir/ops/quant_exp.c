/* quant_exp.c: writing expansions: nodes before the one that is expanded, typed as they are made; constants; scales brought into a form that broadcasts. */
#include "ir/ops/quant.h"

Value exp_nodes(Exp *e, OpCode op, const void *attrs, uint32_t n_in, const Value *in, uint32_t n_out, Value *out)
{
    for (uint32_t k = 0; k < n_out; k++) out[k] = VALUE_NONE;
    if (!e->ok) return VALUE_NONE;
    while (n_in && !in[n_in - 1].i) n_in--;
    Node n = graph_add(e->g, op, in, n_in, n_out, attrs, node_rec(e->g, e->n)->loc, e->n);
    e->ok = infer_node(e->g, n);
    for (uint32_t k = 0; k < n_out && e->ok; k++) out[k] = node_out(e->g, n, k);
    return e->ok ? node_out(e->g, n, 0) : VALUE_NONE;
}

Value exp_node(Exp *e, OpCode op, const void *attrs, uint32_t n_in, const Value *in)
{
    Value out;
    return exp_nodes(e, op, attrs, n_in, in, 1, &out);
}

Value exp_cast(Exp *e, Value v, DType to)
{
    struct { uint64_t set; int64_t to, saturate; const char *round_mode; } a = {1, to, 1, "up"};   /* cast.c's struct */
    if (!e->ok || exp_type(e, v)->elem == to) return v;
    return exp_node(e, OP_Cast, &a, 1, &v);
}

static Value scalar_const(Exp *e, Blob b, DType t) { return graph_const(e->g, b, type_tensor(&e->g->m->types, t, 0, NULL), (Name){0}); }
Value exp_f(Exp *e, DType t, double v) { return scalar_const(e, blob_splat_f(&e->g->m->blobs, t, 1, v), t); }
Value exp_i(Exp *e, DType t, int64_t v) { return scalar_const(e, blob_splat_i(&e->g->m->blobs, t, 1, v), t); }

Value exp_ints(Exp *e, const int64_t *v, uint32_t n)
{
    Module *m = e->g->m;
    Dim d = dim_const(&m->dims, n);
    return graph_const(e->g, blob_inline(&m->blobs, DT_I64, n, v), type_tensor(&m->types, DT_I64, 1, &d), (Name){0});
}

Value exp_reshape(Exp *e, Value v, const int64_t *dim, uint32_t rank) { return exp_2(e, OP_Reshape, v, exp_ints(e, dim, rank)); }

void exp_result(Exp *e, uint32_t r, Value v)
{
    if (e->ok) graph_replace_uses(e->g, node_out(e->g, e->n, r), v);
}

Value quant_along(Exp *e, Value p, int rank, int64_t axis)
{
    int64_t dim[RANK_MAX];
    if (!e->ok || !p.i) return p;
    const TypeRec *t = exp_type(e, p);
    if (axis < 0) axis += rank;
    bool single = t->rank == 1 && dim_is(&e->g->m->dims, t->dim[0], 1);
    if (single && rank == 0) return exp_reshape(e, p, dim, 0);
    if (t->rank != 1 || single || axis == rank - 1) return p;
    dim[0] = -1;
    for (int i = 1; i < rank - axis; i++) dim[i] = 1;
    return exp_reshape(e, p, dim, (uint32_t)(rank - axis));
}

Value quant_to_real(Exp *e, Value x, Value scale, Value zero, int64_t axis)
{
    if (!e->ok) return VALUE_NONE;
    int rank = exp_type(e, x)->rank;
    DType to = exp_type(e, scale)->elem;
    QuantAttrs a = {.set = 1, .to = DTS(to) & DTS_FLOAT ? to : DT_F32, .saturate = 1};
    return exp_node(e, OP_Dequantize, &a, 3, (Value[]){x, quant_along(e, scale, rank, axis), quant_along(e, zero, rank, axis)});
}

Value quant_from_real(Exp *e, Value x, Value scale, Value zero, int64_t axis, DType to)
{
    if (!e->ok) return VALUE_NONE;
    int rank = exp_type(e, x)->rank;
    QuantAttrs a = {.set = 1, .to = to, .saturate = 1};
    return exp_node(e, OP_Quantize, &a, 3, (Value[]){x, quant_along(e, scale, rank, axis), quant_along(e, zero, rank, axis)});
}
