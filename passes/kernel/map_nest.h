/* map_nest.h: kernels that are a map: a chain of par loops around loads, pure instructions and stores, of which only the
 * innermost body touches memory and no parameter is both loaded and stored. */
#ifndef BMC_PASSES_KERNEL_MAP_NEST_H
#define BMC_PASSES_KERNEL_MAP_NEST_H
#include "ir/kernel/kir.h"

enum { MAP_NEST_MAX = 2 * RANK_MAX }; /* loops, at most one less */

typedef struct MapNest {
    const Kernel *k;
    KInst loop[MAP_NEST_MAX];      /* loop[i] stands in block[i] */
    KBlock block[MAP_NEST_MAX + 1]; /* the kernel's top, the bodies of its loops from the outermost in */
    int n;                         /* loops */
    uint32_t size;                 /* instructions, loops included */
} MapNest;

static inline bool map_pure(const KInstRec *r) { return kop_info(r->op)->flags & KF_PURE; }

/* Fills *s for kernel k. false: it is no map. */
bool map_nest_find(const Kernel *k, MapNest *s);

#endif
