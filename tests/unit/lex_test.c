/* lex_test: the scanner; errors name line and column. Dims: dim_test, types: type_test, constants: blob_test. */
#include "ir/lex.h"
#include "tests/unit/check.h"
#include <math.h>

typedef struct Fix {
    Arena arena;
    Names names;
    Dims dims;
    Types types;
    Diag diag;
    Lex x;
} Fix;

static void fix_init(Fix *f, const char *text)
{
    arena_init(&f->arena, "test", NULL);
    names_init(&f->names, &f->arena);
    dims_init(&f->dims, &f->arena, &f->names);
    types_init(&f->types, &f->arena, &f->dims);
    diag_init(&f->diag, &f->arena);
    /* A copy without a NUL behind it: the scanner must stop at the end it was given. */
    size_t n = strlen(text);
    lex_init(&f->x, &f->arena, &f->diag, "t.bir", arena_memdup(&f->arena, text, n), n);
}

/* The tokens of a text, one letter and the content each. */
static const char *tokens(Fix *f)
{
    Str s;
    str_init(&s, &f->arena);
    for (; f->x.tok.kind != TK_EOF; lex_next(&f->x)) {
        const Tok *t = &f->x.tok;
        if (s.n) str_char(&s, ' ');
        switch (t->kind) {
        case TK_IDENT: str_add(&s, "i:"); break;
        case TK_PERCENT: str_add(&s, "p:"); break;
        case TK_AT: str_add(&s, "a:"); break;
        case TK_DOLLAR: str_add(&s, "d:"); break;
        case TK_STRING: str_add(&s, "s:"); break;
        case TK_INT: str_printf(&s, t->big ? "u:%llu" : "n:%lld", (long long)t->i); continue;
        case TK_FLOAT:
            str_add(&s, "f:");
            str_double(&s, t->f, false);
            continue;
        default: str_add(&s, t->arrow ? "->" : (char[2]){t->punct, 0}); continue;
        }
        str_add_n(&s, t->text, t->len);
    }
    return str_get(&s);
}

static void scanning(void)
{
    static const struct {
        const char *in, *out;
    } row[] = {{"graph @main(%x: f32[N,64]) -> (%y) {", "i:graph a:main ( p:x : i:f32 [ i:N , n:64 ] ) -> ( p:y ) {"},
               {"%1 = ai.onnx.ml::Scaler(%block/relu:0) ; comment ( \" \n}",
                "p:1 = i:ai.onnx.ml::Scaler ( p:block/relu:0 ) }"},
               {"for i 0..N", "i:for i:i n:0 . . i:N"},
               {"N//2 a/b a/ /b x:1 x: 1 a.b. c", "i:N / / n:2 i:a/b i:a / / i:b i:x:1 i:x : n:1 i:a.b . i:c"},
               {"1 1.5 1e3 -2 2e 3.x 1e+2 .5", "n:1 f:1.5 f:1000 - n:2 n:2 i:e n:3 . i:x f:100 . n:5"},
               {"9223372036854775807 9223372036854775808 18446744073709551615 18446744073709551616",
                "n:9223372036854775807 u:9223372036854775808 u:18446744073709551615 f:1.8446744073709552e+19"},
               {"\"a b\" \"\\\"\\\\\\n\\t\\x41\" %\"odd name\" @\"x y\"", "s:a b s:\"\\\n\tA p:odd name a:x y"},
               {"$N $s3 % 4 a->b a>b a-b", "d:N d:s3 % n:4 i:a -> i:b i:a > i:b i:a - i:b"},
               {"", ""},
               {"; only a comment", ""},
               {" \t\r\n", ""}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        Fix f;
        fix_init(&f, row[i].in);
        CHECK_STR(tokens(&f), row[i].out);
        if (!CHECK(!f.x.failed)) printf("    %s\n", f.diag.first_error);
        arena_free(&f.arena);
    }
}

static void random_bytes(void)
{
    static const char *const piece[] = {"%", "@", "\"",   "\\", "x",   "//", "->", "1",    "e", ".",      ":",     "\n",
                                        ";", " ", "\x80", "[",  "f32", "(",  "N",  "min(", "-", "splat(", "hex\"", "{"};
    Rng r = {7};
    bool quiet = true;
    for (int n = 0; n < 20000; n++) {
        char text[80];
        size_t len = 0;
        for (int64_t k = rng_in(&r, 0, 12); k > 0; k--) {
            const char *p = piece[rng_in(&r, 0, sizeof piece / sizeof *piece - 1)];
            memcpy(text + len, p, strlen(p));
            len += strlen(p);
        }
        text[len] = 0;
        Fix f;
        Blobs bs;
        TypeId t;
        Dim d;
        Blob b;
        fix_init(&f, text);
        blobs_init(&bs, &f.arena);
        bool ok = n % 4 == 0   ? lex_type(&f.x, &f.types, true, &t)
                  : n % 4 == 1 ? lex_dim(&f.x, &f.dims, true, &d)
                  : n % 4 == 2 ? lex_blob(&f.x, &bs, DT_F32, 2, &b)
                               : !tokens(&f);
        quiet = quiet && f.diag.errors <= 1 && (ok || n % 4 == 3 || f.diag.errors == 1) &&
                f.x.failed == (f.diag.errors == 1);
        arena_free(&f.arena);
    }
    CHECK(quiet); /* every failure has exactly one message */
}

static void errors(void)
{
    static const struct {
        const char *text, *message;
    } row[] = {{"f32[N,\n   Q]", "t.bir:2:4: error E110: unknown symbol 'Q'"},
               {"f32[4,4", "t.bir:1:8: error E110: expected ',' instead of the end"},
               {"f99[4]", "t.bir:1:1: error E110: unknown element type 'f99'"},
               {"\n\n  f32(4)", "t.bir:3:6: error E110: expected '[' instead of '('"},
               {"f32[4//0]", "t.bir:1:8: error E110: division by zero"},
               {"f32[9223372036854775807+1]",
                "t.bir:1:5: error E110: the dimension leaves 64 bits or is too large an expression"},
               {"f32[\"x\"]", "t.bir:1:5: error E110: expected a dimension instead of a string"},
               {"f32[%x]", "t.bir:1:5: error E110: expected a dimension instead of '%x'"},
               {"f32[4] \"abc", "t.bir:1:8: error E110: the string has no end on its line"},
               {"f32[4] \"a\\q\"", "t.bir:1:8: error E110: unknown escape in a string"},
               {"f32[4] \"\\x4\"", "t.bir:1:8: error E110: \\x in a string takes two hexadecimal digits"},
               {"f32[4] \xff", "t.bir:1:8: error E110: unexpected byte 0xff"},
               {"f32[4]; c\n\t\x01", "t.bir:2:2: error E110: unexpected byte 0x01"},
               {"f32[4,3]@{0,2}", "t.bir:1:13: error E110: a layout names each axis once"}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        Fix f;
        TypeId t;
        fix_init(&f, row[i].text);
        sym_new(&f.dims, name_of(&f.names, "N"), SYM_ENTRY, 0, INT64_MAX);
        if (lex_type(&f.x, &f.types, false, &t)) lex_next(&f.x);
        CHECK(f.x.failed && f.diag.errors == 1);
        CHECK_STR(f.diag.first_error ? f.diag.first_error : "", row[i].message);
        arena_free(&f.arena);
    }
    Fix f; /* after the first error nothing else is said and every token is the end */
    fix_init(&f, "a b c");
    CHECK(!lex_expect(&f.x, '(') && !lex_expect_ident(&f.x, "x") && !lex_error(&f.x, "more"));
    CHECK(f.x.tok.kind == TK_EOF && f.diag.errors == 1);
    lex_next(&f.x);
    CHECK(f.x.tok.kind == TK_EOF && !lex_accept_ident(&f.x, "b"));
    arena_free(&f.arena);
}

static void helpers(void)
{
    Fix f;
    int64_t i;
    double d;
    const char *s;
    size_t n;
    fix_init(&f, "-9223372036854775808 -5 5 -inf nan -0 2.5 7 \"a\\x00b\" name %v @g -> ( x");
    CHECK(lex_int(&f.x, &i) && i == INT64_MIN && lex_int(&f.x, &i) && i == -5 && lex_int(&f.x, &i) && i == 5);
    CHECK(lex_number(&f.x, &d) && d == -INFINITY && lex_number(&f.x, &d) && isnan(d) && lex_number(&f.x, &d) &&
          d == 0 && signbit(d));
    CHECK(lex_number(&f.x, &d) && d == 2.5 && lex_number(&f.x, &d) && d == 7);
    CHECK(lex_string(&f.x, &s, &n) && n == 3 && memcmp(s, "a\0b", 4) == 0);
    CHECK(lex_name(&f.x, TK_IDENT, &s) && strcmp(s, "name") == 0 && lex_name(&f.x, TK_PERCENT, &s) &&
          strcmp(s, "v") == 0);
    CHECK(lex_name(&f.x, TK_AT, &s) && strcmp(s, "g") == 0 && !lex_is(&f.x, '>') && lex_expect_arrow(&f.x));
    CHECK(lex_expect(&f.x, '(') && lex_is_ident(&f.x, "x") && !lex_is_ident(&f.x, "xy") &&
          lex_accept_ident(&f.x, "x") && f.x.tok.kind == TK_EOF);
    CHECK(!f.x.failed);
    arena_free(&f.arena);
    static const char *const bad_int[] = {"9223372036854775808", "-9223372036854775809", "1.5", "x", "-", ""};
    for (size_t k = 0; k < sizeof bad_int / sizeof *bad_int; k++) {
        fix_init(&f, bad_int[k]);
        CHECK(!lex_int(&f.x, &i) && f.diag.errors == 1);
        arena_free(&f.arena);
    }
    static const char *const name[] = {"x", "a/b:0",  "odd name",     "",         "x:",   "//",
                                       "7", "a\"b\\", "block.1/relu", "\xc3\xa9", "a::b", "-"};
    for (size_t k = 0; k < sizeof name / sizeof *name; k++) {
        Str out;
        fix_init(&f, "");
        str_init(&out, &f.arena);
        lex_print_name(&out, "%", name[k]);
        str_add(&out, ": f32"); /* as it stands before a type */
        lex_init(&f.x, &f.arena, &f.diag, "t", out.p, out.n);
        CHECK(lex_name(&f.x, TK_PERCENT, &s) && lex_accept(&f.x, ':') && lex_accept_ident(&f.x, "f32"));
        CHECK_STR(s, name[k]);
        arena_free(&f.arena);
    }
}

/* A value name on the next line is not a remainder: only "N%4" and "N % 4" are. */
static void percent(void)
{
    Fix f;
    Dim d, e;
    fix_init(&f, "N%4 N % 4 N+1 %x N+1\n%y N%(M+1) N%M");
    CHECK(lex_dim(&f.x, &f.dims, true, &d) && lex_dim(&f.x, &f.dims, true, &e) && dim_same(d, e));
    CHECK(lex_dim(&f.x, &f.dims, true, &d) && f.x.tok.kind == TK_PERCENT);
    lex_next(&f.x);
    CHECK(lex_dim(&f.x, &f.dims, true, &e) && dim_same(d, e) && f.x.tok.kind == TK_PERCENT && f.x.tok.line == 2);
    lex_next(&f.x);
    CHECK(lex_dim(&f.x, &f.dims, true, &d) && lex_dim(&f.x, &f.dims, true, &e) && f.x.tok.kind == TK_EOF &&
          !f.x.failed);
    arena_free(&f.arena);
}

int main(void)
{
    scanning();
    errors();
    helpers();
    percent();
    random_bytes();
    return check_done();
}
