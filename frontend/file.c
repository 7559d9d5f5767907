/* file: map, scan, unpack. */
#include "frontend/file.h"
#include <string.h>

static void *pb_alloc(void *arena, size_t n) { return arena_alloc(arena, n); }
static void pb_free(void *arena, void *p) { (void)arena, (void)p; }

ProtobufCAllocator file_allocator(Arena *a) { return (ProtobufCAllocator){.alloc = pb_alloc, .free = pb_free, .allocator_data = a}; }

bool file_open(OnnxFile *f, Arena *a, Blobs *blobs, Diag *diag_to, const char *path, const ProtobufCMessageDescriptor *type)
{
    const char *why;
    Scan scan;
    *f = (OnnxFile){.path = path, .arena = a, .blobs = blobs};
    if (!blob_file(blobs, path, &f->file, &why)) return diag(diag_to, diag_file(path), E_OPEN, why);
    f->map = blobs->file.p[f->file].map;
    f->bytes = (size_t)blobs->file.p[f->file].bytes;
    if (!f->bytes) return diag(diag_to, diag_file(path), E_EMPTY_FILE);
    if (!scan_message(&scan, a, type, f->map, f->bytes)) return diag(diag_to, diag_file(path), E_NOT_ONNX, scan.why, (long long)scan.at);
    f->span = scan.span;
    ProtobufCAllocator alloc = file_allocator(a);
    f->root = protobuf_c_message_unpack(type, &alloc, scan.skeleton.n, scan.skeleton.p ? scan.skeleton.p : (const uint8_t *)"");
    return f->root || diag(diag_to, diag_file(path), E_NOT_ONNX, "the messages cannot be unpacked", (long long)f->bytes);
}
