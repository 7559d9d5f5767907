/* jit.c: a module compiled into this process (design D11: recipes of constants run in the code that a model would
 * run). The weights object that data.c writes and the code object are handed to LLVM's linker in memory; functions
 * of the runtime are those that this program is linked with. */
#include "codegen/cg.h"
#include "runtime/rt.h"

#include <errno.h>
#include <llvm-c/LLJIT.h>
#include <llvm-c/Orc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct CodegenJit {
    LLVMOrcLLJITRef jit;
    const bmc_model *model;
};

static bool fail(KModule *m, LLVMErrorRef e)
{
    char *text = LLVMGetErrorMessage(e);
    diag(m->diag, diag_file(m->source), E_LLVM, text);
    LLVMDisposeErrorMessage(text);
    return false;
}

/* The runtime's names are hidden, so the process' symbol table does not offer them: they are defined by address. */
static const struct {
    const char *name;
    void (*fn)(void);
} runtime[] = {
#define RT(f)                                                                                                          \
    {                                                                                                                  \
#f, (void (*)(void))f                                                                                          \
    }
    RT(rt_sizes),   RT(rt_create), RT(rt_run),  RT(rt_reset),     RT(rt_destroy),  RT(rt_message),
    RT(rt_barrier), RT(rt_part), RT(rt_record), RT(rt_fail), RT(rt_stop), RT(rt_box_alloc), RT(rt_box_free), RT(rt_box_move),
#define RTCALL(name, args, mode, brief) RT(name),
#include "runtime/rt_calls.def"
#undef RTCALL
#undef RT
};

static LLVMErrorRef define_runtime(LLVMOrcLLJITRef jit)
{
    enum { N = sizeof runtime / sizeof *runtime };
    LLVMOrcCSymbolMapPair pair[N];
    size_t n = 0;
    for (int i = 0; i < N; i++) {
        if (!runtime[i].fn) continue; /* of a part that this program is linked without */
        pair[n].Name = LLVMOrcLLJITMangleAndIntern(jit, runtime[i].name);
        pair[n].Sym.Address = (LLVMOrcExecutorAddress)(uintptr_t)runtime[i].fn;
        pair[n++].Sym.Flags =
            (LLVMJITSymbolFlags){LLVMJITSymbolGenericFlagsExported | LLVMJITSymbolGenericFlagsCallable, 0};
    }
    LLVMOrcJITDylibRef lib = LLVMOrcLLJITGetMainJITDylib(jit);
    LLVMErrorRef e = LLVMOrcJITDylibDefine(lib, LLVMOrcAbsoluteSymbols(pair, n));
    if (e) return e;
    LLVMOrcDefinitionGeneratorRef process;
    e = LLVMOrcCreateDynamicLibrarySearchGeneratorForProcess(&process, LLVMOrcLLJITGetGlobalPrefix(jit), NULL, NULL);
    if (!e) LLVMOrcJITDylibAddGenerator(lib, process); /* libc and libm */
    return e;
}

static LLVMErrorRef add_weights(Cg *g, LLVMOrcLLJITRef jit, bool *ok)
{
    const char *tmp = getenv("TMPDIR");
    char *path = arena_printf(&g->arena, "%s/bmc-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    int fd = mkstemp(path);
    if (fd < 0) {
        *ok = diag(g->m->diag, diag_file(path), E_OPEN, strerror(errno));
        return NULL;
    }
    close(fd);
    temps_add(g->opt->temps, path);
    LLVMMemoryBufferRef buffer = NULL;
    char *text = NULL;
    *ok = data_write_object(g, path, false);
    if (*ok && LLVMCreateMemoryBufferWithContentsOfFile(path, &buffer, &text)) {
        *ok = diag(g->m->diag, diag_file(path), E_READ, text);
        LLVMDisposeMessage(text);
    }
    remove(path);
    temps_done(g->opt->temps, path);
    return *ok ? LLVMOrcLLJITAddObjectFile(jit, LLVMOrcLLJITGetMainJITDylib(jit), buffer) : NULL;
}

static bool start(Cg *g, CodegenJit *j)
{
    if (!cg_build(g)) return false;
    if (g->weights_out)
        return diag(g->m->diag, diag_file(g->m->source), E_TOO_LARGE,
                    "constants of more than 1.5 GB cannot be run in place");
    char *text = NULL;
    LLVMMemoryBufferRef object;
    cg_current("instruction selection for", g->m->prefix);
    if (LLVMTargetMachineEmitToMemoryBuffer(g->tm, g->mod, LLVMObjectFile, &text, &object)) {
        diag(g->m->diag, diag_file(g->m->source), E_LLVM, text);
        LLVMDisposeMessage(text);
        return false;
    }
    LLVMErrorRef e = LLVMOrcCreateLLJIT(&j->jit, NULL);
    bool ok = true;
    if (!e) e = define_runtime(j->jit);
    if (!e) e = LLVMOrcLLJITAddObjectFile(j->jit, LLVMOrcLLJITGetMainJITDylib(j->jit), object);
    if (!e && (g->data->bytes || g->data->text.n)) e = add_weights(g, j->jit, &ok);
    if (!ok) return false;
    LLVMOrcExecutorAddress at = 0;
    if (!e) e = LLVMOrcLLJITLookup(j->jit, &at, arena_printf(&g->arena, "%s_model", g->m->prefix));
    if (e) return fail(g->m, e);
    j->model = (const bmc_model *)(uintptr_t)at;
    return true;
}

bool codegen_jit(KModule *m, const CodegenOptions *o, CodegenJit **out)
{
    Cg g;
    CodegenOptions here = *o;
    CodegenJit *j = arena_new(m->arena, CodegenJit);
    here.kind = CG_OBJECT;
    here.keep_weights_out = here.debug = false;
    bool ok = cg_open(&g, m, &here) && start(&g, j);
    cg_close(&g);
    if (ok) *out = j;
    else if (j->jit) codegen_jit_free(j);
    return ok;
}

const bmc_model *codegen_jit_model(const CodegenJit *j) { return j->model; }

void codegen_jit_free(CodegenJit *j)
{
    LLVMErrorRef e = LLVMOrcDisposeLLJIT(j->jit);
    if (e) LLVMConsumeError(e);
    j->jit = NULL;
}
