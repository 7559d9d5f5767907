/* tree.c: Forest, the internal operator that all tree ensembles expand into: which leaf each tree gives for a row of
 * x, and the sum of these leaves' weights.
 *   leaf[t] = walk(root[t])             16 trees in a vector, as many steps as the deepest of them has
 *   y[n, c] = sum over t of weight[leaf[t], c]
 * A step has no branch. It waits for loads that each need the one before, so several vectors go side by side (`walks`,
 * of other trees; roots are padded to whole groups). Where a row has too few trees for the lanes, and wherever there are
 * 16 rows, the lanes are rows that walk one tree, as many steps as it has; the sums are taken in the same order.
 * And a step costs loads from 16 places, so nodes take as few as they can. Two forms:
 *   pairs    {children, flags, feature in one word; bits of the split}. The children of a node stand side by side, `yes`
 *            first; a leaf compares with NaN, which nothing fulfils, and its second child is itself. Operand `leaves` says
 *            which leaf a node is. Three loads a step, that of x among them.
 *   records  {feature and flags, bits of the split, yes, no}, leaves first, a leaf is its own child: where nodes have
 *            several parents (x == v takes two nodes), or places do not fit into the word.
 * In f64 the splits are an operand of their own. */
#include "ir/graph/eval.h"
#include "ir/graph/lower.h"
#include "base/bug.h"
#include "ir/ops/grad.h"
#include "ir/ops/tree.h"
#include <float.h>
#include <math.h>
#include <string.h>

enum { WALKS_MAX = 4 };
typedef struct ForestAttrs {
    uint64_t set;
    int64_t combine, missing, strict /* 0 none, 1 all, 2 some */, features;
    int64_t trees /* without padding */, walks;
    int64_t feature_bits,
        shift; /* pairs: of the word, the feature's bits, and the place of the children's; 0: records */
} ForestAttrs;
static const AttrSpec ATTRS_[] = {
    A_INT(ForestAttrs, combine, 0),      A_INT(ForestAttrs, missing, 0), A_INT(ForestAttrs, strict, 0),
    A_INT(ForestAttrs, features, 0),     A_INT(ForestAttrs, trees, 0),   A_INT(ForestAttrs, walks, 1),
    A_INT(ForestAttrs, feature_bits, 0), A_INT(ForestAttrs, shift, 0),   A_END};
#define DTS_X (DTS(DT_F32) | DTS(DT_F64))
static const Port P_IN[] = {{"x", DTS_X, 0, 1},
                            {"nodes", DTS(DT_I32), 0, 0},
                            {"roots", DTS(DT_I32), 0, 0},
                            {"depths", DTS(DT_I32), 0, 0},
                            {"weights", DTS_X, 0, 1},
                            {"splits", DTS(DT_F64), PORT_OPTIONAL, 0},
                            {"leaves", DTS(DT_I32), PORT_OPTIONAL, 0},
                            PORT_END};
static const Port P_OUT[] = {{"y", DTS_X, 0, 1}, PORT_END};

static bool infer(Infer *c)
{
    static const int RANK[] = {2, 2, 1, 1, 2};
    for (uint32_t k = 0; k < 5; k++)
        if (!infer_need_rank(c, k, RANK[k], RANK[k])) return false;
    int64_t F;
    if (dim_is_const(c->d, infer_dim(c, 0, 1), &F) && F < ATTRS(c->g, c->n, ForestAttrs)->features)
        return infer_fail(c, "the trees ask for %lld features, the input has %lld",
                          (long long)ATTRS(c->g, c->n, ForestAttrs)->features, (long long)F);
    Dim dim[2] = {infer_dim(c, 0, 0), infer_dim(c, 4, 1)};
    return infer_set(c, 0, infer_elem(c, 0), 2, dim);
}

typedef struct Fw {
    Kb *b;
    const ForestAttrs *a;
    DType t;
    uint32_t x, nodes, splits;
    uint32_t root, depth, weight, leaves, leaf, sum; /* leaves 0: records; scratch: leaf [trees], sum or 0 */
    bool wide;
} Fw;

static KVal field(const Fw *w, KVal node, int k) { return kb_load(w->b, w->nodes, (KVal[]){node, kb_i(w->b, k)}); }
static KVal flag(const Fw *w, KVal head, int bit)
{
    return kb_bin(w->b, KOP_NE, kb_and(w->b, head, kb_const_i(w->b, DT_I32, bit)), kb_const_i(w->b, DT_I32, 0));
}

/* Where the flags stand in the first word. */
static int missing_bit(const ForestAttrs *a) { return a->shift ? 1 << a->feature_bits : TREE_MISSING; }
static int strict_bit(const ForestAttrs *a) { return a->shift ? 2 << a->feature_bits : TREE_STRICT; }

/* One step of a walk for a row: the next node (i32). */
static KVal step(const Fw *w, KVal row, KVal at)
{
    Kb *b = w->b;
    KVal node = kb_cast(b, DT_I64, at), head = field(w, node, 0);
    KVal split = w->wide ? kb_load(b, w->splits, &node) : kb_bitcast(b, DT_F32, field(w, node, 1));
    bool flags = w->a->missing || w->a->strict == 2 || w->a->shift;
    int features = w->a->shift ? (1 << w->a->feature_bits) - 1 : TREE_FEATURE;
    KVal feature = kb_cast(b, DT_I64, flags ? kb_and(b, head, kb_const_i(b, DT_I32, features)) : head);
    KVal x = kb_load(b, w->x, (KVal[]){row, feature}), less = kb_lt(b, x, split), leq = kb_bin(b, KOP_LE, x, split);
    KVal yes = w->a->strict == 1   ? less
               : w->a->strict == 0 ? leq
                                   : kb_select(b, flag(w, head, strict_bit(w->a)), less, leq);
    if (w->a->missing)
        yes = kb_bin(b, KOP_OR, yes, kb_and(b, kb_un(b, KOP_ISNAN, x), flag(w, head, missing_bit(w->a))));
    KVal zero = kb_const_i(b, DT_I32, 0), one = kb_const_i(b, DT_I32, 1);
    if (w->a->shift)
        return kb_add(b, kb_bin(b, KOP_SHR, head, kb_const_i(b, DT_I32, w->a->shift)), kb_select(b, yes, zero, one));
    return kb_select(b, yes, field(w, node, 2), field(w, node, 3));
}

/* The leaf (i32) that a walk has come to. */
static KVal leaf_of(const Fw *w, KVal at)
{
    KVal node = kb_cast(w->b, DT_I64, at);
    return w->leaves ? kb_load(w->b, w->leaves, &node) : at;
}

/* Trees side by side, and rows of a block, which is what threads share: as many vectors as there may be walks. */
static int trees_of(const ForestAttrs *a) { return a->trees >= WALKS_MAX ? WALKS_MAX : a->trees > 1 ? 2 : 1; }
static int64_t block_rows(const ForestAttrs *a) { return WALKS_MAX / trees_of(a) * K_LANES; }

/* leaf[t] for a row. */
static void walk(const Fw *w, KVal row)
{
    Kb *b = w->b;
    int walks = (int)w->a->walks;
    int64_t each = K_LANES * walks;
    KVal zero = kb_i(b, 0), q = kb_for(b, KLOOP_SEQ, zero, kb_i(b, (w->a->trees + each - 1) / each));
    KVal lo = kb_mul(b, q, kb_i(b, each)), steps = kb_cast(b, DT_I64, kb_load(b, w->depth, &lo));
    KVal t = kb_for(b, KLOOP_VEC, lo, kb_add(b, lo, kb_i(b, K_LANES))), to[WALKS_MAX];
    KVal start[WALKS_MAX], next[WALKS_MAX];
    for (int k = 0; k < walks; k++) {
        to[k] = kb_add(b, t, kb_i(b, K_LANES * k));
        start[k] = kb_load(b, w->root, &to[k]);
    }
    KbLoop loop;
    kb_loop(b, &loop, KLOOP_SEQ, zero, steps, (uint32_t)walks, start, NULL);
    for (int k = 0; k < walks; k++) next[k] = step(w, row, loop.carry[k]);
    kb_loop_end(b, &loop, next);
    for (int k = 0; k < walks; k++) kb_store(b, w->leaf, &to[k], leaf_of(w, loop.result[k]));
    kb_end(b);
    kb_end(b);
}

/* The same without lanes, a few trees side by side: a step costs a quarter of a vector's, and whoever is at a leaf after
 * CHUNK steps takes no more. */
static void walk_alone(const Fw *w, KVal row)
{
    enum { CHUNK = 4 };
    Kb *b = w->b;
    int each = trees_of(w->a);
    KVal zero = kb_i(b, 0), chunk = kb_i(b, CHUNK);
    KVal q = kb_for(b, KLOOP_SEQ, zero, kb_i(b, (w->a->trees + each - 1) / each)), t0 = kb_mul(b, q, kb_i(b, each));
    KVal steps = kb_cast(b, DT_I64, kb_load(b, w->depth, &t0)), t[WALKS_MAX], at[WALKS_MAX + 1], moved = {0};
    for (int k = 0; k < each; k++) {
        t[k] = kb_add(b, t0, kb_i(b, k));
        at[k] = kb_load(b, w->root, &t[k]);
    }
    at[each] = chunk;
    KbLoop chunks, loop;
    kb_loop(b, &chunks, KLOOP_SEQ, zero, kb_ceil_div(b, steps, CHUNK), (uint32_t)each + 1, at, NULL);
    kb_loop(b, &loop, KLOOP_SEQ, zero, chunks.carry[each], (uint32_t)each, chunks.carry, NULL);
    for (int k = 0; k < each; k++) at[k] = step(w, row, loop.carry[k]);
    kb_loop_end(b, &loop, at);
    for (int k = 0; k < each; k++) {
        KVal other = kb_bin(b, KOP_NE, loop.result[k], chunks.carry[k]);
        moved = k ? kb_bin(b, KOP_OR, moved, other) : other;
        at[k] = loop.result[k];
    }
    at[each] = kb_select(b, moved, chunk, zero);
    kb_loop_end(b, &chunks, at);
    for (int k = 0; k < each; k++) kb_store(b, w->leaf, &t[k], leaf_of(w, chunks.result[k]));
    kb_end(b);
}

static KOp combine_of(const Fw *w)
{
    return w->a->combine == TREE_MIN ? KOP_MIN : w->a->combine == TREE_MAX ? KOP_MAX : KOP_ADD;
}
static KVal neutral(const Fw *w)
{
    return kb_const_f(w->b, w->t, w->a->combine == TREE_MIN ? INFINITY : w->a->combine == TREE_MAX ? -INFINITY : 0);
}

/* y[row] from leaf. */
static void weigh(const Fw *w, Lw *l, KVal row)
{
    Kb *b = w->b;
    KOp op = combine_of(w);
    KVal zero = kb_i(b, 0), c = kb_for(b, KLOOP_SEQ, zero, kb_dim(b, lw_dim(l, 4, 1))), init = neutral(w);
    KbLoop loop;
    kb_loop(b, &loop, KLOOP_VEC, zero, kb_i(b, w->a->trees), 1, &init, &op);
    KVal at = kb_cast(b, DT_I64, kb_load(b, w->leaf, &loop.iv));
    KVal sum = kb_bin(b, op, loop.carry[0], kb_load(b, w->weight, (KVal[]){at, c}));
    kb_loop_end(b, &loop, &sum);
    lw_put(l, 0, (KVal[]){row, c}, loop.result[0]);
    kb_end(b);
}

/* Lanes are rows: y[first .. first + rows), `each` trees and `groups` vectors of rows side by side (more than one only
 * where rows = 16 groups). sum[c][t mod 16][row]: tree t goes to the sum that its lane of `weigh` has, and they are
 * added up as a vector's lanes are. */
static void walk_rows(const Fw *w, Lw *l, KVal first, KVal rows, int each, int groups)
{
    Kb *b = w->b;
    int64_t T = w->a->trees, lanes = T < K_LANES ? T : K_LANES;
    int all = each * groups;
    KOp op = combine_of(w);
    KVal zero = kb_i(b, 0), classes = kb_dim(b, lw_dim(l, 4, 1)), none = neutral(w);
    KVal c = kb_for(b, KLOOP_SEQ, zero, classes), lane = kb_for(b, KLOOP_SEQ, zero, kb_i(b, lanes));
    KVal r = kb_for(b, KLOOP_VEC, zero, rows);
    kb_store(b, w->sum, (KVal[]){c, lane, r}, none);
    kb_end(b), kb_end(b), kb_end(b);

    KVal q = kb_for(b, KLOOP_SEQ, zero, kb_i(b, (T + each - 1) / each)), t0 = kb_mul(b, q, kb_i(b, each));
    KVal steps = kb_cast(b, DT_I64, kb_load(b, w->depth, &t0)), start[WALKS_MAX], next[WALKS_MAX], row[WALKS_MAX];
    r = kb_for(b, KLOOP_VEC, zero, groups > 1 ? kb_i(b, K_LANES) : rows);
    for (int k = 0; k < all; k++) {
        KVal t = kb_add(b, t0, kb_i(b, k % each));
        start[k] = kb_load(b, w->root, &t);
        row[k] = kb_add(b, r, kb_i(b, K_LANES * (k / each)));
    }
    KbLoop loop;
    kb_loop(b, &loop, KLOOP_SEQ, zero, steps, (uint32_t)all, start, NULL);
    for (int k = 0; k < all; k++) next[k] = step(w, kb_add(b, first, row[k]), loop.carry[k]);
    kb_loop_end(b, &loop, next);
    for (int k = 0; k < all; k++) loop.result[k] = kb_cast(b, DT_I64, leaf_of(w, loop.result[k]));
    c = kb_for(b, KLOOP_SEQ, zero, classes);
    for (int k = 0; k < all; k++) {
        KVal t = kb_add(b, t0, kb_i(b, k % each)), to[3] = {c, kb_and(b, t, kb_i(b, K_LANES - 1)), row[k]};
        KVal v = kb_load(b, w->weight, (KVal[]){loop.result[k], c});
        if (T % each) v = kb_select(b, kb_lt(b, t, kb_i(b, T)), v, none);
        if (T <= K_LANES) to[1] = kb_min(b, to[1], kb_i(b, T - 1)); /* trees that only fill up */
        kb_store(b, w->sum, to, kb_bin(b, op, kb_load(b, w->sum, to), v));
    }
    kb_end(b), kb_end(b), kb_end(b);

    c = kb_for(b, KLOOP_SEQ, zero, classes), r = kb_for(b, KLOOP_VEC, zero, rows);
    KVal v[K_LANES];
    for (int64_t k = 0; k < lanes; k++) v[k] = kb_load(b, w->sum, (KVal[]){c, kb_i(b, k), r});
    for (int64_t half = K_LANES / 2; half; half /= 2)
        for (int64_t k = 0; k < half && k + half < lanes; k++) v[k] = kb_bin(b, op, v[k], v[k + half]);
    lw_put(l, 0, (KVal[]){kb_add(b, first, r), c}, v[0]);
    kb_end(b), kb_end(b);
}

/* A loop of one round, or of none: what a kernel has for conditions. */
static KVal when(Kb *b, KVal yes)
{
    KVal one = kb_i(b, 1), zero = kb_i(b, 0);
    return kb_for(b, KLOOP_SEQ, zero, kb_select(b, yes, one, zero));
}

static void block(const Fw *w, Lw *l, KVal first, KVal here)
{
    Kb *b = w->b;
    int64_t T = w->a->trees, rows = block_rows(w->a);
    int each = trees_of(w->a);
    KVal done = kb_i(b, 0);
    if (w->sum) { /* alone a row costs about as much as 16 rows and some of its trees, or all where they fill vectors */
        int64_t few = T <= 2 * K_LANES ? (T + each - 1) / each : rows - 1;
        KVal whole = kb_eq(b, here, kb_i(b, rows)), some = kb_lt(b, kb_i(b, few), here);
        if (rows > K_LANES) {
            when(b, whole);
            walk_rows(w, l, first, kb_i(b, rows), each, WALKS_MAX / each);
            kb_end(b);
            some = kb_and(b, some, kb_lt(b, here, kb_i(b, rows)));
        }
        when(b, some);
        walk_rows(w, l, first, here, each, 1);
        kb_end(b);
        done = kb_select(b, rows > K_LANES ? kb_bin(b, KOP_OR, whole, some) : some, here, done);
    }
    KVal r = kb_add(b, first, kb_for(b, KLOOP_SEQ, done, here));
    if (T <= K_LANES) walk_alone(w, r);
    else walk(w, r);
    weigh(w, l, r);
    kb_end(b);
}

enum { SUM_BYTES = 32 << 10 }; /* of a block of rows, at most */
static bool lower(Lw *l, Node n)
{
    const ForestAttrs *a = ATTRS(l->g, n, ForestAttrs);
    Dims *d = &l->m->dims;
    Dim F = lw_dim(l, 0, 1), all = lw_dim(l, 0, 0);
    if (dim_le(d, dim_const(d, a->features), F) != TRI_YES) {
        KStep *s = lw_step(l, KST_CHECK);
        s->a = dim_const(d, a->features), s->b = F, s->rel = KREL_LE,
        s->msg = "the trees ask for more features than the input has";
    }
    KBuf in[7];
    for (uint32_t k = 0; k < 7; k++) in[k] = lw_has(l, k) ? lw_in(l, k) : (KBuf){0};
    lw_prepare_out(l);
    Kb *b = lw_kernel(l, "forest");
    Fw w = {.b = b, .a = a, .t = lw_elem(l, 0), .wide = in[5].i != 0};
    w.x = kb_param(b, in[0], false);
    w.nodes = kb_param(b, in[1], false);
    w.root = kb_param(b, in[2], false);
    w.depth = kb_param(b, in[3], false);
    w.weight = kb_param(b, in[4], false);
    if (a->shift) w.leaves = kb_param(b, in[6], false);
    if (w.wide) w.splits = kb_param(b, in[5], false);
    w.leaf = kb_local(b, "leaf", DT_I32, 1, (Dim[]){lw_dim(l, 2, 0)});
    int64_t rows = block_rows(a), classes, lanes = a->trees < K_LANES ? a->trees : K_LANES;
    if (lanes && dim_is_const(d, lw_dim(l, 4, 1), &classes) && classes <= SUM_BYTES / (rows * lanes * dtype_info(w.t)->bits / 8) &&
        dim_le(d, all, dim_const(d, 1)) != TRI_YES)
        w.sum = kb_local(b, "sum", w.t, 3, (Dim[]){lw_dim(l, 4, 1), dim_const(d, lanes), dim_const(d, rows)});
    KVal zero = kb_i(b, 0), first = kb_for(b, KLOOP_PAR, zero, kb_dim(b, dim_ceildiv(d, all, dim_const(d, rows))));
    first = kb_mul(b, first, kb_i(b, rows));
    block(&w, l, first, kb_min(b, kb_i(b, rows), kb_sub(b, kb_dim(b, all), first)));
    lw_end_nest(l, 1);
    lw_kernel_end(l);
    return true;
}

static bool is_leaf(const ForestAttrs *a, const Tensor *nodes, int64_t at)
{
    return a->shift ? (ev_i(nodes, 2 * at) >> a->shift) + 1 == at : ev_i(nodes, 4 * at + 2) == at;
}

static bool eval(Eval *e)
{
    const ForestAttrs *a = ATTRS(e->g, e->n, ForestAttrs);
    const Tensor *x = e->in[0], *nodes = e->in[1], *roots = e->in[2], *w = e->in[4];
    int64_t C = w->dim[1], F = x->dim[1], dim[2] = {x->dim[0], C};
    if (F < a->features) return ev_fail(e, "the trees ask for more features than the input has");
    Tensor *y = ev_out(e, 0, x->elem, 2, dim);
    for (int64_t k = 0; y && k < y->count; k++) {
        double s = a->combine == TREE_MIN ? INFINITY : a->combine == TREE_MAX ? -INFINITY : 0;
        for (int64_t t = 0; t < a->trees; t++) {
            int64_t at = ev_i(roots, t), width = nodes->dim[1];
            while (!is_leaf(a, nodes, at)) {
                int64_t head = ev_i(nodes, width * at), bits = ev_i(nodes, width * at + 1);
                int64_t feature = a->shift ? head & ((1 << a->feature_bits) - 1) : head & TREE_FEATURE;
                int32_t b = (int32_t)bits;
                float f;
                memcpy(&f, &b, 4);
                double split = ev_has(e, 5) ? ev_f(e->in[5], at) : (double)f, v = ev_f(x, k / C * F + feature);
                bool some = a->strict == 2, yes = isnan(v) ? a->missing && (head & missing_bit(a))
                                                  : a->strict == 1 || (some && (head & strict_bit(a))) ? v < split
                                                                                                       : v <= split;
                at = a->shift ? (head >> a->shift) + !yes : ev_i(nodes, 4 * at + (yes ? 2 : 3));
            }
            if (a->shift) at = ev_i(e->in[6], at);
            double v = ev_f(w, at * C + k % C);
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
                          .lower = lower,
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
    int32_t *rec, *root, *leaves; /* leaves NULL: records */
    double *split;
    int width;
} Tables;

static void put_split(Tables *t, int64_t at, double v)
{
    float f = (float)v;
    memcpy(&t->rec[t->width * at + 1], &f, 4);
    t->split[at] = v;
}

static void make_records(Arena *ar, const Forest *f, Tables *t)
{
    t->n = (int64_t)f->node.n + f->n_leaf, t->width = 4;
    t->rec = arena_array(ar, int32_t, 4 * t->n);
    t->split = arena_array(ar, double, t->n);
    for (int32_t k = 0; k < f->n_leaf; k++) t->rec[4 * k + 2] = t->rec[4 * k + 3] = k;
    for (uint32_t k = 0; k < f->node.n; k++) {
        const TreeNode *s = &f->node.p[k];
        int32_t *r = t->rec + 4 * ((int64_t)f->n_leaf + k);
        r[0] = s->feature;
        r[2] = s->yes < 0 ? -s->yes - 1 : f->n_leaf + s->yes;
        r[3] = s->no < 0 ? -s->no - 1 : f->n_leaf + s->no;
        put_split(t, f->n_leaf + (int64_t)k, s->split);
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

/* false: not that form. Place 0 is empty, so that a leaf's first child, the place before it, exists; tree after tree,
 * level after level. */
static bool make_pairs(Arena *ar, const Forest *f, ForestAttrs *a, Tables *t)
{
    uint32_t inner = f->node.n, T = f->root.n;
    bool *seen = arena_array(ar, bool, inner + 1);
    for (uint32_t k = 0; k < 2 * inner + T; k++) {
        int32_t child = k < T ? f->root.p[k] : (k - T) & 1 ? f->node.p[(k - T) / 2].no : f->node.p[(k - T) / 2].yes;
        if (child >= 0 && seen[child]) return false; /* it has two parents */
        if (child >= 0) seen[child] = true;
    }
    int64_t n = 1 + T + 2 * (int64_t)inner;
    int feature_bits = bits_for(f->max_feature + 1), shift = feature_bits + 2;
    if (bits_for(n) + shift > 31) return false;
    *t = (Tables){.n = 1, .root = t->root, .width = 2};
    t->rec = arena_array(ar, int32_t, 2 * n);
    t->split = arena_array(ar, double, n);
    t->leaves = arena_array(ar, int32_t, n);
    int32_t *what = arena_array(ar, int32_t, n); /* inner node or leaf of each place, as Forest's children are */
    for (uint32_t k = 0; k < T; k++) {
        int64_t at = t->n;
        t->root[k] = (int32_t)t->n;
        what[t->n++] = f->root.p[k];
        for (; at < t->n; at++) {
            int64_t child = what[at] < 0 ? at - 1 : t->n;
            int32_t head = 0;
            if (what[at] < 0) {
                t->leaves[at] = -what[at] - 1;
                put_split(t, at, NAN);
            } else {
                const TreeNode *s = &f->node.p[what[at]];
                head = (s->feature & TREE_FEATURE) | (s->feature & TREE_MISSING ? 1 << feature_bits : 0) |
                       (s->feature & TREE_STRICT ? 2 << feature_bits : 0);
                put_split(t, at, s->split);
                what[t->n++] = s->yes;
                what[t->n++] = s->no;
            }
            t->rec[2 * at] = (int32_t)child << shift | head;
        }
    }
    assert(t->n <= n);
    a->feature_bits = feature_bits, a->shift = shift;
    return true;
}

Value tree_scores(Ex *e, Value x, const Forest *f, TreeCombine combine)
{
    if (e->failed) return VALUE_NONE;
    Arena *ar = e->g->m->arena;
    DType t = ex_elem(e, x);
    uint32_t inner = f->node.n, T = f->root.n, walks = T <= K_LANES ? 1 : T <= 2 * K_LANES ? 2 : WALKS_MAX;
    uint32_t each = K_LANES * walks, groups = (T + each - 1) / each, strict = 0, missing = 0;
    int64_t weights = (int64_t)f->n_leaf * f->n_target;
    int32_t *depth = arena_array(ar, int32_t, groups * each);
    Tables tables = {.root = arena_array(ar, int32_t, groups * each)};
    for (uint32_t k = 0; k < inner; k++) {
        strict += (f->node.p[k].feature & TREE_STRICT) != 0;
        missing += (f->node.p[k].feature & TREE_MISSING) != 0;
    }
    for (uint32_t k = 0; k < T; k++) depth[k] = f->depth.p[k];
    ForestAttrs a = {.set = 255,
                     .combine = combine,
                     .missing = missing > 0,
                     .strict = strict == 0       ? 0
                               : strict == inner ? 1
                                                 : 2,
                     .features = f->max_feature + 1,
                     .trees = T,
                     .walks = walks};
    if (!make_pairs(ar, f, &a, &tables)) {
        make_records(ar, f, &tables);
        if (a.strict == 1 && !a.missing) /* no flags are looked at */
            for (uint32_t k = 0; k < inner; k++) tables.rec[4 * ((int64_t)f->n_leaf + k)] &= ~TREE_STRICT;
    }
    for (uint32_t k = T; k < groups * each; k++) tables.root[k] = tables.root[T - 1]; /* the shallowest tree */
    void *w = arena_alloc(ar, (size_t)(weights + 1) * 8);
    for (int64_t k = 0; k < weights; k++) {
        double v = f->given[k] || combine == TREE_SUM ? f->weight[k] : t == DT_F64 ? DBL_MAX : FLT_MAX;
        if (!f->given[k] && combine == TREE_MAX) v = -v;
        if (t == DT_F64) ((double *)w)[k] = v;
        else ((float *)w)[k] = (float)v;
    }
    Value in[7] = {x,
                   table(e, DT_I32, tables.rec, tables.n, tables.width),
                   table(e, DT_I32, tables.root, groups * each, 0),
                   table(e, DT_I32, depth, groups * each, 0),
                   table(e, t, w, f->n_leaf, f->n_target),
                   t == DT_F64 ? table(e, DT_F64, tables.split, tables.n, 0) : VALUE_NONE,
                   tables.leaves ? table(e, DT_I32, tables.leaves, tables.n, 0) : VALUE_NONE};
    return ex_op(e, OP_Forest, in, 7, &a);
}
