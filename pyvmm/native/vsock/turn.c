/* A turn of vsock's thread: it waits for sockets and queues, takes the guest's packets, and gives it
 * those that are due. */
#define _GNU_SOURCE
#include "vsock/vsock.h"
#include "host.h"

#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>

#define EVENTS 64
#define BATCH 64           /* packets each way before the other way has its turn */
#define INTERRUPT_EVERY 16 /* packets, so that a guest begins with them early */
#define PROBE_MS 5

/* ---- descriptor chains ------------------------------------------------------- */

static void broken(struct vsock *vsock, uint32_t index, enum queue_error error)
{
    vsock->broken = true;
    vsock_add_note(vsock, (struct vsock_note){VSOCK_NOTE_BROKEN, index, error});
}

/* Takes the first `size` bytes off *iov, which moves on.  Returns false when there
 * are fewer.  With `write` they are set to `bytes`, else copied to it. */
static bool move_bytes(struct iovec **iov, uint32_t *count, uint8_t *bytes, size_t size,
                       bool write)
{
    while (size && *count) {
        size_t part = (*iov)->iov_len < size ? (*iov)->iov_len : size;
        memcpy(write ? (*iov)->iov_base : (void *)bytes,
               write ? (void *)bytes : (*iov)->iov_base, part);
        bytes += part;
        size -= part;
        (*iov)->iov_base = (uint8_t *)(*iov)->iov_base + part;
        (*iov)->iov_len -= part;
        if (!(*iov)->iov_len) {
            ++*iov;
            --*count;
        }
    }
    return !size;
}

/* ---- from the guest ----------------------------------------------------------- */

static void take_packet(struct vsock *vsock, struct chain *chain)
{
    struct iovec *payload = chain->iov;
    struct virtio_vsock_hdr header;
    uint32_t count = chain->readable;
    struct vsock_stream *stream;

    if (!move_bytes(&payload, &count, (uint8_t *)&header, sizeof header, false))
        return;
    if (vsock->capture)
        capture_packet(vsock, false, &header, payload, count);
    if (header.src_cid != vsock->cid || header.dst_cid != VSOCK_HOST_CID)
        return;
    gather_before(vsock, &header);
    stream = stream_find(vsock, header.src_port, header.dst_port);
    if (stream && header.type == VIRTIO_VSOCK_TYPE_STREAM) {
        if (stream_packet(vsock, stream, &header, payload, count))
            gather_add(vsock, stream, payload, header.len);
    } else if (header.op == VIRTIO_VSOCK_OP_REQUEST && header.type == VIRTIO_VSOCK_TYPE_STREAM)
        host_connect(vsock, &header);
    else if (header.op != VIRTIO_VSOCK_OP_RST)
        vsock_add_reset(vsock, header.src_port, header.dst_port);
}

/* A driver before version 1 counts no credit: it is stopped by TX itself while a
 * socket is slow. */
static bool tx_stalls(const struct vsock *vsock)
{
    if (vsock->reset_count >= VSOCK_RESETS)
        return true;
    if (vsock->legacy)
        for (const struct vsock_stream *stream = vsock->streams; stream; stream = stream->next)
            if (stream_stalls(stream))
                return true;
    return false;
}

/* Whether clients are about to send more. */
static bool expects_more(struct vsock *vsock)
{
    uint64_t now;

    if (!vsock->round.asked || virtio_mmio_has_line(vsock->mmio)) /* a PC's filter has no sched_yield() */
        return false;
    now = clock_ns(CLOCK_MONOTONIC);
    return now >= vsock->busy.until && round_waits(&vsock->round, now);
}

/* Interrupts the guest if it wants that, or not yet, with `may_wait`, if more is about to come for it.
 * Returns whether that is so. */
static bool interrupt(struct vsock *vsock, bool may_wait)
{
    bool rx, tx = queue_must_interrupt(vsock->tx);

    if (may_wait && !tx && expects_more(vsock))
        return true;
    rx = queue_must_interrupt(vsock->rx);
    if (rx || tx)
        virtio_mmio_interrupt(vsock->mmio);
    if (rx || tx || vsock->round.asked)
        round_end(&vsock->round);
    return false;
}

/* To be called after the last turn: an interrupt may have waited. */
void turn_pause(struct vsock *vsock)
{
    if (vsock->mmio && !vsock->broken)
        interrupt(vsock, false);
}

static void take_packets(struct vsock *vsock)
{
    queue_unwatch(vsock->tx);
    for (int i = 0; i < BATCH && !tx_stalls(vsock); i++) {
        int popped = queue_pop(vsock->tx, &vsock->tx_chain);
        if (popped < 0) {
            broken(vsock, VSOCK_TX, vsock->tx->error);
            break;
        }
        if (!popped) {
            vsock->tx_pending = false; /* vsock_wait() looks again */
            break;
        }
        take_packet(vsock, &vsock->tx_chain);
        gather_return(vsock);
        if (i % INTERRUPT_EVERY == INTERRUPT_EVERY - 1)
            interrupt(vsock, false);
    }
    gather_pass_on(vsock);
}

/* Takes what the driver has put into TX before it went.  Answers are of no use now. */
void turn_take_last(struct vsock *vsock)
{
    for (uint32_t i = 0; i < QUEUE_SIZE_MAX && !vsock->broken; i++) {
        int popped = vsock->tx->enabled ? queue_pop(vsock->tx, &vsock->tx_chain) : 0;
        if (popped <= 0)
            break;
        take_packet(vsock, &vsock->tx_chain);
        gather_return(vsock);
        vsock->reset_count = 0;
    }
    gather_pass_on(vsock);
    vsock->reset_count = 0;
}

/* ---- to the guest --------------------------------------------------------------- */

/* Fills rx_chain with the next packet.  Returns false when there was none after
 * all. */
static bool give_packet(struct vsock *vsock)
{
    struct chain *chain = &vsock->rx_chain;
    struct iovec *start = chain->iov + chain->readable, *iov = start;
    struct virtio_vsock_hdr header = {
        .src_cid = VSOCK_HOST_CID, .dst_cid = vsock->cid, .type = VIRTIO_VSOCK_TYPE_STREAM,
    };
    uint32_t total = chain->count - chain->readable, count = total;
    struct iovec payload[QUEUE_SIZE_MAX];
    uint8_t skipped[VSOCK_HEADER];

    if (vsock->reset_count) {
        header.op = VIRTIO_VSOCK_OP_RST;
        header.dst_port = vsock->reset[vsock->reset_at][0];
        header.src_port = vsock->reset[vsock->reset_at][1];
        vsock->reset_at = (vsock->reset_at + 1) % (sizeof vsock->reset / sizeof *vsock->reset);
        vsock->reset_count--;
    } else {
        struct vsock_stream *stream = vsock->first_ready;
        memcpy(payload, start, total * sizeof *payload);
        struct iovec *rest = payload;
        move_bytes(&rest, &count, skipped, sizeof skipped, false);
        if (!stream_next(vsock, stream, &header, rest, count))
            return false;
        if (header.len)
            round_asked(&vsock->round, &stream->answered_in);
        count = total;
    }
    move_bytes(&iov, &count, (uint8_t *)&header, sizeof header, true);
    if (vsock->capture)
        capture_packet(vsock, true, &header, iov, count);
    queue_push(vsock->rx, chain->head, (uint32_t)sizeof header + header.len);
    vsock->has_rx = false;
    return true;
}

static bool has_packets(const struct vsock *vsock)
{
    return vsock->reset_count || vsock->first_ready;
}

static void give_packets(struct vsock *vsock)
{
    for (int i = 0; has_packets(vsock) && i < BATCH;) {
        if (!vsock->has_rx) {
            int popped = queue_pop(vsock->rx, &vsock->rx_chain);
            vsock->starved = !popped && !queue_watch(vsock->rx);
            if (vsock->starved)
                return; /* the guest tells when it has buffers again */
            if (!popped)
                continue;
            if (popped < 0 || vsock->rx_chain.writable_bytes < VSOCK_HEADER) {
                broken(vsock, VSOCK_RX, vsock->rx->error);
                return;
            }
            vsock->has_rx = true;
        }
        if (give_packet(vsock) && ++i % INTERRUPT_EVERY == 0)
            interrupt(vsock, false);
    }
    queue_unwatch(vsock->rx);
}

/* ---- a turn ------------------------------------------------------------------------ */

static void dispatch(struct vsock *vsock, struct vsock_source *source, uint32_t events)
{
    switch (source->kind) {
    case VSOCK_WAKE:
        break;
    case VSOCK_KICK:
        if (source == &vsock->tx_kick)
            vsock->tx_pending = true;
        else
            vsock->starved = false;
        break;
    case VSOCK_LISTENER:
    case VSOCK_UNIX_LISTENER:
        host_accept(vsock, (struct vsock_listener *)source);
        break;
    case VSOCK_STREAM:
        stream_event(vsock, (struct vsock_stream *)source, events);
    }
}

/* A driver before version 1 does not tell when it has room again: it is asked.
 * Returns whether it must be asked again. */
static bool probe(struct vsock *vsock)
{
    struct vsock_stream *stream;
    bool waiting = false;

    for (stream = vsock->streams; vsock->legacy && stream; stream = stream->next)
        waiting |= stream_probe(vsock, stream);
    return waiting;
}

/* Tries again, when that is due, what a stream was refused.  Returns in how many ms it will be
 * due (0: it was now), or -1: nothing waits for it. */
static int retry(struct vsock *vsock)
{
    struct vsock_stream *stream = vsock->streams, *newer;
    uint64_t now;

    if (!vsock->retry_at)
        return -1;
    now = clock_ns(CLOCK_MONOTONIC);
    if (now < vsock->retry_at)
        return (int)((vsock->retry_at - now) / 1000000) + 1;
    vsock->retry_at = 0;
    while (stream && stream->next)
        stream = stream->next;
    for (; stream; stream = newer) { /* the oldest has waited longest */
        newer = stream->previous;
        stream_retry(vsock, stream);
    }
    return 0;
}

/* Frees streams that ended in this turn; epoll may have pointed at them. */
void turn_bury(struct vsock *vsock)
{
    struct vsock_stream *stream;

    while ((stream = vsock->dead)) {
        vsock->dead = stream->next;
        free(stream);
    }
}

/* Returns how long the next turn may wait while there is no driver.  Python is told when the
 * last orphan has ended. */
static int wait_for_orphans(struct vsock *vsock)
{
    if (!vsock->streams)
        event_raise(vsock->note_fd);
    return retry(vsock);
}

/* Serves `count` events, and the queues.  Returns for how long the next turn may wait. */
static int serve(struct vsock *vsock, const struct epoll_event *event, int count)
{
    int timeout_ms;

    for (int i = 0; i < count; i++)
        dispatch(vsock, event[i].data.ptr, event[i].events);
    retry(vsock);
    if (vsock->mmio && vsock->tx_pending && !vsock->broken)
        take_packets(vsock);
    if (vsock->mmio && !vsock->starved && !vsock->broken)
        give_packets(vsock);
    turn_bury(vsock);
    if (!vsock->mmio)
        return wait_for_orphans(vsock);
    if (vsock->broken)
        return -1;
    if (interrupt(vsock, true))
        return 0;
    if ((vsock->tx_pending && !tx_stalls(vsock)) || (has_packets(vsock) && !vsock->starved))
        return 0;
    timeout_ms = retry(vsock);
    if (probe(vsock) && (timeout_ms < 0 || timeout_ms > PROBE_MS))
        timeout_ms = PROBE_MS;
    return timeout_ms;
}

/* Waits up to `timeout_ms` (-1: for ever) until there is something to do, and does
 * it.  Returns for how long the next turn may wait. */
int vsock_turn(struct vsock *vsock, int timeout_ms)
{
    struct epoll_event event[EVENTS];
    uint64_t start;
    int count;

    count = vsock_wait(vsock, event, EVENTS, timeout_ms);
    start = vsock->trace ? clock_ns(CLOCK_MONOTONIC) : 0;
    timeout_ms = serve(vsock, event, count);
    if (start)
        trace_add(vsock->trace, (struct trace_span){.start = start, .end = clock_ns(CLOCK_MONOTONIC),
                                                    .count = count > 0 ? (uint32_t)count : 0});
    return timeout_ms;
}
