/* lower.h: from graph values to kernels and program steps: what an op's `lower`, `scalar` and `route` hooks build with.
 * A hook asks for operands as buffers (lw_in) or element-wise (lw_at), makes kernels with the builder, and lw_put or kb_store's its results.
 * Reading through lw_at / writing through lw_put is what lets groups splice producers and consumers into the same nest. */
#ifndef BMC_IR_GRAPH_LOWER_H
#define BMC_IR_GRAPH_LOWER_H
#include "ir/graph/math_mode.h"
#include "ir/graph/op.h"
#include "ir/kernel/build.h"
#include "ir/kernel/contract.h"

struct Lw {
    Module *m; KModule *k; Graph *g;
    Node n;                  /* the node being lowered */
    Kb *b;                   /* open kernel, or NULL */
    KSteps *steps;           /* where steps go */
    KLoc loc;
    struct LwState *s;       /* lower.c's own */
};

/* Lowers a whole module into `k` (initialised by the caller with the module's tables). false: diagnosed (E_LOWER names node and op). */
bool lower_module(Module *, KModule *k);

/* Operand k is constant data that is there at compile time (also seen through a group's operands). */
bool lw_const(Lw *, uint32_t k, Blob *);
/* A constant buffer holding that blob (packed weights and the like). */
KBuf lw_const_buf(Lw *, Blob, const char *stem, int rank, const Dim *);
uint32_t lw_blob_uses(const Lw *, Blob);          /* how many operands of nodes of the whole model it was before lowering */

/* ---- kernels ---- */
Kb *lw_kernel(Lw *, const char *stem);         /* opens a kernel named after the node */
void lw_kernel_end(Lw *);                      /* adds its launch */

/* ---- operands and results ---- */
bool lw_has(Lw *, uint32_t k);
KBuf lw_in(Lw *, uint32_t k);                  /* operand in memory, dense row-major */
KBuf lw_in_strided(Lw *, uint32_t k);          /* operand in memory as it lies: logical axes, strides by kbuf_stride */
KBuf lw_out(Lw *, uint32_t r);                 /* memory for result r: planned, boxed (alloc step emitted: its dims must be bound by now) or the caller's */
void lw_prepare_in(Lw *);                      /* before opening a kernel that reads operands with lw_at: memory for known shape values among them */
void lw_prepare_out(Lw *);                     /* before opening a kernel that lw_put's: memory for all results (of the group, when in one) */
int lw_rank(Lw *, uint32_t k);  Dim lw_dim(Lw *, uint32_t k, int axis);  DType lw_elem(Lw *, uint32_t k);
int lw_out_rank(Lw *, uint32_t r);  Dim lw_out_dim(Lw *, uint32_t r, int axis);  DType lw_out_elem(Lw *, uint32_t r);
KVal lw_at(Lw *, uint32_t k, const KVal *idx);                    /* element of operand k at its own index (kernel open), in compute type */
KVal lw_at_broadcast(Lw *, uint32_t k, const KVal *out_idx, int out_rank, const Dim *out_dim);   /* numpy broadcasting of operand k to the output's shape */
void lw_put(Lw *, uint32_t r, const KVal *idx, KVal v);           /* stores element of result r */
KBuf lw_put_buf(Lw *, uint32_t r);             /* where lw_put stores (result 0 of the group, when in one) */
bool lw_computed(Lw *, uint32_t k);            /* lw_at computes operand k's elements from others each time: it is a member of the group */
/* Result r is operand k's memory under other dims (same elements in the same order). */
void lw_view(Lw *, uint32_t r, uint32_t k);
/* How a buffer lies: logical axes over the root buffer `base`, strides and offset in elements. */
typedef struct LwView { KBuf base; Strided at; } LwView;
void lw_lies(Lw *, KBuf, LwView *);
bool lw_set_view(Lw *, uint32_t r, const LwView *);   /* result r is that view (dims are taken from its type); false: an offset or stride left 64 bits, nothing done */
bool lw_row_major(Lw *, KBuf);
KBuf lw_row_major_of(Lw *, KBuf);              /* the buffer, or a row-major copy of it (no kernel open) */
/* Concat: operand k was stored into its place in the result already (also: it is the state that the result continues). */
bool lw_is_inside(Lw *, uint32_t k);
/* All operands of the node lie one behind the other along `axis` in one buffer: *whole is the view of all. */
bool lw_side_by_side(Lw *, int axis, LwView *whole);
/* Opens PAR loops over the dims of result r in the order it lies in memory; fills idx (logical). Close with lw_end_nest. */
void lw_nest_over(Lw *, uint32_t r, KVal *idx);
void lw_nest(Lw *, int rank, const Dim *dim, KVal *idx);
void lw_nest_as(Lw *, uint32_t r, const Dim *dim, KVal *idx);   /* over part of result r, in the order of its memory */
void lw_end_nest(Lw *, int rank);

/* ---- values that shapes depend on ---- */
/* Elements of a small integer operand as dims: known contents, or symbols bound now by load steps (then counts must be constant). */
bool lw_values(Lw *, uint32_t k, Dim *out, uint32_t max, uint32_t *n);
/* The same for exactly n elements: where only the run knows how many there are, a check comes first. */
bool lw_values_n(Lw *, uint32_t k, Dim *out, uint32_t n);
/* Binds node symbol(s) in the dims of result r: for each axis whose dim is an unbound node symbol, sym = computed[axis]. Where the dim is something else, emits a check. */
void lw_bind_dims(Lw *, uint32_t r, const Dim *computed);
Sym lw_load_sym(Lw *, KBuf, Dim element, const char *stem, int64_t lo, int64_t hi);   /* emits KST_LOAD into a fresh symbol */
KStep *lw_step(Lw *, KStepKind);               /* appends a step at the node's loc */
KStep *lw_call(Lw *, KSteps *to, const char *fn, uint32_t n, const KArg *arg);   /* appends a call of a row of runtime/rt_calls.def */
void lw_realloc(Lw *, KBuf box);                /* emits the box's alloc step again (another branch, another iteration) */
KBuf lw_temp(Lw *, DType, int rank, const Dim *);  /* planned scratch buffer (boxed when a dim is bound by a node) */
MathMode lw_math(Lw *);                         /* of the node being lowered: math_allows(lw_math(l), MATH_...) */
bool lw_fail(Lw *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- groups: the Group op's own hook ---- */
bool lw_group(Lw *, bool rooted);              /* lowers a Group node; rooted: its one node that is no element-wise op or move writes through lw_put, the rest follows */
/* For a Group with a lowering of its own: between enter and leave, `inner` lowers members of its graph. */
void lw_group_enter(Lw *, Lw *inner);
void lw_group_leave(Lw *);
/* The element at idx of `to`, which members compute element by element from `from`, whose element there is x; all else is read. */
KVal lw_value_from(Lw *inner, Value from, KVal x, Value to, const KVal *idx);
void lw_group_store(Lw *inner, uint32_t o, const KVal *idx, KVal v);   /* stores an element of result o of the group */

/* ---- regions ---- */
/* Lowers region `r` of the node into `to` with its inputs bound to buffers; out[] receives its outputs' buffers. A buffer that stands there before is where the
 * caller would like the result to be stored; where that cannot be, another one comes back and the caller copies. */
bool lw_region(Lw *, uint32_t r, KSteps *to, const KBuf *in, uint32_t n_in, KBuf *out);
void lw_set_out(Lw *, uint32_t r, KBuf);       /* result r lives in that buffer (control flow, sequences) */
void lw_copy(Lw *, KSteps *to, KBuf dst, KBuf src);   /* a copying kernel: same count of elements, dense */

#endif
