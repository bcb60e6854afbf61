/* The way of most messages: no request is made of them. A short one is written to the ring of its
 * receiver, if that has room; a receive looks for a while whether its message is the next one of the
 * ring that it comes by. What does not go so takes the way of message.c, as if nothing had been. */
#include "ring.h"

#define TURNS 100 /* looks for a message that is about to come */

bool mpi_send_now(const void *data, int count, const struct type *type, int peer, int tag, int context,
                  struct communicator *comm)
{
    size_t bytes = type->size * count;
    int rank = comm->peers[peer];
    struct ring *ring = mpi_ring(rank);
    uint32_t lines = mpi_lines_of(bytes);

    if (!type->plain || bytes > RING_BYTES || !mpi_ring_has_room(ring, lines))
        return false;
    struct line *line = mpi_line_at(ring, ring->tail);
    line->bytes = bytes;
    mpi_copy_short(line->data, data, lines == 1 ? bytes : LINE_DATA);
    mpi_ring_hand_over(ring, line, context, tag, comm->rank);
    if (lines > 1)
        mpi_ring_write_rest(ring, data, bytes);
    mpi_ring_sent(ring, lines, rank);
    for (uint32_t i = 0; i < lines; i++) /* for the next message: the reader's cache has them */
        __asm__ volatile("prefetchw %0" : : "m"(*mpi_line_at(ring, ring->tail + i)));
    return true;
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

bool mpi_receive_now(struct mpi_request *request, void *data, int count, struct type *type, int peer, int tag,
                     int context, struct communicator *comm)
{
    int rank = peer == MPI_ANY_SOURCE ? MPI_ANY_SOURCE : comm->peers[peer];
    struct ring *ring;
    struct line *line;

    if (!mpi_match_idle())
        return false;
    for (int turns = TURNS; !(line = look(rank, &ring)); __builtin_ia32_pause())
        if (!--turns)
            return false;
    if (line->context != context || (tag != MPI_ANY_TAG && line->tag != tag))
        return false;
    request->error = MPI_SUCCESS;
    request->status.cancelled = 0;
    request->comm = comm;
    if (type->plain && line->bytes <= type->size * count && line->bytes != LINE_OFFERS) {
        request->status.MPI_SOURCE = line->source;
        request->status.MPI_TAG = line->tag;
        request->status.bytes = line->bytes;
        mpi_ring_read(ring, line, data, line->bytes);
        mpi_ring_next(ring, line);
        return true;
    }
    request->receive.link = NULL;
    request->data = data;
    request->count = count;
    request->type = type;
    return mpi_take_message(request, ring, line);
}
