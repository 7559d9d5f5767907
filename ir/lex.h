/* lex.h: the scanner of both text forms. Tokens: identifiers (letters, digits, _ . / :), %value names, @symbol names, $sym, integers, floats, "strings",
 * punctuation. Comments run from ';' to the end of the line. Parsers are recursive with a depth limit; errors carry line and column.
 * A '.', '/' or ':' belongs to an identifier only when a letter, digit or _ follows (so "%x: f32", "N//2" and "0..N" are what they look like).
 * Names of other shape are quoted: %"a b"; lex_print_name writes either. After an error every token is TK_EOF, so that parsers end. */
#ifndef BMC_IR_LEX_H
#define BMC_IR_LEX_H
#include "base/diag.h"
#include "ir/blob.h"
#include "ir/type.h"

typedef enum TokKind { TK_EOF, TK_IDENT, TK_PERCENT /* %name */, TK_AT /* @name */, TK_DOLLAR /* $name */, TK_INT, TK_FLOAT, TK_STRING, TK_PUNCT } TokKind;
typedef struct Tok { TokKind kind; int line, col; const char *text; size_t len; /* name without sigil; string unescaped */ int64_t i; double f; char punct; /* one char; '>' for "->" has two=1 */ bool arrow;
    bool big; /* INT above INT64_MAX: i holds the bits of a uint64 */ bool glued; /* no space before it */ bool quoted; /* %"name" */ } Tok;
typedef struct Lex { Arena *arena; Diag *diag; const char *file, *p, *end; int line; const char *line_start; Tok tok; /* current */ bool failed; int depth; /* nesting of dims, types and blobs */ } Lex;
#define LEX_DEPTH_MAX 200

void lex_init(Lex *, Arena *, Diag *, const char *file, const char *text, size_t n);
void lex_next(Lex *);
bool lex_error(Lex *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));  /* at the current token, once; returns false */
bool lex_error_at(Lex *, const Tok *, const char *fmt, ...) __attribute__((format(printf, 3, 4)));  /* at a token kept from before */
bool lex_is(const Lex *, char punct);
bool lex_is_ident(const Lex *, const char *word);
bool lex_accept(Lex *, char punct);             /* true and advances when it is that punctuation */
bool lex_accept_ident(Lex *, const char *word);
bool lex_expect(Lex *, char punct);             /* error otherwise */
bool lex_expect_ident(Lex *, const char *word);
bool lex_expect_arrow(Lex *);                   /* "->" */
bool lex_int(Lex *, int64_t *);                 /* optional minus */
bool lex_number(Lex *, double *);               /* int, float, inf, nan, optional minus */
bool lex_string(Lex *, const char **, size_t *);
bool lex_name(Lex *, TokKind, const char **);   /* an identifier-like token of that kind; text copied to the arena */
void lex_print_name(Str *, const char *sigil, const char *name);   /* %x or %"odd name" */
/* The shared pieces of both grammars. Unknown symbols in a dim are an error unless `declare` (then they become SYM_NODE). */
bool lex_dim(Lex *, Dims *, bool declare, Dim *);
bool lex_type(Lex *, Types *, bool declare, TypeId *);
bool lex_blob(Lex *, Blobs *, DType, int64_t count, Blob *);

#endif
