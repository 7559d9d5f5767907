/* access.c: LOAD, STORE, RECORD. The flat element offset is built from Cv values, so what it is inside a VEC loop
 * falls out of the arithmetic:
 *   UNI           one scalar load, the result is uniform
 *   LIN, coef 1   a 16-lane load or store (masked in tails and under predicates)
 *   LIN           a few vectors (masked in tails, where there are mask registers) and shuffles for short strides, else
 *                 as VEC
 *   REP           loads: a short vector, each element several times, or one of each group as often (repeat.c); else as VEC
 *   VEC           loads: permuted registers where they lie in a short row (pick.c); else gather, scatter; the uniform part goes to the address, the rest is 32 bits wide where it fits, which
 *                 halves the instructions
 * A uniform predicate is a branch around the access. Alignment is that of one element: buffers of callers promise no
 * more. */
#include "codegen/cg.h"
#include "runtime/rt.h"

Cv cv_uni(LV v) { return (Cv){.v = v, .kind = CV_UNI}; }

LV cv_vec(CgFn *f, Cv c)
{
    Cg *g = f->g;
    if (c.kind == CV_VEC) return c.v;
    LV s = cg_splat(g, c.v);
    if (c.kind == CV_UNI) return s;
    if (c.kind == CV_REP) return repeat_lanes(g, c);
    LV step[LANES_MAX];
    for (unsigned i = 0; i < g->lanes; i++) step[i] = cg_i64(g, c.coef * (int)i);
    return LLVMBuildAdd(g->b, s, LLVMConstVector(step, g->lanes), "");
}

Cv cv_add(CgFn *f, Cv a, Cv b)
{
    LLVMBuilderRef bb = f->g->b;
    if (a.kind == CV_REP && b.kind == CV_UNI) return (Cv){LLVMBuildAdd(bb, a.v, b.v, ""), a.coef, CV_REP, a.times, a.phase};
    if (b.kind == CV_REP && a.kind == CV_UNI) return cv_add(f, b, a);
    if (a.kind > CV_LIN || b.kind > CV_LIN) return (Cv){.v = LLVMBuildAdd(bb, cv_vec(f, a), cv_vec(f, b), ""), .kind = CV_VEC};
    int64_t coef = a.coef + b.coef, k;
    LV v = cg_const(a.v, &k) && k == 0 ? b.v : cg_const(b.v, &k) && k == 0 ? a.v : LLVMBuildAdd(bb, a.v, b.v, "");
    return (Cv){.v = v, .coef = coef, .kind = coef ? CV_LIN : CV_UNI};
}

Cv cv_mul(CgFn *f, Cv a, Cv b)
{
    LLVMBuilderRef bb = f->g->b;
    int64_t k;
    if (a.kind == CV_UNI && cg_const(a.v, &k)) {
        Cv t = a;
        a = b;
        b = t;
    }
    if (b.kind == CV_UNI && cg_const(b.v, &k) && k == 1) return a;
    if (a.kind == CV_UNI && b.kind == CV_UNI) return cv_uni(LLVMBuildMul(bb, a.v, b.v, ""));
    if ((a.kind == CV_LIN || a.kind == CV_REP) && b.kind == CV_UNI && cg_const(b.v, &k)) {
        int64_t coef;
        if (!__builtin_mul_overflow(a.coef, k, &coef))
            return (Cv){LLVMBuildMul(bb, a.v, b.v, ""), coef, coef ? a.kind : CV_UNI, a.times, a.phase};
    }
    return (Cv){.v = LLVMBuildMul(bb, cv_vec(f, a), cv_vec(f, b), ""), .kind = CV_VEC};
}

/* ---- dims: in the entry block, once each ---- */
LV access_dim(CgFn *f, Dim d)
{
    Cg *g = f->g;
    int64_t k;
    uint64_t known;
    d = dim_resolve(g->m->dims, d);
    if (dim_is_const(g->m->dims, d, &k)) return cg_i64(g, k);
    if (map_get(&f->dims, d.i, &known)) return (LV)(uintptr_t)known;
    LLVMBuilderRef b = g->b;
    g->b = g->eb; /* the entry block has no terminator yet */
    uint64_t table;
    LV sym;
    if (map_get(&f->dims, 0, &table)) {
        sym = (LV)(uintptr_t)table;
    } else {
        sym = cg_load(g, g->ptr, cg_ptr_add(g, f->ctx, cg_i64(g, offsetof(struct bmc_ctx, sym))), 8);
        map_put(&f->dims, 0, (uint64_t)(uintptr_t)sym);
    }
    LV v = cg_dim_at(g, sym, d);
    g->b = b;
    map_put(&f->dims, d.i, (uint64_t)(uintptr_t)v);
    return v;
}

static Cv index_value(CgFn *f, KVal v)
{
    Cv c = f->val[v.i];
    assert(c.kind);
    return c;
}

Cv access_offset(CgFn *f, const KInstRec *in)
{
    Cv off = cv_uni(cg_i64(f->g, 0));
    KVal idx[RANK_MAX];
    Dim stride[RANK_MAX];
    for (int n = kx_access_terms(f->k, f->g->m->dims, in, idx, stride); n-- > 0;)
        off = cv_add(f, off, cv_mul(f, index_value(f, idx[n]), cv_uni(access_dim(f, stride[n]))));
    return off;
}

static unsigned elem_bytes(DType t) { return t == DT_STR ? 16 : (dtype_info(t)->bits + 7u) / 8u; }
unsigned access_align(DType t) { return t == DT_STR || t == DT_C128 ? 8 : t == DT_C64 ? 4 : elem_bytes(t); }
static bool packed_type(DType t) { return dtype_info(t)->bits < 8 && t != DT_BOOL; }

static LV elem_ptr(Cg *g, DType t, LV base, LV off)
{
    return LLVMBuildGEP2(g->b, cg_mem_type(g, t), base, &off, 1, "");
}

/* The furthest element from the first one along axes `from` .. `to` of p; INT64_MAX: unknown. */
static int64_t reach(const Dims *dims, const KBufRec *p, const Dim *stride, int from, int to)
{
    int64_t sum = 0, lo, hi, by;
    for (int a = from; a < to; a++) {
        dim_bounds(dims, p->dim[a], &lo, &hi);
        if (hi <= 1) continue;
        if (!stride[a].i || !dim_is_const(dims, stride[a], &by) || __builtin_mul_overflow(hi - 1, by < 0 ? -by : by, &by) ||
            __builtin_add_overflow(sum, by, &sum))
            return INT64_MAX;
    }
    return sum;
}

enum { NEAR = 1 << 30 /* elements that 32 bits of each lane reach */ };

/* access_offset, where lanes that lie anywhere are relative to *base, which is moved by what is the same in all lanes:
 * an index is within its axis, so that what is left is small where the axes are. */
static Cv lane_offset(CgFn *f, const KInstRec *in, LV *base)
{
    Cg *g = f->g;
    const KBufRec *p = &f->k->param.p[in->param];
    const Dims *dims = g->m->dims;
    KVal idx[RANK_MAX];
    Dim stride[RANK_MAX];
    int n = kx_access_terms(f->k, g->m->dims, in, idx, stride);
    int64_t vec_reach = 0;
    Cv same = cv_uni(cg_i64(g, 0)), lanes = {0}, terms[RANK_MAX];
    int repeats = 0, others = 0;
    for (int a = n; a-- > 0;) {
        Cv t = terms[a] = cv_mul(f, index_value(f, idx[a]), cv_uni(access_dim(f, stride[a])));
        if (t.kind == CV_REP && repeat_read(g, p->elem, t) && (!t.phase || (in->op == KOP_LOAD && in->n_arg == p->rank))) repeats++;
        else if (t.kind != CV_UNI) others++;
    }
    bool alone = repeats == 1 && !others;
    int64_t by, extent;
    unsigned row = 0;
    for (int a = n; a-- > 0;) {
        Cv term = terms[a];
        if (term.kind != CV_VEC && (term.kind != CV_REP || alone)) {
            same = cv_add(f, same, term);
            continue;
        }
        if (term.kind == CV_REP) term = (Cv){.v = cv_vec(f, term), .kind = CV_VEC};
        if (term.kind == CV_VEC && others == 1 && !repeats && n == p->rank && in->op == KOP_LOAD && dim_is_const(dims, p->dim[a], &extent) &&
            stride[a].i && dim_is_const(dims, stride[a], &by) && by == 1)
            row = pick_row(g, p->elem, extent);
        lanes = lanes.kind ? cv_add(f, lanes, term) : term;
        int64_t far = n == p->rank ? reach(dims, p, stride, a, a + 1) : INT64_MAX;
        if (__builtin_add_overflow(vec_reach, far, &vec_reach)) vec_reach = INT64_MAX;
    }
    if (!lanes.kind) return same;
    if (same.kind > CV_LIN || packed_type(p->elem)) return cv_add(f, same, lanes);
    int64_t coef = same.coef < 0 ? -same.coef : same.coef;
    *base = elem_ptr(g, p->elem, *base, same.v);
    same.v = cg_i64(g, 0);
    lanes.v = cv_vec(f, cv_add(f, same, lanes));
    if (coef < NEAR / LANES_MAX && (vec_reach < NEAR || (n == p->rank && reach(dims, p, stride, 0, n) < NEAR)))
        lanes.v = LLVMBuildTrunc(g->b, lanes.v, cg_vec_type(g, g->i32), "");
    lanes.times = row;
    return lanes;
}

static LV masked(Cg *g, const char *name, LT *over, LV *arg, unsigned n)
{
    unsigned id = LLVMLookupIntrinsicID(name, __builtin_strlen(name));
    return cg_call(g, LLVMGetIntrinsicDeclaration(g->mod, id, over, 2), arg, n, "");
}

LV access_masked(Cg *g, DType t, LT vt, LV p, LV mask)
{
    return masked(g, "llvm.masked.load", (LT[]){vt, g->ptr}, (LV[]){p, cg_i32(g, access_align(t)), mask, LLVMConstNull(vt)}, 4);
}

LV access_read(Cg *g, DType t, LV p, bool vec, LV mask)
{
    LT mem = cg_mem_type(g, t);
    LV raw;
    if (!vec) {
        raw = cg_load(g, mem, p, access_align(t));
    } else if (!mask) {
        raw = cg_load(g, cg_vec_type(g, mem), p, access_align(t));
    } else {
        LT v = cg_vec_type(g, mem);
        raw = access_masked(g, t, v, p, mask);
    }
    return scalar_from_mem(g, t, raw);
}

static LV all_true(Cg *g) { return LLVMConstAllOnes(cg_vec_type(g, g->i1)); }

/* Elements of 4 or 2 bits: the byte they share, shifted. `off` may be a vector. */
static LV read_packed(CgFn *f, DType t, LV base, LV off, LV mask)
{
    Cg *g = f->g;
    LLVMBuilderRef b = g->b;
    int bits = dtype_info(t)->bits, per = 8 / bits, log = per == 2 ? 1 : 2;
    LT ot = LLVMTypeOf(off);
    bool vec = LLVMGetTypeKind(ot) == LLVMVectorTypeKind;
    LT byte = vec ? cg_vec_type(g, g->i8) : g->i8;
    LV at = LLVMBuildAShr(b, off, cg_int_like(ot, log), ""), p = LLVMBuildGEP2(b, g->i8, base, &at, 1, ""), raw;
    if (vec)
        raw = masked(g, "llvm.masked.gather", (LT[]){byte, cg_vec_type(g, g->ptr)},
                     (LV[]){p, cg_i32(g, 1), mask ? mask : all_true(g), LLVMConstNull(byte)}, 4);
    else raw = cg_load(g, g->i8, p, 1);
    LV sh = LLVMBuildMul(b, LLVMBuildTrunc(b, LLVMBuildAnd(b, off, cg_int_like(ot, per - 1), ""), byte, ""),
                         cg_int_like(byte, bits), "");
    LV code = LLVMBuildLShr(b, raw, sh, "");
    if (!small_float(t)) return scalar_round_to(g, t, code);
    return small_from_mem(g, t, LLVMBuildAnd(b, code, cg_int_like(byte, (1 << bits) - 1), ""));
}

/* bmc.putN(base, offset, code): an element of 4 or 2 bits. Its byte may belong to several threads: each changes its
 * own bits only. */
static LV put_fn(Cg *g, int bits)
{
    LLVMBuilderRef b = g->b;
    const char *name = bits == 4 ? "bmc.put4" : "bmc.put2";
    int per = 8 / bits;
    LV fn = LLVMGetNamedFunction(g->mod, name);
    if (fn) return fn;
    LLVMBasicBlockRef from = cg_here(g);
    fn = cg_fn(g, name, g->vd, (LT[]){g->ptr, g->i64, g->i8}, 3, true);
    LLVMPositionBuilderAtEnd(b, cg_block(g, fn, "entry"));
    LV off = LLVMGetParam(fn, 1), at = LLVMBuildAShr(b, off, cg_i64(g, per == 2 ? 1 : 2), "");
    LV p = LLVMBuildGEP2(b, g->i8, LLVMGetParam(fn, 0), &at, 1, "");
    LV sh = LLVMBuildMul(b, LLVMBuildTrunc(b, LLVMBuildAnd(b, off, cg_i64(g, per - 1), ""), g->i8, ""),
                         cg_int_like(g->i8, bits), "");
    LV mask = cg_int_like(g->i8, (1 << bits) - 1), code = LLVMBuildAnd(b, LLVMGetParam(fn, 2), mask, "");
    LLVMBuildAtomicRMW(b, LLVMAtomicRMWBinOpAnd, p, LLVMBuildNot(b, LLVMBuildShl(b, mask, sh, ""), ""),
                       LLVMAtomicOrderingMonotonic, false);
    LLVMBuildAtomicRMW(b, LLVMAtomicRMWBinOpOr, p, LLVMBuildShl(b, code, sh, ""), LLVMAtomicOrderingMonotonic, false);
    LLVMBuildRetVoid(b);
    LLVMPositionBuilderAtEnd(b, from);
    return fn;
}

/* Sixteen codes from a byte boundary on: neighbours are joined, whole bytes stored. */
static void write_packed_row(Cg *g, int bits, LV p, LV code)
{
    LLVMBuilderRef b = g->b;
    int per = 8 / bits;
    LT wide = LLVMVectorType(per == 2 ? g->i16 : g->i32, LANES / (unsigned)per),
       byte = LLVMVectorType(g->i8, LANES / (unsigned)per);
    LV w = LLVMBuildBitCast(b, code, wide, ""), r = NULL;
    for (int i = 0; i < per; i++) { /* code i stands at bit 8i and goes to bit i*bits */
        LV part = LLVMBuildLShr(b, w, cg_int_like(wide, (8 - bits) * i), "");
        part = LLVMBuildAnd(b, part, cg_int_like(wide, ((1 << bits) - 1) << (bits * i)), "");
        r = r ? LLVMBuildOr(b, r, part, "") : part;
    }
    cg_store(g, LLVMBuildTrunc(b, r, byte, ""), p, 1);
}

/* Elements of 4 or 2 bits; `off` as v. Rows that begin with a byte are stored whole, others one by one. */
static void write_packed(CgFn *f, DType t, LV base, Cv off, LV v, LV mask)
{
    Cg *g = f->g;
    LLVMBuilderRef b = g->b;
    int bits = dtype_info(t)->bits, per = 8 / bits;
    LV code = scalar_to_mem(g, t, v), put = put_fn(g, bits);
    if (LLVMGetTypeKind(LLVMTypeOf(code)) != LLVMVectorTypeKind) {
        cg_call(g, put, (LV[]){base, off.v, code}, 3, "");
        return;
    }
    LLVMBasicBlockRef done = cg_block(g, f->fn, "packed.end");
    if (off.kind == CV_LIN && off.coef == 1 && !mask) {
        LLVMBasicBlockRef row = cg_block(g, f->fn, "packed.row"), each = cg_block(g, f->fn, "packed.each");
        LV rest = LLVMBuildAnd(b, off.v, cg_i64(g, per - 1), "");
        LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntEQ, rest, cg_i64(g, 0), ""), row, each);
        LLVMPositionBuilderAtEnd(b, row);
        LV at = LLVMBuildAShr(b, off.v, cg_i64(g, per == 2 ? 1 : 2), "");
        write_packed_row(g, bits, LLVMBuildGEP2(b, g->i8, base, &at, 1, ""), code);
        LLVMBuildBr(b, done);
        LLVMPositionBuilderAtEnd(b, each);
    }
    LV lanes = cv_vec(f, off);
    for (int i = 0; i < LANES; i++) {
        LV lane = cg_i32(g, i), c = LLVMBuildExtractElement(b, code, lane, ""),
           at = LLVMBuildExtractElement(b, lanes, lane, "");
        LLVMBasicBlockRef next = NULL;
        if (mask) {
            LLVMBasicBlockRef yes = cg_block(g, f->fn, "packed.on");
            next = cg_block(g, f->fn, "packed.next");
            LLVMBuildCondBr(b, LLVMBuildExtractElement(b, mask, lane, ""), yes, next);
            LLVMPositionBuilderAtEnd(b, yes);
        }
        cg_call(g, put, (LV[]){base, at, c}, 3, "");
        if (!next) continue;
        LLVMBuildBr(b, next);
        LLVMPositionBuilderAtEnd(b, next);
    }
    LLVMBuildBr(b, done);
    LLVMPositionBuilderAtEnd(b, done);
}

/* Masked accesses cost what plain ones cost. */
bool access_mask_cheap(Cg *g, DType t)
{
    if (g->isa.avx512) return true;
    return g->isa.avx && elem_bytes(t) >= 4 && dtype_compute(t) != DT_STR;
}

/* Lanes `coef` elements apart: loads of whole vectors from the first to the last element, nothing beyond, and
 * shuffles. */
static bool few_vectors(Cg *g, DType t, int64_t coef)
{
    if (coef == 2 || coef == -1) return true;
    return (coef == 3 || coef == 4) && g->isa.avx512 && elem_bytes(t) <= 4;
}

/* With a mask only elements of lanes that are on are touched; of constant lanes, which need no mask registers, also
 * those between the first and the last one: they lie in the buffer, and their loads are plain but for the ends. */
static LV read_apart(Cg *g, DType t, LV base, LV off, int64_t coef, LV mask)
{
    LT vt = cg_vec_type(g, cg_mem_type(g, t));
    int64_t lanes = g->lanes, end = (lanes - 1) * coef, low = coef < 0 ? end : 0,
            last = coef < 0 ? 0 : end; /* relative to lane 0 */
    LV p = elem_ptr(g, t, base, off), v = NULL;
    int64_t on_low = INT64_MAX, on_high = INT64_MIN;
    bool constant = mask && LLVMIsConstant(mask);
    for (int64_t i = 0; constant && i < lanes; i++) {
        if (!LLVMConstIntGetZExtValue(LLVMGetAggregateElement(mask, (unsigned)i))) continue;
        if (i * coef < on_low) on_low = i * coef;
        if (i * coef > on_high) on_high = i * coef;
    }
    for (int64_t at = low, done = 0; done < lanes; at += lanes) {
        int64_t first = at + lanes - 1 > last ? last - lanes + 1 : at;
        LV from = cg_i64(g, first), pick[LANES_MAX], lane_of[LANES_MAX], part, on;
        LV q = LLVMBuildGEP2(g->b, cg_mem_type(g, t), p, &from, 1, "");
        for (int i = 0; i < lanes; i++) lane_of[i] = cg_i32(g, lanes); /* none */
        for (int i = 0; i < lanes; i++) {
            int64_t e = i * coef - first;
            bool here = e >= 0 && e < lanes && (i * coef >= at);
            pick[i] = here ? cg_i32(g, e + (v ? lanes : 0)) : v ? cg_i32(g, i) : LLVMGetPoison(g->i32);
            if (here) lane_of[e] = cg_i32(g, i);
            done += here;
        }
        if (mask) {
            for (int64_t i = 0; constant && i < lanes; i++)
                lane_of[i] = LLVMConstInt(g->i1, first + i >= on_low && first + i <= on_high, false);
            on = LLVMConstVector(lane_of, g->lanes);
            if (!constant) on = LLVMBuildShuffleVector(g->b, mask, LLVMConstNull(LLVMTypeOf(mask)), on, "");
            part = access_masked(g, t, vt, q, on);
        } else part = cg_load(g, vt, q, access_align(t));
        v = LLVMBuildShuffleVector(g->b, v ? v : part, v ? part : LLVMGetPoison(vt), LLVMConstVector(pick, g->lanes), "");
    }
    return scalar_from_mem(g, t, v);
}

static bool multiple(CgFn *f, KVal v, int64_t n)
{
    int64_t c;
    if (kx_const_i(f->k, f->g->m->dims, v, &c)) return c % n == 0;
    const KInstRec *in = kval(f->k, v)->def.i ? kinst(f->k, kval(f->k, v)->def) : NULL;
    if (!in || (in->op != KOP_MUL && in->op != KOP_ADD)) return false;
    bool a = multiple(f, karg(f->k, in, 0), n), b = multiple(f, karg(f->k, in, 1), n);
    return in->op == KOP_ADD ? a && b : a || b;
}

/* Lanes read one of every n elements of an axis whose neighbours lie side by side: are all n in the buffer? *phase: which one. */
static bool groups_whole(CgFn *f, const KInstRec *in, int64_t n, int64_t *phase)
{
    const KBufRec *p = &f->k->param.p[in->param];
    const Dims *dims = f->g->m->dims;
    KVal idx[RANK_MAX];
    Dim stride[RANK_MAX];
    int64_t by, extent;
    int a = 0, rank = kx_access_terms(f->k, f->g->m->dims, in, idx, stride);
    while (a < rank && !(stride[a].i && dim_is_const(dims, stride[a], &by) && by == 1)) a++;
    if (a == rank || rank != p->rank || !dim_is_const(dims, p->dim[a], &extent) || extent % n) return false;
    KVal v = idx[a];
    const KInstRec *sum = kval(f->k, v)->def.i ? kinst(f->k, kval(f->k, v)->def) : NULL;
    *phase = 0;
    if (sum && sum->op == KOP_ADD && kx_const_i(f->k, dims, karg(f->k, sum, 1), phase)) v = karg(f->k, sum, 0);
    return *phase >= 0 && *phase < n && multiple(f, v, n);
}

static LV read_lanes_masked(CgFn *f, DType t, LV base, Cv off, LV mask)
{
    Cg *g = f->g;
    LT mem = cg_vec_type(g, cg_mem_type(g, t));
    if (off.kind == CV_REP && off.coef == 1 && (!off.phase || mask == f->mask))
        return scalar_from_mem(g, t, repeat_load(f, t, elem_ptr(g, t, base, off.v), off, mask));
    if (off.kind == CV_LIN && off.coef == 1) return access_read(g, t, elem_ptr(g, t, base, off.v), true, mask);
    bool known = mask && LLVMIsConstant(mask) && access_mask_cheap(g, t);
    if (off.kind == CV_LIN && (!mask || g->isa.avx512 || known) && few_vectors(g, t, off.coef))
        return read_apart(g, t, base, off.v, off.coef, mask);
    if (off.kind == CV_VEC && off.times && mask == f->mask) return scalar_from_mem(g, t, pick_load(f, t, base, off.times, off.v));
    LV p;
    if (off.kind == CV_LIN) {
        LV step[LANES_MAX];
        bool near = off.coef > -NEAR / LANES_MAX && off.coef < NEAR / LANES_MAX;
        for (unsigned i = 0; i < g->lanes; i++) step[i] = near ? cg_i32(g, off.coef * (int)i) : cg_i64(g, off.coef * (int)i);
        LV lanes = LLVMConstVector(step, g->lanes);
        p = LLVMBuildGEP2(g->b, cg_mem_type(g, t), elem_ptr(g, t, base, off.v), &lanes, 1, "");
    } else {
        LV lanes = cv_vec(f, off);
        p = LLVMBuildGEP2(g->b, cg_mem_type(g, t), base, &lanes, 1, "");
    }
    LV raw = masked(g, "llvm.masked.gather", (LT[]){mem, cg_vec_type(g, g->ptr)},
                    (LV[]){p, cg_i32(g, access_align(t)), mask ? mask : all_true(g), LLVMConstNull(mem)}, 4);
    return scalar_from_mem(g, t, raw);
}

/* Is every lane of the mask on? */
static LV mask_full(Cg *g, LV mask)
{
    LT bits = LLVMIntTypeInContext(g->cx, g->lanes);
    return LLVMBuildICmp(g->b, LLVMIntEQ, LLVMBuildBitCast(g->b, mask, bits, ""), LLVMConstAllOnes(bits), "");
}

/* Under a predicate outside of tails nearly always all lanes are on (the inside of a padded image): where that is
 * much cheaper it gets its own path. */
static LV read_lanes(CgFn *f, DType t, LV base, Cv off, LV mask)
{
    Cg *g = f->g;
    if (packed_type(t)) return read_packed(f, t, base, cv_vec(f, off), mask);
    bool plain = off.kind == CV_LIN && (off.coef == 1 ? !access_mask_cheap(g, t) : few_vectors(g, t, off.coef));
    if (!mask || f->mask || !plain || !g->opt->opt_level) return read_lanes_masked(f, t, base, off, mask);
    LLVMBasicBlockRef all = cg_block(g, f->fn, "all"), some = cg_block(g, f->fn, "some"),
                      done = cg_block(g, f->fn, "read");
    LLVMBuildCondBr(g->b, mask_full(g, mask), all, some);
    LLVMPositionBuilderAtEnd(g->b, all);
    LV x = read_lanes_masked(f, t, base, off, NULL);
    LLVMBuildBr(g->b, done);
    all = cg_here(g);
    LLVMPositionBuilderAtEnd(g->b, some);
    LV y = read_lanes_masked(f, t, base, off, mask);
    LLVMBuildBr(g->b, done);
    some = cg_here(g);
    LLVMPositionBuilderAtEnd(g->b, done);
    LV phi = LLVMBuildPhi(g->b, LLVMTypeOf(x), "");
    LLVMAddIncoming(phi, (LV[]){x, y}, (LLVMBasicBlockRef[]){all, some}, 2);
    return phi;
}

/* Is an access under these masks (NULL: none) one that sets off no fetching of the lines behind it? */
static bool unforeseen(CgFn *f, DType t, Cv off, LV pred)
{
    if (pred || f->short_rows) return true;
    return !f->mask && (off.kind == CV_VEC || (off.kind == CV_LIN && off.coef != 1 && !few_vectors(f->g, t, off.coef)));
}

static LV and_mask(Cg *g, LV a, LV b) { return !a ? b : !b ? a : LLVMBuildAnd(g->b, a, b, ""); }

/* A mask whose lanes nobody can look into. Without mask registers, LLVM 19's selection takes a masked load for a plain
 * one when half of its constant lanes are false and the store behind it does not need all lanes: it then reads beyond
 * the buffer (<16 x float>, mask and(splat c, <8 true, 8 false>), 13 lanes stored, x86-64-v3). */
static LV opaque_mask(Cg *g, LV mask)
{
    if (!mask || LLVMIsConstant(mask) || g->m->target.vec_bits >= 512) return mask;
    LT wide = cg_vec_type(g, g->i32), real = cg_vec_type(g, LLVMFloatTypeInContext(g->cx));
    LV v = LLVMBuildBitCast(g->b, LLVMBuildSExt(g->b, mask, wide, ""), real, "");
    unsigned id = LLVMLookupIntrinsicID("llvm.arithmetic.fence", sizeof "llvm.arithmetic.fence" - 1);
    v = cg_call(g, LLVMGetIntrinsicDeclaration(g->mod, id, &real, 1), &v, 1, "");
    return LLVMBuildICmp(g->b, LLVMIntSLT, LLVMBuildBitCast(g->b, v, wide, ""), LLVMConstNull(wide), "");
}

LV access_row(CgFn *f, const KInstRec *in, int64_t further, unsigned n, unsigned wide)
{
    Cg *g = f->g;
    DType t = f->k->param.p[in->param].elem;
    LT mem = cg_mem_type(g, t), v = LLVMVectorType(mem, wide);
    Cv off = access_offset(f, in);
    assert(off.kind == CV_UNI && n <= wide && wide <= LANES_MAX);
    LV at = LLVMBuildAdd(g->b, off.v, cg_i64(g, further), ""), p = elem_ptr(g, t, f->param[in->param], at), lane[LANES_MAX];
    if (n == wide) return cg_load(g, v, p, access_align(t));
    if (g->isa.avx512) {
        for (unsigned i = 0; i < wide; i++) lane[i] = LLVMConstInt(g->i1, i < n, false);
        return masked(g, "llvm.masked.load", (LT[]){v, g->ptr}, (LV[]){p, cg_i32(g, access_align(t)), LLVMConstVector(lane, wide), LLVMGetPoison(v)}, 4);
    }
    for (unsigned i = 0; i < wide; i++) lane[i] = i < n ? cg_i32(g, i) : LLVMGetPoison(g->i32);
    LV part = cg_load(g, LLVMVectorType(mem, n), p, access_align(t));
    return LLVMBuildShuffleVector(g->b, part, LLVMGetPoison(LLVMTypeOf(part)), LLVMConstVector(lane, wide), "");
}

Cv access_load(CgFn *f, const KInstRec *in)
{
    Cg *g = f->g;
    const KBufRec *buf = &f->k->param.p[in->param];
    DType t = buf->elem;
    LV base = f->param[in->param];
    uint32_t extra = in->n_arg - buf->rank;
    Cv off = lane_offset(f, in, &base), pred = {0}, alt = {0};
    if (extra > 0) pred = index_value(f, karg(f->k, in, buf->rank));
    if (extra > 1) alt = index_value(f, karg(f->k, in, buf->rank + 1u));
    int64_t k, phase;
    if (pred.kind == CV_UNI && cg_const(pred.v, &k)) {
        if (k & 1) pred.kind = CV_NONE;
        else return alt.kind ? alt : cv_uni(LLVMConstNull(cg_type(g, in->type)));
    }
    bool lanes = off.kind != CV_UNI || pred.kind == CV_VEC;
    bool wide = lanes || alt.kind > CV_UNI; /* the result varies */
    if (pred.kind != CV_UNI) {
        if (!lanes)
            return cv_uni(packed_type(t) ? read_packed(f, t, base, off.v, NULL)
                                         : access_read(g, t, elem_ptr(g, t, base, off.v), false, NULL));
        LV mask = and_mask(g, f->mask, pred.kind ? pred.v : NULL);
        if (off.kind == CV_REP && off.coef == off.times && !mask && groups_whole(f, in, off.coef, &phase)) {
            LV first = elem_ptr(g, t, base, LLVMBuildSub(g->b, off.v, cg_i64(g, phase), ""));
            return (Cv){.v = scalar_from_mem(g, t, repeat_one_of(g, t, first, (unsigned)off.coef, phase)), .kind = CV_VEC};
        }
        if (unforeseen(f, t, off, pred.kind ? pred.v : NULL)) fetch_lanes(f, in, base, off);
        else fetch_rows(f, in, base, off);
        LV v = read_lanes(f, t, base, off, f->mask && pred.kind ? opaque_mask(g, mask) : mask);
        if (alt.kind && pred.kind) v = LLVMBuildSelect(g->b, pred.v, v, cv_vec(f, alt), "");
        return (Cv){.v = v, .kind = CV_VEC};
    }
    LV other = alt.kind ? (wide ? cv_vec(f, alt) : alt.v)
                        : LLVMConstNull(wide ? cg_vec_type(g, cg_type(g, in->type)) : cg_type(g, in->type));
    LLVMBasicBlockRef from = cg_here(g), yes = cg_block(g, f->fn, "load"), done = cg_block(g, f->fn, "load.end");
    LLVMBuildCondBr(g->b, pred.v, yes, done);
    LLVMPositionBuilderAtEnd(g->b, yes);
    LV v;
    if (lanes) {
        if (unforeseen(f, t, off, NULL)) fetch_lanes(f, in, base, off);
        v = read_lanes(f, t, base, off, f->mask);
    } else {
        v = packed_type(t) ? read_packed(f, t, base, off.v, NULL)
                           : access_read(g, t, elem_ptr(g, t, base, off.v), false, NULL);
        if (wide) v = cg_splat(g, v);
    }
    yes = cg_here(g);
    LLVMBuildBr(g->b, done);
    LLVMPositionBuilderAtEnd(g->b, done);
    LV phi = LLVMBuildPhi(g->b, LLVMTypeOf(v), "");
    LLVMAddIncoming(phi, (LV[]){other, v}, (LLVMBasicBlockRef[]){from, yes}, 2);
    return wide ? (Cv){.v = phi, .kind = CV_VEC} : cv_uni(phi);
}

static void write_scalar(CgFn *f, const KBufRec *buf, LV base, LV off, LV v)
{
    Cg *g = f->g;
    cg_store(g, scalar_to_mem(g, buf->elem, v), elem_ptr(g, buf->elem, base, off), access_align(buf->elem));
}

/* Lanes `coef` elements apart, all active: the vectors that hold them, each stored under a constant mask. */
static void write_apart(Cg *g, DType t, LV v, LV p, int64_t coef)
{
    LT mem = cg_mem_type(g, t), vt = cg_vec_type(g, mem);
    int64_t lanes = g->lanes;
    for (int64_t at = 0; at <= (lanes - 1) * coef; at += lanes) {
        LV pick[LANES_MAX], on[LANES_MAX], first = cg_i64(g, at);
        for (int i = 0; i < lanes; i++) {
            bool here = (at + i) % coef == 0 && (at + i) / coef < lanes;
            pick[i] = here ? cg_i32(g, (at + i) / coef) : LLVMGetPoison(g->i32);
            on[i] = LLVMConstInt(g->i1, here, false);
        }
        LV part = LLVMBuildShuffleVector(g->b, v, LLVMGetPoison(vt), LLVMConstVector(pick, g->lanes), "");
        LV to = LLVMBuildGEP2(g->b, mem, p, &first, 1, "");
        masked(g, "llvm.masked.store", (LT[]){vt, g->ptr},
               (LV[]){part, to, cg_i32(g, access_align(t)), LLVMConstVector(on, g->lanes)}, 4);
    }
}

/* The first lanes are on and no other: their number. 0: another mask, or not a constant one. */
static unsigned first_lanes(Cg *g, LV mask)
{
    unsigned n = 0;
    if (!mask || !LLVMIsConstant(mask)) return 0;
    for (unsigned i = 0; i < g->lanes; i++) {
        bool on = LLVMConstIntGetZExtValue(LLVMGetAggregateElement(mask, i));
        if (on && i > n) return 0;
        n += on;
    }
    return n;
}

/* The first n lanes: without mask registers the powers of two that n is made of, each a plain store. */
static void write_first(Cg *g, DType t, LV v, LV p, unsigned n)
{
    LV pick[LANES_MAX];
    for (unsigned i = 0; i < n; i++) pick[i] = cg_i32(g, i);
    cg_store(g, LLVMBuildShuffleVector(g->b, v, LLVMGetPoison(LLVMTypeOf(v)), LLVMConstVector(pick, n), ""), p, access_align(t));
}

static void write_lanes(CgFn *f, const KBufRec *buf, LV base, Cv off, LV v, LV mask)
{
    Cg *g = f->g;
    DType t = buf->elem;
    LT mem = cg_mem_type(g, t), vt = cg_vec_type(g, mem);
    v = scalar_to_mem(g, t, v);
    if (off.kind == CV_LIN && off.coef == 1) {
        LV p = elem_ptr(g, t, base, off.v);
        unsigned first = g->isa.avx512 ? 0 : first_lanes(g, mask);
        if (first) write_first(g, t, v, p, first);
        else if (!mask) cg_store(g, v, p, access_align(t));
        else masked(g, "llvm.masked.store", (LT[]){vt, g->ptr}, (LV[]){v, p, cg_i32(g, access_align(t)), mask}, 4);
        return;
    }
    if (off.kind == CV_LIN && !mask && off.coef >= 2 && off.coef <= 4 && g->isa.avx512 && elem_bytes(t) == 4) {
        write_apart(g, t, v, elem_ptr(g, t, base, off.v), off.coef);
        return;
    }
    LV at = cv_vec(f, off), p = LLVMBuildGEP2(g->b, mem, base, &at, 1, "");
    masked(g, "llvm.masked.scatter", (LT[]){vt, cg_vec_type(g, g->ptr)},
           (LV[]){v, p, cg_i32(g, access_align(t)), mask ? mask : all_true(g)}, 4);
}

bool access_whole(DType t) { return !packed_type(t) && dtype_compute(t) != DT_STR; }

void access_store(CgFn *f, const KInstRec *in)
{
    Cg *g = f->g;
    const KBufRec *buf = &f->k->param.p[in->param];
    LV base = f->param[in->param];
    Cv off = lane_offset(f, in, &base), value = index_value(f, karg(f->k, in, buf->rank)), pred = {0};
    if (in->n_arg > buf->rank + 1u) pred = index_value(f, karg(f->k, in, buf->rank + 1u));
    int64_t k;
    if (pred.kind == CV_UNI && cg_const(pred.v, &k)) {
        if (!(k & 1)) return;
        pred.kind = CV_NONE;
    }
    LLVMBasicBlockRef done = NULL;
    if (pred.kind == CV_UNI) {
        LLVMBasicBlockRef yes = cg_block(g, f->fn, "store");
        done = cg_block(g, f->fn, "store.end");
        LLVMBuildCondBr(g->b, pred.v, yes, done);
        LLVMPositionBuilderAtEnd(g->b, yes);
    }
    LV on = pred.kind == CV_VEC ? pred.v : NULL;
    if (packed_type(buf->elem)) {
        if (f->vec) write_packed(f, buf->elem, base, off, cv_vec(f, value), and_mask(g, f->mask, on));
        else write_packed(f, buf->elem, base, off, value.v, NULL);
    } else if (!f->vec) {
        write_scalar(f, buf, base, off.v, value.v);
    } else {
        if (unforeseen(f, buf->elem, off, on)) fetch_lanes(f, in, base, off);
        write_lanes(f, buf, base, off, cv_vec(f, value), and_mask(g, f->mask, on));
    }
    if (done) {
        LLVMBuildBr(g->b, done);
        LLVMPositionBuilderAtEnd(g->b, done);
    }
}

/* ---- errors ---- */
static LV record_fn(Cg *g)
{
    return cg_extern(g, "rt_record", g->vd, (LT[]){g->ptr, g->i32, g->i32, g->i32, g->i64, g->i64}, 6);
}

/* bmc.record16(ctx, tid, step, msg, bad lanes, index of every lane, bound): the lanes in order. */
static LV record_lanes_fn(CgFn *f)
{
    Cg *g = f->g;
    LLVMBuilderRef b = g->b;
    LV fn = LLVMGetNamedFunction(g->mod, "bmc.record16");
    if (fn) return fn;
    LLVMBasicBlockRef from = cg_here(g);
    LT vi = cg_vec_type(g, g->i64);
    fn = cg_fn(g, "bmc.record16", g->vd, (LT[]){g->ptr, g->i32, g->i32, g->i32, cg_vec_type(g, g->i1), vi, vi}, 7, true);
    unsigned cold = LLVMGetEnumAttributeKindForName("noinline", 8);
    LLVMAddAttributeAtIndex(fn, LLVMAttributeFunctionIndex, LLVMCreateEnumAttribute(g->cx, cold, 0));
    LLVMBasicBlockRef entry = cg_block(g, fn, "entry"), loop = cg_block(g, fn, "loop"), bad = cg_block(g, fn, "bad"),
                      next = cg_block(g, fn, "next"), end = cg_block(g, fn, "end");
    LLVMPositionBuilderAtEnd(b, entry);
    LV mem[2];
    for (unsigned k = 0; k < 2; k++) {
        mem[k] = LLVMBuildAlloca(b, vi, "");
        LLVMSetAlignment(mem[k], 8);
        cg_store(g, LLVMGetParam(fn, 5 + k), mem[k], 8);
    }
    LV bits = LLVMBuildZExt(b, LLVMBuildBitCast(b, LLVMGetParam(fn, 4), g->i16, ""), g->i32, "");
    LLVMBuildBr(b, loop);
    LLVMPositionBuilderAtEnd(b, loop);
    LV i = LLVMBuildPhi(b, g->i32, "");
    LV one = LLVMBuildAnd(b, LLVMBuildLShr(b, bits, i, ""), cg_i32(g, 1), "");
    LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntNE, one, cg_i32(g, 0), ""), bad, next);
    LLVMPositionBuilderAtEnd(b, bad);
    LV at = LLVMBuildZExt(b, i, g->i64, ""), p = LLVMBuildGEP2(b, g->i64, mem[0], &at, 1, ""),
       q = LLVMBuildGEP2(b, g->i64, mem[1], &at, 1, "");
    cg_call(g, record_fn(g),
            (LV[]){LLVMGetParam(fn, 0), LLVMGetParam(fn, 1), LLVMGetParam(fn, 2), LLVMGetParam(fn, 3),
                   cg_load(g, g->i64, p, 8), cg_load(g, g->i64, q, 8)},
            6, "");
    LLVMBuildBr(b, next);
    LLVMPositionBuilderAtEnd(b, next);
    LV i2 = LLVMBuildAdd(b, i, cg_i32(g, 1), "");
    LLVMBuildCondBr(b, LLVMBuildICmp(b, LLVMIntULT, i2, cg_i32(g, LANES), ""), loop, end);
    LLVMAddIncoming(i, (LV[]){cg_i32(g, 0), i2}, (LLVMBasicBlockRef[]){entry, next}, 2);
    LLVMPositionBuilderAtEnd(b, end);
    LLVMBuildRetVoid(b);
    LLVMPositionBuilderAtEnd(b, from);
    return fn;
}

void access_record(CgFn *f, const KInstRec *in)
{
    Cg *g = f->g;
    LLVMBuilderRef b = g->b;
    Cv ok = index_value(f, karg(f->k, in, 0)), index = index_value(f, karg(f->k, in, 1)),
       bound = index_value(f, karg(f->k, in, 2));
    LV msg = cg_i32(g, in->imm.i), bad;
    bool lanes = f->vec && (ok.kind == CV_VEC || index.kind != CV_UNI || bound.kind != CV_UNI);
    LV mask = NULL;
    if (lanes) {
        mask = and_mask(g, f->mask, LLVMBuildNot(b, cv_vec(f, ok), ""));
        bad = LLVMBuildICmp(b, LLVMIntNE, LLVMBuildBitCast(b, mask, g->i16, ""), LLVMConstInt(g->i16, 0, false), "");
    } else {
        bad = LLVMBuildNot(b, ok.v, "");
    }
    LLVMBasicBlockRef yes = cg_block(g, f->fn, "bad"), done = cg_block(g, f->fn, "good");
    LLVMBuildCondBr(b, bad, yes, done);
    LLVMPositionBuilderAtEnd(b, yes);
    if (lanes) cg_call(g, record_lanes_fn(f), (LV[]){f->ctx, f->tid, f->step, msg, mask, cv_vec(f, index), cv_vec(f, bound)}, 7, "");
    else cg_call(g, record_fn(g), (LV[]){f->ctx, f->tid, f->step, msg, index.v, bound.v}, 6, "");
    LLVMBuildBr(b, done);
    LLVMPositionBuilderAtEnd(b, done);
}
