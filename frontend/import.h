/* import.h: what the importer's files share. One Import per onnx_import call; everything of it but the module dies with its arena.
 *
 * Names. A Scope maps ONNX names to values: one per graph and one per inlined function body. A subgraph's scope continues in that of the node that owns it; a function's
 * does not. A Place is a Graph of the IR being filled: several scopes share one when functions are inlined. A name found in an outer place is captured: it becomes an
 * input of each region on the way (constants are made anew inside instead). */
#ifndef BMC_FRONTEND_IMPORT_H
#define BMC_FRONTEND_IMPORT_H
#include "frontend/frontend.h"
#include "frontend/tensor.h"
#include "ir/graph/op.h"

#define REGION_DEPTH_MAX 64
#define CALL_DEPTH_MAX 64
#define CALLED_NODES_MAX (1u << 19)   /* nodes that inlining may make: functions that call each other twice grow without end */

typedef struct Place {
    Graph *g;
    struct Place *outer;       /* NULL: the entry graph */
    Map inner;                 /* value of outer->g -> value here: captures and constants made anew */
    VEC(TypeId) formal;        /* declared types of the region's own inputs, 0: nothing said */
    VEC(int32_t) opset;        /* by node: the version of its domain that its meaning is of; 0: the newest */
    int depth;
} Place;

typedef struct Opsets { Onnx__OperatorSetIdProto *const *p; size_t n; } Opsets;

/* A function body's surroundings; the model's graph has one without a function. */
typedef struct Call {
    const Onnx__FunctionProto *function;
    Opsets opsets;
    const Onnx__AttributeProto **attr; size_t n_attr;   /* what its attributes stand for, resolved: no references */
    const char *const *attr_name;
    const struct Scope **attr_scope;   /* what the names in a graph given as attribute mean */
    const char *prefix;        /* of names inside, ends with '/' */
    int32_t node;              /* of the outermost call */
    const struct Call *caller;
    int depth;
} Call;

typedef struct Scope { Place *in; const struct Scope *outer; const Call *call; Map name; const char *path; /* prefix of nameless nodes' names */ } Scope;
#define SCOPE_BROKEN UINT32_MAX   /* a name whose definition was refused: already diagnosed */

typedef struct Late { Graph *g; Node n; int64_t opset; } Late;   /* a node whose upgrade failed for want of types */

typedef struct Import {
    Module *m;
    Arena *arena;
    const ImportOptions *opt;
    OnnxFile file;
    const Onnx__ModelProto *model;
    VEC(Place *) place;        /* by Graph.id */
    Map dim_of;                /* dim_param -> Dim */
    Map fixed;                 /* dim_param -> its size, from --shape */
    const ShapeOption *inner;  /* --shape of the sequence or optional that is read: that of its tensors */
    Map function;              /* hash of domain, name, overload -> index + 1 of the first; next_function chains */
    uint32_t *next_function;
    uint32_t called_nodes;     /* made by inlining so far */
    uint32_t inlining;         /* calls that are being inlined now, one in the other */
    bool too_large;            /* said so: inlining goes no further */
    VEC(Late) late;
    Map no_opset;              /* domains that were diagnosed as not imported */
} Import;

/* ---- types.c ---- */
/* The type of entry input `input`: dims by design D4, options applied. false: diagnosed. */
bool type_import_input(Import *, const Onnx__ValueInfoProto *, int32_t input, TypeId *);
/* What a sequence, optional or map may hold; dims that it leaves open are node symbols. false: *why. */
bool type_import_value(Import *, const Onnx__TypeProto *, TypeId *, const char **why);
/* Element type and rank only; 0: not said, or no tensor. Dims are 1: placeholders. */
TypeId type_declared(Module *, const Onnx__TypeProto *);
bool dim_options_prepare(Import *, const Onnx__GraphProto *);   /* --shape becomes sizes of names; refuses unknown inputs */
bool dim_options_done(Import *);                                /* refuses --dim of names that no input has */

typedef VEC(Name) NameVec;

/* ---- attrs.c ---- */
/* Attributes of a node into the op's struct (NULL when it has none). false: diagnosed, all problems of the node. */
bool attrs_import(Import *, const Scope *, const Onnx__NodeProto *, const OpDesc *, DiagLoc, void **attrs);
/* The graph given for region k of the op, and the scope that its names are found in; NULL: not given (diagnosed by attrs_import). */
const Onnx__GraphProto *attrs_region(const Scope *, const Onnx__NodeProto *, const OpDesc *, uint32_t k, const char **name, const Scope **where);
uint32_t attrs_n_region(const OpDesc *);
/* The tensors that attributes name (AttrSpec.names), in the order of the op's table. */
void attrs_tensor_names(Import *, const Onnx__NodeProto *, const OpDesc *, NameVec *);
bool attr_is_sparse_form(const OpDesc *, const Onnx__AttributeProto *);   /* sparse_NAME of an attribute NAME that is a tensor */
/* The attribute of a node in that scope itself, or what it refers to in the surrounding call; NULL: refers to one that was not given. where (may be NULL): the scope
 * of the names in a graph. */
const Onnx__AttributeProto *attr_resolve(const Scope *, const Onnx__AttributeProto *, const Scope **where);

/* ---- order.c ---- */
typedef struct Nodes { Onnx__NodeProto *const *p; size_t n; } Nodes;
/* Names that a graph uses but does not define, in order of first use. */
void graph_free_names(Import *, const Onnx__GraphProto *, NameVec *);
/* An order in which every node follows those whose results it uses; the file's own when that is one. false: a cycle, diagnosed. */
bool nodes_order(Import *, const Scope *, Nodes, const uint32_t **order);

/* ---- import.c ---- */
bool initializer_overridable(const Import *, const char *name);

/* ---- nodes.c ---- */
Place *place_new(Import *, const char *name, Place *outer);
bool scope_define(Import *, Scope *, const char *name, Value);
void scope_define_broken(Import *, Scope *, const char *name);
/* The value of a name in scope->in's graph. 0: an omitted optional. false: unknown or broken; *broken says which. */
bool scope_find(Import *, const Scope *, Name, Value *, bool *broken);
bool nodes_import(Import *, Scope *, Nodes);                       /* false: something was diagnosed; the rest was looked at too */
bool graph_body_import(Import *, Scope *, const Onnx__GraphProto *);   /* initializers and nodes */
Loc node_loc(Import *, const Scope *, const Onnx__NodeProto *, uint32_t index);
DiagLoc loc_diag(Import *, Loc);
int64_t opset_of(const Call *, const char *domain);               /* 0: not imported */
bool inlining_goes_on(Import *, const Call *, DiagLoc);            /* counts a node or call made by inlining; false: too many, diagnosed once */

/* ---- functions.c ---- */
void functions_index(Import *);
const Onnx__FunctionProto *function_find(const Import *, const Onnx__NodeProto *);
bool function_inline(Import *, Scope *, const Onnx__NodeProto *, const Onnx__FunctionProto *, Loc, const Value *in, size_t n_in);

/* ---- upgrade.c ---- */
/* Brings every node to its op's newest meaning, types known as far as inference gets. false: diagnosed. */
bool upgrade_module(Import *);
bool upgrade_source(Import *, Place *, Node, Value *out);         /* at once, for a node without operands; out: its results, replaced ones followed */

#endif
