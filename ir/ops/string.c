/* string.c: StringConcat, element by element with numpy broadcasting; the runtime makes the new strings. */
#include "ir/ops/axes.h"
#include <string.h>

static const Port P_IN[] = {{"X", DTS_STR, 0, 0}, {"Y", DTS_STR, 0, 0}, PORT_END};
static const Port P_OUT[] = {{"Z", DTS_STR, 0, 0}, PORT_END};

static bool infer(Infer *c)
{
    Dim dim[RANK_MAX];
    int rank;
    return infer_broadcast(c, (uint32_t[]){0, 1}, 2, dim, &rank) && infer_set(c, 0, DT_STR, rank, dim);
}

static bool lower(Lw *l, Node n)
{
    (void)n;
    KArg arg[3];
    for (uint32_t k = 0; k < 3; k++) arg[k] = (KArg){.kind = KA_BUF, .buf = k < 2 ? lw_in(l, k) : lw_out(l, 0)};
    lw_call(l, l->steps, "rt_string_concat", 3, arg);
    return true;
}

static bool eval(Eval *e)
{
    int64_t dim[RANK_MAX];
    int rank;
    if (!ev_broadcast_dims(e, (uint32_t[]){0, 1}, 2, dim, &rank)) return false;
    Tensor *y = ev_out(e, 0, DT_STR, rank, dim);
    for (int64_t k = 0; y && k < y->count; k++) {
        const bmc_string *a = (const bmc_string *)e->in[0]->data + ev_broadcast_index(e->in[0], y, k);
        const bmc_string *b = (const bmc_string *)e->in[1]->data + ev_broadcast_index(e->in[1], y, k);
        char *s = arena_alloc(e->arena, a->len + b->len);
        memcpy(s, a->ptr, a->len);
        memcpy(s + a->len, b->ptr, b->len);
        ((bmc_string *)y->data)[k] = (bmc_string){s, a->len + b->len};
    }
    return y != NULL;
}

const OpDesc op_StringConcat = {.name = "StringConcat", .since = 20, .cls = CLS_OPAQUE, .flags = OPF_IRREGULAR, .in = P_IN, .out = P_OUT,
                                .infer = infer, .lower = lower, .eval = eval};
