/* temps.h: files and folders that must not outlive a command: what is made beside its target and moved there at the end.
 * A list that a signal handler may read: whoever ends the process, by an error, for want of memory or by a signal, removes
 * what is on it. One list a session; one thread adds. */
#ifndef BMC_BASE_TEMPS_H
#define BMC_BASE_TEMPS_H
#include <signal.h>

enum { TEMPS_MAX = 6, TEMPS_PATH = 4096 /* no system call takes a longer one */ };
typedef struct Temps {
    struct { volatile sig_atomic_t is; char path[TEMPS_PATH]; } of[TEMPS_MAX];
    volatile sig_atomic_t child; /* leader of the group of processes that writes into one of them; 0: none */
} Temps;

/* Puts a file, or a folder of files, on the list. NULL as the list is allowed: nobody asks. */
void temps_add(Temps *, const char *path);
/* Off the list, when it is moved or removed. Not on it: nothing happens. */
void temps_done(Temps *, const char *path);
/* Removes a file, or a folder of files. Async-signal-safe. */
void temps_clear(const char *path);
/* Stops the child, and removes what is on the list, the youngest first. Async-signal-safe. */
void temps_remove(Temps *);

#endif
