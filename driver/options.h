/* options.h: the command line. One table (options.def) makes the parser, the help and the tests. */
#ifndef BMC_DRIVER_OPTIONS_H
#define BMC_DRIVER_OPTIONS_H
#include "frontend/frontend.h"
#include "passes/graph/bucket.h"
#include "passes/graph/rank.h"
#include "passes/graph/differentiate.h"
#include "passes/pass.h"

#define BMC_VERSION "0.1.0"

typedef enum Command { CMD_COMPILE, CMD_RUN, CMD_BENCH, CMD_PROFILE, CMD_CHECK, CMD_OPT, CMD_DOC, CMD_COUNT } Command;
typedef enum OptId {
#define OPT(id, name, ch, arg, cmds, help) OPT_##id,
#include "driver/options.def"
#undef OPT
    OPT_COUNT
} OptId;

typedef struct InputOption { const char *name, *value; } InputOption;

typedef struct NodeMathOption { const char *node; MathMode mode; } NodeMathOption;

typedef struct Options {
    Command cmd;
    const char *file;              /* the model; NULL with --machine, --list-... */
    const char *output;
    int opt_level;
    const char *target, *cpu, *name;
    bool threads_off; int threads; /* 0: auto */
    VEC(BucketOption) bucket; VEC(const char *) grad;
    VEC(DimOption) dim; VEC(ShapeOption) shape; VEC(AliasRec) alias; VEC(const char *) alias_text; VEC(const char *) overridable;
    bool emit_header, weights_file, debug, unchecked, verify_each, time_passes, stats, remarks, list_passes, check, gain, machine, json, list_ops, verbose, quiet;
    bool help, help_all, version;
    bool math_given; MathMode math; VEC(NodeMathOption) node_math;
    const char *passes, *dump_after, *dump_dir, *stop_after, *data, *output_dir;
    bool format_pb;
    int64_t rewrite_limit;
    bool weights_limited, weights_percent; int64_t weights_budget;
    uint64_t seed;
    double rtol, atol, seconds;
    VEC(InputOption) input;
} Options;

/* false: a diagnostic was given (E_OPTION, naming the option). */
bool options_parse(Arena *, Diag *, int argc, char **argv, Options *);
void options_help(Arena *, Command, bool all);

#endif
