/* rt_regex: does a whole text match? Either by tables, one look for each byte, or, for patterns whose tables would be too
 * large, by walking through all instructions of a program at once (Thompson). Both take time in proportion to the text. */
#include "runtime/rt_regex.h"
#include "runtime/rt_internal.h"
#include <string.h>

int32_t rt_regex_tables(bmc_ctx *x, rt_arg *arg, int32_t n_arg, int32_t tid, int32_t nt)
{
    (void)n_arg;
    const bmc_string *text = arg[0].data;
    const uint8_t *class_of = arg[1].data, *accept = arg[3].data;
    const uint16_t *next = arg[2].data;
    uint8_t *to = arg[4].data;
    int64_t n = rt_elements(&arg[0]), n_class = arg[2].dim[1], first = n / nt * tid + (n % nt < tid ? n % nt : tid);
    int64_t last = first + n / nt + (tid < n % nt);
    if (n && !(text && to)) {
        rt_detail(x, "strings");
        return BMC_E_MEMORY;
    }
    for (int64_t i = first; i < last; i++) {
        const uint8_t *p = (const uint8_t *)text[i].ptr, *end = p + text[i].len;
        uint32_t state = 1;
        for (; p != end && state; p++) state = next[(int64_t)state * n_class + class_of[*p]];
        to[i] = accept[state];
    }
    return BMC_OK;
}

typedef struct Walk {
    const uint32_t (*inst)[3];
    uint32_t *mark, gen; /* of an instruction: the generation that reached it */
    uint32_t *list, n;   /* instructions that wait for a byte or the end */
    uint32_t *stack, n_inst;
} Walk;

static void reach(Walk *w, uint32_t at, int holds)
{
    uint32_t n = 0;
    w->stack[n++] = at;
    while (n) {
        uint32_t i = w->stack[--n], what = w->inst[i][0] & 0xff;
        if (w->mark[i] == w->gen) continue;
        w->mark[i] = w->gen;
        if (what == RT_RE_SPLIT) w->stack[n++] = w->inst[i][2], w->stack[n++] = w->inst[i][1];
        else if (what == RT_RE_TEST) {
            if (holds & (int)(w->inst[i][0] >> 8)) w->stack[n++] = w->inst[i][1];
        } else w->list[w->n++] = i;
    }
}

/* from: room for the list before. */
static bool matches(Walk *w, bmc_string s, uint32_t *from)
{
    int before = -1;
    uint32_t *list = w->list;
    bool found = false;
    for (size_t at = 0; at <= s.len; at++) {
        int c = at < s.len ? (uint8_t)s.ptr[at] : -1, holds = rt_re_holds(before, c);
        uint32_t n = w->n;
        memcpy(from, list, n * sizeof *from);
        w->n = 0;
        if (++w->gen == 0) memset(w->mark, 0, w->n_inst * sizeof *w->mark), w->gen = 1;
        if (at == 0) reach(w, w->inst[0][1], holds);
        for (uint32_t k = 0; k < n; k++) {
            uint32_t what = w->inst[from[k]][0];
            if ((what & 0xff) == RT_RE_BYTE && before >= (int)(what >> 8 & 0xff) && before <= (int)(what >> 16 & 0xff))
                reach(w, w->inst[from[k]][1], holds);
        }
        if (!w->n) return false;
        before = c;
    }
    for (uint32_t k = 0; k < w->n; k++) found |= (w->inst[w->list[k]][0] & 0xff) == RT_RE_MATCH;
    return found;
}

int32_t rt_regex_program(bmc_ctx *x, rt_arg *arg, int32_t n_arg, int32_t tid, int32_t nt)
{
    (void)n_arg, (void)tid, (void)nt;
    const bmc_string *text = arg[0].data;
    uint8_t *to = arg[2].data;
    int64_t n = rt_elements(&arg[0]);
    size_t m = (size_t)arg[1].dim[0];
    uint32_t *work = rt_heap_alloc(&x->rt->heap, 5 * m * sizeof *work + sizeof *work, NULL);
    if (!work || (n && !(text && to))) {
        rt_heap_free(&x->rt->heap, work);
        if (to) memset(to, 0, (size_t)n);
        rt_detail(x, "a regular expression");
        return BMC_E_MEMORY;
    }
    Walk w = {.inst = arg[1].data, .mark = work, .list = work + m, .stack = work + 3 * m, .n_inst = (uint32_t)m};
    memset(w.mark, 0, m * sizeof *w.mark);
    for (int64_t i = 0; i < n; i++) {
        w.n = 0;
        to[i] = matches(&w, text[i], work + 2 * m);
    }
    rt_heap_free(&x->rt->heap, work);
    return BMC_OK;
}
