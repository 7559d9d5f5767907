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

Value ml_row_reduce(Exp *e, OpCode op, Value v)
{
    int64_t axis = 1;
    return exp_2(e, op, v, exp_ints(e, &axis, 1));
}

/* sqrt 2 * inverse of the error function at 2v - 1 */
static Value probit(Exp *e, Value v, DType t)
{
    Value x = exp_2(e, OP_Sub, exp_2(e, OP_Mul, v, exp_f(e, t, 2)), exp_f(e, t, 1)), one = exp_f(e, t, 1);
    Value log = exp_1(e, OP_Log, exp_2(e, OP_Mul, exp_2(e, OP_Sub, one, x), exp_2(e, OP_Add, one, x)));
    Value p =
        exp_2(e, OP_Add, exp_f(e, t, 2 / (3.14159265358979323846 * 0.147)), exp_2(e, OP_Mul, log, exp_f(e, t, 0.5)));
    Value q = exp_2(e, OP_Sub, exp_2(e, OP_Mul, p, p), exp_2(e, OP_Mul, log, exp_f(e, t, 1 / 0.147)));
    Value r = exp_1(e, OP_Sqrt, exp_2(e, OP_Sub, exp_1(e, OP_Sqrt, q), p));
    return exp_2(e, OP_Mul, exp_2(e, OP_Mul, exp_1(e, OP_Sign, x), r), exp_f(e, t, 1.41421356));
}

static Value softmax_zero(Exp *e, Value v, DType t)
{
    Value max = ml_row_reduce(e, OP_ReduceMax, v),
          far = exp_2(e, OP_Greater, exp_1(e, OP_Abs, v), exp_f(e, t, 0.0000001));
    Value near = exp_2(e, OP_Mul, v, exp_1(e, OP_Exp, exp_1(e, OP_Neg, max)));
    Value x = exp_node(e, OP_Where, NULL, 3, (Value[]){far, exp_1(e, OP_Exp, exp_2(e, OP_Sub, v, max)), near});
    Value sum = ml_row_reduce(e, OP_ReduceSum, x), none = exp_2(e, OP_Equal, sum, exp_f(e, t, 0));
    return exp_node(e, OP_Where, NULL, 3, (Value[]){none, exp_f(e, t, 0.5), exp_2(e, OP_Div, x, sum)});
}

Value ml_post(Exp *e, Value v, MlPost post)
{
    DType t = exp_elem(e, v);
    if (!e->ok) return v;
    switch (post) {
    case POST_SOFTMAX: return exp_1(e, OP_Softmax, v);
    case POST_LOGISTIC: return exp_1(e, OP_Sigmoid, v);
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

Value ml_labels(Exp *e, AttrInts ints, AttrStrings strings, Value index)
{
    return exp_2(e, OP_Gather, strings.n ? exp_strings(e, strings.p, strings.n) : exp_ints(e, ints.p, ints.n), index);
}

void ml_label_eval(Tensor *y, int64_t k, AttrInts ints, AttrStrings strings, int64_t index)
{
    if (strings.n) ((bmc_string *)y->data)[k] = (bmc_string){strings.p[index], strlen(strings.p[index])};
    else ev_set_i(y, k, ints.p[index]);
}

Value ml_above(Exp *e, Value s, double limit)
{
    int64_t flat = -1;
    Value yes = exp_cast(e, exp_2(e, OP_Greater, s, exp_f(e, exp_elem(e, s), limit)), DT_I64);
    return exp_reshape(e, yes, &flat, 1);
}

Value ml_joined(Exp *e, Value a, Value b)
{
    void *attrs = attrs_new(e->g->m->arena, op_desc(OP_Concat));
    exp_attr_i(OP_Concat, attrs, "axis", 1);
    return exp_node(e, OP_Concat, attrs, 2, (Value[]){a, b});
}

Value ml_two(Exp *e, Value s, bool probability, MlPost post)
{
    Value first =
        probability && post != POST_LOGISTIC ? exp_2(e, OP_Sub, exp_f(e, exp_elem(e, s), 1), s) : exp_1(e, OP_Neg, s);
    Value both = ml_joined(e, first, s);
    return post == POST_LOGISTIC || post == POST_PROBIT ? ml_post(e, both, post) : both;
}

Value ml_rows(Exp *e, Value x)
{
    int64_t row[2] = {1, -1};
    x = exp_cast(e, x, exp_elem(e, x) == DT_F64 ? DT_F64 : DT_F32);
    return exp_rank(e, x) == 1 ? exp_reshape(e, x, row, 2) : x;
}
