/* tree_walk.c: how Forest (tree.c) walks. A walk has as many steps as its row and tree want, 7 where the tree's deepest
 * leaf is 22 steps away, and a step waits for loads that each need the one before, some 12 cycles. So walks that are
 * still under way stand in a queue: a round takes WALKS at a time, side by side, CHUNK steps further, and who is not at
 * a leaf then stands in the queue of the next round. No branch depends on data but the ends of those loops.
 *   for each round:  for each group of the queue:  WALKS x CHUNK steps;  next queue = those not at a leaf
 * The walks of a queue are those of a block of rows in one tree, where there are enough rows, else those of one row in
 * all trees. Of rows the first round needs no queue: its walks stand side by side at the root. The weights are added up in the same order either way: a row gives the same bits alone and among others.
 * No lanes: a step has two loads from places of its own, and gathers are no faster than loads, or slower (Zen), while
 * lanes would take as many steps as the deepest of their walks. */
#include "base/bug.h"
#include "ir/ops/tree.h"
#include <math.h>

enum { WALKS = 8, CHUNK = 4, ROWS = 64, ROWS_FEWEST = 16, KEY_BYTES = 64 << 10, SUM_BYTES = 32 << 10 };

typedef struct Fw {
    Kb *b;
    Lw *l;
    const ForestAttrs *a;
    DType t;
    uint32_t x, nodes, splits, root, depth, weight;
    uint32_t key, at, queue, term; /* scratch: [rows + 1][feature], [walk], [walk], [tree] */
    uint32_t sum;                  /* scratch: [class][16][row], or 0 */
    int64_t rows, width;           /* of a block, a power of two; from a walk's number to the next: a row of keys, or 1 */
    bool wide;
} Fw;

static KVal field(const Fw *w, KVal node, int k) { return kb_load(w->b, w->nodes, (KVal[]){node, kb_i(w->b, k)}); }
static KVal flag(const Fw *w, KVal head, int bit)
{
    return kb_bin(w->b, KOP_NE, kb_and(w->b, head, kb_const_i(w->b, DT_I32, bit)), kb_const_i(w->b, DT_I32, 0));
}

/* One step of a walk: the next node. row: of x, or where its keys begin. */
static KVal step(const Fw *w, KVal row, KVal node)
{
    Kb *b = w->b;
    if (w->a->keys) {
        KVal word = kb_load(b, w->nodes, &node), low = kb_cast(b, DT_U32, word);
        KVal feature = kb_and(b, low, kb_const_i(b, DT_U32, ((int64_t)1 << w->a->feature_bits) - 1));
        KVal at = kb_add(b, row, kb_cast(b, DT_I64, feature));
        KVal no = kb_lt(b, word, kb_load(b, w->key, &at));
        KVal child = kb_bin(b, KOP_SHR, low, kb_const_i(b, DT_U32, w->a->feature_bits));
        return kb_add(b, kb_cast(b, DT_I64, child), kb_select(b, no, kb_i(b, 1), kb_i(b, 0)));
    }
    KVal head = field(w, node, 0);
    KVal split = w->wide ? kb_load(b, w->splits, &node) : kb_bitcast(b, DT_F32, field(w, node, 1));
    bool flags = w->a->missing || w->a->strict == 2;
    KVal feature = kb_cast(b, DT_I64, flags ? kb_and(b, head, kb_const_i(b, DT_I32, TREE_FEATURE)) : head);
    KVal x = kb_load(b, w->x, (KVal[]){row, feature}), less = kb_lt(b, x, split), leq = kb_bin(b, KOP_LE, x, split);
    KVal yes = w->a->strict == 1   ? less
               : w->a->strict == 0 ? leq
                                   : kb_select(b, flag(w, head, TREE_STRICT), less, leq);
    if (w->a->missing)
        yes = kb_bin(b, KOP_OR, yes, kb_and(b, kb_un(b, KOP_ISNAN, x), flag(w, head, TREE_MISSING)));
    return kb_cast(b, DT_I64, kb_select(b, yes, field(w, node, 2), field(w, node, 3)));
}

/* The number (i64) of a leaf. */
static KVal leaf_of(const Fw *w, KVal node)
{
    if (!w->a->keys) return node;
    KVal key = kb_bin(w->b, KOP_SHR, kb_load(w->b, w->nodes, &node), kb_const_i(w->b, DT_U64, 32));
    return kb_cast(w->b, DT_I64, key);
}

/* 1 (i64) where a node is no leaf, else 0. */
static KVal inner(const Fw *w, KVal node)
{
    Kb *b = w->b;
    KVal yes = w->a->keys ? kb_ge(b, kb_load(b, w->nodes, &node), kb_const_i(b, DT_U64, (int64_t)TREE_LEAVES << 32))
                          : kb_ge(b, node, kb_dim(b, lw_dim(w->l, 4, 0)));
    return kb_select(b, yes, kb_i(b, 1), kb_i(b, 0));
}

/* key[r - first][f] of rows first .. first + rows: numbers that are ordered as the floats are. The row behind a block's
 * is for walks that only fill up: there a leaf is a leaf. */
static void make_keys(const Fw *w, KVal first, KVal rows)
{
    Kb *b = w->b;
    KVal zero = kb_i(b, 0), features = kb_i(b, w->a->features), r = kb_for(b, KLOOP_SEQ, zero, rows);
    KVal f = kb_for(b, KLOOP_VEC, zero, features), x = kb_load(b, w->x, (KVal[]){kb_add(b, first, r), f});
    KVal bits = kb_bitcast(b, DT_I32, x), sign = kb_bin(b, KOP_SHR, bits, kb_const_i(b, DT_I32, 31));
    KVal key = kb_bin(b, KOP_XOR, bits, kb_bin(b, KOP_OR, sign, kb_const_i(b, DT_I32, INT32_MIN)));
    KVal nan = kb_un(b, KOP_ISNAN, x), up = kb_const_i(b, DT_U64, 32);
    for (int k = 0; k < 1 + (w->a->missing != 0); k++) {
        KVal full = kb_cast(b, DT_U32, kb_select(b, nan, kb_const_i(b, DT_I32, k ? TREE_NAN : -1), key));
        KVal to = kb_add(b, kb_mul(b, r, kb_i(b, w->width)), k ? kb_add(b, f, features) : f);
        kb_store(b, w->key, &to, kb_bin(b, KOP_SHL, kb_cast(b, DT_U64, full), up));
    }
    kb_end(b), kb_end(b);
    f = kb_add(b, kb_i(b, w->rows * w->width), kb_for(b, KLOOP_VEC, zero, kb_i(b, w->width)));
    kb_store(b, w->key, &f, kb_const_i(b, DT_U64, -1));
    kb_end(b);
}

/* WALKS walks from at[] on, `taken` steps further: at[k] and, of those that are not at a leaf then, the numbers id[] go to
 * the queue from place `next` on. The place behind them. */
static KVal walk_on(const Fw *w, const KVal *id, const KVal *from, KVal *at, KVal taken, KVal next)
{
    Kb *b = w->b;
    KbLoop steps;
    kb_loop(b, &steps, KLOOP_SEQ, kb_i(b, 0), taken, WALKS, at, NULL);
    for (int j = 0; j < WALKS; j++) at[j] = step(w, from[j], steps.carry[j]);
    kb_loop_end(b, &steps, at);
    for (int j = 0; j < WALKS; j++) {
        kb_store(b, w->at, &id[j], kb_cast(b, DT_I32, steps.result[j]));
        kb_store(b, w->queue, &next, kb_cast(b, DT_I32, id[j]));
        next = kb_add(b, next, inner(w, steps.result[j]));
    }
    return next;
}

/* The first round of whole groups of rows, whose walks are known without a queue: their numbers lie `width` apart. What
 * is left of n walks joins those that are not at a leaf. The queue's length. */
static KVal first_round(const Fw *w, KVal n, KVal root, KVal depth, KVal row)
{
    Kb *b = w->b;
    KVal zero = kb_i(b, 0), taken = kb_min(b, kb_i(b, CHUNK), depth), groups = kb_div(b, n, kb_i(b, WALKS)), next;
    KVal id[WALKS], from[WALKS], at[WALKS];
    KbLoop group;
    kb_loop(b, &group, KLOOP_SEQ, zero, groups, 1, &zero, NULL);
    KVal place = kb_mul(b, group.iv, kb_i(b, WALKS * w->width));
    for (int j = 0; j < WALKS; j++) {
        id[j] = kb_add(b, place, kb_i(b, j * w->width));
        from[j] = w->a->keys ? id[j] : kb_add(b, row, id[j]);
        at[j] = kb_cast(b, DT_I64, root);
    }
    next = walk_on(w, id, from, at, taken, group.carry[0]);
    kb_loop_end(b, &group, &next);
    KVal done = kb_mul(b, groups, kb_i(b, WALKS)), k = kb_for(b, KLOOP_SEQ, done, n), number = kb_mul(b, k, kb_i(b, w->width));
    KVal to = kb_add(b, group.result[0], kb_sub(b, k, done));
    kb_store(b, w->at, &number, root);
    kb_store(b, w->queue, &to, kb_cast(b, DT_I32, number));
    kb_end(b);
    return kb_add(b, group.result[0], kb_sub(b, n, done));
}

/* at[k * apart] = the leaf of walk k < n. The walks are of rows in one tree from the node `root` on, or, where that is
 * 0, of one row in tree k; their numbers are k * apart. Walk `spare` only fills groups up: it stands at a leaf. depth:
 * of the deepest tree. row: the first one. */
static void walk(const Fw *w, KVal n, KVal root, KVal depth, KVal row, int64_t spare)
{
    Kb *b = w->b;
    KVal zero = kb_i(b, 0), one = kb_i(b, 1), chunk = kb_i(b, CHUNK), none = kb_i(b, spare), begin = zero, k;
    Dim nodes = lw_dim(w->l, 1, 0);
    KVal leaf = w->a->keys ? kb_dim(b, dim_add(&w->l->m->dims, nodes, dim_const(&w->l->m->dims, -1))) : zero;
    kb_store(b, w->at, &none, kb_cast(b, DT_I32, leaf));
    if (root.i) {
        KVal whole = kb_eq(b, kb_and(b, n, kb_i(b, WALKS - 1)), zero); /* then none is at the root any more */
        n = first_round(w, n, root, depth, row);
        begin = kb_select(b, whole, one, zero);
    } else {
        k = kb_for(b, KLOOP_VEC, zero, n);
        kb_store(b, w->at, &k, kb_load(b, w->root, &k));
        kb_store(b, w->queue, &k, kb_cast(b, DT_I32, k));
        kb_end(b);
    }
    KbLoop round, group;
    kb_loop(b, &round, KLOOP_SEQ, begin, kb_ceil_div(b, depth, CHUNK), 1, &n, NULL);
    k = kb_add(b, round.carry[0], kb_for(b, KLOOP_VEC, zero, kb_i(b, K_LANES)));
    kb_store(b, w->queue, &k, kb_const_i(b, DT_I32, spare));
    kb_end(b);
    KVal taken = kb_min(b, chunk, kb_sub(b, depth, kb_mul(b, round.iv, chunk)));
    kb_loop(b, &group, KLOOP_SEQ, zero, kb_ceil_div(b, round.carry[0], WALKS), 1, &zero, NULL);
    KVal place = kb_mul(b, group.iv, kb_i(b, WALKS)), id[WALKS], at[WALKS], from[WALKS];
    for (int j = 0; j < WALKS; j++) {
        KVal q = kb_add(b, place, kb_i(b, j));
        id[j] = kb_cast(b, DT_I64, kb_load(b, w->queue, &q));
        at[j] = kb_cast(b, DT_I64, kb_load(b, w->at, &id[j]));
        from[j] = !root.i ? row : w->a->keys ? id[j] : kb_add(b, row, kb_and(b, id[j], kb_i(b, w->rows - 1)));
    }
    KVal next = walk_on(w, id, from, at, taken, group.carry[0]);
    kb_loop_end(b, &group, &next);
    kb_loop_end(b, &round, &group.result[0]);
}

static KOp combine_of(const Fw *w)
{
    return w->a->combine == TREE_MIN ? KOP_MIN : w->a->combine == TREE_MAX ? KOP_MAX : KOP_ADD;
}
static KVal neutral(const Fw *w)
{
    return kb_const_f(w->b, w->t, w->a->combine == TREE_MIN ? INFINITY : w->a->combine == TREE_MAX ? -INFINITY : 0);
}

/* The weight for class c of the leaf that a walk has come to. */
static KVal weight_of(const Fw *w, KVal k, KVal c)
{
    KVal leaf = leaf_of(w, kb_cast(w->b, DT_I64, kb_load(w->b, w->at, &k)));
    return kb_load(w->b, w->weight, (KVal[]){leaf, c});
}

/* y[first + r] from all trees of one row. */
static void walk_trees(const Fw *w, KVal first, KVal r)
{
    Kb *b = w->b;
    KOp op = combine_of(w);
    KVal zero = kb_i(b, 0), trees = kb_i(b, w->a->trees), row = kb_add(b, first, r), init = neutral(w);
    walk(w, trees, (KVal){0}, kb_cast(b, DT_I64, kb_load(b, w->depth, &zero)), 
         w->a->keys ? kb_mul(b, r, kb_i(b, w->width)) : row, w->a->trees);
    KVal c = kb_for(b, KLOOP_SEQ, zero, kb_dim(b, lw_dim(w->l, 4, 1)));
    KVal t = kb_for(b, KLOOP_SEQ, zero, trees);
    kb_store(b, w->term, &t, weight_of(w, t, c));
    kb_end(b);
    KbLoop loop;
    kb_loop(b, &loop, KLOOP_VEC, zero, trees, 1, &init, &op);
    KVal sum = kb_bin(b, op, loop.carry[0], kb_load(b, w->term, &loop.iv));
    kb_loop_end(b, &loop, &sum);
    lw_put(w->l, 0, (KVal[]){row, c}, loop.result[0]);
    kb_end(b);
}

/* y[first .. first + rows) tree by tree. sum[c][t mod 16][row]: tree t goes to the sum that its lane of walk_trees has,
 * and they are added up as a vector's lanes are. */
static void walk_rows(const Fw *w, KVal first, KVal rows)
{
    Kb *b = w->b;
    int64_t T = w->a->trees, lanes = T < K_LANES ? T : K_LANES;
    KOp op = combine_of(w);
    KVal zero = kb_i(b, 0), classes = kb_dim(b, lw_dim(w->l, 4, 1));
    KVal c = kb_for(b, KLOOP_SEQ, zero, classes), lane = kb_for(b, KLOOP_SEQ, zero, kb_i(b, lanes));
    KVal r = kb_for(b, KLOOP_VEC, zero, rows);
    kb_store(b, w->sum, (KVal[]){c, lane, r}, neutral(w));
    kb_end(b), kb_end(b), kb_end(b);

    KVal t = kb_for(b, KLOOP_SEQ, zero, kb_i(b, T));
    walk(w, rows, kb_load(b, w->root, &t), kb_cast(b, DT_I64, kb_load(b, w->depth, &t)), first,
         w->rows * w->width);
    c = kb_for(b, KLOOP_SEQ, zero, classes), r = kb_for(b, KLOOP_SEQ, zero, rows);
    KVal to[3] = {c, kb_and(b, t, kb_i(b, K_LANES - 1)), r};
    kb_store(b, w->sum, to, kb_bin(b, op, kb_load(b, w->sum, to), weight_of(w, kb_mul(b, r, kb_i(b, w->width)), c)));
    kb_end(b), kb_end(b), kb_end(b);

    c = kb_for(b, KLOOP_SEQ, zero, classes), r = kb_for(b, KLOOP_VEC, zero, rows);
    KVal v[K_LANES];
    for (int64_t k = 0; k < lanes; k++) v[k] = kb_load(b, w->sum, (KVal[]){c, kb_i(b, k), r});
    for (int64_t half = K_LANES / 2; half; half /= 2)
        for (int64_t k = 0; k < half && k + half < lanes; k++) v[k] = kb_bin(b, op, v[k], v[k + half]);
    lw_put(w->l, 0, (KVal[]){kb_add(b, first, r), c}, v[0]);
    kb_end(b), kb_end(b);
}

static void block(const Fw *w, KVal first, KVal here)
{
    Kb *b = w->b;
    KVal zero = kb_i(b, 0), one = kb_i(b, 1), done = zero;
    if (w->a->keys) make_keys(w, first, here);
    if (w->sum) { /* the longer queue */
        int64_t few = w->a->trees < w->rows / 2 ? w->a->trees : w->rows / 2;
        KVal yes = kb_ge(b, here, kb_i(b, few));
        kb_for(b, KLOOP_SEQ, zero, kb_select(b, yes, one, zero)); /* what a kernel has for conditions */
        walk_rows(w, first, here);
        kb_end(b);
        if (few <= 1) return;
        done = kb_select(b, yes, here, zero);
    }
    KVal r = kb_for(b, KLOOP_SEQ, done, here);
    walk_trees(w, first, r);
    kb_end(b);
}

bool tree_lower(Lw *l, Node n)
{
    const ForestAttrs *a = ATTRS(l->g, n, ForestAttrs);
    Dims *d = &l->m->dims;
    Dim F = lw_dim(l, 0, 1), all = lw_dim(l, 0, 0);
    if (dim_le(d, dim_const(d, a->features), F) != TRI_YES) {
        KStep *s = lw_step(l, KST_CHECK);
        s->a = dim_const(d, a->features), s->b = F, s->rel = KREL_LE,
        s->msg = "the trees ask for more features than the input has";
    }
    KBuf in[6];
    for (uint32_t k = 0; k < 6; k++) in[k] = lw_has(l, k) ? lw_in(l, k) : (KBuf){0};
    lw_prepare_out(l);
    Kb *b = lw_kernel(l, "forest");
    Fw w = {.b = b, .l = l, .a = a, .t = lw_elem(l, 0), .wide = in[5].i != 0, .rows = ROWS};
    w.x = kb_param(b, in[0], false);
    w.nodes = kb_param(b, in[1], false);
    w.root = kb_param(b, in[2], false);
    w.depth = kb_param(b, in[3], false);
    w.weight = kb_param(b, in[4], false);
    if (w.wide) w.splits = kb_param(b, in[5], false);
    int64_t width = a->features << (a->missing != 0), T = a->trees, lanes = T < K_LANES ? T : K_LANES, classes, most;
    while (a->keys && w.rows > ROWS_FEWEST && width * w.rows * 8 > KEY_BYTES) w.rows /= 2;
    bool single = dim_is_const(d, all, &most) && most < w.rows;
    while (single && w.rows > 1 && w.rows / 2 >= most) w.rows /= 2;
    w.width = a->keys ? width : 1;
    if (a->keys) w.key = kb_local(b, "key", DT_U64, 1, (Dim[]){dim_const(d, (w.rows + 1) * width)});
    int64_t bytes = w.rows * lanes * dtype_info(w.t)->bits / 8; /* of the sums for a class */
    if (dim_is_const(d, lw_dim(l, 4, 1), &classes) && classes <= SUM_BYTES / bytes &&
        (T == 1 || dim_le(d, all, dim_const(d, 1)) != TRI_YES))
        w.sum = kb_local(b, "sum", w.t, 3, (Dim[]){lw_dim(l, 4, 1), dim_const(d, lanes), dim_const(d, w.rows)});
    int64_t walks = !w.sum || T > w.rows ? T : w.rows, last = !w.sum || T > w.rows * w.width ? T : w.rows * w.width;
    w.at = kb_local(b, "at", DT_I32, 1, (Dim[]){dim_const(d, last + 1)});
    w.queue = kb_local(b, "queue", DT_I32, 1, (Dim[]){dim_const(d, walks + K_LANES)});
    w.term = kb_local(b, "term", w.t, 1, (Dim[]){dim_const(d, T)});
    KVal zero = kb_i(b, 0), first = kb_for(b, KLOOP_PAR, zero, kb_dim(b, dim_ceildiv(d, all, dim_const(d, w.rows))));
    first = kb_mul(b, first, kb_i(b, w.rows));
    block(&w, first, kb_min(b, kb_i(b, w.rows), kb_sub(b, kb_dim(b, all), first)));
    lw_end_nest(l, 1);
    lw_kernel_end(l);
    return true;
}
