/* rt_case.h: Unicode of strings: UTF-8, upper and lower case, white space. Independent of the rest of the runtime. */
#ifndef BMC_RT_CASE_H
#define BMC_RT_CASE_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RT_CASE_HIDDEN __attribute__((visibility("hidden")))

typedef enum rt_case { RT_CASE_NONE, RT_CASE_LOWER, RT_CASE_UPPER, RT_CASE_FOLD } rt_case;

/* The code point at p[*at] (*at < n), and *at behind it. -1: not valid UTF-8 (Unicode's table 3-7), *at unchanged. */
RT_CASE_HIDDEN int32_t rt_utf8_get(const char *p, size_t n, size_t *at);
/* Bytes of a code point, written to `to` unless that is NULL. */
RT_CASE_HIDDEN size_t rt_utf8_put(char *to, uint32_t c);

/* Full case mapping of n bytes of text into `to` (NULL: none is written); *len: its bytes. FOLD: equal for texts that
 * differ in case only. turkic: dotted and dotless i are letters of their own. false: not valid UTF-8. */
RT_CASE_HIDDEN bool rt_case_text(rt_case how, bool turkic, const char *p, size_t n, char *to, size_t *len);
/* A locale, as "tr_TR.UTF-8" or "az-Latn", whose language has a dotless i. */
RT_CASE_HIDDEN bool rt_case_turkic(const char *locale, size_t n);

RT_CASE_HIDDEN bool rt_is_space(uint32_t c); /* Unicode's White_Space and the four separators of ASCII */

#endif
