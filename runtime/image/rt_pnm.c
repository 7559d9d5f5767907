/* rt_pnm: the portable formats PBM, PGM, PPM (P1 to P6: bits, grey, RGB; as text or raw) and PAM (P7), samples of up
 * to 16 bits, brought to 255.
 *   header: P<digit> width height [maximum], blanks between, # to the end of a line is a comment
 *   one blank, then the pixels */
#include "runtime/image/image.h"
#include <string.h>

typedef struct Pnm {
    rt_image *m;
    const uint8_t *p, *end;
    int64_t h, w, max, depth;
    bool text, bits; /* bits: 1 is black */
} Pnm;

static bool blank(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

static void skip(Pnm *s)
{
    for (; s->p < s->end && (blank(*s->p) || *s->p == '#'); s->p++)
        if (*s->p == '#')
            while (s->p + 1 < s->end && *s->p != '\n') s->p++;
}

/* The next number; -1: there is none. one: of one digit. */
static int64_t number(Pnm *s, bool one)
{
    int64_t v = -1;
    skip(s);
    for (; s->p < s->end && *s->p >= '0' && *s->p <= '9' && v < INT32_MAX; s->p++) {
        v = (v < 0 ? 0 : v) * 10 + (*s->p - '0');
        if (one) return s->p++, v;
    }
    return v;
}

static bool word(Pnm *s, const char *w)
{
    size_t n = strlen(w);
    if ((size_t)(s->end - s->p) <= n || memcmp(s->p, w, n) || !blank(s->p[n])) return false;
    s->p += n;
    return true;
}

/* Lines of PAM up to ENDHDR. */
static bool pam(Pnm *s)
{
    for (;;) {
        skip(s);
        if (word(s, "ENDHDR")) break;
        if (word(s, "WIDTH")) s->w = number(s, false);
        else if (word(s, "HEIGHT")) s->h = number(s, false);
        else if (word(s, "DEPTH")) s->depth = number(s, false);
        else if (word(s, "MAXVAL")) s->max = number(s, false);
        else if (word(s, "TUPLTYPE"))
            while (s->p < s->end && *s->p != '\n') s->p++;
        else return false;
    }
    return s->depth >= 1 && s->depth <= 4;
}

/* round(v * 255 / max), halves to even */
static uint8_t scaled(int64_t v, int64_t max)
{
    if (v >= max) return 255;
    int64_t num = 2 * 255 * v + max, q = num / (2 * max);
    return (uint8_t)(num % (2 * max) == 0 && q % 2 ? q - 1 : q);
}

static bool pixels(Pnm *s)
{
    rt_image *m = s->m;
    int64_t colours = s->depth < 3 ? 1 : 3, wide = s->max > 255 ? 2 : 1;
    for (int64_t y = 0; y < m->h; y++) {
        uint8_t *to = rt_image_row(m, y);
        for (int64_t x = 0; x < m->w; x++, to += 3) {
            uint8_t v[4];
            for (int64_t c = 0; c < s->depth; c++) {
                int64_t k;
                if (s->text) k = number(s, s->bits);
                else if (s->bits) k = s->p[x / 8] >> (7 - x % 8) & 1;
                else
                    k = wide == 1 ? s->p[x * s->depth + c]
                                  : s->p[2 * (x * s->depth + c)] << 8 | s->p[2 * (x * s->depth + c) + 1];
                if (k < 0) return rt_image_fail(m, "PNM", "it is truncated");
                if (s->text && k > s->max) return rt_image_fail(m, "PNM", "a sample is above the maximum");
                v[c] = s->bits ? (k ? 0 : 255) : scaled(k, s->max);
            }
            for (int c = 0; c < 3; c++) to[c] = v[colours == 3 ? c : 0];
        }
        if (!s->text) s->p += s->bits ? (m->w + 7) / 8 : m->w * s->depth * wide;
    }
    return true;
}

bool rt_pnm_decode(rt_image *m)
{
    int kind = m->data[1] - '0';
    Pnm s = {.m = m,
             .p = m->data + 2,
             .end = m->data + m->n,
             .max = 1,
             .depth = kind == 3 || kind == 6 ? 3 : 1,
             .text = kind <= 3,
             .bits = kind == 1 || kind == 4};
    if (kind == 7) {
        if (!pam(&s)) return rt_image_fail(m, "PNM", "its header is damaged");
    } else {
        s.w = number(&s, false);
        s.h = number(&s, false);
        if (!s.bits) s.max = number(&s, false);
    }
    if (s.w < 0 || s.h < 0 || s.max < 1 || s.max > 65535 || s.p >= s.end || !blank(*s.p))
        return rt_image_fail(m, "PNM", "its header is damaged");
    s.p++;
    if (s.w > 0 && s.h > 0 &&
        s.h <= RT_IMAGE_PIXELS_MAX / s.w) { /* samples that the data must have, before memory is taken */
        int64_t row = s.bits ? (s.text ? s.w : (s.w + 7) / 8) : s.w * s.depth * (s.text ? 2 : s.max > 255 ? 2 : 1);
        if (s.end - s.p < row * s.h - (s.text ? 1 : 0)) return rt_image_fail(m, "PNM", "it is truncated");
    }
    return rt_image_begin(m, s.h, s.w) && pixels(&s);
}
