/* window_nest.c: see window_nest.h.
 *
 * Channels lie side by side (channels-last): lanes are channels, and a block is up to 8 neighbouring windows of one output
 * row, whose accumulators are the carries of the loops over the window's rows; a column of the input is loaded once for
 * all windows that see it.
 *   par n, chunk of channels, output row
 *     blocks of columns: those at the left edge | for block: those inside | those at the right edge
 *       vec channel
 *         acc0..7 = for window row = first inside..last inside carry(..) { columns of the window unrolled }
 *         put acc0..7
 * Where the rows of a window, whole, exceed the first cache, par goes over bands of output rows, and each block down the
 * rows of the band with a part of the channels at a time (choose_band).
 * Rows outside the input are left out by the bounds of the loop over window rows; columns, where extents are known, when
 * the block is built: each edge block is code of its own. So nothing inside is guarded.
 * Otherwise lanes are the columns of an output row, and each has one accumulator:
 *   par n, channel, output row { left edge | vec column inside | right edge }
 * Unknown extents: the edges' columns have loops of their own over the columns of the window. So have those of windows of
 * many columns, which go in equal parts elsewhere, as code would take minutes to compile (4096 columns: 47 s). */
#include "ir/ops/window_nest.h"
#include "base/num.h"
#include <assert.h>

#define EDGE_MAX 16     /* columns of a row at its edges that are worth code of their own, where lanes are columns */
#define EDGE_CODE 4096  /* elements of the windows there that are, where lanes are channels */
#define COLUMNS_CODE 64 /* columns of the window that are code of their own */
#define SHARED_ROWS 8   /* output rows that share well among threads; */
#define SHARED_WELL 64  /* par iterations that do, where there is but one row, */
#define SHARED_LONG 16  /* and of a tensor that is better read in long runs */
#define BAND_ROWS 16    /* output rows of a band, */
#define NEAR_LEAST 32   /* if that many channels of them stay in the first cache */

typedef struct Wn {
    WindowNest *n;
    Kb *b;
    const Window *w;
    int last;                             /* the axis along which blocks go */
    uint32_t src;
    KVal out[RANK_MAX];                   /* where we are: batch, channel, spatial axes */
    KVal lo[WINDOW_MAX], hi[WINDOW_MAX];  /* taps of each axis that are inside */
    KVal start[WINDOW_MAX];               /* input position of tap 0 */
    KVal chan0;                           /* first channel of the chunk */
    Dim chunk;
    KVal first, lane;                     /* out[1] = first + lane, where lanes are channels */
    bool lanes_are_channels;
    int64_t band, near;                   /* output rows of a band, channels that a block goes through them with; 0: one by one, all of the chunk */
    KVal row0, rows;                      /* of this band */
} Wn;

/* One block: windows q = 0..n-1 along the last axis, from column `first` on. */
typedef struct Block {
    int n;
    KVal first;
    bool fixed;      /* `at` is the position of tap 0 of window 0, known: taps are left out one by one */
    int64_t at, in;
    bool dynamic;    /* one window, whose columns run lo..hi */
    KVal factor[WINDOW_COLUMNS];
} Block;

/* ---- ranges ---- */

/* Sets start, lo, hi of axis i for the window at `o`. */
static void range(Wn *x, int i, KVal o)
{
    Kb *b = x->b;
    const Window *w = x->w;
    x->start[i] = window_at(b, w, i, o, kb_i(b, 0));
    window_taps(b, w, i, x->start[i], &x->lo[i], &x->hi[i]);
}

/* ---- a block ---- */

static bool is_long(const Wn *x) { return x->w->kernel[x->last] > COLUMNS_CODE; }

/* An element that the block has loaded; pos: its column behind tap 0 of window 0. */
typedef struct Seen {
    int64_t pos;
    KVal v;
} Seen;

/* Columns from..from + n - 1 of the window at the taps chosen so far; tap: row-major number of the window's row. */
static void columns_of(Wn *x, const Block *k, KVal *idx, KVal row_tap, KVal from, int64_t n, KVal *acc)
{
    Kb *b = x->b;
    const Window *w = x->w;
    int a = x->last;
    int64_t s = w->stride[a], d = w->dilation[a];
    Seen seen[COLUMNS_CODE * WINDOW_COLUMNS];
    int n_seen = 0;
    KVal start = kb_add(b, x->start[a], kb_mul(b, from, kb_i(b, d)));
    for (int64_t t = 0; t < n; t++) {
        KVal shared = {0};
        for (int q = 0; q < k->n; q++) {
            int64_t pos = q * s + t * d;
            int at = 0;
            if (k->fixed && (k->at + pos < 0 || k->at + pos >= k->in)) continue;
            if (!shared.i && x->n->shared) shared = x->n->shared(x->n->arg, kb_add(b, row_tap, kb_i(b, t)), x->out[1]);
            while (at < n_seen && seen[at].pos != pos) at++;
            if (at == n_seen) {
                idx[2 + a] = k->fixed ? kb_i(b, k->at + pos) : kb_add(b, start, kb_i(b, pos));
                seen[n_seen++] = (Seen){pos, kb_load(b, x->src, idx)};
            }
            acc[q] = x->n->step(x->n->arg, acc[q], seen[at].v, shared);
        }
    }
}

/* The same of every channel that the windows see. */
static void columns(Wn *x, const Block *k, KVal *idx, KVal row, KVal from, int64_t n, KVal *acc)
{
    Kb *b = x->b;
    KVal tap = kb_add(b, kb_mul(b, row, kb_i(b, x->w->kernel[x->last])), from), channel = idx[1];
    for (int64_t i = 0; i < max64(x->n->group, 1); i++) {
        if (i) idx[1] = kb_add(b, channel, kb_i(b, i));
        columns_of(x, k, idx, i ? kb_add(b, tap, kb_i(b, i * x->w->taps)) : tap, from, n, acc);
    }
    idx[1] = channel;
}

/* All columns of the window; of a long one, equal parts in a loop. */
static void all_columns(Wn *x, const Block *k, KVal *idx, KVal row, KVal *acc)
{
    Kb *b = x->b;
    int64_t width = x->w->kernel[x->last], rest = width % COLUMNS_CODE;
    if (!is_long(x)) {
        columns(x, k, idx, row, kb_i(b, 0), width, acc);
        return;
    }
    KbLoop loop;
    KVal next[WINDOW_COLUMNS];
    assert(!k->fixed);
    kb_loop(b, &loop, KLOOP_SEQ, kb_i(b, 0), kb_i(b, width / COLUMNS_CODE), (uint32_t)k->n, acc, NULL);
    for (int q = 0; q < k->n; q++) next[q] = loop.carry[q];
    columns(x, k, idx, row, kb_mul(b, loop.iv, kb_i(b, COLUMNS_CODE)), COLUMNS_CODE, next);
    kb_loop_end(b, &loop, next);
    for (int q = 0; q < k->n; q++) acc[q] = loop.result[q];
    columns(x, k, idx, row, kb_i(b, width - rest), rest, acc);
}

/* Loops over the taps of axis i.., from the outermost in. */
static void taps(Wn *x, const Block *k, int i, KVal *idx, KVal row, KVal *acc)
{
    Kb *b = x->b;
    if (i == x->w->n - 1 && !k->dynamic) {
        all_columns(x, k, idx, row, acc);
        return;
    }
    KbLoop loop;
    KVal next[WINDOW_COLUMNS], tap;
    if (i == x->w->n) { /* every axis by loops: one column */
        KVal channel = idx[1];
        for (int64_t c = 0; c < max64(x->n->group, 1); c++) {
            if (c) idx[1] = kb_add(b, channel, kb_i(b, c));
            KVal shared = x->n->shared ? x->n->shared(x->n->arg, c ? kb_add(b, row, kb_i(b, c * x->w->taps)) : row, x->out[1]) : (KVal){0};
            acc[0] = x->n->step(x->n->arg, acc[0], kb_load(b, x->src, idx), shared);
        }
        idx[1] = channel;
        return;
    }
    kb_loop(b, &loop, KLOOP_SEQ, x->lo[i], x->hi[i], (uint32_t)k->n, acc, NULL);
    tap = loop.iv;
    idx[2 + i] = kb_add(b, x->start[i], kb_mul(b, tap, kb_i(b, x->w->dilation[i])));
    for (int q = 0; q < k->n; q++) next[q] = loop.carry[q];
    taps(x, k, i + 1, idx, kb_add(b, kb_mul(b, row, kb_i(b, x->w->kernel[i])), tap), next);
    kb_loop_end(b, &loop, next);
    for (int q = 0; q < k->n; q++) acc[q] = loop.result[q];
}

/* Columns inside the input of window q of the block. */
static KVal width(Wn *x, const Block *k, int q)
{
    const Window *w = x->w;
    int a = x->last;
    int64_t n = 0;
    if (k->dynamic) return kb_max(x->b, kb_i(x->b, 0), kb_sub(x->b, x->hi[a], x->lo[a]));
    if (!k->fixed) return kb_i(x->b, w->kernel[a]);
    for (int64_t t = 0; t < w->kernel[a]; t++) {
        int64_t pos = k->at + q * w->stride[a] + t * w->dilation[a];
        n += pos >= 0 && pos < k->in;
    }
    return kb_i(x->b, n);
}

static void out_column(Wn *x, const Block *k, int q) { x->out[2 + x->last] = kb_add(x->b, k->first, kb_i(x->b, q)); }

static void factors(Wn *x, Block *k)
{
    KVal count[WINDOW_MAX];
    if (!x->n->factor) return;
    for (int i = 0; i < x->w->n; i++)
        if (i != x->last) count[i] = kb_max(x->b, kb_i(x->b, 0), kb_sub(x->b, x->hi[i], x->lo[i]));
    for (int q = 0; q < k->n; q++) {
        count[x->last] = width(x, k, q);
        out_column(x, k, q);
        k->factor[q] = x->n->factor(x->n->arg, x->out, count);
    }
}

/* What lanes do: the channel is known, in lanes or not. */
static void body(Wn *x, const Block *k)
{
    Kb *b = x->b;
    KVal acc[WINDOW_COLUMNS], idx[RANK_MAX];
    KVal init = x->n->init(x->n->arg, x->out[1]);
    for (int q = 0; q < k->n; q++) acc[q] = init;
    idx[0] = x->out[0];
    idx[1] = x->n->per == 1 ? x->out[1] : kb_bin(b, KOP_FLOORDIV, x->out[1], kb_i(b, x->n->per));
    if (x->n->group) { /* the first of the group; lanes begin with one */
        KVal size = kb_i(b, x->n->group);
        idx[1] = kb_add(b, x->first, kb_mul(b, kb_bin(b, KOP_FLOORDIV, x->lane, size), size));
    }
    taps(x, k, 0, idx, kb_i(b, 0), acc);
    for (int q = 0; q < k->n; q++) {
        out_column(x, k, q);
        x->n->put(x->n->arg, x->out, acc[q], k->factor[q]);
    }
}

/* The lanes of the rows where we are, n channels from `first` on. */
static void channels(Wn *x, Block *k, KVal first, Dim n)
{
    Kb *b = x->b;
    factors(x, k);
    KVal iv = kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_dim(b, n));
    x->out[1] = kb_add(b, first, iv);
    x->first = first;
    x->lane = iv;
    body(x, k);
    kb_end(b);
}

static void block(Wn *x, Block *k)
{
    Kb *b = x->b;
    Dims *d = &x->n->l->m->dims;
    range(x, x->last, k->first); /* of window 0 */
    if (!x->lanes_are_channels) {
        factors(x, k);
        body(x, k);
        return;
    }
    if (!x->band) {
        channels(x, k, x->chan0, x->chunk);
        return;
    }
    Dim near = dim_const(d, x->near);
    KVal q = kb_for(b, KLOOP_SEQ, kb_i(b, 0), kb_dim(b, dim_div(d, x->chunk, near)));
    KVal row = kb_for(b, KLOOP_SEQ, kb_i(b, 0), x->rows);
    x->out[1 + x->last] = kb_add(b, x->row0, row);
    range(x, x->last - 1, x->out[1 + x->last]);
    channels(x, k, kb_add(b, x->chan0, kb_mul(b, q, kb_i(b, x->near))), near);
    kb_end(b);
    kb_end(b);
}

/* for column = lo..hi: blocks of n windows, `step` columns apart from `first` on. */
static void blocks(Wn *x, KLoop kind, KVal first, KVal count, int n, bool dynamic)
{
    Kb *b = x->b;
    KVal i = kb_for(b, kind, kb_i(b, 0), count);
    Block k = {.n = n, .dynamic = dynamic, .first = kb_add(b, first, kb_mul(b, i, kb_i(b, n)))};
    block(x, &k);
    kb_end(b);
}

/* ---- the columns of an output row ---- */

/* Windows of a block: accumulators take half of the registers (a value of lanes is 16 elements). */
static int64_t block_of(const KTarget *t)
{
    int64_t n = (int64_t)t->vec_regs * t->vec_bits / 1024;
    return n < 1 ? 1 : n > WINDOW_COLUMNS ? WINDOW_COLUMNS : n;
}

/* Extents are known: edge blocks are built tap by tap, runs of equal blocks are a loop. */
static void known_columns(Wn *x, int64_t in, int64_t out, int64_t begin)
{
    Kb *b = x->b;
    const Window *w = x->w;
    int a = x->last;
    int64_t s = w->stride[a], reach = (w->kernel[a] - 1) * w->dilation[a];
    int64_t most = block_of(&x->n->l->k->target), n_block = (out + most - 1) / most, n = n_block ? (out + n_block - 1) / n_block : 1;
    for (int64_t q = 0; q < out;) {
        int64_t full = 0;
        for (; q + (full + 1) * n <= out && (q + full * n) * s - begin >= 0 && (q + (full + 1) * n - 1) * s - begin + reach < in;) full++;
        if (full > 1) {
            blocks(x, KLOOP_SEQ, kb_i(b, q), kb_i(b, full), (int)n, false);
            q += full * n;
            continue;
        }
        Block k = {.n = (int)(out - q < n ? out - q : n), .first = kb_i(b, q), .fixed = true, .at = q * s - begin, .in = in};
        block(x, &k);
        q += k.n;
    }
}

/* first..last: the columns whose window lies inside. */
static void inside_columns(Wn *x, KVal *first, KVal *last)
{
    Kb *b = x->b;
    const Window *w = x->w;
    int a = x->last;
    KVal out = kb_dim(b, w->out[a]), begin = kb_dim(b, w->begin[a]);
    *first = kb_i(b, 0);
    *last = out;
    if (!window_reaches(w, a)) return;
    KVal stop = kb_sub(b, kb_add(b, kb_dim(b, w->in[a]), begin), kb_i(b, (w->kernel[a] - 1) * w->dilation[a]));
    *first = kb_min(b, out, kb_max(b, kb_i(b, 0), kb_ceil_div(b, begin, w->stride[a])));
    *last = kb_max(b, *first, kb_min(b, out, kb_ceil_div(b, stop, w->stride[a])));
}

/* lo..hi-1: the columns whose window lies inside, extents known. */
static void known_inside(const Window *w, int a, int64_t in, int64_t out, int64_t begin, int64_t *lo, int64_t *hi)
{
    int64_t s = w->stride[a], room = in - 1 - (w->kernel[a] - 1) * w->dilation[a] + begin; /* of tap 0, from the first column's */
    int64_t before = begin > 0 ? begin / s + (begin % s != 0) : 0, upto = room < 0 ? 0 : room / s + 1;
    *lo = before < out ? before : out;
    *hi = upto < *lo ? *lo : upto < out ? upto : out;
}

/* Columns from..to-1 at an edge, in blocks whose taps are built one by one. */
static void known_edge(Wn *x, int64_t from, int64_t to, int64_t in, int64_t begin)
{
    while (from < to) {
        int64_t n = to - from < WINDOW_COLUMNS ? to - from : WINDOW_COLUMNS;
        Block k = {.n = (int)n, .first = kb_i(x->b, from), .fixed = true, .at = from * x->w->stride[x->last] - begin, .in = in};
        block(x, &k);
        from += n;
    }
}

static void row(Wn *x)
{
    Kb *b = x->b;
    const Window *w = x->w;
    Dims *d = &x->n->l->m->dims;
    int a = x->last;
    int64_t in, out, begin;
    bool known = !is_long(x) && dim_is_const(d, w->in[a], &in) && dim_is_const(d, w->out[a], &out) && dim_is_const(d, w->begin[a], &begin);
    KVal first, last, zero = kb_i(b, 0);
    int64_t most = block_of(&x->n->l->k->target), lo = 0, hi = 0;
    bool edges = window_reaches(w, a);
    if (known) known_inside(w, a, in, out, begin, &lo, &hi);
    known = known && out - (hi - lo) <= (x->lanes_are_channels ? EDGE_CODE / w->kernel[a] : EDGE_MAX);
    if (known && x->lanes_are_channels) {
        known_columns(x, in, out, begin);
        return;
    }
    if (known && edges) { /* lanes are the columns inside, few are not */
        known_edge(x, 0, lo, in, begin);
        blocks(x, KLOOP_VEC, kb_i(b, lo), kb_i(b, hi - lo), 1, false);
        known_edge(x, hi, out, in, begin);
        return;
    }
    inside_columns(x, &first, &last);
    if (edges) blocks(x, KLOOP_SEQ, zero, first, 1, true);
    KVal n = kb_sub(b, last, first);
    if (x->lanes_are_channels) {
        KVal whole = kb_bin(b, KOP_FLOORDIV, n, kb_i(b, most)), done = kb_mul(b, whole, kb_i(b, most));
        blocks(x, KLOOP_SEQ, first, whole, (int)most, false);
        blocks(x, KLOOP_SEQ, kb_add(b, first, done), kb_sub(b, n, done), 1, false);
    } else blocks(x, KLOOP_VEC, first, n, 1, false);
    if (edges) blocks(x, KLOOP_SEQ, last, kb_sub(b, kb_dim(b, w->out[a]), last), 1, true);
}

/* ---- the nest ---- */

static bool unit_stride(Lw *l, KBuf buf, int axis)
{
    int64_t s;
    Dim d = kbuf_stride(l->k, kbuf(l->k, buf), axis);
    return d.i && dim_is_const(&l->m->dims, d, &s) && s == 1;
}

/* Channels of a chunk: all, unless threads then had too little to share, as with the seven rows of a last stage. Rows
 * that the next output row sees again would stay in the first cache in chunks, but the second one brings whole pixels as
 * fast (32x112x112 takes 204 us in halves, 107 whole), and threads that share rows like the step before read less that
 * another has written. Whole vectors, and a divisor of all: chunks are equal. 0: one chunk. */
static int64_t chunk_of(Wn *x, Dim batch)
{
    Dims *d = &x->n->l->m->dims;
    KModule *k = x->n->l->k;
    int64_t n = 1, rows, c, all, best = 0, shared = x->last ? SHARED_ROWS : SHARED_WELL;
    if (!k->threads || !dim_is_const(d, x->n->channels, &c)) return 0;
    bool large = !dim_is_const(d, kbuf_count(k, x->n->in), &all) || all > k->target.l2_bytes / 8;
    if (large && !x->last) shared = SHARED_LONG;
    if (!dim_is_const(d, batch, &n)) n = x->last ? 1 : shared;
    for (int i = 0; i < x->last; i++) {
        int64_t each = x->band && i == x->last - 1 ? x->band : 1;
        n *= dim_is_const(d, x->w->out[i], &rows) ? (rows + each - 1) / each : shared;
    }
    for (int64_t part = 2; part * K_LANES <= c && n * (best ? c / best : 1) < shared; part++) {
        if (c % part == 0 && c / part % (x->near ? x->near : K_LANES) == 0) best = c / part;
    }
    return best;
}

/* Bands of output rows for kernels whose window rows, whole, exceed half of the first cache: a block then goes down the
 * rows of its band with as many channels as stay there together, so that what two rows see comes from the second cache
 * once, not for each of them. At least two bands: neighbours are shared among threads like the rows of other steps. */
static void choose_band(Wn *x)
{
    Dims *d = &x->n->l->m->dims;
    const Window *w = x->w;
    const KTarget *t = &x->n->l->k->target;
    int a = x->last, up = a - 1;
    int64_t rows, width, c, most = block_of(t), room = t->l1_bytes / 2 / (dtype_info(kbuf(x->n->l->k, x->n->in)->elem)->bits / 8);
    if (!x->lanes_are_channels || a < 1 || x->n->per != 1 || is_long(x)) return;
    if (!dim_is_const(d, x->n->channels, &c) || !dim_is_const(d, w->out[up], &rows) || !dim_is_const(d, w->in[a], &width)) return;
    int64_t high = (w->kernel[up] - 1) * w->dilation[up] + 1, wide = (most - 1) * w->stride[a] + (w->kernel[a] - 1) * w->dilation[a] + 1;
    if (rows < BAND_ROWS / 2 || high <= w->stride[up] || high * width * c <= room) return;
    int64_t parts = c / K_LANES, fit = room / (high * wide + w->taps * max64(x->n->group, 1) + most);
    for (int64_t n = 1; c % K_LANES == 0 && n <= parts && !x->near; n++)
        if (parts % n == 0 && c / n <= fit) x->near = c / n;
    if (x->near < NEAR_LEAST) {
        x->near = 0;
        return;
    }
    int64_t bands = max64((rows + BAND_ROWS - 1) / BAND_ROWS, 2);
    x->band = (rows + bands - 1) / bands;
}

void window_nest(WindowNest *n)
{
    Lw *l = n->l;
    Wn x = {.n = n, .b = l->b, .w = n->w, .last = n->w->n - 1, .src = kb_param(l->b, n->in, false)};
    Kb *b = l->b;
    Dims *d = &l->m->dims;
    int depth = 0, rank = 2 + n->w->n;
    bool one = dim_is(d, n->channels, 1);
    x.lanes_are_channels = n->group || (!one && unit_stride(l, n->in, 1) && !unit_stride(l, n->in, rank - 1));
    Dim batch = dim_resolve(d, kbuf(l->k, n->in)->dim[0]);
    choose_band(&x);
    int64_t part = x.lanes_are_channels ? chunk_of(&x, batch) : 0;
    int own = x.last - (x.band > 0); /* axes before the last whose windows are taken one by one */
    x.chunk = part ? dim_const(d, part) : n->channels;
    x.chan0 = kb_i(b, 0);
    x.out[0] = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, batch));
    depth++;
    if (x.band) {
        for (int i = 0; i < own; i++, depth++) x.out[2 + i] = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, n->w->out[i]));
        Dim rows = n->w->out[own];
        x.row0 = kb_mul(b, kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, dim_ceildiv(d, rows, dim_const(d, x.band)))), kb_i(b, x.band));
        x.rows = kb_min(b, kb_i(b, x.band), kb_sub(b, kb_dim(b, rows), x.row0));
        depth++;
    }
    if (part || !x.lanes_are_channels) {
        Dim many = part ? dim_div(d, n->channels, x.chunk) : n->channels;
        KVal q = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, many));
        if (part) x.chan0 = kb_mul(b, q, kb_i(b, part));
        else x.out[1] = q;
        depth++;
    }
    for (int i = 0; i < own && !x.band; i++, depth++) x.out[2 + i] = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, n->w->out[i]));
    for (int i = 0; i < own; i++) range(&x, i, x.out[2 + i]);
    row(&x);
    for (; depth; depth--) kb_end(b);
}
