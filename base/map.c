/* map.c: open addressing with linear probing over a power-of-two table, at most 3/4 full; grown by rehashing into
 * fresh arrays. */
#include "base/map.h"
#include <xxhash.h>

uint64_t hash_bytes(const void *p, size_t n, uint64_t seed) { return XXH3_64bits_withSeed(p, n, seed); }

void map_init(Map *m, Arena *a) { *m = (Map){.arena = a}; }

/* The slot of a key, or the free one where it belongs. Keys may be plain small integers, hence the mix. */
static uint32_t slot_of(const Map *m, uint64_t key)
{
    uint64_t h = key * 0x9e3779b97f4a7c15u;
    h ^= h >> 32;
    uint32_t i = (uint32_t)h & (m->cap - 1);
    while (m->used[i] && m->key[i] != key) i = (i + 1) & (m->cap - 1);
    return i;
}

bool map_get(const Map *m, uint64_t key, uint64_t *val)
{
    if (!m->cap) return false;
    uint32_t i = slot_of(m, key);
    if (!m->used[i]) return false;
    *val = m->val[i];
    return true;
}

static void grow(Map *m)
{
    Map old = *m;
    m->cap = old.cap ? old.cap * 2 : 16;
    m->key = arena_array(m->arena, uint64_t, m->cap);
    m->val = arena_array(m->arena, uint64_t, m->cap);
    m->used = arena_array(m->arena, uint8_t, m->cap);
    for (uint32_t i = 0; i < old.cap; i++)
        if (old.used[i]) {
            uint32_t j = slot_of(m, old.key[i]);
            m->used[j] = 1;
            m->key[j] = old.key[i];
            m->val[j] = old.val[i];
        }
}

void map_put(Map *m, uint64_t key, uint64_t val)
{
    if ((uint64_t)(m->n + 1) * 4 > (uint64_t)m->cap * 3) grow(m);
    uint32_t i = slot_of(m, key);
    if (!m->used[i]) {
        m->used[i] = 1;
        m->key[i] = key;
        m->n++;
    }
    m->val[i] = val;
}
