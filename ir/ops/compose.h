/* compose.h: what `expand` hooks write operators with: new nodes before the node that goes, typed at once, so that later steps may ask for shapes.
 *   Ex x = ex_begin(g, n);
 *   Value y = ex2(&x, OP_Mul, ex_in(&x, 0), ex_f(&x, DT_F32, 0.5));
 *   return ex_end(&x, &y, 1);
 * A step that cannot be typed leaves a diagnostic and gives no value; later steps then do nothing and ex_end answers false. */
#ifndef BMC_IR_OPS_COMPOSE_H
#define BMC_IR_OPS_COMPOSE_H
#include "ir/graph/infer.h"

typedef struct Ex { Graph *g; Node n; Loc loc; bool failed; } Ex;

Ex ex_begin(Graph *, Node);
/* Result r is v from now on, unless a step failed or v is none. */
void ex_result(Ex *, uint32_t r, Value v);
/* The first n results become these; false: a step failed (and it has been said). */
bool ex_end(Ex *, const Value *out, uint32_t n);

/* Attributes of a new node of `op`: attrs NULL stands for defaults. Each gives the attributes back, so that calls nest. An attribute that `op` does not have is a bug. */
void *ex_set(Ex *, OpCode op, void *attrs, const char *name, int64_t); /* also a type */
void *ex_set_f(Ex *, OpCode op, void *attrs, const char *name, double);
void *ex_set_s(Ex *, OpCode op, void *attrs, const char *name, const char *);
void *ex_set_ints(Ex *, OpCode op, void *attrs, const char *name, const int64_t *, uint32_t n); /* copied */
/* What the node that goes was given, as far as `op` has attributes of the same name and kind. */
void *ex_inherit(Ex *, OpCode op);

/* New nodes. Absent operands are VALUE_NONE, trailing ones too. */
Node ex_node(Ex *, OpCode, const Value *in, uint32_t n_in, uint32_t n_out, const void *attrs);
Value ex_op(Ex *, OpCode, const Value *in, uint32_t n_in, const void *attrs); /* its first result */
bool ex_ops(Ex *, OpCode, const Value *in, uint32_t n_in, const void *attrs, Value *out, uint32_t n_out); /* all of them; none after a failure */
static inline Value ex1(Ex *x, OpCode op, Value a) { return ex_op(x, op, &a, 1, NULL); }
static inline Value ex2(Ex *x, OpCode op, Value a, Value b) { return ex_op(x, op, (Value[]){a, b}, 2, NULL); }
static inline Value ex3(Ex *x, OpCode op, Value a, Value b, Value c) { return ex_op(x, op, (Value[]){a, b, c}, 3, NULL); }

/* Constants: scalars of any number type, vectors. */
Value ex_f(Ex *, DType, double);
Value ex_i(Ex *, DType, int64_t);
Value ex_ints(Ex *, const int64_t *, uint32_t n);     /* i64[n] */
Value ex_floats(Ex *, const double *, uint32_t n);    /* f32[n] */
Value ex_strings(Ex *, const char *const *, uint32_t n);
static inline Value ex_int1(Ex *x, int64_t v) { return ex_ints(x, &v, 1); }

static inline Value ex_in(const Ex *x, uint32_t k) { return node_in(x->g, x->n, k); }
static inline const TypeRec *ex_type(const Ex *x, Value v) { return value_trec(x->g, v); }
static inline int ex_rank(const Ex *x, Value v) { return v.i ? value_trec(x->g, v)->rank : 0; }
static inline DType ex_elem(const Ex *x, Value v) { return v.i ? value_trec(x->g, v)->elem : DT_NONE; }

Value ex_cast(Ex *, Value, DType); /* itself when it is of that type */
Value ex_scalar(Ex *, Value, DType); /* one element of rank 0 or 1, as a scalar of that type */
Value ex_reshape(Ex *, Value, const int64_t *dim, uint32_t rank);
Value ex_transpose(Ex *, Value, const int64_t *perm, uint32_t n);
Value ex_reduce(Ex *, OpCode, Value, const int64_t *axes, uint32_t n, bool keep);
Value ex_reduce_all(Ex *, OpCode, Value); /* over everything, to a scalar */
Value ex_axis(Ex *, OpCode, const Value *in, uint32_t n, int64_t axis);
Value ex_shape_part(Ex *, Value, int64_t from, int64_t to); /* extents as a vector: known parts are constants */
Value ex_dims(Ex *, const Dim *, int rank);                /* extents as i64[rank], which may be symbolic */
Value ex_shaped(Ex *, Value, const Dim *, int rank);        /* the same elements under other extents, which may be symbolic */

/* The nodes of a region of the node that goes, with in[] for its inputs; out[]: its results. They are typed at once, or
 * (!typed) left to who infers the graph that they now stand in. */
bool ex_inline(Ex *, Graph *region, const Value *in, Value *out, bool typed);

#endif
