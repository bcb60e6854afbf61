/* What goes through a vsock stream: packets, credit, and payload from and to its socket.
 *
 * Each direction ends by itself: end of file on the socket becomes SHUTDOWN(SEND) to
 * the guest, that of the guest becomes shutdown(2) of the socket; when both have ended
 * and all has been passed on, the guest gets RST.
 *
 * Drivers of existing Toro kernels, which do not know VIRTIO_F_VERSION_1, count
 * otherwise: they have a buffer of 16 KiB that is empty again only when the application
 * has taken all of it; they acknowledge each RW by a CREDIT_UPDATE whose fwd_cnt says
 * how full it was then, and say nothing when it has become empty.  So what they may hold
 * is that and all that was sent since; when there is no room, an RW without payload asks
 * them anew.  They take fwd_cnt of the host's headers for what is in its buffer, so it
 * is always told as 0, and TX waits in place of it. */
#include "vsock/vsock.h"
#include "host.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define LEGACY_WINDOW 16000      /* bytes, of the 16 KiB that such a driver has */
#define LEGACY_PACKET (64 << 10) /* the most it sends at once */

#define LISTEN_GRACE (1000 * VSOCK_MS) /* from a guest's first accept until a refusal counts */
#define RETRY_LEAST (2 * VSOCK_MS)
#define RETRY_MOST (200 * VSOCK_MS)

/* ---- credit ------------------------------------------------------------------------ */

static uint32_t unsent(const struct vsock_stream *stream)
{
    return stream->received - stream->forwarded;
}

/* Bytes that the guest can take now. */
static uint32_t room(const struct vsock *vsock, const struct vsock_stream *stream)
{
    uint32_t window = stream->peer_alloc, under_way = stream->sent - stream->peer_taken;

    if (vsock->legacy && window > LEGACY_WINDOW)
        window = LEGACY_WINDOW;
    if (under_way > INT32_MAX) /* it says to have taken more than there was */
        under_way = 0;
    return under_way < window ? window - under_way : 0;
}

/* Takes the credit that a header of the guest tells. */
static void take_credit(const struct vsock *vsock, struct vsock_stream *stream,
                        const struct virtio_vsock_hdr *header)
{
    stream->peer_alloc = header->buf_alloc;
    if (!vsock->legacy) {
        stream->peer_taken = header->fwd_cnt;
        return;
    }
    if (header->op == VIRTIO_VSOCK_OP_CREDIT_UPDATE && stream->packets)
        stream->packets--;
    /* Once all is acknowledged, the rest of what was sent has been taken. */
    if (!stream->packets)
        stream->peer_taken = stream->sent - header->fwd_cnt;
}

/* Whether a driver that counts no credit must wait for this stream's socket. */
bool stream_stalls(const struct vsock_stream *stream)
{
    uint32_t least = stream->buf_alloc / 2 < LEGACY_PACKET ? stream->buf_alloc / 2 : LEGACY_PACKET;
    return stream->state == STREAM_OPEN && stream->buf_alloc - unsent(stream) < least;
}

/* Whether the socket has something, or its end, that the guest can take. */
static bool has_data(const struct vsock *vsock, const struct vsock_stream *stream)
{
    return stream->state == STREAM_OPEN && stream->readable && !stream->host_ended &&
           room(vsock, stream);
}

/* Asks a driver that does not tell of its room.  Returns whether to ask again. */
bool stream_probe(struct vsock *vsock, struct vsock_stream *stream)
{
    if (stream->state != STREAM_OPEN || !stream->readable || stream->host_ended ||
        room(vsock, stream))
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

/* ---- guest to host ------------------------------------------------------------------- */

/* Sends what the socket takes; bytes, or -1 when it has failed. */
static ssize_t send_some(struct vsock_stream *stream, struct iovec *iov, uint32_t count)
{
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = count};
    ssize_t sent = stream->writable
                       ? sendmsg(stream->source.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL)
                       : 0;

    if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
        stream->writable = errno == EINTR;
        return 0;
    }
    if (sent > 0)
        stream->forwarded += (uint32_t)sent;
    return sent;
}

/* Copies to the ring; there is room. */
static void keep(struct vsock_stream *stream, uint32_t at, const uint8_t *data, size_t size)
{
    size_t first = stream->buf_alloc - at < size ? stream->buf_alloc - at : size;

    memcpy(stream->ring + at, data, first);
    memcpy(stream->ring, data + first, size - first);
}

/* Passes on `size` bytes of payload that the guest had credit for. */
static bool receive(struct vsock_stream *stream, struct iovec *payload, uint32_t size)
{
    uint32_t count = 0, left = size, held = unsent(stream);
    ssize_t sent = 0;

    for (; left; count++) {
        if (payload[count].iov_len > left)
            payload[count].iov_len = left;
        left -= (uint32_t)payload[count].iov_len;
    }
    stream->received += size;
    if (!held)
        sent = send_some(stream, payload, count);
    if (sent < 0)
        return false;
    if ((uint32_t)sent == size)
        return true;
    if (!stream->ring && !(stream->ring = malloc(stream->buf_alloc)))
        return false;
    for (uint32_t i = 0, at = (stream->ring_at + held) % stream->buf_alloc; i < count; i++) {
        size_t skip = (size_t)sent < payload[i].iov_len ? (size_t)sent : payload[i].iov_len;
        size_t length = payload[i].iov_len - skip;
        sent -= (ssize_t)skip;
        keep(stream, at, (uint8_t *)payload[i].iov_base + skip, length);
        at = (at + (uint32_t)length) % stream->buf_alloc;
    }
    return true;
}

/* Sends what was kept; false when the socket has failed. */
static bool flush(struct vsock_stream *stream)
{
    while (unsent(stream) && stream->writable) {
        uint32_t size = unsent(stream), first = stream->buf_alloc - stream->ring_at;
        struct iovec iov[2] = {{stream->ring + stream->ring_at, size < first ? size : first},
                               {stream->ring, size < first ? 0 : size - first}};
        ssize_t sent = send_some(stream, iov, 2);
        if (sent < 0)
            return false;
        stream->ring_at = (stream->ring_at + (uint32_t)sent) % stream->buf_alloc;
    }
    if (!unsent(stream)) {
        free(stream->ring);
        stream->ring = NULL;
        stream->ring_at = 0;
        if (stream->guest_ended && !stream->shut) {
            stream->shut = true;
            shutdown(stream->source.fd, SHUT_WR);
        }
    }
    return true;
}

/* Goes on when something has been sent, or a direction has ended. */
static void progress(struct vsock *vsock, struct vsock_stream *stream)
{
    if (!flush(stream)) {
        stream_fail(vsock, stream);
    } else if (stream->host_ended && stream->guest_ended && !unsent(stream)) {
        if (stream->state != STREAM_ORPHAN)
            vsock_add_reset(vsock, stream->guest_port, stream->host_port);
        stream_end(vsock, stream, false);
    } else if (stream->forwarded - stream->told >= stream->buf_alloc / 2) {
        owe_credit(vsock, stream);
    }
}

/* ---- clients that come before the guest listens ----------------------------------------
 *
 * The driver is up long before the application listens: between the two may be the mount of
 * a share.  The guest answers REQUEST by RST then, as it does for a port that nobody will
 * ever listen on.  So as long as a guest has not accepted anybody, and for LISTEN_GRACE from
 * then on, a refused client waits and is asked for again. */
static void stream_refused(struct vsock *vsock, struct vsock_stream *stream)
{
    uint64_t now = clock_ns(CLOCK_MONOTONIC), delay = (now - vsock->active_since) / 8;

    if (vsock->listens_since && now - vsock->listens_since >= LISTEN_GRACE) {
        stream_end(vsock, stream, true);
        return;
    }
    stream->refused = true;
    vsock_retry_in(vsock, delay < RETRY_LEAST ? RETRY_LEAST : delay > RETRY_MOST ? RETRY_MOST : delay);
}

/* The guest accepts a client, and maybe others by now. */
static void accepted(struct vsock *vsock)
{
    uint64_t now = clock_ns(CLOCK_MONOTONIC);

    if (!vsock->listens_since)
        vsock->listens_since = now;
    if (vsock->retry_at)
        vsock->retry_at = now;
}

/* The guest has reset the stream.  What it sent before it ended properly is still
 * passed on. */
static void reset_by_guest(struct vsock *vsock, struct vsock_stream *stream)
{
    bool proper = stream->guest_ended || (vsock->legacy && stream->host_ended);

    if (stream->state != STREAM_OPEN || !proper || !unsent(stream)) {
        stream_end(vsock, stream, !proper);
        return;
    }
    stream->state = STREAM_ORPHAN;
    stream->host_ended = stream->guest_ended = true;
    stream_unname(vsock, stream);
    stream_not_ready(vsock, stream);
}

/* The stream exists for both sides now. */
static void open_stream(struct vsock *vsock, struct vsock_stream *stream)
{
    stream->state = STREAM_OPEN;
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
    } else if (stream->refused) {
        stream->refused = stream->asked = false;
        stream_ready(vsock, stream);
    }
}

/* A packet of the guest, with its payload. */
void stream_packet(struct vsock *vsock, struct vsock_stream *stream,
                   const struct virtio_vsock_hdr *header, struct iovec *payload, uint32_t count)
{
    uint64_t there = 0;
    bool ok = stream->state == STREAM_OPEN;

    take_credit(vsock, stream, header);
    switch (header->op) {
    case VIRTIO_VSOCK_OP_RST:
        if (stream->state == STREAM_ASKING && stream->asked)
            stream_refused(vsock, stream);
        else
            reset_by_guest(vsock, stream);
        return;
    case VIRTIO_VSOCK_OP_RESPONSE:
        ok = stream->state == STREAM_ASKING && stream->asked && host_answer(stream);
        if (ok) {
            accepted(vsock);
            open_stream(vsock, stream);
        }
        break;
    case VIRTIO_VSOCK_OP_RW:
        for (uint32_t i = 0; i < count; i++)
            there += payload[i].iov_len;
        ok = ok && !stream->guest_ended && header->len <= there &&
             header->len <= stream->buf_alloc - unsent(stream) &&
             receive(stream, payload, header->len);
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
        break;
    default:
        ok = false;
    }
    if (!ok) {
        stream_fail(vsock, stream);
        return;
    }
    wake(vsock, stream);
    if (header->op == VIRTIO_VSOCK_OP_RW || header->op == VIRTIO_VSOCK_OP_SHUTDOWN)
        progress(vsock, stream);
}

/* ---- host to guest --------------------------------------------------------------------- */

/* Reads from the socket into the guest's buffers and sets the packet's op.  Returns
 * false when there was nothing, or the stream has ended. */
static bool read_socket(struct vsock *vsock, struct vsock_stream *stream,
                        struct virtio_vsock_hdr *header, struct iovec *payload, uint32_t count)
{
    uint32_t limit = room(vsock, stream), wanted = 0, used = 0;
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
    got = recvmsg(stream->source.fd, &message, MSG_DONTWAIT);
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
        stream->readable = (uint32_t)got == wanted || stream->hung_up;
        stream->sent += (uint32_t)got;
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
    switch (stream->state) {
    case STREAM_GREETING:
        host_greet(vsock, stream);
        break;
    case STREAM_CONNECTING:
        connect_result(vsock, stream, host_connected(vsock, stream));
        break;
    case STREAM_ASKING:
        /* The client did not want to wait.  A unix socket hangs up also when its client has
         * sent all that there is and closed. */
        if (events & EPOLLERR || (events & EPOLLHUP && !stream->unix_client))
            stream_fail(vsock, stream);
        break;
    case STREAM_OPEN:
        if (events & EPOLLERR && !stream->unix_client && !room(vsock, stream)) {
            stream_fail(vsock, stream);
            break;
        }
        wake(vsock, stream);
        /* fall through */
    case STREAM_ORPHAN:
        if (events & (EPOLLOUT | EPOLLERR) && unsent(stream))
            progress(vsock, stream);
        break;
    case STREAM_QUEUEING:
    case STREAM_DEAD:
        break;
    }
}
