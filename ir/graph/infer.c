/* infer.c: the driver of type inference and the helpers that hooks use.
 *
 * For each node, in order: the ports of the table are checked (arity, kinds, element types, equal type variables), then the op's `infer` hook (or its class's default)
 * sets result types, then `propagate` sets the contents of small integer results. Inference may run again at any time: node symbols of an earlier run are
 * found through the result's old type and reused. What must be equal and is not provably so is assumed (dims merge their classes) and left as a CheckRec. */
#include "ir/graph/infer.h"
#include "base/bug.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- reading operands ---- */

static const TypeRec NO_TYPE = {.kind = TY_NONE, .rank = RANK_UNKNOWN};

bool infer_has(const Infer *c, uint32_t k) { return node_in(c->g, c->n, k).i != 0; }

const TypeRec *infer_in(const Infer *c, uint32_t k)
{
    Value v = node_in(c->g, c->n, k);
    if (!v.i || !value_type(c->g, v).i) return &NO_TYPE;
    return value_trec(c->g, v);
}

int infer_rank(const Infer *c, uint32_t k)
{
    const TypeRec *t = infer_in(c, k);
    return t->kind == TY_TENSOR && t->rank != RANK_UNKNOWN ? t->rank : -1;
}

Dim infer_dim(const Infer *c, uint32_t k, int axis)
{
    const TypeRec *t = infer_in(c, k);
    assert(t->kind == TY_TENSOR && axis >= 0 && axis < t->rank);
    return dim_resolve(c->d, t->dim[axis]);
}

DType infer_elem(const Infer *c, uint32_t k)
{
    const TypeRec *t = infer_in(c, k);
    return t->kind == TY_TENSOR ? t->elem : DT_NONE;
}

bool infer_fail(Infer *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    const char *text = arena_vprintf(c->m->arena, fmt, ap);
    va_end(ap);
    return diag(c->m->diag, graph_loc(c->g, c->n), E_SHAPE, text);
}

bool infer_need_rank(Infer *c, uint32_t k, int min, int max)
{
    Value v = node_in(c->g, c->n, k);
    int r = infer_rank(c, k);
    c->m->infer_open += r < 0;
    if (r < 0 && v.i && c->g == c->m->entry && !value_rec(c->g, v)->def.i)
        return infer_fail(c, "the model does not say the rank of its input '%s': give it a shape, --shape %s=AxB (? for what the run decides)",
                          value_name(c->g, v), value_name(c->g, v));
    if (r < 0) return diag(c->m->diag, graph_loc(c->g, c->n), E_UNKNOWN_RANK, (int)k, v.i ? value_name(c->g, v) : "");
    if (r >= min && (max < 0 || r <= max)) return true;
    const char *want = max < 0 ? arena_printf(c->m->arena, "at least %d", min)
                     : min == max ? arena_printf(c->m->arena, "%d", min) : arena_printf(c->m->arena, "%d to %d", min, max);
    return diag(c->m->diag, graph_loc(c->g, c->n), E_RANK, (int)k, value_name(c->g, v), r, c->op->name, want);
}

bool infer_one_element(Infer *c, uint32_t k, int rank_max)
{
    int64_t n;
    Value v = node_in(c->g, c->n, k);
    if (!infer_need_rank(c, k, 0, -1)) return false;
    if (dim_is_const(c->d, dim_resolve(c->d, type_count(&c->m->types, value_type(c->g, v))), &n)) {
        if (n != 1) return infer_fail(c, "input %u ('%s') has %lld elements, %s takes one", k, value_name(c->g, v), (long long)n, c->op->name);
        if (rank_max < 0 || infer_rank(c, k) <= rank_max) return true;
    }
    Dim none = dim_const(c->d, 0);
    Value scalar = graph_const(c->g, blob_inline(&c->m->blobs, DT_I64, 0, ""), type_tensor(&c->m->types, DT_I64, 1, &none), (Name){0});
    Node s = graph_add(c->g, OP_Reshape, (Value[]){v, scalar}, 2, 1, NULL, node_rec(c->g, c->n)->loc, c->n);
    graph_set_input(c->g, c->n, k, node_out(c->g, s, 0));
    return infer_node(c->g, s);
}

bool infer_axis(Infer *c, int64_t *axis, int rank)
{
    if (*axis < -(int64_t)rank || *axis >= rank) return diag(c->m->diag, graph_loc(c->g, c->n), E_AXIS, (long long)*axis, rank);
    if (*axis < 0) *axis += rank;
    return true;
}

/* Contents of constants are made when first asked for. */
const Content *infer_value_content(Graph *g, Value v)
{
    ValueRec *r = value_rec(g, v);
    if (r->content || !r->data.i) return r->content;
    Module *m = g->m;
    BlobRec *b = blob_rec(&m->blobs, r->data);
    if (!(dtype_is_int(b->elem) || b->elem == DT_BOOL) || b->count > CONTENT_MAX || b->kind == BLOB_DERIVED) return NULL;
    Content *k = arena_alloc(m->arena, sizeof *k + sizeof(Dim) * (size_t)b->count);
    k->n = (uint32_t)b->count;
    for (uint32_t i = 0; i < k->n; i++) k->d[i] = dim_const(&m->dims, blob_get_i(&m->blobs, r->data, i));
    return r->content = k;
}

bool infer_content(const Infer *c, uint32_t k, const Dim **d, uint32_t *n)
{
    Value v = node_in(c->g, c->n, k);
    const Content *x = v.i ? infer_value_content(c->g, v) : NULL;
    if (!x) return false;
    *d = x->d;
    *n = x->n;
    return true;
}

bool infer_ints(const Infer *c, uint32_t k, int64_t *v, uint32_t max, uint32_t *n)
{
    const Dim *d;
    uint32_t count;
    if (!infer_content(c, k, &d, &count) || count > max) return false;
    for (uint32_t i = 0; i < count; i++)
        if (!dim_is_const(c->d, dim_resolve(c->d, d[i]), &v[i])) return false;
    *n = count;
    return true;
}

/* ---- writing results ---- */

/* The better of a result's old type (from a text form or an earlier run) and the newly computed one. */
static bool merge_type(Infer *c, uint32_t result, TypeId neu)
{
    ValueRec *v = value_rec(c->g, node_out(c->g, c->n, result));
    if (!v->type.i || v->type.i == neu.i) {
        v->type = neu;
        return true;
    }
    const TypeRec *o = type_rec(&c->m->types, v->type), *n = type_rec(&c->m->types, neu);
    if (o->kind != TY_TENSOR || n->kind != TY_TENSOR) {
        if (o->kind != n->kind && o->kind != TY_NONE) return infer_fail(c, "result %u is of another kind than declared", result);
        v->type = neu;
        return true;
    }
    if (o->elem != n->elem && o->elem != DT_NONE)
        return infer_fail(c, "result '%s' is declared %s but computed as %s", value_name(c->g, node_out(c->g, c->n, result)),
                          dtype_info(o->elem)->onnx, dtype_info(n->elem)->onnx);
    if (n->rank == RANK_UNKNOWN && o->rank != RANK_UNKNOWN) return true;
    if (o->rank != RANK_UNKNOWN && o->rank != n->rank)
        return infer_fail(c, "result '%s' is declared with rank %d but computed with rank %d",
                          value_name(c->g, node_out(c->g, c->n, result)), o->rank, n->rank);
    if (o->rank == RANK_UNKNOWN) {
        v->type = neu;
        return true;
    }
    TypeRec merged = *n;
    merged.layout = o->layout;
    for (int i = 0; i < n->rank; i++) {
        int64_t k;
        Dim od = o->dim[i], nd = n->dim[i];
        if (dim_is_const(c->d, od, &k) && !dim_is_const(c->d, nd, &k)) {
            if (!infer_must_eq(c, nd, od, "declared dimension")) return false;
            merged.dim[i] = od;
        }
    }
    v->type = type_intern(&c->m->types, &merged);
    return true;
}

bool infer_set_type(Infer *c, uint32_t result, TypeId t)
{
    if (result >= node_n_out(c->g, c->n)) return true;   /* an optional result that is not there */
    return merge_type(c, result, t);
}

bool infer_set(Infer *c, uint32_t result, DType elem, int rank, const Dim *dim)
{
    if (result >= node_n_out(c->g, c->n)) return true;
    if (c->d->overflow) {
        c->d->overflow = false;
        return infer_fail(c, "a dimension of the result does not fit into 64 bits");
    }
    if (rank > RANK_MAX) return infer_fail(c, "the result has rank %d, at most %d is supported", rank, RANK_MAX);
    if (rank < 0) return infer_set_type(c, result, type_tensor_unranked(&c->m->types, elem));
    int64_t total = 1;
    for (int i = 0; i < rank; i++) {
        int64_t lo, hi;
        if (!dim[i].i) return infer_fail(c, "dimension %d of the result does not fit into 64 bits", i);
        dim_bounds(c->d, dim[i], &lo, &hi);
        if (hi < 0) return infer_fail(c, "dimension %d of the result would be negative (%lld)", i, (long long)hi);
        if (lo == hi && hi > 0 && (__builtin_mul_overflow(total, hi, &total) || total > (INT64_MAX >> 5)))
            return infer_fail(c, "the result has too many elements");
    }
    return infer_set_type(c, result, type_tensor(&c->m->types, elem, rank, dim));
}

bool infer_like(Infer *c, uint32_t result, uint32_t operand)
{
    Value v = node_in(c->g, c->n, operand);
    return infer_set_type(c, result, value_type(c->g, v));
}

void infer_set_content(Infer *c, uint32_t result, const Dim *d, uint32_t n)
{
    if (n > CONTENT_MAX || result >= node_n_out(c->g, c->n)) return;
    if (c->d->overflow) {   /* a wrapping computation, not a shape: leave it to run time */
        c->d->overflow = false;
        return;
    }
    for (uint32_t i = 0; i < n; i++)
        if (!d[i].i) return;
    Content *k = arena_alloc(c->m->arena, sizeof *k + sizeof(Dim) * n);
    k->n = n;
    if (n) memcpy(k->d, d, sizeof(Dim) * n);
    value_rec(c->g, node_out(c->g, c->n, result))->content = k;
}

/* ---- equalities and symbols ---- */

static void add_check(Infer *c, Dim a, Dim b, bool bcast, const char *msg)
{
    CheckRec r = {.a = a, .b = b, .bcast = bcast, .msg = msg, .loc = node_rec(c->g, c->n)->loc, .g = c->g};
    if (dim_has_kind(c->d, a, SYM_NODE) || dim_has_kind(c->d, b, SYM_NODE) || c->g != c->m->entry) r.at = c->n;
    for (int own = 0; own < 2; own++) {   /* inference may run again; what is checked at the entry holds everywhere */
        const uint32_t *at;
        for (uint32_t i = 0, count = graph_checks(own ? c->g : c->m->entry, &at); i < count; i++) {
            const CheckRec *o = &c->m->check.p[at[i]];
            if (dim_same(o->a, a) && dim_same(o->b, b) && o->bcast == bcast && (!o->at.i || (own && o->at.i == r.at.i))) return;
        }
    }
    module_check(c->m, r);
}

static const char *dim_text(Infer *c, Dim d)
{
    Str s;
    str_init(&s, c->m->arena);
    dim_print(&s, c->d, d);
    return str_get(&s);
}

bool infer_must_eq(Infer *c, Dim a, Dim b, const char *what)
{
    switch (dim_eq(c->d, a, b)) {
    case TRI_YES: return true;
    case TRI_NO: return diag(c->m->diag, graph_loc(c->g, c->n), E_DIM_CONFLICT, what, dim_text(c, a), dim_text(c, b));
    case TRI_UNKNOWN: break;
    }
    add_check(c, a, b, false, what);
    if (c->g != c->m->entry) return true;   /* a region may never run: what it checks holds nowhere else */
    if (!dim_assume_eq(c->d, a, b))
        return diag(c->m->diag, graph_loc(c->g, c->n), E_DIM_CONFLICT, what, dim_text(c, a), dim_text(c, b));
    return true;
}

bool infer_may_broadcast(Infer *c, Dim a, Dim b)
{
    add_check(c, a, b, true, "broadcast dimensions");
    return true;
}

bool infer_broadcasts_to(Infer *c, Dim d, Dim to, const char *what)
{
    Dim one = dim_const(c->d, 1);
    Tri is_one = dim_eq(c->d, d, one);
    if (is_one == TRI_YES) return true;
    if (is_one == TRI_NO || dim_is(c->d, to, 1) || dim_eq(c->d, d, to) != TRI_UNKNOWN) return infer_must_eq(c, d, to, what);
    add_check(c, d, to, true, what);
    return infer_must_eq(c, dim_bcast(c->d, d, to), to, what);
}

Dim infer_fresh(Infer *c, const char *stem, int64_t lo, int64_t hi)
{
    Name name = module_fresh_name(c->m, stem);
    return dim_sym(c->d, sym_new(c->d, name, SYM_NODE, lo, hi));
}

Dim infer_node_dim(Infer *c, uint32_t result, int axis, int64_t lo, int64_t hi)
{
    TypeId old = value_type(c->g, node_out(c->g, c->n, result));
    if (old.i) {
        const TypeRec *t = type_rec(&c->m->types, old);
        if (t->kind == TY_TENSOR && t->rank != RANK_UNKNOWN && axis < t->rank) return t->dim[axis];
    }
    return infer_fresh(c, "n", lo, hi);
}

/* x and min(x, k), k > 1 (a slice of a table at most k long, say): whenever they broadcast they are equal, so that is what is checked. */
static bool is_cut(const Infer *c, Dim x, Dim min)
{
    const DimRec *r = &c->d->rec.p[min.i];
    int64_t k;
    return r->kind == DIM_MIN && ((dim_same(r->a, x) && dim_is_const(c->d, r->b, &k) && k > 1) || (dim_same(r->b, x) && dim_is_const(c->d, r->a, &k) && k > 1));
}

static void unchecked(void *arg, Sym s)
{
    Infer *c = ((void **)arg)[0];
    const SymRec *r = &c->d->sym.p[s.i];
    if (r->kind != SYM_ENTRY || r->input < 0) *(bool *)((void **)arg)[1] = true;
}

/* Bounds of what inputs bind are checked when they are bound; else a check is left. */
static bool must_be_cut(Infer *c, Dim x, Dim min)
{
    bool open = c->g != c->m->entry;
    dim_each_sym(c->d, x, unchecked, (void *[]){c, &open});
    if (!open) {
        if (!dim_assume_eq(c->d, x, min)) return infer_must_eq(c, x, min, "broadcast dimensions");
        if (dim_same(dim_resolve(c->d, min), x)) return true;
    }
    return infer_must_eq(c, x, min, "broadcast dimensions");
}

bool infer_broadcast(Infer *c, const uint32_t *operands, uint32_t n, Dim *dim, int *rank)
{
    *rank = 0;
    for (uint32_t i = 0; i < n; i++) {
        int r = infer_rank(c, operands[i]);
        if (r < 0) return infer_need_rank(c, operands[i], 0, -1);
        if (r > *rank) *rank = r;
    }
    for (int a = 0; a < *rank; a++) {
        Dim d = dim_const(c->d, 1);
        uint32_t first = 0;
        for (uint32_t i = 0; i < n; i++) {
            int at = a - (*rank - infer_rank(c, operands[i]));
            if (at < 0) continue;
            Dim e = infer_dim(c, operands[i], at);
            if (dim_is(c->d, e, 1) || dim_eq(c->d, d, e) == TRI_YES) continue;
            if (dim_is(c->d, d, 1)) {
                d = e;
                first = operands[i];
                continue;
            }
            if (is_cut(c, e, d)) {
                Dim t = d;
                d = e;
                e = t;
            }
            if (is_cut(c, d, e)) {
                if (!must_be_cut(c, d, e)) return false;
                continue;
            }
            int64_t x, y;
            bool dk = dim_is_const(c->d, d, &x), ek = dim_is_const(c->d, e, &y);
            bool no = dim_eq(c->d, d, e) == TRI_NO && !(dk && x == 1) && !(ek && y == 1);
            int64_t dlo, dhi, elo, ehi;
            dim_bounds(c->d, d, &dlo, &dhi);
            dim_bounds(c->d, e, &elo, &ehi);
            if (no && (dlo > 1 || dhi < 1) && (elo > 1 || ehi < 1)) {
                Str s, t;
                str_init(&s, c->m->arena);
                str_init(&t, c->m->arena);
                type_print(&s, &c->m->types, value_type(c->g, node_in(c->g, c->n, first)));
                type_print(&t, &c->m->types, value_type(c->g, node_in(c->g, c->n, operands[i])));
                return diag(c->m->diag, graph_loc(c->g, c->n), E_BROADCAST, str_get(&s), str_get(&t));
            }
            add_check(c, d, e, true, "broadcast dimensions");
            d = dim_bcast(c->d, d, e);
        }
        dim[a] = d;
    }
    return true;
}

/* ---- joins (branches of an If, values carried by a Loop) ---- */

bool infer_join(Module *m, TypeId a, TypeId b, const char *stem, TypeId *out)
{
    if (a.i == b.i || !b.i) return *out = a, true;
    if (!a.i) return *out = b, true;
    const TypeRec *x = type_rec(&m->types, a), *y = type_rec(&m->types, b);
    if (x->kind != y->kind) return false;
    if (x->kind != TY_TENSOR) {
        TypeId of;
        if (x->elem != y->elem || !infer_join(m, x->of, y->of, stem, &of)) return false;
        *out = x->kind == TY_SEQ ? type_seq(&m->types, of) : x->kind == TY_OPT ? type_opt(&m->types, of) : type_map(&m->types, x->elem, of);
        return true;
    }
    if (x->elem != y->elem && x->elem != DT_NONE && y->elem != DT_NONE) return false;
    DType e = x->elem != DT_NONE ? x->elem : y->elem;
    if (x->rank == RANK_UNKNOWN || y->rank == RANK_UNKNOWN || x->rank != y->rank) {
        *out = type_tensor_unranked(&m->types, e);
        return true;
    }
    Dim d[RANK_MAX];
    for (int i = 0; i < x->rank; i++) {
        if (dim_eq(&m->dims, x->dim[i], y->dim[i]) == TRI_YES) d[i] = x->dim[i];
        else d[i] = dim_sym(&m->dims, sym_new(&m->dims, module_fresh_name(m, stem), SYM_NODE, 0, INT64_MAX));
    }
    *out = type_tensor(&m->types, e, x->rank, d);
    return true;
}

/* ---- ports ---- */

static const Port *port_at(const Port *ports, uint32_t k)
{
    const Port *p = ports;
    for (uint32_t i = 0; p && p->name; p++, i++)
        if (i == k || (p->flags & PORT_VARIADIC)) return p;
    return NULL;
}

static const char *set_text(Infer *c, DTypeSet s)
{
    Str t;
    str_init(&t, c->m->arena);
    for (int k = 1; k < DT_COUNT; k++)
        if (s & DTS(k)) str_printf(&t, "%s%s", str_get(&t)[0] ? ", " : "", dtype_info((DType)k)->onnx);
    return str_get(&t);
}

static bool check_arity(Infer *c, const Port *ports, uint32_t n, const char *what, bool result)
{
    uint32_t min = 0, max = 0;
    bool variadic = false;
    for (const Port *p = ports; p && p->name; p++) {
        max++;
        if (p->flags & PORT_VARIADIC) variadic = true;
        if (!(p->flags & PORT_OPTIONAL)) min = max;
    }
    if ((n >= min && (variadic || n <= max)) || (result && n <= max && n >= 1)) return true;
    const char *want = variadic ? arena_printf(c->m->arena, "at least %u", min)
                     : min == max ? arena_printf(c->m->arena, "%u", min) : arena_printf(c->m->arena, "%u to %u", min, max);
    return diag(c->m->diag, graph_loc(c->g, c->n), E_ARITY, (int)n, what, c->op->name, want);
}

static bool check_ports(Infer *c)
{
    uint32_t n_in = node_n_in(c->g, c->n) - node_rec(c->g, c->n)->n_capture;
    while (n_in && !node_in(c->g, c->n, n_in - 1).i && !node_rec(c->g, c->n)->n_capture) n_in--;
    if (!check_arity(c, c->op->in, n_in, "input", false) || !check_arity(c, c->op->out, node_n_out(c->g, c->n), "output", true)) return false;
    DType var[8] = {DT_NONE};
    uint32_t var_at[8] = {0};
    for (uint32_t k = 0; k < n_in; k++) {
        const Port *p = port_at(c->op->in, k);
        Value v = node_in(c->g, c->n, k);
        if (!v.i) {
            if (p->flags & (PORT_OPTIONAL | PORT_VARIADIC)) continue;
            return infer_fail(c, "input %u (%s) is missing", k, p->name);
        }
        const TypeRec *t = infer_in(c, k);
        if (t->kind == TY_NONE || (p->flags & PORT_ANY_KIND)) continue;
        TypeKind want = p->flags & PORT_SEQ ? TY_SEQ : p->flags & PORT_MAP ? TY_MAP : TY_TENSOR;
        if (t->kind != want) return infer_fail(c, "input %u ('%s') is not a %s", k, value_name(c->g, v), want == TY_SEQ ? "sequence" : want == TY_MAP ? "map" : "tensor");
        DType e = t->kind != TY_TENSOR ? type_rec(&c->m->types, t->of)->elem : t->elem;
        if (e == DT_NONE) continue;
        if (!(p->types & DTS(e)))
            return diag(c->m->diag, graph_loc(c->g, c->n), E_DTYPE_PORT, (int)k, value_name(c->g, v), dtype_info(e)->onnx, c->op->name, set_text(c, p->types));
        if (!p->same) continue;
        if (var[p->same] == DT_NONE) {
            var[p->same] = e;
            var_at[p->same] = k;
        } else if (var[p->same] != e)
            return diag(c->m->diag, graph_loc(c->g, c->n), E_DTYPES_DIFFER, (int)var_at[p->same], (int)k,
                        dtype_info(var[p->same])->onnx, dtype_info(e)->onnx, c->op->name);
    }
    return true;
}

/* ---- defaults by class ---- */

/* The element type that the table gives result r: its type variable's operand, or the only type it allows. */
static DType result_elem(const Infer *c, uint32_t r)
{
    const Port *o = port_at(c->op->out, r);
    if (o->same)
        for (uint32_t k = 0; k < node_n_in(c->g, c->n); k++) {
            const Port *p = port_at(c->op->in, k);
            if (p && p->same == o->same && infer_has(c, k)) return infer_elem(c, k);
        }
    for (int t = 1; t < DT_COUNT; t++)
        if (o->types == DTS(t)) return (DType)t;
    BUG("%s: no element type for result %u", c->op->name, r);
}

static bool infer_eltwise(Infer *c)
{
    uint32_t few[64], n = 0, n_in = node_n_in(c->g, c->n), *ops = n_in <= 64 ? few : arena_array(c->m->arena, uint32_t, n_in);
    for (uint32_t k = 0; k < n_in; k++)
        if (infer_has(c, k)) ops[n++] = k;
    Dim dim[RANK_MAX];
    int rank;
    return infer_broadcast(c, ops, n, dim, &rank) && infer_set(c, 0, result_elem(c, 0), rank, dim);
}

/* Far above what models need (20,000 nodes, a dozen runs of the pass); reached in seconds by Ifs and Loops nested dozens deep whose types do not settle. */
#define INFER_MAX 5000000u

bool infer_node(Graph *g, Node n)
{
    Infer c = {.m = g->m, .g = g, .n = n, .op = node_desc(g, n), .d = &g->m->dims};
    if (++g->m->infer_count > INFER_MAX) return infer_fail(&c, "type inference gives up: control flow is nested too deeply to settle its types");
    if (!check_ports(&c)) return false;
    for (uint32_t k = 0; k < node_n_in(g, n); k++) {
        Value v = node_in(g, n, k);
        if (v.i && !value_type(g, v).i) return infer_fail(&c, "the type of input %u ('%s') is not known", k, value_name(g, v));
    }
    bool ok;
    if (c.op->infer) ok = c.op->infer(&c);
    else if (c.op->cls == CLS_ELTWISE) ok = infer_eltwise(&c);
    else ok = infer_like(&c, 0, 0);
    if (!ok) return false;
    for (uint32_t r = 0; r < node_n_out(g, n); r++)
        if (!value_type(g, node_out(g, n, r)).i) BUG("%s: result %u has no type after inference", c.op->name, r);
    if (c.op->propagate && !c.op->propagate(&c)) return false;
    infer_known(&c);
    return true;
}

/* part: what is not known because a rank is not known stays so. */
static bool infer_nodes(Graph *g, bool part)
{
    bool ok = true;
    for (Node n = graph_first(g); n.i; n = node_next(g, n)) {
        bool typed = true;   /* what depends on a failed node has no type: complaining again would only repeat the first message */
        uint64_t open = g->m->infer_open;
        for (uint32_t k = 0; k < node_n_in(g, n); k++) {
            Value v = node_in(g, n, k);
            if (v.i && !value_type(g, v).i) typed = false;
            else if (v.i && part && node_rec(g, n)->n_region && value_trec(g, v)->kind == TY_TENSOR && value_trec(g, v)->rank == RANK_UNKNOWN) typed = false;
        }
        if (!typed && (part || !ok)) continue;
        Node moved = infer_sink(g, n);
        if (!moved.i) moved = infer_arms(g, n);
        n = infer_trim(g, moved.i ? moved : n);
        if (!infer_node(g, n)) ok = part && g->m->infer_open != open;
        if (!ok && g->m->diag->quiet) return false;
    }
    return ok;
}

bool infer_graph(Graph *g) { return infer_nodes(g, false); }

static bool quietly(Graph *g, bool part, DiagFirst *why)
{
    DiagFirst before = diag_try(g->m->diag);
    bool ok = infer_nodes(g, part);
    *why = diag_tried(g->m->diag, before);
    if (!why->text) why->text = "it does not type-check";
    return ok;
}

bool infer_try(Graph *g, DiagFirst *why) { return quietly(g, false, why); }
bool infer_try_part(Graph *g, DiagFirst *why) { return quietly(g, true, why); }
