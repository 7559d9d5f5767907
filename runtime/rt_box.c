/* rt_box: slots. A slot holds the address of a buffer that has no place in the arena: memory that the caller or the
 * context lends for the run, a box (memory from the heap, sized while running) or a sequence. All of it is touched by
 * thread 0 only. And rt_room: scratch of the threads that only the run knows the size of. */
#include "runtime/rt_internal.h"
#include <string.h>

static void slot_free(bmc_ctx *x, uint32_t slot)
{
    rt_private *p = x->rt;
    if (p->tag[slot] == SLOT_BOX) rt_heap_free(&p->heap, x->slot[slot]);
    if (p->tag[slot] == SLOT_SEQ) rt_seq_free(p, x->slot[slot]);
    p->tag[slot] = SLOT_EMPTY;
    p->cap[slot] = 0;
    x->slot[slot] = NULL;
}

void rt_slots_clear(bmc_ctx *x)
{
    for (uint32_t s = 0; s < x->rt->n_slot; s++) slot_free(x, s);
}

enum { KEPT_BYTES = 64 << 10 }; /* what is larger takes longer to fill than to make */

void rt_slots_rewind(bmc_ctx *x)
{
    rt_private *p = x->rt;
    for (uint32_t s = 0; s < p->n_slot; s++) {
        bool kept = p->tag[s] == SLOT_LENT || (p->tag[s] == SLOT_BOX && p->cap[s] <= KEPT_BYTES && !p->heap.fixed);
        if (!kept) slot_free(x, s);
    }
}

void rt_slot_lend(bmc_ctx *x, uint32_t slot, void *data)
{
    slot_free(x, slot);
    x->rt->tag[slot] = SLOT_LENT;
    x->slot[slot] = data;
}

void rt_slot_offer(bmc_ctx *x, uint32_t slot, void *data, size_t bytes)
{
    rt_slot_lend(x, slot, data);
    x->rt->tag[slot] = SLOT_OFFERED;
    x->rt->cap[slot] = bytes;
}

int32_t rt_box_alloc(bmc_ctx *x, uint32_t slot, int64_t bytes, int32_t keep)
{
    rt_private *p = x->rt;
    bool fits = bytes >= 0 && p->cap[slot] >= (uint64_t)bytes;
    if (p->tag[slot] == SLOT_OFFERED && fits) p->tag[slot] = SLOT_TAKEN;
    bool made = p->tag[slot] == SLOT_BOX || p->tag[slot] == SLOT_TAKEN;
    if (made && fits) return 1;
    size_t cap = 0;
    if (!keep || !made) slot_free(x, slot);
    void *data = bytes >= 0 ? rt_heap_alloc(&p->heap, (size_t)bytes, &cap) : NULL;
    if (!data) {
        rt_detail(x, bytes < 0 ? "a tensor is larger than any memory" : "%lld bytes for a tensor", (long long)bytes);
        return 0;
    }
    if (keep && made) {
        memcpy(data, x->slot[slot], p->cap[slot]);
        slot_free(x, slot);
    }
    x->slot[slot] = data;
    p->tag[slot] = SLOT_BOX;
    p->cap[slot] = cap;
    return 1;
}

static bool room_make(bmc_ctx *x, int32_t nt, int64_t bytes)
{
    rt_private *p = x->rt;
    size_t all, each = bytes < 0 ? 0 : rt_round((size_t)bytes);
    if (bytes < 0 || __builtin_mul_overflow(each, (size_t)nt, &all) || !rt_mem_ensure(&p->heap, &p->room, all)) {
        rt_detail(x, bytes < 0 ? "more than any memory" : "%lld bytes for each of %d threads", (long long)bytes, (int)nt);
        return false;
    }
    for (int32_t t = 0; t < nt; t++) x->thread[t].scratch = (uint8_t *)p->room.data + (size_t)t * each;
    p->room_each = each;
    return true;
}

int32_t rt_room(bmc_ctx *x, int32_t tid, int32_t nt, int64_t bytes, uint32_t step)
{
    if (bytes >= 0 && (uint64_t)bytes <= x->rt->room_each) return BMC_OK;
    int32_t s = rt_barrier(x, tid, nt); /* nobody is in a kernel that uses the scratch that there is */
    if (s) return s;
    if (!tid && !room_make(x, nt, bytes)) rt_fail(x, 0, step, RT_NO_MESSAGE, BMC_E_MEMORY, 0, 0);
    return rt_barrier(x, tid, nt);
}

void rt_box_free(bmc_ctx *x, uint32_t slot) { slot_free(x, slot); }

void rt_box_move(bmc_ctx *x, uint32_t dst, uint32_t src)
{
    rt_private *p = x->rt;
    if (dst == src) return;
    slot_free(x, dst);
    x->slot[dst] = x->slot[src];
    p->tag[dst] = p->tag[src];
    p->cap[dst] = p->cap[src];
    x->slot[src] = NULL;
    p->tag[src] = SLOT_EMPTY;
    p->cap[src] = 0;
}
