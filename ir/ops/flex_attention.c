/* flex_attention.c: FlexAttention (ai.onnx.preview): attention with graphs of the model's own in its two middles, in
 * terms of products and Softmax with these graphs in line, so that fusion sees through them.
 *   Y = prob_mod(Softmax(score_mod(scale * Q * K'))) * V       per batch and head; several heads of Q may share one of K
 * The middle is computed in softmax_precision: f32, or f64 where the operands are. A graph that is left out is the
 * identity. */
#include "ir/graph/eval.h"
#include "ir/ops/attention.h"
#include <math.h>

static const Port P_IN[] = {{"Q", DTS_FLOAT, 0, 1}, {"K", DTS_FLOAT, 0, 1}, {"V", DTS_FLOAT, 0, 1}, PORT_END};
static const Port P_OUT[] = {{"Y", DTS_FLOAT, 0, 1}, PORT_END};
typedef struct Flex {
    uint64_t set;
    double scale;
    int64_t softmax_precision;
} Flex;
static const AttrSpec ATTRS_[] = {A_FLOAT(Flex, scale, 0), A_TYPE(Flex, softmax_precision, 0),
                                  A_GRAPH_OR_IDENTITY("score_mod", 0), A_GRAPH_OR_IDENTITY("prob_mod", 1), A_END};

static const double *scale_of(const Flex *a) { return a->set & 1 ? &a->scale : NULL; }
static DType precision(const Flex *a, DType t)
{
    return a->set & 2 ? (DType)a->softmax_precision : t == DT_F64 ? DT_F64 : DT_F32;
}

/* A modifier takes one tensor of that type, and the captures, and gives one like it. */
static bool infer_mod(Infer *c, uint32_t k, TypeId t)
{
    static const char *const name[] = {"score_mod", "prob_mod"};
    const NodeRec *n = node_rec(c->g, c->n);
    Graph *b = n->region[k];
    if (b->in.n != 1 + n->n_capture || b->out.n != 1) return infer_fail(c, "%s takes one tensor and gives one", name[k]);
    value_rec(b, b->in.p[0])->type = t;
    for (uint32_t i = 1; i < b->in.n; i++) {
        Value from = node_in(c->g, c->n, n->n_in - n->n_capture + i - 1);
        value_rec(b, b->in.p[i])->type = value_type(c->g, from);
        value_rec(b, b->in.p[i])->content = value_rec(c->g, from)->content;
    }
    if (!infer_graph(b)) return false;
    const TypeRec *want = type_rec(&c->m->types, t), *got = value_trec(b, b->out.p[0]);
    if (got->kind != TY_TENSOR || got->elem != want->elem || got->rank != 4)
        return infer_fail(c, "%s gives something else than a tensor of rank 4 of %s", name[k], dtype_info(want->elem)->onnx);
    for (int i = 0; i < 4; i++)
        if (!infer_must_eq(c, got->dim[i], want->dim[i], "dimension of what a modifier gives")) return false;
    return true;
}

static bool infer(Infer *c)
{
    const Flex *a = ATTRS(c->g, c->n, Flex);
    Dim q[4], k[4], v[4], *all[3] = {q, k, v};
    for (uint32_t i = 0; i < 3; i++) {
        if (!infer_need_rank(c, i, 4, 4)) return false;
        for (int x = 0; x < 4; x++) all[i][x] = infer_dim(c, i, x);
    }
    if (!infer_must_eq(c, k[0], q[0], "batch of K") || !infer_must_eq(c, v[0], q[0], "batch of V") ||
        !infer_must_eq(c, k[3], q[3], "head size of K") || !infer_must_eq(c, v[1], k[1], "heads of V") ||
        !infer_must_eq(c, v[2], k[2], "length of V"))
        return false;
    if (!attention_heads(c, q[1], k[1])) return false;
    DType t = infer_elem(c, 0), soft = precision(a, t);
    if (!(DTS(soft) & DTS_FLOAT)) return infer_fail(c, "softmax_precision is not a float type");
    TypeId mid = type_tensor(&c->m->types, soft, 4, (Dim[]){q[0], q[1], q[2], k[2]});
    return infer_mod(c, 0, mid) && infer_mod(c, 1, mid) && infer_set(c, 0, t, 4, (Dim[]){q[0], q[1], q[2], v[3]});
}

/* Region k of the node that goes, in line behind x. */
static Value inlined(Ex *x, uint32_t k, Value v)
{
    if (x->failed) return VALUE_NONE;
    const NodeRec *n = node_rec(x->g, x->n);
    Graph *b = n->region[k];
    Value *in = arena_array(x->g->m->arena, Value, b->in.n + 1), out;
    in[0] = v;
    for (uint32_t i = 1; i < b->in.n; i++) in[i] = node_in(x->g, x->n, n->n_in - n->n_capture + i - 1);
    return ex_inline(x, b, in, &out, true) ? out : VALUE_NONE;
}

static bool expand(Graph *g, Node n)
{
    const Flex *a = ATTRS(g, n, Flex);
    Ex x = ex_begin(g, n);
    Value q = ex_in(&x, 0), k = ex_in(&x, 1), v = ex_in(&x, 2);
    DType t = ex_elem(&x, q), soft = precision(a, t);
    Dim rep = attention_shared(&x, q, k);
    Value s = inlined(&x, 0, ex_cast(&x, attention_scores(&x, q, k, scale_of(a)), soft));
    Value p = inlined(&x, 1, ex_axis(&x, OP_Softmax, (Value[]){s}, 1, -1));
    p = attention_grouped(&x, p, rep, dim_resolve(&g->m->dims, ex_type(&x, k)->dim[1]));
    Value y = ex2(&x, OP_MatMul, p, attention_grouped(&x, ex_cast(&x, v, soft), rep, DIM_NONE));
    y = ex_cast(&x, attention_ungrouped(&x, y, rep), t);
    return ex_end(&x, &y, 1);
}

/* ---- reference ---- */

static Tensor *modified(Eval *e, uint32_t k, Tensor *x)
{
    const NodeRec *n = node_rec(e->g, e->n);
    Graph *b = n->region[k];
    Tensor **in = arena_array(e->arena, Tensor *, b->in.n + 1), *out;
    in[0] = x;
    for (uint32_t i = 1; i < b->in.n; i++) in[i] = e->in[n->n_in - n->n_capture + i - 1];
    if (!eval_graph(e->arena, b, in, &out, &e->why)) return NULL;
    if (out->count == x->count) return out;
    ev_fail(e, "a modifier changes the shape");
    return NULL;
}

static bool eval(Eval *e)
{
    const Flex *a = ATTRS(e->g, e->n, Flex);
    const Tensor *q = e->in[0], *k = e->in[1], *v = e->in[2];
    int64_t heads = q->dim[1], ql = q->dim[2], kl = k->dim[2], size = q->dim[3], vs = v->dim[3], hk = k->dim[1];
    if (!hk || heads % hk || k->dim[3] != size || v->dim[2] != kl) return ev_fail(e, "the operands do not fit");
    double scale = scale_of(a) ? a->scale : 1 / sqrt((double)size);
    DType soft = precision(a, q->elem);
    Tensor *s = tensor_new(e->arena, soft, 4, (int64_t[]){q->dim[0], heads, ql, kl});
    if (!s) return ev_fail(e, "the scores are larger than any memory");
    for (int64_t o = 0; o < s->count; o++) {
        int64_t j = o % kl, row = o / kl, of = row / ql / heads * hk + row / ql % heads / (heads / hk);
        double sum = 0;
        for (int64_t c = 0; c < size; c++) sum += ev_f(q, row * size + c) * ev_f(k, (of * kl + j) * size + c);
        ev_set_f(s, o, sum * scale);
    }
    if (!(s = modified(e, 0, s))) return false;
    Tensor *p = tensor_new(e->arena, soft, 4, s->dim);
    for (int64_t row = 0; p && row < p->count / (kl ? kl : 1); row++) {
        double top = -INFINITY, sum = 0;
        for (int64_t j = 0; j < kl; j++) top = fmax(top, ev_f(s, row * kl + j));
        for (int64_t j = 0; j < kl; j++) sum += exp(ev_f(s, row * kl + j) - top);
        for (int64_t j = 0; j < kl; j++) ev_set_f(p, row * kl + j, exp(ev_f(s, row * kl + j) - top) / sum);
    }
    if (!p || !(p = modified(e, 1, p))) return false;
    Tensor *y = ev_out(e, 0, q->elem, 4, (int64_t[]){q->dim[0], heads, ql, vs});
    for (int64_t o = 0; y && o < y->count; o++) {
        int64_t row = o / vs, of = row / ql / heads * hk + row / ql % heads / (heads / hk);
        double sum = 0;
        for (int64_t j = 0; j < kl; j++) sum += ev_f(p, row * kl + j) * ev_f(v, (of * kl + j) * vs + o % vs);
        ev_set_f(y, o, sum);
    }
    return y != NULL;
}

const OpDesc op_FlexAttention = {.name = "FlexAttention",
                                 .domain = "ai.onnx.preview",
                                 .since = 1,
                                 .cls = CLS_OPAQUE,
                                 .in = P_IN,
                                 .out = P_OUT,
                                 .attrs = ATTRS_,
                                 .attrs_size = sizeof(Flex),
                                 .infer = infer,
                                 .expand = expand,
                                 .eval = eval};
