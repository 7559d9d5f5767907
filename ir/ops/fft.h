/* fft.h: fast Fourier transforms of a known number of points inside a kernel that is being built. */
#ifndef BMC_IR_OPS_FFT_H
#define BMC_IR_OPS_FFT_H
#include "ir/graph/lower.h"

enum { FFT_LONG = 61 /* no larger prime factor */, FFT_PASSES = 64, FFT_LANES = 8 /* that passes are planned for */ };

/* A part without a value is zero. */
typedef struct Cx {
    KVal re, im;
} Cx;

typedef struct Fft Fft;
/* Point `at` of the input, lo <= at < hi; what becomes of element `at` of the result. */
typedef Cx (*FftSource)(void *arg, Fft *, KVal at, int64_t lo, int64_t hi);
typedef void (*FftSink)(void *arg, Fft *, KVal at, Cx v);

struct Fft {
    Lw *l;
    Kb *b;
    DType t;          /* of the arithmetic */
    int64_t n;        /* points */
    bool back;        /* the inverse transform, without the division by n */
    int64_t columns;  /* so many transforms side by side in lanes; 0: one, whose points are in lanes */
    KVal column;      /* number of the one at hand */
    KBuf turns;       /* fft_turns */
    uint32_t turn;    /* its parameter */
    uint32_t row[2];  /* locals [2, n + 1] or [2, n + 1, columns]: what a pass reads, and where it puts results */
    int now;          /* which of them holds the row */
};

/* The largest prime factor of n. */
int64_t fft_largest(int64_t n);
/* The m >= n that transforms fastest. */
int64_t fft_round_up(int64_t n, Arena *);
/* e^(+-2 pi i k / n), the sign of `back`. */
void fft_root(int64_t k, int64_t n, bool back, double *re, double *im);
/* A constant [count] of type t from doubles. */
KBuf fft_const(Lw *, DType t, int64_t count, const double *, const char *stem);
/* Fills turns from t, n, back, columns: before the kernel is opened. Several transforms may share it. */
void fft_turns(Fft *);
/* Parameter of turns and locals, in the open kernel. */
void fft_open(Fft *);
/* All passes. source NULL: from row[now]; sink NULL: to row[now]. */
void fft_run(Fft *, FftSource, FftSink, void *arg);
/* Between fft_points and fft_points_end: each point from lo to hi - 1, of each column. */
KVal fft_points(Fft *, int64_t lo, int64_t hi);
void fft_points_end(Fft *);
Cx fft_get(Fft *, KVal at);
void fft_set(Fft *, KVal at, Cx);
/* The same transform on the host: to[0..2n) = that of from[0..2n), real and imaginary parts in turn. */
void fft_host(int64_t n, bool back, const double *from, double *to, Arena *);

Cx fft_add(Fft *, Cx, Cx);
Cx fft_sub(Fft *, Cx, Cx);
Cx fft_mul(Fft *, Cx, Cx);
Cx fft_conj(Fft *, Cx);
Cx fft_scale(Fft *, Cx, double);

#endif
