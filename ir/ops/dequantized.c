/* dequantized.c: products of two dequantised operands are products of their integers, scaled once:
 *   %x = DequantizeLinear(%a: u8[M,K], sa, za)                 %s = MatMulInteger(%a, %b, za, zb) : i32[M,N]
 *   %w = DequantizeLinear(%b: i8[K,N], sb[N], zb[N])     =>    %y = Mul(Cast(%s) {to=f32}, sa * sb)
 *   %y = MatMul(%x, %w)
 * and for Gemm and Conv likewise, with scales of output channels. Before folding, while a constant %b is still bytes. One scale on
 * the left, one or one per column (channel) on the right: constants, finite. Only where no sum leaves 32 bits; it is
 * nearer to the real numbers than a sum of rounded products. */
#include "ir/graph/attr.h"
#include "ir/ops/conv.h"
#include "ir/ops/quant.h"
#include <math.h>

enum { SUMS_MOST = INT32_MAX / (255 * 255) };   /* products of differences of bytes */

typedef struct Part {
    Value v, scale, zero;
    int64_t scales;
} Part;

/* Bytes dequantised to f32 with one scale, or with several along `axis` if that is not negative. */
static bool part_of(const Graph *g, Value x, int axis, Part *p)
{
    const Blobs *bs = &g->m->blobs;
    Node n = x.i ? value_rec(g, x)->def : NODE_NONE;
    if (!n.i || node_rec(g, n)->op != OP_DequantizeLinear || node_int(g, n, "block_size")) return false;
    *p = (Part){.v = node_in(g, n, 0), .scale = node_in(g, n, 1), .zero = node_n_in(g, n) > 2 ? node_in(g, n, 2) : VALUE_NONE};
    const TypeRec *t = value_trec(g, p->v), *s = value_trec(g, p->scale);
    if ((t->elem != DT_I8 && t->elem != DT_U8) || value_trec(g, x)->elem != DT_F32 || s->elem != DT_F32 || s->rank > 1) return false;
    if (!value_is_const(g, p->scale) || !value_rec(g, p->scale)->data.i) return false;
    Blob blob = value_rec(g, p->scale)->data;
    const BlobRec *b = blob_rec(bs, blob);
    if (b->kind == BLOB_DERIVED || b->kind == BLOB_STRINGS) return false;
    for (int64_t k = 0; k < b->count; k++)
        if (!isfinite(blob_get_f(bs, blob, k))) return false;
    p->scales = b->count;
    if (b->count == 1) return true;
    int64_t along = node_int(g, n, "axis");
    return axis >= 0 && (along < 0 ? along + t->rank : along) == axis && t->rank > 1;
}

static bool few(const Graph *g, const Dim *dim, int n)
{
    int64_t count = 1, k;
    for (int i = 0; i < n; i++) {
        if (!dim_is_const(&g->m->dims, dim_resolve(&g->m->dims, dim[i]), &k) || k > SUMS_MOST) return false;
        count *= k;
        if (count > SUMS_MOST) return false;
    }
    return true;
}

/* The integers' sums as what they stand for, plus the bias: a vector along `axis`, or what broadcasts. */
static bool finish(Ex *e, Value sums, const Part *a, const Part *b, int axis, Value bias)
{
    if (e->failed) return false;
    int rank = ex_rank(e, sums);
    Value s = ex2(e, OP_Mul, quant_along(e, a->scale, 0, 0), quant_along(e, b->scale, rank, axis));
    Value y = ex2(e, OP_Mul, ex_cast(e, sums, DT_F32), s);
    if (bias.i) y = ex2(e, OP_Add, y, quant_along(e, bias, rank, axis));
    ex_result(e, 0, y);
    return !e->failed;
}

bool dequantized_conv(Graph *g, Node n)
{
    Part x, w;
    Conv c = *ATTRS(g, n, Conv);
    Value in[2] = {node_in(g, n, 0), node_in(g, n, 1)}, bias = node_n_in(g, n) > 2 ? node_in(g, n, 2) : VALUE_NONE;
    if (c.group != 1 || !part_of(g, in[0], -1, &x) || !part_of(g, in[1], 0, &w)) return false;
    const TypeRec *t = value_trec(g, in[1]);
    if (!few(g, t->dim + 1, t->rank - 1)) return false;
    Ex e = ex_begin(g, n);
    c.winograd = 0;
    Value zero = quant_along(&e, x.zero, 0, 0);
    return finish(&e, ex_op(&e, OP_ConvInteger, (Value[]){x.v, w.v, zero, w.zero}, 4, &c), &x, &w, 1, bias);
}

bool dequantized_matmul(Graph *g, Node n)
{
    Part a, b;
    Value in[2] = {node_in(g, n, 0), node_in(g, n, 1)};
    const TypeRec *t = value_trec(g, in[0]), *u = value_trec(g, in[1]);
    if (t->rank < 2 || u->rank < 2 || !part_of(g, in[0], -1, &a) || !part_of(g, in[1], u->rank - 1, &b)) return false;
    if ((b.scales > 1 && u->rank > 2) || !few(g, t->dim + t->rank - 1, 1)) return false;
    Ex e = ex_begin(g, n);
    Value sums = ex_op(&e, OP_MatMulInteger, (Value[]){a.v, b.v, quant_along(&e, a.zero, 0, 0), b.zero}, 4, NULL);
    if (e.failed) return false;
    return finish(&e, sums, &a, &b, ex_rank(&e, sums) - 1, VALUE_NONE);
}

/* Y = alpha * A' * B' + beta * C: bytes are transposed as such, alpha joins the scales. */
bool dequantized_gemm(Graph *g, Node n)
{
    Part a, b;
    bool turn_a = node_int(g, n, "transA"), turn_b = node_int(g, n, "transB");
    double alpha = node_float(g, n, "alpha"), beta = node_float(g, n, "beta");
    Value bias = node_n_in(g, n) > 2 && beta != 0 ? node_in(g, n, 2) : VALUE_NONE;
    if (!isfinite(alpha) || !part_of(g, node_in(g, n, 0), -1, &a) || !part_of(g, node_in(g, n, 1), turn_b ? 0 : 1, &b)) return false;
    if (!few(g, value_trec(g, a.v)->dim + !turn_a, 1)) return false;
    Ex e = ex_begin(g, n);
    if (turn_a) a.v = ex_transpose(&e, a.v, (int64_t[]){1, 0}, 2);
    if (turn_b) b.v = ex_transpose(&e, b.v, (int64_t[]){1, 0}, 2);
    if (alpha != 1) a.scale = ex2(&e, OP_Mul, quant_along(&e, a.scale, 0, 0), ex_f(&e, DT_F32, alpha));
    if (bias.i && beta != 1) bias = ex2(&e, OP_Mul, bias, ex_f(&e, DT_F32, beta));
    Value sums = ex_op(&e, OP_MatMulInteger, (Value[]){a.v, b.v, quant_along(&e, a.zero, 0, 0), b.zero}, 4, NULL);
    return finish(&e, sums, &a, &b, 1, bias);
}
