/* arms: code knows the rank of every tensor, but a model may leave it to the run: the length of a shape that it computes
 * is the rank of a Reshape's result, and what a sequence holds may have any rank. A node that needs to know gets an
 * operand that says it: an If for each possibility, whose results differ in type; sink.c then moves the node, and what
 * follows until ranks agree again, into the arms.
 *   %y = Reshape(%x, %s)          %n = Shape(%s) {start=-1}
 *   ; s: i64[n]             =>    %s1 = If(Equal(%n, 0) | %s)  then { Reshape(%s, [0]) : i64[0] }
 *                                                              else { If(Equal(%n, 1) | %s) ... else { Fail } }
 *                                 %y = Reshape(%x, %s1)
 *   %y = SequenceAt(%q, %i)       %n = RankOf(%q, %i)
 *   ; q: seq<f32[*]>        =>    %q1 = If(Equal(%n, 0) | %q)  then { OfRank(%q) {rank=0} : seq<f32[]> }  else ...
 *                                 %y = SequenceAt(%q1, %i)
 * OpDesc.knows lists such operands. Of lists that are equally long (OpDesc.alike) one decides for the others. Later users
 * of the same operand take the narrowed one as well: they meet in the same arms. A Squeeze that leaves the axes to the
 * run is the Reshape that it stands for, a SequenceMap over elements of any rank the Loop. */
#include "base/bug.h"
#include "ir/graph/infer.h"

enum { ARMS_MAX = 8 }; /* the longest shape, the highest rank */

typedef struct ReshapeAttrs {
    uint64_t set;
    int64_t allowzero;
    AttrInts shape;
} ReshapeAttrs;

static bool holds_unranked(const Graph *g, Value v)
{
    const TypeRec *t = value_trec(g, v);
    if (t->kind != TY_SEQ && t->kind != TY_OPT) return false;
    const TypeRec *of = type_rec(&g->m->types, t->of);
    return of->kind == TY_TENSOR && of->rank == RANK_UNKNOWN;
}

static bool long_unknown(const Graph *g, Value v)
{
    const TypeRec *t = value_trec(g, v);
    int64_t k;
    if (t->kind != TY_TENSOR || t->rank == RANK_UNKNOWN || !t->rank) return false;
    return !dim_is_const(&g->m->dims, dim_resolve(&g->m->dims, t->dim[t->rank - 1]), &k);
}

/* Operand k leaves open what the node's code has to know. */
static bool open_operand(const Graph *g, Node n, uint32_t k)
{
    Value v = node_in(g, n, k);
    if (k >= 8 || !(node_desc(g, n)->knows >> k & 1) || !v.i || !value_type(g, v).i) return false;
    return holds_unranked(g, v) || long_unknown(g, v);
}

/* Does the node type-check, and to results of known rank? Leaves no trace. */
static bool settles(Graph *g, Node n)
{
    uint32_t checks = g->m->check.n;
    DiagFirst before = diag_try(g->m->diag);
    bool ok = infer_node(g, n);
    diag_tried(g->m->diag, before);
    for (uint32_t r = 0; ok && r < node_n_out(g, n); r++) {
        const TypeRec *t = value_trec(g, node_out(g, n, r));
        ok = t->kind != TY_TENSOR || t->rank != RANK_UNKNOWN;
    }
    if (!ok) g->m->check.n = checks;
    return ok;
}

static Value const_ints(Graph *g, const int64_t *v, uint32_t n)
{
    Dim dim = dim_const(&g->m->dims, n);
    return graph_const(g, blob_inline(&g->m->blobs, DT_I64, n, v), type_tensor(&g->m->types, DT_I64, 1, &dim), (Name){0});
}

static Node add(Graph *g, OpCode op, const Value *in, uint32_t n, const void *attrs, Loc loc, Node before)
{
    return graph_add(g, op, in, n, 1, attrs, loc, before);
}

static Value dims(Graph *g, const Dim *dim, uint32_t n, Loc loc)
{
    Dim *own = arena_array(g->m->arena, Dim, n + 1);
    struct {
        uint64_t set;
        AttrDims value;
        AttrInts shape;
        int64_t dtype;
    } a = {.set = 1, .value = {own, n}, .dtype = DT_I64};
    assert(op_desc(OP_Dims)->attrs_size == sizeof a);
    for (uint32_t k = 0; k < n; k++) own[k] = dim[k];
    return node_out(g, add(g, OP_Dims, NULL, 0, &a, loc, NODE_NONE), 0);
}

/* ---- the arms ---- */

typedef struct Arms {
    Module *m;
    int rank;     /* of the operand, whose last axis is narrowed; -1: of what it holds, the rank is */
    TypeId type, count;
    const Dim *dim; /* of an input with all axes: these, of which the last ones count */
    Loc loc;
} Arms;

static Value narrowed(const Arms *a, Graph *g, Value v, int64_t known)
{
    struct {
        uint64_t set;
        int64_t rank;
    } of = {1, known};
    if (a->dim) {
        Value s = dims(g, a->dim + RANK_ANY - known, (uint32_t)known, a->loc);
        return node_out(g, add(g, OP_Reshape, (Value[]){v, s}, 2, NULL, a->loc, NODE_NONE), 0);
    }
    if (a->rank < 0) {
        assert(op_desc(OP_OfRank)->attrs_size == sizeof of);
        return node_out(g, add(g, OP_OfRank, &v, 1, &of, a->loc, NODE_NONE), 0);
    }
    int64_t dim[RANK_MAX] = {0}; /* 0: as it is, but of a list */
    ReshapeAttrs zero = {.set = 1, .allowzero = a->rank == 1};
    dim[a->rank - 1] = known;
    assert(op_desc(OP_Reshape)->attrs_size == sizeof zero && (known || a->rank == 1));
    return node_out(g, add(g, OP_Reshape, (Value[]){v, const_ints(g, dim, (uint32_t)a->rank)}, 2, &zero, a->loc, NODE_NONE), 0);
}

static void fails(const Arms *a, Graph *g)
{
    struct {
        uint64_t set;
        const char *message;
    } fail = {1, arena_printf(a->m->arena, a->rank < 0 ? "a tensor of more than %d dimensions, where the run decides the rank"
                                                       : "a shape of more than %d dimensions, where the run decides the rank", ARMS_MAX)};
    assert(op_desc(OP_Fail)->attrs_size == sizeof fail);
    Value v = node_out(g, add(g, OP_Fail, NULL, 0, &fail, a->loc, NODE_NONE), 0);
    graph_set_outputs(g, &v, 1);
}

/* The If for `known` and all above it, before a node; count: what the run has. */
static Node chain(const Arms *a, Graph *g, Value v, Value count, int64_t known, int64_t last, Node before)
{
    Graph *arm[2] = {graph_new(a->m, "rank"), graph_new(a->m, "ranks")};
    Value in[2][2];
    for (int k = 0; k < 2; k++) {
        in[k][0] = graph_input(arm[k], a->type, value_rec(g, v)->name);
        in[k][1] = graph_input(arm[k], a->count, (Name){0});
    }
    Value one = narrowed(a, arm[0], in[0][0], known), is = const_ints(g, &known, 1);
    graph_set_outputs(arm[0], &one, 1);
    if (known == last) fails(a, arm[1]);
    else {
        Value rest = node_out(arm[1], chain(a, arm[1], in[1][0], in[1][1], known + 1, last, NODE_NONE), 0);
        graph_set_outputs(arm[1], &rest, 1);
    }
    is = node_out(g, add(g, OP_Equal, (Value[]){count, is}, 2, NULL, a->loc, before), 0);
    Node made = add(g, OP_If, (Value[]){is, v, count}, 3, NULL, a->loc, before);
    node_rec(g, made)->n_capture = 2;
    graph_set_region(g, made, (const Graph *const[]){arm[0], arm[1]}, 2);
    return made;
}

/* What the operand leaves open becomes an If before the node. */
static Node narrow(Graph *g, Node n, uint32_t k)
{
    Module *m = g->m;
    Value v = node_in(g, n, k), count, pos = node_in(g, n, 1);
    const TypeRec *t = value_trec(g, v);
    Dim one = dim_const(&m->dims, 1);
    Arms a = {.m = m, .rank = t->kind == TY_TENSOR ? t->rank : -1, .type = value_type(g, v), .loc = node_rec(g, n)->loc};
    int64_t lo = 0, hi = ARMS_MAX;
    a.count = type_tensor(&m->types, DT_I64, 1, &one);
    Node first;
    if (a.rank < 0) {
        bool at = node_rec(g, n)->op == OP_SequenceAt;
        first = add(g, OP_RankOf, (Value[]){v, pos}, at ? 2 : 1, NULL, a.loc, n);
    } else {
        struct {
            uint64_t set;
            int64_t start, end;
        } shape = {1, -1, INT64_MAX};
        dim_bounds(&m->dims, dim_resolve(&m->dims, t->dim[t->rank - 1]), &lo, &hi);
        if (lo > ARMS_MAX) lo = ARMS_MAX;
        if (lo < (a.rank > 1)) lo = a.rank > 1;
        if (hi > ARMS_MAX) hi = ARMS_MAX;
        if (hi < lo) hi = lo;
        assert(op_desc(OP_Shape)->attrs_size == sizeof shape);
        first = add(g, OP_Shape, &v, 1, &shape, a.loc, n);
    }
    count = node_out(g, first, 0);
    Value by = node_out(g, chain(&a, g, v, count, lo, hi, n), 0);
    bool shared = a.rank >= 0;
    for (Node u = n; u.i; u = shared ? node_next(g, u) : NODE_NONE)
        for (uint32_t i = 0; i < node_n_in(g, u) && i < 8; i++)
            if (node_in(g, u, i).i == v.i && node_desc(g, u)->knows >> i & 1) graph_set_input(g, u, i, by);
    return first;
}

/* The type of operand i, one of the lists that are equally long, if it is a tensor of known rank; else NULL. */
static const TypeRec *alike_type(const Graph *g, Node n, uint32_t i)
{
    Value v = i < 8 && node_desc(g, n)->alike >> i & 1 ? node_in(g, n, i) : VALUE_NONE;
    if (!v.i || !value_type(g, v).i) return NULL;
    const TypeRec *t = value_trec(g, v);
    return t->kind == TY_TENSOR && t->rank != RANK_UNKNOWN ? t : NULL;
}

/* How long operand k is because another list of the node is; -1: nobody knows. */
static int64_t length_of_alike(const Graph *g, Node n, uint32_t k)
{
    int64_t len;
    if (!(node_desc(g, n)->alike >> k & 1)) return -1;
    for (uint32_t i = 0; i < node_n_in(g, n); i++) {
        const TypeRec *t = alike_type(g, n, i);
        if (t && t->rank == 1 && dim_is_const(&g->m->dims, dim_resolve(&g->m->dims, t->dim[0]), &len)) return len;
    }
    return -1;
}

/* Operand k is a list of that length, or the run fails. */
static Node of_length(Graph *g, Node n, uint32_t k, int64_t len)
{
    ReshapeAttrs as_is = {.set = 1, .allowzero = 1};
    Node r = add(g, OP_Reshape, (Value[]){node_in(g, n, k), const_ints(g, &len, 1)}, 2, &as_is, node_rec(g, n)->loc, n);
    graph_set_input(g, n, k, node_out(g, r, 0));
    return r;
}

void infer_arms_of_input(Graph *g, Value x, Dim rank, const Dim *dim)
{
    Module *m = g->m;
    Dim one = dim_const(&m->dims, 1);
    Arms a = {.m = m, .dim = dim, .type = value_type(g, x), .count = type_tensor(&m->types, DT_I64, 1, &one), .loc = {.node = -1}};
    Node first = graph_first(g);
    Value count = dims(g, &rank, 1, a.loc);
    Node made = chain(&a, g, x, count, 0, RANK_ANY, NODE_NONE), is = value_rec(g, node_in(g, made, 0))->def;
    Value y = node_out(g, made, 0);
    if (first.i) {
        graph_move_before(g, value_rec(g, count)->def, first);
        graph_move_before(g, is, first);
        graph_move_before(g, made, first);
    }
    Name name = value_rec(g, x)->name;
    graph_replace_uses(g, x, y);
    graph_set_input(g, made, 1, x);
    value_rec(g, x)->name = name;
}

/* Squeeze(x)  =>  Reshape(x, Compress(Shape(x), Shape(x) != 1)) {allowzero=1} */
static Node squeeze_of_any(Graph *g, Node n)
{
    Loc loc = node_rec(g, n)->loc;
    Value x = node_in(g, n, 0);
    ReshapeAttrs zero = {.set = 1, .allowzero = 1};
    Node first = add(g, OP_Shape, &x, 1, NULL, loc, n);
    Value shape = node_out(g, first, 0), one = const_ints(g, (int64_t[]){1}, 1);
    Value is = node_out(g, add(g, OP_Equal, (Value[]){shape, one}, 2, NULL, loc, n), 0);
    Value other = node_out(g, add(g, OP_Not, &is, 1, NULL, loc, n), 0);
    Value dims = node_out(g, add(g, OP_Compress, (Value[]){shape, other}, 2, NULL, loc, n), 0);
    Value y = node_out(g, add(g, OP_Reshape, (Value[]){x, dims}, 2, &zero, loc, n), 0);
    graph_replace_uses(g, node_out(g, n, 0), y);
    graph_erase(g, n);
    return first;
}

/* SequenceMap over elements of any rank: as the Loop that it stands for, in whose body SequenceAt asks for the rank. */
static Node map_of_any(Graph *g, Node n)
{
    Node before = node_prev(g, n);
    if (!node_desc(g, n)->expand(g, n)) return NODE_NONE;
    if (!node_rec(g, n)->dead && !node_used(g, n)) graph_erase(g, n);
    return before.i ? node_next(g, before) : graph_first(g);
}

Node infer_arms(Graph *g, Node n)
{
    uint32_t k = 0, n_in = node_n_in(g, n);
    const NodeRec *r = node_rec(g, n);
    if (r->op == OP_SequenceMap) {
        while (k < n_in && !(node_in(g, n, k).i && value_type(g, node_in(g, n, k)).i && holds_unranked(g, node_in(g, n, k)))) k++;
        return k < n_in && !settles(g, n) ? map_of_any(g, n) : NODE_NONE;
    }
    if (!node_desc(g, n)->knows) return NODE_NONE;
    if (r->op == OP_Squeeze && !node_in(g, n, 1).i) {
        bool ranked = value_type(g, node_in(g, n, 0)).i && value_trec(g, node_in(g, n, 0))->rank != RANK_UNKNOWN;
        return ranked && !settles(g, n) ? squeeze_of_any(g, n) : NODE_NONE;
    }
    for (uint32_t i = 0; i < n_in; i++) { /* no list: a branch that fails in every arm would hide it */
        const TypeRec *t = alike_type(g, n, i);
        if (t && t->rank != 1) return NODE_NONE;
    }
    while (k < n_in && !open_operand(g, n, k)) k++;
    if (k == n_in || settles(g, n)) return NODE_NONE;
    for (; k < n_in; k++) {
        if (!open_operand(g, n, k)) continue;
        int64_t len = holds_unranked(g, node_in(g, n, k)) ? -1 : length_of_alike(g, n, k);
        if (len >= 0) return of_length(g, n, k, len);
        Node from = infer_sink_operand(g, n, k);
        return from.i ? from : narrow(g, n, k);
    }
    return NODE_NONE;
}
