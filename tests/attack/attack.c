/* An attacker who has taken over one thread of pyvmm: loaded into the real command by
 * LD_PRELOAD, it waits until the thread serves the guest, and then tries what it would like
 * to do.  Each try is harmless if it works.
 *
 * ATTACK_THREAD: vcpu, relay, main, start, lone (the main thread, which runs the vCPU
 * without Python).  ATTACK_FILE, ATTACK_SOCKET, ATTACK_PORT: a file
 * that is not the guest's, another guest's control socket, a TCP port that is not allowed.
 * ATTACK_ONE: the only one to try, without catching SIGSYS.
 *
 * Writes a line for each to stderr: `NAME: refused`, or `NAME: REACHED errno`. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <netinet/in.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

static const char *wanted, *file, *control, *only;
static int port, parent, vm_fd = -1, kvm_fd = -1;
static jmp_buf refused;

/* ---- what is tried ------------------------------------------------------------- */

#define CALL(...) syscall(__VA_ARGS__)
static char page[4096] __attribute__((aligned(4096)));

static long open_for_reading(const char *path)
{
    return CALL(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
}

static long connect_to(int family, const void *address, socklen_t length)
{
    long fd = CALL(SYS_socket, family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return fd < 0 ? fd : CALL(SYS_connect, fd, address, length);
}

static long tcp(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return connect_to(AF_INET, &address, sizeof address);
}

static long control_socket(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, control, sizeof address.sun_path - 1);
    return connect_to(AF_UNIX, &address, sizeof address);
}

static long listen_anywhere(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    long fd = CALL(SYS_socket, AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || (fd = CALL(SYS_bind, fd, &address, sizeof address)) < 0)
        return fd;
    return CALL(SYS_listen, fd, 1);
}

static long child(long pid)
{
    if (!pid)
        CALL(SYS_exit_group, 0);
    return pid;
}

enum {
#define TRY(name, expression) TRY_##name,
#include "attacks.inc"
#undef TRY
    COUNT
};

static const char *const names[] = {
#define TRY(name, expression) #name,
#include "attacks.inc"
#undef TRY
};

static long try(int number)
{
    static char *const none[] = {NULL};

    switch (number) {
#define TRY(name, expression) case TRY_##name: return expression;
#include "attacks.inc"
#undef TRY
    }
    return 0;
}

/* ---- how ------------------------------------------------------------------------ */

static void say(const char *name, const char *what, int error)
{
    char line[128], *to = stpcpy(stpcpy(stpcpy(line, name), ": "), what);

    if (error) {
        *to++ = ' ';
        if (error >= 100)
            *to++ = (char)('0' + error / 100);
        *to++ = (char)('0' + error / 10 % 10);
        *to++ = (char)('0' + error % 10);
    }
    *to++ = '\n';
    if (write(2, line, (size_t)(to - line)) < 0)
        _exit(3);
}

static void attack(void)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (only && strcmp(only, names[i]))
            continue;
        volatile bool trapped = setjmp(refused);
        errno = 0;
        long result = trapped ? 0 : try((int)i);
        int error = errno;
        if (trapped || (result < 0 && (error == EACCES || error == EPERM || (i == TRY_clone3 && error == ENOSYS))))
            say(names[i], "refused", 0);
        else
            say(names[i], "REACHED", result < 0 ? error : 0);
    }
    _exit(0);
}

/* Not every filter lets a handler return. */
static void caught(int signal)
{
    (void)signal;
    longjmp(refused, 1);
}

static __thread const char *role; /* the name that a thread was started with */
static const char *next_name;

static void serves(const char *thread)
{
    if (wanted && !strcmp(wanted, thread))
        attack();
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list arguments;

    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    int result = (int)CALL(SYS_ioctl, fd, request, argument);
    if (request == KVM_CREATE_VM)
        vm_fd = result, kvm_fd = fd;
    if (request == KVM_RUN)
        serves(role ? "vcpu" : "lone");
    return result;
}

int epoll_wait(int epoll, struct epoll_event *events, int count, int timeout)
{
    if (role && !strcmp(role, "vsock"))
        serves("relay");
    if (!role)
        serves("main");
    return (int)CALL(SYS_epoll_wait, epoll, events, count, timeout);
}

int epoll_create1(int flags)
{
    if (!role)
        serves("start");
    return (int)CALL(SYS_epoll_create1, flags);
}

int prctl(int option, ...)
{
    va_list arguments;
    unsigned long values[4];

    va_start(arguments, option);
    for (int i = 0; i < 4; i++)
        values[i] = va_arg(arguments, unsigned long);
    va_end(arguments);
    if (option == 15) /* PR_SET_NAME */
        next_name = (const char *)values[0];
    return (int)CALL(SYS_prctl, option, values[0], values[1], values[2], values[3]);
}

struct start {
    void *(*run)(void *);
    void *argument;
    const char *name;
};

static void *begin(void *given)
{
    struct start start = *(struct start *)given;

    role = start.name;
    return start.run(start.argument);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *argument)
{
    int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *) = dlsym(RTLD_NEXT, "pthread_create");
    struct start *start = malloc(sizeof *start);
    const char *name = next_name && strcmp(next_name, "pyvmm") ? strdup(next_name) : NULL;

    *start = (struct start){run, argument, name};
    return real(thread, attr, begin, start);
}

int sigaction(int signal, const struct sigaction *new, struct sigaction *old)
{
    int (*real)(int, const struct sigaction *, struct sigaction *) = dlsym(RTLD_NEXT, "sigaction");
    struct sigaction ours = {.sa_handler = caught, .sa_flags = SA_NODEFER};

    return real(signal, signal == SIGSYS && new && !only ? &ours : new, old);
}

__attribute__((constructor)) static void load(void)
{
    wanted = getenv("ATTACK_THREAD");
    file = getenv("ATTACK_FILE");
    control = getenv("ATTACK_SOCKET");
    only = getenv("ATTACK_ONE");
    port = getenv("ATTACK_PORT") ? atoi(getenv("ATTACK_PORT")) : 0;
    parent = getppid();
}
