/* rt_context: sizes, create, reset, destroy. The context is one block whose layout is carved twice: once to count, once
 * to place. With memory of the caller the rest of it becomes the heap, and malloc is never called. */
#include "runtime/rt_cpu.h"
#include "runtime/rt_internal.h"
#include <stdlib.h>
#include <string.h>

/* Arenas up to this size are fetched by create, so that runs of static and bounded models allocate nothing. */
#define EAGER_ARENA ((size_t)256 << 20)
/* Up to this size their pages are there, too, when the first run begins: 0.05 to 0.1 ms of create at most. */
#define PRESENT_ARENA ((size_t)512 << 10)

typedef struct Counts {
    uint32_t n_sym, n_slot, n_in, n_out;
    int nt;
} Counts;
typedef struct Carve {
    char *base;
    size_t at;
} Carve;

static void *carve(Carve *c, size_t n, size_t each)
{
    size_t at = c->at;
    c->at += rt_round(n * each); /* counts are 32 bits, elements below 1 KB: no overflow */
    return c->base ? c->base + at : NULL;
}

/* Places a context with its arrays, all zero, in c->base; NULL there: only counts. */
static bmc_ctx *context_place(Carve *c, const Counts *n)
{
    bmc_ctx ctx = {0}, *x = carve(c, 1, sizeof ctx);
    rt_private *p = carve(c, 1, sizeof *p);
    ctx.rt = p;
    ctx.thread = carve(c, (size_t)n->nt, sizeof *ctx.thread);
    rt_inbox *inbox = carve(c, (size_t)n->nt, sizeof *inbox);
    rt_share *share = carve(c, (size_t)n->nt, sizeof *share);
    ctx.sym = carve(c, n->n_sym, sizeof *ctx.sym);
    ctx.slot = carve(c, n->n_slot, sizeof *ctx.slot);
    uint8_t *tag = carve(c, n->n_slot, sizeof *tag);
    size_t *cap = carve(c, n->n_slot, sizeof *cap);
    rt_mem *in_copy = carve(c, n->n_in, sizeof *in_copy), *state = carve(c, n->n_in, sizeof *state);
    int64_t(*state_dim)[BMC_MAX_RANK] = carve(c, n->n_in, sizeof *state_dim);
    rt_mem *out_mem = carve(c, n->n_out, sizeof *out_mem);
    size_t *out_bytes = carve(c, n->n_out, sizeof *out_bytes);
    int64_t(*out_stride)[BMC_MAX_RANK] = carve(c, n->n_out, sizeof *out_stride);
    uint8_t *out_given = carve(c, n->n_out, sizeof *out_given);
    bmc_value *memo = carve(c, (size_t)n->n_in + 2 * (size_t)n->n_out, sizeof *memo);
    rt_range *range = carve(c, (size_t)n->n_in + n->n_out, sizeof *range);
    if (!c->base) return NULL;
    memset(c->base, 0, c->at);
    *x = ctx;
    p->inbox = inbox;
    p->share = share;
    p->tag = tag;
    p->cap = cap;
    p->in_copy = in_copy;
    p->state = state;
    p->state_dim = state_dim;
    p->out_mem = out_mem;
    p->out_bytes = out_bytes;
    p->out_stride = out_stride;
    p->out_given = out_given;
    p->memo_in = memo;
    p->memo_out = memo + n->n_in;
    p->memo_done = memo + n->n_in + n->n_out;
    p->range = range;
    p->n_sym = n->n_sym;
    p->n_slot = n->n_slot;
    p->nt = n->nt;
    for (uint32_t i = 0; i < n->n_in; i++) state_dim[i][0] = -1;
    atomic_flag_clear(&p->busy);
    return x;
}

static size_t context_bytes(const Counts *n)
{
    Carve c = {NULL, 0};
    context_place(&c, n);
    return c.at;
}

static Counts counts_of(const rt_desc *d, int nt)
{
    return (Counts){d->n_sym, d->n_slot, d->info->n_input, d->info->n_output, nt};
}

/* A block from malloc, or at the start of `mem`, whose rest becomes the heap. */
static bmc_ctx *context_new(const Counts *n, void *mem, size_t bytes, size_t *need)
{
    size_t size = *need = context_bytes(n);
    Carve c = {NULL, 0};
    if (mem) {
        size_t skip = (RT_ALIGN - (uintptr_t)mem % RT_ALIGN) % RT_ALIGN;
        *need += skip;
        if (bytes < *need) return NULL;
        c.base = (char *)mem + skip;
        bmc_ctx *x = context_place(&c, n);
        rt_heap_init_fixed(&x->rt->heap, c.base + size, bytes - skip - size);
        return x;
    }
    c.base = aligned_alloc(RT_ALIGN, size);
    if (!c.base) return NULL;
    bmc_ctx *x = context_place(&c, n);
    x->rt->block = c.base;
    rt_heap_init(&x->rt->heap);
    return x;
}

bmc_status rt_plan_for(rt_private *p, const rt_desc *d, int64_t *sym, const int64_t *value, rt_need *need)
{
    memset(sym, 0, d->n_sym * sizeof *sym);
    for (uint32_t i = 0; i < d->info->n_symbol; i++) {
        const bmc_symbol *s = &d->info->symbol[i];
        int64_t v = value ? value[i] : s->hi;
        if (!value && s->input >= 0 && v == INT64_MAX)
            return rt_say(p, BMC_E_ARG, "symbol '%s' has no upper bound", s->name);
        if (value && s->input >= 0 && (v < s->lo || v > s->hi))
            return rt_say(p, BMC_E_ARG, "symbol '%s' is %lld, allowed are %lld..%lld", s->name, (long long)v,
                          (long long)s->lo, (long long)s->hi);
        sym[d->sym_of_entry[i]] = v;
    }
    memset(need, 0, sizeof *need);
    d->plan(sym, need);
    if (need->failed_check && value) {
        uint32_t m = (uint32_t)need->failed_check - 1;
        return rt_say_check(p, m < d->n_message ? d->message[m] : "shapes do not fit", need->got, need->want);
    }
    return BMC_OK;
}

/* Whether every size of an input has an upper bound: asked before planning for them, which would say what is missing. */
static bool symbols_bounded(const rt_desc *d)
{
    for (uint32_t i = 0; i < d->info->n_symbol; i++)
        if (d->info->symbol[i].input >= 0 && d->info->symbol[i].hi == INT64_MAX) return false;
    return true;
}

bool rt_need_bytes(const rt_need *n, int nt, size_t *arena, size_t *scratch, size_t *total)
{
    const int64_t most = PTRDIFF_MAX / 4;
    int64_t all;
    if (n->arena < 0 || n->scratch < 0 || n->arena > most || n->scratch > most) return false;
    *arena = rt_round((size_t)n->arena);
    *scratch = rt_round((size_t)n->scratch);
    if (__builtin_mul_overflow((int64_t)*scratch, (int64_t)nt, &all) || all > most) return false;
    *total = *arena + (size_t)all;
    return true;
}

static int threads_for(const rt_desc *d, int asked)
{
    if (!(d->flags & RT_THREADED)) return 1;
    int nt = asked > 0 ? asked : rt_default_threads();
    return nt < RT_MAX_THREADS ? nt : RT_MAX_THREADS;
}

static size_t add(size_t a, size_t b) { return a > PTRDIFF_MAX - b ? PTRDIFF_MAX : a + b; }

/* What the planned outputs take from the heap, in case the caller leaves them to the runtime; kept state is among them. */
static size_t outputs_cost(const rt_desc *d, const int64_t *sym)
{
    size_t all = 0;
    for (uint32_t o = 0; o < d->info->n_output; o++) {
        const bmc_port *port = &d->info->output[o];
        int64_t dim[BMC_MAX_RANK] = {0};
        size_t bytes;
        if (port->kind != BMC_TENSOR || !d->out_planned[o] || port->rank > BMC_MAX_RANK) continue;
        d->out_dims(sym, o, dim);
        all = add(all, rt_port_bytes(port, port->rank, dim, NULL, &bytes) ? rt_heap_cost(bytes) : PTRDIFF_MAX);
    }
    return all;
}

bmc_status rt_sizes(const rt_desc *d, const int64_t *value, int threads, bmc_sizes *z)
{
    int64_t few[256], *sym = few;
    rt_need need;
    if (!z || threads < 0)
        return rt_say(NULL, BMC_E_ARG, "sizes: %s", z ? "threads is negative" : "no place for the result");
    *z = (bmc_sizes){0};
    if (d->n_sym > sizeof few / sizeof *few && !(sym = malloc(d->n_sym * sizeof *sym)))
        return rt_say(NULL, BMC_E_MEMORY, "out of memory");
    int nt = threads_for(d, threads);
    bmc_status s = rt_plan_for(NULL, d, sym, value, &need);
    size_t all = 0;
    if (!s && !rt_need_bytes(&need, nt, &z->arena, &z->scratch_per_thread, &all))
        s = rt_say(NULL, BMC_E_MEMORY, "the model needs more memory than there can be for these sizes");
    Counts n = counts_of(d, nt);
    z->total = add(add(context_bytes(&n), RT_ALIGN), add(rt_heap_fixed_cost(), rt_heap_cost(all)));
    if (!s) z->total = add(z->total, outputs_cost(d, sym));
    if (!s && z->total == PTRDIFF_MAX)
        s = rt_say(NULL, BMC_E_MEMORY, "the model needs more memory than there can be for these sizes");
    if (sym != few) free(sym);
    return s;
}

static bmc_status create_check(const rt_desc *d, const bmc_config *config, bmc_config *c, bmc_ctx **out)
{
    char missing[512];
    if (!out) return rt_say(NULL, BMC_E_ARG, "create: no place for the context");
    *out = NULL;
    if (d->abi != BMC_ABI) return rt_say(NULL, BMC_E_ARG, "the model has ABI %u, this runtime %u", d->abi, BMC_ABI);
    memset(c, 0, sizeof *c);
    if (config) {
        if (config->size < offsetof(bmc_config, weights))
            return rt_say(NULL, BMC_E_ARG, "config.size is %u, set it to sizeof(bmc_config)", config->size);
        memcpy(c, config, config->size < sizeof *c ? config->size : sizeof *c);
    }
    for (uint32_t o = 0; o < d->info->n_output; o++)
        if (d->info->output[o].kind == BMC_TENSOR && !d->out_boxed[o] && !d->out_planned[o])
            return rt_say(NULL, BMC_E_ARG, "output '%s': neither planned nor boxed", d->info->output[o].name);
    if (c->threads < 0) return rt_say(NULL, BMC_E_ARG, "config.threads is %d", c->threads);
    if (!rt_cpu_check(d->cpu_need, missing, sizeof missing))
        return rt_say(NULL, BMC_E_CPU,
                      "model '%s' was compiled for %s; missing here: %s. Compile it with another --cpu", d->info->name,
                      d->info->cpu ? d->info->cpu : "another CPU", missing);
    if ((d->flags & RT_TILES) && !rt_cpu_ask_tiles())
        return rt_say(NULL, BMC_E_CPU,
                      "model '%s' was compiled for %s and uses its matrix registers (AMX): this CPU has none, or the "
                      "system does not give them. Compile it with another --cpu, or without --math=bf16",
                      d->info->name, d->info->cpu ? d->info->cpu : "another CPU");
    return BMC_OK;
}

bmc_status rt_create(const rt_desc *d, const bmc_config *config, void *mem, size_t bytes, bmc_ctx **out)
{
    bmc_config c;
    bmc_status s = create_check(d, config, &c, out);
    if (s) return s;
    rt_private probe = {.team = c.team};
    Counts n = counts_of(d, rt_team_exists(&probe) ? threads_for(d, c.threads) : 1);
    size_t need;
    bmc_ctx *x = context_new(&n, mem, bytes, &need);
    if (!x)
        return rt_say(NULL, BMC_E_MEMORY,
                      mem ? "mem has %zu bytes, the context alone needs %zu (see sizes)"
                          : "out of memory: %zu of %zu bytes for the context",
                      mem ? bytes : need, need);
    rt_private *p = x->rt;
    p->desc = d;
    p->team = c.team;
    p->pool = c.pool;
    p->all_threads = c.all_threads;
    p->flush = (d->flags & RT_FLUSH_DENORMALS) && !c.keep_denormals;
    x->seed = c.seed;
    if ((s = rt_weights_find(x, &c))) {
        rt_destroy(x);
        return s;
    }
    rt_need run;
    size_t arena, scratch, all;
    bool fixed_size = d->info->n_symbol == 0;
    if ((!mem || fixed_size) && symbols_bounded(d) && rt_plan_for(NULL, d, x->sym, NULL, &run) == BMC_OK &&
        rt_need_bytes(&run, n.nt, &arena, &scratch, &all) && (fixed_size || all <= EAGER_ARENA)) {
        if (!rt_arena_ensure(&p->heap, &p->arena, all, fixed_size ? outputs_cost(d, x->sym) : 0) && fixed_size) {
            s = rt_say(NULL, BMC_E_MEMORY, "out of memory: %zu bytes for the arena%s", all,
                       mem ? " do not fit into mem (see sizes)" : "");
            rt_destroy(x);
            return s;
        }
        if (p->arena.data && all <= PRESENT_ARENA) rt_mem_present(&p->heap, &p->arena, arena + scratch);
    }
    *out = x;
    return BMC_OK;
}

bmc_status rt_reset(bmc_ctx *x)
{
    if (!x) return BMC_E_ARG;
    rt_private *p = x->rt;
    if (atomic_flag_test_and_set(&p->busy)) return BMC_E_ARG;
    p->message[0] = 0;
    p->memo = false;
    rt_slots_clear(x);
    rt_texts_free(p);
    rt_mem_free(&p->heap, &p->room);
    for (uint32_t o = 0; o < p->desc->info->n_output; o++) rt_mem_free(&p->heap, &p->out_mem[o]);
    for (uint32_t i = 0; i < p->desc->info->n_input; i++) {
        rt_mem_free(&p->heap, &p->in_copy[i]);
        p->state_dim[i][0] = -1; /* zeroed when it is next used */
    }
    x->draws = 0;
    rt_heap_trim(&p->heap);
    atomic_flag_clear(&p->busy);
    return BMC_OK;
}

void rt_destroy(bmc_ctx *x)
{
    if (!x) return;
    rt_private *p = x->rt;
    void *block = p->block;
    rt_weights_release(p);
    rt_heap_destroy(&p->heap);
    free(block); /* holds x and p; NULL when the caller gave the memory */
}

bmc_ctx *rt_interp_create(uint32_t n_sym, uint32_t n_slot)
{
    Counts n = {n_sym, n_slot, 0, 0, 1};
    size_t need;
    return context_new(&n, NULL, 0, &need);
}

void rt_interp_destroy(bmc_ctx *x) { rt_destroy(x); }
