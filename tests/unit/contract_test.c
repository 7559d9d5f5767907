/* contract_test: contract_build on random problems, compiled and interpreted, against the sum written out.
 * The target's L2 is declared small, so that every kind of blocking occurs at sizes that are quick to check. Operands are small integers: sums are exact. */
#include "codegen/codegen.h"
#include "ir/kernel/contract.h"
#include "ir/elem.h"
#include "ir/kernel/eval.h"
#include "tests/unit/amx_emulator.h"
#include "tests/unit/check.h"

#include <stdlib.h>

typedef struct Problem { int64_t Z, M, N, K, T; bool packed, guarded, symbolic, by_k, dot, copied, pairs, tiles, quads, a_signed; DType type; int64_t kc, panel /* columns; 0: strips */; } Problem;
typedef struct Test { Problem p; uint32_t a, b, c; int64_t lda; } Test;

static DType b_type(const Problem *p) { return p->quads ? DT_I8 : p->pairs ? DT_BF16 : p->type; }
static DType a_type(const Problem *p) { return !p->quads ? p->type : p->a_signed ? DT_I8 : DT_U8; }
static int64_t strips(const Problem *p) { return (p->N + 15) / 16; }
static int64_t b_batch(const Problem *p) { return p->dot ? p->N * ((p->K + 15) / 16 * 16) : p->packed ? (p->K + p->kc - 1) / p->kc * p->kc * strips(p) * 16 : p->K * p->N; }
/* Of quads all taps are one long k. */
static int64_t b_size(const Problem *p) { return p->quads && p->packed ? p->Z * ((p->T * p->K + p->kc - 1) / p->kc * p->kc * strips(p) * 16) : p->Z * p->T * b_batch(p); }
static bool present(const Problem *p, int64_t t, int64_t m) { return !p->guarded || (m + t) % 3 != 0; }
static int64_t a_at(const Test *x, int64_t z, int64_t t, int64_t m, int64_t k)
{
    const Problem *p = &x->p;
    return p->by_k ? ((z * p->T + t) * p->K + k) * x->lda + m : ((z * p->T + t) * p->M + m) * x->lda + k;
}
static int64_t b_at(const Problem *p, int64_t z, int64_t t, int64_t k, int64_t n)
{
    int64_t batch = (z * p->T + t) * b_batch(p);
    if (p->quads && p->packed) {
        k += t * p->K;
        return z * (b_size(p) / p->Z) + (k / p->kc * strips(p) + n / 16) * p->kc * 16 + k % p->kc / 4 * 64 + n % 16 * 4 + k % 4;
    }
    if (p->panel) return batch + (n / p->panel * p->K + k) * p->panel + n % p->panel;
    if (p->dot) return batch + n * ((p->K + 15) / 16 * 16) + k;
    if (p->pairs) return batch + (k / p->kc * strips(p) + n / 16) * p->kc * 16 + k % p->kc / 2 * 32 + n % 16 * 2 + k % 2;
    return batch + (p->packed ? ((k / p->kc * strips(p) + n / 16) * p->kc + k % p->kc) * 16 + n % 16 : k * p->N + n);
}

/* ---- the kernel's side of the same formulas ---- */
static void on_a(void *arg, Kb *b, KVal z, KVal t, KVal m, KVal k0, KVal *off, KVal *pred)
{
    const Test *x = arg;
    KVal zt = kb_add(b, kb_mul(b, z, kb_i(b, x->p.T)), t), lda = kb_i(b, x->lda);
    if (x->p.by_k) *off = kb_add(b, kb_mul(b, kb_add(b, kb_mul(b, zt, kb_i(b, x->p.K)), k0), lda), m);
    else *off = kb_add(b, kb_mul(b, x->p.symbolic ? m : kb_add(b, kb_mul(b, zt, kb_i(b, x->p.M)), m), lda), k0);
    if (x->p.guarded) *pred = kb_bin(b, KOP_NE, kb_bin(b, KOP_MOD, kb_add(b, m, t), kb_i(b, 3)), kb_i(b, 0));
}
static KVal on_b(void *arg, Kb *b, KVal z, KVal t, KVal k0)
{
    const Test *x = arg;
    if (x->p.quads && x->p.packed) return kb_mul(b, z, kb_i(b, b_size(&x->p) / x->p.Z));
    KVal off = kb_mul(b, kb_add(b, kb_mul(b, z, kb_i(b, x->p.T)), t), kb_i(b, b_batch(&x->p)));
    return x->p.packed ? off : kb_add(b, off, kb_mul(b, k0, kb_i(b, x->p.N)));
}
static KVal on_b_load(void *arg, Kb *b, KVal z, KVal t, KVal k, KVal n, KVal pred)
{
    const Test *x = arg;
    KVal at = kb_add(b, on_b(arg, b, z, t, k), n);
    return pred.i ? kb_load_if(b, x->b, &at, pred, (KVal){0}) : kb_load(b, x->b, &at);
}
static KVal on_a_load(void *arg, Kb *b, KVal z, KVal t, KVal m, KVal k)
{
    const Test *x = arg;
    KVal off, pred = {0}, half = kb_const_i(b, a_type(&x->p), -128), at[2];
    on_a(arg, b, z, t, m, kb_i(b, 0), &off, &pred);
    off = kb_add(b, off, x->p.by_k ? kb_mul(b, k, kb_i(b, x->lda)) : k);
    at[0] = kb_div(b, off, kb_i(b, x->lda));
    at[1] = kb_bin(b, KOP_REM, off, kb_i(b, x->lda));
    KVal v = pred.i ? kb_load_if(b, x->a, at, pred, x->p.a_signed ? half : (KVal){0}) : kb_load(b, x->a, at);
    return x->p.a_signed ? kb_bitcast(b, DT_U8, kb_bin(b, KOP_XOR, v, half)) : v;
}
static void on_store(void *arg, Kb *b, KVal z, KVal m, KVal n, KVal acc)
{
    const Test *x = arg;
    kb_store(b, x->c, (KVal[]){z, m, n}, kb_add(b, acc, kb_cast(b, x->p.type, n)));
}

static KBuf port(KModule *m, bool out, const char *name, DType t, int rank, const Dim *dim)
{
    KBuf b = kbuf_new(m, out ? KS_OUT : KS_IN, name_of(m->names, name), t, rank, dim, (KLoc){0});
    KPort p = {.name = name_of(m->names, name), .type = type_tensor(m->types, t, rank, dim), .buf = b, .alias = -1};
    if (out) vec_push(m->arena, &m->output, p);
    else vec_push(m->arena, &m->input, p);
    kbuf(m, b)->port = (int32_t)(out ? m->output.n : m->input.n) - 1;
    return b;
}

static void plan_locals(KModule *m)
{
    int64_t most = 0;
    for (uint32_t k = 0; k < m->kernel.n; k++) {
        int64_t at = 0, n;
        for (uint32_t i = 1; i < m->kernel.p[k]->param.n; i++) {
            KBufRec *r = &m->kernel.p[k]->param.p[i];
            if (r->space != KS_LOCAL) continue;
            int64_t bytes = dtype_bytes(r->elem, 1);
            for (int d = 0; d < r->rank; d++) bytes *= CHECK(dim_is_const(m->dims, r->dim[d], &n)) ? n : 1;
            r->offset = dim_const(m->dims, at);
            r->bytes = dim_const(m->dims, bytes);
            at += (bytes + 63) / 64 * 64;
        }
        if (at > most) most = at;
    }
    m->arena_bytes = dim_const(m->dims, 0);
    m->scratch_bytes = dim_const(m->dims, most);
    m->planned = true;
}

static void put(DType t, void *p, int64_t i, int64_t v)
{
    if (t == DT_F32) ((float *)p)[i] = (float)v;
    else if (t == DT_I8 || t == DT_U8) ((int8_t *)p)[i] = (int8_t)(v == -3 ? 128 : v == 4 ? 255 : v == 3 ? 127 : 37 * v); /* the ends of both */
    else if (t == DT_F64) ((double *)p)[i] = (double)v;
    else if (t == DT_BF16) {
        float f = (float)v; /* small integers: exact */
        memcpy((char *)p + 2 * i, (char *)&f + 2, 2);
    }
    else ((int32_t *)p)[i] = (int32_t)v;
}
static double get(DType t, const void *p, int64_t i)
{
    if (t == DT_BF16) return elem_get_f(t, p, i);
    if (t == DT_I8 || t == DT_U8) return t == DT_U8 ? ((const uint8_t *)p)[i] : ((const int8_t *)p)[i];
    return t == DT_F32 ? ((const float *)p)[i] : t == DT_F64 ? ((const double *)p)[i] : ((const int32_t *)p)[i];
}

static bmc_value value(DType t, void *data, int rank, const int64_t *dim)
{
    bmc_value v = {.size = sizeof v, .kind = BMC_TENSOR, .dtype = (uint8_t)t, .rank = (uint8_t)rank, .data = data};
    int64_t n = 1;
    for (int i = 0; i < rank; i++) n *= v.dim[i] = dim[i];
    v.bytes = (size_t)dtype_bytes(t, n);
    return v;
}

static bool right(const Test *x, const void *a, const void *b, const void *c)
{
    const Problem *p = &x->p;
    for (int64_t z = 0; z < p->Z; z++)
        for (int64_t m = 0; m < p->M; m++)
            for (int64_t n = 0; n < p->N; n++) {
                double sum = (double)n;
                for (int64_t t = 0; t < p->T; t++)
                    for (int64_t k = 0; k < p->K && present(p, t, m); k++) sum += (get(a_type(p), a, a_at(x, z, t, m, k)) + (p->a_signed ? 128 : 0)) * get(b_type(p), b, b_at(p, z, t, k, n));
                double got = get(p->type, c, (z * p->M + m) * p->N + n);
                if (got == sum) continue;
                printf("    Z%lld M%lld N%lld K%lld T%lld packed %d guarded %d symbolic %d by_k %d %s: C[%lld,%lld,%lld] is %g, expected %g\n", (long long)p->Z,
                       (long long)p->M, (long long)p->N, (long long)p->K, (long long)p->T, p->packed, p->guarded, p->symbolic, p->by_k, dtype_name(p->type),
                       (long long)z, (long long)m, (long long)n, got, sum);
                return false;
            }
    return true;
}

/* Counts which schedules were seen: the test is worth something only when all of them were. */
static int seen_quads[3], seen_dots, seen_tiles, seen_pairs, seen_k_blocks, seen_t_blocks, seen_m_blocks, seen_n_blocks, seen_copied_blocks, seen_rows_of_b;

static void note_schedule(const KModule *m, const Problem *p)
{
    if (p->quads) {
        seen_quads[m->target.bytes]++;
        return;
    }
    TileProblem q = {.acc = p->type, .a_type = p->type, .b_type = b_type(p), .M = p->symbolic ? -1 : p->M, .N = p->N, .K = p->K, .T = p->T, .b_packed = p->packed, .pack_kc = p->kc};
    TileChoice c = contract_choose(&m->target, &q);
    if (p->copied) {
        q.pack_kc = contract_strips_kc(&m->target, p->type, p->symbolic ? -1 : p->M, p->N, p->K);
        contract_choose_strips(&m->target, &q, &c);
        seen_copied_blocks += c.kc != 0;
        return;
    }
    seen_pairs += p->pairs;
    seen_rows_of_b += c.kc != 0 && !p->packed;
    seen_k_blocks += c.kc != 0;
    seen_t_blocks += c.tc != 0 && !c.kc;
    seen_m_blocks += c.mb < p->M;
    seen_n_blocks += c.nb < p->N;
}

/* Share of the work of two threads that the busier one does, in hundredths: runs of neighbours in a grid of blocks. */
static int busier(const KTarget *t, int64_t M, int64_t N, int64_t K, int64_t T, bool symbolic)
{
    TileProblem p = {.acc = DT_F32, .a_type = DT_F32, .b_type = DT_F32, .M = symbolic ? -1 : M, .N = N, .K = K, .T = T, .b_packed = true};
    p.pack_kc = contract_pack_kc(t, DT_F32, K);
    TileChoice c = contract_choose(t, &p);
    contract_share(t, &p, 1, &c);
    int64_t nm = (M + c.mb - 1) / c.mb, nn = (N + c.nb - 1) / c.nb, first = 0;
    for (int64_t q = 0; q < nm * nn / 2; q++) {
        int64_t m = M - q / nn * c.mb, n = N - q % nn * c.nb;
        first += (m < c.mb ? m : c.mb) * (n < c.nb ? n : c.nb);
    }
    int64_t other = M * N - first, most = first > other ? first : other;
    return (int)(100 * most / (M * N));
}

static void share_test(void)
{
    KTarget t = {.vec_bits = 512, .vec_regs = 32, .fma = true, .l2_bytes = 2 << 20};
    CHECK(busier(&t, 128, 768, 3072, 1, true) == 50);  /* three blocks of columns by the caches alone */
    CHECK(busier(&t, 49, 160, 960, 1, false) == 50);   /* one */
    CHECK(busier(&t, 64, 384, 448, 9, false) == 50);   /* one, the reduction in blocks */
    CHECK(busier(&t, 289, 192, 768, 1, false) <= 53);  /* six, the last one of 19 rows */
    CHECK(busier(&t, 4, 16, 16, 1, false) == 100);     /* not worth it */
    CHECK(busier(&t, 1, 256, 128, 1, false) == 100);   /* nor this, */
    CHECK(busier(&t, 1, 512, 128, 1, false) == 50);    /* but bringing B takes longer than to multiply */
    CHECK(busier(&t, 1, 300, 400, 1, true) == 100);    /* one row of an unknown number: in whole tiles of columns, */
    CHECK(busier(&t, 96, 300, 400, 1, true) == 50);    /* many are shared */
    for (int64_t M = 7; M < 2000; M += 97)
        for (int64_t N = 33; N < 2000; N += 131)
            if (M * N > 8192) CHECK(busier(&t, M, N, 512, 1, false) <= 57);
}

static bool has_avx512(void)
{
#ifdef __x86_64__
    return __builtin_cpu_supports("avx512dq");
#else
    return false;
#endif
}

/* Does this CPU multiply pairs, and do registers have 512 bits for it? */
static bool has_bf16_dots(void)
{
#ifdef __x86_64__
    return __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512dq");
#else
    return false;
#endif
}

static void problem_test(Problem p, const char *cpu, uint64_t seed)
{
    Arena ar;
    Diag d;
    Names names;
    Dims dims;
    Types types;
    Blobs blobs;
    KModule m = {0};
    arena_init(&ar, "test", NULL);
    diag_init(&d, &ar);
    names_init(&names, &ar);
    dims_init(&dims, &ar, &names);
    types_init(&types, &ar, &dims);
    blobs_init(&blobs, &ar);
    kmodule_init(&m, &ar, &d, &names, &dims, &types, &blobs);
    m.source = "test";
    m.prefix = "unit";
    m.threads = true;
    if (!CHECK(codegen_target(&ar, &d, NULL, cpu, &m.target))) return;
    m.target.l2_bytes = 256 << 10;
    m.target.far_rate = seed % 4 ? 0 : 24;
    m.target.bf16 = p.tiles ? KDOTS_TILES : p.pairs && seed % 2 && has_bf16_dots() ? KDOTS_PAIRS : KDOTS_NONE;
    if (m.target.bf16 == KDOTS_TILES) m.target.features = arena_printf(&ar, "%s%s+amx-tile,+amx-bf16", m.target.features, *m.target.features ? "," : "");
    seen_dots += m.target.bf16 == KDOTS_PAIRS;
    seen_tiles += m.target.bf16 == KDOTS_TILES;
    if (p.quads && seed % 3 == 0) m.target.bytes = seed % 2 ? KBYTES_ONES : KBYTES_TWOS;
    p.kc = p.quads ? contract_quads_kc(&m.target, p.T * p.K) : contract_pack_kc(&m.target, p.type, p.K);
    if (p.pairs) p.kc = contract_pairs_kc(&m.target, p.kc);
    note_schedule(&m, &p);
    Test x = {.p = p, .lda = (p.by_k ? p.M : p.K) + 1};
    int64_t a_rows = p.Z * p.T * (p.by_k ? p.K : p.M), a_len = a_rows * x.lda, b_len = b_size(&p), c_len = p.Z * p.M * p.N;
    Dim rows = dim_const(&dims, p.M);
    if (p.symbolic) {
        Sym s = sym_new(&dims, name_of(&names, "M"), SYM_ENTRY, 0, INT64_MAX);
        dims.sym.p[s.i].input = dims.sym.p[s.i].axis = 0;
        rows = dim_sym(&dims, s);
    }
    KBuf ka = port(&m, false, "a", a_type(&p), 2, (Dim[]){p.symbolic ? rows : dim_const(&dims, a_rows), dim_const(&dims, x.lda)});
    KBuf kb = port(&m, false, "b", b_type(&p), 1, (Dim[]){dim_const(&dims, b_len)});
    KBuf kc = port(&m, true, "c", p.type, 3, (Dim[]){dim_const(&dims, p.Z), rows, dim_const(&dims, p.N)});
    Kb *b = kb_new(&m, "contract", (KLoc){0});
    Contract c = {.Z = dim_const(&dims, p.Z), .M = rows, .N = dim_const(&dims, p.N), .K = dim_const(&dims, p.K), .T = dim_const(&dims, p.T), .acc = p.type,
                  .b_packed = p.packed, .b_pairs = p.pairs, .quads = p.quads, .a_load = p.quads ? on_a_load : NULL, .pack_kc = p.kc, .b_panel = p.panel, .b_dot = p.dot, .a_buf = ka, .arg = &x, .a_addr = on_a, .b_addr = on_b, .store = on_store, .a_plain = !p.guarded};
    c.a = x.a = kb_param(b, ka, false);
    c.b = x.b = kb_param(b, kb, false);
    if (p.copied) {
        c.b_load = on_b_load;
        c.b_rows = seed % 3;
    }
    x.c = kb_param(b, kc, true);
    if (p.by_k) c.a_k = kb_i(b, x.lda);
    contract_build(b, &c);
    kb_finish(b, &m.program);
    plan_locals(&m);
    if (!CHECK(kir_verify(&m, "contract"))) return;

    size_t size = (size_t)dtype_bytes(p.type, 1);
    void *va = malloc((size_t)a_len * size + 1), *vb = malloc((size_t)b_len * size + 1), *vc = calloc((size_t)c_len + 1, size);
    Rng r = {seed};
    for (int64_t i = 0; i < a_len; i++) put(a_type(&p), va, i, rng_in(&r, -3, 4));
    for (int64_t i = 0; i < b_len; i++) put(b_type(&p), vb, i, rng_in(&r, -3, 4));
    int64_t da[] = {p.symbolic ? p.M : a_rows, x.lda}, dc[] = {p.Z, p.M, p.N};
    bmc_value in[] = {value(a_type(&p), va, 2, da), value(b_type(&p), vb, 1, &b_len)}, out = value(p.type, vc, 3, dc);
    CodegenJit *jit = NULL;
    if (CHECK(codegen_jit(&m, &(CodegenOptions){.opt_level = p.tiles && seed % 4 == 0 ? 0 : 2, .verify = true, .threads = true, .producer = "test"}, &jit))) {
        const bmc_model *model = codegen_jit_model(jit);
        for (int threads = 1; threads <= 3; threads += 2) {
            bmc_ctx *ctx = NULL;
            bmc_config config = {.size = sizeof config, .threads = threads};
            memset(vc, 0x55, (size_t)c_len * size);
            if (!CHECK(model->create(&config, NULL, 0, &ctx) == BMC_OK)) break;
            if (!CHECK(model->run(ctx, in, &out) == BMC_OK)) printf("    %s\n", model->message(ctx));
            CHECK(right(&x, va, vb, vc));
            model->destroy(ctx);
        }
        codegen_jit_free(jit);
    }
    if (seed % 4 == 0) {
        const char *why = "";
        memset(vc, 0x55, (size_t)c_len * size);
        if (!CHECK(kir_eval(&m, &ar, in, &out, &why) == BMC_OK)) printf("    %s\n", why);
        CHECK(right(&x, va, vb, vc));
    }
    free(va);
    free(vb);
    free(vc);
    blobs_close(&blobs);
    arena_free(&ar);
}

int main(void)
{
    static const DType type[] = {DT_F32, DT_F32, DT_F32, DT_F64, DT_I32};
    Rng r = {7};
    for (uint64_t i = 0; i < 90; i++) {
        Problem p = {.Z = rng_in(&r, 0, 3) ? 1 : rng_in(&r, 1, 3), .M = rng_in(&r, 1, 60), .N = rng_in(&r, 1, 150), .K = rng_in(&r, 1, 60), .T = 1,
                     .packed = rng_in(&r, 0, 3) != 0, .type = type[rng_in(&r, 0, 4)]};
        switch (i % 9) {
        case 0: p.K = rng_in(&r, 400, 1500); p.packed = true; break;                     /* blocks of K */
        case 1: p.T = 9; p.K = rng_in(&r, 30, 130); p.guarded = true; break;            /* a convolution; blocks of T */
        case 2: p.M = rng_in(&r, 300, 700); p.N = rng_in(&r, 1, 40); break;              /* blocks of M */
        case 3: p.symbolic = true; p.Z = 1; p.M = rng_in(&r, 0, 300); break;
        case 4: p.by_k = true; break;
        case 5: p.T = 3; p.K = rng_in(&r, 500, 600); p.packed = true; break;             /* blocks of both */
        case 6: p.dot = p.packed = true; p.N = rng_in(&r, 1, i % 3 ? 8 : 4); p.M = rng_in(&r, 1, 3) > 1 ? rng_in(&r, 1, 90) : 1500; p.K = rng_in(&r, 1, 300); p.symbolic = p.Z == 1 && rng_in(&r, 0, 1); break;
        case 7:   /* B copied into strips on the way, with and without blocks of K */
            p.copied = true, p.packed = false, p.K = rng_in(&r, 0, 2) ? rng_in(&r, 450, 900) : p.K, p.symbolic = p.Z == 1 && rng_in(&r, 0, 1);
            if (rng_in(&r, 0, 1)) p.M = rng_in(&r, 300, 500);
            break;
        default: p.M = rng_in(&r, 1, 4); p.N = rng_in(&r, 200, 700); break;              /* a few rows */
        }
        if (p.packed && p.type == DT_F32 && !p.dot && rng_in(&r, 0, 3) == 0) p.pairs = true;
        if (rng_in(&r, 0, 9) == 0) p.M = 0;
        if (rng_in(&r, 0, 14) == 0) p.K = 0;
        problem_test(p, i % 3 || (p.pairs && i % 2) ? "native" : "x86-64-v3", i);
    }
    for (uint64_t i = 0; i < 8; i++) {   /* one row times columns that do not fit in L2, a few rows of B at a time */
        Problem p = {.Z = i % 4 ? 1 : 2, .M = 1, .N = rng_in(&r, 300, 1400), .K = rng_in(&r, 250, 500), .T = 1, .type = type[i % 5], .by_k = i % 3 == 1, .guarded = i % 3 == 2};
        problem_test(p, i % 2 ? "native" : "x86-64-v3", i);
    }
    for (uint64_t i = 0; i < 16; i++) {   /* B in panels, with and without blocks of K */
        Problem p = {.Z = i % 5 ? 1 : 2, .M = rng_in(&r, 1, 20), .K = i % 3 ? rng_in(&r, 1, 60) : rng_in(&r, 1100, 1500), .T = 1, .packed = true, .type = type[i % 5], .panel = 16 * rng_in(&r, 1, 4)};
        p.N = p.panel * rng_in(&r, 1, 5);
        p.symbolic = p.Z == 1 && i % 2;
        p.guarded = i % 4 == 2;
        problem_test(p, i % 4 ? "native" : "x86-64-v3", i);
    }
    for (uint64_t i = 0; i < 40; i++) {   /* groups of four bytes */
        Problem p = {.Z = i % 5 ? 1 : 2, .M = rng_in(&r, 1, 60), .N = rng_in(&r, 1, 150), .K = rng_in(&r, 1, 60), .T = 1, .packed = rng_in(&r, 0, 2) != 0, .type = DT_I32, .quads = true, .a_signed = i & 1};
        if (i % 7 == 1) p.K = rng_in(&r, 0, 1) ? 1800 : rng_in(&r, 1500, 2000);
        if (i % 7 == 2) p.T = 9, p.guarded = p.packed = true;
        if (i % 7 == 3) p.symbolic = true, p.Z = 1, p.M = rng_in(&r, 0, 300);
        if (i % 7 == 4) p.by_k = true;
        if (i % 7 == 5) p.M = rng_in(&r, 300, 500), p.K = 4 * rng_in(&r, 1, 40);
        p.copied = !p.packed;
        problem_test(p, i % 4 ? "native" : "x86-64-v3", i);
    }
    for (uint64_t i = 0; has_avx512() && amx_available() && i < 24; i++) {   /* matrix registers, emulated where the CPU has none */
        Problem p = {.Z = i % 5 ? 1 : 2, .M = rng_in(&r, 1, 90), .N = rng_in(&r, 1, 100), .K = rng_in(&r, 1, 100), .T = 1, .packed = true, .type = DT_F32, .pairs = true, .tiles = true};
        switch (i % 6) {
        case 0: p.K = rng_in(&r, 400, 1100); break;
        case 1: p.T = 9; p.K = rng_in(&r, 3, 70); p.guarded = true; break;
        case 2: p.M = rng_in(&r, 300, 500); p.N = rng_in(&r, 1, 40); break;
        case 3: p.symbolic = true; p.Z = 1; break;
        case 4: p.by_k = true; break;
        default: p.M = rng_in(&r, 1, 4); p.N = rng_in(&r, 100, 300); break;
        }
        problem_test(p, "native", i);
    }
    KTarget wide = {.vec_bits = 512, .vec_regs = 32, .fma = true};
    CHECK(contract_is_dot(&wide, DT_F32, 1, 512) && !contract_is_dot(&wide, DT_F32, 64, 512));
    KTarget slow = {.vec_bits = 512, .vec_regs = 32, .fma = true, .l2_bytes = 1 << 20}, fast = slow; /* the cache behind L2, beside what a tile reads */
    fast.far_rate = 24;
    CHECK(contract_pack_kc(&slow, DT_F32, 768) == 768 && contract_pack_kc(&slow, DT_F32, 1024) == 512 && contract_pack_kc(&slow, DT_F32, 4096) == 512);
    CHECK(contract_pack_kc(&fast, DT_F32, 2048) == 2048 && contract_pack_kc(&fast, DT_F32, 4096) == 512);
    CHECK(contract_strips_kc(&fast, DT_F32, 1000, 300, 2048) == 2048 && contract_strips_kc(&slow, DT_F32, 1000, 300, 2048) == 512);
    CHECK(contract_strips_kc(&fast, DT_F32, 100, 300, 2048) == 512 && contract_strips_kc(&fast, DT_F32, 1000, 80, 2048) == 512);
    fast.l1_bytes = slow.l1_bytes = 48 << 10;   /* a few rows: panels where caches hold the weights; a batch: from behind L2, which keeps up */
    CHECK(contract_panel(&slow, DT_F32, 1, 512, 256, 1 << 20) == 64 && contract_panel(&slow, DT_F32, 4, 128, 5000, 8 << 20) == 64);
    CHECK(!contract_panel(&slow, DT_F32, 1, 512, 256, 9 << 20) && !contract_panel(&slow, DT_F32, 9, 512, 256, 1 << 20));
    CHECK(!contract_panel(&slow, DT_F32, 1, 500, 256, 1 << 20) && !contract_panel(&slow, DT_F32, 1, 64, 64, 1 << 20));
    CHECK(contract_panel(&fast, DT_F32, -1, 512, 256, 3 << 20) == 64 && !contract_panel(&fast, DT_F32, -1, 512, 256, 2 << 20) && !contract_panel(&slow, DT_F32, -1, 512, 256, 3 << 20));
    fast.far_rate = 21;
    CHECK(contract_pack_kc(&fast, DT_F32, 1024) == 512);
    KTarget caches = {.vec_bits = 256, .vec_regs = 16, .fma = true, .l1_bytes = 32 << 10, .l2_bytes = 1 << 20}; /* a caller's B is copied sooner */
    CHECK(contract_copies_b(&caches, DT_F64, true, 1024, 128, 128) && !contract_copies_b(&caches, DT_F64, false, 1024, 128, 128));
    CHECK(!contract_copies_b(&caches, DT_F64, true, 64, 128, 128) && !contract_copies_b(&caches, DT_F64, true, 1024, 16, 16));
    static const int64_t extents[] = {-1, 0, 1, 17, 1000, INT64_C(1) << 31, INT64_C(1) << 40, INT64_C(1) << 61};
    for (int i = 0; i < 8 * 8 * 8 * 8; i++) {   /* any extents, in finite time */
        TileProblem p = {.acc = DT_F32, .a_type = DT_F32, .b_type = DT_F32, .M = extents[i & 7], .N = extents[i >> 3 & 7], .K = extents[i >> 6 & 7], .T = extents[i >> 9], .b_packed = true};
        p.pack_kc = contract_pack_kc(&wide, DT_F32, p.K);
        TileChoice c = contract_choose(&wide, &p);
        contract_share(&wide, &p, extents[i & 7], &c);
        if (!CHECK(c.mr >= 1 && c.nv >= 1 && c.mb >= 1 && c.nb >= 16 && c.nb % 16 == 0 && p.pack_kc >= 1)) break;
        if (c.tc > 1 && !CHECK(p.T % c.tc == 0)) break;
    }
    share_test();
    CHECK(seen_k_blocks > 2 && seen_t_blocks > 2 && seen_m_blocks > 2 && seen_n_blocks > 2 && seen_copied_blocks > 2 && seen_pairs > 5 && seen_rows_of_b > 4);
    CHECK(seen_quads[KBYTES_ONES] > 2 && seen_quads[KBYTES_TWOS] > 2);
    CHECK(seen_dots > 2 || !has_bf16_dots());
    CHECK(seen_tiles == 24 || !has_avx512());
    printf("pairs multiplied %d times, in matrix registers %d times (%lu instructions emulated), ", seen_dots, seen_tiles, amx_emulated());
    printf("blocks of K %d, T %d, M %d, N %d times; of a copied B %d times\n", seen_k_blocks, seen_t_blocks, seen_m_blocks, seen_n_blocks,
           seen_copied_blocks);
    return check_done();
}
