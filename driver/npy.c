/* npy.c: see npy.h. The header is a Python dictionary: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }. */
#include "driver/npy.h"
#include "driver/compile.h"
#include "ir/type.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct { const char *descr; DType type; } TYPES[] = {
    {"f4", DT_F32}, {"f8", DT_F64}, {"f2", DT_F16}, {"i1", DT_I8}, {"i2", DT_I16}, {"i4", DT_I32}, {"i8", DT_I64}, {"u1", DT_U8}, {"u2", DT_U16}, {"u4", DT_U32}, {"u8", DT_U64},
    {"b1", DT_BOOL}, {"c8", DT_C64}, {"c16", DT_C128}};

static bool bad(Arena *a, Diag *d, const char *path, const char *what) { return diag(d, diag_file(path), E_READ, arena_printf(a, "not a .npy file that bmc reads: %s", what)); }

/* UTF-32 (<U) to UTF-8. */
static size_t utf8(char *to, uint32_t c)
{
    if (c < 0x80) return to[0] = (char)c, 1;
    if (c < 0x800) return to[0] = (char)(0xC0 | c >> 6), to[1] = (char)(0x80 | (c & 63)), 2;
    if (c < 0x10000) return to[0] = (char)(0xE0 | c >> 12), to[1] = (char)(0x80 | (c >> 6 & 63)), to[2] = (char)(0x80 | (c & 63)), 3;
    return to[0] = (char)(0xF0 | c >> 18), to[1] = (char)(0x80 | (c >> 12 & 63)), to[2] = (char)(0x80 | (c >> 6 & 63)), to[3] = (char)(0x80 | (c & 63)), 4;
}

static void read_strings(Arena *a, bmc_value *v, const char *from, int64_t count, size_t width, bool unicode)
{
    bmc_string *s = arena_array(a, bmc_string, count + 1);
    for (int64_t k = 0; k < count; k++) {
        const char *p = from + (size_t)k * width * (unicode ? 4 : 1);
        char *t = arena_alloc(a, width * 4 + 1);
        size_t n = 0;
        for (size_t i = 0; i < width; i++) {
            uint32_t c = (unsigned char)p[i];
            if (unicode) memcpy(&c, p + 4 * i, 4);
            if (!c) break;
            if (unicode) n += utf8(t + n, c);
            else t[n++] = (char)c;
        }
        s[k] = (bmc_string){t, n};
    }
    v->data = s;
    v->bytes = sizeof *s * (size_t)count;
}

bool npy_read(Arena *a, Diag *d, const char *path, bmc_value *v)
{
    FILE *f = fopen(path, "rb");
    if (!f) return diag(d, diag_file(path), E_OPEN, strerror(errno));
    unsigned char magic[12];
    size_t len = 0, head = fread(magic, 1, 10, f);
    bool ok = head == 10 && !memcmp(magic, "\x93NUMPY", 6);
    if (ok) {
        len = magic[8] | (size_t)magic[9] << 8;
        if (magic[6] > 1) {
            ok = fread(magic + 10, 1, 2, f) == 2;
            len |= (size_t)magic[10] << 16 | (size_t)magic[11] << 24;
        }
    }
    char *text = ok && len < (1 << 20) ? arena_alloc(a, len + 1) : NULL;
    if (!text || fread(text, 1, len, f) != len) {
        fclose(f);
        return bad(a, d, path, "the header is missing or broken");
    }
    const char *descr = strstr(text, "'descr'"), *order = strstr(text, "'fortran_order'"), *shape = strstr(text, "'shape'");
    if (descr) descr = strchr(descr + 7, '\'');
    if (shape) shape = strchr(shape, '(');
    if (!descr || !order || !shape) {
        fclose(f);
        return bad(a, d, path, "the header lacks descr, fortran_order or shape");
    }
    *v = (bmc_value){.size = sizeof *v, .kind = BMC_TENSOR};
    bool fortran = strstr(order, "True") && strstr(order, "True") < order + 22, unicode = descr[2] == 'U', bytes = descr[2] == 'S';
    size_t width = unicode || bytes ? strtoull(descr + 3, NULL, 10) : 0;
    if (unicode || bytes) v->dtype = DT_STR;
    for (size_t k = 0; k < sizeof TYPES / sizeof *TYPES; k++)
        if (!strncmp(descr + 2, TYPES[k].descr, strlen(TYPES[k].descr)) && descr[2 + strlen(TYPES[k].descr)] == '\'') v->dtype = (uint8_t)TYPES[k].type;
    int64_t count = 1;
    for (const char *p = shape + 1; *p && *p != ')';) {
        char *e;
        long long n = strtoll(p, &e, 10);
        if (e == p) {
            p++;
            continue;
        }
        if (v->rank == BMC_MAX_RANK || n < 0 || __builtin_mul_overflow(count, (int64_t)n, &count)) {
            fclose(f);
            return bad(a, d, path, "the shape is out of range");
        }
        v->dim[v->rank++] = n;
        p = e;
    }
    if (!v->dtype || descr[1] == '>' || width > (1 << 20) || count > INT64_MAX / 64 / (int64_t)(width + 1)) {
        fclose(f);
        return bad(a, d, path, "the element type is not supported");
    }
    size_t size = v->dtype == DT_STR ? width * (unicode ? 4 : 1) : dtype_info((DType)v->dtype)->bits / 8u, total = size * (size_t)count;
    long at = ftell(f);
    fseek(f, 0, SEEK_END);
    ok = ftell(f) - at >= (long)total;
    fseek(f, at, SEEK_SET);
    char *data = ok ? arena_alloc(a, total) : NULL;
    ok = ok && fread(data, 1, total, f) == total;
    fclose(f);
    if (!ok) return bad(a, d, path, "the data are shorter than the shape says");
    if (v->dtype == DT_STR) {
        read_strings(a, v, data, count, width, unicode);
        return true;
    }
    v->data = data;
    v->bytes = total;
    if (fortran && v->rank > 1) {
        char *c = arena_alloc(a, total);
        for (int64_t k = 0; k < count; k++) {
            int64_t rest = k, from = 0, step[BMC_MAX_RANK];
            for (int i = 0; i < v->rank; i++) step[i] = i ? step[i - 1] * v->dim[i - 1] : 1;
            for (int i = v->rank - 1; i >= 0; i--) from += rest % v->dim[i] * step[i], rest /= v->dim[i];
            memcpy(c + (size_t)k * size, data + (size_t)from * size, size);
        }
        v->data = c;
    }
    return true;
}

bool npy_write(Arena *a, Diag *d, Temps *temps, const char *path, const bmc_value *v)
{
    int64_t count = 1;
    for (int i = 0; i < v->rank; i++) count *= v->dim[i];
    Str s;
    str_init(&s, a);
    const char *descr = v->dtype == DT_BF16 ? "u2" : NULL;
    size_t width = 1;
    const bmc_string *strings = v->data;
    for (size_t k = 0; k < sizeof TYPES / sizeof *TYPES; k++)
        if (TYPES[k].type == (DType)v->dtype) descr = TYPES[k].descr;
    if (v->dtype == DT_STR) {   /* bytes of UTF-8 */
        for (int64_t k = 0; k < count; k++)
            if (strings[k].len > width) width = strings[k].len;
        descr = arena_printf(a, "S%zu", width);
    }
    if (!descr) return diag(d, diag_file(path), E_WRITE, arena_printf(a, "no .npy form for elements of type %s", dtype_info((DType)v->dtype)->onnx));
    bool one = descr[0] == 'S' || !strcmp(descr, "i1") || !strcmp(descr, "u1") || !strcmp(descr, "b1");
    str_printf(&s, "{'descr': '%c%s', 'fortran_order': False, 'shape': (", one ? '|' : '<', descr);
    for (int i = 0; i < v->rank; i++) str_printf(&s, "%lld%s", (long long)v->dim[i], i + 1 < v->rank ? ", " : v->rank == 1 ? "," : "");
    str_add(&s, "), }");
    while ((10 + s.n + 1) % 64) str_char(&s, ' ');
    str_char(&s, '\n');
    size_t size = v->dtype == DT_STR ? width : dtype_info((DType)v->dtype)->bits / 8u, total = size * (size_t)count;
    char *file = arena_alloc(a, 10 + s.n + total);
    memcpy(file, "\x93NUMPY\1\0", 8);
    file[8] = (char)(s.n & 255);
    file[9] = (char)(s.n >> 8);
    memcpy(file + 10, str_get(&s), s.n);
    if (v->dtype != DT_STR) {
        if (total) memcpy(file + 10 + s.n, v->data, total);
    } else
        for (int64_t k = 0; k < count; k++) memcpy(file + 10 + s.n + (size_t)k * width, strings[k].ptr, strings[k].len);
    return write_text(a, d, temps, path, file, 10 + s.n + total);
}
