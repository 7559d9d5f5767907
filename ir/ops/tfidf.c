/* tfidf.c: TfIdfVectorizer: how often each n-gram of a pool occurs in each row of tokens, integers or strings.
 *   y[row, d] = weight * count or min(count, 1)        for the n-grams whose coordinate is d
 *   count     = places p and distances s+1 (s = 0..max_skip_count; 0 for single tokens) with x[p + i (s+1)] == gram[i] for all i
 * An internal operator counts; mode and weights are element-wise operators behind it. */
#include "ir/graph/eval.h"
#include "ir/ops/compose.h"
#include "ir/graph/lower.h"
#include "base/map.h"
#include <string.h>

/* ---- NgramCounts(x, pool, first, length, begin) ----
 * n-gram g is pool[first[g] .. +length[g]]; coordinate d counts the n-grams begin[d] .. begin[d+1]. */

enum { X, POOL, FIRST, LENGTH, BEGIN };
static const Port P_COUNT[] = {{"x", DTS_STR | DTS(DT_I64), 0, 1}, {"pool", DTS_STR | DTS(DT_I64), 0, 1}, {"first", DTS(DT_I64), 0, 0},
                               {"length", DTS(DT_I64), 0, 0},      {"begin", DTS(DT_I64), 0, 0},          PORT_END};
static const Port P_COUNTS[] = {{"counts", DTS(DT_I64), 0, 0}, PORT_END};
typedef struct Count {
    uint64_t set;
    int64_t max_skip;
} Count;
static const AttrSpec COUNT_ATTRS[] = {A_INT(Count, max_skip, 0), A_END};

static bool count_infer(Infer *c)
{
    if (!infer_need_rank(c, X, 2, 2)) return false;
    for (uint32_t k = POOL; k <= BEGIN; k++)
        if (!infer_need_rank(c, k, 1, 1)) return false;
    return infer_set(c, 0, DT_I64, 2, (Dim[]){infer_dim(c, X, 0), dim_sub(c->d, infer_dim(c, BEGIN, 0), dim_const(c->d, 1))});
}

/* ---- known numbers: a tree of the n-grams, its edges (node, token) -> node in a table that is looked up by a hash.
 * Node 0 is the root; an entry that is not used has node -1. */
enum { PROBES_MOST = 4, SALTS = 200, GROWS = 3, FEW_EDGES = 2048 };
static const uint64_t NODE_SALT = 0x9e3779b97f4a7c15u;

typedef struct Edges {
    uint32_t n;                     /* edges, and nodes but the root */
    int64_t *from, *token;          /* edge i leads to node i + 1 */
    int64_t *begin, *coordinates;   /* those of the n-grams that end there: coordinates[begin[i]..begin[i + 1]] */
    int64_t grams, longest;
    uint64_t salt, mask;
    int64_t probes;                 /* so many entries from an edge's hash on may hold it; as few as a salt was found for */
    int64_t *table;                 /* [3][mask + probes]: node, token, to */
} Edges;

static uint64_t edge_hash(const Edges *e, int64_t from, int64_t token)
{
    return ((uint64_t)token * e->salt + (uint64_t)from * NODE_SALT) >> 32 & e->mask;
}

/* All edges within e->probes places of their hash. */
static bool edges_placed(Edges *e)
{
    int64_t *t = e->table, size = (int64_t)e->mask + e->probes;
    for (int64_t i = 0; i < size; i++) t[i] = -1;
    for (uint32_t i = 0; i < e->n; i++) {
        int64_t h = (int64_t)edge_hash(e, e->from[i], e->token[i]), at = h;
        while (at < h + e->probes && t[at] >= 0) at++;
        if (at == h + e->probes) return false;
        t[at] = e->from[i], t[size + at] = e->token[i], t[2 * size + at] = i + 1;
    }
    return true;
}

/* A table with fewer probes is looked up faster, a smaller one stays in the caches. Few edges are tried with fewer. */
static bool edges_hashed(Edges *e, Arena *arena)
{
    uint64_t least = 1;
    while (least < 2 * (uint64_t)e->n) least *= 2;
    size_t room = 3 * (size_t)((least << (GROWS - 1)) + PROBES_MOST - 1);
    e->table = arena_array(arena, int64_t, room);
    memset(e->table, 0, room * sizeof *e->table);
    for (e->probes = e->n <= FEW_EDGES ? 1 : PROBES_MOST; e->probes <= PROBES_MOST; e->probes *= 2)
        for (int grow = 0; grow < GROWS; grow++) {
            e->mask = (least << grow) - 1;
            e->salt = NODE_SALT;
            for (int i = 0; i < SALTS; i++, e->salt = e->salt * 6364136223846793005u + 1442695040888963407u)
                if (edges_placed(e)) return true;
        }
    return false;
}

/* false: an operand that is not known, or n-grams that do not make such a table. */
static bool edges(Lw *l, Edges *e)
{
    Blobs *bs = &l->m->blobs;
    Arena *arena = l->k->arena;
    Blob pool, first, length, begin;
    if (lw_elem(l, X) == DT_STR || !lw_const(l, POOL, &pool) || !lw_const(l, FIRST, &first)) return false;
    if (!lw_const(l, LENGTH, &length) || !lw_const(l, BEGIN, &begin)) return false;
    Blob of[4] = {pool, first, length, begin};
    for (int i = 0; i < 4; i++)
        if (blob_rec(bs, of[i])->kind == BLOB_DERIVED) return false;
    int64_t D = blob_rec(bs, begin)->count - 1, grams = blob_rec(bs, first)->count, most = 1;
    for (int64_t g = 0; g < grams; g++) most += blob_get_i(bs, length, g);
    if (most > 1 << 20) return false;
    int64_t *memory = arena_array(arena, int64_t, 3 * (size_t)most + 3 * (size_t)grams + 1), *end_of = memory + 3 * most + 1, *coordinate_of = end_of + grams;
    e->from = memory, e->token = memory + most, e->begin = memory + 2 * most, e->coordinates = coordinate_of + grams;
    Map known; /* place of an edge by (node, token), as number of the token in the pool's order */
    map_init(&known, arena);
    for (int64_t d = 0; d < D; d++)
        for (int64_t g = blob_get_i(bs, begin, d); g < blob_get_i(bs, begin, d + 1); g++) {
            int64_t node = 0, len = blob_get_i(bs, length, g);
            if (len > e->longest) e->longest = len;
            for (int64_t i = 0; i < len; i++) {
                int64_t token = blob_get_i(bs, pool, blob_get_i(bs, first, g) + i);
                uint64_t key = (uint64_t)token * 0xd6e8feb86659fd93u ^ (uint64_t)node * NODE_SALT, at;
                if (!map_get(&known, key, &at)) {
                    at = e->n++;
                    e->from[at] = node, e->token[at] = token;
                    map_put(&known, key, at);
                } else if (e->from[at] != node || e->token[at] != token) return false;
                node = (int64_t)at + 1;
            }
            if (!node) return false;
            e->begin[node]++; /* counted behind the edge node - 1 */
            end_of[e->grams] = node - 1, coordinate_of[e->grams++] = d;
        }
    if (!e->n) return false;
    for (uint32_t i = 0; i < e->n; i++) e->begin[i + 1] += e->begin[i]; /* where those of edge i end; then, filled from there, where they begin */
    for (int64_t g = e->grams; g-- > 0;) e->coordinates[--e->begin[end_of[g] + 1]] = coordinate_of[g];
    for (uint32_t i = 0; i < e->n; i++) e->begin[i] = e->begin[i + 1];
    e->begin[e->n] = e->grams;
    return edges_hashed(e, arena);
}

/* Every row is walked once for each place and distance, down the tree as long as an edge is there. */
static bool count_by_tree(Lw *l, const Edges *e, int64_t max_skip)
{
    Dims *d = &l->m->dims;
    int64_t size = (int64_t)e->mask + e->probes;
    bool once = true; /* no n-gram has two coordinates: the one of each edge or -1 */
    for (uint32_t i = 0; i < e->n; i++) once = once && e->begin[i + 1] <= e->begin[i] + 1;
    int64_t *one_each = once ? arena_array(l->k->arena, int64_t, e->n) : NULL;
    for (uint32_t i = 0; once && i < e->n; i++) one_each[i] = e->begin[i + 1] > e->begin[i] ? e->coordinates[e->begin[i]] : -1;
    Dim sizes[2] = {dim_const(d, 3), dim_const(d, size)}, nodes = dim_const(d, once ? e->n : e->n + 1), grams = dim_const(d, e->grams);
    KBuf table = lw_const_buf(l, blob_inline(&l->m->blobs, DT_I64, 3 * size, e->table), "edges", 2, sizes),
         counts = once ? lw_const_buf(l, blob_inline(&l->m->blobs, DT_I64, e->n, one_each), "counts", 1, &nodes)
                       : lw_const_buf(l, blob_inline(&l->m->blobs, DT_I64, e->n + 1, e->begin), "begins", 1, &nodes),
         several = once ? counts : lw_const_buf(l, blob_inline(&l->m->blobs, DT_I64, e->grams, e->coordinates), "coordinates", 1, &grams);
    KBuf x = lw_in(l, X), y = lw_out(l, 0);
    Kb *b = lw_kernel(l, "ngrams");
    uint32_t px = kb_param(b, x, false), pt = kb_param(b, table, false), pc = kb_param(b, counts, false),
             ps = once ? pc : kb_param(b, several, false), py = kb_param(b, y, true);
    KVal zero = kb_i(b, 0), one = kb_i(b, 1), none = kb_i(b, -1), C = kb_dim(b, lw_dim(l, X, 1));
    KVal row = kb_for(b, KLOOP_PAR, zero, kb_dim(b, lw_dim(l, X, 0)));
    KVal col = kb_for(b, KLOOP_VEC, zero, kb_dim(b, lw_out_dim(l, 0, 1)));
    kb_store(b, py, (KVal[]){row, col}, zero);
    kb_end(b);
    KVal skip = kb_for(b, KLOOP_SEQ, zero, kb_i(b, e->longest > 1 ? max_skip + 1 : 1));
    KVal place = kb_for(b, KLOOP_SEQ, zero, C);
    KVal node = zero, apart = kb_add(b, skip, one);
    for (int64_t i = 0; i < e->longest; i++) {
        KVal at = kb_add(b, place, kb_mul(b, kb_i(b, i), apart));
        KVal there = kb_and(b, kb_lt(b, at, C), kb_ge(b, node, zero));
        KVal token = kb_load_if(b, px, (KVal[]){row, at}, there, (KVal){0}), to = none;
        KVal h = kb_add(b, kb_mul(b, token, kb_i(b, (int64_t)e->salt)), kb_mul(b, node, kb_i(b, (int64_t)NODE_SALT)));
        h = kb_and(b, kb_bin(b, KOP_SHR, h, kb_i(b, 32)), kb_i(b, (int64_t)e->mask));
        for (int64_t k = 0; k < e->probes; k++) {
            KVal slot = kb_add(b, h, kb_i(b, k));
            KVal from = kb_load(b, pt, (KVal[]){zero, slot}), by = kb_load(b, pt, (KVal[]){one, slot});
            KVal same = kb_and(b, kb_eq(b, from, node), kb_eq(b, by, token));
            to = kb_select(b, kb_and(b, same, there), kb_load(b, pt, (KVal[]){kb_i(b, 2), slot}), to);
        }
        node = to;
        KVal edge = kb_max(b, zero, kb_sub(b, node, one)), counts_now = kb_lt(b, zero, node);
        if (!i) counts_now = kb_and(b, counts_now, kb_eq(b, skip, zero)); /* single tokens have no distance */
        KVal coordinate = kb_load(b, pc, &edge);
        if (once) counts_now = kb_and(b, kb_ge(b, coordinate, zero), counts_now);
        else {
            KVal next = kb_add(b, edge, one), end = kb_load(b, pc, &next);
            KVal gram = kb_for(b, KLOOP_SEQ, coordinate, kb_select(b, counts_now, end, coordinate));
            coordinate = kb_load(b, ps, &gram);
        }
        KVal to_y[2] = {row, once ? kb_max(b, zero, coordinate) : coordinate}, always = {0};
        KVal found = kb_load_if(b, py, to_y, once ? counts_now : always, (KVal){0});
        kb_store_if(b, py, to_y, kb_add(b, found, one), once ? counts_now : always);
        if (!once) kb_end(b);
    }
    for (int i = 0; i < 3; i++) kb_end(b);
    lw_kernel_end(l);
    return true;
}

static bool count_lower(Lw *l, Node n)
{
    Edges e = {0};
    if (edges(l, &e)) return count_by_tree(l, &e, ATTRS(l->g, n, Count)->max_skip);
    KBuf in[5];
    uint32_t p[5];
    for (uint32_t k = 0; k < 5; k++) in[k] = lw_in(l, k);
    lw_prepare_out(l);
    Kb *b = lw_kernel(l, "ngrams");
    for (uint32_t k = 0; k < 5; k++) p[k] = kb_param(b, in[k], false);
    KVal idx[2], zero = kb_i(b, 0), one = kb_i(b, 1), yes = kb_const_i(b, DT_BOOL, 1);
    KOp add = KOP_ADD, and = KOP_AND;
    KbLoop gram, skip, place, token;
    lw_nest_over(l, 0, idx);
    KVal next_d = kb_add(b, idx[1], one);
    kb_loop(b, &gram, KLOOP_SEQ, kb_load(b, p[BEGIN], &idx[1]), kb_load(b, p[BEGIN], &next_d), 1, &zero, &add);
    KVal first = kb_load(b, p[FIRST], &gram.iv), length = kb_load(b, p[LENGTH], &gram.iv);
    KVal skips = kb_select(b, kb_eq(b, length, one), one, kb_i(b, ATTRS(l->g, n, Count)->max_skip + 1));
    kb_loop(b, &skip, KLOOP_SEQ, zero, skips, 1, gram.carry, &add);
    KVal step = kb_add(b, skip.iv, one), reach = kb_mul(b, kb_sub(b, length, one), step);
    kb_loop(b, &place, KLOOP_SEQ, zero, kb_max(b, zero, kb_sub(b, kb_dim(b, lw_dim(l, X, 1)), reach)), 1, skip.carry, &add);
    kb_loop(b, &token, KLOOP_SEQ, zero, length, 1, &yes, &and);
    KVal at[2] = {idx[0], kb_add(b, place.iv, kb_mul(b, token.iv, step))}, of = kb_add(b, first, token.iv);
    KVal same = kb_and(b, token.carry[0], kb_eq(b, kb_load(b, p[X], at), kb_load(b, p[POOL], &of)));
    kb_loop_end(b, &token, &same);
    KVal found = kb_add(b, place.carry[0], kb_cast(b, DT_I64, token.result[0]));
    kb_loop_end(b, &place, &found);
    kb_loop_end(b, &skip, place.result);
    kb_loop_end(b, &gram, skip.result);
    lw_put(l, 0, idx, gram.result[0]);
    lw_end_nest(l, 2);
    lw_kernel_end(l);
    return true;
}

static bool equal(const Tensor *x, int64_t i, const Tensor *y, int64_t j)
{
    if (x->elem != DT_STR) return ev_i(x, i) == ev_i(y, j);
    const bmc_string *a = (const bmc_string *)x->data + i, *b = (const bmc_string *)y->data + j;
    return a->len == b->len && !memcmp(a->ptr, b->ptr, a->len);
}

/* Occurrences of pool[first .. +length] in a row of x. */
static int64_t occurrences(const Tensor *x, int64_t row, const Tensor *pool, int64_t first, int64_t length, int64_t max_skip)
{
    int64_t count = 0, C = x->dim[x->rank - 1];
    for (int64_t s = 0; s <= (length == 1 ? 0 : max_skip); s++)
        for (int64_t p = 0; p + (length - 1) * (s + 1) < C; p++) {
            bool all = true;
            for (int64_t i = 0; i < length && all; i++) all = equal(x, row * C + p + i * (s + 1), pool, first + i);
            count += all;
        }
    return count;
}

static bool count_eval(Eval *e)
{
    const Tensor *x = e->in[X];
    int64_t dim[2] = {x->dim[0], e->in[BEGIN]->count - 1};
    Tensor *y = ev_out(e, 0, DT_I64, 2, dim);
    for (int64_t k = 0; y && k < y->count; k++) {
        int64_t d = k % dim[1], sum = 0;
        for (int64_t g = ev_i(e->in[BEGIN], d); g < ev_i(e->in[BEGIN], d + 1); g++)
            sum += occurrences(x, k / dim[1], e->in[POOL], ev_i(e->in[FIRST], g), ev_i(e->in[LENGTH], g), ATTRS(e->g, e->n, Count)->max_skip);
        ev_set_i(y, k, sum);
    }
    return y != NULL;
}

const OpDesc op_NgramCounts = {.name = "NgramCounts", .since = 1, .cls = CLS_OPAQUE, .flags = OPF_INTERNAL | OPF_STRIDED_OUT, .in = P_COUNT, .out = P_COUNTS,
                               .attrs = COUNT_ATTRS, .attrs_size = sizeof(Count), .infer = count_infer, .lower = count_lower, .eval = count_eval};

/* ---- TfIdfVectorizer ---- */

static const Port P_IN[] = {{"X", DTS_STR | DTS(DT_I32) | DTS(DT_I64), 0, 0}, PORT_END};
static const Port P_OUT[] = {{"Y", DTS(DT_F32), 0, 0}, PORT_END};
typedef struct TfIdf {
    uint64_t set;
    int64_t max_gram_length, min_gram_length, max_skip_count;
    const char *mode;
    AttrInts ngram_counts, ngram_indexes, pool_int64s;
    AttrStrings pool_strings;
    AttrFloats weights;
} TfIdf;
#define REQUIRED_INTS(f) {.name = #f, .kind = ATTR_INTS, .offset = offsetof(TfIdf, f), .required = true}
#define REQUIRED_INT(f) {.name = #f, .kind = ATTR_INT, .offset = offsetof(TfIdf, f), .required = true}
static const AttrSpec ATTRS_[] = {REQUIRED_INT(max_gram_length),
                                  REQUIRED_INT(min_gram_length),
                                  REQUIRED_INT(max_skip_count),
                                  {.name = "mode", .kind = ATTR_STRING, .offset = offsetof(TfIdf, mode), .required = true},
                                  REQUIRED_INTS(ngram_counts),
                                  REQUIRED_INTS(ngram_indexes),
                                  A_INTS(TfIdf, pool_int64s),
                                  A_STRINGS(TfIdf, pool_strings),
                                  A_FLOATS(TfIdf, weights),
                                  A_END};

/* The n-grams of the pool, in the order of their coordinates. */
typedef struct Grams {
    uint32_t n;
    int64_t *first, *length, *begin; /* begin: by coordinate, and one more */
    uint32_t *which;                 /* its number in the pool */
    int64_t width;                   /* coordinates */
} Grams;

/* false: *why. Lengths that the attributes leave out have no n-grams here, but their coordinates remain. */
static bool grams_of(Arena *arena, const TfIdf *a, Grams *g, const char **why)
{
    int64_t total = a->pool_strings.n ? a->pool_strings.n : a->pool_int64s.n, from = 0;
    uint32_t n = a->ngram_indexes.n, k = 0;
    int64_t *first = arena_array(arena, int64_t, n + 1), *length = arena_array(arena, int64_t, n + 1);
    g->width = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (a->ngram_indexes.p[i] < 0 || a->ngram_indexes.p[i] >= INT32_MAX) return *why = "an entry of ngram_indexes is out of range", false;
        if (a->ngram_indexes.p[i] >= g->width) g->width = a->ngram_indexes.p[i] + 1;
    }
    for (uint32_t i = 0; i < a->ngram_counts.n; i++) {
        int64_t to = i + 1 < a->ngram_counts.n ? a->ngram_counts.p[i + 1] : total, size = i + 1;
        from = a->ngram_counts.p[i];
        if (from < 0 || from > to || to > total || (to - from) % size) return *why = "ngram_counts does not cut the pool into n-grams", false;
        for (; from < to; from += size, k++) {
            if (k == n) return *why = "ngram_indexes has fewer entries than the pool has n-grams", false;
            first[k] = from, length[k] = size;
        }
    }
    if (k != n) return *why = "ngram_indexes has more entries than the pool has n-grams", false;
    g->begin = arena_array(arena, int64_t, (size_t)g->width + 2);
    g->first = arena_array(arena, int64_t, n + 1), g->length = arena_array(arena, int64_t, n + 1), g->which = arena_array(arena, uint32_t, n + 1);
    memset(g->begin, 0, ((size_t)g->width + 2) * sizeof *g->begin);
    for (k = 0; k < n; k++) {
        bool counts = length[k] >= a->min_gram_length && length[k] <= a->max_gram_length;
        if (counts) g->begin[a->ngram_indexes.p[k] + 1]++;
        else length[k] = 0;
    }
    for (int64_t d = 0; d < g->width; d++) g->begin[d + 1] += g->begin[d];
    g->n = (uint32_t)g->begin[g->width];
    int64_t *next = arena_memdup(arena, g->begin, sizeof *next * ((size_t)g->width + 1));
    for (k = 0; k < n; k++) {
        if (!length[k]) continue;
        int64_t at = next[a->ngram_indexes.p[k]]++;
        g->first[at] = first[k], g->length[at] = length[k], g->which[at] = k;
    }
    return true;
}

static bool infer(Infer *c)
{
    const TfIdf *a = ATTRS(c->g, c->n, TfIdf);
    Grams g;
    const char *why;
    if (strcmp(a->mode, "TF") && strcmp(a->mode, "IDF") && strcmp(a->mode, "TFIDF")) return infer_fail(c, "mode '%s' is unknown", a->mode);
    if (!!a->pool_strings.n == !!a->pool_int64s.n) return infer_fail(c, "one of pool_strings and pool_int64s is wanted");
    if ((infer_elem(c, 0) == DT_STR) != (a->pool_strings.n > 0)) return infer_fail(c, "the pool is of another type than the input");
    if (a->max_skip_count < 0 || a->max_skip_count > INT32_MAX) return infer_fail(c, "max_skip_count is %lld", (long long)a->max_skip_count);
    if (a->weights.n && a->weights.n != a->ngram_indexes.n) return infer_fail(c, "%u weights for %u n-grams", a->weights.n, a->ngram_indexes.n);
    if (!infer_need_rank(c, 0, 1, 2)) return false;
    if (!grams_of(c->m->arena, a, &g, &why)) return infer_fail(c, "%s", why);
    Dim dim[2] = {infer_dim(c, 0, 0), dim_const(c->d, g.width)};
    int rank = infer_rank(c, 0);
    return infer_set(c, 0, DT_F32, rank, rank == 2 ? dim : dim + 1);
}

/* The factor of each coordinate; NULL: all 1. Where n-grams share one, the last. */
static double *factors(Arena *arena, const TfIdf *a, const Grams *g)
{
    if (!a->weights.n || !strcmp(a->mode, "TF")) return NULL;
    double *w = arena_array(arena, double, (size_t)g->width + 1);
    for (int64_t d = 0; d < g->width; d++) w[d] = g->begin[d + 1] > g->begin[d] ? a->weights.p[g->which[g->begin[d + 1] - 1]] : 1;
    return w;
}

static bool expand(Graph *graph, Node n)
{
    const TfIdf *a = ATTRS(graph, n, TfIdf);
    Ex x = ex_begin(graph, n);
    Grams g;
    const char *why;
    if (!grams_of(graph->m->arena, a, &g, &why)) return false;
    Value v = ex_in(&x, 0), pool;
    bool single = ex_rank(&x, v) == 1;
    if (a->pool_strings.n) pool = ex_strings(&x, a->pool_strings.p, a->pool_strings.n);
    else {
        v = ex_cast(&x, v, DT_I64);
        pool = ex_ints(&x, a->pool_int64s.p, a->pool_int64s.n);
    }
    if (single) v = ex2(&x, OP_Unsqueeze, v, ex_int1(&x, 0));
    Value in[5] = {v, pool, ex_ints(&x, g.first, g.n), ex_ints(&x, g.length, g.n), ex_ints(&x, g.begin, (uint32_t)g.width + 1)};
    Value y = ex_op(&x, OP_NgramCounts, in, 5, ex_set(&x, OP_NgramCounts, NULL, "max_skip", a->max_skip_count));
    if (!strcmp(a->mode, "IDF")) y = ex2(&x, OP_Min, y, ex_i(&x, DT_I64, 1));
    y = ex_cast(&x, y, DT_F32);
    double *w = factors(graph->m->arena, a, &g);
    if (w) y = ex2(&x, OP_Mul, y, ex_floats(&x, w, (uint32_t)g.width));
    if (single) y = ex2(&x, OP_Squeeze, y, ex_int1(&x, 0));
    return ex_end(&x, &y, 1);
}

static bool eval(Eval *e)
{
    const TfIdf *a = ATTRS(e->g, e->n, TfIdf);
    const Tensor *x = e->in[0];
    Grams g;
    const char *why;
    if (!grams_of(e->arena, a, &g, &why)) return ev_fail(e, "%s", why);
    Tensor pool = {.elem = DT_I64, .rank = 1, .data = (void *)a->pool_int64s.p, .count = a->pool_int64s.n};
    if (a->pool_strings.n) {
        bmc_string *s = arena_array(e->arena, bmc_string, a->pool_strings.n);
        for (uint32_t k = 0; k < a->pool_strings.n; k++) s[k] = (bmc_string){(char *)a->pool_strings.p[k], strlen(a->pool_strings.p[k])};
        pool = (Tensor){.elem = DT_STR, .rank = 1, .data = (void *)s, .count = a->pool_strings.n};
    }
    int64_t dim[2] = {x->rank == 2 ? x->dim[0] : 1, g.width};
    Tensor *y = ev_out(e, 0, DT_F32, x->rank, x->rank == 2 ? dim : dim + 1);
    double *w = factors(e->arena, a, &g);
    for (int64_t k = 0; y && k < y->count; k++) {
        int64_t d = k % g.width, sum = 0;
        for (int64_t i = g.begin[d]; i < g.begin[d + 1]; i++) sum += occurrences(x, k / g.width, &pool, g.first[i], g.length[i], a->max_skip_count);
        if (!strcmp(a->mode, "IDF") && sum > 1) sum = 1;
        ev_set_f(y, k, (double)sum * (w ? w[d] : 1));
    }
    return y != NULL;
}

const OpDesc op_TfIdfVectorizer = {.name = "TfIdfVectorizer", .since = 9, .cls = CLS_OPAQUE, .in = P_IN, .out = P_OUT, .attrs = ATTRS_, .attrs_size = sizeof(TfIdf),
                                   .infer = infer, .expand = expand, .eval = eval};
