/* kpasses.h: the passes over the Kernel IR as plain functions; each returns whether it changed the module, and
 * changes nothing on its own output.
 * What must hold before: kir_verify. What holds after: kir_verify. No diagnostics but where said. */
#ifndef BMC_PASSES_KERNEL_KPASSES_H
#define BMC_PASSES_KERNEL_KPASSES_H
#include "ir/kernel/build.h"

/* share_tables.c: constants of at least `bytes` that a kernel looks rows up in and another reads packed are read packed by
 * both; how many. Right after lowering. */
int64_t kpass_share_tables(KModule *, int64_t bytes);
/* merge_launches.c: neighbours over the same nest that read the same elements become one launch; how many did. Before
 * schedule, without a plan. */
int64_t kpass_merge_launches(KModule *);
/* kernel_simplify.c: kernels are rebuilt (constants fold, equal values are shared, loops of no or one iteration
 * vanish), then everything that
 * contributes to no output goes: instructions, steps, kernels, buffers. */
bool kpass_simplify(KModule *);
/* kernel_dce.c: only the second half. */
bool kpass_dce(KModule *);
/* schedule.c: par loops are collapsed, innermost loops become vec, column reductions vectorise over the columns.
 * Needs no plan and no barriers. */
bool kpass_schedule(KModule *);
/* plan_memory.c: offsets of arena buffers and locals. *failed: a size has no bound at entry (diagnosed). */
bool kpass_plan_memory(KModule *, bool *failed);
/* arena, live: bytes of the arena and those that live at the same time at most, at the sizes of inputs where their ratio
 * is worst. stacked: places are computed by steps of the program. */
typedef struct PlanStat {
    uint32_t items, in_place;
    bool stacked;
    int64_t arena, live;
} PlanStat;
bool kpass_plan_memory_stat(KModule *, bool *failed, PlanStat *);
/* plan_inplace.c: may parameter `out` of the kernel lie over parameter `in`; buffer `out` (a root) over `in` at that
 * launch? */
bool kinplace_params(const Kernel *, Dims *, uint32_t in, uint32_t out);
bool kinplace_launch(const KModule *, const KStep *, KBuf in, KBuf out);
/* single.c: launches estimated to take fewer cycles stay on thread 0; how many were marked. Before barriers. */
int64_t kpass_single(KModule *, int64_t cycles);
/* barriers.c: exactly the barriers that are needed. After planning. */
bool kpass_barriers(KModule *);
/* Do two buffers of a module share bytes? A buffer that lives while another does must not (plan_memory.c has the
 * checker); unknown counts as yes. */
bool kbuf_overlap(KModule *, KBuf, KBuf);

#endif
