/* types: TypeProto to types, and what the command line says about dims (design D4).
 *   dim_value > 0                     a constant
 *   dim_param that is an identifier   one entry symbol per name, bound from the first place where it occurs; further places are checked by `run`
 *   ?, empty, -1, 0, unset, others    a fresh entry symbol per place
 * --dim NAME=k makes a name a constant, --dim NAME=lo..hi%m bounds its symbol; --shape does the same by input and axis. */
#include "frontend/import.h"
#include <ctype.h>
#include <string.h>

static bool is_identifier(const char *s)
{
    if (!isalpha((unsigned char)*s) && *s != '_') return false;
    for (; *s; s++)
        if (!isalnum((unsigned char)*s) && *s != '_' && !(*s == '.' && (isalnum((unsigned char)s[1]) || s[1] == '_'))) return false;
    return true;
}

static const char *param_of(const Onnx__TensorShapeProto__Dimension *d)
{
    return d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_PARAM && is_identifier(d->dim_param) ? d->dim_param : NULL;
}

static int64_t value_of(const Onnx__TensorShapeProto__Dimension *d)
{
    return d->value_case == ONNX__TENSOR_SHAPE_PROTO__DIMENSION__VALUE_DIM_VALUE && d->dim_value > 0 ? d->dim_value : -1;
}

/* ---- the command line ---- */

static bool option_fail(Import *im, const char *text) { return diag(im->m->diag, diag_file(im->m->source), E_OPTION, text); }

static const ShapeOption *shape_option(const Import *im, const char *input)
{
    for (uint32_t k = 0; k < im->opt->n_shape; k++)
        if (!strcmp(im->opt->shape[k].input, input)) return &im->opt->shape[k];
    return NULL;
}

static const DimOption *dim_option(const Import *im, const char *name)
{
    for (uint32_t k = 0; k < im->opt->n_dim; k++)
        if (!strcmp(im->opt->dim[k].name, name)) return &im->opt->dim[k];
    return NULL;
}

static const Onnx__TensorShapeProto *shape_of(const Onnx__ValueInfoProto *v)
{
    return v->type && v->type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE ? v->type->tensor_type->shape : NULL;
}

static bool fix_names(Import *im, const ShapeOption *o, const Onnx__TensorShapeProto *shape)
{
    Arena *a = im->arena;
    if (shape->n_dim != (size_t)o->rank) return option_fail(im, arena_printf(a, "--shape %s: has %d dims, the model's input %zu", o->input, o->rank, shape->n_dim));
    for (int k = 0; k < o->rank; k++) {
        const char *param = param_of(shape->dim[k]);
        uint64_t old, size = (uint64_t)o->dim[k];
        int64_t fixed = value_of(shape->dim[k]);
        if (o->dim[k] < 0) continue;
        if (fixed > 0 && fixed != o->dim[k])
            return option_fail(im, arena_printf(a, "--shape %s: axis %d is %lld in the model", o->input, k, (long long)fixed));
        if (!param) continue;
        Name name = name_of(&im->m->names, param);
        const DimOption *d = dim_option(im, param);
        if ((map_get(&im->fixed, name.i, &old) && old != size) || (d && (o->dim[k] < d->lo || o->dim[k] > d->hi)))
            return option_fail(im, arena_printf(a, "--shape %s: axis %d is '%s', which another option gives another size", o->input, k, param));
        map_put(&im->fixed, name.i, size);
    }
    return true;
}

bool dim_options_prepare(Import *im, const Onnx__GraphProto *g)
{
    bool ok = true;
    map_init(&im->fixed, im->arena);
    map_init(&im->dim_of, im->arena);
    for (uint32_t k = 0; k < im->opt->n_dim; k++) {
        const DimOption *d = &im->opt->dim[k];
        if (d->lo < 0 || d->hi < d->lo || d->multiple < 0)
            ok = diag(im->m->diag, diag_file(im->m->source), E_DIM_OPTION, d->name, "a size, or lo..hi with 0 <= lo <= hi, is expected");
    }
    for (uint32_t k = 0; k < im->opt->n_shape; k++) {
        const ShapeOption *o = &im->opt->shape[k];
        const Onnx__ValueInfoProto *v = NULL;
        for (size_t i = 0; i < g->n_input && !v; i++)
            if (!strcmp(g->input[i]->name, o->input)) v = g->input[i];
        if (!v) ok = option_fail(im, arena_printf(im->arena, "--shape %s: the model has no such input", o->input));
        else if (o->rank < 0 || o->rank > RANK_MAX) ok = option_fail(im, arena_printf(im->arena, "--shape %s: at most %d dims", o->input, RANK_MAX));
        else if (v->type && v->type->value_case == ONNX__TYPE_PROTO__VALUE_MAP_TYPE)
            ok = option_fail(im, arena_printf(im->arena, "--shape %s: the input is a map", o->input));
        else if (shape_of(v)) ok &= fix_names(im, o, shape_of(v));
    }
    return ok;
}

bool dim_options_done(Import *im)
{
    bool ok = true;
    for (uint32_t k = 0; k < im->opt->n_dim; k++) {
        const char *name = im->opt->dim[k].name;
        uint64_t seen;
        if (!map_get(&im->dim_of, name_of(&im->m->names, name).i, &seen))
            ok = diag(im->m->diag, diag_file(im->m->source), E_DIM_OPTION, name, "no input has a dimension of that name");
    }
    return ok;
}

/* ---- dims of entry inputs ---- */

static Dim entry_symbol(Import *im, Name name, const DimOption *o, int32_t input, int32_t axis)
{
    Dims *d = &im->m->dims;
    Sym s = sym_new(d, name, SYM_ENTRY, o ? o->lo : 0, o ? o->hi : INT64_MAX);
    SymRec *r = &d->sym.p[s.i];
    r->input = input;
    r->axis = axis;
    if (o && o->multiple > 1) r->multiple = o->multiple;
    return dim_sym(d, s);
}

static Dim named_dim(Import *im, const char *param, int32_t input, int32_t axis)
{
    Name name = name_of(&im->m->names, param);
    const DimOption *o = dim_option(im, param);
    uint64_t v;
    Dim dim;
    if (map_get(&im->dim_of, name.i, &v)) return (Dim){(uint32_t)v};
    if (map_get(&im->fixed, name.i, &v)) dim = dim_const(&im->m->dims, (int64_t)v);
    else if (o && o->lo == o->hi) dim = dim_const(&im->m->dims, o->lo);
    else dim = entry_symbol(im, name, o, input, axis);
    map_put(&im->dim_of, name.i, dim.i);
    return dim;
}

static bool tensor_input(Import *im, const Onnx__ValueInfoProto *v, const Onnx__TypeProto__Tensor *t, int32_t input, TypeId *type)
{
    Module *m = im->m;
    const ShapeOption *o = shape_option(im, v->name);
    int rank = t->shape ? (int)t->shape->n_dim : o ? o->rank : -1;
    Dim dim[RANK_MAX];
    int64_t count = 1;
    if (rank < 0) return *type = type_tensor_unranked(&m->types, (DType)t->elem_type), true;
    for (int k = 0; k < rank; k++) {
        const Onnx__TensorShapeProto__Dimension *d = t->shape ? t->shape->dim[k] : NULL;
        int64_t size = d && value_of(d) > 0 ? value_of(d) : o && o->dim[k] >= 0 ? o->dim[k] : -1;
        if (size >= 0) dim[k] = dim_const(&m->dims, size);
        else if (d && param_of(d)) dim[k] = named_dim(im, param_of(d), input, k);
        else dim[k] = entry_symbol(im, (Name){0}, NULL, input, k);
        if (dim_is_const(&m->dims, dim[k], &size) && size && (__builtin_mul_overflow(count, size, &count) || count > INT64_MAX / 16))
            return diag(m->diag, diag_file(m->source), E_IMPORT,
                        arena_printf(im->arena, "input '%s': its dims make more elements than fit into memory", v->name));
    }
    *type = type_tensor(&m->types, (DType)t->elem_type, rank, dim);
    return true;
}

/* ---- all kinds ---- */

static const char *tensor_trouble(Arena *a, const Onnx__TypeProto__Tensor *t)
{
    if (t->elem_type <= DT_NONE || t->elem_type >= DT_COUNT) return arena_printf(a, "element type %d is not known", t->elem_type);
    if (t->shape && t->shape->n_dim > RANK_MAX) return arena_printf(a, "rank %zu, at most %d is supported", t->shape->n_dim, RANK_MAX);
    return NULL;
}

static bool holder_type(Import *im, const Onnx__TypeProto *t, TypeId *type, const char **why)
{
    Types *ty = &im->m->types;
    TypeId of;
    switch (t->value_case) {
    case ONNX__TYPE_PROTO__VALUE_SEQUENCE_TYPE:
        return type_import_value(im, t->sequence_type->elem_type, &of, why) && (*type = type_seq(ty, of), true);
    case ONNX__TYPE_PROTO__VALUE_OPTIONAL_TYPE:
        return type_import_value(im, t->optional_type->elem_type, &of, why) && (*type = type_opt(ty, of), true);
    case ONNX__TYPE_PROTO__VALUE_MAP_TYPE: {
        int32_t key = t->map_type->key_type;
        if (key != DT_STR && (key <= DT_NONE || key >= DT_COUNT || !dtype_is_int((DType)key))) *why = "the key type of a map is an integer or string";
        if (*why || !type_import_value(im, t->map_type->value_type, &of, why)) return false;
        const TypeRec *value = type_rec(ty, of);
        if (value->kind != TY_TENSOR || (value->rank != 0 && value->rank != RANK_UNKNOWN)) return *why = "the values of a map are scalars", false;
        *type = type_map(ty, (DType)key, type_tensor(ty, value->elem, 0, NULL));
        return true;
    }
    case ONNX__TYPE_PROTO__VALUE_SPARSE_TENSOR_TYPE: *why = "sparse tensors are not supported"; return false;
    case ONNX__TYPE_PROTO__VALUE_OPAQUE_TYPE: *why = "opaque types are not supported"; return false;
    default: *why = "no type is given"; return false;
    }
}

bool type_import_value(Import *im, const Onnx__TypeProto *t, TypeId *type, const char **why)
{
    Module *m = im->m;
    if (!t || t->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE) return t ? holder_type(im, t, type, why) : (*why = "no type is given", false);
    const Onnx__TypeProto__Tensor *x = t->tensor_type;
    if ((*why = tensor_trouble(im->arena, x))) return false;
    Dim dim[RANK_MAX];
    const ShapeOption *o = im->inner;
    if (!x->shape && !o) return *type = type_tensor_unranked(&m->types, (DType)x->elem_type), true;
    int rank = x->shape ? (int)x->shape->n_dim : o->rank;
    if (o && o->rank != rank) return *why = arena_printf(im->arena, "--shape gives %d dims, the model %d", o->rank, rank), false;
    for (int k = 0; k < rank; k++) {
        int64_t size = x->shape ? value_of(x->shape->dim[k]) : -1;
        if (o && size > 0 && o->dim[k] >= 0 && o->dim[k] != size)
            return *why = arena_printf(im->arena, "--shape: axis %d is %lld in the model", k, (long long)size), false;
        if (o && o->dim[k] >= 0) size = o->dim[k];
        dim[k] = size > 0 || (o && size == 0) ? dim_const(&m->dims, size) : dim_sym(&m->dims, sym_new(&m->dims, (Name){0}, SYM_NODE, 0, INT64_MAX));
    }
    *type = type_tensor(&m->types, (DType)x->elem_type, rank, dim);
    return true;
}

bool type_import_input(Import *im, const Onnx__ValueInfoProto *v, int32_t input, TypeId *type)
{
    const char *why = NULL;
    if (v->type && v->type->value_case == ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE) {
        why = tensor_trouble(im->arena, v->type->tensor_type);
        if (!why) return tensor_input(im, v, v->type->tensor_type, input, type);
    } else if (v->type) {
        im->inner = shape_option(im, v->name);
        bool ok = holder_type(im, v->type, type, &why);
        im->inner = NULL;
        if (ok) return true;
    } else why = "no type is given";
    return diag(im->m->diag, diag_file(im->m->source), E_IMPORT, arena_printf(im->arena, "input '%s': %s", v->name, why));
}

TypeId type_declared(Module *m, const Onnx__TypeProto *t)
{
    if (!t || t->value_case != ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE) return (TypeId){0};
    const Onnx__TypeProto__Tensor *x = t->tensor_type;
    Dim one[RANK_MAX];
    if (x->elem_type <= DT_NONE || x->elem_type >= DT_COUNT) return (TypeId){0};
    if (!x->shape || x->shape->n_dim > RANK_MAX) return type_tensor_unranked(&m->types, (DType)x->elem_type);
    for (size_t k = 0; k < x->shape->n_dim; k++) one[k] = dim_const(&m->dims, 1);
    return type_tensor(&m->types, (DType)x->elem_type, (int)x->shape->n_dim, one);
}
