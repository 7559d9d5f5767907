/* codegen.h: Kernel IR in, native code out. The only folder that sees LLVM; this header does not show it.
 *
 *   KTarget t;  codegen_target(arena, diag, NULL, "native", &t);      -- facts for schedules; goes into KModule.target
 *   codegen_emit(m, &(CodegenOptions){.opt_level = 2, .kind = CG_SO, .out_path = "model.so", .runtime_dir = "lib/bmc/x86_64-pc-linux-gnu"});
 *
 * Everything is re-entrant: one LLVM context per call, no state between calls. One exception, LLVM's own: its fatal-error handler belongs to the
 * process; each call sets it, and it prints what was being compiled (kept per thread) before the process ends. LLVM's list of targets is the process', too:
 * the first call must have returned before calls run side by side. */
#ifndef BMC_CODEGEN_CODEGEN_H
#define BMC_CODEGEN_CODEGEN_H
#include "base/temps.h"
#include "ir/kernel/kir.h"
#include "runtime/bmc.h"

/* Fills *out for a triple (NULL: this machine's) and a cpu: NULL or "native" (this machine's), x86-64, x86-64-v2, -v3, -v4, or a name that LLVM knows.
 * Strings live in the arena. false: E_BAD_TARGET or E_BAD_CPU was given. */
bool codegen_target(Arena *, Diag *, const char *triple, const char *cpu, KTarget *out);
/* The known cpu names for a triple, NULL-terminated, in the arena. */
const char *const *codegen_cpus(Arena *, const char *triple);

typedef enum CodegenKind { CG_SO, CG_ARCHIVE /* .a */, CG_OBJECT /* .o */, CG_ASM /* .s */, CG_LL /* .ll */ } CodegenKind;

/* Evaluates the GRAPH recipe of that blob: elements [first, first + n) as dense bytes to `to`. false: a diagnostic was given. */
typedef struct CodegenRecipes { bool (*eval)(void *arg, Blob, int64_t first, int64_t n, void *to); void *arg; } CodegenRecipes;

typedef struct CodegenOptions {
    int opt_level;               /* 0: equal values merged, fast instruction selection; 1 and up: the light pipeline */
    bool threads;                /* link the OpenMP form of the runtime */
    bool debug;                  /* DWARF that points into the .kir printed beside the output */
    bool keep_weights_out;       /* weights go into a file beside the output: <out>.weights (above 1.5 GB always) */
    bool verify;                 /* LLVM's verifier after its passes as well, not only before */
    bool profile;                /* threads time every step; a .so exports bmc_profile (runtime/bmc_profile.h) */
    bool header;                 /* write the typed C header beside the output (model.h) */
    CodegenKind kind;
    const char *out_path;
    const char *runtime_dir;     /* holds libbmc_rt.a and libbmc_rt_omp.a for the target */
    const char *cc;              /* the linker driver; NULL: cc for this machine's triple, <arch>-linux-gnu-gcc for others */
    const char *producer;        /* "bmc 0.1.0" */
    CodegenRecipes recipes;
    Temps *temps;                /* has that folder on it meanwhile; NULL: nobody asks */
} CodegenOptions;

/* Writes what `kind` says to out_path (made in a folder beside it, and moved when all is there). Needs a verified and planned module; sets weight_off of CONST buffers.
 * false: a diagnostic was given and nothing was left behind. */
bool codegen_emit(KModule *, const CodegenOptions *);

/* The typed header: struct of input pointers, struct of output pointers, size constants, run wrapper. */
void codegen_header_text(Str *, KModule *);

/* Compiles the module into this process; the model works like one that was loaded from a shared object. */
typedef struct CodegenJit CodegenJit;
bool codegen_jit(KModule *, const CodegenOptions *, CodegenJit **);
const bmc_model *codegen_jit_model(const CodegenJit *);
void codegen_jit_free(CodegenJit *);

#endif
