/* eval_call.c: calls of the real runtime functions from the interpreter, with the arguments that generated code would
 * pass. */
#include "ir/kernel/eval_state.h"
#include "base/bug.h"
#include <string.h>

static const struct {
    const char *name;
    rt_call_fn *fn;
} functions[] = {
#define RTCALL(name, args, mode, brief) {#name, name},
#include "runtime/rt_calls.def"
#undef RTCALL
};

static bool argument(KEval *e, const KStep *s, const KArg *a, char letter, rt_arg *out)
{
    KView v;
    switch (a->kind) {
    case KA_DIM: out->kind = RT_DIM; return keval_dim(e, s->loc, a->dim, &out->value);
    case KA_SYM:
        out->kind = RT_SYM;
        out->sym = &e->ctx->sym[a->sym.i];
        return true;
    case KA_INT:
        out->kind = RT_INT;
        out->value = a->i;
        return true;
    case KA_STR:
        out->kind = RT_TEXT;
        out->text = a->str;
        return true;
    case KA_BUF: break;
    }
    const KBufRec *r = kbuf(e->m, a->buf);
    out->value = r->space == KS_BOX || r->space == KS_SEQ ? (int64_t)a->buf.i : -1;
    out->kind = r->space == KS_SEQ ? RT_SEQ : RT_BUF;
    if (r->space == KS_SEQ) return true;
    out->dtype = (uint8_t)r->elem;
    out->rank = r->rank;
    if (letter == 'x') return true; /* has no memory yet */
    if (!keval_view(e, s->loc, a->buf, &v)) return false;
    if (!keval_touch_view(e, s->loc, &v, letter == 'o', s->call->team)) return false;
    out->data = v.data +
                (r->elem == DT_STR ? v.offset * (int64_t)sizeof(bmc_string) : v.offset * dtype_info(r->elem)->bits / 8);
    memcpy(out->dim, v.dim, sizeof(int64_t) * (size_t)v.rank);
    return true;
}

bool keval_call(KEval *e, const KStep *s)
{
    rt_arg *arg = arena_array(&e->work, rt_arg, s->n_arg + 1);
    rt_call_fn *fn = NULL;
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (!strcmp(functions[i].name, s->call->name)) fn = functions[i].fn;
    if (!fn && !s->call->lib) BUG("no runtime function %s", s->call->name);
    for (uint32_t i = 0; i < s->n_arg; i++)
        if (!argument(e, s, &s->arg[i], s->call->args[i], &arg[i])) return false;
    if (!fn) return keval_fail(e, BMC_E_FAIL, s->loc, "%s: this program is linked without the part '%s' of the runtime", s->call->name, s->call->lib->part);
    int32_t status = fn(e->ctx, arg, (int32_t)s->n_arg, 0, 1);
    for (uint32_t i = 0; i < s->n_arg; i++)
        if (s->call->args[i] == 'x') e->mem[s->arg[i].buf.i].bytes = -1; /* the call knows how much */
    if (status == BMC_OK) return true;
    rt_fail(e->ctx, 0, 0, 0, status, 0, 0);
    rt_interp_status(e->ctx, NULL, 0);
    return keval_fail(e, (bmc_status)status, s->loc, "%s: %s", s->call->name, rt_message(e->ctx));
}
