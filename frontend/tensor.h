/* tensor.h: TensorProto to constants. */
#ifndef BMC_FRONTEND_TENSOR_H
#define BMC_FRONTEND_TENSOR_H
#include "frontend/file.h"
#include "ir/graph/ir.h"

typedef struct TensorInfo { DType elem; int rank; int64_t dim[RANK_MAX]; int64_t count; } TensorInfo;

/* Element type and dims, checked: a known type, rank <= RANK_MAX, no negative dim, bytes within int64. false: *why. */
bool tensor_info(Arena *, const Onnx__TensorProto *, TensorInfo *, const char **why);

/* The data as a constant: bytes that lie in the file as they are needed (raw, external, packed floats) are referred to when they are more than a few;
 * the rest is decoded. false: *why, and *external says that the trouble is with external data. */
bool tensor_blob(const OnnxFile *, const Onnx__TensorProto *, const TensorInfo *, Blob *, const char **why, bool *external);
/* Bytes of `count` elements in raw_data and in external files; as dtype_bytes but for floats of 6 bits, which are packed there. */
int64_t tensor_raw_bytes(DType, int64_t count);
/* Those bytes from a byte an element, in the arena. */
uint8_t *tensor_pack_six(Arena *, const uint8_t *from, int64_t count);

/* Both at once for a model; diagnosed as E_TENSOR or E_EXTERNAL at `loc`. `name`: for messages when the tensor has none of its own. */
bool tensor_import(Module *, const OnnxFile *, const Onnx__TensorProto *, DiagLoc loc, const char *name, Blob *, TypeId *);
/* The dense form of a sparse tensor. */
bool sparse_import(Module *, const OnnxFile *, const Onnx__SparseTensorProto *, DiagLoc loc, const char *name, Blob *, TypeId *);

/* external.c: where the data of a tensor with data_location EXTERNAL lies: bytes [off, off+bytes) of a file in the model's folder, mapped. false: *why. */
bool external_find(const OnnxFile *, const Onnx__TensorProto *, int64_t bytes, uint32_t *file, int64_t *off, const char **why);

#endif
