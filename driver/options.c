/* options.c: see options.h. Parsing is getopt_long's; this file turns texts into values and says clearly what is wrong with one. */
#include "driver/options.h"
#include "base/bug.h"
#include "ir/graph/math_mode.h"
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct OptRow { const char *name; int ch; const char *arg, *cmds, *help; } OptRow;
static const OptRow ROWS[OPT_COUNT] = {
#define OPT(id, name, ch, arg, cmds, help) [OPT_##id] = {name, ch, arg, cmds, help},
#include "driver/options.def"
#undef OPT
};
static const char LETTER[CMD_COUNT] = {'C', 'R', 'B', 'P', 'K', 'O', 'D'};
static const char *const NAME[CMD_COUNT] = {"", "run", "bench", "profile", "check", "opt", "doc"};
enum { LONG_BASE = 1000 };

static bool applies(const OptRow *r, Command c) { return strchr(r->cmds, LETTER[c]) || strchr(r->cmds, 'A'); }

static bool bad(Diag *d, Arena *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    const char *text = arena_vprintf(a, fmt, ap);
    va_end(ap);
    return diag(d, diag_file(NULL), E_OPTION, text);
}

static bool number(const char *s, int64_t *v, const char **end)
{
    char *e;
    errno = 0;
    *v = strtoll(s, &e, 10);
    *end = e;
    return e != s && errno == 0;
}

static bool whole(const char *s, int64_t *v)
{
    const char *e;
    return number(s, v, &e) && !*e;
}

static bool real(const char *s, double *v)
{
    char *e;
    *v = strtod(s, &e);
    return e != s && !*e;
}

/* NAME=rest; the name ends at the last '=' so that names may hold one. */
static bool split(Arena *a, const char *s, const char **name, const char **rest, bool last)
{
    const char *eq = last ? strrchr(s, '=') : strchr(s, '=');
    if (!eq || eq == s) return false;
    *name = arena_strndup(a, s, (size_t)(eq - s));
    *rest = eq + 1;
    return true;
}

static bool parse_dim(Arena *a, const char *s, DimOption *o)
{
    const char *rest, *e;
    *o = (DimOption){.multiple = 1};
    if (!split(a, s, &o->name, &rest, true) || !number(rest, &o->lo, &e) || o->lo < 0) return false;
    o->hi = o->lo;
    if (!strncmp(e, "..", 2) && (!number(e + 2, &o->hi, &e) || o->hi < o->lo)) return false;
    if (*e == '%' && (!number(e + 1, &o->multiple, &e) || o->multiple < 1)) return false;
    return !*e;
}

static bool parse_bucket(Arena *a, const char *s, BucketOption *o)
{
    const char *rest;
    *o = (BucketOption){0};
    if (!split(a, s, &o->name, &rest, true)) return false;
    o->value = arena_array(a, int64_t, strlen(rest) + 1);
    for (;; rest++) {
        if (!number(rest, &o->value[o->n], &rest) || o->value[o->n] < 0 || (*rest && *rest != ',')) return false;
        o->n++;
        if (!*rest) return true;
    }
}

static bool parse_shape(Arena *a, const char *s, ShapeOption *o)
{
    const char *rest;
    *o = (ShapeOption){0};
    if (!split(a, s, &o->input, &rest, true)) return false;
    if (!*rest) return true;   /* a scalar */
    for (;;) {
        if (o->rank == RANK_MAX) return false;
        if (*rest == '?') {
            o->dim[o->rank++] = -1;
            rest++;
        } else if (!number(rest, &o->dim[o->rank++], &rest) || o->dim[o->rank - 1] < 0) return false;
        if (!*rest) return true;
        if (*rest++ != 'x') return false;
    }
}

/* MODE | NODE=MODE. */
static bool parse_math(Arena *a, const char *s, Options *o)
{
    const char *node = NULL, *mode = s;
    MathMode m;
    if (strchr(s, '=') && !split(a, s, &node, &mode, true)) return false;
    if (!math_mode_find(mode, &m)) return false;
    if (node) {
        NodeMathOption x = {node, m};
        vec_push(a, &o->node_math, x);
    } else {
        o->math_given = true;
        o->math = m;
    }
    return true;
}

/* 4096 | 20M | 50% */
static bool parse_budget(const char *s, Options *o)
{
    static const char UNIT[] = "kMG";
    const char *end;
    if (!number(s, &o->weights_budget, &end) || o->weights_budget < 0) return false;
    o->weights_limited = true;
    o->weights_percent = !strcmp(end, "%");
    if (o->weights_percent || !*end) return true;
    const char *unit = strchr(UNIT, *end);
    int64_t factor = (int64_t)1 << 10 * (unit ? unit - UNIT + 1 : 0);
    return unit && !end[1] && !__builtin_mul_overflow(o->weights_budget, factor, &o->weights_budget);
}

static bool apply(Arena *a, Diag *d, Options *o, OptId id, const char *arg)
{
    int64_t n;
    const char *form = ROWS[id].arg;
    switch (id) {
    case OPT_OUTPUT: o->output = arg; return true;
    case OPT_OPT_LEVEL:
        if (!whole(arg, &n) || n < 0 || n > 3) return bad(d, a, "-O takes 0, 1, 2 or 3, not '%s'", arg);
        o->opt_level = (int)n;
        return true;
    case OPT_TARGET: o->target = arg; return true;
    case OPT_CPU: o->cpu = arg; return true;
    case OPT_THREADS:
        o->threads_off = !strcmp(arg, "off");
        if (o->threads_off || !strcmp(arg, "auto")) o->threads = o->threads_off ? 1 : 0;
        else if (!whole(arg, &n) || n < 1 || n > 4096) return bad(d, a, "--threads takes a number from 1 to 4096, auto or off, not '%s'", arg);
        else o->threads = (int)n;
        return true;
    case OPT_NAME:
        for (const char *p = arg; *p; p++)
            if (!(isalpha((unsigned char)*p) || *p == '_' || (p > arg && isdigit((unsigned char)*p)))) return bad(d, a, "--name takes a C identifier, not '%s'", arg);
        if (!*arg) return bad(d, a, "--name takes a C identifier");
        o->name = arg;
        return true;
    case OPT_DIM: {
        DimOption x;
        if (!parse_dim(a, arg, &x)) return bad(d, a, "--dim takes %s, not '%s'", form, arg);
        vec_push(a, &o->dim, x);
        return true;
    }
    case OPT_BUCKET: {
        BucketOption x;
        if (!parse_bucket(a, arg, &x)) return bad(d, a, "--bucket takes %s, not '%s'", form, arg);
        vec_push(a, &o->bucket, x);
        return true;
    }
    case OPT_SHAPE: {
        ShapeOption x;
        if (!parse_shape(a, arg, &x)) return bad(d, a, "--shape takes %s, not '%s'", form, arg);
        vec_push(a, &o->shape, x);
        return true;
    }
    case OPT_ALIAS: {
        const char *in, *out;
        if (!split(a, arg, &in, &out, false) || !*out) return bad(d, a, "--alias takes %s, not '%s'", form, arg);
        const char *at = strrchr(out, '@'), *cap = at ? strstr(at, ":cap=") : NULL;
        int64_t axis = 0, most = 0;
        if (cap) { /* names may hold an @ themselves: what follows the last one decides */
            if (!whole(arena_printf(a, "%.*s", (int)(cap - at - 1), at + 1), &axis) || !whole(cap + 5, &most) || most < 1 || axis >= RANK_MAX || axis < -RANK_MAX)
                return bad(d, a, "--alias takes %s, not '%s'", form, arg);
            out = arena_printf(a, "%.*s", (int)(at - out), out);
        }
        vec_push(a, &o->alias, ((AliasRec){.axis = (int32_t)axis, .cap = most}));
        vec_push(a, &o->alias_text, in);
        vec_push(a, &o->alias_text, out);
        return true;
    }
    case OPT_GRAD: vec_push(a, &o->grad, arg); return true;
    case OPT_OVERRIDABLE: vec_push(a, &o->overridable, arg); return true;
    case OPT_EMIT:
        if (strcmp(arg, "header")) return bad(d, a, "--emit takes header, not '%s'", arg);
        o->emit_header = true;
        return true;
    case OPT_WEIGHTS:
        if (strcmp(arg, "embed") && strcmp(arg, "file")) return bad(d, a, "--weights takes %s, not '%s'", form, arg);
        o->weights_file = !strcmp(arg, "file");
        return true;
    case OPT_WEIGHTS_BUDGET: return parse_budget(arg, o) || bad(d, a, "--weights-budget takes %s, not '%s'", form, arg);
    case OPT_MATH:
        return parse_math(a, arg, o) || bad(d, a, "--math takes %s, not '%s'", form, arg);
    case OPT_DEBUG: o->debug = true; return true;
    case OPT_PASSES: o->passes = arg; return true;
    case OPT_DUMP_AFTER: o->dump_after = arg; return true;
    case OPT_DUMP_DIR: o->dump_dir = arg; return true;
    case OPT_STOP_AFTER: o->stop_after = arg; return true;
    case OPT_UNCHECKED: o->unchecked = true; return true;
    case OPT_VERIFY_EACH: o->verify_each = true; return true;
    case OPT_TIME_PASSES: o->time_passes = true; return true;
    case OPT_STATS: o->stats = true; return true;
    case OPT_REMARKS: o->remarks = true; return true;
    case OPT_REWRITE_LIMIT:
        if (!whole(arg, &o->rewrite_limit) || o->rewrite_limit < 0) return bad(d, a, "--rewrite-limit takes a number, not '%s'", arg);
        return true;
    case OPT_LIST_PASSES: o->list_passes = true; return true;
    case OPT_INPUT: {
        InputOption x;
        if (!split(a, arg, &x.name, &x.value, false)) return bad(d, a, "--input takes %s, not '%s'", form, arg);
        if (strcmp(x.value, "rand") && strcmp(x.value, "zeros") && x.value[0] != '@') return bad(d, a, "--input %s: expected @FILE, rand or zeros, not '%s'", x.name, x.value);
        vec_push(a, &o->input, x);
        return true;
    }
    case OPT_DATA: o->data = arg; return true;
    case OPT_OUTPUT_DIR: o->output_dir = arg; return true;
    case OPT_FORMAT:
        if (strcmp(arg, "npy") && strcmp(arg, "pb")) return bad(d, a, "--format takes %s, not '%s'", form, arg);
        o->format_pb = !strcmp(arg, "pb");
        return true;
    case OPT_CHECK: o->check = true; return true;
    case OPT_RTOL: return real(arg, &o->rtol) || bad(d, a, "--rtol takes a number, not '%s'", arg);
    case OPT_ATOL: return real(arg, &o->atol) || bad(d, a, "--atol takes a number, not '%s'", arg);
    case OPT_SEED:
        if (!whole(arg, &n)) return bad(d, a, "--seed takes a number, not '%s'", arg);
        o->seed = (uint64_t)n;
        return true;
    case OPT_SECONDS: return (real(arg, &o->seconds) && o->seconds > 0) || bad(d, a, "--seconds takes a positive number, not '%s'", arg);
    case OPT_GAIN: o->gain = true; return true;
    case OPT_MACHINE: o->machine = true; return true;
    case OPT_JSON: o->json = true; return true;
    case OPT_LIST_OPS: o->list_ops = true; return true;
    case OPT_VERBOSE: o->verbose = true; return true;
    case OPT_QUIET: o->quiet = true; return true;
    case OPT_HELP: o->help = true; return true;
    case OPT_HELP_ALL: o->help_all = true; return true;
    case OPT_VERSION: o->version = true; return true;
    case OPT_COUNT: break;
    }
    UNREACHABLE();
}

bool options_parse(Arena *a, Diag *d, int argc, char **argv, Options *o)
{
    *o = (Options){.opt_level = 2, .rewrite_limit = -1, .rtol = 1e-3, .atol = 1e-5, .seconds = 1};
    int first = 1;
    for (int c = 1; argc > 1 && c < CMD_COUNT; c++)
        if (!strcmp(argv[1], NAME[c])) {
            o->cmd = (Command)c;
            first = 2;
        }
    struct option longs[OPT_COUNT + 1] = {0};
    char shorts[2 * OPT_COUNT + 2] = ":";
    size_t n = 1;
    for (int k = 0; k < OPT_COUNT; k++) {
        longs[k] = (struct option){ROWS[k].name, ROWS[k].arg ? required_argument : no_argument, NULL, LONG_BASE + k};
        if (!ROWS[k].ch) continue;
        shorts[n++] = (char)ROWS[k].ch;
        if (ROWS[k].arg) shorts[n++] = ':';
    }
    shorts[n] = 0;
    argv[first - 1] = argv[0];
    argc -= first - 1;
    argv += first - 1;
    optind = 0;   /* GNU: start anew */
    opterr = 0;
    for (int c; (c = getopt_long(argc, argv, shorts, longs, NULL)) != -1;) {
        const char *word = argv[optind - 1];
        if (c == '?') return bad(d, a, "unknown option '%s' (bmc %s%s--help lists them)", optopt && optopt < LONG_BASE ? arena_printf(a, "-%c", optopt) : word, NAME[o->cmd], o->cmd ? " " : "");
        if (c == ':') return bad(d, a, "option '%s' needs a value", word);
        int id = c - LONG_BASE;
        for (int k = 0; c < LONG_BASE && k < OPT_COUNT; k++)
            if (ROWS[k].ch == c) id = k;
        if (!applies(&ROWS[id], o->cmd)) return bad(d, a, "option --%s does not go with bmc %s", ROWS[id].name, o->cmd ? NAME[o->cmd] : "MODEL -o FILE");
        if (!apply(a, d, o, (OptId)id, optarg)) return false;
    }
    for (; optind < argc; optind++) {
        if (o->file) return bad(d, a, "one model at a time: '%s' and '%s' are given", o->file, argv[optind]);
        o->file = argv[optind];
    }
    if (o->help || o->help_all || o->version || o->machine || o->list_passes || o->list_ops) return true;
    if (!o->file) return bad(d, a, o->cmd == CMD_DOC ? "bmc doc takes ops or passes" : "no model given (bmc --help)");
    if ((o->cmd == CMD_COMPILE || o->cmd == CMD_OPT) && !o->output) return bad(d, a, "no output given: -o FILE, the ending says what (.so .a .o .s .ll .bir .kir)");
    if (o->check && !o->data) return bad(d, a, "--check compares with a data folder: give --data DIR");
    return true;
}

void options_help(Arena *a, Command cmd, bool all)
{
    static const char *const USE[CMD_COUNT] = {"MODEL.onnx -o MODEL.so [options]", "MODEL.onnx|MODEL.so [options]", "MODEL.onnx|MODEL.so [options]", "MODEL.onnx [options]", "MODEL.onnx [--json]", "X.bir|X.kir --passes=A,B -o Y.bir|Y.kir", "ops|passes"};
    static const char *const WHAT[CMD_COUNT] = {"compile an ONNX model to native code", "run a model", "measure a model, or this machine", "show where a model's time goes, node by node", "list what a model needs and bmc lacks", "run passes on a text form", "print a reference page: docs/OPS.md, docs/PASSES.md"};
    printf("bmc %s: %s\n\nusage: bmc %s%s%s\n", BMC_VERSION, WHAT[cmd], NAME[cmd], cmd ? " " : "", USE[cmd]);
    if (!cmd) {
        printf("\ncommands:\n");
        for (int c = 1; c < CMD_COUNT; c++) printf("  bmc %-7s %s\n", NAME[c], WHAT[c]);
    }
    printf("\noptions:\n");
    static const OptId SHORT[] = {OPT_OUTPUT, OPT_OPT_LEVEL, OPT_CPU, OPT_TARGET, OPT_THREADS, OPT_DIM, OPT_SHAPE, OPT_EMIT, OPT_REMARKS, OPT_INPUT, OPT_DATA, OPT_OUTPUT_DIR,
                                  OPT_CHECK, OPT_SECONDS, OPT_JSON, OPT_MACHINE, OPT_PASSES, OPT_LIST_PASSES, OPT_HELP, OPT_HELP_ALL, OPT_VERSION};
    for (int k = 0; k < OPT_COUNT; k++) {
        bool shown = all;
        for (size_t s = 0; s < sizeof SHORT / sizeof *SHORT; s++) shown |= (int)SHORT[s] == k;
        if (!shown || !applies(&ROWS[k], cmd)) continue;
        const char *left = ROWS[k].ch ? arena_printf(a, "-%c, --%s", ROWS[k].ch, ROWS[k].name) : arena_printf(a, "    --%s", ROWS[k].name);
        if (ROWS[k].arg) left = arena_printf(a, "%s %s", left, ROWS[k].arg);
        printf("  %-38s %s\n", left, ROWS[k].help);
    }
    printf("\nexit status: 0 done, 1 input or environment, 3 out of memory\n");
}
