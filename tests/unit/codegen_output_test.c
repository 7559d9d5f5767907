/* codegen_output_test: what codegen_emit leaves behind: objects, archives and headers used from C and C++ programs
 * here and on another machine, the known
 * cpus, and failures. */
#include "tests/unit/codegen_unit.h"

/* ---- objects and archives: two models in one program, headers in C99 and C++17, another machine ---- */
/* y = a*x + 1 over [N, 4] with symbolic N; names that need care in C */
static void small_model(Unit *u, const char *prefix, double factor)
{
    u->m.prefix = prefix;
    Sym ns = sym_new(&u->dims, name_of(&u->names, "N"), SYM_ENTRY, 0, INT64_MAX);
    u->dims.sym.p[ns.i].input = 0;
    u->dims.sym.p[ns.i].axis = 0;
    Dim d[] = {dim_sym(&u->dims, ns), dim_k(u, 4)};
    KBuf x = port(u, false, "class", DT_F32, 2, d), y = port(u, true, "1/y:0", DT_F32, 2, d);
    KBuf k = kbuf_new(&u->m, KS_CONST, name_of(&u->names, "k"), DT_F32, 1, d + 1, (KLoc){0});
    kbuf(&u->m, k)->blob = blob_inline(&u->blobs, DT_F32, 4, (float[]){1, 2, 3, 4});
    Kb *b = kb_new(&u->m, "scale", (KLoc){0});
    uint32_t px = kb_param(b, x, false), pk = kb_param(b, k, false), py = kb_param(b, y, true);
    KVal i = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, d[0])), j = kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_i(b, 4));
    KVal v = kb_mul(b, kb_load(b, px, (KVal[]){i, j}), kb_const_f(b, DT_F32, factor));
    kb_store(b, py, (KVal[]){i, j}, kb_add(b, v, kb_load(b, pk, &j)));
    kb_end(b);
    kb_end(b);
    kb_finish(b, &u->m.program);
    unit_plan(u);
}

static const char program_text[] =
    "#include \"one.h\"\n#include \"two.h\"\n#include <stdio.h>\n"
    "static int bad(const bmc_model *m, bmc_ctx *c, bmc_status s) { if (s) printf(\"%s\\n\", m->message(c)); return s "
    "!= 0; }\n"
    "int main(void)\n{\n"
    "    float x[ONE_CLASS__COUNT(3)], y[12], z[12];\n    bmc_ctx *a, *b;\n    one_in in;\n    one_out out;\n    "
    "two_in in2;\n    two_out out2;\n    int i;\n"
    "    for (i = 0; i < 12; i++) x[i] = (float)i;\n"
    "    in.class_ = x; in.dim_N = 3; out.v1_y_0 = y; in2.class_ = x; in2.dim_N = 3; out2.v1_y_0 = z;\n"
    "    if (bad(&one_model, 0, one_model.create(0, 0, 0, &a)) || bad(&two_model, 0, two_model.create(0, 0, 0, &b))) "
    "return 1;\n"
    "    if (bad(&one_model, a, one_run(a, in, out)) || bad(&two_model, b, two_run(b, in2, out2))) return 2;\n"
    "    for (i = 0; i < 12; i++) if (y[i] != x[i] * 2 + i % 4 + 1 || z[i] != x[i] * 3 + i % 4 + 1) return 3;\n"
    "    one_model.destroy(a); two_model.destroy(b);\n    return 0;\n}\n";

static bool shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static bool shell(const char *fmt, ...)
{
    char text[4096];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return system(text) == 0;
}

static void write_file(const char *name, const char *text)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    if (!CHECK(f && fputs(text, f) >= 0)) return;
    fclose(f);
}

static bool emit_small(CodegenKind kind, const char *triple, const char *name, double factor, const char *runtime)
{
    Unit u;
    unit_open(&u, "native");
    if (triple) CHECK(codegen_target(&u.a, &u.d, triple, NULL, &u.m.target));
    small_model(&u, name, factor);
    CodegenOptions o = options(2, kind, arena_printf(&u.a, "%s/%s.%s", dir, name, kind == CG_OBJECT ? "o" : "a"));
    o.header = true;
    if (runtime) o.runtime_dir = runtime, o.threads = false;
    bool ok = CHECK(kir_verify(&u.m, "test")) && CHECK(codegen_emit(&u.m, &o));
    unit_close(&u);
    return ok;
}

static void test_objects(void)
{
    if (!emit_small(CG_OBJECT, NULL, "one", 2, NULL) || !emit_small(CG_ARCHIVE, NULL, "two", 3, NULL)) return;
    write_file("main.c", program_text);
    CHECK(shell("cp %s/main.c %s/main.cc && mkdir -p %s/bmc && cp runtime/bmc.h %s/bmc", dir, dir, dir, dir));
    CHECK(
        shell("cc -std=c99 -Wall -Wextra -Werror -pedantic -I%s -o %s/c %s/main.c %s/one.o %s/two.a -lgomp -lm && %s/c",
              dir, dir, dir, dir, dir, dir));
    if (shell("command -v c++ >/dev/null"))
        CHECK(shell("c++ -std=c++17 -Wall -Wextra -Werror -pedantic -I%s -o %s/cc %s/main.cc %s/one.o %s/two.a -lgomp "
                    "-lm && %s/cc",
                    dir, dir, dir, dir, dir, dir));
    else printf("no c++: header not tried\n");
    CHECK(shell("test \"$(nm -g --defined-only %s/one.o | awk '{print $3}')\" = one_model", dir));
    CHECK(shell("nm %s/one.o | grep -q ' t k0_scale\\| t scale'", dir));
    CHECK(shell("rm -f %s/*.o %s/*.a", dir, dir));
    if (!shell("command -v aarch64-linux-gnu-gcc >/dev/null && command -v qemu-aarch64 >/dev/null")) {
        printf("no aarch64 compiler or emulator: not tried\n");
    } else {
        CHECK(shell("mkdir -p %s/arm && for f in runtime/*.c; do aarch64-linux-gnu-gcc -O1 -fPIC -fvisibility=hidden "
                    "-I. -D_DEFAULT_SOURCE -c $f -o %s/arm/$(basename $f).o || exit 1; done;"
                    " aarch64-linux-gnu-ar rcs %s/arm/libbmc_rt.a %s/arm/*.o",
                    dir, dir, dir, dir));
        char runtime[128];
        snprintf(runtime, sizeof runtime, "%s/arm", dir);
        if (emit_small(CG_OBJECT, "aarch64-linux-gnu", "one", 2, runtime) &&
            emit_small(CG_ARCHIVE, "aarch64-linux-gnu", "two", 3, runtime))
            CHECK(shell("aarch64-linux-gnu-gcc -static -I%s -o %s/arm/c %s/main.c %s/one.o %s/two.a -lm && "
                        "qemu-aarch64 %s/arm/c",
                        dir, dir, dir, dir, dir, dir));
    }
    CHECK(shell("rm -rf %s/arm %s/bmc %s/*.o %s/*.a %s/*.h %s/main.* %s/c %s/cc", dir, dir, dir, dir, dir, dir, dir,
                dir));
}

/* ---- a shared object is written anew, in pieces of 2 MB: weights that cross several, whole and in their place ---- */
static void test_pieces(void)
{
    enum { COUNT = 1250003 };
    Unit u;
    unit_open(&u, "native");
    u.m.prefix = "large";
    float *w = arena_alloc(&u.a, COUNT * sizeof *w);
    for (int i = 0; i < COUNT; i++) w[i] = (float)(i * 7 % COUNT);
    Dim n = dim_k(&u, COUNT);
    KBuf x = port(&u, false, "x", DT_F32, 1, &n), y = port(&u, true, "y", DT_F32, 1, &n);
    KBuf k = kbuf_new(&u.m, KS_CONST, name_of(&u.names, "k"), DT_F32, 1, &n, (KLoc){0});
    kbuf(&u.m, k)->blob = blob_inline(&u.blobs, DT_F32, COUNT, w);
    Kb *b = kb_new(&u.m, "plus", (KLoc){0});
    uint32_t px = kb_param(b, x, false), pk = kb_param(b, k, false), py = kb_param(b, y, true);
    KVal i = kb_for(b, KLOOP_VEC, kb_i(b, 0), kb_dim(b, n));
    kb_store(b, py, &i, kb_add(b, kb_load(b, px, &i), kb_load(b, pk, &i)));
    kb_end(b);
    kb_finish(b, &u.m.program);
    unit_plan(&u);
    CodegenOptions o = options(2, CG_SO, arena_printf(&u.a, "%s/large.so", dir));
    if (CHECK(kir_verify(&u.m, "test")) && CHECK(codegen_emit(&u.m, &o))) {
        FILE *f = fopen(o.out_path, "rb");
        size_t most = COUNT * sizeof *w + (1 << 20), got = 0, at = 0;
        uint8_t *all = arena_alloc(&u.a, most);
        if (CHECK(f)) got = fread(all, 1, most, f), fclose(f);
        CHECK(got > COUNT * sizeof *w && got < most);
        while (at + COUNT * sizeof *w < got && memcmp(all + at, w, COUNT * sizeof *w)) at += 4096;
        CHECK(at + COUNT * sizeof *w < got); /* and something behind them */
        void *so = dlopen(o.out_path, RTLD_NOW);
        CHECK(so && dlsym(so, "large_model"));
        if (so) dlclose(so);
        CHECK(shell("test -x %s && test \"$(ls %s)\" = large.so", o.out_path, dir));
    }
    remove(o.out_path);
    unit_close(&u);
}

/* ---- debug information: the kernel's first instruction is on its line of the .kir, its store on the store's ---- */
static void test_debug(void)
{
    Unit u;
    unit_open(&u, "native");
    small_model(&u, "dbg", 2);
    CodegenOptions o = options(2, CG_SO, arena_printf(&u.a, "%s/dbg.so", dir));
    o.debug = true;
    if (CHECK(codegen_emit(&u.m, &o))) {
        CHECK(shell("cd %s && test \"$(addr2line -e dbg.so 0x$(nm dbg.so | awk '/ k0_scale$/{print $1}') | sed "
                    "'s/.*dbg.kir://; s/ .*//')\" = "
                    "\"$(grep -n 'kernel @k0_scale' dbg.kir | cut -d: -f1)\"",
                    dir));
        CHECK(shell("cd %s && objdump -d dbg.so | awk '/<k0_scale>:/{p=1} /^$/{p=0} p&&/^ /{sub(\":\",\"\",$1);print "
                    "$1}' | addr2line -e dbg.so |"
                    " grep -q \"dbg.kir:$(grep -n 'store %%' dbg.kir | cut -d: -f1)\"",
                    dir));
    }
    CHECK(shell("rm -f %s/dbg.so %s/dbg.kir", dir, dir));
    unit_close(&u);
}

/* ---- what we know about cpus is what LLVM says ---- */
static void test_targets(void)
{
    Arena a;
    Diag d;
    static const char *const names[] = {"native", "x86-64", "x86-64-v2", "x86-64-v3", "x86-64-v4"};
    arena_init(&a, "test", NULL);
    diag_init(&d, &a);
    for (int i = 0; i < 5; i++) {
        KTarget t;
        uint64_t known[2], asked[2];
        if (!CHECK(codegen_target(&a, &d, i ? "x86_64-pc-linux-gnu" : NULL, names[i], &t))) continue;
        target_cpu_need(&t, known);
        target_cpu_need_asked(&t, asked);
        known[0] &= ~(1ull << 0 | 1ull << 41); /* cx16, sahf: LLVM cannot be asked */
        if (!CHECK(known[0] == asked[0] && known[1] == asked[1]))
            printf("    %s: %llx %llx\n", names[i], (long long)known[0], (long long)asked[0]);
    }
    KTarget t;
    CHECK(codegen_target(&a, &d, "x86_64-linux-gnu", "haswell", &t) && t.vec_bits == 256 && t.vec_regs == 16 && t.fma);
    CHECK(codegen_target(&a, &d, "x86_64-linux-gnu", "znver4", &t) && t.vec_bits == 512 && t.vec_regs == 32 && t.fma);
    CHECK(codegen_target(&a, &d, "x86_64-linux-gnu", "nehalem", &t) && t.vec_bits == 128 && t.vec_regs == 16 && !t.fma);
    CHECK(codegen_target(&a, &d, "aarch64-linux-gnu", "cortex-a72", &t) && t.vec_bits == 128 && t.vec_regs == 32 &&
          t.fma);
    for (const char *const *c = codegen_cpus(&a, "x86_64-linux-gnu"); *c; c++)
        CHECK(codegen_target(&a, &d, "x86_64-linux-gnu", *c, &t));
    arena_free(&a);
}

/* ---- failures leave nothing behind and say why ---- */
static void quiet(void *arg, const DiagMessage *m) { *(const char **)arg = m->text; }

static void test_failures(void)
{
    Unit u;
    const char *said = "";
    KTarget t;
    unit_open(&u, "native");
    u.d.sink = quiet;
    u.d.sink_arg = &said;
    CHECK(!codegen_target(&u.a, &u.d, NULL, "pentium-999", &t) && strstr(said, "unknown cpu 'pentium-999'"));
    CHECK(!codegen_target(&u.a, &u.d, "vax-dec-ultrix", NULL, &t) && strstr(said, "vax-dec-ultrix"));
    small_model(&u, "bad", 2);
    CodegenOptions o = options(2, CG_SO, arena_printf(&u.a, "%s/none/x.so", dir));
    CHECK(!codegen_emit(&u.m, &o) && strstr(said, "No such file"));
    o.out_path = arena_printf(&u.a, "%s/x.so", dir);
    o.cc = "no-such-compiler";
    CHECK(!codegen_emit(&u.m, &o) && strstr(said, "cannot start 'no-such-compiler'"));
    o.cc = "false";
    CHECK(!codegen_emit(&u.m, &o) && strstr(said, "false ended with status 1"));
    o.cc = "true"; /* says that all is well and makes nothing */
    CHECK(!codegen_emit(&u.m, &o) && strstr(said, "No such file"));
    o.cc = NULL;
    o.runtime_dir = "/nowhere";
    CHECK(!codegen_emit(&u.m, &o) && strstr(said, "libbmc_rt.a"));
    o.runtime_dir = runtime_dir;
    struct rlimit was, small = {2048, 2048}; /* a file that cannot grow: as when the disk is full */
    signal(SIGXFSZ, SIG_IGN);
    CHECK(getrlimit(RLIMIT_FSIZE, &was) == 0);
    small.rlim_max = was.rlim_max;
    CHECK(setrlimit(RLIMIT_FSIZE, &small) == 0);
    bool wrote = codegen_emit(&u.m, &o);
    CHECK(setrlimit(RLIMIT_FSIZE, &was) == 0);
    CHECK(!wrote && strstr(said, "cannot write"));
    unit_close(&u);
    CHECK(rmdir(dir) == 0); /* empty */
    CHECK(mkdir(dir, 0700) == 0);
}

int main(void)
{
    if (!unit_setup()) return 1;
    test_targets();
    test_failures();
    test_objects();
    test_pieces();
    test_debug();
    CHECK(rmdir(dir) == 0);
    return check_done();
}
