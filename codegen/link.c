/* link.c: from the two objects (code, the place of the weights) to what the user asked for, with the system's own tools
 * started directly, never through a shell. Weights are written last, where the linker has put their place.
 *   .so cc -shared with the runtime archives; only PREFIX_model and bmc_model stay visible
 *   .o  cc -r with the members of the runtime that are needed, then objcopy --localize-hidden: two models link into
 *       one program
 *   .a  an archive of that one object
 * Parts of the runtime that need libraries (runtime/rt_libs.def) are linked in where the program calls them; a .so names the libraries itself,
 * whoever links a .o or .a has to. */
#include "codegen/cg.h"

#include <errno.h>
#include <llvm-c/TargetMachine.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* This process', but temporary files go where ours are. */
static char *const *environment(Cg *g)
{
    size_t n = 0;
    while (environ[n]) n++;
    char **to = arena_array(&g->arena, char *, n + 2);
    size_t m = 0;
    for (size_t k = 0; k < n; k++)
        if (strncmp(environ[k], "TMPDIR=", 7)) to[m++] = environ[k];
    to[m++] = arena_printf(&g->arena, "TMPDIR=%s", g->work);
    to[m] = NULL;
    return to;
}

/* Runs a program found in PATH; what it writes to stderr goes into the diagnostic. */
static bool run(Cg *g, char *const argv[])
{
    FILE *err = tmpfile();
    posix_spawn_file_actions_t act;
    posix_spawn_file_actions_init(&act);
    if (err) {
        posix_spawn_file_actions_adddup2(&act, fileno(err), 2);
        posix_spawn_file_actions_adddup2(&act, fileno(err), 1);
    }
    posix_spawnattr_t attr; /* a group of its own: who ends this process ends a driver with all that it has started */
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setpgroup(&attr, 0);
    pid_t pid;
    int status = 0, e = posix_spawnp(&pid, argv[0], &act, &attr, argv, environment(g));
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&act);
    Temps *temps = g->opt->temps;
    if (temps && !e) temps->child = pid;
    while (!e && waitpid(pid, &status, 0) < 0)
        if (errno != EINTR) e = errno;
    if (temps) temps->child = 0;
    if (!e && WIFEXITED(status) && WEXITSTATUS(status) == 0) {
        if (err) fclose(err);
        return true;
    }
    char text[2048] = "";
    if (err) {
        rewind(err);
        size_t n = fread(text, 1, sizeof text - 1, err);
        while (n && text[n - 1] == '\n') n--;
        text[n] = 0;
        fclose(err);
    }
    const char *why;
    if (e) why = arena_printf(&g->arena, "cannot start '%s': %s", argv[0], strerror(e));
    else if (WIFSIGNALED(status))
        why = arena_printf(&g->arena, "%s was stopped by signal %d", argv[0], WTERMSIG(status));
    else if (strstr(text, strerror(ENOSPC))) why = "no space left on the device";
    else if (strstr(text, strerror(EFBIG))) why = "a file would be larger than this process may write (ulimit -f), or its file system takes";
    else
        why = arena_printf(&g->arena, "%s ended with status %d%s%s", argv[0], WEXITSTATUS(status), text[0] ? ":\n" : "",
                           text);
    return diag(g->m->diag, diag_file(g->opt->out_path), E_LINK, why);
}

typedef struct Args {
    const char *v[48];
    unsigned n;
} Args;
static void add(Args *a, const char *s)
{
    assert(a->n + 1 < sizeof a->v / sizeof *a->v);
    a->v[a->n++] = s;
}
static bool run_args(Cg *g, Args *a)
{
    a->v[a->n] = NULL;
    return run(g, (char *const *)(void *)a->v);
}

static bool is_native(Cg *g)
{
    char *host = LLVMGetDefaultTargetTriple();
    size_t arch = strcspn(host, "-");
    bool same = !strncmp(host, g->m->target.triple, arch + 1);
    LLVMDisposeMessage(host);
    return same;
}

/* The tool for the target: gcc's cross prefix is <arch>-linux-gnu-. */
static const char *tool(Cg *g, const char *native, const char *cross)
{
    if (is_native(g)) return native;
    const char *t = g->m->target.triple;
    return arena_printf(&g->arena, "%.*s-linux-gnu-%s", (int)strcspn(t, "-"), t, cross);
}

/* The archives that the model is linked with, in the linker's order: each uses those behind it. */
typedef struct Archives {
    const char *path[RT_LIBS_MAX + 2];
    const RtLib *lib[RT_LIBS_MAX];
    uint32_t n, n_lib;
    bool omp;
} Archives;

static bool runtime_present(Cg *g, Archives *a)
{
    const char *dir = g->opt->runtime_dir;
    if (!dir) return diag(g->m->diag, diag_file(g->opt->out_path), E_LINK, "the runtime's folder is not known");
    *a = (Archives){.omp = g->opt->threads};
    a->n_lib = rt_libs_used(g->m, a->lib);
    if (a->omp) a->path[a->n++] = arena_printf(&g->arena, "%s/libbmc_rt_omp.a", dir); /* its rt_parallel takes the place of the serial one */
    for (uint32_t k = 0; k < a->n_lib; k++) {
        const char *part = arena_printf(&g->arena, "%s/libbmc_rt_%s.a", dir, a->lib[k]->part);
        if (access(part, R_OK))
            return diag(g->m->diag, diag_file(part), E_OPEN,
                        arena_printf(&g->arena, "%s: bmc was built without it, for want of one of the packages %s", strerror(errno),
                                     a->lib[k]->packages));
        a->path[a->n++] = part;
    }
    a->path[a->n++] = arena_printf(&g->arena, "%s/libbmc_rt.a", dir);
    for (uint32_t k = a->n; k-- > 0;)   /* the plain runtime first: without it, the rest is missing for the same reason */
        if (access(a->path[k], R_OK)) return diag(g->m->diag, diag_file(a->path[k]), E_OPEN, strerror(errno));
    return true;
}

static void inputs(Args *a, const char *object, const char *weights, const Archives *with)
{
    add(a, object);
    if (weights) add(a, weights);
    for (uint32_t k = 0; k < with->n; k++) add(a, with->path[k]);
}

/* "-lx -ly" as two arguments. */
static void add_words(Cg *g, Args *a, const char *text)
{
    for (; *text; text += strspn(text, " ")) {
        size_t n = strcspn(text, " ");
        add(a, arena_printf(&g->arena, "%.*s", (int)n, text));
        text += n;
    }
}

/* The weights object holds their place only: now they are written, once, where it has come to lie. */
static bool fill(Cg *g, const char *linked)
{
    return !g->data->bytes || g->weights_out || data_write_into(g, linked);
}

/* Up to so many bytes of constants the code and they are one mapping, which is a fifth of the time that the loader takes: two system calls and a page
 * fault less. Larger ones stay apart from what can be executed. */
#define TOGETHER ((int64_t)4 << 20)

/* The same, but a failure leaves no trace. */
static bool try_args(Cg *g, Args *a)
{
    DiagFirst before = diag_try(g->m->diag);
    bool ok = run_args(g, a);
    diag_tried(g->m->diag, before);
    return ok;
}

/* The system's default linker. */
static bool link_shared(Cg *g, const char *object, const char *weights, const char *out)
{
    Archives with;
    if (!runtime_present(g, &with)) return false;
    Args a = {.n = 0};
    add(&a, g->opt->cc ? g->opt->cc : tool(g, "cc", "gcc"));
    add(&a, "-shared");
    add(&a, "-nostartfiles"); /* nothing runs when it is loaded or unloaded: without it no data that are written, two page faults less */
    add(&a, "-o");
    add(&a, out);
    inputs(&a, object, weights, &with);
    for (uint32_t k = 0; k < with.n_lib; k++) add_words(g, &a, with.lib[k]->flags);
    add(&a, "-lm");
    add(&a, "-Wl,--gc-sections,-Bsymbolic,-z,defs,-z,noexecstack,-z,relro,-z,now,--as-needed");
    if (!g->opt->debug) add(&a, "-Wl,--build-id=none");
    bool done = false;
    if (g->data->bytes < TOGETHER) {
        add(&a, "-Wl,-z,noseparate-code");
        done = try_args(g, &a); /* gold does not know the option; it does so unasked */
        a.n--;
    }
    if (!done && !run_args(g, &a)) return false;
    bool inside = g->data->bytes && !g->weights_out;
    if (inside && !place_in_file(g, out)) {
        if (!data_write_object(g, weights, false) || !run_args(g, &a)) return false;
        inside = false;
    }
    return data_write_anew(g, out, inside);
}

static bool link_partial(Cg *g, const char *object, const char *weights, const char *out)
{
    Archives with;
    if (!runtime_present(g, &with)) return false;
    Args a = {.n = 0};
    add(&a, g->opt->cc ? g->opt->cc : tool(g, "cc", "gcc"));
    add(&a, "-r");
    add(&a, "-nostdlib");
    if (with.omp) add(&a, "-Wl,-u,rt_omp_linked");
    add(&a, "-o");
    add(&a, out);
    inputs(&a, object, weights, &with);
    if (!run_args(g, &a)) return false;
    Args b = {.n = 0};
    add(&b, tool(g, "objcopy", "objcopy"));
    add(&b, "--localize-hidden");
    add(&b, out);
    return run_args(g, &b) && fill(g, out);
}

static bool link_archive(Cg *g, const char *object, const char *weights, const char *out)
{
    const char *member = arena_printf(&g->arena, "%s/%s.o", g->work, g->m->prefix); /* its name in the archive is its file's */
    if (!link_partial(g, object, weights, member)) return false;
    Args a = {.n = 0};
    add(&a, tool(g, "ar", "ar"));
    add(&a, "rcsD");
    add(&a, out);
    add(&a, member);
    return run_args(g, &a);
}

bool link_output(Cg *g, const char *object, const char *weights, const char *out)
{
    switch (g->opt->kind) {
    case CG_SO: return link_shared(g, object, weights, out);
    case CG_OBJECT: return link_partial(g, object, weights, out);
    case CG_ARCHIVE: return link_archive(g, object, weights, out);
    default: UNREACHABLE();
    }
}
