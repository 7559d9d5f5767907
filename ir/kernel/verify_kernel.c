/* verify_kernel.c: what is checked of a kernel:
 *   structure   lists of blocks are linked both ways, an instruction stands in the block it names, a yield is last
 *               and only where values are given
 *   values      defined once, before their use, in the same or an enclosing block
 *   types       of arguments and results as kop.def says; index lists have the buffer's rank and are i64; predicates
 *               are bool
 *   memory      only `out` parameters and locals are stored to
 *   for         bounds i64; as many carries as initial values, results and yielded values, of equal types; par and
 *               plain seq loops: see below
 *   par         at the top level (one) or directly in the body of another par loop; no carries; beside it the top
 *               level has no effect but on locals
 *   vec         holds no par or vec loop and no macc; bounds of seq loops in it do not depend on it; every carry has
 *               a combine with an identity for its type
 *   macc        parameters exist, arguments i64, blocks have the right parameters and yields, tile not empty, b_off
 *               does not depend on the row, its blocks hold no loop; only the epilogue stores
 * Not checked: that iterations of par and vec loops are independent, that indices are in range (the interpreter finds
 * both). */
#include "ir/kernel/verify.h"
#include "ir/kernel/eval_scalar.h"
#include <string.h>

typedef struct V {
    KVerify *v;
    const Kernel *k;
    bool *defined, *seen; /* by value; by instruction */
    bool failed;          /* structure is broken: stop */
    int stores_forbidden; /* >0: inside addr or init of a macc */
} V;

static bool err(V *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool err(V *c, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    char *text = arena_vprintf(c->v->arena, fmt, ap);
    va_end(ap);
    return kverify_error(c->v, c->k->loc, "kernel @%s: %s", name_str(c->v->m->names, c->k->name), text);
}

/* "store #12": instructions have no names of their own. */
static const char *who(V *c, KInst i)
{
    return arena_printf(c->v->arena, "%s #%u", kop_info(kinst(c->k, i)->op)->text, i.i);
}

static DType type_of(V *c, const KInstRec *r, uint32_t n) { return kval(c->k, karg(c->k, r, n))->type; }
static const char *type_name(V *c, const KInstRec *r, uint32_t n) { return dtype_name(type_of(c, r, n)); }

static bool want_type(V *c, KInst i, uint32_t n, DType t)
{
    const KInstRec *r = kinst(c->k, i);
    if (type_of(c, r, n) == t) return true;
    return err(c, "%s: argument %u is %s, expected %s", who(c, i), n, type_name(c, r, n), dtype_name(t));
}

static bool want_args(V *c, KInst i, uint32_t n)
{
    const KInstRec *r = kinst(c->k, i);
    return r->n_arg == n || err(c, "%s: %u arguments, expected %u", who(c, i), r->n_arg, n);
}

/* ---- scalars ---- */
static bool allowed(KOp op, DType t)
{
    bool f = dtype_is_float(t), b = t == DT_BOOL, s = t == DT_STR;
    switch (op) {
    case KOP_EQ:
    case KOP_NE: return true;
    case KOP_AND:
    case KOP_OR:
    case KOP_XOR:
    case KOP_NOT: return !f && !s;
    case KOP_SHL:
    case KOP_SHR: return !f && !b && !s;
    case KOP_FLOORDIV: return t == DT_I64;
    case KOP_SQRT: return f;
    case KOP_MIN:
    case KOP_MAX:
    case KOP_LT:
    case KOP_LE:
    case KOP_GT:
    case KOP_GE: return !s;
    default: return kop_info(op)->flags & KF_MATH ? f : !b && !s;
    }
}

static void check_pure(V *c, KInst i)
{
    const KInstRec *r = kinst(c->k, i);
    const KOpInfo *info = kop_info(r->op);
    DType t;
    if (r->n_res != 1) {
        err(c, "%s: %u results", who(c, i), r->n_res);
        return;
    }
    if (r->type == DT_NONE || r->type != dtype_compute(r->type)) {
        err(c, "%s: result of type %s", who(c, i), dtype_name(r->type));
        return;
    }
    if (!want_args(c, i, (uint32_t)info->n_args)) return;
    switch (r->op) {
    case KOP_CONST: return;
    case KOP_DIM:
        if (!r->imm.dim.i || r->type != DT_I64) err(c, "%s: no dim of type i64", who(c, i));
        return;
    case KOP_CAST:
        if (r->imm.dtype == DT_NONE || r->imm.dtype >= DT_COUNT || r->type != dtype_compute(r->imm.dtype) ||
            (r->type == DT_STR) != (type_of(c, r, 0) == DT_STR))
            err(c, "%s: %s to %s gives %s", who(c, i), type_name(c, r, 0), dtype_name(r->imm.dtype),
                dtype_name(r->type));
        return;
    case KOP_BITCAST:
        if (r->type != r->imm.dtype || dtype_info(r->type)->bits != dtype_info(type_of(c, r, 0))->bits)
            err(c, "%s: %s to %s", who(c, i), type_name(c, r, 0), dtype_name(r->type));
        return;
    case KOP_SELECT:
        want_type(c, i, 0, DT_BOOL);
        if (want_type(c, i, 1, r->type)) want_type(c, i, 2, r->type);
        return;
    default: break;
    }
    t = type_of(c, r, 0);
    for (uint32_t n = 1; n < r->n_arg; n++)
        if (!want_type(c, i, n, t)) return;
    if (!allowed(r->op, t)) {
        err(c, "%s of %s", who(c, i), dtype_name(t));
        return;
    }
    if (info->flags & KF_CMP || r->op == KOP_ISNAN || r->op == KOP_ISINF) t = DT_BOOL;
    if (r->type != t) err(c, "%s: gives %s, expected %s", who(c, i), dtype_name(r->type), dtype_name(t));
}

static void check_access(V *c, KInst i)
{
    const KInstRec *r = kinst(c->k, i);
    bool load = r->op == KOP_LOAD;
    if (!r->param || r->param >= c->k->param.n) {
        err(c, "%s: parameter %u does not exist", who(c, i), r->param);
        return;
    }
    const KBufRec *p = &c->k->param.p[r->param];
    const char *name = name_str(c->v->m->names, p->name);
    DType t = dtype_compute(p->elem);
    uint32_t rank = p->rank, n = r->n_arg;
    if (load ? n != rank && n != rank + 2 : n != rank + 1 && n != rank + 2) {
        err(c, "%s: %u arguments for %%%s of rank %u", who(c, i), n, name, rank);
        return;
    }
    for (uint32_t a = 0; a < rank; a++)
        if (!want_type(c, i, a, DT_I64)) return;
    if (load) {
        if (n == rank + 2 && want_type(c, i, rank, DT_BOOL)) want_type(c, i, rank + 1, t);
        if (r->n_res != 1 || r->type != t)
            err(c, "%s: gives %s, %%%s holds %s", who(c, i), dtype_name(r->type), name, dtype_name(p->elem));
        return;
    }
    want_type(c, i, rank, t);
    if (n == rank + 2) want_type(c, i, rank + 1, DT_BOOL);
    if (p->space == KS_PARAM && !p->out) err(c, "%s: %%%s is not out", who(c, i), name);
    if (c->stores_forbidden) err(c, "%s: inside addr or init of a macc", who(c, i));
}

/* ---- regions ---- */
static void check_block(V *c, KBlock b);

/* The yield of `b` gives exactly those types; none expected: no yield. */
static void check_yield(V *c, KInst owner, KBlock b, uint32_t n, const DType *t)
{
    KInst y = kblock(c->k, b)->last;
    bool have = y.i && kinst(c->k, y)->op == KOP_YIELD;
    if (c->failed) return;
    if (have != (n > 0)) {
        err(c, "%s: a block %s a yield", who(c, owner), have ? "has" : "lacks");
        return;
    }
    if (!have || !want_args(c, y, n)) return;
    for (uint32_t a = 0; a < n; a++) want_type(c, y, a, t[a]);
}

static bool block_params(V *c, KInst i, KBlock b, uint32_t n, const DType *t)
{
    if (!b.i || b.i >= c->k->block.n) return err(c, "%s: block %u does not exist", who(c, i), b.i);
    const KBlockRec *r = kblock(c->k, b);
    if (r->owner.i != i.i || r->n_param != n || r->param + n > c->k->val.n)
        return err(c, "%s: its block has the wrong owner or parameters", who(c, i));
    for (uint32_t a = 0; a < n; a++)
        if (kval(c->k, (KVal){r->param + a})->type != t[a])
            return err(c, "%s: parameter %u of its block is not %s", who(c, i), a, dtype_name(t[a]));
    return true;
}

static bool in_par_place(V *c, const KInstRec *r)
{
    KInst owner = kblock(c->k, r->block)->owner;
    return !owner.i || (kinst(c->k, owner)->op == KOP_FOR && kinst(c->k, owner)->loop == KLOOP_PAR);
}

/* What runs in the lanes of vec loop `v`. */
static void check_lanes(V *c, KInst v, KBlock b, KVal iv)
{
    for (KInst i = kblock(c->k, b)->first; i.i; i = kinst(c->k, i)->next) {
        const KInstRec *r = kinst(c->k, i);
        if (!(kop_info(r->op)->flags & KF_REGION)) continue;
        if (r->op != KOP_FOR || r->loop != KLOOP_SEQ) {
            err(c, "%s: a vec loop holds %s", who(c, v), who(c, i));
            continue;
        }
        for (uint32_t n = 0; n < 2; n++)
            if (kx_depends(c->k, karg(c->k, r, n), iv))
                err(c, "%s: bounds of %s in it depend on its variable", who(c, v), who(c, i));
        check_lanes(c, v, r->body, iv);
    }
}

static void check_for(V *c, KInst i)
{
    const KInstRec *r = kinst(c->k, i);
    DType t[1 + 16];
    uint32_t n = r->n_arg - 2;
    if (r->n_arg < 2 || n > 16) {
        err(c, "%s: %u arguments", who(c, i), r->n_arg);
        return;
    }
    want_type(c, i, 0, DT_I64);
    want_type(c, i, 1, DT_I64);
    t[0] = DT_I64;
    for (uint32_t a = 0; a < n; a++) t[1 + a] = type_of(c, r, 2 + a);
    if (r->n_res != n) {
        err(c, "%s: %u carries, %u results", who(c, i), n, r->n_res);
        return;
    }
    for (uint32_t a = 0; a < n; a++)
        if (kval(c->k, (KVal){r->res + a})->type != t[1 + a])
            err(c, "%s: result %u is not %s", who(c, i), a, dtype_name(t[1 + a]));
    if (!block_params(c, i, r->body, 1 + n, t)) {
        c->failed = true;
        return;
    }
    if (r->loop == KLOOP_PAR && n) err(c, "%s: a par loop has no carries", who(c, i));
    if (r->loop == KLOOP_PAR && !in_par_place(c, r))
        err(c, "%s: a par loop stands at the top or directly in a par loop", who(c, i));
    for (uint32_t a = 0; a < n; a++) {
        KScalar id;
        if (r->combine[a] ? !kscalar_identity(r->combine[a], t[1 + a], &id) : r->loop == KLOOP_VEC)
            err(c, "%s: carry %u of type %s cannot be split (combine %s)", who(c, i), a, dtype_name(t[1 + a]),
                kop_info(r->combine[a])->text);
    }
    check_block(c, r->body);
    check_yield(c, i, r->body, n, t + 1);
    if (r->loop == KLOOP_VEC && !c->failed) check_lanes(c, i, r->body, (KVal){kblock(c->k, r->body)->param});
}

static void check_part(V *c, KInst i, KBlock b, uint32_t n_par, const DType *par, uint32_t n_y, const DType *y)
{
    if (!block_params(c, i, b, n_par, par)) {
        c->failed = true;
        return;
    }
    for (KInst x = kblock(c->k, b)->first; x.i; x = kinst(c->k, x)->next)
        if (kop_info(kinst(c->k, x)->op)->flags & KF_REGION) err(c, "%s: its block holds %s", who(c, i), who(c, x));
    check_block(c, b);
    check_yield(c, i, b, n_y, y);
}

static void check_macc(V *c, KInst i)
{
    const KInstRec *r = kinst(c->k, i);
    const KMacc *x = r->macc;
    if (!x) {
        err(c, "%s: no description", who(c, i));
        c->failed = true;
        return;
    }
    if (!want_args(c, i, KM_ARGS)) return;
    for (uint32_t n = 0; n < KM_ARGS; n++) want_type(c, i, n, DT_I64);
    if (!x->a || x->a >= c->k->param.n || !x->b || x->b >= c->k->param.n) {
        err(c, "%s: its operands do not exist", who(c, i));
        return;
    }
    DType a = dtype_compute(c->k->param.p[x->a].elem), b = dtype_compute(c->k->param.p[x->b].elem);
    bool f = dtype_is_float(x->acc);
    if (x->acc != dtype_compute(x->acc) || (!f && !dtype_is_int(x->acc)) || f != dtype_is_float(a) ||
        f != dtype_is_float(b) || a == DT_STR || b == DT_STR)
        err(c, "%s: %s times %s into %s", who(c, i), dtype_name(a), dtype_name(b), dtype_name(x->acc));
    if (!x->mr || !x->nv) err(c, "%s: empty tile", who(c, i));
    if (x->b_pairs && (!x->b_packed || x->acc != DT_F32 || c->k->param.p[x->b].elem != DT_BF16))
        err(c, "%s: pairs are packed bf16 and give f32", who(c, i));
    DType ea = c->k->param.p[x->a].elem, eb = c->k->param.p[x->b].elem;
    if (x->quads && (!x->b_packed || x->b_pairs || x->acc != DT_I32 || x->sums != 1 || (ea != DT_U8 && ea != DT_I8) || (eb != DT_I8 && eb != DT_I32)))
        err(c, "%s: quads are bytes, packed in B, and give one i32", who(c, i));
    if (x->sums < 1 || x->sums > KM_SUMS_MAX) {
        err(c, "%s: %u sums", who(c, i), x->sums);
        c->failed = true;
        return;
    }
    DType sum[KM_SUMS_MAX + 2];
    for (int n = 0; n < x->sums; n++) sum[n] = x->acc;
    sum[x->sums] = sum[x->sums + 1] = DT_I64;
    c->stores_forbidden++;
    check_part(c, i, x->addr, 2, (DType[]){DT_I64, DT_I64}, 3, (DType[]){DT_I64, DT_BOOL, DT_I64});
    if (x->init.i) check_part(c, i, x->init, 2, (DType[]){DT_I64, DT_I64}, x->sums, sum);
    c->stores_forbidden--;
    check_part(c, i, x->epi, x->sums + 2u, sum, 0, NULL);
    KInst y = c->failed ? (KInst){0} : kblock(c->k, x->addr)->last;
    if (y.i && kinst(c->k, y)->n_arg == 3 &&
        kx_depends(c->k, karg(c->k, kinst(c->k, y), 2), (KVal){kblock(c->k, x->addr)->param + 1}))
        err(c, "%s: b_off depends on the row", who(c, i));
    if (x->quads && ea == DT_I8 && y.i && kinst(c->k, y)->n_arg == 3) {
        KInst pred = kval(c->k, karg(c->k, kinst(c->k, y), 1))->def;
        if (!pred.i || kinst(c->k, pred)->op != KOP_CONST || !kinst(c->k, pred)->imm.i)
            err(c, "%s: rows of i8 quads are always there", who(c, i));
    }
}

/* ---- blocks ---- */
static bool writes_params(V *c, const KInstRec *r)
{
    if (r->op == KOP_STORE) return c->k->param.p[r->param].space == KS_PARAM;
    if (r->op == KOP_FOR)
        for (KInst i = kblock(c->k, r->body)->first; i.i; i = kinst(c->k, i)->next)
            if (writes_params(c, kinst(c->k, i))) return true;
    return r->op == KOP_MACC || r->op == KOP_RECORD;
}

static void check_top(V *c)
{
    uint32_t n_par = 0;
    for (KInst i = kblock(c->k, c->k->top)->first; i.i; i = kinst(c->k, i)->next)
        n_par += kinst(c->k, i)->op == KOP_FOR && kinst(c->k, i)->loop == KLOOP_PAR;
    if (n_par > 1) err(c, "%u par loops at the top, one is allowed", n_par);
    if ((n_par > 0) != c->k->parallel) err(c, "its parallel flag is wrong");
    for (KInst i = kblock(c->k, c->k->top)->first; i.i && n_par; i = kinst(c->k, i)->next) {
        const KInstRec *r = kinst(c->k, i);
        if ((r->op != KOP_FOR || r->loop != KLOOP_PAR) && writes_params(c, r))
            err(c, "%s beside a par loop is run by every thread", who(c, i));
    }
}

static void check_block(V *c, KBlock b)
{
    const KBlockRec *r = kblock(c->k, b);
    KInst prev = {0};
    for (uint32_t n = 0; n < r->n_param; n++) c->defined[r->param + n] = true;
    for (KInst i = r->first; i.i; prev = i, i = kinst(c->k, i)->next) {
        if (i.i >= c->k->inst.n || c->seen[i.i] || kinst(c->k, i)->block.i != b.i || kinst(c->k, i)->prev.i != prev.i) {
            err(c, "block %u: the list is broken at instruction %u", b.i, i.i);
            c->failed = true;
            return;
        }
        const KInstRec *x = kinst(c->k, i);
        const KOpInfo *info = kop_info(x->op < KOP_COUNT ? x->op : KOP_NONE);
        c->seen[i.i] = true;
        for (uint32_t n = 0; n < x->n_arg; n++) {
            KVal v = karg(c->k, x, n);
            if (v.i && v.i < c->k->val.n && c->defined[v.i]) continue;
            err(c, "%s: argument %u is not defined here", who(c, i), n);
            c->failed = true;
            return;
        }
        if (info->flags & KF_PURE) check_pure(c, i);
        else if (x->op == KOP_LOAD || x->op == KOP_STORE) check_access(c, i);
        else if (x->op == KOP_FOR) check_for(c, i);
        else if (x->op == KOP_MACC) check_macc(c, i);
        else if (x->op == KOP_RECORD) {
            if (want_args(c, i, 3) && want_type(c, i, 0, DT_BOOL) && want_type(c, i, 1, DT_I64)) want_type(c, i, 2, DT_I64);
            if (x->imm.i <= 0 || x->imm.i >= (int64_t)c->v->m->message.n)
                err(c, "%s: message %lld does not exist", who(c, i), (long long)x->imm.i);
            if (c->stores_forbidden) err(c, "%s: inside addr or init of a macc", who(c, i));
        } else if (x->op == KOP_YIELD) {
            if (x->next.i || !r->owner.i) err(c, "%s: a yield ends a block that gives values", who(c, i));
        } else err(c, "instruction %u has no operation", i.i);
        if (c->failed) return;
        for (uint32_t n = 0; n < x->n_res; n++) {
            if (x->res + n >= c->k->val.n || c->defined[x->res + n] || kval(c->k, (KVal){x->res + n})->def.i != i.i) {
                err(c, "%s: result %u is not its own", who(c, i), n);
                c->failed = true;
                return;
            }
            c->defined[x->res + n] = true;
        }
    }
    if (r->last.i != prev.i) {
        err(c, "block %u: the list has the wrong end", b.i);
        c->failed = true;
        return;
    }
    for (KInst i = r->first; i.i; i = kinst(c->k, i)->next)
        for (uint32_t n = 0; n < kinst(c->k, i)->n_res; n++) c->defined[kinst(c->k, i)->res + n] = false;
    for (uint32_t n = 0; n < r->n_param; n++) c->defined[r->param + n] = false;
}

void kverify_kernel(KVerify *v, const Kernel *k)
{
    V c = {.v = v, .k = k};
    c.defined = arena_array(v->arena, bool, k->val.n);
    c.seen = arena_array(v->arena, bool, k->inst.n);
    if (!k->top.i || k->top.i >= k->block.n) {
        err(&c, "it has no body");
        return;
    }
    for (uint32_t p = 1; p < k->param.n; p++) {
        const KBufRec *r = &k->param.p[p];
        if (r->space != KS_PARAM && r->space != KS_LOCAL) err(&c, "parameter %u is of the wrong kind", p);
        if (!kverify_shape(v, k->loc, name_str(v->m->names, r->name), r)) return;
        if (r->space == KS_LOCAL && !r->dense) err(&c, "local %s has strides", name_str(v->m->names, r->name));
    }
    check_block(&c, k->top);
    if (!c.failed) check_top(&c);
}
