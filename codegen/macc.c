/* macc.c: hands a MACC node to the tile generator (tile.h): its three blocks become callbacks that emit them again
 * for every place of the tile. addr runs on scalars; init and epilogue run in lanes, where j is col + lane. */
#include "codegen/cg.h"
#include "codegen/tile.h"
#include "ir/kernel/contract.h"

enum { TOUCH_MAX = 4, ROWS_MAX = 32 };

typedef struct Macc {
    CgFn *f;
    const KMacc *m;
    /* what of addr does not depend on t, for each row of the tile: emitted in front of the loop over t (divisions by
     * extents that are not known would stay in it) */
    KInst *of_row;
    uint32_t n_of_row;
    LV row[ROWS_MAX];
    Cv *row_val; /* [row][n_of_row] */
    unsigned n_row;
    const KInstRec *touch[TOUCH_MAX]; /* loads of the epilogue that are worth fetching ahead */
} Macc;

static KVal block_param(const CgFn *f, KBlock b, uint32_t n) { return (KVal){kblock(f->k, b)->param + n}; }

static void find_of_row(Macc *c)
{
    const Kernel *k = c->f->k;
    KVal t = block_param(c->f, c->m->addr, 0);
    uint32_t n = 0;
    for (KInst i = kblock(k, c->m->addr)->first; i.i; i = kinst(k, i)->next) n++;
    c->of_row = arena_array(&c->f->g->arena, KInst, n);
    c->row_val = arena_array(&c->f->g->arena, Cv, n * ROWS_MAX);
    for (KInst i = kblock(k, c->m->addr)->first; i.i; i = kinst(k, i)->next) {
        const KInstRec *in = kinst(k, i);
        if (!(kop_info(in->op)->flags & KF_PURE) || c->f->hoisted[i.i] || kx_depends(k, (KVal){in->res}, t)) continue;
        c->of_row[c->n_of_row++] = i;
    }
}

/* Instructions marked as hoisted are not emitted. */
static void mark_of_row(Macc *c, bool hoisted)
{
    for (uint32_t n = 0; n < c->n_of_row; n++) c->f->hoisted[c->of_row[n].i] = hoisted;
}

static void on_rows(void *arg, const LV *row, unsigned n_row)
{
    Macc *c = arg;
    CgFn *f = c->f;
    assert(n_row <= ROWS_MAX);
    c->n_row = n_row;
    for (unsigned r = 0; r < n_row; r++) {
        f->val[block_param(f, c->m->addr, 1).i] = cv_uni(c->row[r] = row[r]);
        nest_only(f, c->of_row, c->n_of_row);
        for (uint32_t n = 0; n < c->n_of_row; n++)
            c->row_val[r * c->n_of_row + n] = f->val[kinst(f->k, c->of_row[n])->res];
    }
}

static void on_addr(void *arg, LV t, LV row, LV *a_off, LV *pred, LV *b_off)
{
    Macc *c = arg;
    CgFn *f = c->f;
    unsigned r = 0;
    while (r < c->n_row && c->row[r] != row) r++;
    bool known = r < c->n_row;
    for (uint32_t n = 0; known && n < c->n_of_row; n++)
        f->val[kinst(f->k, c->of_row[n])->res] = c->row_val[r * c->n_of_row + n];
    f->val[block_param(f, c->m->addr, 0).i] = cv_uni(t);
    f->val[block_param(f, c->m->addr, 1).i] = cv_uni(row);
    Cv out[3];
    mark_of_row(c, known);
    nest_block(f, c->m->addr, out, 3);
    mark_of_row(c, false);
    int64_t k;
    *a_off = out[0].v;
    *pred = cg_const(out[1].v, &k) && (k & 1) ? NULL : out[1].v;
    *b_off = out[2].v;
}

/* A block in lanes: with `acc` its first parameters are the sums; with `out` it yields them. */
static void in_lanes(Macc *c, KBlock block, const LV *acc, LV row, LV col, LV mask, LV *out)
{
    CgFn *f = c->f;
    uint32_t p = 0, n = c->m->sums;
    for (uint32_t i = 0; acc && i < n; i++) f->val[block_param(f, block, p++).i] = (Cv){.v = acc[i], .kind = CV_VEC};
    f->val[block_param(f, block, p++).i] = cv_uni(row);
    f->val[block_param(f, block, p++).i] = (Cv){.v = col, .coef = 1, .kind = CV_LIN};
    Cv sum[KM_SUMS_MAX] = {{0}};
    f->vec = true;
    f->mask = mask;
    nest_block(f, block, sum, out ? n : 0);
    for (uint32_t i = 0; out && i < n; i++) out[i] = cv_vec(f, sum[i]);
    f->vec = false;
    f->mask = NULL;
}

static void on_init(void *arg, LV row, LV col, LV mask, LV *acc)
{
    Macc *c = arg;
    in_lanes(c, c->m->init, NULL, row, col, mask, acc);
}

static void on_epilogue(void *arg, const LV *acc, LV row, LV col, LV mask)
{
    Macc *c = arg;
    in_lanes(c, c->m->epi, acc, row, col, mask, NULL);
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

/* ---- what the epilogue reads ---- */
/* Row and column, behind the sums. */
static KVal epi_row(const Macc *c) { return block_param(c->f, c->m->epi, c->m->sums); }
static KVal epi_col(const Macc *c) { return block_param(c->f, c->m->epi, c->m->sums + 1u); }

/* Can the index be computed in front of the tile, from row and column alone? */
static bool index_known(const Macc *c, KVal v)
{
    const Kernel *k = c->f->k;
    KInst def = kval(k, v)->def;
    if (!def.i) return kval(k, v)->block.i != c->m->epi.i || kval(k, v)->index >= c->m->sums;   /* a sum is not an index */
    const KInstRec *in = kinst(k, def);
    if (in->block.i != c->m->epi.i || c->f->hoisted[def.i]) return true;
    if (!(kop_info(in->op)->flags & KF_PURE)) return false;
    for (uint32_t n = 0; n < in->n_arg; n++)
        if (!index_known(c, karg(k, in, n))) return false;
    return true;
}

static LV index_value(Macc *c, KVal v, LV row, LV col)
{
    CgFn *f = c->f;
    if (v.i == epi_row(c).i) return row;
    if (v.i == epi_col(c).i) return col;
    KInst def = kval(f->k, v)->def;
    if (!def.i || kinst(f->k, def)->block.i != c->m->epi.i || f->hoisted[def.i]) return f->val[v.i].v;
    const KInstRec *in = kinst(f->k, def);
    LV arg[3] = {NULL};
    for (uint32_t n = 0; n < in->n_arg; n++) arg[n] = index_value(c, karg(f->k, in, n), row, col);
    return scalar_op(f, in, arg, in->n_arg ? kval(f->k, karg(f->k, in, 0))->type : in->type, false);
}

/* Loads with columns side by side and rows apart, from memory that does not stay in cache. */
static unsigned find_touched(Macc *c)
{
    const Kernel *k = c->f->k;
    Dims *d = c->f->g->m->dims;
    unsigned found = 0;
    for (KInst i = kblock(k, c->m->epi)->first; i.i && found < TOUCH_MAX; i = kinst(k, i)->next) {
        const KInstRec *in = kinst(k, i);
        if (in->op != KOP_LOAD) continue;
        const KBufRec *p = &k->param.p[in->param];
        int64_t by_row, by_col, bytes = dtype_info(p->elem)->bits / 8, count = 1;
        KVal idx[RANK_MAX];
        Dim stride[RANK_MAX];
        if (p->space == KS_LOCAL || dtype_compute(p->elem) == DT_STR || !bytes) continue;
        if (!kx_access_stride(k, d, i, epi_col(c), &by_col) || by_col != 1) continue;
        if (kx_access_stride(k, d, i, epi_row(c), &by_row) && by_row == 0) continue;
        bool known = true;
        for (int a = 0; a < p->rank && known; a++) {
            int64_t n;
            known = dim_is_const(d, p->dim[a], &n);
            if (known) count *= n;
        }
        if (known && count * bytes < c->f->g->m->target.l2_bytes / 4) continue;
        bool ok = true;
        for (int n = kx_access_terms(k, d, in, idx, stride); n-- > 0;) ok &= index_known(c, idx[n]);
        if (ok) c->touch[found++] = in;
    }
    return found;
}

static LV on_touch(void *arg, unsigned n, LV row, LV col, unsigned *elem_bytes)
{
    Macc *c = arg;
    CgFn *f = c->f;
    Cg *g = f->g;
    const KInstRec *in = c->touch[n];
    KVal idx[RANK_MAX];
    Dim stride[RANK_MAX];
    LV off = cg_i64(g, 0);
    for (int t = kx_access_terms(f->k, g->m->dims, in, idx, stride); t-- > 0;)
        off = LLVMBuildAdd(g->b, off,
                           LLVMBuildMul(g->b, index_value(c, idx[t], row, col), access_dim(f, stride[t]), ""), "");
    DType e = f->k->param.p[in->param].elem;
    *elem_bytes = dtype_info(e)->bits / 8;
    return LLVMBuildGEP2(g->b, cg_mem_type(g, e), f->param[in->param], &off, 1, "");
}

/* Elements between neighbouring rows of A; 0: not constant. */
static int64_t row_distance(const CgFn *f, const KMacc *m)
{
    int64_t d;
    KInst y = kblock(f->k, m->addr)->last;
    return kx_affine(f->k, f->g->m->dims, karg(f->k, kinst(f->k, y), 0), block_param(f, m->addr, 1), &d) ? d : 0;
}

/* B in panels (Contract.b_panel) that come from the cache behind L2: a kilobyte further on, where the target's keeps up with that. What each thread reads
 * may fit into its own L2; then what is asked for is there already. NULL: nothing. */
static LV panel_ahead(CgFn *f, const KInstRec *in, DType b_type)
{
    enum { AHEAD = 1024 /* bytes */ };
    Cg *g = f->g;
    int64_t side, row, all = g->data->bytes, near = (int64_t)g->m->target.l2_bytes * 3 / 2;
    bool panel = in->macc->b_packed && kx_const_i(f->k, g->m->dims, karg(f->k, in, KM_BSTRIP), &side) && side == K_LANES &&
                 kx_const_i(f->k, g->m->dims, karg(f->k, in, KM_BK), &row) && row > K_LANES;
    if (!panel || !g->opt->opt_level || all <= near || !contract_far_is_fast(&g->m->target)) return NULL;
    LV far = LLVMBuildICmp(g->b, LLVMIntSLT, LLVMBuildMul(g->b, LLVMBuildSExt(g->b, f->nt, g->i64, ""), cg_i64(g, near), ""), cg_i64(g, all), "");
    return LLVMBuildSelect(g->b, far, cg_i64(g, AHEAD / (dtype_info(b_type)->bits / 8)), cg_i64(g, 0), "");
}

/* What is left of n in blocks of a, min(a, n - a*x), has two values where there is something left: a and the rest. */
static void block_lengths(const CgFn *f, KVal v, int64_t length[2])
{
    const Kernel *k = f->k;
    const Dims *d = f->g->m->dims;
    const KInstRec *in = kval(k, v)->def.i ? kinst(k, kval(k, v)->def) : NULL;
    length[0] = length[1] = 0;
    for (uint32_t i = 0; in && in->op == KOP_MIN && i < 2; i++) {
        KVal left = karg(k, in, i);
        int64_t a, n, unit;
        if (!kval(k, left)->def.i || !kx_const_i(k, d, karg(k, in, 1 - i), &a) || a < 1) continue;
        const KInstRec *sub = kinst(k, kval(k, left)->def);
        if (sub->op != KOP_SUB || !kx_const_i(k, d, karg(k, sub, 0), &n) || n < a || !kval(k, karg(k, sub, 1))->def.i) continue;
        const KInstRec *mul = kinst(k, kval(k, karg(k, sub, 1))->def);
        for (uint32_t j = 0; mul->op == KOP_MUL && j < 2; j++)
            if (kx_const_i(k, d, karg(k, mul, j), &unit) && unit == a) length[0] = a, length[1] = n % a;
    }
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
    Macc c = {.f = f, .m = m};
    LV arg[KM_ARGS];
    for (int a = 0; a < KM_ARGS; a++) arg[a] = f->val[karg(f->k, in, (uint32_t)a).i].v;
    KVal pred = {0};
    for (KInst j = kblock(f->k, m->addr)->first; j.i; j = kinst(f->k, j)->next)
        if (kinst(f->k, j)->op == KOP_YIELD) pred = karg(f->k, kinst(f->k, j), 1);
    nest_hoist(f, i, m->addr, false);
    if (m->init.i) nest_hoist(f, i, m->init, false);
    nest_hoist(f, i, m->epi, false);
    find_of_row(&c);
    unsigned n_touch = find_touched(&c);
    const KInstRec *def = kinst(f->k, kval(f->k, pred)->def);
    TileEmit e = {
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
        .sums = m->sums,
        .m_inner = m->m_inner,
        .b_packed = m->b_packed,
        .b_pairs = m->b_pairs,
        .quads = m->quads,
        .b_next = m->b_next,
        .b_ahead = panel_ahead(f, in, f->k->param.p[m->b].elem),
        .a_row = row_distance(f, m),
        .a_near = f->k->param.p[m->a].space == KS_LOCAL,
        .heavy_epilogue = is_heavy(f, m->epi),
        .a_always = kval(f->k, pred)->def.i && def->op == KOP_CONST && def->imm.i,
        .rows = arg[KM_ROWS],
        .cols = arg[KM_COLS],
        .K = arg[KM_K],
        .T = arg[KM_T],
        .a_k = arg[KM_AK],
        .b_k = arg[KM_BK],
        .b_strip = arg[KM_BSTRIP],
        .b_sum = arg[KM_BSUM],
        .a_base = f->param[m->a],
        .b_base = f->param[m->b],
        .arg = &c,
        .addr = on_addr,
        .rows_of_tile = on_rows,
        .init = m->init.i ? on_init : NULL,
        .epilogue = on_epilogue,
        .n_touch = n_touch,
        .touch = on_touch,
        .load_scalar = on_load_scalar,
        .load_vector = on_load_vector,
    };
    block_lengths(f, karg(f->k, in, KM_ROWS), e.row_counts);
    block_lengths(f, karg(f->k, in, KM_COLS), e.col_counts);
    g->tiles |= tile_emit(&e);
}
