/* window.h: sliding windows over the spatial axes, shared by convolutions and pools: attributes, extents, where a window's element lies in the input. */
#ifndef BMC_IR_OPS_WINDOW_H
#define BMC_IR_OPS_WINDOW_H
#include "ir/graph/infer.h"
#include "ir/graph/lower.h"

#define WINDOW_MAX 8   /* spatial axes */

typedef struct WindowAttrs { AttrInts kernel, strides, dilations, pads; const char *auto_pad; bool ceil_mode; } WindowAttrs;

typedef struct Window {
    int n;                                                   /* spatial axes; axis i of the window is axis 2+i of the tensor */
    int64_t kernel[WINDOW_MAX], stride[WINDOW_MAX], dilation[WINDOW_MAX];   /* kernel: 0 where only the run knows it */
    Dim extent[WINDOW_MAX];                                  /* of the kernel */
    Dim in[WINDOW_MAX], out[WINDOW_MAX], begin[WINDOW_MAX], end[WINDOW_MAX];   /* extents and padding, possibly symbolic */
    int64_t taps;                                            /* product of kernel: 0 where only the run knows it */
    bool below[WINDOW_MAX], above[WINDOW_MAX];               /* along that axis a window may reach before the input's first, behind its last element */
    bool padded;                                             /* any of these */
} Window;

/* Resolves the attributes for input extents `in`. false: *why. auto_pad SAME_* gives ceil(in/stride) outputs; with ceil_mode a last partial window counts when it
 * starts inside the input or its leading padding. */
bool window_resolve(Dims *, int n, const Dim *in, const int64_t *kernel, const WindowAttrs *, Window *, const char **why);
/* The same for a kernel whose extents may be symbolic. */
bool window_extents(Dims *, int n, const Dim *in, const Dim *kernel, const WindowAttrs *, Window *, const char **why);
/* How far the taps along axis i reach: (extent - 1) * dilation + 1. */
Dim window_eff(Dims *, const Window *, int i);
/* Sets below, above and padded for axis i from its extents. */
void window_reach(Dims *, Window *, int i);
/* Input position of tap k of the window at output o along axis i: o*stride - begin + k*dilation. */
KVal window_at(Kb *, const Window *, int i, KVal o, KVal k);
/* May a window reach outside the input along axis i? */
static inline bool window_reaches(const Window *w, int i) { return w->below[i] || w->above[i]; }
/* The taps [lo, hi) along axis i that lie inside the input, of a window whose tap 0 is at `start`; hi <= lo: none. */
void window_taps(Kb *, const Window *, int i, KVal start, KVal *lo, KVal *hi);
/* 0 <= at < in (only what is not provable), and-ed to *pred. */
void window_inside(Kb *, const Window *, int i, KVal at, KVal *pred);

#endif
