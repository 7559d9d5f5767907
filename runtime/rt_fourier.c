/* rt_fourier: the discrete Fourier transform of rows whose length only the run knows, in double.
 *   row[k] = sum over n of row[n] * (c + i s)[n k mod N]        the roots c, s are given, their direction with them
 * Lengths of small prime factors: one pass for each (fours first), between two places, so that nothing is put in order
 * (Stockham's form; Van Loan, "Computational Frameworks for the Fast Fourier Transform", 1992). Others: a convolution
 * with a chirp (Bluestein 1970) by transforms of a length 2^k or 3 * 2^k. A row is its real parts, then its imaginary ones. */
#include "runtime/rt_internal.h"
#include <math.h>

#define PI 3.14159265358979323846
enum { FACTORS = 64, DIRECT = 61 /* the largest prime whose pass is the sum as it stands */ };

typedef struct rt_cx {
    double *re, *im;
} rt_cx;

typedef struct rt_plan {
    int64_t n;
    int factors;
    int factor[FACTORS];
    const double *c, *s; /* roots of n */
} rt_plan;

static rt_cx complex_at(double *p, int64_t n) { return (rt_cx){p, p + n}; }

/* false: a prime factor is too large. */
static bool plan(rt_plan *p, int64_t n, const double *c, const double *s)
{
    *p = (rt_plan){.n = n, .c = c, .s = s};
    for (; n % 4 == 0; n /= 4) p->factor[p->factors++] = 4;
    for (int f = 2; n > 1; f++) {
        if (f > DIRECT) return false;
        for (; n % f == 0; n /= f) p->factor[p->factors++] = f;
    }
    return true;
}

/* Two halves: (x0 + x1, (x0 - x1) w). */
static void pass_2(int64_t s, rt_cx x0, rt_cx x1, rt_cx y0, rt_cx y1, double wr, double wi)
{
    for (int64_t k = 0; k < s; k++) {
        double r = x0.re[k] - x1.re[k], i = x0.im[k] - x1.im[k];
        y0.re[k] = x0.re[k] + x1.re[k], y0.im[k] = x0.im[k] + x1.im[k];
        y1.re[k] = r * wr - i * wi, y1.im[k] = r * wi + i * wr;
    }
}

/* Four quarters; turn: the sign of i in the root of 4. */
static void pass_4(int64_t s, const rt_cx *x, const rt_cx *y, const double *wr, const double *wi, double turn)
{
    for (int64_t k = 0; k < s; k++) {
        double ar = x[0].re[k] + x[2].re[k], ai = x[0].im[k] + x[2].im[k], br = x[0].re[k] - x[2].re[k], bi = x[0].im[k] - x[2].im[k];
        double cr = x[1].re[k] + x[3].re[k], ci = x[1].im[k] + x[3].im[k];
        double dr = -turn * (x[1].im[k] - x[3].im[k]), di = turn * (x[1].re[k] - x[3].re[k]);
        double r1 = br + dr, i1 = bi + di, r2 = ar - cr, i2 = ai - ci, r3 = br - dr, i3 = bi - di;
        y[0].re[k] = ar + cr, y[0].im[k] = ai + ci;
        y[1].re[k] = r1 * wr[1] - i1 * wi[1], y[1].im[k] = r1 * wi[1] + i1 * wr[1];
        y[2].re[k] = r2 * wr[2] - i2 * wi[2], y[2].im[k] = r2 * wi[2] + i2 * wr[2];
        y[3].re[k] = r3 * wr[3] - i3 * wi[3], y[3].im[k] = r3 * wi[3] + i3 * wr[3];
    }
}

/* y += x w */
static void add_times(int64_t s, rt_cx x, rt_cx y, double wr, double wi)
{
    for (int64_t k = 0; k < s; k++) {
        double r = x.re[k], i = x.im[k];
        y.re[k] += r * wr - i * wi, y.im[k] += r * wi + i * wr;
    }
}

static rt_cx shifted(rt_cx x, int64_t by) { return (rt_cx){x.re + by, x.im + by}; }

/* One pass of radix p over what is still `n` long, `s` of them side by side:
 *   y[s (p j + t) + k] = sum over r of x[s (j + r n/p) + k] * root(p)^(r t) * root(n)^(j t) */
static void pass(const rt_plan *f, int p, int64_t n, int64_t s, rt_cx x, rt_cx y)
{
    int64_t m = n / p, whole = f->n, part = whole / p;
    double turn = p == 4 && f->s[part] < 0 ? -1 : 1;
    for (int64_t j = 0; j < m; j++) {
        if (p == 2 || p == 4) {
            rt_cx a[4], b[4];
            double wr[4], wi[4];
            for (int t = 0; t < p; t++) {
                a[t] = shifted(x, s * (j + t * m)), b[t] = shifted(y, s * (p * j + t));
                wr[t] = f->c[j * t * s], wi[t] = f->s[j * t * s];
            }
            if (p == 2) pass_2(s, a[0], a[1], b[0], b[1], wr[1], wi[1]);
            else pass_4(s, a, b, wr, wi, turn);
            continue;
        }
        for (int t = 0; t < p; t++) {
            rt_cx b = shifted(y, s * (p * j + t));
            for (int64_t k = 0; k < s; k++) b.re[k] = b.im[k] = 0;
            for (int r = 0; r < p; r++) { /* both roots are one: their exponents add up */
                int64_t e = (r * t % p * part + j * t * s) % whole;
                add_times(s, shifted(x, s * (j + r * m)), b, f->c[e], f->s[e]);
            }
        }
    }
}

/* Transforms x; tmp: as large. */
static void transform(const rt_plan *f, rt_cx x, rt_cx tmp)
{
    int64_t n = f->n, s = 1;
    rt_cx from = x, to = tmp;
    for (int i = 0; i < f->factors; i++) {
        pass(f, f->factor[i], n, s, from, to);
        n /= f->factor[i], s *= f->factor[i];
        rt_cx t = from;
        from = to, to = t;
    }
    for (int64_t k = 0; k < f->n && from.re != x.re; k++) x.re[k] = from.re[k], x.im[k] = from.im[k];
}

/* ---- any length: n k = (n^2 + k^2 - (k - n)^2) / 2 ---- */

typedef struct rt_chirp {
    rt_plan fft;             /* of m points */
    int64_t n;
    rt_cx chirp, filter, a, tmp; /* n; m each: the transform of the conjugate chirp, what is convolved, a second place */
} rt_chirp;

/* Room for 8 m + 2 n doubles; m < 3 n. */
static void chirp_plan(rt_chirp *x, int64_t n, double sign, double *work)
{
    int64_t m = 1;
    while (m < 2 * n - 1) m *= 2;
    if (m >= 4 && m / 4 * 3 >= 2 * n - 1) m = m / 4 * 3;
    rt_cx roots = complex_at(work, m);
    for (int64_t k = 0; k < m; k++) roots.re[k] = cos(2 * PI * (double)k / (double)m), roots.im[k] = -sin(2 * PI * (double)k / (double)m);
    plan(&x->fft, m, roots.re, roots.im);
    x->n = n;
    x->filter = complex_at(work + 2 * m, m), x->a = complex_at(work + 4 * m, m), x->tmp = complex_at(work + 6 * m, m), x->chirp = complex_at(work + 8 * m, n);
    for (int64_t k = 0; k < m; k++) x->filter.re[k] = x->filter.im[k] = 0;
    for (int64_t k = 0, q = 0; k < n; k++) { /* q = k^2 mod 2n */
        double angle = PI * (double)q / (double)n;
        x->chirp.re[k] = cos(angle), x->chirp.im[k] = sign * sin(angle);
        x->filter.re[k] = x->filter.re[k ? m - k : 0] = x->chirp.re[k];
        x->filter.im[k] = x->filter.im[k ? m - k : 0] = -x->chirp.im[k];
        q += 2 * k + 1;
        if (q >= 2 * n) q -= 2 * n;
        if (q >= 2 * n) q -= 2 * n;
    }
    transform(&x->fft, x->filter, x->tmp);
}

static void chirp_transform(rt_chirp *x, rt_cx row)
{
    int64_t n = x->n, m = x->fft.n;
    rt_cx a = x->a, c = x->chirp, b = x->filter;
    for (int64_t k = 0; k < n; k++) {
        a.re[k] = row.re[k] * c.re[k] - row.im[k] * c.im[k];
        a.im[k] = row.re[k] * c.im[k] + row.im[k] * c.re[k];
    }
    for (int64_t k = n; k < m; k++) a.re[k] = a.im[k] = 0;
    transform(&x->fft, a, x->tmp);
    for (int64_t k = 0; k < m; k++) { /* conjugated, so that the same direction leads back */
        double r = a.re[k] * b.re[k] - a.im[k] * b.im[k], i = a.re[k] * b.im[k] + a.im[k] * b.re[k];
        a.re[k] = r / (double)m, a.im[k] = -i / (double)m;
    }
    transform(&x->fft, a, x->tmp);
    for (int64_t k = 0; k < n; k++) {
        row.re[k] = a.re[k] * c.re[k] + a.im[k] * c.im[k];
        row.im[k] = a.re[k] * c.im[k] - a.im[k] * c.re[k];
    }
}

int32_t rt_fourier(bmc_ctx *c, rt_arg *arg, int32_t n_arg, int32_t tid, int32_t nt)
{
    (void)c, (void)n_arg;
    const rt_arg *x = &arg[0], *work = &arg[3];
    int64_t rows = x->dim[0], n = x->dim[2], parts = work->dim[0] < nt ? work->dim[0] : nt;
    const double *cosines = arg[1].data, *sines = arg[2].data;
    if (rows <= 0 || n <= 1 || tid >= parts) return BMC_OK;
    if (!x->data || !cosines || !sines || !work->data) return BMC_E_MEMORY;
    double *own = (double *)work->data + tid * work->dim[1], *data = x->data;
    int64_t first = rows * tid / parts, last = rows * (tid + 1) / parts;
    rt_plan smooth;
    rt_chirp chirp;
    bool direct = plan(&smooth, n, cosines, sines);
    if (!direct && first < last) chirp_plan(&chirp, n, sines[1] < 0 ? -1 : 1, own);
    for (int64_t r = first; r < last; r++) {
        rt_cx row = complex_at(data + 2 * n * r, n);
        if (direct) transform(&smooth, row, complex_at(own, n));
        else chirp_transform(&chirp, row);
    }
    return BMC_OK;
}
