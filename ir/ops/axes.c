/* axes.c: axes that only the run knows, as values of the program. Nothing is enumerated: for each axis i of the shape a 0/1 symbol says whether it is among the axes,
 * and extents are formulas over these: an extent e where marked, else f, is f + mark * (e - f). */
#include "ir/ops/axes.h"

Dim axes_bind(Lw *l, Dim value, int64_t lo, int64_t hi)
{
    Dims *d = &l->m->dims;
    int64_t k;
    if (dim_is_const(d, value, &k)) return value;
    Sym s = sym_new(d, module_fresh_name(l->m, "a"), SYM_NODE, lo, hi);
    KStep *st = lw_step(l, KST_BIND);
    st->sym = s;
    st->a = value;
    return dim_sym(d, s);
}

/* 1 when a == b, else 0 */
static Dim equal(Dims *d, Dim a, Dim b)
{
    Dim x = dim_sub(d, a, b), one = dim_const(d, 1);
    return dim_sub(d, one, dim_min(d, one, dim_max(d, x, dim_sub(d, dim_const(d, 0), x))));
}

Dim axes_either(Lw *l, Dim mark, Dim yes, Dim no) { return dim_add(&l->m->dims, no, dim_mul(&l->m->dims, mark, dim_sub(&l->m->dims, yes, no))); }

static void check(Lw *l, Dim a, KRel rel, Dim b, const char *msg)
{
    KStep *s = lw_step(l, KST_CHECK);
    s->a = a, s->b = b, s->rel = rel, s->msg = msg;
}

/* How many axes there are is not known either: a kernel makes the marks.  mark[i] = any axis[k] mod rank == i */
static void read_marks(Lw *l, uint32_t operand, RunAxes *x)
{
    Dims *d = &l->m->dims;
    Dim rank = dim_const(d, x->rank);
    lw_prepare_in(l);
    KBuf axes = lw_in(l, operand), marks = lw_temp(l, DT_I64, 1, &rank);
    Kb *b = lw_kernel(l, "axes");
    KVal i = kb_for(b, KLOOP_SEQ, kb_i(b, 0), kb_i(b, x->rank)), zero = kb_i(b, 0), len = kb_i(b, x->rank);
    KbLoop loop;
    kb_loop(b, &loop, KLOOP_SEQ, zero, kb_dim(b, lw_dim(l, operand, 0)), 1, &zero, NULL);
    KVal axis = kb_cast(b, DT_I64, kb_load(b, kb_param(b, axes, false), &loop.iv));
    kb_record(b, kb_and(b, kb_ge(b, axis, kb_sub(b, zero, len)), kb_lt(b, axis, len)), "axis {got} is out of range for rank {want}", axis, len);
    KVal any = kb_max(b, loop.carry[0], kb_cast(b, DT_I64, kb_eq(b, kb_bin(b, KOP_MOD, axis, len), i)));
    kb_loop_end(b, &loop, &any);
    kb_store(b, kb_param(b, marks, true), &i, loop.result[0]);
    kb_end(b);
    lw_kernel_end(l);
    for (int a = 0; a < x->rank; a++) x->mark[a] = dim_sym(d, lw_load_sym(l, marks, dim_const(d, a), "a", 0, 1));
}

bool axes_read(Lw *l, uint32_t operand, int rank, RunAxes *x)
{
    Dims *d = &l->m->dims;
    Dim axis[RANK_MAX], before = dim_const(d, 0), one = dim_const(d, 1), marked = before;
    int64_t count;
    *x = (RunAxes){.rank = rank};
    if (!dim_is_const(d, lw_dim(l, operand, 0), &count)) return read_marks(l, operand, x), true;
    if (!lw_values(l, operand, axis, RANK_MAX, &x->n)) return false;
    if ((int)x->n > rank) return lw_fail(l, "%u axes for rank %d", x->n, rank);
    for (uint32_t k = 0; k < x->n; k++) {
        check(l, dim_const(d, -rank), KREL_LE, axis[k], "axis {want} is out of range, {got} is the first");
        check(l, axis[k], KREL_LE, dim_const(d, rank - 1), "axis {got} is out of range, {want} is the last");
        axis[k] = axes_bind(l, dim_mod(d, axis[k], dim_const(d, rank)), 0, rank - 1);
    }
    for (int i = 0; i < rank; i++) {
        x->mark[i] = dim_const(d, 0);
        for (uint32_t k = 0; k < x->n; k++) {
            x->hit[i][k] = axes_bind(l, equal(d, axis[k], dim_const(d, i)), 0, 1);
            x->mark[i] = dim_add(d, x->mark[i], x->hit[i][k]);
        }
        x->mark[i] = axes_bind(l, dim_min(d, one, x->mark[i]), 0, 1);
        x->before[i] = axes_bind(l, before, 0, i);
        before = dim_add(d, before, dim_sub(d, one, x->mark[i]));
        marked = dim_add(d, marked, x->mark[i]);
    }
    check(l, marked, KREL_EQ, dim_const(d, x->n), "an axis is given twice");
    return true;
}

Dim axes_pick(Lw *l, const RunAxes *x, int i, const Dim *value, Dim none)
{
    Dims *d = &l->m->dims;
    Dim sum = dim_mul(d, dim_sub(d, dim_const(d, 1), x->mark[i]), none);
    for (uint32_t k = 0; k < x->n; k++) sum = dim_add(d, sum, dim_mul(d, x->hit[i][k], value[k]));
    return sum;
}

Dim axes_rest(Lw *l, const RunAxes *x, int j, const Dim *len)
{
    Dims *d = &l->m->dims;
    Dim sum = dim_const(d, 0);
    for (int i = j; i < x->rank; i++) {
        Dim here = dim_mul(d, dim_sub(d, dim_const(d, 1), x->mark[i]), equal(d, x->before[i], dim_const(d, j)));
        sum = dim_add(d, sum, dim_mul(d, axes_bind(l, here, 0, 1), len[i]));
    }
    return sum;
}

Dim axes_spread(Lw *l, const RunAxes *x, int i, const Dim *len, int n)
{
    Dims *d = &l->m->dims;
    Dim sum = dim_const(d, 0);
    for (int j = 0; j < n && j <= i; j++) sum = dim_add(d, sum, dim_mul(d, axes_bind(l, equal(d, x->before[i], dim_const(d, j)), 0, 1), len[j]));
    return axes_either(l, x->mark[i], dim_const(d, 1), sum);
}
