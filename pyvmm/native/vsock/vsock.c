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
    vsock->round.number = vsock->busy.times = 1;
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
    vsock->rx = mmio->queue[VSOCK_RX].queue;
    vsock->tx = mmio->queue[VSOCK_TX].queue;
    vsock->rx_kick.fd = mmio->queue[VSOCK_RX].kick_fd;
    vsock->tx_kick.fd = mmio->queue[VSOCK_TX].kick_fd;
    /* Edge-triggered: each write is an event, and nobody need read them. */
    vsock_watch(vsock, &vsock->rx_kick, EPOLLIN | EPOLLET);
    vsock_watch(vsock, &vsock->tx_kick, EPOLLIN | EPOLLET);
    /* Clients have waited in the listening sockets' backlogs until now. */
    for (listener = vsock->listeners; listener; listener = listener->next)
        vsock_watch(vsock, &listener->source, EPOLLIN);
    queue_unwatch(vsock->rx);
    vsock->tx_pending = true; /* some drivers notify before they are ready */
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
    int error = thread_start(&vsock->thread, "vsock", NULL, vsock_thread_confined, vsock);

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
        error = thread_start(&vsock->thread, "vsock", NULL, vsock_thread, vsock);
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
    turn_pause(vsock);
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
    turn_bury(vsock);
    vsock->reset_count = 0;
    return count;
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
        turn_take_last(vsock);
    for (stream = vsock->streams; stream; stream = next) {
        next = stream->next;
        if (stream->state == STREAM_OPEN)
            stream_orphan(vsock, stream);
        else if (stream->state != STREAM_ORPHAN)
            stream_end(vsock, stream, true);
    }
    turn_bury(vsock);
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
