/* ms_fused.c: what ONNX Runtime's graph optimisation leaves in a model that it saves, and its forms of ONNX's operators, by expansion:
 *   FusedConv(x, w, b, z)        f(Conv(x, w, b) + z)
 *   FusedGemm(a, b, c)           f(Gemm(a, b, c))          f: activation, with its numbers
 *   RotaryEmbedding(x, p, c, s)  RotaryEmbedding(x, c, s, p); one position is that of the first row, the others follow
 *   Range(from, to, step)        Range; step may be absent: 1 */
#include "ir/ops/compose.h"
#include "ir/ops/conv.h"
#include <string.h>

#define MS .domain = "com.microsoft", .since = 1

/* ---- activations ---- */

typedef struct Activation { const char *name; OpCode op; uint32_t numbers; /* that it takes */ } Activation;
static const Activation activations[] = {{"Relu", OP_Relu, 0},           {"Tanh", OP_Tanh, 0}, {"Sigmoid", OP_Sigmoid, 0}, {"LeakyRelu", OP_LeakyRelu, 1},
                                         {"HardSigmoid", OP_HardSigmoid, 2}, {"Clip", OP_Clip, 2}};

static const Activation *activation_of(const char *name)
{
    for (size_t i = 0; i < sizeof activations / sizeof *activations; i++)
        if (!strcmp(activations[i].name, name)) return &activations[i];
    return NULL;
}

static bool activation_fits(Infer *c, const char *name, uint32_t numbers)
{
    const Activation *f = activation_of(name);
    if (!f) return !*name || infer_fail(c, "activation '%s' is not supported", name);
    return numbers >= f->numbers || infer_fail(c, "activation %s takes %u numbers, %u are given", name, f->numbers, numbers);
}

static Value activated(Ex *x, Value v, const char *name, const double *number)
{
    const Activation *f = activation_of(name);
    if (!f || x->failed) return v;
    void *attrs = NULL;
    if (f->op == OP_Clip) return ex3(x, OP_Clip, v, ex_f(x, ex_elem(x, v), number[0]), ex_f(x, ex_elem(x, v), number[1]));
    if (f->numbers > 0) attrs = ex_set_f(x, f->op, attrs, "alpha", number[0]);
    if (f->numbers > 1) attrs = ex_set_f(x, f->op, attrs, "beta", number[1]);
    return ex_op(x, f->op, &v, 1, attrs);
}

/* ---- FusedConv ---- */

/* Begins like Conv, whose inference reads it. */
typedef struct FusedConv {
    uint64_t set;
    int64_t group;
    const char *auto_pad;
    AttrInts kernel_shape, strides, dilations, pads;
    int64_t winograd; /* none: the Conv that it becomes has one */
    const char *activation;
    AttrFloats activation_params;
} FusedConv;
_Static_assert(offsetof(FusedConv, activation) == sizeof(Conv) && offsetof(FusedConv, pads) == offsetof(Conv, pads) &&
                   offsetof(FusedConv, auto_pad) == offsetof(Conv, auto_pad),
               "FusedConv begins like Conv");
static const AttrSpec CONV[] = {A_INT(FusedConv, group, 1), A_STRING(FusedConv, auto_pad, "NOTSET"), A_INTS(FusedConv, kernel_shape), A_INTS(FusedConv, strides),
                                A_INTS(FusedConv, dilations), A_INTS(FusedConv, pads), A_STRING(FusedConv, activation, ""), A_FLOATS(FusedConv, activation_params), A_END};

static bool conv_infer(Infer *c)
{
    const FusedConv *a = ATTRS(c->g, c->n, FusedConv);
    Dim dim[RANK_MAX];
    int rank;
    if (!activation_fits(c, a->activation, a->activation_params.n) || !op_desc(OP_Conv)->infer(c)) return false;
    if (!infer_has(c, 3)) return true;
    const TypeRec y = *value_trec(c->g, node_out(c->g, c->n, 0));
    if (!infer_need_rank(c, 3, y.rank, y.rank) || !infer_broadcast(c, (uint32_t[]){3}, 1, dim, &rank)) return false;
    for (int i = 0; i < rank; i++)
        if (!infer_must_eq(c, dim[i], y.dim[i], "shape of what is added")) return false;
    return true;
}

static bool conv_expand(Graph *g, Node n)
{
    Ex x = ex_begin(g, n);
    const FusedConv *a = ATTRS(g, n, FusedConv);
    Value y = ex_op(&x, OP_Conv, (Value[]){ex_in(&x, 0), ex_in(&x, 1), ex_in(&x, 2)}, 3, ex_inherit(&x, OP_Conv));
    if (ex_in(&x, 3).i) y = ex2(&x, OP_Add, y, ex_in(&x, 3));
    y = activated(&x, y, a->activation, a->activation_params.p);
    return ex_end(&x, &y, 1);
}

/* ---- FusedGemm ---- */

typedef struct FusedGemm {
    uint64_t set;
    double alpha, beta;
    int64_t transA, transB;
    const char *activation;
    double activation_alpha, activation_beta;
} FusedGemm;
static const AttrSpec GEMM[] = {A_FLOAT(FusedGemm, alpha, 1), A_FLOAT(FusedGemm, beta, 1), A_INT(FusedGemm, transA, 0), A_INT(FusedGemm, transB, 0),
                                A_STRING(FusedGemm, activation, ""), A_FLOAT(FusedGemm, activation_alpha, 0.01), A_FLOAT(FusedGemm, activation_beta, 0), A_END};

static bool gemm_infer(Infer *c)
{
    const FusedGemm *a = ATTRS(c->g, c->n, FusedGemm);
    if (!activation_fits(c, a->activation, 2) || !infer_need_rank(c, 0, 2, 2) || !infer_need_rank(c, 1, 2, 2)) return false;
    int m = a->transA != 0, n = a->transB == 0;
    Dim dim[2] = {infer_dim(c, 0, m), infer_dim(c, 1, n)};
    if (!infer_must_eq(c, infer_dim(c, 0, 1 - m), infer_dim(c, 1, 1 - n), "length of the sums")) return false;
    if (infer_has(c, 2) && !infer_need_rank(c, 2, 0, 2)) return false;
    for (int i = 1; infer_has(c, 2) && i <= infer_rank(c, 2); i++)
        if (!infer_broadcasts_to(c, infer_dim(c, 2, infer_rank(c, 2) - i), dim[2 - i], "shape of C")) return false;
    return infer_set(c, 0, infer_elem(c, 0), 2, dim);
}

static bool gemm_expand(Graph *g, Node n)
{
    Ex x = ex_begin(g, n);
    const FusedGemm *a = ATTRS(g, n, FusedGemm);
    Value y = ex_op(&x, OP_Gemm, (Value[]){ex_in(&x, 0), ex_in(&x, 1), ex_in(&x, 2)}, 3, ex_inherit(&x, OP_Gemm));
    y = activated(&x, y, a->activation, (double[]){a->activation_alpha, a->activation_beta});
    return ex_end(&x, &y, 1);
}

/* ---- RotaryEmbedding ---- */

enum { ROT_X, ROT_IDS, ROT_COS, ROT_SIN };
typedef struct Rotary {
    uint64_t set;
    int64_t interleaved, num_heads, rotary_embedding_dim, is_packed_batching;
    double scale;
} Rotary;
static const AttrSpec ROTARY[] = {A_INT(Rotary, interleaved, 0), A_INT(Rotary, num_heads, 0), A_INT(Rotary, rotary_embedding_dim, 0),
                                  A_INT(Rotary, is_packed_batching, 0), A_FLOAT(Rotary, scale, 1), A_END};

static bool rotary_infer(Infer *c)
{
    const Rotary *a = ATTRS(c->g, c->n, Rotary);
    if (!infer_need_rank(c, ROT_X, 3, 4) || !infer_need_rank(c, ROT_IDS, 1, 2) || !infer_need_rank(c, ROT_COS, 2, 2) || !infer_need_rank(c, ROT_SIN, 2, 2)) return false;
    if (a->is_packed_batching) return infer_fail(c, "is_packed_batching is not supported");
    if (a->scale != 1) return infer_fail(c, "scale is %g, only 1 is supported", a->scale);
    if (infer_rank(c, ROT_IDS) == 1 && !infer_must_eq(c, infer_dim(c, ROT_IDS, 0), dim_const(c->d, 1), "number of first positions")) return false;
    if (a->num_heads || infer_rank(c, ROT_X) == 4) return infer_like(c, 0, 0);
    int64_t size, half;
    if (a->rotary_embedding_dim || !dim_is_const(c->d, infer_dim(c, ROT_X, 2), &size) || !dim_is_const(c->d, infer_dim(c, ROT_COS, 1), &half) || half < 1 || size % (2 * half))
        return infer_fail(c, "num_heads is needed where the caches do not say it");
    return infer_like(c, 0, 0);
}

static bool rotary_expand(Graph *g, Node n)
{
    Ex x = ex_begin(g, n);
    Dims *d = &g->m->dims;
    const TypeRec *t = ex_type(&x, ex_in(&x, ROT_X));
    Value ids = ex_in(&x, ROT_IDS);
    void *attrs = ex_inherit(&x, OP_RotaryEmbedding);
    int64_t size = 0, half = 1;
    if (t->rank == 3 && !ATTRS(g, n, Rotary)->num_heads && dim_is_const(d, t->dim[2], &size) && dim_is_const(d, ex_type(&x, ex_in(&x, ROT_COS))->dim[1], &half))
        attrs = ex_set(&x, OP_RotaryEmbedding, attrs, "num_heads", size / (2 * half));
    if (ex_rank(&x, ids) == 1) {
        Dim at[2] = {t->dim[0], t->dim[t->rank == 3 ? 1 : 2]};
        Value length = ex_scalar(&x, ex_dims(&x, &at[1], 1), DT_I64);
        ids = ex2(&x, OP_Add, ids, ex3(&x, OP_Range, ex_i(&x, DT_I64, 0), length, ex_i(&x, DT_I64, 1)));
        ids = ex2(&x, OP_Expand, ids, ex_dims(&x, at, 2));
    }
    Value y = ex_op(&x, OP_RotaryEmbedding, (Value[]){ex_in(&x, ROT_X), ex_in(&x, ROT_COS), ex_in(&x, ROT_SIN), ids}, 4, attrs);
    return ex_end(&x, &y, 1);
}

/* ---- Range ---- */

static bool range_infer(Infer *c)
{
    Dim n;
    for (uint32_t k = 0; k < 3; k++)
        if (infer_has(c, k) && !infer_need_rank(c, k, 0, 1)) return false;
    n = infer_node_dim(c, 0, 0, 0, INT64_MAX);
    return infer_set(c, 0, infer_elem(c, 0), 1, &n);
}

static bool range_expand(Graph *g, Node n)
{
    Ex x = ex_begin(g, n);
    DType t = ex_elem(&x, ex_in(&x, 0));
    Value step = ex_in(&x, 2).i ? ex_in(&x, 2) : dtype_is_int(t) ? ex_i(&x, t, 1) : ex_f(&x, t, 1);
    Value y = ex3(&x, OP_Range, ex_in(&x, 0), ex_in(&x, 1), step);
    return ex_end(&x, &y, 1);
}

#define DTS_RANGE (DTS(DT_F32) | DTS(DT_F64) | DTS(DT_I16) | DTS(DT_I32) | DTS(DT_I64))
static const Port P_CONV[] = {{"X", DTS_FLOAT, 0, 1}, {"W", DTS_FLOAT, 0, 1}, {"B", DTS_FLOAT, PORT_OPTIONAL, 1}, {"Z", DTS_FLOAT, PORT_OPTIONAL, 1}, PORT_END};
static const Port P_GEMM[] = {{"A", DTS_FLOAT, 0, 1}, {"B", DTS_FLOAT, 0, 1}, {"C", DTS_FLOAT, PORT_OPTIONAL, 1}, PORT_END};
static const Port P_ROTARY[] = {{"input", DTS_FLOAT, 0, 1}, {"position_ids", DTS(DT_I64), 0, 0}, {"cos_cache", DTS_FLOAT, 0, 1}, {"sin_cache", DTS_FLOAT, 0, 1}, PORT_END};
static const Port P_RANGE[] = {{"start", DTS_RANGE, 0, 1}, {"limit", DTS_RANGE, 0, 1}, {"delta", DTS_RANGE, PORT_OPTIONAL, 1}, PORT_END};
static const Port P_Y[] = {{"Y", DTS_FLOAT, 0, 1}, PORT_END};
static const Port P_NUMBERS[] = {{"Y", DTS_RANGE, 0, 1}, PORT_END};

const OpDesc op_ms_FusedConv = {.name = "FusedConv", MS, .cls = CLS_CONTRACT, .in = P_CONV, .out = P_Y, .attrs = CONV, .attrs_size = sizeof(FusedConv),
                                .infer = conv_infer, .expand = conv_expand};
const OpDesc op_ms_FusedGemm = {.name = "FusedGemm", MS, .cls = CLS_CONTRACT, .in = P_GEMM, .out = P_Y, .attrs = GEMM, .attrs_size = sizeof(FusedGemm),
                                .infer = gemm_infer, .expand = gemm_expand};
const OpDesc op_ms_RotaryEmbedding = {.name = "RotaryEmbedding", MS, .cls = CLS_OPAQUE, .in = P_ROTARY, .out = P_Y, .attrs = ROTARY, .attrs_size = sizeof(Rotary),
                                      .infer = rotary_infer, .expand = rotary_expand};
const OpDesc op_ms_Range = {.name = "Range", MS, .cls = CLS_SHAPE, .in = P_RANGE, .out = P_NUMBERS, .infer = range_infer, .expand = range_expand};
