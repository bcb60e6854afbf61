/* The warm process's side: takes a client's request and adopts the client's attributes
 * as the kernel reports them, or declines.
 *
 * No client may gain rights by this.  So only a process of the same user is served, with
 * the same groups and capabilities, user, mount, PID and network namespaces, root
 * directory, security label, filters and executable.  What may differ is adopted: limits,
 * nice value, CPUs, control group, working directory. */
#define _GNU_SOURCE
#include "warm_server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define TEXT_MAX 8192

/* Files in /proc/PID that differ for a process with another view of the system. */
static const char *const files[] = {
    "exe", "root/", "ns/user", "ns/mnt", "ns/pid", "ns/net",
};
#define FILES ((int)(sizeof files / sizeof *files))

/* The socket's address.  Returns false if the path is too long. */
bool warm_address(struct sockaddr_un *address)
{
    const char *runtime = getenv("XDG_RUNTIME_DIR");
    int length;

    address->sun_family = AF_UNIX;
    if (runtime && *runtime)
        length = snprintf(address->sun_path, sizeof address->sun_path, "%s/pyvmm-warm", runtime);
    else
        length = snprintf(address->sun_path, sizeof address->sun_path, "/tmp/pyvmm-%u/warm", geteuid());
    return length > 0 && (size_t)length < sizeof address->sun_path;
}

/* Reads a file of /proc/PID, or of this process if `pid` is 0.  Returns the length,
 * at most TEXT_MAX, or -1. */
static ssize_t proc_text(int pid, const char *name, char text[TEXT_MAX + 1])
{
    char path[64];
    ssize_t length = -1;
    int fd;

    snprintf(path, sizeof path, "/proc/%d/%s", pid ? pid : getpid(), name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        length = read(fd, text, TEXT_MAX);
        close(fd);
    }
    text[length < 0 ? 0 : length] = 0;
    return length;
}

/* The attributes of this process that do not change. */
static struct {
    struct {
        dev_t device;
        ino_t inode;
    } file[FILES];
    char status[TEXT_MAX + 1], label[TEXT_MAX + 1];
} ours;

static bool same_text(int pid, const char *name, const char *text)
{
    char theirs[TEXT_MAX + 1];

    return proc_text(pid, name, theirs) < TEXT_MAX && !strcmp(text, theirs);
}

/* Compares the lines of /proc/PID/status about a process's rights. */
static bool same_rights(const char *ours, const char *theirs)
{
    static const char *const fields[] = {
        "\nUid:",    "\nGid:",    "\nGroups:", "\nCapInh:",     "\nCapPrm:",
        "\nCapEff:", "\nCapBnd:", "\nCapAmb:", "\nNoNewPrivs:", "\nSeccomp:",
    };

    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const char *a = strstr(ours, fields[i]), *b = strstr(theirs, fields[i]);
        size_t length = a ? strcspn(a + 1, "\n") + 1 : 0;

        if (!a != !b || (a && (strncmp(a, b, length) || (b[length] != '\n' && b[length]))))
            return false;
    }
    return true;
}

/* Notes the attributes of this process; 0 for namespaces that this kernel lacks. */
void warm_know_myself(void)
{
    int proc = open("/proc/self", O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct stat file;

    for (int i = 0; i < FILES; i++)
        if (fstatat(proc, files[i], &file, 0) == 0) {
            ours.file[i].device = file.st_dev;
            ours.file[i].inode = file.st_ino;
        }
    close(proc);
    proc_text(0, "status", ours.status);
    proc_text(0, "attr/current", ours.label);
}

static bool same_files(int pid)
{
    char path[32];
    struct stat file = {0};
    int proc, same = 0;

    snprintf(path, sizeof path, "/proc/%d", pid);
    proc = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < FILES; i++)
        same += ours.file[i].inode
                    ? fstatat(proc, files[i], &file, 0) == 0 && file.st_dev == ours.file[i].device &&
                          file.st_ino == ours.file[i].inode
                    : fstatat(proc, files[i], &file, 0) < 0 && errno == ENOENT;
    close(proc);
    return same == FILES;
}

static bool may_serve(int pid, const char *their_status)
{
    return same_rights(ours.status, their_status) && same_text(pid, "attr/current", ours.label) &&
           same_files(pid);
}

static uint64_t status_number(const char *status, const char *field, int base)
{
    const char *at = strstr(status, field);

    return at ? strtoull(at + strlen(field), NULL, base) : 0;
}

/* Joins the client's control group; only with version 2, which has one line. */
static bool adopt_cgroup(int pid)
{
    char mine[TEXT_MAX + 1], theirs[TEXT_MAX + 1], path[TEXT_MAX + 64];
    int fd;
    bool joined;

    if (proc_text(0, "cgroup", mine) == proc_text(pid, "cgroup", theirs) && !strcmp(mine, theirs))
        return true;
    if (strncmp(theirs, "0::", 3))
        return false;
    theirs[strcspn(theirs, "\n")] = 0;
    snprintf(path, sizeof path, "/sys/fs/cgroup%s/cgroup.procs", theirs + 3);
    fd = open(path, O_WRONLY | O_CLOEXEC);
    joined = fd >= 0 && write(fd, "0", 1) == 1;
    if (fd >= 0)
        close(fd);
    return joined;
}

static bool adopt_limits(int pid)
{
    struct rlimit limit;

    for (int resource = 0; resource < RLIMIT_NLIMITS; resource++)
        if (prlimit(pid, resource, NULL, &limit) < 0 || setrlimit(resource, &limit) < 0)
            return false;
    return true;
}

static bool adopt_scheduling(int pid)
{
    cpu_set_t cpus;
    int nice;

    errno = 0;
    nice = getpriority(PRIO_PROCESS, (id_t)pid);
    return !errno && (nice == getpriority(PRIO_PROCESS, 0) || setpriority(PRIO_PROCESS, 0, nice) == 0) &&
           sched_getscheduler(pid) == SCHED_OTHER && sched_getaffinity(pid, sizeof cpus, &cpus) == 0 &&
           sched_setaffinity(0, sizeof cpus, &cpus) == 0;
}

static bool adopt_directory(int pid)
{
    char path[64];

    snprintf(path, sizeof path, "/proc/%d/cwd", pid);
    return chdir(path) == 0;
}

static void adopt_signals(const char *status)
{
    uint64_t ignored = status_number(status, "\nSigIgn:\t", 16);

    for (int signal_number = 1; signal_number < SIGRTMIN; signal_number++)
        if (ignored >> (signal_number - 1) & 1)
            signal(signal_number, SIG_IGN);
}

static bool adopt(int pid)
{
    char status[TEXT_MAX + 1];

    if (proc_text(pid, "status", status) < 0 || !may_serve(pid, status) || !adopt_cgroup(pid) ||
        !adopt_limits(pid) || !adopt_scheduling(pid) || !adopt_directory(pid))
        return false;
    umask((mode_t)status_number(status, "\nUmask:\t", 8));
    adopt_signals(status);
    return true;
}

/* Reads the request and puts the descriptors in place.  Returns its strings, or NULL.
 * They must stay allocated, as the environment points into them. */
static char *receive(int fd, struct warm_request *request)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(3 * sizeof(int))];
    } control;
    struct iovec part = {request, sizeof *request};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof control};
    struct cmsghdr *rights;
    int streams[3];
    char *strings;

    if (recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_WAITALL) != sizeof *request)
        return NULL;
    rights = CMSG_FIRSTHDR(&message);
    if (!rights || rights->cmsg_type != SCM_RIGHTS || rights->cmsg_len != CMSG_LEN(sizeof streams) ||
        request->bytes > WARM_BYTES_MAX || !(strings = malloc(request->bytes + 1)))
        return NULL;
    memcpy(streams, CMSG_DATA(rights), sizeof streams);
    for (int i = 0; i < 3; i++) {
        dup2(streams[i], i);
        close(streams[i]);
    }
    strings[request->bytes] = 0;
    if (recv(fd, strings, request->bytes, MSG_WAITALL) != (ssize_t)request->bytes)
        return NULL;
    return strings;
}

/* Waits for a client that no other process accepts; `fd` may be non-blocking. */
int warm_accept(int fd)
{
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    int client;

    while ((client = accept4(fd, NULL, NULL, SOCK_CLOEXEC)) < 0)
        poll(&polled, 1, -1);
    return client;
}

/* Takes over for the client that is connected to `fd`, including its environment.
 * Returns the words of its command line, each with its NUL, or NULL on failure: then
 * the client boots by itself.  From now on this process dies with the client. */
const char *warm_serve(int fd, uint32_t *words, uint64_t *started_ns)
{
    struct warm_request request;
    struct ucred peer;
    socklen_t length = sizeof peer;
    char *strings, *at;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0 || peer.uid != geteuid())
        return NULL;
    strings = receive(fd, &request);
    if (!strings || !adopt(peer.pid))
        return NULL;
    clearenv();
    at = strings;
    for (uint32_t i = 0; i < request.words + request.variables && at < strings + request.bytes; i++) {
        if (i >= request.words)
            putenv(at);
        at += strlen(at) + 1;
    }
    if (fcntl(fd, F_SETOWN, getpid()) < 0 || fcntl(fd, F_SETSIG, SIGKILL) < 0 ||
        fcntl(fd, F_SETFL, O_ASYNC) < 0 || !warm_reply(fd, WARM_ACCEPTED, getpid()))
        return NULL;
    *words = request.words;
    *started_ns = request.started_ns;
    return strings;
}

bool warm_reply(int fd, int kind, int value)
{
    struct warm_reply reply = {kind, value};

    return send(fd, &reply, sizeof reply, MSG_NOSIGNAL) == sizeof reply;
}

/* Copies those pages of [start, end) that are present (Documentation/admin-guide/mm/
 * pagemap.rst) to this process; untouched pages stay absent. */
static void populate_present(int pagemap, uint64_t start, uint64_t end)
{
    const uint64_t page = 4096, present = 1ull << 63;
    uint64_t entries[512], first = start;

    while (start < end) {
        uint64_t count = (end - start) / page;
        ssize_t length = pread(pagemap, entries, (count < 512 ? count : 512) * 8, start / page * 8);

        if (length <= 0)
            return;
        for (ssize_t i = 0; i < length / 8; i++, start += page)
            if (!(entries[i] & present)) {
                if (first < start)
                    madvise((void *)first, start - first, MADV_POPULATE_WRITE);
                first = start + page;
            }
    }
    if (first < end)
        madvise((void *)first, end - first, MADV_POPULATE_WRITE);
}

/* Copies all memory that this process shares with its parent now, rather than page
 * by page when a client waits. */
void warm_populate(void)
{
    int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    FILE *maps = fopen("/proc/self/maps", "re");
    char line[256], rights[5];
    unsigned long start, end;

    while (maps && pagemap >= 0 && fgets(line, sizeof line, maps))
        if (sscanf(line, "%lx-%lx %4s", &start, &end, rights) == 3 && !strcmp(rights, "rw-p") &&
            !strstr(line, "[stack]"))
            populate_present(pagemap, start, end);
    if (maps)
        fclose(maps);
    if (pagemap >= 0)
        close(pagemap);
}

/* Makes this process end with its parent `parent`; 0: no longer. */
void warm_die_with(int parent)
{
    prctl(PR_SET_PDEATHSIG, parent ? SIGKILL : 0);
    if (parent && getppid() != parent)
        _exit(0);
}
