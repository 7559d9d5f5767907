/* cmd_check.c: `bmc check`: everything that a model needs and bmc lacks, all at once; --list-ops: the operators that bmc knows. */
#include "driver/compile.h"
#include <cjson/cJSON.h>
#include <stdio.h>
#include <string.h>

static int list_ops(Session *s)
{
    for (int k = 1; k < OP_COUNT; k++) {
        const OpDesc *d = op_desc((OpCode)k);
        if (!(d->flags & OPF_INTERNAL)) printf("%s\n", op_full_name(&s->arena, d->domain, d->name));
    }
    return 0;
}

/* The version of the operator that is meant, and how it is computed; 0 and "": it is a function of the model's, or unknown. */
static int version_of(const OpUse *u, char by[OP_BY_TEXT])
{
    OpCode op = op_find(u->domain, u->op);
    *by = 0;
    if (op == OP_NONE) return 0;
    op_by_text(op_desc(op), by);
    return op_version_at(op, u->opset);
}

/* What the walk over the file cannot see: types and shapes. Problems of the compile up to lowering count as well. */
static bool compiles(Session *s)
{
    PassOptions po = {.opt_level = 0, .rewrite_limit = -1, .stop_after = "lower"};
    bool stopped;
    module_init(&s->m, &s->arena, &s->diag);
    s->m.source = s->opt.file;
    kmodule_init(&s->k, &s->arena, &s->diag, &s->m.names, &s->m.dims, &s->m.types, &s->m.blobs);
    s->m.prefix = s->k.prefix = "model";
    ImportOptions io = {.dim = s->opt.dim.p, .n_dim = s->opt.dim.n};
    return onnx_import(&s->m, s->opt.file, &io) && rank_specialise(&s->m) && passes_run(&s->m, &s->k, &po, &stopped);
}

int cmd_check(Session *s)
{
    if (s->opt.list_ops) return list_ops(s);
    CheckItems missing = {0};
    OpUses used = {0};
    if (!onnx_check(&s->arena, &s->diag, s->opt.file, &missing, &used)) return EXIT_INPUT;
    bool ok = missing.n == 0 && compiles(s);
    const RtLib *lib[RT_LIBS_MAX];
    uint32_t n_lib = ok ? rt_libs_used(&s->k, lib) : 0;
    if (s->opt.json) {
        cJSON *j = cJSON_CreateObject(), *m = cJSON_AddArrayToObject(j, "missing"), *u = cJSON_AddArrayToObject(j, "operators");
        cJSON_AddBoolToObject(j, "compiles", ok);
        for (uint32_t k = 0; k < missing.n; k++) {
            const CheckItem *i = &missing.p[k];
            cJSON *e = cJSON_CreateObject();
            cJSON_AddStringToObject(e, "what", i->what ? i->what : "");
            cJSON_AddStringToObject(e, "node", i->node ? i->node : "");
            cJSON_AddStringToObject(e, "op", i->op ? i->op : "");
            cJSON_AddStringToObject(e, "domain", i->domain ? i->domain : "");
            cJSON_AddNumberToObject(e, "opset", (double)i->opset);
            cJSON_AddItemToArray(m, e);
        }
        for (uint32_t k = 0; k < used.n; k++) {
            cJSON *e = cJSON_CreateObject();
            cJSON_AddStringToObject(e, "op", used.p[k].op);
            cJSON_AddStringToObject(e, "domain", used.p[k].domain ? used.p[k].domain : "");
            cJSON_AddNumberToObject(e, "count", used.p[k].n);
            char by[OP_BY_TEXT];
            cJSON_AddNumberToObject(e, "version", version_of(&used.p[k], by));
            cJSON_AddStringToObject(e, "computed", by);
            cJSON_AddItemToArray(u, e);
        }
        cJSON *libraries = cJSON_AddArrayToObject(j, "libraries");
        for (uint32_t k = 0; k < n_lib; k++) cJSON_AddItemToArray(libraries, cJSON_CreateString(lib[k]->flags));
        char *text = cJSON_Print(j);
        printf("%s\n", text ? text : "{}");
        cJSON_free(text);
        cJSON_Delete(j);
    } else {
        for (uint32_t k = 0; k < used.n; k++) {
            const OpUse *u = &used.p[k];
            char by[OP_BY_TEXT];
            int version = version_of(u, by);
            const char *name = op_full_name(&s->arena, u->domain, u->op);
            if (version) printf("%6u  %-24s version %-3d %s\n", u->n, name, version, by);
            else printf("%6u  %s\n", u->n, name);
        }
        for (uint32_t k = 0; k < missing.n; k++) {
            const CheckItem *i = &missing.p[k];
            printf("missing: node '%s' (%s, opset %lld): %s\n", i->node ? i->node : "",
                   op_full_name(&s->arena, i->domain, i->op), (long long)i->opset, i->what ? i->what : "");
        }
        for (uint32_t k = 0; k < n_lib; k++) printf("needs %s (Debian: %s)\n", lib[k]->flags, lib[k]->packages);
        printf("%s\n", ok ? "bmc compiles this model" : "bmc cannot compile this model yet");
    }
    return ok ? 0 : EXIT_INPUT;
}
