/* One rank's rings (toro/mpi/ring.c, line.h) as a library: a process loads a copy of it for each of two ranks, and nothing
 * waits. A message is a number, in one line or two. */
#include "copy.c"
#include "line.h"
#include "ring.c"

#include <stdio.h>
#include <stdlib.h>

#define OTHER 1

struct receive *mpi_posted;
struct mpi_arrival *mpi_arrived;
int mpi_rank = OTHER, mpi_size = 2; /* each is that to the other */

static int peers[2] = {0, 1};
static struct communicator world = {.size = 2, .peers = peers};

void *toro_memory(size_t size)
{
    return malloc(size);
}

void *toro_aligned_memory(size_t size, size_t alignment)
{
    return aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}

void toro_release(void *memory)
{
    free(memory);
}

void toro_wake(uint64_t thread)
{
    (void)thread;
}

uint64_t toro_ticks(uint32_t microseconds)
{
    return microseconds;
}

void mpi_progress(void)
{
    abort(); /* it would have to wait */
}

void mpi_poll(struct pause *pause)
{
    (void)pause;
    abort();
}

void mpi_die(const char *call, const char *text)
{
    fprintf(stderr, "%s: %s\n", call, text);
    abort();
}

void start(void)
{
    mpi_ring_start();
}

/* The rings that this rank has opened, for the other's `meet`. */
void *opened(void)
{
    return atomic_exchange(&mpi_mailboxes[OTHER].opened, NULL);
}

void meet(void *rings)
{
    struct ring *own = atomic_exchange(&mpi_mailboxes[OTHER].opened, rings);
    mpi_ring_meet();
    mpi_mailboxes[OTHER].opened = own;
}

/* False: there is no room. */
bool put(uint64_t number, bool long_one)
{
    uint64_t data[LINES_BYTES / sizeof number];
    size_t bytes = long_one ? sizeof data : sizeof number;
    for (size_t i = 0; i < bytes / sizeof number; i++)
        data[i] = number + i;
    if (mpi_send_line(data, bytes, OTHER, 0, 0, &world))
        return true;
    if (!mpi_ring_with_room(OTHER, mpi_lines_of(bytes)))
        return false;
    return mpi_send_line(data, bytes, OTHER, 0, 0, &world);
}

/* The next message; -1: there is none, -2: it is damaged. */
int64_t get(void)
{
    uint64_t data[LINES_BYTES / 8];
    MPI_Status status;
    struct ring *ring = mpi_ring_from[OTHER];
    if (!ring || !mpi_ring_first(ring)) /* which follows a ring that leads elsewhere */
        if (!(ring = mpi_ring_from[OTHER]) || !mpi_line_is(mpi_line_at(ring, ring->head), ring->head)) {
            if (ring && mpi_ring_to[OTHER])
                mpi_ring_to[OTHER]->quiet = mpi_ring_to[OTHER]->tail;
            return -1;
        }
    if (!mpi_receive_line(data, sizeof data, OTHER, 0, 0, &world, &status))
        return -2;
    for (size_t i = 1; i < (size_t)status.bytes / 8; i++)
        if (data[i] != data[0] + i)
            return -2;
    return (int64_t)data[0];
}

/* Sends as many from this rank to the other, each at once taken by `take`, the other's `get`. Returns how many were right. */
uint32_t stream(uint64_t first, uint32_t count, int64_t (*take)(void))
{
    uint32_t i = 0;
    while (i < count && put(first + i, false) && take() == (int64_t)(first + i))
        i++;
    return i;
}

bool is_small(void)
{
    return !mpi_ring_to[OTHER] || mpi_ring_is_first(mpi_ring_to[OTHER]);
}
