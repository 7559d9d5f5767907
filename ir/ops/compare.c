/* compare.c: comparisons and logic with numpy broadcasting; results are bool. NaN compares false (and unequal). */
#include "ir/graph/eval.h"
#include "ir/graph/infer.h"
#include "ir/graph/lower.h"
#include <string.h>

bool binary_upgrade(Graph *g, Node n, int64_t opset);   /* binary.c: broadcasting at an axis before opset 7 */

static const Port P_EQ[] = {{"A", DTS_ANY, 0, 1}, {"B", DTS_ANY, 0, 1}, PORT_END};
static const Port P_ORD[] = {{"A", DTS_NUM, 0, 1}, {"B", DTS_NUM, 0, 1}, PORT_END};
static const Port P_BOOL2[] = {{"A", DTS_BOOL, 0, 0}, {"B", DTS_BOOL, 0, 0}, PORT_END};
static const Port P_BOOL[] = {{"C", DTS_BOOL, 0, 0}, PORT_END};
typedef struct OldBroadcast { uint64_t set; int64_t broadcast, axis; } OldBroadcast;   /* as in binary.c */
static const AttrSpec OLD[] = {A_INT(OldBroadcast, broadcast, 0), A_INT(OldBroadcast, axis, -1), A_END};

/* ---- shape tests: Equal, Less ... of known dims decide the If of exporters at compile time ---- */

typedef Tri TriFn(Dims *, Dim, Dim);
static Tri t_eq(Dims *d, Dim a, Dim b) { return dim_eq(d, a, b); }
static Tri t_le(Dims *d, Dim a, Dim b) { return dim_le(d, a, b); }
static Tri not(Tri t) { return t == TRI_UNKNOWN ? t : t == TRI_YES ? TRI_NO : TRI_YES; }
static Tri t_ge(Dims *d, Dim a, Dim b) { return dim_le(d, b, a); }
static Tri t_gt(Dims *d, Dim a, Dim b) { return not(dim_le(d, a, b)); }
static Tri t_lt(Dims *d, Dim a, Dim b) { return not(dim_le(d, b, a)); }
static Tri t_and(Dims *d, Dim a, Dim b) { return dim_is(d, a, 0) || dim_is(d, b, 0) ? TRI_NO : dim_is(d, a, 1) && dim_is(d, b, 1) ? TRI_YES : TRI_UNKNOWN; }
static Tri t_or(Dims *d, Dim a, Dim b) { return dim_is(d, a, 1) || dim_is(d, b, 1) ? TRI_YES : dim_is(d, a, 0) && dim_is(d, b, 0) ? TRI_NO : TRI_UNKNOWN; }
static Tri t_xor(Dims *d, Dim a, Dim b) { return not(dim_eq(d, a, b)); }

static bool propagate(Infer *c, TriFn *f)
{
    const Dim *a, *b;
    uint32_t na, nb;
    if (!infer_content(c, 0, &a, &na) || !infer_content(c, 1, &b, &nb) || infer_rank(c, 0) > 1 || infer_rank(c, 1) > 1) return true;
    uint32_t n = na > nb ? na : nb;
    Dim o[CONTENT_MAX];
    if ((na != n && na != 1) || (nb != n && nb != 1)) return true;
    for (uint32_t i = 0; i < n; i++) {
        Tri t = f(c->d, dim_resolve(c->d, a[na == 1 ? 0 : i]), dim_resolve(c->d, b[nb == 1 ? 0 : i]));
        if (t == TRI_UNKNOWN) return true;
        o[i] = dim_const(c->d, t == TRI_YES);
    }
    infer_set_content(c, 0, o, n);
    return true;
}
static bool eq_propagate(Infer *c) { return propagate(c, t_eq); }
static bool gt_propagate(Infer *c) { return propagate(c, t_gt); }
static bool ge_propagate(Infer *c) { return propagate(c, t_ge); }
static bool lt_propagate(Infer *c) { return propagate(c, t_lt); }
static bool le_propagate(Infer *c) { return propagate(c, t_le); }
static bool and_propagate(Infer *c) { return propagate(c, t_and); }
static bool or_propagate(Infer *c) { return propagate(c, t_or); }
static bool xor_propagate(Infer *c) { return propagate(c, t_xor); }

/* ---- reference ---- */

static bool eval_cmp(Eval *e, bool (*f)(double, double), bool (*fi)(int64_t, int64_t))
{
    const Tensor *x = e->in[0], *z = e->in[1];
    int64_t dim[RANK_MAX];
    int rank;
    if (!ev_broadcast_dims(e, (uint32_t[]){0, 1}, 2, dim, &rank)) return false;
    Tensor *y = ev_out(e, 0, DT_BOOL, rank, dim);
    for (int64_t k = 0; y && k < y->count; k++) {
        int64_t i = ev_broadcast_index(x, y, k), j = ev_broadcast_index(z, y, k);
        bool r;
        if (x->elem == DT_STR) {
            const bmc_string *s = (const bmc_string *)x->data + i, *t = (const bmc_string *)z->data + j;
            r = s->len == t->len && !memcmp(s->ptr, t->ptr, s->len);
        } else if (dtype_is_float(x->elem)) r = f(ev_f(x, i), ev_f(z, j));
        else if (x->elem == DT_U64) r = fi((int64_t)((uint64_t)ev_i(x, i) ^ 1ull << 63), (int64_t)((uint64_t)ev_i(z, j) ^ 1ull << 63));   /* order of unsigned as of signed */
        else r = fi(ev_i(x, i), ev_i(z, j));
        ev_set_i(y, k, r);
    }
    return y != NULL;
}
static bool f_eq(double a, double b) { return a == b; }
static bool f_gt(double a, double b) { return a > b; }
static bool f_ge(double a, double b) { return a >= b; }
static bool f_lt(double a, double b) { return a < b; }
static bool f_le(double a, double b) { return a <= b; }
static bool i_eq(int64_t a, int64_t b) { return a == b; }
static bool i_gt(int64_t a, int64_t b) { return a > b; }
static bool i_ge(int64_t a, int64_t b) { return a >= b; }
static bool i_lt(int64_t a, int64_t b) { return a < b; }
static bool i_le(int64_t a, int64_t b) { return a <= b; }
static bool i_and(int64_t a, int64_t b) { return a && b; }
static bool i_or(int64_t a, int64_t b) { return a || b; }
static bool i_xor(int64_t a, int64_t b) { return !a != !b; }
static bool eval_eq(Eval *e) { return eval_cmp(e, f_eq, i_eq); }
static bool eval_gt(Eval *e) { return eval_cmp(e, f_gt, i_gt); }
static bool eval_ge(Eval *e) { return eval_cmp(e, f_ge, i_ge); }
static bool eval_lt(Eval *e) { return eval_cmp(e, f_lt, i_lt); }
static bool eval_le(Eval *e) { return eval_cmp(e, f_le, i_le); }
static bool eval_and(Eval *e) { return eval_cmp(e, f_eq, i_and); }
static bool eval_or(Eval *e) { return eval_cmp(e, f_eq, i_or); }
static bool eval_xor(Eval *e) { return eval_cmp(e, f_eq, i_xor); }

#define COMPARE .cls = CLS_ELTWISE, .out = P_BOOL, .attrs = OLD, .attrs_size = sizeof(OldBroadcast), .upgrade = binary_upgrade
#define LOGIC .since = 7, .cls = CLS_ELTWISE, .in = P_BOOL2, .out = P_BOOL, .flags = OPF_COMMUTES, .attrs = OLD, .attrs_size = sizeof(OldBroadcast), .upgrade = binary_upgrade

const OpDesc op_Equal = {.name = "Equal", .since = 19, COMPARE, .flags = OPF_COMMUTES, .kop = KOP_EQ, .in = P_EQ, .propagate = eq_propagate, .eval = eval_eq};
const OpDesc op_Greater = {.name = "Greater", .since = 13, COMPARE, .kop = KOP_GT, .in = P_ORD, .propagate = gt_propagate, .eval = eval_gt};
const OpDesc op_GreaterOrEqual = {.name = "GreaterOrEqual", .since = 16, COMPARE, .kop = KOP_GE, .in = P_ORD, .propagate = ge_propagate, .eval = eval_ge};
const OpDesc op_Less = {.name = "Less", .since = 13, COMPARE, .kop = KOP_LT, .in = P_ORD, .propagate = lt_propagate, .eval = eval_lt};
const OpDesc op_LessOrEqual = {.name = "LessOrEqual", .since = 16, COMPARE, .kop = KOP_LE, .in = P_ORD, .propagate = le_propagate, .eval = eval_le};
const OpDesc op_And = {.name = "And", LOGIC, .kop = KOP_AND, .propagate = and_propagate, .eval = eval_and};
const OpDesc op_Or = {.name = "Or", LOGIC, .kop = KOP_OR, .propagate = or_propagate, .eval = eval_or};
const OpDesc op_Xor = {.name = "Xor", LOGIC, .kop = KOP_XOR, .propagate = xor_propagate, .eval = eval_xor};
