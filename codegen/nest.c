/* nest.c: a kernel's blocks and loops.
 *   SEQ a counted loop, carries are phis.
 *   PAR the outermost perfect nest is one loop over the product of its trip counts; thread tid runs [n*tid/nt,
 *       n*(tid+1)/nt), in a long launch piece by piece, and then pieces of what others have not begun (rt_share.c).
 *       The indices start from one division and then count like an odometer. PAR loops further inside run as SEQ.
 *   VEC steps of 16 lanes without a mask, then one masked step for the rest; without carries more or fewer lanes go at
 *       once where that suits the registers (lanes.c). A carry with a combine has one partial
 *       result per lane, starting from the identity; at the end lanes are combined l with l+8, +4, +2, +1 and the
 *       initial value comes last (kir.h), so bits do not depend on the ISA.
 * Pure instructions and loads from buffers that the kernel does not write are emitted in front of the outermost loop
 * that they do not depend on: LLVM's own loop passes are not run (they double the time and do nothing else for us). */
#include "codegen/cg.h"
#include "runtime/rt.h"

#include <string.h>

static bool block_inside(const Kernel *k, KBlock b, KBlock region)
{
    while (b.i && b.i != region.i) {
        KInst owner = kblock(k, b)->owner;
        if (!owner.i) return false;
        b = kinst(k, owner)->block;
    }
    return b.i != 0;
}

static void emit_pure(CgFn *f, KInst i);

/* ---- moving out of loops ---- */
static bool outside(CgFn *f, KVal v, KBlock region, KInst loop)
{
    const KValRec *r = kval(f->k, v);
    if (r->def.i && f->hoisted[r->def.i] == loop.i) return true;
    KBlock at = r->def.i ? kinst(f->k, r->def)->block : r->block;
    if (r->def.i && f->hoisted[r->def.i]) return true; /* in front of a loop further out */
    return !block_inside(f->k, at, region);
}

static void hoist_block(CgFn *f, KInst loop, KBlock region, KBlock block, bool loads)
{
    const Kernel *k = f->k;
    for (KInst i = kblock(k, block)->first; i.i; i = kinst(k, i)->next) {
        const KInstRec *in = kinst(k, i);
        uint32_t flags = kop_info(in->op)->flags;
        if (in->op == KOP_FOR) {
            hoist_block(f, loop, region, in->body,
                        false); /* an inner loop may run no time: its loads stay behind its guard */
            continue;
        }
        if (in->op == KOP_MACC) {
            hoist_block(f, loop, region, in->macc->addr, false);
            if (in->macc->init.i) hoist_block(f, loop, region, in->macc->init, false);
            hoist_block(f, loop, region, in->macc->epi, false);
            continue;
        }
        if (f->hoisted[i.i]) continue;
        bool load =
            loads && in->op == KOP_LOAD && !k->param.p[in->param].out && k->param.p[in->param].space == KS_PARAM;
        if (!(flags & KF_PURE) && !load) continue;
        bool free = true;
        for (uint32_t a = 0; a < in->n_arg && free; a++) free = outside(f, karg(k, in, a), region, loop);
        if (!free) continue;
        if (load) f->val[in->res] = access_load(f, in);
        else emit_pure(f, i);
        f->hoisted[i.i] = loop.i;
    }
}

/* Code for the loop is about to be emitted once more: what stands in front of the copy before does not count. */
static void hoist_forget(CgFn *f, KInst loop, KBlock block)
{
    for (KInst i = kblock(f->k, block)->first; i.i; i = kinst(f->k, i)->next) {
        const KInstRec *in = kinst(f->k, i);
        if (f->hoisted[i.i] == loop.i) f->hoisted[i.i] = 0;
        if (in->op == KOP_FOR) hoist_forget(f, loop, in->body);
        if (in->op != KOP_MACC) continue;
        hoist_forget(f, loop, in->macc->addr);
        if (in->macc->init.i) hoist_forget(f, loop, in->macc->init);
        hoist_forget(f, loop, in->macc->epi);
    }
}

void nest_hoist(CgFn *f, KInst loop, KBlock body, bool loads)
{
    hoist_forget(f, loop, body);
    hoist_block(f, loop, body, body, loads);
}

/* ---- instructions ---- */
/* a + ca*lane OP b + cb*lane is (ca-cb)*lane OP b-a: one comparison of 32-bit lanes instead of two or four of 64;
 * the difference saturates, which no multiple of a lane number reaches. */
static bool compare_linear(CgFn *f, KOp op, Cv a, Cv c, Cv *out)
{
    Cg *g = f->g;
    static const LLVMIntPredicate predicate[KOP_COUNT] = {
        [KOP_EQ] = LLVMIntEQ,  [KOP_NE] = LLVMIntNE,  [KOP_LT] = LLVMIntSLT,
        [KOP_LE] = LLVMIntSLE, [KOP_GT] = LLVMIntSGT, [KOP_GE] = LLVMIntSGE};
    int64_t coef = a.coef - c.coef;
    if (coef > 1 << 20 || coef < -(1 << 20)) return false;
    if (coef == 0) {
        *out = cv_uni(LLVMBuildICmp(g->b, predicate[op], a.v, c.v, ""));
        return true;
    }
    LV diff = cg_intrinsic(g, "llvm.ssub.sat", g->i64, (LV[]){c.v, a.v}, 2);
    diff = cg_intrinsic(g, "llvm.smin", g->i64, (LV[]){diff, cg_i64(g, INT32_MAX)}, 2);
    diff = cg_intrinsic(g, "llvm.smax", g->i64, (LV[]){diff, cg_i64(g, INT32_MIN)}, 2);
    LV lane[LANES_MAX];
    for (unsigned i = 0; i < g->lanes; i++) lane[i] = cg_i32(g, coef * i);
    LV v = LLVMBuildICmp(g->b, predicate[op], LLVMConstVector(lane, g->lanes),
                         cg_splat(g, LLVMBuildTrunc(g->b, diff, g->i32, "")), "");
    *out = (Cv){.v = v, .kind = CV_VEC};
    return true;
}

/* floor((a + c*lane) / d) and the remainder, for a constant d: the scalar part is divided once, r + c*lane < d + 16*c
 * fits in 32-bit lanes, where a division by a constant is a multiplication (64-bit lanes are divided one by one). */
static bool divide_linear(CgFn *f, KOp op, Cv a, Cv by, Cv *out)
{
    Cg *g = f->g;
    LLVMBuilderRef b = g->b;
    int64_t d;
    if (by.kind != CV_UNI || !cg_const(by.v, &d) || d < 3 || d > 1 << 24 || (d & (d - 1)) == 0) return false;
    if (a.coef < 1 || a.coef > 1 << 24) return false;
    LV zero = cg_i64(g, 0), k = cg_i64(g, d), q = LLVMBuildSDiv(b, a.v, k, "");
    LV r = LLVMBuildSub(b, a.v, LLVMBuildMul(b, q, k, ""), ""), neg = LLVMBuildICmp(b, LLVMIntSLT, r, zero, "");
    q = LLVMBuildSub(b, q, LLVMBuildZExt(b, neg, g->i64, ""), "");
    r = LLVMBuildAdd(b, r, LLVMBuildSelect(b, neg, k, zero, ""), "");
    LV lane[LANES_MAX];
    for (unsigned i = 0; i < g->lanes; i++) lane[i] = cg_i32(g, a.coef * i);
    LV n = LLVMBuildAdd(b, cg_splat(g, LLVMBuildTrunc(b, r, g->i32, "")), LLVMConstVector(lane, g->lanes), "");
    LV k32 = cg_int_like(LLVMTypeOf(n), d), small;
    small = op == KOP_MOD ? LLVMBuildURem(b, n, k32, "") : LLVMBuildUDiv(b, n, k32, "");
    LV wide = LLVMBuildZExt(b, small, cg_vec_type(g, g->i64), "");
    *out = (Cv){.v = op == KOP_MOD ? wide : LLVMBuildAdd(b, cg_splat(g, q), wide, ""), .kind = CV_VEC};
    return true;
}

static void emit_pure(CgFn *f, KInst i)
{
    const KInstRec *in = kinst(f->k, i);
    assert(in->n_arg <= 3);
    Cv arg[3];
    bool wide = false, lin = false;
    if ((in->op == KOP_ADD || in->op == KOP_MUL) && in->type == DT_I64) { /* what keeps elements repeated */
        Cv x = f->val[karg(f->k, in, 0).i], y = f->val[karg(f->k, in, 1).i];
        if ((x.kind == CV_REP && y.kind == CV_UNI) || (y.kind == CV_REP && x.kind == CV_UNI)) {
            f->val[in->res] = in->op == KOP_ADD ? cv_add(f, x, y) : cv_mul(f, x, y);
            return;
        }
    }
    for (uint32_t a = 0; a < in->n_arg; a++) {
        arg[a] = f->val[karg(f->k, in, a).i];
        assert(arg[a].kind);
        if (arg[a].kind > CV_LIN) arg[a] = (Cv){.v = cv_vec(f, arg[a]), .kind = CV_VEC};
        wide |= arg[a].kind != CV_UNI;
        lin |= arg[a].kind == CV_LIN;
    }
    Cv *out = &f->val[in->res];
    DType t = in->n_arg ? kval(f->k, karg(f->k, in, in->op == KOP_SELECT ? 1 : 0))->type : in->type;
    LLVMBuilderRef b = f->g->b;
    if (in->op == KOP_FLOORDIV && repeat_value(f, karg(f->k, in, 0), arg[0], arg[1], out)) return;
    if (lin && t == DT_I64) { /* what keeps lanes at a constant distance */
        bool all_scalar = arg[0].kind != CV_VEC && (in->n_arg < 2 || arg[1].kind != CV_VEC);
        if (in->op == KOP_ADD) {
            *out = cv_add(f, arg[0], arg[1]);
            return;
        }
        if (in->op == KOP_MUL) {
            *out = cv_mul(f, arg[0], arg[1]);
            return;
        }
        if (in->op == KOP_FMA) {
            *out = cv_add(f, cv_mul(f, arg[0], arg[1]), arg[2]);
            return;
        }
        if (in->op == KOP_CAST && in->imm.dtype == DT_I64) {
            *out = arg[0];
            return;
        }
        if ((in->op == KOP_FLOORDIV || in->op == KOP_MOD) && arg[0].kind == CV_LIN &&
            divide_linear(f, in->op, arg[0], arg[1], out))
            return;
        if (in->op == KOP_SUB && all_scalar) {
            int64_t c = arg[0].coef - arg[1].coef;
            *out = (Cv){.v = LLVMBuildSub(b, arg[0].v, arg[1].v, ""), .coef = c, .kind = c ? CV_LIN : CV_UNI};
            return;
        }
        if (in->op == KOP_NEG) {
            *out = (Cv){.v = LLVMBuildNeg(b, arg[0].v, ""), .coef = -arg[0].coef, .kind = CV_LIN};
            return;
        }
    }
    if (lin && t == DT_I64 && kop_info(in->op)->flags & KF_CMP && arg[0].kind != CV_VEC && arg[1].kind != CV_VEC &&
        compare_linear(f, in->op, arg[0], arg[1], out))
        return;
    LV v[3];
    for (uint32_t a = 0; a < in->n_arg; a++)
        v[a] = wide && !(in->op == KOP_SELECT && a == 0 && arg[0].kind == CV_UNI) ? cv_vec(f, arg[a]) : arg[a].v;
    *out = (Cv){.v = scalar_op(f, in, v, t, wide), .kind = wide ? CV_VEC : CV_UNI};
}

static void emit_for(CgFn *f, KInst i);

static void emit_inst(CgFn *f, KInst i)
{
    const KInstRec *in = kinst(f->k, i);
    if (f->hoisted[i.i]) return;
    debug_at(f, i);
    switch (in->op) {
    case KOP_LOAD: f->val[in->res] = access_load(f, in); break;
    case KOP_STORE: access_store(f, in); break;
    case KOP_RECORD: access_record(f, in); break;
    case KOP_FOR: emit_for(f, i); break;
    case KOP_MACC: macc_emit(f, i); break;
    default: emit_pure(f, i);
    }
}

void nest_only(CgFn *f, const KInst *inst, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) emit_inst(f, inst[i]);
}

void nest_block(CgFn *f, KBlock b, Cv *yield, uint32_t n_yield)
{
    for (KInst i = kblock(f->k, b)->first; i.i; i = kinst(f->k, i)->next) {
        const KInstRec *in = kinst(f->k, i);
        if (in->op != KOP_YIELD) {
            if (in->op == KOP_STORE && f->vec) i = weave_stores(f, i);
            else emit_inst(f, i);
            continue;
        }
        debug_at(f, i);
        assert(in->n_arg >= n_yield);
        for (uint32_t y = 0; y < n_yield; y++) yield[y] = f->val[karg(f->k, in, y).i];
    }
}

/* ---- loops ---- */
enum { UNROLL_TRIPS = 8, UNROLL_SIZE = 160 }; /* a 3x3 window of a dozen instructions unrolls, a 7x7 one does not */

typedef struct Loop {
    KInst inst;
    const KInstRec *in;
    KVal iv, carry; /* block parameters; the carries follow the index */
    uint32_t n;     /* carries */
    LV lo, hi;
} Loop;

static Loop loop_of(CgFn *f, KInst i)
{
    const KInstRec *in = kinst(f->k, i);
    uint32_t first = kblock(f->k, in->body)->param;
    return (Loop){.inst = i, .in = in, .iv = {first}, .carry = {first + 1}, .n = in->n_arg - 2};
}

static LV uniform(CgFn *f, KVal v)
{
    Cv c = f->val[v.i];
    if (c.kind != CV_UNI) BUG("%s: a loop bound varies between lanes", name_str(f->g->m->names, f->k->name));
    return c.v;
}

static void loop_bounds(CgFn *f, Loop *l)
{
    l->lo = uniform(f, karg(f->k, l->in, 0));
    l->hi = uniform(f, karg(f->k, l->in, 1));
}

static DType carry_type(CgFn *f, const Loop *l, uint32_t c) { return kval(f->k, (KVal){l->carry.i + c})->type; }

/* Instructions that running the block once emits; loops inside count with their trips. */
static int64_t emitted_size(CgFn *f, KBlock b)
{
    int64_t n = 0, lo, hi;
    for (KInst i = kblock(f->k, b)->first; i.i; i = kinst(f->k, i)->next) {
        const KInstRec *in = kinst(f->k, i);
        if (in->op == KOP_MACC) return INT32_MAX;
        if (in->op == KOP_FOR) {
            bool known = kx_const_i(f->k, f->g->m->dims, karg(f->k, in, 0), &lo) &&
                         kx_const_i(f->k, f->g->m->dims, karg(f->k, in, 1), &hi);
            if (!known || hi - lo > UNROLL_TRIPS || hi <= lo) return INT32_MAX;
            n += (hi - lo) * emitted_size(f, in->body);
        } else {
            n += kop_info(in->op)->flags & KF_MATH ? 24 : 1;
        }
        if (n > UNROLL_SIZE) return n;
    }
    return n;
}

/* A short loop of known length, as in the window of a pooling or convolution: its copies one behind the other,
 * indices constant. */
static bool emit_unrolled(CgFn *f, Loop *l)
{
    int64_t lo, hi;
    if (!f->g->opt->opt_level || !cg_const(l->lo, &lo) || !cg_const(l->hi, &hi)) return false;
    if (hi <= lo || hi - lo > UNROLL_TRIPS || (hi - lo) * emitted_size(f, l->in->body) > UNROLL_SIZE) return false;
    Cv *now = arena_array(&f->g->arena, Cv, l->n + 1), *next = arena_array(&f->g->arena, Cv, l->n + 1);
    for (uint32_t c = 0; c < l->n; c++) now[c] = f->val[karg(f->k, l->in, 2 + c).i];
    for (int64_t i = lo; i < hi; i++) {
        hoist_forget(f, l->inst, l->in->body);
        f->val[l->iv.i] = cv_uni(cg_i64(f->g, i));
        for (uint32_t c = 0; c < l->n; c++) f->val[l->carry.i + c] = now[c];
        nest_block(f, l->in->body, next, l->n);
        for (uint32_t c = 0; c < l->n; c++) now[c] = next[c];
    }
    for (uint32_t c = 0; c < l->n; c++) f->val[l->in->res + c] = now[c];
    return true;
}

/* for (iv = lo; iv < hi; iv++): carries are vectors when we are inside lanes. */
static void emit_seq(CgFn *f, Loop *l)
{
    Cg *g = f->g;
    LLVMBuilderRef b = g->b;
    LV *init = arena_array(&g->arena, LV, l->n + 1), *phi = arena_array(&g->arena, LV, l->n + 1),
       *result = arena_array(&g->arena, LV, l->n + 1);
    Cv *next = arena_array(&g->arena, Cv, l->n + 1);
    for (uint32_t c = 0; c < l->n; c++) {
        Cv v = f->val[karg(f->k, l->in, 2 + c).i];
        init[c] = f->vec ? cv_vec(f, v) : v.v;
    }
    LLVMBasicBlockRef from = cg_here(g), pre = cg_block(g, f->fn, "pre"), head = cg_block(g, f->fn, "for"),
                      done = cg_block(g, f->fn, "end");
    LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSLT, l->lo, l->hi, ""), pre, done);
    LLVMPositionBuilderAtEnd(b, pre);
    nest_hoist(f, l->inst, l->in->body, true);
    pre = cg_here(g);
    LLVMBuildBr(b, head);
    LLVMPositionBuilderAtEnd(b, head);
    LV iv = LLVMBuildPhi(b, g->i64, "");
    f->val[l->iv.i] = cv_uni(iv);
    for (uint32_t c = 0; c < l->n; c++) {
        phi[c] = LLVMBuildPhi(b, LLVMTypeOf(init[c]), "");
        f->val[l->carry.i + c] = (Cv){.v = phi[c], .kind = f->vec ? CV_VEC : CV_UNI};
    }
    nest_block(f, l->in->body, next, l->n);
    LV iv2 = LLVMBuildAdd(b, iv, cg_i64(g, 1), "");
    for (uint32_t c = 0; c < l->n; c++) result[c] = f->vec ? cv_vec(f, next[c]) : next[c].v;
    LLVMBasicBlockRef last = cg_here(g);
    LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSLT, iv2, l->hi, ""), head, done);
    LLVMAddIncoming(iv, (LV[]){l->lo, iv2}, (LLVMBasicBlockRef[]){pre, last}, 2);
    for (uint32_t c = 0; c < l->n; c++)
        LLVMAddIncoming(phi[c], (LV[]){init[c], result[c]}, (LLVMBasicBlockRef[]){pre, last}, 2);
    LLVMPositionBuilderAtEnd(b, done);
    for (uint32_t c = 0; c < l->n; c++) {
        LV r = LLVMBuildPhi(b, LLVMTypeOf(init[c]), "");
        LLVMAddIncoming(r, (LV[]){init[c], result[c]}, (LLVMBasicBlockRef[]){from, last}, 2);
        f->val[l->in->res + c] = (Cv){.v = r, .kind = f->vec ? CV_VEC : CV_UNI};
    }
}

/* Are masks as good as plain accesses for everything that the block touches? */
static bool masks_cheap(CgFn *f, KBlock b)
{
    for (KInst i = kblock(f->k, b)->first; i.i; i = kinst(f->k, i)->next) {
        const KInstRec *in = kinst(f->k, i);
        if (in->op == KOP_FOR && !masks_cheap(f, in->body)) return false;
        bool touches = in->op == KOP_STORE || (in->op == KOP_LOAD && !f->hoisted[i.i]);
        if (touches && !access_mask_cheap(f->g, f->k->param.p[in->param].elem)) return false;
    }
    return true;
}

/* The rest of a loop without carries, one by one. */
static void emit_rest(CgFn *f, Loop *l, LV from)
{
    Cg *g = f->g;
    LLVMBuilderRef b = g->b;
    LLVMBasicBlockRef before = cg_here(g), head = cg_block(g, f->fn, "rest"), done = cg_block(g, f->fn, "rest.end");
    f->vec = false;
    f->mask = NULL;
    LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSLT, from, l->hi, ""), head, done);
    LLVMPositionBuilderAtEnd(b, head);
    LV iv = LLVMBuildPhi(b, g->i64, "");
    f->val[l->iv.i] = cv_uni(iv);
    nest_block(f, l->in->body, NULL, 0);
    LV iv2 = LLVMBuildAdd(b, iv, cg_i64(g, 1), "");
    LLVMBasicBlockRef last = cg_here(g);
    LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSLT, iv2, l->hi, ""), head, done);
    LLVMAddIncoming(iv, (LV[]){from, iv2}, (LLVMBasicBlockRef[]){before, last}, 2);
    LLVMPositionBuilderAtEnd(b, done);
}

/* Carries whose combined value is the same in any order: extremes, bits, sums of integers. */
static bool any_order(CgFn *f, const Loop *l)
{
    for (uint32_t c = 0; c < l->n; c++) {
        KOp op = l->in->combine[c];
        bool exact = op == KOP_MIN || op == KOP_MAX || op == KOP_AND || op == KOP_OR || op == KOP_XOR;
        if (!exact && dtype_is_float(carry_type(f, l, c))) return false;
    }
    return l->n > 0;
}

enum { CHAINS = 4, CHAINS_MAX = 2 /* carries */, CHAINS_SIZE = 24 /* instructions */ };

/* A loop of few instructions mostly waits for its carries: rounds of CHAINS vectors, each with its own. *lo becomes
 * where they end, acc[] what they give. `whole`: elements in whole vectors. */
static void emit_chains(CgFn *f, Loop *l, LV whole, LV *lo, LV *acc)
{
    Cg *g = f->g;
    LLVMBuilderRef b = g->b;
    LV phi[CHAINS][CHAINS_MAX], next[CHAINS][CHAINS_MAX];
    Cv out[CHAINS_MAX];
    LV many = LLVMBuildAnd(b, whole, cg_i64(g, -CHAINS * LANES), ""), stop = LLVMBuildAdd(b, *lo, many, "");
    LLVMBasicBlockRef from = cg_here(g), head = cg_block(g, f->fn, "chains"), done = cg_block(g, f->fn, "chains.end");
    LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSGT, many, cg_i64(g, 0), ""), head, done);
    LLVMPositionBuilderAtEnd(b, head);
    LV iv = LLVMBuildPhi(b, g->i64, "");
    for (int u = 0; u < CHAINS; u++)
        for (uint32_t c = 0; c < l->n; c++) phi[u][c] = LLVMBuildPhi(b, LLVMTypeOf(acc[c]), "");
    f->mask = NULL;
    for (int u = 0; u < CHAINS; u++) {
        f->val[l->iv.i] = (Cv){.v = LLVMBuildAdd(b, iv, cg_i64(g, u * LANES), ""), .coef = 1, .kind = CV_LIN};
        for (uint32_t c = 0; c < l->n; c++) f->val[l->carry.i + c] = (Cv){.v = phi[u][c], .kind = CV_VEC};
        nest_block(f, l->in->body, out, l->n);
        for (uint32_t c = 0; c < l->n; c++) next[u][c] = cv_vec(f, out[c]);
    }
    LV iv2 = LLVMBuildAdd(b, iv, cg_i64(g, CHAINS * LANES), "");
    LLVMBasicBlockRef last = cg_here(g);
    LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSLT, iv2, stop, ""), head, done);
    LLVMAddIncoming(iv, (LV[]){*lo, iv2}, (LLVMBasicBlockRef[]){from, last}, 2);
    for (int u = 0; u < CHAINS; u++)
        for (uint32_t c = 0; c < l->n; c++)
            LLVMAddIncoming(phi[u][c], (LV[]){acc[c], next[u][c]}, (LLVMBasicBlockRef[]){from, last}, 2);
    LLVMPositionBuilderAtEnd(b, done);
    LV end[CHAINS][CHAINS_MAX];
    for (int u = 0; u < CHAINS; u++)
        for (uint32_t c = 0; c < l->n; c++) {
            end[u][c] = LLVMBuildPhi(b, LLVMTypeOf(acc[c]), "");
            LLVMAddIncoming(end[u][c], (LV[]){acc[c], next[u][c]}, (LLVMBasicBlockRef[]){from, last}, 2);
        }
    for (uint32_t c = 0; c < l->n; c++) {
        acc[c] = end[0][c];
        for (int u = 1; u < CHAINS; u++)
            acc[c] = scalar_combine(f, l->in->combine[c], carry_type(f, l, c), acc[c], end[u][c]);
    }
    *lo = stop;
}

/* The first `many` lanes from `at` on, if any; fewer than all. */
static void emit_some(CgFn *f, Loop *l, LV at, LV many, LV *acc)
{
    Cg *g = f->g;
    LLVMBuilderRef b = g->b;
    Cv *next = arena_array(&g->arena, Cv, l->n + 1);
    LLVMBasicBlockRef from = cg_here(g), some = cg_block(g, f->fn, "some"), out = cg_block(g, f->fn, "some.end");
    LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntNE, many, cg_i64(g, 0), ""), some, out);
    LLVMPositionBuilderAtEnd(b, some);
    LV mask = f->mask = lanes_mask(f, many);
    f->val[l->iv.i] = (Cv){.v = at, .coef = 1, .kind = CV_LIN};
    for (uint32_t c = 0; c < l->n; c++) f->val[l->carry.i + c] = (Cv){.v = acc[c], .kind = CV_VEC};
    nest_block(f, l->in->body, next, l->n);
    LV *done = arena_array(&g->arena, LV, l->n + 1);
    for (uint32_t c = 0; c < l->n; c++) done[c] = LLVMBuildSelect(b, mask, cv_vec(f, next[c]), acc[c], "");
    LLVMBasicBlockRef last = cg_here(g);
    LLVMBuildBr(b, out);
    LLVMPositionBuilderAtEnd(b, out);
    for (uint32_t c = 0; c < l->n; c++) {
        LV p = LLVMBuildPhi(b, LLVMTypeOf(acc[c]), "");
        LLVMAddIncoming(p, (LV[]){acc[c], done[c]}, (LLVMBasicBlockRef[]){from, last}, 2);
        acc[c] = p;
    }
    f->mask = NULL;
}

/* Whole vectors from lo up to stop; what carries begin with and what they are in the end. */
static void emit_whole(CgFn *f, Loop *l, LV lo, LV stop, const LV *begin, LV *done)
{
    Cg *g = f->g;
    LLVMBuilderRef b = g->b;
    Cv *next = arena_array(&g->arena, Cv, l->n + 1);
    LV *acc = arena_array(&g->arena, LV, l->n + 1);
    LLVMBasicBlockRef from = cg_here(g), head = cg_block(g, f->fn, "vec"), out = cg_block(g, f->fn, "vec.rest");
    LV *phi = arena_array(&g->arena, LV, l->n + 1);
    LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSLT, lo, stop, ""), head, out);
    LLVMPositionBuilderAtEnd(b, head);
    LV iv = LLVMBuildPhi(b, g->i64, "");
    f->val[l->iv.i] = (Cv){.v = iv, .coef = 1, .kind = CV_LIN};
    for (uint32_t c = 0; c < l->n; c++) {
        phi[c] = LLVMBuildPhi(b, LLVMTypeOf(begin[c]), "");
        f->val[l->carry.i + c] = (Cv){.v = phi[c], .kind = CV_VEC};
    }
    f->mask = NULL;
    nest_block(f, l->in->body, next, l->n);
    for (uint32_t c = 0; c < l->n; c++) acc[c] = cv_vec(f, next[c]);
    LV iv2 = LLVMBuildAdd(b, iv, cg_i64(g, g->lanes), "");
    LLVMBasicBlockRef last = cg_here(g);
    LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSLT, iv2, stop, ""), head, out);
    LLVMAddIncoming(iv, (LV[]){lo, iv2}, (LLVMBasicBlockRef[]){from, last}, 2);
    for (uint32_t c = 0; c < l->n; c++)
        LLVMAddIncoming(phi[c], (LV[]){begin[c], acc[c]}, (LLVMBasicBlockRef[]){from, last}, 2);
    LLVMPositionBuilderAtEnd(b, out);
    for (uint32_t c = 0; c < l->n; c++) {
        done[c] = LLVMBuildPhi(b, LLVMTypeOf(begin[c]), "");
        LLVMAddIncoming(done[c], (LV[]){begin[c], acc[c]}, (LLVMBasicBlockRef[]){from, last}, 2);
    }
}

static void emit_vec(CgFn *f, Loop *l)
{
    Cg *g = f->g;
    LLVMBuilderRef b = g->b;
    assert(!f->vec && g->lanes == LANES);
    LV *acc = arena_array(&g->arena, LV, l->n + 1), *first = arena_array(&g->arena, LV, l->n + 1);
    for (uint32_t c = 0; c < l->n; c++)
        acc[c] = first[c] = cg_splat(g, scalar_identity(f, l->in->combine[c], carry_type(f, l, c)));

    LV n = LLVMBuildSub(b, l->hi, l->lo, "");
    int64_t k;
    bool known = cg_const(n, &k);
    if (known && k < 0) n = cg_i64(g, 0), k = 0;
    if (!l->n) g->lanes = lanes_at_once(f, l->in->body, l->iv, known ? k : -1);
    if (!known) n = LLVMBuildSelect(b, LLVMBuildICmp(b, LLVMIntSGT, n, cg_i64(g, 0), ""), n, cg_i64(g, 0), "");
    LLVMBasicBlockRef skip = cg_here(g), end = cg_block(g, f->fn, "vec.end"), pre = cg_block(g, f->fn, "vec.pre");
    LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntSGT, n, cg_i64(g, 0), ""), pre, end);
    LLVMPositionBuilderAtEnd(b, pre);
    nest_hoist(f, l->inst, l->in->body, true);
    LV lo = l->lo, ahead = NULL;
    int64_t least = AHEAD_LEAST * g->lanes;
    if (g->opt->opt_level && !l->n && g->lanes >= LANES && (!known || k >= least) && masks_cheap(f, l->in->body))
        ahead = ahead_elements(f, l->in->body, l->iv, lo);
    f->vec = true;
    int64_t first_at;
    f->whole = !ahead && g->lanes == LANES && cg_const(lo, &first_at) && first_at % LANES == 0 ? l->iv : (KVal){0};
    if (ahead) {
        LV enough = LLVMBuildICmp(b, LLVMIntSGE, n, cg_i64(g, least), "");
        ahead = LLVMBuildSelect(b, enough, ahead, cg_i64(g, 0), "");
        emit_some(f, l, lo, ahead, acc);
        n = LLVMBuildSub(b, n, ahead, "");
        lo = LLVMBuildAdd(b, lo, ahead, "");
        known = false;
    }
    LV rest = LLVMBuildAnd(b, n, cg_i64(g, g->lanes - 1), ""), whole = LLVMBuildSub(b, n, rest, ""),
       stop = LLVMBuildAdd(b, lo, whole, "");

    LV *main_acc = arena_array(&g->arena, LV, l->n + 1), *begin = arena_array(&g->arena, LV, l->n + 1);
    for (uint32_t c = 0; c < l->n; c++) begin[c] = first[c];
    if (g->opt->opt_level && (!known || k >= 2 * CHAINS * LANES) && l->n <= CHAINS_MAX && any_order(f, l) &&
        emitted_size(f, l->in->body) <= CHAINS_SIZE)
        emit_chains(f, l, whole, &lo, begin);
    for (uint32_t c = 0; c < l->n; c++) main_acc[c] = begin[c];
    if (!known || k >= g->lanes) emit_whole(f, l, lo, stop, begin, main_acc);
    if (g->lanes > LANES && (!known || k % g->lanes) && !masks_cheap(f, l->in->body)) { /* less than a wide vector is left */
        g->lanes = LANES;
        LV few = LLVMBuildAnd(b, rest, cg_i64(g, LANES - 1), "");
        LV from = stop;
        stop = LLVMBuildAdd(b, stop, LLVMBuildSub(b, rest, few, ""), "");
        emit_whole(f, l, from, stop, NULL, NULL);
        rest = few;
    }
    if (!known && !l->n && !masks_cheap(f, l->in->body)) {
        emit_rest(f, l, stop);
    } else if (!known || k % g->lanes) {
        f->short_rows = known && k < g->lanes;
        emit_some(f, l, stop, rest, main_acc);
        f->short_rows = false;
    }
    f->vec = false;
    f->whole = (KVal){0};
    f->mask = NULL;
    g->lanes = LANES;
    LLVMBasicBlockRef ran = cg_here(g);
    LLVMBuildBr(b, end);
    LLVMPositionBuilderAtEnd(b, end);
    for (uint32_t c = 0; c < l->n; c++) {
        LV p = LLVMBuildPhi(b, LLVMTypeOf(first[c]), "");
        LLVMAddIncoming(p, (LV[]){first[c], main_acc[c]}, (LLVMBasicBlockRef[]){skip, ran}, 2);
        main_acc[c] = p;
    }
    for (uint32_t c = 0, of; c < l->n; c += of) { /* neighbours of one kind together */
        DType t = carry_type(f, l, c);
        KOp op = l->in->combine[c];
        for (of = 1; of < LANES && c + of < l->n && l->in->combine[c + of] == op && carry_type(f, l, c + of) == t;) of++;
        lanes_combine(f, op, t, main_acc + c, of);
        for (uint32_t i = c; i < c + of; i++) {
            LV init = f->val[karg(f->k, l->in, 2 + i).i].v;
            f->val[l->in->res + i] = cv_uni(scalar_combine(f, op, t, main_acc[i], init));
        }
    }
}

/* ---- what can run in lanes ---- */
static bool lanes_possible(CgFn *f, const Loop *l, KBlock block)
{
    const Kernel *k = f->k;
    for (KInst i = kblock(k, block)->first; i.i; i = kinst(k, i)->next) {
        const KInstRec *in = kinst(k, i);
        if (in->op == KOP_MACC || in->type == DT_STR) return false;
        if (in->op == KOP_STORE) {
            DType e = k->param.p[in->param].elem;
            if (dtype_compute(e) == DT_STR || (dtype_info(e)->bits < 8 && e != DT_BOOL)) return false;
        }
        if ((in->op == KOP_EQ || in->op == KOP_NE) && kval(k, karg(k, in, 0))->type == DT_STR) return false;
        if (in->op == KOP_FOR) {
            for (uint32_t a = 0; a < 2; a++)
                if (kx_depends(k, karg(k, in, a), l->iv)) return false;
            if (!lanes_possible(f, l, in->body)) return false;
        }
    }
    return true;
}

static bool use_lanes(CgFn *f, const Loop *l)
{
    if (l->in->loop != KLOOP_VEC || f->vec) return false;
    for (uint32_t c = 0; c < l->n; c++)
        if (!l->in->combine || !l->in->combine[c]) return false;
    return lanes_possible(f, l, l->in->body);
}

/* ---- the parallel nest ---- */
#define NEST_MAX 8
/* The loops that collapse into one: each holds the next PAR loop and, besides, nothing that was not moved in front. */
static uint32_t perfect_nest(CgFn *f, KInst i, Loop *nest)
{
    uint32_t n = 0;
    KInst outer = i;
    for (;;) {
        nest[n] = loop_of(f, i);
        loop_bounds(f, &nest[n++]);
        if (n == NEST_MAX) return n;
        KInst inner = {0};
        for (KInst j = kblock(f->k, nest[n - 1].in->body)->first; j.i; j = kinst(f->k, j)->next) {
            const KInstRec *in = kinst(f->k, j);
            if (f->hoisted[j.i]) continue;
            if (in->op == KOP_FOR && in->loop == KLOOP_PAR && in->n_arg == 2 && !inner.i) inner = j;
            else if (in->op != KOP_YIELD) return n;
        }
        if (!inner.i) return n;
        for (uint32_t a = 0; a < 2; a++)
            if (!outside(f, karg(f->k, kinst(f->k, inner), a), kinst(f->k, outer)->body, outer)) return n;
        i = inner;
    }
}

static void emit_par(CgFn *f, KInst i)
{
    Cg *g = f->g;
    LLVMBuilderRef b = g->b;
    Loop nest[NEST_MAX];
    nest_hoist(f, i, kinst(f->k, i)->body, false);
    uint32_t depth = perfect_nest(f, i, nest);
    LV trip[NEST_MAX], total = NULL, zero = cg_i64(g, 0), one = cg_i64(g, 1);
    for (uint32_t d = 0; d < depth; d++) {
        LV n = LLVMBuildSub(b, nest[d].hi, nest[d].lo, "");
        trip[d] = LLVMBuildSelect(b, LLVMBuildICmp(b, LLVMIntSGT, n, zero, ""), n, zero, "");
        total = total ? LLVMBuildMul(b, total, trip[d], "") : trip[d];
    }
    LLVMBasicBlockRef pre = cg_block(g, f->fn, "par.pre"), head = cg_block(g, f->fn, "par"),
                      done = cg_block(g, f->fn, "par.end"), again = done;
    LV to, from = share_range(f, total, &to, &again);
    LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntULT, from, to, ""), pre, done);
    LLVMPositionBuilderAtEnd(b, pre);
    hoist_block(f, i, nest[0].in->body, nest[0].in->body,
                depth == 1); /* loads as well: this thread runs at least once */
    LV start[NEST_MAX], rest = from;
    for (uint32_t d = depth; d-- > 0;) {
        start[d] = d ? LLVMBuildURem(b, rest, trip[d], "") : rest;
        if (d) rest = LLVMBuildUDiv(b, rest, trip[d], "");
    }
    LV odd = depth == 1 ? share_turn(f) : NULL;
    pre = cg_here(g);
    LLVMBuildBr(b, head);
    LLVMPositionBuilderAtEnd(b, head);
    LV at = LLVMBuildPhi(b, g->i64, ""), phi[NEST_MAX];
    for (uint32_t d = 0; d < depth; d++) phi[d] = LLVMBuildPhi(b, g->i64, "");
    if (depth == 1 && (nest[0].in->down || odd)) {
        LV back = LLVMBuildSub(b, LLVMBuildSub(b, LLVMBuildAdd(b, from, to, ""), one, ""), at, "");
        if (odd) back = nest[0].in->down ? LLVMBuildSelect(b, odd, at, back, "") : LLVMBuildSelect(b, odd, back, at, "");
        f->val[nest[0].iv.i] = cv_uni(LLVMBuildAdd(b, nest[0].lo, back, ""));
    } else
        for (uint32_t d = 0; d < depth; d++) f->val[nest[d].iv.i] = cv_uni(LLVMBuildAdd(b, nest[d].lo, phi[d], ""));
    /* what stands between the loops has been moved out; only the innermost body is left */
    nest_block(f, nest[depth - 1].in->body, NULL, 0);
    LV at2 = LLVMBuildAdd(b, at, one, ""), next[NEST_MAX], carry = NULL;
    for (uint32_t d = depth; d-- > 0;) {
        LV up = !carry ? LLVMBuildAdd(b, phi[d], one, "")
                       : LLVMBuildAdd(b, phi[d], LLVMBuildZExt(b, carry, g->i64, ""), "");
        if (d) {
            carry = LLVMBuildICmp(b, LLVMIntEQ, up, trip[d], "");
            up = LLVMBuildSelect(b, carry, zero, up, "");
        }
        next[d] = up;
    }
    LLVMBasicBlockRef last = cg_here(g);
    LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntULT, at2, to, ""), head, again);
    LLVMAddIncoming(at, (LV[]){from, at2}, (LLVMBasicBlockRef[]){pre, last}, 2);
    for (uint32_t d = 0; d < depth; d++)
        LLVMAddIncoming(phi[d], (LV[]){start[d], next[d]}, (LLVMBasicBlockRef[]){pre, last}, 2);
    LLVMPositionBuilderAtEnd(b, done);
}

static void emit_for(CgFn *f, KInst i)
{
    Loop l = loop_of(f, i);
    if (l.in->loop == KLOOP_PAR && f->k->parallel && kblock(f->k, l.in->block)->owner.i == 0) {
        if (copy_emit(f, i)) return;
        emit_par(f, i);
        return;
    }
    if (turn_emit(f, i)) return;
    loop_bounds(f, &l);
    if (use_lanes(f, &l)) emit_vec(f, &l);
    else if (!emit_unrolled(f, &l)) emit_seq(f, &l);
}

/* ---- a kernel ---- */
LV nest_kernel(Cg *g, const Kernel *k)
{
    uint64_t known;
    if (map_get(&g->kernel_fn, (uint64_t)(uintptr_t)k, &known)) return (LV)(uintptr_t)known;
    const char *name = name_str(g->m->names, k->name);
    cg_current("kernel", name);
    uint32_t n_param = k->param.n ? k->param.n - 1 : 0;
    LT *type = arena_array(&g->arena, LT, 4 + n_param);
    uint32_t n = 0;
    type[n++] = g->ptr;
    type[n++] = g->i32;
    type[n++] = g->i32;
    type[n++] = g->i32;
    for (uint32_t p = 1; p <= n_param; p++)
        if (k->param.p[p].space == KS_PARAM) type[n++] = g->ptr;
    CgFn f = {.g = g, .k = k, .fn = cg_fn(g, name, g->vd, type, n, true)};
    map_put(&g->kernel_fn, (uint64_t)(uintptr_t)k, (uint64_t)(uintptr_t)f.fn);
    f.ctx = LLVMGetParam(f.fn, 0);
    f.tid = LLVMGetParam(f.fn, 1);
    f.nt = LLVMGetParam(f.fn, 2);
    f.step = LLVMGetParam(f.fn, 3);
    f.param = arena_array(&g->arena, LV, n_param + 1);
    f.val = arena_array(&g->arena, Cv, k->val.n + 1);
    f.hoisted = arena_array(&g->arena, uint32_t, k->inst.n + 1);
    map_init(&f.dims, &g->arena);

    LLVMBasicBlockRef entry = cg_block(g, f.fn, "entry"), body = cg_block(g, f.fn, "body");
    LLVMPositionBuilderAtEnd(g->eb, entry);
    LLVMPositionBuilderAtEnd(g->b, body);
    debug_function(g, f.fn, name, k->loc);
    debug_kernel(&f);
    LV scratch = NULL;
    for (uint32_t p = 1, at = 4; p <= n_param; p++) {
        const KBufRec *buf = &k->param.p[p];
        if (buf->space == KS_PARAM) {
            f.param[p] = LLVMGetParam(f.fn, at++);
            LLVMSetValueName2(f.param[p], name_str(g->m->names, buf->name), strlen(name_str(g->m->names, buf->name)));
            continue;
        }
        assert(buf->space == KS_LOCAL);
        if (!scratch) { /* ctx->thread[tid].scratch */
            LLVMBuilderRef b = g->b;
            g->b = g->eb;
            LV thread = cg_load(g, g->ptr, cg_ptr_add(g, f.ctx, cg_i64(g, offsetof(struct bmc_ctx, thread))), 8);
            LV at64 = LLVMBuildMul(g->b, LLVMBuildSExt(g->b, f.tid, g->i64, ""), cg_i64(g, sizeof(rt_thread)), "");
            scratch = cg_load(g, g->ptr,
                              cg_ptr_add(g, cg_ptr_add(g, thread, at64), cg_i64(g, offsetof(rt_thread, scratch))), 8);
            g->b = b;
        }
        if (!buf->offset.i) BUG("%s: local '%s' was not planned", name, name_str(g->m->names, buf->name));
        f.param[p] = NULL;
    }
    for (uint32_t p = 1; p <= n_param; p++) {
        const KBufRec *buf = &k->param.p[p];
        if (buf->space != KS_LOCAL) continue;
        LV off = access_dim(&f, buf->offset);
        LLVMBuilderRef b = g->b;
        g->b = g->eb;
        f.param[p] = cg_ptr_add(g, scratch, off);
        g->b = b;
    }
    nest_block(&f, k->top, NULL, 0);
    LLVMBuildRetVoid(g->b);
    LLVMPositionBuilderAtEnd(g->b, entry);
    LLVMBuildBr(g->b, body);
    cg_current(NULL, NULL);
    return f.fn;
}
