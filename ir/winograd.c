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
bool winograd_make(int m, Winograd *w)
{
    static const double small[] = {0, 1, -1}, large[] = {0, 0.625, -0.625, 1.5, -1.5};
    if (m != 2 && m != 4) return false;
    const double *p = m == 2 ? small : large;
    *w = (Winograd){.m = m, .n = m + WINOGRAD_R - 1};
    int n = w->n;
    for (int j = 0; j < n; j++) {
        double power = 1, N = 1;
        w->bt[j][0] = 1;
        for (int l = 0; l < n - 1; l++) {
            if (l == j) continue;
            times(w->bt[j], n, p[l]);
            if (j < n - 1) N *= p[j] - p[l];
        }
        if (j == n - 1) {
            w->at[m - 1][j] = w->g[j][WINOGRAD_R - 1] = 1;
            continue;
        }
        for (int i = 0; i < m || i < WINOGRAD_R; i++, power *= p[j]) {
            if (i < m) w->at[i][j] = power;
            if (i < WINOGRAD_R) w->g[j][i] = power / N;
        }
    }
    return true;
}

/* to[n][..] = G from[3][..], for `count` vectors of lanes side by side. */
static void rows(const Winograd *w, int count, double from[][LANES], int from_step, double to[][LANES], int to_step)
{
    for (int j = 0; j < w->n; j++)
        for (int c = 0; c < count; c++)
            for (int n = 0; n < LANES; n++)
                to[j * to_step + c][n] = w->g[j][0] * from[c][n] + w->g[j][1] * from[from_step + c][n] +
                                         w->g[j][2] * from[2 * from_step + c][n];
}

void winograd_weights(const Winograd *w, int64_t K, const float *src, float *to, int64_t xi_step)
{
    double g[WINOGRAD_TAPS][LANES], half[WINOGRAD_N * WINOGRAD_R][LANES], turned[WINOGRAD_N * WINOGRAD_R][LANES],
        u[WINOGRAD_N * WINOGRAD_N][LANES];
    for (int64_t k = 0; k < K; k++) {
        for (int n = 0; n < LANES; n++)
            for (int t = 0; t < WINOGRAD_TAPS; t++) g[t][n] = src[(n * K + k) * WINOGRAD_TAPS + t];
        rows(w, WINOGRAD_R, g, WINOGRAD_R, half, WINOGRAD_R);
        for (int j = 0; j < w->n; j++)
            for (int c = 0; c < WINOGRAD_R; c++) memcpy(turned[c * w->n + j], half[j * WINOGRAD_R + c], sizeof *half);
        rows(w, w->n, turned, w->n, u, w->n);   /* u[column of the tile][row] */
        for (int j = 0; j < w->n; j++)
            for (int c = 0; c < w->n; c++)
                for (int n = 0; n < LANES; n++)
                    to[(j * w->n + c) * xi_step + k * LANES + n] = (float)u[c * w->n + j][n];
    }
}
