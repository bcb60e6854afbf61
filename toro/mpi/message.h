/* The way of a message, from the call to the ring and back. Part of internal.h. */
#ifndef MPI_MESSAGE_H
#define MPI_MESSAGE_H

/* ---- ring.c, ring.h: messages from one rank to another ---- */

#define LINE_DATA 48    /* bytes in the line that has the header */
#define LINE_MORE 60    /* in each that follows it */
#define RING_BYTES 1024 /* of a message that may be written to a ring */

struct header {
    int context, source, tag; /* the source's rank in the communicator */
    int world;                /* and in MPI_COMM_WORLD */
    size_t bytes;
    struct offer *offer;      /* null: the data follow */
    const void *data;         /* of an offer that is not buffered */
};

/* What other ranks see of a rank. */
struct mailbox {
    struct ring *_Atomic opened;                       /* rings to it that it has not met */
    _Atomic int sleeping __attribute__((aligned(64))); /* its thread blocks, or is about to */
    uint64_t thread;
} __attribute__((aligned(128)));

extern struct mailbox mpi_mailboxes[RANKS_MAX];

struct ring;
struct line;

void mpi_ring_start(void);
/* Sends up to LINE_DATA bytes. */
void mpi_ring_push(int rank, int context, int tag, int source, size_t bytes, const void *data);
/* Sends an offer. data: null, if it is buffered. */
void mpi_ring_offer(int rank, int context, int tag, int source, size_t bytes, struct offer *offer, const void *data);
/* The next message of any rank, by its first line; null: none. */
struct line *mpi_ring_peek(struct ring **ring);
void mpi_ring_header(const struct ring *ring, const struct line *line, struct header *header);

/* Wakes a rank after something was done for it (wait.c says why that needs no barrier). */
static inline void mpi_wake(int rank)
{
    struct mailbox *box = &mpi_mailboxes[rank];
    atomic_signal_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&box->sleeping, memory_order_relaxed))
        toro_wake(box->thread);
}

/* ---- match.c: receives that were posted, and messages that came before ---- */

struct receive {
    struct receive *next, **link; /* link: null when it is not posted */
    int context, source, tag;     /* or MPI_ANY_SOURCE, MPI_ANY_TAG */
};

#define ARRIVAL_DATA 112 /* bytes; of longer messages a buffer is kept */

struct mpi_arrival {
    struct mpi_arrival *next;
    struct header header;
    char data[ARRIVAL_DATA];
};

extern struct receive *mpi_posted;    /* receives, in this order */
extern struct mpi_arrival *mpi_arrived; /* messages */

static inline bool mpi_match_idle(void)
{
    return !mpi_posted && !mpi_arrived;
}

/* The first receive that a message matches; null: none. */
struct receive *mpi_match_posted(const struct header *header);
void mpi_post(struct receive *receive);
void mpi_unpost(struct receive *receive);
/* The place of the first message from *at on that a receive matches; its target is null if there is none. */
struct mpi_arrival **mpi_match_arrived(struct mpi_arrival **at, int context, int source, int tag);
/* Keeps a message; returns the place for its data. */
void *mpi_keep(const struct header *header);
/* Takes a message out of the queue. */
struct mpi_arrival *mpi_take(struct mpi_arrival **at);
void mpi_give_back(struct mpi_arrival *arrival);

/* ---- message.c ---- */

enum offer_state { OFFERED, CLAIMED, COPIED, BUFFERED, WITHDRAWN };

struct offer {
    _Atomic int state;
    int world; /* the sender's */
    const void *data;
    size_t bytes;
    void *buffer;         /* BUFFERED: a copy of the data, which the receiver releases */
    _Atomic(void *) target; /* where both ranks copy to; null: the receiver alone copies */
    _Atomic size_t next, copied;
    struct offer *free;
} __attribute__((aligned(64)));

enum send_mode { STANDARD, SYNCHRONOUS, BUFFER };
enum request_kind { SEND, RECEIVE, COLLECTIVE, GENERALIZED, NOTHING };

struct communicator;
struct type;

struct mpi_request {
    struct receive receive; /* first: match.c knows it by this */
    enum request_kind kind;
    enum send_mode mode;
    bool complete, persistent, active, released, cancelled;
    int error;
    MPI_Status status;
    struct communicator *comm;
    struct offer *offer;
    uint64_t since; /* when it was started, in ticks */
    void *data;
    MPI_Count count;
    struct type *type; /* held, unless the call waits */
    int peer, tag;
    struct collective *prepared; /* COLLECTIVE, if it is persistent */
    /* GENERALIZED */
    MPI_Grequest_query_function *query;
    MPI_Grequest_free_function *release;
    MPI_Grequest_cancel_function *cancel;
    void *state;
};

/* Start the operation that a request describes. */
void mpi_start_send(struct mpi_request *request, int context, int tag);
void mpi_start_receive(struct mpi_request *request, int context, int tag);
/* Takes what has arrived. */
void mpi_progress(void);
/* Looks after a request that is not complete. */
void mpi_check(struct mpi_request *request);
bool mpi_withdraw(struct mpi_request *request);
void mpi_free_request(struct mpi_request *request);
/* Gives a message that was taken to a request. */
void mpi_deliver(struct mpi_request *request, struct mpi_arrival *arrival);
/* Takes a message from its ring for a request. False: its sender has withdrawn it, and the request goes on. */
bool mpi_take_message(struct mpi_request *request, struct ring *ring, struct line *line);
/* Copies data that are offered, and then says so: valid if the sender has not changed the offer meanwhile, as it has not in
 * most cases. False: it has, or the data are long or buffered, and the message is to be received as any other. */
bool mpi_take_offer(void *target, struct offer *offer, const void *data, size_t bytes, int sender);
/* Makes an arrival the receiver's; false: it was withdrawn, and is gone. */
bool mpi_claim(struct offer *offer);

/* Sends and receives within MPI, by world ranks or those of a communicator. */
int mpi_send(const void *data, MPI_Count count, MPI_Datatype type, int peer, int tag, struct communicator *comm);
int mpi_receive(void *data, MPI_Count count, MPI_Datatype type, int peer, int tag, struct communicator *comm);
int mpi_exchange(const void *send, MPI_Count send_count, MPI_Datatype send_type, int to, void *receive,
                 MPI_Count receive_count, MPI_Datatype receive_type, int from, int tag, struct communicator *comm);
void mpi_isend(struct mpi_request *request, const void *data, MPI_Count count, MPI_Datatype type, int peer, int tag,
               struct communicator *comm);
void mpi_ireceive(struct mpi_request *request, void *data, MPI_Count count, MPI_Datatype type, int peer, int tag,
                  struct communicator *comm);
/* Sends plain data that are too long for a ring, and waits. */
int mpi_send_offer(const void *data, size_t bytes, int peer, int tag, struct communicator *comm);
/* Waits for some of them; the first error, or MPI_SUCCESS. */
int mpi_wait_for(struct mpi_request *requests, int count);

/* ---- now.c ---- */

/* Sends without a request: false if that is not possible. */
bool mpi_send_now(const void *data, MPI_Count count, const struct type *type, int peer, int tag, int context,
                  struct communicator *comm);
/* The other way of MPI_Send and MPI_Recv, also for what is wrong (send.c, receive.c). */
int mpi_send_later(const void *data, MPI_Count count, MPI_Datatype type, int peer, int tag, MPI_Comm comm,
                   const char *call);
int mpi_receive_later(void *data, MPI_Count count, MPI_Datatype type, int source, int tag, MPI_Comm comm,
                      MPI_Status *status, const char *call);

/* ---- wait.c ---- */

struct pause {
    uint64_t start;
    unsigned turns;
    enum { AWAKE, ANNOUNCED, SETTLED } sleep;
};

/* Once per round of a loop that waits for another rank, which calls mpi_wake; and after the loop. */
void mpi_relax(struct pause *pause);
void mpi_go_on(struct pause *pause);
void mpi_wait(struct mpi_request *request);
/* The same where nobody calls mpi_wake; nothing is to be done after the loop. */
void mpi_poll(struct pause *pause);

#endif
