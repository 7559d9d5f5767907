/* unique.c: Unique: the different elements (or slices along an axis), sorted or by first occurrence, where each stood first, which one each was, how often it occurs.
 * The runtime sorts (rt_unique); how many there are is bound while running, and kernels copy the results out. */
#include "ir/ops/grad.h"
#include "ir/ops/index.h"

static const Port P_IN[] = {{"X", DTS_MOVE, 0, 1}, PORT_END};
static const Port P_OUT[] = {{"Y", DTS_MOVE, 0, 1}, {"indices", DTS(DT_I64), PORT_OPTIONAL, 0}, {"inverse_indices", DTS(DT_I64), PORT_OPTIONAL, 0},
                             {"counts", DTS(DT_I64), PORT_OPTIONAL, 0}, PORT_END};
typedef struct Unique { uint64_t set; int64_t axis, sorted; } Unique;
static const AttrSpec ATTRS_[] = {A_INT(Unique, axis, 0), A_INT(Unique, sorted, 1), A_END};

static bool flat(const Unique *a) { return !(a->set & 1); }

static bool infer(Infer *c)
{
    const Unique *a = ATTRS(c->g, c->n, Unique);
    int64_t axis = a->axis, lo, hi;
    Dim dim[RANK_MAX], count;
    if (!infer_need_rank(c, 0, flat(a) ? 0 : 1, -1)) return false;
    if (!flat(a) && !infer_axis(c, &axis, infer_rank(c, 0))) return false;
    count = flat(a) ? type_count(&c->m->types, value_type(c->g, node_in(c->g, c->n, 0))) : infer_dim(c, 0, (int)axis);
    if (!count.i) return infer_fail(c, "the input has too many elements");
    dim_bounds(c->d, count, &lo, &hi);
    int rank = flat(a) ? 1 : infer_rank(c, 0);
    if (flat(a)) axis = 0;
    for (int i = 0; !flat(a) && i < rank; i++) dim[i] = infer_dim(c, 0, i);
    Dim n = dim[axis] = infer_node_dim(c, 0, (int)axis, 0, hi);
    return infer_set(c, 0, infer_elem(c, 0), rank, dim) && infer_set(c, 1, DT_I64, 1, &n) && infer_set(c, 2, DT_I64, 1, &count) && infer_set(c, 3, DT_I64, 1, &n);
}

static bool lower(Lw *l, Node n)
{
    const Unique *a = ATTRS(l->g, n, Unique);
    Dims *d = &l->m->dims;
    int rank = lw_rank(l, 0), axis = flat(a) ? -1 : (int)(a->axis < 0 ? a->axis + rank : a->axis);
    Dim len = dim_const(d, 1), dim[RANK_MAX], work[2] = {dim_const(d, 4)};
    for (int i = 0; i < rank; i++) dim[i] = lw_dim(l, 0, i), len = flat(a) ? dim_mul(d, len, dim[i]) : len;
    if (!flat(a)) len = dim[axis];
    work[1] = len;
    lw_prepare_in(l);
    KBuf x = lw_in(l, 0), first = lw_temp(l, DT_I64, 1, &len), inverse = lw_temp(l, DT_I64, 1, &len), count = lw_temp(l, DT_I64, 1, &len), tmp = lw_temp(l, DT_I64, 2, work);
    Sym s = sym_new(d, module_fresh_name(l->m, "unique"), SYM_NODE, 0, INT64_MAX);
    lw_call(l, l->steps, "rt_unique", 8,
            (KArg[]){{.kind = KA_BUF, .buf = x}, {.kind = KA_BUF, .buf = first}, {.kind = KA_BUF, .buf = inverse}, {.kind = KA_BUF, .buf = count}, {.kind = KA_BUF, .buf = tmp},
                     {.kind = KA_INT, .i = axis}, {.kind = KA_INT, .i = a->sorted != 0}, {.kind = KA_SYM, .sym = s}});
    Dim many = dim_sym(d, s);
    if (flat(a)) dim[0] = many;
    else dim[axis] = many;
    lw_bind_dims(l, 0, dim);
    lw_out(l, 0);
    Kb *b = lw_kernel(l, "unique");
    KVal out[RANK_MAX], at[RANK_MAX], i;
    lw_nest_over(l, 0, out);
    KVal row = kb_load(b, kb_param(b, first, false), &out[flat(a) ? 0 : axis]);
    for (int k = rank - 1; k >= 0; k--) {   /* flat: the element's index from its number */
        at[k] = !flat(a) ? (k == axis ? row : out[k]) : k ? kb_bin(b, KOP_REM, row, kb_dim(b, lw_dim(l, 0, k))) : row;
        if (flat(a) && k) row = kb_div(b, row, kb_dim(b, lw_dim(l, 0, k)));
    }
    lw_put(l, 0, out, kb_load(b, kb_param(b, x, false), at));
    lw_end_nest(l, lw_out_rank(l, 0));
    lw_kernel_end(l);
    for (uint32_t r = 1; r < 4 && r < node_n_out(l->g, n); r++) {
        lw_bind_dims(l, r, r == 2 ? &len : &many);
        lw_out(l, r);
        b = lw_kernel(l, "unique_indices");
        lw_nest_over(l, r, &i);
        lw_put(l, r, &i, kb_load(b, kb_param(b, r == 1 ? first : r == 2 ? inverse : count, false), &i));
        lw_end_nest(l, 1);
        lw_kernel_end(l);
    }
    return true;
}

/* ---- eval: compares everything with everything ---- */

static int compare(const Tensor *x, int64_t a, int64_t b)
{
    if (x->elem == DT_STR) {
        const bmc_string *p = (const bmc_string *)x->data + a, *q = (const bmc_string *)x->data + b;
        for (size_t k = 0; k < p->len && k < q->len; k++)
            if (p->ptr[k] != q->ptr[k]) return (unsigned char)p->ptr[k] < (unsigned char)q->ptr[k] ? -1 : 1;
        return p->len < q->len ? -1 : p->len > q->len;
    }
    if (dtype_info(x->elem)->cls == DC_COMPLEX) {
        Tensor parts = *x;
        parts.elem = x->elem == DT_C64 ? DT_F32 : DT_F64;
        int c = compare(&parts, 2 * a, 2 * b);
        return c ? c : compare(&parts, 2 * a + 1, 2 * b + 1);
    }
    if (dtype_is_float(x->elem)) {
        double p = ev_f(x, a), q = ev_f(x, b);
        if (p != p || q != q) return (p != p) - (q != q);
        return p < q ? -1 : p > q;
    }
    int64_t p = ev_i(x, a), q = ev_i(x, b);
    return x->elem == DT_U64 ? ((uint64_t)p < (uint64_t)q ? -1 : (uint64_t)p > (uint64_t)q) : p < q ? -1 : p > q;
}

typedef struct Rows { const Tensor *x; int64_t outer, inner, len; } Rows;
static int compare_rows(const Rows *r, int64_t a, int64_t b)
{
    int c = 0;
    for (int64_t k = 0; !c && k < r->outer * r->inner; k++)
        c = compare(r->x, (k / r->inner * r->len + a) * r->inner + k % r->inner, (k / r->inner * r->len + b) * r->inner + k % r->inner);
    return c;
}

static bool eval(Eval *e)
{
    const Unique *a = ATTRS(e->g, e->n, Unique);
    const Tensor *x = e->in[0];
    int axis = flat(a) ? 0 : (int)(a->axis < 0 ? a->axis + x->rank : a->axis), rank = flat(a) ? 1 : x->rank;
    int64_t dim[RANK_MAX], m = 0;
    Rows r = {x, 1, 1, flat(a) ? x->count : x->dim[axis]};
    for (int i = 0; !flat(a) && i < rank; i++) {
        dim[i] = x->dim[i];
        if (i < axis) r.outer *= x->dim[i];
        if (i > axis) r.inner *= x->dim[i];
    }
    int64_t *first = arena_array(e->arena, int64_t, r.len + 1);
    for (int64_t i = 0; i < r.len; i++) {   /* kept rows, in order */
        bool seen = false;
        for (int64_t k = 0; k < m && !seen; k++) seen = !compare_rows(&r, first[k], i);
        int64_t at = m;
        while (!seen && a->sorted && at > 0 && compare_rows(&r, i, first[at - 1]) < 0) at--;
        if (seen) continue;
        for (int64_t k = m++; k > at; k--) first[k] = first[k - 1];
        first[at] = i;
    }
    dim[axis] = m;
    Tensor *y = ev_out(e, 0, x->elem, rank, dim), *o[4] = {NULL};
    for (uint32_t k = 1; k < 4; k++)
        if (!(o[k] = ev_out(e, k, DT_I64, 1, k == 2 ? &r.len : &m))) return false;
    for (int64_t k = 0; y && k < y->count; k++) {
        int64_t q = k / r.inner / (m ? m : 1);
        ev_copy(y, k, x, (q * r.len + first[k / r.inner % m]) * r.inner + k % r.inner);
    }
    for (int64_t i = 0; y && i < r.len; i++)
        for (int64_t k = 0; k < m; k++) {
            if (compare_rows(&r, first[k], i)) continue;
            ev_set_i(o[2], i, k);
            ev_set_i(o[3], k, ev_i(o[3], k) + 1);
            ev_set_i(o[1], k, first[k]);
        }
    return y != NULL;
}

const OpDesc op_Unique = {.name = "Unique", .since = 28, .cls = CLS_OPAQUE, .flags = OPF_IRREGULAR, .in = P_IN, .out = P_OUT, .attrs = ATTRS_, .attrs_size = sizeof(Unique),
                          .infer = infer, .lower = lower, .eval = eval, .grad = grad_unique};
