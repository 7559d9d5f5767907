/* col2im.c: Col2Im: the columns of a convolution's windows, added up where they overlap: each pixel sums the windows that hold it.
 *   Y[n, c, i...] = sum over k... of X[n, c * prod(block) + k, window], window * stride = i + pad - k * dilation, where such a window exists
 * The sum of bools is whether one of them is true; complex numbers are added part by part. */
#include "ir/ops/complex.h"
#include "ir/ops/index.h"
#include "ir/ops/grad.h"
#include <string.h>

static const Port P_IN[] = {{"input", DTS_NUM | DTS_BOOL | DTS_COMPLEX, 0, 1}, {"image_shape", DTS(DT_I64), PORT_SHAPE, 0}, {"block_shape", DTS(DT_I64), PORT_SHAPE, 0}, PORT_END};
static const Port P_OUT[] = {{"output", DTS_NUM | DTS_BOOL | DTS_COMPLEX, 0, 1}, PORT_END};
typedef struct Col2Im { uint64_t set; AttrInts dilations, pads, strides; } Col2Im;
static const AttrSpec ATTRS_[] = {A_INTS(Col2Im, dilations), A_INTS(Col2Im, pads), A_INTS(Col2Im, strides), A_END};

static int64_t attr(const AttrInts *a, int i, int64_t absent) { return a->p ? a->p[i] : absent; }

/* How many windows there are, and how many elements each has; false: not positive. */
static bool sizes(Dims *d, const Col2Im *a, int r, const Dim *image, const Dim *block, Dim *windows, Dim *area)
{
    *area = *windows = dim_const(d, 1);
    for (int i = 0; i < r; i++) {
        int64_t pad = attr(&a->pads, i, 0) + attr(&a->pads, i + r, 0), lo, hi;
        dim_bounds(d, block[i], &lo, &hi);
        if (hi < 1) return false;
        Dim reach = dim_add(d, dim_mul(d, dim_sub(d, block[i], dim_const(d, 1)), dim_const(d, attr(&a->dilations, i, 1))), dim_const(d, 1));
        Dim room = dim_sub(d, dim_add(d, image[i], dim_const(d, pad)), reach);
        *area = dim_mul(d, *area, block[i]);
        *windows = dim_mul(d, *windows, dim_add(d, dim_div(d, room, dim_const(d, attr(&a->strides, i, 1))), dim_const(d, 1)));
    }
    return true;
}

/* Shapes that only the run knows are checked there. */
static bool infer(Infer *c)
{
    const Col2Im *a = ATTRS(c->g, c->n, Col2Im);
    const Dim *known[2];
    uint32_t count;
    int64_t r, rb;
    bool have[2];
    Dim dim[RANK_MAX], shape[2][RANK_MAX], area, windows;
    if (!infer_need_rank(c, 0, 3, 3) || !infer_need_rank(c, 1, 1, 1) || !infer_need_rank(c, 2, 1, 1)) return false;
    if (!dim_is_const(c->d, infer_dim(c, 1, 0), &r) || !dim_is_const(c->d, infer_dim(c, 2, 0), &rb)) return infer_fail(c, "the number of axes must be known at compile time");
    if (r != rb || r < 1 || r > RANK_MAX - 2) return infer_fail(c, "an image of %lld axes, a block of %lld", (long long)r, (long long)rb);
    if ((a->strides.p && a->strides.n != r) || (a->dilations.p && a->dilations.n != r) || (a->pads.p && a->pads.n != 2 * r))
        return infer_fail(c, "an attribute does not have %lld axes", (long long)r);
    for (int i = 0; i < r; i++)
        if (attr(&a->strides, i, 1) < 1 || attr(&a->dilations, i, 1) < 1) return infer_fail(c, "strides and dilations must be positive");
    for (uint32_t k = 0; k < 2; k++) {
        have[k] = infer_content(c, 1 + k, &known[k], &count) && count == r;
        for (int i = 0; i < r && have[k]; i++) shape[k][i] = dim_resolve(c->d, known[k][i]);
    }
    for (int i = 0; i < r; i++) dim[2 + i] = have[0] ? shape[0][i] : infer_node_dim(c, 0, 2 + i, 0, INT64_MAX);
    dim[0] = infer_dim(c, 0, 0);
    if (have[1]) {
        if (!sizes(c->d, a, (int)r, dim + 2, shape[1], &windows, &area)) return infer_fail(c, "a block has {want} elements along an axis");
        dim[1] = dim_div(c->d, infer_dim(c, 0, 1), area);
        if (!infer_must_eq(c, dim_mul(c->d, dim[1], area), infer_dim(c, 0, 1), "multiple of the block")) return false;
        if (have[0] && !infer_must_eq(c, windows, infer_dim(c, 0, 2), "number of windows")) return false;
    } else dim[1] = infer_node_dim(c, 0, 1, 0, INT64_MAX);
    return infer_set(c, 0, infer_elem(c, 0), (int)r + 2, dim);
}

static KVal both(Kb *b, KVal p, KVal q) { return !p.i ? q : !q.i ? p : kb_and(b, p, q); }

static bool lower(Lw *l, Node n)
{
    const Col2Im *a = ATTRS(l->g, n, Col2Im);
    Dims *dims = &l->m->dims;
    int r = lw_out_rank(l, 0) - 2;
    uint32_t count;
    Dim image[RANK_MAX], block[RANK_MAX], dim[RANK_MAX], area, windows;
    DType t = dtype_compute(lw_elem(l, 0));
    KbLoop loop[RANK_MAX];
    KVal out[RANK_MAX], ok = {0};
    if (!lw_values(l, 1, image, RANK_MAX, &count) || !lw_values(l, 2, block, RANK_MAX, &count)) return false;
    for (int i = 0; i < r; i++) {
        index_check(l, dim_const(dims, 1), KREL_LE, block[i], "the block is empty");
        image[i] = axes_bind(l, image[i], 0, INT64_MAX);
        block[i] = axes_bind(l, block[i], 1, INT64_MAX);
        dim[2 + i] = image[i];
    }
    if (!sizes(dims, a, r, image, block, &windows, &area)) return lw_fail(l, "the block is empty");
    index_check(l, windows, KREL_EQ, lw_dim(l, 0, 2), "the number of windows is not that of the image");
    dim[0] = lw_dim(l, 0, 0), dim[1] = dim_div(dims, lw_dim(l, 0, 1), area);
    index_check(l, dim_mul(dims, dim[1], area), KREL_EQ, lw_dim(l, 0, 1), "the channels are no multiple of the block");
    lw_bind_dims(l, 0, dim);
    lw_prepare_in(l);
    KBuf src = lw_in_strided(l, 0);
    lw_out(l, 0);
    Kb *b = lw_kernel(l, "col2im");
    lw_nest_over(l, 0, out);
    KVal acc = dtype_is_float(t) ? kb_const_f(b, t, 0) : kb_const_i(b, t, 0), zero = kb_i(b, 0), row = out[1], window = zero;
    for (int i = 0; i < r; i++) {
        int64_t s = attr(&a->strides, i, 1), d = attr(&a->dilations, i, 1), p0 = attr(&a->pads, i, 0), p1 = attr(&a->pads, i + r, 0);
        KVal one = kb_i(b, 1), len = kb_dim(b, image[i]), size = kb_dim(b, block[i]), reach = kb_add(b, kb_mul(b, kb_sub(b, size, one), kb_i(b, d)), one);
        KVal many = kb_add(b, kb_bin(b, KOP_FLOORDIV, kb_sub(b, kb_add(b, len, kb_i(b, p0 + p1)), reach), kb_i(b, s)), one);
        KVal from = kb_add(b, out[2 + i], kb_i(b, p0)), first = zero, end = size;
        bool lanes = i == r - 1;
        if (!lanes) { /* only those k whose window exists: 0 <= from - k d < many s */
            first = kb_max(b, zero, kb_add(b, kb_bin(b, KOP_FLOORDIV, kb_sub(b, from, kb_mul(b, many, kb_i(b, s))), kb_i(b, d)), one));
            end = kb_min(b, size, kb_add(b, kb_bin(b, KOP_FLOORDIV, from, kb_i(b, d)), one));
        }
        kb_loop(b, &loop[i], KLOOP_SEQ, first, end, 1, &acc, NULL);
        acc = loop[i].carry[0];
        row = kb_add(b, kb_mul(b, row, size), loop[i].iv);
        KVal at = kb_sub(b, from, kb_mul(b, loop[i].iv, kb_i(b, d))), w = kb_bin(b, KOP_FLOORDIV, at, kb_i(b, s)), in = {0};
        if (lanes) in = kb_and(b, kb_ge(b, at, zero), kb_lt(b, w, many));
        if (s > 1) in = both(b, in, kb_eq(b, kb_mul(b, w, kb_i(b, s)), at));
        ok = both(b, ok, in);
        window = kb_add(b, kb_mul(b, window, many), w);
    }
    KVal next = kb_add(b, acc, kb_load_if(b, kb_param(b, src, false), (KVal[]){out[0], row, window}, ok, (KVal){0}));
    for (int i = r - 1; i >= 0; i--) {
        kb_loop_end(b, &loop[i], &next);
        next = loop[i].result[0];
    }
    lw_put(l, 0, out, next);
    lw_end_nest(l, r + 2);
    lw_kernel_end(l);
    return true;
}

static bool must_expand(const Graph *g, Node n)
{
    return complex_first(g, n) || value_trec(g, node_in(g, n, 0))->elem == DT_BOOL;
}

static bool expand(Graph *g, Node n)
{
    if (complex_first(g, n)) return complex_expand(g, n, 1, NULL);
    Ex x = ex_begin(g, n);
    Value in[3] = {ex_cast(&x, ex_in(&x, 0), DT_I32), ex_in(&x, 1), ex_in(&x, 2)};
    Value y = ex_cast(&x, ex_op(&x, OP_Col2Im, in, 3, node_rec(g, n)->attrs), DT_BOOL);
    return ex_end(&x, &y, 1);
}

/* Naive: runs over the columns and adds each element to its pixel. */
static bool eval_real(Eval *e, int which)
{
    (void)which;
    const Col2Im *a = ATTRS(e->g, e->n, Col2Im);
    const Tensor *x = e->in[0], *image = e->in[1], *block = e->in[2];
    int r = (int)image->count;
    int64_t dim[RANK_MAX], area = 1, many[RANK_MAX], at[RANK_MAX], i[3];
    for (int k = 0; k < r; k++) {
        int64_t d = attr(&a->dilations, k, 1), s = attr(&a->strides, k, 1);
        dim[2 + k] = ev_i(image, k);
        area *= ev_i(block, k);
        many[k] = (dim[2 + k] + attr(&a->pads, k, 0) + attr(&a->pads, k + r, 0) - d * (ev_i(block, k) - 1) - 1) / s + 1;
    }
    int64_t windows = 1;
    for (int k = 0; k < r; k++) windows *= many[k];
    if (windows != x->dim[2] || x->dim[1] % area) return ev_fail(e, "the columns do not fit the image");
    dim[0] = x->dim[0], dim[1] = x->dim[1] / area;
    Tensor *y = ev_out(e, 0, x->elem, r + 2, dim);
    for (int64_t k = 0; y && k < x->count; k++) {
        bool in = true;
        unflatten(x, k, i);
        int64_t q = i[1] % area, w = i[2];
        at[0] = i[0], at[1] = i[1] / area;
        for (int d = r - 1; d >= 0; d--) {
            at[2 + d] = w % many[d] * attr(&a->strides, d, 1) + q % ev_i(block, d) * attr(&a->dilations, d, 1) - attr(&a->pads, d, 0);
            w /= many[d], q /= ev_i(block, d);
            in &= at[2 + d] >= 0 && at[2 + d] < dim[2 + d];
        }
        if (!in) continue;
        int64_t o = flat_index(y, at);
        if (dtype_is_float(y->elem)) ev_set_f(y, o, ev_f(y, o) + ev_f(x, k));
        else if (y->elem == DT_BOOL) ev_set_i(y, o, ev_i(y, o) | ev_i(x, k));
        else ev_set_i(y, o, (int64_t)((uint64_t)ev_i(y, o) + (uint64_t)ev_i(x, k)));
    }
    return y != NULL;
}

static bool eval(Eval *e) { return dtype_is_complex(e->in[0]->elem) ? complex_eval(e, 1, eval_real) : eval_real(e, 0); }

const OpDesc op_Col2Im = {.name = "Col2Im", .since = 18, .cls = CLS_WINDOW, .flags = OPF_STRIDED_OUT, .knows = 6, .in = P_IN, .out = P_OUT, .attrs = ATTRS_, .attrs_size = sizeof(Col2Im),
                          .infer = infer, .lower = lower, .expand = expand, .must_expand = must_expand, .grad = grad_col2im, .eval = eval};
