/* rt_nms: non-maximum suppression. For each batch and class, the boxes leave a heap by falling score (of equal scores
 * the lower index first); a box is kept when it overlaps none of those kept before by more than the threshold. */
#include "runtime/rt_internal.h"
#include <math.h>
#include <string.h>

typedef struct rt_rect {
    float lo[2], hi[2], area;
} rt_rect;

typedef struct rt_scored {
    float score;
    int32_t at;
} rt_scored;

static bool first(rt_scored a, rt_scored b) { return a.score != b.score ? a.score > b.score : a.at < b.at; }

static void sift(rt_scored *h, int64_t n, int64_t i)
{
    rt_scored x = h[i];
    for (int64_t c; (c = 2 * i + 1) < n; i = c) {
        if (c + 1 < n && first(h[c + 1], h[c])) c++;
        if (!first(h[c], x)) break;
        h[i] = h[c];
    }
    h[i] = x;
}

/* y1 x1 y2 x2 with any two opposite corners, or x y w h around a centre. */
static rt_rect rect(const float *p, bool centre)
{
    rt_rect r;
    for (int a = 0; a < 2; a++) {
        float u = centre ? p[a] - p[2 + a] / 2 : p[a], v = centre ? p[a] + p[2 + a] / 2 : p[2 + a];
        r.lo[a] = u < v ? u : v;
        r.hi[a] = u < v ? v : u;
    }
    r.area = (r.hi[0] - r.lo[0]) * (r.hi[1] - r.lo[1]);
    return r;
}

static bool overlaps(const rt_rect *a, const rt_rect *b, float limit)
{
    float both = 1;
    for (int k = 0; k < 2; k++) {
        float p = a->lo[k] > b->lo[k] ? a->lo[k] : b->lo[k], q = a->hi[k] < b->hi[k] ? a->hi[k] : b->hi[k];
        if (!(q > p)) return false;
        both *= q - p;
    }
    return both / (a->area + b->area - both) > limit;
}

typedef struct rt_nms_work {
    rt_rect *all, *kept;
    rt_scored *heap;
    int64_t *out;
    int64_t count, room; /* of out, in triples */
    uint32_t slot;
} rt_nms_work;

/* One more triple in the box. */
static bool put(bmc_ctx *x, rt_nms_work *w, int64_t b, int64_t c, int64_t at)
{
    if (w->count == w->room) {
        w->room = w->room ? 2 * w->room : 64;
        if (!rt_box_alloc(x, w->slot, w->room * 3 * (int64_t)sizeof(int64_t), 1)) return false;
        w->out = x->slot[w->slot];
    }
    int64_t *t = w->out + 3 * w->count++;
    t[0] = b, t[1] = c, t[2] = at;
    return true;
}

static bool one_class(bmc_ctx *x, rt_nms_work *w, const float *score, int64_t n, int64_t b, int64_t c, int64_t most,
                      float iou, float least)
{
    int64_t left = 0, kept = 0;
    for (int64_t i = 0; i < n; i++)
        if (isnan(least) || score[i] > least) w->heap[left++] = (rt_scored){score[i], (int32_t)i};
    for (int64_t i = left / 2; i-- > 0;) sift(w->heap, left, i);
    while (left && kept < most) {
        int32_t at = w->heap[0].at;
        w->heap[0] = w->heap[--left];
        if (left) sift(w->heap, left, 0);
        bool keep = true;
        for (int64_t k = 0; k < kept && keep; k++) keep = !overlaps(&w->all[at], &w->kept[k], iou);
        if (!keep) continue;
        w->kept[kept++] = w->all[at];
        if (!put(x, w, b, c, at)) return false;
    }
    return true;
}

int32_t rt_nms(bmc_ctx *x, rt_arg *arg, int32_t n_arg, int32_t tid, int32_t nt)
{
    (void)n_arg, (void)tid, (void)nt;
    rt_heap *heap = &x->rt->heap;
    const rt_arg *boxes = &arg[0], *scores = &arg[1];
    int64_t batches = scores->dim[0], classes = scores->dim[1], n = scores->dim[2];
    rt_nms_work w = {.slot = (uint32_t)arg[5].value};
    bool centre = arg[7].value != 0, ok = n <= INT32_MAX && boxes->data && scores->data;
    *arg[6].sym = 0;
    if (!ok || !rt_box_alloc(x, w.slot, 0, 0)) return BMC_E_MEMORY;
    int64_t most = *(const int64_t *)arg[2].data;
    float iou = *(const float *)arg[3].data, least = *(const float *)arg[4].data;
    w.all = rt_heap_alloc(heap, (size_t)n * sizeof *w.all, NULL);
    w.kept = rt_heap_alloc(heap, (size_t)n * sizeof *w.kept, NULL);
    w.heap = rt_heap_alloc(heap, (size_t)n * sizeof *w.heap, NULL);
    ok = w.all && w.kept && w.heap;
    for (int64_t b = 0; ok && b < batches; b++) {
        for (int64_t i = 0; i < n; i++) w.all[i] = rect((const float *)boxes->data + 4 * (b * n + i), centre);
        for (int64_t c = 0; ok && c < classes; c++)
            ok = one_class(x, &w, (const float *)scores->data + (b * classes + c) * n, n, b, c, most, iou, least);
    }
    rt_heap_free(heap, w.all);
    rt_heap_free(heap, w.kept);
    rt_heap_free(heap, w.heap);
    if (!ok) {
        rt_detail(x, "boxes to choose from");
        return BMC_E_MEMORY;
    }
    *arg[6].sym = w.count;
    return BMC_OK;
}
