/* Opens the registry, which is this user's alone, and makes up names for guests. */
#define _GNU_SOURCE
#include "registry.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define STEM_MAX 48

/* Its path, of up to REGISTRY_PATH_MAX bytes.  Returns false if that is too long. */
bool registry_path(char *path)
{
    const char *base = getenv("XDG_RUNTIME_DIR");
    int length = base && base[0] == '/' ? snprintf(path, REGISTRY_PATH_MAX, "%s/pyvmm", base)
                                        : snprintf(path, REGISTRY_PATH_MAX, "/tmp/pyvmm-%u", geteuid());

    return length < REGISTRY_PATH_MAX;
}

/* Returns a descriptor; REGISTRY_FOREIGN, if another user could have made what is in it; or -1 with
 * errno set.  make: makes it if it is not there. */
int registry_open(bool make)
{
    char path[REGISTRY_PATH_MAX];
    struct stat status;
    int fd;

    if (!registry_path(path)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    if (make && mkdir(path, 0700) < 0 && errno != EEXIST)
        return -1;
    fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0 && (fstat(fd, &status) < 0 || status.st_mode & 077 || status.st_uid != geteuid())) {
        close(fd);
        return REGISTRY_FOREIGN;
    }
    return fd;
}

/* A name for a guest that was given none, of its image and this process: up to
 * REGISTRY_NAME_MAX bytes, and a 0. */
void registry_make_up(char *name, const char *image)
{
    const char *slash = strrchr(image, '/'), *from = slash ? slash + 1 : image;
    int length = 0;

    for (; from[length] && from[length] != '.' && length < STEM_MAX; length++)
        name[length] = isascii(from[length]) && isalnum(from[length]) ? from[length] : '-';
    snprintf(name + length, REGISTRY_NAME_MAX + 1 - (size_t)length, "%s-%d", length ? "" : "guest", (int)getpid());
}
