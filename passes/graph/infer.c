/* infer: gives every value a type, and resolves shape arithmetic.
 *   %s = Shape(%x)      : i64[3]               %s2 = Dims() {value=[N,64]}
 *   %n = Gather(%s, %0) : i64[]          =>    %y  = Reshape(%x, %s2) : f32[N,64]        (Shape, Gather, Concat are unused: dce takes them)
 *   %s2 = Concat(%n, %c) : i64[2]
 *   %y = Reshape(%x, %s2)
 * An integer value whose elements are all known becomes a constant; one whose elements are expressions over the
 * symbols of the entry becomes the internal op Dims. Elements that only a node binds (the count of NonZero, say) stay
 * as they are: their operands keep that node alive.
 * Inference also leaves run-time checks and joins symbols; running it again changes nothing. A check about a symbol
 * that no value's type mentions any more (folding has made the node that bound it simpler) goes: whatever it said has been
 * said anew about what stands there now. */
#include "base/bug.h"
#include "ir/graph/infer.h"
#include "passes/graph/rank.h"
#include "passes/pass.h"

static const Content *known(Graph *g, Value v, TypeId *type)
{
    Module *m = g->m;
    const Content *c = value_rec(g, v)->content;
    const TypeRec *t = value_trec(g, v);
    if (!c || t->kind != TY_TENSOR || t->rank == RANK_UNKNOWN || dtype_info(t->elem)->bits < 8) return NULL;
    int64_t count = 1, k;
    TypeRec constant = *t;
    for (int a = 0; a < t->rank; a++) {
        if (!dim_is_const(&m->dims, dim_resolve(&m->dims, t->dim[a]), &k)) return NULL;
        constant.dim[a] = dim_const(&m->dims, k);
        count *= k;
    }
    if (count != c->n) return NULL;
    *type = type_intern(&m->types, &constant);
    return c;
}

static bool all_const(Module *m, const Content *c, int64_t *v)
{
    for (uint32_t k = 0; k < c->n; k++)
        if (!dim_is_const(&m->dims, dim_resolve(&m->dims, c->d[k]), &v[k])) return false;
    return true;
}

static Value make_const(Graph *g, const Content *c, TypeId type, const int64_t *v)
{
    Module *m = g->m;
    const TypeRec *t = type_rec(&m->types, type);
    unsigned size = dtype_info(t->elem)->bits / 8;
    uint8_t bytes[CONTENT_MAX * 8];
    for (uint32_t k = 0; k < c->n; k++)
        for (unsigned b = 0; b < size; b++) bytes[k * size + b] = (uint8_t)((uint64_t)v[k] >> (8 * b));
    return graph_const(g, blob_inline(&m->blobs, t->elem, c->n, bytes), type, (Name){0});
}

static Value make_dims(Graph *g, Node at, const Content *c, TypeId type)
{
    Module *m = g->m;
    const TypeRec *t = type_rec(&m->types, type);
    struct {
        uint64_t set;
        AttrDims value;
        AttrInts shape;
        int64_t dtype;
    } a = {.set = 1, .value = {.n = c->n}, .dtype = t->elem};
    Dim *d = arena_array(m->arena, Dim, c->n ? c->n : 1);
    for (uint32_t k = 0; k < c->n; k++) d[k] = dim_resolve(&m->dims, c->d[k]);
    a.value.p = d;
    if (t->elem != DT_I64) a.set |= 4;
    if (t->rank != 1) {
        int64_t *shape = arena_array(m->arena, int64_t, t->rank ? t->rank : 1);
        for (int k = 0; k < t->rank; k++)
            if (!dim_is_const(&m->dims, t->dim[k], &shape[k])) UNREACHABLE();
        a.shape = (AttrInts){shape, t->rank};
        a.set |= 2;
    }
    assert(sizeof a == op_desc(OP_Dims)->attrs_size);
    Node n = graph_add(g, OP_Dims, NULL, 0, 1, &a, node_rec(g, at)->loc, at);
    return node_out(g, n, 0);
}

static bool entry_only(Module *m, const Content *c)
{
    for (uint32_t k = 0; k < c->n; k++)
        if (dim_has_kind(&m->dims, dim_resolve(&m->dims, c->d[k]), SYM_NODE)) return false;
    return true;
}

static bool resolve_node(PassCtx *c, Graph *g, Node n)
{
    bool changed = false;
    for (uint32_t r = 0; r < node_n_out(g, n); r++) {
        Value v = node_out(g, n, r), by;
        int64_t k[CONTENT_MAX];
        TypeId type;
        const Content *x = value_used(g, v) ? known(g, v, &type) : NULL;
        if (!x) continue;
        bool constant = all_const(c->m, x, k);
        if (!constant && (node_rec(g, n)->op == OP_Dims || !entry_only(c->m, x))) continue;
        by = constant ? make_const(g, x, type, k) : make_dims(g, n, x, type);
        value_rec(g, by)->type = type;
        value_rec(g, by)->content = x;
        graph_replace_uses(g, v, by);
        pass_count(c, constant ? "shape values made constants" : "shape values made Dims", 1);
        changed = true;
    }
    return changed;
}

static bool resolve_graph(PassCtx *c, Graph *g)
{
    bool changed = false;
    for (Node n = graph_first(g); n.i; n = node_next(g, n))
        if (node_rec(g, n)->op != OP_Group) changed |= resolve_node(c, g, n); /* a group's values never meet memory, nor do Dims there */
    return changed;
}

/* What inference may change: types and checks. */
static uint64_t fingerprint(PassCtx *c)
{
    Graph **g;
    uint32_t n = module_graphs(c->m, c->arena, &g);
    uint64_t h = c->m->check.n;
    for (uint32_t k = 0; k < n; k++)
        for (uint32_t i = 1; i < g[k]->value.n; i++) h = hash_mix(h, g[k]->value.p[i].type.i);
    return h;
}

static PassResult run(PassCtx *c)
{
    uint64_t before = fingerprint(c);
    for (uint32_t narrowed = c->m->dims.narrowed + 1;
         narrowed != c->m->dims.narrowed;) { /* bounds found late hold early */
        narrowed = c->m->dims.narrowed;
        if (!infer_graph(c->m->entry) || !rank_results(c->m)) return PASS_FAILED;
    }
    pass_count(c, "checks of symbols that are gone", module_drop_checks(c->m, c->arena));
    bool changed = fingerprint(c) != before;
    return pass_graphs(c, resolve_graph) == PASS_CHANGED || changed ? PASS_CHANGED : PASS_UNCHANGED;
}

const Pass pass_infer = {
    .name = "infer", .brief = "types of all values; shape arithmetic becomes constants and Dims", .run = run};
