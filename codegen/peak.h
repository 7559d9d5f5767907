/* peak: what this machine can do at most: multiply-adds per second by vector width, and bytes read from memory per second.
 * Every benchmark states its results as a share of these, measured in the same minute. */
#ifndef BMC_CODEGEN_PEAK_H
#define BMC_CODEGEN_PEAK_H
#include "ir/kernel/kir.h"

enum { PEAK_WIDTHS = 3, PEAK_SIZES = 7 };
typedef struct PeakResult {
    int threads;                                        /* of the *_n figures */
    unsigned n;                                         /* widths measured, narrowest first */
    struct { unsigned bits; const char *name; double gflops_1, gflops_n; } width[PEAK_WIDTHS];   /* f32, a multiply-add counts as two */
    int64_t bytes[PEAK_SIZES];                          /* read over and over: half, one and two of the second-level cache, 8, 32, 128, 512 MB */
    double read_1[PEAK_SIZES], read_n[PEAK_SIZES];      /* GB/s, by size */
    double share_1, share_n;                            /* of the time of measuring in which the threads had a processor: 1 on a quiet machine */
} PeakResult;

/* Takes about a second. false: the target is not this machine's, or it lacks the target's instructions. */
bool peak_measure(const KTarget *, int threads, PeakResult *);
/* GB/s at most for a program that goes over that many bytes again and again: of the largest size that is not larger. */
double peak_read(const PeakResult *, double bytes);

/* The multiply-add loop alone, to be timed between the batches of a benchmark. NULL: as above. */
typedef struct PeakLoop PeakLoop;
PeakLoop *peak_loop_new(const KTarget *, unsigned bits);
double peak_loop_run(PeakLoop *, double flops);         /* runs about that many; gives the seconds of processor time that 1e9 of them took */
void peak_loop_free(PeakLoop *);

#endif
