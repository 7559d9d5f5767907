/* diag.c: one line per message: where, level and number, text. */
#include "base/diag.h"
#include "base/str.h"
#include <assert.h>

static const struct Row {
    const char *code, *text;
    DiagLevel level;
} rows[DIAG_COUNT] = {
#define DIAG(code, level, name, text) [E_##name] = {code, text, DIAG_##level},
#include "base/diag.def"
#undef DIAG
};
static const char *const level_name[] = {
    [DIAG_ERROR] = "error", [DIAG_WARNING] = "warning", [DIAG_REMARK] = "remark", [DIAG_NOTE] = "note"};

void diag_init(Diag *d, Arena *a) { *d = (Diag){.arena = a}; }

DiagFirst diag_try(Diag *d)
{
    DiagFirst before = {d->first_id, d->first_error};
    d->first_error = NULL;
    d->quiet++;
    return before;
}

DiagFirst diag_tried(Diag *d, DiagFirst before)
{
    DiagFirst got = {d->first_id, d->first_error};
    d->first_id = before.id;
    d->first_error = before.text;
    d->quiet--;
    return got;
}

const char *diag_code(DiagId id) { return rows[id].code; }
const char *diag_text(DiagId id) { return rows[id].text; }

/* Names come from files: a control character must not break the line or the terminal. */
static void add_name(Str *s, const char *name)
{
    for (; *name; name++) str_char(s, (unsigned char)*name < 0x20 || *name == 0x7f ? '?' : *name);
}

static void add_place(Str *s, const DiagLoc *l)
{
    if (l->file && *l->file) {
        add_name(s, l->file);
        if (l->line > 0) str_printf(s, ":%d", l->line);
        if (l->line > 0 && l->col > 0) str_printf(s, ":%d", l->col);
        str_add(s, ": ");
    }
    bool named = l->node_name && *l->node_name, op = l->op && *l->op;
    if (l->node < 0 && !named && !op) return;
    if (l->node < 0 && !named) add_name(s, l->op);
    else {
        str_add(s, "node");
        if (l->node >= 0) str_printf(s, " %d", l->node);
        if (named) {
            str_add(s, " '");
            add_name(s, l->node_name);
            str_char(s, '\'');
        }
        if (op) {
            str_add(s, " (");
            add_name(s, l->op);
            str_char(s, ')');
        }
    }
    str_add(s, ": ");
}

bool diag(Diag *d, DiagLoc loc, DiagId id, ...)
{
    assert(id < DIAG_COUNT);
    const struct Row *row = &rows[id];
    if (row->level == DIAG_REMARK && !d->remarks) return false;
    if (row->level != DIAG_ERROR && d->quiet > 0) return false;
    va_list ap;
    va_start(ap, id);
    const char *text = arena_vprintf(d->arena, row->text, ap);
    va_end(ap);
    Str line;
    str_init(&line, d->arena);
    add_place(&line, &loc);
    str_printf(&line, "%s %s: ", level_name[row->level], row->code);
    str_add(&line, text);
    DiagMessage m = {.id = id, .level = row->level, .text = str_get(&line), .loc = loc};
    if (row->level == DIAG_ERROR && !d->first_error) {
        d->first_error = m.text;
        d->first_id = id;
    }
    if (d->quiet > 0) return false;
    if (row->level == DIAG_ERROR) d->errors++;
    if (row->level == DIAG_WARNING) d->warnings++;
    if (d->sink) d->sink(d->sink_arg, &m);
    return false;
}
