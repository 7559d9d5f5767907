/* image.c: ImageDecoder: an encoded image (JPEG, PNG, BMP, TIFF, WebP, JPEG 2000, PNM) becomes u8[height, width,
 * channels]. The runtime's part `image` decodes it (runtime/image/), sized while running; models with this operator are
 * linked with its libraries. What cannot be decoded is an image of no rows and no columns, as the standard has it (its
 * reference fails); no memory, and more than PIXELS_MAX pixels, end the run. No eval: a second decoder of each format
 * would be no reference. */
#include "ir/graph/lower.h"
#include "ir/graph/infer.h"
#include <string.h>

static const Port P_IN[] = {{"encoded_stream", DTS(DT_U8), 0, 0}, PORT_END};
static const Port P_OUT[] = {{"image", DTS(DT_U8), 0, 0}, PORT_END};
typedef struct Image {
    uint64_t set;
    const char *pixel_format;
} Image;
static const AttrSpec ATTRS_[] = {A_STRING(Image, pixel_format, "RGB"), A_END};

enum { PIXELS_MAX = 1 << 28 }; /* RT_IMAGE_PIXELS_MAX */

static int format_of(const Image *a)
{
    static const char *const NAME[] = {"RGB", "BGR", "Grayscale"};
    for (int k = 0; k < 3; k++)
        if (!strcmp(a->pixel_format, NAME[k])) return k;
    return -1;
}

static bool infer(Infer *c)
{
    int format = format_of(ATTRS(c->g, c->n, Image));
    if (format < 0) return infer_fail(c, "pixel_format '%s' is unknown", ATTRS(c->g, c->n, Image)->pixel_format);
    if (!infer_need_rank(c, 0, 1, 1)) return false;
    Dim dim[3] = {infer_node_dim(c, 0, 0, 0, PIXELS_MAX), infer_node_dim(c, 0, 1, 0, PIXELS_MAX),
                  dim_const(c->d, format == 2 ? 1 : 3)};
    return infer_set(c, 0, DT_U8, 3, dim);
}

static bool lower(Lw *l, Node n)
{
    Dims *d = &l->m->dims;
    lw_prepare_in(l);
    KBuf data = lw_in(l, 0);
    Sym h = sym_new(d, module_fresh_name(l->m, "height"), SYM_NODE, 0, PIXELS_MAX),
        w = sym_new(d, module_fresh_name(l->m, "width"), SYM_NODE, 0, PIXELS_MAX);
    Dim dim[3] = {dim_sym(d, h), dim_sym(d, w), lw_out_dim(l, 0, 2)};
    KBuf image = kbuf_new(l->k, KS_BOX, (Name){0}, DT_U8, 3, dim, l->loc);
    lw_call(l, l->steps, "rt_image_decode", 5,
            (KArg[]){{.kind = KA_BUF, .buf = data},
                     {.kind = KA_BUF, .buf = image},
                     {.kind = KA_SYM, .sym = h},
                     {.kind = KA_SYM, .sym = w},
                     {.kind = KA_INT, .i = format_of(ATTRS(l->g, n, Image))}});
    lw_bind_dims(l, 0, dim);
    lw_copy(l, l->steps, lw_out(l, 0), image);
    return true;
}

const OpDesc op_ImageDecoder = {.name = "ImageDecoder",
                                .since = 20,
                                .cls = CLS_OPAQUE,
                                .flags = OPF_IRREGULAR,
                                .in = P_IN,
                                .out = P_OUT,
                                .attrs = ATTRS_,
                                .attrs_size = sizeof(Image),
                                .infer = infer,
                                .lower = lower};
