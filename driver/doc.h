/* doc.h: reference pages made from the tables, so that they cannot be wrong: docs/OPS.md and docs/PASSES.md are their output
 * (`bmc doc ops`, `bmc doc passes`; tests/unit/doc_test.c compares). */
#ifndef BMC_DRIVER_DOC_H
#define BMC_DRIVER_DOC_H
#include "base/str.h"

void doc_ops(Str *);      /* ir/ops/ops.def and every OpDesc in it */
void doc_passes(Str *);   /* passes/passes.def, the passes' own words, and the pipeline of each -O level */

#endif
