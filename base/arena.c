/* arena.c: blocks from calloc, filled from the front. Invariant: the free room of the current block is all zero, so
 * that handing out memory costs no memset; a reset clears what was used in the one block that it keeps. Objects larger
 * than a quarter of a block get a block of their own, linked behind the current one, so that its free room is not
 * lost.
 * Under ASan the free room is poisoned and objects are kept apart by a red zone; with BMC_ARENA=malloc each object is
 * a block. */
#include "base/arena.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define ARENA_ASAN 1
#endif
#ifdef ARENA_ASAN
#include <sanitizer/asan_interface.h>
#define RED_ZONE 16
#else
#define ASAN_POISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define ASAN_UNPOISON_MEMORY_REGION(p, n) ((void)(p), (void)(n))
#define RED_ZONE 0
#endif

#define ALIGN 16u
#define BLOCK_FIRST                                                                                                    \
    16384u /* doubles with each block up to BLOCK_LAST: kernels' arenas stay small, a large model takes few blocks */
#define BLOCK_LAST (1u << 20)

struct ArenaBlock {
    ArenaBlock *older;
    size_t room;
};
_Static_assert(sizeof(ArenaBlock) % ALIGN == 0, "objects start behind the block's head");

static char *block_start(ArenaBlock *b) { return (char *)(b + 1); }
static size_t round_up(size_t n) { return (n + ALIGN - 1) & ~(size_t)(ALIGN - 1); }

static _Noreturn void out_of_memory(Arena *a, size_t bytes)
{
    const char *lifetime = a->lifetime ? a->lifetime : "unnamed";
    if (a->oom) a->oom->fail(a->oom, lifetime, bytes);
    fprintf(stderr, "out of memory: %zu bytes more for the %s arena, which holds %zu\n", bytes, lifetime, a->total);
    exit(3);
}

static ArenaBlock *block_new(Arena *a, size_t room)
{
    ArenaBlock *b = room > PTRDIFF_MAX - sizeof *b ? NULL : calloc(1, sizeof *b + room);
    if (!b) out_of_memory(a, room);
    b->room = room;
    return b;
}

void arena_init(Arena *a, const char *lifetime, OutOfMemory *oom)
{
    const char *mode = getenv("BMC_ARENA");
    *a = (Arena){.lifetime = lifetime, .oom = oom, .each = mode && strcmp(mode, "malloc") == 0};
}

/* Puts a block behind the current one (or makes it current, full, when there is none). */
static void *alone(Arena *a, size_t bytes)
{
    ArenaBlock *b = block_new(a, bytes);
    if (a->block) {
        b->older = a->block->older;
        a->block->older = b;
    } else {
        a->block = b;
        a->next = a->end = block_start(b) + bytes;
    }
    return block_start(b);
}

void *arena_alloc(Arena *a, size_t bytes)
{
    if (bytes > PTRDIFF_MAX - BLOCK_LAST) out_of_memory(a, bytes);
    a->total += bytes;
    if (a->each) return alone(a, bytes);
    size_t need = round_up(bytes + (bytes == 0)) + RED_ZONE; /* distinct objects have distinct addresses */
    if (need > (size_t)(a->end - a->next)) {
        if (need > BLOCK_LAST / 4) return alone(a, bytes);
        size_t room = a->block ? a->block->room * 2 : BLOCK_FIRST;
        if (room > BLOCK_LAST) room = BLOCK_LAST;
        while (room < need) room *= 2;
        ArenaBlock *b = block_new(a, room);
        b->older = a->block;
        a->block = b;
        a->next = block_start(b);
        a->end = a->next + room;
        ASAN_POISON_MEMORY_REGION(a->next, room);
    }
    void *p = a->next;
    a->next += need;
    ASAN_UNPOISON_MEMORY_REGION(p, bytes);
    return p;
}

void *arena_alloc_n(Arena *a, size_t size, size_t n)
{
    size_t bytes;
    if (__builtin_mul_overflow(size, n, &bytes)) out_of_memory(a, SIZE_MAX);
    return arena_alloc(a, bytes);
}

void *arena_grow(Arena *a, void *old, size_t old_bytes, size_t new_bytes)
{
    assert(new_bytes >= old_bytes);
    if (old && old_bytes && !a->each && new_bytes < PTRDIFF_MAX - BLOCK_LAST) {
        size_t had = round_up(old_bytes) + RED_ZONE, need = round_up(new_bytes) + RED_ZONE;
        if ((char *)old + had == a->next &&
            need - had <= (size_t)(a->end - a->next)) { /* the newest object grows in place */
            a->next += need - had;
            a->total += new_bytes - old_bytes;
            ASAN_UNPOISON_MEMORY_REGION(old, new_bytes);
            return old;
        }
    }
    void *p = arena_alloc(a, new_bytes);
    if (old_bytes) memcpy(p, old, old_bytes);
    return p;
}

char *arena_strndup(Arena *a, const char *s, size_t n)
{
    char *p = arena_alloc_n(a, 1, n + 1);
    if (n) memcpy(p, s, n);
    return p;
}

char *arena_strdup(Arena *a, const char *s) { return arena_strndup(a, s, strlen(s)); }

void *arena_memdup(Arena *a, const void *s, size_t n)
{
    void *p = arena_alloc(a, n);
    if (n) memcpy(p, s, n);
    return p;
}

char *arena_vprintf(Arena *a, const char *fmt, va_list ap)
{
    char small[256];
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(small, sizeof small, fmt, ap);
    assert(n >= 0);
    char *p = arena_alloc(a, (size_t)n + 1);
    if ((size_t)n < sizeof small) memcpy(p, small, (size_t)n);
    else vsnprintf(p, (size_t)n + 1, fmt, again);
    va_end(again);
    return p;
}

char *arena_printf(Arena *a, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *p = arena_vprintf(a, fmt, ap);
    va_end(ap);
    return p;
}

static void blocks_free(ArenaBlock *b)
{
    while (b) {
        ArenaBlock *older = b->older;
        ASAN_UNPOISON_MEMORY_REGION(block_start(b), b->room);
        free(b);
        b = older;
    }
}

void arena_reset(Arena *a)
{
    ArenaBlock *b = a->block;
    a->total = 0;
    if (!b) return;
    if (a->each || b->room > BLOCK_LAST) {
        arena_free(a);
        return;
    }
    blocks_free(b->older);
    b->older = NULL;
    char *start = block_start(b);
    ASAN_UNPOISON_MEMORY_REGION(start, b->room);
    memset(start, 0, (size_t)(a->next - start));
    a->next = start;
    a->end = start + b->room;
    ASAN_POISON_MEMORY_REGION(start, b->room);
}

void arena_free(Arena *a)
{
    blocks_free(a->block);
    a->block = NULL;
    a->next = a->end = NULL;
    a->total = 0;
}
