/* rt_png: PNG by libpng: palettes and small samples become bytes, 16-bit samples keep their upper byte, grey becomes
 * RGB, alpha is dropped. The library leaves through longjmp on errors; what lives across it is in one struct. */
#include "runtime/image/image.h"
#include <png.h>
#include <string.h>

typedef struct Png {
    png_structp png;
    png_infop info;
    rt_image *m;
    size_t at;
} Png;

static void on_error(png_structp png, png_const_charp text)
{
    rt_image_fail(((Png *)png_get_error_ptr(png))->m, "PNG", text);
    png_longjmp(png, 1);
}
static void on_warning(png_structp png, png_const_charp text) { (void)png, (void)text; }

static void on_read(png_structp png, png_bytep to, size_t n)
{
    Png *p = png_get_io_ptr(png);
    if (n > p->m->n - p->at) png_error(png, "it is truncated");
    memcpy(to, p->m->data + p->at, n);
    p->at += n;
}

static bool decode(Png *p)
{
    if (setjmp(png_jmpbuf(p->png))) return false;
    png_set_user_limits(p->png, 1 << 28, 1 << 28);
    png_set_read_fn(p->png, p, on_read);
    png_read_info(p->png, p->info);
    png_set_expand(p->png);
    png_set_strip_16(p->png);
    png_set_strip_alpha(p->png);
    png_set_gray_to_rgb(p->png);
    int passes = png_set_interlace_handling(p->png);
    if (!rt_image_begin(p->m, png_get_image_height(p->png, p->info), png_get_image_width(p->png, p->info)))
        return false;
    png_read_update_info(p->png, p->info);
    if (png_get_rowbytes(p->png, p->info) != (size_t)(3 * p->m->w)) png_error(p->png, "unexpected channels");
    for (int k = 0; k < passes; k++)
        for (int64_t y = 0; y < p->m->h; y++) png_read_row(p->png, rt_image_row(p->m, y), NULL);
    return true;
}

bool rt_png_decode(rt_image *m)
{
    Png p = {.m = m};
    p.png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &p, on_error, on_warning);
    p.info = p.png ? png_create_info_struct(p.png) : NULL;
    bool ok = p.info ? decode(&p) : rt_image_fail(m, "PNG", "no memory");
    png_destroy_read_struct(&p.png, &p.info, NULL);
    return ok;
}
