/* Small calls to the host and its CPU that cffi cannot express, or that would cost
 * the import of a Python module. */
#define _GNU_SOURCE
#include "host.h"

#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define THREAD_STACK (64 << 10)
#define TICK_NS 10000000u

uint64_t rdtsc(void)
{
    return __builtin_ia32_rdtsc();
}

uint64_t clock_ns(int clock)
{
    struct timespec now;

    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* The clock, and the TSC at the same moment: of some tries the shortest, as the kernel may let
 * others run between the two. */
uint64_t clock_with_tsc(int clock, uint64_t *tsc)
{
    uint64_t shortest = UINT64_MAX, ns = 0;

    for (int tries = 0; tries < 3; tries++) {
        uint64_t before = rdtsc(), now = clock_ns(clock), took = rdtsc() - before;

        if (took < shortest) {
            shortest = took;
            *tsc = before + took / 2;
            ns = now;
        }
    }
    return ns;
}

static bool read_file(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, size - 1);

    if (fd >= 0)
        close(fd);
    text[length < 0 ? 0 : length] = 0;
    return length > 0;
}

/* When the kernel created this process, CLOCK_MONOTONIC in ns; the first call finds out.
 *
 * The kernel tells it in ticks of 10 ms (proc(5), starttime).  The time that the calling
 * thread, the first one, has since spent running or waiting for a CPU (schedstat) is exact
 * and lacks only what it slept: called early, before anything blocks, now less that time
 * is the start, and must lie within the tick. */
uint64_t process_start_ns(void)
{
    static uint64_t start;
    unsigned long long ticks, ran, waited;
    uint64_t earliest;
    char text[1024], *at;

    if (start || !read_file("/proc/self/stat", text, sizeof text) || !(at = strrchr(text, ')')))
        return start;
    for (int field = 2; field < 22 && at; field++)
        at = strchr(at + 1, ' ');
    ticks = at ? strtoull(at, NULL, 10) : 0;
    earliest = ticks * TICK_NS - clock_ns(CLOCK_BOOTTIME) + clock_ns(CLOCK_MONOTONIC);
    start = earliest;
    if (read_file("/proc/thread-self/schedstat", text, sizeof text) && sscanf(text, "%llu %llu", &ran, &waited) == 2)
        start = clock_ns(CLOCK_MONOTONIC) - ran - waited; /* with CONFIG_SCHED_INFO */
    if (start < earliest)
        start = earliest;
    if (start > earliest + TICK_NS)
        start = earliest + TICK_NS;
    return start;
}

void cpuid(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    __cpuid_count(leaf, subleaf, out[0], out[1], out[2], out[3]);
}

/* Blocks the signals in the calling thread; returns a descriptor to read them
 * from, or -1 with errno set.  Signals that are ignored, as by nohup(1) and in
 * background jobs of shells, remain so. */
int signal_fd(const int *signals, int count)
{
    struct sigaction action;
    sigset_t set;
    int fd;

    sigemptyset(&set);
    for (int i = 0; i < count; i++)
        if (sigaction(signals[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
            sigaddset(&set, signals[i]);
    fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (fd >= 0)
        pthread_sigmask(SIG_BLOCK, &set, NULL);
    return fd;
}

/* Returns a descriptor that becomes readable after `ns`, or -1 with errno set. */
int timer_fd(uint64_t ns)
{
    const struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)},
    };
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);

    if (fd >= 0)
        timerfd_settime(fd, 0, &when, NULL);
    return fd;
}

/* Drops signals that were not read from the descriptor, closes it, and unblocks
 * the signals. */
void signal_fd_close(int fd, const int *signals, int count)
{
    struct signalfd_siginfo info;
    sigset_t set;

    while (read(fd, &info, sizeof info) > 0)
        ;
    close(fd);
    sigemptyset(&set);
    for (int i = 0; i < count; i++)
        sigaddset(&set, signals[i]);
    pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* Does what SIGTSTP, which is blocked, does by default; returns when the process is continued.
 * For the main thread, by the calls that one which is confined has: libc's raise() takes more. */
void process_stop(void)
{
    sigset_t stop;

    sigemptyset(&stop);
    sigaddset(&stop, SIGTSTP);
    syscall(SYS_tgkill, getpid(), getpid(), SIGTSTP);
    pthread_sigmask(SIG_UNBLOCK, &stop, NULL);
    pthread_sigmask(SIG_BLOCK, &stop, NULL);
}

/* Raises the limit of descriptors to `wanted`, or as far as allowed. */
void raise_descriptor_limit(uint64_t wanted)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < wanted) {
        limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* Maps `size` bytes without touching a page: of the memfd, which gets them, or with
 * `fd` -1 of this process alone.  A memfd's size is sealed: a backend in another process
 * gets the descriptor too, and could otherwise shrink the file, so that accesses here
 * raise SIGBUS.  Returns NULL with errno set on failure. */
uint8_t *map_memory(int fd, uint64_t size)
{
    int flags = MAP_NORESERVE | (fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);
    void *host;

    if (fd >= 0 && (ftruncate(fd, (off_t)size) < 0 ||
                    fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0))
        return NULL;
    host = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);
    if (host == MAP_FAILED)
        return NULL;
    madvise(host, size, MADV_DONTFORK); /* neither in child processes */
    madvise(host, size, MADV_DONTDUMP); /* nor in core dumps */
    return host;
}

/* Moves the calling thread to the network namespace that `fd` is of; -1: to a new one. */
int enter_netns(int fd)
{
    return fd < 0 ? unshare(CLONE_NEWNET) : setns(fd, CLONE_NEWNET);
}

/* Waits up to `timeout_ms`; returns whether the descriptor is readable. */
bool wait_readable(int fd, int timeout_ms)
{
    struct pollfd poller = {.fd = fd, .events = POLLIN};

    return poll(&poller, 1, timeout_ms) > 0;
}

/* Adds one to eventfd `fd`, unless it is -1. */
void event_raise(int fd)
{
    const uint64_t one = 1;
    if (fd >= 0 && write(fd, &one, sizeof one) < 0)
        return; /* the counter is full, so the reader is notified already */
}

/* Starts a thread that runs only C code, on some host CPUs (NULL: any).  All signals are
 * blocked in it except the one that interrupts a vCPU's system calls.  Returns 0 or an
 * errno. */
int thread_start(pthread_t *thread, const char *name, const struct cpus *cpus, void *(*run)(void *), void *argument)
{
    sigset_t all, old;
    pthread_attr_t attr;
    char own[16];
    int error;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, THREAD_STACK);
    error = cpus ? pthread_attr_setaffinity_np(&attr, cpus->size, cpus->set) : 0;
    if (!error) {
        sigfillset(&all);
        sigdelset(&all, THREAD_KICK_SIGNAL);
        pthread_sigmask(SIG_SETMASK, &all, &old);
        /* A thread inherits its creator's name; renaming it later would take four
         * system calls. */
        prctl(PR_GET_NAME, own);
        prctl(PR_SET_NAME, name);
        error = pthread_create(thread, &attr, run, argument);
        prctl(PR_SET_NAME, own);
        pthread_sigmask(SIG_SETMASK, &old, NULL);
    }
    pthread_attr_destroy(&attr);
    return error;
}

/* Opens a file below a directory (O_PATH), as if that were the root: no link leads out of it.
 * Returns -1 with errno set. */
int open_inside(int directory, const char *path)
{
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};

    return (int)syscall(SYS_openat2, directory, path, &how, sizeof how);
}
