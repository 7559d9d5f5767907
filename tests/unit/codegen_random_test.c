/* codegen_random_test: random kernels, compiled (lanes, threads, every target here) against the interpreter. Only
 * operations that are exact are drawn,
 * so results must be equal to the bit (but for the sign of a zero, which max and min leave open). The seed of a
 * failure is printed; argument: seed [count]. */
#include "tests/unit/codegen_unit.h"

enum { MAX_IN = 4, MAX_BYTES = 1 << 16 };

typedef struct Gen {
    Unit *u;
    Rng r;
    Kb *b;
    KBuf in[MAX_IN], out[3], mid;
    int n_in, n_out;
    KVal iv[8];
    int n_iv;
    int64_t trip[8];
    bool lanes; /* inside a VEC loop */
    int size;   /* instructions left to draw */
} Gen;

static const DType types[] = {DT_F32, DT_F32, DT_F64, DT_F16, DT_BF16, DT_I8,  DT_I16,
                              DT_I32, DT_I64, DT_U8,  DT_U16, DT_U32,  DT_U64, DT_BOOL};
static int64_t roll(Gen *g, int64_t n) { return rng_in(&g->r, 0, n - 1); }
static bool chance(Gen *g, int percent) { return roll(g, 100) < percent; }
static DType any_type(Gen *g) { return types[roll(g, sizeof types / sizeof *types)]; }

static KVal value_of(Gen *g, DType t, int depth);

/* Some integer in terms of the loops. */
static KVal raw_index(Gen *g)
{
    if (!g->n_iv || chance(g, 10)) return kb_i(g->b, roll(g, 5));
    KVal i = g->iv[chance(g, 60) ? g->n_iv - 1 : roll(g, g->n_iv)];
    switch (roll(g, 8)) {
    case 0: return kb_add(g->b, kb_mul(g->b, i, kb_i(g->b, 2)), kb_i(g->b, roll(g, 3)));
    case 1: return kb_sub(g->b, kb_i(g->b, roll(g, 20)), i);
    case 2: return kb_bin(g->b, KOP_FLOORDIV, i, kb_i(g->b, 1 + roll(g, 4)));
    case 3: return kb_sub(g->b, i, kb_i(g->b, roll(g, 4)));
    case 4: return kb_add(g->b, i, g->iv[roll(g, g->n_iv)]);
    default: return i;
    }
}

/* Index into an axis of that length: made to fit by mod or clamp, or guarded. */
static KVal index_of(Gen *g, Dim dim, KVal *guard)
{
    Kb *b = g->b;
    KVal i = chance(g, 8) && g->size > 0 ? kb_cast(b, DT_I64, value_of(g, DT_I32, 2)) : raw_index(g),
         n = kb_dim(b, dim);
    switch (guard ? roll(g, 3) : roll(g, 2)) {
    case 0: return kb_bin(b, KOP_MOD, i, n);
    case 1: return kb_max(b, kb_min(b, i, kb_sub(b, n, kb_i(b, 1))), kb_i(b, 0));
    default: {
        KVal ok = kb_and(b, kb_ge(b, i, kb_i(b, 0)), kb_lt(b, i, n));
        *guard = guard->i ? kb_and(b, *guard, ok) : ok;
        return i;
    }
    }
}

static KVal load_of(Gen *g, DType t)
{
    Kb *b = g->b;
    KBuf from = g->mid.i && chance(g, 30) ? g->mid : g->in[roll(g, g->n_in)];
    const KBufRec r = *kbuf(&g->u->m, from);
    KVal idx[RANK_MAX], guard = {0};
    bool guarded = chance(g, 40);
    for (int a = 0; a < r.rank; a++) idx[a] = index_of(g, r.dim[a], guarded ? &guard : NULL);
    uint32_t p = kb_param(b, from, false);
    KVal v = guard.i ? kb_load_if(b, p, idx, guard, chance(g, 50) ? value_of(g, dtype_compute(r.elem), 1) : (KVal){0})
                     : kb_load(b, p, idx);
    return kb_cast(b, t, v);
}

static KVal reduce_of(Gen *g, DType t)
{
    static const KOp ops[] = {KOP_ADD, KOP_MIN, KOP_MAX, KOP_MUL, KOP_AND, KOP_XOR};
    Kb *b = g->b;
    KbLoop l;
    bool f = dtype_is_float(t), vec = !g->lanes && chance(g, 60);
    KVal init[2];
    KOp op[2];
    int n = 1 + (int)roll(g, 2);
    for (int c = 0; c < n; c++) {
        op[c] = t == DT_BOOL ? KOP_AND : ops[roll(g, f ? 3 : 6)];
        init[c] = value_of(g, t, 1);
    }
    int64_t trip = chance(g, 15) ? 0 : 1 + roll(g, 40);
    if (g->n_iv == 8) return init[0];
    kb_loop(b, &l, vec ? KLOOP_VEC : KLOOP_SEQ, kb_i(b, roll(g, 2)), kb_i(b, trip), (uint32_t)n, init, op);
    g->iv[g->n_iv++] = l.iv;
    bool was = g->lanes;
    g->lanes |= vec;
    KVal next[2];
    for (int c = 0; c < n; c++) next[c] = kb_bin(b, op[c], l.carry[c], value_of(g, t, 2));
    g->lanes = was;
    g->n_iv--;
    kb_loop_end(b, &l, next);
    return n == 2 && t != DT_BOOL ? kb_bin(b, KOP_SUB, l.result[0], l.result[1]) : l.result[0];
}

static KVal value_of(Gen *g, DType t, int depth)
{
    static const KOp float_ops[] = {KOP_ADD, KOP_SUB, KOP_MUL, KOP_MIN, KOP_MAX},
                     int_ops[] = {KOP_ADD, KOP_SUB, KOP_MUL, KOP_MIN, KOP_MAX, KOP_DIV, KOP_MOD,
                                  KOP_REM, KOP_AND, KOP_OR,  KOP_XOR, KOP_SHL, KOP_SHR};
    static const KOp float_un[] = {KOP_NEG, KOP_ABS, KOP_FLOOR, KOP_CEIL, KOP_RINT, KOP_TRUNC, KOP_SIGN},
                     int_un[] = {KOP_NEG, KOP_ABS, KOP_NOT, KOP_SIGN}, bool_ops[] = {KOP_AND, KOP_OR, KOP_XOR};
    static const KOp cmp[] = {KOP_EQ, KOP_NE, KOP_LT, KOP_LE, KOP_GT, KOP_GE};
    Kb *b = g->b;
    bool f = dtype_is_float(t);
    if (--g->size < 0 || depth <= 0) {
        if (chance(g, 50))
            return f ? kb_const_f(b, t, (double)rng_in(&g->r, -20, 20) / 4) : kb_const_i(b, t, rng_in(&g->r, -5, 5));
        return g->n_iv && chance(g, 40) ? kb_cast(b, t, raw_index(g)) : load_of(g, t);
    }
    switch (roll(g, 10)) {
    case 0:
    case 1: return load_of(g, t);
    case 2: return kb_cast(b, t, value_of(g, dtype_compute(any_type(g)), depth - 1));
    case 3: {
        DType c = dtype_compute(any_type(g));
        KVal x = value_of(g, c, depth - 1), y = value_of(g, c, depth - 1);
        KVal ok = c == DT_BOOL ? kb_eq(b, x, y) : kb_bin(b, cmp[roll(g, 6)], x, y);
        return t == DT_BOOL ? ok : kb_select(b, ok, value_of(g, t, depth - 1), value_of(g, t, depth - 1));
    }
    case 4:
        if (t == DT_BOOL) return kb_un(b, KOP_NOT, value_of(g, t, depth - 1));
        return kb_un(b, f ? float_un[roll(g, 7)] : int_un[roll(g, 4)], value_of(g, t, depth - 1));
    case 5: return depth > 1 && chance(g, 60) ? reduce_of(g, t) : load_of(g, t);
    case 6: {
        DType narrow = f ? (chance(g, 50) ? DT_F16 : DT_BF16) : any_type(g);
        KVal v = kb_cast(b, narrow, value_of(g, t, depth - 1));
        return kb_cast(b, t, v);
    }
    default: {
        KVal x = value_of(g, t, depth - 1), y = value_of(g, t, depth - 1);
        return kb_bin(b, t == DT_BOOL ? bool_ops[roll(g, 3)] : f ? float_ops[roll(g, 5)] : int_ops[roll(g, 13)], x, y);
    }
    }
}

/* One kernel that writes every element of `to` (or those that a predicate leaves). */
static void kernel_for(Gen *g, KBuf to)
{
    const KBufRec r = *kbuf(&g->u->m, to);
    Kb *b = g->b = kb_new(&g->u->m, "random", (KLoc){0});
    uint32_t p = kb_param(b, to, true);
    bool par = chance(g, 70), vec = chance(g, 75);
    KVal idx[RANK_MAX];
    int order[RANK_MAX];
    for (int a = 0; a < r.rank; a++) order[a] = a;
    if (r.rank > 1 && chance(g, 30)) order[0] = 1, order[1] = 0;
    g->n_iv = 0;
    g->size = 25;
    int n = 0;
    for (int a = 0; a < r.rank; a++, n++) {
        bool last = a == r.rank - 1;
        KLoop kind = last && vec ? KLOOP_VEC : par ? KLOOP_PAR : KLOOP_SEQ;
        if (kind == KLOOP_PAR && a && chance(g, 25)) par = false, kind = KLOOP_SEQ;
        idx[order[a]] = g->iv[g->n_iv++] = kb_for(b, kind, kb_i(b, 0), kb_dim(b, r.dim[order[a]]));
        g->lanes = kind == KLOOP_VEC;
    }
    KVal v = value_of(g, dtype_compute(r.elem), 4);
    KVal pred = r.space == KS_OUT && chance(g, 15)
                    ? kb_bin(b, KOP_NE, kb_bin(b, KOP_MOD, raw_index(g), kb_i(b, 3)), kb_i(b, 1))
                    : (KVal){0};
    if (pred.i) kb_store_if(b, p, idx, v, pred);
    else kb_store(b, p, idx, v);
    while (n--) kb_end(b);
    g->lanes = false;
    kb_finish(b, &g->u->m.program);
    kstep_add(&g->u->m, &g->u->m.program, KST_BARRIER, (KLoc){0});
}

static void random_bytes(Gen *g, DType t, int64_t n, void *to)
{
    for (int64_t i = 0; i < n; i++) {
        KScalar s = {.i = (int64_t)(rng_next(&g->r) >> roll(g, 64))};
        if (dtype_is_float(t))
            s.f = chance(g, 3) ? NAN : chance(g, 3) ? INFINITY : (double)rng_in(&g->r, -4000, 4000) / 16;
        if (t == DT_BOOL) s.i &= 1;
        kscalar_store(t, to, i, s);
    }
}

static bool equal(DType t, const void *p, const void *q, int64_t i)
{
    KScalar a = kscalar_load(t, p, i), b = kscalar_load(t, q, i);
    if (!dtype_is_float(t)) return a.i == b.i;
    return a.f == b.f || (isnan(a.f) && isnan(b.f));
}

static void one(uint64_t seed)
{
    static const char *const cpus[] = {"native", "native", "x86-64-v3", "x86-64"};
    static const int64_t lengths[] = {1, 2, 3, 5, 15, 16, 17, 33};
    Unit u;
    Gen g = {.u = &u, .r = {seed * 0x9e3779b97f4a7c15u + 1}};
    unit_open(&u, cpus[roll(&g, 4)]);
    Sym sym = sym_new(&u.dims, name_of(&u.names, "n"), SYM_ENTRY, 0, 64);
    int64_t n_value = lengths[roll(&g, 8)];
    bool bound = false;
    g.n_in = 1 + (int)roll(&g, 3);
    g.n_out = 1 + (int)roll(&g, 2);
    for (int i = 0; i < g.n_in + g.n_out + 1; i++) {
        int rank = (int)roll(&g, 4);
        Dim d[4];
        for (int a = 0; a < rank; a++) {
            bool use = chance(&g, 25) && (bound || i < g.n_in);
            d[a] = use ? dim_sym(&u.dims, sym) : dim_k(&u, lengths[roll(&g, rank > 2 ? 6 : 8)]);
            if (use && !bound) {
                bound = true;
                u.dims.sym.p[sym.i].input = i;
                u.dims.sym.p[sym.i].axis = a;
            }
        }
        DType t = any_type(&g);
        if (i < g.n_in) g.in[i] = port(&u, false, arena_printf(&u.a, "x%d", i), t, rank, d);
        else if (i < g.n_in + g.n_out) g.out[i - g.n_in] = port(&u, true, arena_printf(&u.a, "y%d", i), t, rank, d);
        else g.mid = kbuf_new(&u.m, KS_ARENA, name_of(&u.names, "mid"), t, rank, d, (KLoc){0});
    }
    KBuf mid = g.mid;
    g.mid = (KBuf){0};
    kernel_for(&g, mid);
    g.mid = mid;
    for (int i = 0; i < g.n_out; i++) kernel_for(&g, g.out[i]);
    bmc_value in[MAX_IN], got[3], want[3];
    int64_t count[3];
    for (int i = 0; i < g.n_in + g.n_out; i++) {
        const KBufRec *r = kbuf(&u.m, i < g.n_in ? g.in[i] : g.out[i - g.n_in]);
        int64_t dim[4], n = 1;
        for (int a = 0; a < r->rank; a++) {
            int64_t k;
            n *= dim[a] = dim_is_const(&u.dims, r->dim[a], &k) ? k : n_value;
        }
        void *mem = arena_alloc(&u.a, (size_t)n * 8 + 8), *mem2 = arena_alloc(&u.a, (size_t)n * 8 + 8);
        if (i < g.n_in) {
            random_bytes(&g, r->elem, n, mem);
            in[i] = value(r->elem, mem, r->rank, dim);
        } else {
            count[i - g.n_in] = n;
            got[i - g.n_in] = value(r->elem, mem, r->rank, dim);
            want[i - g.n_in] = value(r->elem, mem2, r->rank, dim);
        }
    }
    const char *why = "";
    bool ok = CHECK(unit_load(&u, (int)roll(&g, 2) * 2, 1 + (int)roll(&g, 4)));
    bmc_status s = ok ? u.model->run(u.ctx, in, got) : BMC_OK, e = kir_eval(&u.m, &u.a, in, want, &why);
    if (ok) ok = CHECK(s == e);
    if (!ok && u.ctx) printf("    %s | %s\n", u.model->message(u.ctx), why);
    for (int o = 0; ok && s == BMC_OK && o < g.n_out; o++) {
        const KBufRec *r = kbuf(&u.m, g.out[o]);
        for (int64_t i = 0; ok && i < count[o]; i++) {
            ok = CHECK(equal(r->elem, got[o].data, want[o].data, i));
            KScalar a = kscalar_load(r->elem, got[o].data, i), b = kscalar_load(r->elem, want[o].data, i);
            if (!ok)
                printf("    output %d element %lld: got %.9g|%lld, want %.9g|%lld\n", o, (long long)i, a.f,
                       (long long)a.i, b.f, (long long)b.i);
        }
    }
    if (!ok && getenv("LL")) { /* LLVM IR without and with passes: $LL0, $LL2 */
        for (int level = 0; level <= 2; level += 2) {
            CodegenOptions o = options(level, CG_LL, arena_printf(&u.a, "%s%d", getenv("LL"), level));
            codegen_emit(&u.m, &o);
        }
    }
    if (!ok) {
        Str text;
        str_init(&text, &u.a);
        kir_print(&text, &u.m);
        printf("seed %llu, cpu %s\n%s\n", (unsigned long long)seed, u.m.target.cpu,
               getenv("SHOW") ? str_get(&text) : "");
    }
    unit_close(&u);
}

int main(int argc, char **argv)
{
    uint64_t first = argc > 1 ? strtoull(argv[1], NULL, 10) : 1, n = argc > 2   ? strtoull(argv[2], NULL, 10)
                                                                     : argc > 1 ? 1
                                                                                : 60;
    if (!unit_setup()) return 1;
    for (uint64_t k = 0; k < n; k++) one(first + k);
    rmdir(dir);
    return check_done();
}
