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
       SHORT = 128, /* groups of which the k-th is found by exchanging them */
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

/* Which of n elements, at most GROUPS, is the k-th. */
static int64_t kth_of(const void *x, int dtype, int64_t n, int64_t k, uint64_t flip)
{
    uint64_t key[GROUPS], used[GROUPS];
    int64_t before, i = 0;
    rt_keys(x, dtype, 0, 1, n, flip, key);
    memcpy(used, key, (size_t)n * sizeof *key);
    uint64_t it = rt_kth_key(used, n, k, &before);
    while (key[i] != it) i++;
    return i;
}

/* What goes no later than `limit`, without a branch on it: where hardly a block is without a candidate. */
static void collect(rt_best *s, const rt_arg *a, int64_t from, int64_t n, uint64_t flip, uint64_t limit)
{
    uint64_t key[4 * BLOCK];
    for (int64_t i = 0; i < n; i += 4 * BLOCK) {
        int64_t part = n - i < 4 * BLOCK ? n - i : 4 * BLOCK, count = s->n;
        if (count + part > s->room) {
            cut(s);
            if (!s->worst) return;
            limit = s->worst - 1, count = s->n;
        }
        rt_keys(a->data, a->dtype, from + i, 1, part, flip, key);
        rt_pair *v = s->v;
        for (int64_t j = 0; j < part; j++) {
            v[count] = (rt_pair){key[j], i + j};
            count += key[j] <= limit;
        }
        s->n = count;
    }
}

/* What helps for types that are compared as they are. `sign` turns the order round by exchanging operands.
 *   above_T(x, w)        is one of the block's elements better than w, or (equal) as good?
 *   bound_T(x, n, k, &w) an element than which at least k are better or as good: element i of the row goes into group
 *                        i mod G; the k-th best of the groups' best elements is it. Costs two operations an element
 *                        and lets hardly more than k of them through. False: there are NaN, or too few elements. */
typedef uint64_t bits128 __attribute__((vector_size(16)));

static bool any_bit(bits128 m) { return (m[0] | m[1]) != 0; }

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
    static bool bound_##T(const T *x, int dtype, int64_t n, int64_t k, bool largest, T *bound)                         \
    {                                                                                                                  \
        T best[GROUPS];                                                                                                \
        int64_t G = (4 * k + BLOCK - 1) / BLOCK * BLOCK, i = 0;                                                        \
        if (G > GROUPS || n < 2 * G) return false;                                                                     \
        mask_##T odd = {0};                                                                                            \
        memcpy(best, x, (size_t)G * sizeof(T));                                                                        \
        for (int64_t g = 0; g < G; g += PER_##T) {                                                                     \
            vec_##T b = load_##T(best + g);                                                                            \
            odd |= b != b;                                                                                             \
        }                                                                                                              \
        for (i = G; i + G <= n; i += G)                                                                                \
            for (int64_t g = 0; g < G; g += PER_##T) {                                                                 \
                vec_##T v = load_##T(x + i + g), b = load_##T(best + g);                                               \
                mask_##T take = largest ? v > b : v < b;                                                               \
                odd |= v != v;                                                                                         \
                b = (vec_##T)((take & (mask_##T)v) | (~take & (mask_##T)b));                                           \
                memcpy(best + g, &b, sizeof b);                                                                        \
            }                                                                                                          \
        for (; i < n; i++) { /* what is left need not take part, but for the very best */                              \
            odd[0] |= x[i] != x[i];                                                                                    \
            if (k == 1 && (largest ? x[i] > best[0] : x[i] < best[0])) best[0] = x[i];                                 \
        }                                                                                                              \
        if (any_bit((bits128)odd)) return false;                                                                       \
        for (int64_t g = 1; k == 1 && g < G; g++)                                                                      \
            if (largest ? best[g] > best[0] : best[g] < best[0]) best[0] = best[g];                                    \
        if (G > SHORT) {                                                                                               \
            *bound = best[kth_of(best, dtype, G, k, largest ? ~(uint64_t)0 : 0)];                                      \
            return true;                                                                                               \
        }                                                                                                              \
        for (int64_t lo = 0, hi = G - 1; k > 1 && lo < hi;) { /* the k-th best of them */                              \
            T p = best[(lo + hi) / 2];                                                                                 \
            int64_t u = lo, v = hi;                                                                                    \
            while (u <= v) {                                                                                           \
                while (largest ? best[u] > p : best[u] < p) u++;                                                       \
                while (largest ? p > best[v] : p < best[v]) v--;                                                       \
                if (u > v) break;                                                                                      \
                T swap = best[u];                                                                                      \
                best[u++] = best[v];                                                                                   \
                best[v--] = swap;                                                                                      \
            }                                                                                                          \
            if (k - 1 <= v) hi = v;                                                                                    \
            else if (k - 1 >= u) lo = u;                                                                               \
            else break;                                                                                                \
        }                                                                                                              \
        *bound = best[k - 1];                                                                                          \
        return true;                                                                                                   \
    }                                                                                                                  \
    static void scan_##T(rt_best *s, const rt_arg *a, int64_t from, int64_t n, uint64_t flip)                          \
    {                                                                                                                  \
        const T *x = (const T *)a->data + from;                                                                        \
        uint64_t key[BLOCK], limit = ~(uint64_t)0;                                                                     \
        T bound = 0;                                                                                                   \
        bool bounded = bound_##T(x, a->dtype, n, s->k, flip != 0, &bound);                                             \
        if (bounded) rt_keys(&bound, a->dtype, 0, 1, 1, flip, &limit);                                                 \
        if (bounded && !s->few && n < DENSE * s->k) {                                                                  \
            collect(s, a, from, n, flip, limit);                                                                       \
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
