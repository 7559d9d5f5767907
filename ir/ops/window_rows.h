/* window_rows.h: windows over tensors whose innermost axis lies side by side, by way of padded rows in scratch:
 * what window_nest does where lanes are columns and rows overlap. */
#ifndef BMC_IR_OPS_WINDOW_ROWS_H
#define BMC_IR_OPS_WINDOW_ROWS_H
#include "ir/ops/window_nest.h"

#define WINDOW_ROWS_TAPS 128 /* of a window of sums, at most */

/* The maximum, NaN if there is one, of each window, by n->put; n->channels are the input's, n->init is what a window
 * without an element gives. false: nothing emitted, the nest is not worth it or too large here. */
bool window_rows_max(const WindowNest *n, DType type);
/* The sum of each window, n->init and n->step over its taps (that begins with 0, this adds up and makes 0 of 0), by
 * n->put with n->factor. false: as above. Columns are added up after rows. */
bool window_rows_even(const WindowNest *n, DType type);
/* n->init, then n->step with n->shared over each window's taps, absent ones 0, by n->put without a factor. Two spatial
 * axes. false: as above. */
bool window_rows_sum(const WindowNest *n);

/* The greatest of n values that were computed as `type`; NaN when one of them is. */
KVal window_greatest(Kb *, DType type, const KVal *x, int n);

#endif
