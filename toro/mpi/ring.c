/* From each rank to each other one leads a ring of lines, of which a message takes one or more. A
 * line begins with its turn, which no line at this place has had before: so the reader sees that it
 * has come, in the line that has the data as well. A message's first line is written last, and on
 * x86 stores are seen in their order, so a plain one does that. The reader returns many lines at
 * once. What is in a ring was written by its writer alone, so nothing there is locked; and the lines
 * of data move between the caches, and hardly anything else.
 *
 * The writer makes the ring when it first sends, and enlists it with the reader. */
#include "internal.h"

#define LINES_MAX 512 /* a power of two, as are all numbers of lines */
#define LINES_MIN 64
#define LINES_OF_RANK 16384 /* of all its rings, roughly */
#define OFFERED UINT16_MAX

struct ring {
    struct ring *next;
    int writer;
    uint32_t head __attribute__((aligned(64))); /* the reader's */
    _Atomic uint32_t returned;
    uint32_t tail __attribute__((aligned(64))), end; /* the writer's: what it writes next, and up to where it may */
    struct line lines[] __attribute__((aligned(64)));
};

SHARED struct mailbox mpi_mailboxes[RANKS_MAX];

static uint32_t lines;                /* of each ring */
static struct ring *to[RANKS_MAX];    /* by the world rank; null: none yet */
static struct ring *from[RANKS_MAX];  /* likewise */
static struct ring *opened[RANKS_MAX]; /* those in `from` */
static int opened_count, last;

void mpi_ring_start(void)
{
    for (lines = LINES_MAX; lines > LINES_MIN && (int)lines * mpi_size > LINES_OF_RANK;)
        lines /= 2;
}

static __attribute__((noinline)) struct ring *open_ring(int rank)
{
    struct mailbox *box = &mpi_mailboxes[rank];
    size_t size = sizeof(struct ring) + lines * sizeof(struct line);
    struct ring *ring = toro_aligned_memory(size, sizeof(struct line));
    if (!ring)
        mpi_die("MPI", "no memory is left");
    memset(ring, 0, size);
    ring->writer = mpi_rank;
    ring->end = lines;
    ring->next = box->opened;
    while (!atomic_compare_exchange_weak(&box->opened, &ring->next, ring))
        ;
    return to[rank] = ring;
}

static __attribute__((noinline)) void meet(void)
{
    struct ring *ring = atomic_exchange(&mpi_mailboxes[mpi_rank].opened, NULL);
    for (; ring; ring = ring->next) {
        from[ring->writer] = ring;
        opened[opened_count++] = ring;
    }
}

/* ---- The writer ---- */

static inline struct line *line_at(struct ring *ring, uint32_t number)
{
    return &ring->lines[number & (lines - 1)];
}

static inline uint32_t lines_of(size_t bytes)
{
    return bytes <= LINE_DATA ? 1 : 1 + (bytes - LINE_DATA + LINE_MORE - 1) / LINE_MORE;
}

static bool has_room(struct ring *ring, uint32_t count)
{
    if (ring->end - ring->tail >= count)
        return true;
    ring->end = atomic_load_explicit(&ring->returned, memory_order_acquire) + lines;
    return ring->end - ring->tail >= count;
}

static inline struct ring *ring_to(int rank)
{
    return to[rank] ? to[rank] : open_ring(rank);
}

bool mpi_ring_has_room(int rank, size_t bytes)
{
    return has_room(ring_to(rank), lines_of(bytes));
}

/* The first of some lines, as soon as they are free. */
static inline struct line *wait_for_room(struct ring *ring, uint32_t count)
{
    struct pause pause = {0};
    while (!has_room(ring, count)) {
        mpi_progress(); /* the reader may be waiting for a line of this rank */
        mpi_poll(&pause);
    }
    return line_at(ring, ring->tail);
}

static inline void hand_over(struct ring *ring, struct line *line, const struct header *header, uint32_t count,
                             int rank)
{
    line->context = header->context;
    line->tag = header->tag;
    line->source = header->source;
    ring->tail += count;
    atomic_store_explicit(&line->turn, ring->tail - count + 1, memory_order_release);
    mpi_wake(rank);
}

void mpi_ring_push(int rank, const struct header *header, const void *data)
{
    struct ring *ring = ring_to(rank);
    size_t bytes = header->bytes;
    uint32_t count = lines_of(bytes);
    struct line *line = wait_for_room(ring, count);

    line->bytes = bytes;
    if (bytes <= LINE_DATA)
        mpi_copy(line->data, data, bytes);
    else {
        const char *rest = (const char *)data + LINE_DATA, *end = (const char *)data + bytes;
        mpi_copy(line->data, data, LINE_DATA);
        for (uint32_t number = ring->tail + 1; rest < end; number++, rest += LINE_MORE) {
            struct line *more = line_at(ring, number);
            mpi_copy(more->more, rest, end - rest < LINE_MORE ? end - rest : LINE_MORE);
            atomic_store_explicit(&more->turn, number + 1, memory_order_relaxed);
        }
    }
    hand_over(ring, line, header, count, rank);
}

void mpi_ring_offer(int rank, const struct header *header)
{
    struct ring *ring = ring_to(rank);
    struct line *line = wait_for_room(ring, 1);

    line->bytes = OFFERED;
    line->offered.bytes = header->bytes;
    line->offered.offer = header->offer;
    line->offered.data = header->data;
    hand_over(ring, line, header, 1, rank);
}

/* ---- The reader ---- */

static inline struct line *first_line(struct ring *ring)
{
    struct line *line = line_at(ring, ring->head);
    return atomic_load_explicit(&line->turn, memory_order_acquire) == ring->head + 1 ? line : NULL;
}

struct line *mpi_ring_peek_from(int rank)
{
    if (!from[rank]) {
        if (!mpi_mailboxes[mpi_rank].opened)
            return NULL;
        meet();
        return NULL;
    }
    return first_line(from[rank]);
}

struct line *mpi_ring_peek(int *rank)
{
    if (atomic_load_explicit(&mpi_mailboxes[mpi_rank].opened, memory_order_relaxed))
        meet();
    for (int tried = 0; tried < opened_count; tried++) {
        struct line *line = first_line(opened[last]);
        *rank = opened[last]->writer;
        if (line)
            return line;
        last = last + 1 < opened_count ? last + 1 : 0;
    }
    return NULL;
}

void mpi_ring_header(const struct line *line, int rank, struct header *header)
{
    *header = (struct header){.context = line->context, .source = line->source, .tag = line->tag, .world = rank,
                              .bytes = line->bytes};
    if (line->bytes != OFFERED)
        return;
    header->bytes = line->offered.bytes;
    header->offer = line->offered.offer;
    header->data = line->offered.data;
}

void mpi_ring_read(const struct line *line, int rank, void *target, size_t bytes)
{
    char *at = target, *end = at + bytes;
    if (bytes <= LINE_DATA) {
        mpi_copy(at, line->data, bytes);
        return;
    }
    mpi_copy(at, line->data, LINE_DATA);
    at += LINE_DATA;
    for (uint32_t number = from[rank]->head + 1; at < end; number++, at += LINE_MORE)
        mpi_copy(at, line_at(from[rank], number)->more, end - at < LINE_MORE ? end - at : LINE_MORE);
}

void mpi_ring_next(const struct line *line, int rank)
{
    struct ring *ring = from[rank];
    ring->head += line->bytes == OFFERED ? 1 : lines_of(line->bytes);
    if (ring->head - atomic_load_explicit(&ring->returned, memory_order_relaxed) >= lines / 4)
        atomic_store_explicit(&ring->returned, ring->head, memory_order_release);
}
