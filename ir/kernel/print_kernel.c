/* print_kernel.c: a kernel as text (docs/KIR.md has the grammar). What is written on one line:
 *   store %y[%i] = max(add(load %x[%i], load %b[%j]), 0.0)
 * is four instructions. A pure value with one use in its own block is written where it is used; so is a load when
 * nothing that writes memory stands between; anything else gets a line `%0 = ...`. Constants and dims have no line.
 * Text that is read back prints the same: what moves, moves towards its use, and never past a write. Names are the
 * values' own or made up: loops i, j, k... by depth, carries a, b, ..., other values 0, 1, 2... */
#include "ir/kernel/print.h"
#include "base/bug.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define NEST_MAX 6 /* values inside values on one line */

typedef struct P {
    Str *s;
    const KModule *m;
    const Kernel *k;
    bool canonical;
    Arena *arena;
    KScope scope;
    const char **val, **param; /* names */
    uint32_t *use, *user;      /* by value: number of uses, one of them */
    uint32_t *pos, *eff;       /* by instruction: place in its block; place where it is written */
    uint8_t *nest;             /* by instruction: 0: a line of its own */
    uint32_t next;
    int indent;
} P;

/* ---- names ---- */
void kscope_init(KScope *s, Arena *a)
{
    *s = (KScope){.arena = a};
    map_init(&s->place, a);
}

/* Names whose hashes are equal count as equal: one of them gets a suffix. */
static bool taken(const KScope *s, uint64_t hash)
{
    uint64_t at;
    return map_get(&s->place, hash, &at) && at < s->name.n && s->name.p[at] == hash;
}

const char *kscope_add(KScope *s, const char *wish)
{
    char *base = arena_strdup(s->arena, *wish ? wish : "_"), *name = base;
    for (char *p = base; *p; p++)
        if (!isalnum((unsigned char)*p) && *p != '_') *p = '_';
    uint64_t hash = hash_bytes(name, strlen(name), 0);
    for (uint32_t n = 2; taken(s, hash); n++) {
        name = arena_printf(s->arena, "%s_%u", base, n);
        hash = hash_bytes(name, strlen(name), 0);
    }
    map_put(&s->place, hash, s->name.n);
    vec_push(s->arena, &s->name, hash);
    return name;
}

static bool all_digits(const char *t)
{
    for (; *t; t++)
        if (!isdigit((unsigned char)*t)) return false;
    return true;
}

static void name_val(P *p, KVal v, const char *made_up)
{
    const KValRec *r = kval(p->k, v);
    const char *own = r->name.i && !p->canonical ? name_str(p->m->names, r->name) : "";
    char text[16];
    if (!*own || all_digits(own)) {
        if (!made_up) {
            snprintf(text, sizeof text, "%u", p->next++);
            p->val[v.i] = arena_strdup(p->arena, text); /* digits never meet a name from elsewhere */
            return;
        }
        own = made_up;
    }
    p->val[v.i] = kscope_add(&p->scope, own);
}

/* ---- what goes on which line ---- */
static bool block_writes(const Kernel *k, KBlock b);
static bool writes(const Kernel *k, const KInstRec *r)
{
    if (r->op == KOP_FOR) return block_writes(k, r->body);
    return r->op == KOP_STORE || r->op == KOP_MACC;
}

static bool block_writes(const Kernel *k, KBlock b)
{
    for (KInst i = kblock(k, b)->first; i.i; i = kinst(k, i)->next)
        if (writes(k, kinst(k, i))) return true;
    return false;
}

static bool is_literal(const KInstRec *r) { return r->op == KOP_CONST || r->op == KOP_DIM; }

/* Writers of the block in order; `n` of them stand before a place when their position is smaller. */
static void plan_block(P *p, KBlock b)
{
    const Kernel *k = p->k;
    VEC(uint32_t) wr = {0};
    uint32_t n = 0;
    for (KInst i = kblock(k, b)->first; i.i; i = kinst(k, i)->next) {
        p->pos[i.i] = ++n;
        if (writes(k, kinst(k, i))) vec_push(p->arena, &wr, n);
    }
    for (KInst i = kblock(k, b)->last; i.i; i = kinst(k, i)->prev) {
        const KInstRec *r = kinst(k, i);
        KInst u = {r->n_res ? p->user[r->res] : 0};
        p->eff[i.i] = p->pos[i.i];
        if (is_literal(r) || r->n_res != 1 || r->op == KOP_FOR || p->use[r->res] != 1 || kinst(k, u)->block.i != b.i)
            continue;
        if (p->nest[u.i] >= NEST_MAX) continue;
        if (r->op == KOP_LOAD) {
            bool crossed = false;
            for (uint32_t w = 0; w < wr.n && !crossed; w++) crossed = wr.p[w] > p->pos[i.i] && wr.p[w] < p->eff[u.i];
            if (crossed) continue;
        }
        p->nest[i.i] = p->nest[u.i] + 1;
        p->eff[i.i] = p->eff[u.i];
    }
}

/* ---- values ---- */
static void print_inst(P *p, const KInstRec *r, DType expect);

static void print_const(P *p, const KInstRec *r, DType expect)
{
    DType plain = dtype_is_float(r->type) ? DT_F32 : r->type == DT_BOOL ? DT_BOOL : DT_I64;
    bool typed = r->type != (expect ? expect : plain);
    if (r->type == DT_STR) {
        str_add(p->s, "\"\"");
        return;
    }
    if (typed) str_printf(p->s, "%s(", dtype_name(r->type));
    size_t at = p->s->n;
    if (dtype_is_float(r->type)) {
        str_double(p->s, r->imm.f, r->type == DT_F32);
        if (!strpbrk(p->s->p + at, ".einf")) str_add(p->s, ".0");
    } else if (r->type == DT_BOOL) str_add(p->s, r->imm.i ? "true" : "false");
    else str_printf(p->s, "%lld", (long long)r->imm.i);
    if (typed) str_char(p->s, ')');
}

static bool is_word(const char *t)
{
    static const char *const word[] = {"load", "true", "false", "inf", "nan", "dim", "if", "else", "par", "seq", "vec"};
    for (size_t i = 0; i < sizeof word / sizeof *word; i++)
        if (!strcmp(word[i], t)) return true;
    return false;
}

static void print_dim(P *p, Dim d)
{
    Str t;
    str_init(&t, p->arena);
    dim_print(&t, p->m->dims, d);
    bool bare = isalpha((unsigned char)*str_get(&t)) || *str_get(&t) == '_';
    for (const char *c = str_get(&t); *c && bare; c++) bare = isalnum((unsigned char)*c) || *c == '_';
    if (bare && !is_word(str_get(&t))) str_add(p->s, str_get(&t));
    else str_printf(p->s, "dim(%s)", str_get(&t));
}

static void print_val(P *p, KVal v, DType expect)
{
    const KValRec *r = kval(p->k, v);
    const KInstRec *d = r->def.i ? kinst(p->k, r->def) : NULL;
    if (d && d->op == KOP_CONST) print_const(p, d, expect);
    else if (d && d->op == KOP_DIM) print_dim(p, d->imm.dim);
    else if (d && p->nest[r->def.i]) print_inst(p, d, expect);
    else if (p->val[v.i]) str_printf(p->s, "%%%s", p->val[v.i]);
    else str_printf(p->s, "%%undefined_%u", v.i); /* only in messages of the verifier */
}

static void print_index(P *p, const KInstRec *r)
{
    uint32_t rank = p->k->param.p[r->param].rank;
    str_printf(p->s, "%%%s[", p->param[r->param]);
    for (uint32_t n = 0; n < rank && n < r->n_arg; n++) {
        if (n) str_add(p->s, ", ");
        print_val(p, karg(p->k, r, n), DT_I64);
    }
    str_char(p->s, ']');
}

/* The expected types here are the ones that the parser knows at the same place: from outside, then from the first
 * argument. */
static void print_inst(P *p, const KInstRec *r, DType expect)
{
    const Kernel *k = p->k;
    const KOpInfo *info = kop_info(r->op);
    if (r->op == KOP_LOAD) {
        uint32_t rank = k->param.p[r->param].rank;
        str_add(p->s, "load ");
        print_index(p, r);
        if (r->n_arg != rank + 2) return;
        str_add(p->s, " if ");
        print_val(p, karg(k, r, rank), DT_BOOL);
        str_add(p->s, " else ");
        print_val(p, karg(k, r, rank + 1), dtype_compute(k->param.p[r->param].elem));
        return;
    }
    str_add(p->s, info->text);
    if (r->op == KOP_CAST || r->op == KOP_BITCAST) str_printf(p->s, "<%s>", dtype_name(r->imm.dtype));
    str_char(p->s, '(');
    if (info->flags & KF_CMP || r->op == KOP_ISNAN || r->op == KOP_ISINF || r->op == KOP_CAST || r->op == KOP_BITCAST)
        expect = DT_NONE;
    for (uint32_t n = 0; n < r->n_arg; n++) {
        DType want = n ? kval(k, karg(k, r, n - 1))->type : expect;
        if (r->op == KOP_SELECT) want = n == 0 ? DT_BOOL : n == 1 ? expect : want;
        if (n) str_add(p->s, ", ");
        print_val(p, karg(k, r, n), want);
    }
    str_char(p->s, ')');
}

/* ---- statements ---- */
static void line(P *p)
{
    for (int i = 0; i < p->indent; i++) str_add(p->s, "  ");
}

static void print_block(P *p, KBlock b);

static void body(P *p, KBlock b)
{
    str_add(p->s, " {\n");
    p->indent++;
    print_block(p, b);
    p->indent--;
    line(p);
    str_add(p->s, "}\n");
}

static int loop_depth(const Kernel *k, KBlock b)
{
    int d = 0;
    for (; kblock(k, b)->owner.i; b = kinst(k, kblock(k, b)->owner)->block)
        if (kinst(k, kblock(k, b)->owner)->op == KOP_FOR) d++;
    return d;
}

static void print_for(P *p, const KInstRec *r)
{
    static const char *const letter[] = {"i", "j", "k", "l", "m", "n", "o", "p", "q", "r", "s", "t"};
    static const char *const carry[] = {"a", "b", "c", "d", "e", "f", "g", "h"};
    const KBlockRec *in = kblock(p->k, r->body);
    uint32_t scope = p->scope.name.n;
    int depth = loop_depth(p->k, r->body) - 1;
    for (uint32_t n = 0; n < r->n_res; n++) str_printf(p->s, "%s%%%s", n ? ", " : "", p->val[r->res + n]);
    if (r->n_res) str_add(p->s, " = ");
    name_val(p, (KVal){in->param}, letter[depth < 11 ? depth : 11]);
    str_printf(p->s, "for %%%s = ", p->val[in->param]);
    print_val(p, karg(p->k, r, 0), DT_I64);
    str_add(p->s, "..");
    print_val(p, karg(p->k, r, 1), DT_I64);
    str_add(p->s, r->loop == KLOOP_PAR ? " par" : r->loop == KLOOP_VEC ? " vec" : " seq");
    if (r->down) str_add(p->s, " down");
    for (uint32_t n = 0; n + 2 < r->n_arg; n++) {
        KVal c = {in->param + 1 + n};
        name_val(p, c, carry[n < 7 ? n : 7]);
        str_printf(p->s, "%s%%%s = ", n ? ", " : " carry(", p->val[c.i]);
        print_val(p, karg(p->k, r, 2 + n), DT_NONE);
        if (r->combine[n]) str_printf(p->s, " %s", kop_info(r->combine[n])->text);
    }
    if (r->n_arg > 2) str_char(p->s, ')');
    body(p, r->body);
    p->scope.name.n = scope;
}

static void print_part(P *p, const char *word, KBlock b, const char *const *made_up)
{
    const KBlockRec *r = kblock(p->k, b);
    uint32_t scope = p->scope.name.n;
    if (!b.i) return;
    line(p);
    str_add(p->s, word);
    for (uint32_t n = 0; n < r->n_param; n++) {
        name_val(p, (KVal){r->param + n}, made_up[n]);
        str_printf(p->s, "%s%%%s", n ? ", " : "(", p->val[r->param + n]);
    }
    str_char(p->s, ')');
    body(p, b);
    p->scope.name.n = scope;
}

static void print_macc(P *p, const KInstRec *r)
{
    static const char *const arg[] = {"rows", "cols", "k", "t", "ak", "bk", "bstrip", "bsum"};
    static const char *const addr[] = {"t", "i"}, *const init[] = {"i", "j"};
    const KMacc *x = r->macc;
    const char *epi[KM_SUMS_MAX + 2];
    for (int n = 0; n < x->sums; n++) epi[n] = "acc";
    epi[x->sums] = "i";
    epi[x->sums + 1] = "j";
    str_printf(p->s, "macc<%s> %%%s, %%%s tile(%u, %u)%s%s%s", dtype_name(x->acc), p->param[x->a], p->param[x->b], x->mr,
               x->nv, x->m_inner ? " m_inner" : "", x->b_packed ? " packed" : "", x->b_pairs ? " pairs" : x->quads ? " quads" : "");
    if (x->b_next) str_printf(p->s, " next(%lld)", (long long)x->b_next);
    if (x->sums > 1) str_printf(p->s, " sums(%u)", x->sums);
    for (uint32_t n = 0; n < r->n_arg && n < (x->sums > 1 ? KM_ARGS : KM_BSUM); n++) {
        str_printf(p->s, "%s%s=", n ? ", " : " (", arg[n]);
        print_val(p, karg(p->k, r, n), DT_I64);
    }
    str_add(p->s, ") {\n");
    p->indent++;
    print_part(p, "addr", x->addr, addr);
    print_part(p, "init", x->init, init);
    print_part(p, "epilogue", x->epi, epi);
    p->indent--;
    line(p);
    str_add(p->s, "}\n");
}

static void print_stmt(P *p, KInst i)
{
    const Kernel *k = p->k;
    const KInstRec *r = kinst(k, i);
    uint32_t rank;
    if (is_literal(r) || p->nest[i.i]) return;
    for (uint32_t n = 0; n < r->n_res; n++) name_val(p, (KVal){r->res + n}, NULL);
    line(p);
    switch (r->op) {
    case KOP_FOR: print_for(p, r); return;
    case KOP_MACC: print_macc(p, r); return;
    case KOP_STORE:
        rank = k->param.p[r->param].rank;
        str_add(p->s, "store ");
        print_index(p, r);
        if (r->n_arg == rank + 2) {
            str_add(p->s, " if ");
            print_val(p, karg(k, r, rank + 1), DT_BOOL);
        }
        str_add(p->s, " = ");
        if (r->n_arg > rank) print_val(p, karg(k, r, rank), dtype_compute(k->param.p[r->param].elem));
        break;
    case KOP_RECORD:
        str_add(p->s, "record ");
        print_val(p, karg(k, r, 0), DT_BOOL);
        str_add(p->s, ", ");
        print_val(p, karg(k, r, 1), DT_I64);
        str_add(p->s, ", ");
        print_val(p, karg(k, r, 2), DT_I64);
        str_add(p->s, ", ");
        str_quote(p->s, p->m->message.p[r->imm.i], strlen(p->m->message.p[r->imm.i]));
        break;
    case KOP_YIELD: {
        KInst owner = kblock(k, r->block)->owner;
        const KInstRec *o = owner.i ? kinst(k, owner) : NULL;
        str_add(p->s, "yield");
        for (uint32_t n = 0; n < r->n_arg; n++) {
            DType want = DT_NONE;
            if (o && o->op == KOP_FOR && n < o->n_res) want = kval(k, (KVal){o->res + n})->type;
            if (o && o->op == KOP_MACC) want = o->macc->addr.i != r->block.i ? o->macc->acc : n == 1 ? DT_BOOL : DT_I64;
            str_add(p->s, n ? ", " : " ");
            print_val(p, karg(k, r, n), want);
        }
        break;
    }
    default: str_printf(p->s, "%%%s = ", p->val[r->res]); print_inst(p, r, DT_NONE);
    }
    str_char(p->s, '\n');
}

static void print_block(P *p, KBlock b)
{
    uint32_t scope = p->scope.name.n;
    for (KInst i = kblock(p->k, b)->first; i.i; i = kinst(p->k, i)->next) print_stmt(p, i);
    p->scope.name.n = scope;
}

/* ---- the whole ---- */
void kir_print_shape(Str *s, const KModule *m, const KBufRec *r)
{
    str_printf(s, "%s[", dtype_name(r->elem));
    for (int i = 0; i < r->rank; i++) {
        if (i) str_char(s, ',');
        dim_print(s, m->dims, r->dim[i]);
    }
    str_char(s, ']');
    if (r->dense) return;
    str_add(s, " strides [");
    for (int i = 0; i < r->rank; i++) {
        if (i) str_char(s, ',');
        dim_print(s, m->dims, r->stride[i]);
    }
    str_char(s, ']');
}

void kir_print_body(Str *s, const KModule *m, const Kernel *k, const uint32_t *loc_no)
{
    Arena scratch;
    bool canonical = loc_no == NULL;
    arena_init(&scratch, "print", m->arena->oom);
    P p = {.s = s, .m = m, .k = k, .canonical = canonical, .arena = &scratch};
    kscope_init(&p.scope, &scratch);
    bool first = true;
    p.val = arena_array(&scratch, const char *, k->val.n);
    p.param = arena_array(&scratch, const char *, k->param.n);
    p.use = arena_array(&scratch, uint32_t, k->val.n);
    p.user = arena_array(&scratch, uint32_t, k->val.n);
    p.pos = arena_array(&scratch, uint32_t, k->inst.n);
    p.eff = arena_array(&scratch, uint32_t, k->inst.n);
    p.nest = arena_array(&scratch, uint8_t, k->inst.n);
    for (uint32_t i = 1; i < k->inst.n; i++) {
        if (!k->inst.p[i].block.i) continue; /* unlinked */
        for (uint32_t n = 0; n < k->inst.p[i].n_arg; n++) {
            KVal v = karg(k, &k->inst.p[i], n);
            p.use[v.i]++;
            p.user[v.i] = i;
        }
    }
    for (uint32_t b = 1; b < k->block.n; b++) plan_block(&p, (KBlock){b});
    if (canonical) str_add(s, "kernel (");
    else str_printf(s, "kernel @%s(", name_str(m->names, k->name));
    for (uint32_t i = 1; i < k->param.n; i++) {
        char text[16];
        snprintf(text, sizeof text, "p%u", i);
        p.param[i] = kscope_add(&p.scope, canonical ? text : name_str(m->names, k->param.p[i].name));
        if (k->param.p[i].space != KS_PARAM) continue;
        str_printf(s, "%s%%%s: ", first ? "" : ", ", p.param[i]);
        kir_print_shape(s, m, &k->param.p[i]);
        if (k->param.p[i].out) str_add(s, " out");
        first = false;
    }
    str_char(s, ')');
    if (k->loc.i && !canonical && loc_no[k->loc.i]) str_printf(s, " loc %u", loc_no[k->loc.i]);
    str_add(s, " {\n");
    p.indent = 1;
    for (uint32_t i = 1; i < k->param.n; i++) {
        const KBufRec *r = &k->param.p[i];
        if (r->space != KS_LOCAL) continue;
        str_printf(s, "  local %%%s: ", p.param[i]);
        kir_print_shape(s, m, r);
        if (r->offset.i) {
            str_add(s, " at ");
            dim_print(s, m->dims, r->offset);
            str_add(s, " bytes ");
            dim_print(s, m->dims, r->bytes);
        }
        str_char(s, '\n');
    }
    print_block(&p, k->top);
    str_add(s, "}\n");
    arena_free(&scratch);
}

void kir_print_kernel(Str *s, const KModule *m, const Kernel *k)
{
    Arena scratch;
    arena_init(&scratch, "print", m->arena->oom);
    kir_print_body(s, m, k, arena_array(&scratch, uint32_t, m->loc.n));
    arena_free(&scratch);
}

void kir_print_canonical(Str *s, const KModule *m, const Kernel *k) { kir_print_body(s, m, k, NULL); }
