/* file.h: a protobuf file as messages of protobuf-c, with the data of tensors left where it is. */
#ifndef BMC_FRONTEND_FILE_H
#define BMC_FRONTEND_FILE_H
#include "base/diag.h"
#include "frontend/onnx.pb-c.h"
#include "frontend/scan.h"
#include "ir/blob.h"

typedef struct OnnxFile {
    const char *path;
    Arena *arena;             /* of the messages */
    Blobs *blobs; uint32_t file;
    const uint8_t *map; size_t bytes;
    Spans span;
    ProtobufCMessage *root;
} OnnxFile;

/* Maps, scans and unpacks a file that holds one message of type `type`; messages live in `a`, the mapping in `blobs`. false: diagnosed. */
bool file_open(OnnxFile *, Arena *a, Blobs *blobs, Diag *, const char *path, const ProtobufCMessageDescriptor *type);

/* What protobuf-c allocates comes from the arena and dies with it. */
ProtobufCAllocator file_allocator(Arena *);

#endif
