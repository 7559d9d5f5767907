/* launches.c: the steps that launch each kernel. */
#include "ir/kernel/launches.h"

KLaunchList *klaunches_of(KLaunches *l, const Kernel *k)
{
    uint64_t at;
    if (!map_get(&l->index, (uintptr_t)k, &at)) {
        at = l->of.n;
        map_put(&l->index, (uintptr_t)k, at);
        vec_push(l->arena, &l->of, (KLaunchList){0});
    }
    return &l->of.p[at];
}

void klaunches_add(KLaunches *l, KStep *launch) { vec_push(l->arena, &klaunches_of(l, launch->kernel)->step, launch); }

static void note(void *arg, KStep *s)
{
    if (s->kind == KST_LAUNCH) klaunches_add(arg, s);
}

void klaunches_init(KLaunches *l, Arena *a, const KModule *m)
{
    *l = (KLaunches){.arena = a};
    map_init(&l->index, a);
    kstep_each(&m->program, note, l);
}
