/* rt_sort: keys and sorting for what has to compare elements: TopK, Unique. Elements of all types become keys, 64-bit
 * unsigned numbers in the same order: signs are flipped to the top, floats are ordered by their bits, -0 equals +0, NaN
 * (of any sign) is larger than everything else. Pairs of a key and a place are sorted by the key's bytes, from the
 * lowest (stable); bytes that are the same in all keys take no pass. One key by its rank is found from the highest bit
 * on in which keys differ: they are counted by six or eight bits, and those of the digit that holds it stay. */
#include "runtime/rt_sort.h"
#include <string.h>

/* Bits of a float of `bits` bits with `mant` mantissa bits as a key. */
static uint64_t float_key(uint64_t u, int bits, int mant)
{
    uint64_t sign = (uint64_t)1 << (bits - 1), inf = (sign - 1) >> mant << mant, mag = u & (sign - 1);
    uint64_t key = u & sign ? sign - mag : sign + mag;
    return mag > inf ? 2 * sign - 1 : key;
}

/* The same in 32 bits. */
static uint32_t key_f32(uint32_t u)
{
    uint32_t mag = u & 0x7fffffffu, key = u >> 31 ? 0x80000000u - mag : 0x80000000u + mag;
    return mag > 0x7f800000u ? 0xffffffffu : key;
}

uint64_t rt_key(const void *data, int dtype, int64_t i)
{
    union {
        uint16_t u16;
        uint32_t u32;
        uint64_t u64;
    } u;
    switch (dtype) {
    case BMC_F32: return memcpy(&u.u32, (const char *)data + 4 * i, 4), key_f32(u.u32);
    case BMC_F64: return memcpy(&u.u64, (const char *)data + 8 * i, 8), float_key(u.u64, 64, 52);
    case BMC_F16: return memcpy(&u.u16, (const char *)data + 2 * i, 2), float_key(u.u16, 16, 10);
    case BMC_BF16: return memcpy(&u.u16, (const char *)data + 2 * i, 2), float_key(u.u16, 16, 7);
    case BMC_I8: return (uint64_t)((const int8_t *)data)[i] ^ (uint64_t)1 << 63;
    case BMC_I16: return (uint64_t)((const int16_t *)data)[i] ^ (uint64_t)1 << 63;
    case BMC_I32: return (uint64_t)((const int32_t *)data)[i] ^ (uint64_t)1 << 63;
    case BMC_I64: return (uint64_t)((const int64_t *)data)[i] ^ (uint64_t)1 << 63;
    case BMC_U16: return ((const uint16_t *)data)[i];
    case BMC_U32: return ((const uint32_t *)data)[i];
    case BMC_U64: return ((const uint64_t *)data)[i];
    default: return ((const uint8_t *)data)[i];
    }
}

void rt_keys(const void *data, int dtype, int64_t from, int64_t stride, int64_t n, uint64_t flip, uint64_t *key)
{
#define EACH(T, expression)                                                                                            \
    {                                                                                                                  \
        const T *p = (const T *)data + from;                                                                           \
        if (stride == 1)                                                                                               \
            for (int64_t i = 0; i < n; i++) {                                                                          \
                T u = p[i];                                                                                            \
                key[i] = (expression) ^ flip;                                                                          \
            }                                                                                                          \
        else                                                                                                           \
            for (int64_t i = 0; i < n; i++) {                                                                          \
                T u = p[i * stride];                                                                                   \
                key[i] = (expression) ^ flip;                                                                          \
            }                                                                                                          \
        break;                                                                                                         \
    }
    switch (dtype) { /* outside the loops for what is sorted most */
    case BMC_F32: EACH(uint32_t, key_f32(u))
    case BMC_I32: EACH(int32_t, (uint64_t)(int64_t)u ^ (uint64_t)1 << 63)
    case BMC_I64: EACH(int64_t, (uint64_t)u ^ (uint64_t)1 << 63)
    default:
        for (int64_t i = 0; i < n; i++) key[i] = rt_key(data, dtype, from + i * stride) ^ flip;
    }
#undef EACH
}

static bool goes_before(rt_pair a, rt_pair b) { return a.key < b.key; }

/* Stable. */
static void insertion_sort(rt_pair *v, int64_t n)
{
    for (int64_t i = 1; i < n; i++) {
        rt_pair x = v[i];
        int64_t j = i;
        for (; j && goes_before(x, v[j - 1]); j--) v[j] = v[j - 1];
        v[j] = x;
    }
}

enum { FEW = 24, MERGED = 192 /* pairs that are merged rather than counted */ };

/* Stable: runs of FEW are sorted, then merged. */
static rt_pair *merge_sort(rt_pair *v, rt_pair *tmp, int64_t n)
{
    for (int64_t lo = 0; lo < n; lo += FEW) insertion_sort(v + lo, n - lo < FEW ? n - lo : FEW);
    for (int64_t w = FEW; w < n; w *= 2) {
        for (int64_t lo = 0; lo < n; lo += 2 * w) {
            int64_t mid = lo + w < n ? lo + w : n, hi = lo + 2 * w < n ? lo + 2 * w : n, a = lo, b = mid, to = lo;
            while (a < mid && b < hi) { /* without a branch on what is compared */
                bool second = goes_before(v[b], v[a]);
                tmp[to++] = v[second ? b : a];
                b += second;
                a += !second;
            }
            memcpy(tmp + to, v + a, (size_t)(mid - a) * sizeof *v);
            memcpy(tmp + to + (mid - a), v + b, (size_t)(hi - b) * sizeof *v);
        }
        rt_pair *swap = v;
        v = tmp;
        tmp = swap;
    }
    return v;
}

rt_pair *rt_sort_pairs(rt_pair *v, rt_pair *tmp, int64_t n)
{
    if (n <= MERGED) return merge_sort(v, tmp, n);
    uint64_t any = 0, all = ~(uint64_t)0;
    for (int64_t i = 0; i < n; i++) any |= v[i].key, all &= v[i].key;
    for (int shift = 0; shift < 64; shift += 8) {
        if (!((any ^ all) >> shift & 255)) continue;
        int64_t place[256] = {0}, at = 0;
        for (int64_t i = 0; i < n; i++) place[v[i].key >> shift & 255]++;
        for (int d = 0; d < 256; d++) {
            int64_t count = place[d];
            place[d] = at;
            at += count;
        }
        for (int64_t i = 0; i < n; i++) tmp[place[v[i].key >> shift & 255]++] = v[i];
        rt_pair *swap = v;
        v = tmp;
        tmp = swap;
    }
    return v;
}

enum { SCANNED = 12 /* keys whose order is found by comparing all */ };

uint64_t rt_kth_key(uint64_t *key, int64_t n, int64_t k, int64_t *before)
{
    uint64_t any = 0, all = ~(uint64_t)0;
    *before = 0;
    for (int64_t i = 0; i < n; i++) any |= key[i], all &= key[i];
    if (any == all) return any;
    int left = 64 - __builtin_clzll(any ^ all); /* bits in which those that are left differ */
    while (left > 0 && n > SCANNED) {
        int digit = n < 512 ? 6 : 8, shift = left > digit ? left - digit : 0;
        int64_t count[2][256], below = 0, kept = 0, i = 0; /* two: neighbours often count in one place */
        uint64_t d = 0, mask = ((uint64_t)1 << digit) - 1;
        for (uint64_t c = 0; c <= mask; c++) count[0][c] = count[1][c] = 0;
        for (; i + 1 < n; i += 2) count[0][key[i] >> shift & mask]++, count[1][key[i + 1] >> shift & mask]++;
        if (i < n) count[0][key[i] >> shift & mask]++;
        for (; below + count[0][d] + count[1][d] < k; d++) below += count[0][d] + count[1][d];
        for (i = 0; i < n; i++) { /* without a branch on what is compared */
            uint64_t u = key[i];
            key[kept] = u;
            kept += (u >> shift & mask) == d;
        }
        k -= below, *before += below, n = kept, left = shift;
    }
    if (!left) return key[0];
    for (int64_t i = 0;; i++) {
        int64_t less = 0, same = 0;
        for (int64_t j = 0; j < n; j++) less += key[j] < key[i], same += key[j] == key[i];
        if (less < k && k <= less + same) return *before += less, key[i];
    }
}
