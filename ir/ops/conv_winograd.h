/* conv_winograd.h: what the pass `winograd` asks about a convolution and what its lowering (conv_winograd.c) agrees
 * with it about: may it be done by minimal filtering, in which blocks, at what cost. */
#ifndef BMC_IR_OPS_CONV_WINOGRAD_H
#define BMC_IR_OPS_CONV_WINOGRAD_H
#include "ir/ops/conv.h"
#include "ir/winograd.h"

/* The r of F(m,r) that may do it, 0: none. Two axes, not dilated, one group, and along each axis r times as many taps as
 * the stride. */
int winograd_window(const Window *, int64_t group);
/* What counts as a channel then: each of the places within a step. */
int64_t winograd_channels(const Window *, int64_t ic);

typedef struct WinogradPlan {
    int64_t tiles, panel, groups; /* tiles of a block, output channels of a panel, groups of panels */
    bool by_rows;                 /* planes in turns of one row of the tile */
    double cycles;                /* of one thread, for all tiles; of an image of middling size when they are not known */
    int64_t bytes;                /* of transformed weights */
} WinogradPlan;
/* Into how many sums the channels of a product are cut: with F(2,2) half as many additions behind one another make up
 * for what its transforms lose. */
int winograd_sums(const Winograd *, int64_t ic);
/* tiles: how many there are, -1 while running. m, r as in winograd_make, ic by winograd_channels. */
WinogradPlan winograd_plan(const KTarget *, int m, int r, int64_t ic, int64_t oc, int64_t tiles);
/* The cycles of direct sums of so many products each; pixels: of the result, -1 while running. */
double winograd_direct_cycles(const KTarget *, int64_t sums, int64_t oc, int64_t pixels);

/* Error of minimal filtering as a multiple of direct sums' (root mean square over sampled tiles, both in f32 against
 * f64, pseudo-random inputs, what follows Relu among them). w: [oc][ic][r*r], of WINOGRAD_SAMPLED output channels at most. */
enum { WINOGRAD_SAMPLED = 4 };
double winograd_error(int m, int r, int64_t ic, int64_t oc, const float *w);

#endif
