/* macc.c: hands a MACC node to the tile generator (tile.h): its three blocks become callbacks that emit them again
 * for every place of the tile. addr runs on scalars; init and epilogue run in lanes, where j is col + lane. */
#include "codegen/cg.h"
#include "codegen/tile.h"

typedef struct Macc {
    CgFn *f;
    const KMacc *m;
} Macc;

static KVal block_param(const CgFn *f, KBlock b, uint32_t n) { return (KVal){kblock(f->k, b)->param + n}; }

static void on_addr(void *arg, LV t, LV row, LV *a_off, LV *pred, LV *b_off)
{
    Macc *c = arg;
    CgFn *f = c->f;
    f->val[block_param(f, c->m->addr, 0).i] = cv_uni(t);
    f->val[block_param(f, c->m->addr, 1).i] = cv_uni(row);
    Cv out[3];
    nest_block(f, c->m->addr, out, 3);
    int64_t k;
    *a_off = out[0].v;
    *pred = cg_const(out[1].v, &k) && (k & 1) ? NULL : out[1].v;
    *b_off = out[2].v;
}

static LV in_lanes(Macc *c, KBlock block, LV acc, LV row, LV col, LV mask, bool want)
{
    CgFn *f = c->f;
    uint32_t p = 0;
    if (acc) f->val[block_param(f, block, p++).i] = (Cv){acc, 0, CV_VEC};
    f->val[block_param(f, block, p++).i] = cv_uni(row);
    f->val[block_param(f, block, p++).i] = (Cv){col, 1, CV_LIN};
    Cv out = {0};
    f->vec = true;
    f->mask = mask;
    nest_block(f, block, &out, want);
    LV v = want ? cv_vec(f, out) : NULL;
    f->vec = false;
    f->mask = NULL;
    return v;
}

static LV on_init(void *arg, LV row, LV col, LV mask)
{
    Macc *c = arg;
    return in_lanes(c, c->m->init, NULL, row, col, mask, true);
}

static void on_epilogue(void *arg, LV acc, LV row, LV col, LV mask)
{
    Macc *c = arg;
    in_lanes(c, c->m->epi, acc, row, col, mask, false);
}

static LV to_acc(Macc *c, DType from, LV v)
{
    KInstRec in = {.op = KOP_CAST, .type = c->m->acc, .imm.dtype = c->m->acc};
    DType have = dtype_compute(from);
    return have == c->m->acc ? v : scalar_op(c->f, &in, &v, have, false);
}

static LV on_load_scalar(void *arg, DType from, LV p)
{
    Macc *c = arg;
    return to_acc(c, from, access_read(c->f->g, from, p, false, NULL));
}

static LV on_load_vector(void *arg, DType from, LV p, LV mask)
{
    Macc *c = arg;
    return to_acc(c, from, access_read(c->f->g, from, p, true, mask));
}

/* Elements between neighbouring rows of A; 0: not constant. */
static int64_t row_distance(const CgFn *f, const KMacc *m)
{
    int64_t d;
    KInst y = kblock(f->k, m->addr)->last;
    return kx_affine(f->k, f->g->m->dims, karg(f->k, kinst(f->k, y), 0), block_param(f, m->addr, 1), &d) ? d : 0;
}

/* Is a block too long to be repeated for every vector of a tile? */
static bool is_heavy(const CgFn *f, KBlock b)
{
    enum { LONG = 24 };
    int n = 0;
    for (KInst i = kblock(f->k, b)->first; i.i; i = kinst(f->k, i)->next, n++)
        if (kop_info(kinst(f->k, i)->op)->flags & (KF_MATH | KF_REGION)) return true;
    return n > LONG;
}

void macc_emit(CgFn *f, KInst i)
{
    Cg *g = f->g;
    const KInstRec *in = kinst(f->k, i);
    const KMacc *m = in->macc;
    assert(!f->vec);
    Macc c = {f, m};
    LV arg[KM_ARGS];
    for (int a = 0; a < KM_ARGS; a++) arg[a] = f->val[karg(f->k, in, (uint32_t)a).i].v;
    KVal pred = {0};
    for (KInst j = kblock(f->k, m->addr)->first; j.i; j = kinst(f->k, j)->next)
        if (kinst(f->k, j)->op == KOP_YIELD) pred = karg(f->k, kinst(f->k, j), 1);
    nest_hoist(f, i, m->addr, false);
    if (m->init.i) nest_hoist(f, i, m->init, false);
    nest_hoist(f, i, m->epi, false);
    const KInstRec *def = kinst(f->k, kval(f->k, pred)->def);
    tile_emit(&(TileEmit){
        .cx = g->cx,
        .mod = g->mod,
        .b = g->b,
        .fn = f->fn,
        .target = &g->m->target,
        .a_type = f->k->param.p[m->a].elem,
        .b_type = f->k->param.p[m->b].elem,
        .acc = m->acc,
        .mr = m->mr,
        .nv = m->nv,
        .m_inner = m->m_inner,
        .b_packed = m->b_packed,
        .b_next = m->b_next,
        .a_row = row_distance(f, m),
        .heavy_epilogue = is_heavy(f, m->epi),
        .a_always = kval(f->k, pred)->def.i && def->op == KOP_CONST && def->imm.i,
        .rows = arg[KM_ROWS],
        .cols = arg[KM_COLS],
        .K = arg[KM_K],
        .T = arg[KM_T],
        .a_k = arg[KM_AK],
        .b_k = arg[KM_BK],
        .b_strip = arg[KM_BSTRIP],
        .a_base = f->param[m->a],
        .b_base = f->param[m->b],
        .arg = &c,
        .addr = on_addr,
        .init = m->init.i ? on_init : NULL,
        .epilogue = on_epilogue,
        .load_scalar = on_load_scalar,
        .load_vector = on_load_vector,
    });
}
