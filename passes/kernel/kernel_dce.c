/* kernel_dce: everything that contributes to no output, no error and no other step goes.
 *   instructions   pure ones and loads whose value is unused; loops that write nothing and whose results are unused;
 *                  stores to locals never read
 *   launches       of kernels that record no error and write only buffers that nothing reads
 *   steps          binds of symbols that nothing mentions; alloc, free and move of boxes that nothing else touches;
 *                  an `if` with two empty branches
 *   then           parameters and locals that no instruction mentions, kernels without launch, buffers without
 *                  mention (numbers close up)
 * Checks, calls and fails stay: they can end the run. Each removal can make another one possible, so it all repeats
 * until nothing changes. */
#include "ir/kernel/cache.h"
#include "ir/kernel/launches.h"
#include "passes/kernel/kpasses.h"
#include <string.h>

/* ---- instructions ---- */
static void unlink_inst(Kernel *k, KInst i)
{
    KInstRec *r = kinst(k, i);
    KBlockRec *b = kblock(k, r->block);
    if (r->prev.i) kinst(k, r->prev)->next = r->next;
    else b->first = r->next;
    if (r->next.i) kinst(k, r->next)->prev = r->prev;
    else b->last = r->prev;
    r->block = (KBlock){0};
}

/* The whole region: nothing in it counts as a use any more. */
static void unlink_region(Kernel *k, KInst i)
{
    if (kinst(k, i)->op == KOP_FOR) {
        KBlock b = kinst(k, i)->body;
        while (kblock(k, b)->first.i) unlink_region(k, kblock(k, b)->first);
    }
    unlink_inst(k, i);
}

/* A record that is always well records nothing. */
static bool no_record(const Kernel *k, const KInstRec *r)
{
    KInst ok = r->op == KOP_RECORD ? kval(k, karg(k, r, 0))->def : (KInst){0};
    return ok.i && kinst(k, ok)->op == KOP_CONST && kinst(k, ok)->imm.i;
}

static bool has_effect(const Kernel *k, const KInstRec *r)
{
    if (no_record(k, r)) return false;
    if (r->op != KOP_FOR) return kop_info(r->op)->flags & KF_EFFECT;
    for (KInst i = kblock(k, r->body)->first; i.i; i = kinst(k, i)->next)
        if (has_effect(k, kinst(k, i))) return true;
    return false;
}

static bool kernel_round(Kernel *k, uint32_t *use, bool *read)
{
    bool changed = false;
    memset(use, 0, k->val.n * sizeof *use);
    memset(read, 0, k->param.n);
    for (uint32_t i = 1; i < k->inst.n; i++) {
        const KInstRec *r = &k->inst.p[i];
        if (!r->block.i) continue;
        for (uint32_t n = 0; n < r->n_arg; n++) use[karg(k, r, n).i]++;
        if (r->op == KOP_LOAD) read[r->param] = true;
        if (r->op == KOP_MACC) read[r->macc->a] = read[r->macc->b] = true;
    }
    for (uint32_t i = k->inst.n; i-- > 1;) {
        const KInstRec *r = &k->inst.p[i];
        bool dead = r->block.i != 0;
        if (!dead) continue;
        if (r->op == KOP_STORE) dead = k->param.p[r->param].space == KS_LOCAL && !read[r->param];
        else
            dead = (kop_info(r->op)->flags & (KF_PURE | KF_LOAD) || r->op == KOP_FOR || r->op == KOP_RECORD) &&
                   !has_effect(k, r);
        for (uint32_t n = 0; n < r->n_res && dead; n++) dead = use[r->res + n] == 0;
        if (!dead) continue;
        for (uint32_t n = 0; n < r->n_arg; n++) use[karg(k, r, n).i]--;
        changed |= r->op != KOP_CONST && r->op != KOP_DIM; /* those have no line of their own */
        unlink_region(k, (KInst){i});
    }
    return changed;
}

/* ---- steps ---- */
typedef struct Use {
    KModule *m;
    bool *read, *touched; /* by root buffer: something reads it; more than alloc, free and move mention it */
    bool *buf;            /* by buffer: mentioned */
    bool *sym;
} Use;

static void use_sym(void *arg, Sym s)
{
    Use *u = arg;
    if (u->sym[s.i]) return;
    u->sym[s.i] = true;
    if (u->m->dims->sym.p[s.i].same_as.i) dim_each_sym(u->m->dims, u->m->dims->sym.p[s.i].same_as, use_sym, u);
}

static void use_dim(Use *u, Dim d)
{
    if (d.i) dim_each_sym(u->m->dims, d, use_sym, u);
}

static void use_type(Use *u, TypeId t)
{
    if (!t.i) return;
    const TypeRec *r = type_rec(u->m->types, t);
    for (int i = 0; r->kind == TY_TENSOR && r->rank != RANK_UNKNOWN && i < r->rank; i++) use_dim(u, r->dim[i]);
    if (r->kind != TY_TENSOR) use_type(u, r->of);
}

static void use_shape(Use *u, const KBufRec *r)
{
    for (int i = 0; i < r->rank; i++) {
        use_dim(u, r->dim[i]);
        if (!r->dense) use_dim(u, r->stride[i]);
    }
    use_dim(u, r->offset);
    use_dim(u, r->bytes);
    use_type(u, r->seq);
}

static void use_buf(Use *u, KBuf b, bool read)
{
    KBuf root = kbuf_root(u->m, b);
    for (; b.i && !u->buf[b.i]; b = kbuf(u->m, b)->base) {
        u->buf[b.i] = true;
        use_shape(u, kbuf(u->m, b));
        if (kbuf(u->m, b)->space != KS_VIEW) break;
    }
    if (!read) return;
    u->read[root.i] = u->touched[root.i] = true;
}

static void use_step(void *arg, KStep *s)
{
    Use *u = arg;
    use_dim(u, s->a);
    use_dim(u, s->b);
    for (uint32_t i = 0; i < s->n_carry; i++) {
        use_dim(u, s->init[i]);
        use_dim(u, s->next_val[i]);
        use_sym(u, s->carry[i]);
    }
    for (uint32_t i = 0; i < s->n_arg; i++) {
        if (s->arg[i].kind == KA_BUF) use_buf(u, s->arg[i].buf, true);
        if (s->arg[i].kind == KA_DIM) use_dim(u, s->arg[i].dim);
    }
    if (s->buf.i) use_buf(u, s->buf, s->kind == KST_LOAD);
    if (s->src.i) use_buf(u, s->src, true);
    if (s->kind != KST_LAUNCH) return;
    uint32_t n = 0;
    for (uint32_t p = 1; p < s->kernel->param.n; p++) {
        if (s->kernel->param.p[p].space != KS_PARAM) continue;
        KBuf b = s->buf_arg[n++];
        use_buf(u, b, kx_param_read(s->kernel, p));
        u->touched[kbuf_root(u->m, b).i] = true;
    }
    for (uint32_t i = 1; i < s->kernel->inst.n; i++)
        if (s->kernel->inst.p[i].op == KOP_DIM && s->kernel->inst.p[i].block.i)
            use_dim(u, s->kernel->inst.p[i].imm.dim);
    for (uint32_t p = 1; p < s->kernel->param.n; p++) use_shape(u, &s->kernel->param.p[p]);
}

static void use_all(Use *u)
{
    KModule *m = u->m;
    for (uint32_t i = 0; i < m->input.n; i++) {
        if (m->input.p[i].buf.i) use_buf(u, m->input.p[i].buf, m->input.p[i].alias >= 0);
        use_type(u, m->input.p[i].type);
    }
    for (uint32_t i = 0; i < m->output.n; i++) {
        if (m->output.p[i].rank.i) use_dim(u, dim_sym(m->dims, m->output.p[i].rank));
        if (m->output.p[i].buf.i) use_buf(u, m->output.p[i].buf, true);
        use_type(u, m->output.p[i].type);
    }
    use_dim(u, m->arena_bytes);
    use_dim(u, m->scratch_bytes);
    kstep_each(&m->program, use_step, u);
}

static bool launch_dead(Use *u, const KStep *s)
{
    const Kernel *k = s->kernel;
    uint32_t n = 0;
    for (uint32_t i = 1; i < k->inst.n; i++)
        if (k->inst.p[i].op == KOP_RECORD && k->inst.p[i].block.i) return false;
    for (uint32_t p = 1; p < k->param.n; p++) {
        if (k->param.p[p].space != KS_PARAM) continue;
        KBuf b = s->buf_arg[n++];
        if (k->param.p[p].out && u->read[kbuf_root(u->m, b).i]) return false;
    }
    return true;
}

static bool step_dead(Use *u, const KStep *s)
{
    switch (s->kind) {
    case KST_BIND:
    case KST_LOAD: return !u->sym[s->sym.i];
    case KST_ALLOC:
    case KST_FREE: return !u->touched[s->buf.i] && kbuf(u->m, s->buf)->space == KS_BOX;
    case KST_LAUNCH: return launch_dead(u, s);
    case KST_IF: return !s->body->first && !s->other->first;
    default: return false;
    }
}

static bool steps_dead(Use *u, KSteps *l)
{
    bool changed = false;
    for (KStep *s = l->first, *next; s; s = next) {
        next = s->next;
        if (s->body) changed |= steps_dead(u, s->body);
        if (s->other) changed |= steps_dead(u, s->other);
        if (!step_dead(u, s)) continue;
        kstep_remove(l, s);
        changed = true;
    }
    return changed;
}

/* ---- what is left over ---- */
/* used: by parameter */
static void drop_args(const Kernel *k, const bool *used, KStep *s)
{
    uint32_t from = 0, to = 0;
    for (uint32_t p = 1; p < k->param.n; p++) {
        if (k->param.p[p].space != KS_PARAM) continue;
        if (used[p]) s->buf_arg[to++] = s->buf_arg[from];
        from++;
    }
    s->n_buf_arg = to;
}

static bool params_dead(KModule *m, Kernel *k, KLaunches *launches, Arena *a)
{
    bool *used = arena_array(a, bool, k->param.n);
    uint32_t *to = arena_array(a, uint32_t, k->param.n), n = 1;
    for (uint32_t i = 1; i < k->inst.n; i++) {
        const KInstRec *r = &k->inst.p[i];
        if (!r->block.i) continue;
        if (r->op == KOP_LOAD || r->op == KOP_STORE) used[r->param] = true;
        if (r->op == KOP_MACC) used[r->macc->a] = used[r->macc->b] = true;
    }
    for (uint32_t p = 1; p < k->param.n; p++)
        if (used[p]) to[p] = n++;
    if (n == k->param.n) return false;
    const KLaunchList *l = klaunches_of(launches, k);
    for (uint32_t i = 0; i < l->step.n; i++) drop_args(k, used, l->step.p[i]);
    for (uint32_t p = 1; p < k->param.n; p++)
        if (used[p]) k->param.p[to[p]] = k->param.p[p];
    k->param.n = n;
    for (uint32_t i = 1; i < k->inst.n; i++) {
        KInstRec *r = &k->inst.p[i];
        if (!r->block.i) continue;
        if (r->op == KOP_LOAD || r->op == KOP_STORE) r->param = to[r->param];
        if (r->op == KOP_MACC) {
            r->macc->a = to[r->macc->a];
            r->macc->b = to[r->macc->b];
        }
    }
    kcache_forget(m, k);
    return true;
}

static bool kernel_dead(KModule *m, Kernel *k, KLaunches *launches)
{
    bool changed = false;
    Arena a;
    arena_init(&a, "pass", m->arena->oom);
    uint32_t *use = arena_array(&a, uint32_t, k->val.n);
    bool *read = arena_array(&a, bool, k->param.n);
    while (kernel_round(k, use, read)) changed = true;
    changed |= params_dead(m, k, launches, &a);
    arena_free(&a);
    if (changed) {
        kcache_forget(m, k);
        kir_finish(k);
    }
    return changed;
}

static bool kernels_dead(KModule *m, Arena *a)
{
    KLaunches launches;
    uint32_t n = 0, before = m->kernel.n;
    klaunches_init(&launches, a, m);
    for (uint32_t i = 0; i < before; i++) {
        if (klaunches_of(&launches, m->kernel.p[i])->step.n) m->kernel.p[n++] = m->kernel.p[i];
        else kcache_forget(m, m->kernel.p[i]);
    }
    m->kernel.n = n;
    return n != before;
}

static void renumber_step(void *arg, KStep *s)
{
    const uint32_t *to = arg;
    s->buf.i = to[s->buf.i];
    s->src.i = to[s->src.i];
    for (uint32_t i = 0; i < s->n_buf_arg; i++) s->buf_arg[i].i = to[s->buf_arg[i].i];
    for (uint32_t i = 0; i < s->n_arg; i++)
        if (s->arg[i].kind == KA_BUF) s->arg[i].buf.i = to[s->arg[i].buf.i];
}

static bool buffers_dead(KModule *m, Use *u, Arena *a)
{
    uint32_t *to = arena_array(a, uint32_t, m->buf.n), n = 1, before = m->buf.n;
    for (uint32_t i = 1; i < before; i++)
        if (u->buf[i]) {
            to[i] = n;
            m->buf.p[n++] = m->buf.p[i];
        }
    if (n == before) return false;
    m->buf.n = n;
    for (uint32_t i = 1; i < n; i++) m->buf.p[i].base.i = to[m->buf.p[i].base.i];
    for (uint32_t i = 0; i < m->input.n; i++) m->input.p[i].buf.i = to[m->input.p[i].buf.i];
    for (uint32_t i = 0; i < m->output.n; i++) m->output.p[i].buf.i = to[m->output.p[i].buf.i];
    kstep_each(&m->program, renumber_step, to);
    return true;
}

static bool round_of(KModule *m)
{
    Arena a;
    bool changed;
    arena_init(&a, "pass", m->arena->oom);
    Use u = {.m = m};
    u.read = arena_array(&a, bool, m->buf.n);
    u.touched = arena_array(&a, bool, m->buf.n);
    u.buf = arena_array(&a, bool, m->buf.n);
    u.sym = arena_array(&a, bool, m->dims->sym.n + 1);
    use_all(&u);
    changed = steps_dead(&u, &m->program) || kernels_dead(m, &a) || buffers_dead(m, &u, &a);
    arena_free(&a);
    return changed;
}

bool kpass_dce(KModule *m)
{
    bool changed = false;
    Arena a;
    KLaunches launches;
    arena_init(&a, "pass", m->arena->oom);
    klaunches_init(&launches, &a, m);
    for (uint32_t i = 0; i < m->kernel.n; i++) changed |= kernel_dead(m, m->kernel.p[i], &launches);
    arena_free(&a);
    while (round_of(m)) changed = true;
    return changed;
}
