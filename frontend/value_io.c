/* value_io: the files of ONNX test data, input_0.pb and output_0.pb: one TensorProto, SequenceProto, OptionalProto or MapProto each. Reading takes every encoding that
 * models may use (tensor.c); writing stores raw_data and string_data. Element types beyond bmc.h's list keep ONNX's numbers and packing.
 *   sequence    n_item elements                      optional    0 or 1 element
 *   map         item[0] its keys, item[1] its values, tensors of one axis; in the file values are a sequence of scalars */
#include "frontend/frontend.h"
#include "frontend/tensor.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { ELEM_NONE, ELEM_TENSOR, ELEM_SPARSE, ELEM_SEQUENCE, ELEM_MAP, ELEM_OPTIONAL };   /* SequenceProto.elem_type, OptionalProto.elem_type */

/* ---- reading ---- */

typedef struct In { OnnxFile file; Arena *arena; const char *why; } In;

static bool tensor_in(In *r, const Onnx__TensorProto *t, bmc_value *out)
{
    TensorInfo i;
    Blob b;
    bool external;
    if (!t) {
        r->why = "a tensor is missing";
        return false;
    }
    if (!tensor_info(r->arena, t, &i, &r->why) || !tensor_blob(&r->file, t, &i, &b, &r->why, &external)) {
        if (*t->name) r->why = arena_printf(r->arena, "tensor '%s': %s", t->name, r->why);
        return false;
    }
    *out = (bmc_value){.size = sizeof *out, .kind = BMC_TENSOR, .dtype = (uint8_t)i.elem, .rank = (uint8_t)i.rank};
    for (int k = 0; k < i.rank; k++) out->dim[k] = i.dim[k];
    int64_t bytes = blob_bytes(r->file.blobs, b);
    out->bytes = (size_t)bytes;
    if (i.elem == DT_STR) out->data = (void *)blob_rec(r->file.blobs, b)->data;
    else {
        out->data = arena_array(r->arena, uint8_t, bytes ? bytes : 1);
        blob_read(r->file.blobs, b, 0, i.count, out->data);
    }
    return true;
}

static bool sequence_in(In *r, const Onnx__SequenceProto *s, bmc_value *out);
static bool optional_in(In *r, const Onnx__OptionalProto *o, bmc_value *out);
static bool map_in(In *r, const Onnx__MapProto *m, bmc_value *out);

static bool missing(In *r)
{
    r->why = "an element has no value";
    return false;
}

static bool optional_in(In *r, const Onnx__OptionalProto *o, bmc_value *out)
{
    bool none = o->elem_type == ELEM_NONE || (!o->tensor_value && !o->sequence_value && !o->map_value && !o->optional_value && !o->sparse_tensor_value);
    *out = (bmc_value){.size = sizeof *out, .kind = BMC_OPTIONAL, .n_item = none ? 0 : 1, .item = arena_new(r->arena, bmc_value)};
    if (none) return true;
    switch (o->elem_type) {
    case ELEM_TENSOR: return tensor_in(r, o->tensor_value, out->item);
    case ELEM_SEQUENCE: return o->sequence_value ? sequence_in(r, o->sequence_value, out->item) : missing(r);
    case ELEM_MAP: return o->map_value ? map_in(r, o->map_value, out->item) : missing(r);
    case ELEM_OPTIONAL: return o->optional_value ? optional_in(r, o->optional_value, out->item) : missing(r);
    default: r->why = "sparse tensors are not supported"; return false;
    }
}

static bool sequence_in(In *r, const Onnx__SequenceProto *s, bmc_value *out)
{
    size_t n = s->elem_type == ELEM_TENSOR ? s->n_tensor_values : s->elem_type == ELEM_SEQUENCE ? s->n_sequence_values
             : s->elem_type == ELEM_MAP ? s->n_map_values : s->elem_type == ELEM_OPTIONAL ? s->n_optional_values : 0;
    if (n != s->n_tensor_values + s->n_sequence_values + s->n_map_values + s->n_optional_values + s->n_sparse_tensor_values) {
        r->why = s->n_sparse_tensor_values ? "sparse tensors are not supported" : "a sequence has elements of another kind than it says";
        return false;
    }
    *out = (bmc_value){.size = sizeof *out, .kind = BMC_SEQUENCE, .n_item = n, .item = arena_array(r->arena, bmc_value, n + 1)};
    bool ok = true;
    for (size_t k = 0; k < n && ok; k++) {
        if (s->elem_type == ELEM_TENSOR) ok = tensor_in(r, s->tensor_values[k], &out->item[k]);
        else if (s->elem_type == ELEM_SEQUENCE) ok = sequence_in(r, s->sequence_values[k], &out->item[k]);
        else if (s->elem_type == ELEM_MAP) ok = map_in(r, s->map_values[k], &out->item[k]);
        else ok = optional_in(r, s->optional_values[k], &out->item[k]);
    }
    return ok;
}

/* n scalars, as tensors of one element, become a tensor [n]. */
static bool map_values_in(In *r, const Onnx__SequenceProto *s, size_t n, bmc_value *out)
{
    bmc_value all;
    if (!sequence_in(r, s, &all)) return false;
    if (all.n_item != n) return r->why = "a map has another number of values than of keys", false;
    *out = (bmc_value){.size = sizeof *out, .kind = BMC_TENSOR, .dtype = n ? all.item[0].dtype : DT_F32, .rank = 1};
    out->dim[0] = (int64_t)n;
    size_t width = out->dtype == DT_STR ? sizeof(bmc_string) : (size_t)dtype_bytes((DType)out->dtype, 1);
    out->bytes = n * width;
    out->data = arena_alloc_n(r->arena, width, n + 1);
    for (size_t k = 0; k < n; k++) {
        const bmc_value *v = &all.item[k];
        int64_t count = 1;
        for (int i = 0; i < v->rank; i++) count *= v->dim[i];
        if (v->kind != BMC_TENSOR || v->dtype != out->dtype || count != 1) return r->why = "the values of a map are scalars of one type", false;
        memcpy((char *)out->data + k * width, v->data, width);
    }
    return true;
}

static bool map_in(In *r, const Onnx__MapProto *m, bmc_value *out)
{
    bool text = m->key_type == DT_STR;
    size_t n = text ? m->n_string_keys : m->n_keys;
    *out = (bmc_value){.size = sizeof *out, .kind = BMC_MAP, .n_item = 2, .item = arena_array(r->arena, bmc_value, 2)};
    if (!text && (m->key_type <= DT_NONE || m->key_type >= DT_COUNT || !dtype_is_int((DType)m->key_type) || dtype_info((DType)m->key_type)->bits < 8))
        r->why = "the key type of a map is an integer or string";
    else if (m->n_keys + m->n_string_keys != n || !m->values) r->why = "a map has keys of another kind than it says, or no values";
    if (r->why) return false;
    size_t width = text ? sizeof(bmc_string) : dtype_info((DType)m->key_type)->bits / 8;
    bmc_value *keys = &out->item[0];
    *keys = (bmc_value){.size = sizeof *keys, .kind = BMC_TENSOR, .dtype = (uint8_t)m->key_type, .rank = 1, .bytes = n * width,
                          .data = arena_alloc_n(r->arena, width, n + 1)};
    keys->dim[0] = (int64_t)n;
    for (size_t k = 0; k < n; k++) {
        if (!text) {
            memcpy((char *)keys->data + k * width, &m->keys[k], width);
            continue;
        }
        const ProtobufCBinaryData *s = &m->string_keys[k];
        ((bmc_string *)keys->data)[k] = (bmc_string){arena_strndup(r->arena, s->data ? (const char *)s->data : "", s->len), s->len};
    }
    return map_values_in(r, m->values, n, &out->item[1]);
}

bool onnx_read_value(Arena *a, Diag *d, const char *path, ValueProto kind, bmc_value *out, const char **name)
{
    static const ProtobufCMessageDescriptor *const type[] = {[PROTO_TENSOR] = &onnx__tensor_proto__descriptor, [PROTO_SEQUENCE] = &onnx__sequence_proto__descriptor,
                                                             [PROTO_OPTIONAL] = &onnx__optional_proto__descriptor, [PROTO_MAP] = &onnx__map_proto__descriptor};
    Blobs blobs;
    In r = {.arena = a};
    bool ok = false;
    blobs_init(&blobs, a);
    if (file_open(&r.file, a, &blobs, d, arena_strdup(a, path), type[kind])) {
        ProtobufCMessage *m = r.file.root;
        const char *found = "";
        switch (kind) {
        case PROTO_TENSOR: ok = tensor_in(&r, (Onnx__TensorProto *)m, out); found = ((Onnx__TensorProto *)m)->name; break;
        case PROTO_SEQUENCE: ok = sequence_in(&r, (Onnx__SequenceProto *)m, out); found = ((Onnx__SequenceProto *)m)->name; break;
        case PROTO_OPTIONAL: ok = optional_in(&r, (Onnx__OptionalProto *)m, out); found = ((Onnx__OptionalProto *)m)->name; break;
        case PROTO_MAP: ok = map_in(&r, (Onnx__MapProto *)m, out); found = ((Onnx__MapProto *)m)->name; break;
        }
        if (name) *name = found;
        if (!ok) diag(d, diag_file(path), E_IMPORT, r.why);
    }
    blobs_close(&blobs);
    return ok;
}

/* ---- writing ---- */

typedef struct Out { Arena *arena; const char *why; } Out;

static Onnx__TensorProto *tensor_out(Out *w, const bmc_value *v)
{
    Arena *a = w->arena;
    Onnx__TensorProto *t = arena_new(a, Onnx__TensorProto);
    int64_t count = 1;
    onnx__tensor_proto__init(t);
    if (v->kind != BMC_TENSOR || v->dtype == DT_NONE || v->dtype >= DT_COUNT || v->rank > BMC_MAX_RANK || v->stride) {
        w->why = "not a dense tensor";
        return t;
    }
    t->n_dims = v->rank;
    t->dims = arena_memdup(a, v->dim, v->rank * sizeof *v->dim);
    t->data_type = v->dtype;
    for (int k = 0; k < v->rank; k++) count *= v->dim[k];
    if (v->dtype != DT_STR) {
        t->raw_data = (ProtobufCBinaryData){(size_t)tensor_raw_bytes((DType)v->dtype, count), v->data};
        if (DTS(v->dtype) & DTS_FLOAT6) t->raw_data.data = tensor_pack_six(a, v->data, count);
        return t;
    }
    const bmc_string *s = v->data;
    t->n_string_data = (size_t)count;
    t->string_data = arena_array(a, ProtobufCBinaryData, count + 1);
    for (int64_t k = 0; k < count; k++) t->string_data[k] = (ProtobufCBinaryData){s[k].len, (uint8_t *)(uintptr_t)s[k].ptr};
    return t;
}

static Onnx__SequenceProto *sequence_out(Out *w, const bmc_value *v);
static Onnx__MapProto *map_out(Out *w, const bmc_value *v);

static int32_t elem_of(const bmc_value *v)
{
    switch (v->kind) {
    case BMC_TENSOR: return ELEM_TENSOR;
    case BMC_SEQUENCE: return ELEM_SEQUENCE;
    case BMC_MAP: return ELEM_MAP;
    case BMC_OPTIONAL: return ELEM_OPTIONAL;
    default: return ELEM_NONE;
    }
}

static Onnx__OptionalProto *optional_out(Out *w, const bmc_value *v)
{
    Onnx__OptionalProto *o = arena_new(w->arena, Onnx__OptionalProto);
    onnx__optional_proto__init(o);
    if (!v->n_item) return o;
    o->elem_type = elem_of(v->item);
    switch (v->item->kind) {
    case BMC_TENSOR: o->tensor_value = tensor_out(w, v->item); break;
    case BMC_SEQUENCE: o->sequence_value = sequence_out(w, v->item); break;
    case BMC_MAP: o->map_value = map_out(w, v->item); break;
    case BMC_OPTIONAL: o->optional_value = optional_out(w, v->item); break;
    default: w->why = "an optional holds a value without a kind";
    }
    return o;
}

static Onnx__SequenceProto *sequence_out(Out *w, const bmc_value *v)
{
    Onnx__SequenceProto *s = arena_new(w->arena, Onnx__SequenceProto);
    void **item = arena_array(w->arena, void *, v->n_item + 1);
    onnx__sequence_proto__init(s);
    s->elem_type = v->n_item ? elem_of(v->item) : ELEM_TENSOR;
    for (size_t k = 0; k < v->n_item; k++) {
        const bmc_value *x = &v->item[k];
        if (elem_of(x) != s->elem_type || s->elem_type == ELEM_NONE) w->why = "a sequence holds values of different kinds";
        item[k] = x->kind == BMC_TENSOR ? (void *)tensor_out(w, x) : x->kind == BMC_SEQUENCE ? (void *)sequence_out(w, x)
                : x->kind == BMC_MAP ? (void *)map_out(w, x) : (void *)optional_out(w, x);
    }
    if (w->why) return s;
    switch (s->elem_type) {
    case ELEM_TENSOR: s->n_tensor_values = v->n_item; s->tensor_values = (Onnx__TensorProto **)item; break;
    case ELEM_SEQUENCE: s->n_sequence_values = v->n_item; s->sequence_values = (Onnx__SequenceProto **)item; break;
    case ELEM_MAP: s->n_map_values = v->n_item; s->map_values = (Onnx__MapProto **)item; break;
    default: s->n_optional_values = v->n_item; s->optional_values = (Onnx__OptionalProto **)item;
    }
    return s;
}

static Onnx__SequenceProto *map_values_out(Out *w, const bmc_value *v)
{
    size_t n = (size_t)v->dim[0], width = v->dtype == DT_STR ? sizeof(bmc_string) : (size_t)dtype_bytes((DType)v->dtype, 1);
    bmc_value all = {.size = sizeof all, .kind = BMC_SEQUENCE, .n_item = n, .item = arena_array(w->arena, bmc_value, n + 1)};
    for (size_t k = 0; k < n; k++)
        all.item[k] = (bmc_value){.size = sizeof all, .kind = BMC_TENSOR, .dtype = v->dtype, .data = (char *)v->data + k * width, .bytes = width};
    return sequence_out(w, &all);
}

static Onnx__MapProto *map_out(Out *w, const bmc_value *v)
{
    Onnx__MapProto *m = arena_new(w->arena, Onnx__MapProto);
    onnx__map_proto__init(m);
    if (v->n_item != 2 || v->item[0].kind != BMC_TENSOR || v->item[0].rank != 1 || v->item[1].kind != BMC_TENSOR || v->item[1].rank != 1 ||
        v->item[0].dim[0] != v->item[1].dim[0]) {
        w->why = "not a map of keys and values";
        return m;
    }
    const bmc_value *keys = &v->item[0];
    size_t n = (size_t)keys->dim[0];
    m->key_type = keys->dtype;
    m->values = map_values_out(w, &v->item[1]);
    if (keys->dtype == DT_STR) {
        m->n_string_keys = n;
        m->string_keys = tensor_out(w, keys)->string_data;
        return m;
    }
    size_t width = dtype_info((DType)keys->dtype)->bits / 8;
    m->n_keys = n;
    m->keys = arena_array(w->arena, int64_t, n + 1);
    for (size_t k = 0; k < n; k++) {
        const uint8_t *p = (const uint8_t *)keys->data + k * width;
        bool negative = dtype_is_signed((DType)keys->dtype) && p[width - 1] & 0x80;
        m->keys[k] = negative ? -1 : 0;
        memcpy(&m->keys[k], p, width);
    }
    return m;
}

typedef struct FileBuffer { ProtobufCBuffer base; FILE *file; } FileBuffer;

static void file_append(ProtobufCBuffer *b, size_t n, const uint8_t *p)
{
    if (n) (void)fwrite(p, 1, n, ((FileBuffer *)b)->file);   /* ferror tells at the end */
}

bool onnx_write_value(Arena *a, Diag *d, const char *path, const char *name, const bmc_value *v)
{
    Out w = {.arena = a};
    ProtobufCMessage *m = NULL;
    char *given = arena_strdup(a, name ? name : "");
    switch (v->kind) {
    case BMC_TENSOR: { Onnx__TensorProto *t = tensor_out(&w, v); t->name = given; m = &t->base; break; }
    case BMC_SEQUENCE: { Onnx__SequenceProto *s = sequence_out(&w, v); s->name = given; m = &s->base; break; }
    case BMC_OPTIONAL: { Onnx__OptionalProto *o = optional_out(&w, v); o->name = given; m = &o->base; break; }
    case BMC_MAP: { Onnx__MapProto *x = map_out(&w, v); x->name = given; m = &x->base; break; }
    default: w.why = "a value without a kind";
    }
    if (w.why) return diag(d, diag_file(path), E_WRITE, w.why);
    FileBuffer b = {.base = {.append = file_append}, .file = fopen(path, "wb")};
    if (!b.file) return diag(d, diag_file(path), E_WRITE, strerror(errno));
    protobuf_c_message_pack_to_buffer(m, &b.base);
    bool bad = ferror(b.file) != 0;
    if (fclose(b.file) || bad) {
        const char *why = strerror(errno);
        remove(path);
        return diag(d, diag_file(path), E_WRITE, why);
    }
    return true;
}
