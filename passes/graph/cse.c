/* cse: computes nothing twice.
 *   %1 = Exp(%x)                      %1 = Exp(%x)
 *   %2 = Exp(%x)              =>      %y = Add(%1, %1)
 *   %y = Add(%1, %2)
 * Two nodes are the same when op, operands, attributes and result types agree; the operands of a commuting op in
 * either order. The earlier one stays.
 * Equal types matter: two NonZero of one input bind symbols of their own, and both must be bound. Random ops, side
 * effects and regions are left alone.
 * Equal constants become one first (those up to 64 KB by content, larger ones when they are the same bytes of a
 * file). Graphs are taken one by one, regions too. */
#include "passes/pass.h"

#define CONTENT_BYTES 65536

/* ---- constants ---- */

static uint64_t const_key(Module *m, const ValueRec *r)
{
    const BlobRec *b = blob_rec(&m->blobs, r->data);
    uint64_t h = hash_mix(
        r->type.i,
        b->kind == BLOB_DERIVED || b->kind == BLOB_STRINGS || blob_bytes(&m->blobs, r->data) <= CONTENT_BYTES ? 1 : 0);
    if (h == hash_mix(r->type.i, 1)) return hash_mix(h, blob_hash(&m->blobs, r->data));
    return b->kind == BLOB_RAW ? hash_mix(hash_mix(h, b->file), (uint64_t)b->off) : hash_mix(h, r->data.i);
}

static bool const_same(Module *m, const ValueRec *x, const ValueRec *y)
{
    if (x->type.i != y->type.i) return false;
    if (x->data.i == y->data.i) return true;
    const BlobRec *a = blob_rec(&m->blobs, x->data), *b = blob_rec(&m->blobs, y->data);
    if (a->kind == BLOB_RAW && b->kind == BLOB_RAW && a->file == b->file && a->off == b->off) return true;
    if (a->kind != BLOB_DERIVED && a->kind != BLOB_STRINGS && blob_bytes(&m->blobs, x->data) > CONTENT_BYTES)
        return false;
    return blob_equal(&m->blobs, x->data, y->data);
}

static bool merge_constants(PassCtx *c, Graph *g)
{
    Map first;
    bool changed = false;
    map_init(&first, c->arena);
    for (uint32_t i = 1; i < g->value.n; i++) {
        uint64_t key, j;
        const ValueRec *r = &g->value.p[i];
        if (!r->data.i || !value_used(g, (Value){i})) continue;
        key = const_key(c->m, r);
        if (!map_get(&first, key, &j)) map_put(&first, key, i);
        else if (const_same(c->m, r, &g->value.p[j]) && pass_may_rewrite(c)) {
            graph_replace_uses(g, (Value){i}, (Value){(uint32_t)j});
            pass_count(c, "constants merged", 1);
            changed = true;
        }
    }
    return changed;
}

/* ---- nodes ---- */

static void operand_pair(const Graph *g, Node n, uint32_t *a, uint32_t *b)
{
    uint32_t x = node_in(g, n, 0).i, y = node_in(g, n, 1).i;
    bool swap = (node_desc(g, n)->flags & OPF_COMMUTES) && node_n_in(g, n) == 2 && x > y;
    *a = swap ? y : x;
    *b = swap ? x : y;
}

static uint64_t node_key(const Graph *g, Node n)
{
    const NodeRec *r = node_rec(g, n);
    uint32_t a, b;
    operand_pair(g, n, &a, &b);
    uint64_t h = hash_mix(hash_mix(hash_mix(r->op, r->n_in), a), b);
    for (uint32_t k = 2; k < r->n_in; k++) h = hash_mix(h, node_in(g, n, k).i);
    for (uint32_t k = 0; k < r->n_out; k++) h = hash_mix(h, value_type(g, node_out(g, n, k)).i);
    return hash_mix(h, attrs_hash(op_desc(r->op), r->attrs));
}

static bool node_same(const Graph *g, Node x, Node y)
{
    const NodeRec *p = node_rec(g, x), *q = node_rec(g, y);
    uint32_t a, b, d, e;
    if (p->op != q->op || p->n_in != q->n_in || p->n_out != q->n_out ||
        !attrs_equal(op_desc(p->op), p->attrs, q->attrs))
        return false;
    operand_pair(g, x, &a, &b);
    operand_pair(g, y, &d, &e);
    if (a != d || b != e) return false;
    for (uint32_t k = 2; k < p->n_in; k++)
        if (node_in(g, x, k).i != node_in(g, y, k).i) return false;
    for (uint32_t k = 0; k < p->n_out; k++)
        if (value_type(g, node_out(g, x, k)).i != value_type(g, node_out(g, y, k)).i) return false;
    return true;
}

static bool merge_nodes(PassCtx *c, Graph *g)
{
    Map first;
    bool changed = false;
    map_init(&first, c->arena);
    for (Node n = graph_first(g), next; n.i; n = next) {
        uint64_t j;
        next = node_next(g, n);
        for (uint32_t k = 0; k < node_rec(g, n)->n_region; k++) {
            changed |= merge_constants(c, node_rec(g, n)->region[k]);
            changed |= merge_nodes(c, node_rec(g, n)->region[k]);
        }
        if (node_rec(g, n)->n_region || (node_desc(g, n)->flags & (OPF_RANDOM | OPF_SIDE_EFFECT))) continue;
        uint64_t key = node_key(g, n);
        if (!map_get(&first, key, &j)) {
            map_put(&first, key, n.i);
            continue;
        }
        Node by = {(uint32_t)j};
        if (!node_same(g, n, by) || !pass_may_rewrite(c)) continue;
        for (uint32_t k = 0; k < node_n_out(g, n); k++) graph_replace_uses(g, node_out(g, n, k), node_out(g, by, k));
        graph_erase(g, n);
        pass_count(c, "nodes merged", 1);
        changed = true;
    }
    return changed;
}

static PassResult run(PassCtx *c)
{
    bool constants = merge_constants(c, c->m->entry), nodes = merge_nodes(c, c->m->entry);
    return constants || nodes ? PASS_CHANGED : PASS_UNCHANGED;
}

const Pass pass_cse = {.name = "cse", .brief = "merge equal constants and equal computations", .run = run};
