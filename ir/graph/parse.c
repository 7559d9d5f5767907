/* parse: reads the text form of the Graph IR (grammar: docs/IR.md; what it means: print.c). Values are defined before
 * they are used, except in the list of graph outputs; operators, attributes, types and constants are checked as they
 * are read, everything else is the verifier's.
 *   bir 1
 *   graph @main(%x: f32[N,64]) -> (%y) {
 *     %y = Relu(%x) : f32[N,64]
 *   }
 * A symbol that an input of the entry graph mentions first is declared by it; all others need a `sym` line. Recursion
 * happens only for regions, at most REGION_DEPTH deep. The first error ends reading: nothing is guessed. */
#include "ir/graph/attr.h"
#include "ir/graph/math_mode.h"
#include <string.h>

#define REGION_DEPTH 64
#define RECIPE_INDEX_MAX 65536

typedef struct RecipeNo {
    int64_t text;
    uint32_t graph;
} RecipeNo;
typedef struct Bp {
    Lex x;
    Module *m;
    int depth;
    VEC(RecipeNo) recipe;
    VEC(struct Datum {
        const char *number;
        Name name;
        TypeId type;
        Blob blob;
    }) data; /* constants that stand before the graph */
} Bp;

/* Names of one graph: text name -> value. */
typedef struct Scope {
    Graph *g;
    Map of;
} Scope;

static Name intern(Bp *p, const char *s) { return name_of(&p->m->names, s); }

static bool scope_define(Bp *p, Scope *s, const Tok *at, const char *name, Value v)
{
    uint64_t seen;
    Name key = intern(p, name);
    if (map_get(&s->of, key.i, &seen)) return lex_error_at(&p->x, at, "'%%%s' is defined twice", name);
    map_put(&s->of, key.i, v.i);
    return true;
}

/* ---- pieces ---- */

/* @3: the graph's own value of the module's constant 3, made when it is first used. */
static bool datum_use(Bp *p, const Scope *s, Value *v)
{
    const char *number;
    Tok at = p->x.tok;
    uint64_t i;
    uint32_t k = 0;
    if (!lex_name(&p->x, TK_AT, &number)) return false;
    Name key = intern(p, arena_printf(p->m->arena, "@%s", number));
    if (map_get(&s->of, key.i, &i)) return v->i = (uint32_t)i, true;
    while (k < p->data.n && strcmp(p->data.p[k].number, number)) k++;
    if (k == p->data.n) return lex_error_at(&p->x, &at, "'@%s' is not defined: data stand before the graph", number);
    *v = graph_const(s->g, p->data.p[k].blob, p->data.p[k].type, p->data.p[k].name);
    map_put((Map *)&s->of, key.i, v->i);
    return true;
}

/* A value, or `_` for an operand that is left out. */
static bool use_parse(Bp *p, const Scope *s, Value *v)
{
    const char *name;
    *v = VALUE_NONE;
    if (lex_accept_ident(&p->x, "_")) return true;
    if (p->x.tok.kind == TK_AT) return datum_use(p, s, v);
    if (p->x.tok.kind != TK_PERCENT) return lex_error(&p->x, "expected a value (%%name) or _");
    Tok at = p->x.tok;
    uint64_t i;
    if (!lex_name(&p->x, TK_PERCENT, &name)) return false;
    if (!map_get(&s->of, intern(p, name).i, &i)) return lex_error_at(&p->x, &at, "'%%%s' is not defined here", name);
    v->i = (uint32_t)i;
    return true;
}

static bool type_parse(Bp *p, bool declare, TypeId *t)
{
    *t = (TypeId){0};
    return lex_accept(&p->x, '?') || lex_type(&p->x, &p->m->types, declare, t);
}

/* !3 "conv1/~" (Relu): an operator that is not said is `of`, `~` at the end of the name stands for it. */
static bool loc_parse(Bp *p, Loc *loc, const char *of)
{
    const char *t, *name;
    size_t n;
    int64_t node;
    *loc = (Loc){.node = -1};
    if (!lex_accept(&p->x, '!')) return true;
    if (!lex_int(&p->x, &node)) return false;
    if (node < -1 || node > INT32_MAX) return lex_error(&p->x, "a node number is at least -1");
    loc->node = (int32_t)node;
    if (*of) loc->op = intern(p, of);
    if (p->x.tok.kind != TK_STRING) return true;
    if (!lex_string(&p->x, &name, &n)) return false;
    if (lex_accept(&p->x, '(')) {
        size_t len;
        if (p->x.tok.kind == TK_STRING ? !lex_string(&p->x, &t, &len) : !lex_name(&p->x, TK_IDENT, &t)) return false;
        loc->op = intern(p, t);
        if (!lex_expect(&p->x, ')')) return false;
    }
    n = strlen(name);
    if (n > 1 && name[n - 1] == '~' && name[n - 2] == '~') name = arena_strndup(p->m->arena, name, n - 1);
    else if (n > 1 && name[n - 1] == '~' && name[n - 2] == '/' && loc->op.i)
        name = arena_printf(p->m->arena, "%.*s%s", (int)n - 1, name, name_str(&p->m->names, loc->op));
    loc->name = intern(p, name);
    return true;
}

/* a == b, "message" [bcast] [loc] */
static bool check_parse(Bp *p, Graph *g, CheckRec *c)
{
    size_t n;
    *c = (CheckRec){.g = g};
    if (!lex_dim(&p->x, &p->m->dims, false, &c->a) || !lex_expect(&p->x, '=') || !lex_expect(&p->x, '=')) return false;
    if (!lex_dim(&p->x, &p->m->dims, false, &c->b) || !lex_expect(&p->x, ',') || !lex_string(&p->x, &c->msg, &n))
        return false;
    c->bcast = p->x.tok.kind == TK_IDENT && lex_accept_ident(&p->x, "bcast");
    return loc_parse(p, &c->loc, "");
}

/* %name at `at`, = const behind it */
typedef struct Def {
    const char *name;
    Tok at;
} Def;

static bool tensor_const_parse(Bp *p, TypeId *type, int64_t *count)
{
    Module *m = p->m;
    if (!lex_type(&p->x, &m->types, false, type)) return false;
    const TypeRec *t = type_rec(&m->types, *type);
    return (t->kind == TY_TENSOR && t->rank != RANK_UNKNOWN &&
            dim_is_const(&m->dims, type_count(&m->types, *type), count)) ||
           lex_error(&p->x, "a constant needs a tensor type with constant dims");
}

static bool const_parse(Bp *p, Scope *s, const Def *d)
{
    Module *m = p->m;
    TypeId type;
    Blob blob;
    int64_t count;
    if (!tensor_const_parse(p, &type, &count)) return false;
    if (!lex_blob(&p->x, &m->blobs, type_rec(&m->types, type)->elem, count, &blob)) return false;
    return scope_define(p, s, &d->at, d->name, graph_const(s->g, blob, type, intern(p, d->name)));
}

/* "Relu", "Group" or "domain.Op" */
static OpCode op_parse(Bp *p)
{
    const char *name;
    Tok at = p->x.tok;
    if (!lex_name(&p->x, TK_IDENT, &name)) return OP_NONE;
    const char *dot = strrchr(name, '.');
    OpCode op = dot ? op_find(arena_strndup(p->m->arena, name, (size_t)(dot - name)), dot + 1) : op_find("", name);
    if (!op && !dot) op = op_find("bmc", name);
    if (!op) lex_error_at(&p->x, &at, "unknown operator '%s'", name);
    return op;
}

/* Op(%a, _ | %captured) {attributes} : types !loc, after the results */
static bool node_parse(Bp *p, Scope *s, const Def *def, uint32_t n_def, Node *node)
{
    Module *m = p->m;
    VEC(Value) in = {0};
    uint32_t capture_at = UINT32_MAX;
    OpCode op = op_parse(p);
    if (!op || !lex_expect(&p->x, '(')) return false;
    while (!lex_is(&p->x, ')')) {
        Value v;
        if (capture_at == UINT32_MAX && lex_accept(&p->x, '|')) capture_at = in.n;
        if (!use_parse(p, s, &v)) return false;
        vec_push(m->arena, &in, v);
        if (!lex_is(&p->x, '|') && !lex_accept(&p->x, ',')) break;
    }
    if (!lex_expect(&p->x, ')')) return false;
    const OpDesc *d = op_desc(op);
    void *attrs = d->attrs_size ? attrs_new(m->arena, d) : NULL;
    if (lex_accept(&p->x, '{')) {
        if (!attrs) return lex_error(&p->x, "%s has no attributes", d->name);
        if (!attrs_parse(&p->x, m, d, attrs)) return false;
    }
    TypeId *type = arena_array(m->arena, TypeId, n_def ? n_def : 1);
    if (n_def && lex_accept(&p->x, ':'))
        for (uint32_t k = 0; k < n_def; k++)
            if ((k && !lex_expect(&p->x, ',')) || !type_parse(p, false, &type[k])) return false;
    Loc loc;
    if (!loc_parse(p, &loc, d->name)) return false;
    *node = graph_add(s->g, op, in.p, in.n, n_def, attrs, loc, NODE_NONE);
    if (capture_at != UINT32_MAX) node_rec(s->g, *node)->n_capture = in.n - capture_at;
    for (uint32_t k = 0; k < n_def; k++) {
        Value v = node_out(s->g, *node, k);
        value_rec(s->g, v)->type = type[k];
        value_rec(s->g, v)->name = intern(p, def[k].name);
        if (!scope_define(p, s, &def[k].at, def[k].name, v)) return false;
    }
    return true;
}

/* ---- graphs ---- */

/* Symbols that an input of the entry graph is the first to mention are bound by it. */
static void syms_bind(Module *m, uint32_t from, TypeId type, uint32_t input)
{
    for (uint32_t i = from; i < m->dims.sym.n; i++) {
        SymRec *s = &m->dims.sym.p[i];
        *s = (SymRec){
            .name = s->name, .kind = SYM_ENTRY, .input = -1, .axis = -1, .lo = 0, .hi = INT64_MAX, .multiple = 1};
    }
    const TypeRec *t = type_rec(&m->types, type);
    for (int axis = 0; t->kind == TY_TENSOR && t->rank != RANK_UNKNOWN && axis < t->rank; axis++) {
        const DimRec *d = &m->dims.rec.p[t->dim[axis].i];
        if (d->kind != DIM_SYM || d->sym.i < from || m->dims.sym.p[d->sym.i].input >= 0) continue;
        m->dims.sym.p[d->sym.i].input = (int32_t)input;
        m->dims.sym.p[d->sym.i].axis = axis;
    }
}

static bool inputs_parse(Bp *p, Scope *s, bool entry)
{
    if (!lex_expect(&p->x, '(')) return false;
    while (!lex_is(&p->x, ')')) {
        const char *name;
        TypeId type;
        Tok at = p->x.tok;
        uint32_t n_sym = p->m->dims.sym.n;
        if (!lex_name(&p->x, TK_PERCENT, &name) || !lex_expect(&p->x, ':') || !type_parse(p, entry, &type))
            return false;
        if (entry) syms_bind(p->m, n_sym, type, s->g->in.n);
        if (!scope_define(p, s, &at, name, graph_input(s->g, type, intern(p, name)))) return false;
        if (!lex_accept(&p->x, ',')) break;
    }
    return lex_expect(&p->x, ')');
}

/* -> (%y, "other name" = %x): defined later */
typedef struct OutText {
    const char *value, *name;
    Tok at;
} OutText;
typedef VEC(OutText) OutTexts;

static bool outputs_parse(Bp *p, OutTexts *out)
{
    if (!lex_expect_arrow(&p->x) || !lex_expect(&p->x, '(')) return false;
    while (!lex_is(&p->x, ')')) {
        OutText o = {0};
        size_t n;
        if (p->x.tok.kind == TK_STRING && (!lex_string(&p->x, &o.name, &n) || !lex_expect(&p->x, '='))) return false;
        o.at = p->x.tok;
        if (!lex_name(&p->x, TK_PERCENT, &o.value)) return false;
        vec_push(p->m->arena, out, o);
        if (!lex_accept(&p->x, ',')) break;
    }
    return lex_expect(&p->x, ')');
}

static bool outputs_set(Bp *p, const Scope *s, const OutTexts *out)
{
    Value *v = arena_array(p->m->arena, Value, out->n ? out->n : 1);
    for (uint32_t k = 0; k < out->n; k++) {
        uint64_t i;
        if (!map_get(&s->of, intern(p, out->p[k].value).i, &i))
            return lex_error_at(&p->x, &out->p[k].at, "'%%%s' is not defined in this graph", out->p[k].value);
        v[k].i = (uint32_t)i;
    }
    graph_set_outputs(s->g, v, out->n);
    for (uint32_t k = 0; k < out->n; k++)
        if (out->p[k].name) s->g->out_name.p[k] = intern(p, out->p[k].name);
    return true;
}

static bool graph_parse(Bp *p, bool entry, Graph **made);
static bool body_parse(Bp *p, Scope *s);

/* { nodes } behind a Group: its graph has the operands' and results' names. */
static bool group_parse(Bp *p, Scope *outer, Node n, const Def *def, uint32_t n_def)
{
    Graph *g = outer->g;
    const NodeRec *r = node_rec(g, n);
    if (r->op != OP_Group) return lex_error(&p->x, "a graph follows as `graph @name(...) -> (...) {`");
    if (p->depth++ == REGION_DEPTH) return lex_error(&p->x, "regions nest deeper than %d", REGION_DEPTH);
    const char *kind = *(const char *const *)((const char *)r->attrs + op_desc(OP_Group)->attrs[0].offset);
    Scope s = {.g = graph_new(p->m, kind)};
    OutTexts out = {0};
    map_init(&s.of, p->m->arena);
    for (uint32_t k = 0; k < r->n_in; k++) {
        Value v = node_in(g, n, k);
        const char *name = v.i ? name_str(&p->m->names, value_rec(g, v)->name) : "";
        Value in = graph_input(s.g, value_type(g, v), value_rec(g, v)->name);
        if (!*name || !scope_define(p, &s, &def[0].at, name, in))
            return lex_error(&p->x, "a group whose graph has no header names each operand once");
    }
    for (uint32_t k = 0; k < n_def; k++)
        vec_push(p->m->arena, &out, (OutText){.value = def[k].name, .at = def[k].at});
    if (!body_parse(p, &s) || !outputs_set(p, &s, &out)) return false;
    graph_set_region(g, n, (const Graph *const[]){s.g}, 1);
    p->depth--;
    return true;
}

/* Graphs that follow a node are its regions, in order. */
static bool regions_parse(Bp *p, Scope *s, Node n, const Def *def, uint32_t n_def)
{
    Graph *g = s->g;
    VEC(const Graph *) region = {0};
    if (lex_is(&p->x, '{')) return group_parse(p, s, n, def, n_def);
    while (lex_is_ident(&p->x, "graph")) {
        Graph *r;
        if (!graph_parse(p, false, &r)) return false;
        vec_push(p->m->arena, &region, r);
    }
    if (region.n) graph_set_region(g, n, region.p, region.n);
    return true;
}

static bool statement_parse(Bp *p, Scope *s, Node *node)
{
    VEC(Def) def = {0};
    *node = NODE_NONE;
    if (p->x.tok.kind == TK_PERCENT) {
        do {
            Def d = {.at = p->x.tok};
            if (!lex_name(&p->x, TK_PERCENT, &d.name)) return false;
            vec_push(p->m->arena, &def, d);
        } while (lex_accept(&p->x, ','));
        if (!lex_expect(&p->x, '=')) return false;
        if (def.n == 1 && lex_accept_ident(&p->x, "const")) return const_parse(p, s, &def.p[0]);
    }
    return node_parse(p, s, def.p, def.n, node) && regions_parse(p, s, *node, def.p, def.n);
}

static bool body_parse(Bp *p, Scope *s)
{
    Module *m = p->m;
    uint32_t waiting = 0; /* the last checks, for the node that comes next */
    if (!lex_expect(&p->x, '{')) return false;
    while (!lex_is(&p->x, '}')) {
        CheckRec c;
        if (lex_is_ident(&p->x, "require") || lex_is_ident(&p->x, "check")) {
            bool at_entry = lex_is_ident(&p->x, "require");
            lex_next(&p->x);
            if (!check_parse(p, s->g, &c)) return false;
            module_check(m, c);
            if (!at_entry) waiting++;
            else if (waiting) return lex_error(&p->x, "`require` stands before the nodes");
            continue;
        }
        Node n;
        uint32_t before = m->check.n;
        if (!statement_parse(p, s, &n)) return false;
        if (!n.i) continue;
        for (uint32_t k = 0; k < waiting; k++) m->check.p[before - 1 - k].at = n;
        waiting = 0;
    }
    if (waiting) return lex_error(&p->x, "`check` stands before a node");
    return lex_expect(&p->x, '}');
}

static bool graph_parse(Bp *p, bool entry, Graph **made)
{
    const char *name;
    OutTexts out = {0};
    if (p->depth++ == REGION_DEPTH) return lex_error(&p->x, "regions nest deeper than %d", REGION_DEPTH);
    if (!lex_expect_ident(&p->x, "graph") || !lex_name(&p->x, TK_AT, &name)) return false;
    Scope s = {.g = graph_new(p->m, name)};
    map_init(&s.of, p->m->arena);
    *made = s.g;
    if (entry) p->m->entry = s.g;
    if (!inputs_parse(p, &s, entry) || !outputs_parse(p, &out) || !body_parse(p, &s) || !outputs_set(p, &s, &out))
        return false;
    p->depth--;
    return true;
}

/* ---- the module ---- */

static bool name_or_string(Bp *p, Name *name)
{
    const char *t;
    size_t n;
    return lex_string(&p->x, &t, &n) && (*name = intern(p, t), true);
}

static bool bounded_int(Bp *p, const char *word, int64_t lo, int64_t hi, int64_t *v)
{
    if (!lex_accept_ident(&p->x, word)) return true;
    if (!lex_int(&p->x, v)) return false;
    return (*v >= lo && *v <= hi) || lex_error(&p->x, "%s %lld is out of range", word, (long long)*v);
}

static bool sym_name(Bp *p, const char **name)
{
    return lex_name(&p->x, p->x.tok.kind == TK_DOLLAR ? TK_DOLLAR : TK_IDENT, name);
}

/* sym N entry input 0 axis 1 lo 1 hi 512 multiple 8 */
static bool sym_parse(Bp *p)
{
    Module *m = p->m;
    const char *name;
    Sym s;
    int64_t input = -1, axis = -1, lo = 0, hi = INT64_MAX, step = 1;
    if (!sym_name(p, &name)) return false;
    if (sym_find(&m->dims, intern(p, name), &s)) return lex_error(&p->x, "symbol '%s' is declared twice", name);
    bool node = lex_accept_ident(&p->x, "node");
    if (!node && !lex_expect_ident(&p->x, "entry")) return false;
    if (!bounded_int(p, "input", 0, INT32_MAX, &input)) return false;
    if (input >= 0 && lex_accept_ident(&p->x, "rank")) axis = AXIS_RANK;
    else if (!bounded_int(p, "axis", 0, RANK_MAX - 1, &axis)) return false;
    if (!bounded_int(p, "lo", INT64_MIN, INT64_MAX, &lo) || !bounded_int(p, "hi", lo, INT64_MAX, &hi)) return false;
    if (!bounded_int(p, "multiple", 1, INT64_MAX, &step)) return false;
    if ((input < 0) != (axis < 0) || (node && input >= 0))
        return lex_error(&p->x, "an entry symbol has both an input and an axis, or neither; a node symbol has none");
    s = sym_new(&m->dims, intern(p, name), node ? SYM_NODE : SYM_ENTRY, lo, hi);
    m->dims.sym.p[s.i].input = (int32_t)input;
    m->dims.sym.p[s.i].axis = (int32_t)axis;
    m->dims.sym.p[s.i].multiple = step;
    return true;
}

/* Does resolving the dim come to symbol `target`? */
typedef struct Reach {
    const Dims *d;
    Sym target;
    bool *seen, found;
} Reach;

static void reach(void *arg, Sym s)
{
    Reach *r = arg;
    if (s.i == r->target.i) r->found = true;
    if (r->found || r->seen[s.i]) return;
    r->seen[s.i] = true;
    if (r->d->sym.p[s.i].same_as.i) dim_each_sym(r->d, r->d->sym.p[s.i].same_as, reach, r);
}

/* same M N: M was assumed equal to N */
static bool same_parse(Bp *p)
{
    Module *m = p->m;
    const char *name;
    Sym s;
    Dim d;
    Tok at = p->x.tok;
    if (!sym_name(p, &name)) return false;
    if (!sym_find(&m->dims, intern(p, name), &s)) return lex_error_at(&p->x, &at, "unknown symbol '%s'", name);
    if (!lex_dim(&p->x, &m->dims, false, &d)) return false;
    Reach r = {.d = &m->dims, .target = s, .seen = arena_array(m->arena, bool, m->dims.sym.n)};
    dim_each_sym(&m->dims, d, reach, &r);
    if (r.found) return lex_error_at(&p->x, &at, "%s would be equal to an expression of itself", name);
    if (m->dims.sym.p[s.i].same_as.i) return lex_error_at(&p->x, &at, "%s has two `same` lines", name);
    m->dims.sym.p[s.i].same_as = d;
    m->dims.merged = true;
    return true;
}

static bool alias_parse(Bp *p)
{
    AliasRec a = {.axis = -1};
    int64_t axis = -1, cap = 0;
    if (!name_or_string(p, &a.in) || !lex_expect_arrow(&p->x) || !name_or_string(p, &a.out)) return false;
    if (!bounded_int(p, "axis", 0, RANK_MAX - 1, &axis) || !bounded_int(p, "cap", 1, INT64_MAX, &cap)) return false;
    if ((axis < 0) != (cap == 0)) return lex_error(&p->x, "an alias along an axis needs a capacity");
    a.axis = (int32_t)axis;
    a.cap = cap;
    vec_push(p->m->arena, &p->m->alias, a);
    return true;
}

/* rank "y" -> "y.rank" */
static bool rank_parse(Bp *p)
{
    RankRec r;
    if (!name_or_string(p, &r.out) || !lex_expect_arrow(&p->x) || !name_or_string(p, &r.rank)) return false;
    vec_push(p->m->arena, &p->m->rank, r);
    return true;
}

/* math MODE | math "node" = MODE */
static bool math_parse(Bp *p)
{
    Name node = {0};
    MathMode mode;
    if (p->x.tok.kind == TK_STRING && (!name_or_string(p, &node) || !lex_expect(&p->x, '='))) return false;
    Tok at = p->x.tok;
    const char *word;
    if (!lex_name(&p->x, TK_IDENT, &word)) return false;
    if (!math_mode_find(word, &mode)) return lex_error_at(&p->x, &at, "'%s' is no mode of arithmetic", word);
    if (node.i) module_set_node_math(p->m, node, mode);
    else p->m->math = mode;
    return true;
}

static bool recipe_parse(Bp *p)
{
    RecipeNo r = {0};
    Graph *g;
    if (!lex_int(&p->x, &r.text)) return false;
    for (uint32_t k = 0; k < p->recipe.n; k++)
        if (p->recipe.p[k].text == r.text) return lex_error(&p->x, "recipe %lld is defined twice", (long long)r.text);
    /* the number is the graph's index when that is free, so that printing gives the same number again */
    while (p->m->graph.n < r.text && r.text < RECIPE_INDEX_MAX) graph_new(p->m, "");
    if (!graph_parse(p, false, &g)) return false;
    r.graph = g->id;
    vec_push(p->m->arena, &p->recipe, r);
    return true;
}

/* data @3 "name" = f32[64] ... */
static bool data_parse(Bp *p)
{
    Module *m = p->m;
    struct Datum d = {0};
    const char *name;
    size_t n;
    int64_t count;
    Tok at = p->x.tok;
    if (!lex_name(&p->x, TK_AT, &d.number)) return false;
    for (uint32_t k = 0; k < p->data.n; k++)
        if (!strcmp(p->data.p[k].number, d.number)) return lex_error_at(&p->x, &at, "'@%s' is defined twice", d.number);
    if (p->x.tok.kind == TK_STRING) {
        if (!lex_string(&p->x, &name, &n)) return false;
        d.name = intern(p, name);
    }
    if (!lex_expect(&p->x, '=') || !tensor_const_parse(p, &d.type, &count)) return false;
    if (!lex_blob(&p->x, &m->blobs, type_rec(&m->types, d.type)->elem, count, &d.blob)) return false;
    vec_push(m->arena, &p->data, d);
    return true;
}

static bool item_parse(Bp *p)
{
    Module *m = p->m;
    size_t n;
    Graph *g;
    if (lex_is_ident(&p->x, "graph"))
        return m->entry ? lex_error(&p->x, "a module has one graph; others are regions or recipes")
                        : graph_parse(p, true, &g);
    if (lex_accept_ident(&p->x, "source")) return lex_string(&p->x, &m->source, &n);
    if (lex_accept_ident(&p->x, "prefix")) return lex_string(&p->x, &m->prefix, &n);
    if (lex_accept_ident(&p->x, "opset")) return lex_int(&p->x, &m->opset);
    if (lex_accept_ident(&p->x, "alias")) return alias_parse(p);
    if (lex_accept_ident(&p->x, "rank")) return rank_parse(p);
    if (lex_accept_ident(&p->x, "math")) return math_parse(p);
    if (lex_accept_ident(&p->x, "sym")) return sym_parse(p);
    if (lex_accept_ident(&p->x, "same")) return same_parse(p);
    if (lex_accept_ident(&p->x, "recipe")) return recipe_parse(p);
    if (lex_accept_ident(&p->x, "data")) return data_parse(p);
    return lex_error(&p->x, "expected source, prefix, opset, math, alias, rank, sym, same, recipe, data or graph");
}

/* Recipes that constants name by their number in the text now name graphs of this module. */
static bool recipes_resolve(Bp *p, uint32_t first_blob)
{
    Module *m = p->m;
    for (uint32_t i = first_blob; i < m->blobs.rec.n; i++) {
        BlobRec *b = &m->blobs.rec.p[i];
        if (b->kind != BLOB_DERIVED || b->recipe->kind != RECIPE_GRAPH) continue;
        uint32_t k = 0;
        while (k < p->recipe.n && p->recipe.p[k].text != (int64_t)b->recipe->graph) k++;
        if (k == p->recipe.n)
            return lex_error(&p->x, "a constant names recipe %u, which is not defined", b->recipe->graph);
        b->recipe->graph = p->recipe.p[k].graph;
    }
    return true;
}

bool bir_parse(Module *m, const char *file, const char *text, size_t n)
{
    Bp p = {.m = m};
    int64_t version;
    uint32_t first_blob = m->blobs.rec.n;
    lex_init(&p.x, m->arena, m->diag, file, text, n);
    int line = p.x.tok.line, col = p.x.tok.col;
    if (!lex_expect_ident(&p.x, "bir") || !lex_int(&p.x, &version)) return false;
    if (version != BIR_VERSION)
        return diag(m->diag, diag_line(file, line, col), E_VERSION, (long long)version, BIR_VERSION);
    while (p.x.tok.kind != TK_EOF && !p.x.failed)
        if (!item_parse(&p)) return false;
    if (p.x.failed) return false;
    if (!m->entry) return lex_error(&p.x, "no graph");
    return recipes_resolve(&p, first_blob);
}

bool bir_parse_recipes(Module *m, const char *file, const char *text, size_t n)
{
    Bp p = {.m = m};
    lex_init(&p.x, m->arena, m->diag, file, text, n);
    while (p.x.tok.kind != TK_EOF && !p.x.failed)
        if (!lex_expect_ident(&p.x, "recipe") || !recipe_parse(&p)) return false;
    for (uint32_t k = 0; k < p.recipe.n; k++)
        if (p.recipe.p[k].text != p.recipe.p[k].graph) return lex_error(&p.x, "recipes are in ascending order");
    return !p.x.failed;
}
