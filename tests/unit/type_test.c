/* type_test: element types, interning, layouts, text; single elements of every type. */
#include "ir/elem.h"
#include "ir/lex.h"
#include "ir/type.h"
#include "tests/unit/check.h"
#include <math.h>

typedef struct Fix {
    Arena arena;
    Names names;
    Dims dims;
    Types types;
    Diag diag;
} Fix;

static void fix_init(Fix *f)
{
    arena_init(&f->arena, "test", NULL);
    names_init(&f->names, &f->arena);
    dims_init(&f->dims, &f->arena, &f->names);
    types_init(&f->types, &f->arena, &f->dims);
    diag_init(&f->diag, &f->arena);
}

static const char *text_of(Fix *f, TypeId t)
{
    Str s;
    str_init(&s, &f->arena);
    type_print(&s, &f->types, t);
    return str_get(&s);
}

static bool parse(Fix *f, const char *text, TypeId *t)
{
    Lex x;
    lex_init(&x, &f->arena, &f->diag, "t", text, strlen(text));
    return lex_type(&x, &f->types, true, t) && x.tok.kind == TK_EOF;
}

static void element_types(void)
{
    for (int t = 1; t < DT_COUNT; t++) {
        const DTypeInfo *i = dtype_info((DType)t);
        CHECK(i->name && i->onnx && i->bits && i->cls != DC_NONE);
        CHECK(dtype_parse(i->name) == (DType)t);
        CHECK(dtype_compute(i->compute) == i->compute);
        CHECK(dtype_info(i->compute)->cls == i->cls || i->cls == DC_COMPLEX);
        CHECK(dtype_bytes((DType)t, 0) == 0 && dtype_bytes((DType)t, 8) == i->bits);
    }
    CHECK(dtype_parse("float") == DT_NONE && dtype_parse("none") == DT_NONE && dtype_parse("") == DT_NONE);
    CHECK(dtype_bytes(DT_I4, 3) == 2 && dtype_bytes(DT_U2, 5) == 2 && dtype_bytes(DT_U4, 1) == 1);
    CHECK(dtype_bytes(DT_F64, INT64_MAX) == INT64_MAX && dtype_bytes(DT_I4, INT64_MAX) == INT64_MAX / 2 + 1);
    CHECK(dtype_is_float(DT_BF16) && !dtype_is_float(DT_C64) && dtype_is_signed(DT_F16) && !dtype_is_signed(DT_U8) &&
          dtype_is_int(DT_U4) && !dtype_is_int(DT_BOOL));
    CHECK(dtype_info((DType)999)->cls == DC_NONE);
}

static void interning(void)
{
    Fix f;
    fix_init(&f);
    Types *ts = &f.types;
    Dim n = dim_sym(&f.dims, sym_new(&f.dims, name_of(&f.names, "N"), SYM_ENTRY, 0, INT64_MAX)),
        k = dim_const(&f.dims, 64);
    Dim nk[] = {n, k}, kn[] = {k, n};
    TypeId a = type_tensor(ts, DT_F32, 2, nk);
    CHECK(a.i && a.i == type_tensor(ts, DT_F32, 2, nk).i && a.i != type_tensor(ts, DT_F32, 2, kn).i &&
          a.i != type_tensor(ts, DT_F64, 2, nk).i);
    TypeRec junk;
    memset(&junk, 0x5a, sizeof junk); /* what a kind does not use does not count */
    junk.kind = TY_TENSOR;
    junk.elem = DT_F32;
    junk.layout.i = 0;
    junk.rank = 2;
    junk.dim[0] = n;
    junk.dim[1] = k;
    CHECK(type_intern(ts, &junk).i == a.i);
    junk.rank = RANK_UNKNOWN;
    CHECK(type_intern(ts, &junk).i == type_tensor_unranked(ts, DT_F32).i);
    junk.kind = TY_SEQ;
    junk.of = a;
    CHECK(type_intern(ts, &junk).i == type_seq(ts, a).i && type_seq(ts, a).i != type_opt(ts, a).i);
    CHECK(type_map(ts, DT_I64, a).i != type_map(ts, DT_STR, a).i);
    CHECK(type_with_elem(ts, a, DT_I8).i == type_tensor(ts, DT_I8, 2, nk).i);
    CHECK(type_intern(ts, &(TypeRec){.kind = TY_NONE}).i == 0);
    CHECK(dim_same(type_count(ts, a), dim_mul(&f.dims, n, k)) &&
          dim_is(&f.dims, type_count(ts, type_tensor(ts, DT_F32, 0, NULL)), 1));
    Dim huge[] = {dim_const(&f.dims, (int64_t)1 << 40), dim_const(&f.dims, (int64_t)1 << 40), dim_const(&f.dims, 0)};
    CHECK(dim_is(&f.dims, type_count(ts, type_tensor(ts, DT_F32, 3, huge)), 0) && !f.dims.overflow);
    CHECK(!type_count(ts, type_tensor(ts, DT_F32, 2, huge)).i && f.dims.overflow);
    /* Many types: ids stay stable and distinct. */
    bool right = true;
    uint32_t before = ts->rec.n;
    for (int pass = 0; pass < 2; pass++)
        for (int i = 0; i < 5000; i++) {
            Dim d[] = {dim_const(&f.dims, i), n};
            TypeId t = type_tensor(ts, DT_I64, 2, d);
            right = right && type_rec(ts, t)->dim[0].i == d[0].i;
        }
    CHECK(right && ts->rec.n == before + 5000);
    arena_free(&f.arena);
}

static void text(void)
{
    static const char *const same[] = {"f32[N,64]",
                                       "f32[]",
                                       "f32[*]",
                                       "seq<f32[N]>",
                                       "opt<seq<i64[N+1]>>",
                                       "map<i64,f32[]>",
                                       "map<str,seq<f32[*]>>",
                                       "?",
                                       "f32[N,3,H,W]@{0,2,3,1}",
                                       "u4[7]",
                                       "bool[N//2,N%4]",
                                       "f32[N,17]@{0,1:16}",
                                       "none[2]",
                                       "seq<?>",
                                       "f8e4m3fn[max(M,N)]"};
    Fix f;
    fix_init(&f);
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        TypeId t = {99}, u = {98};
        if (!CHECK(parse(&f, same[i], &t))) printf("    %s: %s\n", same[i], f.diag.first_error);
        CHECK_STR(text_of(&f, t), same[i]);
        CHECK(parse(&f, text_of(&f, t), &u) && t.i == u.i);
    }
    TypeId t, u;
    CHECK(parse(&f, "f32[N,3]@{0,1}", &t) && parse(&f, "f32[N,3]", &u) &&
          t.i == u.i); /* the plain order is no layout */
    CHECK(parse(&f, "f32[?,?]", &t) && !dim_same(type_rec(&f.types, t)->dim[0], type_rec(&f.types, t)->dim[1]));
    CHECK(parse(&f, " f32 [ N , 64 ] ; comment", &t) && parse(&f, "f32[N,64]", &u) && t.i == u.i);
    static const char *const bad[] = {"f33[2]",
                                      "f32",
                                      "f32[",
                                      "f32[2",
                                      "f32[2,]",
                                      "f32[2]@{0,1}",
                                      "f32[2,2]@{0,0}",
                                      "f32[2,2]@{1}",
                                      "seq<f32[2]",
                                      "map<f32[2]>",
                                      "f32[-]",
                                      "f32[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]",
                                      "seq",
                                      "",
                                      "f32[2]@{0:-1}",
                                      "f32[9223372036854775808]",
                                      "f32[N//0]"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int errors = f.diag.errors;
        if (!CHECK(!parse(&f, bad[i], &t) && f.diag.errors == errors + 1)) printf("    %s\n", bad[i]);
    }
    Str deep;
    str_init(&deep, &f.arena);
    for (int i = 0; i < 100000; i++) str_add(&deep, "seq<");
    CHECK(!parse(&f, str_get(&deep), &t));
    arena_free(&f.arena);
}

/* --- single elements --- */

static void elements(void)
{
    uint8_t p[64] = {0};
    Rng r = {6};
    for (int t = 1; t < DT_COUNT; t++) {
        if (t == DT_STR) continue;
        int bits = dtype_info((DType)t)->bits;
        /* Every code of the small types survives decode and encode; -0 and nans apart. */
        for (uint32_t code = 0; bits <= 16 && code < 1u << bits; code++) {
            uint32_t c = code;
            if (t == DT_BOOL && code > 1) continue;
            if (DTS(t) & DTS_FLOAT6 && code > 63) break;
            memset(p, 0, sizeof p);
            memcpy(p, &c, 4);
            double x = elem_get_f((DType)t, p, 0);
            uint8_t q[4] = {0};
            elem_put_f((DType)t, q, 0, x);
            bool same = memcmp(p, q, (size_t)dtype_bytes((DType)t, 1)) == 0;
            if (!(same || (isnan(x) && isnan(elem_get_f((DType)t, q, 0))))) {
                CHECK(same);
                printf("    %s code %u is %g\n", dtype_name((DType)t), code, x);
            }
        }
        /* Neighbours stay whole. */
        bool right = true;
        for (int round = 0; round < 200 && bits < 64; round++) {
            int64_t v[4];
            memset(p, round & 1 ? 0xff : 0, sizeof p);
            for (int k = 0; k < 4; k++) elem_put_i((DType)t, p, k, v[k] = rng_in(&r, 0, 1));
            for (int k = 0; k < 4; k++) {
                int64_t want = t == DT_I2 || t == DT_I4 ? v[k] : t == DT_F8E8M0 ? elem_get_i((DType)t, p, k) : v[k];
                right = right && elem_get_i((DType)t, p, k) == want;
            }
        }
        if (!CHECK(right)) printf("    %s\n", dtype_name((DType)t));
    }
    static const struct {
        DType t;
        double in, out;
    } row[] = {{DT_F16, 65504, 65504},
               {DT_F16, 65519, 65504},
               {DT_F16, 65520, INFINITY},
               {DT_F16, 5.9604644775390625e-8, 5.9604644775390625e-8},
               {DT_F16, 2.98e-8, 0},
               {DT_F16, 2.9802322387695313e-8, 0},
               {DT_F16, 2.99e-8, 5.9604644775390625e-8},
               {DT_F16, 1.00048828125, 1},
               {DT_F16, 1.00146484375, 1.001953125},
               {DT_F16, 6.1005353927612305e-05, 6.103515625e-05},
               {DT_BF16, 1.00390625, 1},
               {DT_BF16, 1.01171875, 1.015625},
               {DT_BF16, 3.4e38, INFINITY},
               {DT_BF16, 3.389e38, 3.3895313892515355e38},
               {DT_F8E4M3FN, 448, 448},
               {DT_F8E4M3FN, 1e9, 448},
               {DT_F8E4M3FN, -INFINITY, -448},
               {DT_F8E4M3FN, 0.001953125, 0.001953125},
               {DT_F8E4M3FNUZ, 240, 240},
               {DT_F8E4M3FNUZ, 300, 240},
               {DT_F8E5M2, 57344, 57344},
               {DT_F8E5M2, 70000, INFINITY},
               {DT_F8E5M2FNUZ, 1e9, 57344},
               {DT_F4E2M1, 5, 4},
               {DT_F4E2M1, 2.5, 2},
               {DT_F4E2M1, -7, -6},
               {DT_F4E2M1, 0.25, 0},
               {DT_F6E2M3, 7.3, 7.5},
               {DT_F6E2M3, -1e9, -7.5},
               {DT_F6E2M3, 0.125, 0.125},
               {DT_F6E2M3, 0.0625, 0},
               {DT_F6E3M2, 27, 28},
               {DT_F6E3M2, INFINITY, 28},
               {DT_F6E3M2, -0.0625, -0.0625},
               {DT_F8E8M0, 1, 1},
               {DT_F8E8M0, 3, 2},
               {DT_F8E8M0, 6, 8},
               {DT_F8E8M0, 3.1, 4},
               {DT_F8E8M0, 2.9, 2},
               {DT_F8E8M0, 1e-50, 5.877471754111438e-39},
               {DT_U8, 300, 255},
               {DT_U8, -3, 0},
               {DT_I8, -300, -128},
               {DT_I32, 3e9, INT32_MAX},
               {DT_I4, 9, 7},
               {DT_I2, -5, -2},
               {DT_U64, 1.8446744073709552e19, 18446744073709551615.0},
               {DT_U64, -1, 0},
               {DT_I64, -1e30, -9223372036854775808.0},
               {DT_BOOL, 0.5, 1}};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        memset(p, 0, sizeof p);
        elem_put_f(row[i].t, p, 1, row[i].in);
        double got = elem_get_f(row[i].t, p, 1);
        if (!CHECK(got == row[i].out)) printf("    %s of %.17g is %.17g\n", dtype_name(row[i].t), row[i].in, got);
    }
    elem_put_f(DT_F8E4M3FNUZ, p, 0, -0.0);
    CHECK(p[0] == 0);
    elem_put_f(DT_I32, p, 0, NAN);
    CHECK(elem_get_i(DT_I32, p, 0) == 0);
    elem_put_i(DT_U8, p, 0, 257);
    CHECK(elem_get_i(DT_U8, p, 0) == 1);
    elem_put_i(DT_C64, p, 0, 3);
    CHECK(elem_get_f(DT_C64, p, 0) == 3);
}

int main(void)
{
    element_types();
    interning();
    text();
    elements();
    return check_done();
}
