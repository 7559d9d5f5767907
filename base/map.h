/* map.h: a hash map from 64-bit keys to 64-bit values, in an arena; iteration is not offered, so that no output can depend on its order. */
#ifndef BMC_BASE_MAP_H
#define BMC_BASE_MAP_H
#include "base/arena.h"
#include <stdbool.h>

typedef struct Map { Arena *arena; uint64_t *key, *val; uint8_t *used; uint32_t n, cap; } Map;

void map_init(Map *, Arena *);
bool map_get(const Map *, uint64_t key, uint64_t *val);   /* false: absent, *val untouched */
void map_put(Map *, uint64_t key, uint64_t val);          /* inserts or overwrites */

uint64_t hash_bytes(const void *, size_t, uint64_t seed); /* 64-bit, stable between runs and machines (XXH3) */
static inline uint64_t hash_mix(uint64_t h, uint64_t x)   /* order-dependent combination */
{
    h ^= x + 0x9e3779b97f4a7c15u + (h << 6) + (h >> 2);
    h *= 0xff51afd7ed558ccdu;
    return h ^ (h >> 32);
}

#endif
