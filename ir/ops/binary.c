/* binary.c: two inputs with numpy broadcasting: arithmetic, shifts, bitwise operators. Integers wrap; integer division truncates towards zero.
 * Before opset 7 broadcasting had to be asked for (`broadcast`, `axis`: the second input's dims align at `axis`); upgrade() turns that into a StandAt. */
#include "base/bug.h"
#include "ir/graph/eval.h"
#include "ir/graph/infer.h"
#include "ir/graph/lower.h"
#include "ir/ops/grad.h"
#include "ir/ops/internal.h"
#include <math.h>

static const Port P_NUM2[] = {{"A", DTS_NUM, 0, 1}, {"B", DTS_NUM, 0, 1}, PORT_END};
static const Port P_NUM[] = {{"C", DTS_NUM, 0, 1}, PORT_END};
static const Port P_INT2[] = {{"A", DTS_INT, 0, 1}, {"B", DTS_INT, 0, 1}, PORT_END};
static const Port P_INT[] = {{"C", DTS_INT, 0, 1}, PORT_END};
static const Port P_SHIFT[] = {{"X", DTS_INT, 0, 1}, {"Y", DTS_INT, 0, 1}, PORT_END};
static const Port P_POW[] = {{"X", DTS_FLOAT | DTS_SINT | DTS_UINT, 0, 1}, {"Y", DTS_NUM, 0, 0}, PORT_END};

/* ---- opset 1-6 ---- */

typedef struct OldBroadcast { uint64_t set; int64_t broadcast, axis; } OldBroadcast;
static const AttrSpec OLD[] = {A_INT(OldBroadcast, broadcast, 0), A_INT(OldBroadcast, axis, -1), A_END};

bool binary_upgrade(Graph *g, Node n, int64_t opset);   /* also for compare.c */

/* Add(x[2,3,4,5], y[3,4], axis=1)  =>  Add(x, y[3,4,1])  so that y's dims stand at 1 and 2 */
bool binary_upgrade(Graph *g, Node n, int64_t opset)
{
    OldBroadcast *a = node_rec(g, n)->attrs;
    if (opset >= 7 || !a->broadcast || !(a->set & 2)) return true;
    graph_set_input(g, n, 1, rank_stand_at(g, n, node_in(g, n, 1), node_in(g, n, 0), a->axis, false));
    a->broadcast = 0;
    return true;
}

/* ---- shape arithmetic ---- */

typedef Dim DimFn(Dims *, Dim, Dim);

static bool propagate2(Infer *c, DimFn *f, bool divides)
{
    const Dim *a, *b;
    uint32_t na, nb;
    if (!dtype_is_int(infer_elem(c, 0)) || !infer_content(c, 0, &a, &na) || !infer_content(c, 1, &b, &nb)) return true;
    uint32_t n = na > nb ? na : nb;
    Dim o[CONTENT_MAX];
    if ((na != n && na != 1) || (nb != n && nb != 1) || infer_rank(c, 0) > 1 || infer_rank(c, 1) > 1) return true;
    for (uint32_t i = 0; i < n; i++) {
        Dim x = a[na == 1 ? 0 : i], y = b[nb == 1 ? 0 : i];
        int64_t lo, hi, ylo, yhi;
        dim_bounds(c->d, x, &lo, &hi);
        dim_bounds(c->d, y, &ylo, &yhi);
        if (divides && (lo < 0 || ylo < 1)) return true;   /* truncation and floor differ there; division by zero is left to run time */
        o[i] = f(c->d, x, y);
    }
    infer_set_content(c, 0, o, n);
    return true;
}
static bool add_propagate(Infer *c) { return propagate2(c, dim_add, false); }
static bool sub_propagate(Infer *c) { return propagate2(c, dim_sub, false); }
static bool mul_propagate(Infer *c) { return propagate2(c, dim_mul, false); }
static bool div_propagate(Infer *c) { return propagate2(c, dim_div, true); }

/* ---- algebra: x+0, x-0, x*1, x/1, x^1 are x when broadcasting adds nothing ---- */

static bool is_splat(Graph *g, Value v, double k)
{
    if (!value_is_const(g, v)) return false;
    const BlobRec *b = blob_rec(&g->m->blobs, value_rec(g, v)->data);
    if (b->elem == DT_STR || dtype_info(b->elem)->cls == DC_COMPLEX || b->kind == BLOB_DERIVED || b->kind == BLOB_STRINGS || b->count < 1) return false;
    return (b->kind == BLOB_SPLAT || b->count == 1) && blob_get_f(&g->m->blobs, value_rec(g, v)->data, 0) == k;
}

static bool same_type(Graph *g, Node n, Value v) { return value_type(g, v).i && value_type(g, v).i == value_type(g, node_out(g, n, 0)).i; }

/* x + -0.0 keeps the sign of zero and x + 0.0 does not: only integers, and subtraction of +0, are exact. */
static Value neutral(Graph *g, Node n, double k, bool left, bool right)
{
    Value a = node_in(g, n, 0), b = node_in(g, n, 1);
    if (right && is_splat(g, b, k) && same_type(g, n, a)) return a;
    if (left && is_splat(g, a, k) && same_type(g, n, b)) return b;
    return VALUE_NONE;
}
static bool is_int_node(Graph *g, Node n) { return dtype_is_int(value_trec(g, node_out(g, n, 0))->elem); }
static Value add_equivalent(Graph *g, Node n, uint32_t r) { return (void)r, is_int_node(g, n) ? neutral(g, n, 0, true, true) : VALUE_NONE; }
static Value sub_equivalent(Graph *g, Node n, uint32_t r) { return (void)r, is_int_node(g, n) ? neutral(g, n, 0, false, true) : VALUE_NONE; }
static Value mul_equivalent(Graph *g, Node n, uint32_t r) { return (void)r, neutral(g, n, 1, true, true); }
static Value div_equivalent(Graph *g, Node n, uint32_t r) { return (void)r, neutral(g, n, 1, false, true); }

/* ---- Mod, Pow, BitShift ---- */

typedef struct Mod { uint64_t set; int64_t fmod; } Mod;
static const AttrSpec MOD_ATTRS[] = {A_INT(Mod, fmod, 0), A_END};

static KVal mod_scalar(Lw *l, Node n, const KVal *x, const DType *in)
{
    (void)in;
    return kb_bin(l->b, ATTRS(l->g, n, Mod)->fmod ? KOP_REM : KOP_MOD, x[0], x[1]);
}

/* Base and exponent may differ in type: the power is taken in the base's type, or in float when the exponent is one; an integer base with a float exponent truncates. */
/* float ^ integer: the exponent as a float32 has lost its lowest bits from 2^24 on, and with them whether it is odd, which
 * decides about the sign. Exponents count as doubles do: those from 2^53 on are even. */
static KVal pow_of_int(Lw *l, KVal x, KVal y, DType b, DType e)
{
    KVal r = kb_bin(l->b, KOP_POW, x, kb_cast(l->b, b, y)), one = kb_const_i(l->b, e, 1);
    if (dtype_info(e)->bits < 32 || b == DT_F64) return r;
    KVal turns = kb_and(l->b, kb_eq(l->b, kb_and(l->b, y, one), one),
                        kb_lt(l->b, kb_bitcast(l->b, DT_I32, x), kb_const_i(l->b, DT_I32, 0)));   /* -0, too */
    if (dtype_info(e)->bits == 64) {
        KVal far = dtype_is_signed(e) ? kb_un(l->b, KOP_ABS, y) : y;
        turns = kb_and(l->b, turns, kb_lt(l->b, far, kb_const_i(l->b, e, INT64_C(1) << 53)));
    }
    return kb_select(l->b, turns, kb_un(l->b, KOP_NEG, kb_un(l->b, KOP_ABS, r)), r);
}

static KVal pow_scalar(Lw *l, Node n, const KVal *x, const DType *in)
{
    (void)n;
    DType b = dtype_compute(in[0]), e = dtype_compute(in[1]);
    if (b == e) return kb_bin(l->b, KOP_POW, x[0], x[1]);
    if (dtype_is_float(b) && dtype_is_int(e)) return pow_of_int(l, x[0], x[1], b, e);
    if (dtype_is_float(b)) return kb_bin(l->b, KOP_POW, x[0], kb_cast(l->b, b, x[1]));
    if (!dtype_is_float(e)) return kb_bin(l->b, KOP_POW, x[0], kb_cast(l->b, b, x[1]));
    return kb_cast(l->b, b, kb_bin(l->b, KOP_POW, kb_cast(l->b, DT_F64, x[0]), kb_cast(l->b, DT_F64, x[1])));
}

/* x^k of integers, which wraps: products of squares. */
static Value int_power(Graph *g, Node n, Value x, int64_t k)
{
    Value p = x;
    if (k == 1) return x;
    Value half = int_power(g, n, x, k / 2);
    for (int i = 0; i < 1 + (k & 1); i++) {
        Node m = graph_add(g, OP_Mul, (Value[]){i ? p : half, i ? x : half}, 2, 1, NULL, node_rec(g, n)->loc, n);
        p = node_out(g, m, 0);
        value_rec(g, p)->type = value_type(g, x);
    }
    return p;
}

/* Pow(x, 2) => Mul(x, x), of integers up to 8;  Pow(x, 0.5) => Sqrt(x);  Pow(x, 1) => x : exact, and far cheaper. pow(-0, 0.5) is +0 while sqrt(-0) is -0, and pow(-inf, 0.5) is inf:
 * the square root is taken only where the base is provably a square or absolute value. */
static bool pow_rewrite(Graph *g, Node n)
{
    Value x = node_in(g, n, 0), e = node_in(g, n, 1);
    if (!same_type(g, n, x)) return false;
    Node r;
    bool ints = dtype_is_int(value_trec(g, x)->elem) && dtype_is_int(value_trec(g, e)->elem);
    for (int64_t k = 3; ints && k <= 8; k++)
        if (is_splat(g, e, k)) return graph_replace_uses(g, node_out(g, n, 0), int_power(g, n, x, k)), true;
    if (is_splat(g, e, 2)) r = graph_add(g, OP_Mul, (Value[]){x, x}, 2, 1, NULL, node_rec(g, n)->loc, n);
    else return false;
    value_rec(g, node_out(g, r, 0))->type = value_type(g, node_out(g, n, 0));
    graph_replace_uses(g, node_out(g, n, 0), node_out(g, r, 0));
    return true;
}
static Value pow_equivalent(Graph *g, Node n, uint32_t r) { return (void)r, neutral(g, n, 1, false, true); }

typedef struct BitShift { uint64_t set; const char *direction; } BitShift;
static const AttrSpec SHIFT_ATTRS[] = {{.name = "direction", .kind = ATTR_STRING, .offset = offsetof(BitShift, direction), .required = true}, A_END};
static bool shifts_left(const void *attrs) { return ((const BitShift *)attrs)->direction[0] == 'L'; }

static KVal shift_scalar(Lw *l, Node n, const KVal *x, const DType *in)
{
    (void)in;
    return kb_bin(l->b, shifts_left(node_attrs(l->g, n)) ? KOP_SHL : KOP_SHR, x[0], x[1]);
}

/* ---- reference ---- */

static double e_add(double a, double b) { return a + b; }
static double e_sub(double a, double b) { return a - b; }
static double e_mul(double a, double b) { return a * b; }
static double e_div(double a, double b) { return a / b; }
static int64_t i_add(int64_t a, int64_t b) { return (int64_t)((uint64_t)a + (uint64_t)b); }
static int64_t i_sub(int64_t a, int64_t b) { return (int64_t)((uint64_t)a - (uint64_t)b); }
static int64_t i_mul(int64_t a, int64_t b) { return (int64_t)((uint64_t)a * (uint64_t)b); }
static int64_t i_div(int64_t a, int64_t b) { return !b ? 0 : b == -1 ? i_sub(0, a) : a / b; }
static int64_t u_div(int64_t a, int64_t b) { return !b ? 0 : (int64_t)((uint64_t)a / (uint64_t)b); }
static int64_t u_mod(int64_t a, int64_t b) { return !b ? 0 : (int64_t)((uint64_t)a % (uint64_t)b); }
static int64_t i_rem(int64_t a, int64_t b) { return !b || b == -1 ? 0 : a % b; }
static int64_t i_mod(int64_t a, int64_t b)
{
    int64_t r = i_rem(a, b);
    return r && (r < 0) != (b < 0) ? r + b : r;
}
static int64_t i_and(int64_t a, int64_t b) { return a & b; }
static int64_t i_or(int64_t a, int64_t b) { return a | b; }
static int64_t i_xor(int64_t a, int64_t b) { return a ^ b; }
static int64_t i_shl(int64_t a, int64_t b) { return b < 0 || b > 63 ? 0 : (int64_t)((uint64_t)a << b); }
static int64_t i_sar(int64_t a, int64_t b) { return b < 0 || b > 63 ? -(a < 0) : a >> b; }
static int64_t i_shr(int64_t a, int64_t b) { return b < 0 || b > 63 ? 0 : (int64_t)((uint64_t)a >> b); }

static bool eval_add(Eval *e) { return ev_map2(e, e->in[0]->elem, e_add, i_add); }
static bool eval_sub(Eval *e) { return ev_map2(e, e->in[0]->elem, e_sub, i_sub); }
static bool eval_mul(Eval *e) { return ev_map2(e, e->in[0]->elem, e_mul, i_mul); }
static bool eval_div(Eval *e) { return ev_map2(e, e->in[0]->elem, e_div, e->in[0]->elem == DT_U64 ? u_div : i_div); }
/* the remainder of floor division: the divisor's sign, zeros included */
static double e_mod(double a, double b)
{
    double r = fmod(a, b);
    return r == 0 ? copysign(0, b) : (r < 0) != (b < 0) ? r + b : r;
}
static bool eval_mod(Eval *e)
{
    bool rem = ATTRS(e->g, e->n, Mod)->fmod;
    return ev_map2(e, e->in[0]->elem, rem ? fmod : e_mod, e->in[0]->elem == DT_U64 ? u_mod : rem ? i_rem : i_mod);
}
static bool eval_and(Eval *e) { return ev_map2(e, e->in[0]->elem, e_add, i_and); }
static bool eval_or(Eval *e) { return ev_map2(e, e->in[0]->elem, e_add, i_or); }
static bool eval_xor(Eval *e) { return ev_map2(e, e->in[0]->elem, e_add, i_xor); }
static bool eval_shift(Eval *e)
{
    bool sign = dtype_is_signed(e->in[0]->elem);
    return ev_map2(e, e->in[0]->elem, e_add, shifts_left(node_attrs(e->g, e->n)) ? i_shl : sign ? i_sar : i_shr);
}

static int64_t i_pow(int64_t a, int64_t b)
{
    if (b < 0) return a == 1 ? 1 : a == -1 ? (b % 2 ? -1 : 1) : 0;
    int64_t r = 1;
    for (; b; b >>= 1, a = i_mul(a, a))
        if (b & 1) r = i_mul(r, a);
    return r;
}

static bool eval_pow(Eval *e)
{
    const Tensor *x = e->in[0], *y = e->in[1];
    if (dtype_is_float(x->elem) || !dtype_is_float(y->elem)) {
        if (dtype_is_float(x->elem) && !dtype_is_float(y->elem)) {   /* exponent as a float */
            Tensor *f = tensor_new(e->arena, DT_F64, y->rank, y->dim);
            for (int64_t k = 0; f && k < f->count; k++) ev_set_f(f, k, ev_f(y, k));
            if (!f) return ev_fail(e, "too large");
            e->in[1] = f;
        }
        return ev_map2(e, x->elem, pow, i_pow);
    }
    int64_t dim[RANK_MAX];
    int rank;
    if (!ev_broadcast_dims(e, (uint32_t[]){0, 1}, 2, dim, &rank)) return false;
    Tensor *o = ev_out(e, 0, x->elem, rank, dim);
    for (int64_t k = 0; o && k < o->count; k++) ev_set_f(o, k, pow(ev_f(x, ev_broadcast_index(x, o, k)), ev_f(y, ev_broadcast_index(y, o, k))));
    return o != NULL;
}

#define ARITH .cls = CLS_ELTWISE, .in = P_NUM2, .out = P_NUM, .attrs = OLD, .attrs_size = sizeof(OldBroadcast), .upgrade = binary_upgrade
#define BITS .since = 18, .cls = CLS_ELTWISE, .flags = OPF_COMMUTES, .in = P_INT2, .out = P_INT

const OpDesc op_Add = {.name = "Add", .since = 14, ARITH, .flags = OPF_COMMUTES, .kop = KOP_ADD, .propagate = add_propagate, .equivalent = add_equivalent, .grad = grad_add, .eval = eval_add};
const OpDesc op_Sub = {.name = "Sub", .since = 14, ARITH, .kop = KOP_SUB, .propagate = sub_propagate, .equivalent = sub_equivalent, .grad = grad_sub, .eval = eval_sub};
const OpDesc op_Mul = {.name = "Mul", .since = 14, ARITH, .flags = OPF_COMMUTES, .kop = KOP_MUL, .propagate = mul_propagate, .equivalent = mul_equivalent, .grad = grad_mul, .eval = eval_mul};
const OpDesc op_Div = {.name = "Div", .since = 14, ARITH, .kop = KOP_DIV, .propagate = div_propagate, .equivalent = div_equivalent, .grad = grad_div, .eval = eval_div};
const OpDesc op_Mod = {.name = "Mod", .since = 28, .cls = CLS_ELTWISE, .in = P_NUM2, .out = P_NUM, .attrs = MOD_ATTRS, .attrs_size = sizeof(Mod),
                       .scalar = mod_scalar, .grad = grad_mod, .eval = eval_mod};
const OpDesc op_Pow = {.name = "Pow", .since = 15, .cls = CLS_ELTWISE, .in = P_POW, .out = P_NUM, .attrs = OLD, .attrs_size = sizeof(OldBroadcast),
                       .upgrade = binary_upgrade, .scalar = pow_scalar, .equivalent = pow_equivalent, .rewrite = pow_rewrite, .grad = grad_pow, .eval = eval_pow};
const OpDesc op_BitShift = {.name = "BitShift", .since = 28, .cls = CLS_ELTWISE, .in = P_SHIFT, .out = P_INT, .attrs = SHIFT_ATTRS, .attrs_size = sizeof(BitShift),
                            .scalar = shift_scalar, .eval = eval_shift};
const OpDesc op_BitwiseAnd = {.name = "BitwiseAnd", BITS, .kop = KOP_AND, .eval = eval_and};
const OpDesc op_BitwiseOr = {.name = "BitwiseOr", BITS, .kop = KOP_OR, .eval = eval_or};
const OpDesc op_BitwiseXor = {.name = "BitwiseXor", BITS, .kop = KOP_XOR, .eval = eval_xor};
