/* rt_webp: WebP by libwebp; of an animation the first picture. */
#include "runtime/image/image.h"
#include <string.h>

#include <webp/decode.h>
#include <webp/demux.h>

static bool first_picture(rt_image *m)
{
    WebPAnimDecoderOptions o;
    WebPData all = {m->data, m->n};
    uint8_t *rgba;
    int stamp;
    if (!WebPAnimDecoderOptionsInit(&o)) return rt_image_fail(m, "WebP", "another version of the library");
    WebPAnimDecoder *d = WebPAnimDecoderNew(&all, &o);
    bool ok = d && WebPAnimDecoderGetNext(d, &rgba, &stamp);
    for (int64_t k = 0; ok && k < m->h * m->w; k++) memcpy(m->rgb + 3 * k, rgba + 4 * k, 3);
    WebPAnimDecoderDelete(d);
    return ok || rt_image_fail(m, "WebP", "it cannot be decoded");
}

bool rt_webp_decode(rt_image *m)
{
    WebPBitstreamFeatures f;
    if (WebPGetFeatures(m->data, m->n, &f) != VP8_STATUS_OK) return rt_image_fail(m, "WebP", "its header is damaged");
    if (!rt_image_begin(m, f.height, f.width)) return false;
    if (f.has_animation) return first_picture(m);
    return WebPDecodeRGBInto(m->data, m->n, m->rgb, (size_t)(3 * m->h * m->w), (int)(3 * m->w)) ||
           rt_image_fail(m, "WebP", "it cannot be decoded");
}
