/* conv_winograd_plan.c: blocks and costs of minimal filtering, and its error: see conv_winograd.h.
 *
 * Cycles are counted for two multiply-add ports, as contract_choose does. What decides between direct sums, m = 2 and
 * m = 4 is multiply-adds (9 : 4 : 2.25; of 2 x 2 taps 4 : 2.25, m = 3 1.78), transforms (a fixed count per tile and vector of channels) and weights, which
 * are 16/9 and 4 times as many and come from memory once per run, and from the next cache once per block where they
 * exceed L2. While they pass they push out of L2 what the block computed: all planes at once wait for the weights of
 * the whole panel, planes in turns of a row (by_rows) for a quarter of them. */
#include "ir/ops/conv_winograd.h"
#include "base/num.h"
#include "ir/kernel/contract.h"
#include <math.h>
#include <string.h>

enum {
    TILES_MOST = 64,    /* tiles of a block: more rows do not make the products faster */
    TILES_LEAST = 12,
    TILES_RUNNING = 48, /* of a block of an image of unknown size, */
    PIXELS_GUESS = 56 * 56, /* and how many pixels it is taken to have */
    PANEL = 64,         /* output channels of a panel */
    PANELS_MOST = 8,    /* of them together: each panel reads the transformed inputs anew */
    UNITS = 8,          /* so many pieces of work are welcome for sharing among threads, */
    CHANNELS_OWN = 32,  /* if a group keeps so many output channels: the input transform is repeated for each group */
    CALL = 120,         /* cycles around a product of planes */
    SUMS_FROM = 2 * K_LANES /* channels */
};
static const double STORE = 2.5,     /* cycles of a vector of products beside its multiply-adds */
    UNSHARED = 1.06, ODD = 0.5;      /* prices for fewer pieces than half of UNITS, for one that two threads do not share */
/* Bytes per cycle that arrive from the cache behind L2 where what the block itself computed is mixed with the weights,
 * if that cache is of the slowest (contract_far_rate), and from L2. */
static const double NEXT_RATE = 8, NEAR_RATE = 25;
/* Cycles of a vector's transforms more when planes come row by row: inputs are loaded twice, sums of rows wait. And of
 * an input transform that each group repeats: its planes are in L2, not nearer. */
static const double IN_ROWS = 20, OUT_ROWS = 30, IN_REPEATED = 32;

int winograd_window(const Window *w, int64_t group)
{
    if (w->n != 2 || group != 1) return 0;
    int64_t r = w->kernel[0] / w->stride[0];
    for (int i = 0; i < w->n; i++)
        if (w->kernel[i] != r * w->stride[i] || w->dilation[i] != 1) return 0;
    return r == 2 || r == 3 ? (int)r : 0;
}

int64_t winograd_channels(const Window *w, int64_t ic) { return w->stride[0] * w->stride[1] * ic; }

int winograd_sums(const Winograd *f, int64_t ic) { return f->m == 2 && f->r == 2 && ic >= SUMS_FROM ? 2 : 1; }

/* Registers of 16 floats. */
static double strip_registers(const KTarget *t) { return t->vec_bits >= 512 ? 1 : t->vec_bits >= 256 ? 2 : 4; }

static int64_t second_cache(const KTarget *t) { return max64(t->l2_bytes, 256 << 10); }

/* What weights make products wait for that come from far once a run: a prefetch ahead, where there are few, they arrive
 * while those before them are multiplied. */
static double waits(const KTarget *t, double bytes, double products)
{
    double arrive = bytes / contract_memory_rate(t);
    return bytes > (double)second_cache(t) / 2 ? arrive : fmax(arrive - products, 0);
}

double winograd_direct_cycles(const KTarget *t, int64_t sums, int64_t oc, int64_t pixels)
{
    if (pixels < 0) pixels = PIXELS_GUESS;
    double all = (double)ceil_div(oc, K_LANES) * (double)sums, products = (double)pixels * all * strip_registers(t) / 2;
    return products + waits(t, all * K_LANES * 4, products);
}

/* The share of what L2 was given that it has given up again when `bytes` have passed since. Pages lie anywhere in it, so
 * half of it counts. */
static double gone(int64_t l2, double bytes) { return bytes > (double)l2 / 2 ? 1 - (double)l2 / 2 / bytes : 0; }

static WinogradPlan plan(const KTarget *t, const Winograd *f, int64_t ic, int64_t oc, int64_t tiles, int64_t block, int64_t panel,
                         bool by_rows)
{
    int m = f->m;
    int64_t planes = f->n * f->n, strips = ceil_div(oc, K_LANES), panels = ceil_div(oc, panel), blocks = ceil_div(tiles, block),
            l2 = second_cache(t);
    WinogradPlan p = {.tiles = block, .panel = panel, .by_rows = by_rows, .bytes = planes * strips * K_LANES * ic * 4};
    /* by port: additions and multiply-adds two a cycle, stores one */
    double in = (f->n == 3 ? 16 : f->n == 4 ? 32 : 110) + (by_rows ? IN_ROWS : 0),
           out = (f->n == 3 ? 18 : m == 2 ? 26 : m == 3 ? 34 : 95) + (by_rows ? OUT_ROWS : 0),
           s = strip_registers(t);
    p.groups = blocks >= UNITS ? 1 : min64(min64(ceil_div(UNITS, blocks), max64(oc / CHANNELS_OWN, 1)), panels);
    p.groups = ceil_div(panels, ceil_div(panels, p.groups));
    p.cycles = (double)(blocks * block * planes * strips) * (double)ic * s / 2;
    p.cycles += waits(t, (double)p.bytes, p.cycles);
    p.cycles += (double)tiles * s * ((in * (double)p.groups + IN_REPEATED * (double)(p.groups - 1)) * (double)ceil_div(ic, K_LANES) + out * (double)strips);
    /* a second sum adds to the first one's in time that nothing else needs */
    p.cycles += (double)(tiles * planes * strips) * s * STORE + (double)(blocks * panels * planes * winograd_sums(f, ic)) * CALL;
    if (p.bytes > l2 / 2) p.cycles += (double)p.bytes * (double)(blocks - 1) / contract_far_rate(t);
    /* what transforms and multiply-adds do not hide: every panel but the first reads the inputs again; what L2 has given
     * up while weights passed, half of them on average, is read from further away */
    int64_t v = planes * 4 * block * ic, sums = planes * 4 * block * panel, weights = planes * 4 * panel * ic,
            turns = by_rows ? f->n : 1;
    double next = fmax(NEXT_RATE, contract_far_rate(t) / 2);
    double pass = (double)weights / 2 + (double)(v + sums), far = gone(l2, pass / (double)turns);
    p.cycles += (double)(v * blocks * (panels - 1)) / NEAR_RATE;
    p.cycles += (double)((v + 2 * sums) * blocks * panels) * far / next;
    if (by_rows) p.cycles += (double)(2 * sums / turns * m * blocks * panels) * gone(l2, pass) / next;
    int64_t units = blocks * p.groups;
    if (units < UNITS / 2) p.cycles *= UNSHARED;
    p.cycles *= 1 + ODD * ((double)(units + units % 2) / (double)units - 1);
    return p;
}

WinogradPlan winograd_plan(const KTarget *t, int m, int r, int64_t ic, int64_t oc, int64_t tiles)
{
    Winograd f;
    if (!winograd_make(m, r, &f)) return (WinogradPlan){.cycles = INFINITY};
    int64_t l2 = second_cache(t), widest = min64(ceil_div(oc, K_LANES) * K_LANES, PANEL);
    if (tiles < 0) { /* blocks are cut from images while running */
        int64_t fit = l2 / 2 / (f.n * f.n * 4 * (ic + widest));
        return plan(t, &f, ic, oc, PIXELS_GUESS / (m * m), max64(min64(fit, TILES_RUNNING), TILES_LEAST), widest, false);
    }
    WinogradPlan best = {.cycles = INFINITY};
    int64_t all = ceil_div(oc, K_LANES) * K_LANES;
    int64_t least = tiles <= TILES_MOST ? min64(widest, CHANNELS_OWN) : widest; /* one block: half a panel for two threads */
    for (int64_t panel = least; panel <= PANELS_MOST * PANEL; panel = panel < all ? min64(2 * panel, all) : INT64_MAX)
        for (int64_t most = TILES_LEAST; most <= TILES_MOST; most += 4) {
            int64_t block = ceil_div(tiles, ceil_div(tiles, most));
            for (int by_rows = 0; by_rows <= (m < 4); by_rows++) {
                WinogradPlan p = plan(t, &f, ic, oc, tiles, block, panel, by_rows);
                if (by_rows && p.groups * panel < oc) continue; /* one panel a group: inputs are transformed once */
                if (p.cycles < best.cycles * 0.99) best = p;
            }
        }
    return best;
}

/* ---- error ---- */

enum { TILES = 6 };

/* splitmix64: small, and the same on every machine */
static float random_input(uint64_t *x)
{
    uint64_t z = *x += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (float)((double)((z ^ z >> 31) >> 11) * 0x1p-52 - 1);
}

/* M x M^T of x[cols][cols], in floats: to[rows][rows]. */
static void both_sides(int rows, int cols, const double *M, const float *x, float *to)
{
    float half[WINOGRAD_N][WINOGRAD_N];
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < cols; j++) {
            half[i][j] = 0;
            for (int k = 0; k < cols; k++) half[i][j] += (float)M[i * WINOGRAD_N + k] * x[k * cols + j];
        }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < rows; j++) {
            to[i * rows + j] = 0;
            for (int k = 0; k < cols; k++) to[i * rows + j] += half[i][k] * (float)M[j * WINOGRAD_N + k];
        }
}

typedef struct Sums {
    float products[WINOGRAD_N * WINOGRAD_N], before[WINOGRAD_N * WINOGRAD_N] /* of the first sum, where there are two */, direct[WINOGRAD_N * WINOGRAD_N];
    double want[WINOGRAD_N * WINOGRAD_N];
} Sums;

/* One channel of an input tile for one output channel. */
static void add_channel(const Winograd *f, const float *d, const float *v, const float *u, const float *g, Sums *s)
{
    int n = f->n, m = f->m, r = f->r;
    for (int k = 0; k < n * n; k++) s->products[k] = fmaf(v[k], u[k], s->products[k]);
    for (int k = 0; k < m * m; k++)
        for (int i = 0; i < r * r; i++) {
            float x = d[(k / m + i / r) * n + k % m + i % r];
            s->direct[k] = fmaf(x, g[i], s->direct[k]);
            s->want[k] += (double)x * (double)g[i];
        }
}

double winograd_error(int m, int r, int64_t ic, int64_t oc, const float *w)
{
    Winograd f;
    if (!winograd_make(m, r, &f) || oc > WINOGRAD_SAMPLED) return INFINITY;
    int planes = f.n * f.n, taps = r * r;
    double error = 0, direct_error = 0;
    uint64_t seed = 1;
    Sums sums[WINOGRAD_SAMPLED][TILES];
    memset(sums, 0, sizeof sums);
    int64_t half = winograd_sums(&f, ic) > 1 ? ceil_div(ic, 2) : ic;
    for (int64_t c = 0; c < ic; c++) {
        if (c == half)
            for (int64_t o = 0; o < oc; o++)
                for (int t = 0; t < TILES; t++) {
                    memcpy(sums[o][t].before, sums[o][t].products, sizeof sums[o][t].before);
                    memset(sums[o][t].products, 0, sizeof sums[o][t].products);
                }
        float u[WINOGRAD_SAMPLED][WINOGRAD_N * WINOGRAD_N];
        for (int64_t o = 0; o < oc; o++)
            for (int k = 0; k < planes; k++) {
                double sum = 0;
                for (int i = 0; i < taps; i++)
                    sum += f.g[k / f.n][i / r] * f.g[k % f.n][i % r] * (double)w[(o * ic + c) * taps + i];
                u[o][k] = (float)sum;
            }
        for (int t = 0; t < TILES; t++) {
            float d[WINOGRAD_N * WINOGRAD_N], v[WINOGRAD_N * WINOGRAD_N];
            for (int k = 0; k < planes; k++) {
                d[k] = random_input(&seed);
                if (t % 2 && d[k] < 0) d[k] = 0;
            }
            both_sides(f.n, f.n, f.bt[0], d, v);
            for (int64_t o = 0; o < oc; o++) add_channel(&f, d, v, u[o], w + (o * ic + c) * taps, &sums[o][t]);
        }
    }
    for (int64_t o = 0; o < oc; o++)
        for (int t = 0; t < TILES; t++) {
            Sums *s = &sums[o][t];
            for (int k = 0; k < planes; k++) s->products[k] += s->before[k];
            float y[WINOGRAD_N * WINOGRAD_N];
            both_sides(f.m, f.n, f.at[0], s->products, y);
            for (int k = 0; k < f.m * f.m; k++) {
                error += ((double)y[k] - s->want[k]) * ((double)y[k] - s->want[k]);
                direct_error += ((double)s->direct[k] - s->want[k]) * ((double)s->direct[k] - s->want[k]);
            }
        }
    if (error == 0) return 0;
    return direct_error == 0 ? INFINITY : sqrt(error / direct_error);
}
