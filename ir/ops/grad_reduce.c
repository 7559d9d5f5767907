/* grad_reduce.c: derivatives of reductions and running sums: the adjoint of a sum goes to each of its terms. With y and dy in the operand's rank, their
 * reduced axes of extent 1, the rest is broadcasting. */
#include "ir/ops/grad.h"

#define X gr_in(c, 0)

/* A value of the result's shape, with the axes that were reduced: extent 1. */
static Value kept(Grad *c, Value v)
{
    if (gr_int(c, "keepdims") || gr_rank(c, v) == gr_rank(c, X)) return v;
    if (gr_in(c, 1).i && gr_rank(c, v)) return ex2(&c->x, OP_Unsqueeze, v, gr_in(c, 1));
    int64_t one[RANK_MAX];
    for (int i = 0; i < gr_rank(c, X); i++) one[i] = 1;
    return ex_reshape(&c->x, v, one, (uint32_t)gr_rank(c, X));
}
static Value y(Grad *c) { return kept(c, gr_out(c, 0)); }
static Value dy(Grad *c) { return kept(c, gr_dy(c)); }
static bool factor(Grad *c, Value f) { return gr_set(c, 0, gr_mul(c, dy(c), f)), true; }

/* How many elements make one of the result. */
static Value terms(Grad *c)
{
    Value some = ex2(&c->x, OP_Max, ex1(&c->x, OP_Size, gr_dy(c)), ex_i(&c->x, DT_I64, 1));
    return ex_cast(&c->x, gr_div(c, ex1(&c->x, OP_Size, X), some), gr_elem(c, X));
}

bool grad_reduce_sum(Grad *c) { return gr_set(c, 0, gr_expand(c, dy(c), X)), true; }
bool grad_reduce_mean(Grad *c) { return gr_set(c, 0, gr_expand(c, gr_div(c, dy(c), terms(c)), X)), true; }
bool grad_reduce_l1(Grad *c) { return factor(c, ex1(&c->x, OP_Sign, X)); }
bool grad_reduce_sum_square(Grad *c) { return factor(c, gr_times(c, X, 2)); }
bool grad_reduce_log_sum(Grad *c) { return gr_set(c, 0, gr_expand(c, gr_mul(c, dy(c), ex1(&c->x, OP_Exp, gr_neg(c, y(c)))), X)), true; }
bool grad_reduce_log_sum_exp(Grad *c) { return factor(c, ex1(&c->x, OP_Exp, gr_sub(c, X, y(c)))); }

/* x / |x|; 0 at 0 */
bool grad_reduce_l2(Grad *c)
{
    Value norm = y(c), none = gr_test(c, OP_Equal, norm, 0);
    return factor(c, gr_div(c, X, gr_where(c, none, gr_num(c, 1, norm), norm)));
}

/* Equal ones share. */
bool grad_reduce_extremum(Grad *c)
{
    Value hit = ex2(&c->x, OP_Equal, X, y(c)), one = ex_cast(&c->x, hit, gr_elem(c, X));
    Value share = gr_div(c, dy(c), c->x.failed ? VALUE_NONE : gr_fit(c, one, y(c)));
    return gr_set(c, 0, gr_where(c, hit, share, gr_num(c, 0, X))), true;
}

/* The product of all others, where only the run knows the axes: y/x; with one 0 among them only that one has a derivative, with more none. A second
 * derivative is right away from zeros. */
static Value others_by_division(Grad *c)
{
    Value zero = gr_num(c, 0, X), one = gr_num(c, 1, X), nil = gr_test(c, OP_Equal, X, 0), safe = gr_where(c, nil, one, X);
    if (c->x.failed) return VALUE_NONE;
    Value count = gr_fit(c, ex_cast(&c->x, nil, gr_elem(c, X)), y(c));
    Value in[2] = {safe, gr_in(c, 1)}, rest = VALUE_NONE;
    Node again = gr_again(c, in, 2, 1);
    if (again.i) rest = kept(c, node_out(c->g, again, 0));
    Value others = gr_where(c, gr_test(c, OP_Equal, count, 0), gr_div(c, rest, safe), zero);
    return gr_where(c, ex2(&c->x, OP_And, nil, gr_test(c, OP_Equal, count, 1)), rest, others);
}

/* The product of those before times that of those after, the reduced axes as one behind the others: no division, so that zeros are nothing special, and
 * derivatives of it are right again. */
bool grad_reduce_prod(Grad *c)
{
    Ex *x = &c->x;
    Dims *d = &c->g->m->dims;
    Value axes = gr_in(c, 1), others;
    const Content *known = axes.i ? infer_value_content(c->g, axes) : NULL;
    int rank = gr_rank(c, X), n = 0;
    bool reduced[RANK_MAX] = {false}, constant = !axes.i || known, all = !axes.i || (known && !known->n);
    for (uint32_t k = 0; known && k < known->n; k++) {
        int64_t a;
        if (dim_is_const(d, dim_resolve(d, known->d[k]), &a)) reduced[a < 0 ? a + rank : a] = true;
        else constant = false;
    }
    if (!constant) return factor(c, others_by_division(c));
    if (!rank || (all && gr_int(c, "noop_with_empty_axes"))) return gr_set(c, 0, gr_dy(c)), true;
    int64_t perm[RANK_MAX], back[RANK_MAX];
    Dim dim[RANK_MAX], row[RANK_MAX], len = dim_const(d, 1);
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < rank; i++)
            if ((all || reduced[i]) == pass) {
                dim[n] = gr_dim(c, X, i);
                if (pass) len = dim_mul(d, len, dim[n]);
                else row[n] = dim[n];
                perm[n] = i, back[i] = n++;
            }
    int kept_axes = 0;
    while (kept_axes < rank && !(all || reduced[perm[kept_axes]])) kept_axes++;
    row[kept_axes] = len;
    Value rows = ex_shaped(x, ex_transpose(x, X, perm, (uint32_t)rank), row, kept_axes + 1), part[2];
    for (int reverse = 0; reverse < 2; reverse++) {
        void *attrs = ex_set(x, OP_CumProd, ex_set(x, OP_CumProd, NULL, "exclusive", 1), "reverse", reverse);
        part[reverse] = ex_op(x, OP_CumProd, (Value[]){rows, ex_i(x, DT_I64, kept_axes)}, 2, attrs);
    }
    others = ex_transpose(x, ex_shaped(x, gr_mul(c, part[0], part[1]), dim, rank), back, (uint32_t)rank);
    return factor(c, others);
}

/* The sum over what comes later, where the operator sums over what came before. */
bool grad_cumsum(Grad *c)
{
    void *attrs = ex_set(&c->x, OP_CumSum, NULL, "exclusive", gr_int(c, "exclusive"));
    Value in[2] = {gr_dy(c), gr_in(c, 1)};
    return gr_set(c, 0, ex_op(&c->x, OP_CumSum, in, 2, ex_set(&c->x, OP_CumSum, attrs, "reverse", !gr_int(c, "reverse")))), true;
}
