/* frontend.h: ONNX files into the Graph IR. Only this folder knows protobuf. */
#ifndef BMC_FRONTEND_FRONTEND_H
#define BMC_FRONTEND_FRONTEND_H
#include "ir/graph/graph.h"
#include "ir/graph/eval.h"

typedef struct DimOption { const char *name; int64_t lo, hi, multiple; } DimOption;   /* --dim batch=1, --dim seq=1..512%8 */
typedef struct ShapeOption { const char *input; int rank; int64_t dim[RANK_MAX]; } ShapeOption; /* --shape x=1x3x224x224, -1: as in the model */
typedef struct ImportOptions {
    const DimOption *dim; uint32_t n_dim;
    const ShapeOption *shape; uint32_t n_shape;
    const char *const *overridable; uint32_t n_overridable;   /* initializers that stay inputs */
} ImportOptions;

/* Reads `path` into m (initialised). All problems that can be found are diagnosed before false. Nodes have the newest meaning of their
 * operators; what that needed of inference has been found, the rest is the infer pass's. Messages (not the mapped files) die before it returns. */
bool onnx_import(Module *m, const char *path, const ImportOptions *);

/* After inference: every output has the element type that the model declares. false: diagnosed (E_TYPE_DECL). Another rank
 * than declared is a warning (E_RANK_DECL). */
bool onnx_check_outputs(Module *);

/* `bmc check`: one line per construct that bmc lacks; walks the whole file without stopping at the first. */
typedef struct CheckItem { const char *what; const char *node, *op, *domain; int64_t opset; } CheckItem;
typedef VEC(CheckItem) CheckItems;
typedef struct OpUse { const char *op, *domain; uint32_t n; int64_t opset; /* of the domain */ } OpUse;
typedef VEC(OpUse) OpUses;
bool onnx_check(Arena *, Diag *, const char *path, CheckItems *missing, OpUses *used);

/* Serialised TensorProto / SequenceProto / OptionalProto / MapProto files (input_0.pb, output_0.pb of ONNX test data). */
typedef enum ValueProto { PROTO_TENSOR, PROTO_SEQUENCE, PROTO_OPTIONAL, PROTO_MAP } ValueProto;
bool onnx_read_value(Arena *, Diag *, const char *path, ValueProto kind, bmc_value *out, const char **name /* may be NULL */);
bool onnx_write_value(Arena *, Diag *, const char *path, const char *name, const bmc_value *);

#endif
