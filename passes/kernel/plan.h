/* plan.h: what the files of plan-memory share: values that need a place in the arena, and where they got one. */
#ifndef BMC_PASSES_KERNEL_PLAN_H
#define BMC_PASSES_KERNEL_PLAN_H
#include "passes/kernel/kpasses.h"

/* One place: a buffer, or several that follow each other in place. It lives from step `first` to step `last`. */
typedef struct PlanItem {
    KBuf buf;             /* the largest of them, for the order among equals */
    Dim raw;              /* its size in bytes, not rounded: easier to compare */
    uint32_t first, last; /* inclusive */
    int64_t sample;       /* bytes at sample values of the symbols */
    Dim offset, bytes;    /* the answer; multiples of 64 */
} PlanItem;

static inline bool item_together(const PlanItem *a, const PlanItem *b)
{
    return a->first <= b->last && b->first <= a->last;
}

/* plan_place.c: gives every item its offset; the bytes of all, or DIM_NONE when they leave 64 bits. `steps`: positions
 * are below it. */
Dim plan_place(KModule *, Arena *, PlanItem *, uint32_t n, uint32_t steps);
/* Values of symbols that plans are compared at: the upper bound when that is small, else a thousand or the lower
 * bound. By symbol number. */
int64_t *plan_sample(const KModule *, Arena *);

#endif
