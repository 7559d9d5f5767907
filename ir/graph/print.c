/* print: the text form of the Graph IR (docs/IR.md has the grammar). The text is the whole truth: parse.c reads back
 * everything that later stages need.
 *   bir 1
 *   sym n node lo 0 hi 64
 *   graph @main(%x: f32[N,64]) -> (%y, "z" = %x) {
 *     %w = const f32[64] splat(0.5)
 *     %y = Add(%x, %w) : f32[N,64] !3 "block/add" (Add)
 *   }
 * Names are for people but unique here: names that are taken get a suffix, values without one are numbered, odd ones
 * are quoted (%"a b").
 * Printing what was parsed gives the same text. Left out: unused constants, defaults, symbols that occur nowhere.
 * Regions follow their node, indented; they recurse, readers limit the depth. */
#include "ir/graph/attr.h"
#include <string.h>

/* ---- names ---- */

typedef struct GraphNames {
    Arena *arena;
    Map taken;
    uint32_t n_fresh;
    const char **of;
} GraphNames;

static bool name_take(GraphNames *names, const char *t)
{
    uint64_t key = hash_bytes(t, strlen(t), 0), seen;
    if (map_get(&names->taken, key, &seen))
        return false; /* so is a name whose hash collides: it merely gets a suffix */
    map_put(&names->taken, key, 1);
    return true;
}

static void name_give(GraphNames *names, const Graph *g, Value v)
{
    const char *stem = name_str(&g->m->names, value_rec(g, v)->name), *t = stem;
    if (names->of[v.i] || !*stem) return;
    for (uint32_t k = 1; !name_take(names, t); k++) t = arena_printf(names->arena, "%s.%u", stem, k);
    names->of[v.i] = t;
}

/* After all names are given, so that a number never takes one. */
static void number_give(GraphNames *names, Value v)
{
    while (!names->of[v.i]) {
        const char *t = arena_printf(names->arena, "%u", ++names->n_fresh);
        if (name_take(names, t)) names->of[v.i] = t;
    }
}

static bool const_shown(const ValueRec *v) { return v->data.i && (v->n_use || v->n_out_use); }

static void names_give(GraphNames *names, Arena *a, const Graph *g)
{
    names->arena = a;
    names->n_fresh = 0;
    map_init(&names->taken, a);
    names->of = arena_array(a, const char *, g->value.n);
    for (uint32_t k = 0; k < g->in.n; k++) name_give(names, g, g->in.p[k]);
    for (uint32_t k = 0; k < g->out.n; k++)
        name_give(names, g, g->out.p[k]); /* outputs are what people ask for by name */
    for (int numbers = 0; numbers < 2; numbers++) {
        for (uint32_t k = 0; numbers && k < g->in.n; k++) number_give(names, g->in.p[k]);
        for (uint32_t i = 1; i < g->value.n; i++)
            if (const_shown(&g->value.p[i])) numbers ? number_give(names, (Value){i}) : name_give(names, g, (Value){i});
        for (Node n = g->first; n.i; n = node_next(g, n))
            for (uint32_t k = 0; k < node_n_out(g, n); k++)
                numbers ? number_give(names, node_out(g, n, k)) : name_give(names, g, node_out(g, n, k));
    }
}

/* ---- pieces ---- */

static void indent(Str *o, int depth)
{
    for (int k = 0; k < depth; k++) str_add(o, "  ");
}

static void quote(Str *o, const char *t) { str_quote(o, t, strlen(t)); }

static void type_text(Str *o, const Graph *g, TypeId t)
{
    if (t.i) type_print(o, &g->m->types, t);
    else str_char(o, '?');
}

static void value_use(Str *o, const GraphNames *names, Value v)
{
    if (v.i) lex_print_name(o, "%", names->of[v.i]);
    else str_char(o, '_');
}

static void loc_text(Str *o, const Module *m, const Loc *loc)
{
    const char *name = name_str(&m->names, loc->name), *op = name_str(&m->names, loc->op);
    if (loc->node < 0 && !*name && !*op) return;
    str_printf(o, " !%d", loc->node < 0 ? -1 : loc->node);
    if (*name || *op) {
        str_char(o, ' ');
        quote(o, name);
    }
    if (!*op) return;
    str_add(o, " (");
    lex_print_name(o, "", op);
    str_char(o, ')');
}

static void check_text(Str *o, const Module *m, const CheckRec *c, const char *word)
{
    str_printf(o, "%s ", word);
    dim_print(o, &m->dims, c->a);
    str_add(o, " == ");
    dim_print(o, &m->dims, c->b);
    str_add(o, ", ");
    quote(o, c->msg ? c->msg : "");
    if (c->bcast) str_add(o, " bcast");
    loc_text(o, m, &c->loc);
    str_char(o, '\n');
}

/* ---- graphs ---- */

static void graph_text(Str *o, Graph *g, int depth);

static void node_checks(Str *o, const Graph *g, Node n, int depth)
{
    const Module *m = g->m;
    for (uint32_t k = 0; k < m->check.n; k++) {
        const CheckRec *c = &m->check.p[k];
        if (c->g != g || !c->at.i || (n.i ? c->at.i != n.i : !node_rec(g, c->at)->dead)) continue;
        indent(o, depth);
        check_text(o, m, c, "check");
    }
}

static void node_text(Str *o, Graph *g, const GraphNames *names, Node n, int depth)
{
    const NodeRec *r = node_rec(g, n);
    const OpDesc *d = op_desc(r->op);
    bool typed = false;
    node_checks(o, g, n, depth);
    indent(o, depth);
    for (uint32_t k = 0; k < r->n_out; k++) {
        if (k) str_add(o, ", ");
        value_use(o, names, node_out(g, n, k));
        typed |= value_type(g, node_out(g, n, k)).i != 0;
    }
    if (r->n_out) str_add(o, " = ");
    if (d->domain && *d->domain && !(d->flags & OPF_INTERNAL)) str_printf(o, "%s.", d->domain);
    str_printf(o, "%s(", d->name);
    for (uint32_t k = 0; k < r->n_in; k++) {
        if (r->n_capture && k == r->n_in - r->n_capture) str_add(o, k ? " | " : "| ");
        else if (k) str_add(o, ", ");
        value_use(o, names, node_in(g, n, k));
    }
    str_char(o, ')');
    attrs_print(o, g->m, d, r->attrs);
    for (uint32_t k = 0; typed && k < r->n_out; k++) {
        str_add(o, k ? ", " : " : ");
        type_text(o, g, value_type(g, node_out(g, n, k)));
    }
    loc_text(o, g->m, &r->loc);
    str_char(o, '\n');
    for (uint32_t k = 0; k < r->n_region; k++) graph_text(o, r->region[k], depth + 1);
}

static void graph_text(Str *o, Graph *g, int depth)
{
    Module *m = g->m;
    GraphNames names;
    names_give(&names, o->arena, g);
    indent(o, depth);
    str_add(o, "graph ");
    lex_print_name(o, "@", name_str(&m->names, g->name));
    str_char(o, '(');
    for (uint32_t k = 0; k < g->in.n; k++) {
        if (k) str_add(o, ", ");
        value_use(o, &names, g->in.p[k]);
        str_add(o, ": ");
        type_text(o, g, value_type(g, g->in.p[k]));
    }
    str_add(o, ") -> (");
    for (uint32_t k = 0; k < g->out.n; k++) {
        const ValueRec *v = value_rec(g, g->out.p[k]);
        const char *real = v->name.i ? name_str(&m->names, v->name) : names.of[g->out.p[k].i];
        if (k) str_add(o, ", ");
        if (g == m->entry && g->out_name.p[k].i && strcmp(name_str(&m->names, g->out_name.p[k]), real)) {
            quote(o, name_str(&m->names, g->out_name.p[k]));
            str_add(o, " = ");
        }
        value_use(o, &names, g->out.p[k]);
    }
    str_add(o, ") {\n");
    for (uint32_t k = 0; g == m->entry && k < m->check.n; k++) {
        if (m->check.p[k].at.i) continue;
        indent(o, depth + 1);
        check_text(o, m, &m->check.p[k], "require");
    }
    for (uint32_t i = 1; i < g->value.n; i++) {
        if (!const_shown(&g->value.p[i])) continue;
        indent(o, depth + 1);
        value_use(o, &names, (Value){i});
        str_add(o, " = const ");
        type_text(o, g, g->value.p[i].type);
        str_char(o, ' ');
        blob_print(o, &m->blobs, g->value.p[i].data);
        str_char(o, '\n');
    }
    for (Node n = g->first; n.i; n = node_next(g, n)) node_text(o, g, &names, n, depth + 1);
    node_checks(o, g, NODE_NONE, depth + 1);
    indent(o, depth);
    str_add(o, "}\n");
}

void graph_print(Str *o, Graph *g) { graph_text(o, g, 0); }

/* ---- modules ---- */

/* Symbols that the text below mentions, and what they were assumed equal to. */
typedef struct SymUse {
    const Module *m;
    bool *used;
} SymUse;

static void sym_use(void *arg, Sym s)
{
    SymUse *u = arg;
    if (u->used[s.i]) return;
    u->used[s.i] = true;
    Dim same = u->m->dims.sym.p[s.i].same_as; /* chains are short: union-find compresses them */
    if (same.i) dim_each_sym(&u->m->dims, same, sym_use, u);
}

static void dim_use(SymUse *u, Dim d)
{
    if (d.i) dim_each_sym(&u->m->dims, d, sym_use, u);
}

static void type_use(SymUse *u, TypeId id)
{
    while (id.i) {
        const TypeRec *t = type_rec(&u->m->types, id);
        for (uint32_t k = 0; t->kind == TY_TENSOR && t->rank != RANK_UNKNOWN && k < t->rank; k++) dim_use(u, t->dim[k]);
        id = t->of;
    }
}

static void graph_use(SymUse *u, const Graph *g)
{
    for (uint32_t k = 0; k < g->in.n; k++) type_use(u, value_type(g, g->in.p[k]));
    for (Node n = g->first; n.i; n = node_next(g, n)) {
        const NodeRec *r = node_rec(g, n);
        for (uint32_t k = 0; k < r->n_out; k++) type_use(u, value_type(g, node_out(g, n, k)));
        for (const AttrSpec *s = r->attrs ? op_desc(r->op)->attrs : NULL; s && s->name; s++) {
            if (s->kind != ATTR_DIMS) continue;
            const AttrDims *d = (const AttrDims *)((const char *)r->attrs + s->offset);
            for (uint32_t k = 0; k < d->n; k++) dim_use(u, d->p[k]);
        }
        for (uint32_t k = 0; k < r->n_region; k++) graph_use(u, r->region[k]);
    }
    for (uint32_t k = 0; k < u->m->check.n; k++) {
        const CheckRec *c = &u->m->check.p[k];
        if (c->g != g && !(g == u->m->entry && !c->at.i)) continue;
        dim_use(u, c->a);
        dim_use(u, c->b);
    }
}

typedef struct Mention {
    Sym s;
    bool found;
} Mention;

static void mention(void *arg, Sym s)
{
    Mention *q = arg;
    q->found |= s.i == q->s.i;
}

static bool type_mentions(const Module *m, TypeId id, Sym s)
{
    Mention q = {.s = s};
    while (id.i) {
        const TypeRec *t = type_rec(&m->types, id);
        for (int k = 0; t->kind == TY_TENSOR && t->rank != RANK_UNKNOWN && k < t->rank; k++)
            dim_each_sym(&m->dims, t->dim[k], mention, &q);
        id = t->of;
    }
    return q.found;
}

/* The symbol's line can go: reading the inputs in order declares it just so. */
static bool sym_plain(const Module *m, Sym s)
{
    const SymRec *r = &m->dims.sym.p[s.i];
    if (r->kind != SYM_ENTRY || r->lo != 0 || r->hi != INT64_MAX || r->multiple > 1 || !m->entry) return false;
    for (uint32_t k = 0; k < m->entry->in.n; k++) {
        TypeId id = value_type(m->entry, m->entry->in.p[k]);
        if (!type_mentions(m, id, s)) continue;
        const TypeRec *t = type_rec(&m->types, id);
        for (int axis = 0; t->kind == TY_TENSOR && axis < t->rank; axis++) {
            const DimRec *d = &m->dims.rec.p[t->dim[axis].i];
            if (d->kind == DIM_SYM && d->sym.i == s.i) return r->input == (int32_t)k && r->axis == axis;
        }
        return r->input < 0;
    }
    return false;
}

static void sym_text(Str *o, const Module *m, Sym s)
{
    const SymRec *r = &m->dims.sym.p[s.i];
    str_add(o, "sym ");
    dim_print(o, &m->dims, dim_sym((Dims *)&m->dims, s)); /* the Dim of a symbol is a cache */
    str_add(o, r->kind == SYM_NODE ? " node" : " entry");
    if (r->kind == SYM_ENTRY && r->input >= 0) str_printf(o, " input %d axis %d", r->input, r->axis);
    if (r->lo != 0) str_printf(o, " lo %lld", (long long)r->lo);
    if (r->hi != INT64_MAX) str_printf(o, " hi %lld", (long long)r->hi);
    if (r->multiple > 1) str_printf(o, " multiple %lld", (long long)r->multiple);
    str_char(o, '\n');
}

static void same_text(Str *o, const Module *m, const bool *used)
{
    for (uint32_t i = 1; i < m->dims.sym.n; i++) {
        const SymRec *r = &m->dims.sym.p[i];
        if (!used[i] || !r->same_as.i) continue;
        str_add(o, "same ");
        dim_print(o, &m->dims, dim_sym((Dims *)&m->dims, (Sym){i}));
        str_char(o, ' ');
        dim_print(o, &m->dims, r->same_as);
        str_char(o, '\n');
    }
}

/* Graphs that constants are computed by (blob recipes), through the constants of those graphs too. */
static void recipes_find(const Module *m, Blob b, bool *recipe);

static void recipes_of_graph(const Module *m, const Graph *g, bool *recipe)
{
    for (uint32_t i = 1; i < g->value.n; i++)
        if (const_shown(&g->value.p[i])) recipes_find(m, g->value.p[i].data, recipe);
    for (Node n = g->first; n.i; n = node_next(g, n))
        for (uint32_t k = 0; k < node_rec(g, n)->n_region; k++) recipes_of_graph(m, node_rec(g, n)->region[k], recipe);
}

static void recipes_find(const Module *m, Blob b, bool *recipe)
{
    const BlobRec *r = blob_rec(&m->blobs, b);
    if (r->kind != BLOB_DERIVED) return;
    for (uint32_t k = 0; k < r->recipe->n_src; k++) recipes_find(m, r->recipe->src[k], recipe);
    if (r->recipe->kind != RECIPE_GRAPH || recipe[r->recipe->graph]) return;
    recipe[r->recipe->graph] = true;
    recipes_of_graph(m, m->graph.p[r->recipe->graph], recipe);
}

static bool recipes_text(Str *o, const Module *m, const bool *recipe)
{
    bool any = false;
    for (uint32_t k = 0; k < m->graph.n; k++) {
        if (!recipe[k]) continue;
        str_printf(o, "recipe %u\n", k);
        graph_text(o, m->graph.p[k], 0);
        any = true;
    }
    return any;
}

bool bir_print_recipes(Str *o, Module *m, const Blob *b, uint32_t n)
{
    bool *recipe = arena_array(o->arena, bool, m->graph.n + 1);
    for (uint32_t k = 0; k < n; k++)
        if (b[k].i) recipes_find(m, b[k], recipe);
    return recipes_text(o, m, recipe);
}

void bir_print(Str *o, Module *m)
{
    bool *recipe = arena_array(o->arena, bool, m->graph.n + 1);
    if (m->entry) recipes_of_graph(m, m->entry, recipe);
    str_printf(o, "bir %d\n", BIR_VERSION);
    if (m->source && *m->source) str_add(o, "source "), quote(o, m->source), str_char(o, '\n');
    if (strcmp(m->prefix, "model")) str_add(o, "prefix "), quote(o, m->prefix), str_char(o, '\n');
    if (m->opset != OPSET_NEWEST) str_printf(o, "opset %lld\n", (long long)m->opset);
    for (uint32_t k = 0; k < m->alias.n; k++) {
        const AliasRec *a = &m->alias.p[k];
        str_add(o, "alias ");
        quote(o, name_str(&m->names, a->in));
        str_add(o, " -> ");
        quote(o, name_str(&m->names, a->out));
        if (a->axis >= 0) str_printf(o, " axis %d cap %lld", a->axis, (long long)a->cap);
        str_char(o, '\n');
    }
    SymUse use = {.m = m, .used = arena_array(o->arena, bool, m->dims.sym.n + 1)};
    if (m->entry) graph_use(&use, m->entry);
    for (uint32_t i = 1; i < m->dims.sym.n; i++)
        if (use.used[i] && !sym_plain(m, (Sym){i})) sym_text(o, m, (Sym){i});
    recipes_text(o, m, recipe);
    if (m->entry) graph_text(o, m->entry, 0);
    same_text(o, m, use.used);
}
