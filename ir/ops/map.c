/* map.c: ZipMap, DictVectorizer and CastMap of ai.onnx.ml. A map is a slot of two tensors, keys and values (rt_map.c).
 *   ZipMap         a row of scores becomes a map from labels, all rows a sequence of maps
 *   DictVectorizer y[i] = what the map has for word i of a vocabulary, else 0 or ""
 *   CastMap        values by rising keys [1,n], or at their keys [1,max_map]; MapItems sorts them, the rest is operators */
#include "ir/ops/cast_text.h"
#include "ir/ops/index.h"
#include <string.h>

#define A_BUF(x) ((KArg){.kind = KA_BUF, .buf = (x)})

/* Keys from whichever of two attributes is given: integers or strings. */
static int64_t n_keys(AttrInts i, AttrStrings s) { return i.n ? i.n : s.n; }
static DType key_type(AttrInts i) { return i.n ? DT_I64 : DT_STR; }

static KArg keys_arg(Lw *l, AttrInts i, AttrStrings s)
{
    size_t *len = arena_array(l->m->arena, size_t, s.n + 1);
    for (uint32_t k = 0; k < s.n; k++) len[k] = strlen(s.p[k]);
    Blob b = i.n ? blob_inline(&l->m->blobs, DT_I64, i.n, i.p) : blob_strings(&l->m->blobs, s.n, s.p, len);
    Dim n = dim_const(&l->m->dims, n_keys(i, s));
    return A_BUF(lw_const_buf(l, b, "keys", 1, &n));
}

static Tensor *keys_tensor(Eval *e, AttrInts i, AttrStrings s)
{
    int64_t n = n_keys(i, s);
    Tensor *t = tensor_new(e->arena, key_type(i), 1, &n);
    for (int64_t k = 0; t && k < n; k++) {
        if (i.n) ((int64_t *)t->data)[k] = i.p[k];
        else ((bmc_string *)t->data)[k] = (bmc_string){s.p[k], strlen(s.p[k])};
    }
    return t;
}

/* ---- ZipMap ---- */

typedef struct Zip {
    uint64_t set;
    AttrInts classlabels_int64s;
    AttrStrings classlabels_strings;
} Zip;
static const AttrSpec ZIP_ATTRS[] = {A_INTS(Zip, classlabels_int64s), A_STRINGS(Zip, classlabels_strings), A_END};
static const Port P_X[] = {{"X", DTS(DT_F32), 0, 0}, PORT_END};
static const Port P_Z[] = {{"Z", DTS(DT_F32), PORT_ANY_KIND, 0}, PORT_END};

static bool zip_infer(Infer *c)
{
    const Zip *a = ATTRS(c->g, c->n, Zip);
    Types *ty = &c->m->types;
    if (!infer_need_rank(c, 0, 1, 2)) return false;
    if (!a->classlabels_int64s.n == !a->classlabels_strings.n) return infer_fail(c, "either classlabels_int64s or classlabels_strings must be given");
    Dim keys = dim_const(c->d, n_keys(a->classlabels_int64s, a->classlabels_strings));
    if (!infer_must_eq(c, infer_dim(c, 0, infer_rank(c, 0) - 1), keys, "there are as many columns as labels")) return false;
    return infer_set_type(c, 0, type_seq(ty, type_map(ty, key_type(a->classlabels_int64s), type_tensor(ty, DT_F32, 0, NULL))));
}

static bool zip_lower(Lw *l, Node n)
{
    const Zip *a = ATTRS(l->g, n, Zip);
    int rank = lw_rank(l, 0);
    Dim dim[2] = {rank == 2 ? lw_dim(l, 0, 0) : dim_const(&l->m->dims, 1), lw_dim(l, 0, rank - 1)};
    KBuf x = lw_in(l, 0);
    if (rank == 1) {
        KBuf row = lw_temp(l, DT_F32, 2, dim);
        lw_copy(l, l->steps, row, x);
        x = row;
    }
    lw_call(l, l->steps, "rt_map_zip", 3, (KArg[]){A_BUF(lw_out(l, 0)), keys_arg(l, a->classlabels_int64s, a->classlabels_strings), A_BUF(x)});
    return true;
}

static bool zip_eval(Eval *e)
{
    const Zip *a = ATTRS(e->g, e->n, Zip);
    const Tensor *x = e->in[0];
    int64_t columns = x->dim[x->rank - 1], rows = x->rank == 2 ? x->dim[0] : 1;
    Tensor *q = e->out[0] = arena_new(e->arena, Tensor);
    *q = (Tensor){.kind = TY_SEQ, .item = arena_array(e->arena, Tensor *, rows + 1), .n_item = rows};
    if (columns != n_keys(a->classlabels_int64s, a->classlabels_strings)) return ev_fail(e, "there are as many columns as labels");
    for (int64_t r = 0; r < rows; r++) {
        Tensor *map = q->item[r] = arena_new(e->arena, Tensor);
        *map = (Tensor){.kind = TY_MAP, .item = arena_array(e->arena, Tensor *, 2), .n_item = 2};
        map->item[0] = keys_tensor(e, a->classlabels_int64s, a->classlabels_strings);
        map->item[1] = tensor_new(e->arena, DT_F32, 1, &columns);
        for (int64_t k = 0; k < columns; k++) ev_copy(map->item[1], k, x, r * columns + k);
    }
    return true;
}

const OpDesc op_ml_ZipMap = {.name = "ZipMap", .domain = "ai.onnx.ml", .since = 1, .cls = CLS_OPAQUE, .flags = OPF_IRREGULAR, .in = P_X, .out = P_Z,
                             .attrs = ZIP_ATTRS, .attrs_size = sizeof(Zip), .infer = zip_infer, .lower = zip_lower, .eval = zip_eval};

/* ---- DictVectorizer ---- */

typedef struct Dict {
    uint64_t set;
    AttrInts int64_vocabulary;
    AttrStrings string_vocabulary;
} Dict;
static const AttrSpec DICT_ATTRS[] = {A_INTS(Dict, int64_vocabulary), A_STRINGS(Dict, string_vocabulary), A_END};
#define DTS_VALUE (DTS(DT_F32) | DTS(DT_F64) | DTS(DT_I64) | DTS_STR)
static const Port P_DICT[] = {{"X", DTS_VALUE, PORT_MAP, 1}, PORT_END};
static const Port P_DICT_OUT[] = {{"Y", DTS_VALUE, 0, 1}, PORT_END};

static DType map_value(Infer *c) { return type_rec(&c->m->types, infer_in(c, 0)->of)->elem; }

static bool dict_infer(Infer *c)
{
    const Dict *a = ATTRS(c->g, c->n, Dict);
    if (!a->int64_vocabulary.n == !a->string_vocabulary.n) return infer_fail(c, "either int64_vocabulary or string_vocabulary must be given");
    DType key = infer_in(c, 0)->elem, words = key_type(a->int64_vocabulary);
    if (key != words) return infer_fail(c, "the keys are %s, the vocabulary is %s", dtype_info(key)->onnx, dtype_info(words)->onnx);
    Dim n = dim_const(c->d, n_keys(a->int64_vocabulary, a->string_vocabulary));
    return infer_set(c, 0, map_value(c), 1, &n);
}

static bool dict_lower(Lw *l, Node n)
{
    const Dict *a = ATTRS(l->g, n, Dict);
    KArg x = A_BUF(lw_in(l, 0)), words = keys_arg(l, a->int64_vocabulary, a->string_vocabulary);
    lw_call(l, l->steps, "rt_map_pick", 3, (KArg[]){x, words, A_BUF(lw_out(l, 0))});
    return true;
}

static bool same_key(const Tensor *a, int64_t i, const Tensor *b, int64_t j)
{
    if (a->elem != DT_STR) return ev_i(a, i) == ev_i(b, j);
    const bmc_string *p = (const bmc_string *)a->data + i, *q = (const bmc_string *)b->data + j;
    return p->len == q->len && !memcmp(p->ptr, q->ptr, p->len);
}

static bool dict_eval(Eval *e)
{
    const Dict *a = ATTRS(e->g, e->n, Dict);
    Tensor *words = keys_tensor(e, a->int64_vocabulary, a->string_vocabulary), *key = e->in[0]->item[0], *value = e->in[0]->item[1];
    Tensor *y = ev_out(e, 0, value->elem, 1, words->dim);
    for (int64_t i = 0; y && i < y->count; i++) {
        if (y->elem == DT_STR) ((bmc_string *)y->data)[i] = (bmc_string){"", 0};
        for (int64_t k = 0; k < key->count; k++)
            if (same_key(words, i, key, k)) ev_copy(y, i, value, k);
    }
    return y != NULL;
}

const OpDesc op_ml_DictVectorizer = {.name = "DictVectorizer", .domain = "ai.onnx.ml", .since = 1, .cls = CLS_OPAQUE, .flags = OPF_IRREGULAR, .in = P_DICT,
                                     .out = P_DICT_OUT, .attrs = DICT_ATTRS, .attrs_size = sizeof(Dict), .infer = dict_infer, .lower = dict_lower, .eval = dict_eval};

/* ---- MapItems(map) -> keys, values by rising keys ---- */

typedef struct Items {
    uint64_t set;
    int64_t limit;
} Items;
static const AttrSpec ITEMS_ATTRS[] = {A_INT(Items, limit, -1), A_END};
static const Port P_MAP[] = {{"X", DTS(DT_F32) | DTS_STR, PORT_MAP, 1}, PORT_END};
static const Port P_ITEMS[] = {{"keys", DTS(DT_I64), 0, 0}, {"values", DTS(DT_F32) | DTS_STR, 0, 1}, PORT_END};

static bool items_infer(Infer *c)
{
    Dim n = infer_node_dim(c, 0, 0, 0, INT64_MAX);
    return infer_set(c, 0, DT_I64, 1, &n) && infer_set(c, 1, map_value(c), 1, &n);
}

static bool items_lower(Lw *l, Node n)
{
    Sym s = sym_new(&l->m->dims, module_fresh_name(l->m, "items"), SYM_NODE, 0, INT64_MAX);
    Dim many = dim_sym(&l->m->dims, s);
    KBuf x = lw_in(l, 0), keys = kbuf_new(l->k, KS_BOX, (Name){0}, DT_I64, 1, &many, l->loc);
    KBuf values = kbuf_new(l->k, KS_BOX, (Name){0}, lw_out_elem(l, 1), 1, &many, l->loc);
    lw_call(l, l->steps, "rt_map_items", 5,
            (KArg[]){A_BUF(x), A_BUF(keys), A_BUF(values), {.kind = KA_SYM, .sym = s}, {.kind = KA_INT, .i = ATTRS(l->g, n, Items)->limit}});
    lw_bind_dims(l, 0, &many);
    lw_copy(l, l->steps, lw_out(l, 0), keys);
    lw_bind_dims(l, 1, &many);
    lw_copy(l, l->steps, lw_out(l, 1), values);
    return true;
}

static bool items_eval(Eval *e)
{
    const Tensor *key = e->in[0]->item[0], *value = e->in[0]->item[1];
    int64_t limit = ATTRS(e->g, e->n, Items)->limit;
    Tensor *keys = ev_out(e, 0, DT_I64, 1, key->dim), *values = ev_out(e, 1, value->elem, 1, key->dim);
    for (int64_t i = 0; keys && values && i < key->count; i++) {
        int64_t k = ev_i(key, i), at = 0;
        if (limit >= 0 && (k < 0 || k >= limit)) return ev_fail(e, "key %lld is outside 0..%lld", (long long)k, (long long)limit - 1);
        for (int64_t j = 0; j < key->count; j++) at += ev_i(key, j) < k || (ev_i(key, j) == k && j < i);
        ev_set_i(keys, at, k);
        ev_copy(values, at, value, i);
    }
    return keys && values;
}

const OpDesc op_MapItems = {.name = "MapItems", .since = 1, .cls = CLS_OPAQUE, .flags = OPF_INTERNAL | OPF_IRREGULAR, .in = P_MAP, .out = P_ITEMS,
                            .attrs = ITEMS_ATTRS, .attrs_size = sizeof(Items), .infer = items_infer, .lower = items_lower, .eval = items_eval};

/* ---- CastMap ---- */

typedef struct CastMap {
    uint64_t set;
    const char *cast_to, *map_form;
    int64_t max_map;
} CastMap;
static const AttrSpec CAST_ATTRS[] = {A_STRING(CastMap, cast_to, "TO_FLOAT"), A_STRING(CastMap, map_form, "DENSE"), A_INT(CastMap, max_map, 1), A_END};
static const Port P_CAST_OUT[] = {{"Y", DTS(DT_F32) | DTS(DT_I64) | DTS_STR, 0, 0}, PORT_END};

static DType cast_to(const CastMap *a)
{
    return !strcmp(a->cast_to, "TO_FLOAT") ? DT_F32 : !strcmp(a->cast_to, "TO_INT64") ? DT_I64 : !strcmp(a->cast_to, "TO_STRING") ? DT_STR : DT_NONE;
}

static bool sparse(const CastMap *a) { return !strcmp(a->map_form, "SPARSE"); }

static bool cast_infer(Infer *c)
{
    const CastMap *a = ATTRS(c->g, c->n, CastMap);
    if (cast_to(a) == DT_NONE) return infer_fail(c, "cast_to '%s' is not known", a->cast_to);
    if (!sparse(a) && strcmp(a->map_form, "DENSE")) return infer_fail(c, "map_form '%s' is not known", a->map_form);
    if (infer_in(c, 0)->elem != DT_I64) return infer_fail(c, "the keys are %s, expected int64", dtype_info(infer_in(c, 0)->elem)->onnx);
    if (sparse(a) && a->max_map < 0) return infer_fail(c, "max_map is negative");
    Dim dim[2] = {dim_const(c->d, 1), sparse(a) ? dim_const(c->d, a->max_map) : infer_node_dim(c, 0, 1, 0, INT64_MAX)};
    return infer_set(c, 0, cast_to(a), 2, dim);
}

static bool cast_expand(Graph *g, Node n)
{
    const CastMap *a = ATTRS(g, n, CastMap);
    Ex x = ex_begin(g, n);
    Value map = ex_in(&x, 0), item[2];
    if (!ex_ops(&x, OP_MapItems, &map, 1, ex_set(&x, OP_MapItems, NULL, "limit", sparse(a) ? a->max_map : -1), item, 2)) return ex_end(&x, NULL, 0);
    Value y = ex_cast(&x, item[1], cast_to(a));
    if (sparse(a)) {
        Value none = cast_to(a) == DT_STR ? ex_strings(&x, (const char *const[]){""}, 1)
                                          : ex_reshape(&x, cast_to(a) == DT_F32 ? ex_f(&x, DT_F32, 0) : ex_i(&x, DT_I64, 0), (int64_t[]){1}, 1);
        none = ex2(&x, OP_Expand, none, ex_int1(&x, a->max_map));
        y = ex3(&x, OP_ScatterElements, none, item[0], y);
    }
    y = ex2(&x, OP_Unsqueeze, y, ex_int1(&x, 0));
    return ex_end(&x, &y, 1);
}

static bool cast_eval(Eval *e)
{
    const CastMap *a = ATTRS(e->g, e->n, CastMap);
    const Tensor *key = e->in[0]->item[0], *value = e->in[0]->item[1];
    Tensor *y = ev_out(e, 0, cast_to(a), 2, (int64_t[]){1, sparse(a) ? a->max_map : key->count});
    for (int64_t i = 0; y && y->elem == DT_STR && i < y->count; i++) ((bmc_string *)y->data)[i] = (bmc_string){"", 0};
    for (int64_t i = 0; y && i < key->count; i++) {
        int64_t k = ev_i(key, i), at = 0;
        for (int64_t j = 0; j < key->count; j++) at += ev_i(key, j) < k || (ev_i(key, j) == k && j < i);
        if (sparse(a) && (k < 0 || k >= a->max_map)) return ev_fail(e, "key %lld is outside 0..%lld", (long long)k, (long long)a->max_map - 1);
        if (sparse(a)) at = k;
        if (y->elem == value->elem) ev_copy(y, at, value, i);
        else if (y->elem == DT_STR || value->elem == DT_STR) {
            if (!cast_text_eval(e, y, at, value, i)) return false;
        } else ev_set_f(y, at, ev_f(value, i));
    }
    return y != NULL;
}

const OpDesc op_ml_CastMap = {.name = "CastMap", .domain = "ai.onnx.ml", .since = 1, .cls = CLS_OPAQUE, .in = P_MAP, .out = P_CAST_OUT,
                              .attrs = CAST_ATTRS, .attrs_size = sizeof(CastMap), .infer = cast_infer, .expand = cast_expand, .eval = cast_eval};
