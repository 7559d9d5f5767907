/* compare.c: see compare.h. */
#include "driver/compare.h"
#include "base/str.h"
#include "ir/graph/eval.h"
#include <math.h>
#include <string.h>

typedef struct Compare { Arena *arena; double rtol, atol; const char **why; } Compare;

static bool differs(const Compare *c, const char *name, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    *c->why = arena_printf(c->arena, "output '%s': %s", name, arena_vprintf(c->arena, fmt, ap));
    va_end(ap);
    return false;
}

static const char *list(const Compare *c, int n, const int64_t *x)
{
    Str t;
    str_init(&t, c->arena);
    for (int i = 0; i < n; i++) str_printf(&t, "%s%lld", i ? "," : "", (long long)x[i]);
    return n ? str_get(&t) : "";
}

static const char *position(const Compare *c, const bmc_value *v, int64_t k)
{
    int64_t idx[BMC_MAX_RANK];
    for (int i = v->rank - 1; i >= 0; i--) idx[i] = k % v->dim[i], k /= v->dim[i];
    return list(c, v->rank, idx);
}

/* By how much element k of a, j of b, is outside the tolerance; not positive: it is inside. */
static double excess_at(const Compare *c, const Tensor *a, int64_t k, const Tensor *b, int64_t j)
{
    if (a->elem == DT_STR) {
        const bmc_string *x = (const bmc_string *)a->data + k, *y = (const bmc_string *)b->data + j;
        return x->len != y->len || (x->len && memcmp(x->ptr, y->ptr, x->len)) ? 1 : -1;
    }
    if (!dtype_is_float(a->elem) && ev_i(a, k) == ev_i(b, j)) return -1;
    double x = ev_f(a, k), y = ev_f(b, j);
    if (!isfinite(x) || !isfinite(y)) return (isnan(x) && isnan(y)) || x == y ? -1 : INFINITY;
    return fabs(x - y) - (c->atol + c->rtol * fabs(y));
}

static double excess(const Compare *c, const Tensor *a, const Tensor *b, int64_t k) { return excess_at(c, a, k, b, k); }

/* Keys may stand in any order. */
static bool maps_agree(const Compare *c, const char *name, const bmc_value *got, const bmc_value *want)
{
    Tensor t[4];
    for (int k = 0; k < 4; k++) {
        const bmc_value *v = &(k < 2 ? want : got)->item[k % 2];
        t[k] = (Tensor){.kind = TY_TENSOR, .elem = (DType)v->dtype, .rank = 1, .count = v->dim[0], .data = v->data};
    }
    if (t[0].count != t[2].count)
        return differs(c, name, "has %lld keys, expected %lld", (long long)t[2].count, (long long)t[0].count);
    for (int64_t i = 0; i < t[0].count; i++) {
        int64_t at = 0;
        if (t[0].elem != t[2].elem || t[1].elem != t[3].elem) return differs(c, name, "has keys or values of another type");
        while (at < t[2].count && excess_at(c, &t[0], i, &t[2], at) >= 0) at++;
        if (at == t[2].count) return differs(c, name, "lacks key %lld of the expected ones", (long long)i);
        if (excess_at(c, &t[3], at, &t[1], i) > 0) return differs(c, name, "has another value for key %lld of the expected ones", (long long)i);
    }
    return true;
}

static bool agrees(const Compare *c, const char *name, const bmc_value *got, const bmc_value *want)
{
    if (got->kind != want->kind) return differs(c, name, "is of another kind than stored");
    if (got->kind == BMC_MAP) return maps_agree(c, name, got, want);
    if (got->kind != BMC_TENSOR) {
        if (got->n_item != want->n_item)
            return differs(c, name, "has %zu elements, expected %zu", got->n_item, want->n_item);
        for (size_t k = 0; k < got->n_item; k++)
            if (!agrees(c, arena_printf(c->arena, "%s[%zu]", name, k), &got->item[k], &want->item[k])) return false;
        return true;
    }
    if (got->dtype != want->dtype)
        return differs(c, name, "is %s, expected %s", dtype_info((DType)got->dtype)->onnx,
                       dtype_info((DType)want->dtype)->onnx);
    if (got->rank != want->rank || memcmp(got->dim, want->dim, sizeof *got->dim * got->rank))
        return differs(c, name, "has shape [%s], expected [%s]", list(c, got->rank, got->dim),
                       list(c, want->rank, want->dim));
    Tensor a = {.kind = TY_TENSOR, .elem = (DType)got->dtype, .count = 1, .data = got->data}, b = a;
    for (int i = 0; i < got->rank; i++) a.count *= got->dim[i];
    b.count = a.count;
    b.data = want->data;
    int64_t bad = 0, at = -1;
    double worst = 0;
    for (int64_t k = 0; k < a.count; k++) {
        double e = excess(c, &a, &b, k);
        bad += e > 0;
        if (e > worst) worst = e, at = k;
    }
    if (!bad) return true;
    if (a.elem == DT_STR)
        return differs(c, name, "%lld of %lld strings differ, the first at [%s]", (long long)bad, (long long)a.count,
                       position(c, got, at));
    return differs(c, name, "%lld of %lld elements differ, most at [%s]: %.9g, expected %.9g", (long long)bad,
                   (long long)a.count, position(c, got, at), ev_f(&a, at), ev_f(&b, at));
}

bool value_agrees(Arena *arena, const char *name, const bmc_value *got, const bmc_value *want, double rtol, double atol,
                  const char **why)
{
    Compare c = {arena, rtol, atol, why};
    return agrees(&c, name, got, want);
}
