/* cmd_doc.c: `bmc doc ops|passes`: the tables of operators and passes as Markdown (doc.h). Nothing here is a list of its own:
 * what is said about an operator or a pass is read from its row and its description. */
#include "base/bug.h"
#include "driver/compile.h"
#include "driver/doc.h"
#include "ir/ops/grad.h"
#include "ir/ops/window.h"
#include "passes/pipeline.h"
#include <stdio.h>
#include <string.h>

/* ---- operators ---- */

static const char *const FILE_OF[OP_COUNT] = {
#define OP(name, file, versions) [OP_##name] = #file,
#include "ir/ops/ops.def"
#undef OP
};

static const char *class_name(OpClass c)
{
    switch (c) {
    case CLS_ELTWISE: return "element-wise";
    case CLS_REDUCE: return "reduce";
    case CLS_ROW: return "row";
    case CLS_CONTRACT: return "contract";
    case CLS_MOVE: return "move";
    case CLS_SHAPE: return "shape";
    case CLS_CONTROL: return "control";
    case CLS_WINDOW: return "window";
    case CLS_OPAQUE: return "opaque";
    }
    UNREACHABLE();
}

static void add_types(Str *s, DTypeSet set)
{
    static const struct { DTypeSet set; const char *name; } NAMED[] = {
        {DTS_MOVE, "any complex"}, {DTS_ANY, "any"}, {DTS_NUM | DTS_BOOL, "num bool"}, {DTS_NUM, "num"}, {DTS_FLOAT, "float"}, {DTS_INT, "int"},
        {DTS_SINT, "sint"}, {DTS_UINT, "uint"}};
    if (!set) {
        str_add(s, "anything");
        return;
    }
    /* the largest named sets first, what is left by name */
    bool first = true;
    for (size_t k = 0; k < sizeof NAMED / sizeof *NAMED; k++) {
        if ((set & NAMED[k].set) != NAMED[k].set) continue;
        str_printf(s, "%s%s", first ? "" : " ", NAMED[k].name);
        set &= ~NAMED[k].set;
        first = false;
    }
    for (int t = 1; t < DT_COUNT; t++) {
        if (!(set & DTS(t))) continue;
        str_printf(s, "%s%s", first ? "" : " ", dtype_name((DType)t));
        first = false;
    }
}

static void add_ports(Str *s, const Port *p)
{
    static const char *const MARK[] = {"", "¹", "²", "³", "⁴"};
    for (int k = 0; p[k].name; k++) {
        assert(p[k].same < sizeof MARK / sizeof *MARK);
        str_printf(s, "%s`%s%s%s`: ", k ? ", " : "", p[k].name, p[k].flags & PORT_VARIADIC ? "..." : "", p[k].flags & PORT_OPTIONAL ? "?" : "");
        if (p[k].flags & PORT_ANY_KIND) str_add(s, "any kind");
        else if (p[k].flags & (PORT_SEQ | PORT_MAP)) str_add(s, p[k].flags & PORT_SEQ ? "seq of " : "map to "), add_types(s, p[k].types);
        else add_types(s, p[k].types);
        str_add(s, MARK[p[k].same]);
        if (p[k].flags & PORT_SHAPE) str_add(s, "†");
    }
}

static void add_attrs(Str *s, const AttrSpec *a)
{
    static const char *const KIND[] = {[ATTR_STRING] = "text", [ATTR_INTS] = "ints", [ATTR_FLOATS] = "floats", [ATTR_STRINGS] = "texts",
                                       [ATTR_TENSOR] = "tensor", [ATTR_TYPE] = "type", [ATTR_FULL_TYPE] = "type", [ATTR_DIMS] = "dims", [ATTR_GRAPH] = "graph",
                                       [ATTR_INT] = "int", [ATTR_FLOAT] = "float"};
    for (int k = 0; a && a[k].name; k++) {
        if (a[k].internal) continue;
        str_printf(s, "%s`%s`", k ? ", " : "", a[k].name);
        bool value = !a[k].required;
        if (a[k].kind == ATTR_INT && value && a[k].def_i != INT64_MAX) str_printf(s, " = %lld", (long long)a[k].def_i);
        else if (a[k].kind == ATTR_FLOAT && value) str_add(s, " = "), str_double(s, a[k].def_f, true);
        else if (a[k].kind == ATTR_STRING && value && a[k].def_s) str_printf(s, " = \"%s\"", a[k].def_s);
        else str_printf(s, " (%s%s)", KIND[a[k].kind], a[k].required ? ", required" : a[k].identity ? ", optional" : "");
    }
}

/* Can a derivative go through at all: are there floats on both sides? */
static bool carries(const Port *p)
{
    for (; p->name; p++)
        if (!p->types || p->types & DTS_FLOAT) return true;
    return false;
}

static const char *gradient(const OpDesc *d)
{
    if (!carries(d->in) || !carries(d->out)) return "";
    return d->grad == grad_zero ? "0" : d->grad ? "yes" : d->expand && (!d->must_expand || d->flags & OPF_EXPANDS) ? "expanded" : "no";
}

static void add_op_row(Str *s, OpCode op)
{
    const OpDesc *d = op_desc(op);
    char by[OP_BY_TEXT];
    str_printf(s, "| %s | %s | %s | %s | ", op_full_name(s->arena, d->domain, d->name),
               op_versions(op), class_name(d->cls), op_by_text(d, by));
    add_ports(s, d->in);
    str_add(s, " | ");
    add_ports(s, d->out);
    str_add(s, " | ");
    add_attrs(s, d->attrs);
    str_printf(s, " | %s | `%s.c` |\n", gradient(d), FILE_OF[op]);
}

static void add_op_table(Str *s, bool internal)
{
    str_add(s, "| operator | versions | class | computed by | inputs | outputs | attributes | gradient | file |\n|---|---|---|---|---|---|---|---|---|\n");
    for (OpCode op = OP_NONE + 1; op < OP_COUNT; op++)
        if (internal == !!(op_desc(op)->flags & OPF_INTERNAL)) add_op_row(s, op);
}

void doc_ops(Str *s)
{
    int n = 0;
    for (OpCode op = OP_NONE + 1; op < OP_COUNT; op++) n += !(op_desc(op)->flags & OPF_INTERNAL);
    str_printf(s,
               "# Operators\n\n"
               "Written by `bmc doc ops` from `ir/ops/ops.def`; do not edit. bmc knows %d operators. Models of ai.onnx opset 1 to %d are read: *versions*\n"
               "are the opsets that defined the operator anew; its file in `ir/ops/` implements the newest, older nodes are rewritten to it at import.\n\n"
               "*computed by*: a *nest* is generated loops, a *tile* register tiles of multiply-adds, *runtime* a call of `runtime/`, *program* steps with regions of\n"
               "their own; *other operators*: its `expand` writes it in terms of those. Views and what is known when compiling cost nothing.\n\n"
               "Types: *any* = num, bool and str; *num* = float and int; *float* = f16 bf16 f32 f64; *int* = sint and uint of 8 to 64 bits. Equal small numbers: the\n"
               "same type. `?` optional, `...` any number of them, † known at compile time as a rule: shapes follow from its values. Attributes with their defaults;\n"
               "those that only older versions have are among them. What *class* supplies by itself: `ir/graph/op.h`.\n\n"
               "*gradient*: yes, by a hook of its own; *expanded*: through the operators that it expands into, as far as those have one; 0: constant where it has a\n"
               "derivative; no: a model with it on the way cannot be differentiated; empty: no floats go in or come out.\n\n",
               n, OPSET_NEWEST);
    add_op_table(s, false);
    str_printf(s, "\n## Limits\n\nA tensor has at most %d axes, one whose rank only the run decides %d; convolutions and pools have at most %d spatial axes. Sizes that do not fit\n"
                  "64 bits, and indices outside of what they index, are errors of the run.\n", RANK_MAX, RANK_ANY, WINDOW_MAX);
    str_add(s, "\n## Irregular operators\n\n"
               "Only these may call functions of the runtime (`runtime/rt_calls.def`); all others are generated loop nests. `tests/unit/doc_test.c` pins the list.\n\n");
    bool first = true;
    for (OpCode op = OP_NONE + 1; op < OP_COUNT; op++) {
        if (!(op_desc(op)->flags & OPF_IRREGULAR)) continue;
        str_printf(s, "%s%s", first ? "" : ", ", op_desc(op)->name);
        first = false;
    }
    str_add(s, "\n\n## Operators that only passes make\n\nThey appear in `.bir` files between passes and in no model (`docs/IR.md`).\n\n");
    add_op_table(s, true);
}

/* ---- passes ---- */

static const char *const PASS_FILE[] = {
#define PASS(name, ident, kernel) #ident,
#include "passes/passes.def"
#undef PASS
};

static bool same_pipeline(const Pass *const *a, const Pass *const *b)
{
    for (; *a && *a == *b; a++) b++;
    return *a == *b;
}

void doc_passes(Str *s)
{
    str_add(s, "# Passes\n\n"
               "Written by `bmc doc passes` from `passes/passes.def`; do not edit. One file each, whose head says what it does with an example, and what must\n"
               "hold before. `--passes=a,b{option=1}` runs exactly those, `--dump-after=PASS|all` prints the IR behind them, `--stats` what they did.\n\n"
               "| pass | works on | what it does | options | file |\n|---|---|---|---|---|\n");
    for (const Pass *const *p = pass_all(), *const *all = p; *p; p++) {
        str_printf(s, "| %s | %s | %s | ", (*p)->name, (*p)->kernel ? "Kernel IR" : "Graph IR", (*p)->brief);
        for (const OptSpec *o = (*p)->opts; o && o->name; o++)
            str_printf(s, "%s`%s` = %lld: %s", o == (*p)->opts ? "" : "; ", o->name, (long long)o->def, o->brief);
        str_printf(s, " | `passes/%s/%s.c` |\n", (*p)->kernel ? "kernel" : "graph", PASS_FILE[p - all]);
    }
    str_add(s, "\n## What runs when\n\n`passes/pipeline.c` says with each line what is true from there on.\n\n");
    for (int level = 0; level <= 3; level++) {
        str_printf(s, "- `-O%d`: ", level);
        int like = level - 1;
        while (like >= 0 && !same_pipeline(pipeline_of(like), pipeline_of(level))) like--;
        if (like >= 0) str_printf(s, "as `-O%d`", like);
        else
            for (const Pass *const *p = pipeline_of(level); *p; p++) str_printf(s, "%s%s", p == pipeline_of(level) ? "" : ", ", (*p)->name);
        str_add(s, level == 2 ? " (the default)\n" : "\n");
    }
}

int cmd_doc(Session *s)
{
    Str text;
    str_init(&text, &s->arena);
    if (!strcmp(s->opt.file, "ops")) doc_ops(&text);
    else if (!strcmp(s->opt.file, "passes")) doc_passes(&text);
    else return diag(&s->diag, diag_file(NULL), E_OPTION, arena_printf(&s->arena, "bmc doc takes ops or passes, not '%s'", s->opt.file)), EXIT_INPUT;
    fputs(str_get(&text), stdout);
    return 0;
}
