/* rank.c: internal operators for ranks that the run decides (ir/graph/arms.c makes the first two, passes/graph/rank.c the third):
 *   RankOf    the rank of what a sequence (with a position) or an optional holds
 *               %n = RankOf(%q, %i) : i64[1]
 *   OfRank    the same sequence or optional, whose elements are tensors of that rank, and any dims; of a tensor: the same,
 *             does not type-check when it has another rank
 *               %q2 = OfRank(%q) {rank=2} : seq<f32[a,b]>
 *   AnyRank   a result of the model whose rank the run decides: with RANK_ANY axes, and its rank
 *               %y, %r = AnyRank(%x) : f32[n,m,1,1,1,1], i32[]     x: f32[n,m] */
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
    uint32_t count;
    Sym s = sym_new(d, module_fresh_name(l->m, "rank"), SYM_NODE, 0, RANK_MAX);
    if (lw_has(l, 1) && !lw_values(l, 1, &pos, 1, &count)) return false;
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
    for (int i = 0; i < RANK_ANY; i++) dim[i] = i < infer_rank(c, 0) ? infer_dim(c, 0, i) : dim_const(c->d, 1);
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
    for (int i = 0; i < RANK_ANY; i++) dim[i] = i < x->rank ? x->dim[i] : 1;
    Tensor *y = ev_out(e, 0, x->elem, RANK_ANY, dim), *r = ev_out(e, 1, DT_I32, 0, NULL);
    for (int64_t k = 0; y && k < y->count; k++) ev_copy(y, k, x, k);
    if (r) ev_set_i(r, 0, x->rank);
    return y && r;
}

const OpDesc op_RankOf = {.name = "RankOf", .since = 1, .cls = CLS_OPAQUE, .flags = OPF_INTERNAL | OPF_IRREGULAR, .in = P_HOLDS, .out = P_RANK,
                          .infer = rank_of_infer, .propagate = rank_of_propagate, .lower = rank_of_lower, .eval = rank_of_eval};
const OpDesc op_OfRank = {.name = "OfRank", .since = 1, .cls = CLS_OPAQUE, .flags = OPF_INTERNAL, .in = P_SAME, .out = P_SAME, .attrs = OF_ATTRS,
                          .attrs_size = sizeof(OfRank), .infer = of_rank_infer, .lower = of_rank_lower, .eval = of_rank_eval};
const OpDesc op_AnyRank = {.name = "AnyRank", .since = 1, .cls = CLS_SHAPE, .flags = OPF_INTERNAL | OPF_CHEAP, .in = P_TENSOR, .out = P_ANY,
                           .infer = any_rank_infer, .propagate = any_rank_propagate, .lower = any_rank_lower, .eval = any_rank_eval};
