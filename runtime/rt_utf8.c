/* rt_utf8: UTF-8 in and out, and which code points are white space. */
#include "runtime/rt_case.h"

int32_t rt_utf8_get(const char *p, size_t n, size_t *at)
{
    const uint8_t *s = (const uint8_t *)p + *at;
    size_t left = n - *at, more = s[0] < 0x80 ? 0 : s[0] < 0xe0 ? 1 : s[0] < 0xf0 ? 2 : 3;
    if (!more) return (*at)++, s[0];
    if (s[0] < 0xc2 || s[0] > 0xf4 || left <= more) return -1;
    int32_t c = s[0] & (0x3f >> more);
    for (size_t k = 1; k <= more; k++) {
        if ((s[k] & 0xc0) != 0x80) return -1;
        c = c << 6 | (s[k] & 0x3f);
    }
    if ((more == 2 && (c < 0x800 || (c >= 0xd800 && c < 0xe000))) || (more == 3 && (c < 0x10000 || c > 0x10ffff)))
        return -1;
    *at += more + 1;
    return c;
}

size_t rt_utf8_put(char *to, uint32_t c)
{
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    if (!to) return n;
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t k = n; k-- > 1; c >>= 6) to[k] = (char)(0x80 | (c & 0x3f));
    to[0] = (char)(lead[n] | c);
    return n;
}

bool rt_is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}
