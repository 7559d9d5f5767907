/* cg.h: what the files of codegen/ share. Nobody outside includes it.
 *
 * A module becomes one LLVM module: a function per kernel `k(ctx, tid, nt, step, buffer...)`, one per runtime call, body/plan/out_dims and the tables of
 * runtime/rt.h. A kernel's values are emitted in one of two modes: scalar, or inside a VEC loop, where a value is
 *     UNI  the same in all lanes: kept as a scalar          LIN  i64, base + coef * lane: kept as the scalar of lane 0, so that contiguous
 *     VEC  a <16 x T> (Cg.lanes of them)                         accesses are seen without any analysis and addresses stay scalar.
 *     REPn i64, base + coef * (lane / n): each element n times; in indices only */
#ifndef BMC_CODEGEN_CG_H
#define BMC_CODEGEN_CG_H
#include <llvm-c/Core.h>
#include <llvm-c/DebugInfo.h>
#include <llvm-c/TargetMachine.h>
#include <stdio.h>
#include "base/bug.h"
#include "base/map.h"
#include "codegen/codegen.h"
#include "codegen/math.h"

#define LANES K_LANES
enum { LANES_MAX = 64 }; /* of a vector, at most */
typedef LLVMValueRef LV;
typedef LLVMTypeRef LT;

/* What the code generator itself asks about a target; from cpu and feature string. */
typedef struct CgIsa { bool x86, arm, sse41, avx, avx2, f16c, fma, avx512, bf16, avx512_vnni, avx_vnni, amx_bf16; } CgIsa;

typedef struct Cg {
    KModule *m;
    const CodegenOptions *opt;
    const char *work; /* folder for what is being written (codegen_emit) */
    Arena arena;                    /* dies with the compile */
    unsigned lanes;                 /* of the vectors being emitted: LANES, others in some VEC loops (lanes.c) */
    LLVMContextRef cx;
    LLVMModuleRef mod;
    LLVMTargetMachineRef tm;
    LLVMBuilderRef b, eb;           /* where code goes; entry block of the current function */
    CgIsa isa;
    MathCtx math;
    LT vd, i1, i8, i16, i32, i64, f32, f64, f16, ptr, str;
    uint32_t *slot;                 /* by KBuf.i: slot number */
    uint32_t n_slot;
    Map kernel_fn;                  /* Kernel * -> LV */
    Map foreign;                    /* Kernel * -> the parameters that may be a caller's memory (ahead.c) */
    VEC(const char *) message;      /* the module's, then those of checks and failures */
    VEC(KLoc) step;                 /* by step number */
    Map tick;                       /* with profile: KStep * -> its number in program order, from 1 */
    int64_t n_tick;
    bool may_fail;             /* the program has steps of thread 0 that can fail */
    LV weights, strings;            /* external symbols, NULL while nothing lies there */
    struct CgData *data;            /* layout of the weights object */
    bool weights_out;               /* they lie in a file of their own */
    bool tiles;                     /* some kernel uses matrix registers */
    /* debug information; NULL without -g */
    LLVMDIBuilderRef di;
    LLVMMetadataRef di_file, di_cu, di_fn_type;
    const char *kir_text;
    uint32_t failed;                /* diagnostics given by LLVM */
} Cg;

/* What a message says of a file that is being made: where it will go. */
static inline DiagLoc cg_place(const Cg *g, const char *path) { return diag_file(g->work ? g->opt->out_path : path); }

typedef enum CvKind { CV_NONE, CV_UNI, CV_LIN, CV_REP, CV_VEC } CvKind;
/* What lanes hold: UNI v in each, LIN v + coef * i in lane i, REP v + coef * floor((phase + i) / times), VEC a vector.
 * phase: i64 below times; NULL: 0, and times is 2, 4 or 8. Offsets that are a VEC: times elements in a row are all that
 * lanes lie in; 0: anywhere. */
typedef struct Cv { LV v; int64_t coef; CvKind kind; unsigned times; LV phase; } Cv;

/* One kernel being emitted. */
typedef struct CgFn {
    Cg *g;
    const Kernel *k;
    LV fn, ctx, tid, nt, step;
    LV *param;                      /* by parameter index: address of element 0 */
    Cv *val;                        /* by KVal */
    uint32_t *hoisted;              /* by KInst: the FOR in front of which it was emitted, 0: not */
    Map dims;                       /* Dim -> LV, in the entry block */
    bool vec;                       /* inside a VEC loop or a tile's epilogue */
    LV mask;                        /* active lanes; NULL: all */
    bool short_rows;                /* the mask is that of a loop that has no whole vector */
    KVal whole;                     /* the index of the VEC loop if its vectors begin at multiples of 16 */
    uint32_t *line, at_line;        /* with -g: by KInst, its line in the .kir */
} CgFn;

/* ---- module.c: context, types, constants, functions ---- */
bool cg_open(Cg *, KModule *, const CodegenOptions *);
void cg_close(Cg *);
LT cg_type(Cg *, DType);                       /* compute type in a register: bool is i1, str is {ptr, i64} */
LT cg_mem_type(Cg *, DType);                   /* as it lies in memory: bool i8, f16 and bf16 i16, smaller floats i8 */
LT cg_vec_type(Cg *, LT);                      /* g->lanes of them */
LV cg_i32(Cg *, int64_t);
LV cg_i64(Cg *, int64_t);
bool cg_const(LV, int64_t *);
LV cg_int_like(LT, int64_t);                   /* constant of a scalar or vector type */
LV cg_real_like(LT, double);
LV cg_splat(Cg *, LV);
LV cg_iota(Cg *, LT elem);                     /* <0, 1, ...> */
LV cg_intrinsic(Cg *, const char *name, LT overload, LV *arg, unsigned n);   /* overload NULL: it has none */
LV cg_call(Cg *, LV fn, LV *arg, unsigned n, const char *name);
LV cg_fn(Cg *, const char *name, LT ret, LT *arg, unsigned n, bool internal);   /* with the target's attributes */
LV cg_extern(Cg *, const char *name, LT ret, LT *arg, unsigned n);              /* declaration, hidden unless it is libc's */
LLVMBasicBlockRef cg_block(Cg *, LV fn, const char *name);
LLVMBasicBlockRef cg_here(Cg *);
LV cg_ptr_add(Cg *, LV p, LV bytes);
LV cg_load(Cg *, LT, LV p, unsigned align);
LV cg_store(Cg *, LV v, LV p, unsigned align);
LV cg_text(Cg *, const char *);                /* address of a private NUL-terminated constant */
LV cg_table(Cg *, LT elem, LV *v, unsigned n, const char *name);  /* private constant array, at least one entry */
bool cg_run_passes(Cg *);
void cg_current(const char *what, const char *name);  /* for the fatal-error handler; NULL: nothing */
/* Value of a dim where `sym` is the address of the symbol table; emitted at the builder. raw: symbols as they are, not what they were assumed equal to. */
LV cg_dim_at(Cg *, LV sym, Dim);
LV cg_dim_raw(Cg *, LV sym, Dim);

/* ---- scalar.c: every pure instruction, on scalars and vectors alike ---- */
LV scalar_op(CgFn *, const KInstRec *, LV *arg, DType arg_type, bool vec);
LV scalar_combine(CgFn *, KOp, DType, LV a, LV b);
LV scalar_identity(CgFn *, KOp, DType);
LV scalar_from_mem(Cg *, DType, LV raw);       /* memory form to compute form, scalar or vector */
LV scalar_to_mem(Cg *, DType, LV v);
LV scalar_round_to(Cg *, DType, LV v);         /* compute value rounded as if stored and read back */
/* scalar_small.c: floats of 8 and 4 bits: f32 from the code in an i8 and back */
bool small_float(DType);
LV small_from_mem(Cg *, DType, LV raw);
LV small_to_mem(Cg *, DType, LV v);

/* ---- access.c ---- */
Cv cv_uni(LV);
LV cv_vec(CgFn *, Cv);                         /* as <16 x T> */
Cv cv_add(CgFn *, Cv, Cv);
Cv cv_mul(CgFn *, Cv, Cv);
LV access_dim(CgFn *, Dim);                    /* cached in the entry block */
Cv access_offset(CgFn *, const KInstRec *);    /* flat offset in elements, of a load or store */
Cv access_load(CgFn *, const KInstRec *);
LV access_row(CgFn *, const KInstRec *load, int64_t further, unsigned n, unsigned wide);   /* n elements in a row from there on, memory form, in a vector of `wide`; the other lanes: poison */
void access_store(CgFn *, const KInstRec *);
bool access_whole(DType);                      /* an element is whole bytes, no string */
LV access_masked(Cg *, DType, LT vt, LV p, LV mask);   /* the elements from p on whose lanes are on, memory form; the others: 0 */
unsigned access_align(DType);                  /* of an element, in bytes: all that buffers of callers promise */
void access_record(CgFn *, const KInstRec *);
bool access_mask_cheap(Cg *, DType);           /* a masked access costs what a plain one costs */
LV access_read(Cg *, DType, LV ptr, bool vec, LV mask);   /* one element or 16 in a row, in compute form */

/* ---- repeat.c: lanes that hold the same element several times ---- */
/* floor(at / d) where `at` is what iv's lanes are; false: nothing better than a vector. */
bool repeat_value(CgFn *, KVal iv, Cv at, Cv d, Cv *out);
LV repeat_lanes(Cg *, Cv);                     /* a REP as <16 x i64> */
bool repeat_read(const Cg *, DType, Cv off);   /* do the two below read elements of the type at these offsets? */
LV repeat_load(CgFn *, DType, LV p, Cv off, LV mask);     /* off.coef 1, p: the first one; with a phase, the mask is the loop's or NULL. Memory form */
LV repeat_one_of(Cg *, DType, LV p, unsigned times, int64_t phase);   /* 16 elements from p on, of each `times` neighbours the one at `phase` as often. Memory form */

/* ---- pick.c: lanes that lie anywhere in a short row ---- */
unsigned pick_row(const Cg *, DType, int64_t extent);   /* the extent, if rows of so many elements are loaded as a whole; 0: not */
LV pick_load(CgFn *, DType, LV p, unsigned row, LV at);  /* the elements at[] of the row that begins at p, memory form */

/* fetch.c: asks for what an access of lanes `off` from `base` on will want soon, where hardware does not: its lanes are
 * masked or gathered, all of them in the loop's rows */
void fetch_lanes(CgFn *, const KInstRec *load_or_store, LV base, Cv off);
/* what comes after a long sweep over a row, or the tiles after this one, from a plain access of it */
void fetch_rows(CgFn *, const KInstRec *load, LV base, Cv off);

/* ---- nest.c ---- */
LV nest_kernel(Cg *, const Kernel *);          /* the function */
/* Which of 0..total-1 (i64) this thread runs: [result, *to), from the block where the builder then stands; both i64,
 * equal where there is nothing. *again: the block that comes after the range; replaced by the one that finds the next
 * range where there may be one, which goes to the former *again when there is none. */
LV share_range(CgFn *, LV total, LV *to, LLVMBasicBlockRef *again);
/* i1: in this run the kernel goes through its parallel loop in the other direction; NULL: never. */
LV share_turn(CgFn *);
void nest_block(CgFn *, KBlock, Cv *yield, uint32_t n_yield);
void nest_only(CgFn *, const KInst *, uint32_t n);   /* these of a block alone, in that order */
void nest_hoist(CgFn *, KInst loop, KBlock body, bool loads);
KInst weave_stores(CgFn *, KInst first);       /* in a VEC loop, this store and those behind it that belong to it; the last one */
/* ---- lanes.c ---- */
/* Lanes that go at once in a VEC loop without carries; trips: -1 where they are not known. */
unsigned lanes_at_once(CgFn *, KBlock body, KVal iv, int64_t trips);
LV lanes_mask(CgFn *, LV rest);                /* the first `rest` (i64) of g->lanes; fewer than all */
/* Lanes l and l+8, then +4, +2, +1, of n <= 16 vectors; v[] becomes the scalars. */
void lanes_combine(CgFn *, KOp, DType, LV *v, unsigned n);

bool turn_emit(CgFn *, KInst loop);            /* turn.c: a SEQ loop that is a block to transpose; false: it is none */

bool copy_emit(CgFn *, KInst loop);            /* copy.c: a PAR loop that only copies a large buffer; false: it is none */

/* ---- ahead.c ---- */
enum { AHEAD_LEAST = 8 /* vectors */, AHEAD_SIZE = 40 /* instructions */ };
void ahead_find(Cg *);                         /* before the first kernel */
/* A VEC loop with that body and index, from lo on: elements in front of the first whole vector that it stores; NULL: no matter. Emits before the loop. */
LV ahead_elements(CgFn *, KBlock body, KVal iv, LV lo);

/* ---- macc.c ---- */
void macc_emit(CgFn *, KInst);

/* ---- program.c, tables.c ---- */
void program_slots(Cg *);
bool program_emit(Cg *);                       /* body, plan, out_dims, descriptor, bmc_model */
/* The record of a step for the runtime, from its numbers; a, b (DIM_NONE: it has one operand) are what it computes. NULL: they are too large. */
struct rt_step;
LV rare_step(Cg *, const struct rt_step *head, Dim a, Dim b);
LV rare_alloc(Cg *, KBuf, uint32_t number);           /* a record of an allocation; NULL: a dim may be negative, which its bytes do not show */
LV rare_call(Cg *, const KStep *, uint32_t number);   /* a record of a call's arguments; NULL: they need code */
LV program_body(Cg *);
LV program_plan(Cg *);
LV program_out_dims(Cg *);
bool tables_emit(Cg *, LV body, LV plan, LV out_dims);
uint32_t program_message(Cg *, const char *);
const char *program_loc_text(Cg *, KLoc);

/* ---- debug.c ---- */
void debug_open(Cg *, const char *kir_name);
void debug_function(Cg *, LV fn, const char *kernel_name, KLoc);
void debug_kernel(CgFn *);                     /* fills f->line */
void debug_at(CgFn *, KInst);                  /* what follows belongs to that instruction's line */
void debug_close(Cg *);

/* ---- data.c: the weights object ---- */
typedef struct CgPiece { Blob blob; int64_t off, bytes; } CgPiece;
typedef struct CgData {
    VEC(CgPiece) piece;             /* in order of offsets */
    VEC(Blob) text;                 /* STRINGS blobs */
    VEC(int64_t) text_off;          /* offset of their records */
    int64_t bytes, text_records;    /* of weights, of string records (in bytes) */
    uint64_t hash;
} CgData;
bool data_layout(Cg *);
int64_t data_string_off(Cg *, Blob);
/* hole: a section without contents in the place of the weights, which are written into the linked file. */
bool data_write_object(Cg *, const char *path, bool hole);
bool data_write_into(Cg *, const char *linked);
/* In place of that file one with the same contents and, `inside`, the weights where it has a hole, in large pieces. */
bool data_write_anew(Cg *, const char *linked, bool inside);
bool data_write_file(Cg *, const char *path);
bool data_hash(Cg *);                          /* sets data->hash; for weights in a side file */

/* ---- place.c ---- */
/* Has the linked file room for the weights, which were given to the linker as a section without contents? */
bool place_in_file(Cg *, const char *linked);
/* Leaves the file, open for reading and writing, at the contents of that object; false: it has none of that size. */
bool place_find(Cg *, FILE *, const char *name, int64_t bytes, int64_t *at);

/* ---- target.c ---- */
void target_init_llvm(void);
CgIsa target_isa(const KTarget *);
void target_cpu_need(const KTarget *, uint64_t need[2]);
void target_cpu_need_asked(const KTarget *, uint64_t need[2]);   /* the same, all from LLVM: for the test that compares them */

/* ---- object.c, link.c ---- */
bool cg_build(Cg *);                             /* everything up to optimised LLVM IR */
bool object_write(Cg *, CodegenKind kind, const char *path);
bool link_output(Cg *, const char *object, const char *weights_or_null, const char *out);

#endif
