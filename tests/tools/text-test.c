/* bmc-text-test: runs text tests (text_test.h says what they look like).
 *   bmc-text-test [--list] [-v] PATH...       files, or folders that are searched for *.kir and *.bir
 * Every file is also read, printed, read back and printed again, which must give the same text. BMC_BLESS=1 rewrites
 * expectations.
 * The last line is "N passed, M failed"; the exit status is 0 only when nothing failed and something ran. */
#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include "tests/tools/text_bir.h"
#include "tests/tools/text_kir.h"
#include "tests/tools/text_md.h"

typedef struct Kind { const char *name, *ext; bool (*run)(TextTest *); } Kind;
static const Kind kinds[] = {
    {"print", ".bir", kind_bir_print},
    {"verify", ".bir", kind_bir_verify},
    {"infer", ".bir", kind_bir_infer},
    {"opt", ".bir", kind_bir_opt},
    {"lower", ".bir", kind_bir_lower},
    {"run", ".bir", kind_bir_run},
    {"print", ".kir", kind_kir_print},
    {"verify", ".kir", kind_kir_verify},
    {"kopt", ".kir", kind_kopt},
    {"krun", ".kir", kind_krun},
};
/* By extension: the round trip of every file. */
static const Kind roundtrips[] = {
    {"round trip", ".bir", bir_text_roundtrip},
    {"round trip", ".kir", kir_text_roundtrip},
    {"examples", ".md", md_text_examples},
};

#define SECONDS_MAX 60   /* of one file: a loop without end is a failure, not a hang */

typedef struct Runner { bool bless, verbose; uint32_t passed, failed, blessed; } Runner;

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && !strcmp(s + n - m, end);
}

static bool is_test(const char *path)
{
    for (size_t i = 0; i < sizeof roundtrips / sizeof *roundtrips; i++)
        if (ends_with(path, roundtrips[i].ext)) return true;
    return false;
}

static char *read_all(Arena *a, const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    Str s;
    char part[4096];
    size_t got;
    if (!f) return NULL;
    str_init(&s, a);
    while ((got = fread(part, 1, sizeof part, f)) > 0) str_add_n(&s, part, got);
    fclose(f);
    *n = s.n;
    str_add(&s, "");
    return s.p ? s.p : arena_strdup(a, "");
}

/* The first differing line of each text. */
static void show_difference(TextTest *t, const char *want, const char *got)
{
    int line = 1;
    while (*want && *got) {
        size_t n = strcspn(want, "\n"), m = strcspn(got, "\n");
        if (n != m || memcmp(want, got, n)) break;
        want += n + (want[n] == '\n');
        got += m + (got[m] == '\n');
        line++;
    }
    text_fail(t, "differs in line %d of the output:\n  expected: %.*s\n  got:      %.*s", line, (int)strcspn(want, "\n"),
              want, (int)strcspn(got, "\n"), got);
}

static bool bless(TextTest *t)
{
    FILE *f = fopen(t->path, "wb");
    if (!f) return text_fail(t, "cannot write");
    fwrite(t->text, 1, t->n, f);
    if (t->n && t->text[t->n - 1] != '\n') fputc('\n', f);
    fprintf(f, "; --- expect\n%s", str_get(&t->out));
    return fclose(f) == 0 || text_fail(t, "cannot write");
}

static bool run_kind(Runner *r, TextTest *t)
{
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (!ends_with(t->path, kinds[i].ext) || strcmp(t->kind, kinds[i].name)) continue;
        if (!kinds[i].run(t)) return false;
        if (!t->has_out) return true;
        if (t->expect && !strcmp(t->expect, str_get(&t->out))) return true;
        if (r->bless) {
            r->blessed++;
            return bless(t);
        }
        if (!t->expect) return text_fail(t, "it has no '; --- expect' (BMC_BLESS=1 writes one)");
        show_difference(t, t->expect, str_get(&t->out));
        return text_fail(t, "  BMC_BLESS=1 rewrites the expectation");
    }
    return text_fail(t, "unknown kind of test '%s'", t->kind);
}

static const char *volatile current;   /* for the handler */

static void too_long(int sig)
{
    (void)sig;
    dprintf(1, "FAIL %s: no end after %d seconds\n", current, SECONDS_MAX);
    _exit(1);
}

static void run_file(Runner *r, const char *path)
{
    Arena a;
    arena_init(&a, "test", NULL);
    TextTest t = {.path = path, .arena = &a, .args = ""};
    size_t n;
    char *text = read_all(&a, path, &n), *cut;
    bool ok;
    str_init(&t.out, &a);
    str_init(&t.why, &a);
    current = path;
    alarm(SECONDS_MAX);
    if (!text) ok = text_fail(&t, "cannot read");
    else {
        t.text = text;
        t.n = n;
        cut = strstr(text, "\n; --- expect\n");
        if (cut) {
            t.n = (size_t)(cut + 1 - text);
            t.expect = arena_strdup(&a, cut + strlen("\n; --- expect\n"));
            cut[1] = 0;
        }
        if (!strncmp(text, "; test: ", 8)) {
            char *words = arena_strndup(&a, text + 8, strcspn(text + 8, "\n"));
            size_t k = strcspn(words, " ");
            t.args = arena_strdup(&a, words + k);
            t.kind = arena_strndup(&a, words, k);
        }
        ok = true;
        for (size_t i = 0; i < sizeof roundtrips / sizeof *roundtrips; i++)
            if (ends_with(path, roundtrips[i].ext)) ok = roundtrips[i].run(&t);
        if (ok && t.kind) ok = run_kind(r, &t);
    }
    if (ok) r->passed++;
    else r->failed++;
    if (!ok) printf("FAIL %s\n%s", path, str_get(&t.why));
    else if (r->verbose) printf("ok   %s\n", path);
    fflush(stdout);
    arena_free(&a);
}

static int by_name(const void *x, const void *y) { return strcmp(*(char *const *)x, *(char *const *)y); }

static void run_path(Runner *r, const char *path)
{
    struct stat st;
    Arena a;
    VEC(char *) name = {0};
    DIR *d;
    if (stat(path, &st) || !S_ISDIR(st.st_mode)) {
        run_file(r, path);
        return;
    }
    arena_init(&a, "folder", NULL);
    d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));) {
        if (*e->d_name == '.' || !strncmp(e->d_name, "build", 5)) continue;
        char *full = arena_printf(&a, "%s/%s", path, e->d_name);
        if (stat(full, &st)) continue;
        if (S_ISDIR(st.st_mode) || is_test(full)) vec_push(&a, &name, full);
    }
    if (d) closedir(d);
    if (name.n) qsort(name.p, name.n, sizeof *name.p, by_name);
    for (uint32_t i = 0; i < name.n; i++) run_path(r, name.p[i]);
    arena_free(&a);
}

int main(int argc, char **argv)
{
    signal(SIGALRM, too_long);
    Runner r = {.bless = getenv("BMC_BLESS") && *getenv("BMC_BLESS") == '1'};
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "-v")) r.verbose = true;
        else if (!strcmp(argv[i], "--list"))
            for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) printf("%s (%s)\n", kinds[k].name, kinds[k].ext);
        else run_path(&r, argv[i]);
    }
    if (r.blessed) printf("%u expectations rewritten\n", r.blessed);
    printf("%u passed, %u failed\n", r.passed, r.failed);
    return r.failed || !r.passed;
}
