/* schedule_lanes.h: second part of schedule. */
#ifndef BMC_PASSES_KERNEL_SCHEDULE_LANES_H
#define BMC_PASSES_KERNEL_SCHEDULE_LANES_H
#include "ir/kernel/build.h"

/* Gives lanes to a perfect nest of par loops whose innermost loop cannot take them: transposing copies in blocks, short
 * innermost loops inside a longer one. Returns whether it changed anything. */
bool schedule_lanes(KModule *, Kernel *);

#endif
