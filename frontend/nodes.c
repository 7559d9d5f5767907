/* nodes: the nodes of a graph or function body, in order, with their subgraphs as regions.
 *
 *   y = If(c) {then: z = Add(x, w)}         %y = If(%c | %x) ; then(%x) { %w = const ..; %z = Add(%x, %w) }
 *
 * A region is closed: what its graph uses of its surroundings becomes operands behind the node's own and inputs behind the graph's own, the same ones for all regions of
 * the node. They are known before the region is read (graph_free_names), so scope_find never has to add one later. Constants are made anew inside. */
#include "frontend/import.h"
#include "base/bug.h"
#include <string.h>

/* ---- scopes ---- */

bool scope_define(Import *im, Scope *s, const char *name, Value v)
{
    if (!*name) return true;
    Name n = name_of(&im->m->names, name);
    uint64_t old;
    if (map_get(&s->name, n.i, &old)) return diag(im->m->diag, diag_file(im->m->source), E_REDEFINED, name);
    map_put(&s->name, n.i, v.i);
    return true;
}

void scope_define_broken(Import *im, Scope *s, const char *name)
{
    Name n = name_of(&im->m->names, name);
    uint64_t old;
    if (*name && !map_get(&s->name, n.i, &old)) map_put(&s->name, n.i, SCOPE_BROKEN);
}

/* The value of an outer place inside `p`. */
static Value bring_in(Import *im, Place *p, const Place *from, Value v)
{
    uint64_t found;
    if (p == from || !v.i) return v;
    Value o = bring_in(im, p->outer, from, v);
    if (map_get(&p->inner, o.i, &found)) return (Value){(uint32_t)found};
    const ValueRec *r = value_rec(p->outer->g, o);
    if (!r->data.i) BUG("a value that is captured was not announced");
    Value c = graph_const(p->g, r->data, r->type, r->name);
    map_put(&p->inner, o.i, c.i);
    return c;
}

bool scope_find(Import *im, const Scope *s, Name name, Value *v, bool *broken)
{
    Place *to = s->in;
    uint64_t found;
    *broken = false;
    for (; s; s = s->outer) {
        if (!map_get(&s->name, name.i, &found)) continue;
        *broken = found == SCOPE_BROKEN;
        if (*broken) return false;
        *v = bring_in(im, to, s->in, (Value){(uint32_t)found});
        return true;
    }
    return false;
}

/* ---- where ---- */

Loc node_loc(Import *im, const Scope *s, const Onnx__NodeProto *n, uint32_t index)
{
    Names *names = &im->m->names;
    Loc loc = {.node = s->call->function ? s->call->node : s->outer ? -1 : (int32_t)index, .op = name_of(names, n->op_type)};
    if (*n->name) loc.name = s->call->function ? name_of(names, arena_printf(im->arena, "%s%s", s->call->prefix, n->name)) : name_of(names, n->name);
    else if (s->outer || s->call->function) loc.name = name_of(names, arena_printf(im->arena, "%s%u", s->path, index));
    return loc;
}

DiagLoc loc_diag(Import *im, Loc loc)
{
    const Names *names = &im->m->names;
    return (DiagLoc){.file = im->m->source, .node = loc.node, .node_name = name_str(names, loc.name), .op = name_str(names, loc.op)};
}

static const char *domain_of(const char *domain) { return strcmp(domain, "ai.onnx") ? domain : ""; }

int64_t opset_of(const Call *call, const char *domain)
{
    for (size_t k = 0; k < call->opsets.n; k++)
        if (!strcmp(domain_of(call->opsets.p[k]->domain), domain_of(domain))) return call->opsets.p[k]->version;
    return 0;
}

/* ---- operands ---- */

static bool operands(Import *im, const Scope *s, const Onnx__NodeProto *n, Loc loc, Value *in, size_t *n_in)
{
    bool ok = true;
    *n_in = n->n_input;
    while (*n_in && !*n->input[*n_in - 1]) --*n_in;
    for (size_t k = 0; k < *n_in; k++) {
        bool broken;
        in[k] = VALUE_NONE;
        if (!*n->input[k] || scope_find(im, s, name_of(&im->m->names, n->input[k]), &in[k], &broken)) continue;
        ok = false;
        if (!broken) diag(im->m->diag, loc_diag(im, loc), E_UNDEFINED, n->input[k]);
    }
    return ok;
}

static void results_broken(Import *im, Scope *s, const Onnx__NodeProto *n)
{
    for (size_t k = 0; k < n->n_output; k++) scope_define_broken(im, s, n->output[k]);
}

static bool results(Import *im, Scope *s, const Onnx__NodeProto *n, const Value *out, uint32_t n_out)
{
    bool ok = true;
    for (uint32_t k = 0; k < n_out; k++) {
        if (!*n->output[k]) continue;
        ValueRec *r = value_rec(s->in->g, out[k]);
        const char *name = s->call->function ? arena_printf(im->arena, "%s%s", s->call->prefix, n->output[k]) : n->output[k];
        r->name = name_of(&im->m->names, name);
        ok &= scope_define(im, s, n->output[k], out[k]);
    }
    return ok;
}

/* ---- regions ---- */

Place *place_new(Import *im, const char *name, Place *outer)
{
    Place *p = arena_new(im->arena, Place);
    p->g = graph_new(im->m, name);
    p->outer = outer;
    p->depth = outer ? outer->depth + 1 : 0;
    map_init(&p->inner, im->arena);
    while (im->place.n <= p->g->id) vec_push(im->arena, &im->place, NULL);
    im->place.p[p->g->id] = p;
    return p;
}

static bool is_initializer(const Onnx__GraphProto *g, const char *name)
{
    for (size_t k = 0; k < g->n_initializer; k++)
        if (!strcmp(g->initializer[k]->name, name)) return true;
    return false;
}

static bool region_outputs(Import *im, const Scope *s, const Onnx__GraphProto *g, Loc loc)
{
    Value *out = arena_array(im->arena, Value, g->n_output + 1);
    bool ok = true, broken;
    for (size_t k = 0; k < g->n_output; k++) {
        const char *name = g->output[k]->name;
        if (*name && scope_find(im, s, name_of(&im->m->names, name), &out[k], &broken) && out[k].i) continue;
        ok = false;
        if (!*name || !broken) diag(im->m->diag, loc_diag(im, loc), E_UNDEFINED, name);
    }
    if (ok) graph_set_outputs(s->in->g, out, (uint32_t)g->n_output);
    for (size_t k = 0; ok && k < g->n_output; k++) s->in->g->out_name.p[k] = name_of(&im->m->names, g->output[k]->name);
    return ok;
}

typedef VEC(Value) ValueVec;

/* An input of a graph, under its name. What the operator gives it as one element (an iteration's number) may be declared as a vector of it: it is made one. */
static bool region_input(Import *im, Scope *s, const OpDesc *d, uint32_t k, const Onnx__ValueInfoProto *p)
{
    Module *m = im->m;
    Graph *g = s->in->g;
    TypeId t = type_declared(m, p->type);
    const TypeRec *r = t.i ? type_rec(&m->types, t) : NULL;
    Value v = graph_input(g, (TypeId){0}, name_of(&m->names, p->name));
    if (k < 32 && d->one >> k & 1 && r && r->kind == TY_TENSOR && r->rank == 1) {
        int64_t one = 1;
        Dim count = dim_const(&m->dims, 1);
        Value shape = graph_const(g, blob_inline(&m->blobs, DT_I64, 1, &one), type_tensor(&m->types, DT_I64, 1, &count), (Name){0});
        t = type_tensor(&m->types, r->elem, 0, NULL);
        v = node_out(g, graph_add(g, OP_Reshape, (Value[]){v, shape}, 2, 1, NULL, (Loc){.name = name_of(&m->names, p->name)}, NODE_NONE), 0);
    }
    vec_push(im->arena, &s->in->formal, t);
    return scope_define(im, s, p->name, v);
}

/* in: where the node stands; outer: where the graph's names are found, which is elsewhere when the caller of a function gave the graph. */
static bool region(Import *im, Place *in, const Scope *outer, const OpDesc *d, const Onnx__GraphProto *g, const char *attr, const ValueVec *captured,
                   Loc loc, Graph **out)
{
    const Names *names = &im->m->names;
    const char *owner = loc.name.i ? name_str(names, loc.name) : name_str(names, loc.op);
    bool ok = true;
    if (in->depth + 1 > REGION_DEPTH_MAX) return diag(im->m->diag, loc_diag(im, loc), E_IMPORT, "more than 64 graphs inside each other");
    Place *p = place_new(im, name_str(names, module_fresh_name(im->m, attr)), in);
    Scope s = {.in = p, .outer = outer, .call = outer->call, .path = arena_printf(im->arena, "%s/%s/", owner, attr)};
    map_init(&s.name, im->arena);
    *out = p->g;
    for (size_t k = 0; k < g->n_input; k++) {
        if (is_initializer(g, g->input[k]->name)) continue;   /* its default: nobody gives another value */
        ok &= region_input(im, &s, d, p->g->in.n, g->input[k]);
    }
    for (uint32_t k = 0; k < captured->n; k++)
        map_put(&p->inner, captured->p[k].i, graph_input(p->g, (TypeId){0}, value_rec(in->g, captured->p[k])->name).i);
    ok &= graph_body_import(im, &s, g);
    return ok && region_outputs(im, &s, g, loc);
}

/* What stands for a graph that may be left out. */
static Graph *region_identity(Import *im, const Scope *outer, const char *attr, const ValueVec *captured)
{
    Place *p = place_new(im, name_str(&im->m->names, module_fresh_name(im->m, attr)), outer->in);
    Value x = graph_input(p->g, (TypeId){0}, (Name){0});
    vec_push(im->arena, &p->formal, (TypeId){0});
    for (uint32_t k = 0; k < captured->n; k++)
        graph_input(p->g, (TypeId){0}, value_rec(outer->in->g, captured->p[k])->name);
    graph_set_outputs(p->g, &x, 1);
    return p->g;
}

typedef struct Capture { Import *im; Place *to; Map seen; ValueVec *captured; } Capture;

static void capture_graph(Capture *c, const Scope *where, const Onnx__GraphProto *g);

/* Graphs that nodes inside refer to: the caller of the function gave them. */
static void capture_referred(Capture *c, const Scope *where, const Onnx__GraphProto *g)
{
    for (size_t k = 0; k < g->n_node; k++)
        for (size_t i = 0; i < g->node[k]->n_attribute; i++) {
            const Scope *giver;
            const Onnx__AttributeProto *given = g->node[k]->attribute[i], *a = attr_resolve(where, given, &giver);
            if (!a || !a->g) continue;
            if (a == given) capture_referred(c, where, a->g);
            else capture_graph(c, giver, a->g);
        }
}

/* The values, not constants, that a graph uses of the node's own place. Names that are not found are diagnosed where they are used. */
static void capture_graph(Capture *c, const Scope *where, const Onnx__GraphProto *g)
{
    NameVec free_names = {0};
    graph_free_names(c->im, g, &free_names);
    for (uint32_t k = 0; k < free_names.n; k++) {
        Value v;
        bool broken;
        uint64_t old;
        if (!scope_find(c->im, where, free_names.p[k], &v, &broken) || !v.i || value_is_const(where->in->g, v)) continue;
        v = bring_in(c->im, c->to, where->in, v);
        if (map_get(&c->seen, v.i, &old)) continue;
        map_put(&c->seen, v.i, 1);
        vec_push(c->im->arena, c->captured, v);
    }
    capture_referred(c, where, g);
}

static void captures(Import *im, const Scope *s, const Onnx__NodeProto *n, const OpDesc *d, ValueVec *captured)
{
    Capture c = {.im = im, .to = s->in, .captured = captured};
    const char *attr;
    const Scope *where;
    map_init(&c.seen, im->arena);
    for (uint32_t k = 0; k < attrs_n_region(d); k++) {
        const Onnx__GraphProto *g = attrs_region(s, n, d, k, &attr, &where);
        if (g) capture_graph(&c, where, g);
    }
}

static bool regions(Import *im, const Scope *s, const Onnx__NodeProto *n, const OpDesc *d, const ValueVec *captured, Loc loc, const Graph **region_of)
{
    bool ok = true;
    for (uint32_t k = 0; k < attrs_n_region(d); k++) {
        const char *attr;
        Graph *made = NULL;
        const Scope *where;
        const Onnx__GraphProto *g = attrs_region(s, n, d, k, &attr, &where);
        if (g) ok &= region(im, s->in, where, d, g, attr, captured, loc, &made);
        else made = region_identity(im, s, attr, captured);
        region_of[k] = made;
    }
    return ok;
}

/* Operands of a node with captures stand where the op's ports say: what is left out in front of a variadic port is none, not missing. */
static size_t fixed_ports(const OpDesc *d)
{
    size_t n = 0;
    for (const Port *p = d->in; p->name && !(p->flags & PORT_VARIADIC); p++) n++;
    return n;
}

/* ---- nodes ---- */

static bool unknown_op(Import *im, const Scope *s, const Onnx__NodeProto *n, Loc loc)
{
    return diag(im->m->diag, loc_diag(im, loc), E_UNKNOWN_OP, n->op_type, domain_of(n->domain), (long long)opset_of(s->call, n->domain));
}

static bool no_opset(Import *im, const Onnx__NodeProto *n, Loc loc)
{
    const char *domain = domain_of(n->domain);
    uint64_t key = name_of(&im->m->names, domain).i, said;
    if (map_get(&im->no_opset, key, &said)) return false;
    map_put(&im->no_opset, key, 1);
    return diag(im->m->diag, loc_diag(im, loc), E_IMPORT, arena_printf(im->arena, "domain '%s' has no opset_import of version 1 or newer", domain));
}

static void opset_note(Import *im, Place *p, Node n, int64_t opset)
{
    while (p->opset.n <= n.i) vec_push(im->arena, &p->opset, 0);
    p->opset.p[n.i] = opset < INT32_MAX ? (int32_t)opset : INT32_MAX;
}

static bool arity(Import *im, const OpDesc *d, const Port *ports, uint32_t n, uint32_t least, const char *what, DiagLoc loc)
{
    uint32_t most = 0;
    for (const Port *p = ports; p->name; p++, most++)
        if (p->flags & PORT_VARIADIC) return n >= least || diag(im->m->diag, loc, E_ARITY, (int)n, what, d->name, "at least 1");
    return (n >= least && n <= most) || diag(im->m->diag, loc, E_ARITY, (int)n, what, d->name, arena_printf(im->m->arena, least == most ? "%u" : "at most %u", most));
}

/* How many operands an operator needs is left to inference, as older forms of some have fewer; but what stands first always has. */
static uint32_t least_inputs(const OpDesc *d) { return d->in->name && !(d->in->flags & PORT_OPTIONAL); }

/* The tensors that attributes name. */
static bool named_operands(Import *im, const Scope *s, const Onnx__NodeProto *n, const OpDesc *d, Loc loc, Value *in, size_t *n_in)
{
    NameVec names = {0};
    attrs_tensor_names(im, n, d, &names);
    for (uint32_t k = 0; k < names.n; k++) {
        bool broken;
        if (!scope_find(im, s, names.p[k], &in[*n_in], &broken) || !in[(*n_in)++].i)
            return !broken && diag(im->m->diag, loc_diag(im, loc), E_UNDEFINED, name_str(&im->m->names, names.p[k]));
    }
    return true;
}

static size_t n_named(Import *im, const Onnx__NodeProto *n, const OpDesc *d)
{
    NameVec names = {0};
    attrs_tensor_names(im, n, d, &names);
    return names.n;
}

/* How many results there are means something: those of Split and of graphs. */
static bool counts_outputs(const OpDesc *d)
{
    const Port *p = d->out;
    while (p->name && p[1].name) p++;
    return p->name && p->flags & PORT_VARIADIC;
}

/* A node has all results of an operator that are not optional, whether the file names them or not. */
static uint32_t least_results(const OpDesc *d)
{
    uint32_t n = 0;
    while (d->out[n].name && !(d->out[n].flags & (PORT_OPTIONAL | PORT_VARIADIC))) n++;
    return n;
}

/* sound: the operands were all found. */
static bool operator(Import *im, Scope *s, const Onnx__NodeProto *n, OpCode op, Loc loc, const Value *given, size_t n_in, bool sound)
{
    const OpDesc *d = op_desc(op);
    Graph *g = s->in->g;
    ValueVec captured = {0};
    uint32_t n_region = attrs_n_region(d), n_out = (uint32_t)n->n_output;
    const Graph **region_of = arena_array(im->arena, const Graph *, n_region + 1);
    int64_t opset = opset_of(s->call, n->domain);
    void *attrs;
    if (opset < 1) return no_opset(im, n, loc);
    if (!inlining_goes_on(im, s->call, loc_diag(im, loc))) return false;
    bool ok = attrs_import(im, s, n, d, loc_diag(im, loc), &attrs);
    while (n_out > 1 && !*n->output[n_out - 1] && !counts_outputs(d)) n_out--;
    uint32_t n_given = n_in && !*n->input[0] ? 0 : (uint32_t)n_in;   /* without the first, the others do not help */
    ok = ok && arity(im, d, d->in, n_given, least_inputs(d), "input", loc_diag(im, loc)) && arity(im, d, d->out, n_out, 1, "output", loc_diag(im, loc));
    if (n_region) captures(im, s, n, d, &captured);
    if (n_region && !regions(im, s, n, d, &captured, loc, region_of)) ok = false;
    if (!ok || !sound) return false;
    Value *in = arena_array(im->arena, Value, n_in + fixed_ports(d) + captured.n + n_named(im, n, d) + 1);
    memcpy(in, given, n_in * sizeof *in);
    if (!named_operands(im, s, n, d, loc, in, &n_in)) return false;
    if (n_region && n_in < fixed_ports(d)) n_in = fixed_ports(d);
    for (uint32_t k = 0; k < captured.n; k++) in[n_in++] = captured.p[k];
    uint32_t n_made = n_out < least_results(d) ? least_results(d) : n_out;
    Node node = graph_add(g, op, in, (uint32_t)n_in, n_made, attrs, loc, NODE_NONE);
    if (n_region) graph_set_region(g, node, region_of, n_region);
    node_rec(g, node)->n_capture = captured.n;
    opset_note(im, s->in, node, opset);
    Value *out = arena_array(im->arena, Value, n_made + 1);
    for (uint32_t k = 0; k < n_made; k++) out[k] = node_out(g, node, k);
    if (!n_in && !n_region && !upgrade_source(im, s->in, node, out)) return false;
    return results(im, s, n, out, n_out);
}

static bool node_import(Import *im, Scope *s, const Onnx__NodeProto *n, uint32_t index)
{
    Loc loc = node_loc(im, s, n, index);
    const Onnx__FunctionProto *f = function_find(im, n);
    OpCode op = strcmp(n->domain, "bmc") ? op_find(n->domain, n->op_type) : OP_NONE;   /* internal ops are for passes only */
    if (!f && op == OP_NONE) return unknown_op(im, s, n, loc);
    size_t n_in;
    Value *in = arena_array(im->arena, Value, n->n_input + 1);
    bool ok = operands(im, s, n, loc, in, &n_in);
    if (f) return ok && function_inline(im, s, n, f, loc, in, n_in);
    return operator(im, s, n, op, loc, in, n_in, ok);
}

bool nodes_import(Import *im, Scope *s, Nodes nodes)
{
    const uint32_t *order;
    bool ok = true;
    if (!nodes_order(im, s, nodes, &order)) return false;
    for (size_t k = 0; k < nodes.n && !im->too_large; k++) {
        if (node_import(im, s, nodes.p[order[k]], order[k])) continue;
        ok = false;
        results_broken(im, s, nodes.p[order[k]]);
    }
    return ok;
}

bool graph_body_import(Import *im, Scope *s, const Onnx__GraphProto *g)
{
    bool ok = true;
    DiagLoc at = diag_file(im->m->source);
    for (size_t k = 0; k < g->n_initializer + g->n_sparse_initializer; k++) {
        bool sparse = k >= g->n_initializer;
        const Onnx__SparseTensorProto *sp = sparse ? g->sparse_initializer[k - g->n_initializer] : NULL;
        const char *name = !sparse ? g->initializer[k]->name : sp->values ? sp->values->name : "";
        Blob blob;
        TypeId type;
        if (!s->outer && initializer_overridable(im, name)) continue;   /* an input by now */
        if (!(sparse ? sparse_import(im->m, &im->file, sp, at, name, &blob, &type) : tensor_import(im->m, &im->file, g->initializer[k], at, name, &blob, &type))) {
            scope_define_broken(im, s, name);
            ok = false;
        } else ok &= scope_define(im, s, name, graph_const(s->in->g, blob, type, name_of(&im->m->names, name)));
    }
    return nodes_import(im, s, (Nodes){g->node, g->n_node}) && ok && !im->too_large;
}
