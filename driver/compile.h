/* compile.h: libbmc's main entry: a model file to an artifact (or text form), with everything that a command line can say. Re-entrant: all state is in the Session. */
#ifndef BMC_DRIVER_COMPILE_H
#define BMC_DRIVER_COMPILE_H
#include "base/temps.h"
#include "driver/options.h"
#include <setjmp.h>

enum { EXIT_INPUT = 1, EXIT_MEMORY = 3 };

/* One run of the compiler: its arena, its diagnostics, its way out when memory ends. */
typedef struct Session {
    Arena arena;
    Diag diag;
    Options opt;
    OutOfMemory oom;
    Temps temps;              /* session_free removes what is left on it */
    jmp_buf out_of_memory;
    bool tty;                 /* stderr is a terminal: show progress */
    Module m; KModule k;      /* filled by session_compile */
    unsigned made_up;         /* integers of made-up inputs are below this (model.c) */
    Arena recipe_arena; Blob recipe_blob; void *recipe_data;   /* the constant that the weight writer is reading panel by panel */
} Session;

void session_init(Session *);
void session_free(Session *);
/* Compiles opt.file to `out` (its ending says what). false: diagnosed, and no file left behind. */
bool session_compile(Session *, const char *out);
/* The directory with libbmc_rt*.a for a triple: <exe>/../lib/bmc/<triple>, else the one of the build or install prefix. NULL: not found. */
const char *session_runtime_dir(Session *, const char *triple);
/* Writes text to a file through a temporary beside it. */
bool write_text(Arena *, Diag *, Temps *, const char *path, const char *text, size_t n);

int cmd_compile(Session *);
int cmd_run(Session *);
int cmd_bench(Session *);
int cmd_profile(Session *);
int cmd_check(Session *);
int cmd_opt(Session *);
int cmd_doc(Session *);

#endif
