/* text_kir.h: kinds of tests whose input is a .kir:
 *   print                    parse, print: the expectation is the text; printing what is read back gives it again
 *   verify                   parse and verify give exactly the messages of the "; error: ..." lines
 *   kopt --passes=a,b        the passes; prints what comes out; every pass is run twice and must change nothing the
 *                            second time
 *   krun [--passes=a,b]      runs each "; run: inputs -> outputs [tol=x]" line on the interpreter, as it stands and
 *                            again after the passes (default: all).
 *                            "; run: inputs -> error N text": fails with that status and a message that has the text.
 *                            "; run: inputs -> safe": any status, but no access outside a buffer.
 *                            Values: f32[2]{1,2} str[1]{"a"} seq{...} opt{...}
 *                            map{KEYS, VALUES} */
#ifndef TEXT_KIR_H
#define TEXT_KIR_H
#include <math.h>
#include "ir/elem.h"
#include "ir/kernel/eval.h"
#include "ir/lex.h"
#include "passes/kernel/kpasses.h"
#include "tests/tools/text_test.h"

typedef struct KirText {
    Diag diag;
    Names names;
    Dims dims;
    Types types;
    Blobs blobs;
    KModule m;
} KirText;

static bool kir_text_parse(TextTest *t, KirText *k, const char *text, size_t n)
{
    text_diag(t, &k->diag);
    names_init(&k->names, t->arena);
    dims_init(&k->dims, t->arena, &k->names);
    types_init(&k->types, t->arena, &k->dims);
    blobs_init(&k->blobs, t->arena);
    kmodule_init(&k->m, t->arena, &k->diag, &k->names, &k->dims, &k->types, &k->blobs);
    return kir_parse(&k->m, t->path, text, n);
}

static const char *kir_text_print(TextTest *t, KModule *m)
{
    Str s;
    str_init(&s, t->arena);
    kir_print(&s, m);
    return str_get(&s);
}

/* The text of a module is read back and prints the same. */
static bool kir_text_stable(TextTest *t, const char *text)
{
    KirText *k = arena_new(t->arena, KirText);
    if (!kir_text_parse(t, k, text, strlen(text))) {
        text_fail(t, "%s", text);
        return text_messages(t, "what was printed does not parse");
    }
    const char *again = kir_text_print(t, &k->m);
    blobs_close(&k->blobs);
    return !strcmp(text, again) || text_fail(t, "printing is not stable; first:\n%s\nthen:\n%s", text, again);
}

/* Round trip of any .kir file; one that does not parse is a matter for its own kind. */
static bool kir_text_roundtrip(TextTest *t)
{
    KirText *k = arena_new(t->arena, KirText);
    bool ok = true;
    if (kir_text_parse(t, k, t->text, t->n)) ok = kir_text_stable(t, kir_text_print(t, &k->m));
    else if (!t->kind) ok = text_messages(t, "does not parse");
    t->message.n = 0;
    blobs_close(&k->blobs);
    return ok;
}

static bool kind_kir_print(TextTest *t)
{
    KirText *k = arena_new(t->arena, KirText);
    if (!kir_text_parse(t, k, t->text, t->n)) return text_messages(t, "does not parse");
    str_add(&t->out, kir_text_print(t, &k->m));
    t->has_out = true;
    blobs_close(&k->blobs);
    return true;
}

static bool kind_kir_verify(TextTest *t)
{
    KirText *k = arena_new(t->arena, KirText);
    if (kir_text_parse(t, k, t->text, t->n)) kir_verify(&k->m, "parse");
    blobs_close(&k->blobs);
    return text_errors(t);
}

/* ---- passes ---- */
static bool kir_text_pass(TextTest *t, KModule *m, const char *name, bool *changed)
{
    bool failed = false;
    if (!strcmp(name, "kernel-simplify")) *changed = kpass_simplify(m);
    else if (!strcmp(name, "kernel-dce")) *changed = kpass_dce(m);
    else if (!strcmp(name, "schedule")) *changed = kpass_schedule(m);
    else if (!strcmp(name, "single")) *changed = kpass_single(m, 12000) > 0;
    else if (!strcmp(name, "share-tables")) *changed = kpass_share_tables(m, 0) > 0;
    else if (!strcmp(name, "merge-launches")) *changed = kpass_merge_launches(m) > 0;
    else if (!strcmp(name, "plan-memory")) *changed = kpass_plan_memory(m, &failed);
    else if (!strcmp(name, "barriers")) *changed = kpass_barriers(m);
    else return text_fail(t, "unknown pass '%s'", name);
    return !failed || text_messages(t, name);
}

static bool kir_text_passes(TextTest *t, KModule *m, const char *list)
{
    char *copy = arena_strdup(t->arena, list);
    for (char *name = strtok(copy, ","); name; name = strtok(NULL, ",")) {
        bool changed;
        if (!kir_text_pass(t, m, name, &changed)) return false;
        if (!kir_verify(m, name)) {
            text_fail(t, "%s", kir_text_print(t, m));
            return text_messages(t, name);
        }
        const char *once = kir_text_print(t, m);
        if (!kir_text_stable(t, once)) return false;
        if (!kir_text_pass(t, m, name, &changed)) return false;
        if (changed || strcmp(once, kir_text_print(t, m)))
            return text_fail(t, "%s is not idempotent; first:\n%s\nthen:\n%s", name, once, kir_text_print(t, m));
    }
    return true;
}

static bool kind_kopt(TextTest *t)
{
    KirText *k = arena_new(t->arena, KirText);
    const char *list = text_option(t, "passes");
    if (!list) return text_fail(t, "kopt takes --passes=");
    if (!kir_text_parse(t, k, t->text, t->n) || !kir_verify(&k->m, "parse"))
        return text_messages(t, "the input is wrong");
    if (!kir_text_passes(t, &k->m, list)) return false;
    str_add(&t->out, kir_text_print(t, &k->m));
    t->has_out = true;
    blobs_close(&k->blobs);
    return true;
}

/* ---- running ---- */
static bool run_value(TextTest *t, Lex *x, Types *types, bmc_value *v)
{
    TypeId ty;
    int64_t count = 1;
    *v = (bmc_value){.size = sizeof *v, .kind = BMC_TENSOR};
    if (lex_is_ident(x, "seq") || lex_is_ident(x, "opt") || lex_is_ident(x, "map")) {
        bmc_value item[64];
        v->kind = lex_is_ident(x, "seq") ? BMC_SEQUENCE : lex_is_ident(x, "opt") ? BMC_OPTIONAL : BMC_MAP;
        lex_next(x);
        if (!lex_expect(x, '{')) return false;
        while (!lex_is(x, '}')) {
            if ((v->n_item && !lex_expect(x, ',')) || v->n_item == 64 || !run_value(t, x, types, &item[v->n_item]))
                return false;
            v->n_item++;
        }
        v->item = arena_memdup(t->arena, item, v->n_item * sizeof *item);
        return lex_expect(x, '}');
    }
    if (!lex_type(x, types, false, &ty) || !lex_expect(x, '{')) return false;
    const TypeRec *r = type_rec(types, ty);
    v->dtype = (uint8_t)r->elem;
    v->rank = r->rank;
    for (int i = 0; i < r->rank; i++) {
        if (!dim_is_const(types->dims, r->dim[i], &v->dim[i])) return lex_error(x, "dims of a value are constants");
        count *= v->dim[i];
    }
    v->bytes = r->elem == DT_STR ? (size_t)count * sizeof(bmc_string) : (size_t)dtype_bytes(r->elem, count);
    v->data = arena_alloc(t->arena, v->bytes + 16);
    for (int64_t n = 0; n < count; n++) {
        if (n && !lex_expect(x, ',')) return false;
        if (r->elem == DT_STR) {
            bmc_string *s = (bmc_string *)v->data + n;
            if (!lex_string(x, &s->ptr, &s->len)) return false;
        } else if (dtype_is_float(r->elem)) {
            double f;
            if (!lex_number(x, &f)) return false;
            elem_put_f(r->elem, v->data, n, f);
        } else {
            int64_t i;
            if (!lex_int(x, &i)) return false;
            elem_put_i(r->elem, v->data, n, i);
        }
    }
    return lex_expect(x, '}');
}

static void show_value(Str *s, const bmc_value *v)
{
    int64_t count = 1;
    if (v->kind != BMC_TENSOR) {
        str_add(s, v->kind == BMC_OPTIONAL ? "opt{" : v->kind == BMC_MAP ? "map{" : "seq{");
        for (size_t i = 0; i < v->n_item; i++) {
            if (i) str_add(s, ", ");
            show_value(s, &v->item[i]);
        }
        str_char(s, '}');
        return;
    }
    str_printf(s, "%s[", dtype_name((DType)v->dtype));
    for (int i = 0; i < v->rank; i++) {
        str_printf(s, "%s%lld", i ? "," : "", (long long)v->dim[i]);
        count *= v->dim[i];
    }
    str_add(s, "]{");
    for (int64_t n = 0; n < count; n++) {
        if (n) str_char(s, ',');
        if (v->dtype == DT_STR) {
            bmc_string e = ((const bmc_string *)v->data)[n];
            str_quote(s, e.ptr, e.len);
        } else if (dtype_is_float((DType)v->dtype))
            str_double(s, elem_get_f((DType)v->dtype, v->data, n), v->dtype == DT_F32);
        else str_printf(s, "%lld", (long long)elem_get_i((DType)v->dtype, v->data, n));
    }
    str_char(s, '}');
}

/* tol 0: the same value (0 and -0 are, two nans are); else |a - b| <= tol * max(1, |b|). */
static bool same_value(const bmc_value *a, const bmc_value *b, double tol)
{
    int64_t count = 1;
    if (a->kind != b->kind) return false;
    if (a->kind != BMC_TENSOR) {
        if (a->n_item != b->n_item) return false;
        for (size_t i = 0; i < a->n_item; i++)
            if (!same_value(&a->item[i], &b->item[i], tol)) return false;
        return true;
    }
    if (a->dtype != b->dtype || a->rank != b->rank) return false;
    for (int i = 0; i < a->rank; i++) {
        if (a->dim[i] != b->dim[i]) return false;
        count *= a->dim[i];
    }
    for (int64_t n = 0; n < count; n++) {
        DType t = (DType)a->dtype;
        if (t == DT_STR) {
            const bmc_string *p = (const bmc_string *)a->data + n, *q = (const bmc_string *)b->data + n;
            if (p->len != q->len || memcmp(p->ptr, q->ptr, p->len)) return false;
            continue;
        }
        if (!dtype_is_float(t)) {
            if (elem_get_i(t, a->data, n) != elem_get_i(t, b->data, n)) return false;
            continue;
        }
        double x = elem_get_f(t, a->data, n), y = elem_get_f(t, b->data, n);
        if (isnan(x) && isnan(y)) continue;
        if (x == y) continue;
        if (!(fabs(x - y) <= tol * fmax(1, fabs(y)))) return false;
    }
    return true;
}

typedef struct RunLine {
    bmc_value in[16], out[16];
    uint32_t n_in, n_out;
    double tol;
    int64_t error;
    const char *error_text;
    bool safe;   /* "-> safe": any status, but nothing outside a buffer is touched */
    const char *text;
} RunLine;

static bool run_line(TextTest *t, const char *text, RunLine *r)
{
    KirText k;
    Lex x;
    text_diag(t, &k.diag);
    names_init(&k.names, t->arena);
    dims_init(&k.dims, t->arena, &k.names);
    types_init(&k.types, t->arena, &k.dims);
    lex_init(&x, t->arena, &k.diag, t->path, text, strlen(text));
    *r = (RunLine){.text = text};
    while (!x.tok.arrow) {
        if (r->n_in == 16 || (r->n_in && !lex_expect(&x, ',')) || !run_value(t, &x, &k.types, &r->in[r->n_in++]))
            return text_messages(t, text);
    }
    lex_next(&x);
    if (lex_accept_ident(&x, "safe")) return r->safe = true;
    if (lex_accept_ident(&x, "error")) {
        size_t n;
        if (!lex_int(&x, &r->error) || !lex_string(&x, &r->error_text, &n)) return text_messages(t, text);
        r->error_text = arena_strndup(t->arena, r->error_text, n);
        return true;
    }
    while (x.tok.kind != TK_EOF && !lex_is_ident(&x, "tol")) {
        if (r->n_out == 16 || (r->n_out && !lex_expect(&x, ',')) || !run_value(t, &x, &k.types, &r->out[r->n_out++]))
            return text_messages(t, text);
    }
    if (lex_accept_ident(&x, "tol") && (!lex_expect(&x, '=') || !lex_number(&x, &r->tol)))
        return text_messages(t, text);
    return true;
}

static bool run_module(TextTest *t, KModule *m, RunLine *r, const char *when)
{
    bmc_value in[16], out[16] = {{0}};
    const char *why = "";
    if (r->n_in != m->input.n || (!r->error_text && !r->safe && r->n_out != m->output.n))
        return text_fail(t, "%s: the module has %u inputs and %u outputs", r->text, m->input.n, m->output.n);
    memcpy(in, r->in, sizeof in);
    for (uint32_t i = 0; i < r->n_in; i++)
        if (in[i].kind == BMC_TENSOR) in[i].data = arena_memdup(t->arena, in[i].data, in[i].bytes + 16);
    bmc_status s = kir_eval(m, t->arena, in, out, &why);
    if (r->safe) {   /* what only the interpreter notices begins in one of these ways */
        static const char *const BAD[] = {"kernel @", "box %", "race: ", "is used without memory", ", planned are", "does not exist"};
        for (size_t i = 0; i < sizeof BAD / sizeof *BAD; i++)
            if (strstr(why, BAD[i])) return text_fail(t, "%s (%s): status %d '%s'", r->text, when, s, why);
        return true;
    }
    if (r->error_text) {
        if (s == (bmc_status)r->error && strstr(why, r->error_text)) return true;
        return text_fail(t, "%s (%s): status %d '%s'", r->text, when, s, why);
    }
    if (s != BMC_OK) return text_fail(t, "%s (%s): status %d '%s'", r->text, when, s, why);
    for (uint32_t i = 0; i < r->n_out; i++)
        if (!same_value(&out[i], &r->out[i], r->tol)) {
            Str got;
            str_init(&got, t->arena);
            show_value(&got, &out[i]);
            return text_fail(t, "%s (%s): output %u is %s", r->text, when, i, str_get(&got));
        }
    return true;
}

static bool kind_krun(TextTest *t)
{
    const char *list = text_option(t, "passes"), *at = t->text;
    KirText *plain = arena_new(t->arena, KirText), *passed = arena_new(t->arena, KirText);
    uint32_t runs = 0;
    if (!list) list = "kernel-simplify,schedule,plan-memory,barriers";
    if (!kir_text_parse(t, plain, t->text, t->n) || !kir_verify(&plain->m, "parse"))
        return text_messages(t, "the input is wrong");
    if (!kir_text_parse(t, passed, t->text, t->n) || !kir_text_passes(t, &passed->m, list)) return false;
    for (char *line; (line = text_line(t, &at, "; run: ")); runs++) {
        RunLine *r = arena_new(t->arena, RunLine);
        if (!run_line(t, line, r) || !run_module(t, &plain->m, r, "as written")) return false;
        if (!run_module(t, &passed->m, r, list)) return text_fail(t, "%s", kir_text_print(t, &passed->m));
    }
    blobs_close(&plain->blobs);
    blobs_close(&passed->blobs);
    return runs > 0 || text_fail(t, "no run line");
}

#endif
