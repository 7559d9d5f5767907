/* nms.c: NonMaxSuppression: for each batch and class, boxes by falling score, dropping what overlaps a kept one too much: [selected, 3] triples (batch, class, box).
 * How many there are is known only while running: the runtime (rt_nms) makes a box of memory as large as needed and binds the count. */
#include "ir/ops/index.h"

static const Port P_IN[] = {{"boxes", DTS(DT_F32), 0, 0}, {"scores", DTS(DT_F32), 0, 0}, {"max_output_boxes_per_class", DTS(DT_I64), PORT_OPTIONAL, 0},
                            {"iou_threshold", DTS(DT_F32), PORT_OPTIONAL, 0}, {"score_threshold", DTS(DT_F32), PORT_OPTIONAL, 0}, PORT_END};
static const Port P_OUT[] = {{"selected_indices", DTS(DT_I64), 0, 0}, PORT_END};
typedef struct Nms { uint64_t set; int64_t center_point_box; } Nms;
static const AttrSpec ATTRS_[] = {A_INT(Nms, center_point_box, 0), A_END};

static bool infer(Infer *c)
{
    int64_t one;
    uint32_t n;
    if (!infer_need_rank(c, 0, 3, 3) || !infer_need_rank(c, 1, 3, 3)) return false;
    for (uint32_t k = 2; k < 5; k++)
        if (infer_has(c, k) && !infer_need_rank(c, k, 0, 1)) return false;
    if (!infer_must_eq(c, infer_dim(c, 0, 2), dim_const(c->d, 4), "coordinates of a box") || !infer_must_eq(c, infer_dim(c, 1, 0), infer_dim(c, 0, 0), "batch") ||
        !infer_must_eq(c, infer_dim(c, 1, 2), infer_dim(c, 0, 1), "number of boxes"))
        return false;
    Dim hi = dim_mul(c->d, infer_dim(c, 1, 0), infer_dim(c, 1, 1)), most = infer_dim(c, 1, 2);
    if (infer_has(c, 2) && infer_ints(c, 2, &one, 1, &n) && n == 1) most = dim_min(c->d, most, dim_const(c->d, one < 0 ? 0 : one));
    int64_t lo, up;
    dim_bounds(c->d, dim_mul(c->d, hi, most), &lo, &up);
    return infer_set(c, 0, DT_I64, 2, (Dim[]){infer_node_dim(c, 0, 0, 0, up), dim_const(c->d, 3)});
}

/* Operand k, or a constant in its place. No score threshold is NaN. */
static KBuf operand(Lw *l, uint32_t k, DType e, double absent)
{
    if (lw_has(l, k)) return lw_in(l, k);
    Dim one = dim_const(&l->m->dims, 1);
    return lw_const_buf(l, e == DT_I64 ? blob_splat_i(&l->m->blobs, e, 1, (int64_t)absent) : blob_splat_f(&l->m->blobs, e, 1, absent), "nms", 1, &one);
}

static bool lower(Lw *l, Node n)
{
    Dims *d = &l->m->dims;
    lw_prepare_in(l);
    KBuf boxes = lw_in(l, 0), scores = lw_in(l, 1), most = operand(l, 2, DT_I64, 0), iou = operand(l, 3, DT_F32, 0), least = operand(l, 4, DT_F32, __builtin_nan(""));
    Sym s = sym_new(d, module_fresh_name(l->m, "selected"), SYM_NODE, 0, INT64_MAX);
    Dim dim[2] = {dim_sym(d, s), dim_const(d, 3)};
    KBuf found = kbuf_new(l->k, KS_BOX, (Name){0}, DT_I64, 2, dim, l->loc);
    lw_call(l, l->steps, "rt_nms", 8,
            (KArg[]){{.kind = KA_BUF, .buf = boxes}, {.kind = KA_BUF, .buf = scores}, {.kind = KA_BUF, .buf = most}, {.kind = KA_BUF, .buf = iou}, {.kind = KA_BUF, .buf = least},
                     {.kind = KA_BUF, .buf = found}, {.kind = KA_SYM, .sym = s}, {.kind = KA_INT, .i = ATTRS(l->g, n, Nms)->center_point_box}});
    lw_bind_dims(l, 0, dim);
    lw_copy(l, l->steps, lw_out(l, 0), found);
    return true;
}

/* ---- eval: the definition ---- */

static void corners(const Tensor *boxes, int64_t at, bool center, double *lo, double *hi)
{
    for (int a = 0; a < 2; a++) {
        double p = ev_f(boxes, at + a), q = ev_f(boxes, at + 2 + a);
        if (center) p = p - q / 2, q = p + q;
        lo[a] = p < q ? p : q;
        hi[a] = p < q ? q : p;
    }
}

static double overlap(const Tensor *boxes, int64_t a, int64_t b, bool center)
{
    double lo[2][2], hi[2][2], both = 1, area[2] = {1, 1};
    corners(boxes, a, center, lo[0], hi[0]);
    corners(boxes, b, center, lo[1], hi[1]);
    for (int k = 0; k < 2; k++) {
        double p = lo[0][k] > lo[1][k] ? lo[0][k] : lo[1][k], q = hi[0][k] < hi[1][k] ? hi[0][k] : hi[1][k];
        both *= q > p ? q - p : 0;
        area[0] *= hi[0][k] - lo[0][k];
        area[1] *= hi[1][k] - lo[1][k];
    }
    return both > 0 ? both / (area[0] + area[1] - both) : 0;
}

static bool eval(Eval *e)
{
    const Tensor *boxes = e->in[0], *scores = e->in[1];
    bool center = ATTRS(e->g, e->n, Nms)->center_point_box != 0;
    int64_t batches = scores->dim[0], classes = scores->dim[1], n = scores->dim[2], count = 0;
    int64_t most = ev_has(e, 2) ? ev_i(e->in[2], 0) : 0;
    double iou = ev_has(e, 3) ? ev_f(e->in[3], 0) : 0;
    int64_t *out = arena_array(e->arena, int64_t, 3 * scores->count + 1);
    bool *gone = arena_array(e->arena, bool, n + 1);
    for (int64_t b = 0; b < batches; b++)
        for (int64_t c = 0; c < classes; c++) {
            int64_t first = count, row = (b * classes + c) * n;
            for (int64_t i = 0; i < n; i++) gone[i] = ev_has(e, 4) && !(ev_f(scores, row + i) > ev_f(e->in[4], 0));
            while (count - first < most) {
                int64_t best = -1;
                for (int64_t i = 0; i < n; i++)
                    if (!gone[i] && (best < 0 || ev_f(scores, row + i) > ev_f(scores, row + best))) best = i;
                if (best < 0) break;
                gone[best] = true;
                bool keep = true;
                for (int64_t k = first; k < count && keep; k++) keep = overlap(boxes, 4 * (b * n + best), 4 * (b * n + out[3 * k + 2]), center) <= iou;
                if (!keep) continue;
                out[3 * count] = b, out[3 * count + 1] = c, out[3 * count + 2] = best;
                count++;
            }
        }
    Tensor *y = ev_out(e, 0, DT_I64, 2, (int64_t[]){count, 3});
    for (int64_t k = 0; y && k < 3 * count; k++) ev_set_i(y, k, out[k]);
    return y != NULL;
}

const OpDesc op_NonMaxSuppression = {.name = "NonMaxSuppression", .since = 11, .cls = CLS_OPAQUE, .flags = OPF_IRREGULAR, .in = P_IN, .out = P_OUT, .attrs = ATTRS_,
                                     .attrs_size = sizeof(Nms), .infer = infer, .lower = lower, .eval = eval};
