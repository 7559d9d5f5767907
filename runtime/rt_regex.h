/* rt_regex.h: the instructions of a regular expression's program, as the compiler writes and rt_regex.c runs them.
 * An instruction is three words: what | lo << 8 | hi << 16, the next instruction, another next one.
 *   BYTE   a byte in lo..hi, then next        SPLIT  next or the other one
 *   TEST   nothing, if all bits of lo hold    MATCH  here the text must end
 * The first word of the program is the number of the first instruction, in row 0. */
#ifndef BMC_RT_REGEX_H
#define BMC_RT_REGEX_H

enum { RT_RE_START, RT_RE_BYTE, RT_RE_SPLIT, RT_RE_TEST, RT_RE_MATCH };
enum { RT_RE_BEGIN_TEXT = 1, RT_RE_END_TEXT = 2, RT_RE_BEGIN_LINE = 4, RT_RE_END_LINE = 8, RT_RE_WORD = 16, RT_RE_NO_WORD = 32 };

/* What holds between two bytes; -1: there is none. */
static inline int rt_re_word(int c) { return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_'; }
static inline int rt_re_holds(int before, int after)
{
    return (before < 0 ? RT_RE_BEGIN_TEXT : 0) | (after < 0 ? RT_RE_END_TEXT : 0) |
           (before < 0 || before == '\n' ? RT_RE_BEGIN_LINE : 0) | (after < 0 || after == '\n' ? RT_RE_END_LINE : 0) |
           (rt_re_word(before) != rt_re_word(after) ? RT_RE_WORD : RT_RE_NO_WORD);
}

#endif
