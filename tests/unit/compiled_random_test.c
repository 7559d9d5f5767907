/* compiled_random_test: random graphs, compiled into this process, give what the ops' reference evaluation gives, at
 * -O0 and -O2, for several instruction sets; and the same bits for 1, 2, 3 and 7 threads, which share all launches of
 * every other graph.
 *   test_compiled_random [graphs] [seed] [-v]        default 24 graphs; -v prints each before it runs */
#include "codegen/codegen.h"
#include "passes/kernel/kpasses.h"
#include "tests/unit/random_graph.h"

static const char *run_threads(Arena *a, const bmc_model *m, const Case *c, Tensor *const *want)
{
    static const int threads[] = {1, 2, 3, 7};
    bmc_value first[3] = {{0}};
    for (int t = 0; t < 4; t++) {
        bmc_ctx *ctx;
        bmc_value out[3] = {{0}};
        if (m->create(&(bmc_config){.size = sizeof(bmc_config), .threads = threads[t], .all_threads = 1}, NULL, 0,
                      &ctx))
            return arena_printf(a, "create: %s", m->message(NULL));
        for (uint32_t k = 0; k < c->n_out; k++) out[k].size = sizeof *out;
        const char *why = m->run(ctx, c->in, out) ? arena_strdup(a, m->message(ctx)) : NULL;
        for (uint32_t k = 0; !why && k < c->n_out; k++) {
            int64_t bytes = dtype_bytes(want[k]->elem, want[k]->count);
            if (!agrees(want[k], &out[k]))
                why = arena_printf(a, "%d threads: output %u differs from the reference", threads[t], k);
            else if (t == 0) {
                first[k] = out[k];
                first[k].data = arena_memdup(a, out[k].data ? out[k].data : "", (size_t)bytes);
            } else if (bytes && memcmp(first[k].data, out[k].data, (size_t)bytes))
                why = arena_printf(a, "%d threads: output %u has other bits than with one", threads[t], k);
        }
        m->destroy(ctx);
        if (why) return why;
    }
    return NULL;
}

/* These graphs are so small that hardly any launch would be shared: every other one is, all the same. */
static void share(void *arg, KStep *s)
{
    s->single = false;
    (void)arg;
}

static const char *run_case(Arena *a, const Case *c, uint64_t seed)
{
    static const char *const cpu[] = {"native", "x86-64-v3", "x86-64"};
    Tensor *want[3];
    const char *why = reference(a, c, want);
    for (int level = 0; !why && level <= 2; level += 2) {
        Mod *b = arena_new(a, Mod);
        bool stopped, parsed = parse(a, b, c->text);
        const char *name = cpu[(seed + (uint64_t)level / 2) % 3];
        CodegenJit *jit = NULL;
        b->k.threads = true;
        if (!parsed || !codegen_target(a, &b->diag, NULL, name, &b->k.target) ||
            !passes_run(&b->m, &b->k, &(PassOptions){.opt_level = level, .verify_each = true, .rewrite_limit = -1},
                        &stopped))
            return arena_printf(a, "-O%d %s: %s", level, name, b->diag.first_error);
        if (seed % 2) {
            kstep_each(&b->k.program, share, NULL);
            kpass_barriers(&b->k);
        }
        if (!codegen_jit(
                &b->k, &(CodegenOptions){.opt_level = level, .verify = true, .kind = CG_SO, .producer = "test"}, &jit))
            return arena_printf(a, "-O%d %s: %s", level, name, b->diag.first_error);
        why = run_threads(a, codegen_jit_model(jit), c, want);
        if (why) why = arena_printf(a, "-O%d %s, %s", level, name, why);
        codegen_jit_free(jit);
    }
    return why;
}

int main(int argc, char **argv)
{
    int graphs = argc > 1 ? atoi(argv[1]) : 24;
    uint64_t seed = argc > 2 ? (uint64_t)atoll(argv[2]) : 1;
    for (int k = 0; k < graphs; k++) {
        Arena a;
        Case c;
        arena_init(&a, "random", NULL);
        generate(&a, seed + (uint64_t)k, &c);
        if (argc > 3) puts(c.text), fflush(stdout);
        const char *why = run_case(&a, &c, seed + (uint64_t)k);
        CHECK(!why);
        if (why) printf("seed %llu: %s\n%s\n", (unsigned long long)(seed + (uint64_t)k), why, c.text);
        arena_free(&a);
    }
    return check_done();
}
