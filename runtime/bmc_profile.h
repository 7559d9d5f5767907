/* bmc_profile.h: what a model that was compiled for `bmc profile` counts. Such a shared object exports one more function,
 *   void bmc_profile(bmc_ctx *, bmc_profile_data *);
 * which shows the counters of a context; they grow from run to run and die with the context. Every thread looks at the
 * clock after every launch, call and barrier of the program and adds what has passed since it looked last. Models that
 * were compiled otherwise hold nothing of this. */
#ifndef BMC_PROFILE_H
#define BMC_PROFILE_H
#include "runtime/bmc.h"

typedef struct bmc_profile_step {
    uint64_t ns, cpu, times; /* spent in it; processor time of it, when asked for; how often it was passed */
} bmc_profile_step;

typedef struct bmc_profile_data {
    /* by number of the step in program order, bodies after the step that owns them, from 1; 0: from the last step to
     * the end of the body. Thread 0; those of thread t lie t * stride further */
    const bmc_profile_step *step;
    uint32_t n_step;    /* with step 0; 0: nothing has run yet */
    uint32_t n_thread, stride;
    uint32_t cpu;       /* set by the caller, 1: from now on also count processor time, a system call each time, part of it in the figure */
    const int64_t *sym; /* symbols as the last run left them */
} bmc_profile_data;

#endif
