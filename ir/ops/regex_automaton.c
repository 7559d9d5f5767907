/* regex_automaton.c: the tree of a regular expression into a program over bytes (Thompson's construction, from the end to
 * the beginning: every part is made for what follows it), and the program into tables, one state for each set of
 * instructions that can be reached (Rabin and Scott).
 * Tests (^ $ \b) look at the byte before and the byte behind. A state knows of the byte before only whether it is none,
 * a new line, part of a word or something else; tests are decided when the next byte, or the end, is known. */
#include "ir/ops/regex.h"
#include "base/bug.h"
#include "runtime/rt_regex.h"
#include <string.h>

_Static_assert((int)RE_BEGIN_TEXT == RT_RE_BEGIN_TEXT && (int)RE_END_TEXT == RT_RE_END_TEXT && (int)RE_BEGIN_LINE == RT_RE_BEGIN_LINE &&
               (int)RE_END_LINE == RT_RE_END_LINE && (int)RE_WORD == RT_RE_WORD && (int)RE_NO_WORD == RT_RE_NO_WORD, "ORDER RE");

enum { INST_MAX = 1 << 20, STATE_MAX = 1 << 13, TABLE_MAX = 1 << 17, WORK_MAX = 1 << 26 };

/* ---- program ---- */

typedef struct Maker { Arena *arena; ReProgram *out; uint32_t cap; bool full; } Maker;

static uint32_t inst(Maker *m, uint32_t what, uint32_t next, uint32_t other)
{
    ReProgram *o = m->out;
    if (o->n >= INST_MAX) return m->full = true, 1;
    if (o->n == m->cap) {
        uint32_t (*p)[3] = (uint32_t (*)[3])(void *)arena_array(m->arena, uint32_t, 3 * 2 * m->cap);
        memcpy(p, o->inst, o->n * sizeof *p);
        o->inst = p;
        m->cap *= 2;
    }
    memcpy(o->inst[o->n], (uint32_t[]){what, next, other}, sizeof *o->inst);
    return o->n++;
}

static uint32_t byte_inst(Maker *m, int lo, int hi, uint32_t next) { return inst(m, RT_RE_BYTE | (uint32_t)lo << 8 | (uint32_t)hi << 16, next, 0); }

/* The sequences of bytes that encode a set, in order; each byte has a range. */
typedef struct Bytes { uint8_t n, lo[4], hi[4]; } Bytes;
typedef struct Chain { Maker *m; uint32_t next, from; Bytes *seq; uint32_t n, cap; } Chain;

static int encode(int32_t c, uint8_t *to)
{
    int n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (int k = n; k-- > 1; c >>= 6) to[k] = (uint8_t)(0x80 | (c & 0x3f));
    to[0] = (uint8_t)(lead[n] | c);
    return n;
}

static void chain_range(Chain *c, int32_t lo, int32_t hi)
{
    static const int32_t last_of[] = {0x7f, 0x7ff, 0xffff};
    for (int k = 0; k < 3; k++)
        if (lo <= last_of[k] && hi > last_of[k]) {
            chain_range(c, lo, last_of[k]);
            chain_range(c, last_of[k] + 1, hi);
            return;
        }
    for (int k = 1; hi > 0x7f && k < 4; k++) {   /* the last k bytes must run through all their values, or be one */
        int32_t low = (1 << 6 * k) - 1;
        if ((lo & ~low) == (hi & ~low)) continue;
        int32_t cut = lo & low ? (lo | low) + 1 : (hi & low) != low ? hi & ~low : 0;
        if (!cut) continue;
        chain_range(c, lo, cut - 1);
        chain_range(c, cut, hi);
        return;
    }
    if (c->n == c->cap) {
        uint32_t cap = c->cap ? 2 * c->cap : 16;
        c->seq = arena_grow(c->m->arena, c->seq, c->n * sizeof *c->seq, cap * sizeof *c->seq);
        c->cap = cap;
    }
    Bytes *s = &c->seq[c->n++];
    s->n = (uint8_t)encode(lo, s->lo);
    encode(hi, s->hi);
}

/* An instruction that was made for this set before, or a new one: equal ends are one. */
static uint32_t chain_inst(Chain *c, uint32_t what, uint32_t next, uint32_t other)
{
    for (uint32_t k = c->from; k < c->m->out->n; k++) {
        const uint32_t *in = c->m->out->inst[k];
        if (in[0] == what && in[1] == next && in[2] == other) return k;
    }
    return inst(c->m, what, next, other);
}

/* Sequences first..last, of which `at` bytes are behind: those with the same next byte begin together. */
static uint32_t chain_make(Chain *c, uint32_t first, uint32_t last, int at)
{
    uint32_t out = 0;
    while (last > first && !c->m->full) {
        const Bytes *s = &c->seq[last - 1];
        uint32_t begin = last - 1;
        while (begin > first && c->seq[begin - 1].n == s->n && c->seq[begin - 1].lo[at] == s->lo[at] && c->seq[begin - 1].hi[at] == s->hi[at])
            begin--;
        uint32_t next = at + 1 == s->n ? c->next : chain_make(c, begin, last, at + 1);
        uint32_t byte = chain_inst(c, RT_RE_BYTE | (uint32_t)s->lo[at] << 8 | (uint32_t)s->hi[at] << 16, next, 0);
        out = out ? chain_inst(c, RT_RE_SPLIT, byte, out) : byte;
        last = begin;
    }
    return out;
}

static uint32_t make(Maker *m, const Re *r, uint32_t next);

static uint32_t make_set(Maker *m, const ReSet *s, uint32_t next)
{
    Chain c = {.m = m, .next = next, .from = m->out->n};
    for (uint32_t k = 0; k < s->n; k++) chain_range(&c, s->p[k].lo, s->p[k].hi);
    return c.n ? chain_make(&c, 0, c.n, 0) : byte_inst(m, 1, 0, next);   /* or nothing is in it */
}

static uint32_t make_repeat(Maker *m, const Re *r, uint32_t next)
{
    uint32_t at = next;
    if (r->hi < 0) {
        at = inst(m, RT_RE_SPLIT, 0, next);
        uint32_t body = make(m, r->sub[0], at);
        m->out->inst[at][1] = body;
    }
    for (int k = r->lo; k < r->hi && !m->full; k++) at = inst(m, RT_RE_SPLIT, make(m, r->sub[0], at), next);
    for (int k = 0; k < r->lo && !m->full; k++) at = make(m, r->sub[0], at);
    return at;
}

static uint32_t make(Maker *m, const Re *r, uint32_t next)
{
    if (m->full) return next;
    switch (r->kind) {
    case RE_CAT:
        for (uint32_t k = r->n; k-- > 0;) next = make(m, r->sub[k], next);
        return next;
    case RE_ALT: {
        uint32_t at = make(m, r->sub[r->n - 1], next);
        for (uint32_t k = r->n - 1; k-- > 0;) at = inst(m, RT_RE_SPLIT, make(m, r->sub[k], next), at);
        return at;
    }
    case RE_SET: return make_set(m, &r->set, next);
    case RE_BYTE: return byte_inst(m, 0, 255, next);
    case RE_TEST: m->out->tests = true; return inst(m, RT_RE_TEST | (uint32_t)r->test << 8, next, 0);
    case RE_REPEAT: return make_repeat(m, r, next);
    }
    UNREACHABLE();
}

bool regex_program(Arena *a, const Re *r, ReProgram *out)
{
    Maker m = {.arena = a, .out = out, .cap = 64};
    *out = (ReProgram){.inst = (uint32_t (*)[3])(void *)arena_array(a, uint32_t, 3 * m.cap)};
    inst(&m, RT_RE_START, 0, 0);
    out->start = make(&m, r, inst(&m, RT_RE_MATCH, 0, 0));
    out->inst[0][1] = out->start;
    return !m.full;
}

/* ---- tables ---- */

enum { NO_BYTE, LINE, WORD, OTHER };   /* the byte before */
static const int EXAMPLE[] = {[NO_BYTE] = -1, [LINE] = '\n', [WORD] = 'a', [OTHER] = ' '};
static int before_of(int c) { return c == '\n' ? LINE : rt_re_word(c) ? WORD : OTHER; }

typedef struct State { uint32_t *inst, n; int before; uint64_t hash; } State;   /* instructions but splits, sorted */
typedef struct Sets {
    Arena *arena;
    const ReProgram *p;
    State *state;
    uint32_t n, *bucket, *chain;
    uint32_t *mark, gen, *list, n_list, *stack;
    int64_t work;
} Sets;

/* Adds what `at` reaches without a byte and without a test, or through tests that hold. */
static void reach(Sets *s, uint32_t at, int holds)
{
    uint32_t n = 0;
    s->stack[n++] = at;
    while (n) {
        uint32_t i = s->stack[--n];
        const uint32_t *in = s->p->inst[i];
        if (s->mark[i] == s->gen) continue;
        s->mark[i] = s->gen;
        s->work++;
        if ((in[0] & 0xff) == RT_RE_SPLIT) s->stack[n++] = in[2], s->stack[n++] = in[1];
        else if ((in[0] & 0xff) == RT_RE_TEST && holds && (holds & (int)(in[0] >> 8))) s->stack[n++] = in[1];
        else s->list[s->n_list++] = i;
    }
}

static void sort(uint32_t *p, uint32_t n)   /* shell sort */
{
    for (uint32_t gap = n / 2; gap; gap /= 2)
        for (uint32_t i = gap; i < n; i++) {
            uint32_t v = p[i], j = i;
            for (; j >= gap && p[j - gap] > v; j -= gap) p[j] = p[j - gap];
            p[j] = v;
        }
}

/* The number of the state that `list` makes; 0: none, nothing can match any more. */
static uint32_t intern(Sets *s, int before)
{
    if (!s->n_list) return 0;
    sort(s->list, s->n_list);
    uint64_t h = (uint64_t)before;
    for (uint32_t k = 0; k < s->n_list; k++) h = (h ^ s->list[k]) * 0x9e3779b97f4a7c15u, h ^= h >> 29;
    for (uint32_t k = s->bucket[h % STATE_MAX]; k; k = s->chain[k]) {
        const State *x = &s->state[k];
        if (x->hash == h && x->before == before && x->n == s->n_list && !memcmp(x->inst, s->list, x->n * sizeof *x->inst)) return k;
    }
    if (s->n == STATE_MAX) return STATE_MAX;
    State *x = &s->state[s->n];
    *x = (State){arena_array(s->arena, uint32_t, s->n_list), s->n_list, before, h};
    memcpy(x->inst, s->list, s->n_list * sizeof *x->inst);
    s->chain[s->n] = s->bucket[h % STATE_MAX];
    return s->bucket[h % STATE_MAX] = s->n++;
}

/* Where byte c leads from state k; c < 0: whether the text may end there. STATE_MAX: too many. */
static uint32_t step(Sets *s, uint32_t k, int c)
{
    const State *x = &s->state[k];
    int holds = rt_re_holds(EXAMPLE[x->before], c);
    uint32_t *from = s->stack + 2 * s->p->n + 2, n = 0;
    s->gen++, s->n_list = 0;
    if (s->p->tests) {   /* tests are decided now */
        for (uint32_t i = 0; i < x->n; i++) reach(s, x->inst[i], holds);
        n = s->n_list;
        memcpy(from, s->list, n * sizeof *from);
        s->gen++, s->n_list = 0;
    } else from = x->inst, n = x->n;
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t *in = s->p->inst[from[i]];
        int op = in[0] & 0xff, lo = in[0] >> 8 & 0xff, hi = in[0] >> 16 & 0xff;
        if (c < 0 && op == RT_RE_MATCH) return 1;
        if (c >= 0 && op == RT_RE_BYTE && c >= lo && c <= hi) reach(s, in[1], 0);
    }
    s->work += n;
    return c < 0 ? 0 : intern(s, s->p->tests ? before_of(c) : NO_BYTE);
}

/* Bytes that no instruction tells apart are one class. */
static void classes(const ReProgram *p, ReTables *t, uint8_t *example)
{
    bool begins[257] = {[0] = true};
    for (uint32_t k = 0; k < p->n; k++)
        if ((p->inst[k][0] & 0xff) == RT_RE_BYTE) begins[p->inst[k][0] >> 8 & 0xff] = begins[(p->inst[k][0] >> 16 & 0xff) + 1] = true;
    for (int c = 1; p->tests && c < 256; c++)
        if (before_of(c) != before_of(c - 1)) begins[c] = true;
    t->n_class = 0;
    for (int c = 0; c < 256; c++) {
        if (begins[c]) example[t->n_class++] = (uint8_t)c;
        t->class_of[c] = (uint8_t)(t->n_class - 1);
    }
}

bool regex_tables(Arena *a, const ReProgram *p, ReTables *t)
{
    uint8_t example[256];
    Sets s = {.arena = a, .p = p, .n = 1, .gen = 0};
    *t = (ReTables){0};
    classes(p, t, example);
    s.state = arena_array(a, State, STATE_MAX);
    s.bucket = arena_array(a, uint32_t, STATE_MAX);
    s.chain = arena_array(a, uint32_t, STATE_MAX);
    s.mark = arena_array(a, uint32_t, p->n);
    s.list = arena_array(a, uint32_t, p->n);
    s.stack = arena_array(a, uint32_t, 3 * p->n + 4);   /* and the list of a state with its tests decided */
    memset(s.bucket, 0, STATE_MAX * sizeof *s.bucket);
    memset(s.mark, 0, p->n * sizeof *s.mark);
    t->next = arena_array(a, uint16_t, TABLE_MAX);
    t->accept = arena_array(a, uint8_t, STATE_MAX);
    memset(t->next, 0, t->n_class * sizeof *t->next);
    t->accept[0] = 0;
    s.gen = 1;
    reach(&s, p->start, 0);
    intern(&s, NO_BYTE);
    for (uint32_t k = 1; k < s.n; k++) {
        if ((k + 1) * t->n_class > TABLE_MAX || s.work > WORK_MAX) return false;
        t->accept[k] = (uint8_t)step(&s, k, -1);
        for (uint32_t c = 0; c < t->n_class; c++) {
            uint32_t to = step(&s, k, example[c]);
            if (to == STATE_MAX) return false;
            t->next[k * t->n_class + c] = (uint16_t)to;
        }
    }
    t->n_state = s.n;
    return true;
}
