/* vec.h: growable arrays whose storage lives in an arena.
 *   typedef VEC(Node) NodeVec;   NodeVec v = {0};   vec_push(arena, &v, n);   for (uint32_t i = 0; i < v.n; i++) use(v.p[i]); */
#ifndef BMC_BASE_VEC_H
#define BMC_BASE_VEC_H
#include "base/arena.h"

#define VEC(T) struct { T *p; uint32_t n, cap; }

/* Room for `more` elements of `size` bytes behind the n present. */
static inline void *vec_reserve_(Arena *a, void *p, uint32_t n, uint32_t *cap, uint32_t more, size_t size)
{
    uint64_t need = (uint64_t)n + more, want = *cap ? (uint64_t)*cap * 2 : 8;
    if (need <= *cap) return p;
    while (want < need) want *= 2;
    if (want > UINT32_MAX) arena_alloc_n(a, SIZE_MAX, 2);   /* out of memory: indices are 32 bits */
    p = arena_grow(a, p, (size_t)*cap * size, (size_t)want * size);
    *cap = (uint32_t)want;
    return p;
}
#define vec_reserve(a, v, more) ((v)->p = vec_reserve_((a), (v)->p, (v)->n, &(v)->cap, (uint32_t)(more), sizeof *(v)->p))
#define vec_push(a, v, ...) (vec_reserve((a), (v), 1), (v)->p[(v)->n++] = (__VA_ARGS__))
#define vec_pop(v) ((v)->p[--(v)->n])
#define vec_last(v) ((v)->p[(v)->n - 1])

#endif
