/* ml_svm.c: SVMRegressor of ai.onnx.ml:  k(X, S) * c + rho, S [supports, features].
 *   k linear: x.s    poly: (g x.s + c0)^d    rbf: exp(-g |x - s|^2)    sigmoid: tanh(g x.s + c0) */
#include "ir/ops/ml.h"
#include <math.h>
#include <string.h>

typedef struct Svm {
    uint64_t set;
    AttrFloats coefficients, supports, params, rho;
    const char *post, *kernel;
    int64_t n_supports, one_class;
} Svm;
#define A(n, k, f)                                                                                                     \
    {                                                                                                                  \
        .name = (n), .kind = (k), .offset = offsetof(Svm, f)                                                           \
    }
#define A_S(n, f, d)                                                                                                   \
    {                                                                                                                  \
        .name = (n), .kind = ATTR_STRING, .offset = offsetof(Svm, f), .def_s = (d)                                     \
    }
static const AttrSpec REGRESSOR[] = {A_FLOATS(Svm, coefficients),
                                     A_S("kernel_type", kernel, "LINEAR"),
                                     A("kernel_params", ATTR_FLOATS, params),
                                     A_INT(Svm, n_supports, 0),
                                     A_INT(Svm, one_class, 0),
                                     A_FLOATS(Svm, rho),
                                     A("support_vectors", ATTR_FLOATS, supports),
                                     A_S("post_transform", post, "NONE"),
                                     A_END};

/* ---- SVMRegressor ---- */

typedef enum Kernel { LINEAR, POLY, RBF, SIGMOID, KERNELS } Kernel;
static const char *const KERNEL[] = {"LINEAR", "POLY", "RBF", "SIGMOID"};
static double param(const Svm *a, uint32_t k)
{
    return k < a->params.n ? a->params.p[k] : 0;
} /* gamma, coef0, degree */

static bool svm_infer(Infer *c)
{
    const Svm *a = ATTRS(c->g, c->n, Svm);
    if (!infer_need_rank(c, 0, 1, 2)) return false;
    if (ml_named(a->kernel, KERNEL, KERNELS) < 0) return infer_fail(c, "kernel_type is '%s'", a->kernel);
    if (ml_post_of(a->post) == POST_COUNT) return infer_fail(c, "post_transform has no such value");
    int64_t n = a->n_supports;
    if (a->rho.n < 1 || n < 0 || !a->coefficients.n) return infer_fail(c, "rho or coefficients are missing");
    if (n && (a->coefficients.n != n || !a->supports.n || a->supports.n % n))
        return infer_fail(c, "coefficients or support_vectors do not fit n_supports");
    if (!ml_columns_fit(c, n ? a->supports.n / n : a->coefficients.n)) return false;
    Dim dim[2] = {infer_rank(c, 0) == 2 ? infer_dim(c, 0, 0) : dim_const(c->d, 1), dim_const(c->d, 1)};
    return infer_set(c, 0, DT_F32, 2, dim);
}

/* [N, supports] */
static Value kernels(Ex *e, const Svm *a, Kernel kind, Value x, Value s, DType t)
{
    Value g = ex_f(e, t, param(a, 0)), c = ex_f(e, t, param(a, 1));
    if (kind == RBF) {
        int64_t side[1] = {1}, last[1] = {-1};
        Value d = ex2(e, OP_Sub, ex2(e, OP_Unsqueeze, x, ex_ints(e, side, 1)), s);
        void *attrs = attrs_new(e->g->m->arena, op_desc(OP_ReduceSumSquare));
        ex_set(e, OP_ReduceSumSquare, attrs, "keepdims", 0);
        Value far = ex_op(e, OP_ReduceSumSquare, (Value[]){d, ex_ints(e, last, 1)}, 2, attrs);
        return ex1(e, OP_Exp, ex1(e, OP_Neg, ex2(e, OP_Mul, far, g)));
    }
    Value dot = ml_by_rows(e, x, s);
    if (kind == LINEAR) return dot;
    dot = ex2(e, OP_Add, ex2(e, OP_Mul, dot, g), c);
    return kind == POLY ? ex2(e, OP_Pow, dot, ex_f(e, t, param(a, 2))) : ex1(e, OP_Tanh, dot);
}

static bool svm_expand(Graph *g, Node n)
{
    Ex e = ex_begin(g, n);
    const Svm *a = ATTRS(g, n, Svm);
    Value x = ml_rows(&e, node_in(g, n, 0)), k = x;
    DType t = ex_elem(&e, x);
    if (a->n_supports)
        k = kernels(&e, a, (Kernel)ml_named(a->kernel, KERNEL, KERNELS), x, ml_matrix(&e, a->supports, a->n_supports, t),
                    t);
    Value y = ex2(&e, OP_Add, ml_by_rows(&e, k, ml_matrix(&e, a->coefficients, 1, t)), ex_f(&e, t, a->rho.p[0]));
    if (a->one_class)
        y = ex3(&e, OP_Where, ex2(&e, OP_Greater, y, ex_f(&e, t, 0)), ex_f(&e, t, 1), ex_f(&e, t, -1));
    ex_result(&e, 0, ex_cast(&e, a->one_class ? y : ml_post(&e, y, ml_post_of(a->post)), DT_F32));
    return !e.failed;
}

static bool svm_eval(Eval *e)
{
    const Svm *a = ATTRS(e->g, e->n, Svm);
    const Tensor *x = e->in[0];
    int64_t n = a->n_supports, F = n ? a->supports.n / n : a->coefficients.n,
            dim[2] = {x->rank == 2 ? x->dim[0] : 1, 1};
    int kind = ml_named(a->kernel, KERNEL, KERNELS);
    if (x->dim[x->rank - 1] != F) return ev_fail(e, "the input has the wrong number of features");
    Tensor *y = ev_out(e, 0, DT_F32, 2, dim);
    for (int64_t r = 0; y && r < dim[0]; r++) {
        double s = a->rho.p[0];
        for (int64_t i = 0; i < (n ? n : 1); i++) {
            double dot = 0, far = 0;
            for (int64_t j = 0; j < F; j++) {
                double v = ev_f(x, r * F + j), w = n ? a->supports.p[i * F + j] : a->coefficients.p[j];
                dot += v * w, far += (v - w) * (v - w);
            }
            double k = dot, z = param(a, 0) * dot + param(a, 1);
            if (n && kind == POLY) k = pow(z, param(a, 2));
            if (n && kind == RBF) k = exp(-param(a, 0) * far);
            if (n && kind == SIGMOID) k = tanh(z);
            s += n ? k * a->coefficients.p[i] : k;
        }
        if (a->one_class) s = s > 0 ? 1 : -1;
        else ml_post_eval(&s, 1, ml_post_of(a->post));
        ev_set_f(y, r, s);
    }
    return y != NULL;
}

static const Port P_X[] = {{"X", DTS_ML, 0, 0}, PORT_END};
static const Port P_Y[] = {{"Y", DTS(DT_F32), 0, 0}, PORT_END};
#define ML .domain = "ai.onnx.ml", .since = 1, .cls = CLS_ROW, .in = P_X, .attrs_size = sizeof(Svm)
const OpDesc op_ml_SVMRegressor = {.name = "SVMRegressor",
                                   ML,
                                   .out = P_Y,
                                   .attrs = REGRESSOR,
                                   .infer = svm_infer,
                                   .expand = svm_expand,
                                   .eval = svm_eval};
