/* rt_jpeg: JPEG by libjpeg(-turbo), with its defaults: exact integer transform, smooth ("fancy") upsampling of the
 * chroma. The library leaves through longjmp on errors; everything that lives across it is in one struct. CMYK comes
 * inverted, as all programs write it, and goes to RGB by  c * k / 255. */
#include "runtime/image/image.h"
#include <setjmp.h>
#include <stdio.h>

#include <jpeglib.h>
#include <jerror.h>

#define MEMORY_MAX (1L << 30) /* for the coefficients of a progressive image */
#define SCANS_MAX 500 /* of a progressive image: more is meant to take forever */

typedef struct Jpeg {
    struct jpeg_decompress_struct z;
    struct jpeg_error_mgr err;
    struct jpeg_progress_mgr progress;
    jmp_buf leave;
    rt_image *m;
} Jpeg;

static void on_error(j_common_ptr z)
{
    Jpeg *j = z->client_data;
    char text[JMSG_LENGTH_MAX];
    z->err->format_message(z, text);
    rt_image_fail(j->m, "JPEG", text);
    longjmp(j->leave, 1);
}

/* Warnings are passed over, as other programs do, but for the end of the data in the middle of the image. */
static void on_message(j_common_ptr z, int level)
{
    if (level >= 0 || z->err->msg_code != JWRN_JPEG_EOF) return;
    Jpeg *j = z->client_data;
    rt_image_fail(j->m, "JPEG", "it is truncated");
    longjmp(j->leave, 1);
}

static void on_progress(j_common_ptr z)
{
    Jpeg *j = z->client_data;
    if (j->z.input_scan_number <= SCANS_MAX) return;
    rt_image_fail(j->m, "JPEG", "too many scans");
    longjmp(j->leave, 1);
}

static uint8_t scaled(int a, int b) /* a * b / 255, rounded */
{
    int t = a * b + 128;
    return (uint8_t)(((t >> 8) + t) >> 8);
}

static void from_cmyk(uint8_t *to, const uint8_t *from, int64_t n)
{
    for (int64_t k = 0; k < n; k++)
        for (int c = 0; c < 3; c++) {
            int black = from[4 * k + 3];
            to[3 * k + c] = (uint8_t)(black - scaled(255 - from[4 * k + c], black));
        }
}

static bool decode(Jpeg *j)
{
    struct jpeg_decompress_struct *z = &j->z;
    rt_image *m = j->m;
    if (setjmp(j->leave)) return false;
    jpeg_create_decompress(z);
    z->client_data = j;
    z->mem->max_memory_to_use = MEMORY_MAX;
    jpeg_mem_src(z, m->data, (unsigned long)m->n);
    jpeg_read_header(z, TRUE);
    j->progress.progress_monitor = on_progress;
    z->progress = &j->progress;
    bool cmyk = z->jpeg_color_space == JCS_CMYK || z->jpeg_color_space == JCS_YCCK;
    z->out_color_space = cmyk ? JCS_CMYK : JCS_RGB;
    if (!rt_image_begin(m, z->image_height, z->image_width)) return false;
    jpeg_start_decompress(z);
    JSAMPARRAY line = cmyk ? z->mem->alloc_sarray((j_common_ptr)z, JPOOL_IMAGE, z->output_width * 4, 1) : NULL;
    while (z->output_scanline < z->output_height) {
        JSAMPROW row = rt_image_row(m, z->output_scanline);
        if (jpeg_read_scanlines(z, cmyk ? line : &row, 1) != 1) return rt_image_fail(m, "JPEG", "it is truncated");
        if (cmyk) from_cmyk(row, line[0], m->w);
    }
    return true;
}

bool rt_jpeg_decode(rt_image *m)
{
    Jpeg j = {.m = m};
    j.z.err = jpeg_std_error(&j.err);
    j.z.client_data = &j;
    j.err.error_exit = on_error;
    j.err.emit_message = on_message;
    bool ok = decode(&j);
    jpeg_destroy_decompress(&j.z);
    return ok;
}
