/* check.h: the unit tests' harness. A failed check prints its place and goes on; main ends with `return
 * check_done();`. */
#ifndef BMC_TESTS_UNIT_CHECK_H
#define BMC_TESTS_UNIT_CHECK_H
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

static int check_passed, check_failed;

static inline bool check_that(bool ok, const char *file, int line, const char *what)
{
    if (ok) check_passed++;
    else if (check_failed++ < 50) printf("%s:%d: failed: %s\n", file, line, what);
    return ok;
}

static inline bool check_text(const char *got, const char *want, const char *file, int line, const char *what)
{
    bool ok = strcmp(got, want) == 0;
    if (!check_that(ok, file, line, what)) printf("    got      %s\n    expected %s\n", got, want);
    return ok;
}

#define CHECK(c) check_that((c), __FILE__, __LINE__, #c)
#define CHECK_STR(got, want) check_text((got), (want), __FILE__, __LINE__, #got)

static inline int check_done(void)
{
    printf("%d passed, %d failed\n", check_passed, check_failed);
    return check_failed ? 1 : 0;
}

/* Deterministic random numbers (splitmix64). */
typedef struct Rng { uint64_t s; } Rng;
static inline uint64_t rng_next(Rng *r)
{
    uint64_t z = r->s += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}
static inline int64_t rng_in(Rng *r, int64_t lo, int64_t hi)
{
    return lo + (int64_t)(rng_next(r) % (uint64_t)(hi - lo + 1));
}

#endif
