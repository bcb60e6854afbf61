/* What goes through a vsock stream: packets, credit, and payload from and to its socket.
 *
 * Each direction ends by itself: end of file on the socket becomes SHUTDOWN(SEND) to
 * the guest, that of the guest becomes shutdown(2) of the socket; when both have ended
 * and all has been passed on, the guest gets RST.  What the guest does not read any more, or
 * never will, is read and dropped by linger(). */
#include "vsock/vsock.h"
#include "host.h"

#include <errno.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define LINGER (5000 * VSOCK_MS)
#define UNREAD_BATCH 16 /* reads of 4 KiB; more is left for the next turn */

/* ---- what the guest is to get next ------------------------------------------------------ */

/* Whether the socket has something, or its end, that the guest can take. */
static bool has_data(const struct vsock *vsock, const struct vsock_stream *stream)
{
    return stream->state == STREAM_OPEN && stream->readable && !stream->host_ended &&
           !stream->offered && !stream->refused && stream_room(vsock, stream);
}

/* Asks a driver that does not tell of its room.  Returns whether to ask again. */
bool stream_probe(struct vsock *vsock, struct vsock_stream *stream)
{
    if (stream->state != STREAM_OPEN || !stream->readable || stream->host_ended ||
        stream_room(vsock, stream))
        return false;
    if (!stream->packets) {
        stream->probe = true;
        stream_ready(vsock, stream);
    }
    return true;
}

static void wake(struct vsock *vsock, struct vsock_stream *stream)
{
    if (has_data(vsock, stream))
        stream_ready(vsock, stream);
}

static void owe_credit(struct vsock *vsock, struct vsock_stream *stream)
{
    stream->credit = true;
    stream_ready(vsock, stream);
}

/* ---- the end ----------------------------------------------------------------------------- */

/* Whether the peer has all that was passed on.  What TCP counts as acknowledged has the
 * beginning of a connection that was made here as well, as one byte, and the end. */
static bool has_arrived(const struct vsock_stream *stream)
{
    struct tcp_info info = {0};
    socklen_t length = sizeof info;
    uint32_t begin = stream->asked ? 0 : 1;

    if (getsockopt(stream->source.fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0)
        return true; /* a unix socket: it has */
    return (int32_t)((uint32_t)info.tcpi_bytes_acked - begin - stream->forwarded) >= 0;
}

/* Closes the socket of an orphan that has passed on everything, once that has arrived.  The peer
 * gets an error in place of the end if there is something unread when a socket is closed.  TCP
 * also drops what is under way then, or when something comes afterwards. */
static void linger(struct vsock *vsock, struct vsock_stream *stream)
{
    uint64_t now = clock_ns(CLOCK_MONOTONIC);
    int domain = AF_UNIX;
    socklen_t length = sizeof domain;
    uint8_t unread[4096];
    ssize_t got = 0;
    int error;

    getsockopt(stream->source.fd, SOL_SOCKET, SO_DOMAIN, &domain, &length);
    if (domain == AF_UNIX)
        shutdown(stream->source.fd, SHUT_RD); /* nothing more comes */
    for (int i = 0; i < UNREAD_BATCH; i++) {
        got = host_receive(stream->source.fd, unread, sizeof unread, 0);
        if (got <= 0)
            break;
    }
    error = errno;
    if (!stream->linger_until)
        stream->linger_until = now + LINGER;
    if (got == 0 || (got < 0 && (error != EAGAIN || has_arrived(stream))) || now >= stream->linger_until)
        stream_end(vsock, stream, false);
    else
        vsock_retry_in(vsock, VSOCK_LINGER_RETRY);
}

/* Goes on when something has been sent, or a direction has ended. */
static void progress(struct vsock *vsock, struct vsock_stream *stream)
{
    if (!stream_flush(stream)) {
        stream_fail(vsock, stream);
    } else if (stream->state == STREAM_ORPHAN) {
        if (!stream_unsent(stream))
            linger(vsock, stream);
    } else if (stream->host_ended && stream->guest_ended && !stream_unsent(stream)) {
        vsock_add_reset(vsock, stream->guest_port, stream->host_port);
        stream_orphan(vsock, stream);
    } else if (stream->forwarded - stream->told >= stream->buf_alloc / 2) {
        owe_credit(vsock, stream);
    }
}

/* It is over for the guest; what it has sent is still passed on. */
void stream_orphan(struct vsock *vsock, struct vsock_stream *stream)
{
    stream->state = STREAM_ORPHAN;
    stream->host_ended = stream->guest_ended = true;
    stream_unname(vsock, stream);
    stream_not_ready(vsock, stream);
    progress(vsock, stream);
}

/* The guest has reset the stream, maybe because it has ended. */
static void reset_by_guest(struct vsock *vsock, struct vsock_stream *stream)
{
    bool proper = stream->guest_ended || (vsock->legacy && stream->host_ended);

    if (stream->state == STREAM_OPEN && proper)
        stream_orphan(vsock, stream);
    else
        stream_end(vsock, stream, !proper);
}

/* The stream exists for both sides now. */
static void open_stream(struct vsock *vsock, struct vsock_stream *stream)
{
    stream->state = STREAM_OPEN;
    vsock->counts.connections++;
    wake(vsock, stream);
}

/* Goes on after host_connected() or host_connect_again(). */
static void connect_result(struct vsock *vsock, struct vsock_stream *stream, int result)
{
    if (result < 0) {
        stream_fail(vsock, stream);
    } else if (result > 0) {
        stream->respond = true;
        stream_ready(vsock, stream);
        open_stream(vsock, stream);
    }
}

/* Tries again what was refused: to be accepted by the guest, or a place in a backlog. */
void stream_retry(struct vsock *vsock, struct vsock_stream *stream)
{
    if (stream->state == STREAM_QUEUEING) {
        connect_result(vsock, stream, host_connect_again(vsock, stream));
        if (stream->state == STREAM_QUEUEING)
            vsock_retry_in(vsock, VSOCK_BACKLOG_RETRY);
    } else if (stream->state == STREAM_ORPHAN) {
        progress(vsock, stream);
    } else if (stream->refused) {
        stream->refused = false;
        if (stream->state == STREAM_OPEN) {
            wake(vsock, stream);
        } else {
            stream->asked = false;
            stream_ready(vsock, stream);
        }
    }
}

/* Passes on payload that stream_packet() has agreed to. */
void stream_pass_on(struct vsock *vsock, struct vsock_stream *stream, struct iovec *payload, uint32_t count,
                    uint32_t size)
{
    if (stream->state != STREAM_OPEN) /* a later packet has ended it */
        return;
    vsock->counts.from_guest += size;
    if (stream_receive(stream, payload, count, size))
        progress(vsock, stream);
    else
        stream_fail(vsock, stream);
}

/* A packet of the guest, with its payload.  Returns whether that is to be passed on. */
bool stream_packet(struct vsock *vsock, struct vsock_stream *stream,
                   const struct virtio_vsock_hdr *header, const struct iovec *payload, uint32_t count)
{
    uint64_t there = 0;
    bool ok = stream->state == STREAM_OPEN;

    stream_take_credit(vsock, stream, header);
    switch (header->op) {
    case VIRTIO_VSOCK_OP_RST:
        if (stream->state == STREAM_ASKING && stream->asked)
            early_refused(vsock, stream);
        else if (early_is_untaken(stream))
            early_offer_again(vsock, stream);
        else
            reset_by_guest(vsock, stream);
        return false;
    case VIRTIO_VSOCK_OP_RESPONSE:
        ok = stream->state == STREAM_ASKING && stream->asked && host_answer(stream);
        if (ok) {
            early_accepted(vsock, stream);
            open_stream(vsock, stream);
        }
        break;
    case VIRTIO_VSOCK_OP_RW:
        for (uint32_t i = 0; i < count; i++)
            there += payload[i].iov_len;
        ok = ok && early_was_taken(stream) && !stream->guest_ended && header->len <= there &&
             header->len <= stream->buf_alloc - stream_unsent(stream) - vsock->gathered.size;
        break;
    case VIRTIO_VSOCK_OP_SHUTDOWN:
        stream->host_ended |= header->flags & VIRTIO_VSOCK_SHUTDOWN_RCV;
        stream->guest_ended |= header->flags & VIRTIO_VSOCK_SHUTDOWN_SEND;
        break;
    case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
        if (ok)
            owe_credit(vsock, stream);
        break;
    case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
        ok = ok && (!stream->offered || early_was_taken(stream));
        break;
    default:
        ok = false;
    }
    if (!ok) {
        stream_fail(vsock, stream);
        return false;
    }
    wake(vsock, stream);
    if (header->op == VIRTIO_VSOCK_OP_SHUTDOWN)
        progress(vsock, stream);
    return header->op == VIRTIO_VSOCK_OP_RW;
}

/* ---- host to guest --------------------------------------------------------------------- */

/* Reads from the socket into the guest's buffers and sets the packet's op.  Returns
 * false when there was nothing, or the stream has ended. */
static bool read_socket(struct vsock *vsock, struct vsock_stream *stream,
                        struct virtio_vsock_hdr *header, struct iovec *payload, uint32_t count)
{
    uint32_t limit = stream_room(vsock, stream), wanted = 0, used = 0;
    struct msghdr message = {.msg_iov = payload};
    ssize_t got;

    for (; used < count && wanted < limit; used++) {
        if (payload[used].iov_len > limit - wanted)
            payload[used].iov_len = limit - wanted;
        wanted += (uint32_t)payload[used].iov_len;
    }
    if (!wanted) { /* a buffer of the header's size */
        stream->credit = true;
        return false;
    }
    message.msg_iovlen = used;
    got = recvmsg(stream->source.fd, &message, MSG_DONTWAIT | (stream->untaken ? MSG_PEEK : 0));
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        stream->readable = errno == EINTR;
        return false;
    }
    /* A unix client that has not read its OK resets by closing, once all is read. */
    if (got < 0 && errno == ECONNRESET && stream->unix_client)
        got = 0;
    if (got < 0) {
        stream_fail(vsock, stream);
        return false;
    }
    if (got) {
        /* Less than asked for: the socket is empty, unless its end comes now. */
        stream->readable = stream->untaken || (uint32_t)got == wanted || stream->hung_up;
        if (stream->untaken)
            early_offered(stream, (uint32_t)got);
        stream->sent += (uint32_t)got;
        vsock->counts.to_guest += (uint64_t)got;
        vsock->counts.stalls += !stream_room(vsock, stream);
        stream->packets++;
        header->op = VIRTIO_VSOCK_OP_RW;
        header->len = (uint32_t)got;
        return true;
    }
    stream->host_ended = true;
    header->op = VIRTIO_VSOCK_OP_SHUTDOWN;
    header->flags = VIRTIO_VSOCK_SHUTDOWN_SEND;
    progress(vsock, stream);
    return stream->state != STREAM_DEAD;
}

static bool choose_packet(struct vsock *vsock, struct vsock_stream *stream,
                          struct virtio_vsock_hdr *header, struct iovec *payload, uint32_t count)
{
    if (stream->state == STREAM_ASKING && !stream->asked) {
        stream->asked = true;
        header->op = VIRTIO_VSOCK_OP_REQUEST;
        return true;
    }
    if (stream->respond) {
        stream->respond = false;
        header->op = VIRTIO_VSOCK_OP_RESPONSE;
        return true;
    }
    if (has_data(vsock, stream) && read_socket(vsock, stream, header, payload, count))
        return true;
    if (stream->state == STREAM_OPEN && (stream->credit || stream->probe)) {
        header->op = stream->probe ? VIRTIO_VSOCK_OP_RW : VIRTIO_VSOCK_OP_CREDIT_UPDATE;
        stream->packets += stream->probe;
        stream->probe = false;
        return true;
    }
    return false;
}

/* Makes the stream's next packet, with payload into those buffers; the header says
 * how long it is.  Returns false when there is none. */
bool stream_next(struct vsock *vsock, struct vsock_stream *stream,
                 struct virtio_vsock_hdr *header, struct iovec *payload, uint32_t count)
{
    bool made;

    stream_not_ready(vsock, stream);
    header->src_port = stream->host_port;
    header->dst_port = stream->guest_port;
    made = choose_packet(vsock, stream, header, payload, count);
    if (stream->state == STREAM_DEAD || !made)
        return false;
    header->buf_alloc = stream->buf_alloc;
    header->fwd_cnt = vsock->legacy ? 0 : stream->forwarded;
    stream->told = stream->forwarded;
    stream->credit = false;
    wake(vsock, stream);
    return true;
}

/* The socket has changed. */
void stream_event(struct vsock *vsock, struct vsock_stream *stream, uint32_t events)
{
    stream->writable |= !!(events & EPOLLOUT);
    stream->readable |= !!(events & ~(uint32_t)EPOLLOUT);
    stream->hung_up |= !!(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR));
    /* The client did not want to wait.  A unix socket hangs up also when its client has sent all
     * that there is and closed. */
    if ((stream->state == STREAM_ASKING || (stream->state == STREAM_OPEN && stream->untaken)) &&
        (events & EPOLLERR || (events & EPOLLHUP && !stream->unix_client))) {
        stream_fail(vsock, stream);
        return;
    }
    switch (stream->state) {
    case STREAM_GREETING:
        host_greet(vsock, stream);
        break;
    case STREAM_CONNECTING:
        connect_result(vsock, stream, host_connected(vsock, stream));
        break;
    case STREAM_OPEN:
        if (events & EPOLLERR && !stream->unix_client && !stream_room(vsock, stream)) {
            stream_fail(vsock, stream);
            break;
        }
        wake(vsock, stream);
        if (events & (EPOLLOUT | EPOLLERR) && stream_unsent(stream))
            progress(vsock, stream);
        break;
    case STREAM_ORPHAN:
        progress(vsock, stream);
        break;
    case STREAM_ASKING:
    case STREAM_QUEUEING:
    case STREAM_DEAD:
        break;
    }
}
