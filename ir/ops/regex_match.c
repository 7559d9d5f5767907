/* regex_match.c: RegexFullMatch: the pattern, an attribute, becomes tables when compiling (regex.h), so a model needs no
 * library for it; the runtime walks through them (rt_regex.c). The reference follows the tree from place to place. */
#include "ir/ops/index.h"
#include "ir/ops/regex.h"
#include "runtime/rt_case.h"
#include <string.h>

static const Port P_IN[] = {{"X", DTS_STR, 0, 0}, PORT_END};
static const Port P_OUT[] = {{"Y", DTS_BOOL, 0, 0}, PORT_END};
typedef struct Match {
    uint64_t set;
    const char *pattern;
} Match;
static const AttrSpec ATTRS_[] = {{.name = "pattern", .kind = ATTR_STRING, .offset = offsetof(Match, pattern), .required = true}, A_END};

static bool infer(Infer *c)
{
    const char *pattern = ATTRS(c->g, c->n, Match)->pattern, *why = NULL;
    ReProgram p;
    Re *r = regex_parse(c->m->arena, pattern, strlen(pattern), &why);
    if (!r) return infer_fail(c, "the pattern is not valid: %s", why);
    if (!regex_program(c->m->arena, r, &p)) return infer_fail(c, "the pattern is too large");
    return infer_set_type(c, 0, type_with_elem(&c->m->types, value_type(c->g, node_in(c->g, c->n, 0)), DT_BOOL));
}

static KArg table(Lw *l, DType e, int rank, int64_t rows, int64_t columns, const void *data, const char *stem)
{
    Dim dim[2] = {dim_const(&l->m->dims, rows), dim_const(&l->m->dims, columns)};
    Blob b = blob_inline(&l->m->blobs, e, rank == 2 ? rows * columns : rows, data);
    return (KArg){.kind = KA_BUF, .buf = lw_const_buf(l, b, stem, rank, dim)};
}

static bool lower(Lw *l, Node n)
{
    const char *pattern = ATTRS(l->g, n, Match)->pattern, *why;
    Arena *a = l->m->arena;
    ReProgram p;
    ReTables t;
    regex_program(a, regex_parse(a, pattern, strlen(pattern), &why), &p);
    KArg x = {.kind = KA_BUF, .buf = lw_in(l, 0)}, y = {.kind = KA_BUF, .buf = lw_out(l, 0)};
    if (regex_tables(a, &p, &t))
        lw_call(l, l->steps, "rt_regex_tables", 5,
                (KArg[]){x, table(l, DT_U8, 1, 256, 1, t.class_of, "class"),
                         table(l, DT_U16, 2, t.n_state, t.n_class, t.next, "next"),
                         table(l, DT_U8, 1, t.n_state, 1, t.accept, "accept"), y});
    else lw_call(l, l->steps, "rt_regex_program", 3, (KArg[]){x, table(l, DT_U32, 2, p.n, 3, p.inst, "program"), y});
    return true;
}

/* ---- reference ---- */

static bool is_word(const bmc_string *s, size_t at)
{
    return at < s->len && s->ptr[at] && strchr("0123456789_abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", s->ptr[at]);
}

static bool holds(int test, const bmc_string *s, size_t at)
{
    bool begin = at == 0, end = at == s->len, word = is_word(s, at) != (!begin && is_word(s, at - 1));
    switch (test) {
    case RE_BEGIN_TEXT: return begin;
    case RE_END_TEXT: return end;
    case RE_BEGIN_LINE: return begin || s->ptr[at - 1] == '\n';
    case RE_END_LINE: return end || s->ptr[at] == '\n';
    default: return word == (test == RE_WORD);
    }
}

/* here[i]: r may begin at byte i; afterwards: it may end there. */
static void follow(Arena *a, const Re *r, const bmc_string *s, bool *here)
{
    size_t n = s->len + 1, at;
    bool *to = arena_array(a, bool, n), *one = arena_array(a, bool, n);
    switch (r->kind) {
    case RE_CAT:
        for (uint32_t k = 0; k < r->n; k++) follow(a, r->sub[k], s, here);
        return;
    case RE_ALT:
        for (uint32_t k = 0; k < r->n; k++) {
            memcpy(one, here, n);
            follow(a, r->sub[k], s, one);
            for (size_t i = 0; i < n; i++) to[i] |= one[i];
        }
        break;
    case RE_SET:
        for (size_t i = 0; i + 1 < n; i++) {
            int32_t c = here[i] ? rt_utf8_get(s->ptr, s->len, (at = i, &at)) : -1;
            if (c >= 0 && set_has(&r->set, c)) to[at] = true;
        }
        break;
    case RE_BYTE:
        for (size_t i = 0; i + 1 < n; i++) to[i + 1] = here[i];
        break;
    case RE_TEST:
        for (size_t i = 0; i < n; i++) to[i] = here[i] && holds(r->test, s, i);
        break;
    case RE_REPEAT:   /* everything that can be reached is reached after as many rounds as there are places */
        memcpy(one, here, n);
        for (int64_t k = 0; k < (r->hi >= 0 ? r->hi : r->lo + (int64_t)n); k++) {
            if (k >= r->lo)
                for (size_t i = 0; i < n; i++) to[i] |= one[i];
            follow(a, r->sub[0], s, one);
        }
        for (size_t i = 0; i < n; i++) to[i] |= one[i];
        break;
    }
    memcpy(here, to, n);
}

static bool eval(Eval *e)
{
    const char *pattern = ATTRS(e->g, e->n, Match)->pattern, *why;
    const Tensor *x = e->in[0];
    Re *r = regex_parse(e->arena, pattern, strlen(pattern), &why);
    Tensor *y = ev_out(e, 0, DT_BOOL, x->rank, x->dim);
    if (!r) return ev_fail(e, "the pattern is not valid: %s", why);
    for (int64_t k = 0; y && k < y->count; k++) {
        const bmc_string *s = (const bmc_string *)x->data + k;
        bool *here = arena_array(e->arena, bool, s->len + 1);
        here[0] = true;
        follow(e->arena, r, s, here);
        ev_set_i(y, k, here[s->len]);
    }
    return y != NULL;
}

const OpDesc op_RegexFullMatch = {.name = "RegexFullMatch", .since = 20, .cls = CLS_OPAQUE, .flags = OPF_IRREGULAR, .in = P_IN, .out = P_OUT, .attrs = ATTRS_,
                                  .attrs_size = sizeof(Match), .infer = infer, .lower = lower, .eval = eval};
