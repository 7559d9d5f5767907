/* kir_test: random kernels and programs, drawn from kop.def: the verifier accepts them, printing is stable through
 * the parser, the parsed module and the module after every pass give the same results as the one that was built. Then
 * arithmetic against values written down here, and queries about values. Mutilated texts must be refused with a
 * message or go through. Reductions are drawn so that any order gives the same bits (integers, min, max, sums of
 * small integers), because schedule changes the order. The seed of a failure is printed; arguments: seed [count]. */
#include <math.h>
#include <stdlib.h>
#include "ir/kernel/eval.h"
#include "ir/kernel/eval_scalar.h"
#include "ir/kernel/launches.h"
#include "passes/kernel/kpasses.h"
#include "tests/unit/check.h"

enum { D = 5, MAX_BUF = 24 };

typedef struct Mod {
    Arena a;
    Diag diag;
    Names names;
    Dims dims;
    Types types;
    Blobs blobs;
    KModule m;
} Mod;
typedef struct Gen {
    Mod *o;
    Rng r;
    Kb *b;
    KBuf buf[MAX_BUF];
    int n;
    KVal iv[2];
    Dim N;
} Gen;

static void mod_init(Mod *o)
{
    arena_init(&o->a, "test", NULL);
    diag_init(&o->diag, &o->a);
    names_init(&o->names, &o->a);
    dims_init(&o->dims, &o->a, &o->names);
    types_init(&o->types, &o->a, &o->dims);
    blobs_init(&o->blobs, &o->a);
    kmodule_init(&o->m, &o->a, &o->diag, &o->names, &o->dims, &o->types, &o->blobs);
}

static int64_t roll(Gen *g, int64_t n) { return rng_in(&g->r, 0, n - 1); }

/* ---- random values ---- */
static const DType drawn[] = {DT_F32, DT_F32, DT_F64, DT_I8, DT_I32, DT_I64, DT_U8, DT_U16, DT_U64, DT_BOOL};
static KVal value(Gen *g, DType t, int depth);

static KVal leaf(Gen *g, DType t)
{
    static const double f[] = {0, -0.0, 1, -1, 0.5, 3, INFINITY, NAN, 1e30, 1e-40};
    static const int64_t x[] = {0, 1, -1, 2, 7, 127, -128, 255, INT64_MIN, INT64_MAX};
    if (t == DT_I64 && roll(g, 2)) return g->iv[roll(g, 2)];
    if (t == DT_I64 && roll(g, 4) == 0) return kb_dim(g->b, g->N);
    if (roll(g, 3)) {
        /* a load at the loop's place, or anywhere under a guard */
        KBuf from = g->buf[roll(g, g->n)];
        const KBufRec *r = kbuf(&g->o->m, from);
        uint32_t p = kb_param(g->b, from, false);
        KVal v, at[2] = {g->iv[0], g->iv[1]};
        if (roll(g, 3) == 0) {
            KVal i = kb_add(g->b, g->iv[0], kb_i(g->b, roll(g, 5) - 2)),
                 ok = kb_and(g->b, kb_ge(g->b, i, kb_i(g->b, 0)), kb_lt(g->b, i, kb_dim(g->b, g->N)));
            at[0] = i;
            v = kb_load_if(g->b, p, at, ok, (KVal){0});
        } else v = kb_load(g->b, p, at);
        return kb_cast(g->b, t, kb_cast(g->b, dtype_compute(r->elem), v));
    }
    if (dtype_is_float(t)) return kb_const_f(g->b, t, f[roll(g, 10)]);
    return kb_const_i(g->b, t, x[roll(g, 10)]);
}

static bool takes(KOp op, DType t)
{
    bool f = dtype_is_float(t), b = t == DT_BOOL;
    switch (op) {
    case KOP_AND:
    case KOP_OR:
    case KOP_XOR:
    case KOP_NOT: return !f;
    case KOP_SHL:
    case KOP_SHR: return !f && !b;
    case KOP_SQRT: return f;
    case KOP_MIN:
    case KOP_MAX: return true;
    default: return kop_info(op)->flags & KF_MATH ? f : !b;
    }
}

/* A value of type t by some operation of kop.def that gives t. */
static KVal value(Gen *g, DType t, int depth)
{
    if (depth <= 0) return leaf(g, t);
    for (;;) {
        KOp op = (KOp)(1 + roll(g, KOP_COUNT - 1));
        const KOpInfo *info = kop_info(op);
        DType from = drawn[roll(g, sizeof drawn / sizeof *drawn)];
        if (!(info->flags & KF_PURE) || info->n_args < 1) continue;
        if (op == KOP_SELECT) {
            KVal c = value(g, DT_BOOL, depth - 1), x = value(g, t, depth - 1);
            return kb_select(g->b, c, x, value(g, t, depth - 1));
        }
        if (op == KOP_CAST) {
            static const DType narrow[] = {DT_F16, DT_BF16, DT_F32};
            if (t == DT_F32) return kb_cast(g->b, narrow[roll(g, 3)], value(g, from, depth - 1));
            return kb_cast(g->b, t, value(g, from, depth - 1));
        }
        if (op == KOP_BITCAST) { /* not from floats: a nan's bits are nobody's business */
            if (t == DT_F32) return kb_bitcast(g->b, t, value(g, DT_I32, depth - 1));
            continue;
        }
        if (op == KOP_FLOORDIV) {
            if (t == DT_I64) return kb_bin(g->b, op, value(g, t, depth - 1), kb_i(g->b, 1 + roll(g, 9)));
            continue;
        }
        if (info->flags & KF_CMP || op == KOP_ISNAN || op == KOP_ISINF) {
            if (t != DT_BOOL || (from == DT_BOOL && info->n_args == 1)) continue;
            KVal x = value(g, from, depth - 1);
            if (info->n_args == 1) return kb_un(g->b, op, x);
            return kb_bin(g->b, op, x, value(g, from, depth - 1));
        }
        if (!takes(op, t)) continue;
        KVal x = value(g, t, depth - 1);
        if (info->n_args == 1) return kb_un(g->b, op, x);
        KVal y = value(g, t, depth - 1);
        if (info->n_args == 2) return kb_bin(g->b, op, x, y);
        return kb_fma(g->b, x, y, value(g, t, depth - 1));
    }
}

/* ---- random kernels over [N, D] buffers ---- */
static void map_kernel(Gen *g, KBuf out)
{
    DType t = dtype_compute(kbuf(&g->o->m, out)->elem);
    KLoop inner = roll(g, 3) == 0 ? KLOOP_VEC : roll(g, 3) ? KLOOP_PAR : KLOOP_SEQ;
    g->iv[0] = kb_for(g->b, KLOOP_PAR, kb_i(g->b, 0), kb_dim(g->b, g->N));
    g->iv[1] = kb_for(g->b, inner, kb_i(g->b, 0), kb_i(g->b, D));
    KVal v = value(g, t, (int)roll(g, 4) + 1);
    uint32_t p = kb_param(g->b, out, true);
    if (roll(g, 4) == 0) { /* every element gets a value: fresh memory is nonsense */
        kb_store(g->b, p, g->iv, kb_const_i(g->b, t, 1));
        kb_store_if(g->b, p, g->iv, v, value(g, DT_BOOL, 2));
    } else kb_store(g->b, p, g->iv, v);
    kb_end(g->b);
    kb_end(g->b);
}

/* A value whose sum, product, min, ... has the same bits in any order. */
static KVal exact(Gen *g, DType t, KOp op)
{
    KVal small = kb_bin(g->b, KOP_AND, kb_cast(g->b, DT_I64, value(g, DT_I32, 2)), kb_i(g->b, 15));
    if (!dtype_is_float(t)) return value(g, t, 2);
    return op == KOP_ADD ? kb_cast(g->b, t, small) : value(g, t, 2);
}

/* Reduces axis `axis` of the [N, D] space and stores the result in the whole row or column. */
static void reduce_kernel(Gen *g, KBuf out, int axis)
{
    static const KOp ints[] = {KOP_ADD, KOP_MUL, KOP_MIN, KOP_MAX, KOP_AND, KOP_OR, KOP_XOR},
                     floats[] = {KOP_ADD, KOP_MIN, KOP_MAX};
    DType t = dtype_compute(kbuf(&g->o->m, out)->elem);
    KOp op = t == DT_BOOL        ? KOP_OR
             : dtype_is_float(t) ? floats[roll(g, 3)]
                                 : ints[roll(g, 7)],
        combine = roll(g, 3) ? op : KOP_NONE;
    KVal hi[2] = {kb_dim(g->b, g->N), kb_i(g->b, D)},
         init = dtype_is_float(t) ? kb_const_f(g->b, t, (double)roll(g, 5)) : kb_const_i(g->b, t, roll(g, 5)),
         zero = kb_i(g->b, 0);
    KbLoop l, store;
    g->iv[1 - axis] = kb_for(g->b, KLOOP_PAR, zero, hi[1 - axis]);
    kb_loop(g->b, &l, combine && roll(g, 2) ? KLOOP_VEC : KLOOP_SEQ, zero, hi[axis], 1, &init, &combine);
    g->iv[axis] = l.iv;
    KVal next = kb_bin(g->b, op, l.carry[0], exact(g, t, op));
    kb_loop_end(g->b, &l, &next);
    uint32_t p = kb_param(g->b, out, true);
    kb_loop(g->b, &store, KLOOP_SEQ, zero, hi[axis], 0, NULL, NULL);
    g->iv[axis] = store.iv;
    kb_store(g->b, p, g->iv, roll(g, 2) ? l.result[0] : kb_bin(g->b, op, l.result[0], exact(g, t, op)));
    kb_end(g->b);
    kb_end(g->b);
}

/* A scan along the rows with two carries: no lanes. */
static void scan_kernel(Gen *g, KBuf out)
{
    DType t = dtype_compute(kbuf(&g->o->m, out)->elem);
    KVal zero = kb_i(g->b, 0), init[2] = {kb_const_i(g->b, t, 0), zero};
    KbLoop l;
    g->iv[1] = kb_for(g->b, KLOOP_PAR, zero, kb_i(g->b, D));
    kb_loop(g->b, &l, KLOOP_SEQ, zero, kb_dim(g->b, g->N), 2, init, NULL);
    g->iv[0] = l.iv;
    KVal v = value(g, t, 2), take = value(g, DT_BOOL, 1),
         y[2] = {kb_select(g->b, take, v, l.carry[0]), kb_select(g->b, take, l.iv, l.carry[1])};
    kb_store(g->b, kb_param(g->b, out, true), g->iv, kb_select(g->b, kb_lt(g->b, l.carry[1], l.iv), y[0], l.carry[0]));
    kb_loop_end(g->b, &l, y);
    kb_end(g->b);
}

static KBuf buffer(Gen *g, KSpace space, DType t)
{
    KBuf b = kbuf_new(&g->o->m, space, (Name){0}, t, 2, (Dim[]){g->N, dim_const(&g->o->dims, D)}, (KLoc){0});
    return b;
}

static void kernel(Gen *g, KSteps *to, KBuf out)
{
    KModule *m = &g->o->m;
    Gen all = *g;
    for (int i = 0; i < g->n; i++) /* an iteration must not read what another one writes */
        if (g->buf[i].i == out.i) g->buf[i] = g->buf[--g->n];
    g->b = kb_new(m, "k", kloc_new(m, (int32_t)roll(g, 4), name_of(&g->o->names, "n"), name_of(&g->o->names, "Op")));
    switch (roll(g, 5)) {
    case 0: reduce_kernel(g, out, 0); break;
    case 1: reduce_kernel(g, out, 1); break;
    case 2: scan_kernel(g, out); break;
    default: map_kernel(g, out);
    }
    memcpy(g->buf, all.buf, sizeof g->buf);
    g->n = all.n;
    kb_finish(g->b, to);
}

static const DType stored[] = {DT_F32, DT_F32, DT_F64, DT_F16, DT_BF16, DT_I8,
                               DT_I32, DT_I64, DT_U8,  DT_U64, DT_BOOL, DT_I4};

static KBuf new_value(Gen *g, KSteps *to)
{
    KBuf b = buffer(g, KS_ARENA, stored[roll(g, sizeof stored / sizeof *stored)]);
    kernel(g, to, b);
    if (g->n < MAX_BUF) g->buf[g->n++] = b;
    return b;
}

/* Values made in a branch or a loop are not seen behind it; one buffer made before is overwritten in it. */
static void nested(Gen *g, KSteps *body, KBuf old)
{
    int n = g->n;
    for (int64_t i = roll(g, 3); i >= 0; i--) new_value(g, body);
    if (old.i) kernel(g, body, old);
    g->n = n;
}

static void program(Gen *g)
{
    KModule *m = &g->o->m;
    Dims *d = &g->o->dims;
    Sym n = sym_new(d, name_of(&g->o->names, "N"), SYM_ENTRY, 0, INT64_MAX),
        k = sym_new(d, name_of(&g->o->names, "k"), SYM_NODE, 0, 100),
        x = sym_new(d, name_of(&g->o->names, "x"), SYM_NODE, INT64_MIN, INT64_MAX);
    d->sym.p[n.i].input = d->sym.p[n.i].axis = 0;
    g->N = dim_sym(d, n);
    m->threads = roll(g, 2);
    for (int i = 0; i < 2; i++) {
        KBuf b = buffer(g, KS_IN, i ? DT_I32 : DT_F32);
        kbuf(m, b)->port = i;
        TypeId t = type_tensor(&g->o->types, kbuf(m, b)->elem, 2, kbuf(m, b)->dim);
        vec_push(
            m->arena, &m->input,
            (KPort){.name = name_of(&g->o->names, i ? "b" : "a"), .type = t, .buf = b, .alias = -1, .alias_axis = -1});
        g->buf[g->n++] = b;
    }
    for (int64_t i = roll(g, 4); i >= 0; i--) {
        KBuf b = new_value(g, &m->program);
        if (roll(g, 3) == 0) {
            KStep *s = kstep_add(m, &m->program, KST_WHILE, (KLoc){0});
            s->a = dim_sub(d, dim_const(d, roll(g, 4)), dim_sym(d, k));
            s->carry = arena_memdup(m->arena, &k, sizeof k);
            s->init = arena_memdup(m->arena, &(Dim){dim_const(d, 0).i}, sizeof(Dim));
            s->next_val = arena_memdup(m->arena, &(Dim){dim_add(d, dim_sym(d, k), dim_const(d, 1)).i}, sizeof(Dim));
            s->n_carry = 1;
            nested(g, s->body, roll(g, 2) ? b : (KBuf){0});
        } else if (roll(g, 3) == 0) {
            KBuf flag = kbuf_new(m, KS_CONST, (Name){0}, DT_I64, 1, (Dim[]){dim_const(d, 1)}, (KLoc){0});
            kbuf(m, flag)->blob = blob_splat_i(&g->o->blobs, DT_I64, 1, roll(g, 2));
            KStep *s = kstep_add(m, &m->program, KST_LOAD, (KLoc){0});
            s->sym = x;
            s->buf = flag;
            s->a = dim_const(d, 0);
            s = kstep_add(m, &m->program, KST_IF, (KLoc){0});
            s->a = dim_sym(d, x);
            nested(g, s->body, b);
            nested(g, s->other, roll(g, 2) ? b : (KBuf){0});
        }
    }
    for (int i = 0; i < 2; i++) {
        KBuf b = buffer(g, KS_OUT, i ? DT_I64 : DT_F32);
        kbuf(m, b)->port = i;
        TypeId t = type_tensor(&g->o->types, kbuf(m, b)->elem, 2, kbuf(m, b)->dim);
        vec_push(
            m->arena, &m->output,
            (KPort){.name = name_of(&g->o->names, i ? "z" : "y"), .type = t, .buf = b, .alias = -1, .alias_axis = -1});
        kernel(g, &m->program, b);
    }
}

/* ---- comparing ---- */
typedef struct Result {
    bmc_status status;
    const char *why;
    bmc_value out[2];
} Result;

static void evaluate(Mod *o, Arena *a, int64_t rows, uint64_t seed, Result *r)
{
    Rng rng = {seed};
    float x[64 * D];
    int32_t y[64 * D];
    bmc_value in[2] = {{.size = sizeof(bmc_value),
                        .kind = BMC_TENSOR,
                        .dtype = DT_F32,
                        .rank = 2,
                        .data = x,
                        .bytes = sizeof x,
                        .dim = {rows, D}},
                       {.size = sizeof(bmc_value),
                        .kind = BMC_TENSOR,
                        .dtype = DT_I32,
                        .rank = 2,
                        .data = y,
                        .bytes = sizeof y,
                        .dim = {rows, D}}};
    for (int i = 0; i < 64 * D; i++) {
        x[i] = (float)rng_in(&rng, -64, 64) / 4;
        y[i] = (int32_t)rng_next(&rng);
    }
    memset(r, 0, sizeof *r);
    r->status = kir_eval(&o->m, a, in, r->out, &r->why);
}

static bool equal(const Result *a, const Result *b)
{
    if (a->status != b->status) return false;
    for (int o = 0; o < 2 && a->status == BMC_OK; o++) {
        if (a->out[o].bytes != b->out[o].bytes) return false;
        const float *x = a->out[o].data, *y = b->out[o].data;
        if (o) {
            if (memcmp(x, y, a->out[o].bytes)) return false;
        } else
            for (size_t i = 0; i < a->out[o].bytes / 4; i++)
                if (!(x[i] == y[i] || (isnan(x[i]) && isnan(y[i])))) return false;
    }
    return true;
}

static const char *print_of(Mod *o)
{
    Str s;
    str_init(&s, &o->a);
    kir_print(&s, &o->m);
    return str_get(&s);
}

static bool pass_of(KModule *m, int pass)
{
    bool failed = false, changed;
    switch (pass) {
    case 0: return kpass_simplify(m);
    case 1: return kpass_schedule(m);
    case 2: changed = kpass_plan_memory(m, &failed); return CHECK(!failed) && changed;
    default: return kpass_barriers(m);
    }
}

static void one(uint64_t seed)
{
    static const char *const name[] = {"kernel-simplify", "schedule", "plan-memory", "barriers"};
    static const int order[][4] = {{0, 1, 2, 3}, {1, 2, 3, -1}, {2, 3, -1, -1}, {1, 0, 2, 3}};
    Mod *o = calloc(1, sizeof *o);
    Gen g = {.o = o, .r = {seed}};
    Result want[3], got;
    int failed = check_failed;
    static const int64_t rows[] = {0, 3, 37};
    mod_init(o);
    program(&g);
    if (!CHECK(kir_verify(&o->m, "building"))) printf("    %s\n%s", o->diag.first_error, print_of(o));
    for (int i = 0; i < 3 && failed == check_failed; i++) {
        evaluate(o, &o->a, rows[i], seed, &want[i]);
        if (!CHECK(want[i].status == BMC_OK)) printf("    %s\n", want[i].why);
    }
    const char *text = print_of(o);
    for (int t = 0; t < 4 && failed == check_failed; t++) {
        Mod *p = calloc(1, sizeof *p);
        mod_init(p);
        if (!CHECK(kir_parse(&p->m, "random", text, strlen(text)))) printf("    %s\n", p->diag.first_error);
        CHECK_STR(print_of(p), text);
        for (int n = 0; n < 4 && order[t][n] >= 0 && failed == check_failed; n++) {
            pass_of(&p->m, order[t][n]);
            if (!CHECK(kir_verify(&p->m, name[order[t][n]]))) printf("    %s\n", p->diag.first_error);
            const char *once = print_of(p);
            CHECK(!pass_of(&p->m, order[t][n]));
            CHECK_STR(print_of(p), once);
            for (int i = 0; i < 3 && failed == check_failed; i++) {
                evaluate(p, &p->a, rows[i], seed, &got);
                if (!CHECK(equal(&got, &want[i])))
                    printf("    after %s, %d rows: %s\n%s", name[order[t][n]], (int)rows[i], got.why, once);
            }
        }
        arena_free(&p->a);
        free(p);
    }
    if (failed != check_failed) printf("    seed %llu\n%s", (unsigned long long)seed, text);
    arena_free(&o->a);
    free(o);
}

/* ---- mutilated text ---- */
/* Words of the text are dropped, doubled, swapped or replaced by others: whatever comes out, reading, checking and
 * every pass end without a crash. */
static void mutate(uint64_t seed)
{
    Mod *o = calloc(1, sizeof *o);
    Gen g = {.o = o, .r = {seed}};
    mod_init(o);
    program(&g);
    const char *text = print_of(o);
    VEC(const char *) word = {0};
    static const char *const other[] = {"0",       "-1",    "9223372036854775807",
                                        "%i",      "%0",    "par",
                                        "vec",     "seq",   "{",
                                        "}",       "(",     ")",
                                        "[",       "]",     "N",
                                        "k",       "f32",   "i4",
                                        "str",     "store", "load",
                                        "yield",   "0.0",   "true",
                                        "for",     "carry", "macc",
                                        "out",     "arena", "box",
                                        "view",    "while", "next",
                                        "$k",      ",",     "=",
                                        "if",      "else",  "inf",
                                        "strides", "add",   "@k0_k",
                                        "dim"};
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, " ,()[]{}\n");
        if (!n) n = 1;
        vec_push(&o->a, &word, arena_strndup(&o->a, p, n));
        p += n;
    }
    for (int round = 0; round < 30; round++) {
        Mod *p = calloc(1, sizeof *p);
        Str s;
        str_init(&s, &o->a);
        uint32_t at[3] = {(uint32_t)roll(&g, word.n), (uint32_t)roll(&g, word.n), (uint32_t)roll(&g, word.n)},
                 edits = 1 + (uint32_t)roll(&g, 3);
        int64_t what = roll(&g, 4);
        for (uint32_t i = 0; i < word.n; i++) {
            bool hit = i == at[0] || (edits > 1 && i == at[1]) || (edits > 2 && i == at[2]);
            if (!hit) str_add(&s, word.p[i]);
            else if (what == 1) str_printf(&s, "%s %s", word.p[i], word.p[i]);
            else if (what == 2) str_printf(&s, " %s ", other[roll(&g, sizeof other / sizeof *other)]);
            else if (what == 3) str_add(&s, word.p[roll(&g, word.n)]);
        }
        mod_init(p);
        if (kir_parse(&p->m, "mutated", str_get(&s), s.n) && kir_verify(&p->m, "parse")) {
            bool failed, ok = true;
            for (int pass = 0; pass < 4 && ok; pass++) {
                if (pass == 2) {
                    kpass_plan_memory(&p->m, &failed);
                    ok = !failed;
                } else pass_of(&p->m, pass);
                ok = ok && CHECK(kir_verify(&p->m, "a pass"));
            }
            if (p->diag.errors && ok)
                printf("    seed %llu round %d: %s\n", (unsigned long long)seed, round, p->diag.first_error);
            CHECK(true);
        } else CHECK(p->diag.errors > 0);
        arena_free(&p->a);
        free(p);
    }
    arena_free(&o->a);
    free(o);
}

/* ---- written-down facts ---- */
static int64_t int_op(KOp op, DType t, int64_t a, int64_t b)
{
    KScalar in[3] = {{.i = a}, {.i = b}}, out;
    CHECK(kscalar_op(op, t, in, &out));
    return out.i;
}

static double float_op(KOp op, DType t, double a, double b)
{
    KScalar in[3] = {{.f = a}, {.f = b}}, out;
    CHECK(kscalar_op(op, t, in, &out));
    return out.f;
}

static void arithmetic(void)
{
    KScalar s;
    CHECK(int_op(KOP_DIV, DT_I32, 7, 0) == 0);
    CHECK(int_op(KOP_DIV, DT_I32, INT32_MIN, -1) == INT32_MIN);
    CHECK(int_op(KOP_DIV, DT_I64, INT64_MIN, -1) == INT64_MIN);
    CHECK(int_op(KOP_DIV, DT_I8, -7, 2) == -3);
    CHECK(int_op(KOP_MOD, DT_I8, -7, 2) == 1);
    CHECK(int_op(KOP_MOD, DT_I8, 7, -2) == -1);
    CHECK(int_op(KOP_REM, DT_I8, -7, 2) == -1);
    CHECK(int_op(KOP_ADD, DT_U8, 200, 100) == 44);
    CHECK(int_op(KOP_MUL, DT_I16, 300, 300) == (int16_t)90000);
    CHECK(int_op(KOP_FLOORDIV, DT_I64, -1, 16) == -1);
    CHECK(int_op(KOP_SHL, DT_I32, 1, 32) == 0);
    CHECK(int_op(KOP_SHR, DT_I8, -5, 9) == -1);
    CHECK(int_op(KOP_SHR, DT_U8, 200, 1) == 100);
    CHECK(int_op(KOP_LT, DT_U64, -1, 1) == 0);
    CHECK(int_op(KOP_MAX, DT_U64, -1, 1) == -1);
    CHECK(int_op(KOP_POW, DT_I32, 3, 5) == 243);
    CHECK(int_op(KOP_POW, DT_I32, 2, -1) == 0);
    CHECK(int_op(KOP_POW, DT_I32, -1, -3) == -1);
    CHECK(isnan(float_op(KOP_MAX, DT_F32, NAN, 1)));
    CHECK(isnan(float_op(KOP_MIN, DT_F64, 1, NAN)));
    CHECK(signbit(float_op(KOP_MIN, DT_F32, 0.0, -0.0)));
    CHECK(float_op(KOP_MOD, DT_F32, -5.5, 2) == 0.5);
    CHECK(float_op(KOP_REM, DT_F32, -5.5, 2) == -1.5);
    CHECK(isnan(float_op(KOP_MOD, DT_F32, 1, 0)));
    CHECK(float_op(KOP_ADD, DT_F32, 16777216, 1) == 16777216);
    CHECK(float_op(KOP_ADD, DT_F64, 16777216, 1) == 16777217);
    CHECK(float_op(KOP_RINT, DT_F32, 2.5, 0) == 2 && float_op(KOP_RINT, DT_F32, 3.5, 0) == 4 &&
          float_op(KOP_RINT, DT_F64, -0.5, 0) == 0);
    CHECK(float_op(KOP_RINT, DT_F64, 0.49999999999999994, 0) == 0);
    s = kscalar_cast(DT_F32, DT_I8, (KScalar){.f = 300});
    CHECK(s.i == 127);
    s = kscalar_cast(DT_F32, DT_U8, (KScalar){.f = -3});
    CHECK(s.i == 0);
    s = kscalar_cast(DT_F64, DT_I64, (KScalar){.f = 1e30});
    CHECK(s.i == INT64_MAX);
    s = kscalar_cast(DT_F64, DT_U64, (KScalar){.f = 1e30});
    CHECK((uint64_t)s.i == UINT64_MAX);
    s = kscalar_cast(DT_F32, DT_I32, (KScalar){.f = NAN});
    CHECK(s.i == 0);
    s = kscalar_cast(DT_I64, DT_I8, (KScalar){.i = 300});
    CHECK(s.i == 44);
    s = kscalar_cast(DT_F32, DT_F16, (KScalar){.f = 65520});
    CHECK(isinf(s.f));
    s = kscalar_cast(DT_F32, DT_F16, (KScalar){.f = 2049});
    CHECK(s.f == 2048);
    s = kscalar_cast(DT_F32, DT_BF16, (KScalar){.f = 1.00390625});
    CHECK(s.f == 1);
    s = kscalar_cast(DT_U64, DT_F32, (KScalar){.i = -1});
    CHECK(s.f == 18446744073709551616.0);
    s = kscalar_cast(DT_F32, DT_BOOL, (KScalar){.f = NAN});
    CHECK(s.i == 1);
}

static void queries(void)
{
    Mod *o = calloc(1, sizeof *o);
    mod_init(o);
    KModule *m = &o->m;
    Sym n = sym_new(&o->dims, name_of(&o->names, "N"), SYM_ENTRY, 1, INT64_MAX);
    Dim N = dim_sym(&o->dims, n), k32 = dim_const(&o->dims, 32);
    KBuf x = kbuf_new(m, KS_ARENA, (Name){0}, DT_F32, 3, (Dim[]){k32, N, k32}, (KLoc){0}),
         at = kbuf_new(m, KS_ARENA, (Name){0}, DT_I64, 1, (Dim[]){N}, (KLoc){0});
    Kb *b = kb_new(m, "q", (KLoc){0});
    uint32_t p = kb_param(b, x, true), q = kb_param(b, at, false);
    KVal i = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_i(b, 32)), j = kb_for(b, KLOOP_SEQ, kb_i(b, 0), kb_dim(b, N)),
         k = kb_for(b, KLOOP_SEQ, kb_i(b, 0), kb_i(b, 10));
    KVal e = kb_sub(b, kb_mul(b, kb_i(b, 3), k), kb_mul(b, j, kb_i(b, 2))), loaded = kb_load(b, q, &j),
         deep = kb_mul(b, k, j);
    int64_t c;
    const Kernel *kr = kb_kernel(b);
    CHECK(kx_affine(kr, &o->dims, e, k, &c) && c == 3);
    CHECK(kx_affine(kr, &o->dims, e, j, &c) && c == -2);
    CHECK(kx_affine(kr, &o->dims, e, i, &c) && c == 0);
    CHECK(!kx_affine(kr, &o->dims, deep, k, &c));
    CHECK(!kx_affine(kr, &o->dims, loaded, j, &c));
    CHECK(kx_affine(kr, &o->dims, loaded, k, &c) && c == 0);
    CHECK(kx_depends(kr, loaded, j) && !kx_depends(kr, loaded, k));
    KVal v = kb_load(b, p, (KVal[]){i, j, k});
    KInst load = kval(kr, v)->def;
    CHECK(kx_access_stride(kr, &o->dims, load, k, &c) && c == 1);
    CHECK(kx_access_stride(kr, &o->dims, load, j, &c) && c == 32);
    CHECK(!kx_access_stride(kr, &o->dims, load, i, &c)); /* 32*N is no constant */
    v = kb_load(b, p, (KVal[]){kb_i(b, 0), loaded, e});
    load = kval(kr, v)->def;
    CHECK(kx_access_stride(kr, &o->dims, load, k, &c) && c == 3);
    CHECK(!kx_access_stride(kr, &o->dims, load, j, &c));
    /* folding and sharing */
    CHECK(kb_add(b, kb_i(b, 2), kb_i(b, 3)).i == kb_i(b, 5).i);
    CHECK(kb_add(b, k, kb_i(b, 0)).i == k.i && kb_mul(b, kb_i(b, 1), k).i == k.i);
    CHECK(kb_add(b, k, j).i == kb_add(b, k, j).i);
    KVal f = kb_load(b, p, (KVal[]){kb_i(b, 0), j, k});
    CHECK(kb_add(b, f, kb_const_f(b, DT_F32, 0)).i != f.i); /* -0.0 + 0.0 is 0.0 */
    CHECK(kb_mul(b, f, kb_const_f(b, DT_F32, 1)).i == f.i);
    arena_free(&o->a);
    free(o);
}

/* An inner loop that mentions a carry of the loop around it. */
static void carries_inside(void)
{
    Mod *o = calloc(1, sizeof *o);
    mod_init(o);
    Kb *b = kb_new(&o->m, "c", (KLoc){0});
    KVal i = kb_for(b, KLOOP_PAR, kb_i(b, 0), kb_i(b, 32)), init[2] = {kb_i(b, 0), i};
    KbLoop outer, inner;
    kb_loop(b, &outer, KLOOP_SEQ, kb_i(b, 0), kb_i(b, 8), 2, init, NULL);
    kb_loop(b, &inner, KLOOP_SEQ, kb_i(b, 0), kb_i(b, 4), 1, &outer.carry[0], NULL);
    KVal sum = kb_add(b, inner.carry[0], outer.carry[0]);
    kb_loop_end(b, &inner, &sum);
    KVal next[2] = {inner.result[0], outer.carry[1]};
    kb_loop_end(b, &outer, next);
    const Kernel *k = kb_kernel(b);
    CHECK(kx_depends(k, outer.carry[1], i) && kx_depends(k, outer.result[1], i));
    CHECK(kx_depends(k, outer.carry[0], i)); /* loops have all of their carries' operands */
    CHECK(!kx_depends(k, sum, inner.iv) && kx_depends(k, sum, outer.iv) == kx_depends(k, inner.carry[0], outer.iv));
    arena_free(&o->a);
    free(o);
}

/* The lists of launches: in program order, those of branches too, and what is added; of a kernel that nobody launches. */
static void launches(void)
{
    Mod *o = malloc(sizeof *o);
    mod_init(o);
    Kernel *k[3];
    KStep *step[4];
    for (int i = 0; i < 3; i++) {
        KSteps own = {0};
        Kb *b = kb_new(&o->m, "k", (KLoc){0});
        kb_for(b, KLOOP_SEQ, kb_i(b, 0), kb_i(b, i)); /* equal kernels would be one */
        kb_end(b);
        k[i] = kb_finish(b, &own);
    }
    step[0] = kstep_add(&o->m, &o->m.program, KST_LAUNCH, (KLoc){0});
    KStep *branch = kstep_add(&o->m, &o->m.program, KST_IF, (KLoc){0});
    branch->a = dim_const(&o->dims, 1);
    step[1] = kstep_add(&o->m, branch->body, KST_LAUNCH, (KLoc){0});
    step[2] = kstep_add(&o->m, branch->other, KST_LAUNCH, (KLoc){0});
    step[3] = kstep_add(&o->m, &o->m.program, KST_LAUNCH, (KLoc){0});
    for (int i = 0; i < 4; i++) step[i]->kernel = k[i == 1];
    KLaunches l;
    klaunches_init(&l, &o->a, &o->m);
    const KLaunchList *of = klaunches_of(&l, k[0]);
    CHECK(of->step.n == 3 && of->step.p[0] == step[0] && of->step.p[1] == step[2] && of->step.p[2] == step[3]);
    CHECK(klaunches_of(&l, k[1])->step.n == 1 && klaunches_of(&l, k[1])->step.p[0] == step[1]);
    CHECK(klaunches_of(&l, k[2])->step.n == 0);
    KStep *more = kstep_new(&o->m, KST_LAUNCH, (KLoc){0});
    more->kernel = k[2];
    klaunches_add(&l, more);
    CHECK(klaunches_of(&l, k[2])->step.n == 1 && klaunches_of(&l, k[0])->step.n == 3);
    arena_free(&o->a);
    free(o);
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 10) : 1;
    int count = argc > 2 ? atoi(argv[2]) : argc > 1 ? 1 : 100;
    arithmetic();
    queries();
    carries_inside();
    launches();
    for (int i = 0; i < count && check_failed == 0; i++) {
        one(seed + (uint64_t)i);
        mutate(seed + (uint64_t)i);
    }
    return check_done();
}
