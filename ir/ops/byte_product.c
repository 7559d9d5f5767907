/* byte_product.c: ByteMatMul, what products of 8-bit integers become (quant_int.c), shaped as processors multiply bytes:
 * unsigned by signed, sums in 32 bits that wrap.
 *   %y = ByteMatMul(%a, %b) : i32[M,N]      y[m,n] = sum over k of A[m,k] * B[k,n]
 * where A is a if that is u8, a + 128 if i8, and B is b if i8, b - 128 if u8: one bit of each byte changes. Zero points
 * are sums of rows and columns beside it, which the expansion writes. Lowered with MatMul, in groups of four
 * (Contract.quads). */
#include "ir/graph/eval.h"
#include "ir/graph/infer.h"
#include "ir/ops/contraction.h"

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
