/* rt_topk: the best k of each row, best first or as they stand in the row, and where they stood; of equal elements the
 * lower index comes first, and is the better one.
 *   a few:   kept in order while the row goes by; most elements are only compared with the worst of them
 *   some:    what is better than the worst known of the best is collected; when the room is full, it is cut to k, so
 *            that no order of the elements costs more than a constant number of cuts each
 *   most:    all are collected
 * What is collected stays in the order of the row: to cut finds the k-th key and keeps what goes before it. Only what is
 * left in the end is sorted, where the best is to come first.
 * A first look at the row gives an element that k others reach, so that little more than k are candidates at all.
 * Rows whose elements do not lie side by side go 16 at a time, so that cache lines are used whole. Elements are taken
 * in blocks of 16; a block without a candidate (nearly all of them) costs comparisons only. */
#include "runtime/rt_sort.h"
#include <string.h>

enum { KEPT = 48, /* as many are kept in order, */
       KEPT_LOOSE = 8, /* and where another order is wanted in the end */
       GROUPS = 1024,
       DENSE = 48,  /* elements for one that is wanted: nearly every block has a candidate */
       PIECE = 1024, /* elements whose candidates are known before they are looked at */
       BLOCK = 16 /* elements that are looked at together; rows at once */ };

typedef struct rt_best {
    rt_pair *v, *tmp;
    int64_t n, k, room;
    uint64_t worst; /* what does not go before this is of no use, */
    int64_t mark;   /* and where that element stands; -1: k are not known yet */
    bool few;       /* v is kept in order of keys */
} rt_best;

static rt_best best_of(rt_pair *v, int64_t room, int64_t k, bool few)
{
    return (rt_best){.v = v, .tmp = v + room, .k = k, .room = room, .worst = ~(uint64_t)0, .mark = -1, .few = few};
}

static void mark_worst(rt_best *s)
{
    s->worst = s->v[s->k - 1].key;
    s->mark = s->v[s->k - 1].at;
}

/* The best k of what is collected, if as many are there, in the order that they had. */
static void cut(rt_best *s)
{
    if (s->n < s->k) return;
    uint64_t *key = (uint64_t *)s->tmp;
    int64_t before, kept = 0;
    for (int64_t i = 0; i < s->n; i++) key[i] = s->v[i].key;
    s->worst = rt_kth_key(key, s->n, s->k, &before);
    int64_t ties = s->k - before;
    for (int64_t i = 0; i < s->n; i++) {
        rt_pair p = s->v[i];
        bool tie = p.key == s->worst && ties > 0;
        if (tie) s->mark = p.at;
        ties -= tie;
        s->v[kept] = p;
        kept += tie || p.key < s->worst;
    }
    s->n = s->k;
}

/* A candidate, later in the row than all before. Whoever is not better than the worst of k is none. */
static void offer(rt_best *s, uint64_t key, int64_t at)
{
    if (s->mark >= 0 && key >= s->worst) return;
    if (!s->few) {
        s->v[s->n++] = (rt_pair){key, at};
        if (s->n == s->room) cut(s);
        return;
    }
    int64_t j = s->n < s->k ? s->n++ : s->k - 1;
    for (; j && s->v[j - 1].key > key; j--) s->v[j] = s->v[j - 1];
    s->v[j] = (rt_pair){key, at};
    if (s->n == s->k) mark_worst(s);
}

/* The k best in the order that is asked for. */
static void finish(rt_best *s, bool sorted)
{
    if (!s->few) {
        if (s->n > s->k && (!sorted || s->k < s->n / 4 * 3)) cut(s); /* else sorting all takes no longer */
        if (sorted && rt_sort_pairs(s->v, s->tmp, s->n) != s->v) s->v = s->tmp;
    } else if (!sorted)
        for (int64_t i = 1; i < s->n; i++) {
            rt_pair p = s->v[i];
            int64_t j = i;
            for (; j && s->v[j - 1].at > p.at; j--) s->v[j] = s->v[j - 1];
            s->v[j] = p;
        }
}

static bool any_before(const uint64_t *key, uint64_t worst)
{
    bool any = false;
    for (int i = 0; i < BLOCK; i++) any |= key[i] < worst;
    return any;
}

/* A number that k of n numbers, at most GROUPS, do not exceed, and no more than an eighth of k besides, where so many are
 * not equal; of one the number itself. What is left of the range is halved by counting, in 31 bits of it. */
static uint64_t about_kth(uint64_t *x, int64_t n, int64_t k)
{
    int32_t v[GROUPS];
    uint64_t lo = x[0], hi = x[0];
    for (int64_t i = 1; i < n; i++) {
        lo = x[i] < lo ? x[i] : lo;
        hi = x[i] > hi ? x[i] : hi;
    }
    if (k == 1) return lo;
    for (int64_t reach = n; lo < hi && reach > k + k / 8;) {
        int shift = 33 - __builtin_clzll(hi - lo);
        if (shift < 0) shift = 0;
        for (int64_t i = 0; i < n; i++) v[i] = (int32_t)((x[i] - lo) >> shift);
        int32_t from = 0, to = (int32_t)((hi - lo) >> shift);
        while (from < to && reach > k + k / 8) {
            int32_t half = from + (to - from) / 2, count = 0;
            for (int64_t i = 0; i < n; i++) count += v[i] <= half;
            if (count >= k) to = half, reach = count;
            else from = half + 1;
        }
        uint64_t start = lo + ((uint64_t)from << shift), end = lo + ((uint64_t)to << shift), rest = ((uint64_t)1 << shift) - 1;
        if (hi - end > rest) hi = end + rest;
        lo = shift && from == to ? start : hi; /* else it is found */
        for (int64_t i = 0; lo < hi && i < n; i++) x[i] = x[i] < lo ? lo : x[i] > hi ? hi : x[i];
    }
    return hi;
}

/* What helps for types that are compared as they are: T, M an integer of its size.
 *   above_T(x, w)        is one of the block's elements better than w, or (equal) as good?
 *   order_T, element_T   a number in the order of elements, the better the smaller, and back
 *   bound_T(x, n, k, &w) an element than which at least k are better or as good, and hardly more than k: element i of the
 *                        row goes into group i mod G; the best element of each of k groups is as good as it
 *                        (about_kth). False: there are NaN, or too few elements.
 *   collect_T            what is as good as the bound goes to the candidates; no branch on it, since hardly a block is
 *                        without one */
typedef uint64_t bits128 __attribute__((vector_size(16)));

static bool any_bit(bits128 m) { return (m[0] | m[1]) != 0; }

#define MAX_int32_t INT32_MAX
#define MAX_int64_t INT64_MAX
#define TYPED(T, M)                                                                                                    \
    typedef T vec_##T __attribute__((vector_size(16)));                                                                \
    typedef M mask_##T __attribute__((vector_size(16)));                                                               \
    enum { PER_##T = 16 / sizeof(T) };                                                                                 \
    static vec_##T load_##T(const T *p)                                                                                \
    {                                                                                                                  \
        vec_##T v;                                                                                                     \
        memcpy(&v, p, sizeof v);                                                                                       \
        return v;                                                                                                      \
    }                                                                                                                  \
    static bool above_##T(const T *x, T worst, bool largest, bool equal)                                               \
    {                                                                                                                  \
        vec_##T w = worst - (vec_##T){0};                                                                              \
        mask_##T m = {0};                                                                                              \
        for (int i = 0; i < BLOCK; i += PER_##T) {                                                                     \
            vec_##T v = load_##T(x + i);                                                                               \
            m |= largest ? (equal ? ~(v < w) : ~(v <= w)) : equal ? ~(v > w) : ~(v >= w);                              \
        }                                                                                                              \
        return any_bit((bits128)m);                                                                                    \
    }                                                                                                                  \
    static uint64_t order_##T(T x, uint64_t flip)                                                                      \
    {                                                                                                                  \
        M m;                                                                                                           \
        memcpy(&m, &x, sizeof m);                                                                                      \
        if ((T)0.5 != 0) m ^= m >> (8 * sizeof m - 1) & MAX_##M;                                                       \
        return (uint64_t)(int64_t)m ^ (uint64_t)1 << 63 ^ flip;                                                        \
    }                                                                                                                  \
    static T element_##T(uint64_t order, uint64_t flip)                                                                \
    {                                                                                                                  \
        M m = (M)(order ^ (uint64_t)1 << 63 ^ flip);                                                                   \
        T x;                                                                                                           \
        if ((T)0.5 != 0) m ^= m >> (8 * sizeof m - 1) & MAX_##M;                                                       \
        memcpy(&x, &m, sizeof x);                                                                                      \
        return x;                                                                                                      \
    }                                                                                                                  \
    static bool bound_##T(const T *x, int64_t n, int64_t k, bool largest, T *bound)                                    \
    {                                                                                                                  \
        T best[GROUPS];                                                                                                \
        int64_t G = (4 * k + BLOCK - 1) / BLOCK * BLOCK, i = 0;                                                        \
        if (G > GROUPS || n < 2 * G) return false;                                                                     \
        M odd = 0;                                                                                                     \
        memcpy(best, x, (size_t)G * sizeof(T));                                                                        \
        for (int64_t g = 0; g < G; g++) odd |= best[g] != best[g];                                                     \
        for (i = G; i + G <= n; i += G) {                                                                              \
            const T *v = x + i;                                                                                        \
            if (largest)                                                                                               \
                for (int64_t g = 0; g < G; g++) best[g] = v[g] > best[g] ? v[g] : best[g], odd |= v[g] != v[g];        \
            else                                                                                                       \
                for (int64_t g = 0; g < G; g++) best[g] = v[g] < best[g] ? v[g] : best[g], odd |= v[g] != v[g];        \
        }                                                                                                              \
        for (; i < n; i++) { /* what is left need not take part, but for the very best */                              \
            odd |= x[i] != x[i];                                                                                       \
            if (k == 1 && (largest ? x[i] > best[0] : x[i] < best[0])) best[0] = x[i];                                 \
        }                                                                                                              \
        if (odd) return false;                                                                                         \
        uint64_t order[GROUPS], flip = largest ? ~(uint64_t)0 : 0;                                                     \
        for (int64_t g = 0; g < G; g++) order[g] = order_##T(best[g], flip);                                           \
        *bound = element_##T(about_kth(order, G, k), flip);                                                            \
        return true;                                                                                                   \
    }                                                                                                                  \
    static void collect_##T(rt_best *s, const rt_arg *a, int64_t from, int64_t n, uint64_t flip, T bound)              \
    {                                                                                                                  \
        const T *x = (const T *)a->data + from;                                                                        \
        uint16_t at[PIECE];                                                                                            \
        T good[BLOCK];                                                                                                 \
        uint64_t key[BLOCK];                                                                                           \
        for (int64_t i = 0; i < n; i += PIECE) {                                                                       \
            int64_t part = n - i < PIECE ? n - i : PIECE, count = 0;                                                   \
            if (flip)                                                                                                  \
                for (int64_t j = 0; j < part; j++) at[count] = (uint16_t)j, count += x[i + j] >= bound;                \
            else                                                                                                       \
                for (int64_t j = 0; j < part; j++) at[count] = (uint16_t)j, count += x[i + j] <= bound;                \
            for (int64_t j = 0; j < count; j += BLOCK) {                                                               \
                int64_t some = count - j < BLOCK ? count - j : BLOCK;                                                  \
                for (int64_t b = 0; b < some; b++) good[b] = x[i + at[j + b]];                                         \
                rt_keys(good, a->dtype, 0, 1, some, flip, key);                                                        \
                for (int64_t b = 0; b < some; b++) offer(s, key[b], i + at[j + b]);                                    \
            }                                                                                                          \
        }                                                                                                              \
    }                                                                                                                  \
    static void scan_##T(rt_best *s, const rt_arg *a, int64_t from, int64_t n, uint64_t flip)                          \
    {                                                                                                                  \
        const T *x = (const T *)a->data + from;                                                                        \
        uint64_t key[BLOCK], limit = ~(uint64_t)0;                                                                     \
        T bound = 0;                                                                                                   \
        bool bounded = bound_##T(x, n, s->k, flip != 0, &bound);                                             \
        if (bounded) rt_keys(&bound, a->dtype, 0, 1, 1, flip, &limit);                                                 \
        if (bounded && s->k > KEPT_LOOSE && n < DENSE * s->k) {                                                                  \
            collect_##T(s, a, from, n, flip, bound);                                                                    \
            return;                                                                                                    \
        }                                                                                                              \
        for (int64_t i = 0; i < n; i += BLOCK) {                                                                       \
            int64_t part = n - i < BLOCK ? n - i : BLOCK;                                                              \
            if (part == BLOCK && s->mark >= 0) {                                                                       \
                if (!above_##T(x + i, x[s->mark], flip != 0, false)) continue;                                         \
            } else if (part == BLOCK && bounded && !above_##T(x + i, bound, flip != 0, true)) continue;                \
            rt_keys(a->data, a->dtype, from + i, 1, part, flip, key);                                                  \
            for (int64_t j = 0; j < part; j++)                                                                         \
                if (key[j] <= limit) offer(s, key[j], i + j);                                                          \
            if (s->k == 1 && bounded && s->mark >= 0) return; /* as good as any */                                     \
        }                                                                                                              \
    }
TYPED(float, int32_t)
TYPED(int32_t, int32_t)
TYPED(double, int64_t)
TYPED(int64_t, int64_t)
#undef TYPED
#undef MAX_int32_t
#undef MAX_int64_t

/* Is one of the elements better than that of its row? */
static bool beyond_float(const float *x, const float *worst, bool largest)
{
    mask_float m = {0};
    for (int i = 0; i < BLOCK; i += PER_float) {
        vec_float v = load_float(x + i), w = load_float(worst + i);
        m |= largest ? ~(v <= w) : ~(v >= w);
    }
    return any_bit((bits128)m);
}

/* A row whose elements lie side by side from element `from` on. */
static void scan_row(rt_best *s, const rt_arg *x, int64_t from, int64_t n, uint64_t flip)
{
    uint64_t key[BLOCK];
    switch (x->dtype) {
    case BMC_F32: scan_float(s, x, from, n, flip); return;
    case BMC_F64: scan_double(s, x, from, n, flip); return;
    case BMC_I32: scan_int32_t(s, x, from, n, flip); return;
    case BMC_I64: scan_int64_t(s, x, from, n, flip); return;
    default: break;
    }
    for (int64_t i = 0; i < n; i += BLOCK) {
        int64_t part = n - i < BLOCK ? n - i : BLOCK;
        rt_keys(x->data, x->dtype, from + i, 1, part, flip, key);
        if (s->mark >= 0 && part == BLOCK && !any_before(key, s->worst)) continue;
        for (int64_t j = 0; j < part; j++) offer(s, key[j], i + j);
    }
}

/* `rows` rows side by side, whose elements lie `stride` apart. */
static void scan_columns(rt_best *s, int64_t rows, const rt_arg *x, int64_t from, int64_t stride, int64_t n,
                         uint64_t flip)
{
    uint64_t key[BLOCK];
    float worst[BLOCK];
    bool floats = x->dtype == BMC_F32 && rows == BLOCK, known = false;
    for (int64_t i = 0; i < n; i++) {
        const float *f = (const float *)x->data + from + i * stride;
        if (floats && known && !beyond_float(f, worst, flip != 0)) continue;
        rt_keys(x->data, x->dtype, from + i * stride, 1, rows, flip, key);
        for (int64_t r = 0; r < rows; r++) {
            if (s[r].mark >= 0 && key[r] >= s[r].worst) continue;
            offer(&s[r], key[r], i);
            if (floats && s[r].mark >= 0) worst[r] = ((const float *)x->data)[from + r + s[r].mark * stride];
        }
        known = s->mark >= 0; /* they fill at the same element */
    }
}

static void take_row(rt_best *s, const rt_arg *x, int64_t from, int64_t stride, int64_t n, uint64_t flip)
{
    uint64_t key[64];
    for (int64_t i = 0; i < n; i += 64) {
        int64_t part = n - i < 64 ? n - i : 64;
        rt_keys(x->data, x->dtype, from + i * stride, stride, part, flip, key);
        for (int64_t j = 0; j < part; j++) s->v[i + j] = (rt_pair){key[j], i + j};
    }
    s->n = n;
}

static void copy_element(void *to, int64_t i, const void *from, int64_t j, int bits)
{
    switch (bits) { /* a constant number of bytes each */
    case 8: memcpy((char *)to + i, (const char *)from + j, 1); break;
    case 16: memcpy((char *)to + 2 * i, (const char *)from + 2 * j, 2); break;
    case 32: memcpy((char *)to + 4 * i, (const char *)from + 4 * j, 4); break;
    default: memcpy((char *)to + 8 * i, (const char *)from + 8 * j, 8); break;
    }
}

/* Those of n elements that go before `worst`, and the first `ties` equal to it, in their order; what is not taken is
 * written over by the next one. */
static inline void take(const uint64_t *key, uint64_t worst, int64_t ties, int64_t k, const void *x, int64_t from,
                        void *y, int64_t *at, int64_t to, int bits)
{
    int64_t i = 0, o = 0;
    for (; ties; i++) {
        at[to + o] = i;
        copy_element(y, to + o, x, from + i, bits);
        ties -= key[i] == worst;
        o += key[i] <= worst;
    }
    for (; o < k; i++) {
        at[to + o] = i;
        copy_element(y, to + o, x, from + i, bits);
        o += key[i] < worst;
    }
}

/* Most of a row whose elements lie side by side, in its order, straight to the results. */
static void most_of_row(rt_best *s, const rt_arg *x, int64_t from, int64_t n, uint64_t flip, void *y, int64_t *at,
                        int64_t to, int bits)
{
    uint64_t *key = (uint64_t *)s->v, *used = (uint64_t *)s->tmp;
    int64_t before;
    rt_keys(x->data, x->dtype, from, 1, n, flip, key);
    memcpy(used, key, (size_t)n * sizeof *key);
    uint64_t worst = rt_kth_key(used, n, s->k, &before);
    switch (bits) { /* a loop for each */
    case 8: take(key, worst, s->k - before, s->k, x->data, from, y, at, to, 8); break;
    case 16: take(key, worst, s->k - before, s->k, x->data, from, y, at, to, 16); break;
    case 32: take(key, worst, s->k - before, s->k, x->data, from, y, at, to, 32); break;
    default: take(key, worst, s->k - before, s->k, x->data, from, y, at, to, 64); break;
    }
}

int32_t rt_topk(bmc_ctx *c, rt_arg *arg, int32_t n, int32_t tid, int32_t nt)
{
    (void)c, (void)n;
    const rt_arg *x = &arg[0], *y = &arg[1], *at = &arg[2], *tmp = &arg[3];
    int axis = (int)arg[4].value, bits = rt_dtype_bits(x->dtype);
    int64_t len = x->dim[axis], k = y->dim[axis], outer = 1, inner = 1;
    for (int i = 0; i < axis; i++) outer *= x->dim[i];
    for (int i = axis + 1; i < x->rank; i++) inner *= x->dim[i];
    if (k <= 0 || k > len || outer * inner == 0) return BMC_OK; /* a check has failed, or nothing to do */
    if (!x->data || !y->data || !at->data || !tmp->data) return BMC_E_MEMORY;
    uint64_t flip = arg[5].value ? ~(uint64_t)0 : 0;
    /* a thread's part of the workspace: tmp.dim[1] rows of twice the room for pairs */
    int64_t parts = tmp->dim[0] < nt ? tmp->dim[0] : nt, at_once = tmp->dim[1], room = tmp->dim[2] / 2;
    if (tid >= parts) return BMC_OK;
    int64_t groups = (inner + at_once - 1) / at_once;
    bool sorted = arg[6].value != 0, few = k <= (sorted ? KEPT : KEPT_LOOSE), most = !few && k > len / 4;
    rt_best best[BLOCK];
    for (int64_t g = outer * groups * tid / parts; g < outer * groups * (tid + 1) / parts; g++) {
        int64_t o = g / groups, first = g % groups * at_once, rows = inner - first < at_once ? inner - first : at_once;
        int64_t from = o * len * inner + first, to = o * k * inner + first;
        rt_pair *work = (rt_pair *)tmp->data + tid * at_once * 2 * room;
        for (int64_t r = 0; r < rows; r++) best[r] = best_of(work + r * 2 * room, room, k, few);
        if (most && !sorted && inner == 1) {
            most_of_row(best, x, from, len, flip, y->data, at->data, to, bits);
            continue;
        }
        if (most)
            for (int64_t r = 0; r < rows; r++) take_row(&best[r], x, from + r, inner, len, flip);
        else if (inner > 1) scan_columns(best, rows, x, from, inner, len, flip);
        else scan_row(best, x, from, len, flip);
        for (int64_t r = 0; r < rows; r++) {
            finish(&best[r], sorted);
            for (int64_t i = 0; i < k; i++) {
                ((int64_t *)at->data)[to + r + i * inner] = best[r].v[i].at;
                copy_element(y->data, to + r + i * inner, x->data, from + r + best[r].v[i].at * inner, bits);
            }
        }
    }
    return BMC_OK;
}
