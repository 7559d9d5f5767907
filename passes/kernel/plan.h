/* plan.h: what the files of plan-memory share: values that need a place in the arena, and where they got one. */
#ifndef BMC_PASSES_KERNEL_PLAN_H
#define BMC_PASSES_KERNEL_PLAN_H
#include "passes/kernel/kpasses.h"

/* One place: a buffer, or several that follow each other in place. It lives from step `first` to step `last`. */
typedef struct PlanItem {
    KBuf buf;             /* the largest of them, for the order among equals */
    Dim raw;              /* its size in bytes, not rounded: easier to compare */
    uint32_t first, last; /* inclusive */
    int64_t sample;       /* bytes at usual values of the symbols */
    Dim offset, bytes;    /* the answer; multiples of 64 */
} PlanItem;

static inline bool item_together(const PlanItem *a, const PlanItem *b)
{
    return a->first <= b->last && b->first <= a->last;
}

/* An item in the line that plan_pack.c packs: `len` units long, placed at `at`. */
typedef struct PlanSpot {
    PlanItem *item;
    int64_t at, len;
    int64_t breadth; /* for the order */
} PlanSpot;

/* plan_pack.c: places all spots, which end in some order; the length of the line. `steps`: positions are below it. */
int64_t plan_pack(Arena *, PlanSpot *, uint32_t n, uint32_t steps);
/* Those of the first n that live together with `item`, by place. */
uint32_t plan_neighbours(const PlanItem *item, PlanSpot *all, uint32_t n, PlanSpot **tmp);
int plan_by_size(const void *, const void *);

/* plan_place.c: gives every item its offset; the bytes of all, or DIM_NONE when they leave 64 bits. `steps`: positions
 * are below it. */
Dim plan_place(KModule *, Arena *, PlanItem *, uint32_t n, uint32_t steps);
/* Values of symbols that plans are compared at, number k < PLAN_POINTS: small, usual and large inputs, and some of them
 * small while others are large; within the bounds of the symbols. By symbol number. */
#define PLAN_POINTS 5
#define PLAN_USUAL 1
int64_t *plan_sample(const KModule *, Arena *, uint32_t k);
/* What lives at the same time, at most, where item i has len[i] units. */
int64_t plan_live(Arena *, const PlanItem *, uint32_t n, uint32_t steps, const int64_t *len);
Dim plan_round64(Dims *, Dim bytes);

/* plan_stack.c: gives every item its offset by steps at the head of the program, where that keeps the arena below
 * `ratio` thousandths of what lives at once for all samples; the bytes of all, or DIM_NONE. `old`: symbols to use. */
typedef VEC(Sym) PlanSyms;
Dim plan_stack(KModule *, Arena *, PlanItem *, uint32_t n, uint32_t steps, int64_t ratio, const PlanSyms *old);
/* Takes those steps out again and says which symbols they bound. */
void plan_stack_undo(KModule *, Arena *, PlanSyms *);
/* Fills in the values of the symbols that those steps bind; false: overflow. */
bool plan_values(const KModule *, int64_t *value);
/* Do the ranges offset..end and offset2..end2 of the arena share no byte, by those steps? */
bool plan_apart(KModule *, Dim offset, Dim end, Dim offset2, Dim end2);

#endif
