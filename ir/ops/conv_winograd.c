/* conv_winograd.c: convolutions by minimal filtering (ir/winograd.h): an m x m tile of outputs of an r x r kernel takes
 * n^2 products per pair of channels, n = m+r-1, where direct sums take r^2 m^2. With a stride of s and r*s x r*s taps, each
 * of the s*s places within a step is a channel (ic counts them all): those of a row of the input lie side by side.
 *
 *   for q = 0..blocks*groups par {                       a block of tiles, a group of panels of output channels
 *     for each tile i of the block:   V[xi][i][ic] = B^T d B            lanes over input channels
 *     for each panel of the group {
 *       for xi < n^2:                 M[xi][i][oc] = macc V[xi] * U[panel][xi]
 *       for each tile i:              y = A^T M A, bias, what follows   lanes over output channels
 *     }
 *   }
 * V and M are scratch of the thread and take half of L2; the weights stream through once per block. Where there are few
 * blocks (small images, many channels) the panels are shared among threads too: each group transforms the block's
 * inputs for itself, which costs little beside its products. Tiles at the border read zeros: those that need none have
 * a loop without predicates. Tiles cut by the end of the image go through scratch and store what is inside. A MaxPool
 * of 2 x 2 windows takes its maxima before anything is stored: windows never cross tiles.
 *
 * Where the weights that pass would push V and M out of L2, planes come in turns of one row of the tile
 * (WinogradPlan.by_rows), with one panel a group:
 *       for r < n {
 *         for each tile i:            V[j][i][ic] = (row r of B^T) d B
 *         for j < n:                  M[j][i][oc] = macc V[j] * U[panel][r][j]
 *         for each tile i:            part[r][i][oc] = M A, or behind the last row y = A^T part, ...
 *       } */
#include "ir/ops/conv_winograd.h"
#include "base/num.h"
#include "ir/ops/pool.h"

enum {
    PAD = 16,  /* elements between the planes of V and M: their distance is no power of two */
    POOLED = 2 /* outputs of a window of the MaxPool, along each axis */
};

typedef struct Wn {
    Lw *l;
    Node pool;                         /* or none */
    const ConvCase *c;
    Winograd f;
    ConvRows r;                        /* how the input lies */
    int64_t ic, run, oc, panel, tiles; /* ic: places within a step and their channels; run: that lie side by side; tiles: of a block */
    bool dense;                        /* x is [image, row, column and channel]: run is of all places in a row */
    Dim rows, cols, per_image, all;    /* tiles along the image's axes, of an image, of what blocks are cut from */
    bool across;                       /* that is the batch (all sizes are known); else an image */
    KVal image;
    bool by_rows;                      /* planes in turns of one row of the tile */
    uint32_t x, u, v, sum, y, part;    /* parameters and locals */
    int64_t v_plane, m_plane;
} Wn;

/* ---- linear combinations ---- */

static KVal scaled(Kb *b, KVal x, double c)
{
    return c == 1 ? x : c == -1 ? kb_un(b, KOP_NEG, x) : kb_mul(b, x, kb_const_f(b, DT_F32, c));
}

/* acc + c*x; acc 0: nothing yet. */
static KVal plus(Kb *b, KVal acc, KVal x, double c)
{
    if (c == 0) return acc;
    if (!acc.i) return scaled(b, x, c);
    if (c == 1) return kb_add(b, acc, x);
    if (c == -1) return kb_sub(b, acc, x);
    return kb_fma(b, x, kb_const_f(b, DT_F32, c), acc);
}

/* The sum of c[i]*x[i*step]. A term that needs no multiplication comes first, best without a sign. */
static KVal combination(Kb *b, int n, const double *c, const KVal *x, int step)
{
    int first = -1;
    for (int i = 0; i < n; i++)
        if (c[i] == 1) first = i;
    for (int i = 0; first < 0 && i < n; i++)
        if (c[i] != 0 && c[i] != -1) first = i;
    KVal sum = {0};
    if (first >= 0) sum = scaled(b, x[first * step], c[first]);
    for (int i = 0; i < n; i++)
        if (i != first) sum = plus(b, sum, x[i * step], c[i]);
    return sum.i ? sum : kb_const_f(b, DT_F32, 0);
}

/* to[j] = sum of B^T[j][i]*x[i]. Rows of points p and -p share what is even and what is odd in i. */
static void input_line(Kb *b, const Winograd *f, const KVal *x, int step, KVal *to, int to_step)
{
    for (int j = 0; j < f->n; j++) {
        bool pair = j % 2 ? j + 1 < f->n - 1 : j > 0 && j < f->n - 1;
        if (!pair) to[j * to_step] = combination(b, f->n, f->bt[j], x, step);
        if (!pair || j % 2 == 0) continue;
        double even[WINOGRAD_N], odd[WINOGRAD_N], p = 1;
        for (int i = 0; i < f->n; i++) {
            even[i] = (f->bt[j][i] + f->bt[j + 1][i]) / 2;
            odd[i] = (f->bt[j][i] - f->bt[j + 1][i]) / 2;
            if (odd[i] != 0) p = odd[i]; /* the last one's: of the highest power, whose factor is the point */
        }
        for (int i = 0; i < f->n; i++) odd[i] /= p;
        KVal e = combination(b, f->n, even, x, step), o = combination(b, f->n, odd, x, step);
        to[j * to_step] = plus(b, e, o, p);
        to[(j + 1) * to_step] = plus(b, e, o, -p);
    }
}

/* to[i] = sum of A^T[i][j]*x[j]: sums and differences of the products of p and -p serve all rows. */
static void output_line(Kb *b, const Winograd *f, const KVal *x, int step, KVal *to, int to_step)
{
    KVal both[2][WINOGRAD_N]; /* even and odd rows */
    int pairs = f->n - 2 - f->n % 2; /* points behind 0 that come with their negative */
    for (int j = 1; j <= pairs; j += 2) {
        KVal p = x[j * step], q = x[(j + 1) * step];
        both[0][j] = kb_add(b, p, q);
        both[1][j] = kb_sub(b, p, q);
    }
    for (int i = 0; i < f->m; i++) {
        KVal sum = {0};
        for (int j = 1; j <= pairs; j += 2) sum = plus(b, sum, both[i % 2][j], f->at[i][j]);
        for (int j = pairs + 1; j < f->n - 1; j++) sum = plus(b, sum, x[j * step], f->at[i][j]);
        sum = plus(b, sum, x[0], f->at[i][0]);
        to[i * to_step] = plus(b, sum, x[(f->n - 1) * step], f->at[i][f->n - 1]);
    }
}

/* ---- tiles ---- */

typedef struct Place { KVal image, tile[2], at[2]; } Place; /* at: the first output */

static Place place(const Wn *x, Kb *b, KVal tile)
{
    Dims *d = kb_module(b)->dims;
    Place p = {.image = x->image};
    KVal rest = tile;
    if (x->across && !dim_is(d, x->c->batch, 1)) {
        KVal per = kb_dim(b, x->per_image);
        p.image = kb_bin(b, KOP_FLOORDIV, tile, per);
        rest = kb_bin(b, KOP_MOD, tile, per);
    }
    p.tile[0] = kb_bin(b, KOP_FLOORDIV, rest, kb_dim(b, x->cols));
    p.tile[1] = kb_bin(b, KOP_MOD, rest, kb_dim(b, x->cols));
    for (int i = 0; i < 2; i++) p.at[i] = kb_mul(b, p.tile[i], kb_i(b, x->f.m));
    return p;
}

static KVal both(Kb *b, KVal p, KVal q) { return !p.i ? q : !q.i ? p : kb_and(b, p, q); }

/* A loop that runs once if p (0: always) is `want`. Close with kb_end. */
static void when(Kb *b, KVal p, bool want)
{
    KVal one = kb_i(b, 1), none = kb_i(b, 0);
    kb_for(b, KLOOP_SEQ, none, p.i ? kb_select(b, p, want ? one : none, want ? none : one) : one);
}

/* Positions first[] .. of the input along axis i that may lie outside, all checked at once: a KVal 0 when none can. */
static KVal axis_inside(const Wn *x, Kb *b, int i, KVal first)
{
    Dims *d = kb_module(b)->dims;
    const Window *w = &x->c->w;
    /* the last tile may reach beyond what windows read */
    Dim steps = dim_add(d, dim_mul(d, i ? x->cols : x->rows, dim_const(d, x->f.m)), dim_const(d, x->f.r - 1)),
        reach = dim_sub(d, dim_mul(d, steps, dim_const(d, w->stride[i])), w->begin[i]);
    KVal in = {0};
    if (w->below[i]) in = kb_ge(b, first, kb_i(b, 0));
    if (dim_le(d, reach, w->in[i]) != TRI_YES)
        in = both(b, in, kb_ge(b, kb_dim(b, w->in[i]), kb_add(b, first, kb_i(b, x->f.n * w->stride[i]))));
    return in;
}

/* V[..][i][..] of one tile, or of one row of it. checked: positions outside of the image are zeros. */
static void input_tile(const Wn *x, Kb *b, KVal i, const Place *p, const KVal *first, bool checked, int only)
{
    int n = x->f.n;
    const Window *w = &x->c->w;
    KVal d[WINOGRAD_N * WINOGRAD_N], half[WINOGRAD_N * WINOGRAD_N] = {0}, to[WINOGRAD_N * WINOGRAD_N], at[2][WINOGRAD_N], in[2][WINOGRAD_N];
    KVal row = kb_mul(b, i, kb_i(b, x->ic)), from[2] = {first[0], first[1]};
    int64_t unit = x->dense ? x->run / w->stride[1] : 1; /* elements of a column */
    for (int a = 0; a < 2; a++) {
        if (w->stride[a] == 1 || (a && x->dense)) continue;
        KVal place = kb_for(b, KLOOP_SEQ, kb_i(b, 0), kb_i(b, w->stride[a]));
        row = kb_add(b, row, kb_mul(b, place, kb_i(b, a ? x->run : x->ic / w->stride[0])));
        from[a] = kb_add(b, from[a], place);
    }
    KVal c = kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_i(b, x->run));
    if (x->dense) from[1] = kb_add(b, kb_mul(b, from[1], kb_i(b, unit)), c);
    for (int a = 0; a < 2; a++)
        for (int k = 0; k < n; k++) {
            int64_t each = a ? unit : 1;
            at[a][k] = kb_add(b, from[a], kb_i(b, k * w->stride[a] * each));
            Dim end = dim_mul(kb_module(b)->dims, w->in[a], dim_const(kb_module(b)->dims, each));
            in[a][k] = kb_lt(b, kb_cast(b, DT_U64, at[a][k]), kb_cast(b, DT_U64, kb_dim(b, end)));
        }
    KVal pred[WINOGRAD_N * WINOGRAD_N];
    for (int k = 0; checked && k < n * n; k++) pred[k] = kb_and(b, in[0][k / n], in[1][k % n]);
    for (int k = 0; k < n * n; k++) {
        KVal idx[4] = {p->image, x->dense ? at[0][k / n] : c, x->dense ? at[1][k % n] : at[0][k / n], at[1][k % n]};
        d[k] = (KVal){0};
        if (only >= 0 && x->f.bt[only][k / n] == 0) continue;
        d[k] = checked ? kb_load_if(b, x->x, idx, pred[k], (KVal){0}) : kb_load(b, x->x, idx);
    }
    for (int k = 0; k < n; k++)
        if (only < 0) input_line(b, &x->f, d + k, n, half + k, n);
        else half[k] = combination(b, n, x->f.bt[only], d + k, n);
    for (int k = 0; k < (only < 0 ? n : 1); k++) input_line(b, &x->f, half + k * n, 1, to + k * n, 1);
    for (int k = 0; k < (only < 0 ? n * n : n); k++) kb_store(b, x->v, (KVal[]){kb_i(b, k), kb_add(b, row, c)}, to[k]);
    kb_end(b);
    for (int a = 0; a < 2; a++)
        if (w->stride[a] > 1 && !(a && x->dense)) kb_end(b);
}

/* only: the row of the tile, -1: all. */
static void input(const Wn *x, Kb *b, KVal t0, KVal count, int only)
{
    KVal i = kb_for(b, KLOOP_SEQ, kb_i(b, 0), count), first[2], in = {0};
    /* blocks are whole: what is missing to the last one repeats the last tile */
    Place p = place(x, b, kb_min(b, kb_add(b, t0, i), kb_sub(b, kb_dim(b, x->all), kb_i(b, 1))));
    for (int a = 0; a < 2; a++) {
        first[a] = kb_sub(b, kb_mul(b, p.at[a], kb_i(b, x->c->w.stride[a])), kb_dim(b, x->c->w.begin[a]));
        in = both(b, in, axis_inside(x, b, a, first[a]));
    }
    for (int checked = 0; checked <= (in.i != 0); checked++) {
        when(b, in, !checked);
        input_tile(x, b, i, &p, first, checked, only);
        kb_end(b);
    }
    kb_end(b);
}

/* M of all planes, or of those of one row of the tile. */
static void products(const Wn *x, Kb *b, KVal rows, KVal panel, KVal cols, KVal row)
{
    int64_t planes = x->f.n * x->f.n;
    KVal local = kb_for(b, KLOOP_SEQ, kb_i(b, 0), kb_i(b, x->by_rows ? x->f.n : planes)), lanes = kb_i(b, K_LANES);
    KVal xi = x->by_rows ? kb_add(b, kb_mul(b, row, kb_i(b, x->f.n)), local) : local;
    KVal wide = kb_mul(b, kb_div(b, kb_add(b, cols, kb_i(b, K_LANES - 1)), lanes), lanes);
    KVal u0 = kb_add(b, kb_mul(b, panel, kb_i(b, planes * x->panel * x->ic)), kb_mul(b, kb_mul(b, xi, wide), kb_i(b, x->ic)));
    KVal plane = kb_mul(b, local, kb_i(b, x->v_plane));
    int64_t most = ceil_div(x->ic, winograd_sums(&x->f, x->ic));
    for (int64_t k0 = 0; k0 < x->ic; k0 += most) {
        int64_t K = min64(most, x->ic - k0);
        KMacc spec = {.a = x->v, .b = x->u, .m_inner = true, .b_packed = true, .acc = DT_F32, .b_next = x->panel * x->ic};
        TileProblem p = {.acc = DT_F32, .a_type = DT_F32, .b_type = DT_F32, .M = x->tiles, .N = x->panel, .K = K, .T = 1,
                         .a_row_bytes = x->ic * 4, .a_plain = true, .b_packed = true, .pack_kc = x->ic};
        TileChoice t = contract_choose(&kb_module(b)->target, &p);
        spec.mr = (uint8_t)t.mr, spec.nv = (uint8_t)t.nv;
        KVal args[KM_ARGS] = {[KM_ROWS] = rows, [KM_COLS] = cols, [KM_K] = kb_i(b, K), [KM_T] = kb_i(b, 1),
                              [KM_AK] = kb_i(b, 1), [KM_BK] = lanes, [KM_BSTRIP] = kb_i(b, x->ic * K_LANES)};
        KbMacc m;
        kb_macc(b, &m, &spec, args);
        kb_macc_addr(b, &m, kb_add(b, kb_add(b, plane, kb_i(b, k0)), kb_mul(b, m.i, kb_i(b, x->ic))), (KVal){0},
                     k0 ? kb_add(b, u0, kb_i(b, k0 * K_LANES)) : u0);
        kb_macc_epilogue(b, &m);
        KVal at[2] = {local, kb_add(b, kb_mul(b, m.i, kb_i(b, x->panel)), m.j)};
        kb_store(b, x->sum, at, k0 ? kb_add(b, m.acc, kb_load(b, x->sum, at)) : m.acc);
        kb_macc_end(b, &m);
    }
    kb_end(b);
}

/* ---- outputs ---- */

/* Opens the loop over the panel's channels: *j inside the panel, *oc the channel. */
static void channels(Kb *b, KVal n0, KVal cols, KVal *j, KVal *oc)
{
    *j = kb_for(b, KLOOP_VEC, kb_i(b, 0), cols);
    *oc = kb_add(b, n0, *j);
}

static void output_values(const Wn *x, Kb *b, KVal i, KVal j, KVal *y)
{
    int n = x->f.n, m = x->f.m;
    KVal s[WINOGRAD_N * WINOGRAD_N], half[WINOGRAD_N * WINOGRAD_N], row = kb_add(b, kb_mul(b, i, kb_i(b, x->panel)), j);
    if (x->by_rows) {
        for (int k = 0; k < n; k++) s[k] = kb_load(b, x->sum, (KVal[]){kb_i(b, k), row});
        output_line(b, &x->f, s, 1, half + (n - 1) * m, 1);
        for (int k = 0; k < (n - 1) * m; k++) half[k] = kb_load(b, x->part, (KVal[]){kb_i(b, k), row});
        for (int k = 0; k < m; k++) output_line(b, &x->f, half + k, m, y + k, m);
        return;
    }
    for (int k = 0; k < n * n; k++) s[k] = kb_load(b, x->sum, (KVal[]){kb_i(b, k), row});
    for (int k = 0; k < n; k++) output_line(b, &x->f, s + k, n, half + k, n);
    for (int k = 0; k < m; k++) output_line(b, &x->f, half + k * n, 1, y + k * m, 1);
}

static void put(const Wn *x, Kb *b, const Place *p, KVal row, KVal col, KVal oc, KVal bias, KVal y)
{
    KVal idx[4] = {p->image, oc, kb_add(b, p->at[0], row), kb_add(b, p->at[1], col)};
    lw_put(x->l, 0, idx, bias.i ? kb_add(b, y, bias) : y);
}

/* Stores window (row, col) of a tile's MaxPool; y: its four outputs. */
static void put_pooled(const Wn *x, Kb *b, const Place *p, KVal row, KVal col, KVal oc, KVal bias, const KVal *y)
{
    Lw *l = x->l;
    Value from = node_out(l->g, l->n, 0), to = node_in(l->g, x->pool, 0);
    PoolSum sum = {.kind = POOL_MAX, .type = DT_F32};
    KVal at[2] = {row, col}, per = kb_i(b, x->f.m / POOLED), most = {0};
    for (int i = 0; i < 2; i++) at[i] = kb_add(b, kb_mul(b, p->tile[i], per), at[i]);
    for (int k = 0; k < POOLED * POOLED; k++) {
        KVal idx[4] = {p->image, oc};
        for (int i = 0; i < 2; i++) {
            KVal in = kb_i(b, i ? k % POOLED : k / POOLED);
            idx[2 + i] = kb_add(b, kb_mul(b, at[i], kb_i(b, POOLED)), in);
        }
        KVal v = lw_value_from(l, from, bias.i ? kb_add(b, y[k], bias) : y[k], to, idx);
        most = k ? pool_join(b, &sum, most, v) : v;
    }
    lw_group_store(l, 0, (KVal[]){p->image, oc, at[0], at[1]}, most);
}

/* All outputs of a tile. */
static void put_tile(const Wn *x, Kb *b, const Place *p, KVal oc, KVal bias, const KVal *y)
{
    int m = x->f.m, step = x->pool.i ? POOLED : 1;
    for (int r = 0; r < m; r += step)
        for (int c = 0; c < m; c += step) {
            const KVal *at = y + r * m + c;
            KVal row = kb_i(b, r / step), col = kb_i(b, c / step);
            if (x->pool.i) put_pooled(x, b, p, row, col, oc, bias, (KVal[]){at[0], at[1], at[m], at[m + 1]});
            else put(x, b, p, row, col, oc, bias, *at);
        }
}

/* Those of a tile that the image's end cuts: left[] rows and columns of it are inside. */
static void put_cut(const Wn *x, Kb *b, const Place *p, const KVal *left, KVal n0, KVal cols)
{
    int m = x->f.m, step = x->pool.i ? POOLED : 1;
    KVal row, col, j, oc, y[POOLED * POOLED], per = kb_i(b, step), width = kb_i(b, m);
    row = kb_for(b, KLOOP_SEQ, kb_i(b, 0), step > 1 ? kb_div(b, left[0], per) : left[0]);
    col = kb_for(b, KLOOP_SEQ, kb_i(b, 0), step > 1 ? kb_div(b, left[1], per) : left[1]);
    KVal k = kb_add(b, kb_mul(b, kb_mul(b, row, per), width), kb_mul(b, col, per));
    channels(b, n0, cols, &j, &oc);
    for (int i = 0; i < step * step; i++)
        y[i] = kb_load(b, x->y, (KVal[]){kb_add(b, k, kb_i(b, i / step * m + i % step)), j});
    KVal bias = lw_has(x->l, 2) ? lw_at(x->l, 2, &oc) : (KVal){0};
    if (x->pool.i) put_pooled(x, b, p, row, col, oc, bias, y);
    else put(x, b, p, row, col, oc, bias, y[0]);
    for (int i = 0; i < 3; i++) kb_end(b);
}

/* part[r] = M A of row r of the tile. */
static void output_part(const Wn *x, Kb *b, KVal live, KVal cols, KVal r)
{
    int n = x->f.n, m = x->f.m;
    KVal i = kb_for(b, KLOOP_SEQ, kb_i(b, 0), live), j = kb_for(b, KLOOP_VEC, kb_i(b, 0), cols);
    KVal s[WINOGRAD_N], z[WINOGRAD_N];
    KVal row = kb_add(b, kb_mul(b, i, kb_i(b, x->panel)), j);
    for (int k = 0; k < n; k++) s[k] = kb_load(b, x->sum, (KVal[]){kb_i(b, k), row});
    output_line(b, &x->f, s, 1, z, 1);
    for (int k = 0; k < m; k++)
        kb_store(b, x->part, (KVal[]){kb_add(b, kb_mul(b, r, kb_i(b, m)), kb_i(b, k)), row}, z[k]);
    kb_end(b);
    kb_end(b);
}

static void output(const Wn *x, Kb *b, KVal t0, KVal live, KVal n0, KVal cols)
{
    Dims *d = kb_module(b)->dims;
    const Window *w = &x->c->w;
    int m = x->f.m;
    KVal i = kb_for(b, KLOOP_SEQ, kb_i(b, 0), live), whole = {0}, left[2], j, oc, y[WINOGRAD_N * WINOGRAD_N];
    Place p = place(x, b, kb_add(b, t0, i));
    for (int a = 0; a < 2; a++) {
        left[a] = kb_min(b, kb_i(b, m), kb_sub(b, kb_dim(b, w->out[a]), p.at[a]));
        if (!dim_multiple_of(d, w->out[a], m)) whole = both(b, whole, kb_ge(b, left[a], kb_i(b, m)));
    }
    when(b, whole, true);
    channels(b, n0, cols, &j, &oc);
    output_values(x, b, i, j, y);
    put_tile(x, b, &p, oc, lw_has(x->l, 2) ? lw_at(x->l, 2, &oc) : (KVal){0}, y);
    kb_end(b);
    kb_end(b);
    if (whole.i && !(x->pool.i && m == POOLED)) { /* a cut tile of one window has none left */
        when(b, whole, false);
        channels(b, n0, cols, &j, &oc);
        output_values(x, b, i, j, y);
        for (int k = 0; k < m * m; k++) kb_store(b, x->y, (KVal[]){kb_i(b, k), j}, y[k]);
        kb_end(b);
        put_cut(x, b, &p, left, n0, cols);
        kb_end(b);
    }
    kb_end(b);
}

/* ---- the kernel ---- */

/* A block of tiles and a panel, row of the tile by row. */
static void block_by_rows(const Wn *x, Kb *b, KVal t0, KVal rows, KVal live, KVal panel, KVal n0, KVal cols)
{
    KVal r = kb_for(b, KLOOP_SEQ, kb_i(b, 0), kb_i(b, x->f.n)), more = kb_lt(b, r, kb_i(b, x->f.n - 1));
    for (int k = 0; k < x->f.n; k++) {
        when(b, kb_eq(b, r, kb_i(b, k)), true);
        input(x, b, t0, rows, k);
        kb_end(b);
    }
    products(x, b, rows, panel, cols, r);
    when(b, more, true);
    output_part(x, b, live, cols, r);
    kb_end(b);
    when(b, more, false);
    output(x, b, t0, live, n0, cols);
    kb_end(b);
    kb_end(b);
}

static bool applies(Lw *l, const ConvCase *c, int64_t *ic, int64_t *oc, Blob *weights)
{
    Dims *d = &l->m->dims;
    if (lw_elem(l, 0) != DT_F32 || !dim_is_const(d, c->ic, ic) ||
        !dim_is_const(d, c->oc, oc) || *ic < 1 || *oc < 1 || !lw_const(l, 1, weights))
        return false;
    const BlobRec *r = blob_rec(&l->m->blobs, *weights);
    return r->elem == DT_F32 && r->kind != BLOB_STRINGS && (r->kind != BLOB_DERIVED || r->recipe->kind == RECIPE_GRAPH);
}

static KBuf transformed(Wn *x, Blob weights)
{
    Lw *l = x->l;
    Recipe r = {.kind = RECIPE_WINOGRAD, .src = {weights}, .n_src = 1, .m = x->f.m, .K = x->ic, .N = x->oc, .panel = x->panel,
                .stride_k = x->c->w.taps, .stride_n = x->ic * x->f.r * x->f.r};
    if (x->f.r != 3 || x->c->w.taps != 9) r.r = x->f.r, r.step[0] = x->c->w.stride[0], r.step[1] = x->c->w.stride[1];
    Dim count = dim_const(&l->m->dims, recipe_winograd_count(&r));
    return lw_const_buf(l, blob_derived(&l->m->blobs, DT_F32, recipe_winograd_count(&r), &r), "winograd", 1, &count);
}

/* x as [image, row, column and channel]. */
static KBuf by_lines(const Wn *x, KBuf src)
{
    Lw *l = x->l;
    Dims *d = &l->m->dims;
    const Dim *in = x->c->w.in, dim[3] = {x->c->batch, in[0], dim_mul(d, in[1], dim_const(d, x->run))},
              stride[3] = {x->r.lie_batch, x->r.lie[0], dim_const(d, 1)};
    const KBufRec *r = kbuf(l->k, src);
    bool view = r->space == KS_VIEW && kbuf(l->k, r->base)->elem == r->elem; /* BitCast reads another type */
    return kbuf_view(l->k, view ? r->base : src, (Name){0}, 3, dim, stride, view ? r->offset : dim_const(d, 0), l->loc);
}

bool conv_lower_winograd(Lw *l, const ConvCase *c, int m, Node pool)
{
    Dims *d = &l->m->dims;
    const Window *w = &c->w;
    Wn x = {.l = l, .pool = pool, .c = c, .r = {.n = 2}};
    Blob weights;
    int r = winograd_window(w, c->group);
    if (!winograd_make(m, r, &x.f) || !applies(l, c, &x.ic, &x.oc, &weights)) return false;
    x.run = x.ic;
    x.ic = winograd_channels(w, x.ic);
    int64_t planes = x.f.n * x.f.n, known;
    Dim step = dim_const(d, m);
    x.rows = dim_ceildiv(d, w->out[0], step);
    x.cols = dim_ceildiv(d, w->out[1], step);
    x.per_image = dim_mul(d, x.rows, x.cols);
    x.all = dim_mul(d, c->batch, x.per_image);
    x.across = dim_is_const(d, x.all, &known);
    if (!x.across) x.all = x.per_image;
    bool fixed = dim_is_const(d, x.all, &known);
    if (fixed && known < 1) return false;
    WinogradPlan plan = winograd_plan(&l->k->target, m, r, x.ic, x.oc, fixed ? known : -1);
    x.tiles = plan.tiles;
    x.panel = plan.panel;
    Dim blocks = dim_ceildiv(d, x.all, dim_const(d, x.tiles));
    x.by_rows = plan.by_rows;
    int64_t groups = plan.groups, panels = ceil_div(x.oc, x.panel), per_group = ceil_div(panels, groups);

    x.v_plane = x.tiles * x.ic + PAD;
    x.m_plane = x.tiles * x.panel + PAD;
    KBuf src = lw_in_strided(l, 0);
    conv_rows_lie(l, &x.r, src);
    if (!dim_is(d, x.r.lie_channel, 1) && x.run > 1) {
        src = conv_channels_last(l, NULL, NULL);
        conv_rows_lie(l, &x.r, src);
    }
    x.dense = w->stride[1] > 1 && dim_is(d, x.r.lie[1], x.run);
    if (x.dense) {
        src = by_lines(&x, src);
        x.run *= w->stride[1];
    }
    KBuf u = transformed(&x, weights);
    if (!pool.i) lw_prepare_out(l); /* that of the group is there */
    Kb *b = lw_kernel(l, "conv_winograd");
    x.x = kb_param(b, src, false);
    x.u = kb_param(b, u, false);
    int64_t there = x.by_rows ? x.f.n : planes;
    x.v = kb_local(b, "inputs", DT_F32, 2, (Dim[]){dim_const(d, there), dim_const(d, x.v_plane)});
    x.sum = kb_local(b, "products", DT_F32, 2, (Dim[]){dim_const(d, there), dim_const(d, x.m_plane)});
    if (x.by_rows) x.part = kb_local(b, "parts", DT_F32, 2, (Dim[]){dim_const(d, (x.f.n - 1) * m), dim_const(d, x.m_plane)});
    if (!dim_multiple_of(d, w->out[0], m) || !dim_multiple_of(d, w->out[1], m))
        x.y = kb_local(b, "outputs", DT_F32, 2, (Dim[]){dim_const(d, m * m), dim_const(d, x.panel)});

    Dim all_blocks = x.across ? blocks : dim_mul(d, c->batch, blocks);
    KVal q = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, dim_mul(d, all_blocks, dim_const(d, groups))));
    KVal block = groups > 1 ? kb_bin(b, KOP_FLOORDIV, q, kb_i(b, groups)) : q,
         group = groups > 1 ? kb_bin(b, KOP_MOD, q, kb_i(b, groups)) : kb_i(b, 0);
    x.image = kb_i(b, 0);
    if (!x.across && !dim_is(d, c->batch, 1)) {
        x.image = kb_bin(b, KOP_FLOORDIV, block, kb_dim(b, blocks));
        block = kb_bin(b, KOP_MOD, block, kb_dim(b, blocks));
    }
    KVal t0 = kb_mul(b, block, kb_i(b, x.tiles)), live = kb_i(b, x.tiles);
    if (!fixed || known % x.tiles) live = kb_min(b, live, kb_sub(b, kb_dim(b, x.all), t0));
    KVal rows = fixed ? kb_i(b, x.tiles) : live;
    if (!x.by_rows) input(&x, b, t0, rows, -1);
    KVal from = kb_mul(b, group, kb_i(b, per_group)), to = kb_add(b, from, kb_i(b, per_group));
    if (panels % per_group) to = kb_min(b, to, kb_i(b, panels));
    KVal panel = kb_for(b, KLOOP_SEQ, from, to), n0 = kb_mul(b, panel, kb_i(b, x.panel)), cols = kb_i(b, x.panel);
    if (x.oc % x.panel) cols = kb_min(b, cols, kb_sub(b, kb_i(b, x.oc), n0));
    if (x.by_rows) block_by_rows(&x, b, t0, rows, live, panel, n0, cols);
    else {
        products(&x, b, rows, panel, cols, (KVal){0});
        output(&x, b, t0, live, n0, cols);
    }
    kb_end(b);
    kb_end(b);
    lw_kernel_end(l);
    return true;
}
