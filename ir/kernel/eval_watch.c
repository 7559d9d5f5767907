/* eval_watch.c: finds missing barriers. In a threaded module with barriers the interpreter remembers for every byte
 * which step wrote it and which read it. A step that meets another one's traces since the last barrier, one of them
 * writing and not both on thread 0 alone, would race in compiled code: an error. Likewise a step of all threads that
 * uses a symbol which thread 0 bound since the last barrier. This is independent of passes/kernel/barriers.c: that
 * reasons about buffers and lives, this looks at bytes as they are touched. */
#include "ir/kernel/eval_state.h"
#include "base/bug.h"

#define TRACE_MAX (1 << 22) /* bytes of one block; larger ones are not watched */

static void find_barrier(void *arg, KStep *s) { *(bool *)arg |= s->kind == KST_BARRIER; }

void keval_watch_start(KEval *e)
{
    bool any = false;
    kstep_each(&e->m->program, find_barrier, &any);
    e->watch = any && e->m->threads;
    e->plan_trace = keval_trace(e, e->plan_bytes);
    e->sym_step = arena_array(&e->work, uint32_t, e->m->dims->sym.n + 1);
}

KTrace *keval_trace(KEval *e, int64_t bytes)
{
    return e->watch && bytes > 0 && bytes <= TRACE_MAX ? arena_array(&e->work, KTrace, bytes) : NULL;
}

bool keval_touch(KEval *e, KLoc l, const char *name, KTrace *t, int64_t n, bool write, bool all)
{
    for (int64_t i = 0; t && i < n; i++, t++) {
        bool bad = t->wrote > e->barrier && t->wrote != e->step && (all || !t->wrote_0);
        if (write) {
            bad |= t->read_all > e->barrier && t->read_all != e->step;
            bad |= t->read_0 > e->barrier && t->read_0 != e->step && all;
        }
        if (bad)
            return keval_fail(e, BMC_E_INDEX, l,
                              "race: step %u touches %%%s, which another one touched since the last barrier", e->step,
                              name);
        if (write) {
            t->wrote = e->step;
            t->wrote_0 = !all;
        } else if (all) t->read_all = e->step;
        else t->read_0 = e->step;
    }
    return true;
}

bool keval_touch_view(KEval *e, KLoc l, const KView *v, bool write, bool all)
{
    int64_t count = 1, bits = v->elem == DT_STR ? 128 : dtype_info(v->elem)->bits;
    for (int i = 0; i < v->rank; i++) count *= v->dim[i]; /* calls take dense buffers */
    if (!v->trace || !count) return true;
    return keval_touch(e, l, v->name, v->trace + v->offset * bits / 8, (count * bits + 7) / 8, write, all);
}

/* ---- symbols ---- */
typedef struct Use {
    KEval *e;
    bool bad;
    Sym sym;
} Use;

static void use(void *arg, Sym s)
{
    Use *u = arg;
    if (u->e->sym_step[s.i] <= u->e->barrier) return;
    u->bad = true;
    u->sym = s;
}

static void use_dim(Use *u, Dim d)
{
    if (d.i) dim_each_sym(u->e->m->dims, d, use, u);
}

bool keval_watch_step(KEval *e, const KStep *s)
{
    Use u = {.e = e};
    e->step++;
    if (s->kind == KST_BARRIER) e->barrier = e->step;
    if (!e->watch) return true;
    if (s->kind == KST_BIND || s->kind == KST_CHECK || s->kind == KST_IF || s->kind == KST_WHILE) {
        use_dim(&u, s->a);
        use_dim(&u, s->b);
    }
    for (uint32_t i = 1; s->kind == KST_LAUNCH && kstep_shared(s) && i < s->kernel->inst.n; i++)
        if (s->kernel->inst.p[i].op == KOP_DIM && s->kernel->inst.p[i].block.i)
            use_dim(&u, s->kernel->inst.p[i].imm.dim);
    if (u.bad)
        return keval_fail(e, BMC_E_INDEX, s->loc, "race: step %u uses %s, which thread 0 bound since the last barrier",
                          e->step, name_str(e->m->names, e->m->dims->sym.p[u.sym.i].name));
    if (s->kind == KST_LOAD) e->sym_step[s->sym.i] = e->step;
    for (uint32_t i = 0; s->kind == KST_CALL && i < s->n_arg; i++)
        if (s->arg[i].kind == KA_SYM) e->sym_step[s->arg[i].sym.i] = e->step;
    return true;
}
