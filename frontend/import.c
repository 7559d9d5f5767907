/* import: a model file into a module.
 *   file.c      map, scan (scan.c), unpack                      types.c     inputs' types, dims and the options about them
 *   tensor.c    initializers as constants (external.c)          functions.c calls are inlined
 *   nodes.c     nodes in topological order (order.c),           upgrade.c   older opsets brought to the newest meaning
 *               attributes (attrs.c), regions
 * Everything that is wrong is diagnosed, not only the first thing; a name whose definition was refused is not complained about again. */
#include "frontend/import.h"
#include <string.h>

#define IR_OLDEST 3
#define IR_NEWEST 14

bool initializer_overridable(const Import *im, const char *name)
{
    for (uint32_t k = 0; k < im->opt->n_overridable; k++)
        if (!strcmp(im->opt->overridable[k], name)) return true;
    return false;
}

/* ---- versions ---- */

static bool versions(Import *im)
{
    Diag *d = im->m->diag;
    DiagLoc at = diag_file(im->m->source);
    const Onnx__ModelProto *x = im->model;
    if (x->ir_version < IR_OLDEST)
        return diag(d, at, E_IMPORT, arena_printf(im->arena, "IR version %lld is older than %d, the oldest that bmc reads", (long long)x->ir_version, IR_OLDEST));
    if (x->ir_version > IR_NEWEST) diag(d, at, E_IR_NEW, (long long)x->ir_version, IR_NEWEST);
    for (size_t k = 0; k < x->n_opset_import; k++) {
        const char *domain = x->opset_import[k]->domain;
        int64_t version = x->opset_import[k]->version;
        if (*domain && strcmp(domain, "ai.onnx")) continue;
        im->m->opset = version;
        if (version > OPSET_NEWEST) diag(d, at, E_OPSET_NEW, (long long)version, "ai.onnx", OPSET_NEWEST, OPSET_NEWEST);
    }
    return true;
}

/* ---- inputs and outputs ---- */

static void names_of(Import *im, const Onnx__GraphProto *g, Map *initializer)
{
    map_init(initializer, im->arena);
    for (size_t k = 0; k < g->n_initializer; k++) map_put(initializer, name_of(&im->m->names, g->initializer[k]->name).i, k + 1);
    for (size_t k = 0; k < g->n_sparse_initializer; k++)
        if (g->sparse_initializer[k]->values) map_put(initializer, name_of(&im->m->names, g->sparse_initializer[k]->values->name).i, 0);
}

static bool input(Import *im, Scope *s, const Onnx__ValueInfoProto *v)
{
    Module *m = im->m;
    TypeId type;
    if (!type_import_input(im, v, (int32_t)m->entry->in.n, &type)) {
        scope_define_broken(im, s, v->name);
        return false;
    }
    Name name = *v->name ? name_of(&m->names, v->name) : module_fresh_name(m, "input");
    return scope_define(im, s, v->name, graph_input(m->entry, type, name));
}

/* An initializer that the caller of `run` gives, though the model does not list it as an input. */
static bool overridden_input(Import *im, Scope *s, const Onnx__GraphProto *g, const Map *initializer, const char *name)
{
    Module *m = im->m;
    uint64_t at;
    const char *why = NULL;
    TensorInfo t;
    Dim dim[RANK_MAX];
    Name n = name_of(&m->names, name);
    if (!map_get(initializer, n.i, &at) || !at)
        return diag(m->diag, diag_file(m->source), E_OPTION, arena_printf(im->arena, "--overridable %s: the model has no such initializer", name));
    if (map_get(&s->name, n.i, &at)) return true;
    map_get(initializer, n.i, &at);
    if (!tensor_info(im->arena, g->initializer[at - 1], &t, &why)) return diag(m->diag, diag_file(m->source), E_TENSOR, name, why);
    for (int k = 0; k < t.rank; k++) dim[k] = dim_const(&m->dims, t.dim[k]);
    return scope_define(im, s, name, graph_input(m->entry, type_tensor(&m->types, t.elem, t.rank, dim), n));
}

static bool inputs(Import *im, Scope *s, const Onnx__GraphProto *g)
{
    Map initializer;
    uint64_t at;
    bool ok = true;
    names_of(im, g, &initializer);
    for (size_t k = 0; k < g->n_input; k++) {
        const char *name = g->input[k]->name;
        if (*name && map_get(&initializer, name_of(&im->m->names, name).i, &at) && !initializer_overridable(im, name)) continue;
        ok &= input(im, s, g->input[k]);
    }
    for (uint32_t k = 0; k < im->opt->n_overridable; k++) ok &= overridden_input(im, s, g, &initializer, im->opt->overridable[k]);
    return ok;
}

/* A name for an output that the model lists once more: no other output's. */
static Name listed_again(Import *im, const Onnx__GraphProto *g, const Map *seen, const char *name)
{
    for (int i = 2;; i++) {
        const char *text = arena_printf(im->arena, "%s.%d", name, i);
        uint64_t old;
        bool taken = map_get(seen, name_of(&im->m->names, text).i, &old);
        for (size_t k = 0; k < g->n_output; k++) taken |= !strcmp(g->output[k]->name, text);
        if (taken) continue;
        diag(im->m->diag, diag_file(im->m->source), E_OUTPUT_AGAIN, name, text);
        return name_of(&im->m->names, text);
    }
}

static bool outputs(Import *im, const Scope *s, const Onnx__GraphProto *g)
{
    Module *m = im->m;
    Name *named = arena_array(im->arena, Name, g->n_output + 1);
    Value *out = arena_array(im->arena, Value, g->n_output + 1);
    Map seen;
    bool ok = true, broken;
    map_init(&seen, im->arena);
    for (size_t k = 0; k < g->n_output; k++) {
        Name name = name_of(&m->names, g->output[k]->name);
        uint64_t old;
        named[k] = name.i && map_get(&seen, name.i, &old) ? listed_again(im, g, &seen, g->output[k]->name) : name;
        map_put(&seen, named[k].i, 1);
        if (name.i && scope_find(im, s, name, &out[k], &broken) && out[k].i) continue;
        ok = false;
        if (!name.i || !broken)
            diag(m->diag, diag_file(m->source), E_IMPORT,
                 arena_printf(im->arena, "output '%s' is produced by no node, input or initializer", g->output[k]->name));
    }
    if (!g->n_output) ok = diag(m->diag, diag_file(m->source), E_IMPORT, "the graph has no outputs");
    if (!ok) return false;
    graph_set_outputs(m->entry, out, (uint32_t)g->n_output);
    for (size_t k = 0; k < g->n_output; k++) {
        m->entry->out_name.p[k] = named[k];
        vec_push(m->arena, &m->out_decl, type_declared(m, g->output[k]->type));
    }
    return true;
}

static const char *decl_text(Module *m, TypeId t)
{
    const TypeRec *r = type_rec(&m->types, t);
    if (r->kind != TY_TENSOR) return r->kind == TY_SEQ ? "a sequence" : r->kind == TY_OPT ? "an optional" : r->kind == TY_MAP ? "a map" : "unknown";
    return r->rank == RANK_UNKNOWN ? dtype_info(r->elem)->onnx : arena_printf(m->arena, "%s of rank %d", dtype_info(r->elem)->onnx, r->rank);
}

bool onnx_check_outputs(Module *m)
{
    bool ok = true;
    const Graph *g = m->entry;
    for (uint32_t k = 0; k < m->out_decl.n && k < g->out.n; k++) {
        TypeId want = m->out_decl.p[k], got = value_type(g, g->out.p[k]);
        if (!want.i || !got.i) continue;
        const TypeRec *w = type_rec(&m->types, want), *t = type_rec(&m->types, got);
        bool same = t->kind == w->kind && t->elem == w->elem, shaped = t->rank == w->rank || t->rank == RANK_UNKNOWN || w->rank == RANK_UNKNOWN;
        if (same && shaped) continue;
        const char *name = name_str(&m->names, g->out_name.p[k]), *declared = decl_text(m, want), *computed = decl_text(m, got);
        if (same) diag(m->diag, diag_file(m->source), E_RANK_DECL, name, declared, computed); /* converters do that; peers let it pass */
        else ok = diag(m->diag, diag_file(m->source), E_TYPE_DECL, name, declared, computed);
    }
    return ok;
}

/* ---- the model ---- */

static bool import_graph(Import *im)
{
    const Onnx__GraphProto *g = im->model->graph;
    Call top = {.opsets = {im->model->opset_import, im->model->n_opset_import}, .node = -1, .prefix = ""};
    im->m->entry = place_new(im, "main", NULL)->g;
    Scope s = {.in = im->place.p[im->m->entry->id], .call = &top, .path = ""};
    map_init(&s.name, im->arena);
    map_init(&im->no_opset, im->arena);
    bool ok = dim_options_prepare(im, g);
    ok = inputs(im, &s, g) && ok;
    ok = dim_options_done(im) && ok;
    ok = graph_body_import(im, &s, g) && ok;
    return ok && outputs(im, &s, g) && upgrade_module(im);   /* outputs of nodes that failed would only be complained of again */
}

bool onnx_import(Module *m, const char *path, const ImportOptions *opt)
{
    static const ImportOptions none;
    Arena arena;
    Import im = {.m = m, .arena = &arena, .opt = opt ? opt : &none};
    arena_init(&arena, "import", m->arena->oom);
    m->source = arena_strdup(m->arena, path);
    bool ok = file_open(&im.file, &arena, &m->blobs, m->diag, m->source, &onnx__model_proto__descriptor);
    im.model = (const Onnx__ModelProto *)im.file.root;
    if (ok && !im.model->graph) ok = diag(m->diag, diag_file(m->source), E_NOT_ONNX, "it has no graph", (long long)im.file.bytes);
    ok = ok && versions(&im);
    if (ok) functions_index(&im);
    ok = ok && import_graph(&im);
    arena_free(&arena);
    return ok;
}
