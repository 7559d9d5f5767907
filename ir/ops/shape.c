/* shape.c: ops that answer about shapes or make tensors from little: Shape, Size, Constant, ConstantOfShape, Range.
 * Shape and Size never become kernels when the rank is known: their contents are dims. */
#include "base/bug.h"
#include "ir/ops/axes.h"
#include "ir/ops/grad.h"
#include <math.h>
#include <string.h>

static const Port P_ANY[] = {{"data", DTS_MOVE | DTS_SMALL, 0, 0}, PORT_END};
static const Port P_I64[] = {{"shape", DTS(DT_I64), 0, 0}, PORT_END};
static const Port P_NONE[] = {PORT_END};

/* ---- Shape, Size ---- */

typedef struct Shape { uint64_t set; int64_t start, end; } Shape;
static const AttrSpec SHAPE_ATTRS[] = {A_INT(Shape, start, 0), A_INT(Shape, end, INT64_MAX), A_END};

static void shape_range(const Shape *a, int rank, int *from, int *to)
{
    int64_t s = a->start < 0 ? a->start + rank : a->start, e = a->end < 0 ? a->end + rank : a->end;
    *from = (int)(s < 0 ? 0 : s > rank ? rank : s);
    *to = (int)(e < *from ? *from : e > rank ? rank : e);
}

static bool shape_infer(Infer *c)
{
    int from, to;
    if (!infer_need_rank(c, 0, 0, -1)) return false;
    shape_range(ATTRS(c->g, c->n, Shape), infer_rank(c, 0), &from, &to);
    Dim n = dim_const(c->d, to - from);
    return infer_set(c, 0, DT_I64, 1, &n);
}

static bool shape_propagate(Infer *c)
{
    int from, to;
    Dim d[RANK_MAX];
    shape_range(ATTRS(c->g, c->n, Shape), infer_rank(c, 0), &from, &to);
    for (int i = from; i < to; i++) d[i - from] = value_trec(c->g, node_in(c->g, c->n, 0))->dim[i];
    infer_set_content(c, 0, d, (uint32_t)(to - from));
    return true;
}

static bool shape_eval(Eval *e)
{
    int from, to;
    shape_range(ATTRS(e->g, e->n, Shape), e->in[0]->rank, &from, &to);
    int64_t n = to - from;
    if (!ev_out(e, 0, DT_I64, 1, &n)) return false;
    for (int i = from; i < to; i++) ev_set_i(e->out[0], i - from, e->in[0]->dim[i]);
    return true;
}

static bool size_infer(Infer *c) { return infer_need_rank(c, 0, 0, -1) && infer_set(c, 0, DT_I64, 0, NULL); }
static bool size_propagate(Infer *c)
{
    Dim n = type_count(&c->m->types, value_type(c->g, node_in(c->g, c->n, 0)));
    infer_set_content(c, 0, &n, 1);
    return true;
}
static bool size_eval(Eval *e)
{
    if (!ev_out(e, 0, DT_I64, 0, NULL)) return false;
    ev_set_i(e->out[0], 0, e->in[0]->count);
    return true;
}

/* contents are always known: lowering has nothing to do */
static bool known_lower(Lw *l, Node n) { return lw_fail(l, "the shape is not known (%s)", node_desc(l->g, n)->name); }

const OpDesc op_Shape = {.name = "Shape", .since = 25, .cls = CLS_SHAPE, .in = P_ANY, .out = P_I64, .attrs = SHAPE_ATTRS, .attrs_size = sizeof(Shape),
                         .infer = shape_infer, .propagate = shape_propagate, .lower = known_lower, .eval = shape_eval};
const OpDesc op_Size = {.name = "Size", .since = 25, .cls = CLS_SHAPE, .in = P_ANY, .out = P_I64, .infer = size_infer, .propagate = size_propagate,
                        .lower = known_lower, .eval = size_eval};

/* ---- Constant: becomes a constant value of the graph at import or by the first rewrite ---- */

typedef struct Constant { uint64_t set; AttrTensor value; double value_float; int64_t value_int; const char *value_string; AttrInts value_ints; AttrFloats value_floats; AttrStrings value_strings; } Constant;
static const AttrSpec CONSTANT_ATTRS[] = {A_TENSOR(Constant, value), A_FLOAT(Constant, value_float, 0), A_INT(Constant, value_int, 0), A_STRING(Constant, value_string, NULL),
                                          A_INTS(Constant, value_ints), A_FLOATS(Constant, value_floats),
                                          {.name = "value_strings", .kind = ATTR_STRINGS, .offset = offsetof(Constant, value_strings)}, A_END};

static bool constant_blob(Graph *g, Node n, Blob *blob, TypeId *type)
{
    const Constant *a = ATTRS(g, n, Constant);
    Module *m = g->m;
    Dim len;
    if (a->set & 1) {
        *blob = a->value.blob;
        *type = a->value.type;
    } else if (a->set & 2) {
        float f = (float)a->value_float;
        *blob = blob_inline(&m->blobs, DT_F32, 1, &f);
        *type = type_tensor(&m->types, DT_F32, 0, NULL);
    } else if (a->set & 4) {
        *blob = blob_inline(&m->blobs, DT_I64, 1, &a->value_int);
        *type = type_tensor(&m->types, DT_I64, 0, NULL);
    } else if (a->set & 8) {
        size_t k = strlen(a->value_string);
        *blob = blob_strings(&m->blobs, 1, &a->value_string, &k);
        *type = type_tensor(&m->types, DT_STR, 0, NULL);
    } else if (a->set & 16) {
        len = dim_const(&m->dims, a->value_ints.n);
        *blob = blob_inline(&m->blobs, DT_I64, a->value_ints.n, a->value_ints.p);
        *type = type_tensor(&m->types, DT_I64, 1, &len);
    } else if (a->set & 32) {
        float *f = arena_array(m->arena, float, a->value_floats.n);
        for (uint32_t k = 0; k < a->value_floats.n; k++) f[k] = (float)a->value_floats.p[k];
        len = dim_const(&m->dims, a->value_floats.n);
        *blob = blob_inline(&m->blobs, DT_F32, a->value_floats.n, f);
        *type = type_tensor(&m->types, DT_F32, 1, &len);
    } else if (a->set & 64) {
        size_t *k = arena_array(m->arena, size_t, a->value_strings.n);
        for (uint32_t i = 0; i < a->value_strings.n; i++) k[i] = strlen(a->value_strings.p[i]);
        len = dim_const(&m->dims, a->value_strings.n);
        *blob = blob_strings(&m->blobs, a->value_strings.n, a->value_strings.p, k);
        *type = type_tensor(&m->types, DT_STR, 1, &len);
    } else return false;
    return true;
}

/* %c = Constant{value=...}  =>  a constant value; done right after import, so no other hook sees the node */
static bool constant_upgrade(Graph *g, Node n, int64_t opset)
{
    (void)opset;
    Blob b;
    TypeId t;
    if (!constant_blob(g, n, &b, &t)) return diag(g->m->diag, graph_loc(g, n), E_ATTR_MISSING, "value");
    Value out = node_out(g, n, 0), c = graph_const(g, b, t, value_rec(g, out)->name);
    graph_replace_uses(g, out, c);
    graph_erase(g, n);
    return true;
}

static bool constant_infer(Infer *c)
{
    Blob b;
    TypeId t;
    return constant_blob(c->g, c->n, &b, &t) ? infer_set_type(c, 0, t) : infer_fail(c, "has no value");
}
static bool constant_eval(Eval *e)
{
    Blob b;
    TypeId t;
    e->out[0] = constant_blob(e->g, e->n, &b, &t) ? tensor_from_blob(e->arena, e->g->m, b, t) : NULL;
    return e->out[0] || ev_fail(e, "has no value");
}
static bool constant_rewrite(Graph *g, Node n)
{
    Blob b;
    TypeId t;
    if (!constant_blob(g, n, &b, &t)) return false;
    graph_replace_uses(g, node_out(g, n, 0), graph_const(g, b, t, value_rec(g, node_out(g, n, 0))->name));
    return true;
}

static bool constant_lower(Lw *l, Node n)
{
    Blob b;
    TypeId t;
    if (!constant_blob(l->g, n, &b, &t)) return lw_fail(l, "has no value");
    const TypeRec *r = type_rec(&l->m->types, t);
    KBuf k = kbuf_new(l->k, KS_CONST, (Name){0}, r->elem, r->rank, r->dim, l->loc);
    kbuf(l->k, k)->blob = b;
    lw_set_out(l, 0, k);
    return true;
}

const OpDesc op_Constant = {.name = "Constant", .since = 25, .cls = CLS_SHAPE, .in = P_NONE, .out = P_ANY, .attrs = CONSTANT_ATTRS, .attrs_size = sizeof(Constant),
                            .upgrade = constant_upgrade, .infer = constant_infer, .rewrite = constant_rewrite, .lower = constant_lower, .eval = constant_eval};

/* ---- ConstantOfShape ---- */

static const Port P_SHAPE[] = {{"input", DTS(DT_I64), PORT_SHAPE, 0}, PORT_END};
typedef struct Fill { uint64_t set; AttrTensor value; } Fill;
static const AttrSpec FILL_ATTRS[] = {A_TENSOR(Fill, value), A_END};

static DType fill_elem(Graph *g, Node n) { return ATTRS(g, n, Fill)->set & 1 ? blob_rec(&g->m->blobs, ATTRS(g, n, Fill)->value.blob)->elem : DT_F32; }

static bool fill_infer(Infer *c)
{
    const Dim *d;
    uint32_t n;
    int64_t rank;
    Dim dim[RANK_MAX];
    if (!infer_need_rank(c, 0, 1, 1)) return false;
    if (infer_content(c, 0, &d, &n)) {
        if (n > RANK_MAX) return infer_fail(c, "the result would have rank %u", n);
        return infer_set(c, 0, fill_elem(c->g, c->n), (int)n, d);
    }
    if (!dim_is_const(c->d, infer_dim(c, 0, 0), &rank) || rank > RANK_MAX) return infer_set(c, 0, fill_elem(c->g, c->n), -1, NULL);
    for (int i = 0; i < rank; i++) dim[i] = infer_node_dim(c, 0, i, 0, INT64_MAX);
    return infer_set(c, 0, fill_elem(c->g, c->n), (int)rank, dim);
}

static bool fill_propagate(Infer *c)
{
    const TypeRec *t = value_trec(c->g, node_out(c->g, c->n, 0));
    const Fill *a = ATTRS(c->g, c->n, Fill);
    int64_t n;
    Dim d[CONTENT_MAX];
    if (!dtype_is_int(t->elem) || t->rank != 1 || !dim_is_const(c->d, t->dim[0], &n) || n > CONTENT_MAX) return true;
    for (int64_t i = 0; i < n; i++) d[i] = dim_const(c->d, a->set & 1 ? blob_get_i(&c->m->blobs, a->value.blob, 0) : 0);
    infer_set_content(c, 0, d, (uint32_t)n);
    return true;
}

static bool fill_lower(Lw *l, Node n)
{
    const Fill *a = ATTRS(l->g, n, Fill);
    DType t = fill_elem(l->g, n), k = dtype_compute(t);
    Dim dim[RANK_MAX];
    uint32_t rank;
    if (!lw_values(l, 0, dim, RANK_MAX, &rank)) return false;
    lw_bind_dims(l, 0, dim);
    lw_out(l, 0);
    bool given = a->set & 1;
    Dim one = dim_const(&l->m->dims, 1);
    KBuf text = t == DT_STR ? lw_const_buf(l, a->value.blob, "fill", 1, &one) : (KBuf){0};
    Kb *b = lw_kernel(l, "fill");
    KVal idx[RANK_MAX], zero = kb_i(b, 0);
    lw_nest_over(l, 0, idx);
    lw_put(l, 0, idx, text.i ? kb_load(b, kb_param(b, text, false), &zero)
                      : dtype_is_float(t) ? kb_const_f(b, k, given ? blob_get_f(&l->m->blobs, a->value.blob, 0) : 0)
                                        : kb_const_i(b, k, given ? blob_get_i(&l->m->blobs, a->value.blob, 0) : 0));
    lw_end_nest(l, lw_out_rank(l, 0));
    lw_kernel_end(l);
    return true;
}

static bool fill_eval(Eval *e)
{
    const Fill *a = ATTRS(e->g, e->n, Fill);
    int64_t dim[RANK_MAX];
    if (e->in[0]->count > RANK_MAX) return ev_fail(e, "rank too large");
    for (int64_t i = 0; i < e->in[0]->count; i++) dim[i] = ev_i(e->in[0], i);
    Tensor *v = a->set & 1 ? tensor_from_blob(e->arena, e->g->m, a->value.blob, a->value.type) : NULL;
    Tensor *y = ev_out(e, 0, fill_elem(e->g, e->n), (int)e->in[0]->count, dim);
    for (int64_t k = 0; y && v && k < y->count; k++) ev_copy(y, k, v, 0);
    return y != NULL;
}

const OpDesc op_ConstantOfShape = {.name = "ConstantOfShape", .since = 25, .cls = CLS_SHAPE, .knows = 1, .in = P_SHAPE, .out = P_ANY, .attrs = FILL_ATTRS, .attrs_size = sizeof(Fill),
                                   .infer = fill_infer, .propagate = fill_propagate, .lower = fill_lower, .eval = fill_eval};

/* ---- Range: start, start+delta, ... below (above) limit: max(ceil((limit-start)/delta), 0) elements; those of a narrow
 * float computed in stash_type, in float32 where that is narrow, too ---- */

#define DTS_RANGE (DTS(DT_F32) | DTS(DT_F64) | DTS(DT_I16) | DTS(DT_I32) | DTS(DT_I64) | DTS(DT_F16) | DTS(DT_BF16))
static const Port P_RANGE[] = {{"start", DTS_RANGE, 0, 1}, {"limit", DTS_RANGE, 0, 1}, {"delta", DTS_RANGE, 0, 1}, PORT_END};
static const Port P_RANGE_OUT[] = {{"output", DTS_RANGE, 0, 1}, PORT_END};
#define RANGE_MAX (INT64_C(1) << 50) /* elements: of one that is known */
typedef struct Range { uint64_t set; int64_t stash_type; } Range;
static const AttrSpec RANGE_ATTRS[] = {A_INT(Range, stash_type, 1), A_END};

static bool const_scalar(Infer *c, uint32_t k, double *v)
{
    Value x = node_in(c->g, c->n, k);
    if (!value_is_const(c->g, x) || blob_rec(&c->m->blobs, value_rec(c->g, x)->data)->kind == BLOB_DERIVED) return false;
    *v = blob_get_f(&c->m->blobs, value_rec(c->g, x)->data, 0);
    return true;
}

/* Of integers: exact, though limit - start may not fit into any of them. delta is not 0. */
static uint64_t int_count(int64_t start, int64_t limit, int64_t delta)
{
    int64_t lo = delta > 0 ? start : limit, hi = delta > 0 ? limit : start;
    uint64_t step = delta > 0 ? (uint64_t)delta : 0 - (uint64_t)delta;
    return lo < hi ? ((uint64_t)hi - (uint64_t)lo - 1) / step + 1 : 0;
}

/* The same while running; what does not fit is more than any memory holds. */
static KVal int_count_running(Kb *b, KVal start, KVal limit, KVal delta)
{
    KVal zero = kb_i(b, 0), up = kb_lt(b, zero, delta), one = kb_const_i(b, DT_U64, 1);
    KVal lo = kb_select(b, up, start, limit), hi = kb_select(b, up, limit, start);
    KVal span = kb_cast(b, DT_U64, kb_sub(b, hi, lo)), step = kb_cast(b, DT_U64, kb_select(b, up, delta, kb_sub(b, zero, delta)));
    KVal count = kb_cast(b, DT_I64, kb_add(b, kb_div(b, kb_sub(b, span, one), step), one));
    count = kb_select(b, kb_lt(b, count, zero), kb_i(b, INT64_MAX), count);
    return kb_select(b, kb_lt(b, lo, hi), count, zero);
}

static bool range_infer(Infer *c)
{
    const Dim *s, *e, *d;
    uint32_t ns, ne, nd;
    int64_t step;
    double fs, fe, fd;
    Dim n;
    int64_t stash = ATTRS(c->g, c->n, Range)->stash_type;
    if (stash < 0 || stash >= DT_COUNT || !(DTS_FLOAT & DTS((DType)stash)))
        return infer_fail(c, "stash_type %lld is not supported", (long long)stash);
    for (uint32_t k = 0; k < 3; k++)
        if (!infer_need_rank(c, k, 0, 1)) return false;
    if (dtype_is_int(infer_elem(c, 0)) && infer_content(c, 0, &s, &ns) && infer_content(c, 1, &e, &ne) && infer_content(c, 2, &d, &nd) && ns == 1 && ne == 1 && nd == 1 &&
        dim_is_const(c->d, d[0], &step) && step > INT64_MIN) {
        if (step == 0) return infer_fail(c, "delta is 0");
        int64_t first, limit;
        if (dim_is_const(c->d, s[0], &first) && dim_is_const(c->d, e[0], &limit)) {
            uint64_t count = int_count(first, limit, step);
            if (count > RANGE_MAX) return infer_fail(c, "the range has %llu elements", (unsigned long long)count);
            n = dim_const(c->d, (int64_t)count);
            return infer_set(c, 0, infer_elem(c, 0), 1, &n);
        }
        Dim span = step > 0 ? dim_sub(c->d, e[0], s[0]) : dim_sub(c->d, s[0], e[0]);
        n = dim_max(c->d, dim_const(c->d, 0), dim_ceildiv(c->d, span, dim_const(c->d, step > 0 ? step : -step)));
    } else if (dtype_is_float(infer_elem(c, 0)) && const_scalar(c, 0, &fs) && const_scalar(c, 1, &fe) && const_scalar(c, 2, &fd)) {
        double count = ceil((fe - fs) / fd);
        if (!(fd != 0) || isnan(count) || count > (double)RANGE_MAX) return infer_fail(c, "the range has no end");
        n = dim_const(c->d, count > 0 ? (int64_t)count : 0);
    } else n = infer_node_dim(c, 0, 0, 0, INT64_MAX);
    return infer_set(c, 0, infer_elem(c, 0), 1, &n);
}

static bool range_propagate(Infer *c)
{
    const Dim *s, *d;
    uint32_t ns, nd;
    int64_t n;
    Dim o[CONTENT_MAX];
    if (!dtype_is_int(infer_elem(c, 0)) || !infer_content(c, 0, &s, &ns) || !infer_content(c, 2, &d, &nd)) return true;
    if (!dim_is_const(c->d, value_trec(c->g, node_out(c->g, c->n, 0))->dim[0], &n) || n > CONTENT_MAX) return true;
    for (int64_t i = 0; i < n; i++) o[i] = dim_add(c->d, s[0], dim_mul(c->d, d[0], dim_const(c->d, i)));
    infer_set_content(c, 0, o, (uint32_t)n);
    return true;
}

static bool range_lower(Lw *l, Node n)
{
    DType own = dtype_compute(lw_elem(l, 0)), t = own;
    if (dtype_is_float(own) && own != lw_elem(l, 0) && ATTRS(l->g, n, Range)->stash_type == DT_F64) t = DT_F64;
    lw_prepare_in(l);
    Dim len = lw_out_dim(l, 0, 0);
    KVal zero[1] = {{0}};
    if (dim_has_kind(&l->m->dims, len, SYM_NODE)) {   /* count it while running */
        KBuf count = lw_temp(l, DT_I64, 0, NULL);
        Kb *b = lw_kernel(l, "range_count");
        zero[0] = kb_i(b, 0);
        KVal c, in[3];
        for (uint32_t k = 0; k < 3; k++) in[k] = kb_cast(b, t, lw_at(l, k, zero));
        KVal s = in[0], e = in[1], d = in[2];
        if (dtype_is_float(t)) c = kb_cast(b, DT_I64, kb_un(b, KOP_CEIL, kb_div(b, kb_cast(b, DT_F64, kb_sub(b, e, s)), kb_cast(b, DT_F64, d))));
        else c = int_count_running(b, kb_cast(b, DT_I64, s), kb_cast(b, DT_I64, e), kb_cast(b, DT_I64, d));
        kb_record(b, kb_bin(b, KOP_NE, d, dtype_is_float(t) ? kb_const_f(b, t, 0) : kb_const_i(b, t, 0)), "delta is {got}", kb_i(b, 0), kb_i(b, 0));
        kb_store(b, kb_param(b, count, true), NULL, kb_max(b, c, kb_i(b, 0)));
        lw_kernel_end(l);
        len = dim_sym(&l->m->dims, lw_load_sym(l, count, dim_const(&l->m->dims, 0), "range", 0, INT64_MAX));
        lw_bind_dims(l, 0, &len);
    }
    lw_out(l, 0);
    Kb *b = lw_kernel(l, "range");
    KVal i;
    lw_nest_over(l, 0, &i);
    zero[0] = kb_i(b, 0);
    KVal first = kb_cast(b, t, lw_at(l, 0, zero)), step = kb_cast(b, t, lw_at(l, 2, zero));
    lw_put(l, 0, &i, kb_cast(b, own, kb_add(b, first, kb_mul(b, kb_cast(b, t, i), step))));
    lw_end_nest(l, 1);
    lw_kernel_end(l);
    return true;
}

static bool range_eval(Eval *e)
{
    bool f = dtype_is_float(e->in[0]->elem);
    double s = ev_f(e->in[0], 0), d = ev_f(e->in[2], 0), count = ceil((ev_f(e->in[1], 0) - s) / d);
    if (!f && d != 0) count = (double)int_count(ev_i(e->in[0], 0), ev_i(e->in[1], 0), ev_i(e->in[2], 0));
    if (d == 0 || isnan(count) || count > 1e9) return ev_fail(e, "the range has no end");
    int64_t n = count > 0 ? (int64_t)count : 0;
    Tensor *y = ev_out(e, 0, e->in[0]->elem, 1, &n);
    for (int64_t k = 0; y && k < n; k++)
        if (f) ev_set_f(y, k, s + (double)k * d);
        else ev_set_i(y, k, (int64_t)((uint64_t)ev_i(e->in[0], 0) + (uint64_t)k * (uint64_t)ev_i(e->in[2], 0)));
    return y != NULL;
}

const OpDesc op_Range = {.name = "Range", .since = 27, .cls = CLS_SHAPE, .in = P_RANGE, .out = P_RANGE_OUT, .attrs = RANGE_ATTRS, .attrs_size = sizeof(Range),
                         .infer = range_infer, .propagate = range_propagate,
                         .lower = range_lower, .eval = range_eval, .grad = grad_range};
