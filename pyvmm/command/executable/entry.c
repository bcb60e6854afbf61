/* Makes the entry of a guest that runs without Python.
 *
 * A guest that has run for a while gets one, so that `pyvmm ps` lists it.  Its socket only
 * listens: once somebody connects, Python starts and serves it.  Nothing that fails here is an
 * error of the guest's.  pyvmm/control/entry.py says what is in an entry, and makes the same. */
#define _GNU_SOURCE
#include "entry.h"
#include "host.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BACKLOG 8

static int open_directory(int at, const char *path)
{
    return openat(at, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static int listen_in(int directory)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/control", directory);
    if (fd >= 0 && (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, BACKLOG) < 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

static bool describe(int directory, const char *image, const struct machine *machine)
{
    int fd = openat(directory, "guest", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    const char *line = strpbrk(image, "\n\r");

    if (fd < 0)
        return false;
    dprintf(fd, "pid %d\nimage %.*s\nmemory %llu\ncpus %u\nstarted %llu\n", (int)getpid(),
            line ? (int)(line - image) : (int)strlen(image), image, (unsigned long long)machine->memory,
            machine->cpus, (unsigned long long)clock_ns(CLOCK_BOOTTIME));
    close(fd);
    return true;
}

/* registry: a descriptor of it, which is closed, or -1. */
void entry_make(struct entry *entry, int registry, const char *image, const struct machine *machine)
{
    if (registry < 0)
        return;
    registry_make_up(entry->name, image);
    if (mkdirat(registry, entry->name, 0700) == 0) {
        entry->directory = open_directory(registry, entry->name);
        if (entry->directory >= 0 && flock(entry->directory, LOCK_EX | LOCK_NB) == 0 &&
            (entry->socket = listen_in(entry->directory)) >= 0 && describe(entry->directory, image, machine)) {
            close(registry);
            return;
        }
        entry_remove(entry);
    }
    entry->name[0] = 0;
    close(registry);
}

/* Removes it, if there is one. */
void entry_remove(struct entry *entry)
{
    int registry;

    if (entry->directory < 0)
        return;
    unlinkat(entry->directory, "control", 0);
    unlinkat(entry->directory, "guest", 0);
    registry = open_directory(entry->directory, "..");
    unlinkat(registry, entry->name, AT_REMOVEDIR);
    close(registry);
    if (entry->socket >= 0)
        close(entry->socket);
    close(entry->directory);
    entry->directory = entry->socket = -1;
}
