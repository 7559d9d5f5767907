/* schedule_maps.h: nests without sums, of short rows: the order of their loops and of their stores. */
#ifndef BMC_PASSES_KERNEL_SCHEDULE_MAPS_H
#define BMC_PASSES_KERNEL_SCHEDULE_MAPS_H
#include "ir/kernel/build.h"

/* Rewrites the kernel where it is such a nest and gains; whether it did. After schedule_collapse. */
bool schedule_maps(KModule *, Kernel *);

#endif
