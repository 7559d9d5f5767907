/* strides.c: arithmetic on how a tensor lies (Strided): reshapes without a copy, layouts as strides and back. Shared by the layout pass and by lowering. */
#include "ir/graph/op.h"

void strides_of_layout(Dims *d, const Layout *lay, Strided *x)
{
    Dim step = dim_const(d, 1);
    for (int i = x->rank - 1; i >= 0; i--) {
        int a = lay ? lay->perm[i] : i;
        x->stride[a] = step;
        step = dim_mul(d, step, x->dim[a]);
        if (!step.i) step = dim_const(d, 1), d->overflow = false;   /* cannot be allocated; whoever places it says so */
    }
    x->offset = dim_const(d, 0);
}

bool strides_row_major(Dims *d, const Strided *x)
{
    Dim want = dim_const(d, 1);
    for (int i = x->rank - 1; i >= 0; i--) {
        if (dim_is(d, x->dim[i], 1)) continue;
        if (!want.i || !dim_same(x->stride[i], want)) return false;
        want = dim_mul(d, want, x->dim[i]);
    }
    return true;
}

static bool inside_of(Dims *d, Dim a, Dim b) { return !dim_same(a, b) && dim_le(d, a, b) == TRI_YES; }

void strides_order(Dims *d, const Strided *x, int *axis)
{
    for (int i = 0; i < x->rank; i++) axis[i] = i;
    for (int i = 1; i < x->rank; i++) {
        if (dim_is(d, x->dim[i], 1)) continue;
        for (int k = i; k > 0; k--) {
            int j = k - 1;
            while (j >= 0 && dim_is(d, x->dim[axis[j]], 1)) j--;   /* over extents of 1: they lie anywhere */
            if (j < 0 || !inside_of(d, x->stride[axis[j]], x->stride[axis[k]])) break;
            int t = axis[k];
            for (int m = k; m > j; m--) axis[m] = axis[m - 1];
            axis[j] = t;
            k = j + 1;
        }
    }
}

LayoutId layout_of_strides(Types *ts, const Strided *x)
{
    Layout l = {.rank = (uint8_t)x->rank};
    int axis[RANK_MAX];
    for (int i = 0; i < x->rank; i++)
        if (dim_is(ts->dims, x->stride[i], 0) && !dim_is(ts->dims, x->dim[i], 1)) return (LayoutId){0};
    strides_order(ts->dims, x, axis);
    for (int i = 0; i < x->rank; i++) l.perm[i] = (uint8_t)axis[i];
    return layout_intern(ts, &l);
}

/* Axes are matched in runs of equal products; extents of 1 belong nowhere. An axis joins a run when it lies right inside the one before. */
bool strides_reshape(Dims *d, const Strided *x, Strided *y)
{
    int i = 0, o = 0;
    y->offset = x->offset;
    for (int k = 0; k < y->rank; k++) y->stride[k] = dim_const(d, 1);
    while (true) {
        while (i < x->rank && dim_is(d, x->dim[i], 1)) i++;
        while (o < y->rank && dim_is(d, y->dim[o], 1)) o++;
        if (i == x->rank || o == y->rank) return i == x->rank && o == y->rank;
        int i1 = i + 1, o1 = o + 1, last = i;
        Dim a = x->dim[i], b = y->dim[o];
        while (dim_eq(d, a, b) != TRI_YES) {   /* take in the axis that may make them equal */
            int64_t p, q;
            bool known = dim_is_const(d, a, &p) && dim_is_const(d, b, &q);
            bool grow = known ? p < q : dim_le(d, a, b) == TRI_YES;
            if (grow && i1 < x->rank) {
                if (!dim_is(d, x->dim[i1], 1)) {
                    if (!dim_same(x->stride[last], dim_mul(d, x->stride[i1], x->dim[i1]))) return false;
                    last = i1;
                }
                a = dim_mul(d, a, x->dim[i1++]);
            } else if (!grow && o1 < y->rank) b = dim_mul(d, b, y->dim[o1++]);
            else return false;
            if (!a.i || !b.i) return false;
        }
        Dim s = x->stride[last];
        for (int k = o1 - 1; k >= o; k--) {
            y->stride[k] = s;
            s = dim_mul(d, s, y->dim[k]);
            if (!s.i) return false;
        }
        i = i1;
        o = o1;
    }
}
