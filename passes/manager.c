/* manager: runs a list of passes over a module and does for each what no pass does itself: verify, dump, time, count,
 * stop.
 *   infer ✓  dce ✓  ...  lower ✓ | kernel-simplify ✓  ...
 * The list is the -O level's (pipeline.c) or comes from text: "fold,dce,group-eltwise{max-ops=8}". Graph passes work
 * on the Graph IR until `lower` has filled the kernel module, kernel passes after that (or at once, when a .kir was
 * read). The text of the IR after a pass goes to DIR/NN-pass.bir or .kir, or to stderr.
 * Verification: before and after lowering and at the end always, after each pass when asked to or when built without
 * optimisation. */
#include "base/bug.h"
#include "passes/pipeline.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

static const Pass *const all[] = {
#define PASS(name, ident, kernel) &pass_##ident,
#include "passes/passes.def"
#undef PASS
    NULL,
};

const Pass *const *pass_all(void) { return all; }

const Pass *pass_find(const char *name)
{
    for (const Pass *const *p = all; *p; p++)
        if (!strcmp((*p)->name, name)) return *p;
    return NULL;
}

/* ---- services for passes ---- */

void pass_count(PassCtx *c, const char *what, int64_t n)
{
    if (!n) return;
    for (uint32_t k = 0; k < c->stat.n; k++)
        if (!strcmp(c->stat.p[k].pass, c->pass->name) && !strcmp(c->stat.p[k].what, what)) {
            c->stat.p[k].n += n;
            return;
        }
    vec_push(c->stat_arena, &c->stat,
             (PassStat){.pass = c->pass->name, .what = arena_strdup(c->stat_arena, what), .n = n});
}

static bool in_graphs(PassCtx *c, Graph *g, bool (*one)(PassCtx *, Graph *))
{
    bool changed = one(c, g);
    for (Node n = graph_first(g); n.i; n = node_next(g, n)) {
        if (node_rec(g, n)->op == OP_Group) continue;
        for (uint32_t k = 0; k < node_rec(g, n)->n_region; k++) changed |= in_graphs(c, node_rec(g, n)->region[k], one);
    }
    return changed;
}

PassResult pass_graphs(PassCtx *c, bool (*one)(PassCtx *, Graph *)) { return in_graphs(c, c->m->entry, one) ? PASS_CHANGED : PASS_UNCHANGED; }

bool pass_may_rewrite(PassCtx *c)
{
    if (c->rewrite_limit < 0) return true;
    if (c->rewrite_limit == 0) return false;
    c->rewrite_limit--;
    return true;
}

void pass_remark(PassCtx *c, DiagLoc at, const char *fmt, ...)
{
    if (!c->diag->remarks) return;
    va_list ap;
    va_start(ap, fmt);
    const char *text = arena_vprintf(c->arena, fmt, ap);
    va_end(ap);
    diag(c->diag, at, E_REMARK, arena_printf(c->arena, "%s: %s", c->pass->name, text));
}

/* ---- the list of passes ---- */

typedef struct Run {
    const Pass *pass;
    int64_t *opt;
} Run;
typedef struct Runs {
    Run *p;
    uint32_t n, cap;
} Runs;

static void runs_add(Arena *a, Runs *list, const Pass *p)
{
    uint32_t n = 0;
    while (p->opts && p->opts[n].name) n++;
    Run r = {.pass = p, .opt = arena_array(a, int64_t, n ? n : 1)};
    for (uint32_t k = 0; k < n; k++) r.opt[k] = p->opts[k].def;
    vec_push(a, list, r);
}

static bool is_word(char ch) { return ch && !strchr(",{}= \t\n", ch); }

static const char *word(Arena *a, const char **s)
{
    const char *from;
    while (**s == ' ') ++*s;
    from = *s;
    while (is_word(**s)) ++*s;
    return arena_strndup(a, from, (size_t)(*s - from));
}

static bool accept(const char **s, char ch)
{
    while (**s == ' ') ++*s;
    if (**s != ch) return false;
    ++*s;
    return true;
}

/* {name=value, ...} */
static bool options_parse(Arena *a, Diag *d, const char **s, Run *r)
{
    while (!accept(s, '}')) {
        const char *name = word(a, s);
        uint32_t k = 0;
        while (r->pass->opts && r->pass->opts[k].name && strcmp(r->pass->opts[k].name, name)) k++;
        if (!r->pass->opts || !r->pass->opts[k].name)
            return diag(d, diag_file(NULL), E_PASS_OPTION, r->pass->name, name);
        char *end;
        errno = 0;
        long long v = accept(s, '=') ? strtoll(*s, &end, 10) : 1; /* a name alone switches on */
        if ((*s)[-1] == '=') {
            if (end == *s || errno)
                return diag(d, diag_file(NULL), E_OPTION,
                            arena_printf(a, "pass %s: option %s takes a number", r->pass->name, name));
            *s = end;
        }
        r->opt[k] = v;
        if (!accept(s, ',') && **s != '}')
            return diag(d, diag_file(NULL), E_OPTION,
                        arena_printf(a, "pass %s: expected ',' or '}' in its options", r->pass->name));
    }
    return true;
}

static bool runs_parse(Arena *a, Diag *d, const char *text, Runs *list)
{
    const char *s = text;
    for (;;) {
        const char *name = word(a, &s);
        if (!*name && !*s && s == text) return true; /* an empty list */
        const Pass *p = pass_find(name);
        if (!p) return diag(d, diag_file(NULL), E_UNKNOWN_PASS, name);
        runs_add(a, list, p);
        if (accept(&s, '{') && !options_parse(a, d, &s, &list->p[list->n - 1])) return false;
        if (!accept(&s, ',')) break;
    }
    while (*s == ' ') s++;
    return !*s || diag(d, diag_file(NULL), E_OPTION, arena_printf(a, "--passes: unexpected '%s'", s));
}

static bool name_known(Diag *d, const char *name, bool all_too)
{
    return !name || (all_too && !strcmp(name, "all")) || pass_find(name) ||
           diag(d, diag_file(NULL), E_UNKNOWN_PASS, name);
}

/* ---- after a pass ---- */

typedef struct Manager {
    Module *m;
    KModule *k;
    const PassOptions *o;
    PassCtx c;
    bool lowered, typed;
    Arena arena;
} Manager;

static bool verify(Manager *g, const char *after)
{
    if (g->lowered) return kir_verify(g->k, after);
    return g->typed ? bir_verify_typed(g->m, after) : bir_verify(g->m, after);
}

static bool verify_due(const Manager *g, const Pass *p, bool last)
{
#ifdef __OPTIMIZE__
    bool debug = false;
#else
    bool debug = true;
#endif
    return debug || last || g->o->verify_each || p == &pass_lower;
}

static bool dump(Manager *g, const Pass *p, uint32_t number)
{
    const PassOptions *o = g->o;
    if (!o->dump_after || (strcmp(o->dump_after, "all") && strcmp(o->dump_after, p->name))) return true;
    Str s;
    str_init(&s, g->c.arena);
    if (g->lowered) kir_print(&s, g->k);
    else bir_print(&s, g->m);
    if (!o->dump_dir) {
        fprintf(stderr, "; after %u %s\n%s", number, p->name, str_get(&s));
        return true;
    }
    const char *path =
        arena_printf(g->c.arena, "%s/%02u-%s.%s", o->dump_dir, number, p->name, g->lowered ? "kir" : "bir");
    if (mkdir(o->dump_dir, 0777) && errno != EEXIST)
        return diag(g->c.diag, diag_file(o->dump_dir), E_WRITE, strerror(errno));
    FILE *f = fopen(path, "wb");
    bool ok = f && fwrite(str_get(&s), 1, s.n, f) == s.n;
    int why = errno;
    if (f && fclose(f)) ok = false, why = errno;
    return ok || diag(g->c.diag, diag_file(path), E_WRITE, strerror(why));
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---- one pass, all passes ---- */

static bool run_one(Manager *g, const Run *r, uint32_t number, bool last, double *seconds)
{
    const Pass *p = r->pass;
    if (g->o->progress) g->o->progress(g->o->progress_arg, p->name);
    if (p->kernel != g->lowered) {
        const char *why = p->kernel ? "works on the Kernel IR: `lower` has to run before"
                                    : "works on the Graph IR: it cannot run after `lower`";
        return diag(g->c.diag, diag_file(NULL), E_OPTION, arena_printf(&g->arena, "pass %s %s", p->name, why));
    }
    if (p == &pass_lower && !verify(g, "the passes before lower")) return false;
    g->c.pass = p;
    g->c.opt = r->opt;
    double start = now();
    PassResult result = p->run(&g->c);
    *seconds = now() - start;
    if (p == &pass_infer || p == &pass_lower) g->typed = true;
    if (p == &pass_lower) g->lowered = true;
    bool ok = result != PASS_FAILED;
    assert(ok || g->c.diag->errors);
    if (ok && verify_due(g, p, last)) ok = verify(g, p->name);
    if (ok) ok = dump(g, p, number);
    arena_reset(g->c.arena);
    return ok;
}

static void report(const Manager *g, const Runs *list, const double *seconds, uint32_t n)
{
    double total = 0;
    for (uint32_t k = 0; g->o->time_passes && k < n; k++) {
        fprintf(stderr, "%9.3f ms  %s\n", seconds[k] * 1e3, list->p[k].pass->name);
        total += seconds[k];
    }
    if (g->o->time_passes) fprintf(stderr, "%9.3f ms  all passes\n", total * 1e3);
    for (uint32_t k = 0; g->o->stats && k < g->c.stat.n; k++)
        fprintf(stderr, "%9lld  %s: %s\n", (long long)g->c.stat.p[k].n, g->c.stat.p[k].pass, g->c.stat.p[k].what);
}

bool passes_run(Module *m, KModule *k, const PassOptions *o, bool *stopped)
{
    Manager g = {.m = m, .k = k, .o = o, .lowered = !m || !m->entry};
    Arena pass_arena;
    Runs list = {0};
    Diag *d = m ? m->diag : k->diag;
    OutOfMemory *oom = m ? m->arena->oom : k->arena->oom;
    bool ok = true;
    *stopped = false;
    arena_init(&g.arena, "pass manager", oom);
    arena_init(&pass_arena, "pass", oom);
    g.c = (PassCtx){.arena = &pass_arena,
                    .diag = d,
                    .m = g.lowered ? NULL : m,
                    .k = k,
                    .opt_level = o->opt_level,
                    .rewrite_limit = o->rewrite_limit,
                    .weights_budget = o->weights_limited ? o->weights_budget : -1,
                    .weights_percent = o->weights_percent,
                    .stat_arena = &g.arena};
    if (o->passes) ok = runs_parse(&g.arena, d, o->passes, &list);
    else
        for (const Pass *const *p = pipeline_of(o->opt_level); *p; p++)
            if (!g.lowered || (*p)->kernel) runs_add(&g.arena, &list, *p);
    ok = ok && name_known(d, o->dump_after, true) && name_known(d, o->stop_after, false);
    double *seconds = arena_array(&g.arena, double, list.n + 1);
    uint32_t n = 0;
    while (ok && n < list.n && !*stopped) {
        const char *name = list.p[n].pass->name;
        bool last = n + 1 == list.n || (o->stop_after && !strcmp(o->stop_after, name));
        ok = run_one(&g, &list.p[n], n, last, &seconds[n]);
        *stopped = ok && o->stop_after && !strcmp(o->stop_after, name);
        n++;
    }
    report(&g, &list, seconds, n);
    arena_free(&pass_arena);
    arena_free(&g.arena);
    return ok;
}
