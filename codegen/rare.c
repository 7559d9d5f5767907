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

/* The record as a constant: head, the entries of c, then n_given arguments. */
static LV record(Cg *g, rt_step head, const Coded *c, const rt_arg_code *given, uint32_t n_given)
{
    head.n = c->n;
    size_t at = offsetof(rt_step, dim), dims = c->n * sizeof *c->dim, n = at + dims + n_given * sizeof *given;
    char *bytes = arena_array(&g->arena, char, n);
    memcpy(bytes, &head, at);
    memcpy(bytes + at, c->dim, dims);
    if (n_given) memcpy(bytes + at + dims, given, n_given * sizeof *given);
    LV init = LLVMConstStringInContext2(g->cx, bytes, n, true), v = LLVMAddGlobal(g->mod, LLVMTypeOf(init), "step");
    LLVMSetInitializer(v, init);
    LLVMSetLinkage(v, LLVMPrivateLinkage);
    LLVMSetGlobalConstant(v, true);
    LLVMSetAlignment(v, 8);
    return v;
}

static Coded *new_code(Cg *g)
{
    Coded *c = arena_new(&g->arena, Coded);
    map_init(&c->at, &g->arena);
    return c;
}

LV rare_step(Cg *g, const rt_step *head, Dim a, Dim b)
{
    Coded *c = new_code(g);
    rt_step s = *head;
    s.a = coded(g, c, a);
    s.b = b.i && s.a < RT_DIMS_MAX ? coded(g, c, b) : s.a;
    return s.b == RT_DIMS_MAX ? NULL : record(g, s, c, NULL, 0);
}

LV rare_alloc(Cg *g, KBuf b, uint32_t number)
{
    const KBufRec *r = kbuf(g->m, b);
    int64_t lo = 0, hi;
    for (int a = 0; a < r->rank && lo >= 0; a++) dim_bounds(g->m->dims, dim_resolve(g->m->dims, r->dim[a]), &lo, &hi);
    Dim bytes = lo >= 0 ? kbuf_bytes(g->m, r) : DIM_NONE;
    return bytes.i ? rare_step(g, &(rt_step){.step = number, .sym = g->slot[b.i]}, dim_resolve(g->m->dims, bytes), DIM_NONE) : NULL;
}

/* ---- arguments of calls ---- */
static uint32_t put_int(Coded *c, int64_t v) { return put(c, RT_D_CONST, (int32_t)(uint32_t)v, (int32_t)(uint32_t)((uint64_t)v >> 32)); }

/* Where element 0 lies: a base, and the entry of the bytes behind it. false: only code can say it. */
static bool place_given(Cg *g, Coded *c, KBuf b, rt_arg_code *to)
{
    const KBufRec *r = kbuf(g->m, b);
    switch (r->space) {
    case KS_IN:
    case KS_OUT:
    case KS_BOX:
    case KS_SEQ:
        to->where = RT_AT_SLOT;
        to->from = (int32_t)g->slot[b.i];
        to->at = put_int(c, 0);
        return true;
    case KS_CONST:
        if (r->elem == DT_STR) return false;
        to->where = RT_AT_WEIGHTS;
        to->at = put_int(c, r->weight_off);
        return true;
    case KS_ARENA:
        to->where = RT_AT_ARENA;
        to->at = coded(g, c, dim_resolve(g->m->dims, r->offset));
        return true;
    case KS_VIEW:
        if (!place_given(g, c, r->base, to)) return false;
        if (!r->offset.i) return true;
        uint32_t base = to->at, n = coded(g, c, dim_resolve(g->m->dims, r->offset)), size = put_int(c, r->elem == DT_STR ? 16 : dtype_bytes(r->elem, 1));
        if (base == RT_DIMS_MAX || n == RT_DIMS_MAX || size == RT_DIMS_MAX) return false;
        uint32_t bytes = put(c, RT_D_MUL, (int32_t)n, (int32_t)size);
        if (bytes == RT_DIMS_MAX) return false;
        to->at = put(c, RT_D_ADD, (int32_t)base, (int32_t)bytes);
        return true;
    default: return false;
    }
}

static bool tensor_given(Cg *g, Coded *c, KBuf b, rt_arg_code *to)
{
    const KBufRec *r = kbuf(g->m, b);
    bool slot = r->space == KS_SEQ || r->space == KS_BOX;
    *to = (rt_arg_code){.kind = r->space == KS_SEQ ? RT_SEQ : RT_BUF, .slot = slot ? (int32_t)g->slot[b.i] : -1};
    if (r->space == KS_SEQ) return true;
    to->dtype = (uint8_t)r->elem;
    to->rank = r->rank;
    uint32_t dim[RANK_MAX];
    for (int a = 0; a < r->rank; a++)
        if ((dim[a] = coded(g, c, dim_resolve(g->m->dims, r->dim[a]))) == RT_DIMS_MAX) return false;
    to->dim = c->n; /* the dims once more, side by side */
    for (int a = 0; a < r->rank; a++)
        if (put(c, RT_D_MAX, (int32_t)dim[a], (int32_t)dim[a]) == RT_DIMS_MAX) return false;
    return place_given(g, c, b, to) && to->at < RT_DIMS_MAX;
}

LV rare_call(Cg *g, const KStep *s, uint32_t number)
{
    rt_arg_code given[RT_GIVEN_MAX] = {{0}};
    Coded *c = new_code(g);
    if (s->n_arg > RT_GIVEN_MAX) return NULL;
    for (uint32_t i = 0; i < s->n_arg; i++) {
        const KArg *a = &s->arg[i];
        rt_arg_code *to = &given[i];
        switch (a->kind) {
        case KA_BUF:
            if (!tensor_given(g, c, a->buf, to)) return NULL;
            break;
        case KA_DIM: *to = (rt_arg_code){.kind = RT_DIM, .at = coded(g, c, dim_resolve(g->m->dims, a->dim))}; break;
        case KA_INT: *to = (rt_arg_code){.kind = RT_INT, .at = put_int(c, a->i)}; break;
        case KA_SYM: *to = (rt_arg_code){.kind = RT_SYM, .from = (int32_t)a->sym.i}; break;
        case KA_STR: return NULL; /* an address */
        }
        if (to->at == RT_DIMS_MAX) return NULL;
    }
    return record(g, (rt_step){.step = number, .what = (int32_t)s->n_arg, .sym = s->call->team}, c, given, s->n_arg);
}
