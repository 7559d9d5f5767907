/* rt_normalize: StringNormalizer: stop words are dropped, what is left changes its case. In a file of its own, because only
 * models that use it should carry the tables of rt_case. */
#include "runtime/rt_case.h"
#include "runtime/rt_internal.h"
#include <string.h>

typedef struct Stops { /* a hash table of the stop words, open addressing, at most half full */
    bmc_string *at;
    uint64_t mask;
} Stops;

static bmc_string *stop_find(const Stops *t, bmc_string s)
{
    uint64_t h = rt_hash(s.ptr, s.len);
    while (t->at[h & t->mask].ptr) {
        bmc_string *w = &t->at[h & t->mask];
        if (w->len == s.len && !memcmp(w->ptr, s.ptr, s.len)) return w;
        h++;
    }
    return &t->at[h & t->mask];
}

typedef struct Normalizer {
    bmc_ctx *ctx;
    Stops stops;
    bool turkic, fold;
    rt_mem work; /* an element in the form that stop words are compared in */
} Normalizer;

/* s in another case, in memory of the context's texts, or of `work` when given. */
static int32_t cased(Normalizer *z, rt_case how, rt_mem *work, const bmc_string *all, int64_t i, bmc_string *to)
{
    size_t len;
    if (!rt_case_text(how, z->turkic, all[i].ptr, all[i].len, NULL, &len)) {
        rt_detail(z->ctx, "element %lld is not valid UTF-8", (long long)i);
        return BMC_E_FAIL;
    }
    if (work && work->bytes < len && !rt_mem_ensure(&z->ctx->rt->heap, work, 2 * len)) return rt_no_memory(z->ctx, "strings");
    char *p = work ? work->data : rt_text_alloc(z->ctx, len);
    if (!p && len) return rt_no_memory(z->ctx, "strings");
    rt_case_text(how, z->turkic, all[i].ptr, all[i].len, p, &len);
    *to = (bmc_string){len ? p : "", len};
    return BMC_OK;
}

static int32_t stops_make(Normalizer *z, const bmc_string *word, int64_t n)
{
    uint64_t size = 2;
    while (size < 2 * (uint64_t)n) size *= 2;
    if (!(z->stops.at = rt_heap_alloc(&z->ctx->rt->heap, size * sizeof *word, NULL))) return rt_no_memory(z->ctx, "strings");
    memset(z->stops.at, 0, size * sizeof *word);
    z->stops.mask = size - 1;
    for (int64_t i = 0; i < n; i++) {
        bmc_string w = word[i].len ? word[i] : (bmc_string){"", 0};
        int32_t status = z->fold ? cased(z, RT_CASE_FOLD, NULL, word, i, &w) : BMC_OK;
        if (status) return status;
        *stop_find(&z->stops, w) = w;
    }
    return BMC_OK;
}

static int32_t normalize(Normalizer *z, rt_case how, const bmc_string *from, int64_t n, bmc_string *to, int64_t *kept)
{
    for (int64_t i = 0; i < n; i++) {
        bmc_string key = from[i].len ? from[i] : (bmc_string){"", 0};
        int32_t status = BMC_OK;
        if (z->stops.at) {
            if (z->fold && (status = cased(z, RT_CASE_FOLD, &z->work, from, i, &key))) return status;
            if (stop_find(&z->stops, key)->ptr) continue;
        }
        to[*kept] = from[i];
        if (how != RT_CASE_NONE && (status = cased(z, how, NULL, from, i, &to[*kept]))) return status;
        ++*kept;
    }
    if (!*kept) to[(*kept)++] = (bmc_string){"", 0};
    return BMC_OK;
}

int32_t rt_string_normalize(bmc_ctx *x, rt_arg *arg, int32_t n_arg, int32_t tid, int32_t nt)
{
    (void)n_arg, (void)tid, (void)nt;
    const bmc_string *from = arg[0].data, *stop = arg[1].data, *locale = arg[2].data;
    int64_t n = rt_elements(&arg[0]), n_stop = rt_elements(&arg[1]), kept = 0;
    uint32_t slot = (uint32_t)arg[3].value;
    *arg[4].sym = 0;
    if (!rt_box_alloc(x, slot, (n ? n : 1) * (int64_t)sizeof *from, 0) || !locale || (n && !from) || (n_stop && !stop))
        return rt_no_memory(x, "strings");
    Normalizer z = {.ctx = x, .turkic = rt_case_turkic(locale->ptr, locale->len), .fold = !arg[6].value};
    int32_t status = n_stop ? stops_make(&z, stop, n_stop) : BMC_OK;
    if (!status) status = normalize(&z, (rt_case)arg[5].value, from, n, x->slot[slot], &kept);
    rt_heap_free(&x->rt->heap, z.stops.at);
    rt_mem_free(&x->rt->heap, &z.work);
    *arg[4].sym = status ? 0 : kept;
    return status;
}
