/* rt.h: what generated code and the runtime agree on. Not for users (bmc.h is). Generated code knows the layout of
 * `struct bmc_ctx` up to `rt_private` and of rt_desc, rt_arg; codegen/program.c mirrors them and a unit test compares
 * the offsets.
 *
 * A run:  rt_run checks the inputs against the ports and binds entry symbols -> desc->plan(sym, &sizes) evaluates
 * derived symbols and checks and says how much arena and per-thread scratch are needed -> outputs whose dims depend on
 * entry symbols get memory -> one team region: desc->body(ctx, tid, nt) on every thread
 * -> boxed outputs are handed over. Threads record errors, rt_barrier returns the sticky status, all leave at the same
 * barrier. */
#ifndef BMC_RT_H
#define BMC_RT_H
#include "runtime/bmc.h"
#include "runtime/bmc_profile.h"

/* A port whose rank is RT_RANK_UNKNOWN takes any up to RT_ANY_RANK; a symbol of that axis is the rank itself. */
#define RT_RANK_UNKNOWN 255
#define RT_ANY_RANK 8

/* What a symbol of an input's axis is bound to: the extent there, or the rank (axis RT_RANK_UNKNOWN). `rank` is the
 * port's; one of any rank has RT_ANY_RANK axes, 1 in front of those that the value has. A value of too few axes, which
 * is refused elsewhere, has 1 in those that it lacks. */
static inline int64_t rt_extent(int rank, const bmc_value *v, int axis)
{
    if (axis == RT_RANK_UNKNOWN) return v->rank;
    if (rank == RT_RANK_UNKNOWN) axis -= RT_ANY_RANK - v->rank;
    return axis >= 0 && axis < v->rank ? v->dim[axis] : 1;
}

#define RT_HIDDEN __attribute__((visibility("hidden")))

/* Argument of a runtime call. */
typedef enum rt_arg_kind { RT_BUF = 1, RT_DIM = 2, RT_SYM = 3, RT_INT = 4, RT_TEXT = 5, RT_SEQ = 6 } rt_arg_kind;
typedef struct rt_arg {
    uint32_t kind; /* rt_arg_kind */
    uint8_t dtype, rank, pad[2];
    void *data;                /* BUF: address of element 0 */
    int64_t *sym;              /* SYM: where to write */
    int64_t value;             /* DIM, INT: the value; SEQ and boxed BUF: slot number, else -1 */
    const char *text;          /* TEXT */
    int64_t dim[BMC_MAX_RANK]; /* BUF: dense, row-major */
} rt_arg;

/* A step of the program as data, where code for it would be much and seldom run: sizes are lists of operations. */
typedef enum rt_dim_kind { RT_D_CONST, RT_D_SYM, RT_D_ADD, RT_D_MUL, RT_D_DIV, RT_D_MOD, RT_D_MIN, RT_D_MAX, RT_D_BCAST } rt_dim_kind;
typedef struct rt_dim {
    uint32_t kind; /* rt_dim_kind */
    int32_t a, b;  /* CONST: the low and the high half; SYM: its index; else two entries before this one */
} rt_dim;
typedef enum rt_relation { RT_EQ, RT_NE, RT_LE, RT_LT, RT_EITHER_ONE } rt_relation; /* EITHER_ONE: equal, or one of them 1 */
enum { RT_DIMS_MAX = 256 };
typedef struct rt_step {
    uint32_t step, msg, msg_over; /* number, message, message for sizes beyond 64 bits */
    uint32_t sym;                 /* bind, load: which */
    int64_t lo, hi;               /* its bounds */
    int32_t what;                 /* check: rt_relation; load: bytes of an element, negative where it has a sign, 0: a bool */
    uint32_t n, a, b;             /* entries of dim, at most RT_DIMS_MAX; which are the operands */
    rt_dim dim[];
} rt_step;
/* An argument of a call as data: behind the n entries of an rt_step stand `what` of them; `sym`: all threads make the call. */
typedef enum rt_where { RT_AT_SLOT, RT_AT_ARENA, RT_AT_WEIGHTS } rt_where;
enum { RT_GIVEN_MAX = 8 };
typedef struct rt_arg_code {
    uint8_t kind, dtype, rank, where; /* rt_arg_kind; BUF: its type and rank, rt_where: what `at` counts from */
    int32_t slot;                     /* as rt_arg's value for BUF and SEQ */
    int32_t from;                     /* AT_SLOT: which; SYM: which */
    uint32_t at, dim;                 /* entries: the value, or bytes in front of element 0; the first of rank dims */
} rt_arg_code;

/* Per thread; a cache line of its own. The error is the lowest (step, index) that the thread has met. */
typedef struct rt_thread {
    uint64_t err_step; /* 0: none; else 1 + program step */
    int64_t err_index;
    uint32_t err_msg;   /* index into desc->message */
    uint32_t sense;     /* barriers passed: the generation of the barrier's flags */
    uint8_t *scratch;   /* desc->plan's `scratch` bytes, 64-byte aligned, set before body is called */
    int32_t err_status; /* 0: BMC_E_INDEX */
    uint32_t ran;       /* serial number of the last run that reached this thread */
    int64_t err_got, err_want;
    uint32_t dealt; /* launches of this run that rt_part dealt out and this thread is through with */
    uint32_t pad;
} rt_thread;

struct bmc_ctx {
    int64_t *sym; /* value of every symbol, by Sym index */
    /* by slot number, the address of every buffer without a planned offset: inputs, outputs, boxes (sequences: rt_seq
     * *) */
    void **slot;
    uint8_t *arena;
    const uint8_t *weights;
    rt_thread *thread;          /* nt entries */
    uint64_t draws, seed; /* for random operators: how many have been asked for since create or reset */
    struct rt_private *rt;
    uint32_t turn; /* the number of this run: code that goes the other way every other run looks at its last bit */
};

/* What desc->plan answers. Overflow of a size: INT64_MAX, the run then fails with BMC_E_MEMORY. */
typedef struct rt_need {
    int64_t arena, scratch; /* bytes */
    int64_t threads;        /* how many are worth starting for these sizes; 0: nobody knows, all */
    int64_t threads_near;   /* the same, where one core's second cache does not hold the constants but those of all do */
    int64_t constants;      /* bytes of them that threads share in reading */
    int64_t work;           /* about so many cycles on one thread; 0: nobody knows */
    int32_t failed_check;   /* 1 + index into desc->message, 0: fine */
    int64_t got, want;
} rt_need;

typedef struct rt_desc {
    uint32_t abi, n_sym, n_slot, n_message;
    const bmc_info *info;
    uint64_t cpu_need[2];                 /* bits of rt_cpu.h that the code uses */
    const uint8_t *weights;               /* inside the artifact, or NULL: in a file */
    const char *weights_file;             /* base name of the side file, or NULL */
    uint64_t weights_bytes, weights_hash; /* hash: XXH64 with seed 0 over weights_bytes; checked for files only */
    /* slot of each input and output; kind SEQUENCE, OPTIONAL, MAP: the slot holds an rt_seq */
    const uint32_t *in_slot, *out_slot;
    const uint8_t *out_boxed;     /* 0: planned, slot set before body; else a box or sequence that body fills: RT_BOX* */
    const uint32_t *sym_of_entry; /* info->symbol[i] is sym[sym_of_entry[i]] */
    const char *const *message;   /* texts: "node 'x' (Gather): index out of range" */
    uint32_t flags;               /* RT_FLUSH_DENORMALS | RT_THREADED | RT_TILES */
    uint32_t barrier_count;
    void (*plan)(int64_t *sym, rt_need *); /* derived entry symbols, checks, sizes */
    /* dims of a tensor output (valid after body when they depend on nodes) */
    void (*out_dims)(const int64_t *sym, uint32_t output, int64_t *dim);
    int32_t (*body)(bmc_ctx *, int32_t tid, int32_t nt); /* bmc_status */
    const uint8_t *out_planned;   /* 1: dims depend on entry symbols only (always so when not boxed) */
    const char *const *step_name; /* by step number: "node 'x' (Gather)"; n_step entries */
    uint32_t n_step;
} rt_desc;
#define RT_BOX 1
#define RT_BOX_STAYS 2 /* a box that no step moves elsewhere: it may lie in the caller's memory */
#define RT_FLUSH_DENORMALS 1u
#define RT_THREADED 2u
#define RT_TILES 4u /* uses matrix registers: the system is asked for them */
#define RT_MAX_THREADS 1024

/* ---- called by the thunks that codegen emits for bmc_model ---- */
RT_HIDDEN bmc_status rt_sizes(const rt_desc *, const int64_t *sym, int nt, bmc_sizes *);
RT_HIDDEN bmc_status rt_create(const rt_desc *, const bmc_config *, void *mem, size_t bytes, bmc_ctx **);
RT_HIDDEN bmc_status rt_run(bmc_ctx *, const bmc_value *in, bmc_value *out);
RT_HIDDEN bmc_status rt_reset(bmc_ctx *);
RT_HIDDEN void rt_destroy(bmc_ctx *);
RT_HIDDEN const char *rt_message(const bmc_ctx *);

/* ---- called by generated bodies ---- */
/* Waits for all nt threads; returns the sticky status (the same on every thread). nt == 1 returns at once. */
RT_HIDDEN int32_t rt_barrier(bmc_ctx *, int32_t tid, int32_t nt);
/* Scratch of at least `bytes` (-1: a size that overflowed) for each of the nt threads until the run ends; its content is
 * lost. All of them must come here; they wait for each other where there is too little as yet. Returns as rt_barrier. */
RT_HIDDEN int32_t rt_room(bmc_ctx *, int32_t tid, int32_t nt, int64_t bytes, uint32_t step);
/* sym = a, by every thread. Returns as rt_barrier where that does not fit into 64 bits or the symbol's bounds, else 0. */
RT_HIDDEN int32_t rt_bind(bmc_ctx *, int32_t tid, int32_t nt, const rt_step *);
/* Do a and b stand in that relation? Returns as rt_barrier where they do not, else 0. */
RT_HIDDEN int32_t rt_check(bmc_ctx *, int32_t tid, int32_t nt, const rt_step *);
/* sym = element a of `from`, by thread 0 as long as it has met no error; an element outside the bounds is one, and counts as
 * the bound. */
RT_HIDDEN void rt_load(bmc_ctx *, int32_t tid, const rt_step *, const void *from);
/* Slot `sym` gets memory for a bytes, by thread 0 (rt_box_alloc); that there is none is noted. */
RT_HIDDEN void rt_alloc(bmc_ctx *, int32_t tid, const rt_step *);
/* Notes an error on thread 0 (rt_fail) and returns as rt_barrier, on which everybody leaves; all threads come here. */
RT_HIDDEN int32_t rt_stop(bmc_ctx *, int32_t tid, int32_t nt, uint32_t step, uint32_t msg, int32_t status, int64_t got, int64_t want);
/* The next part of a launch's 0..total-1 (total < 2^31, the same on every thread) for this thread: from << 32 | to. 0:
 * everything has been given away, and the thread goes on; until then it must ask again. All nt threads must come here
 * for the same launches in the same order; no barrier is needed in between. */
RT_HIDDEN uint64_t rt_part(bmc_ctx *, int32_t tid, int32_t nt, int64_t total);
/* Notes an error of this thread; the lowest (step, index, bound) becomes the message. */
RT_HIDDEN void rt_record(bmc_ctx *, int32_t tid, uint32_t step, uint32_t msg, int64_t index, int64_t bound);
/* The text of an error: {got} and {want} are replaced by the numbers; where it has neither, they follow in brackets. */
RT_HIDDEN void rt_message_text(char *to, size_t size, bmc_status, const char *text, int64_t got, int64_t want);
/* Like rt_record, for statuses other than BMC_E_INDEX (check, fail, call). got/want are shown for checks (status
 * BMC_E_SHAPE). After a call that returned a status, the text that the called function left (position, length, ...) is
 * shown behind the message. */
RT_HIDDEN void rt_fail(bmc_ctx *, int32_t tid, uint32_t step, uint32_t msg, int32_t status, int64_t got, int64_t want);
/* Memory of at least `bytes` for a box (kept when the capacity suffices), 64-byte aligned but for an output in the
 * caller's memory, never NULL for 0 bytes; thread 0 only. Content is not kept unless `keep`. 0: out of memory, and rt_detail says how much; the caller notes it
 * (rt_fail). The box is NULL then, so no kernel may touch it: either a barrier stands between the allocation and its
 * first use, or serial steps are skipped while thread[0].err_step != 0. `bytes` comes from dims that data decides: the
 * caller multiplies with overflow checks and passes -1 for a size that overflowed. */
RT_HIDDEN int32_t rt_box_alloc(bmc_ctx *, uint32_t slot, int64_t bytes, int32_t keep);
/* Box or sequence: nothing when it is empty; move: dst's old memory is freed, src becomes empty. */
RT_HIDDEN void rt_box_free(bmc_ctx *, uint32_t slot);
RT_HIDDEN void rt_box_move(bmc_ctx *, uint32_t dst, uint32_t src);

/* Only in code compiled to be profiled, on every thread: the body begins (n: steps of the program and one); the time
 * since the thread's last look belongs to that step. */
RT_HIDDEN void rt_tick_start(bmc_ctx *, int32_t tid, int32_t n);
RT_HIDDEN void rt_tick(bmc_ctx *, int32_t tid, int32_t step);
RT_HIDDEN void rt_profile(bmc_ctx *, bmc_profile_data *);

/* Every function that a program `call`s has this signature; rt_calls.def lists them. Returns a bmc_status; then its
 * outputs are defined all the same (zero), because serial steps up to the next barrier still run. */
typedef int32_t rt_call_fn(bmc_ctx *, rt_arg *arg, int32_t n, int32_t tid, int32_t nt);
/* fn with the arguments of the record, by thread 0 as long as it has met no error, or by all; a status that it returns is noted. */
RT_HIDDEN void rt_call_given(bmc_ctx *, int32_t tid, int32_t nt, rt_call_fn *fn, const rt_step *);
#define RTCALL(name, args, mode, brief) RT_HIDDEN rt_call_fn name;
/* Weak: NULL in a program that is not linked with the part. */
#define RTCALL_OF(part, name, args, mode, brief) RT_HIDDEN __attribute__((weak)) rt_call_fn name;
#include "runtime/rt_calls.def"
#undef RTCALL

/* ---- for interpreters of the program (kir_eval): a context of one thread without rt_desc ---- */
/* sym and slot arrays of that many entries, all zero; NULL: out of memory. Boxes, sequences and calls work as in a run;
 * errors are in thread[0]. rt_message(ctx) gives the text of thread[0]'s error after rt_interp_status. */
RT_HIDDEN bmc_ctx *rt_interp_create(uint32_t n_sym, uint32_t n_slot);
RT_HIDDEN void rt_interp_destroy(bmc_ctx *);
/* Status recorded so far (0: none), and makes its message: `message` is the table that err_msg indexes (may be NULL).
 */
RT_HIDDEN bmc_status rt_interp_status(bmc_ctx *, const char *const *message, uint32_t n_message);
/* Fills the slot's sequence with the items of `v` (not copied: they must outlive the context or the next free of the
 * slot). 0: out of memory. */
RT_HIDDEN int32_t rt_seq_import(bmc_ctx *, uint32_t slot, const bmc_value *v);
/* The slot's sequence as a value of that kind; the memory belongs to the sequence. 0: out of memory. */
RT_HIDDEN int32_t rt_seq_export(bmc_ctx *, uint32_t slot, uint8_t kind, bmc_value *v);
/* Bytes that live until the next run of the context (string contents); NULL: out of memory. Thread 0 only. */
RT_HIDDEN char *rt_text_alloc(bmc_ctx *, size_t n);

#endif
