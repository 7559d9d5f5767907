/* group-eltwise: chains of element-wise ops and moves become one Group{kind="map"}, which is one loop nest:
 * intermediate values never meet memory.
 *   %1 = Mul(%x, %s)  : f32[N,64]              %y = Group(%x, %s, %b) {kind="map"} : f32[N,64]
 *   %2 = Add(%1, %b)  : f32[N,64]       =>       graph @map(%x, %s, %b) -> (%y) { ... the three nodes ... }
 *   %y = Relu(%2)     : f32[N,64]
 * A node joins the group of its users when all of them are in one group and nothing else sees its result: a diamond
 * (x * sigmoid(x)) goes in whole.
 * Broadcasting is kept: operands of smaller shape are read as they are. But a result that its users would broadcast
 * or gather from is computed once per use, so it joins only when computing it is cheap or when it has as many
 * elements as they have.
 * Walks backwards, so that every user is placed before what it uses. Values of known contents are no members (they
 * need no kernel); a lone node is no group. */
#include "passes/graph/group.h"

enum { OPT_MAX_OPS };
static const OptSpec opts[] = {{"max-ops", 32, "members of a group at most"}, {0}};

typedef struct GroupRec {
    VEC(Node) member;
    bool moves;
} GroupRec; /* members in reverse order */
typedef struct Ge {
    PassCtx *c;
    Graph *g;
    uint32_t *of; /* by node: group + 1 */
    VEC(GroupRec) group;
} Ge;

/* The one group that all users of v belong to; 0: there is none. */
static uint32_t users_group(const Ge *s, Value v)
{
    const ValueRec *r = value_rec(s->g, v);
    uint32_t group = 0;
    if (r->n_out_use) return 0;
    for (uint32_t u = r->first_use; u; u = s->g->operand.p[u - 1].next_use) {
        uint32_t k = s->of[s->g->operand.p[u - 1].user.i];
        if (!k || (group && k != group)) return 0;
        group = k;
    }
    return group;
}

/* Every user computes each element of v exactly once. */
static bool read_once(const Ge *s, Value v)
{
    const ValueRec *r = value_rec(s->g, v);
    for (uint32_t u = r->first_use; u; u = s->g->operand.p[u - 1].next_use) {
        Node user = s->g->operand.p[u - 1].user;
        if (group_is_eltwise(s->g, user) && group_same_dims(s->g, v, node_out(s->g, user, 0))) continue;
        Module *m = s->g->m;
        Dim x = dim_resolve(&m->dims, type_count(&m->types, value_type(s->g, v))),
            y = dim_resolve(&m->dims, type_count(&m->types, value_type(s->g, node_out(s->g, user, 0))));
        if (!group_is_move(s->g, user) || dim_le(&m->dims, y, x) != TRI_YES) return false;
    }
    return true;
}

static bool joins(const Ge *s, Node n, uint32_t group)
{
    const GroupRec *q = &s->group.p[group - 1];
    Value v = node_out(s->g, n, 0);
    const ValueRec *r = value_rec(s->g, v);
    if (q->member.n >= (uint64_t)s->c->opt[OPT_MAX_OPS]) return false;
    /* several readers share one computation only where all look at the same element */
    if (r->n_use > 1 && (q->moves || group_is_move(s->g, n) || !read_once(s, v))) return false;
    bool cheap = group_is_move(s->g, n) || (node_desc(s->g, n)->flags & OPF_CHEAP);
    return cheap || read_once(s, v);
}

static void place(Ge *s, Node n)
{
    bool move = group_is_move(s->g, n);
    if (!move && !group_is_eltwise(s->g, n)) return;
    uint32_t group = users_group(s, node_out(s->g, n, 0));
    if (group && !joins(s, n, group)) {
        pass_remark(s->c, graph_loc(s->g, n), "'%s' is not computed with its users: %s",
                    value_name(s->g, node_out(s->g, n, 0)),
                    s->group.p[group - 1].member.n >= (uint64_t)s->c->opt[OPT_MAX_OPS]
                        ? "the group is full"
                        : "each element would be computed several times");
        group = 0;
    }
    if (!group) {
        vec_push(s->c->arena, &s->group, (GroupRec){0});
        group = s->group.n;
    }
    GroupRec *q = &s->group.p[group - 1];
    vec_push(s->c->arena, &q->member, n);
    q->moves |= move;
    s->of[n.i] = group;
}

static bool group_graph(PassCtx *c, Graph *g)
{
    Ge s = {.c = c, .g = g, .of = arena_array(c->arena, uint32_t, g->node.n)};
    bool changed = false;
    for (Node n = graph_last(g); n.i; n = node_prev(g, n))
        if (node_rec(g, n)->op != OP_Group) place(&s, n);
    for (uint32_t k = 0; k < s.group.n; k++) {
        GroupRec *q = &s.group.p[k];
        if (q->member.n < 2 || !pass_may_rewrite(c)) continue;
        Node *node = arena_array(c->arena, Node, q->member.n);
        for (uint32_t i = 0; i < q->member.n; i++) node[i] = q->member.p[q->member.n - 1 - i];
        group_make(g, "map", node, q->member.n);
        pass_count(c, "groups", 1);
        pass_count(c, "members", q->member.n);
        changed = true;
    }
    return changed;
}

static PassResult run(PassCtx *c) { return pass_graphs(c, group_graph); }

const Pass pass_group_eltwise = {
    .name = "group-eltwise", .brief = "element-wise chains and moves into one nest each", .opts = opts, .run = run};
