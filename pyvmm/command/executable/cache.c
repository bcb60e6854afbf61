/* Finds a State in the boot cache.
 *
 * An entry is a file of its user's alone, named after a sum of its key, which it contains
 * in full.  The key is everything that the State depends on: the executable, the host's
 * kernel and CPU, the files, and the options.  An entry that is stale, another user's or
 * damaged is as if there were none.  Python writes them (pyvmm/state/cache.py). */
#define _GNU_SOURCE
#include "cache.h"
#include "host.h"
#include "options.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

static bool add(struct cache *cache, const void *data, size_t size)
{
    if (size > KEY_MAX - cache->key_size)
        return false;
    memcpy(cache->key + cache->key_size, data, size);
    cache->key_size += (uint32_t)size;
    return true;
}

static bool add_text(struct cache *cache, const char *text)
{
    const uint8_t given = !!text;

    return add(cache, &given, sizeof given) && add(cache, text ? text : "", text ? strlen(text) + 1 : 0);
}

/* What tells whether a file is the same one, and unchanged. */
static bool add_file(struct cache *cache, const char *path)
{
    struct stat status;

    if (!path)
        return add_text(cache, NULL);
    if (stat(path, &status) < 0 || !S_ISREG(status.st_mode))
        return false;
    const uint64_t identity[] = {
        (uint64_t)status.st_dev, (uint64_t)status.st_ino, (uint64_t)status.st_size,
        (uint64_t)status.st_mtim.tv_sec, (uint64_t)status.st_mtim.tv_nsec,
        (uint64_t)status.st_ctim.tv_sec, (uint64_t)status.st_ctim.tv_nsec,
    };
    return add(cache, identity, sizeof identity);
}

/* A kernel, with its KVM, and a CPU. */
static bool add_host(struct cache *cache)
{
    struct utsname name;
    uint32_t leaf[3][4];

    uname(&name);
    cpuid(1, 0, leaf[0]);
    cpuid(7, 0, leaf[1]);
    cpuid(0x80000001, 0, leaf[2]);
    leaf[0][1] = 0; /* it tells which CPU has executed it */
    return add_text(cache, name.release) && add_text(cache, name.version) && add(cache, leaf, sizeof leaf);
}

/* A development install composes States by sources that may have changed. */
static bool sources_are_as_built(void)
{
    struct stat status;

    for (const struct source *source = composing_sources; source->path; source++)
        if (stat(source->path, &status) < 0 || (uint64_t)status.st_size != source->size ||
            (uint64_t)status.st_mtim.tv_sec * 1000000000u + (uint64_t)status.st_mtim.tv_nsec != source->mtime_ns)
            return false;
    return true;
}

static bool find_directory(struct cache *cache)
{
    const char *base = getenv("XDG_CACHE_HOME"), *below = "/pyvmm/boot";

    if (!base || base[0] != '/') {
        base = getenv("HOME");
        below = "/.cache/pyvmm/boot";
    }
    if (!base || base[0] != '/' || strlen(base) + strlen(below) >= sizeof cache->directory)
        return false;
    stpcpy(stpcpy(cache->directory, base), below);
    return true;
}

/* Finds out where the State for a command line would be.  Returns false if it is not to
 * be cached. */
bool cache_locate(struct cache *cache, const struct words *words)
{
    const uint32_t version = STATE_VERSION;

    cache->key_size = 0;
    if (!words->cached || !sources_are_as_built() || !find_directory(cache) ||
        !add(cache, words->image, strlen(words->image) + 1) || /* for who lists the cache */
        !add(cache, &version, sizeof version) || !add_file(cache, "/proc/self/exe") || !add_host(cache) ||
        !add_file(cache, words->image) || !add_file(cache, words->initrd) || !add_text(cache, words->memory) ||
        !add_text(cache, words->cpus) || !add_text(cache, words->append) || !add_text(cache, words->boot) ||
        !add(cache, words->devices, words->device_count * sizeof *words->devices)) {
        cache->directory[0] = 0;
        return false;
    }
    for (uint32_t half = 0; half < 2; half++) {
        uint64_t sum = state_sum(1 + half, cache->key, cache->key_size);

        for (char *digit = cache->name + 16 * half; digit < cache->name + 16 * (half + 1); sum <<= 4)
            *digit++ = "0123456789abcdef"[sum >> 60];
    }
    return true;
}

static bool is_mine(int fd, mode_t type)
{
    struct stat status;

    return fstat(fd, &status) == 0 && (status.st_mode & S_IFMT) == type && status.st_uid == geteuid() &&
           !(status.st_mode & 077);
}

/* Opens the entry; its file stays open as long as the State.  Returns false if there is
 * none that can be used. */
bool cache_open(const struct cache *cache, struct state *state)
{
    int directory = open(cache->directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int fd = directory < 0 || !is_mine(directory, S_IFDIR)
                 ? -1
                 : openat(directory, cache->name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    const void *key;
    uint64_t size;

    if (directory >= 0)
        close(directory);
    if (fd < 0)
        return false;
    if (is_mine(fd, S_IFREG) && state_open(state, fd)) {
        key = state_section(state, STATE_KEY, 0, &size);
        if (key && size == cache->key_size && !memcmp(key, cache->key, size))
            return true;
        state_close(state);
    }
    close(fd);
    return false;
}
