/* type.c: element types as one table; interned types and layouts. A type's identity is its hash over the fields its
 * kind uses, compared field by field. */
#include "ir/type.h"
#include <assert.h>
#include <string.h>

static const DTypeInfo info[DT_COUNT] = {
    [DT_NONE] = {"none", "unknown", 0, DC_NONE, DT_NONE},
    [DT_F32] = {"f32", "float", 32, DC_FLOAT, DT_F32},
    [DT_U8] = {"u8", "uint8", 8, DC_UINT, DT_U8},
    [DT_I8] = {"i8", "int8", 8, DC_INT, DT_I8},
    [DT_U16] = {"u16", "uint16", 16, DC_UINT, DT_U16},
    [DT_I16] = {"i16", "int16", 16, DC_INT, DT_I16},
    [DT_I32] = {"i32", "int32", 32, DC_INT, DT_I32},
    [DT_I64] = {"i64", "int64", 64, DC_INT, DT_I64},
    [DT_STR] = {"str", "string", 128, DC_STR, DT_STR},
    [DT_BOOL] = {"bool", "bool", 8, DC_BOOL, DT_BOOL},
    [DT_F16] = {"f16", "float16", 16, DC_FLOAT, DT_F32},
    [DT_F64] = {"f64", "double", 64, DC_FLOAT, DT_F64},
    [DT_U32] = {"u32", "uint32", 32, DC_UINT, DT_U32},
    [DT_U64] = {"u64", "uint64", 64, DC_UINT, DT_U64},
    [DT_C64] = {"c64", "complex64", 64, DC_COMPLEX, DT_U64},
    [DT_C128] = {"c128", "complex128", 128, DC_COMPLEX, DT_STR},
    [DT_BF16] = {"bf16", "bfloat16", 16, DC_FLOAT, DT_F32},
    [DT_F8E4M3FN] = {"f8e4m3fn", "float8e4m3fn", 8, DC_FLOAT, DT_F32},
    [DT_F8E4M3FNUZ] = {"f8e4m3fnuz", "float8e4m3fnuz", 8, DC_FLOAT, DT_F32},
    [DT_F8E5M2] = {"f8e5m2", "float8e5m2", 8, DC_FLOAT, DT_F32},
    [DT_F8E5M2FNUZ] = {"f8e5m2fnuz", "float8e5m2fnuz", 8, DC_FLOAT, DT_F32},
    [DT_U4] = {"u4", "uint4", 4, DC_UINT, DT_U8},
    [DT_I4] = {"i4", "int4", 4, DC_INT, DT_I8},
    [DT_F4E2M1] = {"f4e2m1", "float4e2m1", 4, DC_FLOAT, DT_F32},
    [DT_F8E8M0] = {"f8e8m0", "float8e8m0", 8, DC_FLOAT, DT_F32},
    [DT_U2] = {"u2", "uint2", 2, DC_UINT, DT_U8},
    [DT_I2] = {"i2", "int2", 2, DC_INT, DT_I8},
    [DT_F6E2M3] = {"f6e2m3", "float6e2m3", 8, DC_FLOAT, DT_F32},
    [DT_F6E3M2] = {"f6e3m2", "float6e3m2", 8, DC_FLOAT, DT_F32},
};

const DTypeInfo *dtype_info(DType t) { return &info[(unsigned)t < DT_COUNT ? t : DT_NONE]; }

DType dtype_parse(const char *name)
{
    for (int t = 1; t < DT_COUNT; t++)
        if (strcmp(info[t].name, name) == 0) return (DType)t;
    return DT_NONE;
}

int64_t dtype_bytes(DType t, int64_t n)
{
    int64_t bits = dtype_info(t)->bits, bytes;
    assert(n >= 0 && bits > 0);
    if (bits < 8) return n / (8 / bits) + (n % (8 / bits) != 0);
    return __builtin_mul_overflow(n, bits / 8, &bytes) ? INT64_MAX : bytes;
}

void types_init(Types *ts, Arena *a, Dims *d)
{
    *ts = (Types){.arena = a, .dims = d};
    map_init(&ts->by_hash, a);
    vec_push(a, &ts->rec, (TypeRec){0});
    vec_push(a, &ts->next, 0);
    vec_push(a, &ts->layout, (Layout){0});
}

const TypeRec *type_rec(const Types *ts, TypeId t)
{
    assert(t.i < ts->rec.n);
    return &ts->rec.p[t.i];
}

static uint32_t dims_of(const TypeRec *r) { return r->kind == TY_TENSOR && r->rank != RANK_UNKNOWN ? r->rank : 0; }

static uint64_t hash_of(const TypeRec *r)
{
    uint64_t h = hash_mix(hash_mix(r->kind, r->elem), hash_mix(r->of.i, (uint64_t)r->layout.i << 8 | r->rank));
    for (uint32_t i = 0; i < dims_of(r); i++) h = hash_mix(h, r->dim[i].i);
    return h;
}

static bool same(const TypeRec *a, const TypeRec *b)
{
    if (a->kind != b->kind || a->elem != b->elem || a->of.i != b->of.i || a->layout.i != b->layout.i ||
        a->rank != b->rank)
        return false;
    for (uint32_t i = 0; i < dims_of(a); i++)
        if (!dim_same(a->dim[i], b->dim[i])) return false;
    return true;
}

TypeId type_intern(Types *ts, const TypeRec *given)
{
    if (given->kind == TY_NONE) return (TypeId){0};
    TypeRec r = {.kind = given->kind};
    if (r.kind == TY_TENSOR || r.kind == TY_MAP) r.elem = given->elem;
    if (r.kind != TY_TENSOR) r.of = given->of;
    else {
        r.layout = given->layout;
        r.rank = given->rank;
        assert(r.rank <= RANK_MAX || r.rank == RANK_UNKNOWN);
        for (uint32_t i = 0; i < dims_of(given); i++) {
            assert(given->dim[i].i && "a dimension that is not known is a symbol");
            r.dim[i] = given->dim[i];
        }
    }
    uint64_t h = hash_of(&r), first = 0;
    map_get(&ts->by_hash, h, &first);
    for (uint32_t i = (uint32_t)first; i; i = ts->next.p[i])
        if (same(&ts->rec.p[i], &r)) return (TypeId){i};
    TypeId t = {ts->rec.n};
    vec_push(ts->arena, &ts->rec, r);
    vec_push(ts->arena, &ts->next, (uint32_t)first);
    map_put(&ts->by_hash, h, t.i);
    return t;
}

TypeId type_tensor(Types *ts, DType elem, int rank, const Dim *dims)
{
    assert(rank >= 0 && rank <= RANK_MAX);
    TypeRec r = {.kind = TY_TENSOR, .elem = elem, .rank = (uint8_t)rank};
    for (int i = 0; i < rank; i++) r.dim[i] = dims[i];
    return type_intern(ts, &r);
}

TypeId type_tensor_unranked(Types *ts, DType elem)
{
    return type_intern(ts, &(TypeRec){.kind = TY_TENSOR, .elem = elem, .rank = RANK_UNKNOWN});
}
TypeId type_seq(Types *ts, TypeId of) { return type_intern(ts, &(TypeRec){.kind = TY_SEQ, .of = of}); }
TypeId type_opt(Types *ts, TypeId of) { return type_intern(ts, &(TypeRec){.kind = TY_OPT, .of = of}); }
TypeId type_map(Types *ts, DType key, TypeId of)
{
    return type_intern(ts, &(TypeRec){.kind = TY_MAP, .elem = key, .of = of});
}

TypeId type_with_elem(Types *ts, TypeId tensor, DType elem)
{
    TypeRec r = *type_rec(ts, tensor);
    assert(r.kind == TY_TENSOR);
    r.elem = elem;
    return type_intern(ts, &r);
}

static bool layout_same(const Layout *a, const Layout *b)
{
    return a->rank == b->rank && memcmp(a->perm, b->perm, sizeof a->perm) == 0 &&
           memcmp(a->pad, b->pad, sizeof a->pad) == 0;
}

LayoutId layout_intern(Types *ts, const Layout *given)
{
    assert(given->rank <= RANK_MAX);
    Layout l = {.rank = given->rank};
    bool plain = true;
    for (uint32_t i = 0; i < l.rank; i++) {
        assert(given->perm[i] < l.rank);
        l.perm[i] = given->perm[i];
        l.pad[i] = given->pad[i] > 1 ? given->pad[i] : 0;
        plain = plain && l.perm[i] == i && !l.pad[i];
    }
    if (plain) return (LayoutId){0};
    for (uint32_t i = 1; i < ts->layout.n; i++) /* a module has a handful */
        if (layout_same(&ts->layout.p[i], &l)) return (LayoutId){(uint16_t)i};
    assert(ts->layout.n < UINT16_MAX);
    vec_push(ts->arena, &ts->layout, l);
    return (LayoutId){(uint16_t)(ts->layout.n - 1)};
}

static void print_layout(Str *s, const Layout *l)
{
    str_add(s, "@{");
    for (uint32_t i = 0; i < l->rank; i++) {
        str_printf(s, i ? ",%u" : "%u", l->perm[i]);
        if (l->pad[i]) str_printf(s, ":%u", l->pad[i]);
    }
    str_char(s, '}');
}

static void print_tensor(Str *s, const Types *ts, const TypeRec *r)
{
    str_add(s, dtype_name(r->elem));
    str_char(s, '[');
    if (r->rank == RANK_UNKNOWN) str_char(s, '*');
    for (uint32_t i = 0; i < dims_of(r); i++) {
        if (i) str_char(s, ',');
        dim_print(s, ts->dims, r->dim[i]);
    }
    str_char(s, ']');
    if (r->layout.i) print_layout(s, &ts->layout.p[r->layout.i]);
}

void type_print(Str *s, const Types *ts, TypeId t)
{
    const TypeRec *r = type_rec(ts, t);
    switch (r->kind) {
    case TY_NONE: str_char(s, '?'); return;
    case TY_TENSOR: print_tensor(s, ts, r); return;
    case TY_SEQ: str_add(s, "seq<"); break;
    case TY_OPT: str_add(s, "opt<"); break;
    case TY_MAP: str_printf(s, "map<%s,", dtype_name(r->elem)); break;
    }
    type_print(s, ts, r->of);
    str_char(s, '>');
}

Dim type_count(Types *ts, TypeId tensor)
{
    const TypeRec *r = type_rec(ts, tensor);
    assert(r->kind == TY_TENSOR && r->rank != RANK_UNKNOWN);
    for (uint32_t i = 0; i < r->rank; i++)
        if (dim_is(ts->dims, r->dim[i], 0)) return r->dim[i]; /* however large the others are */
    Dim n = dim_const(ts->dims, 1);
    for (uint32_t i = 0; i < r->rank; i++) n = dim_mul(ts->dims, n, r->dim[i]);
    return n;
}
