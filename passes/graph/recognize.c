/* recognize: what exporters spell in pieces becomes the operator that it is.
 *   %1 = Mul(%x, 0.5)  %2 = Div(%x, 1.4142135)  %3 = Erf(%2)  %4 = Add(%3, 1)  %y = Mul(%1, %4)     =>   %y = Gelu(%x)
 * The table RULES has the spellings, as patterns (match.h): any order of operands, constants as initializers or nodes
 * of any element type. A rule's function makes the operator from what the pattern bound, or declines. The result must
 * have the type that the pieces had; nothing outside may look at an intermediate value.
 * A norm is recognised by its core, with a factor of ones; factor and summand join when they are seen (norm_scale).
 * Behind canonicalize, fold and cse: constants are constants then and equal pieces one value. */
#include "ir/graph/attr.h"
#include "ir/graph/infer.h"
#include "passes/graph/group.h"
#include "passes/graph/match.h"
#include <assert.h>
#include <math.h>
#include <string.h>

typedef struct Make {
    OpCode op;
    Value in[4];
    uint32_t n_in;
    void *attrs;
    Node before;
} Make;
typedef struct Rule {
    const char *pattern;
    bool (*make)(Match *, Make *);
    OpCode op;
} Rule;

/* ---- making operators ---- */

static void *attr_field(Match *m, Make *k, const char *name)
{
    uint32_t bit;
    const OpDesc *d = op_desc(k->op);
    if (!k->attrs) k->attrs = attrs_new(m->g->m->arena, d);
    const AttrSpec *s = attr_find(d, name, &bit);
    assert(s);
    *(uint64_t *)k->attrs |= 1ull << bit;
    return (char *)k->attrs + s->offset;
}
static void set_f(Match *m, Make *k, const char *name, double v)
{
    *(double *)attr_field(m, k, name) = (double)(float)v;
}
static void set_i(Match *m, Make *k, const char *name, int64_t v) { *(int64_t *)attr_field(m, k, name) = v; }
static double get_f(Match *m, Node n, const char *name)
{
    uint32_t bit;
    return *(const double *)((const char *)node_attrs(m->g, n) + attr_find(node_desc(m->g, n), name, &bit)->offset);
}
static int64_t get_i(Match *m, Node n, const char *name)
{
    uint32_t bit;
    return *(const int64_t *)((const char *)node_attrs(m->g, n) + attr_find(node_desc(m->g, n), name, &bit)->offset);
}

static bool close_to(double a, double b) { return fabs(a - b) <= 2e-6 * fabs(b); }

/* The operator of the rule, of x. */
static bool of_x(Match *m, Make *k) { return k->in[k->n_in++] = match_value(m, 'x'), true; }
static bool gelu_tanh(Match *m, Make *k)
{
    return *(const char **)attr_field(m, k, "approximate") = "tanh", of_x(m, k);
}
static bool with_alpha(Match *m, Make *k) { return set_f(m, k, "alpha", match_num(m, 'a')), of_x(m, k); }
static bool leaky(Match *m, Make *k) { return match_num(m, 'a') > 0 && match_num(m, 'a') < 1 && with_alpha(m, k); }

static Value scalar_const(Match *m, double v)
{
    Module *mod = m->g->m;
    DType e = value_trec(m->g, match_value(m, 'x'))->elem;
    return graph_const(
        m->g, dtype_is_float(e) ? blob_splat_f(&mod->blobs, e, 1, v) : blob_splat_i(&mod->blobs, e, 1, (int64_t)v),
        type_tensor(&mod->types, e, 0, NULL), (Name){0});
}

/* Clip(x, l, h) of the numbers bound; l may be 0 without being bound */
static bool clip(Match *m, Make *k)
{
    if (match_num(m, 'h') < match_num(m, 'l')) return false;
    k->in[1] = scalar_const(m, match_num(m, 'l'));
    k->in[2] = scalar_const(m, match_num(m, 'h'));
    of_x(m, k);
    k->n_in = 3;
    return true;
}

/* k * clip(a*x + b, 0, h)  with k*h = 1; what is not in the pattern is 1 (b: 0) */
static bool hard_sigmoid(Match *m, Make *k)
{
    double s = m->has_num['k' - 'a'] ? match_num(m, 'k') : 1, a = m->has_num['a' - 'a'] ? match_num(m, 'a') : 1;
    if (!close_to(s * match_num(m, 'h'), 1)) return false;
    set_f(m, k, "alpha", s * a);
    set_f(m, k, "beta", s * match_num(m, 'b'));
    return of_x(m, k);
}
static bool hard_swish(Match *m, Make *k)
{
    if (match_value(m, 'h').i) {
        Node h = match_def(m, 'h');
        return close_to(get_f(m, h, "alpha"), 1.0 / 6) && close_to(get_f(m, h, "beta"), 0.5) && of_x(m, k);
    }
    return close_to(match_num(m, 'b'), 3) && close_to(match_num(m, 'h'), 6) && close_to(match_num(m, 'k'), 1.0 / 6) &&
           of_x(m, k);
}

/* ---- rows ---- */

/* The axes of a reduction of x that keeps dims: a bit each; 0: not known. */
static uint32_t reduced_axes(Match *m, Node n)
{
    Value v = node_in(m->g, n, 1);
    int rank = value_trec(m->g, node_in(m->g, n, 0))->rank;
    uint32_t bits = 0;
    if (!get_i(m, n, "keepdims") || rank > 31) return 0;
    if (!v.i) return get_i(m, n, "noop_with_empty_axes") ? 0 : (1u << rank) - 1;
    const Content *c = infer_value_content(m->g, v);
    for (uint32_t k = 0; c && k < c->n; k++) {
        int64_t a;
        if (!dim_is_const(&m->g->m->dims, c->d[k], &a)) return 0;
        bits |= 1u << (a < 0 ? a + rank : a);
    }
    return bits;
}

static bool softmax(Match *m, Make *k)
{
    uint32_t axes = reduced_axes(m, match_def(m, 's'));
    if (!axes || axes & (axes - 1)) return false;
    if (match_value(m, 'm').i && reduced_axes(m, match_def(m, 'm')) != axes) return false;
    set_i(m, k, "axis", __builtin_ctz(axes));
    return of_x(m, k);
}
static bool log_softmax(Match *m, Make *k)
{
    set_i(m, k, "axis", get_i(m, match_def(m, 's'), "axis"));
    return of_x(m, k);
}

/* May v be factor or summand of a norm of x: broadcast to it without making it larger? */
static bool fits_row(Graph *g, Value v, Value x)
{
    const TypeRec *a = value_trec(g, v), *b = value_trec(g, x);
    Dims *d = &g->m->dims;
    if (a->kind != TY_TENSOR || a->elem != b->elem || a->rank > b->rank) return false;
    if (!value_is_const(g, v) && a->rank > 1) return false; /* a residual, rather */
    for (int i = 0; i < a->rank; i++) {
        Dim e = dim_resolve(d, a->dim[i]);
        if (!dim_is(d, e, 1) && dim_eq(d, e, dim_resolve(d, b->dim[b->rank - a->rank + i])) != TRI_YES) return false;
    }
    return true;
}

/* Normalisation over the last axes; factor: g when bound, else ones; summand b. */
static bool norm(Match *m, Make *k)
{
    Value x = match_value(m, 'x'), g = match_value(m, 'g'), b = match_value(m, 'b');
    uint32_t axes = reduced_axes(m, match_def(m, 'v'));
    int rank = value_trec(m->g, x)->rank, axis = axes ? __builtin_ctz(axes) : 0;
    if (!axes || axes != ((1u << rank) - 1) - ((1u << axis) - 1)) return false;
    if (match_value(m, 'm').i && reduced_axes(m, match_def(m, 'm')) != axes) return false;
    if ((g.i && !fits_row(m->g, g, x)) || (b.i && !fits_row(m->g, b, x))) return false;
    set_i(m, k, "axis", axis);
    set_f(m, k, "epsilon", m->has_num['e' - 'a'] ? match_num(m, 'e') : 0);
    of_x(m, k);
    k->in[k->n_in++] = g.i ? g : scalar_const(m, 1);
    if (b.i) k->in[k->n_in++] = b;
    return true;
}

/* norm(x, 1) * g  =>  norm(x, g);   LayerNormalization(x, g) + b  =>  LayerNormalization(x, g, b) */
static bool norm_more(Match *m, Make *k)
{
    Graph *g = m->g;
    Node n = match_def(m, 'n');
    Value with = match_value(m, 'g'), x = node_in(g, n, 0);
    bool sum = node_rec(g, m->root)->op == OP_Add;
    double one;
    if (!fits_row(g, with, x) || node_n_in(g, n) > 2) return false;
    if (!sum && (!match_scalar(g, node_in(g, n, 1), &one) || one != 1)) return false;
    k->op = node_rec(g, n)->op;
    k->attrs = node_rec(g, n)->attrs;
    k->in[0] = x;
    k->in[1] = sum ? node_in(g, n, 1) : with;
    if (sum) k->in[2] = with;
    k->n_in = sum ? 3 : 2;
    return true;
}

/* clang-format off */
static const Rule RULES[] = {
    {"Mul(x, 0.5, Add(1, Erf(Mul(x, 0.70710678118))))", of_x, OP_Gelu},
    {"Mul(x, Add(0.5, Mul(0.5, Erf(Mul(x, 0.70710678118)))))", of_x, OP_Gelu},
    {"Mul(x, 0.5, Add(1, Tanh(Mul(0.7978845608, Add(x, Mul(0.044715, x, x, x))))))", gelu_tanh, OP_Gelu},
    {"Mul(x, 0.5, Add(1, Tanh(Mul(0.7978845608, x, Add(1, Mul(0.044715, x, x))))))", gelu_tanh, OP_Gelu},
    {"Mul(1, Inv(Add(1, Exp(Mul(-1, x)))))", of_x, OP_Sigmoid},
    {"Mul(x, Inv(Add(1, Exp(Mul(-1, x)))))", of_x, OP_Swish},
    {"Mul(x, Sigmoid(Mul(#a, x)))", with_alpha, OP_Swish},
    {"Mul(x, Sigmoid(x))", of_x, OP_Swish},
    {"Log(Add(1, Exp(x)))", of_x, OP_Softplus},
    {"Mul(x, Tanh(Softplus(x)))", of_x, OP_Mish},
    {"Mul(x, Inv(Add(1, Abs(x))))", of_x, OP_Softsign},
    {"Min(Relu(x), #h)", clip, OP_Clip},
    {"Relu(Min(x, #h))", clip, OP_Clip},
    {"Min(Max(x, #l), #h)", clip, OP_Clip},
    {"Max(Min(x, #h), #l)", clip, OP_Clip},
    {"Mul(#k, Clip(Add(#b, x), 0, #h))", hard_sigmoid, OP_HardSigmoid},
    {"Mul(#k, Clip(Add(#b, Mul(#a, x)), 0, #h))", hard_sigmoid, OP_HardSigmoid},
    {"Clip(Add(#b, Mul(#a, x)), 0, #h)", hard_sigmoid, OP_HardSigmoid},
    {"Mul(x, h=HardSigmoid(x))", hard_swish, OP_HardSwish},
    {"Mul(#k, x, Clip(Add(#b, x), 0, #h))", hard_swish, OP_HardSwish},
    {"Max(x, Mul(#a, x))", leaky, OP_LeakyRelu},
    {"Max(Mul(#a, x), x)", leaky, OP_LeakyRelu},
    {"Mul(e=Exp(Add(x, Neg(m=ReduceMax(x)))), Inv(s=ReduceSum(e)))", softmax, OP_Softmax},
    {"Mul(e=Exp(x), Inv(s=ReduceSum(e)))", softmax, OP_Softmax},
    {"Log(s=Softmax(x))", log_softmax, OP_LogSoftmax},
    {"Mul(d=Add(x, Neg(m=ReduceMean(x))), Inv(Sqrt(Add(#e, v=ReduceMean(Mul(d, d))))))", norm, OP_LayerNormalization},
    {"Mul(d=Add(x, Neg(m=ReduceMean(x))), Inv(Sqrt(Add(#e, v=ReduceMean(Mul(d, d))))), g)", norm, OP_LayerNormalization},
    {"Add(Mul(x, t=Mul(Inv(Sqrt(Add(#e, v=ReduceMean(Mul(d=Add(x, Neg(m=ReduceMean(x))), d))))), g)), Neg(Mul(m, t)), b)",
     norm, OP_LayerNormalization},
    {"Mul(x, Inv(Sqrt(Add(#e, v=ReduceMean(Mul(x, x))))))", norm, OP_RMSNormalization},
    {"Mul(x, Inv(Sqrt(Add(#e, v=ReduceMean(Mul(x, x))))), g)", norm, OP_RMSNormalization},
    {"Mul(n=LayerNormalization(x), g)", norm_more, OP_LayerNormalization},
    {"Add(n=LayerNormalization(x), g)", norm_more, OP_LayerNormalization},
    {"Mul(n=RMSNormalization(x), g)", norm_more, OP_RMSNormalization},
};
/* clang-format on */

/* ---- the pass ---- */

static bool same_type(Graph *g, Value a, Value b)
{
    return value_trec(g, a)->elem == value_trec(g, b)->elem && group_same_dims(g, a, b);
}

/* Erases what the match leaves unused, users first. */
static void erase(Match *m)
{
    for (bool again = true; again;) {
        again = false;
        for (uint32_t k = 0; k < m->n_node; k++) {
            if (node_rec(m->g, m->node[k])->dead || node_used(m->g, m->node[k])) continue;
            graph_erase(m->g, m->node[k]);
            again = true;
        }
    }
}

static PassResult apply(PassCtx *c, Graph *g, Node n)
{
    for (size_t r = 0; r < sizeof RULES / sizeof *RULES; r++) {
        Match m;
        Make k = {.op = RULES[r].op};
        Value old = node_out(g, n, 0);
        if (!match_node(&m, g, RULES[r].pattern, n)) continue;
        if (!same_type(g, old, match_value(&m, 'x')) || !dtype_is_float(value_trec(g, old)->elem)) continue;
        if (!RULES[r].make(&m, &k)) continue;
        if (!pass_may_rewrite(c)) return PASS_UNCHANGED;
        Node made = graph_add(g, k.op, k.in, k.n_in, 1, k.attrs, node_rec(g, n)->loc, n);
        if (!infer_node(g, made)) return PASS_FAILED;
        graph_replace_uses(g, old, node_out(g, made, 0));
        erase(&m);
        pass_count(c, op_desc(k.op)->name, 1);
        return PASS_CHANGED;
    }
    return PASS_UNCHANGED;
}

static PassResult recognize(PassCtx *c, Graph *g)
{
    PassResult all = PASS_UNCHANGED;
    for (Node n = graph_first(g), next; n.i; n = next) {
        next = node_next(g, n);
        for (uint32_t k = 0; k < node_rec(g, n)->n_region; k++) {
            PassResult r = recognize(c, node_rec(g, n)->region[k]);
            if (r == PASS_FAILED) return r;
            if (r == PASS_CHANGED) all = r;
        }
        if (node_n_out(g, n) != 1 || node_rec(g, n)->n_region) continue;
        PassResult r = apply(c, g, n);
        if (r == PASS_FAILED) return r;
        if (r == PASS_UNCHANGED) continue;
        all = r;
        next = next.i ? node_prev(g, next) : graph_last(g); /* what was made may be a piece of something itself */
    }
    return all;
}

static PassResult run(PassCtx *c) { return recognize(c, c->m->entry); }

const Pass pass_recognize = {
    .name = "recognize", .brief = "what exporters spell in pieces becomes the operator that it is", .run = run};
