/* turn.c: blocks that transpose. A SEQ loop of 16 rounds around a VEC loop of 16 lanes, straight code inside, with loads
 * whose neighbours lie side by side along the SEQ loop and a constant distance apart along the lanes:
 *   for %i = 0..16 seq { for %j = 0..16 vec { store %y[16*p+%i, 16*q+%j] = load %x[16*q+%j, 16*p+%i] } }
 * Instead of 16 gathers, 16 whole vectors are loaded and turned round in registers: four times, vector v and v+8 give
 * their lower and their upper halves interleaved as vectors 2v and 2v+1. Where a vector of 16 elements is one register.
 * With mask registers 8 to 15 lanes will do, rows that are not loaded and lanes that are not stored, and as many rounds,
 * lanes that are not loaded. The schedule makes such blocks of par loops only (schedule_lanes.c), so loads may come
 * before stores. */
#include "codegen/cg.h"

enum { TURNED_MAX = 2, /* loads: 16 registers each */ BODY_MAX = 48 };

typedef struct Turn {
    CgFn *f;
    KInst outer, inner;
    KInst load[TURNED_MAX];
    int64_t apart[TURNED_MAX];
    unsigned n, lanes, rounds;
} Turn;

/* Rounds of a loop from 0 on without carries, 0: others. */
static int64_t rounds(const CgFn *f, const KInstRec *r)
{
    int64_t lo, hi;
    bool known = r->n_arg == 2 && kx_const_i(f->k, f->g->m->dims, karg(f->k, r, 0), &lo) &&
                 kx_const_i(f->k, f->g->m->dims, karg(f->k, r, 1), &hi);
    return known && lo == 0 ? hi : 0;
}

/* Lanes, rounds: all, or as many as are worth it where those that are missing cost nothing. */
static bool enough(const CgFn *f, int64_t n) { return n == LANES || (f->g->isa.avx512 && n >= LANES / 2 && n < LANES); }

static KVal variable(const CgFn *f, KInst loop) { return (KVal){kblock(f->k, kinst(f->k, loop)->body)->param}; }

/* The load is one to turn; *bad: its lanes are apart, but it cannot be. */
static bool turned(const Turn *t, KInst i, int64_t *apart, bool *bad)
{
    const CgFn *f = t->f;
    const KInstRec *r = kinst(f->k, i);
    const KBufRec *p = &f->k->param.p[r->param];
    Dims *d = f->g->m->dims;
    int64_t along;
    unsigned bits = p->elem == DT_BOOL ? 8 : dtype_info(p->elem)->bits;
    if (kx_access_stride(f->k, d, i, variable(f, t->inner), apart) && *apart >= 0 && *apart <= 1) return false;
    *bad = !kx_access_stride(f->k, d, i, variable(f, t->inner), apart) || *apart < t->rounds || r->n_arg != p->rank ||
           !kx_access_stride(f->k, d, i, variable(f, t->outer), &along) || along != 1 || p->space != KS_PARAM || p->out ||
           bits < 8 || bits * LANES > (unsigned)f->g->m->target.vec_bits;
    return !*bad;
}

static bool fits(Turn *t)
{
    const CgFn *f = t->f;
    const KInstRec *o = kinst(f->k, t->outer);
    unsigned count = 0;
    if (!f->g->opt->opt_level || f->vec || o->loop != KLOOP_SEQ || !enough(f, rounds(f, o))) return false;
    t->rounds = (unsigned)rounds(f, o);
    for (KInst i = kblock(f->k, o->body)->first; i.i; i = kinst(f->k, i)->next) {
        const KInstRec *r = kinst(f->k, i);
        if (r->op == KOP_FOR && !t->inner.i && r->loop == KLOOP_VEC && enough(f, rounds(f, r))) t->inner = i;
        else if (r->op != KOP_YIELD && !(kop_info(r->op)->flags & KF_PURE)) return false;
    }
    if (!t->inner.i) return false;
    t->lanes = (unsigned)rounds(f, kinst(f->k, t->inner));
    for (KInst i = kblock(f->k, kinst(f->k, t->inner)->body)->first; i.i; i = kinst(f->k, i)->next) {
        const KInstRec *r = kinst(f->k, i);
        bool bad = false;
        if (++count > BODY_MAX || kop_info(r->op)->flags & (KF_REGION | KF_MATH) || r->op == KOP_RECORD) return false;
        if (r->n_res && r->type == DT_STR) return false;
        if (r->op == KOP_LOAD && t->n < TURNED_MAX && turned(t, i, &t->apart[t->n], &bad)) t->load[t->n++] = i;
        if (bad) return false;
    }
    return t->n > 0;
}

/* The index values of a load, made of pure instructions of the two bodies, as scalars. */
static void emit_index(Turn *t, KVal v)
{
    CgFn *f = t->f;
    KInst def = kval(f->k, v)->def;
    if (!def.i || f->hoisted[def.i]) return;
    const KInstRec *r = kinst(f->k, def);
    if (r->block.i != kinst(f->k, t->outer)->body.i && r->block.i != kinst(f->k, t->inner)->body.i) return;
    for (uint32_t a = 0; a < r->n_arg; a++) emit_index(t, karg(f->k, r, a));
    nest_only(f, &def, 1);
}

static LV interleave(Cg *g, LV a, LV b, unsigned from)
{
    LV pick[LANES];
    for (unsigned i = 0; i < LANES; i++) pick[i] = cg_i32(g, from + i / 2 + (i % 2) * LANES);
    return LLVMBuildShuffleVector(g->b, a, b, LLVMConstVector(pick, LANES), "");
}

/* row[l], whose lanes go along the outer loop, becomes column[k], whose lanes go along the inner one. */
static void turn(Cg *g, LV *row)
{
    for (int round = 0; round < 4; round++) {
        LV next[LANES];
        for (unsigned v = 0; v < LANES / 2; v++) {
            next[2 * v] = interleave(g, row[v], row[v + LANES / 2], 0);
            next[2 * v + 1] = interleave(g, row[v], row[v + LANES / 2], LANES / 2);
        }
        for (unsigned v = 0; v < LANES; v++) row[v] = next[v];
    }
}

bool turn_emit(CgFn *f, KInst loop)
{
    Cg *g = f->g;
    Turn t = {.f = f, .outer = loop};
    LV column[TURNED_MAX][LANES];
    if (!fits(&t)) return false;
    KBlock body = kinst(f->k, loop)->body, lanes = kinst(f->k, t.inner)->body;
    nest_hoist(f, loop, body, false);
    f->val[variable(f, t.outer).i] = f->val[variable(f, t.inner).i] = cv_uni(cg_i64(g, 0));
    for (unsigned n = 0; n < t.n; n++) {
        const KInstRec *r = kinst(f->k, t.load[n]);
        for (uint32_t a = 0; a < r->n_arg; a++) emit_index(&t, karg(f->k, r, a));
        for (unsigned l = 0; l < LANES; l++)
            column[n][l] = l < t.lanes ? access_row(f, r, (int64_t)l * t.apart[n], t.rounds) : LLVMGetPoison(LLVMTypeOf(column[n][0]));
        turn(g, column[n]);
    }
    for (unsigned k = 0; k < t.rounds; k++) {
        f->val[variable(f, t.outer).i] = cv_uni(cg_i64(g, k));
        for (KInst i = kblock(f->k, body)->first; i.i; i = kinst(f->k, i)->next)
            if (i.i != t.inner.i && kinst(f->k, i)->op != KOP_YIELD) nest_only(f, &i, 1);
        f->vec = true;
        f->mask = t.lanes < LANES ? lanes_mask(f, cg_i64(g, t.lanes)) : NULL;
        f->val[variable(f, t.inner).i] = (Cv){.v = cg_i64(g, 0), .coef = 1, .kind = CV_LIN};
        for (unsigned n = 0; n < t.n; n++) {
            const KInstRec *r = kinst(f->k, t.load[n]);
            f->val[r->res] = (Cv){.v = scalar_from_mem(g, f->k->param.p[r->param].elem, column[n][k]), .kind = CV_VEC};
            f->hoisted[t.load[n].i] = loop.i;
        }
        nest_block(f, lanes, NULL, 0);
        for (unsigned n = 0; n < t.n; n++) f->hoisted[t.load[n].i] = 0;
        f->vec = false;
        f->mask = NULL;
    }
    return true;
}
