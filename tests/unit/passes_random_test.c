/* passes_random_test: random graphs give the same by the ops' reference evaluation and, lowered at -O0 to -O2, on the
 * interpreter of the Kernel IR.
 *   test_passes_random [graphs] [seed] [-v]        default 400 graphs; -v prints each before it runs */
#include "ir/kernel/eval.h"
#include "tests/unit/random_graph.h"

static const char *run_case(Arena *a, const Case *c)
{
    Tensor *out[3];
    const char *why = reference(a, c, out);
    if (why) return why;
    for (int level = 0; level <= 2; level++) {
        Mod *b = arena_new(a, Mod);
        bmc_value kin[3], kout[3] = {{0}};
        bool stopped;
        PassOptions o = {.opt_level = level, .verify_each = true, .rewrite_limit = -1};
        if (!parse(a, b, c->text) || !passes_run(&b->m, &b->k, &o, &stopped))
            return arena_printf(a, "-O%d: %s", level, b->diag.first_error);
        for (uint32_t k = 0; k < c->n_in; k++) {
            kin[k] = c->in[k];
            kin[k].data = arena_memdup(a, c->in[k].data, c->in[k].bytes);
        }
        if (kir_eval(&b->k, a, kin, kout, &why) != BMC_OK) return arena_printf(a, "-O%d: %s", level, why);
        for (uint32_t k = 0; k < c->n_out; k++)
            if (!agrees(out[k], &kout[k]))
                return arena_printf(a, "-O%d: output %u differs from the reference", level, k);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    int graphs = argc > 1 ? atoi(argv[1]) : 400;
    uint64_t seed = argc > 2 ? (uint64_t)atoll(argv[2]) : 1;
    for (int k = 0; k < graphs; k++) {
        Arena a;
        Case c;
        arena_init(&a, "random", NULL);
        generate(&a, seed + (uint64_t)k, &c);
        if (argc > 3) puts(c.text), fflush(stdout);
        const char *why = run_case(&a, &c);
        CHECK(!why);
        if (why) printf("seed %llu: %s\n%s\n", (unsigned long long)(seed + (uint64_t)k), why, c.text);
        arena_free(&a);
    }
    return check_done();
}
