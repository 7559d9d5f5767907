/* rt_string: string operators. Elements are {ptr, len}; new contents live in the context until its next run. */
#include "runtime/rt_case.h"
#include "runtime/rt_internal.h"
#include <string.h>

/* Element strides of `a` when broadcast to o's shape (aligned at the last axis); false: it does not broadcast. */
static bool broadcast(const rt_arg *a, const rt_arg *o, int64_t *stride)
{
    int shift = o->rank - a->rank;
    if (shift < 0) return false;
    int64_t dense = 1;
    for (int i = o->rank - 1; i >= 0; i--) {
        int64_t d = i >= shift ? a->dim[i - shift] : 1;
        if (d != 1 && d != o->dim[i]) return false;
        stride[i] = d == 1 ? 0 : dense;
        dense *= d;
    }
    return true;
}

int32_t rt_string_concat(bmc_ctx *x, rt_arg *arg, int32_t n, int32_t tid, int32_t nt)
{
    (void)n, (void)tid, (void)nt;
    rt_arg *o = &arg[2];
    int64_t sa[BMC_MAX_RANK], sb[BMC_MAX_RANK], at[BMC_MAX_RANK] = {0}, ia = 0, ib = 0;
    size_t count;
    if (!rt_dense_bytes(BMC_STRING, o->rank, o->dim, &count)) return BMC_E_MEMORY;
    if (count && !(o->data && arg[0].data && arg[1].data))
        return BMC_E_MEMORY; /* an allocation in front of the call failed */
    if (count) memset(o->data, 0, count);
    count /= sizeof(bmc_string);
    if (!broadcast(&arg[0], o, sa) || !broadcast(&arg[1], o, sb)) {
        rt_detail(x, "the operands do not broadcast to the result");
        return BMC_E_SHAPE;
    }
    const bmc_string *a = arg[0].data, *b = arg[1].data;
    bmc_string *to = o->data;
    for (size_t k = 0; k < count; k++) {
        bmc_string l = a[ia], r = b[ib];
        char *p = rt_text_alloc(x, l.len + r.len);
        if (!p) {
            rt_detail(x, "the contents of strings");
            return BMC_E_MEMORY;
        }
        if (l.len) memcpy(p, l.ptr, l.len);
        if (r.len) memcpy(p + l.len, r.ptr, r.len);
        to[k] = (bmc_string){p, l.len + r.len};
        for (int i = o->rank - 1; i >= 0; i--) {
            ia += sa[i], ib += sb[i];
            if (++at[i] < o->dim[i]) break;
            ia -= o->dim[i] * sa[i], ib -= o->dim[i] * sb[i];
            at[i] = 0;
        }
    }
    return BMC_OK;
}

/* ---- StringSplit ---- */

typedef struct Splitter {
    bmc_string rest;
    bmc_string delimiter; /* empty: white space */
    int64_t splits;       /* still allowed; -1: any number */
    bool done;
} Splitter;

/* Drops white space at the front. Bytes that are no UTF-8 are no white space. */
static void skip_space(bmc_string *s)
{
    for (size_t at = 0; s->len; at = 0) {
        int32_t c = rt_utf8_get(s->ptr, s->len, &at);
        if (c < 0 || !rt_is_space((uint32_t)c)) return;
        s->ptr += at, s->len -= at;
    }
}

static bmc_string trimmed(bmc_string s)
{
    while (s.len) {
        size_t begin = s.len - 1, at;
        while (begin && (s.ptr[begin] & 0xc0) == 0x80) begin--;
        at = begin;
        int32_t c = rt_utf8_get(s.ptr, s.len, &at);
        if (c < 0 || at != s.len || !rt_is_space((uint32_t)c)) break;
        s.len = begin;
    }
    return s;
}

/* The next piece, a part of the string itself; false: there is none. */
static bool split_next(Splitter *t, bmc_string *piece)
{
    const bmc_string d = t->delimiter;
    size_t at = 0, behind = 0;
    if (t->done) return false;
    if (!d.len) {
        skip_space(&t->rest);
        if (!t->rest.len) return false;
    }
    bool last = t->splits == 0;
    while (!last && d.len) {
        const char *found = t->rest.len - at >= d.len ? memchr(t->rest.ptr + at, d.ptr[0], t->rest.len - at - d.len + 1) : NULL;
        if (!found) last = true;
        else if (at = (size_t)(found - t->rest.ptr), behind = at + d.len, !memcmp(found, d.ptr, d.len)) break;
        else at++;
    }
    while (!last && !d.len) { /* up to white space */
        size_t next = at;
        int32_t c = rt_utf8_get(t->rest.ptr, t->rest.len, &next);
        if ((behind = c < 0 ? at + 1 : next, c >= 0 && rt_is_space((uint32_t)c))) break;
        at = behind;
        last = at == t->rest.len;
    }
    *piece = last ? d.len ? t->rest : trimmed(t->rest) : (bmc_string){t->rest.ptr, at};
    t->done = last;
    if (!last) t->rest.ptr += behind, t->rest.len -= behind;
    if (t->splits > 0) t->splits--;
    return true;
}

int32_t rt_string_split(bmc_ctx *x, rt_arg *arg, int32_t n_arg, int32_t tid, int32_t nt)
{
    (void)n_arg, (void)tid, (void)nt;
    const bmc_string *from = arg[0].data, *delimiter = arg[4].data;
    int64_t *count = arg[1].data, n = rt_elements(&arg[0]), most = 0;
    uint32_t slot = (uint32_t)arg[2].value;
    bmc_string piece;
    *arg[3].sym = 0;
    if (!rt_box_alloc(x, slot, 0, 0) || !delimiter || (n && !(from && count))) return rt_no_memory(x, "strings");
    for (int64_t i = 0; i < n; i++) {
        Splitter t = {from[i], *delimiter, arg[5].value, false};
        for (count[i] = 0; split_next(&t, &piece);) count[i]++;
        if (count[i] > most) most = count[i];
    }
    if (n && most > PTRDIFF_MAX / (int64_t)sizeof piece / n) return rt_no_memory(x, "strings");
    if (!rt_box_alloc(x, slot, n * most * (int64_t)sizeof piece, 0)) return rt_no_memory(x, "strings");
    bmc_string *to = x->slot[slot];
    for (int64_t i = 0; i < n; i++, to += most) {
        Splitter t = {from[i], *delimiter, arg[5].value, false};
        for (int64_t k = 0; k < most; k++)
            if (!split_next(&t, &to[k])) to[k] = (bmc_string){"", 0};
    }
    *arg[3].sym = most;
    return BMC_OK;
}
