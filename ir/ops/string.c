/* string.c: StringConcat, StringSplit, StringNormalizer: the runtime makes the new strings (rt_string.c, rt_normalize.c).
 *   StringConcat     element by element with numpy broadcasting
 *   StringSplit      the pieces of each element along one more axis, as long as the longest needs, filled up with ""
 *   StringNormalizer drops stop words, then full case mapping of Unicode; compared without case, by folding it */
#include "ir/ops/index.h"
#include "runtime/rt_case.h"
#include <string.h>

static const Port P_IN[] = {{"X", DTS_STR, 0, 0}, {"Y", DTS_STR, 0, 0}, PORT_END};
static const Port P_OUT[] = {{"Z", DTS_STR, 0, 0}, PORT_END};

static bool infer(Infer *c)
{
    Dim dim[RANK_MAX];
    int rank;
    return infer_broadcast(c, (uint32_t[]){0, 1}, 2, dim, &rank) && infer_set(c, 0, DT_STR, rank, dim);
}

static bool lower(Lw *l, Node n)
{
    (void)n;
    KArg arg[3];
    for (uint32_t k = 0; k < 3; k++) arg[k] = (KArg){.kind = KA_BUF, .buf = k < 2 ? lw_in(l, k) : lw_out(l, 0)};
    lw_call(l, l->steps, "rt_string_concat", 3, arg);
    return true;
}

static bool eval(Eval *e)
{
    int64_t dim[RANK_MAX];
    int rank;
    if (!ev_broadcast_dims(e, (uint32_t[]){0, 1}, 2, dim, &rank)) return false;
    Tensor *y = ev_out(e, 0, DT_STR, rank, dim);
    for (int64_t k = 0; y && k < y->count; k++) {
        const bmc_string *a = (const bmc_string *)e->in[0]->data + ev_broadcast_index(e->in[0], y, k);
        const bmc_string *b = (const bmc_string *)e->in[1]->data + ev_broadcast_index(e->in[1], y, k);
        char *s = arena_alloc(e->arena, a->len + b->len);
        memcpy(s, a->ptr, a->len);
        memcpy(s + a->len, b->ptr, b->len);
        ((bmc_string *)y->data)[k] = (bmc_string){s, a->len + b->len};
    }
    return y != NULL;
}

const OpDesc op_StringConcat = {.name = "StringConcat", .since = 20, .cls = CLS_OPAQUE, .flags = OPF_IRREGULAR, .in = P_IN, .out = P_OUT,
                                .infer = infer, .lower = lower, .eval = eval};

/* ---- StringSplit ---- */

static const Port P_SPLIT[] = {{"X", DTS_STR, 0, 0}, PORT_END};
static const Port P_PIECES[] = {{"Y", DTS_STR, 0, 0}, {"Z", DTS(DT_I64), 0, 0}, PORT_END};
typedef struct Split {
    uint64_t set;
    const char *delimiter;
    int64_t maxsplit;
} Split;
static const AttrSpec SPLIT_ATTRS[] = {A_STRING(Split, delimiter, ""), A_INT(Split, maxsplit, -1), A_END};

static bool split_infer(Infer *c)
{
    Dim dim[RANK_MAX];
    if (!infer_need_rank(c, 0, 0, RANK_MAX - 1)) return false;
    int rank = infer_rank(c, 0);
    for (int i = 0; i < rank; i++) dim[i] = infer_dim(c, 0, i);
    dim[rank] = infer_node_dim(c, 0, rank, 0, INT64_MAX);
    return infer_set(c, 0, DT_STR, rank + 1, dim) && infer_set(c, 1, DT_I64, rank, dim);
}

static KArg strings_arg(Lw *l, uint32_t n, const char *const *text, const char *stem)
{
    size_t *len = arena_array(l->m->arena, size_t, n + 1);
    for (uint32_t k = 0; k < n; k++) len[k] = strlen(text[k]);
    Dim dim = dim_const(&l->m->dims, n);
    return (KArg){.kind = KA_BUF, .buf = lw_const_buf(l, blob_strings(&l->m->blobs, n, text, len), stem, 1, &dim)};
}

static bool split_lower(Lw *l, Node n)
{
    const Split *a = ATTRS(l->g, n, Split);
    int rank = lw_rank(l, 0);
    Dim dim[RANK_MAX];
    for (int i = 0; i < rank; i++) dim[i] = lw_dim(l, 0, i);
    KBuf x = lw_in(l, 0);
    KArg delimiter = strings_arg(l, 1, &a->delimiter, "delimiter");
    bool counted = node_n_out(l->g, n) > 1;
    if (counted) lw_bind_dims(l, 1, dim);
    KBuf count = counted ? lw_out(l, 1) : lw_temp(l, DT_I64, rank, dim);
    Sym s = sym_new(&l->m->dims, module_fresh_name(l->m, "pieces"), SYM_NODE, 0, INT64_MAX);
    dim[rank] = dim_sym(&l->m->dims, s);
    KBuf pieces = kbuf_new(l->k, KS_BOX, (Name){0}, DT_STR, (uint8_t)(rank + 1), dim, l->loc);
    lw_call(l, l->steps, "rt_string_split", 6,
            (KArg[]){{.kind = KA_BUF, .buf = x}, {.kind = KA_BUF, .buf = count}, {.kind = KA_BUF, .buf = pieces},
                     {.kind = KA_SYM, .sym = s}, delimiter, {.kind = KA_INT, .i = a->maxsplit}});
    lw_bind_dims(l, 0, dim);
    lw_copy(l, l->steps, lw_out(l, 0), pieces);
    return true;
}

static size_t space_at(bmc_string s, size_t at)
{
    size_t next = at;
    int32_t c = rt_utf8_get(s.ptr, s.len, &next);
    return c >= 0 && rt_is_space((uint32_t)c) ? next - at : 0;
}

/* Pieces as Python's str.split gives them, but for white space behind the last one; returns how many. */
static int64_t pieces_of(bmc_string s, bmc_string d, int64_t splits, bmc_string *to)
{
    int64_t n = 0;
    size_t begin = 0, end = s.len, at, last = 0;
    if (!d.len) {
        while (begin < s.len && space_at(s, begin)) begin += space_at(s, begin);
        for (at = begin; at < s.len; at++)
            if (!space_at(s, at) && ((uint8_t)s.ptr[at] & 0xc0) != 0x80) last = at;
        for (end = begin < s.len ? last + 1 : begin; end < s.len && ((uint8_t)s.ptr[end] & 0xc0) == 0x80;) end++;
        if (begin == end) return 0;
    }
    for (at = begin; at < end && (splits < 0 || n < splits);) {
        size_t w = d.len ? (end - at >= d.len && !memcmp(s.ptr + at, d.ptr, d.len) ? d.len : 0) : space_at(s, at);
        if (!w) {
            at++;
            continue;
        }
        to[n++] = (bmc_string){s.ptr + begin, at - begin};
        at += w;
        while (!d.len && at < end && space_at(s, at)) at += space_at(s, at);
        begin = at;
    }
    while (!d.len && begin < end && space_at(s, begin)) begin += space_at(s, begin);
    to[n++] = (bmc_string){s.ptr + begin, end - begin};
    return n;
}

static bool split_eval(Eval *e)
{
    const Split *a = ATTRS(e->g, e->n, Split);
    const Tensor *x = e->in[0];
    const bmc_string *s = x->data, d = {a->delimiter, strlen(a->delimiter)};
    int64_t dim[RANK_MAX], most = 0;
    bmc_string **piece = arena_array(e->arena, bmc_string *, x->count + 1);
    Tensor *z = ev_out(e, 1, DT_I64, x->rank, x->dim);
    if (!z) return false;
    for (int64_t k = 0; k < x->count; k++) {
        piece[k] = arena_array(e->arena, bmc_string, s[k].len + 1);
        int64_t n = pieces_of(s[k], d, a->maxsplit, piece[k]);
        ev_set_i(z, k, n);
        if (n > most) most = n;
    }
    for (int i = 0; i < x->rank; i++) dim[i] = x->dim[i];
    dim[x->rank] = most;
    Tensor *y = ev_out(e, 0, DT_STR, x->rank + 1, dim);
    for (int64_t k = 0; y && k < y->count; k++)
        ((bmc_string *)y->data)[k] = k % most < ev_i(z, k / most) ? piece[k / most][k % most] : (bmc_string){"", 0};
    return y != NULL;
}

const OpDesc op_StringSplit = {.name = "StringSplit", .since = 20, .cls = CLS_OPAQUE, .flags = OPF_IRREGULAR, .in = P_SPLIT, .out = P_PIECES, .attrs = SPLIT_ATTRS,
                               .attrs_size = sizeof(Split), .infer = split_infer, .lower = split_lower, .eval = split_eval};

/* ---- StringNormalizer ---- */

typedef struct Normal {
    uint64_t set;
    const char *case_change_action, *locale;
    int64_t is_case_sensitive;
    AttrStrings stopwords;
} Normal;
static const AttrSpec NORMAL_ATTRS[] = {A_STRING(Normal, case_change_action, "NONE"), A_INT(Normal, is_case_sensitive, 0),
                                        A_STRING(Normal, locale, "en_US"), A_STRINGS(Normal, stopwords), A_END};
static const Port P_NORMAL[] = {{"Y", DTS_STR, 0, 0}, PORT_END};

static bool action(const char *name, rt_case *how)
{
    static const char *const names[] = {"NONE", "LOWER", "UPPER"};
    for (int k = 0; k < 3; k++)
        if (!strcmp(names[k], name)) return *how = (rt_case)k, true;
    return false;
}

static bool normal_infer(Infer *c)
{
    const Normal *a = ATTRS(c->g, c->n, Normal);
    rt_case how;
    if (!infer_need_rank(c, 0, 1, 2)) return false;
    if (!action(a->case_change_action, &how)) return infer_fail(c, "case_change_action '%s' is not known", a->case_change_action);
    int rank = infer_rank(c, 0);
    Dim one = dim_const(c->d, 1), dim[2] = {one, one}, n = infer_dim(c, 0, rank - 1);
    int64_t lo, hi;
    if (rank == 2 && !infer_must_eq(c, infer_dim(c, 0, 0), one, "the shape must be [C] or [1,C]")) return false;
    dim_bounds(c->d, n, &lo, &hi);
    dim[rank - 1] = infer_node_dim(c, 0, rank - 1, 1, hi > 1 ? hi : 1);
    return infer_set(c, 0, DT_STR, rank, dim);
}

static bool normal_lower(Lw *l, Node n)
{
    const Normal *a = ATTRS(l->g, n, Normal);
    int rank = lw_rank(l, 0);
    Dim one = dim_const(&l->m->dims, 1), dim[2] = {one, one};
    rt_case how = RT_CASE_NONE;
    action(a->case_change_action, &how);
    KBuf x = lw_in(l, 0);
    KArg stop = strings_arg(l, a->stopwords.n, a->stopwords.p, "stopwords"), locale = strings_arg(l, 1, &a->locale, "locale");
    Sym s = sym_new(&l->m->dims, module_fresh_name(l->m, "kept"), SYM_NODE, 0, INT64_MAX);
    dim[rank - 1] = dim_sym(&l->m->dims, s);
    KBuf kept = kbuf_new(l->k, KS_BOX, (Name){0}, DT_STR, (uint8_t)rank, dim, l->loc);
    lw_call(l, l->steps, "rt_string_normalize", 7,
            (KArg[]){{.kind = KA_BUF, .buf = x}, stop, locale, {.kind = KA_BUF, .buf = kept}, {.kind = KA_SYM, .sym = s},
                     {.kind = KA_INT, .i = how}, {.kind = KA_INT, .i = a->is_case_sensitive != 0}});
    lw_bind_dims(l, 0, dim);
    lw_copy(l, l->steps, lw_out(l, 0), kept);
    return true;
}

static bool mapped(Eval *e, rt_case how, bool turkic, bmc_string s, bmc_string *to)
{
    char *p = arena_alloc(e->arena, 3 * s.len + 1); /* no mapping is longer */
    to->ptr = p;
    return rt_case_text(how, turkic, s.ptr, s.len, p, &to->len) || ev_fail(e, "a string is not valid UTF-8");
}

static bool normal_eval(Eval *e)
{
    const Normal *a = ATTRS(e->g, e->n, Normal);
    const Tensor *x = e->in[0];
    rt_case how = RT_CASE_NONE, compare = a->is_case_sensitive || !a->stopwords.n ? RT_CASE_NONE : RT_CASE_FOLD;
    bool turkic = rt_case_turkic(a->locale, strlen(a->locale));
    int64_t dim[2] = {1, 1}, n = 0;
    bmc_string *kept = arena_array(e->arena, bmc_string, x->count + 1), s, w;
    action(a->case_change_action, &how);
    for (int64_t k = 0; k < x->count; k++) {
        bmc_string v = ((const bmc_string *)x->data)[k];
        bool stop = false;
        if (compare == RT_CASE_NONE) s = v;
        else if (!mapped(e, compare, turkic, v, &s)) return false;
        for (uint32_t i = 0; i < a->stopwords.n && !stop; i++) {
            w = (bmc_string){a->stopwords.p[i], strlen(a->stopwords.p[i])};
            if (compare != RT_CASE_NONE && !mapped(e, compare, turkic, w, &w)) return false;
            stop = s.len == w.len && !memcmp(s.ptr, w.ptr, s.len);
        }
        if (stop) continue;
        if (how == RT_CASE_NONE) kept[n++] = v;
        else if (!mapped(e, how, turkic, v, &kept[n++])) return false;
    }
    if (!n) kept[n++] = (bmc_string){"", 0};
    dim[x->rank - 1] = n;
    Tensor *y = ev_out(e, 0, DT_STR, x->rank, dim);
    if (y) memcpy(y->data, kept, (size_t)n * sizeof *kept);
    return y != NULL;
}

const OpDesc op_StringNormalizer = {.name = "StringNormalizer", .since = 10, .cls = CLS_OPAQUE, .flags = OPF_IRREGULAR, .in = P_SPLIT, .out = P_NORMAL,
                                    .attrs = NORMAL_ATTRS, .attrs_size = sizeof(Normal), .infer = normal_infer, .lower = normal_lower, .eval = normal_eval};
