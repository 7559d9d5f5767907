/* winograd.h: minimal filtering F(m x m, r x r): an m x m tile of a convolution with an r x r kernel by n*n products of
 * sums, n = m + r - 1, where direct sums take r*r*m*m.
 *   Y = A^T [ (G g G^T) .* (B^T d B) ] A         d: n x n inputs, g: r x r weights, Y: m x m outputs
 * The matrices follow from n - 1 points and the point at infinity (Winograd, "Arithmetic Complexity of Computations",
 * 1980; Toom-Cook): 0, 1 for F(2,2), 0, +-1 for F(2,3) and F(3,2), 0, +-5/8, +-3/2 for F(4,3), whose error is a third of
 * what 1 and 2 give. A and B are exact in float. With m = 2, outputs depend on inputs of their own window only.
 *
 * A kernel of r*s x r*s taps in steps of s is one of r x r in steps of 1 whose channels are those of each of the s*s
 * places within a step: y[o] = sum of x[(o + t)*s + place] * w[t*s + place]. So 4 x 4 in steps of 2 is F(2x2,2x2). */
#ifndef BMC_IR_WINOGRAD_H
#define BMC_IR_WINOGRAD_H
#include <stdbool.h>
#include <stdint.h>

enum { WINOGRAD_R = 3, WINOGRAD_N = 6, WINOGRAD_TAPS = WINOGRAD_R * WINOGRAD_R /* at most, all three */ };

typedef struct Winograd {
    int m, r, n;
    double bt[WINOGRAD_N][WINOGRAD_N], g[WINOGRAD_N][WINOGRAD_R], at[WINOGRAD_N - 2][WINOGRAD_N];
} Winograd;

bool winograd_make(int m, int r, Winograd *);   /* F(2,2), F(3,2), F(2,3), F(4,3); false: there is no other */
/* Transformed weights, in double and rounded once: of 16 columns, w[16][K / (v*h)][r*v][r*h] of a convolution in steps of
 * v x h into to[n*n][xi_step], in each of them [v][h][K / (v*h)][16]. */
void winograd_weights(const Winograd *, int64_t K, const int64_t step[2], const float *w, float *to, int64_t xi_step);
/* Where tap t = row * r + column of channel k of K stands among the weights of one column above. */
int64_t winograd_source(const Winograd *, int64_t K, const int64_t step[2], int64_t k, int t);

#endif
