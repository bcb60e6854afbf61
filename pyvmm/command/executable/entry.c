/* Makes the entry of a guest that runs without Python.
 *
 * A guest that has run for a while gets one, so that `pyvmm ps` lists it.  Its socket only
 * listens: once somebody connects, Python starts and serves it.  Nothing that fails here is an
 * error of the guest's.  pyvmm/control/entry.py says what is in an entry, and makes the same. */
#define _GNU_SOURCE
#include "entry.h"
#include "host.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define STEM_MAX 48
#define BACKLOG 8

/* The same as `made_up` in pyvmm/control/place.py. */
static void make_up(char name[ENTRY_NAME_MAX + 1], const char *image)
{
    const char *slash = strrchr(image, '/'), *from = slash ? slash + 1 : image;
    int length = 0;

    for (; from[length] && from[length] != '.' && length < STEM_MAX; length++)
        name[length] = isascii(from[length]) && isalnum(from[length]) ? from[length] : '-';
    snprintf(name + length, ENTRY_NAME_MAX + 1 - (size_t)length, "%s-%d", length ? "" : "guest", (int)getpid());
}

static int open_directory(int at, const char *path)
{
    return openat(at, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

/* Opens the registry, which is made if it is not there: this user's alone.  Returns -1 if it
 * cannot be. */
int entry_open_registry(void)
{
    const char *base = getenv("XDG_RUNTIME_DIR");
    struct stat status;
    char path[4096];
    int length, fd;

    length = base && base[0] == '/' ? snprintf(path, sizeof path, "%s/pyvmm", base)
                                    : snprintf(path, sizeof path, "/tmp/pyvmm-%u", geteuid());
    if (length >= (int)sizeof path)
        return -1;
    mkdir(path, 0700);
    fd = open_directory(AT_FDCWD, path);
    if (fd >= 0 && (fstat(fd, &status) < 0 || status.st_mode & 077 || status.st_uid != geteuid())) {
        close(fd);
        return -1;
    }
    return fd;
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
    make_up(entry->name, image);
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
