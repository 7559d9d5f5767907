/* random.c: RandomUniform, RandomNormal (and -Like), Bernoulli, Multinomial. One internal operator makes the numbers,
 * the others are written in terms of it:
 *   Philox(shape)   uniform in [0, 1), or standard normal, element by element
 *   RandomUniform   low + u (high - low);   RandomNormal  mean + scale z
 *   Bernoulli       u < p
 *   Multinomial     how many of the running sums of softmax(x) are at most u times the last one
 * Philox4x32-10 is counter-based (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): four words from
 * the key (seed) and the counter (element, draw), so threads, vectors and blocks do not matter. A draw is one operator
 * of one run; a seed that the node has takes the place of the context's. */
#include "ir/graph/eval.h"
#include "ir/ops/compose.h"
#include "ir/ops/random.h"
#include "ir/graph/lower.h"
#include <math.h>
#include <string.h>

/* ---- Philox ---- */

typedef struct Philox {
    uint64_t set;
    int64_t dtype, normal, seed, seeded;
} Philox;
static const AttrSpec PHILOX_ATTRS[] = {A_TYPE(Philox, dtype, DT_F32), A_INT(Philox, normal, 0), A_INT(Philox, seed, 0), A_INT(Philox, seeded, 0), A_END};
static const Port P_SHAPE[] = {{"shape", DTS(DT_I64), PORT_SHAPE, 0}, PORT_END};
static const Port P_REAL[] = {{"output", DTS(DT_F32) | DTS(DT_F64), 0, 0}, PORT_END};

static bool philox_infer(Infer *c)
{
    const Philox *a = ATTRS(c->g, c->n, Philox);
    const Dim *want = NULL;
    uint32_t n;
    int64_t rank;
    Dim dim[RANK_MAX];
    if (a->dtype != DT_F32 && a->dtype != DT_F64) return infer_fail(c, "Philox of another type");
    if (!infer_need_rank(c, 0, 1, 1)) return false;
    if (!dim_is_const(c->d, infer_dim(c, 0, 0), &rank) || rank > RANK_MAX) return infer_fail(c, "the rank must be known at compile time");
    bool known = infer_content(c, 0, &want, &n);
    for (int i = 0; i < rank; i++) {
        int64_t k;
        dim[i] = known ? dim_resolve(c->d, want[i]) : infer_node_dim(c, 0, i, 0, INT64_MAX);
        if (dim_is_const(c->d, dim[i], &k) && k < 0) return infer_fail(c, "extent %d of the shape is %lld", i, (long long)k);
    }
    return infer_set(c, 0, (DType)a->dtype, (int)rank, dim);
}

enum { ROUNDS = 10 };
static const uint32_t PHILOX_M[2] = {0xD2511F53u, 0xCD9E8D57u}, PHILOX_W[2] = {0x9E3779B9u, 0xBB67AE85u};

static KVal u32(Kb *b, uint32_t v) { return kb_const_i(b, DT_U32, v); }

/* High and low half of x * m. */
static void product(Kb *b, KVal x, uint32_t m, KVal *hi, KVal *lo)
{
    KVal p = kb_mul(b, kb_cast(b, DT_U64, x), kb_const_i(b, DT_U64, m));
    *lo = kb_cast(b, DT_U32, p);
    *hi = kb_cast(b, DT_U32, kb_bin(b, KOP_SHR, p, kb_const_i(b, DT_U64, 32)));
}

static void philox(Kb *b, KVal c[4], KVal k[2])
{
    for (int round = 0; round < ROUNDS; round++) {
        KVal hi[2], lo[2];
        for (int i = 0; i < 2; i++) {
            product(b, c[2 * i], PHILOX_M[i], &hi[i], &lo[i]);
            if (round) k[i] = kb_add(b, k[i], u32(b, PHILOX_W[i]));
        }
        c[0] = kb_bin(b, KOP_XOR, kb_bin(b, KOP_XOR, hi[1], c[1]), k[0]);
        c[2] = kb_bin(b, KOP_XOR, kb_bin(b, KOP_XOR, hi[0], c[3]), k[1]);
        c[1] = lo[1];
        c[3] = lo[0];
    }
}

/* The 24 (f32) or 53 (f64) highest bits of one or two words as a number in [0, 1). */
static KVal unit(Kb *b, DType t, const KVal *word)
{
    if (t == DT_F32) return kb_mul(b, kb_cast(b, t, kb_bin(b, KOP_SHR, word[0], u32(b, 8))), kb_const_f(b, t, 0x1p-24));
    KVal bits = kb_bin(b, KOP_OR, kb_bin(b, KOP_SHL, kb_cast(b, DT_U64, word[0]), kb_const_i(b, DT_U64, 32)), kb_cast(b, DT_U64, word[1]));
    return kb_mul(b, kb_cast(b, t, kb_bin(b, KOP_SHR, bits, kb_const_i(b, DT_U64, 11))), kb_const_f(b, t, 0x1p-53));
}

static bool philox_lower(Lw *l, Node n)
{
    const Philox *a = ATTRS(l->g, n, Philox);
    Dims *d = &l->m->dims;
    DType t = (DType)a->dtype;
    int rank = lw_out_rank(l, 0);
    Dim dim[RANK_MAX], four = dim_const(d, 4);
    uint32_t count;
    KVal idx[RANK_MAX];
    if (!lw_values(l, 0, dim, RANK_MAX, &count)) return false;
    lw_bind_dims(l, 0, dim);
    KBuf draw = lw_temp(l, DT_U32, 1, &four);
    lw_call(l, l->steps, "rt_random_draw", 1, &(KArg){.kind = KA_BUF, .buf = draw});
    lw_prepare_out(l);
    Kb *b = lw_kernel(l, "random");
    uint32_t from = kb_param(b, draw, false);
    KVal word[4], at = kb_i(b, 0);
    for (int i = 0; i < 4; i++) {
        KVal place = kb_i(b, i);
        word[i] = kb_load(b, from, &place);
    }
    lw_nest_over(l, 0, idx);
    for (int i = 0; i < rank; i++) at = kb_add(b, kb_mul(b, at, kb_dim(b, lw_out_dim(l, 0, i))), idx[i]);
    KVal wide = kb_cast(b, DT_U64, at);
    KVal c[4] = {kb_cast(b, DT_U32, wide), kb_cast(b, DT_U32, kb_bin(b, KOP_SHR, wide, kb_const_i(b, DT_U64, 32))), word[2], word[3]};
    KVal k[2] = {a->seeded ? u32(b, (uint32_t)a->seed) : word[0], a->seeded ? u32(b, (uint32_t)((uint64_t)a->seed >> 32)) : word[1]};
    philox(b, c, k);
    KVal v = unit(b, t, c);
    if (a->normal) { /* Box and Muller, 1958: the other number of the pair is not used */
        KVal radius = kb_un(b, KOP_SQRT, kb_mul(b, kb_const_f(b, t, -2), kb_un(b, KOP_LOG, kb_sub(b, kb_const_f(b, t, 1), v))));
        v = kb_mul(b, radius, kb_un(b, KOP_COS, kb_mul(b, unit(b, t, c + 2), kb_const_f(b, t, 6.283185307179586476925))));
    }
    lw_put(l, 0, idx, v);
    lw_end_nest(l, rank);
    lw_kernel_end(l);
    return true;
}

/* The reference has one draw: the first of a context whose seed is 0. */
static void philox_words(uint64_t key, uint64_t element, uint32_t out[4])
{
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    out[0] = (uint32_t)element, out[1] = (uint32_t)(element >> 32), out[2] = out[3] = 0;
    for (int round = 0; round < 10; round++, k0 += 0x9E3779B9u, k1 += 0xBB67AE85u) {
        uint64_t p = (uint64_t)0xD2511F53u * out[0], q = (uint64_t)0xCD9E8D57u * out[2];
        uint32_t y[4] = {(uint32_t)(q >> 32) ^ out[1] ^ k0, (uint32_t)q, (uint32_t)(p >> 32) ^ out[3] ^ k1, (uint32_t)p};
        memcpy(out, y, sizeof y);
    }
}

double random_reference(uint64_t key, uint64_t element, bool normal, bool wide)
{
    uint32_t w[4];
    philox_words(key, element, w);
    double u = wide ? ldexp((double)(((uint64_t)w[0] << 32 | w[1]) >> 11), -53) : ldexp((double)(w[0] >> 8), -24);
    double v = wide ? ldexp((double)(((uint64_t)w[2] << 32 | w[3]) >> 11), -53) : ldexp((double)(w[2] >> 8), -24);
    return normal ? sqrt(-2 * log(1 - u)) * cos(2 * acos(-1) * v) : u;
}

static bool philox_eval(Eval *e)
{
    const Philox *a = ATTRS(e->g, e->n, Philox);
    int64_t dim[RANK_MAX];
    for (int64_t k = 0; k < e->in[0]->count; k++) dim[k] = ev_i(e->in[0], k);
    Tensor *y = ev_out(e, 0, (DType)a->dtype, (int)e->in[0]->count, dim);
    for (int64_t k = 0; y && k < y->count; k++) ev_set_f(y, k, random_reference(a->seeded ? (uint64_t)a->seed : 0, (uint64_t)k, a->normal, a->dtype == DT_F64));
    return y != NULL;
}

const OpDesc op_Philox = {.name = "Philox", .since = 1, .cls = CLS_OPAQUE, .flags = OPF_INTERNAL | OPF_RANDOM | OPF_IRREGULAR | OPF_STRIDED_OUT, .knows = 1, .in = P_SHAPE,
                          .out = P_REAL, .attrs = PHILOX_ATTRS, .attrs_size = sizeof(Philox), .infer = philox_infer, .lower = philox_lower, .eval = philox_eval};

/* The key of a node's own seed, a float: its bits, and one more so that it is no context's small number. */
static uint64_t seed_key(double seed)
{
    float f = (float)seed;
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return (uint64_t)1 << 32 | bits;
}

Value random_uniform(Ex *x, Value shape, DType t, bool normal, bool seeded, double seed)
{
    DType compute = t == DT_F64 ? DT_F64 : DT_F32;
    void *attrs = ex_set(x, OP_Philox, NULL, "dtype", compute);
    ex_set(x, OP_Philox, attrs, "normal", normal);
    ex_set(x, OP_Philox, attrs, "seeded", seeded);
    if (seeded) ex_set(x, OP_Philox, attrs, "seed", (int64_t)seed_key(seed));
    return ex_op(x, OP_Philox, &shape, 1, attrs);
}

/* ---- the operators ---- */

typedef struct Random {
    uint64_t set;
    double a, b, seed; /* low and high, or mean and scale */
    int64_t dtype, sample_size;
    AttrInts shape;
} Random;
#define A_NAMED(text, f, d) {.name = text, .kind = ATTR_FLOAT, .offset = offsetof(Random, f), .def_f = (d)}
#define A_SEED A_FLOAT(Random, seed, 0) /* first in every table */
#define A_DTYPE A_TYPE(Random, dtype, DT_F32)
#define A_SHAPE {.name = "shape", .kind = ATTR_INTS, .offset = offsetof(Random, shape), .required = true}
static const AttrSpec UNIFORM[] = {A_SEED, A_DTYPE, A_NAMED("low", a, 0), A_NAMED("high", b, 1), A_SHAPE, A_END};
static const AttrSpec NORMAL[] = {A_SEED, A_DTYPE, A_NAMED("mean", a, 0), A_NAMED("scale", b, 1), A_SHAPE, A_END};
static const AttrSpec UNIFORM_LIKE[] = {A_SEED, A_DTYPE, A_NAMED("low", a, 0), A_NAMED("high", b, 1), A_END};
static const AttrSpec NORMAL_LIKE[] = {A_SEED, A_DTYPE, A_NAMED("mean", a, 0), A_NAMED("scale", b, 1), A_END};
static const AttrSpec BERNOULLI[] = {A_SEED, A_DTYPE, A_END};
static const AttrSpec MULTINOMIAL[] = {A_SEED, A_TYPE(Random, dtype, DT_I32), A_INT(Random, sample_size, 1), A_END};

static const Port P_NO[] = {PORT_END};
static const Port P_ANY[] = {{"input", DTS_MOVE, 0, 0}, PORT_END};
static const Port P_PROBABLE[] = {{"input", DTS_FLOAT, 0, 0}, PORT_END};
static const Port P_FLOAT[] = {{"output", DTS_FLOAT, 0, 0}, PORT_END};
static const Port P_NUM[] = {{"output", DTS_NUM | DTS_BOOL, 0, 0}, PORT_END};
static const Port P_INDEX[] = {{"output", DTS_INDEX, 0, 0}, PORT_END};

static bool is_normal(OpCode op) { return op == OP_RandomNormal || op == OP_RandomNormalLike; }
static bool is_given(const Graph *g, Node n, uint32_t attr) { return attr_given(node_desc(g, n), node_attrs(g, n), attr); }

/* The type of the result: the attribute, or where it is not given the operand's. */
static DType type_of(const Graph *g, Node n)
{
    const Random *a = ATTRS(g, n, Random);
    return node_n_in(g, n) && !is_given(g, n, 1) ? value_trec(g, node_in(g, n, 0))->elem : (DType)a->dtype;
}

static bool filled_infer(Infer *c)
{
    const Random *a = ATTRS(c->g, c->n, Random);
    Dim dim[RANK_MAX];
    if (a->shape.n > RANK_MAX) return infer_fail(c, "the result has rank %u", a->shape.n);
    if (!(DTS((DType)a->dtype) & DTS_FLOAT)) return infer_fail(c, "a result of type %s is not supported", dtype_info((DType)a->dtype)->onnx);
    for (uint32_t k = 0; k < a->shape.n; k++) {
        if (a->shape.p[k] < 0) return infer_fail(c, "extent %u of the shape is %lld", k, (long long)a->shape.p[k]);
        dim[k] = dim_const(c->d, a->shape.p[k]);
    }
    return infer_set(c, 0, (DType)a->dtype, (int)a->shape.n, dim);
}

static bool like_infer(Infer *c)
{
    DType t = type_of(c->g, c->n);
    DTypeSet allowed = node_rec(c->g, c->n)->op == OP_Bernoulli ? DTS_NUM | DTS_BOOL : DTS_FLOAT;
    if (!(DTS(t) & allowed)) return infer_fail(c, "a result of type %s is not supported", dtype_info(t)->onnx);
    const TypeRec *x = infer_in(c, 0);
    return infer_set(c, 0, t, x->rank == RANK_UNKNOWN ? -1 : x->rank, x->dim);
}

static bool filled_expand(Graph *g, Node n)
{
    const Random *a = ATTRS(g, n, Random);
    Ex x = ex_begin(g, n);
    DType t = type_of(g, n), compute = t == DT_F64 ? DT_F64 : DT_F32;
    OpCode op = node_rec(g, n)->op;
    Value shape = node_n_in(g, n) ? ex1(&x, OP_Shape, ex_in(&x, 0)) : ex_ints(&x, a->shape.p, a->shape.n);
    Value v = random_uniform(&x, shape, t, is_normal(op), is_given(g, n, 0), a->seed);
    v = ex2(&x, OP_Mul, v, ex_f(&x, compute, is_normal(op) ? a->b : a->b - a->a));
    v = ex_cast(&x, ex2(&x, OP_Add, v, ex_f(&x, compute, a->a)), t);
    return ex_end(&x, &v, 1);
}

static double drawn(Eval *e, int64_t k, bool normal, bool wide)
{
    return random_reference(is_given(e->g, e->n, 0) ? seed_key(ATTRS(e->g, e->n, Random)->seed) : 0, (uint64_t)k, normal, wide);
}

static bool filled_eval(Eval *e)
{
    const Random *a = ATTRS(e->g, e->n, Random);
    bool normal = is_normal(node_rec(e->g, e->n)->op);
    DType t = type_of(e->g, e->n);
    int rank = e->n_in ? e->in[0]->rank : (int)a->shape.n;
    Tensor *y = ev_out(e, 0, t, rank, e->n_in ? e->in[0]->dim : a->shape.p);
    for (int64_t k = 0; y && k < y->count; k++) {
        double v = drawn(e, k, normal, t == DT_F64);
        ev_set_f(y, k, normal ? a->a + a->b * v : a->a + (a->b - a->a) * v);
    }
    return y != NULL;
}

#define RANDOM .since = 22, .cls = CLS_OPAQUE, .flags = OPF_RANDOM, .attrs_size = sizeof(Random)
const OpDesc op_RandomUniform = {.name = "RandomUniform", RANDOM, .in = P_NO, .out = P_FLOAT, .attrs = UNIFORM, .infer = filled_infer, .expand = filled_expand, .eval = filled_eval};
const OpDesc op_RandomNormal = {.name = "RandomNormal", RANDOM, .in = P_NO, .out = P_FLOAT, .attrs = NORMAL, .infer = filled_infer, .expand = filled_expand, .eval = filled_eval};
const OpDesc op_RandomUniformLike = {.name = "RandomUniformLike", RANDOM, .in = P_ANY, .out = P_FLOAT, .attrs = UNIFORM_LIKE, .infer = like_infer, .expand = filled_expand, .eval = filled_eval};
const OpDesc op_RandomNormalLike = {.name = "RandomNormalLike", RANDOM, .in = P_ANY, .out = P_FLOAT, .attrs = NORMAL_LIKE, .infer = like_infer, .expand = filled_expand, .eval = filled_eval};

/* ---- Bernoulli ---- */

static bool bernoulli_expand(Graph *g, Node n)
{
    Ex x = ex_begin(g, n);
    Value p = ex_in(&x, 0);
    DType t = ex_elem(&x, p) == DT_F64 ? DT_F64 : DT_F32;
    Value u = random_uniform(&x, ex1(&x, OP_Shape, p), t, false, is_given(g, n, 0), ATTRS(g, n, Random)->seed);
    Value y = ex_cast(&x, ex2(&x, OP_Less, u, ex_cast(&x, p, t)), type_of(g, n));
    return ex_end(&x, &y, 1);
}

static bool bernoulli_eval(Eval *e)
{
    const Tensor *p = e->in[0];
    Tensor *y = ev_out(e, 0, type_of(e->g, e->n), p->rank, p->dim);
    for (int64_t k = 0; y && k < y->count; k++) {
        bool one = drawn(e, k, false, p->elem == DT_F64) < ev_f(p, k);
        if (dtype_is_float(y->elem)) ev_set_f(y, k, one);
        else ev_set_i(y, k, one);
    }
    return y != NULL;
}

const OpDesc op_Bernoulli = {.name = "Bernoulli", RANDOM, .in = P_PROBABLE, .out = P_NUM, .attrs = BERNOULLI, .infer = like_infer, .expand = bernoulli_expand, .eval = bernoulli_eval};

/* ---- Multinomial ---- */

static bool multinomial_infer(Infer *c)
{
    const Random *a = ATTRS(c->g, c->n, Random);
    if (a->dtype != DT_I32 && a->dtype != DT_I64) return infer_fail(c, "a result of type %s is not supported", dtype_info((DType)a->dtype)->onnx);
    if (a->sample_size < 0) return infer_fail(c, "sample_size is %lld", (long long)a->sample_size);
    if (!infer_need_rank(c, 0, 2, 2)) return false;
    return infer_set(c, 0, (DType)a->dtype, 2, (Dim[]){infer_dim(c, 0, 0), dim_const(c->d, a->sample_size)});
}

static bool multinomial_expand(Graph *g, Node n)
{
    const Random *a = ATTRS(g, n, Random);
    Ex x = ex_begin(g, n);
    DType t = ex_elem(&x, ex_in(&x, 0)) == DT_F64 ? DT_F64 : DT_F32;
    int64_t axis = 1, last = -1, end = INT64_MAX;
    Value p = ex1(&x, OP_Softmax, ex_cast(&x, ex_in(&x, 0), t));
    Value sums = ex2(&x, OP_CumSum, p, ex_i(&x, DT_I64, 1));
    Value total = ex_op(&x, OP_Slice, (Value[]){sums, ex_int1(&x, last), ex_int1(&x, end), ex_int1(&x, axis)}, 4, NULL);
    Value rows = ex_shape_part(&x, ex_in(&x, 0), 0, 1), shape = ex_axis(&x, OP_Concat, (Value[]){rows, ex_int1(&x, a->sample_size)}, 2, 0);
    Value u = ex2(&x, OP_Mul, random_uniform(&x, shape, t, false, is_given(g, n, 0), a->seed), total);
    Value above = ex2(&x, OP_LessOrEqual, ex2(&x, OP_Unsqueeze, sums, ex_int1(&x, 1)), ex2(&x, OP_Unsqueeze, u, ex_int1(&x, 2)));
    Value y = ex_reduce(&x, OP_ReduceSum, ex_cast(&x, above, DT_I64), (int64_t[]){2}, 1, false);
    Value most = ex2(&x, OP_Sub, ex_shape_part(&x, ex_in(&x, 0), 1, 2), ex_int1(&x, 1)); /* rounding may reach the last sum */
    y = ex_cast(&x, ex2(&x, OP_Min, y, most), (DType)a->dtype);
    return ex_end(&x, &y, 1);
}

static bool multinomial_eval(Eval *e)
{
    const Tensor *in = e->in[0];
    int64_t classes = in->dim[1], S = ATTRS(e->g, e->n, Random)->sample_size, dim[2] = {in->dim[0], S};
    Tensor *y = ev_out(e, 0, (DType)ATTRS(e->g, e->n, Random)->dtype, 2, dim);
    for (int64_t at = 0; y && at < y->count; at++) {
        double most = -INFINITY, sum = 0, target, running = 0;
        const int64_t row = at / S * classes;
        for (int64_t k = 0; k < classes; k++) most = fmax(most, ev_f(in, row + k));
        for (int64_t k = 0; k < classes; k++) sum += exp(ev_f(in, row + k) - most);
        target = drawn(e, at, false, in->elem == DT_F64) * sum;
        int64_t k = 0;
        for (; k < classes - 1; k++) {
            running += exp(ev_f(in, row + k) - most);
            if (running > target) break;
        }
        ev_set_i(y, at, k);
    }
    return y != NULL;
}

const OpDesc op_Multinomial = {.name = "Multinomial", RANDOM, .in = P_PROBABLE, .out = P_INDEX, .attrs = MULTINOMIAL, .infer = multinomial_infer, .expand = multinomial_expand,
                               .eval = multinomial_eval};
