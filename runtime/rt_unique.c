/* rt_unique: which rows of a tensor differ. Rows are put in lexicographic order (stable, so that the first of equal
 * ones leads its group): by pairs of key and place, the last element of a row first; rows of many elements, and
 * strings, are compared and merged. */
#include "runtime/rt_sort.h"
#include <string.h>

enum { COLUMNS = 16 /* elements of a row that are worth a sort each */ };

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
    bool complex = x->dtype == BMC_C64 || x->dtype == BMC_C128; /* by real parts, then by imaginary ones */
    int t = x->dtype == BMC_C64 ? BMC_F32 : x->dtype == BMC_C128 ? BMC_F64 : x->dtype, parts = complex ? 2 : 1;
    for (int k = 0; k < parts; k++) {
        uint64_t p = rt_key(x->data, t, a * parts + k), q = rt_key(x->data, t, b * parts + k);
        if (p != q) return p > q ? 1 : -1;
    }
    return 0;
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

/* The same by keys. `v` has room for 4n; gives where the numbers of the rows stand. *pair: for rows of one element, the
 * keys in order (until `v` is used for something else). */
static int64_t *sort_by_keys(const rt_rows *r, int64_t *v, int64_t n, const rt_pair **pair)
{
    const rt_arg *x = r->x;
    rt_pair *p = (rt_pair *)v, *tmp = p + n;
    for (int64_t i = 0; i < n; i++) p[i].at = i;
    for (int64_t e = r->outer * r->inner; e-- > 0;) {
        int64_t base = e / r->inner * r->len * r->inner + e % r->inner;
        for (int64_t i = 0; i < n; i++) p[i].key = rt_key(x->data, x->dtype, base + p[i].at * r->inner);
        rt_pair *sorted = rt_sort_pairs(p, tmp, n);
        if (sorted != p) tmp = p, p = sorted;
    }
    int64_t *at = p == (rt_pair *)v ? (int64_t *)tmp : v; /* the half that is free */
    for (int64_t i = 0; i < n; i++) at[i] = p[i].at;
    *pair = r->outer * r->inner == 1 ? p : NULL;
    return at;
}

/* work: i64[4, len]; first: which rows are kept, in the order of the result; inverse: the place of every row's value;
 * count: how often each occurs. */
int32_t rt_unique(bmc_ctx *c, rt_arg *arg, int32_t n_arg, int32_t tid, int32_t nt)
{
    (void)c, (void)n_arg, (void)tid, (void)nt;
    const rt_arg *x = &arg[0];
    int axis = (int)arg[5].value;
    int64_t *first = arg[1].data, *inverse = arg[2].data, *count = arg[3].data, *work = arg[4].data;
    int64_t n = arg[1].dim[0], m = 0;
    bool sorted = arg[6].value != 0;
    *arg[7].sym = 0;
    if (n && (!x->data || !first || !inverse || !count || !work)) return BMC_E_MEMORY;
    rt_rows r = {.x = x, .outer = 1, .inner = 1, .len = n};
    for (int i = 0; axis >= 0 && i < x->rank; i++) {
        if (i < axis) r.outer *= x->dim[i];
        if (i > axis) r.inner *= x->dim[i];
    }
    int64_t *v, *order;
    const rt_pair *pair = NULL;
    bool has_key = x->dtype != BMC_STRING && x->dtype != BMC_C64 && x->dtype != BMC_C128;
    if (has_key && r.outer * r.inner <= COLUMNS) v = sort_by_keys(&r, work, n, &pair);
    else {
        for (int64_t i = 0; i < n; i++) work[i] = i;
        v = sort_rows(&r, work, work + n, n);
    }
    order = v == work ? work + n : work;
    for (int64_t i = 0; i < n; i++) { /* groups in sorted order; the first of each is its lowest index */
        bool fresh = !i || (pair ? pair[i - 1].key != pair[i].key : compare_rows(&r, v[i - 1], v[i]) != 0);
        if (fresh) {
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
