/* weave_test: stores that fill one another's gaps (codegen/weave.c), in any order, 2 to 20 of them, with and without
 * gaps that must stay as they are, whole vectors and tails; and bodies of so much arithmetic that lanes go in parts
 * (codegen/nest.c), on several CPUs. */
#include "tests/unit/codegen_unit.h"

enum { N = 37, MOST = 24 };

/* y[apart * i + (7 * k) % group + from] = x[i] * (k + 1) + (a sum of `more` terms that is 0), i < N, k < group */
static void test_group(const char *cpu, DType t, int group, int apart, int more)
{
    Unit u;
    unit_open(&u, cpu);
    int from = apart > group;
    Dim dx[] = {dim_k(&u, N)}, dy[] = {dim_k(&u, N * apart)};
    KBuf x = port(&u, false, "x", t, 1, dx), y = port(&u, true, "y", t, 1, dy);
    Kb *b = kb_new(&u.m, "weave", (KLoc){0});
    uint32_t px = kb_param(b, x, false), py = kb_param(b, y, true);
    KVal i = kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_i(b, N)), v = kb_load(b, px, &i), sum = v;
    for (int k = 0; k < more; k++) {
        KVal c = kb_const_f(b, t, k + 2);
        sum = kb_sub(b, kb_add(b, kb_mul(b, v, c), sum), kb_mul(b, v, c));
    }
    for (int k = 0; k < group; k++) {
        KVal at = kb_add(b, kb_mul(b, i, kb_i(b, apart)), kb_i(b, 7 * k % group + from));
        kb_store(b, py, &at, kb_mul(b, sum, kb_const_f(b, t, k + 1)));
    }
    kb_end(b);
    kb_finish(b, &u.m.program);
    if (unit_load(&u, 2, 1)) {
        double wx[N], wy[N * MOST + 16];
        float fx[N], fy[N * MOST + 16];
        int64_t ex[] = {N}, ey[] = {N * apart};
        bool wide = t == DT_F64, ok = true;
        for (int k = 0; k < N; k++) wx[k] = fx[k] = (float)(k - 11);
        for (int k = 0; k < N * MOST + 16; k++) wy[k] = fy[k] = -9999;
        bmc_value vi[] = {value(t, wide ? (void *)wx : fx, 1, ex)}, vo[] = {value(t, wide ? (void *)wy : fy, 1, ey)};
        if (!CHECK(u.model->run(u.ctx, vi, vo) == BMC_OK)) printf("    %s\n", u.model->message(u.ctx));
        for (int k = 0; k < N * MOST + 16; k++) {
            int place = k % apart - from, want = -9999;
            for (int c = 0; c < group && k < N * apart; c++)
                if (7 * c % group == place) want = (k / apart - 11) * (c + 1);
            ok &= (wide ? wy[k] : (double)fy[k]) == want;
        }
        if (!CHECK(ok)) printf("    %s, %d of %d\n", cpu, group, apart);
    }
    unit_close(&u);
}

int main(void)
{
    static const char *const CPUS[] = {"native", "x86-64-v3", "x86-64"};
    static const int GROUPS[][2] = {{2, 2}, {2, 5}, {3, 3}, {3, 4}, {4, 4}, {5, 5}, {8, 8}, {8, 11}, {16, 16}, {20, 20}, {19, 24}};
    if (!unit_setup()) return 1;
    for (size_t c = 0; c < sizeof CPUS / sizeof *CPUS; c++)
        for (size_t g = 0; g < sizeof GROUPS / sizeof *GROUPS; g++)
            for (int more = 0; more <= 20; more += 20) {
                test_group(CPUS[c], DT_F32, GROUPS[g][0], GROUPS[g][1], more);
                test_group(CPUS[c], DT_F64, GROUPS[g][0], GROUPS[g][1], more);
            }
    CHECK(rmdir(dir) == 0);
    return check_done();
}
