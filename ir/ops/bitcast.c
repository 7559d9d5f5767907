/* bitcast.c: BitCast: the same bits as another type of that size. */
#include "ir/graph/eval.h"
#include "ir/graph/infer.h"
#include "ir/graph/lower.h"
#include <string.h>

#define DTS_BITS ((DTS_MOVE & ~DTS_STR) | DTS_SMALL)
static const Port P_IN[] = {{"input", DTS_BITS, 0, 0}, PORT_END};
static const Port P_OUT[] = {{"output", DTS_BITS, 0, 0}, PORT_END};
typedef struct BitCast { uint64_t set; int64_t to; } BitCast;
static const AttrSpec ATTRS_[] = {{.name = "to", .kind = ATTR_TYPE, .offset = offsetof(BitCast, to), .required = true}, A_END};

static bool infer(Infer *c)
{
    DType from = infer_elem(c, 0), to = (DType)ATTRS(c->g, c->n, BitCast)->to;
    if (!(DTS(to) & c->op->out[0].types)) return infer_fail(c, "a result of type %s is not supported", dtype_info(to)->onnx);
    if (dtype_info(from)->bits != dtype_info(to)->bits) return infer_fail(c, "%s and %s differ in size", dtype_info(from)->onnx, dtype_info(to)->onnx);
    return infer_need_rank(c, 0, 0, -1) && infer_set(c, 0, to, infer_rank(c, 0), infer_in(c, 0)->dim);
}

/* The same memory, its elements read as the other type. Bytes that become bool are made 0 and 1. */
static bool lower(Lw *l, Node n)
{
    DType to = lw_out_elem(l, 0);
    bool truth = to == DT_BOOL && lw_elem(l, 0) != DT_BOOL;
    LwView x;
    lw_lies(l, lw_in(l, 0), &x);
    KBuf v = kbuf_view(l->k, x.base, value_rec(l->g, node_out(l->g, n, 0))->name, x.at.rank, x.at.dim, NULL, x.at.offset, l->loc);
    kbuf(l->k, v)->elem = truth ? DT_U8 : to;
    if (!truth) return lw_set_out(l, 0, v), true;
    KVal i[RANK_MAX];
    lw_prepare_out(l);
    Kb *b = lw_kernel(l, "truth");
    lw_nest_over(l, 0, i);
    lw_put(l, 0, i, kb_bin(b, KOP_NE, kb_load(b, kb_param(b, v, false), i), kb_const_i(b, DT_U8, 0)));
    lw_end_nest(l, lw_out_rank(l, 0));
    lw_kernel_end(l);
    return true;
}

static bool eval(Eval *e)
{
    const Tensor *x = e->in[0];
    Tensor *y = ev_out(e, 0, (DType)ATTRS(e->g, e->n, BitCast)->to, x->rank, x->dim);
    if (y && y->elem == DT_BOOL)
        for (int64_t k = 0; k < x->count; k++) ((uint8_t *)y->data)[k] = ((const uint8_t *)x->data)[k] != 0;
    else if (y) memcpy(y->data, x->data, (size_t)dtype_bytes(x->elem, x->count));
    return y != NULL;
}

const OpDesc op_BitCast = {.name = "BitCast", .since = 26, .cls = CLS_OPAQUE, .in = P_IN, .out = P_OUT, .attrs = ATTRS_, .attrs_size = sizeof(BitCast), .infer = infer,
                           .lower = lower, .eval = eval};
