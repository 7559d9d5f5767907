/* dft.c: DFT and STFT, in terms of an internal operator that transforms one axis (fourier.c) and needs the roots of
 * unity as operands; known lengths fold them into constants.
 *   DFT(x, n, axis)   =>  Fourier(x, axis, Cos(t), Sin(t)),              t = Range(0, n) * 2 pi / n, negative forwards
 *   STFT(x, step, w)  =>  DFT(Gather(x, frame * step + place, 1) * w)    frames of w's length
 * An STFT whose frames are known lowers as it is. */
#include "ir/graph/eval.h"
#include "ir/ops/axes.h"
#include "ir/ops/compose.h"
#include "ir/ops/dft.h"
#include <math.h>
#include <string.h>

/* ---- real and imaginary parts ---- */

/* What the last axis must hold: `want` parts, or one or two (0). Where only the run knows, it checks. */
static bool parts_fit(Infer *c, int64_t want)
{
    Dims *d = c->d;
    int64_t k;
    Dim p = infer_dim(c, 0, infer_rank(c, 0) - 1);
    if (!dim_is_const(d, p, &k)) {
        if (want) return infer_must_eq(c, p, dim_const(d, want), "number of parts");
        Dim either = dim_mul(d, dim_sub(d, p, dim_const(d, 1)), dim_sub(d, p, dim_const(d, 2)));
        return infer_must_eq(c, either, dim_const(d, 0), "parts of the last axis: (parts - 1) * (parts - 2)");
    }
    if (k != 1 && k != 2) return infer_fail(c, "the last axis must have one part (real) or two (complex)");
    return !want || k == want || infer_fail(c, want == 1 ? "a one-sided transform needs a real input" : "an inverse one-sided transform needs a complex input");
}

/* The operand with `want` parts, or with two where it is open whether there are one or two. */
static Value with_parts(Ex *x, Value v, int64_t want)
{
    Dims *d = &x->g->m->dims;
    Dim dim[RANK_MAX], two = dim_const(d, 2);
    const TypeRec *t = ex_type(x, v);
    int rank = t->rank;
    for (int i = 0; i < rank; i++) dim[i] = dim_resolve(d, t->dim[i]);
    Dim p = dim[rank - 1];
    if (dim_is_const(d, p, &(int64_t){0})) return v;
    dim[rank - 1] = dim_const(d, want ? want : 2);
    if (!want) {
        Dim pads[2 * RANK_MAX];
        for (int i = 0; i < 2 * rank - 1; i++) pads[i] = dim_const(d, 0);
        pads[2 * rank - 1] = dim_sub(d, two, p);
        v = ex2(x, OP_Pad, v, ex_dims(x, pads, 2 * rank));
        if (x->failed || dim_is(d, dim_resolve(d, ex_type(x, v)->dim[rank - 1]), 2)) return v;
    }
    return ex_shaped(x, v, dim, rank);
}

/* ---- DFT ---- */

enum { DFT_X, DFT_LENGTH, DFT_AXIS };
static const Port P_DFT[] = {{"input", DTS_FLOAT, 0, 1},
                             {"dft_length", DTS_INDEX, PORT_OPTIONAL | PORT_SHAPE, 0},
                             {"axis", DTS_INDEX, PORT_OPTIONAL | PORT_SHAPE, 0},
                             PORT_END};
static const Port P_OUT[] = {{"output", DTS_FLOAT, 0, 1}, PORT_END};
static const AttrSpec DFT_ATTRS[] = {A_INT(Dft, axis, 1) /* before opset 20 */, A_INT(Dft, inverse, 0), A_INT(Dft, onesided, 0), A_END};

/* The axis was an attribute, 1 when not given. */
static bool dft_upgrade(Graph *g, Node n, int64_t opset)
{
    Dft *a = node_rec(g, n)->attrs;
    Module *m = g->m;
    if (opset >= 20) return true;
    if (node_n_in(g, n) < 2) graph_add_input(g, n, VALUE_NONE);
    graph_add_input(g, n, graph_const(g, blob_splat_i(&m->blobs, DT_I64, 1, a ? a->axis : 1), type_tensor(&m->types, DT_I64, 0, NULL), (Name){0}));
    if (a) a->set &= ~(uint64_t)1, a->axis = 1;
    return true;
}

/* How many points the spectrum has, from operand k or the extent of the axis; none: known to the run only. */
static Dim points(Infer *c, int64_t axis, bool *known)
{
    const Dft *a = ATTRS(c->g, c->n, Dft);
    const Dim *v;
    uint32_t n;
    Dim d = infer_dim(c, DFT_X, (int)axis), one = dim_const(c->d, 1);
    *known = !infer_has(c, DFT_LENGTH) || (infer_content(c, DFT_LENGTH, &v, &n) && n == 1);
    if (!*known) return one;
    if (infer_has(c, DFT_LENGTH)) return dim_resolve(c->d, v[0]);
    return a->inverse && a->onesided ? dim_mul(c->d, dim_const(c->d, 2), dim_sub(c->d, d, one)) : d;
}

/* How many parts the operand has to have; 0: one or two. */
static int64_t dft_parts(const Dft *a) { return !a->onesided ? 0 : a->inverse ? 2 : 1; }

/* -1: an operand that only the run knows. */
static bool dft_axis(Infer *c, int64_t *axis)
{
    uint32_t n = 1;
    *axis = -2;
    if (!infer_need_rank(c, DFT_X, 2, -1)) return false;
    if (infer_has(c, DFT_AXIS) && (!infer_ints(c, DFT_AXIS, axis, 1, &n) || n != 1)) return *axis = -1, true;
    if (!infer_axis(c, axis, infer_rank(c, DFT_X))) return false;
    return *axis < infer_rank(c, DFT_X) - 1 || infer_fail(c, "the last axis holds real and imaginary parts");
}

static bool dft_infer(Infer *c)
{
    const Dft *a = ATTRS(c->g, c->n, Dft);
    int64_t axis, k;
    bool known;
    if (!dft_axis(c, &axis)) return false;
    int rank = infer_rank(c, DFT_X);
    if (!parts_fit(c, dft_parts(a))) return false;
    for (uint32_t i = DFT_LENGTH; i <= DFT_AXIS; i++)
        if (infer_has(c, i) && !infer_need_rank(c, i, 0, 1)) return false;
    Dim dim[RANK_MAX], n = points(c, axis < 0 ? 0 : axis, &known);
    if (known && axis >= 0 && dim_is_const(c->d, n, &k) && k < 1) return infer_fail(c, "a transform of %lld points", (long long)k);
    for (int i = 0; i < rank; i++) dim[i] = infer_dim(c, DFT_X, i);
    if (axis < 0) { /* any may be the one that changes */
        for (int i = 0; i < rank - 1; i++)
            if (infer_has(c, DFT_LENGTH) || a->onesided) dim[i] = infer_node_dim(c, 0, i, 0, INT64_MAX);
        axis = 0, n = dim[0];
    } else if (!known) n = infer_node_dim(c, 0, (int)axis, 1, INT64_MAX);
    else if (a->onesided && !a->inverse) n = dim_add(c->d, dim_div(c->d, n, dim_const(c->d, 2)), dim_const(c->d, 1));
    dim[axis] = n;
    dim[rank - 1] = dim_const(c->d, a->onesided && a->inverse ? 1 : 2);
    return infer_set(c, 0, infer_elem(c, DFT_X), rank, dim);
}

/* The number of points when it is not given. */
static Value natural_length(Ex *x, int64_t axis)
{
    const Dft *a = ATTRS(x->g, x->n, Dft);
    Value len = ex_scalar(x, ex_shape_part(x, ex_in(x, DFT_X), axis, axis + 1), DT_I64);
    if (!a->inverse || !a->onesided) return len;
    return ex2(x, OP_Mul, ex_i(x, DT_I64, 2), ex2(x, OP_Sub, len, ex_i(x, DT_I64, 1)));
}

/* The roots of unity in the order in which they turn: cosines and sines. */
static void roots(Ex *x, Value len, Value *out)
{
    double turn = (ATTRS(x->g, x->n, Dft)->inverse ? 2 : -2) * 3.14159265358979323846;
    Value t = ex_cast(x, ex3(x, OP_Range, ex_i(x, DT_I64, 0), len, ex_i(x, DT_I64, 1)), DT_F64);
    t = ex2(x, OP_Mul, t, ex2(x, OP_Div, ex_f(x, DT_F64, turn), ex_cast(x, len, DT_F64)));
    out[0] = ex1(x, OP_Cos, t);
    out[1] = ex1(x, OP_Sin, t);
}

static bool dft_expand(Graph *g, Node n)
{
    const Dft *a = ATTRS(g, n, Dft);
    Ex x = ex_begin(g, n);
    Infer c = {.m = g->m, .g = g, .n = n, .op = node_desc(g, n), .d = &g->m->dims};
    int64_t axis;
    if (!dft_axis(&c, &axis)) return false;
    const TypeRec *want = value_trec(g, node_out(g, n, 0));
    Value in[2 + 2 * RANK_MAX] = {with_parts(&x, ex_in(&x, DFT_X), dft_parts(a))}, given = ex_in(&x, DFT_LENGTH);
    uint32_t pairs = axis < 0 ? want->rank - 1u : 1;
    if (axis < 0) in[1] = ex_scalar(&x, ex_in(&x, DFT_AXIS), DT_I64);
    if (given.i) given = ex_scalar(&x, given, DT_I64);
    for (uint32_t k = 0; k < pairs; k++) {
        int64_t at = axis < 0 ? k : axis;
        if (given.i && k) in[2 + 2 * k] = in[2], in[3 + 2 * k] = in[3];
        else roots(&x, given.i ? given : natural_length(&x, at), &in[2 + 2 * k]);
    }
    void *attrs = ex_set(&x, OP_Fourier, ex_inherit(&x, OP_Fourier), "axis", axis < 0 ? 0 : axis);
    Value y = ex_op(&x, OP_Fourier, in, 2 + 2 * pairs, attrs);
    if (axis < 0 && !given.i && !a->onesided) y = ex_shaped(&x, y, want->dim, want->rank);
    return ex_end(&x, &y, 1);
}

bool dft_reference(Eval *e, int64_t n, int64_t axis)
{
    const Dft *a = ATTRS(e->g, e->n, Dft);
    const Tensor *x = e->in[0];
    int64_t dim[RANK_MAX], o[RANK_MAX], i[RANK_MAX], have = x->dim[axis];
    bool irfft = a->onesided && a->inverse, complex = x->dim[x->rank - 1] == 2;
    if (n < 1) return ev_fail(e, "a transform of %lld points", (long long)n);
    memcpy(dim, x->dim, sizeof *dim * (size_t)x->rank);
    dim[axis] = a->onesided && !a->inverse ? n / 2 + 1 : n;
    dim[x->rank - 1] = irfft ? 1 : 2;
    Tensor *y = ev_out(e, 0, x->elem, x->rank, dim);
    for (int64_t at = 0; y && at < y->count; at++) {
        double sum = 0;
        unflatten(y, at, o);
        memcpy(i, o, sizeof i);
        for (int64_t k = 0; k < n; k++) {
            int64_t from = irfft && k > n / 2 ? n - k : k;
            if (from >= have) continue;
            i[axis] = from;
            i[x->rank - 1] = 0;
            double re = ev_f(x, flat_index(x, i)), im = 0;
            i[x->rank - 1] = 1;
            if (complex) im = (from != k ? -1 : 1) * ev_f(x, flat_index(x, i));
            double angle = (a->inverse ? 2 : -2) * acos(-1) * (double)(k * o[axis] % n) / (double)n;
            sum += o[x->rank - 1] ? re * sin(angle) + im * cos(angle) : re * cos(angle) - im * sin(angle);
        }
        ev_set_f(y, at, a->inverse ? sum / (double)n : sum);
    }
    return y != NULL;
}

static bool dft_eval(Eval *e)
{
    const Dft *a = ATTRS(e->g, e->n, Dft);
    const Tensor *x = e->in[0];
    int64_t axis = ev_has(e, DFT_AXIS) ? ev_i(e->in[DFT_AXIS], 0) : -2;
    if (axis < 0) axis += x->rank;
    if (axis < 0 || axis >= x->rank - 1) return ev_fail(e, "the axis is out of range");
    int64_t n = ev_has(e, DFT_LENGTH) ? ev_i(e->in[DFT_LENGTH], 0) : a->onesided && a->inverse ? 2 * (x->dim[axis] - 1) : x->dim[axis];
    return dft_reference(e, n, axis);
}

const OpDesc op_DFT = {.name = "DFT", .since = 20, .cls = CLS_OPAQUE, .in = P_DFT, .out = P_OUT, .attrs = DFT_ATTRS, .attrs_size = sizeof(Dft),
                       .upgrade = dft_upgrade, .infer = dft_infer, .expand = dft_expand, .eval = dft_eval};

/* ---- STFT ---- */

enum { STFT_X, STFT_STEP, STFT_WINDOW, STFT_LENGTH };
static const Port P_STFT[] = {{"signal", DTS_FLOAT, 0, 1},
                              {"frame_step", DTS_INDEX, PORT_SHAPE, 0},
                              {"window", DTS_FLOAT, PORT_OPTIONAL, 1},
                              {"frame_length", DTS_INDEX, PORT_OPTIONAL | PORT_SHAPE, 0},
                              PORT_END};
typedef struct Stft {
    uint64_t set;
    int64_t onesided;
} Stft;
static const AttrSpec STFT_ATTRS[] = {A_INT(Stft, onesided, 1), A_END};

static bool stft_infer(Infer *c)
{
    const Dim *step, *len;
    uint32_t n_step, n_len;
    int64_t k;
    if (!infer_need_rank(c, STFT_X, 3, 3) || !infer_need_rank(c, STFT_STEP, 0, 1)) return false;
    if (infer_has(c, STFT_WINDOW) && !infer_need_rank(c, STFT_WINDOW, 1, 1)) return false;
    if (infer_has(c, STFT_LENGTH) && !infer_need_rank(c, STFT_LENGTH, 0, 1)) return false;
    bool onesided = ATTRS(c->g, c->n, Stft)->onesided != 0, length = infer_has(c, STFT_LENGTH),
         known_length = length && infer_content(c, STFT_LENGTH, &len, &n_len) && n_len == 1,
         known_step = infer_content(c, STFT_STEP, &step, &n_step) && n_step == 1;
    if (!parts_fit(c, onesided)) return false;
    Dim one = dim_const(c->d, 1), signal = infer_dim(c, STFT_X, 1), frame, bins, frames;
    if (infer_has(c, STFT_WINDOW)) frame = infer_dim(c, STFT_WINDOW, 0);
    else if (known_length) frame = dim_resolve(c->d, len[0]);
    else frame = signal;
    if (infer_has(c, STFT_WINDOW) && known_length && !infer_must_eq(c, dim_resolve(c->d, len[0]), frame, "length of the window")) return false;
    bool known = !length || known_length || infer_has(c, STFT_WINDOW);
    if (known && dim_is_const(c->d, frame, &k) && k < 1) return infer_fail(c, "frames of %lld values", (long long)k);
    if (known && dim_le(c->d, frame, signal) == TRI_NO) return infer_fail(c, "the signal is shorter than a frame");
    if (known_step && dim_is_const(c->d, dim_resolve(c->d, step[0]), &k) && k < 1) return infer_fail(c, "frame_step is %lld", (long long)k);
    frames = known && known_step ? dim_add(c->d, dim_div(c->d, dim_sub(c->d, signal, frame), dim_resolve(c->d, step[0])), one)
                                 : infer_node_dim(c, 0, 1, 0, INT64_MAX);
    bins = !known ? infer_node_dim(c, 0, 2, 1, INT64_MAX) : onesided ? dim_add(c->d, dim_div(c->d, frame, dim_const(c->d, 2)), one) : frame;
    return infer_set(c, 0, infer_elem(c, STFT_X), 4, (Dim[]){infer_dim(c, STFT_X, 0), frames, bins, dim_const(c->d, 2)});
}

static bool stft_expand(Graph *g, Node n)
{
    Ex x = ex_begin(g, n);
    Value signal = with_parts(&x, ex_in(&x, STFT_X), ATTRS(g, n, Stft)->onesided != 0), window = ex_in(&x, STFT_WINDOW);
    Value len = ex_in(&x, STFT_LENGTH), zero = ex_i(&x, DT_I64, 0), one = ex_i(&x, DT_I64, 1);
    Value total = ex_scalar(&x, ex_shape_part(&x, signal, 1, 2), DT_I64), step = ex_scalar(&x, ex_in(&x, STFT_STEP), DT_I64);
    len = window.i ? ex_scalar(&x, ex1(&x, OP_Shape, window), DT_I64) : len.i ? ex_scalar(&x, len, DT_I64) : total;
    Value frames = ex2(&x, OP_Add, ex2(&x, OP_Div, ex2(&x, OP_Sub, total, len), step), one);
    Value first = ex2(&x, OP_Mul, ex3(&x, OP_Range, zero, frames, one), step), place = ex3(&x, OP_Range, zero, len, one);
    Value at = ex2(&x, OP_Add, ex2(&x, OP_Unsqueeze, first, ex_int1(&x, 1)), place);
    Value y = ex_axis(&x, OP_Gather, (Value[]){signal, at}, 2, 1);
    if (window.i) y = ex2(&x, OP_Mul, y, ex2(&x, OP_Unsqueeze, window, ex_int1(&x, 1)));
    y = ex_op(&x, OP_DFT, (Value[]){y, VALUE_NONE, ex_i(&x, DT_I64, 2)}, 3, ex_set(&x, OP_DFT, NULL, "onesided", ATTRS(g, n, Stft)->onesided));
    return ex_end(&x, &y, 1);
}

/* Length and distance of frames, when they and the number of parts are known. */
static bool stft_known(Infer *c, int64_t *len, int64_t *step)
{
    const Dim *v;
    uint32_t n;
    if (!dim_is_const(c->d, infer_dim(c, STFT_X, 2), &(int64_t){0})) return false;
    if (!infer_content(c, STFT_STEP, &v, &n) || n != 1 || !dim_is_const(c->d, dim_resolve(c->d, v[0]), step)) return false;
    if (infer_has(c, STFT_WINDOW)) return dim_is_const(c->d, infer_dim(c, STFT_WINDOW, 0), len);
    if (!infer_has(c, STFT_LENGTH)) return dim_is_const(c->d, infer_dim(c, STFT_X, 1), len);
    return infer_content(c, STFT_LENGTH, &v, &n) && n == 1 && dim_is_const(c->d, dim_resolve(c->d, v[0]), len);
}

static bool stft_must_expand(const Graph *g, Node n)
{
    Infer c = {.m = g->m, .g = (Graph *)(uintptr_t)g, .n = n, .op = node_desc(g, n), .d = &g->m->dims};
    int64_t len, step;
    return !stft_known(&c, &len, &step);
}

static bool stft_lower(Lw *l, Node n)
{
    Infer c = {.m = l->g->m, .g = l->g, .n = n, .op = node_desc(l->g, n), .d = &l->g->m->dims};
    int64_t len, step;
    if (!stft_known(&c, &len, &step)) return lw_fail(l, "frames of a length that only the run knows");
    fourier_frames(l, len, step, lw_has(l, STFT_WINDOW) ? STFT_WINDOW : 0, ATTRS(l->g, n, Stft)->onesided);
    return true;
}

static bool stft_eval(Eval *e)
{
    const Tensor *x = e->in[STFT_X], *w = ev_has(e, STFT_WINDOW) ? e->in[STFT_WINDOW] : NULL;
    int64_t total = x->dim[1], step = ev_i(e->in[STFT_STEP], 0), parts = x->dim[2];
    int64_t len = w ? w->count : ev_has(e, STFT_LENGTH) ? ev_i(e->in[STFT_LENGTH], 0) : total;
    if (step < 1 || len < 1 || len > total) return ev_fail(e, "frames of %lld values, %lld apart", (long long)len, (long long)step);
    int64_t dim[4] = {x->dim[0], (total - len) / step + 1, ATTRS(e->g, e->n, Stft)->onesided ? len / 2 + 1 : len, 2}, o[4];
    Tensor *y = ev_out(e, 0, x->elem, 4, dim);
    for (int64_t at = 0; y && at < y->count; at++) {
        double sum = 0;
        unflatten(y, at, o);
        for (int64_t k = 0; k < len; k++) {
            int64_t row = (o[0] * total + o[1] * step + k) * parts;
            double f = w ? ev_f(w, k) : 1, re = ev_f(x, row) * f, im = parts == 2 ? ev_f(x, row + 1) * f : 0;
            double angle = -2 * acos(-1) * (double)(k * o[2] % len) / (double)len;
            sum += o[3] ? re * sin(angle) + im * cos(angle) : re * cos(angle) - im * sin(angle);
        }
        ev_set_f(y, at, sum);
    }
    return y != NULL;
}

const OpDesc op_STFT = {.name = "STFT", .since = 17, .cls = CLS_OPAQUE, .flags = OPF_STRIDED_OUT | OPF_EXPANDS, .in = P_STFT, .out = P_OUT, .attrs = STFT_ATTRS, .attrs_size = sizeof(Stft),
                        .infer = stft_infer, .expand = stft_expand, .must_expand = stft_must_expand, .lower = stft_lower, .eval = stft_eval};
