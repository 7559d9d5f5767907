/* cast_text.c: TextOf and NumberOf: what a Cast to or from strings becomes, with ordinary Casts around them for all types
 * but f32, f64, i64, u64 (and bool, from strings).
 *   numbers   the fewest digits that read back as the same number, 1.5 or 100.0; with an exponent, 1e+16, from 1e16 on and
 *             below 1e-4 (Python's repr); INF, -INF, NaN. f16 and bf16 as the f32 that they are. bool: 1 or 0
 *   strings   decimal numbers, also with an exponent, INF, INFINITY and NaN in any case, white space around them; to integers:
 *             digits, or a number whose fraction is dropped, in the type's range of 64 bits; to bool: a number, true or false
 * Other strings are an error of the run: the specification leaves them open. */
#include "ir/ops/cast_text.h"
#include "ir/graph/lower.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DTS_DIRECT (DTS(DT_F32) | DTS(DT_F64) | DTS(DT_I64) | DTS(DT_U64))
static const Port P_NUM[] = {{"x", DTS_DIRECT, 0, 0}, PORT_END};
static const Port P_STR[] = {{"x", DTS_STR, 0, 0}, PORT_END};
static const Port P_STR_OUT[] = {{"y", DTS_STR, 0, 0}, PORT_END};
static const Port P_NUM_OUT[] = {{"y", DTS_DIRECT | DTS_BOOL, 0, 0}, PORT_END};
typedef struct Number {
    uint64_t set;
    int64_t to;
} Number;
static const AttrSpec ATTRS_[] = {A_TYPE(Number, to, DT_F32), A_END};

static bool to_type(Infer *c, DType to)
{
    return infer_set_type(c, 0, type_with_elem(&c->m->types, value_type(c->g, node_in(c->g, c->n, 0)), to));
}
static bool text_infer(Infer *c) { return to_type(c, DT_STR); }
static bool number_infer(Infer *c) { return to_type(c, (DType)ATTRS(c->g, c->n, Number)->to); }

static bool lower(Lw *l, Node n)
{
    KArg arg[2] = {{.kind = KA_BUF, .buf = lw_in(l, 0)}, {.kind = KA_BUF, .buf = lw_out(l, 0)}};
    lw_call(l, l->steps, node_rec(l->g, n)->op == OP_TextOf ? "rt_text_of" : "rt_number_of", 2, arg);
    return true;
}

Value cast_text_nodes(Ex *x, Value v, DType to)
{
    DType from = ex_elem(x, v);
    if (from != DT_STR) {
        bool direct = DTS_DIRECT & DTS(from), wide = dtype_info(from)->cls == DC_UINT && dtype_info(from)->bits > 32;
        return ex1(x, OP_TextOf, direct ? v : ex_cast(x, v, dtype_is_float(from) ? DT_F32 : wide ? DT_U64 : DT_I64));
    }
    DType read = (DTS_DIRECT | DTS_BOOL) & DTS(to) ? to : dtype_is_float(to) ? DT_F32 : DT_I64;
    return ex_cast(x, ex_op(x, OP_NumberOf, &v, 1, ex_set(x, OP_NumberOf, NULL, "to", read)), to);
}

/* ---- reference ---- */

static double as(DType t, double v) { return t == DT_F64 ? v : (float)v; }

/* One more in the last place of d.ddde+xx; false where all are 9. */
static bool next_up(char *text)
{
    for (char *p = strchr(text, 'e'); p-- > text;) {
        if (*p >= '0' && *p < '9') return ++*p, true;
        if (*p == '9') *p = '0';
    }
    return false;
}

/* The nearest of the fewest digits; below a power of two numbers are denser than above, and what is above may read back where what is nearer does not. */
static const char *text(Arena *a, DType t, double v)
{
    char digits[40], mark, whole[64] = "", *to = whole;
    int precision = 0, exponent;
    double size = fabs(v);
    if (isnan(v)) return "NaN";
    if (isinf(v)) return v < 0 ? "-INF" : "INF";
    for (bool found = false; !found; precision++) {
        snprintf(digits, sizeof digits, "%.*e", precision, size);
        found = as(t, strtod(digits, NULL)) == size || precision == 16 || (next_up(digits) && as(t, strtod(digits, NULL)) == size);
    }
    sscanf(strchr(digits, 'e'), "%c%d", &mark, &exponent);
    const char *sign = signbit(v) ? "-" : "";
    if (exponent < -4 || exponent >= 16) return arena_printf(a, "%s%s", sign, digits);
    int last = precision - 1 > exponent + 1 ? precision - 1 : exponent + 1; /* of the digits, the first is 0 */
    for (int k = exponent < 0 ? exponent : 0; k <= last; k++) {
        *to++ = k < 0 || k >= precision ? '0' : digits[k ? k + 1 : 0];
        if (k == exponent) *to++ = '.';
    }
    return arena_printf(a, "%s%s", sign, whole);
}

static bool number(Eval *e, const bmc_string *s, DType to, double *f, int64_t *i)
{
    char *p = arena_strndup(e->arena, s->ptr, s->len), *end = p + s->len;
    bool sign = false;
    while (p < end && strchr(" \t\n\v\f\r", *p)) p++;
    while (end > p && strchr(" \t\n\v\f\r", end[-1])) *--end = 0;
    size_t n = (size_t)(end - p), digits = strspn(p + (sign = *p == '+' || *p == '-'), "0123456789");
    *f = 0, *i = 0;
    if (to == DT_BOOL && (!strcasecmp(p, "true") || !strcasecmp(p, "false"))) return *i = (*p | 32) == 't', true;
    bool whole = digits && digits + sign == n, plain = n && (whole || strspn(p, "+-.0123456789eE") == n);
    plain |= !strcasecmp(p + sign, "inf") || !strcasecmp(p + sign, "infinity") || !strcasecmp(p + sign, "nan");
    char *stop = p;
    *f = plain ? strtod(p, &stop) : 0;
    if (!plain || stop != end) return ev_fail(e, "'%s' is not a number", p);
    double least = to == DT_U64 ? -1 : -0x1p63, beyond = to == DT_U64 ? 0x1p64 : 0x1p63;
    if (dtype_is_float(to)) return true;
    if (to == DT_BOOL) return *i = *f != 0, true;
    errno = 0;
    if (whole) *i = to == DT_U64 ? (int64_t)strtoull(p, NULL, 10) : strtoll(p, NULL, 10);
    bool fits = whole ? !errno && !(to == DT_U64 && *f < 0) : (to == DT_U64 ? *f > least : *f >= least) && *f < beyond;
    if (!fits) return ev_fail(e, "'%s' is out of range", p);
    if (!whole) *i = *f < 0x1p63 ? (int64_t)*f : (int64_t)(uint64_t)*f;
    return true;
}

bool cast_text_eval(Eval *e, Tensor *y, int64_t k, const Tensor *x, int64_t j)
{
    if (y->elem == DT_STR) {
        const char *p = dtype_is_float(x->elem)  ? text(e->arena, x->elem, ev_f(x, j))
                        : x->elem == DT_U64 ? arena_printf(e->arena, "%llu", (unsigned long long)ev_i(x, j))
                                            : arena_printf(e->arena, "%lld", (long long)ev_i(x, j));
        ((bmc_string *)y->data)[k] = (bmc_string){p, strlen(p)};
        return true;
    }
    double f;
    int64_t i;
    DType to = DTS_DIRECT & DTS(y->elem) || y->elem == DT_BOOL ? y->elem : dtype_is_float(y->elem) ? DT_F32 : DT_I64;
    if (!number(e, (const bmc_string *)x->data + j, to, &f, &i)) return false;
    if (dtype_is_float(y->elem)) ev_set_f(y, k, as(to, f));
    else ev_set_i(y, k, i);
    return true;
}

static bool eval(Eval *e)
{
    DType to = node_rec(e->g, e->n)->op == OP_TextOf ? DT_STR : (DType)ATTRS(e->g, e->n, Number)->to;
    Tensor *y = ev_out(e, 0, to, e->in[0]->rank, e->in[0]->dim);
    for (int64_t k = 0; y && k < y->count; k++)
        if (!cast_text_eval(e, y, k, e->in[0], k)) return false;
    return y != NULL;
}

const OpDesc op_TextOf = {.name = "TextOf", .since = 1, .cls = CLS_OPAQUE, .flags = OPF_INTERNAL | OPF_IRREGULAR, .in = P_NUM, .out = P_STR_OUT,
                          .infer = text_infer, .lower = lower, .eval = eval};
const OpDesc op_NumberOf = {.name = "NumberOf", .since = 1, .cls = CLS_OPAQUE, .flags = OPF_INTERNAL | OPF_IRREGULAR, .in = P_STR, .out = P_NUM_OUT, .attrs = ATTRS_,
                            .attrs_size = sizeof(Number), .infer = number_infer, .lower = lower, .eval = eval};
