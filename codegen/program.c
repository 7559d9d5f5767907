/* program.c: the program as three functions of the runtime's contract (runtime/rt.h):
 *   plan(sym, need)       derived entry symbols, checks among them, bytes of arena and scratch; sizes that overflow
 *                         become INT64_MAX
 *   out_dims(sym, i, dim) dims of output i
 *   body(ctx, tid, nt)    what every thread walks: launches, calls, barriers, control flow
 * Steps that only thread 0 may do (serial kernels, box memory, symbols read from buffers) stand behind tid == 0; the
 * barriers around them are steps of the program. A WHILE carries its own barriers: nobody may still read the old
 * carries when thread 0 writes the new ones.
 * Step numbers are given in program order to steps that can fail, so that the lowest number is the first error. */
#include "codegen/cg.h"
#include "ir/kernel/cycles.h"
#include "runtime/rt.h"

#include <string.h>

/* Both supported targets are little-endian LP64 like every host: the runtime's own headers give the layout. */
_Static_assert(sizeof(void *) == 8 && sizeof(size_t) == 8, "offsets are taken from this machine's headers");
#define CTX(field) ((int64_t)offsetof(struct bmc_ctx, field))
#define ARG(field) ((int64_t)offsetof(rt_arg, field))
#define NEED(field) ((int64_t)offsetof(rt_need, field))
#define SIZE_WRAPS "a size computed while running does not fit into 64 bits"
#define SIZE_LIMIT "a size computed while running is {got}, the limit is {want}"
enum { ARG_BYTES = sizeof(rt_arg), NO_MESSAGE = -1, BRANCH_MAX = 64 /* steps */ };

/* A function under construction that can address the context. */
typedef struct Pf {
    Cg *g;
    LV fn, ctx, tid, nt, sym, slot, arena, weights, first; /* first: tid == 0 */
    bool rare; /* steps that compute sizes are data (rare.c) */
    LLVMBasicBlockRef leave;
    LV status; /* phi of `leave` */
} Pf;

/* ---- messages, steps, slots ---- */
uint32_t program_message(Cg *g, const char *text)
{
    for (uint32_t i = 1; i < g->message.n; i++)
        if (!strcmp(g->message.p[i], text)) return i;
    vec_push(&g->arena, &g->message, text);
    return g->message.n - 1;
}

const char *program_loc_text(Cg *g, KLoc loc)
{
    if (!loc.i) return "";
    const KLocRec *r = &g->m->loc.p[loc.i];
    const char *name = name_str(g->m->names, r->node_name), *op = name_str(g->m->names, r->op);
    if (*name) return arena_printf(&g->arena, "node '%s' (%s)", name, op);
    return r->node >= 0 ? arena_printf(&g->arena, "node %d (%s)", (int)r->node, op) : op;
}

static uint32_t step_of(Cg *g, KLoc loc)
{
    vec_push(&g->arena, &g->step, loc);
    return g->step.n - 1;
}

static LV step_number(Cg *g, KLoc loc) { return cg_i32(g, step_of(g, loc)); }

void program_slots(Cg *g)
{
    g->slot = arena_array(&g->arena, uint32_t, g->m->buf.n + 1);
    for (uint32_t b = 1; b < g->m->buf.n; b++) {
        KSpace s = g->m->buf.p[b].space;
        if (s == KS_IN || s == KS_OUT || s == KS_BOX || s == KS_SEQ) g->slot[b] = g->n_slot++;
    }
}

static bool has_slot(const Cg *g, KBuf b)
{
    KSpace s = kbuf(g->m, b)->space;
    return s == KS_IN || s == KS_OUT || s == KS_BOX || s == KS_SEQ;
}

/* ---- addresses ---- */
static LV dim_of(Pf *p, Dim d) { return cg_dim_at(p->g, p->sym, d); }

static LV buffer_address(Pf *p, KBuf b)
{
    Cg *g = p->g;
    const KBufRec *r = kbuf(g->m, b);
    switch (r->space) {
    case KS_IN:
    case KS_OUT:
    case KS_BOX:
    case KS_SEQ: return cg_load(g, g->ptr, cg_ptr_add(g, p->slot, cg_i64(g, 8 * (int64_t)g->slot[b.i])), 8);
    case KS_CONST:
        if (r->elem == DT_STR) return cg_ptr_add(g, g->strings, cg_i64(g, data_string_off(g, r->blob)));
        return cg_ptr_add(g, p->weights, cg_i64(g, r->weight_off));
    case KS_ARENA:
        if (!r->offset.i) BUG("buffer '%s' was not planned", name_str(g->m->names, r->name));
        return cg_ptr_add(g, p->arena, dim_of(p, r->offset));
    case KS_VIEW: {
        LV base = buffer_address(p, r->base);
        if (!r->offset.i) return base;
        int64_t bytes = dtype_bytes(r->elem, 1);
        return cg_ptr_add(g, base,
                          LLVMBuildMul(g->b, dim_of(p, r->offset), cg_i64(g, r->elem == DT_STR ? 16 : bytes), ""));
    }
    default: BUG("buffer '%s' has no address", name_str(g->m->names, r->name));
    }
}

static void open_function(Cg *g, Pf *p, const char *name, bool loads)
{
    LV fn = cg_fn(g, name, g->i32, (LT[]){g->ptr, g->i32, g->i32}, 3, true);
    *p = (Pf){.g = g, .fn = fn, .ctx = LLVMGetParam(fn, 0), .tid = LLVMGetParam(fn, 1), .nt = LLVMGetParam(fn, 2)};
    LLVMPositionBuilderAtEnd(g->b, cg_block(g, fn, "entry"));
    debug_function(g, fn, NULL, (KLoc){0});
    p->sym = cg_load(g, g->ptr, cg_ptr_add(g, p->ctx, cg_i64(g, CTX(sym))), 8);
    p->slot = cg_load(g, g->ptr, cg_ptr_add(g, p->ctx, cg_i64(g, CTX(slot))), 8);
    if (!loads) return;
    p->arena = cg_load(g, g->ptr, cg_ptr_add(g, p->ctx, cg_i64(g, CTX(arena))), 8);
    p->weights = cg_load(g, g->ptr, cg_ptr_add(g, p->ctx, cg_i64(g, CTX(weights))), 8);
    p->first = LLVMBuildICmp(g->b, LLVMIntEQ, p->tid, cg_i32(g, 0), "");
}

static LV no_inline(Cg *g, LV fn)
{
    unsigned kind = LLVMGetEnumAttributeKindForName("noinline", 8);
    LLVMAddAttributeAtIndex(fn, LLVMAttributeFunctionIndex, LLVMCreateEnumAttribute(g->cx, kind, 0));
    return fn;
}

/* A function of steps: 0, or the status with which everybody leaves. */
static void open_steps(Cg *g, Pf *p, const char *name)
{
    open_function(g, p, name, true);
    LLVMBasicBlockRef here = cg_here(g);
    p->leave = cg_block(g, p->fn, "leave");
    LLVMPositionBuilderAtEnd(g->b, p->leave);
    p->status = LLVMBuildPhi(g->b, g->i32, "");
    LLVMBuildRet(g->b, p->status);
    LLVMPositionBuilderAtEnd(g->b, here);
}

static void close_steps(Pf *p)
{
    LV zero = cg_i32(p->g, 0);
    LLVMBasicBlockRef from = cg_here(p->g);
    LLVMBuildBr(p->g->b, p->leave);
    LLVMAddIncoming(p->status, &zero, &from, 1);
}

/* ---- pieces of the body ---- */
static LLVMBasicBlockRef begin_if(Pf *p, LV cond, LLVMBasicBlockRef *done)
{
    Cg *g = p->g;
    LLVMBasicBlockRef yes = cg_block(g, p->fn, "if");
    *done = cg_block(g, p->fn, "endif");
    LLVMBuildCondBr(g->b, cond, yes, *done);
    LLVMPositionBuilderAtEnd(g->b, yes);
    return yes;
}

static void end_if(Pf *p, LLVMBasicBlockRef done)
{
    LLVMBuildBr(p->g->b, done);
    LLVMPositionBuilderAtEnd(p->g->b, done);
}

/* Thread 0, as long as nothing went wrong on it: what follows a failed allocation would meet no memory. Everybody leaves
 * at the next barrier. */
static LV well_on_first(Pf *p)
{
    Cg *g = p->g;
    if (!g->may_fail) return p->first;
    LV thread = cg_load(g, g->ptr, cg_ptr_add(g, p->ctx, cg_i64(g, CTX(thread))), 8);
    LV step = cg_load(g, g->i64, cg_ptr_add(g, thread, cg_i64(g, (int64_t)offsetof(rt_thread, err_step))), 8);
    return LLVMBuildAnd(g->b, p->first, LLVMBuildICmp(g->b, LLVMIntEQ, step, cg_i64(g, 0), ""), "");
}

static LV barrier_call(Pf *p)
{
    Cg *g = p->g;
    LV fn = cg_extern(g, "rt_barrier", g->i32, (LT[]){g->ptr, g->i32, g->i32}, 3);
    return cg_call(g, fn, (LV[]){p->ctx, p->tid, p->nt}, 3, "");
}

static void go_on_if_well(Pf *p, LV status)
{
    Cg *g = p->g;
    LLVMBasicBlockRef from = cg_here(g), next = cg_block(g, p->fn, "go");
    LLVMBuildCondBr(g->b, LLVMBuildICmp(g->b, LLVMIntEQ, status, cg_i32(g, 0), ""), next, p->leave);
    LLVMAddIncoming(p->status, &status, &from, 1);
    LLVMPositionBuilderAtEnd(g->b, next);
}

static void barrier(Pf *p) { go_on_if_well(p, barrier_call(p)); }

/* Records and leaves: the condition that led here is the same on all threads. */
static void fail(Pf *p, KLoc loc, const char *msg, bmc_status status, LV got, LV want)
{
    Cg *g = p->g;
    LV fn = cg_extern(g, "rt_stop", g->i32, (LT[]){g->ptr, g->i32, g->i32, g->i32, g->i32, g->i32, g->i64, g->i64}, 8);
    LV s = cg_call(g, fn, (LV[]){p->ctx, p->tid, p->nt, step_number(g, loc), cg_i32(g, program_message(g, msg)), cg_i32(g, status), got, want}, 8, "");
    LLVMBasicBlockRef from = cg_here(g);
    LLVMBuildBr(g->b, p->leave);
    LLVMAddIncoming(p->status, &s, &from, 1);
}

/* Notes a status with what the runtime said about it; the run ends at the next barrier. */
static void fail_here(Pf *p, LV step, int64_t msg, LV status)
{
    Cg *g = p->g;
    LV rec = cg_extern(g, "rt_fail", g->vd, (LT[]){g->ptr, g->i32, g->i32, g->i32, g->i32, g->i64, g->i64}, 7);
    cg_call(g, rec, (LV[]){p->ctx, p->tid, step, cg_i32(g, msg), status, cg_i64(g, 0), cg_i64(g, 0)}, 7, "");
}

static void bad_if(Pf *p, LV bad, KLoc loc, const char *msg, LV got, LV want)
{
    Cg *g = p->g;
    LLVMBasicBlockRef wrong = cg_block(g, p->fn, "bad"), go = cg_block(g, p->fn, "good");
    LLVMBuildCondBr(g->b, bad, wrong, go);
    LLVMPositionBuilderAtEnd(g->b, wrong);
    fail(p, loc, msg, BMC_E_SHAPE, got, want);
    LLVMPositionBuilderAtEnd(g->b, go);
}

static LV relation(Cg *g, KRel rel, LV a, LV b)
{
    if (rel == KREL_BCAST) {
        LV one = cg_i64(g, 1), either = LLVMBuildOr(g->b, LLVMBuildICmp(g->b, LLVMIntEQ, a, one, ""),
                                                    LLVMBuildICmp(g->b, LLVMIntEQ, b, one, ""), "");
        return LLVMBuildOr(g->b, either, LLVMBuildICmp(g->b, LLVMIntEQ, a, b, ""), "");
    }
    static const LLVMIntPredicate predicate[] = {
        [KREL_EQ] = LLVMIntEQ, [KREL_NE] = LLVMIntNE, [KREL_LE] = LLVMIntSLE, [KREL_LT] = LLVMIntSLT};
    return LLVMBuildICmp(g->b, predicate[rel], a, b, "");
}

static LV sym_address(Pf *p, Sym s) { return cg_ptr_add(p->g, p->sym, cg_i64(p->g, 8 * (int64_t)s.i)); }

/* ---- sizes that data decide ---- */
static LV checked(Cg *g, const char *name, LV a, LV b, LV *overflow)
{
    LV r = cg_intrinsic(g, name, g->i64, (LV[]){a, b}, 2);
    LV o = LLVMBuildExtractValue(g->b, r, 1, "");
    *overflow = *overflow ? LLVMBuildOr(g->b, *overflow, o, "") : o;
    return LLVMBuildExtractValue(g->b, r, 0, "");
}

/* The value of d; *overflow becomes true (NULL: cannot) when it leaves 64 bits. */
static LV checked_dim(Cg *g, LV sym, Dim d, LV *overflow)
{
    const DimRec *r = &g->m->dims->rec.p[d.i];
    if (r->kind == DIM_ADD || r->kind == DIM_MUL) {
        LV a = checked_dim(g, sym, r->a, overflow), b = checked_dim(g, sym, r->b, overflow);
        return checked(g, r->kind == DIM_ADD ? "llvm.sadd.with.overflow" : "llvm.smul.with.overflow", a, b, overflow);
    }
    /* the others shrink; what they hold is checked when it is a sum or product of its own */
    if (r->kind != DIM_CONST && r->kind != DIM_SYM) {
        checked_dim(g, sym, r->a, overflow);
        checked_dim(g, sym, r->b, overflow);
    }
    return cg_dim_raw(g, sym, d);
}

/* v inside the bounds of the symbol, which dims were simplified under; NULL: it cannot be outside. `d`: how it was
 * computed (0: from data). *bound: the one that it misses. */
static LV in_bounds(Pf *p, Sym sym, Dim d, LV v, LV *bound)
{
    Cg *g = p->g;
    const SymRec *s = &g->m->dims->sym.p[sym.i];
    int64_t lo = INT64_MIN, hi = INT64_MAX;
    LV ok = NULL;
    if (d.i) dim_bounds(g->m->dims, dim_resolve(g->m->dims, d), &lo, &hi);
    *bound = cg_i64(g, s->lo);
    if (lo < s->lo) ok = LLVMBuildICmp(g->b, LLVMIntSGE, v, cg_i64(g, s->lo), "");
    if (hi <= s->hi) return ok;
    LV below = LLVMBuildICmp(g->b, LLVMIntSLE, v, cg_i64(g, s->hi), "");
    *bound = ok ? LLVMBuildSelect(g->b, ok, cg_i64(g, s->hi), *bound, "") : cg_i64(g, s->hi);
    return ok ? LLVMBuildAnd(g->b, ok, below, "") : below;
}

/* A step whose code would be more than a call: it is data, and fn of the runtime does it. false: it is too large for that. */
static bool done_by_call(Pf *p, const char *fn, const rt_step *head, Dim a, Dim b)
{
    Cg *g = p->g;
    LV record = p->rare ? rare_step(g, head, a, b) : NULL;
    if (!record) return false;
    LV f = cg_extern(g, fn, g->i32, (LT[]){g->ptr, g->i32, g->i32, g->ptr}, 4);
    go_on_if_well(p, cg_call(g, f, (LV[]){p->ctx, p->tid, p->nt, record}, 4, ""));
    return true;
}

/* sym = d: every thread stores the same value, nobody reads another one until a barrier has passed. The run ends when that leaves 64 bits or the symbol's bounds. */
static void bind_symbol(Pf *p, const KStep *s)
{
    Cg *g = p->g;
    const SymRec *r = &g->m->dims->sym.p[s->sym.i];
    Dim d = dim_resolve(g->m->dims, s->a);
    if (p->rare) {
        rt_step head = {.step = step_of(g, s->loc), .msg = program_message(g, SIZE_LIMIT), .msg_over = program_message(g, SIZE_WRAPS),
                        .sym = s->sym.i, .lo = r->lo, .hi = r->hi};
        if (done_by_call(p, "rt_bind", &head, d, DIM_NONE)) return;
    }
    LV over = NULL, bound, v = checked_dim(g, p->sym, d, &over);
    LV ok = in_bounds(p, s->sym, s->a, v, &bound);
    if (over) bad_if(p, over, s->loc, SIZE_WRAPS, v, v);
    if (ok) bad_if(p, LLVMBuildNot(g->b, ok, ""), s->loc, SIZE_LIMIT, v, bound);
    LLVMSetOrdering(cg_store(g, v, sym_address(p, s->sym), 8), LLVMAtomicOrderingMonotonic);
}

/* Bytes of the buffer; -1: a dim is negative, or more than 64 bits can say. */
static LV bytes_of(Pf *p, const KBufRec *r)
{
    Cg *g = p->g;
    LV n = cg_i64(g, 1), over = NULL;
    for (int a = 0; a < r->rank; a++) {
        LV d = checked_dim(g, p->sym, dim_resolve(g->m->dims, r->dim[a]), &over);
        int64_t lo, hi;
        dim_bounds(g->m->dims, dim_resolve(g->m->dims, r->dim[a]), &lo, &hi);
        if (lo < 0) {
            LV negative = LLVMBuildICmp(g->b, LLVMIntSLT, d, cg_i64(g, 0), "");
            over = over ? LLVMBuildOr(g->b, over, negative, "") : negative;
        }
        n = a ? checked(g, "llvm.smul.with.overflow", n, d, &over) : d;
    }
    int64_t bits = r->elem == DT_STR ? 128 : dtype_info(r->elem)->bits;
    n = checked(g, "llvm.smul.with.overflow", n, cg_i64(g, bits), &over);
    n = checked(g, "llvm.sadd.with.overflow", n, cg_i64(g, 7), &over);
    return LLVMBuildSelect(g->b, over, cg_i64(g, -1), LLVMBuildAShr(g->b, n, cg_i64(g, 3), ""), "");
}

/* ---- launch, call ---- */
/* Room for the kernel's locals, on every thread; all meet where there is too little as yet. */
static void make_room(Pf *p, const KStep *s)
{
    Cg *g = p->g;
    LV over = NULL, bytes = checked_dim(g, p->sym, dim_resolve(g->m->dims, s->kernel->room), &over);
    if (over) bytes = LLVMBuildSelect(g->b, over, cg_i64(g, -1), bytes, "");
    LV fn = cg_extern(g, "rt_room", g->i32, (LT[]){g->ptr, g->i32, g->i32, g->i64, g->i32}, 5);
    go_on_if_well(p, cg_call(g, fn, (LV[]){p->ctx, p->tid, p->nt, bytes, step_number(g, s->loc)}, 5, ""));
}

static void launch(Pf *p, const KStep *s)
{
    Cg *g = p->g;
    const Kernel *k = s->kernel;
    uint64_t found;
    if (k->room.i) make_room(p, s);
    if (!map_get(&g->kernel_fn, (uint64_t)(uintptr_t)k, &found))
        BUG("kernel %s was not emitted", name_str(g->m->names, k->name));
    LV fn = (LV)(uintptr_t)found;
    LLVMBasicBlockRef done = NULL;
    if (!kstep_shared(s)) begin_if(p, well_on_first(p), &done);
    LV *arg = arena_array(&g->arena, LV, s->n_buf_arg + 4);
    uint32_t n = 0;
    arg[n++] = p->ctx;
    arg[n++] = done ? cg_i32(g, 0) : p->tid;
    arg[n++] = done ? cg_i32(g, 1) : p->nt;
    arg[n++] = step_number(g, s->loc);
    for (uint32_t i = 0; i < s->n_buf_arg; i++) arg[n++] = buffer_address(p, s->buf_arg[i]);
    assert(n == LLVMCountParams(fn));
    cg_call(g, fn, arg, n, "");
    if (done) end_if(p, done);
}

static void store_at(Cg *g, LV base, int64_t off, LV v, unsigned align)
{
    cg_store(g, v, cg_ptr_add(g, base, cg_i64(g, off)), align);
}

static void argument(Pf *p, LV at, const KArg *a)
{
    Cg *g = p->g;
    int kind = 0;
    switch (a->kind) {
    case KA_BUF: {
        const KBufRec *r = kbuf(g->m, a->buf);
        kind = r->space == KS_SEQ ? RT_SEQ : RT_BUF;
        bool slot = r->space == KS_SEQ || r->space == KS_BOX;
        store_at(g, at, ARG(value), cg_i64(g, slot ? (int64_t)g->slot[a->buf.i] : -1), 8);
        if (r->space == KS_SEQ) break;
        store_at(g, at, ARG(dtype), LLVMConstInt(g->i8, r->elem, false), 1);
        store_at(g, at, ARG(rank), LLVMConstInt(g->i8, r->rank, false), 1);
        store_at(g, at, ARG(data), buffer_address(p, a->buf), 8);
        for (int d = 0; d < r->rank; d++) store_at(g, at, ARG(dim) + 8 * d, dim_of(p, r->dim[d]), 8);
        break;
    }
    case KA_DIM:
        kind = RT_DIM;
        store_at(g, at, ARG(value), dim_of(p, a->dim), 8);
        break;
    case KA_SYM:
        kind = RT_SYM;
        store_at(g, at, ARG(sym), sym_address(p, a->sym), 8);
        break;
    case KA_INT:
        kind = RT_INT;
        store_at(g, at, ARG(value), cg_i64(g, a->i), 8);
        break;
    case KA_STR:
        kind = RT_TEXT;
        store_at(g, at, ARG(text), cg_text(g, a->str), 8);
        break;
    }
    store_at(g, at, ARG(kind), cg_i32(g, kind), 4);
}

/* One function per call, so that argument arrays do not add up in one frame. */
static LV call_function(Cg *g, const KStep *s, uint32_t number)
{
    LLVMBasicBlockRef from = cg_here(g);
    Pf f;
    open_function(g, &f, arena_printf(&g->arena, "call%u_%s", number, s->call->name), true);
    no_inline(g, f.fn);
    LV array = LLVMBuildAlloca(g->b, LLVMArrayType2(g->i8, (uint64_t)ARG_BYTES * (s->n_arg ? s->n_arg : 1)), "");
    LLVMSetAlignment(array, 8);
    LLVMBuildMemSet(g->b, array, LLVMConstInt(g->i8, 0, false), cg_i64(g, (int64_t)ARG_BYTES * s->n_arg), 8);
    for (uint32_t i = 0; i < s->n_arg; i++)
        argument(&f, cg_ptr_add(g, array, cg_i64(g, (int64_t)ARG_BYTES * i)), &s->arg[i]);
    LV fn = cg_extern(g, s->call->name, g->i32, (LT[]){g->ptr, g->ptr, g->i32, g->i32, g->i32}, 5);
    LLVMBuildRet(g->b, cg_call(g, fn, (LV[]){f.ctx, array, cg_i32(g, s->n_arg), f.tid, f.nt}, 5, ""));
    LLVMPositionBuilderAtEnd(g->b, from);
    return f.fn;
}

static void call(Pf *p, const KStep *s)
{
    Cg *g = p->g;
    LV number = step_number(g, s->loc), given = p->rare ? rare_call(g, s, g->step.n - 1) : NULL;
    if (given) {
        LV by = cg_extern(g, "rt_call_given", g->vd, (LT[]){g->ptr, g->i32, g->i32, g->ptr, g->ptr}, 5);
        LV fn = cg_extern(g, s->call->name, g->i32, (LT[]){g->ptr, g->ptr, g->i32, g->i32, g->i32}, 5);
        cg_call(g, by, (LV[]){p->ctx, p->tid, p->nt, fn, given}, 5, "");
        return;
    }
    LV fn = call_function(g, s, g->step.n - 1);
    debug_function(g, p->fn, NULL, (KLoc){0});
    LLVMBasicBlockRef done = NULL, good;
    if (!s->call->team) begin_if(p, well_on_first(p), &done);
    LV status = cg_call(g, fn, (LV[]){p->ctx, p->tid, p->nt}, 3, "");
    begin_if(p, LLVMBuildICmp(g->b, LLVMIntNE, status, cg_i32(g, 0), ""), &good);
    fail_here(p, number, NO_MESSAGE, status);
    end_if(p, good);
    if (done) end_if(p, done);
}

/* sym = element a of an integer or bool buffer, by thread 0. */
static void load_symbol(Pf *p, const KStep *s)
{
    Cg *g = p->g;
    const KBufRec *r = kbuf(g->m, s->buf);
    const SymRec *y = &g->m->dims->sym.p[s->sym.i];
    LLVMBasicBlockRef done;
    if (p->rare) {
        int32_t bytes = (int32_t)dtype_bytes(r->elem, 1), sign = dtype_info(r->elem)->cls == DC_INT ? -1 : 1;
        rt_step head = {.step = step_of(g, s->loc), .msg = program_message(g, SIZE_LIMIT), .sym = s->sym.i, .lo = y->lo, .hi = y->hi,
                        .what = r->elem == DT_BOOL ? 0 : sign * bytes};
        LV record = rare_step(g, &head, s->a.i ? dim_resolve(g->m->dims, s->a) : dim_const(g->m->dims, 0), DIM_NONE);
        if (record) {
            LV by = cg_extern(g, "rt_load", g->vd, (LT[]){g->ptr, g->i32, g->ptr, g->ptr}, 4);
            cg_call(g, by, (LV[]){p->ctx, p->tid, record, buffer_address(p, s->buf)}, 4, "");
            return;
        }
    }
    begin_if(p, well_on_first(p), &done);
    LV at = s->a.i ? dim_of(p, s->a) : cg_i64(g, 0);
    LT mem = cg_mem_type(g, r->elem);
    LV v = cg_load(g, mem, LLVMBuildGEP2(g->b, mem, buffer_address(p, s->buf), &at, 1, ""),
                   (unsigned)dtype_bytes(r->elem, 1));
    if (r->elem == DT_BOOL)
        v = LLVMBuildZExt(g->b, LLVMBuildICmp(g->b, LLVMIntNE, v, LLVMConstInt(g->i8, 0, false), ""), g->i64, "");
    else if (mem != g->i64)
        v = dtype_info(r->elem)->cls == DC_INT ? LLVMBuildSExt(g->b, v, g->i64, "")
                                               : LLVMBuildZExt(g->b, v, g->i64, "");
    LV bound, ok = in_bounds(p, s->sym, DIM_NONE, v, &bound);
    if (ok) { /* kept inside, so that serial steps up to the next barrier meet nothing worse */
        LLVMBasicBlockRef good;
        LV rec = cg_extern(g, "rt_fail", g->vd, (LT[]){g->ptr, g->i32, g->i32, g->i32, g->i32, g->i64, g->i64}, 7);
        LV number = step_number(g, s->loc);
        begin_if(p, LLVMBuildNot(g->b, ok, ""), &good);
        cg_call(g, rec, (LV[]){p->ctx, p->tid, number, cg_i32(g, program_message(g, SIZE_LIMIT)), cg_i32(g, BMC_E_SHAPE), v, bound}, 7, "");
        end_if(p, good);
        v = LLVMBuildSelect(g->b, ok, v, bound, "");
    }
    cg_store(g, v, sym_address(p, s->sym), 8);
    end_if(p, done);
}

/* ---- steps ---- */
static void steps(Pf *p, const KSteps *list, bool top);

static void while_step(Pf *p, const KStep *s)
{
    Cg *g = p->g;
    LV *v = arena_array(&g->arena, LV, s->n_carry + 1);
    LLVMBasicBlockRef done;
    if (!s->prev || s->prev->kind != KST_BARRIER) barrier(p);
    begin_if(p, p->first, &done);
    for (uint32_t c = 0; c < s->n_carry; c++) v[c] = dim_of(p, s->init[c]);
    for (uint32_t c = 0; c < s->n_carry; c++) cg_store(g, v[c], sym_address(p, s->carry[c]), 8);
    end_if(p, done);
    LLVMBasicBlockRef head = cg_block(g, p->fn, "while"), body = cg_block(g, p->fn, "do"),
                      out = cg_block(g, p->fn, "done");
    LLVMBuildBr(g->b, head);
    LLVMPositionBuilderAtEnd(g->b, head);
    barrier(p);
    LLVMBuildCondBr(g->b, LLVMBuildICmp(g->b, LLVMIntNE, dim_of(p, s->a), cg_i64(g, 0), ""), body, out);
    LLVMPositionBuilderAtEnd(g->b, body);
    steps(p, s->body, false);
    if (!s->body->last || s->body->last->kind != KST_BARRIER) barrier(p);
    begin_if(p, p->first, &done);
    for (uint32_t c = 0; c < s->n_carry; c++) v[c] = dim_of(p, s->next_val[c]);
    for (uint32_t c = 0; c < s->n_carry; c++) cg_store(g, v[c], sym_address(p, s->carry[c]), 8);
    end_if(p, done);
    LLVMBuildBr(g->b, head);
    LLVMPositionBuilderAtEnd(g->b, out);
}

static void count_step(void *arg, KStep *s)
{
    (void)s;
    ++*(int *)arg;
}

/* A long branch is a function of its own: LLVM's time grows faster than a function, and a model of unknown ranks is a chain
 * of branches each of which holds the rest. */
static void branch(Pf *p, const KSteps *list)
{
    Cg *g = p->g;
    int n = 0;
    if (!list) return;
    kstep_each(list, count_step, &n);
    if (n <= BRANCH_MAX) {
        steps(p, list, false);
        return;
    }
    LLVMBasicBlockRef from = cg_here(g);
    Pf own;
    open_steps(g, &own, "branch");
    own.rare = true;
    steps(&own, list, false);
    close_steps(&own);
    LLVMPositionBuilderAtEnd(g->b, from);
    debug_function(g, p->fn, NULL, (KLoc){0});
    go_on_if_well(p, cg_call(g, no_inline(g, own.fn), (LV[]){p->ctx, p->tid, p->nt}, 3, ""));
}

static void if_step(Pf *p, const KStep *s)
{
    Cg *g = p->g;
    LLVMBasicBlockRef yes = cg_block(g, p->fn, "then"), no = cg_block(g, p->fn, "else"),
                      done = cg_block(g, p->fn, "endif");
    LLVMBuildCondBr(g->b, LLVMBuildICmp(g->b, LLVMIntNE, dim_of(p, s->a), cg_i64(g, 0), ""), yes, no);
    LLVMPositionBuilderAtEnd(g->b, yes);
    branch(p, s->body);
    LLVMBuildBr(g->b, done);
    LLVMPositionBuilderAtEnd(g->b, no);
    branch(p, s->other);
    LLVMBuildBr(g->b, done);
    LLVMPositionBuilderAtEnd(g->b, done);
}

static bool entry_only(const Cg *g, Dim d) { return !dim_has_kind(g->m->dims, d, SYM_NODE); }

/* The step is done once and for all by plan(). */
static bool planned_step(const Cg *g, const KStep *s)
{
    if (s->kind == KST_BIND) return g->m->dims->sym.p[s->sym.i].kind == SYM_ENTRY && entry_only(g, s->a);
    return s->kind == KST_CHECK && entry_only(g, s->a) && entry_only(g, s->b);
}

static void step(Pf *p, const KStep *s, bool top)
{
    Cg *g = p->g;
    LLVMBasicBlockRef done, good;
    if (top && planned_step(g, s)) return;
    switch (s->kind) {
    case KST_BIND: bind_symbol(p, s); break;
    case KST_LOAD: load_symbol(p, s); break;
    case KST_CHECK: {
        static const uint8_t relations[] = {[KREL_EQ] = RT_EQ, [KREL_NE] = RT_NE, [KREL_LE] = RT_LE, [KREL_LT] = RT_LT, [KREL_BCAST] = RT_EITHER_ONE};
        const char *msg = s->msg ? s->msg : "shapes do not fit";
        if (p->rare) {
            rt_step head = {.step = step_of(g, s->loc), .msg = program_message(g, msg), .what = relations[s->rel]};
            if (done_by_call(p, "rt_check", &head, s->a, s->b)) break;
        }
        LV over = NULL, a = checked_dim(g, p->sym, s->a, &over),
           b = checked_dim(g, p->sym, s->b, &over); /* equalities that were assumed are what is checked here */
        LV bad = LLVMBuildNot(g->b, relation(g, s->rel, a, b), "");
        bad_if(p, over ? LLVMBuildOr(g->b, bad, over, "") : bad, s->loc, msg, a, b);
        break;
    }
    case KST_ALLOC: {
        LV number = step_number(g, s->loc), record = p->rare ? rare_alloc(g, s->buf, g->step.n - 1) : NULL;
        if (record) {
            cg_call(g, cg_extern(g, "rt_alloc", g->vd, (LT[]){g->ptr, g->i32, g->ptr}, 3), (LV[]){p->ctx, p->tid, record}, 3, "");
            break;
        }
        begin_if(p, p->first, &done);
        LV fn = cg_extern(g, "rt_box_alloc", g->i32, (LT[]){g->ptr, g->i32, g->i64, g->i32}, 4);
        LV got = cg_call(g, fn, (LV[]){p->ctx, cg_i32(g, g->slot[s->buf.i]), bytes_of(p, kbuf(g->m, s->buf)), cg_i32(g, 0)}, 4, "");
        begin_if(p, LLVMBuildICmp(g->b, LLVMIntEQ, got, cg_i32(g, 0), ""), &good);
        fail_here(p, number, NO_MESSAGE, cg_i32(g, BMC_E_MEMORY));
        end_if(p, good);
        end_if(p, done);
        break;
    }
    case KST_FREE:
        assert(has_slot(g, s->buf));
        begin_if(p, p->first, &done);
        cg_call(g, cg_extern(g, "rt_box_free", g->vd, (LT[]){g->ptr, g->i32}, 2),
                (LV[]){p->ctx, cg_i32(g, g->slot[s->buf.i])}, 2, "");
        end_if(p, done);
        break;
    case KST_MOVE:
        assert(has_slot(g, s->buf) && has_slot(g, s->src));
        begin_if(p, p->first, &done);
        cg_call(g, cg_extern(g, "rt_box_move", g->vd, (LT[]){g->ptr, g->i32, g->i32}, 3),
                (LV[]){p->ctx, cg_i32(g, g->slot[s->buf.i]), cg_i32(g, g->slot[s->src.i])}, 3, "");
        end_if(p, done);
        break;
    case KST_LAUNCH: launch(p, s); break;
    case KST_CALL: call(p, s); break;
    case KST_BARRIER: barrier(p); break;
    case KST_IF: if_step(p, s); break;
    case KST_WHILE: while_step(p, s); break;
    case KST_FAIL:
        fail(p, s->loc, s->msg ? s->msg : "a part that cannot be executed was reached", BMC_E_FAIL, cg_i64(g, 0),
             cg_i64(g, 0));
        LLVMPositionBuilderAtEnd(g->b, cg_block(g, p->fn, "never")); /* what follows is not reached */
        break;
    }
}

/* ---- profiling ---- */
static void number_tick(void *arg, KStep *s)
{
    Cg *g = arg;
    map_put(&g->tick, (uint64_t)(uintptr_t)s, (uint64_t)++g->n_tick);
}

static void tick(Pf *p, const char *fn, int64_t number)
{
    Cg *g = p->g;
    cg_call(g, cg_extern(g, fn, g->vd, (LT[]){g->ptr, g->i32, g->i32}, 3), (LV[]){p->ctx, p->tid, cg_i32(g, number)}, 3,
            "");
}

static void steps(Pf *p, const KSteps *list, bool top)
{
    for (const KStep *s = list->first; s; s = s->next) {
        uint64_t number;
        step(p, s, top);
        bool counts = s->kind == KST_LAUNCH || s->kind == KST_CALL || s->kind == KST_BARRIER;
        if (counts && map_get(&p->g->tick, (uint64_t)(uintptr_t)s, &number)) tick(p, "rt_tick", (int64_t)number);
    }
}

/* Steps of thread 0 that may fail: memory that is not there, calls, numbers out of bounds. */
static void find_failing(void *arg, KStep *s)
{
    *(bool *)arg |= s->kind == KST_ALLOC || s->kind == KST_CALL || s->kind == KST_LOAD;
}

LV program_body(Cg *g)
{
    Pf p;
    kstep_each(&g->m->program, find_failing, &g->may_fail);
    cg_current("the program of", g->m->prefix);
    open_steps(g, &p, "body");
    if (g->opt->profile) {
        kstep_each(&g->m->program, number_tick, g);
        tick(&p, "rt_tick_start", g->n_tick + 1);
    }
    steps(&p, &g->m->program, true);
    if (g->opt->profile) tick(&p, "rt_tick", 0);
    close_steps(&p); /* what threads recorded after the last barrier is seen by the runtime when all have come back */
    return p.fn;
}

/* ---- plan ---- */
static LV size_of(Cg *g, LV sym, Dim d)
{
    if (!d.i) return cg_i64(g, 0);
    LV over = NULL, v = checked_dim(g, sym, dim_resolve(g->m->dims, d), &over);
    return over ? LLVMBuildSelect(g->b, over, cg_i64(g, INT64_MAX), v, "") : v;
}

/* As many threads as have some ten microseconds of work each and half a one between two barriers: with less, waking and
 * waiting cost more than is gained. Whether so few are enough the runs show (rt_tune.c). */
#define CYCLES_START 40000  /* starting a team whose threads are awake, and waiting for its last one */
#define CYCLES_BARRIER 4000 /* meeting at a barrier, lines that change caches included */

/* A thread that finds its part of the constants in a cache of its own (rt_need.constants) is through with it in less than
 * half of the time that one thread takes, which brings them from behind it: with two threads 8 cycles of 10 are saved
 * instead of 5, so that many count for 5. */
#define NEAR_NUM 8
#define NEAR_DEN 5

static LV worth(Cg *g, LV cycles, int64_t each)
{
    LV n = LLVMBuildUDiv(g->b, cycles, cg_i64(g, each), ""), one = cg_i64(g, 1);
    return LLVMBuildSelect(g->b, LLVMBuildICmp(g->b, LLVMIntUGT, n, one, ""), n, one, "");
}

static void store_threads(Cg *g, LV sym, LV need)
{
    KCycles work = program_cycles(g->m);
    LV n = cg_i64(g, 0), near = n, cycles = n;
    if (work.sum.i && g->m->threads && entry_only(g, work.sum)) {
        int64_t each = work.barriers * CYCLES_BARRIER + CYCLES_START, unit = 64, times = (int64_t)(work.times * (double)unit);
        cycles = size_of(g, sym, work.sum);
        if (times > unit) {
            LV most = cg_i64(g, INT64_MAX / times);
            cycles = LLVMBuildUDiv(g->b, cycles, cg_i64(g, unit), "");
            cycles = LLVMBuildSelect(g->b, LLVMBuildICmp(g->b, LLVMIntULT, cycles, most, ""), cycles, most, "");
            cycles = LLVMBuildMul(g->b, cycles, cg_i64(g, times), "");
        }
        n = worth(g, cycles, each);
        near = worth(g, cycles, each * NEAR_DEN / NEAR_NUM);
    }
    store_at(g, need, NEED(threads), n, 8);
    store_at(g, need, NEED(threads_near), near, 8);
    store_at(g, need, NEED(constants), cg_i64(g, program_constants(g->m)), 8);
    store_at(g, need, NEED(work), cycles, 8);
}

LV program_plan(Cg *g)
{
    LV fn = cg_fn(g, "plan", g->vd, (LT[]){g->ptr, g->ptr}, 2, true), sym = LLVMGetParam(fn, 0),
       need = LLVMGetParam(fn, 1);
    LLVMPositionBuilderAtEnd(g->b, cg_block(g, fn, "entry"));
    debug_function(g, fn, NULL, (KLoc){0});
    store_at(g, need, NEED(failed_check), cg_i32(g, 0), 4);
    for (uint32_t s = 1; s < g->m->dims->sym.n; s++) { /* symbols that are only other names */
        const SymRec *r = &g->m->dims->sym.p[s];
        if (r->kind == SYM_ENTRY && r->input < 0 && r->same_as.i && entry_only(g, dim_resolve(g->m->dims, r->same_as)))
            store_at(g, sym, 8 * (int64_t)s, cg_dim_at(g, sym, dim_resolve(g->m->dims, r->same_as)), 8);
    }
    for (const KStep *s = g->m->program.first; s; s = s->next) {
        if (!planned_step(g, s)) continue;
        LV over = NULL, a = checked_dim(g, sym, s->a, &over);
        if (s->kind == KST_BIND) {
            store_at(g, sym, 8 * (int64_t)s->sym.i, over ? LLVMBuildSelect(g->b, over, cg_i64(g, INT64_MAX), a, "") : a,
                     8);
            continue;
        }
        LV b = checked_dim(g, sym, s->b, &over), ok = relation(g, s->rel, a, b);
        if (over) ok = LLVMBuildAnd(g->b, ok, LLVMBuildNot(g->b, over, ""), "");
        const char *where = program_loc_text(g, s->loc), *text = s->msg ? s->msg : "shapes do not fit";
        if (*where) text = arena_printf(&g->arena, "%s: %s", where, text);
        LLVMBasicBlockRef bad = cg_block(g, fn, "bad"), good = cg_block(g, fn, "good");
        LLVMBuildCondBr(g->b, ok, good, bad);
        LLVMPositionBuilderAtEnd(g->b, bad);
        store_at(g, need, NEED(failed_check), cg_i32(g, 1 + (int64_t)program_message(g, text)), 4);
        store_at(g, need, NEED(got), a, 8);
        store_at(g, need, NEED(want), b, 8);
        LLVMBuildRetVoid(g->b);
        LLVMPositionBuilderAtEnd(g->b, good);
    }
    store_at(g, need, NEED(arena), size_of(g, sym, g->m->arena_bytes), 8);
    store_at(g, need, NEED(scratch), size_of(g, sym, g->m->scratch_bytes), 8);
    store_threads(g, sym, need);
    LLVMBuildRetVoid(g->b);
    return fn;
}

LV program_out_dims(Cg *g)
{
    LV fn = cg_fn(g, "out_dims", g->vd, (LT[]){g->ptr, g->i32, g->ptr}, 3, true), sym = LLVMGetParam(fn, 0),
       dim = LLVMGetParam(fn, 2);
    LLVMBasicBlockRef entry = cg_block(g, fn, "entry"), end = cg_block(g, fn, "end");
    LLVMPositionBuilderAtEnd(g->b, end);
    debug_function(g, fn, NULL, (KLoc){0});
    LLVMBuildRetVoid(g->b);
    LLVMPositionBuilderAtEnd(g->b, entry);
    LV sw = LLVMBuildSwitch(g->b, LLVMGetParam(fn, 1), end, g->m->output.n);
    for (uint32_t o = 0; o < g->m->output.n; o++) {
        const KBufRec *r = kbuf(g->m, g->m->output.p[o].buf);
        if (r->space == KS_SEQ) continue;
        LLVMBasicBlockRef at = cg_block(g, fn, "out");
        LLVMAddCase(sw, cg_i32(g, o), at);
        LLVMPositionBuilderAtEnd(g->b, at);
        for (int a = 0; a < r->rank; a++) store_at(g, dim, 8 * a, cg_dim_at(g, sym, r->dim[a]), 8);
        Sym rank = g->m->output.p[o].rank;
        if (rank.i) store_at(g, dim, 8 * (BMC_MAX_RANK - 1), cg_dim_raw(g, sym, dim_sym(g->m->dims, rank)), 8);
        LLVMBuildBr(g->b, end);
    }
    return fn;
}

bool program_emit(Cg *g)
{
    program_slots(g);
    ahead_find(g);
    g->message.n = 0;
    for (uint32_t i = 0; i < g->m->message.n; i++)
        vec_push(&g->arena, &g->message, g->m->message.p[i] ? g->m->message.p[i] : "");
    if (!g->message.n) vec_push(&g->arena, &g->message, "");
    for (uint32_t k = 0; k < g->m->kernel.n; k++) nest_kernel(g, g->m->kernel.p[k]);
    LV body = program_body(g), plan = program_plan(g), out_dims = program_out_dims(g);
    return tables_emit(g, body, plan, out_dims);
}
