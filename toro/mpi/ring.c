/* Makes rings, and writes messages to them that may have to wait. */
#include "ring.h"

#define LINES_MAX 128 /* at first: these stay in the first-level cache */
#define LINES_MIN 64
#define LINES_OF_RANK 16384 /* of all rings to it, roughly, at first */
#define LINES_LARGEST 16384
#define PATIENCE 20 /* microseconds without room before a larger ring is made */

SHARED struct mailbox mpi_mailboxes[RANKS_MAX];

struct ring *mpi_ring_to[RANKS_MAX], *mpi_ring_from[RANKS_MAX];

static uint32_t first_size;          /* of a ring, in lines */
static struct ring *met[RANKS_MAX]; /* those in mpi_ring_from */
static int met_count, last;

void mpi_ring_start(void)
{
    for (first_size = LINES_MAX; first_size > LINES_MIN && first_size * mpi_size > LINES_OF_RANK;)
        first_size /= 2;
}

static struct ring *make(uint32_t lines)
{
    size_t bytes = sizeof(struct ring) + lines * sizeof(struct line);
    struct ring *ring = toro_aligned_memory(bytes, sizeof(struct line));
    if (!ring)
        return NULL;
    memset(ring, 0, bytes);
    ring->writer = mpi_rank;
    ring->size = ring->end = lines;
    return ring;
}

struct ring *mpi_ring_open(int rank)
{
    struct mailbox *box = &mpi_mailboxes[rank];
    struct ring *ring = make(first_size);
    if (!ring)
        mpi_die("MPI", "no memory is left");
    ring->next = box->opened;
    while (!atomic_compare_exchange_weak(&box->opened, &ring->next, ring))
        ;
    return mpi_ring_to[rank] = ring;
}

void mpi_ring_meet(void)
{
    struct ring *ring = atomic_exchange(&mpi_mailboxes[mpi_rank].opened, NULL);
    for (; ring; ring = ring->next) {
        mpi_ring_from[ring->writer] = ring;
        met[met_count++] = ring;
    }
}

static void make_larger(int rank)
{
    struct ring *ring = mpi_ring_to[rank], *larger = make(2 * ring->size);
    struct line *line = mpi_line_at(ring, ring->tail);
    if (!larger)
        return;
    mpi_ring_to[rank] = larger;
    line->larger = larger;
    line->bytes = LINE_LEADS;
    mpi_ring_hand_over(ring, line, 0, 0, 0);
}

void mpi_ring_follow(struct ring *ring, const struct line *line)
{
    struct ring *larger = line->larger;
    for (int i = 0; i < met_count; i++)
        if (met[i] == ring)
            met[i] = larger;
    mpi_ring_from[ring->writer] = larger;
    toro_release(ring);
}

static struct ring *wait_for_room(int rank, uint32_t count)
{
    struct pause pause = {0};
    uint64_t start = 0;
    while (!mpi_ring_has_room(mpi_ring(rank), count)) {
        mpi_progress(); /* the reader may be waiting for a line of this rank */
        mpi_poll(&pause);
        start = start ? start : ticks();
        if (ticks() - start > toro_ticks(PATIENCE) && mpi_ring(rank)->size < LINES_LARGEST)
            make_larger(rank);
    }
    return mpi_ring(rank);
}

void mpi_ring_push(int rank, const struct header *header, const void *data)
{
    struct ring *ring = wait_for_room(rank, 1);
    struct line *line = mpi_line_at(ring, ring->tail);
    line->bytes = header->bytes;
    mpi_copy_short(line->data, data, header->bytes);
    mpi_ring_hand_over(ring, line, header->context, header->tag, header->source);
    mpi_ring_sent(ring, 1, rank);
}

void mpi_ring_offer(int rank, const struct header *header)
{
    struct ring *ring = wait_for_room(rank, 1);
    struct line *line = mpi_line_at(ring, ring->tail);
    line->bytes = LINE_OFFERS;
    line->offered.bytes = header->bytes;
    line->offered.offer = header->offer;
    line->offered.data = header->data;
    mpi_ring_hand_over(ring, line, header->context, header->tag, header->source);
    mpi_ring_sent(ring, 1, rank);
}

struct line *mpi_ring_peek(struct ring **ring)
{
    if (atomic_load_explicit(&mpi_mailboxes[mpi_rank].opened, memory_order_relaxed))
        mpi_ring_meet();
    for (int tried = 0; tried < met_count; tried++) {
        struct line *line = mpi_ring_first(met[last]);
        *ring = met[last];
        if (line)
            return line;
        last = last + 1 < met_count ? last + 1 : 0;
    }
    return NULL;
}

void mpi_ring_header(const struct ring *ring, const struct line *line, struct header *header)
{
    *header = (struct header){.context = line->context, .source = line->source, .tag = line->tag,
                              .world = ring->writer, .bytes = line->bytes};
    if (line->bytes != LINE_OFFERS)
        return;
    header->bytes = line->offered.bytes;
    header->offer = line->offered.offer;
    header->data = line->offered.data;
}
