/* text_md.h: the examples of documentation: each ```bir or ```kir block of a .md file is a whole module that parses, verifies and survives the round trip. */
#ifndef TEXT_MD_H
#define TEXT_MD_H
#include "tests/tools/text_bir.h"

static bool md_block(TextTest *t, bool bir, const char *text, size_t n, int line)
{
    TextTest b = {.path = arena_printf(t->arena, "%s:%d", t->path, line), .arena = t->arena, .args = "", .text = arena_strndup(t->arena, text, n), .n = n};
    str_init(&b.out, t->arena);
    str_init(&b.why, t->arena);
    bool ok = (bir ? bir_text_roundtrip(&b) : kir_text_roundtrip(&b)) && (bir ? kind_bir_verify(&b) : kind_kir_verify(&b));
    if (!ok) text_fail(t, "the example of line %d: %s", line, str_get(&b.why));
    return ok;
}

static bool md_text_examples(TextTest *t)
{
    bool ok = true;
    int line = 1;
    for (const char *p = t->text, *end = t->text + t->n; p < end;) {
        const char *next = memchr(p, '\n', (size_t)(end - p));
        bool bir = !strncmp(p, "```bir\n", 7), kir = !strncmp(p, "```kir\n", 7);
        next = next ? next + 1 : end;
        if (bir || kir) {
            const char *close = strstr(next, "\n```");
            if (!close) return text_fail(t, "line %d: the block has no end", line);
            ok &= md_block(t, bir, next, (size_t)(close + 1 - next), line);
            for (; next < close + 1; next++) line += *next == '\n';
        }
        line++;
        p = next;
    }
    return ok;
}

#endif
