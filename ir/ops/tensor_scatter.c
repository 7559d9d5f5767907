/* tensor_scatter.c: TensorScatter: a cache [batch, ..., max, ...] with rows written behind what each batch has:
 *   present = past;  present[b, ..., w[b] + s, ...] = update[b, ..., s, ...]        circular: (w[b] + s) mod max
 * A linear write beyond the end is recorded. */
#include "ir/ops/grad.h"
#include "ir/ops/index.h"
#include <string.h>

#define DTS_CACHE (DTS_MOVE | DTS_SMALL)
static const Port P_IN[] = {{"past_cache", DTS_CACHE, 0, 1}, {"update", DTS_CACHE, 0, 1}, {"write_indices", DTS(DT_I64), PORT_OPTIONAL, 0}, PORT_END};
static const Port P_OUT[] = {{"present_cache", DTS_CACHE, 0, 1}, PORT_END};
typedef struct Write { uint64_t set; int64_t axis; const char *mode; } Write;
static const AttrSpec ATTRS_[] = {A_INT(Write, axis, -2), A_STRING(Write, mode, "linear"), A_END};

static bool circular(const Write *a) { return !strcmp(a->mode, "circular"); }

static bool infer(Infer *c)
{
    const Write *a = ATTRS(c->g, c->n, Write);
    int64_t axis = a->axis;
    if (!circular(a) && strcmp(a->mode, "linear")) return infer_fail(c, "mode '%s' is unknown", a->mode);
    if (!infer_need_rank(c, 0, 2, -1)) return false;
    int rank = infer_rank(c, 0);
    if (!infer_axis(c, &axis, rank) || !infer_need_rank(c, 1, rank, rank)) return false;
    if (axis == 0) return infer_fail(c, "axis 0 is the batch");
    for (int i = 0; i < rank; i++)
        if (i != axis && !infer_must_eq(c, infer_dim(c, 1, i), infer_dim(c, 0, i), "dimension of the update")) return false;
    if (infer_has(c, 2) && (!infer_need_rank(c, 2, 1, 1) || !infer_must_eq(c, infer_dim(c, 2, 0), infer_dim(c, 0, 0), "batch"))) return false;
    return infer_like(c, 0, 0);
}

/* Every row of the result is written once, from the update where that has it:
 *   q = r - w[b], circular: mod max      present[b, .., r, ..] = 0 <= q < length ? update[b, .., q, ..] : past[b, .., r, ..] */
static bool lower(Lw *l, Node n)
{
    const Write *a = ATTRS(l->g, n, Write);
    int rank = lw_rank(l, 0), axis = (int)(a->axis < 0 ? a->axis + rank : a->axis);
    KVal i[RANK_MAX], at[RANK_MAX], first = {0};
    index_check(l, lw_dim(l, 1, axis), KREL_LE, lw_dim(l, 0, axis), "the update is {got} long, the cache {want}");
    lw_prepare_in(l);
    KBuf past = lw_in_strided(l, 0), update = lw_in_strided(l, 1);
    lw_out(l, 0);
    Kb *b = lw_kernel(l, "cache");
    KVal zero = kb_i(b, 0), len = kb_dim(b, lw_dim(l, 0, axis)), rows = kb_dim(b, lw_dim(l, 1, axis));
    for (int k = 0; k < rank; k++) {
        i[k] = at[k] = kb_for(b, KLOOP_PAR, zero, kb_dim(b, lw_out_dim(l, 0, k)));
        if (k) continue;
        first = lw_has(l, 2) ? lw_at(l, 2, i) : zero;
        if (circular(a) || !lw_has(l, 2)) continue;
        KVal before = kb_lt(b, first, zero), last = kb_sub(b, len, rows); /* the first row that is outside */
        KVal ok = kb_and(b, kb_ge(b, first, zero), kb_bin(b, KOP_LE, first, last));
        kb_record(b, kb_bin(b, KOP_OR, ok, kb_eq(b, rows, zero)), "row {got} is written, the cache has {want}", kb_select(b, before, first, kb_max(b, first, len)), len);
    }
    KVal q = kb_sub(b, i[axis], first);
    if (circular(a)) q = kb_bin(b, KOP_MOD, q, len);
    KVal in = kb_and(b, kb_ge(b, q, zero), kb_lt(b, q, rows));
    at[axis] = q;
    KVal old = kb_load_if(b, kb_param(b, past, false), i, kb_un(b, KOP_NOT, in), (KVal){0});
    lw_put(l, 0, i, kb_load_if(b, kb_param(b, update, false), at, in, old));
    lw_end_nest(l, rank);
    lw_kernel_end(l);
    return true;
}

static bool eval(Eval *e)
{
    const Write *a = ATTRS(e->g, e->n, Write);
    const Tensor *x = e->in[0], *u = e->in[1];
    int axis = (int)(a->axis < 0 ? a->axis + x->rank : a->axis);
    int64_t i[RANK_MAX], len = x->dim[axis];
    Tensor *y = ev_out(e, 0, x->elem, x->rank, x->dim);
    if (u->dim[axis] > len) return ev_fail(e, "the update is longer than the cache");
    for (int64_t k = 0; y && k < x->count; k++) ev_copy(y, k, x, k);
    for (int64_t k = 0; y && k < u->count; k++) {
        unflatten(u, k, i);
        i[axis] += ev_has(e, 2) ? ev_i(e->in[2], i[0]) : 0;
        if (circular(a)) i[axis] = (i[axis] % len + len) % len;
        if (i[axis] < 0 || i[axis] >= len) return ev_fail(e, "a row is written beyond the end of the cache");
        ev_copy(y, flat_index(y, i), u, k);
    }
    return y != NULL;
}

const OpDesc op_TensorScatter = {.name = "TensorScatter", .since = 24, .cls = CLS_OPAQUE, .flags = OPF_STRIDED_OUT, .in = P_IN, .out = P_OUT, .attrs = ATTRS_,
                                 .attrs_size = sizeof(Write), .infer = infer, .lower = lower, .has_result = op_result_unsure, .eval = eval, .grad = grad_tensor_scatter};
