/* module.c: the LLVM side of one compile: context, module, target machine, types, constants, and functions that
 * carry the target's attributes. Every function gets target-cpu, target-features and prefer-vector-width, so that
 * inlining and vector widths agree everywhere. */
#include "codegen/cg.h"

#include <llvm-c/Analysis.h>
#include <llvm-c/Error.h>
#include <llvm-c/ErrorHandling.h>
#include <llvm-c/Target.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <stdio.h>
#include <string.h>

/* What this thread is compiling: LLVM's fatal-error handler takes no argument and belongs to the process. */
static _Thread_local const char *current_what, *current_name;

void cg_current(const char *what, const char *name)
{
    current_what = what;
    current_name = name;
}

static void fatal(const char *reason)
{
    if (current_what) BUG("LLVM, %s %s: %s", current_what, current_name ? current_name : "", reason);
    BUG("LLVM: %s", reason);
}

static void on_diagnostic(LLVMDiagnosticInfoRef info, void *arg)
{
    Cg *g = arg;
    LLVMDiagnosticSeverity severity = LLVMGetDiagInfoSeverity(info);
    char *text = LLVMGetDiagInfoDescription(info);
    if (severity == LLVMDSError) {
        g->failed++;
        diag(g->m->diag, diag_file(g->m->source), E_LLVM, text);
    } else if (severity == LLVMDSWarning) {
        diag(g->m->diag, diag_file(g->m->source), E_REMARK, text);
    }
    LLVMDisposeMessage(text);
}

static LLVMTargetMachineRef machine(Cg *g)
{
    const KTarget *t = &g->m->target;
    LLVMTargetRef target;
    char *error = NULL;
    if (LLVMGetTargetFromTriple(t->triple, &target, &error)) {
        diag(g->m->diag, diag_file(g->m->source), E_BAD_TARGET, t->triple, error ? error : "");
        LLVMDisposeMessage(error);
        return NULL;
    }
    LLVMTargetMachineOptionsRef o = LLVMCreateTargetMachineOptions();
    LLVMTargetMachineOptionsSetCPU(o, t->cpu);
    LLVMTargetMachineOptionsSetFeatures(o, t->features ? t->features : "");
    LLVMTargetMachineOptionsSetCodeGenOptLevel(o, g->opt->opt_level ? LLVMCodeGenLevelDefault : LLVMCodeGenLevelLess);
    LLVMTargetMachineOptionsSetRelocMode(o, LLVMRelocPIC);
    LLVMTargetMachineRef tm = LLVMCreateTargetMachineWithOptions(target, t->triple, o);
    LLVMDisposeTargetMachineOptions(o);
    return tm;
}

bool cg_open(Cg *g, KModule *m, const CodegenOptions *opt)
{
    *g = (Cg){.m = m, .opt = opt, .lanes = LANES};
    arena_init(&g->arena, "codegen", m->arena->oom);
    LLVMResetFatalErrorHandler(); /* one of an earlier call: the same */
    LLVMInstallFatalErrorHandler(fatal);
    target_init_llvm();
    map_init(&g->kernel_fn, &g->arena);
    map_init(&g->tick, &g->arena);
    g->isa = target_isa(&m->target);
    g->cx = LLVMContextCreate();
    LLVMContextSetDiagnosticHandler(g->cx, on_diagnostic, g);
    g->mod = LLVMModuleCreateWithNameInContext(m->prefix, g->cx);
    g->b = LLVMCreateBuilderInContext(g->cx);
    g->eb = LLVMCreateBuilderInContext(g->cx);
    g->tm = machine(g);
    if (!g->tm) return false;
    LLVMSetTarget(g->mod, m->target.triple);
    LLVMTargetDataRef td = LLVMCreateTargetDataLayout(g->tm);
    LLVMSetModuleDataLayout(g->mod, td);
    LLVMDisposeTargetData(td);
    g->math = (MathCtx){.cx = g->cx, .mod = g->mod, .has_fma = m->target.fma, .scalef = g->isa.avx512, .flush = m->flush_denormals};

    g->vd = LLVMVoidTypeInContext(g->cx);
    g->i1 = LLVMInt1TypeInContext(g->cx);
    g->i8 = LLVMInt8TypeInContext(g->cx);
    g->i16 = LLVMInt16TypeInContext(g->cx);
    g->i32 = LLVMInt32TypeInContext(g->cx);
    g->i64 = LLVMInt64TypeInContext(g->cx);
    g->f16 = LLVMHalfTypeInContext(g->cx);
    g->f32 = LLVMFloatTypeInContext(g->cx);
    g->f64 = LLVMDoubleTypeInContext(g->cx);
    g->ptr = LLVMPointerTypeInContext(g->cx, 0);
    g->str = LLVMStructTypeInContext(g->cx, (LT[]){g->ptr, g->i64}, 2, false);
    return true;
}

void cg_close(Cg *g)
{
    cg_current(NULL, NULL);
    if (g->di) LLVMDisposeDIBuilder(g->di);
    if (g->b) LLVMDisposeBuilder(g->b);
    if (g->eb) LLVMDisposeBuilder(g->eb);
    if (g->mod) LLVMDisposeModule(g->mod);
    if (g->tm) LLVMDisposeTargetMachine(g->tm);
    if (g->cx) LLVMContextDispose(g->cx);
    arena_free(&g->arena);
}

/* ---- types ---- */
LT cg_type(Cg *g, DType t)
{
    switch (t) {
    case DT_F32: return g->f32;
    case DT_F64: return g->f64;
    case DT_BOOL: return g->i1;
    case DT_STR: return g->str;
    case DT_I8:
    case DT_U8: return g->i8;
    case DT_I16:
    case DT_U16: return g->i16;
    case DT_I32:
    case DT_U32: return g->i32;
    case DT_I64:
    case DT_U64: return g->i64;
    default: BUG("%s is no compute type", dtype_name(t));
    }
}

LT cg_mem_type(Cg *g, DType t)
{
    switch (t) {
    case DT_BOOL: return g->i8;
    case DT_F16:
    case DT_BF16: return g->i16;
    case DT_C64:
    case DT_C128: return cg_type(g, dtype_compute(t));
    default: return dtype_info(t)->bits <= 8 ? g->i8 : cg_type(g, t);
    }
}

LT cg_vec_type(Cg *g, LT t) { return LLVMVectorType(t, g->lanes); }

static bool is_vector(LT t) { return LLVMGetTypeKind(t) == LLVMVectorTypeKind; }

LV cg_i32(Cg *g, int64_t v) { return LLVMConstInt(g->i32, (uint64_t)v, true); }
LV cg_i64(Cg *g, int64_t v) { return LLVMConstInt(g->i64, (uint64_t)v, true); }

bool cg_const(LV v, int64_t *k)
{
    if (!LLVMIsAConstantInt(v)) return false;
    *k = LLVMConstIntGetSExtValue(v);
    return true;
}

static LV splat_const(LV c, unsigned n)
{
    LV v[LANES_MAX];
    assert(n <= LANES_MAX);
    for (unsigned i = 0; i < n; i++) v[i] = c;
    return LLVMConstVector(v, n);
}

LV cg_int_like(LT t, int64_t v)
{
    return is_vector(t) ? splat_const(LLVMConstInt(LLVMGetElementType(t), (uint64_t)v, true), LLVMGetVectorSize(t))
                        : LLVMConstInt(t, (uint64_t)v, true);
}

LV cg_real_like(LT t, double v)
{
    return is_vector(t) ? splat_const(LLVMConstReal(LLVMGetElementType(t), v), LLVMGetVectorSize(t)) : LLVMConstReal(t, v);
}

LV cg_splat(Cg *g, LV s)
{
    LT t = LLVMTypeOf(s);
    if (LLVMIsConstant(s) && !LLVMIsAGlobalValue(s)) return splat_const(s, g->lanes);
    LT vt = cg_vec_type(g, t);
    LV one = LLVMBuildInsertElement(g->b, LLVMGetPoison(vt), s, cg_i32(g, 0), "");
    return LLVMBuildShuffleVector(g->b, one, LLVMGetPoison(vt), LLVMConstNull(cg_vec_type(g, g->i32)), "");
}

LV cg_iota(Cg *g, LT elem)
{
    LV v[LANES_MAX];
    for (unsigned i = 0; i < g->lanes; i++) v[i] = LLVMConstInt(elem, (uint64_t)i, false);
    return LLVMConstVector(v, g->lanes);
}

/* ---- functions ---- */
static void attribute(Cg *g, LV fn, const char *name, const char *value)
{
    LLVMAttributeRef a = LLVMCreateStringAttribute(g->cx, name, (unsigned)strlen(name), value, (unsigned)strlen(value));
    LLVMAddAttributeAtIndex(fn, LLVMAttributeFunctionIndex, a);
}

static void enum_attribute(Cg *g, LV fn, const char *name)
{
    unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));
    LLVMAddAttributeAtIndex(fn, LLVMAttributeFunctionIndex, LLVMCreateEnumAttribute(g->cx, kind, 0));
}

LV cg_fn(Cg *g, const char *name, LT ret, LT *arg, unsigned n, bool internal)
{
    const KTarget *t = &g->m->target;
    LV fn = LLVMAddFunction(g->mod, name, LLVMFunctionType(ret, arg, n, false));
    if (internal) LLVMSetLinkage(fn, LLVMInternalLinkage);
    enum_attribute(g, fn, "nounwind");
    attribute(g, fn, "target-cpu", t->cpu);
    if (t->features && t->features[0]) attribute(g, fn, "target-features", t->features);
    char bits[8];
    snprintf(bits, sizeof bits, "%u", t->vec_bits);
    attribute(g, fn, "prefer-vector-width", bits);
    attribute(g, fn, "warn-stack-size", "4096"); /* design D10: a frame stays below 4 KB */
    return fn;
}

LV cg_extern(Cg *g, const char *name, LT ret, LT *arg, unsigned n)
{
    LV fn = LLVMGetNamedFunction(g->mod, name);
    if (fn) return fn;
    fn = LLVMAddFunction(g->mod, name, LLVMFunctionType(ret, arg, n, false));
    if (!strncmp(name, "rt_", 3)) LLVMSetVisibility(fn, LLVMHiddenVisibility);
    enum_attribute(g, fn, "nounwind");
    return fn;
}

LV cg_call(Cg *g, LV fn, LV *arg, unsigned n, const char *name)
{
    return LLVMBuildCall2(g->b, LLVMGlobalGetValueType(fn), fn, arg, n, name);
}

LV cg_intrinsic(Cg *g, const char *name, LT overload, LV *arg, unsigned n)
{
    unsigned id = LLVMLookupIntrinsicID(name, strlen(name));
    assert(id);
    return cg_call(g, LLVMGetIntrinsicDeclaration(g->mod, id, &overload, overload ? 1 : 0), arg, n, "");
}

LLVMBasicBlockRef cg_block(Cg *g, LV fn, const char *name) { return LLVMAppendBasicBlockInContext(g->cx, fn, name); }
LLVMBasicBlockRef cg_here(Cg *g) { return LLVMGetInsertBlock(g->b); }

LV cg_ptr_add(Cg *g, LV p, LV bytes) { return LLVMBuildGEP2(g->b, g->i8, p, &bytes, 1, ""); }

LV cg_load(Cg *g, LT t, LV p, unsigned align)
{
    LV v = LLVMBuildLoad2(g->b, t, p, "");
    LLVMSetAlignment(v, align);
    return v;
}

LV cg_store(Cg *g, LV v, LV p, unsigned align)
{
    LV s = LLVMBuildStore(g->b, v, p);
    LLVMSetAlignment(s, align);
    return s;
}

LV cg_text(Cg *g, const char *s)
{
    size_t n = strlen(s);
    LV init = LLVMConstStringInContext2(g->cx, s, n, false);
    LV v = LLVMAddGlobal(g->mod, LLVMTypeOf(init), ".text");
    LLVMSetInitializer(v, init);
    LLVMSetLinkage(v, LLVMPrivateLinkage);
    LLVMSetGlobalConstant(v, true);
    LLVMSetUnnamedAddress(v, LLVMGlobalUnnamedAddr);
    return v;
}

LV cg_table(Cg *g, LT elem, LV *v, unsigned n, const char *name)
{
    LV none = LLVMConstNull(elem);
    LV init = n ? LLVMConstArray2(elem, v, n) : LLVMConstArray2(elem, &none, 1);
    LV t = LLVMAddGlobal(g->mod, LLVMTypeOf(init), name);
    LLVMSetInitializer(t, init);
    LLVMSetLinkage(t, LLVMInternalLinkage);
    LLVMSetGlobalConstant(t, true);
    return t;
}

/* ---- dims ---- */
/* Signed floor division and modulus with a divisor that may be 0 at run time (then 0, as kop.def has it). */
static LV floor_div(Cg *g, LV a, LV d, bool want_mod)
{
    LV zero = cg_i64(g, 0), one = cg_i64(g, 1);
    int64_t k;
    bool known = cg_const(d, &k);
    if (known && k > 0 && (k & (k - 1)) == 0)
        return want_mod ? LLVMBuildAnd(g->b, a, cg_i64(g, k - 1), "")
                        : LLVMBuildAShr(g->b, a, cg_i64(g, __builtin_ctzll((uint64_t)k)), "");
    LV bad = known ? NULL : LLVMBuildICmp(g->b, LLVMIntEQ, d, zero, "");
    if (bad) { /* the one quotient that does not fit would trap */
        LV least = LLVMBuildICmp(g->b, LLVMIntEQ, a, cg_i64(g, INT64_MIN), ""), minus = LLVMBuildICmp(g->b, LLVMIntEQ, d, cg_i64(g, -1), "");
        bad = LLVMBuildOr(g->b, bad, LLVMBuildAnd(g->b, least, minus, ""), "");
    }
    LV safe = bad ? LLVMBuildSelect(g->b, bad, one, d, "") : d;
    LV q = LLVMBuildSDiv(g->b, a, safe, ""), r = LLVMBuildSub(g->b, a, LLVMBuildMul(g->b, q, safe, ""), "");
    LV neg = LLVMBuildICmp(g->b, LLVMIntSLT, r, zero, "");
    LV v = want_mod ? LLVMBuildAdd(g->b, r, LLVMBuildSelect(g->b, neg, safe, zero, ""), "")
                    : LLVMBuildSub(g->b, q, LLVMBuildZExt(g->b, neg, g->i64, ""), "");
    return bad ? LLVMBuildSelect(g->b, bad, zero, v, "") : v;
}

LV cg_dim_at(Cg *g, LV sym, Dim d) { return cg_dim_raw(g, sym, dim_resolve(g->m->dims, d)); }

LV cg_dim_raw(Cg *g, LV sym, Dim d)
{
    assert(d.i);
    const DimRec *r = &g->m->dims->rec.p[d.i];
    if (r->kind == DIM_CONST) return cg_i64(g, r->k);
    if (r->kind == DIM_SYM) return cg_load(g, g->i64, cg_ptr_add(g, sym, cg_i64(g, 8 * (int64_t)r->sym.i)), 8);
    LV a = cg_dim_raw(g, sym, r->a), b = cg_dim_raw(g, sym, r->b);
    switch (r->kind) {
    case DIM_ADD: return LLVMBuildAdd(g->b, a, b, "");
    case DIM_MUL: return LLVMBuildMul(g->b, a, b, "");
    case DIM_FLOORDIV: return floor_div(g, a, b, false);
    case DIM_MOD: return floor_div(g, a, b, true);
    case DIM_MIN: return LLVMBuildSelect(g->b, LLVMBuildICmp(g->b, LLVMIntSLT, a, b, ""), a, b, "");
    case DIM_MAX: return LLVMBuildSelect(g->b, LLVMBuildICmp(g->b, LLVMIntSGT, a, b, ""), a, b, "");
    case DIM_BCAST: return LLVMBuildSelect(g->b, LLVMBuildICmp(g->b, LLVMIntEQ, a, cg_i64(g, 1), ""), b, a, "");
    default: UNREACHABLE();
    }
}

/* ---- passes ---- */
static void verify(Cg *g)
{
    for (LV fn = LLVMGetFirstFunction(g->mod); fn; fn = LLVMGetNextFunction(fn)) {
        if (LLVMIsDeclaration(fn) || !LLVMVerifyFunction(fn, LLVMPrintMessageAction)) continue;
        BUG("invalid code for %s:\n%s", LLVMGetValueName(fn), LLVMPrintValueToString(fn));
    }
}

bool cg_run_passes(Cg *g)
{
    verify(g); /* one part in a hundred of a compile */
    /* even without optimisation equal values are merged: it halves the code and pays for itself in instruction
     * selection */
    const char *pipeline =
        g->opt->opt_level ? "always-inline,globaldce,function(early-cse,instcombine<no-verify-fixpoint>,simplifycfg)"
                          : "function(early-cse)";
    cg_current("passes on", g->m->prefix);
    LLVMPassBuilderOptionsRef o = LLVMCreatePassBuilderOptions();
    LLVMErrorRef e = LLVMRunPasses(g->mod, pipeline, g->tm, o);
    LLVMDisposePassBuilderOptions(o);
    if (!e) {
        if (g->opt->verify) verify(g);
        return true;
    }
    char *text = LLVMGetErrorMessage(e);
    diag(g->m->diag, diag_file(g->m->source), E_LLVM, text);
    LLVMDisposeErrorMessage(text);
    return false;
}
