/* How vsock's thread waits.
 *
 * A notification costs the guest an exit, and a thread that sleeps takes a while to wake up.  So the
 * guest is asked to notify only when the thread is about to sleep, and where waits are short the
 * thread polls before, as KVM does for a vCPU that halts: the time for that grows as long as waits
 * are short, and is 0 after a long one.  A PC's guest has exits for each interrupt anyway. */
#include "vsock/vsock.h"
#include "host.h"

#include <sched.h>
#include <sys/epoll.h>
#include <time.h>

#define POLL_MIN 10000ull  /* ns */
#define POLL_MAX 100000ull /* about what a notification and a wake-up take together */
#define BUSY 200000ull     /* a thread that runs for so long has work of its own */
#define BUSY_TIMES 128     /* after so many times as long such a thread is given way to again: it costs 1 % */
#define BUSY_AGAIN (100 * VSOCK_MS) /* what runs so long only later may be something else, such as the host's host */
#define SLICE (10 * VSOCK_MS) /* the longest that counts: what takes longer was no thread, but SIGSTOP */
/* Bytes from the guest in a turn: answers to many clients, rather than to a few or bulk. */
#define ANSWERS_MIN (4u << 10)
#define ANSWERS_MAX (16u << 10)

/* Others have run from `before` to `now` (CLOCK_MONOTONIC in ns).  Returns whether that was so long that
 * they need this CPU; until when they do is longer each time. */
bool busy_noticed(struct vsock_busy *busy, uint64_t before, uint64_t now)
{
    uint64_t ran = now - before;

    if (ran <= BUSY)
        return false;
    if (before > busy->until + BUSY_AGAIN)
        busy->times = 1;
    else if (busy->times < BUSY_TIMES)
        busy->times *= 2;
    busy->until = now + busy->times * (ran < SLICE ? ran : SLICE);
    return true;
}

/* Lets other threads run; not any more for some time once one has run for so long that it does not
 * wait for this one.  Returns the time; it was `before`. */
static uint64_t give_way(struct vsock *vsock, uint64_t before)
{
    uint64_t now;

    sched_yield();
    now = clock_ns(CLOCK_MONOTONIC);
    if (busy_noticed(&vsock->busy, before, now))
        vsock->poll_ns = 0;
    return now;
}

/* Lets clients run that the guest has just answered, if they are many: they may share this CPU, and ask
 * again before the thread looks for requests. */
static void let_clients_ask(struct vsock *vsock)
{
    uint64_t passed_on = vsock->counts.from_guest - vsock->passed_on, now;

    vsock->passed_on += passed_on;
    if (passed_on < ANSWERS_MIN || passed_on > ANSWERS_MAX)
        return;
    now = clock_ns(CLOCK_MONOTONIC);
    if (now > vsock->busy.until)
        give_way(vsock, now);
}

/* Polls for a while, and lets other threads run meanwhile.  Returns as epoll_wait() does; 0 also when
 * there are chains in TX. */
static int poll_first(struct vsock *vsock, struct epoll_event *event, int most)
{
    uint64_t now = clock_ns(CLOCK_MONOTONIC), end = now + vsock->poll_ns;
    int count;

    do {
        count = epoll_wait(vsock->epoll_fd, event, most, 0);
        if (count || queue_has_chains(vsock->tx))
            return count;
        now = give_way(vsock, now);
    } while (now < end);
    return 0;
}

/* Waits as epoll_wait() does, for the guest as well. */
int vsock_wait(struct vsock *vsock, struct epoll_event *event, int most, int timeout_ms)
{
    bool serves = vsock->mmio && !vsock->broken && !vsock->tx_pending;
    bool yields = vsock->mmio && !virtio_mmio_has_line(vsock->mmio); /* else its filter has no sched_yield() */
    uint64_t start, now;
    int count;

    if (yields)
        let_clients_ask(vsock);
    if (timeout_ms && serves && yields && vsock->poll_ns) {
        count = poll_first(vsock, event, most);
        if (count)
            return count;
    }
    if (serves && (timeout_ms ? queue_watch(vsock->tx) : queue_has_chains(vsock->tx))) {
        vsock->tx_pending = true;
        timeout_ms = 0;
    }
    if (!timeout_ms) {
        count = epoll_wait(vsock->epoll_fd, event, most, 0);
        if (!count && vsock->round.wait_until)
            give_way(vsock, clock_ns(CLOCK_MONOTONIC));
        return count;
    }
    if (vsock->capture)
        capture_flush(vsock);
    start = clock_ns(CLOCK_MONOTONIC);
    count = epoll_wait(vsock->epoll_fd, event, most, timeout_ms);
    now = clock_ns(CLOCK_MONOTONIC);
    if (now - start > POLL_MAX)
        vsock->poll_ns = 0;
    else if (vsock->poll_ns < POLL_MAX && now > vsock->busy.until)
        vsock->poll_ns = vsock->poll_ns ? 2 * vsock->poll_ns : POLL_MIN;
    return count;
}
