/* ml_post.c: post transformations of scores, and labels of classes (ai.onnx.ml), as ordinary operators.
 *   SOFTMAX_ZERO  as softmax, but scores next to 0 mean "not asked" and stay 0
 *   PROBIT        the inverse of the normal distribution, by the usual approximation */
#include "ir/ops/ml.h"
#include <math.h>
#include <string.h>

static const char *const POST_NAME[] = {"NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"};

int ml_named(const char *text, const char *const *name, int n)
{
    for (int k = 0; k < n; k++)
        if (!strcmp(text, name[k])) return k;
    return -1;
}

MlPost ml_post_of(const char *name)
{
    int k = ml_named(name, POST_NAME, POST_COUNT);
    return k < 0 ? POST_COUNT : (MlPost)k;
}

Value ml_row_reduce(Ex *e, OpCode op, Value v)
{
    int64_t axis = 1;
    return ex2(e, op, v, ex_ints(e, &axis, 1));
}

/* sqrt 2 * inverse of the error function at 2v - 1 */
static Value probit(Ex *e, Value v, DType t)
{
    Value x = ex2(e, OP_Sub, ex2(e, OP_Mul, v, ex_f(e, t, 2)), ex_f(e, t, 1)), one = ex_f(e, t, 1);
    Value log = ex1(e, OP_Log, ex2(e, OP_Mul, ex2(e, OP_Sub, one, x), ex2(e, OP_Add, one, x)));
    Value p =
        ex2(e, OP_Add, ex_f(e, t, 2 / (3.14159265358979323846 * 0.147)), ex2(e, OP_Mul, log, ex_f(e, t, 0.5)));
    Value q = ex2(e, OP_Sub, ex2(e, OP_Mul, p, p), ex2(e, OP_Mul, log, ex_f(e, t, 1 / 0.147)));
    Value r = ex1(e, OP_Sqrt, ex2(e, OP_Sub, ex1(e, OP_Sqrt, q), p));
    return ex2(e, OP_Mul, ex2(e, OP_Mul, ex1(e, OP_Sign, x), r), ex_f(e, t, 1.41421356));
}

static Value softmax_zero(Ex *e, Value v, DType t)
{
    Value max = ml_row_reduce(e, OP_ReduceMax, v),
          far = ex2(e, OP_Greater, ex1(e, OP_Abs, v), ex_f(e, t, 0.0000001));
    Value near = ex2(e, OP_Mul, v, ex1(e, OP_Exp, ex1(e, OP_Neg, max)));
    Value x = ex3(e, OP_Where, far, ex1(e, OP_Exp, ex2(e, OP_Sub, v, max)), near);
    Value sum = ml_row_reduce(e, OP_ReduceSum, x), none = ex2(e, OP_Equal, sum, ex_f(e, t, 0));
    return ex3(e, OP_Where, none, ex_f(e, t, 0.5), ex2(e, OP_Div, x, sum));
}

Value ml_post(Ex *e, Value v, MlPost post)
{
    DType t = ex_elem(e, v);
    if (e->failed) return v;
    switch (post) {
    case POST_SOFTMAX: return ex1(e, OP_Softmax, v);
    case POST_LOGISTIC: return ex1(e, OP_Sigmoid, v);
    case POST_SOFTMAX_ZERO: return softmax_zero(e, v, t);
    case POST_PROBIT: return probit(e, v, t);
    default: return v;
    }
}

void ml_post_eval(double *s, int64_t n, MlPost post)
{
    double max = -INFINITY, sum = 0;
    for (int64_t k = 0; k < n; k++) max = fmax(max, s[k]);
    for (int64_t k = 0; k < n; k++) {
        if (post == POST_LOGISTIC) s[k] = 1 / (1 + exp(-s[k]));
        if (post == POST_SOFTMAX) s[k] = exp(s[k] - max);
        if (post == POST_SOFTMAX_ZERO) s[k] = fabs(s[k]) > 0.0000001 ? exp(s[k] - max) : s[k] * exp(-max);
        if (post == POST_PROBIT) {
            double x = 2 * s[k] - 1, l = log((1 - x) * (1 + x)), p = 2 / (acos(-1) * 0.147) + 0.5 * l;
            s[k] = 1.41421356 * copysign(sqrt(sqrt(p * p - l / 0.147) - p), x);
        }
        sum += s[k];
    }
    if (post == POST_SOFTMAX || post == POST_SOFTMAX_ZERO)
        for (int64_t k = 0; k < n; k++) s[k] = sum == 0 ? 0.5 : s[k] / sum;
}

/* ---- classes ---- */

Value ml_labels(Ex *e, AttrInts ints, AttrStrings strings, Value index)
{
    return ex2(e, OP_Gather, strings.n ? ex_strings(e, strings.p, strings.n) : ex_ints(e, ints.p, ints.n), index);
}

void ml_label_eval(Tensor *y, int64_t k, AttrInts ints, AttrStrings strings, int64_t index)
{
    if (strings.n) ((bmc_string *)y->data)[k] = (bmc_string){strings.p[index], strlen(strings.p[index])};
    else ev_set_i(y, k, ints.p[index]);
}

Value ml_above(Ex *e, Value s, double limit)
{
    int64_t flat = -1;
    Value yes = ex_cast(e, ex2(e, OP_Greater, s, ex_f(e, ex_elem(e, s), limit)), DT_I64);
    return ex_reshape(e, yes, &flat, 1);
}

Value ml_joined(Ex *e, Value a, Value b)
{
    void *attrs = attrs_new(e->g->m->arena, op_desc(OP_Concat));
    ex_set(e, OP_Concat, attrs, "axis", 1);
    return ex_op(e, OP_Concat, (Value[]){a, b}, 2, attrs);
}

Value ml_two(Ex *e, Value s, bool probability, MlPost post)
{
    Value first =
        probability && post != POST_LOGISTIC ? ex2(e, OP_Sub, ex_f(e, ex_elem(e, s), 1), s) : ex1(e, OP_Neg, s);
    Value both = ml_joined(e, first, s);
    return post == POST_LOGISTIC || post == POST_PROBIT ? ml_post(e, both, post) : both;
}

Value ml_rows(Ex *e, Value x)
{
    int64_t row[2] = {1, -1};
    x = ex_cast(e, x, ex_elem(e, x) == DT_F64 ? DT_F64 : DT_F32);
    return ex_rank(e, x) == 1 ? ex_reshape(e, x, row, 2) : x;
}

/* ---- rows of coefficients ---- */

bool ml_columns_fit(Infer *c, int64_t features)
{
    int64_t F;
    return !dim_is_const(c->d, infer_dim(c, 0, infer_rank(c, 0) - 1), &F) || F == features ||
           infer_fail(c, "the coefficients are for %lld features, the input has %lld", (long long)features,
                      (long long)F);
}

Value ml_matrix(Ex *e, AttrFloats f, int64_t rows, DType t)
{
    int64_t dim[2] = {rows, rows ? f.n / rows : 0};
    return ex_cast(e, ex_reshape(e, ex_floats(e, f.p, f.n), dim, 2), t);
}

Value ml_by_rows(Ex *e, Value x, Value c)
{
    int64_t swap[2] = {1, 0};
    return ex2(e, OP_MatMul, x, ex_transpose(e, c, swap, 2));
}
