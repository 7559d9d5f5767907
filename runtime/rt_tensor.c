/* rt_tensor: sizes and names of element types, dense copies of strided tensors, and the contents of strings. */
#include "runtime/rt_internal.h"
#include <string.h>

typedef struct DtypeRow {
    const char *name;
    int bits;
} DtypeRow;

/* Index: ONNX's TensorProto.DataType. */
static const DtypeRow DTYPES[] = {
    {"none", 0},       {"f32", 32},   {"u8", 8},
    {"i8", 8},         {"u16", 16},   {"i16", 16},
    {"i32", 32},       {"i64", 64},   {"str", 8 * sizeof(bmc_string)},
    {"bool", 8},       {"f16", 16},   {"f64", 64},
    {"u32", 32},       {"u64", 64},   {"c64", 64},
    {"c128", 128},     {"bf16", 16},  {"f8e4m3fn", 8},
    {"f8e4m3fnuz", 8}, {"f8e5m2", 8}, {"f8e5m2fnuz", 8},
    {"u4", 4},         {"i4", 4},     {"f4e2m1", 4},
    {"f8e8m0", 8},     {"u2", 2},     {"i2", 2},
    {"f6e2m3", 8},     {"f6e3m2", 8},
};

const char *rt_dtype_name(int t)
{
    return t >= 0 && t < (int)(sizeof DTYPES / sizeof *DTYPES) ? DTYPES[t].name : "unknown";
}
int rt_dtype_bits(int t) { return t >= 0 && t < (int)(sizeof DTYPES / sizeof *DTYPES) ? DTYPES[t].bits : 0; }

int64_t rt_elements(const rt_arg *a)
{
    int64_t n = 1;
    for (int i = 0; i < a->rank; i++) n *= a->dim[i];
    return n;
}

size_t rt_dtype_align(int t)
{
    if (t == BMC_STRING) return _Alignof(bmc_string);
    int bits = t == BMC_C64 || t == BMC_C128 ? rt_dtype_bits(t) / 2 : rt_dtype_bits(t);
    return bits > 8 ? (size_t)bits / 8 : 1;
}

const char *rt_kind_name(int kind)
{
    static const char *const NAMES[] = {"none", "tensor", "sequence", "optional", "map"};
    return kind >= 0 && kind <= BMC_MAP ? NAMES[kind] : "unknown";
}

bool rt_dense_bytes(int dtype, int rank, const int64_t *dim, size_t *bytes)
{
    int64_t n = 1, bits = rt_dtype_bits(dtype);
    bool zero = false, big = false;
    for (int i = 0; i < rank; i++) {
        if (dim[i] < 0) return false;
        if (dim[i] == 0) zero = true;
        else if (__builtin_mul_overflow(n, dim[i], &n)) big = true;
    }
    if (zero) n = 0;
    else if (big) return false;
    if (!bits || __builtin_mul_overflow(n, bits, &n) || n > INT64_MAX - 7) return false;
    *bytes = (size_t)((n + 7) / 8);
    return *bytes <= PTRDIFF_MAX;
}

bool rt_port_bytes(const bmc_port *port, int rank, const int64_t *dim, int64_t *full, size_t *bytes)
{
    int64_t own[BMC_MAX_RANK] = {0};
    if (!full) full = own;
    memcpy(full, dim, (size_t)rank * sizeof *dim);
    if (port->capacity) full[port->alias_axis] = port->capacity;
    return rt_dense_bytes(port->dtype, rank, full, bytes);
}

bool rt_is_dense(int rank, const int64_t *dim, const int64_t *stride)
{
    int64_t want = 1;
    for (int i = rank - 1; i >= 0; i--) {
        if (dim[i] == 0) return true;
        if (dim[i] != 1 && stride[i] != want) return false;
        want *= dim[i];
    }
    return true;
}

void rt_copy_strided(void *to, const void *from, size_t elem, int rank, const int64_t *dim, const int64_t *stride)
{
    int64_t at[BMC_MAX_RANK] = {0};
    for (int i = 0; i < rank; i++)
        if (dim[i] == 0) return;
    int64_t row = rank ? dim[rank - 1] : 1, step = (rank ? stride[rank - 1] : 1) * (int64_t)elem;
    char *o = to;
    const char *f = from;
    for (;;) {
        if (step == (int64_t)elem) {
            memcpy(o, f, (size_t)row * elem);
            o += (size_t)row * elem;
        } else {
            const char *r = f;
            for (int64_t j = 0; j < row; j++, o += elem, r += step) memcpy(o, r, elem);
        }
        int i = rank - 2;
        for (; i >= 0; i--) {
            f += stride[i] * (int64_t)elem;
            if (++at[i] < dim[i]) break;
            f -= dim[i] * stride[i] * (int64_t)elem;
            at[i] = 0;
        }
        if (i < 0) return;
    }
}

/* ---- contents of strings: blocks that live until the next run ---- */
struct rt_text {
    rt_text *next;
    size_t n, cap;
};
#define TEXT_BLOCK 4000

char *rt_text_alloc(bmc_ctx *x, size_t n)
{
    rt_private *p = x->rt;
    rt_text *t = p->text;
    if (!t || t->cap - t->n < n) {
        size_t cap;
        if (n > PTRDIFF_MAX / 2) return NULL;
        t = rt_heap_alloc(&p->heap, sizeof *t + (n > TEXT_BLOCK ? n : TEXT_BLOCK), &cap);
        if (!t) return NULL;
        t->n = 0;
        t->cap = cap - sizeof *t;
        /* A block for one long string goes behind the one that is being filled. */
        if (p->text && t->cap - n < p->text->cap - p->text->n) {
            t->next = p->text->next;
            p->text->next = t;
        } else {
            t->next = p->text;
            p->text = t;
        }
    }
    char *at = (char *)(t + 1) + t->n;
    t->n += n;
    return at;
}

void rt_texts_free(rt_private *p)
{
    for (rt_text *t = p->text, *n; t; t = n) {
        n = t->next;
        rt_heap_free(&p->heap, t);
    }
    p->text = NULL;
}

bool rt_strings_keep(bmc_ctx *x, bmc_string *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char *to = rt_text_alloc(x, s[i].len);
        if (!to) return false;
        if (s[i].len) memcpy(to, s[i].ptr, s[i].len);
        s[i].ptr = to;
    }
    return true;
}
