/* verify.c: what is checked of a module (verify_kernel.c has the list for kernels):
 *   buffers     names, element types and dims are there; ports, views and blobs exist and agree with them; views go
 *               in no circle and, where everything is constant, stay inside their base; a planned module has an
 *               offset for each arena buffer
 *   ports       their buffers say the same port; aliases point both ways
 *   symbols     a dim mentions node symbols only after the step that binds them, on every path; entry symbols are
 *               bound by an input, `same` or a step
 *   launch      the kernel is the module's; one buffer per parameter, of equal element type and rank, dims not
 *               provably different; strides where the parameter has them; no constant or input is written (but an
 *               input that shares memory with an output)
 *   boxes       have memory on every path before they are used, and at the end when they are outputs
 *   calls       rows of rt_calls.def with arguments of the kinds that the row says
 *   check fail  have a message; while: as many values in next as carries
 * Not checked here: that barriers suffice (passes/kernel/barriers.c), that the plan does not overlap (plan_memory.c). */
#include "ir/kernel/verify.h"
#include "base/bug.h"
#include <string.h>

typedef struct V {
    KVerify *v;
    KModule *m;
    bool *sym, *box; /* bound symbols; boxes with memory */
    KLoc loc;
    const char *what;
    bool strict; /* what a node finds must have been found, whatever else says how much it is */
} V;

bool kverify_error(KVerify *v, KLoc l, const char *fmt, ...)
{
    va_list ap;
    v->ok = false;
    if (v->shown++ >= 20) return false;
    va_start(ap, fmt);
    diag(v->m->diag, kloc_diag(v->m, l), E_VERIFY, v->after, arena_vprintf(v->arena, fmt, ap));
    va_end(ap);
    return false;
}

static const char *buf_name(V *c, KBuf b)
{
    return b.i && b.i < c->m->buf.n ? name_str(c->m->names, kbuf(c->m, b)->name) : "nothing";
}
static bool buf_ok(V *c, KBuf b) { return b.i && b.i < c->m->buf.n; }

/* ---- buffers and ports ---- */
bool kverify_shape(KVerify *v, KLoc l, const char *what, const KBufRec *r)
{
    if (r->elem == DT_NONE || r->elem >= DT_COUNT) return kverify_error(v, l, "%s: no element type", what);
    if (r->rank > RANK_MAX) return kverify_error(v, l, "%s: rank %d", what, r->rank);
    for (int i = 0; i < r->rank; i++)
        if (!r->dim[i].i || (!r->dense && !r->stride[i].i))
            return kverify_error(v, l, "%s: dim or stride %d is missing", what, i);
    return true;
}

static bool port_buf(V *c, const char *word, const KPort *p, uint32_t n, bool out)
{
    const char *name = name_str(c->m->names, p->name);
    if (!p->buf.i) return true;
    if (!buf_ok(c, p->buf))
        return kverify_error(c->v, (KLoc){0}, "%s '%s': buffer %u does not exist", word, name, p->buf.i);
    const KBufRec *r = kbuf(c->m, p->buf);
    bool space =
        out ? r->space == KS_OUT || r->space == KS_BOX || r->space == KS_SEQ || (p->alias >= 0 && r->space == KS_IN)
            : r->space == KS_IN || r->space == KS_SEQ;
    if (!space)
        return kverify_error(c->v, r->loc, "%s '%s': %%%s is of the wrong kind", word, name, buf_name(c, p->buf));
    if (r->port != (int32_t)n && !(r->space == KS_IN && out) && !(r->space == KS_SEQ && !out))
        return kverify_error(c->v, r->loc, "%s '%s' is number %u, %%%s says %d", word, name, n, buf_name(c, p->buf),
                             r->port);
    return true;
}

static void check_ports(V *c)
{
    for (uint32_t i = 0; i < c->m->input.n; i++) {
        const KPort *p = &c->m->input.p[i];
        port_buf(c, "input", p, i, false);
        if (p->alias >= 0 && (p->alias >= (int32_t)c->m->output.n || c->m->output.p[p->alias].alias != (int32_t)i))
            kverify_error(c->v, (KLoc){0}, "input %u: its alias does not point back", i);
    }
    for (uint32_t i = 0; i < c->m->output.n; i++) {
        const KPort *p = &c->m->output.p[i];
        port_buf(c, "output", p, i, true);
        if (p->alias >= 0 && (p->alias >= (int32_t)c->m->input.n || c->m->input.p[p->alias].alias != (int32_t)i))
            kverify_error(c->v, (KLoc){0}, "output %u: its alias does not point back", i);
    }
}

/* offset + sum (dim-1)*stride < elements of the base, where all of it is constant. */
/* A view reads elements of its base's size, or the parts of complex ones. */
static bool same_bits(DType base, DType view)
{
    int a = dtype_info(base)->bits, b = dtype_info(view)->bits;
    return a == b || (dtype_info(base)->cls == DC_COMPLEX && a == 2 * b) || (dtype_info(view)->cls == DC_COMPLEX && b == 2 * a);
}

static void check_view_extent(V *c, KBuf b)
{
    const KBufRec *r = kbuf(c->m, b), *base = kbuf(c->m, r->base);
    int64_t last, n, s, count = 1;
    if (!r->offset.i) {
        kverify_error(c->v, r->loc, "%%%s: a view without offset", buf_name(c, b));
        return;
    }
    if (!base->dense || !dim_is_const(c->m->dims, r->offset, &last)) return;
    for (int i = 0; i < base->rank; i++) {
        if (!dim_is_const(c->m->dims, base->dim[i], &n) || __builtin_mul_overflow(count, n, &count)) return;
    }
    if (dtype_info(base->elem)->bits > dtype_info(r->elem)->bits && __builtin_mul_overflow(count, 2, &count)) return;
    if (dtype_info(base->elem)->bits < dtype_info(r->elem)->bits) count /= 2;
    for (int i = 0; i < r->rank; i++) {
        Dim st = kbuf_stride(c->m, r, i);
        if (!st.i || !dim_is_const(c->m->dims, r->dim[i], &n) || !dim_is_const(c->m->dims, st, &s)) return;
        if (n == 0) return;
        if (s < 0 || __builtin_mul_overflow(n - 1, s, &s) || __builtin_add_overflow(last, s, &last)) {
            last = -1;
            break;
        }
    }
    if (last < 0 || last >= count)
        kverify_error(c->v, r->loc, "%%%s reaches outside %%%s", buf_name(c, b), buf_name(c, r->base));
}

static void check_buf(V *c, KBuf b)
{
    const KBufRec *r = kbuf(c->m, b);
    const char *name = buf_name(c, b);
    int64_t n, count = 1;
    if (r->space == KS_SEQ) {
        TypeKind k = r->seq.i ? type_rec(c->m->types, r->seq)->kind : TY_NONE;
        if (k == TY_NONE || k == TY_TENSOR) kverify_error(c->v, r->loc, "%%%s: a seq buffer of no sequence type", name);
        return;
    }
    if (!kverify_shape(c->v, r->loc, arena_printf(c->v->arena, "%%%s", name), r)) return;
    switch (r->space) {
    case KS_IN:
    case KS_OUT: {
        uint32_t ports = r->space == KS_IN ? c->m->input.n : c->m->output.n;
        const KPort *p = r->port >= 0 && (uint32_t)r->port < ports
                             ? r->space == KS_IN ? &c->m->input.p[r->port] : &c->m->output.p[r->port]
                             : NULL;
        if (!p) kverify_error(c->v, r->loc, "%%%s: port %d does not exist", name, r->port);
        else if (p->buf.i != b.i) kverify_error(c->v, r->loc, "%%%s: port %d has another buffer", name, r->port);
        break;
    }
    case KS_CONST:
        if (!r->blob.i || r->blob.i >= c->m->blobs->rec.n) {
            kverify_error(c->v, r->loc, "%%%s: no data", name);
            return;
        }
        for (int i = 0; i < r->rank; i++) {
            if (!dim_is_const(c->m->dims, r->dim[i], &n) || n < 0 || __builtin_mul_overflow(count, n, &count)) {
                kverify_error(c->v, r->loc, "%%%s: dims of a constant are constants", name);
                return;
            }
        }
        if (blob_rec(c->m->blobs, r->blob)->elem != r->elem || blob_rec(c->m->blobs, r->blob)->count != count)
            kverify_error(c->v, r->loc, "%%%s: its data is %s of %lld elements", name,
                          dtype_name(blob_rec(c->m->blobs, r->blob)->elem),
                          (long long)blob_rec(c->m->blobs, r->blob)->count);
        break;
    case KS_ARENA:
        if (c->m->planned && (!r->offset.i || !r->bytes.i))
            kverify_error(c->v, r->loc, "%%%s has no place in the plan", name);
        break;
    case KS_BOX:
        if (r->port >= (int32_t)c->m->output.n)
            kverify_error(c->v, r->loc, "%%%s: port %d does not exist", name, r->port);
        break;
    case KS_VIEW: {
        if (!buf_ok(c, r->base) || !kbuf_root(c->m, b).i) {
            kverify_error(c->v, r->loc, "%%%s: a view of nothing", name);
            return;
        }
        if (kbuf(c->m, r->base)->space == KS_SEQ || !same_bits(kbuf(c->m, r->base)->elem, r->elem))
            kverify_error(c->v, r->loc, "%%%s: its base holds something else", name);
        else check_view_extent(c, b);
        break;
    }
    default: kverify_error(c->v, r->loc, "%%%s: a buffer of no space", name);
    }
}

/* ---- symbols ---- */
static void need_sym(void *arg, Sym s)
{
    V *c = arg;
    const SymRec *r = &c->m->dims->sym.p[s.i];
    if (c->sym[s.i]) return;
    if (r->same_as.i && !(c->strict && r->kind == SYM_NODE)) {
        c->sym[s.i] = true; /* before the walk: classes may be circular only by mistake */
        dim_each_sym(c->m->dims, r->same_as, need_sym, c);
        return;
    }
    kverify_error(c->v, c->loc, "%s: %s is not bound here", c->what, name_str(c->m->names, r->name));
    c->sym[s.i] = true; /* said once */
}

static void need_dim(V *c, KLoc l, const char *what, Dim d)
{
    if (!d.i) {
        kverify_error(c->v, l, "%s: a dim is missing", what);
        return;
    }
    c->loc = l;
    c->what = what;
    dim_each_sym(c->m->dims, d, need_sym, c);
}

/* Everything needed to address the buffer, and the memory of a box. */
static void need_buf(V *c, const KStep *s, KBuf b, bool memory)
{
    if (!buf_ok(c, b)) {
        kverify_error(c->v, s->loc, "a step uses buffer %u, which does not exist", b.i);
        return;
    }
    const KBufRec *r = kbuf(c->m, b);
    const char *what = arena_printf(c->v->arena, "%%%s", buf_name(c, b));
    KBuf root = kbuf_root(c->m, b);
    if (!root.i || r->space == KS_SEQ) return;
    for (int i = 0; i < r->rank; i++) {
        need_dim(c, s->loc, what, r->dim[i]);
        if (!r->dense) need_dim(c, s->loc, what, r->stride[i]);
    }
    if (r->space == KS_VIEW) need_dim(c, s->loc, what, r->offset);
    if (memory && kbuf(c->m, root)->space == KS_BOX && !c->box[root.i]) {
        kverify_error(c->v, s->loc, "box %%%s is used without memory", buf_name(c, root));
        c->box[root.i] = true;
    }
}

/* ---- steps ---- */
static void dims_of_kernel(V *c, const KStep *s)
{
    const Kernel *k = s->kernel;
    const char *what = arena_printf(c->v->arena, "launch @%s", name_str(c->m->names, k->name));
    for (uint32_t i = 1; i < k->inst.n; i++)
        if (k->inst.p[i].op == KOP_DIM && k->inst.p[i].block.i && k->inst.p[i].imm.dim.i)
            need_dim(c, s->loc, what, k->inst.p[i].imm.dim);
    for (uint32_t p = 1; p < k->param.n; p++)
        for (int i = 0; i < k->param.p[p].rank; i++) need_dim(c, s->loc, what, k->param.p[p].dim[i]);
}

static bool may_write(V *c, KBuf b)
{
    const KBufRec *r = kbuf(c->m, kbuf_root(c->m, b));
    if (r->space == KS_IN)
        return r->port >= 0 && (uint32_t)r->port < c->m->input.n && c->m->input.p[r->port].alias >= 0;
    return r->space != KS_CONST;
}

static void check_launch(V *c, const KStep *s)
{
    const Kernel *k = s->kernel;
    bool known = false;
    uint32_t n = 0;
    for (uint32_t i = 0; i < c->m->kernel.n && !known; i++) known = c->m->kernel.p[i] == k;
    if (!known) {
        kverify_error(c->v, s->loc, "launch of a kernel that is not the module's");
        return;
    }
    const char *name = name_str(c->m->names, k->name);
    for (uint32_t p = 1; p < k->param.n; p++) {
        const KBufRec *want = &k->param.p[p];
        if (want->space != KS_PARAM) continue;
        if (n >= s->n_buf_arg) {
            kverify_error(c->v, s->loc, "launch @%s: too few arguments", name);
            return;
        }
        KBuf b = s->buf_arg[n++];
        need_buf(c, s, b, true);
        if (!buf_ok(c, b) || !kbuf_root(c->m, b).i) continue;
        const KBufRec *r = kbuf(c->m, b);
        if (r->space == KS_SEQ || r->elem != want->elem || r->rank != want->rank) {
            kverify_error(c->v, s->loc, "launch @%s: argument %%%s is %s of rank %d, expected %s of rank %d", name,
                          buf_name(c, b), dtype_name(r->elem), r->rank, dtype_name(want->elem), want->rank);
            continue;
        }
        for (int i = 0; i < r->rank; i++) {
            Dim rs = kbuf_stride(c->m, r, i), ws = kbuf_stride(c->m, want, i);
            if (dim_eq(c->m->dims, r->dim[i], want->dim[i]) == TRI_NO)
                kverify_error(c->v, s->loc, "launch @%s: dim %d of %%%s differs", name, i, buf_name(c, b));
            else if (!dim_is(c->m->dims, r->dim[i], 1) && rs.i && ws.i && (!r->dense || !want->dense) &&
                     dim_eq(c->m->dims, rs, ws) == TRI_NO)
                kverify_error(c->v, s->loc, "launch @%s: stride %d of %%%s differs", name, i, buf_name(c, b));
        }
        if (want->out && !may_write(c, b))
            kverify_error(c->v, s->loc, "launch @%s: %%%s is written", name, buf_name(c, b));
    }
    if (n != s->n_buf_arg) kverify_error(c->v, s->loc, "launch @%s: too many arguments", name);
    dims_of_kernel(c, s);
}

static void check_call(V *c, const KStep *s)
{
    if (!s->call) {
        kverify_error(c->v, s->loc, "call of nothing");
        return;
    }
    const char *want = s->call->args, *name = s->call->name;
    for (uint32_t i = 0; i < s->n_arg; i++, want++) {
        const KArg *a = &s->arg[i];
        bool seq = a->kind == KA_BUF && buf_ok(c, a->buf) && kbuf(c->m, a->buf)->space == KS_SEQ, fits;
        switch (*want) {
        case 'b':
        case 'o': fits = a->kind == KA_BUF && !seq; break;
        case 'x': fits = a->kind == KA_BUF && buf_ok(c, a->buf) && kbuf(c->m, a->buf)->space == KS_BOX; break;
        case 'q': fits = seq; break;
        case 'd': fits = a->kind == KA_DIM; break;
        case 's': fits = a->kind == KA_SYM && a->sym.i && a->sym.i < c->m->dims->sym.n; break;
        case 'i': fits = a->kind == KA_INT; break;
        case 't': fits = a->kind == KA_STR; break;
        case 0: kverify_error(c->v, s->loc, "call %s: too many arguments", name); return;
        default: fits = false;
        }
        if (!fits) {
            kverify_error(c->v, s->loc, "call %s: argument %u does not fit '%c'", name, i, *want);
            return;
        }
        if (*want == 'd') need_dim(c, s->loc, name, a->dim);
        if (a->kind == KA_BUF && *want != 'x') need_buf(c, s, a->buf, true);
        if ((*want == 'b' || *want == 'o') && !kbuf(c->m, a->buf)->dense)
            kverify_error(c->v, s->loc, "call %s: %%%s is not dense", name, buf_name(c, a->buf));
        if (*want == 'o' && !may_write(c, a->buf))
            kverify_error(c->v, s->loc, "call %s: %%%s is written", name, buf_name(c, a->buf));
        if (*want == 'x') c->box[a->buf.i] = true;
    }
    for (; *want; want++)
        if (*want != 's') {
            kverify_error(c->v, s->loc, "call %s: too few arguments", name);
            return;
        }
    for (uint32_t i = 0; i < s->n_arg; i++)
        if (s->arg[i].kind == KA_SYM) c->sym[s->arg[i].sym.i] = true;
}

static bool is_boxed(V *c, const KStep *s, KBuf b, const char *word)
{
    if (!buf_ok(c, b)) return kverify_error(c->v, s->loc, "%s of nothing", word);
    KSpace sp = kbuf(c->m, b)->space;
    return sp == KS_BOX || (sp == KS_SEQ && s->kind != KST_ALLOC) ||
           kverify_error(c->v, s->loc, "%s of %%%s, which is no box", word, buf_name(c, b));
}

static void check_steps(V *c, const KSteps *l);

static bool *keep(V *c, const bool *p, uint32_t n) { return arena_memdup(c->v->arena, p, n ? n : 1); }

/* to = to and other. true: something was lost */
static bool meet(bool *to, const bool *other, uint32_t n)
{
    bool less = false;
    for (uint32_t i = 0; i < n; i++) {
        less |= to[i] && !other[i];
        to[i] = to[i] && other[i];
    }
    return less;
}

static void check_if(V *c, const KStep *s)
{
    uint32_t ns = c->m->dims->sym.n, nb = c->m->buf.n;
    need_dim(c, s->loc, "if", s->a);
    bool *sym = keep(c, c->sym, ns), *box = keep(c, c->box, nb);
    check_steps(c, s->body);
    bool *sym1 = keep(c, c->sym, ns), *box1 = keep(c, c->box, nb);
    memcpy(c->sym, sym, ns);
    memcpy(c->box, box, nb);
    check_steps(c, s->other);
    bool dead1 = s->body->last && s->body->last->kind == KST_FAIL,
         dead2 = s->other->last && s->other->last->kind == KST_FAIL;
    if (dead2) { /* what follows is reached from the other branch only */
        memcpy(c->sym, sym1, ns);
        memcpy(c->box, box1, nb);
    } else if (!dead1) {
        meet(c->sym, sym1, ns);
        meet(c->box, box1, nb);
    }
}

static void check_while(V *c, const KStep *s)
{
    uint32_t ns = c->m->dims->sym.n, nb = c->m->buf.n;
    for (uint32_t i = 0; i < s->n_carry; i++) need_dim(c, s->loc, "while", s->init[i]);
    for (uint32_t i = 0; i < s->n_carry; i++) {
        if (!s->carry[i].i || s->carry[i].i >= ns) {
            kverify_error(c->v, s->loc, "while: carry %u is no symbol", i);
            return;
        }
        c->sym[s->carry[i].i] = true;
    }
    bool *sym = keep(c, c->sym, ns), *box = keep(c, c->box, nb);
    /* The second round starts with what the first left, if that is less: else it would be the first once more, and loops in
     * loops went through theirs 2^depth times. */
    for (int round = 0; round < 2; round++) {
        if (round) {
            if (!meet(box, c->box, nb)) break;
            memcpy(c->sym, sym, ns);
            memcpy(c->box, box, nb);
        }
        need_dim(c, s->loc, "while", s->a);
        check_steps(c, s->body);
        for (uint32_t i = 0; i < s->n_carry; i++) need_dim(c, s->loc, "while", s->next_val[i]);
    }
    meet(box, c->box, nb);
    memcpy(c->sym, sym, ns);
    memcpy(c->box, box, nb);
}

static void check_step(V *c, const KStep *s)
{
    switch (s->kind) {
    case KST_BIND:
    case KST_LOAD:
        if (s->kind == KST_LOAD) {
            need_buf(c, s, s->buf, true);
            if (buf_ok(c, s->buf) && !(DTS(kbuf(c->m, s->buf)->elem) & (DTS_INT | DTS_BOOL)))
                kverify_error(c->v, s->loc, "bind: %%%s holds no integers", buf_name(c, s->buf));
            if (buf_ok(c, s->buf) && !kbuf(c->m, s->buf)->dense)
                kverify_error(c->v, s->loc, "bind: %%%s is not dense", buf_name(c, s->buf));
        }
        need_dim(c, s->loc, "bind", s->a);
        if (!s->sym.i || s->sym.i >= c->m->dims->sym.n) kverify_error(c->v, s->loc, "bind of no symbol");
        else c->sym[s->sym.i] = true;
        break;
    case KST_CHECK:
        c->strict = true;
        need_dim(c, s->loc, "check", s->a);
        need_dim(c, s->loc, "check", s->b);
        c->strict = false;
        if (!s->msg) kverify_error(c->v, s->loc, "a check without message");
        break;
    case KST_ALLOC:
        if (!is_boxed(c, s, s->buf, "alloc")) break;
        need_buf(c, s, s->buf, false);
        c->box[s->buf.i] = true;
        break;
    case KST_FREE:
        if (!is_boxed(c, s, s->buf, "free")) break;

        c->box[s->buf.i] = false;
        break;
    case KST_MOVE:
        if (!is_boxed(c, s, s->buf, "move") || !is_boxed(c, s, s->src, "move")) break;
        if (kbuf(c->m, s->buf)->space != kbuf(c->m, s->src)->space)
            kverify_error(c->v, s->loc, "move between a box and a sequence");
        if (kbuf(c->m, s->src)->space == KS_BOX && !c->box[s->src.i])
            kverify_error(c->v, s->loc, "box %%%s is moved without memory", buf_name(c, s->src));
        c->box[s->src.i] = false;
        c->box[s->buf.i] = true;
        break;
    case KST_LAUNCH: check_launch(c, s); break;
    case KST_CALL: check_call(c, s); break;
    case KST_BARRIER: break;
    case KST_IF: check_if(c, s); break;
    case KST_WHILE: check_while(c, s); break;
    case KST_FAIL:
        if (!s->msg) kverify_error(c->v, s->loc, "fail without message");
        break;
    }
}

static void check_steps(V *c, const KSteps *l)
{
    const KStep *prev = NULL;
    for (const KStep *s = l->first; s; prev = s, s = s->next) {
        if (s->prev != prev) {
            kverify_error(c->v, s->loc, "the list of steps is broken");
            return;
        }
        check_step(c, s);
    }
    if (l->last != prev) kverify_error(c->v, (KLoc){0}, "the list of steps has the wrong end");
}

bool kir_verify(KModule *m, const char *after)
{
    Arena a;
    arena_init(&a, "verify", m->arena->oom);
    KVerify v = {.m = m, .after = after, .arena = &a, .ok = true};
    V c = {.v = &v, .m = m};
    c.sym = arena_array(&a, bool, m->dims->sym.n + 1);
    c.box = arena_array(&a, bool, m->buf.n + 1);
    for (uint32_t i = 1; i < m->dims->sym.n; i++) {
        const SymRec *s = &m->dims->sym.p[i];
        c.sym[i] = s->kind == SYM_ENTRY && s->input >= 0;
    }
    for (uint32_t i = 1; i < m->buf.n; i++) check_buf(&c, (KBuf){i});
    check_ports(&c);
    for (uint32_t i = 0; i < m->kernel.n; i++) {
        for (uint32_t n = 0; n < i; n++)
            if (m->kernel.p[n]->name.i == m->kernel.p[i]->name.i)
                kverify_error(&v, m->kernel.p[i]->loc, "two kernels @%s", name_str(m->names, m->kernel.p[i]->name));
        kverify_kernel(&v, m->kernel.p[i]);
    }
    if (v.ok) check_steps(&c, &m->program);
    for (uint32_t i = 0; v.ok && i < m->output.n; i++) {
        KBuf b = m->output.p[i].buf;
        if (b.i && kbuf(m, b)->space == KS_BOX && !c.box[b.i] &&
            !(m->program.last && m->program.last->kind == KST_FAIL))
            kverify_error(&v, kbuf(m, b)->loc, "output %%%s has no memory at the end", buf_name(&c, b));
    }
    if (v.shown > 20) diag(m->diag, diag_file(m->source), E_VERIFY, after, arena_printf(&a, "%d more", v.shown - 20));
    arena_free(&a);
    return v.ok;
}
