/* image-fuzz: damaged images through the decoders of the runtime's part `image`, meant for a build with sanitizers:
 *   bmc-image-fuzz [--seed N] [--count N] FILE...
 * Each of the files, then `count` images made of them: bytes changed, numbers set to extremes, parts cut out, doubled, put
 * together with parts of another file, the end cut off. A decoder answers or fails with a reason; every pixel of an answer
 * is read. When the program ends by a signal or a sanitizer's report, it names the image: --only N makes it again. */
#include "runtime/rt_internal.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <unistd.h>

enum { FILES_MAX = 512, SIZE_MAX_ = 1 << 16, PATIENCE = 60 };
typedef struct File {
    uint8_t *data;
    size_t n;
} File;

static volatile long now;

static void say(void)
{
    char text[64];
    int n = snprintf(text, sizeof text, "\nFAIL image %ld: the program ends here\n", now);
    if (n > 0 && write(1, text, (size_t)n) < 0) return;
}
static void on_signal(int s)
{
    say();
    signal(s, SIG_DFL);
    raise(s);
}
void __asan_on_error(void); /* called by AddressSanitizer before its report */
void __asan_on_error(void) { say(); }

static uint64_t next(uint64_t *s) /* splitmix64 */
{
    uint64_t z = (*s += 0x9e3779b97f4a7c15u);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}
static size_t below(uint64_t *s, size_t n) { return n ? (size_t)(next(s) % n) : 0; }

static size_t mutate(uint64_t *s, uint8_t *d, size_t n, const File *other)
{
    static const uint8_t EXTREME[] = {0, 1, 0x7f, 0x80, 0xfe, 0xff};
    for (size_t k = 1 + below(s, 6); k-- > 0 && n;) {
        size_t at = below(s, next(s) & 1 && n > 64 ? 64 : n), len = 1 + below(s, n - at), to = below(s, n);
        switch (below(s, 8)) {
        case 0: d[at] = (uint8_t)next(s); break;
        case 1: d[at] ^= (uint8_t)(1u << below(s, 8)); break;
        case 2: memset(d + at, EXTREME[below(s, sizeof EXTREME)], 1 + below(s, n - at < 4 ? n - at : 4)); break;
        case 3: n = at; break;
        case 4: memmove(d + at, d + at + len, n - at - len), n -= len; break;
        case 5: /* doubled */
            if (n + len > SIZE_MAX_) break;
            memmove(d + at + len, d + at, n - at), n += len;
            break;
        case 6: memmove(d + to, d + at, len < n - to ? len : n - to); break;
        default: { /* a part of another file */
            size_t from = below(s, other->n), m = 1 + below(s, other->n - from < n - at ? other->n - from : n - at);
            if (m <= n - at && from + m <= other->n) memcpy(d + at, other->data + from, m);
        }
        }
    }
    return n;
}

/* Seconds of this process' own time: other work on the machine does not count. */
static void patience(int seconds)
{
    setitimer(ITIMER_PROF, &(struct itimerval){.it_value.tv_sec = seconds}, NULL);
}

/* 1 decoded, 0 refused, -1 wrong. */
static int decode(const uint8_t *data, size_t n, int64_t mode)
{
    bmc_ctx *x = rt_interp_create(4, 2);
    uint8_t *exact = malloc(n ? n : 1); /* so that a byte behind the end is seen */
    if (!x || !exact) return -1;
    memcpy(exact, data, n);
    rt_arg arg[5] = {{.kind = RT_BUF, .dtype = BMC_U8, .rank = 1, .data = exact, .value = -1, .dim = {(int64_t)n}},
                     {.kind = RT_BUF, .dtype = BMC_U8, .rank = 3, .value = 1},
                     {.kind = RT_SYM, .sym = &x->sym[1]},
                     {.kind = RT_SYM, .sym = &x->sym[2]},
                     {.kind = RT_INT, .value = mode}};
    int32_t status = rt_image_decode(x, arg, 5, 0, 1);
    int64_t h = x->sym[1], w = x->sym[2], sum = 0;
    bool empty = h == 0 && w == 0;
    int verdict = empty ? 0 : status == BMC_OK && h > 0 && w > 0 ? 1 : -1;
    const uint8_t *p = x->slot[1];
    for (int64_t k = 0; status == BMC_OK && k < h * w * (mode == 2 ? 1 : 3); k++) sum += p[k];
    if (sum < 0) verdict = -1;
    free(exact);
    rt_interp_destroy(x);
    return verdict;
}

static bool read_file(const char *path, File *f)
{
    FILE *in = fopen(path, "rb");
    f->data = malloc(SIZE_MAX_);
    if (!in || !f->data) return false;
    f->n = fread(f->data, 1, SIZE_MAX_, in);
    fclose(in);
    return true;
}

int main(int argc, char **argv)
{
    static File file[FILES_MAX];
    uint64_t seed = 1;
    long count = 1000, only = -1, n_file = 0, passed = 0, failed = 0, decoded = 0;
    for (int k = 1; k < argc; k++) {
        if (!strcmp(argv[k], "--seed") && k + 1 < argc) seed = strtoull(argv[++k], NULL, 10);
        else if (!strcmp(argv[k], "--count") && k + 1 < argc) count = atol(argv[++k]);
        else if (!strcmp(argv[k], "--only") && k + 1 < argc) only = atol(argv[++k]);
        else if (n_file < FILES_MAX && !read_file(argv[k], &file[n_file++]))
            return fprintf(stderr, "cannot read %s\n", argv[k]), 1;
    }
    uint8_t *d = malloc(2 * SIZE_MAX_);
    signal(SIGPROF, on_signal);
    signal(SIGABRT, on_signal);
    if (!n_file || !d) return fprintf(stderr, "usage: bmc-image-fuzz [--seed N] [--count N] [--only N] FILE...\n"), 1;
    for (long k = 0; k < n_file + count; k++) {
        uint64_t s = seed * 1000003 + (uint64_t)k;
        const File *f = k < n_file ? &file[k] : &file[below(&s, (size_t)n_file)];
        const File *other = &file[below(&s, (size_t)n_file)];
        if (only >= 0 && k != only) continue;
        memcpy(d, f->data, f->n);
        size_t n = k < n_file ? f->n : mutate(&s, d, f->n, other);
        now = k;
        patience(PATIENCE); /* a decoder that does not come back is a failure, too */
        int verdict = decode(d, n, (int64_t)below(&s, 3));
        patience(0);
        bool good = verdict >= 0 && (k >= n_file || verdict == 1);
        if (!good) printf("FAIL image %ld of seed %llu\n", k, (unsigned long long)seed);
        good ? passed++ : failed++;
        decoded += verdict == 1;
    }
    printf("%ld images decoded, %ld refused\n%ld passed, %ld failed\n", decoded, passed + failed - decoded, passed,
           failed);
    free(d);
    return failed != 0;
}
