/* ml.c: the element- and row-wise operators of ai.onnx.ml, by expansion into ordinary ones:
 *   Scaler        (x - offset) * scale                  Binarizer     x > threshold
 *   Normalizer    x / max(x), / sum |x|, / sqrt sum x^2 of each row; rows whose divisor is 0 stay
 *   Imputer       where x is the replaced value (NaN included): the imputed one
 *   FeatureVectorizer    operands side by side          ArrayFeatureExtractor    columns by index */
#include "ir/ops/ml.h"
#include <math.h>
#include <string.h>

typedef struct Ml {
    uint64_t set;
    AttrFloats scale, offset, imputed_f;
    AttrInts imputed_i, dims;
    const char *norm;
    double threshold, replaced_f;
    int64_t replaced_i;
} Ml;
#define A_LIST(n, k, f)                                                                                                \
    {                                                                                                                  \
        .name = (n), .kind = (k), .offset = offsetof(Ml, f)                                                            \
    }
static const AttrSpec SCALER[] = {A_FLOATS(Ml, scale), A_FLOATS(Ml, offset), A_END};
static const AttrSpec NORMALIZER[] = {A_STRING(Ml, norm, "MAX"), A_END};
static const AttrSpec BINARIZER[] = {A_FLOAT(Ml, threshold, 0), A_END};
static const AttrSpec IMPUTER[] = {A_LIST("imputed_value_floats", ATTR_FLOATS, imputed_f),
                                   A_LIST("imputed_value_int64s", ATTR_INTS, imputed_i),
                                   A_LIST("replaced_value_float", ATTR_FLOAT, replaced_f),
                                   A_LIST("replaced_value_int64", ATTR_INT, replaced_i), A_END};
static const AttrSpec VECTORIZER[] = {A_LIST("inputdimensions", ATTR_INTS, dims), A_END};

/* A list has one value, or one for each column. */
static bool fits(Infer *c, uint32_t n, const char *what)
{
    int rank = infer_rank(c, 0);
    int64_t F;
    if (n == 1) return true;
    if (!n || rank < 1) return infer_fail(c, "%s has %u values", what, n);
    return !dim_is_const(c->d, infer_dim(c, 0, rank - 1), &F) || F == n ||
           infer_fail(c, "%s has %u values for %lld columns", what, n, (long long)F);
}

static bool as(Infer *c, DType t)
{
    return infer_set_type(c, 0, type_with_elem(&c->m->types, value_type(c->g, node_in(c->g, c->n, 0)), t));
}

/* ---- Scaler ---- */

static bool scaler_infer(Infer *c)
{
    const Ml *a = ATTRS(c->g, c->n, Ml);
    return infer_need_rank(c, 0, 1, -1) && fits(c, a->scale.n, "scale") && fits(c, a->offset.n, "offset") &&
           as(c, DT_F32);
}

static bool scaler_expand(Graph *g, Node n)
{
    Ex e = ex_begin(g, n);
    const Ml *a = ATTRS(g, n, Ml);
    Value x = node_in(g, n, 0);
    DType t = ex_elem(&e, x) == DT_F64 ? DT_F64 : DT_F32;
    Value centred = ex2(&e, OP_Sub, ex_cast(&e, x, t), ex_cast(&e, ex_floats(&e, a->offset.p, a->offset.n), t));
    ex_result(&e, 0, ex_cast(&e, ex2(&e, OP_Mul, centred, ex_cast(&e, ex_floats(&e, a->scale.p, a->scale.n), t)), DT_F32));
    return !e.failed;
}

static bool scaler_eval(Eval *e)
{
    const Ml *a = ATTRS(e->g, e->n, Ml);
    const Tensor *x = e->in[0];
    int64_t F = x->dim[x->rank - 1];
    Tensor *y = ev_out(e, 0, DT_F32, x->rank, x->dim);
    for (int64_t k = 0; y && k < y->count; k++) {
        double o = a->offset.p[a->offset.n == 1 ? 0 : k % F], s = a->scale.p[a->scale.n == 1 ? 0 : k % F];
        ev_set_f(y, k, x->elem == DT_F64 ? (ev_f(x, k) - o) * s : (double)(float)((float)ev_f(x, k) - (float)o) * s);
    }
    return y != NULL;
}

/* ---- Normalizer ---- */

static const char *const NORM[] = {"MAX", "L1", "L2"};

static bool normalizer_infer(Infer *c)
{
    if (ml_named(ATTRS(c->g, c->n, Ml)->norm, NORM, 3) < 0)
        return infer_fail(c, "norm is '%s'", ATTRS(c->g, c->n, Ml)->norm);
    return infer_need_rank(c, 0, 1, 2) && as(c, DT_F32);
}

static bool normalizer_expand(Graph *g, Node n)
{
    static const OpCode BY[] = {OP_ReduceMax, OP_ReduceL1, OP_ReduceL2};
    Ex e = ex_begin(g, n);
    int64_t axis = -1;
    Value x = ex_cast(&e, node_in(g, n, 0), ex_elem(&e, node_in(g, n, 0)) == DT_F64 ? DT_F64 : DT_F32);
    DType t = ex_elem(&e, x);
    Value by = ex2(&e, BY[ml_named(ATTRS(g, n, Ml)->norm, NORM, 3)], x, ex_ints(&e, &axis, 1)),
          none = ex2(&e, OP_Equal, by, ex_f(&e, t, 0));
    by = ex3(&e, OP_Where, none, ex_f(&e, t, 1), by);
    ex_result(&e, 0, ex_cast(&e, ex2(&e, OP_Div, x, by), DT_F32));
    return !e.failed;
}

static bool normalizer_eval(Eval *e)
{
    const Tensor *x = e->in[0];
    int64_t F = x->dim[x->rank - 1];
    int kind = ml_named(ATTRS(e->g, e->n, Ml)->norm, NORM, 3);
    Tensor *y = ev_out(e, 0, DT_F32, x->rank, x->dim);
    for (int64_t k = 0; y && k < y->count; k++) {
        double max = -INFINITY, l1 = 0, l2 = 0;
        for (int64_t j = k - k % F; j < k - k % F + F; j++) {
            double v = ev_f(x, j);
            max = fmax(max, v), l1 += fabs(v), l2 += v * v;
        }
        double by = kind == 0 ? max : kind == 1 ? l1 : sqrt(l2);
        ev_set_f(y, k, by == 0 ? ev_f(x, k) : ev_f(x, k) / by);
    }
    return y != NULL;
}

/* ---- Binarizer ---- */

static bool like(Infer *c) { return infer_like(c, 0, 0); }

static bool binarizer_expand(Graph *g, Node n)
{
    Ex e = ex_begin(g, n);
    Value x = node_in(g, n, 0);
    DType given = ex_elem(&e, x), t = dtype_is_float(given) ? given : DT_F64;
    ex_result(&e, 0, ex_cast(&e, ex2(&e, OP_Greater, ex_cast(&e, x, t), ex_f(&e, t, ATTRS(g, n, Ml)->threshold)), given));
    return !e.failed;
}

static bool binarizer_eval(Eval *e)
{
    const Tensor *x = e->in[0];
    Tensor *y = ev_out(e, 0, x->elem, x->rank, x->dim);
    for (int64_t k = 0; y && k < y->count; k++) ev_set_f(y, k, ev_f(x, k) > ATTRS(e->g, e->n, Ml)->threshold);
    return y != NULL;
}

/* ---- Imputer ---- */

static bool imputer_infer(Infer *c)
{
    const Ml *a = ATTRS(c->g, c->n, Ml);
    bool real = dtype_is_float(infer_elem(c, 0));
    return infer_need_rank(c, 0, 0, -1) &&
           fits(c, real ? a->imputed_f.n : a->imputed_i.n, real ? "imputed_value_floats" : "imputed_value_int64s") &&
           infer_like(c, 0, 0);
}

static bool imputer_expand(Graph *g, Node n)
{
    Ex e = ex_begin(g, n);
    const Ml *a = ATTRS(g, n, Ml);
    Value x = node_in(g, n, 0), hit, by;
    DType t = ex_elem(&e, x);
    bool real = dtype_is_float(t);
    if (real && isnan(a->replaced_f)) hit = ex1(&e, OP_IsNaN, x);
    else hit = ex2(&e, OP_Equal, x, real ? ex_f(&e, t, a->replaced_f) : ex_i(&e, t, a->replaced_i));
    by = ex_cast(&e, real ? ex_floats(&e, a->imputed_f.p, a->imputed_f.n) : ex_ints(&e, a->imputed_i.p, a->imputed_i.n), t);
    if (ex_rank(&e, x) == 0) by = ex_reshape(&e, by, NULL, 0);
    ex_result(&e, 0, ex3(&e, OP_Where, hit, by, x));
    return !e.failed;
}

static bool imputer_eval(Eval *e)
{
    const Ml *a = ATTRS(e->g, e->n, Ml);
    const Tensor *x = e->in[0];
    int64_t F = x->rank ? x->dim[x->rank - 1] : 1;
    Tensor *y = ev_out(e, 0, x->elem, x->rank, x->dim);
    for (int64_t k = 0; y && k < y->count; k++) {
        if (dtype_is_float(x->elem)) {
            double v = ev_f(x, k), r = a->replaced_f;
            ev_set_f(y, k, v == r || (isnan(v) && isnan(r)) ? a->imputed_f.p[a->imputed_f.n == 1 ? 0 : k % F] : v);
        } else
            ev_set_i(y, k, ev_i(x, k) == a->replaced_i ? a->imputed_i.p[a->imputed_i.n == 1 ? 0 : k % F] : ev_i(x, k));
    }
    return y != NULL;
}

/* ---- FeatureVectorizer: [N, c1], [N, c2] .. => [N, c1 + c2 ..]; [C] counts as [1, C] ---- */

static bool vectorizer_infer(Infer *c)
{
    const Ml *a = ATTRS(c->g, c->n, Ml);
    uint32_t n = node_n_in(c->g, c->n);
    Dim dim[2] = {dim_const(c->d, 1), dim_const(c->d, 0)};
    for (uint32_t k = 0; k < n; k++) {
        if (!infer_need_rank(c, k, 1, 2)) return false;
        int rank = infer_rank(c, k);
        Dim rows = rank == 2 ? infer_dim(c, k, 0) : dim_const(c->d, 1), cols = infer_dim(c, k, rank - 1);
        if (k == 0) dim[0] = rows;
        else if (!infer_must_eq(c, rows, dim[0], "number of rows")) return false;
        if (a->dims.n && (k >= a->dims.n || !infer_must_eq(c, cols, dim_const(c->d, a->dims.p[k]), "inputdimensions")))
            return infer_fail(c, "inputdimensions do not fit the operands");
        dim[1] = dim_add(c->d, dim[1], cols);
    }
    return infer_set(c, 0, DT_F32, 2, dim);
}

static bool vectorizer_expand(Graph *g, Node n)
{
    Ex e = ex_begin(g, n);
    uint32_t parts = node_n_in(g, n);
    Value *v = arena_array(g->m->arena, Value, parts);
    int64_t row[2] = {1, -1};
    for (uint32_t k = 0; k < parts; k++) {
        v[k] = ex_cast(&e, node_in(g, n, k), DT_F32);
        if (ex_rank(&e, v[k]) == 1) v[k] = ex_reshape(&e, v[k], row, 2);
    }
    void *attrs = attrs_new(g->m->arena, op_desc(OP_Concat));
    ex_set(&e, OP_Concat, attrs, "axis", 1);
    ex_result(&e, 0, ex_op(&e, OP_Concat, v, parts, attrs));
    return !e.failed;
}

static bool vectorizer_eval(Eval *e)
{
    int64_t dim[2] = {e->in[0]->rank == 2 ? e->in[0]->dim[0] : 1, 0}, done = 0;
    for (uint32_t k = 0; k < e->n_in; k++) dim[1] += e->in[k]->dim[e->in[k]->rank - 1];
    Tensor *y = ev_out(e, 0, DT_F32, 2, dim);
    for (uint32_t k = 0; y && k < e->n_in; k++) {
        int64_t cols = e->in[k]->dim[e->in[k]->rank - 1];
        for (int64_t j = 0; j < e->in[k]->count; j++)
            ev_set_f(y, j / cols * dim[1] + done + j % cols, ev_f(e->in[k], j));
        done += cols;
    }
    return y != NULL;
}

/* ---- ArrayFeatureExtractor ---- */

static bool extractor_infer(Infer *c)
{
    if (!infer_need_rank(c, 0, 1, -1) || !infer_need_rank(c, 1, 0, -1)) return false;
    int rank = infer_rank(c, 0);
    Dim dim[RANK_MAX], n = dim_const(c->d, 1);
    for (int i = 0; i < infer_rank(c, 1); i++) n = dim_mul(c->d, n, infer_dim(c, 1, i));
    for (int i = 0; i < rank - 1; i++) dim[i] = infer_dim(c, 0, i);
    if (rank == 1) dim[0] = dim_const(c->d, 1), rank = 2;
    dim[rank - 1] = n;
    return infer_set(c, 0, infer_elem(c, 0), rank, dim);
}

static bool extractor_expand(Graph *g, Node n)
{
    Ex e = ex_begin(g, n);
    int64_t flat = -1, row[2] = {1, -1};
    void *attrs = attrs_new(g->m->arena, op_desc(OP_Gather));
    ex_set(&e, OP_Gather, attrs, "axis", -1);
    Value y =
        ex_op(&e, OP_Gather, (Value[]){node_in(g, n, 0), ex_reshape(&e, node_in(g, n, 1), &flat, 1)}, 2, attrs);
    ex_result(&e, 0, ex_rank(&e, node_in(g, n, 0)) == 1 ? ex_reshape(&e, y, row, 2) : y);
    return !e.failed;
}

static bool extractor_eval(Eval *e)
{
    const Tensor *x = e->in[0], *at = e->in[1];
    int rank = x->rank < 2 ? 2 : x->rank;
    int64_t dim[RANK_MAX] = {1}, F = x->dim[x->rank - 1];
    for (int i = 0; i < x->rank - 1; i++) dim[i] = x->dim[i];
    dim[rank - 1] = at->count;
    Tensor *y = ev_out(e, 0, x->elem, rank, dim);
    for (int64_t k = 0; y && k < y->count; k++) {
        int64_t j = ev_i(at, k % at->count);
        if (j < -F || j >= F) return ev_fail(e, "index %lld is out of range", (long long)j);
        ev_copy(y, k, x, k / at->count * F + (j < 0 ? j + F : j));
    }
    return y != NULL;
}

static const Port P_X[] = {{"X", DTS_ML, 0, 1}, PORT_END};
static const Port P_SAME[] = {{"Y", DTS_ML, 0, 1}, PORT_END};
static const Port P_F32[] = {{"Y", DTS(DT_F32), 0, 0}, PORT_END};
static const Port P_PARTS[] = {{"X", DTS_ML, PORT_VARIADIC, 0}, PORT_END};
static const Port P_AT[] = {{"X", DTS_ML | DTS_STR, 0, 1}, {"Y", DTS(DT_I64), 0, 0}, PORT_END};
static const Port P_Z[] = {{"Z", DTS_ML | DTS_STR, 0, 1}, PORT_END};
#define ML .domain = "ai.onnx.ml", .since = 1, .cls = CLS_ROW
#define ATTRS_OF(t) .attrs = t, .attrs_size = sizeof(Ml)
const OpDesc op_ml_Scaler = {.name = "Scaler",
                             ML,
                             .in = P_X,
                             .out = P_F32,
                             ATTRS_OF(SCALER),
                             .infer = scaler_infer,
                             .expand = scaler_expand,
                             .eval = scaler_eval};
const OpDesc op_ml_Normalizer = {.name = "Normalizer",
                                 ML,
                                 .in = P_X,
                                 .out = P_F32,
                                 ATTRS_OF(NORMALIZER),
                                 .infer = normalizer_infer,
                                 .expand = normalizer_expand,
                                 .eval = normalizer_eval};
const OpDesc op_ml_Binarizer = {.name = "Binarizer",
                                ML,
                                .in = P_X,
                                .out = P_SAME,
                                ATTRS_OF(BINARIZER),
                                .infer = like,
                                .expand = binarizer_expand,
                                .eval = binarizer_eval};
const OpDesc op_ml_Imputer = {.name = "Imputer",
                              ML,
                              .in = P_X,
                              .out = P_SAME,
                              ATTRS_OF(IMPUTER),
                              .infer = imputer_infer,
                              .expand = imputer_expand,
                              .eval = imputer_eval};
const OpDesc op_ml_FeatureVectorizer = {.name = "FeatureVectorizer",
                                        ML,
                                        .in = P_PARTS,
                                        .out = P_F32,
                                        ATTRS_OF(VECTORIZER),
                                        .infer = vectorizer_infer,
                                        .expand = vectorizer_expand,
                                        .eval = vectorizer_eval};
const OpDesc op_ml_ArrayFeatureExtractor = {.name = "ArrayFeatureExtractor",
                                            ML,
                                            .in = P_AT,
                                            .out = P_Z,
                                            .infer = extractor_infer,
                                            .expand = extractor_expand,
                                            .has_result = op_result_unsure, .eval = extractor_eval};
