/* value_io_test: files of ONNX test data, written and read back: every element type, sequences, optionals, maps. That others read them is conformance's to show. */
#include "frontend/frontend.h"
#include "tests/unit/check.h"
#include <stdlib.h>
#include <unistd.h>

static Arena arena;
static char folder[64];
static const char *file_of(const char *name) { return arena_printf(&arena, "%s/%s", folder, name); }

static bool value_same(const bmc_value *a, const bmc_value *b)
{
    if (a->kind != b->kind || a->dtype != b->dtype || a->rank != b->rank || a->n_item != b->n_item || memcmp(a->dim, b->dim, sizeof a->dim)) return false;
    for (size_t k = 0; k < a->n_item; k++)
        if (!value_same(&a->item[k], &b->item[k])) return false;
    if (a->kind != BMC_TENSOR) return true;
    int64_t count = 1;
    for (int k = 0; k < a->rank; k++) count *= a->dim[k];
    if (a->dtype != BMC_STRING) return !memcmp(a->data, b->data, (size_t)dtype_bytes((DType)a->dtype, count));
    const bmc_string *s = a->data, *t = b->data;
    for (int64_t k = 0; k < count; k++)
        if (s[k].len != t[k].len || memcmp(s[k].ptr, t[k].ptr, s[k].len)) return false;
    return true;
}

static bool round_trip(const bmc_value *v, ValueProto kind)
{
    Diag d;
    bmc_value back;
    const char *name;
    diag_init(&d, &arena);
    const char *path = file_of("value.pb");
    bool ok = onnx_write_value(&arena, &d, path, "some name", v) && onnx_read_value(&arena, &d, path, kind, &back, &name)
           && value_same(v, &back) && !strcmp(name, "some name");
    if (!ok) printf("    %s\n", d.first_error ? d.first_error : "values differ");
    return ok;
}

static void values(void)
{
    static uint8_t data[512];
    Diag d;
    diag_init(&d, &arena);
    for (int k = 0; k < 512; k++) data[k] = (uint8_t)(k * 7);
    bmc_value v[DT_COUNT];
    for (int t = 1; t < DT_COUNT; t++) {
        bmc_string *s = arena_array(&arena, bmc_string, 6);
        for (int k = 0; k < 6; k++) s[k] = (bmc_string){&"a\0bcde"[k], (size_t)k % 4};
        v[t] = (bmc_value){.size = sizeof v[t], .kind = BMC_TENSOR, .dtype = (uint8_t)t, .rank = 2, .dim = {2, 3}, .data = t == DT_STR ? (void *)s : data};
        CHECK(round_trip(&v[t], PROTO_TENSOR));
        v[t].dim[1] = 0;
        CHECK(round_trip(&v[t], PROTO_TENSOR));
        v[t].dim[1] = 3;
    }
    v[2].rank = 0, v[2].dim[0] = v[2].dim[1] = 0;
    bmc_value seq = {.size = sizeof seq, .kind = BMC_SEQUENCE, .item = &v[1], .n_item = 3}, empty = {.size = sizeof seq, .kind = BMC_SEQUENCE};
    bmc_value nested = {.size = sizeof seq, .kind = BMC_SEQUENCE, .item = (bmc_value[]){seq, empty}, .n_item = 2};
    bmc_value some = {.size = sizeof seq, .kind = BMC_OPTIONAL, .item = &seq, .n_item = 1}, one = {.size = sizeof seq, .kind = BMC_OPTIONAL, .item = &v[1], .n_item = 1};
    bmc_value none = {.size = sizeof seq, .kind = BMC_OPTIONAL};
    int64_t longs[] = {3, -4, 5};
    int8_t small_keys[] = {3, -4, 5};
    bmc_string words[] = {{"x", 1}, {"yy", 2}, {"", 0}};
    bmc_value ik = {.size = sizeof ik, .kind = BMC_TENSOR, .dtype = BMC_I64, .rank = 1, .dim = {3}, .data = longs};
    bmc_value bk = {.size = sizeof bk, .kind = BMC_TENSOR, .dtype = BMC_I8, .rank = 1, .dim = {3}, .data = small_keys};
    bmc_value sk = {.size = sizeof sk, .kind = BMC_TENSOR, .dtype = BMC_STRING, .rank = 1, .dim = {3}, .data = words};
    CHECK(round_trip(&seq, PROTO_SEQUENCE) && round_trip(&empty, PROTO_SEQUENCE) && round_trip(&nested, PROTO_SEQUENCE));
    CHECK(round_trip(&some, PROTO_OPTIONAL) && round_trip(&one, PROTO_OPTIONAL) && round_trip(&none, PROTO_OPTIONAL));
    bmc_value fv = {.size = sizeof fv, .kind = BMC_TENSOR, .dtype = BMC_F32, .rank = 1, .dim = {3}, .data = (float[]){1, 2, 3}, .bytes = 12};
    const bmc_value *keys[] = {&ik, &bk, &sk};
    for (int k = 0; k < 3; k++) {
        bmc_value map = {.size = sizeof map, .kind = BMC_MAP, .item = (bmc_value[]){*keys[k], k == 1 ? sk : fv}, .n_item = 2};
        CHECK(round_trip(&map, PROTO_MAP));
    }
    bmc_value back;
    FILE *f = fopen(file_of("bad.pb"), "wb");
    if (CHECK(f != NULL)) {
        fwrite("\x08\x03\x10\x01", 1, 4, f);   /* 3 floats, none there */
        fclose(f);
    }
    CHECK(!onnx_read_value(&arena, &d, file_of("bad.pb"), PROTO_TENSOR, &back, NULL));
    CHECK(!onnx_read_value(&arena, &d, file_of("none.pb"), PROTO_TENSOR, &back, NULL));
    CHECK(!onnx_write_value(&arena, &d, file_of("no/folder.pb"), "x", &v[1]));
    CHECK(d.errors == 3);
}

int main(void)
{
    arena_init(&arena, "test", NULL);
    snprintf(folder, sizeof folder, "/tmp/bmc_value_XXXXXX");
    if (!mkdtemp(folder)) return 1;
    values();
    remove(file_of("value.pb"));
    remove(file_of("bad.pb"));
    rmdir(folder);
    arena_free(&arena);
    return check_done();
}
