/* rt_test: whole runs with hand-written models: a descriptor and a C body each, as codegen would emit them. No compiler
 * needed. Inputs, outputs, errors, memory of the caller, kept state, several contexts at once. */
#include "tests/unit/rt_check.h"

/* ================= model "add": z[N,4] = rows of (x[N,4] + y[N,4]), through the arena; an x of 1000 + k is an error at
 * step 3 (k even) or 5 */
enum { ADD_STEPS = 6 };
static const bmc_symbol add_symbol[] = {{"N", 1, 1000, 0, 0}};
static const bmc_port add_in[] = {
    {.name = "x", .kind = BMC_TENSOR, .dtype = BMC_F32, .rank = 2, .dim = {-1, 4}, .sym = {0}, .alias = -1},
    {.name = "y", .kind = BMC_TENSOR, .dtype = BMC_F32, .rank = 2, .dim = {-1, 4}, .sym = {0}, .alias = -1}};
static const bmc_port add_out[] = {
    {.name = "z", .kind = BMC_TENSOR, .dtype = BMC_F32, .rank = 2, .dim = {-1, 4}, .sym = {0}, .alias = -1}};
static const bmc_info add_info = {.name = "add",
                                  .producer = "test",
                                  .cpu = "x86-64",
                                  .input = add_in,
                                  .output = add_out,
                                  .symbol = add_symbol,
                                  .n_input = 2,
                                  .n_output = 1,
                                  .n_symbol = 1,
                                  .threaded = 1};
static void add_plan(int64_t *sym, rt_need *need)
{
    need->arena = sym[1] * 16;
    need->scratch = 100;
    if (sym[1] == 13) *need = (rt_need){.failed_check = 1, .got = 13, .want = 12};
    if (sym[1] == 950) *need = (rt_need){.failed_check = 3, .got = 950, .want = 949};
}
static void add_dims(const int64_t *sym, uint32_t o, int64_t *dim)
{
    (void)o;
    dim[0] = sym[1], dim[1] = 4;
}
static int32_t add_body(bmc_ctx *x, int32_t tid, int32_t nt)
{
    const float *a = x->slot[0], *b = x->slot[1];
    float *z = x->slot[2], *t = (float *)x->arena;
    int64_t n = x->sym[1], lo = n * tid / nt, hi = n * (tid + 1) / nt;
    if ((uintptr_t)x->thread[tid].scratch % 64 || (uintptr_t)x->arena % 64) return BMC_E_FAIL;
    memset(x->thread[tid].scratch, tid, 100);
    for (int64_t i = lo; i < hi; i++)
        for (int j = 0; j < 4; j++) {
            t[4 * i + j] = a[4 * i + j] + b[4 * i + j];
            if (a[4 * i + j] >= 1000) rt_record(x, tid, (int)a[4 * i + j] % 2 ? 5 : 3, 1, 4 * i + j, 0);
        }
    int32_t s = rt_barrier(x, tid, nt);
    if (s) return s;
    for (int64_t i = lo; i < hi; i++)
        memcpy(&z[4 * (n - 1 - i)], &t[4 * (n - 1 - i)], 16); /* what other threads made */
    for (int i = 0; i < 100; i++)
        if (x->thread[tid].scratch[i] != (uint8_t)tid) rt_fail(x, tid, 0, 0, BMC_E_FAIL, 0, 0);
    return BMC_OK;
}
static const char *const add_message[] = {"N must be a dozen", "index out of range", "{want} is all, {got} too many"};
static const char *const add_step[ADD_STEPS] = {"", "", "", "node 3 'g' (Gather)", "", "node 5 'h' (Gather)"};
static const rt_desc add_desc = {.abi = BMC_ABI,
                                 .n_sym = 2,
                                 .n_slot = 3,
                                 .n_message = 3,
                                 .info = &add_info,
                                 .in_slot = (const uint32_t[]){0, 1},
                                 .out_slot = (const uint32_t[]){2},
                                 .out_boxed = (const uint8_t[]){0},
                                 .sym_of_entry = (const uint32_t[]){1},
                                 .message = add_message,
                                 .flags = RT_FLUSH_DENORMALS | RT_THREADED,
                                 .plan = add_plan,
                                 .out_dims = add_dims,
                                 .body = add_body,
                                 .out_planned = (const uint8_t[]){1},
                                 .step_name = add_step,
                                 .n_step = ADD_STEPS};

static float buf_x[4000], buf_y[4000], buf_z[4000];
static void add_fill(void)
{
    for (int i = 0; i < 4000; i++) buf_x[i] = (float)(i % 97), buf_y[i] = (float)(i % 31) / 2, buf_z[i] = -1;
}
static bool add_right(const float *z, int64_t n)
{
    for (int64_t i = 0; i < 4 * n; i++)
        if (z[i] != buf_x[i] + buf_y[i]) return false;
    return true;
}
static bmc_status add_run(bmc_ctx *x, int64_t n, bmc_value *out)
{
    bmc_value in[2] = {tensor(BMC_F32, buf_x, sizeof buf_x, 2, DIMS(n, 4)),
                       tensor(BMC_F32, buf_y, sizeof buf_y, 2, DIMS(n, 4))};
    return rt_run(x, in, out);
}

static void test_run(void)
{
    static const int threads[] = {1, 2, 3, 7};
    for (int k = 0; k < 4; k++) {
        bmc_config c = config_of(threads[k]);
        int most = 64;
        c.pool = &most;
        bmc_ctx *x;
        CHECK(rt_create(&add_desc, &c, NULL, 0, &x) == BMC_OK);
        CHECK(!x->rt->spin); /* create does not look at the machine */
        for (int64_t n = 1; n <= 1000; n = n * 3 + 2) {
            bmc_value out = tensor(BMC_F32, buf_z, sizeof buf_z, 2, DIMS(0, 0));
            add_fill();
            most = n == 53 ? 2 : 64;
            CHECK(add_run(x, n, &out) == BMC_OK);
            CHECK(add_right(buf_z, n));
            CHECK(buf_z[4 * n] == -1 || n == 1000);
            CHECK(out.data == buf_z && out.rank == 2 && out.dim[0] == n && out.dim[1] == 4 &&
                  out.bytes == 16 * (size_t)n);
            bmc_value own = no_value();
            CHECK(add_run(x, n, &own) == BMC_OK && own.kind == BMC_TENSOR && own.dtype == BMC_F32 &&
                  own.bytes == 16 * (size_t)n);
            CHECK(add_right(own.data, n));
            CHECK(add_run(x, n, &own) == BMC_OK && add_right(own.data, n)); /* passed again as it was filled */
        }
        CHECK((x->rt->spin > 0) == (threads[k] > 1));
        bmc_value out = no_value();
        long before = alloc_calls;
        for (int i = 0; i < 10; i++) CHECK(add_run(x, 100, &out) == BMC_OK);
        CHECK(alloc_calls == before);
        CHECK(rt_reset(x) == BMC_OK);
        CHECK(add_run(x, 100, &out) == BMC_OK);
        rt_destroy(x);
    }
    rt_destroy(NULL);
}

static void test_inputs(void)
{
    bmc_ctx *x;
    bmc_config c = config_of(2);
    CHECK(rt_create(&add_desc, &c, NULL, 0, &x) == BMC_OK);
    add_fill();
    bmc_value ok[2] = {tensor(BMC_F32, buf_x, sizeof buf_x, 2, DIMS(3, 4)),
                       tensor(BMC_F32, buf_y, sizeof buf_y, 2, DIMS(3, 4))},
              in[2], out;
#define BAD(status, change, message)                                                                                   \
    do {                                                                                                               \
        memcpy(in, ok, sizeof in);                                                                                     \
        out = tensor(BMC_F32, buf_z, sizeof buf_z, 2, DIMS(0, 0));                                                     \
        change;                                                                                                        \
        buf_z[0] = -7;                                                                                                 \
        CHECK(rt_run(x, in, &out) == status);                                                                          \
        TEXT(x, message);                                                                                              \
        CHECK(buf_z[0] == -7);                                                                                         \
    } while (0)
    BAD(BMC_E_INPUT, in[0].dim[1] = 5, "input 'x': dim 1 is 5, expected 4 (got [3,5], the model takes [N,4])");
    BAD(BMC_E_INPUT, (in[0].rank = 3, in[0].dim[2] = 1),
        "input 'x': rank is 3, expected 2 (got [3,4,1], the model takes [N,4])");
    BAD(BMC_E_INPUT, in[1].rank = 200, "input 'y': rank is 200, expected 2 (got [], the model takes [N,4])");
    BAD(BMC_E_INPUT, in[1].dtype = BMC_I64, "input 'y': element type is i64, expected f32");
    BAD(BMC_E_INPUT, in[1].kind = BMC_SEQUENCE, "input 'y': kind is sequence, expected tensor");
    BAD(BMC_E_INPUT, in[1].data = NULL,
        "input 'y': data is NULL, expected 48 bytes (got [3,4], the model takes [N,4])");
    BAD(BMC_E_INPUT, in[1].bytes = 47, "input 'y': 47 bytes of data, expected 48 (got [3,4], the model takes [N,4])");
    BAD(BMC_E_INPUT, in[1].dim[0] = -3,
        "input 'y': dim 0 is -3, it must not be negative (got [-3,4], the model takes [N,4])");
    BAD(BMC_E_INPUT, in[1].dim[0] = 2,
        "input 'y': dim 0 (N) is 2, but dim 0 of input 'x' made it 3 (got [2,4], the model takes [N,4])");
    BAD(BMC_E_INPUT, in[0].dim[0] = 0,
        "input 'x': dim 0 (N) is 0, it must be in 1..1000 (got [0,4], the model takes [N,4])");
    BAD(BMC_E_INPUT, (in[0].dim[0] = INT64_MAX, in[0].bytes = 0),
        "input 'x': the tensor is larger than any memory (got [9223372036854775807,4], the model takes [N,4])");
    BAD(BMC_E_INPUT, in[0].data = (char *)buf_x + 2, "input 'x': the address of data is not a multiple of 4");
    BAD(BMC_E_ARG, in[0].size = 8, "input 'x': size is 8, set it to sizeof(bmc_value) = 304");
    BAD(BMC_E_ARG, out.size = 0, "output 'z': size is 0, set it to sizeof(bmc_value) = 304");
    BAD(BMC_E_INPUT, out.dtype = BMC_F64, "output 'z': element type is f64, the model gives f32");
    BAD(BMC_E_INPUT, out.kind = BMC_MAP, "output 'z': kind is map, the model gives tensor");
    BAD(BMC_E_INPUT, out.data = (char *)buf_z + 1, "output 'z': the address of data is not a multiple of 4");
    BAD(BMC_E_INPUT, out.data = buf_x + 1, "output 'z' overlaps input 'x' in memory");
    BAD(BMC_E_INPUT, out.data = buf_y, "output 'z' overlaps input 'y' in memory");
    BAD(BMC_E_SHAPE, in[0].dim[0] = in[1].dim[0] = 13, "N must be a dozen (got 13, want 12)");
    BAD(BMC_E_SHAPE, in[0].dim[0] = in[1].dim[0] = 950, "949 is all, 950 too many");
    BAD(BMC_E_CAPACITY, out.bytes = 40, "output 'z': 40 bytes of memory, needs 48: f32[3,4]");
    CHECK(out.bytes == 48 && out.rank == 2 && out.dim[0] == 3 && out.dim[1] == 4);
    BAD(BMC_E_INPUT, in[0].stride = DIMS(4, 2000),
        "input 'x': 16000 bytes of data, the strides reach 24036 (got [3,4], the model takes [N,4])");
    BAD(BMC_E_INPUT, in[0].stride = DIMS(INT64_MAX, 1), "input 'x': the strides reach beyond any memory");
    CHECK(rt_run(x, NULL, &out) == BMC_E_ARG && rt_run(x, ok, NULL) == BMC_E_ARG &&
          rt_run(NULL, ok, &out) == BMC_E_ARG);
    in[0] = ok[0], in[1] = ok[0]; /* inputs may be the same memory */
    out = tensor(BMC_F32, buf_z, sizeof buf_z, 2, DIMS(0, 0));
    CHECK(rt_run(x, in, &out) == BMC_OK && buf_z[5] == 2 * buf_x[5]);
    out = no_value();
    CHECK(rt_run(x, ok, &out) == BMC_OK);
    in[1] = tensor(BMC_F32, out.data, 48, 2, DIMS(3, 4));
    out = no_value();
    CHECK(rt_run(x, in, &out) == BMC_E_INPUT);
    TEXT(x, "input 'y': data belongs to the context (the result of an earlier run); pass a copy");
    rt_destroy(x);
}

static void test_strides(void)
{
    bmc_ctx *x;
    bmc_config c = config_of(2);
    CHECK(rt_create(&add_desc, &c, NULL, 0, &x) == BMC_OK);
    add_fill();
    static const int64_t strides[][2] = {{1, 100}, {8, 1}, {0, 1}, {0, 0}, {-4, -1}, {7, 3}, {4, 1}};
    for (size_t k = 0; k < sizeof strides / sizeof *strides; k++) {
        float *from = strides[k][0] < 0 ? buf_x + 2000 : buf_x;
        bmc_value in[2] = {tensor(BMC_F32, from, 8000, 2, DIMS(20, 4)),
                           tensor(BMC_F32, buf_y, sizeof buf_y, 2, DIMS(20, 4))};
        bmc_value out = tensor(BMC_F32, buf_z, sizeof buf_z, 2, DIMS(0, 0));
        in[0].stride = strides[k];
        CHECK(rt_run(x, in, &out) == BMC_OK);
        bool same = true;
        for (int i = 0; i < 20; i++)
            for (int j = 0; j < 4; j++)
                same &= buf_z[4 * i + j] == from[i * strides[k][0] + j * strides[k][1]] + buf_y[4 * i + j];
        CHECK(same);
    }
    rt_destroy(x);
    /* all ranks, against a plain computation of the address */
    for (int rank = 0; rank <= 4; rank++) {
        static const int64_t dim[] = {3, 2, 1, 5}, stride[] = {7, -11, 9, 2};
        uint16_t data[200], to[30], n = 0;
        for (int i = 0; i < 200; i++) data[i] = (uint16_t)(i * 7919);
        rt_copy_strided(to, data + 100, 2, rank, dim, stride);
        int64_t count = 1, right = 1;
        for (int i = 0; i < rank; i++) count *= dim[i];
        for (; n < count; n++) {
            int64_t r = n, at = 100;
            for (int i = rank - 1; i >= 0; i--) at += r % dim[i] * stride[i], r /= dim[i];
            right &= to[n] == data[at];
        }
        CHECK(right);
    }
}

/* ================= errors on several threads: the lowest (step, index), whatever the number of threads */
static void test_errors(void)
{
    for (int nt = 1; nt <= 7; nt++) {
        bmc_ctx *x;
        bmc_config c = config_of(nt);
        CHECK(rt_create(&add_desc, &c, NULL, 0, &x) == BMC_OK);
        for (int round = 0; round < 20; round++) {
            bmc_value out = no_value();
            add_fill();
            buf_x[77] = buf_x[301] = buf_x[1234] = 1001; /* step 5 */
            CHECK(add_run(x, 500, &out) == BMC_E_INDEX);
            TEXT(x, "node 5 'h' (Gather): index out of range (at 77)");
            buf_x[1700] = buf_x[1999] = 1002; /* step 3 */
            CHECK(add_run(x, 500, &out) == BMC_E_INDEX);
            TEXT(x, "node 3 'g' (Gather): index out of range (at 1700)");
            add_fill();
            CHECK(add_run(x, 500, &out) == BMC_OK && add_right(out.data, 500));
            TEXT(x, "");
        }
        rt_destroy(x);
    }
}

static void lazy_team(void *pool, void (*fn)(void *, int, int), void *arg, int nt)
{
    (void)pool, (void)fn, (void)arg, (void)nt;
}
static void greedy_team(void *pool, void (*fn)(void *, int, int), void *arg, int nt)
{
    (void)pool;
    fn(arg, 0, nt + 5);
}
static void test_wrong_team(void)
{
    bmc_ctx *x;
    bmc_config c = config_of(3);
    bmc_value out = no_value();
    c.team = lazy_team;
    CHECK(rt_create(&add_desc, &c, NULL, 0, &x) == BMC_OK);
    CHECK(add_run(x, 3, &out) == BMC_E_ARG);
    TEXT(x, "the team ran 0 threads of 3");
    rt_destroy(x);
    c.team = greedy_team;
    CHECK(rt_create(&add_desc, &c, NULL, 0, &x) == BMC_OK);
    CHECK(add_run(x, 3, &out) == BMC_E_ARG);
    rt_destroy(x);
}

/* ================= memory of the caller: nothing is allocated, whatever happens */
static void test_mem(void)
{
    bmc_sizes z;
    CHECK(rt_sizes(&add_desc, DIMS(100), 3, &z) == BMC_OK && z.arena == 1600 && z.scratch_per_thread == 128);
    CHECK(rt_sizes(&add_desc, NULL, 3, &z) == BMC_OK && z.arena == 16000);
    CHECK(rt_sizes(&add_desc, DIMS(1001), 3, &z) == BMC_E_ARG);
    text_at(__LINE__, rt_message(NULL), "symbol 'N' is 1001, allowed are 1..1000");
    CHECK(rt_sizes(&add_desc, DIMS(13), 3, &z) == BMC_E_SHAPE && rt_sizes(&add_desc, NULL, 3, NULL) == BMC_E_ARG);
    CHECK(rt_sizes(&add_desc, DIMS(100), 3, &z) == BMC_OK);
    char *mem = malloc(z.total + 64);
    long before = alloc_calls;
    for (int skew = 0; skew < 64; skew += 21) {
        bmc_ctx *x;
        bmc_config c = config_of(3);
        CHECK(rt_create(&add_desc, &c, mem + skew, z.total, &x) == BMC_OK);
        bmc_value out = no_value();
        add_fill();
        for (int64_t n = 1; n <= 100; n++)
            if (n != 13) CHECK(add_run(x, n, &out) == BMC_OK && add_right(out.data, n));
        CHECK((char *)out.data >= mem && (char *)out.data + out.bytes <= mem + 64 + z.total);
        bmc_status s = add_run(x, 1000, &out);
        CHECK(s == BMC_E_MEMORY);
        TEXT(x, "out of memory: 16384 bytes for the arena (3 threads)");
        rt_destroy(x);
    }
    bmc_ctx *x = NULL;
    CHECK(rt_create(&add_desc, NULL, mem, 100, &x) == BMC_E_MEMORY && !x);
    CHECK(strstr(rt_message(NULL), "mem has 100 bytes, the context alone needs ") == rt_message(NULL));
    CHECK(alloc_calls == before);
    bmc_symbol unbounded = add_info.symbol[0];
    bmc_info info = add_info;
    rt_desc d = add_desc;
    unbounded.hi = INT64_MAX, info.symbol = &unbounded, d.info = &info;
    CHECK(rt_create(&d, NULL, NULL, 0, &x) == BMC_OK); /* nothing is planned, and nothing said about it */
    CHECK(strstr(rt_message(NULL), "mem has 100 bytes, the context alone needs ") == rt_message(NULL));
    rt_destroy(x);
    free(mem);
}

/* ================= model "nonzero": i64 k[K] where x[i] != 0, K bound while running; a box that grows twice */
static const bmc_symbol nz_symbol[] = {{"N", 0, INT64_MAX, 0, 0}};
static const bmc_port nz_in[] = {
    {.name = "x", .kind = BMC_TENSOR, .dtype = BMC_I32, .rank = 1, .dim = {-1}, .sym = {0}, .alias = -1}};
static const bmc_port nz_out[] = {
    {.name = "k", .kind = BMC_TENSOR, .dtype = BMC_I64, .rank = 1, .dim = {-2}, .alias = -1}};
static const bmc_info nz_info = {.name = "nonzero",
                                 .producer = "test",
                                 .input = nz_in,
                                 .output = nz_out,
                                 .symbol = nz_symbol,
                                 .n_input = 1,
                                 .n_output = 1,
                                 .n_symbol = 1};
static void nz_dims(const int64_t *sym, uint32_t o, int64_t *dim)
{
    (void)o;
    dim[0] = sym[2];
}
static uint32_t nz_slot = 2; /* where the result grows; 1: that of the output */
static int32_t nz_body(bmc_ctx *x, int32_t tid, int32_t nt)
{
    const int32_t *a = x->slot[0];
    int64_t n = x->sym[1], k = 0;
    for (int64_t i = 0; i < n; i++) {
        if (!a[i]) continue;
        if (tid == 0 && !rt_box_alloc(x, nz_slot, 8 * (k + 1), 1)) rt_fail(x, 0, RT_NO_STEP, RT_NO_MESSAGE, BMC_E_MEMORY, 0, 0);
        int32_t s = rt_barrier(x, tid, nt);
        if (s) return s;
        ((int64_t *)x->slot[nz_slot])[k++] = i;
    }
    x->sym[2] = k;
    rt_box_move(x, 1, nz_slot);
    return BMC_OK;
}
static const rt_desc nz_desc = {.abi = BMC_ABI,
                                .n_sym = 3,
                                .n_slot = 3,
                                .info = &nz_info,
                                .in_slot = (const uint32_t[]){0},
                                .out_slot = (const uint32_t[]){1},
                                .out_boxed = (const uint8_t[]){1},
                                .sym_of_entry = (const uint32_t[]){1},
                                .plan = no_plan,
                                .out_dims = nz_dims,
                                .body = nz_body,
                                .out_planned = (const uint8_t[]){0}};

/* A box that no step moves lies in the caller's memory as long as it fits in there. */
static void test_in_place(void)
{
    enum { MANY = 5000, ROOM = 40 };
    static int32_t data[MANY];
    rt_desc desc = nz_desc;
    desc.out_boxed = (const uint8_t[]){RT_BOX_STAYS};
    nz_slot = 1;
    bmc_ctx *x;
    CHECK(rt_create(&desc, NULL, NULL, 0, &x) == BMC_OK);
    for (int i = 0; i < MANY; i++) data[i] = i % 3 == 1;
    int64_t room[ROOM];
    bmc_value in = tensor(BMC_I32, data, sizeof data, 1, DIMS(100)), out = tensor(BMC_I64, room, sizeof room, 1, DIMS(0));
    CHECK(rt_run(x, &in, &out) == BMC_OK && out.data == room && out.bytes == 33 * 8 && room[32] == 97 && !out.flags);
    CHECK(x->slot[1] == room);
    out = tensor(BMC_I64, room, 33 * 8, 1, DIMS(0));
    CHECK(rt_run(x, &in, &out) == BMC_OK && x->slot[1] == room);
    out = tensor(BMC_I64, room, 33 * 8 - 1, 1, DIMS(0)); /* grows out of it, and keeps what was in there */
    CHECK(rt_run(x, &in, &out) == BMC_E_CAPACITY && out.bytes == 33 * 8 && x->slot[1] != room);
    CHECK(((int64_t *)x->slot[1])[0] == 1 && ((int64_t *)x->slot[1])[32] == 97);
    in.dim[0] = 0;
    in.data = NULL;
    out = tensor(BMC_I64, room, sizeof room, 1, DIMS(0)); /* no box at all */
    CHECK(rt_run(x, &in, &out) == BMC_OK && out.data == room && out.bytes == 0);
    in = tensor(BMC_I32, data, sizeof data, 1, DIMS(MANY));
    out = no_value();
    CHECK(rt_run(x, &in, &out) == BMC_OK && out.flags == BMC_LENT && out.data == x->slot[1]);
    in = tensor(BMC_I32, room, sizeof room, 1, DIMS(ROOM * 2));
    out = tensor(BMC_I64, room, sizeof room, 1, DIMS(0));
    CHECK(rt_run(x, &in, &out) == BMC_E_INPUT);
    rt_destroy(x);
    nz_slot = 2;
}

/* The same call again is not prepared anew, with boxes neither: the inputs count as they are now, a small box is taken again. */
static void test_boxed_again(void)
{
    enum { MANY = 20000, ROOM = 40 };
    static int32_t data[MANY];
    int64_t room[ROOM];
    for (int stays = 0; stays < 2; stays++) {
        rt_desc desc = nz_desc;
        desc.out_boxed = (const uint8_t[]){stays ? RT_BOX_STAYS : RT_BOX};
        nz_slot = stays ? 1 : 2;
        bmc_ctx *x;
        CHECK(rt_create(&desc, NULL, NULL, 0, &x) == BMC_OK);
        for (int i = 0; i < MANY; i++) data[i] = i % 3 == 1;
        bmc_value in = tensor(BMC_I32, data, sizeof data, 1, DIMS(100)), out = no_value();
        CHECK(rt_run(x, &in, &out) == BMC_OK && out.dim[0] == 33 && out.flags == BMC_LENT);
        int64_t *lent = out.data;
        data[1] = 0;
        CHECK(x->rt->memo && rt_run(x, &in, &out) == BMC_OK && out.dim[0] == 32 && out.bytes == 32 * 8 && out.flags == BMC_LENT);
        CHECK(((int64_t *)out.data)[0] == 4 && ((int64_t *)out.data)[31] == 97 && (!stays || out.data == lent));
        data[1] = 1;
        out = tensor(BMC_I64, room, sizeof room, 1, DIMS(0));
        for (int k = 0; k < 3; k++) { /* prepared; as it came; as it was left */
            memset(room, -1, sizeof room);
            CHECK(rt_run(x, &in, &out) == BMC_OK && x->rt->memo && out.data == room && out.bytes == 33 * 8 && room[32] == 97 && room[33] == -1);
            CHECK(!stays || x->slot[1] == room);
            if (!k) out = tensor(BMC_I64, room, sizeof room, 1, DIMS(0));
        }
        data[0] = 1;
        CHECK(rt_run(x, &in, &out) == BMC_E_CAPACITY && out.bytes == 34 * 8 && !x->rt->memo);
        out = tensor(BMC_I64, room, sizeof room, 1, DIMS(0));
        CHECK(rt_run(x, &in, &out) == BMC_OK && room[0] == 0 && room[33] == 97);
        for (int i = 0; i < MANY; i++) data[i] = 1;
        in = tensor(BMC_I32, data, sizeof data, 1, DIMS(MANY)), out = no_value();
        for (int k = 0; k < 3; k++) {
            CHECK(rt_run(x, &in, &out) == BMC_OK && out.dim[0] == MANY && ((int64_t *)out.data)[MANY - 1] == MANY - 1);
            CHECK(x->rt->memo && x->rt->tag[1] == SLOT_BOX);
            rt_slots_rewind(x);
            CHECK(x->rt->tag[1] == SLOT_EMPTY); /* too large to keep */
        }
        rt_destroy(x);
    }
    nz_slot = 2;
}

static void test_boxed(void)
{
    enum { MANY = 5000 };
    static int32_t data[MANY];
    bmc_ctx *x;
    bmc_sizes z;
    CHECK(rt_sizes(&nz_desc, NULL, 0, &z) == BMC_E_ARG);
    text_at(__LINE__, rt_message(NULL), "symbol 'N' has no upper bound");
    CHECK(rt_create(&nz_desc, NULL, NULL, 0, &x) == BMC_OK);
    for (int i = 0; i < MANY; i++) data[i] = i % 3 == 1;
    bmc_value in = tensor(BMC_I32, data, sizeof data, 1, DIMS(MANY)), out = no_value();
    CHECK(rt_run(x, &in, &out) == BMC_OK && out.rank == 1 && out.dtype == BMC_I64 && out.dim[0] == MANY / 3 + 1 &&
          out.bytes == 8 * (MANY / 3 + 1));
    CHECK(((int64_t *)out.data)[100] == 301);
    int64_t room[10];
    out = tensor(BMC_I64, room, sizeof room, 1, DIMS(0));
    CHECK(rt_run(x, &in, &out) == BMC_E_CAPACITY && out.dim[0] == MANY / 3 + 1 && out.bytes == 8 * (MANY / 3 + 1));
    TEXT(x, "output 'k': 80 bytes of memory, needs 13336: i64[1667]");
    in.dim[0] = 30;
    out = tensor(BMC_I64, room, sizeof room, 1, DIMS(0));
    CHECK(rt_run(x, &in, &out) == BMC_OK && out.data == room && out.bytes == 80 && room[9] == 28);
    in.dim[0] = 0;
    in.data = NULL;
    out = no_value();
    CHECK(rt_run(x, &in, &out) == BMC_OK && out.dim[0] == 0 && out.bytes == 0 && out.data);
    /* each allocation fails in turn: an error, and the context still works */
    in = tensor(BMC_I32, data, sizeof data, 1, DIMS(MANY));
    CHECK(rt_reset(x) == BMC_OK);
    alloc_fail_at = alloc_calls + 1;
    CHECK(rt_run(x, &in, &out) == BMC_E_MEMORY || rt_run(x, &in, &out) == BMC_OK);
    alloc_fail_at = 0;
    out = no_value();
    CHECK(rt_run(x, &in, &out) == BMC_OK && out.dim[0] == MANY / 3 + 1);
    rt_destroy(x);
    for (int n = 1; n < 4; n++) {
        alloc_fail_at = alloc_calls + n;
        bmc_status s = rt_create(&nz_desc, NULL, NULL, 0, &x);
        CHECK(s == (n == 1 ? BMC_E_MEMORY : BMC_OK));
        out = no_value();
        if (!s) {
            s = rt_run(x, &in, &out);
            CHECK(s == BMC_E_MEMORY || s == BMC_OK);
            alloc_fail_at = 0;
            out = no_value();
            CHECK(rt_run(x, &in, &out) == BMC_OK && out.dim[0] == MANY / 3 + 1);
            rt_destroy(x);
        }
        alloc_fail_at = 0;
    }
    /* in memory of the caller */
    static _Alignas(64) char mem[60000];
    long before = alloc_calls;
    CHECK(rt_create(&nz_desc, NULL, mem, sizeof mem, &x) == BMC_OK);
    for (int k = 0; k < 20; k++) {
        out = no_value();
        CHECK(rt_run(x, &in, &out) == BMC_OK && out.dim[0] == MANY / 3 + 1);
    }
    rt_destroy(x);
    CHECK(rt_create(&nz_desc, NULL, mem, 10000, &x) == BMC_OK);
    CHECK(rt_run(x, &in, &out) == BMC_E_MEMORY);
    CHECK(strstr(rt_message(x), "out of memory: ") && strstr(rt_message(x), " bytes for a tensor"));
    rt_destroy(x);
    CHECK(alloc_calls == before);
}

/* ================= model "count": state h[2] += x, aliased with the output */
static const bmc_symbol st_symbol[] = {{"M", 0, 9, 0, 0}};
static bmc_port st_in[] = {
    {.name = "h", .kind = BMC_TENSOR, .dtype = BMC_F64, .rank = 1, .dim = {-1}, .sym = {0}, .alias = 0},
    {.name = "x", .kind = BMC_TENSOR, .dtype = BMC_F64, .rank = 0, .alias = -1}};
static const bmc_port st_out[] = {
    {.name = "h2", .kind = BMC_TENSOR, .dtype = BMC_F64, .rank = 1, .dim = {-1}, .sym = {0}, .alias = 0}};
static const bmc_info st_info = {.name = "count",
                                 .producer = "test",
                                 .input = st_in,
                                 .output = st_out,
                                 .symbol = st_symbol,
                                 .n_input = 2,
                                 .n_output = 1,
                                 .n_symbol = 1};
static void st_dims(const int64_t *sym, uint32_t o, int64_t *dim)
{
    (void)o;
    dim[0] = sym[1];
}
static int32_t st_body(bmc_ctx *x, int32_t tid, int32_t nt)
{
    (void)nt;
    double *h = x->slot[0], *h2 = x->slot[2];
    if (h != h2) rt_fail(x, tid, 0, 0, BMC_E_FAIL, 0, 0);
    for (int64_t i = 0; i < x->sym[1]; i++) h2[i] = h[i] + *(double *)x->slot[1];
    return BMC_OK;
}
static const rt_desc st_desc = {.abi = BMC_ABI,
                                .n_sym = 2,
                                .n_slot = 3,
                                .info = &st_info,
                                .in_slot = (const uint32_t[]){0, 1},
                                .out_slot = (const uint32_t[]){2},
                                .out_boxed = (const uint8_t[]){0},
                                .sym_of_entry = (const uint32_t[]){1},
                                .plan = no_plan,
                                .out_dims = st_dims,
                                .body = st_body,
                                .out_planned = (const uint8_t[]){1}};
static void test_state(void)
{
    bmc_ctx *x;
    double step = 1.5, mine[2] = {10, 20}, other[3] = {0, 0, 0};
    CHECK(rt_create(&st_desc, NULL, NULL, 0, &x) == BMC_OK);
    bmc_value in[2] = {tensor(BMC_F64, NULL, 0, 1, DIMS(2)), tensor(BMC_F64, &step, 8, 0, DIMS(0))}, out = no_value();
    for (int k = 1; k <= 3; k++) { /* the context's */
        CHECK(rt_run(x, in, &out) == BMC_OK && out.bytes == 16 && ((double *)out.data)[1] == 1.5 * k);
        if (k == 2) out = no_value();
    }
    in[0].data = out.data; /* handed back: still the context's */
    CHECK(rt_run(x, in, &out) == BMC_OK && ((double *)out.data)[0] == 6);
    in[0].data = NULL;
    in[0].dim[0] = 3;
    CHECK(rt_run(x, in, &out) == BMC_E_INPUT);
    TEXT(x, "input 'h': the shape of the kept state cannot change before reset");
    in[0].dim[0] = 2;
    CHECK(rt_run(x, in, &out) == BMC_OK && ((double *)out.data)[0] == 7.5);
    in[0].data = mine; /* the caller's, in place; the context's is not touched */
    out = no_value();
    CHECK(rt_run(x, in, &out) == BMC_OK && out.data == mine && mine[0] == 11.5 && mine[1] == 21.5);
    in[0].bytes = 16;
    CHECK(rt_run(x, in, &out) == BMC_OK && out.data == mine && mine[0] == 13);
    out = tensor(BMC_F64, other, sizeof other, 1, DIMS(0)); /* two buffers: the input stays */
    CHECK(rt_run(x, in, &out) == BMC_OK && out.data == other && other[0] == 14.5 && mine[0] == 13 && other[2] == 0);
    out = tensor(BMC_F64, other, 8, 1, DIMS(0));
    CHECK(rt_run(x, in, &out) == BMC_E_CAPACITY && out.bytes == 16);
    out = tensor(BMC_F64, mine + 1, 16, 1, DIMS(0));
    CHECK(rt_run(x, in, &out) == BMC_E_INPUT);
    TEXT(x, "output 'h2' overlaps input 'h' in memory");
    in[0].data = NULL;
    out = tensor(BMC_F64, other, sizeof other, 1, DIMS(0));
    CHECK(rt_run(x, in, &out) == BMC_E_INPUT);
    TEXT(x, "input 'h': data is NULL, expected 16 bytes (got [2], the model takes [M])");
    out = no_value();
    CHECK(rt_run(x, in, &out) == BMC_OK && ((double *)out.data)[0] == 9);
    CHECK(rt_reset(x) == BMC_OK);
    in[0].dim[0] = 3;
    out = no_value();
    CHECK(rt_run(x, in, &out) == BMC_OK && ((double *)out.data)[2] == 1.5);
    in[0].data = other;
    in[0].bytes = 0;
    in[0].stride = DIMS(0);
    out = no_value();
    CHECK(rt_run(x, in, &out) == BMC_E_INPUT);
    TEXT(x, "input 'h': it is updated in place, so it must be dense");
    st_in[0].flags = BMC_PORT_STATE;
    in[0].stride = NULL;
    CHECK(rt_run(x, in, &out) == BMC_E_INPUT);
    TEXT(x, "input 'h': the context keeps this state, data must be NULL here and in output 'h2'");
    st_in[0].flags = 0;
    rt_destroy(x);
}

static void *context_main(void *arg)
{
    long *wrong = arg;
    bmc_ctx *x;
    bmc_config c = config_of(2);
    if (rt_create(&add_desc, &c, NULL, 0, &x)) return NULL;
    float *z = malloc(sizeof buf_z);
    for (int k = 0; k < 200; k++) {
        bmc_value out = tensor(BMC_F32, z, sizeof buf_z, 2, DIMS(0, 0));
        int64_t n = 1 + k * 37 % 900;
        if (n == 13) continue;
        if (add_run(x, n, &out) || !add_right(z, n)) ++*wrong;
    }
    *wrong -= 1000; /* it came to its end */
    rt_destroy(x);
    free(z);
    return NULL;
}
static void test_concurrent(void)
{
    pthread_t thread[3];
    long wrong[3] = {1000, 1000, 1000};
    add_fill();
    for (int t = 0; t < 3; t++) pthread_create(&thread[t], NULL, context_main, &wrong[t]);
    for (int t = 0; t < 3; t++) {
        pthread_join(thread[t], NULL);
        CHECK(wrong[t] == 0);
    }
}

/* ================= one context serves one caller at a time */
static bmc_status second_caller;
static int32_t again_body(bmc_ctx *x, int32_t tid, int32_t nt)
{
    (void)tid, (void)nt;
    second_caller = rt_run(x, NULL, NULL);
    return rt_reset(x) == BMC_E_ARG ? BMC_OK : BMC_E_FAIL;
}
static const bmc_info again_info = {.name = "again", .producer = "test"};
static const rt_desc again_desc = {.abi = BMC_ABI, .info = &again_info, .plan = no_plan, .body = again_body};
static void test_busy(void)
{
    bmc_ctx *x;
    CHECK(rt_create(&again_desc, NULL, NULL, 0, &x) == BMC_OK);
    CHECK(rt_run(x, NULL, NULL) == BMC_OK && second_caller == BMC_E_ARG);
    CHECK(rt_run(x, NULL, NULL) == BMC_OK);
    rt_destroy(x);
}

/* ================= the same call again: prepared once, but checked whenever anything is different */
static int plans;
static void counting_plan(int64_t *sym, rt_need *need)
{
    plans++;
    add_plan(sym, need);
}

static void test_same_call(void)
{
    rt_desc d = add_desc;
    d.plan = counting_plan;
    for (int nt = 1; nt <= 2; nt++) {
        bmc_config c = config_of(nt);
        bmc_ctx *x;
        CHECK(rt_create(&d, &c, NULL, 0, &x) == BMC_OK);
        bmc_value in[2] = {tensor(BMC_F32, buf_x, sizeof buf_x, 2, DIMS(5, 4)),
                           tensor(BMC_F32, buf_y, sizeof buf_y, 2, DIMS(5, 4))};
        const bmc_value mine = tensor(BMC_F32, buf_z, sizeof buf_z, 2, DIMS(0, 0));
        bmc_value out = mine;
        add_fill();
        plans = 0;
        CHECK(rt_run(x, in, &out) == BMC_OK && plans == 1 && add_right(buf_z, 5));
        bmc_value first = out;
        for (int i = 0; i < 20; i++) buf_x[i] += 1; /* same memory, other values */
        CHECK(rt_run(x, in, &out) == BMC_OK && plans == 1 && add_right(buf_z, 5)); /* as the run left it */
        out = mine;
        CHECK(rt_run(x, in, &out) == BMC_OK && plans == 1 && !memcmp(&out, &first, sizeof out)); /* as it was given */
        buf_x[6] = 1001;
        CHECK(rt_run(x, in, &out) == BMC_E_INDEX && plans == 1);
        TEXT(x, "node 5 'h' (Gather): index out of range (at 6)");
        add_fill();
        CHECK(rt_run(x, in, &out) == BMC_OK && plans == 1 && add_right(buf_z, 5));
        TEXT(x, "");
        in[0].dim[0] = in[1].dim[0] = 6; /* another size */
        CHECK(rt_run(x, in, &out) == BMC_E_CAPACITY); /* bytes are those of five rows */
        out = mine;
        plans = 0;
        CHECK(rt_run(x, in, &out) == BMC_OK && plans == 1 && out.dim[0] == 6 && add_right(buf_z, 6));
        in[1].dim[0] = 5;
        CHECK(rt_run(x, in, &out) == BMC_E_INPUT);
        in[1].dim[0] = 6;
        CHECK(rt_run(x, in, &out) == BMC_OK && plans == 2);
        in[0].dtype = BMC_F64;
        CHECK(rt_run(x, in, &out) == BMC_E_INPUT);
        in[0].dtype = BMC_F32;
        out.data = buf_x + 4; /* overlaps */
        CHECK(rt_run(x, in, &out) == BMC_E_INPUT);
        out = mine;
        CHECK(rt_run(x, in, NULL) == BMC_E_ARG && rt_run(x, NULL, &out) == BMC_E_ARG);
        in[0].data = buf_x + 4; /* other memory */
        CHECK(rt_run(x, in, &out) == BMC_OK && buf_z[0] == buf_x[4] + buf_y[0]);
        in[0].data = buf_x;
        const int64_t rows_apart[2] = {8, 1};
        in[0].stride = rows_apart; /* copied by each run */
        out = mine;
        for (int i = 0; i < 2; i++) {
            buf_x[8] = (float)i;
            CHECK(rt_run(x, in, &out) == BMC_OK && buf_z[4] == (float)i + buf_y[4]);
        }
        in[0].stride = NULL;
        bmc_value lent = {.size = sizeof lent};
        CHECK(rt_run(x, in, &lent) == BMC_OK && lent.flags == BMC_LENT);
        void *where = lent.data;
        plans = 0;
        buf_x[0] = 77;
        CHECK(rt_run(x, in, &lent) == BMC_OK && plans == 0 && lent.data == where && *(float *)where == 77 + buf_y[0]);
        in[0].data = where; /* what the context lent */
        CHECK(rt_run(x, in, &out) == BMC_E_INPUT);
        in[0].data = buf_x;
        lent = (bmc_value){.size = sizeof lent};
        CHECK(rt_run(x, in, &lent) == BMC_OK && rt_reset(x) == BMC_OK);
        plans = 0;
        lent = (bmc_value){.size = sizeof lent};
        CHECK(rt_run(x, in, &lent) == BMC_OK && plans == 1 && *(float *)lent.data == 77 + buf_y[0]);
        rt_destroy(x);
    }
}

/* The same call with inputs that lie elsewhere: their places are checked, nothing is planned. */
static void test_moved(void)
{
    rt_desc d = add_desc;
    d.plan = counting_plan;
    bmc_config c = config_of(1);
    bmc_ctx *x;
    CHECK(rt_create(&d, &c, NULL, 0, &x) == BMC_OK);
    bmc_value in[2] = {tensor(BMC_F32, buf_x, 80, 2, DIMS(5, 4)), tensor(BMC_F32, buf_y, 80, 2, DIMS(5, 4))};
    bmc_value out = tensor(BMC_F32, buf_z, sizeof buf_z, 2, DIMS(0, 0));
    add_fill();
    plans = 0;
    CHECK(rt_run(x, in, &out) == BMC_OK && plans == 1 && add_right(buf_z, 5));
    in[0].data = buf_x + 4;
    CHECK(rt_run(x, in, &out) == BMC_OK && plans == 1 && buf_z[0] == buf_x[4] + buf_y[0]);
    in[0].data = buf_y, in[1].data = buf_x;
    CHECK(rt_run(x, in, &out) == BMC_OK && plans == 1 && add_right(buf_z, 5));
    in[0].data = in[1].data; /* inputs may be the same memory */
    CHECK(rt_run(x, in, &out) == BMC_OK && plans == 1 && buf_z[3] == 2 * buf_x[3]);
    in[1].data = buf_z + 19;
    CHECK(rt_run(x, in, &out) == BMC_E_INPUT && buf_z[3] == 2 * buf_x[3]);
    TEXT(x, "output 'z' overlaps input 'y' in memory");
    in[1].data = buf_z + 20;
    CHECK(rt_run(x, in, &out) == BMC_OK);
    in[1].data = buf_z + 16;
    CHECK(rt_run(x, in, &out) == BMC_E_INPUT);
    in[0].data = buf_y, in[1].data = buf_x;
    plans = 0;
    CHECK(rt_run(x, in, &out) == BMC_OK && plans == 1 && add_right(buf_z, 5));
    in[1].data = (char *)buf_x + 2;
    CHECK(rt_run(x, in, &out) == BMC_E_INPUT);
    TEXT(x, "input 'y': the address of data is not a multiple of 4");
    in[1].data = buf_x;
    CHECK(rt_run(x, in, &out) == BMC_OK);
    in[1].data = NULL;
    CHECK(rt_run(x, in, &out) == BMC_E_INPUT);
    in[1].data = buf_x + 4;
    CHECK(rt_run(x, in, &out) == BMC_OK);
    plans = 0;
    in[1].data = buf_x, in[1].bytes = 76; /* moved, and too short */
    CHECK(rt_run(x, in, &out) == BMC_E_INPUT);
    in[1].bytes = 80;
    CHECK(rt_run(x, in, &out) == BMC_OK && plans == 1 && add_right(buf_z, 5));
    rt_destroy(x);
}

int main(void)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    test_run();
    test_inputs();
    test_strides();
    test_errors();
    test_wrong_team();
    test_mem();
    test_boxed();
    test_boxed_again();
    test_in_place();
    test_state();
    test_concurrent();
    test_busy();
    test_same_call();
    test_moved();
    return check_summary();
}
