/* data.c: constants that live in the artifact, written without LLVM and without holding them in memory.
 * Layout: every distinct content of a CONST buffer once, in order of first use, each at a multiple of 64 bytes in a
 * page-aligned read-only section; large ones (a page and up) start on a page of their own, so that untouched weights
 * are never read from disk. String tensors are records {address, length}: they need relocations and lie in a section
 * of their own, their bytes in a third.
 * The ELF64 relocatable file is streamed: header, sections in order, symbols last. For a linker it holds the place of
 * the weights only, and they are streamed into what it has made (place.c). PACK recipes are evaluated a panel (kc x 16
 * columns) at a time.
 * Files are written in pieces of 2 MB at multiples of 2 MB: file systems that keep what they write together then hold
 * it in pages of up to that size, and mapping these when a model first runs takes a fifth to a tenth of the time that
 * single ones take. So a shared object is written anew from what the linker made, which writes page by page. */
#include "base/num.h"
#include "codegen/cg.h"
#include "runtime/bmc.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

enum { PAGE = 4096, LINE = 64, CHUNK = 1 << 18, PIECE = 2 << 20 };
#define INSIDE_MAX                                                                                                     \
    ((int64_t)3 << 29) /* 1.5 GB: beyond, distances inside an artifact no longer fit in 31 bits (design D7) */

/* ---- layout ---- */

/* Equal for equal constants and hardly ever for others; reads a few samples of large ones only. */
static uint64_t sample_hash(const Blobs *bs, Blob b)
{
    enum { SAMPLES = 8, EACH = 64 };
    const BlobRec *r = blob_rec(bs, b);
    uint64_t h = hash_mix(hash_mix(r->kind, r->elem), (uint64_t)r->count);
    if (r->kind == BLOB_DERIVED) {
        const Recipe *p = r->recipe;
        const int64_t part[] = {p->kind, p->K, p->N, p->kc, p->src_off, p->stride_k, p->stride_n, p->graph};
        for (uint32_t k = 0; k < p->n_src; k++) h = hash_mix(h, sample_hash(bs, p->src[k]));
        for (size_t k = 0; k < sizeof part / sizeof *part; k++) h = hash_mix(h, (uint64_t)part[k]);
    } else if (r->kind == BLOB_RAW || r->kind == BLOB_INLINE) {
        size_t bytes = (size_t)dtype_bytes(r->elem, r->count), n = bytes < EACH ? bytes : EACH;
        for (size_t k = 0; k < SAMPLES; k++)
            h = XXH64((const char *)r->data + (bytes - n) / (SAMPLES - 1) * k, n, h);
    }
    return h;
}

/* Where the same content is already: *piece, counted from 1; 0: nowhere. */
static uint64_t find_equal(Cg *g, Map *by_sample, Blob b, uint64_t key)
{
    uint64_t piece;
    if (!map_get(by_sample, key, &piece)) return 0;
    return blob_equal(g->m->blobs, g->data->piece.p[piece - 1].blob, b) ? piece : 0;
}

bool data_layout(Cg *g)
{
    KModule *m = g->m;
    CgData *d = g->data = arena_new(&g->arena, CgData);
    Map seen, by_sample;
    map_init(&seen, &g->arena);
    map_init(&by_sample, &g->arena);
    for (uint32_t b = 1; b < m->buf.n; b++) {
        KBufRec *r = &m->buf.p[b];
        uint64_t at;
        if (r->space != KS_CONST) continue;
        const BlobRec *blob = blob_rec(m->blobs, r->blob);
        bool known = map_get(&seen, r->blob.i, &at);
        if (blob->kind == BLOB_STRINGS) {
            if (!known) {
                vec_push(&g->arena, &d->text, r->blob);
                vec_push(&g->arena, &d->text_off, d->text_records);
                map_put(&seen, r->blob.i, (uint64_t)d->text_records);
                d->text_records += (int64_t)sizeof(bmc_string) * blob->count;
            }
            continue;
        }
        uint64_t key = known ? 0 : sample_hash(m->blobs, r->blob), equal = known ? 0 : find_equal(g, &by_sample, r->blob, key);
        if (equal) {
            at = (uint64_t)d->piece.p[equal - 1].off;
            map_put(&seen, r->blob.i, at);
        } else if (!known) {
            int64_t bytes = blob_bytes(m->blobs, r->blob), off = round_up(d->bytes, bytes >= PAGE ? PAGE : LINE);
            if (bytes > INT64_MAX / 4 - off)
                return diag(m->diag, kloc_diag(m, r->loc), E_TOO_LARGE, "the weights are larger than any file");
            vec_push(&g->arena, &d->piece, (CgPiece){r->blob, off, bytes});
            map_put(&seen, r->blob.i, (uint64_t)off);
            map_put(&by_sample, key, d->piece.n);
            d->bytes = off + bytes;
            at = (uint64_t)off;
        }
        r->weight_off = (int64_t)at;
    }
    d->bytes = round_up(d->bytes, LINE);
    g->weights_out = d->bytes && (g->opt->keep_weights_out || d->bytes > INSIDE_MAX);
    if (d->bytes) {
        g->weights = LLVMAddGlobal(g->mod, g->i8, arena_printf(&g->arena, "bmc_weights_%s", m->prefix));
        LLVMSetVisibility(g->weights, LLVMHiddenVisibility);
        LLVMSetGlobalConstant(g->weights, true);
        LLVMSetAlignment(g->weights, LINE);
    }
    if (d->text_records || d->text.n) {
        g->strings = LLVMAddGlobal(g->mod, g->i8, arena_printf(&g->arena, "bmc_strings_%s", m->prefix));
        LLVMSetVisibility(g->strings, LLVMHiddenVisibility);
    }
    return true;
}

int64_t data_string_off(Cg *g, Blob b)
{
    for (uint32_t i = 0; i < g->data->text.n; i++)
        if (g->data->text.p[i].i == b.i) return g->data->text_off.p[i];
    BUG("string constant without a place");
}

/* ---- a stream ---- */
typedef struct Out {
    Cg *g;
    FILE *f;
    const char *path;
    int64_t at;
    bool failed;
    uint8_t *held; /* of the piece that ends behind at, the last n_held bytes: not yet in the file */
    size_t n_held;
    XXH64_state_t *hash;
} Out;

static void out_file(Out *o, FILE *f)
{
    o->f = f;
    o->held = arena_alloc(&o->g->arena, PIECE);
    setvbuf(f, NULL, _IONBF, 0);
}

static bool out_open(Out *o, Cg *g, const char *path)
{
    *o = (Out){.g = g, .path = path};
    FILE *f = fopen(path, "wb");
    if (!f) return diag(g->m->diag, cg_place(g, path), E_OPEN, strerror(errno));
    out_file(o, f);
    return true;
}

static void out_write(Out *o, const void *p, size_t n)
{
    if (!o->failed && n && fwrite(p, 1, n, o->f) != n) o->failed = true;
}

static void out_flush(Out *o)
{
    out_write(o, o->held, o->n_held);
    o->n_held = 0;
}

static void out_bytes(Out *o, const void *p, size_t n)
{
    if (o->hash) XXH64_update(o->hash, p, n);
    const uint8_t *from = p;
    while (o->f && n) {
        size_t room = (size_t)(PIECE - o->at % PIECE), part = n < room ? n : room;
        if (part == PIECE) {
            out_write(o, from, part);
        } else {
            memcpy(o->held + o->n_held, from, part);
            o->n_held += part;
            if (part == room) out_flush(o);
        }
        from += part;
        n -= part;
        o->at += (int64_t)part;
    }
    o->at += (int64_t)n;
}

static void out_pad(Out *o, int64_t to)
{
    static const char zero[PAGE];
    while (o->at < to) out_bytes(o, zero, (size_t)(to - o->at < PAGE ? to - o->at : PAGE));
}

static bool out_close(Out *o)
{
    if (o->f) out_flush(o);
    int err = errno;
    if (o->f && fclose(o->f) && !o->failed) {
        err = errno;
        o->failed = true;
    }
    if (!o->failed) return true;
    remove(o->path);
    return diag(o->g->m->diag, cg_place(o->g, o->path), E_WRITE, strerror(err));
}

/* ---- evaluating blobs ---- */
static unsigned whole_bytes(DType t) { return dtype_info(t)->bits / 8u; }

/* Elements [first, first + n) of a blob, whatever its kind. */
static bool blob_elements(Cg *g, Blob b, int64_t first, int64_t n, void *to)
{
    const BlobRec *r = blob_rec(g->m->blobs, b);
    if (r->kind != BLOB_DERIVED) {
        blob_read(g->m->blobs, b, first, n, to);
        return true;
    }
    if (r->recipe->kind == RECIPE_GRAPH && g->opt->recipes.eval)
        return g->opt->recipes.eval(g->opt->recipes.arg, b, first, n, to);
    return diag(g->m->diag, diag_file(g->m->source), E_LLVM,
                "a recipe of constants inside another cannot be evaluated");
}

/* Source element (t, k, n) of a PACK recipe lies at src_off + t*stride_t + k*stride_k + n*stride_n. A panel is kc x
 * 16: strip `s` from row k0 on; where rows or columns are contiguous in the source they are read at once. */

/* f32 elements become bf16 in place, rounded to nearest even; a NaN stays one. */
static void to_bf16(uint8_t *row, int64_t n)
{
    for (int64_t k = 0; k < n; k++) {
        uint32_t x;
        memcpy(&x, row + 4 * k, 4);
        bool nan = (x & 0x7fffffff) > 0x7f800000;
        uint16_t y = (uint16_t)(nan ? x >> 16 | 0x40 : (x + 0x7fff + (x >> 16 & 1)) >> 16);
        memcpy(row + 2 * k, &y, 2);
    }
}

/* The same as f16; what is too large becomes infinite. */
static void to_f16(uint8_t *row, int64_t n)
{
    for (int64_t k = 0; k < n; k++) {
        uint32_t x;
        memcpy(&x, row + 4 * k, 4);
        uint32_t a = x & 0x7fffffff, y;
        if (a >= 0x38800000) { /* normal in f16 */
            y = a >= 0x477ff000 ? 0x7c00 : (a - 0x38000000 + 0xfff + (a >> 13 & 1)) >> 13;
            if (a > 0x7f800000) y = 0x7e00;
        } else {
            float f;
            memcpy(&f, &a, 4);
            f += 0.5f; /* whose last place is that of f16's smallest numbers */
            memcpy(&y, &f, 4);
            y -= 0x3f000000;
        }
        uint16_t h = (uint16_t)(x >> 16 & 0x8000) | (uint16_t)y;
        memcpy(row + 2 * k, &h, 2);
    }
}

/* The same, of another type: bf16 or f16 from f32. */
static bool pack_elements(Cg *g, Blob src, DType elem, int64_t first, int64_t n, uint8_t *to)
{
    DType from = blob_rec(g->m->blobs, src)->elem;
    assert((from == elem || (from == DT_F32 && (elem == DT_BF16 || elem == DT_F16))) && "packing rounds f32 to bf16 or f16, nothing else");
    if (!blob_elements(g, src, first, n, to)) return false;
    if (from != elem && elem == DT_BF16) to_bf16(to, n);
    if (from != elem && elem == DT_F16) to_f16(to, n);
    return true;
}

/* n pieces of `bytes` each, to every step-th place. Sizes known here are moves, not calls. */
static void spread(uint8_t *to, int64_t step, const uint8_t *from, int64_t n, int64_t bytes)
{
    if (step == 1) {
        memcpy(to, from, (size_t)(n * bytes));
    } else if (bytes == 4) {
        for (int64_t i = 0; i < n; i++) memcpy(to + i * step * 4, from + i * 4, 4);
    } else {
        for (int64_t i = 0; i < n; i++) memcpy(to + i * step * bytes, from + i * bytes, (size_t)bytes);
    }
}

/* Rows [k0, k0 + n) of the column that begins at element `at`, run by run of what the recipe says of rows. */
static bool column_read(Cg *g, const Recipe *r, DType elem, int64_t at, int64_t k0, int64_t n, uint8_t *row)
{
    const BlobRec *src = blob_rec(g->m->blobs, r->src[0]);
    bool plain = (src->kind == BLOB_RAW || src->kind == BLOB_INLINE) && src->elem == elem && whole_bytes(elem) == 4;
    int64_t e = whole_bytes(elem);
    for (int64_t k = k0, run; k < k0 + n; k += run) {
        int64_t first = at + recipe_k(r, k), rest = k0 + n - k;
        run = r->k_in && r->k_in - k % r->k_in < rest ? r->k_in - k % r->k_in : rest;
        uint8_t *to = row + (k - k0) * e;
        if (r->stride_k == 1) {
            if (!pack_elements(g, r->src[0], elem, first, run, to)) return false;
        } else if (plain) {
            int64_t last = first + (run - 1) * r->stride_k;
            assert(first >= 0 && last >= 0 && first < src->count && last < src->count);
            const uint8_t *from = (const uint8_t *)src->data + 4 * first;
            for (int64_t i = 0; i < run; i++) memcpy(to + 4 * i, from + 4 * i * r->stride_k, 4);
        } else {
            for (int64_t i = 0; i < run; i++)
                if (!pack_elements(g, r->src[0], elem, first + i * r->stride_k, 1, to + i * e)) return false;
        }
    }
    return true;
}

static bool pack_panel(Cg *g, const Recipe *r, DType elem, int64_t t, int64_t k0, int64_t s, uint8_t *row, uint8_t *out)
{
    int64_t sides = r->sides ? r->sides : 1, n0 = s / sides * LANES;
    int64_t e = whole_bytes(elem), kn = r->K - k0 < r->kc ? r->K - k0 : r->kc, cols = r->N - n0 < LANES ? r->N - n0 : LANES,
            base = r->src_off + t * r->stride_t + s % sides * r->stride_side;
    if (kn < r->kc || cols < LANES || r->kc % r->g) memset(out, 0, (size_t)(round_up(r->kc, r->g) * LANES) * e);
    if (r->stride_n == 1) {
        for (int64_t k = 0; k < kn; k++) {
            if (!pack_elements(g, r->src[0], elem, base + recipe_k(r, k0 + k) + n0, cols, row)) return false;
            spread(out + (k / r->g * LANES * r->g + k % r->g) * e, r->g, row, cols, e);
        }
        return true;
    }
    for (int64_t n = 0; n < cols; n++) {
        int64_t at = base + (n0 + n) * r->stride_n;
        if (!column_read(g, r, elem, at, k0, kn, row)) return false;
        int64_t group = r->g * e, whole = kn / r->g; /* bytes of g rows in a column; so many of them */
        spread(out + n * group, LANES, row, whole, group);
        memcpy(out + (whole * LANES + n) * group, row + whole * group, (size_t)((kn - whole * r->g) * e));
    }
    return true;
}

/* [batch][K/kc][N/16][kc/g][16][g]; K and N are padded with zeros to whole blocks and strips. */
static bool write_pack(Out *o, const Recipe *r, DType elem)
{
    Cg *g = o->g;
    unsigned e = whole_bytes(elem);
    int64_t rows = round_up(r->kc, r->g);
    assert(r->kc > 0 && r->g > 0 && e > 0);
    unsigned of_src = whole_bytes(blob_rec(g->m->blobs, r->src[0])->elem);
    uint8_t *row = arena_alloc(&g->arena, (size_t)(rows > LANES ? rows : LANES) * of_src + of_src),
            *out = arena_alloc(&g->arena, (size_t)(rows * LANES) * e);
    for (int64_t t = 0; t < r->batch; t++)
        for (int64_t k0 = 0; k0 < r->K; k0 += r->kc)
            for (int64_t s = 0; s < recipe_strips(r); s++) {
                if (!pack_panel(g, r, elem, t, k0, s, row, out)) return false;
                out_bytes(o, out, (size_t)(rows * LANES) * e);
            }
    return true;
}

typedef struct Source {
    Cg *g;
    Blob b;
} Source;

static bool read_source(void *arg, int64_t first, int64_t n, float *to)
{
    Source *s = arg;
    return blob_elements(s->g, s->b, first, n, to);
}

/* Transformed weights, a panel at a time. */
static bool write_winograd(Out *o, const Recipe *r, int64_t count)
{
    Cg *g = o->g;
    Source s = {g, r->src[0]};
    int64_t per_column = count / round_up(r->N, LANES);
    float *w = arena_alloc(&g->arena, (size_t)(r->K * 9 * LANES) * sizeof *w),
          *out = arena_alloc(&g->arena, (size_t)(per_column * r->panel) * sizeof *out);
    for (int64_t n = 0; n < r->N; n += r->panel) {
        int64_t cols = round_up(r->N - n < r->panel ? r->N - n : r->panel, LANES);
        if (!recipe_winograd_panel(r, n, read_source, &s, w, out)) return false;
        out_bytes(o, out, (size_t)(per_column * cols) * sizeof *out);
    }
    return true;
}

static bool write_blob(Out *o, Blob b)
{
    Cg *g = o->g;
    const BlobRec *r = blob_rec(g->m->blobs, b);
    int64_t bytes = blob_bytes(g->m->blobs, b);
    if (r->kind == BLOB_DERIVED && r->recipe->kind == RECIPE_PACK) return write_pack(o, r->recipe, r->elem);
    if (r->kind == BLOB_DERIVED && r->recipe->kind == RECIPE_WINOGRAD) return write_winograd(o, r->recipe, r->count);
    if (r->kind == BLOB_RAW || r->kind == BLOB_INLINE) { /* no copy: pages of the model's file go straight through */
        out_bytes(o, r->data, (size_t)bytes);
        return true;
    }
    int64_t bits = dtype_info(r->elem)->bits, step = CHUNK * 8 / bits;
    uint8_t *buf = arena_alloc(&g->arena, CHUNK);
    for (int64_t k = 0; k < r->count; k += step) {
        int64_t n = r->count - k < step ? r->count - k : step;
        if (!blob_elements(g, b, k, n, buf)) return false;
        out_bytes(o, buf, (size_t)dtype_bytes(r->elem, n));
    }
    return true;
}

static bool write_pieces(Out *o)
{
    const CgData *d = o->g->data;
    int64_t start = o->at;
    for (uint32_t i = 0; i < d->piece.n; i++) {
        out_pad(o, start + d->piece.p[i].off);
        if (!write_blob(o, d->piece.p[i].blob)) return false;
        if (o->at - start != d->piece.p[i].off + d->piece.p[i].bytes)
            BUG("a constant wrote %lld bytes, not %lld", (long long)(o->at - start - d->piece.p[i].off),
                (long long)d->piece.p[i].bytes);
    }
    out_pad(o, start + d->bytes);
    return true;
}

/* ---- ELF ---- */
enum { S_NULL, S_WEIGHTS, S_BYTES, S_RECORDS, S_RELA, S_STACK, S_SYMTAB, S_STRTAB, S_SHSTRTAB, S_COUNT };

bool data_write_object(Cg *g, const char *path, bool hole)
{
    CgData *d = g->data;
    bool arm = !strncmp(g->m->target.triple, "aarch64", 7);
    if (strncmp(g->m->target.triple, "x86_64", 6) && !arm)
        return diag(g->m->diag, cg_place(g, path), E_BAD_TARGET, g->m->target.triple, "no ELF writer for it");
    Out o;
    if (!out_open(&o, g, path)) return false;
    Elf64_Ehdr eh = {.e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
                     .e_type = ET_REL,
                     .e_machine = arm ? EM_AARCH64 : EM_X86_64,
                     .e_version = EV_CURRENT,
                     .e_ehsize = sizeof(Elf64_Ehdr),
                     .e_shentsize = sizeof(Elf64_Shdr),
                     .e_shnum = S_COUNT,
                     .e_shstrndx = S_SHSTRTAB};
    Elf64_Shdr sh[S_COUNT] = {{0}};
    bool ok = true;
    out_bytes(&o, &eh, sizeof eh); /* written again at the end, with the offset of the section headers */

    out_pad(&o, PAGE);
    sh[S_WEIGHTS] = (Elf64_Shdr){.sh_type = SHT_PROGBITS,
                                 .sh_flags = SHF_ALLOC,
                                 .sh_offset = (Elf64_Off)o.at,
                                 .sh_size = (Elf64_Xword)d->bytes,
                                 .sh_addralign = PAGE};
    if (g->weights_out) sh[S_WEIGHTS].sh_size = 0;
    else if (hole) sh[S_WEIGHTS].sh_type = SHT_NOBITS;
    else ok = write_pieces(&o);

    int64_t bytes_at = o.at, records = d->text_records / (int64_t)sizeof(bmc_string);
    for (uint32_t i = 0; ok && i < d->text.n; i++) {
        const BlobRec *r = blob_rec(g->m->blobs, d->text.p[i]);
        const bmc_string *s = r->data;
        for (int64_t k = 0; k < r->count; k++) out_bytes(&o, s[k].ptr, s[k].len);
    }
    sh[S_BYTES] = (Elf64_Shdr){.sh_type = SHT_PROGBITS,
                               .sh_flags = SHF_ALLOC,
                               .sh_offset = (Elf64_Off)bytes_at,
                               .sh_size = (Elf64_Xword)(o.at - bytes_at),
                               .sh_addralign = 1};
    out_pad(&o, round_up(o.at, 16));
    sh[S_RECORDS] = (Elf64_Shdr){.sh_type = SHT_PROGBITS,
                                 .sh_flags = SHF_ALLOC | SHF_WRITE,
                                 .sh_offset = (Elf64_Off)o.at,
                                 .sh_size = (Elf64_Xword)d->text_records,
                                 .sh_addralign = 16};
    for (uint32_t i = 0; ok && i < d->text.n; i++) {
        const BlobRec *r = blob_rec(g->m->blobs, d->text.p[i]);
        const bmc_string *s = r->data;
        for (int64_t k = 0; k < r->count; k++) out_bytes(&o, (uint64_t[]){0, s[k].len}, 16);
    }
    out_pad(&o, round_up(o.at, 8));
    /* records start at multiples of 16 in order, so the k-th relocation of all belongs to record k */
    sh[S_RELA] = (Elf64_Shdr){.sh_type = SHT_RELA,
                              .sh_flags = SHF_INFO_LINK,
                              .sh_offset = (Elf64_Off)o.at,
                              .sh_size = (Elf64_Xword)records * sizeof(Elf64_Rela),
                              .sh_link = S_SYMTAB,
                              .sh_info = S_RECORDS,
                              .sh_addralign = 8,
                              .sh_entsize = sizeof(Elf64_Rela)};
    int64_t byte = 0, record = 0;
    for (uint32_t i = 0; ok && i < d->text.n; i++) {
        const BlobRec *r = blob_rec(g->m->blobs, d->text.p[i]);
        const bmc_string *s = r->data;
        for (int64_t k = 0; k < r->count; k++, record++) {
            Elf64_Rela rel = {.r_offset = (Elf64_Addr)(record * 16),
                              .r_info = ELF64_R_INFO(1, arm ? R_AARCH64_ABS64 : R_X86_64_64),
                              .r_addend = byte};
            out_bytes(&o, &rel, sizeof rel);
            byte += (int64_t)s[k].len;
        }
    }
    sh[S_STACK] = (Elf64_Shdr){.sh_type = SHT_PROGBITS, .sh_offset = (Elf64_Off)o.at, .sh_addralign = 1};

    const char *weights = arena_printf(&g->arena, "bmc_weights_%s", g->m->prefix),
               *strings = arena_printf(&g->arena, "bmc_strings_%s", g->m->prefix);
    uint32_t weights_name = 1, strings_name = weights_name + (uint32_t)strlen(weights) + 1;
    Elf64_Sym sym[] = {{0},
                       {.st_info = ELF64_ST_INFO(STB_LOCAL, STT_SECTION), .st_shndx = S_BYTES},
                       {.st_name = weights_name,
                        .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_OBJECT),
                        .st_other = STV_HIDDEN,
                        .st_shndx = S_WEIGHTS,
                        .st_size = (Elf64_Xword)d->bytes},
                       {.st_name = strings_name,
                        .st_info = ELF64_ST_INFO(STB_GLOBAL, STT_OBJECT),
                        .st_other = STV_HIDDEN,
                        .st_shndx = S_RECORDS,
                        .st_size = (Elf64_Xword)d->text_records}};
    sh[S_SYMTAB] = (Elf64_Shdr){.sh_type = SHT_SYMTAB,
                                .sh_offset = (Elf64_Off)o.at,
                                .sh_size = sizeof sym,
                                .sh_link = S_STRTAB,
                                .sh_info = 2,
                                .sh_addralign = 8,
                                .sh_entsize = sizeof(Elf64_Sym)};
    out_bytes(&o, sym, sizeof sym);
    sh[S_STRTAB] = (Elf64_Shdr){.sh_type = SHT_STRTAB,
                                .sh_offset = (Elf64_Off)o.at,
                                .sh_size = strings_name + strlen(strings) + 1,
                                .sh_addralign = 1};
    out_bytes(&o, "", 1);
    out_bytes(&o, weights, strlen(weights) + 1);
    out_bytes(&o, strings, strlen(strings) + 1);

    static const char *const names[S_COUNT] = {
        "",        ".rodata.bmc", ".rodata.bmc_text", ".data.rel.ro.bmc", ".rela.data.rel.ro.bmc", ".note.GNU-stack",
        ".symtab", ".strtab",     ".shstrtab"};
    sh[S_SHSTRTAB] = (Elf64_Shdr){.sh_type = SHT_STRTAB, .sh_offset = (Elf64_Off)o.at, .sh_addralign = 1};
    for (int i = 0; i < S_COUNT; i++) {
        sh[i].sh_name = (Elf64_Word)(o.at - (int64_t)sh[S_SHSTRTAB].sh_offset);
        out_bytes(&o, names[i], strlen(names[i]) + 1);
    }
    sh[S_SHSTRTAB].sh_size = (Elf64_Xword)(o.at - (int64_t)sh[S_SHSTRTAB].sh_offset);
    sh[S_NULL] = (Elf64_Shdr){0};
    out_pad(&o, round_up(o.at, 8));
    eh.e_shoff = (Elf64_Off)o.at;
    out_bytes(&o, sh, sizeof sh);
    out_flush(&o);
    o.at = 0;
    if (fseek(o.f, 0, SEEK_SET)) o.failed = true;
    out_bytes(&o, &eh, sizeof eh);
    ok &= out_close(&o);
    return ok;
}

bool data_write_into(Cg *g, const char *linked)
{
    const char *name = arena_printf(&g->arena, "bmc_weights_%s", g->m->prefix);
    Out o = {.g = g, .path = linked};
    FILE *f = fopen(linked, "r+b");
    if (!f) return diag(g->m->diag, cg_place(g, linked), E_OPEN, strerror(errno));
    bool found = place_find(g, f, name, g->data->bytes, &o.at);
    out_file(&o, f);
    bool ok = found && write_pieces(&o);
    ok &= out_close(&o);
    return found ? ok : diag(g->m->diag, cg_place(g, linked), E_LINK, "the linker has lost the place of the weights");
}

static bool copy_bytes(Out *o, FILE *from, int64_t to)
{
    uint8_t *buf = arena_alloc(&o->g->arena, CHUNK);
    if (fseeko(from, (off_t)o->at, SEEK_SET)) return false;
    while (o->at < to) {
        size_t n = (size_t)(to - o->at < CHUNK ? to - o->at : CHUNK);
        if (fread(buf, 1, n, from) != n) return false;
        out_bytes(o, buf, n);
    }
    return true;
}

bool data_write_anew(Cg *g, const char *linked, bool inside)
{
    const char *name = arena_printf(&g->arena, "bmc_weights_%s", g->m->prefix),
               *path = arena_printf(&g->arena, "%s.new", linked);
    FILE *from = fopen(linked, "rb");
    struct stat st;
    int64_t at = 0, bytes = inside ? g->data->bytes : 0;
    if (!from || fstat(fileno(from), &st)) {
        if (from) fclose(from);
        return diag(g->m->diag, cg_place(g, linked), E_OPEN, strerror(errno));
    }
    if (bytes && !place_find(g, from, name, bytes, &at)) {
        fclose(from);
        return diag(g->m->diag, cg_place(g, linked), E_LINK, "the linker has lost the place of the weights");
    }
    Out o;
    bool ok = out_open(&o, g, path);
    if (ok) {
        bool same = copy_bytes(&o, from, at) && (!bytes || (ok = write_pieces(&o))) && copy_bytes(&o, from, st.st_size);
        if (ok && !same) ok = diag(g->m->diag, cg_place(g, linked), E_READ, "what the linker wrote cannot be read");
        if (fchmod(fileno(o.f), st.st_mode & 07777)) o.failed = true;
        ok &= out_close(&o);
        if (ok && rename(path, linked)) ok = diag(g->m->diag, cg_place(g, linked), E_WRITE, strerror(errno));
        if (!ok) remove(path);
    }
    fclose(from);
    return ok;
}

/* The side file: the pieces alone, mapped as they are. */
bool data_write_file(Cg *g, const char *path)
{
    Out o;
    if (!out_open(&o, g, path)) return false;
    bool ok = write_pieces(&o);
    return out_close(&o) && ok;
}

/* Hash of the weights for side files: they are evaluated once more, without a file. */
bool data_hash(Cg *g)
{
    XXH64_state_t state;
    XXH64_reset(&state, 0);
    Out o = {.g = g, .hash = &state};
    if (!write_pieces(&o)) return false;
    g->data->hash = XXH64_digest(&state);
    return true;
}
