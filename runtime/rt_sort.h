/* rt_sort.h: elements as keys, and pairs of a key and a place in order (rt_sort.c). */
#ifndef BMC_RT_SORT_H
#define BMC_RT_SORT_H
#include "runtime/rt_internal.h"

typedef struct rt_pair {
    uint64_t key;
    int64_t at;
} rt_pair;

/* Key of element i of any type but strings. */
RT_HIDDEN uint64_t rt_key(const void *data, int dtype, int64_t i);
/* key[i] = the key of element from + i*stride, its bits turned by `flip` (0, or all: the largest first). */
RT_HIDDEN void rt_keys(const void *data, int dtype, int64_t from, int64_t stride, int64_t n, uint64_t flip,
                       uint64_t *key);
/* By rising key, equal keys in the order that they had. Either v or tmp, which has room for n as well, holds the result
 * and is returned. */
RT_HIDDEN rt_pair *rt_sort_pairs(rt_pair *v, rt_pair *tmp, int64_t n);
/* The k-th of n keys by rising key, 1 <= k <= n; *before: how many are below it. What is left in `key` is of no use. */
RT_HIDDEN uint64_t rt_kth_key(uint64_t *key, int64_t n, int64_t k, int64_t *before);

#endif
