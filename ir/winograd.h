/* winograd.h: minimal filtering F(m x m, 3 x 3): an m x m tile of a convolution with a 3 x 3 kernel by n*n products of
 * sums, n = m + 2, where direct sums take 9*m*m.
 *   Y = A^T [ (G g G^T) .* (B^T d B) ] A         d: n x n inputs, g: 3 x 3 weights, Y: m x m outputs
 * The matrices follow from n - 1 points and the point at infinity (Winograd, "Arithmetic Complexity of Computations",
 * 1980; Toom-Cook): 0, +-1 for m = 2, 0, +-5/8, +-3/2 for m = 4, whose error is a third of what 1 and 2 give. A and B
 * are exact in float. With m = 2, outputs depend on inputs of their own window only. */
#ifndef BMC_IR_WINOGRAD_H
#define BMC_IR_WINOGRAD_H
#include <stdbool.h>
#include <stdint.h>

enum { WINOGRAD_R = 3, WINOGRAD_N = 6 /* at most */, WINOGRAD_TAPS = WINOGRAD_R * WINOGRAD_R };

typedef struct Winograd {
    int m, n;
    double bt[WINOGRAD_N][WINOGRAD_N], g[WINOGRAD_N][WINOGRAD_R], at[WINOGRAD_N - 2][WINOGRAD_N];
} Winograd;

bool winograd_make(int m, Winograd *);   /* false: there is none for that m (2 and 4 there are) */
/* Transformed weights, in double and rounded once: of 16 columns, w[16][K][9] into to[n*n][xi_step], in each of them
 * [K][16]. */
void winograd_weights(const Winograd *, int64_t K, const float *w, float *to, int64_t xi_step);

#endif
