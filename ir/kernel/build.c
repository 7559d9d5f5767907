/* build.c: the builder of kernels, see build.h. Pure instructions are looked up by (op, type, arguments, immediate)
 * in the open block and those around it before a new one is made, so that a value is computed once per block and
 * never twice in a row. Constants fold through eval_scalar.c, the same code that the interpreter runs; identities are
 * taken only where they are exact (x*1, and x+0 for integers). Misuse is a BUG with both types named. */
#include "ir/kernel/build.h"
#include "base/bug.h"
#include "ir/kernel/cache.h"
#include "ir/kernel/eval_scalar.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define DEPTH_MAX 64

struct Kb {
    KModule *m;
    Kernel *k;
    const char *label;
    KBlock open[DEPTH_MAX];
    int depth;          /* entries of `open`; the last is the current block */
    Map by_hash;        /* pure instructions: hash -> newest instruction */
    VEC(uint32_t) same; /* by instruction: the next older one with that hash */
    VEC(KBuf) buf;      /* by parameter: the module's buffer */
};

/* ---- values, blocks, instructions ---- */
static KVal val_new(Kernel *k, DType t, KInst def, KBlock block, uint32_t index)
{
    vec_push(k->arena, &k->val, (KValRec){.type = t, .def = def, .block = block, .index = index});
    return (KVal){k->val.n - 1};
}

static KBlock block_new(Kernel *k, KInst owner)
{
    vec_push(k->arena, &k->block, (KBlockRec){.owner = owner});
    return (KBlock){k->block.n - 1};
}

static KVal block_param(Kernel *k, KBlock b, DType t)
{
    KVal v = val_new(k, t, (KInst){0}, b, kblock(k, b)->n_param);
    if (kblock(k, b)->n_param++ == 0) kblock(k, b)->param = v.i;
    return v;
}

KBlock kb_block(Kb *b) { return b->open[b->depth - 1]; }

static void enter(Kb *b, KBlock block)
{
    if (b->depth == DEPTH_MAX) BUG("kernel %s nests deeper than %d", b->label, DEPTH_MAX);
    b->open[b->depth++] = block;
}

static void leave(Kb *b)
{
    assert(b->depth > 1);
    b->depth--;
}

/* Appends to the open block; args are copied. */
static KInst inst_add(Kb *b, KInstRec r, uint32_t n_arg, const KVal *arg)
{
    Kernel *k = b->k;
    KBlock block = kb_block(b);
    KInst i = {k->inst.n}, last = kblock(k, block)->last;
    if (last.i && kop_info(kinst(k, last)->op)->flags & KF_TERM)
        BUG("kernel %s: instruction after the yield of its block", b->label);
    r.arg = k->args.n;
    r.n_arg = n_arg;
    r.res = r.n_res = 0;
    r.prev = last;
    r.next = (KInst){0};
    r.block = block;
    for (uint32_t n = 0; n < n_arg; n++) {
        if (!arg[n].i || arg[n].i >= k->val.n)
            BUG("kernel %s: %s: argument %u is no value of this kernel", b->label, kop_info(r.op)->text, n);
        vec_push(k->arena, &k->args, arg[n]);
    }
    vec_push(k->arena, &k->inst, r);
    if (last.i) kinst(k, last)->next = i;
    else kblock(k, block)->first = i;
    kblock(k, block)->last = i;
    return i;
}

static KVal add_result(Kernel *k, KInst i, DType t)
{
    KInstRec *r = kinst(k, i);
    KVal v = val_new(k, t, i, r->block, r->n_res);
    if (r->n_res++ == 0) {
        r->res = v.i;
        r->type = t;
    }
    return v;
}

KVal kb_raw(Kb *b, const KInstRec *like, uint32_t n_arg, const KVal *arg)
{
    KInstRec r = *like;
    KInst i;
    assert(!(kop_info(r.op)->flags & (KF_REGION | KF_TERM)));
    i = inst_add(b, r, n_arg, arg);
    return kop_info(r.op)->flags & (KF_PURE | KF_LOAD) ? add_result(b->k, i, like->type) : (KVal){0};
}

/* ---- sharing and folding ---- */
enum { LOSSLESS = 1 << 22 /* integers up to there, and sums of two of them, are floats */ };

static uint64_t imm_bits(const KInstRec *r)
{
    switch (r->op) {
    case KOP_CONST: return (uint64_t)r->imm.i; /* a double's bits, too */
    case KOP_DIM: return r->imm.dim.i;
    case KOP_CAST:
    case KOP_BITCAST: return r->imm.dtype;
    default: return 0;
    }
}

static uint64_t pure_hash(const KInstRec *r, KBlock block, uint32_t n_arg, const KVal *arg)
{
    uint64_t h = hash_mix(hash_mix(r->op, r->type), hash_mix(block.i, imm_bits(r)));
    for (uint32_t n = 0; n < n_arg; n++) h = hash_mix(h, arg[n].i);
    return h;
}

static bool same_pure(const Kernel *k, const KInstRec *x, const KInstRec *r, KBlock block, uint32_t n_arg,
                      const KVal *arg)
{
    if (x->op != r->op || x->type != r->type || x->block.i != block.i || x->n_arg != n_arg ||
        imm_bits(x) != imm_bits(r))
        return false;
    for (uint32_t n = 0; n < n_arg; n++)
        if (karg(k, x, n).i != arg[n].i) return false;
    return true;
}

static KVal share(Kb *b, const KInstRec *like, uint32_t n_arg, const KVal *arg)
{
    Kernel *k = b->k;
    uint64_t h, at;
    for (int d = b->depth - 1; d >= 0; d--) {
        if (!map_get(&b->by_hash, pure_hash(like, b->open[d], n_arg, arg), &at)) continue;
        for (uint32_t i = (uint32_t)at; i; i = b->same.p[i])
            if (same_pure(k, &k->inst.p[i], like, b->open[d], n_arg, arg)) return (KVal){k->inst.p[i].res};
    }
    KVal v = kb_raw(b, like, n_arg, arg);
    h = pure_hash(like, kb_block(b), n_arg, arg);
    while (b->same.n < k->inst.n) vec_push(b->m->arena, &b->same, 0);
    if (map_get(&b->by_hash, h, &at)) b->same.p[kval(k, v)->def.i] = (uint32_t)at;
    map_put(&b->by_hash, h, kval(k, v)->def.i);
    return v;
}

static const KInstRec *const_of(const Kernel *k, KVal v)
{
    KInst d = kval(k, v)->def;
    return d.i && kinst(k, d)->op == KOP_CONST ? kinst(k, d) : NULL;
}

static KScalar scalar_of(const KInstRec *c)
{
    KScalar s = {.i = 0};
    if (dtype_is_float(c->type)) s.f = c->imm.f;
    else if (c->type == DT_STR) s.ptr = "";
    else s.i = c->imm.i;
    return s;
}

static KVal const_scalar(Kb *b, DType t, KScalar s)
{
    KInstRec r = {.op = KOP_CONST, .type = t};
    if (dtype_is_float(t)) r.imm.f = s.f;
    else r.imm.i = t == DT_STR ? 0 : s.i;
    return share(b, &r, 0, NULL);
}

static bool is_const_i(const Kernel *k, KVal v, int64_t x)
{
    const KInstRec *c = const_of(k, v);
    if (!c || c->type == DT_STR) return false;
    return dtype_is_float(c->type) ? c->imm.f == (double)x && (x != 0) : c->imm.i == x;
}

/* x op const = x, or a constant; 0: no such identity. Float constants match only where the result has the same bits. */
static KVal identity(Kb *b, KOp op, DType t, const KVal *a)
{
    Kernel *k = b->k;
    bool f = dtype_is_float(t), same = a[0].i == a[1].i;
    switch (op) {
    case KOP_MUL:
        if (is_const_i(k, a[1], 1)) return a[0];
        return !f && is_const_i(k, a[1], 0) ? a[1] : (KVal){0};
    case KOP_DIV: return is_const_i(k, a[1], 1) ? a[0] : (KVal){0};
    case KOP_FLOORDIV: return is_const_i(k, a[1], 1) ? a[0] : (KVal){0};
    case KOP_ADD: return !f && is_const_i(k, a[1], 0) ? a[0] : (KVal){0};
    case KOP_SUB:
        if (!f && is_const_i(k, a[1], 0)) return a[0];
        return !f && same ? kb_const_i(b, t, 0) : (KVal){0};
    case KOP_MOD:
    case KOP_REM: return !f && is_const_i(k, a[1], 1) ? kb_const_i(b, t, 0) : (KVal){0};
    case KOP_AND:
        if (same) return a[0];
        if (t != DT_BOOL) return is_const_i(k, a[1], 0) ? a[1] : (KVal){0};
        return is_const_i(k, a[1], 1) ? a[0] : is_const_i(k, a[1], 0) ? a[1] : (KVal){0};
    case KOP_OR:
        if (same || is_const_i(k, a[1], 0)) return a[0];
        return t == DT_BOOL && is_const_i(k, a[1], 1) ? a[1] : (KVal){0};
    case KOP_MIN:
    case KOP_MAX: return same ? a[0] : (KVal){0};
    case KOP_SHL:
    case KOP_SHR: return is_const_i(k, a[1], 0) ? a[0] : (KVal){0};
    case KOP_SELECT:
        if (a[1].i == a[2].i) return a[1];
        return is_const_i(k, a[0], 1) ? a[1] : is_const_i(k, a[0], 0) ? a[2] : (KVal){0};
    default: return (KVal){0};
    }
}

static const KInstRec *def_of(const Kernel *k, KVal v, KOp op)
{
    KInst d = kval(k, v)->def;
    return d.i && kinst(k, d)->op == op ? kinst(k, d) : NULL;
}

/* What a quantised value's way through its type leaves: x + zero point, narrowed without loss, less the zero point.
 *   (x + c) - c => x, of i32      real(x + c) - c => real(x), where neither rounds */
static KVal unshift(Kb *b, DType t, const KVal *a)
{
    const KInstRec *c = const_of(b->k, a[1]), *sum, *by;
    bool real = t == DT_F32;
    int64_t lo, hi;
    if (!c || (!real && t != DT_I32)) return (KVal){0};
    const KInstRec *wide = real ? def_of(b->k, a[0], KOP_CAST) : NULL;
    if (real && (!wide || kval(b->k, karg(b->k, wide, 0))->type != DT_I32)) return (KVal){0};
    KVal i = real ? karg(b->k, wide, 0) : a[0];
    sum = def_of(b->k, i, KOP_ADD);
    by = sum ? const_of(b->k, karg(b->k, sum, 1)) : NULL;
    if (!by || (real ? c->imm.f != (double)by->imm.i : c->imm.i != by->imm.i)) return (KVal){0};
    KVal x = karg(b->k, sum, 0);
    if (!real) return x;
    if (!kx_bounds(b->k, i, &lo, &hi) || lo < -LOSSLESS || hi > LOSSLESS || by->imm.i > LOSSLESS || by->imm.i < -LOSSLESS) return (KVal){0};
    return kb_cast(b, t, x);
}

/* A cast of what was narrowed without loss: of what it was. 0: no such. */
static KVal widen(Kb *b, DType to, KVal x)
{
    const KInstRec *narrow = def_of(b->k, x, KOP_CAST);
    DType by = narrow ? narrow->imm.dtype : to;
    int64_t lo, hi;
    if ((to != DT_I32 && to != DT_F32) || (by != DT_U8 && by != DT_I8) || !kx_bounds(b->k, karg(b->k, narrow, 0), &lo, &hi) ||
        lo < (by == DT_U8 ? 0 : -128) || hi > (by == DT_U8 ? 255 : 127))
        return (KVal){0};
    return kb_cast(b, to, karg(b->k, narrow, 0));
}

static bool fold(Kb *b, const KInstRec *like, uint32_t n_arg, const KVal *arg, KVal *out)
{
    KScalar in[3], r;
    DType t;
    if (n_arg == 0 || n_arg > 3 || kop_info(like->op)->flags & KF_MATH) return false;
    for (uint32_t n = 0; n < n_arg; n++) {
        const KInstRec *c = const_of(b->k, arg[n]);
        if (!c) return false;
        in[n] = scalar_of(c);
    }
    t = kval(b->k, arg[like->op == KOP_SELECT ? 1 : 0])->type;
    if (like->op == KOP_CAST) r = kscalar_cast(t, like->imm.dtype, in[0]);
    else if (like->op == KOP_BITCAST) r = kscalar_bitcast(t, like->imm.dtype, in[0]);
    else if (!kscalar_op(like->op, t, in, &r)) return false;
    *out = const_scalar(b, like->type, r);
    return true;
}

KVal kb_pure(Kb *b, const KInstRec *like, uint32_t n_arg, const KVal *arg)
{
    KVal a[3] = {{0}}, r;
    assert(n_arg <= 3);
    for (uint32_t n = 0; n < n_arg; n++) a[n] = arg[n];
    if (kop_info(like->op)->flags & KF_COMMUTES && const_of(b->k, a[0]) && !const_of(b->k, a[1])) {
        a[0] = arg[1];
        a[1] = arg[0];
    }
    if (fold(b, like, n_arg, a, &r)) return r;
    if (like->op == KOP_CAST && (r = widen(b, like->imm.dtype, a[0])).i) return r;
    if (n_arg >= 2 && !(kop_info(like->op)->flags & KF_CMP) && like->op != KOP_FMA) {
        r = identity(b, like->op, like->type, a);
        if (!r.i && like->op == KOP_SUB) r = unshift(b, like->type, a);
        if (r.i) return r;
    }
    return share(b, like, n_arg, a);
}

/* ---- scalars ---- */
DType kb_type(Kb *b, KVal v)
{
    assert(v.i && v.i < b->k->val.n);
    return kval(b->k, v)->type;
}

KVal kb_i(Kb *b, int64_t x) { return const_scalar(b, DT_I64, (KScalar){.i = x}); }

KVal kb_const_i(Kb *b, DType t, int64_t x)
{
    assert(t == dtype_compute(t));
    return const_scalar(b, t, kscalar_cast(DT_I64, t, (KScalar){.i = x}));
}

KVal kb_const_f(Kb *b, DType t, double x)
{
    assert(t == dtype_compute(t));
    return const_scalar(b, t, kscalar_cast(DT_F64, t, (KScalar){.f = x}));
}

KVal kb_dim(Kb *b, Dim d)
{
    int64_t x;
    assert(d.i);
    if (dim_is_const(b->m->dims, d, &x)) return kb_i(b, x);
    return share(b, &(KInstRec){.op = KOP_DIM, .type = DT_I64, .imm.dim = d}, 0, NULL);
}

KVal kb_un(Kb *b, KOp op, KVal x)
{
    DType t = kb_type(b, x);
    if (kop_info(op)->n_args != 1 || op == KOP_CAST || op == KOP_BITCAST) BUG("kb_un(%s)", kop_info(op)->text);
    if (op == KOP_ISNAN || op == KOP_ISINF) t = DT_BOOL;
    return kb_pure(b, &(KInstRec){.op = op, .type = t}, 1, &x);
}

KVal kb_bin(Kb *b, KOp op, KVal x, KVal y)
{
    DType t = kb_type(b, x);
    if (kop_info(op)->n_args != 2 || !(kop_info(op)->flags & KF_PURE)) BUG("kb_bin(%s)", kop_info(op)->text);
    if (t != kb_type(b, y))
        BUG("kernel %s: %s of %s and %s", b->label, kop_info(op)->text, dtype_name(t), dtype_name(kb_type(b, y)));
    if (kop_info(op)->flags & KF_CMP) t = DT_BOOL;
    return kb_pure(b, &(KInstRec){.op = op, .type = t}, 2, (KVal[]){x, y});
}

KVal kb_fma(Kb *b, KVal x, KVal y, KVal z)
{
    DType t = kb_type(b, x);
    if (t != kb_type(b, y) || t != kb_type(b, z)) BUG("kernel %s: fma of unequal types", b->label);
    return kb_pure(b, &(KInstRec){.op = KOP_FMA, .type = t}, 3, (KVal[]){x, y, z});
}

KVal kb_select(Kb *b, KVal cond, KVal x, KVal y)
{
    DType t = kb_type(b, x);
    if (kb_type(b, cond) != DT_BOOL || t != kb_type(b, y))
        BUG("kernel %s: select(%s, %s, %s)", b->label, dtype_name(kb_type(b, cond)), dtype_name(t),
            dtype_name(kb_type(b, y)));
    return kb_pure(b, &(KInstRec){.op = KOP_SELECT, .type = t}, 3, (KVal[]){cond, x, y});
}

KVal kb_cast(Kb *b, DType to, KVal x)
{
    if (to == kb_type(b, x)) return x;
    return kb_pure(b, &(KInstRec){.op = KOP_CAST, .type = dtype_compute(to), .imm.dtype = to}, 1, &x);
}

KVal kb_bitcast(Kb *b, DType to, KVal x)
{
    DType t = kb_type(b, x);
    if (to == t) return x;
    if (to != dtype_compute(to) || dtype_info(to)->bits != dtype_info(t)->bits)
        BUG("kernel %s: bitcast %s to %s", b->label, dtype_name(t), dtype_name(to));
    return kb_pure(b, &(KInstRec){.op = KOP_BITCAST, .type = to, .imm.dtype = to}, 1, &x);
}

/* ---- memory ---- */
uint32_t kb_param(Kb *b, KBuf buf, bool write)
{
    const KBufRec *from = kbuf(b->m, buf);
    Kernel *k = b->k;
    for (uint32_t p = 1; p < b->buf.n; p++)
        if (b->buf.p[p].i == buf.i) {
            k->param.p[p].out |= write;
            return p;
        }
    if (from->space == KS_SEQ || from->space == KS_NONE)
        BUG("kernel %s: buffer %s cannot be a parameter", b->label, name_str(b->m->names, from->name));
    KBufRec r = {.name = from->name,
                 .space = KS_PARAM,
                 .elem = from->elem,
                 .rank = from->rank,
                 .dense = from->dense,
                 .out = write,
                 .port = -1,
                 .weight_off = -1,
                 .loc = from->loc};
    memcpy(r.dim, from->dim, sizeof r.dim);
    memcpy(r.stride, from->stride, sizeof r.stride);
    vec_push(k->arena, &k->param, r);
    vec_push(b->m->arena, &b->buf, buf);
    return k->param.n - 1;
}

uint32_t kb_local(Kb *b, const char *name, DType elem, int rank, const Dim *dim)
{
    Kernel *k = b->k;
    KBufRec r = {.name = name_of(b->m->names, name),
                 .space = KS_LOCAL,
                 .elem = elem,
                 .rank = (uint8_t)rank,
                 .dense = true,
                 .port = -1,
                 .weight_off = -1};
    assert(rank >= 0 && rank <= RANK_MAX);
    for (int i = 0; i < rank; i++) r.dim[i] = dim[i];
    vec_push(k->arena, &k->param, r);
    vec_push(b->m->arena, &b->buf, (KBuf){0});
    return k->param.n - 1;
}

static const KBufRec *access_check(Kb *b, uint32_t param, const KVal *idx, KVal pred)
{
    assert(param && param < b->k->param.n);
    const KBufRec *p = &b->k->param.p[param];
    for (int i = 0; i < p->rank; i++)
        if (kb_type(b, idx[i]) != DT_I64)
            BUG("kernel %s: index %d of %s is %s", b->label, i, name_str(b->m->names, p->name),
                dtype_name(kb_type(b, idx[i])));
    if (pred.i && kb_type(b, pred) != DT_BOOL)
        BUG("kernel %s: predicate of %s is no bool", b->label, name_str(b->m->names, p->name));
    return p;
}

KVal kb_load(Kb *b, uint32_t param, const KVal *idx) { return kb_load_if(b, param, idx, (KVal){0}, (KVal){0}); }

KVal kb_load_if(Kb *b, uint32_t param, const KVal *idx, KVal pred, KVal alt)
{
    const KBufRec *p = access_check(b, param, idx, pred);
    DType t = dtype_compute(p->elem);
    uint32_t n = p->rank;
    KVal a[RANK_MAX + 2];
    for (uint32_t i = 0; i < n; i++) a[i] = idx[i];
    if (pred.i) {
        if (!alt.i) alt = const_scalar(b, t, (KScalar){.i = 0});
        if (kb_type(b, alt) != t)
            BUG("kernel %s: alternative of a load is %s, not %s", b->label, dtype_name(kb_type(b, alt)), dtype_name(t));
        a[n++] = pred;
        a[n++] = alt;
    }
    return kb_raw(b, &(KInstRec){.op = KOP_LOAD, .type = t, .param = param}, n, a);
}

void kb_store(Kb *b, uint32_t param, const KVal *idx, KVal value) { kb_store_if(b, param, idx, value, (KVal){0}); }

void kb_store_if(Kb *b, uint32_t param, const KVal *idx, KVal value, KVal pred)
{
    const KBufRec *p = access_check(b, param, idx, pred);
    DType t = dtype_compute(p->elem);
    uint32_t n = p->rank;
    KVal a[RANK_MAX + 2];
    if (kb_type(b, value) != t)
        BUG("kernel %s: store of %s to %s: %s", b->label, dtype_name(kb_type(b, value)), name_str(b->m->names, p->name),
            dtype_name(t));
    if (p->space == KS_PARAM && !p->out)
        BUG("kernel %s: store to %s, which is read only", b->label, name_str(b->m->names, p->name));
    for (uint32_t i = 0; i < n; i++) a[i] = idx[i];
    a[n++] = value;
    if (pred.i) a[n++] = pred;
    kb_raw(b, &(KInstRec){.op = KOP_STORE, .param = param}, n, a);
}

void kb_record(Kb *b, KVal ok, const char *msg, KVal index, KVal bound)
{
    assert(kb_type(b, ok) == DT_BOOL && kb_type(b, index) == DT_I64 && kb_type(b, bound) == DT_I64);
    if (b->m->unchecked) return;
    kb_raw(b, &(KInstRec){.op = KOP_RECORD, .imm.i = kmodule_message(b->m, msg)}, 3, (KVal[]){ok, index, bound});
}

/* ---- regions ---- */
void kb_loop(Kb *b, KbLoop *l, KLoop kind, KVal lo, KVal hi, uint32_t n_carry, const KVal *init, const KOp *combine)
{
    KVal a[2 + K_CARRIES] = {lo, hi};
    KInstRec r = {.op = KOP_FOR, .loop = kind};
    Kernel *k = b->k;
    if (n_carry > K_CARRIES) BUG("kernel %s: %u carries", b->label, n_carry);
    assert(kb_type(b, lo) == DT_I64 && kb_type(b, hi) == DT_I64);
    r.combine = n_carry ? arena_array(k->arena, KOp, n_carry) : NULL;
    for (uint32_t n = 0; n < n_carry; n++) {
        a[2 + n] = init[n];
        r.combine[n] = combine ? combine[n] : KOP_NONE;
    }
    *l = (KbLoop){.n = n_carry};
    l->inst = inst_add(b, r, 2 + n_carry, a);
    for (uint32_t n = 0; n < n_carry; n++) l->result[n] = add_result(k, l->inst, kb_type(b, init[n]));
    KBlock body = block_new(k, l->inst);
    kinst(k, l->inst)->body = body;
    l->iv = block_param(k, body, DT_I64);
    for (uint32_t n = 0; n < n_carry; n++) l->carry[n] = block_param(k, body, kb_type(b, init[n]));
    enter(b, body);
}

void kb_yield(Kb *b, uint32_t n, const KVal *v)
{
    inst_add(b, (KInstRec){.op = KOP_YIELD}, n, v);
    leave(b);
}

void kb_loop_end(Kb *b, KbLoop *l, const KVal *yield)
{
    if (kblock(b->k, kb_block(b))->owner.i != l->inst.i)
        BUG("kernel %s: kb_loop_end of a loop that is not the innermost", b->label);
    for (uint32_t n = 0; n < l->n; n++)
        if (kb_type(b, yield[n]) != kb_type(b, l->carry[n]))
            BUG("kernel %s: carry %u is %s, yields %s", b->label, n, dtype_name(kb_type(b, l->carry[n])),
                dtype_name(kb_type(b, yield[n])));
    if (l->n) kb_yield(b, l->n, yield);
    else leave(b);
}

KVal kb_for(Kb *b, KLoop kind, KVal lo, KVal hi)
{
    KbLoop l;
    kb_loop(b, &l, kind, lo, hi, 0, NULL, NULL);
    return l.iv;
}

KVal kb_for_par(Kb *b, KVal lo, KVal hi, bool down)
{
    KbLoop l;
    kb_loop(b, &l, KLOOP_PAR, lo, hi, 0, NULL, NULL);
    kinst(b->k, l.inst)->down = down;
    return l.iv;
}

void kb_end(Kb *b)
{
    KInst owner = kblock(b->k, kb_block(b))->owner;
    if (!owner.i || kinst(b->k, owner)->op != KOP_FOR || kinst(b->k, owner)->n_res)
        BUG("kernel %s: kb_end without kb_for", b->label);
    leave(b);
}

void kb_macc(Kb *b, KbMacc *s, const KMacc *spec, const KVal args[KM_ARGS])
{
    Kernel *k = b->k;
    KMacc *x = arena_memdup(k->arena, spec, sizeof *spec);
    KVal arg[KM_ARGS];
    for (int n = 0; n < KM_ARGS; n++) {
        arg[n] = n == KM_BSUM && spec->sums <= 1 ? kb_i(b, 0) : args[n];
        if (kb_type(b, arg[n]) != DT_I64)
            BUG("kernel %s: argument %d of macc is %s", b->label, n, dtype_name(kb_type(b, arg[n])));
    }
    assert(spec->a && spec->a < k->param.n && spec->b && spec->b < k->param.n && spec->sums <= KM_SUMS_MAX);
    if (!x->sums) x->sums = 1;
    x->addr = x->init = x->epi = (KBlock){0};
    *s = (KbMacc){.inst = inst_add(b, (KInstRec){.op = KOP_MACC, .macc = x}, KM_ARGS, arg)};
    x->addr = block_new(k, s->inst);
    s->t = block_param(k, x->addr, DT_I64);
    s->i = block_param(k, x->addr, DT_I64);
    enter(b, x->addr);
}

void kb_macc_addr(Kb *b, KbMacc *s, KVal a_off, KVal pred, KVal b_off)
{
    if (kblock(b->k, kb_block(b))->owner.i != s->inst.i) BUG("kernel %s: kb_macc_addr outside its macc", b->label);
    if (!pred.i) pred = kb_const_i(b, DT_BOOL, 1);
    kb_yield(b, 3, (KVal[]){a_off, pred, b_off});
}

void kb_macc_init_begin(Kb *b, KbMacc *s)
{
    KMacc *x = kinst(b->k, s->inst)->macc;
    x->init = block_new(b->k, s->inst);
    s->i = block_param(b->k, x->init, DT_I64);
    s->j = block_param(b->k, x->init, DT_I64);
    enter(b, x->init);
}

void kb_macc_init_end(Kb *b, KbMacc *s, const KVal *acc)
{
    const KMacc *x = kinst(b->k, s->inst)->macc;
    for (int n = 0; n < x->sums; n++)
        if (kb_type(b, acc[n]) != x->acc) BUG("kernel %s: macc init of the wrong type", b->label);
    kb_yield(b, x->sums, acc);
}

void kb_macc_epilogue(Kb *b, KbMacc *s)
{
    KMacc *x = kinst(b->k, s->inst)->macc;
    x->epi = block_new(b->k, s->inst);
    for (int n = 0; n < x->sums; n++) s->sum[n] = block_param(b->k, x->epi, x->acc);
    s->acc = s->sum[0];
    s->i = block_param(b->k, x->epi, DT_I64);
    s->j = block_param(b->k, x->epi, DT_I64);
    enter(b, x->epi);
}

void kb_macc_end(Kb *b, KbMacc *s)
{
    if (kb_block(b).i != kinst(b->k, s->inst)->macc->epi.i)
        BUG("kernel %s: kb_macc_end outside the epilogue", b->label);
    leave(b);
}

/* ---- copying ---- */
static KVal mapped(Kb *b, const Kernel *from, const KVal *map, KVal v)
{
    if (!v.i || v.i >= from->val.n || !map[v.i].i)
        BUG("kernel %s: copy of a use whose definition was not copied", b->label);
    return map[v.i];
}

void kb_copy_block(Kb *b, const Kernel *from, KBlock block, KVal *map)
{
    for (KInst i = kblock(from, block)->first; i.i; i = kinst(from, i)->next)
        if (!(kop_info(kinst(from, i)->op)->flags & KF_TERM)) kb_copy(b, from, i, map);
}

/* Opens `to` as the copy of `block`: parameters are mapped, the body and its yield follow. */
static void copy_region(Kb *b, const Kernel *from, KBlock block, KBlock to, KVal *map)
{
    const KBlockRec *r = kblock(from, block);
    const KInstRec *last = r->last.i ? kinst(from, r->last) : NULL;
    KVal y[16];
    for (uint32_t n = 0; n < r->n_param; n++) {
        KVal was = {r->param + n};
        map[was.i] = block_param(b->k, to, kval(from, was)->type);
        kval(b->k, map[was.i])->name = kval(from, was)->name;
    }
    enter(b, to);
    kb_copy_block(b, from, block, map);
    if (last && kop_info(last->op)->flags & KF_TERM) {
        assert(last->n_arg <= 16);
        for (uint32_t n = 0; n < last->n_arg; n++) y[n] = mapped(b, from, map, karg(from, last, n));
        kb_yield(b, last->n_arg, y);
    } else leave(b);
}

void kb_copy(Kb *b, const Kernel *from, KInst at, KVal *map)
{
    const KInstRec *r = kinst(from, at);
    KVal a[RANK_MAX + 2];
    assert(r->n_arg <= RANK_MAX + 2);
    for (uint32_t n = 0; n < r->n_arg; n++) a[n] = mapped(b, from, map, karg(from, r, n));
    if (!(kop_info(r->op)->flags & KF_REGION)) {
        KVal v = kop_info(r->op)->flags & KF_PURE ? kb_pure(b, r, r->n_arg, a) : kb_raw(b, r, r->n_arg, a);
        if (r->n_res) {
            map[r->res] = v;
            if (!kval(b->k, v)->name.i) kval(b->k, v)->name = kval(from, (KVal){r->res})->name;
        }
        return;
    }
    KInstRec like = *r;
    if (r->op == KOP_FOR && r->n_arg > 2)
        like.combine = arena_memdup(b->k->arena, r->combine, (r->n_arg - 2) * sizeof *r->combine);
    if (r->op == KOP_MACC) like.macc = arena_memdup(b->k->arena, r->macc, sizeof *r->macc);
    KInst i = inst_add(b, like, r->n_arg, a);
    for (uint32_t n = 0; n < r->n_res; n++) {
        map[r->res + n] = add_result(b->k, i, kval(from, (KVal){r->res + n})->type);
        kval(b->k, map[r->res + n])->name = kval(from, (KVal){r->res + n})->name;
    }
    if (r->op == KOP_FOR) {
        KBlock body = block_new(b->k, i);
        kinst(b->k, i)->body = body;
        copy_region(b, from, r->body, body, map);
        return;
    }
    KBlock *part[] = {&like.macc->addr, &like.macc->init, &like.macc->epi};
    for (int n = 0; n < 3; n++)
        if (part[n]->i) {
            KBlock was = *part[n];
            *part[n] = block_new(b->k, i);
            copy_region(b, from, was, *part[n], map);
        }
}

/* ---- kernels ---- */
Kb *kb_new(KModule *m, const char *name, KLoc loc)
{
    Kb *b = arena_new(m->arena, Kb);
    Kernel *k = arena_new(m->arena, Kernel);
    *b = (Kb){.m = m, .k = k, .label = arena_strdup(m->arena, name)};
    map_init(&b->by_hash, m->arena);
    vec_push(m->arena, &b->buf, (KBuf){0});
    k->arena = m->arena;
    k->loc = loc;
    vec_push(k->arena, &k->inst, (KInstRec){.op = KOP_NONE});
    vec_push(k->arena, &k->val, (KValRec){.type = DT_NONE});
    vec_push(k->arena, &k->block, (KBlockRec){.n_param = 0});
    vec_push(k->arena, &k->param, (KBufRec){.space = KS_NONE});
    k->top = block_new(k, (KInst){0});
    enter(b, k->top);
    return b;
}

KModule *kb_module(Kb *b) { return b->m; }
Kernel *kb_kernel(Kb *b) { return b->k; }

Kb *kb_reopen(KModule *m, const Kernel *old)
{
    Kb *b = kb_new(m, name_str(m->names, old->name), old->loc);
    b->k->name = old->name;
    for (uint32_t p = 1; p < old->param.n; p++) {
        vec_push(m->arena, &b->k->param, old->param.p[p]);
        vec_push(m->arena, &b->buf, (KBuf){0});
    }
    return b;
}

void kb_replace(Kb *b, Kernel *old)
{
    assert(b->depth == 1);
    kir_finish(b->k);
    kcache_forget(b->m, old);
    *old = *b->k;
}

void kir_finish(Kernel *k)
{
    k->parallel = false;
    for (KInst i = kblock(k, k->top)->first; i.i; i = kinst(k, i)->next)
        if (kinst(k, i)->op == KOP_FOR && kinst(k, i)->loop == KLOOP_PAR) k->parallel = true;
}

static Name kernel_name(KModule *m, const char *label)
{
    char text[96];
    Name n;
    for (;; m->cache->named++) {
        bool taken = false;
        snprintf(text, sizeof text, "k%u_%.64s", m->cache->named, label);
        for (char *p = text; *p; p++)
            if (!isalnum((unsigned char)*p)) *p = '_';
        n = name_of(m->names, text);
        for (uint32_t i = 0; i < m->kernel.n && !taken; i++) taken = m->kernel.p[i]->name.i == n.i;
        if (!taken) break;
    }
    m->cache->named++;
    return n;
}

Kernel *kb_finish(Kb *b, KSteps *to)
{
    KModule *m = b->m;
    Kernel *k = b->k;
    Str text;
    uint64_t h, at = 0;
    uint32_t n_param = 0;
    if (b->depth != 1) BUG("kernel %s ends inside a loop", b->label);
    kir_finish(k);
    KStep *s = kstep_add(m, to, KST_LAUNCH, k->loc);
    for (uint32_t p = 1; p < b->buf.n; p++) n_param += b->buf.p[p].i != 0;
    s->buf_arg = arena_array(m->arena, KBuf, n_param);
    for (uint32_t p = 1; p < b->buf.n; p++)
        if (b->buf.p[p].i) s->buf_arg[s->n_buf_arg++] = b->buf.p[p];
    str_init(&text, m->arena);
    kir_print_canonical(&text, m, k);
    h = hash_bytes(str_get(&text), text.n, 0);
    map_get(&m->cache->kernel, h, &at);
    for (uint32_t i = (uint32_t)at; i; i = m->cache->text.p[i].next) {
        struct KCacheText *t = &m->cache->text.p[i];
        if (t->n != text.n || memcmp(t->text, text.p, text.n)) continue;
        return s->kernel = t->kernel;
    }
    k->name = kernel_name(m, b->label);
    vec_push(m->arena, &m->kernel, k);
    if (!m->cache->text.n) vec_push(m->arena, &m->cache->text, (struct KCacheText){.n = 0});
    vec_push(m->arena, &m->cache->text, (struct KCacheText){str_get(&text), text.n, k, (uint32_t)at});
    map_put(&m->cache->kernel, h, m->cache->text.n - 1);
    return s->kernel = k;
}
