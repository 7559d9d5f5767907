/* parse_kernel.c: kernels from text (docs/KIR.md has the grammar). Nothing is folded and only constants and dims are
 * shared: what is read is what was written. A literal takes its type from the place where it stands (store: the
 * element; index and bounds: i64; an operand: the one before it, or what the surrounding operation must give), else
 * it is i64, f32 or bool; another type is written out: f64(0.5). What types must fit is left to the verifier, but for
 * what the builder relies on. */
#include "ir/kernel/parse.h"
#include "base/bug.h"
#include <ctype.h>
#include <math.h>
#include <string.h>

#define BLOCKS_MAX 60
#define EXPR_MAX 100

typedef struct P {
    KParse *f;
    Lex *x;
    KModule *m;
    Kb *b;
    VEC(KNamed) val; /* values in scope */
    VEC(KNamed) param;
    int blocks, depth;
} P;

/* ---- names ---- */
static Name own_name(P *p, const char *t)
{
    const char *c = t;
    while (isdigit((unsigned char)*c)) c++;
    return *c ? name_of(p->m->names, t) : (Name){0}; /* numbers are made up anew */
}

static bool val_define(P *p, const char *text, KVal v)
{
    Name n = name_of(p->m->names, text);
    for (uint32_t i = 0; i < p->val.n; i++)
        if (p->val.p[i].name.i == n.i) return lex_error(p->x, "%%%s is defined twice", text);
    vec_push(p->x->arena, &p->val, (KNamed){n, v.i});
    if (!kval(kb_kernel(p->b), v)->name.i) kval(kb_kernel(p->b), v)->name = own_name(p, text);
    return true;
}

static bool val_use(P *p, KVal *v)
{
    Tok at = p->x->tok;
    const char *text;
    if (!lex_name(p->x, TK_PERCENT, &text)) return false;
    Name n = name_of(p->m->names, text);
    for (uint32_t i = p->val.n; i-- > 0;)
        if (p->val.p[i].name.i == n.i) {
            *v = (KVal){p->val.p[i].i};
            return true;
        }
    return lex_error_at(p->x, &at, "%%%s is not defined here", text);
}

static bool param_use(P *p, uint32_t *param)
{
    Tok at = p->x->tok;
    const char *text;
    if (!lex_name(p->x, TK_PERCENT, &text)) return false;
    Name n = name_of(p->m->names, text);
    for (uint32_t i = 0; i < p->param.n; i++)
        if (p->param.p[i].name.i == n.i) {
            *param = p->param.p[i].i;
            return true;
        }
    return lex_error_at(p->x, &at, "%%%s is no parameter or local of this kernel", text);
}

static KOp op_find(const char *text)
{
    for (int op = KOP_NONE + 1; op < KOP_COUNT; op++)
        if (!strcmp(kop_info((KOp)op)->text, text)) return (KOp)op;
    return KOP_NONE;
}

/* ---- expressions ---- */
static bool expr(P *p, DType expect, KVal *out);

static bool expr_of(P *p, DType t, KVal *out)
{
    Tok at = p->x->tok;
    if (!expr(p, t, out)) return false;
    if (kb_type(p->b, *out) == t) return true;
    return lex_error_at(p->x, &at, "this is %s, expected %s", dtype_name(kb_type(p->b, *out)), dtype_name(t));
}

static bool number(P *p, DType t, KVal *out)
{
    double f;
    int64_t i;
    Tok at = p->x->tok;
    if (dtype_is_float(t)) {
        if (!lex_number(p->x, &f)) return false;
        *out = kb_const_f(p->b, t, f);
        if (isnan(f)) return true;
        return isinf(f) || !isinf(kinst(kb_kernel(p->b), kval(kb_kernel(p->b), *out)->def)->imm.f) ||
               lex_error_at(p->x, &at, "the number does not fit %s", dtype_name(t));
    }
    if (t == DT_U64 && p->x->tok.kind == TK_INT && p->x->tok.big) {
        *out = kb_const_i(p->b, t, p->x->tok.i);
        lex_next(p->x);
        return true;
    }
    if (t == DT_BOOL || t == DT_STR || !lex_int(p->x, &i))
        return lex_error(p->x, "expected a constant of type %s", dtype_name(t));
    *out = kb_const_i(p->b, t, i);
    if (kinst(kb_kernel(p->b), kval(kb_kernel(p->b), *out)->def)->imm.i != i)
        return lex_error_at(p->x, &at, "%lld does not fit %s", (long long)i, dtype_name(t));
    return true;
}

/* The token after the current one. */
static Tok peek(P *p)
{
    Lex copy = *p->x;
    Diag none = {.arena = p->x->arena, .quiet = 1};
    copy.diag = &none;
    lex_next(&copy);
    return copy.tok;
}

static bool next_is(P *p, char punct)
{
    Tok t = peek(p);
    return t.kind == TK_PUNCT && t.punct == punct && !t.arrow;
}

static bool literal(P *p, DType expect, KVal *out)
{
    Tok t = p->x->tok;
    if (lex_is(p->x, '-')) t = peek(p);
    bool real = t.kind == TK_FLOAT || t.kind == TK_IDENT; /* inf, nan */
    if (!expect) expect = real ? DT_F32 : DT_I64;
    if (expect != dtype_compute(expect)) return lex_error(p->x, "%s is no type to compute with", dtype_name(expect));
    return number(p, expect, out);
}

static bool index_list(P *p, uint32_t param, uint32_t *n, KVal *a)
{
    uint32_t rank = kb_kernel(p->b)->param.p[param].rank;
    if (!lex_expect(p->x, '[')) return false;
    while (!lex_is(p->x, ']')) {
        if (*n && !lex_expect(p->x, ',')) return false;
        if (*n == rank) return lex_error(p->x, "more than %u indices", rank);
        if (!expr(p, DT_I64, &a[(*n)++])) return false;
    }
    if (*n != rank) return lex_error(p->x, "%u indices, expected %u", *n, rank);
    return lex_expect(p->x, ']');
}

static bool load(P *p, KVal *out)
{
    KInstRec r = {.op = KOP_LOAD};
    KVal a[RANK_MAX + 2];
    uint32_t n = 0;
    if (!param_use(p, &r.param) || !index_list(p, r.param, &n, a)) return false;
    r.type = dtype_compute(kb_kernel(p->b)->param.p[r.param].elem);
    if (lex_accept_ident(p->x, "if")) {
        if (!expr(p, DT_BOOL, &a[n]) || !lex_expect_ident(p->x, "else") || !expr(p, r.type, &a[n + 1])) return false;
        n += 2;
    }
    *out = kb_raw(p->b, &r, n, a);
    return true;
}

static bool operation(P *p, const char *text, DType expect, KVal *out)
{
    KInstRec r = {.op = op_find(text)};
    const KOpInfo *info = kop_info(r.op);
    const char *type;
    KVal a[3];
    if (!(info->flags & KF_PURE) || info->n_args < 1) return lex_error(p->x, "unknown operation '%s'", text);
    if (r.op == KOP_CAST || r.op == KOP_BITCAST) {
        if (!lex_expect(p->x, '<') || !lex_name(p->x, TK_IDENT, &type)) return false;
        r.imm.dtype = dtype_parse(type);
        if (r.imm.dtype == DT_NONE) return lex_error(p->x, "unknown type '%s'", type);
        if (!lex_expect(p->x, '>')) return false;
    }
    if (info->flags & KF_CMP || r.op == KOP_ISNAN || r.op == KOP_ISINF || r.op == KOP_CAST || r.op == KOP_BITCAST)
        expect = DT_NONE;
    if (!lex_expect(p->x, '(')) return false;
    for (int n = 0; n < info->n_args; n++) {
        DType want = n ? kb_type(p->b, a[n - 1]) : expect;
        if (r.op == KOP_SELECT) want = n == 0 ? DT_BOOL : n == 1 ? expect : want;
        if ((n && !lex_expect(p->x, ',')) || !expr(p, want, &a[n])) return false;
    }
    if (!lex_expect(p->x, ')')) return false;
    r.type = kb_type(p->b, a[r.op == KOP_SELECT ? 1 : 0]);
    if (info->flags & KF_CMP || r.op == KOP_ISNAN || r.op == KOP_ISINF) r.type = DT_BOOL;
    if (r.op == KOP_CAST || r.op == KOP_BITCAST) r.type = dtype_compute(r.imm.dtype);
    *out = kb_raw(p->b, &r, (uint32_t)info->n_args, a);
    return true;
}

static bool dim_expr(P *p, KVal *out)
{
    Dim d;
    if (!lex_dim(p->x, p->m->dims, false, &d)) return false;
    *out = kb_dim(p->b, d);
    return true;
}

static bool word(P *p, DType expect, KVal *out)
{
    const char *text;
    DType t;
    if (lex_is_ident(p->x, "inf") || lex_is_ident(p->x, "nan")) return literal(p, expect, out);
    if (lex_is_ident(p->x, "true") || lex_is_ident(p->x, "false")) {
        *out = kb_const_i(p->b, DT_BOOL, lex_is_ident(p->x, "true"));
        lex_next(p->x);
        return true;
    }
    if (lex_accept_ident(p->x, "load")) return load(p, out);
    bool call = next_is(p, '('), typed = next_is(p, '<');
    if (call && lex_accept_ident(p->x, "dim")) {
        return lex_expect(p->x, '(') && dim_expr(p, out) && lex_expect(p->x, ')');
    }
    if (!call && !typed) return dim_expr(p, out);
    if (!lex_name(p->x, TK_IDENT, &text)) return false;
    t = dtype_parse(text);
    if (call && t != DT_NONE) return lex_expect(p->x, '(') && literal(p, t, out) && lex_expect(p->x, ')');
    return operation(p, text, expect, out);
}

static bool expr(P *p, DType expect, KVal *out)
{
    const char *s;
    size_t n;
    bool ok;
    if (p->depth == EXPR_MAX) return lex_error(p->x, "expression nested deeper than %d", EXPR_MAX);
    p->depth++;
    switch (p->x->tok.kind) {
    case TK_PERCENT: ok = val_use(p, out); break;
    case TK_IDENT: ok = word(p, expect, out); break;
    case TK_STRING:
        ok = lex_string(p->x, &s, &n) && (n == 0 || lex_error(p->x, "the only string constant of a kernel is \"\""));
        if (ok) *out = kb_raw(p->b, &(KInstRec){.op = KOP_CONST, .type = DT_STR}, 0, NULL);
        break;
    default: ok = literal(p, expect, out);
    }
    p->depth--;
    return ok;
}

/* ---- statements ---- */
/* Reads `{ statements }`. n_yield >= 0: it must end with a yield of values of those types (which closes the builder's
 * block). */
static bool block(P *p, int n_yield, const DType *yield);
/* The same behind the opening brace. */
static bool statements(P *p, int n_yield, const DType *yield);

static bool open_block(P *p)
{
    if (p->blocks == BLOCKS_MAX) return lex_error(p->x, "blocks nested deeper than %d", BLOCKS_MAX);
    return true;
}

static bool for_loop(P *p, uint32_t n_res, const char *const *res)
{
    KVal lo, hi, init[K_CARRIES];
    KOp combine[K_CARRIES];
    const char *iv, *name[K_CARRIES];
    DType type[K_CARRIES];
    KLoop kind = KLOOP_SEQ;
    KbLoop l;
    uint32_t n = 0, mark = p->val.n;
    if (!open_block(p) || !lex_name(p->x, TK_PERCENT, &iv) || !lex_expect(p->x, '=')) return false;
    if (!expr_of(p, DT_I64, &lo) || !lex_expect(p->x, '.') || !lex_expect(p->x, '.') || !expr_of(p, DT_I64, &hi))
        return false;
    bool down = false;
    if (lex_accept_ident(p->x, "par")) {
        kind = KLOOP_PAR;
        down = lex_accept_ident(p->x, "down");
    }
    else if (lex_accept_ident(p->x, "vec")) kind = KLOOP_VEC;
    else lex_accept_ident(p->x, "seq");
    if (lex_accept_ident(p->x, "carry")) {
        if (!lex_expect(p->x, '(')) return false;
        do {
            if (n == K_CARRIES) return lex_error(p->x, "more than %d carries", K_CARRIES);
            if (!lex_name(p->x, TK_PERCENT, &name[n]) || !lex_expect(p->x, '=') || !expr(p, DT_NONE, &init[n]))
                return false;
            type[n] = kb_type(p->b, init[n]);
            combine[n] = KOP_NONE;
            if (p->x->tok.kind == TK_IDENT) {
                const char *text;
                Tok at = p->x->tok;
                if (!lex_name(p->x, TK_IDENT, &text)) return false;
                combine[n] = op_find(text);
                if (!combine[n]) return lex_error_at(p->x, &at, "unknown combine '%s'", text);
            }
            n++;
        } while (lex_accept(p->x, ','));
        if (!lex_expect(p->x, ')')) return false;
    }
    if (n_res != n) return lex_error(p->x, "%u results of a loop with %u carries", n_res, n);
    kb_loop(p->b, &l, kind, lo, hi, n, init, combine);
    kinst(kb_kernel(p->b), l.inst)->down = down;
    if (!val_define(p, iv, l.iv)) return false;
    for (uint32_t i = 0; i < n; i++)
        if (!val_define(p, name[i], l.carry[i])) return false;
    if (!block(p, n ? (int)n : -1, type)) return false;
    if (!n) kb_end(p->b);
    p->val.n = mark;
    for (uint32_t i = 0; i < n; i++)
        if (!val_define(p, res[i], l.result[i])) return false;
    return true;
}

static bool part_params(P *p, const char *what, uint32_t n, const char **name)
{
    if (!lex_expect_ident(p->x, what) || !lex_expect(p->x, '(')) return false;
    for (uint32_t i = 0; i < n; i++)
        if ((i && !lex_expect(p->x, ',')) || !lex_name(p->x, TK_PERCENT, &name[i])) return false;
    return lex_expect(p->x, ')');
}

static bool macc(P *p)
{
    static const char *const word[] = {"rows", "cols", "k", "t", "ak", "bk", "bstrip", "bsum"};
    KMacc spec = {.mr = 0};
    KVal arg[KM_ARGS];
    KbMacc s;
    const char *t, *name[KM_SUMS_MAX + 2];
    int64_t mr, nv, sums = 1;
    uint32_t mark = p->val.n;
    if (!open_block(p) || !lex_expect(p->x, '<') || !lex_name(p->x, TK_IDENT, &t) || !lex_expect(p->x, '>'))
        return false;
    spec.acc = dtype_parse(t);
    if (spec.acc == DT_NONE || spec.acc != dtype_compute(spec.acc))
        return lex_error(p->x, "%s is no type to compute with", t);
    if (!param_use(p, &spec.a) || !lex_expect(p->x, ',') || !param_use(p, &spec.b)) return false;
    if (!lex_expect_ident(p->x, "tile") || !lex_expect(p->x, '(') || !lex_int(p->x, &mr) || !lex_expect(p->x, ',') ||
        !lex_int(p->x, &nv) || !lex_expect(p->x, ')'))
        return false;
    if (mr < 1 || mr > 64 || nv < 1 || nv > 64) return lex_error(p->x, "a tile has 1 to 64 rows and strips");
    spec.mr = (uint8_t)mr;
    spec.nv = (uint8_t)nv;
    spec.m_inner = lex_accept_ident(p->x, "m_inner");
    spec.b_packed = lex_accept_ident(p->x, "packed");
    spec.b_pairs = lex_accept_ident(p->x, "pairs");
    spec.quads = !spec.b_pairs && lex_accept_ident(p->x, "quads");
    if (lex_accept_ident(p->x, "next") &&
        (!lex_expect(p->x, '(') || !lex_int(p->x, &spec.b_next) || !lex_expect(p->x, ')')))
        return false;
    if (lex_accept_ident(p->x, "sums") &&
        (!lex_expect(p->x, '(') || !lex_int(p->x, &sums) || !lex_expect(p->x, ')')))
        return false;
    if (sums < 1 || sums > KM_SUMS_MAX) return lex_error(p->x, "a macc has 1 to %d sums", KM_SUMS_MAX);
    spec.sums = (uint8_t)sums;
    if (!lex_expect(p->x, '(')) return false;
    for (int n = 0; n < (sums > 1 ? KM_ARGS : KM_BSUM); n++)
        if ((n && !lex_expect(p->x, ',')) || !lex_expect_ident(p->x, word[n]) || !lex_expect(p->x, '=') ||
            !expr_of(p, DT_I64, &arg[n]))
            return false;
    if (!lex_expect(p->x, ')') || !lex_expect(p->x, '{') || !part_params(p, "addr", 2, name)) return false;
    kb_macc(p->b, &s, &spec, arg);
    if (!val_define(p, name[0], s.t) || !val_define(p, name[1], s.i) ||
        !block(p, 3, (DType[]){DT_I64, DT_BOOL, DT_I64}))
        return false;
    p->val.n = mark;
    if (lex_is_ident(p->x, "init")) {
        if (!part_params(p, "init", 2, name)) return false;
        kb_macc_init_begin(p->b, &s);
        DType sum[KM_SUMS_MAX] = {spec.acc, spec.acc, spec.acc, spec.acc};
        if (!val_define(p, name[0], s.i) || !val_define(p, name[1], s.j) || !block(p, spec.sums, sum)) return false;
        p->val.n = mark;
    }
    if (!part_params(p, "epilogue", spec.sums + 2u, name)) return false;
    kb_macc_epilogue(p->b, &s);
    for (int n = 0; n < spec.sums; n++)
        if (!val_define(p, name[n], s.sum[n])) return false;
    if (!val_define(p, name[spec.sums], s.i) || !val_define(p, name[spec.sums + 1], s.j) || !block(p, -1, NULL))
        return false;
    kb_macc_end(p->b, &s);
    p->val.n = mark;
    return lex_expect(p->x, '}');
}

static bool store(P *p)
{
    KInstRec r = {.op = KOP_STORE};
    KVal a[RANK_MAX + 2], pred = {0};
    uint32_t n = 0;
    if (!param_use(p, &r.param) || !index_list(p, r.param, &n, a)) return false;
    if (lex_accept_ident(p->x, "if") && !expr(p, DT_BOOL, &pred)) return false;
    if (!lex_expect(p->x, '=') || !expr(p, dtype_compute(kb_kernel(p->b)->param.p[r.param].elem), &a[n++]))
        return false;
    if (pred.i) a[n++] = pred;
    kb_raw(p->b, &r, n, a);
    return true;
}

static bool record(P *p)
{
    KVal a[3];
    const char *text;
    size_t n;
    if (!expr(p, DT_BOOL, &a[0]) || !lex_expect(p->x, ',') || !expr(p, DT_I64, &a[1]) || !lex_expect(p->x, ',') ||
        !expr(p, DT_I64, &a[2]) || !lex_expect(p->x, ',') || !lex_string(p->x, &text, &n))
        return false;
    kb_raw(p->b, &(KInstRec){.op = KOP_RECORD, .imm.i = kmodule_message(p->m, arena_strndup(p->x->arena, text, n))}, 3,
           a);
    return true;
}

static bool assign(P *p)
{
    const char *name[K_CARRIES];
    uint32_t n = 0;
    KVal v;
    do {
        if (n == K_CARRIES) return lex_error(p->x, "more than %d results", K_CARRIES);
        if (!lex_name(p->x, TK_PERCENT, &name[n++])) return false;
    } while (lex_accept(p->x, ','));
    if (!lex_expect(p->x, '=')) return false;
    if (lex_accept_ident(p->x, "for")) return for_loop(p, n, name);
    if (n > 1) return lex_error(p->x, "only a loop gives several values");
    return expr(p, DT_NONE, &v) && val_define(p, name[0], v);
}

static bool block(P *p, int n_yield, const DType *yield)
{
    return lex_expect(p->x, '{') && statements(p, n_yield, yield);
}

static bool statements(P *p, int n_yield, const DType *yield)
{
    KVal y[K_CARRIES];
    bool ok = true;
    p->blocks++;
    while (ok && !lex_is(p->x, '}')) {
        if (p->x->tok.kind == TK_EOF) return lex_error(p->x, "the block has no end");
        if (lex_accept_ident(p->x, "store")) ok = store(p);
        else if (lex_accept_ident(p->x, "record")) ok = record(p);
        else if (lex_accept_ident(p->x, "for")) ok = for_loop(p, 0, NULL);
        else if (lex_accept_ident(p->x, "macc")) ok = macc(p);
        else if (lex_is_ident(p->x, "yield")) {
            if (n_yield < 0) return lex_error(p->x, "this block gives no values");
            lex_next(p->x);
            for (int n = 0; n < n_yield && ok; n++) ok = (n == 0 || lex_expect(p->x, ',')) && expr(p, yield[n], &y[n]);
            if (!ok || !lex_is(p->x, '}')) return lex_error(p->x, "a yield of %d values ends the block", n_yield);
            kb_yield(p->b, (uint32_t)n_yield, y);
            n_yield = -1;
        } else ok = assign(p);
    }
    if (ok && n_yield >= 0) return lex_error(p->x, "the block lacks its yield");
    p->blocks--;
    return ok && lex_expect(p->x, '}');
}

/* ---- the whole ---- */
bool kparse_shape(KParse *f, KBufRec *r)
{
    TypeId t;
    Tok at = f->x.tok;
    if (!lex_type(&f->x, f->m->types, false, &t)) return false;
    const TypeRec *y = type_rec(f->m->types, t);
    if (y->kind != TY_TENSOR || y->rank == RANK_UNKNOWN || y->layout.i)
        return lex_error_at(&f->x, &at, "expected a type with dims, such as f32[N,64]");
    r->elem = y->elem;
    r->rank = y->rank;
    r->dense = true;
    memcpy(r->dim, y->dim, sizeof r->dim);
    if (!lex_accept_ident(&f->x, "strides")) return true;
    r->dense = false;
    if (!lex_expect(&f->x, '[')) return false;
    for (int i = 0; i < r->rank; i++)
        if ((i && !lex_expect(&f->x, ',')) || !lex_dim(&f->x, f->m->dims, false, &r->stride[i])) return false;
    return lex_expect(&f->x, ']');
}

static bool param(P *p, Kernel *k, KSpace space)
{
    const char *name;
    KBufRec r = {.space = space, .port = -1, .weight_off = -1};
    if (!lex_name(p->x, TK_PERCENT, &name) || !lex_expect(p->x, ':') || !kparse_shape(p->f, &r)) return false;
    r.name = name_of(p->m->names, name);
    if (space == KS_PARAM) r.out = lex_accept_ident(p->x, "out");
    else if (lex_accept_ident(p->x, "at")) {
        if (!lex_dim(p->x, p->m->dims, false, &r.offset) || !lex_expect_ident(p->x, "bytes") ||
            !lex_dim(p->x, p->m->dims, false, &r.bytes))
            return false;
    }
    for (uint32_t i = 0; i < p->param.n; i++)
        if (p->param.p[i].name.i == r.name.i) return lex_error(p->x, "%%%s is defined twice", name);
    vec_push(p->m->arena, &k->param, r);
    vec_push(p->x->arena, &p->param, (KNamed){r.name, k->param.n - 1});
    return true;
}

bool kparse_kernel(KParse *f)
{
    P p = {.f = f, .x = &f->x, .m = f->m};
    Kernel head = {.arena = f->m->arena}, *k;
    const char *name;
    if (!lex_name(p.x, TK_AT, &name) || !lex_expect(p.x, '(')) return false;
    head.name = name_of(p.m->names, name);
    for (uint32_t i = 0; i < p.m->kernel.n; i++)
        if (p.m->kernel.p[i]->name.i == head.name.i) return lex_error(p.x, "@%s is defined twice", name);
    vec_push(p.m->arena, &head.param, (KBufRec){.space = KS_NONE});
    while (!lex_is(p.x, ')'))
        if ((head.param.n > 1 && !lex_expect(p.x, ',')) || !param(&p, &head, KS_PARAM)) return false;
    if (!lex_expect(p.x, ')') || !kparse_loc(f, &head.loc)) return false;
    if (!lex_expect(p.x, '{')) return false;
    while (lex_accept_ident(p.x, "local"))
        if (!param(&p, &head, KS_LOCAL)) return false;
    p.b = kb_reopen(p.m, &head);
    if (!statements(&p, -1, NULL)) return false;
    k = arena_new(p.m->arena, Kernel);
    kb_replace(p.b, k);
    vec_push(p.m->arena, &p.m->kernel, k);
    return true;
}
