/* text_bir.h: kinds of tests whose input is a .bir:
 *   print                      parse, print: the expectation is the text
 *   verify [--typed]           parse and verify give exactly the messages of the "; error: ..." lines, each for its
 *                              line when it names one
 *   infer                      the pass infer; prints, or gives exactly the messages of the "; error: ..." lines when
 *                              there are any
 *   opt --passes=a,b [--rewrite-limit=N]   the passes; prints; the last pass changes nothing on its own output, read
 *                                          back from text too.
 *                              "; remark: X": a remark has that text; "; error: X": the passes fail with exactly
 *                              these messages
 *   lower [--passes=a,b]       the passes and lower (infer,dce,expand when none are given); prints the .kir
 *   run [--level=N]            runs each "; run: inputs -> outputs [tol=x]" line by the reference evaluation of the
 *                              ops and, lowered at -O0 and -O2, on the interpreter of the Kernel IR;
 *                              --first=a,b: these passes before (with options that small sizes need).
 *                              "-> error N text" as in text_kir.h; the reference has to fail too.
 *                              --no-eval: without the reference */
#ifndef TEXT_BIR_H
#define TEXT_BIR_H
#include <stdlib.h>
#include "ir/graph/eval.h"
#include "ir/graph/infer.h"
#include "passes/pass.h"
#include "tests/tools/text_kir.h"

typedef struct BirText {
    Diag diag;
    Module m;
    KModule k;
} BirText;

/* What schedules look at; fixed, so that expectations do not depend on the machine. */
static const KTarget BIR_TEXT_TARGET = {.triple = "x86_64-linux-gnu",
                                        .cpu = "x86-64-v3",
                                        .features = "",
                                        .vec_bits = 256,
                                        .vec_regs = 16,
                                        .fma = true,
                                        .l1_bytes = 32768,
                                        .l2_bytes = 1048576};

static bool bir_text_parse(TextTest *t, BirText *b, const char *text, size_t n)
{
    text_diag(t, &b->diag);
    b->diag.remarks = true;
    module_init(&b->m, t->arena, &b->diag);
    kmodule_init(&b->k, t->arena, &b->diag, &b->m.names, &b->m.dims, &b->m.types, &b->m.blobs);
    b->k.target = BIR_TEXT_TARGET;
    return bir_parse(&b->m, t->path, text, n);
}

static const char *bir_text_print(TextTest *t, Module *m)
{
    Str s;
    str_init(&s, t->arena);
    bir_print(&s, m);
    return str_get(&s);
}

static bool bir_text_again(TextTest *t, BirText *b, const char *text)
{
    if (bir_text_parse(t, b, text, strlen(text))) return true;
    text_fail(t, "%s", text);
    return text_messages(t, "what was printed does not parse");
}

/* The text of a module is read back and prints the same. */
static bool bir_text_stable(TextTest *t, const char *text)
{
    BirText *b = arena_new(t->arena, BirText);
    if (!bir_text_again(t, b, text)) return false;
    const char *again = bir_text_print(t, &b->m);
    blobs_close(&b->m.blobs);
    return !strcmp(text, again) || text_fail(t, "printing is not stable; first:\n%s\nthen:\n%s", text, again);
}

/* Round trip of any .bir file; one that does not parse is a matter for its own kind. */
static bool bir_text_roundtrip(TextTest *t)
{
    BirText *b = arena_new(t->arena, BirText);
    bool ok = true;
    if (bir_text_parse(t, b, t->text, t->n)) ok = bir_text_stable(t, bir_text_print(t, &b->m));
    else if (!t->kind) ok = text_messages(t, "does not parse");
    t->message.n = 0;
    blobs_close(&b->m.blobs);
    return ok;
}

/* ---- messages ---- */

/* A message that names a line of this file stands on the line of its "; error:" comment. */
static bool bir_text_places(TextTest *t)
{
    bool ok = true;
    const char *at = t->text;
    for (char *want; (want = text_line(t, &at, "; error: "));) {
        int line = 1;
        for (const char *p = t->text; p < at - 1; p++) line += *p == '\n';
        for (uint32_t i = 0; i < t->message.n; i++) {
            const char *m = t->message.p[i];
            size_t n = strlen(t->path);
            if (!strstr(m, want) || strncmp(m, t->path, n) || m[n] != ':' || !(m[n + 1] >= '0' && m[n + 1] <= '9'))
                continue;
            if (atoi(m + n + 1) != line) ok = text_fail(t, "expected on line %d: %s", line, m);
        }
    }
    return ok;
}

/* Takes the remarks out of the messages: each "; remark: X" line is in one of them. */
static bool bir_text_remarks(TextTest *t)
{
    const char *at = t->text;
    bool ok = true;
    uint32_t kept = 0;
    for (char *want; (want = text_line(t, &at, "; remark: "));) {
        bool found = false;
        for (uint32_t i = 0; i < t->message.n; i++)
            found |= strstr(t->message.p[i], "remark R") && strstr(t->message.p[i], want);
        if (!found) ok = text_fail(t, "no remark has: %s", want);
    }
    for (uint32_t i = 0; i < t->message.n && !ok; i++) text_fail(t, "  %s", t->message.p[i]);
    for (uint32_t i = 0; i < t->message.n; i++)
        if (!strstr(t->message.p[i], "remark R")) t->message.p[kept++] = t->message.p[i];
    t->message.n = kept;
    return ok;
}

static bool bir_text_expects_errors(TextTest *t)
{
    const char *at = t->text;
    return text_line(t, &at, "; error: ") != NULL;
}

/* ---- kinds ---- */

static bool kind_bir_print(TextTest *t)
{
    BirText *b = arena_new(t->arena, BirText);
    if (!bir_text_parse(t, b, t->text, t->n)) return text_messages(t, "does not parse");
    str_add(&t->out, bir_text_print(t, &b->m));
    t->has_out = true;
    blobs_close(&b->m.blobs);
    return true;
}

static bool kind_bir_verify(TextTest *t)
{
    BirText *b = arena_new(t->arena, BirText);
    if (bir_text_parse(t, b, t->text, t->n))
        strstr(t->args, "--typed") ? bir_verify_typed(&b->m, "parse") : bir_verify(&b->m, "parse");
    blobs_close(&b->m.blobs);
    bool places = bir_text_places(t);
    return text_errors(t) && places;
}

static bool bir_text_run(BirText *b, const char *passes, int level, const char *limit)
{
    bool stopped;
    PassOptions o = {
        .opt_level = level, .passes = passes, .verify_each = true, .rewrite_limit = limit ? atoi(limit) : -1};
    return passes_run(&b->m, &b->k, &o, &stopped);
}

/* The last pass on its own output, and on that output read back from its text. */
static bool bir_text_idempotent(TextTest *t, BirText *b, const char *passes, const char *once)
{
    const char *last = passes;
    int depth = 0;
    for (const char *p = passes; *p; p++) {
        depth += (*p == '{') - (*p == '}');
        if (*p == ',' && !depth) last = p + 1;
    }
    BirText *c = arena_new(t->arena, BirText);
    if (!bir_text_again(t, c, once)) return false;
    BirText *both[2] = {b, c};
    for (int k = 0; k < 2; k++) {
        if (!bir_text_run(both[k], last, 2, NULL)) return text_messages(t, "the last pass fails on its own output");
        const char *twice = bir_text_print(t, &both[k]->m);
        if (strcmp(once, twice))
            return text_fail(t, "%s is not idempotent%s; first:\n%s\nthen:\n%s", last,
                             k ? " on what was read back" : "", once, twice);
    }
    blobs_close(&c->m.blobs);
    return true;
}

static bool bir_text_opt(TextTest *t, const char *passes, const char *limit)
{
    BirText *b = arena_new(t->arena, BirText);
    if (!bir_text_parse(t, b, t->text, t->n) || !bir_verify(&b->m, "parse"))
        return text_messages(t, "the input is wrong");
    bool ok = bir_text_run(b, passes, 2, limit), remarks = bir_text_remarks(t);
    if (!ok || bir_text_expects_errors(t)) {
        blobs_close(&b->m.blobs);
        return text_errors(t);
    }
    const char *text = bir_text_print(t, &b->m);
    if (!remarks || !bir_text_stable(t, text) || (!limit && !bir_text_idempotent(t, b, passes, text))) return false;
    str_add(&t->out, text);
    t->has_out = true;
    blobs_close(&b->m.blobs);
    return true;
}

static bool kind_bir_opt(TextTest *t)
{
    const char *passes = text_option(t, "passes");
    return passes ? bir_text_opt(t, passes, text_option(t, "rewrite-limit")) : text_fail(t, "opt takes --passes=");
}

static bool kind_bir_infer(TextTest *t) { return bir_text_opt(t, "infer", NULL); }

static bool kind_bir_lower(TextTest *t)
{
    BirText *b = arena_new(t->arena, BirText);
    const char *passes = text_option(t, "passes");
    passes = passes ? arena_printf(t->arena, "%s,lower", passes) : "infer,dce,expand,lower";
    if (!bir_text_parse(t, b, t->text, t->n) || !bir_verify(&b->m, "parse"))
        return text_messages(t, "the input is wrong");
    bool ok = bir_text_run(b, passes, 2, NULL);
    if (!bir_text_remarks(t)) return false;
    if (ok && !bir_text_expects_errors(t)) {
        const char *text = kir_text_print(t, &b->k);
        if (!kir_text_stable(t, text)) return false;
        str_add(&t->out, text);
        t->has_out = true;
    }
    blobs_close(&b->m.blobs);
    return t->has_out || text_errors(t);
}

/* ---- run ---- */

static Tensor *bir_text_tensor(TextTest *t, const bmc_value *v)
{
    Tensor *x = arena_new(t->arena, Tensor);
    *x = (Tensor){.kind = v->kind == BMC_TENSOR ? TY_TENSOR : v->kind == BMC_OPTIONAL ? TY_OPT : v->kind == BMC_MAP ? TY_MAP : TY_SEQ,
                  .elem = (DType)v->dtype,
                  .rank = v->rank,
                  .count = 1,
                  .data = v->data};
    for (int k = 0; k < v->rank; k++) x->count *= x->dim[k] = v->dim[k];
    if (v->kind == BMC_TENSOR) return x;
    x->n_item = (int64_t)v->n_item;
    x->item = arena_array(t->arena, Tensor *, v->n_item + 1);
    for (size_t k = 0; k < v->n_item; k++) x->item[k] = bir_text_tensor(t, &v->item[k]);
    return x;
}

static bmc_value bir_text_value(TextTest *t, const Tensor *x)
{
    bmc_value v = {.size = sizeof v,
                   .kind = x->kind == TY_TENSOR ? BMC_TENSOR : x->kind == TY_OPT ? BMC_OPTIONAL : x->kind == TY_MAP ? BMC_MAP : BMC_SEQUENCE,
                   .dtype = (uint8_t)x->elem,
                   .rank = (uint8_t)x->rank,
                   .data = x->data};
    for (int k = 0; k < x->rank; k++) v.dim[k] = x->dim[k];
    if (x->kind == TY_TENSOR) return v;
    v.n_item = (size_t)x->n_item;
    v.item = arena_array(t->arena, bmc_value, v.n_item + 1);
    for (size_t k = 0; k < v.n_item; k++) v.item[k] = bir_text_value(t, x->item[k]);
    return v;
}

/* The reference: ops' `eval` hooks, on the graph as it was read. */
static bool bir_text_eval(TextTest *t, BirText *b, RunLine *r)
{
    Tensor *in[16], *out[16] = {NULL};
    const char *why = "";
    if (r->n_in != b->m.entry->in.n || (!r->error_text && r->n_out != b->m.entry->out.n))
        return text_fail(t, "%s: the graph has %u inputs and %u outputs", r->text, b->m.entry->in.n, b->m.entry->out.n);
    for (uint32_t k = 0; k < r->n_in; k++) in[k] = bir_text_tensor(t, &r->in[k]);
    bool ok = eval_graph(t->arena, b->m.entry, in, out, &why);
    if (r->error_text) return !ok || text_fail(t, "%s: the reference evaluation does not fail", r->text);
    if (!ok) return text_fail(t, "%s: reference evaluation: %s", r->text, why);
    for (uint32_t k = 0; k < r->n_out; k++) {
        bmc_value v = bir_text_value(t, out[k]);
        if (same_value(&v, &r->out[k], r->tol)) continue;
        Str got;
        str_init(&got, t->arena);
        show_value(&got, &v);
        return text_fail(t, "%s: by reference evaluation, output %u is %s", r->text, k, str_get(&got));
    }
    return true;
}

static bool kind_bir_run(TextTest *t)
{
    static const int level[] = {0, 2};
    BirText *plain = arena_new(t->arena, BirText), *lowered[2];
    const char *at = t->text, *only = text_option(t, "level"), *first = text_option(t, "first");
    uint32_t runs = 0;
    if (!bir_text_parse(t, plain, t->text, t->n) || !bir_verify(&plain->m, "parse") || !infer_graph(plain->m.entry))
        return text_messages(t, "the input is wrong");
    for (int k = 0; k < 2; k++) {
        lowered[k] = arena_new(t->arena, BirText);
        if (!bir_text_parse(t, lowered[k], t->text, t->n)) return text_messages(t, "the input is wrong");
        if (only && atoi(only) != level[k]) lowered[k] = NULL;
        else if ((first && !bir_text_run(lowered[k], first, level[k], NULL)) ||
                 !bir_text_run(lowered[k], NULL, level[k], NULL))
            return text_messages(t, arena_printf(t->arena, "-O%d", level[k]));
    }
    for (char *line; (line = text_line(t, &at, "; run: ")); runs++) {
        RunLine *r = arena_new(t->arena, RunLine);
        if (!run_line(t, line, r) || (!r->safe && !strstr(t->args, "--no-eval") && !bir_text_eval(t, plain, r))) return false;
        for (int k = 0; k < 2; k++)
            if (lowered[k] && !run_module(t, &lowered[k]->k, r, k ? "-O2" : "-O0"))
                return text_fail(t, "%s", kir_text_print(t, &lowered[k]->k));
    }
    blobs_close(&plain->m.blobs);
    for (int k = 0; k < 2; k++)
        if (lowered[k]) blobs_close(&lowered[k]->m.blobs);
    return runs > 0 || text_fail(t, "no run line");
}

#endif
