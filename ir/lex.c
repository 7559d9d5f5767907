/* lex.c: the scanner, and the grammars of dims and types (constants: lex_blob.c).
 *   dim   := term {(+|-) term}
 *   term  := unary {(*|//|%) unary}
 *   unary := - unary | int | name | (min|max|bcast)(dim,dim) | (dim) | ?
 *   type  := ? | elem[dim,...] [@{axis[:pad],...}] | elem[*] | seq<type> | opt<type> | map<elem,type> */
#include "ir/lex.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static bool is_digit(char c) { return c >= '0' && c <= '9'; }
static bool is_word(char c) { return is_digit(c) || c == '_' || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
static char at(const Lex *x, const char *p) { return p < x->end ? *p : 0; }

static bool fail(Lex *x, const Tok *t, const char *fmt, va_list ap)
{
    if (x->failed) return false;
    diag(x->diag, diag_line(x->file, t->line, t->col), E_SYNTAX, arena_vprintf(x->arena, fmt, ap));
    x->failed = true;
    x->p = x->end;
    x->tok.kind = TK_EOF;
    return false;
}

bool lex_error(Lex *x, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fail(x, &x->tok, fmt, ap);
    va_end(ap);
    return false;
}

bool lex_error_at(Lex *x, const Tok *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fail(x, t, fmt, ap);
    va_end(ap);
    return false;
}

/* --- tokens --- */

/* Passes the rest of a name; p stands in it. */
static const char *name_end(const Lex *x, const char *p)
{
    for (;; p++) {
        char c = at(x, p);
        if (is_word(c)) continue;
        if ((c == '.' || c == '/' || c == ':') && is_word(at(x, p + 1))) continue;
        if (c == ':' && at(x, p + 1) == ':' && is_word(at(x, p + 2))) continue; /* domain::Op */
        return p;
    }
}

static int hex_digit(char c)
{
    return is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* x->p stands behind the opening quote. */
static bool scan_string(Lex *x)
{
    const char *p = x->p;
    while (p < x->end && *p != '"' && *p != '\n') p += *p == '\\' && p + 1 < x->end ? 2 : 1;
    if (p >= x->end || *p == '\n') return lex_error(x, "the string has no end on its line");
    char *out = arena_alloc(x->arena, (size_t)(p - x->p) + 1);
    size_t n = 0;
    for (p = x->p; *p != '"'; p++) {
        if (*p != '\\') {
            out[n++] = *p;
            continue;
        }
        switch (*++p) {
        case '"':
        case '\\': out[n++] = *p; break;
        case 'n': out[n++] = '\n'; break;
        case 't': out[n++] = '\t'; break;
        case 'x': {
            int hi = hex_digit(at(x, p + 1)), lo = hi < 0 ? -1 : hex_digit(at(x, p + 2));
            if (lo < 0) return lex_error(x, "\\x in a string takes two hexadecimal digits");
            out[n++] = (char)(hi * 16 + lo);
            p += 2;
            break;
        }
        default: return lex_error(x, "unknown escape in a string");
        }
    }
    x->tok.text = out;
    x->tok.len = n;
    x->p = p + 1;
    return true;
}

static void scan_number(Lex *x)
{
    const char *start = x->p, *p = start;
    bool real = false;
    while (is_digit(at(x, p))) p++;
    if (at(x, p) == '.' && is_digit(at(x, p + 1))) {
        real = true;
        for (p++; is_digit(at(x, p));) p++;
    }
    if (at(x, p) == 'e' || at(x, p) == 'E') {
        const char *e = p + 1 + (at(x, p + 1) == '+' || at(x, p + 1) == '-');
        if (is_digit(at(x, e))) {
            real = true;
            for (p = e; is_digit(at(x, p));) p++;
        }
    }
    size_t n = (size_t)(p - start);
    char small[64],
        *text = n < sizeof small ? small : arena_alloc(x->arena, n + 1); /* the source need not end in a NUL */
    memcpy(text, start, n);
    text[n] = 0;
    errno = 0;
    unsigned long long u = real ? 0 : strtoull(text, NULL, 10);
    if (errno == ERANGE) real = true;
    x->tok.kind = real ? TK_FLOAT : TK_INT;
    x->tok.i = (int64_t)u;
    x->tok.big = u > INT64_MAX;
    x->tok.f = strtod(text, NULL);
    x->tok.text = start;
    x->tok.len = n;
    x->p = p;
}

void lex_next(Lex *x)
{
    const char *before = x->p;
    for (;; x->p++) {
        char c = at(x, x->p);
        if (c == ';')
            while (x->p < x->end && *x->p != '\n') x->p++;
        if (x->p >= x->end) break;
        c = *x->p;
        if (c == '\n') {
            x->line++;
            x->line_start = x->p + 1;
        } else if (c != ' ' && c != '\t' && c != '\r') break;
    }
    x->tok = (Tok){
        .kind = TK_EOF, .line = x->line, .col = (int)(x->p - x->line_start) + 1, .text = x->p, .glued = x->p == before};
    if (x->p >= x->end || x->failed) return;
    char c = *x->p, next = at(x, x->p + 1);
    TokKind named = c == '%' ? TK_PERCENT : c == '@' ? TK_AT : c == '$' ? TK_DOLLAR : TK_EOF;
    if (is_digit(c)) scan_number(x);
    else if (is_word(c) || (named && is_word(next))) {
        x->tok.kind = named ? named : TK_IDENT;
        x->tok.text = x->p + (named != TK_EOF);
        x->p = name_end(x, x->tok.text);
        x->tok.len = (size_t)(x->p - x->tok.text);
    } else if (c == '"' || (named && next == '"')) {
        x->tok.kind = named ? named : TK_STRING;
        x->tok.quoted = named != TK_EOF;
        x->p += named ? 2 : 1;
        scan_string(x);
    } else if (c > ' ' && c < 0x7f) {
        x->tok.kind = TK_PUNCT;
        x->tok.len = 1;
        x->tok.punct = c;
        x->p++;
        if (c == '-' && next == '>') {
            x->tok.punct = '>';
            x->tok.arrow = true;
            x->tok.len = 2;
            x->p++;
        }
    } else lex_error(x, "unexpected byte 0x%02x", (unsigned char)c);
}

void lex_init(Lex *x, Arena *a, Diag *d, const char *file, const char *text, size_t n)
{
    *x = (Lex){.arena = a, .diag = d, .file = file, .p = text, .end = text + n, .line = 1, .line_start = text};
    lex_next(x);
}

/* The current token for messages. */
static const char *shown(Lex *x)
{
    const Tok *t = &x->tok;
    switch (t->kind) {
    case TK_EOF: return "the end";
    case TK_STRING: return "a string";
    case TK_PUNCT: return t->arrow ? "'->'" : arena_printf(x->arena, "'%c'", t->punct);
    default: {
        const char *sigil = t->kind == TK_PERCENT ? "%" : t->kind == TK_AT ? "@" : t->kind == TK_DOLLAR ? "$" : "";
        return arena_printf(x->arena, "'%s%.*s'", sigil, (int)(t->len < 60 ? t->len : 60), t->text);
    }
    }
}

bool lex_is(const Lex *x, char punct) { return x->tok.kind == TK_PUNCT && x->tok.punct == punct && !x->tok.arrow; }

bool lex_is_ident(const Lex *x, const char *word)
{
    return x->tok.kind == TK_IDENT && strlen(word) == x->tok.len && memcmp(word, x->tok.text, x->tok.len) == 0;
}

bool lex_accept(Lex *x, char punct)
{
    if (!lex_is(x, punct)) return false;
    lex_next(x);
    return true;
}

bool lex_accept_ident(Lex *x, const char *word)
{
    if (!lex_is_ident(x, word)) return false;
    lex_next(x);
    return true;
}

bool lex_expect(Lex *x, char punct)
{
    return lex_accept(x, punct) || lex_error(x, "expected '%c' instead of %s", punct, shown(x));
}
bool lex_expect_ident(Lex *x, const char *word)
{
    return lex_accept_ident(x, word) || lex_error(x, "expected '%s' instead of %s", word, shown(x));
}

bool lex_expect_arrow(Lex *x)
{
    if (x->tok.kind != TK_PUNCT || !x->tok.arrow) return lex_error(x, "expected '->' instead of %s", shown(x));
    lex_next(x);
    return true;
}

bool lex_int(Lex *x, int64_t *out)
{
    bool minus = lex_accept(x, '-');
    if (x->tok.kind != TK_INT) return lex_error(x, "expected an integer instead of %s", shown(x));
    if (x->tok.big && !(minus && x->tok.i == INT64_MIN))
        return lex_error(x, "%s does not fit 64 bits with a sign", shown(x));
    *out = minus && !x->tok.big ? -x->tok.i : x->tok.i;
    lex_next(x);
    return true;
}

bool lex_number(Lex *x, double *out)
{
    double sign = lex_accept(x, '-') ? -1 : 1;
    if (lex_is_ident(x, "inf")) *out = sign * INFINITY;
    else if (lex_is_ident(x, "nan")) *out = NAN;
    else if (x->tok.kind == TK_INT || x->tok.kind == TK_FLOAT) *out = sign * x->tok.f;
    else return lex_error(x, "expected a number instead of %s", shown(x));
    lex_next(x);
    return true;
}

bool lex_string(Lex *x, const char **text, size_t *n)
{
    if (x->tok.kind != TK_STRING) return lex_error(x, "expected a string instead of %s", shown(x));
    *text = x->tok.text;
    *n = x->tok.len;
    lex_next(x);
    return true;
}

bool lex_name(Lex *x, TokKind kind, const char **name)
{
    static const char *const what[] = {
        [TK_IDENT] = "a name", [TK_PERCENT] = "a %name", [TK_AT] = "an @name", [TK_DOLLAR] = "a $name"};
    if (x->tok.kind != kind) return lex_error(x, "expected %s instead of %s", what[kind], shown(x));
    if (memchr(x->tok.text, 0, x->tok.len)) return lex_error(x, "a name holds a zero byte");
    *name = arena_strndup(x->arena, x->tok.text, x->tok.len);
    lex_next(x);
    return true;
}

void lex_print_name(Str *s, const char *sigil, const char *name)
{
    size_t n = strlen(name);
    Lex one = {.p = name, .end = name + n};
    str_add(s, sigil);
    if (n && is_word(*name) && name_end(&one, name) == name + n) str_add_n(s, name, n);
    else str_quote(s, name, n);
}

/* --- dims --- */

static bool dim_sum(Lex *x, Dims *d, bool declare, Dim *out);

static bool dim_call(Lex *x, Dims *d, bool declare, Dim (*f)(Dims *, Dim, Dim), Dim *out)
{
    Dim a, b;
    if (!lex_expect(x, '(') || !dim_sum(x, d, declare, &a) || !lex_expect(x, ',') || !dim_sum(x, d, declare, &b) ||
        !lex_expect(x, ')'))
        return false;
    *out = f(d, a, b);
    return true;
}

static bool dim_name(Lex *x, Dims *d, bool declare, Dim *out)
{
    const char *name;
    Sym s;
    Tok here = x->tok;
    if (!lex_name(x, x->tok.kind, &name)) return false;
    if (lex_is(x, '(')) {
        if (strcmp(name, "min") == 0) return dim_call(x, d, declare, dim_min, out);
        if (strcmp(name, "max") == 0) return dim_call(x, d, declare, dim_max, out);
        if (strcmp(name, "bcast") == 0) return dim_call(x, d, declare, dim_bcast, out);
    }
    Name n = name_of(d->names, name);
    if (!sym_find(d, n, &s)) {
        if (!declare) return lex_error_at(x, &here, "unknown symbol '%s'", name);
        s = sym_new(d, n, SYM_NODE, 0, INT64_MAX);
    }
    *out = dim_sym(d, s);
    return true;
}

static bool dim_unary(Lex *x, Dims *d, bool declare, Dim *out)
{
    if (x->depth >= LEX_DEPTH_MAX) return lex_error(x, "nested too deeply");
    x->depth++;
    bool ok, minus = lex_accept(x, '-');
    int64_t k;
    if (x->tok.kind == TK_INT && minus && x->tok.big && x->tok.i == INT64_MIN) {
        *out = dim_const(d, INT64_MIN);
        minus = false;
        ok = true;
        lex_next(x);
    } else if (x->tok.kind == TK_INT) {
        ok = lex_int(x, &k);
        if (ok) *out = dim_const(d, k);
    } else if (x->tok.kind == TK_IDENT || x->tok.kind == TK_DOLLAR) ok = dim_name(x, d, declare, out);
    else if (lex_is(x, '-')) ok = dim_unary(x, d, declare, out);
    else if (lex_accept(x, '?')) {
        *out = dim_sym(d, sym_new(d, (Name){0}, SYM_NODE, 0, INT64_MAX));
        ok = true;
    } else if (lex_accept(x, '(')) ok = dim_sum(x, d, declare, out) && lex_expect(x, ')');
    else ok = lex_error(x, "expected a dimension instead of %s", shown(x));
    if (ok && minus) *out = dim_sub(d, dim_const(d, 0), *out);
    x->depth--;
    return ok;
}

/* '*', '/' for //, '%', or 0. In "N%4" the scanner sees the value name %4; glued to what stands before, it is an
 * operator and an operand. */
static char dim_operator(Lex *x)
{
    if (x->tok.kind == TK_PERCENT && x->tok.glued && !x->tok.quoted) {
        x->p = x->tok.text;
        lex_next(x);
        return '%';
    }
    if (lex_is(x, '/') && at(x, x->p) == '/') {
        x->p++;
        lex_next(x);
        return '/';
    }
    return lex_accept(x, '*') ? '*' : lex_accept(x, '%') ? '%' : 0;
}

static bool dim_term(Lex *x, Dims *d, bool declare, Dim *out)
{
    if (!dim_unary(x, d, declare, out)) return false;
    for (char op; (op = dim_operator(x));) {
        Dim b;
        Tok here = x->tok;
        if (!dim_unary(x, d, declare, &b)) return false;
        if (op != '*' && dim_is(d, b, 0)) return lex_error_at(x, &here, "division by zero");
        *out = op == '*' ? dim_mul(d, *out, b) : op == '/' ? dim_div(d, *out, b) : dim_mod(d, *out, b);
    }
    return true;
}

static bool dim_sum(Lex *x, Dims *d, bool declare, Dim *out)
{
    if (!dim_term(x, d, declare, out)) return false;
    while (lex_is(x, '+') || lex_is(x, '-')) {
        bool minus = lex_is(x, '-');
        Dim b;
        lex_next(x);
        if (!dim_term(x, d, declare, &b)) return false;
        *out = minus ? dim_sub(d, *out, b) : dim_add(d, *out, b);
    }
    return true;
}

bool lex_dim(Lex *x, Dims *d, bool declare, Dim *out)
{
    Tok here = x->tok;
    if (!dim_sum(x, d, declare, out)) return false;
    return out->i != 0 || lex_error_at(x, &here, "the dimension leaves 64 bits or is too large an expression");
}

/* --- types --- */

static bool type_layout(Lex *x, Types *ts, TypeRec *r)
{
    Layout l = {.rank = r->rank};
    uint32_t seen = 0;
    if (!lex_expect(x, '{')) return false;
    for (int i = 0; i < r->rank; i++) {
        int64_t axis, pad = 0;
        if (i && !lex_expect(x, ',')) return false;
        Tok here = x->tok;
        if (!lex_int(x, &axis)) return false;
        if (axis < 0 || axis >= r->rank || seen & 1u << axis)
            return lex_error_at(x, &here, "a layout names each axis once");
        if (lex_accept(x, ':') && !lex_int(x, &pad)) return false;
        if (pad < 0 || pad > UINT32_MAX) return lex_error(x, "padding out of range");
        seen |= 1u << axis;
        l.perm[i] = (uint8_t)axis;
        l.pad[i] = (uint32_t)pad;
    }
    r->layout = layout_intern(ts, &l);
    return lex_expect(x, '}');
}

static bool type_elem(Lex *x, DType *t)
{
    const char *name;
    Tok here = x->tok;
    if (!lex_name(x, TK_IDENT, &name)) return false;
    *t = dtype_parse(name);
    return *t || strcmp(name, "none") == 0 || lex_error_at(x, &here, "unknown element type '%s'", name);
}

static bool type_tensor_text(Lex *x, Types *ts, bool declare, TypeId *out)
{
    TypeRec r = {.kind = TY_TENSOR};
    if (!type_elem(x, &r.elem) || !lex_expect(x, '[')) return false;
    if (lex_accept(x, '*')) r.rank = RANK_UNKNOWN;
    else
        while (!lex_is(x, ']')) {
            if (r.rank && !lex_expect(x, ',')) return false;
            if (r.rank == RANK_MAX) return lex_error(x, "more than %d dimensions", RANK_MAX);
            if (!lex_dim(x, ts->dims, declare, &r.dim[r.rank++])) return false;
        }
    if (!lex_expect(x, ']')) return false;
    if (r.rank != RANK_UNKNOWN && lex_accept(x, '@') && !type_layout(x, ts, &r)) return false;
    *out = type_intern(ts, &r);
    return true;
}

bool lex_type(Lex *x, Types *ts, bool declare, TypeId *out)
{
    DType key;
    TypeId of;
    bool seq = lex_is_ident(x, "seq"), opt = lex_is_ident(x, "opt"), map = lex_is_ident(x, "map");
    if (lex_accept(x, '?')) {
        *out = (TypeId){0};
        return true;
    }
    if (!seq && !opt && !map) return type_tensor_text(x, ts, declare, out);
    if (x->depth >= LEX_DEPTH_MAX) return lex_error(x, "nested too deeply");
    lex_next(x);
    if (!lex_expect(x, '<')) return false;
    if (map && !(type_elem(x, &key) && lex_expect(x, ','))) return false;
    x->depth++;
    bool ok = lex_type(x, ts, declare, &of) && lex_expect(x, '>');
    x->depth--;
    if (ok) *out = seq ? type_seq(ts, of) : opt ? type_opt(ts, of) : type_map(ts, key, of);
    return ok;
}
