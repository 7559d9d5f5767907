/* vec.h: growable arrays whose storage lives in an arena.
 *   typedef VEC(Node) NodeVec;   NodeVec v = {0};   vec_push(arena, &v, n);   for (uint32_t i = 0; i < v.n; i++) use(v.p[i]); */
#ifndef BMC_BASE_VEC_H
#define BMC_BASE_VEC_H
#include "base/arena.h"

#define VEC(T) struct { T *p; uint32_t n, cap; }

/* Room for `more` elements of `size` bytes behind the n present. */
static inline void *vec_reserve_(Arena *a, void *p, uint32_t n, uint32_t *cap, uint32_t more, size_t size)
{
    if (n + more <= *cap) return p;
    uint32_t want = *cap ? *cap * 2 : 8;
    while (want < n + more) want *= 2;
    p = arena_grow(a, p, (size_t)*cap * size, (size_t)want * size);
    *cap = want;
    return p;
}
#define vec_reserve(a, v, more) ((v)->p = vec_reserve_((a), (v)->p, (v)->n, &(v)->cap, (uint32_t)(more), sizeof *(v)->p))
#define vec_push(a, v, ...) (vec_reserve((a), (v), 1), (v)->p[(v)->n++] = (__VA_ARGS__))
#define vec_pop(v) ((v)->p[--(v)->n])
#define vec_last(v) ((v)->p[(v)->n - 1])

#endif
