/* image.h: what the decoders of the runtime's part `image` share. Each takes the encoded bytes of one image and fills
 * rows of RGB, 8 bits a channel, that rt_image_begin has made room for. Input comes from anywhere: whatever the bytes
 * are, a decoder returns false with a reason, it never reads or writes outside. */
#ifndef BMC_RT_IMAGE_H
#define BMC_RT_IMAGE_H
#include "runtime/rt_internal.h"

#define RT_IMAGE_PIXELS_MAX ((int64_t)1 << 28)

typedef struct rt_image {
    bmc_ctx *ctx;
    uint32_t slot; /* the box that holds the pixels */
    const uint8_t *data;
    size_t n;     /* encoded */
    uint8_t *rgb; /* NULL before rt_image_begin */
    int64_t h, w;
    bool refused;      /* the bytes are no image, for a reason that is theirs: the answer is an empty one */
    bmc_status status; /* of a failure */
} rt_image;

/* Memory for h rows of w pixels, with anything in it. false: empty, above RT_IMAGE_PIXELS_MAX, or no memory; the reason is left. */
bool rt_image_begin(rt_image *, int64_t h, int64_t w);
/* The bytes are no image: leaves the reason, with the format's name in front; returns false. */
bool rt_image_fail(rt_image *, const char *format, const char *why);
static inline uint8_t *rt_image_row(const rt_image *m, int64_t y) { return m->rgb + 3 * m->w * y; }

/* One format each; the bytes begin as the format says. Only the first image of several is read. */
bool rt_jpeg_decode(rt_image *);
bool rt_png_decode(rt_image *);
bool rt_bmp_decode(rt_image *);
bool rt_tiff_decode(rt_image *);
bool rt_webp_decode(rt_image *);
bool rt_jp2_decode(rt_image *);
bool rt_pnm_decode(rt_image *);

/* Little-endian numbers at p. */
static inline uint32_t rt_le16(const uint8_t *p) { return p[0] | (uint32_t)p[1] << 8; }
static inline uint32_t rt_le32(const uint8_t *p) { return rt_le16(p) | rt_le16(p + 2) << 16; }

#endif
