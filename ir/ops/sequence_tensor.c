/* sequence_tensor.c: between tensors and sequences: SplitToSequence, ConcatFromSequence. */
#include "ir/ops/grad.h"
#include "ir/ops/index.h"
#include "ir/ops/sequence.h"
#include <string.h>

#define A_BUF(x) ((KArg){.kind = KA_BUF, .buf = (x)})
#define A_NUM(x) ((KArg){.kind = KA_INT, .i = (x)})

static Sym fresh(Lw *l, const char *stem) { return sym_new(&l->m->dims, module_fresh_name(l->m, stem), SYM_NODE, 0, INT64_MAX); }

static Tensor *ev_seq(Eval *e, int64_t n)
{
    Tensor *s = e->out[0] = arena_new(e->arena, Tensor);
    s->kind = TY_SEQ;
    s->n_item = n;
    s->item = arena_array(e->arena, Tensor *, n + 1);
    return s;
}

/* ---- SplitToSequence ---- */

static const Port P_SPLIT[] = {{"input", DTS_MOVE | DTS_SMALL, 0, 1}, {"split", DTS_INDEX, PORT_OPTIONAL, 0}, PORT_END};
static const Port P_SEQ[] = {{"sequence", DTS_MOVE | DTS_SMALL, PORT_SEQ, 1}, PORT_END};
typedef struct Split { uint64_t set; int64_t axis, keepdims; } Split;
static const AttrSpec SPLIT_ATTRS[] = {A_INT(Split, axis, 0), A_INT(Split, keepdims, 1), A_END};

static bool keeps(const Graph *g, Node n) { return node_in(g, n, 1).i || ATTRS(g, n, Split)->keepdims; }

static bool split_infer(Infer *c)
{
    int64_t axis = ATTRS(c->g, c->n, Split)->axis, lo, hi;
    Dim dim[RANK_MAX];
    int rank = 0;
    if (!infer_need_rank(c, 0, 1, -1) || !infer_axis(c, &axis, infer_rank(c, 0)) || (infer_has(c, 1) && !infer_need_rank(c, 1, 0, 1))) return false;
    if (value_type(c->g, node_out(c->g, c->n, 0)).i) return true;   /* keep its symbol */
    dim_bounds(c->d, infer_dim(c, 0, (int)axis), &lo, &hi);
    for (int i = 0; i < infer_rank(c, 0); i++)
        if (i != axis) dim[rank++] = infer_dim(c, 0, i);
        else if (keeps(c->g, c->n)) dim[rank++] = infer_has(c, 1) ? infer_fresh(c, "part", 0, hi) : dim_const(c->d, 1);
    return infer_set_type(c, 0, type_seq(&c->m->types, type_tensor(&c->m->types, infer_elem(c, 0), rank, dim)));
}

static bool split_lower(Lw *l, Node n)
{
    int64_t axis = ATTRS(l->g, n, Split)->axis + (ATTRS(l->g, n, Split)->axis < 0 ? lw_rank(l, 0) : 0);
    KBuf x = lw_in(l, 0), size;
    if (!lw_has(l, 1)) size = lw_const_buf(l, blob_splat_i(&l->m->blobs, DT_I64, 1, 1), "one", 0, NULL);
    else if (lw_elem(l, 1) == DT_I64) size = lw_in(l, 1);
    else {
        Dim len = lw_rank(l, 1) ? lw_dim(l, 1, 0) : DIM_NONE;
        KVal i = {0};
        lw_prepare_in(l);
        lw_in(l, 1);
        size = lw_temp(l, DT_I64, lw_rank(l, 1), &len);
        Kb *b = lw_kernel(l, "split");
        lw_nest(l, lw_rank(l, 1), &len, &i);
        kb_store(b, kb_param(b, size, true), &i, kb_cast(b, DT_I64, lw_at(l, 1, &i)));
        lw_end_nest(l, lw_rank(l, 1));
        lw_kernel_end(l);
    }
    lw_call(l, l->steps, "rt_seq_split", 5, (KArg[]){A_BUF(lw_out(l, 0)), A_BUF(x), A_BUF(size), A_NUM(axis), A_NUM(keeps(l->g, n))});
    return true;
}

static bool split_eval(Eval *e)
{
    const Tensor *x = e->in[0], *s = ev_has(e, 1) ? e->in[1] : NULL;
    int axis = (int)(ATTRS(e->g, e->n, Split)->axis + (ATTRS(e->g, e->n, Split)->axis < 0 ? x->rank : 0));
    int64_t len = x->dim[axis], size = s ? ev_i(s, 0) : 1, count, at = 0, i[RANK_MAX];
    if ((!s || !s->rank) && size <= 0) return ev_fail(e, "parts of %lld", (long long)size);
    count = s && s->rank ? s->count : (len + size - 1) / size;
    Tensor *q = ev_seq(e, count);
    for (int64_t k = 0; k < count; k++) {
        int64_t take = s && s->rank ? ev_i(s, k) : size < len - at ? size : len - at, dim[RANK_MAX];
        int rank = 0;
        if (take < 0 || at + take > len) return ev_fail(e, "the split does not fit the axis");
        for (int a = 0; a < x->rank; a++)
            if (a != axis || keeps(e->g, e->n)) dim[rank++] = a == axis ? take : x->dim[a];
        Tensor *part = q->item[k] = tensor_new(e->arena, x->elem, rank, dim);
        int64_t to = 0;
        for (int64_t f = 0; part && f < x->count; f++) {
            unflatten(x, f, i);
            if (i[axis] >= at && i[axis] < at + take) ev_copy(part, to++, x, f);
        }
        at += take;
    }
    return at == len || ev_fail(e, "the split does not fit the axis");
}

const OpDesc op_SplitToSequence = {.name = "SplitToSequence", .since = 24, .cls = CLS_OPAQUE, .flags = OPF_IRREGULAR, .in = P_SPLIT, .out = P_SEQ, .attrs = SPLIT_ATTRS,
                                   .attrs_size = sizeof(Split), .infer = split_infer, .lower = split_lower, .grad = grad_seq_split, .eval = split_eval};

/* ---- ConcatFromSequence ---- */

static const Port P_TENSOR[] = {{"concat_result", DTS_MOVE | DTS_SMALL, 0, 1}, PORT_END};
typedef struct Join { uint64_t set; int64_t axis, new_axis; } Join;
static const AttrSpec JOIN_ATTRS[] = {{.name = "axis", .kind = ATTR_INT, .offset = offsetof(Join, axis), .required = true}, A_INT(Join, new_axis, 0), A_END};

static bool join_infer(Infer *c)
{
    const Join *a = ATTRS(c->g, c->n, Join);
    const TypeRec *t = type_rec(&c->m->types, infer_in(c, 0)->of);
    int64_t axis = a->axis;
    Dim dim[RANK_MAX];
    if (t->kind != TY_TENSOR) return infer_fail(c, "the elements are no tensors");
    if (!sequence_need_rank(c, t)) return false;
    int rank = t->rank + (a->new_axis != 0);
    if (rank > RANK_MAX) return infer_fail(c, "the result would have rank %d", rank);
    if (!infer_axis(c, &axis, rank)) return false;
    for (int i = 0, from = 0; i < rank; i++) {
        bool own = i == axis;
        Dim e = own && a->new_axis ? DIM_NONE : t->dim[from++];
        dim[i] = own || dim_has_kind(c->d, e, SYM_NODE) ? infer_node_dim(c, 0, i, 0, INT64_MAX) : e;
    }
    return infer_set(c, 0, t->elem, rank, dim);
}

static bool join_lower(Lw *l, Node n)
{
    const Join *a = ATTRS(l->g, n, Join);
    int rank = lw_out_rank(l, 0);
    int64_t axis = a->axis < 0 ? a->axis + rank : a->axis;
    KBuf s = lw_in(l, 0);
    Dim dim[RANK_MAX];
    KArg arg[4 + RANK_MAX] = {A_BUF(s), A_NUM(axis), A_NUM(a->new_axis != 0), A_NUM(rank)};
    for (int i = 0; i < rank; i++) {
        Sym y = fresh(l, "join");
        arg[4 + i] = (KArg){.kind = KA_SYM, .sym = y};
        dim[i] = dim_sym(&l->m->dims, y);
    }
    lw_call(l, l->steps, "rt_seq_concat_dims", 4 + (uint32_t)rank, arg);
    lw_bind_dims(l, 0, dim);
    lw_call(l, l->steps, "rt_seq_concat", 4, (KArg[]){A_BUF(s), A_BUF(lw_out(l, 0)), A_NUM(axis), A_NUM(a->new_axis != 0)});
    return true;
}

static bool join_eval(Eval *e)
{
    const Join *a = ATTRS(e->g, e->n, Join);
    const Tensor *s = e->in[0];
    if (!s->n_item) return ev_fail(e, "an empty sequence");
    const Tensor *first = s->item[0];
    int rank = first->rank + (a->new_axis != 0), axis = (int)(a->axis < 0 ? a->axis + rank : a->axis);
    int64_t dim[RANK_MAX + 1], i[RANK_MAX + 1], total = 0, at = 0;
    for (int64_t k = 0; k < s->n_item; k++) {
        for (int d = 0; d < first->rank; d++)
            if (s->item[k]->rank != first->rank || ((a->new_axis || d != axis) && s->item[k]->dim[d] != first->dim[d])) return ev_fail(e, "the elements do not fit");
        total += a->new_axis ? 1 : s->item[k]->dim[axis];
    }
    for (int d = 0, from = 0; d < rank; d++) {
        bool own = d == axis;
        dim[d] = own ? total : first->dim[from];
        from += !(own && a->new_axis);
    }
    Tensor *y = ev_out(e, 0, first->elem, rank, dim);
    for (int64_t k = 0; y && k < s->n_item; k++) {
        const Tensor *x = s->item[k];
        for (int64_t f = 0; f < x->count; f++) {
            unflatten(x, f, i);
            if (a->new_axis) {
                memmove(i + axis + 1, i + axis, sizeof *i * (size_t)(x->rank - axis));
                i[axis] = 0;
            }
            i[axis] += at;
            ev_copy(y, flat_index(y, i), x, f);
        }
        at += a->new_axis ? 1 : x->dim[axis];
    }
    return y != NULL;
}

const OpDesc op_ConcatFromSequence = {.name = "ConcatFromSequence", .since = 11, .cls = CLS_OPAQUE, .flags = OPF_IRREGULAR, .knows = 1, .in = P_SEQ, .out = P_TENSOR, .attrs = JOIN_ATTRS,
                                      .attrs_size = sizeof(Join), .infer = join_infer, .lower = join_lower, .grad = grad_seq_concat, .eval = join_eval};
