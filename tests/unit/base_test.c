/* base_test: arenas, vectors, maps, names, strings, diagnostics. */
#include "base/bug.h"
#include "base/diag.h"
#include "base/intern.h"
#include "base/str.h"
#include "tests/unit/check.h"
#include <math.h>
#include <setjmp.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* --- arena --- */

typedef struct Catch {
    OutOfMemory oom;
    jmp_buf back;
    const char *lifetime;
    size_t bytes;
} Catch;

static void caught(OutOfMemory *oom, const char *lifetime, size_t bytes)
{
    Catch *c = (Catch *)oom;
    c->lifetime = lifetime;
    c->bytes = bytes;
    longjmp(c->back, 1);
}

static bool is_zero(const unsigned char *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (p[i]) return false;
    return true;
}

static void arena_objects(const char *mode)
{
    enum { N = 4000 };
    static unsigned char *p[N];
    static size_t size[N];
    Arena a;
    Rng r = {3};
    if (mode) setenv("BMC_ARENA", mode, 1);
    else unsetenv("BMC_ARENA");
    arena_init(&a, "test", NULL);
    for (int round = 0; round < 3; round++) {
        size_t total = 0;
        bool zero = true, aligned = true, kept = true;
        for (int i = 0; i < N; i++) {
            size[i] = (size_t)(rng_in(&r, 0, 200) ? rng_in(&r, 0, 100) : rng_in(&r, 0, 700000));
            p[i] = arena_alloc(&a, size[i]);
            total += size[i];
            zero = zero && is_zero(p[i], size[i]);
            aligned = aligned && (uintptr_t)p[i] % 16 == 0;
            memset(p[i], i % 255 + 1, size[i]);
        }
        for (int i = 0; i < N; i++)
            for (size_t k = 0; k < size[i]; k++) kept = kept && p[i][k] == i % 255 + 1;
        CHECK(zero && aligned && kept && a.total == total);
        CHECK(p[0] != p[1]);
        arena_reset(&a);
        CHECK(a.total == 0);
    }
    /* Growing keeps the old part and zeroes the new one, in place or moved. */
    unsigned char *g = NULL;
    size_t had = 0;
    bool right = true;
    for (int i = 0; i < 300; i++) {
        size_t want = had + (size_t)rng_in(&r, 0, 2000);
        g = arena_grow(&a, g, had, want);
        for (size_t k = 0; k < had; k++) right = right && g[k] == 7;
        right = right && is_zero(g + had, want - had);
        memset(g, 7, want);
        had = want;
        if (rng_in(&r, 0, 1)) memset(arena_alloc(&a, 24), 9, 24);
    }
    CHECK(right);
    CHECK_STR(arena_strdup(&a, "name"), "name");
    CHECK_STR(arena_strndup(&a, "name", 2), "na");
    CHECK_STR(arena_printf(&a, "%d-%s", 5, "x"), "5-x");
    char *lng = arena_printf(&a, "%0*d", 1000, 7);
    CHECK(strlen(lng) == 1000 && lng[999] == '7');
    CHECK(memcmp(arena_memdup(&a, "a\0b", 3), "a\0b", 3) == 0);
    arena_free(&a);
    CHECK(a.block == NULL && a.total == 0);
    arena_free(&a);
}

static void arena_exhausted(void)
{
    Arena a;
    Catch c = {.oom = {caught}};
    arena_init(&a, "kernel", &c.oom);
    if (!setjmp(c.back)) {
        arena_alloc(&a, SIZE_MAX - 3);
        CHECK(!"reached");
    }
    CHECK(c.lifetime && strcmp(c.lifetime, "kernel") == 0 && c.bytes == SIZE_MAX - 3);
    c.lifetime = NULL;
    volatile int64_t many = -1;
    if (!setjmp(c.back)) {
        (void)arena_array(&a, uint64_t, many);
        CHECK(!"reached");
    }
    CHECK(c.lifetime != NULL);
    CHECK(arena_alloc(&a, 10) != NULL); /* the arena goes on */
    arena_free(&a);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr)) _exit(9);
        arena_init(&a, "compile", NULL);
        arena_alloc(&a, SIZE_MAX / 2);
        _exit(0);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 3);
    child = fork();
    if (child == 0) {
        if (!freopen("/dev/null", "w", stderr)) _exit(9);
        BUG("on purpose");
    }
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status));
}

static void vectors(void)
{
    Arena a;
    VEC(int) v = {0}, w = {0};
    arena_init(&a, "test", NULL);
    for (int i = 0; i < 10000; i++) {
        vec_push(&a, &v, i);
        if (i % 3 == 0) vec_push(&a, &w, -i);
    }
    bool right = v.n == 10000 && w.n == 3334;
    for (int i = 0; i < 10000; i++) right = right && v.p[i] == i;
    CHECK(right && vec_last(&w) == -9999 && vec_pop(&v) == 9999 && v.n == 9999);
    arena_free(&a);
}

/* --- map, names --- */

static void maps(void)
{
    enum { SPACE = 5000 };
    static uint64_t val[SPACE];
    static bool has[SPACE];
    Arena a;
    Map m;
    Rng r = {4};
    arena_init(&a, "test", NULL);
    map_init(&m, &a);
    uint64_t got = 77;
    CHECK(!map_get(&m, 0, &got) && got == 77);
    bool right = true;
    uint32_t n = 0;
    for (int i = 0; i < 40000; i++) {
        uint64_t k = rng_next(&r) % SPACE, key = k % 2 ? k : k << 40; /* low and high bits alone must both spread */
        got = 77;
        right = right && map_get(&m, key, &got) == has[k] && got == (has[k] ? val[k] : 77);
        if (i % 3 == 0) continue;
        n += !has[k];
        has[k] = true;
        map_put(&m, key, val[k] = rng_next(&r));
    }
    CHECK(right && m.n == n);
    CHECK(hash_bytes("abc", 3, 0) == hash_bytes("abc", 3, 0) && hash_bytes("abc", 3, 0) != hash_bytes("abd", 3, 0));
    CHECK(hash_bytes("abc", 3, 0) == 0x78af5f94892f3950u); /* XXH3's published value: the same on every machine */
    CHECK(hash_mix(1, 2) != hash_mix(2, 1));
    arena_free(&a);
}

static void names(void)
{
    Arena a;
    Names ns;
    arena_init(&a, "test", NULL);
    names_init(&ns, &a);
    CHECK(name_of(&ns, "").i == 0);
    CHECK_STR(name_str(&ns, (Name){0}), "");
    Name first[2000];
    bool right = true;
    for (int i = 0; i < 2000; i++) first[i] = name_of(&ns, arena_printf(&a, "n%d", i));
    for (int i = 0; i < 2000; i++) {
        char *t = arena_printf(&a, "n%d", i);
        right = right && name_of(&ns, t).i == first[i].i && strcmp(name_str(&ns, first[i]), t) == 0;
        right = right && (i == 0 || first[i].i != first[i - 1].i);
    }
    CHECK(right);
    CHECK(name_of_n(&ns, "n12345", 3).i == name_of(&ns, "n12").i);
    CHECK(name_of_n(&ns, "n1\0x", 4).i == name_of(&ns, "n1").i);
    arena_free(&a);
}

/* --- str --- */

/* No decimal with fewer digits reads back as x. */
static bool shortest(const char *text, double x, bool f32)
{
    int digits = 0;
    bool lead = true;
    for (const char *p = text; *p && *p != 'e'; p++)
        if (*p >= '0' && *p <= '9') {
            lead = lead && *p == '0';
            digits += !lead;
        }
    for (const char *p = strchr(text, 'e') || strchr(text, '.') ? "" : text + strlen(text); p > text && p[-1] == '0';
         p--)
        digits--; /* 1200 has two */
    char shorter[64];
    if (digits <= 1) return true;
    snprintf(shorter, sizeof shorter, "%.*e", digits - 2, x);
    return f32 ? strtof(shorter, NULL) != (float)x : strtod(shorter, NULL) != x;
}

static void doubles(void)
{
    Arena a;
    Str s;
    Rng r = {5};
    arena_init(&a, "test", NULL);
    bool back = true, brief = true, fback = true, fbrief = true;
    for (int i = 0; i < 60000; i++) {
        uint64_t bits = rng_next(&r);
        double x;
        float f;
        if (i % 4 == 0) bits &= 0x800fffffffffffffu; /* subnormal */
        if (i % 4 == 1) bits &= 0xfffff00000000000u; /* few bits */
        memcpy(&x, &bits, 8);
        if (i % 4 == 2) x = (double)rng_in(&r, -1000000, 1000000) / 1000;
        if (i % 7 == 0) x = ldexp(1, (int)rng_in(&r, -1074, 1023));
        if (!isfinite(x)) continue;
        str_init(&s, &a);
        str_double(&s, x, false);
        back = back && strtod(str_get(&s), NULL) == x && signbit(strtod(str_get(&s), NULL)) == signbit(x);
        if (!shortest(str_get(&s), x, false)) brief = false;
        uint32_t low = (uint32_t)rng_next(&r);
        if (i % 4 == 0) low &= 0x807fffffu;
        memcpy(&f, &low, 4);
        if (!isfinite(f)) continue;
        str_init(&s, &a);
        str_double(&s, f, true);
        fback = fback && strtof(str_get(&s), NULL) == f;
        if (!shortest(str_get(&s), f, true)) fbrief = false;
        arena_reset(&a);
    }
    CHECK(back);
    CHECK(brief);
    CHECK(fback);
    CHECK(fbrief);
    static const struct {
        double x;
        bool f32;
        const char *text;
    } row[] = {{0.1, false, "0.1"},
               {0.1, true, "0.1"},
               {1, true, "1"},
               {-0.0, false, "-0"},
               {1e300, false, "1e+300"},
               {5e-324, false, "5e-324"},
               {0.1f, false, "0.10000000149011612"},
               {16777216, true, "16777216"},
               {INFINITY, true, "inf"},
               {-INFINITY, false, "-inf"},
               {NAN, false, "nan"}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        str_init(&s, &a);
        str_double(&s, row[i].x, row[i].f32);
        if (strcmp(row[i].text, "16777216") == 0)
            CHECK(strtof(str_get(&s), NULL) == 16777216); /* exponent form allowed */
        else CHECK_STR(str_get(&s), row[i].text);
    }
    arena_free(&a);
}

static void strings(void)
{
    Arena a;
    Str s;
    arena_init(&a, "test", NULL);
    str_init(&s, &a);
    CHECK_STR(str_get(&s), "");
    for (int i = 0; i < 1000; i++) str_printf(&s, "%d,", i);
    str_printf(&s, "%0500d", 1);
    str_char(&s, '!');
    CHECK(s.n == strlen(s.p) && s.n == 3890 + 500 + 1 && s.p[s.n - 1] == '!');
    static const struct {
        const char *in;
        size_t n;
        const char *out;
    } row[] = {{"a b", 3, "\"a b\""},
               {"\"\\", 2, "\"\\\"\\\\\""},
               {"\n\t\r\0x", 5, "\"\\n\\t\\x0d\\x00x\""},
               {"\xc3\xa9\xe2\x82\xac", 5, "\"\xc3\xa9\xe2\x82\xac\""},
               {"\xc3(", 2, "\"\\xc3(\""},
               {"\xed\xa0\x80", 3, "\"\\xed\\xa0\\x80\""},
               {"\xf0\x9f\x98\x80", 4, "\"\xf0\x9f\x98\x80\""},
               {"\xc0\x80", 2, "\"\\xc0\\x80\""},
               {"\xe2\x82", 2, "\"\\xe2\\x82\""},
               {"", 0, "\"\""}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        str_init(&s, &a);
        str_quote(&s, row[i].in, row[i].n);
        CHECK_STR(str_get(&s), row[i].out);
    }
    arena_free(&a);
}

/* --- diag --- */

typedef struct Seen {
    int n;
    char last[400];
    DiagId id;
} Seen;
static void note(void *arg, const DiagMessage *m)
{
    Seen *s = arg;
    s->n++;
    s->id = m->id;
    snprintf(s->last, sizeof s->last, "%s", m->text);
}

static void diagnostics(void)
{
    Arena a;
    Diag d;
    Seen seen = {0};
    arena_init(&a, "test", NULL);
    diag_init(&d, &a);
    CHECK(!diag(&d, diag_file("m.onnx"), E_EMPTY_FILE)); /* no sink: counted and kept */
    CHECK(d.errors == 1);
    CHECK_STR(d.first_error, "m.onnx: error E004: the file is empty");
    d.sink = note;
    d.sink_arg = &seen;
    DiagLoc at = {.file = "model.onnx", .node = 12, .node_name = "conv1/Relu", .op = "Relu"};
    CHECK(!diag(&d, at, E_DTYPE_PORT, 0, "x", "float16", "Relu", "float32"));
    CHECK_STR(
        seen.last,
        "model.onnx: node 12 'conv1/Relu' (Relu): error E031: input 0 ('x') is float16, Relu takes float32 there");
    diag(&d, diag_line("a.bir", 3, 7), E_SYNTAX, "expected ')'");
    CHECK_STR(seen.last, "a.bir:3:7: error E110: expected ')'");
    diag(&d, (DiagLoc){.node = -1, .node_name = "bad\nname"}, E_OPEN, "no");
    CHECK_STR(seen.last, "node 'bad?name': error E001: cannot open: no");
    diag(&d, (DiagLoc){.node = -1}, E_OPSET_NEW, 99LL, "ai.onnx", 28, 28);
    CHECK(d.warnings == 1 && strncmp(seen.last, "warning W042: opset 99", 22) == 0);
    int n = seen.n;
    diag(&d, diag_file(""), E_REMARK, "quiet");
    CHECK(seen.n == n);
    d.remarks = true;
    diag(&d, diag_file(""), E_REMARK, "loud");
    CHECK_STR(seen.last, "remark R230: loud");
    d.quiet = 1;
    d.first_error = NULL;
    n = seen.n;
    int errors = d.errors;
    diag(&d, diag_file("q"), E_OPEN, "silent");
    diag(&d, diag_file("q"), E_OPEN, "second");
    CHECK(seen.n == n && d.errors == errors);
    CHECK_STR(d.first_error, "q: error E001: cannot open: silent");
    /* The table: codes are sorted, unique, and say their level. */
    static const char letter[] = {[DIAG_ERROR] = 'E', [DIAG_WARNING] = 'W', [DIAG_REMARK] = 'R', [DIAG_NOTE] = 'N'};
    static const DiagLevel level[] = {
#define DIAG(code, level, name, text) DIAG_##level,
#include "base/diag.def"
#undef DIAG
    };
    for (int i = 0; i < DIAG_COUNT; i++) {
        CHECK(diag_code((DiagId)i)[0] == letter[level[i]] && strlen(diag_code((DiagId)i)) == 4);
        CHECK(i == 0 || strcmp(diag_code((DiagId)i) + 1, diag_code((DiagId)(i - 1)) + 1) > 0);
        CHECK(diag_text((DiagId)i)[0] != 0);
    }
    arena_free(&a);
}

int main(void)
{
    arena_objects(NULL);
    arena_objects("malloc");
    unsetenv("BMC_ARENA");
    arena_exhausted();
    vectors();
    maps();
    names();
    doubles();
    strings();
    diagnostics();
    return check_done();
}
