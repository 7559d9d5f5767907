/* build.h: the builder of kernels. Pure instructions fold constants and are shared within their block; nothing else is clever.
 *   Kb *b = kb_new(m, "relu", loc);  KVal i = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, n)); ... kb_end(b);  Kernel *k = kb_finish(b); */
#ifndef BMC_IR_KERNEL_BUILD_H
#define BMC_IR_KERNEL_BUILD_H
#include "ir/kernel/kir.h"

typedef struct Kb Kb;

Kb *kb_new(KModule *, const char *name, KLoc);        /* the module's arena */
KModule *kb_module(Kb *);
Kernel *kb_kernel(Kb *);
/* The kernel's parameter for a module buffer, made at first use; `write`: it is (also) stored to. */
uint32_t kb_param(Kb *, KBuf, bool write);
/* Per-thread scratch of that type and size, alive during one kernel. */
uint32_t kb_local(Kb *, const char *name, DType, int rank, const Dim *);
/* Ends the kernel: adds it to the module and appends the launch step to `to`. Equal kernels (same text but for name and parameter names) are shared. */
Kernel *kb_finish(Kb *, KSteps *to);

KVal kb_i(Kb *, int64_t);                              /* i64 constant */
KVal kb_const_i(Kb *, DType, int64_t);                 /* any compute type, converted */
KVal kb_const_f(Kb *, DType, double);
KVal kb_dim(Kb *, Dim);
KVal kb_un(Kb *, KOp, KVal);
KVal kb_bin(Kb *, KOp, KVal, KVal);
KVal kb_fma(Kb *, KVal, KVal, KVal);
KVal kb_select(Kb *, KVal cond, KVal a, KVal b);
KVal kb_cast(Kb *, DType to, KVal);
KVal kb_bitcast(Kb *, DType to, KVal);
DType kb_type(Kb *, KVal);
static inline KVal kb_add(Kb *b, KVal x, KVal y) { return kb_bin(b, KOP_ADD, x, y); }
static inline KVal kb_sub(Kb *b, KVal x, KVal y) { return kb_bin(b, KOP_SUB, x, y); }
static inline KVal kb_mul(Kb *b, KVal x, KVal y) { return kb_bin(b, KOP_MUL, x, y); }
static inline KVal kb_div(Kb *b, KVal x, KVal y) { return kb_bin(b, KOP_DIV, x, y); }
static inline KVal kb_min(Kb *b, KVal x, KVal y) { return kb_bin(b, KOP_MIN, x, y); }
static inline KVal kb_max(Kb *b, KVal x, KVal y) { return kb_bin(b, KOP_MAX, x, y); }
/* ceil(x / k), k > 0 */
static inline KVal kb_ceil_div(Kb *b, KVal x, int64_t k)
{
    return k == 1 ? x : kb_bin(b, KOP_FLOORDIV, kb_add(b, x, kb_i(b, k - 1)), kb_i(b, k));
}
static inline KVal kb_lt(Kb *b, KVal x, KVal y) { return kb_bin(b, KOP_LT, x, y); }
static inline KVal kb_ge(Kb *b, KVal x, KVal y) { return kb_bin(b, KOP_GE, x, y); }
static inline KVal kb_eq(Kb *b, KVal x, KVal y) { return kb_bin(b, KOP_EQ, x, y); }
static inline KVal kb_and(Kb *b, KVal x, KVal y) { return kb_bin(b, KOP_AND, x, y); }

KVal kb_load(Kb *, uint32_t param, const KVal *idx);                              /* idx has the parameter's rank */
KVal kb_load_if(Kb *, uint32_t param, const KVal *idx, KVal pred, KVal alt);      /* alt 0: zero */
void kb_store(Kb *, uint32_t param, const KVal *idx, KVal value);
void kb_store_if(Kb *, uint32_t param, const KVal *idx, KVal value, KVal pred);
/* Unless ok, the thread records message `msg` with `index` and `bound` ({got} and {want} in the message); the program
 * stops at the next barrier with BMC_E_INDEX. Nothing in modules that are not checked. */
void kb_record(Kb *, KVal ok, const char *msg, KVal index, KVal bound);

/* Loops. kb_for .. kb_end without carries; kb_loop .. kb_loop_end with up to 8. */
KVal kb_for(Kb *, KLoop, KVal lo, KVal hi);
KVal kb_for_par(Kb *, KVal lo, KVal hi, bool down);
void kb_end(Kb *);
typedef struct KbLoop { KVal iv; KVal carry[K_CARRIES]; KVal result[K_CARRIES]; KInst inst; uint32_t n; } KbLoop;
void kb_loop(Kb *, KbLoop *, KLoop, KVal lo, KVal hi, uint32_t n_carry, const KVal *init, const KOp *combine /* NULL: none */);
void kb_loop_end(Kb *, KbLoop *, const KVal *yield);   /* fills result */

/* The contraction node: opens it, then each block in turn: addr, (init), epilogue. */
typedef struct KbMacc { KInst inst; KVal t, i, j, acc /* = sum[0] */, sum[KM_SUMS_MAX]; } KbMacc;
void kb_macc(Kb *, KbMacc *, const KMacc *spec, const KVal args[KM_ARGS]);   /* now inside addr(t, i); args[KM_BSUM] is read when there are several sums */
void kb_macc_addr(Kb *, KbMacc *, KVal a_off, KVal pred /* 0: always */, KVal b_off);
void kb_macc_init_begin(Kb *, KbMacc *);                 /* optional: init(i, j) */
void kb_macc_init_end(Kb *, KbMacc *, const KVal *acc);  /* as many as there are sums */
void kb_macc_epilogue(Kb *, KbMacc *);                   /* now inside epilogue(acc, i, j) */
void kb_macc_end(Kb *, KbMacc *);

/* ---- for the parser and for passes that rebuild a kernel ---- */
/* A builder of an empty body with the name, loc, parameters and locals of `old` (indices stay); kb_replace puts the finished body into `old`. */
Kb *kb_reopen(KModule *, const Kernel *old);
void kb_replace(Kb *, Kernel *old);
/* An instruction as it is, no folding, no sharing: `like` gives op, type, param, imm. Its result (0: none). Not for regions and yield. */
KVal kb_raw(Kb *, const KInstRec *like, uint32_t n_arg, const KVal *arg);
/* The same operation through folding and sharing. */
KVal kb_pure(Kb *, const KInstRec *like, uint32_t n_arg, const KVal *arg);
/* Ends the innermost open block with a yield of those values. */
void kb_yield(Kb *, uint32_t n, const KVal *v);
/* Copies instruction `i` of `from` (regions with all that is in them) to the open block; map[value of from] -> value here, filled for what is copied. */
void kb_copy(Kb *, const Kernel *from, KInst i, KVal *map);
/* Copies what stands in block `b`, but for its yield. */
void kb_copy_block(Kb *, const Kernel *from, KBlock b, KVal *map);
/* The open block and its depth (0: the kernel's top). */
KBlock kb_block(Kb *);
/* Sets parallel from the body; what kb_finish and the parser call. */
void kir_finish(Kernel *);

/* Message texts of kb_record are module-wide; the id is what generated code stores. */
uint32_t kmodule_message(KModule *, const char *text);

#endif
