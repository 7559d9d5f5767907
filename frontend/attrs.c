/* attrs: AttributeProto into the fields of an op's struct, by its AttrSpec table. Unknown attributes, other types, doubles and missing required ones are errors of the
 * node; what opset 1 to 5 carried for executors of its time (consumed_inputs) means nothing and is passed over. */
#include "frontend/import.h"
#include "base/bug.h"
#include "ir/graph/attr.h"
#include <string.h>

/* The format's numbers of attribute types. */
typedef enum AttributeKind {
    AK_NONE = 0, AK_FLOAT = 1, AK_INT = 2, AK_STRING = 3, AK_TENSOR = 4, AK_GRAPH = 5, AK_FLOATS = 6, AK_INTS = 7, AK_STRINGS = 8, AK_TENSORS = 9, AK_GRAPHS = 10,
    AK_SPARSE = 11, AK_SPARSES = 12, AK_TYPE = 13, AK_TYPES = 14, AK_COUNT
} AttributeKind;
static const char *const kind_name[AK_COUNT] = {"nothing", "float", "int", "string", "tensor", "graph", "floats", "ints", "strings", "tensors", "graphs", "sparse tensor",
                                                "sparse tensors", "type", "types"};

/* Files from before the type was stored show it by the field that is filled. */
static AttributeKind kind_of(const Onnx__AttributeProto *a)
{
    if (a->type > AK_NONE && a->type < AK_COUNT) return (AttributeKind)a->type;
    if (a->type != AK_NONE) return AK_NONE;
    return a->t ? AK_TENSOR : a->g ? AK_GRAPH : a->s.len ? AK_STRING : a->n_floats ? AK_FLOATS : a->n_ints ? AK_INTS : a->n_strings ? AK_STRINGS
         : a->sparse_tensor ? AK_SPARSE : a->tp ? AK_TYPE : a->f != 0 ? AK_FLOAT : AK_INT;
}

static AttributeKind kind_wanted(AttrKind k)
{
    switch (k) {
    case ATTR_INT: case ATTR_TYPE: return AK_INT;
    case ATTR_FLOAT: return AK_FLOAT;
    case ATTR_STRING: return AK_STRING;
    case ATTR_INTS: case ATTR_DIMS: return AK_INTS;
    case ATTR_FLOATS: return AK_FLOATS;
    case ATTR_STRINGS: return AK_STRINGS;
    case ATTR_TENSOR: return AK_TENSOR;
    case ATTR_FULL_TYPE: return AK_TYPE;
    case ATTR_GRAPH: return AK_GRAPH;
    }
    UNREACHABLE();
}

const Onnx__AttributeProto *attr_resolve(const Scope *s, const Onnx__AttributeProto *a, const Scope **where)
{
    const Call *call = s->call;
    if (where) *where = s;
    if (!*a->ref_attr_name) return a;
    for (size_t k = 0; k < call->n_attr; k++) {
        if (strcmp(call->attr_name[k], a->ref_attr_name)) continue;
        if (where) *where = call->attr_scope[k];
        return call->attr[k];
    }
    return NULL;
}

/* ---- fields ---- */

static const char *text_of(Arena *a, ProtobufCBinaryData s) { return arena_strndup(a, s.data ? (const char *)s.data : "", s.len); }

/* Before opset 6 Cast named its type in letters, as the enumeration does: FLOAT, INT64, ... */
static int64_t type_by_name(const char *name)
{
    for (int t = 1; t < DT_COUNT; t++) {
        const char *n = dtype_info((DType)t)->onnx;
        size_t k = 0;
        for (; n[k] && name[k] && (n[k] | 0x20) == (name[k] | 0x20); k++) {}
        if (!n[k] && !name[k]) return t;
    }
    return DT_NONE;
}

static bool type_field(Import *im, const Onnx__AttributeProto *a, AttributeKind kind, DiagLoc loc, int64_t *to)
{
    if (kind == AK_STRING) *to = type_by_name(text_of(im->arena, a->s));
    else *to = a->i;
    if (*to > DT_NONE && *to < DT_COUNT) return true;
    const char *text = kind == AK_STRING ? text_of(im->arena, a->s) : arena_printf(im->arena, "%lld", (long long)a->i);
    return diag(im->m->diag, loc, E_OP_FORM, arena_printf(im->arena, "attribute '%s': element type %s is not known", a->name, text));
}

static bool field(Import *im, const Onnx__AttributeProto *a, AttributeKind kind, const AttrSpec *s, DiagLoc loc, void *attrs)
{
    Arena *arena = im->m->arena;
    void *to = (char *)attrs + s->offset;
    switch (s->kind) {
    case ATTR_INT: *(int64_t *)to = a->i; return true;
    case ATTR_TYPE: return type_field(im, a, kind, loc, to);
    case ATTR_FLOAT: *(double *)to = kind == AK_INT ? (double)a->i : (double)a->f; return true;
    case ATTR_STRING: *(const char **)to = text_of(arena, a->s); return true;
    case ATTR_INTS: *(AttrInts *)to = (AttrInts){arena_memdup(arena, a->ints, a->n_ints * sizeof(int64_t)), (uint32_t)a->n_ints}; return true;
    case ATTR_FLOATS: {
        double *f = arena_array(arena, double, a->n_floats);
        for (size_t k = 0; k < a->n_floats; k++) f[k] = (double)a->floats[k];
        *(AttrFloats *)to = (AttrFloats){f, (uint32_t)a->n_floats};
        return true;
    }
    case ATTR_STRINGS: {
        const char **t = arena_array(arena, const char *, a->n_strings);
        for (size_t k = 0; k < a->n_strings; k++) t[k] = text_of(arena, a->strings[k]);
        *(AttrStrings *)to = (AttrStrings){t, (uint32_t)a->n_strings};
        return true;
    }
    case ATTR_TENSOR: {
        AttrTensor *t = to;
        if (!a->t) return diag(im->m->diag, loc, E_ATTR_TYPE, a->name, "nothing", kind_name[AK_TENSOR]);
        return tensor_import(im->m, &im->file, a->t, loc, a->name, &t->blob, &t->type);
    }
    case ATTR_FULL_TYPE: {
        const char *why = NULL;
        if (type_import_value(im, a->tp, to, &why)) return true;
        return diag(im->m->diag, loc, E_OP_FORM, arena_printf(im->arena, "attribute '%s': %s", a->name, why));
    }
    case ATTR_GRAPH: return a->g || diag(im->m->diag, loc, E_ATTR_TYPE, a->name, "nothing", kind_name[AK_GRAPH]);
    case ATTR_DIMS: break;   /* of internal ops only */
    }
    UNREACHABLE();
}

/* ---- nodes ---- */

/* sparse_value=... stands for value=...: the dense form of the same tensor. */
static const AttrSpec *sparse_form(const OpDesc *d, const Onnx__AttributeProto *a, uint32_t *k)
{
    const AttrSpec *s = kind_of(a) == AK_SPARSE && a->sparse_tensor && !strncmp(a->name, "sparse_", 7) ? attr_find(d, a->name + 7, k) : NULL;
    return s && s->kind == ATTR_TENSOR ? s : NULL;
}

bool attr_is_sparse_form(const OpDesc *d, const Onnx__AttributeProto *a)
{
    uint32_t k;
    return sparse_form(d, a, &k) != NULL;
}

static bool one(Import *im, const Scope *s, const Onnx__AttributeProto *given, const OpDesc *d, DiagLoc loc, void *attrs, uint64_t *seen)
{
    Diag *to = im->m->diag;
    uint32_t k;
    const AttrSpec *spec = attr_find(d, given->name, &k);
    bool sparse = !spec && (spec = sparse_form(d, given, &k));
    if (spec && spec->internal) spec = NULL;
    if (!spec) return !strcmp(given->name, "consumed_inputs") || diag(to, loc, E_ATTR_UNKNOWN, d->name, given->name);
    if (*seen & UINT64_C(1) << k) return diag(to, loc, E_OP_FORM, arena_printf(im->arena, "attribute '%s' is given twice", given->name));
    *seen |= UINT64_C(1) << k;
    if (sparse) {
        AttrTensor *t = (AttrTensor *)(void *)((char *)attrs + spec->offset);
        *(uint64_t *)attrs |= UINT64_C(1) << k;
        return sparse_import(im->m, &im->file, given->sparse_tensor, loc, given->name, &t->blob, &t->type);
    }
    const Onnx__AttributeProto *a = attr_resolve(s, given, NULL);
    if (!a) {
        *seen &= ~(UINT64_C(1) << k);
        return true;   /* the caller left it out: the default holds */
    }
    AttributeKind kind = kind_of(a), want = kind_wanted(spec->kind);
    if (kind != want && !(spec->kind == ATTR_TYPE && kind == AK_STRING) && !(spec->whole && kind == AK_INT)) return diag(to, loc, E_ATTR_TYPE, given->name, kind_name[kind], kind_name[want]);
    if (!field(im, a, kind, spec, loc, attrs)) return false;
    if (spec->kind != ATTR_GRAPH) *(uint64_t *)attrs |= UINT64_C(1) << k;
    return true;
}

bool attrs_import(Import *im, const Scope *s, const Onnx__NodeProto *n, const OpDesc *d, DiagLoc loc, void **attrs)
{
    bool ok = true;
    uint64_t seen = 0, none = 0;
    *attrs = d->attrs_size ? attrs_new(im->m->arena, d) : NULL;
    for (size_t k = 0; k < n->n_attribute; k++) ok &= one(im, s, n->attribute[k], d, loc, *attrs ? *attrs : &none, &seen);
    uint64_t given = *attrs ? *(uint64_t *)*attrs : 0;
    for (uint32_t k = 0; d->attrs && d->attrs[k].name; k++) {
        bool there = d->attrs[k].kind == ATTR_GRAPH ? seen >> k & 1 : given >> k & 1;
        if ((d->attrs[k].required || (d->attrs[k].kind == ATTR_GRAPH && !d->attrs[k].identity)) && !there && ok) ok = diag(im->m->diag, loc, E_ATTR_MISSING, d->attrs[k].name);
    }
    return ok;
}

void attrs_tensor_names(Import *im, const Onnx__NodeProto *n, const OpDesc *d, NameVec *out)
{
    for (const AttrSpec *a = d->attrs; a && a->name; a++)
        for (size_t k = 0; a->names && k < n->n_attribute; k++) {
            const Onnx__AttributeProto *p = n->attribute[k];
            if (strcmp(p->name, a->name)) continue;
            for (size_t i = 0; a->kind == ATTR_STRINGS && i < p->n_strings; i++)
                vec_push(im->arena, out, name_of(&im->m->names, arena_strndup(im->arena, (const char *)p->strings[i].data, p->strings[i].len)));
            if (a->kind == ATTR_STRING) vec_push(im->arena, out, name_of(&im->m->names, arena_strndup(im->arena, (const char *)p->s.data, p->s.len)));
        }
}

uint32_t attrs_n_region(const OpDesc *d)
{
    uint32_t n = 0;
    for (const AttrSpec *s = d->attrs; s && s->name; s++) n += s->kind == ATTR_GRAPH;
    return n;
}

const Onnx__GraphProto *attrs_region(const Scope *scope, const Onnx__NodeProto *n, const OpDesc *d, uint32_t k, const char **name, const Scope **where)
{
    for (const AttrSpec *s = d->attrs; s && s->name; s++) {
        if (s->kind != ATTR_GRAPH || s->def_i != k) continue;
        *name = s->name;
        for (size_t i = 0; i < n->n_attribute; i++)
            if (!strcmp(n->attribute[i]->name, s->name)) {
                const Onnx__AttributeProto *a = attr_resolve(scope, n->attribute[i], where);
                return a ? a->g : NULL;
            }
    }
    return NULL;
}
