/* blob.c: constants. Structure is looked for when bytes come in (all equal, or a line of integers), so that a zeroed
 * gigabyte is one record; the hash of a blob is that of its structure when it has one, whatever its kind, so that
 * equal contents hash alike. */
#include "ir/blob.h"
#include "base/bug.h"
#include "ir/elem.h"
#include "ir/winograd.h"
#include "runtime/bmc.h"
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define LIST_MAX 64 /* elements printed one by one; longer inline data is printed in hex */
#define CHUNK 1024  /* elements at a time where contents are compared */

void blobs_init(Blobs *bs, Arena *a)
{
    *bs = (Blobs){.arena = a};
    vec_push(a, &bs->rec, (BlobRec){0});
    vec_push(a, &bs->file, (BlobFile){.fd = -1}); /* file 0: none */
}

void blobs_close(Blobs *bs)
{
    for (uint32_t i = 1; i < bs->file.n; i++)
        if (bs->file.p[i].map) munmap((void *)bs->file.p[i].map, (size_t)bs->file.p[i].bytes);
    bs->file.n = 0;
}

bool blob_file(Blobs *bs, const char *path, uint32_t *file, const char **why)
{
    for (uint32_t i = 1; i < bs->file.n; i++)
        if (strcmp(bs->file.p[i].path, path) == 0) {
            *file = i;
            return true;
        }
    struct stat st;
    void *map = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool ok = fd >= 0 && fstat(fd, &st) == 0;
    if (!ok) *why = arena_strdup(bs->arena, strerror(errno));
    else if (!S_ISREG(st.st_mode)) {
        *why = "not a regular file";
        ok = false;
    } else if (st.st_size > 0) {
        map = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (map == MAP_FAILED) {
            *why = arena_strdup(bs->arena, strerror(errno));
            ok = false;
        }
    }
    if (fd >= 0) close(fd); /* the mapping stays; models with one file per tensor would run out of descriptors */
    if (!ok) return false;
    *file = bs->file.n;
    vec_push(bs->arena, &bs->file,
             (BlobFile){.path = arena_strdup(bs->arena, path), .map = map, .bytes = st.st_size, .fd = -1});
    return true;
}

BlobRec *blob_rec(const Blobs *bs, Blob b)
{
    assert(b.i && b.i < bs->rec.n);
    return &bs->rec.p[b.i];
}

static Blob add(Blobs *bs, BlobRec r)
{
    vec_push(bs->arena, &bs->rec, r);
    return (Blob){bs->rec.n - 1};
}

Blob blob_raw(Blobs *bs, uint32_t file, int64_t off, DType elem, int64_t count)
{
    assert(file && file < bs->file.n && off >= 0 && count >= 0);
    const BlobFile *f = &bs->file.p[file];
    int64_t bytes = dtype_bytes(elem, count);
    assert(off <= f->bytes && bytes <= f->bytes - off);
    return add(bs, (BlobRec){.kind = BLOB_RAW,
                             .elem = elem,
                             .count = count,
                             .file = file,
                             .off = off,
                             .data = bytes ? f->map + off : NULL});
}

/* --- structure --- */

static bool is_complex(DType t) { return dtype_info(t)->cls == DC_COMPLEX; }

static bool all_equal(DType t, const uint8_t *p, int64_t n)
{
    int64_t bits = dtype_info(t)->bits;
    if (bits >= 8) return memcmp(p, p + bits / 8, (size_t)(bits / 8 * (n - 1))) == 0;
    int64_t per = 8 / bits, mask = (1 << bits) - 1;
    for (int64_t k = 1; k < n; k++)
        if ((p[k / per] >> k % per * bits & mask) != (p[0] & mask)) return false;
    return true;
}

/* What the text form keeps of a float: a nan is just a nan. */
static double plain(double x) { return isnan(x) ? (double)NAN : x; }

/* The record of n > 0 equal elements; false: their value does not survive its text (a nan with a payload, a bool that
 * is 2). */
static bool splat_rec(DType t, int64_t n, const void *first, BlobRec *r)
{
    uint8_t again[16] = {0}, given[16] = {0};
    *r = (BlobRec){.kind = BLOB_SPLAT, .elem = t, .count = n};
    if (dtype_is_float(t)) elem_put_f(t, again, 0, r->fval = plain(elem_get_f(t, first, 0)));
    else elem_put_i(t, again, 0, r->ival = elem_get_i(t, first, 0));
    int64_t bits = dtype_info(t)->bits;
    memcpy(given, first, (size_t)dtype_bytes(t, 1));
    if (bits < 8) given[0] = (uint8_t)(given[0] & ((1 << bits) - 1));
    return memcmp(again, given, sizeof given) == 0;
}

/* Finds SPLAT or IOTA in dense bytes. */
static bool structure(DType t, int64_t n, const void *p, BlobRec *r)
{
    if (n == 0 || t == DT_STR || is_complex(t)) return false;
    if (all_equal(t, p, n)) return splat_rec(t, n, p, r);
    if (!dtype_is_int(t) || n < 3) return false;
    int64_t first = elem_get_i(t, p, 0), last = first, step, x;
    if (__builtin_sub_overflow(elem_get_i(t, p, 1), first, &step)) return false;
    for (int64_t k = 1; k < n; k++) {
        x = elem_get_i(t, p, k);
        if (__builtin_add_overflow(last, step, &last) || x != last) return false;
    }
    *r = (BlobRec){.kind = BLOB_IOTA, .elem = t, .count = n, .ival = first, .step = step};
    return true;
}

Blob blob_inline(Blobs *bs, DType elem, int64_t count, const void *bytes)
{
    assert(elem != DT_STR && count >= 0);
    BlobRec r;
    if (structure(elem, count, bytes, &r)) return add(bs, r);
    const void *data = arena_memdup(bs->arena, bytes, (size_t)dtype_bytes(elem, count));
    return add(bs, (BlobRec){.kind = BLOB_INLINE, .elem = elem, .count = count, .data = data});
}

Blob blob_strings(Blobs *bs, int64_t count, const char *const *ptr, const size_t *len)
{
    bmc_string *s = arena_array(bs->arena, bmc_string, count);
    for (int64_t k = 0; k < count; k++) s[k] = (bmc_string){arena_strndup(bs->arena, ptr[k], len[k]), len[k]};
    return add(bs, (BlobRec){.kind = BLOB_STRINGS, .elem = DT_STR, .count = count, .data = s});
}

static Blob splat_of(Blobs *bs, DType t, int64_t n, const void *one)
{
    BlobRec r;
    if (n == 0 || is_complex(t)) {
        uint8_t *all = arena_array(bs->arena, uint8_t, dtype_bytes(t, n));
        for (int64_t k = 0, w = dtype_bytes(t, 1); k < n; k++) memcpy(all + k * w, one, (size_t)w);
        return add(bs, (BlobRec){.kind = BLOB_INLINE, .elem = t, .count = n, .data = all});
    }
    splat_rec(t, n, one, &r);
    return add(bs, r);
}

Blob blob_splat_f(Blobs *bs, DType elem, int64_t count, double x)
{
    uint8_t one[16] = {0};
    elem_put_f(elem, one, 0, x);
    return splat_of(bs, elem, count, one);
}

Blob blob_splat_i(Blobs *bs, DType elem, int64_t count, int64_t x)
{
    uint8_t one[16] = {0};
    elem_put_i(elem, one, 0, x);
    return splat_of(bs, elem, count, one);
}

Blob blob_iota(Blobs *bs, DType elem, int64_t count, int64_t first, int64_t step)
{
    assert(dtype_is_int(elem));
    if (count < 3 || step == 0) {
        uint8_t some[16] = {0};
        for (int64_t k = 0; k < count && k < 2; k++) elem_put_i(elem, some, k, first + k * step);
        return step == 0 ? splat_of(bs, elem, count, some) : blob_inline(bs, elem, count, some);
    }
    return add(bs, (BlobRec){.kind = BLOB_IOTA, .elem = elem, .count = count, .ival = first, .step = step});
}

Blob blob_derived(Blobs *bs, DType elem, int64_t count, const Recipe *recipe)
{
    Recipe *copy = arena_memdup(bs->arena, recipe, sizeof *recipe);
    return add(bs, (BlobRec){.kind = BLOB_DERIVED, .elem = elem, .count = count, .recipe = copy});
}

/* --- reading --- */

int64_t blob_bytes(const Blobs *bs, Blob b)
{
    const BlobRec *r = blob_rec(bs, b);
    return dtype_bytes(r->elem, r->count);
}

/* SPLAT and IOTA as data: one element that stands for element k. */
static void generate(const BlobRec *r, int64_t k, void *to, int64_t at)
{
    if (r->kind == BLOB_IOTA)
        elem_put_i(r->elem, to, at, (int64_t)((uint64_t)r->ival + (uint64_t)k * (uint64_t)r->step));
    else if (dtype_is_float(r->elem)) elem_put_f(r->elem, to, at, r->fval);
    else elem_put_i(r->elem, to, at, r->ival);
}

void blob_read(const Blobs *bs, Blob b, int64_t first, int64_t n, void *to)
{
    const BlobRec *r = blob_rec(bs, b);
    int64_t bits = dtype_info(r->elem)->bits, w = bits / 8;
    assert(r->kind != BLOB_DERIVED && r->kind != BLOB_STRINGS && first >= 0 && n >= 0 && first <= r->count - n);
    if (n == 0) return;
    uint8_t *out = to;
    if (bits < 8) {
        memset(out, 0, (size_t)dtype_bytes(r->elem, n)); /* the last byte is padded with zeros */
        for (int64_t k = 0; k < n; k++)
            if (r->data) elem_put_f(r->elem, out, k, elem_get_f(r->elem, r->data, first + k));
            else generate(r, first + k, out, k);
    } else if (r->data) memcpy(out, (const uint8_t *)r->data + first * w, (size_t)(n * w));
    else if (r->kind == BLOB_SPLAT) {
        generate(r, 0, out, 0);
        for (int64_t done = 1; done < n;) { /* doubling: memcpy's speed for any width */
            int64_t more = done < n - done ? done : n - done;
            memcpy(out + done * w, out, (size_t)(more * w));
            done += more;
        }
    } else
        for (int64_t k = 0; k < n; k++) generate(r, first + k, out, k);
}

int64_t blob_get_i(const Blobs *bs, Blob b, int64_t k)
{
    uint8_t one[16] = {0};
    const BlobRec *r = blob_rec(bs, b);
    assert(k >= 0 && k < r->count && r->kind != BLOB_DERIVED && r->kind != BLOB_STRINGS);
    if (r->data) return elem_get_i(r->elem, r->data, k);
    generate(r, k, one, 0);
    return elem_get_i(r->elem, one, 0);
}

double blob_get_f(const Blobs *bs, Blob b, int64_t k)
{
    uint8_t one[16] = {0};
    const BlobRec *r = blob_rec(bs, b);
    assert(k >= 0 && k < r->count && r->kind != BLOB_DERIVED && r->kind != BLOB_STRINGS);
    if (r->data) return elem_get_f(r->elem, r->data, k);
    generate(r, k, one, 0);
    return elem_get_f(r->elem, one, 0);
}

/* --- identity --- */

enum { K_STRIP = 16 }; /* columns of a strip */

static uint64_t hash_structure(const BlobRec *r)
{
    uint8_t one[16] = {0};
    generate(r, 0, one, 0);
    return hash_bytes(one, sizeof one, hash_mix(r->kind, (uint64_t)r->step));
}

static uint64_t hash_recipe(Blobs *bs, const Recipe *p)
{
    uint64_t h = hash_mix(p->kind, p->n_src);
    for (uint32_t i = 0; i < p->n_src; i++) h = hash_mix(h, blob_hash(bs, p->src[i]));
    if (p->kind == RECIPE_GRAPH) return hash_mix(h, p->graph);
    const int64_t part[] = {p->batch,    p->K,        p->N,    p->kc,       p->g, p->src_off, p->stride_t,
                            p->stride_k, p->stride_n, p->k_in, p->stride_q, p->m, p->panel, p->sides, p->stride_side, p->r, p->step[0], p->step[1]};
    return hash_bytes(part, sizeof part, h);
}

uint64_t blob_hash(Blobs *bs, Blob b)
{
    BlobRec *r = blob_rec(bs, b), found;
    if (r->hash) return r->hash;
    uint64_t h = hash_mix(r->elem, (uint64_t)r->count);
    switch (r->kind) {
    case BLOB_RAW:
    case BLOB_INLINE:
        h = hash_mix(h, structure(r->elem, r->count, r->data, &found)
                            ? hash_structure(&found)
                            : hash_bytes(r->data, (size_t)dtype_bytes(r->elem, r->count), 0));
        break;
    case BLOB_SPLAT:
    case BLOB_IOTA: h = hash_mix(h, hash_structure(r)); break;
    case BLOB_STRINGS:
        for (int64_t k = 0; k < r->count; k++) {
            const bmc_string *s = (const bmc_string *)r->data + k;
            h = hash_mix(h, hash_bytes(s->ptr, s->len, s->len));
        }
        break;
    case BLOB_DERIVED: h = hash_mix(h, hash_recipe(bs, r->recipe)); break;
    }
    return blob_rec(bs, b)->hash = h ? h : 1;
}

static bool recipe_equal(Blobs *bs, const Recipe *p, const Recipe *q)
{
    if (p->kind != q->kind || p->n_src != q->n_src) return false;
    for (uint32_t i = 0; i < p->n_src; i++)
        if (!blob_equal(bs, p->src[i], q->src[i])) return false;
    if (p->kind == RECIPE_GRAPH) return p->graph == q->graph;
    return p->batch == q->batch && p->K == q->K && p->N == q->N && p->kc == q->kc && p->g == q->g &&
           p->src_off == q->src_off && p->stride_t == q->stride_t && p->stride_k == q->stride_k &&
           p->stride_n == q->stride_n && p->k_in == q->k_in && p->stride_q == q->stride_q && p->m == q->m &&
           p->panel == q->panel && p->sides == q->sides &&
           p->stride_side == q->stride_side && p->r == q->r && p->step[0] == q->step[0] && p->step[1] == q->step[1];
}

bool blob_equal(Blobs *bs, Blob a, Blob b)
{
    if (a.i == b.i) return true;
    const BlobRec *x = blob_rec(bs, a), *y = blob_rec(bs, b);
    if (x->elem != y->elem || x->count != y->count || (x->kind == BLOB_DERIVED) != (y->kind == BLOB_DERIVED))
        return false;
    if (blob_hash(bs, a) != blob_hash(bs, b)) return false;
    if (x->kind == BLOB_DERIVED) return recipe_equal(bs, x->recipe, y->recipe);
    if (x->kind == BLOB_STRINGS) {
        const bmc_string *s = x->data, *t = y->data;
        for (int64_t k = 0; k < x->count; k++)
            if (s[k].len != t[k].len || memcmp(s[k].ptr, t[k].ptr, s[k].len)) return false;
        return true;
    }
    if (x->kind == BLOB_SPLAT && y->kind == BLOB_SPLAT) {
        uint8_t one[2][16] = {{0}};
        generate(x, 0, one[0], 0);
        generate(y, 0, one[1], 0);
        return memcmp(one[0], one[1], sizeof one[0]) == 0;
    }
    uint8_t p[CHUNK * 16], q[CHUNK * 16];
    for (int64_t k = 0; k < x->count; k += CHUNK) {
        int64_t n = x->count - k < CHUNK ? x->count - k : CHUNK;
        blob_read(bs, a, k, n, p);
        blob_read(bs, b, k, n, q);
        if (memcmp(p, q, (size_t)dtype_bytes(x->elem, n))) return false;
    }
    return true;
}

/* --- text --- */

static void print_elem(Str *s, DType t, const void *p, int64_t k)
{
    if (dtype_is_float(t)) str_double(s, elem_get_f(t, p, k), t != DT_F64);
    else if (t == DT_U64) str_printf(s, "%llu", (unsigned long long)elem_get_i(t, p, k));
    else str_printf(s, "%lld", (long long)elem_get_i(t, p, k));
}

/* Every element survives its text: no complex numbers, no nan with a payload, no padding bits, no bool other than 0
 * and 1. */
static bool list_form(DType t, const uint8_t *p, int64_t n)
{
    if (n > LIST_MAX || is_complex(t)) return false;
    uint8_t again[LIST_MAX * 8] = {0};
    for (int64_t k = 0; k < n; k++)
        if (dtype_is_float(t)) elem_put_f(t, again, k, plain(elem_get_f(t, p, k)));
        else elem_put_i(t, again, k, elem_get_i(t, p, k));
    return n == 0 || memcmp(again, p, (size_t)dtype_bytes(t, n)) == 0;
}

static void print_inline(Str *s, const BlobRec *r)
{
    const uint8_t *p = r->data;
    if (list_form(r->elem, p, r->count)) {
        str_char(s, '[');
        for (int64_t k = 0; k < r->count; k++) {
            if (k) str_char(s, ',');
            print_elem(s, r->elem, p, k);
        }
        str_char(s, ']');
        return;
    }
    static const char digit[] = "0123456789abcdef";
    str_add(s, "hex\"");
    for (int64_t k = 0, n = dtype_bytes(r->elem, r->count); k < n; k++)
        str_add_n(s, (char[2]){digit[p[k] >> 4], digit[p[k] & 15]}, 2);
    str_char(s, '"');
}

static void print_recipe(Str *s, const Blobs *bs, const Recipe *p)
{
    if (p->kind == RECIPE_PACK) str_add(s, "pack(");
    else if (p->kind == RECIPE_WINOGRAD) str_add(s, "winograd(");
    else str_printf(s, "graph(%u", p->graph);
    for (uint32_t i = 0; i < p->n_src; i++) {
        const BlobRec *r = blob_rec(bs, p->src[i]);
        str_printf(s, "%s%s %lld ", i || p->kind == RECIPE_GRAPH ? ", " : "", dtype_name(r->elem), (long long)r->count);
        blob_print(s, bs, p->src[i]);
    }
    if (p->kind == RECIPE_PACK) {
        str_printf(s, ", batch=%lld, K=%lld, N=%lld, kc=%lld, g=%lld, off=%lld, st=%lld, sk=%lld, sn=%lld",
                   (long long)p->batch, (long long)p->K, (long long)p->N, (long long)p->kc, (long long)p->g,
                   (long long)p->src_off, (long long)p->stride_t, (long long)p->stride_k, (long long)p->stride_n);
        if (p->k_in) str_printf(s, ", ki=%lld, sq=%lld", (long long)p->k_in, (long long)p->stride_q);
        if (p->sides) str_printf(s, ", sides=%lld, ss=%lld", (long long)p->sides, (long long)p->stride_side);
    }
    if (p->kind == RECIPE_WINOGRAD) {
        str_printf(s, ", m=%lld, K=%lld, N=%lld, panel=%lld, off=%lld, sk=%lld, sn=%lld", (long long)p->m,
                   (long long)p->K, (long long)p->N, (long long)p->panel, (long long)p->src_off, (long long)p->stride_k,
                   (long long)p->stride_n);
        if (p->r) str_printf(s, ", r=%lld, sv=%lld, sh=%lld", (long long)p->r, (long long)p->step[0], (long long)p->step[1]);
    }
    str_char(s, ')');
}

void blob_print(Str *s, const Blobs *bs, Blob b)
{
    if (!b.i) {
        str_add(s, "none");
        return;
    }
    const BlobRec *r = blob_rec(bs, b);
    switch (r->kind) {
    case BLOB_RAW: {
        const char *path = bs->file.p[r->file].path;
        str_quote(s, path, strlen(path));
        uint64_t hash = blob_hash((Blobs *)bs, b); /* a cache: what others see of the blob does not change */
        str_printf(s, "@%lld+%lld#%016llx", (long long)r->off, (long long)dtype_bytes(r->elem, r->count),
                   (unsigned long long)hash);
        return;
    }
    case BLOB_INLINE: print_inline(s, r); return;
    case BLOB_SPLAT: {
        uint8_t one[16] = {0};
        generate(r, 0, one, 0);
        str_add(s, "splat(");
        print_elem(s, r->elem, one, 0);
        str_char(s, ')');
        return;
    }
    case BLOB_IOTA: str_printf(s, "iota(%lld,%lld)", (long long)r->ival, (long long)r->step); return;
    case BLOB_STRINGS:
        str_char(s, '[');
        for (int64_t k = 0; k < r->count; k++) {
            const bmc_string *t = (const bmc_string *)r->data + k;
            if (k) str_char(s, ',');
            str_quote(s, t->ptr, t->len);
        }
        str_char(s, ']');
        return;
    case BLOB_DERIVED: print_recipe(s, bs, r->recipe); return;
    }
}

/* ---- transformed weights ---- */

static bool winograd_of(const Recipe *r, Winograd *w)
{
    return r->m == (int)r->m && r->r == (int)r->r && winograd_make((int)r->m, r->r ? (int)r->r : 3, w);
}

int64_t recipe_winograd_count(const Recipe *r)
{
    Winograd w;
    int64_t n = r->N > INT64_MAX - K_STRIP ? -1 : (r->N + K_STRIP - 1) / K_STRIP * K_STRIP;
    if (!winograd_of(r, &w) || r->K < 1 || r->N < 1 || n < 1 || r->panel < 1 ||
        r->panel % K_STRIP || __builtin_mul_overflow(n, r->K, &n) ||
        __builtin_mul_overflow(n, (int64_t)w.n * w.n, &n))
        return -1;
    const int64_t *step = r->step;
    if (r->r && (step[0] < 1 || step[1] < 1 || step[0] > r->K || step[1] > r->K / step[0] || r->K % (step[0] * step[1]))) return -1;
    return n;
}

int64_t recipe_winograd_taps(const Recipe *r)
{
    Winograd w;
    return winograd_of(r, &w) ? w.r * w.r * (r->r ? r->step[0] * r->step[1] : 1) : -1;
}

bool recipe_winograd_panel(const Recipe *r, int64_t n0, bool (*read)(void *arg, int64_t first, int64_t n, float *to),
                           void *arg, float *w, float *to)
{
    Winograd f;
    if (!winograd_of(r, &f)) return false;
    bool ok = true;
    int64_t cols = r->N - n0 < r->panel ? r->N - n0 : r->panel, strips = (cols + K_STRIP - 1) / K_STRIP,
            step[2] = {r->r ? r->step[0] : 1, r->r ? r->step[1] : 1},
            taps = recipe_winograd_taps(r), run = r->K * f.r * f.r;
    for (int64_t s = 0; ok && s < strips; s++) {
        for (int64_t n = 0; ok && n < K_STRIP; n++) {
            float *here = w + n * run;
            int64_t at = r->src_off + (n0 + s * K_STRIP + n) * r->stride_n;
            if (s * K_STRIP + n >= cols) memset(here, 0, (size_t)run * sizeof *here);
            else if (r->stride_k == taps) ok = read(arg, at, run, here);
            else
                for (int64_t c = 0; ok && c < run / taps; c++) ok = read(arg, at + c * r->stride_k, taps, here + c * taps);
        }
        if (ok) winograd_weights(&f, r->K, step, w, to + s * r->K * K_STRIP, strips * r->K * K_STRIP);
    }
    return ok;
}
