/* math: elementary functions as vector LLVM IR.
 *
 * The code generator never calls a vector math library and never leaves `llvm.exp` and its kin in the IR (LLVM would
 * scalarise them into one libm call per lane). It asks here for a function of <L x T> and calls that; the result is
 * plain IR which LLVM legalises for any vector width.
 *
 * f32: error below 3 ULP over all inputs (tests/unit/math_test.c measures every one of the 2^32), right at zeros,
 *      infinities, NaN and, when !flush, at denormal inputs and results.
 * f64: the same with its own bar of 3 ULP; log2 and log10 are one libm call per lane, without a fused multiply-add
 *      sin, cos, tan and pow, too. */
#ifndef BMC_CODEGEN_MATH_H
#define BMC_CODEGEN_MATH_H

#include <llvm-c/Core.h>
#include <stdbool.h>

typedef struct MathCtx {
    LLVMContextRef cx;
    LLVMModuleRef mod;
    bool has_fma; /* the target has a fused multiply-add: llvm.fma is one instruction */
    bool scalef;  /* 16 floats are one vector with vscalefps (AVX-512) */
    bool flush;   /* the code will run with denormals flushed (x86 FTZ+DAZ, Arm FZ): skip what only denormals need */
} MathCtx;

/* The function `bmc.NAME.vL{f32,f64}`, <L x T> -> <L x T> (two arguments for pow and fmod; lanes = 1 means the scalar T),
 * internal, nounwind, memory(none); made on first use, with target-cpu, target-features and prefer-vector-width
 * copied from `attrs_from` (may be NULL). NULL when NAME is unknown or `elem` is neither float nor double.
 * NAME: exp exp2 log log2 log10 log1p expm1 tanh erf sigmoid softplus sin cos tan asin acos atan sinh cosh
 * asinh acosh atanh pow fmod. The cheap ones carry `alwaysinline`: run the always-inline pass to have them in the loop. */
LLVMValueRef math_function(MathCtx *m, const char *name, LLVMTypeRef elem, unsigned lanes, LLVMValueRef attrs_from);

#endif
