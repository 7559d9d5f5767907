/* rt_string: string operators. Elements are {ptr, len}; new contents live in the context until its next run. */
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
