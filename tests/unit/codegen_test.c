/* codegen_test: hand-built Kernel IR through codegen_emit into a shared object, loaded and run; results against
 * naive loops in C. */
#include "tests/unit/codegen_unit.h"

/* ---- elementwise: y = max(a*x + b, 0) for every length around a vector ---- */
static void test_axpb(const char *cpu, int level)
{
    for (int64_t n = 0; n <= 40; n += n < 20 ? 1 : 5) {
        Unit u;
        unit_open(&u, cpu);
        Dim d[] = {dim_k(&u, n)};
        KBuf x = port(&u, false, "x", DT_F32, 1, d), y = port(&u, true, "y", DT_F32, 1, d);
        Kb *b = kb_new(&u.m, "axpb", (KLoc){0});
        uint32_t px = kb_param(b, x, false), py = kb_param(b, y, true);
        KVal i = kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_dim(b, d[0]));
        KVal v = kb_add(b, kb_mul(b, kb_load(b, px, &i), kb_const_f(b, DT_F32, 2)), kb_const_f(b, DT_F32, -3));
        kb_store(b, py, &i, kb_max(b, v, kb_const_f(b, DT_F32, 0)));
        kb_end(b);
        kb_finish(b, &u.m.program);
        if (unit_load(&u, level, 1)) {
            float in[64], out[64];
            for (int k = 0; k < 64; k++) in[k] = (float)k - 7, out[k] = -1;
            in[3] = NAN;
            bmc_value vi = value(DT_F32, in, 1, &n), vo = value(DT_F32, out, 1, &n);
            CHECK(u.model->run(u.ctx, &vi, &vo) == BMC_OK);
            for (int k = 0; k < 64; k++) {
                float want = k < n ? (k == 3 ? NAN : fmaxf(in[k] * 2 - 3, 0)) : -1;
                CHECK(out[k] == want || (isnan(want) && isnan(out[k])));
            }
        }
        unit_close(&u);
    }
}

/* ---- every instruction on every type, in lanes and one by one, against the interpreter's scalar code ---- */
typedef struct OpCase {
    KOp op;
    DType result;
    KBuf out[2];
} OpCase;
enum { OPS_N = 53 };

static bool op_takes(KOp op, DType c)
{
    uint32_t flags = kop_info(op)->flags;
    bool f = dtype_is_float(c), b = c == DT_BOOL;
    if (!(flags & KF_PURE) || op == KOP_CONST || op == KOP_DIM || op == KOP_CAST || op == KOP_BITCAST) return false;
    if (op == KOP_SELECT || op == KOP_EQ || op == KOP_NE) return true;
    if (op == KOP_FLOORDIV) return false; /* needs positive divisors: test_index */
    if (flags & KF_MATH || op == KOP_SQRT || op == KOP_ISNAN || op == KOP_ISINF) return f;
    if (op == KOP_AND || op == KOP_OR || op == KOP_XOR || op == KOP_NOT) return !f;
    if (op == KOP_SHL || op == KOP_SHR) return !f && !b;
    return !b;
}

static KVal apply(Kb *b, KOp op, KVal x, KVal y)
{
    if (op == KOP_SELECT) return kb_select(b, kb_bin(b, KOP_LT, kb_cast(b, DT_F32, x), kb_cast(b, DT_F32, y)), x, y);
    if (op == KOP_FMA) return kb_fma(b, x, y, x);
    return kop_info(op)->n_args == 1 ? kb_un(b, op, x) : kb_bin(b, op, x, y);
}

static KScalar random_scalar(Rng *r, DType t)
{
    static const double special[] = {0,    -0.0,     1,         -1,  0.5,  -0.5,  1.5, 2.5,
                                     -2.5, INFINITY, -INFINITY, NAN, 1e10, -1e10, 3,   7};
    KScalar s = {.i = 0};
    bool pick = rng_next(r) % 3 == 0;
    if (dtype_is_float(t))
        s.f = pick ? special[rng_next(r) % 16] : ldexp((double)rng_in(r, -1000000, 1000000), (int)rng_in(r, -24, -14));
    else s.i = pick ? rng_in(r, -2, 2) : (int64_t)(rng_next(r) >> rng_in(r, 0, 63));
    if (t == DT_BOOL) s.i = (int64_t)(rng_next(r) & 1);
    return s;
}

/* Equal bits, or both NaN, or close for functions that are only good to some ULP. */
static bool same(DType t, const void *p, int64_t k, KScalar want, double tolerance)
{
    KScalar got = kscalar_load(t, p, k), back;
    uint8_t mem[16];
    kscalar_store(t, mem, 0, want);
    back = kscalar_load(t, mem, 0);
    if (!dtype_is_float(t)) return got.i == back.i;
    if (isnan(back.f)) return isnan(got.f);
    return got.f == back.f || fabs(got.f - back.f) <= tolerance * fabs(back.f);
}

static void test_ops(const char *cpu, DType t)
{
    Unit u;
    DType c = dtype_compute(t);
    Rng rng = {(uint64_t)t * 77 + 5};
    unit_open(&u, cpu);
    Dim d[] = {dim_k(&u, OPS_N)};
    int64_t n = OPS_N;
    KBuf a = port(&u, false, "a", t, 1, d), e = port(&u, false, "b", t, 1, d);
    OpCase cases[KOP_COUNT];
    int count = 0;
    for (KOp op = 1; op < KOP_COUNT; op++) {
        if (!op_takes(op, c)) continue;
        OpCase *x = &cases[count++];
        x->op = op;
        x->result = kop_info(op)->flags & KF_CMP || op == KOP_ISNAN || op == KOP_ISINF ? DT_BOOL : t;
        for (int v = 0; v < 2; v++)
            x->out[v] = port(&u, true, arena_printf(&u.a, "%s%d", kop_info(op)->text, v), x->result, 1, d);
    }
    for (int v = 0; v < 2; v++) {
        Kb *b = kb_new(&u.m, v ? "lanes" : "single", (KLoc){0});
        uint32_t pa = kb_param(b, a, false), pb = kb_param(b, e, false);
        KVal i = kb_for(b, v ? KLOOP_VEC : KLOOP_SEQ, kb_i(b, 0), kb_dim(b, d[0])), x = kb_load(b, pa, &i),
             y = kb_load(b, pb, &i);
        for (int k = 0; k < count; k++)
            kb_store(b, kb_param(b, cases[k].out[v], true), &i, apply(b, cases[k].op, x, y));
        kb_end(b);
        kb_finish(b, &u.m.program);
    }
    if (unit_load(&u, 2, 1)) {
        uint8_t in[2][OPS_N * 16];
        bmc_value vi[2], *vo = arena_array(&u.a, bmc_value, 2 * count);
        for (int k = 0; k < 2; k++) {
            for (int i = 0; i < OPS_N; i++) kscalar_store(t, in[k], i, random_scalar(&rng, t));
            vi[k] = value(t, in[k], 1, &n);
        }
        for (int k = 0; k < count; k++)
            for (int v = 0; v < 2; v++) vo[2 * k + v] = value(cases[k].result, arena_alloc(&u.a, OPS_N * 16), 1, &n);
        CHECK(u.model->run(u.ctx, vi, vo) == BMC_OK);
        for (int k = 0; k < count; k++) {
            KOp op = cases[k].op;
            double tolerance = kop_info(op)->flags & KF_MATH || op == KOP_POW ? 1e-6
                               : op == KOP_FMA && !u.m.target.fma             ? 1e-5
                               : op == KOP_MOD                                ? 1e-7
                                                                              : 0;
            if (tolerance > 0 && t == DT_F16) tolerance = 0x1p-10; /* one step of the format */
            if (tolerance > 0 && t == DT_BF16) tolerance = 0x1p-7;
            for (int i = 0; i < OPS_N; i++) {
                KScalar x[3] = {kscalar_load(t, in[0], i), kscalar_load(t, in[1], i), kscalar_load(t, in[0], i)}, want;
                if (op == KOP_SELECT) {
                    want = kscalar_cast(c, DT_F32, x[0]).f < kscalar_cast(c, DT_F32, x[1]).f ? x[0] : x[1];
                } else if (!CHECK(kscalar_op(op, c, x, &want))) {
                    continue;
                }
                for (int v = 0; v < 2; v++) {
                    bool ok = same(cases[k].result, vo[2 * k + v].data, i, want, tolerance);
                    if (!CHECK(ok)) {
                        KScalar got = kscalar_load(cases[k].result, vo[2 * k + v].data, i);
                        printf("    %s %s(%.9g|%lld, %.9g|%lld)%s: got %.9g|%lld, want %.9g|%lld\n", dtype_name(t),
                               kop_info(op)->text, x[0].f, (long long)x[0].i, x[1].f, (long long)x[1].i,
                               v ? " in lanes" : "", got.f, (long long)got.i, want.f, (long long)want.i);
                    }
                }
            }
        }
    }
    unit_close(&u);
}

static const DType all_types[] = {DT_F32, DT_F64, DT_F16, DT_BF16, DT_I8,  DT_I16, DT_I32,
                                  DT_I64, DT_U8,  DT_U16, DT_U32,  DT_U64, DT_BOOL};
enum { N_TYPES = sizeof all_types / sizeof *all_types };

/* ---- casts between all types ---- */
static void test_casts(const char *cpu)
{
    for (int f = 0; f < N_TYPES; f++) {
        Unit u;
        Rng rng = {(uint64_t)f + 3};
        unit_open(&u, cpu);
        Dim d[] = {dim_k(&u, OPS_N)};
        int64_t n = OPS_N;
        DType from = all_types[f];
        KBuf a = port(&u, false, "a", from, 1, d), out[N_TYPES][2];
        for (int v = 0; v < 2; v++) {
            Kb *b = kb_new(&u.m, v ? "lanes" : "single", (KLoc){0});
            uint32_t pa = kb_param(b, a, false);
            for (int k = 0; k < N_TYPES; k++)
                out[k][v] = port(&u, true, arena_printf(&u.a, "%s%d", dtype_name(all_types[k]), v), all_types[k], 1, d);
            KVal i = kb_for(b, v ? KLOOP_VEC : KLOOP_SEQ, kb_i(b, 0), kb_dim(b, d[0])), x = kb_load(b, pa, &i);
            for (int k = 0; k < N_TYPES; k++)
                kb_store(b, kb_param(b, out[k][v], true), &i, kb_cast(b, all_types[k], x));
            kb_end(b);
            kb_finish(b, &u.m.program);
        }
        if (unit_load(&u, 2, 1)) {
            uint8_t in[OPS_N * 16];
            bmc_value vi = value(from, in, 1, &n), vo[2 * N_TYPES];
            for (int i = 0; i < OPS_N; i++) kscalar_store(from, in, i, random_scalar(&rng, from));
            for (int k = 0; k < 2 * N_TYPES; k++)
                vo[k] = value(all_types[k % N_TYPES], arena_alloc(&u.a, OPS_N * 16), 1, &n);
            CHECK(u.model->run(u.ctx, &vi, vo) == BMC_OK);
            for (int k = 0; k < 2 * N_TYPES; k++)
                for (int i = 0; i < OPS_N; i++) {
                    DType to = all_types[k % N_TYPES];
                    KScalar x = kscalar_load(from, in, i), want = kscalar_cast(dtype_compute(from), to, x);
                    if (!CHECK(same(to, vo[k].data, i, want, 0))) {
                        KScalar got = kscalar_load(to, vo[k].data, i);
                        printf("    cast %s -> %s of %.17g|%lld: got %.17g|%lld, want %.17g|%lld\n", dtype_name(from),
                               dtype_name(to), x.f, (long long)x.i, got.f, (long long)got.i, want.f, (long long)want.i);
                    }
                }
        }
        unit_close(&u);
    }
}

/* ---- reductions: 16 virtual lanes, tree, initial value last ---- */
static float lanes_sum(const float *x, int64_t n, float init)
{
    float lane[16] = {0};
    for (int64_t k = 0; k < n; k++) lane[k % 16] += x[k];
    for (int half = 8; half; half /= 2)
        for (int i = 0; i < half; i++) lane[i] += lane[i + half];
    return lane[0] + init;
}

/* rows: y[r] = sum x[r,:] + 0.25; m[r] = max; all[r] = and(x > -50); parallel over rows, n symbolic */
static void test_reduce(const char *cpu)
{
    enum { ROWS = 13 };
    Unit u;
    Rng rng = {11};
    unit_open(&u, cpu);
    Sym ns = sym_new(&u.dims, name_of(&u.names, "n"), SYM_ENTRY, 0, 1000);
    u.dims.sym.p[ns.i].input = 0;
    u.dims.sym.p[ns.i].axis = 1;
    Dim d[] = {dim_k(&u, ROWS), dim_sym(&u.dims, ns)};
    KBuf x = port(&u, false, "x", DT_F32, 2, d), y = port(&u, true, "y", DT_F32, 1, d),
         m = port(&u, true, "m", DT_F32, 1, d), all = port(&u, true, "all", DT_BOOL, 1, d);
    Kb *b = kb_new(&u.m, "rows", (KLoc){0});
    uint32_t px = kb_param(b, x, false);
    KVal r = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, d[0]));
    KbLoop l;
    KVal init[] = {kb_const_f(b, DT_F32, 0.25), kb_const_f(b, DT_F32, -INFINITY), kb_const_i(b, DT_BOOL, 1)};
    kb_loop(b, &l, KLOOP_VEC, kb_i(b, 0), kb_dim(b, d[1]), 3, init, (KOp[]){KOP_ADD, KOP_MAX, KOP_AND});
    KVal v = kb_load(b, px, (KVal[]){r, l.iv});
    kb_loop_end(b, &l,
                (KVal[]){kb_add(b, l.carry[0], v), kb_max(b, l.carry[1], v),
                         kb_and(b, l.carry[2], kb_bin(b, KOP_GT, v, kb_const_f(b, DT_F32, -50)))});
    kb_store(b, kb_param(b, y, true), &r, l.result[0]);
    kb_store(b, kb_param(b, m, true), &r, l.result[1]);
    kb_store(b, kb_param(b, all, true), &r, l.result[2]);
    kb_end(b);
    kb_finish(b, &u.m.program);
    static const int threads[] = {1, 2, 3, 7};
    for (int t = 0; t < 4; t++) {
        if (!unit_load(&u, 2, threads[t])) continue;
        for (int64_t n = 0; n <= 70; n += n < 40 ? 1 : 7) {
            float in[ROWS * 80], sum[ROWS], max[ROWS];
            uint8_t ok[ROWS];
            for (int k = 0; k < ROWS * 80; k++) in[k] = (float)rng_in(&rng, -1000000, 1000000) / 17001.f;
            int64_t dx[] = {ROWS, n}, dy[] = {ROWS};
            bmc_value vi = value(DT_F32, in, 2, dx),
                      vo[] = {value(DT_F32, sum, 1, dy), value(DT_F32, max, 1, dy), value(DT_BOOL, ok, 1, dy)};
            if (!CHECK(u.model->run(u.ctx, &vi, vo) == BMC_OK)) printf("    %s\n", u.model->message(u.ctx));
            for (int k = 0; k < ROWS; k++) {
                float want = -INFINITY;
                bool every = true;
                for (int64_t i = 0; i < n; i++) want = fmaxf(want, in[k * n + i]), every &= in[k * n + i] > -50;
                CHECK(sum[k] == lanes_sum(in + k * n, n, 0.25f));
                CHECK(max[k] == want);
                CHECK(ok[k] == every);
            }
        }
        unit_unload(&u);
    }
    unit_close(&u);
}

/* ---- a collapsed parallel nest with odd bounds, a guarded load (padding), and a transposed store ---- */
static void test_nest(const char *cpu)
{
    enum { A = 3, B = 5, C = 21 };
    Unit u;
    unit_open(&u, cpu);
    Dim d[] = {dim_k(&u, A), dim_k(&u, B), dim_k(&u, C)}, dt[] = {d[2], d[0], d[1]};
    KBuf x = port(&u, false, "x", DT_I32, 3, d), y = port(&u, true, "y", DT_I32, 3, d),
         z = port(&u, true, "z", DT_I32, 3, dt);
    Kb *b = kb_new(&u.m, "pad", (KLoc){0});
    uint32_t px = kb_param(b, x, false), py = kb_param(b, y, true), pz = kb_param(b, z, true);
    KVal i = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, d[0])), j = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_i(b, B)),
         k = kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_i(b, C));
    /* y[i,j,k] = x[i, j-1, k-2] where inside, else 7 + k */
    KVal j1 = kb_sub(b, j, kb_i(b, 1)), k2 = kb_sub(b, k, kb_i(b, 2));
    KVal in = kb_and(b, kb_ge(b, j1, kb_i(b, 0)), kb_ge(b, k2, kb_i(b, 0)));
    KVal v = kb_load_if(b, px, (KVal[]){i, j1, k2}, in, kb_cast(b, DT_I32, kb_add(b, kb_i(b, 7), k)));
    kb_store(b, py, (KVal[]){i, j, k}, v);
    kb_store_if(b, pz, (KVal[]){k, i, j}, v, kb_bin(b, KOP_NE, kb_bin(b, KOP_MOD, k, kb_i(b, 3)), kb_i(b, 0)));
    kb_end(b);
    kb_end(b);
    kb_end(b);
    kb_finish(b, &u.m.program);
    static const int threads[] = {1, 2, 3, 7};
    for (int t = 0; t < 4; t++) {
        if (!unit_load(&u, t % 2 ? 2 : 0, threads[t])) continue;
        int32_t in_[A * B * C], out[A * B * C], tr[A * B * C];
        int64_t dx[] = {A, B, C}, dz[] = {C, A, B};
        for (int q = 0; q < A * B * C; q++) in_[q] = q * 3 + 1, out[q] = tr[q] = -9;
        bmc_value vi = value(DT_I32, in_, 3, dx), vo[] = {value(DT_I32, out, 3, dx), value(DT_I32, tr, 3, dz)};
        CHECK(u.model->run(u.ctx, &vi, vo) == BMC_OK);
        for (int a = 0; a < A; a++)
            for (int e = 0; e < B; e++)
                for (int c = 0; c < C; c++) {
                    int32_t want = e >= 1 && c >= 2 ? in_[(a * B + e - 1) * C + c - 2] : 7 + c;
                    CHECK(out[(a * B + e) * C + c] == want);
                    CHECK(tr[(c * A + a) * B + e] == (c % 3 ? want : -9));
                }
        unit_unload(&u);
    }
    unit_close(&u);
}

/* ---- gather with a checked index: the lowest bad index is the message, for any number of threads; good ones give
 * the rows ---- */
static void test_gather(const char *cpu)
{
    enum { ROWS = 9, COLS = 19, PICK = 30 };
    Unit u;
    unit_open(&u, cpu);
    Dim dx[] = {dim_k(&u, ROWS), dim_k(&u, COLS)}, di[] = {dim_k(&u, PICK)}, dy[] = {di[0], dx[1]};
    KLoc loc = kloc_new(&u.m, 4, name_of(&u.names, "emb"), name_of(&u.names, "Gather"));
    KBuf x = port(&u, false, "x", DT_F16, 2, dx), idx = port(&u, false, "idx", DT_I64, 1, di),
         y = port(&u, true, "y", DT_F16, 2, dy), z = port(&u, true, "z", DT_F16, 1, di);
    Kb *b = kb_new(&u.m, "rows", loc);
    uint32_t px = kb_param(b, x, false), pi = kb_param(b, idx, false), py = kb_param(b, y, true),
             pz = kb_param(b, z, true);
    KVal p = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_i(b, PICK));
    KVal at = kb_load(b, pi, &p), neg = kb_lt(b, at, kb_i(b, 0)),
         row = kb_select(b, neg, kb_add(b, at, kb_i(b, ROWS)), at);
    KVal ok = kb_and(b, kb_ge(b, row, kb_i(b, 0)), kb_lt(b, row, kb_i(b, ROWS)));
    kb_record(b, ok, "element {got} of {want} is out of range", p, kb_i(b, PICK));
    KVal safe = kb_select(b, ok, row, kb_i(b, 0));
    KVal c = kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_i(b, COLS));
    kb_store(b, py, (KVal[]){p, c}, kb_load(b, px, (KVal[]){safe, c}));
    kb_end(b);
    kb_end(b);
    kb_finish(b, &u.m.program);
    /* the same in lanes: z[p] = x[idx[p], 3] */
    b = kb_new(&u.m, "column", loc);
    px = kb_param(b, x, false), pi = kb_param(b, idx, false), pz = kb_param(b, z, true);
    p = kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_i(b, PICK));
    at = kb_load(b, pi, &p), row = kb_select(b, kb_lt(b, at, kb_i(b, 0)), kb_add(b, at, kb_i(b, ROWS)), at);
    ok = kb_and(b, kb_ge(b, row, kb_i(b, 0)), kb_lt(b, row, kb_i(b, ROWS)));
    kb_record(b, ok, "element {got} of {want} is out of range", p, kb_i(b, PICK));
    kb_store(b, pz, &p, kb_load(b, px, (KVal[]){kb_select(b, ok, row, kb_i(b, 0)), kb_i(b, 3)}));
    kb_end(b);
    kb_finish(b, &u.m.program);
    static const int threads[] = {1, 3};
    for (int t = 0; t < 2; t++) {
        if (!unit_load(&u, 2, threads[t])) continue;
        uint16_t in[ROWS * COLS], out[PICK * COLS], col[PICK];
        int64_t pick[PICK], d2[] = {ROWS, COLS}, d1[] = {PICK}, d3[] = {PICK, COLS};
        for (int k = 0; k < ROWS * COLS; k++) kscalar_store(DT_F16, in, k, (KScalar){.f = k * 0.25});
        for (int k = 0; k < PICK; k++) pick[k] = k * 5 % (2 * ROWS) - ROWS;
        bmc_value vi[] = {value(DT_F16, in, 2, d2), value(DT_I64, pick, 1, d1)},
                  vo[] = {value(DT_F16, out, 2, d3), value(DT_F16, col, 1, d1)};
        CHECK(u.model->run(u.ctx, vi, vo) == BMC_OK);
        for (int k = 0; k < PICK; k++) {
            int64_t r = pick[k] < 0 ? pick[k] + ROWS : pick[k];
            CHECK(!memcmp(out + k * COLS, in + r * COLS, COLS * 2));
            CHECK(col[k] == in[r * COLS + 3]);
        }
        pick[25] = ROWS;
        pick[21] = -ROWS - 1;
        CHECK(u.model->run(u.ctx, vi, vo) == BMC_E_INDEX);
        CHECK_STR(u.model->message(u.ctx), "node 'emb' (Gather): element 21 of 30 is out of range");
        pick[21] = pick[25] = 0;
        CHECK(u.model->run(u.ctx, vi, vo) == BMC_OK);
        unit_unload(&u);
    }
    unit_close(&u);
}

/* ---- views: two halves of one output (concat in place), a transposed reading; nibbles ---- */
static void test_views(const char *cpu)
{
    enum { A = 5, B = 18, C = 23 };
    Unit u;
    unit_open(&u, cpu);
    Dim da[] = {dim_k(&u, A), dim_k(&u, B)}, db[] = {da[0], dim_k(&u, C)}, dy[] = {da[0], dim_k(&u, B + C)},
        dt[] = {da[1], da[0]};
    KBuf a = port(&u, false, "a", DT_I16, 2, da), e = port(&u, false, "b", DT_I16, 2, db),
         nib = port(&u, false, "nib", DT_I4, 2, da), y = port(&u, true, "y", DT_I16, 2, dy);
    KBuf t = port(&u, true, "t", DT_I16, 2, dt), q = port(&u, true, "q", DT_I8, 2, da);
    Dim row[] = {dy[1], dim_k(&u, 1)}, turned[] = {dim_k(&u, 1), da[1]};
    KBuf left = kbuf_view(&u.m, y, name_of(&u.names, "left"), 2, da, row, dim_k(&u, 0), (KLoc){0});
    KBuf right = kbuf_view(&u.m, y, name_of(&u.names, "right"), 2, db, row, dim_k(&u, B), (KLoc){0});
    KBuf at = kbuf_view(&u.m, a, name_of(&u.names, "at"), 2, dt, turned, dim_k(&u, 0), (KLoc){0});
    struct {
        KBuf from, to;
        int rows, cols;
    } copy[] = {{a, left, A, B}, {e, right, A, C}, {at, t, B, A}, {nib, q, A, B}};
    for (int k = 0; k < 4; k++) {
        Kb *b = kb_new(&u.m, "copy", (KLoc){0});
        uint32_t pf = kb_param(b, copy[k].from, false), pt = kb_param(b, copy[k].to, true);
        KVal i = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_i(b, copy[k].rows)),
             j = kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_i(b, copy[k].cols));
        kb_store(b, pt, (KVal[]){i, j}, kb_load(b, pf, (KVal[]){i, j}));
        kb_end(b);
        kb_end(b);
        kb_finish(b, &u.m.program);
    }
    if (unit_load(&u, 2, 2)) {
        int16_t va[A * B], vb[A * C], vy[A * (B + C)], vt[A * B];
        int8_t vq[A * B];
        uint8_t vn[A * B / 2];
        int64_t ea[] = {A, B}, eb[] = {A, C}, ey[] = {A, B + C}, et[] = {B, A};
        for (int k = 0; k < A * B; k++) va[k] = (int16_t)(k - 40);
        for (int k = 0; k < A * C; k++) vb[k] = (int16_t)(1000 + k);
        for (int k = 0; k < A * B / 2; k++) vn[k] = (uint8_t)(k * 37);
        bmc_value vi[] = {value(DT_I16, va, 2, ea), value(DT_I16, vb, 2, eb), value(DT_I4, vn, 2, ea)};
        bmc_value vo[] = {value(DT_I16, vy, 2, ey), value(DT_I16, vt, 2, et), value(DT_I8, vq, 2, ea)};
        if (!CHECK(u.model->run(u.ctx, vi, vo) == BMC_OK)) printf("    %s\n", u.model->message(u.ctx));
        bool ok = true;
        for (int i = 0; i < A; i++) {
            for (int j = 0; j < B + C; j++) ok &= vy[i * (B + C) + j] == (j < B ? va[i * B + j] : vb[i * C + j - B]);
            for (int j = 0; j < B; j++)
                ok &= vt[j * A + i] == va[i * B + j] && vq[i * B + j] == kscalar_load(DT_I4, vn, i * B + j).i;
        }
        CHECK(ok);
    }
    unit_close(&u);
}

/* ---- lanes 2 to 4 elements apart, read and stored: nothing between and behind them is touched ---- */
static void test_apart(const char *cpu, int apart)
{
    enum { N = 37, MOST = 4 };
    Unit u;
    unit_open(&u, cpu);
    Dim dx[] = {dim_k(&u, N)}, dy[] = {dim_k(&u, apart * N)}, step[] = {dim_k(&u, apart)};
    KBuf x = port(&u, false, "x", DT_F32, 1, dx), y = port(&u, true, "y", DT_F32, 1, dy);
    KBuf each[MOST];
    Kb *b = kb_new(&u.m, "apart", (KLoc){0});
    uint32_t px = kb_param(b, x, false), py[MOST];
    for (int c = 0; c < apart - 1; c++) { /* one is left out */
        each[c] = kbuf_view(&u.m, y, name_of(&u.names, "each"), 1, dx, step, dim_k(&u, c), (KLoc){0});
        py[c] = kb_param(b, each[c], true);
    }
    KVal i = kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_i(b, N)), v = kb_load(b, px, &i);
    for (int c = 0; c < apart - 1; c++) kb_store(b, py[c], &i, kb_add(b, v, kb_const_f(b, DT_F32, 100 * c)));
    kb_end(b);
    kb_finish(b, &u.m.program);
    if (unit_load(&u, 2, 1)) {
        float vx[N], vy[MOST * N + 16];
        int64_t ex[] = {N}, ey[] = {apart * N};
        for (int k = 0; k < N; k++) vx[k] = (float)k;
        for (int k = 0; k < MOST * N + 16; k++) vy[k] = -1;
        bmc_value vi[] = {value(DT_F32, vx, 1, ex)}, vo[] = {value(DT_F32, vy, 1, ey)};
        if (!CHECK(u.model->run(u.ctx, vi, vo) == BMC_OK)) printf("    %s\n", u.model->message(u.ctx));
        bool ok = true;
        for (int k = 0; k < MOST * N + 16; k++) {
            bool stored = k < apart * N && k % apart < apart - 1;
            ok &= vy[k] == (stored ? (float)(k / apart + 100 * (k % apart)) : -1);
        }
        CHECK(ok);
    }
    unit_close(&u);
}

/* ---- program steps: symbols from data, if, while with carries, boxes, checks, strings, calls ---- */
static KStep *add_step(Unit *u, KSteps *to, KStepKind kind) { return kstep_add(&u->m, to, kind, (KLoc){0}); }
static Dim dsym(Unit *u, Sym s) { return dim_sym(&u->dims, s); }

/* y = x doubled k times, k read from the input `times`; then a box of times + 2 elements filled with its index */
static void test_program(void)
{
    Unit u;
    unit_open(&u, "native");
    Dim d8[] = {dim_k(&u, 8)}, d1[] = {dim_k(&u, 1)};
    Sym times = sym_new(&u.dims, name_of(&u.names, "times"), SYM_NODE, 0, 1000),
        count = sym_new(&u.dims, name_of(&u.names, "i"), SYM_NODE, 0, 1000);
    Dim db[] = {dim_add(&u.dims, dsym(&u, times), dim_k(&u, 2))};
    KBuf x = port(&u, false, "x", DT_F64, 1, d8), n = port(&u, false, "n", DT_I32, 1, d1),
         y = port(&u, true, "y", DT_F64, 1, d8);
    KBuf box = kbuf_new(&u.m, KS_BOX, name_of(&u.names, "box"), DT_U8, 1, db, (KLoc){0});
    kbuf(&u.m, box)->port = 1;
    vec_push(
        &u.a, &u.m.output,
        (KPort){
            .name = name_of(&u.names, "box"), .type = type_tensor(&u.types, DT_U8, 1, db), .buf = box, .alias = -1});
    KSteps *top = &u.m.program;
    Kb *b = kb_new(&u.m, "copy", (KLoc){0});
    uint32_t px = kb_param(b, x, false), py = kb_param(b, y, true);
    KVal i = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_i(b, 8));
    kb_store(b, py, &i, kb_load(b, px, &i));
    kb_end(b);
    kb_finish(b, top);
    KStep *s = add_step(&u, top, KST_LOAD);
    s->sym = times, s->buf = n, s->a = dim_k(&u, 0);
    add_step(&u, top, KST_BARRIER);
    s = add_step(&u, top, KST_CHECK);
    s->a = dsym(&u, times), s->b = dim_k(&u, 100), s->rel = KREL_LE, s->msg = "too many times";
    KStep *w = add_step(&u, top, KST_WHILE);
    w->n_carry = 1;
    w->carry = arena_array(&u.a, Sym, 1), w->init = arena_array(&u.a, Dim, 1), w->next_val = arena_array(&u.a, Dim, 1);
    w->carry[0] = count, w->init[0] = dim_k(&u, 0), w->next_val[0] = dim_add(&u.dims, dsym(&u, count), dim_k(&u, 1));
    w->a = dim_max(&u.dims, dim_sub(&u.dims, dsym(&u, times), dsym(&u, count)), dim_k(&u, 0));
    w->body = arena_new(&u.a, KSteps);
    add_step(&u, w->body, KST_BARRIER);
    b = kb_new(&u.m, "double", (KLoc){0});
    py = kb_param(b, y, true);
    i = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_i(b, 8));
    KVal v = kb_load(b, py, &i);
    kb_store(b, py, &i, kb_add(b, v, v));
    kb_end(b);
    kb_finish(b, w->body);
    add_step(&u, w->body, KST_BARRIER);
    s = add_step(&u, top, KST_IF);
    s->a = dim_mod(&u.dims, dsym(&u, times), dim_k(&u, 2));
    s->body = arena_new(&u.a, KSteps);
    s->other = arena_new(&u.a, KSteps);
    for (int side = 0; side < 2; side++) {
        KSteps *to = side ? s->other : s->body;
        add_step(&u, to, KST_ALLOC)->buf = box;
        add_step(&u, to, KST_BARRIER);
        b = kb_new(&u.m, side ? "even" : "odd", (KLoc){0});
        uint32_t pb = kb_param(b, box, true);
        i = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, db[0]));
        kb_store(b, pb, &i, kb_cast(b, DT_U8, kb_add(b, i, kb_i(b, side ? 100 : 0))));
        kb_end(b);
        kb_finish(b, to);
    }
    for (int nt = 1; nt <= 3; nt += 2) {
        if (!unit_load(&u, 2, nt)) continue;
        for (int32_t t = 0; t < 12; t++) {
            double in[8], out[8];
            int64_t e8 = 8, e1 = 1;
            for (int k = 0; k < 8; k++) in[k] = k - 3;
            bmc_value vi[] = {value(DT_F64, in, 1, &e8), value(DT_I32, &t, 1, &e1)},
                      vo[] = {value(DT_F64, out, 1, &e8), {.size = sizeof(bmc_value)}};
            if (!CHECK(u.model->run(u.ctx, vi, vo) == BMC_OK)) printf("    %s\n", u.model->message(u.ctx));
            for (int k = 0; k < 8; k++) CHECK(out[k] == ldexp(in[k], t));
            CHECK(vo[1].rank == 1 && vo[1].dim[0] == t + 2);
            for (int k = 0; k < t + 2 && k < vo[1].dim[0]; k++)
                CHECK(((uint8_t *)vo[1].data)[k] == k + (t % 2 ? 0 : 100));
            t = t == 11 ? 101 : t;
            if (t < 100) continue;
            vo[1] = (bmc_value){.size = sizeof(bmc_value)};
            CHECK(u.model->run(u.ctx, vi, vo) == BMC_E_SHAPE);
            CHECK(strstr(u.model->message(u.ctx), "too many times") != NULL);
        }
        unit_unload(&u);
    }
    unit_close(&u);
}

/* out = a where a != "b" else the constant; runtime call: cat = a + out */
static void test_strings(void)
{
    Unit u;
    unit_open(&u, "native");
    Dim d[] = {dim_k(&u, 3)};
    KBuf x = port(&u, false, "x", DT_STR, 1, d), eq = port(&u, true, "eq", DT_BOOL, 1, d),
         cat = port(&u, true, "cat", DT_STR, 1, d);
    KBuf c = kbuf_new(&u.m, KS_CONST, name_of(&u.names, "c"), DT_STR, 1, d, (KLoc){0});
    kbuf(&u.m, c)->blob = blob_strings(&u.blobs, 3, (const char *[]){"one", "", "three"}, (size_t[]){3, 0, 5});
    KBuf t = kbuf_new(&u.m, KS_ARENA, name_of(&u.names, "t"), DT_STR, 1, d, (KLoc){0});
    Kb *b = kb_new(&u.m, "pick", (KLoc){0});
    uint32_t px = kb_param(b, x, false), pc = kb_param(b, c, false), pe = kb_param(b, eq, true),
             pt = kb_param(b, t, true);
    KVal i = kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_i(b, 3)), a = kb_load(b, px, &i), k = kb_load(b, pc, &i),
         same_ = kb_eq(b, a, k);
    kb_store(b, pe, &i, same_);
    kb_store(b, pt, &i, kb_select(b, same_, k, a));
    kb_end(b);
    kb_finish(b, &u.m.program);
    add_step(&u, &u.m.program, KST_BARRIER);
    KStep *s = add_step(&u, &u.m.program, KST_CALL);
    s->call = rt_call_find("rt_string_concat");
    s->n_arg = 3;
    s->arg = arena_array(&u.a, KArg, 3);
    s->arg[0] = (KArg){.kind = KA_BUF, .buf = x};
    s->arg[1] = (KArg){.kind = KA_BUF, .buf = c};
    s->arg[2] = (KArg){.kind = KA_BUF, .buf = cat};
    if (unit_load(&u, 2, 2)) {
        bmc_string in[] = {{"one", 3}, {"", 0}, {"thre", 4}}, out[3];
        uint8_t e[3];
        int64_t n = 3;
        bmc_value vi = value(DT_STR, in, 1, &n), vo[] = {value(DT_BOOL, e, 1, &n), value(DT_STR, out, 1, &n)};
        if (!CHECK(u.model->run(u.ctx, &vi, vo) == BMC_OK)) printf("    %s\n", u.model->message(u.ctx));
        CHECK(e[0] == 1 && e[1] == 1 && e[2] == 0);
        CHECK(out[0].len == 6 && !memcmp(out[0].ptr, "oneone", 6));
        CHECK(out[1].len == 0);
        CHECK(out[2].len == 9 && !memcmp(out[2].ptr, "threthree", 9));
    }
    unit_close(&u);
}

/* ---- constants of every kind, and a contraction with packed weights ---- */
typedef enum How { BY_SO, BY_SIDE_FILE, BY_JIT, BY_DEBUG } How;
static CodegenJit *jit;

static bool load_as(Unit *u, How how, int nt)
{
    if (how == BY_SO) return unit_load(u, 2, nt);
    unit_plan(u);
    const char *path = arena_printf(&u->a, "%s/t%d.so", dir, serial++);
    CodegenOptions o = options(2, CG_SO, path);
    bmc_config c = {.size = sizeof c, .threads = nt};
    if (how == BY_JIT) {
        if (!CHECK(codegen_jit(&u->m, &o, &jit))) return false;
        u->model = codegen_jit_model(jit);
    } else {
        o.keep_weights_out = how == BY_SIDE_FILE;
        o.debug = how == BY_DEBUG;
        if (!CHECK(codegen_emit(&u->m, &o))) return false;
        u->so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (!u->so) printf("    %s\n", dlerror());
        if (!CHECK(u->so != NULL)) return false;
        u->model = dlsym(u->so, "bmc_model");
    }
    bmc_status s = u->model->create(&c, NULL, 0, &u->ctx);
    if (s) printf("    %s\n", u->model->message(NULL));
    unlink(path);
    unlink(arena_printf(&u->a, "%s.weights", path));
    if (how == BY_DEBUG) CHECK(unlink(arena_printf(&u->a, "%.*s.kir", (int)strlen(path) - 3, path)) == 0);
    return CHECK(s == BMC_OK);
}

static void test_constants(How how)
{
    enum { K = 37, N = 50, M = 7, BIG = 40000 };
    Unit u;
    unit_open(&u, "native");
    Dim dy[] = {dim_k(&u, BIG)}, dm[] = {dim_k(&u, M), dim_k(&u, K)}, dn[] = {dim_k(&u, M), dim_k(&u, N)};
    KBuf y = port(&u, true, "y", DT_F32, 1, dy), a = port(&u, false, "a", DT_F32, 2, dm),
         c = port(&u, true, "c", DT_F32, 2, dn);
    float w[K * N], some[100];
    for (int i = 0; i < K * N; i++) w[i] = (float)((i * 7919) % 101 - 50) / 16;
    for (int i = 0; i < 100; i++) some[i] = (float)(i % 13);
    KBuf k[4];
    Dim dk[] = {dim_k(&u, 100)};
    for (int i = 0; i < 4; i++)
        k[i] = kbuf_new(&u.m, KS_CONST, name_of(&u.names, arena_printf(&u.a, "k%d", i)), i == 2 ? DT_I64 : DT_F32, 1,
                        i == 1 || i == 2 ? dy : dk, (KLoc){0});
    kbuf(&u.m, k[0])->blob = blob_inline(&u.blobs, DT_F32, 100, some);
    kbuf(&u.m, k[1])->blob = blob_splat_f(&u.blobs, DT_F32, BIG, 0.5);
    int64_t *iota = arena_array(&u.a, int64_t, BIG);
    for (int i = 0; i < BIG; i++) iota[i] = 5 + 3 * i;
    kbuf(&u.m, k[2])->blob = blob_inline(&u.blobs, DT_I64, BIG, iota);
    kbuf(&u.m, k[3])->blob = kbuf(&u.m, k[0])->blob;
    Kb *b = kb_new(&u.m, "sum", (KLoc){0});
    uint32_t p[4], py = kb_param(b, y, true);
    for (int i = 0; i < 4; i++) p[i] = kb_param(b, k[i], false);
    KVal i = kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_i(b, BIG)), j = kb_bin(b, KOP_MOD, i, kb_i(b, 100));
    KVal v = kb_add(b, kb_load(b, p[0], &j), kb_load(b, p[1], &i));
    kb_store(b, py, &i, kb_add(b, kb_add(b, v, kb_cast(b, DT_F32, kb_load(b, p[2], &i))), kb_load(b, p[3], &j)));
    kb_end(b);
    kb_finish(b, &u.m.program);
    /* c = a . w with w given transposed [N][K] and packed */
    int64_t kc = 16;
    float wt[K * N];
    for (int r = 0; r < K; r++)
        for (int q = 0; q < N; q++) wt[q * K + r] = w[r * N + q];
    Recipe r = {.kind = RECIPE_PACK,
                .src = {blob_inline(&u.blobs, DT_F32, K * N, wt)},
                .n_src = 1,
                .batch = 1,
                .K = K,
                .N = N,
                .kc = kc,
                .g = 1,
                .stride_k = 1,
                .stride_n = K};
    int64_t blocks = (K + kc - 1) / kc, strips = (N + 15) / 16, total = blocks * strips * kc * 16;
    Dim dp[] = {dim_k(&u, total)};
    KBuf pack = kbuf_new(&u.m, KS_CONST, name_of(&u.names, "w"), DT_F32, 1, dp, (KLoc){0});
    kbuf(&u.m, pack)->blob = blob_derived(&u.blobs, DT_F32, total, &r);
    b = kb_new(&u.m, "gemm", (KLoc){0});
    uint32_t pa = kb_param(b, a, false), pw = kb_param(b, pack, false), pc = kb_param(b, c, true);
    KVal row = kb_for_par(b, kb_i(b, 0), kb_i(b, 2), true), m0 = kb_mul(b, row, kb_i(b, 4));
    KVal m1 = kb_min(b, kb_i(b, 4), kb_sub(b, kb_i(b, M), m0));
    /* blocks of K run as T: the last one has zeros in w, and a's rows are read only while k < K: so T covers whole
     * blocks, a second macc the rest */
    KbMacc mc;
    KVal args[KM_ARGS] = {
        [KM_ROWS] = m1,       [KM_COLS] = kb_i(b, N), [KM_K] = kb_i(b, kc),          [KM_T] = kb_i(b, K / kc),
        [KM_AK] = kb_i(b, 1), [KM_BK] = kb_i(b, 16),  [KM_BSTRIP] = kb_i(b, kc * 16)};
    kb_macc(b, &mc, &(KMacc){.a = pa, .b = pw, .mr = 4, .nv = 2, .b_packed = true, .acc = DT_F32}, args);
    KVal off = kb_add(b, kb_mul(b, kb_add(b, m0, mc.i), kb_i(b, K)), kb_mul(b, mc.t, kb_i(b, kc)));
    kb_macc_addr(b, &mc, off, (KVal){0}, kb_mul(b, mc.t, kb_i(b, strips * kc * 16)));
    kb_macc_epilogue(b, &mc);
    kb_store(b, pc, (KVal[]){kb_add(b, m0, mc.i), mc.j}, mc.acc);
    kb_macc_end(b, &mc);
    args[KM_K] = kb_i(b, K % kc), args[KM_T] = kb_i(b, 1);
    kb_macc(b, &mc, &(KMacc){.a = pa, .b = pw, .mr = 4, .nv = 2, .b_packed = true, .acc = DT_F32}, args);
    kb_macc_addr(b, &mc, kb_add(b, kb_mul(b, kb_add(b, m0, mc.i), kb_i(b, K)), kb_i(b, K / kc * kc)), (KVal){0},
                 kb_i(b, K / kc * strips * kc * 16));
    kb_macc_init_begin(b, &mc);
    KVal old = kb_load(b, pc, (KVal[]){kb_add(b, m0, mc.i), mc.j});
    kb_macc_init_end(b, &mc, &old);
    kb_macc_epilogue(b, &mc);
    kb_store(b, pc, (KVal[]){kb_add(b, m0, mc.i), mc.j}, kb_add(b, mc.acc, kb_cast(b, DT_F32, mc.j)));
    kb_macc_end(b, &mc);
    kb_end(b);
    kb_finish(b, &u.m.program);
    for (int nt = 1; nt <= 2; nt++) {
        if (!load_as(&u, how, nt)) continue;
        float am[M * K], cm[M * N], *out = arena_array(&u.a, float, BIG);
        int64_t e1 = BIG, e2[] = {M, K}, e3[] = {M, N};
        for (int q = 0; q < M * K; q++) am[q] = (float)(q % 23 - 11);
        bmc_value vi = value(DT_F32, am, 2, e2), vo[] = {value(DT_F32, out, 1, &e1), value(DT_F32, cm, 2, e3)};
        if (!CHECK(u.model->run(u.ctx, &vi, vo) == BMC_OK)) printf("    %s\n", u.model->message(u.ctx));
        bool ok = true;
        for (int q = 0; q < BIG; q++) ok &= out[q] == some[q % 100] + 0.5f + (float)iota[q] + some[q % 100];
        CHECK(ok);
        for (int mm = 0; mm < M; mm++)
            for (int q = 0; q < N; q++) {
                float sum = 0; /* exact: small integers over 16 */
                for (int t = 0; t < K; t++) sum += am[mm * K + t] * w[t * N + q];
                CHECK(cm[mm * N + q] == sum + (float)q);
            }
        unit_unload(&u);
        if (jit) codegen_jit_free(jit);
        jit = NULL;
    }
    unit_close(&u);
}

/* ---- several sums for each element of a contraction, with strips of three matrices taking turns ---- */
static void test_sums(const char *cpu, unsigned mr, unsigned nv, bool heavy)
{
    enum { M = 5, K = 9, N = 37, S = 3, TOTAL = (N + 15) / 16 * S * K * 16 };
    Unit u;
    unit_open(&u, cpu);
    Dim da[] = {dim_k(&u, M), dim_k(&u, K)}, dc[] = {da[0], dim_k(&u, N)}, dp[] = {dim_k(&u, TOTAL)};
    KBuf a = port(&u, false, "a", DT_F32, 2, da), c = port(&u, true, "c", DT_F32, 2, dc);
    float w[S][K][N];
    for (int q = 0; q < S * K * N; q++) (&w[0][0][0])[q] = (float)(q * 7 % 31 - 15);
    Recipe r = {.kind = RECIPE_PACK, .src = {blob_inline(&u.blobs, DT_F32, S * K * N, w)}, .n_src = 1, .batch = 1,
                .K = K, .N = N, .kc = K, .g = 1, .stride_k = N, .stride_n = 1, .sides = S, .stride_side = K * N};
    KBuf pack = kbuf_new(&u.m, KS_CONST, name_of(&u.names, "w"), DT_F32, 1, dp, (KLoc){0});
    kbuf(&u.m, pack)->blob = blob_derived(&u.blobs, DT_F32, TOTAL, &r);
    Kb *b = kb_new(&u.m, "sums", (KLoc){0});
    uint32_t pa = kb_param(b, a, false), pw = kb_param(b, pack, false), pc = kb_param(b, c, true);
    KbMacc mc;
    KVal args[KM_ARGS] = {[KM_ROWS] = kb_i(b, M), [KM_COLS] = kb_i(b, N), [KM_K] = kb_i(b, K), [KM_T] = kb_i(b, 1),
                          [KM_AK] = kb_i(b, 1), [KM_BK] = kb_i(b, 16), [KM_BSTRIP] = kb_i(b, S * K * 16),
                          [KM_BSUM] = kb_i(b, K * 16)};
    KMacc spec = {.a = pa, .b = pw, .mr = (uint8_t)mr, .nv = (uint8_t)nv, .sums = S, .b_packed = true, .acc = DT_F32};
    kb_macc(b, &mc, &spec, args);
    kb_macc_addr(b, &mc, kb_mul(b, mc.i, kb_i(b, K)), (KVal){0}, kb_i(b, 0));
    kb_macc_epilogue(b, &mc);
    KVal v = kb_fma(b, mc.sum[1], mc.sum[2], kb_mul(b, mc.sum[0], kb_const_f(b, DT_F32, 0.5)));
    if (heavy) v = kb_add(b, v, kb_un(b, KOP_TANH, kb_mul(b, v, kb_const_f(b, DT_F32, 0))));
    kb_store(b, pc, (KVal[]){mc.i, mc.j}, v);
    kb_macc_end(b, &mc);
    kb_finish(b, &u.m.program);
    if (unit_load(&u, 2, 1)) {
        float am[M * K], cm[M * N];
        int64_t e2[] = {M, K}, e3[] = {M, N};
        for (int q = 0; q < M * K; q++) am[q] = (float)(q % 23 - 11);
        bmc_value vi = value(DT_F32, am, 2, e2), vo = value(DT_F32, cm, 2, e3);
        if (!CHECK(u.model->run(u.ctx, &vi, &vo) == BMC_OK)) printf("    %s\n", u.model->message(u.ctx));
        bool ok = true;
        for (int q = 0; q < M * N; q++) {
            float s[S] = {0}; /* exact: small integers */
            for (int g = 0; g < S; g++)
                for (int t = 0; t < K; t++) s[g] += am[q / N * K + t] * w[g][t][q % N];
            ok &= cm[q] == s[1] * s[2] + s[0] * 0.5f;
        }
        CHECK(ok);
        unit_unload(&u);
    }
    unit_close(&u);
}

int main(void)
{
    if (!unit_setup()) return 1;
    bool all = !getenv("QUICK");
    test_axpb("native", 2);
    test_axpb("x86-64", 0);
    const char *const cpus[] = {"native", "x86-64-v3", "x86-64"};
    for (int c = 0; c < 3; c++) {
        for (int t = 0; all && t < N_TYPES; t++) test_ops(cpus[c], all_types[t]);
        if (all) test_casts(cpus[c]);
        test_reduce(cpus[c]);
        test_nest(cpus[c]);
        test_gather(cpus[c]);
        test_views(cpus[c]);
        for (int apart = 2; apart <= 4; apart++) test_apart(cpus[c], apart);
        test_sums(cpus[c], 1, 3, true);
        test_sums(cpus[c], 2, 6, false);
        test_sums(cpus[c], 2, 6, true);
    }
    test_program();
    test_strings();
    for (How how = BY_SO; how <= BY_DEBUG; how++) test_constants(how);
    CHECK(rmdir(dir) == 0);
    return check_done();
}
