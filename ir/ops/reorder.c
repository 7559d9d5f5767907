/* reorder.c: moves along known rules: ReverseSequence, DepthToSpace, SpaceToDepth, CenterCropPad. Routes: where an output
 * element comes from; those of blocks expand into a transpose, which needs no divisions.
 *   ReverseSequence:  out[.., t, .., b, ..] = in[.., t < len[b] ? len[b] - 1 - t : t, .., b, ..]
 *   DepthToSpace:     out[n, c, h, w] = in[n, (h%s*s + w%s)*C + c, h/s, w/s]      (DCR; CRD: channel c*s*s + h%s*s + w%s)
 *   SpaceToDepth:     out[n, k, h, w] = in[n, c, h*s + p, w*s + q]                k = (p*s + q)*C + c   (DCR; CRD: c*s*s + p*s + q)
 *   CenterCropPad:    out[o] = in[o + d], zeros outside;  d = (in - out) / 2 when cropping, -((out - in) / 2) when padding */
#include "ir/ops/axes.h"
#include "ir/ops/compose.h"
#include "ir/ops/grad.h"
#include <string.h>

#define DTS_MOVED DTS_MOVE
static const Port P_IN[] = {{"input", DTS_MOVED, 0, 1}, PORT_END};
static const Port P_OUT[] = {{"output", DTS_MOVED, 0, 1}, PORT_END};

/* ---- ReverseSequence ---- */

static const Port P_REVERSE[] = {{"input", DTS_MOVED, 0, 1}, {"sequence_lens", DTS(DT_I64), 0, 0}, PORT_END};
typedef struct Reverse { uint64_t set; int64_t batch_axis, time_axis; } Reverse;
static const AttrSpec REVERSE_ATTRS[] = {A_INT(Reverse, batch_axis, 1), A_INT(Reverse, time_axis, 0), A_END};

static bool reverse_infer(Infer *c)
{
    const Reverse *a = ATTRS(c->g, c->n, Reverse);
    if (!infer_need_rank(c, 0, 2, -1) || !infer_need_rank(c, 1, 1, 1)) return false;
    if (a->batch_axis + a->time_axis != 1 || a->batch_axis < 0 || a->time_axis < 0) return infer_fail(c, "batch_axis and time_axis must be 0 and 1, or 1 and 0");
    return infer_must_eq(c, infer_dim(c, 1, 0), infer_dim(c, 0, (int)a->batch_axis), "batch") && infer_like(c, 0, 0);
}

static bool reverse_route(Lw *l, Node n, const KVal *out, Route *r)
{
    const Reverse *a = ATTRS(l->g, n, Reverse);
    Kb *b = l->b;
    KVal t = out[a->time_axis], len = lw_at(l, 1, &out[a->batch_axis]), back = kb_sub(b, kb_sub(b, len, kb_i(b, 1)), t);
    int rank = value_trec(l->g, node_in(l->g, n, 0))->rank;
    for (int i = 0; i < rank; i++) r->idx[i] = out[i];
    KVal inside = kb_and(b, kb_lt(b, t, len), kb_bin(b, KOP_LE, len, kb_dim(b, lw_dim(l, 0, (int)a->time_axis))));
    r->idx[a->time_axis] = kb_select(b, inside, back, t);
    return true;
}

static bool reverse_eval(Eval *e)
{
    const Reverse *a = ATTRS(e->g, e->n, Reverse);
    const Tensor *x = e->in[0];
    Tensor *y = ev_out(e, 0, x->elem, x->rank, x->dim);
    int64_t i[RANK_MAX];
    for (int64_t k = 0; y && k < y->count; k++) {
        unflatten(x, k, i);
        int64_t len = ev_i(e->in[1], i[a->batch_axis]), *t = &i[a->time_axis];
        if (len <= x->dim[a->time_axis] && *t < len) *t = len - *t - 1;
        ev_copy(y, k, x, flat_index(x, i));
    }
    return y != NULL;
}

const OpDesc op_ReverseSequence = {.name = "ReverseSequence", .since = 28, .cls = CLS_MOVE, .in = P_REVERSE, .out = P_OUT, .attrs = REVERSE_ATTRS, .attrs_size = sizeof(Reverse),
                                   .infer = reverse_infer, .route = reverse_route, .grad = grad_self, .has_result = op_result_unsure, .eval = reverse_eval};

/* ---- DepthToSpace, SpaceToDepth ---- */

typedef struct Blocks { uint64_t set; int64_t blocksize; const char *mode; } Blocks;
static const AttrSpec BLOCKS_ATTRS[] = {{.name = "blocksize", .kind = ATTR_INT, .offset = offsetof(Blocks, blocksize), .required = true}, A_STRING(Blocks, mode, "DCR"), A_END};

static bool crd(const Blocks *a) { return !strcmp(a->mode, "CRD"); }

static bool blocks_infer(Infer *c)
{
    const Blocks *a = ATTRS(c->g, c->n, Blocks);
    bool to_space = node_rec(c->g, c->n)->op == OP_DepthToSpace;
    int64_t s = a->blocksize, k;
    if (s < 1 || s > 65536) return infer_fail(c, "blocksize=%lld", (long long)s);
    if (!crd(a) && strcmp(a->mode, "DCR")) return infer_fail(c, "mode '%s' is unknown", a->mode);
    if (!infer_need_rank(c, 0, 4, 4)) return false;
    Dim dim[4] = {infer_dim(c, 0, 0)};
    for (int i = 1; i < 4; i++) {
        Dim x = infer_dim(c, 0, i), part = dim_const(c->d, i == 1 ? s * s : s);
        bool grows = (i == 1) != to_space;
        dim[i] = grows ? dim_mul(c->d, x, part) : dim_div(c->d, x, part);
        if (grows) continue;
        if (dim_is_const(c->d, x, &k) && k % (i == 1 ? s * s : s)) return infer_fail(c, "dimension %d (%lld) cannot be divided into blocks of %lld", i, (long long)k, (long long)s);
        if (!infer_must_eq(c, dim_mul(c->d, dim[i], part), x, "multiple of the block size")) return false;
    }
    return infer_set(c, 0, infer_elem(c, 0), 4, dim);
}

/* A transpose of six axes: each spatial one and the channels in two. */
static bool blocks_expand(Graph *g, Node n)
{
    static const int64_t PERM[2][2][6] = {{{0, 3, 5, 1, 2, 4}, {0, 1, 3, 5, 2, 4}}, {{0, 3, 4, 1, 5, 2}, {0, 1, 4, 2, 5, 3}}};
    const Blocks *a = ATTRS(g, n, Blocks);
    Dims *d = &g->m->dims;
    Ex x = ex_begin(g, n);
    bool to_space = node_rec(g, n)->op == OP_DepthToSpace;
    const TypeRec *deep = ex_type(&x, to_space ? ex_in(&x, 0) : node_out(g, n, 0)), *wide = ex_type(&x, to_space ? node_out(g, n, 0) : ex_in(&x, 0));
    Dim s = dim_const(d, a->blocksize), N = dim_resolve(d, deep->dim[0]), C = dim_resolve(d, wide->dim[1]);
    Dim H = dim_resolve(d, deep->dim[2]), W = dim_resolve(d, deep->dim[3]), out[4];
    for (int i = 0; i < 4; i++) out[i] = dim_resolve(d, (to_space ? wide : deep)->dim[i]);
    Dim apart[3][6] = {{N, C, H, s, W, s}, {N, s, s, C, H, W}, {N, C, s, s, H, W}};
    Value v = ex_shaped(&x, ex_in(&x, 0), apart[to_space ? 1 + crd(a) : 0], 6);
    v = ex_shaped(&x, ex_transpose(&x, v, PERM[to_space][crd(a)], 6), out, 4);
    return ex_end(&x, &v, 1);
}

/* Naive: runs over the elements of the deep form [n, k, h, w] and copies to or from the wide one. */
static bool blocks_eval(Eval *e)
{
    const Blocks *a = ATTRS(e->g, e->n, Blocks);
    bool to_space = node_rec(e->g, e->n)->op == OP_DepthToSpace;
    const Tensor *x = e->in[0];
    int64_t s = a->blocksize, dim[4] = {x->dim[0], to_space ? x->dim[1] / (s * s) : x->dim[1] * s * s, to_space ? x->dim[2] * s : x->dim[2] / s,
                                        to_space ? x->dim[3] * s : x->dim[3] / s}, i[4];
    for (int k = to_space ? 1 : 2; k < (to_space ? 2 : 4); k++)
        if (x->dim[k] % (to_space ? s * s : s)) return ev_fail(e, "a dimension cannot be divided into blocks");
    Tensor *y = ev_out(e, 0, x->elem, 4, dim);
    const Tensor *deep = to_space ? x : y, *wide = to_space ? y : x;
    for (int64_t k = 0; y && k < y->count; k++) {
        unflatten(deep, k, i);
        int64_t c = wide->dim[1], p, q, ch;
        if (crd(a)) ch = i[1] / (s * s), p = i[1] / s % s, q = i[1] % s;
        else p = i[1] / c / s, q = i[1] / c % s, ch = i[1] % c;
        int64_t at = flat_index(wide, (int64_t[]){i[0], ch, i[2] * s + p, i[3] * s + q});
        if (to_space) ev_copy(y, at, x, k);
        else ev_copy(y, k, x, at);
    }
    return y != NULL;
}

const OpDesc op_DepthToSpace = {.name = "DepthToSpace", .since = 28, .cls = CLS_MOVE, .in = P_IN, .out = P_OUT, .attrs = BLOCKS_ATTRS, .attrs_size = sizeof(Blocks),
                                .infer = blocks_infer, .expand = blocks_expand, .grad = grad_blocks, .eval = blocks_eval};
const OpDesc op_SpaceToDepth = {.name = "SpaceToDepth", .since = 28, .cls = CLS_MOVE, .in = P_IN, .out = P_OUT, .attrs = BLOCKS_ATTRS, .attrs_size = sizeof(Blocks),
                                .infer = blocks_infer, .expand = blocks_expand, .grad = grad_blocks, .eval = blocks_eval};

/* ---- CenterCropPad ---- */

static const Port P_CROP[] = {{"input_data", DTS_MOVED, 0, 1}, {"shape", DTS_INDEX, PORT_SHAPE, 0}, PORT_END};
typedef struct Crop { uint64_t set; AttrInts axes; } Crop;
static const AttrSpec CROP_ATTRS[] = {A_INTS(Crop, axes), A_END};

/* at[i]: which entry of `shape` is for axis i, -1: none. */
static bool crop_axes(const Crop *a, int rank, int *at, uint32_t *n)
{
    bool mark[RANK_MAX];
    int64_t bad;
    bool all = !(a->set & 1);
    *n = all ? (uint32_t)rank : a->axes.n;
    for (int i = 0; i < rank; i++) at[i] = all ? i : -1;
    if (!all && !axes_mark(a->axes.p, a->axes.n, rank, mark, &bad)) return false;
    for (uint32_t k = 0; !all && k < *n; k++) at[a->axes.p[k] < 0 ? a->axes.p[k] + rank : a->axes.p[k]] = (int)k;
    return true;
}

static bool crop_infer(Infer *c)
{
    int at[RANK_MAX];
    uint32_t n, count;
    const Dim *want = NULL;
    Dim dim[RANK_MAX];
    if (!infer_need_rank(c, 0, 0, -1) || !infer_need_rank(c, 1, 1, 1)) return false;
    int rank = infer_rank(c, 0);
    if (!crop_axes(ATTRS(c->g, c->n, Crop), rank, at, &n)) return infer_fail(c, "an axis is out of range, or given twice");
    if (!infer_must_eq(c, infer_dim(c, 1, 0), dim_const(c->d, n), "length of the shape")) return false;
    bool known = infer_content(c, 1, &want, &count);
    if (known && count != n) return infer_fail(c, "the shape has %u entries for %u axes", count, n);
    for (int i = 0; i < rank; i++)
        dim[i] = at[i] < 0 ? infer_dim(c, 0, i) : known ? dim_resolve(c->d, want[at[i]]) : infer_node_dim(c, 0, i, 0, INT64_MAX);
    return infer_set(c, 0, infer_elem(c, 0), rank, dim);
}

static bool crop_route(Lw *l, Node n, const KVal *out, Route *r)
{
    Kb *b = l->b;
    Dims *d = &l->m->dims;
    int rank = lw_rank(l, 0);
    KVal in = {0};
    (void)n;
    for (int i = 0; i < rank; i++) {
        Dim x = lw_dim(l, 0, i), y = lw_out_dim(l, 0, i), zero = dim_const(d, 0), two = dim_const(d, 2);
        r->idx[i] = out[i];
        if (dim_eq(d, x, y) == TRI_YES) continue;
        Dim cut = dim_div(d, dim_max(d, dim_sub(d, x, y), zero), two), add = dim_div(d, dim_max(d, dim_sub(d, y, x), zero), two);
        KVal at = r->idx[i] = kb_add(b, out[i], kb_dim(b, dim_sub(d, cut, add)));
        KVal inside = kb_and(b, kb_ge(b, at, kb_i(b, 0)), kb_lt(b, at, kb_dim(b, x)));
        in = in.i ? kb_and(b, in, inside) : inside;
    }
    *r->pred = in;
    return true;
}

static bool crop_lower(Lw *l, Node n)
{
    Dim want[RANK_MAX], dim[RANK_MAX];
    int at[RANK_MAX], rank = lw_rank(l, 0);
    uint32_t k;
    KVal out[RANK_MAX], idx[RANK_MAX], pred = {0};
    if (!crop_axes(ATTRS(l->g, n, Crop), rank, at, &k)) return lw_fail(l, "the axes do not fit the shape");
    if (!lw_values_n(l, 1, want, k)) return false;
    for (int i = 0; i < rank; i++) dim[i] = at[i] < 0 ? lw_dim(l, 0, i) : want[at[i]];
    lw_bind_dims(l, 0, dim);
    lw_prepare_in(l);
    KBuf src = lw_in_strided(l, 0);
    lw_out(l, 0);
    Kb *b = lw_kernel(l, "center_crop_pad");
    lw_nest_over(l, 0, out);
    Route r = {.idx = idx, .pred = &pred};
    crop_route(l, n, out, &r);
    uint32_t p = kb_param(b, src, false);
    lw_put(l, 0, out, pred.i ? kb_load_if(b, p, idx, pred, (KVal){0}) : kb_load(b, p, idx));
    lw_end_nest(l, rank);
    lw_kernel_end(l);
    return true;
}

static bool crop_eval(Eval *e)
{
    const Tensor *x = e->in[0];
    int at[RANK_MAX];
    uint32_t n;
    int64_t dim[RANK_MAX], i[RANK_MAX];
    if (!crop_axes(ATTRS(e->g, e->n, Crop), x->rank, at, &n) || n != e->in[1]->count) return ev_fail(e, "the axes do not fit the shape");
    for (int a = 0; a < x->rank; a++) dim[a] = at[a] < 0 ? x->dim[a] : ev_i(e->in[1], at[a]);
    Tensor *y = ev_out(e, 0, x->elem, x->rank, dim);
    for (int64_t k = 0; y && k < y->count; k++) {
        bool in = true;
        unflatten(y, k, i);
        for (int a = 0; a < x->rank; a++) {
            i[a] += x->dim[a] > dim[a] ? (x->dim[a] - dim[a]) / 2 : -((dim[a] - x->dim[a]) / 2);
            in &= i[a] >= 0 && i[a] < x->dim[a];
        }
        if (in) ev_copy(y, k, x, flat_index(x, i));
    }
    return y != NULL;
}

const OpDesc op_CenterCropPad = {.name = "CenterCropPad", .since = 18, .cls = CLS_MOVE, .flags = OPF_STRIDED_OUT, .in = P_CROP, .out = P_OUT, .attrs = CROP_ATTRS,
                                 .attrs_size = sizeof(Crop), .infer = crop_infer, .route = crop_route, .lower = crop_lower, .grad = grad_move, .eval = crop_eval};
