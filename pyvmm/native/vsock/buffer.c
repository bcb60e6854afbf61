/* The credit of a vsock stream, and the buffer for what its socket has not taken yet.
 *
 * Drivers of existing Toro kernels, which do not know VIRTIO_F_VERSION_1, count
 * otherwise: they have a buffer of 16 KiB that is empty again only when the application
 * has taken all of it; they acknowledge each RW by a CREDIT_UPDATE whose fwd_cnt says
 * how full it was then, and say nothing when it has become empty.  So what they may hold
 * is that and all that was sent since; when there is no room, an RW without payload asks
 * them anew.  They take fwd_cnt of the host's headers for what is in its buffer, so it
 * is always told as 0, and TX waits in place of it. */
#include "vsock/vsock.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LEGACY_WINDOW 16000      /* bytes, of the 16 KiB that such a driver has */
#define LEGACY_PACKET (64 << 10) /* the most it sends at once */

/* Bytes that the guest can take now. */
uint32_t stream_room(const struct vsock *vsock, const struct vsock_stream *stream)
{
    uint32_t window = stream->peer_alloc, under_way = stream->sent - stream->peer_taken;

    if (vsock->legacy && window > LEGACY_WINDOW)
        window = LEGACY_WINDOW;
    if (under_way > INT32_MAX) /* it says to have taken more than there was */
        under_way = 0;
    return under_way < window ? window - under_way : 0;
}

/* Takes the credit that a header of the guest tells. */
void stream_take_credit(const struct vsock *vsock, struct vsock_stream *stream,
                        const struct virtio_vsock_hdr *header)
{
    if (!vsock->legacy) {
        stream->peer_alloc = header->buf_alloc;
        stream->peer_taken = header->fwd_cnt;
        return;
    }
    if (header->op == VIRTIO_VSOCK_OP_RST) /* made for no connection, and with no buffer */
        return;
    stream->peer_alloc = header->buf_alloc;
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
    return stream->state == STREAM_OPEN && stream->buf_alloc - stream_unsent(stream) < least;
}

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

/* Passes on payload of `size` bytes that the guest had credit for. */
bool stream_receive(struct vsock_stream *stream, struct iovec *payload, uint32_t count, uint32_t size)
{
    uint32_t held = stream_unsent(stream);
    ssize_t sent = 0;

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
bool stream_flush(struct vsock_stream *stream)
{
    while (stream_unsent(stream) && stream->writable) {
        uint32_t size = stream_unsent(stream), first = stream->buf_alloc - stream->ring_at;
        struct iovec iov[2] = {{stream->ring + stream->ring_at, size < first ? size : first},
                               {stream->ring, size < first ? 0 : size - first}};
        ssize_t sent = send_some(stream, iov, 2);
        if (sent < 0)
            return false;
        stream->ring_at = (stream->ring_at + (uint32_t)sent) % stream->buf_alloc;
    }
    if (!stream_unsent(stream)) {
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
