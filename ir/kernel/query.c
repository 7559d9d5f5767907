/* query.c: questions about values: is it affine in a loop variable, how far apart are neighbouring accesses, does it
 * depend on that. The answers come from walking the expression (add, sub, mul by a constant, neg and shl); what
 * cannot be seen through (loads, carries, other operations) is affine with coefficient 0 when it does not depend on
 * the variable, and not affine otherwise. Multiplication by a dim counts as a constant when the dim is one. */
#include "ir/kernel/kir.h"
#include "base/bug.h"
#include <math.h>

bool kx_const_i(const Kernel *k, const Dims *d, KVal v, int64_t *out)
{
    KInst def = kval(k, v)->def;
    if (!def.i) return false;
    const KInstRec *r = kinst(k, def);
    if (r->op == KOP_CONST && !dtype_is_float(r->type) && r->type != DT_STR) {
        *out = r->imm.i;
        return true;
    }
    return r->op == KOP_DIM && dim_is_const(d, r->imm.dim, out);
}

typedef struct Range {
    double lo, hi;
} Range;

/* Bounds of a float that is no NaN. Rounding is monotonic, so bounds that are rounded like the value still hold. */
static Range range_of(const Kernel *k, KVal v, int depth)
{
    Range all = {-INFINITY, INFINITY}, a, b, r = all;
    KInst def = kval(k, v)->def;
    if (!def.i || !depth || kval(k, v)->type != DT_F32) return all;
    const KInstRec *in = kinst(k, def);
    if (in->op == KOP_CONST) return isnan(in->imm.f) ? all : (Range){(float)in->imm.f, (float)in->imm.f};
    if (in->op == KOP_CAST) {
        DType from = kval(k, karg(k, in, 0))->type;
        int bits = dtype_info(from)->bits;
        if (in->imm.dtype != DT_F32 || !dtype_is_int(from) || bits > 16) return all;
        bool sign = dtype_is_signed(from);
        return (Range){sign ? -ldexp(1, bits - 1) : 0, ldexp(1, sign ? bits - 1 : bits) - 1};
    }
    if (in->op != KOP_MIN && in->op != KOP_MAX && in->op != KOP_SUB) return all;
    a = range_of(k, karg(k, in, 0), depth - 1);
    b = range_of(k, karg(k, in, 1), depth - 1);
    if (in->op == KOP_MIN) r = (Range){fmin(a.lo, b.lo), fmin(a.hi, b.hi)};
    if (in->op == KOP_MAX) r = (Range){fmax(a.lo, b.lo), fmax(a.hi, b.hi)};
    if (in->op == KOP_SUB && isfinite(a.hi - a.lo) && isfinite(b.hi - b.lo))
        r = (Range){(float)(a.lo - b.hi), (float)(a.hi - b.lo)};
    return r;
}

bool kx_within(const Kernel *k, KVal v, double lo, double hi)
{
    enum { DEPTH = 4 };
    Range r = range_of(k, v, DEPTH);
    return r.lo >= lo && r.hi <= hi;
}

bool kx_number(const Kernel *k, KVal v)
{
    enum { DEPTH = 4 };
    KInst def = kval(k, v)->def;
    if (!def.i || !dtype_is_float(kval(k, v)->type)) return false;
    const KInstRec *in = kinst(k, def);
    if (in->op == KOP_CONST) return !isnan(in->imm.f);
    if (in->op == KOP_CAST) return dtype_is_int(kval(k, karg(k, in, 0))->type);
    if (in->op != KOP_MIN && in->op != KOP_MAX && in->op != KOP_SUB) return false;
    Range r = range_of(k, v, DEPTH); /* of a difference: finite, so not one of infinities */
    return (in->op != KOP_SUB || isfinite(r.hi - r.lo)) && kx_number(k, karg(k, in, 0)) && kx_number(k, karg(k, in, 1));
}

bool kx_bounds(const Kernel *k, KVal v, int64_t *lo, int64_t *hi)
{
    enum { DEPTH = 4, MOST = 1 << 30 };
    int64_t by = 0;
    KInst def = kval(k, v)->def;
    const KInstRec *in = def.i ? kinst(k, def) : NULL;
    if (kval(k, v)->type != DT_I32 || !in) return false;
    if (in->op == KOP_CONST) {
        *lo = *hi = in->imm.i;
        return true;
    }
    if (in->op == KOP_ADD || in->op == KOP_SUB) { /* of one constant */
        if (!kx_const_i(k, NULL, karg(k, in, 1), &by) || by > MOST || by < -MOST) return false;
        if (in->op == KOP_SUB) by = -by;
        def = kval(k, karg(k, in, 0))->def;
        in = def.i ? kinst(k, def) : NULL;
        if (!in) return false;
    }
    if (in->op != KOP_CAST || in->imm.dtype != DT_I32) return false;
    DType from = kval(k, karg(k, in, 0))->type;
    Range r = range_of(k, karg(k, in, 0), DEPTH);
    if (dtype_is_int(from) && dtype_info(from)->bits <= 16) {
        int bits = dtype_info(from)->bits;
        bool sign = dtype_is_signed(from);
        r = (Range){sign ? -ldexp(1, bits - 1) : 0, ldexp(1, sign ? bits - 1 : bits) - 1};
    }
    if (!(r.lo >= -MOST && r.hi <= MOST)) return false;
    *lo = (int64_t)fmin(r.lo, 0) + by; /* NaN becomes 0 */
    *hi = (int64_t)fmax(r.hi, 0) + by;
    return true;
}

/* Is block `b` inside (or the same as) block `outer`? */
static bool block_inside(const Kernel *k, KBlock b, KBlock outer)
{
    for (;;) {
        KInst owner;
        if (b.i == outer.i) return true;
        owner = kblock(k, b)->owner;
        if (!owner.i) return false;
        b = kinst(k, owner)->block;
    }
}

/* Block where the value becomes known. */
static KBlock home(const Kernel *k, KVal v)
{
    const KValRec *r = kval(k, v);
    return r->def.i ? kinst(k, r->def)->block : r->block;
}

static bool block_depends(const Kernel *k, KBlock b, KBlock outer, KVal on);

bool kx_depends(const Kernel *k, KVal v, KVal on)
{
    const KValRec *r = kval(k, v);
    if (v.i == on.i) return true;
    if (!block_inside(k, home(k, v), home(k, on))) return false; /* known before `on` exists */
    if (!r->def.i) {
        /* a carry depends on its initial value, on the bounds and on what is yielded; a loop variable on the bounds */
        KInst owner = kblock(k, r->block)->owner;
        if (!owner.i || r->block.i == home(k, on).i)
            return false; /* a sibling parameter: carries of the same loop are not followed */
        const KInstRec *o = kinst(k, owner);
        bool variable = o->op == KOP_FOR && r->index == 0; /* of a loop: its bounds only */
        for (uint32_t n = 0; n < (variable ? 2 : o->n_arg); n++)
            if (kx_depends(k, karg(k, o, n), on)) return true;
        return o->op == KOP_FOR && !variable && block_depends(k, o->body, o->body, on);
    }
    const KInstRec *d = kinst(k, r->def);
    if (d->op == KOP_LOAD && k->param.p[d->param].out)
        return true; /* what is stored between iterations is not looked into */
    if (d->op == KOP_LOAD && k->param.p[d->param].space == KS_LOCAL) return true;
    for (uint32_t n = 0; n < d->n_arg; n++)
        if (kx_depends(k, karg(k, d, n), on)) return true;
    return d->op == KOP_FOR && block_depends(k, d->body, d->body, on);
}

/* Anything in the block mentions `on` itself, or what depends on it outside of `outer`, the block that was asked about:
 * what is made there is looked at anyway, and a carry of it that an inner loop mentions would ask about it again. */
static bool block_depends(const Kernel *k, KBlock b, KBlock outer, KVal on)
{
    for (KInst i = kblock(k, b)->first; i.i; i = kinst(k, i)->next) {
        const KInstRec *r = kinst(k, i);
        for (uint32_t n = 0; n < r->n_arg; n++) {
            KVal a = karg(k, r, n);
            if (a.i == on.i || (!block_inside(k, home(k, a), outer) && kx_depends(k, a, on))) return true;
        }
        if (r->op == KOP_FOR && block_depends(k, r->body, outer, on)) return true;
    }
    return false;
}

bool kx_affine(const Kernel *k, const Dims *dims, KVal v, KVal iv, int64_t *coef)
{
    const KValRec *r = kval(k, v);
    const KInstRec *d = r->def.i ? kinst(k, r->def) : NULL;
    int64_t a, b, c;
    *coef = 0;
    if (v.i == iv.i) {
        *coef = 1;
        return true;
    }
    switch (d ? d->op : KOP_NONE) {
    case KOP_CONST:
    case KOP_DIM: return true;
    case KOP_ADD:
    case KOP_SUB:
        if (!kx_affine(k, dims, karg(k, d, 0), iv, &a) || !kx_affine(k, dims, karg(k, d, 1), iv, &b)) return false;
        return d->op == KOP_ADD ? !__builtin_add_overflow(a, b, coef) : !__builtin_sub_overflow(a, b, coef);
    case KOP_MUL:
        if (!kx_affine(k, dims, karg(k, d, 0), iv, &a) || !kx_affine(k, dims, karg(k, d, 1), iv, &b)) return false;
        if (a == 0 && b == 0) return true;
        if (b == 0 && kx_const_i(k, dims, karg(k, d, 1), &c)) return !__builtin_mul_overflow(a, c, coef);
        if (a == 0 && kx_const_i(k, dims, karg(k, d, 0), &c)) return !__builtin_mul_overflow(b, c, coef);
        return false;
    case KOP_NEG:
        if (!kx_affine(k, dims, karg(k, d, 0), iv, &a)) return false;
        return !__builtin_sub_overflow((int64_t)0, a, coef);
    case KOP_SHL:
        if (!kx_affine(k, dims, karg(k, d, 0), iv, &a) || !kx_const_i(k, dims, karg(k, d, 1), &c) || c < 0 || c > 62)
            return !kx_depends(k, v, iv);
        return !__builtin_mul_overflow(a, (int64_t)1 << c, coef);
    default: return !kx_depends(k, v, iv);
    }
}

bool kx_halves(const Kernel *k, const Dims *dims, KVal q, KVal r, KVal *x, Dim *d)
{
    const KInstRec *a = kval(k, q)->def.i ? kinst(k, kval(k, q)->def) : NULL,
                   *b = kval(k, r)->def.i ? kinst(k, kval(k, r)->def) : NULL;
    if (!a || !b || !((a->op == KOP_DIV && b->op == KOP_REM) || (a->op == KOP_FLOORDIV && b->op == KOP_MOD)))
        return false;
    *x = karg(k, a, 0);
    KVal by = karg(k, a, 1), by2 = karg(k, b, 1);
    int64_t n, n2;
    if (x->i != karg(k, b, 0).i || !kval(k, by)->def.i || !kval(k, by2)->def.i) return false;
    if (kx_const_i(k, dims, by, &n)) {
        *d = dim_const((Dims *)(uintptr_t)dims, n);
        return n > 0 && kx_const_i(k, dims, by2, &n2) && n == n2;
    }
    const KInstRec *u = kinst(k, kval(k, by)->def), *v = kinst(k, kval(k, by2)->def);
    if (u->op != KOP_DIM || v->op != KOP_DIM || !dim_same(u->imm.dim, v->imm.dim)) return false;
    *d = u->imm.dim;
    return true;
}

int kx_access_terms(const Kernel *k, Dims *dims, const KInstRec *r, KVal *idx, Dim *stride)
{
    const KBufRec *p = &k->param.p[r->param];
    int n = p->rank;
    Dim step = dim_const(dims, 1), d;
    for (int i = n - 1; i >= 0; i--) {
        idx[i] = karg(k, r, (uint32_t)i);
        stride[i] = p->dense ? step : p->stride[i];
        if (p->dense && step.i) step = dim_mul(dims, step, p->dim[i]);
    }
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) {
            KVal x;
            if (i == j || !stride[j].i || !kx_halves(k, dims, idx[i], idx[j], &x, &d) ||
                !dim_same(stride[i], dim_mul(dims, d, stride[j])))
                continue;
            idx[j] = x;
            n--;
            for (int a = i; a < n; a++) idx[a] = idx[a + 1], stride[a] = stride[a + 1];
            i = -1; /* x may be a half itself */
            break;
        }
    return n;
}

bool kx_access_stride(const Kernel *k, Dims *dims, KInst access, KVal iv, int64_t *stride)
{
    const KInstRec *r = kinst(k, access);
    KVal idx[RANK_MAX];
    Dim st[RANK_MAX];
    int64_t coef, s, part, sum = 0;
    assert(r->op == KOP_LOAD || r->op == KOP_STORE);
    for (int i = kx_access_terms(k, dims, r, idx, st) - 1; i >= 0; i--) {
        if (!kx_affine(k, dims, idx[i], iv, &coef)) return false;
        if (coef == 0) continue;
        if (!st[i].i || !dim_is_const(dims, st[i], &s)) return false;
        if (__builtin_mul_overflow(coef, s, &part) || __builtin_add_overflow(sum, part, &sum)) return false;
    }
    *stride = sum;
    return true;
}

bool kx_param_read(const Kernel *k, uint32_t param)
{
    for (uint32_t i = 1; i < k->inst.n; i++) {
        const KInstRec *r = &k->inst.p[i];
        if (!r->block.i) continue;   /* taken out */
        if (r->op == KOP_LOAD && r->param == param) return true;
        if (r->op == KOP_MACC && (r->macc->a == param || r->macc->b == param)) return true;
    }
    return false;
}
