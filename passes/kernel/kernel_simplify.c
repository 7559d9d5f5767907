/* kernel_simplify: rebuilds every kernel through the builder, then removes what is dead (kernel_dce.c).
 *   for %i = 0..1 { store %y[%i] = mul(x, 1.0) }    =>    store %y[0] = x
 *   for %k = 5..5 carry(%a = z) {...}               =>    z
 * The builder folds constants, takes exact identities and shares equal values; here loops of constant trip count 0
 * and 1 open up. A vec loop with carries keeps its form, because lanes give sums other bits than the plain order
 * does; a par loop opens up only when what it holds may stand where it stood. */
#include "passes/kernel/kpasses.h"
#include "passes/pass.h"
#include <string.h>

typedef struct S {
    KModule *m;
    Kb *b;
    const Kernel *from;
    KVal *map;
} S;

static void block(S *s, KBlock b);

static bool trip(S *s, const KInstRec *r, int64_t *lo, int64_t *n)
{
    int64_t hi;
    if (!kx_const_i(kb_kernel(s->b), s->m->dims, s->map[karg(s->from, r, 0).i], lo) ||
        !kx_const_i(kb_kernel(s->b), s->m->dims, s->map[karg(s->from, r, 1).i], &hi))
        return false;
    *n = hi > *lo ? hi - *lo : 0;
    return true;
}

/* A par loop's body may replace it when it has no par loop, or one and nothing else with an effect. */
static bool may_open(const Kernel *k, const KInstRec *r)
{
    uint32_t par = 0, effects = 0;
    if (r->loop == KLOOP_VEC) return r->n_res == 0;
    if (r->loop == KLOOP_SEQ) return true;
    for (KInst i = kblock(k, r->body)->first; i.i; i = kinst(k, i)->next) {
        const KInstRec *x = kinst(k, i);
        if (x->op == KOP_FOR && x->loop == KLOOP_PAR) par++;
        else effects += !(kop_info(x->op)->flags & (KF_PURE | KF_LOAD));
    }
    return par == 0 || (par == 1 && effects == 0);
}

static const KInstRec *yield_of(const Kernel *k, KBlock b)
{
    KInst y = kblock(k, b)->last;
    return y.i && kinst(k, y)->op == KOP_YIELD ? kinst(k, y) : NULL;
}

static void loop(S *s, const KInstRec *r)
{
    const Kernel *from = s->from;
    const KBlockRec *body = kblock(from, r->body);
    const KInstRec *y = yield_of(from, r->body);
    int64_t lo, n;
    KVal init[16], out[16];
    KbLoop l;
    for (uint32_t c = 0; c < r->n_res; c++) init[c] = s->map[karg(from, r, 2 + c).i];
    if (trip(s, r, &lo, &n) && n <= 1 && may_open(from, r)) {
        s->map[body->param] = kb_i(s->b, lo);
        for (uint32_t c = 0; c < r->n_res; c++) s->map[body->param + 1 + c] = init[c];
        if (n) block(s, r->body);
        for (uint32_t c = 0; c < r->n_res; c++) s->map[r->res + c] = n ? s->map[karg(from, y, c).i] : init[c];
        return;
    }
    kb_loop(s->b, &l, r->loop, s->map[karg(from, r, 0).i], s->map[karg(from, r, 1).i], r->n_res, init, r->combine);
    kinst(kb_kernel(s->b), l.inst)->down = r->down;
    s->map[body->param] = l.iv;
    for (uint32_t c = 0; c < r->n_res; c++) s->map[body->param + 1 + c] = l.carry[c];
    for (uint32_t c = 0; c <= r->n_res; c++)
        kval(kb_kernel(s->b), s->map[body->param + c])->name = kval(from, (KVal){body->param + c})->name;
    block(s, r->body);
    for (uint32_t c = 0; c < r->n_res; c++) out[c] = s->map[karg(from, y, c).i];
    kb_loop_end(s->b, &l, out);
    for (uint32_t c = 0; c < r->n_res; c++) {
        s->map[r->res + c] = l.result[c];
        kval(kb_kernel(s->b), l.result[c])->name = kval(from, (KVal){r->res + c})->name;
    }
}

static void block(S *s, KBlock b)
{
    for (KInst i = kblock(s->from, b)->first; i.i; i = kinst(s->from, i)->next) {
        const KInstRec *r = kinst(s->from, i);
        if (r->op == KOP_YIELD) continue;
        if (r->op == KOP_FOR && r->n_res <= 8) loop(s, r);
        else kb_copy(s->b, s->from, i, s->map);
    }
}

static const char *text_of(KModule *m, Arena *a, const Kernel *k)
{
    Str s;
    str_init(&s, a);
    kir_print_kernel(&s, m, k);
    return str_get(&s);
}

bool kpass_simplify(KModule *m)
{
    bool changed = false;
    for (uint32_t i = 0; i < m->kernel.n; i++) {
        Arena a;
        arena_init(&a, "pass", m->arena->oom);
        Kernel *k = m->kernel.p[i], old = *k;
        S s = {.m = m, .b = kb_reopen(m, k), .from = &old, .map = arena_array(&a, KVal, k->val.n)};
        const char *before = text_of(m, &a, k);
        block(&s, old.top);
        kb_replace(s.b, k);
        changed |= strcmp(before, text_of(m, &a, k)) != 0;
        arena_free(&a);
    }
    return kpass_dce(m) || changed;
}

static PassResult run(PassCtx *c) { return kpass_simplify(c->k) ? PASS_CHANGED : PASS_UNCHANGED; }
const Pass pass_kernel_simplify = {.name = "kernel-simplify",
                                   .brief =
                                       "fold constants in kernels, open loops of one round, drop what nothing needs",
                                   .kernel = true,
                                   .run = run};
