/* complex.c: complex elements taken apart and put together (complex.h), and the internal operators that do it; both are views of their operand.
 *   %p = ComplexParts(%x)     c64[dims] -> f32[dims, 2]    c128[dims] -> f64[dims, 2]
 *   %x = ComplexJoin(%p)      back */
#include "ir/ops/complex.h"
#include "base/bug.h"
#include <string.h>

static const Port P_WHOLE[] = {{"complex", DTS_COMPLEX, 0, 0}, PORT_END};
static const Port P_PARTS[] = {{"parts", DTS(DT_F32) | DTS(DT_F64), 0, 0}, PORT_END};

static bool parts_infer(Infer *c)
{
    Dim dim[RANK_MAX];
    if (!infer_need_rank(c, 0, 0, RANK_MAX - 1)) return false;
    int rank = infer_rank(c, 0);
    for (int i = 0; i < rank; i++) dim[i] = infer_dim(c, 0, i);
    dim[rank] = dim_const(c->d, 2);
    return infer_set(c, 0, dtype_part(infer_elem(c, 0)), rank + 1, dim);
}

static bool join_infer(Infer *c)
{
    if (!infer_need_rank(c, 0, 1, -1)) return false;
    int last = infer_rank(c, 0) - 1;
    return infer_must_eq(c, infer_dim(c, 0, last), dim_const(c->d, 2), "parts of a complex number") &&
           infer_set(c, 0, infer_elem(c, 0) == DT_F32 ? DT_C64 : DT_C128, last, infer_in(c, 0)->dim);
}

KBuf complex_view(Lw *l, KBuf of)
{
    KBufRec r = *kbuf(l->k, of);
    Dims *d = &l->m->dims;
    Dim dim[RANK_MAX], stride[RANK_MAX], two = dim_const(d, 2);
    for (int i = 0; i < r.rank; i++) dim[i] = r.dim[i], stride[i] = dim_mul(d, kbuf_stride(l->k, &r, i), two);
    dim[r.rank] = two, stride[r.rank] = dim_const(d, 1);
    KBuf v = kbuf_view(l->k, of, (Name){0}, r.rank + 1, dim, r.dense ? NULL : stride, dim_const(d, 0), l->loc);
    kbuf(l->k, v)->elem = dtype_part(r.elem);
    return v;
}

static bool parts_lower(Lw *l, Node n)
{
    (void)n;
    return lw_set_out(l, 0, complex_view(l, lw_in(l, 0))), true;
}

static bool join_lower(Lw *l, Node n)
{
    (void)n;
    KBuf of = lw_in(l, 0);
    KBufRec r = *kbuf(l->k, of);
    KBuf v = kbuf_view(l->k, of, (Name){0}, r.rank - 1, r.dim, NULL, dim_const(&l->m->dims, 0), l->loc);
    kbuf(l->k, v)->elem = lw_out_elem(l, 0);
    return lw_set_out(l, 0, v), true;
}

static bool copy_eval(Eval *e, DType t, int rank, const int64_t *dim)
{
    const Tensor *x = e->in[0];
    Tensor *y = ev_out(e, 0, t, rank, dim);
    if (y && y->count) memcpy(y->data, x->data, (size_t)dtype_bytes(x->elem, x->count));
    return y != NULL;
}

static bool parts_eval(Eval *e)
{
    const Tensor *x = e->in[0];
    int64_t dim[RANK_MAX];
    memcpy(dim, x->dim, sizeof dim);
    dim[x->rank] = 2;
    return copy_eval(e, dtype_part(x->elem), x->rank + 1, dim);
}

static bool join_eval(Eval *e)
{
    const Tensor *x = e->in[0];
    return copy_eval(e, x->elem == DT_F32 ? DT_C64 : DT_C128, x->rank - 1, x->dim);
}

const OpDesc op_ComplexParts = {.name = "ComplexParts", .since = 1, .cls = CLS_OPAQUE, .flags = OPF_INTERNAL, .in = P_WHOLE, .out = P_PARTS,
                                .infer = parts_infer, .lower = parts_lower, .eval = parts_eval};
const OpDesc op_ComplexJoin = {.name = "ComplexJoin", .since = 1, .cls = CLS_OPAQUE, .flags = OPF_INTERNAL, .in = P_PARTS, .out = P_WHOLE,
                               .infer = join_infer, .lower = join_lower, .eval = join_eval};

/* ---- for other operators ---- */

bool complex_first(const Graph *g, Node n) { return dtype_is_complex(value_trec(g, node_in(g, n, 0))->elem); }

Value complex_part(Ex *x, Value v, int which)
{
    Value parts = ex1(x, OP_ComplexParts, v);
    return ex_axis(x, OP_Gather, (Value[]){parts, ex_i(x, DT_I64, which)}, 2, -1);
}

bool complex_expand(Graph *g, Node n, uint32_t mask, const void *imaginary)
{
    Value in[8], part[2];
    uint32_t n_in = node_n_in(g, n);
    Ex x = ex_begin(g, n);
    assert(n_in <= 8);
    for (int which = 0; which < 2; which++) {
        for (uint32_t k = 0; k < n_in; k++) in[k] = mask >> k & 1 ? complex_part(&x, ex_in(&x, k), which) : ex_in(&x, k);
        Value y = ex_op(&x, node_rec(g, n)->op, in, n_in, which && imaginary ? imaginary : node_rec(g, n)->attrs);
        part[which] = ex2(&x, OP_Unsqueeze, y, ex_int1(&x, -1));
    }
    Value y = ex1(&x, OP_ComplexJoin, ex_axis(&x, OP_Concat, part, 2, -1));
    return ex_end(&x, &y, 1);
}

bool complex_eval(Eval *e, uint32_t mask, bool (*real)(Eval *, int which))
{
    Tensor *in[8], *y[2] = {NULL, NULL};
    assert(e->n_in <= 8);
    DType part = dtype_part(e->in[0]->elem);
    for (int which = 0; which < 2; which++) {
        Eval sub = *e;
        sub.in = in, sub.out = &y[which];
        for (uint32_t k = 0; k < e->n_in; k++) {
            in[k] = e->in[k];
            if (!(mask >> k & 1)) continue;
            Tensor pairs = *in[k];
            pairs.elem = part, pairs.count *= 2;
            if (!(in[k] = tensor_new(e->arena, part, pairs.rank, pairs.dim))) return ev_fail(e, "too large");
            for (int64_t i = 0; i < in[k]->count; i++) ev_copy(in[k], i, &pairs, 2 * i + which);
        }
        bool ok = real(&sub, which);
        e->why = sub.why;
        if (!ok) return false;
    }
    Tensor *out = ev_out(e, 0, e->in[0]->elem, y[0]->rank, y[0]->dim);
    if (!out) return false;
    Tensor pairs = *out;
    pairs.elem = part, pairs.count *= 2;
    for (int64_t i = 0; i < out->count; i++) ev_copy(&pairs, 2 * i, y[0], i), ev_copy(&pairs, 2 * i + 1, y[1], i);
    return true;
}
