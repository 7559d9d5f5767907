/* eval.h: kir_eval, the interpreter of the Kernel IR: total by construction (steps, nests, macc, runtime calls), slow, one thread.
 * The oracle for codegen, and the executor of small recipes. Virtual lanes of VEC carries are honoured; fma rounds once. */
#ifndef BMC_IR_KERNEL_EVAL_H
#define BMC_IR_KERNEL_EVAL_H
#include "ir/kernel/kir.h"
#include "runtime/bmc.h"

/* Runs the module's program on n_input values; fills n_output values (data owned by arena when given NULL). On failure: status, and *why. */
bmc_status kir_eval(KModule *, Arena *, const bmc_value *in, bmc_value *out, const char **why);

#endif
