/* codegen_divide_test: quotients and rests of integers in lanes, which x86 makes of floats (int_quotient in
 * codegen/scalar.c): every pair of bytes; for wider types dividends at, one below and one above multiples of their
 * divisors, powers of two, and the ends of the range. Against C's operators. */
#include "tests/unit/codegen_unit.h"

enum { COUNT = 1 << 16 };

static int64_t wrap(DType t, int64_t v)
{
    int away = 64 - dtype_info(t)->bits;
    uint64_t top = (uint64_t)v << away;
    return dtype_is_signed(t) ? (int64_t)top >> away : (int64_t)(top >> away);
}

/* Element k: the dividend and the divisor. */
static void pair(Rng *r, DType t, int k, int64_t *x, int64_t *d)
{
    int bits = dtype_info(t)->bits;
    *x = k / 256, *d = k % 256;
    if (bits > 8) {
        *d = wrap(t, (int64_t)(rng_next(r) >> rng_in(r, 64 - bits, 62)));
        int64_t q = (int64_t)(rng_next(r) >> rng_in(r, 64 - bits, 62));
        *x = k % 7 ? (int64_t)((uint64_t)q * (uint64_t)*d) + rng_in(r, -1, 1) : (INT64_C(1) << (k % bits)) - k % 3;
        int64_t limit = INT64_C(1) << (dtype_is_signed(t) ? bits - 1 : bits);
        if (k % 7 && *d && (*x >= limit || *x < -limit)) *x = (limit - 1) / *d * *d + rng_in(r, -1, 0);
        if (k % 13 == 0) *d = -(k % 3);
        if (k % 11 == 0) *x = -(INT64_C(1) << (bits - 1));
    }
    *x = wrap(t, *x), *d = wrap(t, *d);
}

static void test_divide(const char *cpu, DType t, int level)
{
    static unsigned char x[COUNT * 4], d[COUNT * 4], q[COUNT * 4], m[COUNT * 4];
    Unit u;
    Rng rng = {(uint64_t)t + 3};
    int64_t n = COUNT;
    unit_open(&u, cpu);
    Dim dim[] = {dim_k(&u, COUNT)};
    KBuf in[2] = {port(&u, false, "x", t, 1, dim), port(&u, false, "d", t, 1, dim)};
    KBuf out[2] = {port(&u, true, "q", t, 1, dim), port(&u, true, "m", t, 1, dim)};
    Kb *b = kb_new(&u.m, "divide", (KLoc){0});
    uint32_t px = kb_param(b, in[0], false), pd = kb_param(b, in[1], false);
    uint32_t pq = kb_param(b, out[0], true), pm = kb_param(b, out[1], true);
    KVal i = kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_dim(b, dim[0])), vx = kb_load(b, px, &i), vd = kb_load(b, pd, &i);
    kb_store(b, pq, &i, kb_div(b, vx, vd));
    kb_store(b, pm, &i, kb_bin(b, KOP_REM, vx, vd));
    kb_end(b);
    kb_finish(b, &u.m.program);
    for (int k = 0; k < COUNT; k++) {
        int64_t a, c;
        pair(&rng, t, k, &a, &c);
        kscalar_store(t, x, k, (KScalar){.i = a});
        kscalar_store(t, d, k, (KScalar){.i = c});
    }
    if (unit_load(&u, level, 1)) {
        bmc_value vi[2] = {value(t, x, 1, &n), value(t, d, 1, &n)}, vo[2] = {value(t, q, 1, &n), value(t, m, 1, &n)};
        CHECK(u.model->run(u.ctx, vi, vo) == BMC_OK);
        int wrong = 0;
        for (int k = 0; k < COUNT; k++) {
            int64_t a = kscalar_load(t, x, k).i, c = kscalar_load(t, d, k).i;
            int64_t want = c ? wrap(t, a / c) : 0, rest = c ? a % c : 0;
            bool good = kscalar_load(t, q, k).i == want && kscalar_load(t, m, k).i == rest;
            if (!good && !wrong++) printf("    %s %s: %lld / %lld\n", cpu, dtype_name(t), (long long)a, (long long)c);
        }
        CHECK(!wrong);
    }
    unit_close(&u);
}

int main(void)
{
    if (!unit_setup()) return 1;
    static const DType types[] = {DT_I8, DT_U8, DT_I16, DT_U16, DT_I32, DT_U32};
    const char *const cpus[] = {"native", "x86-64-v3", "x86-64"};
    for (int c = 0; c < 3; c++)
        for (int t = 0; t < 6; t++) test_divide(cpus[c], types[t], c == 1 && t % 2 ? 0 : 2);
    CHECK(rmdir(dir) == 0);
    return check_done();
}
