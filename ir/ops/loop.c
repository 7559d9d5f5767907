/* loop.c: Loop: for (iter = 0; iter < M && cond; iter++) (cond, carried..., scan...) = body(iter, cond, carried...).
 * Operands: M or none, cond or none, carried..., captures... The body's region takes iter, cond, carried..., captures... Types of carried values are the join of
 * their initial and their yielded types, found by iterating (each join only adds symbols, so it ends): a dim that changes becomes a node symbol of the loop.
 *
 * Lowering. Carried tensors live in boxes, carried sequences in slots; the symbols in their dims are carries of the `while` step and assigned together. At the end
 * of an iteration all yielded tensors are moved into them, from boxes of the body's own: stored there by the node that makes them where their size is known before,
 * else copied. So yields may read old values in any order.
 * Scan outputs collect in a sequence and are stacked behind the loop. */
#include "base/bug.h"
#include "ir/graph/eval.h"
#include "ir/graph/infer.h"
#include "ir/graph/lower.h"
#include "ir/ops/grad.h"
#include "ir/graph/loop_box.h"
#include "ir/ops/sequence.h"
#include <string.h>

static const Port IN[] = {{"M", DTS(DT_I64), PORT_OPTIONAL, 0}, {"cond", DTS_BOOL, PORT_OPTIONAL, 0},
                          {"v_initial", DTS_MOVE, PORT_VARIADIC | PORT_OPTIONAL | PORT_ANY_KIND, 0}, PORT_END};
static const Port OUT[] = {{"v_final_and_scan_outputs", DTS_MOVE, PORT_VARIADIC | PORT_ANY_KIND, 0}, PORT_END};
typedef struct Loop { uint64_t set; } Loop;
static const AttrSpec ATTRS_[] = {{.name = "body", .kind = ATTR_GRAPH, .def_i = 0}, A_END};

static uint32_t n_carried(const Graph *g, Node n) { return node_n_in(g, n) - 2 - node_rec(g, n)->n_capture; }

/* Forget what an attempt with narrower types found. */
static void clear_types(Graph *g)
{
    for (Node n = graph_first(g); n.i; n = node_next(g, n))
        for (uint32_t r = 0; r < node_n_out(g, n); r++) {
            value_rec(g, node_out(g, n, r))->type = (TypeId){0};
            value_rec(g, node_out(g, n, r))->content = NULL;
            value_rec(g, node_out(g, n, r))->known = NULL;
        }
    for (Node n = graph_first(g); n.i; n = node_next(g, n))
        for (uint32_t k = 0; k < node_rec(g, n)->n_region; k++) clear_types(node_rec(g, n)->region[k]);
}

/* A dim that is no longer the initial value's is the loop's own symbol already: whatever the body yields there, it stays that symbol. */
static TypeId keep_symbols(Infer *c, TypeId joined, TypeId at, TypeId init)
{
    const TypeRec *a = type_rec(&c->m->types, at), *i = type_rec(&c->m->types, init);
    TypeRec t = *type_rec(&c->m->types, joined);
    if (t.kind != TY_TENSOR && a->kind == t.kind && i->kind == t.kind) {
        t.of = keep_symbols(c, t.of, a->of, i->of);
        return type_intern(&c->m->types, &t);
    }
    if (t.kind == TY_TENSOR && a->rank == t.rank && t.rank != RANK_UNKNOWN && i->rank == RANK_UNKNOWN) return at;
    if (t.kind != TY_TENSOR || a->kind != TY_TENSOR || i->kind != TY_TENSOR || t.rank == RANK_UNKNOWN || a->rank != t.rank || i->rank != t.rank) return joined;
    for (int k = 0; k < t.rank; k++)
        if (!dim_same(a->dim[k], i->dim[k])) t.dim[k] = a->dim[k];
    return type_intern(&c->m->types, &t);
}

/* The initial value is a sequence that holds nothing: its elements' type is the one that the body inserts, of any dims. */
static bool starts_empty(Infer *c, uint32_t k)
{
    Node d = value_rec(c->g, node_in(c->g, c->n, 2 + k))->def;
    return d.i && node_rec(c->g, d)->op == OP_SequenceEmpty;
}

static TypeId of_inserted(Infer *c, TypeId at, TypeId yielded)
{
    const TypeRec *a = type_rec(&c->m->types, type_rec(&c->m->types, at)->of);
    const TypeRec *y = type_rec(&c->m->types, type_rec(&c->m->types, yielded)->of);
    if (a->rank != RANK_UNKNOWN || y->kind != TY_TENSOR || y->rank == RANK_UNKNOWN || a->elem != y->elem) return at;
    TypeRec t = *y;
    for (int i = 0; i < t.rank; i++) t.dim[i] = infer_fresh(c, "seq", 0, INT64_MAX);
    return type_seq(&c->m->types, type_intern(&c->m->types, &t));
}

/* Carried value k is an optional, and the body yields the element alone: it is wrapped. */
static Node wrap(Graph *b, uint32_t k, Loc loc)
{
    Value *out = arena_memdup(b->m->arena, b->out.p, b->out.n * sizeof *b->out.p);
    Node o = graph_add(b, OP_Optional, &out[1 + k], 1, 1, NULL, loc, NODE_NONE);
    out[1 + k] = node_out(b, o, 0);
    graph_set_outputs(b, out, b->out.n);
    return o;
}

/* What the loop gives is then the element, too; when there is no iteration, the one that the initial value holds. */
static bool unwrap(Infer *c, uint32_t k)
{
    Value v = node_out(c->g, c->n, k);
    Node e = graph_add(c->g, OP_OptionalGetElement, &v, 1, 1, NULL, node_rec(c->g, c->n)->loc, node_next(c->g, c->n));
    graph_replace_uses(c->g, v, node_out(c->g, e, 0));
    graph_set_input(c->g, e, 0, v);
    return infer_node(c->g, e);
}

/* Carried value k changes its rank: a sequence of one is carried instead. */
static bool box(Infer *c, uint32_t k)
{
    Node q = loop_box(c->g, c->n, 2 + k);
    const Graph *b = node_rec(c->g, c->n)->region[0];
    if (!infer_node(c->g, q)) return false;
    value_rec(b, b->in.p[2 + k])->type = value_type(c->g, node_out(c->g, q, 0));
    return true;
}

/* Scan outputs whose rank only the run decides are carried as sequences. *any: there are. */
static bool collect(Infer *c, bool *any)
{
    const NodeRec *n = node_rec(c->g, c->n);
    Graph *b = n->region[0];
    *any = false;
    for (uint32_t r = n_carried(c->g, c->n); r < node_n_out(c->g, c->n); r++) {
        const TypeRec *t = value_trec(b, b->out.p[1 + r]);
        if (t->kind != TY_TENSOR || t->rank != RANK_UNKNOWN) continue;
        uint32_t nc = n_carried(c->g, c->n);
        loop_collect(c->g, c->n, nc, r, 0, false);
        Value empty = node_in(c->g, c->n, 2 + nc);
        if (!infer_node(c->g, value_rec(c->g, empty)->def)) return false;
        value_rec(b, b->in.p[2 + nc])->type = value_type(c->g, empty);
        *any = true;
    }
    return true;
}

static bool has_regions(const Graph *g)
{
    for (Node n = graph_first(g); n.i; n = node_next(g, n))
        if (node_rec(g, n)->n_region) return true;
    return false;
}

/* The types of what is carried, joined over one attempt. *again: they have changed, the body stands there to be inferred
 * anew. `whole` (or none): the body as it was before the attempt, in which no branch is dead that narrower types kill. */
static bool settle(Infer *c, Graph *whole, uint64_t *wrapped, bool *again)
{
    Types *ty = &c->m->types;
    NodeRec *n = node_rec(c->g, c->n);
    Graph *b = n->region[0];
    uint32_t nc = n_carried(c->g, c->n);
    TypeId *to = arena_array(c->m->arena, TypeId, nc + 1);
    *again = false;
    for (uint32_t k = 0; k < nc; k++) {
        TypeId at = value_type(b, b->in.p[2 + k]), y = value_type(b, b->out.p[1 + k]), init = value_type(c->g, node_in(c->g, c->n, 2 + k));
        if (k < 64 && y.i && type_rec(ty, at)->kind == TY_OPT && type_rec(ty, y)->kind != TY_OPT) {
            if (!infer_node(b, wrap(b, k, n->loc))) return false;
            if (whole) wrap(whole, k, n->loc);
            *wrapped |= UINT64_C(1) << k;
        }
        to[k] = at.i == init.i && starts_empty(c, k) && type_rec(ty, y)->kind == TY_SEQ ? of_inserted(c, at, y) : at;
        if (to[k].i == at.i) {
            if (!infer_join(c->m, at, value_type(b, b->out.p[1 + k]), "loop", &to[k]))
                return infer_fail(c, "carried value %u changes its type in the body", k);
            to[k] = keep_symbols(c, to[k], at, init);
        }
        *again |= to[k].i != at.i;
    }
    if (!*again) return true;
    if (whole) graph_set_region(c->g, c->n, (const Graph *const[]){b = whole}, 1);
    clear_types(b);
    for (uint32_t k = 0; k < nc; k++) {
        const TypeRec *t = type_rec(ty, to[k]);
        if (t->kind != TY_TENSOR || t->rank != RANK_UNKNOWN) value_rec(b, b->in.p[2 + k])->type = to[k];
        else if (!box(c, k)) return false;
    }
    return true;
}

static bool infer(Infer *c)
{
    for (uint32_t k = 0; k < 2; k++)   /* may make nodes */
        if (infer_has(c, k) && !infer_one_element(c, k, -1)) return false;
    NodeRec *n = node_rec(c->g, c->n);
    Graph *b = n->region[0];
    Types *ty = &c->m->types;
    uint32_t nc = n_carried(c->g, c->n), n_out = node_n_out(c->g, c->n);
    if (b->in.n != 2 + nc + n->n_capture) return infer_fail(c, "the body takes %u inputs, %u are given", b->in.n - n->n_capture, 2 + nc);
    if (b->out.n < 1 + nc || b->out.n - 1 != n_out) return infer_fail(c, "the body gives %u results, expected %u", b->out.n, n_out + 1);
    bool first = !value_type(b, b->in.p[0]).i || !value_type(b, b->out.p[0]).i;
    value_rec(b, b->in.p[0])->type = type_tensor(ty, DT_I64, 0, NULL);
    value_rec(b, b->in.p[1])->type = type_tensor(ty, DT_BOOL, 0, NULL);
    for (uint32_t k = 0; k < nc; k++) {
        TypeId t = value_type(c->g, node_in(c->g, c->n, 2 + k)), *at = &value_rec(b, b->in.p[2 + k])->type;
        const TypeRec *begins = type_rec(ty, t);
        /* its caller makes versions or arms that know; what changes its rank in the body is boxed below */
        if (begins->kind == TY_TENSOR && begins->rank == RANK_UNKNOWN) return infer_fail(c, "carried value %u begins without a known rank", k);
        if (first || !at->i) *at = t;
    }
    for (uint32_t k = 2 + nc; k < b->in.n; k++) {
        value_rec(b, b->in.p[k])->type = value_type(c->g, node_in(c->g, c->n, k));
        value_rec(b, b->in.p[k])->content = value_rec(c->g, node_in(c->g, c->n, k))->content;
    }
    uint64_t wrapped = 0;
    bool again = true;
    for (int round = 0; again; round++) {
        if (round > 64) return infer_fail(c, "the types of carried values do not settle");
        uint32_t checks = c->m->check.n;
        Graph *whole = has_regions(b) ? graph_clone(b) : NULL;
        c->m->check.n = checks;
        c->m->in_loop++;
        bool ok = infer_graph(b);
        c->m->in_loop--;
        if (!ok || !settle(c, whole, &wrapped, &again)) return false;
        if (!again) {
            if (!collect(c, &again)) return false;
            if (again) clear_types(b);
        }
        b = node_rec(c->g, c->n)->region[0];
        if (again) c->m->check.n = checks; /* of this attempt: made anew */
    }
    nc = n_carried(c->g, c->n);
    for (uint32_t k = 0; k < nc; k++) {
        const TypeRec *of = value_trec(b, b->in.p[2 + k]);
        if (of->kind == TY_SEQ && starts_empty(c, k)) sequence_empty_of(c->g, value_rec(c->g, node_in(c->g, c->n, 2 + k))->def, type_rec(ty, of->of)->elem);
        value_rec(c->g, node_out(c->g, c->n, k))->type = value_type(b, b->in.p[2 + k]);
        if (k < 64 && wrapped >> k & 1 && !unwrap(c, k)) return false;
    }
    for (uint32_t r = nc; r < n_out; r++) {
        const TypeRec *t = value_trec(b, b->out.p[1 + r]);
        if (t->kind != TY_TENSOR) return infer_fail(c, "scan output %u must be a tensor", r);
        if (t->rank == RANK_MAX) return infer_fail(c, "scan output %u has too many dimensions", r);
        TypeRec s = *t;
        Dim dim[RANK_MAX];
        dim[0] = infer_node_dim(c, r, 0, 0, INT64_MAX);
        for (int i = 0; i < s.rank; i++)
            dim[i + 1] = dim_has_kind(c->d, s.dim[i], SYM_NODE) ? infer_node_dim(c, r, i + 1, 0, INT64_MAX) : s.dim[i];
        if (!infer_set(c, r, s.elem, s.rank + 1, dim)) return false;
    }
    return true;
}

/* ---- lowering ---- */

/* The loop's own symbols in the dims of carried values. */
typedef struct Carry { Sym sym; Dim init, next; } Carry;
typedef VEC(Carry) Carries;

static void loop_symbols(Lw *l, const TypeRec *t, const TypeRec *init, const TypeRec *next, Carries *out)
{
    Dims *d = &l->m->dims;
    for (int i = 0; t->kind == TY_TENSOR && i < t->rank; i++) {
        const DimRec *r = &d->rec.p[t->dim[i].i];
        if (r->kind != DIM_SYM || d->sym.p[r->sym.i].kind != SYM_NODE || dim_same(t->dim[i], init->dim[i])) continue;
        bool have = false;
        for (uint32_t k = 0; k < out->n; k++) have |= out->p[k].sym.i == r->sym.i;
        if (!have) vec_push(l->m->arena, out, (Carry){r->sym, init->dim[i], next->dim[i]});
    }
}

static void bind(Lw *l, Sym s, Dim v)
{
    KStep *st = lw_step(l, KST_BIND);
    st->sym = s;
    st->a = v;
}

static KBuf scalar_of(Lw *l, DType t, Dim v)
{
    KBuf b = lw_temp(l, t, 0, NULL);
    Kb *k = lw_kernel(l, "iter");
    kb_store(k, kb_param(k, b, true), NULL, kb_cast(k, t, kb_dim(k, v)));
    lw_kernel_end(l);
    return b;
}

static KBuf carried_place(Lw *l, TypeId type)
{
    const TypeRec *t = type_rec(&l->m->types, type);
    KBuf b = kbuf_new(l->k, t->kind == TY_TENSOR ? KS_BOX : KS_SEQ, (Name){0}, t->kind == TY_TENSOR ? t->elem : DT_NONE,
                      t->kind == TY_TENSOR ? t->rank : 0, t->kind == TY_TENSOR ? t->dim : NULL, l->loc);
    if (t->kind == TY_TENSOR) lw_realloc(l, b);
    else kbuf(l->k, b)->seq = type;
    return b;
}

/* A tensor that a node of the body makes, of dims that no node binds. */
static bool sized(Lw *l, const Graph *b, Value v)
{
    const TypeRec *t = value_trec(b, v);
    for (int i = 0; t->kind == TY_TENSOR && i < t->rank; i++)
        if (dim_has_kind(&l->m->dims, dim_resolve(&l->m->dims, t->dim[i]), SYM_NODE)) return false;
    return t->kind == TY_TENSOR && value_rec(b, v)->def.i && !value_rec(b, v)->content;
}

static bool lower(Lw *l, Node n)
{
    Graph *g = l->g, *b = node_rec(g, n)->region[0];
    Dims *d = &l->m->dims;
    uint32_t nc = n_carried(g, n), n_out = node_n_out(g, n), n_cap = node_rec(g, n)->n_capture;
    Dim max = dim_const(d, INT64_MAX), go = dim_const(d, 1);
    if (lw_has(l, 0) && !lw_values_n(l, 0, &max, 1)) return false;
    if (lw_has(l, 1) && !lw_values_n(l, 1, &go, 1)) return false;
    KBuf *in_buf = arena_array(l->m->arena, KBuf, b->in.n + 1), *out_buf = arena_array(l->m->arena, KBuf, b->out.n + 1);
    KBuf *carry = in_buf + 2, *scan = arena_array(l->m->arena, KBuf, n_out + 1);
    Dim **scan_dim = arena_array(l->m->arena, Dim *, n_out + 1);
    for (uint32_t k = 0; k < n_cap; k++) in_buf[2 + nc + k] = lw_in(l, 2 + nc + k);

    /* the state before the first iteration */
    Carries syms = {0};
    for (uint32_t k = 0; k < nc; k++)
        loop_symbols(l, value_trec(b, b->in.p[2 + k]), value_trec(g, node_in(g, n, 2 + k)), value_trec(b, b->out.p[1 + k]), &syms);
    for (uint32_t k = 0; k < syms.n; k++) bind(l, syms.p[k].sym, syms.p[k].init);
    for (uint32_t k = 0; k < nc; k++) {
        KBuf from = lw_in(l, 2 + k);
        carry[k] = carried_place(l, value_type(b, b->in.p[2 + k]));
        lw_copy(l, l->steps, carry[k], from);
    }
    for (uint32_t r = nc; r < n_out; r++) {
        scan[r] = kbuf_new(l->k, KS_SEQ, (Name){0}, DT_NONE, 0, NULL, l->loc);
        kbuf(l->k, scan[r])->seq = type_seq(&l->m->types, value_type(b, b->out.p[1 + r]));
        lw_call(l, l->steps, "rt_seq_clear", 1, (KArg[]){{.kind = KA_BUF, .buf = scan[r]}});
        const TypeRec *t = value_trec(b, b->out.p[1 + r]);
        scan_dim[r] = arena_array(l->m->arena, Dim, t->rank + 1);
        for (int i = 0; i < t->rank; i++) {   /* what only the body knows outlives it in symbols of their own; without an iteration they are 0 */
            scan_dim[r][i] = t->dim[i];
            if (!dim_has_kind(d, t->dim[i], SYM_NODE)) continue;
            Sym s = sym_new(d, module_fresh_name(l->m, "scan"), SYM_NODE, 0, INT64_MAX);
            bind(l, s, dim_const(d, 0));
            scan_dim[r][i] = dim_sym(d, s);
        }
    }

    Sym iter = sym_new(d, module_fresh_name(l->m, "iter"), SYM_NODE, 0, INT64_MAX);
    Sym cond = sym_new(d, module_fresh_name(l->m, "cond"), SYM_NODE, 0, 1);
    KStep *w = lw_step(l, KST_WHILE);
    KSteps *body = arena_new(l->k->arena, KSteps), *outer = l->steps;
    w->a = dim_mul(d, dim_sym(d, cond), dim_min(d, dim_const(d, 1), dim_max(d, dim_const(d, 0), dim_sub(d, max, dim_sym(d, iter)))));
    w->body = body;

    /* the body */
    l->steps = body;
    in_buf[0] = value_used(b, b->in.p[0]) ? scalar_of(l, DT_I64, dim_sym(d, iter)) : (KBuf){0};
    in_buf[1] = value_used(b, b->in.p[1]) ? scalar_of(l, DT_BOOL, dim_const(d, 1)) : (KBuf){0};
    KBuf *next = arena_array(l->m->arena, KBuf, nc + 1), *place = out_buf + 1;
    for (uint32_t k = 0; k < nc; k++) /* stored where it stays, if its size is known by now */
        if (sized(l, b, b->out.p[1 + k])) place[k] = next[k] = carried_place(l, value_type(b, b->out.p[1 + k]));
    bool ok = lw_region(l, 0, body, in_buf, b->in.n, out_buf);
    if (!ok) return false;
    Sym next_cond = lw_load_sym(l, out_buf[0], dim_const(d, 0), "cond", 0, 1);
    for (uint32_t r = nc; r < n_out; r++) {
        const TypeRec *t = value_trec(b, b->out.p[1 + r]);
        for (int i = 0; i < t->rank; i++)
            if (!dim_same(scan_dim[r][i], t->dim[i])) bind(l, d->rec.p[scan_dim[r][i].i].sym, t->dim[i]);
        lw_call(l, body, "rt_seq_insert", 3, (KArg[]){{.kind = KA_BUF, .buf = scan[r]}, {.kind = KA_BUF, .buf = out_buf[1 + r]}, {.kind = KA_DIM, .dim = dim_sym(d, iter)}});
    }
    for (uint32_t k = 0; k < nc; k++) {
        if (out_buf[1 + k].i == carry[k].i || (next[k].i && out_buf[1 + k].i == next[k].i)) continue;   /* passed through; there already */
        if (!next[k].i) next[k] = carried_place(l, value_type(b, b->out.p[1 + k]));
        lw_copy(l, body, next[k], out_buf[1 + k]);
    }
    for (uint32_t k = 0; k < nc; k++) {
        if (!next[k].i) continue;
        KStep *m = lw_step(l, KST_MOVE);
        m->buf = carry[k];
        m->src = next[k];
    }
    l->steps = outer;

    /* iteration, condition and dims change together */
    w->n_carry = 2 + syms.n;
    w->carry = arena_array(l->k->arena, Sym, w->n_carry);
    w->init = arena_array(l->k->arena, Dim, w->n_carry);
    w->next_val = arena_array(l->k->arena, Dim, w->n_carry);
    w->carry[0] = iter, w->init[0] = dim_const(d, 0), w->next_val[0] = dim_add(d, dim_sym(d, iter), dim_const(d, 1));
    w->carry[1] = cond, w->init[1] = go, w->next_val[1] = dim_sym(d, next_cond);
    for (uint32_t k = 0; k < syms.n; k++) {
        w->carry[2 + k] = syms.p[k].sym;
        w->init[2 + k] = dim_sym(d, syms.p[k].sym);
        w->next_val[2 + k] = syms.p[k].next;
    }

    for (uint32_t k = 0; k < nc; k++) lw_set_out(l, k, carry[k]);
    for (uint32_t r = nc; r < n_out; r++) {
        const TypeRec *t = value_trec(b, b->out.p[1 + r]);
        Dim dim[RANK_MAX];
        dim[0] = dim_sym(d, iter);
        for (int i = 0; i < t->rank; i++) dim[i + 1] = scan_dim[r][i];
        lw_bind_dims(l, r, dim);
        KBuf o = lw_out(l, r);
        lw_call(l, l->steps, "rt_seq_stack", 2, (KArg[]){{.kind = KA_BUF, .buf = scan[r]}, {.kind = KA_BUF, .buf = o}});
    }
    return true;
}

/* ---- reference ---- */

static bool eval(Eval *e)
{
    Graph *b = node_rec(e->g, e->n)->region[0];
    uint32_t nc = n_carried(e->g, e->n), n_cap = node_rec(e->g, e->n)->n_capture;
    int64_t max = ev_has(e, 0) ? ev_i(e->in[0], 0) : INT64_MAX;
    bool go = ev_has(e, 1) ? ev_i(e->in[1], 0) != 0 : true;
    Tensor **x = arena_array(e->arena, Tensor *, b->in.n + 1), **y = arena_array(e->arena, Tensor *, b->out.n + 1);
    VEC(Tensor *) *scan = arena_alloc(e->arena, sizeof *scan * (e->n_out + 1));
    memcpy(x + 2, e->in + 2, sizeof *x * (nc + n_cap));
    int64_t it = 0;
    for (; it < max && go; it++) {
        x[0] = tensor_new(e->arena, DT_I64, 0, NULL);
        ev_set_i(x[0], 0, it);
        x[1] = tensor_new(e->arena, DT_BOOL, 0, NULL);
        ev_set_i(x[1], 0, go);
        if (!eval_graph(e->arena, b, x, y, &e->why)) return false;
        go = ev_i(y[0], 0) != 0;
        for (uint32_t k = 0; k < nc; k++) x[2 + k] = y[1 + k];
        for (uint32_t r = nc; r < e->n_out; r++) vec_push(e->arena, &scan[r], y[1 + r]);
    }
    for (uint32_t k = 0; k < nc; k++) e->out[k] = x[2 + k];
    for (uint32_t r = nc; r < e->n_out; r++) {
        const TypeRec *t = value_trec(b, b->out.p[1 + r]);
        int64_t dim[RANK_MAX + 1];
        dim[0] = it;
        for (int i = 0; i < t->rank; i++)
            if (it) dim[i + 1] = scan[r].p[0]->dim[i];
            else if (!dim_is_const(&e->g->m->dims, t->dim[i], &dim[i + 1])) dim[i + 1] = 0;
        Tensor *o = ev_out(e, r, t->elem, t->rank + 1, dim);
        if (!o) return false;
        for (int64_t k = 0; k < o->count; k++) {
            int64_t per = o->count / it;
            if (scan[r].p[k / per]->count != per) return ev_fail(e, "scan output %u changes its shape", r);
            ev_copy(o, k, scan[r].p[k / per], k % per);
        }
    }
    return true;
}

const OpDesc op_Loop = {.name = "Loop", .since = 25, .cls = CLS_CONTROL, .flags = OPF_IRREGULAR, .one = 3, .in = IN, .out = OUT, .attrs = ATTRS_, .attrs_size = sizeof(Loop),
                        .infer = infer, .lower = lower, .grad = grad_loop, .eval = eval};
