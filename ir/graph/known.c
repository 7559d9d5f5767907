/* known.c: shape arithmetic that the ops' `propagate` hooks do not follow, by the reference evaluation: a small result whose operands are all known
 * constants is known too. Exporters compute shapes with whatever is at hand (Mod, Where, Less, ReduceProd, and in floats: Cast, Mul, Floor, Cast);
 * the hooks are needed for symbols only. Integers become contents (infer.h), which later inference reads; floats are kept beside them (ValueRec.known)
 * for the next node of the chain. Nothing is replaced here: that is the passes' job. */
#include "base/bug.h"
#include "ir/graph/eval.h"
#include "ir/graph/infer.h"
#include <string.h>

/* The value as a tensor, when it has at most CONTENT_MAX elements that are constants; else NULL. */
static const Tensor *known_value(Graph *g, Value v)
{
    ValueRec *r = value_rec(g, v);
    Module *m = g->m;
    if (r->known) return r->known;
    const TypeRec *t = r->type.i ? value_trec(g, v) : NULL;
    if (!t || t->kind != TY_TENSOR || t->rank == RANK_UNKNOWN || dtype_info(t->elem)->cls == DC_STR || dtype_info(t->elem)->cls == DC_COMPLEX || dtype_info(t->elem)->bits < 8) return NULL;
    if (r->data.i) {
        const BlobRec *b = blob_rec(&m->blobs, r->data);
        return b->count <= CONTENT_MAX && b->kind != BLOB_DERIVED ? r->known = tensor_from_blob(m->arena, m, r->data, r->type) : NULL;
    }
    const Content *c = r->content;
    int64_t dim[RANK_MAX], e[CONTENT_MAX];
    if (!c) return NULL;
    for (int i = 0; i < t->rank; i++)
        if (!dim_is_const(&m->dims, dim_resolve(&m->dims, t->dim[i]), &dim[i])) return NULL;
    for (uint32_t k = 0; k < c->n; k++)
        if (!dim_is_const(&m->dims, dim_resolve(&m->dims, c->d[k]), &e[k])) return NULL;
    Tensor *y = tensor_new(m->arena, t->elem, t->rank, dim);
    if (!y || y->count != c->n) return NULL;
    for (uint32_t k = 0; k < c->n; k++) ev_set_i(y, k, e[k]);
    return y;   /* not kept: contents may be replaced by better ones */
}

static bool candidate(Infer *c)
{
    const NodeRec *n = node_rec(c->g, c->n);
    if (!c->op->eval || n->n_region || (c->op->flags & (OPF_RANDOM | OPF_SIDE_EFFECT | OPF_INTERNAL)) || !n->n_in) return false;
    for (uint32_t r = 0; r < n->n_out; r++) {
        TypeId id = value_type(c->g, node_out(c->g, c->n, r));
        const TypeRec *t = type_rec(&c->m->types, id);
        int64_t count;
        if (t->kind != TY_TENSOR || t->rank == RANK_UNKNOWN || t->elem == DT_STR || dtype_info(t->elem)->bits < 8) return false;
        if (!dim_is_const(c->d, dim_resolve(c->d, type_count(&c->m->types, id)), &count) || count > CONTENT_MAX) return false;
    }
    return true;
}

static void keep(Infer *c, uint32_t r, const Tensor *y)
{
    ValueRec *v = value_rec(c->g, node_out(c->g, c->n, r));
    const TypeRec *t = type_rec(&c->m->types, v->type);
    Dim d[CONTENT_MAX];
    if (!y || y->kind != TY_TENSOR || y->elem != t->elem || y->rank != t->rank || y->count > CONTENT_MAX) return;
    v->known = y;
    if (v->content || !(dtype_is_int(t->elem) || t->elem == DT_BOOL)) return;
    for (int64_t k = 0; k < y->count; k++) d[k] = dim_const(c->d, ev_i(y, k));
    infer_set_content(c, r, d, (uint32_t)y->count);
}

void infer_known(Infer *c)
{
    const NodeRec *n = node_rec(c->g, c->n);
    const char *why;
    for (uint32_t r = 0; r < n->n_out; r++) value_rec(c->g, node_out(c->g, c->n, r))->known = NULL;
    if (!candidate(c)) return;
    Tensor **in = arena_array(c->m->arena, Tensor *, n->n_in), **out = arena_array(c->m->arena, Tensor *, n->n_out);
    for (uint32_t k = 0; k < n->n_in; k++) {
        Value v = node_in(c->g, c->n, k);
        if (v.i && !(in[k] = (Tensor *)known_value(c->g, v))) return;
    }
    if (!eval_node(c->m->arena, c->g, c->n, in, out, &why)) return;   /* an error of the run, if it comes to that */
    for (uint32_t r = 0; r < n->n_out; r++) keep(c, r, out[r]);
}
