/* rt_map: maps. One is a sequence of two tensors of one axis, keys and values, in any order. */
#include "runtime/rt_internal.h"
#include <string.h>

static int32_t no_memory(bmc_ctx *x) { return rt_no_memory(x, "a map"); }

static size_t width_of(int dtype) { return (size_t)rt_dtype_bits(dtype) / 8; }

int32_t rt_map_zip(bmc_ctx *x, rt_arg *arg, int32_t n_arg, int32_t tid, int32_t nt)
{
    (void)n_arg, (void)tid, (void)nt;
    rt_private *p = x->rt;
    const rt_arg *keys = &arg[1], *rows = &arg[2];
    rt_seq_clear(x, arg, 1, tid, nt);
    rt_seq *q = rt_seq_of(x, (uint32_t)arg[0].value, true);
    if (!q) return no_memory(x);
    size_t row = (size_t)rows->dim[1] * width_of(rows->dtype);
    for (int64_t r = 0; r < rows->dim[0]; r++) {
        rt_seq *map = rt_seq_add_seq(p, q, BMC_MAP);
        const char *from = rows->data ? (const char *)rows->data + (size_t)r * row : NULL;
        if (!map || !rt_seq_add(p, map, keys->dtype, 1, keys->dim, keys->data) ||
            !rt_seq_add(p, map, rows->dtype, 1, &rows->dim[1], from))
            return no_memory(x);
    }
    return BMC_OK;
}

/* Keys and values of the map in a slot; false: it is empty. */
static bool map_of(bmc_ctx *x, const rt_arg *arg, const rt_elem **keys, const rt_elem **values)
{
    rt_seq *q = rt_seq_of(x, (uint32_t)arg->value, false);
    if (!q || q->n != 2) return false;
    *keys = &q->item[0], *values = &q->item[1];
    return (*keys)->dim[0] > 0;
}

typedef struct Index { /* of keys: open addressing, at most half full; entries are positions and one */
    const void *key;
    bool text;
    uint32_t *at;
    uint64_t mask;
} Index;

/* The entry of a key, or the free one for it. */
static uint32_t *index_find(const Index *t, const void *keys, int64_t i)
{
    const bmc_string *s = (const bmc_string *)keys + i, *own = t->key;
    int64_t k = t->text ? 0 : ((const int64_t *)keys)[i];
    uint64_t h = t->text ? rt_hash(s->len ? s->ptr : "", s->len) : (uint64_t)k * 0x9e3779b97f4a7c15u;
    for (h ^= h >> 32; t->at[h & t->mask]; h++) {
        uint32_t o = t->at[h & t->mask] - 1;
        if (t->text ? own[o].len == s->len && (!s->len || !memcmp(own[o].ptr, s->ptr, s->len))
                    : ((const int64_t *)t->key)[o] == k)
            break;
    }
    return &t->at[h & t->mask];
}

/* false: no memory. The first of equal keys stays. */
static bool index_make(bmc_ctx *x, Index *t, const void *key, int dtype, int64_t n)
{
    uint64_t size = 2;
    while (size < 2 * (uint64_t)n) size *= 2;
    *t = (Index){.key = key, .text = dtype == BMC_STRING, .mask = size - 1};
    if (n >= UINT32_MAX || !(t->at = rt_heap_alloc(&x->rt->heap, size * sizeof(uint32_t), NULL))) return false;
    memset(t->at, 0, size * sizeof *t->at);
    for (int64_t i = 0; i < n; i++) {
        uint32_t *o = index_find(t, key, i);
        if (!*o) *o = (uint32_t)i + 1;
    }
    return true;
}

int32_t rt_find(bmc_ctx *x, rt_arg *arg, int32_t n_arg, int32_t tid, int32_t nt)
{
    (void)n_arg, (void)tid, (void)nt;
    Index t;
    int64_t n = 1, keys = arg[1].dim[0], *to = arg[2].data;
    for (int i = 0; i < arg[0].rank; i++) n *= arg[0].dim[i];
    if (n && !(arg[0].data && to)) return no_memory(x);
    if (n) memset(to, 0, (size_t)n * sizeof *to);
    if (!index_make(x, &t, arg[1].data, arg[1].dtype, keys)) return no_memory(x);
    for (int64_t i = 0; i < n; i++) {
        uint32_t at = *index_find(&t, arg[0].data, i);
        to[i] = at ? at - 1 : keys;
    }
    rt_heap_free(&x->rt->heap, t.at);
    return BMC_OK;
}

int32_t rt_map_pick(bmc_ctx *x, rt_arg *arg, int32_t n_arg, int32_t tid, int32_t nt)
{
    (void)n_arg, (void)tid, (void)nt;
    Index t;
    const rt_elem *keys, *values;
    size_t width = width_of(arg[2].dtype);
    int64_t n = arg[1].dim[0];
    if (n && !(arg[1].data && arg[2].data)) return no_memory(x);
    if (n) memset(arg[2].data, 0, (size_t)n * width);
    if (!map_of(x, &arg[0], &keys, &values)) return BMC_OK;
    if (!index_make(x, &t, keys->data, keys->dtype, keys->dim[0])) return no_memory(x);
    for (int64_t i = 0; i < n; i++) {
        uint32_t o = *index_find(&t, arg[1].data, i);
        if (o) memcpy((char *)arg[2].data + (size_t)i * width, (const char *)values->data + (o - 1) * width, width);
    }
    rt_heap_free(&x->rt->heap, t.at);
    return BMC_OK;
}

typedef struct Entry {
    int64_t key, at;
} Entry;

static void entries_sort(Entry *e, int64_t n) /* shell sort */
{
    for (int64_t gap = n / 2; gap; gap = gap == 2 ? 1 : gap * 5 / 11)
        for (int64_t i = gap; i < n; i++) {
            Entry v = e[i];
            int64_t j = i;
            for (; j >= gap && e[j - gap].key > v.key; j -= gap) e[j] = e[j - gap];
            e[j] = v;
        }
}

int32_t rt_map_items(bmc_ctx *x, rt_arg *arg, int32_t n_arg, int32_t tid, int32_t nt)
{
    (void)n_arg, (void)tid, (void)nt;
    const rt_elem *keys = NULL, *values = NULL;
    uint32_t slot[2] = {(uint32_t)arg[1].value, (uint32_t)arg[2].value};
    size_t width = width_of(arg[2].dtype);
    int64_t n = map_of(x, &arg[0], &keys, &values) ? keys->dim[0] : 0, limit = arg[4].value;
    *arg[3].sym = 0;
    if (!rt_box_alloc(x, slot[0], n * (int64_t)sizeof(int64_t), 0) || !rt_box_alloc(x, slot[1], n * (int64_t)width, 0))
        return no_memory(x);
    Entry *e = rt_heap_alloc(&x->rt->heap, (size_t)n * sizeof *e, NULL);
    if (!e) return no_memory(x);
    for (int64_t i = 0; i < n; i++) e[i] = (Entry){((const int64_t *)keys->data)[i], i};
    entries_sort(e, n);
    int64_t wrong = limit < 0 || !n ? 0 : e[0].key < 0 ? e[0].key : e[n - 1].key >= limit ? e[n - 1].key : 0;
    for (int64_t i = 0; i < n; i++) {
        ((int64_t *)x->slot[slot[0]])[i] = e[i].key;
        memcpy((char *)x->slot[slot[1]] + (size_t)i * width, (const char *)values->data + (size_t)e[i].at * width, width);
    }
    rt_heap_free(&x->rt->heap, e);
    if (wrong) {
        rt_detail(x, "key %lld is outside 0..%lld", (long long)wrong, (long long)limit - 1);
        return BMC_E_INDEX;
    }
    *arg[3].sym = n;
    return BMC_OK;
}
