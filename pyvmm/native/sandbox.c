/* The walls around a thread, from the cheapest on: no new privileges, another user, no
 * capabilities, no files or ports (Landlock), and few system calls (seccomp).
 *
 * Each thread confines itself, and has its own filter: the main thread's would forbid a
 * relay what it lives on, so all threads are there before the main thread is confined, and
 * none is made afterwards.  Whatever a filter does not allow ends the process. */
#define _GNU_SOURCE
#include "sandbox.h"
#include "host.h"
#include "landlock.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <linux/securebits.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define STATUS_FAILED 125 /* pyvmm/errors.py */
#define FEATURES_MAX 6
#define NOBODY "65534"

/* policy.VARIABLES */
enum variable { VARIABLE_PID, VARIABLE_VCPU, VARIABLE_VM, VARIABLE_ENTRY, VARIABLE_REGISTRY };

struct patch {
    uint16_t at, variable;
};

struct filter {
    const struct sock_filter *code;
    const struct patch *patches;
    uint16_t length, patch_count;
};

#include "filters.inc"

static struct sandbox sandbox = {.vm_fd = -1, .user = -1, .group = -1, .ports_fd = -1,
                                 .entry_fd = -1, .registry_fd = -1, .report_fd = -1,
                                 .image_fd = -1};

struct sandbox *sandbox_of_process(void)
{
    return &sandbox;
}

/* ---- a violation ---------------------------------------------------------------- */

/* Handles SIGSYS.  It calls nothing that a filter could refuse. */
static void violated(int signal, siginfo_t *info, void *context)
{
    char text[] = "pyvmm broke its own sandbox: system call          , please report\n", digits[12];
    unsigned int number = (unsigned int)info->si_syscall;
    char *to = strchr(text, ',') - 9;
    int count = 0;

    (void)signal, (void)context;
    do
        digits[count++] = (char)('0' + number % 10);
    while ((number /= 10) && count < 9);
    while (count)
        *to++ = digits[--count];
    to = stpcpy(to, ", please report\n");
    if (write(STDERR_FILENO, text, (size_t)(to - text)) < 0)
        _exit(STATUS_FAILED);
    _exit(STATUS_FAILED);
}

/* ---- user and capabilities ------------------------------------------------------- */

static struct __user_cap_header_struct capabilities = {.version = _LINUX_CAPABILITY_VERSION_3};

/* For this thread alone: libc would have all others follow, which may not any more.
 * keep_files: it is root for files (setfsuid(2)), which Landlock limits to few. */
static bool change_user(bool keep_files)
{
    gid_t group = (gid_t)sandbox.group;
    uid_t user = (uid_t)sandbox.user, files = keep_files ? 0 : user;

    if (geteuid() != user && /* or the thread that made this one was it */
        ((keep_files && prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP) < 0) || /* setfsuid(2) is to work */
         syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, group, group, group) < 0 ||
         syscall(SYS_setresuid, user, user, user) < 0))
        return false;
    syscall(SYS_setfsuid, files);
    errno = EPERM; /* setfsuid() does not tell */
    return syscall(SYS_setfsuid, -1) == (long)files;
}

/* Drops all capabilities, but for `-p *` that of listening on low ports. */
static bool drop_capabilities(enum sandbox_thread thread)
{
    struct __user_cap_data_struct sets[2] = {0}, had[2] = {0};

    if (thread == SANDBOX_MAIN) /* SANDBOX_START has done so */
        return true;
    if (thread == SANDBOX_START && sandbox.features & SANDBOX_PUBLISH && syscall(SYS_capget, &capabilities, had) == 0)
        sets[0].effective = sets[0].permitted = had[0].permitted & 1u << CAP_NET_BIND_SERVICE;
    if (syscall(SYS_capset, &capabilities, sets) == 0)
        return true;
    /* systemd and containers may refuse it; where there are none, none is dropped. */
    return syscall(SYS_capget, &capabilities, had) == 0 && !had[0].permitted && !had[1].permitted;
}

/* ---- resources --------------------------------------------------------------------- */

static bool is_file(int fd)
{
    struct stat status;

    return fstat(fd, &status) == 0 && S_ISREG(status.st_mode);
}

/* Of the process: no core dumps, and no files if none is written.  (Not RLIMIT_NPROC: KVM
 * makes a thread in the process at the first KVM_RUN, which would fail for ever.) */
static bool limit_resources(void)
{
    const struct rlimit none = {0};
    bool writes = sandbox.writes || is_file(STDOUT_FILENO) || is_file(STDERR_FILENO);

    return setrlimit(RLIMIT_CORE, &none) == 0 && (writes || setrlimit(RLIMIT_FSIZE, &none) == 0);
}

/* ---- system calls ---------------------------------------------------------------- */

static const struct filter *filter_of(enum sandbox_thread thread)
{
    uint32_t variant = 0;

    for (uint32_t i = 0; i < FEATURES_MAX; i++)
        if (features_of[thread][i] & sandbox.features)
            variant |= 1u << i;
    return &filters[thread][variant];
}

static bool filter_calls(enum sandbox_thread thread, int vcpu_fd)
{
    const int values[] = {[VARIABLE_PID] = getpid(), [VARIABLE_VCPU] = vcpu_fd, [VARIABLE_VM] = sandbox.vm_fd,
                          [VARIABLE_ENTRY] = sandbox.entry_fd, [VARIABLE_REGISTRY] = sandbox.registry_fd};
    const struct filter *filter = filter_of(thread);
    struct sock_filter code[FILTER_MAX];
    struct sock_fprog program = {.len = filter->length, .filter = code};

    memcpy(code, filter->code, filter->length * sizeof *code);
    for (uint32_t i = 0; i < filter->patch_count; i++)
        code[filter->patches[i].at].k = (uint32_t)values[filter->patches[i].variable];
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* ---- all of it -------------------------------------------------------------------- */

/* To be called before a thread says why the process ends: two may find that there are no
 * descriptors left.  Does not return to the second. */
void sandbox_ends(void)
{
    static pthread_mutex_t telling = PTHREAD_MUTEX_INITIALIZER;

    pthread_mutex_lock(&telling);
}

static void check(bool built, enum sandbox_wall wall, const char *name)
{
    if (built)
        return;
    if (sandbox.mode == SANDBOX_REQUIRED || is_shortage()) {
        int error = errno;

        sandbox_ends();
        errno = error;
        dprintf(STDERR_FILENO, "pyvmm: sandbox: %s: %s\n", name, strerror(errno));
        _exit(STATUS_FAILED);
    }
    sandbox.error = errno;
    sandbox.missing |= wall;
}

/* Reads `UID[-UID][:GID]`; of a range, it takes the ID that belongs to this process. */
static bool read_user(const char *text)
{
    unsigned int first, last, group;
    int length = 0;

    sandbox.named_user = text;
    if (!text)
        text = NOBODY;
    if (sscanf(text, "%9u%n", &first, &length) != 1)
        return false;
    text += length;
    last = first;
    if (*text == '-') {
        if (sscanf(text, "-%9u%n", &last, &length) != 1 || last < first)
            return false;
        text += length;
    }
    sandbox.user = first + (unsigned int)getpid() % (last - first + 1);
    group = (unsigned int)sandbox.user;
    if (*text && (sscanf(text, ":%9u%n", &group, &length) != 1 || text[length]))
        return false;
    sandbox.group = group;
    return true;
}

/* Says how all threads will be confined.  To be called before there are any.  user: who
 * root's guests run as, or NULL.  Returns false if that is malformed. */
bool sandbox_begin(enum sandbox_mode mode, const char *user)
{
    struct sigaction action = {.sa_sigaction = violated, .sa_flags = SA_SIGINFO};

    if (sandbox.mode) /* Python has been told the same */
        return true;
    if (!read_user(user))
        return false;
    sandbox.mode = mode;
    if (!mode)
        return true;
    if (geteuid() != 0)
        sandbox.user = -1;
    mallopt(M_ARENA_MAX, 1); /* memory for all threads by the calls that their filters have */
    sigaction(SIGSYS, &action, NULL);
    check(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0, SANDBOX_NO_NEW_PRIVS, "no_new_privs");
    return true;
}

/* From now on large blocks come by brk(2), which all filters with memory have, not by mmap(2)
 * and munmap(2).  To be called before a thread is confined, but not before Python is there: of
 * the 400 KiB that it begins with it needs little, and the heap would have to be cleared. */
void sandbox_settle_heap(void)
{
    if (sandbox.mode)
        mallopt(M_MMAP_MAX, 0);
}

static pthread_t helper;
static pid_t helper_process; /* 0: there is none; a fork has no threads */

/* This thread has no part in the guest, and must have ended before the main thread is confined. */
void sandbox_wait_for(pthread_t thread)
{
    helper = thread;
    helper_process = sandbox.started ? 0 : getpid();
}

/* Confines the calling thread; does nothing unless sandbox_begin() was told to.  vcpu_fd:
 * the vCPU that it runs, or -1. */
void sandbox_thread(enum sandbox_thread thread, int vcpu_fd)
{
    bool starting = thread == SANDBOX_START;
    /* The interpreter's files may be root's alone, and so are the registry and unix sockets,
     * unless a user was named who is to connect to these. */
    bool keep_files = starting || (thread == SANDBOX_MAIN && sandbox.features & SANDBOX_REGISTRY) ||
                      (thread == SANDBOX_RELAY && sandbox.features & SANDBOX_UNIX && !sandbox.named_user);
    sigset_t violation;

    if (!sandbox.mode || (starting && sandbox.started))
        return;
    sandbox.started |= starting;
    if (starting && helper_process == getpid())
        pthread_join(helper, NULL);
    sigemptyset(&violation);
    sigaddset(&violation, SIGSYS);
    pthread_sigmask(SIG_UNBLOCK, &violation, NULL);
    if (starting)
        check(limit_resources(), SANDBOX_LIMITS, "limits of resources");
    check(landlock_restrict(&sandbox, thread), SANDBOX_LANDLOCK, "Landlock");
    if (sandbox.user >= 0 && !(sandbox.missing & SANDBOX_USER)) /* in a user namespace there may be none */
        check(change_user(keep_files), SANDBOX_USER, "another user");
    check(drop_capabilities(thread), SANDBOX_CAPABILITIES, "capabilities");
    check(filter_calls(thread, vcpu_fd), SANDBOX_SECCOMP, "a system call filter (seccomp)");
}
