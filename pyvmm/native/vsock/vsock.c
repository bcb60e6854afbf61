/* virtio-vsock (virtio 1.2, section 5.10): streams between ports of the guest and
 * sockets of the host.
 *
 * The guest has a context id (CID), the host is CID 2.  Every packet is a header
 * of 44 bytes, maybe with payload behind it, in one descriptor chain: of the TX
 * queue from the guest, of the RX queue to it.  A connection is a pair of ports:
 *
 *     guest  REQUEST ►   ◄ RESPONSE  host      or the other way round;
 *            RW ►           ◄ RW               RST in place of RESPONSE refuses
 *            ◄ CREDIT_UPDATE                   more may be sent
 *            SHUTDOWN ►  ◄ SHUTDOWN            "I send (or want) no more"
 *            ◄ RST                             it is over; also for what is unknown
 *
 * Each side keeps a buffer for what its application has not taken yet, and each
 * header tells the other side of it: buf_alloc is its size, fwd_cnt how many bytes
 * have ever been taken out of it, modulo 2^32.  So a sender may have
 *
 *     buf_alloc - (bytes ever sent - fwd_cnt)
 *
 * bytes more under way: its credit.  (Section 5.10.6.3.)
 *
 * All of it runs in one thread, vsock_turn() after vsock_turn(), without the GIL.
 * Payload goes between the guest's buffers and sockets by sendmsg and recvmsg; only
 * what a slow socket does not take is copied, within the credit that the guest was
 * given.  A guest that takes no packets stops the reading of sockets, and when
 * VSOCK_RESETS answers wait for it, of its own packets as well.  Python starts and
 * stops the thread when the driver starts and resets the device. */
#define _GNU_SOURCE
#include "vsock/vsock.h"
#include "host.h"
#include "sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define EVENTS 64
#define BATCH 64           /* packets each way before the other way has its turn */
#define INTERRUPT_EVERY 16 /* packets, so that a guest begins with them early */
#define PROBE_MS 5

enum { RX, TX }; /* section 5.10.2 */

static void wait_for(sem_t *semaphore)
{
    while (sem_wait(semaphore) < 0)
        ;
}

/* A device for a guest with context id `cid`.  Returns -1 with errno set. */
int vsock_init(struct vsock *vsock, uint64_t cid)
{
    memset(vsock, 0, sizeof *vsock);
    vsock->cid = cid;
    vsock->next_port = VSOCK_FIRST_PORT;
    vsock->wake.kind = VSOCK_WAKE;
    vsock->rx_kick.kind = vsock->tx_kick.kind = VSOCK_KICK;
    pthread_mutex_init(&vsock->note_lock, NULL);
    sem_init(&vsock->go, 0, 0);
    sem_init(&vsock->rests, 0, 0);
    vsock->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    vsock->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    vsock->note_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    vsock->wake.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (vsock->epoll_fd >= 0 && vsock->spare_fd >= 0 && vsock->note_fd >= 0 &&
        vsock->wake.fd >= 0 && vsock_watch(vsock, &vsock->wake, EPOLLIN | EPOLLET) == 0)
        return 0;
    int error = errno;
    vsock_close(vsock);
    errno = error;
    return -1;
}

/* Has the thread rest. */
static void stop_thread(struct vsock *vsock)
{
    if (!vsock->running)
        return;
    atomic_store(&vsock->stop, true);
    event_raise(vsock->wake.fd);
    wait_for(&vsock->rests);
    vsock->running = false;
}

/* The driver is ready: from now on vsock_turn() uses the queues of `mmio`. */
void vsock_activate(struct vsock *vsock, struct virtio_mmio *mmio, bool legacy)
{
    struct vsock_listener *listener;

    stop_thread(vsock); /* it may serve orphans of the driver before */
    vsock->mmio = mmio;
    vsock->legacy = legacy;
    vsock->active_since = clock_ns(CLOCK_MONOTONIC);
    vsock->listens_since = 0;
    vsock->rx = mmio->queue[RX].queue;
    vsock->tx = mmio->queue[TX].queue;
    vsock->rx_kick.fd = mmio->queue[RX].kick_fd;
    vsock->tx_kick.fd = mmio->queue[TX].kick_fd;
    /* Edge-triggered: each write is an event, and nobody need read them. */
    vsock_watch(vsock, &vsock->rx_kick, EPOLLIN | EPOLLET);
    vsock_watch(vsock, &vsock->tx_kick, EPOLLIN | EPOLLET);
    /* Clients have waited in the listening sockets' backlogs until now. */
    for (listener = vsock->listeners; listener; listener = listener->next)
        vsock_watch(vsock, &listener->source, EPOLLIN);
    queue_unwatch(vsock->rx);
    vsock->tx_pending = true; /* some drivers notify before they are ready */
}

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

static void interrupt_if_wanted(struct vsock *vsock)
{
    bool rx = queue_must_interrupt(vsock->rx), tx = queue_must_interrupt(vsock->tx);
    if (rx || tx)
        virtio_mmio_interrupt(vsock->mmio);
}

static void take_packets(struct vsock *vsock)
{
    queue_unwatch(vsock->tx);
    for (int i = 0; i < BATCH && !tx_stalls(vsock); i++) {
        int popped = queue_pop(vsock->tx, &vsock->tx_chain);
        if (popped < 0) {
            broken(vsock, TX, vsock->tx->error);
            break;
        }
        if (!popped) {
            vsock->tx_pending = false; /* vsock_wait() looks again */
            break;
        }
        take_packet(vsock, &vsock->tx_chain);
        gather_return(vsock);
        if (i % INTERRUPT_EVERY == INTERRUPT_EVERY - 1)
            interrupt_if_wanted(vsock);
    }
    gather_pass_on(vsock);
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
                broken(vsock, RX, vsock->rx->error);
                return;
            }
            vsock->has_rx = true;
        }
        if (give_packet(vsock) && ++i % INTERRUPT_EVERY == 0)
            interrupt_if_wanted(vsock);
    }
    queue_unwatch(vsock->rx);
}

/* ---- the thread ------------------------------------------------------------------- */

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
static void bury(struct vsock *vsock)
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
    bury(vsock);
    if (!vsock->mmio)
        return wait_for_orphans(vsock);
    if (vsock->broken)
        return -1;
    interrupt_if_wanted(vsock);
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

static void *vsock_thread(void *arg)
{
    struct vsock *vsock = arg;

    for (;;) {
        wait_for(&vsock->go);
        if (atomic_load(&vsock->end))
            return NULL;
        for (int timeout_ms = 0; !atomic_load(&vsock->stop);)
            timeout_ms = vsock_turn(vsock, timeout_ms);
        sem_post(&vsock->rests);
    }
}

static void *vsock_thread_confined(void *arg)
{
    struct vsock *vsock = arg;

    sandbox_thread(SANDBOX_RELAY, -1);
    sem_post(&vsock->rests);
    return vsock_thread(vsock);
}

/* Makes the thread, confined, before the device runs; afterwards none can be.  Returns 0
 * or an errno. */
int vsock_confine(struct vsock *vsock)
{
    int error = thread_start(&vsock->thread, "vsock", -1, vsock_thread_confined, vsock);

    vsock->has_thread = vsock->is_confined = !error;
    if (!error)
        wait_for(&vsock->rests);
    return error;
}

/* Runs the device in a thread of its own, if it is active or there are orphans.  Returns 0
 * or an errno. */
int vsock_start(struct vsock *vsock)
{
    int error = 0;

    if ((!vsock->mmio && !vsock->streams) || vsock->running)
        return 0;
    if (!vsock->has_thread)
        error = thread_start(&vsock->thread, "vsock", -1, vsock_thread, vsock);
    vsock->has_thread = vsock->running = !error;
    atomic_store(&vsock->stop, false);
    if (!error)
        sem_post(&vsock->go);
    return error;
}

/* Has the thread rest for a change of the queues, which get back what is not used yet;
 * streams stay, and vsock_start() goes on with them. */
void vsock_pause(struct vsock *vsock)
{
    stop_thread(vsock);
    if (vsock->has_rx)
        queue_unpop(vsock->rx);
    vsock->has_rx = vsock->starved = false;
    vsock->tx_pending = true;
}

/* Ends all streams on the host's side alone, and resets their peers, unless the kernel has
 * everything for them.  Ends the thread.  Returns how many were reset. */
uint32_t vsock_end_streams(struct vsock *vsock)
{
    uint32_t count = 0;

    stop_thread(vsock);
    while (vsock->streams) {
        bool lingers = vsock->streams->linger_until;
        count += !lingers;
        stream_end(vsock, vsock->streams, !lingers);
    }
    bury(vsock);
    vsock->reset_count = 0;
    return count;
}

/* Takes what the driver has put into TX before it went.  Answers are of no use now. */
static void take_last_packets(struct vsock *vsock)
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

/* The driver is gone, and new clients wait for the next.  Streams become orphans until what it
 * has sent is passed on, which needs turns; those that were not open yet are reset, and all are
 * if a queue is broken. */
void vsock_reset(struct vsock *vsock)
{
    struct vsock_listener *listener;
    struct vsock_stream *stream, *next;

    stop_thread(vsock);
    if (!vsock->mmio)
        return;
    if (vsock->broken)
        vsock_end_streams(vsock);
    else
        take_last_packets(vsock);
    for (stream = vsock->streams; stream; stream = next) {
        next = stream->next;
        if (stream->state == STREAM_OPEN)
            stream_orphan(vsock, stream);
        else if (stream->state != STREAM_ORPHAN)
            stream_end(vsock, stream, true);
    }
    bury(vsock);
    epoll_ctl(vsock->epoll_fd, EPOLL_CTL_DEL, vsock->rx_kick.fd, NULL);
    epoll_ctl(vsock->epoll_fd, EPOLL_CTL_DEL, vsock->tx_kick.fd, NULL);
    for (listener = vsock->listeners; listener; listener = listener->next)
        epoll_ctl(vsock->epoll_fd, EPOLL_CTL_DEL, listener->source.fd, NULL);
    vsock->mmio = NULL;
    vsock->reset_count = 0;
    vsock->has_rx = vsock->starved = vsock->tx_pending = vsock->broken = false;
    vsock_drop_fault(vsock);
}

/* One that is confined ends with the process: it may do no more than it has to. */
static void end_thread(struct vsock *vsock)
{
    if (!vsock->has_thread || vsock->is_confined)
        return;
    vsock->has_thread = false;
    atomic_store(&vsock->end, true);
    sem_post(&vsock->go);
    pthread_join(vsock->thread, NULL);
}

/* Frees all that the device has; sockets that listen are not its own. */
void vsock_close(struct vsock *vsock)
{
    int *fds[] = {&vsock->epoll_fd, &vsock->spare_fd, &vsock->note_fd, &vsock->wake.fd};

    vsock_end_streams(vsock);
    vsock_reset(vsock);
    end_thread(vsock);
    capture_flush(vsock);
    capture_end(vsock);
    host_forget(vsock);
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
        if (*fds[i] >= 0)
            close(*fds[i]);
        *fds[i] = -1;
    }
}
