/* check: what a model needs that bmc lacks, all at once: operators, attributes, element types, kinds of values. Walks the graph, its subgraphs and the functions it
 * defines; calls of those functions are not operators. What only inference can see (an operator that lacks one element type) is not found here. */
#include "frontend/import.h"
#include "ir/graph/attr.h"
#include <string.h>

typedef struct Walk {
    Arena *a; CheckItems *missing; OpUses *used;
    Import im;             /* for function_find and opset_of */
    Call call;
    Map use;               /* hash of domain and op -> index in used + 1 */
    Map said;              /* hashes of what stands in `missing` without a node */
} Walk;

static const char *domain_text(const char *d) { return strcmp(d, "ai.onnx") ? d : ""; }

static void item(Walk *w, const Onnx__NodeProto *n, const char *what)
{
    CheckItem i = {.what = what, .node = "", .op = "", .domain = ""};
    if (n) {
        i.node = arena_strdup(w->a, *n->name ? n->name : n->n_output ? n->output[0] : "");
        i.op = arena_strdup(w->a, n->op_type);
        i.domain = arena_strdup(w->a, domain_text(n->domain));
        i.opset = opset_of(&w->call, n->domain);
    } else {
        uint64_t key = hash_bytes(what, strlen(what), 0), old;
        if (map_get(&w->said, key, &old)) return;
        map_put(&w->said, key, 1);
    }
    vec_push(w->a, w->missing, i);
}

static void count_use(Walk *w, const Onnx__NodeProto *n)
{
    const char *domain = domain_text(n->domain);
    uint64_t key = hash_bytes(domain, strlen(domain), hash_bytes(n->op_type, strlen(n->op_type), 0)), at;
    if (map_get(&w->use, key, &at)) {
        w->used->p[at].n++;
        return;
    }
    map_put(&w->use, key, w->used->n);
    vec_push(w->a, w->used, (OpUse){arena_strdup(w->a, n->op_type), arena_strdup(w->a, domain), 1, opset_of(&w->call, n->domain)});
}

/* ---- element types ---- */

static void elem(Walk *w, const Onnx__NodeProto *n, int32_t t, const char *of, const char *name)
{
    bool known = t > DT_NONE && t < DT_COUNT;
    if (known) return;
    item(w, n, arena_printf(w->a, "%s '%s' of element type number %d", of, name, t));
}

static void tensor(Walk *w, const Onnx__NodeProto *n, const Onnx__TensorProto *t, const char *name)
{
    if (t) elem(w, n, t->data_type, "tensor", *t->name ? t->name : name);
}

static void type(Walk *w, const Onnx__TypeProto *t, const char *of, const char *name)
{
    if (!t) return;
    switch (t->value_case) {
    case ONNX__TYPE_PROTO__VALUE_TENSOR_TYPE: elem(w, NULL, t->tensor_type->elem_type, of, name); break;
    case ONNX__TYPE_PROTO__VALUE_SEQUENCE_TYPE: type(w, t->sequence_type->elem_type, of, name); break;
    case ONNX__TYPE_PROTO__VALUE_OPTIONAL_TYPE: type(w, t->optional_type->elem_type, of, name); break;
    case ONNX__TYPE_PROTO__VALUE_MAP_TYPE: type(w, t->map_type->value_type, of, name); break;
    case ONNX__TYPE_PROTO__VALUE_SPARSE_TENSOR_TYPE: item(w, NULL, arena_printf(w->a, "%s '%s' is a sparse tensor", of, name)); break;
    case ONNX__TYPE_PROTO__VALUE_OPAQUE_TYPE: item(w, NULL, arena_printf(w->a, "%s '%s' is of an opaque type", of, name)); break;
    default: break;
    }
}

/* ---- nodes ---- */

static void graph(Walk *w, const Onnx__GraphProto *g);

static void node(Walk *w, const Onnx__NodeProto *n)
{
    const Onnx__FunctionProto *f = function_find(&w->im, n);
    OpCode op = strcmp(n->domain, "bmc") ? op_find(n->domain, n->op_type) : OP_NONE;
    if (!f) count_use(w, n);
    if (!f && op == OP_NONE) item(w, n, "operator");
    for (size_t k = 0; k < n->n_attribute; k++) {
        const Onnx__AttributeProto *a = n->attribute[k];
        uint32_t bit;
        if (!f && op != OP_NONE && strcmp(a->name, "consumed_inputs") && !attr_find(op_desc(op), a->name, &bit) && !attr_is_sparse_form(op_desc(op), a))
            item(w, n, arena_printf(w->a, "attribute '%s'", a->name));
        tensor(w, n, a->t, a->name);
        for (size_t i = 0; i < a->n_tensors; i++) tensor(w, n, a->tensors[i], a->name);
        if (a->g) graph(w, a->g);
        for (size_t i = 0; i < a->n_graphs; i++) graph(w, a->graphs[i]);
    }
}

static void graph(Walk *w, const Onnx__GraphProto *g)
{
    for (size_t k = 0; k < g->n_input; k++) type(w, g->input[k]->type, "input", g->input[k]->name);
    for (size_t k = 0; k < g->n_initializer; k++) tensor(w, NULL, g->initializer[k], "");
    for (size_t k = 0; k < g->n_node; k++) node(w, g->node[k]);
    for (size_t k = 0; k < g->n_output; k++) type(w, g->output[k]->type, "output", g->output[k]->name);
}

static void sort_uses(OpUses *u)
{
    for (uint32_t k = 1; k < u->n; k++)   /* some dozens */
        for (uint32_t i = k; i; i--) {
            OpUse a = u->p[i - 1], b = u->p[i];
            int c = strcmp(a.domain, b.domain);
            if (c < 0 || (c == 0 && strcmp(a.op, b.op) <= 0)) break;
            u->p[i - 1] = b;
            u->p[i] = a;
        }
}

bool onnx_check(Arena *a, Diag *d, const char *path, CheckItems *missing, OpUses *used)
{
    Arena mine;
    Blobs blobs;
    Module m = {.arena = &mine, .diag = d};
    Walk w = {.a = a, .missing = missing, .used = used, .im = {.m = &m, .arena = &mine}};
    arena_init(&mine, "check", a->oom);
    blobs_init(&blobs, &mine);
    map_init(&w.use, &mine);
    map_init(&w.said, &mine);
    bool ok = file_open(&w.im.file, &mine, &blobs, d, path, &onnx__model_proto__descriptor);
    const Onnx__ModelProto *x = w.im.model = (const Onnx__ModelProto *)w.im.file.root;
    if (ok && !x->graph) ok = diag(d, diag_file(path), E_NOT_ONNX, "it has no graph", (long long)w.im.file.bytes);
    if (ok) {
        functions_index(&w.im);
        w.call.opsets = (Opsets){x->opset_import, x->n_opset_import};
        graph(&w, x->graph);
        for (size_t k = 0; k < x->n_functions; k++) {
            const Onnx__FunctionProto *f = x->functions[k];
            if (f->n_opset_import) w.call.opsets = (Opsets){f->opset_import, f->n_opset_import};
            for (size_t i = 0; i < f->n_node; i++) node(&w, f->node[i]);
        }
        sort_uses(used);
    }
    blobs_close(&blobs);
    arena_free(&mine);
    return ok;
}
