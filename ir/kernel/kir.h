/* kir.h: the Kernel IR: ALL its open structs. A module is one *program* (steps that every thread walks together) and its *kernels*
 * (typed loop nests over buffers plus the contraction node `macc`). It has a text form (.kir), a verifier and an interpreter; codegen/ reads nothing else.
 *
 *   kernel @k0_bias_relu(%x: f32[N,64], %b: f32[64], %y: f32[N,64] out) {
 *     for %i = 0..N par {
 *       for %j = 0..64 vec {
 *         store %y[%i, %j] = max(add(load %x[%i, %j], load %b[%j]), 0.0)
 *       }
 *     }
 *   }
 *   program {
 *     launch @k0_bias_relu(%x, %b, %y)      ; at node 3 'relu' (Relu)
 *   }
 *
 * Invariants (kir_verify checks them): values are defined before use in an enclosing block; types as in kop.def; an index list has the buffer's rank; a kernel's
 * top-level block holds pure instructions, locals' initialisation and either one PAR nest (run by all threads, iterations split by formula) or no PAR loop
 * (run by thread 0 alone). Iterations of a PAR loop write disjoint elements. VEC loops hold no PAR or VEC loop and no macc; SEQ loops in them have bounds
 * that do not depend on them (each lane runs the same rounds). Their iterations are independent but for carries that have a combine: those are split over
 * 16 virtual lanes on every ISA (element k goes to lane k mod 16, lanes combine as a tree l with l+8, +4, +2, +1, the initial value comes last), so
 * results have the same bits for any thread count and vector width. */
#ifndef BMC_IR_KERNEL_KIR_H
#define BMC_IR_KERNEL_KIR_H
#include "base/diag.h"
#include "base/vec.h"
#include "ir/blob.h"
#include "ir/dim.h"
#include "ir/type.h"

#define KIR_VERSION 1
#define K_LANES 16          /* virtual lanes of a VEC loop, columns of a weight strip */
#define K_CARRIES 16        /* at most so many values are carried by one loop */

typedef struct KVal { uint32_t i; } KVal;     /* a value inside one kernel; 0: none */
typedef struct KInst { uint32_t i; } KInst;
typedef struct KBlock { uint32_t i; } KBlock;
typedef struct KBuf { uint32_t i; } KBuf;     /* a buffer of the module; 0: none */
typedef struct KLoc { uint32_t i; } KLoc;     /* where it comes from: index into KModule.loc; 0: nowhere */

/* ---- instructions ---- */
enum { KF_PURE = 1, KF_COMMUTES = 2, KF_MATH = 4, KF_CMP = 8, KF_LOAD = 16, KF_EFFECT = 32, KF_REGION = 64, KF_TERM = 128 };
typedef enum KOp { KOP_NONE,
#define KOP(e, text, n, flags) KOP_##e,
#include "ir/kernel/kop.def"
#undef KOP
    KOP_COUNT } KOp;
typedef struct KOpInfo { const char *text; int n_args; uint32_t flags; } KOpInfo;
const KOpInfo *kop_info(KOp);

typedef enum KLoop { KLOOP_SEQ, KLOOP_PAR, KLOOP_VEC } KLoop;

/* macc: C[rows x cols] contraction. Meaning, for all i < rows, j < cols:
 *     acc = init(i, j)                                                  -- 0 when there is no init block
 *     for t < T: (a_off, pred, b_off) = addr(t, i)                      -- b_off does not depend on i
 *         for k < K: acc += (pred ? A[a_off + k*a_k] : 0) * B[b_off + (j/16)*b_strip + k*b_k + j%16]
 *     epilogue(acc, i, j)                                               -- holds the stores
 * With `sums` > 1 an element (i, j) has so many sums side by side, of as many matrices: sum g reads B at g*b_sum beyond that place, init yields and epilogue
 * takes all of them: gates of a recurrent cell, a value and its gate.
 * A and B are addressed as flat element arrays. Packed B: b_k = 16, b_strip = kc*16, zero-padded to whole strips; B in place (row-major): b_k = row stride,
 * b_strip = 16, columns beyond `cols` are not read. With `b_pairs` (bf16, packed, f32 sums) two k lie side by side: element k of a column at
 * k/2*2*b_k + 2*column + k%2. With `quads` (bytes, packed, i32 sums that wrap) K counts groups of four elements, all else counts elements: group k of a row is the
 * four at a_off + k*a_k, that of a column the four at b_off + (j/16)*b_strip + k*b_k + 4*(j%16). Of A u8, or i8 and then x + 128 is what is multiplied; of B i8, or i32
 * whose bytes they are, the lowest first, and which are counted as one element. `mr` x `nv` (rows x strips) is the register tile, `order` which loop runs inside: pure schedule, any value gives
 * the same sums (k ascending within t ascending, fused multiply-add for floats where the target has it). Instruction args: rows, cols, K, T, a_k, b_k, b_strip, b_sum (0 when there
 * is one sum).
 * Blocks: addr(t,i) yields a_off, pred, b_off | init(i,j) yields acc... | epilogue(acc...,i,j) yields nothing. i, j, t, k are i64. */
enum { KM_SUMS_MAX = 4 };
typedef struct KMacc { uint32_t a, b; /* kernel params */ uint8_t mr, nv, sums /* 1..KM_SUMS_MAX; 0 in a spec: 1 */; bool m_inner; bool b_packed, b_pairs, quads; DType acc; KBlock addr, init /* may be 0 */, epi;
    int64_t b_next; /* a hint for prefetching packed B: elements from the first strip of this macc to the one read after its last; 0: right behind the last */ } KMacc;
enum { KM_ROWS, KM_COLS, KM_K, KM_T, KM_AK, KM_BK, KM_BSTRIP, KM_BSUM, KM_ARGS };

typedef struct KInstRec {
    KOp op;
    DType type;               /* of the (first) result; DT_NONE: no result */
    uint32_t arg, n_arg;      /* span in Kernel.args */
    uint32_t res, n_res;      /* results are the values res .. res+n_res-1 */
    uint32_t param;           /* LOAD, STORE: the kernel parameter (index into Kernel.param) */
    union { int64_t i; double f; Dim dim; DType dtype; } imm;
    KLoop loop;               /* FOR */
    KOp *combine;             /* FOR: per carry, KOP_NONE: none */
    KBlock body;              /* FOR */
    bool down;                /* FOR of kind PAR: a thread goes through its iterations from the last to the first. A hint, no result depends on it */
    KMacc *macc;              /* MACC */
    KInst prev, next;
    KBlock block;             /* where it stands */
} KInstRec;

typedef struct KValRec { DType type; KInst def; KBlock block; /* parameter of that block when def is 0 */ uint32_t index; Name name; /* 0: made up when printed */ } KValRec;
typedef struct KBlockRec { KInst first, last; KInst owner; /* 0: the kernel's top */ uint32_t param, n_param; /* values param.. */ } KBlockRec;

/* ---- buffers ---- */
typedef enum KSpace {
    KS_NONE, KS_IN, KS_OUT,   /* the caller's: port index */
    KS_CONST,                 /* a blob, in the weights object */
    KS_ARENA,                 /* planned: offset formula in the arena */
    KS_BOX,                   /* sized while running: a slot in the context, memory from its heap */
    KS_SEQ,                   /* a sequence (also optionals and maps): a slot in the context */
    KS_VIEW,                  /* other dims/strides/offset over `base` */
    KS_PARAM, KS_LOCAL        /* inside a kernel: a parameter; per-thread scratch */
} KSpace;

typedef struct KBufRec {
    Name name;
    KSpace space;
    DType elem;
    uint8_t rank;
    bool dense;               /* strides are row-major of dim; else stride[] holds (elements) */
    bool out;                 /* PARAM: the kernel writes it */
    Dim dim[RANK_MAX], stride[RANK_MAX];
    Dim offset;               /* ARENA: byte offset, DIM_NONE until planned; LOCAL: byte offset in the thread's scratch; VIEW: element offset */
    Dim bytes;                /* ARENA, LOCAL: bytes reserved, set by planning */
    KBuf base;                /* VIEW */
    Blob blob;                /* CONST */
    int32_t port;             /* IN, OUT: its index; BOX, SEQ that is a graph output: that index; else -1 */
    TypeId seq;               /* SEQ: type of the whole value */
    int64_t weight_off;       /* CONST: byte offset in the weights object, -1 until laid out */
    KLoc loc;
} KBufRec;

/* ---- kernels ---- */
typedef struct Kernel {
    Name name;
    Arena *arena;
    VEC(KInstRec) inst; VEC(KValRec) val; VEC(KBlockRec) block;   /* index 0 of each unused */
    VEC(KVal) args;
    VEC(KBufRec) param;       /* PARAM and LOCAL; index 0 unused */
    KBlock top;
    bool parallel;            /* has a PAR nest; set by kir_finish */
    Dim room;                 /* set by planning: bytes of its locals where nothing bounds them at entry; else none, they lie in the planned scratch */
    KLoc loc;
} Kernel;

/* ---- the program ---- */
typedef enum KStepKind {
    KST_BIND,       /* sym = expr                                   bind $n = N+1 */
    KST_LOAD,       /* sym = scalar element of an integer or bool buffer (thread 0 reads, all see it)   bind $n = load %buf[expr] */
    KST_CHECK,      /* a REL b else error                           check N == M, "message" */
    KST_ALLOC,      /* box memory for the buffer's dims             alloc %box */
    KST_FREE,       /* box or sequence memory                       free %box */
    KST_MOVE,       /* dst takes src's memory, src becomes empty    move %dst <- %src */
    KST_LAUNCH,     /* launch @k(%a, %b) */
    KST_CALL,       /* runtime function                             call rt_seq_insert(%s, %x, $pos) */
    KST_BARRIER,
    KST_IF,         /* if expr { ... } else { ... }                 expr != 0 */
    KST_WHILE,      /* while expr carry($i = 0, $n = N) { ... next($i+1, $m) }   carries are symbols, assigned together */
    KST_FAIL        /* fail "message" */
} KStepKind;
typedef enum KRel { KREL_EQ, KREL_NE, KREL_LE, KREL_LT, KREL_BCAST /* a == b, or one of them is 1: "a bcast b" */ } KRel;

typedef struct KArg { enum { KA_BUF, KA_DIM, KA_SYM /* output: the call binds it */, KA_INT, KA_STR } kind; KBuf buf; Dim dim; Sym sym; int64_t i; const char *str; } KArg;

typedef struct KStep KStep;
struct KStep {
    KStepKind kind;
    KLoc loc;
    KStep *prev, *next;           /* in its list */
    Sym sym; Dim a, b; KRel rel;  /* BIND sym=a | LOAD sym=buf[a] | CHECK a rel b | IF, WHILE condition a */
    KBuf buf, src;                /* LOAD, ALLOC, FREE, MOVE */
    Kernel *kernel;               /* LAUNCH */
    KBuf *buf_arg; uint32_t n_buf_arg;   /* LAUNCH: one per PARAM of the kernel, in order (index 0 = first param) */
    bool single;                  /* LAUNCH: by thread 0 alone, though the kernel has a par nest: too little to share */
    const struct RtCall *call; KArg *arg; uint32_t n_arg;   /* CALL */
    struct KSteps *body, *other;  /* IF: then, else; WHILE: body */
    Sym *carry; Dim *init, *next_val; uint32_t n_carry;     /* WHILE */
    const char *msg;              /* CHECK, FAIL */
};
typedef struct KSteps { KStep *first, *last; } KSteps;

static inline bool kstep_shared(const KStep *s) { return s->kernel->parallel && !s->single; }   /* LAUNCH: all threads take part */

/* A function of the runtime that programs may call; rows in runtime/rt_calls.def. */
typedef struct RtCall { const char *name; const char *args; /* b buffer in, o buffer out, q sequence in/out, d dim, s symbol out, i int, t text */ bool team; const struct RtLib *lib; /* NULL: always there */ } RtCall;
const RtCall *rt_call_find(const char *name);   /* NULL: no such row */
/* A part of the runtime that needs libraries (runtime/rt_libs.def): its name, flags for the linker (separated by spaces), Debian packages. */
typedef struct RtLib { const char *part, *flags, *packages; } RtLib;
enum { RT_LIBS_MAX = 8 };

typedef struct KPort { Name name; TypeId type; KBuf buf; int32_t alias; /* index of the output or input that shares memory, -1 */ int32_t alias_axis; int64_t alias_cap; Sym rank; /* not 0: of any rank up to RANK_ANY, which is this; `type` has all axes */ } KPort;
typedef struct KLocRec { int32_t node; Name node_name; Name op; } KLocRec;

/* Facts of the target that schedules depend on; the numbers come from codegen's tables, the text form carries them. */
/* How a target multiplies pairs of bf16: not faster than f32, by vector instructions (512 bits), or in matrix registers (AMX). */
typedef enum KDots { KDOTS_NONE, KDOTS_PAIRS, KDOTS_TILES } KDots;
enum { AMX_ROWS = 16, AMX_K = 32 };   /* of one register of bf16: rows, and elements of k in each */

/* How it adds up products of bytes: widened to 32 bits one by one; widened to 16 bits, two at a time (pmaddwd); four at a time (vpdpbusd). */
typedef enum KBytes { KBYTES_ONES, KBYTES_TWOS, KBYTES_FOURS } KBytes;

typedef struct KTarget {
    const char *triple, *cpu, *features;   /* as LLVM takes them; features may be "" */
    uint16_t vec_bits;                      /* widest useful vector: 128, 256, 512 */
    uint16_t vec_regs;                      /* 16 or 32 */
    bool fma;
    KDots bf16;                             /* products of bf16 pairs at more than the rate of f32 multiply-adds */
    KBytes bytes;
    uint32_t l1_bytes, l2_bytes;            /* data caches of one core */
    uint16_t far_rate;                      /* bytes a cycle from the cache behind L2 into a core that multiplies meanwhile; 0: not known, as slow as the slowest (9) */
} KTarget;

typedef struct KModule {
    Arena *arena; Diag *diag;
    Names *names; Dims *dims; Types *types; Blobs *blobs;
    const char *source;           /* the model's file, for messages */
    const char *prefix;           /* symbol prefix, a C identifier */
    KTarget target;
    bool threads;                 /* code for several threads */
    bool flush_denormals;
    int64_t weights;              /* bytes of the model's constants, where they become kernels: what a run reads decides how it is best read */
    bool unchecked;               /* indices that data bring are trusted: no `record`, no guards */
    VEC(KBufRec) buf;             /* index 0 unused */
    VEC(Kernel *) kernel;
    VEC(KPort) input, output;
    VEC(KLocRec) loc;             /* index 0 unused */
    VEC(const char *) message;    /* texts of `record`; index 0 unused */
    KSteps program;
    const char *recipes;          /* the graphs that GRAPH recipes of constants name, in the form of .bir, for whoever evaluates them; NULL: none */
    Dim arena_bytes, scratch_bytes;  /* set by planning; formulas over entry symbols */
    bool planned;
    struct KPlaces *places;       /* plan_stack.c: what its steps say, so that it is not looked for twice; NULL: not yet */
    struct KCache *cache;         /* module.c, build.c: message ids and texts of kernels, so that equal ones are found */
} KModule;

static inline KInstRec *kinst(const Kernel *k, KInst i) { return &k->inst.p[i.i]; }
static inline KValRec *kval(const Kernel *k, KVal v) { return &k->val.p[v.i]; }
static inline KBlockRec *kblock(const Kernel *k, KBlock b) { return &k->block.p[b.i]; }
static inline KBufRec *kbuf(const KModule *m, KBuf b) { return &m->buf.p[b.i]; }
static inline KVal karg(const Kernel *k, const KInstRec *i, uint32_t n) { return k->args.p[i->arg + n]; }

/* ---- module.c ---- */
void kmodule_init(KModule *, Arena *, Diag *, Names *, Dims *, Types *, Blobs *);
KBuf kbuf_new(KModule *, KSpace, Name or_0, DType, int rank, const Dim *dim, KLoc);   /* dense */
KBuf kbuf_view(KModule *, KBuf base, Name or_0, int rank, const Dim *dim, const Dim *stride /* NULL: dense */, Dim offset /* elements; 0: none */, KLoc);
KBuf kbuf_root(const KModule *, KBuf);               /* the buffer that owns the memory: through views */
Dim kbuf_bytes(KModule *, const KBufRec *);          /* of its elements; DIM_NONE on overflow */
KLoc kloc_new(KModule *, int32_t node, Name node_name, Name op);
DiagLoc kloc_diag(const KModule *, KLoc);
Dim kbuf_count(KModule *, KBuf);                     /* elements */
Dim kbuf_stride(KModule *, const KBufRec *, int axis); /* elements, computed for dense ones */
KStep *kstep_add(KModule *, KSteps *, KStepKind, KLoc);  /* appended */
void kstep_remove(KSteps *, KStep *);
void kstep_insert(KSteps *, KStep *before, KStep *s);
KStep *kstep_new(KModule *, KStepKind, KLoc);            /* in no list */
void kstep_append(KSteps *, KStep *);
/* Calls f for every step in program order, bodies after the step that owns them. */
void kstep_each(const KSteps *, void (*f)(void *arg, KStep *), void *arg);
/* The parts of the runtime with libraries that the program calls; their number. calls.c. */
uint32_t rt_libs_used(const KModule *, const RtLib *out[RT_LIBS_MAX]);
/* ---- print.c, parse.c, verify.c ---- */
void kir_print(Str *, KModule *);
const char *kir_text(KModule *, Arena *);            /* kir_print as a string */
void kir_print_kernel(Str *, const KModule *, const Kernel *);
void kir_print_canonical(Str *, const KModule *, const Kernel *);  /* without names of kernel and parameters: equal text <=> interchangeable */
bool kir_parse(KModule *, const char *file, const char *text, size_t n);
bool kir_verify(KModule *, const char *after);       /* all errors as diagnostics E_VERIFY */
/* ---- query.c: questions about values, not node kinds (D8) ---- */
/* v = base + sum coef[k]*iv... with respect to one loop variable: true when v is affine in `iv` with a constant coefficient (0: uniform). */
bool kx_affine(const Kernel *, const Dims *, KVal v, KVal iv, int64_t *coef);
bool kx_const_i(const Kernel *, const Dims *, KVal, int64_t *);
/* Is an f32 in lo..hi, or NaN, whatever is loaded? By what clamps it; false where that is not seen. */
bool kx_within(const Kernel *, KVal, double lo, double hi);
bool kx_number(const Kernel *, KVal);          /* a float that is never NaN, whatever is loaded; false: that is not seen */
/* q = x div d, r = x rem d of the same x and d? */
bool kx_halves(const Kernel *, const Dims *, KVal q, KVal r, KVal *x, Dim *d);
bool kx_bounds(const Kernel *, KVal, int64_t *lo, int64_t *hi);   /* of an i32, where they are seen: a cast from a float between bounds or from 8 or 16 bits, plus a constant */
/* An access' flat offset as a sum of idx[n]*stride[n], at most one term per axis; returns their number. Indices x div d and x rem d over strides d*s and s are
 * one term x*s: positions that were split and lie in order again. */
int kx_access_terms(const Kernel *, Dims *, const KInstRec *load_or_store, KVal *idx, Dim *stride);
/* Distance in elements between consecutive iterations of `iv` at this access; false: not constant. 0 uniform, 1 contiguous. */
bool kx_access_stride(const Kernel *, Dims *, KInst load_or_store, KVal iv, int64_t *stride);
bool kx_param_read(const Kernel *, uint32_t param);  /* some load or macc reads it */
bool kx_depends(const Kernel *, KVal v, KVal on);    /* v is computed from `on` (loads and carries included) */

#endif
