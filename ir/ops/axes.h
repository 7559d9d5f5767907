/* axes.h: what reductions and other ops along axes share: which axes, the shape without them, loops over them. */
#ifndef BMC_IR_OPS_AXES_H
#define BMC_IR_OPS_AXES_H
#include "ir/graph/eval.h"
#include "ir/graph/infer.h"
#include "ir/graph/lower.h"

/* Normalises and marks axes; false with *bad set when one is out of range or double. */
static inline bool axes_mark(const int64_t *axes, uint32_t n, int rank, bool *mark, int64_t *bad)
{
    for (int i = 0; i < rank; i++) mark[i] = false;
    for (uint32_t k = 0; k < n; k++) {
        int64_t a = axes[k] < 0 ? axes[k] + rank : axes[k];
        if (a < 0 || a >= rank || mark[a]) return *bad = axes[k], false;
        mark[a] = true;
    }
    return true;
}

/* Flat index of element idx[] in a dense tensor. */
static inline int64_t flat_index(const Tensor *t, const int64_t *idx)
{
    int64_t at = 0;
    for (int i = 0; i < t->rank; i++) at = at * t->dim[i] + idx[i];
    return at;
}
static inline void unflatten(const Tensor *t, int64_t k, int64_t *idx)
{
    for (int i = t->rank - 1; i >= 0; i--) {
        idx[i] = t->dim[i] ? k % t->dim[i] : 0;
        k = t->dim[i] ? k / t->dim[i] : 0;
    }
}

#endif
