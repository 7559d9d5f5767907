/* internal.c: the operators that no model contains; passes and inference make them (text form: plain names, domain
 * "bmc").
 *   Dims   a small integer tensor whose elements are expressions over symbols: what is left of Shape-Gather-Concat
 *          chains
 *            %s = Dims() {value=[N,2*M]} : i64[2]
 *   Group  a fusion group (design D3): one closed graph around ordinary ops; operands and results are the graph's
 *            %y = Group(%x, %b) {kind="map"} : f32[N,64]
 *              graph @group(%x: f32[N,64], %b: f32[64]) -> (%t) { ... }
 *          kind map: element-wise ops and moves, computed for each element of the results; contract: one CONTRACT
 *                    node, and what follows in its epilogue; attention: two products and a softmax between them;
 *                    pool: a convolution by minimal filtering, what follows, and a MaxPool (conv_pooled.h).
 *   Fail   stands for a branch that does not type-check: running it ends the run with the message that inference
 *          would have given
 *            %y = Fail() {message="input 0 has rank 2, ..."} : f32[N] */
#include "base/bug.h"
#include "ir/graph/eval.h"
#include "ir/graph/infer.h"
#include "ir/graph/lower.h"
#include "ir/ops/contraction.h"
#include "ir/ops/conv_pooled.h"
#include "ir/ops/internal.h"
#include <string.h>

static const Port P_NONE[] = {PORT_END};
static const Port P_ANYTHING[] = {{"inputs", DTS_MOVE, PORT_VARIADIC | PORT_OPTIONAL | PORT_ANY_KIND, 0}, PORT_END};
static const Port P_RESULTS[] = {{"outputs", DTS_MOVE, PORT_VARIADIC | PORT_OPTIONAL | PORT_ANY_KIND, 0}, PORT_END};
static const Port P_INTS[] = {{"output", DTS_INT | DTS_BOOL, 0, 0}, PORT_END};

/* ---- Dims ---- */

typedef struct DimsAttrs {
    uint64_t set;
    AttrDims value;
    AttrInts shape;
    int64_t dtype;
} DimsAttrs;
static const AttrSpec dims_attrs[] = {A_DIMS(DimsAttrs, value), A_INTS(DimsAttrs, shape) /* not given: one axis */,
                                      A_TYPE(DimsAttrs, dtype, DT_I64), A_END};

static Value dims_node(Graph *g, const Dim *dim, uint32_t n, bool scalar, DType type, Loc loc, Node before)
{
    Dim *own = arena_array(g->m->arena, Dim, n + 1);
    for (uint32_t k = 0; k < n; k++) own[k] = dim[k];
    DimsAttrs a = {.set = 1 | (scalar ? 2 : 0) | (type != DT_I64 ? 4 : 0), .value = {own, n}, .dtype = type};
    Node made = graph_add(g, OP_Dims, NULL, 0, 1, &a, loc, before);
    return infer_node(g, made) ? node_out(g, made, 0) : VALUE_NONE;
}

Value dims_list(Graph *g, const Dim *dim, uint32_t n, Loc loc) { return dims_node(g, dim, n, false, DT_I64, loc, NODE_NONE); }
Value dims_scalar(Graph *g, Dim dim, DType type, Loc loc) { return dims_node(g, &dim, 1, true, type, loc, NODE_NONE); }

static Value called(Graph *g, Value x, const Dim *dim, uint32_t rank, Loc loc, Node before)
{
    Value s = dims_node(g, dim, rank, false, DT_I64, loc, before);
    if (!s.i) return VALUE_NONE;
    Node made = graph_add(g, OP_Reshape, (Value[]){x, s}, 2, 1, NULL, loc, before);
    return infer_node(g, made) ? node_out(g, made, 0) : VALUE_NONE;
}

Value dims_called(Graph *g, Value x, const Dim *dim, uint32_t rank, Loc loc) { return called(g, x, dim, rank, loc, NODE_NONE); }

bool operand_called(Infer *c, uint32_t k, const Dim *dim, int rank)
{
    Value v = called(c->g, node_in(c->g, c->n, k), dim, (uint32_t)rank, node_rec(c->g, c->n)->loc, c->n);
    if (v.i) graph_set_input(c->g, c->n, k, v);
    return v.i != 0;
}

bool operand_without_lead(Infer *c, uint32_t k, int rank)
{
    if (!infer_need_rank(c, k, 0, -1)) return false;
    int more = infer_rank(c, k) - rank;
    Dim dim[RANK_MAX];
    if (more <= 0) return true;
    for (int i = 0; i < more; i++) {
        int64_t d;
        if (dim_is_const(c->d, infer_dim(c, k, i), &d) && d != 1) return infer_need_rank(c, k, 0, rank);
    }
    for (int i = 0; i < rank; i++) dim[i] = infer_dim(c, k, more + i);
    return operand_called(c, k, dim, rank);
}

static bool dims_infer(Infer *c)
{
    const DimsAttrs *a = ATTRS(c->g, c->n, DimsAttrs);
    int64_t count = 1;
    Dim dim[RANK_MAX];
    bool shaped = attr_given(c->op, a, 1);
    if (shaped && a->shape.n > RANK_MAX) return infer_fail(c, "Dims has rank %u", a->shape.n);
    if (!shaped) dim[0] = dim_const(c->d, count = a->value.n);
    for (uint32_t k = 0; shaped && k < a->shape.n; k++) {
        if (a->shape.p[k] < 0 || __builtin_mul_overflow(count, a->shape.p[k], &count))
            return infer_fail(c, "Dims: shape");
        dim[k] = dim_const(c->d, a->shape.p[k]);
    }
    if (count != a->value.n || count > CONTENT_MAX)
        return infer_fail(c, "Dims has %u values for %lld elements", a->value.n, (long long)count);
    return infer_set(c, 0, (DType)a->dtype, shaped ? (int)a->shape.n : 1, dim);
}

static bool dims_propagate(Infer *c)
{
    const DimsAttrs *a = ATTRS(c->g, c->n, DimsAttrs);
    infer_set_content(c, 0, a->value.p, a->value.n);
    return true;
}

/* Lowering knows the contents and stores them when somebody wants memory: this is the same, for a module whose
 * contents were not propagated. */
static bool dims_lower(Lw *l, Node n)
{
    const DimsAttrs *a = ATTRS(l->g, n, DimsAttrs);
    int rank = lw_out_rank(l, 0);
    lw_kernel(l, "dims");
    for (uint32_t i = 0; i < a->value.n; i++) {
        KVal idx[RANK_MAX];
        int64_t rest = i, d = 1;
        for (int k = rank - 1; k >= 0; k--, rest /= d) {
            if (!dim_is_const(&l->m->dims, lw_out_dim(l, 0, k), &d)) UNREACHABLE();
            idx[k] = kb_i(l->b, rest % d);
        }
        lw_put(l, 0, idx, kb_cast(l->b, lw_out_elem(l, 0), kb_dim(l->b, a->value.p[i])));
    }
    lw_kernel_end(l);
    return true;
}

static bool dims_eval(Eval *e)
{
    const DimsAttrs *a = ATTRS(e->g, e->n, DimsAttrs);
    int64_t count = a->value.n, v;
    bool shaped = attr_given(op_desc(OP_Dims), a, 1);
    Tensor *y = ev_out(e, 0, (DType)a->dtype, shaped ? (int)a->shape.n : 1, shaped ? a->shape.p : &count);
    for (uint32_t k = 0; y && k < a->value.n; k++) {
        if (!dim_is_const(&e->g->m->dims, dim_resolve(&e->g->m->dims, a->value.p[k]), &v))
            return ev_fail(e, "a symbol has no value here");
        ev_set_i(y, k, v);
    }
    return y != NULL;
}

const OpDesc op_Dims = {.name = "Dims",
                        .since = 1,
                        .cls = CLS_SHAPE,
                        .flags = OPF_INTERNAL | OPF_CHEAP,
                        .in = P_NONE,
                        .out = P_INTS,
                        .attrs = dims_attrs,
                        .attrs_size = sizeof(DimsAttrs),
                        .infer = dims_infer,
                        .propagate = dims_propagate,
                        .lower = dims_lower,
                        .eval = dims_eval};

/* ---- Group ---- */

typedef struct GroupAttrs {
    uint64_t set;
    const char *kind;
    AttrDims causal;
} GroupAttrs;
static const AttrSpec group_attrs[] = {
    {.name = "kind", .kind = ATTR_STRING, .offset = offsetof(GroupAttrs, kind), .def_s = "", .required = true},
    A_DIMS(GroupAttrs, causal) /* kind attention: [p], query i needs the keys 0 .. i + p only */,
    A_GRAPH("body", 0),
    A_END};

static bool group_verify(const Graph *g, Node n, const char **why)
{
    static const char *const kind[] = {"map", "row", "contract", "window", "attention", "pool"};
    const Graph *r = node_rec(g, n)->region[0];
    bool known = false;
    for (size_t k = 0; k < sizeof kind / sizeof *kind; k++) known |= !strcmp(ATTRS(g, n, GroupAttrs)->kind, kind[k]);
    *why = !known                         ? "a group's kind is map, row, contract, window, attention or pool"
           : r->in.n != node_n_in(g, n)   ? "a group has an operand for each input of its graph"
           : r->out.n != node_n_out(g, n) ? "a group has a result for each output of its graph"
                                          : NULL;
    for (uint32_t k = 0; !*why && k < r->in.n; k++)
        if (!node_in(g, n, k).i) *why = "a group's operands are all there";
    for (Node i = graph_first(r); !*why && i.i; i = node_next(r, i))
        if (node_rec(r, i)->n_region) *why = "groups hold no regions";
    return !*why;
}

/* The group is one step: what its members need checked is checked before it. */
static void checks_to_group(Infer *c, const Graph *r)
{
    const uint32_t *at;
    if (!graph_checks(r, &at)) return;
    for (uint32_t k = 0; k < c->m->check.n; k++) {
        CheckRec *q = &c->m->check.p[k];
        if (q->g != r) continue;
        c->m->check_moves++;
        q->g = c->g;
        if (q->at.i) q->at = c->n;
        for (uint32_t j = 0; j < c->m->check.n; j++) { /* inference runs again and again */
            const CheckRec *o = &c->m->check.p[j];
            if (j == k || o->g != q->g || o->at.i != q->at.i || o->bcast != q->bcast || !dim_same(o->a, q->a) ||
                !dim_same(o->b, q->b))
                continue;
            memmove(q, q + 1, (c->m->check.n - k - 1) * sizeof *q);
            c->m->check.n--;
            k--;
            break;
        }
    }
}

static bool group_infer(Infer *c)
{
    Graph *r = node_rec(c->g, c->n)->region[0];
    const char *why;
    if (!group_verify(c->g, c->n, &why)) return infer_fail(c, "%s", why);
    for (uint32_t k = 0; k < r->in.n; k++) {
        Value from = node_in(c->g, c->n, k);
        value_rec(r, r->in.p[k])->type = value_type(c->g, from);
        value_rec(r, r->in.p[k])->content = value_rec(c->g, from)->content;
    }
    bool ok = infer_graph(r);
    checks_to_group(c, r);
    for (uint32_t k = 0; ok && k < r->out.n; k++) ok = infer_set_type(c, k, value_type(r, r->out.p[k]));
    return ok;
}

static bool group_lower(Lw *l, Node n)
{
    const GroupAttrs *a = ATTRS(l->g, n, GroupAttrs);
    if (!strcmp(a->kind, "attention")) return attention_lower(l, a->causal.n ? a->causal.p[0] : DIM_NONE);
    if (!strcmp(a->kind, "pool")) return conv_lower_pooled(l);
    return lw_group(l, strcmp(a->kind, "map") != 0);
}

static bool group_eval(Eval *e)
{
    return eval_graph(e->arena, node_rec(e->g, e->n)->region[0], e->in, e->out, &e->why);
}

const OpDesc op_Group = {.name = "Group",
                         .since = 1,
                         .cls = CLS_CONTROL,
                         .flags = OPF_INTERNAL | OPF_STRIDED_OUT,
                         .in = P_ANYTHING,
                         .out = P_RESULTS,
                         .attrs = group_attrs,
                         .attrs_size = sizeof(GroupAttrs),
                         .infer = group_infer,
                         .lower = group_lower,
                         .eval = group_eval,
                         .verify = group_verify};

/* ---- Fail ---- */

typedef struct FailAttrs {
    uint64_t set;
    const char *message;
} FailAttrs;
static const AttrSpec fail_attrs[] = {
    {.name = "message", .kind = ATTR_STRING, .offset = offsetof(FailAttrs, message), .def_s = "", .required = true},
    A_END};

/* Results have the types that whoever made the node gave them; any type will do, nothing is ever stored. */
static bool fail_infer(Infer *c)
{
    for (uint32_t r = 0; r < node_n_out(c->g, c->n); r++)
        if (!value_type(c->g, node_out(c->g, c->n, r)).i &&
            !infer_set_type(c, r, type_tensor_unranked(&c->m->types, DT_NONE)))
            return false;
    return true;
}

static bool fail_lower(Lw *l, Node n)
{
    lw_step(l, KST_FAIL)->msg = ATTRS(l->g, n, FailAttrs)->message;
    for (uint32_t r = 0; r < node_n_out(l->g, n); r++) { /* memory of no size, so that what follows can name it */
        const TypeRec *t = value_trec(l->g, node_out(l->g, n, r));
        Dim zero[RANK_MAX];
        if (t->kind != TY_TENSOR) {
            lw_out(l, r);
            continue;
        }
        for (int k = 0; k < t->rank; k++) zero[k] = dim_const(&l->m->dims, 0);
        lw_set_out(l, r, lw_temp(l, t->elem, t->rank, zero));
    }
    return true;
}

static bool fail_eval(Eval *e) { return ev_fail(e, "%s", ATTRS(e->g, e->n, FailAttrs)->message); }

const OpDesc op_Fail = {.name = "Fail",
                        .since = 1,
                        .cls = CLS_CONTROL,
                        .flags = OPF_INTERNAL | OPF_SIDE_EFFECT,
                        .in = P_NONE,
                        .out = P_RESULTS,
                        .attrs = fail_attrs,
                        .attrs_size = sizeof(FailAttrs),
                        .infer = fail_infer,
                        .lower = fail_lower,
                        .eval = fail_eval};
