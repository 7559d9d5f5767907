/* str.h: a string that grows in an arena, for printers and messages. */
#ifndef BMC_BASE_STR_H
#define BMC_BASE_STR_H
#include "base/arena.h"
#include <stdbool.h>

typedef struct Str { Arena *arena; char *p; size_t n, cap; } Str;   /* p is NUL-terminated once anything was added, else NULL */

void str_init(Str *, Arena *);
void str_add(Str *, const char *);
void str_add_n(Str *, const char *, size_t n);
void str_char(Str *, char);
void str_printf(Str *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void str_quote(Str *, const char *, size_t n);   /* "..." with \" \\ \n \t \xHH escapes; lex.h reads it back */
/* The shortest decimal that reads back as the same double (or float when is_f32); "inf", "-inf", "nan" for those. */
void str_double(Str *, double, bool is_f32);
const char *str_get(Str *);                      /* never NULL */

#endif
