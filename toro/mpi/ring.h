/* From each rank to each other one leads a ring of lines, of which a message takes one or more. A
 * line ends with its turn, which no line at this place has had before: so the reader sees that it
 * has come, in the line that has the data as well. On x86 stores are seen in their order, so a plain
 * one does that, and the reader takes the first lines while the writer writes the next. The reader
 * returns many lines at once; and what it sends itself tells how many it has read, so that the writer of a small ring
 * need not look where they are returned, which is in another cache. What is in a ring was written by its writer alone, so
 * nothing there is locked; and the lines of data move between the caches, and hardly anything else.
 *
 * Lines are counted on when a ring leads to another. In a line are the last 16 bits of such numbers. That is enough for its
 * turn, as the line at the same place before it has another. It is enough for what was returned, too, as long as the writer
 * has written less than 2^15 lines since it knew that no message was on its way to it (`quiet`): those from before, which
 * may have waited for long, are no longer there then.
 *
 * The writer makes the ring when it first sends, and enlists it with the reader. That one has a few lines. If it is often
 * full, the writer makes a larger one, and leads there by the last line that it writes to this one; and back to a small one
 * if the larger is hardly used. */
#ifndef MPI_RING_H
#define MPI_RING_H

#include "internal.h"

/* The first of a message; those that follow have LINE_MORE bytes of data, and then the turn. */
struct line {
    union {
        char data[LINE_DATA];
        struct {
            size_t bytes;
            struct offer *offer;
            const void *data;
        } offered;
        struct ring *other; /* LINE_LEADS */
    };
    int context, tag;
    uint16_t source, bytes; /* bytes: or one of those below */
    uint16_t returned;      /* lines of the ring in the other direction */
    _Atomic uint16_t turn;
} __attribute__((aligned(64)));

_Static_assert(sizeof(struct line) == 64, "a line is one of the cache");

#define LINE_OFFERS UINT16_MAX
#define LINE_LEADS (UINT16_MAX - 1) /* to another ring */

struct ring {
    struct ring *next;
    int writer;
    uint32_t size; /* in lines, a power of two */
    uint32_t head __attribute__((aligned(64))); /* the reader's */
    _Atomic uint32_t returned;
    uint32_t tail __attribute__((aligned(64))), end; /* the writer's: what it writes next, and up to where it may */
    uint32_t quiet; /* the tail when no message was on its way back */
    uint32_t turns; /* of the first ring that were busy, or of a larger one that were not, in a row */
    struct line lines[] __attribute__((aligned(64)));
};

extern struct ring *mpi_ring_to[RANKS_MAX]; /* by the world rank; null: none yet */
extern struct ring *mpi_ring_from[RANKS_MAX];

struct ring *mpi_ring_open(int rank);
/* Gets to know the rings that others have opened to this rank. */
void mpi_ring_meet(void);
/* Goes on with the ring that a line leads to. */
void mpi_ring_follow(struct ring *ring, const struct line *line);

static inline struct line *mpi_line_at(struct ring *ring, uint32_t number)
{
    return &ring->lines[number & (ring->size - 1)];
}

static inline uint32_t mpi_lines_of(size_t bytes)
{
    return bytes <= LINE_DATA ? 1 : 1 + (uint32_t)(bytes - LINE_DATA + LINE_MORE - 1) / LINE_MORE;
}

/* ---- The writer ---- */

#define LINES_SHORT 2 /* of a message in the first ring */
#define LINES_FIRST 4 /* of a ring for messages that are answered: more leave the first-level caches, and take longer */

static inline bool mpi_ring_is_first(const struct ring *ring)
{
    return ring->size == LINES_FIRST;
}

static inline struct ring *mpi_ring(int rank)
{
    return mpi_ring_to[rank] ? mpi_ring_to[rank] : mpi_ring_open(rank);
}

/* One line is left for the way to another ring. */
static inline bool mpi_ring_has_room(struct ring *ring, uint32_t count)
{
    if (ring->end - ring->tail > count)
        return true;
    ring->end = atomic_load_explicit(&ring->returned, memory_order_acquire) + ring->size;
    return ring->end - ring->tail > count;
}

/* The ring to a rank, perhaps another one from now on; null: it has no room for so many lines. */
struct ring *mpi_ring_with_room(int rank, uint32_t count);

/* Hands a line with data to the reader as the first of a message. */
static inline void mpi_ring_hand_over(struct ring *ring, struct line *line, int rank, int context, int tag, int source)
{
    const struct ring *back = mpi_ring_from[rank];
    line->context = context;
    line->tag = tag;
    line->source = source;
    line->returned = back ? back->head : 0;
    atomic_store_explicit(&line->turn, ring->tail + 1, memory_order_release);
}

/* Writes what follows the first line of a message. */
static inline void mpi_ring_write_rest(struct ring *ring, const char *data, size_t bytes)
{
    const char *at = data + LINE_DATA, *end = data + bytes;
    for (uint32_t number = ring->tail + 1; at < end; number++, at += LINE_MORE) {
        struct line *line = mpi_line_at(ring, number);
        if (end - at >= LINE_MORE)
            __builtin_memcpy((char *)line, at, LINE_MORE);
        else
            mpi_copy((char *)line, at, end - at);
        atomic_store_explicit(&line->turn, number + 1, memory_order_release);
    }
}

/* Goes on to the next message, after this one has been written. */
static inline void mpi_ring_sent(struct ring *ring, uint32_t count, int rank)
{
    ring->tail += count;
    mpi_wake(rank);
}

/* Hears from a message in the other direction how many lines have been returned, if there may be no room for the next
 * message. */
static inline void mpi_ring_hear(struct ring *ring, uint16_t returned)
{
    if (ring->end - ring->tail > LINES_SHORT)
        return;
    uint32_t end = ring->tail - (uint16_t)(ring->tail - returned) + ring->size;
    if (mpi_ring_is_first(ring) && ring->tail - ring->quiet < 1 << 15 && (int32_t)(end - ring->end) > 0)
        ring->end = end;
}

/* ---- The reader ---- */

/* Whether a line with that number has come. */
static inline bool mpi_line_is(const struct line *line, uint32_t number)
{
    return atomic_load_explicit(&line->turn, memory_order_acquire) == (uint16_t)(number + 1);
}

static inline struct line *mpi_ring_first(struct ring *ring)
{
    struct line *line = mpi_line_at(ring, ring->head);
    if (!mpi_line_is(line, ring->head))
        return NULL;
    if (line->bytes != LINE_LEADS)
        return line;
    mpi_ring_follow(ring, line);
    return NULL;
}

/* Copies the first bytes of a message. */
static inline void mpi_ring_read(struct ring *ring, const struct line *line, void *target, size_t bytes)
{
    char *at = target, *end = at + bytes;
    if (bytes <= LINE_DATA) {
        mpi_copy_short(at, line->data, bytes);
        return;
    }
    __builtin_memcpy(at, line->data, LINE_DATA);
    at += LINE_DATA;
    for (uint32_t number = ring->head + 1; at < end; number++, at += LINE_MORE) {
        line = mpi_line_at(ring, number);
        while (!mpi_line_is(line, number))
            ; /* the writer is about to write it */
        if (end - at >= LINE_MORE)
            __builtin_memcpy(at, (const char *)line, LINE_MORE);
        else
            mpi_copy(at, (const char *)line, end - at);
    }
}

/* Lets the writer have the lines that were read, many at once. */
static inline void mpi_ring_return(struct ring *ring)
{
    if (ring->head - atomic_load_explicit(&ring->returned, memory_order_relaxed) >= ring->size / 4)
        atomic_store_explicit(&ring->returned, ring->head, memory_order_release);
}

static inline void mpi_ring_next(struct ring *ring, const struct line *line)
{
    ring->head += line->bytes == LINE_OFFERS ? 1 : mpi_lines_of(line->bytes);
    mpi_ring_return(ring);
}

#endif
