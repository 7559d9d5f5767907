/* codegen_ahead_test: results in a caller's memory, wherever it lies (codegen/ahead.c): every distance to a line of the
 * cache, rows of a fixed and of a free length, elements of one to eight bytes; nothing beside the result is touched. */
#include "tests/unit/codegen_unit.h"

enum { ROWS = 3, COLS = 150, GUARD = 80 };

/* y[i, j] = cast(x[i, j] + i); the length of a row is a symbol if `free_cols`. */
static void test_rows(const char *cpu, DType to, bool free_cols)
{
    Unit u;
    unit_open(&u, cpu);
    Sym s = sym_new(&u.dims, name_of(&u.names, "n"), SYM_ENTRY, 0, COLS);
    u.dims.sym.p[s.i].input = 0;
    u.dims.sym.p[s.i].axis = 1;
    Dim d[] = {dim_k(&u, ROWS), free_cols ? dim_sym(&u.dims, s) : dim_k(&u, COLS)};
    KBuf x = port(&u, false, "x", DT_I32, 2, d), y = port(&u, true, "y", to, 2, d);
    Kb *b = kb_new(&u.m, "rows", (KLoc){0});
    Dim one = dim_k(&u, 1);
    uint32_t px = kb_param(b, x, false), pl = kb_local(b, "first", DT_I32, 1, &one), py = kb_param(b, y, true); /* a local between */
    KVal i = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_i(b, ROWS)), zero = kb_i(b, 0);
    kb_store(b, pl, &zero, kb_cast(b, DT_I32, i));
    KVal j = kb_for(b, KLOOP_VEC, zero, kb_dim(b, d[1]));
    KVal at[] = {i, j}, v = kb_add(b, kb_load(b, px, at), kb_load(b, pl, &zero));
    kb_store(b, py, at, kb_cast(b, to, v));
    kb_end(b);
    kb_end(b);
    kb_finish(b, &u.m.program);
    unit_plan(&u);
    int bytes = dtype_info(to)->bits / 8;
    static _Alignas(64) unsigned char room[2 * GUARD + ROWS * COLS * 8];
    static int32_t in[ROWS * COLS];
    for (int threads = 1; threads <= 2; threads++) {
        if (!unit_load(&u, 2, threads)) continue;
        for (int ahead = 0; ahead < 64; ahead += bytes)
            for (int cols = COLS; cols > 0; cols = free_cols ? cols - 37 : 0) {
                for (int k = 0; k < ROWS * cols; k++) in[k] = k % 101;
                memset(room, 0xa5, sizeof room);
                unsigned char *out = room + 64 + ahead;
                int64_t dim[] = {ROWS, cols};
                bmc_value vi = value(DT_I32, in, 2, dim), vo = value(to, out, 2, dim);
                CHECK(u.model->run(u.ctx, &vi, &vo) == BMC_OK);
                bool same = true, clean = true;
                for (int k = 0; k < ROWS * cols; k++)
                    same &= kscalar_load(to, out, k).i == in[k] + k / cols;
                for (unsigned char *p = room; p < room + sizeof room; p++)
                    clean &= (p >= out && p < out + ROWS * cols * bytes) || *p == 0xa5;
                CHECK(same && clean);
            }
        unit_unload(&u);
    }
    unit_close(&u);
}

/* A copy of a whole buffer, larger than the cache of a core (codegen/copy.c), in chunks as the schedule makes them. */
static void test_copy(void)
{
    enum { CHUNK = 1024, MANY = (1 << 20) + 77 };
    Unit u;
    unit_open(&u, "native");
    u.m.target.l2_bytes = 1 << 20;
    Dim d = dim_k(&u, MANY);
    KBuf x = port(&u, false, "x", DT_I32, 1, &d), y = port(&u, true, "y", DT_I32, 1, &d);
    Kb *b = kb_new(&u.m, "copy", (KLoc){0});
    uint32_t px = kb_param(b, x, false), py = kb_param(b, y, true);
    KVal size = kb_i(b, CHUNK), c = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_i(b, (MANY + CHUNK - 1) / CHUNK)), lo = kb_mul(b, c, size);
    KVal j = kb_for(b, KLOOP_VEC, lo, kb_min(b, kb_add(b, lo, size), kb_i(b, MANY)));
    kb_store(b, py, &j, kb_load(b, px, &j));
    kb_end(b);
    kb_end(b);
    kb_finish(b, &u.m.program);
    unit_plan(&u);
    static int32_t in[MANY], out[MANY + 2];
    for (int threads = 1; threads <= 3; threads++) {
        if (!unit_load(&u, 2, threads)) continue;
        for (int k = 0; k < MANY; k++) in[k] = k * 7 + threads;
        out[0] = out[MANY + 1] = -1;
        int64_t dim[] = {MANY};
        bmc_value vi = value(DT_I32, in, 1, dim), vo = value(DT_I32, out + 1, 1, dim);
        CHECK(u.model->run(u.ctx, &vi, &vo) == BMC_OK);
        CHECK(!memcmp(in, out + 1, sizeof in) && out[0] == -1 && out[MANY + 1] == -1);
        unit_unload(&u);
    }
    unit_close(&u);
}

/* Constants somewhat larger than L2: a kernel that waits for them goes through them forwards and backwards in turn
 * (codegen/share.c). z is the number of the block that was done
 * last, which shows the direction: no kernel of a model lets it be seen. */
static void test_turn(bool small)
{
    enum { BLOCKS = 8, EACH = 40000, MANY = BLOCKS * EACH };
    Unit u;
    unit_open(&u, "native");
    u.m.target.l2_bytes = small ? 4 << 20 : 1 << 20;
    float *w = arena_alloc(&u.a, MANY * sizeof *w);
    for (int i = 0; i < MANY; i++) w[i] = (float)(i % 1001);
    Dim d = dim_k(&u, MANY), one = dim_k(&u, 1);
    KBuf x = port(&u, false, "x", DT_F32, 1, &d), y = port(&u, true, "y", DT_F32, 1, &d);
    KBuf z = port(&u, true, "z", DT_I32, 1, &one);
    KBuf c = kbuf_new(&u.m, KS_CONST, name_of(&u.names, "w"), DT_F32, 1, &d, (KLoc){0});
    kbuf(&u.m, c)->blob = blob_inline(&u.blobs, DT_F32, MANY, w);
    Kb *b = kb_new(&u.m, "turn", (KLoc){0});
    uint32_t px = kb_param(b, x, false), pw = kb_param(b, c, false);
    uint32_t py = kb_param(b, y, true), pz = kb_param(b, z, true);
    KVal size = kb_i(b, EACH), i = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_i(b, BLOCKS));
    KVal lo = kb_mul(b, i, size), zero = kb_i(b, 0);
    kb_store(b, pz, &zero, kb_cast(b, DT_I32, i)); /* the last block to be done stays */
    KVal j = kb_for(b, KLOOP_VEC, lo, kb_add(b, lo, size));
    kb_store(b, py, &j, kb_add(b, kb_load(b, px, &j), kb_load(b, pw, &j)));
    kb_end(b);
    kb_end(b);
    kb_finish(b, &u.m.program);
    unit_plan(&u);
    static float in[MANY], out[MANY];
    for (int k = 0; k < MANY; k++) in[k] = (float)(k % 77);
    for (int threads = 1; threads <= 2; threads++) {
        if (!unit_load(&u, 2, threads)) continue;
        int32_t last[4] = {0};
        for (int run = 0; run < 4; run++) {
            int64_t dim[] = {MANY}, single[] = {1};
            bmc_value vi = value(DT_F32, in, 1, dim);
            bmc_value vo[] = {value(DT_F32, out, 1, dim), value(DT_I32, &last[run], 1, single)};
            memset(out, 0, sizeof out);
            CHECK(u.model->run(u.ctx, &vi, vo) == BMC_OK);
            bool same = true;
            for (int k = 0; k < MANY; k++) same &= out[k] == in[k] + w[k];
            CHECK(same);
        }
        if (threads == 1 && small) CHECK(last[0] == 7 && last[1] == 7 && last[2] == 7);
        if (threads == 1 && !small) CHECK(last[0] + last[1] == 7 && last[0] == last[2] && last[1] == last[3]);
        unit_unload(&u);
    }
    unit_close(&u);
}

int main(void)
{
    if (!unit_setup()) return 1;
    static const DType types[] = {DT_I8, DT_I16, DT_I32, DT_I64};
    const char *const cpus[] = {"native", "x86-64-v3"};
    for (int c = 0; c < 2; c++)
        for (int t = 0; t < 4; t++) test_rows(cpus[c], types[t], t % 2 == c);
    test_copy();
    test_turn(false);
    test_turn(true);
    CHECK(rmdir(dir) == 0);
    return check_done();
}
