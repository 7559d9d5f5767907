/* activation.c: element-wise activation functions with attributes; Clip. All in floating point but Clip (any number). */
#include "ir/graph/eval.h"
#include "ir/graph/infer.h"
#include "ir/graph/lower.h"
#include "ir/ops/grad.h"
#include "ir/ops/internal.h"
#include <float.h>
#include <math.h>
#include <string.h>

static const Port P_FLOAT[] = {{"X", DTS_FLOAT, 0, 1}, PORT_END};
static const Port P_NUM[] = {{"X", DTS_NUM, 0, 1}, PORT_END};
static const Port P_RELU[] = {{"X", DTS_FLOAT | DTS_SINT, 0, 1}, PORT_END};
static const Port P_GATED[] = {{"A", DTS_FLOAT, 0, 1}, {"B", DTS_FLOAT, 0, 1}, PORT_END};
static const Port P_PRELU[] = {{"X", DTS_NUM, 0, 1}, {"slope", DTS_NUM, 0, 1}, PORT_END};
static const Port P_CLIP[] = {{"input", DTS_NUM, 0, 1}, {"min", DTS_NUM, PORT_OPTIONAL, 1}, {"max", DTS_NUM, PORT_OPTIONAL, 1}, PORT_END};

typedef struct Alpha { uint64_t set; double alpha, beta, gamma; } Alpha;   /* the parameters, by ONNX's names */
#define A_ALPHA(d) A_FLOAT(Alpha, alpha, d)

/* ---- small vocabulary ---- */

static KVal cf(Lw *l, KVal like, double v) { return kb_const_f(l->b, kb_type(l->b, like), v); }
static KVal positive(Lw *l, KVal x) { return kb_bin(l->b, KOP_GT, x, kb_type(l->b, x) == DT_F32 || kb_type(l->b, x) == DT_F64 ? cf(l, x, 0) : kb_const_i(l->b, kb_type(l->b, x), 0)); }
/* An attribute is a float32; in f64 arithmetic it keeps that value. */
static double att(double a) { return (double)(float)a; }

static KVal relu(Lw *l, Node n, const KVal *x, const DType *in)
{
    (void)n;
    return kb_max(l->b, x[0], dtype_is_float(in[0]) ? cf(l, x[0], 0) : kb_const_i(l->b, dtype_compute(in[0]), 0));
}
static KVal leaky(Lw *l, Node n, const KVal *x, const DType *in)
{
    (void)in;
    return kb_select(l->b, kb_lt(l->b, x[0], cf(l, x[0], 0)), kb_mul(l->b, x[0], cf(l, x[0], att(ATTRS(l->g, n, Alpha)->alpha))), x[0]);
}
static KVal prelu(Lw *l, Node n, const KVal *x, const DType *in)
{
    (void)n;
    KVal zero = dtype_is_float(in[0]) ? cf(l, x[0], 0) : kb_const_i(l->b, dtype_compute(in[0]), 0);
    return kb_select(l->b, kb_lt(l->b, x[0], zero), kb_mul(l->b, x[0], x[1]), x[0]);
}
static KVal elu(Lw *l, Node n, const KVal *x, const DType *in)
{
    (void)in;
    return kb_select(l->b, positive(l, x[0]), x[0], kb_mul(l->b, cf(l, x[0], att(ATTRS(l->g, n, Alpha)->alpha)), kb_un(l->b, KOP_EXPM1, x[0])));
}
static KVal selu(Lw *l, Node n, const KVal *x, const DType *in)
{
    (void)in;
    const Alpha *a = ATTRS(l->g, n, Alpha);
    KVal neg = kb_mul(l->b, cf(l, x[0], att(a->alpha)), kb_un(l->b, KOP_EXPM1, x[0]));
    return kb_mul(l->b, cf(l, x[0], att(a->gamma)), kb_select(l->b, positive(l, x[0]), x[0], neg));
}
/* max(0, x) + min(0, alpha*(exp(x/alpha) - 1)) */
static KVal celu(Lw *l, Node n, const KVal *x, const DType *in)
{
    (void)in;
    KVal a = cf(l, x[0], att(ATTRS(l->g, n, Alpha)->alpha));
    return kb_select(l->b, positive(l, x[0]), x[0], kb_mul(l->b, a, kb_un(l->b, KOP_EXPM1, kb_div(l->b, x[0], a))));
}
static KVal clamp01(Lw *l, KVal v) { return kb_max(l->b, kb_min(l->b, v, cf(l, v, 1)), cf(l, v, 0)); }
static KVal hard_sigmoid(Lw *l, Node n, const KVal *x, const DType *in)
{
    (void)in;
    const Alpha *a = ATTRS(l->g, n, Alpha);
    return clamp01(l, kb_add(l->b, kb_mul(l->b, x[0], cf(l, x[0], att(a->alpha))), cf(l, x[0], att(a->beta))));
}
static KVal hard_swish(Lw *l, Node n, const KVal *x, const DType *in)
{
    (void)n, (void)in;
    return kb_mul(l->b, x[0], clamp01(l, kb_add(l->b, kb_mul(l->b, x[0], cf(l, x[0], 1.0 / 6)), cf(l, x[0], 0.5))));
}
/* log(1 + exp(x)) = max(x, 0) + log1p(exp(-|x|)): no overflow */
static KVal softplus_of(Lw *l, KVal x)
{
    KVal e = kb_un(l->b, KOP_EXP, kb_un(l->b, KOP_NEG, kb_un(l->b, KOP_ABS, x)));
    return kb_add(l->b, kb_max(l->b, x, cf(l, x, 0)), kb_un(l->b, KOP_LOG1P, e));
}
static KVal softplus(Lw *l, Node n, const KVal *x, const DType *in) { return (void)n, (void)in, softplus_of(l, x[0]); }
static KVal mish(Lw *l, Node n, const KVal *x, const DType *in) { return (void)n, (void)in, kb_mul(l->b, x[0], kb_un(l->b, KOP_TANH, softplus_of(l, x[0]))); }
static KVal softsign(Lw *l, Node n, const KVal *x, const DType *in)
{
    (void)n, (void)in;
    return kb_div(l->b, x[0], kb_add(l->b, cf(l, x[0], 1), kb_un(l->b, KOP_ABS, x[0])));
}
static KVal thresholded(Lw *l, Node n, const KVal *x, const DType *in)
{
    (void)in;
    return kb_select(l->b, kb_bin(l->b, KOP_GT, x[0], cf(l, x[0], att(ATTRS(l->g, n, Alpha)->alpha))), x[0], cf(l, x[0], 0));
}
static KVal swish(Lw *l, Node n, const KVal *x, const DType *in)
{
    (void)in;
    return kb_mul(l->b, x[0], kb_un(l->b, KOP_SIGMOID, kb_mul(l->b, x[0], cf(l, x[0], att(ATTRS(l->g, n, Alpha)->alpha)))));
}

typedef struct Gelu { uint64_t set; const char *approximate; } Gelu;
static const AttrSpec GELU_ATTRS[] = {A_STRING(Gelu, approximate, "none"), A_END};
static bool gelu_tanh(const void *a) { return !strcmp(((const Gelu *)a)->approximate, "tanh"); }

static KVal gelu(Lw *l, Node n, const KVal *x, const DType *in)
{
    (void)in;
    Kb *b = l->b;
    KVal half = kb_mul(b, cf(l, x[0], 0.5), x[0]);
    if (!gelu_tanh(node_attrs(l->g, n))) return kb_mul(b, half, kb_add(b, cf(l, x[0], 1), kb_un(b, KOP_ERF, kb_mul(b, x[0], cf(l, x[0], sqrt(0.5))))));
    KVal cube = kb_mul(b, kb_mul(b, x[0], x[0]), x[0]);
    KVal t = kb_mul(b, cf(l, x[0], sqrt(2 / 3.14159265358979323846)), kb_add(b, x[0], kb_mul(b, cf(l, x[0], 0.044715), cube)));
    return kb_mul(b, half, kb_add(b, cf(l, x[0], 1), kb_un(b, KOP_TANH, t)));
}

typedef struct Shrink { uint64_t set; double bias, lambd; } Shrink;
static const AttrSpec SHRINK_ATTRS[] = {A_FLOAT(Shrink, bias, 0), A_FLOAT(Shrink, lambd, 0.5), A_END};

/* In the input's own type for floats; integers are computed in float64 and truncated back. */
static KVal shrink(Lw *l, Node n, const KVal *x, const DType *in)
{
    const Shrink *a = ATTRS(l->g, n, Shrink);
    Kb *b = l->b;
    bool f = dtype_is_float(in[0]);
    KVal v = f ? x[0] : kb_cast(b, DT_F64, x[0]), bias = cf(l, v, att(a->bias)), lim = cf(l, v, att(a->lambd));
    KVal y = kb_select(b, kb_lt(b, v, kb_un(b, KOP_NEG, lim)), kb_add(b, v, bias), kb_select(b, kb_bin(b, KOP_GT, v, lim), kb_sub(b, v, bias), cf(l, v, 0)));
    return f ? y : kb_cast(b, dtype_compute(in[0]), y);
}

/* ---- Clip: limits were attributes before opset 11 ---- */

typedef struct Clip { uint64_t set; double min, max; } Clip;
static const AttrSpec CLIP_ATTRS[] = {A_FLOAT(Clip, min, -FLT_MAX), A_FLOAT(Clip, max, FLT_MAX), A_END};

static bool clip_upgrade(Graph *g, Node n, int64_t opset)
{
    Clip *a = node_rec(g, n)->attrs;
    if (opset >= 11) return true;
    float v[2] = {(float)a->min, (float)a->max};
    for (uint32_t k = 0; k < 2; k++) {
        if (!(a->set & (1u << k))) continue;
        TypeId t = value_type(g, node_in(g, n, 0));
        DType e = t.i && type_rec(&g->m->types, t)->elem != DT_NONE ? type_rec(&g->m->types, t)->elem : DT_F32;
        Value c = graph_const(g, blob_splat_f(&g->m->blobs, e, 1, (double)v[k]), type_tensor(&g->m->types, e, 0, NULL), (Name){0});
        while (node_n_in(g, n) <= 1 + k) graph_add_input(g, n, VALUE_NONE);
        graph_set_input(g, n, 1 + k, c);
    }
    a->set = 0;
    return true;
}

/* A limit is one element, in whatever rank; of no higher one than x, which it would not broadcast to. */
static bool clip_infer(Infer *c)
{
    for (uint32_t k = 1; k < 3; k++)
        if (infer_has(c, k) && !infer_one_element(c, k, infer_rank(c, 0))) return false;
    return infer_like(c, 0, 0);
}

/* max(min, x) first, so that min > max gives max, as the specification asks */
static KVal clip(Lw *l, Node n, const KVal *x, const DType *in)
{
    (void)in;
    KVal v = x[0];
    if (node_in(l->g, n, 1).i) v = kb_max(l->b, v, x[1]);
    if (node_in(l->g, n, 2).i) v = kb_min(l->b, v, x[2]);
    return v;
}
static Value clip_equivalent(Graph *g, Node n, uint32_t r) { return (void)r, !node_in(g, n, 1).i && !node_in(g, n, 2).i ? node_in(g, n, 0) : VALUE_NONE; }

/* ---- reference ---- */

static bool eval_with(Eval *e, double (*f)(double x, const void *attrs))
{
    const Tensor *x = e->in[0];
    Tensor *y = ev_out(e, 0, x->elem, x->rank, x->dim);
    for (int64_t k = 0; y && k < y->count; k++) ev_set_f(y, k, f(ev_f(x, k), node_attrs(e->g, e->n)));
    return y != NULL;
}
#define AL(a) att(((const Alpha *)(a))->alpha)
#define BE(a) att(((const Alpha *)(a))->beta)
#define GA(a) att(((const Alpha *)(a))->gamma)
static double f_relu(double x, const void *a) { return (void)a, isnan(x) ? x : x > 0 ? x : 0; }
static double f_leaky(double x, const void *a) { return x < 0 ? AL(a) * x : x; }
static double f_elu(double x, const void *a) { return x > 0 ? x : AL(a) * expm1(x); }
static double f_selu(double x, const void *a) { return GA(a) * (x > 0 ? x : AL(a) * expm1(x)); }
static double f_celu(double x, const void *a) { return x > 0 ? x : AL(a) * expm1(x / AL(a)); }
static double f_clamp01(double v) { return v < 0 ? 0 : v > 1 ? 1 : v; }
static double f_hsig(double x, const void *a) { return f_clamp01(AL(a) * x + BE(a)); }
static double f_hswish(double x, const void *a) { return (void)a, x * f_clamp01(x / 6 + 0.5); }
static double f_softplus(double x, const void *a) { return (void)a, x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)); }
static double f_mish(double x, const void *a) { return x * tanh(f_softplus(x, a)); }
static double f_softsign(double x, const void *a) { return (void)a, x / (1 + fabs(x)); }
static double f_thresh(double x, const void *a) { return x > AL(a) ? x : 0; }
/* y = x0 * sigmoid(alpha*x0) * x1: a gate and what passes it, of one shape. */
static KVal swiglu(Lw *l, Node n, const KVal *x, const DType *in) { return kb_mul(l->b, swish(l, n, x, in), x[1]); }
static bool swiglu_infer(Infer *c)
{
    if (infer_rank(c, 0) < 0 || infer_rank(c, 1) < 0) return infer_need_rank(c, infer_rank(c, 0) < 0 ? 0 : 1, 0, -1);
    if (!infer_need_rank(c, 1, infer_rank(c, 0), infer_rank(c, 0))) return false;
    for (int i = 0; i < infer_rank(c, 0); i++)
        if (!infer_must_eq(c, infer_dim(c, 1, i), infer_dim(c, 0, i), "extent of gate and value")) return false;
    return infer_like(c, 0, 0);
}

static double f_swish(double x, const void *a) { return x / (1 + exp(-AL(a) * x)); }
static double f_gelu(double x, const void *a)
{
    if (gelu_tanh(a)) return 0.5 * x * (1 + tanh(sqrt(2 / acos(-1)) * (x + 0.044715 * x * x * x)));
    return 0.5 * x * (1 + erf(x / sqrt(2)));
}
static double f_shrink(double x, const void *p)
{
    const Shrink *a = p;
    return x < -att(a->lambd) ? x + att(a->bias) : x > att(a->lambd) ? x - att(a->bias) : 0;
}
static int64_t i_relu(int64_t x) { return x > 0 ? x : 0; }
static bool eval_relu(Eval *e) { return dtype_is_float(e->in[0]->elem) ? eval_with(e, f_relu) : ev_map1(e, NULL, i_relu); }
static bool eval_leaky(Eval *e) { return eval_with(e, f_leaky); }
static bool eval_elu(Eval *e) { return eval_with(e, f_elu); }
static bool eval_selu(Eval *e) { return eval_with(e, f_selu); }
static bool eval_celu(Eval *e) { return eval_with(e, f_celu); }
static bool eval_hsig(Eval *e) { return eval_with(e, f_hsig); }
static bool eval_hswish(Eval *e) { return eval_with(e, f_hswish); }
static bool eval_softplus(Eval *e) { return eval_with(e, f_softplus); }
static bool eval_mish(Eval *e) { return eval_with(e, f_mish); }
static bool eval_softsign(Eval *e) { return eval_with(e, f_softsign); }
static bool eval_thresh(Eval *e) { return eval_with(e, f_thresh); }
static bool eval_swish(Eval *e) { return eval_with(e, f_swish); }
static bool eval_gelu(Eval *e) { return eval_with(e, f_gelu); }
static bool eval_shrink(Eval *e) { return eval_with(e, f_shrink); }
static bool eval_swiglu(Eval *e)
{
    Tensor *y = ev_out(e, 0, e->in[0]->elem, e->in[0]->rank, e->in[0]->dim);
    for (int64_t k = 0; y && k < y->count; k++) ev_set_f(y, k, f_swish(ev_f(e->in[0], k), node_attrs(e->g, e->n)) * ev_f(e->in[1], k));
    return y != NULL;
}
static double m_prelu(double x, double s) { return x < 0 ? x * s : x; }
static int64_t i_prelu(int64_t x, int64_t s) { return x < 0 ? (int64_t)((uint64_t)x * (uint64_t)s) : x; }
static bool eval_prelu(Eval *e) { return ev_map2(e, e->in[0]->elem, m_prelu, i_prelu); }
static bool eval_clip(Eval *e)
{
    const Tensor *x = e->in[0];
    Tensor *y = ev_out(e, 0, x->elem, x->rank, x->dim);
    for (int64_t k = 0; y && k < y->count; k++) {
        ev_copy(y, k, x, k);
        for (uint32_t i = 1; i < 3; i++) {
            if (!ev_has(e, i)) continue;
            const Tensor *lim = e->in[i];
            bool take;
            if (dtype_is_float(x->elem)) take = i == 1 ? ev_f(y, k) < ev_f(lim, 0) : ev_f(y, k) > ev_f(lim, 0);
            else if (x->elem == DT_U64) take = i == 1 ? (uint64_t)ev_i(y, k) < (uint64_t)ev_i(lim, 0) : (uint64_t)ev_i(y, k) > (uint64_t)ev_i(lim, 0);
            else take = i == 1 ? ev_i(y, k) < ev_i(lim, 0) : ev_i(y, k) > ev_i(lim, 0);
            if (take) ev_copy(y, k, lim, 0);
        }
    }
    return y != NULL;
}

static const AttrSpec ALPHA_LEAKY[] = {A_ALPHA(0.01), A_END};
static const AttrSpec ALPHA_1[] = {A_ALPHA(1.0), A_END};
static const AttrSpec SELU_ATTRS[] = {A_ALPHA(1.67326319217681884765625), A_FLOAT(Alpha, gamma, 1.05070102214813232421875), A_END};
static const AttrSpec HSIG_ATTRS[] = {A_ALPHA(0.2), A_FLOAT(Alpha, beta, 0.5), A_END};

#define FLOAT1 .cls = CLS_ELTWISE, .in = P_FLOAT, .out = P_FLOAT
#define WITH_ALPHA(table) .attrs = table, .attrs_size = sizeof(Alpha)

const OpDesc op_Relu = {.name = "Relu", .since = 14, .cls = CLS_ELTWISE, .flags = OPF_IDEMPOTENT, .in = P_RELU, .out = P_RELU, .scalar = relu, .grad = grad_relu, .eval = eval_relu};
const OpDesc op_LeakyRelu = {.name = "LeakyRelu", .since = 16, FLOAT1, WITH_ALPHA(ALPHA_LEAKY), .scalar = leaky, .grad = grad_leaky_relu, .eval = eval_leaky};
/* Before opset 7 a slope of C elements belonged to axis 1:  PRelu(x[N,C,H,W], s[C])  =>  PRelu(x, s[C,1,1]) */
static bool prelu_upgrade(Graph *g, Node n, int64_t opset)
{
    if (opset < 7) graph_set_input(g, n, 1, rank_stand_at(g, n, node_in(g, n, 1), node_in(g, n, 0), 1, true));
    return true;
}

const OpDesc op_PRelu = {.name = "PRelu", .since = 16, .cls = CLS_ELTWISE, .in = P_PRELU, .out = P_NUM, .upgrade = prelu_upgrade, .scalar = prelu, .grad = grad_prelu, .eval = eval_prelu};
const OpDesc op_Elu = {.name = "Elu", .since = 22, FLOAT1, WITH_ALPHA(ALPHA_1), .scalar = elu, .grad = grad_elu, .eval = eval_elu};
const OpDesc op_Selu = {.name = "Selu", .since = 22, FLOAT1, WITH_ALPHA(SELU_ATTRS), .scalar = selu, .grad = grad_selu, .eval = eval_selu};
const OpDesc op_Celu = {.name = "Celu", .since = 12, FLOAT1, WITH_ALPHA(ALPHA_1), .scalar = celu, .grad = grad_celu, .eval = eval_celu};
const OpDesc op_HardSigmoid = {.name = "HardSigmoid", .since = 22, FLOAT1, WITH_ALPHA(HSIG_ATTRS), .scalar = hard_sigmoid, .grad = grad_hard_sigmoid, .eval = eval_hsig};
const OpDesc op_HardSwish = {.name = "HardSwish", .since = 22, FLOAT1, .scalar = hard_swish, .grad = grad_hard_swish, .eval = eval_hswish};
const OpDesc op_Softplus = {.name = "Softplus", .since = 22, FLOAT1, .scalar = softplus, .grad = grad_softplus, .eval = eval_softplus};
const OpDesc op_Softsign = {.name = "Softsign", .since = 22, FLOAT1, .scalar = softsign, .grad = grad_softsign, .eval = eval_softsign};
const OpDesc op_Mish = {.name = "Mish", .since = 22, FLOAT1, .scalar = mish, .grad = grad_mish, .eval = eval_mish};
const OpDesc op_ThresholdedRelu = {.name = "ThresholdedRelu", .since = 22, FLOAT1, WITH_ALPHA(ALPHA_1), .scalar = thresholded, .grad = grad_thresholded_relu, .eval = eval_thresh};
const OpDesc op_Swish = {.name = "Swish", .since = 24, FLOAT1, WITH_ALPHA(ALPHA_1), .scalar = swish, .grad = grad_swish, .eval = eval_swish};
const OpDesc op_SwiGLU = {.name = "SwiGLU", .since = 28, .cls = CLS_ELTWISE, .in = P_GATED, .out = P_FLOAT, WITH_ALPHA(ALPHA_1), .infer = swiglu_infer, .scalar = swiglu, .grad = grad_swiglu, .eval = eval_swiglu};
const OpDesc op_Gelu = {.name = "Gelu", .since = 20, FLOAT1, .attrs = GELU_ATTRS, .attrs_size = sizeof(Gelu), .scalar = gelu, .grad = grad_gelu, .eval = eval_gelu};
const OpDesc op_Shrink = {.name = "Shrink", .since = 9, .cls = CLS_ELTWISE, .in = P_NUM, .out = P_NUM, .attrs = SHRINK_ATTRS, .attrs_size = sizeof(Shrink), .scalar = shrink, .grad = grad_shrink, .eval = eval_shrink};
const OpDesc op_Clip = {.name = "Clip", .since = 13, .cls = CLS_ELTWISE, .one = 6, .in = P_CLIP, .out = P_NUM, .attrs = CLIP_ATTRS, .attrs_size = sizeof(Clip),
                        .upgrade = clip_upgrade, .infer = clip_infer, .equivalent = clip_equivalent, .scalar = clip, .grad = grad_clip, .eval = eval_clip};
