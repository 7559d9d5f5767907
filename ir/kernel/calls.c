/* calls.c: the runtime functions that programs may call, from the one table runtime/rt_calls.def (names and argument
 * letters; the C functions
 * themselves are only referenced by eval_call.c and by generated code), and which parts of the runtime a program needs. */
#include "ir/kernel/kir.h"
#include <string.h>

enum { SINGLE, TEAM };
static const RtLib libs[] = {
#define RTLIB(part, flags, packages) {#part, flags, packages},
#include "runtime/rt_libs.def"
#undef RTLIB
};
enum {
#define RTLIB(part, flags, packages) LIB_##part,
#include "runtime/rt_libs.def"
#undef RTLIB
    N_LIBS
};
static const RtCall calls[] = {
#define RTCALL(name, args, mode, brief) {#name, args, mode == TEAM, NULL},
#define RTCALL_OF(part, name, args, mode, brief) {#name, args, mode == TEAM, &libs[LIB_##part]},
#include "runtime/rt_calls.def"
#undef RTCALL
};

const RtCall *rt_call_find(const char *name)
{
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
        if (!strcmp(calls[i].name, name)) return &calls[i];
    return NULL;
}

typedef struct Uses {
    bool used[N_LIBS];
} Uses;

static void note(void *arg, KStep *s)
{
    Uses *u = arg;
    if (s->kind == KST_CALL && s->call->lib) u->used[s->call->lib - libs] = true;
}

uint32_t rt_libs_used(const KModule *m, const RtLib *out[RT_LIBS_MAX])
{
    Uses u = {{false}};
    uint32_t n = 0;
    _Static_assert((int)N_LIBS <= (int)RT_LIBS_MAX, "RT_LIBS_MAX");
    kstep_each(&m->program, note, &u);
    for (int k = 0; k < N_LIBS; k++)
        if (u.used[k]) out[n++] = &libs[k];
    return n;
}
