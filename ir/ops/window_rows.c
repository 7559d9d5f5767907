/* window_rows.c: see window_rows.h. Lanes are neighbouring columns. What lies in padding takes no predicate and no edge
 * of its own: rows in scratch have it around them.
 *
 * Maxima are separable: that of each column of the window's rows first, then that of neighbouring ones.
 *   par n, channel, band of output rows
 *     for row of the band:  vec column of the input   t[row][begin + column] = max over window rows
 *     for row of the band:  vec column of the result  put max over window columns of t[row][column*stride + tap]
 * A window row that lies outside is replaced by one that lies inside: a maximum takes no harm from seeing it twice.
 * Sums that give every tap the same weight are separable, too; window rows outside are then 0.
 * Sums of products:
 *   par n, channel, band of output rows
 *     for row of the input that the band sees:  t[row] = its elements, zeros around them
 *     for block of 4 rows:  vec column  4 sums in registers; an element of t is loaded once for all of them
 * Bands are as high as makes scratch fill a part of the first cache; between filling and reading it there are several
 * rows, so that no load waits for a store that overlaps it. */
#include "ir/ops/window_rows.h"
#include <math.h>
#include <string.h>

#define ROWS_BLOCK 4       /* rows of a block of sums */
#define ROWS_BAND 16       /* rows of a band, at most */
#define ROWS_TAPS 32       /* taps that are code of their own, along rows or columns */
#define ROWS_RUNS 8        /* of columns whose windows see as many of the input's: code of their own */
#define ROWS_WIDE (1 << 14) /* elements of a row in scratch, at most, */
#define ROWS_ALL (1 << 16) /* of all rows */

typedef struct Wr {
    const WindowNest *n;
    Kb *b;
    const Window *w;
    DType type;
    int last, banded;           /* the innermost axis; the one of bands */
    uint32_t src, rows;         /* rows: the scratch */
    Dim wide;                   /* of a row in scratch */
    int64_t band;               /* output rows */
    KVal out[RANK_MAX], high;   /* where we are; out[2 + banded]: the band's first row; rows of this band */
    KVal lo[WINDOW_MAX], hi[WINDOW_MAX], start[WINDOW_MAX]; /* taps inside; input position of tap 0 */
} Wr;

KVal window_greatest(Kb *b, DType type, const KVal *x, int n)
{
    KVal m = x[0], bad = {0};
    for (int i = 1; i < n; i++) {
        if (!dtype_is_float(type)) {
            m = kb_max(b, m, x[i]);
            continue;
        }
        /* one instruction, which gives its last operand when one is NaN: a NaN in x[0] stays, others are noted */
        m = kb_select(b, kb_bin(b, KOP_GT, x[i], m), x[i], m);
        KVal nan = kb_un(b, KOP_ISNAN, x[i]);
        bad = bad.i ? kb_bin(b, KOP_OR, bad, nan) : nan;
    }
    return bad.i ? kb_select(b, bad, kb_const_f(b, type, NAN), m) : m;
}

static bool unit_stride(Lw *l, KBuf buf, int axis)
{
    int64_t s;
    Dim d = kbuf_stride(l->k, kbuf(l->k, buf), axis);
    return d.i && dim_is_const(&l->m->dims, d, &s) && s == 1;
}

/* Fills in what the nest is about; rows of scratch are (band - 1) * step + reach. false: not such a nest. */
static bool plan(Wr *x, const WindowNest *n, DType type, int64_t step, int64_t reach)
{
    Lw *l = n->l;
    Dims *d = &l->m->dims;
    *x = (Wr){.n = n, .b = l->b, .w = n->w, .type = type, .last = n->w->n - 1, .banded = n->w->n - 2};
    if (x->last < 1 || !unit_stride(l, n->in, 2 + x->last)) return false;
    int64_t begin, top, wide, span = (x->w->kernel[x->last] - 1) * x->w->dilation[x->last] + 1;
    if (span > ROWS_WIDE / 4 || step > ROWS_BAND || reach > ROWS_BAND * 4) return false;
    dim_bounds(d, x->w->begin[x->last], &begin, &top);
    if (begin < 0 || top > ROWS_WIDE / 4 || x->w->stride[x->last] > ROWS_TAPS) return false;
    for (int i = 0; i < x->w->n; i++)
        if (dim_has_kind(d, x->w->out[i], SYM_NODE) || dim_has_kind(d, x->w->in[i], SYM_NODE)) return false;
    Dim most = dim_mul(d, dim_sub(d, x->w->out[x->last], dim_const(d, 1)), dim_const(d, x->w->stride[x->last]));
    x->wide = dim_max(d, dim_add(d, x->w->begin[x->last], x->w->in[x->last]), dim_add(d, most, dim_const(d, span)));
    x->band = ROWS_BLOCK;
    if (!dim_is_const(d, x->wide, &wide)) return true;
    if (wide < 1 || wide > ROWS_WIDE) return false;
    int64_t cache = l->k->target.l1_bytes / 2 / (dtype_info(type)->bits / 8), out;
    while (x->band < ROWS_BAND && ((2 * x->band - 1) * step + reach) * wide <= cache) x->band *= 2;
    if (dim_is_const(d, x->w->out[x->banded], &out))
        while (x->band > ROWS_BLOCK && x->band / 2 >= out) x->band /= 2;
    return ((x->band - 1) * step + reach) * wide <= ROWS_ALL;
}

/* Opens the loops over all but columns and the rows of a band; returns how many. */
static int open_loops(Wr *x)
{
    Lw *l = x->n->l;
    Kb *b = x->b;
    Dims *d = &l->m->dims;
    Dim batch = dim_resolve(d, kbuf(l->k, x->n->in)->dim[0]), band = dim_const(d, x->band);
    x->src = kb_param(b, x->n->in, false);
    x->out[0] = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, batch));
    x->out[1] = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, x->n->channels));
    for (int i = 0; i < x->banded; i++) x->out[2 + i] = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, x->w->out[i]));
    KVal k = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, dim_ceildiv(d, x->w->out[x->banded], band)));
    x->out[2 + x->banded] = kb_mul(b, k, kb_i(b, x->band));
    x->high = kb_min(b, kb_i(b, x->band), kb_sub(b, kb_dim(b, x->w->out[x->banded]), x->out[2 + x->banded]));
    return 3 + x->banded;
}

static KVal input_channel(Wr *x)
{
    return x->n->per == 1 ? x->out[1] : kb_bin(x->b, KOP_FLOORDIV, x->out[1], kb_i(x->b, x->n->per));
}

/* t[row][from..to) = value */
static void fill(Wr *x, KVal row, KVal from, KVal to, KVal value)
{
    KVal at[2] = {row, kb_for(x->b, KLOOP_VEC, from, to)};
    kb_store(x->b, x->rows, at, value);
    kb_end(x->b);
}

/* Both ends of a row. */
static void pad(Wr *x, KVal row, KVal value)
{
    Dims *d = &x->n->l->m->dims;
    Dim begin = x->w->begin[x->last], behind = dim_add(d, begin, x->w->in[x->last]);
    if (!dim_is(d, begin, 0)) fill(x, row, kb_i(x->b, 0), kb_dim(x->b, begin), value);
    if (dim_eq(d, behind, x->wide) != TRI_YES) fill(x, row, kb_dim(x->b, behind), kb_dim(x->b, x->wide), value);
}

/* ---- maxima ---- */

/* Sets start, lo, hi of axis i for the window at `o`. */
static void range(Wr *x, int i, KVal o)
{
    Kb *b = x->b;
    const Window *w = x->w;
    x->start[i] = window_at(b, w, i, o, kb_i(b, 0));
    window_taps(b, w, i, x->start[i], &x->lo[i], &x->hi[i]);
}

/* Where tap k of axis i reads, for windows that reach outside the nearest tap inside; *some: there is one. */
static KVal tap_inside(Wr *x, int i, int64_t k, KVal *some)
{
    Kb *b = x->b;
    const Window *w = x->w;
    if (!window_reaches(w, i)) return kb_add(b, x->start[i], kb_i(b, k * w->dilation[i]));
    KVal last = kb_sub(b, x->hi[i], kb_i(b, 1)), any = kb_lt(b, x->lo[i], x->hi[i]);
    KVal tap = kb_min(b, kb_max(b, kb_i(b, k), x->lo[i]), last);
    *some = some->i ? kb_and(b, *some, any) : any;
    return kb_add(b, x->start[i], kb_mul(b, kb_select(b, any, tap, kb_i(b, 0)), kb_i(b, w->dilation[i])));
}

/* t[row][begin..] = the maxima of the window's rows. */
static void row_maxima(Wr *x, KVal row)
{
    Kb *b = x->b;
    const Window *w = x->w;
    KVal idx[ROWS_TAPS][RANK_MAX], some = {0}, v[ROWS_TAPS];
    int n = 1;
    for (int i = 0; i < x->last; i++) n *= (int)w->kernel[i];
    for (int i = 0; i < x->last; i++)
        range(x, i, i == x->banded ? kb_add(b, x->out[2 + i], row) : x->out[2 + i]);
    for (int t = 0; t < n; t++) {
        int64_t rest = t;
        idx[t][0] = x->out[0];
        idx[t][1] = input_channel(x);
        for (int i = x->last - 1; i >= 0; i--) {
            idx[t][2 + i] = tap_inside(x, i, rest % w->kernel[i], &some);
            rest /= w->kernel[i];
        }
    }
    KVal none = x->n->init(x->n->arg, x->out[1]);
    pad(x, row, none);
    KVal j = kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_dim(b, w->in[x->last]));
    for (int t = 0; t < n; t++) {
        idx[t][2 + x->last] = j;
        v[t] = some.i ? kb_load_if(b, x->src, idx[t], some, none) : kb_load(b, x->src, idx[t]);
    }
    kb_store(b, x->rows, (KVal[]){row, kb_add(b, j, kb_dim(b, w->begin[x->last]))}, window_greatest(b, x->type, v, n));
    kb_end(b);
}

/* The result's row from t[row]. */
static void column_maxima(Wr *x, KVal row)
{
    Kb *b = x->b;
    const Window *w = x->w;
    int a = x->last;
    KVal out[RANK_MAX], v[ROWS_TAPS], at[2] = {row};
    for (int i = 0; i < a; i++) out[2 + i] = x->out[2 + i];
    out[0] = x->out[0];
    out[1] = x->out[1];
    out[2 + x->banded] = kb_add(b, x->out[2 + x->banded], row);
    out[2 + a] = kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_dim(b, w->out[a]));
    KVal first = kb_mul(b, out[2 + a], kb_i(b, w->stride[a]));
    for (int64_t t = 0; t < w->kernel[a]; t++) {
        at[1] = kb_add(b, first, kb_i(b, t * w->dilation[a]));
        v[t] = kb_load(b, x->rows, at);
    }
    x->n->put(x->n->arg, out, window_greatest(b, x->type, v, (int)w->kernel[a]), (KVal){0});
    kb_end(b);
}

/* The window's rows fit a nest of row by row; w is planned in x. */
static bool row_by_row(Wr *x, const WindowNest *n, DType type)
{
    int64_t taps = 1;
    if (!plan(x, n, type, 1, 1)) return false;
    for (int i = 0; i < x->last; i++) taps *= n->w->kernel[i] > ROWS_TAPS ? ROWS_TAPS + 1 : n->w->kernel[i];
    if (taps < 2 || taps > ROWS_TAPS || n->w->kernel[x->last] > ROWS_TAPS) return false;
    return n->w->kernel[x->last] > n->w->stride[x->last] || n->w->padded; /* else columns are not shared */
}

bool window_rows_max(const WindowNest *n, DType type)
{
    Wr x;
    if (n->factor || !row_by_row(&x, n, type)) return false;
    Kb *b = x.b;
    Dim size[2] = {dim_const(&n->l->m->dims, x.band), x.wide};
    x.rows = kb_local(b, "rows", type, 2, size);
    int depth = open_loops(&x);
    row_maxima(&x, kb_for(b, KLOOP_SEQ, kb_i(b, 0), x.high));
    kb_end(b);
    column_maxima(&x, kb_for(b, KLOOP_SEQ, kb_i(b, 0), x.high));
    kb_end(b);
    for (; depth; depth--) kb_end(b);
    return true;
}

/* ---- sums without weights ---- */

/* t[row][begin..] = the sums of the window's rows, each element put in by n->step; whole: none of the banded axis is outside. */
static void row_sums(Wr *x, KVal row, bool whole)
{
    Kb *b = x->b;
    const Window *w = x->w;
    KVal idx[ROWS_TAPS][RANK_MAX], inside[ROWS_TAPS], zero = kb_const_f(b, x->type, 0);
    int n = 1;
    for (int i = 0; i < x->last; i++) n *= (int)w->kernel[i];
    for (int i = 0; i < x->last; i++)
        range(x, i, i == x->banded ? kb_add(b, x->out[2 + i], row) : x->out[2 + i]);
    for (int t = 0; t < n; t++) {
        int64_t rest = t;
        idx[t][0] = x->out[0];
        idx[t][1] = x->out[1];
        inside[t] = (KVal){0};
        for (int i = x->last - 1; i >= 0; i--) {
            int64_t tap = rest % w->kernel[i];
            rest /= w->kernel[i];
            idx[t][2 + i] = kb_add(b, x->start[i], kb_i(b, tap * w->dilation[i]));
            if (i != x->banded || !whole) window_inside(b, w, i, idx[t][2 + i], &inside[t]);
        }
    }
    pad(x, row, zero);
    KVal j = kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_dim(b, w->in[x->last])), acc = x->n->init(x->n->arg, x->out[1]);
    for (int t = 0; t < n; t++) {
        idx[t][2 + x->last] = j;
        KVal v = inside[t].i ? kb_load_if(b, x->src, idx[t], inside[t], zero) : kb_load(b, x->src, idx[t]);
        acc = x->n->step(x->n->arg, acc, v, (KVal){0});
    }
    kb_store(b, x->rows, (KVal[]){row, kb_add(b, j, kb_dim(b, w->begin[x->last]))}, acc);
    kb_end(b);
}

/* Columns from..to-1 of the result from t[row]; of their windows `inside` columns each lie in the input. */
static void column_sums(Wr *x, int64_t from, int64_t to, int64_t inside, const KVal *out, KVal row, KVal *count)
{
    Kb *b = x->b;
    const Window *w = x->w;
    int a = x->last;
    KVal at[RANK_MAX], sum = {0};
    if (from >= to) return;
    memcpy(at, out, sizeof at);
    count[a] = kb_i(b, inside);
    at[2 + a] = kb_i(b, from);
    KVal factor = x->n->factor ? x->n->factor(x->n->arg, at, count) : (KVal){0};
    if (to - from > 1) at[2 + a] = kb_add(b, kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_i(b, to - from)), at[2 + a]);
    KVal first = kb_mul(b, at[2 + a], kb_i(b, w->stride[a]));
    for (int64_t t = 0; t < w->kernel[a]; t++) {
        KVal v = kb_load(b, x->rows, (KVal[]){row, kb_add(b, first, kb_i(b, t * w->dilation[a]))});
        sum = t ? kb_add(b, sum, v) : v;
    }
    x->n->put(x->n->arg, at, sum, factor);
    if (to - from > 1) kb_end(b);
}

/* t[0..high): rows whose windows reach outside at the top, those inside, those at the bottom. */
static void band_sums(Wr *x)
{
    Kb *b = x->b;
    const Window *w = x->w;
    int r = x->banded;
    KVal zero = kb_i(b, 0), lo = zero, hi = x->high, begin = kb_dim(b, w->begin[r]);
    KVal stop = kb_sub(b, kb_add(b, kb_dim(b, w->in[r]), begin), kb_i(b, (w->kernel[r] - 1) * w->dilation[r]));
    if (w->below[r]) lo = kb_max(b, zero, kb_min(b, hi, kb_sub(b, kb_ceil_div(b, begin, w->stride[r]), x->out[2 + r])));
    if (w->above[r]) hi = kb_max(b, lo, kb_min(b, hi, kb_sub(b, kb_ceil_div(b, stop, w->stride[r]), x->out[2 + r])));
    KVal from[3] = {zero, lo, hi}, to[3] = {lo, hi, x->high};
    for (int k = 0; k < 3; k++) {
        if ((k == 0 && !w->below[r]) || (k == 2 && !w->above[r])) continue;
        row_sums(x, kb_for(b, KLOOP_SEQ, from[k], to[k]), k == 1);
        kb_end(b);
    }
}

/* Columns of the window at output column q that lie inside the input. */
static int64_t columns_inside(const Window *w, int a, int64_t q, int64_t in, int64_t begin)
{
    int64_t n = 0;
    for (int64_t t = 0; t < w->kernel[a]; t++) {
        int64_t pos = q * w->stride[a] - begin + t * w->dilation[a];
        n += pos >= 0 && pos < in;
    }
    return n;
}

/* The result's row from t[row]: runs of columns whose windows see as many of the input's are a loop. */
static void average_row(Wr *x, KVal row, int64_t in, int64_t out, int64_t begin)
{
    Kb *b = x->b;
    const Window *w = x->w;
    int a = x->last;
    KVal at[RANK_MAX], count[WINDOW_MAX];
    for (int i = 0; i < a; i++) at[2 + i] = x->out[2 + i];
    at[0] = x->out[0];
    at[1] = x->out[1];
    at[2 + x->banded] = kb_add(b, x->out[2 + x->banded], row);
    for (int i = 0; i < a; i++) {
        range(x, i, at[2 + i]);
        count[i] = kb_max(b, kb_i(b, 0), kb_sub(b, x->hi[i], x->lo[i]));
    }
    for (int64_t q = 0, end; q < out; q = end) {
        int64_t seen = columns_inside(w, a, q, in, begin);
        for (end = q + 1; end < out && columns_inside(w, a, end, in, begin) == seen;) end++;
        if (!x->n->factor) end = out;
        column_sums(x, q, end, seen, at, row, count);
    }
}

bool window_rows_even(const WindowNest *n, DType type)
{
    Wr x;
    int64_t in, out, begin, runs = 1;
    if (n->per != 1 || n->shared || !row_by_row(&x, n, type)) return false;
    const KTarget *t = &n->l->k->target;
    Dims *d = &n->l->m->dims;
    /* results beyond the caches as large as what is read: bands, which read and write in turns, take 1.1 to 1.4 as long */
    int64_t all = 0, step = 1;
    for (int i = 0; i < n->w->n; i++) step *= n->w->stride[i];
    bool known = dim_is_const(d, kbuf_count(n->l->k, n->in), &all);
    if (step == 1 && known && all * dtype_bytes(kbuf(n->l->k, n->in)->elem, 1) > t->l2_bytes) return false;
    if (!dim_is_const(d, n->w->in[x.last], &in) || !dim_is_const(d, n->w->out[x.last], &out) || !dim_is_const(d, n->w->begin[x.last], &begin)) return false;
    for (int64_t q = 1; q < out; q++)
        runs += n->factor && columns_inside(n->w, x.last, q, in, begin) != columns_inside(n->w, x.last, q - 1, in, begin);
    if (runs > ROWS_RUNS) return false;
    Kb *b = x.b;
    Dim size[2] = {dim_const(&n->l->m->dims, x.band), x.wide};
    x.rows = kb_local(b, "rows", type, 2, size);
    int depth = open_loops(&x);
    band_sums(&x);
    average_row(&x, kb_for(b, KLOOP_SEQ, kb_i(b, 0), x.high), in, out, begin);
    kb_end(b);
    for (; depth; depth--) kb_end(b);
    return true;
}

/* ---- sums ---- */

/* t[row] for all rows of the input that the band sees. */
static void copy_rows(Wr *x, int64_t reach)
{
    Kb *b = x->b;
    const Window *w = x->w;
    int a = x->last, r = x->banded;
    KVal zero = kb_i(b, 0), start = window_at(b, w, r, x->out[2 + r], zero), nothing = kb_const_f(b, x->type, 0);
    KVal all = kb_add(b, kb_mul(b, kb_sub(b, x->high, kb_i(b, 1)), kb_i(b, w->stride[r])), kb_i(b, reach));
    KVal lo = kb_min(b, all, kb_max(b, zero, kb_sub(b, zero, start)));
    KVal hi = kb_max(b, lo, kb_min(b, all, kb_sub(b, kb_dim(b, w->in[r]), start)));
    KVal row = kb_for(b, KLOOP_SEQ, lo, hi), idx[4] = {x->out[0], input_channel(x), kb_add(b, start, row)};
    pad(x, row, nothing);
    KVal j = idx[2 + a] = kb_for(b, KLOOP_VEC, zero, kb_dim(b, w->in[a]));
    kb_store(b, x->rows, (KVal[]){row, kb_add(b, j, kb_dim(b, w->begin[a]))}, kb_load(b, x->src, idx));
    kb_end(b);
    kb_end(b);
    KVal from[2] = {zero, hi}, to[2] = {lo, all};
    for (int k = 0; k < 2; k++) {
        if (!(k ? w->above[r] : w->below[r])) continue;
        row = kb_for(b, KLOOP_SEQ, from[k], to[k]);
        fill(x, row, zero, kb_dim(b, x->wide), nothing);
        kb_end(b);
    }
}

/* `n` rows of the result, from row `first` of the band on. */
static void sum_rows(Wr *x, KVal first, int n)
{
    Kb *b = x->b;
    const Window *w = x->w;
    int a = x->last, r = x->banded;
    int64_t s = w->stride[r], d = w->dilation[r], span = (n - 1) * s + (w->kernel[r] - 1) * d + 1;
    KVal acc[ROWS_BLOCK], out[4] = {x->out[0], x->out[1]}, shared[WINDOW_ROWS_TAPS], at[2];
    for (int64_t t = 0; t < w->taps; t++) shared[t] = x->n->shared(x->n->arg, kb_i(b, t), x->out[1]);
    for (int q = 0; q < n; q++) acc[q] = x->n->init(x->n->arg, x->out[1]);
    out[2 + a] = kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_dim(b, w->out[a]));
    KVal column = kb_mul(b, out[2 + a], kb_i(b, w->stride[a])), top = kb_mul(b, first, kb_i(b, s));
    for (int64_t row = 0; row < span; row++)
        for (int64_t t = 0; t < w->kernel[a]; t++) {
            KVal v = {0};
            for (int q = 0; q < n; q++) {
                int64_t below = row - q * s;
                if (below < 0 || below % d || below / d >= w->kernel[r]) continue;
                at[0] = kb_add(b, top, kb_i(b, row));
                at[1] = kb_add(b, column, kb_i(b, t * w->dilation[a]));
                if (!v.i) v = kb_load(b, x->rows, at);
                acc[q] = x->n->step(x->n->arg, acc[q], v, shared[below / d * w->kernel[a] + t]);
            }
        }
    for (int q = 0; q < n; q++) {
        out[2 + r] = kb_add(b, x->out[2 + r], kb_add(b, first, kb_i(b, q)));
        x->n->put(x->n->arg, out, acc[q], (KVal){0});
    }
    kb_end(b);
}

bool window_rows_sum(const WindowNest *n)
{
    Wr x;
    if (n->factor || n->w->n != 2 || n->w->taps > WINDOW_ROWS_TAPS) return false;
    int64_t reach = (n->w->kernel[0] - 1) * n->w->dilation[0] + 1;
    if (!plan(&x, n, dtype_compute(kbuf(n->l->k, n->in)->elem), n->w->stride[0], reach)) return false;
    Kb *b = x.b;
    Dims *d = &n->l->m->dims;
    Dim size[2] = {dim_const(d, (x.band - 1) * n->w->stride[0] + reach), x.wide};
    x.rows = kb_local(b, "rows", x.type, 2, size);
    int depth = open_loops(&x);
    copy_rows(&x, reach);
    KVal whole = kb_bin(b, KOP_FLOORDIV, x.high, kb_i(b, ROWS_BLOCK)), done = kb_mul(b, whole, kb_i(b, ROWS_BLOCK));
    KVal i = kb_for(b, KLOOP_SEQ, kb_i(b, 0), whole);
    sum_rows(&x, kb_mul(b, i, kb_i(b, ROWS_BLOCK)), ROWS_BLOCK);
    kb_end(b);
    if (!dim_multiple_of(d, n->w->out[0], ROWS_BLOCK)) {
        sum_rows(&x, kb_for(b, KLOOP_SEQ, done, x.high), 1);
        kb_end(b);
    }
    for (; depth; depth--) kb_end(b);
    return true;
}
