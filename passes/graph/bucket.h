/* bucket.h: versions of the model for single values of its symbols (--bucket). */
#ifndef BMC_PASSES_GRAPH_BUCKET_H
#define BMC_PASSES_GRAPH_BUCKET_H
#include "ir/graph/graph.h"

typedef struct BucketOption {
    const char *name; /* of a symbol */
    int64_t *value;
    uint32_t n;
} BucketOption;
#define BUCKETS_MAX 64 /* versions: all combinations of the values */

/* Turns the entry graph, inferred before and again afterwards, into choices between versions of itself; how many there
 * are beside the one for all sizes. false: unknown
 * symbols, values out of their range, or a version that does not type-check (diagnosed). */
bool bucket_specialise(Module *, const BucketOption *, uint32_t n, uint32_t *versions);

#endif
