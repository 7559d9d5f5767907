/* eval.h: the reference runner of the Graph IR: naive, per op, independent of lowering. Tensors are dense row-major in host memory, in the arena.
 * Used by constant folding (small results), `bmc verify` and tests. */
#ifndef BMC_IR_GRAPH_EVAL_H
#define BMC_IR_GRAPH_EVAL_H
#include "ir/graph/op.h"
#include "runtime/bmc.h"

typedef struct Tensor Tensor;
struct Tensor {
    TypeKind kind; DType elem; int rank; int64_t dim[RANK_MAX]; int64_t count;
    void *data;                       /* count elements (bmc_string for DT_STR) */
    Tensor **item; int64_t n_item;    /* SEQ; OPT: 0 or 1 */
};

struct Eval { Arena *arena; Graph *g; Node n; Tensor **in; uint32_t n_in; Tensor **out; uint32_t n_out; const char *why; };

/* Runs the graph on tensors; *why says what went wrong. */
bool eval_graph(Arena *, Graph *, Tensor *const *in, Tensor **out, const char **why);
bool eval_node(Arena *, Graph *, Node, Tensor **in, Tensor **out, const char **why);

Tensor *tensor_new(Arena *, DType, int rank, const int64_t *dim);      /* zeroed; NULL: too large */
Tensor *tensor_from_blob(Arena *, Module *, Blob, TypeId);
Tensor *ev_out(Eval *, uint32_t r, DType, int rank, const int64_t *dim);   /* allocates result r; NULL: failed with e->why */
bool ev_fail(Eval *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Elements as double or int64; set rounds to the element type (ints wrap, floats round to nearest even). f16/bf16 are converted. */
double ev_f(const Tensor *, int64_t k);
int64_t ev_i(const Tensor *, int64_t k);
void ev_set_f(Tensor *, int64_t k, double);
void ev_set_i(Tensor *, int64_t k, int64_t);
void ev_copy(Tensor *to, int64_t k, const Tensor *from, int64_t j);    /* one element of the same type, strings too */
int64_t ev_broadcast_index(const Tensor *in, const Tensor *out, int64_t k);  /* flat index into `in` for flat output index k, numpy rules */
bool ev_broadcast_dims(Eval *, const uint32_t *operands, uint32_t n, int64_t *dim, int *rank);
/* Element-wise helpers: result 0 over broadcast operands; fi NULL when the op has no integer form. */
bool ev_map1(Eval *, double (*f)(double), int64_t (*fi)(int64_t));
bool ev_map2(Eval *, DType out, double (*f)(double, double), int64_t (*fi)(int64_t, int64_t));
static inline bool ev_has(const Eval *e, uint32_t k) { return k < e->n_in && e->in[k] != NULL; }

#endif
