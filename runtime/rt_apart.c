/* rt_apart: a CPU for each thread of the team. A thread that slept wakes up where it ran last, and when the caller has
 * been moved there meanwhile, both share one CPU although another is idle: a virtual machine's kernel takes a halted
 * CPU for one that the host has taken away, so it looks for no other, and its balancing takes several milliseconds to
 * notice, longer than most runs. So each thread but the caller's looks where the others are when the run begins, and
 * leaves a CPU that one of them uses: it forbids itself the CPUs of the team for a moment, which moves it at once, and
 * allows them again. Only within what the thread may use; where that is one CPU, nothing happens. */
#define _GNU_SOURCE
#include "runtime/rt_internal.h"
#include <sched.h>

enum { REST = 8 }; /* runs without another try: where others want that CPU, too, it will not last */

#if defined(__linux__)
void rt_apart_here(rt_private *p, int tid)
{
    atomic_store_explicit(&p->inbox[tid].cpu, 1 + (int32_t)sched_getcpu(), memory_order_relaxed);
}

bool rt_apart(rt_private *p, int tid, int nt)
{
    rt_apart_here(p, tid);
    int32_t here = atomic_load_explicit(&p->inbox[tid].cpu, memory_order_relaxed);
    bool met = false;
    for (int t = 0; t < tid; t++) met |= atomic_load_explicit(&p->inbox[t].cpu, memory_order_relaxed) == here;
    uint32_t last = p->inbox[tid].moved;
    if (!met || here < 1 || (last && p->serial - last < REST)) return false;
    p->inbox[tid].moved = p->serial;
    cpu_set_t allowed, rest;
    if (sched_getaffinity(0, sizeof allowed, &allowed)) return false; /* more CPUs than a set has room for */
    rest = allowed;
    for (int t = 0; t < nt; t++) {
        int32_t cpu = atomic_load_explicit(&p->inbox[t].cpu, memory_order_relaxed);
        if (cpu > 0 && cpu <= CPU_SETSIZE) CPU_CLR(cpu - 1, &rest);
    }
    if (!CPU_COUNT(&rest) || sched_setaffinity(0, sizeof rest, &rest)) return false;
    sched_setaffinity(0, sizeof allowed, &allowed);
    rt_apart_here(p, tid);
    return true;
}
#else
void rt_apart_here(rt_private *p, int tid)
{
    (void)p, (void)tid;
}
bool rt_apart(rt_private *p, int tid, int nt)
{
    (void)p, (void)tid, (void)nt;
    return false;
}
#endif
