/* rt.h: what generated code and the runtime agree on. Not for users (bmc.h is). Generated code knows the layout of `struct bmc_ctx` up to `rt_private`
 * and of rt_desc, rt_arg; codegen/program.c mirrors them and a unit test compares the offsets.
 *
 * A run:  rt_run checks the inputs against the ports and binds entry symbols -> desc->plan(sym, &sizes) evaluates derived symbols and checks and says how much
 * arena and per-thread scratch are needed -> outputs whose dims depend on entry symbols get memory -> one team region: desc->body(ctx, tid, nt) on every thread
 * -> boxed outputs are handed over. Threads record errors, rt_barrier returns the sticky status, all leave at the same barrier. */
#ifndef BMC_RT_H
#define BMC_RT_H
#include "runtime/bmc.h"

#define RT_HIDDEN __attribute__((visibility("hidden")))

/* Argument of a runtime call. */
typedef enum rt_arg_kind { RT_BUF = 1, RT_DIM = 2, RT_SYM = 3, RT_INT = 4, RT_TEXT = 5, RT_SEQ = 6 } rt_arg_kind;
typedef struct rt_arg {
    uint32_t kind;              /* rt_arg_kind */
    uint8_t dtype, rank, pad[2];
    void *data;                 /* BUF: address of element 0 */
    int64_t *sym;               /* SYM: where to write */
    int64_t value;              /* DIM, INT: the value; SEQ and boxed BUF: slot number, else -1 */
    const char *text;           /* TEXT */
    int64_t dim[BMC_MAX_RANK];  /* BUF: dense, row-major */
} rt_arg;

/* Per thread; a cache line of its own. */
typedef struct rt_thread {
    uint64_t err_step;          /* 0: none; else 1 + program step of the first error on this thread */
    int64_t err_index;
    uint32_t err_msg;           /* index into desc->message */
    uint32_t sense;
    uint8_t *scratch;
    char pad[32];
} rt_thread;

typedef struct rt_box { void *data; size_t bytes; } rt_box;

struct bmc_ctx {
    int64_t *sym;               /* value of every symbol, by Sym index */
    void **slot;                /* base address of every buffer that has no planned offset: inputs, outputs, boxes (sequences: rt_seq *), by slot number */
    uint8_t *arena;
    const uint8_t *weights;
    rt_thread *thread;          /* nt entries */
    uint64_t run_counter, seed; /* for random operators */
    struct rt_private *rt;
};

typedef struct rt_need { int64_t arena, scratch; /* bytes */ int32_t failed_check; /* 1 + index into desc->message, 0: fine */ int64_t got, want; } rt_need;

typedef struct rt_desc {
    uint32_t abi, n_sym, n_slot, n_message;
    const bmc_info *info;
    uint64_t cpu_need[2];       /* bits of rt_cpu.h that the code uses */
    const uint8_t *weights;     /* inside the artifact, or NULL: in a file */
    const char *weights_file;   /* base name of the side file, or NULL */
    uint64_t weights_bytes, weights_hash;
    const uint32_t *in_slot, *out_slot;   /* slot of each input and output */
    const uint8_t *out_boxed;   /* 1: the slot is a box (or sequence) whose content is the result */
    const uint32_t *sym_of_entry;         /* info->symbol[i] is sym[sym_of_entry[i]] */
    const char *const *message; /* texts: "node 'x' (Gather): index out of range" */
    uint32_t flags;             /* RT_FLUSH_DENORMALS | RT_THREADED */
    uint32_t barrier_count;
    void (*plan)(int64_t *sym, rt_need *);                       /* derived entry symbols, checks, sizes */
    void (*out_dims)(const int64_t *sym, uint32_t output, int64_t *dim);   /* dims of an output (valid after run when they depend on nodes) */
    int32_t (*body)(bmc_ctx *, int32_t tid, int32_t nt);         /* bmc_status */
    const uint8_t *out_planned; /* 1: dims depend on entry symbols only */
    const char *const *step_name; /* by step number: "node 'x' (Gather)"; n_step entries */
    uint32_t n_step;
} rt_desc;
#define RT_FLUSH_DENORMALS 1u
#define RT_THREADED 2u

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
/* Notes an error of this thread; the lowest (step, index) becomes the message. */
RT_HIDDEN void rt_record(bmc_ctx *, int32_t tid, uint32_t step, uint32_t msg, int64_t index);
/* Like rt_record, for statuses other than BMC_E_INDEX (check, fail, call). got/want are shown for checks. */
RT_HIDDEN void rt_fail(bmc_ctx *, int32_t tid, uint32_t step, uint32_t msg, int32_t status, int64_t got, int64_t want);
/* Memory of at least `bytes` for a box (kept when the capacity suffices); thread 0 only. Content is not kept unless `keep`. false: recorded. */
RT_HIDDEN int32_t rt_box_alloc(bmc_ctx *, uint32_t slot, int64_t bytes, int32_t keep);
RT_HIDDEN void rt_box_free(bmc_ctx *, uint32_t slot);
RT_HIDDEN void rt_box_move(bmc_ctx *, uint32_t dst, uint32_t src);   /* dst's old memory is freed */

/* Every function that a program `call`s has this signature; rt_calls.def lists them. Returns a bmc_status. */
typedef int32_t rt_call_fn(bmc_ctx *, rt_arg *arg, int32_t n, int32_t tid, int32_t nt);
#define RTCALL(name, args, mode, brief) RT_HIDDEN rt_call_fn name;
#include "runtime/rt_calls.def"
#undef RTCALL

#endif
