/* codegen_unit.h: a Kernel IR module under test: built by hand, planned, emitted as a shared object, loaded, run.
 * Shared by the codegen tests. */
#ifndef BMC_TESTS_UNIT_CODEGEN_UNIT_H
#define BMC_TESTS_UNIT_CODEGEN_UNIT_H
#include "codegen/cg.h"
#include "ir/kernel/build.h"
#include "ir/kernel/eval.h"
#include "ir/kernel/eval_scalar.h"
#include "tests/unit/check.h"

#include <dlfcn.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct Unit {
    Arena a;
    Diag d;
    Names names;
    Dims dims;
    Types types;
    Blobs blobs;
    KModule m;
    void *so;
    const bmc_model *model;
    bmc_ctx *ctx;
} Unit;

static char dir[64], runtime_dir[640];
static int serial;

static inline void show(void *arg, const DiagMessage *m)
{
    (void)arg;
    printf("    %s\n", m->text);
}

static inline void unit_open(Unit *u, const char *cpu)
{
    memset(u, 0, sizeof *u);
    arena_init(&u->a, "test", NULL);
    diag_init(&u->d, &u->a);
    u->d.sink = show;
    names_init(&u->names, &u->a);
    dims_init(&u->dims, &u->a, &u->names);
    types_init(&u->types, &u->a, &u->dims);
    blobs_init(&u->blobs, &u->a);
    kmodule_init(&u->m, &u->a, &u->d, &u->names, &u->dims, &u->types, &u->blobs);
    u->m.source = "test.onnx";
    u->m.prefix = "unit";
    CHECK(codegen_target(&u->a, &u->d, NULL, cpu, &u->m.target));
}

static inline Dim dim_k(Unit *u, int64_t k) { return dim_const(&u->dims, k); }

static inline KBuf port(Unit *u, bool out, const char *name, DType t, int rank, const Dim *dim)
{
    KBuf b = kbuf_new(&u->m, out ? KS_OUT : KS_IN, name_of(&u->names, name), t, rank, dim, (KLoc){0});
    KPort p = {.name = name_of(&u->names, name), .type = type_tensor(&u->types, t, rank, dim), .buf = b, .alias = -1};
    if (out) vec_push(&u->a, &u->m.output, p);
    else vec_push(&u->a, &u->m.input, p);
    kbuf(&u->m, b)->port = (int32_t)(out ? u->m.output.n : u->m.input.n) - 1;
    return b;
}

/* Offsets one behind the other. */
static inline void unit_plan(Unit *u)
{
    Dim at = dim_k(u, 0), most = dim_k(u, 0);
    for (uint32_t i = 1; i < u->m.buf.n; i++) {
        KBufRec *r = &u->m.buf.p[i];
        if (r->space != KS_ARENA) continue;
        Dim bytes =
            dim_mul(&u->dims, kbuf_count(&u->m, (KBuf){i}), dim_k(u, r->elem == DT_STR ? 16 : dtype_bytes(r->elem, 1)));
        r->offset = at;
        r->bytes = bytes;
        at = dim_add(&u->dims, at, dim_mul(&u->dims, dim_ceildiv(&u->dims, bytes, dim_k(u, 64)), dim_k(u, 64)));
    }
    for (uint32_t k = 0; k < u->m.kernel.n; k++) {
        Dim local = dim_k(u, 0);
        for (uint32_t p = 1; p < u->m.kernel.p[k]->param.n; p++) {
            KBufRec *r = &u->m.kernel.p[k]->param.p[p];
            if (r->space != KS_LOCAL) continue;
            Dim n = dim_k(u, r->elem == DT_STR ? 16 : dtype_bytes(r->elem, 1));
            for (int d = 0; d < r->rank; d++) n = dim_mul(&u->dims, n, r->dim[d]);
            r->offset = local;
            r->bytes = n;
            local = dim_add(&u->dims, local, dim_mul(&u->dims, dim_ceildiv(&u->dims, n, dim_k(u, 64)), dim_k(u, 64)));
        }
        most = dim_max(&u->dims, most, local);
    }
    u->m.arena_bytes = at;
    u->m.scratch_bytes = most;
    u->m.planned = true;
}

static inline CodegenOptions options(int level, CodegenKind kind, const char *path)
{
    return (CodegenOptions){.opt_level = level,
                            .verify = true,
                            .kind = kind,
                            .out_path = path,
                            .runtime_dir = runtime_dir,
                            .threads = true,
                            .producer = "bmc test"};
}

static inline bool unit_load(Unit *u, int level, int threads)
{
    if (!u->m.planned) unit_plan(u);
    const char *path = arena_printf(&u->a, "%s/t%d.so", dir, serial++);
    CodegenOptions o = options(level, CG_SO, path);
    if (!kir_verify(&u->m, "test") || !CHECK(codegen_emit(&u->m, &o))) return false;
    u->so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!u->so) printf("    %s\n", dlerror());
    if (!getenv("KEEP")) unlink(path);
    if (!CHECK(u->so != NULL)) return false;
    u->model = dlsym(u->so, "bmc_model");
    if (!CHECK(u->model != NULL)) return false;
    bmc_config c = {.size = sizeof c, .threads = threads};
    bmc_status s = u->model->create(&c, NULL, 0, &u->ctx);
    if (s) printf("    %s\n", u->model->message(NULL));
    return CHECK(s == BMC_OK);
}

static inline void unit_unload(Unit *u)
{
    if (u->ctx) u->model->destroy(u->ctx);
    if (u->so) dlclose(u->so);
    u->ctx = NULL;
    u->so = NULL;
}

static inline void unit_close(Unit *u)
{
    unit_unload(u);
    arena_free(&u->a);
}

static inline bmc_value value(DType t, void *data, int rank, const int64_t *dim)
{
    bmc_value v = {.size = sizeof v, .kind = BMC_TENSOR, .dtype = (uint8_t)t, .rank = (uint8_t)rank, .data = data};
    int64_t n = 1;
    for (int i = 0; i < rank; i++) n *= v.dim[i] = dim[i];
    v.bytes = (size_t)(t == DT_STR ? 16 * n : dtype_bytes(t, n));
    return v;
}

/* Sets `runtime_dir` (beside this program) and makes the folder `dir`. */
static inline bool unit_setup(void)
{
    char exe[512];
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = 0;
    char *slash = strrchr(exe, '/');
    if (slash) *slash = 0;
    snprintf(runtime_dir, sizeof runtime_dir, "%s/../lib/bmc/" BMC_HOST_TRIPLE, exe);
    dlopen("libgomp.so.1",
           RTLD_NOW | RTLD_NODELETE); /* stays: what it allocates once would look leaked when a model unloads it */
    snprintf(dir, sizeof dir, "/tmp/codegen_test.XXXXXX");
    return mkdtemp(dir) != NULL;
}

#endif
