/* Where a guest's vsock meets the host: clients of listening sockets, and targets that
 * the guest may connect to.
 *
 * A client of the unix socket says first which port of the guest it wants, as
 * Firecracker's users know it:
 *
 *     client  CONNECT 80\n
 *     pyvmm   OK 1073741824\n      once the guest has accepted; the number is its port
 *
 * and the guest's connections to port P of CID 2 reach the unix socket PATH_P. */
#define _GNU_SOURCE
#include "vsock/vsock.h"
#include "host.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <unistd.h>

#define LEGACY_PORTS 20000 /* drivers before version 1 have tables of as many */
#define CLIENTS 64         /* taken at once */

/* ---- what Python says ------------------------------------------------------------- */

/* Leads clients of a listening socket to a port of the guest, from now on; the socket stays
 * the caller's.  Returns -1 with errno set. */
int vsock_listen(struct vsock *vsock, int fd, uint32_t guest_port)
{
    struct vsock_listener *listener = malloc(sizeof *listener);

    if (!listener)
        return -1;
    *listener = (struct vsock_listener){{VSOCK_LISTENER, fd}, guest_port, vsock->listeners};
    vsock->listeners = listener;
    return vsock->mmio ? vsock_watch(vsock, &listener->source, EPOLLIN) : 0;
}

/* The same for a unix socket at `path` whose clients name the port. */
int vsock_listen_unix(struct vsock *vsock, int fd, const char *path)
{
    if (vsock_listen(vsock, fd, 0) < 0)
        return -1;
    vsock->listeners->source.kind = VSOCK_UNIX_LISTENER;
    snprintf(vsock->unix_path, sizeof vsock->unix_path, "%s", path);
    return 0;
}

/* Lets the guest connect to a port of CID 2 (VSOCK_ANY_PORT: to all others).
 * `address` is the struct sockaddr that it leads to; with port 0 in it, the same port
 * there.  Further calls for a port add addresses to try when the earlier ones refuse.
 * Returns -1 with errno set. */
int vsock_allow(struct vsock *vsock, uint32_t port, const uint8_t *address, uint32_t length)
{
    struct vsock_target *target = calloc(1, sizeof *target), **last = &vsock->targets;

    if (!target)
        return -1;
    target->port = port;
    target->length = length < sizeof target->address ? length : sizeof target->address;
    memcpy(&target->address, address, target->length);
    while (*last)
        last = &(*last)->next;
    *last = target;
    return 0;
}

void host_forget(struct vsock *vsock)
{
    struct vsock_listener *listener;
    struct vsock_target *target;

    while ((listener = vsock->listeners)) {
        vsock->listeners = listener->next;
        free(listener);
    }
    while ((target = vsock->targets)) {
        vsock->targets = target->next;
        free(target);
    }
}

/* ---- what Python is told ------------------------------------------------------------ */

/* Leaves a note for the log.  Those that nobody has taken yet are limited, but for the
 * one that says that a queue is broken. */
void vsock_add_note(struct vsock *vsock, struct vsock_note note)
{
    pthread_mutex_lock(&vsock->note_lock);
    if (vsock->note_count < VSOCK_NOTES + (note.kind == VSOCK_NOTE_BROKEN))
        vsock->note[vsock->note_count++] = note;
    pthread_mutex_unlock(&vsock->note_lock);
    event_raise(vsock->note_fd);
}

static void note_refused(struct vsock *vsock, int error)
{
    vsock_add_note(vsock, (struct vsock_note){.kind = VSOCK_NOTE_REFUSED, .value = (uint32_t)error});
}

/* Takes back VSOCK_NOTE_BROKEN: the driver has reset the device. */
void vsock_drop_fault(struct vsock *vsock)
{
    uint32_t kept = 0;

    pthread_mutex_lock(&vsock->note_lock);
    for (uint32_t i = 0; i < vsock->note_count; i++)
        if (vsock->note[i].kind != VSOCK_NOTE_BROKEN)
            vsock->note[kept++] = vsock->note[i];
    vsock->note_count = kept;
    pthread_mutex_unlock(&vsock->note_lock);
}

/* Takes the oldest note; false when there is none. */
bool vsock_take_note(struct vsock *vsock, struct vsock_note *note)
{
    bool any;

    pthread_mutex_lock(&vsock->note_lock);
    any = vsock->note_count;
    if (any) {
        *note = vsock->note[0];
        memmove(vsock->note, vsock->note + 1, --vsock->note_count * sizeof *note);
    }
    pthread_mutex_unlock(&vsock->note_lock);
    return any;
}

/* ---- in from the host ------------------------------------------------------------------ */

/* Asks the guest for a connection to one of its ports. */
static void ask(struct vsock *vsock, struct vsock_stream *stream, uint32_t guest_port)
{
    uint32_t port;

    if (vsock->legacy && guest_port >= LEGACY_PORTS) {
        stream_end(vsock, stream, true);
        return;
    }
    do {
        port = vsock->next_port;
        vsock->next_port = port < VSOCK_LAST_PORT ? port + 1 : VSOCK_FIRST_PORT;
    } while (stream_find(vsock, guest_port, port));
    stream_name(vsock, stream, guest_port, port);
    stream->state = STREAM_ASKING;
    stream_ready(vsock, stream);
}

/* No descriptor is left: takes the client with the spare one, to refuse it.  It would
 * be reported for ever. */
static void refuse(struct vsock *vsock, int listener, int error)
{
    int fd;

    note_refused(vsock, error);
    close(vsock->spare_fd);
    fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0)
        stream_close_socket(fd, true);
    vsock->spare_fd = fcntl(vsock->epoll_fd, F_DUPFD_CLOEXEC, 0);
}

/* Takes clients of a listening socket. */
void host_accept(struct vsock *vsock, struct vsock_listener *listener)
{
    bool named = listener->source.kind == VSOCK_LISTENER;
    const int on = 1;

    for (int i = 0; i < CLIENTS; i++) {
        int fd = accept4(listener->source.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        struct vsock_stream *stream;
        if (fd < 0) {
            if (errno == EMFILE || errno == ENFILE)
                refuse(vsock, listener->source.fd, errno);
            return;
        }
        if (vsock->stream_count == VSOCK_STREAMS) {
            vsock_add_note(vsock, (struct vsock_note){.kind = VSOCK_NOTE_REFUSED, .value = 0});
            stream_close_socket(fd, true);
            continue;
        }
        if (named)
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        stream = stream_new(vsock, fd, STREAM_GREETING);
        if (!stream)
            continue;
        stream->unix_client = !named;
        if (named)
            ask(vsock, stream, listener->guest_port);
    }
}

/* As recv(2), which is a system call more, without waiting. */
ssize_t host_receive(int fd, void *data, size_t size, int flags)
{
    struct iovec iov = {data, size};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

    return recvmsg(fd, &message, flags | MSG_DONTWAIT);
}

/* Reads which port a client of the unix socket wants, once its line is complete, and
 * no byte more. */
void host_greet(struct vsock *vsock, struct vsock_stream *stream)
{
    static const char word[] = "CONNECT ";
    const size_t longest = sizeof word - 1 + sizeof "4294967294" - 1 + 1;
    char line[64], *end;
    unsigned long long port;
    ssize_t got = host_receive(stream->source.fd, line, longest, MSG_PEEK);

    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    end = got > 0 ? memchr(line, '\n', (size_t)got) : NULL;
    if (!end && got > 0 && (size_t)got < longest && !stream->hung_up)
        return;
    if (!end || host_receive(stream->source.fd, line, (size_t)(end - line) + 1, 0) < 0) {
        stream_end(vsock, stream, false);
        return;
    }
    *end = '\0';
    port = strncasecmp(line, word, sizeof word - 1) || line[sizeof word - 1] < '0' ||
                   line[sizeof word - 1] > '9'
               ? VSOCK_ANY_PORT
               : strtoull(line + sizeof word - 1, &end, 10);
    if (port >= VSOCK_ANY_PORT || *end)
        stream_end(vsock, stream, false);
    else
        ask(vsock, stream, (uint32_t)port);
}

/* Tells a client that the guest has accepted; false when that fails.  One that has closed
 * its socket does not hear of it, but what it sent is still the guest's. */
bool host_answer(const struct vsock_stream *stream)
{
    char line[32];
    int length;
    ssize_t sent;
    struct iovec iov = {.iov_base = line};
    struct msghdr message = {.msg_iov = &iov, .msg_iovlen = 1};

    if (!stream->unix_client)
        return true;
    length = snprintf(line, sizeof line, "OK %u\n", stream->host_port);
    iov.iov_len = (size_t)length;
    sent = sendmsg(stream->source.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    return sent == length || (sent < 0 && errno == EPIPE);
}

/* ---- out from the guest ------------------------------------------------------------------- */

/* The first address of a port in a list of targets. */
static const struct vsock_target *find_target(const struct vsock_target *target, uint32_t port)
{
    while (target && target->port != port)
        target = target->next;
    return target;
}

static bool unix_address(const struct vsock *vsock, uint32_t port, struct sockaddr_un *address)
{
    int length;

    *address = (struct sockaddr_un){.sun_family = AF_UNIX};
    length = snprintf(address->sun_path, sizeof address->sun_path, "%s_%u", vsock->unix_path, port);
    return *vsock->unix_path && length > 0 && (size_t)length < sizeof address->sun_path;
}

/* A socket connected to the unix socket of `port`, or one that is not connected because the
 * backlog there is full; or -1 with errno set. */
static int connect_unix(const struct vsock *vsock, uint32_t port, bool *full)
{
    struct sockaddr_un address;
    int fd, error;

    if (!unix_address(vsock, port, &address)) {
        errno = ENOENT;
        return -1;
    }
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) == 0)
        return fd;
    error = errno;
    *full = error == EAGAIN;
    if (*full)
        return fd;
    close(fd);
    errno = error;
    return -1;
}

/* Tries a unix socket with a full backlog again.  Returns 1: connected, 0: it still is full,
 * -1: it has failed. */
int host_connect_again(const struct vsock *vsock, struct vsock_stream *stream)
{
    struct sockaddr_un address;

    if (!unix_address(vsock, stream->host_port, &address))
        return -1;
    if (connect(stream->source.fd, (struct sockaddr *)&address, sizeof address) < 0)
        return errno == EAGAIN ? 0 : -1;
    stream->readable = stream->writable = true;
    stream->hung_up = false; /* as poll(2) reports for a socket that is not connected */
    return 1;
}

static int connect_target(struct vsock *vsock, const struct vsock_target *target, uint32_t port)
{
    struct sockaddr_storage address = target->address;
    in_port_t *in_port = address.ss_family == AF_INET6
                             ? &((struct sockaddr_in6 *)&address)->sin6_port
                             : &((struct sockaddr_in *)&address)->sin_port;
    const int on = 1;
    int fd;

    if (!*in_port) {
        if (port > UINT16_MAX)
            return -1;
        *in_port = htons((uint16_t)port);
    }
    fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        note_refused(vsock, errno);
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (struct sockaddr *)&address, target->length) == 0 || errno == EINPROGRESS)
        return fd;
    close(fd);
    return -1;
}

/* A socket that is being connected to the address at *target, or to the first behind it that
 * does not refuse at once; -1 if there is none.  *target is then the address to try next. */
static int connect_targets(struct vsock *vsock, const struct vsock_target **target, uint32_t port)
{
    int fd = -1;

    while (*target && fd < 0) {
        fd = connect_target(vsock, *target, port);
        *target = find_target((*target)->next, (*target)->port);
    }
    return fd;
}

/* Whether a socket is connected to itself.  That is how TCP connects to a local port on which
 * nobody listens, if the kernel happens to choose it as the source (RFC 9293, section 3.5:
 * simultaneous open). */
static bool is_self(int fd)
{
    struct sockaddr_storage own = {0}, peer = {0};
    socklen_t own_length = sizeof own;

    return getsockname(fd, (struct sockaddr *)&own, &own_length) == 0 && own.ss_family != AF_UNIX &&
           getsockopt(fd, SOL_SOCKET, SO_PEERNAME, &peer, &(socklen_t){own_length}) == 0 &&
           memcmp(&own, &peer, own_length) == 0;
}

/* Looks what has become of the connection to a target; if it was refused, tries the port's
 * next address.  Returns 1: connected, 0: not yet, -1: none is left. */
int host_connected(struct vsock *vsock, struct vsock_stream *stream)
{
    int error = 0, fd;
    socklen_t length = sizeof error;

    getsockopt(stream->source.fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (!error && !stream->writable)
        return 0;
    if (!error && !is_self(stream->source.fd))
        return 1;
    fd = connect_targets(vsock, &stream->target, stream->host_port);
    if (fd < 0)
        return -1;
    /* By a reset: after an orderly end, a connection with itself would keep its port. */
    stream_close_socket(stream->source.fd, true);
    stream->source.fd = fd;
    stream->readable = stream->writable = stream->hung_up = false;
    return stream_watch(vsock, stream);
}

/* The guest asks for a connection: a port that was allowed by its number comes before
 * the unix socket of that port, and both before `all`. */
void host_connect(struct vsock *vsock, const struct virtio_vsock_hdr *header)
{
    const struct vsock_target *target = find_target(vsock->targets, header->dst_port);
    struct vsock_stream *stream = NULL;
    bool named = target, full = false;
    int fd = named ? connect_targets(vsock, &target, header->dst_port)
                   : connect_unix(vsock, header->dst_port, &full);

    if (fd < 0 && !named) {
        target = find_target(vsock->targets, VSOCK_ANY_PORT);
        if (!target && errno == ENOENT)
            vsock_add_note(vsock, (struct vsock_note){.kind = VSOCK_NOTE_FORBIDDEN, .value = header->dst_port});
        else if (!target && errno != ECONNREFUSED)
            note_refused(vsock, errno);
        fd = connect_targets(vsock, &target, header->dst_port);
    }
    if (fd >= 0)
        stream = stream_new(vsock, fd, full ? STREAM_QUEUEING : STREAM_CONNECTING);
    if (!stream) {
        vsock_add_reset(vsock, header->src_port, header->dst_port);
        return;
    }
    stream->target = target;
    stream_name(vsock, stream, header->src_port, header->dst_port);
    stream->peer_alloc = header->buf_alloc;
    stream->peer_taken = vsock->legacy ? 0 : header->fwd_cnt;
    if (full)
        vsock_retry_in(vsock, VSOCK_BACKLOG_RETRY);
}
