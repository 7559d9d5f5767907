#include "passes/kernel/kpasses.h"
#include "passes/pass.h"
bool kpass_schedule(KModule *m) { (void)m; return false; }

static PassResult run(PassCtx *c) { return kpass_schedule(c->k) ? PASS_CHANGED : PASS_UNCHANGED; }
const Pass pass_schedule = {.name = "schedule", .brief = "collapse parallel loops, make innermost loops vector loops", .kernel = true, .run = run};
