/* regex.h: regular expressions in RE2's syntax, from the pattern's text to an automaton over bytes, all at compile time.
 *   pattern ── regex_parse.c ──► tree ── regex_automaton.c ──► program (nondeterministic) ──► tables (deterministic)
 * Only whether a whole text matches is asked, so groups capture nothing and laziness means nothing. Texts are UTF-8; what
 * is not matches \C only. */
#ifndef BMC_IR_OPS_REGEX_H
#define BMC_IR_OPS_REGEX_H
#include "base/arena.h"
#include <stdbool.h>
#include <stdint.h>

typedef struct ReRange { int32_t lo, hi; } ReRange;
typedef struct ReSet { ReRange *p; uint32_t n, cap; } ReSet;   /* code points; sorted and apart after set_tidy */

typedef enum ReKind { RE_CAT, RE_ALT, RE_SET, RE_BYTE /* any one */, RE_TEST, RE_REPEAT } ReKind;
/* What an empty place may be asked; the bits of a program's tests (rt_regex.h has the same). */
enum { RE_BEGIN_TEXT = 1, RE_END_TEXT = 2, RE_BEGIN_LINE = 4, RE_END_LINE = 8, RE_WORD = 16, RE_NO_WORD = 32 };
typedef struct Re Re;
struct Re {
    ReKind kind;
    ReSet set;
    int test, lo, hi;      /* TEST: what; REPEAT: how often, hi -1: any number */
    Re **sub; uint32_t n;  /* CAT (none: the empty text), ALT, REPEAT (one) */
};

/* NULL: *why says what is wrong with the pattern. */
Re *regex_parse(Arena *, const char *pattern, size_t n, const char **why);

typedef struct ReProgram { uint32_t (*inst)[3]; uint32_t n, start; bool tests; } ReProgram;   /* rt_regex.h says what they mean */
/* false: the pattern is too large. */
bool regex_program(Arena *, const Re *, ReProgram *);

typedef struct ReTables { uint8_t class_of[256]; uint32_t n_class, n_state; uint16_t *next; uint8_t *accept; } ReTables;
/* next[state * n_class + class]; state 0 never accepts, 1 is the first. false: the tables would be too large. */
bool regex_tables(Arena *, const ReProgram *, ReTables *);

/* ---- regex_set.c ---- */
void set_add(Arena *, ReSet *, int32_t lo, int32_t hi);
void set_join(Arena *, ReSet *, const ReSet *);
void set_tidy(ReSet *);
void set_negate(Arena *, ReSet *);          /* tidies */
void set_fold(Arena *, ReSet *);            /* and everything that differs in case only */
bool set_has(const ReSet *, int32_t c);
bool set_named(Arena *, ReSet *, const char *name, size_t n);       /* a general category or script; false: unknown */
bool set_posix(Arena *, ReSet *, const char *name, size_t n);       /* "alpha" */
void set_perl(Arena *, ReSet *, char letter);                       /* d s w */

#endif
