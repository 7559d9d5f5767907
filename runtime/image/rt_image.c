/* rt_image: an encoded image becomes u8[h, w, channels]: the format is told by its first bytes, its decoder gives
 * RGB, and that becomes what the model asks for.
 *   grey = (19595 R + 38470 G + 7471 B + 32768) / 65536        ITU-R 601-2, with the reference's rounding
 * Grey images are RGB with equal channels, so that the formula gives them back; alpha is dropped. What is no image gives an
 * empty one: "If it can't decode for any reason [...] it will return an empty matrix". */
#include "runtime/image/image.h"
#include <string.h>

bool rt_image_fail(rt_image *m, const char *format, const char *why)
{
    if (m->status == BMC_OK) {
        rt_detail(m->ctx, "%s image: %.100s", format, why);
        m->status = BMC_E_FAIL;
        m->refused = true;
    }
    return false;
}

bool rt_image_begin(rt_image *m, int64_t h, int64_t w)
{
    if (h < 1 || w < 1) return rt_image_fail(m, "empty", "no pixels");
    if (h > RT_IMAGE_PIXELS_MAX / w) {
        rt_image_fail(m, "huge", "more than 2^28 pixels");
        return m->refused = false;
    }
    if (!rt_box_alloc(m->ctx, m->slot, 3 * h * w, 0)) {
        m->status = BMC_E_MEMORY;
        return false;
    }
    m->rgb = m->ctx->slot[m->slot];
    m->h = h, m->w = w;
    return true;
}

static bool begins(const rt_image *m, size_t at, const char *with, size_t n)
{
    return m->n >= at + n && !memcmp(m->data + at, with, n);
}

static bool decode(rt_image *m)
{
    static const struct {
        const char *with;
        size_t n;
        bool (*decode)(rt_image *);
    } FORMAT[] = {
        {"\xff\xd8\xff", 3, rt_jpeg_decode},
        {"\x89PNG\r\n\x1a\n", 8, rt_png_decode},
        {"BM", 2, rt_bmp_decode},
        {"II*\0", 4, rt_tiff_decode},
        {"MM\0*", 4, rt_tiff_decode},
        {"II+\0", 4, rt_tiff_decode}, /* with 64-bit offsets */
        {"MM\0+", 4, rt_tiff_decode},
        {"\0\0\0\x0cjP  \r\n\x87\n", 12, rt_jp2_decode},
        {"\xff\x4f\xff\x51", 4, rt_jp2_decode}, /* a code stream without the box around it */
    };
    for (size_t k = 0; k < sizeof FORMAT / sizeof *FORMAT; k++)
        if (begins(m, 0, FORMAT[k].with, FORMAT[k].n)) return FORMAT[k].decode(m);
    if (begins(m, 0, "RIFF", 4) && begins(m, 8, "WEBP", 4)) return rt_webp_decode(m);
    if (begins(m, 0, "P", 1) && m->n > 2 && m->data[1] >= '1' && m->data[1] <= '7') return rt_pnm_decode(m);
    return rt_image_fail(m, "unknown", "it begins like none of JPEG, PNG, BMP, TIFF, WebP, JPEG 2000, PNM");
}

/* In place: a pixel is written behind or where it was read. */
static void convert(uint8_t *p, int64_t pixels, int64_t mode)
{
    for (int64_t k = 0; mode == 1 && k < pixels; k++) {
        uint8_t r = p[3 * k];
        p[3 * k] = p[3 * k + 2];
        p[3 * k + 2] = r;
    }
    for (int64_t k = 0; mode == 2 && k < pixels; k++)
        p[k] = (uint8_t)((p[3 * k] * 19595u + p[3 * k + 1] * 38470u + p[3 * k + 2] * 7471u + 0x8000) >> 16);
}

int32_t rt_image_decode(bmc_ctx *x, rt_arg *arg, int32_t n_arg, int32_t tid, int32_t nt)
{
    (void)n_arg, (void)tid, (void)nt;
    rt_image m = {.ctx = x, .slot = (uint32_t)arg[1].value, .data = arg[0].data, .n = (size_t)arg[0].dim[0]};
    *arg[2].sym = *arg[3].sym = 0;
    if (!m.data) return BMC_E_MEMORY; /* an allocation in front of the call failed */
    if (!decode(&m)) {
        if (!rt_box_alloc(x, m.slot, 0, 0)) return BMC_E_MEMORY;
        if (m.refused) rt_detail(x, "%s", ""); /* of no error */
        return m.refused ? BMC_OK : m.status;
    }
    convert(m.rgb, m.h * m.w, arg[4].value);
    *arg[2].sym = m.h;
    *arg[3].sym = m.w;
    return BMC_OK;
}
