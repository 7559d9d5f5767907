/* ml_map.c: LabelEncoder, CategoryMapper and OneHotEncoder of ai.onnx.ml: a search through the keys for each element,
 * one nest. Numbers are put in order when compiling and found by halving, whole ones that lie close together in a
 * table by value, many strings by the runtime's hash table.
 *   y = value of the first key that is x, else the default: values stand in a table whose last entry is the default;
 *   NaN finds a NaN key
 *   OneHotEncoder: y[.., k] = x is category k; without `zeros`, an element of no category is an error of the run */
#include "ir/graph/lower.h"
#include "ir/ops/grad.h"
#include "ir/ops/ml.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct Lab {
    uint64_t set;
    AttrFloats keys_f, values_f;
    AttrInts keys_i, values_i;
    AttrStrings keys_s, values_s, classes;
    AttrTensor keys_t, values_t, default_t;
    double default_f;
    int64_t default_i, zeros;
    const char *default_s;
} Lab;
#define A(n, k, f)                                                                                                     \
    {                                                                                                                  \
        .name = (n), .kind = (k), .offset = offsetof(Lab, f)                                                           \
    }
static const AttrSpec ENCODER[] = {
    A("keys_floats", ATTR_FLOATS, keys_f),
    A("keys_int64s", ATTR_INTS, keys_i),
    A("keys_strings", ATTR_STRINGS, keys_s),
    A("keys_tensor", ATTR_TENSOR, keys_t),
    A("values_floats", ATTR_FLOATS, values_f),
    A("values_int64s", ATTR_INTS, values_i),
    A("values_strings", ATTR_STRINGS, values_s),
    A("values_tensor", ATTR_TENSOR, values_t),
    A("default_tensor", ATTR_TENSOR, default_t),
    {.name = "default_float", .kind = ATTR_FLOAT, .offset = offsetof(Lab, default_f), .def_f = -0.0},
    {.name = "default_int64", .kind = ATTR_INT, .offset = offsetof(Lab, default_i), .def_i = -1},
    {.name = "default_string", .kind = ATTR_STRING, .offset = offsetof(Lab, default_s), .def_s = "_Unused"},
    A("classes_strings", ATTR_STRINGS, classes),
    A_END};
static const AttrSpec MAPPER[] = {
    A("cats_int64s", ATTR_INTS, keys_i),
    A("cats_strings", ATTR_STRINGS, keys_s),
    {.name = "default_int64", .kind = ATTR_INT, .offset = offsetof(Lab, default_i), .def_i = -1},
    {.name = "default_string", .kind = ATTR_STRING, .offset = offsetof(Lab, default_s), .def_s = "_Unused"},
    A_END};
static const AttrSpec ONE_HOT[] = {A("cats_int64s", ATTR_INTS, keys_i), A("cats_strings", ATTR_STRINGS, keys_s),
                                   A_INT(Lab, zeros, 1), A_END};

/* Keys and values as blobs; values may be followed by the default. */
typedef struct Table {
    Blob key, value;
    DType key_type, value_type;
    int64_t n;
} Table;

static Blob strings(Blobs *bs, AttrStrings s, const char *more)
{
    uint32_t n = s.n + (more != NULL);
    const char **p = arena_array(bs->arena, const char *, n + 1);
    size_t *len = arena_array(bs->arena, size_t, n + 1);
    for (uint32_t k = 0; k < n; k++) p[k] = k < s.n ? s.p[k] : more, len[k] = strlen(p[k]);
    return blob_strings(bs, n, p, len);
}

static Blob ints(Blobs *bs, AttrInts s, const int64_t *more)
{
    int64_t *p = arena_array(bs->arena, int64_t, s.n + 1);
    for (uint32_t k = 0; k < s.n; k++) p[k] = s.p[k];
    if (more) p[s.n] = *more;
    return blob_inline(bs, DT_I64, s.n + (more != NULL), p);
}

static Blob floats(Blobs *bs, AttrFloats s, const double *more)
{
    float *p = arena_array(bs->arena, float, s.n + 1);
    for (uint32_t k = 0; k < s.n; k++) p[k] = (float)s.p[k];
    if (more) p[s.n] = (float)*more;
    return blob_inline(bs, DT_F32, s.n + (more != NULL), p);
}

/* Of a tensor, with its default (or 0 or "") behind it. */
static Blob tensor(Blobs *bs, AttrTensor t, AttrTensor more)
{
    const BlobRec *b = blob_rec(bs, t.blob);
    int64_t n = b->count;
    if (b->kind == BLOB_STRINGS) {
        const bmc_string *s = b->data, *d = more.blob.i ? blob_rec(bs, more.blob)->data : NULL;
        const char **p = arena_array(bs->arena, const char *, n + 1);
        size_t *len = arena_array(bs->arena, size_t, n + 1);
        for (int64_t k = 0; k < n; k++) p[k] = s[k].ptr, len[k] = s[k].len;
        p[n] = d ? d->ptr : "_Unused", len[n] = d ? d->len : 7;
        return blob_strings(bs, n + 1, p, len);
    }
    int64_t bytes = dtype_bytes(b->elem, 1);
    uint8_t *p = arena_array(bs->arena, uint8_t, (n + 1) * bytes);
    DType t0 = b->elem;
    blob_read(bs, t.blob, 0, n, p);
    if (more.blob.i) blob_read(bs, more.blob, 0, 1, p + n * bytes);
    return blob_inline(bs, t0, n + 1, p);
}

static bool table(Blobs *bs, const OpDesc *op, const Lab *a, DType x, Table *t, const char **why)
{
    int64_t n_value = 0;
    *t = (Table){0};
    if (op->attrs == MAPPER) { /* the operand's type says which list holds keys */
        if (a->keys_i.n != a->keys_s.n || !a->keys_i.n)
            return *why = "cats_int64s and cats_strings do not go together", false;
        bool text = x == DT_STR;
        *t = (Table){text ? strings(bs, a->keys_s, NULL) : ints(bs, a->keys_i, NULL),
                     text ? ints(bs, a->keys_i, &a->default_i) : strings(bs, a->keys_s, a->default_s),
                     text ? DT_STR : DT_I64, text ? DT_I64 : DT_STR, a->keys_i.n};
        return true;
    }
    if (a->classes.n) { /* version 1: strings are numbered */
        int64_t *p = arena_array(bs->arena, int64_t, a->classes.n);
        for (uint32_t k = 0; k < a->classes.n; k++) p[k] = k;
        AttrInts number = {p, a->classes.n};
        bool text = x == DT_STR;
        *t = (Table){text ? strings(bs, a->classes, NULL) : ints(bs, number, NULL),
                     text ? ints(bs, number, &a->default_i) : strings(bs, a->classes, a->default_s),
                     text ? DT_STR : DT_I64, text ? DT_I64 : DT_STR, a->classes.n};
        return true;
    }
    if (a->keys_t.blob.i)
        t->key = a->keys_t.blob, t->key_type = blob_rec(bs, t->key)->elem, t->n = blob_rec(bs, t->key)->count;
    else if (a->keys_f.n) t->key = floats(bs, a->keys_f, NULL), t->key_type = DT_F32, t->n = a->keys_f.n;
    else if (a->keys_i.n) t->key = ints(bs, a->keys_i, NULL), t->key_type = DT_I64, t->n = a->keys_i.n;
    else t->key = strings(bs, a->keys_s, NULL), t->key_type = DT_STR, t->n = a->keys_s.n;
    if (op->attrs == ONE_HOT) return t->n > 0 || (*why = "there are no categories", false);
    if (a->values_t.blob.i) {
        const BlobRec *v = blob_rec(bs, a->values_t.blob);
        if (v->kind == BLOB_DERIVED || (a->default_t.blob.i && (blob_rec(bs, a->default_t.blob)->elem != v->elem ||
                                                                blob_rec(bs, a->default_t.blob)->count < 1)))
            return *why = "default_tensor does not fit values_tensor", false;
        n_value = v->count;
        t->value_type = v->elem;
        t->value = tensor(bs, a->values_t, a->default_t);
    } else if (a->values_f.n)
        t->value = floats(bs, a->values_f, &a->default_f), t->value_type = DT_F32, n_value = a->values_f.n;
    else if (a->values_i.n)
        t->value = ints(bs, a->values_i, &a->default_i), t->value_type = DT_I64, n_value = a->values_i.n;
    else t->value = strings(bs, a->values_s, a->default_s), t->value_type = DT_STR, n_value = a->values_s.n;
    if (!t->n || n_value != t->n) return *why = "keys and values have different lengths", false;
    return true;
}

static bool infer(Infer *c)
{
    Table t;
    const char *why;
    DType x = infer_elem(c, 0);
    if (!infer_need_rank(c, 0, 0, RANK_MAX - 1)) return false;
    if (!table(&c->m->blobs, c->op, ATTRS(c->g, c->n, Lab), x, &t, &why)) return infer_fail(c, "%s", why);
    bool one_hot = c->op->attrs == ONE_HOT;
    if (one_hot ? (x == DT_STR) != (t.key_type == DT_STR) : x != t.key_type)
        return infer_fail(c, "the input is %s, the keys are %s", dtype_info(x)->onnx, dtype_info(t.key_type)->onnx);
    if (!one_hot)
        return infer_set_type(c, 0,
                              type_with_elem(&c->m->types, value_type(c->g, node_in(c->g, c->n, 0)), t.value_type));
    Dim dim[RANK_MAX];
    int rank = infer_rank(c, 0);
    for (int i = 0; i < rank; i++) dim[i] = infer_dim(c, 0, i);
    dim[rank] = dim_const(c->d, t.n);
    return infer_set(c, 0, DT_F32, rank + 1, dim);
}

static KVal same(Kb *b, KVal x, KVal key)
{
    KVal eq = kb_eq(b, x, key);
    if (kb_type(b, x) == DT_STR || !dtype_is_float(kb_type(b, x))) return eq;
    return kb_bin(b, KOP_OR, eq, kb_and(b, kb_un(b, KOP_ISNAN, x), kb_un(b, KOP_ISNAN, key)));
}

/* Keys that are numbers, in order, each with the place of its value; equal ones keep the first. NaN is larger than all
 * others, so what is larger than or equal to it is found by `not less`. */
typedef struct Sorted {
    double f;
    int64_t i, at;
} Sorted;

static int by_key(const void *p, const void *q)
{
    const Sorted *a = p, *b = q;
    if (isnan(a->f) != isnan(b->f)) return isnan(a->f) ? 1 : -1;
    if (!isnan(a->f) && a->f != b->f) return a->f < b->f ? -1 : 1;
    if (a->i != b->i) return a->i < b->i ? -1 : 1;
    return (a->at > b->at) - (a->at < b->at);
}

/* As tables of n: keys of type t and places. */
static int64_t in_order(Blobs *bs, const Table *t, Blob *key, Blob *place)
{
    bool real = dtype_is_float(t->key_type);
    Sorted *s = arena_array(bs->arena, Sorted, t->n + 1);
    for (int64_t k = 0; k < t->n; k++) {
        s[k] = (Sorted){.at = k};
        if (real) s[k].f = blob_get_f(bs, t->key, k);
        else s[k].i = blob_get_i(bs, t->key, k);
    }
    qsort(s, (size_t)t->n, sizeof *s, by_key);
    int64_t n = 0, bytes = dtype_bytes(t->key_type, 1), *at = arena_array(bs->arena, int64_t, t->n + 1);
    uint8_t *data = arena_array(bs->arena, uint8_t, (t->n + 1) * bytes);
    for (int64_t k = 0; k < t->n; k++) {
        bool equal = n && (real ? s[n - 1].f == s[k].f || (isnan(s[n - 1].f) && isnan(s[k].f)) : s[n - 1].i == s[k].i);
        if (!equal) s[n++] = s[k];
    }
    for (int64_t k = 0; k < n; k++) {
        at[k] = s[k].at;
        blob_read(bs, t->key, s[k].at, 1, data + k * bytes);
    }
    *key = blob_inline(bs, t->key_type, n, data);
    *place = blob_inline(bs, DT_I64, n, at);
    return n;
}

/* The place of x's value; N where no key is x. Steps without a branch: lanes can take them. */
static KVal found(Lw *l, KVal x, uint32_t key, uint32_t place, int64_t n, KVal N)
{
    Kb *b = l->b;
    bool real = dtype_is_float(kb_type(b, x));
    KVal at = kb_i(b, 0), k, next, reaches;
    KbLoop loop;
    int64_t rounds = 1;
    while ((int64_t)1 << rounds < n) rounds++;
    /* the last key that is not larger than x (NaN: not larger than any), by steps of half the length each time */
    kb_loop(b, &loop, KLOOP_SEQ, kb_i(b, 0), kb_i(b, rounds), 1, &at, NULL);
    KVal step = kb_bin(b, KOP_SHR, kb_i(b, (int64_t)1 << (rounds - 1)), loop.iv);
    next = kb_min(b, kb_add(b, loop.carry[0], step), kb_i(b, n - 1));
    k = kb_load(b, key, &next);
    reaches = kb_bin(b, KOP_LE, k, x);
    if (real) reaches = kb_bin(b, KOP_OR, reaches, kb_un(b, KOP_ISNAN, x));
    next = kb_select(b, reaches, next, loop.carry[0]);
    kb_loop_end(b, &loop, &next);
    at = loop.result[0];
    return kb_select(b, same(b, x, kb_load(b, key, &at)), kb_load(b, place, &at), N);
}

/* Whole numbers that lie close together: a table of places from the least key to the largest; 0: too far apart. */
enum { SPAN_ANY = 4096, SPAN_MAX = 1 << 16, SPAN_OF_KEYS = 8 };

static int64_t spread(Blobs *bs, const Table *t, Blob key, Blob *place, int64_t n, int64_t *least)
{
    if (!dtype_is_int(t->key_type) || t->key_type == DT_U64) return 0;
    uint64_t low = (uint64_t)blob_get_i(bs, key, 0), span = (uint64_t)blob_get_i(bs, key, n - 1) - low + 1;
    if (span - 1 >= SPAN_MAX || /* 0: all of 64 bits */
         (span > SPAN_ANY && span > SPAN_OF_KEYS * (uint64_t)n)) return 0;
    int32_t *at = arena_array(bs->arena, int32_t, span);
    for (uint64_t k = 0; k < span; k++) at[k] = (int32_t)t->n;
    for (int64_t k = 0; k < n; k++) at[(uint64_t)blob_get_i(bs, key, k) - low] = (int32_t)blob_get_i(bs, *place, k);
    *place = blob_inline(bs, DT_I32, (int64_t)span, at);
    *least = (int64_t)low;
    return (int64_t)span;
}

static KVal looked_up(Lw *l, KVal x, uint32_t place, int64_t least, int64_t span, KVal N)
{
    Kb *b = l->b;
    x = kb_cast(b, DT_I64, x);
    KVal inside = kb_and(b, kb_ge(b, x, kb_i(b, least)), kb_bin(b, KOP_LE, x, kb_i(b, least + span - 1)));
    KVal at = kb_select(b, inside, kb_sub(b, x, kb_i(b, least)), kb_i(b, 0));
    return kb_select(b, inside, kb_cast(b, DT_I64, kb_load(b, place, &at)), N);
}

static bool lower_numbers(Lw *l, const OpDesc *op, const Table *t)
{
    Dims *d = &l->m->dims;
    Blob key, place;
    int64_t n = in_order(&l->m->blobs, t, &key, &place), least = 0;
    int64_t span = spread(&l->m->blobs, t, key, &place, n, &least);
    Dim keys = dim_const(d, n), places = dim_const(d, span ? span : n), values = dim_const(d, t->n + 1), dim[RANK_MAX];
    KBuf bk = span ? (KBuf){0} : lw_const_buf(l, key, "keys", 1, &keys), bp = lw_const_buf(l, place, "places", 1, &places),
         bv = lw_const_buf(l, t->value, "values", 1, &values);
    int rank = lw_rank(l, 0);
    lw_prepare_in(l);
    lw_prepare_out(l);
    Kb *b = lw_kernel(l, op->name);
    uint32_t pk = span ? 0 : kb_param(b, bk, false), pp = kb_param(b, bp, false), pv = kb_param(b, bv, false);
    KVal idx[RANK_MAX];
    for (int i = 0; i < rank; i++) dim[i] = lw_dim(l, 0, i);
    lw_nest(l, rank, dim, idx);
    KVal x = lw_at(l, 0, idx), N = kb_i(b, t->n);
    KVal at = span ? looked_up(l, x, pp, least, span, N) : found(l, x, pk, pp, n, N);
    lw_put(l, 0, idx, kb_load(b, pv, &at));
    lw_end_nest(l, rank);
    lw_kernel_end(l);
    return true;
}

/* Many strings: the runtime finds the places through a hash table, a nest fetches the values. */
enum { STRINGS_FEW = 16 };

static bool lower_strings(Lw *l, KBuf key, KBuf value)
{
    int rank = lw_rank(l, 0);
    Dim dim[RANK_MAX];
    KVal idx[RANK_MAX];
    for (int i = 0; i < rank; i++) dim[i] = lw_dim(l, 0, i);
    KBuf x = lw_in(l, 0), place = lw_temp(l, DT_I64, rank, dim);
    lw_call(l, l->steps, "rt_find", 3, (KArg[]){{.kind = KA_BUF, .buf = x}, {.kind = KA_BUF, .buf = key}, {.kind = KA_BUF, .buf = place}});
    lw_prepare_out(l);
    Kb *b = lw_kernel(l, "label");
    uint32_t pp = kb_param(b, place, false), pv = kb_param(b, value, false);
    lw_nest_over(l, 0, idx);
    KVal at = kb_load(b, pp, idx);
    lw_put(l, 0, idx, kb_load(b, pv, &at));
    lw_end_nest(l, rank);
    lw_kernel_end(l);
    return true;
}

static bool lower(Lw *l, Node n)
{
    const Lab *a = ATTRS(l->g, n, Lab);
    const OpDesc *op = node_desc(l->g, n);
    Dims *d = &l->m->dims;
    Table t;
    const char *why;
    int rank = lw_rank(l, 0);
    if (!table(&l->m->blobs, op, a, lw_elem(l, 0), &t, &why)) return lw_fail(l, "%s", why);
    bool one_hot = op->attrs == ONE_HOT;
    if (!one_hot && t.key_type != DT_STR && t.n > 2) return lower_numbers(l, op, &t);
    Dim keys = dim_const(d, t.n), values = dim_const(d, t.n + 1), dim[RANK_MAX];
    KBuf key = lw_const_buf(l, t.key, "keys", 1, &keys),
         value = one_hot ? (KBuf){0} : lw_const_buf(l, t.value, "values", 1, &values);
    if (!one_hot && t.n > STRINGS_FEW) return lower_strings(l, key, value);
    lw_prepare_in(l);
    lw_prepare_out(l);
    Kb *b = lw_kernel(l, op->name);
    uint32_t pk = kb_param(b, key, false), pv = one_hot ? 0 : kb_param(b, value, false);
    KVal idx[RANK_MAX], zero = kb_i(b, 0), N = kb_i(b, t.n), flat = zero;
    for (int i = 0; i < rank; i++) dim[i] = lw_dim(l, 0, i);
    lw_nest(l, rank, dim, idx);
    for (int i = 0; i < rank; i++) flat = kb_add(b, kb_mul(b, flat, kb_dim(b, dim[i])), idx[i]);
    KVal x = lw_at(l, 0, idx), at, none = N;
    if (one_hot && kb_type(b, x) != DT_STR)
        x = dtype_is_float(kb_type(b, x)) ? kb_cast(b, DT_F64, x) : kb_cast(b, DT_I64, x);
    KbLoop loop;
    bool look = !one_hot || !a->zeros; /* somebody asks which key it is */
    kb_loop(b, &loop, KLOOP_SEQ, zero, N, look, &none, NULL);
    KVal k = kb_load(b, pk, &loop.iv);
    if (one_hot && kb_type(b, k) != DT_STR) k = kb_cast(b, kb_type(b, x), k);
    if (look) at = kb_select(b, kb_and(b, same(b, x, k), kb_eq(b, loop.carry[0], N)), loop.iv, loop.carry[0]);
    if (one_hot) {
        idx[rank] = loop.iv;
        lw_put(l, 0, idx, kb_cast(b, DT_F32, same(b, x, k)));
    }
    kb_loop_end(b, &loop, &at);
    if (one_hot && !a->zeros) kb_record(b, kb_lt(b, loop.result[0], N), "an element is in no category", flat, N);
    if (!one_hot) lw_put(l, 0, idx, kb_load(b, pv, &loop.result[0]));
    lw_end_nest(l, rank);
    lw_kernel_end(l);
    return true;
}

/* ---- reference ---- */

static bool is_key(const Blobs *bs, const Table *t, int64_t k, const Tensor *x, int64_t at)
{
    if (t->key_type == DT_STR) {
        const bmc_string *key = (const bmc_string *)blob_rec(bs, t->key)->data + k,
                         *v = (const bmc_string *)x->data + at;
        return key->len == v->len && !memcmp(key->ptr, v->ptr, v->len);
    }
    if (!dtype_is_float(x->elem)) return ev_i(x, at) == blob_get_i(bs, t->key, k);
    double v = ev_f(x, at), key = blob_get_f(bs, t->key, k);
    return v == key || (isnan(v) && isnan(key));
}

static bool eval(Eval *e)
{
    const Lab *a = ATTRS(e->g, e->n, Lab);
    const OpDesc *op = node_desc(e->g, e->n);
    Blobs *bs = &e->g->m->blobs;
    const Tensor *x = e->in[0];
    Table t;
    const char *why;
    if (!table(bs, op, a, x->elem, &t, &why)) return ev_fail(e, "%s", why);
    bool one_hot = op->attrs == ONE_HOT;
    int64_t dim[RANK_MAX];
    for (int i = 0; i < x->rank; i++) dim[i] = x->dim[i];
    dim[x->rank] = t.n;
    Tensor *y = ev_out(e, 0, one_hot ? DT_F32 : t.value_type, x->rank + one_hot, dim);
    for (int64_t k = 0; y && k < x->count; k++) {
        int64_t at = 0;
        while (at < t.n && !is_key(bs, &t, at, x, k)) at++;
        if (one_hot) {
            if (at == t.n && !a->zeros) return ev_fail(e, "an element is in no category");
            for (int64_t j = 0; j < t.n; j++) ev_set_f(y, k * t.n + j, is_key(bs, &t, j, x, k));
        } else if (t.value_type == DT_STR)
            ((bmc_string *)y->data)[k] = ((const bmc_string *)blob_rec(bs, t.value)->data)[at];
        else if (dtype_is_float(t.value_type)) ev_set_f(y, k, blob_get_f(bs, t.value, at));
        else ev_set_i(y, k, blob_get_i(bs, t.value, at));
    }
    return y != NULL;
}

#define DTS_LABEL (DTS(DT_F32) | DTS(DT_F64) | DTS(DT_I64) | DTS(DT_I32) | DTS(DT_I16) | DTS_STR)
static const Port P_LABEL[] = {{"X", DTS_LABEL, 0, 0}, PORT_END};
static const Port P_LABEL_OUT[] = {{"Y", DTS_LABEL, 0, 0}, PORT_END};
static const Port P_MAP[] = {{"X", DTS(DT_I64) | DTS_STR, 0, 0}, PORT_END};
static const Port P_HOT[] = {{"X", DTS_ML | DTS_STR, 0, 0}, PORT_END};
static const Port P_HOT_OUT[] = {{"Y", DTS(DT_F32), 0, 0}, PORT_END};
#define ML                                                                                                             \
    .domain = "ai.onnx.ml", .cls = CLS_OPAQUE, .attrs_size = sizeof(Lab), .infer = infer,    \
    .lower = lower, .eval = eval
const OpDesc op_ml_LabelEncoder = {
    .flags = OPF_STRIDED_OUT | OPF_IRREGULAR,
    .name = "LabelEncoder", .since = 4, .in = P_LABEL, .out = P_LABEL_OUT, .attrs = ENCODER, .grad = grad_zero, ML};
const OpDesc op_ml_CategoryMapper = {
    .flags = OPF_STRIDED_OUT | OPF_IRREGULAR,
    .name = "CategoryMapper", .since = 1, .in = P_MAP, .out = P_MAP, .attrs = MAPPER, ML};
const OpDesc op_ml_OneHotEncoder = {
    .flags = OPF_STRIDED_OUT,
    .name = "OneHotEncoder", .since = 1, .in = P_HOT, .out = P_HOT_OUT, .attrs = ONE_HOT, .grad = grad_zero, ML};
