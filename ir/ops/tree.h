/* tree.h: decision forests as tables. A forest has leaves 0 .. n_leaf-1 and inner nodes behind them; a walk that has
 * come to a leaf stays there, so that all walks may take the same number of steps. Every comparison is brought to "x
 * <= split" or "x < split" (tree_build.c), with a bit that says where NaN goes. */
#ifndef BMC_IR_OPS_TREE_H
#define BMC_IR_OPS_TREE_H
#include "ir/graph/lower.h"
#include "ir/ops/compose.h"

/* Attributes of the three operators (ONNX's names). */
typedef struct TreeAttrs {
    uint64_t set;
    const char *aggregate, *post;
    AttrFloats base_values, hitrates, values, weights;
    AttrTensor base_values_t, hitrates_t, values_t, weights_t, modes_t, membership;
    AttrInts falsenodeids, truenodeids, featureids, nodeids, treeids, missing, ids, weight_nodeids, weight_treeids,
        labels_i, trueleafs, falseleafs, roots;
    AttrStrings modes, labels_s;
    int64_t n_targets, aggregate_i, post_i;
} TreeAttrs;

enum {
    TREE_FEATURE = (1 << 24) - 1,
    TREE_MISSING = 1 << 24,
    TREE_STRICT = 1 << 25
}; /* field 0 of a node: feature and flags */
typedef struct TreeNode {
    int32_t feature;
    double split;
    int32_t yes, no;
} TreeNode;

typedef struct Forest {
    Arena *arena;
    const char *why;          /* what is wrong with the attributes */
    VEC(TreeNode) node;       /* inner ones; a child k >= 0 is inner node k, k < 0 leaf -k-1 */
    VEC(int32_t) root, depth; /* of each tree; the deepest first */
    int32_t n_leaf;
    int64_t n_target;
    double *weight; /* [n_leaf][n_target] */
    bool *given;    /* [n_leaf][n_target]: there is a weight */
    int64_t max_feature;
} Forest;

typedef enum TreeKind { TREE_CLASSIFIER, TREE_REGRESSOR, TREE_ENSEMBLE } TreeKind;

/* The forest that the attributes describe. false: f->why. n_target: classes, or targets. */
bool tree_build(Forest *f, const Blobs *, const TreeAttrs *, TreeKind, int64_t n_target);
double tree_float(const Blobs *, AttrFloats, AttrTensor,
                  uint32_t k); /* element of a list that may be given as a tensor */
uint32_t tree_count(const Blobs *, AttrFloats, AttrTensor);

/* Attributes of Forest. features: of x, from the first one on; strict: comparisons that are, 0 none, 1 all, 2 some;
 * keys: the form of its nodes (tree.c), feature_bits: of their words. With `missing` there are features twice: NaN is
 * above all others among the first, below among the second. */
typedef struct ForestAttrs {
    uint64_t set;
    int64_t combine, missing, strict, features, trees, keys, feature_bits;
} ForestAttrs;
/* Keys: leaves have numbers below TREE_LEAVES instead, and NaN is TREE_NAN where it is below all others. */
enum { TREE_LEAVES = 1 << 22, TREE_NAN = 1 };
bool tree_lower(Lw *, Node);

/* Sums (or minima, maxima) of the weights of the leaves that rows of x [N, F] come to: [N, n_target], in f32 or f64
 * as x is. */
typedef enum TreeCombine { TREE_SUM, TREE_MIN, TREE_MAX } TreeCombine;
Value tree_scores(Ex *, Value x, const Forest *, TreeCombine);

#endif
