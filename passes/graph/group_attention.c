/* group-attention: two products with a softmax between them become one Group{kind="attention"}, which computes a block
 * of rows at a time: the matrix of scores never meets memory.
 *   %1 = MatMul(%q, %kt)  : f32[B,H,S,T]            %y = Group(%q, %kt, %m, %v) {kind="attention"} : f32[B,H,S,D]
 *   %2 = Mul(%1, 0.125)   : f32[B,H,S,T]              graph @attention(..) -> (%y) { %1 = MatMul(%q, %kt)
 *   %3 = Add(%2, %m)      : f32[B,H,S,T]     =>         %2 = Mul(%1, 0.125)  %3 = Add(%2, %m)
 *   %4 = Softmax(%3)      : f32[B,H,S,T]                %4 = Softmax(%3)     %y = MatMul(%4, %v) }
 *   %y = MatMul(%4, %v)   : f32[B,H,S,D]
 * Between the products stands what is element-wise and needed here only, in front of the softmax and behind it (masks,
 * biases, rows without keys made zeros), and Reshapes that regroup batch axes alone (window masks).
 * `causal` = [p] says that the mask forbids query i the keys behind i + p, so that they need not be looked at: a mask
 *   Where(LessOrEqual(range along the keys, p + range along the queries), 0, less than -1e30)
 * is added to the scores, or Where(that, scores, less than -1e30) takes them: exp of what is forbidden is 0 for any finite
 * scores, as key 0 is never forbidden.
 * A softmax in another grouping of the batch axes than the products (heads of queries that share one of keys) is moved
 * to theirs first:   %r = Reshape(%3)  %4 = Softmax(%r)  %p = Reshape(%4)   =>   %p = Softmax(%3)
 * In front of group-epilogue, which would give the first product its followers. */
#include "ir/graph/attr.h"
#include "ir/graph/infer.h"
#include "ir/ops/compose.h"
#include "passes/graph/group.h"
#include "passes/graph/match.h"
#include <assert.h>

enum { OPT_MAX_OPS };
enum { ROWS_FEW = 384 };
static const OptSpec opts[] = {{"max-ops", 24, "members at most"}, {0}};

typedef struct Attention {
    GroupGrowth s;
    PassCtx *c;
    Graph *g;
    Node qk, soft, pv;
    Dim past; /* valid: causal */
    bool moved; /* the softmax, into the products' grouping */
} Attention;

static Dim dim_at(const Graph *g, Value v, int from_end)
{
    const TypeRec *t = value_trec(g, v);
    return dim_resolve(&g->m->dims, t->dim[t->rank - 1 - from_end]);
}
static bool same(const Graph *g, Dim a, Dim b) { return dim_eq(&g->m->dims, a, b) == TRI_YES; }

static bool tensor(const Graph *g, Value v)
{
    const TypeRec *t = v.i ? value_trec(g, v) : NULL;
    return t && t->kind == TY_TENSOR && t->rank != RANK_UNKNOWN && t->rank >= 2 && dtype_compute(t->elem) == t->elem;
}

/* Everybody who needs what node n computes is a member. */
static bool needed_here(const Attention *x, Node n)
{
    const ValueRec *r = value_rec(x->g, node_out(x->g, n, 0));
    for (uint32_t u = r->first_use; u; u = x->g->operand.p[u - 1].next_use)
        if (!x->s.in[x->g->operand.p[u - 1].user.i]) return false;
    return !r->n_out_use && node_n_out(x->g, n) == 1;
}

/* A Reshape that leaves the last two axes alone. */
static bool regroups(const Graph *g, Node n)
{
    OpCode op = node_rec(g, n)->op;
    Value x = node_in(g, n, 0), y = node_out(g, n, 0);
    if (op != OP_Reshape || !tensor(g, x) || !tensor(g, y)) return false;
    const Value shape = node_in(g, n, 1);
    if (!value_is_const(g, shape) && !value_rec(g, shape)->content) return false;
    return same(g, dim_at(g, x, 0), dim_at(g, y, 0)) && same(g, dim_at(g, x, 1), dim_at(g, y, 1));
}

/* Of a product: the batch axes of operand k are those of `like`, or 1; fewer of them are broadcast. */
static bool batch_fits(const Graph *g, Value v, Value like)
{
    const TypeRec *a = value_trec(g, v), *b = value_trec(g, like);
    Dims *d = &g->m->dims;
    if (!tensor(g, v) || a->rank > b->rank) return false;
    for (int i = 0; i < a->rank - 2; i++) {
        Dim e = dim_resolve(d, a->dim[i]);
        if (!dim_is(d, e, 1) && !same(g, e, dim_resolve(d, b->dim[b->rank - a->rank + i]))) return false;
    }
    return true;
}

static bool is_product(const Graph *g, Node n)
{
    Value y = node_out(g, n, 0);
    if (node_rec(g, n)->op != OP_MatMul || !tensor(g, y) || value_is_const(g, node_in(g, n, 1))) return false;
    return batch_fits(g, node_in(g, n, 0), y) && batch_fits(g, node_in(g, n, 1), y);
}

static bool is_softmax(const Graph *g, Node n)
{
    if (node_rec(g, n)->op != OP_Softmax || !tensor(g, node_out(g, n, 0))) return false;
    uint32_t bit;
    const AttrSpec *a = attr_find(node_desc(g, n), "axis", &bit);
    int64_t axis = *(const int64_t *)((const char *)node_attrs(g, n) + a->offset);
    return axis == -1 || axis == value_trec(g, node_out(g, n, 0))->rank - 1;
}

/* What computes members' operands joins, backwards from member `from` on, as long as it is needed here only and, unless
 * it regroups, has the extents of who reads it. One node is of the kind that `stop` knows: the walk does not go past. */
static bool walk(Attention *x, uint32_t from, bool (*stop)(const Graph *, Node), Node *end)
{
    Graph *g = x->g;
    *end = NODE_NONE;
    for (uint32_t k = from; k < x->s.n; k++) {
        Node m = x->s.member[k];
        bool eltwise = m.i != x->pv.i && !regroups(g, m);
        for (uint32_t i = 0; m.i != end->i && i < (eltwise ? node_n_in(g, m) : 1); i++) {
            Value v = node_in(g, m, i);
            Node n = v.i ? value_rec(g, v)->def : NODE_NONE;
            if (!n.i || x->s.in[n.i] || value_rec(g, v)->content || x->s.n == x->s.max || !needed_here(x, n)) continue;
            if (stop(g, n)) {
                if (end->i) return false;
                *end = n;
            } else if (!group_is_eltwise(g, n) && !regroups(g, n)) continue;
            else if (eltwise && !group_same_dims(g, v, node_out(g, m, 0))) continue;
            group_add(&x->s, n);
        }
    }
    return end->i != 0;
}

/* Of the first n members, those behind the softmax: they know the scores by the softmax alone. */
static bool apart(const Attention *x, uint32_t n)
{
    const Graph *g = x->g;
    for (uint32_t k = 0; k < n; k++) {
        Node m = x->s.member[k];
        for (uint32_t i = 0; m.i != x->soft.i && i < node_n_in(g, m); i++) {
            Value v = node_in(g, m, i);
            Node def = v.i ? value_rec(g, v)->def : NODE_NONE;
            for (uint32_t j = n; def.i && j < x->s.n; j++)
                if (x->s.member[j].i == def.i) return false;
        }
    }
    return true;
}

/* ---- causal masks ---- */

/* The value without changes of shape and copies along axes; gives up at what is not one. */
static Value through_moves(const Graph *g, Value v)
{
    for (Node n = value_rec(g, v)->def; n.i; n = value_rec(g, v)->def) {
        OpCode op = node_rec(g, n)->op;
        if (op != OP_Reshape && op != OP_Unsqueeze && op != OP_Expand && op != OP_Squeeze) break;
        v = node_in(g, n, 0);
    }
    return v;
}

/* v counts along that axis (from the end) of its broadcast shape, and no other: 0, 1, .. plus *plus. */
static bool counts_along(Graph *g, Value v, int axis, Dim *plus)
{
    Dims *d = &g->m->dims;
    const TypeRec *t = value_trec(g, v);
    for (int i = 0; i < t->rank; i++)
        if (t->rank - 1 - i != axis && !dim_is(d, dim_resolve(d, t->dim[i]), 1)) return false;
    Value base = through_moves(g, v);
    Node n = value_rec(g, base)->def;
    *plus = dim_const(d, 0);
    if (value_is_const(g, base)) { /* a Range of constants */
        const BlobRec *b = blob_rec(&g->m->blobs, value_rec(g, base)->data);
        *plus = dim_const(d, b->ival);
        return b->kind == BLOB_IOTA && b->step == 1;
    }
    if (n.i && node_rec(g, n)->op == OP_Add)
        for (uint32_t k = 0; k < 2; k++) {
            const Content *c = infer_value_content(g, node_in(g, n, k));
            if (!c || c->n != 1) continue;
            *plus = c->d[0];
            n = value_rec(g, through_moves(g, node_in(g, n, 1 - k)))->def;
            break;
        }
    double start, step;
    return n.i && node_rec(g, n)->op == OP_Range && match_scalar(g, node_in(g, n, 0), &start) && start == 0 &&
           match_scalar(g, node_in(g, n, 2), &step) && step == 1;
}

/* key <= query + past */
static bool is_causal(Graph *g, Value cond, Dim *past)
{
    Dims *d = &g->m->dims;
    Dim q, k;
    int64_t lo, hi;
    Node c = value_rec(g, through_moves(g, cond))->def;
    if (!c.i || (node_rec(g, c)->op != OP_LessOrEqual && node_rec(g, c)->op != OP_GreaterOrEqual)) return false;
    uint32_t key = node_rec(g, c)->op == OP_LessOrEqual ? 0 : 1;
    if (!counts_along(g, node_in(g, c, key), 0, &k) || !counts_along(g, node_in(g, c, 1 - key), 1, &q)) return false;
    Dim behind = dim_sub(d, q, k);
    dim_bounds(d, behind, &lo, &hi);
    if (!behind.i || lo < 0) return false;
    *past = behind;
    return true;
}

static bool is_never(Graph *g, Value v)
{
    double no;
    return match_scalar(g, v, &no) && no < -1e30;
}

/* The mask is added: Where(key <= query + past, 0, very negative). */
static bool is_causal_mask(Graph *g, Value mask, Dim *past)
{
    double yes;
    Node w = value_rec(g, through_moves(g, mask))->def;
    return w.i && node_rec(g, w)->op == OP_Where && match_scalar(g, node_in(g, w, 1), &yes) && yes == 0 &&
           is_never(g, node_in(g, w, 2)) && is_causal(g, node_in(g, w, 0), past);
}

/* Some member adds such a mask to all scores, or puts something very negative in the place of those forbidden. */
static void find_causal(Attention *x)
{
    Graph *g = x->g;
    Value scores = node_in(g, x->soft, 0);
    x->past = DIM_NONE;
    for (Node n = value_rec(g, scores)->def; n.i && x->s.in[n.i] && n.i != x->qk.i;) {
        Value next = node_in(g, n, 0);
        OpCode op = node_rec(g, n)->op;
        if (op == OP_Add) {
            for (uint32_t k = 0; k < 2; k++)
                if (is_causal_mask(g, node_in(g, n, k), &x->past)) return;
            Node second = value_rec(g, node_in(g, n, 1))->def;
            if (second.i && x->s.in[second.i]) next = node_in(g, n, 1);
        } else if (op == OP_Where && is_never(g, node_in(g, n, 2))) {
            if (is_causal(g, node_in(g, n, 0), &x->past)) return;
            next = node_in(g, n, 1);
        } else if (op != OP_Reshape) return; /* what follows the mask may make anything of it */
        n = value_rec(g, next)->def;
    }
}

/* ---- the softmax in the products' grouping ---- */

/* The same elements, rows left alone. */
static bool regrouped(Graph *g, Value a, Value b)
{
    const TypeRec *s = value_trec(g, a), *t = value_trec(g, b);
    Dims *d = &g->m->dims;
    Dim n = dim_const(d, 1), m = n;
    if (s->elem != t->elem || !same(g, dim_at(g, a, 0), dim_at(g, b, 0)) || !same(g, dim_at(g, a, 1), dim_at(g, b, 1)))
        return false;
    for (int i = 0; i < s->rank - 2; i++) n = dim_mul(d, n, dim_resolve(d, s->dim[i]));
    for (int i = 0; i < t->rank - 2; i++) m = dim_mul(d, m, dim_resolve(d, t->dim[i]));
    return same(g, n, m);
}

static void erase_unused(Graph *g, Node n)
{
    while (n.i && !node_used(g, n)) {
        Value shape = node_in(g, n, 1), in = node_in(g, n, 0);
        graph_erase(g, n);
        Node s = shape.i ? value_rec(g, shape)->def : NODE_NONE;
        if (s.i && !node_used(g, s)) graph_erase(g, s);
        n = value_rec(g, in)->def;
        if (n.i && !regroups(g, n)) break;
    }
}

/* v under the extents of `like`; itself or what it was made of when that has them. */
static Value in_grouping(Ex *x, Value v, Value like)
{
    Graph *g = x->g;
    Node n = value_rec(g, v)->def;
    if (group_same_dims(g, v, like)) return v;
    if (n.i && regroups(g, n) && group_same_dims(g, node_in(g, n, 0), like)) return node_in(g, n, 0);
    const TypeRec *t = value_trec(g, like);
    return ex_shaped(x, v, t->dim, t->rank);
}

/* Few rows of one z: the products alone can be shared among threads, the group could not. */
static bool too_few(Graph *g, Value score)
{
    const TypeRec *t = value_trec(g, score);
    int64_t rows = 1, n;
    for (int i = 0; i < t->rank - 1; i++) {
        if (!dim_is_const(&g->m->dims, dim_resolve(&g->m->dims, t->dim[i]), &n) || (i < t->rank - 3 && n != 1)) return false;
        if (__builtin_mul_overflow(rows, n, &rows)) return false;
    }
    return rows <= ROWS_FEW;
}

static bool move_softmax(Graph *g, Node soft, Value score)
{
    Ex x = {.g = g, .n = soft, .loc = node_rec(g, soft)->loc};
    Value in = node_in(g, soft, 0), old = node_out(g, soft, 0);
    Value p = ex_axis(&x, OP_Softmax, (Value[]){in_grouping(&x, in, score)}, 1, -1);
    if (x.failed) return false;
    for (uint32_t u = value_rec(g, old)->first_use, next; u; u = next) {
        Node user = g->operand.p[u - 1].user;
        next = g->operand.p[u - 1].next_use;
        if (!regroups(g, user) || !group_same_dims(g, node_out(g, user, 0), score)) continue;
        graph_replace_uses(g, node_out(g, user, 0), p);
        erase_unused(g, user);
        next = value_rec(g, old)->first_use;
    }
    if (value_used(g, old)) {
        const TypeRec *t = value_trec(g, old);
        graph_replace_uses(g, old, ex_shaped(&x, p, t->dim, t->rank));
    }
    graph_erase(g, soft);
    Node made = value_rec(g, in)->def;
    if (made.i && regroups(g, made)) erase_unused(g, made);
    return !x.failed;
}

/* ---- the pass ---- */

static bool group_attention(Attention *x, Node pv)
{
    Graph *g = x->g;
    Dims *d = &g->m->dims;
    x->pv = pv;
    if (!is_product(g, pv) || !tensor(g, node_in(g, pv, 0))) return false;
    x->s = group_growth(x->c->arena, g, (uint32_t)x->c->opt[OPT_MAX_OPS]);
    group_add(&x->s, pv);
    if (!walk(x, 0, is_softmax, &x->soft)) return false;
    uint32_t behind = x->s.n;
    Value in = node_in(g, x->soft, 0);
    Node first = value_rec(g, in)->def;
    if (!first.i || x->s.in[first.i] || !needed_here(x, first) || behind == x->s.max) return false;
    group_add(&x->s, first);
    if (is_product(g, first)) x->qk = first;
    else if (!group_is_eltwise(g, first) && !regroups(g, first)) return false;
    else if (!walk(x, behind, is_product, &x->qk)) return false;
    if (!apart(x, behind)) return false;
    Value score = node_out(g, x->qk, 0), y = node_out(g, pv, 0), p = node_in(g, pv, 0);
    if (!group_same_dims(g, score, p)) return false;
    if (!group_same_dims(g, score, in))
        return x->moved || !(x->moved = regrouped(g, score, in) && !too_few(g, score) && pass_may_rewrite(x->c)) ? false
               : move_softmax(g, x->soft, score) && group_attention(x, pv);
    const TypeRec *s = value_trec(g, score), *o = value_trec(g, y);
    if (s->rank != o->rank || s->elem != o->elem || s->rank > RANK_MAX - 1) return false;
    if (value_trec(g, in)->elem != s->elem) return false; /* a softmax in another precision: scores have one type */
    for (int i = 0; i < s->rank; i++) {
        Dim a = dim_resolve(d, s->dim[i]), b = dim_resolve(d, o->dim[i]);
        if (i < s->rank - 1 && !same(g, a, b)) return false;
        if (dim_has_kind(d, a, SYM_NODE) || dim_has_kind(d, b, SYM_NODE)) return false;
    }
    find_causal(x);
    return true;
}

static bool make(Attention *x)
{
    struct {
        uint64_t set;
        const char *kind;
        AttrDims causal;
    } attrs = {1, "attention", {0}};
    Graph *g = x->g;
    uint32_t n = 0;
    assert(sizeof attrs == op_desc(OP_Group)->attrs_size);
    for (Node k = graph_first(g); n < x->s.n; k = node_next(g, k))
        if (x->s.in[k.i]) x->s.member[n++] = k;
    if (x->past.i) {
        attrs.set |= 2;
        attrs.causal = (AttrDims){arena_memdup(g->m->arena, &x->past, sizeof x->past), 1};
    }
    pass_count(x->c, "groups", 1);
    pass_count(x->c, "causal", x->past.i != 0);
    graph_outline(g, x->s.member, x->s.n, OP_Group, &attrs, "attention", node_rec(g, x->pv)->loc);
    return true;
}

static bool group_graph(PassCtx *c, Graph *g)
{
    bool changed = false;
    for (Node n = graph_first(g), next; n.i; n = next) {
        next = node_next(g, n);
        if (node_rec(g, n)->op == OP_Group) continue;
        Attention x = {.c = c, .g = g};
        if (!group_attention(&x, n) || !pass_may_rewrite(c)) continue;
        changed |= make(&x);
    }
    return changed;
}

static PassResult run(PassCtx *c) { return pass_graphs(c, group_graph); }

const Pass pass_group_attention = {.name = "group-attention",
                                   .brief = "two products with a softmax between them, a block of rows at a time",
                                   .opts = opts,
                                   .run = run};
