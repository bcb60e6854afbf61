/* A child process that ends with this one and has restricted access to the host. */
#define _GNU_SOURCE
#include "spawn.h"
#include "host.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <linux/filter.h>
#include <linux/mount.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static void give_up(const char *what)
{
    dprintf(STDERR_FILENO, "%s: %s\n", what, strerror(errno));
    _exit(127);
}

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        give_up(path);
    close(fd);
}

/* Makes setgroups(2) succeed without effect.  A process cannot leave its groups in a
 * user namespace, and virtiofsd would end when that fails. */
static void ignore_setgroups(void)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_setgroups, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof filter / sizeof *filter, .filter = filter};

    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
        give_up("a system call filter (seccomp)");
}

/* Makes this unprivileged process root of a user namespace that maps only its own
 * user. */
static void enter_user_namespace(void)
{
    uid_t uid = geteuid();
    gid_t gid = getegid();
    char map[32];

    if (unshare(CLONE_NEWUSER) < 0)
        give_up("a user namespace (unshare)");
    write_file("/proc/self/setgroups", "deny");
    snprintf(map, sizeof map, "0 %u 1", uid);
    write_file("/proc/self/uid_map", map);
    snprintf(map, sizeof map, "0 %u 1", gid);
    write_file("/proc/self/gid_map", map);
    ignore_setgroups();
}

/* Makes everything below `path` read-only for this process and its children. */
static void make_read_only(const char *path)
{
    struct mount_attr attributes = {.attr_set = MOUNT_ATTR_RDONLY};

    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ||
        mount(path, path, NULL, MS_BIND | MS_REC, NULL) < 0 ||
        syscall(SYS_mount_setattr, AT_FDCWD, path, AT_RECURSIVE, &attributes,
                sizeof attributes) < 0)
        give_up("a read-only mount");
}

/* Starts a program that is killed when the calling thread ends.  It inherits `keep`
 * and the standard streams: empty input, and `output` for output and errors.
 *
 * `read_only`: a directory that it cannot write to, or NULL.  `as_root`: it runs as
 * root of a user namespace of its own.
 *
 * Returns its process ID, or -1 with errno set.  Later failures are written to
 * `output`. */
int spawn(char *const *argv, int keep, int output, const char *read_only, bool as_root)
{
    pid_t parent = getpid(), child = fork();
    sigset_t none;

    if (child)
        return child;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(127);
    setpgid(0, 0); /* Ctrl-C is for the parent only */
    signal(SIGPIPE, SIG_DFL); /* SIGXFSZ stays ignored: large files of a guest fail with EFBIG */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    dup2(open("/dev/null", O_RDWR | O_CLOEXEC), STDIN_FILENO);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    syscall(SYS_close_range, STDERR_FILENO + 1, ~0u, CLOSE_RANGE_CLOEXEC);
    fcntl(keep, F_SETFD, 0);
    raise_descriptor_limit(RLIM_INFINITY); /* virtiofsd has one for each inode of its guest */
    /* The filter of virtiofsd's system calls lacks the one by which glibc counts CPUs, before
     * it gives threads heaps of their own. */
    setenv("MALLOC_ARENA_MAX", "1", 1);
    if (as_root)
        enter_user_namespace();
    if (read_only)
        make_read_only(read_only);
    execv(argv[0], argv);
    give_up(argv[0]);
    return -1;
}
