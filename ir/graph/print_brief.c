/* print_brief: a graph for reading: one line a node, at most BRIEF_COLUMNS wide, each with its shape and the name of
 * the model's node; not for reading back (that is print.c).
 *   %57 = contract(%53, %12) : f32[batch,seq,768] !262 /m/encoder/layer.0/attention/output/Add
 *   | %55 = MatMul(%53, MatMul_1330 f32[768,768]) : f32[batch,seq,768] !260 /m/encoder/..put/dense/MatMul
 *   | %56 = Add(%55, bias f32[768]) : f32[batch,seq,768] !261 /m/encoder/layer.0/attention/..Add
 * Values are numbered in order; a group's members stand below it, behind a bar, and share its numbers. Constants and
 * shapes stand where they are read. What does not fit is cut: attributes first, then operands, then the middle of a
 * name. */
#include "ir/graph/attr.h"
#include <string.h>

enum { BRIEF_COLUMNS = 140, BRIEF_LEFT = 92, BRIEF_CONST = 20 };

typedef struct Brief {
    Str *o;
    Arena *a;
    uint32_t n; /* values numbered so far */
} Brief;

static void brief_graph(Brief *b, Graph *g, const char **name, const char *bar);

/* The end of a text, where it is longer than n columns: names differ there. */
static const char *tail(Arena *a, const char *t, size_t n)
{
    size_t len = strlen(t);
    return len <= n ? t : arena_printf(a, "..%s", t + len - n + 2);
}

static const char *middle(Arena *a, const char *t, size_t n)
{
    size_t len = strlen(t), back = (n - 2) * 2 / 3;
    return len <= n ? t : arena_printf(a, "%.*s..%s", (int)(n - 2 - back), t, t + len - back);
}

static const char *type_of(Arena *a, const Graph *g, Value v)
{
    Str s;
    str_init(&s, a);
    if (value_type(g, v).i) type_print(&s, &g->m->types, value_type(g, v));
    else str_char(&s, '?');
    return str_get(&s);
}

static const char *operand(Brief *b, Graph *g, Value v, const char **name)
{
    const ValueRec *r = value_rec(g, v);
    Str s;
    if (!v.i) return "_";
    str_init(&s, b->a);
    if (r->content && r->content->n <= 8 && !name[v.i]) { /* a shape */
        for (uint32_t k = 0; k < r->content->n; k++) {
            str_char(&s, k ? ',' : '[');
            dim_print(&s, &g->m->dims, dim_resolve(&g->m->dims, r->content->d[k]));
        }
        str_char(&s, ']');
        return str_get(&s);
    }
    if (!r->data.i) return name[v.i] ? name[v.i] : "?";
    const BlobRec *blob = blob_rec(&g->m->blobs, r->data);
    if (blob->count == 1 && blob->kind != BLOB_DERIVED && blob->elem != DT_STR) {
        if (dtype_is_float(blob->elem)) str_double(&s, blob_get_f(&g->m->blobs, r->data, 0), blob->elem == DT_F32);
        else str_printf(&s, "%lld", (long long)blob_get_i(&g->m->blobs, r->data, 0));
        return str_get(&s);
    }
    const char *t = name_str(&g->m->names, r->name);
    return arena_printf(b->a, "%s%s%s", tail(b->a, t, BRIEF_CONST), *t ? " " : "", type_of(b->a, g, v));
}

static const char *group_kind(const Graph *g, Node n)
{
    uint32_t bit;
    const AttrSpec *s = node_rec(g, n)->op == OP_Group ? attr_find(node_desc(g, n), "kind", &bit) : NULL;
    return s ? *(const char *const *)((const char *)node_attrs(g, n) + s->offset) : NULL;
}

/* `%y = Op(a, b) {..} : type` in at most n columns. */
static const char *statement(Brief *b, Graph *g, Node n, const char **name, size_t limit)
{
    const OpDesc *d = node_desc(g, n);
    const char *kind = group_kind(g, n), *types = "", *results = "";
    Str in, at;
    str_init(&in, b->a);
    str_init(&at, b->a);
    for (uint32_t k = 0; k < node_n_out(g, n); k++) {
        results = arena_printf(b->a, "%s%s%s", results, k ? ", " : "", name[node_out(g, n, k).i]);
        types = arena_printf(b->a, "%s%s%s", types, k ? ", " : "", type_of(b->a, g, node_out(g, n, k)));
    }
    for (uint32_t k = 0; k < node_n_in(g, n); k++) {
        if (k) str_add(&in, ", ");
        str_add(&in, operand(b, g, node_in(g, n, k), name));
    }
    if (!kind) attrs_print(&at, g->m, d, node_attrs(g, n));
    const char *head = arena_printf(b->a, "%s%s%s(", results, *results ? " = " : "", kind ? kind : d->name);
    size_t fixed = strlen(head) + strlen(types) + 4, inner = in.n + at.n;
    const char *args = str_get(&in), *attrs = str_get(&at);
    if (fixed + inner > limit && at.n) { /* attributes: what is left for them, or nothing */
        size_t room = limit > fixed + in.n ? limit - fixed - in.n : 0;
        attrs = room > 6 ? arena_printf(b->a, "%.*s..}", (int)(room - 3), attrs) : "";
    }
    if (fixed + in.n > limit) {
        size_t room = limit > fixed + 8 ? limit - fixed : 8;
        args = arena_printf(b->a, "%.*s..", (int)(room - 2), args);
    }
    return arena_printf(b->a, "%s%s)%s : %s", head, args, attrs, types);
}

static bool silent(const Graph *g, Node n)
{
    for (uint32_t k = 0; k < node_n_out(g, n); k++) {
        const ValueRec *r = value_rec(g, node_out(g, n, k));
        if (!r->content || r->content->n > 8 || r->n_out_use) return false;
    }
    return node_n_out(g, n) > 0; /* a shape: it stands where it is read */
}

static void brief_node(Brief *b, Graph *g, Node n, const char **name, const char *bar)
{
    const NodeRec *r = node_rec(g, n);
    if (silent(g, n)) return;
    for (uint32_t k = 0; k < r->n_out; k++) {
        Value v = node_out(g, n, k);
        if (!name[v.i]) name[v.i] = arena_printf(b->a, "%%%u", ++b->n);
    }
    const char *text = statement(b, g, n, name, BRIEF_LEFT - strlen(bar)), *loc = name_str(&g->m->names, r->loc.name);
    const char *place = arena_printf(b->a, r->loc.node < 0 ? "" : "!%d ", r->loc.node);
    size_t edge = 2 + strlen(bar) + strlen(place), most = edge + 16 < BRIEF_COLUMNS ? BRIEF_COLUMNS - edge - 16 : 16;
    if (strlen(text) > most) text = arena_printf(b->a, "%.*s..", (int)most - 2, text);
    size_t used = edge + strlen(text) + 1;
    if (*loc) loc = middle(b->a, loc, used + 12 < BRIEF_COLUMNS ? BRIEF_COLUMNS - used : 12);
    str_printf(b->o, "  %s%s%s%s%s\n", bar, text, *place || *loc ? " " : "", place, loc);
    for (uint32_t k = 0; k < r->n_region; k++) {
        Graph *q = r->region[k];
        const char **inner = arena_array(b->a, const char *, q->value.n);
        uint32_t first = group_kind(g, n) ? 0 : r->n_in - r->n_capture;
        for (uint32_t i = 0; i < q->in.n;
             i++) { /* a group's inputs are its operands; others' last ones their captures */
            uint32_t own = group_kind(g, n) ? 0 : q->in.n - r->n_capture;
            if (i >= own && first + i - own < r->n_in)
                inner[q->in.p[i].i] = operand(b, g, node_in(g, n, first + i - own), name);
            else inner[q->in.p[i].i] = arena_printf(b->a, "%%%u", ++b->n);
        }
        for (uint32_t i = 0; group_kind(g, n) && i < q->out.n; i++) inner[q->out.p[i].i] = name[node_out(g, n, i).i];
        if (r->n_region > 1) str_printf(b->o, "  %s| -- %s\n", bar, name_str(&g->m->names, q->name));
        brief_graph(b, q, inner, arena_printf(b->a, "%s| ", bar));
    }
}

static void brief_graph(Brief *b, Graph *g, const char **name, const char *bar)
{
    for (Node n = graph_first(g); n.i; n = node_next(g, n)) brief_node(b, g, n, name, bar);
}

void bir_print_brief(Str *o, Module *m)
{
    Graph *g = m->entry;
    Brief b = {.o = o, .a = o->arena};
    if (!g) return;
    const char **name = arena_array(b.a, const char *, g->value.n);
    for (uint32_t k = 0; k < g->in.n; k++) {
        const char *t = name_str(&m->names, value_rec(g, g->in.p[k])->name);
        name[g->in.p[k].i] = arena_printf(b.a, "%%%s", tail(b.a, *t ? t : "in", 24));
        str_printf(o, "in %s : %s\n", name[g->in.p[k].i], type_of(b.a, g, g->in.p[k]));
    }
    brief_graph(&b, g, name, "");
    for (uint32_t k = 0; k < g->out.n; k++)
        str_printf(o, "out %s = %s\n",
                   name_str(&m->names, g->out_name.p[k].i ? g->out_name.p[k] : value_rec(g, g->out.p[k])->name),
                   operand(&b, g, g->out.p[k], name));
}
