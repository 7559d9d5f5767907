/* peak: what this machine can do at most: multiply-adds per second by vector width, and bytes read from memory per second.
 * Every benchmark states its results as a share of these, measured in the same minute. */
#ifndef BMC_CODEGEN_PEAK_H
#define BMC_CODEGEN_PEAK_H
#include "ir/kernel/kir.h"

enum { PEAK_WIDTHS = 3 };
typedef struct PeakResult {
    int threads;                                        /* of the *_n figures */
    unsigned n;                                         /* widths measured, narrowest first */
    struct { unsigned bits; const char *name; double gflops_1, gflops_n; } width[PEAK_WIDTHS];   /* f32, a multiply-add counts as two */
    double read_1, read_n;                              /* GB/s, from memory */
    double cache_1, cache_n;                            /* GB/s, from the second-level cache: half of it, in place */
} PeakResult;

/* Takes under a second. false: the target is not this machine's, or it lacks the target's instructions. */
bool peak_measure(const KTarget *, int threads, PeakResult *);

/* The multiply-add loop alone, to be timed between the batches of a benchmark. NULL: as above. */
typedef struct PeakLoop PeakLoop;
PeakLoop *peak_loop_new(const KTarget *, unsigned bits);
double peak_loop_run(PeakLoop *, double flops);         /* runs about that many; gives the seconds that 1e9 of them took */
void peak_loop_free(PeakLoop *);

#endif
