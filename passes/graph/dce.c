/* dce: erases pure nodes none of whose results is used.
 *   %1 = Exp(%x)      =>   (nothing)
 *   return %x              return %x
 * Walks backwards once, so that a chain dies in one sweep; regions after the node that owns them is known to stay.
 * Captures are operands and count as uses.
 * A node that is the first to mention a symbol (NonZero's count) binds it: it stays while any node that stays
 * mentions the symbol. Once it has gone, nothing can check the symbol. */
#include "passes/pass.h"
#include <string.h>

typedef struct Dce {
    PassCtx *c;
    bool *needed; /* by symbol: some node that stays mentions it */
    bool *bound;
    uint32_t n_sym;
    bool any;
} Dce;

static void need(void *arg, Sym s) { ((Dce *)arg)->needed[s.i] = true; }
static void bind(void *arg, Sym s) { ((Dce *)arg)->bound[s.i] = true; }
static void ask(void *arg, Sym s)
{
    Dce *d = arg;
    d->any |= d->needed[s.i] && !d->bound[s.i] && d->c->m->dims.sym.p[s.i].kind == SYM_NODE;
}

static void type_each(Dce *d, TypeId id, void (*f)(void *, Sym))
{
    while (id.i) {
        const TypeRec *t = type_rec(&d->c->m->types, id);
        for (int k = 0; t->kind == TY_TENSOR && t->rank != RANK_UNKNOWN && k < t->rank; k++)
            dim_each_sym(&d->c->m->dims, t->dim[k], f, d);
        id = t->of;
    }
}

static void node_each(Dce *d, Graph *g, Node n, void (*f)(void *, Sym))
{
    for (uint32_t k = 0; k < node_n_out(g, n); k++) type_each(d, value_type(g, node_out(g, n, k)), f);
}

/* By node: 1 when it is the first to mention a symbol that only a node can bind. */
static void find_binders(Dce *d, Graph *g, uint8_t *binder)
{
    memset(d->bound, 0, d->n_sym);
    memset(d->needed, 1, d->n_sym);
    for (uint32_t k = 0; k < g->in.n; k++) type_each(d, value_type(g, g->in.p[k]), bind);
    for (Node n = graph_first(g); n.i; n = node_next(g, n)) {
        d->any = false;
        node_each(d, g, n, ask);
        binder[n.i] = d->any;
        node_each(d, g, n, bind);
    }
}

static bool erase_in(Dce *d, Graph *g)
{
    bool changed = false;
    uint8_t *binder = arena_array(d->c->arena, uint8_t, g->node.n);
    Dce own = *d;
    own.needed = arena_array(d->c->arena, bool, d->n_sym);
    own.bound = arena_array(d->c->arena, bool, d->n_sym);
    find_binders(&own, g, binder);
    memset(own.bound, 0, d->n_sym);
    memset(own.needed, 0, d->n_sym);
    for (Node n = graph_last(g), prev; n.i; n = prev) {
        prev = node_prev(g, n);
        own.any = false;
        if (binder[n.i]) node_each(&own, g, n, ask);
        bool keep = node_used(g, n) || (node_desc(g, n)->flags & OPF_SIDE_EFFECT) || own.any;
        if (keep) {
            for (uint32_t k = 0; k < node_rec(g, n)->n_region; k++) changed |= erase_in(d, node_rec(g, n)->region[k]);
            node_each(&own, g, n, need);
            continue;
        }
        if (!pass_may_rewrite(d->c)) return changed;
        graph_erase(g, n);
        pass_count(d->c, "erased", 1);
        changed = true;
    }
    return changed;
}

static PassResult run(PassCtx *c)
{
    Dce d = {.c = c, .n_sym = c->m->dims.sym.n + 1};
    if (!erase_in(&d, c->m->entry)) return PASS_UNCHANGED;
    pass_count(c, "checks of symbols that are gone", module_drop_checks(c->m, c->arena));
    return PASS_CHANGED;
}

const Pass pass_dce = {.name = "dce", .brief = "erase unused pure nodes", .run = run};
