/* rows.c: loops of row operators (rows.h).
 *   for %q = 0..(M+3)//4 par {                      rows r0 = min(4*q, M-1), .. r3 = min(4*q+3, M-1)
 *     for %i = 0..N seq carry(%s0 = 0, .. %s3 = 0) { yield add(%s0, load %x[r0, %i]), .. }        (the schedule: vec)
 *     ... }
 * The last sweep stores and goes row by row (stores to different rows would keep it from running in lanes); a row that
 * was clamped is not stored twice, as a result may stand in its operand's memory. */
#include "ir/ops/rows.h"
#include <assert.h>

Dim rows_length(const Rows *r)
{
    Dim n = dim_const(&r->l->m->dims, 1);
    for (int a = 0; a < r->rank; a++)
        if (r->axes >> a & 1) n = dim_mul(&r->l->m->dims, n, lw_dim(r->l, 0, a));
    return n;
}

/* The row's innermost axis has stride 1 where the result lies, and is long enough for lanes. */
static bool contiguous(Rows *r)
{
    Lw *l = r->l;
    int last = 31 - __builtin_clz(r->axes);
    int64_t n;
    KBuf y = lw_put_buf(l, 0);
    if (dim_is_const(&l->m->dims, lw_dim(l, 0, last), &n) && n < 8) return false;
    return last < kbuf(l->k, y)->rank && dim_is(&l->m->dims, kbuf_stride(l->k, kbuf(l->k, y), last), 1);
}

void rows_open(Rows *r, Lw *l, uint32_t axes)
{
    *r = (Rows){.l = l, .axes = axes, .rank = lw_rank(l, 0), .n = 1};
    Kb *b = l->b;
    int jam = -1;
    int64_t extent;
    r->contiguous = axes && contiguous(r);
    for (int a = 0; a < r->rank; a++)
        if (!(axes >> a & 1)) jam = a;
    if (r->contiguous && jam >= 0) {
        r->n = ROWS_JAM;
        if (dim_is_const(&l->m->dims, lw_dim(l, 0, jam), &extent) && extent < ROWS_JAM)
            r->n = extent < 1 ? 1 : (uint32_t)extent;
        if (dim_is_const(&l->m->dims, rows_length(r), &extent) && extent > ROWS_LONG) r->n = 1;
    }
    for (int a = 0; a < r->rank; a++) {
        if (axes >> a & 1) continue;
        KVal m = kb_dim(b, lw_dim(l, 0, a));
        r->loops++;
        if (a != jam || r->n == 1) {
            KVal i = kb_for(b, KLOOP_PAR, kb_i(b, 0), m);
            for (uint32_t j = 0; j < r->n; j++) r->idx[j][a] = i;
            continue;
        }
        Dims *d = &l->m->dims;
        bool whole = dim_multiple_of(d, lw_dim(l, 0, a), r->n);
        KVal q = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_dim(b, dim_ceildiv(d, lw_dim(l, 0, a), dim_const(d, r->n))));
        KVal first = kb_mul(b, q, kb_i(b, r->n)), last = kb_sub(b, m, kb_i(b, 1));
        for (uint32_t j = 0; j < r->n; j++) {
            KVal row = kb_add(b, first, kb_i(b, j));
            r->idx[j][a] = whole || !j ? row : kb_min(b, row, last);
            if (!whole && j) r->fresh[j] = kb_cast(b, DT_I64, kb_lt(b, row, m));
        }
    }
}

void rows_close(Rows *r) { lw_end_nest(r->l, r->loops); }

/* A sweep of rows from..to-1; those without carries skip a row that another j has already. */
typedef struct Sweep {
    Rows *r;
    uint32_t from, to, n_carry;
    const KOp *combine;
    RowBody *body;
    void *arg;
    KVal *carry;
} Sweep;

static void sweep(Sweep *s, int axis, KVal at)
{
    Rows *r = s->r;
    Kb *b = r->l->b;
    while (axis < r->rank && !(r->axes >> axis & 1)) axis++;
    if (axis == r->rank) {
        for (uint32_t j = s->from; j < s->to; j++)
            s->body(r, j, at.i ? at : kb_i(b, 0), s->carry + (j - s->from) * s->n_carry, s->arg);
        return;
    }
    KbLoop loop;
    uint32_t n = s->n_carry * (s->to - s->from);
    KVal extent = kb_dim(b, lw_dim(r->l, 0, axis)), rounds = extent;
    if (!s->n_carry && r->fresh[s->from].i) rounds = kb_mul(b, extent, r->fresh[s->from]);
    kb_loop(b, &loop, KLOOP_SEQ, kb_i(b, 0), rounds, n, s->carry, s->combine);
    for (uint32_t j = s->from; j < s->to; j++) r->idx[j][axis] = loop.iv;
    for (uint32_t c = 0; c < n; c++) s->carry[c] = loop.carry[c];
    sweep(s, axis + 1, at.i ? kb_add(b, kb_mul(b, at, extent), loop.iv) : loop.iv);
    kb_loop_end(b, &loop, s->carry);
    for (uint32_t c = 0; c < n; c++) s->carry[c] = loop.result[c];
}

void rows_sweep(Rows *r, uint32_t n_carry, const KVal *init, const KOp *combine, RowBody *body, void *arg, KVal *carry)
{
    KOp all[ROWS_JAM * ROWS_CARRIES];
    KVal none[1];
    assert(n_carry <= ROWS_CARRIES);
    for (uint32_t j = 0; j < r->n; j++)
        for (uint32_t c = 0; c < n_carry; c++) {
            carry[j * n_carry + c] = init[c];
            all[j * n_carry + c] = combine[c];
        }
    if (n_carry) sweep(&(Sweep){r, 0, r->n, n_carry, all, body, arg, carry}, 0, (KVal){0});
    else
        for (uint32_t j = 0; j < r->n; j++) sweep(&(Sweep){r, j, j + 1, 0, all, body, arg, none}, 0, (KVal){0});
}

bool rows_keep(Rows *r, DType t)
{
    Dim n = rows_length(r);
    if (!r->contiguous || dim_has_kind(&r->l->m->dims, n, SYM_NODE)) return false;
    for (uint32_t j = 0; j < r->n; j++) r->kept[j] = kb_local(r->l->b, "row", t, 1, &n);
    return true;
}
void rows_set(Rows *r, uint32_t j, KVal at, KVal v) { kb_store(r->l->b, r->kept[j], &at, v); }
KVal rows_get(Rows *r, uint32_t j, KVal at) { return kb_load(r->l->b, r->kept[j], &at); }
