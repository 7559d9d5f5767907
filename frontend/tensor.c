/* tensor: all encodings of a tensor's data.
 *   raw_data               little-endian, dense, sub-byte types packed: as blobs are
 *   float_data             float32; complex64 as pairs           double_data    float64; complex128 as pairs
 *   int64_data             int64                                 uint64_data    uint32, uint64
 *   int32_data             the other integers, bool; float16, bfloat16 and the 8-bit floats as their bits; of 4- and 2-bit types one packed byte
 *   string_data            strings
 *   external               as raw_data, in another file
 * A list may come in several blocks, packed or not; one packed block of floats is used where it lies. */
#include "frontend/tensor.h"
#include <string.h>

#define KEEP_INLINE 64   /* elements: up to here data is copied, so that structure is found and texts show values */

bool tensor_info(Arena *a, const Onnx__TensorProto *t, TensorInfo *i, const char **why)
{
    *i = (TensorInfo){.elem = (DType)t->data_type, .rank = (int)t->n_dims, .count = 1};
    if (t->data_type <= DT_NONE || t->data_type >= DT_COUNT) *why = arena_printf(a, "element type %d is not known", t->data_type);
    else if (t->n_dims > RANK_MAX) *why = arena_printf(a, "rank %zu, at most %d is supported", t->n_dims, RANK_MAX);
    if (*why) return false;
    bool zero = false;
    for (int k = 0; k < i->rank; k++) {
        i->dim[k] = t->dims[k];
        zero |= t->dims[k] == 0;
        if (t->dims[k] < 0) {
            *why = arena_printf(a, "dimension %d is %lld", k, (long long)t->dims[k]);
            return false;
        }
    }
    for (int k = 0; k < i->rank && !zero; k++)
        if (__builtin_mul_overflow(i->count, i->dim[k], &i->count) || i->count > INT64_MAX / 16) {
            *why = "its dims make more elements than fit into memory";
            return false;
        }
    if (zero) i->count = 0;
    return true;
}

/* ---- typed lists ---- */

static uint32_t field_of(DType t)
{
    switch (t) {
    case DT_F32: case DT_C64: return 4;
    case DT_F64: case DT_C128: return 10;
    case DT_I64: return 7;
    case DT_U32: case DT_U64: return 11;
    default: return 5;
    }
}

static const char *field_name(uint32_t field)
{
    switch (field) {
    case 4: return "float_data";
    case 5: return "int32_data";
    case 7: return "int64_data";
    case 9: return "raw_data";
    case 10: return "double_data";
    default: return "uint64_data";
    }
}

static unsigned width_of(uint32_t field) { return field == 4 ? 4 : field == 10 ? 8 : 0; }   /* 0: varints */

/* Numbers in a span. */
static int64_t span_count(const OnnxFile *f, const Span *s)
{
    const uint8_t *p = f->map + s->off, *end = p + s->len;
    unsigned w = width_of(s->field);
    int64_t n = 0;
    if (w && !s->tagged) return (int64_t)(s->len / w);
    if (!w && !s->tagged) {
        for (; p < end; p++) n += !(*p & 0x80);
        return n;
    }
    for (uint64_t v; p < end; n++)
        if (!scan_varint(&p, end, &v) || (w ? (size_t)(end - p) < w : !scan_varint(&p, end, &v))) break;
        else p += w;
    return n;
}

typedef struct Elems { const uint8_t *p, *end; unsigned width; bool tagged; } Elems;

static bool next_elem(Elems *e, uint64_t *v)
{
    uint64_t tag;
    if (e->p == e->end || (e->tagged && !scan_varint(&e->p, e->end, &tag))) return false;
    if (!e->width) return scan_varint(&e->p, e->end, v);
    *v = 0;
    memcpy(v, e->p, e->width);
    e->p += e->width;
    return true;
}

/* Does v, read as the 64-bit pattern of an int32/int64/uint64 field, fit a type of `bits` bits, as a signed number or as bits? */
static bool fits(uint64_t v, unsigned bits)
{
    int64_t i = (int64_t)v;
    return bits >= 64 || (i >= -(INT64_C(1) << (bits - 1)) && i < INT64_C(1) << bits);
}

static bool decode(const OnnxFile *f, const Onnx__TensorProto *t, const TensorInfo *i, Blob *out, const char **why)
{
    uint32_t field = field_of(i->elem);
    unsigned bits = dtype_info(i->elem)->bits, per = bits > 64 || i->elem == DT_C64 ? 2 : 1, unit = bits < 8 ? 8 : bits / per;
    int64_t have = 0, need = bits < 8 ? dtype_bytes(i->elem, i->count) : i->count * per;
    const Span *span = f->span.p + t->span_first;
    for (uint64_t k = 0; k < t->span_count; k++) {
        if (span[k].field != field) {
            if (span[k].field == 9 && !span[k].len) continue;
            *why = arena_printf(f->arena, "its data is in %s, %s is expected for %s", field_name(span[k].field), field_name(field), dtype_info(i->elem)->onnx);
            return false;
        }
        have += span_count(f, &span[k]);
    }
    if (have != need) {
        *why = !have ? "it has no data" : arena_printf(f->arena, "%s has %lld numbers, its dims and type need %lld", field_name(field), (long long)have, (long long)need);
        return false;
    }
    int64_t bytes = dtype_bytes(i->elem, i->count);
    if (t->span_count == 1 && !span->tagged && width_of(field) && i->count > KEEP_INLINE) {
        *out = blob_raw(f->blobs, f->file, (int64_t)span->off, i->elem, i->count);
        return true;
    }
    uint8_t *to = arena_array(f->arena, uint8_t, bytes ? bytes : 1), *p = to;
    for (uint64_t k = 0; k < t->span_count; k++) {
        Elems e = {f->map + span[k].off, f->map + span[k].off + span[k].len, width_of(field), span[k].tagged};
        if (span[k].field != field) continue;
        for (uint64_t v; next_elem(&e, &v); p += unit / 8) {
            if (field == 5) v = (uint64_t)(int64_t)(int32_t)v;
            if (i->elem == DT_BOOL) v = v != 0;
            if (!fits(v, unit)) {
                *why = arena_printf(f->arena, "%lld is out of range for %s", (long long)v, dtype_info(i->elem)->onnx);
                return false;
            }
            memcpy(p, &v, unit / 8);   /* little-endian hosts only, as everything that maps files */
        }
    }
    *out = blob_inline(f->blobs, i->elem, i->count, to);
    return true;
}

static bool strings(const OnnxFile *f, const Onnx__TensorProto *t, const TensorInfo *i, Blob *out, const char **why)
{
    if ((int64_t)t->n_string_data != i->count) {
        *why = arena_printf(f->arena, "string_data has %zu strings, its dims need %lld", t->n_string_data, (long long)i->count);
        return false;
    }
    const char **ptr = arena_array(f->arena, const char *, t->n_string_data + 1);
    size_t *len = arena_array(f->arena, size_t, t->n_string_data + 1);
    for (size_t k = 0; k < t->n_string_data; k++) {
        ptr[k] = t->string_data[k].data ? (const char *)t->string_data[k].data : "";
        len[k] = t->string_data[k].len;
    }
    *out = blob_strings(f->blobs, i->count, ptr, len);
    return true;
}

/* ---- dense bytes in a file ---- */

/* Floats of 6 bits: four of them in three bytes, the first one in the lowest bits. In memory each has a byte of its own. */
static bool is_six(DType t) { return DTS(t) & DTS_FLOAT6; }
int64_t tensor_raw_bytes(DType t, int64_t count) { return is_six(t) && count < INT64_MAX / 6 ? (6 * count + 7) / 8 : dtype_bytes(t, count); }

static const uint8_t *unpack_six(Arena *a, const uint8_t *from, int64_t count)
{
    uint8_t *to = arena_array(a, uint8_t, count ? count : 1);
    for (int64_t k = 0; k < count; k++) {
        int64_t bit = 6 * k, at = bit / 8;
        unsigned two = from[at] | (bit % 8 > 2 ? (unsigned)from[at + 1] << 8 : 0);
        to[k] = two >> bit % 8 & 0x3f;
    }
    return to;
}

uint8_t *tensor_pack_six(Arena *a, const uint8_t *from, int64_t count)
{
    int64_t bytes = tensor_raw_bytes(DT_F6E2M3, count);
    uint8_t *to = arena_array(a, uint8_t, bytes ? bytes : 1);
    for (int64_t k = 0; k < count; k++) {
        int64_t bit = 6 * k, at = bit / 8;
        unsigned two = (from[k] & 0x3fu) << bit % 8;
        to[at] |= (uint8_t)two;
        if (bit % 8 > 2) to[at + 1] |= (uint8_t)(two >> 8);
    }
    return to;
}

static bool from_file(const OnnxFile *f, uint32_t file, int64_t off, const TensorInfo *i, Blob *out)
{
    const uint8_t *map = f->blobs->file.p[file].map;
    if (is_six(i->elem)) {
        *out = blob_inline(f->blobs, i->elem, i->count, map ? unpack_six(f->arena, map + off, i->count) : (const uint8_t *)"");
        return true;
    }
    *out = i->count > KEEP_INLINE ? blob_raw(f->blobs, file, off, i->elem, i->count) : blob_inline(f->blobs, i->elem, i->count, map ? map + off : (const uint8_t *)"");
    return true;
}

bool tensor_blob(const OnnxFile *f, const Onnx__TensorProto *t, const TensorInfo *i, Blob *out, const char **why, bool *external)
{
    *why = NULL;
    *external = t->data_location == 1;
    if (*external) {
        uint32_t file;
        int64_t off;
        if (i->elem == DT_STR) *why = "strings cannot be external";
        return !*why && external_find(f, t, tensor_raw_bytes(i->elem, i->count), &file, &off, why) && from_file(f, file, off, i, out);
    }
    if (i->elem == DT_STR) {
        if (t->span_count) *why = "its data is not in string_data";
        return !*why && strings(f, t, i, out, why);
    }
    if (t->n_string_data) {
        *why = arena_printf(f->arena, "its data is in string_data, its type is %s", dtype_info(i->elem)->onnx);
        return false;
    }
    const Span *raw = NULL;
    for (uint64_t k = 0; k < t->span_count; k++)
        if (f->span.p[t->span_first + k].field == 9) raw = &f->span.p[t->span_first + k];   /* given twice: the last one holds */
    int64_t bytes = tensor_raw_bytes(i->elem, i->count);
    if (!raw || (!raw->len && bytes)) return decode(f, t, i, out, why);
    if ((int64_t)raw->len == bytes) return from_file(f, f->file, (int64_t)raw->off, i, out);
    *why = arena_printf(f->arena, "raw_data has %zu bytes, its dims and type need %lld", raw->len, (long long)bytes);
    return false;
}

/* ---- into a module ---- */

static TypeId type_of(Module *m, const TensorInfo *i)
{
    Dim dim[RANK_MAX];
    for (int k = 0; k < i->rank; k++) dim[k] = dim_const(&m->dims, i->dim[k]);
    return type_tensor(&m->types, i->elem, i->rank, dim);
}

static bool import(Module *m, const OnnxFile *f, const Onnx__TensorProto *t, DiagLoc loc, const char *name, TensorInfo *i, Blob *blob)
{
    const char *why = NULL;
    bool external = false;
    if (tensor_info(f->arena, t, i, &why) && tensor_blob(f, t, i, blob, &why, &external)) return true;
    return diag(m->diag, loc, external ? E_EXTERNAL : E_TENSOR, *t->name ? t->name : name, why);
}

bool tensor_import(Module *m, const OnnxFile *f, const Onnx__TensorProto *t, DiagLoc loc, const char *name, Blob *blob, TypeId *type)
{
    TensorInfo i;
    if (!import(m, f, t, loc, name, &i, blob)) return false;
    *type = type_of(m, &i);
    return true;
}

/* ---- sparse tensors: values[nnz], indices[nnz] into the flat dense tensor or [nnz, rank] ---- */

#define DENSE_MAX (INT64_C(1) << 28)   /* bytes that a sparse tensor may unfold to */

bool sparse_import(Module *m, const OnnxFile *f, const Onnx__SparseTensorProto *s, DiagLoc loc, const char *name, Blob *blob, TypeId *type)
{
    const char *why = NULL;
    TensorInfo d, v, x;
    Blob values, indices;
    if (!s->values || !s->indices) return diag(m->diag, loc, E_TENSOR, name, "a sparse tensor without values or indices");
    if (*s->values->name) name = s->values->name;
    Onnx__TensorProto shape = *s->values;
    shape.n_dims = s->n_dims;
    shape.dims = s->dims;
    if (!tensor_info(f->arena, &shape, &d, &why)) return diag(m->diag, loc, E_TENSOR, name, why);
    if (!import(m, f, s->values, loc, name, &v, &values) || !import(m, f, s->indices, loc, name, &x, &indices)) return false;
    unsigned bits = dtype_info(d.elem)->bits;
    int64_t bytes = dtype_bytes(d.elem, d.count), per = x.rank == 2 ? d.rank : 1;
    if (d.elem == DT_STR || bits < 8 || x.elem != DT_I64 || v.rank != 1 || (x.rank != 1 && x.rank != 2) || x.count != v.count * per || x.dim[0] != v.count)
        return diag(m->diag, loc, E_TENSOR, name, "values and indices of the sparse tensor do not fit together");
    if (bytes > DENSE_MAX) return diag(m->diag, loc, E_TENSOR, name, "a sparse tensor of this size is not supported");
    uint8_t *dense = arena_array(f->arena, uint8_t, bytes ? bytes : 1);
    for (int64_t k = 0; k < v.count; k++) {
        int64_t at = 0;
        bool ok = true;
        for (int64_t a = 0; a < per; a++) {
            int64_t one = blob_get_i(f->blobs, indices, k * per + a), size = per == 1 && x.rank == 1 ? d.count : d.dim[a];
            ok = ok && one >= 0 && one < size;
            at = ok ? at * size + one : 0;
        }
        if (!ok) return diag(m->diag, loc, E_TENSOR, name, "an index of the sparse tensor is out of range");
        blob_read(f->blobs, values, k, 1, dense + at * (bits / 8));
    }
    *blob = blob_inline(f->blobs, d.elem, d.count, dense);
    *type = type_of(m, &d);
    return true;
}
