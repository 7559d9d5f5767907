/* eval_memory.c: where the interpreter keeps buffers. Planned arena buffers share one block at their planned offsets,
 * so that a wrong plan gives wrong results; unplanned ones get memory of their own when first used. Fresh memory is
 * filled with 0xcd: what was never written does not look like zeros. */
#include "ir/kernel/eval_state.h"
#include "base/bug.h"
#include <string.h>

uint8_t *keval_alloc(Arena *a, int64_t bytes)
{
    uint8_t *p = arena_alloc_n(a, 1, bytes > 0 ? (size_t)bytes + 63 : 64);
    p += -(uintptr_t)p & 63;
    if (bytes > 0) memset(p, 0xcd, (size_t)bytes);
    return p;
}

bool keval_dense_count(KEval *e, KLoc l, const KBufRec *r, int64_t *count, int64_t *dim)
{
    *count = 1;
    for (int i = 0; i < r->rank; i++) {
        if (!keval_dim(e, l, r->dim[i], &dim[i])) return false;
        if (dim[i] < 0)
            return keval_fail(e, BMC_E_SHAPE, l, "%%%s: dim %d is %lld", name_str(e->m->names, r->name), i,
                              (long long)dim[i]);
        if (__builtin_mul_overflow(*count, dim[i], count) || *count > INT64_MAX / 32)
            return keval_fail(e, BMC_E_SHAPE, l, "%%%s is larger than any memory", name_str(e->m->names, r->name));
    }
    return true;
}

/* ---- constants ---- */
/* [batch][kblock][strip][kc/g][16][g], zeros where K or N end (blob.h). */
static bool pack(KEval *e, const BlobRec *b, uint8_t *to)
{
    const Recipe *p = b->recipe;
    const Blobs *bs = e->m->blobs;
    int64_t rows = (p->kc + p->g - 1) / p->g * p->g, blocks = (p->K + p->kc - 1) / p->kc, strips = recipe_strips(p),
            sides = p->sides ? p->sides : 1, at = 0, n_src = blob_rec(bs, p->src[0])->count;
    DType t = blob_rec(bs, p->src[0])->elem;
    uint8_t *src = keval_alloc(&e->launch, dtype_bytes(t, n_src));
    if (p->batch * blocks * strips * rows * 16 != b->count)
        return keval_fail(e, BMC_E_FAIL, (KLoc){0}, "a packed constant has the wrong size");
    blob_read(bs, p->src[0], 0, n_src, src);
    for (int64_t z = 0; z < p->batch; z++)
        for (int64_t kb = 0; kb < blocks; kb++)
            for (int64_t s = 0; s < strips; s++)
                for (int64_t q = 0; q < rows * 16; q++, at++) {
                    int64_t in = q / (16 * p->g) * p->g + q % p->g, k = kb * p->kc + in, n = s / sides * 16 + q / p->g % 16,
                            from = p->src_off + z * p->stride_t + recipe_k(p, k) + n * p->stride_n + s % sides * p->stride_side;
                    KScalar v = {.i = 0};
                    if (in < p->kc && k < p->K && n < p->N) {
                        if (from < 0 || from >= n_src)
                            return keval_fail(e, BMC_E_FAIL, (KLoc){0}, "a packed constant reads outside its source");
                        v = kscalar_cast(dtype_compute(t), dtype_compute(b->elem), kscalar_load(t, src, from));
                    }
                    kscalar_store(b->elem, to, at, v);
                }
    return true;
}

typedef struct Source { const Blobs *bs; Blob b; } Source;

static bool read_source(void *arg, int64_t first, int64_t n, float *to)
{
    const Source *s = arg;
    if (first < 0 || first > blob_rec(s->bs, s->b)->count - n) return false;
    blob_read(s->bs, s->b, first, n, to);
    return true;
}

static bool winograd(KEval *e, const BlobRec *b, float *to)
{
    const Recipe *p = b->recipe;
    Source s = {e->m->blobs, p->src[0]};
    if (recipe_winograd_count(p) != b->count)
        return keval_fail(e, BMC_E_FAIL, (KLoc){0}, "transformed weights have the wrong size");
    float *w = (float *)(void *)keval_alloc(&e->launch, p->K * 9 * 16 * 4);
    int64_t per_column = b->count / ((p->N + 15) / 16 * 16);
    for (int64_t n = 0; n < p->N; n += p->panel)
        if (!recipe_winograd_panel(p, n, read_source, &s, w, to + n * per_column))
            return keval_fail(e, BMC_E_FAIL, (KLoc){0}, "transformed weights read outside their source");
    return true;
}

static bool constant(KEval *e, const KBufRec *r, KMem *m)
{
    const BlobRec *b = blob_rec(e->m->blobs, r->blob);
    bool ok = true;
    if (b->kind == BLOB_STRINGS) {
        *m = (KMem){(uint8_t *)(uintptr_t)b->data, b->count * (int64_t)sizeof(bmc_string),
                    NULL}; /* read only: the verifier sees to it */
        return true;
    }
    m->bytes = blob_bytes(e->m->blobs, r->blob);
    m->p = keval_alloc(&e->work, m->bytes);
    if (b->kind != BLOB_DERIVED) blob_read(e->m->blobs, r->blob, 0, b->count, m->p);
    else if (b->recipe->kind == RECIPE_PACK && blob_rec(e->m->blobs, b->recipe->src[0])->kind != BLOB_DERIVED)
        ok = pack(e, b, m->p);
    else if (b->recipe->kind == RECIPE_WINOGRAD && blob_rec(e->m->blobs, b->recipe->src[0])->kind != BLOB_DERIVED)
        ok = winograd(e, b, (float *)(void *)m->p);
    else
        ok = keval_fail(e, BMC_E_FAIL, r->loc, "%%%s: the recipe of this constant cannot be interpreted",
                        name_str(e->m->names, r->name));
    return ok;
}

/* ---- roots ---- */
static bool out_memory(KEval *e, KLoc l, const KBufRec *r, KMem *m)
{
    bmc_value *v = &e->out[r->port];
    int64_t count, dim[RANK_MAX], need;
    int32_t alias = e->m->output.p[r->port].alias;
    if (!keval_dense_count(e, l, r, &count, dim)) return false;
    need = dtype_bytes(r->elem, count);
    if (!r->dense) { /* strides of the capacity */
        int64_t s, last = 0;
        for (int i = 0; i < r->rank; i++) {
            if (!keval_dim(e, l, r->stride[i], &s)) return false;
            last += (dim[i] > 0 ? dim[i] - 1 : 0) * s;
        }
        need = dtype_bytes(r->elem, last + 1);
    }
    if (alias >= 0 && !v->data) {
        v->data = e->in[alias].data;
        v->bytes = (size_t)need;
    }
    if (v->data && v->bytes && v->bytes < (size_t)need) {
        v->bytes = (size_t)need;
        return keval_fail(e, BMC_E_CAPACITY, l, "output '%s' needs %lld bytes",
                          name_str(e->m->names, e->m->output.p[r->port].name), (long long)need);
    }
    if (!v->data) v->data = keval_alloc(e->arena, need);
    *m = (KMem){v->data, need, keval_trace(e, need)};
    return true;
}

bool keval_root(KEval *e, KLoc l, KBuf b, KMem *out)
{
    const KBufRec *r = kbuf(e->m, b);
    const char *name = name_str(e->m->names, r->name);
    KMem *m = &e->mem[b.i];
    int64_t off, n, count, dim[RANK_MAX];
    switch (r->space) {
    case KS_IN: break;
    case KS_OUT:
        if (!m->p && !out_memory(e, l, r, m)) return false;
        break;
    case KS_CONST:
        if (!m->p && !constant(e, r, m)) return false;
        break;
    case KS_ARENA:
        if (!keval_dense_count(e, l, r, &count, dim)) return false;
        n = dtype_bytes(r->elem, count);
        if (e->m->planned) {
            int64_t planned;
            if (!keval_dim(e, l, r->offset, &off) || !keval_dim(e, l, r->bytes, &planned)) return false;
            if (n > planned || off < 0 || off + planned > e->plan_bytes)
                return keval_fail(e, BMC_E_INDEX, l, "%%%s needs %lld bytes, planned are %lld at %lld of %lld", name,
                                  (long long)n, (long long)planned, (long long)off, (long long)e->plan_bytes);
            *m = (KMem){e->plan + off, n, e->plan_trace ? e->plan_trace + off : NULL};
        } else if (!m->p || m->bytes < n) *m = (KMem){keval_alloc(&e->work, n), n, keval_trace(e, n)};
        break;
    case KS_BOX:
        m->p = e->ctx->slot[b.i];
        if (!m->p) return keval_fail(e, BMC_E_INDEX, l, "box %%%s is used without memory", name);
        if (!keval_dense_count(e, l, r, &count, dim)) return false;
        if (m->bytes >= 0 && dtype_bytes(r->elem, count) > m->bytes)
            return keval_fail(e, BMC_E_INDEX, l, "box %%%s has %lld bytes, its dims need %lld", name,
                              (long long)m->bytes, (long long)dtype_bytes(r->elem, count));
        *out = (KMem){m->p, dtype_bytes(r->elem, count), m->trace};
        return true;
    default: return keval_fail(e, BMC_E_FAIL, l, "%%%s has no memory", name);
    }
    *out = *m;
    return true;
}

static int64_t elem_bits(DType t) { return t == DT_STR ? 8 * (int64_t)sizeof(bmc_string) : dtype_info(t)->bits; }

bool keval_view(KEval *e, KLoc l, KBuf b, KView *v)
{
    const KBufRec *r = kbuf(e->m, b);
    KBuf root = b;
    KMem mem;
    int64_t off, s = 1;
    *v = (KView){.name = name_str(e->m->names, r->name), .elem = r->elem, .rank = r->rank};
    for (; kbuf(e->m, root)->space == KS_VIEW; root = kbuf(e->m, root)->base) {
        if (!keval_dim(e, l, kbuf(e->m, root)->offset, &off)) return false;
        v->offset += off * elem_bits(kbuf(e->m, root)->elem);
    }
    v->offset /= elem_bits(r->elem);   /* views of complex elements have parts, of half the size */
    if (!keval_root(e, l, root, &mem)) return false;
    v->data = mem.p;
    v->trace = mem.trace;
    v->room = r->elem == DT_STR ? mem.bytes / (int64_t)sizeof(bmc_string) : mem.bytes * 8 / dtype_info(r->elem)->bits;
    for (int i = r->rank - 1; i >= 0; i--) {
        if (!keval_dim(e, l, r->dim[i], &v->dim[i])) return false;
        if (r->dense) {
            v->stride[i] = s;
            if (__builtin_mul_overflow(s, v->dim[i], &s)) s = 0;
        } else if (!keval_dim(e, l, r->stride[i], &v->stride[i])) return false;
    }
    return true;
}

/* ---- the interface ---- */
static int64_t extent(const KPort *p, const bmc_value *v, int axis)
{
    return rt_extent(p->rank.i ? RT_RANK_UNKNOWN : v->rank, v, axis);
}

/* rt_interp gives zeros; entry symbols come from the dims of inputs, then those that are the same as something. */
static bool bind_symbols(KEval *e)
{
    Dims *d = e->m->dims;
    for (uint32_t i = 1; i < d->sym.n; i++) {
        const SymRec *s = &d->sym.p[i];
        if (s->kind != SYM_ENTRY || s->input < 0 || (uint32_t)s->input >= e->m->input.n) continue;
        const bmc_value *v = &e->in[s->input];
        int64_t x = v->kind != BMC_TENSOR ? 0 : extent(&e->m->input.p[s->input], v, s->axis);
        const char *name = name_str(e->m->names, s->name), *port = name_str(e->m->names, e->m->input.p[s->input].name);
        if (x < s->lo || x > s->hi || (s->multiple > 1 && x % s->multiple))
            return keval_fail(e, BMC_E_INPUT, (KLoc){0}, "input '%s': %s = %lld is out of range", port, name,
                              (long long)x);
        e->ctx->sym[i] = x;
    }
    return true;
}

static bool bind_same(KEval *e)
{
    Dims *d = e->m->dims;
    for (uint32_t i = 1; i < d->sym.n; i++)
        if (d->sym.p[i].same_as.i && d->sym.p[i].kind == SYM_ENTRY && d->sym.p[i].input < 0 &&
            !keval_dim(e, (KLoc){0}, d->sym.p[i].same_as, &e->ctx->sym[i]))
            return false;
    return true;
}

static uint8_t *dense_copy(KEval *e, const bmc_value *v, int64_t count)
{
    uint8_t *p = keval_alloc(&e->work, dtype_bytes((DType)v->dtype, count));
    for (int64_t n = 0; n < count; n++) {
        int64_t rest = n, at = 0;
        for (int i = v->rank - 1; i >= 0; i--) {
            at += rest % v->dim[i] * v->stride[i];
            rest /= v->dim[i];
        }
        kscalar_store((DType)v->dtype, p, n, kscalar_load((DType)v->dtype, v->data, at));
    }
    return p;
}

static bool one_input(KEval *e, uint32_t i)
{
    const KPort *p = &e->m->input.p[i];
    const bmc_value *v = &e->in[i];
    const char *name = name_str(e->m->names, p->name);
    int64_t x, count = 1;
    if (!p->buf.i) return true;
    const KBufRec *r = kbuf(e->m, p->buf);
    if (r->space == KS_SEQ)
        return rt_seq_import(e->ctx, p->buf.i, v) ||
               keval_fail(e, BMC_E_MEMORY, (KLoc){0}, "input '%s': out of memory", name);
    bool ranked = p->rank.i ? v->rank <= RANK_ANY : v->rank == r->rank;
    if (v->kind != BMC_TENSOR || v->dtype != (int)r->elem || !ranked)
        return keval_fail(e, BMC_E_INPUT, (KLoc){0}, "input '%s' is %s of rank %d, expected %s of rank %d", name,
                          dtype_name((DType)v->dtype), v->rank, dtype_name(r->elem), r->rank);
    for (int a = 0; a < r->rank; a++) {
        if (!keval_dim(e, (KLoc){0}, r->dim[a], &x)) return false;
        int64_t have = extent(p, v, a);
        if (have != x || x < 0)
            return keval_fail(e, BMC_E_INPUT, (KLoc){0}, "input '%s': dim %d is %lld, expected %lld", name, a,
                              (long long)have, (long long)x);
        if (__builtin_mul_overflow(count, x, &count))
            return keval_fail(e, BMC_E_INPUT, (KLoc){0}, "input '%s' is larger than any memory", name);
    }
    if (count && !v->data) return keval_fail(e, BMC_E_INPUT, (KLoc){0}, "input '%s': no data", name);
    e->mem[p->buf.i] = (KMem){v->stride && r->dense && count ? dense_copy(e, v, count) : (uint8_t *)v->data,
                              dtype_bytes(r->elem, count), NULL};
    if (!r->dense) { /* the caller's memory, strides of the capacity */
        int64_t s, last = 0;
        for (int a = 0; a < r->rank; a++) {
            if (!keval_dim(e, (KLoc){0}, r->stride[a], &s)) return false;
            last += (v->dim[a] > 0 ? v->dim[a] - 1 : 0) * s;
        }
        e->mem[p->buf.i].bytes = dtype_bytes(r->elem, last + 1);
    }
    return true;
}

bool keval_inputs(KEval *e)
{
    if (!bind_symbols(e) || !bind_same(e)) return false;
    for (uint32_t i = 0; i < e->m->input.n; i++)
        if (!one_input(e, i)) return false;
    return true;
}

/* Elements of a sequence belong to the context: they are copied to the caller's arena. */
static void own(KEval *e, bmc_value *v)
{
    if (v->kind == BMC_TENSOR) {
        uint8_t *p = keval_alloc(e->arena, (int64_t)v->bytes);
        if (v->bytes) memcpy(p, v->data, v->bytes);
        v->data = p;
    }
    if (v->n_item) v->item = arena_memdup(e->arena, v->item, v->n_item * sizeof *v->item);
    for (size_t i = 0; i < v->n_item; i++) own(e, &v->item[i]);
}

static void own_strings(KEval *e, bmc_value *v)
{
    for (size_t i = 0; i < v->n_item; i++) own_strings(e, &v->item[i]);
    if (v->kind != BMC_TENSOR || v->dtype != BMC_STRING) return;
    bmc_string *s = v->data;
    for (size_t i = 0; i < v->bytes / sizeof *s; i++) s[i].ptr = arena_memdup(e->arena, s[i].ptr, s[i].len);
}

static bool one_output(KEval *e, uint32_t i)
{
    static const uint8_t kind[] = {[TY_NONE] = BMC_NONE,
                                   [TY_TENSOR] = BMC_TENSOR,
                                   [TY_SEQ] = BMC_SEQUENCE,
                                   [TY_OPT] = BMC_OPTIONAL,
                                   [TY_MAP] = BMC_MAP};
    const KPort *p = &e->m->output.p[i];
    bmc_value *v = &e->out[i];
    KView w;
    int64_t count = 1;
    v->size = sizeof *v;
    if (!p->buf.i)
        return keval_fail(e, BMC_E_FAIL, (KLoc){0}, "output '%s' has no buffer", name_str(e->m->names, p->name));
    const KBufRec *r = kbuf(e->m, p->buf);
    if (r->space == KS_SEQ) {
        if (!rt_seq_export(e->ctx, p->buf.i, kind[type_rec(e->m->types, r->seq)->kind], v))
            return keval_fail(e, BMC_E_MEMORY, (KLoc){0}, "out of memory");
        own(e, v);
        own_strings(e, v);
        return true;
    }
    if (!keval_view(e, (KLoc){0}, p->buf, &w)) return false;
    v->kind = BMC_TENSOR;
    v->dtype = (uint8_t)r->elem;
    v->rank = r->rank;
    for (int a = 0; a < r->rank; a++) {
        v->dim[a] = w.dim[a];
        count *= w.dim[a];
    }
    int64_t bytes = dtype_bytes(r->elem, count);
    if (r->space != KS_OUT) {
        if (v->data && v->bytes < (size_t)bytes)
            return keval_fail(e, BMC_E_CAPACITY, (KLoc){0}, "output '%s' needs %lld bytes",
                              name_str(e->m->names, p->name), (long long)bytes);
        if (!v->data) v->data = keval_alloc(e->arena, bytes);
        if (bytes) memcpy(v->data, w.data, (size_t)bytes);
    }
    v->bytes = (size_t)bytes;
    if (p->rank.i) {   /* the last axes count */
        v->rank = (uint8_t)e->ctx->sym[p->rank.i];
        memmove(v->dim, v->dim + RANK_ANY - v->rank, v->rank * sizeof *v->dim);
    }
    own_strings(e, v);
    return true;
}

bool keval_outputs(KEval *e)
{
    for (uint32_t i = 0; i < e->m->output.n; i++)
        if (!one_output(e, i)) return false;
    return true;
}
