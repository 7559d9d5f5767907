/* eval_state.h: what the files of the interpreter share. */
#ifndef BMC_IR_KERNEL_EVAL_STATE_H
#define BMC_IR_KERNEL_EVAL_STATE_H
#include "ir/kernel/eval.h"
#include "ir/kernel/eval_scalar.h"
#include "runtime/rt.h"

/* Of one byte: the latest step that wrote it, that read it on all threads, and on thread 0 (eval_watch.c). */
typedef struct KTrace { uint32_t wrote, read_all, read_0; bool wrote_0; } KTrace;
/* A buffer at one moment: its dims as numbers and its memory. */
typedef struct KView {
    const char *name;
    uint8_t *data;                    /* the root's element 0 */
    int64_t room;                     /* elements of the root's memory */
    int64_t offset;                   /* element of the root where this one starts */
    DType elem;
    int rank;
    int64_t dim[RANK_MAX], stride[RANK_MAX];
    /* by element of the root: iteration of a par loop that wrote it; NULL: not watched */
    int32_t *writer;
    KTrace *trace;                    /* by byte of the root */
} KView;

/* Memory of a root buffer; trace: by byte, NULL when it is not watched. */
typedef struct KMem { uint8_t *p; int64_t bytes; KTrace *trace; } KMem;

typedef struct KEval {
    KModule *m;
    Arena *arena;                     /* results */
    Arena work, launch;               /* of this evaluation; of one kernel */
    bmc_ctx *ctx;                     /* boxes, sequences, symbols */
    const bmc_value *in;
    bmc_value *out;
    KMem *mem;                        /* by buffer */
    uint8_t *plan;                    /* the arena of a planned module */
    int64_t plan_bytes;
    bool watch;                       /* barriers are checked */
    uint32_t step, barrier;           /* steps taken; the number of the last barrier among them */
    KTrace *plan_trace;
    uint32_t *sym_step;               /* by symbol: the step on thread 0 that bound it */
    bmc_status status;
    const char *why;
} KEval;

/* Notes the first failure; returns false. */
bool keval_fail(KEval *, bmc_status, KLoc, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
bool keval_dim(KEval *, KLoc, Dim, int64_t *);
/* Dims, strides and memory of a tensor buffer; allocates what is allocated late. */
bool keval_view(KEval *, KLoc, KBuf, KView *);
bool keval_dense_count(KEval *, KLoc, const KBufRec *, int64_t *count, int64_t *dim);
bool keval_kernel(KEval *, const KStep *launch);
bool keval_call(KEval *, const KStep *call);
/* Memory of constants (recipes evaluated) and of inputs; eval_memory.c. */
bool keval_root(KEval *, KLoc, KBuf root, KMem *);
bool keval_inputs(KEval *);
bool keval_outputs(KEval *);
/* eval_watch.c: whether threads would wait where they must. */
void keval_watch_start(KEval *);
KTrace *keval_trace(KEval *, int64_t bytes);    /* for fresh memory; NULL when nothing is watched */
/* The current step touches n bytes, on all threads or on thread 0. */
bool keval_touch(KEval *, KLoc, const char *name, KTrace *first, int64_t n, bool write, bool all);
bool keval_touch_view(KEval *, KLoc, const KView *, bool write, bool all);
bool keval_watch_step(KEval *, const KStep *);  /* before it is taken */
uint8_t *keval_alloc(Arena *, int64_t bytes);   /* filled with a pattern that shows as nonsense */

#endif
