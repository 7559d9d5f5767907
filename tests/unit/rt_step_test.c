/* rt_step_test: steps of the program that are data: random lists of operations against the same in 128 bits; bounds,
 * relations, elements of every width, arguments of calls, memory, and what an earlier error leaves undone. */
#include "runtime/rt_internal.h"
#include "tests/unit/check.h"
#include <stdlib.h>

enum { SYMS = 6, OPS = 12 };
typedef __int128 Wide;

static const char *const message[] = {"out of bounds: {got}, {want}", "too large", "called"};

static rt_step *new_step(void)
{
    rt_step *s = calloc(1, sizeof *s + RT_DIMS_MAX * sizeof *s->dim);
    *s = (rt_step){.msg = 0, .msg_over = 1, .sym = SYMS, .lo = INT64_MIN, .hi = INT64_MAX};
    return s;
}

static uint32_t push(rt_step *s, uint32_t kind, int32_t a, int32_t b)
{
    s->dim[s->n] = (rt_dim){kind, a, b};
    return s->n++;
}

static uint32_t push_const(rt_step *s, int64_t v) { return push(s, RT_D_CONST, (int32_t)(uint32_t)v, (int32_t)(uint32_t)((uint64_t)v >> 32)); }

/* By a divisor that is not negative: sizes are not. */
static Wide floored(Wide a, Wide b, bool mod)
{
    if (!b) return 0;
    Wide q = a / b - (a % b < 0);
    return mod ? a - q * b : q;
}

static Wide naive(const rt_step *s, const int64_t *sym, uint32_t k, bool *over, bool *negative)
{
    const rt_dim *d = &s->dim[k];
    if (d->kind == RT_D_CONST) return (int64_t)((uint64_t)(uint32_t)d->a | (uint64_t)(uint32_t)d->b << 32);
    if (d->kind == RT_D_SYM) return sym[d->a];
    Wide a = naive(s, sym, (uint32_t)d->a, over, negative), b = naive(s, sym, (uint32_t)d->b, over, negative), r = 0;
    *negative |= b < 0 && (d->kind == RT_D_DIV || d->kind == RT_D_MOD);
    switch (d->kind) {
    case RT_D_ADD: r = a + b; break;
    case RT_D_MUL: r = a * b; break;
    case RT_D_DIV: r = floored(a, b, false); break;
    case RT_D_MOD: r = floored(a, b, true); break;
    case RT_D_MIN: r = a < b ? a : b; break;
    case RT_D_MAX: r = a > b ? a : b; break;
    default: r = a == 1 ? b : a;
    }
    *over |= r != (int64_t)r;
    return (int64_t)r;
}

static int64_t some(Rng *r)
{
    static const int64_t ends[] = {0, 1, -1, 2, INT64_MAX, INT64_MIN, INT32_MAX, (int64_t)1 << 32};
    return rng_in(r, 0, 3) ? rng_in(r, -9, 9) : ends[rng_in(r, 0, 7)];
}

static void clear_error(bmc_ctx *x) { x->thread[0].err_step = 0; }

static void test_random(bmc_ctx *x)
{
    Rng r = {7};
    rt_step *s = new_step();
    int wrong = 0, overflows = 0;
    for (int round = 0; round < 20000; round++) {
        s->n = 0;
        for (int k = 0; k < SYMS; k++) x->sym[k] = some(&r);
        for (int k = 0; k < SYMS; k++) push(s, RT_D_SYM, k, 0);
        push_const(s, some(&r));
        for (int k = 0; k < OPS; k++) push(s, (uint32_t)rng_in(&r, RT_D_ADD, RT_D_BCAST), (int32_t)rng_in(&r, 0, s->n - 1), (int32_t)rng_in(&r, 0, s->n - 1));
        bool over = false, negative = false;
        int64_t want = 0;
        for (uint32_t k = 0; k < s->n; k++) want = (int64_t)naive(s, x->sym, k, &over, &negative);
        s->a = s->n - 1;
        bool refused = rt_bind(x, 0, 1, s) != 0;
        clear_error(x);
        if (negative) continue;
        overflows += over;
        wrong += refused != over || (!over && x->sym[SYMS] != want);
    }
    CHECK(!wrong);
    CHECK(overflows > 500 && overflows < 10000);
    free(s);
}

static void test_bounds(bmc_ctx *x)
{
    rt_step *s = new_step();
    s->a = push(s, RT_D_SYM, 0, 0);
    s->lo = 2, s->hi = 5, s->step = 3;
    for (int64_t v = 0; v < 8; v++) {
        x->sym[0] = v;
        x->sym[SYMS] = 77;
        bool ok = v >= 2 && v <= 5;
        CHECK((rt_bind(x, 0, 1, s) == 0) == ok && x->sym[SYMS] == (ok ? v : 77));
        if (!ok) CHECK(x->thread[0].err_step == 4 && x->thread[0].err_got == v && x->thread[0].err_want == (v < 2 ? 2 : 5));
        clear_error(x);
    }
    free(s);
}

static void test_relations(bmc_ctx *x)
{
    rt_step *s = new_step();
    s->a = push(s, RT_D_SYM, 0, 0);
    s->b = push(s, RT_D_SYM, 1, 0);
    for (int64_t a = -1; a < 4; a++)
        for (int64_t b = -1; b < 4; b++) {
            x->sym[0] = a, x->sym[1] = b;
            bool want[] = {[RT_EQ] = a == b, [RT_NE] = a != b, [RT_LE] = a <= b, [RT_LT] = a < b, [RT_EITHER_ONE] = a == b || a == 1 || b == 1};
            for (int what = RT_EQ; what <= RT_EITHER_ONE; what++) {
                s->what = what;
                CHECK((rt_check(x, 0, 1, s) == 0) == want[what]);
                clear_error(x);
            }
        }
    x->sym[0] = INT64_MAX; /* equal, but neither can be computed */
    s->b = s->a = push(s, RT_D_ADD, 0, 0);
    s->what = RT_EQ;
    CHECK(rt_check(x, 0, 1, s) != 0);
    clear_error(x);
    free(s);
}

static void test_loads(bmc_ctx *x)
{
    static const uint8_t bytes[32] = {0, 1, 0xff, 0x80, 5, 0, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 9};
    int64_t aligned[4];
    rt_step *s = new_step();
    memcpy(aligned, bytes, sizeof aligned);
    s->a = push(s, RT_D_SYM, 0, 0);
    static const int what[] = {0, 1, 2, 4, -1, -2, -4, -8};
    for (size_t k = 0; k < sizeof what / sizeof *what; k++) {
        int size = what[k] ? abs(what[k]) : 1;
        for (int at = 0; at < (int)sizeof aligned / size; at++) {
            int64_t want = 0;
            memcpy(&want, bytes + at * size, (size_t)size);
            if (what[k] < 0 && size < 8) want = (int64_t)((uint64_t)want << (64 - 8 * size)) >> (64 - 8 * size);
            if (!what[k]) want = want != 0;
            x->sym[0] = at, s->what = what[k];
            rt_load(x, 0, s, aligned);
            CHECK(x->sym[SYMS] == want && !x->thread[0].err_step);
        }
    }
    s->what = 1, s->lo = 1, s->hi = 4;
    x->sym[0] = 4;
    rt_load(x, 0, s, aligned); /* 5 */
    CHECK(x->sym[SYMS] == 4 && x->thread[0].err_got == 5);
    x->sym[0] = 1;
    rt_load(x, 0, s, aligned); /* not after an error */
    CHECK(x->sym[SYMS] == 4);
    clear_error(x);
    rt_load(x, 1, s, aligned); /* not by another thread */
    CHECK(x->sym[SYMS] == 4);
    free(s);
}

static rt_arg seen[RT_GIVEN_MAX];

static int32_t counted(bmc_ctx *x, rt_arg *arg, int32_t n, int32_t tid, int32_t nt)
{
    memcpy(seen, arg, (size_t)n * sizeof *arg);
    x->sym[0]++;
    return tid + nt == 1 ? 0 : BMC_E_MEMORY;
}

static void test_calls(bmc_ctx *x)
{
    rt_step *s = new_step();
    s->step = 5, s->sym = false;
    x->sym[0] = 0;
    rt_call_given(x, 0, 1, counted, s);
    CHECK(x->sym[0] == 1 && !x->thread[0].err_step);
    rt_call_given(x, 1, 2, counted, s);
    CHECK(x->sym[0] == 1);
    s->sym = true; /* all threads */
    rt_call_given(x, 0, 2, counted, s);
    CHECK(x->sym[0] == 2 && x->thread[0].err_step == 6 && x->thread[0].err_status == BMC_E_MEMORY);
    s->sym = false;
    rt_call_given(x, 0, 1, counted, s);
    CHECK(x->sym[0] == 2);
    s->sym = true, s->step = 7;
    rt_call_given(x, 0, 1, counted, s);
    CHECK(x->sym[0] == 3 && x->thread[0].err_step == 6);
    clear_error(x);
    free(s);
}

/* Every kind of argument, and every base that a tensor's bytes are counted from. */
static void test_arguments(bmc_ctx *x)
{
    uint8_t arena[64];
    const uint8_t weights[64] = {0};
    uint8_t *keep = x->arena;
    const uint8_t *keep_weights = x->weights;
    rt_step *s = new_step();
    uint32_t n = push(s, RT_D_SYM, 1, 0), eight = push_const(s, 8), at = push(s, RT_D_MUL, (int32_t)n, (int32_t)eight);
    uint32_t dim = push(s, RT_D_MAX, (int32_t)eight, (int32_t)eight);
    push(s, RT_D_MAX, (int32_t)n, (int32_t)n);
    const rt_arg_code code[] = {{.kind = RT_BUF, .dtype = 3, .rank = 2, .where = RT_AT_ARENA, .slot = -1, .at = at, .dim = dim},
                                {.kind = RT_BUF, .rank = 0, .where = RT_AT_WEIGHTS, .slot = -1, .at = n},
                                {.kind = RT_BUF, .rank = 1, .where = RT_AT_SLOT, .slot = 0, .from = 0, .at = n, .dim = dim},
                                {.kind = RT_SEQ, .slot = 9}, {.kind = RT_DIM, .at = at}, {.kind = RT_INT, .at = eight}, {.kind = RT_SYM, .from = 2}};
    s->what = sizeof code / sizeof *code;
    s->sym = true;
    memcpy(s->dim + s->n, code, sizeof code);
    x->arena = arena;
    x->weights = weights;
    x->slot[0] = arena + 32;
    x->sym[1] = 3;
    rt_call_given(x, 0, 1, counted, s);
    x->arena = keep;
    x->weights = keep_weights;
    x->slot[0] = NULL;
    CHECK(seen[0].kind == RT_BUF && seen[0].dtype == 3 && seen[0].rank == 2 && seen[0].value == -1 && seen[0].data == arena + 24);
    CHECK(seen[0].dim[0] == 8 && seen[0].dim[1] == 3 && !seen[0].sym && !seen[0].text);
    CHECK(seen[1].data == weights + 3 && seen[1].rank == 0);
    CHECK(seen[2].data == arena + 35 && seen[2].value == 0 && seen[2].dim[0] == 8);
    CHECK(seen[3].kind == RT_SEQ && seen[3].value == 9);
    CHECK(seen[4].kind == RT_DIM && seen[4].value == 24 && seen[5].kind == RT_INT && seen[5].value == 8);
    CHECK(seen[6].kind == RT_SYM && seen[6].sym == &x->sym[2]);
    free(s);
}

static void test_memory(bmc_ctx *x)
{
    rt_step *s = new_step();
    s->sym = 0;
    s->a = push(s, RT_D_MUL, (int32_t)push(s, RT_D_SYM, 0, 0), (int32_t)push(s, RT_D_SYM, 1, 0));
    x->sym[0] = 5, x->sym[1] = 20;
    rt_alloc(x, 1, s); /* not by another thread */
    CHECK(!x->slot[0]);
    rt_alloc(x, 0, s);
    CHECK(x->slot[0] && !x->thread[0].err_step);
    memset(x->slot[0], 1, 100);
    x->sym[0] = x->sym[1] = INT64_MAX;
    s->step = 3;
    rt_alloc(x, 0, s);
    CHECK(x->thread[0].err_step == 4 && x->thread[0].err_status == BMC_E_MEMORY);
    CHECK(rt_interp_status(x, message, 3) == BMC_E_MEMORY);
    free(s);
}

int main(void)
{
    bmc_ctx *x = rt_interp_create(SYMS + 1, 1);
    test_random(x);
    test_bounds(x);
    test_relations(x);
    test_loads(x);
    test_calls(x);
    test_arguments(x);
    test_memory(x);
    rt_interp_destroy(x);
    return check_done();
}
