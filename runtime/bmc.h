/* bmc.h: the public C interface of every model that bmc compiles (C99, C++17). A compiled model is one constant
 * `bmc_model` named PREFIX_model; a shared object exports it a second time as `bmc_model` for loaders that know no
 * prefix.
 *
 *   #include "digits.h"                                     -- written by bmc beside the artifact
 *   bmc_ctx *ctx;
 *   digits_model.create(NULL, NULL, 0, &ctx);               -- one context per concurrent caller
 *   digits_run(ctx, (digits_in){...}, (digits_out){...});
 *   digits_model.destroy(ctx);
 *
 * Nothing here prints, exits or aborts: every failure is a bmc_status and a text from message(). */
#ifndef BMC_H
#define BMC_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif

#define BMC_ABI 3u
#define BMC_MAX_RANK 32

typedef enum bmc_status {
    BMC_OK = 0,
    BMC_E_INPUT = 1,    /* an input's rank, dtype, dim, stride or pointer is wrong */
    BMC_E_CAPACITY = 2, /* an output buffer is too small: dims and bytes say what is needed */
    BMC_E_MEMORY = 3,   /* out of memory */
    BMC_E_CPU = 4,      /* this CPU lacks an instruction set the code was made for */
    BMC_E_WEIGHTS = 5,  /* the weights file is missing, unreadable or not the one compiled */
    BMC_E_INDEX = 6,    /* an index or size computed inside the model is out of range */
    BMC_E_SHAPE = 7,    /* shapes inside the model do not fit */
    BMC_E_FAIL = 8,     /* a part of the model that cannot be executed was reached */
    BMC_E_ARG = 9       /* a wrong argument to this interface */
} bmc_status;

typedef enum bmc_kind { BMC_NONE = 0, BMC_TENSOR = 1, BMC_SEQUENCE = 2, BMC_OPTIONAL = 3, BMC_MAP = 4 } bmc_kind;

/* Element types carry ONNX's numbers (TensorProto.DataType). */
/* clang-format off */
typedef enum bmc_dtype {
    BMC_F32 = 1, BMC_U8 = 2, BMC_I8 = 3, BMC_U16 = 4, BMC_I16 = 5, BMC_I32 = 6, BMC_I64 = 7, BMC_STRING = 8,
    BMC_BOOL = 9, BMC_F16 = 10, BMC_F64 = 11, BMC_U32 = 12, BMC_U64 = 13, BMC_C64 = 14, BMC_C128 = 15, BMC_BF16 = 16
} bmc_dtype;
/* clang-format on */

/* bmc_value.flags of a result: data (item) belongs to the context; passed again like that, the next run provides it
 * anew. */
#define BMC_LENT 1u

typedef struct bmc_string {
    const char *ptr;
    size_t len;
} bmc_string; /* element of a string tensor; not NUL-terminated */

/* A tensor, sequence, optional or map. As an output with data == NULL the runtime provides the memory, valid until the
 * next run, reset or destroy of the context, and sets BMC_LENT (clear flags when you put in memory of your own). */
typedef struct bmc_value {
    uint32_t size; /* sizeof(bmc_value), set by the caller */
    uint8_t kind, dtype, rank, flags;
    void *data;
    size_t bytes; /* input: size of data (0: not checked); output: capacity in, used out */
    int64_t dim[BMC_MAX_RANK];
    const int64_t *stride;  /* in elements; NULL: dense row-major. Set in outputs of pairs with a capacity only */
    struct bmc_value *item; /* sequence: n_item elements; map: keys in item[0], values in item[1], tensors [n] */
    size_t n_item;          /* optional: 0 or 1 */
} bmc_value;

/* An aliased pair (bmc_port.alias) is one buffer that the run updates in place, of the same shape on both sides. The
 * caller owns it (same pointer in and out, or data == NULL in the output: it is then the input's), or the context does
 * (data == NULL in both: zero at create and reset, kept between runs; the output's data points at it). Different
 * pointers: the input is copied into the output first.
 * With a capacity (bmc_port.capacity) the buffer has that extent along alias_axis on both sides, which sets its strides;
 * dim[alias_axis] says how much of it is filled: in what the run finds, out what it leaves. */
#define BMC_PORT_STATE 1u /* bmc_port.flags: only the context owns this pair */

/* One declared input or output. dim[i] >= 0: fixed; -1: the symbol sym[i] (index into bmc_info.symbol), -2: known only
 * after the run. rank 255: any; a tensor of any rank has 8 axes at most, the last ones of dim and sym. */
typedef struct bmc_port {
    const char *name;
    uint8_t kind, dtype, rank, flags; /* not a tensor: dtype, rank and dims are those of the tensors inside */
    uint8_t of[3]; /* kinds inside, from the outside in, up to the tensors: {BMC_SEQUENCE} in an optional of sequences; a
                    * map holds tensors */
    uint8_t key;   /* element type of the keys, where a map occurs */
    int64_t dim[BMC_MAX_RANK];
    int32_t sym[BMC_MAX_RANK];
    int32_t alias; /* inputs: the output that shares its buffer, else -1; outputs: the input, else -1 */
    int32_t alias_axis;
    int64_t capacity; /* of an aliased pair along that axis; 0: both have the same shape */
} bmc_port;

typedef struct bmc_symbol {
    const char *name;
    int64_t lo, hi;
    int32_t input, axis;
} bmc_symbol; /* bound from that axis of that input */

typedef struct bmc_info {
    const char *name;     /* the prefix */
    const char *producer; /* "bmc 0.1.0" */
    const char *target, *cpu;
    const bmc_port *input, *output;
    const bmc_symbol *symbol;
    uint32_t n_input, n_output, n_symbol, threaded;
    uint64_t weights_bytes, weights_hash;
} bmc_info;

typedef struct bmc_sizes {
    size_t arena, scratch_per_thread;
    size_t total; /* what create needs as `mem` */
} bmc_sizes;

typedef struct bmc_config {
    uint32_t size;   /* sizeof(bmc_config) */
    int32_t threads; /* 0: all physical cores the process may use */
    const void *weights;
    size_t weights_bytes;     /* where an external weights file is mapped, or NULL */
    const char *weights_path; /* or its path; else it is sought beside the artifact */
    /* runs fn(arg, tid, nt) for all tid < nt at the same time and returns when all have; NULL: OpenMP, or the caller
     * alone */
    void (*team)(void *pool, void (*fn)(void *arg, int tid, int nt), void *arg, int nt);
    void *pool;
    uint64_t seed;           /* of random operators */
    uint32_t keep_denormals; /* 0: denormals are flushed inside run unless compiled with --math=strict */
    uint32_t all_threads;    /* 0: runs that are too short to share start fewer threads; 1: always all */
} bmc_config;

typedef struct bmc_ctx bmc_ctx;

typedef struct bmc_model {
    uint32_t abi; /* BMC_ABI */
    const bmc_info *info;
    /* sym: a value for each of info->symbol, or NULL (their upper bounds). BMC_E_ARG when a size is unbounded. */
    bmc_status (*sizes)(const int64_t *sym, int threads, bmc_sizes *);
    /* config NULL: defaults. mem NULL: the runtime allocates; else no malloc ever happens and runs that need more fail
     * with BMC_E_MEMORY. */
    bmc_status (*create)(const bmc_config *, void *mem, size_t bytes, bmc_ctx **);
    bmc_status (*run)(bmc_ctx *, const bmc_value *in, bmc_value *out);
    bmc_status (*reset)(bmc_ctx *); /* forget state kept in the context and everything the runtime provided */
    void (*destroy)(bmc_ctx *);
    const char *(*message)(
        const bmc_ctx *); /* text of the last failure; ctx NULL: of the last failed create in this thread */
} bmc_model;

#ifdef __cplusplus
}
#endif
#endif
