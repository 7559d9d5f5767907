/* turn.c: blocks that transpose. A SEQ loop of 16 rounds around a VEC loop of 16 lanes, straight code inside, with loads
 * whose neighbours lie side by side along the SEQ loop and a constant distance apart along the lanes:
 *   for %i = 0..16 seq { for %j = 0..16 vec { store %y[16*p+%i, 16*q+%j] = load %x[16*q+%j, 16*p+%i] } }
 * Instead of 16 gathers, whole vectors are loaded and turned round in registers, which hold 16 elements, 8 or 4 (`wide`):
 * so many rounds at once, the lanes of which are as many such squares side by side as 16 lanes take. A square of 8 whose
 * registers are two blocks of 128 bits (what most shuffles stay within):
 *   - inside the blocks: twice, of four rows, vector v and v+2 give the lower and the upper halves of their blocks
 *     interleaved as vectors 2v and 2v+1
 *   - between them: the upper block of row v and the lower one of row v+4 change places
 * 8 to 15 lanes will do, rows that are not loaded and lanes that are not stored, and as many rounds, lanes that are not
 * loaded. The schedule makes such blocks of par loops only (schedule_lanes.c), so loads may come before stores. */
#include "codegen/cg.h"

enum { TURNED_MAX = 2, /* loads: 16 registers each */ BODY_MAX = 48, WIDE_MIN = 4, BLOCK_BITS = 128 };

typedef struct Turn {
    CgFn *f;
    KInst outer, inner;
    KInst load[TURNED_MAX];
    int64_t apart[TURNED_MAX];
    unsigned wide[TURNED_MAX]; /* elements of a register, at most LANES */
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

/* Lanes, rounds: all, or as many as are worth it. */
static bool enough(int64_t n) { return n >= LANES / 2 && n <= LANES; }

static KVal variable(const CgFn *f, KInst loop) { return (KVal){kblock(f->k, kinst(f->k, loop)->body)->param}; }

/* The load is one to turn; *bad: its lanes are apart, but it cannot be. */
static bool turned(const Turn *t, KInst i, int64_t *apart, unsigned *wide, bool *bad)
{
    const CgFn *f = t->f;
    const KInstRec *r = kinst(f->k, i);
    const KBufRec *p = &f->k->param.p[r->param];
    Dims *d = f->g->m->dims;
    int64_t along;
    unsigned bits = p->elem == DT_BOOL ? 8 : dtype_info(p->elem)->bits;
    *wide = (unsigned)f->g->m->target.vec_bits / bits;
    if (*wide > LANES) *wide = LANES;
    if (t->lanes <= LANES / 2 && t->rounds <= LANES / 2 && *wide == LANES) *wide = LANES / 2;
    if (kx_access_stride(f->k, d, i, variable(f, t->inner), apart) && *apart >= 0 && *apart <= 1) return false;
    *bad = !kx_access_stride(f->k, d, i, variable(f, t->inner), apart) || *apart < t->rounds || r->n_arg != p->rank ||
           !kx_access_stride(f->k, d, i, variable(f, t->outer), &along) || along != 1 || p->space != KS_PARAM || p->out ||
           bits < 8 || *wide < WIDE_MIN;
    return !*bad;
}

static bool fits(Turn *t)
{
    const CgFn *f = t->f;
    const KInstRec *o = kinst(f->k, t->outer);
    unsigned count = 0;
    if (!f->g->opt->opt_level || f->vec || o->loop != KLOOP_SEQ || !enough(rounds(f, o))) return false;
    t->rounds = (unsigned)rounds(f, o);
    for (KInst i = kblock(f->k, o->body)->first; i.i; i = kinst(f->k, i)->next) {
        const KInstRec *r = kinst(f->k, i);
        if (r->op == KOP_FOR && !t->inner.i && r->loop == KLOOP_VEC && enough(rounds(f, r))) t->inner = i;
        else if (r->op != KOP_YIELD && !(kop_info(r->op)->flags & KF_PURE)) return false;
    }
    if (!t->inner.i) return false;
    t->lanes = (unsigned)rounds(f, kinst(f->k, t->inner));
    for (KInst i = kblock(f->k, kinst(f->k, t->inner)->body)->first; i.i; i = kinst(f->k, i)->next) {
        const KInstRec *r = kinst(f->k, i);
        bool bad = false;
        if (++count > BODY_MAX || kop_info(r->op)->flags & (KF_REGION | KF_MATH) || r->op == KOP_RECORD) return false;
        if (r->n_res && r->type == DT_STR) return false;
        if (r->op == KOP_LOAD && t->n < TURNED_MAX && turned(t, i, &t->apart[t->n], &t->wide[t->n], &bad)) t->load[t->n++] = i;
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

/* Lanes of a where at[i] < wide, of b behind them. */
static LV shuffle(Cg *g, LV a, LV b, const unsigned *at, unsigned wide)
{
    LV pick[LANES];
    for (unsigned i = 0; i < wide; i++) pick[i] = cg_i32(g, at[i]);
    return LLVMBuildShuffleVector(g->b, a, b, LLVMConstVector(pick, wide), "");
}

/* In each block of `in` lanes the lower or the upper halves, interleaved. */
static LV interleave(Cg *g, LV a, LV b, unsigned wide, unsigned in, bool upper)
{
    unsigned at[LANES];
    for (unsigned i = 0; i < wide; i++) at[i] = i / in * in + (upper ? in / 2 : 0) + i % in / 2 + (i % 2 ? wide : 0);
    return shuffle(g, a, b, at, wide);
}

/* A square: row[l], whose lanes go along the outer loop, becomes row[k], whose lanes go along the inner one. */
static void turn(Cg *g, LV *row, unsigned wide, unsigned in)
{
    LV next[LANES];
    for (unsigned size = in; size > 1; size /= 2) {
        for (unsigned v = 0; v < wide; v += 2) {
            unsigned from = v / in * in + v % in / 2;
            next[v] = interleave(g, row[from], row[from + in / 2], wide, in, false);
            next[v + 1] = interleave(g, row[from], row[from + in / 2], wide, in, true);
        }
        for (unsigned v = 0; v < wide; v++) row[v] = next[v];
    }
    for (unsigned apart = in; apart < wide; apart *= 2)
        for (unsigned v = 0; v < wide; v++) {
            if (v & apart) continue;
            unsigned lower[LANES], upper[LANES];
            for (unsigned i = 0; i < wide; i++) {
                lower[i] = i & apart ? wide + (i ^ apart) : i;
                upper[i] = i & apart ? wide + i : i ^ apart;
            }
            LV a = row[v], b = row[v + apart];
            row[v] = shuffle(g, a, b, lower, wide);
            row[v + apart] = shuffle(g, a, b, upper, wide);
        }
}

/* column[k] of all lanes for the rounds from `from` on, as many as load n has elements in a register. */
static void turn_part(Turn *t, unsigned n, unsigned from, LV *column)
{
    CgFn *f = t->f;
    Cg *g = f->g;
    const KInstRec *r = kinst(f->k, t->load[n]);
    unsigned wide = t->wide[n], left = t->rounds - from < wide ? t->rounds - from : wide;
    DType elem = f->k->param.p[r->param].elem;
    unsigned in = BLOCK_BITS / (elem == DT_BOOL ? 8 : dtype_info(elem)->bits);
    LV row[LANES], lane[LANES];
    if (in > wide) in = wide;
    f->val[variable(f, t->outer).i] = f->val[variable(f, t->inner).i] = cv_uni(cg_i64(g, 0));
    for (uint32_t a = 0; a < r->n_arg; a++) emit_index(t, karg(f->k, r, a));
    for (unsigned first = 0; first < LANES; first += wide) {
        LV *square = row + first;
        for (unsigned l = 0; l < wide; l++)
            square[l] = first + l < t->lanes ? access_row(f, r, (int64_t)(first + l) * t->apart[n] + from, left, wide)
                                             : LLVMGetPoison(LLVMTypeOf(row[0]));
        turn(g, square, wide, in);
    }
    for (unsigned k = 0; k < left; k++) {
        for (unsigned l = 0; l < LANES / wide; l++) lane[l] = row[l * wide + k];
        for (unsigned count = LANES / wide, size = wide; count > 1; count /= 2, size *= 2) {
            LV pick[LANES];
            for (unsigned i = 0; i < 2 * size; i++) pick[i] = cg_i32(g, i);
            for (unsigned l = 0; l < count / 2; l++)
                lane[l] = LLVMBuildShuffleVector(g->b, lane[2 * l], lane[2 * l + 1], LLVMConstVector(pick, 2 * size), "");
        }
        column[from + k] = lane[0];
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
    for (unsigned n = 0; n < t.n; n++) /* all before the first store, which may push out what is left of the rows' lines */
        for (unsigned from = 0; from < t.rounds; from += t.wide[n]) turn_part(&t, n, from, column[n]);
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
