/* conv.h: what the files of Conv and ConvTranspose share: the attributes, the convolution resolved against its
 * operands' shapes, and its ways down to kernels. Each way says whether the case is its own: `false` means that nothing has been
 * emitted and the next one is asked (conv.c has the order). */
#ifndef BMC_IR_OPS_CONV_H
#define BMC_IR_OPS_CONV_H
#include "ir/ops/contraction.h"
#include "ir/ops/window.h"

typedef struct Conv {
    uint64_t set;
    int64_t group;
    const char *auto_pad;
    AttrInts kernel_shape, strides, dilations, pads;
    int64_t winograd; /* tiles of winograd x winograd outputs (the pass `winograd` decides), 0: direct, -1: so for good */
} Conv;

/* Extents and padding from the operands' shapes. false: *why. conv_resolve: nor for a kernel whose size only the run
 * knows. */
bool conv_extents(Dims *, const Conv *, const TypeRec *x, const TypeRec *w, Window *, const char **why);
bool conv_resolve(Dims *, const Conv *, const TypeRec *x, const TypeRec *w, Window *, const char **why);

/* A Conv or ConvTranspose with one input channel per group that is as fast with pixels of a line side by side as with channels: one or two
 * spatial axes, a small kernel, lines that fill lanes. */
bool conv_by_planes(const Graph *, Node);

/* The same of a ConvTranspose, seen as the convolution that it turns round: w.in, w.out are its input's and its result's extents. */
bool conv_transpose_resolve(const Graph *, Node, Window *, const char **why);

/* The node being lowered (l->n): operands 0 input [N, IC, spatial], 1 weights [OC, IC/group, kernel], 2 bias [OC] or
 * absent; result 0 [N, OC, spatial]. */
typedef struct ConvCase {
    Window w;          /* spatial axes, with the pads resolved */
    int64_t group;
    Dim batch, ic, oc; /* N; all channels, of the input and of the result */
    Dim icg, ocg;      /* those of one group */
} ConvCase;

/* The case of the node being lowered. false: diagnosed. */
bool conv_case(Lw *, ConvCase *);

/* One input channel per group. Reads lw_in_strided(l, 0), stores through lw_put. */
bool conv_lower_depthwise(Lw *, const ConvCase *);
/* Groups of two, four or eight channels, in the input as in the result, which lie side by side. */
bool conv_lower_groups(Lw *, const ConvCase *);
/* Operand 1, [channels][taps] whatever its axes, as [taps][channels, rounded up]. */
KBuf conv_depthwise_weights(Lw *, int64_t taps, Dim channels);
/* Contractions by the tile: one group, or groups with channels enough. */
bool conv_lower_macc(Lw *, const ConvCase *);
/* The same of bytes (ByteConv): one group; operand 2 is what stands around the image (absent: 0), the result i32. */
bool conv_lower_bytes(Lw *, const ConvCase *);
/* Minimal filtering with tiles of m x m outputs (conv_winograd.h), constant weights, f32. pool: a
 * MaxPool that ends the group (conv_pooled.h), whose results are stored instead; or none. */
bool conv_lower_winograd(Lw *, const ConvCase *, int m, Node pool);
/* A plain nest, whatever the groups: always. */
bool conv_lower_nest(Lw *, const ConvCase *);

/* ---- for the contractions (conv_macc.c, conv_transpose.c) ---- */

/* What a contraction of output pixels (rows) reads: row m is the output position o (row-major over `out`), reduction
 * batch t the tap (row-major over `taps`), and axis i of the input is read at o*stride + tap*step + first, absent where
 * that lies outside [0, in) and `below` or `above` say that it may. */
typedef struct ConvRows {
    int n;                                       /* spatial axes */
    Dim out[WINDOW_MAX], in[WINDOW_MAX], first[WINDOW_MAX];
    int64_t taps[WINDOW_MAX], stride[WINDOW_MAX], step[WINDOW_MAX];
    bool below[WINDOW_MAX], above[WINDOW_MAX];
    Dim lie[WINDOW_MAX], lie_batch, lie_channel; /* element strides of the input */
} ConvRows;

Dim conv_rows_count(Dims *, const ConvRows *);         /* output pixels */
void conv_rows_lie(Lw *, ConvRows *, KBuf input);      /* fills lie* from a buffer [N, C, spatial] */
/* Element offset of channel 0 of batch 0 for row m and tap t; *pred as in Contract.a_addr. */
void conv_rows_addr(Kb *, const ConvRows *, KVal m, KVal t, KVal *off, KVal *pred);
/* Rows without predicates that many elements apart (0: symbolic)? */
bool conv_rows_affine(Kb *, const ConvRows *, int64_t *distance);
void conv_rows_pixel(Kb *, const ConvRows *, KVal m, KVal *o); /* output position of row m */
/* A copy of operand 0 with channels innermost and `before` and `behind` zeros around each spatial axis (NULL: none):
 * [N, C, spatial'] as a view. Bytes: as u8, operand 2 around them, and room for a group of four behind the last. */
KBuf conv_channels_last(Lw *, const Dim *before, const Dim *behind);
/* Operand 0 with pixels of a line side by side and zeros around each spatial axis, [N, C, spatial'] row-major: a copy,
 * or the operand when it lies so. Only if conv_planes_fit: no extent of zeros is negative. */
bool conv_planes_fit(Lw *, const Dim *before, const Dim *behind);
KBuf conv_planes(Lw *, const Dim *before, const Dim *behind);

/* What tap t adds to the address of output position o, the same for all positions; *pred: is the input there? */
KVal conv_rows_tap(Kb *, const ConvRows *, const KVal *o, KVal t, KVal *pred);

/* ---- few output channels: pixels are columns (conv_pixels.c) ---- */

typedef struct ConvPixels {
    Lw *l;
    const char *name;  /* of the kernel */
    KBuf planes;       /* conv_planes */
    ConvRows rows;     /* relative to planes; nothing is absent; stride 1 along the last axis */
    Dim batch;
    int64_t ic, oc;
    RightSide right;   /* [tap][ic][16] */
    void *arg;
    KVal (*matrix)(void *arg, Kb *, KVal t); /* the number of tap t's matrix in `right`; NULL: t */
    void (*store)(void *arg, Kb *, KVal image, const KVal *o, KVal oc, KVal acc);
} ConvPixels;

/* Is that faster than `now` issue slots? For `products` such products of one image, reading one copy of the planes. */
bool conv_pixels_pay(Lw *, const ConvRows *, int64_t ic, int64_t oc, int64_t products, bool padded, int64_t now);
void conv_pixels(const ConvPixels *);

#endif
