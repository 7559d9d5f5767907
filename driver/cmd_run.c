/* cmd_run.c: `bmc run`: runs a model once, prints its outputs, writes them to files, compares them with stored ones. */
#include "driver/model.h"
#include "driver/npy.h"
#include "ir/graph/eval.h"
#include <errno.h>
#include <math.h>
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

static void print_value(const char *name, const bmc_value *v)
{
    if (v->kind != BMC_TENSOR) {
        printf("%s: %s of %zu\n", name, v->kind == BMC_SEQUENCE ? "sequence" : v->kind == BMC_MAP ? "map" : "optional", v->n_item);
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
            if (*p == '/' || *p == '\\' || *p == ':' || (unsigned char)*p < 32) *p = '_';
        if (!*name || !strcmp(name, ".") || !strcmp(name, "..")) name = arena_printf(&s->arena, "output_%u", k);
        const char *path = arena_printf(&s->arena, "%s/%s.npy", s->opt.output_dir, name);
        if (l->out[k].kind != BMC_TENSOR) return diag(&s->diag, diag_file(path), E_WRITE, "only tensors have a .npy form: use --format=pb");
        if (!npy_write(&s->arena, &s->diag, path, &l->out[k])) return false;
    }
    return true;
}

/* ---- comparison ---- */

static bool differs(Session *s, const char *name, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    const char *text = arena_vprintf(&s->arena, fmt, ap);
    va_end(ap);
    return diag(&s->diag, diag_file(s->opt.file), E_CHECK, arena_printf(&s->arena, "output '%s': %s", name, text));
}

static const char *position(Session *s, const bmc_value *v, int64_t k)
{
    int64_t idx[BMC_MAX_RANK];
    Str t;
    for (int i = v->rank - 1; i >= 0; i--) idx[i] = k % v->dim[i], k /= v->dim[i];
    str_init(&t, &s->arena);
    for (int i = 0; i < v->rank; i++) str_printf(&t, "%s%lld", i ? "," : "", (long long)idx[i]);
    return str_get(&t);
}

static bool compare(Session *s, const char *name, const bmc_value *got, const bmc_value *want)
{
    if (got->kind != want->kind) return differs(s, name, "is of another kind than stored");
    if (got->kind != BMC_TENSOR) {
        if (got->n_item != want->n_item) return differs(s, name, "has %zu elements, expected %zu", got->n_item, want->n_item);
        for (size_t k = 0; k < got->n_item; k++)
            if (!compare(s, arena_printf(&s->arena, "%s[%zu]", name, k), &got->item[k], &want->item[k])) return false;
        return true;
    }
    if (got->dtype != want->dtype) return differs(s, name, "is %s, expected %s", dtype_info((DType)got->dtype)->onnx, dtype_info((DType)want->dtype)->onnx);
    bool same = got->rank == want->rank;
    for (int i = 0; same && i < got->rank; i++) same = got->dim[i] == want->dim[i];
    if (!same) {
        Str a;
        str_init(&a, &s->arena);
        for (int i = 0; i < got->rank; i++) str_printf(&a, "%s%lld", i ? "," : "", (long long)got->dim[i]);
        str_add(&a, "], expected [");
        for (int i = 0; i < want->rank; i++) str_printf(&a, "%s%lld", i ? "," : "", (long long)want->dim[i]);
        return differs(s, name, "has shape [%s]", str_get(&a));
    }
    int64_t n = value_count(got), bad = 0, at = -1;
    double worst = -1;
    Tensor a = {.kind = TY_TENSOR, .elem = (DType)got->dtype, .count = n, .data = got->data}, b = a;
    b.data = want->data;
    for (int64_t k = 0; k < n; k++) {
        double excess;
        if (got->dtype == DT_STR) {
            const bmc_string *x = (const bmc_string *)got->data + k, *y = (const bmc_string *)want->data + k;
            excess = x->len != y->len || memcmp(x->ptr, y->ptr, x->len) ? 1 : -1;
        } else if (dtype_is_float(a.elem)) {
            double x = ev_f(&a, k), y = ev_f(&b, k);
            if (isnan(y) || isinf(y) || isnan(x) || isinf(x)) excess = (isnan(x) && isnan(y)) || x == y ? -1 : INFINITY;
            else excess = fabs(x - y) - (s->opt.atol + s->opt.rtol * fabs(y));
        } else excess = ev_i(&a, k) == ev_i(&b, k) ? -1 : fabs((double)ev_i(&a, k) - (double)ev_i(&b, k)) - (s->opt.atol + s->opt.rtol * fabs((double)ev_i(&b, k)));
        if (excess <= 0) continue;
        bad++;
        if (excess > worst) worst = excess, at = k;
    }
    if (!bad) return true;
    if (got->dtype == DT_STR) return differs(s, name, "%lld of %lld strings differ, the first at [%s]", (long long)bad, (long long)n, position(s, got, at));
    return differs(s, name, "%lld of %lld elements differ, most at [%s]: %.9g, expected %.9g", (long long)bad, (long long)n, position(s, got, at), ev_f(&a, at), ev_f(&b, at));
}

static bool check_outputs(Session *s, Loaded *l)
{
    const bmc_info *info = l->model->info;
    bool ok = true, any = false;
    for (uint32_t k = 0; k < info->n_output; k++) {
        const char *path = data_file(s, "output", k);
        if (!path) continue;
        bmc_value want;
        const bmc_port *p = &info->output[k];
        ValueProto proto = p->kind == BMC_SEQUENCE ? PROTO_SEQUENCE : p->kind == BMC_OPTIONAL ? PROTO_OPTIONAL : p->kind == BMC_MAP ? PROTO_MAP : PROTO_TENSOR;
        if (!onnx_read_value(&s->arena, &s->diag, path, proto, &want, NULL)) return false;
        any = true;
        ok = compare(s, p->name, &l->out[k], &want) && ok;
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
