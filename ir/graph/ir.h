/* ir.h: the Graph IR: ALL its open structs, the map of the program. SSA over tensors (and sequences, optionals, maps, strings) with symbolic dims.
 *
 *   graph @main(%x: f32[N,64], %b: f32[64]) -> (%y) {
 *     %1 = Add(%x, %b) : f32[N,64]
 *     %y = Relu(%1) : f32[N,64]            ; at 3 'block/relu'
 *   }
 *
 * Everything lives in arrays of the module or graph and dies with the compile arena. Nodes stand in topological order in a linked list. Use lists are always right
 * because only the functions of graph.h mutate. A node may own closed graphs (regions): whatever a region uses of its surroundings is an explicit operand of the node,
 * so DCE, cloning and use lists need no scopes. Region conventions, in order of the region's inputs:
 *   If        operands: cond, captures...             then/else graphs: (captures...)
 *   Loop      operands: M or 0, cond or 0, carried..., captures...   body: (iter i64[], cond bool[], carried..., captures...) -> (cond, carried..., scan outputs...)
 *   Group     operands = inputs of its one graph; results = its outputs (a fusion group, D3)
 * NodeRec.n_capture counts the captures, always the last operands. */
#ifndef BMC_IR_GRAPH_IR_H
#define BMC_IR_GRAPH_IR_H
#include "base/diag.h"
#include "base/vec.h"
#include "ir/blob.h"
#include "ir/dim.h"
#include "ir/type.h"

#define BIR_VERSION 1
#define OPSET_NEWEST 28     /* of ai.onnx; newer models get a warning */

typedef struct Value { uint32_t i; } Value;   /* inside one graph; 0: none (an omitted optional operand) */
typedef struct Node { uint32_t i; } Node;     /* inside one graph; 0: none */
#define VALUE_NONE ((Value){0})
#define NODE_NONE ((Node){0})

typedef enum OpCode { OP_NONE,
#define OP(name, file, versions) OP_##name,
#include "ir/ops/ops.def"
#undef OP
    OP_COUNT } OpCode;

typedef struct Loc { int32_t node; /* ONNX index, -1: none */ Name name; /* ONNX node name */ Name op; /* as in the model: rewritten nodes keep their origin */ } Loc;

/* Elements of a small integer tensor (at most CONTENT_MAX) known at compile time, symbols allowed: shape arithmetic. A cache made by inference. */
typedef struct Content { uint32_t n; Dim d[]; } Content;
#define CONTENT_MAX 64

typedef struct ValueRec {
    Node def;             /* 0: graph input or constant */
    uint32_t result;      /* which result of def */
    TypeId type;          /* 0: not inferred yet */
    Name name;            /* for people; unique in the graph when printed */
    Blob data;            /* constants; else 0 */
    const Content *content;
    const struct Tensor *known;   /* a small value of constants only, evaluated by inference (known.c); a cache */
    uint32_t first_use;   /* operand slot + 1 of the first use; 0: unused (graph outputs are not uses: see n_out_use) */
    uint32_t n_use, n_out_use;
} ValueRec;

typedef struct OperandRec { Value v; Node user; uint32_t index; uint32_t prev_use, next_use; /* slots + 1 */ } OperandRec;

typedef struct NodeRec {
    OpCode op;
    uint32_t in, n_in;    /* span of Graph.operand */
    uint32_t out, n_out;  /* span of values out .. out+n_out-1 */
    uint32_t n_capture;
    void *attrs;          /* the op's own struct (its AttrSpec table describes it), zeroed and defaulted; NULL when it has none */
    struct Graph **region; uint32_t n_region;
    Loc loc;
    Node prev, next;
    bool dead;
} NodeRec;

typedef struct Graph {
    struct Module *m;
    Name name;
    uint32_t id;          /* index in Module.graph */
    VEC(ValueRec) value; VEC(OperandRec) operand; VEC(NodeRec) node;   /* index 0 unused */
    VEC(Value) in, out;
    VEC(Name) out_name;   /* of each output, as in the model; the value's own name may differ (several outputs may be one value) */
    Node first, last;
    VEC(uint32_t) check;  /* where its checks stand in Module.check: graph_checks */
} Graph;

/* A run-time check that inference left: a == b (or one is 1 when `bcast`), because of node `loc`. `g`: where the nodes are, NULL: dropped. `at`: 0 when only entry symbols occur, else the node before which it runs. */
typedef struct CheckRec { Dim a, b; bool bcast; const char *msg; Loc loc; Graph *g; Node at; } CheckRec;

typedef struct AliasRec { Name in, out; int32_t axis; /* -1: same shape */ int64_t cap; } AliasRec;

/* The rank of that output is a value of the run: it has RANK_ANY axes, and the last outputs of the entry graph say how many of them count, from the last. */
typedef struct RankRec { Name out, rank; } RankRec;

/* How exact arithmetic has to be: ir/graph/math_mode.h. */
typedef enum MathMode { MATH_DEFAULT, MATH_STRICT, MATH_FAST, MATH_BF16 } MathMode;
typedef struct NodeMath { Name node; /* in the model */ MathMode mode; } NodeMath;

typedef struct Module {
    Arena *arena; Diag *diag;
    Names names; Dims dims; Types types; Blobs blobs;
    VEC(Graph *) graph; Graph *entry;
    VEC(CheckRec) check;  /* made by module_check; may be cut short at any time */
    uint32_t check_moves; /* how often checks have changed their place or their graph: whoever does that counts */
    uint32_t check_listed; /* that number when the graphs' lists of them were made */
    VEC(AliasRec) alias; VEC(RankRec) rank;
    VEC(TypeId) out_decl; /* what the model file declares of each output of the entry graph (element type and rank), 0: nothing; onnx_check_outputs compares */
    const char *source;   /* model file, for messages */
    const char *prefix;   /* C identifier for generated symbols */
    int64_t opset;        /* of ai.onnx in the file */
    MathMode math;        /* of nodes without a mode of their own */
    VEC(NodeMath) node_math;
    uint32_t next_name;
    uint32_t in_loop;     /* bodies of Loops that inference is in */
    uint64_t infer_open;  /* complaints so far of a rank that is not known */
    uint64_t infer_count; /* nodes inferred so far: regions are inferred several times, nested ones without bound but for this (INFER_MAX) */
} Module;

static inline ValueRec *value_rec(const Graph *g, Value v) { return &g->value.p[v.i]; }
static inline NodeRec *node_rec(const Graph *g, Node n) { return &g->node.p[n.i]; }

#endif
