/* bug.h: what to do when *we* are wrong. Input errors never come here (diag.h); a BUG aborts after naming the place. */
#ifndef BMC_BASE_BUG_H
#define BMC_BASE_BUG_H
#include <assert.h>

/* Prints "file:line: internal error: ..." to stderr, then aborts; what was being done is named by whoever handles SIGABRT. */
_Noreturn void bug_at(const char *file, int line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
#define BUG(...) bug_at(__FILE__, __LINE__, __VA_ARGS__)
#define UNREACHABLE() BUG("unreachable")

#endif
