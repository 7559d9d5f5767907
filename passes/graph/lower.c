/* lower: the Graph IR becomes a program and kernels (ir/graph/lower.c, the ops' `lower`, `scalar` and `route` hooks).
 *   %y = Relu(%x) : f32[N]    =>    kernel @k0_relu(%x: f32[N], %y: f32[N] out) {
 *                                     for %i = 0..N par { store %y[%i] = max(load %x[%i], 0.0) }
 *                                   }
 *                                   program { launch @k0_relu(%x, %y) }
 * Types and known contents are inferred once more first: contents are no part of the text form, so a module that was
 * read back has none.
 * Afterwards the Graph IR is not used any more. */
#include "ir/graph/infer.h"
#include "ir/graph/lower.h"
#include "passes/pass.h"

/* Constants that a graph computes keep that graph beside them, as text. */
static void keep_recipes(PassCtx *c)
{
    VEC(Blob) blob = {0};
    Str s;
    for (uint32_t k = 1; k < c->k->buf.n; k++)
        if (c->k->buf.p[k].space == KS_CONST) vec_push(c->arena, &blob, c->k->buf.p[k].blob);
    str_init(&s, c->k->arena);
    if (bir_print_recipes(&s, c->m, blob.p, blob.n)) c->k->recipes = str_get(&s);
}

static PassResult run(PassCtx *c)
{
    if (!infer_graph(c->m->entry) || !lower_module(c->m, c->k)) return PASS_FAILED;
    keep_recipes(c);
    pass_count(c, "kernels", (int64_t)c->k->kernel.n);
    return PASS_CHANGED;
}

const Pass pass_lower = {.name = "lower", .brief = "from graphs to a program and its kernels", .run = run};
