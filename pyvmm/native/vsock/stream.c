/* The streams of a vsock device: a hash table by their ports, a list of those that
 * have something for the guest, and their end.
 *
 * Sockets are watched once, edge-triggered; what they can do is remembered until they
 * say EAGAIN.  (data.c moves what goes through them.) */
#include "vsock/vsock.h"
#include "host.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#define SHARE 16 /* a new stream gets this part of what is left of VSOCK_BUFFERS */

/* Has the thread watch what `source` stands for.  Returns -1 with errno set. */
int vsock_watch(struct vsock *vsock, struct vsock_source *source, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = source};
    return epoll_ctl(vsock->epoll_fd, EPOLL_CTL_ADD, source->fd, &event);
}

/* Calls stream_retry() for all streams after `ns`, or earlier if that is planned already. */
void vsock_retry_in(struct vsock *vsock, uint64_t ns)
{
    uint64_t at = clock_ns(CLOCK_MONOTONIC) + ns;

    if (!vsock->retry_at || at < vsock->retry_at)
        vsock->retry_at = at;
}

/* Answers a packet for ports that have no stream (any more). */
void vsock_add_reset(struct vsock *vsock, uint32_t guest_port, uint32_t host_port)
{
    uint32_t size = sizeof vsock->reset / sizeof *vsock->reset;
    uint32_t at = (vsock->reset_at + vsock->reset_count) % size;

    /* TX stops at VSOCK_RESETS, and a stream that the guest knows of adds one at
     * most: there is always room. */
    if (vsock->reset_count == size)
        return;
    vsock->reset[at][0] = guest_port;
    vsock->reset[at][1] = host_port;
    vsock->reset_count++;
}

/* ---- the table of streams ------------------------------------------------------- */

static struct vsock_stream **bucket(struct vsock *vsock, uint32_t guest_port, uint32_t host_port)
{
    return &vsock->bucket[(guest_port * 0x9e3779b1u ^ host_port) % VSOCK_STREAMS];
}

struct vsock_stream *stream_find(struct vsock *vsock, uint32_t guest_port, uint32_t host_port)
{
    struct vsock_stream *stream = *bucket(vsock, guest_port, host_port);

    while (stream && (stream->guest_port != guest_port || stream->host_port != host_port))
        stream = stream->next_in_bucket;
    return stream;
}

/* Has the thread watch the stream's socket.  Returns -1 with errno set. */
int stream_watch(struct vsock *vsock, struct vsock_stream *stream)
{
    return vsock_watch(vsock, &stream->source, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
}

/* A stream for socket `fd`, which it owns from then on.  Without memory, or with too
 * many streams, the socket is closed and the result is NULL. */
struct vsock_stream *stream_new(struct vsock *vsock, int fd, enum vsock_state state)
{
    struct vsock_stream *stream = NULL;
    uint32_t left, share;

    if (vsock->stream_count < VSOCK_STREAMS)
        stream = calloc(1, sizeof *stream);
    if (!stream) {
        close(fd);
        return NULL;
    }
    left = vsock->promised < VSOCK_BUFFERS ? VSOCK_BUFFERS - vsock->promised : 0;
    share = left / SHARE;
    stream->buf_alloc = share > VSOCK_BUFFER_MAX   ? VSOCK_BUFFER_MAX
                        : share < VSOCK_BUFFER_MIN ? VSOCK_BUFFER_MIN
                                                   : share;
    vsock->promised += stream->buf_alloc;
    vsock->stream_count++;
    stream->source = (struct vsock_source){VSOCK_STREAM, fd};
    stream->state = state;
    stream->next = vsock->streams;
    if (stream->next)
        stream->next->previous = stream;
    vsock->streams = stream;
    if (stream_watch(vsock, stream) < 0) {
        stream_end(vsock, stream, true);
        return NULL;
    }
    return stream;
}

/* Puts a stream into the table, under ports that no other has. */
void stream_name(struct vsock *vsock, struct vsock_stream *stream, uint32_t guest_port,
                 uint32_t host_port)
{
    struct vsock_stream **head = bucket(vsock, guest_port, host_port);

    stream->guest_port = guest_port;
    stream->host_port = host_port;
    stream->next_in_bucket = *head;
    *head = stream;
    stream->is_named = true;
}

void stream_unname(struct vsock *vsock, struct vsock_stream *stream)
{
    struct vsock_stream **at = bucket(vsock, stream->guest_port, stream->host_port);

    if (!stream->is_named)
        return;
    while (*at != stream)
        at = &(*at)->next_in_bucket;
    *at = stream->next_in_bucket;
    stream->is_named = false;
}

/* Lets the stream give a packet when it is its turn. */
void stream_ready(struct vsock *vsock, struct vsock_stream *stream)
{
    if (stream->is_ready)
        return;
    stream->is_ready = true;
    stream->previous_ready = vsock->last_ready;
    stream->next_ready = NULL;
    if (vsock->last_ready)
        vsock->last_ready->next_ready = stream;
    else
        vsock->first_ready = stream;
    vsock->last_ready = stream;
}

void stream_not_ready(struct vsock *vsock, struct vsock_stream *stream)
{
    if (!stream->is_ready)
        return;
    stream->is_ready = false;
    if (stream->previous_ready)
        stream->previous_ready->next_ready = stream->next_ready;
    else
        vsock->first_ready = stream->next_ready;
    if (stream->next_ready)
        stream->next_ready->previous_ready = stream->previous_ready;
    else
        vsock->last_ready = stream->previous_ready;
}

/* Closes a socket, with a reset of its peer if `abort`. */
void stream_close_socket(int fd, bool abort)
{
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};

    if (abort)
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
    close(fd);
}

/* Closes the stream's socket likewise, and forgets the stream; its memory stays until
 * the end of this turn. */
void stream_end(struct vsock *vsock, struct vsock_stream *stream, bool abort)
{
    vsock->counts.resets += abort;
    stream_close_socket(stream->source.fd, abort);
    stream_unname(vsock, stream);
    stream_not_ready(vsock, stream);
    free(stream->ring);
    stream->ring = NULL;
    stream->state = STREAM_DEAD;
    vsock->promised -= stream->buf_alloc;
    vsock->stream_count--;
    if (stream->previous)
        stream->previous->next = stream->next;
    else
        vsock->streams = stream->next;
    if (stream->next)
        stream->next->previous = stream->previous;
    stream->next = vsock->dead;
    vsock->dead = stream;
}

/* Ends a stream at once, on both sides. */
void stream_fail(struct vsock *vsock, struct vsock_stream *stream)
{
    if (stream->state == STREAM_CONNECTING || stream->state == STREAM_QUEUEING ||
        stream->state == STREAM_OPEN || (stream->state == STREAM_ASKING && stream->asked))
        vsock_add_reset(vsock, stream->guest_port, stream->host_port);
    stream_end(vsock, stream, true);
}
