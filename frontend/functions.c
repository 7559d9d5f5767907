/* functions: model-local functions are inlined where they are called. The body is read anew for each call, into the caller's graph, with a scope of its own that knows
 * only the function's inputs; its attributes stand for what the caller gives (ref_attr_name) or their defaults; its opset is its own. A function that the model
 * defines goes before an operator of the same name. */
#include "frontend/import.h"
#include <string.h>

static const char *domain_of(const char *domain) { return strcmp(domain, "ai.onnx") ? domain : ""; }

static uint64_t key_of(const char *domain, const char *name, const char *overload)
{
    return hash_bytes(overload, strlen(overload), hash_bytes(name, strlen(name), hash_bytes(domain_of(domain), strlen(domain_of(domain)), 0)));
}

void functions_index(Import *im)
{
    size_t n = im->model->n_functions;
    map_init(&im->function, im->arena);
    im->next_function = arena_array(im->arena, uint32_t, n + 1);
    for (size_t k = n; k-- > 0;) {   /* the first of equal ones is found */
        const Onnx__FunctionProto *f = im->model->functions[k];
        uint64_t key = key_of(f->domain, f->name, f->overload), next = 0;
        map_get(&im->function, key, &next);
        im->next_function[k] = (uint32_t)next;
        map_put(&im->function, key, k + 1);
    }
}

const Onnx__FunctionProto *function_find(const Import *im, const Onnx__NodeProto *n)
{
    uint64_t at = 0;
    if (!im->model->n_functions) return NULL;
    map_get(&im->function, key_of(n->domain, n->op_type, n->overload), &at);
    for (; at; at = im->next_function[at - 1]) {
        const Onnx__FunctionProto *f = im->model->functions[at - 1];
        if (!strcmp(f->name, n->op_type) && !strcmp(domain_of(f->domain), domain_of(n->domain)) && !strcmp(f->overload, n->overload)) return f;
    }
    return NULL;
}

/* What the body's references will find: the caller's attributes, resolved in the caller's own surroundings, then defaults. */
static bool bind_attrs(Import *im, const Scope *s, const Onnx__NodeProto *n, const Onnx__FunctionProto *f, DiagLoc loc, const Scope *body, Call *c)
{
    size_t most = n->n_attribute + f->n_attribute_proto;
    const char **name = arena_array(im->arena, const char *, most + 1);
    c->attr = arena_array(im->arena, const Onnx__AttributeProto *, most + 1);
    c->attr_name = name;
    c->attr_scope = arena_array(im->arena, const Scope *, most + 1);
    for (size_t k = 0; k < n->n_attribute; k++) {
        const char *given = n->attribute[k]->name;
        bool known = false;
        for (size_t i = 0; i < f->n_attribute && !known; i++) known = !strcmp(f->attribute[i], given);
        for (size_t i = 0; i < f->n_attribute_proto && !known; i++) known = !strcmp(f->attribute_proto[i]->name, given);
        if (!known) return diag(im->m->diag, loc, E_ATTR_UNKNOWN, f->name, given);
        const Onnx__AttributeProto *a = attr_resolve(s, n->attribute[k], &c->attr_scope[c->n_attr]);
        if (!a) continue;
        name[c->n_attr] = given;
        c->attr[c->n_attr++] = a;
    }
    for (size_t k = 0; k < f->n_attribute_proto; k++) {   /* behind the given ones, which are found first */
        name[c->n_attr] = f->attribute_proto[k]->name;
        c->attr_scope[c->n_attr] = body;
        c->attr[c->n_attr++] = f->attribute_proto[k];
    }
    return true;
}

static bool fail(Import *im, DiagLoc loc, const char *text) { return diag(im->m->diag, loc, E_IMPORT, text); }

bool inlining_goes_on(Import *im, const Call *c, DiagLoc at)
{
    if ((!c->function && !im->inlining) || im->called_nodes++ < CALLED_NODES_MAX) return true;
    if (!im->too_large) fail(im, at, "inlining the model's functions makes it too large");
    im->too_large = true;
    return false;
}

bool function_inline(Import *im, Scope *s, const Onnx__NodeProto *n, const Onnx__FunctionProto *f, Loc loc, const Value *in, size_t n_in)
{
    const Names *names = &im->m->names;
    DiagLoc at = loc_diag(im, loc);
    const char *label = loc.name.i ? name_str(names, loc.name) : f->name;
    Call c = {.function = f, .opsets = {f->opset_import, f->n_opset_import}, .node = loc.node, .caller = s->call, .depth = s->call->depth + 1};
    if (!c.opsets.n) c.opsets = s->call->opsets;
    c.prefix = arena_printf(im->arena, "%s/", label);
    for (const Call *o = s->call; o; o = o->caller)
        if (o->function == f) return fail(im, at, arena_printf(im->arena, "function %s calls itself", f->name));
    if (c.depth > CALL_DEPTH_MAX) return fail(im, at, "functions call each other more than 64 deep");
    if (!inlining_goes_on(im, &c, at)) return false;
    if (n_in > f->n_input || n->n_output > f->n_output)
        return fail(im, at, arena_printf(im->arena, "function %s has %zu inputs and %zu outputs, %zu and %zu are given",
                                             f->name, f->n_input, f->n_output, n_in, n->n_output));
    Scope body = {.in = s->in, .call = &c, .path = c.prefix};
    if (!bind_attrs(im, s, n, f, at, &body, &c)) return false;
    map_init(&body.name, im->arena);
    bool ok = true, broken;
    for (size_t k = 0; k < f->n_input; k++) ok &= scope_define(im, &body, f->input[k], k < n_in ? in[k] : VALUE_NONE);
    im->inlining++;   /* also counts what graphs that a caller gave hold */
    ok &= nodes_import(im, &body, (Nodes){f->node, f->n_node});
    im->inlining--;
    for (size_t k = 0; k < n->n_output && ok; k++) {
        Value v = VALUE_NONE;
        if (!*n->output[k]) continue;
        if (!scope_find(im, &body, name_of(&im->m->names, f->output[k]), &v, &broken))
            return broken ? false : fail(im, at, arena_printf(im->arena, "output '%s' of function %s is produced by no node", f->output[k], f->name));
        ValueRec *r = value_rec(s->in->g, v);
        if (v.i && r->def.i && !s->call->function) r->name = name_of(&im->m->names, n->output[k]);
        ok &= scope_define(im, s, n->output[k], v);
    }
    return ok;
}
