/* lanes_test: maps of bytes, bools and 16-bit integers, of which a register holds more than 16 (codegen/lanes.c): rows
 * of every length, fixed and free, wherever the result lies; nothing beside it is touched, and bodies that are not
 * narrow all through (an index that is stored, a conversion to i32) give the same. */
#include "tests/unit/codegen_unit.h"

enum { ROWS = 3, COLS = 331, GUARD = 80 };
typedef enum Body { NARROW, INDEX, WIDENED, BODIES } Body;

static int64_t want(DType t, Body how, int x, int w, int j)
{
    int64_t v = x > w ? x : w;
    if (t == DT_BOOL) return how == INDEX ? (x || w) && j % 3 : (x || w);
    v += how == INDEX ? j : 5;
    return t == DT_U8 ? (uint8_t)v : t == DT_I8 ? (int8_t)v : (int16_t)v;
}

/* y[i, j] = max(x[i, j], w[j]) + 5, + j, or + 5 as i32 in between; of bools: x or w, and j mod 3 is not 0 */
static KVal body(Kb *b, DType t, Body how, KVal x, KVal w, KVal j)
{
    if (t == DT_BOOL) {
        KVal any = kb_bin(b, KOP_OR, x, w);
        return how == INDEX ? kb_and(b, any, kb_bin(b, KOP_NE, kb_bin(b, KOP_MOD, j, kb_i(b, 3)), kb_i(b, 0))) : any;
    }
    KVal most = kb_max(b, x, w);
    if (how == INDEX) return kb_add(b, most, kb_cast(b, t, j));
    if (how == WIDENED) return kb_cast(b, t, kb_add(b, kb_cast(b, DT_I32, most), kb_cast(b, DT_I32, kb_i(b, 5))));
    return kb_add(b, most, kb_cast(b, t, kb_i(b, 5)));
}

static void test_rows(const char *cpu, DType t, Body how, int fixed)
{
    Unit u;
    unit_open(&u, cpu);
    Sym s = sym_new(&u.dims, name_of(&u.names, "n"), SYM_ENTRY, 0, COLS);
    u.dims.sym.p[s.i].input = 0;
    u.dims.sym.p[s.i].axis = 1;
    Dim d[] = {dim_k(&u, ROWS), fixed ? dim_k(&u, fixed) : dim_sym(&u.dims, s)};
    KBuf x = port(&u, false, "x", t, 2, d), w = port(&u, false, "w", t, 1, d + 1), y = port(&u, true, "y", t, 2, d);
    Kb *b = kb_new(&u.m, "rows", (KLoc){0});
    uint32_t px = kb_param(b, x, false), pw = kb_param(b, w, false), py = kb_param(b, y, true);
    KVal i = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_i(b, ROWS)), j = kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_dim(b, d[1]));
    KVal at[] = {i, j};
    kb_store(b, py, at, body(b, t, how, kb_load(b, px, at), kb_load(b, pw, &j), j));
    kb_end(b);
    kb_end(b);
    kb_finish(b, &u.m.program);
    int bytes = t == DT_I16 ? 2 : 1, most = t == DT_BOOL ? 2 : 128;
    static unsigned char room[2 * GUARD + ROWS * COLS * 2], in[ROWS * COLS * 2], row[COLS * 2];
    if (unit_load(&u, 2, 1))
        for (int cols = fixed ? fixed : COLS, ahead = 0; cols > 0; cols = fixed ? 0 : cols - (cols > 140 ? 37 : 1), ahead = (ahead + 14) % 64) {
            for (int k = 0; k < ROWS * cols; k++) kscalar_store(t, in, k, (KScalar){.i = k * 7 % 101 % most});
            for (int k = 0; k < cols; k++) kscalar_store(t, row, k, (KScalar){.i = k * 11 % 97 % most});
            memset(room, 0xa5, sizeof room);
            unsigned char *out = room + 8 + ahead;
            int64_t dim[] = {ROWS, cols};
            bmc_value vi[] = {value(t, in, 2, dim), value(t, row, 1, dim + 1)}, vo = value(t, out, 2, dim);
            CHECK(u.model->run(u.ctx, vi, &vo) == BMC_OK);
            bool same = true, clean = true;
            for (int k = 0; k < ROWS * cols; k++)
                same &= kscalar_load(t, out, k).i == want(t, how, (int)kscalar_load(t, in, k).i, (int)kscalar_load(t, row, k % cols).i, k % cols);
            for (unsigned char *p = room; p < room + sizeof room; p++) clean &= (p >= out && p < out + ROWS * cols * bytes) || *p == 0xa5;
            if (!CHECK(same && clean)) printf("    %s, %s, body %d, %d columns\n", cpu, dtype_name(t), (int)how, cols);
        }
    unit_close(&u);
}

int main(void)
{
    if (!unit_setup()) return 1;
    static const DType types[] = {DT_BOOL, DT_U8, DT_I8, DT_I16};
    static const int fixed[] = {0, 20, 33, 64, 100, COLS};
    static const char *const cpus[] = {"native", "x86-64-v3", "x86-64"};
    for (int c = 0; c < 3; c++)
        for (int t = 0; t < 4; t++)
            for (Body how = NARROW; how < BODIES; how++)
                for (int n = 0; n < (how == NARROW ? 6 : 1); n++) test_rows(cpus[c], types[t], how, fixed[n]);
    CHECK(rmdir(dir) == 0);
    return check_done();
}
