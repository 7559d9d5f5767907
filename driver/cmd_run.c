/* cmd_run.c: `bmc run`: runs a model once, prints its outputs, writes them to files, compares them with stored ones. */
#include "driver/compare.h"
#include "driver/model.h"
#include "driver/npy.h"
#include "ir/graph/eval.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static void print_element(const bmc_value *v, int64_t k)
{
    if (v->dtype == DT_STR) {
        const bmc_string *s = (const bmc_string *)v->data + k;
        printf("\"%.*s\"", (int)s->len, s->ptr);
        return;
    }
    Tensor t = {.kind = TY_TENSOR, .elem = (DType)v->dtype, .count = k + 1, .data = v->data};
    if (dtype_is_float(t.elem)) printf("%.6g", ev_f(&t, k));
    else printf("%lld", (long long)ev_i(&t, k));
}

static void print_map(const char *name, const bmc_value *v)
{
    int64_t n = v->item[0].dim[0];
    printf("%s: map of %lld", name, (long long)n);
    for (int64_t k = 0; k < n && k < 10; k++) {
        printf(k ? ", " : " = ");
        print_element(&v->item[0], k);
        printf(": ");
        print_element(&v->item[1], k);
    }
    printf("%s\n", n > 10 ? ", ..." : "");
}

static void print_value(const char *name, const bmc_value *v)
{
    if (v->kind == BMC_MAP && v->n_item == 2) {
        print_map(name, v);
        return;
    }
    if (v->kind != BMC_TENSOR) {
        printf("%s: %s of %zu\n", name, v->kind == BMC_SEQUENCE ? "sequence" : "optional", v->n_item);
        for (size_t k = 0; k < v->n_item && k < 4; k++) {
            char item[32];
            snprintf(item, sizeof item, "  [%zu]", k);
            print_value(item, &v->item[k]);
        }
        return;
    }
    int64_t n = value_count(v);
    printf("%s: %s[", name, dtype_name((DType)v->dtype));
    for (int i = 0; i < v->rank; i++) printf("%s%lld", i ? "," : "", (long long)v->dim[i]);
    printf("]");
    if (n <= 0 || dtype_info((DType)v->dtype)->cls == DC_COMPLEX) {
        printf("\n");
        return;
    }
    printf(" =");
    for (int64_t k = 0; k < n && k < 10; k++) {
        printf(" ");
        print_element(v, k);
    }
    printf("%s\n", n > 10 ? " ..." : "");
}

/* ---- files ---- */

static bool write_outputs(Session *s, Loaded *l)
{
    const bmc_info *info = l->model->info;
    if (mkdir(s->opt.output_dir, 0777) != 0 && errno != EEXIST) return diag(&s->diag, diag_file(s->opt.output_dir), E_WRITE, strerror(errno));
    for (uint32_t k = 0; k < info->n_output; k++) {
        if (s->opt.format_pb) {
            const char *path = arena_printf(&s->arena, "%s/output_%u.pb", s->opt.output_dir, k);
            if (!onnx_write_value(&s->arena, &s->diag, path, info->output[k].name, &l->out[k])) return false;
            continue;
        }
        char *name = arena_strdup(&s->arena, info->output[k].name);
        for (char *p = name; *p; p++)
            if (*p == '/') *p = '_';   /* all else is fine in a file's name here */
        if (!*name || !strcmp(name, ".") || !strcmp(name, "..")) name = arena_printf(&s->arena, "output_%u", k);
        const char *path = arena_printf(&s->arena, "%s/%s.npy", s->opt.output_dir, name);
        if (l->out[k].kind != BMC_TENSOR) return diag(&s->diag, diag_file(path), E_WRITE, "only tensors have a .npy form: use --format=pb");
        if (!npy_write(&s->arena, &s->diag, &s->temps, path, &l->out[k])) return false;
    }
    return true;
}

/* ---- comparison ---- */

static bool check_outputs(Session *s, Loaded *l)
{
    const bmc_info *info = l->model->info;
    bool ok = true, any = false;
    for (uint32_t k = 0; k < info->n_output; k++) {
        const char *path = data_file(s, "output", k);
        if (!path) continue;
        bmc_value want;
        const bmc_port *p = &info->output[k];
        const char *why;
        if (!onnx_read_value(&s->arena, &s->diag, path, port_proto(p), &want, NULL)) return false;
        any = true;
        if (!value_agrees(&s->arena, p->name, &l->out[k], &want, s->opt.rtol, s->opt.atol, &why)) ok = diag(&s->diag, diag_file(s->opt.file), E_CHECK, why);
    }
    if (!any) return diag(&s->diag, diag_file(s->opt.data), E_CHECK, "there is no output_0.pb to compare with");
    if (ok) printf("outputs agree (rtol %g, atol %g)\n", s->opt.rtol, s->opt.atol);
    return ok;
}

int cmd_run(Session *s)
{
    Loaded l;
    bool ok = model_load(s, &l) && model_inputs(s, &l) && model_run(s, &l);
    if (ok) {
        for (uint32_t k = 0; k < l.model->info->n_output; k++) print_value(l.model->info->output[k].name, &l.out[k]);
        if (s->opt.output_dir) ok = write_outputs(s, &l);
        if (ok && s->opt.check) ok = check_outputs(s, &l);
    }
    model_unload(&l);
    return ok ? 0 : EXIT_INPUT;
}
