/* rt_seq: sequences (also optionals: 0 or 1 element; maps: keys and values). An element is a tensor or again one of
 * them, to any depth. A sequence owns copies of its elements; only the tensors of an input of the model are lent by the
 * caller until the sequence is copied. */
#include "runtime/rt_internal.h"
#include <string.h>

rt_seq *rt_seq_of(bmc_ctx *x, uint32_t slot, bool create)
{
    rt_private *p = x->rt;
    if (p->tag[slot] == SLOT_SEQ) return x->slot[slot];
    if (!create) return NULL;
    rt_seq *q = rt_heap_alloc(&p->heap, sizeof *q, NULL);
    if (!q) return NULL;
    *q = (rt_seq){0};
    rt_box_free(x, slot);
    p->tag[slot] = SLOT_SEQ;
    x->slot[slot] = q;
    return q;
}

static void elem_free(rt_private *p, const rt_elem *e)
{
    if (e->kind != BMC_TENSOR) rt_seq_free(p, e->data);
    else if (e->owned) rt_heap_free(&p->heap, e->data);
}

static void elems_free(rt_private *p, rt_seq *q)
{
    for (size_t i = 0; i < q->n; i++) elem_free(p, &q->item[i]);
    q->n = 0;
}

void rt_seq_free(rt_private *p, rt_seq *q)
{
    if (!q) return;
    elems_free(p, q);
    rt_heap_free(&p->heap, q->item);
    rt_heap_free(&p->heap, q->view);
    rt_heap_free(&p->heap, q);
}

static bool seq_reserve(rt_private *p, rt_seq *q, size_t n)
{
    if (n <= q->cap) return true;
    size_t bytes = n < 4 ? 4 : n + n / 2, cap;
    if (n > PTRDIFF_MAX / 2 / sizeof(rt_elem)) return false;
    rt_elem *item = rt_heap_alloc(&p->heap, bytes * sizeof *item, &cap);
    if (!item) return false;
    if (q->n) memcpy(item, q->item, q->n * sizeof *item);
    rt_heap_free(&p->heap, q->item);
    q->item = item;
    q->cap = cap / sizeof *item;
    return true;
}

static int32_t no_memory(bmc_ctx *x) { return rt_no_memory(x, "an element of a sequence"); }

/* A copy of dense data as an element of its own. data NULL although there are elements: an allocation in front of the
 * call failed. */
static bool elem_copy(rt_private *p, rt_elem *e, int dtype, int rank, const int64_t *dim, const void *data)
{
    *e = (rt_elem){.kind = BMC_TENSOR, .dtype = (uint8_t)dtype, .rank = (uint8_t)rank, .owned = 1};
    memcpy(e->dim, dim, (size_t)rank * sizeof *dim);
    if (!rt_dense_bytes(dtype, rank, dim, &e->bytes) || (e->bytes && !data)) return false;
    e->data = rt_heap_alloc(&p->heap, e->bytes, NULL);
    if (e->data && e->bytes) memcpy(e->data, data, e->bytes);
    return e->data != NULL;
}

/* to, empty, becomes a copy of from (NULL: an empty one), elements of elements too. */
static bool seq_clone(rt_private *p, rt_seq *to, const rt_seq *from)
{
    if (!from) return true;
    if (!seq_reserve(p, to, from->n)) return false;
    for (; to->n < from->n; to->n++) {
        const rt_elem *e = &from->item[to->n];
        rt_elem *copy = &to->item[to->n];
        if (e->kind == BMC_TENSOR) {
            if (!elem_copy(p, copy, e->dtype, e->rank, e->dim, e->data)) return false;
            continue;
        }
        rt_seq *own = rt_heap_alloc(&p->heap, sizeof *own, NULL);
        if (!own) return false;
        *own = (rt_seq){0};
        *copy = (rt_elem){.kind = e->kind, .owned = 1, .data = own};
        if (!seq_clone(p, own, e->data)) {
            rt_seq_free(p, own);
            return false;
        }
    }
    return true;
}

/* Opens a place at pos (checked) for *e, which belongs to the sequence from then on. */
static bool elem_insert(rt_private *p, rt_seq *q, int64_t pos, const rt_elem *e)
{
    if (!seq_reserve(p, q, q->n + 1)) return false;
    memmove(&q->item[pos + 1], &q->item[pos], (q->n - (size_t)pos) * sizeof *e);
    q->item[pos] = *e;
    q->n++;
    return true;
}

bool rt_seq_add(rt_private *p, rt_seq *q, int dtype, int rank, const int64_t *dim, const void *data)
{
    rt_elem e;
    if (!elem_copy(p, &e, dtype, rank, dim, data)) return false;
    if (elem_insert(p, q, (int64_t)q->n, &e)) return true;
    rt_heap_free(&p->heap, e.data);
    return false;
}

rt_seq *rt_seq_add_seq(rt_private *p, rt_seq *q, int kind)
{
    rt_seq *own = rt_heap_alloc(&p->heap, sizeof *own, NULL);
    if (!own) return NULL;
    *own = (rt_seq){0};
    rt_elem e = {.kind = (uint8_t)kind, .owned = 1, .data = own};
    if (elem_insert(p, q, (int64_t)q->n, &e)) return own;
    rt_seq_free(p, own);
    return NULL;
}

/* Python's index rule: -n..limit counts from the end when negative. */
static bool position(bmc_ctx *x, int64_t *pos, size_t n, int64_t limit)
{
    int64_t at = *pos < 0 ? *pos + (int64_t)n : *pos;
    if (*pos < -(int64_t)n || at > limit) {
        if (limit < -(int64_t)n) rt_detail(x, "position %lld of an empty sequence", (long long)*pos);
        else rt_detail(x, "position %lld is outside %lld..%lld", (long long)*pos, -(long long)n, (long long)limit);
        return false;
    }
    *pos = at;
    return true;
}

static rt_elem *elem_at(bmc_ctx *x, const rt_arg *seq, const rt_arg *pos)
{
    rt_seq *q = rt_seq_of(x, (uint32_t)seq->value, false);
    size_t n = q ? q->n : 0;
    int64_t at = pos->value;
    if (!n) {
        rt_detail(x, "position %lld of an empty sequence", (long long)at);
        return NULL;
    }
    return position(x, &at, n, (int64_t)n - 1) ? &q->item[at] : NULL;
}

int32_t rt_seq_clear(bmc_ctx *x, rt_arg *arg, int32_t n, int32_t tid, int32_t nt)
{
    (void)n, (void)tid, (void)nt;
    rt_seq *q = rt_seq_of(x, (uint32_t)arg[0].value, true);
    if (!q) return no_memory(x);
    elems_free(x->rt, q);
    return BMC_OK;
}

int32_t rt_seq_insert(bmc_ctx *x, rt_arg *arg, int32_t n, int32_t tid, int32_t nt)
{
    (void)n, (void)tid, (void)nt;
    rt_private *p = x->rt;
    rt_seq *q = rt_seq_of(x, (uint32_t)arg[0].value, true);
    if (!q) return no_memory(x);
    int64_t pos = arg[2].value;
    if (!position(x, &pos, q->n, (int64_t)q->n)) return BMC_E_INDEX;
    rt_elem e;
    if (!elem_copy(p, &e, arg[1].dtype, arg[1].rank, arg[1].dim, arg[1].data)) return no_memory(x);
    if (elem_insert(p, q, pos, &e)) return BMC_OK;
    rt_heap_free(&p->heap, e.data);
    return no_memory(x);
}

int32_t rt_seq_nest(bmc_ctx *x, rt_arg *arg, int32_t n, int32_t tid, int32_t nt)
{
    (void)n, (void)tid, (void)nt;
    rt_private *p = x->rt;
    rt_seq *q = rt_seq_of(x, (uint32_t)arg[0].value, true), *from = rt_seq_of(x, (uint32_t)arg[1].value, false);
    if (!q) return no_memory(x);
    int64_t pos = arg[2].value;
    if (!position(x, &pos, q->n, (int64_t)q->n)) return BMC_E_INDEX;
    rt_seq *own = rt_heap_alloc(&p->heap, sizeof *own, NULL);
    if (!own) return no_memory(x);
    *own = (rt_seq){0};
    rt_elem e = {.kind = (uint8_t)arg[3].value, .owned = 1, .data = own};
    if (seq_clone(p, own, from) && elem_insert(p, q, pos, &e)) return BMC_OK;
    rt_seq_free(p, own);
    return no_memory(x);
}

int32_t rt_seq_erase(bmc_ctx *x, rt_arg *arg, int32_t n, int32_t tid, int32_t nt)
{
    (void)n, (void)tid, (void)nt;
    rt_elem *e = elem_at(x, &arg[0], &arg[1]);
    if (!e) return BMC_E_INDEX;
    rt_seq *q = rt_seq_of(x, (uint32_t)arg[0].value, false);
    elem_free(x->rt, e);
    memmove(e, e + 1, (q->n - 1 - (size_t)(e - q->item)) * sizeof *e);
    q->n--;
    return BMC_OK;
}

int32_t rt_seq_length(bmc_ctx *x, rt_arg *arg, int32_t n, int32_t tid, int32_t nt)
{
    (void)n, (void)tid, (void)nt;
    rt_seq *q = rt_seq_of(x, (uint32_t)arg[0].value, false);
    *arg[1].sym = q ? (int64_t)q->n : 0;
    return BMC_OK;
}

int32_t rt_seq_rank(bmc_ctx *x, rt_arg *arg, int32_t n, int32_t tid, int32_t nt)
{
    (void)n, (void)tid, (void)nt;
    rt_elem *e = elem_at(x, &arg[0], &arg[1]);
    *arg[2].sym = e ? e->rank : 0;
    if (!e) return BMC_E_INDEX;
    if (e->kind == BMC_TENSOR) return BMC_OK;
    rt_detail(x, "the element is no tensor");
    return BMC_E_SHAPE;
}

int32_t rt_seq_dims(bmc_ctx *x, rt_arg *arg, int32_t n, int32_t tid, int32_t nt)
{
    (void)tid, (void)nt;
    for (int32_t i = 3; i < n; i++) *arg[i].sym = 0; /* defined even when the call fails */
    rt_elem *e = elem_at(x, &arg[0], &arg[1]);
    if (!e) return BMC_E_INDEX;
    if (e->kind != BMC_TENSOR || e->rank != arg[2].value || n < 3 + e->rank) {
        rt_detail(x, "the element has rank %d, expected %lld", e->rank, (long long)arg[2].value);
        return BMC_E_SHAPE;
    }
    for (int i = 0; i < e->rank; i++) *arg[3 + i].sym = e->dim[i];
    return BMC_OK;
}

int32_t rt_seq_at(bmc_ctx *x, rt_arg *arg, int32_t n, int32_t tid, int32_t nt)
{
    (void)n, (void)tid, (void)nt;
    rt_elem *e = elem_at(x, &arg[0], &arg[1]);
    rt_arg *o = &arg[2];
    size_t bytes;
    if (!o->data || !rt_dense_bytes(o->dtype, o->rank, o->dim, &bytes)) return no_memory(x);
    if (!e) {
        memset(o->data, 0, bytes); /* what runs before the next barrier must not meet wild pointers of strings */
        return BMC_E_INDEX;
    }
    if (e->kind != BMC_TENSOR || e->dtype != o->dtype || e->rank != o->rank || memcmp(e->dim, o->dim, e->rank * sizeof *e->dim)) {
        rt_detail(x, "the element (%s of rank %d) is not what was expected (%s of rank %d)", rt_dtype_name(e->dtype),
                  e->rank, rt_dtype_name(o->dtype), o->rank);
        memset(o->data, 0, bytes);
        return BMC_E_SHAPE;
    }
    if (bytes) memcpy(o->data, e->data, bytes);
    return BMC_OK;
}

int32_t rt_seq_copy(bmc_ctx *x, rt_arg *arg, int32_t n, int32_t tid, int32_t nt)
{
    (void)n, (void)tid, (void)nt;
    rt_private *p = x->rt;
    if (arg[0].value == arg[1].value) return BMC_OK;
    rt_seq *to = rt_seq_of(x, (uint32_t)arg[1].value, true), *from = rt_seq_of(x, (uint32_t)arg[0].value, false);
    if (!to) return no_memory(x);
    elems_free(p, to);
    return seq_clone(p, to, from) ? BMC_OK : no_memory(x);
}

int32_t rt_seq_take(bmc_ctx *x, rt_arg *arg, int32_t n, int32_t tid, int32_t nt)
{
    (void)n, (void)tid, (void)nt;
    rt_private *p = x->rt;
    rt_seq *to = rt_seq_of(x, (uint32_t)arg[2].value, true);
    if (!to) return no_memory(x);
    elems_free(p, to);
    const rt_elem *e = elem_at(x, &arg[0], &arg[1]);
    if (!e) return BMC_E_INDEX;
    if (e->kind == BMC_TENSOR) {
        rt_detail(x, "the element is a tensor");
        return BMC_E_SHAPE;
    }
    return seq_clone(p, to, e->data) ? BMC_OK : no_memory(x);
}

/* n elements from element `from` of x to element `to` of y; those of 2 and 4 bits share bytes. */
static void elements_copy(int32_t bits, char *y, int64_t to, const char *x, int64_t from, int64_t n)
{
    if (n <= 0) return;
    if (bits >= 8) {
        memcpy(y + to * (bits / 8), x + from * (bits / 8), (size_t)(n * (bits / 8)));
        return;
    }
    int32_t per = 8 / bits, mask = (1 << bits) - 1;
    for (int64_t k = 0; k < n; k++) {
        int64_t i = from + k, o = to + k;
        int32_t code = (uint8_t)x[i / per] >> (i % per * bits) & mask, at = (int32_t)(o % per) * bits;
        y[o / per] = (char)(((uint8_t)y[o / per] & ~(mask << at)) | code << at);
    }
}

int32_t rt_seq_stack(bmc_ctx *x, rt_arg *arg, int32_t n, int32_t tid, int32_t nt)
{
    (void)n, (void)tid, (void)nt;
    rt_seq *q = rt_seq_of(x, (uint32_t)arg[0].value, false);
    const rt_arg *o = &arg[1];
    size_t count = q ? q->n : 0, bytes;
    int64_t each = 1;
    for (int i = 1; i < o->rank; i++) each *= o->dim[i];
    if (!o->data || !rt_dense_bytes(o->dtype, o->rank, o->dim, &bytes)) return no_memory(x);
    if (o->dim[0] != (int64_t)count) {
        rt_detail(x, "the sequence has %lld elements, expected %lld", (long long)count, (long long)o->dim[0]);
        memset(o->data, 0, bytes);
        return BMC_E_SHAPE;
    }
    for (size_t i = 0; i < count; i++) {
        const rt_elem *e = &q->item[i];
        if (e->kind != BMC_TENSOR || e->dtype != o->dtype || e->rank + 1 != o->rank || memcmp(e->dim, o->dim + 1, e->rank * sizeof *e->dim)) {
            rt_detail(x, "element %lld differs in shape from the others", (long long)i);
            memset(o->data, 0, bytes);
            return BMC_E_SHAPE;
        }
        elements_copy((int32_t)rt_dtype_bits(o->dtype), o->data, (int64_t)i * each, e->data, 0, each);
    }
    return BMC_OK;
}

/* Element i of a split along `axis`: rows at .. at + len of each outer slice. */
static bool elem_cut(rt_private *p, rt_elem *e, const rt_arg *b, int axis, int64_t at, int64_t len, bool keep)
{
    int64_t outer = 1, inner = 1, dim[BMC_MAX_RANK];
    int rank = 0;
    for (int i = 0; i < b->rank; i++) {
        if (i < axis) outer *= b->dim[i];
        if (i > axis) inner *= b->dim[i];
        if (i != axis || keep) dim[rank++] = i == axis ? len : b->dim[i];
    }
    *e = (rt_elem){.kind = BMC_TENSOR, .dtype = b->dtype, .rank = (uint8_t)rank, .owned = 1};
    memcpy(e->dim, dim, (size_t)rank * sizeof *dim);
    if (!rt_dense_bytes(b->dtype, rank, dim, &e->bytes) || (e->bytes && !b->data)) return false;
    if (!(e->data = rt_heap_alloc(&p->heap, e->bytes, NULL))) return false;
    for (int64_t o = 0; o < outer && e->bytes; o++)
        elements_copy((int32_t)rt_dtype_bits(b->dtype), e->data, o * len * inner, b->data, (o * b->dim[axis] + at) * inner, len * inner);
    return true;
}

int32_t rt_seq_split(bmc_ctx *x, rt_arg *arg, int32_t n, int32_t tid, int32_t nt)
{
    (void)n, (void)tid, (void)nt;
    rt_private *p = x->rt;
    rt_seq *q = rt_seq_of(x, (uint32_t)arg[0].value, true);
    const rt_arg *b = &arg[1], *split = &arg[2];
    const int64_t *size = split->data;
    int axis = (int)arg[3].value;
    bool keep = arg[4].value != 0;
    if (!q || !size) return no_memory(x);
    elems_free(p, q);
    int64_t len = b->dim[axis], at = 0, count = split->rank ? split->dim[0] : size[0] > 0 ? len / size[0] + (len % size[0] != 0) : -1, sum = 0;
    for (int64_t i = 0; split->rank && i < count; i++) {
        if (size[i] < 0 || size[i] > len - sum) sum = INT64_MAX / 2;
        else sum += size[i];
    }
    if (count < 0 || (split->rank && sum != len)) {
        rt_detail(x, "the split does not fit an axis of %lld", (long long)len);
        return BMC_E_SHAPE;
    }
    if (!seq_reserve(p, q, (size_t)count)) return no_memory(x);
    for (int64_t i = 0; i < count; i++) {
        int64_t take = split->rank ? size[i] : size[0] < len - at ? size[0] : len - at;
        if (!elem_cut(p, &q->item[i], b, axis, at, take, keep)) return no_memory(x);
        q->n++;
        at += take;
    }
    return BMC_OK;
}

int32_t rt_seq_concat_dims(bmc_ctx *x, rt_arg *arg, int32_t n, int32_t tid, int32_t nt)
{
    (void)tid, (void)nt;
    rt_seq *q = rt_seq_of(x, (uint32_t)arg[0].value, false);
    size_t count = q ? q->n : 0;
    int axis = (int)arg[1].value, rank = (int)arg[3].value, from = 0;
    bool stack = arg[2].value != 0;
    for (int32_t i = 4; i < n; i++) *arg[i].sym = 0;
    if (!count) {
        rt_detail(x, "an empty sequence");
        return BMC_E_SHAPE;
    }
    if (q->item[0].kind != BMC_TENSOR || q->item[0].rank + stack != rank) {
        rt_detail(x, "the elements have rank %d, expected %d", q->item[0].rank, rank - stack);
        return BMC_E_SHAPE;
    }
    for (int i = 0; i < rank && 4 + i < n; i++) *arg[4 + i].sym = stack && i == axis ? (int64_t)count : q->item[0].dim[from++];
    for (size_t k = 1; k < count && !stack; k++) *arg[4 + axis].sym += q->item[k].dim[axis];
    return BMC_OK;
}

int32_t rt_seq_concat(bmc_ctx *x, rt_arg *arg, int32_t n, int32_t tid, int32_t nt)
{
    (void)n, (void)tid, (void)nt;
    rt_seq *q = rt_seq_of(x, (uint32_t)arg[0].value, false);
    const rt_arg *o = &arg[1];
    int axis = (int)arg[2].value;
    bool stack = arg[3].value != 0;
    int64_t outer = 1, inner = 1, at = 0;
    size_t bytes;
    if (!o->data || !rt_dense_bytes(o->dtype, o->rank, o->dim, &bytes)) return no_memory(x);
    for (int i = 0; i < axis; i++) outer *= o->dim[i];
    for (int i = axis + 1; i < o->rank; i++) inner *= o->dim[i];
    for (size_t k = 0; q && k < q->n; k++) {
        const rt_elem *e = &q->item[k];
        int64_t len = stack ? 1 : e->rank == o->rank ? e->dim[axis] : 0;
        bool fits = e->kind == BMC_TENSOR && e->dtype == o->dtype && e->rank + stack == o->rank && at + len <= o->dim[axis];
        for (int i = 0, from = 0; fits && i < o->rank; i++)
            if (!stack || i != axis) fits = (i == axis && !stack) || e->dim[from] == o->dim[i], from++;
        if (!fits) {
            rt_detail(x, "element %lld does not fit the others", (long long)k);
            memset(o->data, 0, bytes);
            return BMC_E_SHAPE;
        }
        for (int64_t r = 0; r < outer && e->bytes; r++)
            elements_copy((int32_t)rt_dtype_bits(o->dtype), o->data, (r * o->dim[axis] + at) * inner, e->data, r * len * inner, len * inner);
        at += len;
    }
    return BMC_OK;
}

/* ---- values of the interface ---- */

static bool seq_import(rt_private *p, rt_seq *q, const bmc_value *v)
{
    elems_free(p, q);
    if (!seq_reserve(p, q, v->n_item)) return false;
    for (size_t i = 0; i < v->n_item; i++, q->n++) {
        const bmc_value *s = &v->item[i];
        rt_elem *e = &q->item[i];
        if (s->kind != BMC_TENSOR) {
            rt_seq *own = rt_heap_alloc(&p->heap, sizeof *own, NULL);
            if (!own) return false;
            *own = (rt_seq){0};
            *e = (rt_elem){.kind = s->kind, .owned = 1, .data = own};
            if (seq_import(p, own, s)) continue;
            rt_seq_free(p, own);
            return false;
        }
        *e = (rt_elem){.kind = BMC_TENSOR, .dtype = s->dtype, .rank = s->rank, .data = s->data};
        memcpy(e->dim, s->dim, s->rank * sizeof *s->dim);
        if (!rt_dense_bytes(s->dtype, s->rank, s->dim, &e->bytes)) return false;
        if (s->stride && !rt_is_dense(s->rank, s->dim, s->stride)) {
            if (!(e->data = rt_heap_alloc(&p->heap, e->bytes, NULL))) return false;
            e->owned = 1;
            rt_copy_strided(e->data, s->data, (size_t)rt_dtype_bits(s->dtype) / 8, s->rank, s->dim, s->stride);
        }
    }
    return true;
}

int32_t rt_seq_import(bmc_ctx *x, uint32_t slot, const bmc_value *v)
{
    rt_seq *q = rt_seq_of(x, slot, true);
    return q && seq_import(x->rt, q, v);
}

static bool seq_export(rt_private *p, rt_seq *q, uint8_t kind, bmc_value *v)
{
    if (q->view_cap < q->n) {
        rt_heap_free(&p->heap, q->view);
        q->view_cap = 0;
        q->view = rt_heap_alloc(&p->heap, q->n * sizeof *q->view, NULL);
        if (!q->view) return false;
        q->view_cap = q->n;
    }
    for (size_t i = 0; i < q->n; i++) {
        const rt_elem *e = &q->item[i];
        bmc_value *o = &q->view[i];
        *o = (bmc_value){.size = sizeof *o, .kind = e->kind, .flags = BMC_LENT};
        if (e->kind != BMC_TENSOR) {
            if (!seq_export(p, e->data, e->kind, o)) return false;
            continue;
        }
        o->dtype = e->dtype;
        o->rank = e->rank;
        o->data = e->data;
        o->bytes = e->bytes;
        memcpy(o->dim, e->dim, e->rank * sizeof *e->dim);
    }
    v->kind = kind;
    v->item = q->view;
    v->n_item = q->n;
    return true;
}

int32_t rt_seq_export(bmc_ctx *x, uint32_t slot, uint8_t kind, bmc_value *v)
{
    rt_seq *q = rt_seq_of(x, slot, true);
    return q && seq_export(x->rt, q, kind, v);
}
