/* conv_pixels.c: convolutions with few output channels: their strip of 16 columns would be mostly padding, so pixels of an
 * image line are the columns and output channels the rows.
 *   C[oc, pixel] = sum over taps t, channels k of  w[t][k][oc] * x[k][line + ..][pixel + ..]
 * The image lies as planes with zeros around it (conv_planes), so that B is read in place: a tap is a shift. Packed
 * weights are read across, oc side by side. */
#include "base/bug.h"
#include "ir/ops/conv.h"

enum {
    FEW_OC = 8,         /* output channels */
    LINE_UNKNOWN = 128, /* pixels of a line whose length is not known */
    LINES_UNKNOWN = 128,
    COPY_SLOTS = 6,    /* half cycles of copying a vector, */
    TURN_SLOTS = 10,   /* of bringing its pixels together, */
    SCATTER_SLOTS = 40 /* of storing it apart */
};

static int64_t known_or(Dims *d, Dim x, int64_t or)
{
    int64_t n;
    return dim_is_const(d, x, &n) ? n : or ;
}

bool conv_pixels_pay(Lw *l, const ConvRows *r, int64_t ic, int64_t oc, int64_t products, bool padded, int64_t now)
{
    Dims *d = &l->m->dims;
    DType e = lw_elem(l, 0);
    int last = r->n - 1;
    int64_t line = known_or(d, r->out[last], LINE_UNKNOWN), lines = 1, pixels = known_or(d, r->in[last], LINE_UNKNOWN),
            taps = 1;
    if (oc > FEW_OC || line < K_LANES || r->stride[last] != 1) return false;
    for (int i = 0; i < r->n; i++) taps *= r->taps[i];
    for (int i = 0; i < last; i++)
        lines *= known_or(d, r->out[i], LINES_UNKNOWN), pixels *= known_or(d, r->in[i], LINES_UNKNOWN);
    TileProblem p = {.acc = dtype_compute(e),
                     .a_type = e,
                     .b_type = e,
                     .M = oc,
                     .N = line,
                     .K = ic,
                     .T = taps,
                     .a_plain = true,
                     .a_row_bytes = dtype_info(e)->bits / 8};
    bool apart = !dim_is(d, kbuf_stride(l->k, kbuf(l->k, lw_in_strided(l, 0)), 1 + r->n), 1);
    bool scatter = value_trec(l->g, node_out(l->g, l->n, 0))->layout.i && oc > 1;
    int64_t vectors = lines * ((line + K_LANES - 1) / K_LANES) * oc;
    int64_t then = (contract_cost(&l->k->target, &p) * lines + (scatter ? vectors * SCATTER_SLOTS : 0)) * products;
    then += pixels * ic / K_LANES * (apart ? TURN_SLOTS : padded ? COPY_SLOTS : 0);
    return then < now - now / 10;
}

typedef struct Px {
    const ConvPixels *p;
    Dim lines;
    KVal plane;
} Px;

/* Image and output position of the first pixel of line z. */
static KVal line_of(const Px *x, Kb *b, KVal z, KVal *o)
{
    ConvRows outer = x->p->rows;
    bool one = dim_is(kb_module(b)->dims, x->p->batch, 1);
    outer.n--;
    o[outer.n] = kb_i(b, 0);
    if (outer.n) conv_rows_pixel(b, &outer, one ? z : kb_bin(b, KOP_REM, z, kb_dim(b, x->lines)), o);
    return one ? kb_i(b, 0) : kb_div(b, z, kb_dim(b, x->lines));
}

static void px_a(void *arg, Kb *b, KVal z, KVal t, KVal m, KVal k0, KVal *off, KVal *pred)
{
    const Px *x = arg;
    (void)z;
    (void)pred;
    KVal matrix = x->p->matrix ? x->p->matrix(x->p->arg, b, t) : t;
    *off = kb_add(b, kb_mul(b, matrix, kb_i(b, x->p->right.batch)), kb_add(b, kb_mul(b, k0, kb_i(b, K_LANES)), m));
}

static KVal px_b(void *arg, Kb *b, KVal z, KVal t, KVal k0)
{
    const Px *x = arg;
    const ConvRows *r = &x->p->rows;
    Dims *d = kb_module(b)->dims;
    KVal o[WINDOW_MAX], pred = {0}, image = line_of(x, b, z, o);
    KVal off = kb_add(b, conv_rows_tap(b, r, o, t, &pred), kb_mul(b, k0, x->plane));
    assert(!pred.i);
    for (int i = 0; i < r->n - 1; i++)
        off = kb_add(b, off, kb_mul(b, o[i], kb_dim(b, dim_mul(d, r->lie[i], dim_const(d, r->stride[i])))));
    return kb_add(b, off, kb_mul(b, image, kb_dim(b, r->lie_batch)));
}

static void px_store(void *arg, Kb *b, KVal z, KVal m, KVal n, KVal acc)
{
    const Px *x = arg;
    KVal o[WINDOW_MAX], image = line_of(x, b, z, o);
    o[x->p->rows.n - 1] = n;
    x->p->store(x->p->arg, b, image, o, m, acc);
}

void conv_pixels(const ConvPixels *p)
{
    Lw *l = p->l;
    Dims *d = &l->m->dims;
    DType e = lw_elem(l, 0);
    int64_t taps = 1;
    Kb *b = lw_kernel(l, p->name);
    Px x = {.p = p, .lines = dim_const(d, 1), .plane = kb_dim(b, p->rows.lie_channel)};
    for (int i = 0; i < p->rows.n; i++) taps *= p->rows.taps[i];
    for (int i = 0; i < p->rows.n - 1; i++) x.lines = dim_mul(d, x.lines, p->rows.out[i]);
    Contract con = {.Z = dim_mul(d, p->batch, x.lines),
                    .M = dim_const(d, p->oc),
                    .N = p->rows.out[p->rows.n - 1],
                    .K = dim_const(d, p->ic),
                    .T = dim_const(d, taps),
                    .a = kb_param(b, p->right.buf, false),
                    .b = kb_param(b, p->planes, false),
                    .acc = dtype_compute(e),
                    .a_k = kb_i(b, K_LANES),
                    .b_k = x.plane,
                    .arg = &x,
                    .a_addr = px_a,
                    .b_addr = px_b,
                    .store = px_store,
                    .a_plain = true,
                    .a_row_bytes = dtype_bytes(e, 1)};
    contract_build(b, &con);
    lw_kernel_end(l);
}
