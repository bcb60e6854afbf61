/* The way of most messages: no request is made of them. A short one is written to the ring of its
 * receiver, if that has room; a receive looks for a while whether its message is the next one of the
 * ring that it comes by. What does not go so takes the way of message.c, as if nothing had been. */
#include "line.h"

/* Sends a message of several lines. */
static bool send_lines(const void *data, size_t bytes, int peer, int tag, int context, const struct communicator *comm)
{
    int rank = comm->peers[peer];
    uint32_t lines = mpi_lines_of(bytes);
    struct ring *ring = bytes > RING_BYTES ? NULL : mpi_ring_with_room(rank, lines);

    if (!ring)
        return false;
    struct line *line = mpi_line_at(ring, ring->tail);
    line->bytes = bytes;
    mpi_copy_short(line->data, data, lines == 1 ? bytes : LINE_DATA);
    mpi_ring_hand_over(ring, line, rank, context, tag, comm->rank);
    if (lines > 1)
        mpi_ring_write_rest(ring, data, bytes);
    mpi_ring_sent(ring, lines, rank);
    return true;
}

static inline bool send_now(const void *data, MPI_Count count, const struct type *type, int peer, int tag, int context,
                            const struct communicator *comm)
{
    size_t bytes = type->size * count;
    return type->plain && (mpi_send_line(data, bytes, peer, tag, context, comm) ||
                           send_lines(data, bytes, peer, tag, context, comm));
}

bool mpi_send_now(const void *data, MPI_Count count, const struct type *type, int peer, int tag, int context,
                  struct communicator *comm)
{
    return send_now(data, count, type, peer, tag, context, comm);
}

static inline struct line *look(int rank, struct ring **ring)
{
    if (rank == MPI_ANY_SOURCE)
        return mpi_ring_peek(ring);
    *ring = mpi_ring_from[rank];
    if (*ring)
        return mpi_ring_first(*ring);
    mpi_ring_meet();
    return NULL;
}

/* Takes a message that is longer than its place, or was offered. False: its sender has withdrawn it. */
static __attribute__((noinline)) bool take(struct ring *ring, struct line *line, void *data, MPI_Count count,
                                           struct type *type, MPI_Status *status, int *error)
{
    struct mpi_request request;
    request.receive.link = NULL;
    request.data = data;
    request.count = count;
    request.type = type;
    request.error = MPI_SUCCESS;
    request.status.cancelled = false;
    if (!mpi_take_message(&request, ring, line))
        return false;
    *error = request.error;
    if (status) {
        request.status.MPI_ERROR = status->MPI_ERROR;
        *status = request.status;
    }
    return true;
}

/* False: the message is not there, or not the next. */
static inline bool receive_now(void *data, MPI_Count count, struct type *type, int peer, int tag, int context,
                               struct communicator *comm, MPI_Status *status, int *error)
{
    int rank = peer == MPI_ANY_SOURCE ? MPI_ANY_SOURCE : comm->peers[peer];
    struct ring *ring;
    struct line *line;

    if (!mpi_match_idle())
        return false;
    for (int turns = LINE_TURNS; !(line = look(rank, &ring)); __builtin_ia32_pause())
        if (!--turns)
            return false;
    if (line->context != context || (tag != MPI_ANY_TAG && line->tag != tag))
        return false;
    bool offered = line->bytes == LINE_OFFERS;
    size_t bytes = offered ? line->offered.bytes : line->bytes;
    if (!type->plain || bytes > type->size * count ||
        (offered && !mpi_take_offer(data, line->offered.offer, line->offered.data, bytes, ring->writer)))
        return take(ring, line, data, count, type, status, error);
    if (status) {
        status->MPI_SOURCE = line->source;
        status->MPI_TAG = line->tag;
        status->bytes = bytes;
        status->cancelled = false;
    }
    if (!offered)
        mpi_ring_read(ring, line, data, bytes);
    mpi_ring_next(ring, line);
    *error = MPI_SUCCESS;
    return true;
}

/* Not a part of MPI_Send, which then has no registers to save. */
static __attribute__((noinline)) int send_longer(const void *data, size_t bytes, int peer, int tag,
                                                 struct communicator *comm)
{
    if (bytes > RING_BYTES)
        return mpi_send_offer(data, bytes, peer, tag, comm);
    if (send_lines(data, bytes, peer, tag, comm->context, comm))
        return MPI_SUCCESS;
    return mpi_send_later(data, bytes, MPI_BYTE, peer, tag, comm->handle, "MPI_Send");
}

int MPI_Send(const void *data, int count, MPI_Datatype type, int peer, int tag, MPI_Comm comm)
{
    struct communicator *c = mpi_comm(comm);
    const struct type *t = mpi_table_at(&mpi_types, type);
    if (!c || !t || (count | tag) < 0 || (unsigned)peer >= (unsigned)c->remote_size || !data || !t->plain)
        return mpi_send_later(data, count, type, peer, tag, comm, __func__);
    size_t bytes = t->size * count;
    if (mpi_send_line(data, bytes, peer, tag, c->context, c))
        return MPI_SUCCESS;
    return send_longer(data, bytes, peer, tag, c);
}

static __attribute__((noinline)) int receive_other(void *data, int count, MPI_Datatype type, int source, int tag,
                                                   MPI_Comm comm, MPI_Status *status)
{
    struct communicator *c = mpi_comm(comm);
    struct type *t = mpi_table_at(&mpi_types, type);
    int error;
    if (c && t && count >= 0 && tag >= MPI_ANY_TAG &&
        ((unsigned)source < (unsigned)c->remote_size || source == MPI_ANY_SOURCE) && !mpi_lacks(data, count, t) &&
        receive_now(data, count, t, source, tag, c->context, c, status, &error))
        return error ? mpi_fail(c, "MPI_Recv", error) : MPI_SUCCESS;
    return mpi_receive_later(data, count, type, source, tag, comm, status, "MPI_Recv");
}

int MPI_Recv(void *data, int count, MPI_Datatype type, int source, int tag, MPI_Comm comm, MPI_Status *status)
{
    struct communicator *c = mpi_comm(comm);
    struct type *t = mpi_table_at(&mpi_types, type);
    if (c && t && count >= 0 && tag >= MPI_ANY_TAG && (unsigned)source < (unsigned)c->remote_size && data && t->plain &&
        mpi_receive_line(data, mpi_lines_room(t, count), source, tag, c->context, c, status))
        return MPI_SUCCESS;
    return receive_other(data, count, type, source, tag, comm, status);
}

/* ---- Within MPI ---- */

int mpi_send(const void *data, MPI_Count count, MPI_Datatype type, int peer, int tag, struct communicator *comm)
{
    struct mpi_request request;
    if (send_now(data, count, mpi_type(type), peer, tag, comm->context + 1, comm))
        return MPI_SUCCESS;
    mpi_isend(&request, data, count, type, peer, tag, comm);
    return mpi_wait_for(&request, 1);
}

static inline int receive(void *data, MPI_Count count, MPI_Datatype type, int peer, int tag, struct communicator *comm)
{
    struct mpi_request request;
    int error;
    if (receive_now(data, count, mpi_type(type), peer, tag, comm->context + 1, comm, NULL, &error))
        return error;
    mpi_ireceive(&request, data, count, type, peer, tag, comm);
    return mpi_wait_for(&request, 1);
}

int mpi_receive(void *data, MPI_Count count, MPI_Datatype type, int peer, int tag, struct communicator *comm)
{
    return receive(data, count, type, peer, tag, comm);
}

int mpi_exchange(const void *send, MPI_Count send_count, MPI_Datatype send_type, int to, void *data, MPI_Count count,
                 MPI_Datatype type, int from, int tag, struct communicator *comm)
{
    struct mpi_request requests[2];
    if (send_now(send, send_count, mpi_type(send_type), to, tag, comm->context + 1, comm))
        return receive(data, count, type, from, tag, comm);
    mpi_ireceive(&requests[0], data, count, type, from, tag, comm);
    mpi_isend(&requests[1], send, send_count, send_type, to, tag, comm);
    return mpi_wait_for(requests, 2);
}
