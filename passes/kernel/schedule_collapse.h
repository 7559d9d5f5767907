/* schedule_collapse.h: first part of schedule. */
#ifndef BMC_PASSES_KERNEL_SCHEDULE_COLLAPSE_H
#define BMC_PASSES_KERNEL_SCHEDULE_COLLAPSE_H
#include "ir/kernel/build.h"
#include "ir/kernel/launches.h"

/* Merges neighbouring par loops of the kernel as far as possible; its launches get views with merged dims. Returns
 * whether it changed anything. */
bool schedule_collapse(KModule *, Kernel *, KLaunches *);

#endif
