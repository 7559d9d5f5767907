/* cost_test: flops and bytes of kernels against numbers worked out by hand, with sizes that only the run knows. */
#include "ir/kernel/cost.h"
#include "ir/kernel/cycles.h"
#include "tests/unit/check.h"

static const char TEXT[] =
    "kir 1\n"
    "sym N entry input 0 axis 0\n"
    "buf %x: f32[N,64] in 0\n"
    "buf %w: f32[64] const = splat(1.0)\n"
    "buf %y: f32[N,64] out 0\n"
    "buf %table: f32[1000,64] const = splat(1.0)\n"
    "buf %id: i64[N] in 1\n"
    "input \"x\": f32[N,64] = %x\n"
    "input \"id\": i64[N] = %id\n"
    "output \"y\": f32[N,64] = %y\n"
    "kernel @map(%x: f32[N,64], %w: f32[64], %y: f32[N,64] out) {\n"
    "  for %i = 0..N par {\n"
    "    for %j = 0..64 vec {\n"
    "      store %y[%i, %j] = exp(fma(load %x[%i, %j], load %w[%j], 1.0))\n"
    "    }\n"
    "  }\n"
    "}\n"
    "kernel @blocks(%x: f32[N,64], %y: f32[N,64] out) {\n" /* rows in blocks of 8, the last one shorter */
    "  for %q = 0..dim((N+7)//8) par {\n"
    "    %m = mul(%q, 8)\n"
    "    %rows = min(8, sub(N, %m))\n"
    "    macc<f32> %x, %x tile(4, 1) (rows=%rows, cols=16, k=64, t=1, ak=1, bk=64, bstrip=16) {\n"
    "      addr(%t, %i) {\n"
    "        yield mul(%i, 64), true, 0\n"
    "      }\n"
    "      epilogue(%acc, %i, %j) {\n"
    "        store %y[add(%m, %i), %j] = max(%acc, 0.0)\n"
    "      }\n"
    "    }\n"
    "  }\n"
    "}\n"
    "kernel @triangle(%x: f32[N,64], %y: f32[N,64] out) {\n"
    "  for %i = 0..N par {\n"
    "    %s = for %j = 0..add(%i, 1) seq carry(%a = 0.0) {\n"
    "      yield add(%a, load %x[%j, 0])\n"
    "    }\n"
    "    store %y[%i, 0] = %s\n"
    "  }\n"
    "}\n"
    "kernel @gather(%table: f32[1000,64], %id: i64[N], %y: f32[N,64] out) {\n"
    "  for %i = 0..N par {\n"
    "    %r = load %id[%i]\n"
    "    for %j = 0..64 vec {\n"
    "      store %y[%i, %j] = load %table[%r, %j]\n"
    "    }\n"
    "  }\n"
    "}\n"
    "kernel @data(%x: f32[N,64], %id: i64[N], %y: f32[N,64] out) {\n"
    "  for %i = 0..1 par {\n"
    "    for %j = 0..load %id[0] seq {\n"
    "      store %y[0, %j] = neg(load %x[0, %j])\n"
    "    }\n"
    "    for %j = 0..min(N, load %id[0]) seq {\n"
    "      store %y[1, %j] = sqrt(load %x[0, %j])\n"
    "    }\n"
    "  }\n"
    "}\n"
    "program {\n"
    "  launch @map(%x, %w, %y)\n"
    "  launch @blocks(%x, %y)\n"
    "  launch @triangle(%x, %y)\n"
    "  launch @gather(%table, %id, %y)\n"
    "  launch @data(%x, %id, %y)\n"
    "}\n";

static void say(void *arg, const DiagMessage *m)
{
    (void)arg;
    printf("%s\n", m->text);
}

/* A module without a model around it. */
typedef struct Bare {
    Arena a;
    Diag d;
    Names names;
    Dims dims;
    Types types;
    Blobs blobs;
    KModule m;
} Bare;

static void bare_init(Bare *u)
{
    arena_init(&u->a, "test", NULL);
    diag_init(&u->d, &u->a);
    u->d.sink = say;
    names_init(&u->names, &u->a);
    dims_init(&u->dims, &u->a, &u->names);
    types_init(&u->types, &u->a, &u->dims);
    blobs_init(&u->blobs, &u->a);
    kmodule_init(&u->m, &u->a, &u->d, &u->names, &u->dims, &u->types, &u->blobs);
}

/* `n` launches over a symbol each: more than one formula has room for are counted in proportion. */
static void cycles_test(int n)
{
    Bare u;
    bare_init(&u);
    static char text[1 << 20];
    size_t at = (size_t)snprintf(text, sizeof text, "kir 1\noption threads\n");
#define PUT(...) at += (size_t)snprintf(text + at, sizeof text - at, __VA_ARGS__)
    for (int i = 0; i < n; i++) PUT("sym N%d entry input %d axis 0\n", i, i);
    for (int i = 0; i < n; i++) PUT("buf %%x%d: f32[N%d] in %d\nbuf %%y%d: f32[N%d] out %d\n", i, i, i, i, i, i);
    for (int i = 0; i < n; i++) PUT("input \"x%d\": f32[N%d] = %%x%d\n", i, i, i);
    for (int i = 0; i < n; i++) PUT("output \"y%d\": f32[N%d] = %%y%d\n", i, i, i);
    for (int i = 0; i < n; i++)
        PUT("kernel @k%d(%%x%d: f32[N%d], %%y%d: f32[N%d] out) {\n  for %%i = 0..N%d par {\n    store %%y%d[%%i] = sqrt(load "
            "%%x%d[%%i])\n  }\n}\n", i, i, i, i, i, i, i, i);
    PUT("program {\n");
    for (int i = 0; i < n; i++) PUT("%s  launch @k%d(%%x%d, %%y%d)\n", i ? "  barrier\n" : "", i, i, i);
    PUT("}\n");
    if (CHECK(at < sizeof text && kir_parse(&u.m, "cycles", text, at) && kir_verify(&u.m, "reading"))) {
        int64_t sym[1024], one, all;
        for (int i = 0; i < 1024; i++) sym[i] = 1000;
        KCycles c = program_cycles(&u.m);
        CHECK(c.barriers == n - 1 && dim_eval(&u.dims, kernel_cycles(&u.m, u.m.kernel.p[0]), sym, &one) && one > 1000);
        CHECK(c.sum.i && dim_eval(&u.dims, c.sum, sym, &all) && (c.times > 1) == (n > 500));
        CHECK((double)all * c.times > 0.98 * n * (double)one && (double)all * c.times < 1.02 * n * (double)one);
    }
    arena_free(&u.a);
}

int main(void)
{
    cycles_test(3);
    cycles_test(1000);

    Bare u;
    bare_init(&u);
    if (!CHECK(kir_parse(&u.m, "cost", TEXT, sizeof TEXT - 1) && kir_verify(&u.m, "reading"))) return check_done();
    const double n = 21;
    int64_t sym[8] = {0};
    Sym s;
    if (!CHECK(sym_find(&u.dims, name_of(&u.names, "N"), &s) && s.i < 8)) return check_done();
    sym[s.i] = (int64_t)n;
    KCost c[5];
    int at = 0;
    for (const KStep *x = u.m.program.first; x; x = x->next) c[at++] = kernel_cost(&u.m, x, sym);
    CHECK(at == 5);
    CHECK(c[0].flops == n * 64 * 3 && c[0].bytes == 4 * (2 * n * 64 + 64) && c[0].constant == 4 * 64 && c[0].exact);
    CHECK(c[1].flops == n * 16 * (2 * 64 + 1) && c[1].exact); /* not 24 rows */
    CHECK(c[1].bytes == 4 * (n * 64 + n * 16));
    CHECK(c[2].flops == n * (n + 1) / 2 && c[2].exact);
    CHECK(c[3].flops == 0 && c[3].bytes == n * 64 * 4 * 2 + n * 8 && c[3].constant == n * 64 * 4); /* not the whole table */
    CHECK(c[4].flops == n && !c[4].exact); /* the first loop counts once, the second at most N times */
    CHECK(kbuf_cost(&u.m, u.m.input.p[0].buf, sym) == n * 64 * 4);
    CHECK(program_constants(&u.m) == 64 * 4 + 1000 * 64 * 4); /* each once, and whole */
    arena_free(&u.a);
    return check_done();
}
