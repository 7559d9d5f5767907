/* fold: what depends on constants only is computed at compile time.
 *   %1 = Sqrt(%c)  with constant %c     =>     %1 = const f32[64] [...]
 * Results of at most 64 KB are computed here, by the op's reference evaluation. Larger ones (a transposed weight,
 * say) become recipes: constants that name a graph over other constants, evaluated when the weights are written, so
 * that no large data goes through the IR. A node whose result is much larger than its operands (Expand, Tile,
 * ConstantOfShape) is left to run time instead: storing it would cost more than making it. But it may be a step on the
 * way to something worth storing (latent): small after all, or a few megabytes that took sorting, sums or exponentials
 * to make, as a table of relative positions does.
 * Not folded: random ops, side effects, nodes with regions, results that are no tensors; no recipe: what may have no result
 * (an index out of range), since the run may never come there. Requires types. */
#include "base/bug.h"
#include "ir/graph/attr.h"
#include "ir/graph/recipe.h"
#include "passes/pass.h"

enum { OPT_MAX_WORK, OPT_INLINE, OPT_MADE };
static const OptSpec opts[] = {{"max-elements", 4 << 20, "operands with more elements than that are not read here"},
                               {"inline-bytes", BLOB_INLINE_MAX, "larger results become recipes"},
                               {"made-bytes", 4 << 20, "stored though its sources are smaller, if made by more than moves"},
                               {0}};
enum { STEPS_MAX = 32, COST_MAX = 1 << 26 }; /* latent nodes in a row; scalar operations of the reference evaluation */

/* A value that constants alone decide, but that is not stored. */
typedef struct Latent {
    bool is, work;  /* work: more than moves and element-wise operators made it */
    Blob blob;      /* the recipe, once something needed it */
    int64_t roots;  /* bytes of the constants it is made of */
    int64_t elements;
    double cost;
    int steps;
} Latent;
typedef struct Fold {
    PassCtx *c;
    Graph *g;
    Latent *latent; /* by value */
    uint32_t n;
} Fold;

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
    int64_t in, in_elements, out, out_elements; /* in: of the constants at the roots */
    bool derived, work;
    double cost;
    int steps;
} Sizes;

static const Latent *latent(const Fold *f, Value v) { return v.i < f->n && f->latent[v.i].is ? &f->latent[v.i] : NULL; }

static bool is_work(const OpDesc *d)
{
    return d->cls == CLS_CONTRACT || d->cls == CLS_ROW || d->cls == CLS_REDUCE || d->cls == CLS_WINDOW || d->cls == CLS_OPAQUE;
}

/* Every operand is a constant, or latent, and every used result a tensor of constant size. */
static bool candidate(const Fold *f, Node n, Sizes *s)
{
    Graph *g = f->g;
    const NodeRec *r = node_rec(g, n);
    *s = (Sizes){0};
    if (r->n_region || (op_desc(r->op)->flags & (OPF_RANDOM | OPF_SIDE_EFFECT)) || r->op == OP_Dims || !node_used(g, n))
        return false;
    for (uint32_t k = 0; k < r->n_in; k++) {
        Value v = node_in(g, n, k);
        if (!v.i) continue;
        const Latent *l = latent(f, v);
        if (l) {
            s->in += l->roots;
            s->in_elements += l->elements;
            s->cost += l->cost;
            s->work |= l->work;
            s->derived = true;
            if (l->steps >= s->steps) s->steps = l->steps + 1;
            continue;
        }
        if (!value_is_const(g, v)) return false;
        const BlobRec *b = blob_rec(&g->m->blobs, value_rec(g, v)->data);
        s->in += b->kind == BLOB_SPLAT || b->kind == BLOB_IOTA ? 8 : const_bytes(g->m, value_type(g, v));
        s->in_elements += b->count;
        s->derived |= b->kind == BLOB_DERIVED;
    }
    for (uint32_t k = 0; k < r->n_out; k++) {
        Value v = node_out(g, n, k);
        int64_t bytes = const_bytes(g->m, value_type(g, v)), elements = 0;
        if (bytes < 0) return false;
        if (!value_used(g, v)) continue;
        s->out += bytes;
        dim_is_const(&g->m->dims, dim_resolve(&g->m->dims, type_count(&g->m->types, value_type(g, v))), &elements);
        s->out_elements += elements;
    }
    int64_t depth = 1;
    const TypeRec *t = r->n_in && node_in(g, n, 0).i ? value_trec(g, node_in(g, n, 0)) : NULL;
    if (op_desc(r->op)->cls == CLS_CONTRACT && t && t->rank > 0) dim_is_const(&g->m->dims, dim_resolve(&g->m->dims, t->dim[t->rank - 1]), &depth);
    s->cost += (double)s->out_elements * (double)depth + (double)s->in_elements;
    s->work |= is_work(op_desc(r->op)) && s->in_elements >= s->out_elements / 4;
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

/* The blob of a constant, or of what a latent value would be; its recipe is made at the first time. 0: there is none. */
static Blob blob_for(Fold *f, Value v)
{
    Graph *g = f->g;
    if (value_is_const(g, v)) return value_rec(g, v)->data;
    Latent *l = &f->latent[v.i];
    assert(l->is);
    if (l->blob.i) return l->blob;
    Node n = value_rec(g, v)->def;
    Blob operand[RECIPE_SRC_MAX];
    for (uint32_t k = 0; k < node_n_in(g, n); k++)
        if (node_in(g, n, k).i && !(operand[k] = blob_for(f, node_in(g, n, k))).i) return (Blob){0};
    uint32_t at = 0;
    while (node_out(g, n, at).i != v.i) at++;
    return l->blob = recipe_of_node(g, n, at, operand);
}

/* Whether a node has a result may depend on its operands' elements: indices, positions, text that is read as numbers. A recipe
 * that turns out to have none would end the compile, though a run may never come to the node. */
static bool has_result(Fold *f, Node n)
{
    Graph *g = f->g;
    const OpDesc *d = node_desc(g, n);
    if (!d->has_result) return true;
    Arena a;
    const char *why = "";
    arena_init(&a, "folding", f->c->arena->oom);
    Value index = node_n_in(g, n) > 1 ? node_in(g, n, 1) : VALUE_NONE;
    bool indices = index.i && DTS(value_trec(g, index)->elem) & DTS_INDEX; /* weights, say, are not read for this */
    Blob b = indices ? blob_for(f, index) : (Blob){0};
    bool has = d->has_result(g, n, b.i ? recipe_eval(&a, g->m, b, value_type(g, index), &why) : NULL);
    arena_free(&a);
    return has;
}

/* Is it worth its room? */
static bool worth_storing(const PassCtx *c, const Sizes *s)
{
    if (s->out <= 2 * s->in + BLOB_INLINE_MAX) return true;
    return s->work && s->out <= c->opt[OPT_MADE];
}

/* Every result that is used becomes a recipe of its own, or none does. */
static bool fold_large(Fold *f, Node n, const Sizes *s)
{
    PassCtx *c = f->c;
    Graph *g = f->g;
    bool fits = node_n_in(g, n) <= RECIPE_SRC_MAX && node_desc(g, n)->eval;
    for (uint32_t k = 0; k < node_n_out(g, n); k++) fits &= value_trec(g, node_out(g, n, k))->elem != DT_STR;
    bool steps = s->steps > 0; /* an operand is latent */
    if (steps && (s->cost > COST_MAX || !fits)) return false;
    if (!has_result(f, n)) {
        pass_remark(c, graph_loc(g, n), "not folded: only the run can say whether it has a result");
        return false;
    }
    if (!worth_storing(c, s)) {
        pass_remark(c, graph_loc(g, n), "not folded: the result has %lld bytes, its operands %lld", (long long)s->out, (long long)s->in);
        for (uint32_t k = 0; fits && s->steps < STEPS_MAX && k < node_n_out(g, n); k++)
            if (node_out(g, n, k).i < f->n)
                f->latent[node_out(g, n, k).i] = (Latent){.is = true, .work = s->work, .roots = s->in,
                                                          .elements = s->out_elements, .cost = s->cost, .steps = s->steps};
        return false;
    }
    if (!fits) {
        pass_remark(c, graph_loc(g, n), "not folded: it has more than %d operands, or gives strings", RECIPE_SRC_MAX);
        return false;
    }
    Blob operand[RECIPE_SRC_MAX];
    for (uint32_t k = 0; steps && k < node_n_in(g, n); k++)
        if (node_in(g, n, k).i && !(operand[k] = blob_for(f, node_in(g, n, k))).i) return false;
    for (uint32_t k = 0; k < node_n_out(g, n); k++) {
        Value y = node_out(g, n, k);
        TypeRec type = *value_trec(g, y);
        for (int i = 0; i < type.rank; i++) type.dim[i] = dim_resolve(&c->m->dims, type.dim[i]);
        value_rec(g, y)->type = type_intern(&c->m->types, &type);
    }
    for (uint32_t k = 0; k < node_n_out(g, n); k++) {
        Value y = node_out(g, n, k);
        if (!value_used(g, y)) continue;
        Blob b = recipe_of_node(g, n, k, steps ? operand : NULL);
        assert(b.i);
        replace(g, y, b, value_type(g, y));
    }
    return true;
}

static bool fold_graph(PassCtx *c, Graph *g)
{
    Fold f = {.c = c, .g = g, .latent = arena_array(c->arena, Latent, g->value.n), .n = g->value.n};
    bool changed = false;
    for (Node n = graph_first(g); n.i; n = node_next(g, n)) {
        Sizes s;
        if (!candidate(&f, n, &s) || c->rewrite_limit == 0) continue;
        bool small = s.out <= c->opt[OPT_INLINE] && !s.derived && s.in_elements <= c->opt[OPT_MAX_WORK];
        if (!(small ? fold_small(c, g, n) : fold_large(&f, n, &s))) continue;
        pass_may_rewrite(c);
        pass_count(c, small ? "folded" : "folded into recipes", 1);
        changed = true;
    }
    return changed;
}

static PassResult run(PassCtx *c) { return pass_graphs(c, fold_graph); }

const Pass pass_fold = {.name = "fold", .brief = "compute what depends on constants only", .opts = opts, .run = run};
