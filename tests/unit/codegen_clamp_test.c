/* codegen_clamp_test: floats that the kernel clamps before they become integers (kx_within): the conversion checks no
 * ends where the clamp has done so, and must where it lets more pass. Clamped to the type's range and to one more on
 * either side, by constants and, as quantising does, by 255 - z with z a byte; NaN, infinities, halves, large ones. */
#include "tests/unit/codegen_unit.h"
#include <math.h>

enum { COUNT = 1000 };

static double lowest(DType t) { return dtype_is_signed(t) ? -ldexp(1, dtype_info(t)->bits - 1) : 0; }
static double highest(DType t)
{
    int bits = dtype_info(t)->bits;
    return bits == 32 ? 2147483520.0 : ldexp(1, dtype_is_signed(t) ? bits - 1 : bits) - 1;
}

static float element(Rng *r, int k)
{
    static const float special[] = {NAN, INFINITY, -INFINITY, 0.0f, -0.0f, 0.5f, -0.5f, 3e9f, -3e9f, 1e30f, -1e30f};
    if (k % 3 == 0) return special[k / 3 % (int)(sizeof special / sizeof *special)];
    return (float)(rng_in(r, -1000000, 1000000)) / 4 * (k % 5 ? 1e-2f : 1e4f);
}

static int64_t convert(DType t, double v)
{
    double hi = t == DT_I32 ? 2147483647.0 : highest(t);
    return isnan(v) ? 0 : (int64_t)trunc(fmin(fmax(v, lowest(t)), hi));
}

/* wide: the clamp lets one more pass; zero: the ends are those of t, less z. */
static void test_clamp(const char *cpu, DType t, int level, double wide, bool zero)
{
    static float x[COUNT];
    static unsigned char z[COUNT], y[COUNT * 4];
    DType to = zero ? DT_I32 : t;
    double lo = lowest(t) - wide, hi = highest(t) + wide;
    Unit u;
    Rng rng = {(uint64_t)t + 3};
    int64_t n = COUNT;
    unit_open(&u, cpu);
    Dim dim[] = {dim_k(&u, COUNT)};
    KBuf in[2] = {port(&u, false, "x", DT_F32, 1, dim), port(&u, false, "z", DT_U8, 1, dim)};
    KBuf out = port(&u, true, "y", to, 1, dim);
    Kb *b = kb_new(&u.m, "clamp", (KLoc){0});
    uint32_t px = kb_param(b, in[0], false), pz = kb_param(b, in[1], false), py = kb_param(b, out, true);
    KVal i = kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_dim(b, dim[0])), v = kb_un(b, KOP_RINT, kb_load(b, px, &i));
    KVal vz = kb_cast(b, DT_F32, kb_load(b, pz, &i)), top = kb_const_f(b, DT_F32, hi), low = kb_const_f(b, DT_F32, lo);
    if (zero) top = kb_sub(b, top, vz), low = kb_sub(b, low, vz);
    kb_store(b, py, &i, kb_cast(b, to, kb_max(b, kb_min(b, v, top), low)));
    kb_end(b);
    kb_finish(b, &u.m.program);
    for (int k = 0; k < COUNT; k++) x[k] = element(&rng, k), z[k] = (unsigned char)rng_in(&rng, 0, 255);
    if (unit_load(&u, level, 1)) {
        bmc_value vi[2] = {value(DT_F32, x, 1, &n), value(DT_U8, z, 1, &n)}, vo = value(to, y, 1, &n);
        CHECK(u.model->run(u.ctx, vi, &vo) == BMC_OK);
        int wrong = 0;
        for (int k = 0; k < COUNT; k++) {
            float less = zero ? z[k] : 0, r = nearbyintf(x[k]);
            float c = isnan(r) ? r : fmaxf(fminf(r, (float)hi - less), (float)lo - less);
            int64_t want = convert(to, c), got = kscalar_load(to, y, k).i;
            if (got != want && !wrong++)
                printf("    %s %s %g: %g gives %lld, not %lld\n", cpu, dtype_name(t), wide, x[k], (long long)got,
                       (long long)want);
        }
        CHECK(!wrong);
    }
    unit_close(&u);
}

int main(void)
{
    if (!unit_setup()) return 1;
    static const DType types[] = {DT_I8, DT_U8, DT_I16, DT_U16, DT_I32};
    const char *const cpus[] = {"native", "x86-64-v3", "x86-64"};
    for (int c = 0; c < 3; c++)
        for (int t = 0; t < 5; t++)
            for (int how = 0; how < (types[t] == DT_I32 ? 2 : 4); how++)
                test_clamp(cpus[c], types[t], c == 1 && t % 2 ? 0 : 2, (types[t] == DT_I32 ? 128 : 1) * (how & 1), how & 2);
    CHECK(rmdir(dir) == 0);
    return check_done();
}
