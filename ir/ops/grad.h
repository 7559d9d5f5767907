/* grad.h: reverse-mode differentiation of graphs, and what the `grad` hooks of operators are written with.
 *   %y = Mul(%a, %b)        =>   adjoint of %a: Mul(dy, %b), of %b: Mul(dy, %a), each summed over the axes that broadcast
 * The adjoint of a value is the derivative of the differentiated scalar by it, of the value's own type. A hook is given the node and the adjoints of its
 * results, builds those of its operands by ordinary nodes and hands them over by gr_set. The values of the forward pass are used as they stand there.
 * What a hook builds has derivatives in turn: second order is the same pass once more. Hooks stand in grad_*.c by family; rows of operators name them. */
#ifndef BMC_IR_OPS_GRAD_H
#define BMC_IR_OPS_GRAD_H
#include "ir/ops/compose.h"

struct Grad {
    Ex x;             /* builds where the backward pass grows: x.n is not the node */
    Graph *g; Node n; /* the node */
    const Value *dy;  /* adjoint of each result; none: nothing depends on it */
    const bool *need; /* operands whose adjoint is asked for */
    Value *dx;        /* by operand; what stays none has derivative 0 */
};

/* ---- grad.c ---- */

/* Adjoints of x[] under those of y[] (dy, each of its y's type), built before `at` (none: at the end of the graph). Nothing is derived beyond x[] and
 * stop[]: they count as independent. Operators without a hook that expand are expanded where they stand. dx[k] is none where no y depends on x[k].
 * y and x are replaced by what stands for them afterwards. false: some operator on the way has no derivative, diagnosed. */
bool grad_graph(Graph *, Node at, Value *y, const Value *dy, uint32_t n_y, Value *x, uint32_t n_x, const Value *stop, uint32_t n_stop, Value *dx);

/* Can values of that type have a derivative: floats, and sequences and optionals of them? */
bool grad_carries(const Graph *, Value);
/* The hook of operators that are constant wherever they have a derivative: Floor, Sign, Hardmax. */
bool grad_zero(Grad *);

/* ---- for hooks ---- */

static inline Value gr_in(const Grad *c, uint32_t k) { return node_in(c->g, c->n, k); }
static inline Value gr_out(const Grad *c, uint32_t r) { return node_out(c->g, c->n, r); }
static inline Value gr_dy(const Grad *c) { return c->dy[0]; }
static inline bool gr_need(const Grad *c, uint32_t k) { return k < node_n_in(c->g, c->n) && c->need[k]; }
static inline const TypeRec *gr_type(const Grad *c, Value v) { return value_trec(c->g, v); }
static inline int gr_rank(const Grad *c, Value v) { return value_trec(c->g, v)->rank; }
static inline DType gr_elem(const Grad *c, Value v) { return value_trec(c->g, v)->elem; }
static inline Dim gr_dim(const Grad *c, Value v, int axis) { return dim_resolve(&c->g->m->dims, value_trec(c->g, v)->dim[axis]); }

/* Hands over the adjoint of operand k, if it is asked for: summed over the axes along which the operand was broadcast, cast to its element type. */
void gr_set(Grad *, uint32_t k, Value);
/* v summed (or repeated) to the shape of `like`, to which it broadcasts or which broadcasts to it. Extents that only the run knows included. */
Value gr_fit(Grad *, Value v, Value like);
/* The adjoints of all operands that are asked for: those of y[n], the node's results written out in ordinary nodes (nothing of them stays but what the
 * adjoints read). */
bool gr_written_out(Grad *, const Value *y, uint32_t n);
bool gr_refuse(Grad *, const char *fmt, ...) __attribute__((format(printf, 2, 3))); /* this form has no derivative; false */

Value gr_num(Grad *, double, Value like);              /* a scalar of like's element type */
Value gr_shape(Grad *, Value);                         /* extents of a value, as a tensor */
Value gr_reshape(Grad *, Value v, Value like);         /* the same elements in the shape of `like` */
Value gr_expand(Grad *, Value v, Value like);          /* broadcast to it */
Value gr_zeros(Grad *, Value like);
Value gr_extent(Grad *, Value v, const bool *axes, DType); /* the product of the extents along axes, as a scalar */
Value gr_count(Grad *, Value v, DType);                /* of all of them */
Value gr_sum(Grad *, Value, const int64_t *axes, uint32_t n, bool keep);
/* v[at[i]] += dv[i], for flat indices: the adjoint of any move, whose indices the same move gives for iota. Elements of a negative index are left out
 * when `holes`. */
Value gr_scatter(Grad *, Value like, Value at, Value dv, bool holes);
Value gr_iota(Grad *, Value like);                     /* i64, of its shape: 0 1 2 .. in row-major order */

/* Attributes of the node by name, as given or by default. */
int64_t gr_int(const Grad *, const char *name);
double gr_float(const Grad *, const char *name);       /* an attribute is a float32 */
const char *gr_string(const Grad *, const char *name);
AttrInts gr_ints(const Grad *, const char *name);
bool gr_given(const Grad *, const char *name);
/* A node of the same operator with the same attributes. */
Node gr_again(Grad *, const Value *in, uint32_t n_in, uint32_t n_out);

/* grad_sequence.c: zeros of a value's kind and shape; the sum of two adjoints. Tensors and sequences (optionals: sums only). */
Value gr_zero_of(Ex *, Value);
Value gr_sum_of(Ex *, Value, Value);

static inline Value gr_add(Grad *c, Value a, Value b) { return ex2(&c->x, OP_Add, a, b); }
static inline Value gr_sub(Grad *c, Value a, Value b) { return ex2(&c->x, OP_Sub, a, b); }
static inline Value gr_mul(Grad *c, Value a, Value b) { return ex2(&c->x, OP_Mul, a, b); }
static inline Value gr_div(Grad *c, Value a, Value b) { return ex2(&c->x, OP_Div, a, b); }
static inline Value gr_neg(Grad *c, Value a) { return ex1(&c->x, OP_Neg, a); }
static inline Value gr_times(Grad *c, Value a, double k) { return gr_mul(c, a, gr_num(c, k, a)); }
static inline Value gr_plus(Grad *c, Value a, double k) { return gr_add(c, a, gr_num(c, k, a)); }
static inline Value gr_square(Grad *c, Value a) { return gr_mul(c, a, a); }
static inline Value gr_where(Grad *c, Value cond, Value a, Value b) { return ex3(&c->x, OP_Where, cond, a, b); }
static inline Value gr_test(Grad *c, OpCode op, Value a, double k) { return ex2(&c->x, op, a, gr_num(c, k, a)); }

/* ---- the hooks ---- */

#define GRAD_HOOKS(H)                                                                                                                                \
    H(abs) H(acos) H(acosh) H(asin) H(asinh) H(atan) H(atanh) H(cos) H(cosh) H(erf) H(exp) H(identity) H(log) H(neg) H(reciprocal) H(sigmoid) H(sin) \
    H(sinh) H(sqrt) H(tan) H(tanh)                                                                                                                   \
    H(add) H(sub) H(mul) H(div) H(pow) H(mod) H(extremum) H(mean) H(variadic_sum) H(where) H(cast)                                                   \
    H(relu) H(leaky_relu) H(prelu) H(elu) H(selu) H(celu) H(hard_sigmoid) H(hard_swish) H(softplus) H(softsign) H(mish) H(thresholded_relu)          \
    H(swish) H(swiglu) H(gelu) H(shrink) H(clip)                                                                                                     \
    H(reduce_sum) H(reduce_mean) H(reduce_l1) H(reduce_l2) H(reduce_sum_square) H(reduce_log_sum) H(reduce_log_sum_exp) H(reduce_extremum)           \
    H(reduce_prod) H(cumsum)                                                                                                                         \
    H(move) H(reshape) H(expand) H(transpose) H(tile) H(concat) H(split) H(slice) H(pad) H(gather) H(gather_elements) H(gather_nd) H(scatter)        \
    H(topk) H(self) H(blocks)                                                                                                                        \
    H(matmul) H(gemm) H(conv) H(conv_transpose) H(average_pool) H(max_pool) H(lp_pool) H(global_average_pool) H(global_max_pool) H(global_lp_pool)    \
    H(resize)                                                                                                                                        \
    H(softmax) H(log_softmax) H(layer_norm) H(rms_norm) H(batch_norm) H(lrn) H(fourier)                                                                         \
    H(max_unpool) H(col2im) H(affine_grid) H(det) H(grid_sample) H(roi_align) H(max_roi_pool)                                                                                \
    H(one_hot) H(range) H(tensor_scatter) H(unique) H(dequantize) H(repeat) H(deform_columns) H(linear_attention)                                     \
    H(seq_construct) H(seq_at) H(seq_insert) H(seq_erase) H(seq_concat) H(seq_split) H(seq_map) H(optional) H(optional_get)                            \
    H(loop) H(scan) H(if)
#define GRAD_HOOK(name) bool grad_##name(Grad *);
GRAD_HOOKS(GRAD_HOOK)
#undef GRAD_HOOK

#endif
