/* infer.h: the context of type inference and value propagation hooks. Errors name the node. A hook reads operand types, attributes and contents and sets result types. */
#ifndef BMC_IR_GRAPH_INFER_H
#define BMC_IR_GRAPH_INFER_H
#include "ir/graph/op.h"

struct Infer { Module *m; Graph *g; Node n; const OpDesc *op; Dims *d; };

/* Runs ports check, infer and propagate for one node (regions included). Results keep a declared type when inference yields less. false: diagnosed. */
bool infer_node(Graph *, Node);
bool infer_graph(Graph *);                                       /* all nodes in order */
bool infer_try(Graph *, DiagFirst *why);         /* the same without a message: *why, when it fails */
bool infer_try_part(Graph *, DiagFirst *why);    /* the same, but a node that needs a rank that is not known has results without types, and so has what uses these */

void infer_known(Infer *);                                       /* known.c: after propagation: small results of known operands, by evaluation */

/* A node that uses a result of an If whose branches have different ranks moves into both (sink.c). The new If, not inferred yet; 0: nothing to do. */
Node infer_sink(Graph *, Node user);
/* An If without the results of unknown rank that all users have moved away from, if it has any: in place of n, not inferred yet; else n. */
Node infer_trim(Graph *, Node n);
/* The same as infer_sink for one operand of which code has to know more than its type says (OpDesc.knows), where the branches know it. */
Node infer_sink_operand(Graph *, Node user, uint32_t k);
/* A node that needs to know what only the run does gets an operand that says it, out of an If (arms.c). The first of the new nodes, not inferred yet; 0: nothing to do. */
Node infer_arms(Graph *, Node);
/* An input with RANK_ANY axes, of which a run brings the last `rank`: all its uses take the result of arms that know how many. Not inferred yet. */
void infer_arms_of_input(Graph *, Value x, Dim rank, const Dim *dim);

bool infer_has(const Infer *, uint32_t k);                       /* operand present */
const TypeRec *infer_in(const Infer *, uint32_t k);              /* its type; kind TY_NONE when unknown */
int infer_rank(const Infer *, uint32_t k);                       /* -1 when not known */
Dim infer_dim(const Infer *, uint32_t k, int axis);
DType infer_elem(const Infer *, uint32_t k);
bool infer_need_rank(Infer *, uint32_t k, int min, int max);     /* error unless the rank is known and within; max -1: any */
/* The operand has one element, whatever its rank: error when it does not; where only the run knows, or its rank is above
 * `rank_max` (-1: any will do), it is the Reshape to a scalar that a new node makes of it. */
bool infer_one_element(Infer *, uint32_t k, int rank_max);
bool infer_axis(Infer *, int64_t *axis, int rank);               /* normalises a negative axis; error when out of range */
bool infer_content(const Infer *, uint32_t k, const Dim **d, uint32_t *n);   /* elements of an int operand; false: not known */
const Content *infer_value_content(Graph *, Value);              /* of any value; NULL: not known */
bool infer_ints(const Infer *, uint32_t k, int64_t *v, uint32_t max, uint32_t *n);  /* all constant */
bool infer_set(Infer *, uint32_t result, DType, int rank, const Dim *dim);
bool infer_set_type(Infer *, uint32_t result, TypeId);
bool infer_like(Infer *, uint32_t result, uint32_t operand);
void infer_set_content(Infer *, uint32_t result, const Dim *, uint32_t n);
bool infer_broadcast(Infer *, const uint32_t *operands, uint32_t n, Dim *dim, int *rank);  /* numpy broadcasting of those operands; leaves checks */
bool infer_must_eq(Infer *, Dim a, Dim b, const char *what);     /* provably different: error; unknown: assumed, a check is left */
bool infer_may_broadcast(Infer *, Dim a, Dim b);                 /* leaves a run-time check that a == b or one of them is 1; true */
/* d is 1 or equal to `to`, to which it broadcasts and to no more; where only the run knows which, checks are left. */
bool infer_broadcasts_to(Infer *, Dim d, Dim to, const char *what);
Dim infer_fresh(Infer *, const char *stem, int64_t lo, int64_t hi);   /* a node symbol; the same one when the node is inferred again (kept with the result's old type) */
/* Result dim `axis` of `result` when it was inferred before as a node symbol, else a fresh one: keeps inference idempotent. */
Dim infer_node_dim(Infer *, uint32_t result, int axis, int64_t lo, int64_t hi);
bool infer_fail(Infer *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));  /* E_SHAPE at the node; returns false */
bool infer_join(Module *, TypeId a, TypeId b, const char *stem, TypeId *out);  /* least type that holds both: differing dims become node symbols; differing ranks: unranked */

#endif
