/* schedule_rows.h: part of schedule. */
#ifndef BMC_PASSES_KERNEL_SCHEDULE_ROWS_H
#define BMC_PASSES_KERNEL_SCHEDULE_ROWS_H
#include "ir/kernel/build.h"

/* Whether a par loop without results that may run in lanes goes over rows that are far apart and more than the first
 * cache holds, so that it is better turned inside out. Returns the columns of a block, 0: no. */
int64_t schedule_rows_width(KModule *, const Kernel *, KInst loop);
/* That loop for lo <= j < hi, hi - lo <= width, as loops of lanes inside the loops over rows. map: by value of `from`,
 * filled for what stands outside the loop. */
void schedule_rows_emit(Kb *, const Kernel *from, KVal *map, KInst loop, KVal lo, KVal hi, int64_t width);

#endif
