/* fold-affine: factors and summands per channel go into the weights of the contraction beside them: what is left of a
 * BatchNormalization, of scaled inputs, of biases spelled as Add.
 *   %1 = Conv(%x, %w)                                       %2 = Mul(%w, %s')   with %s' = %s as [C,1,1,1]
 *   %2 = Mul(%1, %s)   with constant %s: f32[C,1,1]    =>   %y = Conv(%x, %2, %b')
 *   %y = Add(%2, %b)   with constant %b: f32[C,1,1]
 *   %y = Conv(Mul(%x, %s), %w)                         =>   %y = Conv(%x, Mul(%w, %s''))  with %s'' = %s as [1,C,1,1]
 *   %y = MatMul(Mul(%a, 2), Mul(%b, 3))          =>   %y = Mul(MatMul(%a, %b), 6)
 * The products over constants are left to fold: those of large weights become recipes. The contraction's result has
 * no other user, its weights and bias are constants of a type in which a product loses nothing to speak of (f32, f64).
 * Requires types; run fold behind it. */
#include "ir/graph/attr.h"
#include "ir/graph/infer.h"
#include "passes/graph/match.h"
#include <string.h>

/* A contraction with weights in operand 1: which axes of the weights and of the data are its channels. */
typedef struct Contraction {
    Node n;
    Value w;
    int w_out, w_in;    /* axes of the weights; -1: no single one */
    int y_axis, x_axis; /* of the result, of operand 0 */
    int bias;           /* operand that holds it, -1: none possible */
} Contraction;

static bool describe(Graph *g, Node n, Contraction *c)
{
    const OpDesc *d = node_desc(g, n);
    if (d->cls != CLS_CONTRACT || node_n_out(g, n) != 1 || node_n_in(g, n) < 2) return false;
    *c = (Contraction){.n = n, .w = node_in(g, n, 1), .bias = 2, .w_out = 0, .w_in = 1, .y_axis = 1, .x_axis = 1};
    if (!c->w.i || !match_constant(g, c->w)) return false;
    const TypeRec *t = value_trec(g, c->w);
    if (t->elem != DT_F32 && t->elem != DT_F64) return false;
    if (!strcmp(d->name, "Conv")) {
        if (node_int(g, n, "group") != 1) c->w_in = -1;
    } else if (!strcmp(d->name, "ConvTranspose")) {
        c->w_out = node_int(g, n, "group") == 1 ? 1 : -1;
        c->w_in = 0;
    } else if (!strcmp(d->name, "Gemm")) {
        bool b = node_int(g, n, "transB") != 0;
        c->w_out = b ? 0 : 1;
        c->w_in = b ? 1 : 0;
        c->x_axis = node_int(g, n, "transA") ? 0 : 1;
        if (node_float(g, n, "beta") != 1) return false;
    } else if (!strcmp(d->name, "MatMul")) {
        if (t->rank != 2 || value_trec(g, node_in(g, n, 0))->rank < 2) return false;
        c->w_out = 1;
        c->w_in = 0;
        c->y_axis = value_trec(g, node_out(g, n, 0))->rank - 1;
        c->x_axis = value_trec(g, node_in(g, n, 0))->rank - 1;
        c->bias = -1;
    } else return false;
    Value b = c->bias > 0 ? node_in(g, n, 2) : VALUE_NONE;
    return !b.i || match_constant(g, b);
}

/* A constant that depends on axis `axis` of a value of that rank only, of the element type; *count: 1 or that many. */
static bool per_channel(Graph *g, Value v, DType e, int rank, int axis, int64_t *count)
{
    if (!v.i || !value_is_const(g, v)) return false;
    const TypeRec *t = value_trec(g, v);
    *count = 1;
    if (t->elem != e || t->rank > rank) return false;
    for (int i = 0; i < t->rank; i++) {
        int64_t d;
        if (!dim_is_const(&g->m->dims, t->dim[i], &d) || (d != 1 && i + rank - t->rank != axis)) return false;
        if (i + rank - t->rank == axis) *count = d;
    }
    const BlobRec *b = blob_rec(&g->m->blobs, value_rec(g, v)->data);
    return b->count == *count && *count > 0;
}

/* The same constant as a tensor of `rank` dims that are 1 but for `axis`. */
static Value at_axis(Graph *g, Value v, int rank, int axis, int64_t count)
{
    Dim dim[RANK_MAX];
    for (int i = 0; i < rank; i++) dim[i] = dim_const(&g->m->dims, i == axis ? count : 1);
    return graph_const(g, value_rec(g, v)->data, type_tensor(&g->m->types, value_trec(g, v)->elem, rank, dim),
                       (Name){0});
}

static Value combine(Graph *g, OpCode op, Value a, Value b, Node before)
{
    Node n = graph_add(g, op, (Value[]){a, b}, 2, 1, NULL, node_rec(g, before)->loc, before);
    if (!infer_node(g, n)) return VALUE_NONE;
    return node_out(g, n, 0);
}

/* The summand as a bias of one value per channel. */
static Value as_bias(Graph *g, const Contraction *c, OpCode op, Value s, int64_t count, Node before)
{
    int64_t channels;
    DType e = value_trec(g, s)->elem;
    Dim n = value_trec(g, c->w)->dim[c->w_out];
    if (!dim_is_const(&g->m->dims, n, &channels)) return VALUE_NONE;
    Value have = node_in(g, c->n, 2), flat = at_axis(g, s, 1, 0, count);
    if (have.i) return combine(g, op, have, flat, before);
    if (op == OP_Add && count == channels) return flat;
    Value zero =
        graph_const(g, blob_splat_f(&g->m->blobs, e, channels, 0), type_tensor(&g->m->types, e, 1, &n), (Name){0});
    return combine(g, op, zero, flat, before);
}

static void set_operand(Graph *g, Node n, uint32_t k, Value v)
{
    while (node_n_in(g, n) <= k) graph_add_input(g, n, VALUE_NONE);
    graph_set_input(g, n, k, v);
}

/* User `n` of the contraction's result multiplies or adds per channel: into weights and bias; its uses become the
 * contraction's. */
static bool fold_user(PassCtx *p, Graph *g, const Contraction *c, Node n)
{
    OpCode op = node_rec(g, n)->op;
    Value y = node_out(g, c->n, 0), a = node_in(g, n, 0), b = node_in(g, n, 1);
    const TypeRec *t = value_trec(g, y), *w = value_trec(g, c->w);
    int64_t count;
    bool factor = op == OP_Mul || op == OP_Div, commutes = op == OP_Mul || op == OP_Add;
    if (!factor && op != OP_Add && op != OP_Sub) return false;
    if (a.i != y.i && (!commutes || b.i != y.i)) return false;
    Value s = a.i == y.i ? b : a;
    if (c->w_out < 0 || !per_channel(g, s, t->elem, t->rank, c->y_axis, &count)) return false;
    if (value_type(g, node_out(g, n, 0)).i != value_type(g, y).i) return false;
    if (!factor && c->bias < 0) return false;
    if (!pass_may_rewrite(p)) return false;
    if (factor) {
        Value have = c->bias > 0 ? node_in(g, c->n, 2) : VALUE_NONE;
        Value weights = combine(g, op, c->w, at_axis(g, s, w->rank, c->w_out, count), c->n);
        if (!weights.i) return false;
        if (have.i) {
            Value bias = combine(g, op, have, at_axis(g, s, 1, 0, count), c->n);
            if (!bias.i) return false;
            graph_set_input(g, c->n, 2, bias);
        }
        graph_set_input(g, c->n, 1, weights);
    } else {
        Value bias = as_bias(g, c, op, s, count, c->n);
        if (!bias.i) return false;
        set_operand(g, c->n, 2, bias);
    }
    graph_replace_uses(g, node_out(g, n, 0), y);
    graph_erase(g, n);
    pass_count(p, factor ? "factors behind" : "summands behind", 1);
    return true;
}

/* Operand 0 is a product with a constant per channel, or a quotient by one: into the weights. */
static bool fold_operand(PassCtx *p, Graph *g, const Contraction *c)
{
    Value x = node_in(g, c->n, 0);
    Node n = value_rec(g, x)->def;
    int64_t count;
    OpCode op = n.i ? node_rec(g, n)->op : OP_NONE;
    if ((op != OP_Mul && op != OP_Div) || c->w_in < 0 || !value_single_user(g, x).i) return false;
    const TypeRec *t = value_trec(g, x), *w = value_trec(g, c->w);
    for (uint32_t k = op == OP_Div ? 1 : 0; k < 2; k++) {
        Value s = node_in(g, n, k), rest = node_in(g, n, 1 - k);
        if (!per_channel(g, s, t->elem, t->rank, c->x_axis, &count) || value_type(g, rest).i != value_type(g, x).i)
            continue;
        if (!pass_may_rewrite(p)) return false;
        Value weights = combine(g, op, c->w, at_axis(g, s, w->rank, c->w_in, count), c->n);
        if (!weights.i) return false;
        graph_set_input(g, c->n, 1, weights);
        graph_set_input(g, c->n, 0, rest);
        pass_count(p, "factors in front", 1);
        return true;
    }
    return false;
}

/* The node's result is x times a number, by which *factor is multiplied then. */
static bool scales(Graph *g, Node n, Value *x, double *factor)
{
    OpCode op = n.i ? node_rec(g, n)->op : OP_NONE;
    double k;
    if (op != OP_Mul && op != OP_Div) return false;
    for (uint32_t i = op == OP_Div ? 1 : 0; i < 2; i++) {
        if (!match_scalar(g, node_in(g, n, i), &k) || k == 0) continue;
        *x = node_in(g, n, 1 - i);
        if (value_type(g, *x).i != value_type(g, node_out(g, n, 0)).i) return false; /* the number's axes are more */
        *factor = op == OP_Div ? *factor / k : *factor * k;
        return true;
    }
    return false;
}

/* MatMul(x * a, y * b) = MatMul(x, y) * (a * b): behind the product it costs nothing. */
static bool numbers_behind(PassCtx *p, Graph *g, Node n)
{
    double factor = 1, own;
    Value y = node_out(g, n, 0), x[2], rest;
    const TypeRec *t = value_trec(g, y);
    if (node_rec(g, n)->op != OP_MatMul || (t->elem != DT_F32 && t->elem != DT_F64)) return false;
    bool any = false, is[2];
    for (uint32_t k = 0; k < 2; k++) {
        Value v = node_in(g, n, k);
        any |= is[k] = value_single_user(g, v).i && scales(g, value_rec(g, v)->def, &x[k], &factor);
    }
    if (!any || !pass_may_rewrite(p)) return false;
    for (uint32_t k = 0; k < 2; k++) {
        Node was = value_rec(g, node_in(g, n, k))->def;
        if (!is[k]) continue;
        graph_set_input(g, n, k, x[k]);
        graph_erase(g, was);
    }
    Node user = value_single_user(g, y); /* one that scales already takes the number over */
    own = 1;
    if (scales(g, user, &rest, &own) && rest.i == y.i) factor *= own;
    else user = NODE_NONE;
    Value by = graph_const(g, blob_splat_f(&g->m->blobs, t->elem, 1, factor),
                           type_tensor(&g->m->types, t->elem, 0, NULL), (Name){0});
    Node mul = graph_add(g, OP_Mul, (Value[]){y, by}, 2, 1, NULL, node_rec(g, user.i ? user : n)->loc,
                         node_next(g, user.i ? user : n));
    value_rec(g, node_out(g, mul, 0))->type = value_type(g, y);
    graph_replace_uses(g, user.i ? node_out(g, user, 0) : y, node_out(g, mul, 0));
    if (user.i) graph_erase(g, user);
    else graph_set_input(g, mul, 0, y);
    pass_count(p, "numbers behind", 1);
    return true;
}

static bool fold_one(PassCtx *p, Graph *g, Node n)
{
    Contraction c;
    if (!node_used(g, n)) return false;
    if (!describe(g, n, &c)) return numbers_behind(p, g, n);
    if (fold_operand(p, g, &c)) return true;
    Node user = value_single_user(g, node_out(g, n, 0));
    return user.i && fold_user(p, g, &c, user);
}

static bool fold_graph(PassCtx *p, Graph *g)
{
    bool changed = false;
    for (Node n = graph_first(g); n.i; n = node_next(g, n))
        while (fold_one(p, g, n)) changed = true;
    return changed;
}

static PassResult run(PassCtx *c) { return pass_graphs(c, fold_graph); }

const Pass pass_fold_affine = {
    .name = "fold-affine", .brief = "factors and summands per channel go into weights and biases", .run = run};
