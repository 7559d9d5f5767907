/* scan.h: the protobuf wire format, looked at before protobuf-c may touch it. protobuf-c copies every `bytes` field and recurses without limit; the scan is iterative,
 * checks lengths, varints and nesting, and writes a skeleton: the same message without unknown fields and without the data of tensors, which is recorded as spans of
 * the file instead. What a message may contain comes from protobuf-c's own descriptors, so that onnx.proto is the only list of fields. */
#ifndef BMC_FRONTEND_SCAN_H
#define BMC_FRONTEND_SCAN_H
#include "base/vec.h"
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>

#define SCAN_GRAPHS_MAX 64     /* graphs inside each other */
#define SCAN_DEPTH_MAX 256     /* messages inside each other: protobuf-c and the importer recurse that deep */

/* Data of one field of one TensorProto: [off, off + len) of the file. `tagged`: a run of single elements, each behind its tag, instead of one packed block. */
typedef struct Span { uint32_t field; bool tagged; size_t off, len; } Span;
typedef VEC(Span) Spans;

typedef struct Scan {
    Arena *arena;
    Spans span;
    VEC(uint8_t) skeleton;
    const char *why; size_t at;   /* what is wrong, at which byte */
} Scan;

/* Scans n bytes that claim to be a message of type `root`. false: s->why and s->at say what is wrong with them. */
bool scan_message(Scan *, Arena *, const ProtobufCMessageDescriptor *root, const uint8_t *p, size_t n);

/* Reads a varint of at most 10 bytes from [*p, end). false: it is longer, or cut off. */
bool scan_varint(const uint8_t **p, const uint8_t *end, uint64_t *v);

/* How an element of a numeric field is encoded; -1: not a numeric field. */
typedef enum WireType { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_GROUP = 3, WIRE_GROUP_END = 4, WIRE_32 = 5 } WireType;

#endif
