/* cache.h: what a module remembers between calls of its builder; derived from the module, never part of it. */
#ifndef BMC_IR_KERNEL_CACHE_H
#define BMC_IR_KERNEL_CACHE_H
#include "base/map.h"
#include "ir/kernel/kir.h"

typedef struct KCache {
    Map message;                 /* Name of the text -> message id */
    Map kernel;                  /* hash of the canonical text -> index in `text`, the newest with that hash */
    VEC(struct KCacheText { const char *text; size_t n; Kernel *kernel; uint32_t next; }) text;   /* index 0 unused */
    uint32_t named;              /* kernels named so far */
} KCache;

/* The kernel changes or leaves the module: its remembered text is no longer its own. */
void kcache_forget(KModule *, const Kernel *);

#endif
