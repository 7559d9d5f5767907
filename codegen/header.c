/* header.c: the typed C header of a model (C99 and C++17), text only. Pointers are named after inputs and outputs,
 * entry symbols are dim_NAME, sizes are macros (without parameters when fixed):
 *   typedef struct digits_in { const float *x; int64_t dim_N; } digits_in;
 *   typedef struct digits_out { float *y; } digits_out;
 *   #define DIGITS_Y_COUNT(N) ((N) * 10)
 *   static inline bmc_status digits_run(bmc_ctx *ctx, digits_in in, digits_out out);
 * Outputs whose dims depend on data, sequences, maps and optionals are passed as bmc_value. Names become
 * identifiers: other characters turn into '_', keywords get a '_' behind, clashes a number. */
#include "codegen/cg.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

typedef struct Head {
    KModule *m;
    Arena arena;
    Str *s;
    const char **in, **out,
        **sym; /* identifiers: of inputs, of outputs, of entry symbols (by Sym index; NULL: not used) */
} Head;

/* ---- identifiers ---- */
static bool is_keyword(const char *s)
{
    static const char *const words = " alignas alignof and and_eq asm auto bitand bitor bool break case catch char "
                                     "class compl const constexpr const_cast continue decltype default "
                                     "delete do double dynamic_cast else enum explicit export extern false float for "
                                     "friend goto if inline int long mutable namespace new noexcept "
                                     "not not_eq nullptr operator or or_eq private protected public register "
                                     "reinterpret_cast restrict return short signed sizeof static "
                                     "static_assert static_cast struct switch template this thread_local throw true "
                                     "try typedef typeid typename union unsigned using virtual void "
                                     "volatile wchar_t while xor xor_eq ";
    const char *at = words;
    size_t n = strlen(s);
    while ((at = strstr(at, s))) {
        if (at[-1] == ' ' && at[n] == ' ') return true;
        at += n;
    }
    return false;
}

static const char *identifier(Head *h, const char *name, const char *const *taken, uint32_t n)
{
    Str s;
    str_init(&s, &h->arena);
    if (!*name || isdigit((unsigned char)*name)) str_add(&s, "v");
    for (const char *c = name; *c; c++) {
        bool ok = (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || *c == '_';
        str_char(&s, ok ? *c : '_');
    }
    const char *base = str_get(&s);
    if (is_keyword(base)) base = arena_printf(&h->arena, "%s_", base);
    const char *id = base;
    for (int k = 2;; k++) {
        bool free = true;
        for (uint32_t i = 0; i < n; i++) free &= !taken[i] || strcmp(taken[i], id) != 0;
        if (free) return id;
        id = arena_printf(&h->arena, "%s_%d", base, k);
    }
}

static const char *upper(Head *h, const char *s)
{
    char *u = arena_strdup(&h->arena, s);
    for (char *c = u; *c; c++) *c = (char)toupper((unsigned char)*c);
    return u;
}

/* ---- types and formulas ---- */
static const char *c_type(DType t)
{
    switch (t) {
    case DT_F32: return "float";
    case DT_F64: return "double";
    case DT_I8: return "int8_t";
    case DT_I16: return "int16_t";
    case DT_I32: return "int32_t";
    case DT_I64: return "int64_t";
    case DT_U16:
    case DT_F16:
    case DT_BF16: return "uint16_t";
    case DT_U32: return "uint32_t";
    case DT_U64: return "uint64_t";
    case DT_C64: return "float";
    case DT_C128: return "double";
    case DT_STR: return "bmc_string";
    default: return "uint8_t";
    }
}

static void formula(Head *h, Str *s, Dim d, const char *before)
{
    const Dims *ds = h->m->dims;
    const DimRec *r = &ds->rec.p[d.i];
    static const char *const op[] = {[DIM_ADD] = "+", [DIM_MUL] = "*", [DIM_FLOORDIV] = "/", [DIM_MOD] = "%"};
    switch (r->kind) {
    case DIM_CONST: str_printf(s, "%lld", (long long)r->k); return;
    case DIM_SYM: {
        const char *id = h->sym[r->sym.i] ? h->sym[r->sym.i] : "0";
        str_printf(s, *before ? "%s%s" : "%s(%s)", before, id); /* a macro's parameter stands in parentheses */
        return;
    }
    case DIM_MIN:
    case DIM_MAX:
    case DIM_BCAST:
        str_char(s, '(');
        formula(h, s, r->a, before);
        if (r->kind == DIM_BCAST) {
            str_add(s, " == 1");
        } else {
            str_add(s, r->kind == DIM_MIN ? " < " : " > ");
            formula(h, s, r->b, before);
        }
        str_add(s, " ? ");
        formula(h, s, r->kind == DIM_BCAST ? r->b : r->a, before);
        str_add(s, " : ");
        formula(h, s, r->kind == DIM_BCAST ? r->a : r->b, before);
        str_char(s, ')');
        return;
    default:
        str_char(s, '(');
        formula(h, s, r->a, before);
        str_printf(s, " %s ", op[r->kind]);
        formula(h, s, r->b, before);
        str_char(s, ')');
    }
}

typedef struct Uses {
    Head *h;
    bool bound;
} Uses;
static void note_symbol(void *arg, Sym s)
{
    Uses *u = arg;
    const SymRec *r = &u->h->m->dims->sym.p[s.i];
    if (r->kind != SYM_ENTRY || r->input < 0) u->bound = false;
}

/* A plain tensor whose dims the caller knows before the run: passed as a typed pointer. */
static bool is_plain(Head *h, const KPort *p)
{
    const TypeRec *t = type_rec(h->m->types, p->type);
    if (t->kind != TY_TENSOR || t->rank == RANK_UNKNOWN || p->rank.i || dtype_info(t->elem)->bits < 8) return false;
    Uses u = {h, true};
    for (int a = 0; a < t->rank; a++) dim_each_sym(h->m->dims, dim_resolve(h->m->dims, t->dim[a]), note_symbol, &u);
    return u.bound;
}

static Dim port_count(Head *h, const KPort *p)
{
    const TypeRec *t = type_rec(h->m->types, p->type);
    Dim n = dim_const(h->m->dims, 1);
    for (int a = 0; a < t->rank; a++) n = dim_mul(h->m->dims, n, dim_resolve(h->m->dims, t->dim[a]));
    return n;
}

/* Macro parameter list: the entry symbols that the formula uses, in order of their index. */
static void mark_symbol(void *arg, Sym s) { ((bool *)arg)[s.i] = true; }

static void count_macro(Head *h, const char *id, const KPort *p)
{
    const Dims *ds = h->m->dims;
    Dim n = port_count(h, p);
    bool *used = arena_array(&h->arena, bool, ds->sym.n + 1), first = true;
    dim_each_sym(ds, n, mark_symbol, used);
    str_printf(h->s, "#define %s_%s_COUNT", upper(h, h->m->prefix), upper(h, id));
    for (uint32_t s = 1; s < ds->sym.n; s++) {
        if (!used[s]) continue;
        str_printf(h->s, "%s%s", first ? "(" : ", ", h->sym[s]);
        first = false;
    }
    str_add(h->s, first ? " " : ") ");
    Str f;
    str_init(&f, &h->arena);
    formula(h, &f, n, "");
    str_add(h->s, str_get(&f));
    str_add(h->s, "   /* ");
    type_print(h->s, h->m->types, p->type);
    str_add(h->s, " */\n");
}

/* ---- parts ---- */
static void fill(Head *h, const char *array, uint32_t i, const char *id, const KPort *p, bool out)
{
    const TypeRec *t = type_rec(h->m->types, p->type);
    Str *s = h->s;
    const char *from = out ? "out" : "in";
    if (!is_plain(h, p)) {
        str_printf(s, "    if (%s.%s) %s[%u] = *%s.%s;\n", from, id, array, i, from, id);
        return;
    }
    str_printf(s,
               "    %s[%u].size = (uint32_t)sizeof(bmc_value); %s[%u].kind = BMC_TENSOR; %s[%u].dtype = %d; "
               "%s[%u].rank = %d;\n",
               array, i, array, i, array, i, t->elem, array, i, t->rank);
    for (int a = 0; a < t->rank && !out; a++) { /* those of outputs are the model's to say */
        str_printf(s, "    %s[%u].dim[%d] = ", array, i, a);
        formula(h, s, dim_resolve(h->m->dims, t->dim[a]), "in.dim_");
        str_add(s, ";\n");
    }
    str_printf(s, "    %s[%u].data = %s%s.%s; %s[%u].bytes = (size_t)(", array, i, out ? "" : "(void *)", from, id,
               array, i);
    formula(h, s, port_count(h, p), "in.dim_");
    str_printf(s, ") * sizeof(%s);\n", c_type(t->elem));
}

static void structure(Head *h, bool out)
{
    KModule *m = h->m;
    const char *which = out ? "out" : "in";
    uint32_t n = out ? m->output.n : m->input.n;
    const KPort *p = out ? m->output.p : m->input.p;
    const char **id = out ? h->out : h->in;
    str_printf(h->s, "typedef struct %s_%s {\n", m->prefix, which);
    for (uint32_t i = 0; i < n; i++) {
        const TypeRec *t = type_rec(m->types, p[i].type);
        str_add(h->s, "    ");
        if (is_plain(h, &p[i])) str_printf(h->s, "%s%s *%s;   /* ", out ? "" : "const ", c_type(t->elem), id[i]);
        else str_printf(h->s, "%sbmc_value *%s;   /* ", out ? "" : "const ", id[i]);
        str_add(h->s, name_str(m->names, p[i].name));
        str_add(h->s, ": ");
        type_print(h->s, m->types, p[i].type);
        if (out && is_plain(h, &p[i])) str_add(h->s, "; NULL: not wanted here, the runtime keeps it");
        str_add(h->s, " */\n");
    }
    if (!out)
        for (uint32_t s = 1; s < m->dims->sym.n; s++)
            if (h->sym[s]) str_printf(h->s, "    int64_t dim_%s;\n", h->sym[s]);
    if (out && !n) str_add(h->s, "    char none;\n");
    str_printf(h->s, "} %s_%s;\n\n", m->prefix, which);
}

static void comment_safe(Str *s, const char *text)
{
    for (const char *c = text; *c; c++) str_char(s, *c == '*' && c[1] == '/' ? '+' : *c);
}

void codegen_header_text(Str *out, KModule *m)
{
    Head h = {.m = m, .s = out};
    arena_init(&h.arena, "header", m->arena->oom);
    uint32_t n_sym = m->dims->sym.n;
    h.in = arena_array(&h.arena, const char *, m->input.n + 1);
    h.out = arena_array(&h.arena, const char *, m->output.n + 1);
    h.sym = arena_array(&h.arena, const char *, n_sym + 1);
    for (uint32_t i = 0; i < m->input.n; i++) h.in[i] = identifier(&h, name_str(m->names, m->input.p[i].name), h.in, i);
    for (uint32_t i = 0; i < m->output.n; i++)
        h.out[i] = identifier(&h, name_str(m->names, m->output.p[i].name), h.out, i);
    for (uint32_t s = 1; s < n_sym; s++) {
        const SymRec *r = &m->dims->sym.p[s];
        if (r->kind == SYM_ENTRY && r->input >= 0) h.sym[s] = identifier(&h, name_str(m->names, r->name), h.sym, n_sym);
    }

    const char *guard = upper(&h, m->prefix);
    str_printf(out, "/* %s.h: model ", m->prefix);
    const char *slash = m->source ? strrchr(m->source, '/') : NULL;
    comment_safe(out, slash ? slash + 1 : m->source ? m->source : m->prefix);
    str_printf(out,
               " for %s, %s. Written by bmc.\n * One context per concurrent caller: %s_model.create(NULL, NULL, 0, "
               "&ctx); %s_run(ctx, in, out); %s_model.destroy(ctx); */\n",
               m->target.triple, m->target.cpu, m->prefix, m->prefix, m->prefix);
    const RtLib *lib[RT_LIBS_MAX];
    uint32_t n_lib = rt_libs_used(m, lib);
    for (uint32_t k = 0; k < n_lib; k++)
        str_printf(out, "/* The model uses the runtime's part '%s': link with %s */\n", lib[k]->part, lib[k]->flags);
    str_printf(out,
               "#ifndef %s_H\n#define %s_H\n#include <bmc/bmc.h>\n#include <string.h>\n\n#ifdef __cplusplus\nextern "
               "\"C\" {\n#endif\n\nextern const bmc_model %s_model;\n\n",
               guard, guard, m->prefix);
    str_add(out, "/* elements of each tensor */\n");
    for (uint32_t i = 0; i < m->input.n; i++)
        if (is_plain(&h, &m->input.p[i])) count_macro(&h, h.in[i], &m->input.p[i]);
    for (uint32_t i = 0; i < m->output.n; i++) {
        bool clash = false;
        for (uint32_t k = 0; k < m->input.n; k++) clash |= !strcmp(upper(&h, h.in[k]), upper(&h, h.out[i]));
        if (is_plain(&h, &m->output.p[i]))
            count_macro(&h, clash ? arena_printf(&h.arena, "out_%s", h.out[i]) : h.out[i], &m->output.p[i]);
    }
    str_add(out, "\n");
    structure(&h, false);
    structure(&h, true);
    str_printf(out, "static inline bmc_status %s_run(bmc_ctx *ctx, %s_in in, %s_out out)\n{\n", m->prefix, m->prefix,
               m->prefix);
    str_printf(out,
               "    bmc_value i[%u], o[%u];\n    bmc_status status;\n    memset(i, 0, sizeof i);\n    memset(o, 0, "
               "sizeof o);\n    (void)in;\n    (void)out;\n",
               m->input.n ? m->input.n : 1, m->output.n ? m->output.n : 1);
    for (uint32_t i = 0; i < m->input.n; i++) fill(&h, "i", i, h.in[i], &m->input.p[i], false);
    for (uint32_t i = 0; i < m->output.n; i++) {
        if (!is_plain(&h, &m->output.p[i])) str_printf(out, "    o[%u].size = (uint32_t)sizeof(bmc_value);\n", i);
        fill(&h, "o", i, h.out[i], &m->output.p[i], true);
    }
    str_printf(out, "    status = %s_model.run(ctx, i, o);\n", m->prefix);
    for (uint32_t i = 0; i < m->output.n; i++)
        if (!is_plain(&h, &m->output.p[i]))
            str_printf(out, "    if (out.%s) *out.%s = o[%u];\n", h.out[i], h.out[i], i);
    str_add(out, "    return status;\n}\n\n#ifdef __cplusplus\n}\n#endif\n#endif\n");
    arena_free(&h.arena);
}
