/* compose.c: see compose.h. */
#include "ir/ops/compose.h"
#include "base/bug.h"
#include "ir/graph/attr.h"
#include <string.h>

Ex ex_begin(Graph *g, Node n) { return (Ex){.g = g, .n = n, .loc = node_rec(g, n)->loc}; }

void ex_result(Ex *x, uint32_t r, Value v)
{
    if (!x->failed && v.i && r < node_n_out(x->g, x->n)) graph_replace_uses(x->g, node_out(x->g, x->n, r), v);
}

bool ex_end(Ex *x, const Value *out, uint32_t n)
{
    for (uint32_t k = 0; k < n; k++) ex_result(x, k, out[k]);
    return !x->failed;
}

/* ---- attributes ---- */

static const AttrSpec *spec(OpCode op, const char *name, AttrKind kind, uint32_t *k)
{
    const AttrSpec *s = attr_find(op_desc(op), name, k);
    bool same = s && (s->kind == kind || (kind == ATTR_INT && s->kind == ATTR_TYPE));
    return same ? s : NULL;
}

static size_t bytes_of(AttrKind kind)
{
    switch (kind) {
    case ATTR_INT:
    case ATTR_TYPE:
    case ATTR_FLOAT:
    case ATTR_STRING: return 8;
    case ATTR_FULL_TYPE: return sizeof(TypeId);
    default: return kind == ATTR_TENSOR ? sizeof(AttrTensor) : sizeof(AttrInts); /* all lists are alike */
    }
}

static void *put(Ex *x, OpCode op, void *attrs, const char *name, AttrKind kind, const void *value)
{
    uint32_t k;
    const AttrSpec *s = spec(op, name, kind, &k);
    if (!s) BUG("%s has no attribute '%s' of that kind", op_desc(op)->name, name);
    if (!attrs) attrs = attrs_new(x->g->m->arena, op_desc(op));
    memcpy((char *)attrs + s->offset, value, bytes_of(kind));
    *(uint64_t *)attrs |= (uint64_t)1 << k;
    return attrs;
}

void *ex_set(Ex *x, OpCode op, void *attrs, const char *name, int64_t v) { return put(x, op, attrs, name, ATTR_INT, &v); }
void *ex_set_f(Ex *x, OpCode op, void *attrs, const char *name, double v) { return put(x, op, attrs, name, ATTR_FLOAT, &v); }
void *ex_set_s(Ex *x, OpCode op, void *attrs, const char *name, const char *v) { return put(x, op, attrs, name, ATTR_STRING, &v); }
void *ex_set_ints(Ex *x, OpCode op, void *attrs, const char *name, const int64_t *v, uint32_t n)
{
    AttrInts a = {arena_memdup(x->g->m->arena, v, sizeof *v * n), n};
    return put(x, op, attrs, name, ATTR_INTS, &a);
}

void *ex_inherit(Ex *x, OpCode op)
{
    const OpDesc *from = node_desc(x->g, x->n);
    const char *old = node_attrs(x->g, x->n);
    void *attrs = attrs_new(x->g->m->arena, op_desc(op));
    for (uint32_t k = 0, to; from->attrs && from->attrs[k].name; k++) {
        const AttrSpec *f = &from->attrs[k];
        if (attr_given(from, old, k) && f->kind != ATTR_GRAPH && spec(op, f->name, f->kind, &to))
            put(x, op, attrs, f->name, f->kind, old + f->offset);
    }
    return attrs;
}

/* ---- nodes ---- */

Node ex_node(Ex *x, OpCode op, const Value *in, uint32_t n_in, uint32_t n_out, const void *attrs)
{
    if (x->failed) return NODE_NONE;
    while (n_in && !in[n_in - 1].i) n_in--;
    Node n = graph_add(x->g, op, in, n_in, n_out, attrs, x->loc, x->n);
    x->failed = !infer_node(x->g, n);
    return n;
}

bool ex_ops(Ex *x, OpCode op, const Value *in, uint32_t n_in, const void *attrs, Value *out, uint32_t n_out)
{
    Node n = ex_node(x, op, in, n_in, n_out, attrs);
    for (uint32_t k = 0; k < n_out; k++) out[k] = x->failed ? VALUE_NONE : node_out(x->g, n, k);
    return !x->failed;
}

Value ex_op(Ex *x, OpCode op, const Value *in, uint32_t n_in, const void *attrs)
{
    Node n = ex_node(x, op, in, n_in, 1, attrs);
    return n.i ? node_out(x->g, n, 0) : VALUE_NONE;
}

/* ---- constants ---- */

static Value scalar(Ex *x, Blob b, DType t) { return graph_const(x->g, b, type_tensor(&x->g->m->types, t, 0, NULL), (Name){0}); }

Value ex_f(Ex *x, DType t, double v)
{
    if (x->failed) return VALUE_NONE; /* the type may be that of a value that there is not */
    Blobs *blobs = &x->g->m->blobs;
    return scalar(x, dtype_is_float(t) ? blob_splat_f(blobs, t, 1, v) : blob_splat_i(blobs, t, 1, (int64_t)v), t);
}
Value ex_i(Ex *x, DType t, int64_t v)
{
    if (x->failed) return VALUE_NONE;
    Blobs *blobs = &x->g->m->blobs;
    return scalar(x, dtype_is_float(t) ? blob_splat_f(blobs, t, 1, (double)v) : blob_splat_i(blobs, t, 1, v), t);
}

static Value vector(Ex *x, Blob b, DType t, uint32_t n)
{
    Dim d = dim_const(&x->g->m->dims, n);
    return graph_const(x->g, b, type_tensor(&x->g->m->types, t, 1, &d), (Name){0});
}

Value ex_ints(Ex *x, const int64_t *v, uint32_t n) { return vector(x, blob_inline(&x->g->m->blobs, DT_I64, n, v), DT_I64, n); }

Value ex_floats(Ex *x, const double *v, uint32_t n)
{
    float *f = arena_array(x->g->m->arena, float, n + 1);
    for (uint32_t k = 0; k < n; k++) f[k] = (float)v[k];
    return vector(x, blob_inline(&x->g->m->blobs, DT_F32, n, f), DT_F32, n);
}

Value ex_strings(Ex *x, const char *const *v, uint32_t n)
{
    size_t *len = arena_array(x->g->m->arena, size_t, n + 1);
    for (uint32_t k = 0; k < n; k++) len[k] = strlen(v[k]);
    return vector(x, blob_strings(&x->g->m->blobs, n, v, len), DT_STR, n);
}

/* ---- usual steps ---- */

Value ex_cast(Ex *x, Value v, DType to)
{
    if (x->failed || !v.i || ex_type(x, v)->elem == to) return v;
    return ex_op(x, OP_Cast, &v, 1, ex_set(x, OP_Cast, NULL, "to", to));
}

Value ex_scalar(Ex *x, Value v, DType to)
{
    v = ex_cast(x, v, to);
    return !x->failed && ex_rank(x, v) ? ex2(x, OP_Squeeze, v, ex_int1(x, 0)) : v;
}

Value ex_reshape(Ex *x, Value v, const int64_t *dim, uint32_t rank) { return ex2(x, OP_Reshape, v, ex_ints(x, dim, rank)); }

Value ex_transpose(Ex *x, Value v, const int64_t *perm, uint32_t n)
{
    return ex_op(x, OP_Transpose, &v, 1, ex_set_ints(x, OP_Transpose, NULL, "perm", perm, n));
}

Value ex_reduce(Ex *x, OpCode op, Value v, const int64_t *axes, uint32_t n, bool keep)
{
    return ex_op(x, op, (Value[]){v, ex_ints(x, axes, n)}, 2, ex_set(x, op, NULL, "keepdims", keep));
}

Value ex_reduce_all(Ex *x, OpCode op, Value v) { return ex_op(x, op, &v, 1, ex_set(x, op, NULL, "keepdims", 0)); }

Value ex_axis(Ex *x, OpCode op, const Value *in, uint32_t n, int64_t axis) { return ex_op(x, op, in, n, ex_set(x, op, NULL, "axis", axis)); }

Value ex_shape_part(Ex *x, Value v, int64_t from, int64_t to)
{
    return ex_op(x, OP_Shape, &v, 1, ex_set(x, OP_Shape, ex_set(x, OP_Shape, NULL, "start", from), "end", to));
}

Value ex_dims(Ex *x, const Dim *dim, int rank)
{
    AttrDims a = {arena_memdup(x->g->m->arena, dim, sizeof *dim * (size_t)rank), (uint32_t)rank};
    return ex_op(x, OP_Dims, NULL, 0, put(x, OP_Dims, NULL, "value", ATTR_DIMS, &a));
}

Value ex_shaped(Ex *x, Value v, const Dim *dim, int rank)
{
    return ex_op(x, OP_Reshape, (Value[]){v, ex_dims(x, dim, rank)}, 2, ex_set(x, OP_Reshape, NULL, "allowzero", 1));
}

/* ---- regions ---- */

/* What inference found out about a graph as it stood. */
static void forget(Graph *g)
{
    graph_drop_checks(g);
    for (Node n = graph_first(g); n.i; n = node_next(g, n)) {
        for (uint32_t r = 0; r < node_n_out(g, n); r++) {
            value_rec(g, node_out(g, n, r))->type = (TypeId){0};
            value_rec(g, node_out(g, n, r))->content = NULL;
        }
        for (uint32_t k = 0; k < node_rec(g, n)->n_region; k++) forget(node_rec(g, n)->region[k]);
    }
}

bool ex_inline(Ex *x, Graph *region, const Value *in, Value *out, bool typed)
{
    Graph *g = x->g;
    if (x->failed) return false;
    Value *map = arena_array(g->m->arena, Value, region->value.n + 1);
    uint32_t before = g->node.n;
    for (uint32_t k = 0; k < region->in.n; k++) map[region->in.p[k].i] = in[k];
    forget(region);
    graph_inline(g, x->n, region, map);
    for (uint32_t i = before; i < g->node.n && typed && !x->failed; i++) x->failed = !infer_node(g, (Node){i});
    for (uint32_t k = 0; k < region->out.n; k++) out[k] = map[region->out.p[k].i];
    return !x->failed;
}
