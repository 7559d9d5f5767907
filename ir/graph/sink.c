/* sink: ranks are static in code, but the branches of an If may give tensors of different ranks. What uses such a result moves into both branches, where its operand's
 * rank is known, until ranks agree again:
 *   %s = If(%c | %a, %b) : f32[*]                    %y = If(%c | %a, %b, %x)
 *     then(%a) -> (%a : f32[])                         then(%a, %b, %x) -> (%1)   %1 = Mul(%x, %a)
 *     else(%b) -> (%b : f32[1])              =>        else(%a, %b, %x) -> (%1)   %1 = Mul(%x, %b)
 *   %y = Mul(%x, %s)
 * Nodes between the two that use other results keep the first If, without the results that nobody uses any more. */
#include "base/bug.h"
#include "ir/graph/infer.h"
#include "ir/graph/loop_box.h"

static bool fails(const Graph *branch)
{
    Node first = graph_first(branch);
    return first.i && node_rec(branch, first)->op == OP_Fail;
}

/* Of unknown rank, or holding what is; with `length` also: of unknown length of the last axis. */
static bool is_open(const Graph *g, Value v, bool length)
{
    const Module *m = g->m;
    const TypeRec *t = value_trec(g, v);
    int64_t k;
    if (t->kind == TY_SEQ || t->kind == TY_OPT) {
        t = type_rec(&m->types, t->of);
        return length && t->kind == TY_TENSOR && t->rank == RANK_UNKNOWN;
    }
    if (t->kind != TY_TENSOR || t->rank == RANK_UNKNOWN) return t->kind == TY_TENSOR;
    return length && t->rank && !dim_is_const(&m->dims, dim_resolve((Dims *)&m->dims, t->dim[t->rank - 1]), &k);
}

/* What holds tensors is only followed into the arms that were made for it: a box would be undone. */
static bool narrows(const Graph *g, Value v)
{
    Node d = value_rec(g, v)->def;
    if (value_trec(g, v)->kind == TY_TENSOR) return true;
    if (!d.i || node_rec(g, d)->op != OP_If) return d.i && node_rec(g, d)->op == OP_OfRank;
    for (uint32_t k = 0; k < 2; k++) {   /* the last of them */
        const Graph *r = node_rec(g, d)->region[k];
        if (!fails(r) && !narrows(r, r->out.p[value_rec(g, v)->result])) return false;
    }
    return true;
}

/* It comes out of an If, and each branch knows. */
static bool sinks(const Graph *g, Value v, bool length)
{
    if (!v.i || !value_type(g, v).i || !value_rec(g, v)->def.i) return false;
    const NodeRec *n = node_rec(g, value_rec(g, v)->def);
    if (n->op != OP_If || !is_open(g, v, length)) return false;
    for (uint32_t k = 0; k < n->n_region; k++) {
        const Graph *r = n->region[k];
        Value o = r->out.p[value_rec(g, v)->result];
        if (fails(r)) continue;
        if (!value_type(r, o).i || (is_open(r, o, length) ? !sinks(r, o, length) : !narrows(r, o))) return false;
    }
    return true;
}

static bool used_from(const Graph *g, Node from, Value v)
{
    for (uint32_t k = 0; k < g->out.n; k++)
        if (g->out.p[k].i == v.i) return true;
    for (Node n = from; n.i; n = node_next(g, n))
        for (uint32_t k = 0; k < node_n_in(g, n); k++)
            if (node_in(g, n, k).i == v.i) return true;
    return false;
}

/* What moves into a branch: the user, and in front of it Ifs whose results it takes, too. */
typedef VEC(Value) Values;
typedef struct Moved {
    Node owner, node[RANK_MAX];
    uint32_t n;
    Values operand;          /* of the new If */
    int32_t deciding;        /* the user's operand whose length matters, else -1: all whose rank does */
    const Value *out;        /* the branch's results */
    Node copy[RANK_MAX];
} Moved;

/* Operand k of a moved node, inside a branch; captures that are new become operands of the If. */
static Value inside(Graph *g, Graph *branch, Moved *x, Value v)
{
    const ValueRec *r = value_rec(g, v);
    if (!v.i) return VALUE_NONE;
    if (r->def.i && r->def.i == x->owner.i) return x->out[r->result];
    for (uint32_t k = 0; k < x->n && r->def.i; k++)
        if (x->node[k].i == r->def.i && x->copy[k].i) return node_out(branch, x->copy[k], r->result);
    if (r->data.i) return graph_const(branch, r->data, r->type, r->name);
    uint32_t k = 1;
    while (k < x->operand.n && x->operand.p[k].i != v.i) k++;
    if (k == x->operand.n) vec_push(g->m->arena, &x->operand, v);
    if (k - 1 == branch->in.n) graph_input(branch, r->type, r->name);
    return branch->in.p[k - 1];
}

static void copy_into(Graph *g, Graph *branch, Moved *x, Values *result)
{
    Arena *a = g->m->arena;
    for (uint32_t i = 0; i < x->n; i++) x->copy[i] = NODE_NONE;
    for (uint32_t i = 0; i < x->n; i++) {
        const NodeRec *u = node_rec(g, x->node[i]);
        Value *in = arena_array(a, Value, u->n_in + 1);
        for (uint32_t k = 0; k < u->n_in; k++) in[k] = inside(g, branch, x, node_in(g, x->node[i], k));
        Node c = x->copy[i] = graph_add(branch, u->op, in, u->n_in, u->n_out, u->attrs, u->loc, NODE_NONE);
        node_rec(branch, c)->n_capture = u->n_capture;
        const Graph **region = arena_array(a, const Graph *, u->n_region + 1);
        for (uint32_t k = 0; k < u->n_region; k++) region[k] = graph_clone(u->region[k]);
        if (u->n_region) graph_set_region(branch, c, region, u->n_region);
        if (i + 1 < x->n) {   /* what is known of it, so that the user finds it */
            for (uint32_t k = 0; k < u->n_out; k++) value_rec(branch, node_out(branch, c, k))->type = value_type(g, node_out(g, x->node[i], k));
            continue;
        }
        for (uint32_t k = 0; k < u->n_out; k++) vec_push(a, result, node_out(branch, c, k));
    }
}

/* A branch that fails has no use for what it is given: as many results as are asked for. */
static Graph *failing(const Graph *branch, uint32_t n_out)
{
    Module *m = branch->m;
    Graph *r = graph_new(m, "fail");
    const NodeRec *f = node_rec(branch, graph_first(branch));
    Value *out = arena_array(m->arena, Value, n_out + 1);
    for (uint32_t k = 0; k < branch->in.n; k++) graph_input(r, value_type(branch, branch->in.p[k]), (Name){0});
    Node n = graph_add(r, OP_Fail, NULL, 0, n_out, f->attrs, f->loc, NODE_NONE);
    for (uint32_t k = 0; k < n_out; k++) out[k] = node_out(r, n, k);
    graph_set_outputs(r, out, n_out);
    return r;
}

static Node sink_on(Graph *g, Node user, int32_t deciding);

/* A copy of If `from` with the results that are used in [at, end), stands before `at`; takes over those uses. With nodes to move, the last of which stands at `at`:
 * they move into it, and its results become the If's. */
static Node if_copy(Graph *g, Node at, Moved *x)
{
    Arena *a = g->m->arena;
    Node from = x->owner, user = x->n ? x->node[x->n - 1] : NODE_NONE;
    uint32_t n_out = node_n_out(g, from), n_kept = 0, n_user = x->n ? node_n_out(g, user) : 0;
    bool *kept = arena_array(a, bool, n_out + 1);
    Graph *branch[2];
    for (uint32_t k = 0; k < node_n_in(g, from); k++) vec_push(a, &x->operand, node_in(g, from, k));
    for (uint32_t r = 0; r < n_out; r++) n_kept += kept[r] = used_from(g, x->n ? node_next(g, user) : at, node_out(g, from, r));
    for (uint32_t k = 0; k < 2; k++) {
        Values result = {0};
        const Graph *old = node_rec(g, from)->region[k];
        if (fails(old)) {
            branch[k] = failing(old, n_kept + n_user);
            continue;
        }
        branch[k] = graph_clone((Graph *)old);
        Value *out = arena_array(a, Value, n_out + 1);
        for (uint32_t r = 0; r < n_out; r++) {
            out[r] = branch[k]->out.p[r];
            if (kept[r]) vec_push(a, &result, out[r]);
        }
        x->out = out;
        copy_into(g, branch[k], x, &result);
        graph_set_outputs(branch[k], result.p, result.n);
        if (x->n) sink_on(branch[k], x->copy[x->n - 1], x->deciding);   /* to the bottom at once: inferring level by level would double the work at each */
    }
    for (uint32_t k = 0; k < 2; k++) /* of a branch that fails */
        while (branch[k]->in.n + 1 < x->operand.n) graph_input(branch[k], value_type(g, x->operand.p[branch[k]->in.n + 1]), (Name){0});
    Node n = graph_add(g, OP_If, x->operand.p, x->operand.n, n_kept + n_user, NULL, node_rec(g, from)->loc, at);
    for (uint32_t r = 0, to = 0; r < n_out && !x->n; r++)   /* users that are inferred already speak of its symbols */
        if (kept[r]) value_rec(g, node_out(g, n, to++))->type = value_type(g, node_out(g, from, r));
    node_rec(g, n)->n_capture = x->operand.n - 1;
    graph_set_region(g, n, (const Graph *const[]){branch[0], branch[1]}, 2);
    Value *gout = arena_array(a, Value, g->out.n + 1);
    Name *name = arena_array(a, Name, g->out.n + 1);
    for (uint32_t k = 0; k < g->out.n; k++) gout[k] = g->out.p[k], name[k] = g->out_name.p[k];
    for (uint32_t r = 0, to = 0; r < n_out; r++) {
        if (!kept[r]) continue;
        Value old = node_out(g, from, r), by = node_out(g, n, to++);
        for (Node m = at; m.i; m = node_next(g, m))
            for (uint32_t k = 0; k < node_n_in(g, m); k++)
                if (node_in(g, m, k).i == old.i && m.i != user.i) graph_set_input(g, m, k, by);
        for (uint32_t k = 0; k < g->out.n; k++)
            if (gout[k].i == old.i) gout[k] = by;
    }
    graph_set_outputs(g, gout, g->out.n);
    for (uint32_t k = 0; k < g->out.n; k++) g->out_name.p[k] = name[k];
    for (uint32_t k = 0; k < n_user; k++) graph_replace_uses(g, node_out(g, user, k), node_out(g, n, n_kept + k));
    return n;
}

static bool before(const Graph *g, Node a, Node b)
{
    for (Node n = node_next(g, a); n.i; n = node_next(g, n))
        if (n.i == b.i) return true;
    return false;
}

/* The user moves into the last of the Ifs; the others move along, and take it in there. */
static Node sink_into(Graph *g, Node user, const Node *from, uint32_t n_from, int32_t deciding)
{
    Moved x = {.deciding = deciding};
    uint32_t last = 0;
    for (uint32_t k = 1; k < n_from; k++)
        if (before(g, from[last], from[k])) last = k;
    x.owner = from[last];
    for (uint32_t k = 0; k < n_from; k++)
        if (k != last) x.node[x.n++] = from[k];
    x.node[x.n++] = user;
    Node n = if_copy(g, user, &x);
    graph_erase(g, user);
    for (uint32_t k = 0; k + 1 < x.n; k++)
        if (!node_used(g, x.node[k])) graph_erase(g, x.node[k]);
    if (node_used(g, x.owner)) {   /* by nodes in between */
        Node rest = if_copy(g, node_next(g, x.owner), &(Moved){.owner = x.owner});
        if (!infer_node(g, rest)) return NODE_NONE;
    }
    graph_erase(g, x.owner);
    return n;
}

enum { LEAVES_MAX = 100, COMBINATIONS_MAX = 10000 };

/* How many arms give v, in all. */
static uint32_t leaves(const Graph *g, Value v)
{
    Node d = value_rec(g, v)->def;
    uint32_t n = 0;
    if (!d.i || node_rec(g, d)->op != OP_If || !is_open(g, v, false)) return 1;
    for (uint32_t k = 0; k < 2; k++) {
        const Graph *r = node_rec(g, d)->region[k];
        if (!fails(r)) n += leaves(r, r->out.p[value_rec(g, v)->result]);
    }
    return n;
}

/* Where two values of many ranks have met there are more arms than ranks: the arms put what they give into a sequence of one, whose
 * element is taken out again by its rank.
 *   %y = Neg(%s)     =>     %q = SequenceConstruct(%s)   %e = SequenceAt(%q, 0)   %y = Neg(%e) */
static Node box(Graph *g, Node user, Value v)
{
    Loc loc = node_rec(g, user)->loc;
    Node from = value_rec(g, v)->def, q = graph_add(g, OP_SequenceConstruct, &v, 1, 1, NULL, loc, user);
    Value zero = graph_const(g, blob_splat_i(&g->m->blobs, DT_I64, 1, 0), type_tensor(&g->m->types, DT_I64, 0, NULL), (Name){0});
    Node e = graph_add(g, OP_SequenceAt, (Value[]){node_out(g, q, 0), zero}, 2, 1, NULL, loc, user);
    for (Node n = user; n.i; n = node_next(g, n))
        for (uint32_t k = 0; k < node_n_in(g, n); k++)
            if (node_in(g, n, k).i == v.i) graph_set_input(g, n, k, node_out(g, e, 0));
    return sink_into(g, q, &from, 1, -1);
}

/* A Loop in the body of another takes such operands as sequences of one: a copy of it for each rank would be one for each
 * pair of ranks, where the outer Loop is copied as well. */
static Node box_for_loop(Graph *g, Node user)
{
    for (uint32_t k = 2; k < node_n_in(g, user); k++)
        if (sinks(g, node_in(g, user, k), false)) return infer_sink(g, loop_box(g, user, k));
    return NODE_NONE;
}

Node infer_sink(Graph *g, Node user)
{
    if (node_rec(g, user)->op == OP_Loop && g->m->in_loop) {
        Node boxed = box_for_loop(g, user);
        if (boxed.i) return boxed;
    }
    Node from[RANK_MAX];
    uint32_t n = 0;
    uint32_t all = 1, most = 0, widest = 0;
    double combinations = 1;
    for (uint32_t k = 0; k < node_n_in(g, user) && k < RANK_MAX && node_rec(g, user)->op != OP_SequenceConstruct; k++) {
        uint32_t have = sinks(g, node_in(g, user, k), false) ? leaves(g, node_in(g, user, k)) : 1;
        if (all <= LEAVES_MAX) all *= have;
        combinations *= have;
        if (have > most) most = have, widest = k;
    }
    if (all > LEAVES_MAX && most > RANK_ANY + 3) return box(g, user, node_in(g, user, widest));
    if (combinations > COMBINATIONS_MAX) return NODE_NONE;   /* a graph for each would take gigabytes: that the rank is not known is what is said */
    for (uint32_t k = 0; k < node_n_in(g, user) && n < RANK_MAX; k++) {
        if (!sinks(g, node_in(g, user, k), false)) continue;
        Node d = value_rec(g, node_in(g, user, k))->def;
        uint32_t i = 0;
        while (i < n && from[i].i != d.i) i++;
        if (i == n) from[n++] = d;
    }
    return n ? sink_into(g, user, from, n, -1) : NODE_NONE;
}

Node infer_sink_operand(Graph *g, Node user, uint32_t k)
{
    if (!sinks(g, node_in(g, user, k), true)) return NODE_NONE;
    return sink_into(g, user, &value_rec(g, node_in(g, user, k))->def, 1, (int32_t)k);
}

static Node sink_on(Graph *g, Node user, int32_t deciding)
{
    return deciding < 0 ? infer_sink(g, user) : infer_sink_operand(g, user, (uint32_t)deciding);
}

Node infer_trim(Graph *g, Node n)
{
    if (node_rec(g, n)->op != OP_If) return n;
    bool idle = false;
    for (uint32_t r = 0; r < node_n_out(g, n) && !idle; r++) {
        Value v = node_out(g, n, r);
        idle = !value_used(g, v) && value_type(g, v).i && value_trec(g, v)->kind == TY_TENSOR && value_trec(g, v)->rank == RANK_UNKNOWN;
    }
    if (!idle || !node_used(g, n)) return n;   /* one that nobody uses is dead: an If without results there is not */
    Node by = if_copy(g, n, &(Moved){.owner = n});
    graph_erase(g, n);
    return by;
}
