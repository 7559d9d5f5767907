/* ml_linear.c: LinearRegressor and LinearClassifier of ai.onnx.ml.
 *   scores = X * C^T + b, C [targets, features]
 * A classifier with two labels and one row of coefficients has one score, above 0 for the second label. */
#include "ir/ops/ml.h"
#include <math.h>
#include <string.h>

typedef struct Linear {
    uint64_t set;
    AttrFloats coefficients, intercepts;
    AttrInts labels_i;
    AttrStrings labels_s;
    const char *post;
    int64_t targets, multi_class;
} Linear;
#define A(n, k, f)                                                                                                     \
    {                                                                                                                  \
        .name = (n), .kind = (k), .offset = offsetof(Linear, f)                                                        \
    }
#define A_S(n, f, d)                                                                                                   \
    {                                                                                                                  \
        .name = (n), .kind = ATTR_STRING, .offset = offsetof(Linear, f), .def_s = (d)                                  \
    }
static const AttrSpec REGRESSOR[] = {A_FLOATS(Linear, coefficients), A_FLOATS(Linear, intercepts),
                                     A_INT(Linear, targets, 1), A_S("post_transform", post, "NONE"), A_END};
static const AttrSpec CLASSIFIER[] = {
    {.name = "coefficients", .kind = ATTR_FLOATS, .offset = offsetof(Linear, coefficients), .required = true},
    A_FLOATS(Linear, intercepts),
    A("classlabels_ints", ATTR_INTS, labels_i),
    A("classlabels_strings", ATTR_STRINGS, labels_s),
    A_INT(Linear, multi_class, 0),
    A_S("post_transform", post, "NONE"),
    A_END};
static bool is_classifier(const OpDesc *op) { return op->attrs == CLASSIFIER; }
static uint32_t label_count(const Linear *a) { return a->labels_s.n ? a->labels_s.n : a->labels_i.n; }

/* Rows of coefficients: as many as targets, or as intercepts. */
static int64_t row_count(const OpDesc *op, const Linear *a)
{
    if (!is_classifier(op)) return a->targets;
    return a->intercepts.n ? a->intercepts.n : label_count(a);
}

static bool linear_infer(Infer *c)
{
    const Linear *a = ATTRS(c->g, c->n, Linear);
    int64_t rows = row_count(c->op, a), out = rows;
    if (!infer_need_rank(c, 0, 1, 2)) return false;
    if (ml_post_of(a->post) == POST_COUNT) return infer_fail(c, "post_transform has no such value");
    if (rows < 1 || !a->coefficients.n || a->coefficients.n % rows)
        return infer_fail(c, "%u coefficients for %lld rows", a->coefficients.n, (long long)rows);
    if (a->intercepts.n && a->intercepts.n != rows)
        return infer_fail(c, "%u intercepts for %lld rows", a->intercepts.n, (long long)rows);
    if (!ml_columns_fit(c, a->coefficients.n / rows)) return false;
    if (is_classifier(c->op)) {
        out = label_count(a);
        if (a->labels_s.n && a->labels_i.n) return infer_fail(c, "class labels are given twice");
        if (out < 2 || (rows != out && !(rows == 1 && out == 2)))
            return infer_fail(c, "%lld class labels for %lld rows of coefficients", (long long)out, (long long)rows);
    }
    Dim dim[2] = {infer_rank(c, 0) == 2 ? infer_dim(c, 0, 0) : dim_const(c->d, 1), dim_const(c->d, out)};
    if (!is_classifier(c->op)) return infer_set(c, 0, DT_F32, 2, dim);
    return infer_set(c, 0, a->labels_s.n ? DT_STR : DT_I64, 1, dim) && infer_set(c, 1, DT_F32, 2, dim);
}

static bool linear_expand(Graph *g, Node n)
{
    Ex e = ex_begin(g, n);
    const OpDesc *op = node_desc(g, n);
    const Linear *a = ATTRS(g, n, Linear);
    MlPost post = ml_post_of(a->post);
    int64_t rows = row_count(op, a);
    Value x = ml_rows(&e, node_in(g, n, 0));
    DType t = ex_elem(&e, x);
    Value s = ml_by_rows(&e, x, ml_matrix(&e, a->coefficients, rows, t));
    if (a->intercepts.n) s = ex2(&e, OP_Add, s, ex_cast(&e, ex_floats(&e, a->intercepts.p, a->intercepts.n), t));
    if (!is_classifier(op)) ex_result(&e, 0, ex_cast(&e, ml_post(&e, s, post), DT_F32));
    else if (rows == 1) {
        ex_result(&e, 0, ml_labels(&e, a->labels_i, a->labels_s, ml_above(&e, s, 0)));
        ex_result(&e, 1, ex_cast(&e, ml_two(&e, s, true, post), DT_F32));
    } else {
        void *arg = attrs_new(g->m->arena, op_desc(OP_ArgMax));
        ex_set(&e, OP_ArgMax, arg, "axis", 1);
        ex_set(&e, OP_ArgMax, arg, "keepdims", 0);
        ex_result(&e, 0, ml_labels(&e, a->labels_i, a->labels_s, ex_op(&e, OP_ArgMax, &s, 1, arg)));
        ex_result(&e, 1, ex_cast(&e, ml_post(&e, s, post), DT_F32));
    }
    return !e.failed;
}

static bool linear_eval(Eval *e)
{
    const OpDesc *op = node_desc(e->g, e->n);
    const Linear *a = ATTRS(e->g, e->n, Linear);
    const Tensor *x = e->in[0];
    MlPost post = ml_post_of(a->post);
    int64_t rows = row_count(op, a), F = a->coefficients.n / rows, out = is_classifier(op) ? label_count(a) : rows,
            dim[2] = {x->rank == 2 ? x->dim[0] : 1, out};
    if (x->dim[x->rank - 1] != F) return ev_fail(e, "the input has the wrong number of features");
    Tensor *y = ev_out(e, is_classifier(op), DT_F32, 2, dim),
           *label = is_classifier(op) ? ev_out(e, 0, a->labels_s.n ? DT_STR : DT_I64, 1, dim) : NULL;
    double *s = arena_array(e->arena, double, out + 1);
    for (int64_t r = 0; y && r < dim[0]; r++) {
        int64_t best = 0;
        for (int64_t k = 0; k < rows; k++) {
            s[k] = a->intercepts.n ? a->intercepts.p[k] : 0;
            for (int64_t j = 0; j < F; j++) s[k] += ev_f(x, r * F + j) * a->coefficients.p[k * F + j];
            if (s[k] > s[best]) best = k;
        }
        bool one = rows == 1 && out == 2;
        if (one) {
            best = s[0] > 0;
            s[1] = s[0];
            s[0] = post == POST_LOGISTIC ? -s[1] : 1 - s[1];
        }
        if (!one || post == POST_LOGISTIC || post == POST_PROBIT) ml_post_eval(s, out, post);
        for (int64_t k = 0; k < out; k++) ev_set_f(y, r * out + k, s[k]);
        if (label) ml_label_eval(label, r, a->labels_i, a->labels_s, best);
    }
    return y != NULL;
}

static const Port P_X[] = {{"X", DTS_ML, 0, 0}, PORT_END};
static const Port P_Y[] = {{"Y", DTS(DT_F32), 0, 0}, PORT_END};
static const Port P_CLASSES[] = {{"Y", DTS(DT_I64) | DTS_STR, 0, 0}, {"Z", DTS(DT_F32), 0, 0}, PORT_END};
#define ML .domain = "ai.onnx.ml", .since = 1, .cls = CLS_ROW, .in = P_X, .attrs_size = sizeof(Linear)
const OpDesc op_ml_LinearRegressor = {.name = "LinearRegressor",
                                      ML,
                                      .out = P_Y,
                                      .attrs = REGRESSOR,
                                      .infer = linear_infer,
                                      .expand = linear_expand,
                                      .eval = linear_eval};
const OpDesc op_ml_LinearClassifier = {.name = "LinearClassifier",
                                       ML,
                                       .out = P_CLASSES,
                                       .attrs = CLASSIFIER,
                                       .infer = linear_infer,
                                       .expand = linear_expand,
                                       .eval = linear_eval};
