/* fetch.c: memory ahead of accesses that hardware does not see coming. Loads and stores under a mask and gathers do
 * not set off what fetches the next lines of a stream (measured on a Zen 5: 32 MB read under a full mask 2.4 ms, plain
 * 1.0, with a prefetch 2 KB ahead 0.8; written 2.6, 1.0 and 0.7; gathered from neighbouring lines 8.0, and 2.7), so a
 * loop all of whose vectors are such asks for them. Where some vectors of each row are plain, hardware does; in buffers
 * that L2 holds, nothing is gained.
 *
 * And rows that are swept several times (Softmax), where one of the sweeps computes for long: memory rests meanwhile, and
 * the processor afterwards, while results and the next rows are moved. That sweep asks for both.
 *
 * And tiles of several rows that are brought to scratch (the input of minimal filtering): short runs of rows far apart, and
 * as many stores between them and the next tile, so that few loads are under way at once. */
#include "codegen/cg.h"

enum {
    LINE = 64,
    AHEAD = 2048,   /* bytes; what memory delivers in the time it takes, about */
    LINES_MAX = 8,  /* of one access; with more, its lanes lie too far apart to be a stream */
    TILE_LOADS = 8, TILE_STORES = 4, /* of a vector of a tile, at least */
    TILE_AHEAD = 1024, /* bytes; so much of each of its rows */
    ROWS_MOST = 16384, /* bytes of the rows that go side by side: they and those behind them fit into the first cache */
    PAGE = 4096     /* so long at most is a row for lanes that lie anywhere in it to touch most of its lines */
};

static int64_t element_bytes(const KBufRec *p) { return p->elem == DT_BOOL ? 1 : dtype_info(p->elem)->bits / 8; }

/* Does the buffer reach over more than L2 holds, for all that is known? */
static bool large(CgFn *f, const KBufRec *p)
{
    int64_t sum = 1, lo, hi, by;
    for (uint32_t a = 0; a < p->rank; a++) {
        dim_bounds(f->g->m->dims, p->dim[a], &lo, &hi);
        if (lo < 1) lo = 1; /* of an empty buffer nothing is read */
        Dim stride = kbuf_stride(f->g->m, p, a);
        if (!stride.i || !dim_is_const(f->g->m->dims, stride, &by)) {
            dim_bounds(f->g->m->dims, stride, &by, &hi);
            if (by < 0) return false;
        }
        if (__builtin_mul_overflow(lo - 1, by < 0 ? -by : by, &by) || __builtin_add_overflow(sum, by, &sum)) return true;
    }
    return sum > f->g->m->target.l2_bytes / element_bytes(p);
}

/* Are two accesses of a buffer, for all that their indices say, in rows less than a page apart? */
static bool near(CgFn *f, const KInstRec *x, const KInstRec *y)
{
    const KBufRec *p = &f->k->param.p[x->param];
    for (uint32_t a = 0; a < p->rank; a++) {
        int64_t by;
        Dim stride = kbuf_stride(f->g->m, p, a);
        if (karg(f->k, x, a).i == karg(f->k, y, a).i) continue;
        if (!stride.i || !dim_is_const(f->g->m->dims, stride, &by) || by >= PAGE / element_bytes(p) || by <= -PAGE / element_bytes(p)) return false;
    }
    return true;
}

/* An access of the same rows stands before this one in its block: that one asks for the lines of both. */
static bool seconded(CgFn *f, const KInstRec *in)
{
    for (KInst i = in->prev; i.i; i = kinst(f->k, i)->prev) {
        const KInstRec *r = kinst(f->k, i);
        if (r->op == in->op && r->param == in->param && near(f, in, r)) return true;
    }
    return false;
}

typedef struct Stream {
    KInst lanes;    /* the VEC loop around the access */
    int64_t run;    /* bytes that an access takes up, from `first` on */
    int64_t first;
    int64_t ahead;  /* how many bytes further the lines lie that are wanted in a while; 0: not known */
} Stream;

static void prefetch(Cg *g, LV at, const Stream *s, bool store)
{
    for (int64_t line = 0; line < s->run; line += LINE)
        cg_intrinsic(g, "llvm.prefetch", g->ptr,
                     (LV[]){cg_ptr_add(g, at, cg_i64(g, s->first + line + s->ahead)), cg_i32(g, store), cg_i32(g, 3), cg_i32(g, 1)}, 4);
}

static KInst around(const CgFn *f, KInst loop) { return kblock(f->k, kinst(f->k, loop)->block)->owner; }
static KVal index_of(const CgFn *f, KInst loop) { return (KVal){kblock(f->k, kinst(f->k, loop)->body)->param}; }

/* By how many bytes the access moves with the loop, where its lanes are at what they are; false: not by a constant. */
static bool moves(CgFn *f, const KInstRec *in, KInst lanes, KInst loop, int64_t *step)
{
    KVal idx[RANK_MAX];
    Dim stride[RANK_MAX];
    int64_t sum = 0, coef, by;
    for (int a = kx_access_terms(f->k, f->g->m->dims, in, idx, stride); a-- > 0;) {
        if (kx_depends(f->k, idx[a], index_of(f, lanes)) && !kx_affine(f->k, f->g->m->dims, idx[a], index_of(f, lanes), &coef)) continue;
        if (!kx_affine(f->k, f->g->m->dims, idx[a], index_of(f, loop), &coef)) return false;
        if (!coef) continue;
        if (!stride[a].i || !dim_is_const(f->g->m->dims, stride[a], &by) || __builtin_mul_overflow(by, coef, &by) ||
            __builtin_add_overflow(sum, by, &sum))
            return false;
    }
    return !__builtin_mul_overflow(sum, element_bytes(&f->k->param.p[in->param]), step);
}

/* Along the rows, `run` bytes of each, which may be further apart than they are long. */
static int64_t ahead_rows(CgFn *f, const KInstRec *in, const Stream *s, int64_t row)
{
    for (KInst o = around(f, s->lanes); o.i; o = around(f, o)) {
        int64_t step, many = AHEAD / ((row + LINE - 1) / LINE * LINE);
        if (!moves(f, in, s->lanes, o, &step)) return AHEAD;
        if (!step) continue;
        if (step >= -2 * row && step <= 2 * row) return step < 0 ? -AHEAD : AHEAD;
        return __builtin_mul_overflow(step, many < 1 ? 1 : many, &step) ? 0 : step;
    }
    return 0;
}

/* Lanes anywhere in a row, which go over the row as a whole: the lines of another row are asked for bit by bit. */
static bool gathered(CgFn *f, const KInstRec *in, Stream *s)
{
    const Dims *dims = f->g->m->dims;
    const KInstRec *loop = kinst(f->k, s->lanes);
    KVal idx[RANK_MAX], iv = index_of(f, s->lanes);
    Dim stride[RANK_MAX];
    int64_t lo, hi, by, row = element_bytes(&f->k->param.p[in->param]), bytes = row;
    if (loop->n_arg < 2 || !kx_const_i(f->k, dims, karg(f->k, loop, 0), &lo) || lo || !kx_const_i(f->k, dims, karg(f->k, loop, 1), &hi))
        return false;
    if (kx_access_terms(f->k, f->g->m->dims, in, idx, stride) != f->k->param.p[in->param].rank) return false;
    for (uint32_t a = 0; a < f->k->param.p[in->param].rank; a++) {
        if (!kx_depends(f->k, idx[a], iv)) continue;
        int64_t dim;
        if (!stride[a].i || !dim_is_const(dims, stride[a], &by) || !dim_is_const(dims, f->k->param.p[in->param].dim[a], &dim) ||
            by < 0 || dim > PAGE || by > PAGE)
            return false;
        row += (dim - 1) * by * bytes;
    }
    if (row > PAGE || hi < row / LINE) return false;
    int64_t vectors = (hi + f->g->lanes - 1) / f->g->lanes, lines = (row + LINE - 1) / LINE;
    s->run = (lines + vectors - 1) / vectors * LINE;
    s->ahead = ahead_rows(f, in, s, row);
    return s->ahead != 0;
}

/* Does a loop compute for long: exponentials and the like? */
static bool is_long(CgFn *f, KInst loop)
{
    for (KInst i = kblock(f->k, kinst(f->k, loop)->body)->first; i.i; i = kinst(f->k, i)->next)
        if (kop_info(kinst(f->k, i)->op)->flags & KF_MATH) return true;
    return false;
}

/* Is this load in the sweep over a row that computes most, one of several? How far is it to the rows that come then? */
static bool long_sweep(CgFn *f, const KInstRec *in, Stream *s)
{
    KInst outer = s->lanes.i ? around(f, s->lanes) : s->lanes;
    if (!outer.i || kinst(f->k, s->lanes)->loop != KLOOP_VEC || !is_long(f, s->lanes)) return false;
    bool others = false;
    for (KInst i = kblock(f->k, kinst(f->k, outer)->body)->first; i.i; i = kinst(f->k, i)->next)
        others = others || (i.i != s->lanes.i && kinst(f->k, i)->op == KOP_FOR);
    if (!others || !moves(f, in, s->lanes, outer, &s->ahead) || s->ahead < LINE || s->ahead > ROWS_MOST) return false;
    s->ahead *= (PAGE + s->ahead - 1) / s->ahead;
    return true;
}

/* The buffer that a later loop stores a row of, the same as this load's; 0: none. */
static uint32_t stored_row(CgFn *f, const KInstRec *in, KInst lanes)
{
    for (KInst i = kinst(f->k, lanes)->next; i.i; i = kinst(f->k, i)->next) {
        const KInstRec *loop = kinst(f->k, i);
        if (loop->op != KOP_FOR) continue;
        for (KInst j = kblock(f->k, loop->body)->first; j.i; j = kinst(f->k, j)->next) {
            const KInstRec *r = kinst(f->k, j);
            const KBufRec *p = &f->k->param.p[r->param], *q = &f->k->param.p[in->param];
            if (r->op != KOP_STORE || p->rank != q->rank || p->elem != q->elem) continue;
            bool same = karg(f->k, r, p->rank - 1u).i == index_of(f, i).i && karg(f->k, in, p->rank - 1u).i == index_of(f, lanes).i;
            for (uint32_t a = 0; same && a < p->rank; a++)
                same = p->dim[a].i == q->dim[a].i && kbuf_stride(f->g->m, p, a).i == kbuf_stride(f->g->m, q, a).i &&
                       (a + 1u == p->rank || karg(f->k, r, a).i == karg(f->k, in, a).i);
            if (same) return r->param;
        }
    }
    return 0;
}

/* Is this load one of many of a tile, of which nothing is stored but to scratch? */
static bool of_tile(const CgFn *f, const KInstRec *in, KInst lanes)
{
    int loads = 0, stores = 0;
    if (!lanes.i || kinst(f->k, lanes)->loop != KLOOP_VEC) return false;
    for (KInst i = kblock(f->k, in->block)->first; i.i; i = kinst(f->k, i)->next) {
        const KInstRec *r = kinst(f->k, i);
        if (kop_info(r->op)->flags & KF_REGION) return false;
        if (r->op == KOP_LOAD && r->param == in->param) loads++;
        if (r->op == KOP_STORE && f->k->param.p[r->param].space != KS_LOCAL) return false;
        stores += r->op == KOP_STORE;
    }
    return loads >= TILE_LOADS && stores >= TILE_STORES;
}

/* Are these the places of lanes that are gathered, and fetched ahead? What asks for those lines keeps hardware from seeing
 * this stream come (as code for x86-64-v3, on a Zen 5: 7.4 ms, asked for 4.2). */
static bool places(CgFn *f, const KInstRec *in, Stream *s)
{
    if (!s->lanes.i || kinst(f->k, s->lanes)->loop != KLOOP_VEC || s->run <= 0 || s->run > LINES_MAX * LINE) return false;
    for (KInst i = in->next; i.i; i = kinst(f->k, i)->next) {
        const KInstRec *r = kinst(f->k, i);
        Stream g = {.lanes = s->lanes};
        if (r->op != KOP_LOAD || !large(f, &f->k->param.p[r->param]) || !gathered(f, r, &g)) continue;
        for (uint32_t a = 0; a < f->k->param.p[r->param].rank; a++)
            if (kx_depends(f->k, karg(f->k, r, a), (KVal){in->res})) return true;
    }
    return false;
}

void fetch_rows(CgFn *f, const KInstRec *load, LV base, Cv off)
{
    Cg *g = f->g;
    const KBufRec *p = &f->k->param.p[load->param];
    Stream s = {.lanes = kblock(f->k, load->block)->owner, .run = element_bytes(p) * g->lanes};
    if (!g->opt->opt_level || off.kind != CV_LIN || off.coef != 1 || f->mask || !s.run || !large(f, p)) return;
    bool tile = of_tile(f, load, s.lanes);
    bool index = !tile && places(f, load, &s);
    if (tile) s.ahead = TILE_AHEAD;
    else if (index) s.ahead = AHEAD;
    else if (!long_sweep(f, load, &s)) return;
    prefetch(g, LLVMBuildGEP2(g->b, cg_mem_type(g, p->elem), base, &off.v, 1, ""), &s, false);
    if (tile || index) return;
    uint32_t to = stored_row(f, load, s.lanes);
    s.ahead = 0;
    if (to) prefetch(g, LLVMBuildGEP2(g->b, cg_mem_type(g, p->elem), f->param[to], &off.v, 1, ""), &s, true);
}

/* Lanes that are neighbours, or a few elements apart. */
static bool in_a_row(CgFn *f, const KInstRec *in, Cv off, Stream *s)
{
    if (__builtin_mul_overflow(off.coef * element_bytes(&f->k->param.p[in->param]), (int64_t)f->g->lanes, &s->run)) return false;
    s->first = s->run < 0 ? s->run : 0;
    if (s->run < 0) s->run = -s->run;
    if (s->run > LINES_MAX * LINE) return false;
    s->ahead = f->short_rows ? ahead_rows(f, in, s, s->run) : s->first < 0 ? -AHEAD : AHEAD;
    return s->ahead != 0;
}

/* Lanes of a row each, that a loop inside goes along from end to end (the best of each row, a running sum): rows as many
 * streams, which is too many for hardware. The rows of the next vectors lie behind one another: each turn of the loop
 * asks for as much of these as it takes of its own. *turn: by how much more than the access what is asked for moves in
 * a turn. */
static bool along_rows(CgFn *f, const KInstRec *in, Cv off, Stream *s, KInst *loop, int64_t *turn)
{
    const Dims *dims = f->g->m->dims;
    int64_t row, block, step, lo, hi;
    *loop = kblock(f->k, in->block)->owner;
    const KInstRec *r = kinst(f->k, *loop);
    if (loop->i == s->lanes.i || r->op != KOP_FOR || r->loop != KLOOP_SEQ || r->n_arg < 2 || around(f, *loop).i != s->lanes.i)
        return false;
    if (!kx_const_i(f->k, dims, karg(f->k, r, 0), &lo) || lo || !kx_const_i(f->k, dims, karg(f->k, r, 1), &hi) || hi < 1) return false;
    if (__builtin_mul_overflow(off.coef, element_bytes(&f->k->param.p[in->param]), &row) ||
        __builtin_mul_overflow(row, (int64_t)f->g->lanes, &block))
        return false;
    if (block < LINE || row > PAGE || !moves(f, in, s->lanes, *loop, &step) || step < 1 || step > row || step * hi != row) return false;
    s->run = step * f->g->lanes;
    if (s->run < LINE || s->run > LINES_MAX * LINE) return false;
    s->ahead = (AHEAD + block - 1) / block * block;
    *turn = s->run - step;
    return true;
}

void fetch_lanes(CgFn *f, const KInstRec *in, LV base, Cv off)
{
    Cg *g = f->g;
    const KBufRec *p = &f->k->param.p[in->param];
    Stream s = {.lanes = kblock(f->k, in->block)->owner};
    if (!g->opt->opt_level || !element_bytes(p) || !large(f, p) || seconded(f, in)) return;
    while (s.lanes.i && kinst(f->k, s.lanes)->loop != KLOOP_VEC) s.lanes = around(f, s.lanes);
    if (!s.lanes.i) return;
    KInst loop = s.lanes;
    int64_t turn = 0;
    if (off.kind == CV_LIN ? !in_a_row(f, in, off, &s) && !along_rows(f, in, off, &s, &loop, &turn) : off.kind != CV_VEC || !gathered(f, in, &s)) return;
    LV at = base;
    if (off.kind == CV_LIN) at = LLVMBuildGEP2(g->b, cg_mem_type(g, p->elem), base, &off.v, 1, "");
    else turn = s.run / g->lanes;
    if (turn) at = cg_ptr_add(g, at, LLVMBuildMul(g->b, f->val[index_of(f, loop).i].v, cg_i64(g, turn), ""));
    prefetch(g, at, &s, in->op == KOP_STORE);
}
