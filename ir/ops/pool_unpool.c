/* pool_unpool.c: MaxUnpool: puts each element of X where its index says, zeros elsewhere.
 * An index counts the elements of the result that kernel, strides and pads give, row-major; output_shape may be larger:
 * what is added stands behind along each axis. Two elements with one index: the later one stays, so one thread stores. */
#include "ir/graph/eval.h"
#include "ir/ops/window.h"
#include "ir/ops/grad.h"

static const Port P_IN[] = {{"X", DTS_FLOAT, 0, 1}, {"I", DTS(DT_I64), 0, 0}, {"output_shape", DTS(DT_I64), PORT_OPTIONAL | PORT_SHAPE, 0}, PORT_END};
static const Port P_OUT[] = {{"output", DTS_FLOAT, 0, 1}, PORT_END};

typedef struct Unpool { uint64_t set; AttrInts kernel_shape, pads, strides; } Unpool;
static const AttrSpec ATTRS_[] = {{.name = "kernel_shape", .kind = ATTR_INTS, .offset = offsetof(Unpool, kernel_shape), .required = true},
                                  A_INTS(Unpool, pads), A_INTS(Unpool, strides), A_END};

/* What kernel, strides and pads give. */
static bool natural(Dims *d, const Unpool *a, const TypeRec *x, Dim *dim, const char **why)
{
    int n = x->rank - 2;
    if ((int)a->kernel_shape.n != n || (a->strides.n && (int)a->strides.n != n) || (a->pads.n && (int)a->pads.n != 2 * n))
        return *why = "kernel_shape, strides or pads do not fit the number of spatial axes", false;
    dim[0] = dim_resolve(d, x->dim[0]);
    dim[1] = dim_resolve(d, x->dim[1]);
    for (int i = 0; i < n; i++) {
        int64_t k = a->kernel_shape.p[i], s = a->strides.n ? a->strides.p[i] : 1, pad;
        int64_t begin = a->pads.n ? a->pads.p[i] : 0, end = a->pads.n ? a->pads.p[n + i] : 0;
        if (k < 1 || s < 1 || __builtin_add_overflow(begin, end, &pad) || __builtin_sub_overflow(k, pad, &pad)) return *why = "kernel, strides or pads are out of range", false;
        Dim steps = dim_sub(d, dim_resolve(d, x->dim[2 + i]), dim_const(d, 1));
        dim[2 + i] = dim_add(d, dim_mul(d, steps, dim_const(d, s)), dim_const(d, pad));
        int64_t lo, hi;
        if (!dim[2 + i].i) return *why = "the result is too large", false;
        dim_bounds(d, dim[2 + i], &lo, &hi);
        if (hi < 0) return *why = "the result would have a negative extent", false;
        if (lo < 0) dim[2 + i] = dim_max(d, dim_const(d, 0), dim[2 + i]);
    }
    return true;
}

static bool infer(Infer *c)
{
    Dim dim[RANK_MAX];
    const Dim *want;
    const char *why;
    uint32_t n;
    if (!infer_need_rank(c, 0, 3, -1)) return false;
    int rank = infer_rank(c, 0);
    if (!infer_need_rank(c, 1, rank, rank)) return false;
    for (int i = 0; i < rank; i++)
        if (!infer_must_eq(c, infer_dim(c, 1, i), infer_dim(c, 0, i), "shape of the indices")) return false;
    if (!natural(c->d, ATTRS(c->g, c->n, Unpool), infer_in(c, 0), dim, &why)) return infer_fail(c, "%s", why);
    if (infer_has(c, 2)) {
        if (!infer_need_rank(c, 2, 1, 1) || !infer_must_eq(c, infer_dim(c, 2, 0), dim_const(c->d, rank), "length of output_shape")) return false;
        bool known = infer_content(c, 2, &want, &n);
        for (int i = 0; i < rank; i++) {
            if (known && dim_le(c->d, dim[i], want[i]) == TRI_NO) return infer_fail(c, "output_shape is smaller than the result along axis %d", i);
            dim[i] = known ? dim_resolve(c->d, want[i]) : infer_node_dim(c, 0, i, 0, INT64_MAX);
        }
    }
    return infer_set(c, 0, infer_elem(c, 0), rank, dim);
}

static bool lower(Lw *l, Node n)
{
    Dims *d = &l->m->dims;
    Dim full[RANK_MAX], want[RANK_MAX], count = dim_const(d, 1);
    const char *why;
    uint32_t k;
    int rank = lw_rank(l, 0);
    if (!natural(d, ATTRS(l->g, n, Unpool), value_trec(l->g, node_in(l->g, n, 0)), full, &why)) return lw_fail(l, "%s", why);
    if (lw_has(l, 2)) {
        if (!lw_values(l, 2, want, RANK_MAX, &k)) return false;
        lw_bind_dims(l, 0, want);
    }
    for (int i = 0; i < rank; i++) {
        KStep *s = dim_le(d, full[i], lw_out_dim(l, 0, i)) == TRI_YES ? NULL : lw_step(l, KST_CHECK);
        if (s) s->a = full[i], s->b = lw_out_dim(l, 0, i), s->rel = KREL_LE, s->msg = "the result is {got} long, output_shape says {want}";
        count = dim_mul(d, count, full[i]);
    }
    KBuf x = lw_in_strided(l, 0), at = lw_in_strided(l, 1), out = lw_out(l, 0);
    DType t = dtype_compute(lw_elem(l, 0));
    KVal idx[RANK_MAX], to[RANK_MAX];
    Kb *b = lw_kernel(l, "unpool_zero");
    lw_nest_over(l, 0, idx);
    kb_store(b, kb_param(b, out, true), idx, kb_const_f(b, t, 0));
    lw_end_nest(l, rank);
    lw_kernel_end(l);
    b = lw_kernel(l, "unpool");
    for (int i = 0; i < rank; i++) idx[i] = kb_for(b, KLOOP_SEQ, kb_i(b, 0), kb_dim(b, lw_dim(l, 0, i)));
    KVal flat = kb_load(b, kb_param(b, at, false), idx), rest = flat;
    KVal inside = kb_and(b, kb_ge(b, flat, kb_i(b, 0)), kb_lt(b, flat, kb_dim(b, count)));
    kb_record(b, inside, "index {got} is out of range for {want} elements", flat, kb_dim(b, count));
    for (int i = rank - 1; i >= 0; i--) {
        KVal size = kb_max(b, kb_i(b, 1), kb_dim(b, full[i]));
        to[i] = i ? kb_bin(b, KOP_MOD, rest, size) : rest;
        rest = kb_bin(b, KOP_FLOORDIV, rest, size);
    }
    kb_store_if(b, kb_param(b, out, true), to, kb_load(b, kb_param(b, x, false), idx), inside);
    lw_end_nest(l, rank);
    lw_kernel_end(l);
    return true;
}

static bool eval(Eval *e)
{
    const Tensor *x = e->in[0], *at = e->in[1];
    const Unpool *a = ATTRS(e->g, e->n, Unpool);
    int64_t full[RANK_MAX] = {x->dim[0], x->dim[1]}, dim[RANK_MAX], count = x->dim[0] * x->dim[1];
    int n = x->rank - 2;
    for (int i = 0; i < n; i++) {
        int64_t pad = a->pads.n ? a->pads.p[i] + a->pads.p[n + i] : 0;
        full[2 + i] = (x->dim[2 + i] - 1) * (a->strides.n ? a->strides.p[i] : 1) + a->kernel_shape.p[i] - pad;
        if (full[2 + i] < 0) full[2 + i] = 0;
        count *= full[2 + i];
    }
    for (int i = 0; i < x->rank; i++) {
        dim[i] = ev_has(e, 2) ? ev_i(e->in[2], i) : full[i];
        if (dim[i] < full[i]) return ev_fail(e, "output_shape is smaller than the result");
    }
    Tensor *y = ev_out(e, 0, x->elem, x->rank, dim);
    for (int64_t k = 0; y && k < x->count; k++) {
        int64_t f = ev_i(at, k), step = 1, to = 0;
        if (f < 0 || f >= count) return ev_fail(e, "index %lld is out of range", (long long)f);
        for (int i = x->rank - 1; i >= 0; i--) {
            to += f % full[i] * step;
            f /= full[i];
            step *= dim[i];
        }
        ev_copy(y, to, x, k);
    }
    return y != NULL;
}

const OpDesc op_MaxUnpool = {.name = "MaxUnpool", .since = 22, .cls = CLS_WINDOW, .flags = OPF_STRIDED_OUT, .in = P_IN, .out = P_OUT, .attrs = ATTRS_,
                             .attrs_size = sizeof(Unpool), .infer = infer, .lower = lower, .grad = grad_max_unpool, .has_result = op_result_unsure, .eval = eval};
