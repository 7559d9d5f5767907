/* cast.c: Cast and CastLike. Float to integer truncates; out of range saturates and NaN gives 0 (the specification
 * leaves both open); integers wrap; anything to bool is x != 0. To the 8-bit floats: what is out of range becomes the
 * largest value or, without `saturate`, infinity or NaN (quant_small.c). Numbers to strings and back: cast_text.c. */
#include "ir/ops/cast_text.h"
#include "ir/ops/grad.h"
#include "ir/ops/quant.h"
#include <string.h>

#define DTS_CAST (DTS_ANY | DTS_SMALL)
static const Port P_ANY[] = {{"input", DTS_CAST, 0, 0}, PORT_END};
static const Port P_OUT[] = {{"output", DTS_CAST, 0, 0}, PORT_END};
static const Port P_LIKE[] = {{"input", DTS_CAST, 0, 0}, {"target_type", DTS_CAST, 0, 0}, PORT_END};

typedef struct Cast {
    uint64_t set;
    int64_t to, saturate;
    const char *round_mode;
} Cast;
static const AttrSpec CAST_ATTRS[] = {{.name = "to", .kind = ATTR_TYPE, .offset = offsetof(Cast, to), .required = true},
                                      A_INT(Cast, saturate, 1),
                                      A_STRING(Cast, round_mode, "up"),
                                      A_END};
typedef struct CastLike {
    uint64_t set;
    int64_t saturate;
    const char *round_mode;
} CastLike;
static const AttrSpec LIKE_ATTRS[] = {A_INT(CastLike, saturate, 1), A_STRING(CastLike, round_mode, "up"), A_END};

static bool infer_to(Infer *c, DType to)
{
    if (to <= DT_NONE || to >= DT_COUNT || !(DTS_CAST & DTS(to)))
        return infer_fail(c, "a cast to %s is not supported",
                          to > DT_NONE && to < DT_COUNT ? dtype_info(to)->onnx : "an unknown type");
    return infer_set_type(c, 0, type_with_elem(&c->m->types, value_type(c->g, node_in(c->g, c->n, 0)), to));
}
static bool mode_known(Infer *c, const char *mode)
{
    return !strcmp(mode, "up") || !strcmp(mode, "down") || !strcmp(mode, "nearest") ||
           infer_fail(c, "round_mode is '%s'", mode);
}
static bool infer_cast(Infer *c)
{
    return mode_known(c, ATTRS(c->g, c->n, Cast)->round_mode) && infer_to(c, (DType)ATTRS(c->g, c->n, Cast)->to);
}
static bool infer_like_(Infer *c)
{
    return mode_known(c, ATTRS(c->g, c->n, CastLike)->round_mode) && infer_to(c, infer_elem(c, 1));
}

static bool propagate(Infer *c)
{
    const Dim *d;
    uint32_t n;
    DType to = value_trec(c->g, node_out(c->g, c->n, 0))->elem;
    if (!infer_content(c, 0, &d, &n)) return true;
    if (to == DT_I64 || to == DT_I32) infer_set_content(c, 0, d, n);
    if (to == DT_BOOL) {
        Dim o[CONTENT_MAX];
        for (uint32_t i = 0; i < n; i++) {
            int64_t lo, hi;
            dim_bounds(c->d, d[i], &lo, &hi);
            if (lo <= 0 && hi >= 0 && lo != hi) return true;
            o[i] = dim_const(c->d, !(lo == 0 && hi == 0));
        }
        infer_set_content(c, 0, o, n);
    }
    return true;
}

static KVal scalar(Lw *l, Node n, const KVal *x, const DType *in)
{
    (void)in;
    DType to = value_trec(l->g, node_out(l->g, n, 0))->elem;
    if (to == DT_STR) return x[0];
    bool like = node_rec(l->g, n)->op == OP_CastLike;
    int64_t saturate = like ? ATTRS(l->g, n, CastLike)->saturate : ATTRS(l->g, n, Cast)->saturate;
    return small_cast(l->b, to, x[0], saturate != 0,
                      like ? ATTRS(l->g, n, CastLike)->round_mode : ATTRS(l->g, n, Cast)->round_mode);
}

static bool is_text(const Graph *g, Node n)
{
    return (value_trec(g, node_in(g, n, 0))->elem == DT_STR) != (value_trec(g, node_out(g, n, 0))->elem == DT_STR);
}

static bool expand_text(Graph *g, Node n)
{
    Ex x = ex_begin(g, n);
    DType to = value_trec(g, node_out(g, n, 0))->elem;
    bool small = (DTS(to) & (DTS_FLOAT8 | DTS(DT_F8E8M0))) != 0;   /* saturate and round_mode hold for them */
    Value y = cast_text_nodes(&x, ex_in(&x, 0), small ? DT_F32 : to);
    if (small) y = ex_op(&x, OP_Cast, &y, 1, ex_set(&x, OP_Cast, ex_inherit(&x, OP_Cast), "to", to));
    return ex_end(&x, &y, 1);
}

static bool saturates(const Graph *g, Node n)
{
    return (node_rec(g, n)->op == OP_CastLike ? ATTRS(g, n, CastLike)->saturate : ATTRS(g, n, Cast)->saturate) != 0;
}

static Value equivalent(Graph *g, Node n, uint32_t r)
{
    (void)r;
    TypeId a = value_type(g, node_in(g, n, 0)), b = value_type(g, node_out(g, n, 0));
    if (a.i && value_trec(g, node_in(g, n, 0))->elem == DT_F8E5M2 && saturates(g, n)) return VALUE_NONE;   /* infinities do not stay */
    return a.i && a.i == b.i ? node_in(g, n, 0) : VALUE_NONE;
}

static void eval_small(Eval *e, Tensor *y, int64_t k, double v)
{
    bool like = node_rec(e->g, e->n)->op == OP_CastLike;
    bool saturate = like ? ATTRS(e->g, e->n, CastLike)->saturate : ATTRS(e->g, e->n, Cast)->saturate;
    const char *mode = like ? ATTRS(e->g, e->n, CastLike)->round_mode : ATTRS(e->g, e->n, Cast)->round_mode;
    small_eval(y, k, v, saturate, mode);
}

static bool eval(Eval *e)
{
    const Tensor *x = e->in[0];
    DType to = value_trec(e->g, node_out(e->g, e->n, 0))->elem;
    Tensor *y = ev_out(e, 0, to, x->rank, x->dim);
    for (int64_t k = 0; y && k < y->count; k++) {
        if ((to == DT_STR) != (x->elem == DT_STR)) {
            if (!(DTS(to) & (DTS_FLOAT8 | DTS(DT_F8E8M0)))) {
                if (!cast_text_eval(e, y, k, x, k)) return false;
                continue;
            }
            float value;   /* 8 bits and less: by way of float32, rounded and saturated as asked */
            Tensor number = {.kind = TY_TENSOR, .elem = DT_F32, .count = 1, .data = &value};
            if (!cast_text_eval(e, &number, 0, x, k)) return false;
            eval_small(e, y, k, value);
        } else if (to == DT_STR) ev_copy(y, k, x, k);
        else if (DTS(to) & (DTS_FLOAT8 | DTS(DT_F8E8M0))) eval_small(e, y, k, ev_f(x, k));
        else if (dtype_is_float(x->elem) && !(DTS(to) & DTS_PACKED & ~DTS(DT_F4E2M1))) ev_set_f(y, k, ev_f(x, k));
        else if (dtype_is_float(to)) ev_set_f(y, k, ev_f(x, k)); /* not through int64: u64 */
        else ev_set_i(y, k, ev_i(x, k));
    }
    return y != NULL;
}

static bool has_result(const Graph *g, Node n, const Tensor *index)
{
    (void)index;
    return value_trec(g, node_in(g, n, 0))->elem != DT_STR;
}

const OpDesc op_Cast = {.name = "Cast",
                        .since = 25,
                        .cls = CLS_ELTWISE,
                        .flags = OPF_ANY_RANK,
                        .in = P_ANY,
                        .out = P_OUT,
                        .attrs = CAST_ATTRS,
                        .attrs_size = sizeof(Cast),
                        .infer = infer_cast,
                        .propagate = propagate,
                        .equivalent = equivalent,
                        .scalar = scalar,
                        .must_expand = is_text,
                        .expand = expand_text,
                        .grad = grad_cast, .has_result = has_result, .eval = eval};

/* CastLike reads only its second operand's type, so it becomes a Cast at once. */
static bool like_rewrite(Graph *g, Node n)
{
    Cast a = {.set = 1,
              .to = value_trec(g, node_out(g, n, 0))->elem,
              .saturate = ATTRS(g, n, CastLike)->saturate,
              .round_mode = ATTRS(g, n, CastLike)->round_mode};
    Node c = graph_add(g, OP_Cast, (Value[]){node_in(g, n, 0)}, 1, 1, &a, node_rec(g, n)->loc, n);
    value_rec(g, node_out(g, c, 0))->type = value_type(g, node_out(g, n, 0));
    graph_replace_uses(g, node_out(g, n, 0), node_out(g, c, 0));
    return true;
}

static bool like_lower(Lw *l, Node n)
{
    lw_prepare_in(l);
    lw_prepare_out(l);
    lw_kernel(l, "cast");
    KVal idx[RANK_MAX];
    lw_nest_over(l, 0, idx);
    KVal x = lw_at(l, 0, idx);
    lw_put(l, 0, idx, scalar(l, n, &x, NULL));
    lw_end_nest(l, lw_out_rank(l, 0));
    lw_kernel_end(l);
    return true;
}

const OpDesc op_CastLike = {.name = "CastLike",
                            .since = 25,
                            .cls = CLS_MOVE,
                            .in = P_LIKE,
                            .out = P_OUT,
                            .attrs = LIKE_ATTRS,
                            .attrs_size = sizeof(CastLike),
                            .infer = infer_like_,
                            .propagate = propagate,
                            .equivalent = equivalent,
                            .rewrite = like_rewrite,
                            .lower = like_lower,
                            .must_expand = is_text,
                            .expand = expand_text,
                            .grad = grad_cast, .eval = eval};
