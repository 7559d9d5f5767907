/* window_nest.h: the loops of operators that slide a window over the spatial axes and keep channels apart: depthwise
 * convolutions and pools. What is done with an element is a few callbacks. */
#ifndef BMC_IR_OPS_WINDOW_NEST_H
#define BMC_IR_OPS_WINDOW_NEST_H
#include "ir/ops/window.h"

#define WINDOW_COLUMNS 8 /* neighbouring windows of a block: as many as a loop has carries */

typedef struct WindowNest {
    Lw *l;
    const Window *w;
    KBuf in;        /* [batch, channels, spatial axes...], any strides */
    Dim channels;   /* of the result: `per` for each input channel, side by side */
    int64_t per;
    int64_t group;  /* 0, or as many channels of the result as of the input belong together (2, 4, 8; per is 1, channels a known multiple of 16):
                     * a window sees all of its group, tap t of channel i of which is tap i * (taps of the window) + t. Channels lie side by side. */
    void *arg;
    /* What accumulators start from: once per block, its channel known. */
    KVal (*init)(void *arg, KVal channel);
    /* What all windows of a block need for a tap, a weight: loaded once. NULL: nothing. */
    KVal (*shared)(void *arg, KVal tap, KVal channel);
    KVal (*step)(void *arg, KVal acc, KVal x, KVal shared);
    /* Before lanes are open: what `put` needs for the window at `out` (spatial axes only, out[2..]); count[i]: taps
     * of axis i that lie inside the input. NULL: nothing. */
    KVal (*factor)(void *arg, const KVal *out, const KVal *count);
    void (*put)(void *arg, const KVal *out, KVal acc, KVal factor);
} WindowNest;

/* The whole nest, in the kernel that is open. Taps outside the input take no part. The order in which a window's taps are
 * taken is that of memory, row-major. */
void window_nest(WindowNest *);

#endif
