/* two_threads: one compiled model run from two threads at once. Built with -fsanitize=thread by check_tsan.py.
 *
 *   two_threads own     every thread has a context: no race, and each run gives the bits that one thread alone got
 *   two_threads shared  both hand in one bmc_value for the result: a race, which the sanitizer must see (the test of the
 *                       test; one context for both would be no race, the runtime refuses the second caller)
 *
 * The model is models/digits linked in with --name=digits --threads=off. */
#include "bmc.h"
#include <pthread.h>
#include <stdio.h>
#include <string.h>

enum { RUNS = 50, BATCH = 3 };
extern const bmc_model digits_model;

typedef struct Caller {
    bmc_ctx *ctx;
    float image[BATCH * 64], out[BATCH * 10], want[BATCH * 10];
    int batch;
    bmc_value own, *result; /* result: &own, or the other caller's */
    const char *wrong;      /* what went wrong, or NULL */
} Caller;

static bmc_status run_once(Caller *c) {
    bmc_value in = {.size = sizeof in, .kind = BMC_TENSOR, .dtype = BMC_F32, .rank = 4, .dim = {c->batch, 1, 8, 8}};
    bmc_value *out = c->result;
    *out = (bmc_value){.size = sizeof *out, .kind = BMC_TENSOR, .dtype = BMC_F32, .rank = 2};
    out->data = c->out;
    out->bytes = sizeof c->out;
    in.data = c->image;
    in.bytes = (size_t)c->batch * 64 * sizeof(float);
    return digits_model.run(c->ctx, &in, out);
}

static void *caller(void *arg) {
    Caller *c = arg;
    for (int i = 0; i < RUNS && !c->wrong; i++) {
        if (run_once(c) != BMC_OK)
            c->wrong = digits_model.message(c->ctx);
        else if (memcmp(c->out, c->want, (size_t)c->batch * 10 * sizeof(float)))
            c->wrong = "other bits than alone";
    }
    return NULL;
}

int main(int argc, char **argv) {
    int shared = argc > 1 && !strcmp(argv[1], "shared");
    Caller c[2] = {{.batch = BATCH}, {.batch = 2}};
    for (int t = 0; t < 2; t++) {
        for (int i = 0; i < c[t].batch * 64; i++) c[t].image[i] = (float)((i * 7 + t * 13) % 17) / 16;
        c[t].result = shared ? &c[0].own : &c[t].own;
        if (digits_model.create(NULL, NULL, 0, &c[t].ctx) != BMC_OK)
            return printf("create: %s\n", digits_model.message(NULL)), 1;
        if (run_once(&c[t]) != BMC_OK) return printf("run: %s\n", digits_model.message(c[t].ctx)), 1;
        memcpy(c[t].want, c[t].out, sizeof c[t].out);
    }
    pthread_t thread[2];
    for (int t = 0; t < 2; t++) pthread_create(&thread[t], NULL, caller, &c[t]);
    for (int t = 0; t < 2; t++) pthread_join(thread[t], NULL);
    for (int t = 0; t < 2 && !shared; t++) {
        if (c[t].wrong) return printf("thread %d: %s\n", t, c[t].wrong), 1;
        digits_model.destroy(c[t].ctx);
    }
    return 0;
}
