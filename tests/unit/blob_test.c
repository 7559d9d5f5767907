/* blob_test: constants of every kind: what is found in bytes, reading, identity, and the way through the text form. */
#include "ir/blob.h"
#include "ir/elem.h"
#include "ir/lex.h"
#include "runtime/bmc.h"
#include "tests/unit/check.h"
#include <math.h>
#include <stdlib.h>
#include <unistd.h>

typedef struct Fix {
    Arena arena;
    Diag diag;
    Blobs bs;
} Fix;

static void fix_init(Fix *f)
{
    arena_init(&f->arena, "test", NULL);
    diag_init(&f->diag, &f->arena);
    blobs_init(&f->bs, &f->arena);
}

static void fix_free(Fix *f)
{
    blobs_close(&f->bs);
    arena_free(&f->arena);
}

static const char *text_of(Fix *f, Blob b)
{
    Str s;
    str_init(&s, &f->arena);
    blob_print(&s, &f->bs, b);
    return str_get(&s);
}

static bool parse(Fix *f, const char *text, DType t, int64_t n, Blob *b)
{
    Lex x;
    f->diag.first_error = NULL;
    lex_init(&x, &f->arena, &f->diag, "t", text, strlen(text));
    return lex_blob(&x, &f->bs, t, n, b) && (x.tok.kind == TK_EOF || lex_error(&x, "text is left"));
}

/* The text reads back as an equal blob with the same text. */
static void round_trip(Fix *f, Blob b, int line)
{
    const BlobRec *r = blob_rec(&f->bs, b);
    const char *text = text_of(f, b);
    Blob again;
    bool ok = parse(f, text, r->elem, r->count, &again);
    check_that(ok, __FILE__, line, "the text reads back");
    if (!ok) printf("    %.200s: %s\n", text, f->diag.first_error);
    if (!ok) return;
    ok = blob_equal(&f->bs, b, again) && blob_hash(&f->bs, b) == blob_hash(&f->bs, again);
    check_that(ok, __FILE__, line, "and is the same");
    if (!ok) printf("    %.200s\n", text);
    check_text(text_of(f, again), text, __FILE__, line, "and prints the same");
}
#define ROUND_TRIP(b) round_trip(&f, (b), __LINE__)

static BlobKind kind(Fix *f, Blob b) { return blob_rec(&f->bs, b)->kind; }

static void structure(void)
{
    Fix f;
    fix_init(&f);
    float same[3] = {0.5f, 0.5f, 0.5f}, other[3] = {1, 2, 4}, zeros[2] = {0.0f, -0.0f};
    int64_t line[4] = {3, 1, -1, -3}, broken[4] = {0, 1, 2, 4}, edge[3] = {INT64_MAX - 1, INT64_MAX, INT64_MIN};
    uint8_t bytes[3] = {7, 7, 7}, bools[2] = {2, 2}, nibbles[2] = {0x33, 0xf3}, halves[2] = {0x33, 0x4f};
    Blob s = blob_inline(&f.bs, DT_F32, 3, same), i = blob_inline(&f.bs, DT_I64, 4, line);
    CHECK(kind(&f, s) == BLOB_SPLAT && blob_rec(&f.bs, s)->fval == 0.5);
    CHECK(kind(&f, i) == BLOB_IOTA && blob_rec(&f.bs, i)->ival == 3 && blob_rec(&f.bs, i)->step == -2);
    CHECK(kind(&f, blob_inline(&f.bs, DT_F32, 3, other)) == BLOB_INLINE);
    CHECK(kind(&f, blob_inline(&f.bs, DT_F32, 2, zeros)) == BLOB_INLINE); /* 0 and -0 differ */
    CHECK(kind(&f, blob_inline(&f.bs, DT_I64, 4, broken)) == BLOB_INLINE);
    CHECK(kind(&f, blob_inline(&f.bs, DT_I64, 3, edge)) == BLOB_INLINE); /* a step must not wrap */
    CHECK(kind(&f, blob_inline(&f.bs, DT_U8, 3, bytes)) == BLOB_SPLAT);
    CHECK(kind(&f, blob_inline(&f.bs, DT_BOOL, 2, bools)) == BLOB_INLINE); /* not a bool anyone wrote */
    CHECK(kind(&f, blob_inline(&f.bs, DT_U4, 3, nibbles)) == BLOB_SPLAT);  /* padding does not count */
    CHECK(kind(&f, blob_inline(&f.bs, DT_U4, 3, halves)) == BLOB_INLINE);
    CHECK(kind(&f, blob_inline(&f.bs, DT_F32, 0, NULL)) == BLOB_INLINE);
    CHECK_STR(text_of(&f, s), "splat(0.5)");
    CHECK_STR(text_of(&f, i), "iota(3,-2)");
    CHECK_STR(text_of(&f, blob_inline(&f.bs, DT_F32, 3, other)), "[1,2,4]");
    CHECK_STR(text_of(&f, blob_inline(&f.bs, DT_F32, 0, NULL)), "[]");
    CHECK_STR(text_of(&f, blob_splat_f(&f.bs, DT_F32, 2, 0.1)), "splat(0.1)");
    CHECK_STR(text_of(&f, blob_splat_i(&f.bs, DT_U8, 2, 257)), "splat(1)");
    CHECK(blob_rec(&f.bs, blob_splat_f(&f.bs, DT_F32, 2, 0.1))->fval == (double)0.1f);
    CHECK_STR(text_of(&f, blob_splat_i(&f.bs, DT_U64, 2, -1)), "splat(18446744073709551615)");
    CHECK(blob_get_f(&f.bs, blob_splat_i(&f.bs, DT_F16, 1, 3), 0) == 3);
    float nan_payload;
    memcpy(&nan_payload, &(uint32_t){0x7fc12345}, 4);
    Blob n = blob_inline(&f.bs, DT_F32, 1, &nan_payload);
    CHECK_STR(text_of(&f, n), "hex\"4523c17f\"");
    ROUND_TRIP(n);
    Blob huge = blob_splat_f(&f.bs, DT_F32, (int64_t)1 << 40, 0);
    CHECK(blob_bytes(&f.bs, huge) == (int64_t)1 << 42 && blob_hash(&f.bs, huge) &&
          blob_equal(&f.bs, huge, blob_splat_f(&f.bs, DT_F32, (int64_t)1 << 40, 0)));
    CHECK(!blob_equal(&f.bs, huge, blob_splat_f(&f.bs, DT_F32, (int64_t)1 << 40, 1)));
    fix_free(&f);
}

/* Random data of every type: reading any part, and the text form. */
static void every_type(void)
{
    Fix f;
    Rng r = {8};
    fix_init(&f);
    for (int t = 1; t < DT_COUNT; t++) {
        if (t == DT_STR) continue;
        for (int round = 0; round < 60; round++) {
            uint8_t data[2048], whole[2048], part[2048];
            int64_t n = round == 0 ? 0 : rng_in(&r, 1, round % 10 ? 20 : 100);
            memset(data, 0, sizeof data);
            int style = (int)rng_in(&r, 0, 3);
            for (int64_t k = 0; k < n; k++)
                if (style == 0) elem_put_i((DType)t, data, k, rng_in(&r, -100, 100));
                else if (style == 1) elem_put_f((DType)t, data, k, (double)rng_in(&r, -1000, 1000) / 7);
                else if (style == 2) elem_put_i((DType)t, data, k, 5 + 3 * k);
                else elem_put_i((DType)t, data, k, 1);
            if (style == 1 && round % 2 && t != DT_BOOL)
                for (int64_t k = 0; k < dtype_bytes((DType)t, n); k++) data[k] = (uint8_t)rng_next(&r);
            if (n && dtype_bytes((DType)t, n) * 8 !=
                         n * dtype_info((DType)t)->bits) /* zero padding, as in a canonical file */
                data[dtype_bytes((DType)t, n) - 1] &= (uint8_t)((1 << (n * dtype_info((DType)t)->bits % 8)) - 1);
            Blob b = blob_inline(&f.bs, (DType)t, n, data);
            size_t bytes = (size_t)blob_bytes(&f.bs, b);
            blob_read(&f.bs, b, 0, n, whole);
            if (!CHECK(memcmp(whole, data, bytes) == 0)) printf("    %s[%lld]\n", dtype_name((DType)t), (long long)n);
            ROUND_TRIP(b);
            if (!n) continue;
            int64_t first = rng_in(&r, 0, n - 1), some = rng_in(&r, 0, n - first);
            blob_read(&f.bs, b, first, some, part);
            bool right = true;
            for (int64_t k = 0; k < some; k++) {
                double x = elem_get_f((DType)t, part, k), y = elem_get_f((DType)t, data, first + k);
                right = right && (x == y || (isnan(x) && isnan(y))) &&
                        elem_get_i((DType)t, part, k) == elem_get_i((DType)t, data, first + k);
                right = right && blob_get_i(&f.bs, b, first + k) == elem_get_i((DType)t, data, first + k);
            }
            CHECK(right);
        }
    }
    fix_free(&f);
}

static void files(void)
{
    Fix f;
    fix_init(&f);
    char path[] = "/tmp/bmc \"blob\"_XXXXXX", empty[] = "/tmp/bmc_blob_XXXXXX";
    int fd = mkstemp(path), fe = mkstemp(empty);
    uint32_t file, again, none;
    const char *why = NULL;
    float data[300];
    for (int i = 0; i < 300; i++) data[i] = i < 100 ? 0.25f : (float)i;
    CHECK(fd >= 0 && write(fd, "abc", 3) == 3 && write(fd, data, sizeof data) == (ssize_t)sizeof data);
    close(fd);
    close(fe);
    CHECK(blob_file(&f.bs, path, &file, &why) && blob_file(&f.bs, path, &again, &why) && file == again);
    CHECK(blob_file(&f.bs, empty, &none, &why) && f.bs.file.p[none].bytes == 0);
    CHECK(!blob_file(&f.bs, "/nonexistent/x", &none, &why) && why && *why);
    CHECK(!blob_file(&f.bs, "/tmp", &none, &why) && why && *why);
    Blob splat = blob_raw(&f.bs, file, 3, DT_F32, 100), rest = blob_raw(&f.bs, file, 403, DT_F32, 200),
         nothing = blob_raw(&f.bs, file, 1203, DT_F32, 0);
    CHECK(blob_get_f(&f.bs, rest, 7) == 107 && blob_get_i(&f.bs, rest, 7) == 107); /* not aligned */
    CHECK(blob_equal(&f.bs, splat, blob_splat_f(&f.bs, DT_F32, 100, 0.25)));       /* whatever the kind */
    CHECK(blob_equal(&f.bs, rest, blob_inline(&f.bs, DT_F32, 200, data + 100)));
    CHECK(!blob_equal(&f.bs, rest, blob_inline(&f.bs, DT_F32, 200, data + 99)) &&
          !blob_equal(&f.bs, rest, blob_inline(&f.bs, DT_I32, 200, data + 100)));
    ROUND_TRIP(splat);
    ROUND_TRIP(rest);
    ROUND_TRIP(nothing);
    /* A text that no longer fits its file is refused. */
    Blob b;
    const char *text = text_of(&f, rest);
    char *changed = arena_strdup(&f.arena, text);
    changed[strlen(changed) - 1] ^= 1;
    CHECK(!parse(&f, changed, DT_F32, 200, &b) && strstr(f.diag.first_error, "not what it was"));
    CHECK(!parse(&f, text, DT_F32, 199, &b));
    char *beyond = arena_printf(&f.arena, "%.*s@404+800%s", (int)(strrchr(text, '@') - text), text, strrchr(text, '#'));
    CHECK(!parse(&f, beyond, DT_F32, 200, &b) && strstr(f.diag.first_error, "shorter"));
    unlink(path);
    unlink(empty);
    fix_free(&f);
}

static void strings_and_recipes(void)
{
    Fix f;
    fix_init(&f);
    const char *ptr[] = {"a", "", "two\nlines", "n\0l", "\xff\"\xc3\xa9"};
    size_t len[] = {1, 0, 9, 3, 4};
    Blob s = blob_strings(&f.bs, 5, ptr, len), none = blob_strings(&f.bs, 0, NULL, NULL);
    CHECK(((const bmc_string *)blob_rec(&f.bs, s)->data)[3].len == 3);
    CHECK_STR(text_of(&f, s), "[\"a\",\"\",\"two\\nlines\",\"n\\x00l\",\"\\xff\\\"\xc3\xa9\"]");
    ROUND_TRIP(s);
    ROUND_TRIP(none);
    len[4] = 3;
    CHECK(!blob_equal(&f.bs, s, blob_strings(&f.bs, 5, ptr, len)));
    Blob w = blob_splat_f(&f.bs, DT_F32, 64 * 48, 0.5);
    Recipe pack = {.kind = RECIPE_PACK,
                   .src = {w},
                   .n_src = 1,
                   .batch = 1,
                   .K = 64,
                   .N = 48,
                   .kc = 32,
                   .g = 1,
                   .stride_k = 48,
                   .stride_n = 1};
    Blob p = blob_derived(&f.bs, DT_F32, 64 * 48, &pack);
    CHECK_STR(text_of(&f, p), "pack(f32 3072 splat(0.5), batch=1, K=64, N=48, kc=32, g=1, off=0, st=0, sk=48, sn=1)");
    ROUND_TRIP(p);
    Recipe graph = {.kind = RECIPE_GRAPH, .src = {p, s}, .n_src = 2, .graph = 3};
    Blob g = blob_derived(&f.bs, DT_F16, 10, &graph);
    ROUND_TRIP(g);
    pack.kc = 16;
    CHECK(!blob_equal(&f.bs, p, blob_derived(&f.bs, DT_F32, 64 * 48, &pack)));
    pack.K = 6; /* k along two axes: 2 x 3, the first one 32 apart */
    pack.kc = 6;
    pack.k_in = 3;
    pack.stride_q = 32;
    Blob two = blob_derived(&f.bs, DT_F32, 6 * 48, &pack);
    CHECK_STR(text_of(&f, two),
              "pack(f32 3072 splat(0.5), batch=1, K=6, N=48, kc=6, g=1, off=0, st=0, sk=48, sn=1, ki=3, sq=32)");
    ROUND_TRIP(two);
    Recipe wino = {.kind = RECIPE_WINOGRAD, .src = {w}, .n_src = 1, .m = 2, .K = 4, .N = 17, .panel = 16, .stride_k = 9, .stride_n = 36};
    CHECK(recipe_winograd_count(&wino) == 16 * 4 * 32);
    Blob u = blob_derived(&f.bs, DT_F32, 16 * 4 * 32, &wino);
    CHECK_STR(text_of(&f, u), "winograd(f32 3072 splat(0.5), m=2, K=4, N=17, panel=16, off=0, sk=9, sn=36)");
    ROUND_TRIP(u);
    wino.panel = 32;
    CHECK(!blob_equal(&f.bs, u, blob_derived(&f.bs, DT_F32, 16 * 4 * 32, &wino)));
    wino.m = 5;
    CHECK(recipe_winograd_count(&wino) < 0);
    wino = (Recipe){.kind = RECIPE_WINOGRAD, .src = {w}, .n_src = 1, .m = 2, .K = 8, .N = 17, .panel = 16, .stride_k = 16, .stride_n = 32, .r = 2, .step = {2, 2}};
    CHECK(recipe_winograd_count(&wino) == 9 * 8 * 32 && recipe_winograd_taps(&wino) == 16);
    Blob stepped = blob_derived(&f.bs, DT_F32, 9 * 8 * 32, &wino);
    CHECK_STR(text_of(&f, stepped), "winograd(f32 3072 splat(0.5), m=2, K=8, N=17, panel=16, off=0, sk=16, sn=32, r=2, sv=2, sh=2)");
    ROUND_TRIP(stepped);
    wino.step[0] = 3; /* does not divide K */
    CHECK(recipe_winograd_count(&wino) < 0);
    CHECK(recipe_k(&pack, 4) == 32 + 48);
    pack.stride_q = 33;
    CHECK(!blob_equal(&f.bs, two, blob_derived(&f.bs, DT_F32, 6 * 48, &pack)));
    pack = (Recipe){.src = {w}, .n_src = 1, .batch = 1, .K = 6, .N = 20, .kc = 6, .g = 1, .stride_k = 48, .stride_n = 1};
    pack.sides = 2; /* two matrices of 20 columns, the strips of 16 take turns */
    pack.stride_side = 24;
    CHECK(recipe_strips(&pack) == 4);
    Blob sides = blob_derived(&f.bs, DT_F32, 6 * 64, &pack);
    CHECK_STR(text_of(&f, sides),
              "pack(f32 3072 splat(0.5), batch=1, K=6, N=20, kc=6, g=1, off=0, st=0, sk=48, sn=1, sides=2, ss=24)");
    ROUND_TRIP(sides);
    pack.stride_side = 25;
    CHECK(!blob_equal(&f.bs, sides, blob_derived(&f.bs, DT_F32, 6 * 64, &pack)));
    CHECK_STR(text_of(&f, (Blob){0}), "none");
    static const struct {
        const char *text;
        DType t;
        int64_t n;
    } bad[] = {{"[1,2]", DT_F32, 3},
               {"[1,2,3,4]", DT_F32, 3},
               {"[1,2", DT_F32, 3},
               {"[256]", DT_U8, 1},
               {"[-1]", DT_U8, 1},
               {"[1.5]", DT_I32, 1},
               {"[2]", DT_BOOL, 1},
               {"[8]", DT_I4, 1},
               {"splat(\"a\")", DT_F32, 2},
               {"splat(1)", DT_STR, 2},
               {"splat(1)", DT_NONE, 2},
               {"iota(0,1)", DT_F32, 2},
               {"winograd(f32 36 splat(0), m=2, K=2, N=2, panel=16, off=1, sk=9, sn=18)", DT_F32, 512},
               {"winograd(f32 36 splat(0), m=2, K=2, N=2, panel=16, off=0, sk=9, sn=18)", DT_F32, 511},
               {"winograd(f32 36 splat(0), m=5, K=2, N=2, panel=16, off=0, sk=9, sn=18)", DT_F32, 512},
               {"winograd(f32 36 splat(0), m=2, K=2, N=2, panel=8, off=0, sk=9, sn=18)", DT_F32, 512},
               {"winograd(f64 36 splat(0), m=2, K=2, N=2, panel=16, off=0, sk=9, sn=18)", DT_F32, 512},
               {"winograd(f32 36 splat(0), m=2, K=2, N=2, panel=16, off=0, sk=9, sn=18)", DT_F64, 512},
               {"pack(f32 8 splat(0), batch=1, K=4, N=2, kc=4, g=1, off=0, st=0, sk=1, sn=4, ki=2, sq=5)", DT_F32, 64},
               {"pack(f32 8 splat(0), batch=1, K=4, N=2, kc=4, g=1, off=0, st=0, sk=1, sn=4, ki=-2, sq=2)", DT_F32, 64},
               {"pack(f32 8 splat(0), batch=1, K=2, N=2, kc=2, g=1, off=0, st=0, sk=1, sn=2, sides=3, ss=4)", DT_F32, 96},
               {"hex\"00\"", DT_F32, 1},
               {"hex\"0000000g\"", DT_F32, 1},
               {"hex\"00000000\"", DT_STR, 1},
               {"[\"a\"]", DT_F32, 1},
               {"[1]", DT_STR, 1},
               {"[\"a\"]", DT_STR, 2},
               {"\"/nonexistent/x\"@0+4#0000000000000000", DT_F32, 1},
               {"\"x\"@0+4", DT_F32, 1},
               {"\"x\"@99999999999999999999+4#0000000000000000", DT_F32, 1},
               {"nothing", DT_F32, 1},
               {"", DT_F32, 1},
               {"[1]", DT_F32, -1},
               {"[1]", DT_C64, 1},
               {"pack(f32 10 splat(1), batch=1, K=4, N=4, kc=4, g=1, off=0, st=0, sk=4, sn=1)", DT_F32, 16},
               {"pack(f32 16 splat(1), batch=1, K=4, N=4, kc=4, g=1, off=0, st=0, sk=-4, sn=1)", DT_F32, 16},
               {"pack(f32 16 splat(1), batch=9223372036854775807, K=4, N=4, kc=4, g=1, off=0, st=9223372036854775807, "
                "sk=4, sn=1)",
                DT_F32, 16},
               {"pack(f32 16 none, batch=1, K=4, N=4, kc=4, g=1, off=0, st=0, sk=4, sn=1)", DT_F32, 16},
               {"graph(-1)", DT_F32, 1},
               {"graph(1, f32 -1 splat(1))", DT_F32, 1}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        Blob b;
        int errors = f.diag.errors;
        if (!CHECK(!parse(&f, bad[i].text, bad[i].t, bad[i].n, &b) && f.diag.errors == errors + 1))
            printf("    %s\n", bad[i].text);
    }
    Str deep;
    str_init(&deep, &f.arena);
    for (int i = 0; i < 50000; i++) str_add(&deep, "graph(0, f32 1 ");
    CHECK(!parse(&f, str_get(&deep), DT_F32, 1, &g));
    CHECK(parse(&f, "[true,false]", DT_BOOL, 2, &g) && blob_get_i(&f.bs, g, 0) == 1 && blob_get_i(&f.bs, g, 1) == 0);
    CHECK(parse(&f, "[-inf,nan,-0]", DT_F16, 3, &g) && blob_get_f(&f.bs, g, 0) == -INFINITY &&
          signbit(blob_get_f(&f.bs, g, 2)));
    fix_free(&f);
}

int main(void)
{
    structure();
    every_type();
    files();
    strings_and_recipes();
    return check_done();
}
