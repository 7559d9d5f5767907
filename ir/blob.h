/* blob.h: constant data (design D11). RAW points into a mapped file and is never copied; small values are INLINE; DERIVED is a recipe that the weight
 * writer evaluates panel by panel when it streams the data object. A blob's bytes are little-endian, dense, row-major, ONNX packing for sub-byte types;
 * string elements are bmc_string records in memory only (kind STRINGS). */
#ifndef BMC_IR_BLOB_H
#define BMC_IR_BLOB_H
#include "base/diag.h"
#include "base/intern.h"
#include "base/str.h"
#include "ir/type.h"

typedef struct Blob { uint32_t i; } Blob;    /* 0: none */
typedef enum BlobKind { BLOB_RAW, BLOB_INLINE, BLOB_SPLAT, BLOB_IOTA, BLOB_STRINGS, BLOB_DERIVED } BlobKind;
#define BLOB_INLINE_MAX 65536
#define RECIPE_SRC_MAX 8      /* operands of a recipe */

typedef enum RecipeKind { RECIPE_PACK, RECIPE_GRAPH, RECIPE_WINOGRAD } RecipeKind;
/* PACK: the B operand of a MACC tile: source (after the optional transpose of a K x N view given by strides) in strips [kblock][N/16][kc/g][16][g].
 * Element (batch t, k, n) of the source is at  src_off + t*stride_t + k*stride_k + n*stride_n  (in elements); with k_in > 0, k*stride_k is
 * (k / k_in)*stride_q + (k % k_in)*stride_k: two axes of the source make up k. With `sides` > 1 so many matrices, stride_side apart, lie side by side and
 * their strips take turns: N/16 times one strip of each.
 * WINOGRAD: the transformed weights of a convolution by minimal filtering (winograd.h) F(m,r): [panel][n*n][N/16][K][16], a panel holds `panel`
 * columns, the last one what is left, rounded up to 16. Tap t of (input channel c, n) is at src_off + t + c*stride_k + n*stride_n; with steps v, h of the
 * convolution, K counts the input channels of each of v*h places. f32 only.
 * GRAPH: `graph` (index into the module's graphs) evaluated over `src` blobs, its one result. */
typedef struct Recipe {
    RecipeKind kind;
    Blob src[RECIPE_SRC_MAX]; uint32_t n_src;
    int64_t batch, K, N, kc, g;              /* PACK */
    int64_t src_off, stride_t, stride_k, stride_n;
    int64_t k_in, stride_q;                  /* k_in 0: k is one axis */
    int64_t sides, stride_side;              /* sides 0: one */
    int64_t m, panel, r, step[2];            /* WINOGRAD; r 0: 3 taps in steps of 1 */
    uint32_t graph;                          /* GRAPH */
} Recipe;

typedef struct BlobRec {
    BlobKind kind;
    DType elem;
    int64_t count;               /* elements */
    uint32_t file; int64_t off;  /* RAW: index into Blobs.file, byte offset */
    const void *data;            /* INLINE: bytes; STRINGS: bmc_string[count]; RAW: the mapped bytes */
    double fval; int64_t ival, step; /* SPLAT: value (fval for floats, ival else); IOTA: ival + k*step */
    Recipe *recipe;              /* DERIVED */
    uint64_t hash;               /* of the content (RAW, INLINE) or of the recipe; 0: not computed yet */
} BlobRec;

typedef struct BlobFile { const char *path; const uint8_t *map; int64_t bytes; int fd; /* -1: closed once mapped */ } BlobFile;
typedef struct Blobs { Arena *arena; VEC(BlobRec) rec; VEC(BlobFile) file; } Blobs;

/* Where element k stands along a PACK recipe's k. */
static inline int64_t recipe_k(const Recipe *r, int64_t k) { return r->k_in ? k / r->k_in * r->stride_q + k % r->k_in * r->stride_k : k * r->stride_k; }

/* How many strips of 16 columns stand side by side in a PACK recipe. */
static inline int64_t recipe_strips(const Recipe *r) { return (r->N + 15) / 16 * (r->sides ? r->sides : 1); }
/* WINOGRAD: elements of all panels, or -1 when fields do not fit each other. */
int64_t recipe_winograd_count(const Recipe *);
/* WINOGRAD: taps of the convolution's kernel, of a recipe that has a count. */
int64_t recipe_winograd_taps(const Recipe *);
/* WINOGRAD: computes the panel that begins with column n0 into to[]. w: room for K x 9 weights of 16 columns, what `read` brings there of columns n0.. (beyond N: zeros). */
bool recipe_winograd_panel(const Recipe *, int64_t n0, bool (*read)(void *arg, int64_t first, int64_t n, float *to), void *arg, float *w, float *to);

void blobs_init(Blobs *, Arena *);
void blobs_close(Blobs *);                                     /* unmaps the files */
/* Maps a file read-only once; the same path gives the same index. false: *why is a reason for a message. */
bool blob_file(Blobs *, const char *path, uint32_t *file, const char **why);
BlobRec *blob_rec(const Blobs *, Blob);
Blob blob_raw(Blobs *, uint32_t file, int64_t off, DType, int64_t count);   /* the range must lie inside the file */
Blob blob_inline(Blobs *, DType, int64_t count, const void *bytes);          /* copies; SPLAT and IOTA are found; >64 KB is allowed only transiently */
Blob blob_strings(Blobs *, int64_t count, const char *const *ptr, const size_t *len);
Blob blob_splat_f(Blobs *, DType, int64_t count, double);
Blob blob_splat_i(Blobs *, DType, int64_t count, int64_t);
Blob blob_iota(Blobs *, DType, int64_t count, int64_t first, int64_t step);  /* integer types; wraps to the type's width */
Blob blob_derived(Blobs *, DType, int64_t count, const Recipe *);
int64_t blob_bytes(const Blobs *, Blob);                       /* as written to memory by blob_read (STRINGS: the records alone) */
/* Copies elements [first, first+n) as dense bytes to `to`; not for DERIVED or STRINGS. */
void blob_read(const Blobs *, Blob, int64_t first, int64_t n, void *to);
int64_t blob_get_i(const Blobs *, Blob, int64_t k);            /* element as integer (floats truncate); not for DERIVED, STRINGS */
double blob_get_f(const Blobs *, Blob, int64_t k);
uint64_t blob_hash(Blobs *, Blob);
bool blob_equal(Blobs *, Blob, Blob);                          /* same type, count and content (by hash, then bytes) */
/* Text form: splat(0.5) | iota(0,1) | [1,2,3] | ["a","b"] | "path"@off+len#hash | hex"..." for long inline data and what numbers cannot say |
 * pack(f32 8192 <blob>, batch=1, K=64, N=128, kc=64, g=1, off=0, st=0, sk=128, sn=1[, ki=3, sq=9][, sides=4, ss=64]) | graph(3, f32 4 <blob>, ...) | none. */
void blob_print(Str *, const Blobs *, Blob);

#endif
