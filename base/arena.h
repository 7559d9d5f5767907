/* arena.h: memory by lifetime. An arena is a chain of blocks that dies as a whole; nothing in it is freed alone.
 * Lifetimes are named at the call: the whole compile (`c->arena`), one pass (`pass->arena`), one kernel (`k->arena`).
 * When the system has no more memory, the arena's OutOfMemory handler runs (it must not return); without one the process
 * prints a line and exits with status 3. With the environment BMC_ARENA=malloc every object is a malloc of its own, so that memory
 * checkers see each bound; under ASan a reset poisons what it gives back. */
#ifndef BMC_BASE_ARENA_H
#define BMC_BASE_ARENA_H
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct OutOfMemory { void (*fail)(struct OutOfMemory *, const char *lifetime, size_t bytes); } OutOfMemory;

typedef struct ArenaBlock ArenaBlock;
typedef struct Arena {
    const char *lifetime; /* for messages: "compile", "pass", "kernel" */
    OutOfMemory *oom;     /* NULL: print and exit 3 */
    ArenaBlock *block;    /* newest block first */
    char *next, *end;     /* free room in `block` */
    size_t total;         /* bytes handed out */
    bool each;            /* BMC_ARENA=malloc */
} Arena;

void arena_init(Arena *, const char *lifetime, OutOfMemory *oom);
void *arena_alloc(Arena *, size_t bytes);                   /* zeroed, aligned to 16; bytes may be 0 */
void *arena_alloc_n(Arena *, size_t size, size_t n);        /* n objects of `size`; a product beyond size_t is out of memory */
void *arena_grow(Arena *, void *old, size_t old_bytes, size_t new_bytes); /* moves when needed; the new part is zeroed */
char *arena_strdup(Arena *, const char *);
char *arena_strndup(Arena *, const char *, size_t n);       /* n bytes and a final NUL */
char *arena_printf(Arena *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char *arena_vprintf(Arena *, const char *fmt, va_list);
void *arena_memdup(Arena *, const void *, size_t);
void arena_reset(Arena *);                                  /* everything dies, the arena can be used again */
void arena_free(Arena *);                                   /* everything dies */

#define arena_new(a, T) ((T *)arena_alloc((a), sizeof(T)))
#define arena_array(a, T, n) ((T *)arena_alloc_n((a), sizeof(T), (size_t)(n)))

#endif
