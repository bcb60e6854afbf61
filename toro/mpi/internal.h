/* What the files of MPI share.
 *
 * Every rank is a core with variables of its own, so an ordinary static variable belongs to one
 * rank, and handles are indices into its tables. What ranks share is marked SHARED, and memory of
 * the heap is. Addresses that are given to other ranks are those of toro_shared_address.
 *
 * The way of a message (ring.c, match.c, message.c): the sender writes a header to its ring to the
 * receiver, and behind it the data if they are short. Data that are longer stay where they are: the
 * header leads to an offer, from which the receiver copies them. The receiver takes headers from
 * its rings whenever it is in a call of MPI, and looks for a receive that was posted; without one it
 * keeps what has arrived. */
#ifndef MPI_INTERNAL_H
#define MPI_INTERNAL_H

#include "mpi.h"
#include "toro.h"

#include <stdatomic.h>
#include <stdbool.h>

void *memcpy(void *, const void *, size_t);
void *memmove(void *, const void *, size_t);
void *memset(void *, int, size_t);
int memcmp(const void *, const void *, size_t);
size_t strlen(const char *);

#define RANKS_MAX 255
#define NAME_SIZE MPI_MAX_OBJECT_NAME

static inline uint64_t ticks(void)
{
    return __builtin_ia32_rdtsc();
}

/* Memory, or the end with a message. */
void *mpi_memory(size_t size);
void *mpi_cleared(size_t size);
/* Copies; efficient for any size. */
void mpi_copy(void *to, const void *from, size_t size);

/* Copies up to 48 bytes. */
static inline void mpi_copy_short(void *to, const void *from, size_t size)
{
    char *target = to;
    const char *source = from;
    if (size >= 16) {
        __builtin_memcpy(target, source, 16);
        if (size > 32)
            __builtin_memcpy(target + 16, source + 16, 16);
        __builtin_memcpy(target + size - 16, source + size - 16, 16);
    } else if (size >= 8) {
        __builtin_memcpy(target, source, 8);
        __builtin_memcpy(target + size - 8, source + size - 8, 8);
    } else if (size >= 4) {
        __builtin_memcpy(target, source, 4);
        __builtin_memcpy(target + size - 4, source + size - 4, 4);
    } else if (size) {
        target[0] = source[0];
        target[size / 2] = source[size / 2];
        target[size - 1] = source[size - 1];
    }
}

/* Copies to where other ranks read next. They have read there before, so the lines are in their caches, and to take each
 * back costs more than to write around the caches. */
void mpi_publish(void *to, const void *from, size_t size);
void mpi_copy_text(char *to, const char *from, size_t size, int *length);
bool mpi_same_text(const char *a, const char *b);

/* ---- table.c: what handles stand for ---- */

struct table {
    void **entries;
    int size, first; /* handles below `first` are never reused */
};
int mpi_table_add(struct table *table, void *entry);
void mpi_table_remove(struct table *table, int handle);

static inline void *mpi_table_at(const struct table *table, int handle)
{
    return (unsigned)handle < (unsigned)table->size ? table->entries[handle] : NULL;
}

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
struct mpi_arrival **mpi_arrived_first(void);
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

/* ---- type.c ---- */

struct block {
    MPI_Aint offset;
    size_t size;
    int unit; /* size of its basic elements */
};

struct values {
    MPI_Count count, *list;
};

struct type {
    size_t size;
    MPI_Aint lower, extent, true_lower, true_extent;
    bool plain;     /* data without gaps, from offset 0 */
    bool predefined;
    int kind;       /* the basic type of all its elements; -1: several */
    int alignment;  /* bytes */
    int references; /* handles, types made of it */
    int handles;
    int block_count;
    size_t elements;
    struct block *blocks;
    int combiner, type_count;
    struct values integers, addresses, counts; /* that it was made with */
    struct type **types;
    struct attribute *attributes;
    char name[NAME_SIZE];
};

extern struct table mpi_types;
void mpi_start_types(void);

/* What a handle stands for; null: nothing. Programs may ask before MPI_Init. */
static inline struct type *mpi_type(MPI_Datatype handle)
{
    if (__builtin_expect(!mpi_types.size, false))
        mpi_start_types();
    return mpi_table_at(&mpi_types, handle);
}

MPI_Datatype mpi_add_type(struct type *type);
/* The program may free a type while an operation uses it. */
void mpi_hold_type(struct type *type);
void mpi_release_type(struct type *type);
/* Copy between typed and contiguous memory: `bytes` of them at most. */
void mpi_pack(const void *data, MPI_Count count, const struct type *type, void *to);
void mpi_unpack(const void *from, size_t bytes, void *data, MPI_Count count, const struct type *type);
/* From one typed place to another, whose capacity is not less. */
int mpi_copy_typed(const void *from, MPI_Count from_count, MPI_Datatype from_type, void *to, MPI_Count to_count,
                   MPI_Datatype to_type);
/* Whether data cannot be at an address: only types with offsets of their own begin at MPI_BOTTOM. */
static inline bool mpi_lacks(const void *data, MPI_Count count, const struct type *type)
{
    return !data && count > 0 && type->plain && type->size;
}
/* The address of an element. */
static inline char *mpi_at(const void *data, MPI_Aint index, MPI_Datatype type)
{
    return (char *)data + index * mpi_type(type)->extent;
}

/* ---- op.c ---- */

bool mpi_can_combine(MPI_Op operation, MPI_Datatype type);
bool mpi_commutes(MPI_Op operation);
/* inout[i] = in[i] operation inout[i] */
void mpi_combine(const void *in, void *inout, MPI_Count count, MPI_Datatype type, MPI_Op operation);
/* Memory for elements: release with mpi_discard. */
void *mpi_elements(MPI_Count count, MPI_Datatype type);
void mpi_discard(void *elements, MPI_Datatype type);

/* ---- comm.c, group.c ---- */

struct group {
    int size, references;
    int world[];
};

struct topology {
    int kind, dimensions, edge_count;
    int *sizes, *periodic, *coordinates; /* MPI_GRAPH: index and edges in the first two */
};

struct communicator {
    MPI_Comm handle;
    int context; /* twice a number that its members agree on: point to point; plus 1: collective */
    int rank, size, remote_size; /* remote_size is size, unless it is an intercommunicator */
    struct group *group, *remote;
    const int *peers; /* world ranks of those that messages go to */
    struct communicator *local; /* an intercommunicator's own side; else null */
    int sequence;               /* of collective operations */
    int references;
    MPI_Errhandler handler;
    struct topology *topology;
    struct attribute *attributes;
    char name[NAME_SIZE];
};

extern struct table mpi_comms;

static inline struct communicator *mpi_comm(MPI_Comm handle)
{
    return mpi_table_at(&mpi_comms, handle);
}

struct communicator *mpi_world(void);
void mpi_release_comm(struct communicator *comm);
/* A communicator of a group, whose members all call this with the same context. */
struct communicator *mpi_make_comm(struct group *group, int context, struct communicator *parent);
/* A context that no communicator has, nor the three numbers after it; and one for all ranks of a communicator. */
int mpi_new_context(void);
int mpi_agree_on_context(struct communicator *comm);
/* Takes a communicator out of the table of handles: it is a part of another. */
void mpi_hide_comm(struct communicator *comm);
/* Members of a color, of what MPI_Comm_split has gathered. */
struct group *mpi_members_of(const void *members, int count, int color);
int mpi_create_inter(struct communicator *comm, struct group *group, MPI_Comm *made);
int mpi_split_inter(struct communicator *comm, int color, struct group *mine, const void *self, MPI_Comm *made);
void mpi_copy_topology(const struct topology *from, struct topology **to);
struct group *mpi_group(MPI_Group handle);
struct group *mpi_make_group(int size);
MPI_Group mpi_add_group(struct group *group);
void mpi_release_group(struct group *group);
int mpi_rank_in(const struct group *group, int world);

/* ---- attribute.c ---- */

int mpi_copy_attributes(int handle, struct attribute *from, struct attribute **to);
int mpi_delete_attributes(int handle, struct attribute **attributes);
int mpi_set_attribute(int handle, struct attribute **attributes, int key, void *value);
int mpi_get_attribute(struct attribute *attributes, int key, void *value, int *flag);
int mpi_delete_attribute(int handle, struct attribute **attributes, int key);

/* ---- error.c ---- */

/* Handles an error of a call as its communicator says; returns the code if it returns. */
int mpi_fail(struct communicator *comm, const char *call, int code);
int mpi_fail_in_window(int win, const char *call, int code);
void mpi_call_window_handler(MPI_Errhandler handler, MPI_Win *win, int code, const char *call);
bool mpi_handler_exists(MPI_Errhandler handler);
extern int mpi_last_used; /* error code */
void mpi_die(const char *call, const char *text) __attribute__((noreturn));

#define FAIL(comm, code) return mpi_fail(comm, __func__, code)
#define CHECK(comm, holds, code)                                                                                       \
    do                                                                                                                 \
        if (!(holds))                                                                                                  \
            FAIL(comm, code);                                                                                          \
    while (0)
/* Declares `name` as what a handle stands for. */
#define COMMUNICATOR(name, handle)                                                                                     \
    struct communicator *name = mpi_comm(handle);                                                                      \
    CHECK(NULL, name, MPI_ERR_COMM)
#define GROUP(name, handle)                                                                                            \
    struct group *name = mpi_group(handle);                                                                            \
    CHECK(NULL, name, MPI_ERR_GROUP)
#define TYPE(name, handle)                                                                                             \
    struct type *name = mpi_type(handle);                                                                              \
    CHECK(NULL, name, MPI_ERR_TYPE)

/* ---- collective.c ---- */

struct collective {
    const char *call;
    int (*run)(struct collective *);
    struct communicator *comm;
    int tag;
    const void *send;
    void *receive;
    MPI_Count send_count, receive_count;
    MPI_Datatype send_type, receive_type;
    const void *send_counts, *send_offsets, *receive_counts, *receive_offsets; /* mpi_number knows of which type */
    bool large_counts, large_offsets;
    const MPI_Datatype *send_types, *receive_types;
    MPI_Op operation;
    int root;
    bool exclusive; /* of scans */
    struct mpi_request *pair[2]; /* of MPI_Isendrecv */
    struct mpi_request *request;
};

/* One of an array of MPI_Count or MPI_Aint, or of int. */
static inline MPI_Count mpi_number(const void *numbers, int index, bool large)
{
    return large ? ((const MPI_Count *)numbers)[index] : ((const int *)numbers)[index];
}

/* What goes to another rank, or to a neighbour, or comes from there. */
struct share {
    void *data;
    MPI_Count count;
    MPI_Datatype type;
};
struct share mpi_outgoing(const struct collective *c, int index);
struct share mpi_incoming(const struct collective *c, int index);

static inline int mpi_next_tag(struct communicator *comm)
{
    return comm->sequence++ & 0x3fffffff;
}

/* Runs a collective operation, or begins it. */
int mpi_perform(struct collective *what);
int mpi_begin(const struct collective *what, MPI_Request *request);
/* The same for an operation that is not collective, and takes no number. */
int mpi_begin_untagged(const struct collective *what, MPI_Request *request);
/* Makes a persistent request of it, which mpi_restart begins. */
int mpi_prepare(const struct collective *what, MPI_Request *request);
void mpi_restart(struct mpi_request *request);
int mpi_barrier(struct communicator *comm);
int mpi_bcast(void *data, MPI_Count count, MPI_Datatype type, int root, struct communicator *comm);
int mpi_allreduce(const void *send, void *receive, int count, MPI_Datatype type, MPI_Op operation,
                  struct communicator *comm);
int mpi_allgather(const void *send, void *receive, int count, MPI_Datatype type, struct communicator *comm);
int mpi_run_barrier(struct collective *c);
int mpi_run_bcast(struct collective *c);
int mpi_run_gather(struct collective *c);
int mpi_run_scatter(struct collective *c);
int mpi_run_allgather(struct collective *c);
int mpi_run_alltoall(struct collective *c);
int mpi_run_reduce(struct collective *c);
int mpi_run_allreduce(struct collective *c);
int mpi_run_reduce_scatter(struct collective *c);
int mpi_run_scan(struct collective *c);
int mpi_run_neighbor_allgather(struct collective *c);
int mpi_run_neighbor_alltoall(struct collective *c);

/* ---- short.c ---- */

#define NOT_SHORT (-1) /* the operation has not begun, and goes the other way */

int mpi_short_barrier(MPI_Comm comm);
int mpi_short_allreduce(const void *data, void *target, MPI_Count count, MPI_Datatype type, MPI_Op operation,
                        MPI_Comm comm);
int mpi_short_alltoall(const void *data, MPI_Count count, MPI_Datatype type, void *target, MPI_Count target_count,
                       MPI_Datatype target_type, MPI_Comm comm);

/* ---- activity.c ---- */

extern int mpi_activities; /* how many */
extern bool mpi_activity_polls; /* one of them does */
void mpi_start_activity(const struct collective *what);
void mpi_resume_activities(void);
/* Waits within an activity; `polls`: for what nobody wakes this rank for. False: this is none. */
bool mpi_pause_activity(bool polls);

/* ---- world.c ---- */

enum mpi_phase { BEFORE, RUNNING, AFTER };
extern enum mpi_phase mpi_phase;
extern int mpi_rank, mpi_size; /* in MPI_COMM_WORLD */
/* What the first call of MPI does, whichever it is: programs in Pascal do not call MPI_Init. */
void mpi_start(void);
void mpi_start_comms(void);

#endif
