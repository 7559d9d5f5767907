/* winograd.c: see winograd.h. */
#include "ir/winograd.h"
#include <string.h>

enum { LANES = 16 };

/* p *= (x - at); p has n coefficients, the constant first. */
static void times(double *p, int n, double at)
{
    for (int i = n - 1; i >= 0; i--) p[i] = (i ? p[i - 1] : 0) - at * p[i];
}

/* With points p[j], N_j = product over l != j of p[j] - p[l]:
 *   A^T[i][j] = p[j]^i          G[j][k] = p[j]^k / N_j          B^T[j] = coefficients of product over l != j of x - p[l]
 * and at infinity the highest power of a polynomial alone. */
bool winograd_make(int m, int r, Winograd *w)
{
    static const double small[] = {0, 1, -1}, large[] = {0, 0.625, -0.625, 1.5, -1.5};
    if (!(r == 2 && (m == 2 || m == 3)) && !(r == 3 && (m == 2 || m == 4))) return false;
    int n = m + r - 1;
    const double *p = n <= 4 ? small : large;
    *w = (Winograd){.m = m, .r = r, .n = n};
    for (int j = 0; j < n; j++) {
        double power = 1, N = 1;
        w->bt[j][0] = 1;
        for (int l = 0; l < n - 1; l++) {
            if (l == j) continue;
            times(w->bt[j], n, p[l]);
            if (j < n - 1) N *= p[j] - p[l];
        }
        if (j == n - 1) {
            w->at[m - 1][j] = w->g[j][r - 1] = 1;
            continue;
        }
        for (int i = 0; i < m || i < r; i++, power *= p[j]) {
            if (i < m) w->at[i][j] = power;
            if (i < r) w->g[j][i] = power / N;
        }
    }
    return true;
}

/* to[n][..] = G from[r][..], for `count` vectors of lanes side by side. */
static void rows(const Winograd *w, int count, double from[][LANES], int from_step, double to[][LANES], int to_step)
{
    for (int j = 0; j < w->n; j++)
        for (int c = 0; c < count; c++)
            for (int n = 0; n < LANES; n++) {
                double sum = w->g[j][0] * from[c][n];
                for (int i = 1; i < w->r; i++) sum += w->g[j][i] * from[i * from_step + c][n];
                to[j * to_step + c][n] = sum;
            }
}

int64_t winograd_source(const Winograd *w, int64_t K, const int64_t step[2], int64_t k, int t)
{
    int64_t channels = K / (step[0] * step[1]), place = k / channels, row = t / w->r * step[0] + place / step[1],
            col = t % w->r * step[1] + place % step[1];
    return (k % channels * w->r * step[0] + row) * w->r * step[1] + col;
}

void winograd_weights(const Winograd *w, int64_t K, const int64_t step[2], const float *src, float *to, int64_t xi_step)
{
    int r = w->r, taps = r * r;
    double g[WINOGRAD_TAPS][LANES], half[WINOGRAD_N * WINOGRAD_R][LANES], turned[WINOGRAD_N * WINOGRAD_R][LANES],
        u[WINOGRAD_N * WINOGRAD_N][LANES];
    for (int64_t k = 0; k < K; k++) {
        for (int n = 0; n < LANES; n++)
            for (int t = 0; t < taps; t++) g[t][n] = src[n * K * taps + winograd_source(w, K, step, k, t)];
        rows(w, r, g, r, half, r);
        for (int j = 0; j < w->n; j++)
            for (int c = 0; c < r; c++) memcpy(turned[c * w->n + j], half[j * r + c], sizeof *half);
        rows(w, w->n, turned, w->n, u, w->n);   /* u[column of the tile][row] */
        for (int j = 0; j < w->n; j++)
            for (int c = 0; c < w->n; c++)
                for (int n = 0; n < LANES; n++)
                    to[(j * w->n + c) * xi_step + k * LANES + n] = (float)u[c * w->n + j][n];
    }
}
