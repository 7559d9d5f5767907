/* turn_test: blocks of 16 x 16, and of fewer rows and columns, that transpose (codegen/turn.c), alone and with an operand that lies straight, for
 * elements of one to eight bytes, on several CPUs; whole tensors through the schedule, with what is left of blocks. */
#include "tests/unit/codegen_unit.h"

enum { ROWS = 16 };

/* y[i, j] = x[j, i + from] (+ z[i, j]) for so many rows i of so many lanes j; of x nothing lies behind its last row */
static void test_block(const char *cpu, DType t, int rows, int lanes, int from, bool straight)
{
    Unit u;
    int width = rows + from;
    unit_open(&u, cpu);
    Dim dx[] = {dim_k(&u, lanes), dim_k(&u, width)}, dy[] = {dim_k(&u, rows), dim_k(&u, lanes)};
    KBuf x = port(&u, false, "x", t, 2, dx), z = port(&u, false, "z", t, 2, dy), y = port(&u, true, "y", t, 2, dy);
    Kb *b = kb_new(&u.m, "turn", (KLoc){0});
    uint32_t px = kb_param(b, x, false), pz = straight ? kb_param(b, z, false) : 0, py = kb_param(b, y, true);
    KVal i = kb_for(b, KLOOP_SEQ, kb_i(b, 0), kb_i(b, rows)), j = kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_i(b, lanes));
    KVal v = kb_load(b, px, (KVal[]){j, kb_add(b, i, kb_i(b, from))});
    if (straight) v = kb_add(b, v, kb_load(b, pz, (KVal[]){i, j}));
    kb_store(b, py, (KVal[]){i, j}, v);
    kb_end(b);
    kb_end(b);
    kb_finish(b, &u.m.program);
    if (unit_load(&u, 2, 1)) {
        int size = dtype_info(t)->bits / 8;
        uint8_t vx[ROWS * (ROWS + 5) * 8] = {0}, vz[ROWS * ROWS * 8] = {0}, vy[ROWS * ROWS * 8 + 64];
        int64_t ex[] = {lanes, width}, ey[] = {rows, lanes};
        memset(vy, 0xee, sizeof vy);
        for (int k = 0; k < lanes * width; k++) { /* small integers, as bits: 0..127 of bytes, values of floats */
            float f = (float)(k % 100);
            if (t == DT_F32) memcpy(vx + 4 * k, &f, 4);
            else vx[size * k] = (uint8_t)(k % 100);
        }
        for (int k = 0; k < rows * lanes; k++) {
            float f = (float)(k % 50);
            if (t == DT_F32) memcpy(vz + 4 * k, &f, 4);
            else vz[size * k] = (uint8_t)(k % 50);
        }
        bmc_value vi[] = {value(t, vx, 2, ex), value(t, vz, 2, ey)}, vo[] = {value(t, vy, 2, ey)};
        if (!CHECK(u.model->run(u.ctx, vi, vo) == BMC_OK)) printf("    %s\n", u.model->message(u.ctx));
        bool ok = true;
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < lanes; c++) {
                int at = r * lanes + c, want = (c * width + r + from) % 100 + (straight ? at % 50 : 0);
                float f;
                memcpy(&f, vy + 4 * (t == DT_F32 ? at : 0), 4);
                ok &= t == DT_F32 ? f == (float)want : vy[size * at] == want;
            }
        for (size_t k = (size_t)(rows * lanes * size); k < sizeof vy; k++) ok &= vy[k] == 0xee;
        CHECK(ok);
    }
    unit_close(&u);
}

int main(void)
{
    static const char *const CPUS[] = {"native", "x86-64-v3", "x86-64"};
    static const DType TYPES[] = {DT_U8, DT_I16, DT_F32, DT_I32, DT_I64};
    if (!unit_setup()) return 1;
    for (size_t c = 0; c < sizeof CPUS / sizeof *CPUS; c++)
        for (size_t t = 0; t < sizeof TYPES / sizeof *TYPES; t++) {
            test_block(CPUS[c], TYPES[t], 8, 8, 0, false);
            for (int k = 0; k < 16; k++) test_block(CPUS[c], TYPES[t], k & 8 ? 8 + k % 7 : ROWS, k & 4 ? 11 : ROWS, k & 1 ? 5 : 0, k & 2);
        }
    CHECK(rmdir(dir) == 0);
    return check_done();
}
