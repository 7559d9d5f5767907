/* tree_ops.c: TreeEnsembleClassifier, TreeEnsembleRegressor and TreeEnsemble of ai.onnx.ml: a Forest (tree.c), then
 * base values, averages and the transformation of the scores as ordinary operators.
 *   Regressor(x)  =>  post(Forest(x) + base_values)     (AVERAGE: divided by the number of trees before)
 *   Classifier(x) =>  label = Gather(labels, ArgMax(s)), probabilities = post(s)     with s = Forest(x) + base_values
 * Two classes whose weights all belong to the first one are one score s with two meanings: where no weight is
 * negative it is the second class' probability (label: s > 0.5, scores 1-s and s), else a margin (s > 0; -s and s).
 * The logistic function is applied to both, other transformations to neither. If all belong to the second one, the
 * first class' score is 0. */
#include "ir/ops/ml.h"
#include "ir/ops/tree.h"
#include <float.h>
#include <math.h>
#include <string.h>

typedef TreeAttrs TA;
#define LIST_ATTRS(w)                                                                                                  \
    A_INTS_AS("nodes_falsenodeids", falsenodeids), A_INTS_AS("nodes_featureids", featureids),                          \
        A_FLOATS_AS("nodes_hitrates", hitrates), A_TENSOR_AS("nodes_hitrates_as_tensor", hitrates_t),                  \
        A_INTS_AS("nodes_missing_value_tracks_true", missing), A_STRINGS_AS("nodes_modes", modes),                     \
        A_INTS_AS("nodes_nodeids", nodeids), A_INTS_AS("nodes_treeids", treeids),                                      \
        A_INTS_AS("nodes_truenodeids", truenodeids), A_FLOATS_AS("nodes_values", values),                              \
        A_TENSOR_AS("nodes_values_as_tensor", values_t), A_STRING_AS("post_transform", post, "NONE"),                  \
        A_FLOATS_AS("base_values", base_values), A_TENSOR_AS("base_values_as_tensor", base_values_t),                  \
        A_INTS_AS(w "_ids", ids), A_INTS_AS(w "_nodeids", weight_nodeids), A_INTS_AS(w "_treeids", weight_treeids),    \
        A_FLOATS_AS(w "_weights", weights), A_TENSOR_AS(w "_weights_as_tensor", weights_t)
#define AS(n, k, f)                                                                                                    \
    {                                                                                                                  \
        .name = (n), .kind = (k), .offset = offsetof(TA, f)                                                            \
    }
#define A_INTS_AS(n, f) AS(n, ATTR_INTS, f)
#define A_FLOATS_AS(n, f) AS(n, ATTR_FLOATS, f)
#define A_STRINGS_AS(n, f) AS(n, ATTR_STRINGS, f)
#define A_TENSOR_AS(n, f) AS(n, ATTR_TENSOR, f)
#define A_STRING_AS(n, f, d)                                                                                           \
    {                                                                                                                  \
        .name = (n), .kind = ATTR_STRING, .offset = offsetof(TA, f), .def_s = (d)                                      \
    }
#define A_INT_AS(n, f, d)                                                                                              \
    {                                                                                                                  \
        .name = (n), .kind = ATTR_INT, .offset = offsetof(TA, f), .def_i = (d)                                         \
    }
static const AttrSpec CLASSIFIER[] = {LIST_ATTRS("class"), A_INTS_AS("classlabels_int64s", labels_i),
                                      A_STRINGS_AS("classlabels_strings", labels_s), A_END};
static const AttrSpec REGRESSOR[] = {LIST_ATTRS("target"), A_STRING_AS("aggregate_function", aggregate, "SUM"),
                                     A_INT_AS("n_targets", n_targets, 0), A_END};
static const AttrSpec ENSEMBLE[] = {A_INT_AS("aggregate_function", aggregate_i, 1),
                                    A_INT_AS("post_transform", post_i, 0),
                                    A_INT_AS("n_targets", n_targets, 0),
                                    A_INTS_AS("leaf_targetids", ids),
                                    A_TENSOR_AS("leaf_weights", weights_t),
                                    A_TENSOR_AS("membership_values", membership),
                                    A_INTS_AS("nodes_falseleafs", falseleafs),
                                    A_INTS_AS("nodes_falsenodeids", falsenodeids),
                                    A_INTS_AS("nodes_featureids", featureids),
                                    A_TENSOR_AS("nodes_hitrates", hitrates_t),
                                    A_INTS_AS("nodes_missing_value_tracks_true", missing),
                                    A_TENSOR_AS("nodes_modes", modes_t),
                                    A_TENSOR_AS("nodes_splits", values_t),
                                    A_INTS_AS("nodes_trueleafs", trueleafs),
                                    A_INTS_AS("nodes_truenodeids", truenodeids),
                                    A_INTS_AS("tree_roots", roots),
                                    A_END};

/* ---- what the attributes ask for ---- */

static TreeKind kind_of(const OpDesc *op)
{
    return op->attrs == CLASSIFIER ? TREE_CLASSIFIER : op->attrs == REGRESSOR ? TREE_REGRESSOR : TREE_ENSEMBLE;
}
static MlPost post_of(const OpDesc *op, const TA *a)
{
    return kind_of(op) == TREE_ENSEMBLE ? (MlPost)a->post_i : ml_post_of(a->post);
}

enum { AVERAGE, SUM, MIN, MAX };
static int aggregate_of(const OpDesc *op, const TA *a)
{
    static const char *const NAME[] = {"AVERAGE", "SUM", "MIN", "MAX"};
    TreeKind k = kind_of(op);
    return k == TREE_CLASSIFIER                        ? SUM
           : k == TREE_REGRESSOR                       ? ml_named(a->aggregate, NAME, 4)
           : a->aggregate_i >= 0 && a->aggregate_i < 4 ? (int)a->aggregate_i
                                                       : -1;
}

static int64_t targets_of(const OpDesc *op, const TA *a)
{
    int64_t n = a->n_targets;
    if (kind_of(op) == TREE_CLASSIFIER) return a->labels_s.n ? a->labels_s.n : a->labels_i.n;
    for (uint32_t k = 0; k < a->ids.n && !a->n_targets; k++)
        if (a->ids.p[k] >= n) n = a->ids.p[k] + 1;
    return n;
}

/* The one class that all weights belong to, when there are two; -1: none. */
static int only_class(const TA *a, int64_t classes)
{
    for (uint32_t k = 1; k < a->ids.n; k++)
        if (a->ids.p[k] != a->ids.p[0]) return -1;
    return classes == 2 && a->ids.n && (a->ids.p[0] == 0 || a->ids.p[0] == 1) ? (int)a->ids.p[0] : -1;
}

static bool no_weight_negative(const Blobs *bs, const TA *a)
{
    uint32_t n = tree_count(bs, a->weights, a->weights_t);
    for (uint32_t k = 0; k < n; k++)
        if (tree_float(bs, a->weights, a->weights_t, k) < 0) return false;
    return true;
}

static bool infer(Infer *c)
{
    const TA *a = ATTRS(c->g, c->n, TA);
    TreeKind kind = kind_of(c->op);
    int64_t targets = targets_of(c->op, a);
    if (!infer_need_rank(c, 0, 1, 2)) return false;
    if ((unsigned)post_of(c->op, a) >= POST_COUNT) return infer_fail(c, "post_transform has no such value");
    if (aggregate_of(c->op, a) < 0) return infer_fail(c, "aggregate_function has no such value");
    if (targets < 1) return infer_fail(c, "it has no targets");
    if (kind == TREE_CLASSIFIER && a->labels_s.n && a->labels_i.n) return infer_fail(c, "class labels are given twice");
    uint32_t base = tree_count(&c->m->blobs, a->base_values, a->base_values_t);
    if (base > targets || (kind == TREE_REGRESSOR && base && base != 1 && base != targets))
        return infer_fail(c, "%u base values for %lld targets", base, (long long)targets);
    Dim dim[2] = {infer_rank(c, 0) == 2 ? infer_dim(c, 0, 0) : dim_const(c->d, 1), dim_const(c->d, targets)};
    if (kind == TREE_ENSEMBLE) return infer_set(c, 0, infer_elem(c, 0), 2, dim);
    if (kind == TREE_REGRESSOR) return infer_set(c, 0, DT_F32, 2, dim);
    return infer_set(c, 0, a->labels_s.n ? DT_STR : DT_I64, 1, dim) && infer_set(c, 1, DT_F32, 2, dim);
}

/* ---- expansion ---- */

static Value base_values(Ex *e, const TA *a, DType t, uint32_t n)
{
    double v[2] = {0}, *p = n > 2 ? arena_array(e->g->m->arena, double, n) : v;
    const Blobs *bs = &e->g->m->blobs;
    uint32_t have = tree_count(bs, a->base_values, a->base_values_t);
    for (uint32_t k = 0; k < n; k++) p[k] = k < have ? tree_float(bs, a->base_values, a->base_values_t, k) : 0;
    return ex_cast(e, ex_floats(e, p, n), t);
}

static void classify_two(Ex *e, const TA *a, MlPost post, int only, Value s)
{
    DType t = ex_elem(e, s);
    uint32_t bases = tree_count(&e->g->m->blobs, a->base_values, a->base_values_t);
    bool positive = no_weight_negative(&e->g->m->blobs, a);
    Value zero = ex2(e, OP_Sub, s, s), base = base_values(e, a, t, 2), pair[2];
    int64_t at[2] = {0, 1};
    for (int k = 0; k < 2; k++) pair[k] = ex2(e, OP_Gather, base, ex_ints(e, &at[k], 1));
    if (only == 1) {
        if (bases == 2) s = ex2(e, OP_Add, s, pair[1]), zero = ex2(e, OP_Add, zero, pair[0]);
        ex_result(e, 0, ml_labels(e, a->labels_i, a->labels_s, ml_above(e, s, positive ? 0.5 : 0)));
        ex_result(e, 1, ex_cast(e, ml_post(e, ml_joined(e, zero, s), post), DT_F32));
        return;
    }
    if (bases) s = ex2(e, OP_Add, s, pair[0]);
    ex_result(e, 0, ml_labels(e, a->labels_i, a->labels_s, ml_above(e, s, positive ? 0.5 : 0)));
    if (bases == 2) {
        ex_result(e, 1, ex_cast(e, ml_post(e, ml_joined(e, s, zero), post), DT_F32));
        return;
    }
    ex_result(e, 1, ex_cast(e, ml_two(e, s, positive, post), DT_F32));
}

static bool expand(Graph *g, Node n)
{
    Ex e = ex_begin(g, n);
    const OpDesc *op = node_desc(g, n);
    const TA *a = ATTRS(g, n, TA);
    TA one = *a;
    TreeKind kind = kind_of(op);
    MlPost post = post_of(op, a);
    int agg = aggregate_of(op, a), only = kind == TREE_CLASSIFIER ? only_class(a, targets_of(op, a)) : -1;
    int64_t targets = only >= 0 ? 1 : targets_of(op, a);
    Forest f = {.arena = g->m->arena};
    if (only == 1) { /* the only score is number 0 */
        int64_t *ids = arena_array(g->m->arena, int64_t, a->ids.n);
        one.ids = (AttrInts){ids, a->ids.n};
    }
    if (!tree_build(&f, &g->m->blobs, &one, kind, targets)) {
        Infer c = {.m = g->m, .g = g, .n = n, .op = op, .d = &g->m->dims};
        return infer_fail(&c, "%s", f.why);
    }
    Value x = node_in(g, n, 0);
    DType given = ex_elem(&e, x), t = given == DT_F64 ? DT_F64 : DT_F32;
    x = ml_rows(&e, x);
    Value s = tree_scores(&e, x, &f, agg == MIN ? TREE_MIN : agg == MAX ? TREE_MAX : TREE_SUM);
    if (agg == AVERAGE) s = ex2(&e, OP_Div, s, ex_f(&e, t, (double)f.root.n));
    if (e.failed) return false;
    if (only >= 0) {
        classify_two(&e, a, post, only, s);
        return !e.failed;
    }
    if (tree_count(&g->m->blobs, a->base_values, a->base_values_t))
        s = ex2(&e, OP_Add, s, base_values(&e, a, t, (uint32_t)targets));
    Value y = ex_cast(&e, ml_post(&e, s, post), kind == TREE_ENSEMBLE ? given : DT_F32);
    ex_result(&e, kind == TREE_CLASSIFIER, y);
    if (kind != TREE_CLASSIFIER) return !e.failed;
    void *arg = ex_inherit(&e, OP_ArgMax);
    ex_set(&e, OP_ArgMax, arg, "axis", 1);
    ex_set(&e, OP_ArgMax, arg, "keepdims", 0);
    ex_result(&e, 0, ml_labels(&e, a->labels_i, a->labels_s, ex_op(&e, OP_ArgMax, &s, 1, arg)));
    return !e.failed;
}

/* ---- reference: each row walks each tree in the model's own lists ---- */

typedef struct Ref {
    const TA *a;
    const Blobs *bs;
    const Tensor *x;
    int64_t row, F;
    bool lists;
} Ref;

static int64_t find(const TA *a, int64_t tree, int64_t node)
{
    for (uint32_t k = 0; k < a->nodeids.n; k++)
        if (a->treeids.p[k] == tree && a->nodeids.p[k] == node) return k;
    return -1;
}

static bool compares(const Ref *r, int64_t k)
{
    static const char *const NAME[] = {"BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"};
    const TA *a = r->a;
    double x = ev_f(r->x, r->row * r->F + a->featureids.p[k]),
           v = r->lists ? tree_float(r->bs, a->values, a->values_t, (uint32_t)k)
                        : blob_get_f(r->bs, a->values_t.blob, k);
    int mode = r->lists ? ml_named(a->modes.p[k], NAME, 6) : (int)blob_get_i(r->bs, a->modes_t.blob, k);
    if (isnan(x) && a->missing.n && a->missing.p[k]) return true;
    switch (mode) {
    case 0: return x <= v;
    case 1: return x < v;
    case 2: return x >= v;
    case 3: return x > v;
    case 4: return x == v;
    case 5: return x != v;
    default: break;
    }
    int64_t at = 0, sets = 0;
    for (int64_t j = 0; j < k; j++) sets += blob_get_i(r->bs, a->modes_t.blob, j) == 6;
    for (; sets > 0; at++) sets -= isnan(blob_get_f(r->bs, a->membership.blob, at));
    for (; !isnan(blob_get_f(r->bs, a->membership.blob, at)); at++)
        if (blob_get_f(r->bs, a->membership.blob, at) == x) return true;
    return false;
}

static void count_in(double *s, bool *any, int agg, int64_t target, double w)
{
    s[target] = !any[target] ? w : agg == MIN ? fmin(s[target], w) : agg == MAX ? fmax(s[target], w) : s[target] + w;
    any[target] = true;
}

/* The scores of one row, s[targets]; the number of trees. */
static int64_t row_scores(const Ref *r, int agg, double *s, bool *any)
{
    const TA *a = r->a;
    int64_t trees = 0;
    for (uint32_t t = 0; !r->lists && t < a->roots.n; t++, trees++) {
        int64_t k = a->roots.p[t];
        bool leaf = a->trueleafs.p[k] && a->falseleafs.p[k] && a->truenodeids.p[k] == a->falsenodeids.p[k];
        if (leaf) k = a->truenodeids.p[k];
        while (!leaf) {
            bool yes = compares(r, k);
            leaf = yes ? a->trueleafs.p[k] : a->falseleafs.p[k];
            k = yes ? a->truenodeids.p[k] : a->falsenodeids.p[k];
        }
        count_in(s, any, agg, a->ids.p[k], blob_get_f(r->bs, a->weights_t.blob, k));
    }
    for (uint32_t first = 0; r->lists && first < a->nodeids.n; first++) {
        int64_t tree = a->treeids.p[first], k = first;
        bool child = false;
        for (uint32_t j = 0; j < a->nodeids.n; j++)
            child |= a->treeids.p[j] == tree && strcmp(a->modes.p[j], "LEAF") &&
                     (a->truenodeids.p[j] == a->nodeids.p[first] || a->falsenodeids.p[j] == a->nodeids.p[first]);
        if (child) continue;
        trees++;
        while (k >= 0 && strcmp(a->modes.p[k], "LEAF"))
            k = find(a, tree, compares(r, k) ? a->truenodeids.p[k] : a->falsenodeids.p[k]);
        for (uint32_t j = 0; k >= 0 && j < a->ids.n; j++)
            if (a->weight_treeids.p[j] == tree && a->weight_nodeids.p[j] == a->nodeids.p[k])
                count_in(s, any, agg, a->ids.p[j], tree_float(r->bs, a->weights, a->weights_t, j));
    }
    return trees;
}

static bool eval(Eval *e)
{
    const OpDesc *op = node_desc(e->g, e->n);
    const TA *a = ATTRS(e->g, e->n, TA);
    const Tensor *x = e->in[0];
    TreeKind kind = kind_of(op);
    MlPost post = post_of(op, a);
    const Blobs *bs = &e->g->m->blobs;
    int agg = aggregate_of(op, a);
    int64_t C = targets_of(op, a), dim[2] = {x->rank == 2 ? x->dim[0] : 1, C};
    Forest f = {.arena = e->arena};
    if (!tree_build(&f, bs, a, kind, C)) return ev_fail(e, "%s", f.why); /* only to know that the lists are sound */
    Ref r = {.a = a, .bs = bs, .x = x, .F = x->dim[x->rank - 1], .lists = kind != TREE_ENSEMBLE};
    if (r.F <= f.max_feature) return ev_fail(e, "the trees ask for more features than the input has");
    Tensor *y = ev_out(
        e, kind == TREE_CLASSIFIER,
        value_trec(e->g, node_out(e->g, e->n, 0))->elem == x->elem && kind == TREE_ENSEMBLE ? x->elem : DT_F32, 2, dim);
    Tensor *label = kind == TREE_CLASSIFIER ? ev_out(e, 0, a->labels_s.n ? DT_STR : DT_I64, 1, dim) : NULL;
    uint32_t bases = tree_count(bs, a->base_values, a->base_values_t);
    int only = kind == TREE_CLASSIFIER ? only_class(a, C) : -1;
    double *s = arena_array(e->arena, double, C);
    bool *any = arena_array(e->arena, bool, C), positive = no_weight_negative(bs, a);
    for (r.row = 0; y && r.row < dim[0]; r.row++) {
        for (int64_t k = 0; k < C; k++) s[k] = 0, any[k] = false;
        int64_t trees = row_scores(&r, agg, s, any), best = 0;
        for (int64_t k = 0; k < C; k++) {
            if (!any[k] && agg >= MIN) s[k] = agg == MIN ? FLT_MAX : -FLT_MAX;
            if (agg == AVERAGE) s[k] /= (double)trees;
            if (k < bases && !(only == 1 && bases == 1))
                s[k] += tree_float(bs, a->base_values, a->base_values_t, (uint32_t)k);
        }
        for (int64_t k = 1; k < C; k++)
            if (s[k] > s[best]) best = k;
        bool done = false;
        if (only == 0 && bases < 2) {
            s[1] = s[0];
            s[0] = positive && post != POST_LOGISTIC ? 1 - s[1] : -s[1];
            done = post == POST_SOFTMAX || post == POST_SOFTMAX_ZERO;
        } else if (only == 0) s[1] = 0;
        if (only >= 0) best = s[only == 0 && bases == 2 ? 0 : 1] > (positive ? 0.5 : 0);
        if (!done) ml_post_eval(s, C, post);
        for (int64_t k = 0; k < C; k++) ev_set_f(y, r.row * C + k, s[k]);
        if (label) ml_label_eval(label, r.row, a->labels_i, a->labels_s, best);
    }
    return y != NULL;
}

static const Port P_X[] = {{"X", DTS_ML, 0, 0}, PORT_END};
static const Port P_X5[] = {{"X", DTS(DT_F32) | DTS(DT_F64) | DTS(DT_F16), 0, 1}, PORT_END};
static const Port P_Y[] = {{"Y", DTS(DT_F32), 0, 0}, PORT_END};
static const Port P_Y5[] = {{"Y", DTS(DT_F32) | DTS(DT_F64) | DTS(DT_F16), 0, 1}, PORT_END};
static const Port P_CLASSES[] = {{"Y", DTS(DT_I64) | DTS_STR, 0, 0}, {"Z", DTS(DT_F32), 0, 0}, PORT_END};
#define TREES                                                                                                          \
    .domain = "ai.onnx.ml", .cls = CLS_OPAQUE, .attrs_size = sizeof(TA), .infer = infer, .expand = expand, .eval = eval
const OpDesc op_ml_TreeEnsembleClassifier = {
    .name = "TreeEnsembleClassifier", .since = 5, .in = P_X, .out = P_CLASSES, .attrs = CLASSIFIER, TREES};
const OpDesc op_ml_TreeEnsembleRegressor = {
    .name = "TreeEnsembleRegressor", .since = 5, .in = P_X, .out = P_Y, .attrs = REGRESSOR, TREES};
const OpDesc op_ml_TreeEnsemble = {
    .name = "TreeEnsemble", .since = 5, .in = P_X5, .out = P_Y5, .attrs = ENSEMBLE, TREES};
