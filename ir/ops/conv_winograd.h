/* conv_winograd.h: what the pass `winograd` asks about a convolution and what its lowering (conv_winograd.c) agrees
 * with it about: may it be done by minimal filtering, in which blocks, at what cost. */
#ifndef BMC_IR_OPS_CONV_WINOGRAD_H
#define BMC_IR_OPS_CONV_WINOGRAD_H
#include "ir/ops/conv.h"
#include "ir/winograd.h"

/* 3 x 3, stride 1, not dilated, one group. */
bool winograd_window(const Window *, int64_t group);

typedef struct WinogradPlan {
    int64_t tiles, panel, groups; /* tiles of a block, output channels of a panel, groups of panels */
    bool by_rows;                 /* planes in turns of one row of the tile */
    double cycles;                /* of one thread, for all tiles; of an image of middling size when they are not known */
    int64_t bytes;                /* of transformed weights */
} WinogradPlan;
/* tiles: how many there are, -1 while running. m as in winograd_make. */
WinogradPlan winograd_plan(const KTarget *, int m, int64_t ic, int64_t oc, int64_t tiles);
/* The cycles of direct sums; pixels: of the result, -1 while running. */
double winograd_direct_cycles(const KTarget *, int64_t ic, int64_t oc, int64_t pixels);

/* Error of minimal filtering as a multiple of direct sums' (root mean square over sampled tiles, both in f32 against
 * f64, pseudo-random inputs, what follows Relu among them). w: [oc][ic][9], of WINOGRAD_SAMPLED output channels at most. */
enum { WINOGRAD_SAMPLED = 4 };
double winograd_error(int m, int64_t ic, int64_t oc, const float *w);

#endif
