/* tree_build.c: the attributes of tree ensembles become one Forest.
 *   x >= v   is  !(x < v)        children change places, and so does the way of NaN
 *   x == v   is  x <= v, then !(x < v)          x != v: the same with changed places
 *   x in {a, b}  is  x == a, or else x == b
 * so that all nodes compare with <= or <. Where NaN goes is a bit of its own: to `yes` where missing values follow
 * the true branch or where the comparison is one that NaN fulfils after the change of places. Cycles, children that
 * do not exist and trees too deep for the stack are errors. */
#include "ir/ops/tree.h"
#include <math.h>
#include <string.h>

enum { NODES_MAX = 1 << 24 };

typedef enum Mode { LEQ, LT, GTE, GT, EQ, NEQ, MEMBER, LEAF } Mode;

/* A node as the model has it; children are indices into the same list. */
typedef struct Given {
    Mode mode;
    bool missing, seen, done;
    int32_t feature;
    double value;
    int64_t yes, no;
    bool yes_leaf, no_leaf;
    uint32_t member, n_member;
    int32_t at, depth;
} Given;

typedef struct Tb {
    Forest *f;
    const Blobs *bs;
    const TreeAttrs *a;
    TreeKind kind;
    VEC(Given) node;
    double *members;
    int32_t *leaf_of;
    VEC(Given *) stack;
    Map of; /* tree, node -> index + 1 */
} Tb;

static bool fail(Tb *b, const char *why) { return b->f->why = why, false; }

double tree_float(const Blobs *bs, AttrFloats f, AttrTensor t, uint32_t k)
{
    return f.n ? f.p[k] : blob_get_f(bs, t.blob, k);
}

uint32_t tree_count(const Blobs *bs, AttrFloats f, AttrTensor t)
{
    if (f.n || !t.blob.i) return f.n;
    int64_t n = blob_rec(bs, t.blob)->count;
    return n < NODES_MAX ? (uint32_t)n : NODES_MAX;
}

static uint64_t key(int64_t tree, int64_t node) { return (uint64_t)tree << 32 ^ (uint64_t)(uint32_t)node; }

/* ---- inner nodes, children first ---- */

static int32_t inner(Tb *b, int32_t feature, int flags, double split, int32_t yes, int32_t no)
{
    vec_push(b->f->arena, &b->f->node, (TreeNode){feature | flags, split, yes, no});
    return (int32_t)b->f->node.n - 1;
}

static int32_t equal(Tb *b, int32_t feature, double v, bool missing, int32_t yes, int32_t no)
{
    int flag = missing ? TREE_MISSING : 0;
    return inner(b, feature, flag, v, inner(b, feature, TREE_STRICT, v, no, yes),
                 no); /* NaN that comes to the second is not below v: yes */
}

static int32_t emit(Tb *b, const Given *g, int32_t yes, int32_t no)
{
    int miss = g->missing ? TREE_MISSING : 0, other = g->missing ? 0 : TREE_MISSING;
    switch (g->mode) {
    case LEQ: return inner(b, g->feature, miss, g->value, yes, no);
    case LT: return inner(b, g->feature, miss | TREE_STRICT, g->value, yes, no);
    case GT: return inner(b, g->feature, other, g->value, no, yes);
    case GTE: return inner(b, g->feature, other | TREE_STRICT, g->value, no, yes);
    case EQ: return equal(b, g->feature, g->value, g->missing, yes, no);
    case NEQ: return equal(b, g->feature, g->value, false, no, yes);
    default: break;
    }
    int32_t at = no;
    for (uint32_t k = g->n_member; k-- > 0;) at = equal(b, g->feature, b->members[g->member + k], g->missing, yes, at);
    return at;
}

static int steps(const Given *g)
{
    return g->mode == EQ || g->mode == NEQ ? 2 : g->mode == MEMBER ? 2 * (int)g->n_member : 1;
}

/* A child: a leaf, whose number goes to *at, or an inner node (*node, else NULL). */
static bool child(Tb *b, int64_t k, bool leaf, int32_t *at, Given **node)
{
    *node = NULL;
    if (leaf) { /* TreeEnsemble: leaves are numbered apart */
        if (k < 0 || k >= b->f->n_leaf) return fail(b, "a leaf is out of range");
        *at = (int32_t)(-k - 1);
        return true;
    }
    if (k < 0 || k >= (int64_t)b->node.n) return fail(b, "a child is no node of its tree");
    Given *g = &b->node.p[k];
    if (g->mode == LEAF) *at = -b->leaf_of[k] - 1;
    else *node = g;
    return true;
}

/* Places and depths of g's children, no first. *wait: some are not done; they lie on the stack now. */
static bool children(Tb *b, const Given *g, int32_t at[2], int32_t depth[2], bool *wait)
{
    *wait = false;
    for (int k = 0; k < 2; k++) {
        Given *c;
        depth[k] = 0;
        if (!child(b, k ? g->yes : g->no, k ? g->yes_leaf : g->no_leaf, &at[k], &c)) return false;
        if (!c) continue;
        at[k] = c->at, depth[k] = c->depth;
        if (c->done) continue;
        if (c->seen) return fail(b, "a node is its own descendant");
        vec_push(b->f->arena, &b->stack, c);
        *wait = true;
    }
    return true;
}

/* Trees may be as deep as they have nodes: the way to a node is a stack of its own. A node is seen when its children are
 * pushed, and done when it is met again; a child that is seen and not done is on the way. */
static bool tree(Tb *b, int64_t root, bool leaf)
{
    int32_t at, depth = 0;
    Given *top;
    if (!child(b, root, leaf, &at, &top)) return false;
    b->stack.n = 0;
    if (top) vec_push(b->f->arena, &b->stack, top);
    while (b->stack.n) {
        Given *g = b->stack.p[b->stack.n - 1];
        int32_t to[2], deep[2];
        bool wait;
        if (!g->done) {
            g->seen = true;
            if (!children(b, g, to, deep, &wait)) return false;
            if (wait) continue;
            if (b->f->node.n > NODES_MAX) return fail(b, "the trees have too many nodes");
            g->at = emit(b, g, to[1], to[0]);
            g->depth = (deep[0] > deep[1] ? deep[0] : deep[1]) + steps(g);
            g->done = true;
        }
        b->stack.n--;
    }
    if (top) at = top->at, depth = top->depth;
    vec_push(b->f->arena, &b->f->root, at);
    vec_push(b->f->arena, &b->f->depth, depth);
    return true;
}

/* ---- what the model says ---- */

static bool mode_of(Tb *b, const char *text, Mode *m)
{
    static const char *const NAME[] = {
        [LEQ] = "BRANCH_LEQ", [LT] = "BRANCH_LT",   [GTE] = "BRANCH_GTE",       [GT] = "BRANCH_GT",
        [EQ] = "BRANCH_EQ",   [NEQ] = "BRANCH_NEQ", [MEMBER] = "BRANCH_MEMBER", [LEAF] = "LEAF"};
    for (int k = 0; k <= LEAF; k++)
        if (k != MEMBER && !strcmp(text, NAME[k])) return *m = (Mode)k, true;
    return fail(b, "nodes_modes names a mode that does not exist");
}

static bool feature_fits(Tb *b, int64_t f)
{
    if (f < 0 || f > TREE_FEATURE) return fail(b, "nodes_featureids is out of range");
    if (f > b->f->max_feature) b->f->max_feature = f;
    return true;
}

/* The lists of TreeEnsembleClassifier and Regressor. */
static bool read_lists(Tb *b)
{
    const TreeAttrs *a = b->a;
    uint32_t n = a->nodeids.n, values = tree_count(b->bs, a->values, a->values_t);
    Arena *ar = b->f->arena;
    if (a->treeids.n != n || a->featureids.n != n || a->modes.n != n || a->truenodeids.n != n ||
        a->falsenodeids.n != n || values != n || (a->missing.n && a->missing.n != n))
        return fail(b, "the lists nodes_* have different lengths");
    if (n > NODES_MAX) return fail(b, "the trees have too many nodes");
    b->leaf_of = arena_array(ar, int32_t, n + 1);
    for (uint32_t k = 0; k < n; k++) {
        Given g = {.feature = (int32_t)a->featureids.p[k],
                   .value = tree_float(b->bs, a->values, a->values_t, k),
                   .missing = a->missing.n && a->missing.p[k]};
        uint64_t old;
        if (!mode_of(b, a->modes.p[k], &g.mode) || (g.mode != LEAF && !feature_fits(b, a->featureids.p[k])))
            return false;
        if (map_get(&b->of, key(a->treeids.p[k], a->nodeids.p[k]), &old)) return fail(b, "a node is given twice");
        map_put(&b->of, key(a->treeids.p[k], a->nodeids.p[k]), k + 1);
        if (g.mode == LEAF) b->leaf_of[k] = b->f->n_leaf++;
        vec_push(ar, &b->node, g);
    }
    bool *child = arena_array(ar, bool, n + 1);
    for (uint32_t k = 0; k < n; k++) {
        Given *g = &b->node.p[k];
        uint64_t yes = 0, no = 0;
        if (g->mode == LEAF) continue;
        if (!map_get(&b->of, key(a->treeids.p[k], a->truenodeids.p[k]), &yes) ||
            !map_get(&b->of, key(a->treeids.p[k], a->falsenodeids.p[k]), &no))
            return fail(b, "a child is no node of its tree");
        g->yes = (int64_t)yes - 1;
        g->no = (int64_t)no - 1;
        child[g->yes] = child[g->no] = true;
    }
    Map rooted;
    map_init(&rooted, ar);
    for (uint32_t k = 0; k < n; k++) { /* the first node of a tree that nobody points to */
        uint64_t old;
        if (child[k] || map_get(&rooted, (uint64_t)a->treeids.p[k], &old)) continue;
        map_put(&rooted, (uint64_t)a->treeids.p[k], 1);
        if (!tree(b, k, false)) return false;
    }
    for (uint32_t k = 0; k < n; k++) {
        uint64_t old;
        if (!map_get(&rooted, (uint64_t)a->treeids.p[k], &old)) return fail(b, "a node is its own descendant");
    }
    return true;
}

static bool read_weights(Tb *b)
{
    const TreeAttrs *a = b->a;
    Forest *f = b->f;
    uint32_t n = tree_count(b->bs, a->weights, a->weights_t);
    if (a->ids.n != n || a->weight_nodeids.n != n || a->weight_treeids.n != n)
        return fail(b, "the lists of weights have different lengths");
    for (uint32_t k = 0; k < n; k++) {
        uint64_t at;
        if (!map_get(&b->of, key(a->weight_treeids.p[k], a->weight_nodeids.p[k]), &at))
            return fail(b, "a weight belongs to no node");
        if (b->node.p[at - 1].mode != LEAF) continue;
        if (a->ids.p[k] < 0 || a->ids.p[k] >= f->n_target) return fail(b, "a weight belongs to no target");
        int64_t w = (int64_t)b->leaf_of[at - 1] * f->n_target + a->ids.p[k];
        f->weight[w] += tree_float(b->bs, a->weights, a->weights_t, k);
        f->given[w] = true;
    }
    return true;
}

static int64_t count_of(const Blobs *bs, AttrTensor t) { return t.blob.i ? blob_rec(bs, t.blob)->count : 0; }

/* The lists of TreeEnsemble. */
static bool read_ensemble(Tb *b)
{
    const TreeAttrs *a = b->a;
    Forest *f = b->f;
    uint32_t n = a->featureids.n, member = 0;
    int64_t members = count_of(b->bs, a->membership);
    if (a->truenodeids.n != n || a->falsenodeids.n != n || a->trueleafs.n != n || a->falseleafs.n != n ||
        count_of(b->bs, a->modes_t) != n || count_of(b->bs, a->values_t) != n || (a->missing.n && a->missing.n != n))
        return fail(b, "the lists nodes_* have different lengths");
    if (n > NODES_MAX || members > NODES_MAX) return fail(b, "the trees have too many nodes");
    b->members = arena_array(f->arena, double, members + 1);
    for (int64_t k = 0; k < members; k++) b->members[k] = blob_get_f(b->bs, a->membership.blob, k);
    for (uint32_t k = 0; k < n; k++) {
        int64_t mode = blob_get_i(b->bs, a->modes_t.blob, k);
        if (mode < LEQ || mode > MEMBER) return fail(b, "nodes_modes has a mode that does not exist");
        if (!feature_fits(b, a->featureids.p[k])) return false;
        Given g = {.mode = (Mode)mode,
                   .feature = (int32_t)a->featureids.p[k],
                   .value = blob_get_f(b->bs, a->values_t.blob, k),
                   .missing = a->missing.n && a->missing.p[k],
                   .yes = a->truenodeids.p[k],
                   .no = a->falsenodeids.p[k],
                   .yes_leaf = a->trueleafs.p[k] != 0,
                   .no_leaf = a->falseleafs.p[k] != 0,
                   .member = member};
        if (mode == MEMBER) { /* its members, up to a NaN */
            while (member < members && !isnan(b->members[member])) member++;
            g.n_member = member - g.member;
            if (member++ == members) return fail(b, "membership_values has too few sets");
        }
        vec_push(f->arena, &b->node, g);
    }
    for (uint32_t k = 0; k < a->roots.n; k++) {
        int64_t r = a->roots.p[k];
        if (r < 0 || r >= n) return fail(b, "tree_roots is out of range");
        const Given *g = &b->node.p[r];
        bool leaf = g->yes_leaf && g->no_leaf && g->yes == g->no; /* a tree that is one leaf */
        if (!tree(b, leaf ? g->yes : r, leaf)) return false;
    }
    return true;
}

/* ---- the whole ---- */

/* The deepest first: walks of trees that are next to each other take as many steps. */
static void sort_trees(Forest *f)
{
    uint32_t n = f->root.n, at = 0;
    int32_t *root = arena_array(f->arena, int32_t, n), *depth = arena_array(f->arena, int32_t, n), max = 0;
    for (uint32_t k = 0; k < n; k++) max = f->depth.p[k] > max ? f->depth.p[k] : max;
    uint32_t *first = arena_array(f->arena, uint32_t, max + 1); /* of each depth: where its trees begin */
    for (uint32_t k = 0; k < n; k++) first[f->depth.p[k]]++;
    for (int32_t d = max; d >= 0; d--) {
        uint32_t count = first[d];
        first[d] = at;
        at += count;
    }
    for (uint32_t k = 0; k < n; k++) {
        uint32_t to = first[f->depth.p[k]]++;
        root[to] = f->root.p[k], depth[to] = f->depth.p[k];
    }
    f->root.p = root;
    f->depth.p = depth;
}

static bool room(Tb *b, int64_t leaves)
{
    Forest *f = b->f;
    if (leaves * f->n_target > (int64_t)1 << 28) return fail(b, "the trees have too many weights");
    f->weight = arena_array(f->arena, double, leaves * f->n_target + 1);
    f->given = arena_array(f->arena, bool, leaves * f->n_target + 1);
    return true;
}

bool tree_build(Forest *f, const Blobs *bs, const TreeAttrs *a, TreeKind kind, int64_t n_target)
{
    Tb b = {.f = f, .bs = bs, .a = a, .kind = kind};
    map_init(&b.of, f->arena);
    f->n_target = n_target;
    f->max_feature = -1;
    if (n_target < 1 || n_target > NODES_MAX) return fail(&b, "the number of targets is out of range");
    if (kind == TREE_ENSEMBLE) {
        int64_t n = count_of(bs, a->weights_t);
        if (n != a->ids.n || n > NODES_MAX) return fail(&b, "leaf_weights and leaf_targetids have different lengths");
        f->n_leaf = (int32_t)n;
        if (!room(&b, n)) return false;
        for (int64_t k = 0; k < n; k++) {
            if (a->ids.p[k] < 0 || a->ids.p[k] >= n_target) return fail(&b, "a weight belongs to no target");
            f->weight[k * n_target + a->ids.p[k]] = blob_get_f(bs, a->weights_t.blob, k);
            f->given[k * n_target + a->ids.p[k]] = true;
        }
        if (!read_ensemble(&b)) return false;
    } else if (!read_lists(&b) || !room(&b, f->n_leaf) || !read_weights(&b)) return false;
    if (!f->root.n || !f->n_leaf) return fail(&b, "there is no tree");
    sort_trees(f);
    return true;
}
