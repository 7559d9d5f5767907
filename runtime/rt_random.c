/* rt_random: where random operators begin: each has a draw of its own, numbered in the order in which thread 0 comes by,
 * through all runs of a context until reset. The numbers themselves are made by the kernels, from (seed, draw, element). */
#include "runtime/rt_internal.h"

int32_t rt_random_draw(bmc_ctx *x, rt_arg *arg, int32_t n, int32_t tid, int32_t nt)
{
    (void)n, (void)tid, (void)nt;
    uint32_t *o = arg[0].data;
    if (!o) return BMC_E_MEMORY; /* an allocation in front of the call failed */
    o[0] = (uint32_t)x->seed;
    o[1] = (uint32_t)(x->seed >> 32);
    o[2] = (uint32_t)x->draws;
    o[3] = (uint32_t)(x->draws >> 32);
    x->draws++;
    return BMC_OK;
}
