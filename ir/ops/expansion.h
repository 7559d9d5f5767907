/* expansion.h: writing `expand` hooks: nodes before the one that is expanded, typed as they are made, constants,
 * attributes by name.
 *   Exp e = {g, n, true};
 *   exp_result(&e, 0, exp_2(&e, OP_Mul, node_in(g, n, 0), exp_f(&e, DT_F32, 0.5)));
 *   return e.ok;
 * Once something failed (diagnosed), nothing more is made: ok is asked at the end only. */
#ifndef BMC_IR_OPS_EXPANSION_H
#define BMC_IR_OPS_EXPANSION_H
#include "ir/graph/infer.h"

typedef struct Exp {
    Graph *g;
    Node n;
    bool ok;
} Exp;

/* A new node's first result; absent operands are VALUE_NONE, trailing ones may be given as such. attrs NULL:
 * defaults. */
Value exp_node(Exp *, OpCode, const void *attrs, uint32_t n_in, const Value *in);
Value exp_nodes(Exp *, OpCode, const void *attrs, uint32_t n_in, const Value *in, uint32_t n_out, Value *out);
static inline Value exp_1(Exp *e, OpCode op, Value a) { return exp_node(e, op, NULL, 1, &a); }
static inline Value exp_2(Exp *e, OpCode op, Value a, Value b) { return exp_node(e, op, NULL, 2, (Value[]){a, b}); }
/* The expanded node's result r is v from now on. */
void exp_result(Exp *, uint32_t r, Value v);

/* Attributes for a node of `op`: defaults, and what the expanded node was given under the same name and kind. */
void *exp_attrs(Exp *, OpCode);
void exp_attr_i(OpCode, void *attrs, const char *name, int64_t);
void exp_attr_f(OpCode, void *attrs, const char *name, double);
void exp_attr_s(OpCode, void *attrs, const char *name, const char *);
void exp_attr_ints(Exp *, OpCode, void *attrs, const char *name, const int64_t *, uint32_t n); /* copied */

Value exp_cast(Exp *, Value, DType); /* itself when it is of that type */
Value exp_f(Exp *, DType, double);   /* scalar constants */
Value exp_i(Exp *, DType, int64_t);
Value exp_ints(Exp *, const int64_t *, uint32_t n);  /* i64[n] */
Value exp_floats(Exp *, const double *, uint32_t n); /* f32[n] */
Value exp_strings(Exp *, const char *const *, uint32_t n);
Value exp_reshape(Exp *, Value, const int64_t *dim, uint32_t rank);
Value exp_transpose(Exp *, Value, const int64_t *perm, uint32_t rank);
static inline Value exp_in(const Exp *e, uint32_t k) { return node_in(e->g, e->n, k); }
static inline const TypeRec *exp_type(const Exp *e, Value v) { return value_trec(e->g, v); }
static inline int exp_rank(const Exp *e, Value v) { return v.i ? value_trec(e->g, v)->rank : 0; }
static inline DType exp_elem(const Exp *e, Value v) { return v.i ? value_trec(e->g, v)->elem : DT_NONE; }

#endif
