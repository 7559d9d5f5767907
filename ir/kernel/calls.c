/* calls.c: the runtime functions that programs may call, from the one table runtime/rt_calls.def (names and argument
 * letters; the C functions
 * themselves are only referenced by eval_call.c and by generated code). */
#include "ir/kernel/kir.h"
#include <string.h>

enum { SINGLE, TEAM };
static const RtCall calls[] = {
#define RTCALL(name, args, mode, brief) {#name, args, mode == TEAM},
#include "runtime/rt_calls.def"
#undef RTCALL
};

const RtCall *rt_call_find(const char *name)
{
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (!strcmp(calls[i].name, name)) return &calls[i];
    return NULL;
}
