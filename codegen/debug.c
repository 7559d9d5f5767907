/* debug.c: DWARF that points into the printed Kernel IR (design D16): one subprogram per kernel at the line where
 * its text stands in x.kir, which is written beside the artifact and named relative to it. Profilers and debuggers
 * then show kernels by name and place. */
#include "codegen/cg.h"

#include <string.h>

static void module_flag(Cg *g, const char *name, unsigned v)
{
    LLVMMetadataRef md = LLVMValueAsMetadata(cg_i32(g, v));
    LLVMAddModuleFlag(g->mod, LLVMModuleFlagBehaviorWarning, name, strlen(name), md);
}

void debug_open(Cg *g, const char *kir_name)
{
    Str s;
    str_init(&s, &g->arena);
    kir_print(&s, g->m);
    g->kir_text = str_get(&s);
    g->di = LLVMCreateDIBuilder(g->mod);
    g->di_file = LLVMDIBuilderCreateFile(g->di, kir_name, strlen(kir_name), ".", 1);
    g->di_cu = LLVMDIBuilderCreateCompileUnit(g->di, LLVMDWARFSourceLanguageC11, g->di_file, "bmc", 3, 1, "", 0, 0, "",
                                              0, LLVMDWARFEmissionFull, 0, 0, 0, "", 0, "", 0);
    g->di_fn_type = LLVMDIBuilderCreateSubroutineType(g->di, g->di_file, NULL, 0, LLVMDIFlagZero);
    module_flag(g, "Debug Info Version", LLVMDebugMetadataVersion());
    module_flag(g, "Dwarf Version", 5);
}

static unsigned line_of(Cg *g, const char *kernel)
{
    const char *head = arena_printf(&g->arena, "%s@%s(", kernel ? "kernel " : "", kernel ? kernel : "");
    const char *at = kernel ? strstr(g->kir_text, head) : strstr(g->kir_text, "program {");
    unsigned line = 1;
    for (const char *p = g->kir_text; at && p < at; p++) line += *p == '\n';
    return line;
}

/* Gives `fn` a subprogram on first call and makes its line the current location of the builders. name NULL: part of
 * the program. */
void debug_function(Cg *g, LV fn, const char *name, KLoc loc)
{
    (void)loc;
    if (!g->di) return;
    LLVMMetadataRef sp = LLVMGetSubprogram(fn);
    size_t n;
    const char *symbol = LLVMGetValueName2(fn, &n);
    unsigned line;
    if (!sp) {
        line = line_of(g, name);
        sp = LLVMDIBuilderCreateFunction(g->di, g->di_file, symbol, n, symbol, n, g->di_file, line, g->di_fn_type, 1, 1,
                                         line, LLVMDIFlagZero, 0);
        LLVMSetSubprogram(fn, sp);
    } else {
        line = LLVMDISubprogramGetLine(sp);
    }
    LLVMMetadataRef at = LLVMDIBuilderCreateDebugLocation(g->cx, line, 0, sp, NULL);
    LLVMSetCurrentDebugLocation2(g->b, at);
    LLVMSetCurrentDebugLocation2(g->eb, at);
}

void debug_close(Cg *g)
{
    if (!g->di) return;
    LLVMDIBuilderFinalize(g->di);
    LLVMSetCurrentDebugLocation2(g->b, NULL);
}
