/* eval_scalar.h: the meaning of every scalar instruction, in plain C: used by the interpreter and by constant
 * folding, so both agree by construction.
 * A KScalar holds a value of a compute type: integers and bool sign- or zero-extended in `i` (u64: its bits), floats
 * in `f` (an f32 is always
 * exactly representable as float), strings as pointer and length. */
#ifndef BMC_IR_KERNEL_EVAL_SCALAR_H
#define BMC_IR_KERNEL_EVAL_SCALAR_H
#include "ir/kernel/kir.h"

typedef struct KScalar { union { int64_t i; double f; const char *ptr; }; size_t len; } KScalar;

/* Brings an integer into the range of `t` by dropping high bits; any other type's i unchanged. */
int64_t kscalar_wrap(DType t, int64_t v);
/* out = op(a...). `type`: type of the arguments (of a[1] for SELECT). CAST and BITCAST have functions of their own.
 * false: not a scalar operation,
 * or one that is not defined here (FLOORDIV by <= 0). */
bool kscalar_op(KOp op, DType type, const KScalar *a, KScalar *out);
/* The value of type `from` as type `to` (rounded to `to` when it is narrower than its compute type). */
KScalar kscalar_cast(DType from, DType to, KScalar v);
KScalar kscalar_bitcast(DType from, DType to, KScalar v);
/* Element `k` of a dense array, converted from / to the compute type of `elem`. Strings are bmc_string records. */
KScalar kscalar_load(DType elem, const void *base, int64_t k);
void kscalar_store(DType elem, void *base, int64_t k, KScalar v);
/* What a lane of a reduction with that combine starts from: op(identity, x) = x. false: op does not combine. */
bool kscalar_identity(KOp combine, DType type, KScalar *out);

#endif
