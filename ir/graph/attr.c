/* attr: making, comparing, hashing, printing and reading an op's attribute struct, all by its AttrSpec table. */
#include "ir/graph/attr.h"
#include "base/bug.h"
#include <string.h>

#define FIELD(T, attrs, s) ((T *)((char *)(attrs) + (s)->offset))
#define CFIELD(T, attrs, s) ((const T *)((const char *)(attrs) + (s)->offset))

static const AttrSpec no_attrs[] = {A_END};
static const AttrSpec *specs(const OpDesc *d) { return d->attrs ? d->attrs : no_attrs; }

/* The value that an attribute has unless given; list attributes and tensors are empty then. */
static double default_f(const AttrSpec *s) { return (double)(float)s->def_f; }

void *attrs_new(Arena *a, const OpDesc *d)
{
    void *p = arena_alloc(a, d->attrs_size);
    for (const AttrSpec *s = specs(d); s->name; s++) {
        if (s->kind == ATTR_INT || s->kind == ATTR_TYPE) *FIELD(int64_t, p, s) = s->def_i;
        if (s->kind == ATTR_FLOAT) *FIELD(double, p, s) = default_f(s);
        if (s->kind == ATTR_STRING) *FIELD(const char *, p, s) = s->def_s;
    }
    return p;
}

const AttrSpec *attr_find(const OpDesc *d, const char *name, uint32_t *k)
{
    *k = 0;
    for (const AttrSpec *s = specs(d); s->name; s++, (*k)++)
        if (!strcmp(s->name, name)) return s;
    return NULL;
}

static const void *node_field(const Graph *g, Node n, const char *name, AttrKind kind)
{
    const AttrSpec *a = attr_find(node_desc(g, n), name, &(uint32_t){0});
    if (!a || a->kind != kind) BUG("%s has no such attribute: %s", node_desc(g, n)->name, name);
    return (const char *)node_attrs(g, n) + a->offset;
}
int64_t node_int(const Graph *g, Node n, const char *name) { return *(const int64_t *)node_field(g, n, name, ATTR_INT); }
double node_float(const Graph *g, Node n, const char *name) { return *(const double *)node_field(g, n, name, ATTR_FLOAT); }

/* ---- compare and hash ---- */

static bool str_same(const char *a, const char *b) { return a == b || (a && b && !strcmp(a, b)); }

static bool field_equal(const AttrSpec *s, const void *a, const void *b)
{
    switch (s->kind) {
    case ATTR_INT:
    case ATTR_TYPE: return *CFIELD(int64_t, a, s) == *CFIELD(int64_t, b, s);
    case ATTR_FLOAT:
        return !memcmp(CFIELD(double, a, s), CFIELD(double, b, s), sizeof(double)); /* by bits: -0 and nan count */
    case ATTR_STRING: return str_same(*CFIELD(const char *, a, s), *CFIELD(const char *, b, s));
    case ATTR_INTS: {
        const AttrInts *x = CFIELD(AttrInts, a, s), *y = CFIELD(AttrInts, b, s);
        return x->n == y->n && (!x->n || !memcmp(x->p, y->p, x->n * sizeof *x->p));
    }
    case ATTR_FLOATS: {
        const AttrFloats *x = CFIELD(AttrFloats, a, s), *y = CFIELD(AttrFloats, b, s);
        return x->n == y->n && (!x->n || !memcmp(x->p, y->p, x->n * sizeof *x->p));
    }
    case ATTR_STRINGS: {
        const AttrStrings *x = CFIELD(AttrStrings, a, s), *y = CFIELD(AttrStrings, b, s);
        if (x->n != y->n) return false;
        for (uint32_t k = 0; k < x->n; k++)
            if (!str_same(x->p[k], y->p[k])) return false;
        return true;
    }
    case ATTR_TENSOR: {
        const AttrTensor *x = CFIELD(AttrTensor, a, s), *y = CFIELD(AttrTensor, b, s);
        return x->blob.i == y->blob.i && x->type.i == y->type.i;
    }
    case ATTR_DIMS: {
        const AttrDims *x = CFIELD(AttrDims, a, s), *y = CFIELD(AttrDims, b, s);
        return x->n == y->n && (!x->n || !memcmp(x->p, y->p, x->n * sizeof *x->p));
    }
    case ATTR_FULL_TYPE: return CFIELD(TypeId, a, s)->i == CFIELD(TypeId, b, s)->i;
    case ATTR_GRAPH: return true;
    }
    UNREACHABLE();
}

bool attrs_equal(const OpDesc *d, const void *a, const void *b)
{
    if (!a || !b) return a == b;
    if (*(const uint64_t *)a != *(const uint64_t *)b) return false;
    for (const AttrSpec *s = specs(d); s->name; s++)
        if (!field_equal(s, a, b)) return false;
    return true;
}

static uint64_t field_hash(const AttrSpec *s, const void *a)
{
    switch (s->kind) {
    case ATTR_INT:
    case ATTR_TYPE: return (uint64_t)*CFIELD(int64_t, a, s);
    case ATTR_FLOAT: return hash_bytes(CFIELD(double, a, s), sizeof(double), 1);
    case ATTR_STRING: {
        const char *t = *CFIELD(const char *, a, s);
        return t ? hash_bytes(t, strlen(t), 2) : 0;
    }
    case ATTR_INTS: return hash_bytes(CFIELD(AttrInts, a, s)->p, CFIELD(AttrInts, a, s)->n * sizeof(int64_t), 3);
    case ATTR_FLOATS: return hash_bytes(CFIELD(AttrFloats, a, s)->p, CFIELD(AttrFloats, a, s)->n * sizeof(double), 4);
    case ATTR_STRINGS: {
        const AttrStrings *x = CFIELD(AttrStrings, a, s);
        uint64_t h = x->n;
        for (uint32_t k = 0; k < x->n; k++) h = hash_mix(h, hash_bytes(x->p[k], strlen(x->p[k]), 5));
        return h;
    }
    case ATTR_TENSOR: return hash_mix(CFIELD(AttrTensor, a, s)->blob.i, CFIELD(AttrTensor, a, s)->type.i);
    case ATTR_DIMS: return hash_bytes(CFIELD(AttrDims, a, s)->p, CFIELD(AttrDims, a, s)->n * sizeof(Dim), 6);
    case ATTR_FULL_TYPE: return CFIELD(TypeId, a, s)->i;
    case ATTR_GRAPH: return 0;
    }
    UNREACHABLE();
}

uint64_t attrs_hash(const OpDesc *d, const void *a)
{
    if (!a) return 0;
    uint64_t h = *(const uint64_t *)a;
    for (const AttrSpec *s = specs(d); s->name; s++) h = hash_mix(h, field_hash(s, a));
    return h;
}

/* ---- print ---- */

static bool is_default(const AttrSpec *s, const void *a)
{
    switch (s->kind) {
    case ATTR_INT:
    case ATTR_TYPE: return *CFIELD(int64_t, a, s) == s->def_i;
    case ATTR_FLOAT: return *CFIELD(double, a, s) == default_f(s);
    case ATTR_STRING: return str_same(*CFIELD(const char *, a, s), s->def_s);
    case ATTR_INTS: return CFIELD(AttrInts, a, s)->n == 0;
    case ATTR_FLOATS: return CFIELD(AttrFloats, a, s)->n == 0;
    case ATTR_STRINGS: return CFIELD(AttrStrings, a, s)->n == 0;
    case ATTR_TENSOR: return CFIELD(AttrTensor, a, s)->blob.i == 0;
    case ATTR_DIMS: return CFIELD(AttrDims, a, s)->n == 0;
    case ATTR_FULL_TYPE: return CFIELD(TypeId, a, s)->i == 0;
    case ATTR_GRAPH: return true;
    }
    UNREACHABLE();
}

static void field_print(Str *o, const Module *m, const AttrSpec *s, const void *a)
{
    switch (s->kind) {
    case ATTR_INT: str_printf(o, "%lld", (long long)*CFIELD(int64_t, a, s)); break;
    case ATTR_TYPE: {
        int64_t t = *CFIELD(int64_t, a, s);
        if (t > DT_NONE && t < DT_COUNT) str_add(o, dtype_name((DType)t));
        else str_printf(o, "%lld", (long long)t);
        break;
    }
    case ATTR_FLOAT: str_double(o, *CFIELD(double, a, s), true); break;
    case ATTR_STRING: {
        const char *t = *CFIELD(const char *, a, s);
        str_quote(o, t ? t : "", t ? strlen(t) : 0);
        break;
    }
    case ATTR_TENSOR: {
        const AttrTensor *t = CFIELD(AttrTensor, a, s);
        type_print(o, &m->types, t->type);
        str_char(o, ' ');
        blob_print(o, &m->blobs, t->blob);
        break;
    }
    case ATTR_INTS:
    case ATTR_FLOATS:
    case ATTR_STRINGS:
    case ATTR_DIMS: {
        uint32_t n = CFIELD(AttrInts, a, s)->n;
        str_char(o, '[');
        for (uint32_t k = 0; k < n; k++) {
            if (k) str_char(o, ',');
            if (s->kind == ATTR_INTS) str_printf(o, "%lld", (long long)CFIELD(AttrInts, a, s)->p[k]);
            if (s->kind == ATTR_FLOATS) str_double(o, CFIELD(AttrFloats, a, s)->p[k], true);
            if (s->kind == ATTR_DIMS) dim_print(o, &m->dims, CFIELD(AttrDims, a, s)->p[k]);
            if (s->kind == ATTR_STRINGS)
                str_quote(o, CFIELD(AttrStrings, a, s)->p[k], strlen(CFIELD(AttrStrings, a, s)->p[k]));
        }
        str_char(o, ']');
        break;
    }
    case ATTR_FULL_TYPE: type_print(o, &m->types, *CFIELD(TypeId, a, s)); break;
    case ATTR_GRAPH: break;
    }
}

/* One shape for the count of all list attributes. */
_Static_assert(offsetof(AttrInts, n) == offsetof(AttrFloats, n) && offsetof(AttrInts, n) == offsetof(AttrStrings, n) &&
                   offsetof(AttrInts, n) == offsetof(AttrDims, n),
               "field_print reads n through AttrInts");

void attrs_print(Str *o, const Module *m, const OpDesc *d, const void *a)
{
    const char *before = " {";
    if (!a) return;
    uint32_t k = 0;
    for (const AttrSpec *s = specs(d); s->name; s++, k++) {
        bool told = attr_given(d, a, k) && (s->required || !(d->flags & OPF_DEFAULTS));
        if (s->kind == ATTR_GRAPH || (!told && is_default(s, a))) continue;
        str_printf(o, "%s%s=", before, s->name);
        if (s->kind == ATTR_TENSOR && !CFIELD(AttrTensor, a, s)->blob.i) str_char(o, '_');
        else field_print(o, m, s, a);
        before = ", ";
    }
    if (before[0] == ',') str_char(o, '}');
}

/* ---- read ---- */

static bool list_parse(Lex *x, Module *m, const AttrSpec *s, void *a)
{
    VEC(int64_t) ints = {0};
    VEC(double) floats = {0};
    VEC(const char *) strings = {0};
    VEC(Dim) dims = {0};
    if (!lex_expect(x, '[')) return false;
    while (!lex_is(x, ']')) {
        int64_t i = 0;
        double f = 0;
        const char *t = NULL;
        size_t n;
        Dim dim = DIM_NONE;
        bool ok = s->kind == ATTR_INTS     ? lex_int(x, &i)
                  : s->kind == ATTR_FLOATS ? lex_number(x, &f)
                  : s->kind == ATTR_DIMS   ? lex_dim(x, &m->dims, false, &dim)
                                           : lex_string(x, &t, &n);
        if (!ok) return false;
        if (s->kind == ATTR_INTS) vec_push(m->arena, &ints, i);
        if (s->kind == ATTR_FLOATS) vec_push(m->arena, &floats, (double)(float)f);
        if (s->kind == ATTR_DIMS) vec_push(m->arena, &dims, dim);
        if (s->kind == ATTR_STRINGS) vec_push(m->arena, &strings, t);
        if (!lex_accept(x, ',')) break;
    }
    if (!lex_expect(x, ']')) return false;
    if (s->kind == ATTR_INTS) *FIELD(AttrInts, a, s) = (AttrInts){ints.p, ints.n};
    if (s->kind == ATTR_FLOATS) *FIELD(AttrFloats, a, s) = (AttrFloats){floats.p, floats.n};
    if (s->kind == ATTR_DIMS) *FIELD(AttrDims, a, s) = (AttrDims){dims.p, dims.n};
    if (s->kind == ATTR_STRINGS) *FIELD(AttrStrings, a, s) = (AttrStrings){strings.p, strings.n};
    return true;
}

static bool tensor_parse(Lex *x, Module *m, AttrTensor *t)
{
    if (lex_accept_ident(x, "_")) return true;
    if (!lex_type(x, &m->types, false, &t->type)) return false;
    const TypeRec *r = type_rec(&m->types, t->type);
    int64_t count;
    if (r->kind != TY_TENSOR || r->rank == RANK_UNKNOWN ||
        !dim_is_const(&m->dims, type_count(&m->types, t->type), &count))
        return lex_error(x, "a constant needs a tensor type with constant dims");
    return lex_blob(x, &m->blobs, r->elem, count, &t->blob);
}

static bool type_parse(Lex *x, int64_t *to)
{
    const char *name;
    if (x->tok.kind == TK_INT) return lex_int(x, to);
    if (!lex_name(x, TK_IDENT, &name)) return false;
    *to = dtype_parse(name);
    return *to != DT_NONE || lex_error(x, "unknown element type '%s'", name);
}

static bool field_parse(Lex *x, Module *m, const AttrSpec *s, void *a)
{
    size_t n;
    switch (s->kind) {
    case ATTR_INT: return lex_int(x, FIELD(int64_t, a, s));
    case ATTR_TYPE: return type_parse(x, FIELD(int64_t, a, s));
    case ATTR_FLOAT: {
        double *f = FIELD(double, a, s);
        if (!lex_number(x, f)) return false;
        *f = (double)(float)*f;
        return true;
    }
    case ATTR_STRING: return lex_string(x, FIELD(const char *, a, s), &n);
    case ATTR_TENSOR: return tensor_parse(x, m, FIELD(AttrTensor, a, s));
    case ATTR_INTS:
    case ATTR_FLOATS:
    case ATTR_STRINGS:
    case ATTR_DIMS: return list_parse(x, m, s, a);
    case ATTR_FULL_TYPE: return lex_type(x, &m->types, true, FIELD(TypeId, a, s));
    case ATTR_GRAPH: return lex_error(x, "'%s' is a region: its graph follows the node", s->name);
    }
    UNREACHABLE();
}

bool attrs_parse(Lex *x, Module *m, const OpDesc *d, void *a)
{
    while (!lex_is(x, '}')) {
        const char *name;
        uint32_t k;
        Tok at = x->tok;
        if (!lex_name(x, TK_IDENT, &name)) return false;
        const AttrSpec *s = attr_find(d, name, &k);
        if (!s) return lex_error_at(x, &at, "%s has no attribute '%s'", d->name, name);
        if (attr_given(d, a, k)) return lex_error_at(x, &at, "attribute '%s' is given twice", name);
        if (!lex_expect(x, '=') || !field_parse(x, m, s, a)) return false;
        *(uint64_t *)a |= UINT64_C(1) << k;
        if (!lex_accept(x, ',')) break;
    }
    return lex_expect(x, '}');
}
