/* resize.h: what the files of Resize and Upsample share: attributes and operands resolved against the input's shape, and
 * the tables that the loops read. */
#ifndef BMC_IR_OPS_RESIZE_H
#define BMC_IR_OPS_RESIZE_H
#include "ir/ops/axes.h"

typedef struct Resize {
    uint64_t set;
    const char *mode, *coordinate_transformation_mode, *nearest_mode, *keep_aspect_ratio_policy;
    double cubic_coeff_a, extrapolation_value;
    int64_t exclude_outside, antialias;
    AttrInts axes;
    AttrFloats scales;                  /* Upsample before opset 9 */
    double height_scale, width_scale;   /* and before 7 */
} Resize;

typedef enum ResizeMode { RESIZE_NEAREST, RESIZE_LINEAR, RESIZE_CUBIC } ResizeMode;
/* COORD_HALF_NN, "tf_half_pixel_for_nn": of versions 11 and 12; exporters go on writing it. What is not resized (scale 1) stays where it is, not half an element further. */
typedef enum ResizeCoord { COORD_HALF_PIXEL, COORD_SYMMETRIC, COORD_PYTORCH, COORD_CORNERS, COORD_ASYMMETRIC, COORD_CROP, COORD_HALF_NN } ResizeCoord;
/* ROUND_OUTWARD, "opset10": what version 10 leaves open, as the field has it: along each axis down where it grows, up where it shrinks. */
typedef enum ResizeRound { ROUND_PREFER_FLOOR, ROUND_PREFER_CEIL, ROUND_FLOOR, ROUND_CEIL, ROUND_OUTWARD } ResizeRound;
typedef enum ResizeKeep { KEEP_STRETCH, KEEP_NOT_LARGER, KEEP_NOT_SMALLER } ResizeKeep;

/* Where the extents of the result come from. */
typedef enum ResizeBy { BY_SCALES, BY_SIZES } ResizeBy;

typedef struct ResizeAxis {
    int slot;               /* its place in scales, sizes and roi; -1: not resized */
    bool same;              /* every element stays where it is */
    Dim in, out;            /* out 0: only the run knows */
    bool known;             /* the scale, at compile time */
    double scale;
    bool roi_known;
    double start, end;      /* region of interest; 0 and 1 without one */
} ResizeAxis;

typedef struct ResizeCase {
    const Resize *a;
    ResizeMode mode;
    ResizeCoord coord;
    ResizeRound round;
    ResizeKeep keep;
    ResizeBy by;
    int rank, n_slot;
    int roi_at, scales_at, sizes_at;  /* operands, -1: absent */
    ResizeAxis axis[RANK_MAX];
} ResizeCase;

/* Attributes and what is known of the operands. false: *why. */
bool resize_resolve(Graph *, Node, ResizeCase *, const char **why);
/* floor(in * scale); a scale stands for the simplest fraction that rounds to it, so that a third of 9 is 3. */
bool resize_fraction(double scale, int64_t *p, int64_t *q);

/* ---- resize_table.c: for each result position along an axis, which input positions with which weights ---- */
typedef struct ResizeTable {
    Dim taps;
    int64_t n_taps;         /* 0: only the run knows */
    KBuf index, weight;     /* [taps, out]; weight 0: nearest */
    int64_t times;          /* not 0: no table, position o is made of o / times alone */
    bool crop;              /* the first index is -1 where the position lies outside */
    KBuf scale;             /* BY_SCALES while running: the operand, row-major */
} ResizeTable;
/* The length of a window, where it must be computed while running: 2 * max(k, ceil(k / scale)). */
#define RESIZE_REACH(c) ((c)->mode == RESIZE_CUBIC ? 2 : 1)
/* Makes the tables of axis i: constants, or by a kernel now. `taps`: as resize_taps says. roi, scales: operands in memory or 0. */
bool resize_table(Lw *, const ResizeCase *, int i, DType acc, KBuf roi, KBuf scales, Dim taps, ResizeTable *);
/* The scale of axis i in the open kernel, as f64. */
KVal resize_scale(Lw *, const ResizeCase *, int i, KBuf scales);

#endif
