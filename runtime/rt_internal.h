/* rt_internal.h: what the files of the runtime share among themselves; generated code does not know it.
 * A context is one block: bmc_ctx, rt_private and its arrays. Everything that grows or changes size (arena and scratch,
 * boxes, sequences, provided outputs, kept state, copies of strided inputs, string contents) comes from the context's
 * heap. Only the calling thread (thread 0 of the team) touches the heap. */
#ifndef BMC_RT_INTERNAL_H
#define BMC_RT_INTERNAL_H
#include "runtime/rt.h"
#include <stdatomic.h>
#include <stdbool.h>

/* ---- rt_memory.c: the heap ---- */
#define RT_ALIGN 64u
#define RT_BINS 240

typedef struct rt_block rt_block;
typedef struct rt_chunk rt_chunk;
typedef struct rt_heap {
    rt_chunk *chunk;
    rt_block *bin[RT_BINS];             /* free blocks by size class: four classes per power of two */
    uint64_t full[(RT_BINS + 63) / 64]; /* bit: the bin is not empty */
    size_t live, held;                  /* bytes in used blocks; in all chunks */
    bool fixed;                         /* lives in memory of the caller: never grows */
    int settle_wait;                    /* runs before the newest large chunk gets huge pages */
    uint64_t settle_from;               /* time (rt_now) of the next one at the earliest */
    char *settle, *settle_end;          /* what of it has none yet */
} rt_heap;

typedef struct rt_mem {
    void *data;
    size_t bytes, present;
} rt_mem; /* bytes: capacity; present: so many of them the system has been asked to provide */

RT_HIDDEN void rt_heap_init(rt_heap *); /* grows by malloc */
RT_HIDDEN void rt_heap_init_fixed(rt_heap *, void *mem, size_t bytes);
RT_HIDDEN void *rt_heap_alloc(rt_heap *, size_t bytes, size_t *capacity_or_null); /* 64-byte aligned; NULL: no memory */
/* Room for allocations whose rt_heap_cost together is `bytes`. */
RT_HIDDEN bool rt_heap_reserve(rt_heap *, size_t bytes);
RT_HIDDEN void rt_heap_free(rt_heap *, void *);                                   /* NULL: nothing */
/* After a run: another huge page under the newest large chunk, if it has been used for some runs. Content stays. */
RT_HIDDEN void rt_heap_settle(rt_heap *);
RT_HIDDEN void rt_heap_trim(rt_heap *); /* gives chunks without used blocks back */
RT_HIDDEN void rt_heap_destroy(rt_heap *);
/* The caller gave memory for this result: not NULL, and not what an earlier run lent. */
RT_HIDDEN bool rt_given(const rt_heap *, const bmc_value *, const void *memory);
RT_HIDDEN bool rt_heap_owns(const rt_heap *, const void *p); /* p lies in one of its chunks */
RT_HIDDEN size_t rt_heap_cost(size_t bytes); /* what an allocation of that size takes from a fixed heap; saturates */
RT_HIDDEN size_t rt_heap_fixed_cost(void);   /* what a fixed heap takes for itself */
/* Makes m hold at least `bytes` (old content lost when it has to grow). */
RT_HIDDEN bool rt_mem_ensure(rt_heap *, rt_mem *, size_t bytes);
/* The same for an arena, laid out for huge pages; where it has to grow, room for what costs `beside` is fetched with it. */
RT_HIDDEN bool rt_arena_ensure(rt_heap *, rt_mem *, size_t bytes, size_t beside);
/* The first `bytes` of it are about to be written: their pages are fetched at once instead of one fault each. */
RT_HIDDEN void rt_mem_present(rt_heap *, rt_mem *, size_t bytes);
RT_HIDDEN void rt_mem_free(rt_heap *, rt_mem *);
static inline size_t rt_round(size_t n) { return (n + (RT_ALIGN - 1)) & ~(size_t)(RT_ALIGN - 1); }

/* ---- the private part of a context ---- */
enum {
    SLOT_EMPTY,
    SLOT_BOX,
    SLOT_SEQ,
    SLOT_LENT,    /* memory of the caller or of rt_private */
    SLOT_OFFERED, /* the caller's memory for an output that is a box: no box yet */
    SLOT_TAKEN,   /* the box lies in that memory */
};

/* An element of a sequence: a tensor, or a sequence, optional or map of its own (data is its rt_seq then). */
typedef struct rt_elem {
    uint8_t kind, dtype, rank, owned; /* kind: bmc_kind; owned: data comes from the heap, as every rt_seq does */
    void *data;
    size_t bytes;
    int64_t dim[BMC_MAX_RANK];
} rt_elem;
typedef struct rt_seq {
    rt_elem *item;
    size_t n, cap;
    bmc_value *view;
    size_t view_cap;
} rt_seq;

/* Flags of the dissemination barrier: in round r of generation g, thread t tells thread t + 2^r. Two sets, because a
 * neighbour may be one generation ahead. */
typedef struct rt_inbox {
    _Alignas(64) _Atomic uint32_t flag[2][16];
    _Alignas(64) _Atomic int32_t cpu; /* 1 + where the thread was when a run began; 0: not known (rt_apart.c) */
    uint32_t moved;                   /* the run in which it was last moved */
} rt_inbox;
/* What is left of a thread's part of a launch (rt_share.c): number of the launch << 32 | first index not given away. */
typedef struct rt_share {
    _Alignas(64) _Atomic uint64_t next;
} rt_share;

/* One piece of the caller's memory that a run touches, for the overlap check. */
typedef struct rt_range {
    const char *lo, *hi;
    uint32_t port;
    bool out;
} rt_range;

/* ---- rt_tune.c: all threads or one, by watching ---- */
enum { RT_TUNES = 10 };
/* Nobody knows how much; little, runs begin on one thread; so much that threads pay unless somebody else has the
 * processors; so much, but the first run would take longer with them, since it would have to make them. */
typedef enum rt_work { RT_UNKNOWN, RT_SMALL, RT_SURE, RT_SOON } rt_work;
typedef struct rt_tune {
    uint64_t est[2], best; /* ns of a run with all threads and with one, 0: not known; the least with all */
    uint64_t slow;         /* as est of the way in use, over more runs */
    uint64_t spent, cost;  /* ns since the last trial of the way that is not in use; what that lost */
    int64_t late, won;     /* ns above the other way's: a sum of at least 0; hiccups in full, below 0: won */
    uint32_t n[2], n_slow; /* runs that the means are of */
    /* patience: of trials of each way; hiccups: behind the last long time without; tried: runs of this trial; since:
     * runs since the last change */
    uint32_t patience[2], runs, hiccups, tried, since;
    bool sure, alone, trying, doubt, clear; /* clear: no run of this trial was faster */
    bool first_alone; /* the run to come is on one thread, and decides nothing */
} rt_tune;
RT_HIDDEN uint64_t rt_now(void); /* ns */
/* Forgets all. */
RT_HIDDEN void rt_tune_reset(rt_tune *, rt_work);
/* Before each run: on one thread? And behind it: how long it took, for its work where sizes differ. */
RT_HIDDEN bool rt_tune_alone(rt_tune *);
RT_HIDDEN void rt_tune_ran(rt_tune *, uint64_t ns);

/* ---- rt_apart.c: a CPU for each thread ---- */
typedef struct rt_private rt_private;
RT_HIDDEN void rt_apart_here(rt_private *, int tid); /* says where the calling thread is */
/* The same; and moves the calling thread, tid > 0, when it is on the CPU of a lower one: true. */
RT_HIDDEN bool rt_apart(rt_private *, int tid, int nt);

typedef struct rt_text rt_text; /* a block of string contents */

/* The OpenMP library; all NULL: not opened yet. */
typedef struct rt_omp {
    void (*parallel)(void (*fn)(void *), void *arg, unsigned threads, unsigned flags);
    int (*thread_num)(void), (*num_threads)(void);
    void *fork_call; /* LLVM's library has it, GNU's has not */
} rt_omp;

struct rt_private {
    const rt_desc *desc;
    rt_heap heap;
    void *block; /* what destroy frees; NULL: memory of the caller */
    atomic_flag busy;
    /* threads asked for; that have enough to do for these sizes; started for this run; that the region delivered */
    int nt, nt_plan, nt_use, nt_run;
    int64_t work;           /* of this run, as the plan said */
    int64_t l2;             /* bytes of a core's own second cache, when asked for; 0: not asked, -1: not known */
    rt_tune tune[RT_TUNES]; /* by work: in each class the largest is four times the smallest */
    uint32_t tuned;         /* that of this run's */
    bool all_threads;     /* start them all, worth it or not */
    uint32_t spin, yield; /* looks at a flag before a thread sleeps; every yield-th look gives the CPU away */
    uint32_t gen, serial;
    rt_inbox *inbox;
    rt_share *share; /* one for each thread */
    void (*team)(void *pool, void (*fn)(void *arg, int tid, int nt), void *arg, int nt);
    void *pool;
    rt_omp omp;
    bool flush;   /* set flush-to-zero around the body */
    uint8_t *tag; /* SLOT_* of each slot */
    size_t *cap;  /* BOX, OFFERED, TAKEN: capacity in bytes; of others 0 */
    uint32_t n_sym, n_slot;
    rt_mem arena; /* the planned arena, then the scratch of each thread */
    size_t scratch_off,
        scratch_each;        /* of the present run: where in `arena` the threads' scratch begins, bytes of each */
    rt_mem room;             /* the threads' scratch once a kernel of a run has asked for more (rt_room) */
    size_t room_each;        /* what each has now; the same on all threads between two barriers */
    int body_status;         /* what the body returned on thread 0 */
    rt_mem *in_copy, *state; /* per input: dense copy of a strided one; kept state of an aliased one */
    int64_t (*state_dim)[BMC_MAX_RANK]; /* per input: shape of the kept state; first entry -1: none kept */
    rt_mem *out_mem;                    /* per output: memory that the runtime provides */
    size_t *out_bytes;                  /* per output: bytes of the present run */
    int64_t (*out_stride)[BMC_MAX_RANK]; /* per output: strides of a pair with a capacity */
    uint8_t *out_given;                 /* per output: 1 when the caller gave memory */
    /* The last call whose preparation may serve the next one (rt_run.c): its inputs and outputs as they came, and the
     * outputs as it left them. */
    bmc_value *memo_in, *memo_out, *memo_done;
    bool memo, memo_boxes; /* the call before can be run again; with boxes or sequences */
    rt_range *range;
    uint32_t n_range; /* kept between runs: nearly sorted from the run before */
    void *map;
    size_t map_bytes; /* weights file */
    rt_text *text;
    struct rt_ticks *_Atomic ticks; /* rt_profile.c; NULL: nothing counted yet */
    bmc_status status;      /* of the last call */
    char detail[160];  /* what a called function says about its failure */
    char message[1024];
};

/* ---- rt_status.c ---- */
typedef struct rt_out {
    char *p;
    size_t n, cap;
} rt_out; /* text under construction: cut off at cap, always terminated */
RT_HIDDEN void rt_put(rt_out *, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Sets the context's message (rt NULL: this thread's, for create and sizes) and returns `status`. */
RT_HIDDEN bmc_status rt_say(rt_private *, bmc_status, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* That text as the message of a shape check that failed; BMC_E_SHAPE. */
RT_HIDDEN bmc_status rt_say_check(rt_private *, const char *text, int64_t got, int64_t want);
RT_HIDDEN void rt_detail(bmc_ctx *, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* BMC_E_MEMORY, with what there was none for as the detail. */
RT_HIDDEN int32_t rt_no_memory(bmc_ctx *, const char *what);
/* Elements of a tensor argument. */
RT_HIDDEN int64_t rt_elements(const rt_arg *);
/* Lowest error of the first nt threads, or BMC_OK. `explain`: also the message. */
RT_HIDDEN bmc_status rt_lowest(bmc_ctx *, int nt, bool explain);
RT_HIDDEN void rt_explain(bmc_ctx *, const rt_thread *, const char *const *message, uint32_t n_message);
#define RT_NO_STEP 0xfffffffeu /* step of errors that no step is known for */
#define RT_NO_MESSAGE 0xffffffffu

/* ---- rt_tensor.c ---- */
RT_HIDDEN const char *rt_dtype_name(int dtype);
RT_HIDDEN const char *rt_kind_name(int kind);
RT_HIDDEN int rt_dtype_bits(int dtype);     /* 0: unknown */
RT_HIDDEN size_t rt_dtype_align(int dtype); /* of an element in memory, >= 1 */
/* Bytes of a dense tensor; false: a negative dim, an unknown type or more than PTRDIFF_MAX bytes. */
RT_HIDDEN bool rt_dense_bytes(int dtype, int rank, const int64_t *dim, size_t *bytes);
RT_HIDDEN bool rt_is_dense(int rank, const int64_t *dim, const int64_t *stride);
/* Bytes of what such a port's tensor lies in: dense, but for pairs with a capacity. full: its dims (may be NULL). */
RT_HIDDEN bool rt_port_bytes(const bmc_port *, int rank, const int64_t *dim, int64_t *full, size_t *bytes);
RT_HIDDEN void rt_copy_strided(void *to, const void *from, size_t elem, int rank, const int64_t *dim,
                               const int64_t *stride);
/* Copies the bytes of n strings into the context, so that they outlive where they came from. */
RT_HIDDEN bool rt_strings_keep(bmc_ctx *, bmc_string *s, size_t n);
RT_HIDDEN void rt_texts_free(rt_private *);

/* ---- rt_seq.c ---- */
RT_HIDDEN rt_seq *rt_seq_of(bmc_ctx *, uint32_t slot, bool create); /* NULL: empty (or no memory) */
RT_HIDDEN void rt_seq_free(rt_private *, rt_seq *);
/* A copy of dense data behind the others. false: no memory. */
RT_HIDDEN bool rt_seq_add(rt_private *, rt_seq *, int dtype, int rank, const int64_t *dim, const void *data);
/* An empty sequence, optional or map (kind) behind the others; NULL: no memory. */
RT_HIDDEN rt_seq *rt_seq_add_seq(rt_private *, rt_seq *, int kind);

/* ---- rt_box.c ---- */
RT_HIDDEN void rt_slots_clear(bmc_ctx *); /* frees all boxes and sequences, empties every slot */
/* For a run like the one before: what is lent stays, and so do small boxes, which rt_box_alloc takes again as far as they are
 * large enough; every other slot is emptied. */
RT_HIDDEN void rt_slots_rewind(bmc_ctx *);
RT_HIDDEN void rt_slot_lend(bmc_ctx *, uint32_t slot, void *data);
/* The caller's memory for an output that is a box: rt_box_alloc takes it when it is large enough. Not for boxes that
 * move: their slot may be filled again while the memory is in use elsewhere. */
RT_HIDDEN void rt_slot_offer(bmc_ctx *, uint32_t slot, void *data, size_t bytes);

/* ---- rt_check.c ---- */
/* Checks all inputs against the ports and binds the entry symbols. */
RT_HIDDEN bmc_status rt_inputs_check(bmc_ctx *, const bmc_value *in, const bmc_value *out);
RT_HIDDEN bmc_status rt_overlap_check(rt_private *);
/* The input is left to the context: an aliased pair without data on both sides (or with the data that the context
 * handed out). */
RT_HIDDEN bool rt_input_is_state(const rt_private *, const bmc_value *in, const bmc_value *out, uint32_t input);

/* ---- rt_parallel.c ---- */
RT_HIDDEN bool rt_team(rt_private *, void (*fn)(void *arg, int tid, int nt), void *arg, int nt); /* false: no OpenMP */
/* Makes the threads of the first team of `nt`, as many as there are CPUs, each on one of its own where that can be. */
RT_HIDDEN void rt_team_ready(rt_private *, int nt);
RT_HIDDEN bool rt_team_exists(const rt_private *); /* false: teams are one thread */
extern RT_HIDDEN const rt_omp rt_omp_linked __attribute__((weak)); /* there where a program is linked with OpenMP */
RT_HIDDEN int rt_default_threads(void);
RT_HIDDEN int rt_usable_cpus(void);
/* Bytes of the second cache, whoever shares it, as far as that is known without asking the system; else 0. */
RT_HIDDEN int64_t rt_l2_told(void);
/* Bytes of the second cache of a core that no other core shares; -1: there is none, or the system does not say. Reads files:
 * some 20 us each. */
RT_HIDDEN int64_t rt_l2_bytes(void);

/* ---- rt_context.c ---- */
/* Values of the entry symbols into sym (NULL: their upper bounds), then plan. BMC_E_ARG: unbounded; BMC_E_SHAPE: a
 * check of the model fails. */
RT_HIDDEN bmc_status rt_plan_for(rt_private *, const rt_desc *, int64_t *sym, const int64_t *value, rt_need *);
/* Arena and scratch of nt threads in bytes; false: more than any memory. */
RT_HIDDEN bool rt_need_bytes(const rt_need *, int nt, size_t *arena, size_t *scratch, size_t *total);

/* ---- rt_weights.c ---- */
RT_HIDDEN bmc_status rt_weights_find(bmc_ctx *, const bmc_config *);
RT_HIDDEN void rt_weights_release(rt_private *);
RT_HIDDEN uint64_t rt_hash(const void *, size_t); /* XXH64, seed 0 */

#endif
