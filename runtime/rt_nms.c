/* rt_nms: non-maximum suppression. For each batch and class, boxes go by falling score (of equal scores the lower index
 * first). They are sorted in rounds, the best first: twice as many as may be kept, then eight times as many in each
 * round, until enough are kept: most of many boxes are never looked at. A box is kept when it overlaps none of those
 * kept before by more than the threshold; four of these are looked at together. */
#include "runtime/rt_sort.h"
#include <math.h>
#include <string.h>

typedef struct rt_rect {
    float lo[2], hi[2], area;
} rt_rect;

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

enum { FOUR = 4, AT_ONCE = 32 /* boxes that are sorted in one round */ };
typedef float vec4 __attribute__((vector_size(16)));
typedef int32_t mask4 __attribute__((vector_size(16)));

/* Kept boxes, four in a block. */
typedef struct rt_four {
    vec4 lo[2], hi[2], area;
} rt_four;

static vec4 pick(mask4 m, vec4 a, vec4 b) { return (vec4)((m & (mask4)a) | (~m & (mask4)b)); }
static bool any_of(mask4 m) { return (m[0] | m[1] | m[2] | m[3]) != 0; }

/* Does one of the block's boxes overlap r by more than the limit? */
static bool overlaps(const rt_four *k, const rt_rect *r, float limit)
{
    vec4 side[2];
    mask4 both = ~(mask4){0};
    for (int a = 0; a < 2; a++) {
        vec4 lo = r->lo[a] - (vec4){0}, hi = r->hi[a] - (vec4){0};
        vec4 p = pick(lo > k->lo[a], lo, k->lo[a]), q = pick(hi < k->hi[a], hi, k->hi[a]);
        both &= q > p;
        side[a] = q - p;
    }
    if (!any_of(both)) return false;
    vec4 common = side[0] * side[1];
    return any_of(both & (common / (r->area + k->area - common) > limit));
}

typedef struct rt_nms_work {
    const float *box; /* of the batch, four numbers each */
    bool centre;
    rt_four *kept;
    uint64_t *key; /* a box's, the best score's the lowest */
    rt_pair *pair; /* room for two of each box */
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

/* Boxes whose keys are from lo on and below hi. */
typedef struct rt_nms_range {
    uint64_t lo, hi;
} rt_nms_range;

/* Scores above `least` (NaN: all) as keys. NaN is the best score without a limit, and above none. */
static rt_nms_range range_of(float least)
{
    float nan = NAN;
    if (isnan(least)) return (rt_nms_range){0, ~(uint64_t)0};
    return (rt_nms_range){~rt_key(&nan, BMC_F32, 0) + 1, ~rt_key(&least, BMC_F32, 0)};
}

/* The best `want` of the boxes in the range and those whose scores equal the last one's, or all if hardly more are
 * there: *pairs, in order. Their keys leave the range. Returns how many. */
static int64_t next_round(rt_nms_work *w, int64_t n, int64_t want, rt_nms_range *range, rt_pair **pairs)
{
    uint64_t *used = (uint64_t *)(w->pair + n), lo = range->lo, hi = range->hi;
    int64_t left = 0, count = 0, before;
    for (int64_t i = 0; i < n; i++) { /* without a branch on scores, here and below */
        used[left] = w->key[i];
        left += w->key[i] - lo < hi - lo;
    }
    if (left > AT_ONCE && want < left / 2) hi = rt_kth_key(used, left, want, &before) + 1;
    for (int64_t i = 0; i < n; i++) {
        w->pair[count] = (rt_pair){w->key[i], i};
        count += w->key[i] - lo < hi - lo;
    }
    range->lo = hi;
    *pairs = rt_sort_pairs(w->pair, w->pair + n, count);
    return count;
}

static bool one_class(bmc_ctx *x, rt_nms_work *w, const float *score, int64_t n, int64_t b, int64_t c, int64_t most,
                      float iou, rt_nms_range range)
{
    int64_t left = 0, kept = 0, want = most < n ? 2 * most : n;
    rt_pair *p = NULL;
    rt_keys(score, BMC_F32, 0, 1, n, ~(uint64_t)0, w->key);
    while (kept < most) {
        if (!left) {
            if (range.lo >= range.hi || !(left = next_round(w, n, want, &range, &p))) break;
            want = want < n ? 8 * want : n;
        }
        int64_t at = p->at;
        left--, p++;
        rt_rect r = rect(w->box + 4 * at, w->centre);
        bool keep = true;
        for (int64_t k = 0; k < kept && keep; k += FOUR) keep = !overlaps(&w->kept[k / FOUR], &r, iou);
        if (!keep) continue;
        rt_four *block = &w->kept[kept / FOUR];
        if (kept % FOUR == 0) *block = (rt_four){.lo = {{0}}}; /* boxes without a side overlap nothing */
        for (int a = 0; a < 2; a++) block->lo[a][kept % FOUR] = r.lo[a], block->hi[a][kept % FOUR] = r.hi[a];
        block->area[kept++ % FOUR] = r.area;
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
    w.centre = arg[7].value != 0;
    bool ok = n <= INT32_MAX && boxes->data && scores->data;
    *arg[6].sym = 0;
    if (!ok || !rt_box_alloc(x, w.slot, 0, 0)) return BMC_E_MEMORY;
    int64_t most = *(const int64_t *)arg[2].data;
    float iou = *(const float *)arg[3].data, least = *(const float *)arg[4].data;
    w.kept = rt_heap_alloc(heap, (size_t)(n / FOUR + 1) * sizeof *w.kept, NULL);
    w.key = rt_heap_alloc(heap, (size_t)n * sizeof *w.key, NULL);
    w.pair = rt_heap_alloc(heap, (size_t)n * 2 * sizeof *w.pair, NULL);
    ok = w.kept && w.key && w.pair;
    for (int64_t b = 0; ok && b < batches; b++) {
        w.box = (const float *)boxes->data + 4 * b * n;
        for (int64_t c = 0; ok && c < classes; c++)
            ok = one_class(x, &w, (const float *)scores->data + (b * classes + c) * n, n, b, c, most, iou,
                           range_of(least));
    }
    rt_heap_free(heap, w.kept);
    rt_heap_free(heap, w.key);
    rt_heap_free(heap, w.pair);
    if (!ok) {
        rt_detail(x, "boxes to choose from");
        return BMC_E_MEMORY;
    }
    *arg[6].sym = w.count;
    return BMC_OK;
}
