/* rt_share.c: who does which part of a launch that is long enough to be dealt out.
 * Every thread has the part that it would have anyway, [total*t/nt, total*(t+1)/nt), and takes it in pieces, from the
 * front. Who is through takes pieces of the others' parts, so that a thread whose CPU is slower, or is taken away by the
 * host, does not keep the rest waiting for more than a piece. Where all are equally fast nobody takes from anybody, and
 * memory stays where it was written. (A guided schedule over per-thread ranges: Polychronopoulos and Kuck, 1987;
 * Markatos and LeBlanc, affinity scheduling, 1994.)
 *
 * One word for each thread says what is left: number of the launch and first index not given away. A thread leaves a
 * launch only when all parts of it are given away, so a word of an earlier launch means that nothing has been taken of
 * this one yet, and one of a later launch that nothing is left; words need not be reset between launches. The data
 * itself is handed over by the barriers, so the words need no order. */
#include "runtime/rt_internal.h"

enum { PIECES = 8 }; /* the first pieces: an eighth of a part; then an eighth of what is left, at least half of that */

static int64_t piece(int64_t part, int64_t left)
{
    int64_t n = (left + PIECES - 1) / PIECES, least = part / (2 * PIECES);
    if (n < least) n = least;
    if (n < 1) n = 1;
    return n < left ? n : left;
}

uint64_t rt_part(bmc_ctx *x, int32_t tid, int32_t nt, int64_t total)
{
    rt_thread *me = &x->thread[tid];
    uint32_t launch = me->dealt + 1;
    for (int32_t i = 0, t = tid; i < nt; i++, t = t + 1 < nt ? t + 1 : 0) {
        _Atomic uint64_t *word = &x->rt->share[t].next;
        int64_t begin = total * t / nt, end = total * (t + 1) / nt;
        uint64_t w = atomic_load_explicit(word, memory_order_relaxed);
        for (;;) {
            int32_t ahead = (int32_t)((uint32_t)(w >> 32) - launch);
            int64_t from = ahead < 0 ? begin : (int64_t)(w & UINT32_MAX);
            if (ahead > 0 || from >= end) break;
            uint64_t to = (uint64_t)(from + piece(end - begin, end - from));
            if (atomic_compare_exchange_weak_explicit(word, &w, (uint64_t)launch << 32 | to, memory_order_relaxed,
                                                      memory_order_relaxed))
                return (uint64_t)from << 32 | to;
        }
    }
    me->dealt = launch;
    return 0;
}
