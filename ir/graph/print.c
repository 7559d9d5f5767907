/* print: the text form of the Graph IR (docs/IR.md has the grammar). The text is the whole truth: parse.c reads back
 * everything that later stages need.
 *   bir 1
 *   sym n node lo 0 hi 64
 *   graph @main(%x: f32[N,64]) -> (%y, "z" = %x) {
 *     %w = const f32[64] splat(0.5)
 *     %y = Add(%x, %w) : f32[N,64] !3 "block/add" (Add)
 *   }
 * Names are for people but unique here: names that are taken get a suffix, values without one or with a long one are
 * numbered, odd ones are quoted (%"a b"). Nodes carry the model's names: `~` at the end of one is the operator.
 * Constants in files and computed ones stand before the graph (data @1 "name" = type data) and are used as @1.
 * A Group's graph has its operands' and results' names and follows on the same line:
 *     %y = Group(%x, %r) {kind="contract"} : f32[N,64] !3 "block/~" (Add) {
 *       %1 = MatMul(%x, @1) : f32[N,64] !2 "block/~"
 *       %y = Add(%1, %r) : f32[N,64] !3 "block/~" }
 * Printing what was parsed gives the same text. Left out: unused constants, defaults, symbols that occur nowhere.
 * Regions follow their node, indented; they recurse, readers limit the depth. */
#include "ir/graph/attr.h"
#include "ir/graph/math_mode.h"
#include <string.h>

enum { NAME_LONG = 16 };

/* ---- constants of the module ---- */

typedef struct Datum {
    Blob blob;
    TypeId type;
    Name name;
} Datum;
/* What stands before the graph; NULL where constants stay in theirs. */
typedef VEC(Datum) Data;

static bool const_shown(const ValueRec *v) { return v->data.i && (v->n_use || v->n_out_use); }

/* Number of the constant among the module's, 0: it stays in its graph. */
static uint32_t datum_find(const Data *data, const ValueRec *v)
{
    for (uint32_t k = data ? data->n : 0; k-- > 0;)
        if (data->p[k].blob.i == v->data.i && data->p[k].type.i == v->type.i) return v->n_out_use ? 0 : k + 1;
    return 0;
}

/* In the order of use, which is the order that reading makes them in. */
static void data_collect(Arena *a, const Graph *g, Data *data)
{
    for (Node n = g->first; n.i; n = node_next(g, n)) {
        for (uint32_t k = 0; k < node_n_in(g, n); k++) {
            const ValueRec *v = value_rec(g, node_in(g, n, k));
            if (!node_in(g, n, k).i || !v->data.i || v->n_out_use || datum_find(data, v)) continue;
            BlobKind kind = blob_rec(&g->m->blobs, v->data)->kind;
            if (kind == BLOB_RAW || kind == BLOB_DERIVED) vec_push(a, data, (Datum){v->data, v->type, v->name});
        }
        for (uint32_t k = 0; k < node_rec(g, n)->n_region; k++) data_collect(a, node_rec(g, n)->region[k], data);
    }
}

/* ---- names ---- */

typedef struct GraphNames {
    Arena *arena;
    Map taken;
    uint32_t n_fresh;
    const char **of;
    uint32_t *datum; /* by value */
} GraphNames;

static bool name_take(GraphNames *names, const char *t)
{
    uint64_t key = hash_bytes(t, strlen(t), 0), seen;
    if (map_get(&names->taken, key, &seen))
        return false; /* so is a name whose hash collides: it merely gets a suffix */
    map_put(&names->taken, key, 1);
    return true;
}

static void name_give(GraphNames *names, const Graph *g, Value v, bool any_length)
{
    const char *stem = name_str(&g->m->names, value_rec(g, v)->name), *t = stem;
    if (names->of[v.i] || !*stem || (!any_length && strlen(stem) > NAME_LONG)) return;
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

static void scope_init(GraphNames *names, Arena *a, const Graph *g)
{
    *names = (GraphNames){.arena = a};
    map_init(&names->taken, a);
    names->of = arena_array(a, const char *, g->value.n);
    names->datum = arena_array(a, uint32_t, g->value.n);
}

static void scope_give(GraphNames *names, const Graph *g, const Data *data)
{
    bool entry = g == g->m->entry;
    for (uint32_t k = 0; k < g->in.n; k++) name_give(names, g, g->in.p[k], entry);
    for (uint32_t k = 0; k < g->out.n; k++)
        name_give(names, g, g->out.p[k], entry); /* outputs are what people ask for by name */
    for (int numbers = 0; numbers < 2; numbers++) {
        for (uint32_t k = 0; numbers && k < g->in.n; k++) number_give(names, g->in.p[k]);
        for (uint32_t i = 1; i < g->value.n; i++) {
            if (!const_shown(&g->value.p[i]) || (names->datum[i] = datum_find(data, &g->value.p[i]))) continue;
            numbers ? number_give(names, (Value){i}) : name_give(names, g, (Value){i}, false);
        }
        for (Node n = g->first; n.i; n = node_next(g, n))
            for (uint32_t k = 0; k < node_n_out(g, n); k++)
                numbers ? number_give(names, node_out(g, n, k)) : name_give(names, g, node_out(g, n, k), false);
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
    if (v.i && names->datum[v.i]) str_printf(o, "@%u", names->datum[v.i]);
    else if (v.i) lex_print_name(o, "%", names->of[v.i]);
    else str_char(o, '_');
}

/* `of`: the operator whose line this is; its origin is said when it is another. */
static void loc_text(Str *o, const Module *m, const Loc *loc, const char *of)
{
    const char *name = name_str(&m->names, loc->name), *op = name_str(&m->names, loc->op);
    if (loc->node < 0 && !*name && !*op) return;
    str_printf(o, " !%d", loc->node < 0 ? -1 : loc->node);
    bool other = *op && strcmp(op, of);
    if (*name || other) {
        size_t n = strlen(name), tail = strlen(op);
        str_char(o, ' ');
        if (*op && n > tail && name[n - tail - 1] == '/' && !strcmp(name + n - tail, op)) /* ".../Add" of an Add */
            quote(o, arena_printf(o->arena, "%.*s~", (int)(n - tail), name));
        else quote(o, n && name[n - 1] == '~' ? arena_printf(o->arena, "%s~", name) : name);
    }
    if (!other) return;
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
    loc_text(o, m, &c->loc, "");
    str_char(o, '\n');
}

/* ---- graphs ---- */

static void graph_text(Str *o, Graph *g, int depth, const Data *data);
static void body_text(Str *o, Graph *g, const GraphNames *names, int depth, const Data *data);

/* A group's graph can take its names from outside: each operand once, each result a node's own, nothing else differs. */
static bool group_names(GraphNames *inner, Arena *a, const Graph *g, const GraphNames *names, Node n)
{
    const NodeRec *r = node_rec(g, n);
    const Graph *q = r->op == OP_Group ? r->region[0] : NULL;
    const char *kind = q ? *(const char *const *)((const char *)r->attrs + op_desc(OP_Group)->attrs[0].offset) : "";
    if (!q || q->in.n != r->n_in || q->out.n != r->n_out || !r->n_out || strcmp(name_str(&g->m->names, q->name), kind))
        return false;
    scope_init(inner, a, q);
    for (uint32_t k = 0; k < r->n_in; k++) {
        Value v = node_in(g, n, k);
        if (!v.i || names->datum[v.i] || value_type(g, v).i != value_type(q, q->in.p[k]).i) return false;
        inner->of[q->in.p[k].i] = names->of[v.i];
        if (!name_take(inner, names->of[v.i])) return false;
    }
    for (uint32_t k = 0; k < r->n_out; k++) {
        const char *t = names->of[node_out(g, n, k).i];
        if (!value_rec(q, q->out.p[k])->def.i || inner->of[q->out.p[k].i] || !name_take(inner, t)) return false;
        inner->of[q->out.p[k].i] = t;
    }
    return true;
}

static void node_checks(Str *o, const Graph *g, Node n, int depth)
{
    const Module *m = g->m;
    const uint32_t *at;
    for (uint32_t k = 0, count = graph_checks(g, &at); k < count; k++) {
        const CheckRec *c = &m->check.p[at[k]];
        if (!c->at.i || (n.i ? c->at.i != n.i : !node_rec(g, c->at)->dead)) continue;
        indent(o, depth);
        check_text(o, m, c, "check");
    }
}

static void node_text(Str *o, Graph *g, const GraphNames *names, Node n, int depth, const Data *data)
{
    GraphNames inner;
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
    loc_text(o, g->m, &r->loc, d->name);
    if (group_names(&inner, o->arena, g, names, n)) {
        scope_give(&inner, r->region[0], data);
        str_add(o, " {\n");
        body_text(o, r->region[0], &inner, depth, data);
        o->p[--o->n] = 0; /* the bracket stands on the last line */
        str_add(o, " }\n");
        return;
    }
    str_char(o, '\n');
    for (uint32_t k = 0; k < r->n_region; k++) graph_text(o, r->region[k], depth + 1, data);
}

/* Constants and nodes, one level deeper. */
static void body_text(Str *o, Graph *g, const GraphNames *names, int depth, const Data *data)
{
    for (uint32_t i = 1; i < g->value.n; i++) {
        if (!const_shown(&g->value.p[i]) || names->datum[i]) continue;
        indent(o, depth + 1);
        value_use(o, names, (Value){i});
        str_add(o, " = const ");
        type_text(o, g, g->value.p[i].type);
        str_char(o, ' ');
        blob_print(o, &g->m->blobs, g->value.p[i].data);
        str_char(o, '\n');
    }
    for (Node n = g->first; n.i; n = node_next(g, n)) node_text(o, g, names, n, depth + 1, data);
    node_checks(o, g, NODE_NONE, depth + 1);
}

static void graph_text(Str *o, Graph *g, int depth, const Data *data)
{
    Module *m = g->m;
    GraphNames names;
    scope_init(&names, o->arena, g);
    scope_give(&names, g, data);
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
        if (!m->check.p[k].g || m->check.p[k].at.i) continue;
        indent(o, depth + 1);
        check_text(o, m, &m->check.p[k], "require");
    }
    body_text(o, g, &names, depth, data);
    indent(o, depth);
    str_add(o, "}\n");
}

void graph_print(Str *o, Graph *g) { graph_text(o, g, 0, NULL); }

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
            if (s->kind == ATTR_FULL_TYPE) type_use(u, *(const TypeId *)((const char *)r->attrs + s->offset));
            if (s->kind != ATTR_DIMS) continue;
            const AttrDims *d = (const AttrDims *)((const char *)r->attrs + s->offset);
            for (uint32_t k = 0; k < d->n; k++) dim_use(u, d->p[k]);
        }
        for (uint32_t k = 0; k < r->n_region; k++) graph_use(u, r->region[k]);
    }
    for (uint32_t k = 0; k < u->m->check.n; k++) {
        const CheckRec *c = &u->m->check.p[k];
        if (!c->g || (c->g != g && !(g == u->m->entry && !c->at.i))) continue;
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
    if (r->kind == SYM_ENTRY && r->input >= 0) str_printf(o, r->axis == AXIS_RANK ? " input %d rank" : " input %d axis %d", r->input, r->axis);
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
        graph_text(o, m->graph.p[k], 0, NULL);
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
    if (m->math != MATH_DEFAULT) str_printf(o, "math %s\n", math_mode_name(m->math));
    for (uint32_t k = 0; k < m->node_math.n; k++) {
        str_add(o, "math ");
        quote(o, name_str(&m->names, m->node_math.p[k].node));
        str_printf(o, " = %s\n", math_mode_name(m->node_math.p[k].mode));
    }
    for (uint32_t k = 0; k < m->alias.n; k++) {
        const AliasRec *a = &m->alias.p[k];
        str_add(o, "alias ");
        quote(o, name_str(&m->names, a->in));
        str_add(o, " -> ");
        quote(o, name_str(&m->names, a->out));
        if (a->axis >= 0) str_printf(o, " axis %d cap %lld", a->axis, (long long)a->cap);
        str_char(o, '\n');
    }
    for (uint32_t k = 0; k < m->rank.n; k++) {
        str_add(o, "rank ");
        quote(o, name_str(&m->names, m->rank.p[k].out));
        str_add(o, " -> ");
        quote(o, name_str(&m->names, m->rank.p[k].rank));
        str_char(o, '\n');
    }
    SymUse use = {.m = m, .used = arena_array(o->arena, bool, m->dims.sym.n + 1)};
    if (m->entry) graph_use(&use, m->entry);
    for (uint32_t i = 1; i < m->dims.sym.n; i++)
        if (use.used[i] && !sym_plain(m, (Sym){i})) sym_text(o, m, (Sym){i});
    recipes_text(o, m, recipe);
    Data data = {0};
    if (m->entry) data_collect(o->arena, m->entry, &data);
    for (uint32_t k = 0; k < data.n; k++) {
        str_printf(o, "data @%u", k + 1);
        if (data.p[k].name.i) str_char(o, ' '), quote(o, name_str(&m->names, data.p[k].name));
        str_add(o, " = ");
        type_print(o, &m->types, data.p[k].type);
        str_char(o, ' ');
        blob_print(o, &m->blobs, data.p[k].blob);
        str_char(o, '\n');
    }
    if (m->entry) graph_text(o, m->entry, 0, &data);
    same_text(o, m, use.used);
}
