/* lower.c: walks graphs in order and turns every node into steps and kernels; decides where values live.
 *
 * Where a value lives (design D5): results of the entry graph whose dims depend on entry symbols only are stored straight into the caller's buffer; other values with
 * entry dims are planned in the arena; values with dims bound by a node are boxed (their alloc step comes when the producing node asks for the buffer, after it bound
 * the dims); sequences have slots. Constants become buffers when first read. Small integer values whose contents are known are not computed at all: hooks read
 * the contents, and only who insists on memory gets a kernel that stores them.
 * Lowering is total: a node without a hook of its own is lowered by its class or has been expanded before. */
#include "ir/graph/lower_state.h"
#include "base/bug.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool lw_fail(Lw *l, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    const char *text = arena_vprintf(l->m->arena, fmt, ap);
    va_end(ap);
    return diag(l->m->diag, graph_loc(l->g, l->n), E_LOWER, text);
}

MathMode lw_math(Lw *l) { return graph_math(l->g, l->n); }

/* What a dim was assumed equal to may be a symbol that a later node binds; the raw dim is always bound by its own producer. */
Dim lw_res(Lw *l, Dim d)
{
    Dim r = dim_resolve(&l->m->dims, d);
    return dim_has_kind(&l->m->dims, r, SYM_NODE) ? d : r;
}

static Name value_label(Lw *l, Value v) { return value_rec(l->g, v)->name; }

KStep *lw_step(Lw *l, KStepKind kind)
{
    assert(!l->b && "a step inside an open kernel");
    return kstep_add(l->k, l->steps, kind, l->loc);
}

KStep *lw_call(Lw *l, KSteps *to, const char *fn, uint32_t n, const KArg *arg)
{
    assert(!l->b);
    KStep *s = kstep_add(l->k, to, KST_CALL, l->loc);
    s->call = rt_call_find(fn);
    if (!s->call) BUG("no runtime function %s", fn);
    s->n_arg = n;
    s->arg = arena_memdup(l->k->arena, arg, sizeof(KArg) * n);
    return s;
}

/* ---- values in memory ---- */

/* Stores known contents: needed only where a kernel reads shape values as data. */
static KBuf materialize(Lw *l, Value v)
{
    const TypeRec *t = value_trec(l->g, v);
    const Content *c = value_rec(l->g, v)->content;
    Kb *open = l->b;
    assert(!open && "contents are materialised between kernels");
    KBuf buf = lw_place(l, value_type(l->g, v), value_label(l, v), -1);
    Kb *b = l->b = kb_new(l->k, "dims", l->loc);
    uint32_t p = kb_param(b, buf, true);
    for (uint32_t i = 0; i < c->n; i++) {
        KVal idx[RANK_MAX];
        int64_t rest = i;
        for (int a = t->rank - 1; a >= 0; a--) {
            int64_t d;
            if (!dim_is_const(&l->m->dims, lw_res(l, t->dim[a]), &d)) BUG("contents of a tensor with symbolic dims");
            idx[a] = kb_i(b, rest % d);
            rest /= d;
        }
        kb_store(b, p, idx, kb_cast(b, t->elem, kb_dim(b, lw_res(l, c->d[i]))));
    }
    l->b = NULL;
    kb_finish(b, l->steps);
    return buf;
}

KBuf lw_value_buf(Lw *l, Value v)
{
    assert(v.i);
    KBuf *slot = &l->s->frame->buf[v.i];
    if (slot->i) return *slot;
    *slot = lw_group_buf(l, v);
    if (slot->i) return *slot;
    ValueRec *r = value_rec(l->g, v);
    if (r->data.i) {
        const TypeRec *t = type_rec(&l->m->types, r->type);
        *slot = kbuf_new(l->k, KS_CONST, r->name, t->elem, t->rank, t->dim, l->loc);
        kbuf(l->k, *slot)->blob = r->data;
    } else if (r->content) *slot = materialize(l, v);
    else BUG("value '%s' has no memory", value_name(l->g, v));
    return *slot;
}

uint32_t lw_blob_uses(const Lw *l, Blob b) { return b.i < l->s->n_blob ? l->s->blob_uses[b.i] : 0; }

KBuf lw_const_buf(Lw *l, Blob blob, const char *stem, int rank, const Dim *dim)
{
    KBuf b = kbuf_new(l->k, KS_CONST, module_fresh_name(l->m, stem), blob_rec(&l->m->blobs, blob)->elem, rank, dim, l->loc);
    kbuf(l->k, b)->blob = blob;
    return b;
}

/* ---- shapes ---- */

int lw_rank(Lw *l, uint32_t k) { return value_trec(l->g, node_in(l->g, l->n, k))->rank; }
Dim lw_dim(Lw *l, uint32_t k, int axis) { return lw_res(l, value_trec(l->g, node_in(l->g, l->n, k))->dim[axis]); }
DType lw_elem(Lw *l, uint32_t k) { return value_trec(l->g, node_in(l->g, l->n, k))->elem; }
int lw_out_rank(Lw *l, uint32_t r) { return value_trec(l->g, node_out(l->g, l->n, r))->rank; }
Dim lw_out_dim(Lw *l, uint32_t r, int axis) { return lw_res(l, value_trec(l->g, node_out(l->g, l->n, r))->dim[axis]); }
DType lw_out_elem(Lw *l, uint32_t r) { return value_trec(l->g, node_out(l->g, l->n, r))->elem; }

Sym lw_load_sym(Lw *l, KBuf buf, Dim element, const char *stem, int64_t lo, int64_t hi)
{
    Sym s = sym_new(&l->m->dims, module_fresh_name(l->m, stem), SYM_NODE, lo, hi);
    KStep *st = lw_step(l, KST_LOAD);
    st->sym = s;
    st->buf = buf;
    st->a = element;
    return s;
}

static void load_values(Lw *l, Value v, uint32_t n, Dim *out)
{
    KBuf b = lw_row_major_of(l, lw_value_buf(l, v));
    Dims *d = &l->m->dims;
    for (uint32_t i = 0; i < n; i++) out[i] = dim_sym(d, lw_load_sym(l, b, dim_const(d, i), "v", INT64_MIN, INT64_MAX));
}

bool lw_values(Lw *l, uint32_t k, Dim *out, uint32_t max, uint32_t *n)
{
    Value v = node_in(l->g, l->n, k);
    ValueRec *r = value_rec(l->g, v);
    Dims *d = &l->m->dims;
    int64_t count;
    if (!dim_is_const(d, lw_res(l, type_count(&l->m->types, r->type)), &count) || count > max)
        return lw_fail(l, "the length of input %u ('%s') must be known at compile time", k, value_name(l->g, v));
    *n = (uint32_t)count;
    if (r->content) {
        for (uint32_t i = 0; i < *n; i++) out[i] = lw_res(l, r->content->d[i]);
        return true;
    }
    if (r->data.i && blob_rec(&l->m->blobs, r->data)->kind != BLOB_DERIVED) {
        for (uint32_t i = 0; i < *n; i++) out[i] = dim_const(d, blob_get_i(&l->m->blobs, r->data, i));
        return true;
    }
    load_values(l, v, *n, out);
    return true;
}

bool lw_values_n(Lw *l, uint32_t k, Dim *out, uint32_t n)
{
    Value v = node_in(l->g, l->n, k);
    Dims *d = &l->m->dims;
    Dim count = lw_res(l, type_count(&l->m->types, value_rec(l->g, v)->type));
    uint32_t have;
    if (dim_is_const(d, count, &(int64_t){0}))
        return lw_values(l, k, out, n, &have) && (have == n || lw_fail(l, "input %u ('%s') has %u elements, expected %u", k, value_name(l->g, v), have, n));
    KStep *s = lw_step(l, KST_CHECK);
    s->a = count, s->b = dim_const(d, n), s->rel = KREL_EQ;
    s->msg = arena_printf(l->m->arena, "input %u has {got} elements, expected {want}", k);
    load_values(l, v, n, out);
    return true;
}

void lw_bind_dims(Lw *l, uint32_t r, const Dim *computed)
{
    const TypeRec *t = value_trec(l->g, node_out(l->g, l->n, r));
    Dims *d = &l->m->dims;
    for (int i = 0; i < t->rank; i++) {
        const DimRec *rec = &d->rec.p[t->dim[i].i];
        if (dim_same(t->dim[i], computed[i])) continue;
        if (rec->kind == DIM_SYM && d->sym.p[rec->sym.i].kind == SYM_NODE) {
            KStep *s = lw_step(l, KST_BIND);
            s->sym = rec->sym;
            s->a = computed[i];
        } else if (dim_eq(d, t->dim[i], computed[i]) != TRI_YES) {
            KStep *s = lw_step(l, KST_CHECK);
            s->a = computed[i];
            s->b = lw_res(l, t->dim[i]);
            s->rel = KREL_EQ;
            s->msg = "a dimension computed while running is not the one expected";
        }
    }
}

/* ---- nodes ---- */

static void check_step(Lw *l, const CheckRec *c)
{
    KStep *s = kstep_add(l->k, l->steps, KST_CHECK, kloc_new(l->k, c->loc.node, c->loc.name, c->loc.op));
    s->a = c->a;
    s->b = c->b;
    s->rel = c->bcast ? KREL_BCAST : KREL_EQ;
    s->msg = c->msg;
}

/* Nothing to compute: every result's contents are known at compile time. */
static bool all_known(Graph *g, Node n)
{
    for (uint32_t r = 0; r < node_n_out(g, n); r++)
        if (!value_rec(g, node_out(g, n, r))->content) return false;
    return !node_rec(g, n)->n_region && node_n_out(g, n) > 0;
}

static bool node_lower(Lw *l, Node n)
{
    const OpDesc *op = node_desc(l->g, n);
    const NodeRec *r = node_rec(l->g, n);
    l->n = n;
    l->loc = kloc_new(l->k, r->loc.node, r->loc.name, r->loc.op.i ? r->loc.op : name_of(&l->m->names, op->name));
    const uint32_t *at;
    for (uint32_t i = 0, count = graph_checks(l->g, &at); i < count; i++)
        if (l->m->check.p[at[i]].at.i == n.i) check_step(l, &l->m->check.p[at[i]]);
    for (uint32_t k = 0; k < node_n_out(l->g, n); k++) {
        const TypeRec *t = value_trec(l->g, node_out(l->g, n, k));
        if (t->kind == TY_TENSOR && t->rank == RANK_UNKNOWN)
            return lw_fail(l, "the rank of result '%s' is not known at compile time", value_name(l->g, node_out(l->g, n, k)));
    }
    if (all_known(l->g, n)) return true;
    if (op->view && lw_views(l)) return true;
    if (op->lower) return op->lower(l, n);
    if (op->cls == CLS_ELTWISE || (op->cls == CLS_MOVE && op->route)) {
        lw_prepare(l, n);
        lw_out(l, 0);   /* memory before the kernel opens: a boxed result takes a step */
        lw_kernel(l, op->name);
        KVal idx[RANK_MAX];
        lw_nest_over(l, 0, idx);
        lw_put(l, 0, idx, lw_inline(l, n, 0, idx));
        lw_end_nest(l, lw_out_rank(l, 0));
        lw_kernel_end(l);
        return true;
    }
    return lw_fail(l, "%s has no lowering", op->name);
}

bool lw_nodes(Lw *l)
{
    lw_reserve(l);
    for (Node n = graph_first(l->g); n.i; n = node_next(l->g, n))
        if (!node_lower(l, n)) return false;
    return true;
}

/* May the node that makes result k of the region store it in `place`? A result that no node makes, whose contents are known, or that is given twice may not. */
static bool fits_place(Lw *l, const Graph *region, uint32_t k, KBuf place)
{
    const ValueRec *v = value_rec(region, region->out.p[k]);
    const TypeRec *t = type_rec(&l->m->types, v->type);
    const KBufRec *b = kbuf(l->k, place);
    if (!v->def.i || v->content || v->data.i || v->n_out_use != 1) return false;
    if (t->kind != TY_TENSOR) return b->space == KS_SEQ;
    if (t->layout.i || t->elem != b->elem || t->rank != b->rank) return false;
    for (int i = 0; i < t->rank; i++)
        if (dim_eq(&l->m->dims, lw_res(l, t->dim[i]), b->dim[i]) != TRI_YES) return false;
    return b->dense;
}

bool lw_region(Lw *l, uint32_t r, KSteps *to, const KBuf *in, uint32_t n_in, KBuf *out)
{
    Graph *region = node_rec(l->g, l->n)->region[r];
    Lw inner = *l;
    Frame f = {.g = region, .buf = arena_array(l->m->arena, KBuf, region->value.n + 1)};
    assert(n_in == region->in.n);
    for (uint32_t k = 0; k < n_in; k++) f.buf[region->in.p[k].i] = in[k];
    for (uint32_t k = 0; k < region->out.n; k++)
        if (out[k].i && fits_place(l, region, k, out[k])) f.buf[region->out.p[k].i] = out[k];
    Frame *keep = l->s->frame;
    uint32_t copies = l->s->dense.n;
    l->s->frame = &f;
    inner.g = region;
    inner.steps = to;
    bool ok = lw_nodes(&inner);
    for (uint32_t k = 0; ok && k < region->out.n; k++) out[k] = lw_row_major_of(&inner, lw_value_buf(&inner, region->out.p[k]));
    l->s->frame = keep;
    l->s->dense.n = copies;   /* made in the region, there only when it ran */
    return ok;
}

/* ---- the module ---- */

static void input_ports(Lw *l)
{
    Graph *g = l->g;
    for (uint32_t k = 0; k < g->in.n; k++) {
        Value v = g->in.p[k];
        const TypeRec *t = value_trec(g, v);
        KBuf b;
        if (t->kind == TY_TENSOR) b = kbuf_new(l->k, KS_IN, value_label(l, v), t->elem, t->rank, t->dim, l->loc);
        else {
            b = kbuf_new(l->k, KS_SEQ, value_label(l, v), DT_NONE, 0, NULL, l->loc);
            kbuf(l->k, b)->seq = value_type(g, v);
        }
        if (t->kind == TY_TENSOR) kbuf(l->k, b)->port = (int32_t)k;
        l->s->frame->buf[v.i] = b;
        vec_push(l->k->arena, &l->k->input, (KPort){.name = value_label(l, v), .type = value_type(g, v), .buf = b, .alias = -1, .alias_axis = -1});
    }
    for (uint32_t s = 1; s < l->m->dims.sym.n; s++) {
        const SymRec *r = &l->m->dims.sym.p[s];
        if (r->kind == SYM_ENTRY && r->input >= 0 && r->axis == AXIS_RANK) l->k->input.p[r->input].rank = (Sym){s};
    }
    for (uint32_t k = 0; k + l->m->rank.n < g->out.n; k++)   /* the last ones are ranks of others */
        vec_push(l->k->arena, &l->k->output, (KPort){.name = g->out_name.p[k].i ? g->out_name.p[k] : value_label(l, g->out.p[k]), .type = value_type(g, g->out.p[k]), .alias = -1, .alias_axis = -1});
    for (uint32_t i = 0; i < l->m->alias.n; i++)
        for (uint32_t a = 0; a < g->in.n; a++)
            for (uint32_t o = 0; o < g->out.n; o++)
                if (l->k->input.p[a].name.i == l->m->alias.p[i].in.i && l->k->output.p[o].name.i == l->m->alias.p[i].out.i) {
                    l->k->input.p[a].alias = (int32_t)o;
                    l->k->output.p[o].alias = (int32_t)a;
                    l->k->input.p[a].alias_axis = l->k->output.p[o].alias_axis = l->m->alias.p[i].axis;
                    l->k->input.p[a].alias_cap = l->k->output.p[o].alias_cap = l->m->alias.p[i].cap;
                    lw_lies_as_port(l, l->k->input.p[a].buf, &l->k->input.p[a]);
                }
}

/* Outputs that no node could store to directly (inputs, constants, views, second names, aliased state) are copied at the end, when nothing reads the old state any more. */
static void output_ports(Lw *l)
{
    uint32_t n_out = l->k->output.n;
    for (uint32_t k = 0; k < l->m->rank.n; k++)
        for (uint32_t o = 0; o < n_out; o++) {
            if (l->k->output.p[o].name.i != l->m->rank.p[k].out.i) continue;
            KBuf b = lw_row_major_of(l, lw_value_buf(l, l->g->out.p[n_out + k]));
            l->k->output.p[o].rank = lw_load_sym(l, b, dim_const(&l->m->dims, 0), "rank", 0, RANK_ANY);
        }
    for (uint32_t k = 0; k < n_out; k++) {
        Value v = l->g->out.p[k];
        KBuf b = lw_value_buf(l, v);
        const KBufRec *r = kbuf(l->k, b);
        if (r->space == KS_VIEW && kbuf(l->k, kbuf_root(l->k, b))->space == KS_OUT && kbuf(l->k, kbuf_root(l->k, b))->port == (int32_t)k)
            r = kbuf(l->k, b = kbuf_root(l->k, b));   /* made in place in another shape */
        bool own = (r->space == KS_OUT || r->space == KS_BOX || (r->space == KS_SEQ && l->s->out_claimed[k])) && r->port == (int32_t)k;
        if (!own) {
            assert(!l->s->out_claimed[k]);
            KBuf to = lw_place(l, value_type(l->g, v), l->k->output.p[k].name, (int)k);
            lw_copy(l, l->steps, to, b);
            b = to;
        }
        l->k->output.p[k].buf = b;
    }
}

bool lower_module(Module *m, KModule *k)
{
    Graph *g = m->entry;
    struct LwState s = {0};
    Frame f = {.g = g, .buf = arena_array(m->arena, KBuf, g->value.n + 1), .entry = true};
    s.frame = &f;
    s.out_claimed = arena_array(m->arena, bool, g->out.n + 1);
    Lw l = {.m = m, .k = k, .g = g, .steps = &k->program, .s = &s};
    k->source = m->source;
    k->prefix = m->prefix;
    k->weights = module_weight_bytes(m, m->arena);
    s.blob_uses = module_blob_uses(m, m->arena);
    s.n_blob = m->blobs.rec.n;
    for (uint32_t i = 0; i < g->in.n; i++) {
        const TypeRec *t = value_trec(g, g->in.p[i]);
        if (t->kind == TY_TENSOR && t->rank == RANK_UNKNOWN)
            return diag(m->diag, diag_file(m->source), E_LOWER, arena_printf(m->arena, "input '%s' has no known rank: give it with --shape %s=...",
                                                                             value_name(g, g->in.p[i]), value_name(g, g->in.p[i])));
        int deep = 0;
        for (TypeId in = value_type(g, g->in.p[i]); type_rec(&m->types, in)->kind != TY_TENSOR && in.i; in = type_rec(&m->types, in)->of) deep++;
        if (deep > 4)   /* bmc_port.of */
            return diag(m->diag, diag_file(m->source), E_LOWER,
                        arena_printf(m->arena, "input '%s' nests sequences and optionals more than four deep", value_name(g, g->in.p[i])));
    }
    input_ports(&l);
    for (uint32_t i = 0; i < m->check.n; i++)
        if (m->check.p[i].g && !m->check.p[i].at.i) check_step(&l, &m->check.p[i]);
    if (!lw_nodes(&l)) return false;
    output_ports(&l);
    return true;
}
