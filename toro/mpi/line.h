/* Messages of one or two lines of a ring (ring.h). Most are, and their way is so short that it takes hardly more
 * than the line takes from cache to cache: what it needs is worked out before the line comes, and what
 * is rare is left to the functions of now.c. */
#ifndef MPI_LINE_H
#define MPI_LINE_H

#include "ring.h"

#define LINE_TURNS 100 /* looks for a message that is about to come */

#define LINES_BYTES (LINE_DATA + 48) /* of two lines, as mpi_copy_short copies them */

/* How many bytes of two lines so many elements have room for. */
static inline size_t mpi_lines_room(const struct type *type, MPI_Count count)
{
    size_t bytes = type->size * count;
    return bytes < LINES_BYTES ? bytes : LINES_BYTES;
}

/* False: there is no room, or this is no message of one or two lines. */
static inline bool mpi_send_line(const void *data, size_t bytes, int peer, int tag, int context,
                                 const struct communicator *comm)
{
    int rank = comm->peers[peer];
    struct ring *ring = mpi_ring_to[rank];
    bool two = bytes > LINE_DATA;

    if (bytes > LINES_BYTES || !ring || ring->end - ring->tail <= 1u + two)
        return false;
    if (two) { /* first, so that it is there when the reader sees the other */
        struct line *second = mpi_line_at(ring, ring->tail + 1);
        mpi_copy_short(second->data, (const char *)data + LINE_DATA, bytes - LINE_DATA);
        atomic_store_explicit(&second->turn, ring->tail + 2, memory_order_release);
    }
    struct line *line = mpi_line_at(ring, ring->tail);
    mpi_copy_short(line->data, data, two ? LINE_DATA : bytes);
    line->bytes = bytes;
    mpi_ring_hand_over(ring, line, rank, context, tag, comm->rank);
    mpi_ring_sent(ring, 1 + two, rank);
    return true;
}

/* Receives a message of at most `room` bytes. False: it is not the next, or there is none yet. */
static inline bool mpi_receive_line(void *data, size_t room, int peer, int tag, int context,
                                    const struct communicator *comm, MPI_Status *status)
{
    struct ring *ring = mpi_ring_from[comm->peers[peer]], *back = mpi_ring_to[comm->peers[peer]];

    if (!ring || !mpi_match_idle())
        return false;
    struct line *line = mpi_line_at(ring, ring->head), *second = mpi_line_at(ring, ring->head + 1);
    uint32_t number = ring->head;
    /* Without the pause it would take the line from the writer all the time, who then writes it late. */
    for (int turns = LINE_TURNS; !mpi_line_is(line, number); __builtin_ia32_pause()) {
        if (back)
            back->quiet = back->tail;
        if (!--turns)
            return false;
        if (room > LINE_DATA)
            __builtin_prefetch(second);
    }
    size_t bytes = line->bytes;
    if (line->context != context || (line->tag != tag && tag != MPI_ANY_TAG) || bytes > room) {
        if (back)
            mpi_ring_hear(back, line->returned);
        return false;
    }
    if (status) {
        status->MPI_SOURCE = line->source;
        status->MPI_TAG = line->tag;
        status->bytes = bytes;
        status->cancelled = false;
    }
    if (bytes > LINE_DATA) {
        mpi_copy_short(data, line->data, LINE_DATA);
        number++;
        while (!mpi_line_is(second, number))
            ; /* the writer is about to write it */
        mpi_copy_short((char *)data + LINE_DATA, second->data, bytes - LINE_DATA);
    } else
        mpi_copy_short(data, line->data, bytes);
    ring->head = number + 1;
    if (back)
        mpi_ring_hear(back, line->returned);
    mpi_ring_return(ring);
    return true;
}

#endif
