/* lex_blob.c: constants in the text forms (blob.h has the grammar). A text can say anything, so files, lengths, hashes
 * and recipes are all checked here. */
#include "ir/elem.h"
#include "ir/lex.h"
#include "ir/winograd.h"
#include <string.h>

/* Fills data[k] from the current token; the type says what may stand there. */
static bool one_element(Lex *x, DType t, void *data, int64_t k)
{
    double f;
    int64_t i;
    Tok here = x->tok;
    if (dtype_is_float(t)) {
        if (!lex_number(x, &f)) return false;
        elem_put_f(t, data, k, f);
        return true;
    }
    if (t == DT_U64 && x->tok.kind == TK_INT && x->tok.big) {
        i = x->tok.i;
        lex_next(x);
    } else if (t == DT_BOOL && (lex_is_ident(x, "true") || lex_is_ident(x, "false"))) {
        i = lex_is_ident(x, "true");
        lex_next(x);
    } else if (!lex_int(x, &i)) return false;
    elem_put_i(t, data, k, i);
    if (elem_get_i(t, data, k) != i) return lex_error_at(x, &here, "%lld does not fit %s", (long long)i, dtype_name(t));
    return true;
}

static bool plain_type(Lex *x, DType t)
{
    DTypeClass c = dtype_info(t)->cls;
    return (c != DC_NONE && c != DC_STR && c != DC_COMPLEX) ||
           lex_error(x, "numbers cannot give elements of type %s", dtype_name(t));
}

static bool wrong_count(Lex *x, int64_t count)
{
    return lex_error(x, "the type has %lld elements, the constant has another number", (long long)count);
}

static bool list(Lex *x, Blobs *bs, DType t, int64_t count, Blob *out)
{
    VEC(uint8_t) data = {0};
    int64_t n = 0;
    if (!plain_type(x, t)) return false;
    while (!lex_is(x, ']')) {
        if (n && !lex_expect(x, ',')) return false;
        if (n == count) return wrong_count(x, count);
        while ((int64_t)data.n < dtype_bytes(t, n + 1)) vec_push(x->arena, &data, 0);
        if (!one_element(x, t, data.p, n++)) return false;
    }
    if (n != count) return wrong_count(x, count);
    if (!lex_expect(x, ']')) return false;
    *out = blob_inline(bs, t, count, data.p);
    return true;
}

static bool strings(Lex *x, Blobs *bs, int64_t count, Blob *out)
{
    VEC(const char *) ptr = {0};
    VEC(size_t) len = {0};
    while (!lex_is(x, ']')) {
        const char *p;
        size_t n;
        if (ptr.n && !lex_expect(x, ',')) return false;
        if (!lex_string(x, &p, &n)) return false;
        vec_push(x->arena, &ptr, p);
        vec_push(x->arena, &len, n);
    }
    if (ptr.n != count) return wrong_count(x, count);
    if (!lex_expect(x, ']')) return false;
    *out = blob_strings(bs, count, ptr.p, len.p);
    return true;
}

static int hex_digit(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

static bool hex(Lex *x, Blobs *bs, DType t, int64_t count, Blob *out)
{
    const char *p;
    size_t n;
    if (dtype_info(t)->cls == DC_NONE || t == DT_STR)
        return lex_error(x, "bytes cannot give elements of type %s", dtype_name(t));
    if (!lex_string(x, &p, &n)) return false;
    if (n % 2 || (int64_t)(n / 2) != dtype_bytes(t, count)) return wrong_count(x, count);
    uint8_t *data = arena_array(x->arena, uint8_t, n / 2);
    for (size_t i = 0; i < n / 2; i++) {
        int hi = hex_digit(p[2 * i]), lo = hex_digit(p[2 * i + 1]);
        if (hi < 0 || lo < 0) return lex_error(x, "hex\"...\" takes lower-case hexadecimal digits");
        data[i] = (uint8_t)(hi * 16 + lo);
    }
    *out = blob_inline(bs, t, count, data);
    return true;
}

/* "path"@off+len#hash: the scanner takes @off for a name and has no token for a hash. */
static bool raw(Lex *x, Blobs *bs, DType t, int64_t count, Blob *out)
{
    const char *path, *why;
    Tok here = x->tok;
    size_t n;
    int64_t off = 0, len;
    uint32_t file;
    if (!lex_string(x, &path, &n)) return false;
    if (memchr(path, 0, n)) return lex_error(x, "a path holds a zero byte");
    if (x->tok.kind != TK_AT || x->tok.len == 0) return lex_error(x, "expected @offset behind the path");
    for (size_t i = 0; i < x->tok.len; i++) {
        char c = x->tok.text[i];
        if (c < '0' || c > '9' || __builtin_mul_overflow(off, 10, &off) || __builtin_add_overflow(off, c - '0', &off))
            return lex_error(x, "expected @offset behind the path");
    }
    lex_next(x);
    if (!lex_expect(x, '+') || !lex_int(x, &len)) return false;
    if (!lex_is(x, '#')) return lex_error(x, "expected '#' and the hash of the content");
    uint64_t hash = 0;
    int digits = 0;
    for (; x->p < x->end && hex_digit(*x->p) >= 0 && digits < 16; x->p++, digits++)
        hash = hash << 4 | (uint64_t)hex_digit(*x->p);
    if (digits != 16) return lex_error(x, "expected 16 hexadecimal digits behind '#'");
    if (dtype_info(t)->cls == DC_NONE || t == DT_STR)
        return lex_error(x, "a file cannot give elements of type %s", dtype_name(t));
    if (len != dtype_bytes(t, count)) return wrong_count(x, count);
    if (!blob_file(bs, path, &file, &why)) return lex_error_at(x, &here, "cannot open %s: %s", path, why);
    if (off > bs->file.p[file].bytes || len > bs->file.p[file].bytes - off)
        return lex_error_at(x, &here, "%s is shorter than that", path);
    *out = blob_raw(bs, file, off, t, count);
    if (blob_hash(bs, *out) != hash)
        return lex_error_at(x, &here, "the content of %s is not what it was when this text was written", path);
    lex_next(x);
    return true;
}

static bool field(Lex *x, const char *name, int64_t *to)
{
    return lex_expect(x, ',') && lex_expect_ident(x, name) && lex_expect(x, '=') && lex_int(x, to);
}

/* Adds the reach of n steps of a stride to the range [*lo, *hi]; false: overflow. */
static bool reach(int64_t n, int64_t stride, int64_t *lo, int64_t *hi)
{
    int64_t far;
    return n >= 1 && !__builtin_mul_overflow(n - 1, stride, &far) &&
           !__builtin_add_overflow(far < 0 ? *lo : *hi, far, far < 0 ? lo : hi);
}

static bool recipe_source(Lex *x, Blobs *bs, Recipe *r)
{
    const char *elem;
    int64_t count;
    Tok here = x->tok;
    if (r->n_src == sizeof r->src / sizeof *r->src) return lex_error(x, "too many sources");
    if (!lex_name(x, TK_IDENT, &elem)) return false;
    DType t = dtype_parse(elem);
    if (!t) return lex_error_at(x, &here, "unknown element type '%s'", elem);
    if (!lex_int(x, &count)) return false;
    if (count < 0) return lex_error(x, "a count is not negative");
    return lex_blob(x, bs, t, count, &r->src[r->n_src++]);
}

static bool pack(Lex *x, Blobs *bs, Recipe *r)
{
    int64_t sides = 1;
    if (!recipe_source(x, bs, r) || !field(x, "batch", &r->batch) || !field(x, "K", &r->K) || !field(x, "N", &r->N) ||
        !field(x, "kc", &r->kc) || !field(x, "g", &r->g) || !field(x, "off", &r->src_off) ||
        !field(x, "st", &r->stride_t) || !field(x, "sk", &r->stride_k) || !field(x, "sn", &r->stride_n))
        return false;
    while (lex_accept(x, ',')) {
        bool k = lex_is_ident(x, "ki");
        if (!lex_expect_ident(x, k ? "ki" : "sides") || !lex_expect(x, '=') || !lex_int(x, k ? &r->k_in : &sides) ||
            !field(x, k ? "sq" : "ss", k ? &r->stride_q : &r->stride_side))
            return false;
        if (!k) r->sides = sides;
    }
    int64_t lo = r->src_off, hi = lo, inner = r->k_in > 0 && r->k_in < r->K ? r->k_in : r->K,
            outer = r->k_in > 0 ? (r->K - 1) / r->k_in + 1 : 1;
    if (!r->src[0].i || r->kc < 1 || r->g < 1 || r->k_in < 0 || !reach(sides, r->stride_side, &lo, &hi) || !reach(r->batch, r->stride_t, &lo, &hi) ||
        !reach(inner, r->stride_k, &lo, &hi) || !reach(outer, r->stride_q, &lo, &hi) || !reach(r->N, r->stride_n, &lo, &hi) || lo < 0 ||
        hi >= blob_rec(bs, r->src[0])->count)
        return lex_error(x, "the recipe reads outside of its source");
    return true;
}

static bool winograd(Lex *x, Blobs *bs, Recipe *r, int64_t count)
{
    if (!recipe_source(x, bs, r) || !field(x, "m", &r->m) || !field(x, "K", &r->K) || !field(x, "N", &r->N) ||
        !field(x, "panel", &r->panel) || !field(x, "off", &r->src_off) || !field(x, "sk", &r->stride_k) ||
        !field(x, "sn", &r->stride_n))
        return false;
    if (lex_accept(x, ',')) {
        if (!lex_expect_ident(x, "r") || !lex_expect(x, '=') || !lex_int(x, &r->r) || !field(x, "sv", &r->step[0]) ||
            !field(x, "sh", &r->step[1]))
            return false;
        if (!r->r) return lex_error(x, "sizes of a recipe do not fit each other");
    }
    int64_t lo = r->src_off, hi = lo, places;
    if (recipe_winograd_count(r) != count || !r->src[0].i || blob_rec(bs, r->src[0])->elem != DT_F32)
        return lex_error(x, "sizes of a recipe do not fit each other");
    places = r->r ? r->step[0] * r->step[1] : 1;
    if (!reach(recipe_winograd_taps(r), 1, &lo, &hi) || !reach(r->K / places, r->stride_k, &lo, &hi) ||
        !reach(r->N, r->stride_n, &lo, &hi) || lo < 0 || hi >= blob_rec(bs, r->src[0])->count)
        return lex_error(x, "the recipe reads outside of its source");
    return true;
}

static bool graph(Lex *x, Blobs *bs, Recipe *r)
{
    int64_t index;
    if (!lex_int(x, &index)) return false;
    if (index < 0 || index > UINT32_MAX) return lex_error(x, "graph index out of range");
    r->graph = (uint32_t)index;
    while (lex_accept(x, ','))
        if (!recipe_source(x, bs, r)) return false;
    return true;
}

bool lex_blob(Lex *x, Blobs *bs, DType t, int64_t count, Blob *out)
{
    uint8_t one[16] = {0};
    int64_t first, step;
    if (count < 0) return lex_error(x, "the number of elements is not known");
    if (x->tok.kind == TK_STRING) return raw(x, bs, t, count, out);
    if (lex_accept_ident(x, "none")) {
        *out = (Blob){0};
        return true;
    }
    if (lex_accept(x, '[')) return t == DT_STR ? strings(x, bs, count, out) : list(x, bs, t, count, out);
    if (lex_accept_ident(x, "hex")) return hex(x, bs, t, count, out);
    if (lex_accept_ident(x, "splat")) {
        if (!plain_type(x, t) || !lex_expect(x, '(') || !one_element(x, t, one, 0) || !lex_expect(x, ')')) return false;
        *out = dtype_is_float(t) ? blob_splat_f(bs, t, count, elem_get_f(t, one, 0))
                                 : blob_splat_i(bs, t, count, elem_get_i(t, one, 0));
        return true;
    }
    if (lex_accept_ident(x, "iota")) {
        if (!dtype_is_int(t)) return lex_error(x, "iota gives integers, not %s", dtype_name(t));
        if (!lex_expect(x, '(') || !lex_int(x, &first) || !lex_expect(x, ',') || !lex_int(x, &step) ||
            !lex_expect(x, ')'))
            return false;
        *out = blob_iota(bs, t, count, first, step);
        return true;
    }
    RecipeKind kind = lex_is_ident(x, "pack")       ? RECIPE_PACK
                      : lex_is_ident(x, "winograd") ? RECIPE_WINOGRAD
                                                    : RECIPE_GRAPH;
    if (kind == RECIPE_GRAPH && !lex_is_ident(x, "graph")) return lex_error(x, "expected a constant");
    if (kind == RECIPE_WINOGRAD && t != DT_F32) return lex_error(x, "transformed weights are f32");
    if (x->depth >= LEX_DEPTH_MAX) return lex_error(x, "nested too deeply");
    lex_next(x);
    Recipe r = {.kind = kind};
    x->depth++;
    bool ok = lex_expect(x, '(') &&
              (kind == RECIPE_PACK       ? pack(x, bs, &r)
               : kind == RECIPE_WINOGRAD ? winograd(x, bs, &r, count)
                                         : graph(x, bs, &r)) &&
              lex_expect(x, ')');
    x->depth--;
    if (ok) *out = blob_derived(bs, t, count, &r);
    return ok;
}
