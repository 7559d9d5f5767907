/* compile.c: the stages one after the other: read (onnx, bir, kir), passes, emit. */
#include "driver/compile.h"
#include "codegen/codegen.h"
#include "driver/recipe.h"
#include "ir/graph/infer.h"
#include "ir/graph/math_mode.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- session ---- */

static void fail_memory(OutOfMemory *o, const char *lifetime, size_t bytes)
{
    Session *s = (Session *)((char *)o - offsetof(Session, oom));
    fprintf(stderr, "bmc: out of memory (%zu bytes for the %s)\n", bytes, lifetime);
    longjmp(s->out_of_memory, 1);
}

static void print_message(void *arg, const DiagMessage *m)
{
    const Session *s = arg;
    if (s->tty) fprintf(stderr, "\r\033[K");
    fprintf(stderr, "%s%s\n", m->loc.file ? "" : "bmc: ", m->text);
}

void session_init(Session *s)
{
    *s = (Session){.oom = {fail_memory}, .tty = isatty(2)};
    arena_init(&s->arena, "compile", &s->oom);
    arena_init(&s->recipe_arena, "recipe", &s->oom);
    diag_init(&s->diag, &s->arena);
    s->diag.sink = print_message;
    s->diag.sink_arg = s;
}

void session_free(Session *s)
{
    temps_remove(&s->temps);
    if (s->m.arena) blobs_close(&s->m.blobs);
    arena_free(&s->recipe_arena);
    arena_free(&s->arena);
}

const char *session_runtime_dir(Session *s, const char *triple)
{
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) return NULL;
    self[n] = 0;
    char *slash = strrchr(self, '/');
    if (slash) *slash = 0;
    const char *dir = arena_printf(&s->arena, "%s/../lib/bmc/%s", self, triple);
    struct stat st;
    return stat(dir, &st) == 0 && S_ISDIR(st.st_mode) ? dir : NULL;
}

bool write_text(Arena *a, Diag *d, Temps *temps, const char *path, const char *text, size_t n)
{
    const char *tmp = arena_printf(a, "%s.tmp%d", path, (int)getpid());
    temps_add(temps, tmp);
    FILE *f = fopen(tmp, "wb");
    bool ok = f && fwrite(text, 1, n, f) == n;
    if (f) ok = fclose(f) == 0 && ok;
    ok = ok && rename(tmp, path) == 0;
    int e = errno;
    if (!ok && f) unlink(tmp);
    temps_done(temps, tmp);
    return ok || diag(d, diag_file(path), E_WRITE, strerror(e));
}

/* ---- reading ---- */

static const char *ending(const char *path)
{
    const char *slash = strrchr(path, '/'), *dot = strrchr(slash ? slash : path, '.');
    return dot ? dot : "";
}

static const char *prefix_from(Arena *a, const char *path)
{
    const char *slash = strrchr(path, '/');
    char *p = arena_strdup(a, slash ? slash + 1 : path), *dot = strrchr(p, '.');
    if (dot && dot != p) *dot = 0;
    for (char *q = p; *q; q++)
        if (!isalnum((unsigned char)*q)) *q = '_';
    return isdigit((unsigned char)p[0]) || !*p ? arena_printf(a, "m%s", p) : p;
}

static bool read_file(Session *s, const char *path, char **text, size_t *n)
{
    FILE *f = fopen(path, "rb");
    if (!f) return diag(&s->diag, diag_file(path), E_OPEN, strerror(errno));
    size_t cap = 1 << 16;
    char *p = arena_alloc(&s->arena, cap);
    *n = 0;
    for (size_t k; (k = fread(p + *n, 1, cap - *n, f)) > 0;) {
        *n += k;
        if (*n == cap) {
            p = arena_grow(&s->arena, p, cap, cap * 2);
            cap *= 2;
        }
    }
    bool ok = !ferror(f);
    fclose(f);
    *text = p;
    return ok || diag(&s->diag, diag_file(path), E_READ, strerror(errno));
}

/* The pair lies along an axis of so many elements at most: bounds the symbol there. */
static bool alias_axis(Session *s, AliasRec *r, AliasRec given)
{
    Graph *g = s->m.entry;
    Dims *d = &s->m.dims;
    for (uint32_t i = 0; i < g->in.n; i++) {
        if (value_rec(g, g->in.p[i])->name.i != r->in.i) continue;
        const TypeRec *t = value_trec(g, g->in.p[i]);
        int rank = t->kind == TY_TENSOR && t->rank != RANK_UNKNOWN ? t->rank : 0, axis = given.axis < 0 ? given.axis + rank : given.axis;
        int64_t fixed;
        if (axis < 0 || axis >= rank || (dim_is_const(d, t->dim[axis], &fixed) && fixed > given.cap))
            return diag(&s->diag, diag_file(s->opt.file), E_OPTION, arena_printf(&s->arena, "--alias: input '%s' has no axis %d of at most %lld elements",
                                                                                 name_str(&s->m.names, r->in), given.axis, (long long)given.cap));
        r->axis = axis;
        r->cap = given.cap;
        const DimRec *e = &d->rec.p[t->dim[axis].i];
        if (e->kind == DIM_SYM && d->sym.p[e->sym.i].hi > given.cap && d->sym.p[e->sym.i].lo <= given.cap) d->sym.p[e->sym.i].hi = given.cap;
    }
    return true;
}

static bool aliases(Session *s)
{
    for (uint32_t k = 0; k + 1 < s->opt.alias_text.n; k += 2) {
        Graph *g = s->m.entry;
        AliasRec r = {.in = name_of(&s->m.names, s->opt.alias_text.p[k]), .out = name_of(&s->m.names, s->opt.alias_text.p[k + 1]), .axis = -1};
        bool in = false, out = false;
        for (uint32_t i = 0; i < g->in.n; i++) in |= value_rec(g, g->in.p[i])->name.i == r.in.i;
        for (uint32_t i = 0; i < g->out.n; i++) out |= value_rec(g, g->out.p[i])->name.i == r.out.i;
        if (!in || !out)
            return diag(&s->diag, diag_file(s->opt.file), E_OPTION, arena_printf(&s->arena, "--alias: the model has no %s '%s'", in ? "output" : "input", s->opt.alias_text.p[in ? k + 1 : k]));
        if (s->opt.alias.p[k / 2].cap && !alias_axis(s, &r, s->opt.alias.p[k / 2])) return false;
        vec_push(&s->arena, &s->m.alias, r);
    }
    return true;
}

/* Modes of the command line go over those of a text form. */
static bool math_modes(Session *s)
{
    Module *m = &s->m;
    if (s->opt.math_given) m->math = s->opt.math;
    if (!m->entry) {   /* a .kir: its hooks have chosen, what is left is how denormals are treated */
        if (s->opt.node_math.n) return diag(&s->diag, diag_file(s->opt.file), E_OPTION, "--math NODE=MODE comes too late for Kernel IR");
        if (s->opt.math_given) s->k.flush_denormals = math_allows(m->math, MATH_FLUSH);
        return true;
    }
    s->k.flush_denormals = math_allows(m->math, MATH_FLUSH);
    Graph **graph;
    uint32_t n_graph = module_graphs(m, &s->arena, &graph);
    for (uint32_t k = 0; k < s->opt.node_math.n; k++) {
        const NodeMathOption *o = &s->opt.node_math.p[k];
        Name name = name_of(&m->names, o->node);
        bool found = false;
        for (uint32_t i = 0; i < n_graph; i++)
            for (Node n = graph_first(graph[i]); n.i; n = node_next(graph[i], n)) found |= node_rec(graph[i], n)->loc.name.i == name.i;
        if (!found) return diag(&s->diag, diag_file(s->opt.file), E_OPTION, arena_printf(&s->arena, "--math: the model has no node '%s'", o->node));
        module_set_node_math(m, name, o->mode);
    }
    return true;
}

static bool buckets(Session *s)
{
    if (!s->opt.bucket.n) return true;
    if (!s->m.entry) return diag(&s->diag, diag_file(s->opt.file), E_OPTION, "--bucket: a .kir is past it");
    uint32_t versions;
    if (!infer_graph(s->m.entry) || !bucket_specialise(&s->m, s->opt.bucket.p, s->opt.bucket.n, &versions)) return false;
    if (s->opt.stats) fprintf(stderr, "%9u  bucket: versions of the model for single sizes\n", versions);
    return true;
}

/* Before anything is simplified: names are found and constants are still what they were. */
static bool gradients(Session *s)
{
    if (s->opt.grad.n && !s->m.entry) return diag(&s->diag, diag_file(s->opt.file), E_OPTION, "--grad: a .kir is past it");
    if (s->opt.grad.n && !infer_graph(s->m.entry)) return false;
    for (uint32_t k = 0; k < s->opt.grad.n; k++)
        if (!differentiate_request(&s->m, s->opt.grad.p[k])) return false;
    return true;
}

/* What a text form holds is past it, unless it was written by hand. */
static bool ranks(Session *s) { return !s->m.entry || rank_specialise(&s->m); }

static bool read_model(Session *s)
{
    const char *path = s->opt.file, *kind = ending(path);
    module_init(&s->m, &s->arena, &s->diag);
    s->m.source = path;
    kmodule_init(&s->k, &s->arena, &s->diag, &s->m.names, &s->m.dims, &s->m.types, &s->m.blobs);
    s->k.source = path;
    if (!codegen_target(&s->arena, &s->diag, s->opt.target, s->opt.cpu, &s->k.target)) return false;
    char *text;
    size_t n;
    if (!strcmp(kind, ".kir")) {
        KTarget target = s->k.target;
        bool given = s->opt.target || s->opt.cpu;
        if (!read_file(s, path, &text, &n) || !kir_parse(&s->k, path, text, n)) return false;
        if (s->k.recipes && !bir_parse_recipes(&s->m, path, s->k.recipes, strlen(s->k.recipes))) return false;
        if (given) s->k.target = target;
    } else if (!strcmp(kind, ".bir")) {
        if (!read_file(s, path, &text, &n) || !bir_parse(&s->m, path, text, n) || !ranks(s)) return false;
    } else {
        ImportOptions io = {.dim = s->opt.dim.p, .n_dim = s->opt.dim.n, .shape = s->opt.shape.p, .n_shape = s->opt.shape.n,
                            .overridable = s->opt.overridable.p, .n_overridable = s->opt.overridable.n};
        if (!onnx_import(&s->m, path, &io) || !ranks(s) || !infer_graph(s->m.entry) || !onnx_check_outputs(&s->m)) return false;
    }
    return gradients(s) && (!s->m.entry || aliases(s)) && math_modes(s) && buckets(s);
}

/* ---- writing ---- */

static bool emit(Session *s, const char *out)
{
    static const struct { const char *end; CodegenKind kind; } KINDS[] = {{".so", CG_SO}, {".a", CG_ARCHIVE}, {".o", CG_OBJECT}, {".s", CG_ASM}, {".ll", CG_LL}};
    CodegenOptions o = {.opt_level = s->opt.opt_level, .threads = !s->opt.threads_off, .debug = s->opt.debug, .keep_weights_out = s->opt.weights_file, .verify = s->opt.verify_each, .profile = s->opt.cmd == CMD_PROFILE,
                        .out_path = out, .producer = "bmc " BMC_VERSION, .recipes = {session_recipe, s}, .temps = &s->temps};
    for (size_t k = 0; k < sizeof KINDS / sizeof *KINDS; k++)
        if (!strcmp(ending(out), KINDS[k].end)) o.kind = KINDS[k].kind;
    o.header = s->opt.emit_header || o.kind == CG_ARCHIVE || o.kind == CG_OBJECT;
    o.runtime_dir = session_runtime_dir(s, s->k.target.triple);
    if (!o.runtime_dir && o.kind != CG_ASM && o.kind != CG_LL)
        return diag(&s->diag, diag_file(out), E_LINK, arena_printf(&s->arena, "no runtime library for %s beside bmc (lib/bmc/%s)", s->k.target.triple, s->k.target.triple));
    return codegen_emit(&s->k, &o);
}

static bool known_ending(const char *out)
{
    static const char *const ENDS[] = {".so", ".a", ".o", ".s", ".ll", ".bir", ".kir"};
    for (size_t k = 0; k < sizeof ENDS / sizeof *ENDS; k++)
        if (!strcmp(ending(out), ENDS[k])) return true;
    return false;
}

static void progress(void *arg, const char *pass)
{
    Session *s = arg;
    if (s->tty && !s->opt.quiet) fprintf(stderr, "\r\033[Kbmc: %s", pass);
}

/* Can a file be made there at all? Asked before the work, so that a typing error costs no compile. */
static bool writable(Session *s, const char *out)
{
    const char *slash = strrchr(out, '/'), *dir = slash ? arena_strndup(&s->arena, out, (size_t)(slash - out) + (slash == out)) : ".";
    struct stat st;
    if (stat(dir, &st) != 0) return diag(&s->diag, diag_file(out), E_WRITE, strerror(errno));
    if (stat(out, &st) == 0 && S_ISDIR(st.st_mode)) return diag(&s->diag, diag_file(out), E_WRITE, strerror(EISDIR));
    if (access(dir, W_OK) != 0) return diag(&s->diag, diag_file(out), E_WRITE, strerror(errno));
    return true;
}

bool session_compile(Session *s, const char *out)
{
    if (!known_ending(out)) return diag(&s->diag, diag_file(s->opt.file), E_OUT_KIND, out);
    bool bir = !strcmp(ending(out), ".bir"), kir = !strcmp(ending(out), ".kir"), stopped;
    s->diag.remarks = s->opt.remarks;
    if (!writable(s, out)) return false;
    progress(s, "reading");
    if (!read_model(s)) return false;
    if (s->opt.name) s->m.prefix = s->k.prefix = s->opt.name;
    else {   /* a text form may carry one; from text to text nothing is made up */
        const char *read = s->m.entry ? s->m.prefix : s->k.prefix;
        bool from_text = !strcmp(ending(s->opt.file), ".bir") || !strcmp(ending(s->opt.file), ".kir");
        s->m.prefix = s->k.prefix = strcmp(read, "model") || (from_text && (bir || kir)) ? read : prefix_from(&s->arena, out);
    }
    s->k.threads = !s->opt.threads_off;
    if (s->m.entry) s->k.unchecked = s->opt.unchecked;
    else if (s->opt.unchecked && !s->k.unchecked) return diag(&s->diag, diag_file(s->opt.file), E_OPTION, "--unchecked comes too late for Kernel IR");
    PassOptions po = {.opt_level = s->opt.opt_level, .passes = s->opt.passes, .dump_after = s->opt.dump_after, .dump_dir = s->opt.dump_dir, .stop_after = s->opt.stop_after,
                      .verify_each = s->opt.verify_each, .time_passes = s->opt.time_passes, .stats = s->opt.stats, .rewrite_limit = s->opt.rewrite_limit,
                      .weights_limited = s->opt.weights_limited, .weights_percent = s->opt.weights_percent, .weights_budget = s->opt.weights_budget,
                      .progress = progress, .progress_arg = s};
    bool graph = s->m.entry != NULL;
    if (bir && !po.stop_after && !po.passes) po.stop_after = s->opt.opt_level ? "winograd" : "expand";
    if (!passes_run(graph ? &s->m : NULL, &s->k, &po, &stopped)) return false;
    bool lowered = s->k.kernel.n || s->k.program.first || s->k.output.n;
    progress(s, "generating code");
    if (bir || kir) {
        Str text;
        str_init(&text, &s->arena);
        if (bir != !lowered)
            return diag(&s->diag, diag_file(out), E_OPTION, arena_printf(&s->arena, "there is only %s at that point: write a %s", lowered ? "Kernel IR" : "Graph IR", lowered ? ".kir" : ".bir"));
        if (bir) bir_print(&text, &s->m);
        else kir_print(&text, &s->k);
        return write_text(&s->arena, &s->diag, &s->temps, out, str_get(&text), text.n);
    }
    if (!lowered) return diag(&s->diag, diag_file(out), E_OPTION, arena_printf(&s->arena, "stopped before code generation: write a .bir"));
    if (!s->k.planned) return diag(&s->diag, diag_file(out), E_OPTION, arena_printf(&s->arena, "the module has no memory plan yet: run the passes plan-memory and barriers"));
    bool ok = emit(s, out);
    if (s->tty && !s->opt.quiet) fprintf(stderr, "\r\033[K");
    return ok;
}

int cmd_compile(Session *s) { return session_compile(s, s->opt.output) ? 0 : EXIT_INPUT; }

/* `bmc opt` differs from compiling only in that nothing runs but what --passes names. */
int cmd_opt(Session *s)
{
    if (s->opt.list_passes) {
        for (const Pass *const *p = pass_all(); *p; p++) printf("%-18s %-6s %s\n", (*p)->name, (*p)->kernel ? "kernel" : "graph", (*p)->brief);
        return 0;
    }
    if (!s->opt.passes) s->opt.passes = "";
    return session_compile(s, s->opt.output) ? 0 : EXIT_INPUT;
}
