/* compose.h: what `expand` hooks write operators with: new nodes before the node that goes, typed at once, so that later steps may ask for shapes.
 *   Ex x = ex_begin(g, n);
 *   Value y = ex2(&x, OP_Mul, node_in(g, n, 0), ex_f(&x, DT_F32, 0.5));
 *   return ex_end(&x, &y, 1);
 * A step that cannot be typed leaves a diagnostic and gives no value; later steps then do nothing and ex_end answers false. */
#ifndef BMC_IR_OPS_COMPOSE_H
#define BMC_IR_OPS_COMPOSE_H
#include "base/bug.h"
#include "ir/graph/attr.h"
#include "ir/graph/infer.h"
#include <string.h>

typedef struct Ex { Graph *g; Node n; Loc loc; bool failed; } Ex;

static inline Ex ex_begin(Graph *g, Node n) { return (Ex){.g = g, .n = n, .loc = node_rec(g, n)->loc}; }

/* Attributes of an op with one integer set; more by ex_set. */
static inline void *ex_set(Ex *x, OpCode op, void *attrs, const char *name, int64_t v)
{
    uint32_t k;
    const AttrSpec *s = attr_find(op_desc(op), name, &k);
    if (!s || (s->kind != ATTR_INT && s->kind != ATTR_TYPE)) BUG("%s has no integer attribute '%s'", op_desc(op)->name, name);
    if (!attrs) attrs = attrs_new(x->g->m->arena, op_desc(op));
    memcpy((char *)attrs + s->offset, &v, sizeof v);
    *(uint64_t *)attrs |= (uint64_t)1 << k;
    return attrs;
}
static inline void *ex_set_f(Ex *x, OpCode op, void *attrs, const char *name, double v)
{
    uint32_t k;
    const AttrSpec *s = attr_find(op_desc(op), name, &k);
    if (!s || s->kind != ATTR_FLOAT) BUG("%s has no float attribute '%s'", op_desc(op)->name, name);
    if (!attrs) attrs = attrs_new(x->g->m->arena, op_desc(op));
    memcpy((char *)attrs + s->offset, &v, sizeof v);
    *(uint64_t *)attrs |= (uint64_t)1 << k;
    return attrs;
}
static inline void *ex_set_ints(Ex *x, OpCode op, void *attrs, const char *name, const int64_t *v, uint32_t n)
{
    uint32_t k;
    const AttrSpec *s = attr_find(op_desc(op), name, &k);
    if (!s || s->kind != ATTR_INTS) BUG("%s has no integers '%s'", op_desc(op)->name, name);
    if (!attrs) attrs = attrs_new(x->g->m->arena, op_desc(op));
    AttrInts a = {arena_memdup(x->g->m->arena, v, sizeof *v * n), n};
    memcpy((char *)attrs + s->offset, &a, sizeof a);
    *(uint64_t *)attrs |= (uint64_t)1 << k;
    return attrs;
}

static inline Node ex_node(Ex *x, OpCode op, const Value *in, uint32_t n_in, uint32_t n_out, const void *attrs)
{
    if (x->failed) return NODE_NONE;
    Node n = graph_add(x->g, op, in, n_in, n_out, attrs, x->loc, x->n);
    x->failed = !infer_node(x->g, n);
    return n;
}
static inline Value ex_op(Ex *x, OpCode op, const Value *in, uint32_t n_in, const void *attrs)
{
    Node n = ex_node(x, op, in, n_in, 1, attrs);
    return n.i ? node_out(x->g, n, 0) : VALUE_NONE;
}
static inline Value ex1(Ex *x, OpCode op, Value a) { return ex_op(x, op, &a, 1, NULL); }
static inline Value ex2(Ex *x, OpCode op, Value a, Value b) { return ex_op(x, op, (Value[]){a, b}, 2, NULL); }
static inline Value ex3(Ex *x, OpCode op, Value a, Value b, Value c) { return ex_op(x, op, (Value[]){a, b, c}, 3, NULL); }

/* Constants: scalars of any number type, a vector of int64. */
static inline Value ex_f(Ex *x, DType t, double v)
{
    Module *m = x->g->m;
    Blob b = dtype_is_float(t) ? blob_splat_f(&m->blobs, t, 1, v) : blob_splat_i(&m->blobs, t, 1, (int64_t)v);
    return graph_const(x->g, b, type_tensor(&m->types, t, 0, NULL), (Name){0});
}
static inline Value ex_i(Ex *x, DType t, int64_t v)
{
    Module *m = x->g->m;
    Blob b = dtype_is_float(t) ? blob_splat_f(&m->blobs, t, 1, (double)v) : blob_splat_i(&m->blobs, t, 1, v);
    return graph_const(x->g, b, type_tensor(&m->types, t, 0, NULL), (Name){0});
}
static inline Value ex_ints(Ex *x, const int64_t *v, uint32_t n)
{
    Module *m = x->g->m;
    Dim d = dim_const(&m->dims, n);
    return graph_const(x->g, blob_inline(&m->blobs, DT_I64, n, v), type_tensor(&m->types, DT_I64, 1, &d), (Name){0});
}
static inline Value ex_int1(Ex *x, int64_t v) { return ex_ints(x, &v, 1); }

static inline const TypeRec *ex_type(Ex *x, Value v) { return value_trec(x->g, v); }
static inline Value ex_cast(Ex *x, Value v, DType to)
{
    if (x->failed || ex_type(x, v)->elem == to) return v;
    return ex_op(x, OP_Cast, &v, 1, ex_set(x, OP_Cast, NULL, "to", to));
}
static inline Value ex_transpose(Ex *x, Value v, const int64_t *perm, uint32_t n)
{
    return ex_op(x, OP_Transpose, &v, 1, ex_set_ints(x, OP_Transpose, NULL, "perm", perm, n));
}
/* Reduction over constant axes. */
static inline Value ex_reduce(Ex *x, OpCode op, Value v, const int64_t *axes, uint32_t n, bool keep)
{
    return ex_op(x, op, (Value[]){v, ex_ints(x, axes, n)}, 2, ex_set(x, op, NULL, "keepdims", keep));
}
/* Over everything, to a scalar. */
static inline Value ex_reduce_all(Ex *x, OpCode op, Value v) { return ex_op(x, op, &v, 1, ex_set(x, op, NULL, "keepdims", 0)); }
static inline Value ex_axis(Ex *x, OpCode op, const Value *in, uint32_t n, int64_t axis) { return ex_op(x, op, in, n, ex_set(x, op, NULL, "axis", axis)); }
/* A shape as a vector: known parts are constants. */
static inline Value ex_shape_part(Ex *x, Value v, int64_t from, int64_t to)
{
    return ex_op(x, OP_Shape, &v, 1, ex_set(x, OP_Shape, ex_set(x, OP_Shape, NULL, "start", from), "end", to));
}

/* The same elements under other extents, which may be symbolic. */
static inline Value ex_shaped(Ex *x, Value v, const Dim *dim, int rank)
{
    uint32_t k;
    void *attrs = attrs_new(x->g->m->arena, op_desc(OP_Dims));
    const AttrSpec *s = attr_find(op_desc(OP_Dims), "value", &k);
    AttrDims a = {arena_memdup(x->g->m->arena, dim, sizeof *dim * (size_t)rank), (uint32_t)rank};
    memcpy((char *)attrs + s->offset, &a, sizeof a);
    *(uint64_t *)attrs |= (uint64_t)1 << k;
    Value to = ex_op(x, OP_Dims, NULL, 0, attrs);
    return ex_op(x, OP_Reshape, (Value[]){v, to}, 2, ex_set(x, OP_Reshape, NULL, "allowzero", 1));
}

/* The node's results become these; false: a step failed. */
static inline bool ex_end(Ex *x, const Value *out, uint32_t n)
{
    if (x->failed) return false;
    for (uint32_t k = 0; k < n && k < node_n_out(x->g, x->n); k++) graph_replace_uses(x->g, node_out(x->g, x->n, k), out[k]);
    return true;
}

#endif
