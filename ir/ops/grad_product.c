/* grad_product.c: derivatives of sums of products.
 *   Y = A B:   dA = dY B',  dB = A' dY      (batches that were broadcast are summed) */
#include "ir/ops/grad.h"

static Value matmul(Grad *c, Value a, Value b) { return ex2(&c->x, OP_MatMul, a, b); }

/* The last two axes swapped. */
static Value turned(Grad *c, Value v)
{
    int64_t perm[RANK_MAX];
    int rank = ex_rank(&c->x, v);
    for (int i = 0; i < rank; i++) perm[i] = i;
    if (rank < 2) return v;
    perm[rank - 1] = rank - 2;
    perm[rank - 2] = rank - 1;
    return ex_transpose(&c->x, v, perm, (uint32_t)rank);
}

/* All axes but the last as one. */
static Value rows(Grad *c, Value v)
{
    Value last = ex_shape_part(&c->x, v, -1, INT64_MAX), all = ex_int1(&c->x, -1);
    return ex2(&c->x, OP_Reshape, v, ex_axis(&c->x, OP_Concat, (Value[]){all, last}, 2, 0));
}

bool grad_matmul(Grad *c)
{
    Value a = gr_in(c, 0), b = gr_in(c, 1), dy = gr_dy(c), front = ex_int1(&c->x, -2), back = ex_int1(&c->x, -1);
    bool weights = gr_rank(c, a) > 2 && gr_rank(c, b) == 2;
    if (gr_rank(c, a) == 1) { /* a row, a column */
        a = ex2(&c->x, OP_Unsqueeze, a, front);
        dy = ex2(&c->x, OP_Unsqueeze, dy, gr_rank(c, b) == 1 ? back : front);
    }
    if (gr_rank(c, b) == 1) {
        b = ex2(&c->x, OP_Unsqueeze, b, back);
        dy = ex2(&c->x, OP_Unsqueeze, dy, back);
    }
    if (gr_need(c, 0)) {
        Value da = matmul(c, dy, turned(c, b));
        gr_set(c, 0, gr_rank(c, gr_in(c, 0)) == 1 ? ex2(&c->x, OP_Squeeze, da, front) : da);
    }
    if (gr_need(c, 1)) {
        Value db = weights ? matmul(c, turned(c, rows(c, a)), rows(c, dy)) : matmul(c, turned(c, a), dy);
        gr_set(c, 1, gr_rank(c, gr_in(c, 1)) == 1 ? ex2(&c->x, OP_Squeeze, db, back) : db);
    }
    return true;
}

static Value gemm(Grad *c, Value a, Value b, bool ta, bool tb)
{
    void *attrs = ex_set_f(&c->x, OP_Gemm, NULL, "alpha", gr_float(c, "alpha"));
    attrs = ex_set(&c->x, OP_Gemm, ex_set(&c->x, OP_Gemm, attrs, "transA", ta), "transB", tb);
    return ex_op(&c->x, OP_Gemm, (Value[]){a, b}, 2, attrs);
}

/* alpha A B + beta C, A and B turned or not */
bool grad_gemm(Grad *c)
{
    Value a = gr_in(c, 0), b = gr_in(c, 1), dy = gr_dy(c);
    bool ta = gr_int(c, "transA"), tb = gr_int(c, "transB");
    if (gr_need(c, 0)) gr_set(c, 0, ta ? gemm(c, b, dy, tb, true) : gemm(c, dy, b, false, !tb));
    if (gr_need(c, 1)) gr_set(c, 1, tb ? gemm(c, dy, a, true, ta) : gemm(c, a, dy, !ta, false));
    if (gr_need(c, 2)) gr_set(c, 2, gr_float(c, "beta") == 1 ? dy : gr_times(c, dy, gr_float(c, "beta")));
    return true;
}
