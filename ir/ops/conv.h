/* conv.h: what the files of Conv and ConvTranspose share: the attributes, the convolution resolved against its operands' shapes, and its ways down to kernels.
 * Each way says whether the case is its own: `false` means that nothing has been emitted and the next one is asked (conv.c has the order). */
#ifndef BMC_IR_OPS_CONV_H
#define BMC_IR_OPS_CONV_H
#include "ir/ops/contraction.h"
#include "ir/ops/window.h"

typedef struct Conv { uint64_t set; int64_t group; const char *auto_pad; AttrInts kernel_shape, strides, dilations, pads; } Conv;

/* The node being lowered (l->n): operands 0 input [N, IC, spatial], 1 weights [OC, IC/group, kernel], 2 bias [OC] or absent; result 0 [N, OC, spatial]. */
typedef struct ConvCase {
    Window w;                /* spatial axes, with the pads resolved */
    int64_t group;
    Dim batch, ic, oc;       /* N; all channels, of the input and of the result */
    Dim icg, ocg;            /* those of one group */
} ConvCase;

/* One input channel per group. Reads lw_in_strided(l, 0), stores through lw_put. */
bool conv_lower_depthwise(Lw *, const ConvCase *);

#endif
