/* rt_jp2: JPEG 2000 by OpenJPEG, in its file format or as a bare code stream. Components of any precision, signed or
 * not, at full or reduced resolution, become bytes: grey (1 or 2 of them), RGB or YCC. */
#include "runtime/image/image.h"
#include <string.h>

#include <openjpeg.h>

typedef struct Source {
    const rt_image *m;
    size_t at;
} Source;

static OPJ_SIZE_T on_read(void *to, OPJ_SIZE_T n, void *user)
{
    Source *s = user;
    if (s->at >= s->m->n) return (OPJ_SIZE_T)-1;
    if (n > s->m->n - s->at) n = s->m->n - s->at;
    memcpy(to, s->m->data + s->at, n);
    s->at += n;
    return n;
}
static OPJ_OFF_T on_skip(OPJ_OFF_T n, void *user)
{
    Source *s = user;
    if (n < 0) return -1;
    if ((uint64_t)n > s->m->n - s->at) n = (OPJ_OFF_T)(s->m->n - s->at);
    s->at += (size_t)n;
    return n;
}
static OPJ_BOOL on_seek(OPJ_OFF_T to, void *user)
{
    Source *s = user;
    if (to < 0 || (uint64_t)to > s->m->n) return OPJ_FALSE;
    s->at = (size_t)to;
    return OPJ_TRUE;
}
static void on_error(const char *text, void *user)
{
    char line[128];
    size_t n = strcspn(text, "\n");
    if (n >= sizeof line) n = sizeof line - 1;
    memcpy(line, text, n);
    line[n] = 0;
    rt_image_fail(user, "JPEG 2000", line);
}

/* The sample that covers pixel (y, x), as a byte. */
static int sample(const opj_image_comp_t *c, const opj_image_t *z, int64_t y, int64_t x)
{
    int64_t cy = (z->y0 + y) / c->dy - c->y0, cx = (z->x0 + x) / c->dx - c->x0;
    cy = cy < 0 ? 0 : cy >= c->h ? c->h - 1 : cy;
    cx = cx < 0 ? 0 : cx >= c->w ? c->w - 1 : cx;
    int64_t v = c->data[cy * c->w + cx];
    if (c->sgnd) v += (int64_t)1 << (c->prec - 1);
    v = c->prec > 8 ? (v + ((int64_t)1 << (c->prec - 9))) >> (c->prec - 8) : v << (8 - c->prec);
    return v < 0 ? 0 : v > 255 ? 255 : (int)v;
}

static uint8_t clip(double v) { return (uint8_t)(v < 0 ? 0 : v > 255 ? 255 : (int)(v + 0.5)); }

static bool pixels(rt_image *m, const opj_image_t *z)
{
    uint32_t colours = z->numcomps < 3 ? 1 : 3;
    for (uint32_t k = 0; k < colours; k++) {
        const opj_image_comp_t *c = &z->comps[k];
        if (!c->data || !c->w || !c->h || !c->dx || !c->dy || c->prec < 1 || c->prec > 31)
            return rt_image_fail(m, "JPEG 2000", "a component is missing");
    }
    bool ycc = colours == 3 && z->color_space == OPJ_CLRSPC_SYCC;
    for (int64_t y = 0; y < m->h; y++)
        for (int64_t x = 0; x < m->w; x++) {
            uint8_t *to = rt_image_row(m, y) + 3 * x;
            int v[3];
            for (uint32_t k = 0; k < 3; k++) v[k] = sample(&z->comps[k < colours ? k : 0], z, y, x);
            for (uint32_t k = 0; k < 3; k++) to[k] = (uint8_t)v[k];
            if (!ycc) continue;
            double cb = v[1] - 128, cr = v[2] - 128;
            to[0] = clip(v[0] + 1.402 * cr);
            to[1] = clip(v[0] - 0.344136 * cb - 0.714136 * cr);
            to[2] = clip(v[0] + 1.772 * cb);
        }
    return true;
}

static bool decode(rt_image *m, opj_codec_t *codec, opj_stream_t *stream, opj_image_t **z)
{
    opj_dparameters_t how;
    opj_set_default_decoder_parameters(&how);
    opj_set_error_handler(codec, on_error, m);
    if (!opj_setup_decoder(codec, &how) || !opj_read_header(stream, codec, z)) return false;
    int64_t h = (int64_t)(*z)->y1 - (*z)->y0, w = (int64_t)(*z)->x1 - (*z)->x0;
    if ((*z)->numcomps < 1 || (*z)->numcomps > 16)
        return rt_image_fail(m, "JPEG 2000", "it has more than 16 components");
    if (!rt_image_begin(m, h, w)) return false;
    if (!opj_decode(codec, stream, *z) || !opj_end_decompress(codec, stream)) return false;
    return m->status == BMC_OK && pixels(m, *z);
}

bool rt_jp2_decode(rt_image *m)
{
    Source s = {m, 0};
    opj_image_t *z = NULL;
    opj_codec_t *codec = opj_create_decompress(m->data[0] == 0xff ? OPJ_CODEC_J2K : OPJ_CODEC_JP2);
    opj_stream_t *stream = opj_stream_default_create(OPJ_TRUE);
    bool ok = false;
    if (codec && stream) {
        opj_stream_set_user_data(stream, &s, NULL);
        opj_stream_set_user_data_length(stream, m->n);
        opj_stream_set_read_function(stream, on_read);
        opj_stream_set_skip_function(stream, on_skip);
        opj_stream_set_seek_function(stream, on_seek);
        ok = decode(m, codec, stream, &z);
    }
    if (z) opj_image_destroy(z);
    if (stream) opj_stream_destroy(stream);
    if (codec) opj_destroy_codec(codec);
    return ok || rt_image_fail(m, "JPEG 2000", "it cannot be decoded");
}
