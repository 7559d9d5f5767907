/* eval_kernel.c: one launch: instructions by walking blocks, values in an array. Virtual lanes of vec loops are kept
 * apart exactly as kir.h says, so sums have the bits that compiled code gives. Every access is checked against the
 * dims of its buffer and against the memory behind it; a guarded access whose predicate is false touches nothing.
 * Kernels that split a par loop are watched: an element that one iteration writes and another one touches is an error
 * here, as it would be a race in compiled code. */
#include "ir/kernel/eval_state.h"
#include "base/bug.h"
#include <string.h>

#define WATCH_MAX (1 << 22) /* elements of a buffer; larger ones are not watched */

typedef struct Run {
    KEval *e;
    const Kernel *k;
    const KStep *step;
    KView *view; /* by parameter */
    KScalar *val;
    int32_t iter, iters; /* the current iteration of a par loop, 0: none; made so far */
    bool recorded;
    int64_t rec_index, rec_bound, rec_msg;
} Run;

static bool fail(Run *r, const KInstRec *i, bmc_status status, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static bool fail(Run *r, const KInstRec *i, bmc_status status, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    const char *text = arena_vprintf(&r->e->launch, fmt, ap);
    va_end(ap);
    return keval_fail(r->e, status, r->step->loc, "kernel @%s: %s #%u: %s", name_str(r->e->m->names, r->k->name),
                      kop_info(i->op)->text, (unsigned)(i - r->k->inst.p), text);
}

static KScalar arg(Run *r, const KInstRec *i, uint32_t n) { return r->val[karg(r->k, i, n).i]; }

/* ---- memory ---- */
static bool touch(Run *r, const KInstRec *i, KView *v, int64_t at, bool write)
{
    int64_t bits = v->elem == DT_STR ? 128 : dtype_info(v->elem)->bits;
    if (v->trace &&
        !keval_touch(r->e, r->step->loc, v->name, v->trace + at * bits / 8, (bits + 7) / 8, write, kstep_shared(r->step)))
        return false;
    if (!v->writer || !r->iter) return true;
    int32_t *w = &v->writer[at];
    if (*w && *w != r->iter)
        return fail(r, i, BMC_E_INDEX, "race: element %lld of %%%s is written by another iteration of the par loop",
                    (long long)at, v->name);
    if (write) *w = r->iter;
    return true;
}

static bool locate(Run *r, const KInstRec *i, KView *v, int64_t *at)
{
    int64_t flat = v->offset;
    for (int n = 0; n < v->rank; n++) {
        int64_t x = arg(r, i, (uint32_t)n).i;
        if (x < 0 || x >= v->dim[n])
            return fail(r, i, BMC_E_INDEX, "index %lld of axis %d of %%%s is outside 0..%lld", (long long)x, n, v->name,
                        (long long)v->dim[n] - 1);
        flat += x * v->stride[n];
    }
    if (flat < 0 || flat >= v->room)
        return fail(r, i, BMC_E_INDEX, "element %lld of %%%s is outside its memory of %lld", (long long)flat, v->name,
                    (long long)v->room);
    *at = flat;
    return true;
}

static bool load(Run *r, const KInstRec *i)
{
    KView *v = &r->view[i->param];
    int64_t at;
    if (i->n_arg == (uint32_t)v->rank + 2 && !arg(r, i, (uint32_t)v->rank).i) {
        r->val[i->res] = arg(r, i, (uint32_t)v->rank + 1);
        return true;
    }
    if (!locate(r, i, v, &at) || !touch(r, i, v, at, false)) return false;
    r->val[i->res] = kscalar_load(v->elem, v->data, at);
    return true;
}

static bool store(Run *r, const KInstRec *i)
{
    KView *v = &r->view[i->param];
    int64_t at;
    if (i->n_arg == (uint32_t)v->rank + 2 && !arg(r, i, (uint32_t)v->rank + 1).i) return true;
    if (!locate(r, i, v, &at) || !touch(r, i, v, at, true)) return false;
    kscalar_store(v->elem, v->data, at, arg(r, i, (uint32_t)v->rank));
    return true;
}

/* ---- scalars ---- */
static bool pure(Run *r, const KInstRec *i)
{
    KScalar in[3] = {{.i = 0}}, *out = &r->val[i->res];
    DType t;
    switch (i->op) {
    case KOP_CONST:
        *out = (KScalar){.i = 0};
        if (dtype_is_float(i->type)) out->f = i->imm.f;
        else if (i->type != DT_STR) out->i = i->imm.i;
        return true;
    case KOP_DIM: return keval_dim(r->e, r->step->loc, i->imm.dim, &out->i);
    default: break;
    }
    for (uint32_t n = 0; n < i->n_arg; n++) in[n] = arg(r, i, n);
    t = kval(r->k, karg(r->k, i, i->op == KOP_SELECT ? 1 : 0))->type;
    if (i->op == KOP_CAST) *out = kscalar_cast(t, i->imm.dtype, in[0]);
    else if (i->op == KOP_BITCAST) *out = kscalar_bitcast(t, i->imm.dtype, in[0]);
    else if (!kscalar_op(i->op, t, in, out)) return fail(r, i, BMC_E_INDEX, "is not defined for these values");
    return true;
}

/* ---- regions ---- */
static bool block(Run *r, KBlock b);

static const KInstRec *yield_of(const Kernel *k, KBlock b) { return kinst(k, kblock(k, b)->last); }

static bool vec_loop(Run *r, const KInstRec *i, int64_t lo, int64_t hi)
{
    const Kernel *k = r->k;
    uint32_t p = kblock(k, i->body)->param;
    KScalar lane[K_LANES][16], pair[2];
    for (uint32_t n = 0; n < i->n_res; n++)
        for (int l = 0; l < K_LANES; l++)
            if (!kscalar_identity(i->combine[n], kval(k, (KVal){i->res + n})->type, &lane[l][n]))
                return fail(r, i, BMC_E_FAIL, "a carry does not combine");
    for (int64_t v = lo; v < hi; v++) {
        int l = (int)((v - lo) % K_LANES);
        r->val[p].i = v;
        for (uint32_t n = 0; n < i->n_res; n++) r->val[p + 1 + n] = lane[l][n];
        if (!block(r, i->body)) return false;
        for (uint32_t n = 0; n < i->n_res; n++) lane[l][n] = arg(r, yield_of(k, i->body), n);
    }
    for (uint32_t n = 0; n < i->n_res; n++) {
        DType t = kval(k, (KVal){i->res + n})->type;
        for (int step = K_LANES / 2; step; step /= 2)
            for (int l = 0; l < step; l++) {
                pair[0] = lane[l][n];
                pair[1] = lane[l + step][n];
                kscalar_op(i->combine[n], t, pair, &lane[l][n]);
            }
        pair[0] = lane[0][n];
        pair[1] = arg(r, i, 2 + n);
        kscalar_op(i->combine[n], t, pair, &r->val[i->res + n]);
    }
    return true;
}

static bool for_loop(Run *r, const KInstRec *i)
{
    const Kernel *k = r->k;
    uint32_t p = kblock(k, i->body)->param;
    int64_t lo = arg(r, i, 0).i, hi = arg(r, i, 1).i;
    int32_t outer = r->iter;
    KScalar next[16];
    if (i->loop == KLOOP_VEC) return vec_loop(r, i, lo, hi);
    for (uint32_t n = 0; n < i->n_res; n++) r->val[i->res + n] = arg(r, i, 2 + n);
    for (int64_t v = lo; v < hi; v++) {
        if (i->loop == KLOOP_PAR) r->iter = ++r->iters;
        r->val[p].i = v;
        for (uint32_t n = 0; n < i->n_res; n++) r->val[p + 1 + n] = r->val[i->res + n];
        if (!block(r, i->body)) return false;
        for (uint32_t n = 0; n < i->n_res; n++) next[n] = arg(r, yield_of(k, i->body), n);
        for (uint32_t n = 0; n < i->n_res; n++) r->val[i->res + n] = next[n];
    }
    r->iter = outer;
    return true;
}

typedef struct Addr {
    int64_t a, b;
    bool there;
} Addr;

static bool operand(Run *r, const KInstRec *i, uint32_t param, int64_t at, DType acc, KScalar *out)
{
    KView *v = &r->view[param];
    at += v->offset;
    if (at < 0 || at >= v->room)
        return fail(r, i, BMC_E_INDEX, "element %lld of %%%s is outside its memory of %lld", (long long)at, v->name,
                    (long long)v->room);
    if (!touch(r, i, v, at, false)) return false;
    *out = kscalar_cast(dtype_compute(v->elem), acc, kscalar_load(v->elem, v->data, at));
    return true;
}

/* Products of group n of a row and a column of quads are added up in *acc. a: where the row's elements begin; -1: the row is absent. b: the same of the column's strip. */
static bool quad(Run *r, const KInstRec *i, int64_t a, int64_t b, int64_t col, KScalar *acc)
{
    const KMacc *x = i->macc;
    bool whole = r->view[x->b].elem == DT_I32;
    for (int64_t j = 0; j < 4; j++) {
        KScalar va = {.i = 0}, vb;
        if (a >= 0 && !operand(r, i, x->a, a + j, DT_I32, &va)) return false;
        if (!operand(r, i, x->b, b + (whole ? col % K_LANES : 4 * (col % K_LANES) + j), DT_I32, &vb)) return false;
        if (whole) vb.i = (int8_t)((uint64_t)vb.i >> 8 * j);
        if (a >= 0 && r->view[x->a].elem == DT_I8) va.i += 128;
        acc->i = (int32_t)((uint64_t)acc->i + (uint64_t)(va.i * vb.i));
    }
    return true;
}

static bool macc(Run *r, const KInstRec *i)
{
    const Kernel *k = r->k;
    const KMacc *x = i->macc;
    int64_t rows = arg(r, i, KM_ROWS).i, cols = arg(r, i, KM_COLS).i, K = arg(r, i, KM_K).i, T = arg(r, i, KM_T).i;
    int64_t ak = arg(r, i, KM_AK).i, bk = arg(r, i, KM_BK).i, bstrip = arg(r, i, KM_BSTRIP).i,
            bsum = arg(r, i, KM_BSUM).i;
    uint32_t pa = kblock(k, x->addr)->param, pe = kblock(k, x->epi)->param;
    bool fused = !dtype_is_float(x->acc) || !*r->e->m->target.triple || r->e->m->target.fma;
    Addr *addr = arena_array(&r->e->launch, Addr, T > 0 ? T : 0);
    for (int64_t row = 0; row < rows; row++) {
        for (int64_t t = 0; t < T; t++) {
            r->val[pa].i = t;
            r->val[pa + 1].i = row;
            if (!block(r, x->addr)) return false;
            const KInstRec *y = yield_of(k, x->addr);
            addr[t] = (Addr){arg(r, y, 0).i, arg(r, y, 2).i, arg(r, y, 1).i != 0};
        }
        for (int64_t col = 0; col < cols; col++) {
            KScalar acc[KM_SUMS_MAX] = {{.i = 0}}, in[3];
            if (x->init.i) {
                uint32_t p = kblock(k, x->init)->param;
                r->val[p].i = row;
                r->val[p + 1].i = col;
                if (!block(r, x->init)) return false;
                for (uint32_t g = 0; g < x->sums; g++) acc[g] = arg(r, yield_of(k, x->init), g);
            }
            for (int64_t t = 0; t < T; t++)
                for (int64_t q = 0; q < K * x->sums; q++) {
                    int64_t n = q / x->sums, g = q % x->sums;
                    if (x->quads) {
                        if (!quad(r, i, addr[t].there ? addr[t].a + n * ak : -1, addr[t].b + col / K_LANES * bstrip + n * bk, col, &acc[0])) return false;
                        continue;
                    }
                    in[0] = (KScalar){.i = 0};
                    if (addr[t].there && !operand(r, i, x->a, addr[t].a + n * ak, x->acc, &in[0])) return false;
                    int64_t at = x->b_pairs ? n / 2 * 2 * bk + 2 * (col % K_LANES) + n % 2 : n * bk + col % K_LANES;
                    if (!operand(r, i, x->b, addr[t].b + col / K_LANES * bstrip + g * bsum + at, x->acc, &in[1]))
                        return false;
                    in[2] = acc[g];
                    if (!fused) {
                        kscalar_op(KOP_MUL, x->acc, in, &in[1]);
                        in[0] = in[2];
                    }
                    kscalar_op(fused ? KOP_FMA : KOP_ADD, x->acc, in, &acc[g]);
                }
            for (uint32_t g = 0; g < x->sums; g++) r->val[pe + g] = acc[g];
            r->val[pe + x->sums].i = row;
            r->val[pe + x->sums + 1].i = col;
            if (!block(r, x->epi)) return false;
        }
    }
    return true;
}

/* The lowest index, then the lowest bound. */
static void record(Run *r, const KInstRec *i, int64_t index, int64_t bound)
{
    if (r->recorded && (index > r->rec_index || (index == r->rec_index && bound >= r->rec_bound))) return;
    r->rec_index = index;
    r->rec_bound = bound;
    r->rec_msg = i->imm.i;
    r->recorded = true;
}

static bool block(Run *r, KBlock b)
{
    for (KInst at = kblock(r->k, b)->first; at.i; at = kinst(r->k, at)->next) {
        const KInstRec *i = kinst(r->k, at);
        bool ok = true;
        if (kop_info(i->op)->flags & KF_PURE) ok = pure(r, i);
        else switch (i->op) {
            case KOP_LOAD: ok = load(r, i); break;
            case KOP_STORE: ok = store(r, i); break;
            case KOP_FOR: ok = for_loop(r, i); break;
            case KOP_MACC: ok = macc(r, i); break;
            case KOP_YIELD: break;
            case KOP_RECORD:
                if (arg(r, i, 0).i) break;
                record(r, i, arg(r, i, 1).i, arg(r, i, 2).i);
                break;
            default: BUG("eval of %s", kop_info(i->op)->text);
            }
        if (!ok) return false;
    }
    return true;
}

/* ---- a launch ---- */
static bool local(Run *r, uint32_t p)
{
    const KBufRec *rec = &r->k->param.p[p];
    KView *v = &r->view[p];
    int64_t s = 1;
    *v = (KView){.name = name_str(r->e->m->names, rec->name), .elem = rec->elem, .rank = rec->rank};
    if (!keval_dense_count(r->e, r->step->loc, rec, &v->room, v->dim)) return false;
    for (int i = rec->rank - 1; i >= 0; i--) {
        v->stride[i] = s;
        s *= v->dim[i];
    }
    v->data = keval_alloc(&r->e->launch, dtype_bytes(rec->elem, v->room));
    return true;
}

/* Locals of a planned module lie in one block at their offsets, the thread's scratch or what the kernel asks for. */
static bool locals(Run *r)
{
    uint8_t *scratch = NULL;
    int64_t size = 0, off, bytes;
    if (r->e->m->planned) {
        if (!keval_dim(r->e, r->step->loc, r->k->room.i ? r->k->room : r->e->m->scratch_bytes, &size)) return false;
        scratch = keval_alloc(&r->e->launch, size);
    }
    for (uint32_t p = 1; p < r->k->param.n; p++) {
        const KBufRec *rec = &r->k->param.p[p];
        if (rec->space != KS_LOCAL) continue;
        if (!local(r, p)) return false;
        if (!r->e->m->planned) continue;
        if (!rec->offset.i || !keval_dim(r->e, r->step->loc, rec->offset, &off) ||
            !keval_dim(r->e, r->step->loc, rec->bytes, &bytes) || bytes < dtype_bytes(rec->elem, r->view[p].room) ||
            off < 0 || off + bytes > size)
            return keval_fail(r->e, BMC_E_INDEX, r->step->loc, "kernel @%s: local %%%s has no place in the plan",
                              name_str(r->e->m->names, r->k->name), r->view[p].name);
        r->view[p].data = scratch + off;
    }
    return true;
}

static void watch(Run *r, KBuf *root, uint32_t n)
{
    if (!r->k->parallel) return;
    for (uint32_t p = 1; p < n; p++) {
        KView *v = &r->view[p];
        if (!root[p].i || v->room > WATCH_MAX || v->room <= 0) continue;
        for (uint32_t q = 1; q < p && !v->writer; q++)
            if (root[q].i == root[p].i) v->writer = r->view[q].writer;
        if (!v->writer) v->writer = arena_array(&r->e->launch, int32_t, v->room);
    }
}

bool keval_kernel(KEval *e, const KStep *s)
{
    const Kernel *k = s->kernel;
    Run r = {.e = e, .k = k, .step = s};
    uint32_t a = 0;
    bool ok = true;
    arena_reset(&e->launch);
    r.view = arena_array(&e->launch, KView, k->param.n);
    r.val = arena_array(&e->launch, KScalar, k->val.n);
    KBuf *root = arena_array(&e->launch, KBuf, k->param.n);
    for (uint32_t p = 1; p < k->param.n && ok; p++) {
        int64_t want;
        const KBufRec *rec = &k->param.p[p];
        if (rec->space != KS_PARAM) continue;
        KBuf b = s->buf_arg[a++];
        ok = keval_view(e, s->loc, b, &r.view[p]);
        for (int i = 0; i < rec->rank && ok; i++)
            ok = keval_dim(e, s->loc, rec->dim[i], &want) &&
                 (want == r.view[p].dim[i] ||
                  keval_fail(e, BMC_E_SHAPE, s->loc, "kernel @%s: dim %d of %%%s is %lld, expected %lld",
                             name_str(e->m->names, k->name), i, r.view[p].name, (long long)r.view[p].dim[i],
                             (long long)want));
        int64_t dense = 1;
        bool empty = false; /* nothing is read, and a view's strides over nothing may be anything */
        for (int i = 0; i < rec->rank; i++) empty |= r.view[p].dim[i] == 0;
        for (int i = rec->rank - 1; i >= 0 && ok && !empty; i--) { /* code is made for the parameter's strides */
            want = dense;
            if (!rec->dense) ok = keval_dim(e, s->loc, rec->stride[i], &want);
            dense *= r.view[p].dim[i] > 0 ? r.view[p].dim[i] : 1;
            if (ok && r.view[p].dim[i] > 1 && r.view[p].stride[i] != want)
                ok = keval_fail(e, BMC_E_SHAPE, s->loc, "kernel @%s: stride %d of %%%s is %lld, expected %lld",
                                name_str(e->m->names, k->name), i, r.view[p].name, (long long)r.view[p].stride[i],
                                (long long)want);
        }
        root[p] = kbuf_root(e->m, b);
    }
    if (!ok || !locals(&r)) return false;
    watch(&r, root, k->param.n);
    if (!block(&r, k->top)) return false;
    if (!r.recorded) return true;
    char text[256];
    rt_message_text(text, sizeof text, BMC_E_INDEX, e->m->message.p[r.rec_msg], r.rec_index, r.rec_bound);
    return keval_fail(e, BMC_E_INDEX, s->loc, "%s", text);
}
