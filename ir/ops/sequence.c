/* sequence.c: SequenceEmpty, SequenceConstruct, SequenceInsert, SequenceErase, SequenceAt, SequenceLength.
 * A sequence is a slot in the context that owns copies of its elements; the runtime keeps it (rt_seq_*). Elements may differ in shape: the element type of
 * a sequence type joins them, so their dims are node symbols that SequenceAt binds from the element it takes. */
#include "ir/graph/eval.h"
#include "ir/graph/infer.h"
#include "ir/ops/grad.h"
#include "ir/ops/sequence.h"
#include <string.h>

static const Port P_SEQ[] = {{"sequence", DTS_MOVE | DTS_SMALL, PORT_SEQ, 1}, PORT_END};
static const Port P_TENSORS[] = {{"inputs", DTS_MOVE | DTS_SMALL, PORT_VARIADIC, 1}, PORT_END};
static const Port P_INSERT[] = {{"input_sequence", DTS_MOVE | DTS_SMALL, PORT_SEQ, 1}, {"tensor", DTS_MOVE | DTS_SMALL, 0, 1}, {"position", DTS_INDEX, PORT_OPTIONAL, 0}, PORT_END};
static const Port P_AT[] = {{"input_sequence", DTS_MOVE | DTS_SMALL, PORT_SEQ, 1}, {"position", DTS_INDEX, 0, 0}, PORT_END};
static const Port P_ERASE[] = {{"input_sequence", DTS_MOVE | DTS_SMALL, PORT_SEQ, 1}, {"position", DTS_INDEX, PORT_OPTIONAL, 0}, PORT_END};
static const Port P_NONE[] = {PORT_END};
static const Port P_TENSOR[] = {{"tensor", DTS_MOVE | DTS_SMALL, PORT_ANY_KIND, 0}, PORT_END};   /* of a nested sequence: a sequence */
static const Port P_LENGTH[] = {{"length", DTS(DT_I64), 0, 0}, PORT_END};

#define A_BUF(x) ((KArg){.kind = KA_BUF, .buf = (x)})
#define A_DIM(x) ((KArg){.kind = KA_DIM, .dim = (x)})

/* ---- elements ---- */

bool sequence_need_rank(Infer *c, const TypeRec *of)
{
    Value v = node_in(c->g, c->n, 0);
    if (of->kind != TY_TENSOR || of->rank != RANK_UNKNOWN) return true;
    const char *name = value_name(c->g, v);
    if (c->g == c->m->entry && !value_rec(c->g, v)->def.i)
        return infer_fail(c, "the model does not say the rank of what its input '%s' holds: give it a shape, --shape %s=AxB (? for what the run decides)", name, name);
    return infer_fail(c, "the rank of what '%s' holds must be known at compile time", name);
}

void sequence_put(Lw *l, KBuf q, Dim pos, KBuf v, TypeId type)
{
    static const int kind_of[] = {[TY_SEQ] = BMC_SEQUENCE, [TY_OPT] = BMC_OPTIONAL, [TY_MAP] = BMC_MAP};
    TypeKind kind = type_rec(&l->m->types, type)->kind;
    if (kind == TY_TENSOR) lw_call(l, l->steps, "rt_seq_insert", 3, (KArg[]){A_BUF(q), A_BUF(v), A_DIM(pos)});
    else
        lw_call(l, l->steps, "rt_seq_nest", 4,
                (KArg[]){A_BUF(q), A_BUF(v), A_DIM(pos), {.kind = KA_INT, .i = kind_of[kind]}});
}

bool sequence_get(Lw *l, KBuf q, Dim pos)
{
    Dims *d = &l->m->dims;
    Dim dim[RANK_MAX];
    const TypeRec *t = value_trec(l->g, node_out(l->g, l->n, 0));
    if (t->kind != TY_TENSOR) return lw_call(l, l->steps, "rt_seq_take", 3, (KArg[]){A_BUF(q), A_DIM(pos), A_BUF(lw_out(l, 0))});
    int rank = t->rank;
    KArg arg[3 + RANK_MAX] = {A_BUF(q), A_DIM(pos), {.kind = KA_INT, .i = rank}};
    for (int i = 0; i < rank; i++) {
        Sym y = sym_new(d, module_fresh_name(l->m, "at"), SYM_NODE, 0, INT64_MAX);
        arg[3 + i] = (KArg){.kind = KA_SYM, .sym = y};
        dim[i] = dim_sym(d, y);
    }
    lw_call(l, l->steps, "rt_seq_dims", 3 + (uint32_t)rank, arg);
    lw_bind_dims(l, 0, dim);
    lw_call(l, l->steps, "rt_seq_at", 3, (KArg[]){A_BUF(q), A_DIM(pos), A_BUF(lw_out(l, 0))});
    return true;
}

static const TypeRec *elem_type(Infer *c, uint32_t k) { return type_rec(&c->m->types, infer_in(c, k)->of); }

/* ---- SequenceEmpty, SequenceConstruct ---- */

typedef struct SeqEmpty { uint64_t set; int64_t dtype; } SeqEmpty;
static const AttrSpec EMPTY_ATTRS[] = {A_TYPE(SeqEmpty, dtype, DT_F32), A_END};

/* Nothing is known of the elements but their type: the first insertion says more (infer_insert). */
static bool infer_empty(Infer *c)
{
    return infer_set_type(c, 0, type_seq(&c->m->types, type_tensor_unranked(&c->m->types, (DType)ATTRS(c->g, c->n, SeqEmpty)->dtype)));
}

void sequence_empty_of(Graph *g, Node n, DType elem)
{
    SeqEmpty *a = node_rec(g, n)->attrs;
    if (a->dtype != DT_NONE || elem == DT_NONE) return;
    a->dtype = elem;
    a->set |= 1;
    value_rec(g, node_out(g, n, 0))->type = type_seq(&g->m->types, type_tensor_unranked(&g->m->types, elem));
}

static bool lower_empty(Lw *l, Node n)
{
    (void)n;
    lw_call(l, l->steps, "rt_seq_clear", 1, (KArg[]){A_BUF(lw_out(l, 0))});
    return true;
}

static bool eval_empty(Eval *e)
{
    e->out[0] = arena_new(e->arena, Tensor);
    e->out[0]->kind = TY_SEQ;
    return true;
}

static bool infer_construct(Infer *c)
{
    TypeId of = value_type(c->g, node_in(c->g, c->n, 0));
    if (value_type(c->g, node_out(c->g, c->n, 0)).i) return true;   /* joined before */
    for (uint32_t k = 1; k < node_n_in(c->g, c->n); k++)
        if (!infer_join(c->m, of, value_type(c->g, node_in(c->g, c->n, k)), "seq", &of)) return infer_fail(c, "the elements differ in type");
    return infer_set_type(c, 0, type_seq(&c->m->types, of));
}

static bool lower_construct(Lw *l, Node n)
{
    for (uint32_t k = 0; k < node_n_in(l->g, n); k++) lw_in(l, k);
    KBuf s = lw_out(l, 0);
    lw_call(l, l->steps, "rt_seq_clear", 1, (KArg[]){A_BUF(s)});
    for (uint32_t k = 0; k < node_n_in(l->g, n); k++)
        sequence_put(l, s, dim_const(&l->m->dims, k), lw_in(l, k), value_type(l->g, node_in(l->g, n, k)));
    return true;
}

static bool eval_construct(Eval *e)
{
    eval_empty(e);
    e->out[0]->n_item = e->n_in;
    e->out[0]->item = e->in;
    return true;
}

/* ---- SequenceInsert, SequenceErase ---- */

static bool infer_insert(Infer *c)
{
    const TypeRec *el = elem_type(c, 0);
    TypeId of, t = value_type(c->g, node_in(c->g, c->n, 1));
    if (value_type(c->g, node_out(c->g, c->n, 0)).i) return true;   /* joined before: keep its symbols */
    Node from = value_rec(c->g, node_in(c->g, c->n, 0))->def;
    if (from.i && node_rec(c->g, from)->op == OP_SequenceEmpty) of = t;
    else if (el->rank == RANK_UNKNOWN && infer_in(c, 1)->rank != RANK_UNKNOWN && !from.i && c->g != c->m->entry) {
        /* carried by a loop from an empty sequence: elements have this rank and any dims */
        TypeRec any = *infer_in(c, 1);
        for (int i = 0; i < any.rank; i++) any.dim[i] = infer_fresh(c, "seq", 0, INT64_MAX);
        of = type_intern(&c->m->types, &any);
    } else if (!infer_join(c->m, infer_in(c, 0)->of, t, "seq", &of)) return infer_fail(c, "the element's type differs from the sequence's");
    return infer_set_type(c, 0, type_seq(&c->m->types, of));
}

static bool position(Lw *l, uint32_t k, Dim *pos, Dim if_absent)
{
    *pos = if_absent;
    return !lw_has(l, k) || lw_values_n(l, k, pos, 1);
}

static Dim length(Lw *l, KBuf seq)
{
    Sym s = sym_new(&l->m->dims, module_fresh_name(l->m, "len"), SYM_NODE, 0, INT64_MAX);
    lw_call(l, l->steps, "rt_seq_length", 2, (KArg[]){A_BUF(seq), {.kind = KA_SYM, .sym = s}});
    return dim_sym(&l->m->dims, s);
}

static bool lower_insert(Lw *l, Node n)
{
    KBuf from = lw_in(l, 0), x = lw_in(l, 1), to = lw_out(l, 0);
    Dim pos;
    lw_call(l, l->steps, "rt_seq_copy", 2, (KArg[]){A_BUF(from), A_BUF(to)});
    if (lw_has(l, 2)) {
        if (!position(l, 2, &pos, DIM_NONE)) return false;
    } else pos = length(l, to);
    sequence_put(l, to, pos, x, value_type(l->g, node_in(l->g, n, 1)));
    return true;
}

static bool lower_erase(Lw *l, Node n)
{
    (void)n;
    KBuf from = lw_in(l, 0), to = lw_out(l, 0);
    Dim pos;
    lw_call(l, l->steps, "rt_seq_copy", 2, (KArg[]){A_BUF(from), A_BUF(to)});
    if (!position(l, 1, &pos, dim_const(&l->m->dims, -1))) return false;
    lw_call(l, l->steps, "rt_seq_erase", 2, (KArg[]){A_BUF(to), A_DIM(pos)});
    return true;
}

static bool eval_position(Eval *e, uint32_t k, int64_t n, int64_t max, int64_t absent, int64_t *pos)
{
    *pos = ev_has(e, k) ? ev_i(e->in[k], 0) : absent;
    if (*pos < -n || *pos > max) return ev_fail(e, "position %lld is out of range for a sequence of %lld", (long long)*pos, (long long)n);
    if (*pos < 0) *pos += n;
    return true;
}

static bool eval_insert(Eval *e)
{
    const Tensor *s = e->in[0];
    int64_t pos;
    if (!eval_position(e, 2, s->n_item, s->n_item, s->n_item, &pos)) return false;
    eval_empty(e);
    Tensor *o = e->out[0];
    o->n_item = s->n_item + 1;
    o->item = arena_array(e->arena, Tensor *, o->n_item);
    for (int64_t k = 0; k < o->n_item; k++) o->item[k] = k < pos ? s->item[k] : k == pos ? e->in[1] : s->item[k - 1];
    return true;
}

static bool eval_erase(Eval *e)
{
    const Tensor *s = e->in[0];
    int64_t pos;
    if (!eval_position(e, 1, s->n_item, s->n_item - 1, s->n_item - 1, &pos)) return false;
    eval_empty(e);
    Tensor *o = e->out[0];
    o->n_item = s->n_item - 1;
    o->item = arena_array(e->arena, Tensor *, s->n_item);
    for (int64_t k = 0; k < o->n_item; k++) o->item[k] = s->item[k < pos ? k : k + 1];
    return true;
}

/* ---- SequenceAt, SequenceLength ---- */

static bool infer_at(Infer *c)
{
    const TypeRec *el = elem_type(c, 0);
    bool entry = c->g == c->m->entry && !value_rec(c->g, node_in(c->g, c->n, 0))->def.i;
    if (entry && !sequence_need_rank(c, el)) return false;
    if (el->kind != TY_TENSOR || el->rank == RANK_UNKNOWN) return infer_set_type(c, 0, infer_in(c, 0)->of);
    TypeRec t = *el;
    for (int i = 0; i < t.rank; i++)
        if (dim_has_kind(c->d, t.dim[i], SYM_NODE)) t.dim[i] = infer_node_dim(c, 0, i, 0, INT64_MAX);   /* this element's own */
    return infer_set(c, 0, t.elem, t.rank, t.dim);
}

static bool lower_at(Lw *l, Node n)
{
    (void)n;
    KBuf s = lw_in(l, 0);
    Dim pos;
    return position(l, 1, &pos, DIM_NONE) && sequence_get(l, s, pos);
}

static bool eval_at(Eval *e)
{
    int64_t pos, n = e->in[0]->n_item;
    if (!eval_position(e, 1, n, n - 1, 0, &pos)) return false;
    e->out[0] = e->in[0]->item[pos];
    return true;
}

static bool infer_length(Infer *c) { return infer_set(c, 0, DT_I64, 0, NULL); }

static bool lower_length(Lw *l, Node n)
{
    (void)n;
    Dim len = length(l, lw_in(l, 0));
    KBuf o = lw_out(l, 0);
    Kb *b = lw_kernel(l, "length");
    kb_store(b, kb_param(b, o, true), NULL, kb_dim(b, len));
    lw_kernel_end(l);
    return true;
}

static bool eval_length(Eval *e)
{
    if (!ev_out(e, 0, DT_I64, 0, NULL)) return false;
    ev_set_i(e->out[0], 0, e->in[0]->n_item);
    return true;
}

const OpDesc op_SequenceEmpty = {.name = "SequenceEmpty", .since = 11, .cls = CLS_OPAQUE, .flags = OPF_IRREGULAR, .in = P_NONE, .out = P_SEQ,
                                 .attrs = EMPTY_ATTRS, .attrs_size = sizeof(SeqEmpty), .infer = infer_empty, .lower = lower_empty, .grad = grad_zero, .eval = eval_empty};
const OpDesc op_SequenceConstruct = {.name = "SequenceConstruct", .since = 11, .cls = CLS_OPAQUE, .flags = OPF_IRREGULAR, .in = P_TENSORS, .out = P_SEQ,
                                     .infer = infer_construct, .lower = lower_construct, .grad = grad_seq_construct, .eval = eval_construct};
const OpDesc op_SequenceInsert = {.name = "SequenceInsert", .since = 11, .cls = CLS_OPAQUE, .flags = OPF_IRREGULAR, .in = P_INSERT, .out = P_SEQ,
                                  .infer = infer_insert, .lower = lower_insert, .grad = grad_seq_insert, .eval = eval_insert};
const OpDesc op_SequenceErase = {.name = "SequenceErase", .since = 11, .cls = CLS_OPAQUE, .flags = OPF_IRREGULAR, .in = P_ERASE, .out = P_SEQ,
                                 .lower = lower_erase, .grad = grad_seq_erase, .eval = eval_erase};
const OpDesc op_SequenceAt = {.name = "SequenceAt", .since = 11, .cls = CLS_OPAQUE, .flags = OPF_IRREGULAR, .knows = 1, .in = P_AT, .out = P_TENSOR,
                              .infer = infer_at, .lower = lower_at, .grad = grad_seq_at, .eval = eval_at};
const OpDesc op_SequenceLength = {.name = "SequenceLength", .since = 11, .cls = CLS_OPAQUE, .flags = OPF_IRREGULAR, .in = P_SEQ, .out = P_LENGTH,
                                  .infer = infer_length, .lower = lower_length, .eval = eval_length};
