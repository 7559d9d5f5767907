/* rt_run: one run of a model, as rt.h tells it. Nothing of the caller's is written before everything has been checked;
 * outputs whose dims depend on data are handed over afterwards. A call that says the same as the one before, bit for
 * bit but for the places of inputs, needs no second check: its plan, memory and slots are still right (`memo`). */
#include "runtime/rt_internal.h"
#include <string.h>

/* ---- floating-point environment ----
 * Round to nearest, nothing traps, denormals flushed unless the model or the caller keeps them. */
#if defined(__x86_64__)
typedef uint32_t FpState;
static inline FpState fp_enter(bool flush)
{
    FpState old = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(0x1f80u | (flush ? 0x8040u : 0)); /* FTZ and DAZ */
    return old;
}
static inline void fp_leave(FpState s) { __builtin_ia32_ldmxcsr(s); }
#elif defined(__aarch64__)
typedef uint64_t FpState;
static inline FpState fp_enter(bool flush)
{
    FpState old;
    __asm__ volatile("mrs %0, fpcr" : "=r"(old));
    FpState own = flush ? 1u << 24 : 0; /* FZ; f16 arithmetic keeps its denormals */
    __asm__ volatile("msr fpcr, %0" ::"r"(own));
    return old;
}
static inline void fp_leave(FpState s) { __asm__ volatile("msr fpcr, %0" ::"r"(s)); }
#else
typedef int FpState;
static inline FpState fp_enter(bool flush) { return flush; }
static inline void fp_leave(FpState s) { (void)s; }
#endif

/* What each thread of the team does. */
static void thread_main(void *arg, int tid, int nt)
{
    bmc_ctx *x = arg;
    rt_private *p = x->rt;
    if (nt < 1 || nt > p->nt_use || tid < 0 || tid >= nt) return; /* a wrong team callback: noticed by `ran` */
    rt_thread *t = &x->thread[tid];
    t->err_step = 0;
    t->sense = p->gen;
    t->dealt = 0;
    t->scratch = (uint8_t *)p->arena.data + p->scratch_off + (size_t)tid * p->scratch_each;
    FpState fp = fp_enter(p->flush);
    int32_t s = p->desc->body(x, tid, nt);
    fp_leave(fp);
    t->ran = p->serial;
    if (tid == 0) {
        p->nt_run = nt;
        p->body_status = s;
    }
}

enum { RATE_BITS = 20 };

/* Asked when the first team starts: reading what the process may use takes as long as loading a small model. */
static void patience_choose(rt_private *p)
{
    int cpus = rt_usable_cpus();
    bool crowded = p->nt > cpus; /* more threads than CPUs: the late one needs this CPU */
    p->spin = crowded ? 64 : 2000;
    p->yield = crowded ? 4 : 50;
    if (p->nt_use == cpus) rt_team_ready(p, cpus);
}

static bmc_status team_run(bmc_ctx *x)
{
    rt_private *p = x->rt;
    if (p->gen > 1u << 30) { /* no flag of a thread that sat out for long may look new when the count wraps */
        memset(p->inbox, 0, (size_t)p->nt * sizeof *p->inbox);
        p->gen = 0;
    }
    x->turn = ++p->serial;
    for (int t = 0; t < p->nt; t++) atomic_store_explicit(&p->share[t].next, 0, memory_order_relaxed);
    p->nt_run = 0;
    p->body_status = 0;
    p->room_each = p->scratch_each;
    if (p->nt_plan == 1) {
        p->nt_use = 1;
        thread_main(x, 0, 1);
        if (!x->thread[0].err_step && !p->body_status) return BMC_OK;
    } else {
        rt_tune *tune = &p->tune[p->tuned];
        p->nt_use = !p->all_threads && rt_tune_alone(tune) ? 1 : p->nt_plan;
        if (!p->spin && p->nt_use > 1) patience_choose(p);
        uint64_t begin = rt_now();
        if (!rt_team(p, thread_main, x, p->nt_use))
            return rt_say(p, BMC_E_FAIL,
                          "threads need the OpenMP library and libgomp.so.1 cannot be opened: create with threads = 1, "
                          "or bring a team");
        uint64_t ns = rt_now() - begin; /* as a rate: sizes may change from run to run */
        rt_tune_ran(tune, p->work && ns < UINT64_MAX >> RATE_BITS ? (ns << RATE_BITS) / (uint64_t)p->work : ns);
    }
    int ran = 0;
    for (int t = 0; t < p->nt_use; t++) {
        if (x->thread[t].ran != p->serial) continue;
        ran++;
        if (x->thread[t].sense > p->gen) p->gen = x->thread[t].sense;
    }
    if (!p->nt_run || ran != p->nt_run)
        return rt_say(p, BMC_E_ARG, "the team ran %d threads of %d", ran, p->nt_run ? p->nt_run : p->nt_use);
    bmc_status s = rt_lowest(x, p->nt_run, true);
    if (!s && p->body_status)
        s = rt_say(p, (bmc_status)p->body_status, "the run failed with status %d", p->body_status);
    return s;
}

/* ---- outputs ---- */

static bmc_status output_check(rt_private *p, const bmc_value *out, uint32_t o)
{
    const bmc_port *port = &p->desc->info->output[o];
    const bmc_value *v = &out[o];
    if (v->size != sizeof *v)
        return rt_say(p, BMC_E_ARG, "output '%s': size is %u, set it to sizeof(bmc_value) = %zu", port->name, v->size,
                      sizeof *v);
    if (v->kind != BMC_NONE && v->kind != port->kind)
        return rt_say(p, BMC_E_INPUT, "output '%s': kind is %s, the model gives %s", port->name, rt_kind_name(v->kind),
                      rt_kind_name(port->kind));
    if (port->kind == BMC_TENSOR && v->dtype && v->dtype != port->dtype)
        return rt_say(p, BMC_E_INPUT, "output '%s': element type is %s, the model gives %s", port->name,
                      rt_dtype_name(v->dtype), rt_dtype_name(port->dtype));
    p->out_given[o] = rt_given(&p->heap, v, port->kind == BMC_TENSOR ? v->data : v->item);
    p->out_bytes[o] = 0;
    size_t align = rt_dtype_align(port->dtype);
    if (port->kind == BMC_TENSOR && p->out_given[o] && (uintptr_t)v->data % align)
        return rt_say(p, BMC_E_INPUT, "output '%s': the address of data is not a multiple of %zu", port->name, align);
    return BMC_OK;
}

/* Fills in dims and type of a tensor output; *bytes: what it needs. Where the rank is a value of the run it is one more
 * of the numbers (before the run: not known yet, all axes count), and the last axes are those that count. */
static bool output_shape(bmc_ctx *x, bmc_value *v, uint32_t o, bool ran, size_t *bytes)
{
    const rt_desc *d = x->rt->desc;
    const bmc_port *port = &d->info->output[o];
    v->kind = BMC_TENSOR;
    v->dtype = port->dtype;
    v->rank = port->rank <= BMC_MAX_RANK ? port->rank : RT_ANY_RANK;
    v->stride = NULL;
    d->out_dims(x->sym, o, v->dim);
    if (port->rank > BMC_MAX_RANK && ran) {
        v->rank = (uint8_t)v->dim[BMC_MAX_RANK - 1];
        for (int i = 0; i < v->rank; i++) v->dim[i] = v->dim[RT_ANY_RANK - v->rank + i];
    }
    return rt_dense_bytes(v->dtype, v->rank, v->dim, bytes);
}

/* Says that the buffer of one output is too small, unless an earlier one already did. */
static void say_small(rt_private *p, bmc_status *s, const char *name, const bmc_value *v, size_t capacity, size_t need)
{
    if (*s == BMC_E_CAPACITY) return;
    rt_out o = {p->message, 0, sizeof p->message};
    rt_put(&o, "output '%s': %zu bytes of memory, needs %zu: %s[", name, capacity, need, rt_dtype_name(v->dtype));
    for (int i = 0; i < v->rank; i++) rt_put(&o, "%s%lld", i ? "," : "", (long long)v->dim[i]);
    rt_put(&o, "]");
    *s = p->status = BMC_E_CAPACITY;
}

/* Planned outputs: dims and bytes are known before the run, a buffer that is too small is refused before anything
 * happens. */
static bmc_status outputs_plan(bmc_ctx *x, bmc_value *out)
{
    rt_private *p = x->rt;
    const rt_desc *d = p->desc;
    bmc_status s = BMC_OK;
    for (uint32_t o = 0; o < d->info->n_output; o++) {
        const bmc_port *port = &d->info->output[o];
        if (port->kind != BMC_TENSOR || !d->out_planned[o]) continue;
        size_t bytes, capacity = out[o].bytes;
        if (!output_shape(x, &out[o], o, false, &bytes) || !rt_port_bytes(port, out[o].rank, out[o].dim, NULL, &bytes))
            return rt_say(p, BMC_E_MEMORY, "output '%s' is larger than any memory", port->name);
        if (port->capacity && out[o].dim[port->alias_axis] > port->capacity)
            return rt_say(p, BMC_E_CAPACITY, "output '%s': %lld along axis %d, the capacity is %lld", port->name,
                          (long long)out[o].dim[port->alias_axis], port->alias_axis, (long long)port->capacity);
        p->out_bytes[o] = out[o].bytes = bytes;
        if (p->out_given[o] && capacity < bytes) say_small(p, &s, port->name, &out[o], capacity, bytes);
    }
    return s;
}

/* ---- memory and slots ---- */

static void range_add(rt_private *p, const void *data, size_t bytes, uint32_t port, bool out)
{
    if (data && bytes) p->range[p->n_range++] = (rt_range){data, (const char *)data + bytes, port, out};
}

static bmc_status no_memory(rt_private *p, size_t bytes, const char *what, const char *name)
{
    return rt_say(p, BMC_E_MEMORY, "out of memory: %zu bytes for %s '%s'", bytes, what, name);
}

/* The states that the context keeps for aliased pairs: as long as their shapes stay. */
static bmc_status states_ready(rt_private *p, const bmc_value *in, const bmc_value *out)
{
    for (uint32_t i = 0; i < p->desc->info->n_input; i++) {
        const bmc_port *port = &p->desc->info->input[i];
        size_t bytes = 0, n = port->rank * sizeof(int64_t);
        int64_t *kept = p->state_dim[i];
        if (port->kind != BMC_TENSOR || !rt_input_is_state(p, in, out, i)) continue;
        int64_t full[BMC_MAX_RANK] = {0};
        rt_port_bytes(port, in[i].rank, in[i].dim, full, &bytes);
        if (kept[0] != -1 && !memcmp(kept, full, n)) continue;
        if (kept[0] != -1)
            return rt_say(p, BMC_E_INPUT, "input '%s': the shape of the kept state cannot change before reset",
                          port->name);
        if (!rt_mem_ensure(&p->heap, &p->state[i], bytes)) return no_memory(p, bytes, "the state", port->name);
        memset(p->state[i].data, 0, bytes);
        memset(kept, 0, sizeof *p->state_dim);
        memcpy(kept, full, n);
    }
    return BMC_OK;
}

/* An aliased input and its output: one buffer, of the context, of the input or of the output. */
static bmc_status pair_bind(bmc_ctx *x, const bmc_value *in, bmc_value *out, uint32_t i, size_t bytes)
{
    rt_private *p = x->rt;
    const rt_desc *d = p->desc;
    uint32_t o = (uint32_t)d->info->input[i].alias;
    void *data = in[i].data;
    if (p->out_bytes[o] != bytes)
        return rt_say(p, BMC_E_INPUT, "input '%s' and output '%s' share memory, but need %zu and %zu bytes",
                      d->info->input[i].name, d->info->output[o].name, bytes, p->out_bytes[o]);
    if (rt_input_is_state(p, in, out, i)) {
        data = p->state[i].data;
    } else if (p->out_given[o] && out[o].data != data) {
        range_add(p, data, bytes, i, false);
        data = out[o].data;
        range_add(p, data, bytes, o, true);
    } else {
        range_add(p, data, bytes, o, true);
    }
    rt_slot_lend(x, d->in_slot[i], data ? data : x);
    rt_slot_lend(x, d->out_slot[o], data ? data : x);
    return BMC_OK;
}

static bmc_status input_bind(bmc_ctx *x, const bmc_value *in, bmc_value *out, uint32_t i)
{
    rt_private *p = x->rt;
    const bmc_port *port = &p->desc->info->input[i];
    const bmc_value *v = &in[i];
    uint32_t slot = p->desc->in_slot[i];
    size_t bytes = 0;
    if (port->kind != BMC_TENSOR) {
        if (!rt_seq_import(x, slot, v)) return no_memory(p, v->n_item * sizeof(rt_elem), "input", port->name);
        return BMC_OK;
    }
    rt_port_bytes(port, v->rank, v->dim, NULL, &bytes);
    if (port->alias >= 0) return pair_bind(x, in, out, i, bytes);
    if (v->stride && bytes && !rt_is_dense(v->rank, v->dim, v->stride)) {
        if (!rt_mem_ensure(&p->heap, &p->in_copy[i], bytes))
            return no_memory(p, bytes, "a dense copy of input", port->name);
        rt_copy_strided(p->in_copy[i].data, v->data, (size_t)rt_dtype_bits(v->dtype) / 8, v->rank, v->dim, v->stride);
        rt_slot_lend(x, slot, p->in_copy[i].data);
        return BMC_OK;
    }
    range_add(p, v->data, bytes, i, false);
    rt_slot_lend(x, slot, v->data ? v->data : x); /* no elements: any address but NULL */
    return BMC_OK;
}

/* The caller's memory for an output that is a box, unless another output that is the same box has offered its own. */
static void output_offer(bmc_ctx *x, const bmc_value *out, uint32_t o)
{
    rt_private *p = x->rt;
    uint32_t slot = p->desc->out_slot[o];
    if (p->desc->out_boxed[o] == RT_BOX_STAYS && p->out_given[o] && p->tag[slot] == SLOT_EMPTY)
        rt_slot_offer(x, slot, out[o].data, out[o].bytes);
}

static bmc_status output_bind(bmc_ctx *x, const bmc_value *out, uint32_t o)
{
    rt_private *p = x->rt;
    const rt_desc *d = p->desc;
    const bmc_port *port = &d->info->output[o];
    if (port->alias >= 0) return BMC_OK; /* bound with its input */
    if (p->out_given[o] && port->kind == BMC_TENSOR)
        range_add(p, out[o].data, d->out_planned[o] ? p->out_bytes[o] : out[o].bytes, o, true);
    output_offer(x, out, o);
    if (d->out_boxed[o] || port->kind != BMC_TENSOR) return BMC_OK;
    void *data = out[o].data;
    if (!p->out_given[o]) {
        if (!rt_mem_ensure(&p->heap, &p->out_mem[o], p->out_bytes[o]))
            return no_memory(p, p->out_bytes[o], "output", port->name);
        rt_mem_present(&p->heap, &p->out_mem[o], p->out_bytes[o]);
        data = p->out_mem[o].data;
    }
    rt_slot_lend(x, d->out_slot[o], data);
    return BMC_OK;
}

/* What the outputs that are left to the context will take from the heap. */
static size_t outputs_cost(const rt_private *p)
{
    const bmc_info *f = p->desc->info;
    size_t all = 0;
    for (uint32_t o = 0; o < f->n_output; o++) {
        if (f->output[o].alias >= 0 || p->out_given[o] || p->out_mem[o].bytes >= p->out_bytes[o]) continue;
        size_t cost = rt_heap_cost(p->out_bytes[o]);
        all = cost > PTRDIFF_MAX - all ? PTRDIFF_MAX : all + cost;
    }
    return all;
}

static bmc_status memory_ready(bmc_ctx *x, const rt_need *need)
{
    rt_private *p = x->rt;
    size_t total;
    if (!rt_need_bytes(need, p->nt, &p->scratch_off, &p->scratch_each, &total))
        return rt_say(p, BMC_E_MEMORY, "the model needs more memory than there can be for these inputs");
    if ((!p->arena.data || p->arena.bytes < total) && !rt_arena_ensure(&p->heap, &p->arena, total, outputs_cost(p)))
        return rt_say(p, BMC_E_MEMORY, "out of memory: %zu bytes for the arena (%d threads)", total, p->nt);
    rt_mem_present(&p->heap, &p->arena, p->scratch_off + p->scratch_each); /* other threads fetch their own scratch */
    x->arena = p->arena.data;
    return BMC_OK;
}

/* So many times the threads that have enough to do: then threads pay for sure. But one run of fewer cycles does not pay
 * for opening the OpenMP library and making threads, some 300 us. Work of the first class, in bits. */
enum { SURE = 6, SOON_CYCLES = 3000000, WORK_BITS = 14 };

static void tune_choose(rt_private *p, const rt_need *need)
{
    uint64_t work = need->work > 0 ? (uint64_t)need->work : 0;
    uint32_t bits = work ? 63u - (uint32_t)__builtin_clzll(work) : 0;
    p->tuned = bits < WORK_BITS ? 0 : (bits - WORK_BITS) / 2;
    if (p->tuned >= RT_TUNES) p->tuned = RT_TUNES - 1;
    p->work = need->work;
    rt_tune *t = &p->tune[p->tuned];
    bool sure = need->threads >= SURE * p->nt, soon = !p->team && !p->spin && need->work < SOON_CYCLES;
    if (!t->patience[0]) rt_tune_reset(t, !need->threads ? RT_UNKNOWN : !sure ? RT_SMALL : soon ? RT_SOON : RT_SURE);
}

/* Constants that one second cache does not hold come from behind it in every run; where those of all threads do, each
 * finds its part there. */
static int threads_choose(rt_private *p, rt_need *need)
{
    int64_t n = need->threads;
    if (!n || n >= p->nt || p->all_threads) return p->nt;
    if (need->threads_near > n && need->constants > 0) {
        if (!p->l2 && need->constants > rt_l2_told()) p->l2 = rt_l2_bytes();
        int64_t near = need->threads_near < p->nt ? need->threads_near : p->nt;
        if (p->l2 > 0 && need->constants > p->l2 && need->constants <= near * p->l2) n = near;
    }
    need->threads = n;
    return (int)n;
}

static bmc_status plan(bmc_ctx *x, rt_need *need)
{
    rt_private *p = x->rt;
    const rt_desc *d = p->desc;
    memset(need, 0, sizeof *need);
    d->plan(x->sym, need);
    p->nt_plan = threads_choose(p, need);
    tune_choose(p, need);
    if (!need->failed_check) return BMC_OK;
    uint32_t m = (uint32_t)need->failed_check - 1;
    return rt_say_check(p, m < d->n_message ? d->message[m] : "the shapes of the inputs do not fit together",
                        need->got, need->want);
}

/* Memory and slots of this run. States come first: they are what must stay when everything else is given back and
 * placed anew. */
static bmc_status run_bind(bmc_ctx *x, const rt_need *need, const bmc_value *in, bmc_value *out)
{
    rt_private *p = x->rt;
    const bmc_info *f = p->desc->info;
    bmc_status s;
    rt_slots_clear(x);
    rt_texts_free(p);
    p->n_range = 0;
    if ((s = states_ready(p, in, out)) || (s = memory_ready(x, need))) return s;
    for (uint32_t i = 0; i < f->n_input; i++)
        if ((s = input_bind(x, in, out, i))) return s;
    for (uint32_t o = 0; o < f->n_output; o++)
        if ((s = output_bind(x, out, o))) return s;
    return BMC_OK;
}

/* Gives back what earlier runs left, except states. */
static void memory_drop(rt_private *p)
{
    rt_mem_free(&p->heap, &p->arena);
    rt_mem_free(&p->heap, &p->room);
    for (uint32_t i = 0; i < p->desc->info->n_input; i++) rt_mem_free(&p->heap, &p->in_copy[i]);
    for (uint32_t o = 0; o < p->desc->info->n_output; o++) rt_mem_free(&p->heap, &p->out_mem[o]);
    rt_heap_trim(&p->heap);
}

/* What is filled of a pair's buffer into another one. */
static void pair_copy(const bmc_port *port, const int64_t *dim, void *to, const void *from, size_t bytes)
{
    size_t step = bytes, part = bytes;
    if (port->capacity) {
        for (int i = 0; i < port->alias_axis; i++) step /= dim[i] > 0 ? (size_t)dim[i] : 1;
        part = step / (size_t)port->capacity * (size_t)dim[port->alias_axis];
    }
    for (size_t at = 0; at < bytes; at += step) memcpy((char *)to + at, (const char *)from + at, part);
}

/* Everything up to the team: after this only the model itself can fail. */
static bmc_status run_prepare(bmc_ctx *x, const bmc_value *in, bmc_value *out)
{
    rt_private *p = x->rt;
    const bmc_info *f = p->desc->info;
    rt_need need;
    bmc_status s;
    if ((f->n_input && !in) || (f->n_output && !out))
        return rt_say(p, BMC_E_ARG, "run: no %s", f->n_input && !in ? "inputs" : "outputs");
    for (uint32_t o = 0; o < f->n_output; o++)
        if ((s = output_check(p, out, o))) return s;
    if (p->n_sym) memset(x->sym, 0, p->n_sym * sizeof *x->sym);
    if ((s = rt_inputs_check(x, in, out))) return s;
    for (uint32_t i = 0; i < f->n_input; i++)
        if (f->input[i].kind == BMC_TENSOR && in[i].data && rt_heap_owns(&p->heap, in[i].data) &&
            !rt_input_is_state(p, in, out, i))
            return rt_say(p, BMC_E_INPUT,
                          "input '%s': data belongs to the context (the result of an earlier run); pass a copy",
                          f->input[i].name);
    if ((s = plan(x, &need)) || (s = outputs_plan(x, out))) return s;
    s = run_bind(x, &need, in, out);
    if (s == BMC_E_MEMORY) { /* perhaps only because buffers of earlier, smaller runs are in the way */
        rt_slots_clear(x);
        memory_drop(p);
        s = run_bind(x, &need, in, out);
    }
    if (s || (s = rt_overlap_check(p))) return s;
    for (uint32_t i = 0; i < f->n_input; i++) { /* aliased pairs given as two buffers */
        if (f->input[i].kind != BMC_TENSOR || f->input[i].alias < 0 || !in[i].data) continue;
        uint32_t o = (uint32_t)f->input[i].alias;
        void *to = x->slot[p->desc->in_slot[i]];
        if (to != in[i].data && p->out_bytes[o]) pair_copy(&f->input[i], in[i].dim, to, in[i].data, p->out_bytes[o]);
    }
    return BMC_OK;
}

/* ---- handing over ---- */

/* One tensor result that lies at `from`: into the caller's buffer, or lent. */
static void tensor_give(rt_private *p, bmc_status *s, const char *name, bmc_value *v, void *from, size_t bytes,
                        size_t capacity, bool has_buffer)
{
    v->bytes = bytes;
    v->flags = has_buffer ? 0 : BMC_LENT;
    if (!has_buffer) v->data = from;
    else if (capacity < bytes) say_small(p, s, name, v, capacity, bytes);
    else if (bytes && v->data != from) memcpy(v->data, from, bytes);
}

static bool strings_keep(bmc_ctx *x, const bmc_value *v)
{
    if (v->kind == BMC_TENSOR)
        return v->dtype != BMC_STRING || rt_strings_keep(x, v->data, v->bytes / sizeof(bmc_string));
    for (size_t k = 0; k < v->n_item; k++)
        if (!strings_keep(x, &v->item[k])) return false;
    return true;
}

/* The items of `all` into those that the caller gave, which have memory or take what is lent. */
static void items_give(rt_private *p, bmc_status *s, const char *name, bmc_value *v, const bmc_value *all)
{
    size_t room = v->n_item;
    v->kind = all->kind;
    v->n_item = all->n_item;
    v->flags = 0;
    if (room < all->n_item) {
        if (*s != BMC_E_CAPACITY)
            rt_say(p, BMC_E_CAPACITY, "output '%s': room for %zu items, needs %zu", name, room, all->n_item);
        *s = BMC_E_CAPACITY;
        return;
    }
    for (size_t k = 0; k < all->n_item; k++) {
        const bmc_value *from = &all->item[k];
        bmc_value *e = &v->item[k];
        bool has = rt_given(&p->heap, e, from->kind == BMC_TENSOR ? e->data : (void *)e->item);
        if (from->kind != BMC_TENSOR && has) {
            items_give(p, s, name, e, from);
            continue;
        }
        size_t capacity = e->bytes;
        void *data = e->data;
        *e = *from;
        if (from->kind != BMC_TENSOR) continue;
        e->data = data;
        tensor_give(p, s, name, e, from->data, from->bytes, capacity, has);
    }
}

static bmc_status sequence_give(bmc_ctx *x, bmc_value *v, uint32_t o, bmc_status s)
{
    rt_private *p = x->rt;
    const bmc_port *port = &p->desc->info->output[o];
    bmc_value all = {.size = sizeof all};
    if (!rt_seq_export(x, p->desc->out_slot[o], port->kind, &all)) return no_memory(p, 0, "output", port->name);
    if (!strings_keep(x, &all)) return no_memory(p, 0, "the strings of output", port->name);
    v->kind = port->kind;
    v->dtype = port->dtype;
    if (p->out_given[o]) {
        items_give(p, &s, port->name, v, &all);
        return s;
    }
    v->n_item = all.n_item;
    v->item = all.item;
    v->flags = BMC_LENT;
    return s;
}

static const int64_t *port_strides(const bmc_port *port, const int64_t *dim, int64_t *stride)
{
    int64_t step = 1;
    for (int i = port->rank; i-- > 0; step *= i == port->alias_axis ? port->capacity : dim[i]) stride[i] = step;
    return stride;
}

static bmc_status outputs_give(bmc_ctx *x, bmc_value *out)
{
    rt_private *p = x->rt;
    const rt_desc *d = p->desc;
    bmc_status s = BMC_OK;
    for (uint32_t o = 0; o < d->info->n_output; o++) {
        const bmc_port *port = &d->info->output[o];
        bmc_value *v = &out[o];
        void *from = p->tag[d->out_slot[o]] == SLOT_OFFERED ? NULL : x->slot[d->out_slot[o]];
        if (port->kind != BMC_TENSOR) {
            s = sequence_give(x, v, o, s);
            if (s && s != BMC_E_CAPACITY) return s;
            continue;
        }
        size_t bytes = p->out_bytes[o];
        if (d->out_boxed[o]) {
            size_t capacity = v->bytes;
            if (!output_shape(x, v, o, true, &bytes) || (bytes && !from))
                return rt_say(p, BMC_E_FAIL, "output '%s' was not made", port->name);
            tensor_give(p, &s, port->name, v, from ? from : x, bytes, capacity, p->out_given[o]);
        } else {
            if (port->rank > BMC_MAX_RANK) output_shape(x, v, o, true, &bytes);
            v->data = from;
            v->bytes = bytes;
            v->flags = rt_heap_owns(&p->heap, from) ? BMC_LENT : 0;
            if (port->capacity) v->stride = port_strides(port, v->dim, p->out_stride[o]);
        }
        if (port->dtype == BMC_STRING && s == BMC_OK && !rt_strings_keep(x, v->data, bytes / sizeof(bmc_string)))
            return no_memory(p, 0, "the strings of output", port->name);
    }
    return s;
}

/* ---- the same call again ---- */

/* Whether what this run prepared will do for the next: every port is a dense tensor, and nothing is copied or made for one
 * run only but boxes and sequences, which are rewound. */
static bool memo_possible(bmc_ctx *x, const bmc_value *in)
{
    rt_private *p = x->rt;
    const rt_desc *d = p->desc;
    const bmc_info *f = d->info;
    if (p->text) return false;
    p->memo_boxes = d->n_slot > f->n_input + f->n_output;
    for (uint32_t i = 0; i < f->n_input; i++) {
        const bmc_port *port = &f->input[i];
        if (port->kind != BMC_TENSOR || port->dtype == BMC_STRING || in[i].stride) return false;
        if (port->alias >= 0 && in[i].data && x->slot[d->in_slot[i]] != in[i].data) return false;
    }
    for (uint32_t o = 0; o < f->n_output; o++) {
        if (f->output[o].kind != BMC_TENSOR || f->output[o].dtype == BMC_STRING) return false;
        p->memo_boxes |= d->out_boxed[o] != 0;
    }
    return true;
}

/* An input that lies elsewhere than in the call before: only its place is looked at. false: prepare anew. */
static bool memo_move(bmc_ctx *x, const bmc_value *v, uint32_t i)
{
    rt_private *p = x->rt;
    bmc_value as_before = *v;
    as_before.data = p->memo_in[i].data;
    if (memcmp(&as_before, &p->memo_in[i], sizeof as_before) || p->desc->info->input[i].alias >= 0) return false;
    if (!v->data || !as_before.data || (uintptr_t)v->data % rt_dtype_align(v->dtype)) return false;
    if (rt_heap_owns(&p->heap, v->data)) return false;
    for (uint32_t k = 0; k < p->n_range; k++) {
        rt_range *r = &p->range[k];
        if (r->out || r->port != i) continue;
        r->hi = (const char *)v->data + ((const char *)r->hi - (const char *)r->lo);
        r->lo = v->data;
    }
    p->memo_in[i].data = v->data;
    rt_slot_lend(x, p->desc->in_slot[i], v->data);
    return true;
}

static bool memo_fits(bmc_ctx *x, const bmc_value *in, const bmc_value *out)
{
    rt_private *p = x->rt;
    const bmc_info *f = p->desc->info;
    bool moved = false;
    if (!p->memo || !in || !out || p->text) return false;
    for (uint32_t o = 0; o < f->n_output; o++)
        if (memcmp(&out[o], &p->memo_done[o], sizeof *out) && memcmp(&out[o], &p->memo_out[o], sizeof *out))
            return false;
    if (!memcmp(in, p->memo_in, f->n_input * sizeof *in)) return true;
    for (uint32_t i = 0; i < f->n_input; i++) {
        if (!memcmp(&in[i], &p->memo_in[i], sizeof *in)) continue;
        if (!memo_move(x, &in[i], i)) return false;
        moved = true;
    }
    return !moved || !rt_overlap_check(p);
}

/* The run as prepared for the call before, with boxes of its own. */
static bmc_status run_again(bmc_ctx *x, bmc_value *out)
{
    rt_private *p = x->rt;
    const rt_desc *d = p->desc;
    uint32_t n = d->info->n_output;
    if (p->memo_boxes) {
        rt_slots_rewind(x);
        for (uint32_t o = 0; o < n; o++)
            if (d->out_boxed[o]) output_offer(x, out, o);
    }
    bmc_status s = team_run(x);
    if (s) return s;
    if (!p->memo_boxes) {
        memcpy(out, p->memo_done, n * sizeof *out);
        return BMC_OK;
    }
    for (uint32_t o = 0; o < n; o++)
        if (!d->out_boxed[o]) out[o] = p->memo_done[o];
    s = outputs_give(x, out);
    p->memo = s == BMC_OK;
    if (p->memo) memcpy(p->memo_done, out, n * sizeof *out);
    return s;
}

static bmc_status run_first(bmc_ctx *x, const bmc_value *in, bmc_value *out)
{
    rt_private *p = x->rt;
    const bmc_info *f = p->desc->info;
    p->memo = false;
    if (in && out) {
        memcpy(p->memo_in, in, f->n_input * sizeof *in);
        memcpy(p->memo_out, out, f->n_output * sizeof *out);
    }
    bmc_status s = run_prepare(x, in, out);
    if (s) return s;
    s = team_run(x);
    if (s || (s = outputs_give(x, out))) return s;
    p->memo = in && out && memo_possible(x, in);
    if (p->memo) memcpy(p->memo_done, out, f->n_output * sizeof *out);
    return s;
}

bmc_status rt_run(bmc_ctx *x, const bmc_value *in, bmc_value *out)
{
    if (!x) return rt_say(NULL, BMC_E_ARG, "run: no context");
    rt_private *p = x->rt;
    if (atomic_flag_test_and_set_explicit(&p->busy, memory_order_acquire))
        return BMC_E_ARG; /* its message belongs to the other caller */
    p->message[0] = p->detail[0] = 0;
    p->status = BMC_OK;
    bmc_status s = memo_fits(x, in, out) ? run_again(x, out) : run_first(x, in, out);
    if (p->heap.settle != p->heap.settle_end) rt_heap_settle(&p->heap);
    atomic_flag_clear_explicit(&p->busy, memory_order_release);
    return s;
}
