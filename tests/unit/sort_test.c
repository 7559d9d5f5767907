/* sort_test: rt_topk (best first and in the order of the row) and rt_unique on random tensors against selecting and comparing one by one.
 *
 *   sort_test [SEED [COUNT]] */
#include "runtime/rt_internal.h"
#include "tests/unit/check.h"
#include <math.h>
#include <stdlib.h>

typedef struct Case {
    int dtype, rank, axis;
    int64_t dim[3], len, outer, inner, count;
    void *data;
} Case;

static const int TYPES[] = {BMC_F32, BMC_F32, BMC_F64, BMC_I64, BMC_I32, BMC_U8, BMC_I8, BMC_U64};

static bool is_float(int t) { return t == BMC_F32 || t == BMC_F64; }

static double real_of(const Case *c, int64_t i)
{
    return c->dtype == BMC_F32 ? ((float *)c->data)[i] : ((double *)c->data)[i];
}

/* As a number of 128 bits: all integer types fit. */
static __int128 whole_of(const Case *c, int64_t i)
{
    switch (c->dtype) {
    case BMC_I64: return ((int64_t *)c->data)[i];
    case BMC_I32: return ((int32_t *)c->data)[i];
    case BMC_U8: return ((uint8_t *)c->data)[i];
    case BMC_I8: return ((int8_t *)c->data)[i];
    default: return ((uint64_t *)c->data)[i];
    }
}

static void set(Case *c, int64_t i, double f, uint64_t u)
{
    switch (c->dtype) {
    case BMC_F32: ((float *)c->data)[i] = (float)f; break;
    case BMC_F64: ((double *)c->data)[i] = f; break;
    case BMC_I64: ((int64_t *)c->data)[i] = (int64_t)u; break;
    case BMC_I32: ((int32_t *)c->data)[i] = (int32_t)u; break;
    case BMC_U8: ((uint8_t *)c->data)[i] = (uint8_t)u; break;
    case BMC_I8: ((int8_t *)c->data)[i] = (int8_t)u; break;
    default: ((uint64_t *)c->data)[i] = u; break;
    }
}

/* -1, 0, 1; NaN is larger than everything and equal to itself. */
static int compare(const Case *c, int64_t a, int64_t b)
{
    if (is_float(c->dtype)) {
        double p = real_of(c, a), q = real_of(c, b);
        if (isnan(p) || isnan(q)) return isnan(p) - isnan(q);
        return (p > q) - (p < q);
    }
    __int128 p = whole_of(c, a), q = whole_of(c, b);
    return (p > q) - (p < q);
}

static int64_t at(const Case *c, int64_t row, int64_t i)
{
    return row / c->inner * c->len * c->inner + i * c->inner + row % c->inner;
}

/* Few values, many values, rising or falling ones, special ones, magnitudes far apart. */
static void fill(Case *c, Rng *r)
{
    int kind = (int)rng_in(r, 0, 5);
    for (int64_t i = 0; i < c->count; i++) {
        uint64_t u = kind == 3 ? (uint64_t)i : kind == 4 ? (uint64_t)(c->count - i) : rng_next(r);
        if (kind == 0) u = u % 5 - 2;
        if (kind == 5) u >>= rng_in(r, 0, 63), u = rng_next(r) & 1 ? u : -u;
        double f = (double)(int64_t)u / 3;
        if (kind == 1 && is_float(c->dtype)) {
            static const double SPECIAL[] = {0.0, -0.0, INFINITY, -INFINITY, 1, -1};
            uint64_t s = rng_next(r) % 9;
            f = s < 6 ? SPECIAL[s] : s == 6 ? (double)NAN : s == 7 ? -(double)NAN : f;
        }
        set(c, i, f, u);
    }
}

static Case make(Rng *r, int64_t longest)
{
    Case c = {.dtype = TYPES[rng_in(r, 0, 7)], .rank = (int)rng_in(r, 1, 3), .outer = 1, .inner = 1, .count = 1};
    c.axis = (int)rng_in(r, 0, c.rank - 1);
    for (int i = 0; i < c.rank; i++) {
        c.dim[i] = i == c.axis ? rng_in(r, 1, rng_in(r, 1, longest)) : rng_in(r, 1, 20);
        c.count *= c.dim[i];
        if (i < c.axis) c.outer *= c.dim[i];
        if (i > c.axis) c.inner *= c.dim[i];
    }
    c.len = c.dim[c.axis];
    c.data = malloc((size_t)c.count * 8);
    fill(&c, r);
    return c;
}

static rt_arg tensor(int dtype, void *data, int rank, const int64_t *dim)
{
    rt_arg a = {.kind = RT_BUF, .dtype = (uint8_t)dtype, .rank = (uint8_t)rank, .data = data, .value = -1};
    memcpy(a.dim, dim, (size_t)rank * sizeof *dim);
    return a;
}

/* Is element a of a row better than b? */
static bool goes_before(const Case *c, int64_t row, int64_t a, int64_t b, bool largest)
{
    int q = compare(c, at(c, row, a), at(c, row, b));
    return (largest ? q > 0 : q < 0) || (q == 0 && a < b);
}

static void topk(Rng *r)
{
    Case c = make(r, 1200);
    int64_t wish[] = {1, 2, 10, 20, 48, 49, c.len / 5 + 1, c.len / 2 + 1, c.len}, k = wish[rng_in(r, 0, 8)], dim[3];
    if (k > c.len) k = c.len;
    memcpy(dim, c.dim, sizeof dim);
    dim[c.axis] = k;
    bool largest = rng_next(r) & 1, sorted = rng_next(r) & 1;
    int64_t rows = c.outer * c.inner, room = 4 * k + 64 < c.len ? 4 * k + 64 : c.len;
    int64_t work[] = {rng_in(r, 1, 3), c.inner < 16 ? c.inner : 16, 2 * room, 2}, nt = rng_in(r, 1, 3);
    void *value = malloc((size_t)(rows * k) * 8);
    int64_t *place = malloc((size_t)(rows * k) * 8);
    void *tmp = malloc((size_t)(work[0] * work[1] * work[2]) * 16);
    rt_arg arg[] = {tensor(c.dtype, c.data, c.rank, c.dim), tensor(c.dtype, value, c.rank, dim),
                    tensor(BMC_I64, place, c.rank, dim), tensor(BMC_I64, tmp, 4, work),
                    {.kind = RT_INT, .value = c.axis}, {.kind = RT_INT, .value = largest},
                    {.kind = RT_INT, .value = sorted}};
    for (int32_t t = (int32_t)nt; t-- > 0;) CHECK(rt_topk(NULL, arg, 7, t, (int32_t)nt) == BMC_OK);
    bool right = true;
    bool *taken = malloc((size_t)c.len);
    size_t size = (size_t)rt_dtype_bits((uint8_t)c.dtype) / 8;
    for (int64_t row = 0; row < rows && right; row++) {
        int64_t worst = -1;
        memset(taken, 0, (size_t)c.len);
        for (int64_t p = 0; p < k && right; p++) { /* places in order, none twice, none that is left better */
            int64_t to = row / c.inner * k * c.inner + p * c.inner + row % c.inner, i = place[to];
            right = i >= 0 && i < c.len && !taken[i] &&
                    !memcmp((char *)value + (size_t)to * size, (char *)c.data + (size_t)at(&c, row, i) * size, size);
            if (!right) break;
            taken[i] = true;
            if (p && sorted) right = goes_before(&c, row, place[to - c.inner], i, largest);
            else if (p) right = place[to - c.inner] < i;
            if (worst < 0 || goes_before(&c, row, worst, i, largest)) worst = i;
        }
        for (int64_t o = 0; o < c.len && right; o++) right = taken[o] || goes_before(&c, row, worst, o, largest);
    }
    CHECK(right);
    free(taken), free(tmp), free(place), free(value), free(c.data);
}

static int compare_rows(const Case *c, bool flat, int64_t a, int64_t b)
{
    if (flat) return compare(c, a, b);
    for (int64_t row = 0; row < c->outer * c->inner; row++) {
        int q = compare(c, at(c, row, a), at(c, row, b));
        if (q) return q;
    }
    return 0;
}

static void unique(Rng *r)
{
    Case c = make(r, 60);
    bool flat = rng_next(r) & 1, sorted = rng_next(r) & 1, right = true;
    int64_t n = flat ? c.count : c.len, found = -1, all = 0, four[] = {4, n};
    int64_t *out = malloc((size_t)(3 * n + 1) * 8), *first = out, *inverse = out + n, *count = out + 2 * n;
    void *work = malloc((size_t)(4 * n + 1) * 8);
    rt_arg arg[] = {tensor(c.dtype, c.data, c.rank, c.dim), tensor(BMC_I64, first, 1, &n),
                    tensor(BMC_I64, inverse, 1, &n), tensor(BMC_I64, count, 1, &n), tensor(BMC_I64, work, 2, four),
                    {.kind = RT_INT, .value = flat ? -1 : c.axis}, {.kind = RT_INT, .value = sorted},
                    {.kind = RT_SYM, .sym = &found}};
    CHECK(rt_unique(NULL, arg, 8, 0, 1) == BMC_OK && found >= 1 && found <= n);
    for (int64_t i = 0; i < n && right; i++) { /* everything has a place, whose row is equal and comes no later */
        int64_t p = inverse[i];
        right = p >= 0 && p < found && first[p] <= i && !compare_rows(&c, flat, first[p], i);
    }
    for (int64_t p = 0; p < found && right; p++) {
        all += count[p];
        if (p) right = sorted ? compare_rows(&c, flat, first[p - 1], first[p]) < 0 : first[p - 1] < first[p];
        int64_t members = 0;
        for (int64_t i = 0; i < n; i++) members += inverse[i] == p;
        right &= members == count[p];
    }
    CHECK(right && all == n);
    free(work), free(out), free(c.data);
}

int main(int argc, char **argv)
{
    Rng r = {argc > 1 ? strtoull(argv[1], NULL, 0) : 1};
    int count = argc > 2 ? atoi(argv[2]) : 300;
    for (int i = 0; i < count; i++) {
        topk(&r);
        unique(&r);
    }
    return check_done();
}
