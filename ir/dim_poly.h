/* dim_poly.h: the normal form behind dim.c, private to ir/dim*.c. A dimension is a polynomial: a sum of terms c * f1 *
 * f2 * ..., where a factor is an atom (symbol, floordiv, mod, min, max, bcast; a sum only where distributing it would
 * pass the limits below). Terms are sorted: higher degree first, then by factors, the constant last; factors are
 * sorted by dim_order. This is an admissible monomial order, so division by leading terms is exact division.
 * Everything lives on the stack; the limits make the functions say POLY_BIG, and the caller then keeps the expression
 * as it is. */
#ifndef BMC_IR_DIM_POLY_H
#define BMC_IR_DIM_POLY_H
#include "ir/dim.h"

#define POLY_TERMS 64
#define POLY_DEGREE 16
typedef struct Term { int64_t c; uint32_t n; Dim f[POLY_DEGREE]; } Term;
typedef struct Poly { uint32_t n; Term t[POLY_TERMS]; } Poly;   /* n == 0: zero; every c != 0 */
typedef enum PolyStatus { POLY_OK, POLY_BIG, POLY_OVERFLOW } PolyStatus;

/* A total order that depends on names and structure only. */
int dim_order(const Dims *, Dim, Dim);
static inline void poly_zero(Poly *p) { p->n = 0; }
void poly_copy(Poly *to, const Poly *from);
PolyStatus poly_add_dim(const Dims *, Poly *, int64_t c, Dim);              /* p += c * x */
PolyStatus poly_add_const(const Dims *, Poly *, int64_t c);
PolyStatus poly_add_poly(const Dims *, Poly *, int64_t c, const Poly *);    /* p += c * q */
PolyStatus poly_mul(const Dims *, const Poly *, const Poly *, Poly *out);   /* out is neither operand */
bool poly_div_exact(const Dims *, const Poly *a, const Poly *b, Poly *q);   /* true: a == q * b */
bool poly_is_const(const Poly *, int64_t *);
int64_t poly_constant(const Poly *);                                         /* its constant term */
void poly_remove(Poly *, uint32_t term);
/* Divides both by their greatest common constant and monomial; true when that was not 1. */
bool poly_cancel(const Dims *, Poly *, Poly *);
Dim poly_build(Dims *, const Poly *);                                        /* the one Dim of this polynomial */
Dim dim_cons(Dims *, DimKind, Dim a, Dim b);                                 /* hash-consed record, no simplification */

/* A lower bound, at least as good as interval arithmetic; the search for a better one stops at `want`. INT64_MIN: none
 * known. */
int64_t poly_lower(const Dims *, const Poly *, int64_t want, int depth);
int64_t dim_divisor(const Dims *, Dim); /* a known divisor of every value; 0: the value is 0 */

static inline int64_t floor_div(int64_t a, int64_t b) { return a / b - ((a % b != 0) && ((a < 0) != (b < 0))); }
static inline int64_t floor_mod(int64_t a, int64_t b)
{
    int64_t r = a % b;
    return r + (r != 0 && ((r < 0) != (b < 0)) ? b : 0);
}
static inline uint64_t dim_abs(int64_t x) { return x < 0 ? 0 - (uint64_t)x : (uint64_t)x; }

#endif
