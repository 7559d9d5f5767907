/* byte_product.c: ByteMatMul and ByteConv, what products of 8-bit integers become (quant_int.c), shaped as processors
 * multiply bytes: unsigned by signed, sums in 32 bits that wrap.
 *   %y = ByteMatMul(%a, %b) : i32[M,N]      y[m,n] = sum over k of A[m,k] * B[k,n]
 *   %y = ByteConv(%a, %b, %around) {..}     a convolution of one group; around the image stands `around`, an element of a
 * where A is a if that is u8, a + 128 if i8, and B is b if i8, b - 128 if u8: one bit of each byte changes. Zero points
 * are sums of rows and columns beside it, which the expansion writes. Lowered with MatMul and Conv, in groups of four
 * (Contract.quads). */
#include "ir/graph/eval.h"
#include "ir/graph/infer.h"
#include "ir/ops/conv.h"
#include <string.h>

#define DTS_BYTE (DTS(DT_I8) | DTS(DT_U8))

static bool infer(Infer *c)
{
    Dim dim[RANK_MAX + 2];
    int rank;
    if (!infer_need_rank(c, 0, 2, -1) || !infer_need_rank(c, 1, 2, -1)) return false;
    const TypeRec *a = infer_in(c, 0), *b = infer_in(c, 1);
    return contraction_dims(c, a->dim, a->rank, b->dim, b->rank, dim, &rank) && infer_set(c, 0, DT_I32, rank, dim);
}

static Tensor *shifted(Eval *e, const Tensor *x, int64_t by)
{
    Tensor *y = tensor_new(e->arena, DT_I32, x->rank, x->dim);
    for (int64_t k = 0; y && k < x->count; k++) ev_set_i(y, k, ev_i(x, k) + by);
    return y;
}

static bool eval(Eval *e)
{
    Tensor *in[2] = {shifted(e, e->in[0], e->in[0]->elem == DT_I8 ? 128 : 0),
                     shifted(e, e->in[1], e->in[1]->elem == DT_U8 ? -128 : 0)};
    if (!in[0] || !in[1]) return false;
    Eval s = *e;
    s.in = in;
    bool ok = op_MatMul.eval(&s);
    if (!ok) return ev_fail(e, "%s", s.why ? s.why : "too large");
    return true;
}

static const Port P_IN[] = {{"A", DTS_BYTE, 0, 0}, {"B", DTS_BYTE, 0, 0}, PORT_END};
static const Port P_OUT[] = {{"Y", DTS(DT_I32), 0, 0}, PORT_END};

const OpDesc op_ByteMatMul = {.name = "ByteMatMul",
                              .since = 1,
                              .cls = CLS_CONTRACT,
                              .flags = OPF_INTERNAL | OPF_STRIDED_OUT,
                              .in = P_IN,
                              .out = P_OUT,
                              .infer = infer,
                              .lower = contraction_matmul,
                              .eval = eval};

/* ---- ByteConv ---- */

static bool conv_infer(Infer *c)
{
    const Conv *a = ATTRS(c->g, c->n, Conv);
    if (!infer_need_rank(c, 0, 3, -1) || !infer_need_rank(c, 1, infer_rank(c, 0), infer_rank(c, 0))) return false;
    Window w;
    const char *why;
    Dim dim[RANK_MAX] = {infer_dim(c, 0, 0), infer_dim(c, 1, 0)};
    if (a->group != 1) return infer_fail(c, "%lld groups", (long long)a->group);
    if (!conv_resolve(c->d, a, infer_in(c, 0), infer_in(c, 1), &w, &why)) return infer_fail(c, "%s", why);
    if (!infer_must_eq(c, infer_dim(c, 0, 1), infer_dim(c, 1, 1), "input channels")) return false;
    for (int i = 0; i < w.n; i++) dim[2 + i] = w.out[i];
    return infer_set(c, 0, DT_I32, infer_rank(c, 0), dim);
}

static bool conv_lower(Lw *l, Node n)
{
    Dims *d = &l->m->dims;
    ConvCase c = {.group = 1, .batch = lw_dim(l, 0, 0), .ic = lw_dim(l, 0, 1), .oc = lw_dim(l, 1, 0), .icg = lw_dim(l, 1, 1)};
    const char *why;
    c.ocg = c.oc;
    const TypeRec *x = value_trec(l->g, node_in(l->g, n, 0)), *w = value_trec(l->g, node_in(l->g, n, 1));
    if (!conv_resolve(d, ATTRS(l->g, n, Conv), x, w, &c.w, &why)) return lw_fail(l, "%s", why);
    return conv_lower_bytes(l, &c);
}

/* Conv of f64, whose padding is zeros: of a less what stands around, and that times the sum of weights. */
static bool conv_eval(Eval *e)
{
    const Tensor *a = e->in[0], *b = e->in[1];
    double up = a->elem == DT_I8 ? 128 : 0, down = b->elem == DT_U8 ? 128 : 0, around = ev_has(e, 2) ? ev_f(e->in[2], 0) : 0;
    Tensor *in[2] = {tensor_new(e->arena, DT_F64, a->rank, a->dim), tensor_new(e->arena, DT_F64, b->rank, b->dim)}, *out[1] = {0};
    if (!in[0] || !in[1]) return false;
    for (int64_t k = 0; k < a->count; k++) ev_set_f(in[0], k, ev_f(a, k) - around);
    for (int64_t k = 0; k < b->count; k++) ev_set_f(in[1], k, ev_f(b, k) - down);
    Eval s = *e;
    s.in = in;
    s.n_in = 2;
    s.out = out;
    s.n_out = 1;
    if (!op_Conv.eval(&s)) return ev_fail(e, "%s", s.why ? s.why : "too large");
    Tensor *y = ev_out(e, 0, DT_I32, out[0]->rank, out[0]->dim);
    int64_t pixels = 1, each = b->dim[0] ? b->count / b->dim[0] : 0;
    for (int i = 2; i < out[0]->rank; i++) pixels *= out[0]->dim[i];
    for (int64_t k = 0; y && k < y->count; k++) {
        double sum = 0;
        for (int64_t i = 0; i < each; i++) sum += ev_f(in[1], k / pixels % b->dim[0] * each + i);
        ev_set_i(y, k, (int64_t)(ev_f(out[0], k) + (around + up) * sum));
    }
    return y != NULL;
}

static const Port P_CONV[] = {{"X", DTS_BYTE, 0, 1}, {"W", DTS_BYTE, 0, 0}, {"around", DTS_BYTE, PORT_OPTIONAL, 1}, PORT_END};
static const AttrSpec CONV_ATTRS[] = {A_INT(Conv, group, 1),    A_STRING(Conv, auto_pad, "NOTSET"), A_INTS(Conv, kernel_shape),
                                      A_INTS(Conv, strides), A_INTS(Conv, dilations),           A_INTS(Conv, pads), A_END};

const OpDesc op_ByteConv = {.name = "ByteConv",
                            .since = 1,
                            .cls = CLS_CONTRACT,
                            .flags = OPF_INTERNAL | OPF_STRIDED_OUT | OPF_CHANNELS_LAST,
                            .in = P_CONV,
                            .out = P_OUT,
                            .attrs = CONV_ATTRS,
                            .attrs_size = sizeof(Conv),
                            .infer = conv_infer,
                            .lower = conv_lower,
                            .eval = conv_eval};
