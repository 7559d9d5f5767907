/* temps.c: see temps.h. */
#define _GNU_SOURCE
#include "base/temps.h"
#include "base/bug.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

void temps_add(Temps *t, const char *path)
{
    if (!t || strlen(path) >= TEMPS_PATH) return;
    int i = TEMPS_MAX; /* behind the youngest, for the order of removal */
    while (i > 0 && !t->of[i - 1].is) i--;
    if (i == TEMPS_MAX) BUG("more than %d temporary files at a time", TEMPS_MAX);
    strcpy(t->of[i].path, path);
    t->of[i].is = 1;
}

void temps_done(Temps *t, const char *path)
{
    if (!t) return;
    for (int i = 0; i < TEMPS_MAX; i++)
        if (t->of[i].is && !strcmp(t->of[i].path, path)) t->of[i].is = 0;
}

/* The system's form of a folder's entry: opendir allocates, which a signal handler may not. */
typedef struct Entry { uint64_t inode; int64_t offset; unsigned short bytes; unsigned char type; char name[]; } Entry;

static void empty(const char *folder)
{
    _Alignas(Entry) char buf[4096];
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    for (long n; (n = syscall(SYS_getdents64, fd, buf, sizeof buf)) > 0;)
        for (long at = 0; at < n;) {
            const Entry *e = (const Entry *)(const void *)(buf + at);
            at += e->bytes;
            if (strcmp(e->name, ".") && strcmp(e->name, "..")) unlinkat(fd, e->name, 0);
        }
    close(fd);
}

void temps_clear(const char *path)
{
    for (int tries = 0; tries < 100; tries++) { /* a process that was killed may still have made a file */
        if (!unlink(path) || !rmdir(path) || (errno != ENOTEMPTY && errno != EEXIST)) return;
        empty(path);
    }
}

void temps_remove(Temps *t)
{
    if (t->child > 0) {
        kill(-(pid_t)t->child, SIGKILL);
        waitpid((pid_t)t->child, NULL, 0);
        t->child = 0;
    }
    for (int i = TEMPS_MAX - 1; i >= 0; i--) {
        if (t->of[i].is) temps_clear(t->of[i].path);
        t->of[i].is = 0;
    }
}
