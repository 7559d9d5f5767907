/* bucket: one version of the model for each value that --bucket names, beside the one for all.
 *   graph @main(%x: f32[batch,seq]) -> (%y)        %c = Dims() {value=[seq-32]}
 *                                             =>   %y = If(%c, %x) then(%x) { the model as it was }
 *                                                                 else(%x) { %1 = Reshape(%x, [batch,32])  the model
 *                                                                            %y = Reshape(%2, [batch,seq,8]) }
 * Nothing else is special about them: inside a version the symbol is a number wherever it follows from the inputs, all
 * passes treat branches as they treat graphs, constants and equal kernels are shared because they are equal, and the
 * program chooses by an `if` over the symbol before its first launch. Several options: all combinations. */
#include "passes/graph/bucket.h"
#include "ir/graph/infer.h"
#include "ir/ops/internal.h"
#include <assert.h>

typedef struct Bucket {
    Module *m;
    uint32_t n;
    Sym *sym;        /* of each option */
    int64_t *value;  /* of the version being made */
    Loc loc;
} Bucket;

static const char *words(Bucket *b, const BucketOption *opt)
{
    Str s;
    str_init(&s, b->m->arena);
    for (uint32_t k = 0; k < b->n; k++) str_printf(&s, "%s%s=%lld", k ? " " : "", opt[k].name, (long long)b->value[k]);
    return str_get(&s);
}

/* The dim with the numbers of this version. */
static Dim with(Bucket *b, Dim x)
{
    Dims *d = &b->m->dims;
    x = dim_resolve(d, x);
    DimRec r = d->rec.p[x.i];
    if (r.kind == DIM_CONST) return x;
    if (r.kind == DIM_SYM) {
        for (uint32_t k = 0; k < b->n; k++)
            if (b->sym[k].i == r.sym.i) return dim_const(d, b->value[k]);
        return x;
    }
    Dim p = with(b, r.a), q = with(b, r.b);
    switch (r.kind) {
    case DIM_ADD: return dim_add(d, p, q);
    case DIM_MUL: return dim_mul(d, p, q);
    case DIM_FLOORDIV: return dim_div(d, p, q);
    case DIM_MOD: return dim_mod(d, p, q);
    case DIM_MIN: return dim_min(d, p, q);
    case DIM_MAX: return dim_max(d, p, q);
    default: return dim_bcast(d, p, q);
    }
}

static bool is_tensor(const Module *m, TypeId t)
{
    const TypeRec *r = type_rec(&m->types, t);
    return r->kind == TY_TENSOR && r->rank != RANK_UNKNOWN;
}

static void forget_types(Graph *g)
{
    for (Node n = graph_first(g); n.i; n = node_next(g, n)) {
        const NodeRec *r = node_rec(g, n);
        for (uint32_t k = 0; k < r->n_region; k++) forget_types(r->region[k]);
        for (uint32_t k = 0; k < r->n_out; k++) {
            value_rec(g, node_out(g, n, k))->type = (TypeId){0};
            value_rec(g, node_out(g, n, k))->content = NULL;
        }
    }
}

/* A version. Its types are inferred anew; nothing that this teaches may hold for the others. */
static Graph *version(Bucket *b, const Graph *from, const BucketOption *opt)
{
    Module *m = b->m;
    Graph *g = graph_new(m, "bucket"), *body = graph_clone((Graph *)from);
    Value *map = arena_array(m->arena, Value, body->value.n), *out = arena_array(m->arena, Value, body->out.n + 1);
    forget_types(body);
    for (uint32_t k = 0; k < body->in.n; k++) {
        const ValueRec *v = value_rec(body, body->in.p[k]);
        Value x = graph_input(g, v->type, v->name);
        TypeRec t = *type_rec(&m->types, v->type);
        map[body->in.p[k].i] = x;
        if (!is_tensor(m, v->type)) continue;
        bool same = true;
        for (int i = 0; i < t.rank; i++) {
            Dim now = with(b, t.dim[i]);
            same &= dim_same(now, dim_resolve(&m->dims, t.dim[i]));
            t.dim[i] = now;
        }
        if (!same && !(map[body->in.p[k].i] = dims_called(g, x, t.dim, t.rank, b->loc)).i) return NULL;
    }
    uint32_t n_sym = m->dims.sym.n;
    SymRec *before = arena_memdup(m->arena, m->dims.sym.p, n_sym * sizeof *before);
    graph_inline(g, NODE_NONE, body, map);
    if (!infer_graph(g)) return NULL;
    for (uint32_t s = 1; s < n_sym; s++) {
        const SymRec *x = &before[s], *y = &m->dims.sym.p[s];
        if (x->kind == SYM_ENTRY && (x->same_as.i != y->same_as.i || x->lo != y->lo || x->hi != y->hi || x->multiple != y->multiple)) {
            diag(m->diag, diag_file(m->source), E_OPTION,
                 arena_printf(m->arena, "--bucket: with %s, '%s' has one value, too: name it in a bucket as well", words(b, opt), name_str(&m->names, y->name)));
            return NULL;
        }
    }
    for (uint32_t k = 0; k < body->out.n; k++) {
        out[k] = map[body->out.p[k].i];
        TypeId want = value_type(from, from->out.p[k]), have = value_type(g, out[k]);
        if (!is_tensor(m, want) || !is_tensor(m, have) || want.i == have.i) continue;
        TypeRec t = *type_rec(&m->types, want);
        bool entry = true;
        for (int i = 0; i < t.rank; i++) entry &= !dim_has_kind(&m->dims, dim_resolve(&m->dims, t.dim[i]), SYM_NODE);
        if (entry && !(out[k] = dims_called(g, out[k], t.dim, t.rank, b->loc)).i) return NULL;
    }
    graph_set_outputs(g, out, body->out.n);
    return g;
}

/* 0 where all symbols have this version's values: their difference, or the sum of those of several, without signs. */
static Dim distance(Bucket *b)
{
    Dims *d = &b->m->dims;
    Dim sum = dim_const(d, 0);
    for (uint32_t k = 0; k < b->n; k++) {
        Dim x = dim_sub(d, dim_sym(d, b->sym[k]), dim_const(d, b->value[k]));
        sum = b->n == 1 ? x : dim_add(d, sum, dim_max(d, x, dim_sub(d, dim_const(d, 0), x)));
    }
    return sum;
}

static void set_values(Bucket *b, const BucketOption *opt, uint32_t number)
{
    for (uint32_t k = 0; k < b->n; number /= opt[k++].n) b->value[k] = opt[k].value[number % opt[k].n];
}

/* If nodes at the end of g, whose `in` are the model's inputs: version `number`, the ones behind it, at last the one
 * for all; their results in `out`. */
static bool choose(Bucket *b, Graph *g, const Graph *general, const BucketOption *opt, uint32_t number, uint32_t count, Value *out)
{
    Module *m = b->m;
    uint32_t n_in = general->in.n, n_out = general->out.n;
    Value *arg = arena_array(m->arena, Value, n_in + 1);
    const Graph *region[2];
    set_values(b, opt, number);
    Dim apart = distance(b);
    if (!(region[1] = version(b, general, opt))) return false;
    if (number + 1 == count) region[0] = graph_clone((Graph *)general);
    else {
        Graph *rest = graph_new(m, "buckets");
        Value *y = arena_array(m->arena, Value, n_out + 1);
        for (uint32_t k = 0; k < n_in; k++) {
            const ValueRec *v = value_rec(general, general->in.p[k]);
            graph_input(rest, v->type, v->name);
        }
        if (!choose(b, rest, general, opt, number + 1, count, y)) return false;
        graph_set_outputs(rest, y, n_out);
        region[0] = rest;
    }
    if (!(arg[0] = dims_scalar(g, apart, DT_BOOL, b->loc)).i) return false;
    for (uint32_t k = 0; k < n_in; k++) arg[1 + k] = g->in.p[k];
    Node n = graph_add(g, OP_If, arg, 1 + n_in, n_out, NULL, b->loc, NODE_NONE);
    graph_set_region(g, n, region, 2);
    node_rec(g, n)->n_capture = n_in;
    for (uint32_t k = 0; k < n_out; k++) {
        out[k] = node_out(g, n, k);
        value_rec(g, out[k])->type = value_type(general, general->out.p[k]);
    }
    return true;
}

static bool find_symbols(Bucket *b, const BucketOption *opt, uint32_t *count)
{
    Module *m = b->m;
    *count = 1;
    for (uint32_t k = 0; k < b->n; k++) {
        Sym s;
        const DimRec *r = NULL;
        bool known = sym_find(&m->dims, name_of(&m->names, opt[k].name), &s);
        if (known) r = &m->dims.rec.p[dim_resolve(&m->dims, dim_sym(&m->dims, s)).i];
        if (!known || r->kind != DIM_SYM || m->dims.sym.p[r->sym.i].kind != SYM_ENTRY || m->dims.sym.p[r->sym.i].input < 0)
            return diag(m->diag, diag_file(m->source), E_OPTION,
                        arena_printf(m->arena, "--bucket: no input has a free dimension '%s'", opt[k].name));
        b->sym[k] = r->sym;
        const SymRec *y = &m->dims.sym.p[r->sym.i];
        for (uint32_t i = 0; i < opt[k].n; i++) {
            int64_t v = opt[k].value[i];
            if (v < y->lo || v > y->hi || (y->multiple > 1 && v % y->multiple))
                return diag(m->diag, diag_file(m->source), E_OPTION,
                            arena_printf(m->arena, "--bucket: '%s' is never %lld", opt[k].name, (long long)v));
        }
        for (uint32_t i = 0; i < k; i++)
            if (b->sym[i].i == b->sym[k].i)
                return diag(m->diag, diag_file(m->source), E_OPTION,
                            arena_printf(m->arena, "--bucket: '%s' and '%s' are the same dimension", opt[i].name, opt[k].name));
        *count = opt[k].n > BUCKETS_MAX / *count ? BUCKETS_MAX + 1 : *count * opt[k].n;
        if (*count > BUCKETS_MAX)
            return diag(m->diag, diag_file(m->source), E_OPTION,
                        arena_printf(m->arena, "--bucket: more than %d combinations of values", BUCKETS_MAX));
    }
    return true;
}

bool bucket_specialise(Module *m, const BucketOption *opt, uint32_t n, uint32_t *versions)
{
    Graph *g = m->entry;
    uint32_t count, n_check = 0;
    Bucket b = {.m = m, .n = n, .sym = arena_array(m->arena, Sym, n + 1), .value = arena_array(m->arena, int64_t, n + 1)};
    *versions = 0;
    if (!n) return true;
    if (!find_symbols(&b, opt, &count)) return false;
    *versions = count;
    Graph *general = graph_clone(g);
    Value *out = arena_array(m->arena, Value, g->out.n + 1);
    Name *name = arena_memdup(m->arena, g->out_name.p, g->out.n * sizeof *name);
    uint32_t n_out = g->out.n;
    graph_set_outputs(g, NULL, 0);
    for (Node x = graph_last(g), p; x.i; x = p) {
        p = node_prev(g, x);
        graph_erase(g, x);
    }
    for (uint32_t k = 0; k < m->check.n; k++) /* of the nodes that went; the versions have their own */
        if (m->check.p[k].g != g || !m->check.p[k].at.i) m->check.p[n_check++] = m->check.p[k];
    m->check.n = n_check;
    m->check_moves++;
    if (!choose(&b, g, general, opt, 0, count, out)) return false;
    graph_set_outputs(g, out, n_out);
    for (uint32_t k = 0; k < n_out; k++) g->out_name.p[k] = name[k];
    return infer_graph(g);
}
