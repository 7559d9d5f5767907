/* intern.c: names by the hash of their bytes; names whose hashes collide are chained through `next`. */
#include "base/intern.h"
#include <string.h>

void names_init(Names *ns, Arena *a)
{
    *ns = (Names){.arena = a};
    map_init(&ns->by_hash, a);
    vec_push(a, &ns->str, "");
    vec_push(a, &ns->next, 0);
}

Name name_of_n(Names *ns, const char *s, size_t n)
{
    if (n) n = strnlen(s, n); /* what name_str gives back ends at the first NUL, so identity does, too */
    if (!n) return (Name){0};
    uint64_t h = hash_bytes(s, n, 0), first = 0;
    map_get(&ns->by_hash, h, &first);
    for (uint32_t i = (uint32_t)first; i; i = ns->next.p[i])
        if (strncmp(ns->str.p[i], s, n) == 0 && !ns->str.p[i][n]) return (Name){i};
    uint32_t i = ns->str.n;
    vec_push(ns->arena, &ns->str, arena_strndup(ns->arena, s, n));
    vec_push(ns->arena, &ns->next, (uint32_t)first);
    map_put(&ns->by_hash, h, i);
    return (Name){i};
}

Name name_of(Names *ns, const char *s) { return name_of_n(ns, s, strlen(s)); }

const char *name_str(const Names *ns, Name n) { return ns->str.p[n.i]; }
