/* rank.c: internal operators for ranks that the run decides (ir/graph/arms.c makes the first two, passes/graph/rank.c the third):
 *   RankOf    the rank of what a sequence (with a position) or an optional holds
 *               %n = RankOf(%q, %i) : i64[1]
 *   OfRank    the same sequence or optional, whose elements are tensors of that rank, and any dims; of a tensor: the same,
 *             does not type-check when it has another rank
 *               %q2 = OfRank(%q) {rank=2} : seq<f32[a,b]>
 *   AnyRank   a result of the model whose rank the run decides: with RANK_ANY axes, and its rank
 *               %y, %r = AnyRank(%x) : f32[1,1,1,1,1,1,n,m], i32[]     x: f32[n,m]
 * and one for old forms of operators, which say where the second operand's axes stand among the first's, where the
 * ranks of both are not known when a file is read (the upgrade hooks of binary.c and activation.c make it):
 *   StandAt   y with axes of 1 behind its own, so that they begin at that axis of x; with list=1 a y of another rank
 *             than 1, and one whose x ends there, stays as it is
 *               %t = StandAt(%y, %x) {axis=1} : f32[m,k,1]          y: f32[m,k]   x: f32[n,m,k,l] */
#include "ir/graph/eval.h"
#include "ir/graph/infer.h"
#include "ir/graph/lower.h"
#include "ir/ops/internal.h"
#include "ir/ops/sequence.h"

static const Port P_HOLDS[] = {{"holds", DTS_MOVE | DTS_SMALL, PORT_ANY_KIND, 1}, {"position", DTS_INDEX, PORT_OPTIONAL, 0}, PORT_END};
static const Port P_SAME[] = {{"same", DTS_MOVE | DTS_SMALL, PORT_ANY_KIND, 1}, PORT_END};
static const Port P_RANK[] = {{"rank", DTS(DT_I64), 0, 0}, PORT_END};

static bool holds(Infer *c)
{
    TypeKind k = infer_in(c, 0)->kind;
    return k == TY_SEQ || k == TY_OPT || infer_fail(c, "the operand holds nothing");
}

/* ---- RankOf ---- */

static bool rank_of_infer(Infer *c)
{
    Dim one = dim_const(c->d, 1);
    return holds(c) && infer_set(c, 0, DT_I64, 1, &one);
}

static bool rank_of_propagate(Infer *c)
{
    const TypeRec *of = type_rec(&c->m->types, infer_in(c, 0)->of);
    if (of->kind != TY_TENSOR || of->rank == RANK_UNKNOWN) return true;
    infer_set_content(c, 0, (Dim[]){dim_const(c->d, of->rank)}, 1);
    return true;
}

static bool rank_of_lower(Lw *l, Node n)
{
    (void)n;
    Dims *d = &l->m->dims;
    KBuf q = lw_in(l, 0);
    Dim pos = dim_const(d, 0);
    KVal zero;
    Sym s = sym_new(d, module_fresh_name(l->m, "rank"), SYM_NODE, 0, RANK_MAX);
    if (lw_has(l, 1) && !lw_values_n(l, 1, &pos, 1)) return false;
    lw_call(l, l->steps, "rt_seq_rank", 3, (KArg[]){{.kind = KA_BUF, .buf = q}, {.kind = KA_DIM, .dim = pos}, {.kind = KA_SYM, .sym = s}});
    KBuf o = lw_out(l, 0);
    Kb *b = lw_kernel(l, "rank");
    zero = kb_i(b, 0);
    kb_store(b, kb_param(b, o, true), &zero, kb_dim(b, dim_sym(d, s)));
    lw_kernel_end(l);
    return true;
}

static bool rank_of_eval(Eval *e)
{
    int64_t n = e->in[0]->n_item, pos = ev_has(e, 1) ? ev_i(e->in[1], 0) : 0;
    if (pos < -n || pos >= n) return ev_fail(e, "position %lld is out of range for a sequence of %lld", (long long)pos, (long long)n);
    if (!ev_out(e, 0, DT_I64, 1, (int64_t[]){1})) return false;
    ev_set_i(e->out[0], 0, e->in[0]->item[pos < 0 ? pos + n : pos]->rank);
    return true;
}

/* ---- OfRank ---- */

typedef struct OfRank { uint64_t set; int64_t rank; } OfRank;
static const AttrSpec OF_ATTRS[] = {{.name = "rank", .kind = ATTR_INT, .offset = offsetof(OfRank, rank), .required = true}, A_END};

static bool of_rank_infer(Infer *c)
{
    int64_t rank = ATTRS(c->g, c->n, OfRank)->rank;
    Dim dim[RANK_MAX];
    if (rank < 0 || rank > RANK_MAX) return infer_fail(c, "rank=%lld", (long long)rank);
    if (infer_in(c, 0)->kind == TY_TENSOR) return infer_need_rank(c, 0, (int)rank, (int)rank) && infer_like(c, 0, 0);
    if (!holds(c)) return false;
    const TypeRec *t = infer_in(c, 0), *of = type_rec(&c->m->types, t->of);
    if (of->kind != TY_TENSOR) return infer_fail(c, "the elements are no tensors");
    if (of->rank != RANK_UNKNOWN) return of->rank == rank ? infer_like(c, 0, 0) : infer_fail(c, "the elements have rank %d, not %lld", of->rank, (long long)rank);
    TypeId had = value_type(c->g, node_out(c->g, c->n, 0));
    if (had.i && type_rec(&c->m->types, type_rec(&c->m->types, had)->of)->rank == rank) return true;   /* keep its symbols */
    for (int i = 0; i < rank; i++) dim[i] = infer_fresh(c, "of", 0, INT64_MAX);
    TypeId el = type_tensor(&c->m->types, of->elem, (int)rank, dim);
    value_rec(c->g, node_out(c->g, c->n, 0))->type = t->kind == TY_SEQ ? type_seq(&c->m->types, el) : type_opt(&c->m->types, el);
    return true;
}

static bool of_rank_lower(Lw *l, Node n)
{
    if (value_trec(l->g, node_in(l->g, n, 0))->kind == TY_TENSOR) lw_view(l, 0, 0);
    else lw_set_out(l, 0, lw_in(l, 0));
    return true;
}

static bool of_rank_eval(Eval *e)
{
    e->out[0] = e->in[0];
    return true;
}

/* ---- AnyRank ---- */

static const Port P_TENSOR[] = {{"x", DTS_MOVE | DTS_SMALL, 0, 1}, PORT_END};
static const Port P_ANY[] = {{"y", DTS_MOVE | DTS_SMALL, 0, 1}, {"rank", DTS(DT_I32), 0, 0}, PORT_END};

static bool any_rank_infer(Infer *c)
{
    Dim dim[RANK_ANY];
    if (!infer_need_rank(c, 0, 0, -1)) return false;
    if (infer_rank(c, 0) > RANK_ANY)
        return infer_fail(c, "a result of rank %d, where the run decides the rank at most %d is possible", infer_rank(c, 0), RANK_ANY);
    for (int i = 0, skip = RANK_ANY - infer_rank(c, 0); i < RANK_ANY; i++) dim[i] = i < skip ? dim_const(c->d, 1) : infer_dim(c, 0, i - skip);
    return infer_set(c, 0, infer_elem(c, 0), RANK_ANY, dim) && infer_set(c, 1, DT_I32, 0, NULL);
}

static bool any_rank_propagate(Infer *c)
{
    infer_set_content(c, 1, (Dim[]){dim_const(c->d, infer_rank(c, 0))}, 1);
    return true;
}

static bool any_rank_lower(Lw *l, Node n)
{
    (void)n;
    lw_view(l, 0, 0);
    if (!value_used(l->g, node_out(l->g, l->n, 1))) return true;
    KBuf o = lw_out(l, 1);
    Kb *b = lw_kernel(l, "rank");
    kb_store(b, kb_param(b, o, true), NULL, kb_cast(b, DT_I32, kb_i(b, lw_rank(l, 0))));
    lw_kernel_end(l);
    return true;
}

static bool any_rank_eval(Eval *e)
{
    const Tensor *x = e->in[0];
    int64_t dim[RANK_ANY];
    for (int i = 0, skip = RANK_ANY - x->rank; i < RANK_ANY; i++) dim[i] = i < skip ? 1 : x->dim[i - skip];
    Tensor *y = ev_out(e, 0, x->elem, RANK_ANY, dim), *r = ev_out(e, 1, DT_I32, 0, NULL);
    for (int64_t k = 0; y && k < y->count; k++) ev_copy(y, k, x, k);
    if (r) ev_set_i(r, 0, x->rank);
    return y && r;
}

/* ---- StandAt ---- */

typedef struct StandAt { uint64_t set; int64_t axis, list; } StandAt;
static const AttrSpec STAND_ATTRS[] = {{.name = "axis", .kind = ATTR_INT, .offset = offsetof(StandAt, axis), .required = true}, A_INT(StandAt, list, 0), A_END};
static const Port P_STAND[] = {{"y", DTS_MOVE, 0, 1}, {"x", DTS_MOVE, 0, 0}, PORT_END};
static const Port P_STANDS[] = {{"t", DTS_MOVE, 0, 1}, PORT_END};

/* How many axes of 1 are added, from the ranks of x and y; negative: y does not fit there. */
static int64_t behind(const StandAt *a, int x, int y)
{
    int64_t axis = a->axis < 0 ? a->axis + x : a->axis, add = x - axis - y;
    if (a->list) return y != 1 || add < 0 ? 0 : add;
    return axis < 0 ? -1 : add;
}

static bool stand_infer(Infer *c)
{
    const StandAt *a = ATTRS(c->g, c->n, StandAt);
    if (!infer_need_rank(c, 0, 0, -1) || !infer_need_rank(c, 1, 0, -1)) return false;
    int rank = infer_rank(c, 0);
    int64_t add = behind(a, infer_rank(c, 1), rank);
    Dim dim[RANK_MAX];
    if (add < 0) return diag(c->m->diag, graph_loc(c->g, c->n), E_AXIS, (long long)a->axis, infer_rank(c, 1));
    for (int i = 0; i < rank + add; i++) dim[i] = i < rank ? infer_dim(c, 0, i) : dim_const(c->d, 1);
    return infer_set(c, 0, infer_elem(c, 0), rank + (int)add, dim);
}

static Value stood(Graph *g, Node before, Value y, int rank, int64_t add)
{
    int64_t axes[RANK_MAX];
    for (int64_t k = 0; k < add; k++) axes[k] = rank + k;
    Dim count = dim_const(&g->m->dims, add);
    Value list = graph_const(g, blob_inline(&g->m->blobs, DT_I64, add, axes), type_tensor(&g->m->types, DT_I64, 1, &count), (Name){0});
    return node_out(g, graph_add(g, OP_Unsqueeze, (Value[]){y, list}, 2, 1, NULL, node_rec(g, before)->loc, before), 0);
}

static int rank_of(const Graph *g, Value v) { return v.i && value_type(g, v).i ? value_trec(g, v)->rank : RANK_UNKNOWN; }

static bool stand_expand(Graph *g, Node n)
{
    int rank = rank_of(g, node_in(g, n, 0));
    int64_t add = behind(ATTRS(g, n, StandAt), rank_of(g, node_in(g, n, 1)), rank);
    graph_replace_uses(g, node_out(g, n, 0), add ? stood(g, n, node_in(g, n, 0), rank, add) : node_in(g, n, 0));
    return true;
}

static bool stand_eval(Eval *e)
{
    const Tensor *y = e->in[0];
    int64_t add = behind(ATTRS(e->g, e->n, StandAt), e->in[1]->rank, y->rank), dim[RANK_MAX];
    if (add < 0 || y->rank + add > RANK_MAX) return ev_fail(e, "the second operand does not fit there");
    for (int i = 0; i < y->rank + add; i++) dim[i] = i < y->rank ? y->dim[i] : 1;
    Tensor *t = ev_out(e, 0, y->elem, y->rank + (int)add, dim);
    for (int64_t k = 0; t && k < t->count; k++) ev_copy(t, k, y, k);
    return t != NULL;
}

Value rank_stand_at(Graph *g, Node before, Value y, Value x, int64_t axis, bool list)
{
    StandAt a = {.set = 1 | (list ? 2 : 0), .axis = axis, .list = list};
    int to = rank_of(g, x), rank = rank_of(g, y);
    if (to != RANK_UNKNOWN && rank != RANK_UNKNOWN) {
        int64_t add = behind(&a, to, rank);
        if (add >= 0 && rank + add <= RANK_MAX) return add ? stood(g, before, y, rank, add) : y;
    }
    return node_out(g, graph_add(g, OP_StandAt, (Value[]){y, x}, 2, 1, &a, node_rec(g, before)->loc, before), 0);
}

const OpDesc op_RankOf = {.name = "RankOf", .since = 1, .cls = CLS_OPAQUE, .flags = OPF_INTERNAL | OPF_IRREGULAR, .in = P_HOLDS, .out = P_RANK,
                          .infer = rank_of_infer, .propagate = rank_of_propagate, .lower = rank_of_lower, .eval = rank_of_eval};
const OpDesc op_OfRank = {.name = "OfRank", .since = 1, .cls = CLS_OPAQUE, .flags = OPF_INTERNAL, .in = P_SAME, .out = P_SAME, .attrs = OF_ATTRS,
                          .attrs_size = sizeof(OfRank), .infer = of_rank_infer, .lower = of_rank_lower, .eval = of_rank_eval};
const OpDesc op_AnyRank = {.name = "AnyRank", .since = 1, .cls = CLS_SHAPE, .flags = OPF_INTERNAL | OPF_CHEAP, .in = P_TENSOR, .out = P_ANY,
                           .infer = any_rank_infer, .propagate = any_rank_propagate, .lower = any_rank_lower, .eval = any_rank_eval};
const OpDesc op_StandAt = {.name = "StandAt", .since = 1, .cls = CLS_SHAPE, .flags = OPF_INTERNAL | OPF_CHEAP, .in = P_STAND, .out = P_STANDS, .attrs = STAND_ATTRS,
                           .attrs_size = sizeof(StandAt), .infer = stand_infer, .expand = stand_expand, .eval = stand_eval};
