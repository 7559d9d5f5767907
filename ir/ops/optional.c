/* optional.c: Optional, OptionalHasElement, OptionalGetElement.
 * An optional is a sequence of at most one element, which may be a tensor or a sequence; where a tensor or a sequence is
 * given in its place, it is there. */
#include "ir/graph/eval.h"
#include "ir/graph/infer.h"
#include "ir/ops/grad.h"
#include "ir/ops/sequence.h"

/* ---- Optional ---- */

static const Port P_VALUE[] = {{"input", DTS_MOVE, PORT_OPTIONAL | PORT_ANY_KIND, 0}, PORT_END};
static const Port P_OPT_OUT[] = {{"output", DTS_MOVE, PORT_ANY_KIND, 0}, PORT_END};
typedef struct Optional {
    uint64_t set;
    TypeId type;
    uint32_t pad;
} Optional;
static const AttrSpec OPT_ATTRS[] = {A_FULL_TYPE(Optional, type), A_END};

static bool opt_infer(Infer *c)
{
    TypeId of = infer_has(c, 0) ? value_type(c->g, node_in(c->g, c->n, 0)) : ATTRS(c->g, c->n, Optional)->type;
    if (!of.i && !infer_has(c, 0)) return infer_fail(c, "neither a value nor its type is given");
    return !of.i || infer_set_type(c, 0, type_opt(&c->m->types, of));
}

static bool opt_lower(Lw *l, Node n)
{
    KBuf x = lw_has(l, 0) ? lw_in(l, 0) : (KBuf){0}, o = lw_out(l, 0);
    lw_call(l, l->steps, "rt_seq_clear", 1, (KArg[]){{.kind = KA_BUF, .buf = o}});
    if (x.i) sequence_put(l, o, dim_const(&l->m->dims, 0), x, value_type(l->g, node_in(l->g, n, 0)));
    return true;
}

static bool opt_eval(Eval *e)
{
    Tensor *o = e->out[0] = arena_new(e->arena, Tensor);
    o->kind = TY_OPT;
    o->n_item = ev_has(e, 0);
    o->item = e->in;
    return true;
}

const OpDesc op_Optional = {.name = "Optional",
                            .since = 15,
                            .cls = CLS_OPAQUE,
                            .flags = OPF_IRREGULAR,
                            .in = P_VALUE,
                            .out = P_OPT_OUT,
                            .attrs = OPT_ATTRS,
                            .attrs_size = sizeof(Optional),
                            .infer = opt_infer,
                            .lower = opt_lower,
                            .grad = grad_optional,
                            .eval = opt_eval};

/* ---- OptionalHasElement, OptionalGetElement ---- */

static const Port P_OPT[] = {{"input", DTS_MOVE, PORT_OPTIONAL | PORT_ANY_KIND, 0}, PORT_END};
static const Port P_GET[] = {{"input", DTS_MOVE, PORT_ANY_KIND, 0}, PORT_END};
static const Port P_HAS_OUT[] = {{"output", DTS_BOOL, 0, 0}, PORT_END};
static const Port P_GET_OUT[] = {{"output", DTS_MOVE, PORT_ANY_KIND, 0}, PORT_END};

static bool has_infer(Infer *c) { return infer_set(c, 0, DT_BOOL, 0, NULL); }

static bool has_lower(Lw *l, Node n)
{
    Dims *d = &l->m->dims;
    Dim has = dim_const(d, lw_has(l, 0));
    if (lw_has(l, 0) && value_trec(l->g, node_in(l->g, n, 0))->kind == TY_OPT) {
        Sym s = sym_new(d, module_fresh_name(l->m, "has"), SYM_NODE, 0, 1);
        lw_call(l, l->steps, "rt_seq_length", 2,
                (KArg[]){{.kind = KA_BUF, .buf = lw_in(l, 0)}, {.kind = KA_SYM, .sym = s}});
        has = dim_sym(d, s);
    }
    KBuf o = lw_out(l, 0);
    Kb *b = lw_kernel(l, "has_element");
    kb_store(b, kb_param(b, o, true), NULL, kb_bin(b, KOP_NE, kb_dim(b, has), kb_i(b, 0)));
    lw_kernel_end(l);
    return true;
}

static bool has_eval(Eval *e)
{
    if (!ev_out(e, 0, DT_BOOL, 0, NULL)) return false;
    bool there = ev_has(e, 0) && (e->in[0]->kind != TY_OPT || e->in[0]->n_item);
    ev_set_i(e->out[0], 0, there);
    return true;
}

/* A type that holds whatever the optional may: dims that nodes decide are the element's own. */
static TypeId any_of(Infer *c, TypeId of)
{
    TypeRec t = *type_rec(&c->m->types, of);
    if (t.kind != TY_TENSOR || t.rank == RANK_UNKNOWN) return of;
    for (int i = 0; i < t.rank; i++)
        if (dim_has_kind(c->d, t.dim[i], SYM_NODE)) t.dim[i] = infer_fresh(c, "opt", 0, INT64_MAX);
    return type_intern(&c->m->types, &t);
}

static bool get_infer(Infer *c)
{
    const TypeRec *t = infer_in(c, 0);
    if (t->kind != TY_OPT) return infer_like(c, 0, 0);
    const TypeRec *of = type_rec(&c->m->types, t->of);
    TypeId had = value_type(c->g, node_out(c->g, c->n, 0));
    if (had.i && (of->kind != TY_TENSOR || of->rank != RANK_UNKNOWN)) return true;   /* keep its symbols */
    return infer_set_type(c, 0, any_of(c, t->of));
}

static bool get_lower(Lw *l, Node n)
{
    const TypeRec *t = value_trec(l->g, node_in(l->g, n, 0));
    KBuf s = lw_in(l, 0);
    if (t->kind == TY_OPT) return sequence_get(l, s, dim_const(&l->m->dims, 0));
    if (t->kind == TY_TENSOR) lw_view(l, 0, 0);
    else lw_copy(l, l->steps, lw_out(l, 0), s);
    return true;
}

static bool get_eval(Eval *e)
{
    if (e->in[0]->kind == TY_OPT && !e->in[0]->n_item) return ev_fail(e, "the optional is empty");
    e->out[0] = e->in[0]->kind == TY_OPT ? e->in[0]->item[0] : e->in[0];
    return true;
}

const OpDesc op_OptionalHasElement = {.name = "OptionalHasElement", .since = 28, .cls = CLS_OPAQUE, .flags = OPF_IRREGULAR, .in = P_OPT, .out = P_HAS_OUT,
                                      .infer = has_infer, .lower = has_lower, .eval = has_eval};
const OpDesc op_OptionalGetElement = {.name = "OptionalGetElement", .since = 28, .cls = CLS_OPAQUE, .flags = OPF_IRREGULAR, .knows = 1, .in = P_GET, .out = P_GET_OUT,
                                      .infer = get_infer, .lower = get_lower, .grad = grad_optional_get, .eval = get_eval};
