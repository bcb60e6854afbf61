/* What comes early: clients before the guest listens, and data before it accepts. */
#include "vsock/vsock.h"
#include "host.h"

#include <errno.h>
#include <time.h>

#define LISTEN_GRACE (1000 * VSOCK_MS) /* from a guest's first accept until a refusal counts */
#define RETRY_LEAST (2 * VSOCK_MS)
#define RETRY_MOST (200 * VSOCK_MS)
#define OFFERED_MOST (60000 * VSOCK_MS) /* what nobody takes of a client that sends no more */

/* How long to wait before something is tried again that was refused for so long; ns. */
static uint64_t retry_after(uint64_t waited)
{
    uint64_t delay = waited / 8;

    return delay < RETRY_LEAST ? RETRY_LEAST : delay > RETRY_MOST ? RETRY_MOST : delay;
}

/* ---- clients that come before the guest listens ----------------------------------------
 *
 * The driver is up long before the application listens: between the two may be the mount of
 * a share.  The guest answers REQUEST by RST then, as it does for a port that nobody will
 * ever listen on.  So as long as a guest has not accepted anybody, and for LISTEN_GRACE from
 * then on, a refused client waits and is asked for again. */
void early_refused(struct vsock *vsock, struct vsock_stream *stream)
{
    uint64_t now = clock_ns(CLOCK_MONOTONIC);

    if (vsock->listens_since && now - vsock->listens_since >= LISTEN_GRACE) {
        stream_end(vsock, stream, true);
        return;
    }
    stream->refused = true;
    vsock_retry_in(vsock, retry_after(now - vsock->active_since));
}

/* The guest accepts a client, and maybe others by now. */
void early_accepted(struct vsock *vsock, struct vsock_stream *stream)
{
    uint64_t now = clock_ns(CLOCK_MONOTONIC);

    stream->untaken = vsock->legacy;
    if (!vsock->listens_since)
        vsock->listens_since = now;
    if (vsock->retry_at)
        vsock->retry_at = now;
}

/* ---- data that comes before the guest accepts ----------------------------------------------
 *
 * Existing Toro kernels answer REQUEST by RESPONSE themselves, and keep the connection for
 * the application's accept().  Data that arrives earlier they answer by RST, and drop, but
 * the connection stays where it is.  So until such a driver is known to have taken
 * something, data is only looked at in its socket (MSG_PEEK), one packet at a time: if RST
 * comes back it is sent again, later and later; CREDIT_UPDATE says that it was taken, and
 * data of the guest that its application has accepted. */

/* Such a driver is sent `size` bytes. */
void early_offered(struct vsock_stream *stream, uint32_t size)
{
    stream->offered = size;
    if (!stream->offered_since)
        stream->offered_since = clock_ns(CLOCK_MONOTONIC);
}

/* Whether an RST of the guest says only that it did not take them. */
bool early_is_untaken(const struct vsock_stream *stream)
{
    return stream->state == STREAM_OPEN && stream->untaken && stream->offered && !stream->guest_ended;
}

void early_offer_again(struct vsock *vsock, struct vsock_stream *stream)
{
    uint64_t waited = clock_ns(CLOCK_MONOTONIC) - stream->offered_since;

    /* Its client may have gone, and the guest's side as well, without a word of either. */
    if (stream->hung_up && waited > OFFERED_MOST) {
        stream_fail(vsock, stream);
        return;
    }
    stream->sent -= stream->offered;
    stream->offered = stream->packets = 0;
    stream->refused = true;
    vsock_retry_in(vsock, retry_after(waited));
}

/* The guest has data: takes it out of the socket.  Returns false if that has failed. */
bool early_was_taken(struct vsock_stream *stream)
{
    uint8_t taken[4096];

    stream->untaken = stream->refused = false;
    while (stream->offered) {
        uint32_t part = stream->offered < sizeof taken ? stream->offered : sizeof taken;
        ssize_t got = host_receive(stream->source.fd, taken, part, 0);

        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return false;
        stream->offered -= (uint32_t)got;
    }
    return true;
}
