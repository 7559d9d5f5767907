/* tree.c: Forest, the internal operator that all tree ensembles expand into: which leaf each tree gives for a row of
 * x, and the sum of these leaves' weights.
 *   leaf[t] = walk(root[t])
 *   y[n, c] = sum over t of weight[leaf[t], c]
 * How it walks: tree_walk.c. A step has no branch and costs loads, each of which needs the one before: so nodes take as
 * few as they can. Two forms:
 *   keys     a word of 64 bits: the split as a key, the place of the children, the feature. Keys are numbers that are
 *            ordered as floats are, so one comparison of whole words does; `x < v` is `x <= the number below v`. The
 *            children of a node stand side by side, `yes` first. A leaf compares with 0, which no key reaches, and its
 *            second child is itself; where a split has its key, it has its number.
 *   records  {feature and flags, bits of the split, yes, no}, leaves first, a leaf is its own child: where nodes have
 *            several parents (x == v takes two nodes), places do not fit into the word, x is f64 (splits are an operand
 *            of their own), or a row has many more features than the trees take steps, and keys would not pay. */
#include "ir/graph/eval.h"
#include "ir/graph/lower.h"
#include "base/bug.h"
#include "ir/ops/grad.h"
#include "ir/ops/tree.h"
#include <float.h>
#include <math.h>
#include <string.h>

enum { FEATURES_A_TREE = 64, FEATURES = 2048 }; /* keys of so many cost what a walk saves; of a row at most */
static const AttrSpec ATTRS_[] = {A_INT(ForestAttrs, combine, 0),  A_INT(ForestAttrs, missing, 0),
                                  A_INT(ForestAttrs, strict, 0),   A_INT(ForestAttrs, features, 0),
                                  A_INT(ForestAttrs, trees, 0),    A_INT(ForestAttrs, keys, 0),
                                  A_INT(ForestAttrs, feature_bits, 0), A_END};
#define DTS_X (DTS(DT_F32) | DTS(DT_F64))
static const Port P_IN[] = {{"x", DTS_X, 0, 1},
                            {"nodes", DTS(DT_I32) | DTS(DT_U64), 0, 0},
                            {"roots", DTS(DT_I32), 0, 0},
                            {"depths", DTS(DT_I32), 0, 0},
                            {"weights", DTS_X, 0, 1},
                            {"splits", DTS(DT_F64), PORT_OPTIONAL, 0},
                            PORT_END};
static const Port P_OUT[] = {{"y", DTS_X, 0, 1}, PORT_END};

static bool infer(Infer *c)
{
    const int rank[] = {2, ATTRS(c->g, c->n, ForestAttrs)->keys ? 1 : 2, 1, 1, 2};
    for (uint32_t k = 0; k < 5; k++)
        if (!infer_need_rank(c, k, rank[k], rank[k])) return false;
    int64_t F;
    if (dim_is_const(c->d, infer_dim(c, 0, 1), &F) && F < ATTRS(c->g, c->n, ForestAttrs)->features)
        return infer_fail(c, "the trees ask for %lld features, the input has %lld",
                          (long long)ATTRS(c->g, c->n, ForestAttrs)->features, (long long)F);
    Dim dim[2] = {infer_dim(c, 0, 0), infer_dim(c, 4, 1)};
    return infer_set(c, 0, infer_elem(c, 0), 2, dim);
}

/* Of a tree in form `keys`: what stands in the word of a node. */
static uint32_t key_of(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return bits & 1u << 31 ? ~bits : bits | 1u << 31;
}

/* The leaf that row n of x comes to. */
static int64_t leaf_of(Eval *e, int64_t at, int64_t n)
{
    const ForestAttrs *a = ATTRS(e->g, e->n, ForestAttrs);
    const Tensor *x = e->in[0], *nodes = e->in[1];
    int64_t F = x->dim[1];
    while (a->keys) {
        uint64_t node = (uint64_t)ev_i(nodes, at);
        uint32_t key = (uint32_t)(node >> 32), word = (uint32_t)node;
        if (key < TREE_LEAVES) return key;
        int64_t feature = word & ((1u << a->feature_bits) - 1);
        float v = (float)ev_f(x, n * F + feature % a->features);
        uint32_t k = !isnan(v) ? key_of(v) : feature < a->features ? UINT32_MAX : TREE_NAN;
        at = (word >> a->feature_bits) + (key < k);
    }
    while (ev_i(nodes, 4 * at + 2) != at) {
        int64_t head = ev_i(nodes, 4 * at);
        int32_t bits = (int32_t)ev_i(nodes, 4 * at + 1);
        float f;
        memcpy(&f, &bits, 4);
        double split = ev_has(e, 5) ? ev_f(e->in[5], at) : (double)f, v = ev_f(x, n * F + (head & TREE_FEATURE));
        bool some = a->strict == 2, yes = isnan(v) ? a->missing && (head & TREE_MISSING)
                                          : a->strict == 1 || (some && (head & TREE_STRICT)) ? v < split
                                                                                             : v <= split;
        at = ev_i(nodes, 4 * at + (yes ? 2 : 3));
    }
    return at;
}

static bool eval(Eval *e)
{
    const ForestAttrs *a = ATTRS(e->g, e->n, ForestAttrs);
    const Tensor *x = e->in[0], *roots = e->in[2], *w = e->in[4];
    int64_t C = w->dim[1], F = x->dim[1], dim[2] = {x->dim[0], C};
    if (F < a->features) return ev_fail(e, "the trees ask for more features than the input has");
    Tensor *y = ev_out(e, 0, x->elem, 2, dim);
    for (int64_t k = 0; y && k < y->count; k++) {
        double s = a->combine == TREE_MIN ? INFINITY : a->combine == TREE_MAX ? -INFINITY : 0;
        for (int64_t t = 0; t < a->trees; t++) {
            double v = ev_f(w, leaf_of(e, ev_i(roots, t), k / C) * C + k % C);
            s = a->combine == TREE_MIN ? fmin(s, v) : a->combine == TREE_MAX ? fmax(s, v) : s + v;
        }
        ev_set_f(y, k, s);
    }
    return y != NULL;
}

const OpDesc op_Forest = {.name = "Forest",
                          .since = 1,
                          .cls = CLS_OPAQUE,
                          .flags = OPF_INTERNAL,
                          .in = P_IN,
                          .out = P_OUT,
                          .attrs = ATTRS_,
                          .attrs_size = sizeof(ForestAttrs),
                          .infer = infer,
                          .lower = tree_lower,
                          .eval = eval, .grad = grad_zero};

/* ---- the tables ---- */

static Value table(Ex *e, DType t, const void *data, int64_t rows, int64_t cols)
{
    Module *m = e->g->m;
    Dim dim[2] = {dim_const(&m->dims, rows), dim_const(&m->dims, cols)};
    return graph_const(e->g, blob_inline(&m->blobs, t, rows * (cols ? cols : 1), data),
                       type_tensor(&m->types, t, cols ? 2 : 1, dim), (Name){0});
}

/* The nodes of a form. */
typedef struct Tables {
    int64_t n;
    int32_t *rec, *root; /* rec: records */
    uint64_t *word;      /* keys */
    double *split;
} Tables;

static void make_records(Arena *ar, const Forest *f, Tables *t)
{
    t->n = (int64_t)f->node.n + f->n_leaf;
    t->rec = arena_array(ar, int32_t, 4 * t->n);
    t->split = arena_array(ar, double, t->n);
    for (int32_t k = 0; k < f->n_leaf; k++) t->rec[4 * k + 2] = t->rec[4 * k + 3] = k;
    for (uint32_t k = 0; k < f->node.n; k++) {
        const TreeNode *s = &f->node.p[k];
        int64_t at = f->n_leaf + (int64_t)k;
        int32_t *r = t->rec + 4 * at;
        float split = (float)s->split;
        r[0] = s->feature;
        memcpy(&r[1], &split, 4);
        t->split[at] = s->split;
        r[2] = s->yes < 0 ? -s->yes - 1 : f->n_leaf + s->yes;
        r[3] = s->no < 0 ? -s->no - 1 : f->n_leaf + s->no;
    }
    for (uint32_t k = 0; k < f->root.n; k++)
        t->root[k] = f->root.p[k] < 0 ? -f->root.p[k] - 1 : f->n_leaf + f->root.p[k];
}

static int bits_for(int64_t n) /* numbers below n */
{
    int bits = 0;
    while ((int64_t)1 << bits < n) bits++;
    return bits;
}

/* The largest key that goes to `yes`, NaN apart: zeros are one number, and below it comes the least negative one. */
static uint32_t split_key(const TreeNode *s)
{
    float v = (float)s->split;
    bool strict = s->feature & TREE_STRICT;
    if (isnan(v)) return TREE_LEAVES; /* below all that are numbers */
    return v == 0 ? key_of(strict ? -0.0f : 0.0f) - strict : key_of(v) - strict;
}

/* false: not that form. Place 0 is empty, so that a leaf's first child, the place before it, exists; tree after tree,
 * level after level. */
static bool make_keys(Arena *ar, const Forest *f, ForestAttrs *a, Tables *t)
{
    uint32_t inner = f->node.n, T = f->root.n;
    if (!a->features || a->features > (int64_t)FEATURES_A_TREE * T || a->features > FEATURES) return false;
    if (f->n_leaf > (int32_t)TREE_LEAVES) return false;
    bool *seen = arena_array(ar, bool, inner + 1);
    for (uint32_t k = 0; k < 2 * inner + T; k++) {
        int32_t child = k < T ? f->root.p[k] : (k - T) & 1 ? f->node.p[(k - T) / 2].no : f->node.p[(k - T) / 2].yes;
        if (child >= 0 && seen[child]) return false; /* it has two parents */
        if (child >= 0) seen[child] = true;
    }
    int64_t n = 1 + T + 2 * (int64_t)inner;
    int bits = bits_for(a->features << (a->missing != 0));
    if (bits_for(n) + bits > 32) return false;
    t->n = 1;
    t->word = arena_array(ar, uint64_t, n);
    int32_t *what = arena_array(ar, int32_t, n); /* inner node or leaf of each place, as Forest's children are */
    for (uint32_t k = 0; k < T; k++) {
        int64_t at = t->n;
        t->root[k] = (int32_t)t->n;
        what[t->n++] = f->root.p[k];
        for (; at < t->n; at++) {
            if (what[at] < 0) {
                t->word[at] = (uint64_t)(-what[at] - 1) << 32 | (uint64_t)(at - 1) << bits;
                continue;
            }
            const TreeNode *s = &f->node.p[what[at]];
            int64_t feature = (s->feature & TREE_FEATURE) + (s->feature & TREE_MISSING ? a->features : 0);
            t->word[at] = (uint64_t)split_key(s) << 32 | (uint64_t)t->n << bits | (uint64_t)feature;
            what[t->n++] = s->yes;
            what[t->n++] = s->no;
        }
    }
    assert(t->n <= n);
    a->feature_bits = bits, a->keys = 1;
    return true;
}

Value tree_scores(Ex *e, Value x, const Forest *f, TreeCombine combine)
{
    if (e->failed) return VALUE_NONE;
    Arena *ar = e->g->m->arena;
    DType t = ex_elem(e, x);
    uint32_t inner = f->node.n, T = f->root.n, strict = 0, missing = 0;
    int64_t weights = (int64_t)f->n_leaf * f->n_target;
    Tables tables = {.root = arena_array(ar, int32_t, T)};
    for (uint32_t k = 0; k < inner; k++) {
        strict += (f->node.p[k].feature & TREE_STRICT) != 0;
        missing += (f->node.p[k].feature & TREE_MISSING) != 0;
    }
    ForestAttrs a = {.set = 127,
                     .combine = combine,
                     .missing = missing > 0,
                     .strict = strict == 0       ? 0
                               : strict == inner ? 1
                                                 : 2,
                     .features = f->max_feature + 1,
                     .trees = T};
    if (t == DT_F64 || !make_keys(ar, f, &a, &tables)) {
        make_records(ar, f, &tables);
        if (a.strict == 1 && !a.missing) /* no flags are looked at */
            for (uint32_t k = 0; k < inner; k++) tables.rec[4 * ((int64_t)f->n_leaf + k)] &= ~TREE_STRICT;
    }
    void *w = arena_alloc(ar, (size_t)(weights + 1) * 8);
    for (int64_t k = 0; k < weights; k++) {
        double v = f->given[k] || combine == TREE_SUM ? f->weight[k] : t == DT_F64 ? DBL_MAX : FLT_MAX;
        if (!f->given[k] && combine == TREE_MAX) v = -v;
        if (t == DT_F64) ((double *)w)[k] = v;
        else ((float *)w)[k] = (float)v;
    }
    Value in[6] = {x,
                   a.keys ? table(e, DT_U64, tables.word, tables.n, 0) : table(e, DT_I32, tables.rec, tables.n, 4),
                   table(e, DT_I32, tables.root, T, 0),
                   table(e, DT_I32, f->depth.p, T, 0),
                   table(e, t, w, f->n_leaf, f->n_target),
                   t == DT_F64 ? table(e, DT_F64, tables.split, tables.n, 0) : VALUE_NONE};
    return ex_op(e, OP_Forest, in, 6, &a);
}
