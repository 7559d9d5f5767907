/* math_mode.c: see math_mode.h. */
#include "ir/graph/math_mode.h"
#include <string.h>

static const struct {
    const char *name;
    unsigned rights;
} MODES[] = {
    [MATH_DEFAULT] = {"default", MATH_WINOGRAD_2 | MATH_FLUSH},
    [MATH_STRICT] = {"strict", 0},
    [MATH_FAST] = {"fast", MATH_WINOGRAD_2 | MATH_WINOGRAD_4 | MATH_REASSOCIATE | MATH_HALF_WEIGHTS | MATH_FLUSH},
    [MATH_BF16] = {"bf16", MATH_WINOGRAD_2 | MATH_BF16_PRODUCTS | MATH_FLUSH},
};

bool math_allows(MathMode m, MathRight r) { return (MODES[m].rights & (unsigned)r) != 0; }

const char *math_mode_name(MathMode m) { return MODES[m].name; }

bool math_mode_find(const char *name, MathMode *m)
{
    for (unsigned k = 0; k < sizeof MODES / sizeof *MODES; k++)
        if (!strcmp(MODES[k].name, name)) {
            *m = (MathMode)k;
            return true;
        }
    return false;
}

MathMode graph_math(const Graph *g, Node n)
{
    const Module *m = g->m;
    Name name = node_rec(g, n)->loc.name;
    for (uint32_t k = 0; name.i && k < m->node_math.n; k++)
        if (m->node_math.p[k].node.i == name.i) return m->node_math.p[k].mode;
    return m->math;
}

void module_set_node_math(Module *m, Name node, MathMode mode)
{
    for (uint32_t k = 0; k < m->node_math.n; k++)
        if (m->node_math.p[k].node.i == node.i) {
            m->node_math.p[k].mode = mode;
            return;
        }
    NodeMath x = {node, mode};
    vec_push(m->arena, &m->node_math, x);
}
