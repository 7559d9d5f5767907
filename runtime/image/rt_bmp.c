/* rt_bmp: Windows and OS/2 bitmaps: 1, 2, 4 and 8 bits with a palette (also run-length coded), 16, 24 and 32 bits
 * with or without masks, rows from the bottom or from the top.                     Microsoft, "Bitmap Storage"
 *   file header, 14 bytes: "BM" .. u32 place of the pixels
 *   u32 size of the next header: 12 OS/2, 40 and more Windows */
#include "runtime/image/image.h"
#include <string.h>

enum { RGB, RLE8, RLE4, BITFIELDS, ALPHAFIELDS = 6 };

typedef struct Bmp {
    rt_image *m;
    const uint8_t *pixels, *end;
    uint32_t bits, compression, mask[3], n_colour, colour_bytes;
    const uint8_t *colour;
    bool down; /* rows from the top */
} Bmp;

static void put_colour(const Bmp *b, uint8_t *to, uint32_t k)
{
    for (int c = 0; k < b->n_colour && c < 3; c++) to[c] = b->colour[k * b->colour_bytes + 2 - c];
}

static uint8_t *row_of(const Bmp *b, int64_t y) { return rt_image_row(b->m, b->down ? y : b->m->h - 1 - y); }

static uint32_t nibble(uint32_t byte, uint32_t k) { return k & 1 ? byte & 15 : byte >> 4; }

static uint8_t channel(uint32_t v, uint32_t mask)
{
    if (!mask) return 0;
    int low = __builtin_ctz(mask);
    return (uint8_t)((uint64_t)((v & mask) >> low) * 255 / (mask >> low));
}

static bool rows(Bmp *b)
{
    int64_t w = b->m->w, stride = (w * b->bits + 31) / 32 * 4;
    for (int64_t y = 0; y < b->m->h; y++) {
        const uint8_t *p = b->pixels + y * stride;
        uint8_t *to = row_of(b, y);
        for (int64_t x = 0; x < w; x++, to += 3) {
            if (b->bits <= 8) {
                int64_t bit = x * b->bits;
                put_colour(b, to, p[bit / 8] >> (8 - b->bits - bit % 8) & ((1u << b->bits) - 1));
            } else if (b->bits == 24) {
                for (int c = 0; c < 3; c++) to[c] = p[3 * x + 2 - c];
            } else {
                uint32_t v = b->bits == 16 ? rt_le16(p + 2 * x) : rt_le32(p + 4 * x);
                for (int c = 0; c < 3; c++) to[c] = channel(v, b->mask[c]);
            }
        }
    }
    return true;
}

/* Pairs (n, colour), and behind 0: end of line, end, (dx, dy), or n colours as they are. What no pair reaches has
 * colour 0. */
static bool runs(Bmp *b)
{
    const uint8_t *p = b->pixels;
    bool small = b->compression == RLE4;
    int64_t x = 0, y = 0, w = b->m->w, h = b->m->h;
    for (int64_t k = 0; k < w * h; k++) put_colour(b, b->m->rgb + 3 * k, 0);
    while (y < h) {
        if (b->end - p < 2) return rt_image_fail(b->m, "BMP", "it is truncated");
        uint32_t n = p[0], v = p[1];
        p += 2;
        if (n) {
            for (uint32_t k = 0; k < n && x < w; k++, x++)
                put_colour(b, row_of(b, y) + 3 * x, small ? nibble(v, k) : v);
        } else if (v == 0) {
            x = 0, y++;
        } else if (v == 1) {
            return true;
        } else if (v == 2) {
            if (b->end - p < 2) return rt_image_fail(b->m, "BMP", "it is truncated");
            x += p[0], y += p[1];
            p += 2;
        } else {
            uint32_t bytes = small ? (v + 1) / 2 : v, padded = (bytes + 1) & ~1u;
            if (b->end - p < (int64_t)bytes) return rt_image_fail(b->m, "BMP", "it is truncated");
            for (uint32_t k = 0; k < v && x < w; k++, x++)
                put_colour(b, row_of(b, y) + 3 * x, small ? nibble(p[k / 2], k) : p[k]);
            p += padded > b->end - p ? b->end - p : (int64_t)padded;
        }
    }
    return true;
}

bool rt_bmp_decode(rt_image *m)
{
    const uint8_t *p = m->data;
    Bmp b = {.m = m, .end = p + m->n, .colour_bytes = 4, .mask = {0xff0000, 0xff00, 0xff}};
    if (m->n < 26) return rt_image_fail(m, "BMP", "it is truncated");
    uint64_t place = rt_le32(p + 10), head = rt_le32(p + 14), at = 14 + head;
    bool os2 = head == 12;
    if ((!os2 && head < 40) || at > m->n) return rt_image_fail(m, "BMP", "its header is damaged");
    int64_t w = os2 ? (int64_t)rt_le16(p + 18) : (int32_t)rt_le32(p + 18),
            h = os2 ? (int64_t)rt_le16(p + 20) : (int32_t)rt_le32(p + 22);
    b.bits = os2 ? rt_le16(p + 24) : rt_le16(p + 28);
    b.compression = os2 ? RGB : rt_le32(p + 30);
    b.down = h < 0;
    if (b.down) h = -h;
    if (b.bits == 16) b.mask[0] = 0x7c00, b.mask[1] = 0x3e0, b.mask[2] = 0x1f;
    bool fields = b.compression == BITFIELDS || b.compression == ALPHAFIELDS,
         coded = b.compression == RLE8 || b.compression == RLE4;
    if (fields) {
        if (m->n < 66 || (b.bits != 16 && b.bits != 32)) return rt_image_fail(m, "BMP", "its header is damaged");
        for (int c = 0; c < 3; c++) b.mask[c] = rt_le32(p + 54 + 4 * c);
        if (head == 40) at += b.compression == BITFIELDS ? 12 : 16;
    } else if (coded ? b.bits != (b.compression == RLE8 ? 8u : 4u) || b.down : b.compression != RGB)
        return rt_image_fail(m, "BMP", "a compression that it does not go with");
    if (b.bits != 1 && b.bits != 2 && b.bits != 4 && b.bits != 8 && b.bits != 16 && b.bits != 24 && b.bits != 32)
        return rt_image_fail(m, "BMP", "a number of bits that does not exist");
    if (place < at && !(fields && place >= 14 + head)) return rt_image_fail(m, "BMP", "its header is damaged");
    if (place > m->n) return rt_image_fail(m, "BMP", "it is truncated");
    if (b.bits <= 8) {
        uint32_t used = os2 ? 0 : rt_le32(p + 46), most = 1u << b.bits;
        if (os2) b.colour_bytes = 3;
        b.n_colour = used && used < most ? used : most;
        if (b.n_colour > (place - at) / b.colour_bytes) b.n_colour = (uint32_t)((place - at) / b.colour_bytes);
        b.colour = p + at;
    }
    b.pixels = p + place;
    if (w > 0 && h > 0 && h <= RT_IMAGE_PIXELS_MAX / w && !coded &&
        (int64_t)(m->n - place) < ((w * b.bits + 31) / 32 * 4) * (h - 1) + (w * b.bits + 7) / 8)
        return rt_image_fail(m, "BMP", "it is truncated");
    if (!rt_image_begin(m, h, w)) return false;
    if (b.bits <= 8) memset(m->rgb, 0, (size_t)(3 * m->h * m->w)); /* colours that the palette does not have are black */
    return coded ? runs(&b) : rows(&b);
}
