/* rt_tiff: TIFF by libtiff, first directory, through its RGBA interface, which knows all sample formats. That
 * interface multiplies colours with an alpha that is not associated; alpha is dropped here, so it is declared
 * associated before. */
#include "runtime/image/image.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <tiffio.h>

typedef struct Tiff {
    rt_image *m;
    toff_t at;
} Tiff;

static tmsize_t on_read(thandle_t h, void *to, tmsize_t n)
{
    Tiff *t = (Tiff *)h;
    if (n <= 0 || t->at >= t->m->n) return 0;
    if ((uint64_t)n > t->m->n - t->at) n = (tmsize_t)(t->m->n - t->at);
    memcpy(to, t->m->data + t->at, (size_t)n);
    t->at += (toff_t)n;
    return n;
}
static tmsize_t on_write(thandle_t h, void *from, tmsize_t n) { return (void)h, (void)from, (void)n, 0; }
static toff_t on_seek(thandle_t h, toff_t to, int from)
{
    Tiff *t = (Tiff *)h;
    t->at = from == SEEK_CUR ? t->at + to : from == SEEK_END ? t->m->n + to : to;
    return t->at;
}
static int on_close(thandle_t h) { return (void)h, 0; }
static toff_t on_size(thandle_t h) { return ((Tiff *)h)->m->n; }

static int on_error(TIFF *tiff, void *user, const char *where, const char *format, va_list ap)
{
    char text[200];
    (void)tiff, (void)where;
    vsnprintf(text, sizeof text, format, ap);
    rt_image_fail(user, "TIFF", text);
    return 1;
}
static int on_warning(TIFF *tiff, void *user, const char *where, const char *format, va_list ap)
{
    return (void)tiff, (void)user, (void)where, (void)format, (void)ap, 1;
}

static bool decode(TIFF *tiff, rt_image *m)
{
    uint32_t w = 0, h = 0;
    uint16_t extras = 0, *extra = NULL, associated = EXTRASAMPLE_ASSOCALPHA;
    char why[1024] = "";
    if (!TIFFGetField(tiff, TIFFTAG_IMAGEWIDTH, &w) || !TIFFGetField(tiff, TIFFTAG_IMAGELENGTH, &h))
        return rt_image_fail(m, "TIFF", "it has no size");
    if (!TIFFRGBAImageOK(tiff, why)) return rt_image_fail(m, "TIFF", why);
    if (TIFFGetField(tiff, TIFFTAG_EXTRASAMPLES, &extras, &extra) && extras == 1 && *extra == EXTRASAMPLE_UNASSALPHA)
        TIFFSetField(tiff, TIFFTAG_EXTRASAMPLES, 1, &associated);
    if (!rt_image_begin(m, h, w)) return false;
    uint32_t *raster = rt_heap_alloc(&m->ctx->rt->heap, (size_t)m->h * (size_t)m->w * sizeof *raster, NULL);
    if (!raster) {
        m->status = BMC_E_MEMORY;
        rt_detail(m->ctx, "pixels of a TIFF image");
        return false;
    }
    bool ok = TIFFReadRGBAImageOriented(tiff, w, h, raster, ORIENTATION_TOPLEFT, 1) && m->status == BMC_OK;
    for (int64_t k = 0; ok && k < m->h * m->w; k++) {
        m->rgb[3 * k] = (uint8_t)TIFFGetR(raster[k]);
        m->rgb[3 * k + 1] = (uint8_t)TIFFGetG(raster[k]);
        m->rgb[3 * k + 2] = (uint8_t)TIFFGetB(raster[k]);
    }
    rt_heap_free(&m->ctx->rt->heap, raster);
    return ok || rt_image_fail(m, "TIFF", "it cannot be decoded");
}

bool rt_tiff_decode(rt_image *m)
{
    Tiff t = {.m = m};
    TIFFOpenOptions *o = TIFFOpenOptionsAlloc();
    if (!o) return rt_image_fail(m, "TIFF", "no memory");
    TIFFOpenOptionsSetErrorHandlerExtR(o, on_error, m);
    TIFFOpenOptionsSetWarningHandlerExtR(o, on_warning, m);
    TIFFOpenOptionsSetMaxSingleMemAlloc(o, (tmsize_t)(4 * RT_IMAGE_PIXELS_MAX));
    TIFF *tiff =
        TIFFClientOpenExt("image", "rm", (thandle_t)&t, on_read, on_write, on_seek, on_close, on_size, NULL, NULL, o);
    TIFFOpenOptionsFree(o);
    bool ok = tiff ? decode(tiff, m) : rt_image_fail(m, "TIFF", "its header is damaged");
    if (tiff) TIFFClose(tiff);
    return ok;
}
