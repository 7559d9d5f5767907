/* main.c: the command `bmc`. Everything else is libbmc. */
#include "driver/compile.h"
#include "codegen/codegen.h"
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int version(Session *s)
{
    KTarget t;
    printf("bmc %s\n", BMC_VERSION);
    if (codegen_target(&s->arena, &s->diag, NULL, NULL, &t)) printf("LLVM 19, target %s, cpu %s (%u-bit vectors%s)\n", t.triple, t.cpu, t.vec_bits, t.fma ? ", fma" : "");
    return 0;
}

static int run(Session *s, int argc, char **argv)
{
    if (!options_parse(&s->arena, &s->diag, argc, argv, &s->opt)) return EXIT_INPUT;
    if (s->opt.help || s->opt.help_all) {
        options_help(&s->arena, s->opt.cmd, s->opt.help_all);
        return 0;
    }
    if (s->opt.version) return version(s);
    switch (s->opt.cmd) {
    case CMD_COMPILE: return cmd_compile(s);
    case CMD_RUN: return cmd_run(s);
    case CMD_BENCH: return cmd_bench(s);
    case CMD_PROFILE: return cmd_profile(s);
    case CMD_CHECK: return cmd_check(s);
    case CMD_OPT: return cmd_opt(s);
    case CMD_DOC: return cmd_doc(s);
    case CMD_COUNT: break;
    }
    return EXIT_INPUT;
}

/* ---- ended by a signal: nothing half-written stays ---- */

static Session *volatile running; /* NULL: nothing to remove */

static void ended(int sig)
{
    if (running) temps_remove(&running->temps);
    raise(sig); /* its default action is back: the parent sees what ended the process */
}

static void tidy_at_signals(Session *s)
{
    static const int ENDS[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE, SIGXCPU};
    running = s;
    for (size_t k = 0; k < sizeof ENDS / sizeof *ENDS; k++) {
        struct sigaction a = {.sa_handler = ended, .sa_flags = SA_RESETHAND}, old;
        for (size_t m = 0; m < sizeof ENDS / sizeof *ENDS; m++) sigaddset(&a.sa_mask, ENDS[m]);
        if (!sigaction(ENDS[k], NULL, &old) && old.sa_handler == SIG_DFL) sigaction(ENDS[k], &a, NULL);
    }
    signal(SIGXFSZ, SIG_IGN); /* a file above the limit is an error of that write */
}

int main(int argc, char **argv)
{
    Session *s = calloc(1, sizeof *s);
    if (!s) return EXIT_MEMORY;
    session_init(s);
    tidy_at_signals(s);
    int status = setjmp(s->out_of_memory) ? EXIT_MEMORY : run(s, argc, argv);
    running = NULL;
    session_free(s);
    free(s);
    if (fflush(stdout) != 0 && status == 0) status = EXIT_INPUT;   /* a full disk behind a pipe */
    return status;
}
