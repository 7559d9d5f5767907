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

static void copy_string_attribute(LLVMValueRef to, LLVMValueRef from, const char *name)
{
    LLVMAttributeRef a = LLVMGetStringAttributeAtIndex(from, LLVMAttributeFunctionIndex, name, (unsigned)strlen(name));
    if (a) LLVMAddAttributeAtIndex(to, LLVMAttributeFunctionIndex, a);
}

static const MathFn functions[] = {
    {"exp", 1, math_exp_f32, math_exp_f64, true},
    {"exp2", 1, math_exp2_f32, math_exp2_f64, true},
    {"log", 1, math_log_f32, math_log_f64, true},
    {"tanh", 1, math_tanh_f32, math_tanh_f64, true},
    {"erf", 1, math_erf_f32, math_erf_f64, true},
    {"sigmoid", 1, math_sigmoid_f32, math_sigmoid_f64, true},
    {"softplus", 1, math_softplus_f32, math_softplus_f64, true},
    {"log2", 1, math_log2_f32, NULL, false},
    {"log10", 1, math_log10_f32, NULL, false},
    {"log1p", 1, math_log1p_f32, math_log1p_f64, false},
    {"expm1", 1, math_expm1_f32, math_expm1_f64, false},
    {"sinh", 1, math_sinh_f32, math_sinh_f64, false},
    {"cosh", 1, math_cosh_f32, math_cosh_f64, false},
    {"asinh", 1, math_asinh_f32, math_asinh_f64, false},
    {"acosh", 1, math_acosh_f32, math_acosh_f64, false},
    {"atanh", 1, math_atanh_f32, math_atanh_f64, false},
    {"sin", 1, math_sin_f32, math_sin_f64, false},
    {"cos", 1, math_cos_f32, math_cos_f64, false},
    {"tan", 1, math_tan_f32, math_tan_f64, false},
    {"asin", 1, math_asin_f32, math_asin_f64, false},
    {"acos", 1, math_acos_f32, math_acos_f64, false},
    {"atan", 1, math_atan_f32, math_atan_f64, false},
    {"pow", 2, math_pow_f32, math_pow_f64, false},
    {"fmod", 2, math_fmod_f32, math_fmod_f64, false},
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
    em_mark_pure(m->cx, fn);
    if (f->in_line && !wide) em_add_attribute(m->cx, fn, "alwaysinline");
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
    LLVMBuildRet(e.b, kernel ? kernel(&e, arg) : em_libm(&e, name, arg, f->args));
    LLVMDisposeBuilder(e.b);
    return fn;
}
