/* row-bands: a convolution that works channel by channel, with the products by a single pixel in front of it and behind
 * it, is computed a band of rows at a time, so that what they hand to each other stays in L2.
 *   %e = Conv(%x, %a)                     [1,16,112,112] -> [1,96,112,112]
 *   %d = Conv(%e, %b) {group=96, 3x3}
 *   %y = Conv(%d, %c)                     [1,96,112,112] -> [1,24,112,112]
 *   =>
 *   %x0 = Slice(%x, rows 0..17)   %e0 = Conv(%x0, %a)   %d0 = Conv(%e0, %b) {pads above}   %y0 = Conv(%d0, %c)
 *   %x1 = Slice(%x, rows 15..33)  ...
 *   %y = Concat(%y0, %y1, ..) {axis=2}
 * The slices are views and the parts of the Concat lie inside its result, so nothing is copied; bands of one size share
 * their kernels. Rows at the seams are multiplied twice, which the estimate counts. Element-wise nodes between them and
 * behind, a residual sum among them, go along. Only where all together exceed L2 by half, for images of known size (one of
 * them, where the run says how many there are). Every element is computed as before: same bits. Before the group passes; requires types. */
#include "ir/graph/attr.h"
#include "ir/graph/infer.h"
#include "ir/ops/conv.h"
#include "passes/graph/group.h"
#include <string.h>

enum { OPT_L2, OPT_GAIN };
static const OptSpec opts[] = {{"l2", 0, "bytes of a core's L2; 0: the target's"},
                               {"gain", 200, "percent of what rows at the seams and launches cost that bands must save"},
                               {0}};

enum {
    MEMBERS = 12,        /* in front of the convolution, and behind it */
    LOOK = 24,           /* nodes behind it that are looked at */
    BANDS_MOST = 8,       /* more would be mostly launches and seams */
    BYTES_PER_CYCLE = 12, /* of what stays in L2: written and read again */
    LAUNCH = 2000        /* cycles of three launches, and of what is cold in them */
};

typedef struct Chain {
    PassCtx *c;
    Graph *g;
    Node conv, front[MEMBERS], back[MEMBERS]; /* front: the nearest one first */
    uint32_t n_front, n_back;
    bool widens, narrows; /* a product in front, behind */
    Value src, out;
    int64_t rows, out_rows, reach, stride, begin, pad[4]; /* of the convolution; begin: rows of padding above */
} Chain;

static bool known(const Graph *g, const TypeRec *t, int axis, int64_t *n)
{
    Dims *d = &g->m->dims;
    return dim_is_const(d, dim_resolve(d, t->dim[axis]), n);
}

/* Images [N, C, rows, W]; *row: bytes of a row of all channels, of one image where the run says how many there are. */
static bool image(const Graph *g, Value v, int64_t *rows, int64_t *row)
{
    int64_t n, c, w;
    if (!v.i || !value_type(g, v).i) return false;
    const TypeRec *t = value_trec(g, v);
    if (t->kind != TY_TENSOR || t->rank != 4 || !known(g, t, 1, &c) || !known(g, t, 2, rows) || !known(g, t, 3, &w)) return false;
    if (!known(g, t, 0, &n)) n = 1;
    *row = n * c * w * dtype_info(t->elem)->bits / 8;
    return *rows > 0 && *row > 0;
}

/* The same for every row of an image that it meets element by element. */
static bool flat(const Graph *g, Value v)
{
    const TypeRec *t = value_trec(g, v);
    int64_t n;
    return t->kind == TY_TENSOR && (t->rank < 2 || (t->rank <= 4 && known(g, t, t->rank - 2, &n) && n == 1));
}

static bool is_in(const Node *list, uint32_t n, Node x)
{
    for (uint32_t i = 0; i < n; i++)
        if (list[i].i == x.i) return true;
    return false;
}

static bool resolve(const Graph *g, Node n, Window *w)
{
    const TypeRec *x = value_trec(g, node_in(g, n, 0)), *k = value_trec(g, node_in(g, n, 1));
    const char *why;
    return node_rec(g, n)->op == OP_Conv && x->rank == 4 && conv_resolve(&g->m->dims, node_attrs(g, n), x, k, w, &why);
}

/* A Conv of one pixel: rows of the result are products of rows of the image. */
static bool is_product(const Graph *g, Node n)
{
    const Conv *a = node_attrs(g, n);
    Window w;
    return node_rec(g, n)->op == OP_Conv && a->group == 1 && resolve(g, n, &w) && w.taps == 1 && !w.padded && w.stride[0] == 1 && w.stride[1] == 1;
}

static bool only_used_in_front(const Chain *x, Value v)
{
    const Graph *g = x->g;
    if (value_rec(g, v)->n_out_use) return false;
    for (uint32_t u = value_rec(g, v)->first_use; u; u = g->operand.p[u - 1].next_use) {
        const OperandRec *o = &g->operand.p[u - 1];
        if (o->user.i != x->conv.i && !is_in(x->front, x->n_front, o->user)) return false;
    }
    return true;
}

/* What stands in front, up to a product: values that are open are to be cut into bands, at the end only one. */
static void grow_front(Chain *x)
{
    Graph *g = x->g;
    Value open[MEMBERS] = {node_in(g, x->conv, 0)};
    uint32_t n_open = 1, kept = 0;
    bool product = false, grew = true;
    x->src = open[0];
    while (grew && x->n_front < MEMBERS) {
        grew = false;
        for (uint32_t i = 0; i < n_open && !grew; i++) {
            Node n = value_rec(g, open[i])->def;
            int64_t rows, row;
            if (!n.i || !only_used_in_front(x, open[i])) continue;
            bool mul = !product && is_product(g, n);
            if (!mul && !group_is_eltwise(g, n)) continue;
            Value more[MEMBERS];
            uint32_t n_more = 0;
            bool good = true;
            for (uint32_t k = 0; k < (mul ? 1 : node_n_in(g, n)) && good; k++) {
                Value v = node_in(g, n, k);
                bool there = !v.i || (!mul && flat(g, v));
                for (uint32_t j = 0; j < n_open && !there; j++) there = j != i && open[j].i == v.i;
                for (uint32_t j = 0; j < n_more && !there; j++) there = more[j].i == v.i;
                if (there) continue;
                good = image(g, v, &rows, &row) && rows == x->rows && n_more + n_open < MEMBERS;
                if (good) more[n_more++] = v;
            }
            if (!good) continue;
            open[i] = open[--n_open];
            memcpy(open + n_open, more, n_more * sizeof *more);
            n_open += n_more;
            x->front[x->n_front++] = n;
            product |= mul;
            grew = true;
        }
        if (n_open != 1 || !product) continue;
        x->src = open[0];
        x->widens = true;
        kept = x->n_front;
        break;
    }
    x->n_front = kept;
}

static bool computed_behind(const Chain *x, Value v)
{
    Node n = v.i ? value_rec(x->g, v)->def : NODE_NONE;
    return n.i && (n.i == x->conv.i || is_in(x->back, x->n_back, n));
}

/* Values of the convolution and of what follows it that something else sees; *last: one of them. */
static uint32_t exits(const Chain *x, Value *last)
{
    const Graph *g = x->g;
    uint32_t count = 0;
    for (uint32_t i = 0; i <= x->n_back; i++) {
        Value v = node_out(g, i ? x->back[i - 1] : x->conv, 0);
        bool out = value_rec(g, v)->n_out_use > 0;
        for (uint32_t u = value_rec(g, v)->first_use; u && !out; u = g->operand.p[u - 1].next_use)
            out = !is_in(x->back, x->n_back, g->operand.p[u - 1].user);
        if (out) *last = v;
        count += out;
    }
    return count;
}

static void grow_back(Chain *x)
{
    Graph *g = x->g;
    uint32_t kept = 0;
    bool product = false, narrows = false;
    int look = 0;
    x->out = node_out(g, x->conv, 0);
    for (Node n = node_next(g, x->conv); n.i && look < LOOK && x->n_back < MEMBERS; n = node_next(g, n), look++) {
        bool uses = false, good = true, mul = !product && is_product(g, n) && computed_behind(x, node_in(g, n, 0));
        int64_t rows, row;
        for (uint32_t k = 0; k < node_n_in(g, n); k++) uses |= computed_behind(x, node_in(g, n, k));
        if (!uses || (!mul && !group_is_eltwise(g, n)) || !image(g, node_out(g, n, 0), &rows, &row) || rows != x->out_rows) continue;
        for (uint32_t k = 0; k < node_n_in(g, n) && good; k++) {
            Value v = node_in(g, n, k);
            if (!v.i) continue;
            if (mul) good = (k == 0) == computed_behind(x, v);
            else good = computed_behind(x, v) || flat(g, v) || (image(g, v, &rows, &row) && rows == x->out_rows);
        }
        if (!good) continue;
        x->back[x->n_back++] = n;
        product |= mul;
        Value last = VALUE_NONE;
        if (exits(x, &last) != 1) continue;
        kept = x->n_back;
        x->out = last;
        narrows = product;
    }
    x->n_back = kept;
    x->narrows = narrows;
}

/* How many bands; 0: none. */
static int64_t bands(const Chain *x, int64_t l2)
{
    const KTarget *t = &x->c->k->target;
    int64_t rows, first, last, wide = 0, deep = 0, macs = 0, lanes = t->vec_bits / 32, inner;
    image(x->g, x->src, &rows, &first);
    image(x->g, x->out, &rows, &last);
    if (x->widens) {
        const TypeRec *w = NULL;
        for (uint32_t i = 0; i < x->n_front; i++)
            if (is_product(x->g, x->front[i])) w = value_trec(x->g, node_in(x->g, x->front[i], 1));
        image(x->g, node_in(x->g, x->conv, 0), &rows, &wide);
        if (!w || !known(x->g, w, 1, &macs)) return 0;
        macs *= wide / (dtype_info(w->elem)->bits / 8);
    }
    if (x->narrows) image(x->g, node_out(x->g, x->conv, 0), &rows, &deep);
    inner = x->rows * wide + x->out_rows * deep;
    if (!inner || inner + x->rows * first + x->out_rows * last <= l2 + l2 / 2) return 0;
    int64_t each = x->out_rows;
    while (each > 1 && ((each - 1) * x->stride + x->reach) * (first + wide) + each * (deep + last) > l2 / 8 * 5) each--;
    if (((each - 1) * x->stride + x->reach) * (first + wide) + each * (deep + last) > l2 / 8 * 5) return 0;
    int64_t n = (x->out_rows + each - 1) / each;
    for (int64_t k = n; k <= n + n / 4 + 1; k++)
        if (x->out_rows % k == 0) { /* bands of one size: kernels of one size */
            n = k;
            break;
        }
    if (n < 2 || n > BANDS_MOST || (x->out_rows + n - 1) / n * x->stride < x->reach) return 0;
    int64_t twice = x->reach > x->stride ? (n - 1) * (x->reach - x->stride) : 0;
    double cost = (double)twice * (double)macs / (2.0 * (double)(lanes ? lanes : 1)) + (double)n * LAUNCH;
    return (double)inner / BYTES_PER_CYCLE > (double)x->c->opt[OPT_GAIN] / 100 * cost ? n : 0;
}

/* ---- writing it down ---- */

typedef struct Band {
    Chain *x;
    Node before;
    int64_t from, to, out_from, out_to; /* rows of the image, of the result */
    Value was[4 * MEMBERS], is[4 * MEMBERS];
    uint32_t n;
} Band;

static Value rows_of(Band *b, Value v, int64_t from, int64_t to)
{
    Graph *g = b->x->g;
    Dim one = dim_const(&g->m->dims, 1);
    TypeId t = type_tensor(&g->m->types, DT_I64, 1, &one);
    int64_t at[3] = {from, to, 2};
    Value in[4] = {v};
    for (int i = 0; i < 3; i++) in[i + 1] = graph_const(g, blob_inline(&g->m->blobs, DT_I64, 1, &at[i]), t, (Name){0});
    Node n = graph_add(g, OP_Slice, in, 4, 1, NULL, node_rec(g, b->x->conv)->loc, b->before);
    return infer_node(g, n) ? node_out(g, n, 0) : VALUE_NONE;
}

static Value in_band(const Band *b, Value v)
{
    for (uint32_t i = 0; i < b->n; i++)
        if (b->was[i].i == v.i) return b->is[i];
    return VALUE_NONE;
}

static bool copy(Band *b, Node n, bool behind)
{
    Chain *x = b->x;
    Graph *g = x->g;
    uint32_t n_in = node_n_in(g, n);
    Value *in = arena_array(x->c->arena, Value, n_in + 1);
    for (uint32_t k = 0; k < n_in; k++) {
        Value v = node_in(g, n, k), same = in_band(b, v);
        bool taken = behind ? computed_behind(x, v) : !(node_rec(g, n)->op == OP_Conv ? k > 0 : !v.i || flat(g, v));
        in[k] = v;
        if (taken) in[k] = same;
        else if (behind && v.i && node_rec(g, n)->op != OP_Conv && !flat(g, v) && !(in[k] = rows_of(b, v, b->out_from, b->out_to)).i) return false;
    }
    const void *attrs = node_attrs(g, n);
    Conv conv;
    if (n.i == x->conv.i) {
        uint32_t bit;
        int64_t above = x->begin - b->out_from * x->stride, below = (b->out_to - 1) * x->stride - x->begin + x->reach - x->rows;
        int64_t *pad = arena_memdup(g->m->arena, x->pad, sizeof x->pad);
        conv = *(const Conv *)attrs;
        pad[0] = above > 0 ? above : 0;
        pad[2] = below > 0 ? below : 0;
        conv.pads = (AttrInts){pad, 4};
        conv.auto_pad = "NOTSET";
        attr_find(op_desc(OP_Conv), "pads", &bit);
        conv.set |= 1ull << bit;
        attrs = &conv;
    }
    Node made = graph_add(g, node_rec(g, n)->op, in, n_in, 1, attrs, node_rec(g, n)->loc, b->before);
    if (!infer_node(g, made)) return false;
    b->was[b->n] = node_out(g, n, 0);
    b->is[b->n++] = node_out(g, made, 0);
    return true;
}

static PassResult cut(Chain *x, int64_t n)
{
    Graph *g = x->g;
    Value part[BANDS_MOST];
    Node last = x->n_back ? x->back[x->n_back - 1] : x->conv;
    for (int64_t i = 0; i < n; i++) {
        Band b = {.x = x, .before = last, .out_from = x->out_rows * i / n, .out_to = x->out_rows * (i + 1) / n};
        b.from = b.out_from * x->stride - x->begin;
        b.to = (b.out_to - 1) * x->stride - x->begin + x->reach;
        b.from = b.from < 0 ? 0 : b.from;
        b.to = b.to > x->rows ? x->rows : b.to;
        b.was[0] = x->src;
        b.is[0] = rows_of(&b, x->src, b.from, b.to);
        b.n = 1;
        bool good = b.is[0].i != 0;
        for (uint32_t k = x->n_front; k-- > 0 && good;) good = copy(&b, x->front[k], false);
        good = good && copy(&b, x->conv, false);
        for (uint32_t k = 0; k < x->n_back && good; k++) good = copy(&b, x->back[k], true);
        if (!good) return PASS_FAILED;
        part[i] = in_band(&b, x->out);
    }
    uint32_t bit;
    const OpDesc *concat = op_desc(OP_Concat);
    void *attrs = attrs_new(g->m->arena, concat);
    *(int64_t *)((char *)attrs + attr_find(concat, "axis", &bit)->offset) = 2;
    *(uint64_t *)attrs |= 1ull << bit;
    Node whole = graph_add(g, OP_Concat, part, (uint32_t)n, 1, attrs, node_rec(g, last)->loc, last);
    if (!infer_node(g, whole)) return PASS_FAILED;
    graph_replace_uses(g, x->out, node_out(g, whole, 0));
    for (uint32_t k = x->n_back; k-- > 0;) graph_erase(g, x->back[k]);
    graph_erase(g, x->conv);
    for (uint32_t k = 0; k < x->n_front; k++) graph_erase(g, x->front[k]);
    return PASS_CHANGED;
}

/* The front is in the order in which it grew, the nearest first; users must be erased before what they use, and made behind it. */
static void order_front(Chain *x)
{
    for (uint32_t i = 0; i < x->n_front; i++) /* few: later in the list means nearer */
        for (uint32_t j = i + 1; j < x->n_front; j++)
            for (Node n = node_next(x->g, x->front[i]); n.i && n.i != x->conv.i; n = node_next(x->g, n))
                if (n.i == x->front[j].i) {
                    Node t = x->front[i];
                    x->front[i] = x->front[j];
                    x->front[j] = t;
                    break;
                }
}

static PassResult consider(PassCtx *c, Graph *g, Node n)
{
    Chain x = {.c = c, .g = g, .conv = n};
    Window w;
    int64_t channels, group = ((const Conv *)node_attrs(g, n))->group, row, end;
    int64_t l2 = c->opt[OPT_L2] > 0 ? c->opt[OPT_L2] : (int64_t)c->k->target.l2_bytes;
    if (!value_type(g, node_in(g, n, 0)).i || !value_type(g, node_in(g, n, 1)).i || !image(g, node_in(g, n, 0), &x.rows, &row) || !image(g, node_out(g, n, 0), &x.out_rows, &row) ||
        !resolve(g, n, &w) || group < 2 || !known(g, value_trec(g, node_in(g, n, 0)), 1, &channels) || channels != group)
        return PASS_UNCHANGED;
    for (int i = 0; i < 2; i++) {
        if (!dim_is_const(&g->m->dims, w.begin[i], &x.pad[i]) || !dim_is_const(&g->m->dims, w.end[i], &end)) return PASS_UNCHANGED;
        x.pad[2 + i] = end;
        if (x.pad[i] < 0 || end < 0) return PASS_UNCHANGED;
    }
    x.begin = x.pad[0];
    x.stride = w.stride[0];
    x.reach = (w.kernel[0] - 1) * w.dilation[0] + 1;
    if (x.begin >= x.reach || x.pad[2] >= x.reach) return PASS_UNCHANGED; /* rows of zeros alone */
    grow_front(&x);
    order_front(&x);
    grow_back(&x);
    int64_t count = bands(&x, l2 > 256 << 10 || c->opt[OPT_L2] > 0 ? l2 : 256 << 10);
    if (!count || !pass_may_rewrite(c)) return PASS_UNCHANGED;
    pass_remark(c, graph_loc(g, n), "in %lld bands of rows, with what stands around it", (long long)count);
    pass_count(c, "convolutions in bands", 1);
    return cut(&x, count);
}

static PassResult run(PassCtx *c)
{
    PassResult all = PASS_UNCHANGED;
    Graph *g = c->m->entry;
    for (Node n = graph_first(g), next; n.i; n = next) {
        next = node_next(g, n);
        if (node_rec(g, n)->op != OP_Conv) continue;
        while (next.i && node_rec(g, next)->op != OP_Conv) next = node_next(g, next);
        PassResult r = consider(c, g, n);
        if (r == PASS_FAILED) return r;
        if (r == PASS_CHANGED) {
            all = r;
            next = graph_first(g); /* the old nodes are gone; what is in bands is not cut again: it fits */
        }
    }
    return all;
}

const Pass pass_row_bands = {
    .name = "row-bands", .brief = "convolutions channel by channel and the products around them, rows at a time", .opts = opts, .run = run};
