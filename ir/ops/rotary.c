/* rotary.c: RotaryEmbedding: pairs of elements of each head turned by an angle that depends on the position, in terms
 * of slices and products.
 *   (x1, x2)  =>  (cos*x1 - sin*x2, sin*x1 + cos*x2)      x1, x2: first and second half of the head's first
 *   rotary_embedding_dim elements, or even and odd ones
 * cos and sin come from caches [positions, half] by position_ids, or are given for each position [batch, length,
 * half]. */
#include "ir/graph/eval.h"
#include "ir/ops/compose.h"

enum { ROT_X, ROT_COS, ROT_SIN, ROT_IDS };
static const Port P_IN[] = {{"X", DTS_FLOAT, 0, 1},
                            {"cos_cache", DTS_FLOAT, 0, 1},
                            {"sin_cache", DTS_FLOAT, 0, 1},
                            {"position_ids", DTS(DT_I64), PORT_OPTIONAL, 0},
                            PORT_END};
static const Port P_OUT[] = {{"Y", DTS_FLOAT, 0, 1}, PORT_END};
typedef struct Rotary {
    uint64_t set;
    int64_t interleaved, num_heads, rotary_embedding_dim;
} Rotary;
static const AttrSpec ATTRS_[] = {A_INT(Rotary, interleaved, 0), A_INT(Rotary, num_heads, 0),
                                  A_INT(Rotary, rotary_embedding_dim, 0), A_END};

static bool infer(Infer *c)
{
    const Rotary *a = ATTRS(c->g, c->n, Rotary);
    if (!infer_need_rank(c, ROT_X, 3, 4)) return false;
    bool split = infer_rank(c, ROT_X) == 3;
    int cache = infer_has(c, ROT_IDS) ? 2 : 3;
    if (split && a->num_heads < 1) return infer_fail(c, "an operand of rank 3 needs num_heads");
    if (!infer_need_rank(c, ROT_COS, cache, cache) || !infer_need_rank(c, ROT_SIN, cache, cache)) return false;
    Dim size = infer_dim(c, ROT_X, split ? 2 : 3), batch = infer_dim(c, ROT_X, 0),
        length = infer_dim(c, ROT_X, split ? 1 : 2);
    int64_t s, r = a->rotary_embedding_dim;
    Dim two = dim_const(c->d, 2), half = dim_const(c->d, r / 2);
    if (dim_is_const(c->d, size, &s)) {
        if (split && s % a->num_heads)
            return infer_fail(c, "%lld elements in %lld heads", (long long)s, (long long)a->num_heads);
        s = split ? s / a->num_heads : s;
        if (!r) r = s, half = dim_const(c->d, r / 2);
        if (r < 0 || r > s || r % 2)
            return infer_fail(c, "rotary_embedding_dim is %lld for heads of %lld elements", (long long)r, (long long)s);
    } else {
        Dim heads = dim_const(c->d, split ? a->num_heads : 1);
        if (r < 0 || r % 2) return infer_fail(c, "rotary_embedding_dim is %lld", (long long)r);
        Dim head = dim_div(c->d, size, heads);
        if (!infer_must_eq(c, dim_mul(c->d, heads, head), size, "size of the heads")) return false;
        head = dim_div(c->d, infer_dim(c, ROT_X, split ? 2 : 3), heads);
        if (!r) half = dim_div(c->d, head, two);
        if (r ? !infer_must_eq(c, dim_min(c->d, head, dim_const(c->d, r)), dim_const(c->d, r), "size of a head, at most rotary_embedding_dim")
              : !infer_must_eq(c, dim_mul(c->d, two, half), head, "size of a head, twice its half"))
            return false;
    }
    for (uint32_t k = ROT_COS; k <= ROT_SIN; k++) {
        if (!infer_must_eq(c, infer_dim(c, k, cache - 1), half, "last dimension of a cache")) return false;
        if (cache == 3 && (!infer_must_eq(c, infer_dim(c, k, 0), batch, "batch of a cache") ||
                           !infer_must_eq(c, infer_dim(c, k, 1), length, "length of a cache")))
            return false;
    }
    if (infer_has(c, ROT_IDS) && (!infer_need_rank(c, ROT_IDS, 2, 2) ||
                                  !infer_must_eq(c, infer_dim(c, ROT_IDS, 0), batch, "batch of position_ids") ||
                                  !infer_must_eq(c, infer_dim(c, ROT_IDS, 1), length, "length of position_ids")))
        return false;
    return infer_like(c, 0, 0);
}

static Value part(Ex *x, Value v, int64_t from, int64_t to, int64_t step)
{
    int64_t last = -1;
    return ex_op(x, OP_Slice, (Value[]){v, ex_int1(x, from), ex_int1(x, to), ex_int1(x, last), ex_int1(x, step)}, 5,
                 NULL);
}

/* Half `k` of what turns: v [.., 2, half], or [.., half, 2] when the halves are interleaved. */
static Value half_of(Ex *x, Value v, int64_t k, int axis) { return ex_axis(x, OP_Gather, (Value[]){v, ex_i(x, DT_I64, k)}, 2, axis); }

/* Heads of a size that only the run knows: halves are slices along an axis of their own. */
static Value turned(Ex *x, const Rotary *a, Value v, const Value *angle)
{
    Dims *d = &x->g->m->dims;
    Dim dim[5], two = dim_const(d, 2), turns = dim_const(d, a->rotary_embedding_dim);
    if (x->failed) return VALUE_NONE;
    for (int i = 0; i < 4; i++) dim[i] = dim_resolve(d, ex_type(x, v)->dim[i]);
    Dim size = dim[3];
    if (!a->rotary_embedding_dim) turns = dim_mul(d, two, dim_div(d, size, two));
    int at = a->interleaved ? 4 : 3;
    dim[3] = dim[4] = dim_div(d, turns, two), dim[at] = two;
    Value head = a->rotary_embedding_dim ? part(x, v, 0, a->rotary_embedding_dim, 1) : v, both = ex_shaped(x, head, dim, 5);
    Value x1 = half_of(x, both, 0, at), x2 = half_of(x, both, 1, at), axis = ex_int1(x, at);
    Value y1 = ex2(x, OP_Sub, ex2(x, OP_Mul, angle[0], x1), ex2(x, OP_Mul, angle[1], x2));
    Value y2 = ex2(x, OP_Add, ex2(x, OP_Mul, angle[1], x1), ex2(x, OP_Mul, angle[0], x2));
    Value y = ex_axis(x, OP_Concat, (Value[]){ex2(x, OP_Unsqueeze, y1, axis), ex2(x, OP_Unsqueeze, y2, axis)}, 2, at);
    dim[3] = turns;
    y = ex_shaped(x, y, dim, 4);
    dim[3] = size;
    if (!a->rotary_embedding_dim) return ex_shaped(x, y, dim, 4);
    Value rest = part(x, v, a->rotary_embedding_dim, INT64_MAX, 1);
    return ex_shaped(x, ex_axis(x, OP_Concat, (Value[]){y, rest}, 2, -1), dim, 4);
}

static bool expand(Graph *g, Node n)
{
    const Rotary *a = ATTRS(g, n, Rotary);
    Dims *d = &g->m->dims;
    Ex x = ex_begin(g, n);
    Value v = node_in(g, n, ROT_X), angle[2];
    const TypeRec *t = ex_type(&x, v);
    bool split = t->rank == 3;
    int64_t size = 0, heads_axis = split ? 2 : 1;
    Dim width = dim_resolve(d, t->dim[t->rank - 1]), heads = dim_const(d, a->num_heads);
    bool known = dim_is_const(d, width, &size);
    if (split) {
        size /= a->num_heads;
        v = ex_shaped(&x, v, (Dim[]){dim_resolve(d, t->dim[0]), dim_resolve(d, t->dim[1]), heads, dim_div(d, width, heads)}, 4);
    }
    int64_t r = a->rotary_embedding_dim ? a->rotary_embedding_dim : size;
    for (uint32_t k = 0; k < 2; k++) {
        Value c = node_in(g, n, ROT_COS + k), ids = node_in(g, n, ROT_IDS);
        if (ids.i) c = ex_axis(&x, OP_Gather, (Value[]){c, ids}, 2, 0);
        angle[k] = ex2(&x, OP_Unsqueeze, c, ex_int1(&x, heads_axis));
    }
    if (!known) {
        Value y = turned(&x, a, v, angle);
        if (x.failed) return false;
        if (split) y = ex_shaped(&x, y, value_trec(g, node_in(g, n, ROT_X))->dim, 3);
        return ex_end(&x, &y, 1);
    }
    int64_t step = a->interleaved ? 2 : 1;
    Value x1 = part(&x, v, 0, a->interleaved ? r : r / 2, step), x2 = part(&x, v, a->interleaved ? 1 : r / 2, r, step);
    Value y1 = ex2(&x, OP_Sub, ex2(&x, OP_Mul, angle[0], x1), ex2(&x, OP_Mul, angle[1], x2));
    Value y2 = ex2(&x, OP_Add, ex2(&x, OP_Mul, angle[1], x1), ex2(&x, OP_Mul, angle[0], x2)), y;
    Value all[3] = {y1, y2};
    uint32_t parts = 2;
    if (a->interleaved) {
        Value last = ex_int1(&x, -1);
        y = ex_axis(&x, OP_Concat, (Value[]){ex2(&x, OP_Unsqueeze, y1, last), ex2(&x, OP_Unsqueeze, y2, last)}, 2, -1);
        if (x.failed) return false;
        Dim dim[4];
        for (int i = 0; i < 4; i++) dim[i] = dim_resolve(d, ex_type(&x, v)->dim[i]);
        dim[3] = dim_const(d, r);
        all[0] = ex_shaped(&x, y, dim, 4);
        parts = 1;
    }
    if (r < size) all[parts++] = part(&x, v, r, size, 1);
    y = parts == 1 ? all[0] : ex_axis(&x, OP_Concat, all, parts, -1);
    if (x.failed) return false;
    if (split) {
        Dim dim[3];
        for (int i = 0; i < 3; i++) dim[i] = dim_resolve(d, value_trec(g, node_in(g, n, ROT_X))->dim[i]);
        y = ex_shaped(&x, y, dim, 3);
    }
    return ex_end(&x, &y, 1);
}

static bool eval(Eval *e)
{
    const Rotary *a = ATTRS(e->g, e->n, Rotary);
    const Tensor *x = e->in[ROT_X];
    bool split = x->rank == 3;
    int64_t heads = split ? a->num_heads : x->dim[1], length = split ? x->dim[1] : x->dim[2],
            size = x->dim[x->rank - 1] / (split ? heads : 1);
    int64_t r = a->rotary_embedding_dim ? a->rotary_embedding_dim : size, half = r / 2;
    Tensor *y = ev_out(e, 0, x->elem, x->rank, x->dim);
    for (int64_t o = 0; y && o < y->count; o++) {
        int64_t k = o % size, row = o / size,
                at = split ? row / heads : row / heads / length * length + row % length; /* at: batch and position */
        if (k >= r) {
            ev_copy(y, o, x, o);
            continue;
        }
        int64_t pair = a->interleaved ? k / 2 : k % half, second = a->interleaved ? k % 2 : k / half, pos = at;
        if (ev_has(e, ROT_IDS)) {
            pos = ev_i(e->in[ROT_IDS], at);
            if (pos < 0) pos += e->in[ROT_COS]->dim[0];
            if (pos < 0 || pos >= e->in[ROT_COS]->dim[0]) return ev_fail(e, "a position is out of range");
        }
        double c = ev_f(e->in[ROT_COS], pos * half + pair), s = ev_f(e->in[ROT_SIN], pos * half + pair);
        double x1 = ev_f(x, row * size + (a->interleaved ? 2 * pair : pair)),
               x2 = ev_f(x, row * size + (a->interleaved ? 2 * pair + 1 : pair + half));
        ev_set_f(y, o, second ? s * x1 + c * x2 : c * x1 - s * x2);
    }
    return y != NULL;
}

const OpDesc op_RotaryEmbedding = {.name = "RotaryEmbedding",
                                   .since = 23,
                                   .cls = CLS_OPAQUE,
                                   .in = P_IN,
                                   .out = P_OUT,
                                   .attrs = ATTRS_,
                                   .attrs_size = sizeof(Rotary),
                                   .infer = infer,
                                   .expand = expand,
                                   .has_result = op_result_unsure, .eval = eval};
