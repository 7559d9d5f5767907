/* eval.c: the reference runner: walks a graph in order and calls each op's naive `eval` hook on dense tensors.
 * Arithmetic is done in double or int64 and rounded to the element type when stored, so it shares no code and no tricks with the lowering. */
#include "ir/graph/eval.h"
#include "base/bug.h"
#include "ir/elem.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define TENSOR_MAX_BYTES ((int64_t)1 << 32)

Tensor *tensor_new(Arena *a, DType elem, int rank, const int64_t *dim)
{
    int64_t count = 1;
    for (int i = 0; i < rank; i++)
        if (dim[i] < 0 || __builtin_mul_overflow(count, dim[i], &count)) return NULL;
    int64_t size = elem == DT_STR ? (int64_t)sizeof(bmc_string) : (dtype_info(elem)->bits + 7) / 8;
    int64_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > TENSOR_MAX_BYTES) return NULL;
    Tensor *t = arena_new(a, Tensor);
    t->kind = TY_TENSOR;
    t->elem = elem;
    t->rank = rank;
    for (int i = 0; i < rank; i++) t->dim[i] = dim[i];
    t->count = count;
    t->data = arena_alloc(a, (size_t)bytes);
    if (elem == DT_STR)
        for (int64_t k = 0; k < count; k++) ((bmc_string *)t->data)[k] = (bmc_string){"", 0};
    return t;
}

Tensor *tensor_from_blob(Arena *a, Module *m, Blob b, TypeId type)
{
    const TypeRec *r = type_rec(&m->types, type);
    int64_t dim[RANK_MAX];
    for (int i = 0; i < r->rank; i++)
        if (!dim_is_const(&m->dims, r->dim[i], &dim[i])) return NULL;
    BlobRec *br = blob_rec(&m->blobs, b);
    if (br->kind == BLOB_DERIVED) return NULL;
    Tensor *t = tensor_new(a, r->elem, r->rank, dim);
    if (!t) return NULL;
    if (br->kind == BLOB_STRINGS) memcpy(t->data, br->data, sizeof(bmc_string) * (size_t)t->count);
    else blob_read(&m->blobs, b, 0, t->count, t->data);
    return t;
}

bool ev_fail(Eval *e, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    e->why = arena_vprintf(e->arena, fmt, ap);
    va_end(ap);
    return false;
}

Tensor *ev_out(Eval *e, uint32_t r, DType elem, int rank, const int64_t *dim)
{
    Tensor *t = tensor_new(e->arena, elem, rank, dim);
    if (!t) ev_fail(e, "the result is too large");
    if (r < e->n_out) e->out[r] = t;
    return t;
}

/* ---- elements ---- */

static double f16_to_f(uint16_t h)
{
    int s = h >> 15, e = h >> 10 & 31, m = h & 1023;
    double v = e == 31 ? (m ? NAN : INFINITY) : e ? ldexp(1024 + m, e - 25) : ldexp(m, -24);
    return s ? -v : v;
}

/* Round to nearest, ties to even, straight from double: `mant` stored mantissa bits, exponents down to `emin`, up to `emax`. */
static uint32_t narrow(double x, int mant, int emin, int emax, uint32_t inf, uint32_t nan)
{
    uint32_t sign = signbit(x) ? 1u : 0u;
    double a = fabs(x);
    uint32_t bits;
    if (isnan(x)) bits = nan;
    else if (isinf(x)) bits = inf;
    else if (a == 0) bits = 0;
    else {
        int e;
        frexp(a, &e);
        e -= 1;                                     /* a = 1.xxx * 2^e */
        if (e < emin) e = emin;
        double q = rint(ldexp(a, mant - e));        /* rint: ties to even in the default rounding mode */
        if (q >= ldexp(2, mant)) {
            q /= 2;
            e++;
        }
        if (e > emax) bits = inf;
        else if (q < ldexp(1, mant)) bits = (uint32_t)q;   /* denormal */
        else bits = ((uint32_t)(e - emin + 1) << mant) | ((uint32_t)q & ((1u << mant) - 1));
    }
    return bits | sign << 15;
}

double ev_f(const Tensor *t, int64_t k)
{
    assert(k >= 0 && k < t->count);
    switch (t->elem) {
    case DT_F32: return ((const float *)t->data)[k];
    case DT_F64: return ((const double *)t->data)[k];
    case DT_F16: return f16_to_f(((const uint16_t *)t->data)[k]);
    case DT_BF16: {
        uint32_t u = (uint32_t)((const uint16_t *)t->data)[k] << 16;
        float f;
        memcpy(&f, &u, 4);
        return f;
    }
    case DT_U64: return (double)((const uint64_t *)t->data)[k];
    default: return dtype_is_float(t->elem) ? elem_get_f(t->elem, t->data, k) : (double)ev_i(t, k);
    }
}

/* Truncation as the cast of generated code does it: out of range saturates, NaN gives 0. */
static int64_t f_to_i64(double x)
{
    if (isnan(x)) return 0;
    if (x >= 9223372036854775808.0) return INT64_MAX;
    if (x < -9223372036854775808.0) return INT64_MIN;
    return (int64_t)x;
}

int64_t ev_i(const Tensor *t, int64_t k)
{
    assert(k >= 0 && k < t->count);
    switch (t->elem) {
    case DT_I8: return ((const int8_t *)t->data)[k];
    case DT_U8: case DT_BOOL: return ((const uint8_t *)t->data)[k];
    case DT_I16: return ((const int16_t *)t->data)[k];
    case DT_U16: return ((const uint16_t *)t->data)[k];
    case DT_I32: return ((const int32_t *)t->data)[k];
    case DT_U32: return ((const uint32_t *)t->data)[k];
    case DT_I64: case DT_U64: return ((const int64_t *)t->data)[k];
    case DT_F32: case DT_F64: case DT_F16: case DT_BF16: return f_to_i64(ev_f(t, k));
    case DT_STR: case DT_C64: case DT_C128: BUG("ev_i on %s", dtype_name(t->elem));
    default: return elem_get_i(t->elem, t->data, k);
    }
}

void ev_set_i(Tensor *t, int64_t k, int64_t v)
{
    assert(k >= 0 && k < t->count);
    switch (t->elem) {
    case DT_I8: case DT_U8: ((uint8_t *)t->data)[k] = (uint8_t)v; return;
    case DT_BOOL: ((uint8_t *)t->data)[k] = v != 0; return;
    case DT_I16: case DT_U16: ((uint16_t *)t->data)[k] = (uint16_t)v; return;
    case DT_I32: case DT_U32: ((uint32_t *)t->data)[k] = (uint32_t)v; return;
    case DT_I64: case DT_U64: ((int64_t *)t->data)[k] = v; return;
    case DT_I4: case DT_U4: case DT_I2: case DT_U2: elem_put_i(t->elem, t->data, k, v); return;
    default: ev_set_f(t, k, (double)v); return;
    }
}

void ev_set_f(Tensor *t, int64_t k, double v)
{
    assert(k >= 0 && k < t->count);
    switch (t->elem) {
    case DT_F32: ((float *)t->data)[k] = (float)v; return;
    case DT_F64: ((double *)t->data)[k] = v; return;
    case DT_F16: ((uint16_t *)t->data)[k] = (uint16_t)narrow(v, 10, -14, 15, 0x7c00, 0x7e00); return;
    case DT_BF16: ((uint16_t *)t->data)[k] = (uint16_t)narrow(v, 7, -126, 127, 0x7f80, 0x7fc0); return;
    case DT_BOOL: ((uint8_t *)t->data)[k] = v != 0; return;
    case DT_U64: ((uint64_t *)t->data)[k] = isnan(v) || v <= 0 ? 0 : v >= 18446744073709551616.0 ? UINT64_MAX : (uint64_t)v; return;
    default: {
        int bits = dtype_info(t->elem)->bits;
        if (dtype_is_float(t->elem)) {
            elem_put_f(t->elem, t->data, k, v);
            return;
        }
        bool s = dtype_is_signed(t->elem);
        double lo = s ? -ldexp(1, bits - 1) : 0, hi = ldexp(1, s ? bits - 1 : bits) - 1;
        ev_set_i(t, k, isnan(v) ? 0 : bits == 64 ? f_to_i64(v) : v < lo ? (int64_t)lo : v > hi ? (int64_t)hi : (int64_t)v);
        return;
    }
    }
}

void ev_copy(Tensor *to, int64_t k, const Tensor *from, int64_t j)
{
    assert(to->elem == from->elem && k >= 0 && k < to->count && j >= 0 && j < from->count);
    if (dtype_info(to->elem)->bits < 8) {
        elem_put_f(to->elem, to->data, k, elem_get_f(from->elem, from->data, j));
        return;
    }
    size_t n = to->elem == DT_STR ? sizeof(bmc_string) : (size_t)(dtype_info(to->elem)->bits + 7) / 8;
    memcpy((char *)to->data + (size_t)k * n, (const char *)from->data + (size_t)j * n, n);
}

/* ---- broadcasting ---- */

int64_t ev_broadcast_index(const Tensor *in, const Tensor *out, int64_t k)
{
    int64_t at = 0, step = 1;
    for (int a = out->rank - 1; a >= 0; a--) {
        int64_t i = k % out->dim[a];
        k /= out->dim[a];
        int b = a - (out->rank - in->rank);
        if (b < 0) continue;
        if (in->dim[b] != 1) at += i * step;
        step *= in->dim[b];
    }
    return at;
}

bool ev_broadcast_dims(Eval *e, const uint32_t *operands, uint32_t n, int64_t *dim, int *rank)
{
    *rank = 0;
    for (uint32_t i = 0; i < n; i++)
        if (e->in[operands[i]]->rank > *rank) *rank = e->in[operands[i]]->rank;
    for (int a = 0; a < *rank; a++) {
        dim[a] = 1;
        for (uint32_t i = 0; i < n; i++) {
            const Tensor *t = e->in[operands[i]];
            int b = a - (*rank - t->rank);
            if (b < 0 || t->dim[b] == 1) continue;
            if (dim[a] != 1 && dim[a] != t->dim[b]) return ev_fail(e, "shapes do not broadcast at axis %d: %lld and %lld", a, (long long)dim[a], (long long)t->dim[b]);
            dim[a] = t->dim[b];
        }
    }
    return true;
}

bool ev_map1(Eval *e, double (*f)(double), int64_t (*fi)(int64_t))
{
    const Tensor *x = e->in[0];
    Tensor *y = ev_out(e, 0, x->elem, x->rank, x->dim);
    if (!y) return false;
    for (int64_t k = 0; k < y->count; k++) {
        if (dtype_is_float(x->elem)) ev_set_f(y, k, f(ev_f(x, k)));
        else ev_set_i(y, k, fi ? fi(ev_i(x, k)) : f_to_i64(f(ev_f(x, k))));
    }
    return true;
}

bool ev_map2(Eval *e, DType out, double (*f)(double, double), int64_t (*fi)(int64_t, int64_t))
{
    const Tensor *x = e->in[0], *z = e->in[1];
    int64_t dim[RANK_MAX];
    int rank;
    if (!ev_broadcast_dims(e, (const uint32_t[]){0, 1}, 2, dim, &rank)) return false;
    Tensor *y = ev_out(e, 0, out, rank, dim);
    if (!y) return false;
    for (int64_t k = 0; k < y->count; k++) {
        int64_t i = ev_broadcast_index(x, y, k), j = ev_broadcast_index(z, y, k);
        if (dtype_is_float(x->elem) || !fi) {
            double v = f(ev_f(x, i), ev_f(z, j));
            ev_set_f(y, k, v);
        } else ev_set_i(y, k, fi(ev_i(x, i), ev_i(z, j)));
    }
    return true;
}

/* ---- running ---- */

bool eval_node(Arena *a, Graph *g, Node n, Tensor **in, Tensor **out, const char **why)
{
    const OpDesc *op = node_desc(g, n);
    Eval e = {.arena = a, .g = g, .n = n, .in = in, .n_in = node_n_in(g, n), .out = out, .n_out = node_n_out(g, n)};
    if (!op->eval) {
        *why = arena_printf(a, "%s has no reference evaluation", op->name);
        return false;
    }
    if (op->eval(&e)) return true;
    *why = arena_printf(a, "%s: %s", op->name, e.why ? e.why : "evaluation failed");
    return false;
}

bool eval_graph(Arena *a, Graph *g, Tensor *const *in, Tensor **out, const char **why)
{
    Tensor **val = arena_array(a, Tensor *, g->value.n);
    for (uint32_t k = 0; k < g->in.n; k++) val[g->in.p[k].i] = in[k];
    for (uint32_t k = 1; k < g->value.n; k++)
        if (g->value.p[k].data.i && !val[k] && g->value.p[k].n_use + g->value.p[k].n_out_use > 0) {
            val[k] = tensor_from_blob(a, g->m, g->value.p[k].data, g->value.p[k].type);
            if (!val[k]) {
                *why = arena_printf(a, "constant '%s' cannot be evaluated", value_name(g, (Value){k}));
                return false;
            }
        }
    for (Node n = graph_first(g); n.i; n = node_next(g, n)) {
        uint32_t n_in = node_n_in(g, n), n_out = node_n_out(g, n);
        Tensor **x = arena_array(a, Tensor *, n_in + 1), **y = arena_array(a, Tensor *, n_out + 1);
        for (uint32_t k = 0; k < n_in; k++) x[k] = node_in(g, n, k).i ? val[node_in(g, n, k).i] : NULL;
        if (!eval_node(a, g, n, x, y, why)) return false;
        for (uint32_t k = 0; k < n_out; k++) val[node_out(g, n, k).i] = y[k];
    }
    for (uint32_t k = 0; k < g->out.n; k++) out[k] = val[g->out.p[k].i];
    return true;
}
