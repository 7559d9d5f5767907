/* rt_status: errors of threads, and every text that a user may see. Threads note only numbers while they run (the
 * lowest step and index wins, so that the message does not depend on the number of threads); the text is made once,
 * after the run. */
#include "runtime/rt_internal.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The text of a failed create or sizes, which have no context. The only writable object of the runtime, one per thread.
 */
static _Thread_local char thread_message[1024];

void rt_put(rt_out *o, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    if (o->n + 1 < o->cap) {
        int w = vsnprintf(o->p + o->n, o->cap - o->n, format, ap);
        o->n = w < 0 ? o->n : (size_t)w >= o->cap - o->n ? o->cap - 1 : o->n + (size_t)w;
    }
    va_end(ap);
}

bmc_status rt_say(rt_private *p, bmc_status s, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    if (p) {
        vsnprintf(p->message, sizeof p->message, format, ap);
        p->status = s;
    } else {
        vsnprintf(thread_message, sizeof thread_message, format, ap);
    }
    va_end(ap);
    return s;
}

const char *rt_message(const bmc_ctx *x) { return x ? x->rt->message : thread_message; }

void rt_detail(bmc_ctx *x, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    vsnprintf(x->rt->detail, sizeof x->rt->detail, format, ap);
    va_end(ap);
}

int32_t rt_no_memory(bmc_ctx *x, const char *what)
{
    rt_detail(x, "%s", what);
    return BMC_E_MEMORY;
}

static bool lower(uint64_t at, int64_t index, int64_t want, const rt_thread *t)
{
    if (at != t->err_step) return at < t->err_step;
    return index != t->err_index ? index < t->err_index : want < t->err_want;
}

static void note(rt_thread *t, uint32_t step, uint32_t msg, int32_t status, int64_t index, int64_t got, int64_t want)
{
    uint64_t at = (uint64_t)step + 1;
    if (t->err_step && !lower(at, index, want, t)) return;
    t->err_step = at;
    t->err_index = index;
    t->err_msg = msg;
    t->err_status = status;
    t->err_got = got;
    t->err_want = want;
}

void rt_record(bmc_ctx *x, int32_t tid, uint32_t step, uint32_t msg, int64_t index, int64_t bound)
{
    note(&x->thread[tid], step, msg, BMC_E_INDEX, index, index, bound);
}

void rt_fail(bmc_ctx *x, int32_t tid, uint32_t step, uint32_t msg, int32_t status, int64_t got, int64_t want)
{
    note(&x->thread[tid], step, msg, status ? status : BMC_E_FAIL, INT64_MIN, got, want);
}

int32_t rt_stop(bmc_ctx *x, int32_t tid, int32_t nt, uint32_t step, uint32_t msg, int32_t status, int64_t got, int64_t want)
{
    if (!tid) rt_fail(x, tid, step, msg, status, got, want);
    return rt_barrier(x, tid, nt);
}

static const rt_thread *lowest(const bmc_ctx *x, int nt)
{
    const rt_thread *low = NULL;
    for (int t = 0; t < nt; t++) {
        const rt_thread *r = &x->thread[t];
        if (!r->err_step) continue;
        if (!low || lower(r->err_step, r->err_index, r->err_want, low)) low = r;
    }
    return low;
}

static const char *status_text(int status)
{
    switch (status) {
    case BMC_E_INPUT: return "a wrong input";
    case BMC_E_CAPACITY: return "a buffer is too small";
    case BMC_E_MEMORY: return "out of memory";
    case BMC_E_INDEX: return "index out of range";
    case BMC_E_SHAPE: return "shapes do not fit";
    case BMC_E_FAIL: return "a part that cannot be executed was reached";
    default: return "failed";
    }
}

/* A message text; {got} and {want} in it stand for the numbers. false: it mentions none. */
static bool put_text(rt_out *o, const char *text, int64_t got, int64_t want)
{
    bool any = false;
    for (const char *p; (p = strchr(text, '{')); any = true) {
        bool is_got = !strncmp(p, "{got}", 5);
        if (!is_got && strncmp(p, "{want}", 6)) break;
        rt_put(o, "%.*s%lld", (int)(p - text), text, (long long)(is_got ? got : want));
        text = p + (is_got ? 5 : 6);
    }
    rt_put(o, "%s", text);
    return any;
}

void rt_message_text(char *to, size_t size, bmc_status s, const char *text, int64_t got, int64_t want)
{
    rt_out o = {to, 0, size};
    *to = 0;
    if (put_text(&o, text, got, want)) return;
    if (s == BMC_E_INDEX && got != INT64_MIN) rt_put(&o, " (at %lld)", (long long)got);
    if (s == BMC_E_SHAPE && got != want) rt_put(&o, " (got %lld, want %lld)", (long long)got, (long long)want);
}

bmc_status rt_say_check(rt_private *p, const char *text, int64_t got, int64_t want)
{
    char message[sizeof p->message];
    rt_message_text(message, sizeof message, BMC_E_SHAPE, text, got, want);
    return rt_say(p, BMC_E_SHAPE, "%s", message);
}

/* "node 'g' (Gather): index 12 is out of range for an axis of 5": where, what, numbers. Message texts that name their node themselves
 * get no second name. */
void rt_explain(bmc_ctx *x, const rt_thread *e, const char *const *message, uint32_t n_message)
{
    rt_private *p = x->rt;
    const rt_desc *d = p->desc;
    int status = e->err_status ? e->err_status : BMC_E_INDEX;
    const char *what = message && e->err_msg < n_message ? message[e->err_msg] : NULL;
    const char *where = d && d->step_name && e->err_step - 1 < d->n_step ? d->step_name[e->err_step - 1] : NULL;
    rt_out o = {p->message, 0, sizeof p->message};
    if (where && *where && !(what && !strncmp(what, "node ", 5))) rt_put(&o, "%s: ", where);
    rt_message_text(o.p + o.n, o.cap - o.n, (bmc_status)status, what && *what ? what : status_text(status),
                    status == BMC_E_INDEX ? e->err_index : e->err_got, e->err_want);
    o.n += strlen(o.p + o.n);
    if (p->detail[0] && e->err_index == INT64_MIN) rt_put(&o, ": %s", p->detail);
    p->status = (bmc_status)status;
}

bmc_status rt_lowest(bmc_ctx *x, int nt, bool explain)
{
    const rt_thread *e = lowest(x, nt);
    if (!e) return BMC_OK;
    if (explain) rt_explain(x, e, x->rt->desc ? x->rt->desc->message : NULL, x->rt->desc ? x->rt->desc->n_message : 0);
    return (bmc_status)(e->err_status ? e->err_status : BMC_E_INDEX);
}

bmc_status rt_interp_status(bmc_ctx *x, const char *const *message, uint32_t n_message)
{
    const rt_thread *e = lowest(x, 1);
    if (!e) return BMC_OK;
    rt_explain(x, e, message, n_message);
    return x->rt->status;
}
