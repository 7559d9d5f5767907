/* contraction.c: see contraction.h. */
#include "ir/ops/contraction.h"
#include "base/num.h"
#include "ir/ops/axes.h"
#include <string.h>

enum { FEW_ROWS = 12, FEW_ROWS_PAIRS = 48, HALF_FROM = 1 << 19 /* elements: 2 MB of f32, what L2 does not hold */ };

/* bf16 halves what is read of B, which is the time of a few rows. Many are bound by multiply-adds: widening takes two instructions for two vectors of B
 * where pairs will do, else two for one, so that they stay in f32 unless the target multiplies pairs. */
static bool as_bf16(Lw *l, const RightSide *r)
{
    if (!math_allows(lw_math(l), MATH_BF16_PRODUCTS)) return false;
    return (r->may_pair && l->k->target.bf16) || r->rows <= (r->may_pair ? FEW_ROWS_PAIRS : FEW_ROWS);
}

/* Does f16 hold them to 2^-12 of their root mean square? No overflow, and what lies below its normal numbers, whose error
 * is 2^-25 at most, does not matter beside the rest. */
static bool halves_hold(const BlobRec *b)
{
    const float most = 65504, typical = 0x1p-13f;
    if ((b->kind != BLOB_RAW && b->kind != BLOB_INLINE) || b->elem != DT_F32) return false;
    double sum = 0;
    bool fits = true;
    for (int64_t k = 0; k < b->count; k++) {
        float x;
        memcpy(&x, (const char *)b->data + 4 * k, sizeof x);
        fits &= x <= most && x >= -most; /* not a NaN either */
        sum += (double)x * (double)x;
    }
    return fits && sum >= (double)b->count * (double)typical * (double)typical;
}

/* The same by f16, with an eighth of bf16's error, where the weights come from beyond L2: one instruction more for each
 * vector of B. */
static bool as_f16(Lw *l, const BlobRec *b, const RightSide *r)
{
    return math_allows(lw_math(l), MATH_HALF_WEIGHTS) && l->k->target.fma /* such CPUs convert f16 */ && r->may_pair && r->rows_most > 0 &&
           r->rows_most <= FEW_ROWS && b->count >= HALF_FROM && halves_hold(b);
}

/* The type in which the elements are packed. */
static DType packed_type(Lw *l, const BlobRec *b, const RightSide *r)
{
    if (b->elem != DT_F32) return b->elem;
    return as_bf16(l, r) ? DT_BF16 : as_f16(l, b, r) ? DT_F16 : b->elem;
}

int64_t contraction_rows(Lw *l, Dim rows)
{
    int64_t lo, hi;
    dim_bounds(&l->m->dims, rows, &lo, &hi);
    return lo;
}

int64_t contraction_rows_most(Lw *l, Dim rows)
{
    const Dims *d = &l->m->dims;
    int64_t lo, hi;
    dim_bounds(d, rows, &lo, &hi);
    const DimRec *r = &d->rec.p[rows.i];
    const SymRec *s = r->kind == DIM_SYM ? &d->sym.p[r->sym.i] : NULL;
    return s && hi == INT64_MAX && s->kind == SYM_ENTRY && s->axis == 0 ? (lo > 1 ? lo : 1) : hi;
}

/* A matrix that a recipe only transposes is packed from where it lies: nothing to evaluate, and share-tables sees what it is. The shape's strides follow. */
static Blob untransposed(Lw *l, Blob blob, Recipe *shape)
{
    const BlobRec *b = blob_rec(&l->m->blobs, blob);
    if (b->kind != BLOB_DERIVED || b->recipe->kind != RECIPE_GRAPH || b->recipe->n_src != 1 || b->recipe->graph >= l->m->graph.n) return blob;
    if (shape->src_off || shape->batch != 1 || shape->k_in || shape->sides > 1) return blob;
    const Graph *g = l->m->graph.p[b->recipe->graph];
    Node n = graph_first(g);
    if (!n.i || node_next(g, n).i || !transpose_swaps(g, n)) return blob;
    const TypeRec *t = type_rec(&l->m->types, value_type(g, node_out(g, n, 0)));
    int64_t rows, cols;
    if (!dim_is_const(&l->m->dims, t->dim[0], &rows) || !dim_is_const(&l->m->dims, t->dim[1], &cols)) return blob;
    bool by_row = shape->stride_k == cols && shape->stride_n == 1 && shape->K == rows, by_col = shape->stride_k == 1 && shape->stride_n == cols && shape->N == rows;
    if (!by_row && !by_col) return blob;
    shape->stride_k = by_row ? 1 : rows;
    shape->stride_n = by_row ? rows : 1;
    return b->recipe->src[0];
}

bool contraction_pack_as(Lw *l, Blob blob, const Recipe *shape, RightSide *r)
{
    Recipe recipe = *shape;
    const Blob operand = blob;
    blob = untransposed(l, blob, &recipe);
    const BlobRec *b = blob_rec(&l->m->blobs, blob);
    /* what a graph computes can be packed, what is packed already cannot */
    if ((b->kind == BLOB_DERIVED && b->recipe->kind != RECIPE_GRAPH) || b->kind == BLOB_STRINGS || !shape->K || !shape->N || !shape->batch) return false;
    DType type = packed_type(l, b, r);
    r->packed = true;
    r->pairs = type == DT_BF16 && b->elem == DT_F32 && r->may_pair;
    r->kc = recipe.kc = r->pairs ? contract_pairs_kc(&l->k->target, shape->kc) : shape->kc;
    r->batch = round_up(shape->K, r->kc) * recipe_strips(shape) * K_LANES;
    recipe.kind = RECIPE_PACK;
    recipe.src[0] = blob;
    recipe.n_src = 1;
    recipe.g = r->pairs ? 2 : r->quads ? 4 : 1;
    bool plain = type == b->elem && type == dtype_compute(type) && recipe.g == 1 && recipe.batch == 1 && recipe.sides < 2;
    r->panel = r->panel_rows && plain ? contract_panel(&l->k->target, type, r->panel_rows, recipe.N, recipe.K, l->k->weights) : 0;
    /* other nodes read it, too, as a table (share-tables) or in strips, in another version of the model as often as not: it is stored once, as they want it */
    if (r->panel && lw_blob_uses(l, blob) > (blob.i == operand.i ? 1 : 0)) r->panel = 0;
    if (r->panel) { /* so many matrices; a row of one is a block of K */
        recipe.batch = recipe.N / r->panel;
        recipe.stride_t = r->panel * recipe.stride_n;
        recipe.N = r->panel;
        recipe.kc = 1;
        r->kc = r->panel_rows > 0 ? recipe.K : shape->kc; /* a few rows of A stay where they are */
        r->batch = shape->K * shape->N;
    }
    Dim size = dim_const(&l->m->dims, shape->batch * r->batch);
    r->buf = lw_const_buf(l, blob_derived(&l->m->blobs, type, shape->batch * r->batch, &recipe), "packed", 1, &size);
    return true;
}

bool contraction_pack_kc(Lw *l, Blob blob, int64_t kc, int64_t T, int64_t K, int64_t N, int64_t off, int64_t stride_t, int64_t stride_k, int64_t stride_n, RightSide *r)
{
    Recipe shape = {.batch = T, .K = K, .N = N, .kc = kc, .src_off = off, .stride_t = stride_t, .stride_k = stride_k, .stride_n = stride_n};
    return contraction_pack_as(l, blob, &shape, r);
}

bool contraction_pack(Lw *l, Blob blob, DType acc, int64_t T, int64_t K, int64_t N, int64_t off, int64_t stride_t, int64_t stride_k, int64_t stride_n, RightSide *r)
{
    return contraction_pack_kc(l, blob, contract_pack_kc(&l->k->target, acc, K), T, K, N, off, stride_t, stride_k, stride_n, r);
}

bool contraction_pack_quads(Lw *l, Blob blob, int64_t T, int64_t K, int64_t N, int64_t stride_t, int64_t stride_k, int64_t stride_n, RightSide *r)
{
    r->quads = true;
    return contraction_pack_kc(l, blob, contract_quads_kc(&l->k->target, K), T, K, N, 0, stride_t, stride_k, stride_n, r);
}

bool contraction_pack_matrix(Lw *l, Blob blob, DType acc, int64_t K, int64_t N, int64_t stride_k, int64_t stride_n, RightSide *r)
{
    if (!contract_is_dot(&l->k->target, acc, N, K)) return contraction_pack(l, blob, acc, 1, K, N, 0, 0, stride_k, stride_n, r);
    /* [N][K rounded up]: N batches of one row whose columns are k */
    r->may_pair = false;
    if (!contraction_pack(l, blob, acc, N, 1, K, 0, stride_n, 0, stride_k, r)) return false;
    r->dot = true;
    return true;
}

KBuf contraction_transposed(Lw *l, KBuf src, Dim K, Dim N)
{
    Dim to[2] = {K, N}, from[2] = {N, K};
    KBuf view = kbuf_new(l->k, KS_VIEW, (Name){0}, kbuf(l->k, src)->elem, 2, from, l->loc), out;
    kbuf(l->k, view)->base = src;
    kbuf(l->k, view)->offset = dim_const(&l->m->dims, 0);
    out = lw_temp(l, kbuf(l->k, src)->elem, 2, to);
    Kb *b = lw_kernel(l, "transpose_b");
    KVal i[2];
    lw_nest(l, 2, to, i);
    kb_store(b, kb_param(b, out, true), i, kb_load(b, kb_param(b, view, false), (KVal[]){i[1], i[0]}));
    lw_end_nest(l, 2);
    lw_kernel_end(l);
    return out;
}
