/* eval.c: the interpreter's walk through a program. One thread, step by step: symbols live in the context of the real
 * runtime, boxes and sequences are its own too, so that calls meet what they meet in compiled code. A launch is
 * eval_kernel.c, memory is eval_memory.c, arithmetic eval_scalar.c. Errors that kernels record end the run after the
 * launch (compiled code: at the next barrier). */
#include "ir/kernel/eval_state.h"
#include "base/bug.h"
#include <string.h>

bool keval_fail(KEval *e, bmc_status status, KLoc l, const char *fmt, ...)
{
    va_list ap;
    if (e->status != BMC_OK) return false;
    e->status = status;
    va_start(ap, fmt);
    char *text = arena_vprintf(e->arena, fmt, ap);
    va_end(ap);
    const KLocRec *r = &e->m->loc.p[l.i < e->m->loc.n ? l.i : 0];
    const char *op = r->op.i ? name_str(e->m->names, r->op) : "";
    e->why =
        l.i ? arena_printf(e->arena, "node %d '%s' (%s): %s", r->node, name_str(e->m->names, r->node_name), op, text)
            : text;
    return false;
}

bool keval_dim(KEval *e, KLoc l, Dim d, int64_t *out)
{
    Dim r = dim_resolve(e->m->dims, d);
    if (r.i && dim_eval(e->m->dims, r, e->ctx->sym, out)) return true;
    return keval_fail(e, BMC_E_SHAPE, l, "a size leaves 64 bits or divides by zero");
}

static bool compare(KRel rel, int64_t a, int64_t b)
{
    switch (rel) {
    case KREL_EQ: return a == b;
    case KREL_NE: return a != b;
    case KREL_LE: return a <= b;
    case KREL_LT: return a < b;
    case KREL_BCAST: return a == b || a == 1 || b == 1;
    }
    return false;
}

static bool steps(KEval *e, const KSteps *l);

/* Dims are simplified under the symbol's bounds: a value outside would make them wrong. */
static bool bind(KEval *e, const KStep *s, Sym sym, int64_t v)
{
    const SymRec *r = &e->m->dims->sym.p[sym.i];
    e->ctx->sym[sym.i] = v;
    if (v >= r->lo && v <= r->hi) return true;
    const char *hi = r->hi == INT64_MAX ? "" : arena_printf(&e->work, "%lld", (long long)r->hi);
    return keval_fail(e, BMC_E_SHAPE, s->loc, "%s = %lld is outside %lld..%s", name_str(e->m->names, r->name),
                      (long long)v, (long long)r->lo, hi);
}

static bool while_loop(KEval *e, const KStep *s)
{
    int64_t *next = arena_array(&e->work, int64_t, s->n_carry), go;
    for (uint32_t i = 0; i < s->n_carry; i++)
        if (!keval_dim(e, s->loc, s->init[i], &next[i])) return false;
    for (;;) {
        for (uint32_t i = 0; i < s->n_carry; i++)
            if (!bind(e, s, s->carry[i], next[i])) return false;
        if (!keval_dim(e, s->loc, s->a, &go)) return false;
        if (!go) return true;
        if (!steps(e, s->body)) return false;
        for (uint32_t i = 0; i < s->n_carry; i++)
            if (!keval_dim(e, s->loc, s->next_val[i], &next[i])) return false;
    }
}

static bool box_alloc(KEval *e, const KStep *s)
{
    int64_t count, dim[RANK_MAX], bytes;
    const KBufRec *r = kbuf(e->m, s->buf);
    if (!keval_dense_count(e, s->loc, r, &count, dim)) return false;
    bytes = dtype_bytes(r->elem, count);
    if (!rt_box_alloc(e->ctx, s->buf.i, bytes, 0))
        return keval_fail(e, BMC_E_MEMORY, s->loc, "no memory for %%%s", name_str(e->m->names, r->name));
    if (bytes) memset(e->ctx->slot[s->buf.i], 0xcd, (size_t)bytes);
    if (!keval_touch(e, s->loc, name_str(e->m->names, r->name), e->mem[s->buf.i].trace, e->mem[s->buf.i].bytes, true,
                     false))
        return false;
    e->mem[s->buf.i].bytes = bytes;
    e->mem[s->buf.i].trace = keval_trace(e, bytes);
    return keval_touch(e, s->loc, "", e->mem[s->buf.i].trace, bytes, true, false);
}

static bool load_scalar(KEval *e, const KStep *s)
{
    KView v;
    int64_t at;
    if (!keval_view(e, s->loc, s->buf, &v) || !keval_dim(e, s->loc, s->a, &at)) return false;
    if (at < 0 || v.offset + at >= v.room)
        return keval_fail(e, BMC_E_INDEX, s->loc, "bind: element %lld of %%%s does not exist", (long long)at, v.name);
    if (v.trace && !keval_touch(e, s->loc, v.name, v.trace + (v.offset + at) * dtype_info(v.elem)->bits / 8,
                                dtype_bytes(v.elem, 1), false, false))
        return false;
    return bind(e, s, s->sym, kscalar_load(v.elem, v.data, v.offset + at).i);
}

/* Thread 0 takes the memory away. */
static bool drop_box(KEval *e, const KStep *s, KBuf b)
{
    KMem was = e->mem[b.i];
    e->mem[b.i] = (KMem){.bytes = 0};
    return keval_touch(e, s->loc, name_str(e->m->names, kbuf(e->m, b)->name), was.trace, was.bytes, true, false);
}

static bool step(KEval *e, const KStep *s)
{
    int64_t a, b;
    char text[256];
    switch (s->kind) {
    case KST_BIND: return keval_dim(e, s->loc, s->a, &a) && bind(e, s, s->sym, a);
    case KST_LOAD: return load_scalar(e, s);
    case KST_CHECK:
        if (!keval_dim(e, s->loc, s->a, &a) || !keval_dim(e, s->loc, s->b, &b)) return false;
        if (compare(s->rel, a, b)) return true;
        rt_message_text(text, sizeof text, BMC_E_SHAPE, s->msg, a, b);
        return keval_fail(e, BMC_E_SHAPE, s->loc, "%s", text);
    case KST_ALLOC: return box_alloc(e, s);
    case KST_FREE: rt_box_free(e->ctx, s->buf.i); return drop_box(e, s, s->buf);
    case KST_MOVE:
        rt_box_move(e->ctx, s->buf.i, s->src.i);
        if (!drop_box(e, s, s->buf)) return false;
        e->mem[s->buf.i] = e->mem[s->src.i];
        e->mem[s->src.i] = (KMem){.bytes = 0};
        return keval_touch(e, s->loc, "", e->mem[s->buf.i].trace, e->mem[s->buf.i].bytes, true, false);
    case KST_LAUNCH: return keval_kernel(e, s);
    case KST_CALL: return keval_call(e, s);
    case KST_BARRIER: return true;
    case KST_IF: return keval_dim(e, s->loc, s->a, &a) && steps(e, a ? s->body : s->other);
    case KST_WHILE: return while_loop(e, s);
    case KST_FAIL: return keval_fail(e, BMC_E_FAIL, s->loc, "%s", s->msg);
    }
    UNREACHABLE();
}

static bool steps(KEval *e, const KSteps *l)
{
    for (const KStep *s = l->first; s; s = s->next)
        if (!keval_watch_step(e, s) || !step(e, s)) return false;
    return true;
}

/* Entry symbols that the program itself binds are known before it starts, as in compiled code: places may depend on
 * them. */
static bool bind_entry(KEval *e)
{
    for (const KStep *s = e->m->program.first; s; s = s->next)
        if (s->kind == KST_BIND && e->m->dims->sym.p[s->sym.i].kind == SYM_ENTRY && !step(e, s)) return false;
    return true;
}

bmc_status kir_eval(KModule *m, Arena *a, const bmc_value *in, bmc_value *out, const char **why)
{
    KEval e = {.m = m, .arena = a, .in = in, .out = out, .why = ""};
    arena_init(&e.work, "eval", m->arena->oom);
    arena_init(&e.launch, "eval", m->arena->oom);
    e.mem = arena_array(&e.work, KMem, m->buf.n);
    e.ctx = rt_interp_create(m->dims->sym.n + 1, m->buf.n);
    if (!e.ctx) {
        *why = "out of memory";
        return BMC_E_MEMORY;
    }
    if (keval_inputs(&e)) {
        int64_t n = 0, scratch;
        if (!m->planned ||
            (bind_entry(&e) && keval_dim(&e, (KLoc){0}, m->arena_bytes, &n) && keval_dim(&e, (KLoc){0}, m->scratch_bytes, &scratch))) {
            e.plan = keval_alloc(&e.work, n);
            e.plan_bytes = n;
            keval_watch_start(&e);
            if (steps(&e, &m->program)) keval_outputs(&e);
        }
    }
    *why = e.why;
    rt_interp_destroy(e.ctx);
    arena_free(&e.launch);
    arena_free(&e.work);
    return e.status;
}
