/* schedule_versions.h: part of schedule. */
#ifndef BMC_PASSES_KERNEL_SCHEDULE_VERSIONS_H
#define BMC_PASSES_KERNEL_SCHEDULE_VERSIONS_H
#include "ir/kernel/build.h"
#include "ir/kernel/launches.h"

/* Splits a kernel whose indices depend on whether an extent is 1 into one for each case; its launches become `if`s.
 * Returns whether it changed anything; new kernels stand at the end of the module's, their launches in the lists. */
bool schedule_versions(KModule *, Kernel *, KLaunches *);

#endif
