/* plan_inplace: may a launch write its result over an operand? Proven on the kernel, whatever made it:
 *   store %y[%i, %j] = add(load %x[%i, %j], ...)      every load of %x stands before the store that may overwrite its
 *                                                     element, in the same iteration of every loop around both
 * For each load L of the operand and each store S to the result, whose addresses are sums of terms (index, stride):
 *   1. L runs before S in the innermost block that holds both (never in different parts of one macc);
 *   2. the terms that L and S share tell iterations of all loops around both apart: then no other iteration's store
 *      meets L's element, and this iteration's comes later. Iterations of par loops write disjoint elements by the
 *      rules of the IR, so when all terms are the same and whoever loads also stores, only the other loops have to be told
 *      apart. When some terms differ (rows that are summed up first, then rewritten), operand and result must have the
 *      same dims and strides.
 * A term tells the iterations of a loop apart when it is affine in the loop's variable with a coefficient that is not
 * 0, and the rest of it does not change with that loop or loops further inside; the loops are taken from outside in.
 * Terms of x div d and x rem d are as good as x.
 * Neither matters where L and S never meet, whatever iterations they are in: along some axis one index is a multiple of
 * a number more than the other is (2*%t and 2*%u + 1, the pixels of tiles).
 * The result must not be read by the kernel, nor may the operand be a side of a macc. */
#include "base/bug.h"
#include "passes/kernel/kpasses.h"

#define CHAIN_MAX 32

/* The instruction of block `b` that holds `i`; none when it is not inside. */
static KInst ancestor_in(const Kernel *k, KInst i, KBlock b)
{
    while (i.i && kinst(k, i)->block.i != b.i) i = kblock(k, kinst(k, i)->block)->owner;
    return i;
}

static bool precedes(const Kernel *k, KInst a, KInst b)
{
    for (KInst i = kinst(k, a)->next; i.i; i = kinst(k, i)->next)
        if (i.i == b.i) return true;
    return false;
}

/* A loop around both accesses: its variables (two in the epilogue of a macc), and all that changes from round to round,
 * carries included. */
typedef struct Around {
    KVal v[2];
    int n;
    KVal param;
    uint32_t n_param;
    bool par;
} Around;

/* Loops around the innermost block that holds both, from outside in; false: L does not run before S, or too deep. */
static bool common_loops(const Kernel *k, KInst load, KInst store, Around *loop, int *n)
{
    KBlock b = kinst(k, store)->block;
    KInst at = load;
    while (!(at = ancestor_in(k, load, b)).i) {
        KInst owner = kblock(k, b)->owner;
        assert(owner.i && "the top block holds both");
        b = kinst(k, owner)->block;
    }
    KInst to = ancestor_in(k, store, b);
    if (at.i == to.i || !precedes(k, at, to)) return false;
    *n = 0;
    for (KInst o; (o = kblock(k, b)->owner).i; b = kinst(k, o)->block) {
        const KInstRec *r = kinst(k, o);
        const KBlockRec *body = kblock(k, b);
        Around a = {.param = {body->param}, .n_param = body->n_param, .par = r->op == KOP_FOR && r->loop == KLOOP_PAR};
        if (*n == CHAIN_MAX) return false;
        if (r->op == KOP_FOR) a.v[a.n++] = (KVal){body->param};
        else { /* the epilogue's (acc..., i, j); both accesses stand in it */
            if (b.i != r->macc->epi.i) return false;
            a.v[a.n++] = (KVal){body->param + r->macc->sums};
            a.v[a.n++] = (KVal){body->param + r->macc->sums + 1};
        }
        loop[(*n)++] = a;
    }
    for (int i = 0; i < *n / 2; i++) {
        Around t = loop[i];
        loop[i] = loop[*n - 1 - i];
        loop[*n - 1 - i] = t;
    }
    return true;
}

static const KInstRec *made_by(const Kernel *k, KVal v)
{
    return kval(k, v)->def.i ? kinst(k, kval(k, v)->def) : NULL;
}

/* What v = c*w + c' is made of, c not 0: equal v, equal w. */
static KVal scaled(const Kernel *k, const Dims *d, KVal v)
{
    for (const KInstRec *r; (r = made_by(k, v)) && (r->op == KOP_MUL || r->op == KOP_ADD || r->op == KOP_SUB);) {
        int64_t c;
        uint32_t of = kx_const_i(k, d, karg(k, r, 1), &c) ? 0 : 1;
        if ((of && !kx_const_i(k, d, karg(k, r, 0), &c)) || (r->op == KOP_MUL && c == 0)) return v;
        v = karg(k, r, of);
    }
    return v;
}

static bool term_tells(const Kernel *k, const Dims *d, KVal term, const Around *loop, int n, int at, KVal v)
{
    int64_t coef;
    if (!kx_affine(k, d, term, v, &coef) || coef == 0) return false;
    for (int i = at; i < n; i++)
        for (uint32_t j = 0; j < loop[i].n_param; j++)
            if (loop[i].param.i + j != v.i && kx_depends(k, term, (KVal){loop[i].param.i + j})) return false;
    return true;
}

static bool tells_apart(const Kernel *k, const Dims *d, const KVal *term, int n_term, const Around *loop, int n, int at,
                        KVal v)
{
    for (int t = 0; t < n_term; t++)
        if (term_tells(k, d, term[t], loop, n, at, v)) return true;
    for (int t = 0; t < n_term; t++)
        for (int u = 0; u < n_term; u++) {
            KVal x;
            Dim by;
            if (kx_halves(k, d, scaled(k, d, term[t]), scaled(k, d, term[u]), &x, &by) && term_tells(k, d, x, loop, n, at, v))
                return true;
        }
    return false;
}

/* v modulo m, where that is the same in every iteration. */
static bool residue(const Kernel *k, const Dims *d, KVal v, int64_t m, int64_t *r)
{
    const KInstRec *i = made_by(k, v);
    int64_t a, b;
    if (kx_const_i(k, d, v, &a)) {
        *r = (a % m + m) % m;
        return true;
    }
    if (i && i->op == KOP_MUL) {
        bool right = kx_const_i(k, d, karg(k, i, 1), &b);
        if ((!right && !kx_const_i(k, d, karg(k, i, 0), &b)) || b % m) return false;
        *r = 0;
        return true;
    }
    if (!i || (i->op != KOP_ADD && i->op != KOP_SUB) || !residue(k, d, karg(k, i, 0), m, &a) ||
        !residue(k, d, karg(k, i, 1), m, &b))
        return false;
    *r = (i->op == KOP_ADD ? a + b : a - b + m) % m;
    return true;
}

static bool same_form(const KBufRec *a, const KBufRec *b)
{
    if (a->rank != b->rank || a->dense != b->dense) return false;
    for (int i = 0; i < a->rank; i++)
        if (!dim_same(a->dim[i], b->dim[i]) || (!a->dense && !dim_same(a->stride[i], b->stride[i]))) return false;
    return true;
}

#define MODULUS_MOST 8

static bool never_meet(const Kernel *k, const Dims *d, const KInstRec *l, const KInstRec *s)
{
    const KBufRec *p = &k->param.p[l->param];
    if (!same_form(p, &k->param.p[s->param])) return false;
    for (int t = 0; t < p->rank; t++)
        for (int64_t m = 2, a, b; m <= MODULUS_MOST; m++)
            if (residue(k, d, karg(k, l, (uint32_t)t), m, &a) && residue(k, d, karg(k, s, (uint32_t)t), m, &b) && a != b)
                return true;
    return false;
}

static bool pair_in_place(const Kernel *k, Dims *d, KInst load, KInst store)
{
    const KInstRec *l = kinst(k, load), *s = kinst(k, store);
    if (never_meet(k, d, l, s)) return true;
    KVal li[RANK_MAX], si[RANK_MAX], shared[RANK_MAX];
    Dim ls[RANK_MAX], ss[RANK_MAX];
    Around loop[CHAIN_MAX];
    int n, n_shared = 0, nl = kx_access_terms(k, d, l, li, ls), ns = kx_access_terms(k, d, s, si, ss);
    if (!common_loops(k, load, store, loop, &n)) return false;
    bool all = nl == ns;
    for (int t = 0; all && t < nl; t++) all = li[t].i == si[t].i && ls[t].i && dim_same(ls[t], ss[t]);
    for (int t = 0; all && t < nl; t++) shared[n_shared++] = li[t];
    if (!all) {
        if (!same_form(&k->param.p[l->param], &k->param.p[s->param])) return false;
        for (int t = 0; t < k->param.p[l->param].rank; t++)
            if (karg(k, l, (uint32_t)t).i == karg(k, s, (uint32_t)t).i) shared[n_shared++] = karg(k, l, (uint32_t)t);
    }
    bool both = all && l->block.i == s->block.i && s->n_arg == k->param.p[s->param].rank + 1u;
    for (int i = 0; i < n; i++) {
        if (both && loop[i].par) continue;
        for (int j = 0; j < loop[i].n; j++)
            if (!tells_apart(k, d, shared, n_shared, loop, n, i, loop[i].v[j])) return false;
    }
    return true;
}

bool kinplace_params(const Kernel *k, Dims *d, uint32_t in, uint32_t out)
{
    const KBufRec *a = &k->param.p[in], *b = &k->param.p[out];
    if (in == out || a->out || dtype_compute(a->elem) == DT_STR || dtype_info(a->elem)->bits < 8 ||
        dtype_info(a->elem)->bits != dtype_info(b->elem)->bits || kx_param_read(k, out))
        return false;
    for (uint32_t l = 1; l < k->inst.n; l++) {
        const KInstRec *r = &k->inst.p[l];
        if (!r->block.i) continue;
        if (r->op == KOP_MACC && (r->macc->a == in || r->macc->b == in)) return false;
        if (r->op != KOP_LOAD || r->param != in) continue;
        for (uint32_t s = 1; s < k->inst.n; s++) {
            const KInstRec *w = &k->inst.p[s];
            if (w->block.i && w->op == KOP_STORE && w->param == out && !pair_in_place(k, d, (KInst){l}, (KInst){s}))
                return false;
        }
    }
    return true;
}

static bool at_start(const KModule *m, KBuf b)
{
    const KBufRec *r = kbuf(m, b);
    return r->space != KS_VIEW || ((!r->offset.i || dim_is(m->dims, r->offset, 0)) && at_start(m, r->base));
}

bool kinplace_launch(const KModule *m, const KStep *s, KBuf in, KBuf out)
{
    const Kernel *k = s->kernel;
    uint32_t n = 0;
    assert(s->kind == KST_LAUNCH);
    for (uint32_t i = 1; i < k->param.n; i++) {
        if (k->param.p[i].space != KS_PARAM) continue;
        KBuf a = s->buf_arg[n++];
        if (kbuf_root(m, a).i != in.i && kbuf_root(m, a).i != out.i) continue;
        if (!at_start(m, a)) return false;
        if (kbuf_root(m, a).i != in.i) continue;
        for (uint32_t j = 1, o = 0; j < k->param.n; j++) {
            if (k->param.p[j].space != KS_PARAM) continue;
            if (kbuf_root(m, s->buf_arg[o++]).i == out.i && !kinplace_params(k, m->dims, i, j)) return false;
        }
    }
    return true;
}
