/* ml_svm.c: SVMRegressor and SVMClassifier of ai.onnx.ml.
 *   k linear: x.s    poly: (g x.s + c0)^d    rbf: exp(-g |x - s|^2)    sigmoid: tanh(g x.s + c0)
 *   Regressor    k(X, S) * c + rho, S [supports, features]
 *   Classifier   for each pair of classes i < j a score; above 0 it is a vote for i, else for j; most votes win
 *                score(i,j) = sum over supports of i: k * C[j-1], of j: k * C[i]; + rho    = k(X, S) * W^T + rho
 *                The votes are a matrix product, too. Without supports: scores = X * C^T + rho, the highest wins
 * Scores of the classifier are probabilities where prob_a and prob_b are given: p(i,j) = 1 / (1 + exp(a score + b)),
 * then Coupling (ml_coupling.c). Else two classes give (-s, s), more the score of each pair. Where the standard does
 * not say, results are ONNX Runtime's: a label of two classes without supports is the second when any score is above 0
 * (0.5 where no coefficient is negative); transformations of two classes' score leave (1-s, s) as it is, but for
 * LOGISTIC and PROBIT. */
#include "ir/ops/ml.h"
#include <math.h>
#include <string.h>

typedef struct Svm {
    uint64_t set;
    AttrFloats coefficients, supports, params, rho, prob_a, prob_b;
    AttrInts labels_i, per_class;
    AttrStrings labels_s;
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

static const AttrSpec CLASSIFIER[] = {A("classlabels_ints", ATTR_INTS, labels_i),
                                      A("classlabels_strings", ATTR_STRINGS, labels_s),
                                      A_FLOATS(Svm, coefficients),
                                      A_S("kernel_type", kernel, "LINEAR"),
                                      A("kernel_params", ATTR_FLOATS, params),
                                      A_S("post_transform", post, "NONE"),
                                      A_FLOATS(Svm, prob_a),
                                      A_FLOATS(Svm, prob_b),
                                      A_FLOATS(Svm, rho),
                                      A("support_vectors", ATTR_FLOATS, supports),
                                      A("vectors_per_class", ATTR_INTS, per_class),
                                      A_END};

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
        int64_t side[1] = {2}, middle[1] = {1}; /* vectors side by side: [N, F, 1] - [F, supports] */
        void *turn = attrs_new(e->g->m->arena, op_desc(OP_Transpose));
        Value d = ex2(e, OP_Sub, ex2(e, OP_Unsqueeze, x, ex_ints(e, side, 1)), ex_op(e, OP_Transpose, &s, 1, turn));
        void *attrs = attrs_new(e->g->m->arena, op_desc(OP_ReduceSumSquare));
        ex_set(e, OP_ReduceSumSquare, attrs, "keepdims", 0);
        Value far = ex_op(e, OP_ReduceSumSquare, (Value[]){d, ex_ints(e, middle, 1)}, 2, attrs);
        return ex1(e, OP_Exp, ex1(e, OP_Neg, ex2(e, OP_Mul, far, g)));
    }
    Value dot = ml_by_rows(e, x, s);
    if (kind == LINEAR) return dot;
    dot = ex2(e, OP_Add, ex2(e, OP_Mul, dot, g), c);
    if (kind == SIGMOID) return ex1(e, OP_Tanh, dot);
    Value power = dot; /* of small whole degrees by products */
    double degree = param(a, 2);
    if (degree < 1 || degree > 4 || degree != floor(degree)) return ex2(e, OP_Pow, dot, ex_f(e, t, degree));
    for (int k = 1; k < (int)degree; k++) power = ex2(e, OP_Mul, power, dot);
    return power;
}

static bool svm_expand(Graph *g, Node n)
{
    Ex e = ex_begin(g, n);
    const Svm *a = ATTRS(g, n, Svm);
    Value x = ml_rows(&e, node_in(g, n, 0)), k = x;
    DType t = ex_elem(&e, x);
    if (a->n_supports)
        k = kernels(&e, a, (Kernel)ml_named(a->kernel, KERNEL, KERNELS), x,
                    ml_matrix(&e, a->supports, a->n_supports, t), t);
    Value y = ex2(&e, OP_Add, ml_by_rows(&e, k, ml_matrix(&e, a->coefficients, 1, t)), ex_f(&e, t, a->rho.p[0]));
    if (a->one_class) y = ex3(&e, OP_Where, ex2(&e, OP_Greater, y, ex_f(&e, t, 0)), ex_f(&e, t, 1), ex_f(&e, t, -1));
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

/* ---- SVMClassifier ---- */

enum { CLASSES_MAX = 4096 };
static int64_t class_count(const Svm *a) { return a->labels_s.n ? a->labels_s.n : a->labels_i.n; }
static int64_t vector_count(const Svm *a)
{
    int64_t n = 0;
    for (uint32_t k = 0; k < a->per_class.n; k++) n += a->per_class.p[k];
    return n;
}

/* Columns of Z. */
static int64_t score_count(const Svm *a)
{
    int64_t C = class_count(a);
    return vector_count(a) && !a->prob_a.n && C > 2 ? C * (C - 1) / 2 : C;
}

static bool classifier_infer(Infer *c)
{
    const Svm *a = ATTRS(c->g, c->n, Svm);
    int64_t C = class_count(a), pairs = C * (C - 1) / 2;
    if (!infer_need_rank(c, 0, 1, 2)) return false;
    if (ml_named(a->kernel, KERNEL, KERNELS) < 0) return infer_fail(c, "kernel_type is '%s'", a->kernel);
    if (ml_post_of(a->post) == POST_COUNT) return infer_fail(c, "post_transform has no such value");
    if (C < 1 || C > CLASSES_MAX || (a->labels_s.n && a->labels_i.n))
        return infer_fail(c, "class labels are given twice, not at all, or more than %d", CLASSES_MAX);
    for (uint32_t k = 0; k < a->per_class.n; k++)
        if (a->per_class.p[k] < 0 || a->per_class.p[k] > INT32_MAX)
            return infer_fail(c, "vectors_per_class is out of range");
    int64_t n = vector_count(a), rows = n ? C - 1 : C;
    if (!a->coefficients.n || a->rho.n < (n ? pairs : 1)) return infer_fail(c, "coefficients or rho are missing");
    if (a->prob_a.n != a->prob_b.n) return infer_fail(c, "prob_a and prob_b have different lengths");
    if (n && (C < 2 || a->per_class.n != C || (a->prob_a.n && a->prob_a.n < pairs)))
        return infer_fail(c, "vectors_per_class, prob_a and the class labels do not fit");
    if (n ? a->coefficients.n < rows * n || !a->supports.n || a->supports.n % n : a->coefficients.n % C)
        return infer_fail(c, "coefficients, support_vectors and vectors_per_class do not fit");
    if (!ml_columns_fit(c, n ? a->supports.n / n : a->coefficients.n / C)) return false;
    Dim dim[2] = {infer_rank(c, 0) == 2 ? infer_dim(c, 0, 0) : dim_const(c->d, 1), dim_const(c->d, score_count(a))};
    return infer_set(c, 0, a->labels_s.n ? DT_STR : DT_I64, 1, dim) && infer_set(c, 1, DT_F32, 2, dim);
}

/* The coefficients of each pair, [pairs, vectors]: those of other classes are 0. */
static Value pair_weights(Ex *e, const Svm *a, DType t)
{
    int64_t C = class_count(a), V = vector_count(a), P = C * (C - 1) / 2, dim[2] = {P, V}, p = 0, at_i = 0;
    double *w = arena_array(e->g->m->arena, double, P *V + 1);
    for (int64_t i = 0; i < C; at_i += a->per_class.p[i++]) {
        int64_t at_j = at_i + a->per_class.p[i];
        for (int64_t j = i + 1; j < C; at_j += a->per_class.p[j++], p++) {
            for (int64_t k = at_i; k < at_i + a->per_class.p[i]; k++) w[p * V + k] = a->coefficients.p[(j - 1) * V + k];
            for (int64_t k = at_j; k < at_j + a->per_class.p[j]; k++) w[p * V + k] = a->coefficients.p[i * V + k];
        }
    }
    return ex_cast(e, ex_reshape(e, ex_floats(e, w, (uint32_t)(P * V)), dim, 2), t);
}

/* [N, C]: of each pair one vote, [s > 0] for i and the rest for j:  Y * (I - J)^T + sum of J */
static Value votes(Ex *e, int64_t C, Value s)
{
    int64_t P = C * (C - 1) / 2, dim[2] = {C, P}, p = 0;
    double *m = arena_array(e->g->m->arena, double, C *P), *sum = arena_array(e->g->m->arena, double, C);
    for (int64_t i = 0; i < C; i++)
        for (int64_t j = i + 1; j < C; j++, p++) m[i * P + p] = 1, m[j * P + p] = -1, sum[j]++;
    Value yes = ex_cast(e, ex2(e, OP_Greater, s, ex_f(e, ex_elem(e, s), 0)), DT_F32);
    Value by = ex_reshape(e, ex_floats(e, m, (uint32_t)(C * P)), dim, 2);
    return ex2(e, OP_Add, ml_by_rows(e, yes, by), ex_floats(e, sum, (uint32_t)C));
}

static Value highest(Ex *e, Value s)
{
    void *arg = attrs_new(e->g->m->arena, op_desc(OP_ArgMax));
    ex_set(e, OP_ArgMax, arg, "axis", 1);
    ex_set(e, OP_ArgMax, arg, "keepdims", 0);
    return ex_op(e, OP_ArgMax, &s, 1, arg);
}

static bool none_negative(AttrFloats f)
{
    for (uint32_t k = 0; k < f.n; k++)
        if (f.p[k] < 0) return false;
    return true;
}

static bool classifier_expand(Graph *g, Node n)
{
    Ex e = ex_begin(g, n);
    const Svm *a = ATTRS(g, n, Svm);
    int64_t C = class_count(a), V = vector_count(a);
    Value x = ml_rows(&e, node_in(g, n, 0)), s, index;
    DType t = ex_elem(&e, x);
    MlPost post = ml_post_of(a->post);
    if (!V) {
        s = ex2(&e, OP_Add, ml_by_rows(&e, x, ml_matrix(&e, a->coefficients, C, t)), ex_f(&e, t, a->rho.p[0]));
        index = C == 2 && !a->prob_a.n
                    ? ex2(&e, OP_Max, highest(&e, s),
                          ml_above(&e, ml_row_reduce(&e, OP_ReduceMax, s),
                                   none_negative(a->coefficients) ? 0.49999997 /* below 0.5 in f32 */ : 0))
                    : highest(&e, s);
        s = C > 1 ? ml_post(&e, s, post) : post == POST_PROBIT ? ml_post(&e, s, post) : s;
    } else {
        int kind = ml_named(a->kernel, KERNEL, KERNELS);
        Value k = kernels(&e, a, (Kernel)kind, x, ml_matrix(&e, a->supports, V, t), t);
        s = ex2(&e, OP_Add, ml_by_rows(&e, k, pair_weights(&e, a, t)),
                ex_cast(&e, ex_floats(&e, a->rho.p, (uint32_t)(C * (C - 1) / 2)), t));
        index = highest(&e, votes(&e, C, s));
        if (a->prob_a.n) {
            uint32_t P = (uint32_t)(C * (C - 1) / 2);
            Value by = ex2(&e, OP_Mul, s, ex_cast(&e, ex_floats(&e, a->prob_a.p, P), t));
            by = ex1(&e, OP_Sigmoid,
                     ex1(&e, OP_Neg, ex2(&e, OP_Add, by, ex_cast(&e, ex_floats(&e, a->prob_b.p, P), t))));
            by = ex3(&e, OP_Clip, by, ex_f(&e, t, 1.0e-7), ex_f(&e, t, 1 - 1.0e-7));
            void *arg = attrs_new(g->m->arena, op_desc(OP_Coupling));
            ex_set(&e, OP_Coupling, arg, "classes", C);
            s = ml_post(&e, ex_op(&e, OP_Coupling, &by, 1, arg), post);
        } else s = C == 2 ? ml_two(&e, s, post != POST_NONE, post) : ml_post(&e, s, post);
    }
    ex_result(&e, 0, ml_labels(&e, a->labels_i, a->labels_s, index));
    ex_result(&e, 1, ex_cast(&e, s, DT_F32));
    return !e.failed;
}

static double kernel_of(const Svm *a, int kind, const Tensor *x, int64_t row, const double *s, int64_t F)
{
    double dot = 0, far = 0;
    for (int64_t j = 0; j < F; j++) {
        double v = ev_f(x, row * F + j);
        dot += v * s[j], far += (v - s[j]) * (v - s[j]);
    }
    double z = param(a, 0) * dot + param(a, 1);
    return kind == POLY ? pow(z, param(a, 2)) : kind == RBF ? exp(-param(a, 0) * far) : kind == SIGMOID ? tanh(z) : dot;
}

static bool classifier_eval(Eval *e)
{
    const Svm *a = ATTRS(e->g, e->n, Svm);
    const Tensor *x = e->in[0];
    MlPost post = ml_post_of(a->post);
    int64_t C = class_count(a), V = vector_count(a), F = V ? a->supports.n / V : a->coefficients.n / C,
            Z = score_count(a), dim[2] = {x->rank == 2 ? x->dim[0] : 1, Z};
    int kind = ml_named(a->kernel, KERNEL, KERNELS);
    if (x->dim[x->rank - 1] != F) return ev_fail(e, "the input has the wrong number of features");
    Tensor *label = ev_out(e, 0, a->labels_s.n ? DT_STR : DT_I64, 1, dim), *y = ev_out(e, 1, DT_F32, 2, dim);
    double *s = arena_array(e->arena, double, C *C + 2), *r = arena_array(e->arena, double, C *C),
           *k = arena_array(e->arena, double, V + 1);
    int64_t *vote = arena_array(e->arena, int64_t, C);
    for (int64_t row = 0; y && label && row < dim[0]; row++) {
        int64_t best = 0, p = 0, at_i = 0;
        if (!V) {
            for (int64_t c = 0; c < C; c++) {
                s[c] = kernel_of(a, LINEAR, x, row, a->coefficients.p + c * F, F) + a->rho.p[0];
                if (s[c] > s[best]) best = c;
            }
            if (C == 2 && !a->prob_a.n && (none_negative(a->coefficients) ? s[best] >= 0.5 : s[best] > 0)) best = 1;
            if (C > 1 || post == POST_PROBIT) ml_post_eval(s, C, post);
        }
        for (int64_t v = 0; v < V; v++) k[v] = kernel_of(a, kind, x, row, a->supports.p + v * F, F);
        for (int64_t c = 0; c < C; c++) vote[c] = 0;
        for (int64_t i = 0; V && i < C; at_i += a->per_class.p[i++])
            for (int64_t j = i + 1, at_j = at_i + a->per_class.p[i]; j < C; at_j += a->per_class.p[j++], p++) {
                s[p] = a->rho.p[p];
                for (int64_t v = 0; v < V; v++) {
                    if (v >= at_i && v < at_i + a->per_class.p[i]) s[p] += k[v] * a->coefficients.p[(j - 1) * V + v];
                    if (v >= at_j && v < at_j + a->per_class.p[j]) s[p] += k[v] * a->coefficients.p[i * V + v];
                }
                vote[s[p] > 0 ? i : j]++;
                if (!a->prob_a.n) continue;
                double q = 1 / (1 + exp(s[p] * a->prob_a.p[p] + a->prob_b.p[p]));
                r[i * C + j] = fmin(fmax(q, 1e-7), 1 - 1e-7);
                r[j * C + i] = 1 - r[i * C + j];
            }
        for (int64_t c = 0; V && c < C; c++)
            if (vote[c] > vote[best]) best = c;
        if (V && a->prob_a.n) {
            ml_coupling_eval(e->arena, r, C, s);
            ml_post_eval(s, C, post);
        } else if (V && C == 2) {
            s[1] = s[0];
            s[0] = post == POST_NONE || post == POST_LOGISTIC ? -s[1] : 1 - s[1];
            if (post == POST_LOGISTIC || post == POST_PROBIT) ml_post_eval(s, 2, post);
        } else if (V) ml_post_eval(s, p, post);
        for (int64_t c = 0; c < Z; c++) ev_set_f(y, row * Z + c, s[c]);
        ml_label_eval(label, row, a->labels_i, a->labels_s, best);
    }
    return y && label;
}

static const Port P_X[] = {{"X", DTS_ML, 0, 0}, PORT_END};
static const Port P_Y[] = {{"Y", DTS(DT_F32), 0, 0}, PORT_END};
static const Port P_CLASSES[] = {{"Y", DTS(DT_I64) | DTS_STR, 0, 0}, {"Z", DTS(DT_F32), 0, 0}, PORT_END};
#define ML .domain = "ai.onnx.ml", .since = 1, .cls = CLS_ROW, .in = P_X, .attrs_size = sizeof(Svm)
const OpDesc op_ml_SVMRegressor = {.name = "SVMRegressor",
                                   ML,
                                   .out = P_Y,
                                   .attrs = REGRESSOR,
                                   .infer = svm_infer,
                                   .expand = svm_expand,
                                   .eval = svm_eval};
const OpDesc op_ml_SVMClassifier = {.name = "SVMClassifier",
                                    ML,
                                    .out = P_CLASSES,
                                    .attrs = CLASSIFIER,
                                    .infer = classifier_infer,
                                    .expand = classifier_expand,
                                    .eval = classifier_eval};
