/* virtio-vsock (virtio 1.2, section 5.10): what this folder share. */
#ifndef PYVMM_VSOCK_H
#define PYVMM_VSOCK_H

#include "trace.h"
#include "virtio/mmio.h"

#include <linux/virtio_vsock.h>
#include <semaphore.h>
#include <sys/socket.h>
#include <sys/un.h>

#define VSOCK_HEADER sizeof(struct virtio_vsock_hdr)
#define VSOCK_HOST_CID 2
#define VSOCK_ANY_PORT 0xffffffffu /* VMADDR_PORT_ANY */

/* Bounds; docs/limits.md states them. */
#define VSOCK_STREAMS 4096                /* connections at a time */
#define VSOCK_BUFFER_MAX (256u << 10)     /* buf_alloc of a connection, bytes */
#define VSOCK_BUFFER_MIN (16u << 10)      /* of one when there are very many */
#define VSOCK_BUFFERS (64u << 20)         /* all of them share this, but for the minimum */
#define VSOCK_RESETS 256                  /* RSTs that wait before TX is left alone */
#define VSOCK_NOTES 16                    /* lines that wait for Python to log them */
#define VSOCK_GATHERED 16                 /* packets that go to a socket at once */
#define VSOCK_GATHERED_BUFFERS 512        /* of these: IOV_MAX is 1024 */

#define VSOCK_FIRST_PORT (1u << 30) /* of the host's side of clients */
#define VSOCK_LAST_PORT ((1u << 31) - 1)

#define VSOCK_MS 1000000ull
#define VSOCK_BACKLOG_RETRY (10 * VSOCK_MS) /* until a full backlog is tried again */
#define VSOCK_LINGER_RETRY (50 * VSOCK_MS)  /* until an orphan's socket is looked at again */

enum { VSOCK_RX, VSOCK_TX }; /* section 5.10.2 */

enum vsock_kind { VSOCK_WAKE, VSOCK_KICK, VSOCK_LISTENER, VSOCK_UNIX_LISTENER, VSOCK_STREAM };

/* What epoll points back at: the first member of what has a descriptor. */
struct vsock_source {
    enum vsock_kind kind;
    int fd;
};

struct vsock_listener {
    struct vsock_source source;
    uint32_t guest_port;
    struct vsock_listener *next;
};

/* Where a port of CID 2 leads.  A port may have several addresses, which are tried in
 * order. */
struct vsock_target {
    uint32_t port; /* VSOCK_ANY_PORT: all others, each to the same port there */
    struct sockaddr_storage address;
    socklen_t length;
    struct vsock_target *next;
};

enum vsock_state {
    STREAM_GREETING,   /* a client of the unix socket; it has not named a port yet */
    STREAM_CONNECTING, /* the guest asked, and the host's socket is being connected */
    STREAM_QUEUEING,   /* the same, but the unix socket's backlog is full */
    STREAM_ASKING,     /* the host asked, and the guest has not answered */
    STREAM_OPEN,
    STREAM_ORPHAN,     /* it is over for the guest; what it sent is still on its way */
    STREAM_DEAD,
};

/* A connection: a port of the guest, a port of CID 2, and a socket. */
struct vsock_stream {
    struct vsock_source source;
    enum vsock_state state;
    uint32_t guest_port, host_port;
    bool unix_client; /* expects a line when the guest has answered */
    const struct vsock_target *target; /* the address to try if this one refuses */

    /* What the socket can do; edge-triggered epoll tells of changes. */
    bool readable, writable, hung_up;

    /* What the guest has still to be told. */
    bool asked;   /* REQUEST was sent */
    bool refused; /* ... and answered by RST; it is to be sent again */
    bool respond; /* RESPONSE is due */
    bool credit;  /* CREDIT_UPDATE is due */
    bool probe;   /* a driver before version 1 is to be asked for its room */

    /* Directions that have ended. */
    bool host_ended, guest_ended, shut;

    /* Guest to host, in bytes since the beginning, modulo 2^32. */
    uint32_t buf_alloc, received, forwarded, told;
    uint8_t *ring; /* of buf_alloc bytes: what the socket has not taken yet */
    uint32_t ring_at;

    /* Host to guest. */
    uint32_t sent, peer_alloc, peer_taken;
    uint32_t packets; /* a driver before version 1 has not acknowledged yet */
    bool untaken;     /* ... and does not take data, as nobody has accepted the connection there */
    uint32_t offered; /* bytes that it was sent all the same, and that the socket keeps until then */
    uint64_t offered_since; /* the first of these tries; CLOCK_MONOTONIC in ns, 0: there was none */

    uint64_t linger_until; /* of an orphan that has passed on everything; CLOCK_MONOTONIC in ns */

    struct vsock_stream *next_in_bucket;          /* of the hash table */
    struct vsock_stream *previous_ready, *next_ready; /* of those with something for the guest */
    struct vsock_stream *previous, *next;         /* of all */
    bool is_ready, is_named;
    uint32_t answered_in; /* the number of a round, or 0 */
};

PYTHON enum vsock_note_kind {
    VSOCK_NOTE_FORBIDDEN,  /* the guest may not connect to port `value` */
    VSOCK_NOTE_REFUSED,    /* a client was refused; `value` is an errno, or 0: too many streams */
    VSOCK_NOTE_CAPTURE,    /* the capture has ended; `value` is an errno */
    VSOCK_NOTE_BROKEN,     /* queue `value` is: its `error`, or QUEUE_OK: no room for a header */
};

PYTHON struct vsock_note {
    enum vsock_note_kind kind;
    uint32_t value;
    enum queue_error error;
};

/* What has been counted since the device was made. */
PYTHON struct vsock_counts {
    uint64_t connections; /* that both sides have agreed to */
    uint64_t resets;      /* of connections that failed, or were refused */
    uint64_t stalls;      /* times that a connection has used up the guest's credit */
    uint64_t to_guest, from_guest; /* bytes of payload */
};

/* What has happened since the guest was interrupted last: see round.c. */
PYTHON struct vsock_round {
    uint32_t number;     /* not 0 */
    uint32_t answered;   /* streams whose client the guest has sent data */
    uint32_t asked;      /* of these, whose client has sent some since */
    uint32_t vain;       /* rounds left that do not wait */
    uint64_t size;       /* of what the guest has sent, bytes */
    uint64_t wait_until; /* CLOCK_MONOTONIC in ns; 0: it does not wait */
};

/* Whether others need the thread's CPU: see wait.c. */
PYTHON struct vsock_busy {
    uint64_t until; /* CLOCK_MONOTONIC in ns */
    uint32_t times; /* that is so many times as long as the last one ran; not 0 */
};

/* What goes to a stream's socket at once. */
struct vsock_gathered {
    struct vsock_stream *stream; /* NULL: nothing */
    uint32_t size, count, chains;
    struct iovec iov[VSOCK_GATHERED_BUFFERS];
    uint16_t chain[VSOCK_GATHERED]; /* that the guest does not have back yet */
};

struct vsock {
    uint64_t cid;
    struct vsock_counts counts; /* written by the thread alone */
    struct trace *trace;     /* of all turns; NULL: there is none */
    struct capture *capture; /* of all packets; NULL: there is none */
    struct virtio_mmio *mmio;
    struct queue *rx, *tx;
    bool legacy; /* the driver knows nothing of VIRTIO_F_VERSION_1 */

    int epoll_fd, spare_fd;
    int note_fd; /* eventfd: there is a note */
    struct vsock_source wake, rx_kick, tx_kick;
    pthread_t thread;
    bool has_thread, is_confined, running;
    atomic_bool stop, end;
    sem_t go, rests; /* the thread begins to run; it does nothing any more */

    /* Which ways lead in: the thread knows those that its epoll set points at. */
    struct vsock_listener *listeners;
    /* And out: constant while the thread runs. */
    struct vsock_target *targets;
    char unix_path[sizeof(((struct sockaddr_un *)0)->sun_path)];

    struct vsock_stream *bucket[VSOCK_STREAMS], *streams, *dead;
    struct vsock_stream *first_ready, *last_ready;
    uint32_t stream_count, promised, next_port;

    /* RSTs for ports that have no stream (any more): guest's, host's. */
    uint32_t reset[2 * VSOCK_STREAMS][2], reset_at, reset_count;

    /* A guest that does not listen yet refuses clients as well: see early_refused(). */
    uint64_t active_since; /* CLOCK_MONOTONIC in ns, as the following */
    uint64_t listens_since; /* it has accepted a client; 0: none yet */
    uint64_t retry_at;      /* when to call stream_retry() for all; 0: no stream needs it */

    uint64_t poll_ns;        /* for how long it polls before it waits */
    uint64_t passed_on;      /* counts.from_guest before the last turn */
    struct vsock_round round;
    struct vsock_busy busy;
    bool tx_pending;         /* chains may be in TX */
    bool starved;            /* RX has no buffers for what waits */
    bool has_rx;             /* rx_chain is popped and not used yet */
    struct chain rx_chain, tx_chain;
    struct vsock_gathered gathered; /* empty between turns */
    bool broken;             /* a queue is; the note says which */

    pthread_mutex_t note_lock;
    struct vsock_note note[VSOCK_NOTES + 1]; /* the last is for VSOCK_NOTE_BROKEN */
    uint32_t note_count;
};

/* vsock.c */
PYTHON int vsock_init(struct vsock *vsock, uint64_t cid);
PYTHON void vsock_activate(struct vsock *vsock, struct virtio_mmio *mmio, bool legacy);
PYTHON int vsock_confine(struct vsock *vsock);
PYTHON int vsock_start(struct vsock *vsock);
PYTHON void vsock_pause(struct vsock *vsock);
PYTHON void vsock_reset(struct vsock *vsock);
PYTHON uint32_t vsock_end_streams(struct vsock *vsock);
PYTHON void vsock_close(struct vsock *vsock);

/* turn.c */
PYTHON int vsock_turn(struct vsock *vsock, int timeout_ms);
void turn_take_last(struct vsock *vsock);
void turn_bury(struct vsock *vsock);
void turn_pause(struct vsock *vsock);

/* wait.c */
struct epoll_event;
int vsock_wait(struct vsock *vsock, struct epoll_event *event, int most, int timeout_ms);
PYTHON bool busy_noticed(struct vsock_busy *busy, uint64_t before, uint64_t now);

/* round.c */
PYTHON void round_answered(struct vsock_round *round, uint32_t *answered_in, uint32_t size);
PYTHON void round_asked(struct vsock_round *round, uint32_t *answered_in);
PYTHON bool round_waits(struct vsock_round *round, uint64_t now);
PYTHON void round_end(struct vsock_round *round);

/* stream.c */
int vsock_watch(struct vsock *vsock, struct vsock_source *source, uint32_t events);
void vsock_retry_in(struct vsock *vsock, uint64_t ns);
void vsock_add_reset(struct vsock *vsock, uint32_t guest_port, uint32_t host_port);
int stream_watch(struct vsock *vsock, struct vsock_stream *stream);
struct vsock_stream *stream_new(struct vsock *vsock, int fd, enum vsock_state state);
struct vsock_stream *stream_find(struct vsock *vsock, uint32_t guest_port, uint32_t host_port);
void stream_name(struct vsock *vsock, struct vsock_stream *stream, uint32_t guest_port,
                 uint32_t host_port);
void stream_unname(struct vsock *vsock, struct vsock_stream *stream);
void stream_ready(struct vsock *vsock, struct vsock_stream *stream);
void stream_not_ready(struct vsock *vsock, struct vsock_stream *stream);
void stream_fail(struct vsock *vsock, struct vsock_stream *stream);
void stream_end(struct vsock *vsock, struct vsock_stream *stream, bool abort);
void stream_close_socket(int fd, bool abort);

/* buffer.c */
uint32_t stream_room(const struct vsock *vsock, const struct vsock_stream *stream);
void stream_take_credit(const struct vsock *vsock, struct vsock_stream *stream,
                        const struct virtio_vsock_hdr *header);
bool stream_stalls(const struct vsock_stream *stream);
bool stream_receive(struct vsock_stream *stream, struct iovec *payload, uint32_t count, uint32_t size);
bool stream_flush(struct vsock_stream *stream);

/* Bytes of the guest that the socket has not taken. */
static inline uint32_t stream_unsent(const struct vsock_stream *stream)
{
    return stream->received - stream->forwarded;
}

/* capture.c */
PYTHON int vsock_capture(struct vsock *vsock, int fd);
void capture_packet(struct vsock *vsock, bool to_guest, const struct virtio_vsock_hdr *header,
                    const struct iovec *payload, uint32_t count);
void capture_flush(struct vsock *vsock);
void capture_end(struct vsock *vsock);

/* early.c */
void early_refused(struct vsock *vsock, struct vsock_stream *stream);
void early_accepted(struct vsock *vsock, struct vsock_stream *stream);
void early_offered(struct vsock_stream *stream, uint32_t size);
bool early_is_untaken(const struct vsock_stream *stream);
void early_offer_again(struct vsock *vsock, struct vsock_stream *stream);
bool early_was_taken(struct vsock_stream *stream);

/* data.c */
bool stream_packet(struct vsock *vsock, struct vsock_stream *stream,
                   const struct virtio_vsock_hdr *header, const struct iovec *payload, uint32_t count);
void stream_pass_on(struct vsock *vsock, struct vsock_stream *stream, struct iovec *payload, uint32_t count,
                    uint32_t size);
bool stream_next(struct vsock *vsock, struct vsock_stream *stream,
                 struct virtio_vsock_hdr *header, struct iovec *payload, uint32_t count);
void stream_event(struct vsock *vsock, struct vsock_stream *stream, uint32_t events);
bool stream_probe(struct vsock *vsock, struct vsock_stream *stream);
void stream_retry(struct vsock *vsock, struct vsock_stream *stream);
void stream_orphan(struct vsock *vsock, struct vsock_stream *stream);

/* gather.c */
void gather_before(struct vsock *vsock, const struct virtio_vsock_hdr *header);
void gather_add(struct vsock *vsock, struct vsock_stream *stream, const struct iovec *payload, uint32_t size);
void gather_return(struct vsock *vsock);
void gather_pass_on(struct vsock *vsock);

/* host.c */
PYTHON int vsock_listen(struct vsock *vsock, int fd, uint32_t guest_port);
PYTHON int vsock_listen_unix(struct vsock *vsock, int fd, const char *path);
PYTHON int vsock_allow(struct vsock *vsock, uint32_t port, const uint8_t *address, uint32_t length);
PYTHON bool vsock_take_note(struct vsock *vsock, struct vsock_note *note);
void vsock_add_note(struct vsock *vsock, struct vsock_note note);
void vsock_drop_fault(struct vsock *vsock);
void host_accept(struct vsock *vsock, struct vsock_listener *listener);
void host_greet(struct vsock *vsock, struct vsock_stream *stream);
void host_connect(struct vsock *vsock, const struct virtio_vsock_hdr *header);
int host_connected(struct vsock *vsock, struct vsock_stream *stream);
int host_connect_again(const struct vsock *vsock, struct vsock_stream *stream);
bool host_answer(const struct vsock_stream *stream);
ssize_t host_receive(int fd, void *data, size_t size, int flags);
void host_forget(struct vsock *vsock);

#endif
