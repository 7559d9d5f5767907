/* rt_parts_test: the parts of the runtime that generated code calls, and what create looks at: heap, barrier, boxes,
 * sequences, strings, weights, CPU features, floating-point environment.
 *
 *   rt_parts_test [--stress N]     N: rounds of the barrier test (default 100000, 20000 under ThreadSanitizer) */
#include "tests/unit/rt_check.h"
#include <malloc.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <xxhash.h>

#if defined(__SANITIZE_THREAD__)
enum { STRESS = 20000 };
#else
enum { STRESS = 100000 };
#endif

static const bmc_info none_info = {.name = "none", .producer = "test"};

/* ================= the heap: random use against a list of what is alive */
static void heap_drive(rt_heap *h, unsigned seed, int rounds, size_t largest)
{
    enum { LIVE = 200 };
    struct {
        unsigned char *p;
        size_t n;
        unsigned char fill;
    } live[LIVE] = {0};
    bool right = true;
    for (int r = 0; r < rounds; r++) {
        seed = seed * 1664525u + 1013904223u;
        int i = (int)(seed >> 8) % LIVE;
        if (live[i].p) {
            for (size_t k = 0; k < live[i].n; k++) right &= live[i].p[k] == live[i].fill;
            rt_heap_free(h, live[i].p);
            live[i].p = NULL;
        }
        size_t n = (size_t)(seed >> 4) % largest >> (seed >> 28), cap = 0;
        live[i].p = rt_heap_alloc(h, n, &cap);
        if (!live[i].p) {
            right &= h->fixed;
            continue;
        }
        right &= cap >= n && (uintptr_t)live[i].p % 64 == 0 && rt_heap_owns(h, live[i].p);
        live[i].n = n, live[i].fill = (unsigned char)seed;
        memset(live[i].p, live[i].fill, n);
    }
    for (int i = 0; i < LIVE; i++) rt_heap_free(h, live[i].p);
    CHECK(right && h->live == 0);
}
static void test_heap(void)
{
    rt_heap h;
    rt_heap_init(&h);
    heap_drive(&h, 1, 20000, 5000);
    heap_drive(&h, 2, 2000, 300000);
    CHECK(rt_heap_alloc(&h, SIZE_MAX, NULL) == NULL && rt_heap_alloc(&h, (size_t)PTRDIFF_MAX, NULL) == NULL);
    rt_heap_trim(&h);
    CHECK(h.held == 0 && !h.chunk);
    rt_heap_destroy(&h);
    static char mem[1 << 20];
    long before = alloc_calls;
    rt_heap_init_fixed(&h, mem + 1, sizeof mem - 1);
    heap_drive(&h, 3, 20000, 50000);
    void *all =
        rt_heap_alloc(&h, sizeof mem - 1 - 64 - rt_heap_fixed_cost() - 64, NULL); /* everything has merged again */
    CHECK(all && alloc_calls == before);
    for (size_t n = 0; n < 300; n++) {
        rt_heap_init_fixed(&h, mem, n); /* too little for anything: empty, not broken */
        void *p = rt_heap_alloc(&h, 1, NULL);
        CHECK(!p || n >= 256);
    }
    /* a tensor that grows in a loop: what is held stays within a small multiple of what is needed */
    rt_heap_init(&h);
    void *last = NULL;
    for (size_t n = 1000; n < 3000000; n += n / 10) {
        void *next = rt_heap_alloc(&h, n, NULL);
        rt_heap_free(&h, last);
        last = next;
    }
    CHECK(h.held < 6 * 3000000 + (8 << 20));
    rt_heap_destroy(&h);
}

/* ================= pages: as many as are asked for are there, and no more */
#if defined(__linux__)
static size_t pages_there(const void *from, size_t bytes)
{
    static unsigned char there[1 << 14];
    size_t page = (size_t)sysconf(_SC_PAGESIZE), n = 0;
    uintptr_t first = ((uintptr_t)from + page - 1) & ~(page - 1), end = ((uintptr_t)from + bytes) & ~(page - 1);
    if (mincore((void *)first, end - first, there)) return 0;
    for (size_t i = 0; i < (end - first) / page; i++) n += there[i] & 1;
    return n;
}

static void test_present(void)
{
    enum { POPULATE_WRITE = 23 };
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    void *probe = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bool able = !madvise(probe, page, POPULATE_WRITE); /* from Linux 5.14 on; before, nothing happens */
    munmap(probe, page);
    for (size_t bytes = (size_t)512 << 10; bytes <= (size_t)33 << 20; bytes += (size_t)65 << 18) {
        rt_heap h;
        rt_mem m = {0};
        rt_heap_init(&h);
        CHECK(rt_mem_ensure(&h, &m, bytes) && m.present == 0);
        size_t before = pages_there(m.data, bytes); /* more than 1: a system that gives huge pages unasked */
        rt_mem_present(&h, &m, 100); /* few: left to faults */
        CHECK(pages_there(m.data, bytes) == before);
        for (int part = 1; part <= 2; part++) {
            rt_mem_present(&h, &m, bytes / 2 * (size_t)part);
            size_t there = pages_there(m.data, bytes), all = bytes / 2 * (size_t)part / page;
            CHECK(!able || (there + 1 >= all && (before > 1 || there <= all + 1)));
        }
        memset(m.data, 1, bytes);
        rt_mem_free(&h, &m);
        CHECK(m.present == 0 && !m.data);
        rt_heap_destroy(&h);
    }
}
#endif

/* ================= an arena: where huge pages can be, and what is to lie beside it */
#if defined(__linux__)
static long minor_faults(void)
{
    struct rusage u;
    return getrusage(RUSAGE_SELF, &u) ? 0 : u.ru_minflt;
}
#endif

/* Huge pages come behind runs, after some of them, one at a time, and not before the pause after the last one is over. */
static void test_settle(void)
{
    const ptrdiff_t huge = (ptrdiff_t)2 << 20;
    rt_heap h;
    rt_mem m = {0};
    rt_heap_init(&h);
    CHECK(rt_arena_ensure(&h, &m, 8 * (size_t)huge, 0));
    memset(m.data, 1, m.bytes);
    char *at = h.settle;
    for (int i = 0; i < 3; i++) rt_heap_settle(&h);
    CHECK(h.settle == at);
    rt_heap_settle(&h);
    if (h.settle != h.settle_end) { /* else the system collapses nothing, or there is no such system */
        CHECK(h.settle == at + huge && h.settle_from > 0);
        h.settle_from = UINT64_MAX;
        rt_heap_settle(&h);
        CHECK(h.settle == at + huge);
        h.settle_from = 0;
        rt_heap_settle(&h);
        CHECK(h.settle == at + 2 * huge || h.settle == h.settle_end);
    }
    rt_heap_destroy(&h);
}

static void test_arena(void)
{
    const size_t huge = (size_t)2 << 20, beside = 5000;
#if defined(__GLIBC__)
    mallopt(M_MMAP_THRESHOLD, 128 << 10); /* what is given back leaves the process: the next round's memory is fresh */
#endif
    const size_t asked[] = {1000, huge / 2 - 64, huge / 2, huge + 4096, 2 * huge - 4096, 5 * huge + huge / 2 + 64};
    for (size_t i = 0; i < sizeof asked / sizeof *asked; i++) {
        rt_heap h;
        rt_mem m = {0};
        size_t end = asked[i] % huge, whole = end < huge / 2 ? asked[i] : asked[i] - end + huge;
        rt_heap_init(&h);
        CHECK(rt_arena_ensure(&h, &m, asked[i], rt_heap_cost(beside)) && m.bytes >= whole && m.present == 0);
        long before = alloc_calls;
        char *next = rt_heap_alloc(&h, beside, NULL), *arena = m.data;
        CHECK(next && alloc_calls == before);
        if (asked[i] >= huge / 2) { /* headers, in front of what they belong to, are in none of its huge pages */
            CHECK((uintptr_t)arena % huge == 0 && next - arena >= (ptrdiff_t)whole);
            memset(arena, 1, m.bytes);
        }
        rt_mem_present(&h, &m, asked[i]);
#if defined(__linux__)
        rt_heap_destroy(&h); /* and nothing written, where few faults tell huge pages: what is one is not collapsed */
        rt_heap_init(&h);
        m = (rt_mem){0};
        CHECK(rt_arena_ensure(&h, &m, asked[i], rt_heap_cost(beside)));
        bool fresh = pages_there(m.data, asked[i]) == 0; /* not what the last round has given back */
        long faults = minor_faults();
        rt_mem_present(&h, &m, asked[i]);
        bool all_huge = minor_faults() - faults < 100;
        if (fresh && asked[i] >= huge + huge / 2) CHECK(all_huge == (h.settle == h.settle_end));
        arena = m.data;
#endif
        CHECK(rt_arena_ensure(&h, &m, asked[i], 0) && m.data == arena && m.present == asked[i]); /* stays where it is */
        CHECK(rt_arena_ensure(&h, &m, 2 * asked[i] + huge, 0) && m.present == 0 && rt_heap_owns(&h, m.data));
        rt_heap_destroy(&h);
    }
    static char mem[3 << 20];
    rt_heap h;
    rt_mem m = {0};
    rt_heap_init_fixed(&h, mem, sizeof mem); /* the caller's: nothing is rounded up there */
    size_t most = sizeof mem - rt_heap_fixed_cost() - 64;
    CHECK(rt_arena_ensure(&h, &m, most - 64, (size_t)-1) && m.bytes < most + 64);
    alloc_fail_at = alloc_calls + 1;
    rt_heap_init(&h);
    m = (rt_mem){0};
    CHECK(!rt_arena_ensure(&h, &m, 3 * huge, 0) && !m.data && !h.chunk);
    alloc_fail_at = 0;
    rt_heap_destroy(&h);
}

/* ================= the barrier alone */
static long stress_rounds = STRESS;
static long cell[64][8];
static int32_t stress_body(bmc_ctx *x, int32_t tid, int32_t nt)
{
    for (long r = 0; r < stress_rounds; r++) {
        cell[tid][0] = r; /* plain memory: the barrier alone orders it */
        int32_t s = rt_barrier(x, tid, nt);
        if (s) return s;
        for (int t = 0; t < nt; t++)
            if (cell[t][0] != r) rt_fail(x, tid, 1, 0, BMC_E_FAIL, r, t);
        if ((s = rt_barrier(x, tid, nt))) return s;
        if (r == stress_rounds - 5 && tid == nt - 1 && x->seed)
            rt_record(x, tid, 2, 1, 42, 9); /* all leave at the same one */
    }
    return BMC_OK;
}
static const char *const stress_message[] = {"", "index out of range"};
static const rt_desc stress_desc = {.abi = BMC_ABI,
                                    .n_message = 2,
                                    .message = stress_message,
                                    .info = &none_info,
                                    .flags = RT_THREADED,
                                    .plan = no_plan,
                                    .body = stress_body};
static void test_barrier(void)
{
    static const int threads[] = {1, 2, 3, 7};
    for (int k = 0; k < 4; k++)
        for (int bad = 0; bad < 2; bad++) {
            bmc_ctx *x;
            bmc_config c = config_of(threads[k]);
            int most = 64;
            c.pool = &most;
            c.seed = (uint64_t)bad;
            CHECK(rt_create(&stress_desc, &c, NULL, 0, &x) == BMC_OK);
            long all = stress_rounds;
            stress_rounds = bad              ? 100
                            : threads[k] > 3 ? all / 6
                                             : all / 2; /* many threads on few CPUs: every barrier is a switch */
            CHECK(rt_run(x, NULL, NULL) == (bad ? BMC_E_INDEX : BMC_OK));
            TEXT(x, bad ? "index out of range (at 42)" : "");
            x->seed = 0;
            stress_rounds = 50; /* teams of changing size, across the place where generations begin anew */
            x->rt->gen = (1u << 30) - 500;
            for (int run = 0; run < 30; run++) {
                most = 1 + run * 5 % threads[k];
                CHECK(rt_run(x, NULL, NULL) == BMC_OK);
            }
            CHECK(x->rt->gen < 1u << 30 || threads[k] == 1);
            stress_rounds = all;
            rt_destroy(x);
        }
}

/* ================= rt_part: every index of a launch is given out once, whoever is late */
enum { SHARE_LAUNCHES = 300, SHARE_MOST = 211 };
static _Atomic uint8_t share_seen[SHARE_LAUNCHES][SHARE_MOST];
static _Atomic int64_t share_done[SHARE_LAUNCHES];
static int64_t share_total(int launch) { return launch % 7 ? launch * 37 % SHARE_MOST : launch % 3; }

static int32_t share_body(bmc_ctx *x, int32_t tid, int32_t nt)
{
    for (int launch = 0; launch < SHARE_LAUNCHES; launch++) {
        int64_t total = share_total(launch);
        for (uint64_t part; (part = rt_part(x, tid, nt, total));) {
            int64_t from = (int64_t)(part >> 32), to = (int64_t)(part & UINT32_MAX);
            if (from < 0 || from >= to || to > total) rt_fail(x, tid, 1, 0, BMC_E_FAIL, from, to);
            /* one thread stays in its piece until the others have done all the rest */
            if (launch % nt == tid)
                while (atomic_load(&share_done[launch]) < total - (to - from)) usleep(10);
            for (int64_t i = from; i < to; i++) atomic_fetch_add(&share_seen[launch][i], 1);
            atomic_fetch_add(&share_done[launch], to - from);
        }
        if (launch % 4 == 3) { /* launches follow each other with and without a barrier */
            int32_t s = rt_barrier(x, tid, nt);
            if (s) return s;
        }
    }
    return rt_barrier(x, tid, nt);
}

static void test_share(void)
{
    rt_desc desc = stress_desc;
    desc.body = share_body;
    for (int nt = 2; nt <= 5; nt++) {
        bmc_ctx *x;
        bmc_config c = config_of(nt);
        int most = nt;
        c.pool = &most;
        CHECK(rt_create(&desc, &c, NULL, 0, &x) == BMC_OK);
        for (int run = 0; run < 2; run++) {
            memset((void *)share_seen, 0, sizeof share_seen);
            memset((void *)share_done, 0, sizeof share_done);
            CHECK(rt_run(x, NULL, NULL) == BMC_OK);
            long wrong = 0;
            for (int launch = 0; launch < SHARE_LAUNCHES; launch++)
                for (int64_t i = 0; i < SHARE_MOST; i++)
                    wrong += share_seen[launch][i] != (i < share_total(launch));
            CHECK(wrong == 0);
        }
        rt_destroy(x);
    }
}

/* ================= model "seq": s = [a, b, a] + sequence given; strings */
static const bmc_port sq_in[] = {
    {.name = "given", .kind = BMC_SEQUENCE, .dtype = BMC_F32, .rank = 1, .dim = {-2}, .alias = -1},
    {.name = "t", .kind = BMC_TENSOR, .dtype = BMC_STRING, .rank = 1, .dim = {2}, .alias = -1}};
static const bmc_port sq_out[] = {
    {.name = "s", .kind = BMC_SEQUENCE, .dtype = BMC_F32, .rank = 1, .dim = {-2}, .alias = -1},
    {.name = "u", .kind = BMC_TENSOR, .dtype = BMC_STRING, .rank = 2, .dim = {2, 2}, .alias = -1}};
static const bmc_info sq_info = {
    .name = "seq", .producer = "test", .input = sq_in, .output = sq_out, .n_input = 2, .n_output = 2};
static void sq_dims(const int64_t *sym, uint32_t o, int64_t *dim)
{
    (void)sym;
    if (o == 1) dim[0] = dim[1] = 2;
}
static rt_arg seq_arg(int64_t slot) { return (rt_arg){.kind = RT_SEQ, .value = slot}; }
static rt_arg dim_arg(int64_t v) { return (rt_arg){.kind = RT_DIM, .value = v}; }
static rt_arg sym_arg(int64_t *s) { return (rt_arg){.kind = RT_SYM, .sym = s}; }
static rt_arg buf_arg(int dtype, void *data, int rank, int64_t d0, int64_t d1)
{
    return (rt_arg){
        .kind = RT_BUF, .dtype = (uint8_t)dtype, .rank = (uint8_t)rank, .data = data, .value = -1, .dim = {d0, d1}};
}
static int64_t sq_pos; /* where the last element goes: set by the test */
static int32_t sq_body(bmc_ctx *x, int32_t tid, int32_t nt)
{
    float a[] = {1, 2, 3}, b[] = {4}, back[3];
    int32_t s = 0;
    rt_arg copy[] = {seq_arg(0), seq_arg(2)};
    s |= rt_seq_copy(x, copy, 2, tid, nt);
    rt_arg ins[] = {seq_arg(2), buf_arg(BMC_F32, a, 1, 3, 0), dim_arg(0)};
    s |= rt_seq_insert(x, ins, 3, tid, nt);
    rt_arg ins2[] = {seq_arg(2), buf_arg(BMC_F32, b, 1, 1, 0), dim_arg(sq_pos)};
    if ((s = rt_seq_insert(x, ins2, 3, tid, nt))) {
        rt_fail(x, tid, 3, 99, s, 0, 0);
        return rt_barrier(x, tid, nt);
    }
    int64_t n = 0, d = 0;
    rt_arg len[] = {seq_arg(2), sym_arg(&n)};
    s |= rt_seq_length(x, len, 2, tid, nt);
    int64_t a_at = sq_pos == 0 || sq_pos == -3; /* a was the first, unless b went in front of it */
    rt_arg dims[] = {seq_arg(2), dim_arg(a_at - n), dim_arg(1), sym_arg(&d)};
    s |= rt_seq_dims(x, dims, 4, tid, nt);
    rt_arg at[] = {seq_arg(2), dim_arg(a_at), buf_arg(BMC_F32, back, 1, d, 0)};
    s |= rt_seq_at(x, at, 3, tid, nt);
    if (d != 3 || memcmp(a, back, sizeof a)) s |= BMC_E_FAIL;
    rt_box_move(x, 4, 2);
    char hi[] = "hi ";
    bmc_string one[] = {{hi, 3}, {hi, 0}};
    rt_arg cat[] = {buf_arg(BMC_STRING, one, 2, 2, 1), buf_arg(BMC_STRING, x->slot[1], 1, 2, 0),
                    buf_arg(BMC_STRING, x->slot[3], 2, 2, 2)};
    s |= rt_string_concat(x, cat, 3, tid, nt);
    if (s) rt_fail(x, tid, 3, 99, s, 0, 0);
    return rt_barrier(x, tid, nt);
}
static const rt_desc sq_desc = {.abi = BMC_ABI,
                                .n_slot = 5,
                                .info = &sq_info,
                                .in_slot = (const uint32_t[]){0, 1},
                                .out_slot = (const uint32_t[]){4, 3},
                                .out_boxed = (const uint8_t[]){1, 0},
                                .plan = no_plan,
                                .out_dims = sq_dims,
                                .body = sq_body,
                                .out_planned = (const uint8_t[]){0, 1}};
static bool string_is(const bmc_string *s, const char *want)
{
    return s->len == strlen(want) && !memcmp(s->ptr, want, s->len);
}

static void test_seq(void)
{
    bmc_ctx *x;
    float p[] = {7, 8}, q[] = {0, 9, 0, 8, 0, 7, 0};
    char text[] = "abäcd";
    bmc_string strings[2] = {{text, 2}, {text + 2, 4}};
    bmc_value item[2] = {tensor(BMC_F32, p, 8, 1, DIMS(2)), tensor(BMC_F32, q + 1, 0, 1, DIMS(3))};
    item[1].stride = DIMS(2);
    bmc_value in[2] = {{.size = sizeof(bmc_value), .kind = BMC_SEQUENCE, .item = item, .n_item = 2},
                       tensor(BMC_STRING, strings, sizeof strings, 1, DIMS(2))};
    bmc_value out[2] = {no_value(), no_value()};
    CHECK(rt_create(&sq_desc, NULL, NULL, 0, &x) == BMC_OK);
    for (sq_pos = -3; sq_pos <= 3; sq_pos++) {
        CHECK(rt_run(x, in, out) == BMC_OK);
        size_t at = (size_t)(sq_pos < 0 ? sq_pos + 3 : sq_pos);
        CHECK(out[0].kind == BMC_SEQUENCE && out[0].n_item == 4 && out[0].item[at].dim[0] == 1 &&
              *(float *)out[0].item[at].data == 4);
        CHECK(((float *)out[0].item[at < 3 ? 3 : 2].data)[2] == 7);
        bmc_string *u = out[1].data;
        CHECK(out[1].bytes == 4 * sizeof *u && string_is(&u[0], "hi ab") && string_is(&u[1], "hi äcd") &&
              string_is(&u[2], "ab") && string_is(&u[3], "äcd"));
    }
    sq_pos = 4;
    CHECK(rt_run(x, in, out) == BMC_E_INDEX);
    TEXT(x, "index out of range: position 4 is outside -3..3");
    sq_pos = 0;
    /* results into memory of the caller */
    bmc_value room[4];
    float f[4][3];
    bmc_string u[4];
    for (int k = 0; k < 4; k++) room[k] = tensor(BMC_F32, f[k], sizeof f[k], 1, DIMS(0));
    out[0] = (bmc_value){.size = sizeof(bmc_value), .item = room, .n_item = 4};
    out[1] = tensor(BMC_STRING, u, sizeof u, 2, DIMS(0, 0));
    CHECK(rt_run(x, in, out) == BMC_OK && f[0][0] == 4 && f[1][2] == 3 && f[2][1] == 8 && f[3][0] == 9 &&
          room[3].bytes == 12 && string_is(&u[3], "äcd"));
    out[0].n_item = 3;
    CHECK(rt_run(x, in, out) == BMC_E_CAPACITY && out[0].n_item == 4);
    TEXT(x, "output 's': room for 3 items, needs 4");
    room[1].bytes = 11;
    CHECK(rt_run(x, in, out) == BMC_E_CAPACITY && room[1].bytes == 12);
    TEXT(x, "output 's': 11 bytes of memory, needs 12: f32[3]");
    item[1].dtype = BMC_I8;
    CHECK(rt_run(x, in, out) == BMC_E_INPUT);
    TEXT(x, "input 'given': item 1: element type is i8, expected f32");
    in[0].item = NULL;
    CHECK(rt_run(x, in, out) == BMC_E_INPUT);
    TEXT(x, "input 'given': 2 items, but item is NULL");
    rt_destroy(x);
}

/* ================= model "nest": an optional of sequences and a map, both back as they are */
static const bmc_port ne_in[] = {
    {.name = "o", .kind = BMC_OPTIONAL, .of = {BMC_SEQUENCE}, .dtype = BMC_F32, .rank = 1, .dim = {-2}, .alias = -1},
    {.name = "m", .kind = BMC_MAP, .key = BMC_STRING, .dtype = BMC_F32, .rank = 0, .alias = -1}};
static const bmc_info ne_info = {
    .name = "nest", .producer = "test", .input = ne_in, .output = ne_in, .n_input = 2, .n_output = 2};
static int32_t ne_body(bmc_ctx *x, int32_t tid, int32_t nt)
{
    rt_arg o[] = {seq_arg(0), seq_arg(2)}, m[] = {seq_arg(1), seq_arg(3)};
    int32_t s = rt_seq_copy(x, o, 2, tid, nt);
    if (!s) s = rt_seq_copy(x, m, 2, tid, nt);
    if (s) rt_fail(x, tid, 3, 99, s, 0, 0);
    return rt_barrier(x, tid, nt);
}
static const rt_desc ne_desc = {.abi = BMC_ABI,
                                .n_slot = 4,
                                .info = &ne_info,
                                .in_slot = (const uint32_t[]){0, 1},
                                .out_slot = (const uint32_t[]){2, 3},
                                .out_boxed = (const uint8_t[]){1, 1},
                                .plan = no_plan,
                                .out_dims = sq_dims,
                                .body = ne_body,
                                .out_planned = (const uint8_t[]){0, 0}};

static void test_nest(void)
{
    bmc_ctx *x;
    float p[] = {7, 8, 9}, worth[] = {4, 5};
    bmc_string key[2] = {{"ab", 2}, {"c", 1}};
    bmc_value part[2] = {tensor(BMC_F32, p, 8, 1, DIMS(2)), tensor(BMC_F32, p + 2, 4, 1, DIMS(1))};
    bmc_value seq = {.size = sizeof seq, .kind = BMC_SEQUENCE, .item = part, .n_item = 2};
    bmc_value map[2] = {tensor(BMC_STRING, key, sizeof key, 1, DIMS(2)),
                        tensor(BMC_F32, worth, sizeof worth, 1, DIMS(2))};
    bmc_value in[2] = {{.size = sizeof seq, .kind = BMC_OPTIONAL, .item = &seq, .n_item = 1},
                       {.size = sizeof seq, .kind = BMC_MAP, .item = map, .n_item = 2}};
    bmc_value out[2] = {no_value(), no_value()};
    CHECK(rt_create(&ne_desc, NULL, NULL, 0, &x) == BMC_OK);
    for (int again = 0; again < 3; again++) {
        in[0].n_item = again != 1;
        CHECK(rt_run(x, in, out) == BMC_OK);
        CHECK(out[0].kind == BMC_OPTIONAL && out[0].n_item == in[0].n_item && out[1].kind == BMC_MAP);
        const bmc_value *q = out[0].item;
        if (in[0].n_item)
            CHECK(q->kind == BMC_SEQUENCE && q->n_item == 2 && q->item[0].data != p && q->item[1].dim[0] == 1 &&
                  *(float *)q->item[1].data == 9);
        CHECK(out[1].item[0].data != key && string_is((bmc_string *)out[1].item[0].data + 1, "c") &&
              out[1].item[1].data != worth && ((float *)out[1].item[1].data)[1] == 5);
    }
    /* results into memory of the caller, at every level */
    float f[2][2];
    bmc_value room[2] = {tensor(BMC_F32, f[0], 8, 1, DIMS(0)), tensor(BMC_F32, f[1], 8, 1, DIMS(0))};
    bmc_value inner = {.size = sizeof inner, .item = room, .n_item = 2};
    out[0] = (bmc_value){.size = sizeof inner, .item = &inner, .n_item = 1};
    CHECK(rt_run(x, in, out) == BMC_OK && inner.kind == BMC_SEQUENCE && f[0][1] == 8 && f[1][0] == 9);
    inner.n_item = 1;
    CHECK(rt_run(x, in, out) == BMC_E_CAPACITY && inner.n_item == 2);
    TEXT(x, "output 'o': room for 1 items, needs 2");
    part[1].dtype = BMC_I8;
    CHECK(rt_run(x, in, out) == BMC_E_INPUT);
    TEXT(x, "input 'o': item 1: element type is i8, expected f32");
    seq.kind = BMC_TENSOR;
    CHECK(rt_run(x, in, out) == BMC_E_INPUT);
    TEXT(x, "input 'o': item 0 is not a sequence");
    in[0].n_item = 0;
    map[1].dim[0] = 1;
    CHECK(rt_run(x, in, out) == BMC_E_INPUT);
    TEXT(x, "input 'm': a map has 2 keys and 1 values");
    map[0].dtype = BMC_I64;
    CHECK(rt_run(x, in, out) == BMC_E_INPUT);
    TEXT(x, "input 'm': the keys of a map are a dense tensor of one axis, of str");
    rt_destroy(x);
}

/* ================= calls and boxes as an interpreter uses them */
static void test_interp(void)
{
    bmc_ctx *x = rt_interp_create(4, 3);
    float a[] = {1, 2}, b[4];
    CHECK(x && !x->slot[2] && !x->sym[3]);
    for (int k = 0; k < 100; k++) {
        rt_arg ins[] = {seq_arg(0), buf_arg(BMC_F32, a, 1, k % 2 + 1, 0), dim_arg(k / 2)};
        a[0] = (float)k;
        CHECK(rt_seq_insert(x, ins, 3, 0, 1) == BMC_OK);
    }
    for (int k = 0; k < 60; k++) {
        rt_arg era[] = {seq_arg(0), dim_arg(k % 2 ? 0 : -1)};
        CHECK(rt_seq_erase(x, era, 2, 0, 1) == BMC_OK);
    }
    rt_arg copy[] = {seq_arg(0), seq_arg(1)}, len[] = {seq_arg(1), sym_arg(&x->sym[1])}, clear[] = {seq_arg(0)};
    CHECK(rt_seq_copy(x, copy, 2, 0, 1) == BMC_OK && rt_seq_clear(x, clear, 1, 0, 1) == BMC_OK &&
          rt_seq_length(x, len, 2, 0, 1) == BMC_OK);
    CHECK(x->sym[1] == 40);
    bmc_value v = no_value();
    CHECK(rt_seq_export(x, 1, BMC_SEQUENCE, &v) && v.n_item == 40);
    rt_arg at[] = {seq_arg(1), dim_arg(-1), buf_arg(BMC_F32, b, 1, v.item[39].dim[0] + 1, 0)};
    CHECK(rt_seq_at(x, at, 3, 0, 1) == BMC_E_SHAPE);
    at[0] = seq_arg(0);
    CHECK(rt_seq_at(x, at, 3, 0, 1) == BMC_E_INDEX);
    rt_fail(x, 0, 7, 0, BMC_E_INDEX, 0, 0);
    CHECK(rt_interp_status(x, (const char *const[]){"node 'q' (SequenceAt): no such element"}, 1) == BMC_E_INDEX);
    TEXT(x, "node 'q' (SequenceAt): no such element: position -1 of an empty sequence");
    CHECK(rt_box_alloc(x, 2, 1000, 0) && rt_box_alloc(x, 2, 900, 0));
    memset(x->slot[2], 5, 1000);
    CHECK(rt_box_alloc(x, 2, 100000, 1) && ((char *)x->slot[2])[999] == 5);
    rt_box_move(x, 1, 2);
    CHECK(!x->slot[2] && ((char *)x->slot[1])[999] == 5);
    rt_box_free(x, 1);
    rt_box_free(x, 1);
    CHECK(!rt_box_alloc(x, 1, -1, 0) && x->rt->heap.live);
    rt_interp_destroy(x);
    x = rt_interp_create(1, 1);
    CHECK(rt_room(x, 0, 1, 70000, 0) == BMC_OK && !((uintptr_t)x->thread[0].scratch % 64));
    memset(x->thread[0].scratch, 5, 70000);
    uint8_t *room = x->thread[0].scratch;
    CHECK(rt_room(x, 0, 1, 50000, 0) == BMC_OK && x->thread[0].scratch == room);
    CHECK(rt_room(x, 0, 1, -1, 0) == BMC_E_MEMORY);
    rt_interp_destroy(x);
}

/* ================= weights in a file, CPU, hash, floating-point environment, concurrency */
static float flush_seen;
static int32_t env_body(bmc_ctx *x, int32_t tid, int32_t nt)
{
    (void)nt, (void)tid;
    volatile float tiny = 1e-38f, tenth = 0.1f;
    flush_seen = tiny * tenth + (x->weights ? x->weights[1000] : 0);
    return BMC_OK;
}
#if defined(__linux__)
/* Whether the mapping of `path` has asked for huge pages. */
static bool asked_for_huge(const char *path)
{
    char line[512];
    bool in = false, huge = false;
    FILE *f = fopen("/proc/self/smaps", "r");
    while (f && fgets(line, sizeof line, f)) {
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2) in = strstr(line, path) != NULL;   /* a mapping's first line; what follows is about it */
        huge |= in && !strncmp(line, "VmFlags:", 8) && strstr(line, " hg");
    }
    if (f) fclose(f);
    return huge;
}

/* Large constants are read from disk in huge pages, small ones as the system likes. */
static void test_weights_large(void)
{
    bool able = !access("/sys/kernel/mm/transparent_hugepage", F_OK);
    for (size_t bytes = (size_t)15 << 20; bytes <= (size_t)16 << 20; bytes += (size_t)1 << 20) {
        char path[] = "/tmp/rt_test_XXXXXX";
        int fd = mkstemp(path);
        CHECK(fd >= 0 && !ftruncate(fd, (off_t)bytes));
        void *zeros = calloc(bytes, 1);
        rt_desc d = {.abi = BMC_ABI, .info = &none_info, .plan = no_plan, .body = env_body, .weights_file = "w.bin",
                     .weights_bytes = bytes, .weights_hash = rt_hash(zeros, bytes)};
        bmc_config c = {.size = sizeof c, .weights_path = path};
        bmc_ctx *x;
        CHECK(rt_create(&d, &c, NULL, 0, &x) == BMC_OK);
        CHECK(asked_for_huge(path) == (able && bytes >= (size_t)16 << 20));
        rt_destroy(x);
        free(zeros);
        close(fd);
        unlink(path);
    }
}
#endif

static void test_weights(void)
{
    static _Alignas(64) unsigned char w[5000];
    char dir[] = "/tmp/rt_test_XXXXXX", path[64];
    for (size_t i = 0; i < sizeof w; i++) w[i] = (unsigned char)(i * i / 7);
    bool same = true;
    for (size_t n = 0; n < 300; n++) same &= rt_hash(w + n % 5, n) == XXH64(w + n % 5, n, 0);
    CHECK(same && rt_hash(w, sizeof w) == XXH64(w, sizeof w, 0));
    CHECK(mkdtemp(dir) != NULL);
    snprintf(path, sizeof path, "%s/w.bin", dir);
    rt_desc d = {.abi = BMC_ABI,
                 .info = &none_info,
                 .plan = no_plan,
                 .body = env_body,
                 .weights_file = "w.bin",
                 .weights_bytes = sizeof w,
                 .weights_hash = rt_hash(w, sizeof w)};
    bmc_config c = {.size = sizeof c, .weights_path = path};
    bmc_ctx *x;
    char want[200];
    CHECK(rt_create(&d, &c, NULL, 0, &x) == BMC_E_WEIGHTS && !x);
    snprintf(want, sizeof want, "%s: No such file or directory (weights file of model 'none')", path);
    text_at(__LINE__, rt_message(NULL), want);
    FILE *f = fopen(path, "wb");
    fwrite(w, 1, 4000, f);
    fclose(f);
    CHECK(rt_create(&d, &c, NULL, 0, &x) == BMC_E_WEIGHTS);
    snprintf(want, sizeof want, "%s: 4000 bytes, the weights have 5000", path);
    text_at(__LINE__, rt_message(NULL), want);
    f = fopen(path, "wb");
    fwrite(w, 1, sizeof w, f);
    fclose(f);
    CHECK(rt_create(&d, &c, NULL, 0, &x) == BMC_OK && rt_run(x, NULL, NULL) == BMC_OK && flush_seen > w[1000] - 1e-3f);
    rt_destroy(x);
    d.weights_hash++;
    CHECK(rt_create(&d, &c, NULL, 0, &x) == BMC_E_WEIGHTS);
    snprintf(want, sizeof want, "%s: not the weights that this model was compiled with (hash differs)", path);
    text_at(__LINE__, rt_message(NULL), want);
    d.weights_hash--;
    unlink(path);
    rmdir(dir);
    c = (bmc_config){.size = sizeof c, .weights = w, .weights_bytes = sizeof w};
    CHECK(rt_create(&d, &c, NULL, 0, &x) == BMC_OK && x->weights == w);
    rt_destroy(x);
    c.weights_bytes--;
    CHECK(rt_create(&d, &c, NULL, 0, &x) == BMC_E_WEIGHTS);
    text_at(__LINE__, rt_message(NULL), "config.weights: 4999 bytes, expected 5000");
    /* beside the object that holds the descriptor: here this program */
    CHECK(rt_create(&d, NULL, NULL, 0, &x) == BMC_E_WEIGHTS && strstr(rt_message(NULL), "/w.bin: No such file"));
}

static void test_environment(void)
{
    rt_desc d = {.abi = BMC_ABI, .info = &none_info, .plan = no_plan, .body = env_body, .flags = RT_FLUSH_DENORMALS};
    bmc_ctx *x;
    CHECK(rt_create(&d, NULL, NULL, 0, &x) == BMC_OK && rt_run(x, NULL, NULL) == BMC_OK && flush_seen == 0);
    volatile float tiny = 1e-38f, tenth = 0.1f;
    CHECK(tiny * tenth != 0); /* the caller's environment is back */
    rt_destroy(x);
    bmc_config c = {.size = sizeof c, .keep_denormals = 1};
    CHECK(rt_create(&d, &c, NULL, 0, &x) == BMC_OK && rt_run(x, NULL, NULL) == BMC_OK && flush_seen != 0);
    rt_destroy(x);
    char want[80];
    snprintf(want, sizeof want, "the model has ABI 77, this runtime %u", BMC_ABI);
    d.abi = 77;
    CHECK(rt_create(&d, NULL, NULL, 0, &x) == BMC_E_ARG);
    text_at(__LINE__, rt_message(NULL), want);
    c = (bmc_config){.size = sizeof c, .threads = -1};
    d.abi = BMC_ABI;
    CHECK(rt_create(&d, &c, NULL, 0, &x) == BMC_E_ARG && rt_create(&d, NULL, NULL, 0, NULL) == BMC_E_ARG);
    d.cpu_need[1] = 1ull << 63;
    CHECK(rt_create(&d, NULL, NULL, 0, &x) == BMC_E_CPU);
    text_at(
        __LINE__, rt_message(NULL),
        "model 'none' was compiled for another CPU; missing here: (unknown feature). Compile it with another --cpu");
    CHECK(rt_cpu_bit("x86_64", "avx512f") == 16 && rt_cpu_bit("aarch64", "dotprod") == 12 &&
          rt_cpu_bit("x86_64", "dotprod") < 0);
    uint64_t have[2], need[2] = {0, 0};
    char text[100];
    rt_cpu_have(have, NULL);
    CHECK(rt_cpu_check(have, text, sizeof text) && rt_cpu_check(need, text, sizeof text));
#if defined(__x86_64__)
    __builtin_cpu_init();
    CHECK(!!(have[0] >> 13 & 1) == !!__builtin_cpu_supports("avx2") &&
          !!(have[0] >> 16 & 1) == !!__builtin_cpu_supports("avx512f"));
    CHECK(!!(have[0] >> 11 & 1) == !!__builtin_cpu_supports("fma") &&
          !!(have[0] >> 27 & 1) == !!__builtin_cpu_supports("avx512vnni"));
    CHECK(!!(have[0] >> 36 & 1) == !!__builtin_cpu_supports("avx512bf16") &&
          !!(have[0] >> 14 & 1) == !!__builtin_cpu_supports("bmi2"));
    CHECK(!!(have[0] >> 43 & 1) == !!__builtin_cpu_supports("sse4a"));
    need[0] = 1ull << rt_cpu_bit("x86_64", "xop");
    if (!(have[0] & need[0])) CHECK(!rt_cpu_check(need, text, sizeof text) && !strcmp(text, "xop"));
#endif
    int cores = rt_default_threads(), cpus = rt_usable_cpus();
    CHECK(cores >= 1 && cores <= cpus && cpus <= sysconf(_SC_NPROCESSORS_CONF));
}

/* ---- rt_apart: the calling thread takes another CPU than the one that thread 0 is said to be on ---- */
static void test_apart(void)
{
    bmc_ctx *x;
    bmc_config c = config_of(2);
    int most = 2;
    c.pool = &most;
    CHECK(rt_create(&stress_desc, &c, NULL, 0, &x) == BMC_OK);
    rt_private *p = x->rt;
    p->serial = 1;
    if (rt_usable_cpus() > 1) {
        bool apart = false;
        for (int i = 0; i < 100 && !apart; i++, p->serial += 100) { /* the system may move this thread in between */
            rt_apart_here(p, 0);
            apart = rt_apart(p, 1, 2) && p->inbox[0].cpu != p->inbox[1].cpu;
        }
        CHECK(apart);
        rt_apart_here(p, 0);
        p->inbox[1].moved = p->serial - 1;
        CHECK(!rt_apart(p, 1, 2)); /* not in every run */
    }
    CHECK(rt_usable_cpus() >= 1);
    p->inbox[0].cpu = 0; /* where it is, nobody knows */
    p->serial += 100;
    CHECK(!rt_apart(p, 1, 2));
    rt_destroy(x);
}

/* ================= transforms of any length against the sum in extended precision; two threads give one's bits */
static void transformed(int64_t n, int sign, int64_t rows)
{
    const long double turn = 2 * acosl(-1.0L) / (long double)n;
    size_t count = (size_t)(2 * n * rows), room = (size_t)(52 * n);
    double *c = malloc((size_t)n * 8), *s = malloc((size_t)n * 8), *x = malloc(count * 8), *y = malloc(count * 8), *two = malloc(count * 8), *work = malloc(room * 8);
    for (int64_t k = 0; k < n; k++) c[k] = (double)cosl(turn * k), s[k] = (double)(sign * sinl(turn * k));
    for (size_t k = 0; k < count; k++) x[k] = y[k] = two[k] = (double)(k * 2654435761u % 4096) / 4096 - 0.5;
    for (int nt = 1; nt <= 2; nt++) {
        rt_arg a[4] = {{.kind = RT_BUF, .dtype = BMC_F64, .data = nt == 1 ? y : two, .rank = 3, .dim = {rows, 2, n}},
                       buf_arg(BMC_F64, c, 1, n, 0), buf_arg(BMC_F64, s, 1, n, 0), buf_arg(BMC_F64, work, 2, nt, 26 * n)};
        for (int t = 0; t < nt; t++) CHECK(rt_fourier(NULL, a, 4, t, nt) == BMC_OK);
    }
    CHECK(!memcmp(y, two, count * 8));
    double worst = 0, most = 0;
    for (size_t k = 0; k < count; k++) most = fmax(most, fabs(y[k]));
    for (int64_t k = 0; k < n; k += 1 + n / 50) {
        const double *row = x + 2 * n * (rows - 1), *got = y + 2 * n * (rows - 1);
        long double re = 0, im = 0;
        for (int64_t i = 0; i < n; i++) {
            long double wr = cosl(turn * (i * k % n)), wi = sign * sinl(turn * (i * k % n));
            re += row[i] * wr - row[n + i] * wi, im += row[i] * wi + row[n + i] * wr;
        }
        worst = fmax(worst, fmax(fabs(got[k] - (double)re), fabs(got[n + k] - (double)im)));
    }
    bool near = worst < 2e-15 * most;
    CHECK(near);
    if (!near) printf("    %lld points: %g of %g\n", (long long)n, worst, most);
    free(c), free(s), free(x), free(y), free(two), free(work);
}
static void test_fourier(void)
{
    static const int LENGTH[] = {2, 3, 4, 5, 7, 8, 12, 16, 30, 61, 64, 67, 97, 100, 128, 134, 360, 509, 1009, 1024, 2310, 4096, 5003};
    for (size_t k = 0; k < sizeof LENGTH / sizeof *LENGTH; k++) transformed(LENGTH[k], k % 2 ? 1 : -1, 1 + (int64_t)k % 3);
}

int main(int argc, char **argv)
{
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc == 3 && !strcmp(argv[1], "--stress")) stress_rounds = atol(argv[2]);
    test_heap();
#if defined(__linux__)
    test_present();
#endif
    test_settle();
    test_arena();
#if defined(__linux__)
    test_weights_large();
#endif
    test_barrier();
    test_share();
    test_seq();
    test_nest();
    test_interp();
    test_weights();
    test_environment();
    test_apart();
    test_fourier();
    return check_summary();
}
