/* window.c: see window.h. */
#include "ir/ops/window.h"
#include <string.h>

static int64_t attr_at(AttrInts a, int i, int64_t absent) { return a.n ? a.p[i] : absent; }

Dim window_eff(Dims *d, const Window *w, int i)
{
    Dim one = dim_const(d, 1), between = w->kernel[i] ? dim_const(d, w->kernel[i] - 1) : dim_sub(d, w->extent[i], one);
    return dim_add(d, dim_mul(d, between, dim_const(d, w->dilation[i])), one);
}

bool window_resolve(Dims *d, int n, const Dim *in, const int64_t *kernel, const WindowAttrs *a, Window *w, const char **why)
{
    Dim extent[WINDOW_MAX] = {{0}};
    for (int i = 0; i < n && i < WINDOW_MAX; i++) extent[i] = dim_const(d, kernel[i]);
    return window_extents(d, n, in, extent, a, w, why);
}

bool window_extents(Dims *d, int n, const Dim *in, const Dim *kernel, const WindowAttrs *a, Window *w, const char **why)
{
    const char *auto_pad = a->auto_pad ? a->auto_pad : "NOTSET";
    bool same = !strcmp(auto_pad, "SAME_UPPER") || !strcmp(auto_pad, "SAME_LOWER"), valid = !strcmp(auto_pad, "VALID");
    *w = (Window){.n = n, .taps = 1};
    if (n < 1 || n > WINDOW_MAX) return *why = "the number of spatial axes is not supported", false;
    if (!same && !valid && strcmp(auto_pad, "NOTSET") && auto_pad[0]) return *why = "auto_pad is unknown", false;
    if ((a->strides.n && (int)a->strides.n != n) || (a->dilations.n && (int)a->dilations.n != n) || (a->pads.n && (int)a->pads.n != 2 * n))
        return *why = "strides, dilations or pads do not fit the number of spatial axes", false;
    Dim zero = dim_const(d, 0), one = dim_const(d, 1);
    bool free = false;
    for (int i = 0; i < n; i++) {
        int64_t s = attr_at(a->strides, i, 1), l = attr_at(a->dilations, i, 1), k, reach;
        bool known = dim_is_const(d, dim_resolve(d, kernel[i]), &k);
        if (!known) k = 1;
        if (s < 1 || l < 1 || k < 1) return *why = "kernel, strides and dilations must be positive", false;
        if (__builtin_mul_overflow(k - 1, l, &reach) || reach > INT64_MAX / 4 || s > INT64_MAX / 4 || __builtin_mul_overflow(w->taps, k, &w->taps))
            return *why = "the window is too large", false;
        w->kernel[i] = known ? k : 0, w->stride[i] = s, w->dilation[i] = l, w->in[i] = in[i], w->extent[i] = kernel[i];
        free |= !known;
        Dim eff = window_eff(d, w, i), st = dim_const(d, s);
        if (same) {
            w->out[i] = dim_ceildiv(d, in[i], st);
            Dim total = dim_max(d, zero, dim_sub(d, dim_add(d, dim_mul(d, dim_sub(d, w->out[i], one), st), eff), in[i]));
            Dim half = dim_div(d, total, dim_const(d, 2)), rest = dim_sub(d, total, half);
            bool upper = !strcmp(auto_pad, "SAME_UPPER");
            w->begin[i] = upper ? half : rest;
            w->end[i] = upper ? rest : half;
        } else {
            int64_t b = valid ? 0 : attr_at(a->pads, i, 0), e = valid ? 0 : attr_at(a->pads, a->pads.n ? i + n : 0, 0);
            if (b > INT64_MAX / 8 || e > INT64_MAX / 8 || b < -(INT64_MAX / 8) || e < -(INT64_MAX / 8)) return *why = "the padding is too large", false;
            w->begin[i] = dim_const(d, b);
            w->end[i] = dim_const(d, e);
            Dim room = dim_sub(d, dim_add(d, in[i], dim_const(d, b + e)), eff);
            if (a->ceil_mode) {
                Dim up = dim_add(d, dim_ceildiv(d, room, st), one);
                /* the last window must start before in + begin: (out-1)*stride < in + begin */
                Dim most = dim_ceildiv(d, dim_add(d, in[i], dim_const(d, b)), st);
                w->out[i] = dim_min(d, up, most);
            } else w->out[i] = dim_add(d, dim_div(d, room, st), one);
            w->out[i] = dim_max(d, zero, w->out[i]);
        }
        window_reach(d, w, i);
    }
    if (free) w->taps = 0;
    return true;
}

void window_reach(Dims *d, Window *w, int i)
{
    int64_t lo, hi;
    Dim one = dim_const(d, 1), last = dim_sub(d, dim_mul(d, dim_sub(d, w->out[i], one), dim_const(d, w->stride[i])), w->begin[i]);
    dim_bounds(d, w->begin[i], &lo, &hi);
    w->below[i] = hi > 0;
    Dim behind = dim_sub(d, dim_add(d, last, window_eff(d, w, i)), w->in[i]);   /* by how much */
    w->above[i] = true;
    if (behind.i) {
        dim_bounds(d, behind, &lo, &hi);
        w->above[i] = hi > 0;
    }
    w->padded |= w->below[i] || w->above[i];
}

static void and_to(Kb *b, KVal *pred, KVal x) { *pred = pred->i ? kb_and(b, *pred, x) : x; }

KVal window_at(Kb *b, const Window *w, int i, KVal o, KVal k)
{
    KVal at = kb_add(b, kb_mul(b, o, kb_i(b, w->stride[i])), kb_mul(b, k, kb_i(b, w->dilation[i])));
    return kb_sub(b, at, kb_dim(b, w->begin[i]));
}

void window_inside(Kb *b, const Window *w, int i, KVal at, KVal *pred)
{
    if (w->below[i]) and_to(b, pred, kb_ge(b, at, kb_i(b, 0)));
    if (w->above[i]) and_to(b, pred, kb_lt(b, at, kb_dim(b, w->in[i])));
}

void window_taps(Kb *b, const Window *w, int i, KVal start, KVal *lo, KVal *hi)
{
    KVal zero = kb_i(b, 0);
    *lo = zero;
    *hi = kb_i(b, w->kernel[i]);
    if (!window_reaches(w, i)) return;
    *lo = kb_max(b, zero, kb_ceil_div(b, kb_sub(b, zero, start), w->dilation[i]));
    *hi = kb_min(b, *hi, kb_ceil_div(b, kb_sub(b, kb_dim(b, w->in[i]), start), w->dilation[i]));
}
