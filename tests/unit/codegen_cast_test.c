/* codegen_cast_test: floats to integers of 32 and 64 bits in lanes (codegen/scalar.c), with CPUs that have instructions
 * for it and without: truncated, saturated, NaN gives 0. Random bits, whole numbers and halves of every size, what lies
 * next to each power of two, and whole vectors of what fits into 31 bits. */
#include "tests/unit/codegen_unit.h"
#include <math.h>

enum { COUNT = 3000 + 7 };

static double element(Rng *r, int k, bool wide)
{
    static const double special[] = {NAN, INFINITY, -INFINITY, 0.0, -0.0, 0.5, -0.5, -0.99, 1e30, -1e30, 1e-40};
    double v;
    uint64_t bits = rng_next(r);
    if (k / 16 % 4 == 1) return ldexp((double)rng_in(r, -(1 << 24), 1 << 24), (int)(bits % 8) - (k / 64 % 8 ? 8 : 0));
    if (k % 11 == 0) return special[k / 11 % (int)(sizeof special / sizeof *special)];
    if (k % 3 == 0) {
        float f;
        memcpy(&f, &bits, sizeof f);
        memcpy(&v, &bits, sizeof v);
        return wide ? v : (double)f;
    }
    if (k % 3 == 1) { /* next to a power of two */
        v = ldexp(1, (int)(bits % 66));
        if (bits >> 8 & 1) v = wide ? nextafter(v, bits >> 9 & 1 ? 0 : INFINITY) : (double)nextafterf((float)v, bits >> 9 & 1 ? 0 : INFINITY);
        return bits >> 10 & 1 ? -v : v;
    }
    v = ldexp((double)(int64_t)bits, -(int)(rng_next(r) % 64)); /* whole and not, of every size */
    return wide ? v : (double)(float)v;
}

/* As the bits of t. */
static uint64_t convert(DType t, double v)
{
    int bits = dtype_info(t)->bits;
    bool sign = dtype_is_signed(t);
    uint64_t all = bits == 64 ? UINT64_MAX : UINT32_MAX, top = (uint64_t)1 << (bits - 1);
    if (isnan(v)) return 0;
    if (v >= ldexp(1, sign ? bits - 1 : bits)) return sign ? top - 1 : all;
    if (v < (sign ? -ldexp(1, bits - 1) : 0)) return sign ? top : 0;
    return (sign ? (uint64_t)(int64_t)v : (uint64_t)v) & all;
}

static void test_cast(const char *cpu, DType from, DType to, int level)
{
    static float x32[COUNT];
    static double x64[COUNT];
    static uint64_t y64[COUNT];
    static uint32_t y32[COUNT];
    bool wide = from == DT_F64, long_int = dtype_info(to)->bits == 64;
    Unit u;
    Rng rng = {(uint64_t)from * 64 + to};
    int64_t n = COUNT;
    unit_open(&u, cpu);
    Dim dim[] = {dim_k(&u, COUNT)};
    KBuf in = port(&u, false, "x", from, 1, dim), out = port(&u, true, "y", to, 1, dim);
    Kb *b = kb_new(&u.m, "cast", (KLoc){0});
    uint32_t px = kb_param(b, in, false), py = kb_param(b, out, true);
    KVal i = kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_dim(b, dim[0]));
    kb_store(b, py, &i, kb_cast(b, to, kb_load(b, px, &i)));
    kb_end(b);
    kb_finish(b, &u.m.program);
    for (int k = 0; k < COUNT; k++) x64[k] = element(&rng, k, wide), x32[k] = (float)x64[k];
    if (unit_load(&u, level, 1)) {
        bmc_value vi = value(from, wide ? (void *)x64 : x32, 1, &n), vo = value(to, long_int ? (void *)y64 : y32, 1, &n);
        CHECK(u.model->run(u.ctx, &vi, &vo) == BMC_OK);
        int wrong = 0;
        for (int k = 0; k < COUNT; k++) {
            uint64_t want = convert(to, x64[k]), got = long_int ? y64[k] : y32[k];
            if (got != want && !wrong++)
                printf("    %s %s to %s: %a gives %llx, not %llx\n", cpu, dtype_name(from), dtype_name(to), x64[k],
                       (unsigned long long)got, (unsigned long long)want);
        }
        CHECK(!wrong);
    }
    unit_close(&u);
}

int main(void)
{
    if (!unit_setup()) return 1;
    static const DType types[] = {DT_I32, DT_U32, DT_I64, DT_U64};
    static const char *const cpus[] = {"native", "x86-64-v3", "x86-64-v2", "x86-64"};
    for (int c = 0; c < 4; c++)
        for (int t = 0; t < 4; t++) {
            test_cast(cpus[c], DT_F32, types[t], 2);
            test_cast(cpus[c], DT_F64, types[t], c % 2 ? 2 : 0);
        }
    CHECK(rmdir(dir) == 0);
    return check_done();
}
