/* winograd_test: the matrices of minimal filtering, in exact rational arithmetic, and transformed weights.
 * Convolution as a bilinear map: for all i, k, l
 *   sum over j of  A^T[i][j] * G[j][k] * B^T[j][l]  =  1 if l == i + k, else 0
 * says that one dimension is right, and so both. */
#include "ir/winograd.h"
#include "ir/ops/conv_winograd.h"
#include "tests/unit/check.h"
#include <math.h>

typedef struct Rational { __int128 n, d; } Rational;

static Rational rational(__int128 n, __int128 d)
{
    __int128 a = n < 0 ? -n : n, b = d < 0 ? -d : d;
    while (b) {
        __int128 r = a % b;
        a = b;
        b = r;
    }
    if (d < 0) a = -a;
    return (Rational){n / a, d / a};
}
static Rational of(double x) { return rational((__int128)ldexp(x, 24), (__int128)1 << 24); }
static Rational mul(Rational x, Rational y)
{
    Rational p = rational(x.n, y.d), q = rational(y.n, x.d);
    return (Rational){p.n * q.n, p.d * q.d};
}
static Rational add(Rational x, Rational y) { return rational(x.n * y.d + y.n * x.d, x.d * y.d); }
static bool exact(double x) { return ldexp(x, 24) == rint(ldexp(x, 24)) && (double)(float)x == x; }

static void identity(int m, int r)
{
    Winograd w;
    if (!CHECK(winograd_make(m, r, &w) && w.m == m && w.r == r && w.n == m + w.r - 1)) return;
    for (int j = 0; j < w.n; j++) {
        /* G's rows are powers of the point over a product of differences: the product, exactly */
        bool last = j == w.n - 1;
        Rational N = {1, 1};
        for (int l = 0; !last && l < w.n - 1; l++)
            if (l != j) N = mul(N, of(w.at[1][j] - w.at[1][l]));
        for (int k = 0; k < w.r; k++) {
            double power = last ? k == w.r - 1 : w.at[1][j] == 0 ? k == 0 : pow(w.at[1][j], k);
            CHECK(fabs(w.g[j][k] * ((double)N.n / (double)N.d) - power) <= 1e-15);
            for (int i = 0; i < w.n; i++) CHECK(exact(w.bt[j][i]) && (i >= m || exact(w.at[i][j])));
        }
    }
    for (int i = 0; i < m; i++)
        for (int k = 0; k < w.r; k++)
            for (int l = 0; l < w.n; l++) {
                Rational sum = {0, 1};
                for (int j = 0; j < w.n; j++) {
                    Rational g = {k == w.r - 1, 1};
                    if (j < w.n - 1) {
                        g = (Rational){1, 1};
                        for (int e = 0; e < k; e++) g = mul(g, of(w.at[1][j]));
                        for (int p = 0; p < w.n - 1; p++)
                            if (p != j) {
                                Rational q = of(w.at[1][j] - w.at[1][p]);
                                g = mul(g, rational(q.d, q.n));
                            }
                    }
                    sum = add(sum, mul(mul(of(w.at[i][j]), g), of(w.bt[j][l])));
                }
                CHECK(sum.d == 1 && sum.n == (l == i + k));
            }
}

/* U = G g G^T, rounded once, in its place; of a kernel in steps of v x h, g = w[place + step * tap]. */
static void weights(int m, int taps_r, int v, int h)
{
    enum { C = 3, PLACES = 6, STEP = 16 * C * PLACES + 5 };
    Winograd w;
    Rng r = {(uint64_t)m};
    static float all[16 * C * PLACES * WINOGRAD_TAPS], u[WINOGRAD_N * WINOGRAD_N][STEP];
    if (!CHECK(winograd_make(m, taps_r, &w) && v * h <= PLACES)) return;
    int taps = w.r * w.r, high = w.r * v, wide = w.r * h, K = C * v * h;
    for (int n = 0; n < 16 * K * taps; n++) all[n] = (float)rng_in(&r, -1000000, 1000000) / 1e6f;
    winograd_weights(&w, K, (int64_t[]){v, h}, all, &u[0][0], STEP);
    for (int x = 0; x < w.n * w.n; x++)
        for (int k = 0; k < K; k++)
            for (int n = 0; n < 16; n++) {
                double sum = 0, size = 0;
                for (int t = 0; t < taps; t++) {
                    int place = k / C, row = place / h + v * (t / w.r), col = place % h + h * (t % w.r);
                    double p = w.g[x / w.n][t / w.r] * w.g[x % w.n][t % w.r] * (double)all[((n * C + k % C) * high + row) * wide + col];
                    sum += p;
                    size += fabs(p);
                }
                CHECK(fabs((double)u[x][k * 16 + n] - sum) <= 0x1p-24 * fabs(sum) + 1e-15 * size);
            }
}

/* Blocks and panels: all columns in one panel where many blocks share the weights, as few pieces as threads like where
 * there are few, and never more scratch than a few caches. */
static void plans(void)
{
    KTarget t = {.vec_bits = 512, .vec_regs = 32, .fma = true, .l2_bytes = 2 << 20};
    WinogradPlan wide = winograd_plan(&t, 2, 3, 256, 256, 784), larger = winograd_plan(&t, 2, 3, 512, 512, 196), few = winograd_plan(&t, 2, 3, 512, 512, 49);
    CHECK(wide.panel == 256 && wide.groups == 1 && wide.tiles * 8 < 784);
    CHECK(larger.panel == 512 && larger.groups == 1 && larger.tiles * 4 <= 196);
    CHECK(few.tiles == 49 && few.groups == 4 && few.panel == 128);
    /* row by row where weights push out of L2 what a block computes, but not for the price of streaming them once more */
    WinogradPlan small = winograd_plan(&t, 2, 3, 256, 256, 49), near = winograd_plan(&t, 2, 3, 64, 64, 784);
    CHECK(wide.by_rows && few.by_rows && small.by_rows && small.tiles == 49 && small.groups == 4 && !near.by_rows);
    /* 17 MB of weights for 49 pixels pay where memory and L3 are fast */
    KTarget fast = t;
    fast.far_rate = 24;
    CHECK(winograd_plan(&t, 2, 3, 512, 512, 16).cycles > winograd_direct_cycles(&t, 512 * 9, 512, 49));
    CHECK(winograd_plan(&fast, 2, 3, 512, 512, 16).cycles < 0.9 * winograd_direct_cycles(&fast, 512 * 9, 512, 49));
    for (int64_t c = 16; c <= 512; c += 48)
        for (int64_t tiles = 1; tiles < 20000; tiles = tiles * 3 + 1)
            for (int m = 2; m <= 4; m++) {
                int r = m == 3 ? 2 : 3;
                WinogradPlan p = winograd_plan(&t, m, r, c, c, tiles);
                CHECK(p.tiles >= 1 && p.tiles <= 64 && p.panel >= 16 && p.panel <= 512 && p.groups >= 1 && p.cycles > 0);
                CHECK(!p.by_rows || (m < 4 && p.groups * p.panel >= c));
                CHECK(p.bytes >= (m < 4 ? 16 : 36) * c * c * 4);
            }
}

int main(void)
{
    Winograd w;
    plans();
    static const int kinds[][2] = {{2, 2}, {3, 2}, {2, 3}, {4, 3}};
    for (int k = 0; k < 4; k++) identity(kinds[k][0], kinds[k][1]);
    CHECK(!winograd_make(1, 3, &w) && !winograd_make(3, 3, &w) && !winograd_make(4, 2, &w) && !winograd_make(2, 0, &w) && !winograd_make(0, 3, &w));
    for (int k = 0; k < 4; k++)
        for (int v = 1; v <= 2; v++) weights(kinds[k][0], kinds[k][1], v, 1), weights(kinds[k][0], kinds[k][1], v, 3);
    /* an output of F(2x2,..) depends on its own window only: no value leaves it */
    for (int r = 2; r <= 3; r++) {
        CHECK(winograd_make(2, r, &w));
        for (int i = 0; i < 2; i++)
            for (int j = 0; j < w.n; j++)
                for (int l = 0; l < w.n; l++)
                    if (w.at[i][j] != 0 && w.bt[j][l] != 0) CHECK(l >= i && l < i + r);
    }
    /* errors: below direct sums' with tiles of two, of the same order with tiles of four */
    static float g[4][64][9];
    Rng r = {7};
    for (int n = 0; n < 4 * 64 * 9; n++) (&g[0][0][0])[n] = (float)rng_in(&r, -1000000, 1000000) / 1e6f;
    double two = winograd_error(2, 3, 64, 4, &g[0][0][0]), four = winograd_error(4, 3, 64, 4, &g[0][0][0]);
    static float h[4][64][4];
    for (int n = 0; n < 4 * 64 * 4; n++) (&h[0][0][0])[n] = (float)rng_in(&r, -1000000, 1000000) / 1e6f;
    double few = winograd_error(2, 2, 64, 4, &h[0][0][0]);
    CHECK(two > 0.1 && two < 0.9);
    CHECK(few > 0.1 && few < 1);
    CHECK(four > two && four < 4);
    return check_done();
}
