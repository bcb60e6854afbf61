/* Makes rings, and writes messages to them that may have to wait. */
#include "ring.h"

#define LINES_MAX 128 /* of the next, for more at a time and messages of several lines */
#define LINES_MIN 64
#define LINES_OF_RANK 16384 /* of all rings to it, roughly */
#define LINES_LARGEST 16384
#define CROWDED 8 /* times without room, and messages of several lines, before the first ring is left */
#define LAPS 4    /* of a larger ring that was never half full, before a first one is made again; twice as many each time */
#define LAPS_MAX 1024
#define PATIENCE 20 /* microseconds without room before a larger ring is made */

SHARED struct mailbox mpi_mailboxes[RANKS_MAX];

struct ring *mpi_ring_to[RANKS_MAX], *mpi_ring_from[RANKS_MAX];

static uint32_t second_size;        /* of a ring, in lines */
static uint16_t laps[RANKS_MAX];    /* see LAPS */
static struct ring *met[RANKS_MAX]; /* those in mpi_ring_from */
static int met_count, last;

void mpi_ring_start(void)
{
    for (second_size = LINES_MAX; second_size > LINES_MIN && second_size * mpi_size > LINES_OF_RANK;)
        second_size /= 2;
}

/* A ring whose first line has that number. */
static struct ring *make(uint32_t lines, uint32_t number)
{
    size_t bytes = sizeof(struct ring) + lines * sizeof(struct line);
    struct ring *ring = toro_aligned_memory(bytes, sizeof(struct line));
    if (!ring)
        return NULL;
    memset(ring, 0, bytes);
    ring->writer = mpi_rank;
    ring->size = lines;
    ring->head = ring->returned = ring->tail = ring->quiet = number;
    ring->end = number + lines;
    for (uint32_t i = 0; i < lines; i++)
        ring->lines[i].turn = number; /* none of those that come */
    return ring;
}

struct ring *mpi_ring_open(int rank)
{
    struct mailbox *box = &mpi_mailboxes[rank];
    struct ring *ring = make(LINES_FIRST, 0);
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

/* Goes on with a ring of another size, if there is memory. */
static struct ring *change(int rank, uint32_t lines)
{
    struct ring *ring = mpi_ring_to[rank], *other = make(lines, ring->tail + 1);
    struct line *line = mpi_line_at(ring, ring->tail);
    if (!other)
        return ring;
    mpi_ring_to[rank] = other;
    line->other = other;
    line->bytes = LINE_LEADS;
    other->quiet = ring->quiet;
    mpi_ring_hand_over(ring, line, rank, 0, 0, 0);
    return other;
}

void mpi_ring_follow(struct ring *ring, const struct line *line)
{
    struct ring *other = line->other;
    for (int i = 0; i < met_count; i++)
        if (met[i] == ring)
            met[i] = other;
    mpi_ring_from[ring->writer] = other;
    toro_release(ring);
}

static struct ring *grow(int rank)
{
    uint32_t size = mpi_ring_to[rank]->size;
    laps[rank] = !laps[rank] ? LAPS : laps[rank] < LAPS_MAX ? 2 * laps[rank] : LAPS_MAX;
    return change(rank, size < second_size ? second_size : 2 * size);
}

struct ring *mpi_ring_with_room(int rank, uint32_t count)
{
    struct ring *ring = mpi_ring(rank);
    bool has_room = mpi_ring_has_room(ring, count), busy = !has_room || count > LINES_SHORT;

    if (mpi_ring_is_first(ring)) {
        if (busy && ++ring->turns >= CROWDED)
            ring = grow(rank);
    } else if (busy || ring->end - ring->tail < ring->size / 2)
        ring->turns = 0;
    else if (++ring->turns >= laps[rank])
        ring = change(rank, LINES_FIRST);
    return mpi_ring_has_room(ring, count) ? ring : NULL;
}

static struct ring *wait_for_room(int rank, uint32_t count)
{
    struct pause pause = {0};
    uint64_t start = 0;
    struct ring *ring;
    while (!(ring = mpi_ring_with_room(rank, count))) {
        mpi_progress(); /* the reader may be waiting for a line of this rank */
        mpi_poll(&pause);
        start = start ? start : ticks();
        if (ticks() - start > toro_ticks(PATIENCE) && mpi_ring_to[rank]->size < LINES_LARGEST)
            grow(rank);
    }
    return ring;
}

void mpi_ring_push(int rank, int context, int tag, int source, size_t bytes, const void *data)
{
    struct ring *ring = wait_for_room(rank, 1);
    struct line *line = mpi_line_at(ring, ring->tail);
    line->bytes = bytes;
    mpi_copy_short(line->data, data, bytes);
    mpi_ring_hand_over(ring, line, rank, context, tag, source);
    mpi_ring_sent(ring, 1, rank);
}

void mpi_ring_offer(int rank, int context, int tag, int source, size_t bytes, struct offer *offer, const void *data)
{
    struct ring *ring = wait_for_room(rank, 1);
    struct line *line = mpi_line_at(ring, ring->tail);
    line->bytes = LINE_OFFERS;
    line->offered.bytes = bytes;
    line->offered.offer = offer;
    line->offered.data = data;
    mpi_ring_hand_over(ring, line, rank, context, tag, source);
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
