/* bitcast.c: BitCast: the same bits as another type of that size, for the types that are computed as they are stored (not half, not bfloat16, nothing packed). */
#include "ir/graph/eval.h"
#include "ir/graph/infer.h"
#include "ir/graph/lower.h"
#include <string.h>

#define DTS_BITS (DTS_INT | DTS_BOOL | DTS(DT_F32) | DTS(DT_F64) | DTS_COMPLEX)
static const Port P_IN[] = {{"input", DTS_BITS, 0, 0}, PORT_END};
static const Port P_OUT[] = {{"output", DTS_BITS, 0, 0}, PORT_END};
typedef struct BitCast { uint64_t set; int64_t to; } BitCast;
static const AttrSpec ATTRS_[] = {{.name = "to", .kind = ATTR_TYPE, .offset = offsetof(BitCast, to), .required = true}, A_END};

static bool infer(Infer *c)
{
    DType from = infer_elem(c, 0), to = (DType)ATTRS(c->g, c->n, BitCast)->to;
    if (!(DTS(to) & c->op->out[0].types)) return infer_fail(c, "a result of type %s is not supported", dtype_info(to)->onnx);
    if (dtype_info(from)->bits != dtype_info(to)->bits) return infer_fail(c, "%s and %s differ in size", dtype_info(from)->onnx, dtype_info(to)->onnx);
    if (to == DT_BOOL && from != DT_BOOL) return infer_fail(c, "bits of %s as bool are not supported", dtype_info(from)->onnx);
    return infer_need_rank(c, 0, 0, -1) && infer_set(c, 0, to, infer_rank(c, 0), infer_in(c, 0)->dim);
}

static KVal scalar(Lw *l, Node n, const KVal *x, const DType *in)
{
    DType to = (DType)ATTRS(l->g, n, BitCast)->to;
    to = dtype_compute(to);
    if (to == kb_type(l->b, x[0])) return x[0];
    return in[0] == DT_BOOL || to == DT_BOOL ? kb_cast(l->b, to, x[0]) : kb_bitcast(l->b, to, x[0]);
}

static bool eval(Eval *e)
{
    const Tensor *x = e->in[0];
    Tensor *y = ev_out(e, 0, (DType)ATTRS(e->g, e->n, BitCast)->to, x->rank, x->dim);
    if (y) memcpy(y->data, x->data, (size_t)(x->count * ((dtype_info(x->elem)->bits + 7) / 8)));
    return y != NULL;
}

const OpDesc op_BitCast = {.name = "BitCast", .since = 26, .cls = CLS_ELTWISE, .in = P_IN, .out = P_OUT, .attrs = ATTRS_, .attrs_size = sizeof(BitCast), .infer = infer,
                           .scalar = scalar, .eval = eval};
