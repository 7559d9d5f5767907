/* lex.h: the scanner of both text forms. Tokens: identifiers (letters, digits, _ . / :), %value names, @symbol names, $sym, integers, floats, "strings",
 * punctuation. Comments run from ';' to the end of the line. Parsers are recursive with a depth limit; errors carry line and column. */
#ifndef BMC_IR_LEX_H
#define BMC_IR_LEX_H
#include "base/diag.h"
#include "ir/blob.h"
#include "ir/type.h"

typedef enum TokKind { TK_EOF, TK_IDENT, TK_PERCENT /* %name */, TK_AT /* @name */, TK_DOLLAR /* $name */, TK_INT, TK_FLOAT, TK_STRING, TK_PUNCT } TokKind;
typedef struct Tok { TokKind kind; int line, col; const char *text; size_t len; /* name without sigil; string unescaped */ int64_t i; double f; char punct; /* one char; '>' for "->" has two=1 */ bool arrow; } Tok;
typedef struct Lex { Arena *arena; Diag *diag; const char *file, *p, *end; int line; const char *line_start; Tok tok; /* current */ bool failed; } Lex;

void lex_init(Lex *, Arena *, Diag *, const char *file, const char *text, size_t n);
void lex_next(Lex *);
bool lex_error(Lex *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));  /* at the current token, once; returns false */
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
/* The shared pieces of both grammars. Unknown symbols in a dim are an error unless `declare` (then they become SYM_NODE). */
bool lex_dim(Lex *, Dims *, bool declare, Dim *);
bool lex_type(Lex *, Types *, bool declare, TypeId *);
bool lex_blob(Lex *, Blobs *, DType, int64_t count, Blob *);

#endif
