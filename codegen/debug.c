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

/* ---- lines of instructions ---- */
/* Loops, stores, records, yields and maccs stand on lines of their own, in the order of the blocks, each begun by its
 * word (after "%x = "). */
static bool own_line(KOp op)
{
    return op == KOP_FOR || op == KOP_STORE || op == KOP_RECORD || op == KOP_YIELD || op == KOP_MACC;
}

typedef struct Lines {
    CgFn *f;
    const char *at;
    unsigned line;
} Lines;

/* The next line whose first word is that of such an instruction; false at the end of the kernel. */
static bool next_line(Lines *l, KOp op)
{
    const char *word = kop_info(op)->text;
    size_t n = strlen(word);
    while (*l->at && *l->at != '}') {
        const char *p = l->at + strspn(l->at, " "), *end = l->at + strcspn(l->at, "\n"), *eq = strstr(p, " = ");
        if (*p == '%' && eq && eq < end) p = eq + 3;
        unsigned line = l->line++;
        l->at = *end ? end + 1 : end;
        if (!strncmp(p, word, n) && !(p[n] >= 'a' && p[n] <= 'z')) {
            l->f->at_line = line;
            return true;
        }
    }
    return false;
}

static bool number_block(Lines *l, KBlock b)
{
    const Kernel *k = l->f->k;
    for (KInst i = b.i ? kblock(k, b)->first : (KInst){0}; i.i; i = kinst(k, i)->next) {
        const KInstRec *in = kinst(k, i);
        if (!own_line(in->op)) continue;
        if (!next_line(l, in->op)) return false;
        l->f->line[i.i] = l->f->at_line;
        if (in->op == KOP_FOR && !number_block(l, in->body)) return false;
        if (in->op == KOP_MACC &&
            !(number_block(l, in->macc->addr) && number_block(l, in->macc->init) && number_block(l, in->macc->epi)))
            return false;
    }
    return true;
}

void debug_kernel(CgFn *f)
{
    Cg *g = f->g;
    if (!g->di) return;
    f->line = arena_array(&g->arena, uint32_t, f->k->inst.n + 1);
    const char *head = arena_printf(&g->arena, "kernel @%s(", name_str(g->m->names, f->k->name)),
               *at = strstr(g->kir_text, head);
    if (!at) return;
    Lines l = {.f = f,
               .at = strchr(at, '\n') ? strchr(at, '\n') + 1 : "",
               .line = line_of(g, name_str(g->m->names, f->k->name)) + 1};
    number_block(&l, f->k->top); /* where text and blocks part, the rest keeps the kernel's line */
}

void debug_at(CgFn *f, KInst i)
{
    Cg *g = f->g;
    if (!g->di || !f->line || !f->line[i.i]) return;
    LLVMSetCurrentDebugLocation2(
        g->b, LLVMDIBuilderCreateDebugLocation(g->cx, f->line[i.i], 0, LLVMGetSubprogram(f->fn), NULL));
}

void debug_close(Cg *g)
{
    if (!g->di) return;
    LLVMDIBuilderFinalize(g->di);
    LLVMSetCurrentDebugLocation2(g->b, NULL);
}
