/* scan: one pass over the bytes with a stack of open messages. For each field: tag, wire type against the descriptor, then by kind
 *   not in onnx.proto    skipped
 *   message              opened: tag and a 5-byte length go to the skeleton, the length is filled in when the message ends
 *   data of a tensor     recorded as a span; neighbouring single elements (files without packing) grow one span
 *   anything else        copied
 * A tensor that has spans gets two fields of ours at its end (span_first, span_count). Varints are not normalised: protobuf-c reads any of at most 10 bytes.
 * Refused beyond what the format itself forbids: wire types that differ from the declared ones, groups (ONNX has none), a second value for a field that
 * holds one message (protobuf-c would merge them), more than one member of a oneof. */
#include "frontend/scan.h"
#include "frontend/onnx.pb-c.h"
#include <string.h>

typedef struct Frame {
    const ProtobufCMessageDescriptor *type;
    const uint8_t *end;
    size_t length_at;       /* of the 5-byte length in the skeleton; the root has none */
    uint32_t span_first;
    uint64_t seen;          /* bit per field number below 64: a message was given */
    bool one_of;
} Frame;

typedef struct Reader { Scan *s; const uint8_t *base, *p; Frame frame[SCAN_DEPTH_MAX]; int depth, graphs; } Reader;

static bool fail(Reader *r, const uint8_t *at, const char *why)
{
    r->s->why = why;
    r->s->at = (size_t)(at - r->base);
    return false;
}

bool scan_varint(const uint8_t **p, const uint8_t *end, uint64_t *v)
{
    uint64_t x = 0;
    for (unsigned k = 0; k < 10 && *p + k < end; k++) {
        uint8_t b = (*p)[k];
        x |= (uint64_t)(b & 0x7f) << (7 * k);
        if (b & 0x80) continue;
        *p += k + 1;
        *v = x;
        return true;
    }
    return false;
}

static bool read_varint(Reader *r, const uint8_t *end, uint64_t *v)
{
    const uint8_t *at = r->p;
    if (scan_varint(&r->p, end, v)) return true;
    return fail(r, at, end - at < 10 ? "a number is cut off" : "a number of more than 10 bytes");
}

/* ---- the skeleton ---- */

static void put(Scan *s, const uint8_t *p, size_t n)
{
    if (!n) return;
    vec_reserve(s->arena, &s->skeleton, n);
    memcpy(s->skeleton.p + s->skeleton.n, p, n);
    s->skeleton.n += (uint32_t)n;
}

static void put_varint(Scan *s, uint64_t v)
{
    uint8_t b[10];
    size_t n = 0;
    do b[n++] = (uint8_t)((v & 0x7f) | (v > 0x7f ? 0x80 : 0));
    while (v >>= 7);
    put(s, b, n);
}

static void put_tag(Scan *s, uint32_t field, WireType wire) { put_varint(s, (uint64_t)field << 3 | wire); }

/* A length in 5 bytes whatever its value, so that it can be written before it is known. */
static void fill_length(Scan *s, size_t at)
{
    uint64_t len = s->skeleton.n - at - 5;
    for (int k = 0; k < 5; k++) s->skeleton.p[at + k] = (uint8_t)((len >> (7 * k) & 0x7f) | (k < 4 ? 0x80 : 0));
}

/* ---- messages ---- */

static bool open_message(Reader *r, const ProtobufCFieldDescriptor *f, const uint8_t *at, const uint8_t *end)
{
    const ProtobufCMessageDescriptor *type = f->descriptor;
    Frame *top = &r->frame[r->depth - 1];
    if (r->depth == SCAN_DEPTH_MAX) return fail(r, at, "messages are nested too deeply");
    if (type == &onnx__graph_proto__descriptor && ++r->graphs > SCAN_GRAPHS_MAX) return fail(r, at, "more than 64 graphs inside each other");
    if (f->label != PROTOBUF_C_LABEL_REPEATED) {
        uint64_t bit = f->id < 64 ? UINT64_C(1) << f->id : 0;
        if (top->seen & bit) return fail(r, at, "a second value for a field that holds one");
        top->seen |= bit;
    }
    put_tag(r->s, f->id, WIRE_BYTES);
    r->frame[r->depth++] = (Frame){.type = type, .end = end, .length_at = r->s->skeleton.n, .span_first = r->s->span.n};
    put(r->s, (const uint8_t[5]){0}, 5);
    return true;
}

static void close_message(Reader *r)
{
    Frame *f = &r->frame[--r->depth];
    if (f->type == &onnx__graph_proto__descriptor) r->graphs--;
    if (f->type == &onnx__tensor_proto__descriptor && r->s->span.n > f->span_first) {
        put_tag(r->s, 1000, WIRE_VARINT);
        put_varint(r->s, f->span_first);
        put_tag(r->s, 1001, WIRE_VARINT);
        put_varint(r->s, r->s->span.n - f->span_first);
    }
    if (r->depth) fill_length(r->s, f->length_at);
}

/* ---- fields ---- */

static int wire_of(ProtobufCType t)
{
    switch (t) {
    case PROTOBUF_C_TYPE_FLOAT: case PROTOBUF_C_TYPE_FIXED32: case PROTOBUF_C_TYPE_SFIXED32: return WIRE_32;
    case PROTOBUF_C_TYPE_DOUBLE: case PROTOBUF_C_TYPE_FIXED64: case PROTOBUF_C_TYPE_SFIXED64: return WIRE_64;
    case PROTOBUF_C_TYPE_STRING: case PROTOBUF_C_TYPE_BYTES: case PROTOBUF_C_TYPE_MESSAGE: return WIRE_BYTES;
    default: return WIRE_VARINT;
    }
}

static bool is_data(const ProtobufCMessageDescriptor *type, uint32_t field)
{
    return type == &onnx__tensor_proto__descriptor && (field == 4 || field == 5 || field == 7 || (field >= 9 && field <= 11));
}

/* The elements of a packed list: whole ones only. */
static bool check_packed(Reader *r, int wire, const uint8_t *p, const uint8_t *end)
{
    size_t width = wire == WIRE_32 ? 4 : 8;
    if (wire != WIRE_VARINT) return (size_t)(end - p) % width == 0 || fail(r, p, "a list of numbers ends inside one");
    if (p < end && end[-1] & 0x80) return fail(r, end - 1, "a list of numbers ends inside one");
    for (unsigned run = 0; p < end; p++)
        if ((run = *p & 0x80 ? run + 1 : 0) == 10) return fail(r, p, "a number of more than 10 bytes");
    return true;
}

static void add_span(Scan *s, const Frame *f, Span x)
{
    Span *last = s->span.n > f->span_first ? &vec_last(&s->span) : NULL;
    if (x.tagged && last && last->tagged && last->field == x.field && last->off + last->len == x.off) last->len += x.len;
    else vec_push(s->arena, &s->span, x);
}

/* The payload's end, for any wire type; r->p is behind the tag and, for bytes, moves behind the length. */
static bool payload(Reader *r, WireType wire, const uint8_t *tag, const uint8_t *limit, const uint8_t **end)
{
    uint64_t n;
    switch (wire) {
    case WIRE_VARINT: {
        const uint8_t *p = r->p;
        if (!read_varint(r, limit, &n)) return false;
        *end = r->p;
        r->p = p;
        return true;
    }
    case WIRE_32: n = 4; break;
    case WIRE_64: n = 8; break;
    case WIRE_BYTES:
        if (!read_varint(r, limit, &n)) return false;
        break;
    default: return fail(r, tag, "a field of unknown kind");
    }
    if (n > (uint64_t)(limit - r->p)) return fail(r, tag, r->depth == 1 ? "the file ends inside a field" : "a field is longer than the message it is in");
    *end = r->p + n;
    return true;
}

static bool scan_field(Reader *r)
{
    Frame *top = &r->frame[r->depth - 1];
    const uint8_t *tag = r->p, *end;
    uint64_t key;
    if (!read_varint(r, top->end, &key)) return false;
    WireType wire = (WireType)(key & 7);
    if (key >> 3 == 0 || key >> 32) return fail(r, tag, "a field with an impossible number");
    uint32_t field = (uint32_t)(key >> 3);
    if (!payload(r, wire, tag, top->end, &end)) return false;
    const ProtobufCFieldDescriptor *f = field < 1000 ? protobuf_c_message_descriptor_get_field(top->type, field) : NULL;
    if (!f) {
        r->p = end;
        return true;
    }
    int declared = wire_of(f->type);
    bool list = f->label == PROTOBUF_C_LABEL_REPEATED && declared != WIRE_BYTES, packed = list && wire == WIRE_BYTES;
    if ((int)wire != declared && !packed) return fail(r, tag, "a field of another kind than its number says");
    if (packed && !check_packed(r, declared, r->p, end)) return false;
    if (f->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) {
        if (top->one_of) return fail(r, tag, "a second value for a field that holds one");
        top->one_of = true;
    }
    if (f->type == PROTOBUF_C_TYPE_MESSAGE) return open_message(r, f, tag, end);
    if (is_data(top->type, field)) {
        bool tagged = list && !packed;
        const uint8_t *from = tagged ? tag : r->p;
        if (tagged || end > from || !list) add_span(r->s, top, (Span){field, tagged, (size_t)(from - r->base), (size_t)(end - from)});
    } else if (end - tag > INT32_MAX / 2) return fail(r, tag, "a text of more than a gigabyte");
    else put(r->s, tag, (size_t)(end - tag));
    r->p = end;
    return true;
}

bool scan_message(Scan *s, Arena *a, const ProtobufCMessageDescriptor *root, const uint8_t *p, size_t n)
{
    Reader *r = arena_new(a, Reader);
    *s = (Scan){.arena = a};
    r->s = s;
    r->base = r->p = p;
    r->frame[r->depth++] = (Frame){.type = root, .end = p + n};
    while (r->depth) {
        if (s->skeleton.n > UINT32_MAX / 2 || s->span.n > UINT32_MAX / 2) return fail(r, r->p, "the model is too large without its tensors");
        if (r->p == r->frame[r->depth - 1].end) close_message(r);
        else if (!scan_field(r)) return false;
    }
    return true;
}
