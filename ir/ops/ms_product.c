/* ms_product.c: products of com.microsoft, by expansion:
 *   FusedMatMul(a, b)      alpha * op(a) * op(b), op a transposition of the last two axes
 *   QGemm                  alpha * sa * sb * (a * b + c) in 32 bits; quantised when the result has a scale
 *   MatMulIntegerToFloat   MatMulInteger(a, b) * (sa * sb) + bias
 *   DynamicQuantizeMatMul  the same with a quantised on the way */
#include "ir/ops/contraction.h"
#include "ir/ops/quant.h"
#include <math.h>

#define MS .domain = "com.microsoft", .since = 1
#define DTS_8 (DTS(DT_I8) | DTS(DT_U8))
typedef struct Product {
    uint64_t set;
    double alpha;
    int64_t transA, transB, transBatchA, transBatchB;
} Product;
static const AttrSpec FUSED[] = {A_FLOAT(Product, alpha, 1),     A_INT(Product, transA, 0),
                                 A_INT(Product, transB, 0),      A_INT(Product, transBatchA, 0),
                                 A_INT(Product, transBatchB, 0), A_END};
static const AttrSpec GEMM[] = {A_FLOAT(Product, alpha, 1), A_INT(Product, transA, 0), A_INT(Product, transB, 0),
                                A_END};

/* An operand with its last two axes changed when asked. */
static Value turned(Ex *e, Value v, int64_t yes)
{
    int64_t perm[RANK_MAX];
    int rank = ex_rank(e, v);
    if (e->failed || !yes || rank < 2) return v;
    for (int i = 0; i < rank; i++) perm[i] = i < rank - 2 ? i : i == rank - 2 ? rank - 1 : rank - 2;
    return ex_transpose(e, v, perm, (uint32_t)rank);
}

static uint32_t b_of(const OpDesc *op) { return op == op_desc(OP_ms_QGemm) ? 3 : 1; }

/* The product's dims; operands a and b of a node, possibly transposed. */
static bool product_dims(Infer *c, Dim *dim, int *rank)
{
    const Product *p = c->op->attrs ? ATTRS(c->g, c->n, Product) : NULL;
    uint32_t at[2] = {0, b_of(c->op)};
    Dim d[2][RANK_MAX];
    int r[2];
    for (int k = 0; k < 2; k++) {
        if (!infer_need_rank(c, at[k], 1, -1)) return false;
        r[k] = infer_rank(c, at[k]);
        for (int i = 0; i < r[k]; i++) d[k][i] = infer_dim(c, at[k], i);
        if (p && r[k] > 1 && (k ? p->transB : p->transA)) {
            Dim x = d[k][r[k] - 1];
            d[k][r[k] - 1] = d[k][r[k] - 2];
            d[k][r[k] - 2] = x;
        }
    }
    return contraction_dims(c, d[0], r[0], d[1], r[1], dim, rank);
}

/* ---- FusedMatMul ---- */

static bool fused_infer(Infer *c)
{
    const Product *p = ATTRS(c->g, c->n, Product);
    Dim dim[RANK_MAX + 2];
    int rank;
    if (p->transBatchA || p->transBatchB) return infer_fail(c, "transBatchA and transBatchB are not supported");
    return product_dims(c, dim, &rank) && infer_set(c, 0, infer_elem(c, 0), rank, dim);
}

static bool fused_expand(Graph *g, Node n)
{
    Ex e = ex_begin(g, n);
    const Product *p = ATTRS(g, n, Product);
    Value y = ex2(&e, OP_MatMul, turned(&e, node_in(g, n, 0), p->transA), turned(&e, node_in(g, n, 1), p->transB));
    if (!e.failed && p->alpha != 1) y = ex2(&e, OP_Mul, y, ex_f(&e, ex_elem(&e, y), p->alpha));
    ex_result(&e, 0, y);
    return !e.failed;
}

/* ---- integers with scales ---- */

static bool param_fits(Infer *c, uint32_t k, Dim columns)
{
    if (!infer_has(c, k)) return true;
    if (!infer_need_rank(c, k, 0, 2)) return false;
    if (infer_rank(c, k) == 0) return true;
    Dim last = infer_dim(c, k, infer_rank(c, k) - 1);
    return infer_broadcasts_to(c, last, columns, "length of a quantisation parameter");
}

static bool qgemm_infer(Infer *c)
{
    Dim dim[RANK_MAX + 2], one = dim_const(c->d, 1);
    int rank;
    if (!infer_need_rank(c, 0, 2, 2) || !infer_need_rank(c, 3, 2, 2) || !product_dims(c, dim, &rank)) return false;
    if (!param_fits(c, 1, one) || !param_fits(c, 2, one) || !param_fits(c, 4, dim[1]) || !param_fits(c, 5, dim[1]) ||
        !param_fits(c, 7, one) || !param_fits(c, 8, one))
        return false;
    if (infer_has(c, 6) && !infer_need_rank(c, 6, 0, 2)) return false;
    if (infer_has(c, 8) && !infer_has(c, 7)) return infer_fail(c, "a zero point without a scale");
    return infer_set(c, 0, infer_has(c, 7) ? infer_has(c, 8) ? infer_elem(c, 8) : infer_elem(c, 0) : DT_F32, 2, dim);
}

static bool qgemm_expand(Graph *g, Node n)
{
    Ex e = ex_begin(g, n);
    const Product *p = ATTRS(g, n, Product);
    Value a = turned(&e, node_in(g, n, 0), p->transA), b = turned(&e, node_in(g, n, 3), p->transB);
    Value in[4] = {a, b, quant_along(&e, node_in(g, n, 2), 0, 0), node_in(g, n, 5)};
    Value acc = ex_op(&e, OP_MatMulInteger, in, 4, NULL);
    if (node_in(g, n, 6).i) acc = ex2(&e, OP_Add, acc, node_in(g, n, 6));
    Value s = ex2(&e, OP_Mul, quant_along(&e, node_in(g, n, 1), 0, 0), node_in(g, n, 4));
    if (p->alpha != 1) s = ex2(&e, OP_Mul, s, ex_f(&e, DT_F32, p->alpha));
    Value sy = quant_along(&e, node_in(g, n, 7), 0, 0), real;
    if (sy.i) s = ex2(&e, OP_Div, s, sy);
    real = ex2(&e, OP_Mul, ex_cast(&e, acc, DT_F32), s);
    if (sy.i)
        real = quant_from_real(&e, real, VALUE_NONE, quant_along(&e, node_in(g, n, 8), 0, 0), -1,
                               value_trec(g, node_out(g, n, 0))->elem);
    ex_result(&e, 0, real);
    return !e.failed;
}

/* MatMulIntegerToFloat: a, b, sa, sb, za, zb, bias. DynamicQuantizeMatMul: a, b, sb, zb, bias. */
static bool dynamic(const OpDesc *op) { return op == op_desc(OP_ms_DynamicQuantizeMatMul); }

static bool to_float_infer(Infer *c)
{
    Dim dim[RANK_MAX + 2];
    int rank;
    bool dyn = dynamic(c->op);
    if (!product_dims(c, dim, &rank)) return false;
    Dim columns = rank ? dim[rank - 1] : dim_const(c->d, 1), one = dim_const(c->d, 1);
    for (uint32_t k = 2; k < (dyn ? 5u : 7u); k++)
        if (!param_fits(c, k, !dyn && (k == 2 || k == 4) ? one : columns)) return false;
    return infer_set(c, 0, DT_F32, rank, dim);
}

static bool to_float_expand(Graph *g, Node n)
{
    Ex e = ex_begin(g, n);
    bool dyn = dynamic(node_desc(g, n));
    Value a = node_in(g, n, 0), q[3] = {a, VALUE_NONE, VALUE_NONE}, sb = node_in(g, n, dyn ? 2 : 3),
          zb = node_in(g, n, dyn ? 3 : 5), bias = node_in(g, n, dyn ? 4 : 6);
    if (dyn) ex_ops(&e, OP_DynamicQuantizeLinear, &a, 1, NULL, q, 3);
    else q[1] = quant_along(&e, node_in(g, n, 2), 0, 0), q[2] = quant_along(&e, node_in(g, n, 4), 0, 0);
    Value acc = ex_op(&e, OP_MatMulInteger, (Value[]){q[0], node_in(g, n, 1), q[2], zb}, 4, NULL);
    Value y = ex2(&e, OP_Mul, ex_cast(&e, acc, DT_F32), ex2(&e, OP_Mul, q[1], sb));
    ex_result(&e, 0, bias.i ? ex2(&e, OP_Add, y, bias) : y);
    return !e.failed;
}

static const Port P_AB[] = {{"A", DTS_FLOAT, 0, 1}, {"B", DTS_FLOAT, 0, 1}, PORT_END};
static const Port P_Y[] = {{"Y", DTS_FLOAT, 0, 1}, PORT_END};
static const Port P_F32[] = {{"Y", DTS(DT_F32), 0, 0}, PORT_END};
static const Port P_QGEMM[] = {{"A", DTS_8, 0, 1},
                               {"a_scale", DTS(DT_F32), 0, 0},
                               {"a_zero_point", DTS_8, 0, 1},
                               {"B", DTS_8, 0, 2},
                               {"b_scale", DTS(DT_F32), 0, 0},
                               {"b_zero_point", DTS_8, 0, 2},
                               {"C", DTS(DT_I32), PORT_OPTIONAL, 0},
                               {"y_scale", DTS(DT_F32), PORT_OPTIONAL, 0},
                               {"y_zero_point", DTS_8, PORT_OPTIONAL, 0},
                               PORT_END};
static const Port P_QGEMM_OUT[] = {{"Y", DTS_8 | DTS(DT_F32), 0, 0}, PORT_END};
static const Port P_TO_FLOAT[] = {{"A", DTS_8, 0, 1},
                                  {"B", DTS_8, 0, 2},
                                  {"a_scale", DTS(DT_F32), 0, 0},
                                  {"b_scale", DTS(DT_F32), 0, 0},
                                  {"a_zero_point", DTS_8, PORT_OPTIONAL, 1},
                                  {"b_zero_point", DTS_8, PORT_OPTIONAL, 2},
                                  {"bias", DTS(DT_F32), PORT_OPTIONAL, 0},
                                  PORT_END};
static const Port P_DYNAMIC[] = {{"A", DTS(DT_F32), 0, 0},
                                 {"B", DTS_8, 0, 2},
                                 {"b_scale", DTS(DT_F32), 0, 0},
                                 {"b_zero_point", DTS_8, PORT_OPTIONAL, 2},
                                 {"bias", DTS(DT_F32), PORT_OPTIONAL, 0},
                                 PORT_END};
const OpDesc op_ms_FusedMatMul = {.name = "FusedMatMul",
                                  MS,
                                  .cls = CLS_CONTRACT,
                                  .in = P_AB,
                                  .out = P_Y,
                                  .attrs = FUSED,
                                  .attrs_size = sizeof(Product),
                                  .infer = fused_infer,
                                  .expand = fused_expand};
const OpDesc op_ms_QGemm = {.name = "QGemm",
                            MS,
                            .cls = CLS_CONTRACT,
                            .in = P_QGEMM,
                            .out = P_QGEMM_OUT,
                            .attrs = GEMM,
                            .attrs_size = sizeof(Product),
                            .infer = qgemm_infer,
                            .expand = qgemm_expand};
const OpDesc op_ms_MatMulIntegerToFloat = {.name = "MatMulIntegerToFloat",
                                           MS,
                                           .cls = CLS_CONTRACT,
                                           .in = P_TO_FLOAT,
                                           .out = P_F32,
                                           .infer = to_float_infer,
                                           .expand = to_float_expand};
const OpDesc op_ms_DynamicQuantizeMatMul = {.name = "DynamicQuantizeMatMul",
                                            MS,
                                            .cls = CLS_CONTRACT,
                                            .in = P_DYNAMIC,
                                            .out = P_F32,
                                            .infer = to_float_infer,
                                            .expand = to_float_expand};
