/* rare.c: steps of the program as data for the runtime (runtime/rt_step.c) instead of code: what stands in arms that few runs
 * take, of which a model of unknown ranks has thousands. A record is bytes without addresses:
 *   bind $n = a*max(1, b)    =>    @step.7 = rt_step{..., n = 5, a = 4, dim = {SYM a, CONST 1, SYM b, MAX 1 2, MUL 0 3}}
 * Equal parts of a size are computed once. */
#include "codegen/cg.h"
#include "runtime/rt.h"

#include <stddef.h>
#include <string.h>

typedef struct Coded {
    Map at; /* Dim -> entry */
    uint32_t n;
    rt_dim dim[RT_DIMS_MAX];
} Coded;

static uint32_t put(Coded *c, uint32_t kind, int32_t a, int32_t b)
{
    if (c->n < RT_DIMS_MAX) c->dim[c->n] = (rt_dim){kind, a, b};
    return c->n < RT_DIMS_MAX ? c->n++ : RT_DIMS_MAX;
}

/* The entry that has the value of d; RT_DIMS_MAX: there are too many. */
static uint32_t coded(Cg *g, Coded *c, Dim d)
{
    static const uint8_t kind[] = {[DIM_ADD] = RT_D_ADD, [DIM_MUL] = RT_D_MUL, [DIM_FLOORDIV] = RT_D_DIV, [DIM_MOD] = RT_D_MOD,
                                   [DIM_MIN] = RT_D_MIN, [DIM_MAX] = RT_D_MAX, [DIM_BCAST] = RT_D_BCAST};
    const DimRec r = g->m->dims->rec.p[d.i];
    uint64_t known;
    uint32_t e;
    if (map_get(&c->at, d.i, &known)) return (uint32_t)known;
    if (r.kind == DIM_CONST) e = put(c, RT_D_CONST, (int32_t)(uint32_t)r.k, (int32_t)(uint32_t)((uint64_t)r.k >> 32));
    else if (r.kind == DIM_SYM) e = put(c, RT_D_SYM, (int32_t)r.sym.i, 0);
    else {
        uint32_t a = coded(g, c, r.a), b = coded(g, c, r.b);
        if (a == RT_DIMS_MAX || b == RT_DIMS_MAX) return RT_DIMS_MAX;
        e = put(c, kind[r.kind], (int32_t)a, (int32_t)b);
    }
    map_put(&c->at, d.i, e);
    return e;
}

LV rare_step(Cg *g, const rt_step *head, Dim a, Dim b)
{
    Coded *c = arena_new(&g->arena, Coded);
    map_init(&c->at, &g->arena);
    rt_step s = *head;
    s.a = coded(g, c, a);
    s.b = b.i && s.a < RT_DIMS_MAX ? coded(g, c, b) : s.a;
    s.n = c->n;
    if (s.b == RT_DIMS_MAX) return NULL;
    size_t n = offsetof(rt_step, dim) + s.n * sizeof *c->dim;
    char *bytes = arena_array(&g->arena, char, n);
    memcpy(bytes, &s, offsetof(rt_step, dim));
    memcpy(bytes + offsetof(rt_step, dim), c->dim, s.n * sizeof *c->dim);
    LV init = LLVMConstStringInContext2(g->cx, bytes, n, true), v = LLVMAddGlobal(g->mod, LLVMTypeOf(init), "step");
    LLVMSetInitializer(v, init);
    LLVMSetLinkage(v, LLVMPrivateLinkage);
    LLVMSetGlobalConstant(v, true);
    LLVMSetAlignment(v, 8);
    return v;
}
