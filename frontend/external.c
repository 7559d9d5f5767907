/* external: tensors whose data lies in a file of its own (keys location, offset, length; others are ignored).
 * The file must lie in the model's folder or below it: no absolute path, no "..", no symbolic link that leads out. Where the model is itself a link (download
 * caches keep files under their hash and link to them), the folder of the file that it leads to counts too. */
#include "frontend/tensor.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static bool parse_size(const char *text, int64_t *v)
{
    *v = 0;
    if (!*text) return false;
    for (; *text; text++)
        if (*text < '0' || *text > '9' || __builtin_mul_overflow(*v, 10, v) || __builtin_add_overflow(*v, *text - '0', v)) return false;
    return true;
}

static bool leads_up(const char *path)
{
    for (const char *p = path; *p;) {
        size_t n = strcspn(p, "/\\");
        if (n == 2 && p[0] == '.' && p[1] == '.') return true;
        p += n + (p[n] != 0);
    }
    return false;
}

/* The folder of the model, with a final '/' unless it is the current one. */
static const char *folder_of(Arena *a, const char *model)
{
    const char *slash = strrchr(model, '/');
    return slash ? arena_strndup(a, model, (size_t)(slash - model) + 1) : "";
}

static bool below(const char *top, const char *real)
{
    size_t n = strlen(top);
    return !strcmp(top, "/") || (!strncmp(top, real, n) && real[n] == '/');
}

static bool inside(const OnnxFile *f, const char *folder, const char *path, const char **why)
{
    char top[PATH_MAX], real[PATH_MAX], model[PATH_MAX];
    if (!realpath(*folder ? folder : ".", top) || !realpath(f->path, model) || !realpath(path, real)) {
        *why = arena_printf(f->arena, "cannot open '%s': %s", path, strerror(errno));
        return false;
    }
    char *slash = strrchr(model, '/');
    slash[slash == model] = 0;   /* its folder */
    if (below(top, real) || below(model, real)) return true;
    *why = arena_printf(f->arena, "'%s' leads out of the model's folder", path);
    return false;
}

bool external_find(const OnnxFile *f, const Onnx__TensorProto *t, int64_t bytes, uint32_t *file, int64_t *off, const char **why)
{
    Arena *a = f->arena;
    const char *location = "", *folder = folder_of(a, f->path), *reason;
    int64_t length = -1, size;
    *off = 0;
    for (size_t k = 0; k < t->n_external_data; k++) {
        const Onnx__StringStringEntryProto *e = t->external_data[k];
        if (!strcmp(e->key, "location")) location = e->value;
        else if (!strcmp(e->key, "offset") && !parse_size(e->value, off)) *why = arena_printf(a, "offset '%s' is not a number of bytes", e->value);
        else if (!strcmp(e->key, "length") && !parse_size(e->value, &length)) *why = arena_printf(a, "length '%s' is not a number of bytes", e->value);
        else continue;
        if (*why) return false;
    }
    if (!*location) *why = "no location is given";
    else if (*location == '/' || leads_up(location)) *why = arena_printf(a, "'%s' leads out of the model's folder", location);
    else if (length >= 0 && length != bytes)
        *why = arena_printf(a, "its length is given as %lld bytes, its dims and type need %lld", (long long)length, (long long)bytes);
    if (*why) return false;
    const char *path = arena_printf(a, "%s%s", folder, location);
    if (!inside(f, folder, path, why)) return false;
    if (!blob_file(f->blobs, path, file, &reason)) {
        *why = arena_printf(a, "cannot open '%s': %s", path, reason);
        return false;
    }
    size = f->blobs->file.p[*file].bytes;
    if (*off <= size && bytes <= size - *off) return true;
    *why = arena_printf(a, "'%s' has %lld bytes, %lld from byte %lld on are needed", path, (long long)size, (long long)bytes, (long long)*off);
    return false;
}
