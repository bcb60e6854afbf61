/* Landlock: which files and TCP ports a thread may use.  Whatever a ruleset has no rule for is
 * refused, as far as this kernel's version knows of it. */
#define _GNU_SOURCE
#include "landlock.h"

#include <fcntl.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

/* <linux/landlock.h> as of ABI 6. */
#define LANDLOCK_VERSION 1u
#define LANDLOCK_ERRATA 2u
#define ERRATUM_SIGNALS 2u /* signals between threads of a process pass (Linux 6.15) */
#define FS_WRITE_FILE 2ull
#define FS_READ_FILE 4ull
#define FS_READ_DIR 8ull
#define FS_REMOVE_DIR 16ull
#define FS_REMOVE_FILE 32ull
#define FS_MAKE_DIR 128ull
#define FS_MAKE_REG 256ull
#define FS_MAKE_SOCK 512ull
#define FS_TRUNCATE 16384ull
#define NET_BIND_TCP 1ull
#define NET_CONNECT_TCP 2ull
#define SCOPE_ABSTRACT_UNIX 1ull
#define SCOPE_SIGNAL 2ull

struct ruleset {
    uint64_t fs, net, scoped;
};

struct path_rule {
    uint64_t allowed;
    int32_t parent_fd;
} __attribute__((packed));

struct port_rule {
    uint64_t allowed, port;
};

enum { RULE_PATH = 1, RULE_PORT = 2 };

/* The version of Landlock that this kernel has, or 0 with errno set. */
int landlock_abi(void)
{
    static atomic_int known;

    if (!known) {
        long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_VERSION);

        known = abi < 0 ? 0 : (int)abi;
    }
    return known;
}

/* The rights to files that Landlock knows here. */
static uint64_t known_rights(int abi)
{
    static const uint8_t bits[] = {0, 13, 14, 15, 15, 16};

    return (1ull << bits[abi < 5 ? abi : 5]) - 1;
}

/* All that Landlock can refuse here but what `free` says of TCP, by a ruleset without rules;
 * or -1 with errno set. */
static int make_ruleset(uint64_t free)
{
    int abi = landlock_abi();
    struct ruleset all = {.fs = known_rights(abi)};
    size_t size = sizeof all.fs;

    if (!abi)
        return -1;
    if (abi >= 4) {
        all.net = (NET_BIND_TCP | NET_CONNECT_TCP) & ~free;
        size += sizeof all.net;
    }
    if (abi >= 6) {
        long errata = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_ERRATA);

        all.scoped = SCOPE_ABSTRACT_UNIX | (errata > 0 && errata & ERRATUM_SIGNALS ? SCOPE_SIGNAL : 0);
        size += sizeof all.scoped;
    }
    return (int)syscall(SYS_landlock_create_ruleset, &all, size, 0);
}

static void add_rights(int rules, int fd, uint64_t rights)
{
    struct path_rule rule = {rights & known_rights(landlock_abi()), fd};

    syscall(SYS_landlock_add_rule, rules, RULE_PATH, &rule, 0);
}

/* Lets the interpreter's files be read, and this process's own of /proc; those that are not
 * there do not matter.  Returns false with errno set for want of descriptors. */
static bool add_readable(const struct sandbox *sandbox, int rules)
{
    static int own = -1; /* /proc/PID; a rule is for an inode, which has to stay */

    add_rights(rules, STDIN_FILENO, FS_READ_FILE); /* the console opens its terminal anew */
    if (own < 0)
        own = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (own >= 0)
        add_rights(rules, own, FS_READ_FILE | FS_READ_DIR);
    for (const char *const *path = sandbox->files; *path; path++) {
        int fd = open(*path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        uint64_t rights = fd < 0 ? FS_READ_FILE : FS_READ_FILE | FS_READ_DIR;

        if (fd < 0)
            fd = open(*path, O_PATH | O_CLOEXEC);
        if (fd < 0 && is_shortage())
            return false;
        if (fd >= 0) {
            add_rights(rules, fd, rights);
            close(fd);
        }
    }
    return true;
}

/* A ruleset for a thread; or -1 with errno set.  At the start the guest's entry may be made
 * in the registry, and afterwards be removed from it. */
static int make_rules(const struct sandbox *sandbox, enum sandbox_thread thread)
{
    bool is_main = thread == SANDBOX_START || thread == SANDBOX_MAIN;
    int rules = make_ruleset(is_main && sandbox->features & SANDBOX_PUBLISH ? NET_BIND_TCP : 0);

    if (rules < 0)
        return -1;
    if (thread == SANDBOX_START && !add_readable(sandbox, rules)) {
        close(rules);
        return -1;
    }
    if (thread == SANDBOX_START && sandbox->features & SANDBOX_REGISTRY)
        add_rights(rules, sandbox->registry_fd,
                   FS_READ_DIR | FS_WRITE_FILE | FS_TRUNCATE | FS_MAKE_DIR | FS_MAKE_REG | FS_MAKE_SOCK |
                       FS_REMOVE_FILE | FS_REMOVE_DIR);
    if (thread == SANDBOX_MAIN && sandbox->features & SANDBOX_REGISTRY) {
        add_rights(rules, sandbox->entry_fd, FS_REMOVE_FILE);
        add_rights(rules, sandbox->registry_fd, FS_REMOVE_DIR);
    }
    return rules;
}

/* A ruleset that lets `count` TCP ports be connected to; NULL: all of them.  Returns its
 * descriptor, or -1 with errno set. */
int landlock_ports(const uint16_t *ports, uint32_t count)
{
    int rules = make_ruleset(ports ? 0 : NET_CONNECT_TCP);

    for (uint32_t i = 0; ports && i < count && rules >= 0; i++) {
        struct port_rule rule = {NET_CONNECT_TCP, ports[i]};

        syscall(SYS_landlock_add_rule, rules, RULE_PORT, &rule, 0);
    }
    return rules;
}

/* Confines the calling thread.  Returns false with errno set if it is not. */
bool landlock_restrict(const struct sandbox *sandbox, enum sandbox_thread thread)
{
    bool lent = thread == SANDBOX_RELAY && sandbox->ports_fd >= 0, done;
    int error, rules = lent ? sandbox->ports_fd : make_rules(sandbox, thread);

    done = rules >= 0 && syscall(SYS_landlock_restrict_self, rules, 0) == 0;
    error = errno;
    if (rules >= 0 && !lent)
        close(rules);
    errno = error;
    return done;
}
