/* print.c: a whole module as text: version, target, symbols, locations, buffers, ports, kernels, program (docs/KIR.md
 * has the grammar). Everything that later stages need is in it, nothing that they do not: symbols and locations that
 * nothing mentions are left out, so a model's .kir can be read from top to bottom. The same module always prints the
 * same text. */
#include "ir/kernel/print.h"
#include "base/bug.h"
#include <ctype.h>
#include <string.h>

typedef struct P {
    Str *s;
    KModule *m;
    Arena *arena;
    const char **buf; /* names of the buffers */
    bool *sym, *loc;  /* mentioned */
    uint32_t *loc_no; /* locations are numbered anew */
    int indent;
} P;

/* ---- what is mentioned ---- */
static void use_sym(void *arg, Sym s)
{
    P *p = arg;
    if (p->sym[s.i]) return;
    p->sym[s.i] = true;
    if (p->m->dims->sym.p[s.i].same_as.i) dim_each_sym(p->m->dims, p->m->dims->sym.p[s.i].same_as, use_sym, p);
}

static void use_dim(P *p, Dim d)
{
    if (d.i) dim_each_sym(p->m->dims, d, use_sym, p);
}

static void use_type(P *p, TypeId t)
{
    if (!t.i) return;
    const TypeRec *r = type_rec(p->m->types, t);
    if (r->kind == TY_TENSOR && r->rank != RANK_UNKNOWN)
        for (int i = 0; i < r->rank; i++) use_dim(p, r->dim[i]);
    if (r->kind != TY_TENSOR) use_type(p, r->of);
}

static void use_buf(P *p, const KBufRec *r)
{
    for (int i = 0; i < r->rank; i++) {
        use_dim(p, r->dim[i]);
        if (!r->dense) use_dim(p, r->stride[i]);
    }
    use_dim(p, r->offset);
    use_dim(p, r->bytes);
    use_type(p, r->seq);
    p->loc[r->loc.i] = true;
}

static void use_step(void *arg, KStep *s)
{
    P *p = arg;
    p->loc[s->loc.i] = true;
    if (s->sym.i) use_sym(p, s->sym);
    use_dim(p, s->a);
    use_dim(p, s->b);
    for (uint32_t i = 0; i < s->n_arg; i++) {
        if (s->arg[i].kind == KA_DIM) use_dim(p, s->arg[i].dim);
        if (s->arg[i].kind == KA_SYM && s->arg[i].sym.i) use_sym(p, s->arg[i].sym);
    }
    for (uint32_t i = 0; i < s->n_carry; i++) {
        use_sym(p, s->carry[i]);
        use_dim(p, s->init[i]);
        use_dim(p, s->next_val[i]);
    }
}

static void use_all(P *p)
{
    KModule *m = p->m;
    for (uint32_t i = 1; i < m->buf.n; i++) use_buf(p, &m->buf.p[i]);
    for (uint32_t i = 0; i < m->input.n; i++) use_type(p, m->input.p[i].type);
    for (uint32_t i = 0; i < m->output.n; i++) use_type(p, m->output.p[i].type);
    for (uint32_t i = 0; i < m->kernel.n; i++) {
        Kernel *k = m->kernel.p[i];
        p->loc[k->loc.i] = true;
        for (uint32_t n = 1; n < k->param.n; n++) use_buf(p, &k->param.p[n]);
        for (uint32_t n = 1; n < k->inst.n; n++)
            if (k->inst.p[n].op == KOP_DIM && k->inst.p[n].block.i) use_dim(p, k->inst.p[n].imm.dim);
    }
    use_dim(p, m->arena_bytes);
    use_dim(p, m->scratch_bytes);
    kstep_each(&m->program, use_step, p);
}

/* ---- pieces ---- */
static void dim(P *p, Dim d) { dim_print(p->s, p->m->dims, d); }

static void quoted(P *p, const char *t) { str_quote(p->s, t, strlen(t)); }

static void loc_suffix(P *p, KLoc l)
{
    if (l.i) str_printf(p->s, " loc %u", p->loc_no[l.i]);
}

static const char *sym_name(P *p, Sym s) { return name_str(p->m->names, p->m->dims->sym.p[s.i].name); }
static const char *buf_name(P *p, KBuf b) { return b.i && b.i < p->m->buf.n ? p->buf[b.i] : "undefined"; }

/* ---- the head ---- */
static void print_symbols(P *p)
{
    const Dims *d = p->m->dims;
    for (uint32_t i = 1; i < d->sym.n; i++) {
        const SymRec *r = &d->sym.p[i];
        if (!p->sym[i]) continue;
        str_printf(p->s, "sym %s %s", name_str(p->m->names, r->name), r->kind == SYM_ENTRY ? "entry" : "node");
        if (r->kind == SYM_ENTRY && r->input >= 0) str_printf(p->s, r->axis == AXIS_RANK ? " input %d rank" : " input %d axis %d", r->input, r->axis);
        if (r->lo) str_printf(p->s, " lo %lld", (long long)r->lo);
        if (r->hi != INT64_MAX) str_printf(p->s, " hi %lld", (long long)r->hi);
        if (r->multiple > 1) str_printf(p->s, " multiple %lld", (long long)r->multiple);
        str_char(p->s, '\n');
    }
    for (uint32_t i = 1; i < d->sym.n; i++)
        if (p->sym[i] && d->sym.p[i].same_as.i) {
            str_printf(p->s, "same %s = ", name_str(p->m->names, d->sym.p[i].name));
            dim(p, d->sym.p[i].same_as);
            str_char(p->s, '\n');
        }
}

static void print_head(P *p)
{
    KModule *m = p->m;
    uint32_t n = 0;
    str_printf(p->s, "kir %d\n", KIR_VERSION);
    if (*m->source) {
        str_add(p->s, "source ");
        quoted(p, m->source);
        str_char(p->s, '\n');
    }
    str_printf(p->s, "prefix %s\n", m->prefix);
    if (*m->target.triple) {
        str_add(p->s, "target ");
        quoted(p, m->target.triple);
        str_add(p->s, " cpu ");
        quoted(p, m->target.cpu);
        str_add(p->s, " features ");
        quoted(p, m->target.features);
        static const char *const dots[] = {[KDOTS_NONE] = "", [KDOTS_PAIRS] = " bf16", [KDOTS_TILES] = " amx"};
        static const char *const bytes[] = {[KBYTES_ONES] = "", [KBYTES_TWOS] = " bytes2", [KBYTES_FOURS] = " bytes4"};
        str_printf(p->s, " vec %u regs %u%s%s%s l1 %u l2 %u", m->target.vec_bits, m->target.vec_regs, m->target.fma ? " fma" : "",
                   dots[m->target.bf16], bytes[m->target.bytes], m->target.l1_bytes, m->target.l2_bytes);
        if (m->target.far_rate) str_printf(p->s, " far %u", m->target.far_rate);
        str_char(p->s, '\n');
    }
    if (m->threads) str_add(p->s, "option threads\n");
    if (m->flush_denormals) str_add(p->s, "option flush_denormals\n");
    if (m->unchecked) str_add(p->s, "option unchecked\n");
    print_symbols(p);
    for (uint32_t i = 1; i < m->loc.n; i++) {
        const KLocRec *r = &m->loc.p[i];
        if (!p->loc[i]) continue;
        p->loc_no[i] = ++n;
        str_printf(p->s, "loc %u = %d ", n, r->node);
        quoted(p, name_str(m->names, r->node_name));
        str_char(p->s, ' ');
        quoted(p, name_str(m->names, r->op));
        str_char(p->s, '\n');
    }
}

static void print_buf(P *p, KBuf b)
{
    const KBufRec *r = kbuf(p->m, b);
    str_printf(p->s, "buf %%%s: ", buf_name(p, b));
    if (r->space == KS_SEQ) type_print(p->s, p->m->types, r->seq);
    else kir_print_shape(p->s, p->m, r);
    switch (r->space) {
    case KS_IN: str_printf(p->s, " in %d", r->port); break;
    case KS_OUT: str_printf(p->s, " out %d", r->port); break;
    case KS_CONST:
        str_add(p->s, " const ");
        if (r->weight_off >= 0) str_printf(p->s, "at %lld ", (long long)r->weight_off);
        str_add(p->s, "= ");
        blob_print(p->s, p->m->blobs, r->blob);
        break;
    case KS_ARENA:
        str_add(p->s, " arena");
        if (!r->offset.i) break;
        str_add(p->s, " at ");
        dim(p, r->offset);
        str_add(p->s, " bytes ");
        dim(p, r->bytes);
        break;
    case KS_BOX:
    case KS_SEQ:
        str_add(p->s, r->space == KS_BOX ? " box" : " seq");
        if (r->port >= 0) str_printf(p->s, " port %d", r->port);
        break;
    case KS_VIEW:
        str_printf(p->s, " view %%%s", buf_name(p, r->base));
        if (r->offset.i && !dim_is(p->m->dims, r->offset, 0)) {
            str_add(p->s, " offset ");
            dim(p, r->offset);
        }
        break;
    case KS_NONE:
    case KS_PARAM:
    case KS_LOCAL: str_add(p->s, " none"); break;
    }
    loc_suffix(p, r->loc);
    str_char(p->s, '\n');
}

static void print_port(P *p, const char *word, const KPort *r)
{
    str_printf(p->s, "%s ", word);
    quoted(p, name_str(p->m->names, r->name));
    str_add(p->s, ": ");
    type_print(p->s, p->m->types, r->type);
    if (r->buf.i) str_printf(p->s, " = %%%s", buf_name(p, r->buf));
    if (r->alias >= 0) {
        str_printf(p->s, " alias %d", r->alias);
        if (r->alias_axis >= 0) str_printf(p->s, " axis %d cap %lld", r->alias_axis, (long long)r->alias_cap);
    }
    if (r->rank.i) str_printf(p->s, " rank $%s", name_str(p->m->names, p->m->dims->sym.p[r->rank.i].name));
    str_char(p->s, '\n');
}

/* ---- the program ---- */
static void print_steps(P *p, const KSteps *l);

static void nested(P *p, const KSteps *l)
{
    str_add(p->s, " {\n");
    p->indent++;
    print_steps(p, l);
    p->indent--;
    str_printf(p->s, "%*s}", p->indent * 2, "");
}

static void print_call(P *p, const KStep *s)
{
    str_printf(p->s, "call %s(", s->call ? s->call->name : "undefined");
    for (uint32_t i = 0; i < s->n_arg; i++) {
        const KArg *a = &s->arg[i];
        if (i) str_add(p->s, ", ");
        switch (a->kind) {
        case KA_BUF: str_printf(p->s, "%%%s", buf_name(p, a->buf)); break;
        case KA_DIM: dim(p, a->dim); break;
        case KA_SYM: str_printf(p->s, "$%s", sym_name(p, a->sym)); break;
        case KA_INT: str_printf(p->s, "%lld", (long long)a->i); break;
        case KA_STR: quoted(p, a->str); break;
        }
    }
    str_char(p->s, ')');
}

static void print_step(P *p, const KStep *s)
{
    static const char *const rel[] = {"==", "!=", "<=", "<", "bcast"};
    switch (s->kind) {
    case KST_BIND:
        str_printf(p->s, "bind $%s = ", sym_name(p, s->sym));
        dim(p, s->a);
        break;
    case KST_LOAD:
        str_printf(p->s, "bind $%s = load %%%s[", sym_name(p, s->sym), buf_name(p, s->buf));
        dim(p, s->a);
        str_char(p->s, ']');
        break;
    case KST_CHECK:
        str_add(p->s, "check ");
        dim(p, s->a);
        str_printf(p->s, " %s ", rel[s->rel]);
        dim(p, s->b);
        str_add(p->s, ", ");
        quoted(p, s->msg);
        break;
    case KST_ALLOC: str_printf(p->s, "alloc %%%s", buf_name(p, s->buf)); break;
    case KST_FREE: str_printf(p->s, "free %%%s", buf_name(p, s->buf)); break;
    case KST_MOVE: str_printf(p->s, "move %%%s <- %%%s", buf_name(p, s->buf), buf_name(p, s->src)); break;
    case KST_LAUNCH:
        str_printf(p->s, "launch @%s(", s->kernel ? name_str(p->m->names, s->kernel->name) : "undefined");
        for (uint32_t i = 0; i < s->n_buf_arg; i++)
            str_printf(p->s, "%s%%%s", i ? ", " : "", buf_name(p, s->buf_arg[i]));
        str_add(p->s, s->single ? ") single" : ")");
        break;
    case KST_CALL: print_call(p, s); break;
    case KST_BARRIER: str_add(p->s, "barrier"); break;
    case KST_IF:
        str_add(p->s, "if ");
        dim(p, s->a);
        nested(p, s->body);
        if (s->other->first) {
            str_add(p->s, " else");
            nested(p, s->other);
        }
        break;
    case KST_WHILE:
        str_add(p->s, "while ");
        dim(p, s->a);
        str_add(p->s, " carry(");
        for (uint32_t i = 0; i < s->n_carry; i++) {
            str_printf(p->s, "%s$%s = ", i ? ", " : "", sym_name(p, s->carry[i]));
            dim(p, s->init[i]);
        }
        str_char(p->s, ')');
        nested(p, s->body);
        str_add(p->s, " next(");
        for (uint32_t i = 0; i < s->n_carry; i++) {
            if (i) str_add(p->s, ", ");
            dim(p, s->next_val[i]);
        }
        str_char(p->s, ')');
        break;
    case KST_FAIL:
        str_add(p->s, "fail ");
        quoted(p, s->msg);
        break;
    }
    loc_suffix(p, s->loc);
    if (s->loc.i && s->kind != KST_IF && s->kind != KST_WHILE) {
        const KLocRec *r = &p->m->loc.p[s->loc.i];
        str_printf(p->s, "    ; node %d ", r->node);
        quoted(p, name_str(p->m->names, r->node_name));
        str_char(p->s, ' ');
        quoted(p, name_str(p->m->names, r->op));
    }
}

static void print_steps(P *p, const KSteps *l)
{
    for (const KStep *s = l->first; s; s = s->next) {
        str_printf(p->s, "%*s", p->indent * 2, "");
        print_step(p, s);
        str_char(p->s, '\n');
    }
}

void kir_print(Str *s, KModule *m)
{
    Arena scratch;
    arena_init(&scratch, "print", m->arena->oom);
    P p = {.s = s, .m = m, .arena = &scratch};
    KScope names;
    kscope_init(&names, &scratch);
    p.buf = arena_array(&scratch, const char *, m->buf.n);
    p.sym = arena_array(&scratch, bool, m->dims->sym.n + 1);
    p.loc = arena_array(&scratch, bool, m->loc.n);
    p.loc_no = arena_array(&scratch, uint32_t, m->loc.n);
    for (uint32_t i = 1; i < m->buf.n; i++) p.buf[i] = kscope_add(&names, name_str(m->names, m->buf.p[i].name));
    use_all(&p);
    p.loc[0] = false;
    print_head(&p);
    for (uint32_t i = 1; i < m->buf.n; i++) print_buf(&p, (KBuf){i});
    for (uint32_t i = 0; i < m->input.n; i++) print_port(&p, "input", &m->input.p[i]);
    for (uint32_t i = 0; i < m->output.n; i++) print_port(&p, "output", &m->output.p[i]);
    if (m->planned) {
        str_add(s, "plan arena ");
        dim(&p, m->arena_bytes);
        str_add(s, " scratch ");
        dim(&p, m->scratch_bytes);
        str_char(s, '\n');
    }
    if (m->recipes) str_printf(s, "recipes {\n%s}\n", m->recipes);
    for (uint32_t i = 0; i < m->kernel.n; i++) {
        str_char(s, '\n');
        kir_print_body(s, m, m->kernel.p[i], p.loc_no);
    }
    str_add(s, "\nprogram {\n");
    p.indent = 1;
    print_steps(&p, &m->program);
    str_add(s, "}\n");
    arena_free(&scratch);
}

const char *kir_text(KModule *m, Arena *a)
{
    Str s;
    str_init(&s, a);
    kir_print(&s, m);
    return str_get(&s);
}
