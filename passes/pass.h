/* pass.h: passes over either IR. One pass, one file (passes/graph/NAME.c or passes/kernel/NAME.c), one row of passes.def; pipeline.c says when each runs.
 * The manager verifies, dumps, times and counts; no pass calls another; passes keep private facts in side arrays in ctx->arena, which dies after the pass. */
#ifndef BMC_PASSES_PASS_H
#define BMC_PASSES_PASS_H
#include "ir/graph/op.h"
#include "ir/kernel/kir.h"

typedef enum PassResult { PASS_UNCHANGED, PASS_CHANGED, PASS_FAILED /* diagnosed */ } PassResult;
typedef struct OptSpec { const char *name; int64_t def; const char *brief; } OptSpec;   /* ends with name NULL */
typedef struct PassStat { const char *pass, *what; int64_t n; } PassStat;

typedef struct PassCtx {
    Arena *arena;               /* reset after each pass */
    Diag *diag;
    Module *m;                  /* graph passes; set also for kernel passes when there is a graph */
    KModule *k;                 /* kernel passes; `lower` fills it */
    const struct Pass *pass;
    const int64_t *opt;         /* values of pass->opts in order */
    int opt_level;
    int64_t rewrite_limit;      /* <0: none; pass_may_rewrite counts down */
    int64_t weights_budget;     /* bytes (or percent of the constants' bytes) that transformed weights may take; <0: any */
    bool weights_percent;
    VEC(PassStat) stat; Arena *stat_arena;
} PassCtx;

typedef struct Pass {
    const char *name, *brief;
    bool kernel;                /* works on c->k */
    const OptSpec *opts;
    PassResult (*run)(PassCtx *);
} Pass;

void pass_count(PassCtx *, const char *what, int64_t n);
/* Calls `one` (does it change anything?) for the entry graph and then, going inwards, for every region of a node that is left, but for those of
 * Groups, whose members are one kernel already. */
PassResult pass_graphs(PassCtx *, bool (*one)(PassCtx *, Graph *));
bool pass_may_rewrite(PassCtx *);                          /* false once --rewrite-limit is used up: the pass then changes nothing more */
void pass_remark(PassCtx *, DiagLoc, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
const Pass *pass_find(const char *name);
const Pass *const *pass_all(void);                         /* NULL-terminated, in passes.def order */

typedef struct PassOptions {
    int opt_level;
    const char *passes;         /* "a,b{opt=1}": instead of the level's pipeline, or NULL */
    const char *dump_after;     /* pass name, "all" or NULL */
    const char *dump_dir;       /* NULL: stderr */
    const char *stop_after;     /* or NULL */
    bool verify_each, time_passes, stats;
    int64_t rewrite_limit;      /* -1: none */
    bool weights_limited, weights_percent; int64_t weights_budget;   /* of PassCtx, where limited */
    void (*progress)(void *, const char *pass); void *progress_arg;
} PassOptions;
/* Runs the pipeline on m (and k once lowered; *k may already hold a module when a .kir is the input). */
bool passes_run(Module *m, KModule *k, const PassOptions *, bool *stopped);

#define PASS(name, ident, kernel) extern const Pass pass_##ident;
#include "passes/passes.def"
#undef PASS

#endif
