/* group.h: what both grouping passes ask about a node. */
#ifndef BMC_PASSES_GRAPH_GROUP_H
#define BMC_PASSES_GRAPH_GROUP_H
#include "passes/pass.h"

/* One tensor result of known rank that is computed element by element (`scalar` or one kernel instruction); not known at compile time. */
bool group_is_eltwise(const Graph *, Node);
/* The same for a move with a route: each element of the result is one of an operand's. */
bool group_is_move(const Graph *, Node);
/* Same rank and provably equal dims. */
bool group_same_dims(Graph *, Value, Value);
/* A group that grows behind a root: member[0 .. n) are its nodes in list order, `in` marks them by node. */
typedef struct GroupGrowth {
    Graph *g;
    Node *member;
    uint32_t n, max; /* at most: room for one more in `member` */
    bool *in;
    Arena *arena;
} GroupGrowth;
GroupGrowth group_growth(Arena *, Graph *, uint32_t max);
void group_add(GroupGrowth *, Node);
/* Values of members that something outside sees; *last: one of them. */
uint32_t group_exits(const GroupGrowth *, Value *last);
/* Why a node cannot follow a root with that result element by element; NULL: it can. */
const char *group_cannot_follow(Graph *, Node, Value root);
/* Adds element-wise followers of the last member and keeps as many as leave one value that is seen from outside, computed
 * by the last of them. Of those that wait for nodes behind the root one may be taken: a sum of many results is taken up
 * result by result, not by the first one at the end. Returns how many were kept. */
uint32_t group_follow(GroupGrowth *, Value root);
/* Says what follows a root or its group and is not part of it, and why. */
void group_explain(PassCtx *, Graph *, Node root, Value exit);
/* The nodes (ascending in list order) become one Group. */
Node group_make(Graph *, const char *kind, const Node *, uint32_t n);

#endif
