/* expansion.c: see expansion.h. */
#include "ir/ops/expansion.h"
#include "base/bug.h"
#include <string.h>

Value exp_nodes(Exp *e, OpCode op, const void *attrs, uint32_t n_in, const Value *in, uint32_t n_out, Value *out)
{
    for (uint32_t k = 0; k < n_out; k++) out[k] = VALUE_NONE;
    if (!e->ok) return VALUE_NONE;
    while (n_in && !in[n_in - 1].i) n_in--;
    Node n = graph_add(e->g, op, in, n_in, n_out, attrs, node_rec(e->g, e->n)->loc, e->n);
    e->ok = infer_node(e->g, n);
    for (uint32_t k = 0; k < n_out && e->ok; k++) out[k] = node_out(e->g, n, k);
    return e->ok ? node_out(e->g, n, 0) : VALUE_NONE;
}

Value exp_node(Exp *e, OpCode op, const void *attrs, uint32_t n_in, const Value *in)
{
    Value out;
    return exp_nodes(e, op, attrs, n_in, in, 1, &out);
}

void exp_result(Exp *e, uint32_t r, Value v)
{
    if (e->ok && v.i && r < node_n_out(e->g, e->n)) graph_replace_uses(e->g, node_out(e->g, e->n, r), v);
}

/* ---- attributes ---- */

static const AttrSpec *spec(OpCode op, const char *name, AttrKind kind, uint32_t *k)
{
    const AttrSpec *s = op_desc(op)->attrs;
    for (*k = 0; s && s[*k].name; ++*k)
        if (!strcmp(s[*k].name, name) && s[*k].kind == kind) return &s[*k];
    return NULL;
}

static size_t bytes_of(AttrKind kind)
{
    switch (kind) {
    case ATTR_INT:
    case ATTR_TYPE:
    case ATTR_FLOAT:
    case ATTR_STRING: return 8;
    default: return kind == ATTR_TENSOR ? sizeof(AttrTensor) : sizeof(AttrInts); /* all lists are alike */
    }
}

static void put(OpCode op, void *attrs, const char *name, AttrKind kind, const void *value)
{
    uint32_t k;
    const AttrSpec *s = spec(op, name, kind, &k);
    if (!s) BUG("%s has no attribute '%s' of that kind", op_desc(op)->name, name);
    memcpy((char *)attrs + s->offset, value, bytes_of(kind));
    *(uint64_t *)attrs |= (uint64_t)1 << k;
}

void *exp_attrs(Exp *e, OpCode op)
{
    const OpDesc *from = node_desc(e->g, e->n);
    const char *old = node_attrs(e->g, e->n);
    void *a = attrs_new(e->g->m->arena, op_desc(op));
    for (uint32_t k = 0, to; from->attrs && from->attrs[k].name; k++) {
        const AttrSpec *f = &from->attrs[k];
        if (attr_given(from, old, k) && f->kind != ATTR_GRAPH && spec(op, f->name, f->kind, &to))
            put(op, a, f->name, f->kind, old + f->offset);
    }
    return a;
}

void exp_attr_i(OpCode op, void *attrs, const char *name, int64_t v) { put(op, attrs, name, ATTR_INT, &v); }
void exp_attr_f(OpCode op, void *attrs, const char *name, double v) { put(op, attrs, name, ATTR_FLOAT, &v); }
void exp_attr_s(OpCode op, void *attrs, const char *name, const char *v) { put(op, attrs, name, ATTR_STRING, &v); }
void exp_attr_ints(Exp *e, OpCode op, void *attrs, const char *name, const int64_t *v, uint32_t n)
{
    AttrInts a = {arena_memdup(e->g->m->arena, v, n * sizeof *v), n};
    put(op, attrs, name, ATTR_INTS, &a);
}

/* ---- values ---- */

Value exp_cast(Exp *e, Value v, DType to)
{
    int64_t type = to;
    if (!e->ok || !v.i || exp_type(e, v)->elem == to) return v;
    void *a = attrs_new(e->g->m->arena, op_desc(OP_Cast));
    put(OP_Cast, a, "to", ATTR_TYPE, &type);
    return exp_node(e, OP_Cast, a, 1, &v);
}

static Value scalar_const(Exp *e, Blob b, DType t)
{
    return graph_const(e->g, b, type_tensor(&e->g->m->types, t, 0, NULL), (Name){0});
}
Value exp_f(Exp *e, DType t, double v) { return scalar_const(e, blob_splat_f(&e->g->m->blobs, t, 1, v), t); }
Value exp_i(Exp *e, DType t, int64_t v) { return scalar_const(e, blob_splat_i(&e->g->m->blobs, t, 1, v), t); }

static Value vector(Exp *e, DType t, const void *data, uint32_t n)
{
    Module *m = e->g->m;
    Dim d = dim_const(&m->dims, n);
    return graph_const(e->g, blob_inline(&m->blobs, t, n, data), type_tensor(&m->types, t, 1, &d), (Name){0});
}

Value exp_ints(Exp *e, const int64_t *v, uint32_t n) { return vector(e, DT_I64, v, n); }

Value exp_floats(Exp *e, const double *v, uint32_t n)
{
    float *f = arena_array(e->g->m->arena, float, n + 1);
    for (uint32_t k = 0; k < n; k++) f[k] = (float)v[k];
    return vector(e, DT_F32, f, n);
}

Value exp_strings(Exp *e, const char *const *v, uint32_t n)
{
    Module *m = e->g->m;
    size_t *len = arena_array(m->arena, size_t, n + 1);
    for (uint32_t k = 0; k < n; k++) len[k] = strlen(v[k]);
    Dim d = dim_const(&m->dims, n);
    return graph_const(e->g, blob_strings(&m->blobs, n, v, len), type_tensor(&m->types, DT_STR, 1, &d), (Name){0});
}

Value exp_reshape(Exp *e, Value v, const int64_t *dim, uint32_t rank)
{
    return exp_2(e, OP_Reshape, v, exp_ints(e, dim, rank));
}

Value exp_transpose(Exp *e, Value v, const int64_t *perm, uint32_t rank)
{
    void *a = attrs_new(e->g->m->arena, op_desc(OP_Transpose));
    exp_attr_ints(e, OP_Transpose, a, "perm", perm, rank);
    return exp_node(e, OP_Transpose, a, 1, &v);
}
