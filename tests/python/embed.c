/* embed: a compiled model used through nothing but bmc.h, by check_prefix.py. C99 and C++17.
 * Prints the number, the sum and the position of the largest of the first output's elements when every input is 0.5;
 * symbolic axes have size 2. */
#include <bmc/bmc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int use(const bmc_model *model, const char *name) {
    const bmc_info *info = model->info;
    bmc_value in[4], out[4];
    bmc_ctx *ctx = NULL;
    if (model->abi != BMC_ABI || info->n_input > 4 || info->n_output > 4)
        return printf("%s: not what was compiled\n", name), 1;
    memset(in, 0, sizeof in);
    memset(out, 0, sizeof out);
    for (uint32_t i = 0; i < info->n_input; i++) {
        int64_t count = 1;
        const bmc_port *port = &info->input[i];
        in[i].size = sizeof in[i], in[i].kind = BMC_TENSOR, in[i].dtype = port->dtype, in[i].rank = port->rank;
        for (int d = 0; d < in[i].rank; d++) count *= in[i].dim[d] = port->dim[d] < 0 ? 2 : port->dim[d];
        in[i].bytes = (size_t)count * sizeof(float);
        in[i].data = malloc(in[i].bytes);
        for (int64_t k = 0; k < count; k++) ((float *)in[i].data)[k] = 0.5f;
    }
    for (uint32_t i = 0; i < info->n_output; i++) out[i].size = sizeof out[i];
    if (model->create(NULL, NULL, 0, &ctx) != BMC_OK) return printf("%s: %s\n", name, model->message(NULL)), 1;
    if (model->run(ctx, in, out) != BMC_OK) return printf("%s: %s\n", name, model->message(ctx)), 1;
    const float *y = (const float *)out[0].data;
    size_t count = out[0].bytes / sizeof(float), best = 0;
    double sum = 0;
    for (size_t k = 0; k < count; k++) sum += y[k], best = y[k] > y[best] ? k : best;
    printf("%s %s %zu %.9g %zu\n", name, info->output[0].name, count, sum, best);
    model->destroy(ctx);
    for (uint32_t i = 0; i < info->n_input; i++) free(in[i].data);
    return 0;
}

#ifdef __cplusplus
extern "C" {
#endif
extern const bmc_model digits_model;
extern const bmc_model mlp_model;
#ifdef __cplusplus
}
#endif

int main(void) { return use(&digits_model, "digits") | use(&mlp_model, "mlp"); }
