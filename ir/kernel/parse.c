/* parse.c: a module from its text form (docs/KIR.md has the grammar): the lines of the head in any order that defines
 * before use, then kernels and the program. Text can say anything: names, numbers and shapes are checked here as far
 * as the containers rely on them, the rest by kir_verify. */
#include "ir/kernel/parse.h"
#include "base/bug.h"
#include <string.h>

/* ---- small pieces ---- */
static bool small_int(KParse *f, int64_t lo, int64_t hi, int64_t *out)
{
    Tok at = f->x.tok;
    return lex_int(&f->x, out) &&
           ((*out >= lo && *out <= hi) || lex_error_at(&f->x, &at, "%lld is out of range", (long long)*out));
}

static bool dim(KParse *f, Dim *d) { return lex_dim(&f->x, f->m->dims, false, d); }

static bool text(KParse *f, const char **out)
{
    size_t n;
    const char *p;
    if (!lex_string(&f->x, &p, &n)) return false;
    if (memchr(p, 0, n)) return lex_error(&f->x, "a string holds a zero byte");
    *out = arena_strndup(f->m->arena, p, n);
    return true;
}

bool kparse_loc(KParse *f, KLoc *l)
{
    int64_t n;
    Tok at = f->x.tok;
    if (!lex_accept_ident(&f->x, "loc")) return true;
    if (!small_int(f, 1, UINT32_MAX, &n)) return false;
    for (uint32_t i = 0; i < f->loc.n; i++)
        if (f->loc.p[i].name.i == (uint32_t)n) {
            *l = (KLoc){f->loc.p[i].i};
            return true;
        }
    return lex_error_at(&f->x, &at, "location %lld is not defined", (long long)n);
}

static bool buf_ref(KParse *f, KBuf *b)
{
    const char *name;
    Tok at = f->x.tok;
    if (!lex_name(&f->x, TK_PERCENT, &name)) return false;
    Name n = name_of(f->m->names, name);
    for (uint32_t i = f->buf.n; i-- > 0;)
        if (f->buf.p[i].name.i == n.i) {
            *b = (KBuf){f->buf.p[i].i};
            return true;
        }
    return lex_error_at(&f->x, &at, "%%%s is no buffer", name);
}

static bool sym_ref(KParse *f, TokKind kind, Sym *s)
{
    const char *name;
    Tok at = f->x.tok;
    if (!lex_name(&f->x, kind, &name)) return false;
    return sym_find(f->m->dims, name_of(f->m->names, name), s) || lex_error_at(&f->x, &at, "unknown symbol '%s'", name);
}

/* ---- the head ---- */
static bool parse_target(KParse *f)
{
    KTarget *t = &f->m->target;
    int64_t vec, regs, l1, l2, far = 0;
    Lex *x = &f->x;
    if (!text(f, &t->triple) || !lex_expect_ident(x, "cpu") || !text(f, &t->cpu) || !lex_expect_ident(x, "features") ||
        !text(f, &t->features))
        return false;
    if (!lex_expect_ident(x, "vec") || !small_int(f, 0, 65535, &vec) || !lex_expect_ident(x, "regs") ||
        !small_int(f, 0, 65535, &regs))
        return false;
    t->fma = lex_accept_ident(x, "fma");
    t->bf16 = lex_accept_ident(x, "bf16") ? KDOTS_PAIRS : lex_accept_ident(x, "amx") ? KDOTS_TILES : KDOTS_NONE;
    t->bytes = lex_accept_ident(x, "bytes2") ? KBYTES_TWOS : lex_accept_ident(x, "bytes4") ? KBYTES_FOURS : KBYTES_ONES;
    if (!lex_expect_ident(x, "l1") || !small_int(f, 0, UINT32_MAX, &l1) || !lex_expect_ident(x, "l2") ||
        !small_int(f, 0, UINT32_MAX, &l2) || (lex_accept_ident(x, "far") && !small_int(f, 0, UINT16_MAX, &far)))
        return false;
    t->vec_bits = (uint16_t)vec;
    t->vec_regs = (uint16_t)regs;
    t->l1_bytes = (uint32_t)l1;
    t->l2_bytes = (uint32_t)l2;
    t->far_rate = (uint16_t)far;
    return true;
}

static bool parse_sym(KParse *f)
{
    const char *name;
    Sym s;
    Lex *x = &f->x;
    SymKind kind = SYM_NODE;
    int64_t v;
    if (!lex_name(x, TK_IDENT, &name)) return false;
    Name n = name_of(f->m->names, name);
    if (sym_find(f->m->dims, n, &s)) return lex_error(x, "symbol '%s' is defined twice", name);
    if (lex_accept_ident(x, "entry")) kind = SYM_ENTRY;
    else if (!lex_expect_ident(x, "node")) return false;
    s = sym_new(f->m->dims, n, kind, 0, INT64_MAX);
    SymRec *r = &f->m->dims->sym.p[s.i];
    r->input = r->axis = -1;
    if (lex_accept_ident(x, "input")) {
        if (!small_int(f, 0, INT32_MAX, &v)) return false;
        r->input = (int32_t)v;
        v = AXIS_RANK;
        if (!lex_accept_ident(x, "rank") && (!lex_expect_ident(x, "axis") || !small_int(f, 0, RANK_MAX - 1, &v))) return false;
        r->axis = (int32_t)v;
    }
    if (lex_accept_ident(x, "lo") && !lex_int(x, &r->lo)) return false;
    if (lex_accept_ident(x, "hi") && !lex_int(x, &r->hi)) return false;
    if (lex_accept_ident(x, "multiple") && !small_int(f, 1, INT64_MAX, &r->multiple)) return false;
    return r->lo <= r->hi || lex_error(x, "symbol '%s' has no values", name);
}

static bool parse_same(KParse *f)
{
    Sym s;
    Dim d;
    Tok at = f->x.tok;
    if (!sym_ref(f, TK_IDENT, &s) || !lex_expect(&f->x, '=') || !dim(f, &d)) return false;
    if (dim_same(d, dim_sym(f->m->dims, s)) || f->m->dims->sym.p[s.i].same_as.i)
        return lex_error_at(&f->x, &at, "a symbol is the same as one other dim");
    f->m->dims->sym.p[s.i].same_as = d;
    return true;
}

static bool parse_loc_line(KParse *f)
{
    int64_t no, node;
    const char *name, *op;
    if (!small_int(f, 1, UINT32_MAX, &no) || !lex_expect(&f->x, '=') || !small_int(f, INT32_MIN, INT32_MAX, &node) ||
        !text(f, &name) || !text(f, &op))
        return false;
    vec_push(f->m->arena, &f->m->loc, (KLocRec){(int32_t)node, name_of(f->m->names, name), name_of(f->m->names, op)});
    vec_push(f->x.arena, &f->loc, (KNamed){{(uint32_t)no}, f->m->loc.n - 1});
    return true;
}

static bool parse_const(KParse *f, KBufRec *r)
{
    int64_t count = 1, n;
    if (lex_accept_ident(&f->x, "at") && !small_int(f, 0, INT64_MAX, &r->weight_off)) return false;
    for (int i = 0; i < r->rank; i++)
        if (!dim_is_const(f->m->dims, r->dim[i], &n) || n < 0 || __builtin_mul_overflow(count, n, &count))
            return lex_error(&f->x, "dims of a constant are constants");
    return lex_expect(&f->x, '=') && lex_blob(&f->x, f->m->blobs, r->elem, count, &r->blob);
}

static bool parse_buf(KParse *f)
{
    const char *name;
    KBufRec r = {.port = -1, .weight_off = -1, .dense = true};
    Lex *x = &f->x;
    int64_t n;
    TypeId t;
    Lex at;
    if (!lex_name(x, TK_PERCENT, &name) || !lex_expect(x, ':')) return false;
    at = *x;
    r.name = name_of(f->m->names, name);
    for (uint32_t i = 0; i < f->buf.n; i++)
        if (f->buf.p[i].name.i == r.name.i) return lex_error(x, "%%%s is defined twice", name);
    if (lex_is_ident(x, "seq") || lex_is_ident(x, "opt") || lex_is_ident(x, "map")) {
        if (!lex_type(x, f->m->types, false, &t)) return false;
        r.seq = t;
    } else if (!kparse_shape(f, &r)) return false;
    if (r.seq.i && !lex_is_ident(x, "seq")) {
        *x = at;
        return lex_error(x, "a buffer of this type is a seq");
    }
    if (lex_accept_ident(x, "in") || lex_is_ident(x, "out")) {
        r.space = lex_accept_ident(x, "out") ? KS_OUT : KS_IN;
        if (!small_int(f, 0, INT32_MAX, &n)) return false;
        r.port = (int32_t)n;
    } else if (lex_accept_ident(x, "const")) {
        r.space = KS_CONST;
        if (!parse_const(f, &r)) return false;
    } else if (lex_accept_ident(x, "arena")) {
        r.space = KS_ARENA;
        if (lex_accept_ident(x, "at") && (!dim(f, &r.offset) || !lex_expect_ident(x, "bytes") || !dim(f, &r.bytes)))
            return false;
    } else if (lex_is_ident(x, "box") || lex_is_ident(x, "seq")) {
        r.space = lex_is_ident(x, "box") ? KS_BOX : KS_SEQ;
        lex_next(x);
        if (lex_accept_ident(x, "port")) {
            if (!small_int(f, 0, INT32_MAX, &n)) return false;
            r.port = (int32_t)n;
        }
    } else if (lex_accept_ident(x, "view")) {
        r.space = KS_VIEW;
        if (!buf_ref(f, &r.base)) return false;
        r.offset = dim_const(f->m->dims, 0);
        if (lex_accept_ident(x, "offset") && !dim(f, &r.offset)) return false;
    } else return lex_error(x, "expected in, out, const, arena, box, seq or view");
    if ((r.space == KS_SEQ) != (r.seq.i != 0))
        return lex_error(x, "a seq buffer has a sequence type, others have none");
    if (!kparse_loc(f, &r.loc)) return false;
    vec_push(f->m->arena, &f->m->buf, r);
    vec_push(x->arena, &f->buf, (KNamed){r.name, f->m->buf.n - 1});
    return true;
}

static bool parse_port(KParse *f, bool out)
{
    KPort p = {.alias = -1, .alias_axis = -1};
    const char *name;
    int64_t n;
    Lex *x = &f->x;
    if (!text(f, &name) || !lex_expect(x, ':') || !lex_type(x, f->m->types, false, &p.type)) return false;
    p.name = name_of(f->m->names, name);
    if (lex_accept(x, '=') && !buf_ref(f, &p.buf)) return false;
    if (lex_accept_ident(x, "alias")) {
        if (!small_int(f, 0, INT32_MAX, &n)) return false;
        p.alias = (int32_t)n;
        if (lex_accept_ident(x, "axis")) {
            if (!small_int(f, 0, RANK_MAX - 1, &n) || !lex_expect_ident(x, "cap") ||
                !small_int(f, 0, INT64_MAX, &p.alias_cap))
                return false;
            p.alias_axis = (int32_t)n;
        }
    }
    if (lex_accept_ident(x, "rank") && !sym_ref(f, TK_DOLLAR, &p.rank)) return false;
    if (out) vec_push(f->m->arena, &f->m->output, p);
    else vec_push(f->m->arena, &f->m->input, p);
    return true;
}

/* ---- the program ---- */
static bool steps(KParse *f, KSteps *l, int depth);

static bool parse_bind(KParse *f, KStep *s)
{
    if (!sym_ref(f, TK_DOLLAR, &s->sym) || !lex_expect(&f->x, '=')) return false;
    Lex at = f->x;
    if (lex_accept_ident(&f->x, "load")) {
        if (f->x.tok.kind == TK_PERCENT) {
            s->kind = KST_LOAD;
            return buf_ref(f, &s->buf) && lex_expect(&f->x, '[') && dim(f, &s->a) && lex_expect(&f->x, ']');
        }
        f->x = at; /* a symbol of that name */
    }
    return dim(f, &s->a);
}

static bool parse_check(KParse *f, KStep *s)
{
    Lex *x = &f->x;
    if (!dim(f, &s->a)) return false;
    if (lex_accept_ident(x, "bcast")) s->rel = KREL_BCAST;
    else if (lex_accept(x, '<')) s->rel = lex_accept(x, '=') ? KREL_LE : KREL_LT;
    else {
        s->rel = lex_is(x, '!') ? KREL_NE : KREL_EQ;
        lex_next(x);
        if (!lex_expect(x, '=')) return false;
    }
    return dim(f, &s->b) && lex_expect(x, ',') && text(f, &s->msg);
}

static bool parse_launch(KParse *f, KStep *s)
{
    const char *name;
    VEC(KBuf) arg = {0};
    Tok at = f->x.tok;
    if (!lex_name(&f->x, TK_AT, &name) || !lex_expect(&f->x, '(')) return false;
    for (uint32_t i = 0; i < f->m->kernel.n; i++)
        if (!strcmp(name_str(f->m->names, f->m->kernel.p[i]->name), name)) s->kernel = f->m->kernel.p[i];
    if (!s->kernel) return lex_error_at(&f->x, &at, "there is no kernel @%s", name);
    while (!lex_is(&f->x, ')')) {
        KBuf b;
        if ((arg.n && !lex_expect(&f->x, ',')) || !buf_ref(f, &b)) return false;
        vec_push(f->m->arena, &arg, b);
    }
    s->buf_arg = arg.p;
    s->n_buf_arg = arg.n;
    if (!lex_expect(&f->x, ')')) return false;
    s->single = lex_accept_ident(&f->x, "single");
    return true;
}

static bool parse_call(KParse *f, KStep *s)
{
    const char *name;
    VEC(KArg) arg = {0};
    Lex *x = &f->x;
    Tok at = x->tok;
    if (!lex_name(x, TK_IDENT, &name) || !lex_expect(x, '(')) return false;
    s->call = rt_call_find(name);
    if (!s->call) return lex_error_at(x, &at, "there is no runtime function %s", name);
    const char *want = s->call->args;
    while (!lex_is(x, ')')) {
        KArg a = {.kind = KA_BUF};
        bool ok;
        if (arg.n && !lex_expect(x, ',')) return false;
        if (x->tok.kind == TK_PERCENT) ok = buf_ref(f, &a.buf);
        else if (x->tok.kind == TK_DOLLAR) {
            a.kind = KA_SYM;
            ok = sym_ref(f, TK_DOLLAR, &a.sym);
        } else if (x->tok.kind == TK_STRING) {
            a.kind = KA_STR;
            ok = text(f, &a.str);
        } else if (*want == 'i') {
            a.kind = KA_INT;
            ok = lex_int(x, &a.i);
        } else {
            a.kind = KA_DIM;
            ok = dim(f, &a.dim);
        }
        if (!ok) return false;
        vec_push(f->m->arena, &arg, a);
        if (*want) want++;
    }
    s->arg = arg.p;
    s->n_arg = arg.n;
    return lex_expect(x, ')');
}

static bool parse_while(KParse *f, KStep *s, int depth)
{
    VEC(Sym) carry = {0};
    VEC(Dim) init = {0}, next = {0};
    Lex *x = &f->x;
    if (!dim(f, &s->a) || !lex_expect_ident(x, "carry") || !lex_expect(x, '(')) return false;
    while (!lex_is(x, ')')) {
        Sym c;
        Dim d;
        if ((carry.n && !lex_expect(x, ',')) || !sym_ref(f, TK_DOLLAR, &c) || !lex_expect(x, '=') || !dim(f, &d))
            return false;
        vec_push(f->m->arena, &carry, c);
        vec_push(f->m->arena, &init, d);
    }
    if (!lex_expect(x, ')') || !steps(f, s->body, depth) || !lex_expect_ident(x, "next") || !lex_expect(x, '('))
        return false;
    while (!lex_is(x, ')')) {
        Dim d;
        if ((next.n && !lex_expect(x, ',')) || !dim(f, &d)) return false;
        vec_push(f->m->arena, &next, d);
    }
    if (next.n != carry.n) return lex_error(x, "%u values in next for %u carries", next.n, carry.n);
    s->carry = carry.p;
    s->init = init.p;
    s->next_val = next.p;
    s->n_carry = carry.n;
    return lex_expect(x, ')');
}

static bool parse_step(KParse *f, KSteps *l, int depth)
{
    static const struct {
        const char *word;
        KStepKind kind;
    } words[] = {{"bind", KST_BIND}, {"check", KST_CHECK},   {"alloc", KST_ALLOC}, {"free", KST_FREE},
                 {"move", KST_MOVE}, {"launch", KST_LAUNCH}, {"call", KST_CALL},   {"barrier", KST_BARRIER},
                 {"if", KST_IF},     {"while", KST_WHILE},   {"fail", KST_FAIL}};
    Lex *x = &f->x;
    KStep *s = NULL;
    bool ok = true;
    for (size_t i = 0; i < sizeof words / sizeof *words && !s; i++)
        if (lex_accept_ident(x, words[i].word)) s = kstep_add(f->m, l, words[i].kind, (KLoc){0});
    if (!s) return lex_error(x, "expected a step of the program");
    switch (s->kind) {
    case KST_BIND:
    case KST_LOAD: ok = parse_bind(f, s); break;
    case KST_CHECK: ok = parse_check(f, s); break;
    case KST_ALLOC:
    case KST_FREE: ok = buf_ref(f, &s->buf); break;
    case KST_MOVE: ok = buf_ref(f, &s->buf) && lex_expect(x, '<') && lex_expect(x, '-') && buf_ref(f, &s->src); break;
    case KST_LAUNCH: ok = parse_launch(f, s); break;
    case KST_CALL: ok = parse_call(f, s); break;
    case KST_BARRIER: break;
    case KST_IF:
        ok = dim(f, &s->a) && steps(f, s->body, depth);
        if (ok && lex_accept_ident(x, "else")) ok = steps(f, s->other, depth);
        break;
    case KST_WHILE: ok = parse_while(f, s, depth); break;
    case KST_FAIL: ok = text(f, &s->msg); break;
    }
    return ok && kparse_loc(f, &s->loc);
}

static bool steps(KParse *f, KSteps *l, int depth)
{
    if (depth > 60) return lex_error(&f->x, "steps nested too deeply");
    if (!lex_expect(&f->x, '{')) return false;
    while (!lex_is(&f->x, '}'))
        if (!parse_step(f, l, depth + 1)) return false;
    return lex_expect(&f->x, '}');
}

static bool parse_program(KParse *f)
{
    if (f->m->program.first) return lex_error(&f->x, "a module has one program");
    return steps(f, &f->m->program, 0);
}

static bool parse_plan(KParse *f)
{
    if (!lex_expect_ident(&f->x, "arena") || !dim(f, &f->m->arena_bytes) || !lex_expect_ident(&f->x, "scratch") ||
        !dim(f, &f->m->scratch_bytes))
        return false;
    f->m->planned = true;
    return true;
}

/* ---- the whole ---- */
/* recipes { text }: kept as it stands; the Kernel IR does not look into it. */
static bool parse_recipes(KParse *f)
{
    Lex *x = &f->x;
    int depth = 0;
    if (!lex_is(x, '{')) return lex_expect(x, '{');
    const char *start = x->p + (x->p < x->end && *x->p == '\n');
    do {
        depth += lex_is(x, '{') - lex_is(x, '}');
        if (!depth) break;
        lex_next(x);
    } while (x->tok.kind != TK_EOF);
    if (x->tok.kind == TK_EOF) return lex_expect(x, '}');
    f->m->recipes = arena_strndup(f->m->arena, start, (size_t)(x->tok.text > start ? x->tok.text - start : 0));
    return lex_expect(x, '}');
}

static bool item(KParse *f)
{
    Lex *x = &f->x;
    if (lex_accept_ident(x, "source")) return text(f, &f->m->source);
    if (lex_accept_ident(x, "prefix")) return lex_name(x, TK_IDENT, &f->m->prefix);
    if (lex_accept_ident(x, "target")) return parse_target(f);
    if (lex_accept_ident(x, "option")) {
        if (lex_accept_ident(x, "threads")) f->m->threads = true;
        else if (lex_accept_ident(x, "flush_denormals")) f->m->flush_denormals = true;
        else if (lex_accept_ident(x, "unchecked")) f->m->unchecked = true;
        else return lex_error(x, "unknown option");
        return true;
    }
    if (lex_accept_ident(x, "sym")) return parse_sym(f);
    if (lex_accept_ident(x, "same")) return parse_same(f);
    if (lex_accept_ident(x, "loc")) return parse_loc_line(f);
    if (lex_accept_ident(x, "buf")) return parse_buf(f);
    if (lex_accept_ident(x, "input")) return parse_port(f, false);
    if (lex_accept_ident(x, "output")) return parse_port(f, true);
    if (lex_accept_ident(x, "plan")) return parse_plan(f);
    if (lex_accept_ident(x, "recipes")) return parse_recipes(f);
    if (lex_accept_ident(x, "kernel")) return kparse_kernel(f);
    if (lex_accept_ident(x, "program")) return parse_program(f);
    return lex_error(x, "expected a line of a module");
}

bool kir_parse(KModule *m, const char *file, const char *t, size_t n)
{
    KParse f = {.m = m};
    int64_t version;
    bool ok;
    /* names and strings of the text live as long as the module: the scanner copies them to its own arena */
    lex_init(&f.x, m->arena, m->diag, file, t, n);
    ok = lex_expect_ident(&f.x, "kir");
    Tok at = f.x.tok;
    ok = ok && lex_int(&f.x, &version);
    if (ok && version != KIR_VERSION)
        ok = diag(m->diag, diag_line(file, at.line, at.col), E_VERSION, (long long)version, KIR_VERSION);
    while (ok && f.x.tok.kind != TK_EOF) ok = item(&f);
    ok = ok && !f.x.failed;
    return ok;
}
