/* diag.h: messages to people. All texts are rows of diag.def; a message names file, node and op where there are any:
 *   model.onnx: node 12 'conv1/Relu' (Relu): error E031: input 0 is float16, Relu here takes float32
 * Messages are collected and handed to the sink as they are made; generated code and runtime/ never use this. */
#ifndef BMC_BASE_DIAG_H
#define BMC_BASE_DIAG_H
#include "base/arena.h"
#include <stdbool.h>

typedef enum DiagLevel { DIAG_ERROR, DIAG_WARNING, DIAG_REMARK, DIAG_NOTE } DiagLevel;
typedef enum DiagId {
#define DIAG(id, level, name, text) E_##name,
#include "base/diag.def"
#undef DIAG
    DIAG_COUNT
} DiagId;

/* Where a message points: any field may be empty. */
typedef struct DiagLoc { const char *file; int line, col; int node; /* ONNX index, -1: none */ const char *node_name, *op; } DiagLoc;

typedef struct DiagMessage { DiagId id; DiagLevel level; const char *text; /* the whole line, no newline */ DiagLoc loc; } DiagMessage;
typedef struct Diag {
    Arena *arena;
    void (*sink)(void *arg, const DiagMessage *);  /* NULL: keep only the counts and `first_error` */
    void *sink_arg;
    bool remarks;                                   /* off: remarks are dropped */
    int errors, warnings;
    const char *first_error; DiagId first_id;
    int quiet;                                      /* >0: errors go to `first_error` only (speculative work, branches that may be dead) */
} Diag;

void diag_init(Diag *, Arena *);
/* Formats row `id` with the arguments that its text takes. Returns false, so that `return diag(...)` reads well in fallible functions. */
bool diag(Diag *, DiagLoc, DiagId id, ...);
/* What stands between the two may fail without a word, and leaves no trace: messages become none. diag_tried takes what diag_try
 * gave and returns the first error since, whose text is NULL where there was none. They nest. */
typedef struct DiagFirst { DiagId id; const char *text; } DiagFirst;
DiagFirst diag_try(Diag *);
DiagFirst diag_tried(Diag *, DiagFirst before);
const char *diag_code(DiagId);                      /* "E031" */
const char *diag_text(DiagId);                      /* the row's format */

static inline DiagLoc diag_file(const char *file) { return (DiagLoc){.file = file, .node = -1}; }
static inline DiagLoc diag_line(const char *file, int line, int col) { return (DiagLoc){.file = file, .line = line, .col = col, .node = -1}; }

#endif
