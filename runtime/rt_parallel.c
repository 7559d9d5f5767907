/* rt_parallel: threads. With rt_omp.c the only file that knows OpenMP, compiled twice: with -DBMC_RT_OPENMP=1, and
 * without (then the calling thread is the whole team unless the caller supplies one). One team per run; between kernels the
 * threads meet in a barrier of our own.
 *
 * The barrier is a dissemination barrier: in round r thread t sets a flag of thread (t + 2^r) mod nt and waits for its
 * own; after ceil(log2 nt) rounds every thread has heard of every other. No counter that all write; each flag has one
 * writer and one reader, two threads need one round. The bit "somebody has an error" travels with the flags, so all
 * threads learn it at the same barrier and leave there together. Waiting spins for a bounded time, then yields, then
 * sleeps: with more threads than CPUs, or when the host takes a CPU away, waiting must not burn what the late thread
 * needs. */
#define _GNU_SOURCE
#include "runtime/rt_internal.h"
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#if defined(__linux__)
#include <linux/futex.h>
#include <sys/syscall.h>
#endif
#ifdef BMC_RT_OPENMP
#include <dlfcn.h>
/* Weak: a statically linked program has no loader and needs none. */
extern void *dlopen(const char *, int) __attribute__((weak));
extern void *dlsym(void *, const char *) __attribute__((weak));
#endif

/* ---- the team ---- */

#ifdef BMC_RT_OPENMP
static bool omp_named(rt_omp *o, void *library)
{
    *(void **)&o->parallel = dlsym(library, "GOMP_parallel");
    *(void **)&o->thread_num = dlsym(library, "omp_get_thread_num");
    *(void **)&o->num_threads = dlsym(library, "omp_get_num_threads");
    o->fork_call = dlsym(library, "__kmpc_fork_call");
    return o->parallel && o->thread_num && o->num_threads;
}

/* The library that the program has, else libgomp. Its idle threads run code of it: were it unmapped when a loader
 * closes the model, and nobody else uses it, they would die, so it stays (RTLD_NODELETE). */
static bool omp_open(rt_omp *o)
{
    if (&rt_omp_linked) {
        *o = rt_omp_linked;
        return true;
    }
    if (!dlopen || !dlsym) return false;
    if (omp_named(o, RTLD_DEFAULT)) return true;
    void *library = dlopen("libgomp.so.1", RTLD_NOW | RTLD_NODELETE);
    return library && omp_named(o, library);
}

typedef struct TeamCall {
    const rt_omp *omp;
    rt_private *p;
    void (*fn)(void *arg, int tid, int nt);
    void *arg;
} TeamCall;

static void team_member(void *call)
{
    const TeamCall *c = call;
    int tid = c->omp->thread_num(), nt = c->omp->num_threads();
    if (tid > 0 && tid < c->p->nt) rt_apart(c->p, tid, nt < c->p->nt ? nt : c->p->nt);
    c->fn(c->arg, tid, nt);
}
#endif

#ifdef BMC_RT_OPENMP
static bool omp_ready(rt_private *p)
{
    rt_omp omp = p->omp;
    if (!omp.parallel && !omp_open(&omp)) return false;
    p->omp = omp;
    return true;
}

static void nothing(void *arg, int tid, int nt)
{
    (void)arg, (void)tid, (void)nt;
}
#endif

/* A new thread often begins on the CPU of the thread that made it (rt_apart.c says why). libgomp's caller waits for it
 * there, spinning, 300,000 looks long, three milliseconds and more, before it sleeps and the new one can begin. With
 * more threads than CPUs it sleeps after 1,000 looks. So the first team has a thread too many, which ends when the
 * second one starts, and nothing to do but to go apart. */
void rt_team_ready(rt_private *p, int nt)
{
#ifdef BMC_RT_OPENMP
    if (p->team || !omp_ready(p) || p->omp.fork_call) return;
    rt_apart_here(p, 0);
    p->omp.parallel(team_member, &(TeamCall){&p->omp, p, nothing, NULL}, (unsigned)nt + 1, 0);
#else
    (void)p, (void)nt;
#endif
}

/* Equals: for (tid = 0; tid < nt; tid++) fn(arg, tid, nt), all at the same time; nt may come out smaller than asked
 * for. */
bool rt_team(rt_private *p, void (*fn)(void *arg, int tid, int nt), void *arg, int nt)
{
    if (nt == 1) {
        fn(arg, 0, 1);
    } else if (p->team) {
        p->team(p->pool, fn, arg, nt);
    } else {
#ifdef BMC_RT_OPENMP
        if (!omp_ready(p)) return false;
        rt_apart_here(p, 0);
        p->omp.parallel(team_member, &(TeamCall){&p->omp, p, fn, arg}, (unsigned)nt, 0);
#else
        fn(arg, 0, 1);
#endif
    }
    return true;
}

bool rt_team_exists(const rt_private *p)
{
#ifdef BMC_RT_OPENMP
    (void)p;
    return true;
#else
    return p->team != NULL;
#endif
}

/* ---- the barrier ---- */

static inline void pause_cpu(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory"); /* `yield` is a no-op on most cores; isb costs about what x86's pause does */
#endif
}

/* Nobody but the thread that waits for a flag writes this into it, and only before it sleeps; generations stay below.
 */
#define ASLEEP 0xffffffffu

static void futex_sleep(_Atomic uint32_t *flag)
{
#if defined(__linux__)
    syscall(SYS_futex, flag, FUTEX_WAIT_PRIVATE, ASLEEP, NULL, NULL, 0);
#else
    nanosleep(&(struct timespec){0, 50000}, NULL);
    (void)flag;
#endif
}

static void futex_wake(_Atomic uint32_t *flag)
{
#if defined(__linux__)
    syscall(SYS_futex, flag, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
#else
    (void)flag;
#endif
}

/* Waits until *flag belongs to generation gen; returns it. Out of line: the common case does not come here. */
static __attribute__((noinline)) uint32_t wait_long(_Atomic uint32_t *flag, uint32_t gen, uint32_t spin, uint32_t yield)
{
    uint32_t v;
    for (uint32_t i = 1; i <= spin; i++) {
        v = atomic_load_explicit(flag, memory_order_acquire);
        if (v >> 1 == gen) return v;
        if (i % yield) pause_cpu();
        else sched_yield(); /* the late thread may be on this very CPU */
    }
    for (;;) {
        v = atomic_load_explicit(flag, memory_order_acquire);
        if (v >> 1 == gen) return v;
        if (v == ASLEEP ||
            atomic_compare_exchange_strong_explicit(flag, &v, ASLEEP, memory_order_acq_rel, memory_order_acquire))
            futex_sleep(flag);
    }
}

int32_t rt_barrier(bmc_ctx *x, int32_t tid, int32_t nt)
{
    rt_thread *me = &x->thread[tid];
    uint32_t bad = me->err_step != 0;
    if (nt > 1) {
        rt_inbox *box = x->rt->inbox;
        uint32_t gen = ++me->sense & 0x7fffffffu;
        for (int32_t far = 1, r = 0; far < nt; far *= 2, r++) {
            int32_t to = tid + far < nt ? tid + far : tid + far - nt;
            _Atomic uint32_t *flag = &box[to].flag[gen & 1][r];
            if (atomic_exchange_explicit(flag, gen << 1 | bad, memory_order_acq_rel) == ASLEEP) futex_wake(flag);
            flag = &box[tid].flag[gen & 1][r];
            uint32_t v = atomic_load_explicit(flag, memory_order_acquire);
            if (v >> 1 != gen) v = wait_long(flag, gen, x->rt->spin, x->rt->yield);
            bad |= v & 1;
        }
    }
    return bad ? rt_lowest(x, nt, false) : BMC_OK;
}

/* ---- how many threads ---- */

/* The beginning of a file as text; 0: none. No stdio: create must not allocate when the caller gave the memory. */
static size_t file_text(const char *path, char *to, size_t cap)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t n = read(fd, to, cap - 1);
    close(fd);
    to[n > 0 ? n : 0] = 0;
    return n > 0 ? (size_t)n : 0;
}

#define CPUS_MAX 8192
typedef struct CpuSet {
    unsigned long bits[CPUS_MAX / (8 * sizeof(unsigned long))];
} CpuSet;
static bool cpu_in(const CpuSet *s, long i)
{
    const long w = 8 * sizeof(unsigned long);
    return i >= 0 && i < CPUS_MAX && (s->bits[i / w] >> i % w & 1);
}

/* The lowest allowed CPU of a kernel list such as "0,64" or "0-1,8"; -1: none. */
static long list_lowest(const char *s, const CpuSet *allowed)
{
    while (*s >= '0' && *s <= '9') {
        char *e;
        long a = strtol(s, &e, 10), b = a;
        if (*e == '-') b = strtol(e + 1, &e, 10);
        for (long c = a; c <= b && c < CPUS_MAX; c++)
            if (cpu_in(allowed, c)) return c;
        s = *e == ',' ? e + 1 : e;
    }
    return -1;
}

/* CPUs' worth of time that "quota period" (cgroup 2: cpu.max) or the two files of cgroup 1 grant; 0: no limit. */
static int quota_of(const char *dir, const char *path, bool v2)
{
    char name[512], text[128];
    long long quota = -1, period = 0;
    if (v2) {
        snprintf(name, sizeof name, "%s%s/cpu.max", dir, path);
        if (!file_text(name, text, sizeof text) || sscanf(text, "%lld %lld", &quota, &period) != 2) return 0;
    } else {
        snprintf(name, sizeof name, "%s%s/cpu.cfs_quota_us", dir, path);
        if (!file_text(name, text, sizeof text)) return 0;
        quota = atoll(text);
        snprintf(name, sizeof name, "%s%s/cpu.cfs_period_us", dir, path);
        if (!file_text(name, text, sizeof text)) return 0;
        period = atoll(text);
    }
    if (quota <= 0 || period <= 0) return 0;
    return quota < period ? 1 : quota / period > RT_MAX_THREADS ? 0 : (int)(quota / period);
}

/* The tightest quota of this process's control group and the groups around it; 0: none. */
static int cgroup_quota(void)
{
    char text[2048];
    int best = 0;
    if (!file_text("/proc/self/cgroup", text, sizeof text)) return 0;
    for (char *line = text, *end; *line; line = end) {
        end = strchr(line, '\n');
        if (end) *end++ = 0;
        else end = line + strlen(line);
        char *mid = strchr(line, ':'), *path = mid ? strchr(mid + 1, ':') : NULL;
        if (!path) continue;
        *path++ = 0;
        bool v2 = mid[1] == 0, v1 = false;
        for (const char *s = mid + 1; (s = strstr(s, "cpu")); s += 3) v1 |= s[3] == ',' || s[3] == 0;
        if (!v2 && !v1) continue;
        const char *dir = v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/cpu";
        for (;;) {
            size_t n = strlen(path);
            if (n == 1) path[n = 0] = 0;
            int q = quota_of(dir, path, v2);
            if (q && (!best || q < best)) best = q;
            if (!n) break;
            char *up = strrchr(path, '/');
            if (!up) break;
            *up = 0;
        }
    }
    return best;
}

static int allowed_cpus(CpuSet *s)
{
    memset(s, 0, sizeof *s);
    if (sched_getaffinity(0, sizeof *s, (cpu_set_t *)s)) {
        s->bits[0] = 1;
        return 1;
    }
    int n = 0;
    for (size_t i = 0; i < sizeof s->bits / sizeof *s->bits; i++)
        for (unsigned long w = s->bits[i]; w; w &= w - 1) n++;
    return n ? n : 1;
}

int rt_usable_cpus(void)
{
    CpuSet allowed;
    int n = allowed_cpus(&allowed), q = cgroup_quota();
    return q && q < n ? q : n;
}

/* A file of the second cache of one of the CPUs that may be used; 0: none. */
static size_t l2_file(long cpu, const char *what, char *to, size_t cap)
{
    char path[128];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%ld/cache/index2/%s", cpu, what);
    return file_text(path, to, cap);
}

int64_t rt_l2_told(void)
{
#if defined(_SC_LEVEL2_CACHE_SIZE) && __has_include(<sys/platform/x86.h>) /* glibc 2.33: the loader has asked, no cpuid */
    long n = sysconf(_SC_LEVEL2_CACHE_SIZE);
    return n > 0 ? n : 0;
#else
    return 0;
#endif
}

int64_t rt_l2_bytes(void)
{
    CpuSet allowed;
    allowed_cpus(&allowed);
    long cpu = 0;
    while (cpu < CPUS_MAX && !cpu_in(&allowed, cpu)) cpu++;
    char text[64], cache[512], core[512], path[128];
    int64_t n = rt_l2_told();
    if (!n && (!l2_file(cpu, "level", text, sizeof text) || text[0] != '2')) return -1;
    if (!l2_file(cpu, "shared_cpu_list", cache, sizeof cache)) return -1;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%ld/topology/thread_siblings_list", cpu);
    if (!file_text(path, core, sizeof core) || strcmp(cache, core)) return -1;
    if (n) return n;
    if (!l2_file(cpu, "size", text, sizeof text)) return -1;
    char *unit;
    n = strtol(text, &unit, 10);
    if (n < 1 || n >= 1 << 20) return -1;
    return *unit == 'K' ? n << 10 : *unit == 'M' ? n << 20 : n;
}

/* No core of this machine runs a second thread: one file says so, else there is one for each CPU to be read. */
static bool cores_are_cpus(void)
{
    char text[8];
    return file_text("/sys/devices/system/cpu/smt/active", text, sizeof text) && text[0] == '0';
}

/* Physical cores of the CPUs that the process may use, at most what its control group grants and what OpenMP was told.
 */
int rt_default_threads(void)
{
    CpuSet allowed;
    int n = allowed_cpus(&allowed), left = n > 1 && !cores_are_cpus() ? n : 0, cores = left ? 0 : n;
    for (long c = 0; left; c++) {
        if (!cpu_in(&allowed, c)) continue;
        left--;
        char path[128], text[512];
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%ld/topology/thread_siblings_list", c);
        cores += !file_text(path, text, sizeof text) || list_lowest(text, &allowed) == c;
    }
    if (cores < 1) cores = 1;
    int q = cgroup_quota();
    if (q && q < cores) cores = q;
#ifdef BMC_RT_OPENMP
    const char *told = getenv("OMP_NUM_THREADS"); /* a list names the threads of the outermost level first */
    long omp = told ? strtol(told, NULL, 10) : 0;
    if (omp >= 1 && omp < cores) cores = (int)omp;
#endif
    return cores < RT_MAX_THREADS ? cores : RT_MAX_THREADS;
}
