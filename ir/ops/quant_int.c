/* quant_int.c: products of 8-bit integers: MatMulInteger, ConvInteger, and QLinearMatMul, QLinearConv on top of them;
 * DynamicQuantizeLinear.
 *   MatMulInteger(a, b, za, zb)  =>  ByteMatMul(a, b) - za * (sums of b's columns) - ..
 *   ConvInteger(a, b, za, zb)    =>  ByteConv(a, b, za) - za * (sums of b's channels) - ..
 * and of vectors and of several groups
 *   ConvInteger(a, b, za, zb)    =>  Cast<i32>(Round(Conv(real(a) - za, real(b) - zb)))
 *   QLinearMatMul(..)            =>  Quantize(Cast<f32>(MatMulInteger(..)) * (sa * sb / sy), zy)
 * and convolutions likewise. `real` is f32 where every partial sum of the integer products stays within 2^24, so that
 * float arithmetic is exact in any order (from the type's range and, for constant weights, the sum of their
 * magnitudes); else f64, exact up to 2^53. What overflows 32 bits wraps. */
#include "ir/ops/contraction.h"
#include "ir/ops/conv.h"
#include "ir/ops/internal.h"
#include "ir/ops/quant.h"
#include <math.h>

#define DTS_8 (DTS(DT_I8) | DTS(DT_U8))
#define DTS_Q8 (DTS_8 | DTS_FLOAT8)
#define DTS_S (DTS(DT_F32) | DTS(DT_F16) | DTS(DT_BF16))

/* ---- how large sums become ---- */

/* Constant data whose elements can be read here. */
static const BlobRec *readable(Ex *e, Value v, Blob *blob)
{
    if (!v.i || !value_is_const(e->g, v)) return NULL;
    *blob = value_rec(e->g, v)->data;
    const BlobRec *b = blob_rec(&e->g->m->blobs, *blob);
    return b->kind == BLOB_DERIVED || b->kind == BLOB_STRINGS ? NULL : b;
}

/* The largest magnitude of x - zero. */
static double reach(Ex *e, Value x, Value zero)
{
    bool sign = dtype_is_signed(ex_type(e, x)->elem);
    double lo = sign ? -128 : 0, hi = lo + 255, most = 0;
    Blob blob;
    if (!zero.i) return fmax(-lo, hi);
    const BlobRec *b = readable(e, zero, &blob);
    if (!b) return 255;
    for (int64_t k = 0; k < b->count; k++) {
        double z = (double)blob_get_i(&e->g->m->blobs, blob, k);
        most = fmax(most, fmax(z - lo, hi - z));
    }
    return most;
}

#define LOOK_MAX (INT64_C(1) << 26) /* weights looked at */

/* The largest sum of magnitudes of the weights of one result: element (c, k) of w stands at c*step_c + k*step_k.
 * count < 0: not known. */
static double weight_sum(Ex *e, Value w, Value zero, int64_t count, int64_t columns, int64_t step_c, int64_t step_k)
{
    const Blobs *bs = &e->g->m->blobs;
    Blob blob, zb;
    if (count < 0) return INFINITY;
    const BlobRec *b = readable(e, w, &blob), *z = zero.i ? readable(e, zero, &zb) : NULL;
    if (!b || (zero.i && !z) || columns < 0 || b->count != columns * count || b->count > LOOK_MAX)
        return reach(e, w, zero) * (double)count;
    if (z && z->count != 1 && z->count != columns) return reach(e, w, zero) * (double)count;
    int64_t most = 0;
    for (int64_t c = 0; c < columns; c++) {
        int64_t zc = z ? blob_get_i(bs, zb, z->count == 1 ? 0 : c) : 0, s = 0;
        for (int64_t k = 0; k < count; k++) {
            int64_t v = blob_get_i(bs, blob, c * step_c + k * step_k) - zc;
            s += v < 0 ? -v : v;
        }
        if (s > most) most = s;
    }
    return (double)most;
}

static int64_t known(Ex *e, Dim d)
{
    int64_t k;
    return dim_is_const(&e->g->m->dims, dim_resolve(&e->g->m->dims, d), &k) ? k : -1;
}

static bool all_zero(Ex *e, Value v)
{
    Blob blob;
    const BlobRec *b = readable(e, v, &blob);
    for (int64_t k = 0; b && k < b->count; k++)
        if (blob_get_i(&e->g->m->blobs, blob, k)) return false;
    return b != NULL;
}

/* x - zero in type t; zero broadcasts. */
static Value centred(Ex *e, Value x, Value zero, DType t)
{
    x = ex_cast(e, x, t);
    if (!zero.i || all_zero(e, zero)) return x;
    return ex2(e, OP_Sub, x, ex_cast(e, zero, t));
}

/* An exact sum of products as i32. */
static Value to_i32(Ex *e, Value sum, DType t)
{
    if (t == DT_F32) return ex_cast(e, ex1(e, OP_Round, sum), DT_I32);
    return ex_cast(e, ex_cast(e, sum, DT_I64), DT_I32);
}

/* ---- expansions: operands and parameters wherever they stand ---- */

typedef struct Factor {
    Value v, scale, zero;
} Factor;

/* [n] parameters of rows of a: [n, 1]; those of columns of b broadcast as they are. */
static Value of_rows(Ex *e, Value p, int rank)
{
    if (e->failed || !p.i || ex_type(e, p)->rank != 1 || rank < 2) return p;
    return quant_along(e, p, 2, 0);
}

/* The zero point of bytes that are taken as x + by: none if it is nothing. */
static Value zero_of(Ex *e, Value zero, int64_t by)
{
    Blob blob;
    const BlobRec *b = readable(e, zero, &blob);
    bool nothing = b || !zero.i;
    for (int64_t k = 0; nothing && k < (b ? b->count : 0); k++) nothing = blob_get_i(&e->g->m->blobs, blob, k) == -by;
    if (!zero.i) return by ? ex_i(e, DT_I32, by) : VALUE_NONE;
    if (nothing) return VALUE_NONE;
    zero = ex_cast(e, zero, DT_I32);
    return by ? ex2(e, OP_Add, zero, ex_i(e, DT_I32, by)) : zero;
}

static Value plus(Ex *e, Value x, int64_t by) { return by ? ex2(e, OP_Add, x, ex_i(e, DT_I32, by)) : x; }

/* Constant u8 weights as i8, less 128: by one bit, so that they stay as large as they are and fold. */
static Value as_signed(Ex *e, Value w)
{
    if (ex_elem(e, w) != DT_U8 || !value_is_const(e->g, w)) return w;
    w = ex2(e, OP_BitwiseXor, w, ex_i(e, DT_U8, 128));
    return ex_op(e, OP_BitCast, &w, 1, ex_set(e, OP_BitCast, NULL, "to", DT_I8));
}

/* Sums of weights plus `by` for each result, as i32: of a matrix' columns, or of all that belongs to an output channel.
 * Those of constants are made here: wider, the weights would not be folded. */
static Value weight_sums(Ex *e, Value w, bool columns, int64_t by)
{
    if (e->failed) return VALUE_NONE;
    const TypeRec *t = ex_type(e, w);
    int rank = t->rank;
    int64_t axes[RANK_MAX], results = known(e, t->dim[columns ? rank - 1 : 0]);
    Blob blob;
    const BlobRec *b = readable(e, w, &blob);
    if (b && results > 0 && b->count <= LOOK_MAX && (rank == 2 || !columns)) {
        int64_t *sum = arena_array(e->g->m->arena, int64_t, results), each = b->count / results;
        for (int64_t k = 0; k < b->count; k++)
            sum[columns ? k % results : k / each] += blob_get_i(&e->g->m->blobs, blob, k) + by;
        return ex_cast(e, ex_ints(e, sum, (uint32_t)results), DT_I32);
    }
    for (int i = 1; i < rank; i++) axes[i - 1] = i;
    if (columns) axes[0] = rank - 2;
    return ex_reduce(e, OP_ReduceSum, plus(e, ex_cast(e, w, DT_I32), by), axes, columns ? 1 : (uint32_t)rank - 1, columns);
}

/* sum (A - za) (B - zb) = sum A B - za (sum of B's column - K zb) - zb sum of A's row, for A = a + up, B = b - down as
 * ByteMatMul has them. All of it wraps, so all of it is right. */
static Value matmul_bytes(Ex *e, Factor a, Factor b)
{
    int rank = ex_rank(e, a.v);
    int64_t up = ex_elem(e, a.v) == DT_I8 ? 128 : 0, down = ex_elem(e, b.v) == DT_U8 ? 128 : 0;
    int64_t rows = rank - 1;
    Value za = of_rows(e, zero_of(e, a.zero, up), rank), zb = zero_of(e, b.zero, -down);
    Value acc = ex2(e, OP_ByteMatMul, a.v, as_signed(e, b.v));
    if (za.i) {
        Value sum = weight_sums(e, b.v, true, -down);
        if (zb.i) {
            Dim count = ex_type(e, a.v)->dim[rank - 1];
            sum = ex2(e, OP_Sub, sum, ex2(e, OP_Mul, zb, ex_cast(e, ex_dims(e, &count, 1), DT_I32)));
        }
        acc = ex2(e, OP_Sub, acc, ex2(e, OP_Mul, za, sum));
    }
    if (zb.i) {
        Value sum = ex_reduce(e, OP_ReduceSum, plus(e, ex_cast(e, a.v, DT_I32), up), &rows, 1, true);
        acc = ex2(e, OP_Sub, acc, ex2(e, OP_Mul, zb, sum));
    }
    return acc;
}

static Value matmul_i32(Ex *e, Factor a, Factor b)
{
    if (e->failed) return VALUE_NONE;
    if (ex_rank(e, a.v) > 1 && ex_rank(e, b.v) > 1) return matmul_bytes(e, a, b);
    const TypeRec *ta = ex_type(e, a.v), *tb = ex_type(e, b.v);
    int64_t K = known(e, ta->dim[ta->rank - 1]), N = tb->rank == 2 ? known(e, tb->dim[1]) : -1;
    int rank = ta->rank;
    DType t = reach(e, a.v, a.zero) * weight_sum(e, b.v, b.zero, K, N, 1, N) <= 0x1p24 ? DT_F32 : DT_F64;
    Value x = centred(e, a.v, of_rows(e, a.zero, rank), t), y = centred(e, b.v, b.zero, t);
    return to_i32(e, ex2(e, OP_MatMul, x, y), t);
}

/* What x - zero has in the window of each result, as i32 [batch, 1, ..]: the channels are added up first, so that one
 * is left for the windows, of which a convolution with ones is the sum. Sums in `real` are exact. */
static Value window_sums(Ex *e, Factor x, Value w, const Conv *a)
{
    int rank = ex_rank(e, x.v);
    int64_t channels = 1, count = 1;
    Dim dim[RANK_MAX], one = dim_const(&e->g->m->dims, 1);
    const TypeRec *t = ex_type(e, w);
    Dim deep = t->dim[1];
    for (int i = 0; i < rank; i++) {
        int64_t d = i ? known(e, t->dim[i]) : 1;
        dim[i] = i < 2 ? one : t->dim[i];
        count = d < 0 || count < 0 ? -1 : count * d;
    }
    DType real = count >= 0 && reach(e, x.v, x.zero) * (double)count <= 0x1p24 ? DT_F32 : DT_F64;
    Value sum = ex_reduce(e, OP_ReduceSum, ex_cast(e, x.v, DT_I32), &channels, 1, true);
    if (x.zero.i && !all_zero(e, x.zero)) {
        Value n = ex_cast(e, ex_dims(e, &deep, 1), DT_I32);
        sum = ex2(e, OP_Sub, sum, ex2(e, OP_Mul, ex_cast(e, x.zero, DT_I32), n));
    }
    Conv c = *a;
    c.winograd = -1;
    Value ones = ex2(e, OP_Expand, ex_f(e, real, 1), ex_dims(e, dim, (uint32_t)rank));
    return to_i32(e, ex_op(e, OP_Conv, (Value[]){ex_cast(e, sum, real), ones}, 2, &c), real);
}

/* The same of a convolution of one group. The padding stands for za, so that all windows are whole. */
static Value conv_bytes(Ex *e, Factor x, Factor w, const Conv *a)
{
    int rank = ex_rank(e, x.v);
    int64_t up = ex_elem(e, x.v) == DT_I8 ? 128 : 0, down = ex_elem(e, w.v) == DT_U8 ? 128 : 0;
    Value zero = x.zero, zx = zero_of(e, zero, up), zw = quant_along(e, zero_of(e, w.zero, -down), rank, 1), right = as_signed(e, w.v);
    Conv c = *a;
    Value acc = ex_op(e, OP_ByteConv, (Value[]){x.v, right, zero}, 3, &c);
    if (zx.i) {
        Value sum = quant_along(e, weight_sums(e, w.v, false, -down), rank, 1);
        acc = ex2(e, OP_Sub, acc, ex2(e, OP_Mul, zx, sum));
    }
    if (zw.i) acc = ex2(e, OP_Sub, acc, ex2(e, OP_Mul, zw, window_sums(e, x, w.v, a)));
    return acc;
}

static Value conv_i32(Ex *e, Factor x, Factor w, const Conv *a)
{
    if (e->failed) return VALUE_NONE;
    const TypeRec *tw = ex_type(e, w.v);
    Window win;
    const char *why;
    bool fixed = conv_resolve(&e->g->m->dims, a, ex_type(e, x.v), tw, &win, &why);
    if (a->group == 1 && fixed) return conv_bytes(e, x, w, a);
    int64_t count = 1, oc = known(e, tw->dim[0]);
    int rank = tw->rank;
    for (int i = 1; i < rank && count >= 0; i++) {
        int64_t d = known(e, tw->dim[i]);
        count = d < 0 ? -1 : count * d;
    }
    DType t = reach(e, x.v, x.zero) * weight_sum(e, w.v, w.zero, count, oc, count, 1) <= 0x1p24 ? DT_F32 : DT_F64;
    Value in[2] = {centred(e, x.v, x.zero, t), centred(e, w.v, quant_along(e, w.zero, rank, 0), t)};
    Conv c = *a;
    c.winograd = -1; /* the bound above is that of direct sums; sums of sums would need another */
    return to_i32(e, ex_op(e, OP_Conv, in, 2, &c), t);
}

/* acc * (sa * sb / sy) in f32, rounded, plus zy. `scale` broadcasts. */
static Value requantize(Ex *e, Value acc, Value scale, Value sy, Value zy, DType to)
{
    if (e->failed) return VALUE_NONE;
    int rank = ex_type(e, acc)->rank;
    Value s = ex2(e, OP_Div, scale, quant_along(e, ex_cast(e, sy, DT_F32), 0, 0));
    return quant_from_real(e, ex2(e, OP_Mul, ex_cast(e, acc, DT_F32), s), VALUE_NONE,
                           quant_along(e, zy, rank, rank - 1), -1, to);
}

static Value product(Ex *e, Value a, Value b)
{
    return ex2(e, OP_Mul, ex_cast(e, a, DT_F32), ex_cast(e, b, DT_F32));
}

/* A parameter with the rank of its matrix, where the other operand is a vector: the result does not have that axis. */
static Value without_axis(Ex *e, Value p, int rank, int64_t axis)
{
    return rank > 1 && ex_type(e, p)->rank == rank ? ex2(e, OP_Squeeze, p, ex_int1(e, axis)) : p;
}

static DType result_type(Ex *e) { return ex_type(e, node_out(e->g, e->n, 0))->elem; }

static bool matmul_integer_expand(Graph *g, Node n)
{
    Ex e = ex_begin(g, n);
    Factor a = {.v = node_in(g, n, 0), .zero = node_in(g, n, 2)}, b = {.v = node_in(g, n, 1), .zero = node_in(g, n, 3)};
    ex_result(&e, 0, matmul_i32(&e, a, b));
    return !e.failed;
}

static bool conv_integer_expand(Graph *g, Node n)
{
    Ex e = ex_begin(g, n);
    Factor x = {.v = node_in(g, n, 0), .zero = node_in(g, n, 2)}, w = {.v = node_in(g, n, 1), .zero = node_in(g, n, 3)};
    ex_result(&e, 0, conv_i32(&e, x, w, ATTRS(g, n, Conv)));
    return !e.failed;
}

/* What a factor stands for, as float32: (v - zero) * scale; parameters of the left one go along its rows. */
static Value real_factor(Ex *e, const Factor *f, bool rows)
{
    int rank = ex_type(e, f->v)->rank;
    Value zero = ex_cast(e, f->zero, DT_F32), scale = ex_cast(e, f->scale, DT_F32);
    if (rows) zero = of_rows(e, zero, rank), scale = of_rows(e, scale, rank);
    return ex2(e, OP_Mul, ex2(e, OP_Sub, ex_cast(e, f->v, DT_F32), zero), scale);
}

/* With 8-bit floats: QuantizeLinear(MatMul of what the factors stand for) */
static bool qmatmul_real(Ex *e, const Factor *a, const Factor *b)
{
    Value y = ex2(e, OP_MatMul, real_factor(e, a, true), real_factor(e, b, false));
    if (!y.i) return false;
    void *attrs = ex_set(e, OP_QuantizeLinear, NULL, "axis", ex_rank(e, y) > 1 ? ex_rank(e, y) - 2 : 0);
    Value scale = ex_cast(e, node_in(e->g, e->n, 6), DT_F32);
    ex_result(e, 0, ex_op(e, OP_QuantizeLinear, (Value[]){y, scale, node_in(e->g, e->n, 7)}, 3, attrs));
    return !e->failed;
}

static bool qmatmul_expand(Graph *g, Node n)
{
    Ex e = ex_begin(g, n);
    Factor a = {node_in(g, n, 0), node_in(g, n, 1), node_in(g, n, 2)},
           b = {node_in(g, n, 3), node_in(g, n, 4), node_in(g, n, 5)};
    if ((DTS(ex_elem(&e, a.v)) | DTS(ex_elem(&e, b.v)) | DTS(result_type(&e))) & DTS_FLOAT8) return qmatmul_real(&e, &a, &b);
    Value acc = ex_op(&e, OP_MatMulInteger, (Value[]){a.v, b.v, a.zero, b.zero}, 4, NULL);
    int ra = ex_type(&e, a.v)->rank, rb = ex_type(&e, b.v)->rank;
    Value sa = rb == 1 ? without_axis(&e, a.scale, ra, -1) : of_rows(&e, a.scale, ra);
    Value s = product(&e, sa, ra == 1 ? without_axis(&e, b.scale, rb, -2) : b.scale);
    ex_result(&e, 0, requantize(&e, acc, s, node_in(g, n, 6), node_in(g, n, 7), result_type(&e)));
    return !e.failed;
}

static bool qconv_expand(Graph *g, Node n)
{
    Ex e = ex_begin(g, n);
    Conv c = *ATTRS(g, n, Conv);
    Value x = node_in(g, n, 0), w = node_in(g, n, 3), bias = node_in(g, n, 8);
    int rank = ex_type(&e, x)->rank;
    Value acc = ex_op(&e, OP_ConvInteger, (Value[]){x, w, node_in(g, n, 2), node_in(g, n, 5)}, 4, &c);
    if (bias.i) acc = ex2(&e, OP_Add, acc, quant_along(&e, bias, rank, 1));
    Value s = product(&e, quant_along(&e, node_in(g, n, 1), 0, 0), quant_along(&e, node_in(g, n, 4), rank, 1));
    ex_result(&e, 0, requantize(&e, acc, s, node_in(g, n, 6), quant_along(&e, node_in(g, n, 7), 0, 0), result_type(&e)));
    return !e.failed;
}

/* ---- types ---- */

/* One value; may make a node. */
static bool scalar_param(Infer *c, uint32_t k) { return !infer_has(c, k) || infer_one_element(c, k, 1); }

/* One value, or one for each of `d`. */
static bool vector_param(Infer *c, uint32_t k, Dim d)
{
    if (!infer_has(c, k)) return true;
    if (!operand_without_lead(c, k, 1)) return false;
    return infer_rank(c, k) == 0 || infer_broadcasts_to(c, infer_dim(c, k, 0), d, "length of a quantisation parameter");
}

static bool conv_dims(Infer *c, uint32_t x, uint32_t w, Dim *dim, int *rank)
{
    const Conv *a = ATTRS(c->g, c->n, Conv);
    Window win;
    const char *why;
    if (!infer_need_rank(c, x, 3, -1)) return false;
    *rank = infer_rank(c, x);
    if (!infer_need_rank(c, w, *rank, *rank)) return false;
    int64_t oc;
    if (a->group < 1) return infer_fail(c, "group is %lld", (long long)a->group);
    if (!conv_extents(c->d, a, infer_in(c, x), infer_in(c, w), &win, &why)) return infer_fail(c, "%s", why);
    if (!infer_must_eq(c, infer_dim(c, x, 1), dim_mul(c->d, infer_dim(c, w, 1), dim_const(c->d, a->group)),
                       "input channels"))
        return false;
    if (dim_is_const(c->d, infer_dim(c, w, 0), &oc) && oc % a->group)
        return infer_fail(c, "%lld output channels in %lld groups", (long long)oc, (long long)a->group);
    dim[0] = infer_dim(c, x, 0);
    dim[1] = infer_dim(c, w, 0);
    for (int i = 0; i < win.n; i++) dim[2 + i] = win.out[i];
    return true;
}

static bool conv_integer_infer(Infer *c)
{
    Dim dim[RANK_MAX];
    int rank;
    return conv_dims(c, 0, 1, dim, &rank) && scalar_param(c, 2) && vector_param(c, 3, dim[1]) &&
           infer_set(c, 0, DT_I32, rank, dim);
}

static bool qconv_infer(Infer *c)
{
    Dim dim[RANK_MAX];
    int rank;
    if (!conv_dims(c, 0, 3, dim, &rank) || !scalar_param(c, 1) || !scalar_param(c, 2) || !vector_param(c, 4, dim[1]) ||
        !vector_param(c, 5, dim[1]))
        return false;
    if (!scalar_param(c, 6) || !scalar_param(c, 7)) return false;
    if (infer_has(c, 8) &&
        (!infer_need_rank(c, 8, 1, 1) || !infer_must_eq(c, infer_dim(c, 8, 0), dim[1], "length of the bias")))
        return false;
    return infer_set(c, 0, infer_elem(c, 7), rank, dim);
}

static bool matmul_dims(Infer *c, uint32_t ka, uint32_t kb, Dim *dim, int *rank)
{
    if (!infer_need_rank(c, ka, 1, -1) || !infer_need_rank(c, kb, 1, -1)) return false;
    return contraction_dims(c, infer_in(c, ka)->dim, infer_rank(c, ka), infer_in(c, kb)->dim, infer_rank(c, kb), dim,
                             rank);
}

/* Does a parameter have axes of 1 in front that nobody counted? Of matrices of RANK_ANY axes the one of rows may be the
 * vector, too, where its last axis is not 1 for certain. */
static bool has_lead(const Infer *c, uint32_t k, int rank, bool rows)
{
    int64_t last;
    int have = infer_rank(c, k);
    return have > rank || (rows && have == RANK_ANY && !dim_is_const(c->d, infer_dim(c, k, have - 1), &last));
}

/* Parameters of a matrix: one value, a vector, or with the matrix' rank. What does not broadcast is refused by the
 * expansion's own inference. Those that have more axes than that have 1 in front: the vector of the rows stands in the
 * last axis then, where [.., M, 1] has a 1, so that the product of both is M, whichever it is. */
static bool matmul_params(Infer *c, const uint32_t *k, uint32_t n, uint32_t matrix, bool rows)
{
    int rank = infer_rank(c, matrix) > 1 ? infer_rank(c, matrix) : 1;
    for (uint32_t i = 0; i < n; i++) {
        if (!infer_has(c, k[i])) continue;
        if (!infer_need_rank(c, k[i], 0, -1)) return false;
        if (!rows || rank == 1 || !has_lead(c, k[i], rank, rows)) {
            if (!operand_without_lead(c, k[i], rank)) return false;
            continue;
        }
        Dim dim[RANK_MAX];
        int more = infer_rank(c, k[i]) - rank, last = rank - 1;
        for (int a = 0; a < rank; a++) dim[a] = infer_dim(c, k[i], more + a);
        dim[last - 1] = dim_mul(c->d, dim[last - 1], dim[last]);
        dim[last] = dim_const(c->d, 1);
        if (!operand_called(c, k[i], dim, rank)) return false;
    }
    return true;
}

static bool matmul_integer_infer(Infer *c)
{
    Dim dim[RANK_MAX + 2];
    int rank;
    return matmul_dims(c, 0, 1, dim, &rank) && matmul_params(c, (uint32_t[]){2}, 1, 0, true) &&
           matmul_params(c, (uint32_t[]){3}, 1, 1, false) && infer_set(c, 0, DT_I32, rank, dim);
}

static bool qmatmul_infer(Infer *c)
{
    Dim dim[RANK_MAX + 2];
    int rank;
    if (!matmul_dims(c, 0, 3, dim, &rank) || !matmul_params(c, (uint32_t[]){1, 2}, 2, 0, true) ||
        !matmul_params(c, (uint32_t[]){4, 5}, 2, 3, false))
        return false;
    return scalar_param(c, 6) && scalar_param(c, 7) && infer_set(c, 0, infer_elem(c, 7), rank, dim);
}

/* ---- reference: the same steps in float64 through the references of MatMul and Conv ---- */

typedef enum Along {
    ROWS,
    COLUMNS,
    CHANNELS
} Along; /* what a vector parameter goes along: rows or columns of a matrix, or the first axis */

static int64_t param_index(const Tensor *x, const Tensor *p, Along along, int64_t k)
{
    if (p->count == 1) return 0;
    if (p->rank > 1) return ev_broadcast_index(p, x, k);
    int64_t last = x->rank ? x->dim[x->rank - 1] : 1;
    if (along == COLUMNS) return k % last;
    if (along == ROWS) return k / last % p->count;
    return k / (x->count / x->dim[0]);
}

static Tensor *centred_eval(Eval *e, uint32_t kx, uint32_t kz, Along along)
{
    const Tensor *x = e->in[kx];
    Tensor *y = tensor_new(e->arena, DT_F64, x->rank, x->dim);
    for (int64_t k = 0; y && k < x->count; k++)
        ev_set_f(y, k, ev_f(x, k) - (ev_has(e, kz) ? ev_f(e->in[kz], param_index(x, e->in[kz], along, k)) : 0));
    return y;
}

static Tensor *sums(Eval *e, const OpDesc *op, Tensor *a, Tensor *b)
{
    Tensor *in[2] = {a, b}, *out[1] = {0};
    Eval s = *e;
    s.in = in;
    s.n_in = 2;
    s.out = out;
    s.n_out = 1;
    if (a && b && op->eval(&s)) return out[0];
    ev_fail(e, "%s", s.why ? s.why : "too large");
    return NULL;
}

static bool integer_eval(Eval *e, const OpDesc *op, Along a, Along b)
{
    Tensor *s = sums(e, op, centred_eval(e, 0, 2, a), centred_eval(e, 1, 3, b));
    Tensor *y = s ? ev_out(e, 0, DT_I32, s->rank, s->dim) : NULL;
    for (int64_t k = 0; y && k < y->count; k++) ev_set_i(y, k, (int64_t)ev_f(s, k));
    return y != NULL;
}
static bool matmul_integer_eval(Eval *e) { return integer_eval(e, &op_MatMul, ROWS, COLUMNS); }
static bool conv_integer_eval(Eval *e) { return integer_eval(e, &op_Conv, CHANNELS, CHANNELS); }

static bool q_eval(Eval *e, const OpDesc *op, bool conv)
{
    Tensor *s =
        sums(e, op, centred_eval(e, 0, 2, conv ? CHANNELS : ROWS), centred_eval(e, 3, 5, conv ? CHANNELS : COLUMNS));
    DType t = value_trec(e->g, node_out(e->g, e->n, 0))->elem;
    Tensor *y = s ? ev_out(e, 0, t, s->rank, s->dim) : NULL;
    double lo = dtype_is_signed(t) ? -128 : 0, zy = ev_f(e->in[7], 0);
    float sy = (float)ev_f(e->in[6], 0);
    for (int64_t k = 0; y && k < y->count; k++) {
        int64_t channel = conv ? k / (s->count / s->dim[0] / s->dim[1]) % s->dim[1] : 0;
        const Tensor *sa = e->in[1], *sb = e->in[4];
        float fa = (float)ev_f(sa, conv ? 0 : param_index(s, sa, ROWS, k)),
              fb = (float)ev_f(sb, conv ? sb->count == 1 ? 0 : channel : param_index(s, sb, COLUMNS, k));
        double acc = ev_f(s, k) + (conv && ev_has(e, 8) ? ev_f(e->in[8], channel) : 0);
        float scale = fa * fb / sy, v = (float)acc * scale;
        double q = nearbyint(v) + zy;
        if (!dtype_is_int(t)) {
            small_eval(y, k, v + zy, true, "up");
            continue;
        }
        ev_set_i(y, k, (int64_t)(q < lo ? lo : q > lo + 255 ? lo + 255 : q));
    }
    return y != NULL;
}
static bool qmatmul_eval(Eval *e) { return q_eval(e, &op_MatMul, false); }
static bool qconv_eval(Eval *e) { return q_eval(e, &op_Conv, true); }

/* ---- the table ---- */

static const Port P_I32[] = {{"y", DTS(DT_I32), 0, 0}, PORT_END};
static const Port P_8[] = {{"y", DTS_8, 0, 3}, PORT_END};
static const Port P_Q8[] = {{"y", DTS_Q8, 0, 3}, PORT_END};
static const Port P_MMI[] = {{"A", DTS_8, 0, 1},
                             {"B", DTS_8, 0, 2},
                             {"a_zero_point", DTS_8, PORT_OPTIONAL, 1},
                             {"b_zero_point", DTS_8, PORT_OPTIONAL, 2},
                             PORT_END};
static const Port P_CI[] = {{"x", DTS_8, 0, 1},
                            {"w", DTS_8, 0, 2},
                            {"x_zero_point", DTS_8, PORT_OPTIONAL, 1},
                            {"w_zero_point", DTS_8, PORT_OPTIONAL, 2},
                            PORT_END};
static const Port P_QMM[] = {{"a", DTS_Q8, 0, 1},      {"a_scale", DTS_S, 0, 0},       {"a_zero_point", DTS_Q8, 0, 1},
                             {"b", DTS_Q8, 0, 2},      {"b_scale", DTS_S, 0, 0},       {"b_zero_point", DTS_Q8, 0, 2},
                             {"y_scale", DTS_S, 0, 0}, {"y_zero_point", DTS_Q8, 0, 3}, PORT_END};
static const Port P_QC[] = {{"x", DTS_8, 0, 1},
                            {"x_scale", DTS(DT_F32), 0, 0},
                            {"x_zero_point", DTS_8, 0, 1},
                            {"w", DTS_8, 0, 2},
                            {"w_scale", DTS(DT_F32), 0, 0},
                            {"w_zero_point", DTS_8, 0, 2},
                            {"y_scale", DTS(DT_F32), 0, 0},
                            {"y_zero_point", DTS_8, 0, 3},
                            {"B", DTS(DT_I32), PORT_OPTIONAL, 0},
                            PORT_END};
static const AttrSpec CONV_ATTRS[] = {A_INT(Conv, group, 1),
                                      A_STRING(Conv, auto_pad, "NOTSET"),
                                      A_INTS(Conv, kernel_shape),
                                      A_INTS(Conv, strides),
                                      A_INTS(Conv, dilations),
                                      A_INTS(Conv, pads),
                                      A_END};

const OpDesc op_MatMulInteger = {.name = "MatMulInteger",
                                 .since = 10,
                                 .cls = CLS_CONTRACT,
                                 .lead = 1 << 2 | 1 << 3,
                                 .batch = 1 << 0 | 1 << 1,
                                 .in = P_MMI,
                                 .out = P_I32,
                                 .infer = matmul_integer_infer,
                                 .expand = matmul_integer_expand,
                                 .eval = matmul_integer_eval};
const OpDesc op_ConvInteger = {.name = "ConvInteger",
                               .since = 10,
                               .cls = CLS_CONTRACT,
                               .one = 1 << 2,
                               .lead = 1 << 3,
                               .in = P_CI,
                               .out = P_I32,
                               .attrs = CONV_ATTRS,
                               .attrs_size = sizeof(Conv),
                               .infer = conv_integer_infer,
                               .expand = conv_integer_expand,
                               .eval = conv_integer_eval};
const OpDesc op_QLinearMatMul = {.name = "QLinearMatMul",
                                 .since = 21,
                                 .cls = CLS_CONTRACT,
                                 .one = 1 << 6 | 1 << 7,
                                 .lead = 1 << 1 | 1 << 2 | 1 << 4 | 1 << 5,
                                 .batch = 1 << 0 | 1 << 3,
                                 .in = P_QMM,
                                 .out = P_Q8,
                                 .infer = qmatmul_infer,
                                 .expand = qmatmul_expand,
                                 .eval = qmatmul_eval};
const OpDesc op_QLinearConv = {.name = "QLinearConv",
                               .since = 10,
                               .cls = CLS_CONTRACT,
                               .one = 1 << 1 | 1 << 2 | 1 << 6 | 1 << 7,
                               .lead = 1 << 4 | 1 << 5,
                               .in = P_QC,
                               .out = P_8,
                               .attrs = CONV_ATTRS,
                               .attrs_size = sizeof(Conv),
                               .infer = qconv_infer,
                               .expand = qconv_expand,
                               .eval = qconv_eval};

/* ---- DynamicQuantizeLinear ----
 *   hi = max(0, max x)   lo = min(0, min x)   scale = (hi - lo) / 255, 1 when all is zero   zero = round(clamp(-lo /
 *   scale))   y = Quantize(x, scale, zero) */

static const Port P_DYN[] = {{"x", DTS(DT_F32), 0, 0}, PORT_END};
static const Port P_DYN_OUT[] = {
    {"y", DTS(DT_U8), 0, 0}, {"y_scale", DTS(DT_F32), 0, 0}, {"y_zero_point", DTS(DT_U8), 0, 0}, PORT_END};

/* Extent: the largest and the smallest of all elements and 0, in one sweep. */
static const Port P_EXTENT_OUT[] = {{"largest", DTS(DT_F32), 0, 0}, {"smallest", DTS(DT_F32), 0, 0}, PORT_END};

static bool extent_infer(Infer *c) { return infer_set(c, 0, DT_F32, 0, NULL) && infer_set(c, 1, DT_F32, 0, NULL); }

/* Loops over the axes from `axis` on; end[] becomes what they leave. */
static void extent_sweep(Lw *l, int axis, KVal *at, KVal *end)
{
    Kb *b = l->b;
    if (axis == lw_rank(l, 0)) {
        KVal x = lw_at(l, 0, at);
        end[0] = kb_max(b, end[0], x), end[1] = kb_min(b, end[1], x);
        return;
    }
    KbLoop loop;
    kb_loop(b, &loop, KLOOP_SEQ, kb_i(b, 0), kb_dim(b, lw_dim(l, 0, axis)), 2, end, (KOp[]){KOP_MAX, KOP_MIN});
    at[axis] = loop.iv;
    KVal next[2] = {loop.carry[0], loop.carry[1]};
    extent_sweep(l, axis + 1, at, next);
    kb_loop_end(b, &loop, next);
    end[0] = loop.result[0], end[1] = loop.result[1];
}

static bool extent_lower(Lw *l, Node n)
{
    (void)n;
    lw_prepare_in(l);
    lw_prepare_out(l);
    Kb *b = lw_kernel(l, "extent");
    KVal at[RANK_MAX] = {{0}}, zero = kb_const_f(b, DT_F32, 0), end[2] = {zero, zero};
    extent_sweep(l, 0, at, end);
    lw_put(l, 0, at, end[0]);
    lw_put(l, 1, at, end[1]);
    lw_kernel_end(l);
    return true;
}

static bool extent_eval(Eval *e)
{
    const Tensor *x = e->in[0];
    Tensor *y[2] = {ev_out(e, 0, DT_F32, 0, NULL), ev_out(e, 1, DT_F32, 0, NULL)};
    double end[2] = {0, 0};
    for (int64_t k = 0; k < x->count; k++) {
        double v = ev_f(x, k);
        if (v > end[0] || isnan(v)) end[0] = v;
        if (v < end[1] || isnan(v)) end[1] = v;
    }
    for (int i = 0; i < 2 && y[i]; i++) ev_set_f(y[i], 0, end[i]);
    return y[0] && y[1];
}

const OpDesc op_Extent = {.name = "Extent",
                          .since = 1,
                          .cls = CLS_REDUCE,
                          .flags = OPF_INTERNAL,
                          .in = P_DYN,
                          .out = P_EXTENT_OUT,
                          .infer = extent_infer,
                          .lower = extent_lower,
                          .eval = extent_eval};

static bool dynamic_infer(Infer *c)
{
    return infer_set_type(c, 0, type_with_elem(&c->m->types, value_type(c->g, node_in(c->g, c->n, 0)), DT_U8)) &&
           infer_set(c, 1, DT_F32, 0, NULL) && infer_set(c, 2, DT_U8, 0, NULL);
}

static bool dynamic_expand(Graph *g, Node n)
{
    Ex e = ex_begin(g, n);
    Value x = node_in(g, n, 0), zero = ex_f(&e, DT_F32, 0), end[2] = {zero, zero};
    ex_ops(&e, OP_Extent, &x, 1, NULL, end, 2);
    Value hi = end[0], lo = end[1];
    Value range = ex2(&e, OP_Sub, hi, lo), none = ex2(&e, OP_Equal, range, zero);
    Value scale = ex3(&e, OP_Where, none, ex_f(&e, DT_F32, 1), ex2(&e, OP_Div, range, ex_f(&e, DT_F32, 255)));
    Value at = ex2(&e, OP_Div, ex2(&e, OP_Sub, zero, lo), scale);
    Value zp = quant_from_real(&e, at, VALUE_NONE, VALUE_NONE, -1, DT_U8);
    ex_result(&e, 0, quant_from_real(&e, x, scale, zp, -1, DT_U8));
    ex_result(&e, 1, scale);
    ex_result(&e, 2, zp);
    return !e.failed;
}

static bool dynamic_eval(Eval *e)
{
    const Tensor *x = e->in[0];
    float hi = 0, lo = 0;
    for (int64_t k = 0; k < x->count; k++) hi = fmaxf(hi, (float)ev_f(x, k)), lo = fminf(lo, (float)ev_f(x, k));
    float scale = hi == lo ? 1 : (hi - lo) / 255, zero = nearbyintf((0 - lo) / scale);
    Tensor *y = ev_out(e, 0, DT_U8, x->rank, x->dim), *s = ev_out(e, 1, DT_F32, 0, NULL),
           *z = ev_out(e, 2, DT_U8, 0, NULL);
    if (!y || !s || !z) return false;
    ev_set_f(s, 0, scale);
    ev_set_f(z, 0, zero);
    for (int64_t k = 0; k < x->count; k++) ev_set_f(y, k, nearbyintf((float)ev_f(x, k) / scale) + zero);
    return true;
}

const OpDesc op_DynamicQuantizeLinear = {.name = "DynamicQuantizeLinear",
                                         .since = 11,
                                         .cls = CLS_ROW,
                                         .in = P_DYN,
                                         .out = P_DYN_OUT,
                                         .infer = dynamic_infer,
                                         .expand = dynamic_expand,
                                         .eval = dynamic_eval};
