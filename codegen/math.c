/* math: the table of elementary functions, and the making of one (math.h). */
#include "codegen/math.h"

#include "codegen/math_emit.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

typedef struct MathFn {
    const char *name;
    unsigned args;
    MathKernel f32, f64; /* f64: NULL = call libm's NAME in each lane */
    bool in_line;        /* short enough to be worth a copy in every loop */
} MathFn;

static void add_attribute(LLVMContextRef cx, LLVMValueRef fn, const char *name)
{
    unsigned kind = LLVMGetEnumAttributeKindForName(name, strlen(name));
    assert(kind != 0);
    LLVMAddAttributeAtIndex(fn, LLVMAttributeFunctionIndex, LLVMCreateEnumAttribute(cx, kind, 0));
}

static void copy_string_attribute(LLVMValueRef to, LLVMValueRef from, const char *name)
{
    LLVMAttributeRef a = LLVMGetStringAttributeAtIndex(from, LLVMAttributeFunctionIndex, name, (unsigned)strlen(name));
    if (a) LLVMAddAttributeAtIndex(to, LLVMAttributeFunctionIndex, a);
}

/* The value 0 of `memory` is memory(none). */
static void mark_pure(LLVMContextRef cx, LLVMValueRef fn)
{
    add_attribute(cx, fn, "nounwind");
    add_attribute(cx, fn, "willreturn");
    add_attribute(cx, fn, "memory");
}

static V libm_call(Em *e, const char *name, const V *arg, unsigned n)
{
    LLVMTypeRef type = LLVMGetTypeKind(e->f64) == LLVMVectorTypeKind ? LLVMGetElementType(e->f64) : e->f64;
    LLVMTypeRef sig = LLVMFunctionType(type, (LLVMTypeRef[]){type, type}, n, false);
    LLVMValueRef fn = LLVMGetNamedFunction(e->m->mod, name);
    if (!fn) {
        fn = LLVMAddFunction(e->m->mod, name, sig);
        mark_pure(e->m->cx, fn);
    }
    if (e->lanes == 1) return LLVMBuildCall2(e->b, sig, fn, (V *)arg, n, "");
    V y = LLVMGetUndef(e->f64);
    for (unsigned i = 0; i < e->lanes; i++) {
        V at = LLVMConstInt(LLVMInt32TypeInContext(e->m->cx), i, false), x[2];
        for (unsigned j = 0; j < n; j++) x[j] = LLVMBuildExtractElement(e->b, arg[j], at, "");
        y = LLVMBuildInsertElement(e->b, y, LLVMBuildCall2(e->b, sig, fn, x, n, ""), at, "");
    }
    return y;
}

/* exp -|x| */
static V exp_minus_abs(Em *e, V x)
{
    V neg = LLVMBuildFNeg(e->b, em_abs(e, x), "");
    return math_exp_f64(e, &neg);
}

/* as math_sigmoid_f32 */
static V sigmoid_f64(Em *e, const V *a)
{
    V z = exp_minus_abs(e, a[0]), one = em_f64(e, 1);
    V top = em_select(e, em_cmpk(e, LLVMRealOLT, a[0], 0), z, one);
    return em_div(e, top, em_add(e, one, z));
}

/* as math_softplus_f32 */
static V softplus_f64(Em *e, const V *a)
{
    V z = exp_minus_abs(e, a[0]);
    return em_add(e, em_max(e, a[0], 0), libm_call(e, "log1p", &z, 1));
}

static const MathFn functions[] = {
    {"exp", 1, math_exp_f32, math_exp_f64, true},
    {"exp2", 1, math_exp2_f32, NULL, true},
    {"log", 1, math_log_f32, NULL, true},
    {"tanh", 1, math_tanh_f32, NULL, true},
    {"erf", 1, math_erf_f32, NULL, true},
    {"sigmoid", 1, math_sigmoid_f32, sigmoid_f64, true},
    {"softplus", 1, math_softplus_f32, softplus_f64, true},
    {"log2", 1, math_log2_f32, NULL, false},
    {"log10", 1, math_log10_f32, NULL, false},
    {"log1p", 1, math_log1p_f32, NULL, false},
    {"expm1", 1, math_expm1_f32, NULL, false},
    {"sinh", 1, math_sinh_f32, NULL, false},
    {"cosh", 1, math_cosh_f32, NULL, false},
    {"asinh", 1, math_asinh_f32, NULL, false},
    {"acosh", 1, math_acosh_f32, NULL, false},
    {"atanh", 1, math_atanh_f32, NULL, false},
    {"sin", 1, math_sin_f32, NULL, false},
    {"cos", 1, math_cos_f32, NULL, false},
    {"tan", 1, math_tan_f32, NULL, false},
    {"asin", 1, math_asin_f32, NULL, false},
    {"acos", 1, math_acos_f32, NULL, false},
    {"atan", 1, math_atan_f32, NULL, false},
    {"pow", 2, math_pow_f32, NULL, false},
};

static LLVMTypeRef of_lanes(LLVMTypeRef t, unsigned lanes) { return lanes == 1 ? t : LLVMVectorType(t, lanes); }

LLVMValueRef math_function(MathCtx *m, const char *name, LLVMTypeRef elem, unsigned lanes, LLVMValueRef attrs_from)
{
    bool wide = LLVMGetTypeKind(elem) == LLVMDoubleTypeKind;
    if (!wide && LLVMGetTypeKind(elem) != LLVMFloatTypeKind) return NULL;
    const MathFn *f = NULL;
    for (size_t i = 0; i < sizeof functions / sizeof *functions; i++)
        if (strcmp(functions[i].name, name) == 0) f = &functions[i];
    if (!f) return NULL;

    char symbol[64];
    snprintf(symbol, sizeof symbol, "bmc.%s.v%u%s", name, lanes, wide ? "f64" : "f32");
    LLVMValueRef fn = LLVMGetNamedFunction(m->mod, symbol);
    if (fn) return fn;

    LLVMTypeRef type = of_lanes(elem, lanes);
    fn = LLVMAddFunction(m->mod, symbol, LLVMFunctionType(type, (LLVMTypeRef[]){type, type}, f->args, false));
    LLVMSetLinkage(fn, LLVMInternalLinkage);
    mark_pure(m->cx, fn);
    if (f->in_line && !wide) add_attribute(m->cx, fn, "alwaysinline");
    if (attrs_from) {
        copy_string_attribute(fn, attrs_from, "target-cpu");
        copy_string_attribute(fn, attrs_from, "target-features");
        copy_string_attribute(fn, attrs_from, "prefer-vector-width");
    }

    Em e = {
        .m = m,
        .b = LLVMCreateBuilderInContext(m->cx),
        .fn = fn,
        .lanes = lanes,
        .f32 = of_lanes(LLVMFloatTypeInContext(m->cx), lanes),
        .f64 = of_lanes(LLVMDoubleTypeInContext(m->cx), lanes),
        .i32 = of_lanes(LLVMInt32TypeInContext(m->cx), lanes),
        .i64 = of_lanes(LLVMInt64TypeInContext(m->cx), lanes),
    };
    LLVMPositionBuilderAtEnd(e.b, LLVMAppendBasicBlockInContext(m->cx, fn, "entry"));
    V arg[2] = {LLVMGetParam(fn, 0), f->args > 1 ? LLVMGetParam(fn, 1) : NULL};
    MathKernel kernel = wide ? f->f64 : f->f32;
    LLVMBuildRet(e.b, kernel ? kernel(&e, arg) : libm_call(&e, name, arg, f->args));
    LLVMDisposeBuilder(e.b);
    return fn;
}
