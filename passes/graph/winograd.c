/* winograd: convolutions by minimal filtering (ir/winograd.h) where that is faster and no less exact.
 *   %y = Conv(%x, %w) {pads=[1,1,1,1]}      =>      %y = Conv(%x, %w) {pads=[1,1,1,1], winograd=2}
 * A 3 x 3 convolution of stride 1 whose weights are constant floats may take tiles of 2 x 2 outputs; of 4 x 4 where the
 * node's mode of arithmetic (ir/graph/math_mode.h) is fast. So may those of stride s with 3*s taps along each axis, and
 * with 2*s (4 x 4 in steps of 2): tiles of 3 x 3 under fast, then. None under strict. Chosen by cost
 * (ir/ops/conv_winograd_plan.c), then checked with the weights of the layer: tiles of pseudo-random inputs are computed
 * in single precision both ways, and minimal filtering is taken only if its error is not above that of direct sums (4
 * times that under fast). Weights that are all integers stay direct: their sums may be exact, and stay so. With
 * --weights-budget, the transformed weights are limited: most cycles saved per byte first.
 * An attribute that is there already stays (-1: never) unless the mode forbids it. Requires types. */
#include "ir/graph/eval.h"
#include "ir/graph/math_mode.h"
#include "ir/ops/conv_winograd.h"
#include "passes/pass.h"
#include <math.h>
#include <stdlib.h>

static const double GAIN = 1.08, ERROR_DEFAULT = 1, ERROR_FAST = 4;

typedef struct Candidate {
    Graph *g;
    Node n;
    int m, r;
    WinogradPlan plan;
    double direct, error;
} Candidate;

typedef struct Search {
    PassCtx *c;
    VEC(Candidate) found;
    bool changed;
} Search;

/* A constant, or an operand of the group around that is one. */
static const ValueRec *constant(const Graph *g, Value v, const Graph *outer, Node group)
{
    if (!v.i) return NULL;
    const ValueRec *r = value_rec(g, v);
    if (r->data.i || !outer) return r->data.i ? r : NULL;
    for (uint32_t k = 0; k < g->in.n; k++)
        if (g->in.p[k].i == v.i) {
            Value w = node_in(outer, group, k);
            return w.i && value_rec(outer, w)->data.i ? value_rec(outer, w) : NULL;
        }
    return NULL;
}

/* The constant's elements: the blob's own, or those of what it is computed from element by element (a factor for each
 * channel changes no relative error). */
static Blob readable(const Blobs *bs, Blob b)
{
    const BlobRec *r = blob_rec(bs, b);
    if (r->kind == BLOB_STRINGS) return (Blob){0};
    if (r->kind != BLOB_DERIVED) return b;
    for (uint32_t k = 0; r->recipe->kind == RECIPE_GRAPH && k < r->recipe->n_src; k++) {
        Blob s = readable(bs, r->recipe->src[k]);
        if (s.i && blob_rec(bs, s)->count == r->count && dtype_info(blob_rec(bs, s)->elem)->bits >= 8) return s;
    }
    return (Blob){0};
}

static bool all_integers(const Blobs *bs, Blob b)
{
    for (int64_t k = 0; k < blob_rec(bs, b)->count; k++) {
        double x = blob_get_f(bs, b, k);
        if (x != rint(x)) return false;
    }
    return true;
}

/* Of the first of evenly spaced output channels; ic: by winograd_channels. */
static double sampled_error(PassCtx *c, Blob b, int m, int r, const int64_t step[2], int64_t ic, int64_t oc)
{
    Winograd f;
    if (!winograd_make(m, r, &f)) return INFINITY;
    int taps = r * r;
    int64_t n = oc < WINOGRAD_SAMPLED ? oc : WINOGRAD_SAMPLED, run = ic * taps;
    float *w = arena_alloc(c->arena, (size_t)(n * run) * sizeof *w);
    for (int64_t o = 0; o < n; o++)
        for (int64_t k = 0; k < run; k++)
            w[o * run + k] = (float)blob_get_f(&c->m->blobs, b, o * (oc / n) * run + winograd_source(&f, ic, step, k / taps, (int)(k % taps)));
    return winograd_error(m, r, ic, n, w);
}

static bool extents(const Dims *d, const Window *w, Dim batch, int m, int64_t *tiles, int64_t *pixels)
{
    int64_t h, v, n;
    if (!dim_is_const(d, w->out[0], &v) || !dim_is_const(d, w->out[1], &h)) return false;
    if (!dim_is_const(d, batch, &n)) n = 1;
    *tiles = n * ((v + m - 1) / m) * ((h + m - 1) / m);
    *pixels = n * v * h;
    return true;
}

static MathRight freedom(int64_t m) { return m == 2 ? MATH_WINOGRAD_2 : MATH_WINOGRAD_4; }

static void consider(Search *s, Graph *g, Node n, const Graph *outer, Node group)
{
    PassCtx *c = s->c;
    Dims *d = &c->m->dims;
    Conv *a = node_rec(g, n)->attrs;
    const TypeRec *x = value_trec(g, node_in(g, n, 0)), *w = value_trec(g, node_in(g, n, 1));
    MathMode mode = graph_math(g, n);
    Window win;
    const char *why;
    int64_t oc, ic;
    if (a->winograd > 0 && !math_allows(mode, freedom(a->winograd))) {
        a->winograd = 0;
        s->changed = true;
    }
    if (a->winograd || x->rank != 4 || x->elem != DT_F32 || !conv_resolve(d, a, x, w, &win, &why) ||
        !dim_is_const(d, dim_resolve(d, w->dim[0]), &oc) ||
        !dim_is_const(d, dim_resolve(d, w->dim[1]), &ic) || ic < 1 || oc < 1)
        return;
    const ValueRec *v = constant(g, node_in(g, n, 1), outer, group);
    Blob weights = v ? readable(&c->m->blobs, v->data) : (Blob){0};
    Candidate best = {.g = g, .n = n};
    bool some = false;
    int r = winograd_window(&win, a->group);
    for (int m = 2; weights.i && m <= 4; m++) {
        int64_t tiles = -1, pixels = -1;
        Winograd f;
        if (!winograd_make(m, r, &f) || !math_allows(mode, freedom(m))) continue;
        some = true;
        if (extents(d, &win, dim_resolve(d, x->dim[0]), m, &tiles, &pixels) && tiles < 1) return;
        WinogradPlan p = winograd_plan(&c->k->target, m, r, winograd_channels(&win, ic), oc, tiles);
        double direct = winograd_direct_cycles(&c->k->target, ic * win.taps, oc, pixels);
        if (math_allows(mode, MATH_BF16_PRODUCTS)) direct /= contract_pairs_gain(&c->k->target);
        if (p.cycles * GAIN > direct || (best.m && p.cycles > best.plan.cycles)) continue;
        best.m = m;
        best.plan = p;
        best.direct = direct;
    }
    if (!best.m) {
        if (some) pass_remark(c, graph_loc(g, n), "direct: minimal filtering would not be faster");
        return;
    }
    if (blob_rec(&c->m->blobs, v->data)->kind != BLOB_DERIVED && all_integers(&c->m->blobs, weights)) {
        pass_remark(c, graph_loc(g, n), "direct: the weights are integers, their sums may be exact");
        return;
    }
    best.r = r;
    best.error = sampled_error(c, weights, best.m, r, win.stride, winograd_channels(&win, ic), oc);
    if (best.error > (mode == MATH_FAST ? ERROR_FAST : ERROR_DEFAULT)) {
        pass_remark(c, graph_loc(g, n), "direct: minimal filtering has %.2f times the error of direct sums", best.error);
        return;
    }
    vec_push(c->arena, &s->found, best);
}

static void walk(Search *s, Graph *g, const Graph *outer, Node group)
{
    for (Node n = graph_first(g); n.i; n = node_next(g, n)) {
        const NodeRec *r = node_rec(g, n);
        if (r->op == OP_Conv) consider(s, g, n, outer, group);
        for (uint32_t k = 0; k < r->n_region; k++) walk(s, r->region[k], g, n);
    }
}

static int by_gain(const void *a, const void *b)
{
    const Candidate *p = a, *q = b;
    double x = (p->direct - p->plan.cycles) / (double)p->plan.bytes, y = (q->direct - q->plan.cycles) / (double)q->plan.bytes;
    return x != y ? (x < y) - (x > y) : p->g != q->g ? (p->g->id > q->g->id) - (p->g->id < q->g->id) : (p->n.i > q->n.i) - (p->n.i < q->n.i);
}

static PassResult run(PassCtx *c)
{
    Search s = {.c = c};
    walk(&s, c->m->entry, NULL, NODE_NONE);
    int64_t left = INT64_MAX;
    if (c->weights_budget >= 0) {
        left = c->weights_budget;
        if (c->weights_percent) left = (int64_t)((double)module_weight_bytes(c->m, c->arena) / 100 * (double)left);
        if (s.found.n) qsort(s.found.p, s.found.n, sizeof *s.found.p, by_gain);
    }
    for (uint32_t k = 0; k < s.found.n; k++) {
        const Candidate *f = &s.found.p[k];
        if (f->plan.bytes > left) {
            pass_remark(c, graph_loc(f->g, f->n), "direct: %lld bytes of transformed weights exceed the budget", (long long)f->plan.bytes);
            continue;
        }
        if (!pass_may_rewrite(c)) break;
        left -= f->plan.bytes;
        ((Conv *)node_rec(f->g, f->n)->attrs)->winograd = f->m;
        pass_remark(c, graph_loc(f->g, f->n), "F(%dx%d,%dx%d): %.2f times as fast by estimate, %.2f times the error of direct sums, %lld bytes of weights",
                    f->m, f->m, f->r, f->r, f->direct / f->plan.cycles, f->error, (long long)f->plan.bytes);
        pass_count(c, f->m == 4 ? "convolutions by F(4x4,3x3)" : f->m == 3 ? "convolutions by F(3x3,2x2)" :
                      f->r == 3 ? "convolutions by F(2x2,3x3)" : "convolutions by F(2x2,2x2)", 1);
        pass_count(c, "bytes of transformed weights", f->plan.bytes);
        s.changed = true;
    }
    return s.changed ? PASS_CHANGED : PASS_UNCHANGED;
}

const Pass pass_winograd = {.name = "winograd", .brief = "convolutions by minimal filtering where that is faster and as exact", .run = run};
