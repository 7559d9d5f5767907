/* rt_memory: the heap of a context. Chunks (from malloc, or one that the caller gave) hold blocks with a header of one
 * cache line; free blocks are in lists by size class and merge with free neighbours, so alloc and free take constant
 * time and a loop whose tensor grows reuses what it gave back. Memory stays in the heap between runs; a chunk without
 * used blocks goes back only when another has to be fetched (or on trim). A steady state therefore calls malloc no
 * more, and a context holds at most about twice what it needed at its peak. */
#define _GNU_SOURCE
#include "runtime/rt_internal.h"
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

struct rt_block {
    size_t size;   /* of the whole block, header included; multiple of 64; 0: the end mark of the chunk */
    size_t before; /* size of the block in front; 0: first of the chunk */
    size_t used;
    rt_block *next, *prev; /* free list */
    char pad[24];
};
_Static_assert(sizeof(rt_block) == RT_ALIGN, "a block header is one line, so that what follows is aligned");

struct rt_chunk {
    rt_chunk *next;
    size_t size; /* of the whole chunk */
    void *memory; /* what malloc gave */
    char pad[40];
};
_Static_assert(sizeof(rt_chunk) == RT_ALIGN, "as above");

#define OVERHEAD (sizeof(rt_chunk) + sizeof(rt_block)) /* of a chunk: its header and its end mark */
#define SMALL_CHUNK ((size_t)64 << 10)
#define BIG_CHUNK ((size_t)4 << 20)

static rt_block *block_at(void *p, size_t off) { return (rt_block *)((char *)p + off); }
static rt_block *chunk_first(rt_chunk *c) { return block_at(c, sizeof *c); }
static rt_block *block_next(rt_block *b) { return block_at(b, b->size); }

/* Class of blocks with size in [2^e * (1 + q/4), next): 4e + q, counted in lines. */
static uint32_t bin_of(size_t size)
{
    size_t lines = size / RT_ALIGN;
    uint32_t e = 63u - (uint32_t)__builtin_clzll(lines);
    uint32_t q = e >= 2 ? (uint32_t)(lines >> (e - 2)) & 3 : (uint32_t)(lines << (2 - e)) & 3;
    return 4 * e + q;
}

static void list_add(rt_heap *h, rt_block *b)
{
    uint32_t i = bin_of(b->size);
    b->used = 0;
    b->prev = NULL;
    b->next = h->bin[i];
    if (b->next) b->next->prev = b;
    h->bin[i] = b;
    h->full[i / 64] |= 1ull << i % 64;
}

static void list_remove(rt_heap *h, rt_block *b)
{
    uint32_t i = bin_of(b->size);
    if (b->next) b->next->prev = b->prev;
    if (b->prev) b->prev->next = b->next;
    else h->bin[i] = b->next;
    if (!h->bin[i]) h->full[i / 64] &= ~(1ull << i % 64);
}

static void chunk_add(rt_heap *h, rt_chunk *c, size_t size)
{
    c->size = size;
    c->next = h->chunk;
    h->chunk = c;
    h->held += size;
    rt_block *b = chunk_first(c);
    b->size = size - OVERHEAD;
    b->before = 0;
    rt_block *end = block_next(b);
    end->size = 0;
    end->before = b->size;
    end->used = 1;
    list_add(h, b);
}

/* A free block of at least `size`: the smallest class that may hold one is searched, any block of a larger class does.
 */
static rt_block *block_find(rt_heap *h, size_t size)
{
    uint32_t i = bin_of(size);
    for (rt_block *b = h->bin[i]; b; b = b->next)
        if (b->size >= size) return b;
    for (uint32_t w = ++i / 64; w < sizeof h->full / sizeof *h->full; w++) {
        uint64_t m = h->full[w];
        if (w == i / 64) m &= ~0ull << i % 64;
        if (m) return h->bin[64 * w + (uint32_t)__builtin_ctzll(m)];
    }
    return NULL;
}

static void chunk_free(rt_heap *h, rt_chunk *c)
{
    if (h->settle_end > (char *)c && h->settle_end <= (char *)c + c->size) h->settle = h->settle_end = NULL;
    free(c->memory);
}

void rt_heap_trim(rt_heap *h)
{
    if (h->fixed) return;
    for (rt_chunk **p = &h->chunk; *p;) {
        rt_chunk *c = *p;
        rt_block *b = chunk_first(c);
        if (b->used || b->size != c->size - OVERHEAD) {
            p = &c->next;
            continue;
        }
        list_remove(h, b);
        *p = c->next;
        h->held -= c->size;
        chunk_free(h, c);
    }
}

/* Huge pages save misses of the address cache (1-4 % of a steady run) and most of what fetching memory takes, but
 * fetching one in a page fault may make the system move others' memory first: up to 6 ms each where ordinary pages take
 * 1, in the middle of the first run. So a large chunk begins with ordinary pages but for those that rt_mem_present gets
 * without that, and what has proved to be used is collapsed, one page behind each run.
 * A range with an ordinary page in it gets no huge one any more. So what lies in a large chunk first begins with a huge
 * page, the headers of chunk and block in front of it, and an arena whose end takes more than half of one (HUGE_FROM: as
 * many ordinary pages cost more than clearing all of it) takes it whole, the next header behind it. */
#define HUGE_PAGE ((size_t)2 << 20)
#define HUGE_FROM (HUGE_PAGE / 2)
#if defined(__linux__) && !defined(MADV_COLLAPSE)
#define MADV_COLLAPSE 25 /* Linux 6.1; C libraries that do not know it yet */
#endif
#if defined(__linux__) && !defined(MADV_POPULATE_WRITE)
#define MADV_POPULATE_WRITE 23 /* Linux 5.14 */
#endif
enum { SETTLE_AFTER = 3, SETTLE_PAUSE = 32 /* times what the last one took: 3 % of the time at most goes into it */ };

static rt_chunk *chunk_alloc(rt_heap *h, size_t want)
{
    rt_chunk *c;
    char *p;
    if (want >= HUGE_FROM && want <= PTRDIFF_MAX - HUGE_PAGE && (p = aligned_alloc(RT_ALIGN, want + HUGE_PAGE))) {
        char *first = (char *)(((uintptr_t)p + OVERHEAD + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1));
        c = (rt_chunk *)(first - OVERHEAD);
        c->memory = p;
        if (want < 2 * HUGE_PAGE) return c;
        h->settle = first;
        h->settle_end = first + ((want - OVERHEAD) & ~(HUGE_PAGE - 1));
        h->settle_wait = SETTLE_AFTER;
        h->settle_from = 0;
        return c;
    }
    c = aligned_alloc(RT_ALIGN, want);
    if (c) c->memory = c;
    return c;
}

void rt_heap_settle(rt_heap *h)
{
#ifdef MADV_COLLAPSE
    if (h->settle == h->settle_end || h->settle_wait-- > 0) return;
    h->settle_wait = 0;
    uint64_t begin = rt_now();
    if (begin < h->settle_from) return;
    if (!madvise(h->settle, HUGE_PAGE, MADV_COLLAPSE)) {
        uint64_t end = rt_now();
        h->settle += HUGE_PAGE;
        h->settle_from = end + SETTLE_PAUSE * (end - begin);
        return;
    }
    madvise(h->settle, (size_t)(h->settle_end - h->settle), MADV_HUGEPAGE); /* older: the system does it in time, or not */
    h->settle = h->settle_end;
#else
    (void)h;
#endif
}

static bool heap_grow(rt_heap *h, size_t size)
{
    if (h->fixed || size > PTRDIFF_MAX - OVERHEAD) return false;
    if (h->held > 2 * h->live + BIG_CHUNK) rt_heap_trim(h);
    size_t want = size + OVERHEAD;
    if (want < SMALL_CHUNK)
        want = h->held < SMALL_CHUNK ? SMALL_CHUNK : h->held > BIG_CHUNK ? BIG_CHUNK : rt_round(h->held);
    rt_chunk *c = chunk_alloc(h, want);
    if (!c && want > size + OVERHEAD) c = chunk_alloc(h, want = size + OVERHEAD);
    if (!c) {
        rt_heap_trim(h);
        c = chunk_alloc(h, want);
    }
    if (!c) return false;
    chunk_add(h, c, want);
    return true;
}

bool rt_heap_reserve(rt_heap *h, size_t bytes) { return block_find(h, bytes) || heap_grow(h, bytes); }

void rt_heap_init(rt_heap *h) { memset(h, 0, sizeof *h); }

void rt_heap_init_fixed(rt_heap *h, void *mem, size_t bytes)
{
    memset(h, 0, sizeof *h);
    h->fixed = true;
    size_t skip = (RT_ALIGN - (uintptr_t)mem % RT_ALIGN) % RT_ALIGN;
    if (bytes < skip) return;
    size_t size = (bytes - skip) & ~(size_t)(RT_ALIGN - 1);
    if (size >= OVERHEAD + 2 * RT_ALIGN) chunk_add(h, (rt_chunk *)((char *)mem + skip), size);
}

size_t rt_heap_fixed_cost(void) { return OVERHEAD + RT_ALIGN; }

size_t rt_heap_cost(size_t bytes)
{
    if (bytes > PTRDIFF_MAX - 4 * RT_ALIGN) return PTRDIFF_MAX;
    return rt_round(bytes ? bytes : 1) + sizeof(rt_block);
}

void *rt_heap_alloc(rt_heap *h, size_t bytes, size_t *capacity)
{
    size_t size = rt_heap_cost(bytes);
    if (size == PTRDIFF_MAX) return NULL;
    rt_block *b = block_find(h, size);
    if (!b) {
        if (!heap_grow(h, size)) return NULL;
        b = block_find(h, size);
    }
    list_remove(h, b);
    if (b->size - size >= 2 * RT_ALIGN) {
        rt_block *rest = block_at(b, size);
        rest->size = b->size - size;
        rest->before = size;
        block_next(rest)->before = rest->size;
        b->size = size;
        list_add(h, rest);
    }
    b->used = 1;
    h->live += b->size;
    if (capacity) *capacity = b->size - sizeof *b;
    return b + 1;
}

void rt_heap_free(rt_heap *h, void *p)
{
    if (!p) return;
    rt_block *b = (rt_block *)p - 1;
    h->live -= b->size;
    rt_block *n = block_next(b);
    if (!n->used) {
        list_remove(h, n);
        b->size += n->size;
    }
    if (b->before) {
        rt_block *f = block_at(b, 0 - b->before);
        if (!f->used) {
            list_remove(h, f);
            f->size += b->size;
            b = f;
        }
    }
    block_next(b)->before = b->size;
    list_add(h, b);
}

void rt_heap_destroy(rt_heap *h)
{
    if (!h->fixed)
        for (rt_chunk *c = h->chunk, *n; c; c = n) {
            n = c->next;
            chunk_free(h, c);
        }
    memset(h, 0, sizeof *h);
}

bool rt_heap_owns(const rt_heap *h, const void *p)
{
    for (const rt_chunk *c = h->chunk; c; c = c->next)
        if ((uintptr_t)p - (uintptr_t)c < c->size) return true;
    return false;
}

bool rt_given(const rt_heap *h, const bmc_value *v, const void *memory)
{
    return memory && !(v->flags & BMC_LENT) && !rt_heap_owns(h, memory);
}

#ifdef MADV_POPULATE_WRITE
enum { FEW_BYTES = 32 << 10, HUGE_NS = 1000000 };

static size_t page_size(void)
{
#if defined(__x86_64__)
    return 4096;
#else
    return (size_t)sysconf(_SC_PAGESIZE);
#endif
}

static long minor_faults(void)
{
    struct rusage u;
    return getrusage(RUSAGE_THREAD, &u) ? LONG_MAX : u.ru_minflt;
}

/* Huge pages for a large range, each a third to a seventh of the time that its ordinary ones would take, as long as the
 * system has them at hand: the first that it has to make, or does not give, ends it. The last one may reach behind `end`,
 * not behind `most`. Those that came, with a single fault each, need not be collapsed. Returns where ordinary ones begin. */
static char *huge_present(rt_heap *h, char *from, char *end, const char *most)
{
    char *p = (char *)(((uintptr_t)from + HUGE_PAGE - 1) & ~(HUGE_PAGE - 1));
    if (end - p < (ptrdiff_t)HUGE_FROM || most - p < (ptrdiff_t)HUGE_PAGE) return from;
    if (p > from) madvise(from, (size_t)(p - from), MADV_POPULATE_WRITE);
    for (bool quick = true; quick && end - p >= (ptrdiff_t)HUGE_FROM && most - p >= (ptrdiff_t)HUGE_PAGE; p += HUGE_PAGE) {
        uint64_t begin = rt_now();
        long faults = minor_faults();
        madvise(p, HUGE_PAGE, MADV_HUGEPAGE);
        if (madvise(p, HUGE_PAGE, MADV_POPULATE_WRITE)) return p;
        faults = minor_faults() - faults; /* 0: the memory was there already, in whatever pages */
        if (faults > 1) return p;
        if (faults == 1 && h->settle == p && p < h->settle_end) h->settle += HUGE_PAGE;
        quick = rt_now() - begin < HUGE_NS;
    }
    return p;
}
#endif

/* Much of a fault is not the page but the way to it, which few faults do not save: the call costs what some of them do. */
void rt_mem_present(rt_heap *h, rt_mem *m, size_t bytes)
{
#ifdef MADV_POPULATE_WRITE
    if (bytes <= m->present || h->fixed) return;
    uintptr_t from_byte = (uintptr_t)m->data + m->present, page = page_size();
    bool few = bytes - m->present <= FEW_BYTES;
    m->present = bytes;
    if (few) return;
    char *from = (char *)(from_byte & ~(page - 1)), *end = (char *)(((uintptr_t)m->data + bytes + page - 1) & ~(page - 1));
    from = huge_present(h, from, end, (char *)m->data + m->bytes);
    if (from < end) madvise(from, (size_t)(end - from), MADV_POPULATE_WRITE);
#else
    (void)h, (void)m, (void)bytes;
#endif
}

bool rt_mem_ensure(rt_heap *h, rt_mem *m, size_t bytes)
{
    if (m->data && m->bytes >= bytes) return true;
    rt_mem_free(h, m); /* none of it is known to be present */
    m->data = rt_heap_alloc(h, bytes, &m->bytes);
    return m->data != NULL;
}

bool rt_arena_ensure(rt_heap *h, rt_mem *m, size_t bytes, size_t beside)
{
    if (m->data && m->bytes >= bytes) return true;
    size_t end = bytes % HUGE_PAGE, whole = h->fixed || end < HUGE_FROM ? bytes : bytes - end + HUGE_PAGE, cost = rt_heap_cost(whole);
    rt_mem_free(h, m);
    if (!h->fixed && beside <= PTRDIFF_MAX - cost) rt_heap_reserve(h, cost + beside);
    return rt_mem_ensure(h, m, whole) || rt_mem_ensure(h, m, bytes);
}

void rt_mem_free(rt_heap *h, rt_mem *m)
{
    rt_heap_free(h, m->data);
    *m = (rt_mem){0};
}
