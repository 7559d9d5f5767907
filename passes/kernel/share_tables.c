/* share_tables: a constant matrix that is stored packed for a product (D11) and, row by row, for look-ups is stored once.
 *   load %w[load %ids[i], j]        =>      load %w_packed[0, n / 16, j, n % 16]       n = load %ids[i]
 * So language models whose token table is their last layer, too, ship it once: in GPT-2 154 of 650 MB. A look-up then takes
 * an element from each of as many lines as a row has elements: some microseconds a row, against the stream of the whole
 * matrix for the product. Only rows that data choose are worth it, and only when every use of the plain form can change;
 * small tables stay. Before kernel-simplify, which drops what nothing reads any more. */
#include "passes/kernel/kpasses.h"
#include "passes/pass.h"

enum { OPT_BYTES };
static const OptSpec opts[] = {{"bytes", 65536, "smaller tables stay as they are"}, {0}};

typedef struct Twin {
    KBuf packed;
    bool by_column; /* a row of the table is a column of the product */
    int64_t K, N, kc;
} Twin;

typedef struct Share {
    KModule *m;
    KBuf table;
    uint32_t launches, other; /* steps that use it: launches, and any other way */
    KStep *step;
    const Kernel *kernel;
    uint32_t times; /* launches of that kernel */
} Share;

/* ---- is there a packed form? ---- */
static bool find_twin(KModule *m, KBuf table, int64_t bytes, Twin *t)
{
    KBufRec *r = kbuf(m, table);
    const BlobRec *b = blob_rec(m->blobs, r->blob);
    int64_t rows, cols;
    if ((b->kind != BLOB_RAW && b->kind != BLOB_INLINE) || r->rank != 2 || !r->dense || dtype_bytes(r->elem, b->count) < bytes) return false;
    if (!dim_is_const(m->dims, r->dim[0], &rows) || !dim_is_const(m->dims, r->dim[1], &cols)) return false;
    for (uint32_t i = 1; i < m->buf.n; i++) {
        const KBufRec *q = &m->buf.p[i];
        if (q->space != KS_CONST || q->elem != r->elem) continue;
        const BlobRec *d = blob_rec(m->blobs, q->blob);
        const Recipe *p = d->recipe;
        if (d->kind != BLOB_DERIVED || p->kind != RECIPE_PACK || p->g != 1 || p->batch != 1 || p->k_in || p->sides > 1) continue;
        if (p->src_off || p->K * p->N != rows * cols || !blob_equal(m->blobs, p->src[0], r->blob)) continue;
        t->by_column = p->stride_k == 1 && p->stride_n == cols && p->N == rows;
        if (!t->by_column && !(p->stride_n == 1 && p->stride_k == cols && p->K == rows)) continue;
        t->packed = (KBuf){i};
        t->K = p->K;
        t->N = p->N;
        t->kc = p->kc;
        return true;
    }
    return false;
}

/* ---- may the uses change? ---- */
static void count_uses(void *arg, KStep *s)
{
    Share *x = arg;
    bool launch = s->kind == KST_LAUNCH;
    for (uint32_t i = 0; launch && i < s->n_buf_arg; i++) {
        if (s->buf_arg[i].i != x->table.i) continue;
        x->launches++;
        x->step = s;
    }
    for (uint32_t i = 0; s->kind == KST_CALL && i < s->n_arg; i++) x->other += s->arg[i].kind == KA_BUF && s->arg[i].buf.i == x->table.i;
    x->other += s->buf.i == x->table.i || s->src.i == x->table.i;
    x->times += launch && s->kernel == x->kernel;
}

static bool is_port_or_base(const KModule *m, KBuf b)
{
    for (uint32_t i = 1; i < m->buf.n; i++)
        if (m->buf.p[i].space == KS_VIEW && m->buf.p[i].base.i == b.i) return true;
    for (uint32_t i = 0; i < m->output.n; i++)
        if (m->output.p[i].buf.i == b.i) return true;
    return false;
}

static bool from_load(const Kernel *k, KVal v)
{
    KInst def = kval(k, v)->def;
    if (!def.i) return false;
    const KInstRec *r = kinst(k, def);
    if (r->op == KOP_LOAD) return true;
    if (!(kop_info(r->op)->flags & KF_PURE)) return false;
    for (uint32_t i = 0; i < r->n_arg; i++)
        if (from_load(k, karg(k, r, i))) return true;
    return false;
}

/* Every use of the parameter is a load of a row that data choose, in loops that pass nothing on. */
static bool only_looked_up(const Kernel *k, KBlock b, uint32_t param)
{
    for (KInst i = kblock(k, b)->first; i.i; i = kinst(k, i)->next) {
        const KInstRec *r = kinst(k, i);
        if (r->op == KOP_FOR && (r->n_res || !only_looked_up(k, r->body, param))) return false;
        if (r->op == KOP_MACC || (r->op == KOP_STORE && r->param == param)) return false;
        if (r->op == KOP_LOAD && r->param == param && !from_load(k, karg(k, r, 0))) return false;
    }
    return true;
}

/* ---- the change ---- */
typedef struct Rebuild {
    Kb *b;
    const Kernel *from;
    KVal *map;
    uint32_t param;
    const Twin *t;
} Rebuild;

static void look_up(Rebuild *x, const KInstRec *r)
{
    const Twin *t = x->t;
    KVal row = x->map[karg(x->from, r, 0).i], col = x->map[karg(x->from, r, 1).i];
    KVal k = t->by_column ? col : row, n = t->by_column ? row : col, kc = kb_i(x->b, t->kc), lanes = kb_i(x->b, K_LANES);
    bool one = t->K <= t->kc;
    KVal at[4] = {one ? kb_i(x->b, 0) : kb_bin(x->b, KOP_FLOORDIV, k, kc), kb_bin(x->b, KOP_FLOORDIV, n, lanes),
                  one ? k : kb_bin(x->b, KOP_MOD, k, kc), kb_bin(x->b, KOP_MOD, n, lanes)};
    x->map[r->res] = r->n_arg == 2   ? kb_load(x->b, x->param, at)
                     : r->n_arg == 3 ? kb_load_if(x->b, x->param, at, x->map[karg(x->from, r, 2).i], (KVal){0})
                                     : kb_load_if(x->b, x->param, at, x->map[karg(x->from, r, 2).i], x->map[karg(x->from, r, 3).i]);
}

static void block(Rebuild *x, KBlock b)
{
    for (KInst i = kblock(x->from, b)->first; i.i; i = kinst(x->from, i)->next) {
        const KInstRec *r = kinst(x->from, i);
        if (r->op == KOP_YIELD) continue;
        if (r->op == KOP_FOR) {
            KbLoop l;
            kb_loop(x->b, &l, r->loop, x->map[karg(x->from, r, 0).i], x->map[karg(x->from, r, 1).i], 0, NULL, NULL);
            kinst(kb_kernel(x->b), l.inst)->down = r->down;
            x->map[kblock(x->from, r->body)->param] = l.iv;
            block(x, r->body);
            kb_loop_end(x->b, &l, NULL);
        } else if (r->op == KOP_LOAD && r->param == x->param) look_up(x, r);
        else kb_copy(x->b, x->from, i, x->map);
    }
}

/* The kernel reads the packed form; the launch gives it. */
static void rewrite(KModule *m, KStep *s, uint32_t arg, const Twin *t)
{
    Arena a;
    Kernel *k = s->kernel;
    int64_t size[4] = {(t->K + t->kc - 1) / t->kc, (t->N + K_LANES - 1) / K_LANES, t->kc, K_LANES};
    Dim dim[4];
    for (int i = 0; i < 4; i++) dim[i] = dim_const(m->dims, size[i]);
    KBuf view = kbuf_new(m, KS_VIEW, (Name){0}, kbuf(m, t->packed)->elem, 4, dim, s->loc);
    kbuf(m, view)->base = t->packed;
    kbuf(m, view)->offset = dim_const(m->dims, 0);
    s->buf_arg[arg] = view;
    KBufRec *p = &k->param.p[arg + 1];
    p->rank = 4;
    p->dense = true;
    for (int i = 0; i < 4; i++) p->dim[i] = dim[i];
    Kernel old = *k;
    arena_init(&a, "pass", m->arena->oom);
    Rebuild x = {.b = kb_reopen(m, k), .from = &old, .map = arena_array(&a, KVal, k->val.n), .param = arg + 1, .t = t};
    block(&x, old.top);
    kb_replace(x.b, k);
    arena_free(&a);
}

/* Parameters are numbered as the launch's arguments when no local stands between them. */
static bool plain_params(const Kernel *k, uint32_t n)
{
    for (uint32_t i = 1; i <= n; i++)
        if (i >= k->param.n || k->param.p[i].space != KS_PARAM) return false;
    return true;
}

int64_t kpass_share_tables(KModule *m, int64_t bytes)
{
    int64_t n = 0;
    for (uint32_t i = 1, end = m->buf.n; i < end; i++) {
        Twin t;
        Share x = {.m = m, .table = {i}};
        uint32_t arg = 0;
        if (m->buf.p[i].space != KS_CONST || !find_twin(m, x.table, bytes, &t) || is_port_or_base(m, x.table)) continue;
        kstep_each(&m->program, count_uses, &x);
        if (x.launches != 1 || x.other) continue;
        x = (Share){.m = m, .table = x.table, .kernel = x.step->kernel};
        kstep_each(&m->program, count_uses, &x);
        if (x.times != 1 || !plain_params(x.kernel, x.step->n_buf_arg)) continue;
        while (x.step->buf_arg[arg].i != i) arg++;
        if (!only_looked_up(x.kernel, x.kernel->top, arg + 1)) continue;
        rewrite(m, x.step, arg, &t);
        n++;
    }
    return n;
}

static PassResult run(PassCtx *c)
{
    int64_t n = kpass_share_tables(c->k, c->opt[OPT_BYTES]);
    pass_count(c, "tables read from their packed form", n);
    return n ? PASS_CHANGED : PASS_UNCHANGED;
}

const Pass pass_share_tables = {.name = "share-tables",
                                .brief = "matrices that are looked up and multiplied are stored once, packed",
                                .kernel = true,
                                .opts = opts,
                                .run = run};
