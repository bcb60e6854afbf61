/* `pyvmm boot` where there is a warm process (pyvmm/warm.py): hands over the
 * terminal, the words and the environment, passes signals on, and ends as the guest
 * ends.  It is the user's child; whoever kills it kills the guest. */
#define _GNU_SOURCE
#include "warm.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "warm_server.h"

#define PATIENCE_MS 20 /* then it is quicker to boot without it */

extern char **environ;

static size_t append(char *to, size_t used, char **strings, uint32_t *count)
{
    for (; *strings; strings++, ++*count) {
        size_t length = strlen(*strings) + 1;

        if (length > WARM_BYTES_MAX - used)
            return WARM_BYTES_MAX + 1;
        memcpy(to + used, *strings, length);
        used += length;
    }
    return used;
}

static bool send_request(int fd, char **words)
{
    static char strings[WARM_BYTES_MAX];
    static const int streams[3] = {0, 1, 2};
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof streams)];
    } control;
    struct warm_request request = {0};
    struct iovec parts[2] = {{&request, sizeof request}, {strings, 0}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2, .msg_control = &control,
                             .msg_controllen = sizeof control};
    struct timespec now;
    size_t used = append(strings, 0, words, &request.words);

    if (used <= WARM_BYTES_MAX)
        used = append(strings, used, environ, &request.variables);
    if (used > WARM_BYTES_MAX)
        return false;
    clock_gettime(CLOCK_MONOTONIC, &now);
    request.started_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    request.bytes = (uint32_t)used;
    parts[1].iov_len = used;
    control.header = (struct cmsghdr){CMSG_LEN(sizeof streams), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.header), streams, sizeof streams);
    return sendmsg(fd, &message, MSG_NOSIGNAL) == (ssize_t)(sizeof request + used);
}

/* A connection to the warm process of this user, or -1. */
static int connect_warm(void)
{
    struct sockaddr_un address;
    struct ucred peer;
    socklen_t length = sizeof peer;
    int fd;

    if (!warm_address(&address) || (fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) < 0)
        return -1;
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && peer.uid == geteuid())
        return fd;
    close(fd);
    return -1;
}

/* Ends as a process does that does not handle the signal. */
static void die_of(int signal_number)
{
    sigset_t all;

    signal(signal_number, SIG_DFL);
    sigfillset(&all);
    raise(signal_number);
    sigprocmask(SIG_UNBLOCK, &all, NULL);
    _exit(128 + signal_number);
}

/* Passes a signal on to the guest's process. */
static void pass_on(int signals, int guest, int *last)
{
    struct signalfd_siginfo info;

    if (read(signals, &info, sizeof info) != sizeof info)
        return;
    *last = (int)info.ssi_signo;
    if (*last == SIGTSTP) { /* it has no terminal of its own to be stopped by */
        syscall(SYS_pidfd_send_signal, guest, SIGSTOP, NULL, 0);
        raise(SIGSTOP);
        *last = SIGCONT;
    }
    syscall(SYS_pidfd_send_signal, guest, *last, NULL, 0);
}

/* The signals to be passed on: those that this process does not ignore. */
static sigset_t signals_to_pass(void)
{
    static const int passed[] = {SIGHUP,  SIGINT,  SIGQUIT, SIGTERM, SIGUSR1,
                                 SIGUSR2, SIGALRM, SIGTSTP, SIGCONT};
    struct sigaction action;
    sigset_t set;

    sigemptyset(&set);
    for (size_t i = 0; i < sizeof passed / sizeof *passed; i++)
        if (sigaction(passed[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
            sigaddset(&set, passed[i]);
    return set;
}

/* Waits for the guest's end; returns its status. */
static int wait_for_end(int fd, int pid, const sigset_t *signals)
{
    struct pollfd polled[2] = {{.fd = fd, .events = POLLIN}, {.events = POLLIN}};
    struct warm_reply reply;
    int guest = (int)syscall(SYS_pidfd_open, pid, 0), last = SIGKILL;

    polled[1].fd = signalfd(-1, signals, SFD_CLOEXEC);
    for (;;) {
        if (poll(polled, 2, -1) < 0)
            continue;
        if (polled[1].revents)
            pass_on(polled[1].fd, guest, &last);
        if (polled[0].revents) {
            if (recv(fd, &reply, sizeof reply, MSG_WAITALL) == sizeof reply)
                return reply.value;
            die_of(last); /* as the guest's process did */
        }
    }
}

/* Whether stdin is a terminal that this process may not read, being in the background.
 * The kernel would stop it; but not the warm process, whose terminal that is not. */
static bool in_background(void)
{
    pid_t foreground = tcgetpgrp(STDIN_FILENO);

    return foreground >= 0 && foreground != getpgrp();
}

/* Has the warm process boot the guest.  Returns its exit status, or -1 if there is
 * none that would. */
int warm_boot(char **words)
{
    struct warm_reply reply;
    struct pollfd polled = {.events = POLLIN};
    sigset_t signals, before;

    polled.fd = in_background() ? -1 : connect_warm();
    if (polled.fd < 0)
        return -1;
    signals = signals_to_pass(); /* one that comes from now on waits */
    sigprocmask(SIG_BLOCK, &signals, &before);
    if (send_request(polled.fd, words)) {
        poll(&polled, 1, PATIENCE_MS);
        if (recv(polled.fd, &reply, sizeof reply, MSG_DONTWAIT) == sizeof reply &&
            reply.kind == WARM_ACCEPTED)
            return wait_for_end(polled.fd, reply.value, &signals);
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    close(polled.fd);
    return -1;
}
