/* weave.c: stores of neighbours. In a VEC loop, stores whose lanes lie `coef` elements apart and that fill one another's
 * gaps, as real and imaginary parts or the results of a butterfly do:
 *   store %y[4*%i] = %a   store %y[4*%i+1] = %b   store %y[4*%i+2] = %c   store %y[4*%i+3] = %d
 * Instead of scattering each, the vectors of 2, 4, 8 .. neighbours are turned round in registers, as in turn.c, and
 * stored whole, or as one piece for each lane where something lies between the pieces. Three neighbours with nothing
 * between them, as the colours of an image, are stored whole, too. */
#include "codegen/cg.h"

/* ---- stores ---- */
enum { GROUP_MAX = 64 };

/* A sum of products by constants, as far as it is one. */
enum { TERMS_MAX = 8 };
typedef struct Sum {
    unsigned n; /* TERMS_MAX + 1: too many */
    LV term[TERMS_MAX];
    int64_t by[TERMS_MAX], c;
} Sum;

typedef struct Store {
    KInst inst;
    Cv off;
    Sum sum;    /* off.v = all terms + c */
    int64_t c;
} Store;

static void sum_of(LV v, int64_t by, Sum *s)
{
    int64_t k;
    LLVMOpcode op = LLVMIsAInstruction(v) ? LLVMGetInstructionOpcode(v) : LLVMUnreachable;
    if (cg_const(v, &k)) {
        s->c = (int64_t)((uint64_t)s->c + (uint64_t)by * (uint64_t)k);
        return;
    }
    if (op == LLVMAdd) {
        sum_of(LLVMGetOperand(v, 0), by, s);
        sum_of(LLVMGetOperand(v, 1), by, s);
        return;
    }
    if ((op == LLVMMul || op == LLVMShl) && cg_const(LLVMGetOperand(v, 1), &k) && (op == LLVMMul || (k >= 0 && k < 63))) {
        uint64_t factor = op == LLVMMul ? (uint64_t)k : UINT64_C(1) << k;
        sum_of(LLVMGetOperand(v, 0), (int64_t)((uint64_t)by * factor), s);
        return;
    }
    for (unsigned i = 0; i < s->n && i < TERMS_MAX; i++)
        if (s->term[i] == v) {
            s->by[i] = (int64_t)((uint64_t)s->by[i] + (uint64_t)by);
            return;
        }
    if (s->n < TERMS_MAX) s->term[s->n] = v, s->by[s->n] = by;
    if (s->n <= TERMS_MAX) s->n++;
}

/* Do they differ by a constant? */
static bool apart(const Sum *x, const Sum *y)
{
    bool all = x->n == y->n && x->n <= TERMS_MAX;
    for (unsigned i = 0; all && i < x->n; i++) {
        unsigned j = 0;
        while (j < y->n && y->term[j] != x->term[i]) j++;
        all = j < y->n && y->by[j] == x->by[i];
    }
    return all;
}

/* The store and those behind it into the same buffer, with nothing but pure instructions between. */
static unsigned collect(CgFn *f, KInst i, Store *s)
{
    const Kernel *k = f->k;
    const KInstRec *first = kinst(k, i);
    const KBufRec *p = &k->param.p[first->param];
    unsigned n = 0, bits = dtype_info(p->elem)->bits;
    if (!access_whole(p->elem) || (bits != 32 && bits != 64)) return 0;
    for (; i.i && n < GROUP_MAX; i = kinst(k, i)->next) {
        const KInstRec *r = kinst(k, i);
        if (r->op == KOP_STORE && r->param == first->param && r->n_arg == p->rank + 1u) s[n++] = (Store){.inst = i};
        else if (!(kop_info(r->op)->flags & KF_PURE)) break;
    }
    return n;
}

/* Lanes under the mask when it is the mask of a tail whose length is known; -1: not known. */
static int64_t lanes_on(CgFn *f)
{
    unsigned n = 0;
    if (!f->mask) return f->g->lanes;
    if (!LLVMIsConstant(f->mask)) return -1;
    while (n < f->g->lanes && LLVMConstIntGetZExtValue(LLVMGetAggregateElement(f->mask, n))) n++;
    for (unsigned i = n; i < f->g->lanes; i++)
        if (LLVMConstIntGetZExtValue(LLVMGetAggregateElement(f->mask, i))) return -1;
    return n;
}

/* `n` elements of a and b, as if b lay behind a, in the order of pick. */
static LV shuffle(Cg *g, LV a, LV b, const unsigned *pick, unsigned n)
{
    LV at[LANES];
    for (unsigned i = 0; i < n; i++) at[i] = cg_i32(g, pick[i]);
    return LLVMBuildShuffleVector(g->b, a, b, LLVMConstVector(at, n), "");
}

/* v[j], j < w, with the lanes along i, become w vectors that hold element (i, j) at i * w + j. */
static void interleave(Cg *g, LV *v, unsigned w)
{
    unsigned n = g->lanes, low[LANES], high[LANES];
    for (unsigned i = 0; i < n; i++) low[i] = i / 2 + i % 2 * n, high[i] = low[i] + n / 2;
    for (unsigned done = 1; done < w; done *= 2) {
        LV next[LANES];
        for (unsigned j = 0; j < w / 2; j++) {
            next[2 * j] = shuffle(g, v[j], v[j + w / 2], low, n);
            next[2 * j + 1] = shuffle(g, v[j], v[j + w / 2], high, n);
        }
        for (unsigned j = 0; j < w; j++) v[j] = next[j];
    }
}

/* The same for three: two vectors are put together first, then the third goes in between. */
static void interleave_three(Cg *g, const LV *v, LV *to)
{
    unsigned n = g->lanes, two[LANES], all[LANES];
    for (unsigned part = 0; part < 3; part++) {
        for (unsigned e = 0; e < n; e++) {
            unsigned i = (part * n + e) / 3, j = (part * n + e) % 3;
            two[e] = j == 1 ? n + i : i;
            all[e] = j == 2 ? n + i : e;
        }
        to[part] = shuffle(g, shuffle(g, v[0], v[1], two, n), v[2], all, n);
    }
}

static LV element(Cg *g, DType t, LV base, LV off, int64_t further)
{
    LV at = LLVMBuildAdd(g->b, off, cg_i64(g, further), "");
    return LLVMBuildGEP2(g->b, cg_mem_type(g, t), base, &at, 1, "");
}

/* w stores that are neighbours, w a power of 2 or all three of three, `on` lanes of each. */
static void weave(CgFn *f, const Store *s, unsigned w, unsigned on)
{
    Cg *g = f->g;
    const KInstRec *r = kinst(f->k, s->inst);
    const KBufRec *p = &f->k->param.p[r->param];
    unsigned n = g->lanes, bytes = dtype_info(p->elem)->bits / 8;
    LV own[LANES], v[LANES], to = f->param[r->param];
    for (unsigned j = 0; j < w; j++)
        v[j] = own[j] = scalar_to_mem(g, p->elem, cv_vec(f, f->val[karg(f->k, kinst(f->k, s[j].inst), p->rank).i]));
    if (w == 3) interleave_three(g, own, v);
    else interleave(g, v, w);
    if (s->off.coef == w) {
        for (unsigned j = 0; j < w && j * n < on * w; j++) {
            unsigned here = on * w - j * n, all[LANES];
            for (unsigned e = 0; e < n; e++) all[e] = e;
            if (here < n) v[j] = shuffle(g, v[j], v[j], all, here);
            cg_store(g, v[j], element(g, p->elem, to, s->off.v, (int64_t)(j * n)), bytes);
        }
        return;
    }
    for (unsigned i = 0; i < on; i++) {
        unsigned pick[LANES], from = i * w % n;
        LV piece = v[i * w / n];
        for (unsigned e = 0; e < w; e++) pick[e] = from + e;
        if (w < n) piece = shuffle(g, piece, piece, pick, w);
        cg_store(g, piece, element(g, p->elem, to, s->off.v, (int64_t)i * s->off.coef), bytes);
    }
}

KInst weave_stores(CgFn *f, KInst first)
{
    Cg *g = f->g;
    Store s[GROUP_MAX];
    unsigned n = collect(f, first, s);
    int64_t on = n > 1 ? lanes_on(f) : -1;
    if (on < 0) {
        nest_only(f, &first, 1);
        return first;
    }
    KInst last = s[n - 1].inst;
    bool fits = true;
    for (KInst i = first; i.i != last.i; i = kinst(f->k, i)->next)
        if (kinst(f->k, i)->op != KOP_STORE) nest_only(f, &i, 1);
    for (unsigned j = 0; j < n; j++) {
        s[j].off = access_offset(f, kinst(f->k, s[j].inst));
        fits = fits && s[j].off.kind == CV_LIN && s[j].off.coef > 1 && s[j].off.coef == s[0].off.coef;
        if (fits) sum_of(s[j].off.v, 1, &s[j].sum);
        if (fits) s[j].c = s[j].sum.c;
        fits = fits && apart(&s[0].sum, &s[j].sum);
    }
    for (unsigned j = 0; fits && j < n; j++) /* stores that meet keep their order */
        for (unsigned i = 0; fits && i < j; i++) {
            int64_t far = s[j].c > s[i].c ? s[j].c - s[i].c : s[i].c - s[j].c;
            fits = far % s[0].off.coef || far >= s[0].off.coef * g->lanes;
        }
    for (unsigned j = 0; fits && j < n; j++) /* in the order of memory */
        for (unsigned i = j; i && s[i].c < s[i - 1].c; i--) {
            Store t = s[i];
            s[i] = s[i - 1], s[i - 1] = t;
        }
    for (unsigned j = 0, w; j < n; j += w) {
        unsigned run = 1;
        while (fits && j + run < n && s[j + run].c == s[j].c + run && run < s[0].off.coef) run++;
        for (w = 1; 2 * w <= run && 2 * w <= g->lanes;) w *= 2;
        if (run == 3 && s[0].off.coef == 3) w = 3;
        if (w > 1) weave(f, s + j, w, (unsigned)on);
        else access_store(f, kinst(f->k, s[j].inst));
    }
    return last;
}
