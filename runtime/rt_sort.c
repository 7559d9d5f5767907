/* rt_sort: what has to compare elements: TopK, Unique. Elements of all types become keys, 64-bit unsigned numbers in the
 * same order: signs are flipped to the top, floats are ordered by their bits, -0 equals +0, NaN (of any sign) is
 * larger than everything else. */
#include "runtime/rt_internal.h"
#include <string.h>

typedef struct rt_pair {
    uint64_t key;
    int64_t at;
} rt_pair;

/* Bits of a float of `bits` bits with `mant` mantissa bits as a key. */
static uint64_t float_key(uint64_t u, int bits, int mant)
{
    uint64_t sign = (uint64_t)1 << (bits - 1), inf = (sign - 1) >> mant << mant, mag = u & (sign - 1);
    if (mag > inf) return 2 * sign - 1;
    if (!mag) return sign;
    return u & sign ? sign - mag : sign | mag;
}

static uint64_t key_of(const void *data, int dtype, int64_t i)
{
    union {
        uint16_t u16;
        uint32_t u32;
        uint64_t u64;
    } u;
    switch (dtype) {
    case BMC_F32: return memcpy(&u.u32, (const char *)data + 4 * i, 4), float_key(u.u32, 32, 23);
    case BMC_F64: return memcpy(&u.u64, (const char *)data + 8 * i, 8), float_key(u.u64, 64, 52);
    case BMC_F16: return memcpy(&u.u16, (const char *)data + 2 * i, 2), float_key(u.u16, 16, 10);
    case BMC_BF16: return memcpy(&u.u16, (const char *)data + 2 * i, 2), float_key(u.u16, 16, 7);
    case BMC_I8: return (uint64_t)((const int8_t *)data)[i] ^ (uint64_t)1 << 63;
    case BMC_I16: return (uint64_t)((const int16_t *)data)[i] ^ (uint64_t)1 << 63;
    case BMC_I32: return (uint64_t)((const int32_t *)data)[i] ^ (uint64_t)1 << 63;
    case BMC_I64: return (uint64_t)((const int64_t *)data)[i] ^ (uint64_t)1 << 63;
    case BMC_U16: return ((const uint16_t *)data)[i];
    case BMC_U32: return ((const uint32_t *)data)[i];
    case BMC_U64: return ((const uint64_t *)data)[i];
    default: return ((const uint8_t *)data)[i];
    }
}

/* ---- TopK ---- */

static bool worse(rt_pair a, rt_pair b) { return a.key != b.key ? a.key > b.key : a.at > b.at; }

/* h[0..n): every parent is worse than its children, but perhaps at i. */
static void sift(rt_pair *h, int64_t n, int64_t i)
{
    rt_pair x = h[i];
    for (int64_t c; (c = 2 * i + 1) < n; i = c) {
        if (c + 1 < n && worse(h[c + 1], h[c])) c++;
        if (!worse(h[c], x)) break;
        h[i] = h[c];
    }
    h[i] = x;
}

/* The k pairs with the smallest keys of a row, in order: a heap of the best so far with the worst on top. */
static void select_row(const rt_arg *x, int64_t base, int64_t stride, int64_t n, int64_t k, uint64_t flip, rt_pair *h)
{
    int64_t i = 0;
    for (; i < k; i++) h[i] = (rt_pair){key_of(x->data, x->dtype, base + i * stride) ^ flip, i};
    for (int64_t p = k / 2; p-- > 0;) sift(h, k, p);
    for (; i < n; i++) {
        rt_pair e = {key_of(x->data, x->dtype, base + i * stride) ^ flip, i};
        if (!worse(h[0], e)) continue;
        h[0] = e;
        sift(h, k, 0);
    }
    for (int64_t end = k; --end > 0;) { /* the worst goes last */
        rt_pair top = h[0];
        h[0] = h[end];
        h[end] = top;
        sift(h, end, 0);
    }
}

int32_t rt_topk(bmc_ctx *c, rt_arg *arg, int32_t n, int32_t tid, int32_t nt)
{
    (void)c, (void)n;
    const rt_arg *x = &arg[0], *y = &arg[1], *at = &arg[2], *tmp = &arg[3];
    int axis = (int)arg[4].value;
    int64_t len = x->dim[axis], k = y->dim[axis], outer = 1, inner = 1;
    size_t size = (size_t)rt_dtype_bits(x->dtype) / 8;
    for (int i = 0; i < axis; i++) outer *= x->dim[i];
    for (int i = axis + 1; i < x->rank; i++) inner *= x->dim[i];
    if (k <= 0 || k > len || outer * inner == 0) return BMC_OK; /* a check before the call has failed, or nothing to do */
    if (!x->data || !y->data || !at->data || !tmp->data) return BMC_E_MEMORY;
    uint64_t flip = arg[5].value ? ~(uint64_t)0 : 0;
    for (int64_t row = outer * inner * tid / nt; row < outer * inner * (tid + 1) / nt; row++) {
        rt_pair *h = (rt_pair *)tmp->data + row * k;
        int64_t from = row / inner * len * inner + row % inner, to = row / inner * k * inner + row % inner;
        select_row(x, from, inner, len, k, flip, h);
        for (int64_t i = 0; i < k; i++) {
            ((int64_t *)at->data)[to + i * inner] = h[i].at;
            memcpy((char *)y->data + (size_t)(to + i * inner) * size, (const char *)x->data + (size_t)(from + h[i].at * inner) * size, size);
        }
    }
    return BMC_OK;
}

/* ---- Unique ---- */

typedef struct rt_rows {
    const rt_arg *x;
    int64_t outer, inner, len; /* row i: elements (o * len + i) * inner + k */
} rt_rows;

static int compare_elements(const rt_arg *x, int64_t a, int64_t b)
{
    if (x->dtype == BMC_STRING) {
        const bmc_string *p = (const bmc_string *)x->data + a, *q = (const bmc_string *)x->data + b;
        size_t n = p->len < q->len ? p->len : q->len;
        int c = n ? memcmp(p->ptr, q->ptr, n) : 0;
        return c ? c : (p->len > q->len) - (p->len < q->len);
    }
    uint64_t p = key_of(x->data, x->dtype, a), q = key_of(x->data, x->dtype, b);
    return (p > q) - (p < q);
}

/* Rows in lexicographic order of their elements. */
static int compare_rows(const rt_rows *r, int64_t a, int64_t b)
{
    for (int64_t o = 0; o < r->outer; o++)
        for (int64_t k = 0; k < r->inner; k++) {
            int c = compare_elements(r->x, (o * r->len + a) * r->inner + k, (o * r->len + b) * r->inner + k);
            if (c) return c;
        }
    return 0;
}

/* Stable: runs of doubling length are merged. `tmp` has room for n. */
static int64_t *sort_rows(const rt_rows *r, int64_t *v, int64_t *tmp, int64_t n)
{
    for (int64_t w = 1; w < n; w *= 2) {
        for (int64_t lo = 0; lo < n; lo += 2 * w) {
            int64_t mid = lo + w < n ? lo + w : n, hi = lo + 2 * w < n ? lo + 2 * w : n, a = lo, b = mid;
            for (int64_t to = lo; to < hi; to++)
                tmp[to] = b >= hi || (a < mid && compare_rows(r, v[a], v[b]) <= 0) ? v[a++] : v[b++];
        }
        int64_t *swap = v;
        v = tmp;
        tmp = swap;
    }
    return v;
}

/* work: i64[2, len]; first: which rows are kept, in the order of the result; inverse: the place of every row's value;
 * count: how often each occurs. */
int32_t rt_unique(bmc_ctx *c, rt_arg *arg, int32_t n_arg, int32_t tid, int32_t nt)
{
    (void)c, (void)n_arg, (void)tid, (void)nt;
    const rt_arg *x = &arg[0];
    int axis = (int)arg[5].value;
    int64_t *first = arg[1].data, *inverse = arg[2].data, *count = arg[3].data, *work = arg[4].data, n = arg[1].dim[0], m = 0;
    bool sorted = arg[6].value != 0;
    *arg[7].sym = 0;
    if (n && (!x->data || !first || !inverse || !count || !work)) return BMC_E_MEMORY;
    rt_rows r = {.x = x, .outer = 1, .inner = 1, .len = n};
    for (int i = 0; axis >= 0 && i < x->rank; i++) {
        if (i < axis) r.outer *= x->dim[i];
        if (i > axis) r.inner *= x->dim[i];
    }
    for (int64_t i = 0; i < n; i++) work[i] = i;
    int64_t *v = sort_rows(&r, work, work + n, n), *order = v == work ? work + n : work;
    for (int64_t i = 0; i < n; i++) { /* groups in sorted order; the first of each is its lowest index */
        if (!i || compare_rows(&r, v[i - 1], v[i])) {
            first[m] = v[i];
            count[m++] = 0;
        }
        inverse[v[i]] = m - 1;
        count[m - 1]++;
    }
    *arg[7].sym = m;
    if (sorted) return BMC_OK;
    /* by first occurrence: order[old group] = new place */
    int64_t place = 0;
    for (int64_t i = 0; i < n; i++)
        if (first[inverse[i]] == i) order[inverse[i]] = place++;
    for (int64_t i = 0; i < n; i++) inverse[i] = order[inverse[i]];
    for (int64_t i = 0; i < n; i++) v[i] = 0;
    for (int64_t i = 0; i < n; i++) v[inverse[i]]++;
    for (int64_t i = n; i-- > 0;) first[inverse[i]] = i;
    for (int64_t i = 0; i < m; i++) count[i] = v[i];
    return BMC_OK;
}
