/* tile_test: the tile generator on every kind of contraction, against tile_check.h's naive one.
 *
 * Per target: one object with a function per case is emitted through the C API; it is scanned for spills; where this machine can execute it, it is
 * loaded and run over many extents. AArch64 code is linked by a cross compiler and run under an emulator where both are installed. */
#include "codegen/tile.h"
#include "ir/kernel/contract.h"
#include "tests/tools/spill_scan.h"
#include "tests/unit/tile_check.h"

#include <llvm-c/Analysis.h>
#include <llvm-c/LLJIT.h>
#include <llvm-c/TargetMachine.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <stdarg.h>

typedef struct Isa { KTarget t; bool (*runs)(void); bool cross; } Isa;

static bool runs_always(void) { return true; }
static bool runs_never(void) { return false; }
#if defined __x86_64__
static bool runs_v3(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
static bool runs_v4(void) { return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq"); }
static bool runs_avxvnni(void) { return runs_v3() && __builtin_cpu_supports("avxvnni"); }
static bool runs_vnni(void) { return runs_v4() && __builtin_cpu_supports("avx512vnni"); }
#else
#define runs_avxvnni runs_never
#define runs_vnni runs_never
#define runs_v3 runs_never
#define runs_v4 runs_never
#undef runs_always
#define runs_always runs_never
#endif

static const Isa isas[] = {
    {{"x86_64-unknown-linux-gnu", "x86-64", "", 128, 16, false, false, KBYTES_TWOS, 32768, 262144, 0}, runs_always, false},
    {{"x86_64-unknown-linux-gnu", "x86-64-v3", "", 256, 16, true, false, KBYTES_TWOS, 32768, 262144, 0}, runs_v3, false},
    {{"x86_64-unknown-linux-gnu", "x86-64-v4", "", 512, 32, true, false, KBYTES_TWOS, 32768, 1048576, 0}, runs_v4, false},
    {{"x86_64-unknown-linux-gnu", "x86-64-v3", "+avxvnni", 256, 16, true, false, KBYTES_FOURS, 32768, 262144, 0}, runs_avxvnni, false},
    {{"x86_64-unknown-linux-gnu", "x86-64-v4", "+avx512vnni", 512, 32, true, false, KBYTES_FOURS, 32768, 1048576, 0}, runs_vnni, false},
    {{"aarch64-unknown-linux-gnu", "generic", "", 128, 32, true, false, KBYTES_ONES, 32768, 524288, 0}, runs_never, true},
};

/* ---- the code under test ---- */
static const DType type_a[TC_TYPES] = {DT_F32, DT_F64, DT_I32, DT_BF16, DT_U8, DT_I64, DT_U8, DT_I8},
                   type_b[TC_TYPES] = {DT_F32, DT_F64, DT_I32, DT_F32, DT_I8, DT_I64, DT_I8, DT_I8},
                   type_c[TC_TYPES] = {DT_F32, DT_F64, DT_I32, DT_F32, DT_I32, DT_I64, DT_I32, DT_I32};

typedef struct Emit { const TileCase *c; LLVMContextRef cx; LLVMModuleRef mod; LLVMBuilderRef b; LLVMTypeRef i64, elem; LLVMValueRef p[TP_COUNT], out; } Emit;

static LLVMValueRef num(Emit *x, int64_t k) { return LLVMConstInt(x->i64, (uint64_t)k, 1); }

static void on_addr(void *arg, LLVMValueRef t, LLVMValueRef row, LLVMValueRef *a_off, LLVMValueRef *pred, LLVMValueRef *b_off)
{
    Emit *x = arg;
    LLVMBuilderRef b = x->b;
    LLVMValueRef strips = LLVMBuildAShr(b, LLVMBuildAdd(b, x->p[TP_COLS], num(x, 15), ""), num(x, 4), "");
    LLVMValueRef batch = LLVMBuildMul(b, t, x->p[TP_K], "");
    *b_off = x->c->packed ? LLVMBuildMul(b, LLVMBuildMul(b, batch, strips, ""), num(x, 16 * tc_group(x->c)), "") : LLVMBuildMul(b, batch, x->p[TP_LDB], "");
    LLVMValueRef r = LLVMBuildSub(b, LLVMBuildAdd(b, row, t, ""), LLVMBuildSDiv(b, x->p[TP_T], num(x, 2), ""), "");
    switch (x->c->mode) {
    case TC_TRANSPOSED: *a_off = row; break;
    case TC_CONV: case TC_CONV_STRIDED:
        *a_off = x->c->mode == TC_CONV ? LLVMBuildMul(b, r, x->p[TP_LDA], "") : r;
        *pred = LLVMBuildICmp(b, LLVMIntULT, r, x->p[TP_ROWS], "");
        break;
    case TC_BATCHES: *a_off = LLVMBuildMul(b, LLVMBuildAdd(b, LLVMBuildMul(b, t, x->p[TP_ROWS], ""), row, ""), x->p[TP_LDA], ""); break;
    default: *a_off = LLVMBuildMul(b, row, x->p[TP_LDA], "");
    }
}

static LLVMValueRef intrinsic(Emit *x, const char *name, LLVMTypeRef *over, LLVMValueRef *arg, unsigned n)
{
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    return LLVMBuildCall2(x->b, LLVMIntrinsicGetType(x->cx, id, over, 2), LLVMGetIntrinsicDeclaration(x->mod, id, over, 2), arg, n, "");
}
static LLVMValueRef load16(Emit *x, LLVMTypeRef elem, unsigned align, LLVMValueRef ptr, LLVMValueRef mask)
{
    LLVMTypeRef over[2] = {LLVMVectorType(elem, 16), LLVMPointerTypeInContext(x->cx, 0)};
    if (!mask) {
        LLVMValueRef v = LLVMBuildLoad2(x->b, over[0], ptr, "");
        LLVMSetAlignment(v, align);
        return v;
    }
    LLVMValueRef arg[4] = {ptr, LLVMConstInt(LLVMInt32TypeInContext(x->cx), align, 0), mask, LLVMConstNull(over[0])};
    return intrinsic(x, "llvm.masked.load", over, arg, 4);
}
static LLVMValueRef c_at(Emit *x, LLVMValueRef row, LLVMValueRef col)
{
    LLVMValueRef off = LLVMBuildAdd(x->b, LLVMBuildMul(x->b, row, x->p[TP_LDC], ""), col, "");
    return LLVMBuildGEP2(x->b, x->elem, x->out, &off, 1, "");
}
static void on_init(void *arg, LLVMValueRef row, LLVMValueRef col, LLVMValueRef mask, LLVMValueRef *acc)
{
    Emit *x = arg;
    *acc = load16(x, x->elem, (unsigned)tc_c_bytes[x->c->type], c_at(x, row, col), mask);
}
static void on_epilogue(void *arg, const LLVMValueRef *sum, LLVMValueRef row, LLVMValueRef col, LLVMValueRef mask)
{
    Emit *x = arg;
    LLVMValueRef acc = *sum;
    unsigned align = (unsigned)tc_c_bytes[x->c->type];
    if (!mask) {
        LLVMSetAlignment(LLVMBuildStore(x->b, acc, c_at(x, row, col)), align);
        return;
    }
    LLVMTypeRef over[2] = {LLVMTypeOf(acc), LLVMPointerTypeInContext(x->cx, 0)};
    LLVMValueRef a[4] = {acc, c_at(x, row, col), LLVMConstInt(LLVMInt32TypeInContext(x->cx), align, 0), mask};
    intrinsic(x, "llvm.masked.store", over, a, 4);
}
static LLVMValueRef widen(Emit *x, DType from, LLVMValueRef v, LLVMTypeRef to)
{
    if (from == DT_I8) return LLVMBuildSExt(x->b, v, to, "");
    LLVMTypeRef i32 = LLVMInt32TypeInContext(x->cx);
    LLVMValueRef z = LLVMBuildZExt(x->b, v, LLVMGetTypeKind(to) == LLVMVectorTypeKind ? LLVMVectorType(i32, 16) : i32, "");
    if (from == DT_U8) return z;
    return LLVMBuildBitCast(x->b, LLVMBuildShl(x->b, z, LLVMConstInt(i32, 16, 0), ""), to, "");   /* bf16 scalars only */
}
static LLVMValueRef on_scalar(void *arg, DType from, LLVMValueRef ptr)
{
    Emit *x = arg;
    return widen(x, from, LLVMBuildLoad2(x->b, LLVMIntTypeInContext(x->cx, dtype_info(from)->bits), ptr, ""), x->elem);
}
static LLVMValueRef on_vector(void *arg, DType from, LLVMValueRef ptr, LLVMValueRef mask)
{
    Emit *x = arg;
    unsigned bits = dtype_info(from)->bits;
    return widen(x, from, load16(x, LLVMIntTypeInContext(x->cx, bits), bits / 8, ptr, mask), LLVMVectorType(x->elem, 16));
}

static LLVMTypeRef elem_type(LLVMContextRef cx, DType d)
{
    return d == DT_F32 ? LLVMFloatTypeInContext(cx) : d == DT_F64 ? LLVMDoubleTypeInContext(cx) : LLVMIntTypeInContext(cx, dtype_info(d)->bits);
}

/* The extents of cases that have one of two. */
static const int64_t two_rows[] = {13, 4}, two_cols[][2] = {{70, 33}, {64, 48}};

static bool is_of_two(const TileCase *c)
{
    const int64_t *cols = two_cols[c->two - 1];
    return (!c->rows || c->rows == two_rows[0] || c->rows == two_rows[1]) && (!c->cols || c->cols == cols[0] || c->cols == cols[1]);
}

static void case_emit(LLVMContextRef cx, LLVMModuleRef mod, const KTarget *target, const TileCase *c, const char *name, unsigned mr, unsigned nv)
{
    Emit x = {.c = c, .cx = cx, .mod = mod, .b = LLVMCreateBuilderInContext(cx), .i64 = LLVMInt64TypeInContext(cx), .elem = elem_type(cx, type_c[c->type])};
    LLVMTypeRef ptr = LLVMPointerTypeInContext(cx, 0), args[4] = {ptr, ptr, ptr, ptr};
    LLVMValueRef fn = LLVMAddFunction(mod, name, LLVMFunctionType(LLVMVoidTypeInContext(cx), args, 4, 0));
    const char *attr[][2] = {{"target-cpu", target->cpu}, {"target-features", target->features}, {"prefer-vector-width", target->vec_bits == 512 ? "512" : target->vec_bits == 256 ? "256" : "128"}};
    for (int i = 0; i < 3; i++)
        LLVMAddAttributeAtIndex(fn, LLVMAttributeFunctionIndex, LLVMCreateStringAttribute(cx, attr[i][0], (unsigned)strlen(attr[i][0]), attr[i][1], (unsigned)strlen(attr[i][1])));
    LLVMPositionBuilderAtEnd(x.b, LLVMAppendBasicBlockInContext(cx, fn, "entry"));
    x.out = LLVMGetParam(fn, 2);
    int64_t known[TP_COUNT];
    tc_params(c, known);
    for (int i = 0; i < TP_COUNT; i++) {
        LLVMValueRef at = num(&x, i), at_ptr = LLVMBuildGEP2(x.b, x.i64, LLVMGetParam(fn, 3), &at, 1, "");
        x.p[i] = c->known ? num(&x, known[i]) : LLVMBuildLoad2(x.b, x.i64, at_ptr, "");
    }
    int64_t group = tc_group(c);
    bool by_k = c->mode == TC_TRANSPOSED || c->mode == TC_CONV_STRIDED;
    TileEmit e = {
        .cx = cx, .mod = mod, .b = x.b, .fn = fn, .target = target, .a_type = type_a[c->type], .b_type = type_b[c->type], .acc = type_c[c->type],
        .mr = mr, .nv = nv, .sums = 1, .b_sum = num(&x, 0), .m_inner = c->m_inner, .b_packed = c->packed, .quads = tc_quads(c), .a_always = c->mode != TC_CONV && c->mode != TC_CONV_STRIDED, .heavy_epilogue = c->heavy,
        .rows = x.p[TP_ROWS], .cols = x.p[TP_COLS], .K = x.p[TP_K], .T = x.p[TP_T], .a_k = by_k ? x.p[TP_LDA] : num(&x, group),
        .b_k = c->packed ? num(&x, 16 * group) : x.p[TP_LDB], .b_strip = c->packed ? LLVMBuildMul(x.b, x.p[TP_K], num(&x, 16 * group), "") : num(&x, 16),
        .a_base = LLVMGetParam(fn, 0), .b_base = LLVMGetParam(fn, 1), .arg = &x,
        .addr = on_addr, .init = c->init ? on_init : NULL, .epilogue = on_epilogue, .load_scalar = on_scalar, .load_vector = on_vector,
    };
    for (int i = 0; c->two && i < 2; i++) e.row_counts[i] = two_rows[i], e.col_counts[i] = two_cols[c->two - 1][i];
    tile_emit(&e);
    LLVMBuildRetVoid(x.b);
    LLVMDisposeBuilder(x.b);
}

static LLVMTargetMachineRef machine_new(const KTarget *k)
{
    char *why = NULL;
    LLVMTargetRef t;
    if (LLVMGetTargetFromTriple(k->triple, &t, &why)) { fprintf(stderr, "%s\n", why); exit(1); }
    return LLVMCreateTargetMachine(t, k->triple, k->cpu, k->features, LLVMCodeGenLevelDefault, LLVMRelocPIC, LLVMCodeModelDefault);
}

/* Verifies, runs the pipeline of generated kernels and gives the object. */
static LLVMMemoryBufferRef object_of(LLVMModuleRef mod, const KTarget *k)
{
    LLVMTargetMachineRef tm = machine_new(k);
    LLVMTargetDataRef layout = LLVMCreateTargetDataLayout(tm);
    LLVMSetModuleDataLayout(mod, layout);
    LLVMSetTarget(mod, k->triple);
    char *why = NULL;
    if (LLVMVerifyModule(mod, LLVMReturnStatusAction, &why)) { fprintf(stderr, "%s\n", why); exit(1); }
    LLVMDisposeMessage(why);
    why = NULL;
    LLVMPassBuilderOptionsRef opt = LLVMCreatePassBuilderOptions();
    LLVMErrorRef err = LLVMRunPasses(mod, "function(early-cse,instcombine<no-verify-fixpoint>,simplifycfg)", tm, opt);
    if (err) { fprintf(stderr, "%s\n", LLVMGetErrorMessage(err)); exit(1); }
    LLVMDisposePassBuilderOptions(opt);
    LLVMMemoryBufferRef mem;
    if (LLVMTargetMachineEmitToMemoryBuffer(tm, mod, LLVMObjectFile, &why, &mem)) { fprintf(stderr, "%s\n", why); exit(1); }
    LLVMDisposeTargetData(layout);
    LLVMDisposeTargetMachine(tm);
    return mem;
}

/* The register tile that contractions of that type get on that target when they are large. */
static void tile_of(const KTarget *k, const TileCase *c, unsigned *mr, unsigned *nv)
{
    TileProblem p = {.acc = type_c[c->type], .a_type = type_a[c->type], .b_type = type_b[c->type], .M = 240, .N = 192, .K = 256, .T = 1, .b_packed = c->packed, .pack_kc = 256};
    if (tc_quads(c)) p.a_type = p.b_type = DT_I32, p.quads = true, p.a_signed = type_a[c->type] == DT_I8;
    TileChoice t = contract_choose(k, &p);
    *mr = t.mr;
    *nv = t.nv;
}

/* ---- cases ---- */
typedef struct Cases { TileCase *p; size_t n, room; } Cases;
static void cases_add(Cases *s, TileCase c)
{
    if (tc_quads(&c)) c.packed = 1;
    if (c.type == TC_QUADS_OF_SIGNED && (c.mode == TC_CONV || c.mode == TC_CONV_STRIDED)) c.type = TC_QUADS;   /* rows of these are always there */
    if (s->n == s->room) s->p = realloc(s->p, (s->room = s->room ? 2 * s->room : 64) * sizeof *s->p);
    s->p[s->n++] = c;
}
static void cases_make(Cases *s)
{
    /* Unknown extents: each is run over many. */
    for (int type = 0; type < TC_TYPES; type++)
        for (int mode = 0; mode < TC_MODES; mode++)
            for (int v = 0; v < 16; v++) {
                if ((v * 7 + mode + type) % (type == TC_F32 ? 3 : 10)) continue;
                cases_add(s, (TileCase){.type = type, .mode = mode, .packed = v & 1, .init = v >> 1 & 1, .m_inner = v >> 2 & 1, .heavy = v >> 3 & 1, .T = 1});
            }
    /* One of two. */
    for (int v = 0; v < 12; v++)
        cases_add(s, (TileCase){.type = v % 3 ? TC_F32 : TC_F64, .mode = v % 2 ? TC_PLAIN : TC_CONV, .packed = v >> 1 & 1, .init = v >> 2 & 1, .m_inner = v % 5 < 3, .heavy = v == 7, .T = 1, .two = 1 + (v >> 2 & 1)});
    /* Known extents, each with its own code. */
    uint32_t seed = 12345;
    for (int i = 0; i < 60; i++) {
        uint32_t r = seed = seed * 1664525u + 1013904223u;
        int mode = (int)(r >> 8 & 0xff) % TC_MODES;
        cases_add(s, (TileCase){.type = i % 3 ? TC_F32 : (int)(r >> 20) % TC_TYPES, .mode = mode, .packed = r >> 16 & 1, .init = r >> 17 & 1, .m_inner = r >> 18 & 1,
                                .heavy = r >> 19 & 1, .known = 1, .rows = 1 + i % 13, .cols = 1 + (r >> 5) % 70, .K = 1 + (r >> 11) % 40,
                                .T = mode == TC_PLAIN || mode == TC_TRANSPOSED ? 1 : 1 + (r >> 14) % 4});
    }
    cases_add(s, (TileCase){.known = 1, .packed = 1, .rows = 0, .cols = 5, .K = 3, .T = 1});
    cases_add(s, (TileCase){.known = 1, .packed = 1, .rows = 5, .cols = 20, .K = 0, .T = 1});
    cases_add(s, (TileCase){.known = 1, .mode = TC_CONV, .packed = 1, .rows = 14, .cols = 33, .K = 9000, .T = 3});   /* zero row longer than the array */
}

/* All extents for a case of unknown ones; every case of known ones has just its own. 0: all right. */
static int case_run(const TileCase *c, TileFn *f, uint32_t seed)
{
    if (c->known) return tc_check(c, f, seed);
    TileCase x = *c;
    for (x.rows = 0; x.rows <= 13; x.rows++)
        for (int j = 0; j < 12; j++) {
            static const int cols[] = {0, 1, 7, 15, 16, 17, 31, 33, 48, 63, 64, 70};
            uint32_t r = seed = seed * 1664525u + 1013904223u;
            x.cols = cols[j];
            x.K = r >> 28 ? 1 + (r >> 8) % 40 : 0;
            x.T = c->mode == TC_PLAIN || c->mode == TC_TRANSPOSED ? 1 : (r >> 16) % 4;
            if (c->two && !is_of_two(&x)) continue;
            if (tc_check(&x, f, r)) return 1;
        }
    return 0;
}

static unsigned passed, failed;
static void check(bool ok, const char *fmt, ...)
{
    if (ok) { passed++; return; }
    va_list v;
    va_start(v, fmt);
    vfprintf(stderr, fmt, v);
    va_end(v);
    fprintf(stderr, "\n");
    failed++;
}

static void jit_fail(LLVMErrorRef err)
{
    if (!err) return;
    fprintf(stderr, "%s\n", LLVMGetErrorMessage(err));
    exit(1);
}

static void run_here(LLVMMemoryBufferRef mem, const Cases *s, const char *cpu)
{
    LLVMOrcLLJITRef jit;
    jit_fail(LLVMOrcCreateLLJIT(&jit, NULL));
    LLVMMemoryBufferRef copy = LLVMCreateMemoryBufferWithMemoryRangeCopy(LLVMGetBufferStart(mem), LLVMGetBufferSize(mem), "tiles");
    jit_fail(LLVMOrcLLJITAddObjectFile(jit, LLVMOrcLLJITGetMainJITDylib(jit), copy));
    unsigned bad = 0;
    for (size_t i = 0; i < s->n && bad < 5; i++) {
        char name[32];
        snprintf(name, sizeof name, "case_%zu", i);
        LLVMOrcExecutorAddress at;
        jit_fail(LLVMOrcLLJITLookup(jit, &at, name));
        bad += (unsigned)case_run(&s->p[i], (TileFn *)(uintptr_t)at, (uint32_t)(i * 77 + 1));
    }
    check(!bad, "%s: %u cases are wrong", cpu, bad);
    jit_fail(LLVMOrcDisposeLLJIT(jit));
}

/* Writes the object and a small main that lists the cases, links them by the cross compiler and runs the result under the emulator. */
static void run_emulated(LLVMMemoryBufferRef mem, const Cases *s)
{
    if (system("command -v aarch64-linux-gnu-gcc >/dev/null && command -v qemu-aarch64 >/dev/null")) {
        printf("aarch64: object emitted; not run (no aarch64-linux-gnu-gcc or qemu-aarch64)\n");
        return;
    }
    char dir[] = "/tmp/tile_test.XXXXXX", path[64], cmd[512];
    if (!mkdtemp(dir)) { perror("mkdtemp"); exit(3); }
    snprintf(path, sizeof path, "%s/tile.o", dir);
    FILE *f = fopen(path, "wb");
    fwrite(LLVMGetBufferStart(mem), 1, LLVMGetBufferSize(mem), f);
    fclose(f);
    snprintf(path, sizeof path, "%s/main.c", dir);
    f = fopen(path, "w");
    fprintf(f, "#include \"tests/unit/tile_check.h\"\n");
    unsigned n = 0;
    for (size_t i = 0; i < s->n; i++) if (s->p[i].known) fprintf(f, "TileFn case_%zu;\n", i);
    fprintf(f, "static const TileCase cases[] = {\n");
    for (size_t i = 0; i < s->n; i++) {
        const TileCase *c = &s->p[i];
        if (!c->known) continue;
        n++;
        fprintf(f, "{%d,%d,%d,%d,%d,%d,%d,%lld,%lld,%lld,%lld},\n", c->type, c->mode, c->packed, c->init, c->m_inner, c->heavy, c->known, (long long)c->rows, (long long)c->cols, (long long)c->K, (long long)c->T);
    }
    fprintf(f, "};\nstatic TileFn *const fns[] = {\n");
    for (size_t i = 0; i < s->n; i++) if (s->p[i].known) fprintf(f, "case_%zu,\n", i);
    fprintf(f, "};\nint main(void) { int bad = 0; for (int i = 0; i < %u && bad < 5; i++) bad += tc_check(&cases[i], fns[i], (uint32_t)i + 1); return bad != 0; }\n", n);
    fclose(f);
    snprintf(cmd, sizeof cmd, "aarch64-linux-gnu-gcc -std=gnu11 -O1 -static -I. -o %s/run %s/main.c %s/tile.o && qemu-aarch64 %s/run", dir, dir, dir, dir);
    check(system(cmd) == 0, "aarch64: wrong under the emulator");
    snprintf(cmd, sizeof cmd, "rm -r %s", dir);
    if (system(cmd)) perror(dir);
}

static void isa_test(const Isa *isa, const Cases *s)
{
    LLVMContextRef cx = LLVMContextCreate();
    LLVMModuleRef mod = LLVMModuleCreateWithNameInContext("tiles", cx);
    for (size_t i = 0; i < s->n; i++) {
        char name[32];
        unsigned mr, nv;
        snprintf(name, sizeof name, "case_%zu", i);
        tile_of(&isa->t, &s->p[i], &mr, &nv);
        case_emit(cx, mod, &isa->t, &s->p[i], name, mr, nv);
    }
    LLVMMemoryBufferRef mem = object_of(mod, &isa->t);
    SpillReport r = spill_scan(mem, isa->t.triple, 2, false);
    check(r.ok && r.loops > s->n && !r.spilled, "%s: %u of %u contraction loops spill", isa->t.cpu, r.spilled, r.loops);
    printf("%s: %zu cases, %zu bytes, %u contraction loops, %u spill%s\n", isa->t.cpu, s->n, LLVMGetBufferSize(mem), r.loops, r.spilled,
           isa->runs() || isa->cross ? "" : "; not run on this machine");
    fflush(stdout);
    if (isa->runs()) run_here(mem, s, isa->t.cpu);
    else if (isa->cross) run_emulated(mem, s);
    LLVMDisposeMemoryBuffer(mem);
    LLVMDisposeModule(mod);
    LLVMContextDispose(cx);
}

/* The scanner must see a tile that does not fit the registers: 16 rows x 32 columns need 32 accumulators beside the operands. */
static void scanner_test(const KTarget *k)
{
    TileCase c = {.known = 1, .packed = 1, .rows = 16, .cols = 32, .K = 100, .T = 1};
    LLVMContextRef cx = LLVMContextCreate();
    LLVMModuleRef mod = LLVMModuleCreateWithNameInContext("spill", cx);
    case_emit(cx, mod, k, &c, "seeded", 16, 2);
    LLVMMemoryBufferRef mem = object_of(mod, k);
    SpillReport r = spill_scan(mem, k->triple, 32, false);
    check(r.ok && r.loops == 1 && r.spilled == 1, "%s: the seeded 16x32 tile is not reported: %u loops, %u spill", k->cpu, r.loops, r.spilled);
    LLVMDisposeMemoryBuffer(mem);
    LLVMDisposeModule(mod);
    LLVMContextDispose(cx);
}

/* A tile written into a .kir by hand may be anything, and is right. */
static void any_tile_test(const Isa *isa)
{
    static const unsigned tile[][2] = {{64, 64}, {1, 64}, {64, 1}, {7, 3}, {1, 1}, {16, 2}};
    if (!isa->runs()) return;
    LLVMContextRef cx = LLVMContextCreate();
    LLVMModuleRef mod = LLVMModuleCreateWithNameInContext("tiles", cx);
    Cases s = {0};
    for (unsigned i = 0; i < 12; i++) {
        char name[32];
        snprintf(name, sizeof name, "case_%u", i);
        TileCase c = {.packed = (int)(i & 1), .m_inner = (int)(i >> 1 & 1), .heavy = i % 3 == 0, .known = i >= 6, .rows = 45, .cols = 85, .K = 9, .T = 1};
        cases_add(&s, c);
        case_emit(cx, mod, &isa->t, &s.p[i], name, tile[i % 6][0], tile[i % 6][1]);
    }
    LLVMMemoryBufferRef mem = object_of(mod, &isa->t);
    run_here(mem, &s, isa->t.cpu);
    LLVMDisposeMemoryBuffer(mem);
    LLVMDisposeModule(mod);
    LLVMContextDispose(cx);
    free(s.p);
}

int main(void)
{
    LLVMInitializeAllTargetInfos();
    LLVMInitializeAllTargets();
    LLVMInitializeAllTargetMCs();
    LLVMInitializeAllAsmPrinters();
    LLVMInitializeAllDisassemblers();
    Cases s = {0};
    cases_make(&s);
    for (size_t i = 0; i < sizeof isas / sizeof *isas; i++) {
        isa_test(&isas[i], &s);
        scanner_test(&isas[i].t);
        any_tile_test(&isas[i]);
    }
    free(s.p);
    printf("%u passed, %u failed\n", passed, failed);
    return failed != 0;
}
