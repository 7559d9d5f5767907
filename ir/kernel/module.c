/* module.c: the containers of the Kernel IR: modules, buffers, locations, program steps, and the table of
 * instructions. */
#include "ir/kernel/kir.h"
#include "base/bug.h"
#include "ir/kernel/cache.h"
#include <stdio.h>
#include <string.h>

static const KOpInfo infos[KOP_COUNT] = {
    [KOP_NONE] = {"none", 0, 0},
#define KOP(e, text, n, flags) [KOP_##e] = {text, n, flags},
#include "ir/kernel/kop.def"
#undef KOP
};

const KOpInfo *kop_info(KOp op)
{
    assert(op < KOP_COUNT);
    return &infos[op];
}

void kmodule_init(KModule *m, Arena *a, Diag *diag, Names *names, Dims *dims, Types *types, Blobs *blobs)
{
    *m = (KModule){.arena = a, .diag = diag, .names = names, .dims = dims, .types = types, .blobs = blobs};
    m->source = "";
    m->prefix = "model";
    m->target = (KTarget){.triple = "", .cpu = "", .features = ""};
    vec_push(a, &m->buf, (KBufRec){.space = KS_NONE});
    vec_push(a, &m->loc, (KLocRec){.node = -1});
    vec_push(a, &m->message, "");
    m->cache = arena_new(a, KCache);
    map_init(&m->cache->message, a);
    map_init(&m->cache->kernel, a);
}

/* ---- buffers ---- */
KBuf kbuf_new(KModule *m, KSpace space, Name name, DType elem, int rank, const Dim *dim, KLoc loc)
{
    KBufRec r = {.name = name,
                 .space = space,
                 .elem = elem,
                 .rank = (uint8_t)rank,
                 .dense = true,
                 .port = -1,
                 .weight_off = -1,
                 .loc = loc};
    assert(rank >= 0 && rank <= RANK_MAX);
    for (int i = 0; i < rank; i++) {
        assert(dim[i].i);
        r.dim[i] = dim[i];
    }
    vec_push(m->arena, &m->buf, r);
    KBuf b = {m->buf.n - 1};
    if (!name.i) {
        char text[24];
        snprintf(text, sizeof text, "t%u", b.i);
        kbuf(m, b)->name = name_of(m->names, text);
    }
    return b;
}

KBuf kbuf_view(KModule *m, KBuf base, Name name, int rank, const Dim *dim, const Dim *stride, Dim offset, KLoc loc)
{
    KBuf v = kbuf_new(m, KS_VIEW, name, kbuf(m, base)->elem, rank, dim, loc);
    KBufRec *r = kbuf(m, v);
    r->base = base;
    r->offset = offset.i ? offset : dim_const(m->dims, 0);
    r->dense = stride == NULL;
    for (int i = 0; stride && i < rank; i++) r->stride[i] = stride[i];
    return v;
}

KBuf kbuf_root(const KModule *m, KBuf b)
{
    for (uint32_t hops = 0; kbuf(m, b)->space == KS_VIEW; hops++) {
        if (hops > m->buf.n) return (KBuf){0}; /* a circle: the verifier says so */
        b = kbuf(m, b)->base;
    }
    return b;
}

static Dim count_of(KModule *m, const KBufRec *r)
{
    Dim n = dim_const(m->dims, 1);
    for (int i = 0; i < r->rank && n.i; i++) n = dim_mul(m->dims, n, r->dim[i]);
    return n;
}

Dim kbuf_count(KModule *m, KBuf b) { return count_of(m, kbuf(m, b)); }

Dim kbuf_bytes(KModule *m, const KBufRec *r)
{
    unsigned bits = dtype_info(r->elem)->bits;
    Dim n = count_of(m, r);
    if (!n.i) return n;
    if (bits >= 8) return dim_mul(m->dims, n, dim_const(m->dims, bits / 8));
    return dim_ceildiv(m->dims, n, dim_const(m->dims, 8 / bits));
}

Dim kbuf_stride(KModule *m, const KBufRec *r, int axis)
{
    Dim n;
    assert(axis >= 0 && axis < r->rank);
    if (!r->dense) return r->stride[axis];
    n = dim_const(m->dims, 1);
    for (int i = axis + 1; i < r->rank && n.i; i++) n = dim_mul(m->dims, n, r->dim[i]);
    return n;
}

/* ---- locations and messages ---- */
KLoc kloc_new(KModule *m, int32_t node, Name node_name, Name op)
{
    if (m->loc.n > 1) {
        KLocRec *l = &vec_last(&m->loc);
        if (l->node == node && l->node_name.i == node_name.i && l->op.i == op.i) return (KLoc){m->loc.n - 1};
    }
    vec_push(m->arena, &m->loc, (KLocRec){node, node_name, op});
    return (KLoc){m->loc.n - 1};
}

DiagLoc kloc_diag(const KModule *m, KLoc l)
{
    const KLocRec *r = &m->loc.p[l.i < m->loc.n ? l.i : 0];
    return (DiagLoc){.file = m->source,
                     .node = r->node,
                     .node_name = r->node_name.i ? name_str(m->names, r->node_name) : NULL,
                     .op = r->op.i ? name_str(m->names, r->op) : NULL};
}

uint32_t kmodule_message(KModule *m, const char *text)
{
    Name n = name_of(m->names, text);
    uint64_t id;
    if (map_get(&m->cache->message, n.i, &id)) return (uint32_t)id;
    vec_push(m->arena, &m->message, name_str(m->names, n));
    map_put(&m->cache->message, n.i, m->message.n - 1);
    return m->message.n - 1;
}

void kcache_forget(KModule *m, const Kernel *k)
{
    for (uint32_t i = 1; i < m->cache->text.n; i++)
        if (m->cache->text.p[i].kernel == k) m->cache->text.p[i].n = 0;
}

/* ---- steps ---- */
KStep *kstep_new(KModule *m, KStepKind kind, KLoc loc)
{
    KStep *s = arena_new(m->arena, KStep);
    s->kind = kind;
    s->loc = loc;
    if (kind == KST_IF || kind == KST_WHILE) s->body = arena_new(m->arena, KSteps);
    if (kind == KST_IF) s->other = arena_new(m->arena, KSteps);
    return s;
}

void kstep_append(KSteps *l, KStep *s)
{
    s->prev = l->last;
    s->next = NULL;
    if (l->last) l->last->next = s;
    else l->first = s;
    l->last = s;
}

KStep *kstep_add(KModule *m, KSteps *l, KStepKind kind, KLoc loc)
{
    KStep *s = kstep_new(m, kind, loc);
    kstep_append(l, s);
    return s;
}

void kstep_remove(KSteps *l, KStep *s)
{
    if (s->prev) s->prev->next = s->next;
    else l->first = s->next;
    if (s->next) s->next->prev = s->prev;
    else l->last = s->prev;
    s->prev = s->next = NULL;
}

void kstep_insert(KSteps *l, KStep *before, KStep *s)
{
    if (!before) {
        kstep_append(l, s);
        return;
    }
    s->prev = before->prev;
    s->next = before;
    if (before->prev) before->prev->next = s;
    else l->first = s;
    before->prev = s;
}

void kstep_each(const KSteps *l, void (*f)(void *arg, KStep *), void *arg)
{
    for (KStep *s = l->first, *next; s; s = next) {
        next = s->next;
        f(arg, s);
        if (s->body) kstep_each(s->body, f, arg);
        if (s->other) kstep_each(s->other, f, arg);
    }
}
