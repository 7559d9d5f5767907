/* dim.h: symbolic dimensions (design D4): hash-consed expressions over int64, canonical when built, so that equal ids mean equal values
 * (the reverse does not hold: ask dim_cmp). Sums are sorted lists with collected coefficients, n+0 -> n, constants folded.
 * (polynomials over atoms, ordered by name, so that the text does not depend on the order of creation: dim_poly.h).
 * Overflow: an operation whose constant result leaves int64, that divides by constant 0, or whose expression grows beyond DIM_SIZE_MAX nodes
 * yields DIM_NONE and sets dims->overflow; callers that read files check it. DIM_NONE as an operand gives DIM_NONE.
 * Simplifications hold wherever the operands are defined: N//N -> 1 though N may be 0. */
#ifndef BMC_IR_DIM_H
#define BMC_IR_DIM_H
#include "base/intern.h"
#include "base/str.h"

typedef struct Dim { uint32_t i; } Dim;   /* 0: none */
typedef struct Sym { uint32_t i; } Sym;   /* index into Dims.sym; 0: none */
#define DIM_NONE ((Dim){0})
static inline bool dim_same(Dim a, Dim b) { return a.i == b.i; }

typedef enum DimKind { DIM_CONST, DIM_SYM, DIM_ADD, DIM_MUL, DIM_FLOORDIV, DIM_MOD, DIM_MIN, DIM_MAX, DIM_BCAST } DimKind;
typedef struct DimRec { DimKind kind; int64_t k; /* CONST */ Sym sym; /* SYM */ Dim a, b; uint32_t size; /* nodes, as a tree */ } DimRec;
#define DIM_SIZE_MAX 4096

typedef enum SymKind { SYM_ENTRY, SYM_NODE } SymKind;   /* bound at entry from an input's axis, or by a node while running */
/* An input of unknown rank has RANK_ANY axes, 1 in front of those that a run brings, and a symbol for how many those are. */
#define RANK_ANY 8
#define AXIS_RANK 255

typedef struct SymRec {
    Name name;                /* unique in the module: as in the model when it is an identifier, else made up (s3) */
    SymKind kind;
    int32_t input, axis;      /* ENTRY: where it is read from (AXIS_RANK: the input's rank); -1: bound by a check or an equality only */
    int64_t lo, hi, multiple; /* bounds (inclusive); hi = INT64_MAX: none; multiple >= 1 */
    Dim same_as;              /* union-find: 0, or what this symbol was assumed equal to */
} SymRec;

typedef struct DimMemo { uint32_t stamp; Dim to; } DimMemo;
typedef struct Dims { Arena *arena; Names *names; VEC(DimRec) rec; VEC(SymRec) sym; Map by_hash; bool overflow; uint32_t fresh;
    Map by_const, by_name;    /* constant -> Dim; Name -> Sym */
    VEC(Dim) of_sym;          /* the DIM_SYM of each symbol, 0: not asked for yet */
    bool merged;              /* dim_assume_eq made a symbol equal to something */
    VEC(DimMemo) memo;        /* by Dim: what dim_resolve made of it in the call that `stamp` counts */
    uint32_t stamp, nested;   /* nested: calls of dim_resolve, which asks questions that call it again, under way */
    uint32_t narrowed;        /* how often an assumed x = min(x, k) bounded a symbol: types made before may be simpler now */
} Dims;

void dims_init(Dims *, Arena *, Names *);
Dim dim_const(Dims *, int64_t);
Sym sym_new(Dims *, Name name_or_0, SymKind, int64_t lo, int64_t hi);   /* name 0: a fresh one; a taken name gets a suffix */
bool sym_find(const Dims *, Name, Sym *);
Dim dim_sym(Dims *, Sym);
Dim dim_add(Dims *, Dim, Dim);
Dim dim_sub(Dims *, Dim, Dim);
Dim dim_mul(Dims *, Dim, Dim);
Dim dim_div(Dims *, Dim, Dim);       /* floor division; the divisor must not be constant 0 */
Dim dim_ceildiv(Dims *, Dim, Dim);   /* floor((a + b - 1) / b) */
Dim dim_mod(Dims *, Dim, Dim);       /* a - b*floor(a/b) */
Dim dim_min(Dims *, Dim, Dim);
Dim dim_max(Dims *, Dim, Dim);
Dim dim_bcast(Dims *, Dim, Dim);     /* the broadcast of two extents; EQ, or one of them constant != 1, resolve at once */
Dim dim_resolve(Dims *, Dim);        /* replaces symbols by what they were assumed equal to (or fixed at) and rebuilds */

bool dim_is_const(const Dims *, Dim, int64_t *k);
static inline bool dim_is(const Dims *d, Dim x, int64_t k) { int64_t v; return dim_is_const(d, x, &v) && v == k; }
void dim_bounds(const Dims *, Dim, int64_t *lo, int64_t *hi);    /* interval arithmetic, saturating */
bool dim_multiple_of(const Dims *, Dim, int64_t k);              /* true: provable */
typedef enum Tri { TRI_NO, TRI_YES, TRI_UNKNOWN } Tri;
Tri dim_eq(const Dims *, Dim, Dim);
Tri dim_le(const Dims *, Dim, Dim);                              /* a <= b */
Dim dim_factor(Dims *, Dim, int64_t *coef);                      /* x = coef * result: its greatest constant divisor taken out of all terms */
/* Records that a and b are equal: merges classes where one is a symbol; x = min(x, k) bounds x. false: provably different. The caller leaves a run-time check. */
bool dim_assume_eq(Dims *, Dim, Dim);
/* value[sym.i] for every symbol used; false: overflow or division by zero. A broadcast of different extents, neither 1, gives either. */
bool dim_eval(const Dims *, Dim, const int64_t *value, int64_t *out);
/* Calls f for each symbol in the expression (each once per occurrence). */
void dim_each_sym(const Dims *, Dim, void (*f)(void *arg, Sym), void *arg);
bool dim_has_kind(const Dims *, Dim, SymKind);                   /* mentions a symbol of that kind */

/* Text form, readable and parsed back by lex.h: 64  N  N+1  2*N  (N+3)//2  N%4  min(N,4)  max(a,b)  bcast(a,b). */
void dim_print(Str *, const Dims *, Dim);

#endif
