/* map_nest: see map_nest.h. */
#include "passes/kernel/map_nest.h"

bool map_nest_find(const Kernel *k, MapNest *s)
{
    *s = (MapNest){.k = k};
    for (uint32_t p = 1; p < k->param.n; p++)
        if (k->param.p[p].space != KS_PARAM || (k->param.p[p].out && kx_param_read(k, p))) return false;
    s->block[0] = k->top;
    for (;;) {
        KInst inner = {0};
        bool touches = false;
        for (KInst i = kblock(k, s->block[s->n])->first; i.i; i = kinst(k, i)->next) {
            const KInstRec *r = kinst(k, i);
            if (r->op == KOP_YIELD) continue;
            s->size++;
            if (r->op == KOP_FOR) {
                if (inner.i || r->loop != KLOOP_PAR || r->down) return false;
                inner = i;
            } else if (r->op == KOP_LOAD || r->op == KOP_STORE) touches = true;
            else if (!map_pure(r)) return false;
        }
        if (!inner.i) return s->n > 0 && touches;
        if (touches || s->n + 1 >= MAP_NEST_MAX) return false;
        s->loop[s->n++] = inner;
        s->block[s->n] = kinst(k, inner)->body;
    }
}
