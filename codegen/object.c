/* object.c: codegen_emit. Kernel IR -> LLVM module -> passes -> object (or text), then the weights object and the
 * linker. Everything is written in a folder beside the target, where the tools' own temporary files are, too, and moved
 * out of it when it is complete; the folder goes, whatever happens. */
#include "codegen/cg.h"

#include <errno.h>
#include <llvm-c/Analysis.h>
#include <llvm-c/Target.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <unistd.h>

/* LLVM writes to memory, we to the file: its own file writer leaves half a file behind when the disk is full and
 * says so on stderr only. */
static bool write_bytes(Cg *g, const char *path, const void *p, size_t n)
{
    FILE *f = fopen(path, "wb");
    if (!f) return diag(g->m->diag, cg_place(g, path), E_OPEN, strerror(errno));
    bool ok = fwrite(p, 1, n, f) == n;
    int err = errno;
    if (fclose(f)) {
        err = ok ? errno : err;
        ok = false;
    }
    if (ok) return true;
    remove(path);
    return diag(g->m->diag, cg_place(g, path), E_WRITE, strerror(err));
}

bool object_write(Cg *g, CodegenKind kind, const char *path)
{
    if (kind == CG_LL) {
        char *text = LLVMPrintModuleToString(g->mod);
        bool ok = write_bytes(g, path, text, strlen(text));
        LLVMDisposeMessage(text);
        return ok;
    }
    cg_current("instruction selection for", g->m->prefix);
    char *error = NULL;
    LLVMMemoryBufferRef out;
    if (LLVMTargetMachineEmitToMemoryBuffer(g->tm, g->mod, kind == CG_ASM ? LLVMAssemblyFile : LLVMObjectFile, &error,
                                            &out)) {
        diag(g->m->diag, diag_file(g->m->source), E_LLVM, error);
        LLVMDisposeMessage(error);
        return false;
    }
    bool ok = !g->failed && write_bytes(g, path, LLVMGetBufferStart(out), LLVMGetBufferSize(out));
    LLVMDisposeMemoryBuffer(out);
    cg_current(NULL, NULL);
    return ok;
}

/* The module complete, verified and optimised. */
bool cg_build(Cg *g)
{
    if (!data_layout(g)) return false;
    if (g->weights_out && !data_hash(g)) return false;
    if (g->opt->debug) {
        const char *slash = strrchr(g->opt->out_path, '/'), *base = slash ? slash + 1 : g->opt->out_path,
                   *dot = strrchr(base, '.');
        debug_open(g, arena_printf(&g->arena, "%.*s.kir", (int)(dot ? dot - base : (long)strlen(base)), base));
    }
    bool ok = program_emit(g);
    debug_close(g);
    return ok && !g->failed && cg_run_passes(g) && !g->failed;
}

/* ---- what is written ---- */

/* A file made in the folder, and where it goes; `made` is NULL where it is not asked for. */
typedef struct Product { const char *made, *to; } Product;
enum { PRODUCTS = 4 };

/* out_path with another ending, or with one more. */
static const char *beside(Cg *g, const char *ending, bool more)
{
    const char *out = g->opt->out_path, *slash = strrchr(out, '/'), *dot = strrchr(out, '.');
    size_t n = strlen(out);
    return arena_printf(&g->arena, "%.*s%s", (int)(more || !dot || (slash && dot < slash) ? n : (size_t)(dot - out)), out, ending);
}

static bool write_header(Cg *g, const char *path)
{
    Str s;
    str_init(&s, &g->arena);
    codegen_header_text(&s, g->m);
    return write_bytes(g, path, str_get(&s), s.n);
}

/* Everything into g->work; no name there is one that a C identifier can be (link_archive's member). */
static bool make(Cg *g, Product *p)
{
    const CodegenOptions *o = g->opt;
    const char *object = arena_printf(&g->arena, "%s/code-.o", g->work), *weights = NULL;
    p[0] = (Product){arena_printf(&g->arena, "%s/linked-", g->work), o->out_path};
    if (o->kind == CG_LL || o->kind == CG_ASM) {
        if (!object_write(g, o->kind, p[0].made)) return false;
    } else {
        if (g->data->bytes || g->data->text.n) weights = arena_printf(&g->arena, "%s/weights-.o", g->work);
        if (!object_write(g, CG_OBJECT, object) || (weights && !data_write_object(g, weights, true)) ||
            !link_output(g, object, weights, p[0].made))
            return false;
    }
    if (g->weights_out) {
        p[1] = (Product){arena_printf(&g->arena, "%s/side-", g->work), beside(g, ".weights", true)};
        if (!data_write_file(g, p[1].made)) return false;
    }
    if (o->debug) {
        p[2] = (Product){arena_printf(&g->arena, "%s/kir-", g->work), beside(g, ".kir", false)};
        if (!write_bytes(g, p[2].made, g->kir_text, strlen(g->kir_text))) return false;
    }
    if (o->header) {
        p[3] = (Product){arena_printf(&g->arena, "%s/header-", g->work), beside(g, ".h", false)};
        if (!write_header(g, p[3].made)) return false;
    }
    return true;
}

static bool emit(Cg *g)
{
    Product p[PRODUCTS] = {0};
    char *work = arena_printf(&g->arena, "%s.XXXXXX", g->opt->out_path);
    if (!cg_build(g)) return false;
    if (!mkdtemp(work)) return diag(g->m->diag, diag_file(g->opt->out_path), E_OPEN, strerror(errno));
    temps_add(g->opt->temps, work);
    g->work = work;
    bool ok = make(g, p);
    for (int k = PRODUCTS; ok && k-- > 0;) /* the artifact last: where it is, the rest is */
        if (p[k].made && rename(p[k].made, p[k].to)) ok = diag(g->m->diag, diag_file(p[k].to), E_WRITE, strerror(errno));
    temps_clear(work);
    temps_done(g->opt->temps, work);
    return ok;
}

bool codegen_emit(KModule *m, const CodegenOptions *o)
{
    Cg g;
    bool ok = cg_open(&g, m, o) && emit(&g);
    cg_close(&g);
    return ok;
}
