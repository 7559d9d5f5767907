/* rt_weights: where the constants of a model are. Inside the artifact, or in a file beside it (or wherever the config
 * says), mapped read-only and compared with the hash that was taken at compile time: code and weights of two
 * compilations must never meet. */
#define _GNU_SOURCE
#include "runtime/rt_internal.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* XXH64 (the specification is public: xxHash fast digest algorithm, section XXH64), seed 0. */
#define P1 0x9E3779B185EBCA87ull
#define P2 0xC2B2AE3D27D4EB4Full
#define P3 0x165667B19E3779F9ull
#define P4 0x85EBCA77C2B2AE63ull
#define P5 0x27D4EB2F165667C5ull

static uint64_t rol(uint64_t v, int n) { return v << n | v >> (64 - n); }
static uint64_t get64(const unsigned char *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
} /* targets are little-endian */
static uint32_t get32(const unsigned char *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}
static uint64_t mix(uint64_t lane, uint64_t v) { return rol(lane + v * P2, 31) * P1; }

uint64_t rt_hash(const void *data, size_t n)
{
    const unsigned char *p = data, *end = p + n;
    uint64_t h = P5;
    if (n >= 32) {
        uint64_t a = P1 + P2, b = P2, c = 0, d = 0 - P1;
        for (; end - p >= 32; p += 32) {
            a = mix(a, get64(p));
            b = mix(b, get64(p + 8));
            c = mix(c, get64(p + 16));
            d = mix(d, get64(p + 24));
        }
        h = rol(a, 1) + rol(b, 7) + rol(c, 12) + rol(d, 18);
        const uint64_t lane[4] = {a, b, c, d};
        for (int i = 0; i < 4; i++) h = (h ^ mix(0, lane[i])) * P1 + P4;
    }
    h += n;
    for (; end - p >= 8; p += 8) h = rol(h ^ mix(0, get64(p)), 27) * P1 + P4;
    for (; end - p >= 4; p += 4) h = rol(h ^ get32(p) * P1, 23) * P2 + P3;
    for (; p < end; p++) h = rol(h ^ *p * P5, 11) * P1;
    h = (h ^ h >> 33) * P2;
    h = (h ^ h >> 29) * P3;
    return h ^ h >> 32;
}

/* dir(path of the object that holds the descriptor) + name. A statically linked program has no such path: its own
 * file's folder then. */
static bool path_beside(const rt_desc *d, char *to, size_t cap)
{
    Dl_info info;
    char self[4096];
    const char *of = NULL;
    if (dladdr((const void *)(uintptr_t)d, &info) && info.dli_fname && strchr(info.dli_fname, '/')) {
        of = info.dli_fname;
    } else {
        ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
        if (n <= 0) return false;
        self[n] = 0;
        of = self;
    }
    const char *slash = strrchr(of, '/');
    int n = snprintf(to, cap, "%.*s%s", (int)(slash + 1 - of), of, d->weights_file);
    return n > 0 && (size_t)n < cap;
}

static bmc_status check_hash(const rt_desc *d, const void *data, const char *what)
{
    if (rt_hash(data, d->weights_bytes) == d->weights_hash) return BMC_OK;
    return rt_say(NULL, BMC_E_WEIGHTS, "%s: not the weights that this model was compiled with (hash differs)", what);
}

/* Smaller files come whole with the first reads. */
#define LARGE ((size_t)16 << 20)

/* What of large constants is not in memory yet is to be read in huge pages: a file that page faults have brought in lies
 * there in single ones, also for every process that comes later. Where it is in memory nothing changes. */
static void read_large(const void *data, size_t bytes)
{
#ifdef MADV_HUGEPAGE
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE) - 1, from = ((uintptr_t)data + page) & ~page, to = ((uintptr_t)data + bytes) & ~page;
    if (bytes >= LARGE) madvise((void *)from, to - from, MADV_HUGEPAGE);
#else
    (void)data, (void)bytes;
#endif
}

bmc_status rt_weights_find(bmc_ctx *x, const bmc_config *c)
{
    rt_private *p = x->rt;
    const rt_desc *d = p->desc;
    x->weights = d->weights;
    if (d->weights) read_large(d->weights, d->weights_bytes);
    if (d->weights || !d->weights_bytes) return BMC_OK;
    if (c->weights) {
        if (c->weights_bytes < d->weights_bytes)
            return rt_say(NULL, BMC_E_WEIGHTS, "config.weights: %zu bytes, expected %llu", c->weights_bytes,
                          (unsigned long long)d->weights_bytes);
        if ((uintptr_t)c->weights % RT_ALIGN)
            return rt_say(NULL, BMC_E_WEIGHTS, "config.weights: the address is not a multiple of %u", RT_ALIGN);
        x->weights = c->weights;
        return check_hash(d, c->weights, "config.weights");
    }
    char beside[4352];
    const char *path = c->weights_path;
    if (!path) {
        if (!d->weights_file || !path_beside(d, beside, sizeof beside))
            return rt_say(NULL, BMC_E_WEIGHTS, "no weights: set config.weights or config.weights_path");
        path = beside;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st)) {
        int why = errno;
        if (fd >= 0) close(fd);
        return rt_say(NULL, BMC_E_WEIGHTS, "%s: %s (weights file of model '%s')", path, strerror(why), d->info->name);
    }
    if ((uint64_t)st.st_size < d->weights_bytes) {
        close(fd);
        return rt_say(NULL, BMC_E_WEIGHTS, "%s: %lld bytes, the weights have %llu", path, (long long)st.st_size,
                      (unsigned long long)d->weights_bytes);
    }
    void *map = mmap(NULL, d->weights_bytes, PROT_READ, MAP_SHARED, fd, 0);
    int why = errno;
    close(fd);
    if (map == MAP_FAILED) return rt_say(NULL, BMC_E_WEIGHTS, "%s: %s", path, strerror(why));
    p->map = map;
    p->map_bytes = d->weights_bytes;
    x->weights = map;
    read_large(map, d->weights_bytes);
    return check_hash(d, map, path);
}

void rt_weights_release(rt_private *p)
{
    if (p->map) munmap(p->map, p->map_bytes);
    p->map = NULL;
}
