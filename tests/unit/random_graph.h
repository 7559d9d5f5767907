/* random_graph.h: random graphs as .bir text, with inputs, and their reference results. A failing one, printed, is a
 * test file.
 * Inputs are small integers and most operators exact; values are clipped before they leave the exact range; what is
 * inexact (Exp, Softmax, ...) never decides anything (compare, Floor, ArgMax) and is compared with a tolerance. Sizes
 * are symbols or constants; shape arithmetic, If, Loop and windows occur. */
#ifndef BMC_TESTS_UNIT_RANDOM_GRAPH_H
#define BMC_TESTS_UNIT_RANDOM_GRAPH_H
#include "ir/graph/eval.h"
#include "ir/graph/infer.h"
#include "passes/pass.h"
#include "tests/unit/check.h"
#include <math.h>
#include <stdlib.h>

#define MAX_VALUES 40
typedef struct V {
    char name[8];
    char type; /* f, i, b */
    bool inexact;
    int rank, dim[4];
} V;
typedef struct Gen {
    Str s;
    Arena *a;
    Rng rng;
    V v[MAX_VALUES];
    uint32_t n;
    uint32_t n_name;
    int depth;
} Gen;

static uint32_t pick(Gen *g, uint32_t n) { return (uint32_t)(rng_next(&g->rng) % n); }

static V *fresh(Gen *g, char type)
{
    V *v = &g->v[g->n++];
    *v = (V){.type = type};
    snprintf(v->name, sizeof v->name, "v%u", g->n_name++ % 100000u);
    return v;
}

static void indent(Gen *g)
{
    for (int k = 0; k <= g->depth; k++) str_add(&g->s, "  ");
}

static V *any(Gen *g, char type, bool exact)
{
    V *hit = NULL;
    uint32_t seen = 0;
    for (uint32_t k = 0; k < g->n; k++) {
        if (g->v[k].type != type || (exact && g->v[k].inexact)) continue;
        seen++;
        if (pick(g, seen + 1) != 0 || !hit) hit = &g->v[k]; /* later ones are likelier: graphs get deep */
    }
    return hit;
}

static bool broadcasts(const V *x, const V *y, V *to)
{
    to->rank = x->rank > y->rank ? x->rank : y->rank;
    for (int k = 1; k <= to->rank; k++) {
        int a = k <= x->rank ? x->dim[x->rank - k] : 1, b = k <= y->rank ? y->dim[y->rank - k] : 1;
        if (a != b && a != 1 && b != 1) return false;
        to->dim[to->rank - k] = a == 1 ? b : a;
    }
    return true;
}

static int64_t count_of(const V *v)
{
    int64_t n = 1;
    for (int k = 0; k < v->rank; k++) n *= v->dim[k];
    return n;
}

static void shape_like(V *to, const V *from)
{
    to->rank = from->rank;
    memcpy(to->dim, from->dim, sizeof to->dim);
    to->inexact = from->inexact;
}

/* A constant list of integers; returns its name. */
static const char *ints(Gen *g, const int *v, int n)
{
    char *name = arena_printf(g->a, "c%u", g->n_name++);
    indent(g);
    str_printf(&g->s, "%%%s = const i64[%d] [", name, n);
    for (int k = 0; k < n; k++) str_printf(&g->s, "%s%d", k ? "," : "", v[k]);
    str_add(&g->s, "]\n");
    return name;
}

static const char *scalar(Gen *g, double x)
{
    char *name = arena_printf(g->a, "c%u", g->n_name++);
    indent(g);
    str_printf(&g->s, "%%%s = const f32[] [%g]\n", name, x);
    return name;
}

/* Keeps f32 values in the range where sums and products are exact. */
static void clip(Gen *g, V *v)
{
    const char *lo = scalar(g, -16), *hi = scalar(g, 16);
    char old[8];
    memcpy(old, v->name, sizeof old);
    snprintf(v->name, sizeof v->name, "v%u", g->n_name++ % 100000u);
    indent(g);
    str_printf(&g->s, "%%%s = Clip(%%%s, %%%s, %%%s)\n", v->name, old, lo, hi);
}

static void unary(Gen *g)
{
    static const char *const exact[] = {"Relu", "Neg", "Abs", "Identity", "Sign", "Floor"}, *const inexact[] = {
                                                                                                "Tanh", "Sigmoid",
                                                                                                "Exp", "Softplus"};
    bool soft = pick(g, 4) == 0;
    const char *op = soft ? inexact[pick(g, 4)] : exact[pick(g, 6)];
    V *x = any(g, 'f', !soft && (!strcmp(op, "Sign") || !strcmp(op, "Floor")));
    if (!x) return;
    V in = *x, *y = fresh(g, 'f');
    shape_like(y, &in);
    y->inexact |= soft;
    indent(g);
    str_printf(&g->s, "%%%s = %s(%%%s)\n", y->name, op, in.name);
    if (!strcmp(op, "Exp")) clip(g, y);
}

static void binary(Gen *g)
{
    static const char *const ops[] = {"Add", "Sub", "Mul", "Max", "Min"};
    V *x = any(g, 'f', false), *y = any(g, 'f', false), shape = {0};
    if (!x || !y || !broadcasts(x, y, &shape) || count_of(&shape) > 400) return;
    V a = *x, b = *y, *z = fresh(g, 'f');
    const char *op = ops[pick(g, 5)];
    shape_like(z, &shape);
    z->inexact = a.inexact || b.inexact;
    indent(g);
    str_printf(&g->s, "%%%s = %s(%%%s, %%%s)\n", z->name, op, a.name, b.name);
    clip(g, z);
}

static void compare_where(Gen *g)
{
    V *x = any(g, 'f', true), *y = any(g, 'f', true), *p = any(g, 'f', false), shape = {0}, all = {0};
    if (!x || !y || !p || !broadcasts(x, y, &shape) || !broadcasts(&shape, p, &all) || count_of(&all) > 400) return;
    V a = *x, b = *y, c = *p, *cond = fresh(g, 'b'), cc;
    shape_like(cond, &shape);
    cc = *cond;
    V *z = fresh(g, 'f');
    shape_like(z, &all);
    z->inexact = c.inexact;
    indent(g);
    str_printf(&g->s, "%%%s = %s(%%%s, %%%s)\n", cc.name, pick(g, 2) ? "Greater" : "LessOrEqual", a.name, b.name);
    indent(g);
    str_printf(&g->s, "%%%s = Where(%%%s, %%%s, %%%s)\n", z->name, cc.name, c.name,
               pick(g, 2) && broadcasts(&cc, &a, &shape) && broadcasts(&shape, &c, &shape) &&
                       count_of(&shape) == count_of(&all)
                   ? a.name
                   : c.name);
}

static void transpose(Gen *g)
{
    V *x = any(g, 'f', false);
    if (!x || x->rank < 2) return;
    V in = *x, *y = fresh(g, 'f');
    int perm[4] = {0, 1, 2, 3};
    for (int k = in.rank - 1; k > 0; k--) {
        int j = (int)pick(g, (uint32_t)k + 1), t = perm[k];
        perm[k] = perm[j];
        perm[j] = t;
    }
    shape_like(y, &in);
    indent(g);
    str_printf(&g->s, "%%%s = Transpose(%%%s) {perm=[", y->name, in.name);
    for (int k = 0; k < in.rank; k++) {
        y->dim[k] = in.dim[perm[k]];
        str_printf(&g->s, "%s%d", k ? "," : "", perm[k]);
    }
    str_add(&g->s, "]}\n");
}

/* Through the shape of a value: [last, rest] computed while compiling where it can be. */
static void reshape(Gen *g)
{
    V *x = any(g, 'f', false);
    if (!x || x->rank < 1 || count_of(x) == 0) return;
    V in = *x, *y;
    uint32_t id = g->n_name;
    int last = in.rank - 1;
    const char *at = ints(g, &last, 1), *minus = ints(g, (int[]){-1}, 1);
    g->n_name = id + 5;
    y = fresh(g, 'f');
    y->rank = 2;
    y->dim[0] = in.dim[last];
    y->dim[1] = (int)(count_of(&in) / in.dim[last]);
    y->inexact = in.inexact;
    indent(g);
    str_printf(&g->s, "%%s%u = Shape(%%%s)\n", id, in.name);
    indent(g);
    str_printf(&g->s, "%%t%u = Gather(%%s%u, %%%s)\n", id, id, at);
    indent(g);
    str_printf(&g->s, "%%u%u = Concat(%%t%u, %%%s) {axis=0}\n", id, id, minus);
    indent(g);
    str_printf(&g->s, "%%%s = Reshape(%%%s, %%u%u)\n", y->name, in.name, id);
}

static void slice_pad(Gen *g)
{
    V *x = any(g, 'f', false);
    if (!x || x->rank < 1) return;
    V in = *x, *y;
    int axis = (int)pick(g, (uint32_t)in.rank);
    if (pick(g, 2)) {
        int lo = (int)pick(g, 2), hi = 2 + (int)pick(g, 3), step = 1 + (int)pick(g, 2),
            end = hi < in.dim[axis] ? hi : in.dim[axis];
        const char *l = ints(g, &lo, 1), *h = ints(g, &hi, 1), *ax = ints(g, &axis, 1), *st = ints(g, &step, 1);
        y = fresh(g, 'f');
        shape_like(y, &in);
        y->dim[axis] = end > lo ? (end - lo + step - 1) / step : 0;
        indent(g);
        str_printf(&g->s, "%%%s = Slice(%%%s, %%%s, %%%s, %%%s, %%%s)\n", y->name, in.name, l, h, ax, st);
    } else {
        int pads[8] = {0};
        if (count_of(&in) > 100) return;
        pads[axis] = (int)pick(g, 3);
        pads[in.rank + axis] = (int)pick(g, 2);
        const char *p = ints(g, pads, 2 * in.rank), *fill = scalar(g, pick(g, 4));
        y = fresh(g, 'f');
        shape_like(y, &in);
        y->dim[axis] += pads[axis] + pads[in.rank + axis];
        indent(g);
        str_printf(&g->s, "%%%s = Pad(%%%s, %%%s, %%%s)\n", y->name, in.name, p, fill);
    }
}

static void concat(Gen *g)
{
    V *x = any(g, 'f', false);
    if (!x || x->rank < 1 || count_of(x) > 100) return;
    V in = *x, *y = fresh(g, 'f');
    int axis = (int)pick(g, (uint32_t)in.rank);
    shape_like(y, &in);
    y->dim[axis] *= 2;
    indent(g);
    str_printf(&g->s, "%%%s = Concat(%%%s, %%%s) {axis=%d}\n", y->name, in.name, in.name,
               pick(g, 2) ? axis : axis - in.rank);
}

static void reduce(Gen *g)
{
    static const char *const ops[] = {"ReduceSum", "ReduceMax", "ReduceMin", "Softmax", "CumSum", "ArgMax"};
    uint32_t op = pick(g, 6);
    V *x = any(g, 'f', op == 5);
    if (!x || x->rank < 1 || count_of(x) == 0) return;
    V in = *x, *y;
    int axis = (int)pick(g, (uint32_t)in.rank), keep = (int)pick(g, 2);
    const char *ax = ints(g, &axis, 1);
    y = fresh(g, op == 5 ? 'i' : 'f');
    shape_like(y, &in);
    y->inexact |= op == 3;
    if (op == 5) y->inexact = false;
    indent(g);
    if (op == 3) str_printf(&g->s, "%%%s = Softmax(%%%s) {axis=%d}\n", y->name, in.name, axis);
    else if (op == 4) {
        char *s = arena_printf(g->a, "q%u", g->n_name++);
        str_printf(&g->s, "%%%s = const i64[] [%d]\n", s, axis);
        indent(g);
        str_printf(&g->s, "%%%s = CumSum(%%%s, %%%s)\n", y->name, in.name, s);
    } else {
        if (op == 5) str_printf(&g->s, "%%%s = ArgMax(%%%s) {axis=%d, keepdims=%d}\n", y->name, in.name, axis, keep);
        else str_printf(&g->s, "%%%s = %s(%%%s, %%%s) {keepdims=%d}\n", y->name, ops[op], in.name, ax, keep);
        y->dim[axis] = 1;
        if (!keep) {
            memmove(y->dim + axis, y->dim + axis + 1, sizeof(int) * (size_t)(in.rank - axis - 1));
            y->rank--;
        }
    }
    if (op == 0 || op == 4) clip(g, y);
}

static void matmul(Gen *g)
{
    V *x = any(g, 'f', false);
    if (!x || x->rank < 2 || count_of(x) > 200) return;
    V in = *x, *y;
    char *w = arena_printf(g->a, "w%u", g->n_name++), *b = arena_printf(g->a, "b%u", g->n_name++);
    int K = in.dim[in.rank - 1], N = 1 + (int)pick(g, 20);
    if (K == 0) return;
    indent(g);
    str_printf(&g->s, "%%%s = const f32[%d,%d] [", w, K, N);
    for (int k = 0; k < K * N; k++) str_printf(&g->s, "%s%d", k ? "," : "", (int)pick(g, 5) - 2);
    str_add(&g->s, "]\n");
    indent(g);
    str_printf(&g->s, "%%%s = const f32[%d] [", b, N);
    for (int k = 0; k < N; k++) str_printf(&g->s, "%s%d", k ? "," : "", (int)pick(g, 5) - 2);
    str_add(&g->s, "]\n");
    char *m = arena_printf(g->a, "m%u", g->n_name++);
    y = fresh(g, 'f');
    shape_like(y, &in);
    y->dim[in.rank - 1] = N;
    indent(g);
    str_printf(&g->s, "%%%s = MatMul(%%%s, %%%s)\n", m, in.name, w);
    indent(g);
    str_printf(&g->s, "%%%s = Add(%%%s, %%%s)\n", y->name, m, b);
    clip(g, y);
}

static void expand_tile(Gen *g)
{
    V *x = any(g, 'f', false);
    if (!x || x->rank > 3) return;
    V in = *x, *y;
    int to[5] = {0};
    bool tile = pick(g, 2) && in.rank > 0;
    int rank = tile ? in.rank : in.rank + (int)pick(g, 2), more = rank - in.rank;
    for (int k = 0; k < rank; k++) {
        int d = k < more ? 1 : in.dim[k - more];
        to[k] = tile ? 1 + (int)pick(g, 2) : d == 1 ? 1 + (int)pick(g, 3) : pick(g, 2) ? 1 : d;
    }
    if (count_of(&in) > 40 || rank == 0) return;
    const char *c = ints(g, to, rank);
    y = fresh(g, 'f');
    y->rank = rank;
    y->inexact = in.inexact;
    for (int k = 0; k < rank; k++) {
        int d = k < more ? 1 : in.dim[k - more];
        y->dim[k] = tile ? d * to[k] : to[k] == 1 ? d : to[k];
    }
    indent(g);
    str_printf(&g->s, "%%%s = %s(%%%s, %%%s)\n", y->name, tile ? "Tile" : "Expand", in.name, c);
}

static void unsqueeze(Gen *g)
{
    V *x = any(g, 'f', false);
    if (!x || x->rank > 3) return;
    V in = *x, *y;
    int axis = (int)pick(g, (uint32_t)in.rank + 1);
    const char *c = ints(g, &axis, 1);
    y = fresh(g, 'f');
    shape_like(y, &in);
    memmove(y->dim + axis + 1, y->dim + axis, sizeof(int) * (size_t)(in.rank - axis));
    y->dim[axis] = 1;
    y->rank++;
    indent(g);
    str_printf(&g->s, "%%%s = Unsqueeze(%%%s, %%%s)\n", y->name, in.name, c);
}

/* Indices from the data (an ArgMax, kept below the extent) or constant, negative ones too. */
static void gather(Gen *g)
{
    V *x = any(g, 'f', false), *i = any(g, 'i', true);
    if (!x || x->rank < 1) return;
    V in = *x, at = {0}, *y;
    int axis = (int)pick(g, (uint32_t)in.rank), last = in.dim[axis] - 1;
    if (last < 0) return;
    char *index;
    if (i && pick(g, 2)) {
        at = *i;
        const char *c = ints(g, &last, 1);
        index = arena_printf(g->a, "i%u", g->n_name++);
        indent(g);
        str_printf(&g->s, "%%%s = Min(%%%s, %%%s)\n", index, at.name, c);
        if (at.rank == 0) at.rank = 1, at.dim[0] = 1;
    } else {
        int v[2] = {(int)pick(g, (uint32_t)last + 1), -1 - (int)pick(g, (uint32_t)last + 1)};
        at.rank = 1;
        at.dim[0] = 2;
        index = (char *)ints(g, v, 2);
    }
    if (at.rank + in.rank - 1 > 4 || count_of(&at) * count_of(&in) > 400) return;
    y = fresh(g, 'f');
    y->inexact = in.inexact;
    for (int k = 0; k < axis; k++) y->dim[y->rank++] = in.dim[k];
    for (int k = 0; k < at.rank; k++) y->dim[y->rank++] = at.dim[k];
    for (int k = axis + 1; k < in.rank; k++) y->dim[y->rank++] = in.dim[k];
    indent(g);
    str_printf(&g->s, "%%%s = Gather(%%%s, %%%s) {axis=%d}\n", y->name, in.name, index, axis);
}

/* Over the last axis of [N,C,W]: a convolution with its bias, or a pool. */
static void window(Gen *g)
{
    V *x = any(g, 'f', false);
    for (uint32_t k = 0; k < g->n && (!x || x->rank != 3); k++)
        if (g->v[k].type == 'f') x = &g->v[k];
    if (!x || x->rank != 3 || count_of(x) == 0 || count_of(x) > 150) return;
    V in = *x, *y;
    int C = in.dim[1], W = in.dim[2], k = 1 + (int)pick(g, 3), stride = 1 + (int)pick(g, 2),
        lo = (int)pick(g, (uint32_t)k), hi = (int)pick(g, (uint32_t)k), OC = 1 + (int)pick(g, 5);
    int out = (W + lo + hi - k) / stride + 1;
    uint32_t kind = pick(g, 3);
    if (W + lo + hi < k) return;
    if (kind == 2) {
        char *w = arena_printf(g->a, "w%u", g->n_name++), *b = arena_printf(g->a, "b%u", g->n_name++);
        indent(g);
        str_printf(&g->s, "%%%s = const f32[%d,%d,%d] [", w, OC, C, k);
        for (int j = 0; j < OC * C * k; j++) str_printf(&g->s, "%s%d", j ? "," : "", (int)pick(g, 5) - 2);
        str_add(&g->s, "]\n");
        indent(g);
        str_printf(&g->s, "%%%s = const f32[%d] [", b, OC);
        for (int j = 0; j < OC; j++) str_printf(&g->s, "%s%d", j ? "," : "", (int)pick(g, 5) - 2);
        str_add(&g->s, "]\n");
        y = fresh(g, 'f');
        shape_like(y, &in);
        y->dim[1] = OC;
        indent(g);
        str_printf(&g->s, "%%%s = Conv(%%%s, %%%s, %%%s)", y->name, in.name, w, b);
    } else {
        y = fresh(g, 'f');
        shape_like(y, &in);
        y->inexact |= kind == 1;
        indent(g);
        str_printf(&g->s, "%%%s = %s(%%%s)", y->name, kind ? "AveragePool" : "MaxPool", in.name);
    }
    y->dim[2] = out;
    str_printf(&g->s, " {kernel_shape=[%d], strides=[%d], pads=[%d,%d]}\n", k, stride, lo, hi);
    if (kind == 2) clip(g, y);
}

static void body(Gen *g, uint32_t ops);

/* A loop over one carried value, which keeps its shape, with another captured that broadcasts into it. */
static void loop(Gen *g)
{
    V *x = any(g, 'f', false), *c = any(g, 'f', false), *n = any(g, 'i', true), shape = {0};
    if (!x || !c || g->depth > 0 || x->rank > 3 || !broadcasts(x, c, &shape) || shape.rank != x->rank ||
        memcmp(shape.dim, x->dim, sizeof(int) * (size_t)x->rank))
        return;
    V in = *x, cap = *c, *y;
    uint32_t id = g->n_name++;
    bool data = n && n->rank == 0 && pick(g, 2);
    indent(g);
    str_printf(&g->s, "%%n%u = const i64[] [%u]\n", id, pick(g, 4));
    y = fresh(g, 'f');
    shape_like(y, &in);
    y->inexact |= cap.inexact;
    indent(g);
    str_printf(&g->s, "%%%s = Loop(%%%s, _, %%%s | %%%s)\n", y->name, data ? n->name : arena_printf(g->a, "n%u", id),
               in.name, cap.name);
    indent(g);
    str_printf(&g->s, "  graph @l%u(%%i: i64[], %%go: bool[], %%a: ?, %%b: ?) -> (%%go, %%e) {\n", id);
    for (int k = 0; k < 4; k++) {
        static const char *const lines[] = {"%c = Sub(%b, %a)", "%d = Abs(%c)", "%lo = const f32[] [16]",
                                            "%e = Min(%d, %lo)"};
        indent(g);
        str_printf(&g->s, "    %s\n", lines[k]);
    }
    indent(g);
    str_add(&g->s, "  }\n");
}

/* If on a comparison; the branches see one captured value and grow ops of their own on it. */
static void branch(Gen *g)
{
    V *x = any(g, 'f', false), *c = any(g, 'f', true);
    if (!x || !c || g->depth > 0) return;
    V in = *x, *y;
    uint32_t id = g->n_name++;
    const char *half = scalar(g, 0.5), *all = ints(g, (int[]){0, 1, 2, 3}, c->rank);
    indent(g);
    str_printf(&g->s, "%%r%u = ReduceMax(%%%s, %%%s) {keepdims=0, noop_with_empty_axes=1}\n", id, c->name, all);
    indent(g);
    str_printf(&g->s, "%%k%u = Greater(%%r%u, %%%s)\n", id, id, half);
    y = fresh(g, 'f');
    V out = *y;
    indent(g);
    str_printf(&g->s, "%%%s = If(%%k%u | %%%s)\n", y->name, id, in.name);
    Gen *inner = arena_new(g->a, Gen);
    for (int b = 0; b < 2; b++) {
        *inner = (Gen){.s = {.arena = g->a}, .a = g->a, .rng = g->rng, .n_name = g->n_name, .depth = g->depth + 1};
        inner->v[0] = in;
        inner->n = 1;
        if (b == 0) unary(inner);
        else binary(inner);
        V *last = &inner->v[inner->n - 1];
        out.inexact |= last->inexact;
        indent(g);
        str_printf(&g->s, "  graph @b%u_%d(%%%s: ?) -> (%%%s) {\n%s", id, b, in.name, last->name,
                   inner->s.n ? str_get(&inner->s) : "");
        indent(g);
        str_add(&g->s, "  }\n");
        g->rng = inner->rng;
        g->n_name = inner->n_name;
        shape_like(y, last); /* both keep the shape: x op x */
    }
    y->inexact = out.inexact || in.inexact;
}

static void body(Gen *g, uint32_t ops)
{
    for (uint32_t k = 0; k < ops && g->n < MAX_VALUES - 6; k++) switch (pick(g, 20)) {
        case 0:
        case 1:
        case 2: unary(g); break;
        case 3:
        case 4:
        case 5: binary(g); break;
        case 6: compare_where(g); break;
        case 7: transpose(g); break;
        case 8: reshape(g); break;
        case 9: slice_pad(g); break;
        case 10: concat(g); break;
        case 11: reduce(g); break;
        case 12: matmul(g); break;
        case 13: branch(g); break;
        case 14: expand_tile(g); break;
        case 15: unsqueeze(g); break;
        case 16: gather(g); break;
        case 17:
        case 18: window(g); break;
        case 19: loop(g); break;
        }
}

/* ---- running ---- */

typedef struct Case {
    const char *text;
    bmc_value in[3];
    uint32_t n_in, n_out;
} Case;

static void generate(Arena *a, uint64_t seed, Case *c)
{
    Gen *g = arena_new(a, Gen);
    static const char *const letter[] = {"N", "M", "K"};
    int extent[3];
    *c = (Case){.n_in = 2};
    g->a = a;
    g->rng = (Rng){seed};
    str_init(&g->s, a);
    for (int k = 0; k < 3; k++) extent[k] = 1 + (int)pick(g, 4);
    Str head;
    str_init(&head, a);
    str_add(&head, "bir 1\ngraph @g(");
    for (uint32_t k = 0; k < c->n_in; k++) {
        V *v = fresh(g, 'f');
        v->rank = 1 + (int)pick(g, 3);
        str_printf(&head, "%s%%%s: f32[", k ? ", " : "", v->name);
        for (int i = 0; i < v->rank; i++) {
            uint32_t l = pick(g, 5);
            v->dim[i] = l < 3 ? extent[l] : 1 + (int)pick(g, 4);
            str_printf(&head, i ? "," : "");
            if (l < 3) str_add(&head, letter[l]);
            else str_printf(&head, "%d", v->dim[i]);
        }
        str_add(&head, "]");
        int64_t n = count_of(v);
        float *data = arena_array(a, float, n);
        for (int64_t i = 0; i < n; i++) data[i] = (float)((int)pick(g, 9) - 4);
        c->in[k] = (bmc_value){.size = sizeof(bmc_value),
                               .kind = BMC_TENSOR,
                               .dtype = DT_F32,
                               .rank = (uint8_t)v->rank,
                               .data = data,
                               .bytes = (size_t)n * 4};
        for (int i = 0; i < v->rank; i++) c->in[k].dim[i] = v->dim[i];
    }
    body(g, 4 + pick(g, 12));
    str_add(&head, ") -> (");
    uint32_t first = g->n > 3 ? g->n - 3 : 0;
    for (uint32_t k = first; k < g->n; k++) {
        str_printf(&head, "%s%%%s", k > first ? ", " : "", g->v[k].name);
        c->n_out++;
    }
    str_printf(&head, ") {\n%s}\n", g->s.n ? str_get(&g->s) : "");
    c->text = str_get(&head);
}

typedef struct Mod {
    Diag diag;
    Module m;
    KModule k;
} Mod;

static bool parse(Arena *a, Mod *b, const char *text)
{
    diag_init(&b->diag, a);
    module_init(&b->m, a, &b->diag);
    kmodule_init(&b->k, a, &b->diag, &b->m.names, &b->m.dims, &b->m.types, &b->m.blobs);
    b->k.target = (KTarget){.triple = "x86_64-linux-gnu",
                            .cpu = "x86-64-v3",
                            .features = "",
                            .vec_bits = 256,
                            .vec_regs = 16,
                            .fma = true,
                            .l1_bytes = 32768,
                            .l2_bytes = 1048576};
    return bir_parse(&b->m, "random.bir", text, strlen(text));
}

static bool agrees(const Tensor *want, const bmc_value *got)
{
    if (want->elem != got->dtype || want->rank != got->rank) return false;
    for (int k = 0; k < want->rank; k++)
        if (want->dim[k] != got->dim[k]) return false;
    for (int64_t k = 0; k < want->count; k++) {
        if (want->elem == DT_F32) {
            double x = ((const float *)want->data)[k], y = ((const float *)got->data)[k];
            if (!(fabs(x - y) <= 2e-4 * fmax(1, fabs(x))) && !(isnan(x) && isnan(y)) && x != y) return false;
        } else if (memcmp((char *)want->data + dtype_bytes(want->elem, 1) * k,
                          (char *)got->data + dtype_bytes(want->elem, 1) * k, (size_t)dtype_bytes(want->elem, 1)))
            return false;
    }
    return true;
}

/* Parses, infers, and runs the ops' reference evaluation. NULL: fine. */
static const char *reference(Arena *a, const Case *c, Tensor **out)
{
    Mod *ref = arena_new(a, Mod);
    Tensor *in[3];
    const char *why = "";
    if (!parse(a, ref, c->text) || !bir_verify(&ref->m, "parse"))
        return arena_printf(a, "does not parse: %s", ref->diag.first_error);
    if (!infer_graph(ref->m.entry)) return arena_printf(a, "inference: %s", ref->diag.first_error);
    for (uint32_t k = 0; k < c->n_in; k++) {
        in[k] = tensor_new(a, DT_F32, c->in[k].rank, c->in[k].dim);
        memcpy(in[k]->data, c->in[k].data, c->in[k].bytes);
    }
    return eval_graph(a, ref->m.entry, in, out, &why) ? NULL : arena_printf(a, "reference: %s", why);
}

#endif
