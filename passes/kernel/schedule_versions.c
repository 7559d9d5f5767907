/* schedule_versions: where extents broadcast that only the run knows (design D4), an index is multiplied by whether the
 * operand's extent is 1. As a kernel that is no good for lanes; each of the cases is.
 *   launch @k(%x, %y, %z)     ; load %y[mul(%i, cast<i64>(ne(M, 1)))]
 *   =>
 *   if M-1 { launch @k(%x, %y, %z)        ; load %y[%i]
 *   } else { launch @k_1(%x, %y, %z) }    ; load %y[0]
 * Up to two extents: four kernels. */
#include "passes/kernel/schedule_versions.h"

enum { EXTENTS_MAX = 2, SIZE_WORTH = 400 /* instructions of a kernel that is worth copies */ };

typedef struct V {
    KModule *m;
    Kb *b;
    const Kernel *from;
    KVal *map;
    Dim extent[EXTENTS_MAX];
    uint32_t n, ones; /* ones: bit i: extent i is 1 */
} V;

/* `ne(extent, 1)`, of an extent that is not a number. */
static bool asks(KModule *m, const Kernel *k, const KInstRec *r, Dim *extent)
{
    int64_t one;
    if (r->op != KOP_NE || r->n_arg != 2) return false;
    KInst def = kval(k, karg(k, r, 0))->def;
    if (!def.i || kinst(k, def)->op != KOP_DIM || !kx_const_i(k, m->dims, karg(k, r, 1), &one) || one != 1) return false;
    *extent = kinst(k, def)->imm.dim;
    return !dim_is_const(m->dims, *extent, &one);
}

static bool find(V *v)
{
    const Kernel *k = v->from;
    if (k->inst.n > SIZE_WORTH) return false;
    for (uint32_t i = 1; i < k->inst.n; i++) {
        const KInstRec *r = &k->inst.p[i];
        Dim e;
        uint32_t j = 0;
        if (!r->block.i) continue;
        if (r->op == KOP_MACC) return false;
        if (!asks(v->m, k, r, &e)) continue;
        while (j < v->n && !dim_same(v->extent[j], e)) j++;
        if (j == EXTENTS_MAX) return false;
        v->extent[j] = e;
        if (j == v->n) v->n++;
    }
    return v->n > 0;
}

/* ---- one version ---- */

static void block(V *v, KBlock b);

static void loop(V *v, const KInstRec *r)
{
    const KBlockRec *body = kblock(v->from, r->body);
    KVal init[K_CARRIES], out[K_CARRIES];
    KbLoop l;
    for (uint32_t c = 0; c < r->n_res; c++) init[c] = v->map[karg(v->from, r, 2 + c).i];
    kb_loop(v->b, &l, r->loop, v->map[karg(v->from, r, 0).i], v->map[karg(v->from, r, 1).i], r->n_res, init, r->combine);
    kinst(kb_kernel(v->b), l.inst)->down = r->down;
    v->map[body->param] = l.iv;
    for (uint32_t c = 0; c < r->n_res; c++) v->map[body->param + 1 + c] = l.carry[c];
    for (uint32_t c = 0; c <= r->n_res; c++)
        kval(kb_kernel(v->b), v->map[body->param + c])->name = kval(v->from, (KVal){body->param + c})->name;
    block(v, r->body);
    for (uint32_t c = 0; c < r->n_res; c++) out[c] = v->map[karg(v->from, kinst(v->from, body->last), c).i];
    kb_loop_end(v->b, &l, out);
    for (uint32_t c = 0; c < r->n_res; c++) v->map[r->res + c] = l.result[c];
}

static void block(V *v, KBlock b)
{
    for (KInst i = kblock(v->from, b)->first; i.i; i = kinst(v->from, i)->next) {
        const KInstRec *r = kinst(v->from, i);
        Dim e;
        if (r->op == KOP_YIELD) continue;
        if (r->op == KOP_FOR) {
            loop(v, r);
        } else if (asks(v->m, v->from, r, &e)) {
            uint32_t j = dim_same(e, v->extent[0]) ? 0 : 1;
            v->map[r->res] = kb_const_i(v->b, DT_BOOL, !(v->ones >> j & 1));
        } else kb_copy(v->b, v->from, i, v->map);
    }
}

static Kernel *version(V *v, Kernel *k, uint32_t ones, Arena *a)
{
    KModule *m = v->m;
    Kernel *to = k;
    v->ones = ones;
    v->map = arena_array(a, KVal, v->from->val.n);
    v->b = kb_reopen(m, v->from);
    block(v, v->from->top);
    if (ones) { /* the first takes the place of the kernel itself */
        to = arena_memdup(m->arena, v->from, sizeof(Kernel));
        vec_push(m->arena, &m->kernel, to);
    }
    kb_replace(v->b, to);
    if (ones) to->name = name_of(m->names, arena_printf(m->arena, "%s_%u", name_str(m->names, v->from->name), ones));
    return to;
}

/* ---- launches ---- */

/* Launches of all versions that agree with the `ones` of extents before `i`. */
static void branch(V *v, KLaunches *launches, KSteps *to, const KStep *launch, Kernel *const *kernel, uint32_t i, uint32_t ones)
{
    if (i == v->n) {
        KStep *s = kstep_add(v->m, to, KST_LAUNCH, launch->loc);
        s->kernel = kernel[ones];
        s->buf_arg = arena_memdup(v->m->arena, launch->buf_arg, launch->n_buf_arg * sizeof(KBuf));
        s->n_buf_arg = launch->n_buf_arg;
        klaunches_add(launches, s);
        return;
    }
    KStep *s = kstep_add(v->m, to, KST_IF, launch->loc);
    s->a = dim_sub(v->m->dims, v->extent[i], dim_const(v->m->dims, 1));
    branch(v, launches, s->body, launch, kernel, i + 1, ones);
    branch(v, launches, s->other, launch, kernel, i + 1, ones | 1u << i);
}

bool schedule_versions(KModule *m, Kernel *k, KLaunches *launches)
{
    Kernel old = *k, *kernel[1 << EXTENTS_MAX];
    V v = {.m = m, .from = &old};
    if (!find(&v)) return false;
    Arena a;
    arena_init(&a, "pass", m->arena->oom);
    for (uint32_t ones = 0; ones < 1u << v.n; ones++) kernel[ones] = version(&v, k, ones, &a);
    KLaunchList old_steps = *klaunches_of(launches, k);
    *klaunches_of(launches, k) = (KLaunchList){0};
    for (uint32_t i = 0; i < old_steps.step.n; i++) { /* the step itself becomes the outermost `if` */
        KStep *s = old_steps.step.p[i], launch = *s;
        KSteps one = {0};
        branch(&v, launches, &one, &launch, kernel, 0, 0);
        KStep *prev = s->prev, *next = s->next;
        *s = *one.first;
        s->prev = prev;
        s->next = next;
    }
    arena_free(&a);
    return true;
}
