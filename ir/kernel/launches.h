/* launches.h: which steps launch a kernel, of all kernels at once. Whoever asks for one kernel after the other and walked
 * the program each time would need their product: a model without ranks has thousands of kernels and ten times the steps. */
#ifndef BMC_IR_KERNEL_LAUNCHES_H
#define BMC_IR_KERNEL_LAUNCHES_H
#include "base/map.h"
#include "ir/kernel/kir.h"

typedef struct KLaunchList { VEC(KStep *) step; } KLaunchList;   /* in program order, then those that were added */
typedef struct KLaunches { Arena *arena; Map index; VEC(KLaunchList) of; } KLaunches;

void klaunches_init(KLaunches *, Arena *, const KModule *);      /* of the program as it stands */
/* The launches of a kernel, perhaps none. Who changes the program changes the list; it moves when one is added to another. */
KLaunchList *klaunches_of(KLaunches *, const Kernel *);
void klaunches_add(KLaunches *, KStep *launch);

#endif
