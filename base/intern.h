/* intern.h: names. Equal ids <=> equal strings; 0 is the empty name. */
#ifndef BMC_BASE_INTERN_H
#define BMC_BASE_INTERN_H
#include "base/map.h"
#include "base/vec.h"

typedef struct Name { uint32_t i; } Name;
typedef struct Names { Arena *arena; VEC(const char *) str; VEC(uint32_t) next; Map by_hash; } Names;

void names_init(Names *, Arena *);
Name name_of(Names *, const char *);
Name name_of_n(Names *, const char *, size_t n);
const char *name_str(const Names *, Name);  /* lives as long as the arena */

#endif
