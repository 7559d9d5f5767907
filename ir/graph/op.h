/* op.h: what an operator is (OpDesc) and what its class supplies. An op lives in one file of ir/ops/ and one row of ops.def;
 * frontend, printer, verifier, documentation and tests read this table and never switch on op names. */
#ifndef BMC_IR_GRAPH_OP_H
#define BMC_IR_GRAPH_OP_H
#include "ir/graph/graph.h"

typedef struct Infer Infer;     /* infer.h */
typedef struct Eval Eval;       /* eval.h */
typedef struct Lw Lw;           /* lower.h */
typedef struct Grad Grad;       /* ir/ops/grad.h */
typedef struct Kb Kb;           /* ir/kernel/build.h */
struct KVal;

typedef enum OpClass {
    CLS_ELTWISE,   /* one output element from one element of each broadcast input: needs `scalar` */
    CLS_REDUCE,    /* over axes */
    CLS_ROW,       /* along one axis with several sweeps: softmax, norms, cumulative */
    CLS_CONTRACT,  /* through macc */
    CLS_MOVE,      /* elements change place only: needs `route` (output index -> operand and its index), or is a view */
    CLS_SHAPE,     /* answers about shapes: resolved by inference as far as possible */
    CLS_CONTROL,   /* owns regions */
    CLS_WINDOW,    /* pools */
    CLS_OPAQUE     /* irregular: own nests with data-dependent sizes, or runtime calls */
} OpClass;

enum { /* OpDesc.flags */
    OPF_COMMUTES = 1, OPF_IDEMPOTENT = 2, OPF_RANDOM = 4, OPF_SIDE_EFFECT = 8, OPF_CHEAP = 16, OPF_INPLACE_0 = 32,
    OPF_INTERNAL = 64,     /* not an ONNX operator: made by passes (Dims, Group, Fail) */
    OPF_STRIDED_OUT = 256, /* stores results by logical index only: they may have any strides (layouts, places inside other buffers) */
    OPF_CHANNELS_LAST = 512, /* works best when axis 1 is the innermost in memory */
    OPF_ROW_GROUP = 1024,  /* reads operand 0 by lw_at, each element few times, and stores result 0 by lw_put: may stand in a row group */
    OPF_FOLLOWED = 2048,   /* stores result 0 by lw_put: element-wise ops may follow it in a group */
    OPF_DERIVES = 1 << 15,   /* its expansion differentiates others: made before anything is simplified (the pass `differentiate`) */
    OPF_DEFAULTS = 1 << 14, /* an attribute that is given its default means the same as one that is not given */
    OPF_ANY_RANK = 1 << 17,  /* though it has an `infer` of its own: one result by broadcasting, or each like an operand; a further axis of 1 in front of all changes nothing */
    OPF_EXPANDS = 1 << 16,   /* its expansion is one of every form, also of those that lower as they are */
    OPF_IRREGULAR = 128    /* may call the runtime (docs/OPS.md lists them; a test pins the list) */
};

/* Ports. same = k > 0: has the same element type as the other ports of the op that carry this number (ONNX's type variable). */
enum { PORT_OPTIONAL = 1, PORT_VARIADIC = 2, PORT_SEQ = 4 /* sequence of `types` */, PORT_SHAPE = 8 /* read at compile time when known */, PORT_ANY_KIND = 16, PORT_MAP = 32 /* map to scalars of `types` */ };
typedef struct Port { const char *name; DTypeSet types; uint8_t flags, same; } Port;   /* a table ends with name == NULL */
#define PORT_END {0}

/* Attributes are fields of the op's struct, whose first member is `uint64_t set` (bit k: attrs[k] was given). Floats hold values of float32: defaults are rounded. */
typedef enum AttrKind { ATTR_INT, ATTR_FLOAT, ATTR_STRING, ATTR_INTS, ATTR_FLOATS, ATTR_STRINGS, ATTR_TENSOR, ATTR_TYPE, ATTR_FULL_TYPE, ATTR_DIMS /* internal ops only */,
               ATTR_GRAPH /* region number in def_i, no field */ } AttrKind;
typedef struct AttrInts { const int64_t *p; uint32_t n; } AttrInts;
typedef struct AttrFloats { const double *p; uint32_t n; } AttrFloats;
typedef struct AttrStrings { const char *const *p; uint32_t n; } AttrStrings;
typedef struct AttrTensor { Blob blob; TypeId type; } AttrTensor;
typedef struct AttrDims { const Dim *p; uint32_t n; } AttrDims;
/* fields: int64_t | double | const char * | AttrInts | AttrFloats | AttrStrings | AttrTensor | AttrDims | int64_t (DType, for ATTR_TYPE: an ONNX type number) | TypeId (ATTR_FULL_TYPE) */
typedef struct AttrSpec { const char *name; AttrKind kind; uint32_t offset; int64_t def_i; double def_f; const char *def_s; bool required; bool internal; /* passes set it: no attribute of a model */ bool whole; /* ATTR_FLOAT: some versions have it as an int */ bool identity; /* GRAPH that may be left out: it is (x) -> (x) then */
    bool names; /* texts that name tensors: these become operands behind the node's own */ } AttrSpec;
#define A_INT(T, f, d) {.name = #f, .kind = ATTR_INT, .offset = offsetof(T, f), .def_i = (d)}
#define A_FLOAT(T, f, d) {.name = #f, .kind = ATTR_FLOAT, .offset = offsetof(T, f), .def_f = (d)}
#define A_STRING(T, f, d) {.name = #f, .kind = ATTR_STRING, .offset = offsetof(T, f), .def_s = (d)}
#define A_INTS(T, f) {.name = #f, .kind = ATTR_INTS, .offset = offsetof(T, f)}
#define A_FLOATS(T, f) {.name = #f, .kind = ATTR_FLOATS, .offset = offsetof(T, f)}
#define A_TENSOR(T, f) {.name = #f, .kind = ATTR_TENSOR, .offset = offsetof(T, f)}
#define A_TYPE(T, f, d) {.name = #f, .kind = ATTR_TYPE, .offset = offsetof(T, f), .def_i = (d)}
#define A_STRINGS(T, f) {.name = #f, .kind = ATTR_STRINGS, .offset = offsetof(T, f)}
#define A_DIMS(T, f) {.name = #f, .kind = ATTR_DIMS, .offset = offsetof(T, f)}
#define A_FULL_TYPE(T, f) {.name = #f, .kind = ATTR_FULL_TYPE, .offset = offsetof(T, f)}
#define A_GRAPH_OR_IDENTITY(n, k) {.name = (n), .kind = ATTR_GRAPH, .def_i = (k), .identity = true}
#define A_GRAPH(n, k) {.name = (n), .kind = ATTR_GRAPH, .def_i = (k)}
#define A_END {0}

/* What an op is computed by. */
enum { BY_NEST = 1 /* generated loops */, BY_TILE = 2 /* register tiles */, BY_RUNTIME = 4 /* calls of the runtime */, BY_REGION = 8 /* regions: steps of the program */ };

typedef struct Cost { double flops, bytes; } Cost;

/* One element's way through a MOVE op: where an output element comes from. idx: output index in, operand index out. */
typedef struct Route { uint32_t operand; uint32_t rank; struct KVal *idx; struct KVal *pred; /* i=0: always inside; else elements outside take `fill` */ struct KVal *fill; } Route;

/* How a tensor lies in memory: element [i0,i1,..] at offset + i0*stride0 + i1*stride1 + .. (in elements). */
typedef struct Strided { int rank; Dim dim[RANK_MAX], stride[RANK_MAX], offset; } Strided;
void strides_of_layout(Dims *, const Layout * /* NULL: row-major */, Strided *);   /* of its rank and dims */
bool strides_row_major(Dims *, const Strided *);
bool strides_reshape(Dims *, const Strided *x, Strided *y);   /* same elements under y's dims; false: strides cannot say it */
void strides_order(Dims *, const Strided *, int *axis);       /* axes from the outermost in memory to the innermost; as they are where that is not known */
LayoutId layout_of_strides(Types *, const Strided *);

typedef struct OpDesc {
    const char *name;
    const char *domain;              /* NULL or "": ai.onnx */
    int since;                       /* newest opset whose meaning this is; older models are upgraded to it */
    OpClass cls;
    uint32_t flags;
    uint8_t knows;                   /* bit k: code has to know how long operand k is along its last axis, or of which rank what it holds is (arms.c) */
    uint8_t alike;                   /* bit k: operand k is a list; those with a bit are equally long (arms.c) */
    uint8_t one;                     /* bit k: operand k is one element, in whatever rank (infer_one_element) */
    uint8_t lead;                    /* bit k: operand k may have more axes of 1 in front than another whose shape it broadcasts to (operand_without_lead) */
    uint8_t batch;                   /* bit k: operand k is matrices whose axes in front broadcast with those of the others with a bit */
    uint8_t by;                      /* BY_*: what its lowering uses beyond what its class and flags say */
    uint16_t kop;                    /* ELTWISE ops that are exactly one kernel instruction (KOp of kir.h): stands for `scalar` */
    const Port *in, *out;
    const AttrSpec *attrs; uint32_t attrs_size;
    /* `opset`: the model's. Rewrites older meaning (attributes that became inputs, other defaults) into this one: may set attributes, add inputs, replace the node. */
    bool (*upgrade)(Graph *, Node, int64_t opset);
    bool (*infer)(Infer *);          /* result types; NULL: by class */
    bool (*propagate)(Infer *);      /* contents of small integer results */
    Value (*equivalent)(Graph *, Node, uint32_t result);   /* an existing value that is the same, or 0; creates nothing */
    bool (*rewrite)(Graph *, Node);  /* makes it simpler: may create nodes and replace uses; true: changed. Drawing above it. */
    bool (*expand)(Graph *, Node);   /* into other ops, always legal; used when `lower` is NULL */
    bool (*must_expand)(const Graph *, Node);   /* a form that is expanded although the op lowers */
    struct KVal (*scalar)(Lw *, Node, const struct KVal *x, const DType *in);   /* ELTWISE: x in compute type of in[k]; returns in compute type of the result */
    bool (*route)(Lw *, Node, const struct KVal *out_idx, Route *);  /* MOVE */
    int (*joins)(const Graph *, Node);   /* the result is the operands one behind the other along this axis: producers store into it (the inverse of route) */
    /* Result r as a view of operand 0: *y has its dims and gets strides and offset from *x, how the operand lies. false: strides cannot express it. */
    bool (*view)(const Graph *, Node, uint32_t r, const Strided *x, Strided *y);
    bool (*lower)(Lw *, Node);       /* NULL: by class */
    bool (*eval)(Eval *);            /* naive reference, independent of `lower` */
    /* Has every run that comes here a result, whatever the operands hold? `index`: operand 1 where constants decide it, else NULL. NULL: it has. */
    bool (*has_result)(const Graph *, Node, const struct Tensor *index);
    Cost (*cost)(const Graph *, Node);
    bool (*verify)(const Graph *, Node, const char **why);     /* what the tables cannot say: results and inputs of regions */
    bool (*grad)(Grad *);            /* adjoints of the operands from those of the results (ir/ops/grad.h); without it, by `expand` */
} OpDesc;

const OpDesc *op_desc(OpCode);                                   /* never NULL for a valid code */
static inline const OpDesc *node_desc(const Graph *g, Node n) { return op_desc(node_rec(g, n)->op); }
static inline const void *node_attrs(const Graph *g, Node n) { return node_rec(g, n)->attrs; }
#define ATTRS(g, n, T) ((const T *)node_attrs((g), (n)))
bool op_result_unsure(const Graph *, Node, const struct Tensor *);  /* OpDesc.has_result: only the run can say */
bool op_lowers(const OpDesc *);                                  /* it can be lowered as it is */
unsigned op_computed_by(const OpDesc *);                         /* BY_*: what its lowering uses; 0: it has none, `expand` writes it in terms of other ops */
const char *op_versions(OpCode);                                 /* "1 6 13": opsets of its domain that defined it anew; "": internal */
int op_version_at(OpCode, int64_t opset);                        /* the one that a model of that opset means; 0: none yet */
enum { OP_BY_TEXT = 40 };
const char *op_by_text(const OpDesc *, char text[OP_BY_TEXT]);   /* the same in words: "nest", "nest tile", "other operators" */
const char *op_full_name(Arena *, const char *domain, const char *name); /* "ai.onnx.ml.Scaler"; the name alone in the main domain ("" or NULL) */
OpCode op_find(const char *domain, const char *name);            /* OP_NONE when absent; internal ops are found under domain "bmc" */
void op_verify_table(void);                                      /* BUGs unless every row has what its class demands */
void *attrs_new(Arena *, const OpDesc *);                        /* the struct with defaults */
bool attrs_equal(const OpDesc *, const void *a, const void *b);  /* what was given and all values */
uint64_t attrs_hash(const OpDesc *, const void *);
static inline bool attr_given(const OpDesc *d, const void *attrs, uint32_t k) { (void)d; return (*(const uint64_t *)attrs >> k) & 1; }

#define OP(name, file, versions) extern const OpDesc op_##name;
#include "ir/ops/ops.def"
#undef OP

#endif
