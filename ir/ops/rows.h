/* rows.h: the loops of ops that sweep rows several times: softmax, norms. A row is what stands along one axis or
 * several.
 *
 * Where rows are contiguous, ROWS_JAM neighbouring ones are swept together: each has its own chain of additions, so
 * that none waits for another, and the lanes are elements of a row. The last rows of an axis that ROWS_JAM does not
 * divide are swept several times by one iteration. Elsewhere lanes may be rows, which the schedule decides.
 * What is dear to compute again (a group's producers, exponentials) is kept in a row of the thread's scratch. */
#ifndef BMC_IR_OPS_ROWS_H
#define BMC_IR_OPS_ROWS_H
#include "ir/graph/lower.h"

enum { ROWS_JAM = 4, ROWS_CARRIES = 2, ROWS_LONG = 16384 /* elements: four such rows would leave the cache */ };

typedef struct Rows {
    Lw *l;
    uint32_t axes;   /* of a row: a bit each */
    int rank, loops;
    uint32_t n;      /* rows at once */
    bool contiguous;
    KVal idx[ROWS_JAM][RANK_MAX];
    uint32_t kept[ROWS_JAM];   /* locals, 0: none */
    KVal fresh[ROWS_JAM];      /* 1 unless row j stands for one before it; 0 values: always */
} Rows;

/* What a sweep does with one element: row j, its number in the row; next[] starts as carry[]. */
typedef void RowBody(Rows *, uint32_t j, KVal at, KVal *carry, void *arg);

/* Opens the loops over everything but `axes` of operand 0 (kernel open); idx[j] then misses only the row's own axes. */
void rows_open(Rows *, Lw *, uint32_t axes);
void rows_close(Rows *);
/* Sweeps the rows: carry[j * n_carry + c] starts from init[c] and is what the body makes of it; results come back in
 * `carry`. Only sweeps without carries may store results. */
void rows_sweep(Rows *, uint32_t n_carry, const KVal *init, const KOp *combine, RowBody *, void *arg, KVal *carry);
Dim rows_length(const Rows *);
/* Scratch for one value of type t per element; only where rows are contiguous (false: compute again). */
bool rows_keep(Rows *, DType t);
void rows_set(Rows *, uint32_t j, KVal at, KVal v);
KVal rows_get(Rows *, uint32_t j, KVal at);

#endif
