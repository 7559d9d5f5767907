/* text_test.h: what the kinds of bmc-text-test get and give. A test is one file:
 *   ; test: KIND ARGS            first line
 *   ...                          the input
 *   ; --- expect                 everything behind it is the expected output, exactly (BMC_BLESS=1 rewrites it)
 * A kind is a function that returns false after text_fail, or leaves its output in t->out; without output no
 * expectation is compared.
 * To add kinds: a header beside this one with the functions, rows in the table of text-test.c. */
#ifndef TEXT_TEST_H
#define TEXT_TEST_H
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include "base/diag.h"
#include "base/str.h"
#include "base/vec.h"

typedef struct TextTest {
    const char *path;
    const char *kind, *args;       /* words of the first line */
    const char *text; size_t n;    /* the input: the file up to the expectation */
    const char *expect;            /* NULL: there is none */
    Arena *arena;
    Str out;                       /* output to compare */
    bool has_out;
    Str why;                       /* of a failure */
    VEC(const char *) message;     /* diagnostics given so far */
} TextTest;

static inline bool text_fail(TextTest *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static inline bool text_fail(TextTest *t, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    str_add(&t->why, arena_vprintf(t->arena, fmt, ap));
    va_end(ap);
    str_char(&t->why, '\n');
    return false;
}

static inline void text_sink(void *arg, const DiagMessage *m)
{
    TextTest *t = arg;
    vec_push(t->arena, &t->message, arena_strdup(t->arena, m->text));
}

/* A Diag whose messages are collected in the test. */
static inline void text_diag(TextTest *t, Diag *d)
{
    diag_init(d, t->arena);
    d->sink = text_sink;
    d->sink_arg = t;
}

/* Fails with all collected messages. */
static inline bool text_messages(TextTest *t, const char *what)
{
    text_fail(t, "%s:", what);
    for (uint32_t i = 0; i < t->message.n; i++) text_fail(t, "  %s", t->message.p[i]);
    return false;
}

/* The next line of the input that starts (behind blanks) with `mark`; what follows the mark, or NULL. *at starts at
 * t->text. */
static inline char *text_line(TextTest *t, const char **at, const char *mark)
{
    const char *end = t->text + t->n;
    while (*at < end) {
        const char *line = *at, *stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop) stop = end;
        *at = stop + 1;
        const char *hit = NULL;
        for (const char *p = line; p + strlen(mark) <= stop && !hit; p++)
            if (!memcmp(p, mark, strlen(mark))) hit = p + strlen(mark);
        if (!hit) continue;
        while (hit < stop && *hit == ' ') hit++;
        return arena_strndup(t->arena, hit, (size_t)(stop - hit));
    }
    return NULL;
}

/* Each "; error: X" of the input is in a message of its own, and no message is left over. */
static inline bool text_errors(TextTest *t)
{
    const char *at = t->text;
    bool *used = arena_array(t->arena, bool, t->message.n + 1), ok = true;
    for (char *want; (want = text_line(t, &at, "; error: "));) {
        uint32_t i = 0;
        while (i < t->message.n && (used[i] || !strstr(t->message.p[i], want))) i++;
        if (i == t->message.n) ok = text_fail(t, "no message has: %s", want);
        else used[i] = true;
    }
    for (uint32_t i = 0; i < t->message.n; i++)
        if (!used[i]) ok = text_fail(t, "unexpected message: %s", t->message.p[i]);
    return ok;
}

/* Value of the option --name=VALUE in the test's arguments, or NULL. */
static inline char *text_option(TextTest *t, const char *name)
{
    char *key = arena_printf(t->arena, "--%s=", name), *hit = strstr(t->args, key);
    if (!hit) return NULL;
    hit += strlen(key);
    return arena_strndup(t->arena, hit, strcspn(hit, " "));
}

#endif
