/* object.c: codegen_emit. Kernel IR -> LLVM module -> passes -> object (or text), then the weights object and the
 * linker. Everything is written under temporary names beside the target and renamed when it is complete; on any
 * failure the temporaries go. */
#include "codegen/cg.h"

#include <errno.h>
#include <llvm-c/Analysis.h>
#include <llvm-c/Target.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* LLVM writes to memory, we to the file: its own file writer leaves half a file behind when the disk is full and
 * says so on stderr only. */
static bool write_bytes(Cg *g, const char *path, const void *p, size_t n)
{
    FILE *f = fopen(path, "wb");
    if (!f) return diag(g->m->diag, diag_file(path), E_OPEN, strerror(errno));
    bool ok = fwrite(p, 1, n, f) == n;
    int err = errno;
    if (fclose(f)) {
        err = ok ? errno : err;
        ok = false;
    }
    if (ok) return true;
    remove(path);
    return diag(g->m->diag, diag_file(path), E_WRITE, strerror(err));
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

static char *temporary(Cg *g, const char *suffix)
{
    return arena_printf(&g->arena, "%s.%ld%s", g->opt->out_path, (long)getpid(), suffix);
}

static bool move(Cg *g, const char *from, const char *to)
{
    if (!rename(from, to)) return true;
    diag(g->m->diag, diag_file(to), E_WRITE, strerror(errno));
    return false;
}

static bool write_kir(Cg *g)
{
    const char *out = g->opt->out_path, *slash = strrchr(out, '/'), *dot = strrchr(out, '.');
    if (dot && slash && dot < slash) dot = NULL;
    const char *path = arena_printf(&g->arena, "%.*s.kir", (int)(dot ? dot - out : (long)strlen(out)), out);
    return write_bytes(g, path, g->kir_text, strlen(g->kir_text));
}

static bool emit(Cg *g)
{
    const CodegenOptions *o = g->opt;
    const char *object = temporary(g, ".o"), *weights = temporary(g, ".w.o"), *linked = temporary(g, ".tmp"),
               *side = temporary(g, ".weights");
    if (!cg_build(g)) return false;
    bool need_data = g->data->bytes || g->data->text.n, ok;
    if (o->kind == CG_LL || o->kind == CG_ASM) {
        ok = object_write(g, o->kind, linked);
    } else {
        ok = object_write(g, CG_OBJECT, object) && (!need_data || data_write_object(g, weights, true));
        ok = ok && link_output(g, object, need_data ? weights : NULL, linked);
    }
    if (ok && g->weights_out)
        ok = data_write_file(g, side) && move(g, side, arena_printf(&g->arena, "%s.weights", o->out_path));
    if (ok && o->debug) ok = write_kir(g);
    if (ok) ok = move(g, linked, o->out_path);
    remove(object);
    remove(weights);
    remove(side);
    if (!ok) remove(linked);
    return ok;
}

bool codegen_emit(KModule *m, const CodegenOptions *o)
{
    Cg g;
    bool ok = cg_open(&g, m, o) && emit(&g);
    if (ok && o->header) {
        const char *out = o->out_path, *slash = strrchr(out, '/'), *dot = strrchr(out, '.');
        if (dot && slash && dot < slash) dot = NULL;
        ok = codegen_header(m, arena_printf(&g.arena, "%.*s.h", (int)(dot ? dot - out : (long)strlen(out)), out));
    }
    cg_close(&g);
    return ok;
}
