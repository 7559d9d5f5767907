/* lower_state.h: what the files lower*.c share and hooks do not see. */
#ifndef BMC_IR_GRAPH_LOWER_STATE_H
#define BMC_IR_GRAPH_LOWER_STATE_H
#include "ir/graph/lower.h"

/* The buffers of one graph's values while its nodes are lowered; a region gets a frame of its own. */
typedef struct LwInside { Node concat; uint32_t operand; } LwInside;   /* the value lives inside that Concat's result; concat 0: it does not */
typedef struct Frame {
    Graph *g;
    KBuf *buf;               /* by value; 0: not (yet) in memory */
    LwInside *inside;        /* by value; NULL: no node was lowered yet */
    bool entry;              /* the module's entry graph: its outputs go to the caller */
} Frame;

/* An element already computed at an index, inside the kernel that is open. */
typedef struct Memo { Graph *g; Value v; KVal idx[RANK_MAX]; int rank; KVal val; } Memo;

typedef struct LwDense { KBuf from, to; } LwDense;

struct LwState {
    Frame *frame;
    /* group being lowered: `group` is the node in `outer`, its region is the current graph */
    Frame *group_outer; Node group;
    Node root;               /* the node whose lw_put is followed by the rest of the group; 0: none (map groups) */
    Value root_value; KVal root_at[RANK_MAX]; int root_rank; KVal root_val;
    KVal pred;               /* guard of every load while a guarded route is read; 0: none */
    VEC(Memo) memo;          /* of the element being computed: shared producers are computed once */
    int depth;               /* nesting of lw_inline; at 0 the memo starts anew, as loops may have closed since */
    VEC(LwDense) dense;   /* row-major copies made so far of buffers that lie otherwise */
    bool *out_claimed;       /* by output: somebody stores to it directly */
    const uint32_t *blob_uses; uint32_t n_blob;   /* module_blob_uses as lowering began, and of how many */
};

KBuf lw_value_buf(Lw *, Value);                  /* memory of a value of the current frame */
KBuf lw_group_buf(Lw *, Value);                  /* in a group's region: memory of the operand that an input stands for; 0: not an input */
KVal lw_value_at(Lw *, Value, const KVal *idx);  /* its element */
KVal lw_inline(Lw *, Node, uint32_t r, const KVal *idx);   /* computes an element of a node's result from its operands, in the open kernel */
void lw_prepare(Lw *, Node);                     /* before a kernel opens: memory for operands that need a kernel of their own to be stored */
KBuf lw_place(Lw *, TypeId, Name, int output);   /* a fresh place for a value of that type, in the order of its layout; boxed ones get their alloc step; output: stored straight to the caller, -1: no */
void lw_lies_as_port(Lw *, KBuf, const KPort *); /* a buffer of the caller's: strides of the capacity where the port has one */
bool lw_views(Lw *);                             /* makes all results of the node views of operand 0; false: they cannot be, nothing was done */
void lw_reserve(Lw *);                           /* decides which values of the current frame live inside a Concat's result */
KBuf lw_reserved(Lw *, Value);                   /* the place decided on, 0: none */
bool lw_nodes(Lw *);                             /* lowers all nodes of the current frame's graph */
Dim lw_res(Lw *, Dim);                           /* the dim as lowering uses it */

#endif
