/* frontend_test: ONNX files made byte by byte (independently of onnx.proto), their import, refusals. */
#include "frontend/frontend.h"
#include "ir/graph/infer.h"
#include "tests/unit/check.h"
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the wire format ---- */

static Arena arena;   /* of the tests' bytes */

typedef struct Msg { uint8_t *p; size_t n, cap; } Msg;

static Msg *msg(void) { return arena_new(&arena, Msg); }

static Msg *raw(Msg *m, const void *p, size_t n)
{
    if (m->n + n > m->cap) {
        size_t cap = 2 * (m->n + n) + 64;
        m->p = arena_grow(&arena, m->p, m->cap, cap);
        m->cap = cap;
    }
    if (n) memcpy(m->p + m->n, p, n);
    m->n += n;
    return m;
}

static Msg *varint(Msg *m, uint64_t v)
{
    for (; v > 0x7f; v >>= 7) raw(m, &(uint8_t){(uint8_t)(v | 0x80)}, 1);
    return raw(m, &(uint8_t){(uint8_t)v}, 1);
}

static Msg *num(Msg *m, int field, int64_t v) { return varint(varint(m, (uint64_t)field << 3), (uint64_t)v); }
static Msg *bytes(Msg *m, int field, const void *p, size_t n) { return raw(varint(varint(m, (uint64_t)field << 3 | 2), n), p, n); }
static Msg *str(Msg *m, int field, const char *s) { return bytes(m, field, s, strlen(s)); }
static Msg *sub(Msg *m, int field, const Msg *inner) { return bytes(m, field, inner->p, inner->n); }

/* ---- ONNX's messages ---- */

static Msg *attr(const char *name, int type) { return num(str(msg(), 1, name), 20, type); }
static Msg *attr_i(const char *name, int64_t v) { return num(attr(name, 2), 3, v); }
static Msg *attr_f(const char *name, float v) { return raw(varint(attr(name, 1), 2 << 3 | 5), &v, 4); }
static Msg *attr_s(const char *name, const char *v) { return str(attr(name, 3), 4, v); }
static Msg *attr_t(const char *name, const Msg *t) { return sub(attr(name, 4), 5, t); }
static Msg *attr_g(const char *name, const Msg *g) { return sub(attr(name, 5), 6, g); }
static Msg *attr_ref(const char *name, int type, const char *of) { return str(attr(name, type), 21, of); }

/* "Add a b -> c": operator, inputs, outputs; '_' is an omitted input. */
static Msg *node(const char *text)
{
    Msg *m = msg();
    char *copy = arena_strdup(&arena, text), *save = NULL;
    int field = 4;
    for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        if (!strcmp(w, "->")) field = 2;
        else str(m, field, strcmp(w, "_") ? w : "");
        if (field == 4) field = 1;
    }
    return m;
}
static Msg *with(Msg *node, const Msg *attribute) { return sub(node, 5, attribute); }

/* "x: 1 N,2,3": a tensor of that element type; '-' instead of the dims: no shape. */
static Msg *value(const char *text)
{
    char name[64], dims[64] = "", *save = NULL;
    int type;
    sscanf(text, "%63[^:]: %d %63s", name, &type, dims);
    Msg *tensor = num(msg(), 1, type), *shape = msg();
    for (char *w = strtok_r(dims, ",", &save); w && strcmp(w, "-"); w = strtok_r(NULL, ",", &save)) {
        Msg *d = msg();
        char *end;
        long long k = strtoll(w, &end, 10);
        sub(shape, 1, *end ? str(d, 2, w) : num(d, 1, k));
    }
    if (!strstr(text, "-") || strstr(text, "-1")) sub(tensor, 2, shape);
    return sub(str(msg(), 1, name), 2, sub(msg(), 1, tensor));
}

static Msg *tensor(const char *name, int type, int64_t n)
{
    Msg *t = num(str(msg(), 8, name), 2, type);
    return n >= 0 ? num(t, 1, n) : t;
}
static Msg *floats(const char *name, int64_t n, const float *v) { return bytes(tensor(name, DT_F32, n), 9, v, (size_t)(n < 0 ? 1 : n) * 4); }

static Msg *graph(void) { return str(msg(), 2, "g"); }
static Msg *in(Msg *g, const char *text) { return sub(g, 11, value(text)); }
static Msg *out(Msg *g, const char *text) { return sub(g, 12, value(text)); }
static Msg *init(Msg *g, const Msg *t) { return sub(g, 5, t); }
static Msg *add(Msg *g, const Msg *n) { return sub(g, 1, n); }

static Msg *opset(const char *domain, int64_t version) { return num(str(msg(), 1, domain), 2, version); }
static Msg *head(int64_t version) { return sub(num(msg(), 1, 9), 8, opset("", version)); }
static Msg *model(const Msg *g, int64_t version) { return sub(head(version), 7, g); }

/* ---- running the importer ---- */

static char folder[64];
static const char *file_of(const char *name) { return arena_printf(&arena, "%s/%s", folder, name); }

static const char *save(const char *name, const void *p, size_t n)
{
    const char *path = file_of(name);
    FILE *f = fopen(path, "wb");
    if (f) {
        if (n) fwrite(p, 1, n, f);
        fclose(f);
    }
    return path;
}

typedef struct Run { Arena arena; Diag diag; Module m; Str said; bool ok; } Run;

static void sink(void *arg, const DiagMessage *m)
{
    Str *s = arg;
    str_add(s, m->text);
    str_char(s, '\n');
}

static void import_file(Run *r, const char *path, const ImportOptions *opt)
{
    arena_init(&r->arena, "compile", NULL);
    diag_init(&r->diag, &r->arena);
    str_init(&r->said, &r->arena);
    r->diag.sink = sink;
    r->diag.sink_arg = &r->said;
    module_init(&r->m, &r->arena, &r->diag);
    r->ok = onnx_import(&r->m, path, opt);
}
static void run_end(Run *r)
{
    blobs_close(&r->m.blobs);
    arena_free(&r->arena);
}
static void import(Run *r, const Msg *m, const ImportOptions *opt) { import_file(r, save("model.onnx", m->p, m->n), opt); }

static const char *text_of(Run *r)
{
    Str s;
    str_init(&s, &arena);
    bir_print(&s, &r->m);
    return str_get(&s);
}

/* Imports, verifies, infers and checks the declared outputs: what must work. */
static bool works(Run *r, const Msg *m, const ImportOptions *opt)
{
    import(r, m, opt);
    bool ok = r->ok && bir_verify(&r->m, "import") && infer_graph(r->m.entry) && bir_verify_typed(&r->m, "infer") && onnx_check_outputs(&r->m);
    if (!ok) printf("%s", str_get(&r->said));
    return ok;
}

static bool has(const char *text, const char *part)
{
    if (strstr(text, part)) return true;
    printf("    no '%s' in:\n%s\n", part, text);
    return false;
}

/* Exactly one message, with these words, from import or from inference. */
static bool refused(const Msg *m, const ImportOptions *opt, const char *word, const char *word2)
{
    Run r;
    import(&r, m, opt);
    bool went = r.ok && infer_graph(r.m.entry), ok = !went && r.diag.errors == 1 && has(str_get(&r.said), word) && has(str_get(&r.said), word2) && has(str_get(&r.said), "model.onnx: ");
    if (!ok) printf("    %d errors, import %s\n%s", r.diag.errors, went ? "and inference went through" : "or inference failed", str_get(&r.said));
    run_end(&r);
    return ok;
}

/* %y = Relu(%x) and the like, with one initializer */
static Msg *small(void)
{
    const float w[] = {1, 2, 3};
    Msg *g = graph();
    in(g, "x: 1 N,3");
    init(g, floats("w", 3, w));
    add(g, str(node("Add x w -> s"), 3, "sum"));
    add(g, node("Relu s -> y"));
    return out(g, "y: 1 N,3");
}

/* ---- files that are no models ---- */

static Msg *nest(const int *fields, int n_field, int levels)
{
    size_t room = (size_t)levels * 6 + 64, at = room;
    uint8_t *p = arena_array(&arena, uint8_t, room);
    for (int k = 0; k < levels; k++) {
        Msg h = {0};
        varint(varint(&h, (uint64_t)fields[k % n_field] << 3 | 2), room - at);
        at -= h.n;
        memcpy(p + at, h.p, h.n);
    }
    return raw(msg(), p + at, room - at);
}

static void no_models(void)
{
    Run r;
    CHECK(refused(raw(msg(), "", 0), NULL, "E004", "empty"));
    CHECK(refused(raw(msg(), "This is text.\n", 14), NULL, "E005", "at byte 0"));
    CHECK(refused(num(msg(), 1, 9), NULL, "E005", "no graph"));
    CHECK(refused(raw(msg(), "\0\0\0", 3), NULL, "E005", "impossible number"));
    CHECK(refused(sub(num(msg(), 1, 2), 7, graph()), NULL, "E030", "IR version 2"));
    import_file(&r, file_of("nothing.onnx"), NULL);
    CHECK(!r.ok && has(str_get(&r.said), "E001") && has(str_get(&r.said), "nothing.onnx"));
    run_end(&r);
    import_file(&r, folder, NULL);
    CHECK(!r.ok && has(str_get(&r.said), "E001"));
    run_end(&r);
    CHECK(refused(sub(head(20), 7, nest((int[]){6, 5, 1}, 3, 19998)), NULL, "E005", "more than 64 graphs"));
    CHECK(refused(sub(head(20), 7, sub(msg(), 11, sub(msg(), 2, nest((int[]){1, 4}, 2, 19998)))), NULL, "E005", "nested too deeply"));
    CHECK(refused(raw(head(20), "\xa3\x06\xa4\x06", 4), NULL, "E005", "unknown kind"));
    CHECK(refused(sub(model(small(), 20), 7, small()), NULL, "E005", "a second value"));
    CHECK(refused(str(head(20), 1, "nine"), NULL, "E005", "another kind"));
    CHECK(refused(raw(head(20), "\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12), NULL, "E005", "more than 10 bytes"));
}

static void broken_at_every_byte(void)
{
    const Msg *whole = model(small(), 20);
    Run r;
    CHECK(works(&r, whole, NULL));
    run_end(&r);
    int refusals = 0, crashes_not = 0;
    for (size_t n = 1; n < whole->n; n++) {   /* the graph stands last, so every prefix lacks something */
        import_file(&r, save("cut.onnx", whole->p, n), NULL);
        refusals += !r.ok && r.diag.errors == 1;
        run_end(&r);
    }
    CHECK(refusals == (int)whole->n - 1);
    for (size_t at = 0; at < whole->n; at++)
        for (int change = 0; change < 4; change++) {
            uint8_t *p = arena_memdup(&arena, whole->p, whole->n);
            p[at] = (uint8_t)(change == 0 ? p[at] + 1 : change == 1 ? p[at] - 1 : change == 2 ? p[at] ^ 0x80 : 0xff);
            import_file(&r, save("changed.onnx", p, whole->n), NULL);
            if (r.ok) infer_graph(r.m.entry);
            crashes_not += r.ok || r.diag.errors > 0;
            run_end(&r);
        }
    CHECK(crashes_not == (int)whole->n * 4);   /* each goes through or is diagnosed */
}

/* ---- tensors ---- */

/* The bytes of initializer w, found as the second operand of an Identity-less graph: output w itself. */
static bool tensor_bytes(const Msg *t, void *to, size_t n, BlobKind *kind)
{
    Run r;
    Msg *g = graph();
    init(g, t);
    in(g, "x: 1 1");
    sub(g, 12, str(msg(), 1, "w"));
    import(&r, model(g, 20), NULL);
    if (!r.ok) printf("%s", str_get(&r.said));
    else {
        Blob b = value_rec(r.m.entry, r.m.entry->out.p[0])->data;
        const BlobRec *rec = blob_rec(&r.m.blobs, b);
        if (kind) *kind = rec->kind;
        r.ok = blob_bytes(&r.m.blobs, b) == (int64_t)n;
        if (r.ok) blob_read(&r.m.blobs, b, 0, rec->count, to);
    }
    bool ok = r.ok;
    run_end(&r);
    return ok;
}

static bool same_bytes(const Msg *t, const void *want, size_t n)
{
    uint8_t got[64];
    return tensor_bytes(t, got, n, NULL) && !memcmp(got, want, n);
}

static Msg *packed(Msg *t, int field, const int64_t *v, int n)
{
    Msg *list = msg();
    for (int k = 0; k < n; k++) varint(list, (uint64_t)v[k]);
    return sub(t, field, list);
}

static void tensor_encodings(void)
{
    for (int t = 1; t < DT_COUNT; t++) {   /* raw, every type */
        uint8_t some[64];
        if (t == DT_STR || DTS(t) & DTS_FLOAT6) continue;
        for (int k = 0; k < 64; k++) some[k] = (uint8_t)(t == DT_BOOL ? k & 1 : 37 * k + t);
        size_t n = (size_t)dtype_bytes((DType)t, 3);
        some[1] &= dtype_info((DType)t)->bits == 4 ? 15 : 255, some[0] &= dtype_info((DType)t)->bits == 2 ? 63 : 255;
        CHECK(same_bytes(bytes(tensor("w", t, 3), 9, some, n), some, n));
        CHECK(refused(model(out(init(graph(), bytes(tensor("w", t, 3), 9, some, n - 1)), "w: 1 -"), 20), NULL, "E041", "'w'"));
    }
    const uint8_t six[5] = {0x3f, 0x01, 0x2a, 0x15, 0x20}, four_in_three[4] = {0x7f, 0xa0, 0x56, 0x20};
    for (int t = DT_F6E2M3; t <= DT_F6E3M2; t++) CHECK(same_bytes(bytes(tensor("w", t, 5), 9, four_in_three, 4), six, 5));   /* a byte each in memory */
    const float f[] = {1.5f, -0.0f, 3e38f};
    const double d[] = {1.5, -0.0, 3e300};
    CHECK(same_bytes(bytes(tensor("w", DT_F32, 3), 4, f, 12), f, 12));
    CHECK(same_bytes(bytes(tensor("w", DT_F64, 3), 10, d, 24), d, 24));
    CHECK(same_bytes(bytes(tensor("w", DT_C64, 1), 4, f, 8), f, 8));
    CHECK(same_bytes(bytes(tensor("w", DT_C128, 1), 10, d, 16), d, 16));
    Msg *one_by_one = tensor("w", DT_F32, 3), *two_blocks = tensor("w", DT_F32, 3);
    for (int k = 0; k < 3; k++) raw(varint(one_by_one, 4 << 3 | 5), &f[k], 4);
    bytes(num(bytes(two_blocks, 4, f, 8), 14, 0), 4, f + 2, 4);   /* with another field between */
    CHECK(same_bytes(one_by_one, f, 12) && same_bytes(two_blocks, f, 12));

    const int64_t v[] = {1, -2, 3};
    CHECK(same_bytes(packed(tensor("w", DT_I64, 3), 7, v, 3), v, 24));
    CHECK(same_bytes(packed(tensor("w", DT_I32, 3), 5, v, 3), (int32_t[]){1, -2, 3}, 12));
    CHECK(same_bytes(packed(tensor("w", DT_I16, 3), 5, v, 3), (int16_t[]){1, -2, 3}, 6));
    CHECK(same_bytes(packed(tensor("w", DT_I8, 3), 5, v, 3), (int8_t[]){1, -2, 3}, 3));
    CHECK(same_bytes(packed(tensor("w", DT_U8, 3), 5, (int64_t[]){1, 255, 3}, 3), (uint8_t[]){1, 255, 3}, 3));
    CHECK(same_bytes(packed(tensor("w", DT_BOOL, 3), 5, (int64_t[]){1, 0, 1}, 3), (uint8_t[]){1, 0, 1}, 3));
    CHECK(same_bytes(packed(tensor("w", DT_F16, 3), 5, (int64_t[]){0x3c00, 0xfbff, 1}, 3), (uint16_t[]){0x3c00, 0xfbff, 1}, 6));
    CHECK(same_bytes(packed(tensor("w", DT_BF16, 3), 5, (int64_t[]){0x3f80, 0xff7f, 1}, 3), (uint16_t[]){0x3f80, 0xff7f, 1}, 6));
    CHECK(same_bytes(packed(tensor("w", DT_F8E5M2, 3), 5, (int64_t[]){0x3c, 0xfb, 1}, 3), (uint8_t[]){0x3c, 0xfb, 1}, 3));
    CHECK(same_bytes(packed(tensor("w", DT_U4, 3), 5, (int64_t[]){0x21, 0x3}, 2), (uint8_t[]){0x21, 0x3}, 2));
    CHECK(same_bytes(packed(tensor("w", DT_U32, 2), 11, (int64_t[]){7, 4294967295}, 2), (uint32_t[]){7, 4294967295u}, 8));
    CHECK(same_bytes(packed(tensor("w", DT_U64, 2), 11, (int64_t[]){7, -1}, 2), (uint64_t[]){7, UINT64_MAX}, 16));
    Msg *single = tensor("w", DT_I64, 3);
    for (int k = 0; k < 3; k++) num(single, 7, v[k]);
    CHECK(same_bytes(single, v, 24));
    CHECK(same_bytes(bytes(tensor("w", DT_F32, -1), 9, f, 4), f, 4));          /* a scalar */
    CHECK(same_bytes(tensor("w", DT_F32, 0), f, 0));                           /* nothing, and no data */

    float big[100];
    for (int k = 0; k < 100; k++) big[k] = (float)k;
    BlobKind kind = BLOB_INLINE;
    float got[100];
    CHECK(tensor_bytes(floats("w", 100, big), got, 400, &kind) && !memcmp(got, big, 400) && kind == BLOB_RAW);   /* where it lies */
    CHECK(tensor_bytes(bytes(tensor("w", DT_F32, 100), 4, big, 400), got, 400, &kind) && !memcmp(got, big, 400) && kind == BLOB_RAW);

    Run r;
    Msg *texts = bytes(str(str(tensor("w", DT_STR, 3), 6, "one"), 6, ""), 6, "a\0b", 3);
    import(&r, model(out(init(graph(), texts), "w: 8 3"), 20), NULL);
    if (CHECK(r.ok)) {
        const bmc_string *s = blob_rec(&r.m.blobs, value_rec(r.m.entry, r.m.entry->out.p[0])->data)->data;
        CHECK(s[0].len == 3 && !memcmp(s[0].ptr, "one", 3) && s[1].len == 0 && s[2].len == 3 && !memcmp(s[2].ptr, "a\0b", 3));
    }
    run_end(&r);
}

static void wrong_tensors(void)
{
    const int64_t v[] = {1, -2, 300};
#define BAD(t, word) CHECK(refused(model(out(init(graph(), (t)), "w: 1 -"), 20), NULL, "E041", (word)))
    BAD(tensor("w", DT_F32, 3), "no data");
    BAD(tensor("w", DT_F32, -3), "no data");
    BAD(num(tensor("w", DT_F32, -1), 1, -3), "dimension 0 is -3");
    BAD(num(num(tensor("w", DT_F32, INT64_C(1) << 62), 1, 4), 1, 3), "more elements than fit");
    BAD(num(num(tensor("w", DT_F32, INT64_C(1) << 62), 1, 4), 1, INT64_MIN), "dimension 2");
    BAD(tensor("w", 99, 3), "element type 99");
    BAD(tensor("w", 0, 3), "element type 0");
    BAD(packed(tensor("w", DT_I8, 3), 5, v, 3), "300 is out of range");
    BAD(packed(tensor("w", DT_I64, 2), 7, v, 3), "3 numbers");
    BAD(packed(tensor("w", DT_I64, 3), 5, v, 3), "int64_data is expected");
    BAD(str(tensor("w", DT_STR, 2), 6, "one"), "1 strings");
    BAD(str(tensor("w", DT_F32, 1), 6, "one"), "string_data");
    Msg *deep = tensor("w", DT_F32, -1);
    for (int k = 0; k < 33; k++) num(deep, 1, 1);
    BAD(deep, "rank 33");
}

static Msg *external(const char *location, const char *offset, const char *length)
{
    Msg *t = num(num(num(str(msg(), 8, "w"), 2, DT_F32), 1, 3), 14, 1);
    sub(t, 13, str(str(msg(), 1, "location"), 2, location));
    if (offset) sub(t, 13, str(str(msg(), 1, "offset"), 2, offset));
    if (length) sub(t, 13, str(str(msg(), 1, "length"), 2, length));
    return t;
}

static void external_data(void)
{
    const float f[] = {9, 1, 2, 3};
    save("weights.bin", f, sizeof f);
    mkdir(file_of("inner"), 0777);
    save("inner/weights.bin", f, sizeof f);
    CHECK(symlink("/etc/hostname", file_of("link.bin")) == 0);
    CHECK(same_bytes(external("weights.bin", "4", NULL), f + 1, 12));
    CHECK(same_bytes(external("weights.bin", "4", "12"), f + 1, 12));
    CHECK(same_bytes(external("weights.bin", NULL, NULL), f, 12));
    CHECK(same_bytes(external("inner/weights.bin", "4", NULL), f + 1, 12));
#define OUTSIDE(word, ...) CHECK(refused(model(out(init(graph(), external(__VA_ARGS__)), "w: 1 -"), 20), NULL, "E040", (word)))
    OUTSIDE("'w'", "missing.bin", NULL, NULL);
    OUTSIDE("16 bytes", "weights.bin", "8", NULL);
    OUTSIDE("need 12", "weights.bin", "0", "8");
    OUTSIDE("not a number", "weights.bin", "here", NULL);
    OUTSIDE("not a number", "weights.bin", "-4", NULL);
    OUTSIDE("not a number", "weights.bin", "99999999999999999999", NULL);
    OUTSIDE("16 bytes", "weights.bin", "9223372036854775800", "12");
    OUTSIDE("leads out", "../weights.bin", NULL, NULL);
    OUTSIDE("leads out", "inner/../weights.bin", NULL, NULL);
    OUTSIDE("leads out", "/etc/hostname", NULL, NULL);
    OUTSIDE("leads out", "link.bin", NULL, NULL);
    OUTSIDE("no location", "", NULL, NULL);

    /* a cache: model and data are links into another folder */
    Run r;
    const Msg *m = model(out(init(graph(), external("data", NULL, "12")), "w: 1 3"), 20);
    mkdir(file_of("blobs"), 0777);
    save("blobs/1", m->p, m->n);
    save("blobs/2", f, sizeof f);
    CHECK(symlink("../blobs/1", file_of("inner/linked.onnx")) == 0 && symlink("../blobs/2", file_of("inner/data")) == 0);
    import_file(&r, file_of("inner/linked.onnx"), NULL);
    if (!CHECK(r.ok)) printf("%s", str_get(&r.said));
    run_end(&r);
    import_file(&r, save("inner/plain.onnx", m->p, m->n), NULL);   /* the same data, but the model is no link: it leads out */
    CHECK(!r.ok && has(str_get(&r.said), "leads out"));
    run_end(&r);
}

static Msg *sparse(const float *v, const int64_t *at, int n, int per)
{
    Msg *i = tensor("", DT_I64, n);
    if (per > 1) num(i, 1, per);
    packed(i, 7, at, n * per);
    return num(num(sub(sub(msg(), 1, floats("w", n, v)), 2, i), 3, 2), 3, 3);
}

static void sparse_tensors(void)
{
    const float v[] = {5, 7}, want[] = {0, 5, 0, 0, 0, 7};
    const Msg *s[] = {sparse(v, (int64_t[]){1, 5}, 2, 1), sparse(v, (int64_t[]){0, 1, 1, 2}, 2, 2)};
    Run r;
    for (int k = 0; k < 3; k++) {
        Msg *g = k < 2 ? sub(graph(), 15, s[k]) : add(graph(), with(node("Constant -> w"), sub(attr("sparse_value", 11), 22, s[0])));
        import(&r, model(out(g, "w: 1 2,3"), 20), NULL);
        Value w = r.ok ? r.m.entry->out.p[0] : VALUE_NONE;
        float got[6];
        if (CHECK(r.ok && value_is_const(r.m.entry, w) && blob_bytes(&r.m.blobs, value_rec(r.m.entry, w)->data) == 24)) {
            blob_read(&r.m.blobs, value_rec(r.m.entry, w)->data, 0, 6, got);
            CHECK(!memcmp(got, want, 24));
        }
        run_end(&r);
    }
    CHECK(refused(model(out(sub(graph(), 15, sparse(v, (int64_t[]){1, 6}, 2, 1)), "w: 1 2,3"), 20), NULL, "E041", "out of range"));
    CHECK(refused(model(out(sub(graph(), 15, sparse(v, (int64_t[]){0, 1, 2, 0}, 2, 2)), "w: 1 2,3"), 20), NULL, "E041", "out of range"));
}

/* ---- inputs, dims and options ---- */

static void dims(void)
{
    Run r;
    Msg *g = graph();
    in(in(in(g, "a: 1 N,?,3"), "b: 1 N,?,-1"), "c: 1 0,M.k,N+1");
    add(g, node("Relu a -> x"));
    add(g, node("Relu b -> y"));
    add(g, node("Relu c -> z"));
    out(out(out(g, "x: 1 -"), "y: 1 -"), "z: 1 -");
    const Msg *m = model(g, 20);
    CHECK(works(&r, m, NULL));
    const TypeRec *a = value_trec(r.m.entry, r.m.entry->in.p[0]), *b = value_trec(r.m.entry, r.m.entry->in.p[1]), *c = value_trec(r.m.entry, r.m.entry->in.p[2]);
    CHECK(dim_same(a->dim[0], b->dim[0]) && !dim_same(a->dim[1], b->dim[1]) && dim_is(&r.m.dims, a->dim[2], 3));
    CHECK(!dim_is(&r.m.dims, c->dim[0], 0) && !dim_same(b->dim[1], b->dim[2]) && !dim_same(c->dim[2], b->dim[0]));
    Sym s;
    CHECK(sym_find(&r.m.dims, name_of(&r.m.names, "N"), &s) && r.m.dims.sym.p[s.i].kind == SYM_ENTRY && r.m.dims.sym.p[s.i].input == 0 && r.m.dims.sym.p[s.i].axis == 0);
    CHECK(sym_find(&r.m.dims, name_of(&r.m.names, "M.k"), &s) && r.m.dims.sym.p[s.i].input == 2 && r.m.dims.sym.p[s.i].axis == 1);
    run_end(&r);

    ImportOptions o = {.dim = (DimOption[]){{"N", 4, 4, 1}, {"M.k", 8, 64, 8}}, .n_dim = 2, .shape = (ShapeOption[]){{"b", 3, {-1, 7, -1}}}, .n_shape = 1};
    CHECK(works(&r, m, &o));
    b = value_trec(r.m.entry, r.m.entry->in.p[1]);
    CHECK(dim_is(&r.m.dims, b->dim[0], 4) && dim_is(&r.m.dims, b->dim[1], 7) && !dim_is(&r.m.dims, b->dim[2], 7));
    CHECK(sym_find(&r.m.dims, name_of(&r.m.names, "M.k"), &s) && r.m.dims.sym.p[s.i].lo == 8 && r.m.dims.sym.p[s.i].hi == 64 && r.m.dims.sym.p[s.i].multiple == 8);
    run_end(&r);

    o = (ImportOptions){.shape = (ShapeOption[]){{"b", 3, {5, -1, -1}}}, .n_shape = 1};   /* b's first axis is N: a's too */
    CHECK(works(&r, m, &o));
    CHECK(dim_is(&r.m.dims, value_trec(r.m.entry, r.m.entry->in.p[0])->dim[0], 5));
    run_end(&r);

#define NO(word, ...) CHECK(refused(m, &(ImportOptions){__VA_ARGS__}, "--", (word)))
    NO("nosuch", .dim = (DimOption[]){{"nosuch", 1, 1, 1}}, .n_dim = 1);
    NO("N", .dim = (DimOption[]){{"N", 5, 4, 1}}, .n_dim = 1);
    NO("no such input", .shape = (ShapeOption[]){{"q", 1, {1}}}, .n_shape = 1);
    NO("axis 2 is 3", .shape = (ShapeOption[]){{"a", 3, {1, 2, 4}}}, .n_shape = 1);
    NO("has 2 dims", .shape = (ShapeOption[]){{"a", 2, {1, 2}}}, .n_shape = 1);
    NO("another option", .shape = (ShapeOption[]){{"a", 3, {1, 2, 3}}, {"b", 3, {2, 2, 3}}}, .n_shape = 2);
    NO("no such initializer", .overridable = (const char *[]){"w"}, .n_overridable = 1);
    CHECK(refused(model(out(add(in(graph(), "x: 1 4611686018427387904"), node("Relu x -> y")), "y: 1 -"), 20), NULL, "'x'", "more elements"));
    CHECK(refused(model(out(add(in(graph(), "x: 77 4"), node("Relu x -> y")), "y: 1 -"), 20), NULL, "'x'", "element type 77"));
}

static void initializers_as_inputs(void)
{
    Run r;
    Msg *g = small();
    in(g, "w: 1 3");
    const Msg *m = model(g, 8);
    CHECK(works(&r, m, NULL) && r.m.entry->in.n == 1);
    run_end(&r);
    ImportOptions o = {.overridable = (const char *[]){"w"}, .n_overridable = 1};
    CHECK(works(&r, m, &o) && r.m.entry->in.n == 2);
    run_end(&r);
    CHECK(works(&r, model(small(), 20), &o) && r.m.entry->in.n == 2);   /* not listed: comes last */
    run_end(&r);
}

/* ---- nodes ---- */

static void order_and_names(void)
{
    Run r;
    Msg *g = in(graph(), "x: 1 3");
    add(g, node("Neg b -> y"));        /* backwards */
    add(g, node("Abs a -> b"));
    add(g, node("Exp x -> a"));
    CHECK(works(&r, model(out(g, "y: 1 3"), 20), NULL));
    Node n = graph_first(r.m.entry);
    CHECK(node_rec(r.m.entry, n)->op == OP_Exp && node_rec(r.m.entry, n)->loc.node == 2);
    n = graph_last(r.m.entry);
    CHECK(node_rec(r.m.entry, n)->op == OP_Neg && node_rec(r.m.entry, n)->loc.node == 0);
    CHECK_STR(value_name(r.m.entry, r.m.entry->out.p[0]), "y");
    run_end(&r);

#define ONE(text, ...) model(out(add(in(graph(), "x: 1 3"), node(text)), "y: 1 -"), 20), NULL, __VA_ARGS__
    CHECK(refused(ONE("Add x nowhere -> y", "E037", "'nowhere'")));
    CHECK(refused(ONE("NoSuch x -> y", "E032", "NoSuch")));
    CHECK(refused(ONE("Group x -> y", "E032", "Group")));
    CHECK(refused(ONE("Relu x x x -> y", "E033", "Relu")));
    CHECK(refused(ONE("Softmax -> y", "E033", "Softmax")));
    CHECK(refused(ONE("Relu x -> y z", "E033", "2 outputs")));
    CHECK(refused(ONE("Add x y -> y", "E039", "'y'")));
    CHECK(refused(ONE("Relu x -> z", "E030", "output 'y'")));
    CHECK(refused(model(out(add(in(graph(), "x: 1 3"), node("Relu x -> x")), "x: 1 3"), 20), NULL, "E038", "'x'"));
    CHECK(refused(model(out(add(add(in(graph(), "x: 1 3"), node("Add x b -> a")), node("Relu a -> b")), "b: 1 3"), 20), NULL, "E039", "cycle"));
    CHECK(refused(model(out(add(add(in(graph(), "x: 1 3"), node("Exp x -> y")), node("Relu x -> y")), "y: 1 3"), 20), NULL, "E038", "'y'"));
    CHECK(refused(model(out(add(in(in(graph(), "x: 1 3"), "x: 1 4"), node("Exp x -> y")), "y: 1 3"), 20), NULL, "E038", "'x'"));
    CHECK(refused(model(add(in(graph(), "x: 1 3"), node("Exp x -> y")), 20), NULL, "E030", "no outputs"));
    CHECK(refused(sub(num(msg(), 1, 9), 7, small()), NULL, "E030", "no opset_import"));
    CHECK(refused(model(out(add(in(graph(), "x: 1 3"), str(node("Exp x -> y"), 7, "com.example")), "y: 1 3"), 20), NULL, "E032", "com.example"));
    CHECK(refused(model(out(add(in(graph(), "x: 1 3"), str(node("Group x -> y"), 7, "bmc")), "y: 1 3"), 20), NULL, "E032", "bmc"));

    /* what depends on a broken node is not complained about again; other problems are */
    g = add(add(add(in(graph(), "x: 1 3"), node("NoSuch x -> a")), node("Relu a -> b")), node("NoneEither b -> y"));
    import(&r, model(out(g, "y: 1 3"), 20), NULL);
    CHECK(!r.ok && r.diag.errors == 2 && has(str_get(&r.said), "NoSuch") && has(str_get(&r.said), "NoneEither"));
    run_end(&r);

    import(&r, model(small(), 9999), NULL);
    CHECK(r.ok && r.diag.warnings == 1 && has(str_get(&r.said), "W042") && has(str_get(&r.said), "9999"));
    run_end(&r);
    import(&r, sub(sub(num(msg(), 1, 99), 8, opset("ai.onnx", 20)), 7, small()), NULL);
    CHECK(r.ok && r.diag.warnings == 1 && has(str_get(&r.said), "W044"));
    run_end(&r);
}

static Msg *of_one(const Msg *n, const char *type)
{
    return model(out(add(in(graph(), type), n), "y: 1 -"), 20);
}

static void attributes(void)
{
    Run r;
    CHECK(works(&r, of_one(with(node("Softmax x -> y"), attr_i("axis", 0)), "x: 1 3,4"), NULL));
    CHECK(has(text_of(&r), "Softmax(%x) {axis=0}"));
    run_end(&r);
    CHECK(works(&r, of_one(with(with(node("LeakyRelu x -> y"), attr_f("alpha", 0.3f)), attr_s("consumed_inputs", "")), "x: 1 3"), NULL));
    CHECK(has(text_of(&r), "{alpha=0.3}"));
    run_end(&r);
    CHECK(refused(of_one(with(node("Softmax x -> y"), attr_f("axis", 0)), "x: 1 3,4"), NULL, "E035", "'axis' is of type float, expected int"));
    CHECK(refused(of_one(with(node("Softmax x -> y"), attr_i("wibble", 0)), "x: 1 3,4"), NULL, "E034", "wibble"));
    CHECK(refused(of_one(with(with(node("Softmax x -> y"), attr_i("axis", 0)), attr_i("axis", 0)), "x: 1 3,4"), NULL, "E043", "twice"));
    CHECK(refused(of_one(node("Cast x -> y"), "x: 1 3"), NULL, "E036", "'to'"));
    CHECK(refused(of_one(with(node("Cast x -> y"), attr_i("to", 77)), "x: 1 3"), NULL, "E043", "77"));
    CHECK(refused(of_one(with(node("Cast x -> y"), attr_i("to", INT64_C(1) << 32 | 1)), "x: 1 3"), NULL, "E043", "'to'"));
    CHECK(refused(of_one(with(node("ConstantOfShape x -> y"), attr_t("value", tensor("", DT_F32, 1))), "x: 7 3"), NULL, "E041", "'value'"));
    CHECK(refused(of_one(with(node("Transpose x -> y"), attr("perm", 6)), "x: 1 3"), NULL, "E035", "'perm' is of type floats"));
}

static void upgrades(void)
{
    Run r;
    Msg *g = in(graph(), "x: 1 N,3,4");
    add(g, with(with(node("Clip x -> a"), attr_f("min", -1)), attr_f("max", 1)));
    add(g, node("Softmax a -> b"));
    add(g, with(node("Unsqueeze b -> y"), bytes(attr("axes", 7), 8, "\0", 1)));
    CHECK(works(&r, model(out(g, "y: 1 1,N,3,4"), 6), NULL));
    const char *text = text_of(&r);
    CHECK(has(text, "Clip(%x, ") && has(text, "Flatten(%a)") && has(text, "Reshape(") && has(text, "f32[1,N,3,4]"));
    CHECK(has(text, "%y = Unsqueeze("));
    run_end(&r);
    CHECK(works(&r, model(out(add(in(graph(), "x: 1 3"), with(node("Cast x -> y"), attr_s("to", "INT64"))), "y: 7 3"), 5), NULL));
    run_end(&r);
    /* an axis to broadcast at, which needs the operands' ranks, behind a node */
    const float w[] = {1, 2};
    g = add(init(in(graph(), "x: 1 5,2,3"), floats("w", 2, w)), node("Neg x -> n"));
    add(g, with(with(node("Add n w -> y"), attr_i("broadcast", 1)), attr_i("axis", 1)));
    CHECK(works(&r, model(out(g, "y: 1 5,2,3"), 6), NULL));
    CHECK(has(text_of(&r), "Unsqueeze(%w"));
    run_end(&r);
    g = add(init(in(in(graph(), "x: 1 5,2,3"), "z: 1 4"), floats("w", 2, w)), node("Concat x z -> n"));   /* wrong; what follows only lacks its type */
    add(g, with(with(node("Add n w -> y"), attr_i("broadcast", 1)), attr_i("axis", 1)));
    CHECK(refused(model(out(g, "y: 1 5,2,3"), 6), NULL, "Concat", "rank"));
    /* strings */
    CHECK(refused(model(out(add(in(graph(), "x: 8 3"), with(node("Clip x -> y"), attr_f("min", 0))), "y: 8 3"), 6), NULL, "E031", ""));
}

static void declared_outputs(void)
{
    Run r;
    for (int k = 0; k < 3; k++) {
        import(&r, model(out(add(in(graph(), "x: 1 N,3"), node("Relu x -> y")), k == 0 ? "y: 1 7,3" : k == 1 ? "y: 7 7,3" : "y: 1 3"), 20), NULL);
        CHECK(r.ok && infer_graph(r.m.entry));
        bool fits = onnx_check_outputs(&r.m);
        CHECK(fits == (k != 1) && (r.diag.warnings == 1) == (k == 2));
        if (k) CHECK(has(str_get(&r.said), k == 1 ? "E066" : "W072") && has(str_get(&r.said), k == 1 ? "int64 of rank 2" : "float of rank 1"));
        run_end(&r);
    }
}

/* ---- regions ---- */

static void captures(void)
{
    Run r;
    const float w[] = {1, 2, 3};
    Msg *then_g = out(add(graph(), node("Add a w -> t")), "t: 1 -"), *inner = out(add(graph(), node("Mul b a -> i")), "i: 1 -");
    Msg *else_g = out(add(graph(), with(with(node("If c -> e"), attr_g("then_branch", inner)), attr_g("else_branch", out(graph(), "b: 1 -")))), "e: 1 -");
    Msg *g = init(in(in(in(graph(), "c: 9 -1"), "x: 1 3"), "z: 1 3"), floats("w", 3, w));
    /* the If stands first: it waits for what its branches use */
    add(g, str(with(with(node("If k -> y"), attr_g("then_branch", then_g)), attr_g("else_branch", else_g)), 3, "choose"));
    add(g, node("Exp x -> a"));
    add(g, node("Neg z -> b"));
    add(g, with(node("Constant -> shape"), attr_t("value", bytes(tensor("", DT_I64, 0), 9, "", 0))));
    add(g, node("Reshape c shape -> k"));
    const Msg *m = model(out(g, "y: 1 3"), 20);
    if (CHECK(works(&r, m, NULL))) {
        const char *text = text_of(&r);
        CHECK(has(text, "If(%k | %a, %c, %b)"));                       /* one list for both branches, constants not in it */
        CHECK(has(text, "(%a: f32[3], %c: "));
        Node n = graph_last(r.m.entry);
        CHECK(node_rec(r.m.entry, n)->op == OP_If && node_rec(r.m.entry, n)->n_capture == 3);
        CHECK(strstr(strstr(text, "graph @then_branch"), "%w = const f32[3] [1,2,3]") != NULL);
    }
    run_end(&r);

    Msg *body = in(in(in(graph(), "i: 7 -"), "go: 9 -"), "s: 1 -");
    body = out(out(out(add(add(body, node("Add s q -> s2")), node("Identity go -> go2")), "go2: 9 -"), "s2: 1 -"), "q: 1 -");
    g = add(in(in(graph(), "x: 1 3"), "p: 1 3"), node("Neg p -> q"));
    add(g, with(node("Loop _ _ x -> last all"), attr_g("body", body)));
    if (CHECK(works(&r, model(out(out(g, "last: 1 3"), "all: 1 n,3"), 20), NULL))) CHECK(has(text_of(&r), "Loop(_, _, %x | %q)"));
    run_end(&r);

    g = add(in(graph(), "c: 9 "), with(node("If c -> y"), attr_g("then_branch", out(init(graph(), floats("k", 3, w)), "k: 1 -"))));
    CHECK(refused(model(out(g, "y: 1 3"), 20), NULL, "E036", "else_branch"));
    g = add(in(graph(), "c: 9 "), with(with(node("If c -> y"), attr_g("then_branch", out(add(graph(), node("Exp nowhere -> t")), "t: 1 -"))),
                                       attr_g("else_branch", out(init(graph(), floats("k", 3, w)), "k: 1 -"))));
    CHECK(refused(model(out(g, "y: 1 3"), 20), NULL, "E037", "'nowhere'"));
}

/* ---- functions ---- */

static Msg *function(const char *domain, const char *text, int64_t version)
{
    Msg *m = msg();
    char *copy = arena_strdup(&arena, text), *save = NULL;
    int field = 1;
    for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save)) {
        if (!strcmp(w, "->")) field = 5;
        else str(m, field, w);
        if (field == 1) field = 4;
    }
    return sub(sub(str(m, 10, domain), 9, opset("", version)), 9, opset("own", 1));
}

static Msg *call(const char *text, const char *name) { return str(str(node(text), 7, "own"), 3, name); }

static void functions(void)
{
    Run r;
    /* scale(x) = LeakyRelu(x, alpha=@a) with the default 0.25; both(x, b) = Add(scale(x, a=@s), b) */
    Msg *scale = sub(sub(function("own", "scale x -> y", 20), 7, with(node("LeakyRelu x -> y"), attr_ref("alpha", 1, "a"))), 11, attr_f("a", 0.25f));
    Msg *both = str(function("own", "both x b -> y", 20), 6, "s");
    sub(both, 7, with(call("scale x -> t", "inner"), attr_ref("a", 1, "s")));
    sub(both, 7, node("Add t b -> y"));
    Msg *g = in(in(graph(), "x: 1 3"), "b: 1 3");
    add(g, call("scale x -> p", "first"));
    add(g, with(call("scale p -> q", "second"), attr_f("a", 0.5f)));
    add(g, with(call("both q b -> y", "third"), attr_f("s", 0.75f)));
    add(g, call("both q b -> z", "fourth"));
    Msg *m = sub(sub(sub(sub(head(20), 8, opset("own", 1)), 25, scale), 25, both), 7, out(out(g, "y: 1 3"), "z: 1 3"));
    if (CHECK(works(&r, m, NULL))) {
        const char *text = text_of(&r);
        CHECK(has(text, "%p = LeakyRelu(%x) {alpha=0.25}") && has(text, "%q = LeakyRelu(%p) {alpha=0.5}"));
        CHECK(has(text, "LeakyRelu(%q) {alpha=0.75}") && has(text, "%y = Add(") && has(text, "\"third/inner/0\""));
        CHECK(has(text, "LeakyRelu(%q) {alpha=0.25}") && has(text, "!3 \"fourth/inner/0\""));   /* left out by the caller: the default */
        CHECK(!strstr(text, "scale("));
    }
    run_end(&r);

    /* a function has an opset of its own: Softmax of 11 flattens */
    Msg *old = sub(function("own", "old x -> y", 11), 7, node("Softmax x -> y"));
    m = sub(sub(sub(head(20), 8, opset("own", 1)), 25, old), 7, out(add(add(in(graph(), "x: 1 2,3,4"), call("old x -> t", "")), node("Softmax t -> y")), "y: 1 2,3,4"));
    if (CHECK(works(&r, m, NULL))) CHECK(has(text_of(&r), "%y = Softmax(%t)") && has(text_of(&r), "Flatten(%x)"));
    run_end(&r);

    Msg *self = sub(function("own", "self x -> y", 20), 7, call("self x -> y", ""));
    m = sub(sub(sub(head(20), 8, opset("own", 1)), 25, self), 7, out(add(in(graph(), "x: 1 3"), call("self x -> y", "")), "y: 1 3"));
    CHECK(refused(m, NULL, "E030", "calls itself"));

    m = sub(head(20), 8, opset("own", 1));   /* 2^30 calls */
    for (int k = 0; k < 30; k++) {
        Msg *f = function("own", arena_printf(&arena, "f%d x -> y", k), 20);
        const char *op = k ? arena_printf(&arena, "f%d", k - 1) : "none";
        if (k) sub(sub(f, 7, call(arena_printf(&arena, "%s x -> t", op), "")), 7, call(arena_printf(&arena, "%s t -> y", op), ""));
        else sub(f, 7, node("Neg x -> y"));
        sub(m, 25, f);
    }
    CHECK(refused(sub(m, 7, out(add(in(graph(), "x: 1 3"), call("f29 x -> y", "")), "y: 1 3")), NULL, "E030", "too large"));

    /* a subgraph inside a function uses the function's values, not the caller's */
    Msg *pick = function("own", "pick c a -> y", 20);
    sub(pick, 7, node("Neg a -> n"));
    sub(pick, 7, with(with(node("If c -> y"), attr_g("then_branch", out(add(graph(), node("Exp n -> t")), "t: 1 -"))),
                      attr_g("else_branch", out(add(graph(), node("Abs a -> t")), "t: 1 -"))));
    g = out(add(in(in(in(graph(), "c: 9 "), "n: 1 3"), "x: 1 3"), call("pick c x -> y", "p")), "y: 1 3");
    if (CHECK(works(&r, sub(sub(sub(head(20), 8, opset("own", 1)), 25, pick), 7, g), NULL))) CHECK(has(text_of(&r), "If(%c | %p/n, %x)"));
    run_end(&r);
    CHECK(refused(sub(sub(sub(head(20), 8, opset("own", 1)), 25, sub(function("own", "leak -> y", 20), 7, node("Neg x -> y"))), 7,
                      out(add(in(graph(), "x: 1 3"), call("leak -> y", "l")), "y: 1 3")), NULL, "E037", "'x'"));
}

/* ---- bmc check ---- */

static void check_lists(void)
{
    Arena a;
    Diag d;
    CheckItems items = {0};
    OpUses uses = {0};
    arena_init(&a, "check", NULL);
    diag_init(&d, &a);
    Msg *g = in(in(graph(), "x: 1 3"), "c: 9 ");
    add(g, str(node("NoSuch x -> a"), 3, "first"));
    add(g, with(str(node("Relu a -> b"), 3, "second"), attr_i("wibble", 1)));
    add(g, with(with(node("If c -> y"), attr_g("then_branch", out(add(graph(), str(str(node("Odd b -> t"), 7, "com.example"), 3, "third")), "t: 1 -"))),
                attr_g("else_branch", out(add(graph(), node("Relu b -> t")), "t: 1 -"))));
    init(g, tensor("w", (DType)99, 0));
    const Msg *m = sub(sub(head(20), 8, opset("com.example", 3)), 7, out(g, "y: 1 3"));
    CHECK(onnx_check(&a, &d, save("model.onnx", m->p, m->n), &items, &uses));
    if (CHECK(items.n == 4)) {
        CHECK(has(items.p[0].what, "'w'") && has(items.p[0].what, "number 99"));
        CHECK(!strcmp(items.p[1].node, "first") && !strcmp(items.p[1].op, "NoSuch") && items.p[1].opset == 20);
        CHECK(!strcmp(items.p[2].node, "second") && has(items.p[2].what, "'wibble'"));
        CHECK(!strcmp(items.p[3].node, "third") && !strcmp(items.p[3].domain, "com.example") && items.p[3].opset == 3);
    }
    CHECK(uses.n == 4 && !strcmp(uses.p[2].op, "Relu") && uses.p[2].n == 2 && !strcmp(uses.p[3].op, "Odd"));
    CHECK(!onnx_check(&a, &d, save("text.onnx", "text", 4), &items, &uses));
    arena_free(&a);
}

static void shipped_model(void)
{
    Run r;
    import_file(&r, "models/digits/digits.onnx", NULL);
    CHECK(r.ok && infer_graph(r.m.entry) && onnx_check_outputs(&r.m));
    bmc_value x = {0}, y = {0};
    const char *name = "";
    CHECK(onnx_read_value(&r.arena, &r.diag, "models/digits/test_data_set_0/input_0.pb", PROTO_TENSOR, &x, &name) && x.dtype == BMC_F32 && x.rank == 4 && x.dim[3] == 8);
    CHECK_STR(name, r.ok ? value_name(r.m.entry, r.m.entry->in.p[0]) : "");
    CHECK(onnx_read_value(&r.arena, &r.diag, "models/digits/test_data_set_0/output_0.pb", PROTO_TENSOR, &y, NULL) && y.dim[0] == x.dim[0]);
    run_end(&r);
}

int main(void)
{
    arena_init(&arena, "test", NULL);
    snprintf(folder, sizeof folder, "/tmp/bmc_frontend_XXXXXX");
    if (!mkdtemp(folder)) return 1;
    no_models();
    broken_at_every_byte();
    tensor_encodings();
    wrong_tensors();
    external_data();
    sparse_tensors();
    dims();
    initializers_as_inputs();
    order_and_names();
    attributes();
    upgrades();
    declared_outputs();
    captures();
    functions();
    check_lists();
    shipped_model();
    static const char *const made[] = {"model.onnx", "cut.onnx", "changed.onnx", "text.onnx", "weights.bin", "inner/weights.bin", "inner/linked.onnx", "inner/data",
                                       "inner/plain.onnx", "inner", "blobs/1", "blobs/2", "blobs", "link.bin", ""};
    for (size_t k = 0; k < sizeof made / sizeof *made; k++) remove(file_of(made[k]));
    arena_free(&arena);
    return check_done();
}
