/* fold: what depends on constants only is computed at compile time.
 *   %1 = Sqrt(%c)  with constant %c     =>     %1 = const f32[64] [...]
 * Results of at most 64 KB are computed here, by the op's reference evaluation. Larger ones (a transposed weight,
 * say) become recipes: constants that name a graph over other constants, evaluated when the weights are written, so
 * that no large data goes through the IR. A node whose result is much larger than its operands (Expand, Tile,
 * ConstantOfShape) is left to run time instead: storing it would cost more than making it.
 * Not folded: random ops, side effects, nodes with regions, results that are no tensors. Requires types. */
#include "base/bug.h"
#include "ir/graph/recipe.h"
#include "passes/pass.h"

enum { OPT_MAX_WORK, OPT_INLINE };
static const OptSpec opts[] = {{"max-elements", 4 << 20, "operands with more elements than that are not read here"},
                               {"inline-bytes", BLOB_INLINE_MAX, "larger results become recipes"},
                               {0}};

static int64_t const_bytes(Module *m, TypeId type)
{
    const TypeRec *t = type_rec(&m->types, type);
    int64_t count;
    if (t->kind != TY_TENSOR || t->rank == RANK_UNKNOWN ||
        !dim_is_const(&m->dims, dim_resolve(&m->dims, type_count(&m->types, type)), &count))
        return -1;
    return t->elem == DT_STR ? count * 16 : dtype_bytes(t->elem, count);
}

typedef struct Sizes {
    int64_t in, in_elements, out;
    bool derived;
} Sizes;

/* Every operand is a constant and every used result a tensor of constant size. */
static bool candidate(Graph *g, Node n, Sizes *s)
{
    const NodeRec *r = node_rec(g, n);
    *s = (Sizes){0};
    if (r->n_region || (op_desc(r->op)->flags & (OPF_RANDOM | OPF_SIDE_EFFECT)) || r->op == OP_Dims || !node_used(g, n))
        return false;
    for (uint32_t k = 0; k < r->n_in; k++) {
        Value v = node_in(g, n, k);
        if (!v.i) continue;
        if (!value_is_const(g, v)) return false;
        const BlobRec *b = blob_rec(&g->m->blobs, value_rec(g, v)->data);
        s->in += b->kind == BLOB_SPLAT || b->kind == BLOB_IOTA ? 8 : const_bytes(g->m, value_type(g, v));
        s->in_elements += b->count;
        s->derived |= b->kind == BLOB_DERIVED;
    }
    for (uint32_t k = 0; k < r->n_out; k++) {
        int64_t bytes = const_bytes(g->m, value_type(g, node_out(g, n, k)));
        if (bytes < 0) return false;
        s->out += bytes;
    }
    return true;
}

static Blob blob_of(Module *m, const Tensor *t)
{
    if (t->elem != DT_STR) return blob_inline(&m->blobs, t->elem, t->count, t->data);
    const char **ptr = arena_array(m->arena, const char *, t->count ? t->count : 1);
    size_t *len = arena_array(m->arena, size_t, t->count ? t->count : 1);
    for (int64_t k = 0; k < t->count; k++) {
        ptr[k] = arena_strndup(m->arena, ((bmc_string *)t->data)[k].ptr, ((bmc_string *)t->data)[k].len);
        len[k] = ((bmc_string *)t->data)[k].len;
    }
    return blob_strings(&m->blobs, t->count, ptr, len);
}

static void replace(Graph *g, Value v, Blob data, TypeId type)
{
    Value by = graph_const(g, data, type, (Name){0});
    graph_replace_uses(g, v, by);
}

/* By the reference evaluation; false: it cannot. */
static bool fold_small(PassCtx *c, Graph *g, Node n)
{
    const NodeRec *r = node_rec(g, n);
    Arena a; /* dies with the node: tensors of many folds would add up */
    const char *why = "";
    arena_init(&a, "folding", c->arena->oom);
    Tensor **in = arena_array(&a, Tensor *, r->n_in + 1), **out = arena_array(&a, Tensor *, r->n_out + 1);
    bool ok = true;
    for (uint32_t k = 0; ok && k < r->n_in; k++) {
        Value v = node_in(g, n, k);
        if (v.i) ok = (in[k] = tensor_from_blob(&a, c->m, value_rec(g, v)->data, value_type(g, v))) != NULL;
    }
    ok = ok && eval_node(&a, g, n, in, out, &why);
    for (uint32_t k = 0; ok && k < r->n_out; k++) {
        Value v = node_out(g, n, k);
        if (!value_used(g, v)) continue;
        const TypeRec *t = value_trec(g, v);
        Dim dim[RANK_MAX];
        if (!out[k] || out[k]->kind != TY_TENSOR || out[k]->elem != t->elem || out[k]->rank != t->rank)
            BUG("%s: its evaluation gives another type than inference", op_desc(r->op)->name);
        for (int i = 0; i < t->rank; i++) dim[i] = dim_const(&c->m->dims, out[k]->dim[i]);
        replace(g, v, blob_of(c->m, out[k]), type_tensor(&c->m->types, t->elem, t->rank, dim));
    }
    if (!ok) pass_remark(c, graph_loc(g, n), "not folded: %s", *why ? why : "an operand cannot be read");
    arena_free(&a);
    return ok;
}

static bool fold_large(PassCtx *c, Graph *g, Node n, const Sizes *s)
{
    if (s->out > 2 * s->in + BLOB_INLINE_MAX) {
        pass_remark(c, graph_loc(g, n), "not folded: the result has %lld bytes, its operands %lld", (long long)s->out,
                    (long long)s->in);
        return false;
    }
    if (value_trec(g, node_out(g, n, 0))->elem == DT_STR || !node_desc(g, n)->eval) return false;
    Value y = node_out(g, n, 0);
    TypeRec type = *value_trec(g, y);
    for (int k = 0; k < type.rank; k++) type.dim[k] = dim_resolve(&c->m->dims, type.dim[k]);
    value_rec(g, y)->type = type_intern(&c->m->types, &type);
    Blob b = recipe_of_node(g, n);
    if (!b.i) {
        pass_remark(c, graph_loc(g, n), "not folded: it has several results or more than %d operands", RECIPE_SRC_MAX);
        return false;
    }
    replace(g, y, b, value_type(g, y));
    return true;
}

static bool fold_graph(PassCtx *c, Graph *g)
{
    bool changed = false;
    for (Node n = graph_first(g); n.i; n = node_next(g, n)) {
        Sizes s;
        if (!candidate(g, n, &s) || c->rewrite_limit == 0) continue;
        bool small = s.out <= c->opt[OPT_INLINE] && !s.derived && s.in_elements <= c->opt[OPT_MAX_WORK];
        if (!(small ? fold_small(c, g, n) : fold_large(c, g, n, &s))) continue;
        pass_may_rewrite(c);
        pass_count(c, small ? "folded" : "folded into recipes", 1);
        changed = true;
    }
    return changed;
}

static PassResult run(PassCtx *c) { return pass_graphs(c, fold_graph); }

const Pass pass_fold = {.name = "fold", .brief = "compute what depends on constants only", .opts = opts, .run = run};
