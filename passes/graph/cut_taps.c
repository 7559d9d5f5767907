/* cut-taps: taps of a convolution that meet nothing but padding, wherever its window stands, go.
 *   %y = Conv(%x, %w) {dilations=[12,12], pads=[12,12,12,12]}       %x: f32[1,C,9,9]  %w: f32[K,C,3,3]
 *     =>  %1 = Slice(%w, [1,1], [2,2], [2,3])   %y = Conv(%1 ...) {dilations=[12,12], pads=[0,0,0,0]}
 * Convolutions dilated by more than a small image is wide, as at the end of nets that label pixels, are mostly zeros.
 * From the ends of the kernel only, while what is left needs no negative padding; constant weights, extents known.
 * Requires types; run fold behind it, which cuts the weights. */
#include "ir/graph/attr.h"
#include "ir/graph/infer.h"
#include "ir/ops/conv.h"
#include "passes/graph/match.h"

enum { FAR = 1 << 24 }; /* extents, dilations and padding are below: no sum of theirs overflows */

typedef struct Axis {
    int64_t in, out, kernel, stride, dilation, begin, end;
    int64_t front, back; /* taps to cut */
} Axis;

static bool within(Dims *d, Dim x, int64_t *v) { return dim_is_const(d, x, v) && *v >= 0 && *v < FAR; }

/* Tap t of the window at o reads in[o * stride + t * dilation - begin]. false: not known. */
static bool look(Dims *d, const Window *w, int i, Axis *a)
{
    *a = (Axis){.kernel = w->kernel[i], .stride = w->stride[i], .dilation = w->dilation[i]};
    if (!within(d, w->in[i], &a->in) || !within(d, w->out[i], &a->out) || !within(d, w->begin[i], &a->begin) || !within(d, w->end[i], &a->end)) return false;
    if (a->out < 1 || a->kernel < 1 || a->kernel >= FAR || a->stride >= FAR || a->dilation >= FAR) return false;
    while (a->front + 1 < a->kernel && (a->out - 1) * a->stride + a->front * a->dilation < a->begin && (a->front + 1) * a->dilation <= a->begin) a->front++;
    while (a->front + a->back + 1 < a->kernel && (a->kernel - 1 - a->back) * a->dilation - a->begin >= a->in && (a->back + 1) * a->dilation <= a->end) a->back++;
    return true;
}

static Value cut_weights(Graph *g, Node conv, const Axis *axis, int space)
{
    int64_t at[3][WINDOW_MAX];
    Dim n = dim_const(&g->m->dims, space);
    TypeId t = type_tensor(&g->m->types, DT_I64, 1, &n);
    Value in[4] = {node_in(g, conv, 1)};
    for (int i = 0; i < space; i++) {
        at[0][i] = axis[i].front;
        at[1][i] = axis[i].kernel - axis[i].back;
        at[2][i] = 2 + i;
    }
    for (int k = 0; k < 3; k++) in[k + 1] = graph_const(g, blob_inline(&g->m->blobs, DT_I64, space, at[k]), t, (Name){0});
    Node slice = graph_add(g, OP_Slice, in, 4, 1, NULL, node_rec(g, conv)->loc, conv);
    return infer_node(g, slice) ? node_out(g, slice, 0) : VALUE_NONE;
}

static bool cut_one(PassCtx *c, Graph *g, Node n)
{
    if (node_rec(g, n)->op != OP_Conv) return false;
    Conv *a = node_rec(g, n)->attrs;
    Dims *d = &g->m->dims;
    Arena *ar = g->m->arena;
    Value w = node_in(g, n, 1);
    Window win;
    Axis axis[WINDOW_MAX];
    const char *why;
    bool any = false;
    if (!match_constant(g, w) || !conv_resolve(d, a, value_trec(g, node_in(g, n, 0)), value_trec(g, w), &win, &why)) return false;
    for (int i = 0; i < win.n; i++) {
        if (!look(d, &win, i, &axis[i])) return false;
        any |= axis[i].front || axis[i].back;
    }
    if (!any || !pass_may_rewrite(c)) return false;
    Value cut = cut_weights(g, n, axis, win.n);
    if (!cut.i) return false;
    int64_t *pads = arena_array(ar, int64_t, 2 * (size_t)win.n), *kernel = arena_array(ar, int64_t, (size_t)win.n), taps = 1;
    for (int i = 0; i < win.n; i++) {
        pads[i] = axis[i].begin - axis[i].front * axis[i].dilation;
        pads[i + win.n] = axis[i].end - axis[i].back * axis[i].dilation;
        kernel[i] = axis[i].kernel - axis[i].front - axis[i].back;
        taps *= kernel[i];
    }
    uint32_t bit;
    attr_find(node_desc(g, n), "pads", &bit);
    a->set |= 1ull << bit;
    a->pads = (AttrInts){pads, 2 * (uint32_t)win.n};
    a->auto_pad = "NOTSET";
    if (a->kernel_shape.n) a->kernel_shape = (AttrInts){kernel, (uint32_t)win.n};
    graph_set_input(g, n, 1, cut);
    pass_remark(c, graph_loc(g, n), "%lld of %lld taps meet padding only and are cut", (long long)(win.taps - taps), (long long)win.taps);
    pass_count(c, "taps cut", win.taps - taps);
    return true;
}

static bool cut_graph(PassCtx *c, Graph *g)
{
    bool changed = false;
    for (Node n = graph_first(g); n.i; n = node_next(g, n)) changed |= cut_one(c, g, n);
    return changed;
}

static PassResult run(PassCtx *c) { return pass_graphs(c, cut_graph); }

const Pass pass_cut_taps = {.name = "cut-taps", .brief = "taps that meet nothing but padding go", .run = run};
